//! How every connection stands: the one truth behind `tributary status`, `/api/v1/status`, `/metrics` and systemd's status line.
//!
//! It is read from the store, so it holds whichever process runs an operation, and also while no daemon runs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection as Reader, OptionalExtension, params};
use serde::Serialize;
use tributary_connectors::model::Severity;

use crate::{
    config::{Config, Connection},
    daemon,
    store::{self, DueRow, OperationKind, Standing, Store},
};

/// A due time may pass by this much before a connection counts as late.
const GRACE: SignedDuration = SignedDuration::from_mins(5);

/// In one word, how a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
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

impl Word {
    /// Every word.
    pub const ALL: [Word; 13] = [
        Word::New,
        Word::Ok,
        Word::Running,
        Word::Waiting,
        Word::Late,
        Word::Partial,
        Word::Held,
        Word::Empty,
        Word::Starting,
        Word::Failing,
        Word::Auth,
        Word::Paused,
        Word::Disabled,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Word::New => "new",
            Word::Ok => "ok",
            Word::Running => "running",
            Word::Waiting => "waiting",
            Word::Late => "late",
            Word::Partial => "partial",
            Word::Held => "held",
            Word::Empty => "empty",
            Word::Starting => "starting",
            Word::Failing => "failing",
            Word::Auth => "auth",
            Word::Paused => "paused",
            Word::Disabled => "disabled",
        }
    }
}

/// What runs now.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    /// Its id.
    pub operation: String,
    /// Discover or sync.
    pub kind: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Items read so far.
    pub fetched: i64,
    /// Until when it waits for the vendor's quota.
    pub waiting_until: Option<Timestamp>,
}

/// How one kind of operation stands on a connection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
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
    /// Its name.
    pub connection: String,
    /// Its connector.
    pub connector: &'static str,
    /// For people.
    pub label: Option<String>,
    /// In one word.
    pub status: Word,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why, where it is not well.
    pub reason: Option<String>,
    /// What runs now.
    pub running: Option<Running>,
    /// Discovers.
    pub discover: Line,
    /// Syncs.
    pub sync: Line,
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
        matches!(self.status, Word::Late | Word::Partial | Word::Held | Word::Empty | Word::Failing | Word::Auth)
            || self.held_closes + self.held_records > 0
    }
}

/// Findings of one connection, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingCount {
    /// The connection's name.
    pub connection: String,
    /// Severity.
    pub severity: &'static str,
    /// Shown state.
    pub state: String,
    /// How many.
    pub findings: i64,
}

/// How every configured connection stands.
///
/// # Errors
/// When the store cannot be read.
pub fn read(store: &Store, config: &Config, now: Timestamp) -> store::Result<Vec<ConnectionStatus>> {
    let (due, standings) = (store.due_rows()?, store.standings()?);
    let reader = store.reader()?;
    let records = counts(&reader, "select connection, state, count(*) from records group by 1, 2")?;
    let held = counts(
        &reader,
        "select c.name, '', count(*) from held_closes h join scopes s on s.id = h.scope_id join connections c on c.id = s.connection_id group by 1",
    )?;
    let held_records = counts(
        &reader,
        "select c.name, '', count(*) from held_records h join record_rows r on r.id = h.record_id join connections c on c.id = r.connection_id
         where r.state in ('good', 'stale') group by 1",
    )?;
    let quarantine = counts(&reader, "select connection, '', sum(items) from quarantine where outcome = 'rejected' group by 1")?;
    let one =
        |counts: &BTreeMap<String, BTreeMap<String, i64>>, name: &str| counts.get(name).and_then(|of| of.get("")).copied().unwrap_or(0);
    config
        .connections
        .iter()
        .map(|connection| {
            let name = &connection.name;
            let standing = standings.get(name).cloned().unwrap_or_default();
            let running = running(&reader, name, now)?;
            let [discover, sync] = [OperationKind::Discover, OperationKind::Sync].map(|kind| line(&reader, connection, kind, &due, now));
            let (discover, sync) = (discover?, sync?);
            let records = records.get(name).cloned().unwrap_or_default();
            let vendor_total = reader
                .query_row(
                    "select vendor_total from operations where connection = ?1 and kind = 'sync' and outcome <> 'skipped' order by seq desc limit 1",
                    [name],
                    |row| row.get(0),
                )
                .optional()?
                .flatten();
            let (held_closes, held_records) = (one(&held, name), one(&held_records, name));
            let known = Known { standing: &standing, running: running.as_ref(), discover: &discover, sync: &sync, records: &records, held: held_closes + held_records };
            let (status, since, reason) = word(connection, &known, now);
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
                vendor_total,
                held_closes,
                held_records,
                quarantine: one(&quarantine, name),
                credential_expires: connection.expiry(standing.expires),
            })
        })
        .collect()
}

/// Findings by connection, severity and state. Reads a whole index: not for each request.
///
/// # Errors
/// When the store cannot be read.
pub fn findings(reader: &Reader) -> store::Result<Vec<FindingCount>> {
    let mut statement = reader.prepare(
        "select c.name, f.severity_rank, f.state, f.findings from
         (select connection_id, state, severity_rank, count(*) as findings from finding_rows group by 1, 2, 3) f
         join connections c on c.id = f.connection_id order by 1, 2, 3",
    )?;
    let rows = statement.query_map([], |row| {
        let rank = usize::from(row.get::<_, u8>(1)?);
        let severity = Severity::ALL.get(rank).map_or("unknown", |severity| severity.as_str());
        Ok(FindingCount { connection: row.get(0)?, severity, state: row.get(2)?, findings: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The whole in a few words: `24 ok, 1 failing, next 14:30`.
pub fn summary(connections: &[ConnectionStatus]) -> String {
    let mut words: BTreeMap<Word, usize> = BTreeMap::new();
    for connection in connections {
        *words.entry(connection.status).or_default() += 1;
    }
    let mut parts: Vec<String> = words.iter().map(|(word, count)| format!("{count} {}", word.as_str())).collect();
    let next =
        connections.iter().filter(|one| one.status != Word::Paused).flat_map(|one| [one.discover.next, one.sync.next]).flatten().min();
    if let Some(next) = next {
        parts.push(format!("next {}", next.to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M UTC")));
    }
    if parts.is_empty() { "no connections".to_owned() } else { parts.join(", ") }
}

/// What the word for a connection follows from.
struct Known<'a> {
    standing: &'a Standing,
    running: Option<&'a Running>,
    discover: &'a Line,
    sync: &'a Line,
    records: &'a BTreeMap<String, i64>,
    /// Closes and records that wait for an operator.
    held: i64,
}

/// The word, since when, and why.
fn word(connection: &Connection, known: &Known<'_>, now: Timestamp) -> (Word, Option<Timestamp>, Option<String>) {
    let Known { standing, running, discover, sync, records, held } = known;
    if !connection.enabled {
        return (Word::Disabled, None, None);
    }
    if let Some(since) = standing.paused {
        return (Word::Paused, Some(since), None);
    }
    if let Some(running) = running {
        let word = if running.waiting_until.is_some_and(|until| until > now) { Word::Waiting } else { Word::Running };
        return (word, running.since, None);
    }
    let lines = [*sync, *discover];
    let error = || sync.error.clone().or_else(|| discover.error.clone());
    if let Some(refusal) = &standing.refused
        && let Some(since) = refusal.since
    {
        let again = match refusal.again(false) {
            Some(at) => format!("tried again from {at:.0} on"),
            None => "not tried again before it changes, or `tributary connections resume`".to_owned(),
        };
        return (Word::Auth, Some(since), Some(error().map_or_else(|| again.clone(), |error| format!("{error}; {again}"))));
    }
    let of = |outcomes: &[&str], code: &str| {
        lines.into_iter().find(|line| {
            line.last_outcome.as_deref().is_some_and(|outcome| outcomes.contains(&outcome))
                && (code.is_empty() || line.code.as_deref() == Some(code))
        })
    };
    if let Some(line) = lines.into_iter().find(|line| line.unreadable).or_else(|| of(&["failed"], "E0201")) {
        return (Word::Auth, line.failing_since, line.error.clone());
    }
    if let Some(line) = of(&["failed", "partial"], "E0209") {
        return (Word::Starting, line.failing_since.or(line.last_end), line.error.clone());
    }
    if let Some(line) = of(&["failed"], "") {
        return (Word::Failing, line.failing_since, line.error.clone());
    }
    if let Some(line) = lines.into_iter().find(|line| line.overdue_seconds > GRACE.as_secs()) {
        let why =
            format!("overdue by {}: no process has started it since it was due", span(SignedDuration::from_secs(line.overdue_seconds)));
        return (Word::Late, line.next, Some(why));
    }
    if let Some(line) = of(&["partial", "interrupted"], "") {
        return (Word::Partial, line.last_end, line.error.clone());
    }
    // Not after the outcome of the last operation: an operator may have approved meanwhile.
    if *held > 0 {
        let line = of(&["held"], "").unwrap_or(sync);
        let why = "more would be closed or lost at once than usual: look at the tool, then `tributary operations approve ID`";
        return (Word::Held, line.last_end, Some(line.error.clone().unwrap_or_else(|| why.to_owned())));
    }
    if sync.last_end.is_none() {
        return (Word::New, None, None);
    }
    if records.iter().all(|(state, count)| state == "missing" || *count == 0) {
        let why = "the tool lists no record: look whether the credential may see them (`tributary check`)";
        return (Word::Empty, discover.last_end.or(sync.last_end), Some(why.to_owned()));
    }
    (Word::Ok, sync.last_end, None)
}

fn line(reader: &Reader, connection: &Connection, kind: OperationKind, due: &[DueRow], now: Timestamp) -> store::Result<Line> {
    let (name, kind_word) = (&connection.name, kind.as_str());
    let next = due.iter().find(|row| row.connection == *name && row.kind == kind);
    let next = next.map(|row| daemon::believed(connection, kind, row.due, now));
    let overdue_seconds = next.map_or(0, |next| now.duration_since(next).as_secs().max(0));
    let mut line = Line { next, overdue_seconds, ..Line::default() };
    // A time in the future was stored while the clock was wrong.
    let past = |at: Option<i64>| time(at).map(|at| at.min(now));
    let ended = reader
        .prepare_cached(
            "select outcome, ended_at, code, error, detail from operations
             where connection = ?1 and kind = ?2 and outcome not in ('running', 'skipped') order by seq desc limit 1",
        )?
        .query_row(params![name, kind_word], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get::<_, Option<String>>(3)?, row.get::<_, String>(4)?))
        })
        .optional()?;
    if let Some((outcome, at, code, error, detail)) = ended {
        let detail: serde_json::Value = serde_json::from_str(&detail).unwrap_or_default();
        line.error = error.or_else(|| detail["incomplete"][0][1].as_str().map(str::to_owned));
        line.code = code;
        line.unreadable = detail["unreadable"].as_bool().unwrap_or_default();
        line.last_outcome = Some(outcome);
        line.last_end = past(at);
    }
    line.last_success = reader
        .prepare_cached(
            "select ended_at from operations where connection = ?1 and kind = ?2 and outcome in ('success', 'held') and ended_at <= ?3
             order by seq desc limit 1",
        )?
        .query_row(params![name, kind_word, now.as_microsecond()], |row| row.get(0))
        .optional()?
        .and_then(time);
    let (failures, since): (i64, Option<i64>) = reader
        .prepare_cached(
            "select count(*), min(started_at) from operations where connection = ?1 and kind = ?2 and outcome = 'failed' and seq >
             coalesce((select max(seq) from operations where connection = ?1 and kind = ?2 and outcome in ('success', 'held', 'partial')), 0)",
        )?
        .query_row(params![name, kind_word], |row| Ok((row.get(0)?, row.get(1)?)))?;
    line.failures = failures;
    line.failing_since = past(since);
    Ok(line)
}

fn running(reader: &Reader, connection: &str, now: Timestamp) -> store::Result<Option<Running>> {
    let found = reader
        .prepare_cached(
            "select o.id, o.kind, o.started_at, o.fetched, l.waiting_until, l.owner, l.held_until from operations o
             join connections c on c.name = o.connection join leases l on l.connection_id = c.id
             where o.connection = ?1 and o.outcome = 'running' order by o.seq desc limit 1",
        )?
        .query_row([connection], |row| {
            let running = Running {
                operation: row.get(0)?,
                kind: row.get(1)?,
                since: time(row.get(2)?).map(|at| at.min(now)),
                fetched: row.get(3)?,
                waiting_until: time(row.get(4)?),
            };
            Ok((running, row.get::<_, String>(5)?, row.get::<_, i64>(6)?))
        })
        .optional()?;
    // What nobody runs any more is not running, whatever its row says.
    Ok(found.filter(|(_, owner, until)| store::is_alive(owner, *until)).map(|(running, ..)| running))
}

fn counts(reader: &Reader, sql: &str) -> store::Result<BTreeMap<String, BTreeMap<String, i64>>> {
    let mut counts: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    let mut statement = reader.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        counts.entry(row.get(0)?).or_default().insert(row.get(1)?, row.get(2)?);
    }
    Ok(counts)
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

fn time(microseconds: Option<i64>) -> Option<Timestamp> {
    Timestamp::from_microsecond(microseconds?).ok()
}
