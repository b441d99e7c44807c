//! What an operation counts.

use rusqlite::{Transaction, params};
use uuid::Uuid;

use super::Result;

/// What an operation counted. `fetched = created + updated + unchanged + reopened + filtered + rejected` always holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that the vendor delivered.
    pub fetched: u64,
    /// New rows.
    pub created: u64,
    /// Rows with a change.
    pub updated: u64,
    /// Rows without one.
    pub unchanged: u64,
    /// Rows that were closed and are open again.
    pub reopened: u64,
    /// Items that are not stored by a rule of ours.
    pub filtered: u64,
    /// Items that could not be read.
    pub rejected: u64,
    /// Rows closed because they are no longer listed.
    pub closed: u64,
}

impl Counts {
    /// The changes among them, for an operation's detail.
    pub(crate) fn detail(&self) -> serde_json::Value {
        serde_json::json!({ "created": self.created, "updated": self.updated, "reopened": self.reopened })
    }

    /// Adds a page's counts to its operation's row.
    pub(crate) fn add_to(&self, tx: &Transaction<'_>, operation: Uuid) -> Result<()> {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        tx.prepare_cached(
            "update operations set fetched = fetched + ?2, created = created + ?3, updated = updated + ?4, unchanged = unchanged + ?5,
             reopened = reopened + ?6, filtered = filtered + ?7, rejected = rejected + ?8, closed = closed + ?9 where id = ?1",
        )?
        .execute(params![
            operation.to_string(),
            number(self.fetched),
            number(self.created),
            number(self.updated),
            number(self.unchanged),
            number(self.reopened),
            number(self.filtered),
            number(self.rejected),
            number(self.closed)
        ])?;
        Ok(())
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.reopened += other.reopened;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.closed += other.closed;
    }
}
