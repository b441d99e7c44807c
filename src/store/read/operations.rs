//! Operations, what they left in quarantine, and how far each scope was read.

use serde_json::Value;

use super::{Reader, Table};
use crate::store::{Counts, Result};

impl Reader {
    /// The newest hundred operations.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn operations(&self) -> Result<Table> {
        let columns = ["id", "connection", "kind", "trigger", "outcome", "started_at"].iter().chain(Counts::NAMES).chain(&["vendor_total"]);
        self.table(&columns.copied().collect::<Vec<_>>(), "from operations order by seq desc limit 100", &[])
    }

    /// One operation, as an object.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn operation(&self, id: &str) -> Result<Option<Value>> {
        Ok(self.objects("select * from operations where id = ?1", &[&id])?.pop().map(Value::Object))
    }

    /// Items in quarantine of a connection, or of all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn quarantine(&self, connection: Option<&str>) -> Result<Table> {
        self.table(
            &["id", "connection", "scope", "outcome", "key", "path", "reason", "items", "at"],
            "from quarantine where (?1 is null or connection = ?1) order by connection, scope, id",
            &[&connection],
        )
    }

    /// One item in quarantine, with the vendor's own text, as an object.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn quarantined(&self, id: i64) -> Result<Option<Value>> {
        let sql = "select id, operation, connection, scope, outcome, key, path, reason, raw, items, at from quarantine where id = ?1";
        Ok(self.objects(sql, &[&id])?.pop().map(Value::Object))
    }

    /// How far each scope of a connection was read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn scope_states(&self, connection: &str) -> Result<Table> {
        self.table(
            &["list", "title", "full_at", "watermark", "mark", "full_due", "pages_read"],
            "from (select s.list, s.title, s.full_at, s.watermark, s.mark, s.full_requested > s.full_served as full_due, p.pages as pages_read
             from scopes s join connections c on c.id = s.connection_id left join passes p on p.scope_id = s.id where c.name = ?1)
             order by list, title",
            &[&connection],
        )
    }
}
