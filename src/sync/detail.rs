//! What is stored of an operation beside its counts: short, however many lists there were and whatever the vendor said.

use serde_json::{Map, Value, json};
use tributary_connectors::RunStats;

use super::{Report, clip::clip, run::List};

/// Longest detail, as text in bytes.
pub(super) const LONGEST: usize = 8 << 10;
/// Longest text of an error that is stored, in bytes.
pub(super) const LONGEST_ERROR: usize = 1000;
/// Most lists that have a line of their own; and how many an operation may have at most for those without news to have one.
const MOST_LISTS: usize = 100;
const FEW_LISTS: usize = 10;

/// The first of these values that fit into so many bytes as JSON text, and how many do not.
fn fitting(values: impl Iterator<Item = Value>, bytes: usize) -> (Vec<Value>, usize) {
    let (mut kept, mut left_out, mut room) = (Vec::new(), 0, bytes);
    for value in values {
        let length = value.to_string().len() + 1;
        if left_out > 0 || length > room {
            left_out += 1;
        } else {
            room -= length;
            kept.push(value);
        }
    }
    (kept, left_out)
}

/// The same for texts; a last one says how many are left out.
fn texts<'a>(texts: impl Iterator<Item = std::borrow::Cow<'a, str>>, bytes: usize) -> Vec<Value> {
    let (mut kept, left_out) = fitting(texts.map(|text| clip(&text, 400).into()), bytes);
    if left_out > 0 {
        kept.push(format!("and {left_out} more").into());
    }
    kept
}

/// The detail of an operation.
pub(super) fn of(report: &Report, lists: &[List], activity: &RunStats) -> Value {
    let incomplete = report.incomplete.iter().map(|(scope, reason)| json!([clip(scope, 100), clip(reason, 300)]));
    let waits = activity.waits();
    let waits = waits.iter().map(|(at, time)| json!({ "at": format!("{at:.0}"), "seconds": time.as_secs() }));
    let mut detail = json!({
        "filtered": report.filtered,
        "drift": report.drift.map(|drift| drift.detail()),
        "held": report.closing.held,
        "absent_once": report.closing.absent_once,
        "records_missing": report.discovered.map(|discovered| discovered.missing),
        "records_held": report.discovered.map(|discovered| discovered.held),
        "incomplete": fitting(incomplete, 1000).0,
        "errors": texts(report.errors.iter().map(|(scope, error)| format!("{}: {error}", clip(scope, 100)).into()), 1400),
        "warnings": texts(report.warnings.iter().map(Into::into), 1400),
        "requests": activity.requests(),
        "retries": activity.retries(),
        "waits": fitting(waits, 600).0,
        "waited_ms": u64::try_from(activity.waited().as_millis()).unwrap_or(u64::MAX),
        "bytes": activity.bytes(),
    });
    if let Some(members) = detail.as_object_mut() {
        members.extend(report.things.detail());
    }
    let room = LONGEST.saturating_sub(detail.to_string().len() + 200);
    let (scopes, rest) = scopes(lists, room);
    detail["scopes"] = scopes;
    detail["rest"] = rest;
    detail
}

/// The lists that have something to say, those that failed first, and one line of sums for the rest.
fn scopes(lists: &[List], mut room: usize) -> (Value, Value) {
    let mut told: Vec<&List> = lists.iter().filter(|list| lists.len() <= FEW_LISTS || list.walked.has_news()).collect();
    told.sort_by_key(|list| (list.walked.failed.is_none(), list.walked.incomplete.is_none()));
    let mut scopes = Map::new();
    let (mut pages, mut fetched) = (0, 0);
    for list in told {
        let (name, line) = (clip(format!("{} {}", list.scope.list, list.scope.key).trim(), 120), list.walked.detail());
        let length = Value::from(&*name).to_string().len() + line.to_string().len() + 2;
        if scopes.len() < MOST_LISTS && length <= room && !scopes.contains_key(&name) {
            room -= length;
            pages += list.walked.pages;
            fetched += list.walked.counts.fetched;
            scopes.insert(name, line);
        }
    }
    let rest = lists.len() - scopes.len();
    if rest == 0 {
        return (scopes.into(), Value::Null);
    }
    let all: (i64, u64) = lists.iter().fold((0, 0), |sum, list| (sum.0 + list.walked.pages, sum.1 + list.walked.counts.fetched));
    (scopes.into(), json!({ "lists": rest, "pages": all.0 - pages, "fetched": all.1 - fetched }))
}
