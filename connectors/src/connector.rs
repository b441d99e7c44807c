//! What a connector is: data ([`Meta`]) and one function from a cursor to the page it names and the cursor after it.
//!
//! All state of a walk is in the cursor, a plain value. So the engine can stop after any page and go on after a restart,
//! fetch one page ahead while the last is being stored, and test a connector without a runtime trick.

mod dynamic;
mod meta;

use std::{future::Future, pin::Pin, time::Duration};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Result,
    kit::{Context, Decoded, Endpoint},
    model::{Finding, ItemKind, Record, Thing},
};

pub use dynamic::{DynConnector, RawPage, RawPageRequest, Registration};
pub use meta::{Judge, Meta, Sign};

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

#[cfg(test)]
mod tests;
