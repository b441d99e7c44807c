//! What a new configuration changes.

use std::sync::Arc;

use crate::config::{CONNECTION_SETTINGS, Config, Connection, Daemon, PROCESS_SETTINGS};

/// The differences, a line each. Settings that only a restart can change keep their old values, and the line says so;
/// connections that did not change stay the same objects.
pub(super) fn changes(old: &Config, new: &mut Config) -> Vec<String> {
    let mut changes = process_changes(&old.daemon, &new.daemon);
    let keep_operations = std::mem::take(&mut new.daemon.store.keep_operations);
    let runs = std::mem::take(&mut new.daemon.runs);
    new.daemon = old.daemon.clone();
    new.daemon.store.keep_operations = keep_operations;
    new.daemon.runs = runs;
    for connection in &mut new.connections {
        let Some(before) = old.connections.iter().find(|before| before.name == connection.name) else {
            changes.push(format!("added {}", connection.name));
            continue;
        };
        let parts = changed(before, connection);
        if parts.is_empty() {
            *connection = Arc::clone(before);
        } else {
            changes.push(format!("changed {}: {}", connection.name, parts.join(", ")));
        }
    }
    let gone = old.connections.iter().filter(|before| new.connections.iter().all(|connection| connection.name != before.name));
    changes.extend(gone.map(|before| format!("removed {}; what is stored of it stays", before.name)));
    changes
}

/// The settings of the process that differ.
fn process_changes(old: &Daemon, new: &Daemon) -> Vec<String> {
    let value = |daemon: &Daemon, section: &str, key: &str| -> Option<toml::Value> {
        let table = toml::Table::try_from(daemon).ok()?;
        table.get(section)?.get(key).cloned()
    };
    let mut changes = Vec::new();
    for (section, settings) in PROCESS_SETTINGS {
        for setting in *settings {
            let now = value(new, section, setting.key);
            if now == value(old, section, setting.key) {
                continue;
            }
            let what = match now.filter(|_| setting.live) {
                Some(toml::Value::String(text)) => text,
                Some(value) => value.to_string(),
                None => "takes effect with the next restart".to_owned(),
            };
            changes.push(format!("{section}.{}: {what}", setting.key));
        }
    }
    changes
}

/// What differs between two versions of a connection.
fn changed(old: &Connection, new: &Connection) -> Vec<&'static str> {
    CONNECTION_SETTINGS.iter().filter(|setting| !(setting.same)(old, new)).map(|setting| setting.key).collect()
}
