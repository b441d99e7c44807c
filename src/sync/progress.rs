//! What an operation is doing now, for whoever shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tributary_connectors::RunStats;

use super::Report;
use crate::store::{Counts, OperationKind};

/// The progress of one connection. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    snapshot: Snapshot,
    activity: Arc<RunStats>,
    skips_waits: bool,
}

/// One look at the progress.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What is running; `None` before the start and after the end.
    pub running: Option<OperationKind>,
    /// Counts so far.
    pub counts: Counts,
    /// Pages that were read and stored.
    pub pages: u64,
    /// Scopes read to their end, and scopes in all.
    pub scopes: (usize, usize),
    /// The vendor's total, where one scope covers all.
    pub total: Option<u64>,
    /// Until when the vendor makes it wait.
    pub waiting_until: Option<Timestamp>,
    /// Requests sent to the tool, repeated ones included.
    pub requests: u64,
    /// How the last operation ended.
    pub ended: Option<String>,
}

impl Progress {
    /// For tests: waits for the vendor are counted, not waited.
    pub fn without_waits() -> Self {
        let progress = Progress::default();
        progress.state().skips_waits = true;
        progress
    }

    /// How it stands now.
    pub fn look(&self) -> Snapshot {
        let state = self.state();
        Snapshot { waiting_until: state.activity.waiting_until(), requests: state.activity.requests(), ..state.snapshot.clone() }
    }

    pub(super) fn begin(&self, kind: OperationKind, connection: &str) -> Arc<RunStats> {
        let mut state = self.state();
        state.snapshot = Snapshot { running: Some(kind), ..Snapshot::default() };
        let activity = RunStats::of(connection);
        state.activity = Arc::new(if state.skips_waits { activity.skipping_waits() } else { activity });
        Arc::clone(&state.activity)
    }

    pub(super) fn scopes(&self, count: usize) {
        self.state().snapshot.scopes = (0, count);
    }

    pub(super) fn scope_done(&self) {
        self.state().snapshot.scopes.0 += 1;
    }

    pub(super) fn page(&self, counts: &Counts, total: Option<u64>) {
        let mut state = self.state();
        state.snapshot.pages += 1;
        state.snapshot.counts += *counts;
        state.snapshot.total = total.filter(|_| state.snapshot.scopes.1 == 1);
    }

    pub(super) fn end(&self, report: &Report) {
        let mut state = self.state();
        state.snapshot.running = None;
        state.snapshot.counts = report.counts;
        state.snapshot.ended = Some(report.outcome.as_str().to_owned());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
