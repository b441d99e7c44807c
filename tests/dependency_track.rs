//! Dependency-Track replaces the components of a project with each BOM, and lists nothing whole until it has analysed it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::{Bench, assert_outcome};
use tributary::store::Outcome;
use tributary_simulator::{Size, dependency_track::DependencyTrack, start_any};

const SIZE: Size = Size { records: 5, findings: 300, seed: 5 };

async fn bench() -> (Arc<DependencyTrack>, Bench) {
    let tool = Arc::new(DependencyTrack::new(SIZE));
    let bench = Bench::new(start_any(tool.clone(), 0).await.unwrap());
    assert_outcome(&bench.sync(false).await, Outcome::Success);
    (tool, bench)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bom_that_is_not_analysed_yet_closes_nothing() {
    let (tool, bench) = bench().await;
    let project = tool.upload_bom();
    let open = format!("select count(*) from findings where state = 'open' and record_key = '{project}'");
    let before = bench.number(&open);
    for _ in 0..3 {
        let report = bench.sync(true).await;
        assert_outcome(&report, Outcome::Partial);
        assert_eq!(report.counts.closed, 0);
        assert!(report.incomplete.iter().any(|(_, why)| why.contains("a BOM was imported into the project")), "{:?}", report.incomplete);
    }
    assert!(bench.number(&open) > before, "what is listed already is there");
    assert_eq!(bench.number("select count(*) from findings where state = 'gone'"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_is_no_failure_and_its_findings_stay() {
    let (tool, bench) = bench().await;
    let project = bench.text("select record_key from findings where state = 'open' group by 1 order by count(*) limit 1");
    let open = format!("select count(*) from findings where state = 'open' and record_key = '{project}'");
    let before = bench.number(&open);
    tool.delete(&project);
    assert_outcome(&bench.sync(true).await, Outcome::Success);
    assert_eq!(bench.text(&format!("select state from records where key = '{project}'")), "missing");
    assert_eq!((before > 0, bench.number(&open)), (true, before));
}
