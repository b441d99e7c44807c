//! The first findings of a list, worst and newest first, without reading the others.
//!
//! The indexes by connection and by record hold each of its findings in the order of the list, one state after the other. They
//! are read backwards from there for each connection or record concerned, and the ends are merged. Findings with a CVE id
//! are few: they are all read, from an index.

use rusqlite::{Connection, params_from_iter, types::Value};
use tributary_connectors::model::{Severity, State};

use super::{FindingFilter, Reader, Result};

/// More records than this are not looked through one by one.
const RECORDS: usize = 1000;

/// Severity, time and row: what the list is ordered by.
type Place = (i64, i64, i64);

impl Reader {
    /// The first findings that a filter finds, at most this many: their `seq` in the view `finding_list`, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn first_findings(&self, filter: &FindingFilter, limit: usize) -> Result<Vec<i64>> {
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let few = !filter.ids.is_empty() || filter.cve.is_some();
        let mut found = if few { filter.all(&self.0, most)? } else { filter.ends(&self.0, most)? };
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, _, seq)| seq).collect())
    }
}

impl FindingFilter {
    /// By ids or a CVE id.
    fn all(&self, reader: &Connection, most: i64) -> Result<Vec<Place>> {
        let (condition, values) = self.condition();
        let from = if self.cve.is_some() { WITH_CVE } else { "finding_list" };
        let sql = format!(
            "select severity_rank, first_seen, seq from {from} where {condition} order by severity_rank desc, first_seen desc, seq desc limit {most}"
        );
        let mut statement = reader.prepare(&sql)?;
        let found = statement.query_map(params_from_iter(values), place)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// By anything else: the end of an index for each connection or record, and each state.
    fn ends(&self, reader: &Connection, most: i64) -> Result<Vec<Place>> {
        let (column, ids, records) = self.places(reader)?;
        let mut values = vec![Value::Null, Value::Null];
        let mut condition = String::new();
        if let Some(severity) = &self.severity {
            values.push(rank(severity).into());
            condition = " and severity_rank = ?3".to_owned();
        }
        if let Some(among) = records {
            condition.push_str(&format!(" and record_id in ({among})"));
        }
        let states: Vec<&str> = match &self.state {
            Some(state) => vec![state.as_str()],
            None => State::ALL.iter().map(|state| state.as_str()).collect(),
        };
        let mut statement = reader.prepare(&end_of(column, &condition, most))?;
        let mut found = Vec::new();
        for id in ids {
            values[0] = id.into();
            for state in &states {
                values[1] = Value::Text((*state).to_owned());
                let rows = statement.query_map(params_from_iter(&values), place)?;
                found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
            }
        }
        Ok(found)
    }

    /// The index to look into, by its first column and the values of that; where these are not exactly what is wanted, the
    /// records that are.
    fn places(&self, reader: &Connection) -> Result<(&'static str, Vec<i64>, Option<String>)> {
        let ids = |sql: &str, values: &[&Option<String>]| -> Result<Vec<i64>> {
            let mut statement = reader.prepare(sql)?;
            let ids = statement.query_map(params_from_iter(values), |row| row.get(0))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        };
        let connections = || {
            let sql = "select id from connections where (?1 is null or name = ?1) and (?2 is null or connector = ?2)";
            ids(sql, &[&self.connection, &self.connector])
        };
        if self.record.is_none() && self.product.is_none() {
            return Ok(("connection_id", connections()?, None));
        }
        let records = ids(
            "select r.id from record_rows r join connections c on c.id = r.connection_id left join products p on p.id = r.product_id
             where (?1 is null or c.name = ?1) and (?2 is null or c.connector = ?2) and (?3 is null or r.key = ?3)
             and (?4 is null or p.name = ?4)",
            &[&self.connection, &self.connector, &self.record, &self.product],
        )?;
        if records.len() <= RECORDS {
            return Ok(("record_id", records, None));
        }
        let among: Vec<String> = records.iter().map(ToString::to_string).collect();
        Ok(("connection_id", connections()?, Some(among.join(", "))))
    }
}

/// Those with any CVE id, read record by record, with the columns that a filter's condition names.
pub(super) const WITH_CVE: &str = "(select f.severity_rank, f.first_seen, f.seq, f.id, f.id_hash, f.state, f.severity, f.cve_list_id,
     c.name as connection, c.connector, r.key as record_key, p.name as product
     from record_rows r cross join finding_rows f on f.record_id = r.id and f.cve_list_id is not null
     join connections c on c.id = r.connection_id left join products p on p.id = r.product_id) as found";

/// The worst and newest findings of one connection or record in one state.
pub(super) fn end_of(column: &str, condition: &str, most: i64) -> String {
    format!(
        "select severity_rank, first_seen, seq from finding_rows where {column} = ?1 and state = ?2{condition}
         order by severity_rank desc, first_seen desc, seq desc limit {most}"
    )
}

fn place(row: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// A severity as the column `severity_rank` has it; none for a word that is none.
fn rank(severity: &str) -> i64 {
    let found = Severity::from_word(severity).and_then(|known| Severity::ALL.iter().position(|other| *other == known));
    found.and_then(|rank| i64::try_from(rank).ok()).unwrap_or(-1)
}
