//! One operation, told for people: what it counted, what happened when, and why something is not complete.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;
use tributary_connectors::model::ItemKind;

use super::output::cell;
use crate::store::Counts;

/// The operation as text. It is a row of `operations`, times as RFC 3339 and `detail` as an object.
// long: one line of the text after another, each where it applies
pub(super) fn render(operation: &Value) -> String {
    let text = |name: &str| cell(&operation[name]);
    let detail = &operation["detail"];
    let began = time(&operation["started_at"]);
    let mut out = format!("{} of {}: {}\n", text("kind"), text("connection"), text("outcome"));
    let _ = writeln!(out, "  id       {}", text("id"));
    let _ = writeln!(out, "  trigger  {}", text("trigger"));
    let took =
        began.zip(time(&operation["ended_at"])).map(|(began, ended)| format!(" ({})", seconds(ended.duration_since(began).as_secs_f64())));
    match took {
        Some(took) => drop(writeln!(out, "  time     {} to {}{took}", text("started_at"), text("ended_at"))),
        None => drop(writeln!(out, "  time     since {}", text("started_at"))),
    }
    let _ = writeln!(out, "  counts   {}", Counts::of(|name| operation[name].as_u64().unwrap_or(0)));
    for kind in ItemKind::THINGS {
        let counted = detail[kind.plural()].as_object().into_iter().flatten().filter(|(_, count)| **count != 0);
        let words: Vec<String> = counted.map(|(name, count)| format!("{count} {name}")).collect();
        if !words.is_empty() {
            let _ = writeln!(out, "  {:8} {}", kind.plural().replace('_', " "), words.join(", "));
        }
    }
    if let Some(total) = operation["vendor_total"].as_i64() {
        let _ = writeln!(out, "  vendor   says {total}");
    }
    // Known at its end.
    if !detail["requests"].is_null() {
        let waited = detail["waited_ms"].as_f64().unwrap_or(0.0) / 1000.0;
        let _ = writeln!(
            out,
            "  wire     {} requests, {} retries, {} bytes, waited {}",
            detail["requests"],
            detail["retries"],
            detail["bytes"],
            seconds(waited)
        );
    }
    for (reason, count) in detail["filtered"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "  filtered {count}: {reason}");
    }
    if let Some(held) = detail["held"].as_i64().filter(|held| *held > 0) {
        let _ = writeln!(
            out,
            "  held     {held} closes wait: {}",
            super::message::command(&format!("tributary operations approve {}", text("id")))
        );
    }
    if let Some(once) = detail["absent_once"].as_i64().filter(|once| *once > 0) {
        let _ = writeln!(
            out,
            "  absent   {once} findings were not listed; a second full pass decides, because the list can shift while it is read"
        );
    }
    if let Value::Object(drift) = &detail["drift"] {
        let words: Vec<String> = drift.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let _ = writeln!(out, "  drift    {} that reading only changes had missed", words.join(", "));
    }
    if !operation["error"].is_null() {
        let _ = writeln!(out, "  error    {}", text("error"));
    }
    for error in detail["errors"].as_array().into_iter().flatten().skip(1) {
        let _ = writeln!(out, "           {}", cell(error));
    }
    for warning in detail["warnings"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "  warning  {}", cell(warning));
    }
    let lines = timeline(detail, began);
    if !lines.is_empty() {
        let _ = write!(out, "\ntimeline\n{lines}");
    }
    out
}

/// Scopes and waits by the time at which they began.
fn timeline(detail: &Value, began: Option<Timestamp>) -> String {
    let mut events: Vec<(Option<Timestamp>, String)> = Vec::new();
    for (scope, walked) in detail["scopes"].as_object().into_iter().flatten() {
        let coverage = walked["coverage"].as_str().unwrap_or("not read to its end");
        let resumed = if walked["resumed"] == true { ", resumed" } else { "" };
        let mut line = format!(
            "{}  {coverage}{resumed}, {} pages, {} read in {}",
            cell(&Value::String(scope.clone())),
            walked["pages"],
            walked["fetched"],
            seconds(walked["took_ms"].as_f64().unwrap_or(0.0) / 1000.0)
        );
        for (name, what) in [("incomplete", "not complete, nothing of it was closed"), ("error", "failed")] {
            if !walked[name].is_null() {
                let _ = write!(line, "\n           {what}: {}", cell(&walked[name]));
            }
        }
        events.push((time(&walked["began"]), line));
    }
    for wait in detail["waits"].as_array().into_iter().flatten() {
        events.push((time(&wait["at"]), format!("waited {} for the vendor", seconds(wait["seconds"].as_f64().unwrap_or(0.0)))));
    }
    events.sort();
    let rest = &detail["rest"];
    let rest = if rest.is_null() {
        String::new()
    } else {
        format!("             and {} more lists without news: {} pages, {} read\n", rest["lists"], rest["pages"], rest["fetched"])
    };
    let at = |time: Option<Timestamp>| match time.zip(began) {
        Some((at, began)) => format!("+{}", seconds(at.duration_since(began).as_secs_f64())),
        None => String::new(),
    };
    events.into_iter().map(|(time, line)| format!("  {:>9}  {line}\n", at(time))).chain([rest]).collect()
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn seconds(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.1} s") } else { format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_that_still_runs_tells_nothing_of_its_end() {
        let text = render(&json!({
            "id": "x", "connection": "t", "kind": "sync", "trigger": "once", "outcome": "running",
            "started_at": "2026-01-01T00:00:00Z", "ended_at": null, "error": null, "detail": {},
        }));
        assert!(text.contains("sync of t: running") && text.contains("time     since 2026-01-01T00:00:00Z\n"), "{text}");
        assert!(!text.contains("null") && !text.contains(" to \n"), "{text}");
    }
}
