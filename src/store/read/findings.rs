//! Findings: lists of them, one with its history, and counts.

use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use super::{Reader, Table};
use crate::store::{FindingFilter, Result, raws, row};

impl Reader {
    /// The first findings that a filter finds, worst and newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn findings(&self, filter: &FindingFilter, limit: usize) -> Result<Table> {
        let mut first: Vec<String> = self.first_findings(filter, limit)?.iter().map(ToString::to_string).collect();
        if first.is_empty() {
            first.push("null".to_owned());
        }
        self.table(
            &["id", "connection", "severity", "state", "title", "component_name", "component_version", "record_key", "first_seen"],
            &format!("from finding_list where seq in ({}) order by severity_rank desc, first_seen desc, seq desc", first.join(", ")),
            &[],
        )
    }

    /// One finding with its `history` and the vendor's own item (`raw`), as an object.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn finding(&self, id: &str) -> Result<Option<Value>> {
        let found = self.objects("select * from finding_list where id_hash = ?1 and id = ?2", &[&row::Id::hash_of(id), &id])?.pop();
        let Some(mut finding) = found else { return Ok(None) };
        for private in ["seq", "id_hash", "severity_rank", "cve_list_id"] {
            finding.remove(private);
        }
        let history = self.objects(
            "select at, event, field, old_value, new_value, operation from finding_events where finding_id = ?1 order by id",
            &[&id],
        )?;
        finding.insert("history".into(), history.into_iter().map(Value::Object).collect());
        let raw = self.raw(id)?.map(|raw| serde_json::from_str(&raw).unwrap_or(Value::String(raw)));
        finding.insert("raw".into(), raw.unwrap_or(Value::Null));
        Ok(Some(finding.into()))
    }

    /// The vendor's own item of a finding, as it came.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn raw(&self, finding: &str) -> Result<Option<String>> {
        let found: Option<(Vec<u8>, i64, i64)> = self
            .0
            .query_row(
                "select b.body, f.raw_at, f.raw_length from finding_rows f join raw_blocks b on b.id = f.raw_block
                 where f.id_hash = ?1 and f.id = ?2",
                params![row::Id::hash_of(finding), finding],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        Ok(found.and_then(|(body, at, length)| raws::item(&body, at, length)))
    }

    /// Findings by connection and state, with a column for each severity.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn findings_by_severity(&self) -> Result<Table> {
        const COLUMNS: [&str; 8] = ["connection", "state", "critical", "high", "medium", "low", "info", "unknown"];
        let counts: Vec<String> =
            COLUMNS[2..].iter().map(|word| format!("count(*) filter (where severity = '{word}') as \"{word}\"")).collect();
        let counted = format!("from (select connection, state, {} from findings group by 1, 2) order by 1, 2", counts.join(", "));
        self.table(&COLUMNS, &counted, &[])
    }

    /// How many findings of a connection are open.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open_findings(&self, connection: &str) -> Result<i64> {
        Ok(self.0.query_row("select count(*) from findings where connection = ?1 and state = 'open'", [connection], |row| row.get(0))?)
    }

    /// Findings of a connection by state and severity, an object for each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn finding_states(&self, connection: &str) -> Result<Vec<Value>> {
        let sql = "select state, severity, count(*) as findings from findings where connection = ?1 group by 1, 2 order by 1, 2";
        Ok(self.objects(sql, &[&connection])?.into_iter().map(Value::Object).collect())
    }
}
