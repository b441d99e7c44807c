//! Scopes and passes: how far each list has been read, and what the walk over it has seen.

use std::{ops::RangeInclusive, time::Duration};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use tributary_connectors::{Coverage, Scope};

use super::{Error, Lease, OperationKind, Result, Store, lease, now};
use crate::{clock, failpoint};

/// What a walk over a scope is asked to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// What changed since the last complete pass.
    Delta,
    /// At least everything that is open.
    Full,
}

/// Whether an open pass may be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It may, where its cursor is young enough.
    Allowed,
    /// A new pass begins.
    Never,
}

/// What the store knows of a scope.
#[derive(Clone, Debug)]
pub struct ScopeRow {
    pub(crate) id: i64,
    /// What the last complete pass left behind.
    pub mark: Option<String>,
    /// From where a delta reads.
    pub watermark: Option<Timestamp>,
    /// When the last complete full pass began.
    pub full_at: Option<Timestamp>,
    /// Whether the next pass has to be a full one.
    pub full_due: bool,
}

/// An open pass.
#[derive(Clone, Debug)]
pub struct Pass {
    pub(crate) id: i64,
    pub(crate) scope_id: i64,
    /// Whether it was asked to list everything open.
    pub full: bool,
    /// From where it reads changes.
    pub since: Option<Timestamp>,
    /// The cursor of the next page, as JSON.
    pub cursor: Option<String>,
    /// When it began, by our clock.
    pub started: i64,
    /// Pages of the pass that are stored.
    pub pages: i64,
    /// Whether it goes on where an earlier operation stopped.
    pub resumed: bool,
}

/// How a pass ended.
#[derive(Clone, Debug)]
pub struct PassEnd {
    /// What it listed.
    pub coverage: Coverage,
    /// What comes back as `ask.mark`.
    pub mark: Option<String>,
    /// How far the next delta steps back behind the vendor's clock at the start of this pass, in microseconds.
    pub overlap_us: i64,
}

/// What belongs to one pass changed exactly one row: else the pass is not there any more, and nothing may be stored for it.
pub(crate) fn one_row(changed: usize) -> Result<()> {
    if changed == 1 { Ok(()) } else { Err(Error::PassLost) }
}

/// Why a finished full pass proves nothing about what it did not list.
pub(crate) fn incompleteness(tx: &Transaction<'_>, pass_id: i64) -> Result<Option<String>> {
    let (unkeyed, total): (i64, Option<i64>) =
        tx.query_row("select unkeyed, vendor_total from passes where id = ?1", [pass_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if unkeyed > 0 {
        return Ok(Some(format!("{unkeyed} items could not be read and have no readable key")));
    }
    let Some(total) = total else { return Ok(None) };
    let delivered = delivered(tx, pass_id)?;
    Ok((delivered < total).then(|| format!("the vendor declares {total} items and delivered {delivered}")))
}

/// How many items a pass was delivered. One that came on an earlier page does not count again; one that stands twice on a
/// page is two rows of the vendor's list.
fn delivered(tx: &Transaction<'_>, pass_id: i64) -> Result<i64> {
    let mut delivered = 0;
    by_part(tx, pass_id, |_, seen, twice_on_a_page| {
        delivered += seen.len() + twice_on_a_page;
        Ok(())
    })?;
    Ok(i64::try_from(delivered).unwrap_or(i64::MAX))
}

/// Every hash that a pass has been delivered, a part of all numbers at a time, so that the longest list takes no more memory
/// than a short one: `look` gets the bounds of the part, the hashes in it, sorted and without repeats, and how many more came
/// twice on a page.
pub(crate) fn by_part(
    tx: &Transaction<'_>,
    pass_id: i64,
    mut look: impl FnMut(RangeInclusive<i64>, &[i64], usize) -> Result<()>,
) -> Result<()> {
    /// Hashes in a part, about: they are spread evenly.
    const PART: u64 = 1 << 17;
    let count: u64 = tx
        .prepare_cached("select coalesce(sum(length(hashes)), 0) / 8 from pass_pages where pass_id = ?1")?
        .query_row([pass_id], |row| row.get::<_, i64>(0))?
        .unsigned_abs();
    let parts = (count / PART + 1).next_power_of_two();
    let signed = |number: u64| (number ^ (1 << 63)).cast_signed();
    let start_of = |part: u64| if part == 0 { 0 } else { part << (64 - parts.trailing_zeros()) };
    let mut statement = tx.prepare_cached("select hashes from pass_pages where pass_id = ?1")?;
    for part in 0..parts {
        let last = if part + 1 == parts { u64::MAX } else { start_of(part + 1) - 1 };
        let bounds = signed(start_of(part))..=signed(last);
        let (mut seen, mut twice) = (Vec::new(), 0);
        let mut rows = statement.query([pass_id])?;
        while let Some(row) = rows.next()? {
            let start = seen.len();
            seen.extend(hashes(row)?.filter(|hash| bounds.contains(hash)));
            // What repeats on this page goes at once, what came on another one at the end.
            let page = &mut seen[start..];
            page.sort_unstable();
            let mut kept = start;
            for at in start..seen.len() {
                if at == start || seen[at] != seen[at - 1] {
                    seen[kept] = seen[at];
                    kept += 1;
                } else {
                    twice += 1;
                }
            }
            seen.truncate(kept);
        }
        seen.sort_unstable();
        seen.dedup();
        look(bounds, &seen, twice)?;
    }
    Ok(())
}

fn hashes<'a>(row: &'a rusqlite::Row<'_>) -> Result<impl Iterator<Item = i64> + 'a> {
    let blob = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(blob.as_chunks::<8>().0.iter().map(|bytes| i64::from_be_bytes(*bytes)))
}

/// A number that was never given before: of a pass, or of a hold.
pub(crate) fn next_id(tx: &Transaction<'_>) -> Result<i64> {
    Ok(tx.prepare_cached("update pass_ids set last = last + 1 where id = 1 returning last")?.query_row([], |row| row.get(0))?)
}

/// Leaves to the next pass what this one found out, once what follows from it is stored: where it ended, was complete, and nobody
/// asked since it began to have everything read again.
pub(crate) fn leave_mark(tx: &Transaction<'_>, pass: &Pass) -> Result<()> {
    tx.prepare_cached(
        "update scopes set mark = (select case when p.full_requested = scopes.full_requested then p.mark end from passes p where p.id = ?2)
         where id = ?1 and exists (select 1 from passes where id = ?2 and ended is not null and incomplete is null)",
    )?
    .execute([pass.scope_id, pass.id])?;
    Ok(())
}

impl Store {
    /// Makes the scopes of an operation known and says what is known of them, in the given order. What came under one key in lists
    /// that a sync does not read any more is forgotten.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn scopes(&self, lease: &Lease, kind: OperationKind, scopes: Vec<Scope>) -> Result<Vec<(Scope, ScopeRow)>> {
        let lease = lease.clone();
        self.write(move |tx, _| {
            lease.extend(tx)?;
            let scopes: Vec<(Scope, ScopeRow)> = scopes
                .into_iter()
                .map(|scope| {
                    let record_id: Option<i64> = match &scope.record {
                        Some(key) => tx
                            .prepare_cached("select id from record_rows where connection_id = ?1 and key = ?2")?
                            .query_row(params![lease.connection_id, key], |row| row.get(0))
                            .optional()?,
                        None => None,
                    };
                    tx.prepare_cached(
                        "insert into scopes (connection_id, list, key, title, record_id, seq_at_start, seq_at_end)
                         values (?1, ?2, ?3, ?4, ?5, (select coalesce(max(seq), 0) from finding_rows), (select coalesce(max(seq), 0) from finding_rows))
                         on conflict (connection_id, list, key) do update set title = excluded.title, record_id = excluded.record_id",
                    )?
                    .execute(params![lease.connection_id, scope.list, scope.key, scope.title, record_id])?;
                    let row = tx
                        .prepare_cached(
                            "select id, mark, watermark, full_at, full_requested > full_served from scopes
                             where connection_id = ?1 and list = ?2 and key = ?3",
                        )?
                        .query_row(params![lease.connection_id, scope.list, scope.key], |row| {
                            Ok(ScopeRow {
                                id: row.get(0)?,
                                mark: row.get(1)?,
                                watermark: time(row.get(2)?),
                                full_at: time(row.get(3)?),
                                full_due: row.get(4)?,
                            })
                        })?;
                    Ok((scope, row))
                })
                .collect::<Result<_>>()?;
            if kind == OperationKind::Sync {
                let read: Vec<i64> = scopes.iter().map(|(_, row)| row.id).collect();
                forget_variants_of_other_scopes(tx, lease.connection_id, &read)?;
            }
            Ok(scopes)
        })
        .await
    }

    /// The pass to walk on: the open one where it can be resumed (its cursor is younger than `cursor_life`), else a new one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn open_pass(&self, lease: &Lease, scope: &ScopeRow, kind: PassKind, resume: Resume, cursor_life: Duration) -> Result<Pass> {
        let (lease, scope) = (lease.clone(), scope.clone());
        self.write(move |tx, _| {
            lease.extend(tx)?;
            let open = tx
                .prepare_cached(
                    "select id, scope_id, is_full, since, next_cursor, started_at, pages, cursor_at, ended from passes where scope_id = ?1",
                )?
                .query_row([scope.id], |row| {
                    let pass = Pass {
                        id: row.get(0)?,
                        scope_id: row.get(1)?,
                        full: row.get(2)?,
                        since: time(row.get(3)?),
                        cursor: row.get(4)?,
                        started: row.get(5)?,
                        pages: row.get(6)?,
                        resumed: true,
                    };
                    Ok((pass, row.get::<_, i64>(7)?, row.get::<_, Option<String>>(8)?))
                })
                .optional()?;
            if let Some((pass, cursor_at, ended)) = open {
                // A delta cannot become the full pass that is wanted now; one that ended and was not closed proves nothing any more.
                let alive = time(Some(cursor_at)).and_then(clock::age).is_some_and(|age| age < cursor_life);
                let suffices = pass.full || kind == PassKind::Delta;
                if resume == Resume::Allowed && ended.is_none() && suffices && alive {
                    return Ok(pass);
                }
                tx.execute("delete from pass_pages where pass_id = ?1", [pass.id])?;
                tx.execute("delete from passes where id = ?1", [pass.id])?;
            }
            let started = now();
            // A watermark that lies ahead was stored by a wrong clock: what changed until then would be passed by.
            let since = scope.watermark.filter(|mark| mark.duration_since(clock::now()) <= clock::AHEAD);
            let full = kind == PassKind::Full || since != scope.watermark;
            let id = next_id(tx)?;
            let opened = tx
                .prepare_cached(
                    "insert into passes (id, scope_id, started_at, is_full, since, cursor_at, full_requested, seq_at_start)
                     select ?5, id, ?2, ?3, ?4, ?2, full_requested, (select coalesce(max(seq), 0) from finding_rows) from scopes where id = ?1",
                )?
                .execute(params![scope.id, started, full, since.map(Timestamp::as_microsecond), id])?;
            one_row(opened)?;
            failpoint::pass("pass.open");
            Ok(Pass { id, scope_id: scope.id, full, since, cursor: None, started, pages: 0, resumed: false })
        })
        .await
    }

    /// Gives up a pass that cannot be gone on with: the next one begins anew.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn give_up(&self, lease: &Lease, pass: &Pass) -> Result<()> {
        let (lease, pass) = (lease.clone(), pass.clone());
        self.write(move |tx, _| {
            lease.extend(tx)?;
            delete_pass(tx, &pass)
        })
        .await
    }

    /// Forgets how far every list of a connection was read: cursors, watermarks and marks, nothing else. Returns how many lists.
    ///
    /// # Errors
    /// [`Error::LeaseHeld`] while an operation runs on the connection.
    pub async fn reset(&self, connection: String) -> Result<u64> {
        self.write_durably(move |tx| {
            let id: Option<i64> = tx.query_row("select id from connections where name = ?1", [&connection], |row| row.get(0)).optional()?;
            let Some(id) = id else { return Ok(0) };
            lease::none_may_run(tx, id)?;
            let of = "scope_id in (select id from scopes where connection_id = ?1)";
            tx.execute(&format!("delete from pass_pages where pass_id in (select id from passes where {of})"), [id])?;
            tx.execute(&format!("delete from passes where {of}"), [id])?;
            let scopes = tx.execute(
                "update scopes set mark = null, watermark = null, full_requested = full_requested + 1 where connection_id = ?1",
                [id],
            )?;
            Ok(scopes as u64)
        })
        .await
    }

    /// Keys of a scope's findings in these vendor states that the pass has not been delivered.
    pub(crate) async fn undelivered(&self, pass: &Pass, vendor_states: Vec<String>) -> Result<Vec<Box<str>>> {
        let pass = pass.clone();
        self.write(move |tx, _| {
            let seen = seen(tx, pass.id)?;
            let mut keys = Vec::new();
            let mut statement = tx.prepare_cached(
                "select key, id_hash from finding_rows where scope_id = ?1 and vendor_state = ?2
                 and source_state in ('fixed', 'false_positive', 'risk_accepted', 'suppressed')",
            )?;
            for state in &vendor_states {
                let mut rows = statement.query(params![pass.scope_id, state])?;
                while let Some(row) = rows.next()? {
                    if seen.binary_search(&row.get::<_, i64>(1)?).is_err() {
                        keys.push(row.get::<_, String>(0)?.into_boxed_str());
                    }
                }
            }
            keys.sort_unstable();
            Ok(keys)
        })
        .await
    }
}

/// Forgets what came from the lists of a connection that are not among these: nobody reads them any more.
fn forget_variants_of_other_scopes(tx: &Transaction<'_>, connection_id: i64, scopes: &[i64]) -> Result<()> {
    let read = serde_json::Value::from(scopes).to_string();
    tx.execute(
        "delete from variants where scope_id in (select id from scopes where connection_id = ?1)
         and scope_id not in (select value from json_each(?2))",
        params![connection_id, read],
    )?;
    Ok(())
}

/// The hashes of each page that a pass has been delivered, from one on.
pub(crate) fn each_page(tx: &Transaction<'_>, pass_id: i64, first: i64, mut look: impl FnMut(&mut dyn Iterator<Item = i64>)) -> Result<()> {
    let mut statement = tx.prepare_cached("select hashes from pass_pages where pass_id = ?1 and page >= ?2")?;
    let mut rows = statement.query([pass_id, first])?;
    while let Some(row) = rows.next()? {
        look(&mut hashes(row)?);
    }
    Ok(())
}

/// Every hash that a pass has been delivered, sorted, without repeats.
pub(crate) fn seen(tx: &Transaction<'_>, pass_id: i64) -> Result<Vec<i64>> {
    let mut seen = Vec::new();
    each_page(tx, pass_id, 0, |hashes| seen.extend(hashes))?;
    seen.sort_unstable();
    seen.dedup();
    Ok(seen)
}

/// A pass that has ended and been judged is of no further use.
pub(super) fn delete_pass(tx: &Transaction<'_>, pass: &Pass) -> Result<()> {
    tx.prepare_cached("delete from pass_pages where pass_id = ?1")?.execute([pass.id])?;
    one_row(tx.prepare_cached("delete from passes where id = ?1")?.execute([pass.id])?)
}

/// Hashes of a scope's findings that wait: they are held, or were absent once. Sorted.
pub(super) fn waiting(tx: &Transaction<'_>, scope_id: i64) -> Result<Vec<i64>> {
    let mut hashes: Vec<i64> = tx
        .prepare_cached(
            "select f.id_hash from finding_rows f where f.seq in (select finding_seq from held_closes where scope_id = ?1
             union all select finding_seq from absences where scope_id = ?1)",
        )?
        .query_map([scope_id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    hashes.sort_unstable();
    Ok(hashes)
}

pub(crate) fn time(microseconds: Option<i64>) -> Option<Timestamp> {
    Timestamp::from_microsecond(microseconds?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn a_long_list_is_looked_at_in_parts_and_nothing_is_lost_between_them() {
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.execute_batch("create table pass_pages (pass_id integer, page integer, hashes blob)").expect("a table");
        // 300,000 numbers spread over all there are, the outermost among them, each page once more on the next one, and one twice on each.
        let number = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15)).cast_signed();
        let mut all: Vec<i64> = (0..300_000).map(number).chain([i64::MIN, i64::MAX, -1]).collect();
        let mut before: &[i64] = &[];
        for (page, hashes) in all.chunks(1000).enumerate() {
            let again = hashes.iter().chain(before).chain(&hashes[..1]);
            let blob: Vec<u8> = again.flat_map(|hash| hash.to_be_bytes()).collect();
            let page = i64::try_from(page).expect("a small number");
            connection.execute("insert into pass_pages values (1, ?1, ?2)", params![page, blob]).expect("a page");
            before = hashes;
        }
        let pages = all.chunks(1000).len();
        let tx = connection.transaction().expect("a transaction");
        let (mut seen, mut parts, mut twice_on_a_page, mut next) = (Vec::new(), 0, 0, i64::MIN);
        by_part(&tx, 1, |bounds, some, twice| {
            assert_eq!(*bounds.start(), next, "the parts join");
            assert!(some.iter().all(|hash| bounds.contains(hash)) && some.len() < 200_000);
            next = bounds.end().wrapping_add(1);
            seen.extend_from_slice(some);
            twice_on_a_page += twice;
            parts += 1;
            Ok(())
        })
        .expect("the parts");
        all.sort_unstable();
        assert_eq!((seen == all, twice_on_a_page, next), (true, pages, i64::MIN));
        assert_eq!(parts, 8);
        assert_eq!(delivered(&tx, 1).expect("a count"), i64::try_from(all.len() + pages).expect("a count"));
    }
}
