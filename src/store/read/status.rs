//! How connections stand: what ran last, what runs, what waits for an operator, and counts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use tributary_connectors::model::Severity;

use super::Reader;
use crate::store::{OperationKind, Result, is_alive, passes::time};

/// How an operation ended.
#[derive(Clone, Debug)]
pub struct EndedOperation {
    /// `success`, `partial`, `failed`, `interrupted` or `held`.
    pub outcome: String,
    /// When, by the clock of that moment.
    pub ended_at: Option<Timestamp>,
    /// The stable code of what went wrong, as docs/runbook.md explains it.
    pub code: Option<String>,
    /// Why it did not read everything.
    pub error: Option<String>,
    /// Whether its credential could not be read.
    pub unreadable_credential: bool,
}

/// Failed operations since the last one that was of use.
#[derive(Clone, Copy, Debug)]
pub struct Failures {
    /// How many operations failed in a row.
    pub count: i64,
    /// When the first of them began.
    pub since: Option<Timestamp>,
}

/// An operation that runs now.
#[derive(Clone, Debug, Serialize)]
pub struct RunningOperation {
    /// Id of the operation.
    pub operation: String,
    /// Discover or sync.
    pub kind: String,
    /// When the operation began.
    pub since: Option<Timestamp>,
    /// Items read so far.
    pub fetched: i64,
    /// Until when it waits for the vendor's quota.
    pub waiting_until: Option<Timestamp>,
}

/// Counts of what waits on a connection for somebody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    /// Closes that wait for an operator.
    pub held_closes: i64,
    /// Records that are no longer listed and wait for an operator.
    pub held_records: i64,
    /// Items that could not be read.
    pub rejected_items: i64,
}

/// Findings of one connection, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingCount {
    /// The connection's name.
    pub connection: String,
    /// The severity in one word, as `high`.
    pub severity: &'static str,
    /// The state that is shown: the decision of a person before the word of the vendor.
    pub state: String,
    /// How many findings have this severity and state.
    pub findings: i64,
}

impl Reader {
    /// How the last operation of a kind ended that was not skipped.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_ended(&self, connection: &str, kind: OperationKind) -> Result<Option<EndedOperation>> {
        Ok(self
            .0
            .prepare_cached(
                "select outcome, ended_at, code, coalesce(error, detail ->> '$.incomplete[0][1]'), coalesce(detail ->> '$.unreadable', 0)
                 from operations where connection = ?1 and kind = ?2 and outcome not in ('running', 'skipped') order by seq desc limit 1",
            )?
            .query_row(params![connection, kind.as_str()], |row| {
                Ok(EndedOperation {
                    outcome: row.get(0)?,
                    ended_at: time(row.get(1)?),
                    code: row.get(2)?,
                    error: row.get(3)?,
                    unreadable_credential: row.get(4)?,
                })
            })
            .optional()?)
    }

    /// When the last operation of a kind ended that read everything, of those that ended by then.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_success(&self, connection: &str, kind: OperationKind, by: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self
            .0
            .prepare_cached(
                "select ended_at from operations where connection = ?1 and kind = ?2 and outcome in ('success', 'held') and ended_at <= ?3
                 order by seq desc limit 1",
            )?
            .query_row(params![connection, kind.as_str(), by.as_microsecond()], |row| row.get(0))
            .optional()?
            .and_then(time))
    }

    /// How many operations of a kind failed since the last one that did not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn failures(&self, connection: &str, kind: OperationKind) -> Result<Failures> {
        Ok(self.0
            .prepare_cached(
                "select count(*), min(started_at) from operations where connection = ?1 and kind = ?2 and outcome = 'failed' and seq >
                 coalesce((select max(seq) from operations where connection = ?1 and kind = ?2 and outcome in ('success', 'held', 'partial')), 0)",
            )?
            .query_row(params![connection, kind.as_str()], |row| Ok(Failures { count: row.get(0)?, since: time(row.get(1)?) }))?)
    }

    /// The operation that runs on a connection. What nobody runs any more is not running, whatever its row says.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn running_operation(&self, connection: &str) -> Result<Option<RunningOperation>> {
        let found = self
            .0
            .prepare_cached(
                "select o.id, o.kind, o.started_at, o.fetched, l.waiting_until, l.owner, l.held_until from operations o
                 join connections c on c.name = o.connection join leases l on l.connection_id = c.id
                 where o.connection = ?1 and o.outcome = 'running' order by o.seq desc limit 1",
            )?
            .query_row([connection], |row| {
                let running = RunningOperation {
                    operation: row.get(0)?,
                    kind: row.get(1)?,
                    since: time(row.get(2)?),
                    fetched: row.get(3)?,
                    waiting_until: time(row.get(4)?),
                };
                Ok((running, row.get::<_, String>(5)?, row.get::<_, i64>(6)?))
            })
            .optional()?;
        Ok(found.filter(|(_, owner, until)| is_alive(owner, *until)).map(|(running, ..)| running))
    }

    /// Items of the last sync of a connection, as the vendor counts them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_vendor_total(&self, connection: &str) -> Result<Option<i64>> {
        Ok(self.0
            .prepare_cached(
                "select vendor_total from operations where connection = ?1 and kind = 'sync' and outcome <> 'skipped' order by seq desc limit 1",
            )?
            .query_row([connection], |row| row.get(0))
            .optional()?
            .flatten())
    }

    /// Product records of each connection by state.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn records_by_state(&self) -> Result<BTreeMap<String, BTreeMap<String, i64>>> {
        let mut counts: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        let mut statement = self.0.prepare("select connection, state, count(*) from records group by 1, 2")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            counts.entry(row.get(0)?).or_default().insert(row.get(1)?, row.get(2)?);
        }
        Ok(counts)
    }

    /// What waits on each connection for somebody; connections on which nothing does are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn waiting(&self) -> Result<BTreeMap<String, Waiting>> {
        let mut all: BTreeMap<String, Waiting> = BTreeMap::new();
        let mut statement = self.0.prepare(
            "select connection, sum(closes), sum(records), sum(items) from (
                 select c.name as connection, 1 as closes, 0 as records, 0 as items
                 from held_closes h join scopes s on s.id = h.scope_id join connections c on c.id = s.connection_id
                 union all
                 select c.name, 0, 1, 0
                 from held_records h join record_rows r on r.id = h.record_id join connections c on c.id = r.connection_id
                 where r.state in ('good', 'stale')
                 union all
                 select connection, 0, 0, items from quarantine where outcome = 'rejected'
             ) as waiting group by 1",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            all.insert(row.get(0)?, Waiting { held_closes: row.get(1)?, held_records: row.get(2)?, rejected_items: row.get(3)? });
        }
        Ok(all)
    }

    /// Findings by connection, severity and state. Reads a whole index: not for each request.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn finding_counts(&self) -> Result<Vec<FindingCount>> {
        let mut statement = self.0.prepare(
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
}
