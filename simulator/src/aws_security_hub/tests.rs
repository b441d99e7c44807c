//! Asks the hub as a client does, with true signatures.

use std::collections::{HashMap, HashSet};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, Method, Uri, header},
};
use serde_json::Value;

use super::{signature::tests::authorize, *};

const SIZE: Size = Size { records: 6, findings: 3000, seed: 7 };

struct Client {
    tool: AwsSecurityHub,
    faults: Faults,
    key: String,
    secret: String,
    token: Option<String>,
}

impl Client {
    fn new(tool: AwsSecurityHub) -> Self {
        let user = tool.user.clone();
        Client { tool, faults: Faults::default(), key: user.key, secret: user.secret, token: user.token }
    }

    async fn send(&self, method: Method, target: &str, body: &str, place: (&str, &str), at: Timestamp) -> (u16, String, String) {
        let uri: Uri = target.parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            headers.insert("x-amz-security-token", HeaderValue::from_str(token).unwrap());
        }
        let request = Signed { method: &method, uri: &uri, headers: &headers, body: body.as_bytes() };
        let headers = authorize(request, &self.key, &self.secret, place, at);
        let response = self.tool.answer(Signed { headers: &headers, ..request }, &self.faults);
        let name = response.headers().get("x-amzn-errortype").map(|name| name.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = response.status().as_u16();
        let body: Bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, name, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn call(&self, method: Method, target: &str, body: &str) -> (u16, String, Value) {
        let (status, name, body) = self.send(method, target, body, (self.tool.region(), "securityhub"), Timestamp::now()).await;
        (status, name, serde_json::from_str(&body).unwrap())
    }

    async fn get(&self, target: &str) -> (u16, String, Value) {
        self.call(Method::GET, target, "").await
    }

    async fn find(&self, body: &Value) -> (u16, String, Value) {
        self.call(Method::POST, "/findings", &body.to_string()).await
    }

    /// Every finding that a query lists, and in how many pages.
    async fn list(&self, filters: Value) -> (Vec<Value>, usize) {
        let mut query = json!({ "Filters": filters, "MaxResults": 100, "SortCriteria": [{ "Field": "UpdatedAt", "SortOrder": "asc" }] });
        let (mut findings, mut pages) = (Vec::new(), 0);
        loop {
            let (status, _, body) = self.find(&query).await;
            assert_eq!(status, 200, "{body}");
            findings.extend(body["Findings"].as_array().unwrap().iter().cloned());
            pages += 1;
            match body["NextToken"].as_str() {
                Some(token) if !token.is_empty() => query["NextToken"] = json!(token),
                _ => return (findings, pages),
            }
        }
    }

    async fn count(&self, filters: Value) -> usize {
        self.list(filters).await.0.len()
    }
}

fn equals(values: &[&str]) -> Value {
    values.iter().map(|value| json!({ "Value": value, "Comparison": "EQUALS" })).collect()
}

fn key(body: &Value) -> String {
    let text = |member: &str| body[member].as_str().unwrap();
    format!("{}:{}/{}/{}", text("AwsAccountId"), text("Region"), text("ProductArn"), text("Id"))
}

#[tokio::test]
async fn signatures_are_checked_truly() {
    let mut client = Client::new(AwsSecurityHub::new(SIZE));
    let (home, now) = (("us-east-1", "securityhub"), Timestamp::now());
    let off = |seconds: i64| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    assert_eq!(client.send(Method::GET, "/accounts", "", home, now).await.0, 200);
    assert_eq!(client.send(Method::GET, "/accounts", "", home, off(-290)).await.0, 200);
    for (place, at) in [(("eu-west-1", "securityhub"), now), (("us-east-1", "sts"), now), (home, off(-310)), (home, off(310))] {
        let (status, name, body) = client.send(Method::GET, "/accounts", "", place, at).await;
        assert_eq!((status, name.as_str()), (403, "InvalidSignatureException"), "{body}");
        assert!(body.contains("InvalidSignatureException"), "{body}");
    }
    client.secret.push('x');
    assert_eq!(client.get("/accounts").await.1, "InvalidSignatureException");
    client.key.push('x');
    assert_eq!(client.get("/accounts").await.1, "UnrecognizedClientException");
    let uri = Uri::from_static("/accounts");
    let bare = Signed { method: &Method::GET, uri: &uri, headers: &HeaderMap::new(), body: b"" };
    let response = client.tool.answer(bare, &client.faults);
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-amzn-errortype"]),
        (403, &HeaderValue::from_static("MissingAuthenticationTokenException"))
    );
    let mut client = Client::new(AwsSecurityHub::new(SIZE).with_session_token());
    assert_eq!(client.get("/accounts").await.0, 200);
    client.token = None;
    assert_eq!(client.get("/accounts").await.1, "UnrecognizedClientException");
    let client = Client::new(AwsSecurityHub::new(SIZE).with_expired_session_token());
    assert_eq!(client.get("/accounts").await.1, "ExpiredTokenException");
    let client = Client::new(AwsSecurityHub::new(SIZE).with_clock_off_by(SignedDuration::from_mins(6)));
    assert_eq!(client.get("/accounts").await.1, "InvalidSignatureException");
}

#[tokio::test]
async fn hub_and_aggregator_answer_as_their_mode_is() {
    let client = Client::new(AwsSecurityHub::new(SIZE));
    assert_eq!(client.get("/accounts").await.2["HubArn"], "arn:aws:securityhub:us-east-1:123456789012:hub/default");
    assert_eq!(client.get("/accounts?HubArn=arn%3Aaws%3Aelse").await.0, 404);
    assert_eq!(client.get("/findingAggregator/list?MaxResults=101").await.0, 400);
    let (_, _, list) = client.get("/findingAggregator/list?MaxResults=100").await;
    let arn = list["FindingAggregators"][0]["FindingAggregatorArn"].as_str().unwrap().to_owned();
    let path = format!("/findingAggregator/get/{}", arn.replace(':', "%3A"));
    let (_, _, body) = client.get(&path).await;
    assert_eq!((&body["RegionLinkingMode"], &body["Regions"]), (&json!("SPECIFIED_REGIONS"), &json!(["eu-west-1", "sa-east-1"])));
    assert_eq!(client.get("/findingAggregator/get/arn%3Aaws%3Aelse").await.0, 404);
    assert_eq!(client.get("/elsewhere").await.0, 404);
    assert_eq!(client.call(Method::POST, "/standards/get", "{}").await.0, 403);
    let everywhere = client.count(json!({})).await;
    let records = |tool: &AwsSecurityHub| tool.oracle().records.into_keys().collect::<Vec<_>>().join(" ");
    assert_eq!(
        records(&client.tool),
        "123456789012:eu-west-1 123456789012:sa-east-1 123456789012:us-east-1 211000000007:eu-west-1 211000000007:us-east-1 212000000014:us-east-1"
    );
    for (tool, mode, regions, all) in [
        (AwsSecurityHub::new(SIZE).all_regions(), "ALL_REGIONS", Value::Null, true),
        (AwsSecurityHub::new(SIZE).all_regions_except(), "ALL_REGIONS_EXCEPT_SPECIFIED", json!(["eu-west-1"]), false),
        (AwsSecurityHub::new(SIZE).no_regions(), "NO_REGIONS", json!([]), false),
        (AwsSecurityHub::new(SIZE).wrong_home_region(), "SPECIFIED_REGIONS", json!(["eu-west-1", "sa-east-1"]), false),
    ] {
        let client = Client::new(tool);
        let (_, _, body) = client.get(&path).await;
        assert_eq!((&body["RegionLinkingMode"], &body["Regions"]), (&json!(mode), &regions));
        assert_eq!(body["FindingAggregationRegion"], "us-east-1");
        let count = client.count(json!({})).await;
        assert!(count > 5 && (count == everywhere) == all, "{mode}: {count} of {everywhere}");
    }
    // A region without findings shows only where it is named; the home region is always known.
    assert!(!records(&AwsSecurityHub::new(SIZE).all_regions()).contains("sa-east-1"));
    assert_eq!(records(&AwsSecurityHub::new(SIZE).wrong_home_region()), "123456789012:eu-west-1 211000000007:eu-west-1");
    let client = Client::new(AwsSecurityHub::new(SIZE).without_aggregator());
    assert_eq!(client.get("/findingAggregator/list").await.2, json!({ "FindingAggregators": [] }));
    let client = Client::new(AwsSecurityHub::new(SIZE).not_subscribed());
    let (status, name, body) = client.get("/accounts").await;
    assert_eq!((status, name.split(':').next()), (401, Some("InvalidAccessException")), "{body}");
    let client = Client::new(AwsSecurityHub::new(SIZE).without_permission("securityhub:GetFindings"));
    assert_eq!((client.get("/accounts").await.0, client.find(&json!({})).await.0), (200, 403));
}

#[tokio::test]
async fn pages_hold_everything_once_and_in_order() {
    let client = Client::new(AwsSecurityHub::new(SIZE));
    let (findings, pages) = client.list(json!({})).await;
    let keys: HashSet<String> = findings.iter().map(key).collect();
    assert_eq!((keys.len(), findings.len()), (client.tool.world().rows.len(), keys.len()));
    assert!(pages > findings.len().div_ceil(100), "some pages are short or empty: {pages}");
    let times: Vec<Timestamp> = findings.iter().map(|body| body["UpdatedAt"].as_str().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted());
    let open = client.tool.oracle().findings;
    assert_eq!(open.len(), 3000);
    assert!(open.keys().all(|key| keys.contains(key)));
    for number in [0, 100, 101] {
        let (status, _, _) = client.find(&json!({ "MaxResults": number })).await;
        assert_eq!(status == 200, number == 100, "{number}");
    }
    let first = client.find(&json!({ "MaxResults": 7 })).await.2;
    let token = first["NextToken"].clone();
    for (query, message) in [
        (json!({ "MaxResults": 8, "NextToken": token }), "Input Query has changed"),
        (json!({ "MaxResults": 7, "NextToken": token, "Filters": { "Region": equals(&["us-east-1"]) } }), "Input Query has changed"),
        (json!({ "MaxResults": 7, "NextToken": "nonsense" }), "NextToken"),
    ] {
        let (status, name, body) = client.find(&query).await;
        assert_eq!((status, name.split(':').next()), (400, Some("InvalidInputException")));
        assert!(body["Message"].as_str().unwrap().contains(message), "{body}");
    }
}

#[tokio::test]
async fn filters_are_and_or_and_not_as_documented() {
    let client = Client::new(AwsSecurityHub::new(SIZE));
    let not = |values: &[&str], comparison: &str| -> Value {
        values.iter().map(|value| json!({ "Value": value, "Comparison": comparison })).collect()
    };
    let all = client.count(json!({})).await;
    let home = client.count(json!({ "Region": equals(&["us-east-1"]) })).await;
    let away = client.count(json!({ "Region": equals(&["eu-west-1"]) })).await;
    assert!(home > 0 && away > 0);
    assert_eq!(client.count(json!({ "Region": equals(&["us-east-1", "eu-west-1"]) })).await, all);
    assert_eq!(client.count(json!({ "Region": not(&["us-east-1", "eu-west-1"], "NOT_EQUALS") })).await, 0);
    assert_eq!(client.count(json!({ "Region": not(&["us-"], "PREFIX_NOT_EQUALS") })).await, away);
    assert_eq!(
        client.count(json!({ "Region": equals(&["us-east-1"]), "AwsAccountId": not(&[ACCOUNT], "NOT_EQUALS") })).await,
        client.count(json!({ "Region": not(&["eu"], "PREFIX_NOT_EQUALS"), "AwsAccountId": not(&["21"], "PREFIX") })).await
    );
    let mut mixed = not(&["us"], "PREFIX");
    mixed.as_array_mut().unwrap().push(json!({ "Value": "us-east-1", "Comparison": "NOT_EQUALS" }));
    assert_eq!(client.count(json!({ "Region": mixed })).await, 0);
    assert_eq!(client.count(json!({ "Region": equals(&["US-EAST-1"]) })).await, 0);
    let five = client.list(json!({ "Region": equals(&["eu-west-1"]), "AwsAccountId": equals(&[ACCOUNT]) })).await.0;
    assert_eq!(five.len(), 5);
    let ids: Vec<&str> = five.iter().map(|body| body["Id"].as_str().unwrap()).collect();
    assert_eq!(client.list(json!({ "Id": equals(&ids) })).await.0, five);
    // Controls alone have a status of compliance: what has none fits neither the one nor its opposite.
    let passed = client.count(json!({ "ComplianceStatus": equals(&["PASSED"]) })).await;
    let failed = client.count(json!({ "ComplianceStatus": not(&["PASSED"], "NOT_EQUALS") })).await;
    assert!(passed > 0 && passed + failed < all, "{passed} {failed} {all}");
    let window = json!([{ "Start": "2024-06-01T00:00:00Z", "End": "2025-01-01T00:00:00+00:00" }]);
    let some = client.count(json!({ "UpdatedAt": window })).await;
    assert!(some > 0 && some < all);
    assert_eq!(client.count(json!({ "UpdatedAt": [{ "DateRange": { "Value": 1, "Unit": "DAYS" } }] })).await, 0);
    let words: Vec<String> = (0..21).map(|n| format!("r-{n}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut both = equals(&["a"]);
    both.as_array_mut().unwrap().push(json!({ "Value": "b", "Comparison": "NOT_EQUALS" }));
    let names = [
        "Region",
        "AwsAccountId",
        "RecordState",
        "WorkflowStatus",
        "ProductArn",
        "ProductName",
        "Id",
        "GeneratorId",
        "Type",
        "CompanyName",
        "SeverityLabel",
    ];
    let eleven: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), equals(&["x"]))).collect();
    for refused in [
        json!({ "UpdatedAt": [{ "Start": "2024-06-01T00:00:00Z" }] }),
        json!({ "UpdatedAt": [{ "Start": "yesterday", "End": "2024-06-01T00:00:00Z" }] }),
        json!({ "ProcessedAt": window }),
        json!({ "Region": equals(&words) }),
        json!({ "Region": both }),
        json!({ "Region": not(&["us"], "CONTAINS") }),
        json!({ "Region": equals(&[" "]) }),
        json!({ "Colour": equals(&["red"]) }),
        Value::Object(eleven),
    ] {
        let (status, name, _) = client.find(&json!({ "Filters": refused })).await;
        assert_eq!((status, name.split(':').next()), (400, Some("InvalidInputException")), "{refused}");
    }
    assert_eq!(client.find(&json!({ "SortCriteria": [{ "Field": "Colour", "SortOrder": "asc" }] })).await.0, 400);
    assert_eq!(client.call(Method::POST, "/findings", "[").await.1, "SerializationException");
}

#[tokio::test]
async fn a_step_moves_the_time_of_providers_but_not_of_people() {
    let client = Client::new(AwsSecurityHub::new(SIZE));
    let before: HashMap<String, Value> = client.list(json!({})).await.0.into_iter().map(|body| (key(&body), body)).collect();
    let (mut seen, mut people) = (HashSet::new(), 0);
    for _ in 0..2 {
        client.tool.step(&Change::ONE_PERCENT);
    }
    let recent = client.list(json!({ "UpdatedAt": [{ "DateRange": { "Value": 1, "Unit": "DAYS" } }] })).await.0;
    let recent: HashSet<String> = recent.iter().map(key).collect();
    let after = client.list(json!({})).await.0;
    let oracle = client.tool.oracle();
    for body in &after {
        let key = key(body);
        let (severity, state) = finding::truth(body);
        if let Some(truth) = oracle.findings.get(&key) {
            assert_eq!((truth.severity, Some(truth.state)), (severity, state));
            assert_eq!(truth.record, format!("{}:{}", body["AwsAccountId"].as_str().unwrap(), body["Region"].as_str().unwrap()));
        }
        let Some(old) = before.get(&key) else {
            // It may have been fixed by the second step already.
            assert!(recent.contains(&key) && matches!(state, Some("open" | "fixed")), "{key} {state:?}");
            seen.insert("new");
            continue;
        };
        let by_people = old["Workflow"] != body["Workflow"] || body["Note"] != old["Note"];
        if old != body && by_people && !recent.contains(&key) {
            assert_eq!(old["UpdatedAt"], body["UpdatedAt"]);
            people += 1;
        } else if old != body {
            assert!(recent.contains(&key) || by_people);
        }
        if body["RecordState"] != old["RecordState"] {
            seen.insert("archived");
        }
        if body["Compliance"]["Status"] != old["Compliance"]["Status"] {
            assert_eq!((&body["Compliance"]["Status"], &body["Severity"]["Label"]), (&json!("PASSED"), &json!("INFORMATIONAL")));
            seen.insert("passed");
        }
        match (old["Workflow"]["Status"].as_str(), body["Workflow"]["Status"].as_str()) {
            (Some("RESOLVED" | "SUPPRESSED"), Some("NEW")) => seen.insert("taken up"),
            (_, Some("RESOLVED")) => seen.insert("resolved"),
            (_, Some("SUPPRESSED")) => seen.insert("suppressed"),
            _ => false,
        };
    }
    assert!(people >= 30, "{people}");
    assert_eq!(seen, ["new", "archived", "passed", "taken up", "resolved", "suppressed"].into());
    assert_eq!(oracle.findings.values().filter(|truth| truth.state == "gone").count(), 60);
    for state in ["open", "fixed", "risk_accepted", "false_positive", "gone"] {
        assert!(oracle.findings.values().any(|truth| truth.state == state), "{state}");
    }
    for severity in ["critical", "high", "medium", "low", "info"] {
        assert!(oracle.findings.values().any(|truth| truth.severity == severity), "{severity}");
    }
    assert!(before.values().any(|body| body["Sample"] == json!(true)), "samples");
}

#[tokio::test]
async fn a_walk_goes_on_over_a_step() {
    let client = Client::new(AwsSecurityHub::new(SIZE));
    let query =
        |token: &Value| json!({ "MaxResults": 100, "SortCriteria": [{ "Field": "UpdatedAt", "SortOrder": "asc" }], "NextToken": token });
    let mut keys: HashSet<String> = HashSet::new();
    let mut token = Value::Null;
    for page in 0.. {
        let body = client.find(&query(&token)).await.2;
        keys.extend(body["Findings"].as_array().unwrap().iter().map(key));
        token = body["NextToken"].clone();
        if page == 3 {
            client.tool.step(&Change::ONE_PERCENT);
        }
        if token.as_str().is_none_or(str::is_empty) {
            break;
        }
    }
    let oracle = client.tool.oracle();
    let is_old = |key: &&String| oracle.findings[*key].state == "open" && !key.contains("never");
    let missed = oracle.findings.keys().filter(is_old).filter(|key| !keys.contains(*key)).count();
    assert_eq!(missed, 30, "only the new ones");
}

#[tokio::test]
async fn throttled_answers_have_all_their_names() {
    let client = Client::new(AwsSecurityHub::new(SIZE).throttled_every(2));
    let mut names = Vec::new();
    for _ in 0..6 {
        let (status, name, _) = client.find(&json!({ "MaxResults": 1 })).await;
        if status != 200 {
            names.push((status, name.split(':').next().unwrap().to_owned()));
        }
    }
    let expected = [(429, "TooManyRequestsException"), (400, "ThrottlingException"), (429, "LimitExceededException")];
    assert_eq!(names, expected.map(|(status, name)| (status, name.to_owned())));
    let client = Client::new(AwsSecurityHub::new(SIZE).with_rate_limit());
    let mut good = 0;
    for _ in 0..12 {
        good += usize::from(client.find(&json!({ "MaxResults": 1 })).await.0 == 200);
    }
    assert!((6..12).contains(&good), "{good}");
}

#[tokio::test]
async fn a_role_has_to_be_assumed_with_its_external_id() {
    let mut client = Client::new(AwsSecurityHub::new(SIZE).with_role());
    assert_eq!(client.get("/accounts").await.0, 403);
    let form = |role: &str, id: &str| {
        format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn={}&RoleSessionName=tributary&ExternalId={id}&DurationSeconds=3600",
            role.replace(':', "%3A")
        )
    };
    let (place, now) = (("us-east-1", "sts"), Timestamp::now());
    let (status, _, body) = client.send(Method::POST, "/", &form(sts::ROLE, "wrong"), place, now).await;
    assert!(status == 403 && body.contains("<Code>AccessDenied</Code>"), "{body}");
    let (status, _, body) = client.send(Method::POST, "/", &form("role", "wrong"), place, now).await;
    assert!(status == 400 && body.contains("<Code>ValidationError</Code>"), "{body}");
    let (status, _, body) = client.send(Method::POST, "/", "Action=GetCallerIdentity&Version=2011-06-15", place, now).await;
    assert!(status == 200 && body.contains("<Account>998877665544</Account>"), "{body}");
    let (status, _, body) = client.send(Method::POST, "/", &form(sts::ROLE, sts::EXTERNAL_ID), place, now).await;
    assert_eq!(status, 200, "{body}");
    let part = |name: &str| body.split_once(&format!("<{name}>")).unwrap().1.split('<').next().unwrap().to_owned();
    (client.key, client.secret, client.token) = (part("AccessKeyId"), part("SecretAccessKey"), Some(part("SessionToken")));
    assert_eq!(client.get("/accounts").await.0, 200);
    assert_eq!(client.find(&json!({})).await.0, 200);
    client.secret.push('x');
    let (status, _, body) = client.send(Method::POST, "/", "Action=GetCallerIdentity&Version=2011-06-15", place, now).await;
    assert!(status == 403 && body.contains("<Code>SignatureDoesNotMatch</Code>"), "{body}");
}

#[tokio::test]
async fn faults_of_a_list_are_shown() {
    let client = Client::new(AwsSecurityHub::new(SIZE));
    let query = json!({ "MaxResults": 100 });
    let second = client.find(&query).await.2["NextToken"].clone();
    let ask = async |fault: Fault, token: bool| {
        client.faults.add("finding", 0, 1, fault);
        let mut query = query.clone();
        if token {
            query["NextToken"] = second.clone();
        }
        client.find(&query).await
    };
    let first = client.find(&query).await.2["Findings"].clone();
    assert_eq!(ask(Fault::NoRole, false).await.2["Findings"], json!([]));
    let twice = ask(Fault::DuplicatePage, true).await.2;
    assert_eq!(twice["Findings"], first);
    assert_ne!(twice["NextToken"], second);
    let after = client.find(&json!({ "MaxResults": 100, "NextToken": twice["NextToken"] })).await.2;
    assert_eq!(after["Findings"], client.find(&json!({ "MaxResults": 100, "NextToken": second })).await.2["Findings"]);
    assert_eq!(ask(Fault::RepeatedCursor, true).await.2["NextToken"], second);
    assert_eq!(ask(Fault::ExpiredCursor, true).await.0, 400);
    assert_eq!(ask(Fault::BadItem, false).await.2["Findings"][0], json!([1, 2]));
    assert!(ask(Fault::UnknownEnum, false).await.2.to_string().contains("APOCALYPTIC"));
    client.faults.add("", 0, 1, Fault::NoRole);
    assert_eq!(client.get("/findingAggregator/list").await.2, json!({ "FindingAggregators": [] }));
}
