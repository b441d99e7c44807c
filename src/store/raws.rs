//! The vendors' items as they came. Some dozens that were stored together are compressed together (a block): alone each would
//! take more than twice the room and time. A block knows which findings point into it, and goes with the last of them.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::value::RawValue;
use tributary_connectors::kit::par_map;

use super::{PreparedFinding, Result, Store, row::Place};

/// So many bytes of items, or one longer item, are a block.
const BLOCK_BYTES: usize = 64 << 10;
/// A block is written anew when no more than one in so many of its items is still pointed at.
const SPARSE: i64 = 4;
/// So many of them at a time, so that nobody waits long for the writer.
const REWRITTEN_AT_ONCE: usize = 100;

/// Compresses the items of findings that will be stored for certain, on all cores. What it returns belongs to the same page.
pub fn pack_ahead(rows: &mut [PreparedFinding]) -> Vec<Vec<u8>> {
    let (mut blocks, mut text) = (Vec::new(), String::new());
    for row in rows {
        let Some(raw) = row.finding.raw.take() else { continue };
        if !fits(&text, &raw) {
            blocks.push(std::mem::take(&mut text));
        }
        row.raw = Some(append(&mut text, &raw, blocks.len()));
    }
    blocks.push(text);
    par_map(blocks, |text: String| pack(&text))
}

fn fits(text: &str, raw: &RawValue) -> bool {
    text.is_empty() || text.len() + raw.get().len() <= BLOCK_BYTES
}

fn append<Block>(text: &mut String, raw: &RawValue, block: Block) -> Place<Block> {
    let number = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let place = Place { block, at: number(text.len()), length: number(raw.get().len()) };
    text.push_str(raw.get());
    place
}

/// The blocks that a transaction stores, and what it leaves in others.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// The id of the next block; 0 before the first one.
    next: i64,
    /// The texts of the block that is being filled, and its id.
    filling: Option<(i64, String)>,
    /// Blocks that were compressed ahead, by their number in the page: their ids.
    ahead: HashMap<usize, i64>,
    /// What is stored in the end, but for what was compressed ahead.
    packed: Vec<(i64, Vec<u8>)>,
    /// The findings that point into each of the new blocks.
    members: HashMap<i64, Vec<i64>>,
    /// How many findings point no longer into each of the stored blocks.
    left: HashMap<i64, i64>,
}

impl Blocks {
    fn new_id(&mut self, tx: &Transaction<'_>) -> Result<i64> {
        if self.next == 0 {
            self.next = tx.prepare_cached("select coalesce(max(id), 0) + 1 from raw_blocks")?.query_row([], |row| row.get(0))?;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// A place for the item of a finding, if it has one. It counts once [`Blocks::holds`] was told.
    pub(crate) fn place(&mut self, tx: &Transaction<'_>, row: &PreparedFinding) -> Result<Option<Place<i64>>> {
        match (&row.raw, row.finding.raw.as_deref()) {
            (Some(Place { block, at, length }), _) => {
                let id = match self.ahead.get(block) {
                    Some(id) => *id,
                    None => self.new_id(tx)?,
                };
                self.ahead.insert(*block, id);
                Ok(Some(Place { block: id, at: *at, length: *length }))
            }
            (None, Some(raw)) => Ok(Some(self.add(tx, raw)?)),
            (None, None) => Ok(None),
        }
    }

    fn add(&mut self, tx: &Transaction<'_>, raw: &RawValue) -> Result<Place<i64>> {
        if let Some((id, text)) = self.filling.take_if(|(_, text)| !fits(text, raw)) {
            self.packed.push((id, pack(&text)));
        }
        if self.filling.is_none() {
            self.filling = Some((self.new_id(tx)?, String::new()));
        }
        let (id, text) = self.filling.as_mut().expect("it was just filled");
        Ok(append(text, raw, *id))
    }

    /// The finding points into this block from now on.
    pub(crate) fn holds(&mut self, block: i64, finding_seq: i64) {
        self.members.entry(block).or_default().push(finding_seq);
    }

    /// The finding points into this block no longer.
    pub(crate) fn leaves(&mut self, block: i64, finding_seq: i64) {
        match self.members.get_mut(&block) {
            Some(members) => members.retain(|member| *member != finding_seq),
            None => *self.left.entry(block).or_default() += 1,
        }
    }

    /// Stores what is pointed at; `ahead` are the blocks that were compressed before.
    pub(crate) fn store(mut self, tx: &Transaction<'_>, ahead: &[Vec<u8>]) -> Result<()> {
        if let Some((id, text)) = self.filling.take() {
            self.packed.push((id, pack(&text)));
        }
        let packed = self.packed.iter().map(|(id, body)| (*id, body));
        let ahead = self.ahead.iter().filter_map(|(number, id)| Some((*id, ahead.get(*number)?)));
        for (id, body) in packed.chain(ahead) {
            let Some(members) = self.members.get(&id).filter(|members| !members.is_empty()) else { continue };
            let count = i64::try_from(members.len()).unwrap_or(i64::MAX);
            let seqs: Vec<u8> = members.iter().flat_map(|seq| seq.to_be_bytes()).collect();
            tx.prepare_cached("insert into raw_blocks (id, live, items, members, body) values (?1, ?2, ?2, ?3, ?4)")?
                .execute(params![id, count, seqs, body])?;
        }
        for (id, left) in &self.left {
            tx.prepare_cached("update raw_blocks set live = live - ?2 where id = ?1")?.execute([id, left])?;
            tx.prepare_cached("delete from raw_blocks where id = ?1 and live <= 0")?.execute([id])?;
        }
        Ok(())
    }
}

/// Texts, compressed.
fn pack(text: &str) -> Vec<u8> {
    thread_local! {
        static PACKER: std::cell::RefCell<zstd::bulk::Compressor<'static>> =
            std::cell::RefCell::new(zstd::bulk::Compressor::new(1).expect("level 1 exists"));
    }
    PACKER.with_borrow_mut(|packer| packer.compress(text.as_bytes())).expect("memory for a few kilobytes")
}

/// One item of a block; `None` when the block is damaged.
pub(super) fn item(body: &[u8], at: i64, length: i64) -> Option<String> {
    let texts = zstd::stream::decode_all(body).ok()?;
    let at = usize::try_from(at).ok()?;
    let item = texts.get(at..at.checked_add(usize::try_from(length).ok()?)?)?;
    String::from_utf8(item.to_vec()).ok()
}

impl Store {
    /// Writes blocks anew of which little is still pointed at. Returns how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn rewrite_sparse_blocks(&self) -> Result<usize> {
        self.write(|tx, _| {
            let sparse: Vec<i64> = tx
                .prepare("select id from raw_blocks where live * ?1 <= items limit ?2")?
                .query_map(params![SPARSE, i64::try_from(REWRITTEN_AT_ONCE).unwrap_or(i64::MAX)], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            // One that is sparse is written again only once less of it is left: then as full as it can be.
            let mut blocks = Blocks::default();
            for id in &sparse {
                rewrite(tx, *id, &mut blocks)?;
            }
            blocks.store(tx, &[])?;
            Ok(sparse.len())
        })
        .await
    }
}

fn rewrite(tx: &Transaction<'_>, id: i64, blocks: &mut Blocks) -> Result<()> {
    let (members, body): (Vec<u8>, Vec<u8>) =
        tx.query_row("select members, body from raw_blocks where id = ?1", [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for seq in members.as_chunks::<8>().0.iter().map(|bytes| i64::from_be_bytes(*bytes)) {
        let place: Option<(i64, i64)> = tx
            .prepare_cached("select raw_at, raw_length from finding_rows where seq = ?1 and raw_block = ?2")?
            .query_row([seq, id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((at, length)) = place else { continue };
        let Some(raw) = item(&body, at, length).and_then(|raw| RawValue::from_string(raw).ok()) else {
            // Damaged. The id may be given again: nothing may point to it then.
            tx.prepare_cached("update finding_rows set raw_block = null, raw_at = null, raw_length = null where seq = ?1")?
                .execute([seq])?;
            continue;
        };
        let place = blocks.add(tx, &raw)?;
        points_to(tx, seq, place)?;
        blocks.holds(place.block, seq);
    }
    tx.prepare_cached("delete from raw_blocks where id = ?1")?.execute([id])?;
    Ok(())
}

/// Lets a finding point to another place.
pub(crate) fn points_to(tx: &Transaction<'_>, seq: i64, place: Place<i64>) -> Result<()> {
    tx.prepare_cached("update finding_rows set raw_block = ?2, raw_at = ?3, raw_length = ?4 where seq = ?1")?.execute([
        seq,
        place.block,
        place.at,
        place.length,
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tributary_connectors::model::{Category, Finding};

    use super::*;
    use crate::store::prepare;

    fn row(raw: &str) -> PreparedFinding {
        let raw = Some(RawValue::from_string(raw.to_owned()).expect("JSON"));
        prepare("c", Finding { raw, ..Finding::new("k", "r", Category::Sca) })
    }

    #[test]
    fn items_come_back_as_they_were() {
        let long = format!("\"{}\"", "x".repeat(BLOCK_BYTES));
        let raws = [r#"{"a":"é","n":1.10}"#, &long, "{}", r#"[1, 2]"#];
        let mut rows: Vec<PreparedFinding> = raws.iter().map(|raw| row(raw)).collect();
        let blocks = pack_ahead(&mut rows);
        assert_eq!(blocks.len(), 3, "the long one is a block of its own");
        for (row, raw) in rows.iter().zip(raws) {
            let place = row.raw.expect("a place");
            assert_eq!(item(&blocks[place.block], place.at, place.length).as_deref(), Some(raw));
        }
    }

    #[test]
    fn a_place_outside_of_a_block_is_no_item() {
        let body = pack("{}");
        for (at, length) in [(0, 3), (3, 1), (-1, 1), (0, -1), (i64::MAX, i64::MAX)] {
            assert_eq!(item(&body, at, length), None, "{at} {length}");
        }
        assert_eq!(item(b"no block", 0, 2), None);
    }
}
