//! Rows with named columns, for lists that are shown as they are.

use jiff::Timestamp;
use rusqlite::{ToSql, types::ValueRef};
use serde_json::{Map, Value};

use super::Reader;
use crate::store::Result;

/// Columns that hold times.
const TIMES: &[&str] = &[
    "first_seen",
    "last_seen",
    "state_since",
    "started_at",
    "ended_at",
    "closed_at",
    "updated_at",
    "vendor_first_seen",
    "vendor_last_seen",
    "at",
    "last_success",
    "created_at",
    "triage_until",
    "full_at",
    "watermark",
    "vendor_created",
    "password_changed",
    "last_login",
    "scored_at",
];
/// Columns that hold JSON.
const JSON: &[&str] = &["cve", "cwe", "identifiers", "reference_urls", "tags", "attributes", "detail", "mfa_methods", "factors"];

/// Columns that hold 0 or 1.
const FLAGS: &[&str] = &["exploited", "fix_available", "mfa", "admin"];

/// Rows with named columns, in their outer form: times as RFC 3339, lists as lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// Values in the order of the columns.
    pub rows: Vec<Vec<Value>>,
}

impl Reader {
    /// These columns of what `rest` selects.
    pub(super) fn table(&self, columns: &[&'static str], rest: &str, parameters: &[&dyn ToSql]) -> Result<Table> {
        let found = self.objects(&format!("select {} {rest}", columns.join(", ")), parameters)?;
        let row = |mut object: Map<String, Value>| columns.iter().map(|name| object.remove(*name).unwrap_or(Value::Null)).collect();
        Ok(Table { columns: columns.to_vec(), rows: found.into_iter().map(row).collect() })
    }

    /// Each row as an object.
    pub(super) fn objects(&self, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Map<String, Value>>> {
        let mut statement = self.0.prepare(sql)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query(parameters)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values = names.iter().enumerate().map(|(at, name)| Ok((name.clone(), outer(name, row.get_ref(at)?))));
            found.push(values.collect::<Result<_>>()?);
        }
        Ok(found)
    }
}

/// A value in its outer form.
fn outer(column: &str, value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
        ValueRef::Integer(at) if TIMES.contains(&column) => Timestamp::from_microsecond(at).map_or(Value::Null, |at| at.to_string().into()),
        ValueRef::Integer(flag) if FLAGS.contains(&column) => Value::Bool(flag != 0),
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            if JSON.contains(&column) { serde_json::from_str(&text).unwrap_or(Value::Null) } else { text.into() }
        }
    }
}
