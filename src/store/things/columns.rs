//! The tables of the things, and which columns each kind has beside those that all have.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params, types::Value};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use tributary_connectors::model::{Asset, Enrollment, Identity, ItemKind, Membership, Thing, ThirdParty};

use crate::store::Result;

/// The table of a kind of thing.
pub(in crate::store) const fn table(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Asset => "asset_rows",
        ItemKind::Identity => "identity_rows",
        ItemKind::Membership => "membership_rows",
        ItemKind::Enrollment => "enrollment_rows",
        ItemKind::ThirdParty => "third_party_rows",
        ItemKind::Finding => "finding_rows",
        ItemKind::Record => "record_rows",
    }
}

/// A column and its value.
type Column = (&'static str, Value);

/// What the vendor says of a thing.
#[derive(Debug)]
pub(super) struct Columns {
    /// Columns whose move is a change.
    pub(super) changing: Vec<Column>,
    /// Columns that may move without being one.
    pub(super) volatile: Vec<Column>,
    /// How it is rated, if it is.
    pub(super) ratings: Vec<Rating>,
}

impl Columns {
    pub(super) fn all(&self) -> impl Iterator<Item = &Column> {
        self.changing.iter().chain(&self.volatile)
    }
}

/// One number of a rating, to be kept in its history.
#[derive(Debug)]
pub(super) struct Rating {
    /// What is rated; empty for the whole company.
    factor: String,
    score: Option<f64>,
    grade: Option<String>,
    /// When, as the vendor says.
    at: Option<i64>,
}

/// The columns of a thing, and their values.
pub(super) fn columns_of(thing: &Thing) -> Columns {
    match thing {
        Thing::Asset(asset) => asset_columns(asset),
        Thing::Identity(identity) => identity_columns(identity),
        Thing::Membership(membership) => membership_columns(membership),
        Thing::Enrollment(enrollment) => enrollment_columns(enrollment),
        Thing::ThirdParty(party) => third_party_columns(party),
    }
}

fn asset_columns(asset: &Asset) -> Columns {
    let changing = vec![
        ("record_key", text(asset.record.as_deref())),
        ("kind", text(Some(&asset.kind))),
        ("name", text(Some(&asset.name))),
        ("identifiers", object(&asset.identifiers)),
        ("attributes", object(&asset.attributes)),
        ("tags", list(&asset.tags)),
    ];
    Columns { changing, volatile: Vec::new(), ratings: Vec::new() }
}

fn identity_columns(identity: &Identity) -> Columns {
    let changing = vec![
        ("kind", text(Some(identity.kind.as_str()))),
        ("name", text(Some(&identity.name))),
        ("username", text(identity.username.as_deref())),
        ("email", text(identity.email.as_deref())),
        ("status", text(Some(identity.status.as_str()))),
        ("vendor_status", text(identity.vendor_status.as_deref())),
        ("manager_key", text(identity.manager.as_deref())),
        ("attributes", object(&identity.attributes)),
        ("tags", list(&identity.tags)),
        ("vendor_created", time(identity.created)),
        ("password_changed", time(identity.password_changed)),
    ];
    Columns { changing, volatile: vec![("last_login", time(identity.last_login))], ratings: Vec::new() }
}

fn membership_columns(membership: &Membership) -> Columns {
    let changing = vec![
        ("kind", text(Some(membership.kind.as_str()))),
        ("container_key", text(Some(&membership.container))),
        ("member_key", text(Some(&membership.member))),
        ("label", text(membership.label.as_deref())),
        ("vendor_status", text(membership.vendor_status.as_deref())),
    ];
    Columns { changing, volatile: Vec::new(), ratings: Vec::new() }
}

fn enrollment_columns(enrollment: &Enrollment) -> Columns {
    let changing = vec![("enrolled", flag(enrollment.enrolled)), ("admin", flag(enrollment.admin)), ("methods", list(&enrollment.methods))];
    Columns { changing, volatile: Vec::new(), ratings: Vec::new() }
}

fn third_party_columns(party: &ThirdParty) -> Columns {
    let score = party.score.as_ref();
    let factor =
        |factor: &tributary_connectors::model::Factor| json!({ "name": factor.name, "score": factor.score, "grade": factor.grade });
    let factors: Vec<serde_json::Value> = party.factors.iter().map(factor).collect();
    let changing = vec![
        ("record_key", text(party.record.as_deref())),
        ("name", text(Some(&party.name))),
        ("domain", text(party.domain.as_deref())),
        ("score", number(score.map(|score| score.value))),
        ("score_lowest", number(score.map(|score| score.lowest))),
        ("score_highest", number(score.map(|score| score.highest))),
        ("grade", text(score.and_then(|score| score.grade.as_deref()))),
        ("industry", text(party.industry.as_deref())),
        ("country", text(party.country.as_deref())),
        ("url", text(party.url.as_deref())),
        ("factors", Value::Text(serde_json::Value::from(factors).to_string())),
        ("attributes", object(&party.attributes)),
        ("tags", list(&party.tags)),
    ];
    // A company is rated each day, and mostly as before.
    let volatile = vec![("scored_at", time(score.and_then(|score| score.at)))];
    Columns { changing, volatile, ratings: ratings(party) }
}

/// The numbers of a company's rating: the whole, and each factor under its name.
fn ratings(party: &ThirdParty) -> Vec<Rating> {
    let at = party.score.as_ref().and_then(|score| score.at).map(Timestamp::as_microsecond);
    let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let whole = party.score.iter().map(|score| (String::new(), Some(score.value), owned(&score.grade)));
    let factors = party.factors.iter().map(|factor| (factor.name.to_string(), factor.score, owned(&factor.grade)));
    let rating =
        |(factor, score, grade): (String, Option<f64>, _)| Rating { factor, score: score.filter(|score| score.is_finite()), grade, at };
    whole.chain(factors).map(rating).collect()
}

/// Adds to the history what moved since the last rating, dated by the vendor, else by `at`.
pub(super) fn keep_ratings(tx: &Transaction<'_>, id: &str, ratings: &[Rating], (operation, at): (&str, i64)) -> Result<()> {
    for rating in ratings {
        let last: Option<(Option<f64>, Option<String>)> = tx
            .prepare_cached(
                "select score, grade from third_party_scores where third_party_id = ?1 and factor = ?2 order by at desc limit 1",
            )?
            .query_row(params![id, rating.factor], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if last.is_none_or(|(score, grade)| score != rating.score || grade != rating.grade) {
            tx.prepare_cached(
                "insert into third_party_scores (third_party_id, at, factor, score, grade, operation) values (?1, ?2, ?3, ?4, ?5, ?6)
                 on conflict (third_party_id, factor, at) do update set score = excluded.score, grade = excluded.grade, operation = excluded.operation",
            )?
            .execute(params![id, rating.at.unwrap_or(at), rating.factor, rating.score, rating.grade, operation])?;
        }
    }
    Ok(())
}

/// Eight bytes that stand for the values.
pub(super) fn digest(columns: &[Column]) -> i64 {
    let mut hasher = Sha256::new();
    for (_, value) in columns {
        let text = match value {
            Value::Null => "null".to_owned(),
            Value::Integer(number) => format!("i{number}"),
            Value::Real(number) => format!("r{number}"),
            Value::Text(text) => format!("t{}:{text}", text.len()),
            Value::Blob(_) => unreachable!("no thing has bytes"),
        };
        hasher.update(text);
        hasher.update([0]);
    }
    i64::from_be_bytes(hasher.finalize()[..8].try_into().expect("a digest has 32 bytes"))
}

fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.to_owned()))
}

fn number(number: Option<f64>) -> Value {
    number.filter(|number| number.is_finite()).map_or(Value::Null, Value::Real)
}

fn flag(flag: Option<bool>) -> Value {
    flag.map_or(Value::Null, |flag| i64::from(flag).into())
}

fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| time.as_microsecond().into())
}

fn list(texts: &[Box<str>]) -> Value {
    Value::Text(serde_json::Value::from_iter(texts.iter().map(|text| &**text)).to_string())
}

/// Names and values as a JSON object. The same name may come more than once (a host has several addresses): then its value is
/// a list.
fn object(pairs: &[(&'static str, Box<str>)]) -> Value {
    let mut object: Map<String, serde_json::Value> = Map::new();
    for (name, value) in pairs {
        match object.get_mut(*name) {
            None => drop(object.insert((*name).to_owned(), (**value).into())),
            Some(serde_json::Value::Array(values)) => values.push((**value).into()),
            Some(one) => *one = json!([one.take(), **value]),
        }
    }
    Value::Text(serde_json::Value::Object(object).to_string())
}
