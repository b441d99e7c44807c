//! One operation of one connection, whoever asks for it: a command or the daemon.

pub(crate) mod credential;

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tributary_connectors::{DynConnector, Error, ErrorKind, kit::Limiters};

use crate::{
    config::Connection,
    store::{ImportPolicy, OperationKind, Outcome, PassKind, Store, Trigger},
    sync::{self, Engine, Plan, Progress, Report},
};

/// What is asked of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Discover, then sync.
    Both,
    /// Discover only.
    Discover,
    /// Sync only what changed, where the vendor can tell.
    Sync,
    /// Sync everything.
    FullSync,
}

impl Work {
    /// The work of a scheduled operation.
    pub(crate) fn of(kind: OperationKind) -> Work {
        match kind {
            OperationKind::Discover => Work::Discover,
            OperationKind::Sync => Work::Sync,
        }
    }

    /// The kind of its first operation.
    fn kind(self) -> OperationKind {
        match self {
            Work::Both | Work::Discover => OperationKind::Discover,
            Work::Sync | Work::FullSync => OperationKind::Sync,
        }
    }
}

/// Work on one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) connection: &'a Arc<Connection>,
    pub(crate) engine: &'a Engine,
    pub(crate) limiters: &'a Arc<Limiters>,
    pub(crate) work: Work,
    pub(crate) trigger: Trigger,
    pub(crate) progress: &'a Progress,
    /// Is told, before anything is sent, what about the connection's secrets looks like a mistake: its name, and a line for each.
    pub(crate) warn: fn(&str, &str),
}

/// Runs the work on one connection: the reports of what ran, and the error that kept the rest from running.
///
/// A credential that the vendor refuses is noted, and so is one that works: the former is not sent again before it is time.
pub(crate) async fn run(request: Request<'_>) -> (Vec<Report>, Option<sync::Error>) {
    let Request { connection, engine, limiters, work, trigger, warn, .. } = request;
    let (opening, budgets, store) = (Arc::clone(connection), Arc::clone(limiters), engine.store.clone());
    // References to secrets read files and run commands.
    let opened = tokio::task::spawn_blocking(move || open(&opening, &budgets, &store, trigger, warn));
    let defect = || Error::new("opening the connection", ErrorKind::Settings("a defect of the connector".into())).into();
    let (source, mark) = match opened.await.unwrap_or_else(|_| Err((defect(), Unopened::Settings))) {
        Ok(opened) => opened,
        Err((error, why)) => {
            if why != Unopened::Resting {
                let told = (error.code(), error.to_string());
                let unreadable = why == Unopened::Credential;
                if let Err(error) = engine.store.failed(&connection.name, work.kind(), trigger, told, unreadable).await {
                    return (Vec::new(), Some(error.into()));
                }
            }
            return (Vec::new(), Some(error));
        }
    };
    let mut reports = Vec::new();
    let failed = run_opened(&source, request, &mut reports).await.err();
    let refused = reports.iter().any(credential::is_refused);
    let noted = match refused {
        true => engine.store.refuse(&connection.name, mark).await,
        false if reports.iter().any(|report| matches!(report.outcome, Outcome::Success | Outcome::Partial | Outcome::Held)) => {
            engine.store.clear_refusal(&connection.name).await
        }
        false => Ok(()),
    };
    (reports, failed.or_else(|| noted.err().map(Into::into)))
}

/// Why a connection was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unopened {
    /// Its credential cannot be read.
    Credential,
    /// Its settings cannot work.
    Settings,
    /// Its credential was refused, and it is not time to send it again.
    Resting,
}

/// Reads the secrets and opens the connection, unless its credential was refused and must not be sent again yet. Gives the mark
/// of the credential.
fn open(
    connection: &Connection,
    limiters: &Arc<Limiters>,
    store: &Store,
    trigger: Trigger,
    warn: fn(&str, &str),
) -> Result<(Arc<dyn DynConnector>, String), (sync::Error, Unopened)> {
    let secrets = connection.resolve().map_err(|error| (error.into(), Unopened::Credential))?;
    connection.doubts(&secrets).iter().for_each(|doubt| warn(&connection.name, doubt));
    let standing = store.standings().map_err(|error| (error.into(), Unopened::Resting))?.remove(&connection.name);
    let refusal = standing.and_then(|standing| standing.refused);
    let mark = credential::mark(connection, &secrets, refusal.as_ref().map_or("", |refusal| &refusal.mark));
    if let Some(refusal) = refusal.filter(|refusal| refusal.mark == mark)
        && let Some(error) = credential::must_rest(&refusal, trigger)
    {
        return Err((error.into(), Unopened::Resting));
    }
    let source = connection.open_with(secrets, limiters).map_err(|error| (error.into(), Unopened::Settings))?;
    Ok((source, mark))
}

async fn run_opened(source: &Arc<dyn DynConnector>, request: Request<'_>, reports: &mut Vec<Report>) -> Result<(), sync::Error> {
    let Request { connection, engine, work, trigger, progress, .. } = request;
    let plan = plan(connection);
    if matches!(work, Work::Sync | Work::FullSync) {
        let pass = if work == Work::FullSync { PassKind::Full } else { PassKind::Delta };
        reports.extend(engine.sync(source, &plan, trigger, pass, progress).await?);
        return Ok(());
    }
    let report = engine.discover(source, &plan, trigger, progress).await?;
    let goes_on = !matches!(report.outcome, Outcome::Failed | Outcome::Interrupted);
    reports.push(report);
    if work == Work::Both && goes_on {
        reports.extend(engine.sync(source, &plan, trigger, PassKind::Delta, progress).await?);
    }
    Ok(())
}

/// What the engine needs to know of a connection.
pub fn plan(connection: &Connection) -> Plan {
    // Fields and location, not the secrets: a rotated secret sees the same things.
    let seen = format!("{}\n{}\n{}", connection.entry.meta.id, connection.location, Value::Object(connection.fields.clone()));
    let settings = Sha256::digest(seen)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    Plan {
        connection: connection.name.clone(),
        meta: connection.entry.meta,
        policy: ImportPolicy {
            minimum_severity: connection.minimum_severity,
            import_closed: connection.import_closed,
            auto_map: connection.auto_map,
        },
        full_sync_every: connection.full_sync_every,
        close_missing_after: connection.close_missing_after,
        settings,
    }
}
