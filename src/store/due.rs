//! The daemon's notes: when what is due, and what kept it from running.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::{OperationKind, Reader, Result, Store, Trigger, lease::is_alive, now, passes::time};

/// When a scheduled operation is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// The connection's name.
    pub connection: String,
    /// Discover or sync.
    pub kind: OperationKind,
    /// The schedule that the time follows from, as text.
    pub rule: String,
    /// When the operation is due next.
    pub due: Timestamp,
}

impl Store {
    /// Every due time that was stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn due_rows(&self) -> Result<Vec<DueRow>> {
        let reader = self.reader()?.0;
        let mut statement = reader.prepare("select connection, kind, rule, due_at from due order by connection, kind")?;
        let rows = statement.query_map([], |row| {
            Ok(DueRow {
                connection: row.get(0)?,
                kind: if row.get::<_, String>(1)? == "sync" { OperationKind::Sync } else { OperationKind::Discover },
                rule: row.get(2)?,
                due: time(Some(row.get(3)?)).unwrap_or(Timestamp::UNIX_EPOCH),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Stores due times.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn save_due(&self, rows: Vec<DueRow>) -> Result<()> {
        self.write(move |tx, _| {
            let mut statement = tx.prepare_cached(
                "insert into due (connection, kind, rule, due_at) values (?1, ?2, ?3, ?4)
                 on conflict (connection, kind) do update set rule = excluded.rule, due_at = excluded.due_at",
            )?;
            for row in rows {
                statement.execute(params![row.connection, row.kind.as_str(), row.rule, row.due.as_microsecond()])?;
            }
            Ok(())
        })
        .await
    }

    /// Notes an operation that was due and did not run, and why.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn skip(&self, connection: &str, kind: OperationKind, trigger: Trigger, reason: String) -> Result<()> {
        let (connection, id) = (connection.to_owned(), Uuid::now_v7());
        self.write(move |tx, _| {
            tx.execute(
                "insert into operations (id, connection, kind, trigger, outcome, started_at, ended_at, error)
                 values (?1, ?2, ?3, ?4, 'skipped', ?5, ?5, ?6)",
                params![id.to_string(), connection, kind.as_str(), trigger.as_str(), now(), reason],
            )?;
            Ok(())
        })
        .await
    }

    /// Notes an operation that failed before its first request, with the stable code of the reason. `unreadable`: its credential
    /// could not be read.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn failed(
        &self,
        connection: &str,
        kind: OperationKind,
        trigger: Trigger,
        (code, error): (&'static str, String),
        unreadable: bool,
    ) -> Result<()> {
        let (connection, id) = (connection.to_owned(), Uuid::now_v7());
        let detail = serde_json::json!({ "errors": [error], "unreadable": unreadable }).to_string();
        self.write(move |tx, _| {
            tx.execute(
                "insert into operations (id, connection, kind, trigger, outcome, started_at, ended_at, code, error, detail)
                 values (?1, ?2, ?3, ?4, 'failed', ?5, ?5, ?6, ?7, ?8)",
                params![id.to_string(), connection, kind.as_str(), trigger.as_str(), now(), code, error, detail],
            )?;
            Ok(())
        })
        .await
    }

    /// Marks operations whose process is no more as interrupted, and tells which: the next run goes on where they stopped.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn end_abandoned(&self) -> Result<Vec<(String, OperationKind)>> {
        self.write(move |tx, _| {
            let mut statement = tx.prepare(
                "select o.id, o.connection, o.kind, l.owner, l.held_until from operations o join connections c on c.name = o.connection
                 left join leases l on l.connection_id = c.id where o.outcome = 'running'",
            )?;
            let running = statement
                .query_map([], |row| {
                    let alive = row.get::<_, Option<String>>(3)?.zip(row.get(4)?).is_some_and(|(owner, until)| is_alive(&owner, until));
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, alive))
                })?
                .collect::<Result<Vec<_>, _>>()?;
            let mut abandoned = Vec::new();
            for (id, connection, kind, alive) in running {
                if alive {
                    continue;
                }
                tx.execute(
                    "update operations set outcome = 'interrupted', ended_at = ?2, error = 'its process ended' where id = ?1",
                    params![id, now()],
                )?;
                abandoned.push((connection, if kind == "sync" { OperationKind::Sync } else { OperationKind::Discover }));
            }
            Ok(abandoned)
        })
        .await
    }

    /// Asks whoever runs an operation to stop it at the next page. `None` when there is no such operation, else whether it runs.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn cancel(&self, operation: String) -> Result<Option<bool>> {
        self.end_abandoned().await?;
        self.write_durably(move |tx| {
            let outcome: Option<String> =
                tx.query_row("select outcome from operations where id = ?1", [&operation], |row| row.get(0)).optional()?;
            let Some(outcome) = outcome else { return Ok(None) };
            tx.execute("update operations set cancelled_at = ?2 where id = ?1 and outcome = 'running'", params![operation, now()])?;
            Ok(Some(outcome == "running"))
        })
        .await
    }
}

impl Reader {
    /// Whether somebody asked to stop the operation that runs on a connection.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn is_cancelled(&self, connection: &str) -> Result<bool> {
        Ok(self
            .0
            .prepare_cached("select 1 from operations where connection = ?1 and outcome = 'running' and cancelled_at is not null")?
            .exists([connection])?)
    }
}
