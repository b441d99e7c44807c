//! The simulated Semgrep does what its documentation says.

use std::collections::BTreeSet;

use crate::client::{Answer, ask};
use serde_json::Value;
use tributary_simulator::{Change, Fault, Running, Size, semgrep::Semgrep, start};

const SIZE: Size = Size { records: 6, findings: 3000, seed: 7 };
const FINDINGS: &str = "/api/v1/deployments/acme-corp/findings";

async fn get(tool: &Running, target: &str) -> Answer {
    let (_, token) = tool.vendor.fields(&tool.url).remove(0);
    ask(tool, "GET", target, &format!("Authorization: Bearer {token}"), "").await
}

/// Every row of a listing by page.
async fn pages(tool: &Running, query: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for page in 0.. {
        let mut answer = get(tool, &format!("{FINDINGS}?page_size=500&page={page}&{query}")).await.json();
        let Value::Array(page) = answer["findings"].take() else { panic!("no list: {answer}") };
        if page.is_empty() {
            break;
        }
        rows.extend(page);
    }
    rows
}

/// Every row of the secrets.
async fn secrets(tool: &Running) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let escaped = cursor.replace('+', "%2B").replace('=', "%3D");
        let mut answer = get(tool, &format!("/api/v1/deployments/4120/secrets?limit=100&cursor={escaped}")).await.json();
        let Value::Array(page) = answer["findings"].take() else { panic!("no list: {answer}") };
        rows.extend(page);
        answer["cursor"].as_str().unwrap_or_default().clone_into(&mut cursor);
        if cursor.is_empty() {
            return rows;
        }
    }
}

fn keys(kind: &str, rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| format!("{kind}:{}", row["id"].as_str().map_or_else(|| row["id"].to_string(), str::to_owned))).collect()
}

async fn all_keys(tool: &Running) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (kind, list) in [("sast", "sast"), ("sca", "sca"), ("ai_sast", "sast")] {
        all.extend(keys(list, &pages(tool, &format!("dedup=true&issue_type={kind}")).await));
    }
    all.extend(keys("secrets", &secrets(tool).await));
    all
}

#[tokio::test]
async fn a_token_without_the_scope_finds_no_path_and_a_wrong_one_is_refused() {
    let tool = start(Semgrep::new(SIZE), 0).await.unwrap();
    assert_eq!(ask(&tool, "GET", "/api/v1/deployments", "Authorization: Bearer wrong", "").await.status, 401);
    assert_eq!(ask(&tool, "GET", "/api/v1/ping", "Accept: */*", "").await.status, 200);
    assert_eq!(get(&tool, "/api/v1/deployments").await.json()["deployments"][0]["slug"], "acme-corp");
    assert_eq!(get(&tool, "/api/v1/deployments/other/findings").await.status, 404);
    assert_eq!(get(&tool, "/api/v1/nothing").await.status, 404);
    let tool = start(Semgrep::new(SIZE).without_scope(), 0).await.unwrap();
    assert_eq!(get(&tool, "/api/v1/deployments").await.status, 404);
    assert_eq!(get(&tool, FINDINGS).await.status, 404);
}

#[tokio::test]
async fn every_open_finding_of_the_oracle_is_listed_once() {
    let tool = start(Semgrep::new(SIZE), 0).await.unwrap();
    let listed = all_keys(&tool).await;
    let oracle = tool.vendor.oracle();
    assert_eq!(oracle.findings.len(), 3000);
    assert!(oracle.findings.keys().all(|key| listed.contains(key)));
    assert!(listed.len() > 3000, "some are closed from the beginning");
    let states: BTreeSet<_> = pages(&tool, "dedup=true").await.iter().map(|row| row["status"].to_string()).collect();
    assert_eq!(states.len(), 6, "{states:?}");
    assert_eq!(get(&tool, "/api/v1/deployments/acme-corp/projects").await.count("projects"), 6);
}

#[tokio::test]
async fn branches_multiply_findings_unless_told_otherwise() {
    let tool = start(Semgrep::new(SIZE), 0).await.unwrap();
    let (all, once) = (pages(&tool, "").await, pages(&tool, "dedup=true").await);
    assert!(all.len() > once.len() * 5 / 4, "{} {}", all.len(), once.len());
    assert_eq!(keys("", &all).into_iter().collect::<BTreeSet<_>>().len(), all.len());
    let main = pages(&tool, "ref=_default").await;
    assert!(main.len() < once.len() && main.iter().all(|row| row["ref"] == "main"));
    let time = |row: &Value| row["relevant_since"].as_str().unwrap().replace(' ', "T")[..26].to_owned();
    assert!(once.windows(2).all(|pair| time(&pair[0]) >= time(&pair[1])));
}

#[tokio::test]
async fn pages_outside_the_limits_and_unknown_words_are_refused() {
    let tool = start(Semgrep::new(SIZE), 0).await.unwrap();
    for query in ["page_size=99", "page_size=3001", "page=-1", "issue_type=secrets", "status=removed", "severities=info", "since=yesterday"]
    {
        assert_eq!(get(&tool, &format!("{FINDINGS}?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(get(&tool, &format!("{FINDINGS}?undocumented=1")).await.count("findings"), 100);
    assert_eq!(get(&tool, "/api/v1/deployments/4120/secrets?cursor=x").await.status, 400);
    assert_eq!(get(&tool, "/api/v1/deployments/acme-corp/secrets").await.status, 400);
    let repeated = pages(&tool, "severities=low&severities=high").await.len();
    assert!(repeated > 0 && repeated == pages(&tool, "severities=low,high").await.len());
    let one = pages(&tool, "repos=ACME/billing-0&dedup=true").await;
    assert!(!one.is_empty() && one.iter().all(|row| row["repository"]["name"] == "acme/billing-0"));
    assert_eq!(one.len(), pages(&tool, "repository_ids=1300017&dedup=true").await.len());
}

#[tokio::test]
async fn a_step_moves_what_it_says_and_new_findings_come_first() {
    let tool = start(Semgrep::new(SIZE), 0).await.unwrap();
    let before = all_keys(&tool).await;
    tool.vendor.step(&Change::ONE_PERCENT);
    let (listed, oracle) = (all_keys(&tool).await, tool.vendor.oracle());
    let count = |state: &str| oracle.findings.values().filter(|truth| truth.state == state).count();
    assert_eq!(oracle.findings.len(), 3030);
    assert!((25..=35).contains(&count("fixed")), "{}", count("fixed"));
    assert!((25..=35).contains(&count("gone")), "{}", count("gone"));
    for (key, truth) in &oracle.findings {
        assert_eq!(listed.contains(key), truth.state != "gone" || key.starts_with("secrets:"), "{key}");
    }
    let first = get(&tool, &format!("{FINDINGS}?dedup=true")).await.json()["findings"][0].clone();
    assert!(!before.contains(&keys("sast", &[first])[0]));
    let since = jiff::Timestamp::now().as_second() - 60;
    assert_eq!(pages(&tool, &format!("dedup=true&since={since}.5")).await.len(), 16, "30 new ones, 16 of them of code");
}

#[tokio::test]
async fn what_is_reintroduced_is_open_again_and_comes_first() {
    let tool = Semgrep::new(SIZE);
    let key = tool.reintroduce().unwrap();
    let tool = start(tool, 0).await.unwrap();
    let kind = key.split(':').next().unwrap();
    let first = &get(&tool, &format!("{FINDINGS}?dedup=true&issue_type={kind}")).await.json()["findings"][0];
    assert_eq!((first["status"].as_str(), first["triage_state"].as_str()), (Some("open"), Some("reopened")));
    assert_eq!(tool.vendor.oracle().findings[&key].state, "open");
}

#[tokio::test]
async fn a_renamed_project_has_its_new_name_everywhere() {
    let tool = Semgrep::new(SIZE);
    let id = tool.rename(1, "acme/new-name");
    let tool = start(tool, 0).await.unwrap();
    assert_eq!(tool.vendor.oracle().records[&id.to_string()], "acme/new-name");
    assert_eq!(get(&tool, "/api/v1/deployments/acme-corp/projects").await.json()["projects"][1]["name"], "acme/new-name");
    assert!(!pages(&tool, "repos=acme/new-name").await.is_empty());
    assert!(pages(&tool, "repos=acme/billing-0").await.is_empty());
}

#[tokio::test]
async fn before_june_2026_the_listing_silently_ends_after_50_000_rows() {
    let size = Size { records: 3, findings: 84_000, seed: 7 };
    let tool = start(Semgrep::new(size).may_2026(), 0).await.unwrap();
    let page = |number| format!("{FINDINGS}?page_size=2500&page={number}");
    assert_eq!(get(&tool, &page(19)).await.count("findings"), 2500);
    assert_eq!(get(&tool, &page(20)).await.count("findings"), 0);
    assert!(!get(&tool, &page(0)).await.text.contains("OPS-"), "those with a ticket are missing");
}

#[tokio::test]
async fn faults_of_lists_are_shown() {
    let tool = start(Semgrep::new(SIZE), 0).await.unwrap();
    tool.faults.add("", 0, 3, Fault::NoRole);
    assert_eq!(get(&tool, "/api/v1/deployments").await.count("deployments"), 0);
    assert_eq!(get(&tool, "/api/v1/deployments/acme-corp/projects").await.count("projects"), 0);
    assert_eq!(get(&tool, FINDINGS).await.count("findings"), 0);
    tool.faults.add("finding", 0, 1, Fault::BadItem);
    assert_eq!(get(&tool, FINDINGS).await.json()["findings"][0], serde_json::json!([1, 2]));
    for target in [FINDINGS, "/api/v1/deployments/4120/secrets"] {
        tool.faults.add("finding", 0, 1, Fault::UnknownEnum);
        assert!(get(&tool, target).await.text.to_lowercase().contains("apocalyptic"));
    }
    let cursor = get(&tool, "/api/v1/deployments/4120/secrets").await.json()["cursor"].as_str().unwrap().replace('+', "%2B");
    let next = format!("/api/v1/deployments/4120/secrets?cursor={}", cursor.replace('=', "%3D"));
    tool.faults.add("secrets", 0, 1, Fault::ExpiredCursor);
    assert_eq!(get(&tool, &next).await.status, 400);
    tool.faults.add("secrets", 0, 1, Fault::RepeatedCursor);
    assert_eq!(get(&tool, &next).await.json()["cursor"].as_str().unwrap().replace('+', "%2B"), cursor);
    let first = get(&tool, FINDINGS).await.json()["findings"].clone();
    tool.faults.add("finding", 0, 1, Fault::DuplicatePage);
    assert_eq!(get(&tool, &format!("{FINDINGS}?page=1")).await.json()["findings"], first);
}
