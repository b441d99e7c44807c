//! What only Probely promises: the scanned site's secrets, of which its answers are full, stay out of everything.

use std::{
    io,
    sync::{Arc, Mutex},
};

use crate::common::{TestApp, assert_outcome};
use axum::{Router, http::Uri};
use serde_json::{Value, json};
use tributary::store::{Outcome, PassKind};
use tributary_simulator::{Change, Fault, Faults, Size, Vendor, start, start_any};

const CANARY: &str = "C4nary-of-the-scanned-site";

/// A Probely with two targets whose findings are what a test says.
struct Tool(Mutex<String>);

impl Tool {
    fn answer(&self, findings: &impl ToString) {
        *self.0.lock().unwrap() = findings.to_string();
    }
}

impl Vendor for Tool {
    fn id(&self) -> &'static str {
        "probely"
    }
    fn router(self: Arc<Self>, _: Arc<Faults>) -> Router {
        Router::new().fallback(move |uri: Uri| {
            let body = match uri.path() {
                "/targets/" => {
                    let broken = json!({ "id": null, "site": CANARY, "labels": CANARY });
                    page(json!([target(), broken, CANARY])).to_string()
                }
                _ => self.0.lock().unwrap().clone(),
            };
            std::future::ready(body)
        })
    }
    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", "eyJ.key".to_owned())]
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
fn page(results: Value) -> Value {
    json!({ "count": results.as_array().unwrap().len(), "page_total": 1, "page": 1, "length": 16, "results": results })
}

/// A target with its log-in data and whatever else is secret in it.
fn target() -> Value {
    let site = json!({ "id": "s", "name": "Shop", "desc": CANARY, "url": "https://shop.example", "host": "shop.example",
        "basic_auth": { "username": CANARY, "password": CANARY }, "headers": [{ "name": "authorization", "value": CANARY }],
        "cookies": [{ "name": "session", "value": CANARY }], "otp_secret": CANARY, "verification_token": CANARY,
        "form_login": [{ "name": "password", "value": CANARY }], "api_scan_settings": { "api_login_payload": CANARY } });
    json!({ "id": "t-1", "site": site, "type": "single", "labels": [{ "name": "shops", "color": CANARY }], "teams": [],
        "changed_by": { "email": CANARY } })
}

/// A finding with secrets wherever they may be.
fn finding(id: u32, state: &str) -> Value {
    json!({ "id": id, "target": target(), "scans": [CANARY], "labels": [{ "name": "seen", "changed_by": { "name": CANARY } }],
        "fix": "Escape it.", "requests": [{ "request": CANARY, "response": CANARY }], "evidence": CANARY, "extra": CANARY,
        "definition": { "id": "d", "name": "Cross-site scripting", "desc": "Bad.", "sample": CANARY }, "url": "https://shop.example/q",
        "path": CANARY, "method": "get", "insertion_point": "parameter", "parameter": "q", "value": CANARY, "params": { CANARY: [CANARY] },
        "assignee": { "email": CANARY }, "state": state, "severity": 40, "cvss_score": null, "cvss_vector": null,
        "last_found": "2026-01-02T03:04:05.000001Z", "retesting": false, "new": true, "changed": "2026-01-02T03:04:05.000001Z",
        "changed_by": { "name": CANARY }, "comment": CANARY, "cookies": CANARY, CANARY: CANARY })
}

/// Everything that was logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_the_scanned_site_reach_neither_the_store_nor_the_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).init();
    let tool = Arc::new(Tool(Mutex::default()));
    let bench = TestApp::new(start_any(tool.clone(), 0).await.unwrap());
    let mut told = Vec::new();

    let report = bench.discover().await;
    assert_eq!(report.counts.rejected, 2);
    told.push(format!("{report:?}"));
    let mut of_another_form = finding(2, "notfixed");
    of_another_form["severity"] = json!({ "password": CANARY });
    let mut misplaced = finding(3, "notfixed");
    misplaced["definition"] = CANARY.into();
    tool.answer(&page(json!([finding(1, "notfixed"), of_another_form, misplaced, CANARY, [CANARY, { CANARY: CANARY }], 7])));
    let report = bench.full_sync().await;
    // A member that cannot be read costs itself, not its finding.
    assert_eq!((report.counts.created, report.counts.rejected), (3, 3));
    told.push(format!("{report:?}"));
    // Answers that are no page at all: a text where the list belongs, and the half of one.
    for body in [json!({ "count": 1, "page_total": 1, "results": CANARY }).to_string(), json!([CANARY, CANARY]).to_string(), {
        let whole = json!({ "results": [CANARY], "page_total": 1 }).to_string();
        whole[..whole.len() - 3].to_owned()
    }] {
        tool.answer(&body);
        let report = bench.full_sync().await;
        assert!(matches!(report.outcome, Outcome::Failed | Outcome::Partial), "{:?}", report.outcome);
        told.push(format!("{report:?}"));
    }

    let reader = crate::common::database(&bench.engine.store);
    let id: String = reader.query_row("select id from findings where key = 't-1/1'", [], |row| row.get(0)).unwrap();
    let raw: Value = serde_json::from_str(&bench.engine.store.reader().unwrap().raw(&id).unwrap().unwrap()).unwrap();
    let site = json!({ "name": "Shop", "host": "shop.example" });
    let kept = json!({ "id": 1, "target": { "id": "t-1", "type": "single", "site": site, "labels": [{ "name": "shops" }] }, "labels": [{ "name": "seen" }],
        "fix": "Escape it.", "definition": { "id": "d", "name": "Cross-site scripting", "desc": "Bad." }, "url": "https://shop.example/q",
        "method": "get", "insertion_point": "parameter", "parameter": "q", "state": "notfixed", "severity": 40, "cvss_score": null,
        "cvss_vector": null, "last_found": "2026-01-02T03:04:05.000001Z", "retesting": false, "changed": "2026-01-02T03:04:05.000001Z" });
    assert_eq!(raw, kept);
    let quarantined = "select count(*) from quarantine where outcome = 'rejected' and raw not in ('\"…\"', '[\"…\",{}]', '7')";
    assert_eq!((bench.query_i64("select count(*) from quarantine where outcome = 'rejected'"), bench.query_i64(quarantined)), (5, 1));

    let mut places = vec![("reports", told.join("\n").into_bytes()), ("the log", log.0.lock().unwrap().clone())];
    for file in ["t.db", "t.db-wal"] {
        places.push((file, std::fs::read(bench.folder.path().join(file)).unwrap_or_default()));
    }
    assert!(String::from_utf8_lossy(&places[1].1).contains("/targets/{}/findings/"), "requests are logged");
    for (place, bytes) in places {
        assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{place} holds a secret");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fix_that_did_not_hold_reopens_the_finding_and_a_retest_leaves_it_open() {
    let tool = Arc::new(Tool(Mutex::default()));
    let bench = TestApp::new(start_any(tool.clone(), 0).await.unwrap());
    let mut retested = finding(1, "notfixed");
    retested["retesting"] = true.into();
    bench.discover().await;
    let open = "select count(*) from findings where state = 'open' and closed_at is null and key = 't-1/1' and severity = 'critical'";
    for (answer, is_open, tagged, reopened) in [
        (finding(1, "notfixed"), 1, 0, 0),
        (retested.clone(), 1, 1, 0),
        (finding(1, "fixed"), 0, 0, 0),
        (retested, 1, 1, 1),
        (finding(1, "accepted"), 0, 0, 0),
        (finding(1, "retesting"), 1, 1, 1),
        (finding(1, "invalid"), 0, 0, 0),
    ] {
        let what = format!("{} {}", answer["state"], answer["retesting"]);
        tool.answer(&page(json!([answer])));
        let report = bench.sync().await;
        assert_outcome(&report, Outcome::Success);
        let tags = bench.query_i64("select count(*) from findings where tags like '%\"retesting\"%'");
        assert_eq!((bench.query_i64(open), tags, report.counts.reopened), (is_open, tagged, reopened), "{what}");
    }
    assert_eq!(bench.query_i64("select count(*) from findings"), 1);
}

/// The simulated tool has secrets in every item, and moves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_kept_of_a_whole_account_holds_a_secret() {
    let canary = tributary_simulator::probely::CANARY;
    let size = Size { records: 4, findings: 100, seed: 3 };
    let bench = TestApp::new(start(tributary_simulator::probely::Probely::new(size), 0).await.unwrap());
    for pass in [PassKind::Delta, PassKind::Full] {
        bench.tool.faults.add("finding", 0, 1, Fault::BadItem);
        bench.discover().await;
        assert_outcome(&bench.sync_as(pass).await, Outcome::Partial);
        bench.tool.vendor.step(&Change { fixed: 5.0, changed: 5.0, new: 5.0, vanished: 5.0 });
    }
    let reader = crate::common::database(&bench.engine.store);
    let mut ids = reader.prepare("select id from findings").unwrap();
    let ids: Vec<String> = ids.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(ids.len() > 90);
    for id in ids {
        let raw = bench.engine.store.reader().unwrap().raw(&id).unwrap().unwrap();
        assert!(raw.len() > 100 && !raw.contains(canary), "{raw}");
    }
    for file in ["t.db", "t.db-wal"] {
        let bytes = std::fs::read(bench.folder.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()), "{file} holds a secret");
    }
}
