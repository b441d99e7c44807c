//! What became of a finding: the rows of its history, and that it is no longer absent once it was seen.

use rusqlite::{Transaction, params};
use uuid::Uuid;

use super::Result;

/// One row of a finding's history.
pub(super) fn event_row(
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

/// What was delivered, or is gone, is neither held nor absent any more.
pub(super) fn seen(tx: &Transaction<'_>, seq: i64) -> Result<()> {
    tx.prepare_cached("delete from held_closes where finding_seq = ?1")?.execute([seq])?;
    tx.prepare_cached("delete from absences where finding_seq = ?1")?.execute([seq])?;
    Ok(())
}

/// The same for what is known by the hash of its id.
pub(super) fn seen_by_hash(tx: &Transaction<'_>, hash: i64) -> Result<()> {
    let mut statement = tx.prepare_cached("select seq from finding_rows where id_hash = ?1")?;
    let rows: Vec<i64> = statement.query_map([hash], |row| row.get(0))?.collect::<Result<_, _>>()?;
    rows.into_iter().try_for_each(|seq| seen(tx, seq))
}
