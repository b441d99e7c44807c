//! What only Checkmarx One's own strategy promises: tokens that die early, totals that are no promise.

use std::time::Duration;

use crate::common::{SIZE, TestApp, assert_outcome};
use tributary::store::Outcome;
use tributary_simulator::{Change, checkmarx::Checkmarx, start};

fn token_requests(bench: &TestApp) -> usize {
    bench.tool.log().iter().filter(|request| request.method == "POST").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_outlives_its_tokens_and_asks_for_one_at_a_time() {
    let bench = TestApp::new(start(Checkmarx::new(SIZE).tokens(Duration::from_secs(1800), 10), 0).await.unwrap());
    assert_outcome(&bench.sync().await, Outcome::Success);
    bench.assert_oracle("with tokens that serve ten requests");
    let (tokens, all) = (token_requests(&bench), bench.tool.log().len());
    assert!(tokens > 2 && tokens <= all / 4, "{tokens} of {all} requests");

    let bench = TestApp::new(start(Checkmarx::new(SIZE), 0).await.unwrap());
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(token_requests(&bench), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_is_refused_is_told_and_not_sent_again_and_again() {
    let bench = TestApp::new(start(Checkmarx::new(SIZE).with_revoked_key(), 0).await.unwrap());
    let report = bench.sync().await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(report.errors.iter().any(|error| format!("{error:?}").contains("invalid_grant")), "{:?}", report.errors);
    assert!(token_requests(&bench) <= 2, "{}", token_requests(&bench));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_results_than_declared_end_as_partial_and_close_nothing() {
    let bench = TestApp::new(start(Checkmarx::new(SIZE).with_too_large_totals(), 0).await.unwrap());
    for _ in 0..3 {
        let report = bench.full_sync().await;
        assert_outcome(&report, Outcome::Partial);
        assert_eq!(report.counts.closed, 0);
        bench.tool.vendor.step(&Change { fixed: 0.0, changed: 0.0, new: 1.0, vanished: 5.0 });
    }
    assert!(bench.query_i64("select count(*) from findings where state = 'open'") > 0);
}
