//! OWASP Dependency-Track 4.x and 5.x, REST API v1 <https://docs.dependencytrack.org/integrations/rest-api/>.
//!
//! A team's API key (`X-Api-Key`) with `VIEW_PORTFOLIO` and `VIEW_VULNERABILITY`. Lists are paged by number with the total
//! in `X-Total-Count`, except that version 4 answers a project's whole finding list to every page number: the one rule here
//! serves both. Findings have no time of change, so every pass is a full one. While an imported BOM is being analysed the list
//! of its project is short or empty and looks complete: the project itself tells, see [`standing`]. No rate limit: the server
//! is the customer's.

mod finding;
mod server;
mod standing;

use std::time::Duration;

use tokio::sync::OnceCell;

use self::{
    finding::{Key, Place, Wire, alike, finding},
    server::Server,
    standing::Standing,
};
use crate::{
    kit::{Request, Response, Scalar, in_parts, or_default},
    prelude::*,
};

/// Rows asked for per page of findings, and of projects (version 4 computes metrics for each project of a page).
const FINDINGS: u64 = 500;
const PROJECTS: u64 = 100;
const PORTFOLIO: &str = "give the key's team the permission VIEW_PORTFOLIO (Administration > Access Management > Teams)";
const VULNERABILITY: &str =
    "give the key's team the permission VIEW_VULNERABILITY and, with portfolio access control, map it to the project";

/// The connector for one connection: its client, and what its settings say.
#[derive(Debug)]
pub struct DependencyTrack {
    http: Http,
    frontend: Option<Box<str>>,
    /// Facts about the server.
    server: OnceCell<Server>,
}

/// Fields of a Dependency-Track connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// API key of a team that has `VIEW_PORTFOLIO` and `VIEW_VULNERABILITY` (Administration > Access Management > Teams).
    secret: Secret,
    /// Address of the web interface, for deep links: `https://dtrack.example.com`. May be left out where it is served at
    /// `location` too; else findings have no link without it.
    #[serde(default)]
    frontend_url: Option<String>,
}

/// How far a list has been read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cursor {
    /// Pages of the list that were read.
    pages: u64,
    /// Rows in them.
    rows: u64,
    /// First key of the last page: version 4 repeats its one page for ever.
    first: Option<String>,
    /// How far the project was analysed before its findings were read.
    before: Option<Standing>,
    /// Which of [`CONNECTORS`] is read, when the list is too long for one answer.
    source: Option<usize>,
    /// Rows of all sources.
    listed: u64,
}

/// Where version 4 has vulnerabilities from, for a project whose findings are too many for one answer.
const CONNECTORS: [&str; 11] = ["NVD", "GITHUB", "OSV", "SNYK", "OSSINDEX", "VULNDB", "NPM", "RETIREJS", "TRIVY", "INTERNAL", "UNKNOWN"];

impl Connector for DependencyTrack {
    const META: Meta = Meta {
        id: "dependency_track",
        title: "OWASP Dependency-Track",
        docs: "https://docs.dependencytrack.org/integrations/rest-api/",
        record: "project (version)",
        location_help: "URL of the API server, such as https://dtrack-api.example.com (not of the web interface)",
        permissions: &["VIEW_PORTFOLIO", "VIEW_VULNERABILITY"],
        timeout: Duration::from_secs(180),
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Endpoint) -> Result<Self> {
        link.location = link.location.without_endings(&["/v1", "/api"]);
        let http = link.http(&Self::META, Auth::header("x-api-key", settings.secret))?;
        let frontend = settings.frontend_url.map(|url| url.trim_end_matches('/').into());
        Ok(DependencyTrack { http, frontend, server: OnceCell::new() })
    }

    async fn scopes(&self, _: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(Scope::by_record(job, "projects", "findings", Absence::ProofTwice))
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        if ask.scope.list == "projects" { self.projects(cx, ask.cursor).await } else { self.findings(cx, ask).await }
    }

    async fn not_ready(&self, cx: &Context) -> Option<Box<str>> {
        server::not_ready(&self.http, cx).await
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let mut checked = CheckReport::default();
        let version = match self.http.get("/api/version", &[]).anonymous().send::<server::Version>(cx).await {
            Ok(answer) => answer.body,
            Err(error) if matches!(error.kind, ErrorKind::NotAnApi(_) | ErrorKind::UnexpectedBody { .. } | ErrorKind::Refused { .. }) => {
                return Err(self.told_from_frontend(cx, error).await);
            }
            Err(error) => return Err(error),
        };
        checked.facts.push(format!("{} {}", version.application, version.version));
        // It tells of the first team of the key only, and not every version has it: a hint, the real calls decide.
        if let Ok(team) = self.http.get("/api/v1/team/self", &[]).send::<Team>(cx).await {
            checked.facts.push(format!("key of team {}", text::single_line(team.body.name.text().unwrap_or_default())));
            for needed in Self::META.permissions {
                if !team.body.permissions.iter().any(|permission| permission.name == *needed) {
                    checked.warnings.push(format!(
                        "team {} does not show the permission {needed}",
                        text::single_line(team.body.name.text().unwrap_or_default())
                    ));
                }
            }
        }
        let page = self.http.get("/api/v1/project", &[]).query("pageNumber", Some(1)).query("pageSize", Some(1));
        let answer = page.query("excludeInactive", Some(true)).needs(PORTFOLIO).send::<Vec<Box<RawValue>>>(cx).await?;
        checked.facts.push(format!("{} projects visible", answer.count("x-total-count").unwrap_or(answer.body.len() as u64)));
        let first = answer.body.first().and_then(|raw| serde_json::from_str::<Key>(raw.get()).ok()?.uuid);
        let Some(project) = first else {
            checked.warnings.push("no project is visible: with portfolio access control the team has to be mapped to the projects".into());
            return Ok(checked);
        };
        let findings = self.http.get("/api/v1/finding/project/{}", &[&project]).query("suppressed", Some(true));
        let findings = findings.query("pageNumber", Some(1)).query("pageSize", Some(1));
        findings.needs(VULNERABILITY).send::<Vec<Box<RawValue>>>(cx).await?;
        if self.server(cx).await?.frontend.is_none() {
            checked.warnings.push("the web interface is not at `location`: set `frontend_url` to its address to get deep links".into());
        }
        Ok(checked)
    }
}

/// A page of a list.
struct Paged {
    rows: Vec<Box<RawValue>>,
    total: Option<u64>,
    /// After the page.
    cursor: Cursor,
    /// Whether it was the last one.
    ended: bool,
}

impl DependencyTrack {
    async fn projects(&self, cx: &Context, cursor: Cursor) -> Result<Page<Cursor>> {
        let request = self.http.get("/api/v1/project", &[]).query("excludeInactive", Some(true)).needs(PORTFOLIO);
        let Paged { rows, total, cursor, ended } = match self.paged(cx, request, PROJECTS, &cursor).await {
            Ok(paged) => paged,
            Err(error) if matches!(error.kind, ErrorKind::NotAnApi(_)) => return Err(self.told_from_frontend(cx, error).await),
            Err(error) => return Err(error),
        };
        let frontend = self.server(cx).await?.frontend.as_deref();
        let read = items(rows, &[], |project: Project| Ok(record(project, frontend, cx)), Key::key);
        Ok(Page::new(read, total, if ended { Next::FULL } else { Next::More(cursor) }))
    }

    async fn findings(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        let (project, mut cursor) = (&*ask.scope.key, ask.cursor);
        let before = match cursor.before {
            Some(before) => before,
            None => self.standing(cx, project).await?,
        };
        cursor.before = Some(before);
        let source = cursor.source.and_then(|source| CONNECTORS.get(source));
        let request = self.http.get("/api/v1/finding/project/{}", &[project]).query("suppressed", Some(true)).query("source", source);
        let request = request.needs(VULNERABILITY);
        let Paged { rows, total, mut cursor, ended } = match self.paged(cx, request, FINDINGS, &cursor).await {
            Ok(paged) => paged,
            Err(error) => self.unlisted(cx, error, cursor).await?,
        };
        let mut is_last = ended;
        if let (true, Some(source)) = (ended, cursor.source) {
            let (before, listed) = (Some(before), cursor.listed);
            is_last = source + 1 == CONNECTORS.len();
            if !is_last {
                cursor = Cursor { before, listed, source: Some(source + 1), ..Cursor::default() };
            }
        }
        let server = self.server(cx).await?;
        let place = Place { project, frontend: server.frontend.as_deref(), links_findings: server.links_findings() };
        let key = |raw: &RawValue| serde_json::from_str::<Key>(raw.get()).ok()?.key();
        let read = in_parts(ask.parts, rows, key, |rows| {
            let mut read = items(rows, &[], |wire: Wire| finding(wire, &place, cx), Key::key);
            alike(&mut read.items);
            read
        });
        let read = read.await;
        let total = total.filter(|_| cursor.source.is_none());
        let next = if is_last { self.end(cx, project, &cursor, before, ask.mark).await? } else { Next::More(cursor) };
        Ok(Page::new(read, total, next))
    }

    /// The next page of a list. Number and size have to be sent both, and no sort: an explicit one loses the server's tie-breaker.
    async fn paged(&self, cx: &Context, request: Request<'_>, size: u64, cursor: &Cursor) -> Result<Paged> {
        let request = request.query("pageNumber", Some(cursor.pages + 1)).query("pageSize", Some(size));
        let answer: Response<Vec<Box<RawValue>>> = request.send(cx).await?;
        if answer.headers.get("x-api-deprecated").is_some() {
            cx.warn("the server calls this API deprecated (X-API-Deprecated): a newer version of the connector may be needed");
        }
        let count = answer.body.len() as u64;
        let key = answer.body.first().and_then(|raw| serde_json::from_str::<Key>(raw.get()).ok()).and_then(Key::key);
        if count == 0 || (key.is_some() && key == cursor.first) {
            return Ok(Paged { rows: Vec::new(), total: None, cursor: cursor.clone(), ended: true });
        }
        // "AT_LEAST" is a lower bound that the server stopped counting at.
        let bounded = answer.headers.get("x-total-count-type").is_some_and(|kind| kind == "AT_LEAST");
        let total = answer.count("x-total-count").filter(|total| !bounded && *total > 0);
        let rows = cursor.rows + count;
        // A full page is not the last one, whatever the total says: it may be a cap, or wrong.
        let ended = (count < size && total.is_none_or(|total| rows >= total)) || (cursor.pages == 0 && count > size);
        let cursor = Cursor { pages: cursor.pages + 1, rows, first: key, listed: cursor.listed + count, ..cursor.clone() };
        Ok(Paged { rows: answer.body, total, cursor, ended })
    }

    /// What follows when a project's list, or that of one source, could not be read. Version 4 knows no pages here: a list beyond
    /// the limit is read source by source.
    async fn unlisted(&self, cx: &Context, error: Error, cursor: Cursor) -> Result<Paged> {
        let nothing = |cursor, ended| Ok(Paged { rows: Vec::new(), total: None, cursor, ended });
        match (&error.kind, cursor.source) {
            (ErrorKind::TooLarge { .. }, None) if self.server(cx).await?.is_v4() => {
                cx.warn("a project's list of findings is larger than this program reads at once, so it is read by the sources of its vulnerabilities; Dependency-Track 5 answers it in pages");
                nothing(Cursor { source: Some(0), before: cursor.before, ..Cursor::default() }, false)
            }
            // Each version has its own sources: of one that it does not know there is no finding.
            (ErrorKind::Refused { status: 400 | 404, .. }, Some(_)) => nothing(cursor, true),
            (ErrorKind::TooLarge { .. }, _) => Err(error.with_hint(
                "Dependency-Track 4 answers all findings of a project, or of one source of vulnerabilities, at once: \
                 update to version 5, which answers in pages, or divide the project",
            )),
            _ => Err(error),
        }
    }

    async fn server(&self, cx: &Context) -> Result<&Server> {
        self.server.get_or_try_init(|| Server::probe_server(&self.http, self.frontend.as_deref(), cx)).await
    }

    /// The usual mistake is to give the web interface's address: it serves pages, and a file that names the API server.
    async fn told_from_frontend(&self, cx: &Context, error: Error) -> Error {
        let found = self.http.get("/static/config.json", &[]).anonymous().send::<server::Frontend>(cx).await;
        match found.ok().map(|answer| answer.body.api_base_url) {
            Some(api) if !api.is_empty() => error.with_hint(format!(
                "`location` is the web interface of Dependency-Track; set it to the API server, which its configuration names as {}",
                text::single_line(&api)
            )),
            Some(_) => error.with_hint("`location` is the web interface of Dependency-Track; set it to the address of the API server"),
            None => error
                .with_hint("`location` does not look like a Dependency-Track API server: GET {location}/api/version has to answer JSON"),
        }
    }
}

/// The record that a project is.
fn record(project: Project, frontend: Option<&str>, cx: &Context) -> Item {
    if project.active == Some(false) {
        cx.filter_ignored("excludeInactive");
        return Item::Skipped { key: project.uuid.into(), reason: "inactive project" };
    }
    if project.collection_logic.as_deref().is_some_and(|logic| !logic.eq_ignore_ascii_case("none")) {
        return Item::Skipped { key: project.uuid.into(), reason: "collection project" };
    }
    let tags = project.tags.iter().filter_map(Tag::name).collect::<Vec<_>>().join(", ");
    Item::Record(Record {
        url: frontend.and_then(|frontend| finding::link(frontend, &["projects", &project.uuid])),
        name: named(&project.name, &project.version).unwrap_or_else(|| project.uuid.clone()).into(),
        kind: "project".into(),
        attributes: attributes([
            ("version", project.version.0),
            ("is_latest", project.is_latest.map(|latest| latest.to_string())),
            ("parent", project.parent.and_then(|parent| named(&parent.name, &parent.version))),
            ("group", project.group.0),
            ("classifier", project.classifier.0),
            ("purl", project.purl.0),
            ("tags", Some(tags)),
        ]),
        key: project.uuid.into(),
    })
}

/// Name and version of a project.
fn named(name: &Scalar, version: &Scalar) -> Option<String> {
    let name = text::single_line(name.text()?).into_string();
    Some(version.text().map_or_else(|| name.clone(), |version| format!("{name} {}", text::single_line(version))))
}

#[derive(Deserialize)]
struct Team {
    #[serde(default)]
    name: Scalar,
    #[serde(default, deserialize_with = "or_default")]
    permissions: Vec<Permission>,
}

#[derive(Deserialize)]
struct Permission {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Project {
    uuid: String,
    #[serde(default)]
    name: Scalar,
    #[serde(default)]
    version: Scalar,
    #[serde(default)]
    group: Scalar,
    #[serde(default)]
    classifier: Scalar,
    #[serde(default)]
    purl: Scalar,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<Tag>,
    collection_logic: Option<String>,
    active: Option<bool>,
    is_latest: Option<bool>,
    parent: Option<Parent>,
}

#[derive(Deserialize)]
struct Parent {
    #[serde(default)]
    name: Scalar,
    #[serde(default)]
    version: Scalar,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Tag {
    Object {
        #[serde(default)]
        name: Scalar,
    },
    Text(Scalar),
}

impl Tag {
    fn name(&self) -> Option<&str> {
        let (Tag::Object { name } | Tag::Text(name)) = self;
        name.text()
    }
}
