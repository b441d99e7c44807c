//! What the HTTP server shows: the daemon, above it, fills this.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    error_code,
    store::{self, FindingCount, Store},
};

/// How old the counts of findings may be, whatever happens.
const COUNTS: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) store: Store,
    /// When the process began.
    pub(crate) began: Timestamp,
    config: RwLock<Arc<Config>>,
    heartbeats: Mutex<Heartbeats>,
    findings: Mutex<Vec<FindingCount>>,
    changed: Notify,
    counted: PrometheusHandle,
}

/// Signs of life.
#[derive(Debug)]
struct Heartbeats {
    looped: Instant,
    stored: Instant,
    store_error: Option<StoreError>,
    /// Whether the last reload was taken, and when one last was.
    reloaded: (bool, Timestamp),
}

/// Why the last write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreError {
    /// As docs/runbook.md explains it.
    pub(crate) code: &'static str,
    /// Whether the files were deleted or replaced: nothing can be done before somebody puts them back.
    pub(crate) replaced: bool,
}

impl AppState {
    pub(crate) fn new(store: Store, config: Config, began: Timestamp, counted: PrometheusHandle) -> Self {
        let now = Instant::now();
        AppState {
            store,
            began,
            config: RwLock::new(Arc::new(config)),
            heartbeats: Mutex::new(Heartbeats { looped: now, stored: now, store_error: None, reloaded: (true, began) }),
            findings: Mutex::new(Vec::new()),
            changed: Notify::new(),
            counted,
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub(crate) fn record_tick(&self) {
        self.heartbeats().looped = Instant::now();
    }

    pub(crate) fn loop_age(&self) -> Duration {
        self.heartbeats().looped.elapsed()
    }

    /// Since when the database has not answered.
    pub(crate) fn store_age(&self) -> Duration {
        self.heartbeats().stored.elapsed()
    }

    /// Why the last write failed, if it did.
    pub(crate) fn store_error(&self) -> Option<StoreError> {
        self.heartbeats().store_error
    }

    pub(crate) fn note_reload(&self, done: bool) {
        let mut heartbeats = self.heartbeats();
        heartbeats.reloaded.0 = done;
        if done {
            heartbeats.reloaded.1 = crate::clock::now();
        }
    }

    pub(crate) fn reloaded(&self) -> (bool, Timestamp) {
        self.heartbeats().reloaded
    }

    /// What this process counted, in Prometheus' text form.
    pub(crate) fn counted(&self) -> String {
        self.counted.run_upkeep();
        self.counted.render()
    }

    /// Findings by connection, severity and state, as they last were counted.
    pub(crate) fn findings(&self) -> Vec<FindingCount> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something changed the findings.
    pub(crate) fn refresh_counts(&self) {
        self.changed.notify_one();
    }

    /// Writes to the database again and again, to know whether that is possible.
    pub(crate) fn keep_alive(self: &Arc<Self>, every: Duration, stop: &CancellationToken) {
        let (shared, stop) = (Arc::clone(self), stop.clone());
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(every);
            while stop.run_until_cancelled(beat.tick()).await.is_some() {
                let written = shared.store.beat().await;
                let found = written
                    .as_ref()
                    .err()
                    .map(|error| StoreError { code: error_code::of_store(error), replaced: matches!(error, store::Error::Replaced(_)) });
                let before = {
                    let mut heartbeats = shared.heartbeats();
                    heartbeats.stored = Instant::now();
                    std::mem::replace(&mut heartbeats.store_error, found)
                };
                // Told once, not at each beat.
                match &written {
                    Err(error) if before != found => {
                        tracing::error!(code = error_code::of_store(error), %error, "the database cannot be written");
                    }
                    Ok(()) if before.is_some() => tracing::info!("the database can be written again"),
                    _ => {}
                }
            }
        });
    }

    /// Counts findings when they changed: reading all of them is too much for each request.
    pub(crate) fn keep_counting(self: &Arc<Self>, stop: &CancellationToken) {
        let (shared, stop) = (Arc::clone(self), stop.clone());
        tokio::spawn(async move {
            loop {
                let store = shared.store.clone();
                let counted = tokio::task::spawn_blocking(move || store.reader()?.finding_counts()).await;
                match counted {
                    Ok(Ok(counts)) => *shared.findings.lock().unwrap_or_else(PoisonError::into_inner) = counts,
                    Ok(Err(error)) => tracing::warn!(%error, "findings cannot be counted"),
                    Err(_) => {}
                }
                // Many connections end at about the same time: once for all of them.
                let next = async {
                    let _ = tokio::time::timeout(COUNTS, shared.changed.notified()).await;
                    tokio::time::sleep(Duration::from_secs(10)).await;
                };
                if stop.run_until_cancelled(next).await.is_none() {
                    return;
                }
            }
        });
    }

    fn heartbeats(&self) -> MutexGuard<'_, Heartbeats> {
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
