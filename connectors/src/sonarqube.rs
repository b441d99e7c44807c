//! SonarQube Server and Community Build, and SonarQube Cloud, web API
//! <https://docs.sonarsource.com/sonarqube-server/latest/extension-guide/web-api/>.
//!
//! A User token of an account with Browse on the projects: Bearer since version 10, before that the user of Basic. The
//! server's version and mode (Standard Experience, or MQR: severities per software quality) decide the parameters; Cloud says
//! it is version 8.0 and is told by its host. Pages are numbered and end at row 10,000: longer lists are cut into [`slice`]s.
//! A project that does not exist or may not be seen answers an empty list, so an empty one counts only when the project is
//! proved to be readable. Rule texts are asked for once per rule. No known rate limit.

mod finding;
mod rule;
mod server;
mod slice;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use self::{
    finding::{About, hotspot_key, link, text_key},
    rule::Rule,
    server::{Server, USER_TOKEN, Valid, expiry},
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
        expiry_header: Some("sonarqube-authentication-token-expiration"),
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
        let mut lists =
            [Projects::Visible, Projects::All, Projects::Components].into_iter().filter(|list| !server.cloud || list.of_cloud());
        let answer = loop {
            let list = lists.next().unwrap_or(Projects::Components);
            match self.list(server, list, 1, 1).send::<Components>(cx).await {
                Ok(answer) => break answer,
                Err(error) if list == Projects::Components || !next_list(&error) => return Err(self.list_hinted(server, error)),
                Err(_) => {}
            }
        };
        if let Some((fact, warning)) = expiry(&answer.headers, cx) {
            checked.facts.push(fact);
            checked.warnings.extend(warning);
        }
        let answer = answer.body;
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

impl SonarQube {
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
                cx.incomplete("more than 10,000 projects: only an account with Administer System can list them all");
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
            url: Some(link(self.bearer.location(), route, &[("id", Some(&project.key))])),
            name: text::line(project.name.as_deref().unwrap_or(&project.key)),
            key: project.key.into(),
            kind: "project".into(),
            attributes: attributes.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value?)?))).collect(),
        })
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
        let older = |row: Peek| row.update_date.and_then(|text| text::time(&text)).is_some_and(|at| at < since);
        let next = match () {
            () if rows.rows.is_empty()
                || rows.rows.iter().any(|raw| older(Peek::at(raw)))
                || (page * PAGE >= total && !server.cuts(total)) =>
            {
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
            (true, true) => {
                cx.incomplete("some findings are so alike that the list cannot be cut into parts of at most 10,000");
                Next::Done(Coverage::Delta, None)
            }
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
        for row in rows.rows.iter().map(|raw| Peek::at(raw)) {
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
        let everything = self.settings.include_bugs_and_code_smells;
        let about = About { location: self.bearer.location(), server, list, everything, texts, paths };
        Ok(if list.hotspots {
            items(rows.rows, Self::META.cut, |row| Ok(finding::hotspot(row, &about, cx)), |key: Key| Some(hotspot_key(&key.key?)))
        } else {
            items(rows.rows, Self::META.cut, |row| Ok(finding::issue(row, &about, cx)), |key: Key| key.key)
        })
    }

    async fn rule(&self, cx: &Cx, server: &Server, key: &str) -> Result<Arc<Rule>> {
        let ask = || async {
            let request = self.get(server, "/api/rules/show").query("key", Some(key)).query("organization", server.organization.as_ref());
            match request.send::<Shown>(cx).await {
                Ok(answer) => Ok(answer.body.read(cx)),
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
            request.send::<Shown>(cx).await.map(|answer| answer.body.read(cx))
        };
        match self.rules.get_or_fetch(&format!("hotspot {key}"), ask).await {
            // This one may have vanished since it was listed: another page's may still be there, so nothing is kept.
            Err(error) if matches!(error.kind, Kind::Refused { .. }) => Ok(Arc::default()),
            done => done.map_err(|error| self.hinted(error)),
        }
    }
}

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
    rule: Box<RawValue>,
}

impl Shown {
    /// The rule's texts; one that cannot be read has none, and stops nothing.
    fn read(&self, cx: &Cx) -> Rule {
        let wire = serde_json::from_str::<rule::Wire>(self.rule.get()).unwrap_or_else(|error| {
            cx.warn(format!("a rule's texts could not be read: {error}"));
            rule::Wire::default()
        });
        wire.into()
    }
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
    fn at(raw: &RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    fn text_key(&self, hotspot: bool) -> Option<String> {
        if hotspot {
            return Some(text_key(self.rule_key.as_deref(), self.security_category.as_deref(), self.message.as_deref()));
        }
        self.rule.clone().filter(|rule| !rule.is_empty())
    }
}
