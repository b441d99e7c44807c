//! What a new configuration changes.

use std::sync::Arc;

use crate::config::{Config, Connection};

/// The differences, a line each. Settings that only a restart can change keep their old values, and the line says so;
/// connections that did not change stay the same objects.
pub(super) fn changes(old: &Config, new: &mut Config) -> Vec<String> {
    let mut changes = Vec::new();
    let daemon = [
        ("store.url", old.daemon.store.url == new.daemon.store.url),
        ("store.keep_raw", old.daemon.store.keep_raw == new.daemon.store.keep_raw),
        ("server.listen", old.daemon.server.listen == new.daemon.server.listen),
        ("server.probe_listen", old.daemon.server.probe_listen == new.daemon.server.probe_listen),
    ];
    changes.extend(daemon.iter().filter(|(_, same)| !same).map(|(name, _)| format!("{name}: takes effect with the next restart")));
    if old.daemon.store.keep_operations != new.daemon.store.keep_operations {
        changes.push(format!("store.keep_operations: {}", new.daemon.store.keep_operations));
    }
    if old.daemon.runs != new.daemon.runs {
        changes.push(format!("daemon.concurrency: {}", new.daemon.runs.concurrency));
    }
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

/// What differs between two versions of a connection.
fn changed(old: &Connection, new: &Connection) -> Vec<&'static str> {
    let parts = [
        ("connector", old.entry.meta.id == new.entry.meta.id),
        ("location", old.location == new.location),
        ("label", old.label == new.label),
        ("enabled", old.enabled == new.enabled),
        ("discover", old.discover == new.discover),
        ("sync", old.sync == new.sync),
        ("timezone", old.timezone == new.timezone),
        ("auto_map", old.auto_map == new.auto_map),
        ("minimum_severity", old.minimum_severity == new.minimum_severity),
        ("import_closed", old.import_closed == new.import_closed),
        ("close_missing_after", old.close_missing_after == new.close_missing_after),
        ("full_sync_every", old.full_sync_every == new.full_sync_every),
        ("http", old.http == new.http),
        ("fields", old.fields == new.fields),
        ("secrets", old.secrets == new.secrets),
        ("credential_expires", old.credential_expires == new.credential_expires),
    ];
    parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}
