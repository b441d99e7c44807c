//! What people decide about findings. A sync never writes it; what is shown follows from it and from what the source says.

use jiff::Timestamp;
use rusqlite::{Transaction, params, params_from_iter, types::Value};

use super::{Result, Store, history::event_row, now, row::Id};

/// A local decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is not a problem: shown as `false_positive`.
    FalsePositive,
    /// Somebody took the risk: shown as `risk_accepted`.
    RiskAccepted,
    /// It will stay: shown as `risk_accepted`.
    WontFix,
}

impl Decision {
    /// The word as it stands in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::FalsePositive => "false_positive",
            Decision::RiskAccepted => "risk_accepted",
            Decision::WontFix => "wont_fix",
        }
    }
}

/// What is decided; `None` takes a decision back.
#[derive(Clone, Debug)]
pub struct Triage {
    /// What a person decided; `None` takes the decision back.
    pub decision: Option<Decision>,
    /// When it runs out.
    pub until: Option<Timestamp>,
    /// The reason that the person gave.
    pub note: Option<String>,
}

/// Conditions on findings, all of which have to hold.
#[derive(Clone, Debug, Default)]
pub struct FindingFilter {
    /// Only with one of these ids; all when empty.
    pub ids: Vec<String>,
    /// Only of this connection.
    pub connection: Option<String>,
    /// Only of connections by this connector.
    pub connector: Option<String>,
    /// Only shown in this state.
    pub state: Option<String>,
    /// Only of this severity.
    pub severity: Option<String>,
    /// Only of the record with this key.
    pub record: Option<String>,
    /// Only of records that are mapped to this product.
    pub product: Option<String>,
    /// Only with this CVE.
    pub cve: Option<String>,
}

impl FindingFilter {
    /// Whether it finds every finding.
    pub fn is_empty(&self) -> bool {
        let FindingFilter { ids, connection, connector, state, severity, record, product, cve } = self;
        ids.is_empty() && [connection, connector, state, severity, record, product, cve].into_iter().all(Option::is_none)
    }

    /// The condition on the view `finding_list`, with its parameters.
    pub(super) fn condition(&self) -> (String, Vec<Value>) {
        let mut parts = Vec::new();
        let mut values = Vec::new();
        let columns = [
            ("connection", &self.connection),
            ("connector", &self.connector),
            ("state", &self.state),
            ("severity", &self.severity),
            ("record_key", &self.record),
            ("product", &self.product),
        ];
        for (column, value) in columns {
            if let Some(value) = value {
                values.push(Value::Text(value.clone()));
                parts.push(format!("{column} = ?{}", values.len()));
            }
        }
        if let Some(cve) = &self.cve {
            values.push(Value::Text(cve.to_uppercase()));
            parts.push(format!("cve_list_id in (select list_id from cve_members where cve = ?{})", values.len()));
        }
        if !self.ids.is_empty() {
            let hashes: Vec<String> = self.ids.iter().map(|id| Id::hash_of(id).to_string()).collect();
            let first = values.len() + 1;
            values.extend(self.ids.iter().cloned().map(Value::Text));
            let places: Vec<String> = (first..=values.len()).map(|number| format!("?{number}")).collect();
            parts.push(format!("id_hash in ({}) and id in ({})", hashes.join(", "), places.join(", ")));
        }
        (if parts.is_empty() { "true".to_owned() } else { parts.join(" and ") }, values)
    }
}

/// What a triage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triaged {
    /// Findings that the filter found.
    pub found: u64,
    /// Those whose decision changed.
    pub changed: u64,
}

impl Store {
    /// Decides about every finding that the filter finds, all of them or none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn triage(&self, filter: FindingFilter, triage: Triage) -> Result<Triaged> {
        self.write_durably(move |tx| {
            let (condition, values) = filter.condition();
            let ids: Vec<String> = tx
                .prepare(&format!("select id from finding_list where {condition}"))?
                .query_map(params_from_iter(values), |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut triaged = Triaged { found: ids.len() as u64, changed: 0 };
            let at = now();
            for id in ids {
                triaged.changed += u64::from(decide(tx, &id, &triage, at)?);
            }
            Ok(triaged)
        })
        .await
    }
}

/// Decision, end and note, as a row holds them.
type Decided = (Option<String>, Option<i64>, Option<String>);

fn decide(tx: &Transaction<'_>, id: &str, triage: &Triage, at: i64) -> Result<bool> {
    let old: Decided = tx
        .prepare_cached("select triage, triage_until, triage_note from finding_rows where id_hash = ?1 and id = ?2")?
        .query_row(params![Id::hash_of(id), id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let word = triage.decision.map(Decision::as_str);
    let until = triage.until.map(Timestamp::as_microsecond);
    if (old.0.as_deref(), old.1, old.2.as_deref()) == (word, until, triage.note.as_deref()) {
        return Ok(false);
    }
    tx.prepare_cached(
        "update finding_rows set triage = ?2, triage_until = ?3, triage_note = ?4, updated_at = ?5 where id_hash = ?6 and id = ?1",
    )?
    .execute(params![id, word, until, triage.note, at, Id::hash_of(id)])?;
    let (before, after) = (told(old.0.as_deref(), old.1, old.2.as_deref()), told(word, until, triage.note.as_deref()));
    event_row(tx, id, at, None, "triaged", Some(("triage", before.as_deref(), after.as_deref())))?;
    Ok(true)
}

/// A decision in one line; `None` where there is none.
fn told(word: Option<&str>, until: Option<i64>, note: Option<&str>) -> Option<String> {
    let until = until.and_then(|at| Timestamp::from_microsecond(at).ok()).map(|until| format!(" until {until}"));
    Some(format!("{}{}{}", word?, until.unwrap_or_default(), note.map(|note| format!(": {note}")).unwrap_or_default()))
}

/// The decision about the finding in a row, in one line.
pub(super) fn told_of(tx: &Transaction<'_>, seq: i64) -> Result<Option<String>> {
    let (word, until, note): Decided = tx
        .prepare_cached("select triage, triage_until, triage_note from finding_rows where seq = ?1")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(told(word.as_deref(), until, note.as_deref()))
}

/// Lifts the decisions of a connection that have run out.
pub(super) fn lift(tx: &Transaction<'_>, connection_id: i64, operation: uuid::Uuid, at: i64) -> Result<()> {
    let due: Vec<(i64, String, String)> = tx
        .prepare_cached(
            "select f.seq, f.id, f.triage from finding_rows f join record_rows r on r.id = f.record_id
             where f.triage_until is not null and f.triage_until <= ?2 and r.connection_id = ?1",
        )?
        .query_map(params![connection_id, at], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (seq, id, word) in due {
        tx.prepare_cached("update finding_rows set triage = null, triage_until = null, updated_at = ?2 where seq = ?1")?
            .execute(params![seq, at])?;
        event_row(tx, &id, at, Some(operation), "triaged", Some(("triage", Some(&word), None)))?;
    }
    Ok(())
}
