use std::{
    collections::BTreeSet,
    io::{Read, Write as _},
    net::TcpStream,
};

use super::*;
use crate::{Running, start};

const SIZE: Size = Size { records: 6, findings: 600, seed: 7 };

struct Client {
    tool: Running,
    agent: &'static str,
    authorization: String,
}

impl Client {
    async fn of(tool: Probely) -> Self {
        Client { tool: start(tool, 0).await.unwrap(), agent: "tributary/1.0", authorization: format!("JWT {KEY}") }
    }

    /// Status and body of the answer to one request.
    fn ask(&self, target: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.tool.url.trim_start_matches("http://")).unwrap();
        let (agent, authorization) = (self.agent, &self.authorization);
        let agent = if agent.is_empty() { String::new() } else { format!("user-agent: {agent}\r\n") };
        write!(stream, "GET {target} HTTP/1.1\r\nhost: sim\r\n{agent}authorization: {authorization}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    fn get(&self, target: &str) -> (u16, Value) {
        let (status, body) = self.ask(target);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// All rows of a list, 50 to a page.
    fn walk(&self, list: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        for page in 1.. {
            let (status, body) = self.get(&format!("{list}?page={page}&length=50&ordering=-last_found"));
            assert_eq!((status, &body["page"]), (200, &json!(page)));
            rows.extend(body["results"].as_array().unwrap().iter().cloned());
            if body["page_total"] == json!(page) {
                assert_eq!(body["count"], json!(rows.len()));
                break;
            }
        }
        rows
    }
}

fn keys(findings: &[Value]) -> BTreeSet<String> {
    findings.iter().map(|finding| format!("{}/{}", finding["target"]["id"].as_str().unwrap(), finding["id"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_name_is_refused_by_the_proxy() {
    let mut client = Client::of(Probely::new(SIZE)).await;
    for agent in ["", "Python-urllib/3.12", "Go-http-client/2.0"] {
        client.agent = agent;
        let (status, body) = client.ask("/profile/");
        assert!(status == 403 && body.contains("1010") && body.starts_with("<!doctype html>"), "{agent}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_credential_is_refused() {
    let mut client = Client::of(Probely::new(SIZE)).await;
    assert_eq!(client.get("/profile/").1["is_apiuser"], true);
    for (wrong, detail) in [
        ("JWT nobody".to_owned(), "Incorrect authentication credentials."),
        (format!("Bearer {KEY}"), "Authentication credentials were not provided."),
        (KEY.to_owned(), "Authentication credentials were not provided."),
    ] {
        client.authorization = wrong;
        let (status, body) = client.get("/targets/");
        assert_eq!((status, body["detail"].as_str()), (401, Some(detail)));
    }
    assert_eq!(Client::of(Probely::new(SIZE).of_another_region()).await.get("/profile/").0, 401);
    let client = Client::of(Probely::new(SIZE).without_permission("view_target")).await;
    assert_eq!((client.get("/profile/").0, client.get("/targets/").0, client.get("/findings/").0), (200, 403, 403));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_filters_are_as_the_tool_has_them() {
    let client = Client::of(Probely::new(SIZE)).await;
    for (target, status, length) in [
        ("/findings", 301, None),
        ("/findings/", 200, Some(10)),
        ("/findings/?length=0", 200, Some(10)),
        ("/findings/?length=20000", 200, Some(10_000)),
        ("/findings/?page=0", 404, None),
        ("/findings/?page=999&length=50", 404, None),
        ("/findings/?state=done", 400, None),
        ("/findings/?state=fixed&state=invalid&severity=40&nonsense=1&ordering=nonsense", 200, Some(10)),
        ("/targets/nobody/findings/", 404, None),
        ("/unheard-of/", 404, None),
    ] {
        let (found, body) = client.get(target);
        assert_eq!((found, body["length"].as_u64()), (status, length), "{target}");
    }
    let capped = Client::of(Probely::new(SIZE).with_pages_of(25)).await;
    let (_, body) = capped.get("/findings/?length=100");
    assert_eq!((&body["length"], body["results"].as_array().unwrap().len()), (&json!(25), 25));
    let (_, targets) = client.get("/targets/?length=100");
    let empty = targets["results"][0]["id"].as_str().unwrap();
    let (_, body) = client.get(&format!("/targets/{empty}/findings/?length=50"));
    assert_eq!(body, json!({ "count": 0, "page_total": 1, "page": 1, "length": 50, "results": [] }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_kinds_of_list_hold_what_the_oracle_says() {
    let client = Client::of(Probely::new(SIZE)).await;
    let (all, targets) = (client.walk("/findings/"), client.walk("/targets/"));
    let by_target: Vec<Value> =
        targets.iter().flat_map(|target| client.walk(&format!("/targets/{}/findings/", target["id"].as_str().unwrap()))).collect();
    assert_eq!((keys(&all).len(), keys(&all)), (all.len(), keys(&by_target)));
    let oracle = client.tool.vendor.oracle();
    assert_eq!((oracle.findings.len(), oracle.records.len()), (600, 6));
    assert!(oracle.findings.keys().all(|key| keys(&all).contains(key)));
    let words = |name: &str| -> BTreeSet<String> { all.iter().map(|finding| finding[name].to_string()).collect() };
    assert_eq!((words("state").len(), words("severity").len()), (5, 5));
    let ids: BTreeSet<String> = oracle.records.keys().map(|id| id.to_lowercase()).collect();
    assert!(ids.len() == 5 && oracle.records.keys().any(|id| id.starts_with('-')));
    // Secrets of the scanned site are everywhere, and one answer is large.
    assert!(all.iter().all(|finding| finding.to_string().matches(CANARY).count() > 5));
    assert!(all.iter().any(|finding| finding.to_string().len() > 200_000));
    let (_, one) = client.get(&format!("/targets/{}/findings/1/", targets[1]["id"].as_str().unwrap()));
    assert!(one["target"]["name"] == "" && targets[1].get("name").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_sees_only_its_targets() {
    let client = Client::of(Probely::new(SIZE).scoped_to(2)).await;
    assert_eq!(client.walk("/targets/").len(), 2);
    assert_eq!(client.tool.vendor.oracle().findings.len(), 5);
    assert!(client.walk("/findings/").len() < 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_moves_what_it_says() {
    let client = Client::of(Probely::new(SIZE)).await;
    let count = |state: &str| client.tool.vendor.oracle().findings.values().filter(|truth| truth.state == state).count();
    let before = client.walk("/findings/").len();
    client.tool.vendor.step(&Change { fixed: 2.0, changed: 1.0, new: 1.0, vanished: 1.0 });
    assert_eq!(
        (count("fixed"), count("gone"), count("risk_accepted"), count("false_positive"), count("open")),
        (12, 6, 2, 2, 600 - 12 - 6 - 4 + 6)
    );
    assert_eq!(client.walk("/findings/").len(), before);
    // The last target was scanned again, which found its open findings once more and changed none of them.
    let (_, targets) = client.get("/targets/?length=100");
    let last = &targets["results"][5];
    let scan = last["last_scan"]["id"].as_str().unwrap();
    let (_, body) = client.get(&format!("/targets/{}/findings/?length=1000&scan={scan}", last["id"].as_str().unwrap()));
    assert!(body["count"].as_u64().unwrap() > 100 && body["results"][0]["last_found"] == last["last_scan"]["started"]);
    let (_, body) = client.get("/findings/?ordering=-changed&length=100");
    let newest = &body["results"][0]["changed"];
    assert_eq!(body["results"].as_array().unwrap().iter().filter(|finding| &finding["changed"] == newest).count(), 12 + 6 + 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_target_takes_its_findings_out_of_sight() {
    let client = Client::of(Probely::new(SIZE).losing_a_target()).await;
    let before = client.tool.vendor.oracle();
    client.tool.vendor.step(&Change { fixed: 0.0, changed: 0.0, new: 0.0, vanished: 0.0 });
    let after = client.tool.vendor.oracle();
    assert_eq!((after.records.len(), client.walk("/targets/").len()), (5, 5));
    assert_eq!(after.findings, before.findings);
    assert!(client.walk("/findings/").iter().all(|finding| after.records.contains_key(finding["target"]["id"].as_str().unwrap())));
}
