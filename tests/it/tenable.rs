//! Tenable's export jobs: they outlive this process, take long, fail, and are forgotten.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::common::{SIZE, TestApp, assert_outcome};
use tokio_util::sync::CancellationToken;
use tributary::{
    store::{Outcome, PassKind, Store},
    sync::Engine,
};
use tributary_connectors::{Context, ErrorKind, model::ItemKind};
use tributary_simulator::{
    Change, Fault, Vendor, start_any,
    tenable::{Ending, Tenable},
};

async fn bench(tool: Tenable) -> (TestApp, Arc<Tenable>) {
    let tool = Arc::new(tool);
    (TestApp::new(start_any(Arc::clone(&tool) as _, 0).await.unwrap()), tool)
}

/// Targets of the good answers whose path holds this, in order.
fn good(bench: &TestApp, part: &str) -> Vec<String> {
    let log = bench.tool.log();
    log.into_iter().filter(|one| one.status == 200 && one.target.contains(part)).map(|one| one.target).collect()
}

/// How often an export of findings was asked for, and the answers' statuses.
fn asked(bench: &TestApp) -> Vec<u16> {
    let log = bench.tool.log();
    log.iter().filter(|one| one.method == "POST" && one.target == "/vulns/export").map(|one| one.status).collect()
}

/// The same store in a new process, as far as a test can make one.
fn restart(bench: &mut TestApp) {
    bench.engine = Engine { store: Store::open(&bench.folder.path().join("t.db"), true).unwrap(), stop: CancellationToken::new() };
}

fn write(bench: &TestApp, sql: &str) {
    rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap().execute_batch(sql).unwrap();
}

/// Syncs until the chunk after these is awaited, and stops there.
async fn stop_after(bench: &TestApp, chunks: usize) {
    bench.tool.faults.add("/chunks/", chunks, usize::MAX, Fault::Slow(Duration::from_secs(600)));
    let stop = async {
        while good(bench, "/chunks/").len() < chunks || stored_pages(bench) < 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The last of them is stored while the next one is awaited.
        tokio::time::sleep(Duration::from_millis(500)).await;
        bench.engine.stop.cancel();
    };
    let (report, ()) = tokio::join!(bench.sync(), stop);
    assert_outcome(&report, Outcome::Interrupted);
    bench.tool.faults.clear();
}

fn stored_pages(bench: &TestApp) -> i64 {
    bench.query_i64("select coalesce(sum(pages), 0) from passes")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_fifty_chunks_stopped_at_the_twentieth_ends_complete_without_reading_one_twice() {
    let (mut bench, _) = bench(Tenable::new(SIZE).in_chunks(50)).await;
    bench.discover().await;
    stop_after(&bench, 20).await;
    let first = good(&bench, "/vulns/export/").into_iter().filter(|target| target.contains("/chunks/")).collect::<Vec<_>>();
    assert_eq!(first.len(), 20);
    let stored = bench.query_i64("select count(*) from findings");
    assert!(stored > 0);

    // A page position would have died after an hour.
    write(&bench, "update passes set cursor_at = cursor_at - 7200000000");
    restart(&mut bench);
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Success);
    let all = good(&bench, "/vulns/export/").into_iter().filter(|target| target.contains("/chunks/")).collect::<Vec<_>>();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "no chunk was read twice");
    assert!(all.len() >= 50, "{}", all.len());
    assert_eq!(asked(&bench), [200], "there is no second job");
    bench.assert_oracle("after the restart");
    assert_eq!(bench.query_i64("select count(*) from scopes where full_at is not null and list = 'findings'"), 1, "it counts as full");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_process_is_killed_goes_on_with_its_job() {
    let (bench, _) = bench(Tenable::new(SIZE).in_chunks(50)).await;
    bench.tool.faults.add("/chunks/", 20, usize::MAX, Fault::Slow(Duration::from_secs(600)));
    let mut process = bench.command(&["run", "--once"]).spawn().unwrap();
    while good(&bench, "/chunks/").len() < 20 || bench.query_i64("select coalesce(max(pages), 0) from passes") < 20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(process.try_wait().unwrap(), None, "it waits for the next chunk");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.kill().unwrap();
    process.wait().unwrap();
    bench.tool.faults.clear();
    let mut command = bench.command(&["run", "--once"]);
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let chunks = good(&bench, "/vulns/export/").into_iter().filter(|target| target.contains("/chunks/")).collect::<Vec<_>>();
    assert_eq!(chunks.iter().collect::<BTreeSet<_>>().len(), chunks.len(), "no chunk was read twice");
    assert_eq!(asked(&bench), [200]);
    bench.assert_oracle("after the second run");
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_job_that_is_forgotten_meanwhile_is_asked_for_anew() {
    let (mut bench, tool) = bench(Tenable::new(SIZE).in_chunks(20)).await;
    bench.discover().await;
    stop_after(&bench, 5).await;
    tool.expire();
    restart(&mut bench);
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(asked(&bench), [200, 200]);
    bench.assert_oracle("from the second job");

    // A chunk that is not there is no different.
    tool.step(&Change::ONE_PERCENT);
    bench.tool.faults.add("chunks findings", 3, 1, Fault::ExpiredCursor);
    bench.discover().await;
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    assert_eq!(asked(&bench), [200; 4]);
    bench.assert_oracle("after a chunk that was not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_cursor_older_than_a_day_starts_anew() {
    let (mut bench, _) = bench(Tenable::new(SIZE).in_chunks(20)).await;
    bench.discover().await;
    stop_after(&bench, 5).await;
    write(&bench, "update passes set cursor_at = cursor_at - 90000000000");
    restart(&mut bench);
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(asked(&bench).len(), 2);
    bench.assert_oracle("from the second job");
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_an_export_that_fails_once_is_asked_for_again_in_the_same_run() {
    for ending in [Ending::FailedChunks, Ending::Error, Ending::Cancelled] {
        let (bench, tool) = bench(Tenable::new(SIZE).in_chunks(8)).await;
        bench.discover().await;
        tool.end_next(ending, 1);
        assert_outcome(&bench.sync().await, Outcome::Success);
        assert_eq!(asked(&bench), [200, 200], "{ending:?}");
        bench.assert_oracle(&format!("after {ending:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_an_export_that_fails_always_closes_nothing_and_is_never_full() {
    for ending in [Ending::FailedChunks, Ending::Error, Ending::Cancelled] {
        let (bench, tool) = bench(Tenable::new(SIZE).in_chunks(8)).await;
        bench.sync().await;
        let full_at = bench.query_i64("select full_at from scopes where list = 'findings'");
        let watermark = bench.query_i64("select watermark from scopes where list = 'findings'");
        tool.step(&Change { fixed: 1.0, changed: 1.0, new: 1.0, vanished: 3.0 });
        tool.end_next(ending, usize::MAX);
        for pass in [PassKind::Full, PassKind::Delta, PassKind::Full] {
            let report = bench.sync_as(pass).await;
            assert_outcome(&report, Outcome::Failed);
            assert_eq!((report.counts.closed, report.things.of(ItemKind::Asset).closed), (0, 0), "{ending:?}");
            assert!(report.errors.iter().all(|(_, error)| error.to_string().contains("the vendor's export failed")), "{:?}", report.errors);
        }
        assert_eq!(bench.query_i64("select full_at from scopes where list = 'findings'"), full_at);
        assert_eq!(bench.query_i64("select watermark from scopes where list = 'findings'"), watermark, "nothing is skipped either");
        tool.end_next(Ending::Whole, 0);
        bench.discover().await;
        assert_outcome(&bench.full_sync().await, Outcome::Success);
        bench.assert_oracle(&format!("after {ending:?} has passed"));
    }
}

/// Numbers of the chunks of findings that were read, by job, in order.
fn read_of(bench: &TestApp) -> Vec<(String, usize)> {
    let part = |target: &String| {
        let (job, number) = target.strip_prefix("/vulns/export/")?.split_once("/chunks/")?;
        Some((job.to_owned(), number.parse().ok()?))
    };
    good(bench, "/vulns/export/").iter().filter_map(part).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_cannot_be_read_stops_no_other_and_costs_one_new_job() {
    let (bench, tool) = bench(Tenable::new(SIZE).in_chunks(8)).await;
    bench.discover().await;
    tool.damage_next(2, 1);
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(asked(&bench), [200, 200]);
    bench.assert_oracle("from the second job");
    let read = read_of(&bench);
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), read.len(), "no chunk was read twice");
    let first: Vec<usize> = read.iter().filter(|(job, _)| *job == read[0].0).map(|(_, number)| *number).collect();
    assert_eq!(first, [1, 4, 5, 6, 7, 8, 9, 10], "of the first job all others were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_never_can_be_read_leaves_the_rest_stored_and_closes_nothing() {
    let (bench, tool) = bench(Tenable::new(SIZE).in_chunks(8)).await;
    bench.sync().await;
    let watermark = bench.query_i64("select watermark from scopes where list = 'findings'");
    tool.step(&Change { fixed: 1.0, changed: 1.0, new: 3.0, vanished: 3.0 });
    bench.discover().await;
    let before = bench.query_i64("select count(*) from findings");
    tool.damage_next(2, usize::MAX);
    for run in 1..=2 {
        let jobs = asked(&bench).len();
        let report = bench.full_sync().await;
        assert_outcome(&report, Outcome::Partial);
        assert_eq!(report.counts.closed, 0);
        let told = report.errors.iter().map(|(_, error)| error.to_string()).collect::<String>();
        assert!(told.contains("1 of its chunks cannot be read, the first is chunk 2: the vendor failed with status 500"), "{told}");
        // The second run asks first whether the job of the first one is good by now.
        assert_eq!(asked(&bench).len() - jobs, if run == 1 { 2 } else { 1 });
        assert_eq!(bench.query_i64("select watermark from scopes where list = 'findings'"), watermark);
    }
    assert!(bench.query_i64("select count(*) from findings") > before, "what other chunks hold is stored");
    tool.damage_next(0, 0);
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    bench.assert_oracle("once it can be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_not_there_at_first_are_asked_for_again_after_the_others() {
    let (bench, _) = bench(Tenable::new(SIZE).in_chunks(8)).await;
    bench.discover().await;
    // Two that follow each other, so neither stops the other.
    bench.tool.faults.add("chunks findings", 2, 2, Fault::ChunkLost);
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(asked(&bench), [200], "it is one job");
    let read = read_of(&bench);
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), read.len(), "no chunk was read twice");
    bench.assert_oracle("from one job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_as_a_whole_costs_no_job() {
    let (bench, _) = bench(Tenable::new(SIZE).in_chunks(8)).await;
    bench.discover().await;
    bench.tool.faults.add("/vulns/export/", 4, usize::MAX, Fault::Status(503, None));
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Partial);
    bench.tool.faults.clear();
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(asked(&bench), [200], "the job goes on where it stood");
    let read = read_of(&bench);
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), read.len(), "no chunk was read twice");
    bench.assert_oracle("when the server is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_an_export_that_is_pending_long_is_waited_for_and_then_left_to_the_next_run() {
    let (waited, _) = bench(Tenable::new(SIZE).queued_for(60)).await;
    assert_outcome(&waited.sync().await, Outcome::Success);
    waited.assert_oracle("after sixty questions");
    assert_eq!(asked(&waited), [200]);

    let (left, _) = bench(Tenable::new(SIZE).queued_for(243)).await;
    let mut runs = 0;
    loop {
        let report = left.sync().await;
        runs += 1;
        if report.errors.iter().all(|(scope, _)| scope != "findings") {
            break;
        }
        assert!(runs < 9, "{:?}", report.errors);
        assert!(report.errors.iter().all(|(_, error)| error.to_string().contains("the tool is not ready")), "{:?}", report.errors);
        assert_eq!(report.counts.closed, 0);
    }
    assert!(runs > 1);
    assert_eq!(asked(&left), [200], "it is one job all along");
    assert_eq!(left.query_i64("select count(*) from scopes where list = 'findings' and full_at is not null"), 1);
    let (stored, oracle) = (left.snapshot(), left.tool.vendor.oracle());
    assert!(stored.findings == oracle.findings, "they are all there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_under_way_is_adopted() {
    let (bench, _) = bench(Tenable::new(SIZE)).await;
    bench.discover().await;
    // The job is started, but its name is lost on the way.
    bench.tool.faults.add("POST /vulns/export", 0, 1, Fault::Broken);
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(asked(&bench), [200, 409]);
    bench.assert_oracle("from the adopted job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_brings_what_was_indexed_late_and_what_people_accepted() {
    let (bench, tool) = bench(Tenable::new(SIZE)).await;
    bench.configure("import_closed = true");
    bench.sync().await;
    for step in 1..=3 {
        // The last scan's results are indexed three days after its end.
        tool.step(&Change { vanished: 0.0, ..Change::ONE_PERCENT });
        let reopened = tool.reopen();
        bench.discover().await;
        let before = bench.query_i64("select count(*) from findings");
        let report = bench.sync().await;
        assert_outcome(&report, Outcome::Success);
        assert_eq!(report.counts.closed, 0);
        assert!(bench.query_i64("select count(*) from findings") > before, "step {step}");
        let (stored, oracle) = (bench.snapshot(), tool.oracle());
        let wrong: Vec<_> = oracle.findings.iter().filter(|(key, truth)| stored.findings.get(*key) != Some(*truth)).collect();
        assert!(wrong.is_empty(), "step {step}: {} differ, such as {:?}", wrong.len(), wrong.first());
        assert_eq!(stored.findings[&reopened.unwrap()].state, "open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_stays_with_its_record_while_that_is_there() {
    let (bench, tool) = bench(Tenable::new(SIZE)).await;
    bench.sync().await;
    let text = |sql: &str| crate::common::database(&bench.engine.store).query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let id = text("select id from findings where state = 'open' order by key limit 1");
    let named = text(&format!("select record_key from findings where id = '{id}'"));
    // The scan that never ran has no findings: nothing else keeps it alive.
    let other = text("select key from records r where not exists (select 1 from findings f where f.record_key = r.key) limit 1");
    let record = || text(&format!("select record_key from findings where id = '{id}'"));
    // It was created when the other scan met it; since then this one does.
    write(&bench, &format!("update finding_rows set record_id = (select id from record_rows where key = '{other}') where id = '{id}'"));
    let moved = "select coalesce(sum(updated_at), 0) from finding_rows";
    let before = bench.query_i64(moved);
    for pass in [PassKind::Delta, PassKind::Full] {
        let counts = bench.sync_as(pass).await.counts;
        assert_eq!((counts.created, counts.updated, counts.closed), (0, 0, 0));
        assert_eq!((record(), bench.query_i64(moved)), (other.clone(), before));
    }
    // What happens to it is stored, and it still stays.
    write(&bench, &format!("update finding_rows set digest = 0, title = 'old' where id = '{id}'"));
    assert_eq!(bench.full_sync().await.counts.updated, 1);
    assert_eq!(record(), other);
    assert_eq!(bench.query_i64("select count(*) from finding_events"), 0);
    // With the record ignored it is left as it is, whatever record is named.
    write(&bench, &format!("update record_rows set state = 'ignored' where key = '{other}'"));
    let report = bench.full_sync().await;
    assert_eq!((report.counts.updated, report.filtered["record not mapped"]), (0, 1));
    // Once that record is missing, the finding goes to the one that the tool names, with a word in its history.
    write(&bench, &format!("update record_rows set state = 'missing', former_state = 'good' where key = '{other}'"));
    assert_eq!(bench.full_sync().await.counts.updated, 1);
    assert_eq!(record(), named);
    let event = text("select field || ' ' || old_value || ' ' || new_value from finding_events");
    assert_eq!(event, format!("record_key {other} {named}"));
    drop(tool);
    let counts = bench.full_sync().await.counts;
    assert_eq!((counts.updated, bench.query_i64("select count(*) from finding_events")), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_wrong_keys_and_the_missing_permission() {
    let (refused, _) = bench(Tenable::new(SIZE)).await;
    let checked = refused.plan().0.check(&Context::default()).await.unwrap();
    assert_eq!(checked.facts[..2], ["tributary@corp.example with permissions [16]".to_owned(), "6 scans visible".to_owned()]);
    assert_eq!(checked.warnings, Vec::<String>::new());
    let text = std::fs::read_to_string(refused.config()).unwrap();
    std::fs::write(refused.config(), text.replace("access_key = \"5", "access_key = \"6")).unwrap();
    let error = refused.plan().0.check(&Context::default()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unauthorized(_)), "{error}");
    assert!(error.hint().unwrap().contains("whoever generates new API keys"), "{:?}", error.hint());

    let (denied, _) = bench(Tenable::new(SIZE).without_export()).await;
    let error = denied.plan().0.check(&Context::default()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Forbidden(_)), "{error}");
    assert!(error.hint().unwrap().contains("VM.VM_EXPLORE.VM_EXPLORE.EXPORT"), "{:?}", error.hint());

    for (on, status, word) in [
        ("/session", Fault::Forbidden, "enable the user"),
        ("/session", Fault::Status(404, None), "`location`"),
        ("/scans", Fault::Forbidden, "Can View on each scan"),
    ] {
        refused.configure("");
        refused.tool.faults.add(on, 0, usize::MAX, status);
        let error = refused.plan().0.check(&Context::default()).await.unwrap_err();
        assert!(error.hint().unwrap().contains(word), "{on}: {error} {:?}", error.hint());
        refused.tool.faults.clear();
    }
}
