//! A connection to a simulated tool, with a store of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tributary::{
    config::Config,
    store::{Counts, Outcome, PassKind, Store, Trigger},
    sync::{Engine, Progress, Report},
};
use tributary_connectors::kit::Limiters;
use tributary_simulator::{Make, Oracle, Running, Size, Truth, VENDORS, Vendor, start_any};

/// A size at which lists have several pages.
pub(crate) const SIZE: Size = Size { records: 6, findings: 3000, seed: 7 };

/// So large that lists have several pages, and no larger.
pub(crate) fn several_pages(tool: &dyn Vendor) -> Size {
    Size { findings: (tool.several_pages() * 3 / 2).max(600), ..SIZE }
}

/// Every simulated tool and each of its variants, by a name. `TRIBUTARY_TOOL=snyk` leaves those whose names contain that.
pub(crate) fn tools() -> Vec<(String, Make)> {
    let only = std::env::var("TRIBUTARY_TOOL").unwrap_or_default();
    let mut tools = Vec::new();
    for (id, make) in VENDORS.iter().filter(|(id, _)| tributary_connectors::Registration::find(id).is_some()) {
        tools.push(((*id).to_owned(), *make));
        tools.extend(make(SMALLEST).variants().iter().map(|(variant, make)| (format!("{id}, {variant}"), *make)));
    }
    tools.retain(|(name, _)| name.contains(&only));
    tools
}

/// What is enough to ask a tool about itself.
pub(crate) const SMALLEST: Size = Size { records: 1, findings: 1, seed: 1 };

/// Tries a case on each tool that it concerns, and tells all that fail.
pub(crate) async fn on_every_tool<Case, Tried>(concerns: fn(&dyn Vendor) -> bool, size: fn(&dyn Vendor) -> Size, case: Case)
where
    Case: Fn(Running) -> Tried,
    Tried: Future<Output = ()> + Send + 'static,
{
    let mut failed = Vec::new();
    for (name, make) in tools() {
        let tool = make(SMALLEST);
        if !concerns(&*tool) {
            continue;
        }
        let running = start_any(make(size(&*tool)), 0).await.unwrap();
        // A task of its own, so that one that fails hides no other.
        if tokio::spawn(case(running)).await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "it fails on {failed:?}");
}

pub(crate) struct TestApp {
    pub(crate) tool: Arc<Running>,
    pub(crate) folder: TempDir,
    pub(crate) engine: Engine,
}

impl TestApp {
    pub(crate) fn new(tool: Running) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("t.db"), true).unwrap();
        let bench = TestApp { tool: Arc::new(tool), folder, engine: Engine { store, stop: CancellationToken::new() } };
        bench.configure("");
        bench
    }

    /// The same with a store that holds what a database does.
    pub(crate) fn with_store(tool: Running, database: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(database, folder.path().join("t.db")).unwrap();
        let store = Store::open(&folder.path().join("t.db"), true).unwrap();
        let bench = TestApp { tool: Arc::new(tool), folder, engine: Engine { store, stop: CancellationToken::new() } };
        bench.configure("");
        bench
    }

    /// Another store with what a database holds, for the same tool and configuration.
    pub(crate) fn beside(&self, database: &Path) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(database, folder.path().join("t.db")).unwrap();
        std::fs::copy(self.config(), folder.path().join("tributary.toml")).unwrap();
        let store = Store::open(&folder.path().join("t.db"), true).unwrap();
        TestApp { tool: Arc::clone(&self.tool), folder, engine: Engine { store, stop: CancellationToken::new() } }
    }

    /// Writes the configuration, with further lines for the connection.
    pub(crate) fn configure(&self, more: &str) {
        let mut text = format!(
            "[store]\nurl = \"sqlite:t.db\"\n[server]\nlisten = \"127.0.0.1:0\"\n[connections.t]\nconnector = \"{}\"\nlocation = \"{}\"\n{more}\n[connections.t.fields]\n",
            self.tool.vendor.id(),
            self.tool.url
        );
        for (field, value) in self.tool.vendor.fields(&self.tool.url) {
            text.push_str(&format!("{field} = \"{value}\"\n"));
        }
        std::fs::write(self.config(), text).unwrap();
        // It holds literal secrets.
        std::fs::set_permissions(self.config(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("tributary.toml")
    }

    pub(crate) fn plan(&self) -> (Arc<dyn tributary_connectors::DynConnector>, tributary::sync::Plan) {
        let config = Config::load(&[self.config()]).unwrap();
        let connection = &config.connections[0];
        (connection.open(&Arc::new(Limiters::default())).unwrap(), tributary::operation::plan(connection))
    }

    pub(crate) async fn discover(&self) -> Report {
        let (source, plan) = self.plan();
        let report = self.engine.discover(&source, &plan, Trigger::Manual, &Progress::without_waits()).await.unwrap();
        assert_adds_up(&report.counts);
        report
    }

    /// Reads what changed, where the vendor can tell.
    pub(crate) async fn sync(&self) -> Report {
        self.sync_as(PassKind::Delta).await
    }

    /// Reads everything.
    pub(crate) async fn full_sync(&self) -> Report {
        self.sync_as(PassKind::Full).await
    }

    pub(crate) async fn sync_as(&self, pass: PassKind) -> Report {
        let (source, plan) = self.plan();
        let mut reports = self.engine.sync(&source, &plan, Trigger::Manual, pass, &Progress::without_waits()).await.unwrap();
        let report = reports.pop().unwrap();
        assert_adds_up(&report.counts);
        report
    }

    /// What the store holds, in the oracle's words.
    pub(crate) fn snapshot(&self) -> Oracle {
        snapshot(&database(&self.engine.store), "t")
    }

    /// Fails with the first few differences, not with thousands of lines.
    pub(crate) fn assert_oracle(&self, when: &str) {
        assert_equal(&self.snapshot(), &self.tool.vendor.oracle(), when);
    }

    pub(crate) fn query_i64(&self, sql: &str) -> i64 {
        database(&self.engine.store).query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn query_string(&self, sql: &str) -> String {
        use rusqlite::OptionalExtension;
        let found = database(&self.engine.store).query_row(sql, [], |row| row.get::<_, Option<String>>(0)).optional();
        found.unwrap().flatten().unwrap_or_default()
    }

    /// The binary, ready to run on this configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.args(arguments).arg("--config").arg(self.config()).env_clear();
        command
    }
}

/// Runs a command without blocking the simulator; its code, stdout and stderr.
pub(crate) async fn run(mut command: Command) -> (Option<i32>, String, String) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The file of a store, opened for reading as any program may.
pub(crate) fn database(store: &Store) -> rusqlite::Connection {
    rusqlite::Connection::open_with_flags(store.path(), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// Everything but records and findings: its kind in the oracle's words, and its view.
const THINGS: &[(&str, &str)] =
    &[("asset", "assets"), ("identity", "identities"), ("membership", "memberships"), ("third_party", "third_parties")];

/// What a store holds of a connection, in the oracle's words.
pub(crate) fn snapshot(reader: &rusqlite::Connection, connection: &str) -> Oracle {
    let mut records = reader.prepare("select key, name from records where state = 'good' and connection = ?1").unwrap();
    let records = records.query_map([connection], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap();
    let mut findings = reader.prepare("select key, record_key, severity, state from findings where connection = ?1").unwrap();
    let word = |text: String| -> &'static str {
        ["critical", "high", "medium", "low", "info", "unknown", "open", "fixed", "false_positive", "risk_accepted", "suppressed", "gone"]
            .into_iter()
            .find(|word| *word == text)
            .unwrap()
    };
    let findings: BTreeMap<String, Truth> = findings
        .query_map([connection], |row| {
            Ok((row.get(0)?, Truth { record: row.get(1)?, severity: word(row.get(2)?), state: word(row.get(3)?) }))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut things = BTreeMap::new();
    for (kind, view) in THINGS.iter().copied() {
        let mut rows = reader.prepare(&format!("select key, state from {view} where connection = ?1")).unwrap();
        let rows = rows.query_map([connection], |row| Ok((row.get(0)?, row.get::<_, String>(1)? == "gone"))).unwrap();
        things.extend(rows.map(Result::unwrap).map(|(key, gone)| ((kind, key), if gone { "gone" } else { "present" })));
    }
    Oracle { records, findings, things }
}

/// Fails with the first few differences, not with thousands of lines.
pub(crate) fn assert_equal(stored: &Oracle, oracle: &Oracle, when: &str) {
    assert_eq!(stored.records, oracle.records, "records {when}");
    assert_eq!(stored.things, oracle.things, "things {when}");
    let keys = stored.findings.keys().chain(oracle.findings.keys());
    let wrong: Vec<_> = keys.filter(|key| stored.findings.get(*key) != oracle.findings.get(*key)).collect();
    let shown: Vec<_> = wrong.iter().take(3).map(|key| (*key, stored.findings.get(*key), oracle.findings.get(*key))).collect();
    assert!(wrong.is_empty(), "{} findings differ {when}; (key, stored, oracle): {shown:#?}", wrong.len());
}

pub(crate) fn assert_adds_up(counts: &Counts) {
    let sum = counts.created + counts.updated + counts.unchanged + counts.reopened + counts.filtered + counts.rejected;
    assert_eq!(counts.fetched, sum, "counts do not add up: {counts:?}");
}

pub(crate) fn assert_outcome(report: &Report, outcome: Outcome) {
    assert_eq!(report.outcome, outcome, "{:?} {:?}", report.errors, report.incomplete);
}
