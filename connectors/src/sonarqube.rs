//! SonarQube Server and Community Build, and SonarQube Cloud, web API
//! <https://docs.sonarsource.com/sonarqube-server/latest/extension-guide/web-api/>.
//!
//! A User token of an account with Browse on the projects: Bearer since version 10, before that the user of Basic. The
//! server's version and mode (Standard Experience, or MQR: severities per software quality) decide the parameters; Cloud says
//! it is version 8.0 and is told by its host. Pages are numbered and end at row 10,000: longer lists are read from the server's
//! database where it offers that, else they are cut into [`slice`]s. A project that does not exist or may not be seen answers an
//! empty list, so an empty one counts only when the project is proved to be readable. While it starts the server refuses good
//! tokens and knows no call, and says so elsewhere. Rule texts are asked for once per rule. No known rate limit.

mod finding;
mod projects;
mod rule;
mod server;
mod slice;
mod walk;
mod wire;

use std::{sync::atomic::AtomicBool, time::Duration};

use tokio::sync::OnceCell;

use self::{
    projects::{Projects, next_list},
    rule::Rule,
    server::{ANALYSIS_TOKEN, Server, USER_TOKEN, Valid, expiry, is_unknown_url},
    slice::Slice,
    walk::{Changes, Database, Slices},
    wire::{Components, Key, Rows, Shown, Tasks},
};
use crate::{
    Excerpt,
    kit::{Cache, or_default},
    prelude::*,
};

const PAGE: u64 = 500;
/// No search shows rows beyond this one.
const WINDOW: u64 = 10_000;
/// Bytes of rule texts kept.
const TEXTS: usize = 8 << 20;

/// The connector for one connection: its client, and what its settings say.
#[derive(Debug)]
pub struct SonarQube {
    bearer: Http,
    basic: Http,
    settings: Settings,
    /// Facts about the server.
    server: OnceCell<Server>,
    rules: Cache<Rule>,
    /// Whether the token was refused in the way in which a server does that is at the end of its start.
    refused_by_start: AtomicBool,
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
    /// Branches to read, by name, such as `["main", "release"]`. A project that never had such a branch has no findings on it.
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
    /// Changed issues are being read, the newest first.
    Changes(Changes),
    /// A whole list is being read, slice by slice.
    Slices(Slices),
    /// A whole list is being read from the server's database.
    Database(Database),
}

/// One project's list.
#[derive(Clone, Copy)]
struct List<'a> {
    project: &'a str,
    /// The branch that the settings name.
    named: Option<&'a str>,
    hotspots: bool,
    /// Whether the server is asked for the wanted issues only.
    filtered: bool,
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
        expiry_header: Some("sonarqube-authentication-token-expiration"),
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(mut settings: Settings, mut link: Endpoint) -> Result<Self> {
        link.location = link.location.without_endings(&["/api"]);
        settings.organization = settings.organization.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        settings.branches.retain(|branch| !branch.trim().is_empty());
        let bearer = link.clone().http(&Self::META, Auth::Bearer(settings.secret.clone()))?;
        let basic = link.http(&Self::META, Auth::Basic(settings.secret.clone(), Secret::new("")))?;
        let (rules, refused_by_start) = (Cache::new(TEXTS, Rule::bytes), AtomicBool::new(false));
        Ok(SonarQube { bearer, basic, settings, server: OnceCell::new(), rules, refused_by_start })
    }

    async fn scopes(&self, _: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
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
                    let scope = Scope::of(list, record).absence(Absence::ProofTwice);
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

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        let server = self.server(cx).await?;
        if ask.scope.list == "projects" {
            let first = if server.cloud { Projects::All } else { Projects::Visible };
            let (list, pages) = if let Cursor::Projects(list, pages) = ask.cursor { (list, pages) } else { (first, 0) };
            return self.projects(cx, server, list, pages).await;
        }
        let project = ask.scope.record.as_deref().unwrap_or(&ask.scope.key);
        let named = ask.scope.key.strip_prefix(project).and_then(|rest| rest.strip_prefix('@'));
        let list = List { project, named, hotspots: ask.scope.list == "hotspots", filtered: true };
        let since = ask.since.filter(|_| !ask.full && !list.hotspots);
        let cursor = match ask.cursor {
            Cursor::Start | Cursor::Projects(..) => match self.branch(cx, server, list).await? {
                None => return Ok(Page::empty(without_branch(cx, list, ask.mark))),
                Some(branch) if since.is_some() => Cursor::Changes(Changes::of(branch)),
                Some(branch) => {
                    let analysed = if list.hotspots { None } else { self.analysed(cx, server, project, branch.as_deref()).await? };
                    Cursor::Slices(Slices::of(branch, analysed))
                }
            },
            cursor => cursor,
        };
        match (cursor, since) {
            (Cursor::Changes(walk), Some(since)) => self.changes(cx, server, list, walk, since, ask.mark).await,
            (Cursor::Slices(walk), _) if walk.is_to_be_cut() => self.cut(cx, server, list, walk).await,
            (Cursor::Slices(walk), _) => self.slices(cx, server, list, walk, ask.mark).await,
            (Cursor::Database(walk), _) => self.database(cx, server, list, walk, ask.mark).await,
            (Cursor::Changes(_) | Cursor::Start | Cursor::Projects(..), _) => {
                Err(Error::new("reading the stored cursor", ErrorKind::CursorExpired))
            }
        }
    }

    async fn not_ready(&self, cx: &Context) -> Option<Box<str>> {
        self.starting(cx).await
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let server = self.server(cx).await?;
        let mut checked = CheckReport::default();
        if let Some(kind) = self.analysis_token() {
            checked.warnings.push(format!("the token is a {kind}: {ANALYSIS_TOKEN}; {USER_TOKEN}"));
        }
        checked.facts.push(server.shown.clone());
        let mode = if server.mqr { "MQR mode: severities of the security impact" } else { "standard severities" };
        checked.facts.push(mode.to_owned());
        let valid = self.get(server, "/api/authentication/validate").send::<Valid>(cx).await.map_err(|error| self.with_hint(error))?;
        if !valid.body.valid {
            let why = ErrorKind::Unauthorized(Excerpt::new("the server calls the token not valid"));
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
            // An analysis token may be shown one project of all; what is wrong with it is told already.
            if self.analysis_token().is_none() {
                checked.warnings.push("no project is visible: give the token's account the permission Browse on the projects".into());
            }
            return Ok(checked);
        };
        self.ensure_readable(cx, server, &first, None).await?;
        for hotspots in [false, true].into_iter().take(1 + usize::from(self.settings.include_hotspots)) {
            let list = List { project: &first, named: None, hotspots, filtered: true };
            match self.search(server, list, None, &Slice::default()).query("p", Some(1)).query("ps", Some(1)).send::<Rows>(cx).await {
                Ok(_) => {}
                Err(error) if hotspots && is_retired(&error) => {
                    checked.warnings.push("this server has no security hotspots any more: it lists them as issues".into());
                }
                Err(error) => return Err(self.with_hint(error)),
            }
        }
        Ok(checked)
    }
}

impl SonarQube {
    /// Fails unless the project, and its branch, can be read: a search does not tell "nothing there" from "not for you".
    async fn ensure_readable(&self, cx: &Context, server: &Server, project: &str, branch: Option<&str>) -> Result<wire::PageContext> {
        let request = self.get(server, "/api/components/show").query("component", Some(project)).query("branch", branch);
        match request.send::<Shown>(cx).await {
            Ok(answer) => Ok(answer.body.component),
            Err(error) if matches!(error.kind, ErrorKind::Refused { status: 404, .. }) => {
                Err(error.with_hint("the project was deleted or renamed: a discover says so"))
            }
            Err(error) => Err(self.with_hint(error)),
        }
    }

    /// The date of the last analysis of which everything is listed, so that an issue of it can be missed no more. `None` while
    /// another one waits or is worked off, and where the server does not tell.
    async fn analysed(&self, cx: &Context, server: &Server, project: &str, branch: Option<&str>) -> Result<Option<String>> {
        let shown = match self.ensure_readable(cx, server, project, branch).await {
            Ok(shown) => shown,
            // Analysis tokens may not ask, and may list.
            Err(error) if matches!(error.kind, ErrorKind::Forbidden(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if shown.need_issue_sync {
            return Ok(None);
        }
        // Asked after the date: what was worked off by then is listed now.
        match self.get(server, "/api/ce/component").query("component", Some(project)).send::<Tasks>(cx).await {
            Ok(answer) => Ok(shown.analysis_date.filter(|date| !date.is_empty() && answer.body.queue.is_empty())),
            Err(error) if matches!(error.kind, ErrorKind::Refused { .. } | ErrorKind::Forbidden(_)) => Ok(None),
            Err(error) => Err(self.with_hint(error)),
        }
    }

    /// The branch as searches want it: the main one is never named, since Community Build knows no parameter for it.
    /// `None` when the project has no such branch.
    async fn branch(&self, cx: &Context, server: &Server, list: List<'_>) -> Result<Option<Option<String>>> {
        let Some(named) = list.named else { return Ok(Some(None)) };
        let request = self.get(server, "/api/project_branches/list").query("project", Some(list.project));
        let branches = request.send::<Branches>(cx).await.map_err(|error| self.with_hint(error))?.body.branches;
        let found = branches.into_iter().find(|branch| branch.name == named);
        Ok(found.map(|branch| (!branch.is_main).then_some(branch.name)))
    }
}

/// The end of a list of a branch that is not there. It was there when a pass came to its end before: then it was renamed or
/// deleted, and what it had is not known to be gone.
fn without_branch(cx: &Context, list: List<'_>, mark: Option<&str>) -> Next<Cursor> {
    let (project, branch) = (text::single_line(list.project), text::single_line(list.named.unwrap_or_default()));
    if mark.is_none() {
        cx.warn(format!("project {project} has no branch `{branch}`, which `branches` names"));
        return Next::FULL;
    }
    cx.incomplete(format!("project {project} has no branch `{branch}` any more: name the branch that replaced it in `branches`"));
    Next::Done(Coverage::Delta, None)
}

/// Whether the server has no such call (any more), as opposed to no such project. A server that starts has none either.
fn is_retired(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Refused { status: 410, .. }) || is_unknown_url(error)
}

#[derive(Deserialize)]
pub(super) struct Branches {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) branches: Vec<Branch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Branch {
    pub(super) name: String,
    #[serde(default)]
    pub(super) is_main: bool,
}
