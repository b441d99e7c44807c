//! The exports of findings and assets: what starts a job, tells its status and hands out its chunks.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State as Extract},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Inner, Refused, Server, Tenable, bad,
    filter::{Wanted, flag, read, time, words},
    job::{Ending, Job, Kind, chunks},
    not_found,
};
use crate::{Fault, seed::Seed};

/// Exports that may run at once in a container.
const MOST_JOBS: usize = 10;
/// Jobs whose chunks are kept.
const KEPT_JOBS: usize = 60;

pub(super) async fn export_vulns(Extract(server): Extract<Server>, body: Bytes) -> Response {
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

pub(super) async fn export_assets(Extract(server): Extract<Server>, body: Bytes) -> Response {
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
    let (number, jobs) = inner.damage;
    let damaged = (jobs > 0 && kind == Kind::Vulns).then(|| {
        inner.damage.1 = jobs - 1;
        number
    });
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
        damaged,
    });
    if inner.jobs.len() > KEPT_JOBS {
        inner.jobs.remove(0);
    }
    Json(json!({ "export_uuid": uuid })).into_response()
}

pub(super) async fn list(Extract(server): Extract<Server>, kind: Kind) -> Json<Value> {
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

pub(super) async fn status(Extract(server): Extract<Server>, Path(uuid): Path<String>, kind: Kind) -> Response {
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

pub(super) async fn cancel(Extract(server): Extract<Server>, Path(uuid): Path<String>, kind: Kind) -> Response {
    let mut inner = server.tool.inner();
    let Some(job) = inner.jobs.iter_mut().find(|job| job.uuid == uuid && job.kind == kind) else { return not_found() };
    job.cancelled |= job.runs();
    Json(json!({ "status": "CANCELLED" })).into_response()
}

pub(super) async fn chunk(Extract(server): Extract<Server>, Path((uuid, number)): Path<(String, usize)>, kind: Kind) -> Response {
    let fault = server.faults.take(&route(kind, if kind == Kind::Vulns { "chunks findings" } else { "chunks" }));
    let mut inner = server.tool.inner();
    let Some(job) = inner.jobs.iter_mut().find(|job| job.uuid == uuid && job.kind == kind) else { return not_found() };
    if fault == Some(Fault::ChunkLost) {
        return not_found();
    }
    job.expired |= fault == Some(Fault::ExpiredCursor);
    let Some(position) = job.chunks.iter().position(|(known, _)| *known == number).filter(|_| !job.expired) else { return not_found() };
    let position = if fault == Some(Fault::RepeatedCursor) { 0 } else { position };
    if position >= job.available() {
        return *bad("The chunk is not ready.");
    }
    if job.damaged == Some(number) {
        let body = json!({ "statusCode": 500, "error": "Internal Server Error", "message": "An internal server error occurred." });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
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
