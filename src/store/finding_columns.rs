//! The columns of a finding that come from the vendor's item, each said once: insert, update and digest are made from here.
//!
//! What the store adds of its own (ids, references, times, the local decision) is with the statements in `merge/rows.rs`.

use std::sync::LazyLock;

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tributary_connectors::model::Finding;

/// The JSON lists of a finding.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) cve: String,
    pub(crate) cwe: String,
    pub(crate) identifiers: String,
    pub(crate) reference_urls: String,
    pub(crate) tags: String,
}

/// A value on its way into a column.
pub(super) type Value<'a> = ToSqlOutput<'a>;

pub(super) fn text(text: &str) -> Value<'_> {
    Value::Borrowed(ValueRef::Text(text.as_bytes()))
}

pub(super) fn text_or_null(value: Option<&str>) -> Value<'_> {
    value.map_or(Value::Borrowed(ValueRef::Null), text)
}

/// A whole number, a flag or a time, or null.
pub(super) fn number<'a>(number: Option<impl Into<i64>>) -> Value<'a> {
    Value::Borrowed(number.map_or(ValueRef::Null, |number| ValueRef::Integer(number.into())))
}

fn score<'a>(score: Option<f64>) -> Value<'a> {
    Value::Borrowed(score.map_or(ValueRef::Null, ValueRef::Real))
}

fn time<'a>(time: Option<Timestamp>) -> Value<'a> {
    number(time.map(Timestamp::as_microsecond))
}

/// Names of columns, and a function that gives the values of a finding in the same order.
macro_rules! columns {
    ($(#[$about:meta])* $names:ident, $values:ident($finding:ident, $lists:ident): $($column:literal = $value:expr;)*) => {
        $(#[$about])*
        pub(super) const $names: &[&str] = &[$($column),*];

        $(#[$about])*
        pub(super) fn $values<'a>($finding: &'a Finding, $lists: &'a Lists) -> [Value<'a>; $names.len()] {
            [$($value),*]
        }
    };
}

columns! {
    /// Columns whose move is a change of the finding.
    CHANGING, changing(finding, lists):
    "rule" = text_or_null(finding.rule.as_deref());
    "branch" = text_or_null(finding.branch.as_deref());
    "category" = text(finding.category.as_str());
    "title" = text(&finding.title);
    "severity" = text(finding.severity.as_str());
    "vendor_severity" = text_or_null(finding.vendor_severity.as_deref());
    "source_state" = text(finding.state.as_str());
    "vendor_state" = text_or_null(finding.vendor_state.as_deref());
    "cwe" = text(&lists.cwe);
    "identifiers" = text(&lists.identifiers);
    "cvss_version" = text_or_null(finding.cvss.as_ref().map(|cvss| &*cvss.version));
    "cvss_vector" = text_or_null(finding.cvss.as_ref().and_then(|cvss| cvss.vector.as_deref()));
    "cvss_score" = score(finding.cvss.as_ref().and_then(|cvss| cvss.score));
    "epss_score" = score(finding.epss_score);
    "exploited" = number(finding.exploited);
    "fix_available" = number(finding.fix_available);
    "component_name" = text_or_null(finding.component_name.as_deref());
    "component_version" = text_or_null(finding.component_version.as_deref());
    "component_purl" = text_or_null(finding.component_purl.as_deref());
    "fixed_version" = text_or_null(finding.fixed_version.as_deref());
    "file_path" = text_or_null(finding.file_path.as_deref());
    "line_start" = number(finding.line_start);
    "line_end" = number(finding.line_end);
    "endpoint" = text_or_null(finding.endpoint.as_deref());
    "asset_key" = text_or_null(finding.asset_key.as_deref());
    "tags" = text(&lists.tags);
    "vendor_first_seen" = time(finding.vendor_first_seen);
}

columns! {
    /// Columns that may move without being a change: the vendor touches them with each scan.
    VOLATILE, volatile(finding, _lists):
    "url" = text_or_null(finding.url.as_deref());
    "vendor_last_seen" = time(finding.vendor_last_seen);
}

/// Columns that the store adds when it inserts a finding; the statement takes their values in this order, before the vendor's.
pub(super) const INSERTED: &[&str] = &[
    "id",
    "id_hash",
    "id_collision",
    "connection_id",
    "key",
    "first_seen",
    "closed_at",
    "scope_id",
    "record_id",
    "text_id",
    "cve_list_id",
    "digest",
    "volatile_digest",
    "fingerprint",
    "lineage",
    "updated_at",
    "raw_block",
    "raw_at",
    "raw_length",
];

/// Columns that the store adds when it changes a finding, as in [`INSERTED`].
pub(super) const UPDATED: &[&str] =
    &["scope_id", "record_id", "text_id", "cve_list_id", "digest", "volatile_digest", "fingerprint", "lineage", "updated_at"];

/// Columns that move when a finding is listed unchanged, as in [`INSERTED`].
pub(super) const TOUCHED: &[&str] = &["scope_id", "volatile_digest", "lineage"];

/// Inserts a finding; does nothing when a row has its place already.
pub(super) static INSERT: LazyLock<String> = LazyLock::new(|| {
    let columns = [INSERTED, CHANGING, VOLATILE].concat();
    let places = vec!["?"; columns.len()].join(", ");
    format!("insert into finding_rows ({}) values ({places}) on conflict (id_hash, id_collision) do nothing", columns.join(", "))
});

/// Changes a finding. The last three parameters: whether it is open now, since when it is closed if it was open before, its row.
pub(super) static UPDATE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "update finding_rows set {}, last_seen_at_close = null, closed_at = case when ? then null else coalesce(?, closed_at) end where seq = ?",
        set(&[UPDATED, CHANGING, VOLATILE])
    )
});

/// Moves what may move without being a change. The last parameter: its row.
pub(super) static TOUCH: LazyLock<String> =
    LazyLock::new(|| format!("update finding_rows set {} where seq = ?", set(&[TOUCHED, VOLATILE])));

fn set(columns: &[&[&str]]) -> String {
    columns.concat().iter().map(|column| format!("{column} = ?")).collect::<Vec<_>>().join(", ")
}
