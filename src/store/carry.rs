//! Carrying over: a finding that comes back under another key (a BOM uploaded anew, a server upgraded) keeps what people decided
//! and when it was first seen.
//!
//! The rule: of the findings of one record with one lineage, exactly one is gone (for at most 30 days) and exactly one was
//! created since the last pass began that listed the other (and that did not bring both). Each row gives once and takes once. A decision of the new row's own stands; what a
//! person took back there stays taken back. A row that is reopened under its old key keeps what it had.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, Transaction};
use uuid::Uuid;

use super::{Result, history::event_row, triage};

/// How long a finding that is gone waits for its successor, in microseconds: 30 days.
const MAX_AGE_US: i64 = 30 * 86_400 * 1_000_000;

/// A finding that is gone now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) seq: i64,
    /// The last finding row when the last pass began that listed it, or, where that pass brought it, when that had ended.
    pub(super) since: i64,
}

/// Notes a new finding when one with its lineage is gone already.
pub(super) fn arrived(tx: &Transaction<'_>, seq: i64, scope_id: i64, record_id: i64, lineage: i64) -> Result<()> {
    tx.prepare_cached(
        "insert into arrivals (finding_seq, scope_id) select ?1, ?2
         where exists (select 1 from finding_rows where record_id = ?3 and lineage = ?4 and source_state = 'gone')",
    )?
    .execute([seq, scope_id, record_id, lineage])?;
    Ok(())
}

/// What was noted of a scope since its last pass ended; it is forgotten.
pub(super) fn arrivals(tx: &Transaction<'_>, scope_id: i64) -> Result<Vec<i64>> {
    let mut statement = tx.prepare_cached("delete from arrivals where scope_id = ?1 returning finding_seq")?;
    Ok(statement.query_map([scope_id], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The findings of one record with one lineage that this is about.
#[derive(Default)]
struct Group {
    gone: Vec<Gone>,
    arrived: BTreeSet<i64>,
}

/// Carries over from what is gone now, and to what arrived after its predecessor was gone.
pub(super) fn over(tx: &Transaction<'_>, gone: &[Gone], arrived: &[i64], operation: Uuid, at: i64) -> Result<()> {
    let mut groups: BTreeMap<(i64, i64), Group> = BTreeMap::new();
    let of = |seq: i64| -> Result<Option<(i64, i64)>> {
        let mut statement = tx.prepare_cached("select record_id, lineage from finding_rows where seq = ?1 and lineage is not null")?;
        Ok(statement.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    };
    for gone in gone {
        if let Some(lineage) = of(gone.seq)? {
            groups.entry(lineage).or_default().gone.push(*gone);
        }
    }
    for seq in arrived {
        if let Some(lineage) = of(*seq)? {
            groups.entry(lineage).or_default().arrived.insert(*seq);
        }
    }
    for ((record_id, lineage), group) in groups {
        if let Some((old, new)) = pair(tx, record_id, lineage, &group, at)? {
            carry_over_triage(tx, &old, &new, operation, at)?;
        }
    }
    Ok(())
}

/// A row, and the id of its finding.
type Row = (i64, String);

/// The one row that is gone and the one that replaces it.
fn pair(tx: &Transaction<'_>, record_id: i64, lineage: i64, group: &Group, at: i64) -> Result<Option<(Row, Row)>> {
    let rows: Vec<(i64, String, bool)> = tx
        .prepare_cached("select seq, id, source_state = 'gone' from finding_rows where record_id = ?1 and lineage = ?2")?
        .query_map([record_id, lineage], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut old = None;
    for (seq, id, _) in rows.iter().filter(|row| row.2) {
        if group.gone.iter().any(|gone| gone.seq == *seq) || gone_since(tx, id)?.is_some_and(|since| at - since <= MAX_AGE_US) {
            if old.is_some() {
                return Ok(None);
            }
            old = Some((*seq, id.clone()));
        }
    }
    let Some(old) = old else { return Ok(None) };
    let since = group.gone.iter().find(|gone| gone.seq == old.0).map_or(i64::MAX, |gone| gone.since);
    let mut new = None;
    for (seq, id, _) in rows.into_iter().filter(|row| !row.2 && (row.0 > since || group.arrived.contains(&row.0))) {
        if !has(tx, &id, "carried")? {
            if new.is_some() {
                return Ok(None);
            }
            new = Some((seq, id));
        }
    }
    Ok(new.map(|new| (old, new)))
}

fn gone_since(tx: &Transaction<'_>, id: &str) -> Result<Option<i64>> {
    Ok(tx
        .prepare_cached("select max(at) from finding_events where finding_id = ?1 and field = 'source_state' and new_value = 'gone'")?
        .query_row([id], |row| row.get(0))?)
}

fn has(tx: &Transaction<'_>, id: &str, event: &str) -> Result<bool> {
    Ok(tx
        .prepare_cached("select exists (select 1 from finding_events where finding_id = ?1 and event = ?2)")?
        .query_row([id, event], |row| row.get(0))?)
}

fn carry_over_triage(tx: &Transaction<'_>, old: &Row, new: &Row, operation: Uuid, at: i64) -> Result<()> {
    tx.prepare_cached(
        "update finding_rows set first_seen = case when o.first_seen < finding_rows.first_seen then o.first_seen else finding_rows.first_seen end,
         updated_at = ?3 from (select first_seen from finding_rows where seq = ?1) as o where seq = ?2",
    )?
    .execute([old.0, new.0, at])?;
    tx.prepare_cached("update finding_rows set lineage = null where seq = ?1")?.execute([old.0])?;
    event_row(tx, &new.1, at, Some(operation), "carried", Some(("id", Some(&old.1), Some(&new.1))))?;
    let decided = triage::told_of(tx, old.0)?;
    // Whoever decided about the new row, or took a decision back there, has been asked already.
    if decided.is_some() && triage::told_of(tx, new.0)?.is_none() && !has(tx, &new.1, "triaged")? {
        tx.prepare_cached(
            "update finding_rows set triage = o.triage, triage_until = o.triage_until, triage_note = o.triage_note
             from (select triage, triage_until, triage_note from finding_rows where seq = ?1) as o where seq = ?2",
        )?
        .execute([old.0, new.0])?;
        event_row(tx, &new.1, at, Some(operation), "triaged", Some(("triage", None, decided.as_deref())))?;
    }
    Ok(())
}
