//! Assets: hosts, repositories, images and the like, merged and closed like findings, without a history.

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tributary_connectors::model::Asset;

use super::{Result, row::Id};

/// An asset with its id and digest.
#[derive(Debug)]
pub struct AssetRow {
    pub(crate) asset: Asset,
    pub(crate) id: Id,
    digest: i64,
    identifiers: String,
    attributes: String,
    tags: String,
}

/// What storing a page's assets, or closing them, did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssetCounts {
    /// Delivered by the vendor.
    pub fetched: u64,
    /// Assets that were stored for the first time.
    pub created: u64,
    /// Rows with a change.
    pub updated: u64,
    /// Rows without one.
    pub unchanged: u64,
    /// Deleted in the tool before they were ever met here.
    pub filtered: u64,
    /// No longer listed, and that is proof.
    pub closed: u64,
}

impl std::ops::AddAssign for AssetCounts {
    fn add_assign(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.filtered += other.filtered;
        self.closed += other.closed;
    }
}

impl AssetCounts {
    /// As it stands in an operation's `detail`; nothing when the tool lists no assets.
    pub(crate) fn detail(self) -> Value {
        if self == AssetCounts::default() {
            return Value::Null;
        }
        serde_json::json!({ "fetched": self.fetched, "created": self.created, "updated": self.updated,
            "unchanged": self.unchanged, "filtered": self.filtered, "closed": self.closed })
    }
}

/// Computes id and digest.
pub fn prepare_asset(connection: &str, asset: Asset) -> AssetRow {
    let object = |pairs: &[(&'static str, Box<str>)]| {
        // The same name may come more than once (a host has several addresses): then its value is a list.
        let mut object = Map::new();
        for (name, value) in pairs {
            let entry = object.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(values) = entry {
                values.push((**value).into());
            }
        }
        let single = |value: Value| match value {
            Value::Array(mut values) if values.len() == 1 => values.remove(0),
            other => other,
        };
        Value::Object(object.into_iter().map(|(name, value)| (name, single(value))).collect()).to_string()
    };
    let (identifiers, attributes) = (object(&asset.identifiers), object(&asset.attributes));
    let tags = Value::from_iter(asset.tags.iter().map(|tag| &**tag)).to_string();
    let all = serde_json::json!([asset.record, asset.kind, asset.name, identifiers, attributes, tags, asset.gone]).to_string();
    let digest = i64::from_be_bytes(Sha256::digest(all)[..8].try_into().expect("a digest has 32 bytes"));
    AssetRow { id: Id::of(connection, "asset", &asset.key), digest, identifiers, attributes, tags, asset }
}

/// Stores one asset.
pub(crate) fn merge(
    tx: &Transaction<'_>,
    connection_id: i64,
    scope_id: i64,
    row: &AssetRow,
    at: i64,
    counts: &mut AssetCounts,
) -> Result<()> {
    counts.fetched += 1;
    let asset = &row.asset;
    let state = if asset.gone { "gone" } else { "present" };
    let before: Option<(i64, i64, i64, String)> = tx
        .prepare_cached("select seq, digest, scope_id, state from asset_rows where id = ?1")?
        .query_row([&row.id.text], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((seq, digest, old_scope, old_state)) = before else {
        if asset.gone {
            counts.filtered += 1;
            return Ok(());
        }
        tx.prepare_cached(
            "insert into asset_rows (id, id_hash, connection_id, scope_id, digest, key, record_key, kind, name, identifiers, attributes, tags, state, first_seen)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'present', ?13)",
        )?
        .execute(params![
            row.id.text, row.id.hash, connection_id, scope_id, row.digest, asset.key, asset.record, asset.kind, asset.name,
            row.identifiers, row.attributes, row.tags, at
        ])?;
        counts.created += 1;
        return Ok(());
    };
    if digest == row.digest && old_scope == scope_id && old_state == state {
        counts.unchanged += 1;
        return Ok(());
    }
    let last_seen_at_close = asset.gone.then_some(at);
    tx.prepare_cached(
        "update asset_rows set scope_id = ?2, digest = ?3, record_key = ?4, kind = ?5, name = ?6, identifiers = ?7, attributes = ?8, tags = ?9,
         state = ?10, last_seen_at_close = case when ?10 = 'gone' then coalesce(last_seen_at_close, ?11) end where seq = ?1",
    )?
    .execute(params![
        seq, scope_id, row.digest, asset.record, asset.kind, asset.name, row.identifiers, row.attributes, row.tags, state, last_seen_at_close
    ])?;
    counts.updated += 1;
    Ok(())
}

/// The present assets of a scope: row and seen mark.
pub(crate) fn present(tx: &Transaction<'_>, scope_id: i64) -> Result<Vec<(i64, i64)>> {
    let mut statement = tx.prepare_cached("select seq, id_hash from asset_rows where scope_id = ?1 and state = 'present'")?;
    let rows = statement.query_map([scope_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Marks an asset as gone, last seen when its scope was last listed with it.
pub(crate) fn close(tx: &Transaction<'_>, seq: i64) -> Result<()> {
    tx.prepare_cached(
        "update asset_rows set state = 'gone', last_seen_at_close = (select case when s.last_seen > asset_rows.first_seen then s.last_seen
         else asset_rows.first_seen end from scopes s where s.id = asset_rows.scope_id) where seq = ?1",
    )?
    .execute([seq])?;
    Ok(())
}
