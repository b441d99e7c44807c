use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde::Deserialize;

use super::*;
use crate::{
    Error, ErrorKind, Excerpt, RunStats,
    kit::{HttpOptions, Limiters, Location},
};

/// A tool that fails as it is told to, and says that it starts or does not.
struct Told {
    fails: Box<dyn Fn() -> ErrorKind + Send + Sync>,
    starts: AtomicBool,
    asked: AtomicUsize,
    called: AtomicUsize,
}

#[derive(Deserialize, JsonSchema)]
struct Settings {}

impl Told {
    fn new(fails: impl Fn() -> ErrorKind + Send + Sync + 'static, starts: bool) -> Self {
        Told { fails: Box::new(fails), starts: starts.into(), asked: AtomicUsize::new(0), called: AtomicUsize::new(0) }
    }

    fn fail<T>(&self) -> Result<T> {
        self.called.fetch_add(1, Ordering::SeqCst);
        Err(Error::new("reading a list", (self.fails)()))
    }

    fn counts(&self) -> (usize, usize) {
        (self.called.load(Ordering::SeqCst), self.asked.load(Ordering::SeqCst))
    }
}

impl Connector for Told {
    const META: Meta = Meta { id: "told", keep: &["id"], ..Meta::DEFAULT };
    type Settings = Settings;
    type Cursor = ();

    fn open(_: Settings, _: Endpoint) -> Result<Self> {
        Ok(Told::new(|| ErrorKind::CursorExpired, false))
    }
    async fn scopes(&self, _: &Context, _: Job<'_>) -> Result<Vec<Scope>> {
        self.fail()
    }
    async fn page(&self, _: &Context, _: PageRequest<'_, ()>) -> Result<Page<()>> {
        self.fail()
    }
    async fn not_ready(&self, _: &Context) -> Option<Box<str>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.starts.load(Ordering::SeqCst).then(|| "it starts".into())
    }
    async fn check(&self, _: &Context) -> Result<CheckReport> {
        self.fail()
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

fn ask<'a>(scope: &'a Scope, parts: Option<&'a dyn Parts>) -> RawPageRequest<'a> {
    RawPageRequest { scope, since: None, full: true, mark: None, cursor: None, stored: &Nothing, parts }
}

fn cx() -> Context {
    Context::new(Arc::new(RunStats::without_waits()))
}

fn body() -> Excerpt {
    Excerpt::new("no")
}

/// What a tool that is starting does to a good request makes it say so; everything else is what it is.
#[tokio::test]
async fn a_tool_is_asked_whether_it_starts_after_what_a_starting_one_does() {
    type Fails = fn() -> ErrorKind;
    let doubtful: [Fails; 7] = [
        || ErrorKind::Unauthorized(body()),
        || ErrorKind::Forbidden(body()),
        || ErrorKind::NotAnApi("a web page".into()),
        || ErrorKind::Refused { status: 404, body: body() },
        || ErrorKind::Vendor { status: 500, body: body() },
        || ErrorKind::Vendor { status: 502, body: body() },
        || ErrorKind::Vendor { status: 503, body: body() },
    ];
    let plain: [Fails; 7] = [
        || ErrorKind::Refused { status: 400, body: body() },
        || ErrorKind::Throttled(None),
        || ErrorKind::Network("the connection was refused".into()),
        || ErrorKind::too_large(7),
        || ErrorKind::CursorExpired,
        || ErrorKind::UnexpectedBody { path: ".".into(), reason: "odd".into() },
        || ErrorKind::Settings("odd".into()),
    ];
    let scope = Scope::account("list");
    for (fails, doubtful) in doubtful.map(|fails| (fails, true)).into_iter().chain(plain.map(|fails| (fails, false))) {
        for starts in [true, false] {
            let errors: [Error; 3] = [
                DynConnector::page(&Told::new(fails, starts), &cx(), ask(&scope, None)).await.expect_err("it fails"),
                DynConnector::scopes(&Told::new(fails, starts), &cx(), Job::Discover).await.expect_err("it fails"),
                DynConnector::check(&Told::new(fails, starts), &cx()).await.expect_err("it fails"),
            ];
            for error in errors {
                let expected = if doubtful && starts { ErrorKind::Pending("it starts".into()) } else { fails() };
                assert_eq!((&*error.doing, error.kind.to_string()), ("reading a list", expected.to_string()));
            }
            let tool = Told::new(fails, starts);
            let _ = DynConnector::page(&tool, &cx(), ask(&scope, None)).await;
            assert_eq!(tool.counts(), (1, usize::from(doubtful)), "{:?}", fails());
        }
    }
}

#[tokio::test]
async fn a_tool_that_starts_is_left_alone_for_the_rest_of_the_operation() {
    let (tool, scope, first) = (Told::new(|| ErrorKind::Vendor { status: 503, body: body() }, true), Scope::account("list"), cx());
    for _ in 0..3 {
        let error = DynConnector::page(&tool, &first, ask(&scope, None)).await.expect_err("it starts");
        assert!(matches!(&error.kind, ErrorKind::Pending(why) if &**why == "it starts"), "{error}");
        assert_eq!(tool.counts(), (1, 1));
    }
    // The next operation asks anew.
    tool.starts.store(false, Ordering::SeqCst);
    let error = DynConnector::page(&tool, &cx(), ask(&scope, None)).await.expect_err("it fails");
    assert!(matches!(error.kind, ErrorKind::Vendor { status: 503, .. }), "{error}");
    assert_eq!(tool.counts(), (2, 2));
}

/// A tool whose one page has so many items that cannot be read, in two parts.
struct Odd {
    count: usize,
}

impl Connector for Odd {
    const META: Meta = Meta { id: "odd", keep: &["id"], ..Meta::DEFAULT };
    type Settings = Settings;
    type Cursor = ();

    fn open(_: Settings, _: Endpoint) -> Result<Self> {
        Ok(Odd { count: 0 })
    }
    async fn scopes(&self, _: &Context, _: Job<'_>) -> Result<Vec<Scope>> {
        Ok(Vec::new())
    }
    async fn page(&self, _: &Context, ask: PageRequest<'_, ()>) -> Result<Page<()>> {
        let raw = r#"{"id":"a","cookie":"hush"}"#;
        let reject = || Reject { key: None, path: "cookie".into(), reason: "is \"hush\"".into(), raw: raw.into() };
        let rejects = |count| Decoded { rejects: (0..count).map(|_| reject()).collect(), ..Decoded::default() };
        let first = if ask.parts.is_some() { self.count / 2 } else { 0 };
        if let Some(parts) = ask.parts {
            parts.take(rejects(first)).await;
        }
        Ok(Page::new(rejects(self.count - first), None, Next::FULL))
    }
    async fn check(&self, _: &Context) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }
}

#[derive(Default)]
struct Taken(Mutex<Vec<Reject>>);

impl Parts for Taken {
    fn take(&self, part: Decoded) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.lock().expect("a lock").extend(part.rejects);
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn a_page_of_more_than_ten_thousand_unreadable_items_is_too_large_in_parts_as_well() {
    let scope = Scope::account("list");
    for in_parts in [false, true] {
        let taken = Taken::default();
        let parts = in_parts.then_some(&taken as &dyn Parts);
        let page = DynConnector::page(&Odd { count: 10_000 }, &cx(), ask(&scope, parts)).await.expect("a page");
        let rejects = [taken.0.into_inner().expect("a lock"), page.rejects].concat();
        assert_eq!(rejects.len(), 10_000);
        assert!(rejects.iter().all(|reject| &*reject.raw == r#"{"id":"a"}"# && !reject.reason.contains("hush")));
        let taken = Taken::default();
        let parts = in_parts.then_some(&taken as &dyn Parts);
        let error = DynConnector::page(&Odd { count: 10_001 }, &cx(), ask(&scope, parts)).await.expect_err("too many");
        assert!(matches!(error.kind, ErrorKind::TooLarge { limit: 10_000, .. }), "{error}");
        assert_eq!(error.to_string(), "the answer has more than 10000 items that cannot be read while reading list");
    }
}

#[test]
fn an_entry_opens_what_its_settings_say() {
    let link = Endpoint {
        location: Location::parse("http://127.0.0.1:1", false).expect("a location"),
        options: HttpOptions::default(),
        limiters: Arc::new(Limiters::default()),
    };
    assert!(Registration::of::<Odd>().open(serde_json::json!({}), link.clone()).is_ok());
    assert!(Registration::of::<Told>().open(serde_json::json!(7), link).is_err());
}
