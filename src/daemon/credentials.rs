//! Refused credentials, and those that end soon.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tributary_connectors::{Excerpt, Kind, Remedy};

use crate::{
    config::Connection,
    status::ConnectionStatus,
    store::{Outcome, Refusal},
    sync::{Error, Report},
};

/// Whether an operation failed because the vendor refused the credential. A tool that is starting refuses good ones, so what it
/// says while an operation meets that counts for nothing.
pub(crate) fn is_refused(report: &Report) -> bool {
    let refused = |error: &Error| matches!(error, Error::Vendor(error) if matches!(error.kind, Kind::Unauthorized(_)));
    report.outcome == Outcome::Failed
        && !report.errors.iter().any(|(_, error)| is_not_ready(error))
        && report.errors.iter().any(|(_, error)| refused(error))
}

/// Whether the tool was not ready: it starts, migrates its database, or still prepares what was asked for.
pub(crate) fn is_not_ready(error: &Error) -> bool {
    matches!(error, Error::Vendor(error) if matches!(error.kind, Kind::Pending(_)))
}

/// Whether what an operation failed with passes by itself: a tool that starts or cannot be reached, a secret that is being replaced.
pub(super) fn passes(reports: &[Report], error: Option<&Error>) -> bool {
    let soon = |error: &Error| {
        is_not_ready(error) || matches!(error, Error::Vendor(error) if matches!(error.kind.remedy(), Remedy::Retry | Remedy::Wait(_)))
    };
    let unreadable = error.is_some_and(|error| matches!(error, Error::Vendor(error) if matches!(error.kind, Kind::Settings(_))));
    let failed = |report: &Report| match report.outcome {
        Outcome::Failed => report.errors.iter().any(|(_, error)| soon(error)),
        _ => report.errors.iter().any(|(_, error)| is_not_ready(error)),
    };
    unreadable || reports.iter().any(failed)
}

/// The error that says why a refused credential is not sent now; `None` when it is time to try it again.
pub(crate) fn must_rest(refusal: &Refusal, by_hand: bool) -> Option<tributary_connectors::Error> {
    let now = crate::clock::now();
    let again = refusal.again(by_hand);
    if again.is_some_and(|again| again <= now) {
        return None;
    }
    let last = refusal.times.last().map_or_else(String::new, |at| format!(" at {at:.0}"));
    let (until, hint) = match again {
        Some(again) => (
            format!("before {again:.0}"),
            "a new secret is tried at once; the old one at most three times an hour, so that no account is locked",
        ),
        None => (
            "by itself".to_owned(),
            "put a new secret where the reference points: it is tried at once; `tributary connections resume NAME` tries the old one again",
        ),
    };
    let why = Excerpt::new(&format!("it was refused{last}, so it is not sent again {until}"));
    Some(tributary_connectors::Error::new("reading the credential", Kind::Unauthorized(why)).with_hint(hint))
}

/// A mark of a connection's location, fields and secrets, to know later whether any of them is another one. With `earlier`
/// it is made in the same way as that mark.
///
/// It keeps sixteen bits of a salted digest: enough to see a change, and nothing that a secret could be guessed from.
pub(crate) fn mark(connection: &Connection, secrets: &Map<String, Value>, earlier: &str) -> String {
    let salt = match earlier.split_once(' ') {
        Some((salt, _)) => salt.to_owned(),
        None => uuid::Uuid::now_v7().simple().to_string(),
    };
    let seen = format!("{salt}\n{}\n{}\n{}", connection.location, Value::Object(connection.fields.clone()), Value::Object(secrets.clone()));
    let digest = Sha256::digest(seen);
    format!("{salt} {:02x}{:02x}", digest[0], digest[1])
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
        ..0 => tracing::error!(connection = name, at = %at, code = "E0210", "its credential has ended: make a new one"),
        days @ 0..7 => tracing::error!(connection = name, days, at = %at, code = "E0210", "its credential ends soon: make a new one"),
        days @ 7..30 => tracing::warn!(connection = name, days, at = %at, code = "E0210", "its credential ends within 30 days"),
        _ => {}
    }
}

/// Whole days until a time; below zero when it has passed.
pub(crate) fn days_left(at: Timestamp, now: Timestamp) -> i64 {
    at.duration_since(now).as_secs().div_euclid(86_400)
}
