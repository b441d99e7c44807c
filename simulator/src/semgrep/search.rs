//! The two lists of findings: their parameters, and what fits them.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::json;

use super::{
    DEPLOYMENT, SLUG, Server, WINDOW, answer,
    body::{BRANCHES, Kind},
    not_found, odd,
    world::{Finding, Project, Row, World},
};
use crate::list::List;

/// The parameters as they came: names may repeat.
pub(super) struct Parameters(pub(super) Vec<(String, String)>);

pub(super) type Refused = Box<Response>;

impl Parameters {
    fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A list, whether the name repeats or one value has commas in it.
    fn list(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).flat_map(|(_, value)| value.split(',')).filter(|word| !word.is_empty()).collect()
    }

    pub(super) fn number(&self, name: &str, otherwise: usize, least: usize, most: usize) -> Result<usize, Refused> {
        let Some(text) = self.one(name) else { return Ok(otherwise) };
        text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| bad(name, text))
    }

    fn word<'a>(&'a self, name: &str, known: &[&str]) -> Result<Option<&'a str>, Refused> {
        self.one(name).map(|word| if known.contains(&word) { Ok(word) } else { Err(bad(name, word)) }).transpose()
    }

    fn words<'a>(&'a self, name: &str, known: &[&str]) -> Result<Vec<&'a str>, Refused> {
        self.list(name).into_iter().map(|word| if known.contains(&word) { Ok(word) } else { Err(bad(name, word)) }).collect()
    }
}

fn bad(name: &str, value: &str) -> Refused {
    Box::new((StatusCode::BAD_REQUEST, Json(json!({ "message": format!("invalid value for {name}: {value:?}") }))).into_response())
}

const STATUSES: &[&str] = &["open", "fixed", "ignored", "reviewing", "fixing", "provisionally_ignored"];
const SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];
/// Documented, but not simulated.
const OTHER_FILTERS: &[&str] = &[
    "triage_reasons",
    "policies",
    "rules",
    "categories",
    "confidence",
    "autotriage_verdict",
    "component_tags",
    "exposures",
    "transitivities",
    "is_malicious",
    "click_to_fix_pr_state",
];

struct Filter {
    kind: Kind,
    dedup: bool,
    page: usize,
    size: usize,
    since: i64,
    branch: Option<String>,
    status: Option<String>,
    severities: Vec<String>,
    /// Which projects are wanted, by index; `None` is all of them.
    projects: Option<Vec<bool>>,
}

impl Filter {
    fn read(query: &Parameters, world: &World) -> Result<Filter, Refused> {
        if let Some(name) = OTHER_FILTERS.iter().find(|name| query.one(name).is_some()) {
            return Err(bad(name, "not simulated"));
        }
        let kind = match query.word("issue_type", &["sast", "sca", "ai_sast"])? {
            Some("sca") => Kind::Sca,
            Some("ai_sast") => Kind::AiSast,
            _ => Kind::Sast,
        };
        let since = match query.one("since") {
            #[expect(clippy::cast_possible_truncation, reason = "microseconds since 1970 fit")]
            Some(text) => (text.parse::<f64>().map_err(|_| bad("since", text))? * 1e6) as i64,
            None => i64::MIN,
        };
        let (names, ids) = (query.list("repos"), query.list("repository_ids"));
        if let Some(id) = ids.iter().find(|id| id.parse::<u64>().is_err()) {
            return Err(bad("repository_ids", id));
        }
        let wanted = |project: &Project| {
            (names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(&project.name)))
                && (ids.is_empty() || ids.iter().any(|id| *id == project.id.to_string()))
        };
        let any = !names.is_empty() || !ids.is_empty();
        Ok(Filter {
            kind,
            dedup: query.word("dedup", &["true", "false"])? == Some("true"),
            page: query.number("page", 0, 0, usize::MAX)?,
            size: query.number("page_size", 100, 100, 3000)?,
            since,
            branch: query.one("ref").map(|branch| if branch == "_default" { BRANCHES[0] } else { branch }.to_owned()),
            status: query.word("status", STATUSES)?.map(str::to_owned),
            severities: query.words("severities", SEVERITIES)?.into_iter().map(str::to_owned).collect(),
            projects: any.then(|| world.projects.iter().map(wanted).collect()),
        })
    }

    fn fits(&self, row: &Row, finding: &Finding) -> bool {
        // A branch of its own has each finding once.
        (row.first || !self.dedup || self.branch.is_some())
            && finding.since >= self.since
            && self.branch.as_ref().is_none_or(|branch| branch == BRANCHES[row.branch])
            && self.status.as_ref().is_none_or(|status| status == finding.status)
            && (self.severities.is_empty() || self.severities.iter().any(|severity| severity == finding.severity))
            && self.projects.as_ref().is_none_or(|projects| projects[finding.project])
    }
}

pub(super) async fn findings(
    State(server): State<Server>,
    Path(slug): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    if slug != SLUG {
        return not_found();
    }
    let world = server.tool.world();
    let filter = match Filter::read(&Parameters(query), &world) {
        Ok(filter) => filter,
        Err(refused) => return *refused,
    };
    let fault = server.faults.take("GET /api/v1/deployments/findings");
    let lags = server.tool.lags;
    let window = if lags { WINDOW } else { usize::MAX };
    let fitting = world.lists[filter.kind as usize].iter().rev().map(|row| (row, &world.findings[row.finding]));
    let fitting = fitting.filter(|(row, finding)| filter.fits(row, finding) && !(lags && finding.ticket));
    let Ok(page) = (List::Numbered { page: filter.page + 1, size: filter.size }).page(fitting.take(window).collect(), fault) else {
        return not_found();
    };
    let text = |(row, finding): &(&Row, &Finding)| format!("{{\"id\":{},\"ref\":\"{}\",{}", row.id, BRANCHES[row.branch], finding.rest);
    answer(format!("{{\"findings\":[{}]}}", page.json(text, |row| odd(&text(row), row.1))))
}

const SECRET_STATUSES: &[&str] = &["UNSPECIFIED", "OPEN", "IGNORED", "FIXED", "REMOVED", "UNKNOWN", "PROVISIONALLY_IGNORED"];

/// What is asked of the list of secrets.
struct SecretFilter<'a> {
    status: Option<&'a str>,
    severities: Vec<&'a str>,
    repos: Vec<&'a str>,
    /// Only findings since then, in microseconds since 1970.
    since: i64,
}

impl<'a> SecretFilter<'a> {
    fn read(query: &'a Parameters) -> Result<Self, Refused> {
        let known = |prefix: &str, words: &[&str]| -> Vec<String> { words.iter().map(|word| format!("{prefix}{word}")).collect() };
        let (statuses, severities) =
            (known("FINDING_STATUS_", SECRET_STATUSES), known("SEVERITY_", &["UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "CRITICAL"]));
        let status = query.word("status", &statuses.iter().map(String::as_str).collect::<Vec<_>>())?;
        let severities = query.words("severity", &severities.iter().map(String::as_str).collect::<Vec<_>>())?;
        let status = status.filter(|status| *status != "FINDING_STATUS_UNSPECIFIED");
        if let Some(value) = query.one("validationState").filter(|value| *value != "VALIDATION_STATE_UNSPECIFIED") {
            return Err(bad("validationState", value));
        }
        let since = match query.one("since") {
            Some(text) => text.parse::<Timestamp>().map_err(|_| bad("since", text))?.as_microsecond(),
            None => i64::MIN,
        };
        Ok(SecretFilter { status, severities, repos: query.list("repo"), since })
    }

    fn fits(&self, world: &World, finding: &Finding) -> bool {
        let is_status = |status: &str| status.strip_prefix("FINDING_STATUS_").is_some_and(|word| word.eq_ignore_ascii_case(finding.status));
        let is_severity = |word: &&str| word.ends_with("UNSPECIFIED") || word[9..].eq_ignore_ascii_case(finding.severity);
        finding.since >= self.since
            && self.status.is_none_or(is_status)
            && (self.severities.is_empty() || self.severities.iter().any(is_severity))
            && (self.repos.is_empty() || self.repos.contains(&world.projects[finding.project].name.as_str()))
    }
}

pub(super) async fn secrets(
    State(server): State<Server>,
    Path(deployment): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let query = Parameters(query);
    match deployment.parse::<u64>() {
        Ok(DEPLOYMENT) => {}
        Ok(_) => return not_found(),
        Err(_) => return *bad("deploymentId", &deployment),
    }
    let fault = server.faults.take("GET /api/v1/deployments/secrets findings");
    let read = || -> Result<_, Refused> {
        let limit = query.number("limit", 100, 1, usize::MAX)?.min(500);
        Ok((limit, SecretFilter::read(&query)?))
    };
    let (limit, filter) = match read() {
        Ok(read) => read,
        Err(refused) => return *refused,
    };
    let (cursor, cursors) = (query.one("cursor").unwrap_or_default(), &server.tool.cursors);
    let list = List::Cursor { cursor, size: limit, cursors };
    let world = server.tool.world();
    let rows = world.lists[Kind::Secrets as usize].iter().map(|row| &world.findings[row.finding]);
    let Ok(page) = list.page(rows.filter(|finding| filter.fits(&world, finding)).collect(), fault) else { return *bad("cursor", cursor) };
    // A full page has a next one, which may be empty; an empty page has an empty cursor, a shorter one none.
    let next = match (page.next.clone(), page.rows.len()) {
        (Some(next), _) => format!(",\"cursor\":{}", json!(next)),
        (None, 0) => ",\"cursor\":\"\"".to_owned(),
        (None, count) if count == limit => format!(",\"cursor\":\"{}\"", cursors.of(list.from().unwrap_or_default() + limit)),
        _ => String::new(),
    };
    let text = |finding: &&Finding| format!("{{{}", finding.rest);
    answer(format!("{{\"findings\":[{}]{next}}}", page.json(text, |finding| odd(&text(finding), finding))))
}
