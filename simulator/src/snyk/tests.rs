use std::{
    collections::BTreeSet,
    io::{Read, Write as _},
    net::TcpStream,
};

use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::{Running, start};

const SIZE: Size = Size { records: 6, findings: 600, seed: 7 };
const VERSION: &str = "version=2024-10-15";

struct Client {
    tool: Running,
    authorization: String,
}

impl Client {
    async fn of(tool: Snyk) -> Self {
        Client { tool: start(tool, 0).await.unwrap(), authorization: format!("token {KEY}") }
    }

    /// Status, head and body of the answer to one request.
    fn ask(&self, method: &str, target: &str, kind: &str, body: &str) -> (u16, String, Value) {
        let mut stream = TcpStream::connect(self.tool.url.trim_start_matches("http://")).unwrap();
        let head =
            format!("{method} {target} HTTP/1.1\r\nhost: sim.example\r\nauthorization: {}\r\ncontent-type: {kind}\r\n", self.authorization);
        write!(stream, "{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), serde_json::from_str(body).unwrap_or_default())
    }

    fn get(&self, target: &str) -> (u16, Value) {
        let (status, _, body) = self.ask("GET", target, "application/json", "");
        (status, body)
    }

    fn orgs(&self) -> Vec<String> {
        let (_, body) = self.get(&format!("/rest/orgs?{VERSION}&limit=100"));
        body["data"].as_array().unwrap().iter().map(|org| org["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Every item of a list, following `next` as it is.
    fn walk(&self, target: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), Some(target.to_owned()));
        while let Some(target) = next {
            let (status, body) = self.get(&target);
            assert_eq!(status, 200, "{target}: {body}");
            items.extend(body["data"].as_array().unwrap().iter().cloned());
            next = body["links"]["next"].as_str().map(str::to_owned);
        }
        items
    }

    fn issues(&self, more: &str) -> Vec<Value> {
        let orgs = self.orgs();
        orgs[..2].iter().flat_map(|org| self.walk(&format!("/rest/orgs/{org}/issues?{VERSION}&limit=100{more}"))).collect()
    }
}

fn ids(items: &[Value]) -> BTreeSet<&str> {
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_credential_is_refused_in_the_form_of_each_api() {
    let mut client = Client::of(Snyk::new(SIZE)).await;
    for wrong in ["token nobody".to_owned(), format!("bearer {KEY}"), KEY.to_owned()] {
        client.authorization = wrong;
        let (status, body) = client.get(&format!("/rest/self?{VERSION}"));
        assert_eq!((status, &body["errors"][0]["status"]), (401, &json!("401")));
        let (status, head, body) = client.ask("GET", "/v1/org/x/project/y/ignores", "application/json", "");
        assert_eq!((status, &body["code"], head.contains("x-error-reference")), (401, &json!(401), true));
    }
    client.authorization = format!("Token {KEY}");
    assert_eq!(client.get(&format!("/rest/self?{VERSION}")).0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_are_checked_as_the_specification_says() {
    let client = Client::of(Snyk::new(SIZE)).await;
    let org = &client.orgs()[0];
    for (query, status, parameter) in [
        ("limit=100", 400, "version"),
        ("version=2024-10-15&version=2024-10-15", 400, "version"),
        ("version=today", 400, "version"),
        ("version=2023-10-15", 404, ""),
        ("version=2024-10-15&limit=25", 400, "limit"),
        ("version=2024-10-15&limit=200", 400, "limit"),
        ("version=2024-10-15&limit=0", 400, "limit"),
        ("version=2024-10-15&limit=10&limit=10", 400, "limit"),
        ("version=2024-10-15&status=closed", 400, "status"),
        ("version=2024-10-15&type=code,license", 400, "type"),
        ("version=2024-10-15&effective_severity_level=high,urgent", 400, "effective_severity_level"),
        ("version=2024-10-15&updated_after=yesterday", 400, "updated_after"),
        ("version=2024-10-15&starting_after=v1.nonsense", 400, "starting_after"),
        ("version=2024-10-15&severity=high", 400, "severity"),
        (
            "version=2024-10-15&status=open,resolved&effective_severity_level=info,low&ignored=false&updated_after=2025-01-01T00:00:00%2B02:00",
            200,
            "",
        ),
    ] {
        let (found, body) = client.get(&format!("/rest/orgs/{org}/issues?{query}"));
        let source = body["errors"][0]["source"]["parameter"].as_str().unwrap_or_default();
        assert_eq!((found, source), (status, parameter), "{query}");
    }
    assert_eq!(client.get(&format!("/rest/groups?{VERSION}")).0, 404);
    assert_eq!(client.get(&format!("/rest/groups?{VERSION}~beta")).0, 200);
    assert_eq!(client.get(&format!("/rest/orgs/{org}/targets?{VERSION}&limit=1")).0, 200);
    assert_eq!(client.get(&format!("/rest/orgs/00000000-0000-0000-0000-000000000000/issues?{VERSION}")).0, 404);
    assert_eq!(client.get(&format!("/orgs?{VERSION}")).0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_next_lists_every_issue_once_of_every_kind_and_state() {
    let client = Client::of(Snyk::new(SIZE)).await;
    let issues = client.issues("");
    assert_eq!(ids(&issues).len(), issues.len());
    let oracle = client.tool.vendor.oracle();
    assert!(oracle.findings.keys().all(|key| ids(&issues).contains(key.as_str())));
    // 600 and the three of the inactive project.
    assert_eq!(oracle.findings.len(), 603);
    let words =
        |name: &str| -> BTreeSet<String> { issues.iter().map(|issue| issue["attributes"][name].to_string().replace('"', "")).collect() };
    assert_eq!(words("effective_severity_level").len(), 5);
    assert_eq!(words("type").len(), 6);
    assert_eq!((words("status").len(), words("ignored").len()), (2, 2));
    let parts: usize = ["open", "resolved"].iter().map(|status| client.issues(&format!("&status={status}")).len()).sum();
    assert_eq!(parts, issues.len());
    let projects: Vec<String> = oracle.records.keys().cloned().collect();
    let by_project: usize = projects.iter().map(|id| client.issues(&format!("&scan_item.id={id}&scan_item.type=project")).len()).sum();
    assert_eq!(by_project, issues.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_have_the_form_that_was_chosen() {
    for (links, start) in [
        (Links::Rest, "/rest/orgs/"),
        (Links::Bare, "/orgs/"),
        (Links::Absolute, "http://sim.example/rest/orgs/"),
        (Links::Object, "/rest/orgs/"),
    ] {
        let client = Client::of(Snyk::new(SIZE).links(links)).await;
        let (_, body) = client.get(&format!("/rest/orgs/{}/issues?limit=20&{VERSION}", client.orgs()[0]));
        let next = if links == Links::Object { &body["links"]["next"]["href"] } else { &body["links"]["next"] }.as_str().unwrap();
        assert!(
            next.starts_with(start) && next.contains("limit=20&starting_after=v1.") && next.ends_with(&format!("%3D%3D&{VERSION}")),
            "{next}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_page_is_followed_by_the_one_it_displaced() {
    let client = Client::of(Snyk::new(SIZE)).await;
    let whole = client.issues("");
    client.tool.faults.add("findings", 1, 1, Fault::DuplicatePage);
    let issues = client.issues("");
    assert_eq!((issues.len(), ids(&issues)), (whole.len() + 100, ids(&whole)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_moves_what_it_says() {
    let client = Client::of(Snyk::new(SIZE)).await;
    let before = client.issues("").len();
    let now = Timestamp::now().to_string();
    tokio::time::sleep(Duration::from_millis(5)).await;
    client.tool.vendor.step(&Change { fixed: 2.0, changed: 1.0, new: 1.0, vanished: 1.0 });
    assert_eq!(client.issues("").len(), before);
    let moved = client.issues(&format!("&updated_after={now}"));
    let resolved = moved.iter().filter(|issue| issue["attributes"]["status"] == "resolved").count();
    // 13 of 603 resolved, 7 new, and the one of 7 changed that got another severity: an ignore moves no time.
    assert_eq!((resolved, moved.len()), (13, 13 + 7 + 1));
    let oracle = client.tool.vendor.oracle();
    let count = |state: &str| oracle.findings.values().filter(|truth| truth.state == state).count();
    assert_eq!((count("fixed"), count("gone"), count("false_positive"), count("risk_accepted")), (13, 7, 2, 4));
    for _ in 0..3 {
        client.tool.vendor.step(&Change { fixed: 0.0, changed: 0.0, new: 0.0, vanished: 0.0 });
    }
    assert_eq!(client.issues("&status=resolved").len(), 0);
    assert_eq!(client.tool.vendor.oracle(), oracle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v1_adds_fixes_and_reasons() {
    let client = Client::of(Snyk::new(SIZE)).await;
    let (mut rows, mut reasons) = (0, BTreeSet::new());
    for org in &client.orgs()[..2] {
        for project in client.walk(&format!("/rest/orgs/{org}/projects?{VERSION}&limit=10&expand=target&meta.latest_issue_counts=true")) {
            assert!(project["relationships"]["target"]["data"]["attributes"]["display_name"].is_string());
            assert!(project["meta"]["latest_issue_counts"]["critical"].is_u64());
            let path = format!("/v1/org/{org}/project/{}", project["id"].as_str().unwrap());
            let (status, _, body) =
                client.ask("POST", &format!("{path}/aggregated-issues"), "application/json", r#"{"includeDescription":true}"#);
            assert_eq!(status, 200);
            for issue in body["issues"].as_array().unwrap() {
                assert!(issue["issueData"]["description"].is_string() && issue["issueData"]["identifiers"]["CVE"].is_array());
                rows += 1;
            }
            for ignores in client.get(&format!("{path}/ignores")).1.as_object().unwrap().values() {
                reasons.extend(ignores[0].as_object().unwrap().values().map(|ignore| ignore["reasonType"].as_str().unwrap().to_owned()));
            }
        }
    }
    let packages = client.issues("&type=package_vulnerability&status=open").len() + client.issues("&type=license&status=open").len();
    assert_eq!((rows, reasons.len()), (packages, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_fetches_its_token() {
    let mut client = Client::of(Snyk::new(SIZE).oauth()).await;
    assert_eq!(client.get(&format!("/rest/self?{VERSION}")).0, 401);
    let form = format!("grant_type=client_credentials&client_id={}&client_secret=", CLIENT.0);
    let kind = "application/x-www-form-urlencoded";
    let (status, _, body) = client.ask("POST", "/oauth2/token", kind, &form);
    assert_eq!((status, &body["error"]), (401, &json!("invalid_client")));
    let (status, _, body) = client.ask("POST", "/oauth2/token", kind, &format!("{form}{}", CLIENT.1));
    assert_eq!((status, &body["expires_in"]), (200, &json!(3599)));
    client.authorization = format!("Bearer {}", body["access_token"].as_str().unwrap());
    assert_eq!(client.get(&format!("/rest/self?{VERSION}")).0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_organizations_missing_permissions_and_limits_are_refused() {
    let client = Client::of(Snyk::new(SIZE).with_closed_org()).await;
    let orgs = client.orgs();
    assert_eq!(orgs.len(), 4);
    assert_eq!(client.get(&format!("/rest/orgs/{}/projects?{VERSION}", orgs[3])).0, 403);
    let client = Client::of(Snyk::new(SIZE).without_permission("org.project.ignore.read").in_brownout()).await;
    let project = client.walk(&format!("/rest/orgs/{}/projects?{VERSION}", orgs[0]))[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&format!("/v1/org/{}/project/{project}/ignores", orgs[0])).0, 403);
    assert_eq!(client.ask("POST", &format!("/v1/org/{}/project/{project}/aggregated-issues", orgs[0]), "application/json", "{}").0, 410);
    let client = Client::of(Snyk::new(SIZE).limited(2, Duration::from_secs(60))).await;
    let asked = || client.ask("GET", &format!("/rest/self?{VERSION}"), "application/json", "");
    let (_, head, _) = asked();
    assert!(head.contains("x-ratelimit-remaining: 1\r\n"), "{head}");
    asked();
    let (status, head, body) = asked();
    assert_eq!((status, &body["errors"][0]["status"]), (429, &json!("429")));
    assert!(head.contains("x-ratelimit-remaining: 0\r\n") && head.contains("x-ratelimit-reset: 60\r\n"), "{head}");
}
