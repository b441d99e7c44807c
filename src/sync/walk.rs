//! One walk over one scope: page after page, the next one fetched while the last one is stored.

mod parts;

use std::{
    collections::{BTreeMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::OnceCell;
use tributary_connectors::{
    Context, Coverage, ErrorKind, Item, Mended, Next, RawPage, RawPageRequest, Recovery, Reject, Scope, kit::par_map, model::ItemKind,
};

use super::{Error, clip::clip, context::Run, repeats::Repeats};
use crate::{
    clock, failpoint,
    store::{
        self, Counts, OperationKind, PageCommit, Pass, PassEnd, PassKind, PreparedFinding, PreparedThing, Resume, ScopeRow, Store,
        StoredPage, ThingCounts, hash_of, pack_ahead, prepare, prepare_thing,
    },
};
use parts::Parts;

/// How a walk over a scope ended.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) pass: Pass,
    /// What the pass listed; `None` when it did not reach its end.
    pub(super) coverage: Option<Coverage>,
    pub(super) incomplete: Option<String>,
    pub(super) error: Option<Error>,
    /// The text of the error, once the operation has it.
    pub(super) failed: Option<String>,
    /// Its record is deleted in the tool, and so is the list.
    pub(super) record_gone: bool,
    pub(super) stopped: bool,
    pub(super) pages: i64,
    pub(super) counts: Counts,
    pub(super) things: ThingCounts,
    pub(super) filtered: BTreeMap<&'static str, u64>,
    pub(super) total: Option<u64>,
    /// A few keys under which different items came.
    duplicates: Vec<Box<str>>,
    /// Whether the connector can explain a large change.
    pub(super) explained: bool,
    /// What the periodic full pass found that the deltas had missed.
    pub(super) drift: Option<Counts>,
    pub(super) began: Timestamp,
    pub(super) took: Duration,
}

/// Keys that a warning names.
const NAMED_KEYS: usize = 3;

impl Walked {
    /// Adds what a walk over the same scope before this one counted.
    fn after(mut self, before: Walked) -> Self {
        self.counts += before.counts;
        self.things += before.things;
        for (reason, count) in before.filtered {
            *self.filtered.entry(reason).or_default() += count;
        }
        self.began = before.began;
        self.took += before.took;
        self
    }

    /// Whether there is more to tell than that the list was read and how long it is.
    pub(super) fn has_news(&self) -> bool {
        let Counts { created, updated, reopened, rejected, mended, duplicates, .. } = self.counts;
        self.coverage.is_none()
            || self.pass.resumed
            || self.incomplete.is_some()
            || self.failed.is_some()
            || self.drift.is_some()
            || created + updated + reopened + rejected + mended + duplicates > 0
    }

    /// In a few words, for the operation's detail.
    pub(super) fn detail(&self) -> serde_json::Value {
        let mut detail = serde_json::json!({
            "coverage": self.coverage.map(|coverage| if coverage == Coverage::Full { "full" } else { "delta" }),
            "resumed": self.pass.resumed.then_some(true),
            "record_gone": self.record_gone.then_some(true),
            "pages": self.pages,
            "fetched": self.counts.fetched,
            "vendor_total": self.total,
            "incomplete": self.incomplete.as_deref().map(|reason| clip(reason, 200)),
            "error": self.failed.clone().or_else(|| self.error.as_ref().map(ToString::to_string)).map(|error| clip(&error, 200)),
            "began": format!("{:.0}", self.began),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "drift": self.drift.map(|drift| drift.detail()),
        });
        if let Some(members) = detail.as_object_mut() {
            let Counts { created, updated, reopened, rejected, mended, duplicates, .. } = self.counts;
            let counts = [("created", created), ("updated", updated), ("reopened", reopened), ("rejected", rejected)];
            let beside = [("mended", mended), ("duplicates", duplicates)];
            let moved = counts.into_iter().chain(beside).filter(|(_, count)| *count > 0);
            members.retain(|_, value| !value.is_null());
            members.extend(self.things.detail());
            members.extend(moved.map(|(name, count)| (name.to_owned(), count.into())));
        }
        detail
    }
}

/// What kind of pass an operation wants of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// What changed, where the connector can tell.
    Changes,
    /// Everything, because the last full pass is long ago.
    Periodic,
    /// Everything, because somebody or something asked for it.
    Full,
}

pub(super) struct Walk {
    run: Arc<Run>,
    scope: Scope,
    row: ScopeRow,
}

/// A page with everything computed that does not need the writer.
pub(super) struct Ready {
    records: Vec<(i64, tributary_connectors::model::Record)>,
    things: Vec<PreparedThing>,
    rows: Vec<PreparedFinding>,
    raws: Vec<Vec<u8>>,
    skipped: Vec<(i64, &'static str)>,
    rejects: Vec<(Option<i64>, Reject)>,
    mended: Vec<Mended>,
    total: Option<u64>,
    next: Next<Box<str>>,
}

impl Ready {
    /// What each item of the page is known by; of those that could not be read and have no key, their text.
    pub(super) fn keys(&self) -> Vec<i64> {
        let records = self.records.iter().map(|(hash, _)| *hash);
        let findings = self.rows.iter().map(|row| row.id.hash);
        let things = self.things.iter().map(|thing| thing.id.hash);
        let skipped = self.skipped.iter().map(|(hash, _)| *hash);
        let rejects = self.rejects.iter().map(|(hash, reject)| hash.unwrap_or_else(|| hash_of("", "text", &reject.raw)));
        records.chain(findings).chain(things).chain(skipped).chain(rejects).collect()
    }
}

impl Walk {
    pub(super) fn new(run: Arc<Run>, scope: Scope, row: ScopeRow) -> Self {
        Walk { run, scope, row }
    }

    /// Walks to the end, or as far as it goes. Only a store that fails is an error here.
    ///
    /// A full pass that only its period makes due reads the changes first: what it then still finds is what they had missed.
    pub(super) async fn run(self, wants: Wants) -> Result<Walked, Error> {
        if wants != Wants::Periodic {
            let kind = if wants == Wants::Full { PassKind::Full } else { PassKind::Delta };
            return self.pass(kind).await;
        }
        let changes = self.pass(PassKind::Delta).await?;
        if changes.stopped || changes.coverage == Some(Coverage::Full) {
            return Ok(changes);
        }
        let told = changes.coverage.is_some() && changes.incomplete.is_none();
        let mut walked = self.pass(PassKind::Full).await?;
        walked.drift = told.then_some(walked.counts);
        Ok(walked.after(changes))
    }

    async fn pass(&self, kind: PassKind) -> Result<Walked, Error> {
        let (store, life) = (&self.run.engine.store, self.run.plan.meta.cursor_life);
        // A list of records is short and read anew: who was met before a crash would count as missing from the rest, and who is
        // new may stand on a page that was read before it.
        let resume = if self.run.kind == OperationKind::Discover { Resume::Never } else { Resume::Allowed };
        let mut pass = store.open_pass(&self.run.lease, &self.row, kind, resume, life).await?;
        let mut restarted = false;
        loop {
            let mut walked = self.walk(pass).await?;
            // A cursor that the vendor no longer knows, an export that it gave up: that costs one new pass, not the sync.
            let expired = matches!(&walked.error, Some(Error::Vendor(error)) if error.kind.recovery() == Recovery::Restart);
            // Where the list went round in circles some of it was never shown: what follows there is no end of it.
            if matches!(&walked.error, Some(Error::Vendor(error)) if matches!(error.kind, ErrorKind::PagingLoop)) {
                store.give_up(&self.run.lease, &walked.pass).await?;
            }
            if !expired || restarted {
                if expired {
                    walked.coverage = None;
                }
                return Ok(walked);
            }
            restarted = true;
            pass = store.open_pass(&self.run.lease, &self.row, kind, Resume::Never, life).await?;
        }
    }

    async fn walk(&self, pass: Pass) -> Result<Walked, Error> {
        let began = Instant::now();
        let mut walked = self.pages(pass).await?;
        walked.took = began.elapsed();
        self.warn_of_duplicates(&walked);
        Ok(walked)
    }

    fn warn_of_duplicates(&self, walked: &Walked) {
        if walked.duplicates.is_empty() {
            return;
        }
        let list = if self.scope.title.is_empty() { self.scope.list } else { &*self.scope.title };
        let keys: Vec<String> = walked.duplicates.iter().map(|key| format!("{:?}", key.chars().take(100).collect::<String>())).collect();
        Context::new(Arc::clone(&self.run.activity)).warn(format!(
            "{list}: {} items came under the keys of other, different ones (such as {}): of each key one is kept, an open one before a \
             closed one, then the most severe; report such a key to the authors of this program, as it should tell these items apart",
            walked.counts.duplicates,
            keys.join(", ")
        ));
    }

    // long: each step of a page reads or sets the same state of the walk
    async fn pages(&self, pass: Pass) -> Result<Walked, Error> {
        let cx = Context::new(Arc::clone(&self.run.activity));
        let known = Known { store: &self.run.engine.store, pass: &pass, keys: OnceCell::new() };
        let mut walked = Walked {
            coverage: None,
            incomplete: None,
            error: None,
            failed: None,
            record_gone: false,
            stopped: false,
            pages: pass.pages,
            counts: Counts::default(),
            things: ThingCounts::default(),
            filtered: BTreeMap::new(),
            total: None,
            duplicates: Vec::new(),
            explained: false,
            drift: None,
            began: clock::now(),
            took: Duration::ZERO,
            pass: pass.clone(),
        };
        let (mut cursors, mut repeats) = (HashSet::new(), Repeats::default());
        let parts = Parts::new(self, &cx, &pass);
        let mut cursor = pass.cursor.clone();
        let mut fetched = self.fetch(&cx, &pass, cursor.as_deref(), &known, (&parts, walked.pages)).await;
        loop {
            let taken = parts.end().await;
            for stored in taken.stored {
                self.count(&mut walked, stored);
            }
            if let Some(error) = taken.error {
                return Err(error.into());
            }
            let ready = match fetched {
                Ok(Some(ready)) => ready,
                Ok(None) => {
                    walked.stopped = true;
                    return Ok(walked);
                }
                Err(error) => {
                    walked.error = Some(error);
                    return Ok(walked);
                }
            };
            walked.total = walked.total.max(ready.total);
            let (next, end) = match &ready.next {
                Next::More(next) | Next::Wait(next, _) => (Some(next.to_string()), None),
                Next::Done(coverage, mark) => {
                    let overlap_us = i64::try_from(self.run.plan.meta.overlap.as_micros()).unwrap_or(i64::MAX);
                    (None, Some(PassEnd { coverage: *coverage, mark: mark.as_deref().map(str::to_owned), overlap_us }))
                }
            };
            let wait = if let Next::Wait(_, time) = &ready.next { Some(*time) } else { None };
            let stands = wait.is_none() && next.as_ref().is_some_and(|next| Some(next) == cursor.as_ref() || !cursors.insert(next.clone()));
            let keys = [taken.keys, ready.keys()].concat();
            if stands || (wait.is_none() && repeats.met(keys, cx.took_another_part())) {
                walked.error = Some(tributary_connectors::Error::new(format!("reading {}", self.scope.list), ErrorKind::PagingLoop).into());
                return Ok(walked);
            }
            let page = self.part_of(&cx, &pass, walked.pages, taken.parts, ready);
            let page = PageCommit { more: false, cursor: next.clone(), end: end.clone(), ..page };
            // The commit is queued before the next page is asked for, so whatever that asks of the store sees this page.
            let commit = self.commit(page);
            let stored = match &next {
                Some(cursor) => {
                    let ahead = async {
                        if let Some(time) = wait {
                            tokio::select! {
                                () = cx.sleep(time) => {}
                                () = self.run.engine.stop.cancelled() => {}
                            }
                        }
                        self.fetch(&cx, &pass, Some(cursor), &known, (&parts, walked.pages + 1)).await
                    };
                    let (stored, ahead) = tokio::join!(commit, ahead);
                    fetched = ahead;
                    stored?
                }
                None => {
                    fetched = Ok(None);
                    commit.await?
                }
            };
            walked.pages += 1;
            let (incomplete, explained) = self.count(&mut walked, stored);
            if let Some(end) = end {
                walked.coverage = Some(end.coverage);
                walked.incomplete = incomplete;
                walked.explained = explained;
                return Ok(walked);
            }
            cursor = next;
        }
    }

    /// Adds what storing a page, or a part of one, did. Returns why the pass that it ended is not complete, if so, and whether a
    /// large change of its list is explained.
    fn count(&self, walked: &mut Walked, stored: StoredPage) -> (Option<String>, bool) {
        walked.counts += stored.counts;
        walked.things += stored.things;
        for (reason, count) in &stored.filtered {
            *walked.filtered.entry(reason).or_default() += count;
        }
        let room = NAMED_KEYS.saturating_sub(walked.duplicates.len());
        walked.duplicates.extend(stored.duplicates.into_iter().take(room));
        self.run.progress.page(&stored.counts, walked.total);
        (stored.incomplete, stored.explained)
    }

    /// A page for the store that is not at its end yet.
    pub(super) fn part_of(&self, cx: &Context, pass: &Pass, number: i64, part: usize, ready: Ready) -> PageCommit {
        PageCommit {
            operation: self.run.operation,
            pass: pass.clone(),
            number,
            part,
            more: true,
            clock: believed(cx),
            of_records: self.run.kind == OperationKind::Discover,
            records: ready.records,
            things: ready.things,
            rows: ready.rows,
            raws: ready.raws,
            skipped: ready.skipped,
            delivered: Arc::clone(&self.run.delivered),
            rejects: ready.rejects,
            mended: ready.mended,
            total: ready.total,
            incomplete: cx.why_incomplete().map(str::to_owned),
            explained: cx.why_changed().is_some(),
            cursor: None,
            end: None,
            policy: self.run.plan.policy,
            mostly_new: self.row.full_at.is_none(),
        }
    }

    /// Queues a page for the store.
    pub(super) fn commit(&self, page: PageCommit) -> impl Future<Output = store::Result<StoredPage>> + Send + use<> {
        self.run.engine.store.commit_page(&self.run.lease, page)
    }

    /// The page at a cursor, made ready for the store. `None` when the process is to stop.
    #[tracing::instrument(level = "debug", name = "page", skip_all, fields(cursor = cursor.unwrap_or("first")))]
    async fn fetch(
        &self,
        cx: &Context,
        pass: &Pass,
        cursor: Option<&str>,
        known: &Known<'_>,
        (parts, number): (&Parts<'_>, i64),
    ) -> Result<Option<Ready>, Error> {
        parts.begin(number).await;
        let ask = RawPageRequest {
            scope: &self.scope,
            since: pass.since,
            full: pass.full,
            mark: self.row.mark.as_deref(),
            cursor: cursor.map(Into::into),
            stored: known,
            parts: Some(parts),
        };
        if self.run.engine.stop.is_cancelled() {
            return Ok(None);
        }
        failpoint::pass("fetch.begin");
        let page = tokio::select! {
            page = self.run.source.page(cx, ask) => page?,
            () = self.run.engine.stop.cancelled() => return Ok(None),
        };
        failpoint::pass("fetch.done");
        let ready = self.ready(page);
        failpoint::pass("page.ready");
        Ok(Some(ready))
    }

    pub(super) fn ready(&self, page: RawPage) -> Ready {
        let connection = &self.run.plan.connection;
        // What cannot be read, or is skipped, counts as what the list holds.
        let kind = if self.run.kind == OperationKind::Discover { ItemKind::Record } else { self.scope.holds }.as_str();
        // A scope that was never read to its end holds mostly new rows: their raw items are compressed here, not by the writer.
        let compress = self.run.engine.store.keeps_raw() && self.row.full_at.is_none();
        let (mut records, mut things, mut findings, mut skipped) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for item in page.items {
            match item {
                Item::Record(record) => records.push((hash_of(connection, "record", &record.key), record)),
                Item::Thing(thing) => things.push(prepare_thing(connection, &thing)),
                Item::Finding(finding) => findings.push(finding),
                Item::Skipped { key, reason } => skipped.push((hash_of(connection, kind, &key), reason)),
            }
        }
        let mut rows = par_map(findings, |finding| prepare(connection, *finding));
        let raws = if compress { pack_ahead(&mut rows) } else { Vec::new() };
        let rejects =
            page.rejects.into_iter().map(|reject| (reject.key.as_deref().map(|key| hash_of(connection, kind, key)), reject)).collect();
        Ready { records, things, rows, raws, skipped, rejects, mended: page.mended, total: page.total, next: page.next }
    }
}

/// The vendor's clock, from which the next delta reads. One that is far ahead of ours would have changes passed by: ours counts.
fn believed(cx: &Context) -> Option<Timestamp> {
    let (told, now) = (cx.vendor_clock()?, clock::now());
    if told.duration_since(now) <= clock::AHEAD {
        return Some(told);
    }
    cx.warn(format!(
        "the tool's clock is {} hours ahead of this machine's: one of them is wrong. Changes are read by this machine's, which may bring \
         some again; set the wrong clock right",
        told.duration_since(now).as_hours()
    ));
    Some(now)
}

/// What a connector may ask of the store: computed once per pass, when it is first asked.
struct Known<'a> {
    store: &'a Store,
    pass: &'a Pass,
    keys: OnceCell<Vec<Box<str>>>,
}

impl tributary_connectors::StoredKeys for Known<'_> {
    fn undelivered<'a>(
        &'a self,
        vendor_states: &'a [&'a str],
        after: Option<&'a str>,
        limit: usize,
    ) -> Pin<Box<dyn Future<Output = Vec<Box<str>>> + Send + 'a>> {
        Box::pin(async move {
            let states = vendor_states.iter().map(|state| (*state).to_owned()).collect();
            let find = || async { self.store.undelivered(self.pass, states).await };
            let keys: Result<_, store::Error> = self.keys.get_or_try_init(find).await;
            let Ok(keys) = keys else { return Vec::new() };
            let from = after.map_or(0, |after| keys.partition_point(|key| **key <= *after));
            keys[from..].iter().take(limit).cloned().collect()
        })
    }
}
