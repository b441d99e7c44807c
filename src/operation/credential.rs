//! Refused credentials: whether an operation met one, whether it is the same as before, and when it may be sent again.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tributary_connectors::{ErrorKind, Excerpt};

use crate::{
    clock,
    config::Connection,
    store::{Outcome, Refusal, Trigger},
    sync::{Error, Report},
};

/// Whether an operation failed because the vendor refused the credential. A tool that is starting refuses good ones, so what it
/// says while an operation meets that counts for nothing.
pub(crate) fn is_refused(report: &Report) -> bool {
    let refused = |error: &Error| matches!(error, Error::Vendor(error) if matches!(error.kind, ErrorKind::Unauthorized(_)));
    report.outcome == Outcome::Failed
        && !report.errors.iter().any(|(_, error)| is_not_ready(error))
        && report.errors.iter().any(|(_, error)| refused(error))
}

/// Whether the tool was not ready: it starts, migrates its database, or still prepares what was asked for.
pub(crate) fn is_not_ready(error: &Error) -> bool {
    matches!(error, Error::Vendor(error) if matches!(error.kind, ErrorKind::Pending(_)))
}

/// The error that says why a refused credential is not sent now; `None` when it is time to try it again.
pub(crate) fn must_rest(refusal: &Refusal, trigger: Trigger) -> Option<tributary_connectors::Error> {
    let now = clock::now();
    let again = refusal.again(trigger);
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
    Some(tributary_connectors::Error::new("reading the credential", ErrorKind::Unauthorized(why)).with_hint(hint))
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
