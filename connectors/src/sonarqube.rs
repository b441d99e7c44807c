//! SonarQube Server and Community Build, and SonarQube Cloud, web API
//! <https://docs.sonarsource.com/sonarqube-server/latest/extension-guide/web-api/>.
//!
//! A User token of an account with Browse on the projects: Bearer since version 10, before that the user of Basic. The
//! server's version and mode (Standard Experience, or MQR: severities per software quality) decide the parameters; Cloud says
//! it is version 8.0 and is told by its host. Pages are numbered and end at row 10,000: longer lists are cut into [`slice`]s.
//! A project that does not exist or may not be seen answers an empty list, so an empty one counts only when the project is
//! proved to be readable. Rule texts are asked for once per rule. No known rate limit.

mod rule;
mod slice;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::header::HeaderMap;
use tokio::sync::OnceCell;

use self::{
    rule::Rule,
    slice::{Slice, Step},
};
use crate::{
    Excerpt,
    kit::{Cache, Request},
    prelude::*,
};

const PAGE: u64 = 500;
/// No search shows rows beyond this one.
const WINDOW: u64 = 10_000;
/// A facet lists no more values than this.
const FACET: usize = 100;
/// Bytes of rule texts kept, and rules asked for at once.
const TEXTS: usize = 8 << 20;
const AT_ONCE: usize = 8;

/// The connector.
#[derive(Debug)]
pub struct SonarQube {
    bearer: Http,
    basic: Http,
    settings: Settings,
    /// Facts about the server.
    server: OnceCell<Server>,
    rules: Cache<Rule>,
}

/// Fields of a SonarQube connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Token of type User (`squ_…`) of an account with Browse on the projects (My Account > Security > Generate Token).
    secret: Secret,
    /// SonarQube Cloud only: key of the organization, as in `https://sonarcloud.io/organizations/KEY`. May be left out when the
    /// token's account is a member of one organization only.
    #[serde(default)]
    organization: Option<String>,
    /// Branches to read, by name, such as `["main", "release"]`. A project without such a branch has no findings on it.
    /// Default: the main branch only, whatever its name.
    #[serde(default)]
    branches: Vec<String>,
    /// Read security hotspots too. Default: yes.
    #[serde(default = "yes")]
    include_hotspots: bool,
    /// Read bugs and code smells (reliability and maintainability issues) too, not only vulnerabilities. Default: no.
    #[serde(default)]
    include_bugs_and_code_smells: bool,
}

fn yes() -> bool {
    true
}

/// What is known of the server.
#[derive(Debug)]
struct Server {
    cloud: bool,
    version: Option<(u32, u32)>,
    shown: String,
    mqr: bool,
    basic: bool,
    organization: Option<String>,
}

impl Server {
    /// Whether it is a Server of this version or a later one. Cloud's parameters are those of old versions.
    fn since(&self, major: u32, minor: u32) -> bool {
        !self.cloud && self.version >= Some((major, minor))
    }

    /// Whether this many rows are more than a search shows; Cloud does not count further than that.
    fn cuts(&self, total: u64) -> bool {
        total > WINDOW || (self.cloud && total == WINDOW)
    }
}

/// Where a walk stands.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum Cursor {
    /// At the beginning.
    #[default]
    Start,
    /// So many pages of this list of projects are read.
    Projects(Projects, u64),
    /// So many pages of changed issues, the newest first, are read; of this branch.
    Changes(Option<String>, u64),
    /// A whole list is being read, slice by slice.
    Slices(Slices),
}

/// The lists of projects, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projects {
    /// `api/components/search_projects`: Browse is enough, 10,000 at most.
    Visible,
    /// `api/projects/search`: for administrators, without that limit. The documented list of Cloud.
    All,
    /// `api/components/search`: the public list, 10,000 at most.
    Components,
}

/// A walk over a whole list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Slices {
    /// The branch as the server wants it; `None` is the main one.
    branch: Option<String>,
    /// What is not read yet; the last one is being read.
    slices: Vec<Slice>,
    /// Pages of it that are read.
    pages: u64,
    /// Whether it is to be cut.
    cut: bool,
    /// Whether something could not be listed.
    left_out: bool,
}

impl Slices {
    fn of(branch: Option<String>) -> Self {
        Slices { branch, slices: vec![Slice::default()], pages: 0, cut: false, left_out: false }
    }
}

/// One project's list.
#[derive(Clone, Copy)]
struct List<'a> {
    project: &'a str,
    /// The branch that the settings name.
    named: Option<&'a str>,
    hotspots: bool,
}

impl Connector for SonarQube {
    const META: Meta = Meta {
        id: "sonarqube",
        title: "SonarQube Server, Community Build and Cloud",
        docs: "https://docs.sonarsource.com/sonarqube-server/latest/extension-guide/web-api/",
        record: "project",
        location_help: "https://sonarcloud.io or https://sonarqube.us for Cloud, else the server's URL with its context path, such as https://sonar.example.com/sonarqube",
        permissions: &["Browse"],
        incremental: true,
        // Issues carry the date of their analysis, and are listed when the server has worked it off.
        overlap: Duration::from_secs(6 * 3600),
        shifting: true,
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(mut settings: Settings, mut link: Link) -> Result<Self> {
        link.location = link.location.without_endings(&["/api"]);
        settings.organization = settings.organization.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        settings.branches.retain(|branch| !branch.trim().is_empty());
        let bearer = link.clone().http(&Self::META, Auth::Bearer(settings.secret.clone()))?;
        let basic = link.http(&Self::META, Auth::BasicToken(settings.secret.clone()))?;
        Ok(SonarQube { bearer, basic, settings, server: OnceCell::new(), rules: Cache::new(TEXTS) })
    }

    async fn scopes(&self, _: &Cx, job: Job<'_>) -> Result<Vec<Scope>> {
        let Job::Sync(records) = job else { return Ok(vec![Scope::account("projects")]) };
        let branches: Vec<Option<&str>> = match self.settings.branches.as_slice() {
            [] => vec![None],
            branches => branches.iter().map(|branch| Some(branch.as_str())).collect(),
        };
        let lists: &[&'static str] = if self.settings.include_hotspots { &["issues", "hotspots"] } else { &["issues"] };
        let mut scopes = Vec::with_capacity(records.len() * branches.len() * lists.len());
        for record in records {
            for branch in &branches {
                scopes.extend(lists.iter().map(|list| {
                    let scope = Scope::of(list, record);
                    let title = if *list == "issues" { scope.title.to_string() } else { format!("{} ({list})", scope.title) };
                    match branch {
                        // No project key holds an @.
                        Some(branch) => {
                            Scope { key: format!("{}@{branch}", scope.key).into(), title: format!("{title} @ {branch}").into(), ..scope }
                        }
                        None => Scope { title: title.into(), ..scope },
                    }
                }));
            }
        }
        Ok(scopes)
    }

    async fn page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        let server = self.server(cx).await?;
        if ask.scope.list == "projects" {
            let first = if server.cloud { Projects::All } else { Projects::Visible };
            let (list, pages) = if let Cursor::Projects(list, pages) = ask.cursor { (list, pages) } else { (first, 0) };
            return self.projects(cx, server, list, pages).await;
        }
        let project = ask.scope.record.as_deref().unwrap_or(&ask.scope.key);
        let named = ask.scope.key.strip_prefix(project).and_then(|rest| rest.strip_prefix('@'));
        let list = List { project, named, hotspots: ask.scope.list == "hotspots" };
        let since = ask.since.filter(|_| !ask.full && !list.hotspots);
        let cursor = match ask.cursor {
            Cursor::Start | Cursor::Projects(..) => match self.branch(cx, server, list).await? {
                None => return Ok(Page::new((Vec::new(), Vec::new()), None, Next::Done(Coverage::Full, None))),
                Some(branch) if since.is_some() => Cursor::Changes(branch, 0),
                Some(branch) => Cursor::Slices(Slices::of(branch)),
            },
            cursor => cursor,
        };
        match (cursor, since) {
            (Cursor::Changes(branch, pages), Some(since)) => self.changes(cx, server, list, branch, pages, since).await,
            (Cursor::Slices(walk), _) if walk.cut => self.cut(cx, server, list, walk).await,
            (Cursor::Slices(walk), _) => self.slices(cx, server, list, walk).await,
            (Cursor::Changes(branch, _), None) => self.slices(cx, server, list, Slices::of(branch)).await,
            (Cursor::Start | Cursor::Projects(..), _) => Err(Error::new("reading the stored cursor", Kind::CursorExpired)),
        }
    }

    async fn check(&self, cx: &Cx) -> Result<Checked> {
        if let Some(kind) = self.analysis_token() {
            let why = Kind::Forbidden(Excerpt::new(&format!("the token is a {kind}, which may only send analyses")));
            return Err(Error::new("looking at the token", why).with_hint(USER_TOKEN));
        }
        let server = self.server(cx).await?;
        let mut checked = Checked::default();
        checked.facts.push(server.shown.clone());
        let mode = if server.mqr { "MQR mode: severities of the security impact" } else { "standard severities" };
        checked.facts.push(mode.to_owned());
        let valid = self.get(server, "/api/authentication/validate").send::<Valid>(cx).await.map_err(|error| self.hinted(error))?;
        if !valid.body.valid {
            let why = Kind::Unauthorized(Excerpt::new("the server calls the token not valid"));
            return Err(Error::new("validating the token", why).with_hint(USER_TOKEN));
        }
        if let Some((fact, warning)) = expiry(&valid.headers, cx) {
            checked.facts.push(fact);
            checked.warnings.extend(warning);
        }
        let mut lists =
            [Projects::Visible, Projects::All, Projects::Components].into_iter().filter(|list| !server.cloud || list.of_cloud());
        let answer = loop {
            let list = lists.next().unwrap_or(Projects::Components);
            match self.list(server, list, 1, 1).send::<Components>(cx).await {
                Ok(answer) => break answer.body,
                Err(error) if list == Projects::Components || !next_list(&error) => return Err(self.list_hinted(server, error)),
                Err(_) => {}
            }
        };
        checked.facts.push(format!("{} projects visible", answer.paging.total));
        let Some(first) = answer.components.iter().find_map(|raw| serde_json::from_str::<Key>(raw.get()).ok()?.key) else {
            checked.warnings.push("no project is visible: give the token's account the permission Browse on the projects".into());
            return Ok(checked);
        };
        self.prove(cx, server, &first, None).await?;
        for hotspots in [false, true].into_iter().take(1 + usize::from(self.settings.include_hotspots)) {
            let list = List { project: &first, named: None, hotspots };
            match self.search(server, list, None, &Slice::default()).query("p", Some(1)).query("ps", Some(1)).send::<Rows>(cx).await {
                Ok(_) => {}
                Err(error) if hotspots && is_retired(&error) => {
                    checked.warnings.push("this server has no security hotspots any more: it lists them as issues".into());
                }
                Err(error) => return Err(self.hinted(error)),
            }
        }
        Ok(checked)
    }
}

const USER_TOKEN: &str = "make a token of type User: My Account > Security > Generate Token, as the account that syncs";
const BROWSE: &str = "give the token's account the permission Browse on the project (Project Settings > Permissions)";

impl SonarQube {
    fn get(&self, server: &Server, route: &'static str) -> Request<'_> {
        if server.basic { &self.basic } else { &self.bearer }.get(route, &[])
    }

    async fn server(&self, cx: &Cx) -> Result<&Server> {
        self.server.get_or_try_init(|| self.meet(cx)).await
    }

    /// What decides how the server is spoken to.
    async fn meet(&self, cx: &Cx) -> Result<Server> {
        let host = self.bearer.location().host();
        let mut cloud = ["sonarcloud.io", "sonarqube.us"].iter().any(|known| host.strip_suffix(known).is_some_and(is_subdomain));
        let mut server = Server { cloud, version: None, shown: "SonarQube Cloud".into(), mqr: true, basic: false, organization: None };
        if !cloud {
            let text = self.bearer.get("/api/server/version", &[]).anonymous().text(cx).await.map_err(|error| match error.kind {
                Kind::Elsewhere(_) | Kind::Refused { .. } => {
                    error.with_hint("`location` has to be the address at which SonarQube opens, with its context path if it has one")
                }
                _ => error,
            })?;
            server.version = version(&text.body);
            server.shown = format!("SonarQube {}", text::line(&text.body));
            // Cloud behind another name: it says 8.0 for ever, and it alone has organizations.
            cloud = self.settings.organization.is_some() && server.version == Some((8, 0));
            server.cloud = cloud;
        }
        if cloud {
            let organization = match &self.settings.organization {
                Some(organization) => organization.clone(),
                None => self.only_organization(cx).await?,
            };
            server.shown = format!("SonarQube Cloud, organization {}", text::line(&organization));
            return Ok(Server { organization: Some(organization), ..server });
        }
        if self.settings.organization.is_some() {
            cx.warn("`organization` means something to SonarQube Cloud only: this server's is not sent");
        }
        server.basic = match server.version {
            Some((major, _)) => major < 10,
            None => {
                cx.warn(format!("the server's version `{}` could not be read: it is spoken to as an old one", server.shown));
                match self.bearer.get("/api/authentication/validate", &[]).send::<Valid>(cx).await {
                    Ok(answer) => !answer.body.valid,
                    Err(error) if matches!(error.kind, Kind::Unauthorized(_)) => true,
                    Err(error) => return Err(error),
                }
            }
        };
        server.mqr = server.since(10, 8)
            && match self.get(&server, "/api/v2/clean-code-policy/mode").send::<Mode>(cx).await.map(|answer| answer.body.mode) {
                Ok(mode) if mode == "STANDARD_EXPERIENCE" => false,
                Ok(mode) => {
                    if mode != "MQR" {
                        cx.warn(format!("unknown mode `{}`: read as MQR", text::line(&mode)));
                    }
                    true
                }
                Err(error) if matches!(error.kind, Kind::Refused { status: 404, .. }) => false,
                Err(error) => return Err(self.hinted(error)),
            };
        Ok(server)
    }

    /// The organization of an account that has one only.
    async fn only_organization(&self, cx: &Cx) -> Result<String> {
        let request = self.bearer.get("/api/organizations/search", &[]).query("member", Some(true)).query("ps", Some(PAGE));
        let answer = request.send::<Organizations>(cx).await.map_err(|error| match error.kind {
            Kind::Refused { .. } => error.with_hint(ORGANIZATION),
            _ => self.hinted(error),
        })?;
        let mut keys: Vec<String> = answer.body.organizations.into_iter().map(|organization| organization.key).collect();
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok(key),
            (last, _) => {
                keys.extend(last);
                let found = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
                let why = format!("SonarQube Cloud needs `organization`; this account is a member of: {}", text::line(&found));
                Err(Error::new("choosing the organization", Kind::Settings(why.into())).with_hint(ORGANIZATION))
            }
        }
    }

    /// Which sort of token it is, when it is one that analyses are sent with.
    fn analysis_token(&self) -> Option<&'static str> {
        match self.settings.secret.expose().split('_').next() {
            Some("sqp") => Some("project analysis token"),
            Some("sqa") => Some("global analysis token"),
            _ => None,
        }
    }

    fn hinted(&self, error: Error) -> Error {
        match &error.kind {
            Kind::Forbidden(_) | Kind::Unauthorized(_) if self.analysis_token().is_some() => error.with_hint(USER_TOKEN),
            Kind::Forbidden(_) => error.with_hint(BROWSE),
            Kind::Unauthorized(_) => error.with_hint(format!("the token is wrong, expired or revoked; {USER_TOKEN}")),
            _ => error,
        }
    }

    fn list_hinted(&self, server: &Server, error: Error) -> Error {
        match &error.kind {
            Kind::Refused { status: 400 | 404, .. } if server.cloud => error.with_hint(ORGANIZATION),
            _ => self.hinted(error),
        }
    }

    fn list(&self, server: &Server, list: Projects, page: u64, size: u64) -> Request<'_> {
        let request = match list {
            // Applications of commercial editions are in this list too.
            Projects::Visible => self.get(server, "/api/components/search_projects").query("filter", Some("qualifier = TRK")),
            Projects::All => self.get(server, "/api/projects/search"),
            Projects::Components => self.get(server, "/api/components/search").query("qualifiers", Some("TRK").filter(|_| !server.cloud)),
        };
        request.query("organization", server.organization.as_ref()).query("p", Some(page)).query("ps", Some(size))
    }

    async fn projects(&self, cx: &Cx, server: &Server, list: Projects, pages: u64) -> Result<Page<Cursor>> {
        let page = pages + 1;
        let elsewhere = |list| Ok(Page::new((Vec::new(), Vec::new()), None, Next::More(Cursor::Projects(list, 0))));
        let Components { paging, components } = match (self.list(server, list, page, PAGE).send(cx).await, list) {
            (Ok(answer), _) => {
                if let Some((_, Some(warning))) = expiry(&answer.headers, cx) {
                    cx.warn(warning);
                }
                answer.body
            }
            (Err(error), Projects::Visible) if next_list(&error) && pages == 0 => return elsewhere(Projects::All),
            (Err(error), Projects::All) if next_list(&error) && pages == 0 => return elsewhere(Projects::Components),
            (Err(error), _) => return Err(self.list_hinted(server, error)),
        };
        if list == Projects::Visible && pages == 0 && paging.total > WINDOW {
            return elsewhere(Projects::All);
        }
        // What may not be seen is taken out of a page after it was counted: a short page is not the last one.
        let next = match () {
            () if page * PAGE >= paging.total => Next::Done(Coverage::Full, None),
            () if list != Projects::All && (page + 1) * PAGE > WINDOW => {
                cx.warn("more than 10,000 projects: only an account with Administer System can list them all");
                Next::Done(Coverage::Delta, None)
            }
            () => Next::More(Cursor::Projects(list, page)),
        };
        let total = Some(paging.total).filter(|_| list == Projects::All);
        let read = items(components, Self::META.cut, |project: Project| Ok(self.record(server, project)), |key: Key| key.key);
        Ok(Page::new(read, total, next))
    }

    fn record(&self, server: &Server, project: Project) -> Item {
        if project.qualifier.as_deref().is_some_and(|qualifier| qualifier != "TRK") {
            return Item::Skipped { key: project.key.into(), reason: "not a project" };
        }
        let route = if server.cloud { "/project/overview" } else { "/dashboard" };
        let attributes = [("visibility", project.visibility), ("tags", project.tags.map(|tags| tags.join(", ")))];
        Item::Record(Record {
            url: Some(self.link(route, &[("id", Some(&project.key))])),
            name: text::line(project.name.as_deref().unwrap_or(&project.key)),
            key: project.key.into(),
            kind: "project".into(),
            attributes: attributes.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value?)?))).collect(),
        })
    }

    fn link(&self, route: &str, parameters: &[(&str, Option<&str>)]) -> Box<str> {
        let mut url = self.bearer.location().join(route, &[]);
        url.query_pairs_mut().extend_pairs(parameters.iter().filter_map(|(name, value)| Some((name, (*value)?))));
        String::from(url).into()
    }

    /// Fails unless the project, and its branch, can be read: a search does not tell "nothing there" from "not for you".
    async fn prove(&self, cx: &Cx, server: &Server, project: &str, branch: Option<&str>) -> Result<()> {
        let request = self.get(server, "/api/components/show").query("component", Some(project)).query("branch", branch);
        match request.send::<serde::de::IgnoredAny>(cx).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind, Kind::Refused { status: 404, .. }) => {
                Err(error.with_hint("the project was deleted or renamed: the next discover will say so"))
            }
            Err(error) => Err(self.hinted(error)),
        }
    }

    /// The branch as searches want it: the main one is never named, since Community Build knows no parameter for it.
    /// `None` when the project has no such branch.
    async fn branch(&self, cx: &Cx, server: &Server, list: List<'_>) -> Result<Option<Option<String>>> {
        let Some(named) = list.named else { return Ok(Some(None)) };
        let request = self.get(server, "/api/project_branches/list").query("project", Some(list.project));
        let branches = request.send::<Branches>(cx).await.map_err(|error| self.hinted(error))?.body.branches;
        let found = branches.into_iter().find(|branch| branch.name == named);
        Ok(found.map(|branch| (!branch.is_main).then_some(branch.name)))
    }

    fn search(&self, server: &Server, list: List<'_>, branch: Option<&str>, slice: &Slice) -> Request<'_> {
        let request = if list.hotspots {
            self.get(server, "/api/hotspots/search").query(if server.since(10, 2) { "project" } else { "projectKey" }, Some(list.project))
        } else {
            let everything = self.settings.include_bugs_and_code_smells;
            let (name, value) = match (server.mqr, everything) {
                (true, everything) => ("impactSoftwareQualities", (!everything).then_some("SECURITY")),
                (false, true) => ("types", Some("VULNERABILITY,BUG,CODE_SMELL")),
                (false, false) => ("types", Some("VULNERABILITY")),
            };
            self.get(server, "/api/issues/search")
                .query(if server.since(10, 2) { "components" } else { "componentKeys" }, Some(list.project))
                .query("organization", server.organization.as_ref())
                .query(name, value.filter(|_| !slice.has(name)))
        };
        slice.apply(request.query("branch", branch))
    }

    /// One page of issues in the order of their last change, the newest first, whatever their state.
    async fn changes(
        &self,
        cx: &Cx,
        server: &Server,
        list: List<'_>,
        branch: Option<String>,
        pages: u64,
        since: jiff::Timestamp,
    ) -> Result<Page<Cursor>> {
        let page = pages + 1;
        let request = self.search(server, list, branch.as_deref(), &Slice::default());
        let request = request.query("s", Some("UPDATE_DATE")).query("asc", Some(false)).query("p", Some(page)).query("ps", Some(PAGE));
        let rows = request.send::<Rows>(cx).await.map_err(|error| self.hinted(error))?.body;
        let total = rows.paging.total;
        if pages == 0 && rows.rows.is_empty() {
            self.prove(cx, server, list.project, branch.as_deref()).await?;
        }
        let older = |raw: &Box<RawValue>| Peek::at(raw).update_date.and_then(|text| text::time(&text)).is_some_and(|at| at < since);
        let next = match () {
            () if rows.rows.is_empty() || rows.rows.iter().any(older) || (page * PAGE >= total && !server.cuts(total)) => {
                Next::Done(Coverage::Delta, None)
            }
            // More has changed than can be listed in this order.
            () if (page + 1) * PAGE > WINDOW => Next::More(Cursor::Slices(Slices::of(branch))),
            () => Next::More(Cursor::Changes(branch, page)),
        };
        Ok(Page::new(self.read(cx, server, list, rows).await?, None, next))
    }

    /// One page of the slice at hand. The server's own order is kept, the only one in which rows have fixed places.
    async fn slices(&self, cx: &Cx, server: &Server, list: List<'_>, mut walk: Slices) -> Result<Page<Cursor>> {
        let quiet = |total, next| Ok(Page::new((Vec::new(), Vec::new()), total, next));
        let Some(slice) = walk.slices.last() else { return quiet(None, Next::Done(Coverage::Full, None)) };
        let page = walk.pages + 1;
        let branch = walk.branch.as_deref();
        let sent = self.search(server, list, branch, slice).query("p", Some(page)).query("ps", Some(PAGE)).send::<Rows>(cx).await;
        let rows = match sent {
            Ok(answer) => answer.body,
            Err(error) if list.hotspots && is_retired(&error) => {
                self.prove(cx, server, list.project, branch).await?;
                return quiet(None, Next::Done(Coverage::Full, None));
            }
            Err(error) => return Err(self.hinted(error)),
        };
        let total = rows.paging.total;
        let declared = Some(total).filter(|_| slice.is_whole() && !(server.cloud && server.cuts(total)));
        if page == 1 && slice.is_whole() && rows.rows.is_empty() {
            self.prove(cx, server, list.project, branch).await?;
        }
        if page == 1 && server.cuts(total) {
            if slice.step < self.steps(server, list).len() {
                walk.cut = true;
                return quiet(declared, Next::More(Cursor::Slices(walk)));
            }
            walk.left_out = true;
            cx.warn(format!(
                "{}: more than 10,000 {} are alike ({slice}): the rest of them cannot be listed, and nothing is closed",
                list.project,
                if list.hotspots { "hotspots" } else { "issues" }
            ));
        }
        walk.pages = page;
        if page * PAGE >= total.min(WINDOW) || rows.rows.is_empty() {
            walk.pages = 0;
            walk.slices.pop();
        }
        let next = match (walk.slices.is_empty(), walk.left_out) {
            (false, _) => Next::More(Cursor::Slices(walk)),
            (true, false) => Next::Done(Coverage::Full, None),
            (true, true) => Next::Done(Coverage::Delta, None),
        };
        Ok(Page::new(self.read(cx, server, list, rows).await?, declared, next))
    }

    /// The ways to cut a list, in order.
    fn steps(&self, server: &Server, list: List<'_>) -> Vec<Step> {
        if list.hotspots {
            let resolutions: &[&str] = if server.cloud { &["FIXED", "SAFE"] } else { &["FIXED", "SAFE", "ACKNOWLEDGED"] };
            return vec![Step::Values("status", &["TO_REVIEW", "REVIEWED"]), Step::Values("resolution", resolutions)];
        }
        let mut steps = vec![Step::Facet(if server.mqr { "impactSeverities" } else { "severities" })];
        if self.settings.include_bugs_and_code_smells {
            steps.push(if server.mqr {
                Step::Values("impactSoftwareQualities", &["SECURITY", "RELIABILITY", "MAINTAINABILITY"])
            } else {
                Step::Values("types", &["VULNERABILITY", "BUG", "CODE_SMELL"])
            });
        }
        steps.extend([Step::Dates, Step::Facet("rules")]);
        if !server.cloud {
            steps.extend([Step::Facet("directories"), Step::Facet("files")]);
        }
        steps
    }

    /// Cuts the slice at hand by its next step; one that does not divide it leaves it to the step after.
    async fn cut(&self, cx: &Cx, server: &Server, list: List<'_>, mut walk: Slices) -> Result<Page<Cursor>> {
        let steps = self.steps(server, list);
        let slice = walk.slices.pop().unwrap_or_default();
        let ask = |name: &str, value: &str| {
            let request = self.search(server, list, walk.branch.as_deref(), &slice).query("ps", Some(1)).query("p", Some(1));
            request.query(name, Some(value))
        };
        let parts: Vec<Slice> = match steps.get(slice.step) {
            Some(Step::Values("resolution", _)) if slice.value("status") != Some("REVIEWED") => Vec::new(),
            Some(Step::Values(name, values)) => values.iter().map(|value| slice.with(name, value)).collect(),
            Some(Step::Facet(name)) => {
                let answer = ask("facets", name).send::<Rows>(cx).await.map_err(|error| self.hinted(error))?.body;
                let found = answer.facets.into_iter().flatten().find(|facet| facet.property == *name);
                let values: Vec<Value> = found.into_iter().flat_map(|facet| facet.values).filter(|value| value.count > 0).collect();
                let counted: u64 = values.iter().map(|value| value.count).sum();
                let complete = values.len() < FACET || (!server.cloud && counted >= answer.paging.total);
                if complete { values.iter().map(|value| slice.with(name, &value.val)).collect() } else { Vec::new() }
            }
            Some(Step::Dates) => {
                let mut ends = [None, None];
                for (end, ascending) in ends.iter_mut().zip(["true", "false"]) {
                    let request = ask("s", "CREATION_DATE").query("asc", Some(ascending));
                    let answer = request.send::<Rows>(cx).await.map_err(|error| self.hinted(error))?.body;
                    let created = answer.rows.first().and_then(|raw| Peek::at(raw).creation_date);
                    *end = created.and_then(|text| text::time(&text)).map(jiff::Timestamp::as_second);
                }
                if let [Some(first), Some(last)] = ends { slice.halves(first, last).into_iter().flatten().collect() } else { Vec::new() }
            }
            None => Vec::new(),
        };
        walk.cut = parts.is_empty() && slice.step + 1 < steps.len();
        if parts.is_empty() {
            walk.slices.push(slice.next_step());
        } else {
            walk.slices.extend(parts.into_iter().rev());
        }
        walk.pages = 0;
        Ok(Page::new((Vec::new(), Vec::new()), None, Next::More(Cursor::Slices(walk))))
    }

    /// A page's rows as findings, with the texts of their rules.
    async fn read(&self, cx: &Cx, server: &Server, list: List<'_>, rows: Rows) -> Result<(Vec<Item>, Vec<crate::Reject>)> {
        let mut wanted = BTreeMap::new();
        for row in rows.rows.iter().map(Peek::at) {
            if let (Some(rule), Some(key)) = (row.text_key(list.hotspots), row.key) {
                wanted.entry(rule).or_insert(key);
            }
        }
        let texts: HashMap<String, Arc<Rule>> = stream::iter(wanted)
            .map(|(rule, finding)| async move {
                let text =
                    if list.hotspots { self.hotspot_rule(cx, server, &rule, finding).await } else { self.rule(cx, server, &rule).await };
                text.map(|text| (rule, text))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let paths = rows.components.into_iter().filter_map(|component| Some((component.key?, component.path?))).collect();
        let about = About { server, list, texts, paths };
        Ok(if list.hotspots {
            items(rows.rows, Self::META.cut, |row: Hotspot| Ok(self.hotspot(row, &about, cx)), |key: Key| Some(hotspot_key(&key.key?)))
        } else {
            items(rows.rows, Self::META.cut, |row: Issue| Ok(self.issue(row, &about, cx)), |key: Key| key.key)
        })
    }

    async fn rule(&self, cx: &Cx, server: &Server, key: &str) -> Result<Arc<Rule>> {
        let ask = || async {
            let request = self.get(server, "/api/rules/show").query("key", Some(key)).query("organization", server.organization.as_ref());
            match request.send::<Shown>(cx).await {
                Ok(answer) => Ok(answer.body.rule.into()),
                // Rules of other tools are not always known as rules, and those of deleted plugins are not any more.
                Err(error) if matches!(error.kind, Kind::Refused { .. }) => Ok(Rule::default()),
                Err(error) => Err(self.hinted(error)),
            }
        };
        self.rules.get_or_fetch(key, ask).await
    }

    /// The rule of a hotspot has its texts in the details of any hotspot that it raised.
    async fn hotspot_rule(&self, cx: &Cx, server: &Server, key: &str, finding: String) -> Result<Arc<Rule>> {
        let ask = || async {
            let request = self.get(server, "/api/hotspots/show").query("hotspot", Some(finding));
            request.send::<Shown>(cx).await.map(|answer| answer.body.rule.into())
        };
        match self.rules.get_or_fetch(&format!("hotspot {key}"), ask).await {
            // This one may have vanished since it was listed: another page's may still be there, so nothing is kept.
            Err(error) if matches!(error.kind, Kind::Refused { .. }) => Ok(Arc::default()),
            done => done.map_err(|error| self.hinted(error)),
        }
    }

    fn issue(&self, issue: Issue, about: &About<'_>, cx: &Cx) -> Item {
        let (project, server) = (about.list.project, about.server);
        let of_security = |impact: &&Impact| impact.software_quality == "SECURITY";
        let word = if server.mqr {
            // Never the other mode's severity: the two rate the same rule differently.
            let impacts = issue.impacts.as_deref().unwrap_or_default();
            let worst = || impacts.iter().max_by_key(|impact| severity(&impact.severity).unwrap_or(Severity::Unknown));
            impacts.iter().find(of_security).or_else(worst).map(|impact| impact.severity.as_str())
        } else {
            issue.severity.as_deref()
        };
        let state = issue_state(&issue, cx);
        let vendor_state = match (issue.issue_status.as_deref().or(issue.simple_status.as_deref()), issue.resolution.as_deref()) {
            (Some(status), _) => status.to_owned(),
            (None, resolution) => [issue.status.as_deref(), resolution].into_iter().flatten().collect::<Vec<_>>().join(" "),
        };
        let rule = about.texts.get(&issue.rule).map(|rule| &**rule);
        let message = issue.message.as_deref().unwrap_or_default();
        let (cve, identifiers, mut cwe) = (text::cves(message), advisories(message), text::cwes(message));
        cwe.extend(rule.into_iter().flat_map(|rule| rule.cwe.iter().cloned()));
        let category = match issue.rule.split(':').next().unwrap_or_default() {
            _ if !cve.is_empty() || !identifiers.is_empty() => Category::Sca,
            "secrets" => Category::Secret,
            "terraform" | "cloudformation" | "kubernetes" | "docker" | "azureresourcemanager" | "ansible" => Category::Iac,
            _ => Category::Sast,
        };
        let kind = issue.kind.filter(|_| self.settings.include_bugs_and_code_smells).map(|kind| kind.to_lowercase());
        let range = issue.text_range.unwrap_or_default();
        let tags = issue.tags.unwrap_or_default();
        let migrated = tags.iter().any(|tag| tag == "former-hotspot");
        let url = self.link(
            "/project/issues",
            &[("id", Some(project)), ("issues", Some(&issue.key)), ("open", Some(&issue.key)), ("branch", about.list.named)],
        );
        let tags = tags.into_iter().chain([issue.clean_code_attribute, issue.external_rule_engine, kind].into_iter().flatten());
        Item::Finding(Box::new(Finding {
            // A server that turns its hotspots into issues keeps their keys.
            alternate_key: migrated.then(|| hotspot_key(&issue.key).into()),
            rule: text::keep(&issue.rule),
            branch: issue.branch.as_deref().or(about.list.named).and_then(text::keep),
            title: title(issue.message.as_deref(), rule),
            description: rule.and_then(|rule| rule.description.clone()),
            remediation: rule.and_then(|rule| rule.remediation(issue.rule_description_context_key.as_deref())),
            severity: severity_or_unknown(word, cx),
            vendor_severity: word.and_then(text::keep),
            state,
            vendor_state: text::keep(&vendor_state),
            cve,
            cwe: distinct(cwe),
            identifiers,
            file_path: about.path(issue.component.as_deref()),
            line_start: range.start_line.or(issue.line),
            line_end: range.end_line.or(issue.line),
            reference_urls: rule.map(|rule| rule.links.clone()).unwrap_or_default(),
            tags: distinct(tags.filter_map(|tag| text::keep(&tag)).collect()),
            url: Some(url),
            vendor_first_seen: issue.creation_date.as_deref().and_then(text::time),
            ..Finding::new(issue.key, project, category)
        }))
    }

    fn hotspot(&self, hotspot: Hotspot, about: &About<'_>, cx: &Cx) -> Item {
        let project = about.list.project;
        let word = hotspot.vulnerability_probability.as_deref();
        let state = match (hotspot.status.as_deref().unwrap_or_default(), hotspot.resolution.as_deref()) {
            ("TO_REVIEW", _) => State::Open,
            ("REVIEWED", Some("FIXED")) => State::Fixed,
            ("REVIEWED", Some("SAFE")) => State::FalsePositive,
            ("REVIEWED", Some("ACKNOWLEDGED" | "EXCEPTION")) => State::RiskAccepted,
            ("REVIEWED", other) => {
                cx.warn(format!("unknown hotspot resolution `{}`", text::line(other.unwrap_or_default())));
                State::Suppressed
            }
            (other, _) => {
                cx.warn(format!("unknown hotspot status `{}`", text::line(other)));
                State::Open
            }
        };
        let range = hotspot.text_range.unwrap_or_default();
        let text_key = text_key(hotspot.rule_key.as_deref(), hotspot.security_category.as_deref(), hotspot.message.as_deref());
        let rule = about.texts.get(&text_key).map(|rule| &**rule);
        let vendor_state = [hotspot.status.as_deref(), hotspot.resolution.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let url = self.link("/security_hotspots", &[("id", Some(project)), ("hotspots", Some(&hotspot.key)), ("branch", about.list.named)]);
        Item::Finding(Box::new(Finding {
            rule: hotspot.rule_key.as_deref().and_then(text::keep).or_else(|| rule.and_then(|rule| rule.key.clone())),
            branch: about.list.named.and_then(text::keep),
            title: title(hotspot.message.as_deref(), rule),
            description: rule.and_then(|rule| rule.description.clone()),
            remediation: rule.and_then(|rule| rule.remediation(None)),
            severity: severity_or_unknown(word, cx),
            vendor_severity: word.and_then(text::keep),
            state,
            vendor_state: text::keep(&vendor_state),
            cwe: rule.map(|rule| rule.cwe.clone()).unwrap_or_default(),
            file_path: about.path(hotspot.component.as_deref()),
            line_start: range.start_line.or(hotspot.line),
            line_end: range.end_line.or(hotspot.line),
            reference_urls: rule.map(|rule| rule.links.clone()).unwrap_or_default(),
            tags: ["hotspot"].into_iter().chain(hotspot.security_category.as_deref()).filter_map(text::keep).collect(),
            url: Some(url),
            vendor_first_seen: hotspot.creation_date.as_deref().and_then(text::time),
            ..Finding::new(hotspot_key(&hotspot.key), project, Category::Sast)
        }))
    }
}

const ORGANIZATION: &str = "set `organization` to the key in the address https://sonarcloud.io/organizations/KEY";

impl Projects {
    fn of_cloud(self) -> bool {
        self != Projects::Visible
    }
}

/// Whether another list of projects is worth a try.
fn next_list(error: &Error) -> bool {
    matches!(error.kind, Kind::Forbidden(_) | Kind::Refused { status: 400 | 404 | 410, .. })
}

/// Whether the server has no such call (any more), as opposed to no such project.
fn is_retired(error: &Error) -> bool {
    match &error.kind {
        Kind::Refused { status: 410, .. } => true,
        Kind::Refused { status: 404, body } => body.to_string().contains("Unknown url"),
        _ => false,
    }
}

/// When the token ends, as the server says with every answer, and a warning when that is soon.
fn expiry(headers: &HeaderMap, cx: &Cx) -> Option<(String, Option<String>)> {
    let at = headers.get("sonarqube-authentication-token-expiration")?.to_str().ok()?;
    let date = text::time(at).or_else(|| text::time(&format!("{at}T00:00:00Z")));
    let soon = date.is_some_and(|date| date.as_second() - cx.now().as_second() < 14 * 86_400);
    let fact = format!("the token expires on {}", text::line(at));
    Some((fact.clone(), soon.then(|| format!("{fact}: make a new one"))))
}

/// What stands before a domain that it is part of: nothing, or more labels.
fn is_subdomain(before: &str) -> bool {
    before.is_empty() || before.ends_with('.')
}

/// Major and minor of `10.7.0.96327`, `25.5.0.107428` (Community Build) or `2025.1.0.102418`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn hotspot_key(key: &str) -> String {
    format!("hotspot:{key}")
}

/// Under which rule texts are kept. Before 9.7 hotspots do not name their rule, but one rule says the same of all of them.
fn text_key(rule: Option<&str>, category: Option<&str>, message: Option<&str>) -> String {
    rule.map_or_else(|| format!("{} {}", category.unwrap_or_default(), message.unwrap_or_default()), str::to_owned)
}

fn severity(word: &str) -> Option<Severity> {
    Some(match word {
        "BLOCKER" => Severity::Critical,
        "CRITICAL" | "HIGH" => Severity::High,
        "MAJOR" | "MEDIUM" => Severity::Medium,
        "MINOR" | "LOW" => Severity::Low,
        "INFO" => Severity::Info,
        _ => return None,
    })
}

fn severity_or_unknown(word: Option<&str>, cx: &Cx) -> Severity {
    word.and_then(severity).unwrap_or_else(|| {
        cx.warn(format!("unknown severity `{}`", text::line(word.unwrap_or_default())));
        Severity::Unknown
    })
}

fn issue_state(issue: &Issue, cx: &Cx) -> State {
    let status = issue.issue_status.as_deref().or(issue.simple_status.as_deref()).or(issue.status.as_deref()).unwrap_or_default();
    match (status, issue.resolution.as_deref()) {
        ("OPEN" | "REOPENED" | "CONFIRMED" | "IN_SANDBOX", _) => State::Open,
        ("FALSE_POSITIVE" | "FALSE-POSITIVE", _) | ("RESOLVED", Some("FALSE-POSITIVE" | "FALSE_POSITIVE")) => State::FalsePositive,
        ("ACCEPTED" | "WONTFIX", _) | ("RESOLVED", Some("WONTFIX" | "ACCEPTED")) => State::RiskAccepted,
        ("FIXED" | "REMOVED" | "CLOSED", _) | ("RESOLVED", Some("FIXED" | "REMOVED")) => State::Fixed,
        ("RESOLVED", other) => {
            cx.warn(format!("unknown resolution `{}`", text::line(other.unwrap_or_default())));
            State::Suppressed
        }
        (other, _) => {
            cx.warn(format!("unknown issue status `{}`", text::line(other)));
            State::Open
        }
    }
}

/// `GHSA-xxxx-xxxx-xxxx` ids in the message of an issue that another tool reported.
fn advisories(message: &str) -> Vec<Box<str>> {
    let words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    distinct(words.filter(|word| word.starts_with("GHSA-") && word.len() == 19).map(Into::into).collect())
}

/// The message; a rule's name where there is none.
fn title(message: Option<&str>, rule: Option<&Rule>) -> Box<str> {
    let name = || rule.and_then(|rule| rule.description.as_deref()?.lines().next());
    text::line(message.filter(|message| !message.trim().is_empty()).or_else(name).unwrap_or("finding without a message"))
}

fn distinct(list: Vec<Box<str>>) -> Vec<Box<str>> {
    let mut known = HashSet::new();
    list.into_iter().filter(|value| known.insert(value.clone())).collect()
}

/// What the rows of a page have in common.
struct About<'a> {
    server: &'a Server,
    list: List<'a>,
    texts: HashMap<String, Arc<Rule>>,
    /// Paths of the files, by component key.
    paths: HashMap<String, String>,
}

impl About<'_> {
    /// The file, unless the finding is on the project itself.
    fn path(&self, component: Option<&str>) -> Option<Box<str>> {
        let component = component?;
        let own = || component.strip_prefix(self.list.project)?.strip_prefix(':');
        self.paths.get(component).map(String::as_str).or_else(own).and_then(text::keep)
    }
}

#[derive(Deserialize)]
struct Valid {
    valid: bool,
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
}

#[derive(Deserialize)]
struct Organizations {
    organizations: Vec<Organization>,
}

#[derive(Deserialize)]
struct Organization {
    key: String,
}

#[derive(Deserialize)]
struct Branches {
    branches: Vec<Branch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Branch {
    name: String,
    #[serde(default)]
    is_main: bool,
}

#[derive(Deserialize)]
struct Shown {
    rule: rule::Wire,
}

#[derive(Deserialize)]
struct Paging {
    total: u64,
}

#[derive(Deserialize)]
struct Components {
    paging: Paging,
    components: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Key {
    key: Option<String>,
}

#[derive(Deserialize)]
struct Project {
    key: String,
    name: Option<String>,
    qualifier: Option<String>,
    visibility: Option<String>,
    tags: Option<Vec<String>>,
}

/// A page of issues or hotspots.
#[derive(Deserialize)]
struct Rows {
    paging: Paging,
    #[serde(rename = "issues", alias = "hotspots")]
    rows: Vec<Box<RawValue>>,
    #[serde(default)]
    components: Vec<Component>,
    facets: Option<Vec<Facet>>,
}

#[derive(Deserialize)]
struct Component {
    key: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Facet {
    property: String,
    values: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    val: String,
    count: u64,
}

/// What has to be known of a row before it is mapped.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Peek {
    key: Option<String>,
    rule: Option<String>,
    rule_key: Option<String>,
    security_category: Option<String>,
    message: Option<String>,
    creation_date: Option<String>,
    update_date: Option<String>,
}

impl Peek {
    fn at(raw: &Box<RawValue>) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    fn text_key(&self, hotspot: bool) -> Option<String> {
        if hotspot {
            return Some(text_key(self.rule_key.as_deref(), self.security_category.as_deref(), self.message.as_deref()));
        }
        self.rule.clone().filter(|rule| !rule.is_empty())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issue {
    key: String,
    rule: String,
    severity: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    impacts: Option<Vec<Impact>>,
    clean_code_attribute: Option<String>,
    status: Option<String>,
    resolution: Option<String>,
    issue_status: Option<String>,
    simple_status: Option<String>,
    component: Option<String>,
    line: Option<u32>,
    text_range: Option<TextRange>,
    message: Option<String>,
    tags: Option<Vec<String>>,
    creation_date: Option<String>,
    external_rule_engine: Option<String>,
    rule_description_context_key: Option<String>,
    branch: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impact {
    software_quality: String,
    severity: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TextRange {
    start_line: Option<u32>,
    end_line: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hotspot {
    key: String,
    component: Option<String>,
    security_category: Option<String>,
    vulnerability_probability: Option<String>,
    status: Option<String>,
    resolution: Option<String>,
    line: Option<u32>,
    message: Option<String>,
    creation_date: Option<String>,
    text_range: Option<TextRange>,
    rule_key: Option<String>,
}
