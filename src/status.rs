//! How every connection stands: the one truth behind `tributary status`, `/api/v1/status`, `/metrics` and systemd's status line.
//!
//! It is read from the store, so it holds whichever process runs an operation, and also while no daemon runs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    config::{Config, Connection},
    error_code,
    store::{self, ConnectionFlags, DueRow, OperationKind, Reader, RunningOperation, Store, Trigger, Waiting},
};

/// A due time may pass by this much before a connection counts as late.
const GRACE: SignedDuration = SignedDuration::from_mins(5);

/// A tool that says for longer than this that it starts is failing, whatever it says.
const STARTING_AT_MOST: SignedDuration = SignedDuration::from_hours(1);

/// In one word, how a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// It was never synced.
    New,
    /// Its last sync read everything, its credential works, and there are records.
    Ok,
    /// An operation runs.
    Running,
    /// An operation waits for the vendor's quota.
    Waiting,
    /// It should have run by now.
    Late,
    /// Its last operation could not read everything.
    Partial,
    /// Closes, or records that vanished, wait for an operator.
    Held,
    /// The tool lists no record.
    Empty,
    /// The tool starts, migrates its database, or still prepares what was asked for; it is tried again soon.
    Starting,
    /// Its last operation failed.
    Failing,
    /// Its credential was refused, or cannot be read.
    Auth,
    /// Somebody paused it.
    Paused,
    /// The configuration says so.
    Disabled,
}

impl ConnectionState {
    /// All words, each once.
    pub const ALL: [ConnectionState; 13] = [
        ConnectionState::New,
        ConnectionState::Ok,
        ConnectionState::Running,
        ConnectionState::Waiting,
        ConnectionState::Late,
        ConnectionState::Partial,
        ConnectionState::Held,
        ConnectionState::Empty,
        ConnectionState::Starting,
        ConnectionState::Failing,
        ConnectionState::Auth,
        ConnectionState::Paused,
        ConnectionState::Disabled,
    ];

    /// The word as commands, log and metrics show it.
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionState::New => "new",
            ConnectionState::Ok => "ok",
            ConnectionState::Running => "running",
            ConnectionState::Waiting => "waiting",
            ConnectionState::Late => "late",
            ConnectionState::Partial => "partial",
            ConnectionState::Held => "held",
            ConnectionState::Empty => "empty",
            ConnectionState::Starting => "starting",
            ConnectionState::Failing => "failing",
            ConnectionState::Auth => "auth",
            ConnectionState::Paused => "paused",
            ConnectionState::Disabled => "disabled",
        }
    }
}

/// How one kind of operation stands on a connection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OperationStatus {
    /// When the last one ended that read everything.
    pub last_success: Option<Timestamp>,
    /// How the last one ended.
    pub last_outcome: Option<String>,
    /// When the last one ended.
    pub last_end: Option<Timestamp>,
    /// The stable code of what went wrong, as docs/runbook.md explains it.
    pub code: Option<String>,
    /// Why it did not read everything.
    pub error: Option<String>,
    /// How many failed running.
    pub failures: i64,
    /// Since when they fail.
    pub failing_since: Option<Timestamp>,
    /// When the next one is due; in the past when it should have run by now.
    pub next: Option<Timestamp>,
    /// For how many seconds it should have run by now.
    pub overdue_seconds: i64,
    /// Whether the credential could not be read.
    #[serde(skip)]
    unreadable: bool,
}

/// How a connection stands.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionStatus {
    /// The connection's name.
    pub connection: String,
    /// Id of the connection's connector.
    pub connector: &'static str,
    /// Text from the configuration that is shown beside the name.
    pub label: Option<String>,
    /// In one word.
    pub status: ConnectionState,
    /// Since when it stands so.
    pub since: Option<Timestamp>,
    /// Why, where it is not well.
    pub reason: Option<String>,
    /// What runs now.
    pub running: Option<RunningOperation>,
    /// The newest discovery, and the next one.
    pub discover: OperationStatus,
    /// The newest sync, and the next one.
    pub sync: OperationStatus,
    /// Product records by state.
    pub records: BTreeMap<String, i64>,
    /// Items of the last sync, as the vendor counts them.
    pub vendor_total: Option<i64>,
    /// Closes that wait for an operator.
    pub held_closes: i64,
    /// Records that are no longer listed and wait for an operator.
    pub held_records: i64,
    /// Items that could not be read.
    pub quarantine: i64,
    /// When the credential ends, as the vendor or the configuration says.
    pub credential_expires: Option<Timestamp>,
}

impl ConnectionStatus {
    /// Whether somebody should look at it.
    pub fn needs_attention(&self) -> bool {
        matches!(
            self.status,
            ConnectionState::Late
                | ConnectionState::Partial
                | ConnectionState::Held
                | ConnectionState::Empty
                | ConnectionState::Failing
                | ConnectionState::Auth
        ) || self.held_closes + self.held_records > 0
    }
}

/// How every configured connection stands.
///
/// # Errors
/// When the store cannot be read.
pub fn read(store: &Store, config: &Config, now: Timestamp) -> store::Result<Vec<ConnectionStatus>> {
    let (due, standings) = (store.due_rows()?, store.standings()?);
    let reader = store.reader()?;
    let (records, waiting) = (reader.records_by_state()?, reader.waiting()?);
    config
        .connections
        .iter()
        .map(|connection| {
            let name = &connection.name;
            let standing = standings.get(name).cloned().unwrap_or_default();
            let mut running = reader.running_operation(name)?;
            if let Some(running) = &mut running {
                running.since = running.since.map(|at| at.min(now));
            }
            let [discover, sync] = [OperationKind::Discover, OperationKind::Sync].map(|kind| line(&reader, connection, kind, &due, now));
            let (discover, sync) = (discover?, sync?);
            let records = records.get(name).cloned().unwrap_or_default();
            let Waiting { held_closes, held_records, rejected_items } = waiting.get(name).copied().unwrap_or_default();
            let known = Known {
                standing: &standing,
                running: running.as_ref(),
                discover: &discover,
                sync: &sync,
                records: &records,
                held: held_closes + held_records,
            };
            let (status, since, reason) = derive_state(connection, &known, now);
            Ok(ConnectionStatus {
                connection: name.clone(),
                connector: connection.entry.meta.id,
                label: connection.label.clone(),
                status,
                since,
                reason,
                running,
                discover,
                sync,
                records,
                vendor_total: reader.last_vendor_total(name)?,
                held_closes,
                held_records,
                quarantine: rejected_items,
                credential_expires: connection.expiry(standing.expires),
            })
        })
        .collect()
}

/// The whole in a few words: `24 ok, 1 failing, next 14:30`.
pub fn summary(connections: &[ConnectionStatus]) -> String {
    let mut words: BTreeMap<ConnectionState, usize> = BTreeMap::new();
    for connection in connections {
        *words.entry(connection.status).or_default() += 1;
    }
    let mut parts: Vec<String> = words.iter().map(|(word, count)| format!("{count} {}", word.as_str())).collect();
    let next = connections
        .iter()
        .filter(|one| one.status != ConnectionState::Paused)
        .flat_map(|one| [one.discover.next, one.sync.next])
        .flatten()
        .min();
    if let Some(next) = next {
        parts.push(format!("next {}", next.to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M UTC")));
    }
    if parts.is_empty() { "no connections".to_owned() } else { parts.join(", ") }
}

/// What the word for a connection follows from.
struct Known<'a> {
    standing: &'a ConnectionFlags,
    running: Option<&'a RunningOperation>,
    discover: &'a OperationStatus,
    sync: &'a OperationStatus,
    records: &'a BTreeMap<String, i64>,
    /// Closes and records that wait for an operator.
    held: i64,
}

/// The word, since when, and why.
// long: one rule after another: their order decides
fn derive_state(connection: &Connection, known: &Known<'_>, now: Timestamp) -> (ConnectionState, Option<Timestamp>, Option<String>) {
    let Known { standing, running, discover, sync, records, held } = known;
    if !connection.enabled {
        return (ConnectionState::Disabled, None, None);
    }
    if let Some(since) = standing.paused {
        return (ConnectionState::Paused, Some(since), None);
    }
    if let Some(running) = running {
        let word = if running.waiting_until.is_some_and(|until| until > now) { ConnectionState::Waiting } else { ConnectionState::Running };
        return (word, running.since, None);
    }
    let lines = [*sync, *discover];
    let error = || sync.error.clone().or_else(|| discover.error.clone());
    if let Some(refusal) = &standing.refused
        && let Some(since) = refusal.since
    {
        let again = match refusal.again(Trigger::Schedule) {
            Some(at) => format!("tried again from {at:.0} on"),
            None => "not tried again before it changes, or `tributary connections resume`".to_owned(),
        };
        return (ConnectionState::Auth, Some(since), Some(error().map_or_else(|| again.clone(), |error| format!("{error}; {again}"))));
    }
    let of = |outcomes: &[&str], code: &str| {
        lines.into_iter().find(|line| {
            line.last_outcome.as_deref().is_some_and(|outcome| outcomes.contains(&outcome))
                && (code.is_empty() || line.code.as_deref() == Some(code))
        })
    };
    if let Some(line) = lines.into_iter().find(|line| line.unreadable).or_else(|| of(&["failed"], error_code::CREDENTIAL_REFUSED)) {
        return (ConnectionState::Auth, line.failing_since, line.error.clone());
    }
    let starts = |line: &&OperationStatus| line.failing_since.is_none_or(|since| now.duration_since(since) < STARTING_AT_MOST);
    if let Some(line) = of(&["failed", "partial"], error_code::NOT_READY).filter(starts) {
        return (ConnectionState::Starting, line.failing_since.or(line.last_end), line.error.clone());
    }
    if let Some(line) = of(&["failed"], "") {
        return (ConnectionState::Failing, line.failing_since, line.error.clone());
    }
    if let Some(line) = lines.into_iter().find(|line| line.overdue_seconds > GRACE.as_secs()) {
        let why =
            format!("overdue by {}: no process has started it since it was due", span(SignedDuration::from_secs(line.overdue_seconds)));
        return (ConnectionState::Late, line.next, Some(why));
    }
    if let Some(line) = of(&["partial", "interrupted"], "") {
        return (ConnectionState::Partial, line.last_end, line.error.clone());
    }
    // Not after the outcome of the last operation: an operator may have approved meanwhile.
    if *held > 0 {
        let line = of(&["held"], "").unwrap_or(sync);
        let why = "more would be closed or lost at once than usual: look at the tool, then `tributary operations approve ID`";
        return (ConnectionState::Held, line.last_end, Some(line.error.clone().unwrap_or_else(|| why.to_owned())));
    }
    if sync.last_end.is_none() {
        return (ConnectionState::New, None, None);
    }
    if records.iter().all(|(state, count)| state == "missing" || *count == 0) {
        let why = "the tool lists no record: look whether the credential may see them (`tributary check`)";
        return (ConnectionState::Empty, discover.last_end.or(sync.last_end), Some(why.to_owned()));
    }
    (ConnectionState::Ok, sync.last_end, None)
}

fn line(reader: &Reader, connection: &Connection, kind: OperationKind, due: &[DueRow], now: Timestamp) -> store::Result<OperationStatus> {
    let name = &connection.name;
    let next = due.iter().find(|row| row.connection == *name && row.kind == kind);
    let next = next.map(|row| connection.schedule(kind).believed(&connection.timezone, row.due, now));
    let overdue_seconds = next.map_or(0, |next| now.duration_since(next).as_secs().max(0));
    // A time in the future was stored while the clock was wrong.
    let past = |at: Option<Timestamp>| at.map(|at| at.min(now));
    let failures = reader.failures(name, kind)?;
    let mut line = OperationStatus {
        next,
        overdue_seconds,
        last_success: reader.last_success(name, kind, now)?,
        failures: failures.count,
        failing_since: past(failures.since),
        ..OperationStatus::default()
    };
    if let Some(ended) = reader.last_ended(name, kind)? {
        line.error = ended.error;
        line.code = ended.code;
        line.unreadable = ended.unreadable_credential;
        line.last_outcome = Some(ended.outcome);
        line.last_end = past(ended.ended_at);
    }
    Ok(line)
}

/// A span of time in the largest unit that fits.
pub(crate) fn span(time: SignedDuration) -> String {
    match time.as_secs() {
        ..60 => format!("{} s", time.as_secs().max(0)),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Whole days until a time; below zero when it has passed.
pub(crate) fn days_left(at: Timestamp, now: Timestamp) -> i64 {
    at.duration_since(now).as_secs().div_euclid(86_400)
}
