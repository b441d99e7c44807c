//! Refused credentials, and those that end soon.

use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tributary_connectors::Kind;

use crate::{
    config::Connection,
    status::ConnectionStatus,
    store::Outcome,
    sync::{Error, Report},
};

/// Whether an operation failed because the vendor refused the credential.
pub(crate) fn is_refused(report: &Report) -> bool {
    let refused = |error: &Error| matches!(error, Error::Vendor(error) if matches!(error.kind, Kind::Unauthorized(_)));
    report.outcome == Outcome::Failed && report.errors.iter().any(|(_, error)| refused(error))
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
