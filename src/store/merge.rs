//! One page into the tables: what is new, changed, reopened or the same, with the cursor after it, in one transaction.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{OptionalExtension, Transaction, params};
use tributary_connectors::{
    Coverage, Reject,
    model::{Record, Severity, State},
};
use uuid::Uuid;

use super::{AssetCounts, AssetRow, Lease, Pass, PassEnd, Result, Row, Store, assets, close, disk, now, passes, records, row};
use crate::failpoint;

/// What an operation counted. `fetched = created + updated + unchanged + reopened + filtered + rejected` always holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that the vendor delivered.
    pub fetched: u64,
    /// New rows.
    pub created: u64,
    /// Rows with a change.
    pub updated: u64,
    /// Rows without one.
    pub unchanged: u64,
    /// Rows that were closed and are open again.
    pub reopened: u64,
    /// Items that are not stored by a rule of ours.
    pub filtered: u64,
    /// Items that could not be read.
    pub rejected: u64,
    /// Rows closed because they are no longer listed.
    pub closed: u64,
}

impl Counts {
    /// The changes among them, for an operation's detail.
    pub(crate) fn detail(&self) -> serde_json::Value {
        serde_json::json!({ "created": self.created, "updated": self.updated, "reopened": self.reopened })
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.reopened += other.reopened;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.closed += other.closed;
    }
}

/// Everything about one page that is stored together.
#[derive(Debug)]
pub struct PageCommit {
    /// The operation that read it.
    pub operation: Uuid,
    /// The pass that it belongs to.
    pub pass: Pass,
    /// Its number in the pass, from 0.
    pub number: i64,
    /// The vendor's clock at the start of the pass.
    pub clock: Option<jiff::Timestamp>,
    /// Product records, each with the hash of its id.
    pub records: Vec<(i64, Record)>,
    /// Assets, ready for the store.
    pub assets: Vec<AssetRow>,
    /// Findings, ready for the store.
    pub rows: Vec<Row>,
    /// Items that are delivered but never stored: id hash and reason.
    pub skipped: Vec<(i64, &'static str)>,
    /// Items that could not be read, with the hash of their key where there is one.
    pub rejects: Vec<(Option<i64>, Reject)>,
    /// The vendor's total.
    pub total: Option<u64>,
    /// Cursor of the next page; `None` with `end`.
    pub cursor: Option<String>,
    /// How the pass ended, when this is its last page.
    pub end: Option<PassEnd>,
    /// What the connection lets in.
    pub gate: Gate,
    /// Whether the scope was never read to its end, so that most findings are new: they are inserted without looking first.
    pub mostly_new: bool,
}

/// What a connection lets in as a new row.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Least severity of a new row; `unknown` always passes.
    pub minimum_severity: Severity,
    /// Whether findings that were closed when first met are stored.
    pub import_closed: bool,
    /// Whether records met in a stream are mapped at once.
    pub auto_map: bool,
}

/// What storing a page did.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Counts of the page.
    pub counts: Counts,
    /// Counts of its assets.
    pub assets: AssetCounts,
    /// Filtered items by reason.
    pub filtered: BTreeMap<&'static str, u64>,
    /// When the pass ended: why it proves nothing about what it did not list, if so.
    pub incomplete: Option<String>,
}

/// Ids of the texts and lists of CVE ids stored last, so that what repeats is not looked up each time. Bounded.
#[derive(Debug, Default)]
pub(crate) struct TextCache {
    texts: HashMap<String, i64>,
    cves: HashMap<String, i64>,
}

impl TextCache {
    const MOST: usize = 16_384;

    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.cves.clear();
    }

    fn keep(ids: &mut HashMap<String, i64>, name: &str, id: i64) {
        if ids.len() >= Self::MOST {
            ids.clear();
        }
        ids.insert(name.to_owned(), id);
    }
}

impl Store {
    /// Stores one page.
    pub(crate) fn commit_page(&self, lease: &Lease, page: PageCommit) -> impl Future<Output = Result<Stored>> + Send + use<> {
        let (lease, keep_raw, path) = (lease.clone(), self.keep_raw, self.path.clone());
        let stored = self.write(move |tx, texts| {
            disk::room(&path)?;
            lease.extend(tx)?;
            failpoint::pass("page.begin");
            let merge =
                Merge { tx, texts, lease: &lease, page: &page, keep_raw, at: now(), records: HashMap::new(), stored: Stored::default() };
            let stored = merge.run()?;
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
    stored: Stored,
}

/// What a row was before this page.
struct Before {
    seq: i64,
    id: row::Id,
    digest: i64,
    light_digest: i64,
    scope_id: i64,
    record_id: i64,
    source_state: String,
}

impl<'a> Merge<'a, '_> {
    fn run(mut self) -> Result<Stored> {
        let page = self.page;
        let mut hashes = Vec::with_capacity(page.rows.len());
        for (hash, record) in &page.records {
            hashes.push(*hash);
            match records::discovered(self.tx, self.lease.connection_id, record, page.gate.auto_map, self.at)? {
                records::Met::New => self.stored.counts.created += 1,
                records::Met::Changed => self.stored.counts.updated += 1,
                records::Met::Same => self.stored.counts.unchanged += 1,
            }
        }
        for row in &page.assets {
            hashes.push(row.id.hash);
            assets::merge(self.tx, self.lease.connection_id, page.pass.scope_id, row, self.at, &mut self.stored.assets)?;
        }
        for row in &page.rows {
            hashes.push(self.merge(row)?);
        }
        for (hash, reason) in &page.skipped {
            hashes.push(*hash);
            self.filtered(reason);
        }
        let unkeyed = page.rejects.iter().filter(|(hash, _)| hash.is_none()).count();
        hashes.extend(page.rejects.iter().filter_map(|(hash, _)| *hash));
        self.stored.counts.rejected = page.rejects.len() as u64;
        self.stored.counts.fetched = (page.records.len() + page.rows.len() + page.skipped.len() + page.rejects.len()) as u64;
        quarantine(self.tx, self.lease, page.operation, page.pass.scope_id, &page.rejects, self.at)?;
        if !page.pass.full {
            close::seen_again(self.tx, page.pass.scope_id, &hashes)?;
        }
        failpoint::pass("page.rows");
        advance(self.tx, page, &hashes, unkeyed, self.at)?;
        failpoint::pass("page.cursor");
        if let Some(end) = &page.end {
            self.stored.incomplete = finish(self.tx, &page.pass, end)?;
            failpoint::pass("page.watermark");
        }
        self.stored.counts.add_to(self.tx, page.operation)?;
        failpoint::pass("page.counted");
        Ok(self.stored)
    }

    fn filtered(&mut self, reason: &'static str) {
        self.stored.counts.filtered += 1;
        *self.stored.filtered.entry(reason).or_default() += 1;
    }

    /// Stores one finding; returns the hash under which it counts as seen.
    fn merge(&mut self, row: &'a Row) -> Result<i64> {
        let (mut record_id, mut good) = self.record(&row.finding.record)?;
        let open = row.finding.state == State::Open;
        let wanted = row.finding.severity == Severity::Unknown || row.finding.severity >= self.page.gate.minimum_severity;
        if self.page.mostly_new && good && open && wanted && row.alternate.is_none() && self.insert(row, record_id, 0)? {
            self.stored.counts.created += 1;
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
            None if !open && !self.page.gate.import_closed => self.filtered("closed when first met"),
            None if !wanted => {
                self.filtered("below minimum severity");
            }
            None => {
                // The id is not there: where its eight bytes are, they are another's.
                let mut twin = 0;
                while !self.insert(row, record_id, twin)? {
                    twin += 1;
                }
                self.stored.counts.created += 1;
            }
            Some(before) => {
                let state_moved = before.source_state != row.finding.state.as_str();
                if before.digest == row.digest && !state_moved && before.record_id == record_id {
                    if before.light_digest != row.light_digest || before.scope_id != self.page.pass.scope_id {
                        self.touch(&before, row)?;
                    }
                    self.stored.counts.unchanged += 1;
                } else {
                    self.update(&before, row, record_id)?;
                    if state_moved && open {
                        self.stored.counts.reopened += 1;
                    } else {
                        self.stored.counts.updated += 1;
                    }
                }
            }
        }
        Ok(hash)
    }

    fn before(&self, id: &row::Id) -> Result<Option<Before>> {
        Ok(self
            .tx
            .prepare_cached(
                "select seq, digest, light_digest, scope_id, record_id, source_state from finding_rows where id_hash = ?1 and id = ?2",
            )?
            .query_row(params![id.hash, id.text], |row| {
                Ok(Before {
                    seq: row.get(0)?,
                    digest: row.get(1)?,
                    light_digest: row.get(2)?,
                    scope_id: row.get(3)?,
                    record_id: row.get(4)?,
                    source_state: row.get(5)?,
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
        let found = records::met(self.tx, self.lease.connection_id, key, self.page.gate.auto_map, self.at)?;
        self.records.insert(key, found);
        Ok(found)
    }

    fn text(&mut self, row: &Row) -> Result<i64> {
        if let Some(id) = self.texts.texts.get(&row.text_hash) {
            return Ok(*id);
        }
        let finding = &row.finding;
        self.tx
            .prepare_cached(
                "insert into texts (hash, description, remediation, reference_urls) values (?1, ?2, ?3, ?4) on conflict (hash) do nothing",
            )?
            .execute(params![row.text_hash, finding.description, finding.remediation, row.lists.reference_urls])?;
        let id = self.tx.prepare_cached("select id from texts where hash = ?1")?.query_row([&row.text_hash], |row| row.get(0))?;
        TextCache::keep(&mut self.texts.texts, &row.text_hash, id);
        Ok(id)
    }

    /// The list of CVE ids of a finding, kept once with what is in it.
    fn cves(&mut self, row: &Row) -> Result<Option<i64>> {
        let cve = row.lists.cve.as_str();
        if row.finding.cve.is_empty() {
            return Ok(None);
        }
        if let Some(id) = self.texts.cves.get(cve) {
            return Ok(Some(*id));
        }
        let hash = row::hash_of_text(cve);
        let new = self
            .tx
            .prepare_cached("insert into cve_lists (hash, cve) values (?1, ?2) on conflict (hash) do nothing")?
            .execute(params![hash, cve])?;
        let id = self.tx.prepare_cached("select id from cve_lists where hash = ?1")?.query_row([&hash], |row| row.get(0))?;
        for cve in row.finding.cve.iter().filter(|_| new == 1) {
            self.tx
                .prepare_cached("insert into cve_members (cve, list_id) values (?1, ?2) on conflict (cve, list_id) do nothing")?
                .execute(params![cve.to_uppercase(), id])?;
        }
        TextCache::keep(&mut self.texts.cves, cve, id);
        Ok(Some(id))
    }

    /// Inserts a finding, unless a row has its place already.
    fn insert(&mut self, row: &Row, record_id: i64, twin: i64) -> Result<bool> {
        let (text_id, cve_list_id) = (self.text(row)?, self.cves(row)?);
        let (finding, lists) = (&row.finding, &row.lists);
        let cvss = finding.cvss.as_ref();
        let closed_at = (finding.state != State::Open).then_some(self.at);
        let inserted = self
            .tx
            .prepare_cached(
                "insert into finding_rows (id, id_hash, scope_id, record_id, text_id, digest, light_digest, key, rule, branch, category, title,
                 severity, vendor_severity, source_state, vendor_state, cve_list_id, cwe, identifiers, cvss_version, cvss_vector, cvss_score, epss_score,
                 exploited, fix_available, component_name, component_version, component_purl, fixed_version, file_path, line_start, line_end,
                 endpoint, asset_key, tags, url, vendor_first_seen, vendor_last_seen, first_seen, closed_at, updated_at, fingerprint,
                 id_twin, connection_id)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25,
                 ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40, ?39, ?41, ?42, ?43)
                 on conflict (id_hash, id_twin) do nothing",
            )?
            .execute(params![
                row.id.text,
                row.id.hash,
                self.page.pass.scope_id,
                record_id,
                text_id,
                row.digest,
                row.light_digest,
                finding.key,
                finding.rule,
                finding.branch,
                finding.category.as_str(),
                finding.title,
                finding.severity.as_str(),
                finding.vendor_severity,
                finding.state.as_str(),
                finding.vendor_state,
                cve_list_id,
                lists.cwe,
                lists.identifiers,
                cvss.map(|cvss| &cvss.version),
                cvss.and_then(|cvss| cvss.vector.as_ref()),
                cvss.and_then(|cvss| cvss.score),
                finding.epss_score,
                finding.exploited,
                finding.fix_available,
                finding.component_name,
                finding.component_version,
                finding.component_purl,
                finding.fixed_version,
                finding.file_path,
                finding.line_start,
                finding.line_end,
                finding.endpoint,
                finding.asset_key,
                lists.tags,
                finding.url,
                finding.vendor_first_seen.map(jiff::Timestamp::as_microsecond),
                finding.vendor_last_seen.map(jiff::Timestamp::as_microsecond),
                self.at,
                closed_at,
                row.fingerprint,
                twin,
                self.lease.connection_id,
            ])?;
        if inserted == 1 {
            self.raw(self.tx.last_insert_rowid(), row)?;
        }
        Ok(inserted == 1)
    }

    fn raw(&self, seq: i64, row: &Row) -> Result<()> {
        let Some(raw) = row.finding.raw.as_deref().filter(|_| self.keep_raw) else { return Ok(()) };
        let packed;
        let body = match &row.raw {
            Some(body) => body,
            None => {
                packed = row::pack(raw.get());
                &packed
            }
        };
        self.tx
            .prepare_cached(
                "insert into raws (finding_seq, body) values (?1, ?2) on conflict (finding_seq) do update set body = excluded.body",
            )?
            .execute(params![seq, body])?;
        Ok(())
    }

    /// Moves the columns whose move is no change.
    fn touch(&self, before: &Before, row: &Row) -> Result<()> {
        self.tx
            .prepare_cached("update finding_rows set light_digest = ?2, scope_id = ?3, url = ?4, vendor_last_seen = ?5 where seq = ?1")?
            .execute(params![
                before.seq,
                row.light_digest,
                self.page.pass.scope_id,
                row.finding.url,
                row.finding.vendor_last_seen.map(jiff::Timestamp::as_microsecond)
            ])?;
        if before.light_digest != row.light_digest { self.raw(before.seq, row) } else { Ok(()) }
    }

    fn update(&mut self, before: &Before, row: &Row, record_id: i64) -> Result<()> {
        self.history(before, row, record_id)?;
        let (text_id, cve_list_id) = (self.text(row)?, self.cves(row)?);
        let (finding, lists) = (&row.finding, &row.lists);
        let cvss = finding.cvss.as_ref();
        let was_open = before.source_state == State::Open.as_str();
        self.tx
            .prepare_cached(
                "update finding_rows set scope_id = ?2, record_id = ?3, text_id = ?4, digest = ?5, light_digest = ?6, rule = ?7, branch = ?8,
                 category = ?9, title = ?10, severity = ?11, vendor_severity = ?12, source_state = ?13, vendor_state = ?14, cve_list_id = ?15, cwe = ?16,
                 identifiers = ?17, cvss_version = ?18, cvss_vector = ?19, cvss_score = ?20, epss_score = ?21, exploited = ?22,
                 fix_available = ?23, component_name = ?24, component_version = ?25, component_purl = ?26, fixed_version = ?27, file_path = ?28,
                 line_start = ?29, line_end = ?30, endpoint = ?31, asset_key = ?32, tags = ?33, url = ?34, vendor_first_seen = ?35,
                 vendor_last_seen = ?36, updated_at = ?37, fingerprint = ?38, gone_seen = null,
                 closed_at = case when ?39 then null when ?40 then ?37 else closed_at end
                 where seq = ?1",
            )?
            .execute(params![
                before.seq,
                self.page.pass.scope_id,
                record_id,
                text_id,
                row.digest,
                row.light_digest,
                finding.rule,
                finding.branch,
                finding.category.as_str(),
                finding.title,
                finding.severity.as_str(),
                finding.vendor_severity,
                finding.state.as_str(),
                finding.vendor_state,
                cve_list_id,
                lists.cwe,
                lists.identifiers,
                cvss.map(|cvss| &cvss.version),
                cvss.and_then(|cvss| cvss.vector.as_ref()),
                cvss.and_then(|cvss| cvss.score),
                finding.epss_score,
                finding.exploited,
                finding.fix_available,
                finding.component_name,
                finding.component_version,
                finding.component_purl,
                finding.fixed_version,
                finding.file_path,
                finding.line_start,
                finding.line_end,
                finding.endpoint,
                finding.asset_key,
                lists.tags,
                finding.url,
                finding.vendor_first_seen.map(jiff::Timestamp::as_microsecond),
                finding.vendor_last_seen.map(jiff::Timestamp::as_microsecond),
                self.at,
                row.fingerprint,
                finding.state == State::Open,
                was_open,
            ])?;
        if before.light_digest != row.light_digest { self.raw(before.seq, row) } else { Ok(()) }
    }

    /// One event for each column that the history keeps.
    fn history(&self, before: &Before, row: &Row, record_id: i64) -> Result<()> {
        let finding = &row.finding;
        let flag = |flag: Option<bool>| flag.map(|yes| if yes { "true" } else { "false" }.to_owned());
        let (severity, vendor_state, old_record, exploited, fix_available, fixed_version, record_key) = self
            .tx
            .prepare_cached(
                "select f.severity, f.vendor_state, f.record_id, f.exploited, f.fix_available, f.fixed_version, r.key
                 from finding_rows f join record_rows r on r.id = f.record_id where f.seq = ?1",
            )?
            .query_row([before.seq], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, Option<bool>>(3)?,
                    row.get::<_, Option<bool>>(4)?,
                    row.get::<_, Option<String>>(5)?,
                    row.get::<_, String>(6)?,
                ))
            })?;
        let moved = [
            ("severity", Some(severity), Some(finding.severity.as_str().to_owned())),
            ("source_state", Some(before.source_state.clone()), Some(finding.state.as_str().to_owned())),
            ("vendor_state", vendor_state, finding.vendor_state.as_deref().map(str::to_owned)),
            ("exploited", flag(exploited), flag(finding.exploited)),
            ("fix_available", flag(fix_available), flag(finding.fix_available)),
            ("fixed_version", fixed_version, finding.fixed_version.as_deref().map(str::to_owned)),
            ("record_key", Some(record_key.clone()), Some(if old_record == record_id { record_key } else { finding.record.to_string() })),
        ];
        let open = State::Open.as_str();
        for (field, old, new) in moved {
            if old == new {
                continue;
            }
            let event = match (field, old.as_deref(), new.as_deref()) {
                ("source_state", _, Some(new)) if new == open => "reopened",
                ("source_state", Some(old), _) if old == open => "closed",
                _ => "changed",
            };
            event_row(self.tx, &before.id.text, self.at, Some(self.page.operation), event, Some((field, old.as_deref(), new.as_deref())))?;
        }
        Ok(())
    }
}

/// One row of a finding's history.
pub(crate) fn event_row(
    tx: &Transaction<'_>,
    finding: &str,
    at: i64,
    operation: Option<Uuid>,
    event: &str,
    change: Option<(&str, Option<&str>, Option<&str>)>,
) -> Result<()> {
    let (field, old, new) = change.map_or((None, None, None), |(field, old, new)| (Some(field), old, new));
    tx.prepare_cached(
        "insert into finding_events (finding_id, at, operation, event, field, old_value, new_value) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![finding, at, operation.map(|operation| operation.to_string()), event, field, old, new])?;
    Ok(())
}

/// Keeps what could not be read. A scope's quarantine shows its last pass: the same bad item does not pile up.
pub(crate) fn quarantine(
    tx: &Transaction<'_>,
    lease: &Lease,
    operation: Uuid,
    scope_id: i64,
    rejects: &[(Option<i64>, Reject)],
    at: i64,
) -> Result<()> {
    if rejects.is_empty() {
        return Ok(());
    }
    let connection = super::operations::connection_name(tx, lease.connection_id)?;
    let scope: String =
        tx.query_row("select list || case when key = '' then '' else ' ' || key end from scopes where id = ?1", [scope_id], |row| {
            row.get(0)
        })?;
    for (_, reject) in rejects {
        tx.prepare_cached("delete from quarantine where connection = ?1 and scope = ?2 and path = ?3 and raw = ?4")?.execute(params![
            connection,
            scope,
            reject.path,
            reject.raw
        ])?;
        tx.prepare_cached(
            "insert into quarantine (operation, connection, scope, key, path, reason, raw, at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![operation.to_string(), connection, scope, reject.key, reject.path, reject.reason, reject.raw, at])?;
    }
    Ok(())
}

/// Notes what was seen and where the walk stands.
fn advance(tx: &Transaction<'_>, page: &PageCommit, hashes: &[i64], unkeyed: usize, at: i64) -> Result<()> {
    let blob: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
    tx.prepare_cached("insert into pass_pages (pass_id, page, hashes) values (?1, ?2, ?3)")?.execute(params![
        page.pass.id,
        page.number,
        blob
    ])?;
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    tx.prepare_cached(
        "update passes set next_cursor = ?2, cursor_at = ?3, pages = pages + 1, unkeyed = unkeyed + ?4,
         vendor_total = case when ?5 is null then vendor_total when vendor_total is null or vendor_total < ?5 then ?5 else vendor_total end,
         clock_at = coalesce(clock_at, ?6) where id = ?1",
    )?
    .execute(params![
        page.pass.id,
        page.cursor,
        at,
        number(unkeyed),
        page.total.map(|total| i64::try_from(total).unwrap_or(i64::MAX)),
        page.clock.map(jiff::Timestamp::as_microsecond)
    ])?;
    Ok(())
}

/// Ends a pass: what it leaves for the next one is saved with its last rows. Returns why it is not complete, if so.
fn finish(tx: &Transaction<'_>, pass: &Pass, end: &PassEnd) -> Result<Option<String>> {
    let full = end.coverage == Coverage::Full;
    tx.prepare_cached("update passes set ended = ?2 where id = ?1")?.execute(params![pass.id, if full { "full" } else { "delta" }])?;
    let incomplete = match &end.incomplete {
        None if full => passes::incompleteness(tx, pass.id)?,
        told => told.clone(),
    };
    if incomplete.is_none() {
        // The pass may have been resumed: the clock that counts is the one at its very start.
        tx.prepare_cached(
            "update scopes set mark = ?2, watermark = coalesce((select clock_at from passes where id = ?3) - ?4, watermark) where id = ?1",
        )?
        .execute(params![pass.scope_id, end.mark, pass.id, end.overlap_us])?;
    }
    Ok(incomplete)
}
