//! What holds for vendors that tell what changed.

use crate::common::{SIZE, TestApp, assert_outcome, on_every_tool};
use tributary::store::Outcome;
use tributary_simulator::{Change, Running, Vendor};

/// A delta brings every new state, also those that people set and take back; what is no longer there waits for a full pass.
/// (So does what people take back that was closed when first met, unless the connection stores that too.)
async fn a_delta_follows_every_state_but_absence(tool: Running) {
    let bench = TestApp::new(tool);
    bench.configure("import_closed = true");
    assert_outcome(&bench.discover().await, Outcome::Success);
    assert_outcome(&bench.sync().await, Outcome::Success);
    for step in 1..=4 {
        bench.tool.vendor.step(&Change::ONE_PERCENT);
        assert_outcome(&bench.discover().await, Outcome::Success);
        let report = bench.sync().await;
        assert_outcome(&report, Outcome::Success);
        assert_eq!(report.counts.closed, 0, "a delta closes nothing by absence");
        let (stored, oracle) = (bench.snapshot(), bench.tool.vendor.oracle());
        for (key, truth) in &oracle.findings {
            let held = stored.findings.get(key).map(|held| held.state);
            assert!(truth.state == "gone" || held == Some(truth.state), "step {step}, {key}: {held:?}, not {}", truth.state);
        }
    }
    for _ in 0..2 {
        assert_outcome(&bench.full_sync().await, Outcome::Success);
    }
    let (stored, oracle) = (bench.snapshot(), bench.tool.vendor.oracle());
    assert!(oracle.findings.iter().all(|(key, truth)| stored.findings.get(key) == Some(truth)), "after a full pass");
}

/// A full pass that only its period makes due tells what reading changes alone had missed.
async fn the_periodic_full_pass_tells_what_the_deltas_missed(tool: Running) {
    let bench = TestApp::new(tool);
    assert_outcome(&bench.discover().await, Outcome::Success);
    assert_outcome(&bench.sync().await, Outcome::Success);
    let before = bench.query_i64("select count(*) from findings");
    // Two findings that nothing told of since, as if a delta had lost them; and eight days without a full pass.
    let store = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    store
        .execute_batch("pragma foreign_keys = off; delete from finding_rows where seq in (select seq from finding_rows where state = 'open' order by seq limit 2)")
        .unwrap();
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(bench.query_i64("select count(*) from findings"), before - 2, "a delta does not list them");
    store.execute_batch("update scopes set full_at = full_at - 8 * 86400000000").unwrap();
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Success);
    let drift = report.drift.expect("there was a periodic full pass");
    assert_eq!((drift.created, drift.updated, drift.reopened), (2, 0, 0));
    assert!(report.warnings.iter().any(|warning| warning.starts_with("drift: ") && warning.contains("2 new")), "{:?}", report.warnings);
    assert_eq!(bench.query_i64("select count(*) from findings"), before);
    let report = bench.sync().await;
    assert!(report.drift.is_none(), "the next full pass is not due yet");
}

fn tells_changes(tool: &dyn Vendor) -> bool {
    tool.tells_changes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_delta_follows_every_state_but_absence() {
    on_every_tool(tells_changes, |_| SIZE, a_delta_follows_every_state_but_absence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_is_told() {
    on_every_tool(tells_changes, |_| SIZE, the_periodic_full_pass_tells_what_the_deltas_missed).await;
}
