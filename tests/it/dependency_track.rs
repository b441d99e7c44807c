//! Dependency-Track replaces the components of a project with each BOM, and lists nothing whole until it has analysed it.

use std::sync::Arc;

use crate::common::{Bench, assert_outcome};
use tributary::store::{Decision, FindingFilter, Outcome, Triage};
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

/// The largest project is most of what there is: without the import's word an operator would have to approve.
#[tokio::test(flavor = "multi_thread")]
async fn a_bom_uploaded_anew_keeps_decisions_and_first_sight_and_is_not_held() {
    let (tool, bench) = bench().await;
    let largest = bench.text("select record_key from findings where state = 'open' group by 1 order by count(*) desc limit 1");
    let of = |condition: &str| bench.number(&format!("select count(*) from findings where record_key = '{largest}' and {condition}"));
    let before = of("state = 'open'");
    let filter = FindingFilter { record: Some(largest.clone()), state: Some("open".to_owned()), ..FindingFilter::default() };
    let decision = Triage { decision: Some(Decision::WontFix), until: None, note: Some("because".into()) };
    let decided = bench.engine.store.triage(filter, decision).await.unwrap();
    assert!(before >= 50 && i64::try_from(decided.found).unwrap() == before);
    rusqlite::Connection::open(bench.folder.path().join("t.db"))
        .unwrap()
        .execute_batch("update finding_rows set first_seen = 1000000")
        .unwrap();

    assert_eq!(tool.upload_bom(), largest);
    assert_outcome(&bench.sync(true).await, Outcome::Partial);
    tool.analyse();
    for _ in 0..2 {
        assert_outcome(&bench.sync(true).await, Outcome::Success);
    }
    assert_eq!(of("state = 'gone'"), of("first_seen = 1000000 and state <> 'gone'"), "each handed over what it had");
    assert_eq!(of("state = 'risk_accepted' and triage = 'wont_fix' and first_seen = 1000000"), before);
    assert_eq!(bench.number("select count(*) from findings where state = 'gone' and cve = '[]' and cwe = '[]'").min(1), 1);
}
