//! Different items under one key: each finding shows one of them, whatever the order in which they come.
//!
//! Two items are different when their digests are. What came under a finding's key in one pass is its variants; they are noted
//! only where there is more than one. An open one goes before a closed one, then the more severe one, then the one with the
//! higher digest. A variant counts until a complete full pass of the list that delivered it last goes by without it.
//!
//! A list that is sorted by change delivers what changes while it is read once more, further down. So what comes second in a
//! list and was seen later, as the vendor says, is first taken for what the other one has become; when both come in a later pass
//! too, they are two. A delta brings what has changed: there, an item that was never met takes the place of the one under its key
//! when there is one only; where there are several, nobody can tell which of them it was, and the list is read in full next.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use rusqlite::Transaction;
use tributary_connectors::model::{Severity, State};

use super::{Before, Merge};
use crate::store::{Pass, PreparedFinding, Result, passes};

/// A set of hashes that takes two bytes for each and may say that it holds one which it does not. It never forgets one.
#[derive(Debug)]
struct Sieve {
    bits: Vec<u64>,
}

impl Sieve {
    /// A set for about so many hashes.
    fn of(count: usize) -> Self {
        let bits = count.saturating_mul(16).clamp(1 << 20, 1 << 28).next_power_of_two();
        Sieve { bits: vec![0; bits / 64] }
    }

    fn of_a_million() -> Self {
        Sieve::of(1 << 20)
    }

    /// Four places for a hash. It is spread already: it comes from a digest.
    fn places(&self, hash: i64) -> [(usize, u64); 4] {
        let hash = hash.cast_unsigned();
        let step = hash.rotate_left(32) | 1;
        [0, 1, 2, 3].map(|turn: u64| {
            let place = hash.wrapping_add(step.wrapping_mul(turn)) >> 20;
            let bit = usize::try_from(place).unwrap_or(0) & (self.bits.len() * 64 - 1);
            (bit / 64, 1 << (bit % 64))
        })
    }

    fn insert(&mut self, hash: i64) {
        for (word, bit) in self.places(hash) {
            self.bits[word] |= bit;
        }
    }

    fn may_hold(&self, hash: i64) -> bool {
        self.places(hash).iter().all(|(word, bit)| self.bits[*word] & bit != 0)
    }
}

/// What the passes of one operation have been delivered so far.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Each pass, with its first page in this operation.
    passes: BTreeMap<i64, i64>,
    /// Hashes of what has a row.
    rows: Option<Sieve>,
    /// Hashes of what was left aside and has no row.
    unstored: Option<Sieve>,
    /// By pass: what waits in its scope, see [`passes::waiting`].
    waiting: BTreeMap<i64, Vec<i64>>,
}

impl Delivered {
    /// Takes note of the pass that a page belongs to.
    pub(super) fn meet(&mut self, tx: &Transaction<'_>, pass: &Pass, page: i64) -> Result<()> {
        if self.passes.contains_key(&pass.id) {
            return Ok(());
        }
        self.passes.insert(pass.id, page);
        self.waiting.insert(pass.id, passes::waiting(tx, pass.scope_id)?);
        let rows = match &mut self.rows {
            Some(rows) => rows,
            none => {
                let last: i64 = tx.prepare_cached("select coalesce(max(seq), 0) from finding_rows")?.query_row([], |row| row.get(0))?;
                none.insert(Sieve::of(usize::try_from(last).unwrap_or(0)))
            }
        };
        // A pass that is resumed: whether what it was delivered has a row, or was left aside, is not known any more.
        let unstored = &mut self.unstored;
        passes::each_page(tx, pass.id, 0, |hashes| {
            for hash in hashes {
                rows.insert(hash);
                unstored.get_or_insert_with(Sieve::of_a_million).insert(hash);
            }
        })
    }

    /// What of these hashes waits in the scope of a pass.
    pub(super) fn waiting<'a>(&'a self, pass: &Pass, hashes: &'a [i64]) -> impl Iterator<Item = i64> + 'a {
        let waiting = self.waiting.get(&pass.id).map_or(&[][..], Vec::as_slice);
        hashes.iter().copied().filter(|hash| !waiting.is_empty() && waiting.binary_search(hash).is_ok())
    }

    pub(super) fn stored(&mut self, hash: i64) {
        if let Some(rows) = &mut self.rows {
            rows.insert(hash);
        }
    }

    pub(super) fn left_aside(&mut self, hash: i64) {
        self.unstored.get_or_insert_with(Sieve::of_a_million).insert(hash);
    }

    fn may_have_row(&self, hash: i64) -> bool {
        self.rows.as_ref().is_some_and(|rows| rows.may_hold(hash))
    }

    fn may_be_aside(&self, hash: i64) -> bool {
        self.unstored.as_ref().is_some_and(|unstored| unstored.may_hold(hash))
    }
}

/// A variant of a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Variant {
    digest: i64,
    rank: i64,
    scope_id: i64,
    pass_id: i64,
}

impl Variant {
    /// Rank of what another one stands for now: it came and was not stored, or the other one is what it has become.
    const REPLACED: i64 = -1;
    /// Digest of one that came and was not stored.
    const UNSTORED: i64 = 0;

    fn order(&self) -> (i64, i64) {
        (self.rank, self.digest)
    }
}

/// Variants that are noted of one finding; further ones are looked at and not noted.
const MAX_VARIANTS: usize = 16;

fn rank(open: bool, severity: i64) -> i64 {
    i64::from(open) * 8 + severity
}

fn rank_of(row: &PreparedFinding) -> i64 {
    let severity = match row.finding.severity {
        Severity::Critical => 5,
        Severity::High => 4,
        Severity::Medium => 3,
        Severity::Low => 2,
        Severity::Info => 1,
        Severity::Unknown => 0,
    };
    rank(row.finding.state == State::Open, severity)
}

/// The variants of a finding.
fn of(tx: &Transaction<'_>, seq: i64) -> Result<Vec<Variant>> {
    let mut statement = tx.prepare_cached("select digest, rank, scope_id, pass_id from variants where finding_seq = ?1")?;
    let variants = statement
        .query_map([seq], |row| Ok(Variant { digest: row.get(0)?, rank: row.get(1)?, scope_id: row.get(2)?, pass_id: row.get(3)? }))?;
    Ok(variants.collect::<Result<_, _>>()?)
}

/// Whether any finding has variants, of whichever connection.
pub(super) fn are_any(tx: &Transaction<'_>) -> Result<bool> {
    let first: i64 = tx.prepare_cached("select coalesce(min(finding_seq), 0) from variants")?.query_row([], |row| row.get(0))?;
    Ok(first > 0)
}

fn note(tx: &Transaction<'_>, seq: i64, variant: Variant) -> Result<()> {
    let Variant { digest, rank, scope_id, pass_id } = variant;
    tx.prepare_cached(
        "insert into variants (finding_seq, digest, rank, scope_id, pass_id) values (?1, ?2, ?3, ?4, ?5)
         on conflict (finding_seq, digest) do update set rank = ?3, scope_id = ?4, pass_id = ?5",
    )?
    .execute([seq, digest, rank, scope_id, pass_id])?;
    Ok(())
}

fn forget(tx: &Transaction<'_>, seq: i64, digest: i64) -> Result<()> {
    tx.prepare_cached("delete from variants where finding_seq = ?1 and digest = ?2")?.execute([seq, digest])?;
    Ok(())
}

impl Merge<'_, '_> {
    /// Whether another item is shown under this item's key, so that this one is not stored.
    pub(super) fn is_outranked(&mut self, before: &Before, row: &PreparedFinding, same: bool) -> Result<bool> {
        // What came of a finding before it was gone says nothing any more.
        if before.source_state == State::Gone.as_str() {
            return Ok(false);
        }
        let mut known = if self.variants { of(self.tx, before.seq)? } else { Vec::new() };
        if known.is_empty() {
            if same || !self.came_before(before.id.hash)? {
                return Ok(false);
            }
            let shown = self.shown(before, row)?;
            note(self.tx, before.seq, shown)?;
            known.push(shown);
            self.variants = true;
        }
        let this = Variant { digest: row.digest, rank: rank_of(row), scope_id: self.page.pass.scope_id, pass_id: self.page.pass.id };
        let in_this_operation = |variant: &Variant| self.delivered.passes.contains_key(&variant.pass_id);
        let others = || known.iter().filter(|variant| variant.digest != this.digest);
        let met = known.iter().find(|variant| variant.digest == this.digest).copied();
        if !self.page.pass.full && met.is_none() && only_one(&known).is_some_and(|one| !in_this_operation(one)) {
            known.iter().try_for_each(|variant| forget(self.tx, before.seq, variant.digest))?;
            return Ok(false);
        }
        let again = known.iter().any(|variant| variant.digest == this.digest && in_this_operation(variant));
        let is_duplicate = !again && others().any(|variant| variant.rank != Variant::REPLACED && in_this_operation(variant));
        let outranked = others().any(|variant| variant.order() > this.order());
        if outranked && !self.page.pass.full && met.is_none_or(|variant| variant.rank == Variant::REPLACED) {
            read_in_full_next(self.tx, this.scope_id)?;
        }
        let lowest = others().min_by_key(|variant| variant.order()).copied();
        match lowest.filter(|_| known.len() >= MAX_VARIANTS && others().count() == known.len()) {
            Some(lowest) if lowest.order() > this.order() => {}
            Some(lowest) => {
                forget(self.tx, before.seq, lowest.digest)?;
                note(self.tx, before.seq, this)?;
            }
            None => note(self.tx, before.seq, this)?,
        }
        if is_duplicate {
            self.duplicate(&row.finding.key);
        }
        Ok(outranked)
    }

    /// What a row shows when another item comes under its key.
    fn shown(&self, before: &Before, other: &PreparedFinding) -> Result<Variant> {
        let (severity, last_seen, pass_id): (i64, Option<i64>, i64) = self
            .tx
            .prepare_cached(
                "select f.severity_rank, f.vendor_last_seen, coalesce((select id from passes where scope_id = f.scope_id), 0) from finding_rows f where f.seq = ?1",
            )?
            .query_row([before.seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let later = last_seen < other.finding.vendor_last_seen.map(Timestamp::as_microsecond) && last_seen.is_some();
        let became = later && before.scope_id == self.page.pass.scope_id;
        let rank = if became { Variant::REPLACED } else { rank(before.source_state == State::Open.as_str(), severity) };
        Ok(Variant { digest: before.digest, rank, scope_id: before.scope_id, pass_id })
    }

    /// Notes of a new row that another item under its key came before it and was not stored.
    pub(super) fn note_what_came_before(&mut self, row: &PreparedFinding, seq: i64) -> Result<()> {
        if !self.delivered.may_be_aside(row.id.hash) || !self.came(row.id.hash)? {
            return Ok(());
        }
        let (scope_id, pass_id) = (self.page.pass.scope_id, self.page.pass.id);
        note(self.tx, seq, Variant { digest: Variant::UNSTORED, rank: Variant::REPLACED, scope_id, pass_id })?;
        note(self.tx, seq, Variant { digest: row.digest, rank: rank_of(row), scope_id, pass_id })?;
        self.variants = true;
        self.duplicate(&row.finding.key);
        Ok(())
    }

    fn duplicate(&mut self, key: &str) {
        /// Keys that are named of one page.
        const NAMED: usize = 3;
        self.stored.counts.duplicates += 1;
        if self.stored.duplicates.len() < NAMED {
            self.stored.duplicates.push(key.into());
        }
    }

    /// Whether an item that has this row came before in this operation.
    fn came_before(&mut self, hash: i64) -> Result<bool> {
        Ok(self.delivered.may_have_row(hash) && self.came(hash)?)
    }

    /// Whether an item with this hash came before in this operation, for certain. The earlier pages are read once for a page.
    fn came(&mut self, hash: i64) -> Result<bool> {
        if self.hashes.contains(&hash) {
            return Ok(true);
        }
        if let Some(came) = &self.came {
            return Ok(came.contains(&hash));
        }
        let mut here = HashSet::new();
        for row in &self.page.rows {
            here.insert(row.id.hash);
            here.extend(row.alternate.as_ref().map(|id| id.hash));
        }
        let mut came = HashSet::new();
        for (pass, first) in &self.delivered.passes {
            // What another list delivered before this operation may have moved since.
            let first = if *pass == self.page.pass.id { 0 } else { *first };
            passes::each_page(self.tx, *pass, first, |hashes| came.extend(hashes.filter(|hash| here.contains(hash))))?;
        }
        let found = came.contains(&hash);
        self.came = Some(came);
        Ok(found)
    }
}

/// The one item that came under a key and stands for itself, when all others are what it was before.
fn only_one(known: &[Variant]) -> Option<&Variant> {
    let mut real = known.iter().filter(|variant| variant.rank != Variant::REPLACED);
    let one = real.next()?;
    (real.next().is_none() && known.iter().all(|variant| variant.digest != Variant::UNSTORED)).then_some(one)
}

fn read_in_full_next(tx: &Transaction<'_>, scope_id: i64) -> Result<()> {
    tx.prepare_cached("update scopes set full_requested = full_requested + 1 where id = ?1")?.execute([scope_id])?;
    Ok(())
}

/// After a complete full pass: what it was not delivered is no variant any more. Where the one that is shown is among them, the
/// list of the best one left is read again, as only that list says what it is like.
pub(super) fn settle(tx: &Transaction<'_>, pass: &Pass) -> Result<()> {
    let mut statement = tx.prepare_cached("select distinct finding_seq from variants where scope_id = ?1")?;
    let findings: Vec<i64> = statement.query_map([pass.scope_id], |row| row.get(0))?.collect::<Result<_, _>>()?;
    tx.prepare_cached("delete from variants where scope_id = ?1 and pass_id <> ?2")?.execute([pass.scope_id, pass.id])?;
    for seq in findings {
        let left = of(tx, seq)?;
        let Some(best) = left.iter().max_by_key(|variant| variant.order()) else { continue };
        let shown: i64 = tx.prepare_cached("select digest from finding_rows where seq = ?1")?.query_row([seq], |row| row.get(0))?;
        if best.digest != shown {
            tx.prepare_cached("update finding_rows set scope_id = ?2 where seq = ?1")?.execute([seq, best.scope_id])?;
            read_in_full_next(tx, best.scope_id)?;
        } else if left.len() == 1 {
            forget(tx, seq, shown)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sieve_forgets_nothing_and_is_rarely_wrong() {
        let number = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9).cast_signed();
        let mut sieve = Sieve::of(100_000);
        (0..100_000).for_each(|at| sieve.insert(number(at)));
        assert!((0..100_000).all(|at| sieve.may_hold(number(at))));
        let wrong = (100_000..200_000).filter(|at| sieve.may_hold(number(*at))).count();
        assert!(wrong < 1000, "{wrong} of 100,000");
        assert!(Sieve::of(usize::MAX).bits.len() <= 1 << 22, "32 MiB at most");
    }
}
