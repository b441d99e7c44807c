//! A tool whose lists are functions, and a connection to it with a store of its own.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tributary::{
    store::{ImportPolicy, PassKind, Store, Trigger},
    sync::{Engine, Plan, Progress, Report},
};
use tributary_connectors::{
    CheckReport, Context, DynConnector, Error, ErrorKind, Excerpt, Item, Job, Meta, Next, Parts, RawPage, RawPageRequest, RecordRef,
    Reject, Result, Scope,
    kit::Decoded,
    model::{Category, Finding, Record, Severity},
};

const META: Meta = Meta { id: "scripted", concurrency: 2, ..Meta::DEFAULT };

/// What a list answers: its name and place, and the number of the page.
type Answer = Box<dyn Fn(&Scope, usize) -> Result<RawPage> + Send + Sync>;

#[derive(Default)]
pub(crate) struct Tool {
    answer: Mutex<Option<Answer>>,
    /// Lists of a sync; where there are none, each Good record has its own list `findings`.
    pub(crate) lists: Mutex<Vec<Scope>>,
    /// The page of a sync that is held back until it is released, and who is told that it was asked for.
    pub(crate) holds: Mutex<Option<usize>>,
    pub(crate) asked: Notify,
    pub(crate) released: Notify,
    /// How often records were listed.
    pub(crate) discovers: AtomicUsize,
    /// Items in a part of a page, where pages come in parts, and after how many parts the page breaks off.
    pub(crate) parts: Mutex<Option<(usize, usize)>>,
}

impl Tool {
    pub(crate) fn answers(&self, answer: impl Fn(&Scope, usize) -> Result<RawPage> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Some(Box::new(answer));
    }
}

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

struct Connected(Arc<Tool>);

impl DynConnector for Connected {
    fn scopes<'a>(&'a self, _: &'a Context, job: Job<'a>) -> Later<'a, Vec<Scope>> {
        let lists = self.0.lists.lock().unwrap().clone();
        let scopes = match job {
            Job::Discover => {
                self.0.discovers.fetch_add(1, Ordering::SeqCst);
                vec![Scope::account("records")]
            }
            Job::Sync(_) if !lists.is_empty() => lists,
            Job::Sync(good) => good.iter().map(|record: &RecordRef| Scope::of("findings", record)).collect(),
        };
        Box::pin(std::future::ready(Ok(scopes)))
    }

    fn page<'a>(&'a self, _: &'a Context, ask: RawPageRequest<'a>) -> Later<'a, RawPage> {
        Box::pin(async move {
            let number = ask.cursor.map_or(0, |text| text.parse().unwrap());
            let held = ask.scope.list != "records" && *self.0.holds.lock().unwrap() == Some(number);
            if held {
                self.0.asked.notify_one();
                self.0.released.notified().await;
            }
            let page = self.0.answer.lock().unwrap().as_ref().unwrap()(ask.scope, number);
            let parts = *self.0.parts.lock().unwrap();
            match (parts, ask.parts) {
                (Some(parts), Some(taker)) if ask.scope.list != "records" => in_parts(page?, parts, taker).await,
                _ => page,
            }
        })
    }

    fn check<'a>(&'a self, _: &'a Context) -> Later<'a, CheckReport> {
        Box::pin(std::future::ready(Ok(CheckReport::default())))
    }
}

/// The page's last part, when it comes to that.
async fn in_parts(mut page: RawPage, (size, breaks): (usize, usize), taker: &dyn Parts) -> Result<RawPage> {
    for _ in 0..breaks {
        if page.items.len() <= size {
            return Ok(page);
        }
        let rest = page.items.split_off(size);
        let items = std::mem::replace(&mut page.items, rest);
        let (rejects, mended) = (std::mem::take(&mut page.rejects), std::mem::take(&mut page.mended));
        taker.take(Decoded { items, rejects, mended }).await;
    }
    Err(Error::new("reading a list", ErrorKind::Network("the connection was lost".into())))
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) tool: Arc<Tool>,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("e.db"), true).unwrap();
        World { folder, engine: Engine { store, stop: CancellationToken::new() }, tool: Arc::new(Tool::default()) }
    }

    fn plan() -> Plan {
        let policy = ImportPolicy { minimum_severity: Severity::Info, import_closed: false, auto_map: true };
        Plan {
            connection: "e".into(),
            meta: &META,
            policy,
            full_sync_every: Duration::from_secs(7 * 86_400),
            close_missing_after: None,
            settings: "s".into(),
        }
    }

    fn source(&self) -> Arc<dyn DynConnector> {
        Arc::new(Connected(Arc::clone(&self.tool)))
    }

    pub(crate) async fn discover(&self) -> Report {
        self.engine.discover(&self.source(), &Self::plan(), Trigger::Manual, &Progress::without_waits()).await.unwrap()
    }

    pub(crate) async fn try_sync(&self, pass: PassKind) -> Result<Report, tributary::sync::Error> {
        let reports = self.engine.sync(&self.source(), &Self::plan(), Trigger::Manual, pass, &Progress::without_waits()).await?;
        Ok(reports.into_iter().next_back().unwrap())
    }

    pub(crate) async fn sync(&self) -> Report {
        self.sync_as(PassKind::Delta).await
    }

    pub(crate) async fn full_sync(&self) -> Report {
        self.sync_as(PassKind::Full).await
    }

    async fn sync_as(&self, pass: PassKind) -> Report {
        let report = self.try_sync(pass).await.unwrap();
        let counts = report.counts;
        let sum = counts.created + counts.updated + counts.unchanged + counts.reopened + counts.filtered + counts.rejected;
        assert_eq!(counts.fetched, sum, "{counts:?}");
        report
    }

    pub(crate) fn query_i64(&self, sql: &str) -> i64 {
        crate::common::database(&self.engine.store).query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn query_string(&self, sql: &str) -> String {
        crate::common::database(&self.engine.store).query_row(sql, [], |row| row.get::<_, Option<String>>(0)).unwrap().unwrap_or_default()
    }

    pub(crate) fn write(&self, sql: &str) {
        let writer = rusqlite::Connection::open(self.folder.path().join("e.db")).unwrap();
        writer.execute_batch(&format!("pragma foreign_keys = off; {sql}")).unwrap();
    }
}

pub(crate) fn record(key: impl ToString) -> Item {
    let key: Box<str> = key.to_string().into();
    Item::Record(Record { name: key.clone(), key, ..Record::default() })
}

pub(crate) fn finding(key: impl ToString, record: &str) -> Item {
    let finding = Finding { title: "t".into(), severity: Severity::High, ..Finding::new(key.to_string(), record, Category::Sca) };
    Item::Finding(Box::new(finding))
}

pub(crate) fn reject(key: Option<&str>, raw: impl ToString) -> Reject {
    Reject { key: key.map(Into::into), path: "member".into(), reason: "is odd".into(), raw: raw.to_string().into() }
}

/// A list of one page.
pub(crate) fn all(items: Vec<Item>) -> Result<RawPage> {
    Ok(RawPage::of(items, Next::FULL))
}

/// A page with another one after it.
pub(crate) fn more(number: usize, items: Vec<Item>) -> Result<RawPage> {
    Ok(RawPage::of(items, Next::More((number + 1).to_string().into())))
}

/// There is no such list.
pub(crate) fn status(status: u16) -> Result<RawPage> {
    Err(Error::new("reading a list", ErrorKind::Refused { status, body: Excerpt::new("no") }))
}
