//! The simulated Tenable does what its documentation says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::client::{Answer, ask};
use serde_json::{Value, json};
use tributary_simulator::{
    Change, Fault, Running, Size, start, start_any,
    tenable::{Ending, Tenable},
};

const SIZE: Size = Size { records: 6, findings: 3000, seed: 7 };
const LONG_AGO: u64 = 1_500_000_000;

async fn call(tool: &Running, method: &str, target: &str, body: &str) -> Answer {
    let fields: BTreeMap<_, _> = tool.vendor.fields(&tool.url).into_iter().collect();
    let keys = format!("X-ApiKeys: accessKey={}; secretKey={}", fields["access_key"], fields["secret_key"]);
    ask(tool, method, target, &keys, body).await
}

async fn get(tool: &Running, target: &str) -> Answer {
    call(tool, "GET", target, "").await
}

async fn begin(tool: &Running, path: &str, body: &Value) -> String {
    call(tool, "POST", path, &body.to_string()).await.json()["export_uuid"].as_str().unwrap().to_owned()
}

/// Asks for the status until the job has ended.
async fn ended(tool: &Running, jobs: &str, uuid: &str) -> Value {
    loop {
        let status = get(tool, &format!("{jobs}/{uuid}/status")).await.json();
        if !["QUEUED", "PROCESSING"].contains(&status["status"].as_str().unwrap()) {
            return status;
        }
    }
}

fn numbers(status: &Value, list: &str) -> Vec<u64> {
    status[list].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

/// Everything that a job exports.
async fn export(tool: &Running, path: &str, jobs: &str, body: &Value) -> Vec<Value> {
    let uuid = begin(tool, path, body).await;
    let status = ended(tool, jobs, &uuid).await;
    assert_eq!(status["status"], "FINISHED");
    let mut rows = Vec::new();
    for number in numbers(&status, "chunks_available") {
        let answer = get(tool, &format!("{jobs}/{uuid}/chunks/{number}")).await;
        assert!(answer.head.contains("application/octet-stream"), "{}", answer.head);
        if let Value::Array(chunk) = answer.json() {
            rows.extend(chunk);
        }
    }
    rows
}

async fn vulns(tool: &Running, filters: Value) -> Vec<Value> {
    export(tool, "/vulns/export", "/vulns/export", &json!({ "num_assets": 500, "include_unlicensed": true, "filters": filters })).await
}

async fn all(tool: &Running) -> Vec<Value> {
    vulns(tool, json!({ "since": LONG_AGO, "state": ["open", "Reopened", "FIXED"] })).await
}

fn ids(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().map(|row| row["finding_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn keys_are_checked_and_an_export_needs_its_right() {
    let tool = start(Tenable::new(SIZE), 0).await.unwrap();
    let answer = ask(&tool, "GET", "/session", "X-ApiKeys: accessKey=a;secretKey=b", "").await;
    assert_eq!((answer.status, answer.json()["message"].as_str()), (401, Some("Invalid credentials.")));
    assert!(answer.head.contains("x-request-uuid"));
    assert_eq!(ask(&tool, "GET", "/server/status", "Accept: */*", "").await.status, 200);
    assert_eq!(get(&tool, "/session").await.json()["permissions"], 16);
    assert_eq!(get(&tool, "/nothing").await.status, 404);
    assert_eq!(Tenable::new(SIZE).joined().vendor_fields(), 1);
    let tool = start(Tenable::new(SIZE).without_export(), 0).await.unwrap();
    assert_eq!(get(&tool, "/session").await.status, 200);
    assert_eq!(get(&tool, "/vulns/export/status").await.status, 403);
    assert_eq!(call(&tool, "POST", "/vulns/export", "{}").await.status, 403);
}

trait Fields {
    fn vendor_fields(&self) -> usize;
}

impl Fields for Tenable {
    fn vendor_fields(&self) -> usize {
        let fields = tributary_simulator::Vendor::fields(self, "");
        assert!(fields.iter().all(|(name, value)| *name == "secret" && value.contains(';')));
        fields.len()
    }
}

#[tokio::test]
async fn a_full_export_holds_every_finding_of_the_oracle_once() {
    let tool = start(Tenable::new(SIZE), 0).await.unwrap();
    let (rows, oracle) = (all(&tool).await, tool.vendor.oracle());
    let listed = ids(&rows);
    assert_eq!(oracle.findings.len(), 3000);
    assert_eq!(listed.len(), rows.len());
    assert!(oracle.findings.keys().all(|key| listed.contains(key)));
    for row in &rows {
        let Some(truth) = oracle.findings.get(row["finding_id"].as_str().unwrap()) else { continue };
        assert_eq!((row["severity"].as_str(), truth.state), (Some(truth.severity), "open"));
        assert_ne!(row["state"], "FIXED");
        assert_ne!(row["severity_modification_type"], "ACCEPTED");
    }
    let words = |name: &str| rows.iter().map(|row| row[name].to_string()).collect::<BTreeSet<_>>().len();
    assert_eq!((words("severity"), words("state"), words("severity_modification_type"), words("source")), (5, 3, 3, 3));
    assert_eq!(get(&tool, "/scans").await.count("scans"), 6);
    assert_eq!(get(&tool, "/scans?started_from=1").await.count("scans"), 5);
    assert_eq!(oracle.records.len(), 7);
}

#[tokio::test]
async fn without_filters_only_what_is_open_and_recent_comes() {
    let tool = start(Tenable::new(SIZE), 0).await.unwrap();
    let everything = all(&tool).await;
    let rows = vulns(&tool, json!({})).await;
    assert!(!rows.is_empty() && rows.len() < everything.len() * 95 / 100);
    assert!(rows.iter().all(|row| row["state"] != "FIXED" && !row["last_found"].as_str().unwrap().starts_with("2022")));
    // Nought is how a status says that nothing was asked.
    assert_eq!(vulns(&tool, json!({ "since": 0 })).await.len(), rows.len());
    let with_since = vulns(&tool, json!({ "since": LONG_AGO })).await;
    assert_eq!(with_since.len(), everything.len());
    let high = vulns(&tool, json!({ "since": LONG_AGO, "severity": ["high"] })).await;
    assert!(!high.is_empty() && high.iter().all(|row| row["severity_id"] == 3));
    let licensed = export(&tool, "/vulns/export", "/vulns/export", &json!({ "num_assets": 500, "filters": { "since": LONG_AGO } })).await;
    assert!(licensed.len() < everything.len());
}

#[tokio::test]
async fn wrong_filters_are_refused() {
    let tool = start(Tenable::new(SIZE), 0).await.unwrap();
    for filters in [
        json!({ "since": 1_735_689_600_000_u64 }),
        json!({ "since": "yesterday" }),
        json!({ "since": LONG_AGO, "last_found": LONG_AGO }),
        json!({ "last_found": LONG_AGO }),
        json!({ "severity": ["HIGH"] }),
        json!({ "state": "OPEN" }),
        json!({ "state": ["GONE"] }),
        json!({ "severities": ["high"] }),
    ] {
        let body = json!({ "filters": filters }).to_string();
        assert_eq!(call(&tool, "POST", "/vulns/export", &body).await.status, 400, "{body}");
    }
    for body in [
        json!({}),
        json!({ "chunk_size": 99 }),
        json!({ "chunk_size": 10_001 }),
        json!({ "chunk_size": 1001, "include_resource_tags": true }),
    ] {
        assert_eq!(call(&tool, "POST", "/assets/v2/export", &body.to_string()).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_job_advances_look_by_look() {
    let tool = start(Tenable::new(SIZE).in_chunks(50), 0).await.unwrap();
    let body = json!({ "num_assets": 1, "filters": { "since": LONG_AGO, "severity": ["high"] } });
    let uuid = begin(&tool, "/vulns/export", &body).await;
    let target = format!("/vulns/export/{uuid}");
    // The same again is not begun twice.
    let again = call(&tool, "POST", "/vulns/export", &body.to_string()).await;
    assert_eq!((again.status, again.json()["active_job_id"].as_str()), (409, Some(&*uuid)));
    let mut seen = Vec::new();
    for expected in ["QUEUED", "PROCESSING", "FINISHED", "FINISHED"] {
        let status = get(&tool, &format!("{target}/status")).await.json();
        assert_eq!(status["status"], expected);
        seen.push(numbers(&status, "chunks_available"));
        assert_eq!((&status["num_assets_per_chunk"], &status["filters"]["severity"]), (&json!(50), &json!(["HIGH"])));
        if expected == "PROCESSING" {
            let first = seen[1][0];
            assert_eq!(get(&tool, &format!("{target}/chunks/{first}")).await.status, 200);
            assert_eq!(get(&tool, &format!("{target}/chunks/50")).await.status, 400);
        }
    }
    let counts: Vec<_> = seen.iter().map(Vec::len).collect();
    assert_eq!(counts, [0, 25, 51, 51], "50 and an empty one");
    assert!(!seen[2].contains(&3) && !seen[2].is_sorted());
    assert_eq!(get(&tool, &format!("{target}/chunks/3")).await.status, 404);
    assert!(["[]", "null"].contains(&&*get(&tool, &format!("{target}/chunks/52")).await.text));
    assert_eq!(get(&tool, "/vulns/export/status").await.json()["exports"][0]["uuid"], *uuid);
    let other = begin(&tool, "/vulns/export", &body).await;
    assert_ne!(other, uuid, "an ended job is no conflict");
    assert_eq!(call(&tool, "POST", &format!("/vulns/export/{other}/cancel"), "").await.json()["status"], "CANCELLED");
    assert_eq!(get(&tool, &format!("/vulns/export/{other}/status")).await.json()["status"], "CANCELLED");
}

#[tokio::test]
async fn jobs_end_badly_when_told_to_and_chunks_do_not_live_for_ever() {
    let vendor = Arc::new(Tenable::new(SIZE).in_chunks(4));
    let tool = start_any(vendor.clone(), 0).await.unwrap();
    let body = json!({ "filters": { "since": LONG_AGO } });
    vendor.end_next(Ending::FailedChunks, 1);
    let uuid = begin(&tool, "/vulns/export", &body).await;
    let status = ended(&tool, "/vulns/export", &uuid).await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("FINISHED"), &json!("1 of 5 chunks failed due to an internal error")));
    let of = |list: &str| numbers(&status, list).len();
    assert_eq!((of("chunks_available"), of("chunks_failed"), of("chunks_cancelled")), (2, 1, 2));
    for (ending, word) in [(Ending::Error, "ERROR"), (Ending::Cancelled, "CANCELLED"), (Ending::Whole, "FINISHED")] {
        vendor.end_next(ending, 1);
        let uuid = begin(&tool, "/vulns/export", &body).await;
        assert_eq!(ended(&tool, "/vulns/export", &uuid).await["status"], word);
    }
    let uuid = begin(&tool, "/vulns/export", &body).await;
    ended(&tool, "/vulns/export", &uuid).await;
    vendor.expire();
    assert_eq!(get(&tool, &format!("/vulns/export/{uuid}/chunks/1")).await.status, 404);
    assert_eq!(get(&tool, &format!("/vulns/export/{uuid}/status")).await.json()["status"], "FINISHED");
}

#[tokio::test]
async fn more_than_ten_jobs_at_once_are_refused() {
    let tool = start(Tenable::new(SIZE).queued_for(100), 0).await.unwrap();
    for number in 0..10 {
        begin(&tool, "/vulns/export", &json!({ "filters": { "since": LONG_AGO + number } })).await;
    }
    let answer = call(&tool, "POST", "/assets/v2/export", &json!({ "chunk_size": 1000 }).to_string()).await;
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after: 1") && answer.head.contains("text/html"), "{}", answer.head);
}

#[tokio::test]
async fn a_step_moves_what_it_says() {
    let tool = start(Tenable::new(SIZE), 0).await.unwrap();
    let hosts = json!({ "chunk_size": 1000, "filters": { "types": ["host"] } });
    let before = export(&tool, "/assets/v2/export", "/assets/export", &hosts).await.len();
    assert_eq!(before, tool.vendor.oracle().things.len() + 4, "four were gone before");
    let since = jiff::Timestamp::now().as_second() - 1;
    tool.vendor.step(&Change::ONE_PERCENT);
    let (rows, oracle) = (all(&tool).await, tool.vendor.oracle());
    let listed = ids(&rows);
    let count = |state: &str| oracle.findings.values().filter(|truth| truth.state == state).count();
    assert_eq!(oracle.findings.len(), 3030);
    assert_eq!((count("fixed"), count("gone"), count("risk_accepted")), (30, 30, 15));
    for (key, truth) in &oracle.findings {
        assert_eq!(listed.contains(key), truth.state != "gone", "{key}");
    }
    // Of the new ones, those of the last scan are indexed days after they were found: `since` does not see them.
    let fresh = ids(&vulns(&tool, json!({ "indexed_at": since, "state": ["OPEN", "REOPENED", "FIXED"] })).await);
    let found = ids(&vulns(&tool, json!({ "since": since - 86_400 })).await);
    let late = fresh.difference(&found).filter(|key| oracle.findings.contains_key(*key)).count();
    assert!(late >= 20, "{late}");
    let assets = export(&tool, "/assets/v2/export", "/assets/export", &hosts).await;
    let gone = |row: &&Value| row["timestamps"].get("deleted_at").or(row["timestamps"].get("terminated_at")).is_some();
    let gone = assets.iter().filter(gone).count() - 4;
    assert!(gone > 0);
    assert_eq!(gone, oracle.things.values().filter(|state| **state == "gone").count());
    assert_eq!(assets.len(), before + 4, "four are new");
}

#[tokio::test]
async fn faults_are_shown() {
    let tool = start(Tenable::new(SIZE), 0).await.unwrap();
    tool.faults.add("", 0, 3, Fault::NoRole);
    assert!(get(&tool, "/scans").await.json()["scans"].is_null());
    assert!(all(&tool).await.is_empty());
    tool.faults.clear();
    for (fault, word) in [(Fault::BadItem, "[[1,2],"), (Fault::UnknownEnum, "apocalyptic")] {
        tool.faults.add("finding", 0, 1, fault);
        let rows = all(&tool).await;
        assert_eq!(json!(rows).to_string().matches(word).count(), 1, "{word}");
    }
    let uuid = begin(&tool, "/vulns/export", &json!({})).await;
    ended(&tool, "/vulns/export", &uuid).await;
    tool.faults.add("chunks", 0, 1, Fault::ExpiredCursor);
    for _ in 0..2 {
        assert_eq!(get(&tool, &format!("/vulns/export/{uuid}/chunks/1")).await.status, 404);
    }
    tool.faults.add("status", 0, 1, Fault::ExpiredCursor);
    for _ in 0..2 {
        assert_eq!(get(&tool, &format!("/vulns/export/{uuid}/status")).await.status, 404);
    }
}
