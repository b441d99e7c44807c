//! What people decide about product records: mapped to a product, ignored, restored, deleted.
//!
//! | from | event | to |
//! |---|---|---|
//! | New, Good, Stale | mapped | Good |
//! | Good | unmapped | New |
//! | New, Good | ignored | Ignored |
//! | Ignored | restored | New, or Good with its former mapping when auto-map is on |
//! | Good | its product is deleted | Stale |
//! | any | deleted | gone; its findings stay as they are, or are closed |
//!
//! What a discover does to them is in `records`.

use rusqlite::{Transaction, params, params_from_iter, types::Value};

use super::{Result, Store, close, now, records};

/// Conditions on records, all of which have to hold.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    /// Only of this connection.
    pub connection: Option<String>,
    /// Only with one of these keys; all when empty.
    pub keys: Vec<String>,
    /// Only in this state.
    pub state: Option<String>,
    /// Only with this text in their name, whatever its case.
    pub name: Option<String>,
}

/// What is done to them.
#[derive(Clone, Debug)]
pub enum RecordAction {
    /// Map to this product, made when it is new; to one of the record's own name when none is given.
    Map(Option<String>),
    /// Take the mapping away.
    Unmap,
    /// Sync it no more.
    Ignore,
    /// Take an ignored one back; for these connections, where auto-map is on, with its former mapping.
    Restore {
        /// Connections with auto-map on.
        auto_map: Vec<String>,
    },
    /// Mark the record as deleted, whatever the tool lists.
    Delete {
        /// Close its findings too.
        close: bool,
    },
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// Name of the connection that the record belongs to.
    pub connection: String,
    /// The vendor's id of the record.
    pub key: String,
    /// The name that the vendor shows for the record.
    pub name: String,
    /// Its state before.
    pub from: String,
    /// Its state now; the same when the action does not apply.
    pub to: String,
    /// Its product now.
    pub product: Option<String>,
    /// Findings closed with it.
    pub closed: u64,
}

struct Found {
    id: i64,
    change: RecordChange,
}

impl Store {
    /// Does something to every record that the filter finds, all of it or nothing.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn change_records(&self, filter: RecordFilter, action: RecordAction) -> Result<Vec<RecordChange>> {
        self.write_durably(move |tx| {
            let at = now();
            let mut changes = Vec::new();
            for mut record in find(tx, &filter)? {
                apply(tx, &mut record, &action, at)?;
                changes.push(record.change);
            }
            Ok(changes)
        })
        .await
    }

    /// Deletes a product: records mapped to it become Stale. `None` when there is no such product.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete_product(&self, name: String) -> Result<Option<u64>> {
        self.write_durably(move |tx| {
            let stale = tx.execute(
                "update record_rows set product_id = null, state = case when state = 'good' then 'stale' else state end,
                 former_state = case when former_state = 'good' then 'stale' else former_state end, state_since = ?2
                 where product_id in (select id from products where name = ?1)",
                params![name, now()],
            )?;
            tx.execute(
                "update record_rows set former_product_id = null where former_product_id in (select id from products where name = ?1)",
                [&name],
            )?;
            let deleted = tx.execute("delete from products where name = ?1", [&name])?;
            Ok((deleted > 0).then_some(stale as u64))
        })
        .await
    }
}

fn find(tx: &Transaction<'_>, filter: &RecordFilter) -> Result<Vec<Found>> {
    let mut sql = "select r.id, c.name, r.key, r.name, r.state, p.name from record_rows r
         join connections c on c.id = r.connection_id left join products p on p.id = r.product_id
         where r.state <> 'deleted' and (?1 is null or c.name = ?1) and (?2 is null or r.state = ?2)
         and (?3 is null or instr(lower(r.name), lower(?3)) > 0)"
        .to_owned();
    let mut values: Vec<Value> =
        [&filter.connection, &filter.state, &filter.name].into_iter().map(|text| text.clone().map_or(Value::Null, Value::Text)).collect();
    if !filter.keys.is_empty() {
        let places: Vec<String> = (0..filter.keys.len()).map(|number| format!("?{}", number + 4)).collect();
        sql.push_str(&format!(" and r.key in ({})", places.join(", ")));
        values.extend(filter.keys.iter().cloned().map(Value::Text));
    }
    sql.push_str(" order by c.name, r.name, r.key");
    let mut statement = tx.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| {
        let state: String = row.get(4)?;
        Ok(Found {
            id: row.get(0)?,
            change: RecordChange {
                connection: row.get(1)?,
                key: row.get(2)?,
                name: row.get(3)?,
                to: state.clone(),
                from: state,
                product: row.get(5)?,
                closed: 0,
            },
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn apply(tx: &Transaction<'_>, record: &mut Found, action: &RecordAction, at: i64) -> Result<()> {
    let state = record.change.from.clone();
    match (action, state.as_str()) {
        (RecordAction::Map(name), "new" | "good" | "stale") => {
            let name = name.as_deref().unwrap_or(&record.change.name).to_owned();
            let product = records::product(tx, &name, at)?;
            set_state(tx, record, "good", Some(product), None, at)?;
            record.change.product = Some(name);
        }
        (RecordAction::Unmap, "good") => {
            set_state(tx, record, "new", None, None, at)?;
            record.change.product = None;
        }
        (RecordAction::Ignore, "new" | "good") => {
            let former: Option<i64> = tx.query_row("select product_id from record_rows where id = ?1", [record.id], |row| row.get(0))?;
            set_state(tx, record, "ignored", None, former, at)?;
            record.change.product = None;
        }
        (RecordAction::Restore { auto_map }, "ignored") => {
            if !auto_map.contains(&record.change.connection) {
                return set_state(tx, record, "new", None, None, at);
            }
            let former: Option<i64> =
                tx.query_row("select former_product_id from record_rows where id = ?1", [record.id], |row| row.get(0))?;
            let product = match former {
                Some(product) => product,
                None => records::product(tx, &record.change.name, at)?,
            };
            set_state(tx, record, "good", Some(product), None, at)?;
            record.change.product = Some(tx.query_row("select name from products where id = ?1", [product], |row| row.get(0))?);
        }
        (RecordAction::Delete { close }, _) => {
            if *close {
                record.change.closed = close_findings(tx, record.id, at)?;
            }
            set_state(tx, record, "deleted", None, None, at)?;
            record.change.product = None;
        }
        _ => {}
    }
    Ok(())
}

fn set_state(tx: &Transaction<'_>, record: &mut Found, state: &str, product: Option<i64>, former: Option<i64>, at: i64) -> Result<()> {
    tx.prepare_cached(
        "update record_rows set state = ?2, former_state = null, product_id = ?3, former_product_id = ?4,
         state_since = case when state = ?2 then state_since else ?5 end where id = ?1",
    )?
    .execute(params![record.id, state, product, former, at])?;
    if state == "good" && record.change.from != "good" {
        records::request_full_pass(tx, record.id)?;
    }
    record.change.to = state.to_owned();
    Ok(())
}

fn close_findings(tx: &Transaction<'_>, record_id: i64, at: i64) -> Result<u64> {
    let rows: Vec<(i64, i64)> = tx
        .prepare_cached(
            "select seq, scope_id from finding_rows where record_id = ?1
             and source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed')",
        )?
        .query_map([record_id], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (seq, scope_id) in &rows {
        close::close_row(tx, *seq, *scope_id, None, at)?;
    }
    Ok(rows.len() as u64)
}
