//! Semgrep AppSec Platform, API v1: findings by number of page (Code, Supply Chain, AI), secrets by cursor.
//!
//! Lists say neither a total nor whether more follows; `/findings` knows the deployment by its slug, `/secrets` by its number. Findings come newest
//! first by `relevant_since`, so a new one shifts all pages. Findings removed by Semgrep itself are not listed any more;
//! secrets say `FINDING_STATUS_REMOVED`. What the documentation leaves open is decided so: values outside the documented
//! ranges and words get 400, a `limit` of secrets above 500 is cut to 500, documented filters that are not simulated get
//! 400 (so that nobody believes they worked), undocumented parameters are ignored.
//! Expired cursors exist for secrets only.

mod body;
mod search;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use self::{
    search::{Parameters, Refused, findings, secrets},
    world::{Finding, Project, World},
};
use crate::{
    Change, Fault, Faults, Oracle, Size, Truth, Vendor,
    list::{BadCursor, Cursors, List},
};

const TOKEN: &str = "sim0semgrep0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const DEPLOYMENT: u64 = 4120;
const SLUG: &str = "acme-corp";
/// Where paging silently ended until June 2026.
const WINDOW: usize = 50_000;

/// A simulated deployment.
#[derive(Debug)]
pub struct Semgrep {
    scope: bool,
    /// Whether it is of the release before June 2026.
    lags: bool,
    keyed_by_name: bool,
    cursors: Cursors,
    world: Mutex<World>,
}

impl Semgrep {
    /// A deployment on semgrep.dev. One project was never scanned, one has five findings; the others share the rest.
    pub fn new(size: Size) -> Self {
        Semgrep {
            scope: true,
            lags: false,
            keyed_by_name: false,
            cursors: Cursors::new(size.seed, None),
            world: Mutex::new(World::new(size)),
        }
    }

    /// Its token was made without the Web API scope.
    #[must_use]
    pub fn without_scope(mut self) -> Self {
        self.scope = false;
        self
    }

    /// Makes it a dedicated tenant of the release of May 2026: the listing of findings silently ends after 50,000 rows, and
    /// findings with a ticket are missing from it.
    #[must_use]
    pub fn may_2026(mut self) -> Self {
        self.lags = true;
        self
    }

    /// The oracle's records have their names for keys, as findings refer to them, instead of their numbers.
    #[must_use]
    pub fn keyed_by_name(mut self) -> Self {
        self.keyed_by_name = true;
        self
    }

    /// Renames a project's repository; returns its number. Everything that names it says the new name from now on.
    pub fn rename(&self, project: usize, name: &str) -> u64 {
        self.world().rename(project, name)
    }

    /// Brings back the first finding that was fixed: it is open again, and listed first, as `relevant_since` is now. Its key.
    pub fn reintroduce(&self) -> Option<String> {
        self.world().reintroduce()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vendor for Semgrep {
    fn id(&self) -> &'static str {
        "semgrep"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let state = Server { tool: self, faults };
        Router::new()
            .route("/api/v1/deployments", get(deployments))
            .route("/api/v1/deployments/{deployment}/projects", get(projects))
            .route("/api/v1/deployments/{deployment}/findings", get(findings))
            .route("/api/v1/deployments/{deployment}/secrets", get(secrets))
            .route_layer(from_fn_with_state(state.clone(), guard))
            .route("/api/v1/ping", get(|| std::future::ready("pong")))
            .fallback(|request: Request| std::future::ready(unknown(request.uri().path())))
            .with_state(state)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            // Nothing is said of a missing scope: the path does not exist for such a token.
            Fault::Forbidden => not_found(),
            _ => (StatusCode::UNAUTHORIZED, Json(json!({ "error": "Unauthorized: invalid API token" }))).into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", TOKEN.to_owned())]
    }

    fn text_member(&self) -> &'static str {
        "message"
    }

    fn filters(&self) -> &'static [&'static str] {
        &["issue_type", "severities", "status", "ref"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "GET /api/v1/deployments",
            "GET /api/v1/deployments/{}/projects",
            "GET /api/v1/deployments/{}/findings",
            "GET /api/v1/deployments/{}/secrets",
        ]
    }

    fn covers_many(&self) -> bool {
        true
    }

    fn hides_filters(&self) -> bool {
        true
    }

    fn step(&self, change: &Change) {
        self.world().step(change);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let key = |project: &Project| if self.keyed_by_name { project.name.clone() } else { project.id.to_string() };
        let mut oracle =
            Oracle { records: world.projects.iter().map(|project| (key(project), project.name.clone())).collect(), ..Oracle::default() };
        for finding in world.findings.iter().filter(|finding| finding.ever_open && !(self.lags && finding.ticket)) {
            let state = if finding.listed { finding.state } else { "gone" };
            let record = key(&world.projects[finding.project]);
            oracle.findings.insert(finding.key(), Truth { record, severity: finding.severity, state });
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Semgrep>,
    faults: Arc<Faults>,
}

async fn guard(State(server): State<Server>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    if bearer != Some(TOKEN) {
        return server.tool.refuse(&Fault::Unauthorized);
    }
    if !server.tool.scope {
        return server.tool.refuse(&Fault::Forbidden);
    }
    next.run(request).await
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "detail": "Not Found" }))).into_response()
}

/// Outside the API there is the web application.
fn unknown(path: &str) -> Response {
    if path.starts_with("/api/") {
        return not_found();
    }
    (StatusCode::NOT_FOUND, Html("<!doctype html><html><body><h1>Page not found</h1></body></html>")).into_response()
}

async fn deployments(State(server): State<Server>) -> Json<Value> {
    if server.faults.take("GET /api/v1/deployments") == Some(Fault::NoRole) {
        return Json(json!({ "deployments": [] }));
    }
    let url = format!("https://semgrep.dev/api/v1/deployments/{SLUG}/findings");
    Json(json!({ "deployments": [{ "id": DEPLOYMENT, "name": "Acme Corp", "slug": SLUG, "findings": { "url": url } }] }))
}

async fn projects(State(server): State<Server>, Path(slug): Path<String>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let query = Parameters(query);
    let page = || -> Result<_, Refused> { Ok((query.number("page", 0, 0, usize::MAX)?, query.number("page_size", 100, 1, 100)?)) };
    let (page, size) = match page() {
        Ok(page) if slug == SLUG => page,
        Ok(_) => return not_found(),
        Err(refused) => return *refused,
    };
    let fault = server.faults.take("GET /api/v1/deployments/projects");
    let world = server.tool.world();
    match (List::Numbered { page: page + 1, size }).page(world.projects.iter().map(|project| &project.body).collect(), fault) {
        Ok(page) => Json(json!({ "projects": page.rows })).into_response(),
        Err(BadCursor) => not_found(),
    }
}

/// A row that is open, with words that nobody has heard of.
fn odd(row: &str, finding: &Finding) -> Option<String> {
    let mut body: Value = serde_json::from_str(row).ok().filter(|_| finding.ever_open && finding.state == "open")?;
    let is_secret = body.get("validationState").is_some();
    body["severity"] = json!(if is_secret { "SEVERITY_APOCALYPTIC" } else { "apocalyptic" });
    body["status"] = json!(if is_secret { "FINDING_STATUS_PONDERING" } else { "pondering" });
    Some(body.to_string())
}

fn answer(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
