use std::{
    collections::BTreeSet,
    io::{Read, Write as _},
    net::TcpStream,
};

use super::*;
use crate::{Running, start};

const SIZE: Size = Size { records: 6, findings: 3000, seed: 7 };
const TOKEN: &str = "/auth/realms/acme-corp/protocol/openid-connect/token";

struct Client {
    tool: Running,
    token: String,
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl Client {
    async fn of(tool: Checkmarx) -> Self {
        let mut client = Client { tool: start(tool, 0).await.unwrap(), token: String::new() };
        let field = |name: &str| client.field(name);
        let form = match field("secret") {
            Some(key) => format!("grant_type=refresh_token&client_id=ast-app&refresh_token={key}"),
            None => format!(
                "grant_type=client_credentials&client_id={}&client_secret={}",
                field("client_id").unwrap(),
                encoded(&field("client_secret").unwrap())
            ),
        };
        let (status, body) = client.post(TOKEN, &form);
        assert_eq!((status, body["token_type"].as_str()), (200, Some("Bearer")));
        client.token = body["access_token"].as_str().unwrap().to_owned();
        client
    }

    fn field(&self, name: &str) -> Option<String> {
        self.tool.vendor.fields(&self.tool.url).into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn ask(&self, method: &str, target: &str, token: &str, body: &str) -> (u16, Value) {
        let host = self.tool.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    fn post(&self, target: &str, form: &str) -> (u16, Value) {
        self.ask("POST", target, "", form)
    }

    fn get(&self, target: &str) -> (u16, Value) {
        self.ask("GET", target, &self.token, "")
    }

    /// The scan that counts of each project that has one.
    fn scans(&self) -> Vec<Value> {
        let (_, projects) = self.get("/api/projects?limit=100");
        let newest = |project: &Value| {
            let id = project["id"].as_str().unwrap();
            let branch = project["mainBranch"].as_str().unwrap();
            let branches = if branch.is_empty() { String::new() } else { format!("&branches={branch}") };
            let query = format!("/api/scans?project-id={id}&statuses=Completed,Partial&sort=-created_at&limit=1{branches}");
            self.get(&query).1["scans"][0].clone()
        };
        projects["projects"].as_array().unwrap().iter().map(newest).filter(Value::is_object).collect()
    }

    /// All results of a scan, in pages of 1000, where `offset` counts pages.
    fn results(&self, scan: &Value) -> Vec<Value> {
        let mut all = Vec::new();
        for page in 0.. {
            let (status, body) = self.get(&format!("/api/results?scan-id={}&offset={page}&limit=1000", scan["id"].as_str().unwrap()));
            assert_eq!(status, 200);
            let Some(rows) = body["results"].as_array() else { break };
            all.extend(rows.iter().cloned());
        }
        all
    }

    fn all(&self) -> Vec<Value> {
        self.scans().iter().flat_map(|scan| self.results(scan)).collect()
    }

    fn count(&self, state: &str) -> usize {
        self.tool.vendor.oracle().findings.values().filter(|truth| truth.state == state).count()
    }
}

fn is_open(result: &&Value) -> bool {
    result["state"] != "NOT_EXPLOITABLE" && result["status"] != "FIXED"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_endpoint_refuses_in_the_words_of_keycloak() {
    let client = Client::of(Checkmarx::new(SIZE)).await;
    let key = client.field("secret").unwrap();
    let good = format!("grant_type=refresh_token&client_id=ast-app&refresh_token={key}");
    for (target, form, status, error) in [
        ("/auth/realms/Acme-Corp/protocol/openid-connect/token", good.as_str(), 404, "Realm does not exist"),
        (TOKEN, "grant_type=refresh_token&client_id=ast-app&refresh_token=eyJ.wrong.key", 400, "invalid_grant"),
        (TOKEN, "grant_type=refresh_token&client_id=nobody&refresh_token=x", 401, "invalid_client"),
        (TOKEN, "grant_type=client_credentials&client_id=nobody&client_secret=x", 401, "invalid_client"),
        (TOKEN, "client_id=ast-app", 400, "invalid_request"),
        (TOKEN, "grant_type=password&client_id=ast-app", 400, "unsupported_grant_type"),
    ] {
        let (found, body) = client.post(target, form);
        assert_eq!((found, body["error"].as_str()), (status, Some(error)), "{form}");
    }
    let (_, body) = client.post(TOKEN, &good);
    let again = format!("grant_type=refresh_token&client_id=ast-app&refresh_token={}", body["refresh_token"].as_str().unwrap());
    assert_eq!(client.post(TOKEN, &again).0, 400);
    let client = Client::of(Checkmarx::new(SIZE).oauth()).await;
    let wrong = "grant_type=client_credentials&client_id=tributary-reader&client_secret=s1m+cl";
    assert_eq!(client.post(TOKEN, wrong).1["error"], "unauthorized_client");
    assert_eq!(client.post(TOKEN, &good).1["error"], "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_live_access_token_of_a_role_is_let_in() {
    let client = Client::of(Checkmarx::new(SIZE).tokens(Duration::from_secs(1800), 2)).await;
    assert_eq!(client.ask("GET", "/api/projects", &client.field("secret").unwrap(), "").0, 401);
    assert_eq!([client.get("/api/projects").0, client.get("/api/projects").0, client.get("/api/projects").0], [200, 200, 401]);
    let client = Client::of(Checkmarx::new(SIZE).tokens(Duration::from_millis(30), u32::MAX)).await;
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(client.get("/api/projects").0, 401);
    let client = Client::of(Checkmarx::new(SIZE).without_role("view-results")).await;
    let (status, body) = client.get("/api/results?scan-id=x");
    assert_eq!((status, &body["code"], client.get("/api/scans").0), (403, &json!(403), 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_are_checked() {
    let client = Client::of(Checkmarx::new(SIZE)).await;
    let id = client.scans()[0]["id"].as_str().unwrap().to_owned();
    for (target, status) in [
        ("/api/results".to_owned(), 400),
        ("/api/results?scan-id=7".to_owned(), 400),
        ("/api/results?scan-id=00000000-0000-4000-8000-000000000000".to_owned(), 404),
        (format!("/api/results?scan-id={id}&limit=10001"), 400),
        (format!("/api/results?scan-id={id}&limit=10000&severity=HIGH,LOW&sort=-severity&exclude-result-types=NONE"), 200),
        (format!("/api/results?scan-id={id}&severity=URGENT"), 400),
        (format!("/api/results?scan-id={id}&sort=%2Bstatus"), 200),
        ("/api/scans?sort=+created_at".to_owned(), 400),
        ("/api/scans?sort=%2Bcreated_at".to_owned(), 200),
        ("/api/scans?statuses=Done".to_owned(), 400),
        ("/api/projects?offset=-1".to_owned(), 400),
        ("/api/projects/last-scan?scan-status=Completed,Partial".to_owned(), 400),
        ("/api/projects/last-scan?project-ids=a&application-id=b".to_owned(), 400),
        ("/api/applications?limit=100".to_owned(), 200),
        ("/api/unheard-of".to_owned(), 404),
    ] {
        assert_eq!(client.get(&target).0, status, "{target}");
    }
    assert_eq!(client.get("/api/projects?offset=8").1["projects"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scans_that_count_list_what_the_oracle_says() {
    let client = Client::of(Checkmarx::new(SIZE)).await;
    let results = client.all();
    let words = |name: &str| -> BTreeSet<&str> { results.iter().filter_map(|result| result[name].as_str()).collect() };
    assert_eq!((words("type").len(), words("status").len(), words("state").len()), (8, 3, 6));
    assert!(["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO", "high"].iter().all(|word| words("severity").contains(word)));
    assert_eq!(results.iter().filter(is_open).count(), 3000);
    assert_eq!((client.tool.vendor.oracle().findings.len(), client.tool.vendor.oracle().records.len()), (3000, 8));
    // Ids repeat: two packages of one project share a CVE.
    let ids: BTreeSet<String> = results.iter().map(|result| format!("{}{}", result["type"], result["id"])).collect();
    assert!(ids.len() < results.len());
    // One project was scanned with a failing engine, and its newest completed scan is an old one.
    assert_eq!(client.scans().iter().filter(|scan| scan["status"] == "Partial").count(), 1);
    let (_, last) = client.get("/api/projects/last-scan?limit=200");
    assert_eq!(last.as_object().unwrap().values().filter(|scan| scan.is_null()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offset_counts_pages_or_rows() {
    for (tool, shared) in [(Checkmarx::new(SIZE), 0), (Checkmarx::new(SIZE).offset_in_items(), 999)] {
        let client = Client::of(tool).await;
        let scan = client.scans().pop().unwrap()["id"].as_str().unwrap().to_owned();
        let page = |offset: usize| -> BTreeSet<String> {
            let (_, body) = client.get(&format!("/api/results?scan-id={scan}&offset={offset}&limit=1000"));
            body["results"].as_array().unwrap().iter().map(|result| format!("{}{}", result["firstScanId"], result["id"])).collect()
        };
        assert_eq!(page(0).intersection(&page(1)).count(), shared);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_moves_what_it_says() {
    let client = Client::of(Checkmarx::new(SIZE)).await;
    let scans = client.scans();
    client.tool.vendor.step(&Change { fixed: 2.0, changed: 1.0, new: 1.0, vanished: 1.0 });
    // Half of 60 that are fixed are told; 8 of 30 that people changed are no longer open.
    assert_eq!((client.count("fixed"), client.count("gone"), client.count("false_positive")), (30, 60, 8));
    let results = client.all();
    assert_eq!(results.iter().filter(is_open).count(), 3000 - 90 - 8 + 30);
    assert_eq!(client.count("open"), 3000 - 90 - 8 + 30);
    // One project is not scanned again, and still changes by people's decisions.
    let again = client.scans();
    assert_eq!(again.iter().filter(|scan| scans.contains(scan)).count(), 2);
    let oracle = client.tool.vendor.oracle();
    client.tool.vendor.step(&Change { fixed: 0.0, changed: 0.0, new: 0.0, vanished: 0.0 });
    assert_eq!(client.tool.vendor.oracle(), oracle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_engine_lists_nothing_and_closes_nothing() {
    let client = Client::of(Checkmarx::new(SIZE).with_failing_engine()).await;
    let kics = |client: &Client| {
        let results = client.results(&client.scans().pop().unwrap());
        results.iter().filter(|result| result["type"] == "kics").filter(is_open).count()
    };
    let before = kics(&client);
    client.tool.vendor.step(&Change { fixed: 0.0, changed: 0.0, new: 1.0, vanished: 1.0 });
    let scan = client.scans().pop().unwrap();
    let failed = scan["statusDetails"].as_array().unwrap().iter().find(|detail| detail["status"] == "Failed").unwrap();
    assert_eq!((&scan["status"], &failed["name"], kics(&client)), (&json!("Partial"), &json!("kics"), 0));
    client.tool.vendor.step(&Change { fixed: 0.0, changed: 0.0, new: 1.0, vanished: 0.0 });
    assert!(kics(&client) >= before);
}
