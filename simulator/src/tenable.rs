//! Tenable Vulnerability Management: export jobs of findings and hosts, and the list of scans.
//!
//! Jobs advance by requests, never by time: each look at a job's status moves it from QUEUED over PROCESSING, with half of its
//! chunks there, to FINISHED, and each new job moves all others, so that jobs nobody looks at end too. Chunks come out of
//! order and their numbers have a gap; the last one is empty, where there is more than one. An export is a fixed set of
//! numbered chunks, so pages cannot shift or come twice: these faults are ignored. An expired cursor is a job, or a chunk of it, that is gone.
//! Not simulated, and refused with 400: filters by tag, address and score; exports in the form of assets version 1 are 404.

mod export;
mod filter;
mod job;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json, Router,
    extract::{Query, Request, State as Extract},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub use self::job::Ending;
use self::{
    export::{cancel, chunk, export_assets, export_vulns, list, status},
    job::{Job, Kind},
    world::{SEVERITIES, World},
};
use crate::{Change, Fault, Faults, Make, Oracle, Size, Truth, Vendor};

const ACCESS: &str = "5d1e0a7c3b9f48261d0e7a5c9b3f82604d1e6a7c2b9f58361c0e4a5d8b3f9260";
const SECRET: &str = "a3c5e7092b4d6f8110325476980badce0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const CONTAINER: &str = "1f6d2a34-8c1e-4c0b-9d35-7f00aa51c0de";

/// A simulated container.
#[derive(Debug)]
pub struct Tenable {
    joined: bool,
    may_export: bool,
    queued: usize,
    chunks: Option<usize>,
    catch_all: (String, String),
    info: bool,
    /// Job numbers of two processes must not be the same.
    started: i64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    world: World,
    jobs: Vec<Job>,
    made: u64,
    /// How the next jobs end.
    ending: (Ending, usize),
    /// Number of the damaged chunk of the next exports of findings, and of how many.
    damage: (usize, usize),
}

impl Tenable {
    /// A container with one scan that never ran, and one with five findings; the others share the rest.
    pub fn new(size: Size) -> Self {
        let inner = Inner { world: World::new(size), jobs: Vec::new(), made: 0, ending: (Ending::Whole, 0), damage: (0, 0) };
        Tenable {
            joined: false,
            may_export: true,
            queued: 1,
            chunks: None,
            catch_all: (CONTAINER.to_owned(), "All assets".to_owned()),
            info: true,
            started: Timestamp::now().as_microsecond(),
            inner: Mutex::new(inner),
        }
    }

    /// The user writes both keys into the one field `secret`.
    #[must_use]
    pub fn joined(mut self) -> Self {
        self.joined = true;
        self
    }

    /// The user's role may not export.
    #[must_use]
    pub fn without_export(mut self) -> Self {
        self.may_export = false;
        self
    }

    /// Jobs stay queued for this many looks at their status (1 unless said otherwise).
    #[must_use]
    pub fn queued_for(mut self, looks: usize) -> Self {
        self.queued = looks;
        self
    }

    /// Findings come in this many chunks, whatever number of assets per chunk is asked for, and one empty one.
    #[must_use]
    pub fn in_chunks(mut self, chunks: usize) -> Self {
        self.chunks = Some(chunks.max(1));
        self
    }

    /// Every export ends FINISHED with a failed chunk.
    #[must_use]
    pub fn with_failed_chunks(self) -> Self {
        self.end_next(Ending::FailedChunks, usize::MAX);
        self
    }

    /// Key and name of the oracle's record of findings that belong to no scan.
    #[must_use]
    pub fn with_catch_all(mut self, key: &str, name: &str) -> Self {
        self.catch_all = (key.to_owned(), name.to_owned());
        self
    }

    /// The oracle's client does not ask for findings of severity info.
    #[must_use]
    pub fn oracle_without_info(mut self) -> Self {
        self.info = false;
        self
    }

    /// How the next jobs end, of both kinds.
    pub fn end_next(&self, ending: Ending, jobs: usize) {
        self.inner().ending = (ending, jobs);
    }

    /// A chunk of the next exports of findings cannot be read: its file is damaged.
    pub fn damage_next(&self, chunk: usize, jobs: usize) {
        self.inner().damage = (chunk, jobs);
    }

    /// A day goes by: the chunks of all jobs are gone.
    pub fn expire(&self) {
        for job in &mut self.inner().jobs {
            job.expired = true;
            job.created -= 86_400_000_000;
        }
    }

    /// What was fixed first is found again. Its key.
    pub fn reopen(&self) -> Option<String> {
        self.inner().world.reopen()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vendor for Tenable {
    fn id(&self) -> &'static str {
        "tenable"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let state = Server { tool: self, faults };
        let exports = Router::new()
            .route("/vulns/export", post(export_vulns))
            .route("/vulns/export/status", get(|state| list(state, Kind::Vulns)))
            .route("/vulns/export/{uuid}/status", get(|state, path| status(state, path, Kind::Vulns)))
            .route("/vulns/export/{uuid}/chunks/{number}", get(|state, path| chunk(state, path, Kind::Vulns)))
            .route("/vulns/export/{uuid}/cancel", post(|state, path| cancel(state, path, Kind::Vulns)))
            .route("/assets/v2/export", post(export_assets))
            .route("/assets/export/status", get(|state| list(state, Kind::Assets)))
            .route("/assets/export/{uuid}/status", get(|state, path| status(state, path, Kind::Assets)))
            .route("/assets/export/{uuid}/chunks/{number}", get(|state, path| chunk(state, path, Kind::Assets)))
            .route("/assets/export/{uuid}/cancel", post(|state, path| cancel(state, path, Kind::Assets)))
            .route_layer(from_fn_with_state(state.clone(), may_export));
        Router::new()
            .route("/session", get(session))
            .route("/server/properties", get(|| std::future::ready(Json(json!({ "nessus_type": "Tenable.io" })))))
            .route("/scans", get(scans))
            .merge(exports)
            .fallback(|| std::future::ready(not_found()))
            .layer(from_fn_with_state(state.clone(), guard))
            .route("/server/status", get(|| std::future::ready(Json(json!({ "code": 200, "status": "ready" })))))
            .with_state(state)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => {
                (StatusCode::FORBIDDEN, Json(json!({ "error": "You do not have sufficient permissions to perform this operation" })))
                    .into_response()
            }
            _ => {
                let body = json!({ "statusCode": 401, "error": "Unauthorized", "message": "Invalid credentials." });
                (StatusCode::UNAUTHORIZED, Json(body)).into_response()
            }
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        if self.joined {
            return vec![("secret", format!("{ACCESS};{SECRET}"))];
        }
        vec![("access_key", ACCESS.to_owned()), ("secret_key", SECRET.to_owned())]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "GET /server/properties",
            "GET /session",
            "GET /scans",
            "GET /vulns/export/status",
            "POST /vulns/export",
            "GET /vulns/export/{}/status",
            "GET /vulns/export/{}/chunks/{}",
            "GET /assets/export/status",
            "POST /assets/v2/export",
            "GET /assets/export/{}/status",
            "GET /assets/export/{}/chunks/{}",
        ]
    }

    fn cannot(&self, fault: &Fault) -> Option<&'static str> {
        matches!(fault, Fault::DuplicatePage | Fault::ShiftedPage).then_some("numbered chunks of a fixed set")
    }

    fn has_exports(&self) -> bool {
        true
    }

    fn covers_many(&self) -> bool {
        true
    }

    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[("in chunks", |size| Arc::new(Tenable::new(size).joined().in_chunks(7)))]
    }

    fn step(&self, change: &Change) {
        self.inner().world.step(change);
    }

    fn oracle(&self) -> Oracle {
        let world = &self.inner().world;
        let mut oracle = Oracle::default();
        oracle.records.extend(world.scans.iter().map(|scan| (scan.schedule.clone(), scan.name.clone())));
        let (catch_all, name) = &self.catch_all;
        oracle.records.insert(catch_all.clone(), name.clone());
        for finding in world.findings.iter().filter(|finding| finding.ever_open && (self.info || finding.severity > 0)) {
            let state = match (finding.listed, finding.state()) {
                // Fixed is the end of it; nobody asks whether it is still listed.
                (false, state) if state != "fixed" => "gone",
                (_, state) => state,
            };
            let record = finding.scan.map_or(catch_all, |scan| &world.scans[scan].schedule).clone();
            oracle.findings.insert(finding.id.clone(), Truth { record, severity: SEVERITIES[finding.severity], state });
        }
        for asset in world.assets.iter().filter(|asset| asset.ever_present) {
            let state = if asset.deleted.or(asset.terminated).is_some() { "gone" } else { "present" };
            oracle.things.insert(("asset", asset.uuid.clone()), state);
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Tenable>,
    faults: Arc<Faults>,
}

async fn guard(Extract(server): Extract<Server>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let keys = headers.get("x-apikeys").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = |name: &str| keys.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let known = key("accessKey") == Some(ACCESS) && key("secretKey") == Some(SECRET);
    let mut response = if known { next.run(request).await } else { server.tool.refuse(&Fault::Unauthorized) };
    response.headers_mut().insert("x-request-uuid", HeaderValue::from_static("8b4f7e20a1c94d0f9e1d2c3b4a596877"));
    response
}

async fn may_export(Extract(server): Extract<Server>, request: Request, next: Next) -> Response {
    if server.tool.may_export { next.run(request).await } else { server.tool.refuse(&Fault::Forbidden) }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "The requested file was not found." }))).into_response()
}

type Refused = Box<Response>;

fn bad(what: &str) -> Refused {
    Box::new((StatusCode::BAD_REQUEST, Json(json!({ "error": what }))).into_response())
}

async fn session(Extract(server): Extract<Server>) -> Json<Value> {
    let permissions = if server.tool.may_export { 16 } else { 8 };
    Json(json!({
        "id": 2_236_706, "uuid": "e9f23194-adb7-4c02-8632-615c694c787e", "username": "tributary@corp.example", "email": "tributary@corp.example",
        "name": "Tributary", "type": "local", "permissions": permissions, "enabled": true, "container_id": 7, "container_uuid": CONTAINER,
        "container_name": "Corp", "login_fail_count": 0,
    }))
}

async fn scans(Extract(server): Extract<Server>, Query(query): Query<Map<String, Value>>) -> Json<Value> {
    let now = Timestamp::now().as_second();
    let folders = json!([{ "id": 9, "name": "My Scans", "type": "main", "default_tag": 1, "custom": 0, "unread_count": 0 }]);
    if server.faults.take("GET /scans") == Some(Fault::NoRole) {
        return Json(json!({ "folders": folders, "scans": null, "timestamp": now }));
    }
    // Filters by time mean the time of execution: what never ran is hidden.
    let only_run = ["last_modification_date", "started_from", "started_to"].iter().any(|name| query.contains_key(*name));
    let folder = query.get("folder_id").and_then(Value::as_str).is_none_or(|folder| folder == "9");
    let inner = server.tool.inner();
    let shown = inner.world.scans.iter().enumerate().filter(|(_, scan)| folder && !(only_run && scan.runs.is_empty()));
    let scans: Vec<Value> = shown
        .map(|(number, scan)| {
            let mut body = json!({
                "id": 11 + number, "schedule_uuid": scan.schedule, "name": scan.name, "status": "empty", "type": (["remote", "agent", "pvs"][number % 3]),
                "enabled": true, "owner": "admin@corp.example", "user_permissions": 16, "permissions": 16, "shared": true, "folder_id": 9, "legacy": false,
                "read": true, "control": true, "creation_date": 1_709_251_200, "last_modification_date": 1_709_251_200, "has_triggers": false, "policy_id": 42 + number,
                "progress": 0, "wizard_uuid": "731a8e52-3ea6-a291-ec0a-d2ff0619c19d7bd788d6be818b65",
            });
            if let Some((run, began)) = scan.runs.last() {
                body["uuid"] = json!(run);
                body["status"] = json!("completed");
                body["last_modification_date"] = json!(began / 1_000_000 + 3600);
                body["progress"] = json!(100);
                body["starttime"] = json!("20260101T010000");
                body["rrules"] = json!("FREQ=DAILY;INTERVAL=1");
                body["timezone"] = json!("Europe/Berlin");
            }
            body
        })
        .collect();
    Json(json!({ "folders": folders, "scans": if scans.is_empty() { Value::Null } else { json!(scans) }, "timestamp": now }))
}
