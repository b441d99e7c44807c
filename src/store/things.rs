//! Things: assets, identities, memberships, second factors and rated companies. One way to store and close them all; their
//! columns are in [`columns`]. They have no history and no triage, but a company's ratings are kept.

mod columns;

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    ops::AddAssign,
};

use rusqlite::{OptionalExtension, Transaction, params_from_iter, types::Value};
use tributary_connectors::model::{ItemKind, Thing};

use super::{Result, row::Id};
use columns::{Columns, columns_of};

pub(super) use columns::table;

/// A thing with its id, its columns and their digests.
#[derive(Debug)]
pub struct PreparedThing {
    pub(crate) id: Id,
    kind: ItemKind,
    key: String,
    gone: bool,
    columns: Columns,
    digest: i64,
    volatile_digest: i64,
}

/// Computes id, columns and digests.
pub fn prepare_thing(connection: &str, thing: &Thing) -> PreparedThing {
    let (kind, key) = (thing.kind(), thing.key().into_owned());
    let columns = columns_of(thing);
    let gone = match thing {
        Thing::Asset(asset) => asset.gone,
        Thing::Identity(identity) => identity.gone,
        Thing::Membership(membership) => membership.gone,
        Thing::Enrollment(enrollment) => enrollment.gone,
        Thing::ThirdParty(party) => party.gone,
    };
    PreparedThing {
        id: Id::of(connection, kind.as_str(), &key),
        digest: columns::digest(&columns.changing),
        volatile_digest: columns::digest(&columns.volatile),
        kind,
        key,
        gone,
        columns,
    }
}

/// What storing a page's things, or closing them, did, of each kind that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThingCounts(BTreeMap<ItemKind, Counted>);

/// What was counted of one kind of thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Delivered by the vendor.
    pub fetched: u64,
    /// Stored for the first time.
    pub created: u64,
    /// Rows with a change.
    pub updated: u64,
    /// Rows without one.
    pub unchanged: u64,
    /// Gone in the tool before they were ever met here.
    pub filtered: u64,
    /// No longer listed, and that is proof.
    pub closed: u64,
    /// No longer listed, too many to believe it.
    pub kept: u64,
}

impl Counted {
    fn each(&self) -> [(&'static str, u64); 7] {
        let Counted { fetched, created, updated, unchanged, filtered, closed, kept } = *self;
        let seen = [("fetched", fetched), ("created", created), ("updated", updated), ("unchanged", unchanged), ("filtered", filtered)];
        let [a, b, c, d, e] = seen;
        [a, b, c, d, e, ("closed", closed), ("kept", kept)]
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> =
            self.each().into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&words.join(", "))
    }
}

impl AddAssign for ThingCounts {
    fn add_assign(&mut self, other: Self) {
        for (kind, more) in other.0 {
            let sum = self.0.entry(kind).or_default();
            sum.fetched += more.fetched;
            sum.created += more.created;
            sum.updated += more.updated;
            sum.unchanged += more.unchanged;
            sum.filtered += more.filtered;
            sum.closed += more.closed;
            sum.kept += more.kept;
        }
    }
}

impl ThingCounts {
    /// What was counted of a kind.
    pub fn of(&self, kind: ItemKind) -> Counted {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// How many things came, of whatever kind.
    pub fn fetched(&self) -> u64 {
        self.0.values().map(|counted| counted.fetched).sum()
    }

    /// The kinds that came or were closed, and what was counted of them.
    pub fn each(&self) -> impl Iterator<Item = (ItemKind, Counted)> + '_ {
        self.0.iter().map(|(kind, counted)| (*kind, *counted))
    }

    pub(super) fn entry(&mut self, kind: ItemKind) -> &mut Counted {
        self.0.entry(kind).or_default()
    }

    /// As it stands in an operation's `detail`: a member for each kind.
    pub(crate) fn detail(&self) -> impl Iterator<Item = (String, serde_json::Value)> + '_ {
        self.0.iter().map(|(kind, counted)| {
            let counts = counted.each().into_iter().filter(|(name, count)| *count > 0 || *name != "kept");
            (kind.plural().to_owned(), counts.map(|(name, count)| (name, serde_json::Value::from(count))).collect())
        })
    }
}

/// Where and when a thing was met.
pub(crate) struct Place {
    pub(crate) connection_id: i64,
    pub(crate) scope_id: i64,
    pub(crate) operation: String,
    pub(crate) at: i64,
}

/// Stores one thing.
pub(crate) fn merge(tx: &Transaction<'_>, place: &Place, row: &PreparedThing, counts: &mut ThingCounts) -> Result<()> {
    let counted = counts.entry(row.kind);
    counted.fetched += 1;
    let Some(before) = find(tx, row)? else {
        if row.gone {
            counted.filtered += 1;
            return Ok(());
        }
        counted.created += 1;
        insert(tx, place, row)?;
        return columns::keep_ratings(tx, &row.id.text, &row.columns.ratings, (&place.operation, place.at));
    };
    let state = if row.gone { "gone" } else { "present" };
    if before.absent_once {
        tx.prepare_cached(&format!("update {} set absent_once = 0 where seq = ?1", table(row.kind)))?.execute([before.seq])?;
    }
    if before.digest == row.digest && before.state == state {
        counted.unchanged += 1;
        // Of what is gone nothing is seen any more.
        if !row.gone && (before.volatile_digest != row.volatile_digest || before.scope_id != place.scope_id) {
            update(tx, &before, place, row)?;
        }
        return Ok(());
    }
    counted.updated += 1;
    update(tx, &before, place, row)?;
    columns::keep_ratings(tx, &row.id.text, &row.columns.ratings, (&place.operation, place.at))
}

/// What a row was before.
struct Before {
    seq: i64,
    digest: i64,
    volatile_digest: i64,
    scope_id: i64,
    state: String,
    absent_once: bool,
}

fn find(tx: &Transaction<'_>, row: &PreparedThing) -> Result<Option<Before>> {
    let sql = format!("select seq, digest, volatile_digest, scope_id, state, absent_once from {} where id = ?1", table(row.kind));
    let before = |row: &rusqlite::Row<'_>| {
        let (seq, digest, volatile_digest, scope_id) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Before { seq, digest, volatile_digest, scope_id, state: row.get(4)?, absent_once: row.get(5)? })
    };
    Ok(tx.prepare_cached(&sql)?.query_row([&row.id.text], before).optional()?)
}

fn insert(tx: &Transaction<'_>, place: &Place, row: &PreparedThing) -> Result<()> {
    let own = [
        ("id", Value::Text(row.id.text.clone())),
        ("id_hash", row.id.hash.into()),
        ("connection_id", place.connection_id.into()),
        ("key", Value::Text(row.key.clone())),
        ("state", Value::Text("present".to_owned())),
        ("first_seen", place.at.into()),
        ("scope_id", place.scope_id.into()),
        ("digest", row.digest.into()),
        ("volatile_digest", row.volatile_digest.into()),
    ];
    let all: Vec<&(&str, Value)> = own.iter().chain(row.columns.all()).collect();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let places = vec!["?"; names.len()].join(", ");
    let sql = format!("insert into {} ({}) values ({places})", table(row.kind), names.join(", "));
    tx.prepare_cached(&sql)?.execute(params_from_iter(all.iter().map(|(_, value)| value)))?;
    Ok(())
}

/// Stores every column anew. What has gone was there until now; what has come back is present.
fn update(tx: &Transaction<'_>, before: &Before, place: &Place, row: &PreparedThing) -> Result<()> {
    let own = [
        ("scope_id", Value::from(place.scope_id)),
        ("digest", row.digest.into()),
        ("volatile_digest", row.volatile_digest.into()),
        ("state", Value::Text(if row.gone { "gone" } else { "present" }.to_owned())),
    ];
    let mut sql = format!("update {} set ", table(row.kind));
    let all: Vec<&(&str, Value)> = own.iter().chain(row.columns.all()).collect();
    for (name, _) in &all {
        let _ = write!(sql, "{name} = ?, ");
    }
    sql.push_str(if row.gone {
        "last_seen_at_close = coalesce(last_seen_at_close, ?) where seq = ?"
    } else {
        "last_seen_at_close = null where seq = ?"
    });
    let time = if row.gone { vec![Value::from(place.at)] } else { Vec::new() };
    let values = all.iter().map(|(_, value)| value.clone()).chain(time).chain([before.seq.into()]);
    tx.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}

/// A present thing of a scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) seq: i64,
    pub(super) id_hash: i64,
    pub(super) absent_once: bool,
}

/// The present things of one kind in a scope.
pub(super) fn present(tx: &Transaction<'_>, kind: ItemKind, scope_id: i64) -> Result<Vec<Present>> {
    let sql = format!("select seq, id_hash, absent_once from {} where scope_id = ?1 and state = 'present'", table(kind));
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map([scope_id], |row| Ok(Present { seq: row.get(0)?, id_hash: row.get(1)?, absent_once: row.get(2)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Marks a thing as gone, last seen when its scope was last listed with it.
pub(super) fn close(tx: &Transaction<'_>, kind: ItemKind, seq: i64) -> Result<()> {
    let table = table(kind);
    tx.prepare_cached(&format!(
        "update {table} set state = 'gone', absent_once = 0, last_seen_at_close = (select case when s.last_seen > {table}.first_seen
         then s.last_seen else {table}.first_seen end from scopes s where s.id = {table}.scope_id) where seq = ?1"
    ))?
    .execute([seq])?;
    Ok(())
}

/// Notes whether a thing was absent from the last full pass, where one is no proof.
pub(super) fn set_absent_once(tx: &Transaction<'_>, kind: ItemKind, seq: i64, absent: bool) -> Result<()> {
    tx.prepare_cached(&format!("update {} set absent_once = ?2 where seq = ?1", table(kind)))?.execute((seq, absent))?;
    Ok(())
}
