//! What holds for vendors whose one list covers many records.

use crate::common::{TestApp, assert_outcome, on_every_tool, several_pages};
use tributary::store::{Outcome, PassKind, RecordAction, RecordFilter};
use tributary_simulator::{Change, Fault, Oracle, Running, Vendor};

/// Does what a person does who maps, ignores or restores records.
async fn decide(bench: &TestApp, records: &[&str], action: RecordAction) {
    let keys = records.iter().map(|record| (*record).to_owned()).collect();
    let changes = bench.engine.store.change_records(RecordFilter { keys, ..RecordFilter::default() }, action).await.unwrap();
    assert_eq!(changes.len(), records.len());
    assert!(changes.iter().all(|change| change.from != change.to), "{changes:?}");
}

/// The record with the most open findings.
fn busiest(oracle: &Oracle) -> String {
    let open = |record: &String| oracle.findings.values().filter(|truth| truth.record == *record && truth.state == "open").count();
    let busiest = oracle.records.keys().max_by_key(|record| open(record)).unwrap().clone();
    assert!(open(&busiest) >= 10, "{busiest} has {} open findings", open(&busiest));
    busiest
}

/// A connection whose records are mapped by hand, all but the busiest one.
async fn all_but_the_busiest_mapped(tool: Running) -> (TestApp, String) {
    let bench = TestApp::new(tool);
    bench.configure("auto_map = false");
    assert_outcome(&bench.discover().await, Outcome::Success);
    let oracle = bench.tool.vendor.oracle();
    let late = busiest(&oracle);
    let others: Vec<&str> = oracle.records.keys().map(String::as_str).filter(|record| *record != late).collect();
    decide(&bench, &others, RecordAction::Map(None)).await;
    (bench, late)
}

/// A record's findings as they are, in one text.
fn rows_of(bench: &TestApp, record: &str) -> Vec<String> {
    let reader = crate::common::database(&bench.engine.store);
    let mut rows = reader
        .prepare("select f.key || ' ' || state || ' ' || severity || ' ' || updated_at || ' ' || last_seen from findings f where record_key = ?1 order by f.key")
        .unwrap();
    rows.query_map([record], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Mapped after the stream has gone by, its old findings are found by an ordinary sync.
async fn a_record_mapped_later_brings_its_old_findings(tool: Running) {
    let (bench, late) = all_but_the_busiest_mapped(tool).await;
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Success);
    assert!(report.filtered["record not mapped"] > 0);
    assert_eq!(rows_of(&bench, &late), Vec::<String>::new());

    let quiet = bench.sync().await;
    assert_eq!((quiet.counts.created, quiet.counts.closed), (0, 0));
    decide(&bench, &[&late], RecordAction::Map(None)).await;
    assert_outcome(&bench.sync().await, Outcome::Success);
    bench.assert_oracle("after the last record was mapped");

    // The pass that found them is the last full one: the next is an ordinary one again.
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(bench.query_i64("select count(*) from finding_events"), 0);
    bench.assert_oracle("at the end");
}

/// Mapped while its stream is being read, it has findings on pages that went by before: the syncs after it bring them.
async fn a_record_mapped_amid_a_pass_misses_nothing(tool: Running) {
    let (bench, late) = all_but_the_busiest_mapped(tool).await;
    // The walk breaks a little later each time, until some of them have gone by.
    let (mut went_by, mut requests) = (0, 0);
    while went_by == 0 {
        requests += 1;
        bench.tool.faults.add("", requests, usize::MAX, Fault::Status(500, None));
        let report = bench.sync().await;
        bench.tool.faults.clear();
        assert_ne!(report.outcome, Outcome::Success, "the list ended before a finding of {late} had gone by");
        went_by = report.filtered.get("record not mapped").copied().unwrap_or_default();
    }
    assert!(bench.query_i64("select count(*) from passes where pages > 0 and ended is null") > 0, "a pass is open");
    decide(&bench, &[&late], RecordAction::Map(None)).await;
    for _ in 0..2 {
        assert_outcome(&bench.sync().await, Outcome::Success);
    }
    bench.assert_oracle("after the pass that was open and one more");
}

/// Whatever the tool does, the findings of a record that is ignored stay as they are; restored, they are what the tool says.
async fn an_ignored_record_keeps_its_findings_untouched(tool: Running) {
    let bench = TestApp::new(tool);
    assert_outcome(&bench.sync().await, Outcome::Success);
    let ignored = busiest(&bench.tool.vendor.oracle());
    let before = rows_of(&bench, &ignored);
    decide(&bench, &[&ignored], RecordAction::Ignore).await;
    bench.tool.vendor.step(&Change { fixed: 5.0, changed: 5.0, new: 5.0, vanished: 5.0 });
    for pass in [PassKind::Full, PassKind::Delta, PassKind::Full] {
        let report = bench.sync_as(pass).await;
        assert_outcome(&report, Outcome::Success);
        assert!(pass == PassKind::Delta || report.filtered["record not mapped"] > 0);
    }
    let (seen, after) = (|row: &String| row.rsplit_once(' ').unwrap().0.to_owned(), rows_of(&bench, &ignored));
    assert_eq!(after.iter().map(seen).collect::<Vec<_>>(), before.iter().map(seen).collect::<Vec<_>>());
    // They were not looked at, so they were not seen either.
    let last_seen =
        "select count(*) from findings f join records r on r.key = f.record_key where r.state = 'ignored' and f.last_seen > r.state_since";
    assert_eq!(bench.query_i64(last_seen), 0);
    let (stored, oracle) = (bench.snapshot(), bench.tool.vendor.oracle());
    let others = |of: &Oracle| of.findings.clone().into_iter().filter(|(_, truth)| truth.record != ignored).collect::<Vec<_>>();
    assert!(others(&stored) == others(&oracle), "the other records follow the tool");

    decide(&bench, &[&ignored], RecordAction::Restore { auto_map: vec!["t".into()] }).await;
    assert_outcome(&bench.sync().await, Outcome::Success);
    // Where a listing can shift, absence counts when it is met twice.
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    bench.assert_oracle("after the record was restored");
}

fn covers_many(tool: &dyn Vendor) -> bool {
    tool.covers_many()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_brings_a_record_that_is_mapped_later() {
    on_every_tool(covers_many, several_pages, a_record_mapped_later_brings_its_old_findings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_brings_a_record_that_is_mapped_amid_a_pass() {
    on_every_tool(covers_many, several_pages, a_record_mapped_amid_a_pass_misses_nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_leaves_an_ignored_record_alone() {
    on_every_tool(covers_many, several_pages, an_ignored_record_keeps_its_findings_untouched).await;
}
