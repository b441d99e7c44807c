//! Export jobs: asked for, prepared, fetched. What they are asked for is decided here.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::json;

use super::{
    AGENT, Cursor, EVER, EXPORTING, Tenable,
    wire::{Started, Status},
};
use crate::{Excerpt, prelude::*};

/// Assets per chunk of findings: the API's own default and least, as one host may have some megabytes of findings.
const HOSTS: u32 = 50;
/// Assets per chunk of assets.
const ROWS: u32 = 1000;
/// Questions without news, half a minute apart, after which the rest is the next run's business (two hours).
const PATIENCE: u32 = 240;

/// The questions of a pass: the first alone where everything is asked for, and for assets.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) enum Part {
    /// What was found or fixed since.
    #[default]
    Found,
    /// What was indexed since, however long ago it was found.
    Indexed,
    /// All that a person's rule accepts or recasts: that moves no date.
    Ruled,
}

impl Part {
    fn next(self) -> Option<Part> {
        match self {
            Part::Found => Some(Part::Indexed),
            Part::Indexed => Some(Part::Ruled),
            Part::Ruled => None,
        }
    }
}

/// Routes of one kind of export.
pub(super) struct Export {
    pub(super) start: &'static str,
    pub(super) status: &'static str,
    pub(super) chunk: &'static str,
    pub(super) cancel: &'static str,
}

pub(super) const FINDINGS: Export = Export {
    start: "/vulns/export",
    status: "/vulns/export/{}/status",
    chunk: "/vulns/export/{}/chunks/{}",
    cancel: "/vulns/export/{}/cancel",
};
pub(super) const ASSETS: Export = Export {
    start: "/assets/v2/export",
    status: "/assets/export/{}/status",
    chunk: "/assets/export/{}/chunks/{}",
    cancel: "/assets/export/{}/cancel",
};

impl Tenable {
    /// Asks for an export, or finds the same one under way.
    pub(super) async fn begin(&self, cx: &Cx, findings: bool, since: i64, part: Part) -> Result<Cursor> {
        let (start, container, body) = if findings {
            let filters = match part {
                Part::Found => json!({ "state": ["OPEN", "REOPENED", "FIXED"], "since": since }),
                Part::Indexed => json!({ "state": ["OPEN", "REOPENED", "FIXED"], "indexed_at": since }),
                Part::Ruled => {
                    json!({ "state": ["OPEN", "REOPENED"], "severity_modification_type": ["ACCEPTED", "RECASTED"], "since": EVER })
                }
            };
            let body =
                json!({ "num_assets": HOSTS, "include_unlicensed": self.unlicensed, "include_software_vulns": true, "filters": filters });
            (FINDINGS.start, self.session(cx).await?.container_uuid, body)
        } else {
            let body = json!({ "chunk_size": ROWS, "include_open_ports": false, "filters": { "types": ["host"], "since": since } });
            (ASSETS.start, String::new(), body)
        };
        let started = self.http.post(start, &[], &body).header("user-agent", AGENT).also(409).send::<Started>(cx).await;
        let job = match started.map_err(|error| error.if_forbidden(EXPORTING))?.body {
            Started::Own { export_uuid } => export_uuid,
            Started::UnderWay { active_job_id } => active_job_id,
        };
        Ok(Cursor { job: Some(job), container, part, ..Cursor::default() })
    }

    /// All that was ready is stored. What else is?
    pub(super) async fn look(&self, cx: &Cx, export: &Export, job: &str, mut cursor: Cursor, since: i64) -> Result<Next<Cursor>> {
        let status = self.get(export.status, &[job]).send::<Status>(cx).await.map_err(forgotten)?.body;
        let broken = lost(&status.chunks_failed) + lost(&status.chunks_cancelled);
        let finished = match status.status.to_ascii_uppercase().as_str() {
            "FINISHED" => true,
            "QUEUED" | "PROCESSING" => false,
            "ERROR" | "CANCELLED" => return Err(failed(export, &status, broken)),
            other => cx.unknown("state of an export", other, false),
        };
        let before = std::mem::replace(&mut cursor.finished, finished);
        cursor.ready = status.chunks_available.iter().flatten().copied().collect();
        if cursor.ready.first_not_in(&cursor.done).is_some() {
            return Ok(Next::More(Cursor { asked: 0, ..cursor }));
        }
        if !finished {
            return later(cursor, &status.status);
        }
        if !before {
            return later(Cursor { asked: 0, ..cursor }, &status.status);
        }
        // What came of a job that lost a part of itself is stored, but says nothing about the rest.
        if broken > 0 || status.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty()) {
            return Err(failed(export, &status, broken));
        }
        Ok(match cursor.part.next().filter(|_| export.start == FINDINGS.start) {
            _ if since == EVER => Next::FULL,
            Some(part) => Next::More(Cursor { part, ..Cursor::default() }),
            None => Next::Done(Coverage::Delta, None),
        })
    }
}

/// A job or chunk that is no longer there: a new one has to be asked for.
pub(super) fn forgotten(error: Error) -> Error {
    match error.kind {
        Kind::Refused { status: 404 | 410, .. } => Error::new(error.doing, Kind::CursorExpired),
        _ => error.if_forbidden(EXPORTING),
    }
}

pub(super) fn failed(export: &Export, status: &Status, broken: usize) -> Error {
    let reason = status.reason.as_deref().unwrap_or("no reason given");
    let what = Excerpt::new(&format!("{}, {broken} chunks failed or cancelled: {reason}", status.status)).to_string();
    Error::new(["exporting by ", export.start].concat(), Kind::Export(what.into()))
}

/// The same question again, ever less eagerly, and not for ever.
pub(super) fn later(cursor: Cursor, word: &str) -> Result<Next<Cursor>> {
    if cursor.asked >= PATIENCE {
        let what = format!("its export is {}", Excerpt::new(word));
        return Err(Error::new("waiting for an export", Kind::Pending(what.into())));
    }
    let wait = Duration::from_secs((2 << cursor.asked.min(4)).min(30));
    Ok(Next::Wait(Cursor { asked: cursor.asked + 1, ..cursor }, wait))
}

fn lost(chunks: &Option<Vec<IgnoredAny>>) -> usize {
    chunks.as_ref().map_or(0, Vec::len)
}
