//! The fault matrix: every fault of a vendor or of the way to it × every simulated tool. `docs/reliability.md` shows the result.
//!
//! A tool is synced, moves one step on, and is synced again while the fault is shown. A fault that passes ends as if it had
//! never been; one that lasts ends as `partial` or `failed`. Neither closes anything wrongly, and the run after it heals.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use common::Bench;
use futures_util::future::join_all;
use tributary::store::Outcome;
use tributary_simulator::{Change, Fault, Make, Odd, Size, VENDORS, start_any};

const SIZE: Size = Size { records: 5, findings: 700, seed: 11 };
const FOR_EVER: usize = usize::MAX;

/// How a sync under a fault has to end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    /// As the oracle says.
    Whole,
    /// As `partial` or `failed` (or held: a listing that lost most of its rows), with nothing closed by absence.
    Unfinished,
    /// Either, as the protocol has it; never with something closed wrongly.
    Either,
}

struct Row {
    id: &'static str,
    fault: &'static str,
    /// On which requests ("" = all), after how many good ones, how often.
    on: (&'static str, usize, usize),
    show: Fault,
    ends: Ends,
    /// Lines for the connection's configuration.
    config: &'static str,
}

fn rows() -> Vec<Row> {
    use Ends::{Either, Unfinished, Whole};
    let row = |id, fault, on, show, ends| Row { id, fault, on, show, ends, config: "" };
    let hurried = |row| Row { config: "http = { timeout = \"300ms\" }", ..row };
    let soon = || Some("1".to_owned());
    vec![
        row("F1", "429, Retry-After in seconds", ("", 2, 2), Fault::Status(429, soon()), Whole),
        row("F1", "429, Retry-After as a date", ("", 2, 1), Fault::Status(429, Some("Tue, 24 Nov 2020 10:00:00 GMT".into())), Whole),
        row("F1", "429, X-RateLimit-Reset", ("", 2, 1), Fault::Limited("x-ratelimit-reset", "3".into()), Whole),
        row("F1", "429 without a word", ("", 2, 2), Fault::Status(429, None), Whole),
        row("F2", "429 for ever", ("", 2, FOR_EVER), Fault::Status(429, None), Unfinished),
        row("F3", "500 once", ("", 2, 1), Fault::Status(500, None), Whole),
        row("F3", "502 three times", ("", 2, 3), Fault::Status(502, None), Whole),
        row("F3", "503 for ever", ("", 2, FOR_EVER), Fault::Status(503, None), Unfinished),
        row("F3", "connection broken in the body, once", ("", 2, 1), Fault::Broken, Whole),
        row("F3", "connection broken for ever", ("", 2, FOR_EVER), Fault::Broken, Unfinished),
        hurried(row("F4", "no answer", ("", 2, FOR_EVER), Fault::Slow(Duration::from_secs(60)), Unfinished)),
        hurried(row("F4", "one byte a second", ("", 2, FOR_EVER), Fault::Drip, Unfinished)),
        row("F4", "a body without end", ("", 2, FOR_EVER), Fault::Endless, Unfinished),
        row("F5", "half a body, once", ("", 2, 1), Fault::Truncated, Whole),
        row("F5", "half a body for ever", ("", 2, FOR_EVER), Fault::Truncated, Unfinished),
        row("F5", "empty 200", ("", 2, FOR_EVER), Fault::Empty, Unfinished),
        row("F5", "204", ("", 2, FOR_EVER), Fault::Status(204, None), Unfinished),
        row("F5", "log-in page with 200", ("", 2, FOR_EVER), Fault::Html, Unfinished),
        row("F5", "error inside a 200", ("", 2, FOR_EVER), Fault::ErrorBody, Unfinished),
        row("F6", "a page twice", ("", 2, 1), Fault::DuplicatePage, Either),
        row("F7", "rows shift between pages", ("", 2, 1), Fault::ShiftedPage, Either),
        row("F8", "the cursor repeats", ("", 2, 1), Fault::RepeatedCursor, Either),
        row("F8", "the cursor expires", ("", 2, 1), Fault::ExpiredCursor, Either),
        row("F10", "401 for ever", ("", 2, FOR_EVER), Fault::Unauthorized, Unfinished),
        row("F10", "403 for ever", ("", 2, FOR_EVER), Fault::Forbidden, Unfinished),
        row("F10", "403 once", ("", 2, 1), Fault::Forbidden, Either),
        row("D5", "the role is lost: 200 and empty", ("", 0, FOR_EVER), Fault::NoRole, Unfinished),
        row("F12", "unknown words", ("finding", 0, 1), Fault::UnknownEnum, Either),
        row("F12", "an item that is none", ("finding", 0, 1), Fault::BadItem, Either),
        row("F12", "a text is null", ("", 0, FOR_EVER), Fault::Odd(Odd::Null), Either),
        row("F12", "a text is a number", ("", 0, FOR_EVER), Fault::Odd(Odd::Number), Either),
        row("F12", "a number beyond all numbers", ("", 0, FOR_EVER), Fault::Odd(Odd::Huge), Either),
        row("F12", "a text is a list", ("", 0, FOR_EVER), Fault::Odd(Odd::List), Either),
        row("F12", "NUL and control characters", ("", 0, FOR_EVER), Fault::Odd(Odd::Control), Either),
        row("F12", "half a surrogate pair", ("", 0, FOR_EVER), Fault::Odd(Odd::Surrogate), Either),
        row("F12", "a text of 5 MiB", ("", 0, FOR_EVER), Fault::Odd(Odd::Long), Either),
        row("F12", "a member nobody knows", ("", 0, FOR_EVER), Fault::Odd(Odd::Extra), Whole),
        row("F12", "a member twice", ("", 0, FOR_EVER), Fault::Odd(Odd::Twice), Either),
        row("F12", "a member is missing", ("", 0, FOR_EVER), Fault::Odd(Odd::Missing), Either),
        row("F13", "the vendor's clock is a day fast", ("", 0, FOR_EVER), Fault::Clock(86_400), Whole),
        row("F13", "the vendor's clock is a day slow", ("", 0, FOR_EVER), Fault::Clock(-86_400), Whole),
    ]
}

/// Shows one fault to one tool's client; what the table says of it.
async fn cell(make: Make, row: Arc<Row>) -> String {
    let bench = Bench::new(start_any(make(SIZE), 0).await.unwrap());
    bench.discover().await;
    bench.sync(false).await;
    bench.assert_oracle("before the fault");
    bench.configure(row.config);
    bench.tool.vendor.step(&Change::ONE_PERCENT);
    let (on, skip, times) = row.on;
    bench.tool.faults.add(on, skip, times, row.show.clone());
    let id = bench.tool.vendor.id();
    let what = format!("{id}: {} {}", row.id, row.fault);
    let report = bench.sync(true).await;
    let unfinished = matches!(report.outcome, Outcome::Partial | Outcome::Failed | Outcome::Held);
    match row.ends {
        Ends::Whole => assert_eq!(report.outcome, Outcome::Success, "{what}: {:?} {:?}", report.errors, report.incomplete),
        Ends::Unfinished => assert!(unfinished, "{what}: {:?}", report.outcome),
        Ends::Either => {}
    }
    // Whatever was closed, by this run or before, is closed in the tool too.
    let oracle = bench.tool.vendor.oracle();
    for (key, truth) in &bench.stored().findings {
        let told = oracle.findings.get(key).unwrap_or_else(|| panic!("{what}: {key} was invented"));
        assert!(truth.state != "gone" || told.state == "gone", "{what}: {key} was closed wrongly");
    }
    bench.tool.faults.clear();
    bench.configure("");
    bench.discover().await;
    for _ in 0..3 {
        bench.sync(true).await;
    }
    bench.assert_oracle(&format!("after {what}"));
    // What hangs on which request came first is told as what always holds.
    match row.ends {
        Ends::Whole => "whole".to_owned(),
        Ends::Unfinished => "nothing closed".to_owned(),
        Ends::Either if times == 1 => "whole or partial".to_owned(),
        Ends::Either if report.counts.rejected > 0 => "rejected".to_owned(),
        Ends::Either => "whole".to_owned(),
    }
}

/// A fault that a protocol cannot have, and why.
fn cannot_be(id: &str, show: &Fault) -> Option<&'static str> {
    match (id, show) {
        ("dependency_track" | "probely" | "sonarqube", Fault::RepeatedCursor | Fault::ExpiredCursor) => Some("page numbers"),
        ("burp" | "checkmarx", Fault::RepeatedCursor) | ("checkmarx", Fault::ExpiredCursor) => Some("offsets"),
        ("tenable", Fault::DuplicatePage | Fault::ShiftedPage | Fault::RepeatedCursor) => Some("numbered chunks of a fixed set"),
        ("aws_security_hub", Fault::ShiftedPage) | ("snyk", Fault::ShiftedPage) => Some("cursors that stand still"),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_every_tool_ends_well() {
    let rows: Vec<Arc<Row>> = rows().into_iter().map(Arc::new).collect();
    let columns = join_all(VENDORS.iter().map(|(id, make)| {
        let rows = &rows;
        async move {
            let mut column = Vec::new();
            for row in rows {
                column.push(match cannot_be(id, &row.show) {
                    Some(why) => format!("– ({why})"),
                    // A task of its own, so that one broken cell does not hide the others.
                    None => tokio::spawn(cell(*make, Arc::clone(row))).await.unwrap_or_else(|_| "**BROKEN**".to_owned()),
                });
            }
            column
        }
    }))
    .await;
    let ids: Vec<&str> = VENDORS.iter().map(|(id, _)| *id).collect();
    let mut table = format!("| test | fault | {} |\n|---|---|{}\n", ids.join(" | "), "---|".repeat(ids.len()));
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|column| &*column[number]).collect();
        table.push_str(&format!("| {} | {} | {} |\n", row.id, row.fault, cells.join(" | ")));
    }
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md")).unwrap_or_default();
    assert!(!table.contains("BROKEN"), "{table}");
    assert!(document.contains(&table), "put this table into docs/reliability.md:\n{table}");
}
