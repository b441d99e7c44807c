//! Dependency-Track 4.14 and 5.0, REST API v1.
//!
//! Version 5 pages a project's findings (100 rows unless asked otherwise); version 4 answers the whole list to every page
//! number. Page number and size have to be sent both, else the first 100 come. A BOM that is imported gives all components of a
//! project new ids; until it is analysed the list of findings shows half of them, and looks complete.

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

use crate::{
    Change, Fault, Faults, Make, Oracle, Raw, Size, Truth, Vendor,
    body::{body, fill},
    door::{Access, Credential},
    ledger::{Fact, Ledger},
    list::List,
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

#[derive(Debug)]
struct World {
    seed: u64,
    /// Null where it was deleted.
    projects: Vec<Value>,
    vulnerabilities: Vec<Value>,
    findings: Ledger<Finding>,
    /// How many BOMs were uploaded anew.
    imports: u64,
    /// How many lists of findings were answered.
    lists: u64,
}

#[derive(Debug)]
struct Finding {
    matrix: String,
    body: String,
    truth: Truth,
}

impl DependencyTrack {
    /// A version 5 server. One project has no finding, one has five; the others share the rest unevenly.
    pub fn new(size: Size) -> Self {
        let mut seed = Seed::of(&[size.seed, 1]);
        let vulnerabilities = (0..500.min(size.findings.max(20))).map(|n| vulnerability(&mut seed, n)).collect();
        let findings = Ledger::new(size.seed);
        let mut world = World { seed: size.seed, projects: Vec::new(), vulnerabilities, findings, imports: 0, lists: 0 };
        let records = size.records.max(3);
        for (number, open) in spread(size.findings, records).enumerate() {
            world.projects.push(project(&mut seed, number, ""));
            world.fill(number, open, open * 3 / 100);
        }
        for (number, kind) in ["collection", "inactive"].into_iter().enumerate() {
            world.projects.push(project(&mut seed, records + number, kind));
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
        let world = &mut *self.world();
        world.imports += 1;
        let mut seed = Seed::of(&[world.seed, 4, world.imports]);
        let records = (0..world.projects.len()).filter(|number| is_record(&world.projects[*number]));
        let project = records.max_by_key(|number| world.findings.listed(*number).count()).expect("a record");
        for row in world.findings.of(project).to_vec() {
            let row = world.findings.row_mut(row);
            if std::mem::take(&mut row.listed) {
                let anew = row.fact.of_another_component(&mut seed);
                world.findings.add(project, anew);
            }
        }
        world.projects[project]["lastBomImport"] = json!(jiff::Timestamp::now().as_millisecond());
        uuid(&world.projects[project]).to_owned()
    }

    /// Deletes a project with all that it has.
    pub fn delete(&self, project: &str) {
        for known in self.world().projects.iter_mut().filter(|known| uuid(known) == project) {
            *known = Value::Null;
        }
    }

    /// Ends the analysis of every BOM that was uploaded.
    pub fn analyse(&self) {
        for project in self.world().projects.iter_mut().filter(|project| !project.is_null()) {
            project["lastVulnerabilityAnalysis"] = json!(jiff::Timestamp::now().as_millisecond());
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
            .route("/api/v1/project/{uuid}", get(one_project))
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

    fn raw(&self) -> Option<Raw> {
        Some(Raw {
            credential: ("x-api-key", KEY.to_owned()),
            records: "/api/v1/project?excludeInactive=true&pageNumber={page}&pageSize=3",
            record: "uuid",
            findings: "/api/v1/finding/project/{record}?suppressed=true&pageNumber={page}&pageSize=40",
            rows: "",
            key: |_, row| row["matrix"].as_str().unwrap_or_default().to_owned(),
            is_whole: self.is_v4(),
        })
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
        let world = &mut *self.world();
        let moved = world.findings.advance(change, |row| !world.projects[row.record].is_null());
        let last = world.projects.iter().rposition(is_record).unwrap_or(0);
        world.fill(last, moved.new, 0);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let records = world.projects.iter().filter(|project| is_record(project));
        world
            .findings
            .oracle(records.map(|project| (uuid(project).to_owned(), name(project))), |row| is_record(&world.projects[row.record]))
    }
}

impl World {
    /// Adds so many open findings, and some more that somebody has closed already.
    fn fill(&mut self, project: usize, open: usize, closed: usize) {
        let step = self.findings.step();
        for number in 0..open + closed {
            let mut seed = Seed::of(&[self.seed, 2, project as u64, step, number as u64]);
            let vulnerability = &self.vulnerabilities[seed.below(self.vulnerabilities.len())];
            let mut finding = Finding::new(&mut seed, uuid(&self.projects[project]), vulnerability);
            if number >= open {
                finding.analyze(["FALSE_POSITIVE", "NOT_AFFECTED", "RESOLVED", "NOT_SET"][number % 4], number % 4 == 3);
            }
            self.findings.add(project, finding);
        }
    }
}

impl Fact for Finding {
    fn key(&self) -> String {
        self.matrix.clone()
    }

    fn truth(&self) -> Truth {
        self.truth.clone()
    }

    /// A component that was updated takes its findings with it: half of what is fixed simply vanishes.
    fn fix(&mut self, n: usize, _: u64) -> bool {
        if n.is_multiple_of(2) {
            self.analyze("RESOLVED", false);
        }
        n.is_multiple_of(2)
    }

    fn change(&mut self, n: usize, _: u64) {
        match n % 4 {
            0 => self.analyze("FALSE_POSITIVE", true),
            1 => self.analyze("NOT_AFFECTED", false),
            2 => self.analyze("NOT_SET", true),
            _ => {
                let (word, severity) = if self.truth.severity == "low" { ("HIGH", "high") } else { ("LOW", "low") };
                self.edit(|body| body["vulnerability"]["severity"] = json!(word));
                self.truth.severity = severity;
            }
        }
    }
}

impl Finding {
    fn new(seed: &mut Seed, project: &str, vulnerability: &Value) -> Self {
        let component = seed.uuid();
        let name = format!("{}-{}", seed.pick(&["parser", "codec", "http", "xml", "yaml", "log", "crypto", "zip"]), seed.below(900));
        let matrix = format!("{project}:{component}:{}", uuid(vulnerability));
        let at = 1_763_500_000_000_u64 + seed.next() % 1_000_000;
        let values =
            json!({ "component": component, "name": name, "project": project, "vulnerability": vulnerability, "at": at, "matrix": matrix });
        let truth = Truth { record: project.to_owned(), severity: severity(vulnerability), state: "open" };
        Finding { matrix, body: fill(body!("dependency_track/finding.json"), &values).to_string(), truth }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        edit(&mut body);
        self.body = body.to_string();
    }

    /// The same finding of the same package, whose component has another id: nobody has analysed it yet.
    fn of_another_component(&self, seed: &mut Seed) -> Finding {
        let component = seed.uuid();
        let parts: Vec<&str> = self.matrix.split(':').collect();
        let matrix = format!("{}:{component}:{}", parts[0], parts[2]);
        let mut finding = Finding { matrix: matrix.clone(), body: self.body.clone(), truth: self.truth.clone() };
        finding.edit(|body| (body["component"]["uuid"], body["matrix"]) = (json!(component), json!(matrix)));
        finding.analyze("NOT_SET", false);
        finding
    }

    fn analyze(&mut self, state: &str, suppressed: bool) {
        self.edit(|body| body["analysis"] = json!({ "state": state, "isSuppressed": suppressed }));
        self.truth.state = match (state, suppressed) {
            ("FALSE_POSITIVE" | "NOT_AFFECTED", _) => "false_positive",
            ("RESOLVED", _) => "fixed",
            (_, true) => "risk_accepted",
            _ => "open",
        };
    }
}

fn uuid(of: &Value) -> &str {
    of["uuid"].as_str().unwrap_or_default()
}

fn name(project: &Value) -> String {
    let name = project["name"].as_str().unwrap_or_default();
    project["version"].as_str().map_or_else(|| name.to_owned(), |version| format!("{name} {version}"))
}

fn is_record(project: &Value) -> bool {
    project["active"] == json!(true) && project.get("collectionLogic").is_none()
}

fn project(seed: &mut Seed, number: usize, kind: &str) -> Value {
    const NAMES: &[&str] = &["shop-api", "billing", "crm", "mobile-gateway", "warehouse", "identity", "reports"];
    let values = json!({
        "uuid": seed.uuid(), "name": format!("{}-{}", NAMES[number % NAMES.len()], number / (2 * NAMES.len())),
        "version": (number % 5 != 3).then(|| format!("1.{number}.0")), "active": kind != "inactive",
        "latest": number.is_multiple_of(2), "logic": (kind == "collection").then_some("AGGREGATE_DIRECT_CHILDREN"),
    });
    fill(body!("dependency_track/project.json"), &values)
}

fn vulnerability(seed: &mut Seed, number: usize) -> Value {
    let (cve, other) = (format!("CVE-2026-{}", 10_000 + number), format!("GHSA-{number:04}-aaaa-bbbb"));
    let (severity, score) =
        [("CRITICAL", 9.8), ("HIGH", 8.1), ("HIGH", 7.5), ("MEDIUM", 5.3), ("MEDIUM", 6.1), ("LOW", 3.1), ("INFO", 0.0)][seed.below(7)];
    // Some are unassigned: with a score of version 2, with one of version 3, or with none at all.
    let (severity, v2, v3) = match number % 25 {
        3 => ("UNASSIGNED", Some(9.3), None),
        7 => ("UNASSIGNED", None, Some(9.1)),
        11 => ("UNASSIGNED", None, None),
        _ => (severity, None, Some(score)),
    };
    // One that no list of vulnerabilities has, nor of weaknesses; and one that another id stands for, too.
    let cwes = json!([{ "cweId": 79 + number % 400, "name": "A weakness" }]);
    let (id, source, cwes, aliases) = match number % 25 {
        13 => (format!("INT-{number}"), "INTERNAL", json!([]), json!([])),
        17 => (other.clone(), "GITHUB", cwes, json!([{ "cveId": format!("CVE-2026-{}", 10_000 + number - 1), "ghsaId": other }])),
        _ => (cve.clone(), "NVD", cwes, json!([{ "cveId": cve, "ghsaId": other }])),
    };
    let values = json!({
        "uuid": seed.uuid(), "source": source, "id": id, "cve": cve, "number": number, "description": seed.prose(500),
        "severity": severity, "v2": v2, "v3": v3, "cwes": cwes, "aliases": aliases,
    });
    fill(body!("dependency_track/vulnerability.json"), &values)
}

/// The severity that the documentation gives to a vulnerability of this simulator.
fn severity(vulnerability: &Value) -> &'static str {
    match (vulnerability["severity"].as_str(), vulnerability["cvssV2BaseScore"].as_f64(), vulnerability["cvssV3BaseScore"].as_f64()) {
        (Some("CRITICAL"), ..) => "critical",
        (Some("HIGH"), ..) => "high",
        (Some("MEDIUM"), ..) => "medium",
        (Some("LOW"), ..) => "low",
        (Some("INFO"), ..) => "info",
        // 9.3 of version 2 is high: that version knows no critical. 9.1 of version 3 is critical.
        (_, Some(_), _) => "high",
        (_, _, Some(_)) => "critical",
        _ => "unknown",
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<DependencyTrack>,
    faults: Arc<Faults>,
}

async fn guard(State(server): State<Server>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let needed = match request.uri().path() {
        path if path.starts_with("/api/v1/project") => Some("VIEW_PORTFOLIO"),
        path if path.starts_with("/api/v1/finding") => Some("VIEW_VULNERABILITY"),
        _ => None,
    };
    if Credential::Header("x-api-key", KEY).of(&headers) != Access::Granted {
        return server.tool.refuse(&Fault::Unauthorized);
    }
    if needed.is_some_and(|needed| !server.tool.permissions.contains(&needed)) {
        return server.tool.refuse(&Fault::Forbidden);
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

/// Page number and size are needed both, and a size of 0 means everything.
fn asked(query: &HashMap<String, String>) -> List<'static> {
    let number = |names: &[&str]| names.iter().find_map(|name| query.get(*name)).and_then(|text| text.parse::<usize>().ok());
    match (number(&["page", "pageNumber"]), number(&["size", "pageSize", "limit"])) {
        (Some(_), Some(0)) => List::WHOLE,
        (Some(page), Some(size)) => List::Numbered { page, size },
        _ => List::Numbered { page: 1, size: 100 },
    }
}

fn answer(server: &Server, route: &str, rows: Vec<&str>, list: List<'_>) -> Response {
    // A fault of an item waits for a page that has one.
    let fault = server.faults.take(if list.from().is_some_and(|from| from < rows.len()) { route } else { "GET nothing" });
    let Ok(page) = list.page(rows, fault) else { return StatusCode::BAD_REQUEST.into_response() };
    // Past its end version 5.0 forgets the total.
    let total = if page.rows.is_empty() && !server.tool.is_v4() { 0 } else { page.total };
    let (state, severity) = (r#""state":"NOT_SET""#, r#""severity":"HIGH""#);
    let odd = |row: &&str| {
        let words = row.contains(state) && row.contains(severity);
        words.then(|| row.replacen(state, r#""state":"PONDERING""#, 1).replacen(severity, r#""severity":"APOCALYPTIC""#, 1))
    };
    let body = format!("[{}]", page.json(|row| (*row).to_owned(), odd));
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (TOTAL, HeaderValue::from(total))];
    (headers, body).into_response()
}

const TOTAL: header::HeaderName = header::HeaderName::from_static("x-total-count");

async fn projects(State(server): State<Server>, Query(query): Query<HashMap<String, String>>) -> Response {
    let world = server.tool.world();
    let active_only = query.get("excludeInactive").is_some_and(|value| value == "true");
    let shown = world.projects.iter().filter(|project| !project.is_null() && (!active_only || project["active"] == json!(true)));
    let rows: Vec<String> = shown.map(Value::to_string).collect();
    answer(&server, "GET /api/v1/project", rows.iter().map(String::as_str).collect(), asked(&query))
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "The project could not be found.").into_response()
}

async fn one_project(State(server): State<Server>, Path(wanted): Path<String>) -> Response {
    let world = server.tool.world();
    let found = world.projects.iter().find(|project| uuid(project) == wanted);
    found.map_or_else(not_found, |project| Json(project).into_response())
}

async fn findings(State(server): State<Server>, Path(wanted): Path<String>, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut world = server.tool.world();
    world.lists += 1;
    let in_turn = usize::from(world.lists.is_multiple_of(2));
    let Some(number) = world.projects.iter().position(|project| uuid(project) == wanted) else { return not_found() };
    let suppressed = query.get("suppressed").is_some_and(|value| value == "true");
    let listed = world.findings.listed(number).map(|finding| finding.body.as_str());
    let mut rows: Vec<&str> = listed.filter(|body| suppressed || !body.contains(r#""isSuppressed":true"#)).collect();
    let project = &world.projects[number];
    if project["lastVulnerabilityAnalysis"].as_i64() < project["lastBomImport"].as_i64() {
        rows.truncate(rows.len() / 2);
    }
    let of_another_analyzer;
    if server.tool.is_v4() && rows.len() >= 10 {
        // Two analyzers attributed one finding: version 4 answers, and counts, two rows, in any order.
        of_another_analyzer = rows[0].replace("INTERNAL_ANALYZER", "OSSINDEX_ANALYZER");
        rows.insert(in_turn, &of_another_analyzer);
    }
    let list = if server.tool.is_v4() { List::WHOLE } else { asked(&query) };
    answer(&server, "GET /api/v1/finding/project", rows, list)
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

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", KEY.to_owned())]
    }
}
