//! Dependency-Track 4.14 and 5.0, REST API v1.
//!
//! Version 5 pages a project's findings (100 rows unless asked otherwise); version 4 answers the whole list to every page
//! number. Page number and size have to be sent both, else the first 100 come. A BOM that is imported gives all components of a
//! project new ids; until it is analysed the list of findings shows half of them, and looks complete. Faults that cannot occur
//! here and are ignored: expired and repeated cursors (pages are numbers).

mod world;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use self::world::{Project, World, milliseconds, vulnerability};
use crate::{
    Change, Fault, Faults, Make, Oracle, Size, Truth, Vendor,
    seed::{Seed, spread},
};

const KEY: &str = "odt_SimKey01_9f8e7d6c5b4a39281706f5e4d3c2b1a0";

/// A simulated server.
#[derive(Debug)]
pub struct DependencyTrack {
    version: &'static str,
    permissions: Vec<&'static str>,
    world: Mutex<World>,
}

impl DependencyTrack {
    /// A version 5 server. One project has no finding, one has five; the others share the rest unevenly.
    pub fn new(size: Size) -> Self {
        let mut seed = Seed::of(&[size.seed, 1]);
        let vulnerabilities = (0..500.min(size.findings.max(20))).map(|n| vulnerability(&mut seed, n)).collect();
        let mut world = World { seed: size.seed, step: 0, projects: Vec::new(), vulnerabilities, imports: 0, lists: 0 };
        let records = size.records.max(3);
        for (number, findings) in spread(size.findings, records).enumerate() {
            world.projects.push(Project::new(&mut seed, number, ""));
            world.fill(number, findings, 0);
        }
        for (number, kind) in ["collection", "inactive"].into_iter().enumerate() {
            world.projects.push(Project::new(&mut seed, records + number, kind));
        }
        DependencyTrack { version: "5.0.4", permissions: vec!["VIEW_PORTFOLIO", "VIEW_VULNERABILITY"], world: Mutex::new(world) }
    }

    /// Makes it a version 4.14 server.
    #[must_use]
    pub fn v4(mut self) -> Self {
        self.version = "4.14.3";
        self
    }

    /// Takes a permission away from the key's team.
    #[must_use]
    pub fn without_permission(mut self, name: &str) -> Self {
        self.permissions.retain(|known| *known != name);
        self
    }

    /// Uploads the BOM of the project with the most findings anew: each component gets another id. The project's uuid.
    pub fn upload_bom(&self) -> String {
        let mut world = self.world();
        world.imports += 1;
        let mut seed = Seed::of(&[world.seed, 4, world.imports]);
        let records = world.projects.iter_mut().filter(|project| project.is_record());
        let project = records.max_by_key(|project| project.findings.iter().filter(|finding| finding.listed).count()).expect("a record");
        let (uuid, mut anew) = (project.uuid.clone(), Vec::new());
        for finding in project.findings.iter_mut().filter(|finding| finding.listed) {
            finding.listed = false;
            anew.push(finding.of_another_component(&mut seed));
        }
        project.findings.extend(anew);
        project.body["lastBomImport"] = json!(milliseconds());
        uuid
    }

    /// Deletes a project with all that it has.
    pub fn delete(&self, project: &str) {
        self.world().projects.retain(|known| known.uuid != project);
    }

    /// Ends the analysis of every BOM that was uploaded.
    pub fn analyse(&self) {
        for project in &mut self.world().projects {
            project.body["lastVulnerabilityAnalysis"] = json!(milliseconds());
        }
    }

    fn is_v4(&self) -> bool {
        self.version.starts_with('4')
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vendor for DependencyTrack {
    fn id(&self) -> &'static str {
        "dependency_track"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let state = Server { tool: self, faults };
        Router::new()
            .route("/api/v1/team/self", get(team))
            .route("/api/v1/project", get(projects))
            .route("/api/v1/project/{uuid}", get(project))
            .route("/api/v1/finding/project/{uuid}", get(findings))
            .layer(from_fn_with_state(state.clone(), guard))
            .route("/api/version", get(version))
            .with_state(state)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => StatusCode::FORBIDDEN.into_response(),
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", KEY.to_owned())]
    }

    fn filters(&self) -> &'static [&'static str] {
        &["excludeInactive"]
    }

    fn totals(&self) -> &'static [&'static str] {
        &["x-total-count"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "GET /api/version",
            "GET /health/ready",
            "GET /static/config.json",
            "GET /api/v1/team/self",
            "GET /api/v1/project",
            "GET /api/v1/project/{}",
            "GET /api/v1/finding/project/{}",
        ]
    }

    fn cannot(&self, fault: &Fault) -> Option<&'static str> {
        matches!(fault, Fault::ExpiredCursor).then_some("page numbers")
    }

    fn several_pages(&self) -> usize {
        1600
    }

    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[("v4", |size| Arc::new(DependencyTrack::new(size).v4()))]
    }

    fn step(&self, change: &Change) {
        self.world().step(change);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let records = world.projects.iter().filter(|project| project.is_record());
        let mut oracle = Oracle { records: records.map(|project| (project.uuid.clone(), project.name())).collect(), ..Oracle::default() };
        for finding in world.projects.iter().filter(|project| project.is_record()).flat_map(|project| &project.findings) {
            if finding.ever_open {
                let state = if finding.listed { finding.truth.state } else { "gone" };
                oracle.findings.insert(finding.matrix.clone(), Truth { state, ..finding.truth.clone() });
            }
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<DependencyTrack>,
    faults: Arc<Faults>,
}

async fn guard(State(server): State<Server>, headers: HeaderMap, request: Request, next: Next) -> Response {
    if headers.get("x-api-key").is_none_or(|key| key != KEY) {
        return server.tool.refuse(&Fault::Unauthorized);
    }
    next.run(request).await
}

async fn version(State(server): State<Server>) -> Json<Value> {
    Json(json!({ "application": "Dependency-Track", "version": server.tool.version, "timestamp": "2026-01-01T00:00:00Z" }))
}

async fn team(State(server): State<Server>) -> Json<Value> {
    let permissions: Vec<Value> = server.tool.permissions.iter().map(|name| json!({ "name": name, "description": "" })).collect();
    Json(json!({ "uuid": "7f8c2a7e-0000-4000-8000-000000000001", "name": "Automation", "permissions": permissions }))
}

/// Offset and number of rows asked for: both words are needed, and a size of 0 means everything.
fn window(query: &HashMap<String, String>) -> (usize, usize) {
    let number = |names: &[&str]| names.iter().find_map(|name| query.get(*name)).and_then(|text| text.parse::<usize>().ok());
    match (number(&["page", "pageNumber"]), number(&["size", "pageSize", "limit"])) {
        (Some(_), Some(0)) => (0, usize::MAX),
        (Some(page), Some(size)) => (page.saturating_sub(1).saturating_mul(size), size),
        _ => (0, 100),
    }
}

/// Applies the faults that only a list knows to the window and to the rows in it.
fn list(server: &Server, route: &str, mut rows: Vec<&str>, (mut from, size): (usize, usize), is_v4: bool) -> Response {
    let mut total = rows.len();
    // A fault of an item waits for a page that has one.
    let fault = server.faults.take(if rows.len() > from { route } else { "GET nothing" });
    match &fault {
        Some(Fault::NoRole) => (rows, total) = (Vec::new(), 0),
        Some(Fault::DuplicatePage) => from = from.saturating_sub(size),
        Some(Fault::RepeatedCursor) => from = 0,
        Some(Fault::ShiftedPage) if from > 0 => from += 1,
        _ => {}
    }
    let page: Vec<&str> = rows.into_iter().skip(from).take(size).collect();
    if page.is_empty() && !is_v4 {
        // Past its end version 5.0 forgets the total.
        total = 0;
    }
    let mut body = format!("[{}]", page.join(","));
    match &fault {
        Some(Fault::BadItem) if !page.is_empty() => body = format!("[[1,2],{}]", page[1..].join(",")).replace("],]", "]]"),
        Some(Fault::UnknownEnum) if !page.is_empty() => {
            body = body.replacen(r#""state":"NOT_SET""#, r#""state":"PONDERING""#, 1).replacen(
                r#""severity":"HIGH""#,
                r#""severity":"APOCALYPTIC""#,
                1,
            );
        }
        _ => {}
    }
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    response.headers_mut().insert("X-Total-Count", HeaderValue::from(total));
    response
}

async fn projects(State(server): State<Server>, Query(query): Query<HashMap<String, String>>) -> Response {
    if !server.tool.permissions.contains(&"VIEW_PORTFOLIO") {
        return server.tool.refuse(&Fault::Forbidden);
    }
    let world = server.tool.world();
    let active_only = query.get("excludeInactive").is_some_and(|value| value == "true");
    let shown = world.projects.iter().filter(|project| !active_only || project.body["active"] == json!(true));
    let rows: Vec<String> = shown.map(|project| project.body.to_string()).collect();
    list(&server, "GET /api/v1/project", rows.iter().map(String::as_str).collect(), window(&query), server.tool.is_v4())
}

async fn project(State(server): State<Server>, Path(uuid): Path<String>) -> Response {
    if !server.tool.permissions.contains(&"VIEW_PORTFOLIO") {
        return server.tool.refuse(&Fault::Forbidden);
    }
    match server.tool.world().projects.iter().find(|project| project.uuid == uuid) {
        Some(project) => Json(&project.body).into_response(),
        None => (StatusCode::NOT_FOUND, "The project could not be found.").into_response(),
    }
}

async fn findings(State(server): State<Server>, Path(uuid): Path<String>, Query(query): Query<HashMap<String, String>>) -> Response {
    if !server.tool.permissions.contains(&"VIEW_VULNERABILITY") {
        return server.tool.refuse(&Fault::Forbidden);
    }
    let mut world = server.tool.world();
    world.lists += 1;
    let in_turn = usize::from(world.lists.is_multiple_of(2));
    let Some(project) = world.projects.iter().find(|project| project.uuid == uuid) else {
        return (StatusCode::NOT_FOUND, "The project could not be found.").into_response();
    };
    let suppressed = query.get("suppressed").is_some_and(|value| value == "true");
    let listed = project.findings.iter().filter(|finding| finding.listed);
    let mut rows: Vec<&str> =
        listed.map(|finding| finding.body.as_str()).filter(|body| suppressed || !body.contains(r#""isSuppressed":true"#)).collect();
    let of_another_analyzer;
    if !project.is_analysed() {
        rows.truncate(rows.len() / 2);
    }
    if server.tool.is_v4() && rows.len() >= 10 {
        // Two analyzers attributed one finding: version 4 answers, and counts, two rows, in any order.
        of_another_analyzer = rows[0].replace("INTERNAL_ANALYZER", "OSSINDEX_ANALYZER");
        rows.insert(in_turn, &of_another_analyzer);
    }
    let window = if server.tool.is_v4() { (0, usize::MAX) } else { window(&query) };
    list(&server, "GET /api/v1/finding/project", rows, window, server.tool.is_v4())
}

/// The web interface of a server in two containers: what users often give as the location.
#[derive(Debug)]
pub struct Frontend {
    /// What its configuration names as the API server.
    pub api: String,
}

impl Vendor for Frontend {
    fn id(&self) -> &'static str {
        "dependency_track"
    }

    fn router(self: Arc<Self>, _: Arc<Faults>) -> Router {
        let api = self.api.clone();
        Router::new()
            .route("/static/config.json", get(move || std::future::ready(Json(json!({ "API_BASE_URL": api })))))
            .fallback(|| std::future::ready(Html("<!doctype html><html><body><div id=\"app\"></div></body></html>")))
    }

    fn refuse(&self, _: &Fault) -> Response {
        StatusCode::NOT_FOUND.into_response()
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", KEY.to_owned())]
    }

    fn step(&self, _: &Change) {}

    fn oracle(&self) -> Oracle {
        Oracle::default()
    }
}
