//! Snyk: the REST API, what the V1 API adds to it, and the token endpoint of service accounts.
//!
//! Resolved issues stay listed for two steps more, as the real ones do for a while. An ignore does not move `updated_at`;
//! a resolution and a changed severity do. Links are relative and start with `/rest` unless [`Snyk::links`] says otherwise.
//! A parameter that the specification does not name, or that comes twice, is refused.
//!
//! Cursors name the last row, so a page cannot shift, and [`Fault::ShiftedPage`] is ignored.

#[cfg(test)]
mod tests;
mod world;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::world::{Issue, Org, Project, World};
use crate::{Change, Fault, Faults, Oracle, Size, Truth, Vendor};

const KEY: &str = "5e1f00d0-51aa-4b1c-8e2d-0123456789ab";
const CLIENT: (&str, &str) = ("c0ffee00-1234-4abc-9def-0a1b2c3d4e5f", "sim-client-secret-7f3e9b");
const SEVERITIES: [&str; 5] = ["info", "low", "medium", "high", "critical"];

/// The form in which a page names its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// `/rest/orgs/…`
    Rest,
    /// `/orgs/…`, as in the vendor's documentation.
    Bare,
    /// `http://host/rest/orgs/…`
    Absolute,
    /// `{ "href": "/rest/orgs/…" }`
    Object,
}

/// A simulated region.
#[derive(Debug)]
pub struct Snyk {
    links: Links,
    has_oauth: bool,
    has_self: bool,
    in_brownout: bool,
    /// Requests that one window of this length allows.
    limit: Option<(u32, Duration)>,
    permissions: Vec<&'static str>,
    world: Mutex<World>,
    session: Mutex<Session>,
}

#[derive(Debug)]
struct Session {
    tokens: Vec<String>,
    window: Instant,
    used: u32,
    requests: u64,
}

impl Snyk {
    /// A group of two organizations with projects, and one that stands alone and has none. One project has no issue, one
    /// has five; one is inactive and keeps its issues.
    pub fn new(size: Size) -> Self {
        Snyk {
            links: Links::Rest,
            has_oauth: false,
            has_self: true,
            in_brownout: false,
            limit: None,
            permissions: vec![
                "org.read",
                "org.project.read",
                "org.project.snapshot.read",
                "org.project.ignore.read",
                "group.read",
                "group.org.list",
                "group.issues.read",
            ],
            world: Mutex::new(World::new(size)),
            session: Mutex::new(Session { tokens: Vec::new(), window: Instant::now(), used: 0, requests: 0 }),
        }
    }

    /// Another form of links.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// A service account with a client id and secret in the place of a token.
    #[must_use]
    pub fn oauth(mut self) -> Self {
        self.has_oauth = true;
        self
    }

    /// A kind of credential that may not ask who it is.
    #[must_use]
    pub fn without_self(mut self) -> Self {
        self.has_self = false;
        self
    }

    /// Takes a permission away from the credential.
    #[must_use]
    pub fn without_permission(mut self, name: &str) -> Self {
        self.permissions.retain(|known| *known != name);
        self
    }

    /// One more organization in the lists, of which the credential may read nothing.
    #[must_use]
    pub fn with_closed_org(self) -> Self {
        self.world().close_an_org();
        self
    }

    /// The aggregated issues of V1 answer 410.
    #[must_use]
    pub fn in_brownout(mut self) -> Self {
        self.in_brownout = true;
        self
    }

    /// More than this many requests in a window of this length are refused with 429 until it ends.
    #[must_use]
    pub fn limited(mut self, requests: u32, window: Duration) -> Self {
        self.limit = Some((requests, window));
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepts(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, secret)) = authorization.and_then(|value| value.split_once(' ')) else { return false };
        match scheme.to_ascii_lowercase().as_str() {
            "token" => !self.has_oauth && secret == KEY,
            "bearer" => self.session().tokens.iter().any(|token| token == secret),
            _ => false,
        }
    }

    /// Counts a request: (allowed, limit, remaining, seconds to the next window, number of the request).
    fn count(&self) -> (bool, u32, u32, u64, u64) {
        let (limit, window) = self.limit.unwrap_or((1620, Duration::from_secs(60)));
        let mut session = self.session();
        if session.window.elapsed() >= window {
            (session.window, session.used) = (Instant::now(), 0);
        }
        session.used = session.used.saturating_add(1);
        session.requests += 1;
        let left = window.saturating_sub(session.window.elapsed());
        // Without a limit of its own the simulator only counts: it never says that nothing remains.
        let floor = u32::from(self.limit.is_none());
        let remaining = limit.saturating_sub(session.used).max(floor);
        (
            self.limit.is_none() || session.used <= limit,
            limit,
            remaining,
            left.as_millis().div_ceil(1000).try_into().unwrap_or(60),
            session.requests,
        )
    }
}

impl Vendor for Snyk {
    fn id(&self) -> &'static str {
        "snyk"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let server = Server { tool: self, faults };
        Router::new()
            .route("/rest/{*path}", get(rest))
            .route("/v1/{*path}", get(v1).post(v1))
            .fallback(|| std::future::ready(refused(404, "Not Found")))
            .layer(from_fn_with_state(server.clone(), guard))
            .route("/oauth2/token", post(token))
            .with_state(server)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => refused(403, "Permission denied for this resource").into_response(),
            _ => refused(401, "Unauthorized").into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        if self.has_oauth {
            vec![("client_id", CLIENT.0.to_owned()), ("client_secret", CLIENT.1.to_owned())]
        } else {
            vec![("secret", KEY.to_owned())]
        }
    }

    fn filters(&self) -> &'static [&'static str] {
        &["updated_after", "ignored", "type", "ids"]
    }

    fn step(&self, change: &Change) {
        self.world().step(change);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        // Without the list of ignores nobody can tell a false positive from an accepted risk.
        let reasons = self.permissions.contains(&"org.project.ignore.read");
        let records = world.projects.iter().map(|project| (project.id.clone(), project.name.clone()));
        let mut oracle = Oracle { records: records.collect(), ..Oracle::default() };
        // Licence issues are off unless the user wants them.
        for issue in world.issues.iter().filter(|issue| issue.ever_open && issue.kind != "license") {
            let state = match issue.state() {
                "false_positive" if !reasons => "risk_accepted",
                state => state,
            };
            let truth = Truth { record: world.projects[issue.project].id.clone(), severity: issue.severity, state };
            oracle.findings.insert(issue.id.clone(), truth);
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Snyk>,
    faults: Arc<Faults>,
}

/// A refusal in the form of the REST API.
#[derive(Debug)]
struct Refused {
    status: u16,
    detail: Cow<'static, str>,
    parameter: Option<String>,
}

fn refused(status: u16, detail: impl Into<Cow<'static, str>>) -> Refused {
    Refused { status, detail: detail.into(), parameter: None }
}

fn wrong(parameter: &str, detail: &'static str) -> Refused {
    Refused { status: 400, detail: detail.into(), parameter: Some(parameter.to_owned()) }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut error = json!({ "id": "0f6c1e5e-77aa-4f0e-9a55-5d6a7b8c9d0e", "status": self.status.to_string(), "detail": self.detail });
        if let Some(parameter) = self.parameter {
            error["source"] = json!({ "parameter": parameter });
        }
        answer(self.status, json!({ "jsonapi": { "version": "1.0" }, "errors": [error] }).to_string())
    }
}

fn answer(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/vnd.api+json; charset=utf-8")], body).into_response()
}

/// A refusal in the form of the V1 API.
fn refused_v1(status: u16, message: &str) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "code": status, "message": message, "error": message });
    (code, [("x-error-reference", "8d5c9f1e-simulated")], Json(body)).into_response()
}

async fn guard(State(server): State<Server>, uri: Uri, request: Request, next: Next) -> Response {
    let is_v1 = uri.path().starts_with("/v1/");
    let (allowed, limit, remaining, reset, number) = server.tool.count();
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut response = if !allowed {
        if is_v1 { refused_v1(429, "Too Many Requests") } else { refused(429, "Too Many Requests").into_response() }
    } else if server.tool.accepts(authorization.as_deref()) {
        next.run(request).await
    } else if is_v1 {
        refused_v1(401, "Not authorised")
    } else if authorization.is_none() {
        // The other form that the vendor shows.
        answer(401, json!({ "status": "401", "code": "Unauthorized" }).to_string())
    } else {
        refused(401, "Unauthorized").into_response()
    };
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    if let Ok(id) = HeaderValue::from_str(&format!("00000000-0000-4000-8000-{number:012x}")) {
        headers.insert("snyk-request-id", id);
    }
    response
}

/// Client credentials, sent as a form.
async fn token(State(server): State<Server>, headers: HeaderMap, body: String) -> Response {
    let no = |status: StatusCode, error: &str, description: &str| {
        (status, Json(json!({ "error": error, "error_description": description }))).into_response()
    };
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let form = format!("/?{body}").parse::<Uri>().ok().and_then(|uri| Query::<HashMap<String, String>>::try_from_uri(&uri).ok());
    let Some(Query(form)) = form.filter(|_| is_form) else {
        return no(StatusCode::BAD_REQUEST, "invalid_request", "The request is no form");
    };
    let of = |name: &str| form.get(name).map_or("", String::as_str);
    if of("grant_type") != "client_credentials" {
        return no(StatusCode::BAD_REQUEST, "unsupported_grant_type", "The authorization grant type is not supported");
    }
    if !server.tool.has_oauth || (of("client_id"), of("client_secret")) != CLIENT {
        return no(StatusCode::UNAUTHORIZED, "invalid_client", "Client authentication failed");
    }
    let mut session = server.tool.session();
    let token = format!("sim.access.{:06}", session.tokens.len() + 1);
    session.tokens.push(token.clone());
    let scope = server.tool.permissions.join(" ");
    Json(json!({ "access_token": token, "expires_in": 3599, "token_type": "bearer", "scope": scope })).into_response()
}

/// One request to the REST API: where it goes, and with what.
struct Asked<'a> {
    server: &'a Server,
    path: &'a str,
    host: &'a str,
    pairs: Vec<(String, String)>,
}

async fn rest(State(server): State<Server>, uri: Uri, headers: HeaderMap, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    let asked = Asked { server: &server, path: uri.path(), host, pairs };
    let path: Vec<&str> = uri.path().trim_start_matches("/rest/").split('/').collect();
    let (released, answered) = match path[..] {
        ["self"] => ("2024-04-22", asked.myself()),
        ["orgs"] => ("2024-02-28", asked.orgs(None)),
        ["groups"] => ("2023-01-30~beta", asked.groups()),
        ["groups", group, "orgs"] => ("2024-02-28", asked.orgs(Some(group))),
        ["groups", group, "issues"] => ("2024-01-23", asked.issues(Place::Group(group))),
        ["orgs", org, "issues"] => ("2024-01-23", asked.issues(Place::Org(org))),
        ["orgs", org, "issues", issue] => ("2024-01-23", asked.issue(org, issue)),
        ["orgs", org, "projects"] => ("2024-05-31", asked.projects(org, None)),
        ["orgs", org, "projects", project] => ("2024-05-31", asked.projects(org, Some(project))),
        ["orgs", org, "targets"] => ("2024-02-21", asked.targets(org)),
        _ => return refused(404, "Not Found").into_response(),
    };
    // A version that is wrong is told before anything else.
    let mut response = match asked.version(released).and(answered) {
        Ok(body) => answer(200, body),
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    if let Ok(Some(Ok(version))) = asked.one("version").map(|version| version.map(HeaderValue::from_str)) {
        headers.insert("snyk-version-requested", version);
    }
    headers.insert("snyk-version-served", HeaderValue::from_static(released));
    headers.insert("snyk-version-lifecycle-stage", HeaderValue::from_static(if released.contains('~') { "beta" } else { "ga" }));
    response
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Org(&'a str),
    Group(&'a str),
}

/// The rows that a page asks for: those after a row, those before a row, or the last.
struct Window {
    after: Option<usize>,
    before: Option<usize>,
    limit: usize,
}

impl Window {
    /// Of these rows, in ascending order, those on the page.
    fn select(&self, rows: &[usize], keep: impl Fn(usize) -> bool) -> Vec<usize> {
        if let Some(before) = self.before {
            let end = rows.partition_point(|row| *row < before);
            let mut page: Vec<usize> = rows[..end].iter().rev().copied().filter(|row| keep(*row)).take(self.limit).collect();
            page.reverse();
            page
        } else {
            let start = self.after.map_or(0, |after| rows.partition_point(|row| *row <= after));
            rows[start..].iter().copied().filter(|row| keep(*row)).take(self.limit).collect()
        }
    }
}

/// An opaque cursor. One row has two of them, so that a repeated page does not look like a loop.
fn cursor(row: usize, again: bool) -> String {
    format!("v1.{row:08x}{}==", u8::from(again))
}

fn row_of(cursor: &str) -> Option<usize> {
    let digits = cursor.strip_prefix("v1.")?.strip_suffix("==")?;
    let (row, _) = digits.split_at_checked(8).filter(|(_, again)| matches!(*again, "0" | "1"))?;
    usize::from_str_radix(row, 16).ok()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

impl Asked<'_> {
    /// A parameter that may come once.
    fn one(&self, name: &str) -> Result<Option<&str>, Refused> {
        let mut values = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(wrong(name, "must not be an array")),
            (value, None) => Ok(value),
        }
    }

    /// A list with commas.
    fn list(&self, name: &str) -> Result<Option<Vec<&str>>, Refused> {
        Ok(self.one(name)?.map(|value| value.split(',').collect()))
    }

    fn choice(&self, name: &str, allowed: &[&str]) -> Result<Option<&str>, Refused> {
        let value = self.one(name)?;
        if value.is_some_and(|value| !allowed.contains(&value)) { Err(wrong(name, "must be one of the allowed values")) } else { Ok(value) }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        Ok(self.choice(name, &["true", "false"])?.map(|value| value == "true"))
    }

    fn time(&self, name: &str) -> Result<Option<i64>, Refused> {
        let parse = |value: &str| value.parse::<Timestamp>().map_err(|_| wrong(name, "must match format date-time"));
        Ok(self.one(name)?.map(parse).transpose()?.map(Timestamp::as_millisecond))
    }

    /// Refuses what the endpoint does not know, besides these and the words of every request.
    fn only(&self, known: &str) -> Result<(), Refused> {
        let is_known = |name: &str| name == "version" || known.split(' ').any(|word| word == name);
        match self.pairs.iter().find(|(name, _)| !is_known(name)) {
            Some((name, _)) => Err(wrong(name, "is no parameter of this endpoint")),
            None => Ok(()),
        }
    }

    fn version(&self, released: &str) -> Result<(), Refused> {
        let Some(version) = self.one("version")? else { return Err(wrong("version", "is required")) };
        let (date, stage) = version.split_once('~').unwrap_or((version, ""));
        let is_date = date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok();
        if !is_date || !matches!(stage, "" | "beta" | "experimental" | "wip") {
            return Err(wrong("version", "is no version"));
        }
        let (first, needed) = released.split_once('~').unwrap_or((released, ""));
        if date < first || (!needed.is_empty() && stage.is_empty()) {
            return Err(refused(404, "The endpoint does not exist in this version"));
        }
        Ok(())
    }

    fn allowed(&self, permissions: &[&str]) -> Result<(), Refused> {
        match permissions.iter().find(|name| !self.server.tool.permissions.contains(name)) {
            Some(name) => Err(refused(403, format!("Permission denied for this resource, {name} is missing"))),
            None => Ok(()),
        }
    }

    fn window(&self, least: usize) -> Result<Window, Refused> {
        let limit = match self.one("limit")? {
            None => 10,
            Some(text) => match text.parse() {
                Ok(limit) if (least..=100).contains(&limit) && limit.is_multiple_of(least) => limit,
                _ => return Err(wrong("limit", "must be a multiple of 10, from 10 to 100")),
            },
        };
        let row = |name: &str, value: &str| row_of(value).ok_or_else(|| wrong(name, "is no valid cursor"));
        let after = self.one("starting_after")?.map(|value| row("starting_after", value)).transpose()?;
        let before = match self.one("ending_before")? {
            None => None,
            Some("end") => Some(usize::MAX),
            Some("") => Some(0),
            Some(value) => Some(row("ending_before", value)?),
        };
        if after.is_some() && before.is_some() {
            return Err(wrong("ending_before", "must not come with starting_after"));
        }
        Ok(Window { after, before, limit })
    }

    /// A link to the same list with another cursor.
    fn link(&self, limit: usize, cursor: Option<(&str, &str)>) -> Value {
        let limit = limit.to_string();
        let kept = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut pairs: Vec<(&str, &str)> =
            kept.filter(|(name, _)| !matches!(*name, "limit" | "starting_after" | "ending_before")).collect();
        pairs.push(("limit", &limit));
        pairs.extend(cursor);
        pairs.sort_unstable();
        let path = match self.server.tool.links {
            Links::Bare => self.path.trim_start_matches("/rest").to_owned(),
            Links::Absolute => format!("http://{}{}", self.host, self.path),
            Links::Rest | Links::Object => self.path.to_owned(),
        };
        let mut link = path;
        for (number, (name, value)) in pairs.into_iter().enumerate() {
            link.push(if number == 0 { '?' } else { '&' });
            link.push_str(name);
            link.push('=');
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    link.push(char::from(byte));
                } else {
                    let _ = write!(link, "%{byte:02X}");
                }
            }
        }
        if self.server.tool.links == Links::Object { json!({ "href": link }) } else { json!(link) }
    }

    /// A page of these rows, with the faults that only a list knows.
    fn page<'t>(
        &self,
        route: &str,
        mut window: Window,
        rows: &[usize],
        keep: impl Fn(usize) -> bool,
        text: impl Fn(usize) -> Cow<'t, str>,
        odd: impl Fn(&[usize]) -> Option<(usize, String)>,
    ) -> Result<String, Refused> {
        let fault = self.server.faults.take(route);
        let mut again = false;
        match (&fault, window.after) {
            (Some(Fault::NoRole), _) => return Ok(r#"{"jsonapi":{"version":"1.0"},"data":[]}"#.to_owned()),
            (Some(Fault::ExpiredCursor), Some(_)) => return Err(wrong("starting_after", "is no valid cursor")),
            (Some(Fault::DuplicatePage), Some(after)) => {
                (window.before, again) = (Some(after + 1), true);
            }
            _ => {}
        }
        let page = window.select(rows, keep);
        if page.is_empty() && window.after.is_none() {
            return Ok(r#"{"jsonapi":{"version":"1.0"},"data":[]}"#.to_owned());
        }
        let mut texts: Vec<Cow<'_, str>> = page.iter().map(|row| text(*row)).collect();
        match fault {
            Some(Fault::BadItem) if !texts.is_empty() => texts[0] = "[1,2]".into(),
            Some(Fault::UnknownEnum) => {
                if let Some((at, text)) = odd(&page) {
                    texts[at] = text.into();
                }
            }
            _ => {}
        }
        let limit = window.limit;
        let mut links = json!({
            "self": self.link(limit, self.pairs.iter().find(|(name, _)| name == "starting_after").map(|(n, v)| (n.as_str(), v.as_str()))),
            "first": self.link(limit, None),
            "last": self.link(limit, Some(("ending_before", "end"))),
            "prev": self.link(limit, Some(("ending_before", &window.after.and(page.first()).map_or_else(String::new, |row| cursor(*row, false))))),
        });
        // A full page names a next one, even if that will be empty.
        let goes_on = window.before.map_or(page.len() == limit, |before| before < usize::MAX);
        if let Some(last) = page.last().filter(|_| goes_on) {
            links["next"] = self.link(limit, Some(("starting_after", &cursor(*last, again))));
        }
        if fault == Some(Fault::RepeatedCursor) && links.get("next").is_some() {
            links["next"] = links["self"].clone();
        }
        Ok(format!(r#"{{"jsonapi":{{"version":"1.0"}},"links":{links},"data":[{}]}}"#, texts.join(",")))
    }

    /// A page of values that are made for this request.
    fn values(&self, route: &str, window: Window, values: &[Value]) -> Result<String, Refused> {
        let rows: Vec<usize> = (0..values.len()).collect();
        self.page(route, window, &rows, |_| true, |row| values[row].to_string().into(), |_| None)
    }

    fn single(&self, value: &Value) -> String {
        json!({ "jsonapi": { "version": "1.0" }, "links": { "self": self.path }, "data": value }).to_string()
    }

    fn myself(&self) -> Result<String, Refused> {
        self.only("")?;
        if !self.server.tool.has_self {
            return Err(refused(403, "Permission denied for this resource"));
        }
        let world = self.server.tool.world();
        let attributes = json!({ "name": "tributary-reader", "default_org_context": world.orgs[0].id });
        Ok(self.single(&json!({ "id": "6b9f2c34-0000-4000-8000-00000000a11c", "type": "service_account", "attributes": attributes })))
    }

    fn groups(&self) -> Result<String, Refused> {
        self.only("limit starting_after ending_before")?;
        self.allowed(&["group.read"])?;
        let group = json!({ "id": self.server.tool.world().group, "type": "group", "attributes": { "name": "Acme" } });
        self.values("GET /rest/groups", self.window(10)?, &[group])
    }

    fn orgs(&self, group: Option<&str>) -> Result<String, Refused> {
        let world = self.server.tool.world();
        if let Some(group) = group {
            self.only("limit starting_after ending_before name slug")?;
            self.group(&world, group, "group.org.list")?;
        } else {
            self.only("limit starting_after ending_before group_id is_personal slug name expand")?;
            self.allowed(&["org.read"])?;
        }
        let window = self.window(10)?;
        let group = group.or(self.one("group_id")?);
        let (personal, slug, name) = (self.flag("is_personal")?, self.one("slug")?, self.one("name")?.map(str::to_lowercase));
        let orgs = world.orgs.iter().filter(|org| {
            group.is_none_or(|group| org.in_group && group == world.group)
                && personal.is_none_or(|personal| personal != org.in_group)
                && slug.is_none_or(|slug| slug == org.slug)
                && name.as_ref().is_none_or(|name| org.name.to_lowercase().contains(name))
        });
        let values: Vec<Value> = orgs.map(|org| org.body(&world.group)).collect();
        self.values("GET /rest/orgs", window, &values)
    }

    fn group(&self, world: &World, group: &str, permission: &str) -> Result<(), Refused> {
        if !is_uuid(group) {
            return Err(wrong("group_id", "must match format uuid"));
        }
        self.allowed(&["group.read", permission])?;
        if group == world.group { Ok(()) } else { Err(refused(404, "Group not found")) }
    }

    /// The organization, if this credential may do that there.
    fn org<'w>(&self, world: &'w World, id: &str, permissions: &[&str]) -> Result<(usize, &'w Org), Refused> {
        if !is_uuid(id) {
            return Err(wrong("org_id", "must match format uuid"));
        }
        let found = world.orgs.iter().enumerate().find(|(_, org)| org.id == id).ok_or_else(|| refused(404, "Org not found"))?;
        if found.1.closed {
            return Err(refused(403, "Permission denied for this resource"));
        }
        self.allowed(permissions)?;
        Ok(found)
    }

    fn projects(&self, org: &str, project: Option<&str>) -> Result<String, Refused> {
        const FILTERS: &str = "limit starting_after ending_before target_id target_reference target_file target_runtime meta_count ids names \
            names_start_with origins types expand meta.latest_issue_counts meta.latest_dependency_total cli_monitored_before \
            cli_monitored_after importing_user_public_id tags business_criticality environment lifecycle";
        self.only(if project.is_some() { "expand meta.latest_issue_counts meta.latest_dependency_total" } else { FILTERS })?;
        let world = self.server.tool.world();
        let (number, _) = self.org(&world, org, &["org.read", "org.project.read"])?;
        let (expand, counts) = (self.choice("expand", &["target"])?.is_some(), self.flag("meta.latest_issue_counts")? == Some(true));
        let own = world.projects.iter().filter(|project| project.org == number);
        if let Some(id) = project {
            let found = own.clone().find(|project| project.id == id).ok_or_else(|| refused(404, "Project not found"))?;
            return Ok(self.single(&found.body(&world, expand, counts)));
        }
        let window = self.window(10)?;
        let mut wanted: Vec<(&str, Vec<&str>)> = Vec::new();
        for name in ["target_id", "target_reference", "target_file", "ids", "names", "names_start_with", "origins", "types"] {
            wanted.extend(self.list(name)?.map(|values| (name, values)));
        }
        let mut labels: Vec<(&str, Vec<&str>)> = Vec::new();
        for name in ["tags", "business_criticality", "environment", "lifecycle"] {
            labels.extend(self.list(name)?.map(|values| (name, values)));
        }
        let chosen = own.filter(|project| {
            wanted.iter().all(|(name, values)| values.iter().any(|value| project.is(name, value)))
                && labels.iter().all(|(name, values)| values.iter().all(|value| project.has_label(name, value)))
        });
        if self.choice("meta_count", &["only"])?.is_some() {
            return Ok(json!({ "jsonapi": { "version": "1.0" }, "links": {}, "data": [], "meta": { "count": chosen.count() } }).to_string());
        }
        let values: Vec<Value> = chosen.map(|project| project.body(&world, expand, counts)).collect();
        self.values(&format!("GET {}", self.path), window, &values)
    }

    fn targets(&self, org: &str) -> Result<String, Refused> {
        self.only("limit starting_after ending_before count is_private exclude_empty url source_types display_name created_gte")?;
        let world = self.server.tool.world();
        let (number, _) = self.org(&world, org, &["org.read", "org.project.read"])?;
        let window = self.window(1)?;
        let (name, url, sources) = (self.one("display_name")?, self.one("url")?, self.list("source_types")?);
        let own = world.targets.iter().enumerate().filter(|(_, target)| {
            target.org == number
                && name.is_none_or(|name| target.name.starts_with(name))
                && url.is_none_or(|url| url == target.url)
                && sources.as_ref().is_none_or(|sources| sources.contains(&target.origin))
        });
        let is_empty = |at: usize| !world.projects.iter().any(|project| project.target == at);
        let keep_empty = self.flag("exclude_empty")? == Some(false);
        let values: Vec<Value> =
            own.filter(|(at, _)| keep_empty || !is_empty(*at)).map(|(_, target)| target.body(&world.orgs[number].id)).collect();
        self.values(&format!("GET {}", self.path), window, &values)
    }

    fn issues(&self, place: Place<'_>) -> Result<String, Refused> {
        self.only(
            "limit starting_after ending_before scan_item.id scan_item.type type updated_before updated_after created_before \
             created_after effective_severity_level status ignored",
        )?;
        let world = self.server.tool.world();
        let own: &[usize] = match place {
            Place::Org(org) => &self.org(&world, org, &["org.read", "org.project.read", "org.project.snapshot.read"])?.1.issues,
            Place::Group(group) => {
                self.group(&world, group, "group.issues.read")?;
                &world.all
            }
        };
        let window = self.window(10)?;
        let item = self.one("scan_item.id")?;
        if item.is_some_and(|id| !is_uuid(id)) {
            return Err(wrong("scan_item.id", "must match format uuid"));
        }
        let is_environment = self.choice("scan_item.type", &["project", "environment"])? == Some("environment");
        let project = item.and_then(|id| world.projects.iter().position(|project| project.id == id));
        let rows = match (item, project) {
            _ if is_environment => &[],
            (None, _) => own,
            // A project of another organization has nothing here.
            (Some(_), Some(project)) if world.projects[project].issues.first().is_none_or(|row| own.binary_search(row).is_ok()) => {
                &world.projects[project].issues
            }
            (Some(_), _) => &[],
        };
        let kind = self.choice("type", &["package_vulnerability", "license", "cloud", "code", "custom", "config"])?;
        let severities = self.list("effective_severity_level")?;
        if severities.iter().flatten().any(|level| !SEVERITIES.contains(level)) {
            return Err(wrong("effective_severity_level", "must be one of the allowed values"));
        }
        let statuses = self.list("status")?;
        if statuses.iter().flatten().any(|status| !["open", "resolved"].contains(status)) {
            return Err(wrong("status", "must be one of the allowed values"));
        }
        let ignored = self.flag("ignored")?;
        let (updated, created) =
            ((self.time("updated_after")?, self.time("updated_before")?), (self.time("created_after")?, self.time("created_before")?));
        let within = |time: i64, (after, before): (Option<i64>, Option<i64>)| {
            after.is_none_or(|after| time > after) && before.is_none_or(|before| time < before)
        };
        let keep = |row: usize| {
            let issue = &world.issues[row];
            issue.listed
                && kind.is_none_or(|kind| kind == issue.kind)
                && severities.as_ref().is_none_or(|levels| levels.contains(&issue.severity))
                && statuses.as_ref().is_none_or(|statuses| statuses.contains(&if issue.resolved { "resolved" } else { "open" }))
                && ignored.is_none_or(|ignored| ignored == issue.ignored.is_some())
                && within(issue.updated, updated)
                && within(issue.created, created)
        };
        let odd = |page: &[usize]| {
            let fits = |issue: &Issue| issue.state() == "open" && issue.kind != "license";
            let at = page.iter().position(|row| fits(&world.issues[*row]))?;
            Some((at, world.issues[page[at]].with_odd_words()))
        };
        self.page(&format!("GET {} findings", self.path), window, rows, keep, |row| world.issues[row].body.as_str().into(), odd)
    }

    fn issue(&self, org: &str, id: &str) -> Result<String, Refused> {
        self.only("")?;
        let world = self.server.tool.world();
        let (_, org) = self.org(&world, org, &["org.read", "org.project.read", "org.project.snapshot.read"])?;
        let found = org.issues.iter().map(|row| &world.issues[*row]).find(|issue| issue.listed && issue.id == id);
        let issue = found.ok_or_else(|| refused(404, "Issue not found"))?;
        Ok(format!(r#"{{"jsonapi":{{"version":"1.0"}},"links":{{"self":"{}"}},"data":{}}}"#, self.path, issue.body))
    }
}

async fn v1(State(server): State<Server>, uri: Uri, headers: HeaderMap, request: Request) -> Response {
    let is_post = request.method() == "POST";
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
    let path: Vec<&str> = uri.path().trim_start_matches("/v1/").split('/').collect();
    let ["org", org, "project", project, list] = path[..] else { return refused_v1(404, "Not found") };
    let world = server.tool.world();
    let Some(number) = world.orgs.iter().position(|known| known.id == org) else { return refused_v1(404, "Org not found") };
    let permissions = &server.tool.permissions;
    let needed = if list == "ignores" { "org.project.ignore.read" } else { "org.project.snapshot.read" };
    if world.orgs[number].closed || !permissions.contains(&"org.read") || !permissions.contains(&needed) {
        return refused_v1(403, "Forbidden");
    }
    let Some(project) = world.projects.iter().find(|known| known.org == number && known.id == project) else {
        return refused_v1(404, "Project not found");
    };
    let no_role = server.faults.take(&format!("{} {}", if is_post { "POST" } else { "GET" }, uri.path())) == Some(Fault::NoRole);
    let text = match (is_post, list) {
        (false, "ignores") if no_role => "{}".to_owned(),
        (false, "ignores") => world.ignores(project).to_string(),
        (true, "aggregated-issues") if server.tool.in_brownout => return refused_v1(410, "Gone"),
        (true, "aggregated-issues") => {
            let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
            let options = if body.is_empty() { Ok(json!({})) } else { serde_json::from_slice::<Value>(&body) };
            let Ok(options) = options.and_then(|options| if is_json { Ok(options) } else { serde_json::from_str("") }) else {
                return refused_v1(400, "The body is no JSON");
            };
            if no_role { r#"{"issues":[]}"#.to_owned() } else { world.aggregated(project, &options) }
        }
        _ => return refused_v1(404, "Not found"),
    };
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], text).into_response()
}

impl Project {
    /// Whether a filter of this name and value lets it pass.
    fn is(&self, name: &str, value: &str) -> bool {
        match name {
            "ids" => self.id == value,
            "names" => self.name == value,
            "names_start_with" => self.name.starts_with(value),
            "origins" => self.attributes["origin"] == value,
            "types" => self.attributes["type"] == value,
            "target_id" => self.target_id == value,
            other => self.attributes[other] == value,
        }
    }

    fn has_label(&self, name: &str, value: &str) -> bool {
        let labels = self.attributes[name].as_array();
        labels.into_iter().flatten().any(|label| match label["key"].as_str() {
            Some(key) => value.split_once(':') == Some((key, label["value"].as_str().unwrap_or_default())),
            None => label == value,
        })
    }
}
