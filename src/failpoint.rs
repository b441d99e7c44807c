//! What tests need of the program to prove that it survives: places at which it dies, and a log of its SQL.
//!
//! Debug builds only: in a release build [`pass`] does nothing and [`setting`] is always empty, whatever the environment holds.
//!
//! - `TRIBUTARY_FAILPOINT=name:N` kills the process when it passes the place of that name for the N-th time.
//!   `tests/it/durability/failpoints.rs` finds every place by reading the sources, so a new one is tested without being listed anywhere.
//! - `TRIBUTARY_WAL_WARNING=bytes` is the length of the write-ahead log that is warned about.
//! - `TRIBUTARY_CLOCK=file` is a clock that is wrong (see `clock`).
//! - `TRIBUTARY_SQL_LOG=file` appends each statement of the writer to a file, NUL after each.

/// A place at which a test can kill the process. Nothing is flushed, dropped or unwound, as with `kill -9`.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static ARMED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let wanted = setting("TRIBUTARY_FAILPOINT")?;
        let (name, passage) = wanted.split_once(':')?;
        Some((name.to_owned(), AtomicU64::new(passage.parse().ok()?)))
    });
    if let Some((wanted, left)) = armed
        && wanted == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

/// Nothing: failpoints are for debug builds.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn pass(_: &str) {}

/// What a test sets by the environment.
pub(crate) fn setting(name: &str) -> Option<String> {
    if cfg!(debug_assertions) { std::env::var(name).ok() } else { None }
}
