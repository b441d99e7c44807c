//! Closing: the last step of a sync. Absence closes only when it is proof.
//!
//! A finding becomes `gone` only when a full pass of its scope read every page, met nothing unreadable without a key and
//! delivered as many items as the vendor declared. Where a listing can shift while it is paged, it has to be absent from two
//! such passes running. And when that would close a large part of a scope, or of the whole operation, the closes are held:
//! a token that lost its role answers with an empty list, and does so twice.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Transaction, params};
use tributary_connectors::Coverage;
use uuid::Uuid;

use super::{Counts, Lease, Pass, Result, Store, assets, merge::event_row, now, passes, records};
use crate::failpoint;

/// More than this many percent of a scope's unclosed findings, and at least [`BRAKE_COUNT`], are not closed unasked.
const BRAKE_PERCENT: usize = 30;
const BRAKE_COUNT: usize = 20;

/// A scope whose pass ended in this operation.
#[derive(Clone, Debug)]
pub struct ScopeClosing {
    /// The pass.
    pub pass: Pass,
    /// What it listed.
    pub coverage: Coverage,
    /// Whether it is proof about what it did not list.
    pub complete: bool,
    /// Whether the listing may have shifted while it was paged.
    pub shifting: bool,
}

/// What closing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Findings that are gone.
    pub closed: u64,
    /// Findings that would be gone, but wait for an operator.
    pub held: u64,
    /// Assets that are gone.
    pub assets_closed: u64,
    /// Findings absent for the first time from a listing that can shift.
    pub absent_once: u64,
}

/// A finding that is gone, and the last finding row when the pass began that missed it first.
#[derive(Clone, Copy)]
struct Gone {
    seq: i64,
    seq_at: i64,
}

struct Absent {
    scope: ScopeClosing,
    unclosed: usize,
    gone: Vec<Gone>,
    once: Vec<i64>,
    assets: Vec<i64>,
}

fn too_many(gone: usize, of: usize) -> bool {
    gone >= BRAKE_COUNT && gone * 100 > of * BRAKE_PERCENT
}

impl Store {
    /// Closes what the operation's full passes prove to be gone, and forgets the passes.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn close(&self, lease: &Lease, operation: Uuid, scopes: Vec<ScopeClosing>) -> Result<Closing> {
        let lease = lease.clone();
        let closed = self.write(move |tx, _| {
            lease.extend(tx)?;
            failpoint::pass("close.begin");
            let mut absent = Vec::new();
            for scope in scopes {
                if scope.complete && scope.coverage == Coverage::Full {
                    absent.push(find(tx, scope)?);
                } else {
                    forget(tx, &scope.pass)?;
                }
            }
            let hold_all = too_many(absent.iter().map(|scope| scope.gone.len()).sum(), absent.iter().map(|scope| scope.unclosed).sum());
            let mut closing = Closing::default();
            for absent in absent {
                let hold = hold_all || too_many(absent.gone.len(), absent.unclosed);
                apply(tx, operation, &absent, hold && !absent.gone.is_empty(), &mut closing)?;
                failpoint::pass("close.applied");
                forget(tx, &absent.scope.pass)?;
            }
            Counts { closed: closing.closed, ..Counts::default() }.add_to(tx, operation)?;
            failpoint::pass("close.forgotten");
            Ok(closing)
        });
        let closing = closed.await?;
        failpoint::pass("close.stored");
        Ok(closing)
    }
}

/// What a complete full pass did not list of what is not closed in its scope.
fn find(tx: &Transaction<'_>, scope: ScopeClosing) -> Result<Absent> {
    let mut absent = Absent { unclosed: 0, gone: Vec::new(), once: Vec::new(), assets: Vec::new(), scope };
    // In a stream that covers many records, those that are not synced are left as they are, by what it does not list too.
    let kept_out: bool = tx
        .prepare_cached(
            "select exists (select 1 from record_rows r join scopes s on s.connection_id = r.connection_id
             where s.id = ?1 and s.record_id is null and r.state in ('new', 'ignored', 'stale', 'deleted'))",
        )?
        .query_row([absent.scope.pass.scope_id], |row| row.get(0))?;
    let mut statement = tx.prepare_cached(if kept_out {
        "select seq, id_hash from finding_rows where scope_id = ?1 and id_hash between ?2 and ?3
         and source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed')
         and record_id not in (select id from record_rows where state in ('new', 'ignored', 'stale', 'deleted'))"
    } else {
        "select seq, id_hash from finding_rows where scope_id = ?1 and id_hash between ?2 and ?3
         and source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed')"
    })?;
    let mut absent_before = tx.prepare_cached("select seq_at from absences where finding_seq = ?1")?;
    let present = assets::present(tx, absent.scope.pass.scope_id)?;
    let (pass, shifting) = (absent.scope.pass.clone(), absent.scope.shifting);
    passes::by_part(tx, pass.id, |bounds, seen, _| {
        let mut rows = statement.query(params![pass.scope_id, bounds.start(), bounds.end()])?;
        while let Some(row) = rows.next()? {
            absent.unclosed += 1;
            if seen.binary_search(&row.get::<_, i64>(1)?).is_ok() {
                continue;
            }
            let seq = row.get(0)?;
            let before: Option<i64> = absent_before.query_row([seq], |row| row.get(0)).optional()?;
            if shifting && before.is_none() {
                absent.once.push(seq);
            } else {
                absent.gone.push(Gone { seq, seq_at: before.unwrap_or(pass.seq_at) });
            }
        }
        let unseen = present.iter().filter(|(_, hash)| bounds.contains(hash) && seen.binary_search(hash).is_err());
        absent.assets.extend(unseen.map(|(seq, _)| *seq));
        Ok(())
    })?;
    // Assets have neither history nor triage, so nothing of theirs is held for an operator: a listing that lost a large part
    // of them closes none.
    if absent.scope.shifting || too_many(absent.assets.len(), present.len()) {
        absent.assets.clear();
    }
    Ok(absent)
}

fn apply(tx: &Transaction<'_>, operation: Uuid, absent: &Absent, hold: bool, closing: &mut Closing) -> Result<()> {
    let at = now();
    let scope_id = absent.scope.pass.scope_id;
    tx.prepare_cached("delete from held_closes where scope_id = ?1")?.execute([scope_id])?;
    tx.prepare_cached("delete from absences where scope_id = ?1")?.execute([scope_id])?;
    let still_absent = if hold { &absent.gone[..] } else { &[] };
    let once = absent.once.iter().map(|seq| Gone { seq: *seq, seq_at: absent.scope.pass.seq_at });
    for Gone { seq, seq_at } in once.chain(still_absent.iter().copied().filter(|_| absent.scope.shifting)) {
        tx.prepare_cached(
            "insert into absences (finding_seq, scope_id, seq_at) values (?1, ?2, ?3)
             on conflict (finding_seq) do update set scope_id = ?2, seq_at = ?3",
        )?
        .execute([seq, scope_id, seq_at])?;
    }
    closing.absent_once += absent.once.len() as u64;
    for seq in &absent.assets {
        assets::close(tx, *seq)?;
    }
    closing.assets_closed += absent.assets.len() as u64;
    if hold {
        for Gone { seq, seq_at } in &absent.gone {
            tx.prepare_cached(
                "insert into held_closes (finding_seq, scope_id, operation, seq_at) values (?1, ?2, ?3, ?4)
                 on conflict (finding_seq) do update set scope_id = ?2, operation = ?3, seq_at = ?4",
            )?
            .execute(params![seq, scope_id, operation.to_string(), seq_at])?;
        }
        closing.held += absent.gone.len() as u64;
    } else {
        for gone in &absent.gone {
            close_row(tx, gone.seq, scope_id, Some(operation), at)?;
        }
        hand_on(tx, &absent.gone, operation, at)?;
        closing.closed += absent.gone.len() as u64;
    }
    // What asked for a full pass after this one began asks on: it may have passed by what is wanted since.
    let noted = tx
        .prepare_cached(
            "update scopes set full_at = ?2, full_given = coalesce((select full_asked from passes where id = ?4), full_given),
         last_seen = case when ?3 then last_seen else ?2 end where id = ?1",
        )?
        .execute(params![scope_id, absent.scope.pass.started, hold, absent.scope.pass.id])?;
    passes::one_row(noted)
}

pub(super) fn close_row(tx: &Transaction<'_>, seq: i64, scope_id: i64, operation: Option<Uuid>, at: i64) -> Result<()> {
    let (id, state): (String, String) = tx
        .prepare_cached("select id, source_state from finding_rows where seq = ?1")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    failpoint::pass("close.row");
    tx.prepare_cached(
        "update finding_rows set source_state = 'gone', closed_at = case when source_state = 'open' then ?2 else coalesce(closed_at, ?2) end,
         updated_at = ?2, gone_seen = (select case when s.last_seen > finding_rows.first_seen then s.last_seen else finding_rows.first_seen end
         from scopes s where s.id = ?3) where seq = ?1",
    )?
    .execute(params![seq, at, scope_id])?;
    event_row(tx, &id, at, operation, "closed", Some(("source_state", Some(&state), Some("gone"))))
}

/// Findings that come back under other keys (a BOM uploaded anew, a server upgraded) keep what people decided and when they
/// were first seen: each of the closed rows hands that on to the one row of the same record and fingerprint that was created
/// since, when there is exactly one old and one new.
fn hand_on(tx: &Transaction<'_>, closed: &[Gone], operation: Uuid, at: i64) -> Result<()> {
    type Subject = (i64, String);
    let mut old: HashMap<Subject, Vec<Gone>> = HashMap::new();
    let mut subject = tx.prepare_cached("select record_id, fingerprint from finding_rows where seq = ?1 and fingerprint is not null")?;
    for gone in closed {
        if let Some(subject) = subject.query_row([gone.seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
            old.entry(subject).or_default().push(*gone);
        }
    }
    let Some(first) = old.values().flatten().map(|gone| gone.seq_at).min() else { return Ok(()) };
    let mut new: HashMap<Subject, Vec<i64>> = HashMap::new();
    let mut created =
        tx.prepare_cached("select record_id, fingerprint, seq from finding_rows where seq > ?1 and fingerprint is not null")?;
    let mut rows = created.query([first])?;
    while let Some(row) = rows.next()? {
        let subject = (row.get(0)?, row.get(1)?);
        if old.contains_key(&subject) {
            new.entry(subject).or_default().push(row.get(2)?);
        }
    }
    for (subject, old) in old {
        let (&[old], Some(&[new])) = (&old[..], new.get(&subject).map(Vec::as_slice)) else { continue };
        if new <= old.seq_at {
            continue;
        }
        tx.prepare_cached(
            "update finding_rows set first_seen = o.first_seen, triage = o.triage, triage_until = o.triage_until, triage_note = o.triage_note
             from (select first_seen, triage, triage_until, triage_note from finding_rows where seq = ?1) as o where seq = ?2",
        )?
        .execute([old.seq, new])?;
        let (id, triage): (String, Option<String>) = tx
            .prepare_cached("select id, triage from finding_rows where seq = ?1")?
            .query_row([new], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if let Some(triage) = triage {
            event_row(tx, &id, at, Some(operation), "triaged", Some(("triage", None, Some(&triage))))?;
        }
    }
    Ok(())
}

impl Store {
    /// Closes what an operation held and is still unseen; `None` when it held nothing (any more).
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn approve(&self, operation: Uuid) -> Result<Option<Approved>> {
        self.write_durably(move |tx| {
            let at = now();
            let held: Vec<(i64, i64, i64, i64)> = tx
                .prepare_cached(
                    "select h.finding_seq, h.scope_id, h.seq_at, f.id_hash from held_closes h join finding_rows f on f.seq = h.finding_seq
                     where h.operation = ?1 and f.scope_id = h.scope_id
                     and f.source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed') order by h.scope_id",
                )?
                .query_map([operation.to_string()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
                .collect::<Result<_, _>>()?;
            let all = tx.execute("delete from held_closes where operation = ?1", [operation.to_string()])?;
            let records = records::approve(tx, operation, at)?;
            if all == 0 && records.is_none() {
                return Ok(None);
            }
            let mut approved = Approved { closed: 0, seen_again: 0, records: records.unwrap_or(0) };
            for scope in held.chunk_by(|a, b| a.1 == b.1) {
                // A pass that is under way may have met some of them.
                let open: Option<i64> =
                    tx.query_row("select id from passes where scope_id = ?1", [scope[0].1], |row| row.get(0)).optional()?;
                let seen = open.map_or_else(|| Ok(Vec::new()), |pass| passes::seen(tx, pass))?;
                let unseen = scope.iter().filter(|held| seen.binary_search(&held.3).is_err());
                let unseen: Vec<Gone> = unseen.map(|held| Gone { seq: held.0, seq_at: held.2 }).collect();
                for Gone { seq, .. } in &unseen {
                    close_row(tx, *seq, scope[0].1, Some(operation), at)?;
                    tx.prepare_cached("delete from absences where finding_seq = ?1")?.execute([seq])?;
                }
                hand_on(tx, &unseen, operation, at)?;
                approved.closed += unseen.len() as u64;
            }
            approved.seen_again = all as u64 - approved.closed;
            Counts { closed: approved.closed, ..Counts::default() }.add_to(tx, operation)?;
            tx.execute("update operations set outcome = 'success' where id = ?1 and outcome = 'held'", [operation.to_string()])?;
            Ok(Some(approved))
        })
        .await
    }
}

/// What an approval did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approved {
    /// Findings that are gone now.
    pub closed: u64,
    /// Findings that had been seen again, or closed, meanwhile.
    pub seen_again: u64,
    /// Records that are Missing now.
    pub records: u64,
}

/// What a pass that does not replace the lists has been delivered is neither held nor absent any more.
pub(super) fn seen_again(tx: &Transaction<'_>, scope_id: i64, hashes: &[i64]) -> Result<()> {
    let waiting: Vec<(i64, i64)> = tx
        .prepare_cached(
            "select f.seq, f.id_hash from finding_rows f where f.seq in (select finding_seq from held_closes where scope_id = ?1
             union all select finding_seq from absences where scope_id = ?1)",
        )?
        .query_map([scope_id], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (seq, hash) in waiting {
        if hashes.contains(&hash) {
            tx.prepare_cached("delete from held_closes where finding_seq = ?1")?.execute([seq])?;
            tx.prepare_cached("delete from absences where finding_seq = ?1")?.execute([seq])?;
        }
    }
    Ok(())
}

/// A pass that has ended and been judged is of no further use.
pub(super) fn forget(tx: &Transaction<'_>, pass: &Pass) -> Result<()> {
    tx.prepare_cached("delete from pass_pages where pass_id = ?1")?.execute([pass.id])?;
    passes::one_row(tx.prepare_cached("delete from passes where id = ?1")?.execute([pass.id])?)
}
