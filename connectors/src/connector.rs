//! What a connector is: data ([`Meta`]) and one function from a cursor to the page it names and the cursor after it.
//!
//! All state of a walk is in the cursor, a plain value. So the engine can stop after any page and go on after a restart,
//! fetch one page ahead while the last is being stored, and test a connector without a runtime trick.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::{StatusCode, header::HeaderMap};
use schemars::{JsonSchema, Schema};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, ErrorKind, Result,
    kit::{Context, Decoded, Endpoint, Rate, keep_members},
    model::{Finding, ItemKind, Record, Thing},
};

/// One vendor's API. See CONTRIBUTING.md for a walk through a new one.
pub trait Connector: Send + Sync + Sized + 'static {
    /// Identity, documentation and limits: data, no logic.
    const META: Meta;
    /// What a user writes for a connection besides its location.
    type Settings: DeserializeOwned + JsonSchema + Send;
    /// Where a walk stands. `Default` is the beginning.
    type Cursor: Serialize + DeserializeOwned + Default + Send;

    /// Builds the connector. No I/O.
    ///
    /// # Errors
    /// `ErrorKind::Settings` when the settings cannot work together.
    fn open(settings: Self::Settings, link: Endpoint) -> Result<Self>;

    /// The lists that a job reads. Mostly no I/O.
    ///
    /// # Errors
    /// When the vendor has to be asked and does not answer.
    fn scopes(&self, cx: &Context, job: Job<'_>) -> impl Future<Output = Result<Vec<Scope>>> + Send;

    /// One page: what stands at the cursor, and the cursor after it.
    ///
    /// # Errors
    /// When the page could not be read; the engine decides what follows from the kind.
    fn page(&self, cx: &Context, ask: PageRequest<'_, Self::Cursor>) -> impl Future<Output = Result<Page<Self::Cursor>>> + Send;

    /// Why the tool is not up yet (it starts, it migrates its database), as the tool itself says; `None` when it is, or does not
    /// tell. Asked when it refused the credential, did not know a route, or failed (5xx) to the last attempt: a tool that is
    /// starting, or the proxy in front of it, does all three to a good request.
    fn not_ready(&self, _: &Context) -> impl Future<Output = Option<Box<str>>> + Send {
        std::future::ready(None)
    }

    /// Tries each step that a sync needs and names the first that fails. Stores nothing.
    ///
    /// # Errors
    /// The first step that failed, with the cure as its hint.
    fn check(&self, cx: &Context) -> impl Future<Output = Result<CheckReport>> + Send;
}

/// What a connector says of itself.
#[derive(Debug)]
pub struct Meta {
    /// Id in lower snake case, as in `connector = "…"`.
    pub id: &'static str,
    /// The tool's own name.
    pub title: &'static str,
    /// The vendor's page about its API.
    pub docs: &'static str,
    /// What a product record is at this vendor.
    pub record: &'static str,
    /// Location used when the user gives none; empty when the user has to give it.
    pub location: &'static str,
    /// What the location means, with an example.
    pub location_help: &'static str,
    /// Least permissions the credential needs.
    pub permissions: &'static [&'static str],
    /// Further names of the connector, as `vendor = "…"` in the bodies of Leen's API, besides the id in capitals.
    pub vendors: &'static [&'static str],
    /// (other name, field): names accepted for a field besides its own. Of a table that is given no field (`("aws", "")`) the
    /// members count as fields.
    pub aliases: &'static [(&'static str, &'static str)],
    /// Whether syncs after the first ask only for what changed.
    pub incremental: bool,
    /// How many requests the vendor allows one credential; none = the customer's own server. Connectors of one vendor that share
    /// a credential state the same ones.
    pub rates: &'static [Rate],
    /// The vendor's own meaning of an answer, asked for before the usual reading of its status, of a good one too; `None` = the
    /// usual.
    pub judge: Option<Judge>,
    /// Advice for failures that have none of their own, where the vendor's differs from the usual.
    pub cures: &'static [(Sign, &'static str)],
    /// How many scopes are read at once.
    pub concurrency: usize,
    /// How far a delta steps back behind the last pass.
    pub overlap: Duration,
    /// How long a cursor stays good while nothing is read: a walk that stopped longer ago starts anew. An hour for positions in
    /// a list that moves; as long as the vendor keeps it for an export job.
    pub cursor_life: Duration,
    /// Largest body in bytes, after decompression.
    pub body_limit: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// The header in which the vendor says until when the credential is accepted, in small letters.
    pub expiry_header: Option<&'static str>,
    /// Members that may hold secrets of the scanned thing: cut from whatever is kept of a vendor's item.
    pub cut: &'static [&'static str],
    /// The only members that may be kept of a vendor's item, as paths (`target.site.host`; lists add nothing to a path). Empty
    /// = all but `cut`. For vendors whose items are full of the scanned thing's secrets: it holds for what is stored beside a
    /// finding and for what is quarantined, even an item that is none, and the bodies of answers are not quoted in errors.
    pub keep: &'static [&'static str],
}

impl Meta {
    /// The defaults from which a vendor's constant departs.
    pub const DEFAULT: Meta = Meta {
        id: "",
        title: "",
        docs: "",
        record: "",
        location: "",
        location_help: "",
        permissions: &[],
        vendors: &[],
        aliases: &[],
        incremental: false,
        rates: &[],
        judge: None,
        cures: &[],
        concurrency: 4,
        overlap: Duration::from_secs(300),
        cursor_life: Duration::from_secs(3600),
        body_limit: 64 << 20,
        timeout: Duration::from_secs(120),
        expiry_header: None,
        cut: &[],
        keep: &[],
    };
}

/// What an answer of this status, with these headers and this body, means to a vendor; `None` = the usual.
pub type Judge = fn(StatusCode, &HeaderMap, &[u8]) -> Option<ErrorKind>;

/// A failure that a vendor may have advice of its own for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The credential is refused.
    Unauthorized,
    /// A permission is missing.
    Forbidden,
    /// What was asked for is not there (404).
    NotFound,
    /// No API answers here: a web page, or a redirect.
    NotAnApi,
}

impl Sign {
    /// The sign that an error is.
    pub(crate) fn of(kind: &ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::Unauthorized(_) => Some(Sign::Unauthorized),
            ErrorKind::Forbidden(_) => Some(Sign::Forbidden),
            ErrorKind::Refused { status: 404, .. } => Some(Sign::NotFound),
            ErrorKind::NotAnApi(_) | ErrorKind::Redirect(_) => Some(Sign::NotAnApi),
            _ => None,
        }
    }
}

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub enum Job<'a> {
    /// The lists of product records.
    Discover,
    /// The lists of everything else, for these Good records.
    Sync(&'a [RecordRef]),
}

/// A product record as the store knows it.
#[derive(Clone, Debug)]
pub struct RecordRef {
    /// The vendor's id.
    pub key: Box<str>,
    /// The name that the vendor shows for the record.
    pub name: Box<str>,
    /// The vendor's kind of record.
    pub kind: Box<str>,
}

/// One list at one place that can be read to its end on its own: the unit of completeness, resume and closing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Which of the vendor's lists.
    pub list: &'static str,
    /// Which place, unique within the list.
    pub key: Box<str>,
    /// The name of the place, as messages and the timeline show it.
    pub title: Box<str>,
    /// The record whose list it is; `None` when it covers many and each finding names its own.
    pub record: Option<Box<str>>,
    /// What its items are. What cannot be read of it counts as one of these, and so does what is skipped.
    pub holds: ItemKind,
    /// What it means that a complete full pass did not deliver something.
    pub absence: Absence,
}

/// What it means that a complete full pass over a list did not deliver something that was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It is gone.
    Proof,
    /// It is gone when the next such pass does not deliver it either: the list can shift while it is paged (page numbers or
    /// offsets over a live list). A list of one page cannot.
    ProofTwice,
    /// Nothing: the list shows what is recent, or a sample.
    Nothing,
}

impl Scope {
    /// A list that covers the whole account.
    pub fn account(list: &'static str) -> Self {
        Scope { list, key: "".into(), title: list.into(), record: None, holds: ItemKind::Finding, absence: Absence::Proof }
    }

    /// The same list, of something else than findings.
    #[must_use]
    pub fn holding(self, holds: ItemKind) -> Self {
        Scope { holds, ..self }
    }

    /// The same list, whose absences mean something else than [`Absence::Proof`].
    #[must_use]
    pub fn absence(self, absence: Absence) -> Self {
        Scope { absence, ..self }
    }

    /// The lists of a vendor that keeps findings by record: one of all records, and one of findings for each.
    pub fn by_record(job: Job<'_>, records: &'static str, findings: &'static str, absence: Absence) -> Vec<Self> {
        match job {
            Job::Discover => vec![Scope::account(records)],
            Job::Sync(good) => good.iter().map(|record| Scope::of(findings, record).absence(absence)).collect(),
        }
    }

    /// One record's own list.
    pub fn of(list: &'static str, record: &RecordRef) -> Self {
        let (key, title) = (record.key.clone(), record.name.clone());
        Scope { key, title, record: Some(record.key.clone()), ..Scope::account(list) }
    }
}

/// The request for one page.
pub struct PageRequest<'a, C> {
    /// The list to read.
    pub scope: &'a Scope,
    /// Read what changed since then; `None` when no pass was ever completed, or the vendor cannot tell.
    pub since: Option<Timestamp>,
    /// Whether everything open has to be listed.
    pub full: bool,
    /// What the last complete pass left behind.
    pub mark: Option<&'a str>,
    /// Where the walk stands.
    pub cursor: C,
    /// What the store already holds of this scope.
    pub stored: &'a dyn StoredKeys,
    /// Takes the first parts of a long page; see [`crate::kit::in_parts`].
    pub parts: Option<&'a dyn Parts>,
}

/// Takes what was made of a page while the rest of it waits, so that the longest page costs no more memory than its text.
pub trait Parts: Send + Sync {
    /// Takes the next part of the page that is being read. What the page returns in the end is its last part: only that one
    /// moves the cursor.
    fn take(&self, part: Decoded) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What a connector may ask about findings that are already stored.
pub trait StoredKeys: Send + Sync {
    /// Keys of this scope's findings with one of these vendor states that this pass has not delivered yet, in key order
    /// after `after`, at most `limit`.
    fn undelivered<'a>(
        &'a self,
        vendor_states: &'a [&'a str],
        after: Option<&'a str>,
        limit: usize,
    ) -> Pin<Box<dyn Future<Output = Vec<Box<str>>> + Send + 'a>>;
}

/// One page of a walk.
#[derive(Debug)]
pub struct Page<C> {
    /// What came, in the vendor's order.
    pub items: Vec<Item>,
    /// What came and could not be read.
    pub rejects: Vec<Reject>,
    /// What was left out of items that could be read without it.
    pub mended: Vec<Mended>,
    /// How many rows the vendor says the whole list has, where it can be trusted.
    pub total: Option<u64>,
    /// What comes after.
    pub next: Next<C>,
}

impl<C> Page<C> {
    /// A page with what [`crate::kit::items`] made of the vendor's.
    pub fn new(decoded: Decoded, total: Option<u64>, next: Next<C>) -> Self {
        let Decoded { items, rejects, mended } = decoded;
        Page { items, rejects, mended, total, next }
    }

    /// A page with these items, all of which could be read.
    pub fn of(items: Vec<Item>, next: Next<C>) -> Self {
        Page { items, ..Page::empty(next) }
    }

    /// A page that brings nothing.
    pub fn empty(next: Next<C>) -> Self {
        Page { items: Vec::new(), rejects: Vec::new(), mended: Vec::new(), total: None, next }
    }
}

/// What comes after a page. There is no "none": finished and forgotten cannot be confused.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<C> {
    /// Another page follows; the cursor says where it begins.
    More(C),
    /// The same question again, later (an export job is being prepared).
    Wait(C, Duration),
    /// The end of the pass.
    Done(Coverage, Option<ResumeToken>),
}

impl<C> Next<C> {
    /// The end of a pass that has listed everything open and leaves nothing behind.
    pub const FULL: Self = Next::Done(Coverage::Full, None);
}

/// Opaque text that comes back as [`PageRequest::mark`] in the scope's next pass.
pub type ResumeToken = Box<str>;

/// What a finished pass has listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// At least everything open in the scope.
    Full,
    /// Only what changed since the last pass: silence about a finding proves nothing.
    Delta,
}

/// Anything a connector delivers.
#[derive(Debug)]
pub enum Item {
    /// A product record.
    Record(Record),
    /// A finding, to be stored or updated under its key.
    Finding(Box<Finding>),
    /// An asset, an identity or another thing, to be stored or updated under its key.
    Thing(Thing),
    /// Something delivered by the vendor that is never stored, such as a sample: counted by reason.
    Skipped {
        /// The vendor's key, so that it counts as seen.
        key: Box<str>,
        /// Why; [`NOT_LISTED`] where its record is in none of the tool's lists.
        reason: &'static str,
    },
}

/// The reason of an item whose record is in none of the lists that the tool shows. When that is so of everything, the operation
/// is no success: the credential sees too little, or the names do not fit.
pub const NOT_LISTED: &str = "record not listed";

/// An item that could not be read. It is counted, kept in quarantine, and shown with its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Its key, if that much could be read; without one the scope is not complete.
    pub key: Option<Box<str>>,
    /// Path of the offending member.
    pub path: Box<str>,
    /// What is wrong there.
    pub reason: Box<str>,
    /// The vendor's item, with the connector's `cut` members removed, or nothing but its `keep` members.
    pub raw: Box<str>,
}

/// A member that could not be read and was left out: its item is stored without it, counted and shown beside the rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// The item's key.
    pub key: Option<Box<str>>,
    /// Path of the member.
    pub path: Box<str>,
    /// What is wrong there.
    pub reason: Box<str>,
}

/// What a successful [`Connector::check`] learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Facts worth showing, such as the tool's version.
    pub facts: Vec<String>,
    /// Things that work but should be mended.
    pub warnings: Vec<String>,
}

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

#[cfg(test)]
mod tests;
