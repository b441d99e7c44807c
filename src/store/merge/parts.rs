//! What a page was delivered, noted part by part.

use rusqlite::{OptionalExtension, Transaction, params};

use super::PageCommit;
use crate::store::Result;

/// Notes the items of a page, or of the next part of one.
pub(super) fn note(tx: &Transaction<'_>, page: &PageCommit, hashes: &[i64]) -> Result<()> {
    let mut delivered = before(tx, page)?.unwrap_or_default();
    if page.part == 0 && !delivered.is_empty() {
        set_aside(tx, page, &delivered)?;
        delivered.clear();
    }
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
    Ok(())
}
