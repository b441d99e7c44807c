//! OWASP Dependency-Track 4.x and 5.x, REST API v1 <https://docs.dependencytrack.org/integrations/rest-api/>.
//!
//! A team's API key (`X-Api-Key`) with `VIEW_PORTFOLIO` and `VIEW_VULNERABILITY`. Lists are paged by number with the total
//! in `X-Total-Count`, except that version 4 answers a project's whole finding list to every page number: the one rule here
//! serves both. Findings have no time of change, so every pass is a full one. No rate limit: the server is the customer's.

use std::time::Duration;

use crate::{kit::Loose, prelude::*};

/// Rows asked for per page of findings, and of projects (version 4 computes metrics for each project of a page).
const FINDINGS: u64 = 500;
const PROJECTS: u64 = 100;

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
        Ok(match job {
            Job::Discover => vec![Scope::account("projects")],
            Job::Sync(records) => records.iter().map(|record| Scope::of("findings", record)).collect(),
        })
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
            Err(error) => return Err(error.with_permission(projects)),
        };
        if answer.headers.get("x-api-deprecated").is_some() {
            cx.warn("the server calls this API deprecated (X-API-Deprecated): a newer version of the connector may be needed");
        }
        let count = answer.body.len() as u64;
        let key = answer.body.first().and_then(|raw| serde_json::from_str::<Key>(raw.get()).ok()).and_then(Key::key);
        if count == 0 || (key.is_some() && key == first) {
            return Ok(Page::new((Vec::new(), Vec::new()), None, Next::Done(Coverage::Full, None)));
        }
        // "AT_LEAST" is a lower bound that the server stopped counting at.
        let bounded = answer.headers.get("x-total-count-type").is_some_and(|kind| kind == "AT_LEAST");
        let total = answer.count("x-total-count").filter(|total| !bounded && *total > 0);
        let rows = rows + count;
        let ended = total.map_or(count < size, |total| rows >= total) || (pages == 0 && count > size);
        let next = if ended { Next::Done(Coverage::Full, None) } else { Next::More(Cursor { pages: pages + 1, rows, first: key }) };
        let read = if projects {
            items(answer.body, &[], |project: Project| self.record(project), Key::key)
        } else {
            items(answer.body, &[], |finding: Wire| self.finding(finding, &ask.scope.key, cx), Key::key)
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
        let page = self
            .http
            .get("/api/v1/project", &[])
            .query("pageNumber", Some(1))
            .query("pageSize", Some(1))
            .query("excludeInactive", Some(true));
        let answer = page.send::<Vec<Project>>(cx).await.map_err(|error| error.with_permission(true))?;
        checked.facts.push(format!("{} projects visible", answer.count("x-total-count").unwrap_or(answer.body.len() as u64)));
        let Some(project) = answer.body.first() else {
            checked.warnings.push("no project is visible: with portfolio access control the team has to be mapped to the projects".into());
            return Ok(checked);
        };
        let findings = self.http.get("/api/v1/finding/project/{}", &[&project.uuid]).query("suppressed", Some(true));
        let findings = findings.query("pageNumber", Some(1)).query("pageSize", Some(1));
        findings.send::<Vec<Box<RawValue>>>(cx).await.map_err(|error| error.with_permission(false))?;
        Ok(checked)
    }
}

impl DependencyTrack {
    fn record(&self, project: Project) -> Result<Item, String> {
        if project.collection_logic.as_deref().is_some_and(|logic| logic != "NONE") {
            return Ok(Item::Skipped { key: project.uuid.into(), reason: "collection project" });
        }
        let mut name = text::line(&project.name).into_string();
        if let Some(version) = project.version.filter(|version| !version.is_empty()) {
            name = format!("{name} {}", text::line(&version));
        }
        let tags = project.tags.into_iter().filter_map(|tag| tag.name).collect::<Vec<_>>().join(", ");
        let attributes = [("group", project.group), ("classifier", project.classifier), ("purl", project.purl), ("tags", Some(tags))];
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value?)?))).collect();
        let url = self.project_url(&project.uuid);
        Ok(Item::Record(Record { key: project.uuid.into(), name: name.into(), kind: "project".into(), url, attributes }))
    }

    fn project_url(&self, uuid: &str) -> Option<Box<str>> {
        Some(format!("{}/projects/{uuid}", self.frontend.as_deref()?).into())
    }

    fn finding(&self, wire: Wire, project: &str, cx: &Cx) -> Result<Item, String> {
        let Wire { component, vulnerability, analysis, attribution, matrix } = wire;
        let id = vulnerability.vuln_id.as_str();
        let version = component.version.as_deref().unwrap_or_default();
        let separator = if version.is_empty() { "" } else { ":" };
        let score = |loose: &Loose| loose.number();
        let cvss = Cvss::read(
            "4.0",
            vulnerability.cvss_v4_vector.as_deref(),
            score(&vulnerability.cvss_v4_base_score).or(score(&vulnerability.cvss_v4_score)),
        )
        .or_else(|| Cvss::read("3.1", vulnerability.cvss_v3_vector.as_deref(), score(&vulnerability.cvss_v3_base_score)))
        .or_else(|| Cvss::read("2.0", vulnerability.cvss_v2_vector.as_deref(), score(&vulnerability.cvss_v2_base_score)));
        let mut tags: Vec<Box<str>> = Vec::new();
        let word = vulnerability.severity.as_deref().unwrap_or("UNASSIGNED");
        let severity = match word {
            "CRITICAL" => Severity::Critical,
            "HIGH" => Severity::High,
            "MEDIUM" => Severity::Medium,
            "LOW" => Severity::Low,
            "INFO" => Severity::Info,
            "UNASSIGNED" => {
                tags.push("unassigned".into());
                cvss.as_ref().map_or(Severity::Unknown, Cvss::severity)
            }
            other => {
                cx.warn(format!("unknown severity `{}`", text::line(other)));
                Severity::Unknown
            }
        };
        let analysis = analysis.unwrap_or_default();
        let analyzed = analysis.state.as_deref().unwrap_or("NOT_SET");
        let state = match analyzed {
            "FALSE_POSITIVE" | "NOT_AFFECTED" => State::FalsePositive,
            "RESOLVED" => State::Fixed,
            _ if analysis.is_suppressed => State::RiskAccepted,
            "EXPLOITABLE" => {
                tags.push("verified".into());
                State::Open
            }
            "IN_TRIAGE" | "NOT_SET" => State::Open,
            other => {
                cx.warn(format!("unknown analysis state `{}`", text::line(other)));
                State::Open
            }
        };
        let suppressed = if analysis.is_suppressed { ", suppressed" } else { "" };
        let aliases = vulnerability.aliases.iter().flat_map(Alias::ids).chain([id]);
        let (mut cve, mut identifiers) = (Vec::<Box<str>>::new(), Vec::<Box<str>>::new());
        for alias in aliases {
            let list = if alias.starts_with("CVE-") { &mut cve } else { &mut identifiers };
            if !alias.is_empty() && !list.iter().any(|known| **known == *alias) {
                list.push(alias.into());
            }
        }
        // The vulnerability's own id comes first: it is the one in the title.
        if let Some(own) = cve.iter().position(|known| **known == *id) {
            cve.swap(0, own);
        }
        let mut cwe: Vec<i64> = vulnerability.cwes.iter().filter_map(|cwe| cwe.cwe_id.whole()).collect();
        if cwe.is_empty() {
            cwe.extend(vulnerability.cwe_id.whole());
        }
        let attribution = attribution.unwrap_or_default();
        tags.extend([&attribution.analyzer_identity, &component.scope].into_iter().flatten().map(|tag| text::line(tag)));
        tags.extend(
            component
                .latest_version
                .filter(|latest| !latest.is_empty())
                .map(|latest| format!("latest version {}", text::line(&latest)).into()),
        );
        let mut references = vulnerability.references.as_deref().map(text::links).unwrap_or_default();
        references.extend(attribution.reference_url.filter(|url| !references.iter().any(|known| **known == **url)).map(Into::into));
        let parts = [vulnerability.title.as_deref(), vulnerability.subtitle.as_deref(), vulnerability.description.as_deref()];
        let analyst = analysis.detail.as_deref().map(|detail| format!("Analysis: {detail}"));
        let description =
            parts.into_iter().chain([analyst.as_deref()]).flatten().filter(|part| !part.trim().is_empty()).collect::<Vec<_>>().join("\n\n");
        let name = match component.group.as_deref() {
            Some(group) if !group.is_empty() => format!("{group}/{}", component.name),
            _ => component.name.clone(),
        };
        Ok(Item::Finding(Box::new(Finding {
            rule: text::keep(id),
            title: text::line(&format!("{}{separator}{version} affected by {id}", component.name)),
            description: text::keep(&description),
            severity,
            vendor_severity: Some(text::line(word)),
            state,
            vendor_state: Some(text::line(&format!("{analyzed}{suppressed}"))),
            cwe: cwe.into_iter().map(|id| format!("CWE-{id}").into()).collect(),
            cve,
            identifiers,
            cvss,
            epss_score: vulnerability.epss_score.number(),
            exploited: vulnerability.is_kev,
            component_name: text::keep(&name),
            component_version: text::keep(version),
            component_purl: component.purl.as_deref().and_then(text::purl),
            asset_key: component.uuid.map(Into::into),
            remediation: vulnerability.recommendation.as_deref().and_then(text::keep),
            reference_urls: references,
            tags,
            url: self.project_url(project),
            vendor_first_seen: attribution
                .attributed_on
                .whole()
                .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
                .or_else(|| text::time(attribution.attributed_on.text()?)),
            ..Finding::new(matrix, project, Category::Sca)
        })))
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

trait WithPermission {
    fn with_permission(self, projects: bool) -> Self;
}

impl WithPermission for Error {
    fn with_permission(self, projects: bool) -> Self {
        if !matches!(self.kind, Kind::Forbidden(_)) {
            return self;
        }
        self.with_hint(if projects {
            "give the key's team the permission VIEW_PORTFOLIO (Administration > Access Management > Teams)"
        } else {
            "give the key's team the permission VIEW_VULNERABILITY and, with portfolio access control, map it to the project"
        })
    }
}

#[derive(Deserialize)]
struct Key {
    matrix: Option<String>,
    uuid: Option<String>,
}

impl Key {
    fn key(self) -> Option<String> {
        self.matrix.or(self.uuid)
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
}

#[derive(Deserialize)]
struct Tag {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Wire {
    component: Component,
    vulnerability: Vulnerability,
    analysis: Option<Analysis>,
    attribution: Option<Attribution>,
    matrix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    uuid: Option<String>,
    #[serde(default)]
    name: String,
    group: Option<String>,
    version: Option<String>,
    purl: Option<String>,
    scope: Option<String>,
    latest_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vulnerability {
    vuln_id: String,
    title: Option<String>,
    subtitle: Option<String>,
    description: Option<String>,
    recommendation: Option<String>,
    references: Option<String>,
    severity: Option<String>,
    #[serde(default)]
    cvss_v2_base_score: Loose,
    #[serde(default)]
    cvss_v3_base_score: Loose,
    #[serde(default)]
    cvss_v4_base_score: Loose,
    #[serde(default)]
    cvss_v4_score: Loose,
    cvss_v2_vector: Option<String>,
    cvss_v3_vector: Option<String>,
    cvss_v4_vector: Option<String>,
    #[serde(default)]
    epss_score: Loose,
    is_kev: Option<bool>,
    #[serde(default)]
    cwe_id: Loose,
    #[serde(default)]
    cwes: Vec<Weakness>,
    #[serde(default)]
    aliases: Vec<Alias>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Weakness {
    #[serde(default)]
    cwe_id: Loose,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    cve_id: Option<String>,
    ghsa_id: Option<String>,
    sonatype_id: Option<String>,
    osv_id: Option<String>,
    snyk_id: Option<String>,
    vuln_db_id: Option<String>,
}

impl Alias {
    fn ids(&self) -> impl Iterator<Item = &str> {
        [&self.cve_id, &self.ghsa_id, &self.sonatype_id, &self.osv_id, &self.snyk_id, &self.vuln_db_id]
            .into_iter()
            .filter_map(Option::as_deref)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Analysis {
    state: Option<String>,
    #[serde(default)]
    is_suppressed: bool,
    detail: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attribution {
    analyzer_identity: Option<String>,
    #[serde(default)]
    attributed_on: Loose,
    reference_url: Option<String>,
}
