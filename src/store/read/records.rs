//! Product records and products, and how the last sync of a connection ended.

use jiff::Timestamp;
use rusqlite::OptionalExtension;
use serde_json::Value;

use super::{Reader, Table};
use crate::store::{Result, passes::time};

/// The last sync of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSync {
    /// How it ended, or `running`.
    pub outcome: String,
    /// When.
    pub ended_at: Option<Timestamp>,
}

impl Reader {
    /// Records of a connection, or of all, in a state, or in any.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn records(&self, connection: Option<&str>, state: Option<&str>) -> Result<Table> {
        self.table(
            &["connection", "key", "name", "kind", "state", "product", "last_seen"],
            "from records where (?1 is null or connection = ?1) and (?2 is null or state = ?2) order by connection, name",
            &[&connection, &state],
        )
    }

    /// How many records of a connection are stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn record_count(&self, connection: &str) -> Result<i64> {
        Ok(self.0.query_row("select count(*) from records where connection = ?1", [connection], |row| row.get(0))?)
    }

    /// Records of a connection by state, an object for each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn record_states(&self, connection: &str) -> Result<Vec<Value>> {
        let sql = "select state, count(*) as records from records where connection = ?1 group by 1";
        Ok(self.objects(sql, &[&connection])?.into_iter().map(Value::Object).collect())
    }

    /// Every product, with how many records are mapped to it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn products(&self) -> Result<Table> {
        self.table(
            &["name", "records", "created_at"],
            "from (select p.name, p.created_at, (select count(*) from records r where r.product = p.name) as records from products p)
             order by name",
            &[],
        )
    }

    /// The last sync of a connection; `None` when there was none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_sync(&self, connection: &str) -> Result<Option<LastSync>> {
        let sql = "select outcome, ended_at from operations where connection = ?1 and kind = 'sync' order by seq desc limit 1";
        let found =
            self.0.query_row(sql, [connection], |row| Ok(LastSync { outcome: row.get(0)?, ended_at: time(row.get(1)?) })).optional()?;
        Ok(found)
    }
}
