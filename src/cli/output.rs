//! Data on stdout: a table for people, JSON, NDJSON and CSV for machines.

use std::io::{IsTerminal, Write, stdout};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Form of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns for people.
    Table,
    /// One document.
    Json,
    /// One object a line.
    Ndjson,
    /// Comma-separated, quoted.
    Csv,
}

/// Rows with named columns.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// Values in the order of the columns.
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// Prints them; says on stderr when there are none.
    pub(super) fn print(self, format: Format, what: &str) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            super::exit::say(&format!("No {what} match."));
        }
        let objects = |row: Vec<Value>| Value::Object(self.columns.iter().map(|name| (*name).to_owned()).zip(row).collect::<Map<_, _>>());
        match format {
            Format::Table if self.rows.is_empty() => Ok(()),
            Format::Table => {
                let mut table = comfy_table::Table::new();
                table.load_style(comfy_table::presets::NOTHING).set_header(self.columns.iter().map(|name| name.to_uppercase()));
                if stdout().is_terminal() {
                    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
                }
                for row in &self.rows {
                    table.add_row(row.iter().map(cell));
                }
                text(&format!("{}\n", table.trim_fmt()))
            }
            Format::Json => {
                let items: Vec<Value> = self.rows.into_iter().map(objects).collect();
                text(&format!("{:#}\n", json!({ "schema": "tributary/v1", "items": items, "next": null })))
            }
            Format::Ndjson => text(&self.rows.into_iter().map(|row| format!("{}\n", objects(row))).collect::<String>()),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(stdout().lock());
                writer.write_record(&self.columns)?;
                for row in &self.rows {
                    writer.write_record(row.iter().map(csv_cell))?;
                }
                writer.flush()?;
                Ok(())
            }
        }
    }
}

/// One object, all of it.
pub(super) fn object(value: &Value, format: Format) -> anyhow::Result<()> {
    match (format, value) {
        (Format::Json, _) => text(&format!("{value:#}\n")),
        (Format::Ndjson, _) => text(&format!("{value}\n")),
        (_, Value::Object(members)) => {
            let width = members.keys().map(String::len).max().unwrap_or(0);
            let lines = members.iter().filter(|(_, value)| !value.is_null());
            text(
                &lines
                    .map(|(name, value)| format!("{name:width$}  {}\n", cell(value).replace('\n', &format!("\n{:width$}  ", ""))))
                    .collect::<String>(),
            )
        }
        _ => text(&format!("{value}\n")),
    }
}

/// Text on stdout as it is.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// A value for people: vendors' text without control characters.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    };
    text.chars()
        .filter(|c| *c == '\n' || !(c.is_control() || ('\u{202a}'..='\u{202e}').contains(c) || ('\u{2066}'..='\u{2069}').contains(c)))
        .collect()
}

/// A value for spreadsheets, which take some texts for formulas.
fn csv_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !value.is_number() { format!("'{text}") } else { text }
}

/// A stored time in its outer form.
pub(super) fn time(microseconds: Option<i64>) -> Value {
    microseconds.and_then(|at| Timestamp::from_microsecond(at).ok()).map_or(Value::Null, |at| at.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a6_vendor_text_cannot_steer_a_terminal_or_a_spreadsheet() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb\u{202e}c")), "a[2Jbc");
        assert_eq!(csv_cell(&json!("=cmd()")), "'=cmd()");
        assert_eq!(csv_cell(&json!(-1)), "-1");
    }
}
