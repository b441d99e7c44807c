//! Product records: discovered, met in a stream, missing, and mapped to products.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Transaction, params};
use tributary_connectors::{RecordRef, model::Record};
use uuid::Uuid;

use super::{Lease, Pass, Result, Store, now, passes};
use crate::failpoint;

/// More than this many percent of the Good records, and at least [`BRAKE_COUNT`], do not become Missing unasked: a credential
/// that lost its role is shown a short list.
const BRAKE_PERCENT: usize = 30;
const BRAKE_COUNT: usize = 5;

/// What the end of a discover made of records that it did not list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Records that are Missing now.
    pub missing: u64,
    /// Records that would be, but wait for an operator.
    pub held: u64,
    /// Records that it listed, and can be read or not.
    pub listed: u64,
}

/// What a discover found of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    New,
    Changed,
    Same,
}

/// Stores a record that a discover lists.
pub(crate) fn upsert_from_discovery(
    tx: &Transaction<'_>,
    connection_id: i64,
    record: &Record,
    operation: Uuid,
    auto_map: bool,
    at: i64,
) -> Result<Met> {
    let attributes: serde_json::Map<String, serde_json::Value> =
        record.attributes.iter().map(|(name, value)| ((*name).to_owned(), value.to_string().into())).collect();
    let attributes = serde_json::Value::from(attributes).to_string();
    type Old = (i64, String, String, Option<String>, String, String);
    let old: Option<Old> = tx
        .prepare_cached("select id, name, kind, url, state, attributes from record_rows where connection_id = ?1 and key = ?2")?
        .query_row(params![connection_id, record.key], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .optional()?;
    let Some((id, name, kind, url, state, old_attributes)) = old else {
        insert(tx, connection_id, record, &attributes, auto_map, at)?;
        listed(tx, connection_id, &record.key, operation, at)?;
        return Ok(Met::New);
    };
    if state == "deleted" {
        recreate(tx, id, &record.name, auto_map, at)?;
    }
    listed(tx, connection_id, &record.key, operation, at)?;
    let same = (&*name, &*kind, url.as_deref(), &*old_attributes) == (&*record.name, &*record.kind, record.url.as_deref(), &*attributes);
    tx.prepare_cached("update record_rows set name = ?2, kind = ?3, url = ?4, attributes = ?5 where id = ?1")?.execute(params![
        id,
        record.name,
        record.kind,
        record.url,
        attributes
    ])?;
    Ok(match &*state {
        "deleted" => Met::New,
        "missing" => Met::Changed,
        _ if same => Met::Same,
        _ => Met::Changed,
    })
}

/// Notes that a discover lists a record, whether more than its key could be read or not. One that is unknown stays so.
pub(crate) fn listed(tx: &Transaction<'_>, connection_id: i64, key: &str, operation: Uuid, at: i64) -> Result<()> {
    let found: Option<(i64, String)> = tx
        .prepare_cached(
            "update record_rows set met_by = ?3, last_seen = ?4 where connection_id = ?1 and key = ?2 and state <> 'deleted' returning id, state",
        )?
        .query_row(params![connection_id, key, operation.to_string(), at], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, state)) = found else { return Ok(()) };
    seen_again(tx, id)?;
    if state == "missing" {
        reinstate(tx, id, at)?;
    }
    Ok(())
}

/// A record that was met does not wait for an operator any more.
fn seen_again(tx: &Transaction<'_>, id: i64) -> Result<()> {
    tx.prepare_cached("delete from held_records where record_id = ?1")?.execute([id])?;
    Ok(())
}

/// The record that a finding in a stream names, and whether its findings are stored.
pub(crate) fn upsert_from_finding(tx: &Transaction<'_>, connection_id: i64, key: &str, auto_map: bool, at: i64) -> Result<(i64, bool)> {
    let known: Option<(i64, String)> = tx
        .prepare_cached("select id, state from record_rows where connection_id = ?1 and key = ?2")?
        .query_row(params![connection_id, key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        Some((id, state)) if state == "missing" => Ok((id, reinstate(tx, id, at)? == "good")),
        Some((id, state)) if state == "deleted" => {
            recreate(tx, id, key, auto_map, at)?;
            Ok((id, auto_map))
        }
        Some((id, state)) => {
            seen_again(tx, id)?;
            Ok((id, state == "good"))
        }
        None => {
            let record = Record { key: key.into(), name: key.into(), ..Record::default() };
            Ok((insert(tx, connection_id, &record, "{}", auto_map, at)?, auto_map))
        }
    }
}

/// Whether the findings of a record are stored; `None` when it is missing or deleted, so that none can stay with it.
pub(crate) fn still_there(tx: &Transaction<'_>, id: i64) -> Result<Option<bool>> {
    let state: String = tx.prepare_cached("select state from record_rows where id = ?1")?.query_row([id], |row| row.get(0))?;
    Ok((!matches!(&*state, "missing" | "deleted")).then_some(state == "good"))
}

/// A deleted record that the vendor still has is met like a new one.
fn recreate(tx: &Transaction<'_>, id: i64, name: &str, auto_map: bool, at: i64) -> Result<()> {
    seen_again(tx, id)?;
    let product_id = if auto_map { Some(product(tx, name, at)?) } else { None };
    tx.prepare_cached(
        "update record_rows set state = ?2, product_id = ?3, first_seen = ?4, last_seen = ?4, state_since = ?4 where id = ?1",
    )?
    .execute(params![id, if auto_map { "good" } else { "new" }, product_id, at])?;
    if auto_map { request_full_pass(tx, id) } else { Ok(()) }
}

fn insert(tx: &Transaction<'_>, connection_id: i64, record: &Record, attributes: &str, auto_map: bool, at: i64) -> Result<i64> {
    let product_id = if auto_map { Some(product(tx, &record.name, at)?) } else { None };
    tx.prepare_cached(
        "insert into record_rows (connection_id, key, name, kind, url, state, product_id, attributes, first_seen, last_seen, state_since)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?9)",
    )?
    .execute(params![
        connection_id,
        record.key,
        record.name,
        record.kind,
        record.url,
        if auto_map { "good" } else { "new" },
        product_id,
        attributes,
        at
    ])?;
    let id = tx.last_insert_rowid();
    if auto_map {
        request_full_pass(tx, id)?;
    }
    Ok(id)
}

/// A record became Good, and its findings were left aside before: the next passes of its own lists, and of those that cover
/// many records, are full ones.
pub(super) fn request_full_pass(tx: &Transaction<'_>, record_id: i64) -> Result<()> {
    tx.prepare_cached("update scopes set full_requested = full_requested + 1 where record_id = ?1")?.execute([record_id])?;
    tx.prepare_cached(
        "update scopes set full_requested = full_requested + 1
         where record_id is null and connection_id = (select connection_id from record_rows where id = ?1)",
    )?
    .execute([record_id])?;
    Ok(())
}

/// Gives a missing record its former state back.
fn reinstate(tx: &Transaction<'_>, id: i64, at: i64) -> Result<String> {
    let state: String = tx
        .prepare_cached(
            "update record_rows set state = coalesce(former_state, 'good'), former_state = null, state_since = ?2, last_seen = ?2
             where id = ?1 returning state",
        )?
        .query_row(params![id, at], |row| row.get(0))?;
    if state == "good" {
        request_full_pass(tx, id)?;
    }
    Ok(state)
}

/// The product of this name, created when it is new.
pub(super) fn product(tx: &Transaction<'_>, name: &str, at: i64) -> Result<i64> {
    tx.prepare_cached("insert into products (name, created_at) values (?1, ?2) on conflict (name) do nothing")?
        .execute(params![name, at])?;
    Ok(tx.prepare_cached("select id from products where name = ?1")?.query_row([name], |row| row.get(0))?)
}

/// What a complete discover did not list is Missing; when that is a large part of what is synced, it is held. What is held already
/// stays so until it is listed, or an operator approves: whatever else is listed meanwhile says nothing about it.
fn miss(tx: &Transaction<'_>, connection_id: i64, operation: Uuid, discovered: &mut Discovered) -> Result<()> {
    let of = params![connection_id, operation.to_string()];
    let unlisted = "connection_id = ?1 and state in ('good', 'stale') and (met_by is null or met_by <> ?2)";
    tx.execute(
        &format!(
            "delete from held_records where record_id in (select id from record_rows where connection_id = ?1)
             and record_id not in (select id from record_rows where {unlisted})"
        ),
        of,
    )?;
    let (lost, good): (i64, i64) = tx.query_row(
        "select coalesce(sum(case when met_by = ?2 then 0 else 1 end), 0), count(*) from record_rows where connection_id = ?1 and state = 'good'",
        of,
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let number = |count: i64| usize::try_from(count).unwrap_or(0);
    let hold = number(lost) >= BRAKE_COUNT && number(lost) * 100 > number(good) * BRAKE_PERCENT;
    let to_hold = if hold { unlisted.to_owned() } else { format!("{unlisted} and id in (select record_id from held_records)") };
    discovered.held = tx.execute(
        &format!(
            "insert into held_records (record_id, operation) select id, ?2 from record_rows where {to_hold}
             on conflict (record_id) do update set operation = excluded.operation"
        ),
        of,
    )? as u64;
    discovered.missing = tx.execute(
        &format!(
            "update record_rows set former_state = state, state = 'missing', state_since = ?3
             where {unlisted} and id not in (select record_id from held_records)"
        ),
        params![connection_id, operation.to_string(), now()],
    )? as u64;
    Ok(())
}

/// Makes Missing what an operation held of records and nobody has met since; `None` when it held none. Returns how many.
pub(super) fn approve(tx: &Transaction<'_>, operation: Uuid, at: i64) -> Result<Option<u64>> {
    let held = "select record_id from held_records where operation = ?1";
    let missing = tx.execute(
        &format!(
            "update record_rows set former_state = state, state = 'missing', state_since = ?2
             where state in ('good', 'stale') and id in ({held})"
        ),
        params![operation.to_string(), at],
    )?;
    let held = tx.execute("delete from held_records where operation = ?1", [operation.to_string()])?;
    Ok((held > 0).then_some(missing as u64))
}

impl Store {
    /// The Good records of a connection, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn good_records(&self, lease: &Lease) -> Result<Vec<RecordRef>> {
        let lease = lease.clone();
        self.write(move |tx, _| {
            let mut statement = tx
                .prepare_cached("select key, name, kind from record_rows where connection_id = ?1 and state = 'good' order by name, key")?;
            let rows = statement.query_map([lease.connection_id], |row| {
                let text = |index| row.get::<_, String>(index).map(String::into_boxed_str);
                Ok(RecordRef { key: text(0)?, name: text(1)?, kind: text(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Ends a discover with its finished passes. When it listed everything, records that it did not list become Missing, unless they are too many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn end_discover(&self, lease: &Lease, operation: Uuid, ended: Vec<Pass>, listed_everything: bool) -> Result<Discovered> {
        let lease = lease.clone();
        let ended = self.write(move |tx, _| {
            lease.extend(tx)?;
            let id = lease.connection_id;
            for pass in &ended {
                passes::leave_mark(tx, pass)?;
                passes::delete_pass(tx, pass)?;
            }
            tx.execute("update connections set discovered_at = ?2 where id = ?1", params![id, now()])?;
            let listed: i64 = tx.query_row(
                "select count(*) from record_rows where connection_id = ?1 and met_by = ?2",
                params![id, operation.to_string()],
                |row| row.get(0),
            )?;
            let mut discovered = Discovered { listed: listed.unsigned_abs(), ..Discovered::default() };
            if listed_everything {
                miss(tx, id, operation, &mut discovered)?;
            }
            failpoint::pass("discover.missing");
            Ok(discovered)
        });
        let discovered = ended.await?;
        failpoint::pass("discover.ended");
        Ok(discovered)
    }

    /// Which of these records are Missing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn missing_of(&self, lease: &Lease, keys: Vec<Box<str>>) -> Result<HashSet<Box<str>>> {
        let connection_id = lease.connection_id;
        self.write(move |tx, _| {
            let mut missing = HashSet::new();
            let mut statement =
                tx.prepare_cached("select 1 from record_rows where connection_id = ?1 and key = ?2 and state = 'missing'")?;
            for key in keys {
                if statement.exists(params![connection_id, key])? {
                    missing.insert(key);
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Whether the records of a connection were ever discovered.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_discovered(&self, lease: &Lease) -> Result<bool> {
        let lease = lease.clone();
        self.write(move |tx, _| {
            Ok(tx.query_row("select discovered_at is not null from connections where id = ?1", [lease.connection_id], |row| row.get(0))?)
        })
        .await
    }

    /// Notes what a run is configured with. When that widens what is stored, the next pass of every scope is a full one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn configured(&self, lease: &Lease, settings: String, minimum_severity: i64, import_closed: bool) -> Result<()> {
        let lease = lease.clone();
        self.write(move |tx, _| {
            lease.extend(tx)?;
            let (old, least, closed): (String, i64, bool) = tx.query_row(
                "select settings, minimum_severity, import_closed from connections where id = ?1",
                [lease.connection_id],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )?;
            if old != settings || minimum_severity < least || (import_closed && !closed) {
                tx.execute("update scopes set full_requested = full_requested + 1 where connection_id = ?1", [lease.connection_id])?;
            }
            if (&old, least, closed) != (&settings, minimum_severity, import_closed) {
                tx.execute(
                    "update connections set settings = ?2, minimum_severity = ?3, import_closed = ?4 where id = ?1",
                    params![lease.connection_id, settings, minimum_severity, import_closed],
                )?;
            }
            Ok(())
        })
        .await
    }
}
