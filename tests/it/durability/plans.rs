//! No statement that a sync runs looks through a whole table of data, and none writes outside a transaction that took the
//! write lock at its start (D8). The statements are those that real syncs ran, so a new one cannot be forgotten.

use std::{collections::BTreeSet, path::Path};

use rusqlite::Connection;
use tributary_simulator::{Change, Fault, Odd, Size, dependency_track::DependencyTrack, snyk::Snyk, start_any, tenable::Tenable};

use super::{run, run_well};
use crate::common::TestApp;

/// Statements that may look through a table, once per operation: what they begin with, and why.
const ALLOWED: &[(&str, &str)] = &[("delete from operations where ended_at", "one row per operation of the last weeks, once per start")];

/// Runs of statements between `BEGIN` and its end, and those outside.
fn transactions(log: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(log).unwrap();
    let mut all = Vec::new();
    let mut open: Option<Vec<String>> = None;
    for statement in text.split_terminator('\0') {
        let words = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let lower = words.to_lowercase();
        if lower.starts_with("begin") {
            assert_eq!(lower, "begin immediate", "a transaction that does not take the write lock at its start can fail in its middle");
            assert!(open.is_none());
            open = Some(Vec::new());
        } else if lower.starts_with("commit") || lower.starts_with("rollback") {
            all.extend(open.take());
        } else if let Some(open) = &mut open {
            open.push(words);
        } else {
            assert!(lower.starts_with("pragma") || lower.starts_with("select"), "written outside a transaction: {words}");
        }
    }
    all
}

/// What a statement looks through from its beginning to its end.
fn scans(database: &Connection, sql: &str) -> Vec<String> {
    let mut explained = database.prepare(&format!("explain query plan {sql}")).unwrap();
    let mut rows = explained.raw_query();
    let mut scans = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let step: String = row.get("detail").unwrap();
        // A list that the statement was given is no table.
        if step.starts_with("SCAN") && step != "SCAN CONSTANT ROW" && !step.starts_with("SCAN json_each") {
            scans.push(step);
        }
    }
    scans
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_of_a_sync_looks_through_a_table() {
    let size = Size { records: 3, findings: 300, seed: 81 };
    let tools: [std::sync::Arc<dyn tributary_simulator::Vendor>; 3] =
        [std::sync::Arc::new(DependencyTrack::new(size)), std::sync::Arc::new(Snyk::new(size)), std::sync::Arc::new(Tenable::new(size))];
    let (mut per_page, mut others) = (BTreeSet::new(), BTreeSet::new());
    let mut benches = Vec::new();
    for tool in tools {
        let bench = TestApp::new(start_any(tool, 0).await.unwrap());
        let log = bench.folder.path().join("statements");
        let logged = |arguments: &[&str]| {
            let mut command = bench.command(arguments);
            command.env("TRIBUTARY_SQL_LOG", &log);
            command
        };
        run_well(logged(&["run", "--once"])).await;
        // Export jobs are waited for: once more is enough for them.
        let steps = if bench.tool.vendor.id() == "tenable" { 0 } else { 2 };
        for _ in 0..steps {
            bench.tool.vendor.step(&Change { vanished: 3.0, ..Change::ONE_PERCENT });
            run_well(logged(&["run", "--once"])).await;
            run_well(logged(&["sync", "--full"])).await;
        }
        bench.tool.faults.add("", 0, usize::MAX, Fault::Odd(Odd::Number));
        run(logged(&["sync", "--full"])).await;
        for transaction in transactions(&log) {
            let page = transaction.iter().any(|statement| statement.starts_with("insert into pass_pages"));
            if page { per_page.extend(transaction) } else { others.extend(transaction) }
        }
        benches.push(bench);
    }
    for expected in [
        "insert into finding_rows",
        "update finding_rows set scope_id = ?, record_id",
        "insert into finding_events",
        "insert into texts",
        "insert into raw_blocks",
        "insert into asset_rows",
        "insert into quarantine",
        "select f.id_hash from finding_rows f where f.seq in (select finding_seq from held_closes",
        "select coalesce(min(finding_seq), 0) from variants",
        "update scopes set watermark",
    ] {
        assert!(per_page.iter().any(|statement| statement.starts_with(expected)), "no page ran `{expected}`");
    }
    assert!(others.iter().any(|statement| statement.starts_with("update finding_rows set source_state = 'gone'")), "nothing was closed");
    let database = crate::common::database(&benches[0].engine.store);
    // As the writer has it: a check of references would be a step of the plan.
    database.pragma_update(None, "foreign_keys", false).unwrap();
    let mut wrong: Vec<String> = Vec::new();
    for (statement, page) in per_page.iter().map(|one| (one, true)).chain(others.iter().map(|one| (one, false))) {
        let scans = scans(&database, statement);
        let allowed = !page && ALLOWED.iter().any(|(begin, _)| statement.starts_with(begin));
        if !scans.is_empty() && !allowed {
            wrong.push(format!("{}: {scans:?}\n    {statement}", if page { "per page" } else { "per operation" }));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
