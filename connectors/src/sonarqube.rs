//! SonarQube Server and Community Build, and SonarQube Cloud, web API
//! <https://docs.sonarsource.com/sonarqube-server/latest/extension-guide/web-api/>.
//!
//! A User token of an account with Browse on the projects: Bearer since version 10, before that the user of Basic. The
//! server's version and mode (Standard Experience, or MQR: severities per software quality) decide the parameters; Cloud says
//! it is version 8.0 and is told by its host. Pages are numbered and end at row 10,000: longer lists are cut into [`slice`]s.
//! A project that does not exist or may not be seen answers an empty list, so an empty one counts only when the project is
//! proved to be readable. Rule texts are asked for once per rule. No known rate limit.

mod finding;
mod projects;
mod rule;
mod server;
mod slice;
mod walk;
mod wire;

use std::time::Duration;

use tokio::sync::OnceCell;

use self::{
    projects::{Projects, next_list},
    rule::Rule,
    server::{Server, USER_TOKEN, Valid, expiry},
    slice::Slice,
    walk::Slices,
    wire::{Components, Key, Rows},
};
use crate::{Excerpt, kit::Cache, prelude::*};

const PAGE: u64 = 500;
/// No search shows rows beyond this one.
const WINDOW: u64 = 10_000;
/// Bytes of rule texts kept.
const TEXTS: usize = 8 << 20;

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
        Ok(SonarQube { bearer, basic, settings, server: OnceCell::new(), rules: Cache::new(TEXTS, Rule::bytes) })
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
                None => return Ok(Page::empty(Next::FULL)),
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
pub(super) struct Branches {
    pub(super) branches: Vec<Branch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Branch {
    pub(super) name: String,
    #[serde(default)]
    pub(super) is_main: bool,
}
