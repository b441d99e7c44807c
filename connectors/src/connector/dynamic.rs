//! The object-safe twin of [`Connector`], and the register of all connectors.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use schemars::Schema;

use super::{CheckReport, Connector, Job, Meta, Next, Page, PageRequest, Parts, Scope};
use crate::{
    Error, ErrorKind, Result,
    kit::{Context, Decoded, Endpoint, keep_members},
};

/// Items of one page that may be unreadable: of more, none is worth being kept.
const MOST_REJECTS: usize = 10_000;

type Future_<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// [`PageRequest`] with the cursor as JSON text.
pub type RawPageRequest<'a> = PageRequest<'a, Option<Cow<'a, str>>>;
/// [`Page`] with the cursor as JSON text.
pub type RawPage = Page<Box<str>>;

/// The object-safe twin of [`Connector`]: settings and cursors are JSON.
pub trait DynConnector: Send + Sync {
    /// [`Connector::scopes`], boxed.
    fn scopes<'a>(&'a self, cx: &'a Context, job: Job<'a>) -> Future_<'a, Vec<Scope>>;
    /// See [`Connector::page`]. A cursor that this version cannot read is answered with [`ErrorKind::CursorExpired`].
    fn page<'a>(&'a self, cx: &'a Context, ask: RawPageRequest<'a>) -> Future_<'a, RawPage>;
    /// [`Connector::check`], boxed.
    fn check<'a>(&'a self, cx: &'a Context) -> Future_<'a, CheckReport>;
}

impl<T: Connector> DynConnector for T {
    fn scopes<'a>(&'a self, cx: &'a Context, job: Job<'a>) -> Future_<'a, Vec<Scope>> {
        Box::pin(async move { unless_starting(self, cx, Connector::scopes(self, cx, job)).await })
    }

    fn page<'a>(&'a self, cx: &'a Context, ask: RawPageRequest<'a>) -> Future_<'a, RawPage> {
        Box::pin(async move {
            let expired = |_| Error::new("reading the stored cursor", ErrorKind::CursorExpired);
            let cursor = ask.cursor.as_deref().map(serde_json::from_str).transpose().map_err(expired)?.unwrap_or_default();
            let PageRequest { scope, since, full, mark, stored, .. } = ask;
            let parts = ask.parts.map(|parts| Retained { parts, keep: T::META.keep, rejects: AtomicUsize::new(0) });
            let parts_of_page = parts.as_ref().map(|parts| parts as &dyn Parts);
            let page = Connector::page(self, cx, PageRequest { scope, since, full, mark, cursor, stored, parts: parts_of_page });
            let mut page = unless_starting(self, cx, page).await?;
            let before = parts.as_ref().map_or(0, |parts| parts.rejects.load(Ordering::Relaxed));
            if before + page.rejects.len() > MOST_REJECTS {
                let kind = ErrorKind::TooLarge { limit: MOST_REJECTS, unit: "items that cannot be read" };
                return Err(Error::new(format!("reading {}", ask.scope.list), kind));
            }
            // Here and not in the vendor files, so that none can forget it.
            keep_members(T::META.keep, &mut page.items, &mut page.rejects, &mut page.mended);
            let text = |cursor: T::Cursor| serde_json::to_string(&cursor).expect("a cursor is plain data").into_boxed_str();
            let next = match page.next {
                Next::More(cursor) => Next::More(text(cursor)),
                Next::Wait(cursor, time) => Next::Wait(text(cursor), time),
                Next::Done(coverage, mark) => Next::Done(coverage, mark),
            };
            Ok(Page { items: page.items, rejects: page.rejects, mended: page.mended, total: page.total, next })
        })
    }

    fn check<'a>(&'a self, cx: &'a Context) -> Future_<'a, CheckReport> {
        Box::pin(async move {
            let CheckReport { facts, warnings } = unless_starting(self, cx, Connector::check(self, cx)).await?;
            let told = |texts: Vec<String>| texts.iter().map(|text| cx.without_secrets(text)).collect();
            Ok(CheckReport { facts: told(facts), warnings: told(warnings) })
        })
    }
}

/// The parts of a page as they may be kept.
struct Retained<'a> {
    parts: &'a dyn Parts,
    keep: &'static [&'static str],
    /// Items that could not be read so far.
    rejects: AtomicUsize,
}

impl Parts for Retained<'_> {
    fn take(&self, mut part: Decoded) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let rejects = self.rejects.fetch_add(part.rejects.len(), Ordering::Relaxed) + part.rejects.len();
        if rejects > MOST_REJECTS {
            return Box::pin(std::future::ready(()));
        }
        keep_members(self.keep, &mut part.items, &mut part.rejects, &mut part.mended);
        self.parts.take(part)
    }
}

/// The same result, unless the tool failed in a way in which it also fails while it starts, and says that it does.
async fn unless_starting<C: Connector, T>(connector: &C, cx: &Context, result: impl Future<Output = Result<T>> + Send) -> Result<T> {
    if let Some(why) = cx.starting() {
        return Err(Error::new("preparing the request", ErrorKind::Pending(why)));
    }
    let error = match result.await {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    let doubtful = matches!(
        error.kind,
        ErrorKind::Unauthorized(_)
            | ErrorKind::Forbidden(_)
            | ErrorKind::NotAnApi(_)
            | ErrorKind::Vendor { .. }
            | ErrorKind::Refused { status: 404, .. }
    );
    match if doubtful { connector.not_ready(cx).await } else { None } {
        Some(why) => {
            cx.is_starting(&why);
            Err(Error::new(error.doing, ErrorKind::Pending(why)))
        }
        None => Err(error),
    }
}

/// One line of [`crate::CONNECTORS`].
#[derive(Debug)]
pub struct Registration {
    /// What the connector says of itself.
    pub meta: &'static Meta,
    schema: fn() -> Schema,
    open: fn(serde_json::Value, Endpoint) -> Result<Box<dyn DynConnector>>,
}

impl Registration {
    /// The entry of one connector.
    pub const fn of<C: Connector>() -> Self {
        Registration { meta: &C::META, schema: || schemars::schema_for!(C::Settings), open: open::<C> }
    }

    /// The connector of this name: its id, the id in capitals, or one of [`Meta::vendors`].
    pub fn find(name: &str) -> Option<&'static Registration> {
        crate::CONNECTORS.iter().find(|entry| is_named(name, entry.meta.id, entry.meta.vendors))
    }

    /// The id of the connector of this name, when it is one of [`crate::PLANNED`].
    pub fn planned(name: &str) -> Option<&'static str> {
        crate::PLANNED.iter().find(|(id, vendors)| is_named(name, id, vendors)).map(|(id, _)| *id)
    }

    /// JSON Schema of the settings: feeds `tributary connectors`, `check`, the config schema and the docs.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// Opens a connection with resolved settings. No I/O.
    ///
    /// # Errors
    /// `ErrorKind::Settings` with the member that is wrong.
    pub fn open(&self, settings: serde_json::Value, link: Endpoint) -> Result<Box<dyn DynConnector>> {
        (self.open)(settings, link)
    }
}

/// Whether a name is that of a connector, as it is written in a configuration.
fn is_named(name: &str, id: &str, vendors: &[&str]) -> bool {
    name == id || name == id.to_ascii_uppercase() || vendors.contains(&name)
}

fn open<C: Connector>(settings: serde_json::Value, link: Endpoint) -> Result<Box<dyn DynConnector>> {
    let settings = serde_path_to_error::deserialize(settings).map_err(|error| {
        let path = error.path().to_string();
        // The value may be a secret: only the member's name and serde's word for what is wrong are told.
        let what = if path == "." { error.into_inner().to_string() } else { format!("field `{path}` has the wrong type or form") };
        Error::new("reading the connection's fields", ErrorKind::Settings(what.into()))
    })?;
    Ok(Box::new(C::open(settings, link)?))
}
