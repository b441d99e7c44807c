//! The tool: a list in memory with keyset pages, either one list per record or one stream over all records.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::Notify;
use tributary_connectors::{
    CheckReport, Context, Coverage, DynConnector, Error, ErrorKind, Item, Job, Meta, Next, Page, RawPage, RawPageRequest, Result, Scope,
    model::{Category, Finding, Record, Severity, State},
};

pub(crate) const PAGE: usize = 3;
/// Records that findings are in, and those that only come and go.
pub(crate) const RECORDS: u8 = 3;
pub(crate) const ALL_RECORDS: u8 = 9;
pub(crate) const META: Meta = Meta { id: "model", concurrency: 1, ..Meta::DEFAULT };

// ---- The tool -------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) record: u8,
    pub(crate) severity: Severity,
    pub(crate) state: State,
}

/// What the tool holds, and at which page it breaks or hangs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tool {
    pub(crate) stream: bool,
    pub(crate) listed: BTreeSet<u8>,
    pub(crate) findings: BTreeMap<u8, Told>,
    pub(crate) fails: Option<(u8, usize)>,
    pub(crate) hangs: Option<(u8, usize)>,
    /// Whether it says at the end of each list that it is no proof, or that an import explains a change.
    pub(crate) incomplete: bool,
    pub(crate) explained: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Tool>>, pub(crate) Arc<Notify>);

impl Shared {
    pub(crate) fn tool(&self) -> MutexGuard<'_, Tool> {
        self.0.lock().unwrap()
    }
}

pub(crate) fn key(number: u8) -> String {
    format!("k{number:03}")
}

/// Ten findings each are the same weakness under different keys; those from 60 on have no such identity.
pub(crate) fn lineage(number: u8) -> Option<u8> {
    (number < 60).then_some(number % 6)
}

pub(crate) fn record(number: u8) -> String {
    format!("r{number}")
}

pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl DynConnector for Shared {
    fn scopes<'a>(&'a self, _: &'a Context, job: Job<'a>) -> Later<'a, Vec<Scope>> {
        let stream = self.tool().stream;
        let scopes = match job {
            Job::Discover => vec![Scope::account("records")],
            Job::Sync(_) if stream => vec![Scope::account("findings")],
            Job::Sync(records) => records.iter().map(|record| Scope::of("findings", record)).collect(),
        };
        Box::pin(std::future::ready(Ok(scopes)))
    }

    fn page<'a>(&'a self, cx: &'a Context, ask: RawPageRequest<'a>) -> Later<'a, RawPage> {
        Box::pin(async move {
            let tool = self.tool().clone();
            let done =
                |items| Ok(Page { items, rejects: Vec::new(), mended: Vec::new(), total: None, next: Next::Done(Coverage::Full, None) });
            if ask.scope.list == "records" {
                let record =
                    |number: &u8| Item::Record(Record { key: record(*number).into(), name: record(*number).into(), ..Record::default() });
                return done(tool.listed.iter().map(record).collect());
            }
            // The cursor is how many pages were read and the last key of them.
            let (page, after): (usize, Option<u8>) = ask.cursor.map_or((0, None), |text| serde_json::from_str(&text).unwrap());
            let place = ask.scope.record.as_deref().map_or(0, |key| key[1..].parse().unwrap());
            if tool.fails == Some((place, page)) {
                return Err(Error::new(
                    "reading a page",
                    ErrorKind::Refused { status: 400, body: tributary_connectors::Excerpt::new("no") },
                ));
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
                        lineage: lineage(*number).map(|number| format!("l{number}").into()),
                        ..Finding::new(key(*number), record(told.record), Category::Sca)
                    }))
                })
                .collect();
            if !full {
                if tool.incomplete {
                    cx.incomplete("the list is being rebuilt");
                }
                if tool.explained {
                    cx.explains_change("imported since");
                }
                return done(items);
            }
            let next = serde_json::to_string(&(page + 1, last)).unwrap().into_boxed_str();
            Ok(Page { items, rejects: Vec::new(), mended: Vec::new(), total: None, next: Next::More(next) })
        })
    }

    fn check<'a>(&'a self, _: &'a Context) -> Later<'a, CheckReport> {
        Box::pin(std::future::ready(Ok(CheckReport::default())))
    }
}
