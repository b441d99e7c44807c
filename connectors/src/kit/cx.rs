//! What a walk leaves behind besides its items: counters, warnings, waits, the vendor's clock.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use super::{Secret, redact::redact};
use crate::{ErrorKind, model::text};

/// Warnings of one operation that are kept.
const MOST_WARNINGS: usize = 50;
/// Attempts running without an answer after which a host is taken for silent: what is being asked of it is not tried again.
const SILENT: u32 = 12;
/// Requests that are still sent to a silent host, once each. Behind a list that overloads the tool the next one may be answered.
const LAST_TRIES: u32 = 4;

/// What one operation has done on the wire so far; shared by all its scopes and by whoever shows progress.
#[derive(Debug, Default)]
pub struct RunStats {
    requests: AtomicU64,
    retries: AtomicU64,
    waited_ms: AtomicU64,
    bytes: AtomicU64,
    waiting_until: Mutex<Option<Timestamp>>,
    /// Waits of a second and more: since when, for how long.
    waits: Mutex<Vec<(Timestamp, Duration)>>,
    warnings: Mutex<Vec<String>>,
    credential_expires: Mutex<Option<Timestamp>>,
    /// By host: attempts running that got no answer.
    unanswered: Mutex<HashMap<Box<str>, Unanswered>>,
    /// The credentials in use, which a vendor's text may hold.
    secrets: Mutex<Vec<Secret>>,
    /// Hashes of the warnings so far, as they were before secrets were cut out.
    warned: Mutex<HashSet<u64>>,
    /// Why the tool is not up yet, once it has said so.
    starting: OnceLock<Box<str>>,
    skips_waits: bool,
    /// The connection's name, for metrics.
    connection: Arc<str>,
}

impl RunStats {
    /// What a connection of this name does.
    pub fn of(connection: &str) -> Self {
        RunStats { connection: connection.into(), ..RunStats::default() }
    }

    /// For tests: waits are counted, but not waited.
    #[must_use]
    pub fn skipping_waits(self) -> Self {
        RunStats { skips_waits: true, ..self }
    }

    /// For tests: an activity whose waits are counted, but not waited.
    pub fn without_waits() -> Self {
        RunStats::default().skipping_waits()
    }

    /// Requests sent in this operation, repeated ones included.
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

    /// When the credential stops being accepted, where the vendor says so.
    pub fn credential_expires(&self) -> Option<Timestamp> {
        *self.credential_expires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The waits of a second and more so far, the first two hundred: since when, and for how long.
    pub fn waits(&self) -> Vec<(Timestamp, Duration)> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What worked but should be looked at, each once.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Attempts running that a host has not answered.
#[derive(Debug, Default)]
struct Unanswered {
    attempts: u32,
    last: String,
}

/// The context of one walk over a scope (or of a check).
#[derive(Debug, Default)]
pub struct Context {
    activity: Arc<RunStats>,
    vendor_clock: OnceLock<Timestamp>,
    incomplete: OnceLock<String>,
    explained: OnceLock<String>,
    another_part: AtomicBool,
}

impl Context {
    /// A context whose counters go to `activity`.
    pub fn new(activity: Arc<RunStats>) -> Self {
        Context { activity, ..Context::default() }
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

    /// Notes what explains that much of this list is another one since the last pass (an import that was analysed since): a large
    /// change of this scope then closes without an operator's approval. What a pass misses first in a list that can shift stays
    /// explained until the second pass misses it too. An empty list is never explained.
    pub fn explains_change(&self, reason: impl Into<String>) {
        let _ = self.explained.set(reason.into());
    }

    /// What explains a large change of this list.
    pub fn why_changed(&self) -> Option<&str> {
        self.explained.get().map(String::as_str)
    }

    /// Notes that this page is the last one of a part of the list (a window that was too long and is read in slices, a severity, a
    /// scan): the next part may bring again what this one brought. Within one part, pages that bring nothing new are a loop.
    pub fn another_part(&self) {
        self.another_part.store(true, Ordering::Relaxed);
    }

    /// Whether [`Context::another_part`] was noted since this was last asked; for the engine.
    pub fn took_another_part(&self) -> bool {
        self.another_part.swap(false, Ordering::Relaxed)
    }

    /// Notes something that works but should be looked at; the operation shows it.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        // Most are said of each item of a list: cutting secrets out of them is done once.
        let full = self.activity.warnings.lock().unwrap_or_else(PoisonError::into_inner).len() >= MOST_WARNINGS;
        if full || !self.activity.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(hasher.finish()) {
            return;
        }
        let text = self.without_secrets(&text);
        let mut warnings = self.activity.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < MOST_WARNINGS && !warnings.contains(&text) {
            tracing::warn!(warning = %text, "vendor");
            warnings.push(text);
        }
    }

    /// Notes when the credential stops being accepted: of several, the first to do so counts.
    pub fn credential_expires(&self, at: Timestamp) {
        let mut known = self.activity.credential_expires.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(at, |known| known.min(at)));
    }

    /// Notes a word that the vendor's documentation does not know, and answers what it is taken for.
    pub fn unknown<T>(&self, what: &str, word: &str, taken_for: T) -> T {
        self.warn(format!("unknown {what} `{}`", text::single_line(word)));
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

    /// Notes the credentials that are sent from now on.
    pub(crate) fn sends(&self, secrets: &[Secret]) {
        let mut known = self.activity.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets {
            if !known.contains(secret) {
                known.push(secret.clone());
            }
        }
    }

    /// A vendor's text without the credentials, should it hold one.
    pub(crate) fn without_secrets(&self, text: &str) -> String {
        let secrets = self.activity.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().fold(text.to_owned(), |text, secret| redact(&text, secret))
    }

    /// Notes what came of an attempt: whether the host is silent. Any answer but the one that somebody in front of the tool gives
    /// in its place (5xx) ends that; one that asks to slow down changes nothing. Nor does what is asked without the credential:
    /// a tool that tells its version may still fail in all else, and is asked for that after each failure.
    pub(crate) fn heard(&self, host: &str, anonymous: bool, error: Option<&ErrorKind>) -> bool {
        let mut hosts = self.activity.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(kind @ (ErrorKind::Network(_) | ErrorKind::Vendor { .. })) => {
                let host = hosts.entry(host.into()).or_default();
                host.attempts = host.attempts.saturating_add(1);
                host.last = kind.to_string();
                host.attempts >= SILENT
            }
            error if anonymous || matches!(error, Some(ErrorKind::Throttled(_))) => {
                hosts.get(host).is_some_and(|host| host.attempts >= SILENT)
            }
            _ => {
                hosts.remove(host);
                false
            }
        }
    }

    /// Why nothing more is sent to a host in this operation.
    pub(crate) fn silence(&self, host: &str) -> Option<String> {
        let hosts = self.activity.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        let Unanswered { attempts, last } = hosts.get(host).filter(|host| host.attempts >= SILENT + LAST_TRIES)?;
        Some(format!("{attempts} attempts running got no answer, so nothing more is sent in this run (the last: {last})"))
    }

    /// Why the tool is not up yet, if it said so in this operation.
    pub(crate) fn starting(&self) -> Option<Box<str>> {
        self.activity.starting.get().cloned()
    }

    /// Notes why the tool is not up yet: what is left of the operation waits for the next one.
    pub(crate) fn is_starting(&self, why: &str) {
        let _ = self.activity.starting.set(why.into());
    }

    pub(crate) fn answered(&self, date: Option<Timestamp>) {
        if let Some(date) = date {
            let _ = self.vendor_clock.set(date);
        }
    }

    /// Counts an attempt for the metrics: what came of it, after how long, and on whose behalf.
    pub(crate) fn measured(&self, connector: &'static str, error: Option<&ErrorKind>, took: Duration) {
        let code = match error {
            None => "200".into(),
            Some(ErrorKind::Unauthorized(_)) => "401".into(),
            Some(ErrorKind::Forbidden(_)) => "403".into(),
            Some(ErrorKind::Throttled(_)) => "429".into(),
            Some(ErrorKind::Vendor { status, .. } | ErrorKind::Refused { status, .. }) => Cow::Owned(status.to_string()),
            Some(ErrorKind::Network(_) | ErrorKind::Tls(_)) => "none".into(),
            // An answer that could not be used.
            Some(_) => Cow::Borrowed("unusable"),
        };
        let connection = Arc::clone(&self.activity.connection);
        metrics::counter!("tributary_vendor_requests_total", "connection" => connection, "code" => code).increment(1);
        metrics::histogram!("tributary_vendor_request_duration_seconds", "connector" => connector).record(took.as_secs_f64());
    }

    /// Counts a request that is sent again.
    pub(crate) fn tries_again(&self, error: &ErrorKind) {
        let reason = match error {
            ErrorKind::Throttled(_) => "throttled",
            ErrorKind::Network(_) => "network",
            ErrorKind::Vendor { .. } => "vendor",
            ErrorKind::Unauthorized(_) => "credential",
            _ => "answer",
        };
        let connection = Arc::clone(&self.activity.connection);
        metrics::counter!("tributary_vendor_retries_total", "connection" => connection, "reason" => reason).increment(1);
    }

    /// Waits for quota.
    pub(crate) async fn wait_for_quota(&self, time: Duration) {
        let connection = Arc::clone(&self.activity.connection);
        // Whole seconds: the counter takes integers.
        metrics::counter!("tributary_rate_limit_wait_seconds_total", "connection" => connection).increment(time.as_secs());
        self.sleep(time).await;
    }

    /// Notes how many requests the vendor still allows.
    pub(crate) fn allowed(&self, remaining: u32) {
        let connection = Arc::clone(&self.activity.connection);
        metrics::gauge!("tributary_rate_limit_remaining", "connection" => connection).set(f64::from(remaining));
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
            let now = Timestamp::now();
            set(now.checked_add(time).ok());
            let mut waits = self.activity.waits.lock().unwrap_or_else(PoisonError::into_inner);
            if waits.len() < 200 {
                waits.push((now, time));
            }
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
