//! D6: random sequences of everything that can happen, on the real store and engine, against a small model of what must follow.
//!
//! The tool is a list in memory with keyset pages, either one list per record or one stream over all records. The model knows
//! nothing of tables, transactions or hashes: it is the contract written a second time, as plainly as possible.
//! `TRIBUTARY_MODEL_CASES` sets how many sequences are tried.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use proptest::prelude::*;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tributary::{
    store::{Decision, FindingFilter, Gate, RecordAction, RecordFilter, Store, Triage, Trigger},
    sync::{Engine, Plan, Progress},
};
use tributary_connectors::{
    Checked, Coverage, Cx, Error, Item, Job, Kind, Meta, Next, Page, RawAsk, RawPage, Result, Scope, Source,
    model::{Category, Finding, Record, Severity, State},
};

const PAGE: usize = 3;
const RECORDS: u8 = 3;
const META: Meta = Meta { id: "model", concurrency: 1, ..Meta::DEFAULT };

// ---- The tool -------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    record: u8,
    severity: Severity,
    state: State,
}

/// What the tool holds, and at which page it breaks or hangs.
#[derive(Clone, Debug, Default)]
struct Tool {
    stream: bool,
    listed: BTreeSet<u8>,
    findings: BTreeMap<u8, Told>,
    fails: Option<(u8, usize)>,
    hangs: Option<(u8, usize)>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Tool>>, Arc<Notify>);

impl Shared {
    fn tool(&self) -> MutexGuard<'_, Tool> {
        self.0.lock().unwrap()
    }
}

fn key(number: u8) -> String {
    format!("k{number:03}")
}

fn record(number: u8) -> String {
    format!("r{number}")
}

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl Source for Shared {
    fn scopes<'a>(&'a self, _: &'a Cx, job: Job<'a>) -> Later<'a, Vec<Scope>> {
        let stream = self.tool().stream;
        let scopes = match job {
            Job::Discover => vec![Scope::account("records")],
            Job::Sync(_) if stream => vec![Scope::account("findings")],
            Job::Sync(records) => records.iter().map(|record| Scope::of("findings", record)).collect(),
        };
        Box::pin(std::future::ready(Ok(scopes)))
    }

    fn page<'a>(&'a self, _: &'a Cx, ask: RawAsk<'a>) -> Later<'a, RawPage> {
        Box::pin(async move {
            let tool = self.tool().clone();
            let done = |items| Ok(Page { items, rejects: Vec::new(), total: None, next: Next::Done(Coverage::Full, None) });
            if ask.scope.list == "records" {
                let record =
                    |number: &u8| Item::Record(Record { key: record(*number).into(), name: record(*number).into(), ..Record::default() });
                return done(tool.listed.iter().map(record).collect());
            }
            // The cursor is how many pages were read and the last key of them.
            let (page, after): (usize, Option<u8>) = ask.cursor.map_or((0, None), |text| serde_json::from_str(&text).unwrap());
            let place = ask.scope.record.as_deref().map_or(0, |key| key[1..].parse().unwrap());
            if tool.fails == Some((place, page)) {
                return Err(Error::new("reading a page", Kind::Refused { status: 400, body: tributary_connectors::Excerpt::new("no") }));
            }
            if tool.hangs == Some((place, page)) {
                self.1.notify_one();
                std::future::pending::<()>().await;
            }
            let here = tool
                .findings
                .iter()
                .filter(|(number, told)| after.is_none_or(|after| **number > after) && (tool.stream || told.record == place));
            let read: Vec<_> = here.take(PAGE).collect();
            let last = read.last().map(|(number, _)| **number);
            let full = read.len() == PAGE;
            let items: Vec<Item> = read
                .into_iter()
                .map(|(number, told)| {
                    Item::Finding(Box::new(Finding {
                        title: "t".into(),
                        severity: told.severity,
                        state: told.state,
                        ..Finding::new(key(*number), record(told.record), Category::Sca)
                    }))
                })
                .collect();
            if !full {
                return done(items);
            }
            let next = serde_json::to_string(&(page + 1, last)).unwrap().into_boxed_str();
            Ok(Page { items, rejects: Vec::new(), total: None, next: Next::More(next) })
        })
    }

    fn check<'a>(&'a self, _: &'a Cx) -> Later<'a, Checked> {
        Box::pin(std::future::ready(Ok(Checked::default())))
    }
}

// ---- The model ------------------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq)]
struct RecordRow {
    state: &'static str,
    former_state: &'static str,
    mapped: bool,
    formerly_mapped: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    record: u8,
    severity: Severity,
    source_state: State,
    triage: Option<Decision>,
    /// The list that delivered it last.
    scope: u8,
}

/// A walk that was broken off.
#[derive(Clone, Debug, Default)]
struct Walk {
    full: bool,
    page: usize,
    after: Option<u8>,
    seen: BTreeSet<u8>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    auto_map: bool,
    least: Option<Severity>,
    /// The least severity of the last run: a lower one makes the next passes full ones.
    least_before: Option<Severity>,
    records: BTreeMap<u8, RecordRow>,
    rows: BTreeMap<u8, Row>,
    walks: BTreeMap<u8, Walk>,
    /// Lists that were read to their end, and those due for a full pass.
    read_fully: BTreeSet<u8>,
    full_due: BTreeSet<u8>,
    held: BTreeMap<u8, BTreeSet<u8>>,
    discovered: bool,
}

const UNCLOSED: [State; 4] = [State::Open, State::FalsePositive, State::RiskAccepted, State::Suppressed];

fn too_many(gone: usize, of: usize) -> bool {
    gone >= 20 && gone * 100 > of * 30
}

impl Model {
    fn configure(&mut self, tool: &Tool) {
        let rank = |least: Option<Severity>| least.unwrap_or(Severity::Info);
        if rank(self.least) < rank(self.least_before) {
            // Every list that was ever begun.
            let all: Vec<u8> = if tool.stream { vec![STREAM] } else { (0..RECORDS).collect() };
            self.full_due.extend(all);
        }
        self.least_before = self.least;
    }

    fn discover(&mut self, tool: &Tool) {
        for number in &tool.listed {
            self.meet(*number);
        }
        for (number, record) in &mut self.records {
            if !tool.listed.contains(number) && matches!(record.state, "good" | "stale") {
                record.former_state = record.state;
                record.state = "missing";
            }
        }
        self.discovered = true;
    }

    /// A record that a discover lists, or that a finding in a stream names.
    fn meet(&mut self, number: u8) -> bool {
        let auto_map = self.auto_map;
        let fresh =
            || RecordRow { state: if auto_map { "good" } else { "new" }, former_state: "", mapped: auto_map, formerly_mapped: false };
        match self.records.get_mut(&number) {
            None => {
                self.records.insert(number, fresh());
                self.became_good(number);
            }
            Some(record) if record.state == "deleted" => {
                *record = fresh();
                self.became_good(number);
            }
            Some(record) if record.state == "missing" => {
                record.state = record.former_state;
                self.became_good(number);
            }
            Some(_) => {}
        }
        self.records[&number].state == "good"
    }

    /// Its own list, or the stream, is read from its beginning next.
    fn became_good(&mut self, number: u8) {
        if self.records[&number].state == "good" {
            self.full_due.insert(number);
            self.full_due.insert(STREAM);
        }
    }

    /// One sync: every list from where its walk stands to its end, or to the page where it breaks.
    /// True when the process dies there.
    fn sync(&mut self, tool: &Tool, asked_full: bool, broken: Option<(u8, usize)>, crashed: bool) -> bool {
        let scopes: Vec<u8> = if tool.stream { vec![0] } else { self.good() };
        let mut complete = Vec::new();
        for scope in scopes {
            let due = if tool.stream { STREAM } else { scope };
            let full = asked_full || self.full_due.contains(&due) || !self.read_fully.contains(&scope);
            let mut walk = self.walks.remove(&scope).filter(|walk| walk.full || !full).unwrap_or(Walk { full, ..Walk::default() });
            let mut ended = false;
            while !ended && broken != Some((scope, walk.page)) {
                let after = walk.after;
                let here = tool
                    .findings
                    .iter()
                    .filter(|(number, told)| after.is_none_or(|after| **number > after) && (tool.stream || told.record == scope));
                let page: Vec<(u8, Told)> = here.take(PAGE).map(|(number, told)| (*number, *told)).collect();
                ended = page.len() < PAGE;
                walk.after = page.last().map(|(number, _)| *number);
                walk.page += 1;
                for (number, told) in page {
                    walk.seen.insert(number);
                    self.deliver(scope, number, told);
                }
            }
            if ended {
                complete.push((scope, walk));
            } else {
                self.walks.insert(scope, walk);
                if crashed {
                    return true;
                }
            }
        }
        self.close(tool, complete);
        false
    }

    fn good(&self) -> Vec<u8> {
        self.records.iter().filter(|(_, record)| record.state == "good").map(|(number, _)| *number).collect()
    }

    fn deliver(&mut self, scope: u8, number: u8, told: Told) {
        if !self.meet(told.record) {
            return;
        }
        let least = self.least.unwrap_or(Severity::Info);
        let wanted = told.state == State::Open && (told.severity == Severity::Unknown || told.severity >= least);
        match self.rows.get_mut(&number) {
            Some(row) => {
                *row = Row { record: told.record, severity: told.severity, source_state: told.state, triage: row.triage, scope };
            }
            None if wanted => {
                let row = Row { record: told.record, severity: told.severity, source_state: told.state, triage: None, scope };
                self.rows.insert(number, row);
            }
            None => {}
        }
    }

    fn close(&mut self, tool: &Tool, complete: Vec<(u8, Walk)>) {
        let mut absent = Vec::new();
        for (scope, walk) in complete {
            let kept_out = |row: &Row| tool.stream && matches!(self.records[&row.record].state, "new" | "ignored" | "stale" | "deleted");
            let unclosed: Vec<u8> = self
                .rows
                .iter()
                .filter(|(_, row)| row.scope == scope && UNCLOSED.contains(&row.source_state) && !kept_out(row))
                .map(|(number, _)| *number)
                .collect();
            let gone: BTreeSet<u8> = unclosed.iter().filter(|number| !walk.seen.contains(number)).copied().collect();
            absent.push((scope, unclosed.len(), gone));
        }
        let all = too_many(absent.iter().map(|(_, _, gone)| gone.len()).sum(), absent.iter().map(|(_, of, _)| of).sum());
        for (scope, of, gone) in absent {
            self.held.remove(&scope);
            if (all || too_many(gone.len(), of)) && !gone.is_empty() {
                self.held.insert(scope, gone);
            } else {
                for number in gone {
                    self.rows.get_mut(&number).unwrap().source_state = State::Gone;
                }
            }
            self.read_fully.insert(scope);
            self.full_due.remove(&if tool.stream { STREAM } else { scope });
        }
    }

    fn act(&mut self, number: u8, act: Act, auto_map: bool) {
        let Some(record) = self.records.get_mut(&number).filter(|record| record.state != "deleted") else { return };
        let before = record.state;
        match (act, record.state) {
            (Act::Map, "new" | "good" | "stale") => (record.state, record.mapped) = ("good", true),
            (Act::Unmap, "good") => (record.state, record.mapped) = ("new", false),
            (Act::Ignore, "new" | "good") => {
                record.formerly_mapped = record.mapped;
                (record.state, record.mapped) = ("ignored", false);
            }
            (Act::Restore, "ignored") => {
                record.state = if auto_map { "good" } else { "new" };
                record.mapped = auto_map;
            }
            (Act::Delete, _) => {
                (record.state, record.mapped) = ("deleted", false);
            }
            _ => return,
        }
        if before != "good" {
            self.became_good(number);
        }
    }
}

/// In `full_due`: the stream over all records, whose list has the number 0 like the first record's.
const STREAM: u8 = 255;

// ---- Sequences ------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
enum Act {
    Map,
    Unmap,
    Ignore,
    Restore,
    Delete,
}

#[derive(Clone, Debug)]
enum Step {
    /// The tool lists this finding so.
    Put(u8, Told),
    /// It no longer lists it.
    Drop(u8),
    /// It lists many, or loses many.
    PutMany(u8),
    DropMany,
    List(u8),
    Unlist(u8),
    Discover,
    Sync(bool),
    /// One list breaks at this page.
    Broken(u8, usize),
    /// The process dies at this page of this list, and starts again.
    Crash(u8, usize),
    Act(u8, Act),
    Triage(u8, Option<Decision>),
    Least(Severity),
    AutoMap(bool),
    Reset,
    Approve,
    Reopen,
}

fn told() -> impl Strategy<Value = Told> {
    let severity = prop_oneof![Just(Severity::Low), Just(Severity::High), Just(Severity::Unknown)];
    let state =
        prop_oneof![4 => Just(State::Open), 1 => Just(State::Fixed), 1 => Just(State::RiskAccepted), 1 => Just(State::FalsePositive)];
    (0..RECORDS, severity, state).prop_map(|(record, severity, state)| Told { record, severity, state })
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![Just(Act::Map), Just(Act::Unmap), Just(Act::Ignore), Just(Act::Restore), Just(Act::Delete)];
    let decision = prop_oneof![Just(None), Just(Some(Decision::FalsePositive)), Just(Some(Decision::WontFix))];
    prop_oneof![
        6 => (0..12_u8, told()).prop_map(|(number, told)| Step::Put(number, told)),
        3 => (0..12_u8).prop_map(Step::Drop),
        1 => (0..RECORDS).prop_map(Step::PutMany),
        1 => Just(Step::DropMany),
        1 => (0..RECORDS).prop_map(Step::List),
        1 => (0..RECORDS).prop_map(Step::Unlist),
        2 => Just(Step::Discover),
        5 => any::<bool>().prop_map(Step::Sync),
        2 => (0..RECORDS, 0..3_usize).prop_map(|(scope, page)| Step::Broken(scope, page)),
        2 => (0..RECORDS, 0..3_usize).prop_map(|(scope, page)| Step::Crash(scope, page)),
        3 => (0..RECORDS, act).prop_map(|(record, act)| Step::Act(record, act)),
        2 => (0..12_u8, decision).prop_map(|(number, decision)| Step::Triage(number, decision)),
        1 => prop_oneof![Just(Severity::Info), Just(Severity::High)].prop_map(Step::Least),
        1 => any::<bool>().prop_map(Step::AutoMap),
        1 => Just(Step::Reset),
        1 => Just(Step::Approve),
        1 => Just(Step::Reopen),
    ]
}

struct World {
    folder: tempfile::TempDir,
    engine: Engine,
    shared: Shared,
    model: Model,
    last_sync: Option<uuid::Uuid>,
}

impl World {
    fn new(stream: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine { store: Store::open(&folder.path().join("m.db"), false).unwrap(), stop: CancellationToken::new() };
        let shared = Shared::default();
        *shared.tool() = Tool { stream, listed: (0..RECORDS).collect(), ..Tool::default() };
        World { folder, engine, shared, model: Model { auto_map: true, ..Model::default() }, last_sync: None }
    }

    fn plan(&self) -> Plan {
        let gate =
            Gate { minimum_severity: self.model.least.unwrap_or(Severity::Info), import_closed: false, auto_map: self.model.auto_map };
        Plan { connection: "m".into(), meta: &META, gate, full_sync_every: Duration::from_secs(1 << 30), settings: "s".into() }
    }

    async fn sync(&mut self, full: bool) {
        let source: Arc<dyn Source> = Arc::new(self.shared.clone());
        let reports = self.engine.sync(&source, &self.plan(), Trigger::Manual, full, &Progress::without_waits()).await.unwrap();
        self.last_sync = reports.last().map(|report| report.operation);
        for report in reports {
            let counts = report.counts;
            let sum = counts.created + counts.updated + counts.unchanged + counts.reopened + counts.filtered + counts.rejected;
            assert_eq!(counts.fetched, sum);
        }
    }

    fn reopen(&mut self) {
        let path = self.folder.path().join("m.db");
        self.engine = Engine { store: Store::open(&path, false).unwrap(), stop: CancellationToken::new() };
        // Its holder is this process, which lives on; a real one would be found dead.
        rusqlite::Connection::open(path).unwrap().execute("update leases set held_until = 0", []).unwrap();
    }

    /// A sync discovers first what was never discovered.
    fn expect_discovered(&mut self, tool: &Tool) {
        self.model.configure(tool);
        if !self.model.discovered {
            self.model.discover(tool);
        }
    }

    async fn take(&mut self, step: Step) {
        let tool = self.shared.tool().clone();
        match step {
            Step::Put(number, told) => drop(self.shared.tool().findings.insert(number, told)),
            Step::Drop(number) => drop(self.shared.tool().findings.remove(&number)),
            Step::PutMany(record) => {
                let told = Told { record, severity: Severity::High, state: State::Open };
                self.shared.tool().findings.extend((100..130).map(|number| (number, told)));
            }
            Step::DropMany => self.shared.tool().findings.retain(|number, _| *number < 100),
            Step::List(record) => drop(self.shared.tool().listed.insert(record)),
            Step::Unlist(record) => drop(self.shared.tool().listed.remove(&record)),
            Step::Discover => {
                let source: Arc<dyn Source> = Arc::new(self.shared.clone());
                self.engine.discover(&source, &self.plan(), Trigger::Manual, &Progress::without_waits()).await.unwrap();
                self.model.configure(&tool);
                self.model.discover(&tool);
            }
            Step::Sync(full) => {
                self.sync(full).await;
                self.expect_discovered(&tool);
                let _ = self.model.sync(&tool, full, None, false);
            }
            Step::Broken(scope, page) => {
                let at = (if tool.stream { 0 } else { scope }, page);
                self.shared.tool().fails = Some(at);
                self.sync(false).await;
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
                    () = self.sync(false) => false,
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
                let reader = self.engine.store.reader().unwrap();
                let id: Option<String> = reader.query_row("select id from findings where key = ?1", [key(number)], |row| row.get(0)).ok();
                if let Some(id) = id {
                    let filter = FindingFilter { ids: vec![id], ..FindingFilter::default() };
                    self.engine.store.triage(filter, Triage { decision, until: None, note: None }).await.unwrap();
                    self.model.rows.get_mut(&number).unwrap().triage = decision;
                }
            }
            Step::Least(least) => self.model.least = Some(least),
            Step::AutoMap(on) => self.model.auto_map = on,
            Step::Reset => {
                self.engine.store.reset("m".into()).await.unwrap();
                self.model.walks.clear();
                self.model.full_due.extend((0..RECORDS).chain([STREAM]));
            }
            Step::Approve => {
                if let Some(operation) = self.last_sync {
                    self.engine.store.approve(operation).await.unwrap();
                    self.approve();
                }
            }
            Step::Reopen => self.reopen(),
        }
    }

    /// What was held and is still absent is gone: not what was seen again, closed or moved to another list meanwhile.
    fn approve(&mut self) {
        for (scope, held) in std::mem::take(&mut self.model.held) {
            let seen = self.model.walks.get(&scope).map(|walk| walk.seen.clone()).unwrap_or_default();
            for number in held.difference(&seen) {
                let row = self.model.rows.get_mut(number).unwrap();
                if row.scope == scope && UNCLOSED.contains(&row.source_state) {
                    row.source_state = State::Gone;
                }
            }
        }
    }

    fn compare(&self) {
        let reader = self.engine.store.reader().unwrap();
        let mut records = reader.prepare("select key, state, product is not null from records").unwrap();
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
        let mut rows = reader.prepare("select key, record_key, severity, source_state, triage, state from findings").unwrap();
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
    }
}

#[test]
fn d6_the_store_does_what_the_model_says() {
    let cases = std::env::var("TRIBUTARY_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sequences = (any::<bool>(), prop::collection::vec(step(), 1..25));
    proptest!(ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() }, |((stream, steps) in sequences)| {
        let mut world = World::new(stream);
        runtime.block_on(async {
            for step in steps {
                world.take(step).await;
                world.compare();
            }
        });
    });
}
