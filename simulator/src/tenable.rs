//! Tenable Vulnerability Management: export jobs of findings and hosts, and the list of scans.
//!
//! Jobs advance by requests, never by time: each look at a job's status moves it from QUEUED over PROCESSING, with half of its
//! chunks there, to FINISHED, and each new job moves all others, so that jobs nobody looks at end too. Chunks come out of
//! order and their numbers have a gap; the last one is empty, where there is more than one. An export is a fixed set of
//! numbered chunks, so pages cannot shift or come twice, nor cursors repeat: these faults are ignored. An expired cursor is a job, or a chunk of it, that is gone.
//! Not simulated, and refused with 400: filters by tag, address and score; exports in the form of assets version 1 are 404.

mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, Request, State as Extract},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::world::{Finding, SEVERITIES, State, World};
use crate::{Change, Fault, Faults, Oracle, Size, Truth, Vendor, seed::Seed};

const ACCESS: &str = "5d1e0a7c3b9f48261d0e7a5c9b3f82604d1e6a7c2b9f58361c0e4a5d8b3f9260";
const SECRET: &str = "a3c5e7092b4d6f8110325476980badce0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const CONTAINER: &str = "1f6d2a34-8c1e-4c0b-9d35-7f00aa51c0de";
/// Exports that may run at once in a container.
const MOST_JOBS: usize = 10;
/// Jobs whose chunks are kept.
const KEPT_JOBS: usize = 60;

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With all chunks.
    Whole,
    /// FINISHED, but a chunk failed and those after it were cancelled.
    FailedChunks,
    /// ERROR.
    Error,
    /// CANCELLED.
    Cancelled,
}

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Vulns,
    Assets,
}

#[derive(Debug)]
struct Job {
    uuid: String,
    kind: Kind,
    /// The filters as they were asked for: what makes two requests the same.
    asked: Value,
    echo: Value,
    software: bool,
    per_chunk: usize,
    created: i64,
    /// (number, what is in it), in the order in which they become available.
    chunks: Vec<(usize, Vec<usize>)>,
    looks: usize,
    queued: usize,
    ending: Ending,
    cancelled: bool,
    /// Whether its chunks are no longer kept.
    expired: bool,
    odd: bool,
}

impl Tenable {
    /// A container with one scan that never ran, and one with five findings; the others share the rest.
    pub fn new(size: Size) -> Self {
        let inner = Inner { world: World::new(size), jobs: Vec::new(), made: 0, ending: (Ending::Whole, 0) };
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

    /// A day goes by: the chunks of all jobs are gone.
    pub fn expire(&self) {
        self.inner().jobs.iter_mut().for_each(|job| job.expired = true);
    }

    /// What was fixed first is found again. Its key.
    pub fn reopen(&self) -> Option<String> {
        self.inner().world.reopen()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn status(&self) -> &'static str {
        match self.ending {
            _ if self.cancelled => "CANCELLED",
            _ if self.looks <= self.queued => "QUEUED",
            _ if self.looks == self.queued + 1 => "PROCESSING",
            Ending::Whole | Ending::FailedChunks => "FINISHED",
            Ending::Error => "ERROR",
            Ending::Cancelled => "CANCELLED",
        }
    }

    fn runs(&self) -> bool {
        matches!(self.status(), "QUEUED" | "PROCESSING")
    }

    fn advance(&mut self) {
        if self.runs() {
            self.looks += 1;
        }
    }

    /// How many of its chunks are there.
    fn available(&self) -> usize {
        match self.status() {
            "QUEUED" => 0,
            "FINISHED" if self.ending == Ending::Whole => self.chunks.len(),
            _ if self.looks <= self.queued => 0,
            _ => self.chunks.len() / 2,
        }
    }

    /// What the list of jobs and the job's own status both say.
    fn summary(&self) -> Map<String, Value> {
        let available = self.available();
        let Value::Object(mut summary) = json!({
            "uuid": self.uuid, "status": self.status(), "total_chunks": self.chunks.len(), "chunks_available_count": available,
            "finished_chunks": available, "empty_chunks_count": self.chunks[..available].iter().filter(|(_, rows)| rows.is_empty()).count(),
            "filters": self.echo, "num_assets_per_chunk": self.per_chunk, "created": self.created / 1000,
        }) else {
            return Map::new();
        };
        let broken = matches!(self.ending, Ending::FailedChunks | Ending::Error) && !self.runs() && !self.cancelled;
        if broken {
            summary.insert("reason".into(), json!(format!("1 of {} chunks failed due to an internal error", self.chunks.len())));
        }
        summary
    }

    fn detail(&self) -> Value {
        let numbers = |from: usize, to: usize| -> Vec<usize> {
            let to = to.min(self.chunks.len());
            self.chunks[from.min(to)..to].iter().map(|(number, _)| *number).collect()
        };
        let available = self.available();
        let (failed, cancelled) = match self.ending {
            _ if self.cancelled => (Vec::new(), numbers(available, usize::MAX)),
            Ending::Whole => (Vec::new(), Vec::new()),
            _ if self.runs() => (Vec::new(), Vec::new()),
            Ending::FailedChunks | Ending::Error => (numbers(available, available + 1), numbers(available + 1, usize::MAX)),
            Ending::Cancelled => (Vec::new(), numbers(available, usize::MAX)),
        };
        let mut detail = self.summary();
        detail.insert("chunks_available".into(), json!(numbers(0, available)));
        // The export of assets says no more than this.
        if self.kind == Kind::Assets {
            detail.retain(|name, _| matches!(name.as_str(), "status" | "reason" | "chunks_available"));
        } else {
            detail.insert("chunks_failed".into(), json!(failed));
            detail.insert("chunks_cancelled".into(), json!(cancelled));
        }
        Value::Object(detail)
    }
}

/// Splits what was found into chunks: an empty one last, each second one before the one in front of it, and no number 3.
fn chunks(groups: Vec<Vec<usize>>) -> Vec<(usize, Vec<usize>)> {
    let mut groups = groups;
    if groups.len() > 1 {
        groups.push(Vec::new());
    }
    let mut chunks: Vec<_> = groups.into_iter().enumerate().map(|(n, rows)| (if n < 2 { n + 1 } else { n + 2 }, rows)).collect();
    let filled = chunks.len().saturating_sub(1);
    chunks[..filled].chunks_mut(2).for_each(<[_]>::reverse);
    chunks
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
            oracle.assets.insert(asset.uuid.clone(), state);
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

/// What is asked of an export: the whole body, and its filters.
type Asked = (Map<String, Value>, Map<String, Value>);

fn read(body: &Bytes) -> Result<Asked, Refused> {
    if body.is_empty() {
        return Ok((Map::new(), Map::new()));
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(body) else { return Err(bad("The body is no JSON object.")) };
    let filters = match body.remove("filters") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(filters)) => filters,
        Some(_) => return Err(bad("filters must be an object")),
    };
    Ok((body, filters))
}

fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Refused> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(bad(&format!("{name} must be a boolean"))),
    }
}

/// A time in whole seconds; 0 is as good as none. In microseconds.
fn time(filters: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refused> {
    match filters.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(0) => Ok(None),
            Some(seconds) if (1..=9_999_999_999).contains(&seconds) => Ok(Some(seconds * 1_000_000)),
            _ => Err(bad(&format!("{name} must be a time in seconds since 1970"))),
        },
    }
}

fn words(filters: &Map<String, Value>, name: &str, known: &[&str], any_case: bool) -> Result<Option<Vec<String>>, Refused> {
    let Some(value) = filters.get(name) else { return Ok(None) };
    let words = value.as_array().and_then(|words| words.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
    let words = words.ok_or_else(|| bad(&format!("{name} must be a list of texts")))?;
    let words: Vec<String> = if any_case { words.iter().map(|word| word.to_uppercase()).collect() } else { words };
    match words.iter().find(|word| !known.is_empty() && !known.contains(&word.as_str())) {
        Some(word) => Err(bad(&format!("{word} is no {name}"))),
        None => Ok((!words.is_empty()).then_some(words)),
    }
}

/// What is wanted of the findings.
struct Wanted {
    since: Option<i64>,
    first_found: Option<i64>,
    last_found: Option<i64>,
    last_fixed: Option<i64>,
    indexed: Option<i64>,
    /// Without any time, only the last 30 days.
    recent: i64,
    states: Vec<String>,
    severities: Option<Vec<String>>,
    modified: Option<Vec<String>>,
    sources: Option<Vec<String>>,
    families: Option<Vec<String>>,
    plugins: Option<Vec<u64>>,
    run: Option<String>,
}

impl Wanted {
    fn read(filters: &Map<String, Value>) -> Result<Wanted, Refused> {
        const KNOWN: &[&str] = &[
            "since",
            "first_found",
            "first_seen",
            "last_found",
            "last_seen",
            "last_fixed",
            "indexed_at",
            "state",
            "severity",
            "severity_modification_type",
            "source",
            "plugin_family",
            "plugin_id",
            "scan_uuid",
        ];
        if let Some(name) = filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(bad(&format!("unknown or unsupported filter {name}")));
        }
        let since = time(filters, "since")?;
        let first_found = time(filters, "first_found")?.or(time(filters, "first_seen")?);
        let last_found = time(filters, "last_found")?.or(time(filters, "last_seen")?);
        let last_fixed = time(filters, "last_fixed")?;
        let indexed = time(filters, "indexed_at")?;
        let others = first_found.is_some() || last_found.is_some() || last_fixed.is_some();
        if since.is_some() && others {
            return Err(bad("since cannot be combined with first_found, last_found or last_fixed"));
        }
        let states = words(filters, "state", &["OPEN", "REOPENED", "FIXED"], true)?;
        if others && states.is_none() {
            return Err(bad("first_found, last_found and last_fixed need the state filter"));
        }
        let otherwise: &[&str] = if since.is_some() { &["OPEN", "REOPENED", "FIXED"] } else { &["OPEN", "REOPENED"] };
        let timed = since.is_some() || others || indexed.is_some();
        let plugins = filters.get("plugin_id").map(|ids| {
            ids.as_array().and_then(|ids| ids.iter().map(Value::as_u64).collect()).ok_or_else(|| bad("plugin_id must be a list of numbers"))
        });
        Ok(Wanted {
            since,
            first_found,
            last_found,
            last_fixed,
            indexed,
            recent: if timed { i64::MIN } else { Timestamp::now().as_microsecond() - 30 * 86_400_000_000 },
            states: states.unwrap_or_else(|| otherwise.iter().map(|state| (*state).to_owned()).collect()),
            severities: words(filters, "severity", &SEVERITIES, false)?,
            modified: words(filters, "severity_modification_type", &["NONE", "RECASTED", "ACCEPTED"], false)?,
            sources: words(filters, "source", &[], false)?,
            families: words(filters, "plugin_family", &[], false)?,
            plugins: plugins.transpose()?,
            run: filters.get("scan_uuid").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// What a tool looks for that ignores the filters.
    fn everything(mut self) -> Wanted {
        (self.since, self.first_found, self.last_found, self.last_fixed, self.indexed, self.recent) =
            (None, None, None, None, None, i64::MIN);
        (self.severities, self.modified, self.sources, self.families, self.plugins, self.run) = (None, None, None, None, None, None);
        self.states = ["OPEN", "REOPENED", "FIXED"].map(str::to_owned).into();
        self
    }

    fn fits(&self, finding: &Finding, world: &World) -> bool {
        let has = |words: &Option<Vec<String>>, word: &str| words.as_ref().is_none_or(|words| words.iter().any(|known| known == word));
        let plugin = &world.plugins[finding.plugin];
        // Open ones count by when they were found last, fixed ones by when they were fixed.
        let moved = if finding.state == State::Fixed { finding.last_fixed } else { finding.last_found };
        finding.listed
            && self.states.iter().any(|state| state == finding.state.word())
            && moved >= self.since.unwrap_or(self.recent)
            && self.first_found.is_none_or(|time| finding.first_found >= time)
            && self.last_found.is_none_or(|time| finding.last_found >= time)
            && self.last_fixed.is_none_or(|time| finding.last_fixed >= time)
            && self.indexed.is_none_or(|time| finding.indexed >= time)
            && has(&self.severities, SEVERITIES[finding.severity])
            && has(&self.modified, finding.modified.word())
            && has(&self.sources, finding.source())
            && has(&self.families, plugin.family)
            && self.plugins.as_ref().is_none_or(|ids| ids.contains(&plugin.id))
            && self
                .run
                .as_ref()
                .is_none_or(|run| finding.scan.and_then(|scan| world.scans[scan].runs.last()).is_some_and(|(last, _)| last == run))
    }

    /// The filters as a status shows them.
    fn echo(&self) -> Value {
        let seconds = |time: Option<i64>| time.unwrap_or(0) / 1_000_000;
        let upper = |words: &Option<Vec<String>>| words.iter().flatten().map(|word| word.to_uppercase()).collect::<Vec<_>>();
        json!({
            "since": seconds(self.since), "first_found": seconds(self.first_found), "last_found": seconds(self.last_found), "last_fixed": seconds(self.last_fixed),
            "indexed_at": seconds(self.indexed), "state": self.states, "severity": upper(&self.severities), "tags": [],
        })
    }
}

async fn export_vulns(Extract(server): Extract<Server>, body: Bytes) -> Response {
    let fault = server.faults.take("POST /vulns/export");
    let mut inner = server.tool.inner();
    let read = || -> Result<_, Refused> {
        let (body, filters) = read(&body)?;
        let per_chunk = match body.get("num_assets") {
            None | Some(Value::Null) => 50,
            Some(number) => number.as_i64().ok_or_else(|| bad("num_assets must be a number"))?.clamp(50, 5000),
        };
        let wanted = Wanted::read(&filters)?;
        let wanted = if fault == Some(Fault::NoFilters) { wanted.everything() } else { wanted };
        let flags = (flag(&body, "include_unlicensed")?, flag(&body, "include_software_vulns")?);
        Ok((usize::try_from(per_chunk).unwrap_or(50), wanted, flags, Value::Object(filters)))
    };
    let (per_chunk, wanted, (unlicensed, software), asked) = match read() {
        Ok(read) => read,
        Err(refused) => return *refused,
    };
    let world = &inner.world;
    let mut of_assets: Vec<Vec<usize>> = Vec::new();
    for asset in world.assets.iter().filter(|asset| (unlicensed || asset.licensed) && fault != Some(Fault::NoRole)) {
        let found: Vec<usize> = asset.findings.iter().copied().filter(|index| wanted.fits(&world.findings[*index], world)).collect();
        if !found.is_empty() {
            of_assets.push(found);
        }
    }
    let assets = of_assets.len();
    let groups = match server.tool.chunks {
        None => of_assets.chunks(per_chunk).map(<[_]>::concat).collect(),
        Some(count) => {
            (0..count).map(|n| of_assets[n * assets / count..(n + 1) * assets / count].concat()).filter(|group| !group.is_empty()).collect()
        }
    };
    start(&server.tool, &mut inner, Kind::Vulns, asked, (wanted.echo(), software, per_chunk), groups)
}

async fn export_assets(Extract(server): Extract<Server>, body: Bytes) -> Response {
    let fault = server.faults.take("POST /assets/v2/export");
    let mut inner = server.tool.inner();
    let read = || -> Result<_, Refused> {
        let (body, filters) = read(&body)?;
        let most = if flag(&body, "include_resource_tags")? { 1000 } else { 10_000 };
        let size = body.get("chunk_size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|size| (100..=most).contains(size)).ok_or_else(|| bad(&format!("chunk_size must be from 100 to {most}")))?;
        flag(&body, "include_open_ports")?;
        if let Some(name) = filters.keys().find(|name| !matches!(name.as_str(), "since" | "types")) {
            return Err(bad(&format!("unknown or unsupported filter {name}")));
        }
        let types = words(&filters, "types", &["host", "webapp"], false)?;
        Ok((
            size,
            time(&filters, "since")?.filter(|_| fault != Some(Fault::NoFilters)).unwrap_or(i64::MIN),
            types.is_none_or(|types| types.iter().any(|kind| kind == "host")),
            Value::Object(filters),
        ))
    };
    let (size, since, hosts, asked) = match read() {
        Ok(read) => read,
        Err(refused) => return *refused,
    };
    let assets = inner.world.assets.iter().enumerate();
    let moved =
        assets.filter(|(_, asset)| asset.updated.max(asset.deleted.unwrap_or(i64::MIN)).max(asset.terminated.unwrap_or(i64::MIN)) >= since);
    let shown: Vec<usize> = moved.map(|(index, _)| index).filter(|_| hosts && fault != Some(Fault::NoRole)).collect();
    let groups = shown.chunks(size).map(<[_]>::to_vec).collect();
    start(&server.tool, &mut inner, Kind::Assets, asked, (Value::Null, false, size), groups)
}

fn start(
    tool: &Tenable,
    inner: &mut Inner,
    kind: Kind,
    asked: Value,
    (echo, software, per_chunk): (Value, bool, usize),
    groups: Vec<Vec<usize>>,
) -> Response {
    let same = |job: &&Job| job.runs() && job.kind == kind && job.asked == asked;
    if let Some(job) = inner.jobs.iter().find(same) {
        let body = json!({ "active_job_id": job.uuid, "failure_reason": "The request could not be completed due to a conflict with the ongoing export" });
        return (StatusCode::CONFLICT, Json(body)).into_response();
    }
    inner.jobs.iter_mut().for_each(Job::advance);
    if inner.jobs.iter().filter(|job| job.runs()).count() >= MOST_JOBS {
        let page = Html("<html><body><h1>429 Too Many Requests</h1></body></html>");
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], page).into_response();
    }
    inner.made += 1;
    let uuid = Seed::of(&[tool.started.unsigned_abs(), inner.made]).uuid();
    let (ending, left) = inner.ending;
    let ending = if left > 0 { ending } else { Ending::Whole };
    inner.ending.1 = left.saturating_sub(1);
    inner.jobs.push(Job {
        uuid: uuid.clone(),
        kind,
        asked,
        echo,
        software,
        per_chunk,
        created: Timestamp::now().as_microsecond(),
        chunks: chunks(groups),
        looks: 0,
        queued: tool.queued,
        ending,
        cancelled: false,
        expired: false,
        odd: inner.made % 2 == 1,
    });
    if inner.jobs.len() > KEPT_JOBS {
        inner.jobs.remove(0);
    }
    Json(json!({ "export_uuid": uuid })).into_response()
}

async fn list(Extract(server): Extract<Server>, kind: Kind) -> Json<Value> {
    let inner = server.tool.inner();
    let exports: Vec<_> = inner.jobs.iter().rev().filter(|job| job.kind == kind).map(Job::summary).collect();
    Json(json!({ "exports": exports }))
}

fn route(kind: Kind, what: &str) -> String {
    match kind {
        Kind::Vulns => format!("GET /vulns/export/{what}"),
        Kind::Assets => format!("GET /assets/export/{what}"),
    }
}

async fn status(Extract(server): Extract<Server>, Path(uuid): Path<String>, kind: Kind) -> Response {
    let fault = server.faults.take(&route(kind, "status"));
    let mut inner = server.tool.inner();
    if fault == Some(Fault::ExpiredCursor) {
        inner.jobs.retain(|job| job.uuid != uuid);
    }
    let Some(job) = inner.jobs.iter_mut().find(|job| job.uuid == uuid && job.kind == kind) else { return not_found() };
    match fault {
        // An asker never sees it begin.
        Some(Fault::ExportPending) => return Json(json!({ "status": "QUEUED", "chunks_available": [] })).into_response(),
        Some(Fault::ExportFailed) => job.ending = Ending::Error,
        _ => {}
    }
    job.advance();
    Json(job.detail()).into_response()
}

async fn cancel(Extract(server): Extract<Server>, Path(uuid): Path<String>, kind: Kind) -> Response {
    let mut inner = server.tool.inner();
    let Some(job) = inner.jobs.iter_mut().find(|job| job.uuid == uuid && job.kind == kind) else { return not_found() };
    job.cancelled |= job.runs();
    Json(json!({ "status": "CANCELLED" })).into_response()
}

async fn chunk(Extract(server): Extract<Server>, Path((uuid, number)): Path<(String, usize)>, kind: Kind) -> Response {
    let fault = server.faults.take(&route(kind, if kind == Kind::Vulns { "chunks findings" } else { "chunks" }));
    let mut inner = server.tool.inner();
    let Some(job) = inner.jobs.iter_mut().find(|job| job.uuid == uuid && job.kind == kind) else { return not_found() };
    if fault == Some(Fault::ChunkLost) {
        return not_found();
    }
    job.expired |= fault == Some(Fault::ExpiredCursor);
    let Some(position) = job.chunks.iter().position(|(known, _)| *known == number).filter(|_| !job.expired) else { return not_found() };
    if position >= job.available() {
        return *bad("The chunk is not ready.");
    }
    let (odd, software) = (job.odd, job.software);
    let Inner { world, jobs, .. } = &*inner;
    let rows = jobs.iter().find(|job| job.uuid == uuid).map(|job| job.chunks[position].1.as_slice()).unwrap_or_default();
    let mut body = String::with_capacity(2 + rows.len() * 2048);
    // A finding that vanished meanwhile was still there when the export began.
    let open = rows.iter().position(|row| kind == Kind::Vulns && world.findings[*row].ever_open && world.findings[*row].state() == "open");
    for (place, row) in rows.iter().enumerate() {
        body.push(if place == 0 { '[' } else { ',' });
        match &fault {
            Some(Fault::BadItem) if place == 0 => body.push_str("[1,2]"),
            Some(Fault::UnknownEnum) if open == Some(place) => {
                let mut text = String::new();
                world.show_finding(*row, software, &mut text);
                let mut item: Value = serde_json::from_str(&text).expect("our own JSON");
                item["state"] = json!("PONDERING");
                item["severity"] = json!("apocalyptic");
                item["severity_id"] = json!(9);
                body.push_str(&item.to_string());
            }
            _ if kind == Kind::Vulns => world.show_finding(*row, software, &mut body),
            _ => world.show_asset(*row, &mut body),
        }
    }
    match rows.is_empty() {
        false => body.push(']'),
        // Clients in the field guard against both.
        true => body.push_str(if odd { "null" } else { "[]" }),
    }
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}
