//! Dependency-Track replaces the components of a project with each BOM, and lists nothing whole until it has analysed it.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use tributary::store::{Decision, FindingFilter, Outcome, Triage};
use tributary_simulator::{Change, Fault, Faults, Oracle, Size, Vendor, dependency_track::DependencyTrack, start_any};

use crate::common::{TestApp, assert_outcome};

const SIZE: Size = Size { records: 5, findings: 300, seed: 5 };

async fn bench() -> (Arc<DependencyTrack>, TestApp) {
    let tool = Arc::new(DependencyTrack::new(SIZE));
    let bench = TestApp::new(start_any(tool.clone(), 0).await.unwrap());
    assert_outcome(&bench.sync().await, Outcome::Success);
    (tool, bench)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bom_that_is_not_analysed_yet_closes_nothing() {
    let (tool, bench) = bench().await;
    let project = tool.upload_bom();
    let open = format!("select count(*) from findings where state = 'open' and record_key = '{project}'");
    let before = bench.query_i64(&open);
    for _ in 0..3 {
        let report = bench.full_sync().await;
        assert_outcome(&report, Outcome::Partial);
        assert_eq!(report.counts.closed, 0);
        assert!(report.incomplete.iter().any(|(_, why)| why.contains("a BOM was imported into the project")), "{:?}", report.incomplete);
    }
    assert!(bench.query_i64(&open) > before, "what is listed already is there");
    assert_eq!(bench.query_i64("select count(*) from findings where state = 'gone'"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_is_no_failure_and_its_findings_stay() {
    let (tool, bench) = bench().await;
    let project = bench.query_string("select record_key from findings where state = 'open' group by 1 order by count(*) limit 1");
    let open = format!("select count(*) from findings where state = 'open' and record_key = '{project}'");
    let before = bench.query_i64(&open);
    tool.delete(&project);
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    assert_eq!(bench.query_string(&format!("select state from records where key = '{project}'")), "missing");
    assert_eq!((before > 0, bench.query_i64(&open)), (true, before));
}

/// Runs a command to its successful end; its peak resident memory in MiB.
fn peak(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let told = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().trim_end_matches(" kB").parse().ok());
        peak = told.unwrap_or(peak);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak / 1024
}

/// Version 4 answers all findings of a project at once, here some 30 MiB of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_twenty_thousand_findings_takes_no_more_memory_than_promised() {
    let tool = DependencyTrack::new(Size { records: 1, findings: 20_000, seed: 5 }).v4();
    let bench = TestApp::new(start_any(Arc::new(tool), 0).await.unwrap());
    let mut peaks = Vec::new();
    for arguments in [&["run", "--once"][..], &["sync", "--full"]] {
        let command = bench.command(arguments);
        peaks.push(tokio::task::spawn_blocking(move || peak(command)).await.unwrap());
    }
    assert!(peaks.iter().all(|peak| *peak <= 128), "{peaks:?} MiB");
    bench.assert_oracle("in parts");
}

/// A tool that lists, once it is told to, so many findings in each project of which none can be read.
struct Unreadable {
    tool: Arc<DependencyTrack>,
    count: AtomicUsize,
}

impl Vendor for Unreadable {
    fn id(&self) -> &'static str {
        self.tool.id()
    }
    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let odd = Arc::clone(&self);
        self.tool.clone().router(faults).layer(from_fn(move |request: Request, next: Next| {
            let odd = Arc::clone(&odd);
            async move {
                let count = odd.count.load(Ordering::SeqCst);
                if count == 0 || !request.uri().path().starts_with("/api/v1/finding/project/") {
                    return next.run(request).await;
                }
                let items: Vec<String> = (0..count).map(|number| format!(r#"{{"matrix":"p:c:{number}","vulnerability":7}}"#)).collect();
                Response::new(format!("[{}]", items.join(",")).into())
            }
        }))
    }
    fn refuse(&self, fault: &Fault) -> Response {
        self.tool.refuse(fault)
    }
    fn fields(&self, url: &str) -> Vec<(&'static str, String)> {
        self.tool.fields(url)
    }
    fn step(&self, change: &Change) {
        self.tool.step(change);
    }
    fn oracle(&self) -> Oracle {
        self.tool.oracle()
    }
}

/// Of more than 10,000 in one answer a part is kept, their number is said, and the list proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_more_than_ten_thousand_unreadable_items_fails_and_closes_nothing() {
    let tool = Arc::new(Unreadable { tool: Arc::new(DependencyTrack::new(SIZE).v4()), count: AtomicUsize::new(0) });
    let bench = TestApp::new(start_any(tool.clone(), 0).await.unwrap());
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    let open = bench.query_i64("select count(*) from findings where state = 'open'");
    tool.count.store(10_001, Ordering::SeqCst);
    for _ in 0..3 {
        let report = bench.full_sync().await;
        assert_outcome(&report, Outcome::Failed);
        assert_eq!(report.counts.closed, 0);
        for (_, error) in &report.errors {
            assert!(error.to_string().contains("more than 10000 items that cannot be read"), "{error}");
        }
        let lists = report.errors.len() as u64;
        assert_eq!((lists > 1, report.counts.fetched, report.counts.rejected), (true, lists * 10_000, lists * 10_000));
        let most = "select coalesce(max(rows), 0) from (select count(*) as rows from quarantine group by scope)";
        assert_eq!(bench.query_i64(most), 1001, "a thousand of a list, and how many more there are");
    }
    assert_eq!(bench.query_i64("select count(*) from findings where state = 'open'"), open);
    tool.count.store(0, Ordering::SeqCst);
    for _ in 0..2 {
        assert_outcome(&bench.full_sync().await, Outcome::Success);
    }
    bench.assert_oracle("once they can be read");
    assert_eq!(bench.query_i64("select count(*) from quarantine"), 0);
}

/// The largest project is most of what there is: without the import's word an operator would have to approve.
#[tokio::test(flavor = "multi_thread")]
async fn a_bom_uploaded_anew_keeps_decisions_and_first_sight_and_is_not_held() {
    let (tool, bench) = bench().await;
    let largest = bench.query_string("select record_key from findings where state = 'open' group by 1 order by count(*) desc limit 1");
    let of = |condition: &str| bench.query_i64(&format!("select count(*) from findings where record_key = '{largest}' and {condition}"));
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
    assert_outcome(&bench.full_sync().await, Outcome::Partial);
    tool.analyse();
    for _ in 0..2 {
        assert_outcome(&bench.full_sync().await, Outcome::Success);
    }
    assert_eq!(of("state = 'gone'"), of("first_seen = 1000000 and state <> 'gone'"), "each handed over what it had");
    assert_eq!(of("state = 'risk_accepted' and triage = 'wont_fix' and first_seen = 1000000"), before);
    assert_eq!(bench.query_i64("select count(*) from findings where state = 'gone' and cve = '[]' and cwe = '[]'").min(1), 1);
}
