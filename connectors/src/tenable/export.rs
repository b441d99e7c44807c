//! Export jobs: asked for, prepared, fetched. What they are asked for is decided here.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    AGENT, Cursor, EVER, EXPORTING, Tenable,
    wire::{Started, Status},
};
use crate::{
    Excerpt,
    kit::{RangeSet, Scalar},
    prelude::*,
};

/// Assets per chunk of findings: the API's own default and least, as one host may have some megabytes of findings.
const HOSTS: u32 = 50;
/// Assets per chunk of assets.
const ROWS: u32 = 1000;
/// Questions without news, half a minute apart, after which the rest is the next run's business (two hours).
const MAX_POLLS_WITHOUT_NEWS: u32 = 240;
/// How long the vendor keeps a job's chunks.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// The chunk is announced, but not ready.
const NOT_READY: u16 = 400;

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
}

pub(super) const FINDINGS: Export =
    Export { start: "/vulns/export", status: "/vulns/export/{}/status", chunk: "/vulns/export/{}/chunks/{}" };
pub(super) const ASSETS: Export =
    Export { start: "/assets/v2/export", status: "/assets/export/{}/status", chunk: "/assets/export/{}/chunks/{}" };

impl Tenable {
    /// Asks for an export, or finds the same one under way.
    pub(super) async fn begin(&self, cx: &Context, findings: bool, since: i64, part: Part) -> Result<Cursor> {
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
        let started = self.http.post(start, &[], &body).header("user-agent", AGENT).accept_status(409).needs(EXPORTING);
        let job = match started.send::<Started>(cx).await?.body {
            Started::Own { export_uuid } => export_uuid,
            Started::UnderWay { active_job_id } => active_job_id,
        };
        // A job that is asked for anew brings again what the one before brought.
        cx.another_part();
        Ok(Cursor { job: Some(job), container, part, ..Cursor::default() })
    }

    async fn status(&self, cx: &Context, export: &Export, job: &str) -> Result<Status> {
        let answer = self.get(export.status, &[job]).needs(EXPORTING).send::<Status>(cx).await;
        Ok(answer.map_err(|error| if is_missing(&error) { expired(error) } else { error })?.body)
    }

    /// A chunk could not be read. The others are read first, then it is asked for once more, and then one new job is: no filter
    /// names the hosts of a chunk. Unless it is not the chunk that fails but the server, or the job is forgotten: its status tells.
    pub(super) async fn set_aside(
        &self,
        cx: &Context,
        export: &Export,
        job: &str,
        mut cursor: Cursor,
        chunk: u64,
        error: Error,
    ) -> Result<Next<Cursor>> {
        match &error.kind {
            ErrorKind::Refused { status: NOT_READY, .. } if cursor.again && cursor.asked < MAX_POLLS_WITHOUT_NEWS => {
                return retry_later(cursor, "a chunk that it announced is not");
            }
            ErrorKind::Refused { .. } | ErrorKind::UnexpectedBody { .. } | ErrorKind::TooLarge { .. } => {}
            ErrorKind::Vendor { .. } | ErrorKind::Network(_) | ErrorKind::NotAnApi(_) => {}
            _ => return Err(error),
        }
        let status = self.status(cx, export, job).await?;
        let created = status.created.whole().and_then(text::time_of_millis);
        if is_missing(&error) && created.is_some_and(|created| cx.now().duration_since(created) >= KEPT) {
            return Err(expired(error));
        }
        cursor.done.insert(chunk);
        cursor.aside.insert(chunk);
        let told = || format!("the first is chunk {chunk}: {}", error.kind);
        let why = cursor.why.take().unwrap_or_else(told);
        Ok(Next::More(Cursor { why: Some(why), asked: 0, ..cursor }))
    }

    /// All that was ready is settled. What else is?
    pub(super) async fn poll_export(
        &self,
        cx: &Context,
        export: &Export,
        job: &str,
        mut cursor: Cursor,
        since: i64,
    ) -> Result<Next<Cursor>> {
        let status = self.status(cx, export, job).await?;
        let broken = lost(&status.chunks_failed) + lost(&status.chunks_cancelled);
        let finished = match status.status.to_ascii_uppercase().as_str() {
            "FINISHED" => true,
            "QUEUED" | "PROCESSING" => false,
            "ERROR" | "CANCELLED" => return Err(failed(export, &status, broken)),
            other => cx.unknown("state of an export", other, false),
        };
        let before = std::mem::replace(&mut cursor.finished, finished);
        cursor.ready = chunks(&status)?;
        if cursor.ready.first_not_in(&cursor.done).is_some() {
            return Ok(Next::More(Cursor { asked: 0, ..cursor }));
        }
        if !finished {
            return retry_later(cursor, &status.status);
        }
        if !before {
            return retry_later(Cursor { asked: 0, ..cursor }, &status.status);
        }
        if broken == 0 && !cursor.again && !cursor.aside.is_empty() {
            let done = cursor.done.without(&cursor.aside);
            return Ok(Next::More(Cursor { done, aside: RangeSet::default(), why: None, again: true, ..cursor }));
        }
        if let Some(why) = cursor.why.as_ref().filter(|_| broken == 0) {
            let what = format!("{} of its chunks cannot be read, {why}", cursor.aside.count());
            return Err(Error::new(["exporting by ", export.start].concat(), ErrorKind::ExportFailed(what.into())));
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

/// Whether the job or chunk is no longer there.
fn is_missing(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Refused { status: 404 | 410, .. })
}

/// A new job has to be asked for.
fn expired(error: Error) -> Error {
    Error::new(error.doing, ErrorKind::CursorExpired)
}

fn failed(export: &Export, status: &Status, broken: usize) -> Error {
    let reason = status.reason.as_deref().unwrap_or("no reason given");
    let what = Excerpt::new(&format!("{}, {broken} chunks failed or cancelled: {reason}", status.status)).to_string();
    Error::new(["exporting by ", export.start].concat(), ErrorKind::ExportFailed(what.into()))
}

/// The same question again, ever less eagerly, and not for ever.
fn retry_later(cursor: Cursor, word: &str) -> Result<Next<Cursor>> {
    if cursor.asked >= MAX_POLLS_WITHOUT_NEWS {
        let what = format!("its export is {}", Excerpt::new(word));
        return Err(Error::new("waiting for an export", ErrorKind::Pending(what.into())));
    }
    let wait = Duration::from_secs((2 << cursor.asked.min(4)).min(30));
    Ok(Next::Wait(Cursor { asked: cursor.asked + 1, ..cursor }, wait))
}

/// The chunks that are ready.
fn chunks(status: &Status) -> Result<RangeSet> {
    let number = |chunk: &Scalar| chunk.whole().and_then(|chunk| u64::try_from(chunk).ok());
    let all: Option<RangeSet> = status.chunks_available.iter().flatten().map(number).collect();
    let shape =
        || ErrorKind::UnexpectedBody { path: "chunks_available".into(), reason: "what is no number of a chunk is among them".into() };
    all.ok_or_else(|| Error::new("reading the status of an export", shape()))
}

/// How many chunks are listed or counted; whatever else stands there is no word of none.
fn lost(chunks: &Value) -> usize {
    match chunks {
        Value::Null => 0,
        Value::Array(chunks) => chunks.len(),
        Value::Number(count) => count.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(1),
        _ => 1,
    }
}
