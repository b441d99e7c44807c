//! Each connector's mapping over responses of real servers, where those are at hand, and over bodies of our own making for
//! what no recording holds. Expected values were written by hand from the vendors' documentation.

mod aws_security_hub;
mod burp;
mod cases;
mod checkmarx;
mod dependency_track;
mod probely;
mod semgrep;
mod shown;
mod snyk;
mod sonarqube;
mod tenable;

use std::{collections::HashMap, fs, path::PathBuf, pin::Pin, sync::Arc};

use axum::{Router, response::Response};
use serde_json::Value;
use tributary_connectors::{
    Context, Coverage, DynConnector, Error, Item, Mended, Next, RawPageRequest, Registration, Reject, RunStats, Scope, StoredKeys,
    kit::{Endpoint, HttpOptions, Limiters, Location},
    model::Finding,
};
use tributary_simulator::{Faults, Vendor, start};

/// A server that answers what a test tells it to.
struct Canned(Router);

impl Vendor for Canned {
    fn id(&self) -> &'static str {
        "canned"
    }
    fn router(self: Arc<Self>, _: Arc<Faults>) -> Router {
        self.0.clone()
    }
}

struct Nothing;

impl StoredKeys for Nothing {
    fn undelivered<'a>(
        &'a self,
        _: &'a [&'a str],
        _: Option<&'a str>,
        _: usize,
    ) -> Pin<Box<dyn Future<Output = Vec<Box<str>>> + Send + 'a>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// What a full pass over a scope delivered.
struct Read {
    items: Vec<Item>,
    rejects: Vec<Reject>,
    mended: Vec<Mended>,
    /// The vendor's largest total.
    total: Option<u64>,
    coverage: Coverage,
    warnings: Vec<String>,
    /// Why the connector says that it cannot list everything.
    incomplete: Option<String>,
}

impl Read {
    /// Key and path of what was left out of items.
    fn left_out(&self) -> Vec<(&str, &str)> {
        self.mended.iter().map(|one| (one.key.as_deref().unwrap_or_default(), &*one.path)).collect()
    }

    fn findings(&self) -> Vec<&Finding> {
        self.items.iter().filter_map(|item| if let Item::Finding(finding) = item { Some(&**finding) } else { None }).collect()
    }
}

/// A connector for this location.
fn open(connector: &str, settings: Value, location: &str) -> (Box<dyn DynConnector>, Context, Arc<RunStats>) {
    let location = Location::parse(location, false).unwrap();
    let link = Endpoint { location, options: HttpOptions::default(), limiters: Arc::new(Limiters::default()) };
    let activity = Arc::new(RunStats::without_waits());
    (Registration::find(connector).unwrap().open(settings, link).unwrap(), Context::new(Arc::clone(&activity)), activity)
}

/// Walks a scope from its first to its last page against these answers.
async fn read(connector: &str, settings: Value, scope: &Scope, answers: Router) -> Read {
    try_read(connector, settings, scope, answers).await.unwrap()
}

async fn try_read(connector: &str, settings: Value, scope: &Scope, answers: Router) -> Result<Read, Error> {
    let tool = start(Canned(answers), 0).await.unwrap();
    let (source, cx, activity) = open(connector, settings, &tool.url);
    let (mut cursor, mut items, mut rejects, mut total) = (None::<Box<str>>, Vec::new(), Vec::new(), None);
    let mut mended = Vec::new();
    for _ in 0..1000 {
        let ask = RawPageRequest {
            scope,
            since: None,
            full: true,
            mark: None,
            cursor: cursor.as_deref().map(Into::into),
            stored: &Nothing,
            parts: None,
        };
        let page = source.page(&cx, ask).await?;
        items.extend(page.items);
        rejects.extend(page.rejects);
        mended.extend(page.mended);
        total = total.max(page.total);
        match page.next {
            Next::More(next) | Next::Wait(next, _) => cursor = Some(next),
            Next::Done(coverage, _) => {
                let incomplete = cx.why_incomplete().map(str::to_owned);
                return Ok(Read { items, rejects, mended, total, coverage, warnings: activity.warnings(), incomplete });
            }
        }
    }
    panic!("the walk does not end");
}

/// A recorded response; `None`, and a loud word, when the recordings are not here.
fn recorded(path: &str) -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures").join(path);
    let Ok(text) = fs::read_to_string(&path) else {
        #[expect(clippy::print_stderr, reason = "whoever runs the tests has to see what did not run")]
        {
            eprintln!("SKIPPED: the recorded response {} is not here", path.display());
        }
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

fn texts(list: &[Box<str>]) -> Vec<&str> {
    list.iter().map(|text| &**text).collect()
}
