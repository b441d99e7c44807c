//! Clocks that are wrong or jump, in both directions, within a run and between runs. (Due times, leases and rests are tried in
//! `standing.rs` and beside the timetable.)

#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "it/common/mod.rs"]
mod common;
#[path = "it/engine/tool.rs"]
#[expect(dead_code, clippy::needless_pass_by_value, reason = "a part of it is used here")]
mod tool;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{SIZE, TestApp, assert_outcome};
use tributary::{clock, store::Outcome};
use tributary_simulator::{Change, Fault, start};

use tool::{World, all, finding, more, record, status};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The clock of this process, for one test at a time; right again at the end.
struct Clock(#[expect(dead_code, reason = "held")] tokio::sync::MutexGuard<'static, ()>);

impl Clock {
    async fn take() -> Self {
        static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        Clock(ONE.lock().await)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        clock::shift(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_in_a_discover_makes_no_record_missing() {
    let _clock = Clock::take().await;
    for jump in [-10, -2 * HOUR, -YEAR, 10, YEAR] {
        let world = World::new();
        world.tool.answers(|_, _| all((0..3).map(record).collect()));
        world.discover().await;
        // Two pages, and the clock jumps between them.
        world.tool.answers(move |_, number| match number {
            0 => more(0, (0..2).map(record).collect()),
            _ => {
                clock::shift(jump);
                all(vec![record(2)])
            }
        });
        assert_eq!(world.discover().await.outcome, Outcome::Success);
        assert_eq!(world.query_i64("select count(*) from records where state = 'good'"), 3, "{jump} s");
        // And what is not listed is Missing, whatever the clock says now.
        world.tool.answers(|_, _| all(vec![record(0)]));
        world.discover().await;
        assert_eq!(world.query_i64("select count(*) from records where state = 'missing'"), 2, "{jump} s");
        clock::shift(0);
    }
}

/// Syncs a list whose second page fails by one clock and again by another; how often its first page was asked for.
async fn first_pages(before: i64, after: i64) -> usize {
    let world = World::new();
    *world.tool.lists.lock().unwrap() = vec![tributary_connectors::Scope::account("findings")];
    let asked = Arc::new(AtomicUsize::new(0));
    let with = |fails: bool| {
        let asked = Arc::clone(&asked);
        world.tool.answers(move |scope, number| match number {
            _ if scope.list == "records" => all(vec![record("r")]),
            0 => {
                asked.fetch_add(1, Ordering::SeqCst);
                more(0, vec![finding("a", "r")])
            }
            _ if fails => status(400),
            _ => all(vec![finding("b", "r")]),
        });
    };
    clock::shift(before);
    with(true);
    assert_eq!(world.sync().await.outcome, Outcome::Failed);
    clock::shift(after);
    with(false);
    assert_eq!(world.sync().await.outcome, Outcome::Success);
    clock::shift(0);
    asked.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_a_wrong_clock_is_not_kept_alive_by_it() {
    let _clock = Clock::take().await;
    // It is resumed within its life of an hour, and by a clock that was set right in a small step.
    assert_eq!((first_pages(0, 0).await, first_pages(0, HOUR / 2).await, first_pages(30, 0).await), (1, 1, 1));
    // It is old, or nobody can tell.
    assert_eq!((first_pages(0, 2 * HOUR).await, first_pages(2 * HOUR, 0).await, first_pages(YEAR, 0).await), (2, 2, 2));
}

#[cfg(feature = "aws")]
async fn changes() -> TestApp {
    let bench = TestApp::new(start(tributary_simulator::aws_security_hub::AwsSecurityHub::new(SIZE), 0).await.unwrap());
    bench.configure("import_closed = true");
    bench
}

/// What is open in the tool is open here, and nothing else is.
#[cfg(feature = "aws")]
fn assert_open(bench: &TestApp) {
    let open = |of: &tributary_simulator::Oracle| -> std::collections::BTreeSet<String> {
        of.findings.iter().filter(|(_, truth)| truth.state == "open").map(|(key, _)| key.clone()).collect()
    };
    let (stored, told) = (open(&bench.snapshot()), open(&bench.tool.vendor.oracle()));
    let wrong: Vec<_> = stored.symmetric_difference(&told).collect();
    assert!(wrong.is_empty() && !told.is_empty(), "{wrong:?}");
}

#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_pass_of_a_wrong_clock_does_not_keep_the_next_one_away() {
    let _clock = Clock::take().await;
    let bench = changes().await;
    clock::shift(3 * DAY);
    assert_outcome(&bench.sync().await, Outcome::Success);
    clock::shift(0);
    assert!(bench.sync().await.drift.is_some(), "nobody can tell how long ago the last one was");
    assert!(bench.sync().await.drift.is_none(), "now it is known");
    clock::shift(8 * DAY);
    assert!(bench.sync().await.drift.is_some(), "a week has passed");
}

#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_clock_that_is_far_ahead_loses_no_change() {
    let _clock = Clock::take().await;
    let bench = changes().await;
    let ahead = || bench.query_i64("select coalesce(max(watermark), 0) from scopes") - clock::now().as_microsecond();
    bench.tool.faults.add("", 0, usize::MAX, Fault::Clock(30 * DAY));
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Success);
    assert!(ahead() <= HOUR * 1_000_000, "{} µs", ahead());
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.starts_with("the tool's clock is 720 hours ahead") || warning.starts_with("the tool's clock is 719")),
        "{:?}",
        report.warnings
    );
    // The clock is set right: what changed since is in the next delta.
    bench.tool.faults.clear();
    bench.tool.vendor.step(&Change { vanished: 0.0, ..Change::ONE_PERCENT });
    bench.discover().await;
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_open(&bench);
}

#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_of_a_wrong_clock_is_not_believed() {
    let _clock = Clock::take().await;
    let bench = changes().await;
    // Both clocks were ahead, and are set right.
    clock::shift(30 * DAY);
    bench.tool.faults.add("", 0, usize::MAX, Fault::Clock(30 * DAY));
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Success);
    assert!(!report.warnings.iter().any(|warning| warning.contains("clock")), "they agree: {:?}", report.warnings);
    clock::shift(0);
    bench.tool.faults.clear();
    bench.tool.vendor.step(&Change { vanished: 0.0, ..Change::ONE_PERCENT });
    bench.discover().await;
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_open(&bench);
    let ahead = bench.query_i64("select max(watermark) from scopes") - clock::now().as_microsecond();
    assert!(ahead <= HOUR * 1_000_000, "{ahead} µs");
}
