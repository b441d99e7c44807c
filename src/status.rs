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
    store::{self, DueRow, OperationKind, Standing, Store},
};

/// A due time may pass by this much before a connection counts as late.
const GRACE: SignedDuration = SignedDuration::from_mins(5);

/// In one word, how a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It never ran.
    New,
    /// Its last operation succeeded.
    Ok,
    /// An operation runs.
    Running,
    /// An operation waits for the vendor's quota.
    Waiting,
    /// It should have run by now.
    Late,
    /// Its last operation could not read everything.
    Partial,
    /// Its last operation failed.
    Failing,
    /// Its credential was refused; it is not tried again before the credential or the configuration changes.
    Auth,
    /// Somebody paused it.
    Paused,
    /// The configuration says so.
    Disabled,
}

impl Word {
    /// Every word.
    pub const ALL: [Word; 10] = [
        Word::New,
        Word::Ok,
        Word::Running,
        Word::Waiting,
        Word::Late,
        Word::Partial,
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
    /// Why it did not read everything.
    pub error: Option<String>,
    /// How many failed running.
    pub failures: i64,
    /// Since when they fail.
    pub failing_since: Option<Timestamp>,
    /// When the next one is due; in the past when it should have run by now.
    pub next: Option<Timestamp>,
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
    /// Items that could not be read.
    pub quarantine: i64,
    /// When the credential ends, as the vendor or the configuration says.
    pub credential_expires: Option<Timestamp>,
}

impl ConnectionStatus {
    /// Whether somebody should look at it.
    pub fn needs_attention(&self) -> bool {
        matches!(self.status, Word::Late | Word::Partial | Word::Failing | Word::Auth) || self.held_closes > 0
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
    let quarantine = counts(&reader, "select connection, '', count(*) from quarantine group by 1")?;
    let one =
        |counts: &BTreeMap<String, BTreeMap<String, i64>>, name: &str| counts.get(name).and_then(|of| of.get("")).copied().unwrap_or(0);
    config
        .connections
        .iter()
        .map(|connection| {
            let name = &connection.name;
            let standing = standings.get(name).cloned().unwrap_or_default();
            let running = running(&reader, name)?;
            let [discover, sync] = [OperationKind::Discover, OperationKind::Sync].map(|kind| line(&reader, name, kind, &due));
            let (discover, sync) = (discover?, sync?);
            let vendor_total = reader
                .query_row(
                    "select vendor_total from operations where connection = ?1 and kind = 'sync' and outcome <> 'skipped' order by started_at desc limit 1",
                    [name],
                    |row| row.get(0),
                )
                .optional()?
                .flatten();
            let (status, since, reason) = word(connection, &standing, running.as_ref(), &discover, &sync, now);
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
                records: records.get(name).cloned().unwrap_or_default(),
                vendor_total,
                held_closes: one(&held, name),
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

fn word(
    connection: &Connection,
    standing: &Standing,
    running: Option<&Running>,
    discover: &Line,
    sync: &Line,
    now: Timestamp,
) -> (Word, Option<Timestamp>, Option<String>) {
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
    if let Some((since, _)) = &standing.refused {
        return (Word::Auth, Some(*since), sync.error.clone().or_else(|| discover.error.clone()));
    }
    let lines = [sync, discover];
    let of = |outcome: &'static str| lines.into_iter().find(|line| line.last_outcome.as_deref() == Some(outcome));
    if let Some(line) = of("failed") {
        return (Word::Failing, line.failing_since, line.error.clone());
    }
    if let Some(late) = lines.iter().filter_map(|line| line.next).find(|next| now.duration_since(*next) > GRACE) {
        return (Word::Late, Some(late), Some("no process has run it since it was due".to_owned()));
    }
    if let Some(line) = of("partial").or_else(|| of("interrupted")) {
        return (Word::Partial, line.last_end, line.error.clone());
    }
    match sync.last_end.or(discover.last_end) {
        None => (Word::New, None, None),
        ended => (Word::Ok, ended, None),
    }
}

fn line(reader: &Reader, connection: &str, kind: OperationKind, due: &[DueRow]) -> store::Result<Line> {
    let kind_word = kind.as_str();
    let mut line =
        Line { next: due.iter().find(|row| row.connection == connection && row.kind == kind).map(|row| row.due), ..Line::default() };
    let ended = reader
        .prepare_cached(
            "select outcome, ended_at, error, detail from operations where connection = ?1 and kind = ?2 and outcome not in ('running', 'skipped')
             order by started_at desc limit 1",
        )?
        .query_row(params![connection, kind_word], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?, row.get::<_, String>(3)?))
        })
        .optional()?;
    if let Some((outcome, at, error, detail)) = ended {
        let detail: serde_json::Value = serde_json::from_str(&detail).unwrap_or_default();
        line.error = error.or_else(|| detail["incomplete"][0][1].as_str().map(str::to_owned));
        line.last_outcome = Some(outcome);
        line.last_end = time(at);
    }
    line.last_success = time(
        reader
            .prepare_cached("select max(ended_at) from operations where connection = ?1 and kind = ?2 and outcome in ('success', 'held')")?
            .query_row(params![connection, kind_word], |row| row.get(0))?,
    );
    let (failures, since): (i64, Option<i64>) = reader
        .prepare_cached(
            "select count(*), min(started_at) from operations where connection = ?1 and kind = ?2 and outcome = 'failed' and started_at >
             coalesce((select max(started_at) from operations where connection = ?1 and kind = ?2 and outcome in ('success', 'held', 'partial')), 0)",
        )?
        .query_row(params![connection, kind_word], |row| Ok((row.get(0)?, row.get(1)?)))?;
    line.failures = failures;
    line.failing_since = time(since);
    Ok(line)
}

fn running(reader: &Reader, connection: &str) -> store::Result<Option<Running>> {
    let found = reader
        .prepare_cached(
            "select o.id, o.kind, o.started_at, o.fetched, l.waiting_until, l.owner, l.held_until from operations o
             join connections c on c.name = o.connection join leases l on l.connection_id = c.id
             where o.connection = ?1 and o.outcome = 'running' order by o.started_at desc limit 1",
        )?
        .query_row([connection], |row| {
            let running = Running {
                operation: row.get(0)?,
                kind: row.get(1)?,
                since: time(row.get(2)?),
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

fn time(microseconds: Option<i64>) -> Option<Timestamp> {
    Timestamp::from_microsecond(microseconds?).ok()
}
