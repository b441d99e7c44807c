//! What every connector promises, on its simulator and on each variant of it.
//!
//! `TRIBUTARY_TOOL=snyk` tries only the tools whose names contain that.

use crate::common::{TestApp, assert_outcome, on_every_tool, several_pages};
use tributary::store::{Outcome, PassKind};
use tributary_simulator::{Change, Fault, Running};

/// Twice the same: the second run writes no finding.
async fn same_input_twice_is_no_change(tool: Running) {
    let bench = TestApp::new(tool);
    assert_outcome(&bench.discover().await, Outcome::Success);
    let first = bench.sync().await;
    assert_outcome(&first, Outcome::Success);
    bench.assert_oracle("after the first sync");
    let moved = "select coalesce(sum(updated_at), 0) + count(*) + coalesce(max(seq), 0) from finding_rows";
    let before = bench.query_i64(moved);
    for pass in [PassKind::Delta, PassKind::Full] {
        assert_outcome(&bench.discover().await, Outcome::Success);
        let report = bench.sync_as(pass).await;
        let counts = report.counts;
        assert_eq!((counts.created, counts.updated, counts.reopened, counts.closed), (0, 0, 0, 0), "{pass:?}");
        assert_eq!(bench.query_i64(moved), before);
        assert_eq!(bench.query_i64("select count(*) from finding_events"), 0);
    }
}

/// 1 % fixed, changed, new and vanished are exactly those.
async fn a_step_of_the_tool_is_followed_exactly(tool: Running) {
    let bench = TestApp::new(tool);
    bench.sync().await;
    for step in 1..=3 {
        bench.tool.vendor.step(&Change::ONE_PERCENT);
        assert_outcome(&bench.discover().await, Outcome::Success);
        // Where a listing can shift, absence counts when it is met twice.
        for _ in 0..2 {
            assert_outcome(&bench.full_sync().await, Outcome::Success);
        }
        bench.assert_oracle(&format!("after step {step}"));
    }
    assert_eq!(bench.query_i64("select count(*) from findings where state = 'open' and closed_at is not null"), 0);
    assert_eq!(bench.query_i64("select count(*) from findings where state <> 'open' and closed_at is null"), 0);
}

/// Faults that end by themselves, or are waited out, leave no trace but retries.
async fn passing_faults_are_waited_out(tool: Running) {
    let bench = TestApp::new(tool);
    for (fault, times) in [
        (Fault::Status(500, None), 1),
        (Fault::Status(503, None), 3),
        (Fault::Status(429, Some("2".into())), 1),
        (Fault::Status(429, Some("Tue, 24 Nov 2099 10:00:00 GMT".into())), 0),
        (Fault::Truncated, 1),
        (Fault::Empty, 1),
        (Fault::Html, 1),
    ] {
        bench.tool.faults.add("", 2, times, fault.clone());
        assert_outcome(&bench.discover().await, Outcome::Success);
        assert_outcome(&bench.full_sync().await, Outcome::Success);
        bench.assert_oracle(&format!("after {fault:?}"));
    }
}

/// Faults that last close nothing, and the next run heals.
async fn lasting_faults_close_nothing(tool: Running) {
    let bench = TestApp::new(tool);
    bench.sync().await;
    for fault in [
        Fault::Unauthorized,
        Fault::Forbidden,
        Fault::Status(500, None),
        Fault::Status(404, None),
        Fault::Status(302, None),
        Fault::Truncated,
        Fault::Empty,
        Fault::Html,
    ] {
        bench.tool.faults.add("", 1, usize::MAX, fault.clone());
        let report = bench.full_sync().await;
        assert!(matches!(report.outcome, Outcome::Partial | Outcome::Failed), "{fault:?}: {:?}", report.outcome);
        assert_eq!(report.counts.closed, 0, "{fault:?}");
        bench.tool.faults.clear();
        bench.assert_oracle(&format!("while {fault:?}"));
    }
    assert_outcome(&bench.full_sync().await, Outcome::Success);
}

/// A page that comes twice, or that shifted, neither invents nor closes anything.
async fn shifting_pages_close_nothing(tool: Running) {
    let bench = TestApp::new(tool);
    bench.sync().await;
    for fault in [Fault::DuplicatePage, Fault::ShiftedPage, Fault::RepeatedCursor, Fault::ExpiredCursor] {
        bench.tool.faults.add("", 2, 1, fault.clone());
        let report = bench.full_sync().await;
        assert_eq!(report.counts.closed, 0, "{fault:?}");
        bench.tool.faults.clear();
        bench.assert_oracle(&format!("after {fault:?}"));
    }
    bench.full_sync().await;
    bench.assert_oracle("at the end");
}

/// 200 with empty lists is how a token that lost its role looks: twice in a row, and nothing closes.
async fn a_lost_role_closes_nothing(tool: Running) {
    let bench = TestApp::new(tool);
    bench.sync().await;
    let open = "select count(*) from findings where state = 'open'";
    let before = bench.query_i64(open);
    for _ in 0..3 {
        bench.tool.faults.add("", 0, usize::MAX, Fault::NoRole);
        let report = bench.full_sync().await;
        assert_eq!(report.counts.closed, 0);
        assert!(matches!(report.outcome, Outcome::Held | Outcome::Failed | Outcome::Partial), "{:?}", report.outcome);
        bench.discover().await;
        bench.tool.faults.clear();
        assert_eq!(bench.query_i64(open), before);
        // With the role back, the records come back to their former state.
        bench.discover().await;
    }
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    bench.assert_oracle("with the role back");
}

/// Unknown words are kept as unknown, one bad item is quarantined, and the rest goes on.
async fn odd_items_stop_nothing(tool: Running) {
    let bench = TestApp::new(tool);
    bench.discover().await;
    bench.tool.faults.add("finding", 0, 1, Fault::UnknownEnum);
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    assert_eq!(bench.snapshot().findings.len(), bench.tool.vendor.oracle().findings.len());
    bench.full_sync().await;
    bench.assert_oracle("after the odd words are gone");
    bench.tool.faults.add("finding", 0, 1, Fault::BadItem);
    let report = bench.full_sync().await;
    assert_eq!((report.counts.rejected, report.counts.closed), (1, 0));
    assert_outcome(&report, Outcome::Partial);
    assert_eq!(bench.query_i64("select count(*) from quarantine where raw = '[1,2]'"), 1);
    bench.assert_oracle("with a bad item");
}

/// Stopping after any page and going on gives the same as never stopping, and reads no page twice.
async fn resuming_after_any_page_equals_not_stopping(tool: Running) {
    let bench = TestApp::new(tool);
    bench.discover().await;
    let mut whole = 0;
    for round in 0..40 {
        let before = bench.tool.log().len();
        // The fault breaks the run a little later each time.
        bench.tool.faults.add("", 1 + round % 4, usize::MAX, Fault::Unauthorized);
        let report = bench.sync().await;
        bench.tool.faults.clear();
        if report.outcome == Outcome::Success {
            whole += 1;
        }
        assert_eq!(report.counts.closed, 0);
        if bench.tool.log().len() == before || whole > 0 {
            break;
        }
    }
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    bench.assert_oracle("after many stops");
}

macro_rules! of_every_tool {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            on_every_tool(|_| true, several_pages, super::$case).await;
        })+
    };
}

mod every_tool {
    use super::{on_every_tool, several_pages};

    of_every_tool!(
        same_input_twice_is_no_change,
        a_step_of_the_tool_is_followed_exactly,
        passing_faults_are_waited_out,
        lasting_faults_close_nothing,
        shifting_pages_close_nothing,
        a_lost_role_closes_nothing,
        odd_items_stop_nothing,
        resuming_after_any_page_equals_not_stopping,
    );
}
