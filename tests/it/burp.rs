//! Burp Suite DAST: what only this tool can do to a sync.

use std::sync::Arc;

use crate::common::{TestApp, assert_outcome};
use tributary::store::Outcome;
use tributary_simulator::{Change, Fault, Size, Vendor, burp::Burp, start_any};

/// Two sites with more issues than a page, one with five, one with none.
const SIZE: Size = Size { records: 4, findings: 1300, seed: 7 };

async fn bench(tool: Burp) -> (TestApp, Arc<Burp>) {
    let tool = Arc::new(tool);
    (TestApp::new(start_any(tool.clone(), 0).await.unwrap()), tool)
}

/// Ids and keys of all findings, as one text.
fn ids(bench: &TestApp) -> String {
    let reader = crate::common::database(&bench.engine.store);
    reader.query_row("select group_concat(id || ' ' || key) from (select id, key from findings order by id)", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_server_keeps_every_finding() {
    let (bench, tool) = bench(Burp::old(SIZE)).await;
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    bench.assert_oracle("on the old server");
    let before = ids(&bench);
    tool.upgrade();
    for _ in 0..2 {
        let report = bench.full_sync().await;
        assert_outcome(&report, Outcome::Success);
        let counts = report.counts;
        assert_eq!((counts.created, counts.updated, counts.reopened, counts.closed, report.closing.absent_once), (0, 0, 0, 0, 0));
    }
    assert_eq!(ids(&bench), before);
    // And it goes on from there: new findings are known by their fingerprints, accepted risks are understood.
    for step in 0..2 {
        tool.step(&Change::ONE_PERCENT);
        for _ in 0..2 {
            assert_outcome(&bench.full_sync().await, Outcome::Success);
        }
        bench.assert_oracle(&format!("on the new server, after step {step}"));
    }
    assert!(bench.query_i64("select count(*) from findings where key like '%/fp/%'") > 0);
    assert!(bench.query_i64("select count(*) from findings where state = 'risk_accepted'") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_with_another_configuration_closes_nothing() {
    let (bench, tool) = bench(Burp::new(SIZE)).await;
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    // However often it is repeated: the second light scan is no better than the first.
    for _ in 0..2 {
        tool.scan_lightly();
        for _ in 0..2 {
            let report = bench.full_sync().await;
            assert_outcome(&report, Outcome::Success);
            assert_eq!((report.counts.closed, report.closing.held, report.closing.absent_once), (0, 0, 0));
            assert!(report.warnings.iter().any(|warning| warning.contains("other configurations (Lightweight)")), "{:?}", report.warnings);
        }
        bench.assert_oracle("after a light scan");
    }
    tool.step(&Change::ONE_PERCENT);
    for _ in 0..2 {
        assert_outcome(&bench.full_sync().await, Outcome::Success);
    }
    bench.assert_oracle("after a scan with the former configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_decides_what_missing_means() {
    // Sites with 5 and 7 issues, of which a light scan finds 3 and 4.
    let (bench, tool) = bench(Burp::new(Size { records: 3, findings: 12, seed: 7 })).await;
    let open = "select count(*) from findings where state = 'open'";
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    let text = std::fs::read_to_string(bench.config()).unwrap();
    tool.scan_lightly();
    for (decision, closed, left, warnings) in [("same_configuration", 0, 12, 3), ("never", 0, 12, 0), ("always", 5, 7, 0)] {
        std::fs::write(bench.config(), format!("{text}close_missing = \"{decision}\"\n")).unwrap();
        let report = bench.full_sync().await;
        assert_eq!((report.counts.closed, bench.query_i64(open), report.warnings.len()), (closed, left, warnings), "{decision}");
    }
    // The light scan is the measure from then on.
    std::fs::write(bench.config(), text).unwrap();
    tool.scan_lightly();
    assert_eq!(bench.full_sync().await.warnings, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_lost_its_sites_closes_nothing_and_is_told() {
    let (bench, tool) = bench(Burp::new(SIZE)).await;
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    let open = "select count(*) from findings where state = 'open'";
    let before = bench.query_i64(open);
    // All of them: the role is lost, which nobody takes for a deletion.
    tool.restrict(0);
    let report = bench.full_sync().await;
    assert_outcome(&report, Outcome::Failed);
    let error = report.errors[0].1.to_string();
    assert!(error.contains("a permission is missing: no site is visible any more"), "{error}");
    assert_eq!(bench.query_i64("select count(*) from records where state = 'missing'"), 0);
    // Some: the records are listed again in the same operation, and the two are missing.
    tool.restrict(2);
    for _ in 0..2 {
        let report = bench.full_sync().await;
        assert_outcome(&report, Outcome::Success);
        assert_eq!((report.counts.closed, report.closing.held), (0, 0));
        assert_eq!(bench.query_i64("select count(*) from records where state = 'missing'"), 2, "absence is no deletion");
        assert_eq!(bench.query_i64(open), before);
    }
    tool.restrict(usize::MAX);
    bench.discover().await;
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    bench.assert_oracle("with all sites back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_whose_issues_the_key_may_not_see_closes_nothing() {
    let (bench, _tool) = bench(Burp::new(SIZE)).await;
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    bench.tool.faults.add("finding", 0, usize::MAX, Fault::NoRole);
    for _ in 0..3 {
        let report = bench.full_sync().await;
        assert_outcome(&report, Outcome::Partial);
        assert_eq!((report.counts.closed, report.closing.held, report.closing.absent_once), (0, 0, 0));
    }
    bench.assert_oracle("while the lists are empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_scans_say_nothing_about_the_issues() {
    let (bench, tool) = bench(Burp::old(SIZE)).await;
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    tool.forget_scans();
    let report = bench.full_sync().await;
    assert_outcome(&report, Outcome::Success);
    assert_eq!((report.counts.closed, report.closing.held), (0, 0));
    bench.assert_oracle("without scans");
    tool.step(&Change::ONE_PERCENT);
    for _ in 0..2 {
        bench.full_sync().await;
    }
    bench.assert_oracle("after the next scans");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_deleted_between_two_requests_costs_a_new_start() {
    let (bench, _tool) = bench(Burp::new(SIZE)).await;
    for skip in [0, 2] {
        bench.tool.faults.add("finding", skip, 1, Fault::ExpiredCursor);
        assert_outcome(&bench.full_sync().await, Outcome::Success);
        bench.assert_oracle(&format!("after request {skip}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_introspection_is_read_as_an_old_one() {
    let (old, _tool) = bench(Burp::old(SIZE).without_introspection()).await;
    let report = old.full_sync().await;
    assert_outcome(&report, Outcome::Success);
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    old.assert_oracle("without introspection");
    // A newer one still answers what the old ones know; sites of pipelines are not among it.
    let (new, tool) = bench(Burp::new(SIZE).without_introspection()).await;
    assert_outcome(&new.full_sync().await, Outcome::Success);
    assert_eq!(new.query_i64("select count(*) from records"), 3);
    assert_eq!(new.query_i64("select count(*) from findings where key like '%/fp/%'"), 0);
    let on_sites = tool.oracle().findings.into_values().filter(|truth| truth.record != "43").count();
    assert_eq!(new.query_i64("select count(*) from findings"), i64::try_from(on_sites).unwrap());
}
