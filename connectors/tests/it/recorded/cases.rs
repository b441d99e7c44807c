//! Cases on disk: `recorded/<connector>/<case>.json` says what a tool answers and what has to come of it, each row written by
//! hand from the vendor's documentation. CONTRIBUTING.md explains the members; a new case needs no code.

use std::{collections::BTreeMap, fs, path::Path, sync::Mutex};

use axum::{
    body::Bytes,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, json};
use tributary_connectors::Error;

use super::{shown::item, *};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Why the case is there.
    #[serde(default, rename = "about")]
    _about: Value,
    settings: Value,
    scope: Place,
    /// What every request has to carry.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// By route, `/path` or `POST /path`: a body, or one of `Special`.
    answers: BTreeMap<String, Value>,
    /// What every item has that its row does not say otherwise.
    #[serde(default)]
    base: Value,
    #[serde(default)]
    items: Vec<Row>,
    /// How many items come, where not all of them have a row; a row is known by its key or rule then.
    count: Option<usize>,
    #[serde(default)]
    rejects: Vec<Value>,
    /// Key and path of what was left out of items.
    #[serde(default)]
    mended: Vec<(String, String)>,
    #[serde(default)]
    warnings: Vec<String>,
    total: Option<u64>,
    /// What every item has.
    each: Option<Value>,
    /// What no item's member has in it.
    #[serde(default)]
    without: BTreeMap<String, String>,
    /// Words that no item's raw text has.
    #[serde(default)]
    never: Vec<String>,
    #[serde(default)]
    ends: Ends,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Place {
    list: String,
    record: Option<String>,
}

/// One item: what is changed of the base (or all of the item), and the members of ours that matter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default)]
    given: Value,
    item: Option<Value>,
    told: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ends {
    #[default]
    Full,
    /// At its end, but not complete, for this reason.
    Incomplete(String),
    /// With an error of this kind that says this.
    Fails(String, String),
}

/// `check` against these answers besides.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    answers: BTreeMap<String, Value>,
    facts: Option<Vec<String>>,
    #[serde(default)]
    warnings: Vec<String>,
    /// The cure of the error.
    hint: Option<String>,
    /// Kind of the error.
    kind: Option<String>,
}

/// The members of `more` put over those of `base`.
fn over(base: &mut Value, more: &Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (name, value) in more {
                over(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more.clone(),
    }
}

/// A case over what all cases of its file have; where both have as many items, row by row.
fn over_case(base: &mut Value, more: &Value) {
    let before = base["items"].take();
    over(base, more);
    match (before.as_array(), more["items"].as_array()) {
        (Some(before), Some(rows)) if before.len() == rows.len() => {
            let both = before.iter().zip(rows).map(|(before, row)| {
                let mut both = before.clone();
                over(&mut both, row);
                both
            });
            base["items"] = both.collect();
        }
        (Some(_), None) => base["items"] = before,
        _ => {}
    }
    if base["items"].is_null() {
        base["items"] = json!([]);
    }
}

/// Puts values in the places of an answer: `{items}`, `{count}`, and `{now-5000}` for the time in milliseconds.
fn placed(value: &Value, of: &dyn Fn(&str) -> Option<Value>) -> Value {
    match value {
        Value::String(text) => of(text).unwrap_or_else(|| value.clone()),
        Value::Array(list) => list.iter().map(|value| placed(value, of)).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), placed(value, of))).collect::<Map<_, _>>().into(),
        other => other.clone(),
    }
}

/// An answer: a body, or `{"$file": path, "$at": pointer}` of a recording (`"$in"`: in the place
/// `{file}` of this), `{"$text": text}`, `{"$status": 404, "$body": …}`, or
/// `{"$then": [one, after the other]}`.
fn answer(told: &Value, asked: usize) -> Option<Response> {
    if let Some(list) = told.get("$then").and_then(Value::as_array) {
        return answer(list.get(asked).or(list.last())?, 0);
    }
    let status = told.get("$status").and_then(Value::as_u64).unwrap_or(200);
    let text = if let Some(file) = told.get("$file").and_then(Value::as_str) {
        let found = recorded(file)?.pointer(told.get("$at").and_then(Value::as_str).unwrap_or_default())?.clone();
        told.get("$in")
            .map_or_else(|| found.clone(), |around| placed(around, &|place| (place == "{file}").then(|| found.clone())))
            .to_string()
    } else if let Some(text) = told.get("$text").and_then(Value::as_str) {
        text.to_owned()
    } else {
        let body = if told.get("$status").is_some() { told.get("$body").unwrap_or(&Value::Null) } else { told };
        if body.is_null() { String::new() } else { body.to_string() }
    };
    Some((StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap(), Bytes::from(text)).into_response())
}

/// A tool that answers so. A route that is not told is not found.
fn tool(answers: BTreeMap<String, Value>, headers: BTreeMap<String, String>, items: &[Value]) -> Router {
    let now = jiff::Timestamp::now().as_millisecond();
    let place = |text: &str| match text {
        "{items}" => Some(items.into()),
        "{count}" => Some(items.len().into()),
        _ => text.strip_prefix("{now")?.strip_suffix('}').map(|shift| (now + shift.parse().unwrap_or(0)).into()),
    };
    let answers: BTreeMap<String, Value> = answers.into_iter().map(|(route, told)| (route, placed(&told, &place))).collect();
    let asked = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    Router::new().fallback(move |request: Request| {
        for (name, wanted) in &headers {
            let sent = request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(is(&sent.into(), &wanted.as_str().into()), "{name}: {sent}");
        }
        let path = request.uri().path().to_owned();
        let route = format!("{} {path}", request.method());
        let count = { *asked.lock().unwrap().entry(route.clone()).and_modify(|count| *count += 1).or_default() };
        let told = answers.get(&route).or_else(|| answers.get(&path)).or_else(|| answers.get("*"));
        let found = told.and_then(|told| answer(told, count));
        std::future::ready(found.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response()))
    })
}

/// Whether a value is as told: of objects the members that are told, lists item by item, texts with `…` by their parts.
fn is(value: &Value, told: &Value) -> bool {
    match (value, told) {
        (Value::Object(value), Value::Object(told)) => told.iter().all(|(name, told)| is(value.get(name).unwrap_or(&Value::Null), told)),
        (Value::Array(value), Value::Array(told)) => {
            value.len() == told.len() && value.iter().zip(told).all(|(value, told)| is(value, told))
        }
        // Such a text may be in the raw item itself.
        (Value::String(value), Value::String(told)) => value == told || told.contains('…') && has_parts(value, told),
        (value, told) => value == told,
    }
}

/// Whether a text has these parts in their order; `…` between them, or at an end, stands for anything.
fn has_parts(text: &str, told: &str) -> bool {
    let parts: Vec<&str> = told.split('…').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in &parts[1..parts.len() - 1] {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Compares what was read with what the case says.
fn compare(what: &str, case: &Case, read: Result<Read, Error>) {
    let read = match (read, &case.ends) {
        (Err(error), Ends::Fails(kind, says)) => {
            assert!(
                format!("{:?}", error.kind).starts_with(kind.as_str()) && error.to_string().contains(says.as_str()),
                "{what}: {error:?}"
            );
            return;
        }
        (Err(error), _) => panic!("{what}: {error:?}"),
        (Ok(_), Ends::Fails(kind, _)) => panic!("{what} ends well, not with {kind}"),
        (Ok(read), _) => read,
    };
    let told: Vec<&Value> = case.items.iter().filter_map(|row| row.told.as_ref()).collect();
    assert_eq!(read.items.len(), case.count.unwrap_or(told.len()), "{what}: items {:?}", read.items);
    let read_items: Vec<Value> = read.items.iter().map(item).collect();
    for item in &read_items {
        assert!(case.each.as_ref().is_none_or(|told| is(item, told)), "{what}: {item:#}");
        let has = |(name, text): (&String, &String)| item[name].as_str().is_some_and(|value| value.contains(text.as_str()));
        assert!(!case.without.iter().any(has), "{what}: {item:#}");
    }
    for (number, told) in told.into_iter().enumerate() {
        // Where not every item has a row, a row is known by its key.
        let name = if told.get("key").is_some() { "key" } else { "rule" };
        let known = case.count.map_or(Some(number), |_| read_items.iter().position(|item| item[name] == told[name]));
        let item = &read_items[known.unwrap_or_else(|| panic!("{what}: {} is not there", told[name]))];
        for (name, told) in told.as_object().unwrap() {
            let is_so = item.get(name).is_some_and(|value| is(value, told));
            assert!(is_so, "{what}, item {number} {}: {name} is {} and not {told}", case.items[number].given, item[name]);
        }
    }
    let reject = |reject: &Reject| json!({ "key": reject.key, "path": reject.path, "reason": reject.reason, "raw": reject.raw });
    let rejects: Value = read.rejects.iter().map(reject).collect();
    assert!(is(&rejects, &case.rejects.clone().into()), "{what}: rejects {rejects:#}");
    let mut left_out: Vec<(String, String)> = read.left_out().into_iter().map(|(key, path)| (key.to_owned(), path.to_owned())).collect();
    left_out.sort_unstable();
    assert_eq!(left_out, case.mended, "{what}: mended");
    assert_eq!(read.warnings, case.warnings, "{what}: warnings");
    assert!(case.total.is_none_or(|total| read.total == Some(total)), "{what}: total {:?}", read.total);
    assert_eq!(read.coverage, Coverage::Full, "{what}");
    for word in &case.never {
        let kept = read.findings().into_iter().find(|finding| finding.raw.as_ref().is_some_and(|raw| raw.get().contains(word.as_str())));
        assert!(kept.is_none() && !format!("{:?}{:?}", read.rejects, read.mended).contains(word.as_str()), "{what}: {word} is kept");
    }
    let why = read.incomplete.unwrap_or_default();
    match &case.ends {
        Ends::Incomplete(wanted) => assert!(!why.is_empty() && why.contains(wanted.as_str()), "{what}: {why}"),
        _ => assert_eq!(why, "", "{what}"),
    }
}

/// Runs `check` and compares.
async fn check(what: &str, connector: &str, case: &Case, check: &Check) {
    let mut answers = case.answers.clone();
    answers.extend(check.answers.clone());
    let tool = start(Canned(tool(answers, case.headers.clone(), &[])), 0).await.unwrap();
    let (source, cx, _) = open(connector, case.settings.clone(), &tool.url);
    match source.check(&cx).await {
        Ok(report) => {
            assert_eq!(Some(&report.facts), check.facts.as_ref(), "{what}");
            assert!(is(&json!(report.warnings), &json!(check.warnings)), "{what}: {:?}", report.warnings);
        }
        Err(error) => {
            let hint = error.hint().unwrap_or_default();
            assert!(check.hint.as_ref().is_some_and(|wanted| hint.contains(wanted.as_str())), "{what}: {error:?} {hint}");
            let kind = format!("{:?}", error.kind);
            assert!(check.kind.as_ref().is_none_or(|wanted| kind.starts_with(wanted.as_str())), "{what}: {kind}");
        }
    }
}

/// One case: reads its scope, and checks where it says so. Whether its recordings are here.
async fn run(what: &str, connector: &str, case: &Case) -> bool {
    let files = case.answers.values().filter_map(|told| told.get("$file")?.as_str());
    if files.into_iter().any(|file| recorded(file).is_none()) {
        return false;
    }
    let mut scope = Scope::account(case.scope.list.clone().leak());
    if let Some(record) = &case.scope.record {
        scope = Scope { key: record.as_str().into(), record: Some(record.as_str().into()), ..scope };
    }
    let body = |row: &Row| {
        let mut body = row.item.clone().unwrap_or_else(|| case.base.clone());
        if !row.given.is_null() {
            over(&mut body, &row.given);
        }
        body
    };
    let items: Vec<Value> = case.items.iter().map(body).collect();
    if case.checks.is_empty() {
        let answers = tool(case.answers.clone(), case.headers.clone(), &items);
        compare(what, case, try_read(connector, case.settings.clone(), &scope, answers).await);
    }
    for (number, one) in case.checks.iter().enumerate() {
        check(&format!("{what}, check {number}"), connector, case, one).await;
    }
    true
}

/// The cases of a file: itself, or each of its `cases` over the rest of it.
fn cases(mut file: Value) -> Vec<Case> {
    let several = file.as_object_mut().unwrap().remove("cases");
    let each = several.as_ref().and_then(Value::as_array).map_or(&[Value::Null][..], Vec::as_slice);
    let with = |one: &Value| {
        let mut case = file.clone();
        if !one.is_null() {
            over_case(&mut case, one);
        }
        serde_json::from_value(case).unwrap()
    };
    each.iter().map(with).collect()
}

#[tokio::test]
async fn every_case_on_disk_is_read_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recorded");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| fs::read_dir(entry.unwrap().path()).ok())
        .flat_map(|files| files.map(|file| file.unwrap().path()))
        .collect();
    files.sort();
    assert!(files.len() > 8, "{files:?}");
    let mut failed = Vec::new();
    for file in files {
        let connector = file.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let name = format!("{connector}/{}", file.file_stem().unwrap().to_str().unwrap());
        let text = fs::read_to_string(&file).unwrap();
        // A task of its own, so that one that fails hides no other.
        let of_file = tokio::spawn(async move {
            let value: Value = serde_json::from_str(&text).unwrap();
            for (number, case) in cases(value).iter().enumerate() {
                run(&format!("{connector}, case {number}"), &connector, case).await;
            }
        });
        if of_file.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_value_is_compared_with_what_is_told_of_it() {
    let value = json!({ "a": "text of a kind", "b": [1, 2], "c": null });
    for told in [json!({ "a": "text…" }), json!({ "a": "…kind", "b": [1, 2] }), json!({ "a": "…of a…", "c": null }), json!({ "d": null })]
    {
        assert!(is(&value, &told), "{told}");
    }
    for told in [json!({ "a": "text" }), json!({ "b": [1] }), json!({ "c": 1 }), json!({ "a": "kind…" })] {
        assert!(!is(&value, &told), "{told}");
    }
}
