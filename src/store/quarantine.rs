//! Items that could not be read, and members that were left out of items so that they could: kept to be looked at, in bounds.
//!
//! A pass that meets the same again finds its row; a full pass that came to its end leaves only what it met. Of one list at most
//! [`MAX_ROWS_PER_LIST`] rows of each sort are kept, and one more row says how many items there were beside them.

use std::collections::{HashMap, HashSet};

use rusqlite::{Transaction, params};
use tributary_connectors::{Mended, Reject};
use uuid::Uuid;

use super::{Lease, Pass, Result, Store, hash_of};

/// Rows that are kept of one list and sort.
const MAX_ROWS_PER_LIST: usize = 1000;
/// Longest text of an item that is kept, in bytes.
const LONGEST: usize = 64 << 10;
/// What the row that counts the rest is known by.
const REST: i64 = 0;

/// What a page left for the quarantine of its list.
pub(super) struct Leavings<'a> {
    /// The operation that read the page.
    pub operation: Uuid,
    /// The pass that it belongs to.
    pub pass: &'a Pass,
    /// Items that could not be read.
    pub rejects: &'a [(Option<i64>, Reject)],
    /// Members that were left out.
    pub mended: &'a [Mended],
}

/// One row to be.
struct Entry<'a> {
    identity: i64,
    key: Option<&'a str>,
    path: &'a str,
    reason: &'a str,
    raw: &'a str,
    items: i64,
}

impl<'a> Entry<'a> {
    fn rejected((key_hash, reject): &'a (Option<i64>, Reject)) -> Self {
        let identity = key_hash.unwrap_or_else(|| hash_of("", "text", &reject.raw));
        let Reject { key, path, reason, raw } = reject;
        Entry { identity: own(identity), key: key.as_deref(), path, reason, raw: clip(raw), items: 1 }
    }

    fn mended(mended: &'a Mended, path: &'a str) -> Self {
        Entry { identity: own(hash_of("", "path", path)), key: mended.key.as_deref(), path, reason: &mended.reason, raw: "", items: 1 }
    }
}

/// An identity that is not the one of the rest.
fn own(identity: i64) -> i64 {
    if identity == REST { 1 } else { identity }
}

/// The beginning of a text, whole characters.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// A path without the places in lists: `cwes[3].id` is the same member of every item as `cwes[0].id`.
fn member(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut parts = path.split('[');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push('[');
        plain.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    plain
}

/// Keeps what a page left.
pub(super) fn keep(tx: &Transaction<'_>, lease: &Lease, page: &Leavings<'_>, at: i64) -> Result<()> {
    if page.rejects.is_empty() && page.mended.is_empty() {
        return Ok(());
    }
    let place = Place { tx, connection: super::operations::connection_name(tx, lease.connection_id)?, scope: scope_name(tx, page.pass)? };
    place.keep(page, "rejected", page.rejects.iter().map(Entry::rejected), at)?;
    let mut paths: Vec<(String, &Mended, i64)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for mended in page.mended {
        let path = member(&mended.path);
        let here = *places.entry(path.clone()).or_insert_with(|| {
            paths.push((path, mended, 0));
            paths.len() - 1
        });
        paths[here].2 += 1;
    }
    let entries = paths.iter().map(|(path, mended, items)| Entry { items: *items, ..Entry::mended(mended, path) });
    place.keep(page, "mended", entries, at)
}

/// The name of a pass's list, as `findings` shows it.
fn scope_name(tx: &Transaction<'_>, pass: &Pass) -> Result<String> {
    let name = tx
        .prepare_cached("select list || case when key = '' then '' else ' ' || key end from scopes where id = ?1")?
        .query_row([pass.scope_id], |row| row.get(0))?;
    Ok(name)
}

struct Place<'a> {
    tx: &'a Transaction<'a>,
    connection: String,
    scope: String,
}

impl Place<'_> {
    fn keep<'e>(&self, page: &Leavings<'_>, outcome: &str, entries: impl Iterator<Item = Entry<'e>>, at: i64) -> Result<()> {
        let mut known: HashSet<i64> = self
            .tx
            .prepare_cached("select identity from quarantine where connection = ?1 and scope = ?2 and outcome = ?3")?
            .query_map(params![self.connection, self.scope, outcome], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut rows = known.len() - usize::from(known.contains(&REST));
        let mut rest = 0;
        for entry in entries {
            if !known.contains(&entry.identity) {
                if rows >= MAX_ROWS_PER_LIST {
                    rest += entry.items;
                    continue;
                }
                known.insert(entry.identity);
                rows += 1;
            }
            self.put(page, outcome, &entry, at)?;
        }
        if rest > 0 {
            let reason = format!("more than {MAX_ROWS_PER_LIST} are not kept: these are only counted");
            self.put(page, outcome, &Entry { identity: REST, key: None, path: "", reason: &reason, raw: "", items: rest }, at)?;
        }
        Ok(())
    }

    /// Stores a row, or what a row that is there stands for now: what this pass met before on it counts on.
    fn put(&self, page: &Leavings<'_>, outcome: &str, entry: &Entry<'_>, at: i64) -> Result<()> {
        let counts_on = outcome == "mended" || entry.identity == REST;
        let Entry { identity, key, path, reason, raw, items } = entry;
        self.tx
            .prepare_cached(
                "insert into quarantine (operation, connection, scope, outcome, identity, key, path, reason, raw, items, pass_id, at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 on conflict (connection, scope, outcome, identity) do update set operation = excluded.operation, key = excluded.key,
                 path = excluded.path, reason = excluded.reason, raw = excluded.raw, pass_id = excluded.pass_id, at = excluded.at,
                 items = excluded.items + case when ?13 and quarantine.pass_id = excluded.pass_id then quarantine.items else 0 end",
            )?
            .execute(params![
                page.operation.to_string(),
                self.connection,
                self.scope,
                outcome,
                identity,
                key,
                path,
                reason,
                raw,
                items,
                page.pass.id,
                at,
                counts_on
            ])?;
        Ok(())
    }
}

/// A full pass came to its end: what it did not meet can be read by now, or is there no more.
pub(super) fn settle(tx: &Transaction<'_>, lease: &Lease, pass: &Pass) -> Result<()> {
    let connection = super::operations::connection_name(tx, lease.connection_id)?;
    tx.prepare_cached("delete from quarantine where connection = ?1 and scope = ?2 and pass_id <> ?3")?.execute(params![
        connection,
        scope_name(tx, pass)?,
        pass.id
    ])?;
    Ok(())
}

/// What a pass has met so far is met again, and counted anew.
pub(super) fn forget(tx: &Transaction<'_>, lease: &Lease, pass: &Pass) -> Result<()> {
    let connection = super::operations::connection_name(tx, lease.connection_id)?;
    tx.prepare_cached("delete from quarantine where connection = ?1 and scope = ?2 and pass_id = ?3")?.execute(params![
        connection,
        scope_name(tx, pass)?,
        pass.id
    ])?;
    Ok(())
}

impl Store {
    /// Has lists with items in quarantine read from their beginning next time, and forgets those items: what still cannot be
    /// read comes back. Returns how many lists.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn list_quarantined_again(&self, connection: Option<String>) -> Result<u64> {
        self.write_durably(move |tx| {
            let scopes = tx.execute(
                "update scopes set full_requested = full_requested + 1, mark = null where id in (select s.id from scopes s join connections c on c.id = s.connection_id
                 join quarantine q on q.connection = c.name and q.scope = s.list || case when s.key = '' then '' else ' ' || s.key end
                 where ?1 is null or c.name = ?1)",
                [&connection],
            )?;
            tx.execute("delete from quarantine where ?1 is null or connection = ?1", [&connection])?;
            Ok(scopes as u64)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_the_same_at_every_place_of_a_list() {
        for (path, plain) in [("cwes[12].id", "cwes[].id"), ("a", "a"), ("", ""), ("[0][1].x9", "[][].x9"), ("a[b]", "a[b]")] {
            assert_eq!(member(path), plain);
        }
    }

    #[test]
    fn a_text_is_clipped_at_a_character() {
        let long = "é".repeat(LONGEST);
        assert_eq!(clip(&long).len(), LONGEST);
        assert_eq!(clip(&format!("x{long}")).len(), LONGEST - 1);
        assert_eq!(clip("short"), "short");
    }
}
