//! Names of what is stored: whether there is one, and which ones there are.

use std::path::Path;

use super::{Reader, Result, file, row::Id};

/// States of a product record.
pub const RECORD_STATES: &[&str] = &["new", "good", "ignored", "stale", "missing"];
/// A name that is not there is compared with at most this many that are.
const MAX_NAMES_COMPARED: usize = 20_000;

/// What has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A connection that was ever used, configured or not.
    Connection,
    /// A product record, by its key; a deleted one too, as its findings stay.
    Record,
    /// A product, by its name.
    Product,
}

impl Named {
    const fn table(self) -> (&'static str, &'static str) {
        match self {
            Named::Connection => ("connections", "name"),
            Named::Record => ("record_rows", "key"),
            Named::Product => ("products", "name"),
        }
    }
}

impl Reader {
    /// Whether there is one of this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has(&self, what: Named, name: &str) -> Result<bool> {
        let (table, column) = what.table();
        Ok(self.0.query_row(&format!("select exists (select 1 from {table} where {column} = ?1)"), [name], |row| row.get(0))?)
    }

    /// Every name, up to a limit.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn names(&self, what: Named) -> Result<Vec<String>> {
        let (table, column) = what.table();
        let mut statement = self.0.prepare(&format!("select distinct {column} from {table} order by 1 limit {MAX_NAMES_COMPARED}"))?;
        let names = statement.query_map([], |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    /// Those of these ids that no finding has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ids_without_finding(&self, ids: &[String]) -> Result<Vec<String>> {
        let mut found = self.0.prepare("select exists (select 1 from finding_rows where id_hash = ?1 and id = ?2)")?;
        let mut missing = Vec::new();
        for id in ids {
            if !found.query_row(rusqlite::params![Id::hash_of(id), id], |row| row.get(0))? {
                missing.push(id.clone());
            }
        }
        Ok(missing)
    }
}

/// Whether there is a database at this path, or something that is to be told of by whoever opens it.
pub fn is_there(path: &Path) -> bool {
    let path = file::real(path);
    let is_missing = |path: &Path| std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    !(is_missing(&path) && is_missing(&file::beside(&path, file::BESIDE[0])))
}
