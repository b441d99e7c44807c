//! One page into the tables: what is new, changed, reopened or the same, with the cursor after it, in one transaction.

mod parts;
mod rows;
mod variants;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{OptionalExtension, Transaction, params};
use tributary_connectors::{
    Coverage, Mended, Reject,
    model::{Record, Severity, State},
};
use uuid::Uuid;

use super::{
    Counts, Lease, Pass, PassEnd, PreparedFinding, PreparedThing, Result, Store, ThingCounts, disk, history, now, passes, quarantine, raws,
    records, row, things,
};
use crate::failpoint;

pub use variants::Delivered;

/// Everything about one page that is stored together.
#[derive(Debug)]
pub struct PageCommit {
    /// The operation that read it.
    pub operation: Uuid,
    /// The pass that it belongs to.
    pub pass: Pass,
    /// Its number in the pass, from 0.
    pub number: i64,
    /// How many parts of it were stored before, where it is stored in parts.
    pub part: usize,
    /// Whether this is not its last part: then the cursor stays where it is.
    pub more: bool,
    /// The vendor's clock at the start of the pass.
    pub clock: Option<jiff::Timestamp>,
    /// Whether the list is one of product records.
    pub of_records: bool,
    /// Product records, each with the hash of its id.
    pub records: Vec<(i64, Record)>,
    /// Things, ready for the store.
    pub things: Vec<PreparedThing>,
    /// Findings, ready for the store.
    pub rows: Vec<PreparedFinding>,
    /// The items of those that were compressed ahead.
    pub raws: Vec<Vec<u8>>,
    /// Items that are delivered but never stored: id hash and reason.
    pub skipped: Vec<(i64, &'static str)>,
    /// What the operation has been delivered before.
    pub delivered: Arc<Mutex<Delivered>>,
    /// Items that could not be read, with the hash of their key where there is one.
    pub rejects: Vec<(Option<i64>, Reject)>,
    /// Members that were left out of items.
    pub mended: Vec<Mended>,
    /// The vendor's total.
    pub total: Option<u64>,
    /// Why the pass cannot list everything, as the connector said up to this page.
    pub incomplete: Option<String>,
    /// Whether the connector can explain that much of the list is another one, as it said up to this page.
    pub explained: bool,
    /// Cursor of the next page; `None` with `end`.
    pub cursor: Option<String>,
    /// How the pass ended, when this is its last page.
    pub end: Option<PassEnd>,
    /// What the connection lets in.
    pub policy: ImportPolicy,
    /// Whether the scope was never read to its end, so that most findings are new: they are inserted without looking first.
    pub mostly_new: bool,
}

/// What a connection lets in as a new row.
#[derive(Clone, Copy, Debug)]
pub struct ImportPolicy {
    /// Least severity of a new row; `unknown` always passes.
    pub minimum_severity: Severity,
    /// Whether findings that were closed when first met are stored.
    pub import_closed: bool,
    /// Whether records met in a stream are mapped at once.
    pub auto_map: bool,
}

/// What storing a page did.
#[derive(Clone, Debug, Default)]
pub struct StoredPage {
    /// Counts of the page.
    pub counts: Counts,
    /// Counts of its things.
    pub things: ThingCounts,
    /// Filtered items by reason.
    pub filtered: BTreeMap<&'static str, u64>,
    /// A few keys under which different items came.
    pub duplicates: Vec<Box<str>>,
    /// When the pass ended: why it proves nothing about what it did not list, if so.
    pub incomplete: Option<String>,
    /// When the pass ended: whether the connector can explain a large change.
    pub explained: bool,
}

/// Ids of the texts and lists of CVE ids stored last, so that what repeats is not looked up each time. Bounded.
#[derive(Debug, Default)]
pub(crate) struct TextCache {
    texts: HashMap<String, i64>,
    cves: HashMap<String, i64>,
    /// SQLite's number for what other connections have committed.
    version: i64,
}

impl TextCache {
    const MAX_ENTRIES: usize = 16_384;

    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.cves.clear();
    }

    /// Forgets everything when another connection has written since: it may have put other rows in the place of these.
    pub(crate) fn forget_what_others_wrote(&mut self, tx: &Transaction<'_>) -> Result<()> {
        let version = tx.prepare_cached("pragma data_version")?.query_row([], |row| row.get(0))?;
        if self.version != version {
            self.clear();
            self.version = version;
        }
        Ok(())
    }

    fn keep(ids: &mut HashMap<String, i64>, name: &str, id: i64) {
        if ids.len() >= Self::MAX_ENTRIES {
            ids.clear();
        }
        ids.insert(name.to_owned(), id);
    }
}

impl Store {
    /// Stores one page.
    pub(crate) fn commit_page(&self, lease: &Lease, page: PageCommit) -> impl Future<Output = Result<StoredPage>> + Send + use<> {
        let (lease, keep_raw, path) = (lease.clone(), self.keep_raw, self.path.clone());
        let stored = self.write(move |tx, texts| {
            disk::ensure_free_space(&path)?;
            lease.extend(tx)?;
            failpoint::pass("page.begin");
            let mut delivered = page.delivered.lock().unwrap_or_else(PoisonError::into_inner);
            delivered.meet(tx, &page.pass, page.number)?;
            let merge = Merge {
                tx,
                texts,
                lease: &lease,
                page: &page,
                keep_raw,
                at: now(),
                records: HashMap::new(),
                delivered: &mut delivered,
                blocks: raws::Blocks::default(),
                variants: variants::are_any(tx)?,
                hashes: Vec::with_capacity(page.rows.len()),
                came: None,
                stored: StoredPage::default(),
            };
            let stored = merge.run()?;
            drop(delivered);
            Ok((stored, page))
        });
        // The page comes back to be freed here: the writer has better things to do.
        async {
            let (stored, _) = stored.await?;
            failpoint::pass("page.stored");
            Ok(stored)
        }
    }
}

struct Merge<'a, 'tx> {
    tx: &'a Transaction<'tx>,
    texts: &'a mut TextCache,
    lease: &'a Lease,
    page: &'a PageCommit,
    keep_raw: bool,
    at: i64,
    records: HashMap<&'a str, (i64, bool)>,
    delivered: &'a mut Delivered,
    blocks: raws::Blocks,
    /// Whether there are findings under whose key different items came.
    variants: bool,
    /// Hashes of the page's items so far.
    hashes: Vec<i64>,
    /// Which of the page's findings came on an earlier page, once somebody asked.
    came: Option<HashSet<i64>>,
    stored: StoredPage,
}

/// What a row was before this page.
struct Before {
    seq: i64,
    id: row::Id,
    digest: i64,
    volatile_digest: i64,
    scope_id: i64,
    record_id: i64,
    source_state: String,
    raw_block: Option<i64>,
}

impl<'a> Merge<'a, '_> {
    fn run(mut self) -> Result<StoredPage> {
        let page = self.page;
        parts::begin(self.tx, self.lease, page)?;
        for (hash, record) in &page.records {
            self.hashes.push(*hash);
            match records::upsert_from_discovery(self.tx, self.lease.connection_id, record, page.operation, page.policy.auto_map, self.at)?
            {
                records::Met::New => self.stored.counts.created += 1,
                records::Met::Changed => self.stored.counts.updated += 1,
                records::Met::Same => self.stored.counts.unchanged += 1,
            }
        }
        self.things()?;
        for row in &page.rows {
            let hash = self.merge(row)?;
            self.hashes.push(hash);
        }
        for (hash, reason) in &page.skipped {
            self.hashes.push(*hash);
            self.filtered(reason);
        }
        let unkeyed = page.rejects.iter().filter(|(hash, _)| hash.is_none()).count();
        self.hashes.extend(page.rejects.iter().filter_map(|(hash, _)| *hash));
        self.stored.counts.rejected = page.rejects.len() as u64;
        self.stored.counts.mended = page.mended.len() as u64;
        self.stored.counts.fetched = (page.records.len() + page.rows.len() + page.skipped.len() + page.rejects.len()) as u64;
        for key in page.rejects.iter().filter_map(|(_, reject)| reject.key.as_deref()).filter(|_| page.of_records) {
            records::listed(self.tx, self.lease.connection_id, key, page.operation, self.at)?;
        }
        let leavings = quarantine::Leavings { operation: page.operation, pass: &page.pass, rejects: &page.rejects, mended: &page.mended };
        quarantine::keep(self.tx, self.lease, &leavings, self.at)?;
        for hash in self.delivered.waiting(&page.pass, &self.hashes) {
            history::seen_by_hash(self.tx, hash)?;
        }
        std::mem::take(&mut self.blocks).store(self.tx, &page.raws)?;
        failpoint::pass("page.rows");
        advance(self.tx, page, &self.hashes, unkeyed, self.at)?;
        failpoint::pass("page.cursor");
        if let Some(end) = &page.end {
            (self.stored.incomplete, self.stored.explained) = finish(self.tx, self.lease, &page.pass, end)?;
            if end.coverage == Coverage::Full && self.stored.incomplete.is_none() {
                variants::settle(self.tx, &page.pass)?;
            }
            failpoint::pass("page.watermark");
        }
        self.stored.counts.add_to(self.tx, page.operation)?;
        failpoint::pass("page.counted");
        Ok(self.stored)
    }

    fn things(&mut self) -> Result<()> {
        let (connection_id, scope_id) = (self.lease.connection_id, self.page.pass.scope_id);
        let place = things::Place { connection_id, scope_id, operation: self.page.operation.to_string(), at: self.at };
        for row in &self.page.things {
            self.hashes.push(row.id.hash);
            things::merge(self.tx, &place, row, &mut self.stored.things)?;
        }
        Ok(())
    }

    fn created(&mut self, row: &PreparedFinding, seq: i64) -> Result<()> {
        self.stored.counts.created += 1;
        self.delivered.stored(row.id.hash);
        self.note_what_came_before(row, seq)
    }

    fn filtered(&mut self, reason: &'static str) {
        self.stored.counts.filtered += 1;
        *self.stored.filtered.entry(reason).or_default() += 1;
    }

    /// Stores one finding; returns the hash under which it counts as seen.
    fn merge(&mut self, row: &'a PreparedFinding) -> Result<i64> {
        let (mut record_id, mut good) = self.record(&row.finding.record)?;
        let open = row.finding.state == State::Open;
        let wanted = row.finding.severity == Severity::Unknown || row.finding.severity >= self.page.policy.minimum_severity;
        if self.page.mostly_new
            && good
            && open
            && wanted
            && row.alternate.is_none()
            && let Some(seq) = self.insert(row, record_id, 0)?
        {
            self.created(row, seq)?;
            return Ok(row.id.hash);
        }
        let before = match self.before(&row.id)? {
            None => match &row.alternate {
                Some(alternate) => self.before(alternate)?,
                None => None,
            },
            found => found,
        };
        if row.finding.record_sticky
            && let Some(before) = before.as_ref().filter(|before| before.record_id != record_id)
            && let Some(kept_good) = records::still_there(self.tx, before.record_id)?
        {
            (record_id, good) = (before.record_id, kept_good);
        }
        let hash = before.as_ref().map_or(row.id.hash, |before| before.id.hash);
        if !good {
            self.filtered("record not mapped");
            return Ok(hash);
        }
        match before {
            Some(before) => self.merge_known(&before, row, record_id)?,
            None if !open && !self.page.policy.import_closed => self.leave_aside(hash, "closed when first met"),
            None if !wanted => self.leave_aside(hash, "below minimum severity"),
            None => {
                // The id is not there: where its eight bytes are, they are another's.
                let mut collision = 0;
                let seq = loop {
                    match self.insert(row, record_id, collision)? {
                        Some(seq) => break seq,
                        None => collision += 1,
                    }
                };
                self.created(row, seq)?;
            }
        }
        Ok(hash)
    }

    /// Stores a finding that has a row.
    fn merge_known(&mut self, before: &Before, row: &PreparedFinding, record_id: i64) -> Result<()> {
        let state_moved = before.source_state != row.finding.state.as_str();
        let same = before.digest == row.digest && !state_moved && before.record_id == record_id;
        let outranked = self.is_outranked(before, row, same)?;
        self.delivered.stored(before.id.hash);
        if same || outranked {
            if !outranked && (before.volatile_digest != row.volatile_digest || before.scope_id != self.page.pass.scope_id) {
                self.touch(before, row)?;
            }
            self.stored.counts.unchanged += 1;
            return Ok(());
        }
        self.update(before, row, record_id)?;
        if state_moved && row.finding.state == State::Open {
            self.stored.counts.reopened += 1;
        } else {
            self.stored.counts.updated += 1;
        }
        Ok(())
    }

    /// Counts a finding that has no row and gets none.
    fn leave_aside(&mut self, hash: i64, reason: &'static str) {
        self.filtered(reason);
        self.delivered.left_aside(hash);
    }

    fn before(&self, id: &row::Id) -> Result<Option<Before>> {
        Ok(self
            .tx
            .prepare_cached(
                "select seq, digest, volatile_digest, scope_id, record_id, source_state, raw_block from finding_rows where id_hash = ?1 and id = ?2",
            )?
            .query_row(params![id.hash, id.text], |row| {
                Ok(Before {
                    seq: row.get(0)?,
                    digest: row.get(1)?,
                    volatile_digest: row.get(2)?,
                    scope_id: row.get(3)?,
                    record_id: row.get(4)?,
                    source_state: row.get(5)?,
                    raw_block: row.get(6)?,
                    id: id.clone(),
                })
            })
            .optional()?)
    }

    /// The record of a finding, and whether its findings are stored. A record nobody has met yet counts as discovered.
    fn record(&mut self, key: &'a str) -> Result<(i64, bool)> {
        if let Some(known) = self.records.get(key) {
            return Ok(*known);
        }
        let found = records::upsert_from_finding(self.tx, self.lease.connection_id, key, self.page.policy.auto_map, self.at)?;
        self.records.insert(key, found);
        Ok(found)
    }
}

/// Notes what was seen and where the walk stands.
fn advance(tx: &Transaction<'_>, page: &PageCommit, hashes: &[i64], unkeyed: usize, at: i64) -> Result<()> {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let advanced = tx
        .prepare_cached(
            "update passes set next_cursor = case when ?9 then next_cursor else ?2 end, cursor_at = ?3, pages = pages + ?10,
         unkeyed = unkeyed + ?4,
         vendor_total = case when ?5 is null then vendor_total when vendor_total is null or vendor_total < ?5 then ?5 else vendor_total end,
         clock_at = coalesce(clock_at, ?6), incomplete = coalesce(incomplete, ?7), explained = max(explained, ?8) where id = ?1",
        )?
        .execute(params![
            page.pass.id,
            page.cursor,
            at,
            number(unkeyed),
            page.total.map(|total| i64::try_from(total).unwrap_or(i64::MAX)),
            page.clock.map(jiff::Timestamp::as_microsecond),
            page.incomplete,
            page.explained,
            page.more,
            i64::from(!page.more)
        ])?;
    passes::one_row(advanced)?;
    parts::note(tx, page, hashes)
}

/// Ends a pass. Returns why it is not complete, if so, and whether a large change of its list is explained. From where the next
/// delta reads is saved with its last rows; what it found out about the list once it has been judged, see [`passes::leave_mark`].
fn finish(tx: &Transaction<'_>, lease: &Lease, pass: &Pass, end: &PassEnd) -> Result<(Option<String>, bool)> {
    let full = end.coverage == Coverage::Full;
    let (told, explained): (Option<String>, bool) = tx
        .prepare_cached("select incomplete, explained from passes where id = ?1")?
        .query_row([pass.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if full && told.is_none() {
        quarantine::settle(tx, lease, pass)?;
    }
    let incomplete = match told {
        None if full => passes::incompleteness(tx, pass.id)?,
        told => told,
    };
    tx.prepare_cached("update passes set ended = ?2, mark = ?3, incomplete = ?4 where id = ?1")?.execute(params![
        pass.id,
        if full { "full" } else { "delta" },
        end.mark,
        incomplete
    ])?;
    if incomplete.is_none() {
        // The pass may have been resumed: the clock that counts is the one at its very start.
        let saved = tx
            .prepare_cached(
                "update scopes set watermark = coalesce((select clock_at from passes where id = ?2) - ?3, watermark) where id = ?1",
            )?
            .execute(params![pass.scope_id, pass.id, end.overlap_us])?;
        passes::one_row(saved)?;
    }
    Ok((incomplete, explained))
}
