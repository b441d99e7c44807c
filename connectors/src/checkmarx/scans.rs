//! Which scans are read: for each engine the newest in which it completed.

use std::collections::BTreeMap;

use super::{
    Checkmarx, Cursor, ROWS,
    place::Place,
    wire::{Engine, Key, Listing, Origin, Project, Scan},
};
use crate::{kit::entry, prelude::*};

/// A scan to be read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reading {
    pub(super) scan: Origin,
    /// Whose results are taken from it.
    pub(super) engines: Vec<Engine>,
    /// Remembered from an earlier pass and no longer listed; `failing`: one of its engines still runs, in vain.
    pub(super) old: bool,
    pub(super) failing: bool,
}

impl Reading {
    /// Of the rows of a page those whose engine's results are taken from this scan, and the keys of all. A row that cannot be
    /// read is among them, to be rejected.
    pub(super) fn select(&self, rows: Vec<Box<RawValue>>, project: &str, taken: &mut Taken) -> (Vec<Box<RawValue>>, Vec<String>) {
        let (mut kept, mut keys) = (Vec::new(), Vec::new());
        for raw in rows {
            if raw.get().starts_with('{')
                && let Ok(key) = serde_json::from_str::<Key>(raw.get())
            {
                let engine = key.engine();
                keys.extend(key.key(project));
                if !self.engines.contains(&engine) {
                    continue;
                }
                taken.scans.entry(engine).or_insert_with(|| self.scan.clone());
            }
            kept.push(raw);
        }
        (kept, keys)
    }
}

/// The mark of a pass: from which scans the results of each engine were taken, on which branch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) branch: Option<String>,
    pub(super) scans: BTreeMap<Engine, Origin>,
}

impl Taken {
    /// A scan of the same branch from which an engine's results are taken now and were not before.
    fn newer_than(&self, before: &Taken) -> Option<&str> {
        let mut moved = self.scans.iter().filter(|(engine, origin)| before.scans.get(engine).is_some_and(|before| before != *origin));
        moved.next().filter(|_| self.branch == before.branch).map(|(_, origin)| &*origin.scan)
    }
}

impl Checkmarx {
    /// The newest scans of a project with anything in them, newest first.
    pub(super) async fn scans(&self, cx: &Context, project: &str, branch: Option<&str>) -> Result<Vec<Scan>> {
        const ROUTE: &str = "/api/scans";
        let request = self.list(ROUTE, 0, ROWS).query("project-id", Some(project)).query("statuses", Some("Completed,Partial"));
        let request = request.query("sort", Some("-created_at")).query("branches", branch);
        let rows = request.send::<Listing>(cx).await.map_err(|error| self.with_hint(error, "view-scans"))?.body.rows.unwrap_or_default();
        let read = |raw: &RawValue| {
            entry(raw).ok_or_else(|| {
                Error::new(
                    ["reading GET ", ROUTE].concat(),
                    ErrorKind::UnexpectedBody { path: "scans".into(), reason: "a scan has no id".into() },
                )
            })
        };
        let listed: Vec<Scan> = rows.iter().map(|raw| read(raw)).collect::<Result<_>>()?;
        let all = listed.len();
        let kept: Vec<Scan> = listed.into_iter().filter(|scan| scan.is_of(project, branch)).collect();
        if kept.len() < all {
            cx.filter_ignored("project-id, statuses, branches");
            // Behind a page of others there may be more of this project's.
            if all as u64 >= ROWS {
                let reason = "scans of other projects fill the page";
                return Err(Error::new(
                    "reading GET /api/scans",
                    ErrorKind::UnexpectedBody { path: "scans".into(), reason: reason.into() },
                ));
            }
        }
        Ok(kept)
    }

    /// Which scans are to be read for a project.
    pub(super) async fn choose(&self, cx: &Context, project: &Project, mark: Option<&str>) -> Result<Cursor> {
        let main = project.main_branch.as_deref().filter(|branch| !branch.is_empty());
        let mut branch = self.branch.as_deref().or(main);
        let mut scans = self.scans(cx, &project.id, branch).await?;
        if scans.is_empty() && self.branch.is_none() && branch.take().is_some() {
            scans = self.scans(cx, &project.id, None).await?;
        }
        let before: Taken = mark.and_then(|mark| serde_json::from_str(mark).ok()).unwrap_or_default();
        if scans.is_empty() && !before.scans.is_empty() {
            cx.warn(format!("project {} had scans and shows none now: nothing of it is closed", project.title()));
        }
        let before = if before.branch.as_deref() == branch { before.scans } else { BTreeMap::new() };
        let (scans, taken) = readings(&scans, before);
        Ok(Cursor { scans, taken: Taken { branch: branch.map(Into::into), scans: taken }, ..Cursor::default() })
    }
}

/// For each engine the scan that its results are taken from: the newest in which it completed, else the one they were taken
/// from before, else the newest. With it what is to be remembered of that.
fn readings(scans: &[Scan], mut taken: BTreeMap<Engine, Origin>) -> (Vec<Reading>, BTreeMap<Engine, Origin>) {
    let mut readings: Vec<Reading> = Vec::new();
    let Some(newest) = scans.first() else { return (readings, taken) };
    for engine in Engine::ALL {
        if let Some(scan) = scans.iter().find(|scan| scan.completed(engine) == Some(true)) {
            taken.insert(engine, scan.origin());
        }
        let scan = taken.get(&engine).cloned().unwrap_or_else(|| newest.origin());
        let failing = scans.iter().any(|scan| scan.completed(engine).is_some());
        match readings.iter_mut().find(|reading| reading.scan.scan == scan.scan) {
            Some(reading) => {
                reading.engines.push(engine);
                reading.failing |= failing;
            }
            None => {
                let old = !scans.iter().any(|listed| *listed.id == *scan.scan);
                readings.push(Reading { scan, engines: vec![engine], old, failing });
            }
        }
    }
    (readings, taken)
}

impl Cursor {
    /// What comes after a scan that was read to its end; `mark` is what the last pass left behind.
    pub(super) fn after_scan(mut self, cx: &Context, mark: Option<&str>) -> Next<Cursor> {
        self.scans.remove(0);
        cx.another_part();
        if !self.scans.is_empty() {
            return Next::More(Cursor { place: Place::default(), ..self });
        }
        let before: Option<Taken> = mark.and_then(|mark| serde_json::from_str(mark).ok());
        if let Some(scan) = before.as_ref().and_then(|before| self.taken.newer_than(before)) {
            cx.explains_change(format!("scan {scan} completed since the last sync"));
        }
        let mark = serde_json::to_string(&self.taken).expect("a mark is plain data");
        let Some(reason) = self.lacking else { return Next::Done(Coverage::Full, Some(mark.into())) };
        cx.incomplete(reason);
        Next::Done(Coverage::Delta, Some(mark.into()))
    }
}
