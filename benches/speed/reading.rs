//! What people wait for in a large store: the daemon's start, and the first page of a list.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tributary::store::PassKind;

use crate::{run, tool::Tool};

/// Connections in the configuration.
const CONNECTIONS: usize = 50;
/// Of so many runs the one in the middle counts.
const RUNS: usize = 5;

/// Works on the store that the last sync of Dependency-Track left behind, and adds two smaller connections to it.
pub(crate) async fn measure(folder: &Path, findings: usize) {
    let (config, database) = (folder.join("tributary.toml"), folder.join("b.db"));
    let others: Vec<_> = ["snyk", "tenable"].iter().map(|name| (*name, Tool::find(name).unwrap().start(5_000))).collect();
    let quiet = "[defaults]\ndiscover = \"0 0 1 1 *\"\nsync = \"0 0 1 1 *\"\n";
    let head = "[store]\nurl = \"sqlite:b.db\"\n";
    let added: String = others.iter().map(|(name, tool)| tool.connection(name)).collect();
    crate::write_private(&config, &format!("{head}{added}"));
    run::sync(config.clone(), PassKind::Delta).await;
    let mut text = format!("{head}{quiet}{added}");
    let writer = Connection::open(&database).unwrap();
    for number in 0..CONNECTIONS - others.len() {
        let name = if number == 0 { "b".to_owned() } else { format!("c{number}") };
        text.push_str(&format!(
            "[connections.{name}]\nconnector = \"dependency_track\"\nlocation = \"http://127.0.0.1:9\"\nsecret = \"x-y-z\"\n"
        ));
        for kind in ["discover", "sync"] {
            let sql = "insert into operations (id, connection, kind, trigger, outcome, started_at, ended_at) values (?1, ?2, ?3, 'schedule', 'success', ?4, ?4)";
            writer.execute(sql, rusqlite::params![format!("{name}-{kind}"), name, kind, now()]).unwrap();
        }
        writer
            .execute(
                "insert into connections (name, connector, created_at) values (?1, 'dependency_track', 0) on conflict (name) do nothing",
                [&name],
            )
            .unwrap();
    }
    crate::write_private(&config, &text);

    let started = median(|| until_started(&config));
    println!("cold start of the daemon, {CONNECTIONS} connections, {findings} findings: {} ms (bar 300)", started.as_millis());

    let one = |sql: &str| -> String { writer.query_row(sql, [], |row| row.get(0)).unwrap() };
    let records = "select r.key from records r where connection = 'b' order by name limit 1";
    let rare = "select cve from cve_members m join finding_rows f on f.cve_list_id = m.list_id group by 1 order by count(*), 1 limit 1";
    let filters: Vec<(&str, String)> = vec![
        ("--severity", "critical".into()),
        ("--severity", "unknown".into()),
        ("--state", "open".into()),
        ("--state", "gone".into()),
        ("--state", "suppressed".into()),
        ("--connection", "b".into()),
        ("--connection", "snyk".into()),
        ("--connection", "c7".into()),
        ("--connector", "dependency_track".into()),
        ("--connector", "tenable".into()),
        ("--record", one(records)),
        ("--product", one("select product from records where connection = 'tenable' order by name desc limit 1")),
        ("--product", one("select product from records where connection = 'b' order by name limit 1")),
        ("--cve", "CVE-2026-10001".into()),
        ("--cve", one(rare)),
        ("--cve", "CVE-1999-0001".into()),
    ];
    let mut slowest = (Duration::ZERO, String::new());
    for (flag, value) in filters {
        let took = median(|| {
            let started = Instant::now();
            let mut list = Command::new(env!("CARGO_BIN_EXE_tributary"));
            let done = list.args(["findings", "list", flag, &value, "-o", "json", "--config"]).arg(&config).output().unwrap();
            assert!(done.status.success(), "{flag} {value}: {}", String::from_utf8_lossy(&done.stderr));
            started.elapsed()
        });
        println!("  first page of findings {flag} {value}: {} ms", took.as_millis());
        slowest = slowest.max((took, format!("{flag} {value}")));
    }
    println!(
        "first page of findings (50 rows) by any filter, {findings} findings, whole process: at most {} ms (bar 100), by {}",
        slowest.0.as_millis(),
        slowest.1
    );
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64
}

fn median(mut run: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    times.sort_unstable();
    times[RUNS / 2]
}

/// From the start of the process to the line that says that it has started.
fn until_started(config: &Path) -> Duration {
    let started = Instant::now();
    let mut daemon =
        Command::new(env!("CARGO_BIN_EXE_tributary")).args(["run", "--config"]).arg(config).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines();
    let found = lines.find(|line| line.as_ref().unwrap().contains("started"));
    let took = started.elapsed();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(found.is_some(), "the daemon ended before it had started");
    took
}
