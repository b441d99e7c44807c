//! What a walk leaves behind besides its items: counters, warnings, waits, the vendor's clock.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use crate::model::text;

/// What one operation has done on the wire so far; shared by all its scopes and by whoever shows progress.
#[derive(Debug, Default)]
pub struct Activity {
    requests: AtomicU64,
    retries: AtomicU64,
    waited_ms: AtomicU64,
    bytes: AtomicU64,
    waiting_until: Mutex<Option<Timestamp>>,
    warnings: Mutex<Vec<String>>,
    skips_waits: bool,
}

impl Activity {
    /// For tests: waits are counted, but not waited.
    pub fn without_waits() -> Self {
        Activity { skips_waits: true, ..Activity::default() }
    }

    /// Requests sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests sent again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Time spent waiting for quota or before a retry.
    pub fn waited(&self) -> Duration {
        Duration::from_millis(self.waited_ms.load(Ordering::Relaxed))
    }

    /// Bytes of decompressed bodies.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Until when the operation waits for the vendor, if it does.
    pub fn waiting_until(&self) -> Option<Timestamp> {
        *self.waiting_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What worked but should be looked at, each once.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The context of one walk over a scope (or of a check).
#[derive(Debug, Default)]
pub struct Cx {
    activity: Arc<Activity>,
    vendor_clock: OnceLock<Timestamp>,
    incomplete: OnceLock<String>,
}

impl Cx {
    /// A context whose counters go to `activity`.
    pub fn new(activity: Arc<Activity>) -> Self {
        Cx { activity, ..Cx::default() }
    }

    /// The vendor's clock at the first answer of this walk (its `Date` header).
    pub fn vendor_clock(&self) -> Option<Timestamp> {
        self.vendor_clock.get().copied()
    }

    /// The time, for a window that has to be fixed before the vendor's clock is known.
    pub fn now(&self) -> Timestamp {
        self.vendor_clock().unwrap_or_else(Timestamp::now)
    }

    /// Notes why this walk cannot list everything that it should (a cap of the vendor's): the operation ends as partial, with
    /// this reason, and nothing of the scope is closed.
    pub fn incomplete(&self, reason: impl Into<String>) {
        let _ = self.incomplete.set(reason.into());
    }

    /// Why this walk cannot list everything.
    pub fn why_incomplete(&self) -> Option<&str> {
        self.incomplete.get().map(String::as_str)
    }

    /// Notes something that works but should be looked at; the operation shows it.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.activity.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < 50 && !warnings.contains(&text) {
            tracing::warn!(warning = %text, "vendor");
            warnings.push(text);
        }
    }

    /// Notes a word that the vendor's documentation does not know, and answers what it is taken for.
    pub fn unknown<T>(&self, what: &str, word: &str, taken_for: T) -> T {
        self.warn(format!("unknown {what} `{}`", text::line(word)));
        taken_for
    }

    /// Notes that the tool ignores this filter: what it should have left out is left out here.
    pub fn filter_ignored(&self, filter: &str) {
        self.warn(format!("filter_ignored: the tool ignores `{filter}` and lists more than was asked for; the rest is left out here"));
    }

    pub(crate) fn sent(&self, attempt: u32) {
        self.activity.requests.fetch_add(1, Ordering::Relaxed);
        if attempt > 1 {
            self.activity.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn answered(&self, date: Option<Timestamp>) {
        if let Some(date) = date {
            let _ = self.vendor_clock.set(date);
        }
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.activity.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn skips_waits(&self) -> bool {
        self.activity.skips_waits
    }

    /// Waits for the vendor, and shows until when. For the kit and the engine; connectors answer with `Next::Wait`.
    pub async fn sleep(&self, time: Duration) {
        let shown = time >= Duration::from_secs(1);
        let set = |until| *self.activity.waiting_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        if shown {
            set(Timestamp::now().checked_add(time).ok());
        }
        if !self.skips_waits() {
            tokio::time::sleep(time).await;
        }
        if shown {
            set(None);
        }
        self.activity.waited_ms.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
