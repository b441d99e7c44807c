//! Speed as ratios against the physical limit, measured in one run on one machine: `cargo bench --bench speed [-- FINDINGS]`.
//!
//! The limit of a first sync is the sum of three things, each measured alone: downloading all pages with the same number of
//! connections, a typed parse of those bytes, and prepared inserts of the same rows into the same tables. The simulated tool
//! is a process of its own; times of `tributary` are those of the whole process, from its start to its exit.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and fails by panicking")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds and sizes for people")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use rusqlite::{Connection, types::Value};
use serde::Deserialize;
use tributary::store::Store;
use tributary_simulator::{Change, Size, dependency_track::DependencyTrack, start};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let findings = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if arguments.iter().any(|argument| argument == "serve") { serve(findings).await } else { measure(findings).await }
    });
}

/// The simulated tool: prints its address and key, and moves one step on for each line it reads.
async fn serve(findings: usize) {
    let tool = start(DependencyTrack::new(Size { records: 40, findings, seed: 5 }), 0).await.unwrap();
    println!("{} {}", tool.url, tool.vendor.fields(&tool.url)[0].1);
    let (lines, mut next) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).for_each(|line| drop(lines.blocking_send(line))));
    while next.recv().await.is_some() {
        tool.vendor.step(&Change::ONE_PERCENT);
        println!("moved");
    }
}

async fn measure(findings: usize) {
    let mut tool = Command::new(std::env::current_exe().unwrap())
        .args(["serve", &findings.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = BufReader::new(tool.stdout.take().unwrap()).lines();
    let told = answers.next().unwrap().unwrap();
    let (url, key) = told.split_once(' ').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tributary.toml");
    let text = format!(
        "[store]\nurl = \"sqlite:b.db\"\n[connections.b]\nconnector = \"dependency_track\"\nlocation = \"{url}\"\nsecret = \"{key}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let database = folder.path().join("b.db");

    let (pages, download) = download(url, key).await;
    let bytes: usize = pages.iter().map(Vec::len).sum();
    let (rows, parse) = time(|| pages.iter().map(|page| serde_json::from_slice::<Vec<Wire>>(page).unwrap().len()).sum::<usize>());
    drop(pages);
    println!("{rows} findings, {:.0} bytes each, {} pages' bytes in all", bytes as f64 / rows as f64, bytes);

    let (first, first_rss) = run(&config, "run");
    let insert = insert(&database, &folder.path().join("copy.db"));
    let limit = download + parse + insert;
    println!("\n{:<44} {:>8} {:>8} {:>7} {:>9}", "work", "time", "limit", "ratio", "peak RSS");
    let row = |name: &str, took: Duration, limit: Duration, rss: u64| {
        println!(
            "{name:<44} {:>6.2} s {:>6.2} s {:>7.2} {:>5} MiB",
            took.as_secs_f64(),
            limit.as_secs_f64(),
            took.as_secs_f64() / limit.as_secs_f64(),
            rss / 1024
        );
    };
    row("first sync", first, limit, first_rss);
    let look_up = look_up(&database);
    let (unchanged, unchanged_rss) = run(&config, "run");
    row("second sync, nothing changed", unchanged, download + parse + look_up, unchanged_rss);
    tool.stdin.as_mut().unwrap().write_all(b"step\n").unwrap();
    answers.next().unwrap().unwrap();
    let (changed, changed_rss) = run(&config, "run");
    row("sync with 1 % changed, 1 % gone, 1 % new", changed, unchanged, changed_rss);
    println!(
        "\nalone: download {:.2} s, parse {:.2} s, insert {:.2} s, key and digest look-up {:.2} s",
        download.as_secs_f64(),
        parse.as_secs_f64(),
        insert.as_secs_f64(),
        look_up.as_secs_f64()
    );
    tool.kill().unwrap();
    tool.wait().unwrap();
}

fn time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let done = work();
    (done, started.elapsed())
}

/// All pages of findings, with as many connections as the connector uses.
async fn download(url: &str, key: &str) -> (Vec<Vec<u8>>, Duration) {
    #[derive(Deserialize)]
    struct Project {
        uuid: String,
    }
    let client = reqwest::Client::new();
    let get = async |target: String| client.get(target).header("x-api-key", key).send().await.unwrap();
    let started = Instant::now();
    let projects = get(format!("{url}/api/v1/project?excludeInactive=true&pageNumber=1&pageSize=100")).await.bytes().await.unwrap();
    let projects: Vec<Project> = serde_json::from_slice(&projects).unwrap();
    let get = &get;
    let pages: Vec<Vec<Vec<u8>>> = stream::iter(projects.iter().map(|project| async move {
        let (mut pages, mut read) = (Vec::new(), 0);
        loop {
            let answer =
                get(format!("{url}/api/v1/finding/project/{}?suppressed=true&pageNumber={}&pageSize=500", project.uuid, pages.len() + 1))
                    .await;
            let total: usize = answer.headers()["x-total-count"].to_str().unwrap().parse().unwrap();
            pages.push(answer.bytes().await.unwrap().to_vec());
            read += 500;
            if read >= total {
                return pages;
            }
        }
    }))
    .buffer_unordered(4)
    .collect()
    .await;
    (pages.into_iter().flatten().collect(), started.elapsed())
}

/// Runs the program on the configuration: the time from its start to its exit, and its peak resident memory in KiB.
fn run(config: &Path, command: &str) -> (Duration, u64) {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args([command, "--once", "--config"])
        .arg(config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        if let Ok(text) = std::fs::read_to_string(&status) {
            peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = started.elapsed();
    assert!(child.wait().unwrap().success());
    (took, peak)
}

/// Prepared inserts of the rows of one database into the same tables of an empty one, 500 findings a transaction.
fn insert(from: &Path, to: &Path) -> Duration {
    let source = Connection::open(from).unwrap();
    let read = |table: &str| -> Vec<Vec<Value>> {
        let mut statement = source.prepare(&format!("select * from {table}")).unwrap();
        let width = statement.column_count();
        statement.query_map([], |row| (0..width).map(|index| row.get(index)).collect()).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let tables = [("texts", read("texts")), ("finding_rows", read("finding_rows")), ("raws", read("raws"))];
    drop(Store::open(to, true).unwrap());
    let target = Connection::open(to).unwrap();
    target.execute_batch("pragma foreign_keys = off; pragma journal_mode = wal; pragma synchronous = normal; pragma cache_size = -24000; pragma wal_autocheckpoint = 4000; delete from texts;").unwrap();
    let started = Instant::now();
    for (table, rows) in &tables {
        let Some(width) = rows.first().map(Vec::len) else { continue };
        let places = vec!["?"; width].join(", ");
        let mut statement = target.prepare(&format!("insert into {table} values ({places})")).unwrap();
        for batch in rows.chunks(500) {
            target.execute_batch("begin immediate").unwrap();
            for row in batch {
                statement.execute(rusqlite::params_from_iter(row)).unwrap();
            }
            target.execute_batch("commit").unwrap();
        }
    }
    started.elapsed()
}

/// Looks every finding's id up for its digest.
fn look_up(database: &Path) -> Duration {
    let reader = Connection::open(database).unwrap();
    let ids: Vec<String> = reader
        .prepare("select id from finding_rows order by seq")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut statement = reader.prepare("select seq, digest from finding_rows where id = ?1").unwrap();
    let started = Instant::now();
    for id in &ids {
        let _: (i64, i64) = statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    }
    started.elapsed()
}

/// The same members that the connector reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only parsed")]
struct Wire {
    component: Component,
    vulnerability: Vulnerability,
    analysis: Analysis,
    attribution: Attribution,
    matrix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only parsed")]
struct Component {
    uuid: String,
    name: String,
    group: Option<String>,
    version: Option<String>,
    purl: Option<String>,
    latest_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only parsed")]
struct Vulnerability {
    vuln_id: String,
    title: Option<String>,
    description: Option<String>,
    recommendation: Option<String>,
    references: Option<String>,
    severity: Option<String>,
    cvss_v3_base_score: Option<f64>,
    epss_score: Option<f64>,
    #[serde(default)]
    aliases: Vec<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only parsed")]
struct Analysis {
    state: String,
    is_suppressed: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only parsed")]
struct Attribution {
    analyzer_identity: String,
    attributed_on: u64,
}
