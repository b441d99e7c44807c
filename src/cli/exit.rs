//! Exit codes, and which one an error means.

use std::process::ExitCode;

use tributary_connectors::ErrorKind;

use super::{
    error::{NoConnection, NoDaemon, NotFound, Usage},
    message::eprint_line,
};
use crate::{config, daemon, error_code, store, store::Outcome, sync, sync::Report};

/// The exit codes. Unknown ones mean failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was asked for is done.
    Ok = 0,
    /// Failed for another reason.
    Failed = 1,
    /// The command line cannot be meant so.
    Usage = 2,
    /// Some of it failed.
    Partial = 3,
    /// There is no such object.
    NotFound = 4,
    /// Closes wait for an operator.
    Held = 5,
    /// The database is damaged.
    Damaged = 65,
    /// The vendor cannot be reached.
    Unreachable = 69,
    /// Somebody else is at it.
    Busy = 75,
    /// The credential was refused, or lacks a permission.
    Refused = 77,
    /// The configuration is invalid.
    Configuration = 78,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// What a vendor's error means for the exit code.
    pub fn of_vendor(error: &tributary_connectors::Error) -> Exit {
        match error.kind {
            ErrorKind::Unauthorized(_) | ErrorKind::Forbidden(_) => Exit::Refused,
            ErrorKind::Network(_) | ErrorKind::Tls(_) | ErrorKind::Redirect(_) | ErrorKind::NotAnApi(_) => Exit::Unreachable,
            ErrorKind::Settings(_) => Exit::Configuration,
            ErrorKind::Throttled(_) | ErrorKind::Pending(_) => Exit::Busy,
            _ => Exit::Failed,
        }
    }

    /// What an error of the store means.
    pub fn of_store(error: &store::Error) -> Exit {
        match error {
            error if error.is_damage() => Exit::Damaged,
            store::Error::LeaseHeld(_) | store::Error::Locked | store::Error::InUse { .. } => Exit::Busy,
            store::Error::NoBackup { .. } => Exit::Usage,
            store::Error::OtherConnector { .. } => Exit::Configuration,
            _ => Exit::Failed,
        }
    }

    /// What any error of an operation means.
    pub fn of_sync(error: &sync::Error) -> Exit {
        match error {
            sync::Error::Vendor(error) => Exit::of_vendor(error),
            sync::Error::Store(error) => Exit::of_store(error),
            sync::Error::Stopped => Exit::Interrupted,
            sync::Error::Panicked => Exit::Failed,
        }
    }

    /// What one operation's report means.
    pub fn of_report(report: &Report) -> Exit {
        match report.outcome {
            Outcome::Success | Outcome::Skipped => Exit::Ok,
            Outcome::Partial => Exit::Partial,
            Outcome::Held => Exit::Held,
            Outcome::Interrupted => Exit::Interrupted,
            Outcome::Failed => same(report.errors.iter().map(|(_, error)| Exit::of_sync(error))).unwrap_or(Exit::Failed),
        }
    }

    /// The code of several: one class gives that class's code, a mix is partial.
    pub fn combine(exits: &[Exit]) -> Exit {
        match same(exits.iter().copied()) {
            Some(exit) => exit,
            None if exits.is_empty() => Exit::Ok,
            None if exits.iter().all(|exit| matches!(exit, Exit::Ok | Exit::Held)) => Exit::Held,
            None => Exit::Partial,
        }
    }
}

fn same(mut exits: impl Iterator<Item = Exit>) -> Option<Exit> {
    let first = exits.next()?;
    exits.all(|exit| exit == first).then_some(first)
}

/// Tells an error on stderr and gives its exit code.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(errors) = error.downcast_ref::<config::Errors>() {
        eprint_line(&format!("{errors}"));
        return Exit::Configuration.into();
    }
    let io = error.downcast_ref::<std::io::Error>();
    if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        return Exit::Ok.into();
    }
    tell(error).into()
}

/// Tells an error on stderr, where more is done after it.
pub(super) fn tell(error: &anyhow::Error) -> Exit {
    let (code, exit) = classify(error);
    eprint_line(&format!("error[{code}]: {error:#}"));
    exit
}

/// The stable code and the exit code of an error that ends a command.
fn classify(error: &anyhow::Error) -> (&'static str, Exit) {
    if let Some(error) = error.downcast_ref::<sync::Error>() {
        return (error.code(), Exit::of_sync(error));
    }
    if let Some(error) = error.downcast_ref::<tributary_connectors::Error>() {
        return (error_code::of_vendor(error), Exit::of_vendor(error));
    }
    if let Some(error) = error.downcast_ref::<store::Error>() {
        return (error_code::of_store(error), Exit::of_store(error));
    }
    match () {
        () if error.is::<NotFound>() => (error_code::NOT_FOUND, Exit::NotFound),
        () if error.is::<NoConnection>() => (error_code::NO_CONNECTION, Exit::Configuration),
        () if error.is::<Usage>() => (error_code::USAGE, Exit::Usage),
        () if error.is::<daemon::Taken>() => (error_code::DAEMON_RUNS, Exit::Busy),
        () if error.is::<NoDaemon>() => (error_code::NO_DAEMON, Exit::Unreachable),
        () => (error_code::FAILED, Exit::Failed),
    }
}
