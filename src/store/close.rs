//! Closing: the last step of a sync. Absence closes only when it is proof.
//!
//! A finding becomes `gone` only when a full pass of its scope read every page, met nothing unreadable without a key and
//! delivered as many items as the vendor declared. Where a listing can shift while it is paged, and where everything that was in
//! it is absent at once, it has to be absent from two such passes running; whatever any pass delivers in between was seen. And
//! when that would close a large part of a scope, or of the whole operation, the closes are held until an operator approves them
//! or most of the findings are listed again: a token that lost its role answers with an empty list, and does so twice. Where
//! the connector can explain the change (an import since the last pass) and the list is not empty, what is missed first then is
//! neither held nor waited for.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use tributary_connectors::{Absence, Coverage, model::ItemKind};
use uuid::Uuid;

use super::{
    Counts, Lease, Pass, Result, Store, ThingCounts,
    carry::{self, Gone},
    history::{event_row, seen},
    now, passes, records,
    things::{self, Present},
};
use crate::{clock, failpoint};

/// More than this many percent of a scope's unclosed findings, and at least [`BRAKE_COUNT`], are not closed unasked.
const BRAKE_PERCENT: usize = 30;
const BRAKE_COUNT: usize = 20;

/// When this many findings, or more, are all that is not closed in a scope and none of them is listed, one pass is no proof.
const EVERYTHING: usize = 3;

/// A scope whose pass ended in this operation.
#[derive(Clone, Debug)]
pub struct ScopeClosing {
    /// The pass that ended.
    pub pass: Pass,
    /// What it listed.
    pub coverage: Coverage,
    /// Whether it is proof about what it did not list.
    pub complete: bool,
    /// What it means that it did not list something.
    pub absence: Absence,
    /// Whether the connector can explain a large change.
    pub explained: bool,
}

/// What closing did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Findings that are gone.
    pub closed: u64,
    /// Findings that would be gone, but wait for an operator.
    pub held: u64,
    /// Things that are gone, and those that are too many to be.
    pub things: ThingCounts,
    /// Findings absent for the first time where that is no proof yet: from a listing that can shift, or with everything else of it.
    pub absent_once: u64,
    /// Those of them that are all of their list.
    pub emptied: u64,
}

/// A finding that a complete full pass did not list.
#[derive(Clone, Copy)]
struct Missed {
    gone: Gone,
    /// Whether the connector can explain that it was missed first.
    explained: bool,
    /// The hold of an earlier operation that it is in.
    hold: Option<Hold>,
}

/// Closes that were held together. It ends when an operator approves, or when the tool lists so many of them again that the
/// rest would not have been held: neither a second look alone nor what else is listed later ends it.
#[derive(Clone, Copy)]
struct Hold {
    id: i64,
    /// How many findings the brake was about.
    of: i64,
}

impl Hold {
    fn new(tx: &Transaction<'_>, of: usize) -> Result<Hold> {
        Ok(Hold { id: passes::next_id(tx)?, of: i64::try_from(of).unwrap_or(i64::MAX) })
    }

    fn stands(self, tx: &Transaction<'_>) -> Result<bool> {
        let left: i64 = tx.prepare_cached("select count(*) from held_closes where hold_id = ?1")?.query_row([self.id], |row| row.get(0))?;
        let number = |count: i64| usize::try_from(count).unwrap_or(0);
        Ok(too_many(number(left), number(self.of)))
    }
}

/// What a complete full pass did not list.
struct Absent {
    scope: ScopeClosing,
    unclosed: usize,
    /// What is proved to be gone.
    gone: Vec<Missed>,
    /// What has to be absent once more.
    once: Vec<Missed>,
    /// Whether that is so because everything is absent at once. It counts for the brake, and is held with the rest.
    emptied: bool,
    things: Vec<AbsentThings>,
}

impl Absent {
    /// What counts for the brake: how many are gone without an explanation, and of how many.
    fn unexplained(&self) -> (usize, usize) {
        let explained = self.gone.iter().filter(|missed| missed.explained).count();
        let once = if self.emptied { self.once.len() } else { 0 };
        if self.scope.explained { (0, 0) } else { (self.gone.len() + once - explained, self.unclosed - explained) }
    }

    /// What counts for the brake of the whole operation: what is held already holds nothing of another list.
    fn unexplained_and_new(&self) -> (usize, usize) {
        let (gone, of) = self.unexplained();
        let held = self.gone.iter().filter(|missed| missed.hold.is_some() && !missed.explained).count();
        (gone.saturating_sub(held), of.saturating_sub(held))
    }
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
            let (mut absent, mut arrived) = (Vec::new(), Vec::new());
            for scope in scopes {
                arrived.extend(carry::arrivals(tx, scope.pass.scope_id)?);
                passes::leave_mark(tx, &scope.pass)?;
                if scope.complete && scope.coverage == Coverage::Full {
                    absent.push(find(tx, scope)?);
                } else {
                    passes::delete_pass(tx, &scope.pass)?;
                }
            }
            end_holds(tx, &mut absent)?;
            let (all_gone, all) = absent.iter().map(Absent::unexplained_and_new).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let hold_of_all = if too_many(all_gone, all) { Some(Hold::new(tx, all)?) } else { None };
            let (mut closing, mut gone) = (Closing::default(), Vec::new());
            for mut absent in absent {
                let (scope_gone, scope_all) = absent.unexplained();
                let hold = match absent.gone.iter().filter_map(|missed| missed.hold).min_by_key(|hold| hold.id) {
                    _ if hold_of_all.is_some() => hold_of_all,
                    // What is too much with what is held of the list already is held with that.
                    Some(hold) => Some(hold).filter(|_| too_many(scope_gone, scope_all)),
                    None if too_many(scope_gone, scope_all) => Some(Hold::new(tx, scope_all)?),
                    None => None,
                };
                if hold.is_some() && absent.emptied {
                    absent.gone.append(&mut absent.once);
                }
                absent.gone.iter_mut().filter(|missed| !missed.explained).for_each(|missed| missed.hold = missed.hold.or(hold));
                let (held, closed): (Vec<Missed>, Vec<Missed>) = absent.gone.iter().partition(|missed| missed.hold.is_some());
                close_or_hold(tx, operation, &absent, &held, &closed, &mut closing)?;
                failpoint::pass("close.applied");
                passes::delete_pass(tx, &absent.scope.pass)?;
                gone.extend(closed.iter().map(|missed| missed.gone));
            }
            carry::over(tx, &gone, &arrived, operation, now())?;
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
// long: three statements and the one decision that follows from their rows
fn find(tx: &Transaction<'_>, scope: ScopeClosing) -> Result<Absent> {
    let mut absent = Absent { unclosed: 0, gone: Vec::new(), once: Vec::new(), emptied: false, things: Vec::new(), scope };
    if absent.scope.absence == Absence::Nothing {
        return Ok(absent);
    }
    let (began, ended): (i64, i64) = tx
        .prepare_cached("select seq_at_start, seq_at_end from scopes where id = ?1")?
        .query_row([absent.scope.pass.scope_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // What came in one pass with a finding stood beside it; what came in a pass that listed it once more may replace it.
    let since = |seq: i64| if seq > began { ended } else { began };
    // The findings of records that are not synced, or may be gone from the tool, are left as they are.
    let kept_out: bool = tx
        .prepare_cached(
            "select exists (select 1 from record_rows r join scopes s on s.connection_id = r.connection_id
             where s.id = ?1 and (r.state <> 'good' or r.id in (select record_id from held_records)))",
        )?
        .query_row([absent.scope.pass.scope_id], |row| row.get(0))?;
    let mut statement = tx.prepare_cached(if kept_out {
        "select seq, id_hash from finding_rows where scope_id = ?1 and id_hash between ?2 and ?3
         and source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed')
         and record_id in (select id from record_rows where state = 'good') and record_id not in (select record_id from held_records)"
    } else {
        "select seq, id_hash from finding_rows where scope_id = ?1 and id_hash between ?2 and ?3
         and source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed')"
    })?;
    let mut absent_before = tx.prepare_cached(
        "select a.seq_last_listed, a.explained, h.hold_id, h.hold_of from absences a
         left join held_closes h on h.finding_seq = a.finding_seq where a.finding_seq = ?1",
    )?;
    let mut things = AbsentThings::of(tx, absent.scope.pass.scope_id)?;
    let pass = absent.scope.pass.clone();
    let mut is_empty = true;
    passes::by_part(tx, pass.id, |bounds, seen, _| {
        is_empty &= seen.is_empty();
        let mut rows = statement.query(params![pass.scope_id, bounds.start(), bounds.end()])?;
        while let Some(row) = rows.next()? {
            absent.unclosed += 1;
            if seen.binary_search(&row.get::<_, i64>(1)?).is_ok() {
                continue;
            }
            let seq = row.get(0)?;
            let before = absent_before
                .query_row([seq], |row| {
                    let (id, of): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
                    let hold = id.zip(of).map(|(id, of)| Hold { id, of });
                    Ok(Missed { gone: Gone { seq, since: row.get(0)? }, explained: row.get(1)?, hold })
                })
                .optional()?;
            match before {
                Some(missed) => absent.gone.push(missed),
                None => absent.once.push(Missed { gone: Gone { seq, since: since(seq) }, explained: false, hold: None }),
            }
        }
        let was_seen = |hash: &i64| seen.binary_search(hash).is_ok();
        things.iter_mut().for_each(|things| things.look(&bounds, was_seen));
        Ok(())
    })?;
    absent.scope.explained &= !is_empty;
    if absent.scope.explained {
        absent.gone.iter_mut().chain(&mut absent.once).for_each(|missed| missed.explained = true);
    }
    let everything = absent.unclosed >= EVERYTHING && absent.gone.len() + absent.once.len() == absent.unclosed;
    if absent.scope.absence == Absence::Proof {
        absent.emptied = everything && !absent.scope.explained;
        if !absent.emptied {
            absent.gone.append(&mut absent.once);
        }
    }
    absent.things = things.into_iter().map(|things| things.judged(absent.scope.absence)).collect();
    Ok(absent)
}

/// The present things of one kind in a scope, and which of them a complete full pass did not list.
#[derive(Debug)]
struct AbsentThings {
    kind: ItemKind,
    present: Vec<Present>,
    /// Not listed now.
    missed: Vec<Present>,
    /// Listed again after they were absent once.
    again: Vec<i64>,
    /// How many of those that were missed are too many to be gone.
    kept: u64,
}

impl AbsentThings {
    /// Every kind of which something is present.
    fn of(tx: &Transaction<'_>, scope_id: i64) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for kind in ItemKind::THINGS {
            let present = things::present(tx, *kind, scope_id)?;
            if !present.is_empty() {
                all.push(AbsentThings { kind: *kind, present, missed: Vec::new(), again: Vec::new(), kept: 0 });
            }
        }
        Ok(all)
    }

    /// Looks at those whose ids lie within these bounds.
    fn look(&mut self, bounds: &std::ops::RangeInclusive<i64>, was_seen: impl Fn(&i64) -> bool) {
        for thing in self.present.iter().filter(|thing| bounds.contains(&thing.id_hash)) {
            match was_seen(&thing.id_hash) {
                false => self.missed.push(*thing),
                true if thing.absent_once => self.again.push(thing.seq),
                true => {}
            }
        }
    }

    /// Things have neither history nor triage, so nothing of theirs is held for an operator: a listing that lost a large part of
    /// one kind closes none of it.
    fn judged(mut self, absence: Absence) -> Self {
        if too_many(self.missed.len(), self.present.len()) {
            self.kept = self.missed.len() as u64;
            self.missed.clear();
        }
        let everything = self.missed.len() >= EVERYTHING && self.missed.len() == self.present.len();
        if absence == Absence::Proof && !everything {
            self.missed.iter_mut().for_each(|thing| thing.absent_once = true);
        }
        self
    }

    /// Closes what is gone, and remembers what is absent for the first time where that is no proof.
    fn close(&self, tx: &Transaction<'_>, counts: &mut ThingCounts) -> Result<()> {
        for seq in &self.again {
            things::set_absent_once(tx, self.kind, *seq, false)?;
        }
        let (gone, once): (Vec<Present>, Vec<Present>) = self.missed.iter().partition(|thing| thing.absent_once);
        for thing in &once {
            things::set_absent_once(tx, self.kind, thing.seq, true)?;
        }
        for thing in &gone {
            things::close(tx, self.kind, thing.seq)?;
        }
        if !gone.is_empty() || self.kept > 0 {
            let counted = counts.entry(self.kind);
            counted.closed += gone.len() as u64;
            counted.kept += self.kept;
        }
        Ok(())
    }
}

/// Takes what is missed out of holds that have ended.
fn end_holds(tx: &Transaction<'_>, absent: &mut [Absent]) -> Result<()> {
    let mut stands: BTreeMap<i64, bool> = BTreeMap::new();
    for missed in absent.iter_mut().flat_map(|absent| &mut absent.gone) {
        let Some(hold) = missed.hold else { continue };
        let stands = match stands.get(&hold.id) {
            Some(stands) => *stands,
            None => *stands.entry(hold.id).or_insert(hold.stands(tx)?),
        };
        missed.hold = missed.hold.filter(|_| stands);
    }
    Ok(())
}

fn close_or_hold(
    tx: &Transaction<'_>,
    operation: Uuid,
    absent: &Absent,
    held: &[Missed],
    closed: &[Missed],
    closing: &mut Closing,
) -> Result<()> {
    let at = now();
    let scope_id = absent.scope.pass.scope_id;
    for Missed { gone, explained, .. } in absent.once.iter().chain(held) {
        tx.prepare_cached(
            "insert into absences (finding_seq, scope_id, seq_last_listed, explained) values (?1, ?2, ?3, ?4)
             on conflict (finding_seq) do update set scope_id = ?2, seq_last_listed = ?3, explained = ?4",
        )?
        .execute(params![gone.seq, scope_id, gone.since, explained])?;
    }
    closing.absent_once += absent.once.len() as u64;
    closing.emptied += if absent.emptied { absent.once.len() as u64 } else { 0 };
    absent.things.iter().try_for_each(|things| things.close(tx, &mut closing.things))?;
    for (missed, hold) in held.iter().filter_map(|missed| Some((missed, missed.hold?))) {
        tx.prepare_cached(
            "insert into held_closes (finding_seq, scope_id, operation, hold_id, hold_of) values (?1, ?2, ?3, ?4, ?5)
             on conflict (finding_seq) do update set scope_id = ?2, operation = ?3, hold_id = ?4, hold_of = ?5",
        )?
        .execute(params![missed.gone.seq, scope_id, operation.to_string(), hold.id, hold.of])?;
    }
    closing.held += held.len() as u64;
    for missed in closed {
        close_row(tx, missed.gone.seq, scope_id, Some(operation), at)?;
    }
    closing.closed += closed.len() as u64;
    let could_not_close = !held.is_empty() || absent.scope.absence == Absence::Nothing;
    // What asked for a full pass after this one began asks on: it may have passed by what is wanted since.
    let noted = tx
        .prepare_cached(
            "update scopes set full_at = ?2, full_served = coalesce((select full_requested from passes where id = ?4), full_served),
             last_seen = case when ?3 then last_seen else ?2 end, seq_at_start = coalesce((select seq_at_start from passes where id = ?4), seq_at_start),
             seq_at_end = (select coalesce(max(seq), 0) from finding_rows) where id = ?1",
        )?
        .execute(params![scope_id, absent.scope.pass.started, could_not_close, absent.scope.pass.id])?;
    passes::one_row(noted)
}

pub(super) fn close_row(tx: &Transaction<'_>, seq: i64, scope_id: i64, operation: Option<Uuid>, at: i64) -> Result<()> {
    let (id, state): (String, String) = tx
        .prepare_cached("select id, source_state from finding_rows where seq = ?1")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    failpoint::pass("close.row");
    tx.prepare_cached(
        "update finding_rows set source_state = 'gone', closed_at = case when source_state = 'open' then ?2 else coalesce(closed_at, ?2) end,
         updated_at = ?2, last_seen_at_close = (select case when s.last_seen > finding_rows.first_seen then s.last_seen else finding_rows.first_seen end
         from scopes s where s.id = ?3) where seq = ?1",
    )?
    .execute(params![seq, at, scope_id])?;
    tx.prepare_cached("delete from variants where finding_seq = ?1")?.execute([seq])?;
    seen(tx, seq)?;
    event_row(tx, &id, at, operation, "closed", Some(("source_state", Some(&state), Some("gone"))))
}

impl Store {
    /// Closes what an operation held and is still unseen; `None` when it held nothing (any more).
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn approve(&self, operation: Uuid) -> Result<Option<Approved>> {
        self.write_durably(move |tx| {
            let at = now();
            let held: Vec<(i64, i64, i64)> = tx
                .prepare(
                    "select h.finding_seq, h.scope_id, a.seq_last_listed from held_closes h join finding_rows f on f.seq = h.finding_seq
                     join absences a on a.finding_seq = h.finding_seq where h.operation = ?1 and f.scope_id = h.scope_id
                     and f.source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed')",
                )?
                .query_map([operation.to_string()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<_, _>>()?;
            let all = tx.execute("delete from held_closes where operation = ?1", [operation.to_string()])?;
            let records = records::approve(tx, operation, at)?;
            if all == 0 && records.is_none() {
                return Ok(None);
            }
            let mut approved = Approved { closed: held.len() as u64, seen_again: 0, records: records.unwrap_or(0) };
            for (seq, scope_id, _) in &held {
                close_row(tx, *seq, *scope_id, Some(operation), at)?;
            }
            let gone: Vec<Gone> = held.into_iter().map(|(seq, _, since)| Gone { seq, since }).collect();
            carry::over(tx, &gone, &[], operation, at)?;
            approved.seen_again = all as u64 - approved.closed;
            Counts { closed: approved.closed, ..Counts::default() }.add_to(tx, operation)?;
            tx.execute("update operations set outcome = 'success' where id = ?1 and outcome = 'held'", [operation.to_string()])?;
            Ok(Some(approved))
        })
        .await
    }
}

impl Store {
    /// Closes the findings of records that have been Missing for this long. Returns how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn close_missing(&self, lease: &Lease, operation: Uuid, time: Duration) -> Result<u64> {
        let lease = lease.clone();
        self.write(move |tx, _| {
            lease.extend(tx)?;
            let mut statement = tx.prepare("select id, state_since from record_rows where connection_id = ?1 and state = 'missing'")?;
            let records = statement.query_map([lease.connection_id], |row| Ok((row.get(0)?, passes::time(row.get(1)?))))?;
            let (mut closed, at) = (0, now());
            for record in records {
                let (id, since): (i64, Option<Timestamp>) = record?;
                if since.and_then(clock::age).is_none_or(|age| age < time) {
                    continue;
                }
                let findings: Vec<(i64, i64)> = tx
                    .prepare_cached(
                        "select seq, scope_id from finding_rows where record_id = ?1
                         and source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed')",
                    )?
                    .query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<Result<_, _>>()?;
                for (seq, scope_id) in &findings {
                    close_row(tx, *seq, *scope_id, Some(operation), at)?;
                }
                closed += findings.len() as u64;
            }
            Counts { closed, ..Counts::default() }.add_to(tx, operation)?;
            Ok(closed)
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
