//! What is stored, and what is supported.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tributary_connectors::{CONNECTORS, Registration};

use super::{
    error::NotFound,
    exit::Exit,
    message,
    output::{self, Format, Rows},
    run::{Seen, look, select},
    timeline, words,
};
use crate::store::{FindingFilter, LastSync, Table};

pub(super) fn connectors(id: Option<&str>, format: Format) -> anyhow::Result<Exit> {
    let Some(id) = id else {
        let rows = CONNECTORS
            .iter()
            .map(|entry| vec![entry.meta.id.into(), entry.meta.title.into(), entry.meta.record.into(), entry.meta.docs.into()])
            .collect();
        Rows { columns: vec!["id", "tool", "record", "docs"], rows }.print(format, "connectors")?;
        return Ok(Exit::Ok);
    };
    let entry = Registration::find(id).ok_or_else(|| {
        let known: Vec<String> = CONNECTORS.iter().map(|entry| entry.meta.id.to_owned()).collect();
        match Registration::planned(id) {
            Some(id) => NotFound::new("connector", id).fix("it is not built yet: `tributary connectors` lists those that are".to_owned()),
            None => NotFound::new("connector", id).among(&known, "tributary connectors"),
        }
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
        let never = || LastSync { outcome: "never synced".to_owned(), ended_at: None };
        let last = reader.last_sync(&connection.name)?.unwrap_or_else(never);
        rows.push(vec![
            connection.name.clone().into(),
            connection.entry.meta.id.into(),
            connection.location.to_string().into(),
            if connection.enabled { last.outcome.into() } else { "disabled".into() },
            last.ended_at.map_or(Value::Null, |at| at.to_string().into()),
            reader.record_count(&connection.name)?.into(),
            reader.open_findings(&connection.name)?.into(),
        ]);
    }
    Rows { columns: vec!["name", "connector", "location", "last_sync", "ended_at", "records", "open"], rows }
        .print(format, "connections")?;
    Ok(Exit::Ok)
}

pub(super) fn connection(paths: &[PathBuf], name: &str, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    let connection = select(config, &[name.to_owned()])?[0];
    let secrets: Map<String, Value> =
        connection.secrets.iter().map(|(field, reference)| (field.clone(), format!("<{reference}>").into())).collect();
    let (states, records) = (reader.finding_states(name)?, reader.record_states(name)?);
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
    list(reader.records(connection, state)?, format, "records")
}

pub(super) fn findings(paths: &[PathBuf], filter: &FindingFilter, limit: u32, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    words::findings(config, reader, filter)?;
    list(reader.findings(filter, limit as usize)?, format, "findings")
}

pub(super) fn finding(paths: &[PathBuf], id: &str, format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    let finding = reader.finding(id)?.ok_or_else(|| NotFound::new("finding", id).fix(message::list("findings")))?;
    output::object(&finding, format)?;
    Ok(Exit::Ok)
}

pub(super) fn operations(paths: &[PathBuf], format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    list(reader.operations()?, format, "operations")
}

pub(super) fn products(paths: &[PathBuf], format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    list(reader.products()?, format, "products")
}

pub(super) fn quarantine(paths: &[PathBuf], connection: Option<&str>, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    words::connection(config, reader, connection)?;
    list(reader.quarantine(connection)?, format, "items in quarantine")
}

pub(super) fn quarantined(paths: &[PathBuf], id: i64, format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    let not_found = || NotFound::new("item in quarantine", id.to_string()).fix(message::list("quarantine"));
    output::object(&reader.quarantined(id)?.ok_or_else(not_found)?, format)?;
    Ok(Exit::Ok)
}

/// How far each list of a connection was read.
pub(super) fn state(paths: &[PathBuf], connection: &str, format: Format) -> anyhow::Result<Exit> {
    let Seen { config, reader, .. } = &look(paths)?;
    select(config, &[connection.to_owned()])?;
    list(reader.scope_states(connection)?, format, "lists")
}

pub(super) fn operation(paths: &[PathBuf], id: &str, format: Format) -> anyhow::Result<Exit> {
    let Seen { reader, .. } = &look(paths)?;
    let operation = reader.operation(id)?.ok_or_else(|| NotFound::new("operation", id).fix(message::list("operations")))?;
    if format == Format::Table {
        output::text(&timeline::render(&operation))?;
    } else {
        output::object(&operation, format)?;
    }
    Ok(Exit::Ok)
}

fn list(found: Table, format: Format, what: &str) -> anyhow::Result<Exit> {
    Rows::from(found).print(format, what)?;
    Ok(Exit::Ok)
}
