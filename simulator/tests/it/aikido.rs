//! The simulated Aikido does what its documentation says.

use std::collections::BTreeSet;

use crate::client::{Answer, ask};
use serde_json::Value;
use tributary_simulator::{Change, Running, Size, aikido::Aikido, start};

const SIZE: Size = Size { records: 6, findings: 600, seed: 7 };
const BASIC: &str = "Authorization: Basic QUlLX0NMSUVOVF9zaW0wMTpBSUtfU0VDUkVUX3NpbV83ZDFlMGM1YmE5NGY=";

async fn get(tool: &Running, target: &str) -> Answer {
    let granted = ask(tool, "POST", "/api/oauth/token", BASIC, r#"{"grant_type":"client_credentials"}"#).await.json();
    let token = granted["access_token"].as_str().unwrap().to_owned();
    ask(tool, "GET", &format!("/api/public/v1/{target}"), &format!("Authorization: Bearer {token}"), "").await
}

/// Every row of a list, to the page after which none follows.
async fn walk(tool: &Running, list: &str, size: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    for page in 0.. {
        let answer = get(tool, &format!("{list}page={page}&per_page={size}")).await;
        let Value::Array(page) = answer.json() else { panic!("no list: {answer:?}") };
        let more = if answer.head.contains("x-has-next-page") { answer.head.contains("x-has-next-page: true") } else { page.len() == size };
        rows.extend(page);
        if !more {
            break;
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_of_every_list_hold_what_the_oracle_says() {
    let tool = start(Aikido::new(SIZE), 0).await.unwrap();
    for step in 0..3 {
        let oracle = tool.vendor.oracle();
        let issues = walk(&tool, "issues/export?format=json&", 100).await;
        let keys: BTreeSet<String> = issues.iter().map(|issue| issue["id"].to_string()).collect();
        assert_eq!(keys.len(), issues.len(), "an issue comes twice");
        assert!(oracle.findings.iter().all(|(key, truth)| keys.contains(key) != (truth.state == "gone")), "step {step}");
        let whole = get(&tool, "issues/export?format=json").await.json();
        assert_eq!(whole.as_array().map(Vec::len), Some(issues.len()), "without a page everything comes at once");
        let mut records = BTreeSet::new();
        for (kind, list) in
            [("code_repo", "repositories/code"), ("container_repo", "containers"), ("cloud", "clouds"), ("domain", "domains")]
        {
            records.extend(walk(&tool, &format!("{list}?"), 10).await.iter().map(|place| format!("{kind}:{}", place["id"])));
        }
        assert!(records.iter().eq(oracle.records.keys()), "{records:?}");
        tool.vendor.step(&Change::ONE_PERCENT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_or_not_simulated_is_refused() {
    let tool = start(Aikido::new(SIZE).without_scope("clouds:read"), 0).await.unwrap();
    for (target, status) in [
        ("issues/export?format=json&page=0", 200),
        ("issues/export?format=json&page=0&per_page=5001", 400),
        ("issues/export?format=csv", 400),
        ("issues/export?filter_severities=high", 400),
        ("repositories/code?per_page=9", 400),
        ("open-issue-groups?page=0&per_page=21", 400),
        ("clouds?page=0", 403),
        ("nothing", 404),
    ] {
        assert_eq!(get(&tool, target).await.status, status, "{target}");
    }
    for (header, status) in [(BASIC, 400), ("Authorization: Basic QUlL", 401), ("X-Nothing: 1", 401)] {
        assert_eq!(ask(&tool, "POST", "/api/oauth/token", header, "{}").await.status, status, "{header}");
    }
    assert_eq!(ask(&tool, "GET", "/api/public/v1/domains", "Authorization: Bearer x", "").await.status, 401);
}
