//! The real engine and store beside the model: takes each step with both, and compares what they hold.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tributary::{
    store::{Decision, FindingFilter, ImportPolicy, PassKind, RecordAction, RecordFilter, Store, Triage, Trigger},
    sync::{Engine, Plan, Progress},
};
use tributary_connectors::{
    DynConnector,
    model::{Severity, State},
};

use super::{
    reference::{ALL, Model},
    sequence::{Act, Step},
    tool::{ALL_RECORDS, META, RECORDS, Shared, Told, Tool, key, lineage, record},
};

/// A database with its tables and nothing in them, made once.
fn empty_database() -> &'static [u8] {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.db");
        Store::open(&folder.path().join("new.db"), false).unwrap().copy_to(&copy).unwrap();
        std::fs::read(copy).unwrap()
    })
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) reader: rusqlite::Connection,
    pub(crate) shared: Shared,
    pub(crate) model: Model,
}

impl World {
    pub(crate) fn new(stream: bool) -> Self {
        // In memory where that can be: what a disk adds (order, loss, time) is not what is tried here.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = folder.path().join("m.db");
        std::fs::write(&path, empty_database()).unwrap();
        let engine = Engine { store: Store::open(&path, false).unwrap(), stop: CancellationToken::new() };
        let reader = crate::common::database(&engine.store);
        let shared = Shared::default();
        *shared.tool() = Tool { stream, listed: (0..RECORDS).collect(), ..Tool::default() };
        World { folder, engine, reader, shared, model: Model { auto_map: true, ..Model::default() } }
    }

    pub(crate) fn plan(&self) -> Plan {
        let policy = ImportPolicy {
            minimum_severity: self.model.least.unwrap_or(Severity::Info),
            import_closed: false,
            auto_map: self.model.auto_map,
        };
        Plan {
            connection: "m".into(),
            meta: &META,
            policy,
            full_sync_every: Duration::from_secs(1 << 30),
            close_missing_after: None,
            settings: "s".into(),
        }
    }

    pub(crate) async fn sync(&mut self, pass: PassKind) {
        let source: Arc<dyn DynConnector> = Arc::new(self.shared.clone());
        let reports = self.engine.sync(&source, &self.plan(), Trigger::Manual, pass, &Progress::without_waits()).await.unwrap();
        for report in reports {
            let counts = report.counts;
            let sum = counts.created + counts.updated + counts.unchanged + counts.reopened + counts.filtered + counts.rejected;
            assert_eq!(counts.fetched, sum);
        }
    }

    pub(crate) fn reopen(&mut self) {
        let path = self.folder.path().join("m.db");
        self.engine = Engine { store: Store::open(&path, false).unwrap(), stop: CancellationToken::new() };
        self.reader = crate::common::database(&self.engine.store);
        // Its holder is this process, which lives on; a real one would be found dead.
        rusqlite::Connection::open(path).unwrap().execute("update leases set held_until = 0", []).unwrap();
    }

    /// Lists findings under keys that nothing had before: those at these places of the list.
    fn rename(&self, which: impl Fn(usize) -> bool) {
        let mut tool = self.shared.tool();
        let old: Vec<u8> = tool.findings.keys().copied().enumerate().filter(|(at, _)| which(*at)).map(|(_, number)| number).collect();
        for number in old {
            let free = |new: &u8| !tool.findings.contains_key(new) && !self.model.rows.contains_key(new);
            let new = (number..60).step_by(6).find(free);
            if let Some(new) = new.filter(|_| lineage(number).is_some()) {
                let told = tool.findings.remove(&number).unwrap();
                tool.findings.insert(new, told);
            }
        }
    }

    /// A sync discovers first what was never discovered.
    pub(crate) fn expect_discovered(&mut self, tool: &Tool) {
        self.model.configure();
        if !self.model.discovered {
            self.model.discover(tool);
        }
    }

    pub(crate) async fn take(&mut self, step: Step) {
        let tool = self.shared.tool().clone();
        match step {
            Step::Put(number, told) => drop(self.shared.tool().findings.insert(number, told)),
            Step::Drop(number) => drop(self.shared.tool().findings.remove(&number)),
            Step::Rename(number) => self.rename(|at| at == usize::from(number)),
            Step::RenameAll => self.rename(|_| true),
            Step::Fill(record) => {
                let told = Told { record, severity: Severity::High, state: State::Open };
                self.shared.tool().findings.extend((0..4).map(|number| (number + 4 * record, told)));
            }
            Step::Clear(record) => self.shared.tool().findings.retain(|_, told| told.record != record),
            Step::PutMany(record) => {
                let told = Told { record, severity: Severity::High, state: State::Open };
                self.shared.tool().findings.extend((100..130).map(|number| (number, told)));
            }
            Step::DropMany => self.shared.tool().findings.retain(|number, _| *number < 100),
            Step::List(record) => drop(self.shared.tool().listed.insert(record)),
            Step::Unlist(record) => drop(self.shared.tool().listed.remove(&record)),
            Step::ListMany => self.shared.tool().listed.extend(RECORDS..ALL_RECORDS),
            Step::UnlistMany => self.shared.tool().listed.retain(|number| *number <= RECORDS),
            Step::Discover => {
                let source: Arc<dyn DynConnector> = Arc::new(self.shared.clone());
                self.engine.discover(&source, &self.plan(), Trigger::Manual, &Progress::without_waits()).await.unwrap();
                self.model.configure();
                self.model.discover(&tool);
            }
            Step::Sync(full) => {
                self.sync(if full { PassKind::Full } else { PassKind::Delta }).await;
                self.expect_discovered(&tool);
                let _ = self.model.sync(&tool, full, None, false);
            }
            Step::Incomplete | Step::Explained => {
                (self.shared.tool().incomplete, self.shared.tool().explained) =
                    (matches!(step, Step::Incomplete), matches!(step, Step::Explained));
                let tool = self.shared.tool().clone();
                self.sync(PassKind::Full).await;
                (self.shared.tool().incomplete, self.shared.tool().explained) = (false, false);
                self.expect_discovered(&tool);
                let _ = self.model.sync(&tool, true, None, false);
            }
            Step::Broken(scope, page) => {
                let at = (if tool.stream { 0 } else { scope }, page);
                self.shared.tool().fails = Some(at);
                self.sync(PassKind::Delta).await;
                self.shared.tool().fails = None;
                self.expect_discovered(&tool);
                let _ = self.model.sync(&tool, false, Some(at), false);
            }
            Step::Crash(scope, page) => {
                let at = (if tool.stream { 0 } else { scope }, page);
                self.expect_discovered(&tool);
                let mut after = self.model.clone();
                let hangs = after.sync(&tool, false, Some(at), true);
                self.shared.tool().hangs = Some(at);
                let hung = Arc::clone(&self.shared.1);
                let died = tokio::select! {
                    () = self.sync(PassKind::Delta) => false,
                    () = hung.notified() => true,
                };
                assert_eq!(died, hangs, "the model says whether the walk comes to that page");
                // What was asked of the store before is done before this returns.
                let nothing = RecordFilter { keys: vec!["none".into()], ..RecordFilter::default() };
                self.engine.store.change_records(nothing, RecordAction::Unmap).await.unwrap();
                self.shared.tool().hangs = None;
                self.model = after;
                self.reopen();
            }
            Step::Act(number, act) => {
                let action = match act {
                    Act::Map => RecordAction::Map(None),
                    Act::Unmap => RecordAction::Unmap,
                    Act::Ignore => RecordAction::Ignore,
                    Act::Restore => RecordAction::Restore { auto_map: if self.model.auto_map { vec!["m".into()] } else { vec![] } },
                    Act::Delete => RecordAction::Delete { close: false },
                };
                let filter = RecordFilter { keys: vec![record(number)], ..RecordFilter::default() };
                self.engine.store.change_records(filter, action).await.unwrap();
                self.model.act(number, act, self.model.auto_map);
            }
            Step::Triage(number, decision) => {
                // One of those that are stored.
                let stored: Vec<u8> = self.model.rows.keys().copied().collect();
                if let Some(number) = stored.get(usize::from(number) % stored.len().max(1)).copied() {
                    let sql = "select id from findings where key = ?1";
                    let id: String = self.reader.query_row(sql, [key(number)], |row| row.get(0)).unwrap();
                    let filter = FindingFilter { ids: vec![id], ..FindingFilter::default() };
                    self.engine.store.triage(filter, Triage { decision, until: None, note: None }).await.unwrap();
                    let row = self.model.rows.get_mut(&number).unwrap();
                    row.decided |= row.triage != decision;
                    row.triage = decision;
                }
            }
            Step::Least(least) => self.model.least = Some(least),
            Step::AutoMap(on) => self.model.auto_map = on,
            Step::Reset => {
                self.engine.store.reset("m".into()).await.unwrap();
                self.model.walks.clear();
                self.model.ask_for_full(&ALL);
            }
            Step::Approve => {
                // Whichever operations hold something: a sync that broke since then holds nothing of its own.
                let holding: Vec<String> = {
                    let mut held = self
                        .reader
                        .prepare("select operation from held_closes union select operation from held_records order by 1")
                        .unwrap();
                    held.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
                };
                for operation in holding {
                    self.engine.store.approve(operation.parse().unwrap()).await.unwrap();
                }
                self.model.approve();
            }
            Step::Reopen => self.reopen(),
        }
    }

    /// Every decision that stands.
    pub(crate) fn decisions(&self) -> Vec<(String, String, Option<i64>, Option<String>)> {
        let sql = "select key, triage, triage_until, triage_note from findings where triage is not null";
        let mut decided = self.reader.prepare_cached(sql).unwrap();
        let rows = decided.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    pub(crate) fn compare(&self) {
        let mut records = self.reader.prepare_cached("select key, state, product is not null from records").unwrap();
        let stored: BTreeMap<String, (String, bool)> =
            records.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap().collect::<Result<_, _>>().unwrap();
        let expected: BTreeMap<String, (String, bool)> = self
            .model
            .records
            .iter()
            .filter(|(_, row)| row.state != "deleted")
            .map(|(number, row)| (record(*number), (row.state.to_owned(), row.mapped)))
            .collect();
        assert_eq!(stored, expected);
        let mut rows = self.reader.prepare_cached("select key, record_key, severity, source_state, triage, state from findings").unwrap();
        type Shown = (String, String, String, Option<String>, String);
        let stored: BTreeMap<String, Shown> = rows
            .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let expected: BTreeMap<String, Shown> = self
            .model
            .rows
            .iter()
            .map(|(number, row)| {
                let source = row.source_state.as_str();
                let shown = match (row.source_state, row.triage) {
                    (State::Fixed | State::Gone, _) | (_, None) => source,
                    (_, Some(Decision::FalsePositive)) => "false_positive",
                    (_, Some(_)) => "risk_accepted",
                };
                let triage = row.triage.map(|decision| decision.as_str().to_owned());
                (key(*number), (record(row.record), row.severity.as_str().to_owned(), source.to_owned(), triage, shown.to_owned()))
            })
            .collect();
        assert_eq!(stored, expected);
        self.compare_carried();
    }

    /// Who replaces whom, by the history; the first sight goes with it.
    fn compare_carried(&self) {
        let mut carried = self
            .reader
            .prepare_cached(
                "select n.key, o.key, n.first_seen = o.first_seen from finding_events e join findings n on n.id = e.finding_id
                 join findings o on o.id = e.old_value where e.event = 'carried'",
            )
            .unwrap();
        let stored: BTreeMap<String, (String, bool)> =
            carried.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap().collect::<Result<_, _>>().unwrap();
        let expected: BTreeMap<String, (String, bool)> =
            self.model.rows.iter().filter_map(|(number, row)| Some((key(*number), (key(row.replaces?), true)))).collect();
        assert_eq!(stored, expected);
    }
}
