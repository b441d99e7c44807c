//! A tool in memory: lists of findings exactly as a test writes them, and what can be wrong with a list.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tributary::{
    store::{Decision, FindingFilter, ImportPolicy, PassKind, RecordAction, RecordFilter, Store, Triage, Trigger},
    sync::{Engine, Plan, Progress, Report},
};
use tributary_connectors::{
    Absence, CheckReport, Context, Coverage, DynConnector, Error, ErrorKind, Excerpt, Item, Job, Meta, Next, Page, RawPage, RawPageRequest,
    RecordRef, Reject, Result, Scope,
    model::{Category, Finding, Record, Severity, State},
};

/// Items on a page.
const PAGE: usize = 2;

static META: Meta = Meta { id: "scripted", concurrency: 1, ..Meta::DEFAULT };

/// One item of a list.
#[derive(Clone, Debug)]
pub(crate) struct One {
    pub(crate) key: String,
    pub(crate) record: &'static str,
    pub(crate) lineage: Option<&'static str>,
    pub(crate) title: &'static str,
    pub(crate) severity: Severity,
    pub(crate) state: State,
    pub(crate) last_seen: Option<i64>,
}

pub(crate) fn one(key: &str) -> One {
    One { key: key.to_owned(), record: "r", lineage: None, title: "t", severity: Severity::High, state: State::Open, last_seen: None }
}

impl One {
    pub(crate) fn lineage(self, lineage: &'static str) -> One {
        One { lineage: Some(lineage), ..self }
    }
    pub(crate) fn title(self, title: &'static str) -> One {
        One { title, ..self }
    }
    pub(crate) fn severity(self, severity: Severity) -> One {
        One { severity, ..self }
    }
    pub(crate) fn state(self, state: State) -> One {
        One { state, ..self }
    }
    pub(crate) fn record(self, record: &'static str) -> One {
        One { record, ..self }
    }
    pub(crate) fn last_seen(self, second: i64) -> One {
        One { last_seen: Some(second), ..self }
    }

    fn finding(&self) -> Item {
        Item::Finding(Box::new(Finding {
            title: self.title.into(),
            severity: self.severity,
            state: self.state,
            lineage: self.lineage.map(Into::into),
            cwe: vec!["CWE-89".into()],
            file_path: Some("app/views.py".into()),
            vendor_last_seen: self.last_seen.map(|second| jiff::Timestamp::from_second(second).unwrap()),
            ..Finding::new(&*self.key, self.record, Category::Sast)
        }))
    }
}

/// Items `k0`, `k1`, ….
pub(crate) fn many(count: usize) -> Vec<One> {
    (0..count).map(|number| one(&format!("k{number}"))).collect()
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tool {
    pub(crate) records: Vec<&'static str>,
    /// One list over all records, instead of one for each.
    pub(crate) stream: bool,
    pub(crate) items: Vec<One>,
    /// What a pass that is not a full one lists; without it every pass is a full one.
    pub(crate) changes: Option<Vec<One>>,
    /// The page that cannot be read.
    pub(crate) fails: Option<usize>,
    /// An item without a key, on the last page of this record's list.
    pub(crate) unkeyed: bool,
    pub(crate) incomplete: bool,
    /// The record whose large change is explained.
    pub(crate) explained: Option<&'static str>,
    /// Whether a list says that it is incomplete, or explained, on its first page instead of its last.
    pub(crate) says_so_first: bool,
    /// Whether its lists can shift while they are paged.
    pub(crate) shifting: bool,
    /// Records that have no list.
    pub(crate) without_lists: Vec<&'static str>,
}

#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Tool>>);

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl Shared {
    fn read(&self, cx: &Context, ask: &RawPageRequest<'_>) -> Result<RawPage> {
        let tool = self.0.lock().unwrap().clone();
        let done =
            |items, rejects, coverage| Ok(Page { items, rejects, mended: Vec::new(), total: None, next: Next::Done(coverage, None) });
        if ask.scope.list == "records" {
            let record = |key: &&str| Item::Record(Record { key: (*key).into(), name: (*key).into(), ..Record::default() });
            return done(tool.records.iter().map(record).collect(), Vec::new(), Coverage::Full);
        }
        let page: usize = ask.cursor.as_deref().map_or(0, |text| text.parse().unwrap());
        if tool.fails == Some(page) {
            return Err(Error::new("reading a page", ErrorKind::Refused { status: 400, body: Excerpt::new("no") }));
        }
        let (list, coverage) = match tool.changes.filter(|_| !ask.full) {
            Some(changes) => (changes, Coverage::Delta),
            None => (tool.items, Coverage::Full),
        };
        let here: Vec<One> = list.into_iter().filter(|one| tool.stream || ask.scope.record.as_deref() == Some(one.record)).collect();
        let items: Vec<Item> = here.iter().skip(page * PAGE).take(PAGE).map(One::finding).collect();
        let last = here.len() <= (page + 1) * PAGE;
        if if tool.says_so_first { page == 0 } else { last } {
            if tool.incomplete {
                cx.incomplete("the list is being rebuilt");
            }
            if tool.explained.is_some() && tool.explained == ask.scope.record.as_deref() {
                cx.explains_change("imported since");
            }
        }
        if !last {
            let next = Next::More((page + 1).to_string().into());
            return Ok(Page { items, rejects: Vec::new(), mended: Vec::new(), total: None, next });
        }
        let reject = Reject { key: None, path: "key".into(), reason: "no key".into(), raw: "{}".into() };
        done(items, if tool.unkeyed { vec![reject] } else { Vec::new() }, coverage)
    }
}

impl DynConnector for Shared {
    fn scopes<'a>(&'a self, _: &'a Context, job: Job<'a>) -> Later<'a, Vec<Scope>> {
        let Tool { stream, shifting, without_lists, .. } = self.0.lock().unwrap().clone();
        let listed = |record: &&RecordRef| !without_lists.contains(&&*record.key);
        let scopes: Vec<Scope> = match job {
            Job::Discover => vec![Scope::account("records")],
            Job::Sync(_) if stream => vec![Scope::account("findings")],
            Job::Sync(records) => records.iter().filter(listed).map(|record| Scope::of("findings", record)).collect(),
        };
        let absence = if shifting { Absence::ProofTwice } else { Absence::Proof };
        let scopes = scopes.into_iter().map(|scope| scope.absence(absence)).collect();
        Box::pin(std::future::ready(Ok(scopes)))
    }

    fn page<'a>(&'a self, cx: &'a Context, ask: RawPageRequest<'a>) -> Later<'a, RawPage> {
        Box::pin(std::future::ready(self.read(cx, &ask)))
    }

    fn check<'a>(&'a self, _: &'a Context) -> Later<'a, CheckReport> {
        Box::pin(std::future::ready(Ok(CheckReport::default())))
    }
}

/// The tool, connected.
pub(crate) struct TestApp {
    folder: TempDir,
    pub(crate) engine: Engine,
    shared: Shared,
    pub(crate) least: Severity,
    pub(crate) close_missing_after: Option<Duration>,
}

impl TestApp {
    pub(crate) fn new(records: &[&'static str]) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("t.db"), false).unwrap();
        let bench = TestApp {
            folder,
            engine: Engine { store, stop: CancellationToken::new() },
            shared: Shared::default(),
            least: Severity::Info,
            close_missing_after: None,
        };
        bench.tool().records = records.to_vec();
        bench
    }

    pub(crate) fn tool(&self) -> MutexGuard<'_, Tool> {
        self.shared.0.lock().unwrap()
    }

    fn plan(&self) -> Plan {
        let policy = ImportPolicy { minimum_severity: self.least, import_closed: false, auto_map: true };
        Plan {
            connection: "t".into(),
            meta: &META,
            policy,
            full_sync_every: Duration::from_secs(1 << 30),
            close_missing_after: self.close_missing_after,
            settings: "s".into(),
        }
    }

    /// A full pass over what is written.
    pub(crate) async fn sync(&self) -> Report {
        self.run(PassKind::Full).await
    }

    /// A pass over what changed.
    pub(crate) async fn delta(&self, changes: Vec<One>) -> Report {
        self.tool().changes = Some(changes);
        let report = self.run(PassKind::Delta).await;
        self.tool().changes = None;
        report
    }

    /// A full pass over these items.
    pub(crate) async fn list(&self, items: Vec<One>) -> Report {
        self.tool().items = items;
        self.sync().await
    }

    async fn run(&self, pass: PassKind) -> Report {
        let source: Arc<dyn DynConnector> = Arc::new(self.shared.clone());
        let progress = Progress::without_waits();
        let report = self.engine.sync(&source, &self.plan(), Trigger::Manual, pass, &progress).await.unwrap().pop().unwrap();
        let counts = report.counts;
        let sum = counts.created + counts.updated + counts.unchanged + counts.reopened + counts.filtered + counts.rejected;
        assert_eq!(counts.fetched, sum, "{counts}");
        report
    }

    pub(crate) async fn decide(&self, key: &str, decision: Option<Decision>) {
        let until = decision.map(|_| "2126-01-01T00:00:00Z".parse().unwrap());
        let filter = FindingFilter { ids: vec![self.id(key)], ..FindingFilter::default() };
        let triage = Triage { decision, until, note: decision.map(|_| "a lab host".to_owned()) };
        assert_eq!(self.engine.store.triage(filter, triage).await.unwrap().found, 1);
    }

    pub(crate) async fn act(&self, record: &str, action: RecordAction) {
        let filter = RecordFilter { keys: vec![record.to_owned()], ..RecordFilter::default() };
        self.engine.store.change_records(filter, action).await.unwrap();
    }

    pub(crate) fn id(&self, key: &str) -> String {
        self.query_string(&format!("select id from findings where key = '{key}'"))
    }

    /// Its source state, decision with end and note, and how often something was carried to it.
    pub(crate) fn told(&self, key: &str) -> String {
        self.query_string(&format!(
            "select source_state || coalesce(' ' || triage || case when triage_until is null then '' else ' until' end, '')
             || coalesce(' ' || triage_note, '') from findings where key = '{key}'"
        ))
    }

    /// Ids from which something was carried to this one.
    pub(crate) fn carried(&self, key: &str) -> String {
        self.query_string(&format!(
            "select coalesce(group_concat(f.key), '') from finding_events e join findings f on f.id = e.old_value
             where e.event = 'carried' and e.finding_id = '{}'",
            self.id(key)
        ))
    }

    pub(crate) fn write(&self, sql: &str) {
        rusqlite::Connection::open(self.folder.path().join("t.db")).unwrap().execute_batch(sql).unwrap();
    }

    pub(crate) fn query_i64(&self, sql: &str) -> i64 {
        crate::common::database(&self.engine.store).query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn query_string(&self, sql: &str) -> String {
        crate::common::database(&self.engine.store).query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn open(&self) -> i64 {
        self.query_i64("select count(*) from findings where source_state = 'open'")
    }
}
