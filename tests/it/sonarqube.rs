//! SonarQube shows the first 10,000 rows of a search: larger projects, and what only a larger one can show.

use std::sync::Arc;

use crate::common::{SIZE, TestApp, assert_outcome};
use serde_json::{Value, json};
use tributary::store::Outcome;
use tributary_connectors::{
    CheckReport, Context, Error, ErrorKind, Registration, RunStats,
    kit::{Endpoint, HttpOptions, Limiters, Location},
};
use tributary_simulator::{
    Change, Fault,
    sonarqube::{SonarQube, Start},
    start, start_any,
};

/// Nearly all of them in one project; more than half of them were created in the same second.
const ISSUES: usize = 25_000;

/// What was asked for at a path, but for the weaknesses of rules.
fn searches(bench: &TestApp, path: &str) -> Vec<(String, u16)> {
    bench
        .tool
        .log()
        .into_iter()
        .filter(|request| request.target.starts_with(path) && !request.target.contains("facets=cwe"))
        .map(|request| (request.target, request.status))
        .collect()
}

/// Reads a large project to its end, follows a step of it, and lets nothing out.
async fn a_large_project_is_read_to_its_end(tool: SonarQube) {
    let bench = TestApp::new(start(tool, 0).await.unwrap());
    assert_outcome(&bench.discover().await, Outcome::Success);
    let first = bench.sync().await;
    assert_outcome(&first, Outcome::Success);
    assert_eq!(first.warnings, Vec::<String>::new());
    bench.assert_oracle("after the first sync");
    let largest = "select max(n) from (select count(*) n from findings where key not like 'hotspot:%' group by record_key)";
    assert!(bench.query_i64(largest) > 20_000, "one project holds more than two windows");
    let asked = searches(&bench, "/api/issues/");
    assert!(asked.iter().all(|(_, status)| *status == 200), "no request reaches beyond the window");
    // The best that paging could do, and half as much again for finding the slices.
    assert!(asked.len() < ISSUES / 500 * 3 / 2 + 60, "{} requests", asked.len());
    // The pass was complete: what is absent from the next ones is gone.
    bench.tool.vendor.step(&Change { fixed: 0.5, changed: 0.5, new: 0.5, vanished: 0.5 });
    for _ in 0..2 {
        assert_outcome(&bench.full_sync().await, Outcome::Success);
    }
    assert!(bench.query_i64("select count(*) from findings where state = 'gone'") > 100);
    bench.assert_oracle("after a step");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_project_of_todays_server_is_read_to_its_end() {
    a_large_project_is_read_to_its_end(SonarQube::large(ISSUES)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_project_of_a_server_of_9_9_is_read_to_its_end() {
    a_large_project_is_read_to_its_end(SonarQube::large(ISSUES).old()).await;
}

/// Cloud's totals end at 10,000, and its `createdBefore` includes its second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_project_of_cloud_is_read_to_its_end() {
    a_large_project_is_read_to_its_end(SonarQube::large(ISSUES).cloud()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_over_slices_goes_on_where_it_stopped() {
    let bench = TestApp::new(start(SonarQube::large(14_000).old(), 0).await.unwrap());
    bench.discover().await;
    let mut stops = 0;
    let outcome = loop {
        // Each run asks for the weaknesses of some seventy rules first.
        bench.tool.faults.add("/api/issues/search", 85, usize::MAX, Fault::Unauthorized);
        let report = bench.sync().await;
        bench.tool.faults.clear();
        assert_eq!(report.counts.closed, 0);
        if report.outcome != Outcome::Partial || stops == 20 {
            break report.outcome;
        }
        stops += 1;
    };
    assert_eq!(outcome, Outcome::Success);
    assert!(stops >= 2, "stopped {stops} times");
    bench.assert_oracle("at the end");
    let asked = searches(&bench, "/api/issues/search");
    let mut whole: Vec<&String> =
        asked.iter().filter(|(target, status)| *status == 200 && !target.contains("UPDATE_DATE")).map(|(target, _)| target).collect();
    let all = whole.len();
    whole.sort_unstable();
    whole.dedup();
    // A page that was answered while the one before it could not be stored any more is asked for again.
    assert!(all - whole.len() <= stops, "{} of {all} pages were read twice, after {stops} stops", all - whole.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_read_alone_and_more_of_them_than_a_search_shows_are_read_in_slices() {
    let bench = TestApp::new(start(SonarQube::large(14_000).old(), 0).await.unwrap());
    bench.sync().await;
    for (percent, least, most) in [(0.2, 3, 10), (45.0, 25, 150)] {
        bench.tool.vendor.step(&Change { fixed: percent, changed: percent, new: 0.0, vanished: 0.0 });
        let before = searches(&bench, "/api/issues/search").len();
        assert_outcome(&bench.sync().await, Outcome::Success);
        let asked = searches(&bench, "/api/issues/search").split_off(before);
        assert!((least..=most).contains(&asked.len()), "{percent} %: {} requests", asked.len());
        assert!(asked.iter().all(|(_, status)| *status == 200));
        assert!(asked[0].0.contains("s=UPDATE_DATE&asc=false"), "{}", asked[0].0);
        // A hotspot that is not listed any more has to be missed twice.
        assert_outcome(&bench.sync().await, Outcome::Success);
        bench.assert_oracle(&format!("after {percent} % of changes"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_hotspots_is_synced_like_any_other() {
    let bench = TestApp::new(start(SonarQube::new(SIZE).without_hotspots(), 0).await.unwrap());
    for _ in 0..2 {
        assert_outcome(&bench.full_sync().await, Outcome::Success);
        bench.assert_oracle("without hotspots");
    }
}

/// What check says of a server at a path below its address.
async fn check(tool: SonarQube, path: &str, more: Value) -> Result<CheckReport, Error> {
    let tool = start(tool, 0).await.unwrap();
    let mut settings: serde_json::Map<String, Value> =
        tool.vendor.fields(&tool.url).into_iter().map(|(field, value)| (field.to_owned(), value.into())).collect();
    settings.extend(more.as_object().unwrap().clone());
    let location = Location::parse(&format!("{}{path}", tool.url), false).unwrap();
    let link = Endpoint { location, options: HttpOptions::default(), limiters: Arc::new(Limiters::default()) };
    let source = Registration::find("sonarqube").unwrap().open(settings.into(), link)?;
    source.check(&Context::new(Arc::new(RunStats::without_waits()))).await
}

#[tokio::test]
async fn check_passes_on_every_kind_of_server_and_names_what_is_wrong() {
    let none = json!({});
    for (tool, path) in [
        (SonarQube::new(SIZE), ""),
        (SonarQube::new(SIZE).standard(), "/api/"),
        (SonarQube::new(SIZE).old(), ""),
        (SonarQube::new(SIZE).community(), ""),
        (SonarQube::new(SIZE).cloud(), ""),
        (SonarQube::new(SIZE).admin(), ""),
        (SonarQube::new(SIZE).context_path("/sonarqube"), "/sonarqube"),
    ] {
        let shown = format!("{tool:?}").chars().take(100).collect::<String>();
        let checked = check(tool, path, none.clone()).await.unwrap_or_else(|error| panic!("{shown}: {error} {:?}", error.hint()));
        assert_eq!(checked.warnings, Vec::<String>::new(), "{shown}");
    }
    let without = check(SonarQube::new(SIZE).without_hotspots(), "", none.clone()).await.unwrap();
    assert!(without.warnings[0].contains("no security hotspots any more"), "{:?}", without.warnings);
    let soon = check(SonarQube::new(SIZE).token_expires("2020-01-31T00:00:00+0000"), "", none.clone()).await.unwrap();
    assert!(soon.warnings[0].contains("2020-01-31"), "{:?}", soon.warnings);
    for (tool, path, more, wanted) in [
        (SonarQube::new(SIZE).with_project_token(), "", none.clone(), "token of type User"),
        (SonarQube::new(SIZE), "", json!({ "secret": "squ_wrong" }), "token of type User"),
        (SonarQube::new(SIZE).old(), "", json!({ "secret": "wrong" }), "token of type User"),
        (SonarQube::new(SIZE).context_path("/sonarqube"), "", none, "context path"),
        (SonarQube::new(SIZE).cloud(), "", json!({ "organization": "other" }), "organizations/KEY"),
    ] {
        let error = check(tool, path, more).await.unwrap_err();
        assert!(error.hint().unwrap_or_default().contains(wanted), "{wanted}: {error} {:?}", error.hint());
    }
}

/// A tool that can be told to do something, and a client of it.
async fn with(tool: SonarQube) -> (Arc<SonarQube>, TestApp) {
    let tool = Arc::new(tool);
    let bench = TestApp::new(start_any(tool.clone(), 0).await.unwrap());
    (tool, bench)
}

/// Everything of one rule, severity and second: what no search can tell apart but by file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issues_that_are_alike_are_read_from_the_database_or_by_files() {
    for (tool, list) in [
        (SonarQube::large(12_500).alike(150), true),
        (SonarQube::large(12_500).standard().alike(1), true),
        (SonarQube::large(12_500).old().alike(150), false),
    ] {
        let (_tool, bench) = with(tool).await;
        assert_outcome(&bench.full_sync().await, Outcome::Success);
        bench.assert_oracle(if list { "from the database" } else { "by files" });
        assert_eq!(!searches(&bench, "/api/issues/list").is_empty(), list);
        assert_eq!(!searches(&bench, "/api/components/tree").is_empty(), !list);
    }
}

/// Of one file no search shows more than 10,000 that are alike: they are named, and nothing is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_more_than_a_search_shows_is_named() {
    let (_tool, bench) = with(SonarQube::large(12_500).old().alike(1)).await;
    let report = bench.full_sync().await;
    assert_outcome(&report, Outcome::Partial);
    assert!(report.warnings.iter().any(|warning| warning.contains("files=")), "{:?}", report.warnings);
    assert!(bench.query_i64("select count(*) from findings") > 10_000);
}

/// Six hours of overlap hold an analysis of more than 10,000 changes for six hours: it is read once and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_analysis_is_read_once() {
    let (tool, bench) = with(SonarQube::large(14_000).old()).await;
    assert_outcome(&bench.sync().await, Outcome::Success);
    tool.analyse(90.0);
    assert_outcome(&bench.sync().await, Outcome::Success);
    bench.assert_oracle("after the analysis");
    let before = searches(&bench, "/api/").len();
    assert_outcome(&bench.sync().await, Outcome::Success);
    let issues = searches(&bench, "/api/").split_off(before).into_iter().filter(|(target, _)| target.contains("/issues/")).count();
    assert!(issues <= 6, "{issues} requests for issues");
    // A person's change is found all the same, and so is the next analysis.
    bench.tool.vendor.step(&Change { fixed: 0.0, changed: 0.1, new: 0.0, vanished: 0.0 });
    assert_outcome(&bench.sync().await, Outcome::Success);
    bench.assert_oracle("after a person's change");
    tool.analyse(90.0);
    assert_outcome(&bench.sync().await, Outcome::Success);
    bench.assert_oracle("after another analysis");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_up_is_told_as_that_and_proves_nothing() {
    let (tool, bench) = with(SonarQube::new(SIZE)).await;
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    for (state, told) in [
        (Start::Unrouted("STARTING"), "SonarQube starts"),
        (Start::Unrouted("RESTARTING"), "SonarQube restarts"),
        (Start::Unrouted("DB_MIGRATION_NEEDED"), "/setup and start it"),
        (Start::Unrouted("DB_MIGRATION_RUNNING"), "migrates its database"),
        (Start::Unrouted("DOWN"), "is down"),
        (Start::Unrouted("PONDERING"), "status is `PONDERING`"),
        (Start::Dumb, "knows no call yet"),
        (Start::Strange("STARTING"), "SonarQube starts"),
        (Start::Failing("RESTARTING"), "SonarQube restarts"),
        (Start::Strange("UP"), "knows no token yet"),
    ] {
        tool.is_at(state);
        let (source, _) = bench.plan();
        let error = source.check(&Context::new(Arc::new(RunStats::without_waits()))).await.unwrap_err();
        assert!(matches!(&error.kind, ErrorKind::Pending(why) if why.contains(told)), "{state:?}: {error}");
        assert!(!error.hint().unwrap_or_default().contains("`location`"), "{:?}", error.hint());
        for _ in 0..2 {
            let report = bench.full_sync().await;
            assert_eq!((report.outcome, report.counts.closed), (Outcome::Failed, 0), "{state:?}");
            let pending = |error: &(String, tributary::sync::Error)| error.1.to_string().contains("not ready");
            assert!(!report.errors.is_empty() && report.errors.iter().all(pending), "{state:?}: {:?}", report.errors);
        }
        tool.is_at(Start::Up);
        bench.assert_oracle(&format!("while {state:?}"));
    }
    assert_outcome(&bench.full_sync().await, Outcome::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_was_renamed_is_named_and_closes_nothing() {
    let (tool, bench) = with(SonarQube::new(SIZE)).await;
    let config = std::fs::read_to_string(bench.config()).unwrap() + "branches = [\"release/1.x\"]\n";
    std::fs::write(bench.config(), config).unwrap();
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    let open = "select count(*) from findings where state = 'open'";
    let before = bench.query_i64(open);
    assert!(before > 0);
    tool.rename_branch("release/1.x", "release/2.x");
    for _ in 0..3 {
        let report = bench.full_sync().await;
        assert_outcome(&report, Outcome::Partial);
        assert!(report.incomplete.iter().any(|(_, why)| why.contains("no branch `release/1.x` any more")), "{:?}", report.incomplete);
        assert_eq!(report.counts.closed, 0);
    }
    assert_eq!(bench.query_i64(open), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fixed_issue_is_closed_at_the_date_that_the_server_gives() {
    let (tool, bench) = with(SonarQube::new(SIZE)).await;
    bench.sync().await;
    tributary_simulator::Vendor::step(&*tool, &Change { fixed: 1.0, changed: 1.0, new: 0.0, vanished: 0.0 });
    assert_outcome(&bench.sync().await, Outcome::Success);
    // The analysis of the first step was on 2026-01-05 at 02:14:35. What a person decided is closed when it is met.
    let closed =
        |more: &str| bench.query_i64(&format!("select count(*) from findings where closed_at {more} and key not like 'hotspot:%'"));
    assert!(closed("= 1767579275000000 and state = 'fixed'") >= 10);
    assert!(closed("is not null and state in ('false_positive', 'risk_accepted')") >= 5);
    assert_eq!(closed("= 1767579275000000 and state in ('false_positive', 'risk_accepted', 'gone')"), 0);
}
