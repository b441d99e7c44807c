//! OWASP Dependency-Track 4.x and 5.x, REST API v1 <https://docs.dependencytrack.org/integrations/rest-api/>.
//!
//! A team's API key (`X-Api-Key`) with `VIEW_PORTFOLIO` and `VIEW_VULNERABILITY`. Lists are paged by number with the total
//! in `X-Total-Count`, except that version 4 answers a project's whole finding list to every page number: the one rule here
//! serves both. Findings have no time of change, so every pass is a full one. No rate limit: the server is the customer's.

mod finding;

use std::time::Duration;

use self::finding::{Key, Wire, finding};
use crate::prelude::*;

/// Rows asked for per page of findings, and of projects (version 4 computes metrics for each project of a page).
const FINDINGS: u64 = 500;
const PROJECTS: u64 = 100;
const PORTFOLIO: &str = "give the key's team the permission VIEW_PORTFOLIO (Administration > Access Management > Teams)";
const VULNERABILITY: &str =
    "give the key's team the permission VIEW_VULNERABILITY and, with portfolio access control, map it to the project";

/// The connector.
#[derive(Debug)]
pub struct DependencyTrack {
    http: Http,
    frontend: Option<Box<str>>,
}

/// Fields of a Dependency-Track connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// API key of a team that has `VIEW_PORTFOLIO` and `VIEW_VULNERABILITY` (Administration > Access Management > Teams).
    secret: Secret,
    /// Address of the web interface, for deep links: `https://dtrack.example.com`. Without it findings have no link.
    #[serde(default)]
    frontend_url: Option<String>,
}

/// How far a list has been read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Pages read.
    pages: u64,
    /// Rows in them.
    rows: u64,
    /// First key of the last page: version 4 repeats its one page for ever.
    first: Option<String>,
}

impl Connector for DependencyTrack {
    const META: Meta = Meta {
        id: "dependency_track",
        title: "OWASP Dependency-Track",
        docs: "https://docs.dependencytrack.org/integrations/rest-api/",
        record: "project (version)",
        location_help: "URL of the API server, such as https://dtrack-api.example.com (not of the web interface)",
        permissions: &["VIEW_PORTFOLIO", "VIEW_VULNERABILITY"],
        shifting: true,
        timeout: Duration::from_secs(180),
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Link) -> Result<Self> {
        link.location = link.location.without_endings(&["/v1", "/api"]);
        let http = link.http(&Self::META, Auth::Header("x-api-key", settings.secret))?;
        Ok(DependencyTrack { http, frontend: settings.frontend_url.map(|url| url.trim_end_matches('/').into()) })
    }

    async fn scopes(&self, _: &Cx, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(Scope::by_record(job, "projects", "findings"))
    }

    async fn page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        let Cursor { pages, rows, first } = ask.cursor;
        let projects = ask.scope.list == "projects";
        let size = if projects { PROJECTS } else { FINDINGS };
        // Number and size have to be sent both, and no sort: an explicit one loses the server's tie-breaker.
        let request = if projects {
            self.http.get("/api/v1/project", &[]).query("excludeInactive", Some(true))
        } else {
            self.http.get("/api/v1/finding/project/{}", &[&ask.scope.key]).query("suppressed", Some(true))
        };
        let sent = request.query("pageNumber", Some(pages + 1)).query("pageSize", Some(size)).send::<Vec<Box<RawValue>>>(cx).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind, Kind::Elsewhere(_)) && pages == 0 => return Err(self.told_from_frontend(cx, error).await),
            Err(error) => return Err(error.if_forbidden(if projects { PORTFOLIO } else { VULNERABILITY })),
        };
        if answer.headers.get("x-api-deprecated").is_some() {
            cx.warn("the server calls this API deprecated (X-API-Deprecated): a newer version of the connector may be needed");
        }
        let count = answer.body.len() as u64;
        let key = answer.body.first().and_then(|raw| serde_json::from_str::<Key>(raw.get()).ok()).and_then(Key::key);
        if count == 0 || (key.is_some() && key == first) {
            return Ok(Page::empty(Next::FULL));
        }
        // "AT_LEAST" is a lower bound that the server stopped counting at.
        let bounded = answer.headers.get("x-total-count-type").is_some_and(|kind| kind == "AT_LEAST");
        let total = answer.count("x-total-count").filter(|total| !bounded && *total > 0);
        let rows = rows + count;
        // A full page is not the last one, whatever the total says: it may be a cap, or wrong.
        let ended = (count < size && total.is_none_or(|total| rows >= total)) || (pages == 0 && count > size);
        let next = if ended { Next::FULL } else { Next::More(Cursor { pages: pages + 1, rows, first: key }) };
        let read = if projects {
            items(answer.body, &[], |project: Project| self.record(project, cx), Key::key)
        } else {
            items(answer.body, &[], |wire: Wire| finding(wire, &ask.scope.key, self.project_url(&ask.scope.key), cx), Key::key)
        };
        Ok(Page::new(read, total, next))
    }

    async fn check(&self, cx: &Cx) -> Result<Checked> {
        let mut checked = Checked::default();
        let version = match self.http.get("/api/version", &[]).anonymous().send::<Version>(cx).await {
            Ok(answer) => answer.body,
            Err(error) if matches!(error.kind, Kind::Elsewhere(_) | Kind::Shape { .. } | Kind::Refused { .. }) => {
                return Err(self.told_from_frontend(cx, error).await);
            }
            Err(error) => return Err(error),
        };
        checked.facts.push(format!("{} {}", version.application, version.version));
        // It tells of the first team of the key only, and not every version has it: a hint, the real calls decide.
        if let Ok(team) = self.http.get("/api/v1/team/self", &[]).send::<Team>(cx).await {
            checked.facts.push(format!("key of team {}", text::line(&team.body.name)));
            for needed in Self::META.permissions {
                if !team.body.permissions.iter().any(|permission| permission.name == *needed) {
                    checked.warnings.push(format!("team {} does not show the permission {needed}", text::line(&team.body.name)));
                }
            }
        }
        let page = self.http.get("/api/v1/project", &[]).query("pageNumber", Some(1)).query("pageSize", Some(1));
        let answer =
            page.query("excludeInactive", Some(true)).send::<Vec<Project>>(cx).await.map_err(|error| error.if_forbidden(PORTFOLIO))?;
        checked.facts.push(format!("{} projects visible", answer.count("x-total-count").unwrap_or(answer.body.len() as u64)));
        let Some(project) = answer.body.first() else {
            checked.warnings.push("no project is visible: with portfolio access control the team has to be mapped to the projects".into());
            return Ok(checked);
        };
        let findings = self.http.get("/api/v1/finding/project/{}", &[&project.uuid]).query("suppressed", Some(true));
        let findings = findings.query("pageNumber", Some(1)).query("pageSize", Some(1));
        findings.send::<Vec<Box<RawValue>>>(cx).await.map_err(|error| error.if_forbidden(VULNERABILITY))?;
        Ok(checked)
    }
}

impl DependencyTrack {
    fn record(&self, project: Project, cx: &Cx) -> Result<Item, String> {
        if project.active == Some(false) {
            cx.filter_ignored("excludeInactive");
            return Ok(Item::Skipped { key: project.uuid.into(), reason: "inactive project" });
        }
        if project.collection_logic.as_deref().is_some_and(|logic| logic != "NONE") {
            return Ok(Item::Skipped { key: project.uuid.into(), reason: "collection project" });
        }
        let mut name = text::line(&project.name).into_string();
        if let Some(version) = project.version.filter(|version| !version.is_empty()) {
            name = format!("{name} {}", text::line(&version));
        }
        let tags = project.tags.into_iter().filter_map(|tag| tag.name).collect::<Vec<_>>().join(", ");
        Ok(Item::Record(Record {
            url: self.project_url(&project.uuid),
            key: project.uuid.into(),
            name: name.into(),
            kind: "project".into(),
            attributes: attributes([
                ("group", project.group),
                ("classifier", project.classifier),
                ("purl", project.purl),
                ("tags", Some(tags)),
            ]),
        }))
    }

    fn project_url(&self, uuid: &str) -> Option<Box<str>> {
        Some(format!("{}/projects/{uuid}", self.frontend.as_deref()?).into())
    }

    /// The usual mistake is to give the web interface's address: it serves pages, and a file that names the API server.
    async fn told_from_frontend(&self, cx: &Cx, error: Error) -> Error {
        let found = self.http.get("/static/config.json", &[]).anonymous().send::<Frontend>(cx).await;
        match found.ok().map(|answer| answer.body.api_base_url) {
            Some(api) if !api.is_empty() => error.with_hint(format!(
                "`location` is the web interface of Dependency-Track; set it to the API server, which its configuration names as {}",
                text::line(&api)
            )),
            Some(_) => error.with_hint("`location` is the web interface of Dependency-Track; set it to the address of the API server"),
            None => error
                .with_hint("`location` does not look like a Dependency-Track API server: GET {location}/api/version has to answer JSON"),
        }
    }
}

#[derive(Deserialize)]
struct Version {
    application: String,
    version: String,
}

#[derive(Deserialize)]
struct Team {
    name: String,
    #[serde(default)]
    permissions: Vec<Permission>,
}

#[derive(Deserialize)]
struct Permission {
    name: String,
}

#[derive(Deserialize)]
struct Frontend {
    #[serde(rename = "API_BASE_URL", default)]
    api_base_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Project {
    uuid: String,
    name: String,
    version: Option<String>,
    group: Option<String>,
    classifier: Option<String>,
    purl: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    collection_logic: Option<String>,
    active: Option<bool>,
}

#[derive(Deserialize)]
struct Tag {
    name: Option<String>,
}
