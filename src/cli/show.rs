//! What is stored, and what is supported.

use std::path::PathBuf;

use rusqlite::{OptionalExtension, ToSql, types::ValueRef};
use serde_json::{Map, Value, json};
use tributary_connectors::{Entry, SOURCES};

use super::{
    error::NotFound,
    exit::Exit,
    message,
    output::{self, Format, Rows},
    run::{Seen, choose, look},
    timeline, words,
};
use crate::store::{Counts, FindingFilter, Store};

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
];
/// Columns that hold JSON.
const JSON: &[&str] = &["cve", "cwe", "identifiers", "reference_urls", "tags", "attributes", "detail"];

pub(super) fn connectors(id: Option<&str>, format: Format) -> anyhow::Result<Exit> {
    let Some(id) = id else {
        let rows = SOURCES
            .iter()
            .map(|entry| vec![entry.meta.id.into(), entry.meta.title.into(), entry.meta.record.into(), entry.meta.docs.into()])
            .collect();
        Rows { columns: vec!["id", "tool", "record", "docs"], rows }.print(format, "connectors")?;
        return Ok(Exit::Ok);
    };
    let entry = Entry::find(id).ok_or_else(|| {
        let known: Vec<String> = SOURCES.iter().map(|entry| entry.meta.id.to_owned()).collect();
        NotFound::new("connector", id).among(&known, "tributary connectors")
    })?;
    let meta = entry.meta;
    let schema = entry.schema();
    if format != Format::Table {
        output::object(
            &json!({ "id": meta.id, "title": meta.title, "docs": meta.docs, "record": meta.record, "permissions": meta.permissions, "location": meta.location_help, "fields": schema }),
            format,
        )?;
        return Ok(Exit::Ok);
    }
    let mut text = format!(
        "{} ({})\n  docs         {}\n  a record is  {}\n  permissions  {}\n  location     {}\n",
        meta.title,
        meta.id,
        meta.docs,
        meta.record,
        meta.permissions.join(", "),
        meta.location_help
    );
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let width = properties.into_iter().flatten().map(|(name, _)| name.len()).fold(12, usize::max);
    for (name, property) in properties.into_iter().flatten() {
        let secret = if property.get("format").is_some_and(|form| form == "password") { ", secret" } else { "" };
        let needed = if required.contains(&name.as_str()) { "required" } else { "optional" };
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("  {name:width$} {about} ({needed}{secret})\n"));
    }
    output::text(&text)?;
    Ok(Exit::Ok)
}

pub(super) fn connections(paths: &[PathBuf], format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    let mut rows = Vec::new();
    for connection in &config.connections {
        let count = |sql: &str| -> rusqlite::Result<Value> {
            reader.query_row(sql, [&connection.name], |row| row.get::<_, i64>(0)).map(Value::from)
        };
        let last: Option<(String, Option<i64>)> = reader
            .query_row(
                "select outcome, ended_at from operations where connection = ?1 and kind = 'sync' order by seq desc limit 1",
                [&connection.name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let (outcome, ended) = last.unwrap_or_else(|| ("never synced".to_owned(), None));
        rows.push(vec![
            connection.name.clone().into(),
            connection.entry.meta.id.into(),
            connection.location.to_string().into(),
            if connection.enabled { outcome.into() } else { "disabled".into() },
            output::time(ended),
            count("select count(*) from records where connection = ?1")?,
            count("select count(*) from findings where connection = ?1 and state = 'open'")?,
        ]);
    }
    Rows { columns: vec!["name", "connector", "location", "last_sync", "ended_at", "records", "open"], rows }
        .print(format, "connections")?;
    Ok(Exit::Ok)
}

pub(super) fn connection(paths: &[PathBuf], name: &str, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    let connection = choose(config, &[name.to_owned()])?[0];
    let secrets: Map<String, Value> =
        connection.secrets.iter().map(|(field, reference)| (field.clone(), format!("<{reference}>").into())).collect();
    let states = query(
        reader,
        "select state, severity, count(*) as findings from findings where connection = ?1 group by 1, 2 order by 1, 2",
        &[&name],
    )?;
    let records = query(reader, "select state, count(*) as records from records where connection = ?1 group by 1", &[&name])?;
    let value = json!({
        "name": connection.name, "label": connection.label, "connector": connection.entry.meta.id, "location": connection.location.to_string(),
        "enabled": connection.enabled, "secrets": secrets, "fields": connection.fields, "records": records, "findings": states,
    });
    output::object(&value, format)?;
    Ok(Exit::Ok)
}

pub(super) fn records(paths: &[PathBuf], connection: Option<&str>, state: Option<&str>, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    words::connection(config, reader, connection)?;
    list(
        reader,
        &["connection", "key", "name", "kind", "state", "product", "last_seen"],
        "from records where (?1 is null or connection = ?1) and (?2 is null or state = ?2) order by connection, name",
        &[&connection, &state],
        format,
        "records",
    )
}

/// Findings by connection and state, with a column for each severity.
#[cfg(feature = "demo")]
pub(super) fn overview(reader: &rusqlite::Connection) -> anyhow::Result<Rows> {
    const COLUMNS: [&str; 8] = ["connection", "state", "critical", "high", "medium", "low", "info", "unknown"];
    let counts: Vec<String> =
        COLUMNS[2..].iter().map(|word| format!("count(*) filter (where severity = '{word}') as \"{word}\"")).collect();
    let found = query(reader, &format!("select connection, state, {} from findings group by 1, 2 order by 1, 2", counts.join(", ")), &[])?;
    Ok(Rows {
        columns: COLUMNS.to_vec(),
        rows: found.into_iter().map(|mut row| COLUMNS.iter().map(|name| row[*name].take()).collect()).collect(),
    })
}

pub(super) fn findings(paths: &[PathBuf], filter: &FindingFilter, limit: u32, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    words::findings(config, reader, filter)?;
    let mut first: Vec<String> = filter.first(reader, limit as usize)?.iter().map(ToString::to_string).collect();
    if first.is_empty() {
        first.push("null".to_owned());
    }
    list(
        reader,
        &["id", "connection", "severity", "state", "title", "component_name", "component_version", "record_key", "first_seen"],
        &format!("from finding_list where seq in ({}) order by severity_rank desc, first_seen desc, seq desc", first.join(", ")),
        &[],
        format,
        "findings",
    )
}

pub(super) fn finding(paths: &[PathBuf], id: &str, format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    let mut found = query(reader, "select * from finding_list where id_hash = ?1 and id = ?2", &[&Store::id_hash(id), &id])?;
    let Some(Value::Object(mut finding)) = found.pop() else {
        return Err(NotFound::new("finding", id).fix(message::list("findings")).into());
    };
    for private in ["seq", "id_hash", "severity_rank", "cve_list_id"] {
        finding.remove(private);
    }
    finding.insert(
        "history".into(),
        query(
            reader,
            "select at, event, field, old_value, new_value, operation from finding_events where finding_id = ?1 order by id",
            &[&id],
        )?
        .into(),
    );
    let store_raw = Store::raw(reader, id)?;
    finding.insert("raw".into(), store_raw.map_or(Value::Null, |raw| serde_json::from_str(&raw).unwrap_or(Value::String(raw))));
    output::object(&Value::Object(finding), format)?;
    Ok(Exit::Ok)
}

pub(super) fn operations(paths: &[PathBuf], format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    let counts = Counts::NAMES.iter().copied();
    let columns: Vec<&str> =
        ["id", "connection", "kind", "trigger", "outcome", "started_at"].into_iter().chain(counts).chain(["vendor_total"]).collect();
    list(reader, &columns, "from operations order by seq desc limit 100", &[], format, "operations")
}

pub(super) fn products(paths: &[PathBuf], format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    list(
        reader,
        &["name", "records", "created_at"],
        "from (select p.name, p.created_at, (select count(*) from records r where r.product = p.name) as records from products p) order by name",
        &[],
        format,
        "products",
    )
}

pub(super) fn quarantine(paths: &[PathBuf], connection: Option<&str>, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    words::connection(config, reader, connection)?;
    list(
        reader,
        &["id", "connection", "scope", "outcome", "key", "path", "reason", "items", "at"],
        "from quarantine where (?1 is null or connection = ?1) order by connection, scope, id",
        &[&connection],
        format,
        "items in quarantine",
    )
}

pub(super) fn quarantined(paths: &[PathBuf], id: i64, format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    let found = query(
        reader,
        "select id, operation, connection, scope, outcome, key, path, reason, raw, items, at from quarantine where id = ?1",
        &[&id],
    )?;
    output::object(
        found.first().ok_or_else(|| NotFound::new("item in quarantine", id.to_string()).fix(message::list("quarantine")))?,
        format,
    )?;
    Ok(Exit::Ok)
}

/// How far each list of a connection was read.
pub(super) fn state(paths: &[PathBuf], connection: &str, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    choose(config, &[connection.to_owned()])?;
    list(
        reader,
        &["list", "title", "full_at", "watermark", "mark", "full_due", "pages_read"],
        "from (select s.list, s.title, s.full_at, s.watermark, s.mark, s.full_requested > s.full_served as full_due, p.pages as pages_read from scopes s
         join connections c on c.id = s.connection_id left join passes p on p.scope_id = s.id where c.name = ?1) order by list, title",
        &[&connection],
        format,
        "lists",
    )
}

pub(super) fn operation(paths: &[PathBuf], id: &str, format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    let found = query(reader, "select * from operations where id = ?1", &[&id])?;
    let operation = found.first().ok_or_else(|| NotFound::new("operation", id).fix(message::list("operations")))?;
    if format == Format::Table {
        output::text(&timeline::of(operation))?;
    } else {
        output::object(operation, format)?;
    }
    Ok(Exit::Ok)
}

fn list(
    reader: &rusqlite::Connection,
    columns: &[&'static str],
    rest: &str,
    parameters: &[&dyn ToSql],
    format: Format,
    what: &str,
) -> anyhow::Result<Exit> {
    let found = query(reader, &format!("select {} {rest}", columns.join(", ")), parameters)?;
    let row = |mut object: Value| columns.iter().map(|name| object[*name].take()).collect();
    Rows { columns: columns.to_vec(), rows: found.into_iter().map(row).collect() }.print(format, what)?;
    Ok(Exit::Ok)
}

/// Rows as objects in their outer form: times as RFC 3339, lists as lists.
fn query(reader: &rusqlite::Connection, sql: &str, parameters: &[&dyn ToSql]) -> anyhow::Result<Vec<Value>> {
    let mut statement = reader.prepare(sql)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut object = Map::new();
        for (index, name) in names.iter().enumerate() {
            let value = match row.get_ref(index)? {
                ValueRef::Null | ValueRef::Blob(_) => Value::Null,
                ValueRef::Integer(at) if TIMES.contains(&name.as_str()) => output::time(Some(at)),
                ValueRef::Integer(number) if name == "exploited" || name == "fix_available" => Value::Bool(number != 0),
                ValueRef::Integer(number) => number.into(),
                ValueRef::Real(number) => number.into(),
                ValueRef::Text(text) => {
                    let text = String::from_utf8_lossy(text);
                    if JSON.contains(&name.as_str()) { serde_json::from_str(&text).unwrap_or(Value::Null) } else { text.into() }
                }
            };
            object.insert(name.clone(), value);
        }
        found.push(Value::Object(object));
    }
    Ok(found)
}
