//! Operations: one run of discover or sync on one connection, with what it counted.

use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::{Counts, Lease, Result, Store, now, triage};
use crate::failpoint;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$word_doc])* $variant),+ }

        impl $name {
            /// The word as it stands in the store.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// What an operation does.
    OperationKind {
        /// Reads the product records.
        Discover = "discover",
        /// Reads everything else.
        Sync = "sync",
    }
}

words! {
    /// Why an operation runs.
    Trigger {
        /// Its time had come.
        Schedule = "schedule",
        /// Somebody asked for it.
        Manual = "manual",
        /// The daemon started and it was overdue.
        Startup = "startup",
        /// The command `tributary run --once`.
        Once = "once",
    }
}

words! {
    /// How an operation ended.
    Outcome {
        /// Everything was read.
        Success = "success",
        /// Some of it could not be read; nothing of that was closed.
        Partial = "partial",
        /// Nothing could be read.
        Failed = "failed",
        /// It was stopped, or its process died; the next one goes on.
        Interrupted = "interrupted",
        /// Everything was read, but closes wait for an operator.
        Held = "held",
        /// It was due and did not run.
        Skipped = "skipped",
    }
}

impl Store {
    /// Opens an operation. One that is still marked running on this connection lost its process: it is marked interrupted.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn begin_operation(&self, lease: &Lease, kind: OperationKind, trigger: Trigger) -> Result<Uuid> {
        let lease = lease.clone();
        let id = Uuid::now_v7();
        self.write(move |tx, _| {
            lease.extend(tx)?;
            let name = connection_name(tx, lease.connection_id)?;
            tx.execute(
                "update operations set outcome = 'interrupted', ended_at = ?2 where connection = ?1 and outcome = 'running'",
                params![name, now()],
            )?;
            triage::lift(tx, lease.connection_id, id, now())?;
            tx.execute(
                "insert into operations (id, connection, kind, trigger, outcome, started_at) values (?1, ?2, ?3, ?4, 'running', ?5)",
                params![id.to_string(), name, kind.as_str(), trigger.as_str(), now()],
            )?;
            failpoint::pass("operation.begin");
            Ok(id)
        })
        .await
    }

    /// Closes an operation.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn end_operation(
        &self,
        id: Uuid,
        outcome: Outcome,
        error: Option<(&'static str, String)>,
        detail: serde_json::Value,
        vendor_total: Option<u64>,
    ) -> Result<Counts> {
        let (code, error) = error.unzip();
        let counts = self.write_or_defer(move |tx| {
            let total = vendor_total.map(|total| i64::try_from(total).unwrap_or(i64::MAX));
            tx.execute(
                "update operations set outcome = ?2, ended_at = ?3, code = ?4, error = ?5, detail = ?6, vendor_total = ?7 where id = ?1",
                params![id.to_string(), outcome.as_str(), now(), code, error, detail.to_string(), total],
            )?;
            failpoint::pass("operation.end");
            let columns = Counts::NAMES.join(", ");
            Ok(tx.query_row(&format!("select {columns} from operations where id = ?1"), [id.to_string()], Counts::read)?)
        });
        let counts = counts.await?;
        failpoint::pass("operation.ended");
        Ok(counts)
    }

    /// Deletes operations that ended before this time; findings and their history stay.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune_operations(&self, before: jiff::Timestamp) -> Result<()> {
        let before = before.as_microsecond();
        self.write(move |tx, _| {
            tx.execute("delete from operations where ended_at < ?1", [before])?;
            Ok(())
        })
        .await
    }

    /// When the last operation of this kind on a connection started that read something; for the schedule.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_operation(&self, connection: &str, kind: OperationKind) -> Result<Option<jiff::Timestamp>> {
        let reader = self.reader()?.0;
        let started: Option<i64> = reader
            .query_row(
                "select started_at from operations where connection = ?1 and kind = ?2
                 and outcome not in ('skipped', 'failed', 'interrupted') order by seq desc limit 1",
                params![connection, kind.as_str()],
                |row| row.get(0),
            )
            .optional()?;
        Ok(started.and_then(|at| jiff::Timestamp::from_microsecond(at).ok()))
    }
}

pub(crate) fn connection_name(tx: &Transaction<'_>, id: i64) -> Result<String> {
    Ok(tx.prepare_cached("select name from connections where id = ?1")?.query_row([id], |row| row.get(0))?)
}
