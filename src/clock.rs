//! The time of day as this machine tells it: what is stored, compared with what a vendor says, or shown.
//!
//! It may be wrong and it may jump. So a time span inside this process is measured with [`std::time::Instant`], and a time that
//! another run stored is believed only as far as its own rule allows: one that lies further ahead came from a wrong clock.
//!
//! Debug builds can be given a wrong clock: [`shift`] for the tests of this process, `TRIBUTARY_CLOCK=file` for a process of its
//! own; the file holds by how many seconds the clock is ahead, and is read at each look, so that it can jump in a run.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How far ahead a time may lie that another run stored as its own now: clocks are set right in small steps.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
/// How far a vendor's clock may be ahead of ours and still be believed.
pub(crate) const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// The time by the clock of this machine, or of a test.
pub fn now() -> Timestamp {
    Timestamp::now().checked_add(shifted()).unwrap_or(Timestamp::MAX)
}

/// How long ago it was that another run stored this as its own now. `None` when it lies ahead, so that nobody can tell: a clock
/// was wrong.
pub(crate) fn age(at: Timestamp) -> Option<Duration> {
    let age = now().duration_since(at);
    (age >= -TOLERANCE).then(|| age.max(SignedDuration::ZERO).unsigned_abs())
}

/// Now, in microseconds since 1970, as times are stored.
pub(crate) fn now_us() -> i64 {
    now().as_microsecond()
}

#[cfg(debug_assertions)]
static SHIFT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

/// Sets the clock of this process ahead by so many seconds, or back. Of a debug build only: for tests.
#[cfg(debug_assertions)]
pub fn shift(seconds: i64) {
    SHIFT.store(seconds, std::sync::atomic::Ordering::SeqCst);
}

/// By how much a test has shifted the clock.
#[cfg(debug_assertions)]
fn shifted() -> jiff::SignedDuration {
    use std::sync::{LazyLock, atomic::Ordering};
    static FILE: LazyLock<Option<String>> = LazyLock::new(|| crate::failpoint::setting("TRIBUTARY_CLOCK"));
    let told = FILE.as_ref().and_then(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    jiff::SignedDuration::from_secs(told.unwrap_or_else(|| SHIFT.load(Ordering::SeqCst)))
}

/// Nothing: only debug builds have a clock that can be shifted.
#[cfg(not(debug_assertions))]
#[inline(always)]
fn shifted() -> jiff::SignedDuration {
    jiff::SignedDuration::ZERO
}
