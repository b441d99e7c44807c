//! Data on stdout: a table for people, JSON, NDJSON and CSV for machines.

use std::io::{IsTerminal, Write, stdout};

use serde_json::{Map, Value, json};
use tributary_connectors::model::text::visible;

use super::message::eprint_line;
use crate::{log::LAYOUT, store::Table};

/// Form of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One object a line.
    Ndjson,
    /// Values with commas between them, quoted where needed (RFC 4180).
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

impl From<Table> for Rows {
    fn from(Table { columns, rows }: Table) -> Self {
        Rows { columns, rows }
    }
}

impl Rows {
    /// Prints them; says on stderr when there are none.
    pub(super) fn print(self, format: Format, what: &str) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            eprint_line(&format!("No {what} match."));
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

/// Text on stdout. Whatever a vendor wrote into it, the terminal shows it and is not steered by it.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    stdout().lock().write_all(visible(text, LAYOUT).as_bytes())?;
    Ok(())
}

/// A value for people.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => return list.iter().map(cell).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    };
    visible(&text.replace("\r\n", "\n").replace('\t', "    "), LAYOUT).into_owned()
}

/// A value for spreadsheets, on one line. They take some texts for formulas: those begin with a quote.
fn csv_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let formula = !value.is_number() && text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    let text = visible(&text, &[]);
    if formula { format!("'{text}") } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a6_vendor_text_cannot_steer_a_terminal_or_a_spreadsheet() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb\u{202e}c")), "a\\u001b[2Jb\\u202ec");
        assert_eq!(cell(&json!(["a\r\n\tb", "c\u{200b}"])), "a\n    b\nc\\u200b");
        for formula in ["=cmd()", "+1", "-1", "@a", " =cmd()", "\t=cmd()", "＝cmd()"] {
            assert_eq!(csv_cell(&json!(formula)), format!("'{}", formula.replace('\t', "\\u0009")));
        }
        assert_eq!(csv_cell(&json!("a-b=c")), "a-b=c");
        assert_eq!(csv_cell(&json!(-1)), "-1");
        assert_eq!(csv_cell(&json!("a\u{1b}[2J\r\nb")), "a\\u001b[2J\\u000d\\u000ab");
    }
}
