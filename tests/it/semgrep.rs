//! What only Semgrep brings: findings that name their project by name, tokens without a scope, findings that come back.

use std::sync::Arc;

use crate::common::{SIZE, TestApp, assert_outcome};
use tributary::store::Outcome;
use tributary_connectors::{CheckReport, Context, ErrorKind, Result, RunStats};
use tributary_simulator::{Change, Fault, Vendor, semgrep::Semgrep, start, start_any};

async fn check(bench: &TestApp) -> Result<CheckReport> {
    bench.plan().0.check(&Context::new(Arc::new(RunStats::without_waits()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_project_keeps_its_record_and_its_findings() {
    let semgrep = Arc::new(Semgrep::new(SIZE));
    let bench = TestApp::new(start_any(semgrep.clone(), 0).await.unwrap());
    assert_outcome(&bench.sync().await, Outcome::Success);
    semgrep.rename(2, "acme/renamed");
    // Before the next discover: the findings say a name that the store does not know yet.
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Success);
    assert_eq!((report.counts.created, report.counts.updated, report.counts.closed), (0, 0, 0));
    assert!(!report.filtered.contains_key("record not listed"), "{:?}", report.filtered);
    assert_outcome(&bench.discover().await, Outcome::Success);
    assert_eq!(bench.query_i64("select count(*) from records where name = 'acme/renamed' and state = 'good'"), 1);
    bench.assert_oracle("after the rename");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_that_comes_back_is_open_again() {
    let semgrep = Arc::new(Semgrep::new(SIZE));
    let bench = TestApp::new(start_any(semgrep.clone(), 0).await.unwrap());
    bench.sync().await;
    semgrep.step(&Change { fixed: 2.0, changed: 0.0, new: 0.0, vanished: 0.0 });
    bench.sync().await;
    semgrep.reintroduce().unwrap();
    assert_outcome(&bench.sync().await, Outcome::Success);
    bench.assert_oracle("after a finding came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_product_is_listed_and_each_finding_comes_once() {
    let bench = TestApp::new(start(Semgrep::new(SIZE), 0).await.unwrap());
    let report = bench.sync().await;
    assert_outcome(&report, Outcome::Success);
    let lists = bench.tool.log().iter().filter(|request| request.target.contains("/findings?")).cloned().collect::<Vec<_>>();
    assert!(lists.iter().all(|request| request.target.contains("dedup=true") && !request.target.contains("ref=")));
    for issue_type in ["sast", "sca", "ai_sast"] {
        assert!(lists.iter().any(|request| request.target.contains(&format!("issue_type={issue_type}&"))), "{issue_type}");
    }
    assert_eq!(report.counts.unchanged, 0, "a finding on three branches is one row of the list");
    assert_eq!(report.counts.rejected, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_is_seen_or_what_is_missing() {
    let bench = TestApp::new(start(Semgrep::new(SIZE), 0).await.unwrap());
    let facts = check(&bench).await.unwrap().facts;
    for expected in ["deployment acme-corp", "6 projects visible", "sast: findings visible", "secrets: findings visible"] {
        assert!(facts.iter().any(|fact| fact.starts_with(expected)), "{expected} in {facts:?}");
    }

    // A token without the scope is answered 404: that is told as a permission that is missing, with the cure.
    let without = TestApp::new(start(Semgrep::new(SIZE).without_scope(), 0).await.unwrap());
    let error = check(&without).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Forbidden(_)), "{error}");
    assert!(error.hint().unwrap().contains("scope Web API") && error.hint().unwrap().contains("Settings > Tokens > API tokens"));
    assert_outcome(&without.sync().await, Outcome::Failed);
    let output = without.command(&["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{output:?}");

    bench.tool.faults.add("/secrets", 0, usize::MAX, Fault::Forbidden);
    let error = check(&bench).await.unwrap_err();
    assert!(error.hint().unwrap().contains("leave `secrets` out of `products`"), "{:?}", error.hint());
    bench.tool.faults.clear();
    bench.tool.faults.add("", 0, usize::MAX, Fault::Unauthorized);
    assert!(matches!(check(&bench).await.unwrap_err().kind, ErrorKind::Unauthorized(_)));
    bench.tool.faults.clear();
    bench.tool.faults.add("", 0, usize::MAX, Fault::NoRole);
    let error = check(&bench).await.unwrap_err();
    assert!(error.to_string().contains("the token sees no deployment"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_another_deployment_and_no_products_are_refused() {
    let bench = TestApp::new(start(Semgrep::new(SIZE), 0).await.unwrap());
    let with = |line: &str| {
        let text = std::fs::read_to_string(bench.config()).unwrap();
        std::fs::write(bench.config(), format!("{text}{line}\n")).unwrap();
    };
    with("products = [\"secrets\", \"sca\"]");
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(bench.query_i64("select count(*) from findings where category not in ('secret', 'sca')"), 0);
    assert!(bench.query_i64("select count(distinct category) from findings") == 2);
    with("deployment_slug = \"another\"");
    let error = check(&bench).await.unwrap_err();
    assert!(error.to_string().contains("not of the deployment `another`"), "{error}");
}
