//! Checkmarx One: the token endpoint of its IAM, projects, applications, scans and results.
//!
//! One server is both hosts: the realm's token endpoint and the API. `offset` of `/api/results` counts pages unless
//! [`Checkmarx::offset_in_items`] says otherwise; of every other list it counts rows. What counts of a project is the newest
//! scan, `Completed` or `Partial`, of its main branch, and of any branch where it names none; findings of an engine that
//! failed there are those of the last scan in which it did not. Decisions of people need no new scan.
//!
//! Keys of the [`Oracle`]: the project's id, the type, and what tells results of the type apart, with `/` between all parts.
//! Lists have offsets and no cursors, so [`Fault::ExpiredCursor`] is ignored. The endpoints of single
//! engines and of API risks do not exist here.

#[cfg(test)]
mod tests;
mod world;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::world::{Finding, Project, Scan, World};
use crate::{Change, Fault, Faults, Oracle, Size, Truth, Vendor};

/// Stands wherever the real tool has secrets of what it scans. No client may keep it.
pub const CANARY: &str = "canary-9d41c07b";
const REALM: &str = "acme-corp";
/// It has to be encoded in a form.
const CLIENT: (&str, &str) = ("tributary-reader", "s1m+cl%ent/s3cr=t&7f3e9b");
/// The offline token's head and signature; what is between names the realm.
const KEY: (&str, &str) = ("eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCIsImtpZCI6InNpbSJ9", "c2ltdWxhdGVkLXNpZ25hdHVyZS1vZi1hbi1vZmZsaW5lLXRva2Vu");
const STATUSES: [&str; 6] = ["Completed", "Partial", "Failed", "Canceled", "Running", "Queued"];

/// A simulated tenant.
#[derive(Debug)]
pub struct Checkmarx {
    has_client: bool,
    is_revoked: bool,
    in_items: bool,
    total_too_large: bool,
    life: Duration,
    uses: u32,
    roles: Vec<&'static str>,
    world: Mutex<World>,
    /// Access tokens: when each was made, and how often it was used.
    tokens: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Checkmarx {
    /// A tenant with an API key. One project has no result, one has five and no main branch; one was never scanned, and one
    /// never with success; in the fourth of five or more, one engine always fails; the last has most of the results.
    pub fn new(size: Size) -> Self {
        Checkmarx {
            has_client: false,
            is_revoked: false,
            in_items: false,
            total_too_large: false,
            life: Duration::from_secs(1800),
            uses: u32::MAX,
            roles: vec!["view-projects", "view-applications", "view-scans", "view-results"],
            world: Mutex::new(World::new(size)),
            tokens: Mutex::default(),
        }
    }

    /// An OAuth client with id and secret in the place of the API key.
    #[must_use]
    pub fn oauth(mut self) -> Self {
        self.has_client = true;
        self
    }

    /// The tenant's licence was changed: its API keys are no longer valid.
    #[must_use]
    pub fn with_revoked_key(mut self) -> Self {
        self.is_revoked = true;
        self
    }

    /// The other reading: `offset` of `/api/results` counts rows.
    #[must_use]
    pub fn offset_in_items(mut self) -> Self {
        self.in_items = true;
        self
    }

    /// How long an access token lives, and how many requests it serves before it dies early, whatever its `exp` says.
    #[must_use]
    pub fn tokens(mut self, life: Duration, uses: u32) -> Self {
        (self.life, self.uses) = (life, uses);
        self
    }

    /// Totals of results are larger than what is delivered. No listing is complete then, which the oracle does not know.
    #[must_use]
    pub fn with_too_large_totals(mut self) -> Self {
        self.total_too_large = true;
        self
    }

    /// At every other step, beginning with the first, the KICS engine fails in the last of the scanned projects.
    #[must_use]
    pub fn with_failing_engine(self) -> Self {
        self.world().fails = true;
        self
    }

    /// Takes a role away from the credential.
    #[must_use]
    pub fn without_role(mut self, name: &str) -> Self {
        self.roles.retain(|known| *known != name);
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepts(&self, authorization: &str) -> bool {
        let Some(token) = authorization.strip_prefix("Bearer ") else { return false };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((made, used)) = tokens.get_mut(token) else { return false };
        *used = used.saturating_add(1);
        made.elapsed() < self.life && *used <= self.uses
    }

    /// A new access token for callers who know the tenant's hosts by this URL.
    fn access_token(&self, url: &str) -> String {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = json!({
            "exp": (now + self.life).as_secs(), "iat": now.as_secs(), "jti": format!("sim-{}", tokens.len()), "typ": "Bearer",
            "iss": format!("{url}/auth/realms/{REALM}"), "aud": ["", format!("{url}/auth/realms/{REALM}"), "account"],
            "azp": if self.has_client { CLIENT.0 } else { "ast-app" }, "tenant_name": REALM, "ast-base-url": url,
            "roles_ast": self.roles, "ast-license": { "LicenseData": { "allowedEngines": ["SAST", "SCA", "KICS", "Containers"] } },
        });
        let token = format!("{}.{}.c2ltLWFjY2Vzcy10b2tlbg", KEY.0, base64(claims.to_string().as_bytes(), true));
        tokens.insert(token.clone(), (Instant::now(), 0));
        token
    }
}

/// Base64 with padding, or in the alphabet of URLs without.
fn base64(bytes: &[u8], for_url: bool) -> String {
    let alphabet: &[u8; 64] = if for_url {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    } else {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0, 0]).take(3).fold(0_usize, |bits, byte| (bits << 8) | usize::from(*byte));
        text.extend((0..=chunk.len()).map(|n| char::from(alphabet[(bits >> (18 - 6 * n)) & 63])));
        if !for_url {
            text.extend((chunk.len()..3).map(|_| '='));
        }
    }
    text
}

impl Vendor for Checkmarx {
    fn id(&self) -> &'static str {
        "checkmarx"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let server = Server { tool: self, faults };
        Router::new()
            .route("/api/{*path}", get(api))
            .fallback(|| std::future::ready(refused(404, "Not Found")))
            .layer(from_fn_with_state(server.clone(), guard))
            .route("/auth/realms/{realm}/protocol/openid-connect/token", post(token))
            .with_state(server)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => refused(403, "Forbidden: the permission is missing").into_response(),
            _ => refused(401, "Unauthorized").into_response(),
        }
    }

    fn fields(&self, url: &str) -> Vec<(&'static str, String)> {
        // As people type it: the realm itself is in small letters.
        let common = [("tenant", "Acme-Corp".to_owned()), ("iam_url", url.to_owned())];
        let secrets = if self.has_client {
            vec![("client_secret", CLIENT.1.to_owned()), ("client_id", CLIENT.0.to_owned())]
        } else {
            let claims = json!({
                "iat": 1_735_689_600, "jti": "0f6c1e5e-77aa-4f0e-9a55-5d6a7b8c9d0e", "iss": format!("{url}/auth/realms/{REALM}"),
                "aud": format!("{url}/auth/realms/{REALM}"), "typ": "Offline", "azp": "ast-app", "scope": "offline_access",
            });
            vec![("secret", format!("{}.{}.{}", KEY.0, base64(claims.to_string().as_bytes(), true), KEY.1))]
        };
        secrets.into_iter().chain(common).collect()
    }

    fn filters(&self) -> &'static [&'static str] {
        &["project-id", "statuses", "branches", "ids"]
    }

    fn totals(&self) -> &'static [&'static str] {
        &["totalCount", "filteredTotalCount"]
    }

    fn step(&self, change: &Change) {
        self.world().step(change);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let records = world.projects.iter().map(|project| (project.id.clone(), project.name.clone()));
        let mut oracle = Oracle { records: records.collect(), ..Oracle::default() };
        for project in &world.projects {
            for finding in project.findings.iter().filter(|finding| finding.ever_open) {
                let truth = Truth { record: project.id.clone(), severity: finding.severity, state: finding.state };
                oracle.findings.insert(finding.key.clone(), truth);
            }
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Checkmarx>,
    faults: Arc<Faults>,
}

/// A refusal in the form of the API.
#[derive(Debug)]
struct Refused(u16, Value);

fn refused(status: u16, message: &str) -> Refused {
    Refused(status, json!({ "code": status, "message": message, "type": "ERROR" }))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (StatusCode::from_u16(self.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(self.1)).into_response()
    }
}

async fn guard(State(server): State<Server>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if server.tool.accepts(authorization) { next.run(request).await } else { refused(401, "Unauthorized").into_response() }
}

/// The realm's token endpoint, in the words of Keycloak.
async fn token(State(server): State<Server>, Path(realm): Path<String>, headers: HeaderMap, body: String) -> Response {
    let no = |status: u16, error: &str, description: &str| {
        Refused(status, json!({ "error": error, "error_description": description })).into_response()
    };
    if realm != REALM {
        return Refused(404, json!({ "error": "Realm does not exist" })).into_response();
    }
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let form = format!("/?{body}").parse::<Uri>().ok().and_then(|uri| Query::<HashMap<String, String>>::try_from_uri(&uri).ok());
    let form = form.map(|Query(form)| form).unwrap_or_default();
    let of = |name: &str| form.get(name).map_or("", String::as_str);
    let tool = &server.tool;
    match (of("grant_type"), of("client_id")) {
        ("", _) => return no(400, "invalid_request", "Missing form parameter: grant_type"),
        ("refresh_token", "ast-app") => {
            let key = of("refresh_token");
            if key.is_empty() {
                return no(400, "invalid_request", "No refresh token");
            }
            if tool.is_revoked || tool.has_client || !key.starts_with(KEY.0) || !key.ends_with(KEY.1) {
                return no(400, "invalid_grant", "Offline user session not found");
            }
        }
        ("refresh_token", id) if id == CLIENT.0 => {
            return no(400, "invalid_grant", "Invalid refresh token. Token client and authorized client don't match");
        }
        ("client_credentials", id) if tool.has_client && id == CLIENT.0 => {
            if of("client_secret") != CLIENT.1 {
                return no(401, "unauthorized_client", "Invalid client secret");
            }
        }
        ("client_credentials", "ast-app") => {
            return no(401, "unauthorized_client", "Public client not allowed to retrieve service account");
        }
        ("refresh_token" | "client_credentials", _) => return no(401, "invalid_client", "Invalid client or Invalid client credentials"),
        _ => return no(400, "unsupported_grant_type", "Unsupported grant_type"),
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    let mut answer = json!({
        "access_token": tool.access_token(&format!("http://{host}")), "expires_in": tool.life.as_secs(), "refresh_expires_in": 0,
        "token_type": "Bearer", "not-before-policy": 0, "scope": "ast-api profile email",
    });
    if of("grant_type") == "refresh_token" {
        // Not the API key, and good for nothing once the session is over.
        answer["refresh_token"] = json!("eyJhbGciOiJIUzUxMiJ9.eyJ0eXAiOiJSZWZyZXNoIn0.c2ltLXNlc3Npb24");
        answer["session_state"] = json!("6b9f2c34-0000-4000-8000-00000000a11c");
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

/// One request to the API: where it goes, and with what.
struct Asked {
    server: Server,
    pairs: Vec<(String, String)>,
}

async fn api(State(server): State<Server>, uri: Uri, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let asked = Asked { server, pairs };
    let path: Vec<&str> = uri.path().trim_start_matches("/api/").split('/').collect();
    let answered = match path[..] {
        ["projects"] => asked.projects(),
        ["projects", "last-scan"] => asked.last_scans(),
        ["projects", "branches"] => asked.branches(),
        ["projects", id] => asked.project(id),
        ["applications"] => asked.applications(),
        ["scans"] => asked.scans(),
        ["scans", id] => asked.scan(id),
        ["results"] => asked.results(),
        _ => Err(refused(404, "Not Found")),
    };
    match answered {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// The rows that a page asks for.
struct Window {
    from: usize,
    limit: usize,
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

fn wrong(name: &str) -> Refused {
    refused(400, &format!("Invalid value of parameter {name}"))
}

impl Asked {
    fn one(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Values with commas between them, or of the same parameter again; `None` when nothing is asked for.
    fn list(&self, name: &str) -> Option<Vec<&str>> {
        let values: Vec<&str> =
            self.pairs.iter().filter(|(key, _)| key == name).flat_map(|(_, value)| value.split(',')).filter(|v| !v.is_empty()).collect();
        (!values.is_empty()).then_some(values)
    }

    /// A list of which every value is one of these.
    fn words(&self, name: &str, allowed: &[&str]) -> Result<Option<Vec<&str>>, Refused> {
        let values = self.list(name);
        if values.iter().flatten().all(|value| allowed.contains(value)) { Ok(values) } else { Err(wrong(name)) }
    }

    fn time(&self, name: &str) -> Result<Option<i64>, Refused> {
        let parse = |value: &str| value.parse::<Timestamp>().map_err(|_| wrong(name));
        Ok(self.one(name).map(parse).transpose()?.map(Timestamp::as_second))
    }

    /// The order asked for, each with whether it falls; a bare `+` is a blank by now, and refused.
    fn sort(&self, allowed: &[&str]) -> Result<Vec<(&str, bool)>, Refused> {
        let order = |value| match str::split_at_checked(value, 1) {
            Some((sign @ ("+" | "-"), name)) if allowed.contains(&name) => Ok((name, sign == "-")),
            _ => Err(wrong("sort")),
        };
        self.list("sort").unwrap_or_default().into_iter().map(order).collect()
    }

    fn window(&self) -> Result<Window, Refused> {
        let number = |name: &str, default: usize| match self.one(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| wrong(name)),
        };
        let window = Window { from: number("offset", 0)?, limit: number("limit", 20)? };
        if (1..=10_000).contains(&window.limit) { Ok(window) } else { Err(wrong("limit")) }
    }

    fn needs(&self, role: &str) -> Result<(), Refused> {
        if self.server.tool.roles.contains(&role) { Ok(()) } else { Err(refused(403, &format!("Forbidden: {role} is missing"))) }
    }

    /// The part of these rows that the window shows, with the faults that only a list knows; nothing at all without a role.
    fn page<T: Clone>(&self, fault: Option<&Fault>, rows: &[T], window: &Window) -> Vec<T> {
        let from = match fault {
            Some(Fault::NoRole) => return Vec::new(),
            Some(Fault::DuplicatePage) => window.from.saturating_sub(window.limit),
            Some(Fault::RepeatedCursor) => 0,
            Some(Fault::ShiftedPage) if window.from > 0 => window.from + 1,
            _ => window.from,
        };
        rows.iter().skip(from).take(window.limit).cloned().collect()
    }

    /// A list under its name, with its totals: of everything, and of what the filters let pass.
    fn listed(&self, name: &str, all: usize, rows: &[String]) -> Result<String, Refused> {
        let window = self.window()?;
        let fault = self.server.faults.take(&format!("GET /api/{name}"));
        let page = self.page(fault.as_ref(), rows, &window);
        let (all, filtered) = if fault == Some(Fault::NoRole) { (0, 0) } else { (all, rows.len()) };
        let rows = if page.is_empty() { "null".to_owned() } else { format!("[{}]", page.join(",")) };
        Ok(format!(r#"{{"totalCount":{all},"filteredTotalCount":{filtered},"{name}":{rows}}}"#))
    }

    fn projects(&self) -> Result<String, Refused> {
        self.needs("view-projects")?;
        let world = self.server.tool.world();
        let (ids, names, urls, origins) = (self.list("ids"), self.list("names"), self.list("repo-url"), self.list("origins"));
        let (part, groups) = (self.one("name").unwrap_or_default(), self.list("groups"));
        let (keys, values) = (self.list("tags-keys"), self.list("tags-values"));
        let of = |project: &Project, member: &str, wanted: &Option<Vec<&str>>| {
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&project.body[member].as_str().unwrap_or_default()))
        };
        let chosen = world.projects.iter().filter(|project| {
            let tags = project.body["tags"].as_object();
            of(project, "id", &ids)
                && of(project, "name", &names)
                && of(project, "repoUrl", &urls)
                && of(project, "origin", &origins)
                && project.name.contains(part)
                && groups.is_none()
                && keys.iter().flatten().all(|key| tags.is_some_and(|tags| tags.contains_key(*key)))
                && values.iter().flatten().all(|value| tags.is_some_and(|tags| tags.values().any(|known| known == value)))
        });
        let rows: Vec<String> = chosen.map(|project| project.body.to_string()).collect();
        self.listed("projects", world.projects.len(), &rows)
    }

    fn project(&self, id: &str) -> Result<String, Refused> {
        self.needs("view-projects")?;
        let world = self.server.tool.world();
        let found = world.projects.iter().find(|project| project.id == id);
        found.map(|project| project.body.to_string()).ok_or_else(|| refused(404, "Project not found"))
    }

    fn branches(&self) -> Result<String, Refused> {
        self.needs("view-projects")?;
        let window = self.window()?;
        let world = self.server.tool.world();
        let wanted = self.one("project-id").ok_or_else(|| wrong("project-id"))?;
        let project = world.projects.iter().find(|project| project.id == wanted).ok_or_else(|| refused(404, "Project not found"))?;
        let mut branches: Vec<&str> = project.scans.iter().map(|scan| scan.branch).collect();
        branches.sort_unstable();
        branches.dedup();
        let fault = self.server.faults.take("GET /api/projects/branches");
        Ok(json!(self.page(fault.as_ref(), &branches, &window)).to_string())
    }

    fn applications(&self) -> Result<String, Refused> {
        self.needs("view-applications")?;
        let world = self.server.tool.world();
        let rows: Vec<String> = world.applications.iter().map(|application| application.body.clone()).collect();
        self.listed("applications", rows.len(), &rows)
    }

    /// The newest scan of each project that fits, `null` where none does.
    fn last_scans(&self) -> Result<String, Refused> {
        self.needs("view-scans")?;
        let window = self.window()?;
        let world = self.server.tool.world();
        let (ids, application) = (self.list("project-ids"), self.one("application-id"));
        if ids.is_some() && application.is_some() {
            return Err(refused(400, "project-ids and application-id exclude each other"));
        }
        let status = self.one("scan-status");
        if status.is_some_and(|status| !STATUSES.contains(&status)) {
            return Err(wrong("scan-status"));
        }
        let (branch, of_main) = (self.one("branch"), self.one("use-main-branch") == Some("true"));
        let members = application.map(|id| world.applications.iter().find(|application| application.id == id));
        let chosen: Vec<&Project> = world
            .projects
            .iter()
            .filter(|project| ids.as_ref().is_none_or(|ids| ids.contains(&project.id.as_str())))
            .filter(|project| members.is_none_or(|application| application.is_some_and(|app| app.projects.contains(&project.id))))
            .collect();
        let fault = self.server.faults.take("GET /api/projects/last-scan");
        let entries: Vec<String> = self
            .page(fault.as_ref(), &chosen, &window)
            .into_iter()
            .map(|project| {
                let fits = |scan: &&Scan| {
                    status.is_none_or(|status| scan.status == status)
                        && branch.is_none_or(|branch| scan.branch == branch)
                        && (!of_main || scan.branch == project.main_branch)
                };
                let newest = project.scans.iter().filter(fits).max_by_key(|scan| scan.created);
                let body = newest.map_or(Value::Null, |scan| {
                    let of = |name: &str| scan.body[name].clone();
                    json!({ "id": scan.id, "status": scan.status, "branch": scan.branch, "createdAt": of("createdAt"),
                        "updatedAt": of("updatedAt"), "engines": of("engines"), "sourceType": of("sourceType"), "initiator": of("initiator") })
                });
                format!(r#""{}":{body}"#, project.id)
            })
            .collect();
        Ok(format!("{{{}}}", entries.join(",")))
    }

    fn scans(&self) -> Result<String, Refused> {
        self.needs("view-scans")?;
        let world = self.server.tool.world();
        let statuses = self.words("statuses", &STATUSES)?;
        let (project, projects) = (self.one("project-id"), self.list("project-ids"));
        if project.is_some_and(|id| !is_uuid(id)) {
            return Err(wrong("project-id"));
        }
        let (branch, branches) = (self.one("branch"), self.list("branches"));
        let (after, before) = (self.time("from-date")?, self.time("to-date")?);
        let order = self.sort(&["created_at", "status", "branch", "initiator", "user_agent", "name"])?;
        let all = world.projects.iter().map(|project| project.scans.len()).sum();
        let mut rows: Vec<&Scan> = world
            .projects
            .iter()
            .filter(|known| project.is_none_or(|id| known.id == id) && projects.as_ref().is_none_or(|ids| ids.contains(&known.id.as_str())))
            .flat_map(|known| &known.scans)
            .filter(|scan| {
                statuses.as_ref().is_none_or(|statuses| statuses.contains(&scan.status))
                    && branch.is_none_or(|branch| scan.branch == branch)
                    && branches.as_ref().is_none_or(|branches| branches.contains(&scan.branch))
                    && after.is_none_or(|time| scan.created >= time)
                    && before.is_none_or(|time| scan.created <= time)
            })
            .collect();
        rows.sort_by_key(|scan| if order.first() == Some(&("created_at", false)) { scan.created } else { -scan.created });
        let rows: Vec<String> = rows.into_iter().map(|scan| scan.body.to_string()).collect();
        self.listed("scans", all, &rows)
    }

    fn scan(&self, id: &str) -> Result<String, Refused> {
        self.needs("view-scans")?;
        let world = self.server.tool.world();
        let found = world.projects.iter().flat_map(|project| &project.scans).find(|scan| scan.id == id);
        found.map(|scan| scan.body.to_string()).ok_or_else(|| refused(404, "Scan not found"))
    }

    fn results(&self) -> Result<String, Refused> {
        /// The other form of this endpoint's errors.
        fn web(refused: Refused) -> Refused {
            let Refused(status, body) = refused;
            Refused(status, json!({ "code": body["code"], "message": body["message"], "data": null }))
        }
        const SORTS: [&str; 9] =
            ["severity", "status", "state", "type", "created", "first-found-at", "found-at", "firstFoundAt", "foundAt"];
        self.needs("view-results").map_err(web)?;
        let mut window = self.window().map_err(web)?;
        let id = self.one("scan-id").filter(|id| is_uuid(id)).ok_or_else(|| web(wrong("scan-id")))?;
        let severities = self.words("severity", &["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"]).map_err(web)?;
        let statuses = self.words("status", &["NEW", "RECURRENT", "FIXED"]).map_err(web)?;
        // Tenants have states of their own, so that any word will do.
        let states = self.list("state");
        self.words("exclude-result-types", &["DEV_AND_TEST", "NONE"]).map_err(web)?;
        let order = self.sort(&SORTS).map_err(web)?;
        let world = self.server.tool.world();
        let (project, scan) = world
            .projects
            .iter()
            .find_map(|project| Some((project, project.scans.iter().find(|scan| scan.id == id)?)))
            .ok_or_else(|| web(refused(404, "Scan not found")))?;
        let says = |finding: &Finding, member: &str, wanted: &Option<Vec<&str>>| {
            wanted.as_ref().is_none_or(|words| {
                let text = scan.text(finding);
                words.iter().any(|word| text.contains(&format!(r#""{member}":"{word}""#)))
            })
        };
        let mut rows: Vec<&Finding> = project
            .results(scan)
            .filter(|finding| {
                severities.as_ref().is_none_or(|words| words.iter().any(|word| word.eq_ignore_ascii_case(finding.severity)))
                    && says(finding, "status", &statuses)
                    && says(finding, "state", &states)
            })
            .collect();
        if let Some((name, falls)) = order.first() {
            // Of the others the order does not matter.
            let rank = |finding: &&Finding| match *name {
                "severity" => {
                    ["info", "low", "medium", "high", "critical"].iter().position(|level| *level == finding.severity).unwrap_or(0)
                }
                "type" => finding.kind.len(),
                _ => 0,
            };
            rows.sort_by_key(|finding| if *falls { usize::MAX - rank(finding) } else { rank(finding) });
        }
        if !self.server.tool.in_items {
            window.from = window.from.saturating_mul(window.limit);
        }
        let fault = self.server.faults.take("GET /api/results findings");
        let page = self.page(fault.as_ref(), &rows, &window);
        let mut texts: Vec<_> = page.iter().map(|finding| scan.text(finding)).collect();
        match &fault {
            Some(Fault::BadItem) if !texts.is_empty() => texts[0] = "[1,2]".into(),
            Some(Fault::UnknownEnum) => {
                if let Some(at) = page.iter().position(|finding| finding.ever_open && finding.state == "open") {
                    texts[at] = page[at].with_odd_words().into();
                }
            }
            _ => {}
        }
        let total = match rows.len() {
            _ if fault == Some(Fault::NoRole) => 0,
            count if self.server.tool.total_too_large => count + 1,
            count if project.miscounts => count.saturating_sub(1),
            count => count,
        };
        let results = if texts.is_empty() { "null".to_owned() } else { format!("[{}]", texts.join(",")) };
        Ok(format!(r#"{{"results":{results},"totalCount":{total}}}"#))
    }
}
