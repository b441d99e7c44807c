//! What only Snyk's own strategy promises: deltas, and ignores that move no date.

use crate::common::{SIZE, TestApp, assert_outcome};
use tributary::store::Outcome;
use tributary_simulator::{Change, start};

const NONE: Change = Change { fixed: 0.0, changed: 0.0, new: 0.0, vanished: 0.0 };

/// Requests for issues since the log was this long.
fn issue_pages(bench: &TestApp, before: usize) -> usize {
    bench.tool.log()[before..].iter().filter(|request| request.target.contains("/issues?")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_reads_what_was_updated_and_finds_an_ignore_within_a_day() {
    let bench = TestApp::new(start(tributary_simulator::snyk::Snyk::new(SIZE), 0).await.unwrap());
    assert_outcome(&bench.sync().await, Outcome::Success);
    let whole = issue_pages(&bench, 0);

    bench.tool.vendor.step(&Change { fixed: 2.0, new: 2.0, ..NONE });
    let before = bench.tool.log().len();
    assert_outcome(&bench.sync().await, Outcome::Success);
    bench.assert_oracle("after a delta");
    assert!(issue_pages(&bench, before) * 3 < whole, "{} of {whole} pages", issue_pages(&bench, before));

    // An ignore does not move `updated_at`: it is found when all ignored issues are listed once more.
    bench.tool.vendor.step(&Change { changed: 2.0, ..NONE });
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(bench.query_i64("select count(*) from findings where state in ('risk_accepted', 'false_positive')"), 0);
    let database = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    database.execute("update scopes set mark = '2020-01-01T00:00:00Z' where list = 'issues'", []).unwrap();
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Success);
    assert!(report.counts.updated > 0);
    bench.assert_oracle("a day after the ignores");
    assert_eq!(bench.query_i64("select count(*) from scopes where list = 'issues' and mark < '2026'"), 0);
}
