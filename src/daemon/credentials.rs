//! Credentials of the configured connections: what the daemon warns of, and which failures of them pass by themselves.

use std::sync::Arc;

use tributary_connectors::{ErrorKind, Recovery};

use crate::{
    config::Connection,
    error_code,
    operation::credential::is_not_ready,
    status::{ConnectionStatus, days_left},
    store::Outcome,
    sync::{Error, Report},
};

/// Whether what an operation failed with passes by itself: a tool that starts or cannot be reached, a secret that is being replaced.
pub(super) fn passes(reports: &[Report], error: Option<&Error>) -> bool {
    let soon = |error: &Error| {
        is_not_ready(error) || matches!(error, Error::Vendor(error) if matches!(error.kind.recovery(), Recovery::Retry | Recovery::Wait(_)))
    };
    let unreadable = error.is_some_and(|error| matches!(error, Error::Vendor(error) if matches!(error.kind, ErrorKind::Settings(_))));
    let failed = |report: &Report| match report.outcome {
        Outcome::Failed => report.errors.iter().any(|(_, error)| soon(error)),
        _ => report.errors.iter().any(|(_, error)| is_not_ready(error)),
    };
    unreadable || reports.iter().any(failed)
}

/// Warns of what was stored around the secrets of these connections, of which `check` warns too. Those that give secrets by a
/// command have it run for that.
pub(super) fn warn_of_doubts(connections: Vec<Arc<Connection>>) {
    tokio::task::spawn_blocking(move || {
        for connection in connections {
            // What cannot be read is told when it is needed.
            let Ok(secrets) = connection.resolve() else { continue };
            for doubt in connection.doubts(&secrets) {
                tracing::warn!(connection = connection.name, "{doubt}");
            }
        }
    });
}

/// Warns of a credential that ends within 30, 7 or 1 days.
pub(super) fn warn_of_end(connection: &ConnectionStatus) {
    let Some(at) = connection.credential_expires else { return };
    let name = &connection.connection;
    match days_left(at, crate::clock::now()) {
        ..0 => {
            tracing::error!(connection = name, at = %at, code = error_code::CREDENTIAL_EXPIRES, "its credential has ended: make a new one");
        }
        days @ 0..7 => {
            tracing::error!(connection = name, days, at = %at, code = error_code::CREDENTIAL_EXPIRES, "its credential ends soon: make a new one");
        }
        days @ 7..30 => {
            tracing::warn!(connection = name, days, at = %at, code = error_code::CREDENTIAL_EXPIRES, "its credential ends within 30 days");
        }
        _ => {}
    }
}
