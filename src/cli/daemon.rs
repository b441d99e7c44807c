//! How the daemon stands, and what it is told: `status`, `health`, `config reload`, `connections pause`, `operations cancel`.

use std::{path::PathBuf, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    error::{NoDaemon, NotFound},
    exit::Exit,
    message,
    output::{self, Format, Rows},
    run,
};
use crate::{
    config::Config,
    daemon,
    status::{self, ConnectionState, ConnectionStatus, days_left, span},
    store::Store,
};

/// One line per connection, read from the store: also true without a daemon.
pub(super) fn status(paths: &[PathBuf], format: Format) -> anyhow::Result<Exit> {
    let run::Seen { config, store, .. } = &run::look(paths)?;
    let now = crate::clock::now();
    let connections = status::read(store, config, now)?;
    match daemon::holder(&config.daemon.store.path()) {
        Some(holder) => message::eprint_line(&format!(
            "daemon: process {}, {}",
            holder.pid,
            holder.listen.map_or_else(|| "no HTTP server".to_owned(), |address| format!("http://{address}"))
        )),
        None => message::eprint_line("daemon: none runs on this database"),
    }
    if format != Format::Table {
        let rows = connections.iter().map(|one| match serde_json::to_value(one) {
            Ok(Value::Object(members)) => COLUMNS.iter().map(|name| members.get(*name).cloned().unwrap_or(Value::Null)).collect(),
            _ => Vec::new(),
        });
        Rows { columns: COLUMNS.to_vec(), rows: rows.collect() }.print(format, "connections")?;
        return Ok(Exit::Ok);
    }
    let rows = connections.iter().map(|one| line(one, now)).collect();
    Rows { columns: vec!["connection", "status", "since", "last_sync", "next", "records", "notes"], rows }.print(format, "connections")?;
    if !connections.is_empty() {
        message::eprint_line(&status::summary(&connections));
    }
    Ok(Exit::Ok)
}

/// The members of a connection's status, as machines get them.
const COLUMNS: &[&str] = &[
    "connection",
    "connector",
    "label",
    "status",
    "since",
    "reason",
    "running",
    "discover",
    "sync",
    "records",
    "vendor_total",
    "held_closes",
    "held_records",
    "quarantine",
    "credential_expires",
];

fn line(one: &ConnectionStatus, now: Timestamp) -> Vec<Value> {
    let next = [one.discover.next, one.sync.next].into_iter().flatten().min();
    let next = next.filter(|_| !matches!(one.status, ConnectionState::Paused | ConnectionState::Disabled | ConnectionState::Auth));
    let mut notes = Vec::new();
    if let Some(running) = &one.running {
        notes.push(format!("{} {} read", running.kind, running.fetched));
        notes.extend(running.waiting_until.filter(|until| *until > now).map(|until| format!("waiting until {until:.0}")));
    }
    notes.extend(one.reason.clone());
    if one.held_closes > 0 {
        notes.push(format!("{} closes held: {}", one.held_closes, message::command("tributary operations approve ID")));
    }
    if one.held_records > 0 {
        notes.push(format!("{} records held: {}", one.held_records, message::command("tributary operations approve ID")));
    }
    if one.quarantine > 0 {
        notes.push(format!("{} items in quarantine", one.quarantine));
    }
    if let Some(days) = one.credential_expires.map(|at| days_left(at, now)).filter(|days| *days < 30) {
        notes.push(if days < 0 { "credential has ended".to_owned() } else { format!("credential ends in {days} days") });
    }
    let records: Vec<String> = one.records.iter().map(|(state, count)| format!("{count} {state}")).collect();
    vec![
        one.connection.clone().into(),
        one.status.as_str().into(),
        ago(one.since, now),
        ago(one.sync.last_success, now),
        next.map_or(Value::Null, |at| {
            Value::String(match now.duration_since(at).as_secs() {
                ..0 => format!("in {}", span(at.duration_since(now))),
                0..60 => "now".to_owned(),
                late => format!("overdue by {}", span(SignedDuration::from_secs(late))),
            })
        }),
        records.join(", ").into(),
        notes.join("\n").into(),
    ]
}

fn ago(at: Option<Timestamp>, now: Timestamp) -> Value {
    at.map_or(Value::Null, |at| format!("{} ago", span(now.duration_since(at))).into())
}

/// Asks the daemon's own probes: exit code 0 or 69.
pub(super) async fn health(paths: &[PathBuf], ready: bool) -> anyhow::Result<Exit> {
    let config = Config::load(paths)?;
    let path = config.daemon.store.path();
    let holder = daemon::holder(&path)
        .ok_or_else(|| NoDaemon(format!("no daemon runs on {}: start `{}`", path.display(), message::command("tributary run"))))?;
    let Some(listen) = holder.listen else {
        // It holds its lock, so it lives; more cannot be asked.
        message::eprint_line("the daemon runs; server.listen is off, so it cannot be asked more");
        return Ok(Exit::Ok);
    };
    let probe = if ready { "readyz" } else { "livez" };
    // Plain http on loopback: certificates are not needed, and a machine without any must do.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(5)).build()?;
    let answer = client.get(format!("http://{listen}/{probe}")).send().await;
    let answer = answer.map_err(|error| NoDaemon(format!("the daemon (process {}) does not answer: {error}", holder.pid)))?;
    let well = answer.status().is_success();
    let text = answer.text().await.unwrap_or_default();
    if !well {
        return Err(NoDaemon(format!("the daemon is not well: {}", text.trim())).into());
    }
    output::text("ok\n")?;
    Ok(Exit::Ok)
}

/// Reads the configuration first, so that errors are told here; then the daemon takes it.
pub(super) async fn reload(paths: &[PathBuf]) -> anyhow::Result<Exit> {
    let config = Config::load(paths)?;
    let path = config.daemon.store.path();
    let holder = daemon::holder(&path)
        .ok_or_else(|| NoDaemon(format!("no daemon runs on {}: start `{}`", path.display(), message::command("tributary run"))))?;
    let store = Store::open(&path, config.daemon.store.keep_raw)?;
    let before = store.last_reload()?;
    let pid = i32::try_from(holder.pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| NoDaemon("the lock file names no process".into()))?;
    rustix::process::kill_process(pid, rustix::process::Signal::HUP)
        .map_err(|error| NoDaemon(format!("process {} cannot be told: {error}; run this as the daemon's user", holder.pid)))?;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = store.last_reload()?;
        if now != before
            && let Some(reload) = now
        {
            output::text(&format!("{}\n", reload.text))?;
            return Ok(if reload.done { Exit::Ok } else { Exit::Configuration });
        }
    }
    Err(NoDaemon(format!("process {} did not answer within 10 s; see its log", holder.pid)).into())
}

pub(super) async fn pause(paths: &[PathBuf], names: &[String]) -> anyhow::Result<Exit> {
    let (config, store) = run::open_store(paths)?;
    for connection in run::select(&config, names)? {
        let name = &connection.name;
        message::eprint_line(&match store.pause(name, connection.entry.meta.id).await? {
            true => format!("{name}  is paused: its schedule rests, `sync` and `discover` by name still work"),
            false => format!("{name}  was paused already"),
        });
    }
    Ok(Exit::Ok)
}

pub(super) async fn resume(paths: &[PathBuf], names: &[String]) -> anyhow::Result<Exit> {
    let (config, store) = run::open_store(paths)?;
    for connection in run::select(&config, names)? {
        let name = &connection.name;
        message::eprint_line(&match store.resume(name, connection.entry.meta.id).await? {
            true => format!("{name}  goes on: what became due meanwhile runs now, once"),
            false => format!("{name}  was not paused; a refused credential is tried again at its next run"),
        });
    }
    Ok(Exit::Ok)
}

pub(super) async fn cancel(paths: &[PathBuf], id: &str) -> anyhow::Result<Exit> {
    let (_, store) = run::open_existing_store(paths)?;
    let not_found = || NotFound::new("operation", id).fix(message::list("operations"));
    match store.cancel(id.to_owned()).await?.ok_or_else(not_found)? {
        true => message::eprint_line("It stops within seconds, after the page that it is storing; the next run goes on from there."),
        false => message::eprint_line("It does not run any more."),
    }
    Ok(Exit::Ok)
}
