//! What a page was delivered, noted part by part.

use rusqlite::{OptionalExtension, Transaction, params};

use super::PageCommit;
use crate::store::{Lease, Result, quarantine};

/// Before the first part of a page is stored: what an earlier reading of it brought does not stand beside this one's items.
pub(super) fn begin(tx: &Transaction<'_>, lease: &Lease, page: &PageCommit) -> Result<()> {
    match before(tx, page)? {
        Some(delivered) if page.part == 0 => {
            set_aside(tx, page, &delivered)?;
            // On a first page all that the pass has met so far was met in that reading, and is met again.
            if page.number == 0 { quarantine::forget(tx, lease, &page.pass) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// Notes the items of a page, or of the next part of one.
pub(super) fn note(tx: &Transaction<'_>, page: &PageCommit, hashes: &[i64]) -> Result<()> {
    let mut delivered = before(tx, page)?.unwrap_or_default();
    delivered.extend(hashes.iter().flat_map(|hash| hash.to_be_bytes()));
    tx.prepare_cached(
        "insert into pass_pages (pass_id, page, hashes) values (?1, ?2, ?3)
         on conflict (pass_id, page) do update set hashes = excluded.hashes",
    )?
    .execute(params![page.pass.id, page.number, delivered])?;
    Ok(())
}

fn before(tx: &Transaction<'_>, page: &PageCommit) -> Result<Option<Vec<u8>>> {
    let mut statement = tx.prepare_cached("select hashes from pass_pages where pass_id = ?1 and page = ?2")?;
    Ok(statement.query_row(params![page.pass.id, page.number], |row| row.get(0)).optional()?)
}

/// An earlier reading of the page ended between its parts, and the page is read anew. What came then was seen, and is not
/// counted once more: it stands under a number that no page has, each item once.
fn set_aside(tx: &Transaction<'_>, page: &PageCommit, delivered: &[u8]) -> Result<()> {
    let mut items = delivered.as_chunks::<8>().0.to_vec();
    items.sort_unstable();
    items.dedup();
    tx.prepare_cached(
        "insert into pass_pages (pass_id, page, hashes)
         select ?1, case when min(page) < 0 then min(page) else 0 end - 1, ?2 from pass_pages where pass_id = ?1",
    )?
    .execute(params![page.pass.id, items.concat()])?;
    tx.prepare_cached("delete from pass_pages where pass_id = ?1 and page = ?2")?.execute(params![page.pass.id, page.number])?;
    Ok(())
}
