//! Checkmarx One.

use std::sync::Mutex;

use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;
use tributary_connectors::{
    DynConnector, Error, Job, RecordRef,
    model::{Category, Severity, State},
};
use tributary_simulator::Running;

use super::*;

const KEY: &str = "an+api key/with%signs";

/// A tenant whose answers a test gives, by path and query; what it was asked is noted.
#[derive(Clone, Default)]
struct Tool {
    project: Value,
    scans: Vec<Value>,
    /// Results by scan.
    results: HashMap<String, Vec<Value>>,
    /// Instead of the number of results.
    total: Option<u64>,
    in_rows: bool,
    /// Paths that are refused, and how.
    refused: Vec<(&'static str, u16, Value)>,
    /// The bytes of the answer with the access token, instead of those that it should have.
    token: Option<Vec<u8>>,
    asked: Arc<Mutex<Vec<String>>>,
}

fn project() -> Value {
    json!({ "id": "p-1", "name": "shop", "mainBranch": "main", "repoUrl": "https://git.example/shop", "criticality": 3,
        "applicationIds": ["a-2", "a-9", "a-1"], "tags": { "team": "red", "legacy": "" }, "groups": [] })
}

fn scan(id: &str, branch: &str, details: &[(&str, &str)]) -> Value {
    let engines: Vec<&str> = details.iter().map(|(name, _)| *name).collect();
    let whole = details.iter().all(|(_, status)| *status == "Completed");
    let details: Vec<Value> = details.iter().map(|(name, status)| json!({ "name": name, "status": status, "details": "" })).collect();
    json!({ "id": id, "branch": branch, "status": if whole { "Completed" } else { "Partial" }, "engines": engines, "statusDetails": details })
}

fn everything(id: &str) -> Value {
    let done = ["sast", "sca", "kics", "containers", "microengines"].map(|name| (name, "Completed"));
    scan(id, "main", &done)
}

impl Tool {
    /// One whole scan with these results.
    fn of(results: Vec<Value>) -> Self {
        Tool { project: project(), scans: vec![everything("s-1")], results: [("s-1".to_owned(), results)].into(), ..Tool::default() }
    }

    fn answer(&self, uri: &Uri, body: &str) -> (StatusCode, Value) {
        let query: HashMap<String, String> = url(uri).query_pairs().into_owned().collect();
        let of = |name: &str| query.get(name).map_or("", String::as_str);
        let (offset, limit) = (of("offset").parse::<usize>().unwrap_or(0), of("limit").parse::<usize>().unwrap_or(20));
        let page = |rows: &[Value], from: usize| rows.iter().skip(from).take(limit).cloned().collect::<Vec<_>>();
        if let Some((_, status, body)) = self.refused.iter().find(|(path, ..)| *path == uri.path()) {
            return (StatusCode::from_u16(*status).unwrap(), body.clone());
        }
        let body = match uri.path() {
            "/auth/realms/acme/protocol/openid-connect/token" => {
                self.asked.lock().unwrap().push(body.to_owned());
                json!({ "access_token": "granted", "expires_in": 1800, "refresh_token": "not this one" })
            }
            "/api/projects" if self.project.is_null() => json!({ "totalCount": 0, "filteredTotalCount": 0, "projects": null }),
            "/api/projects" => {
                json!({ "totalCount": 1, "filteredTotalCount": 1, "projects": page(std::slice::from_ref(&self.project), offset) })
            }
            "/api/applications" => {
                let all = [json!({ "id": "a-1", "name": "Web" }), json!({ "id": "a-2", "name": "Billing" })];
                json!({ "totalCount": 2, "applications": page(&all, offset) })
            }
            "/api/scans" => {
                let of_branch = |scan: &&Value| query.get("branches").is_none_or(|branch| scan["branch"] == **branch);
                let scans: Vec<Value> = self.scans.iter().filter(of_branch).cloned().collect();
                json!({ "totalCount": scans.len(), "scans": page(&scans, offset) })
            }
            "/api/results" => match self.results.get(of("scan-id")) {
                Some(rows) => {
                    let from = if self.in_rows { offset } else { offset * limit };
                    let page = page(rows, from);
                    let total = self.total.unwrap_or(rows.len() as u64);
                    json!({ "results": if page.is_empty() { Value::Null } else { page.into() }, "totalCount": total })
                }
                None => return (StatusCode::NOT_FOUND, json!({ "code": 404, "message": "Scan not found", "type": "ERROR" })),
            },
            _ => return (StatusCode::NOT_FOUND, json!({ "error": "Realm does not exist" })),
        };
        (StatusCode::OK, body)
    }

    fn asked(&self, path: &str) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(path)).cloned().collect()
    }
}

fn url(uri: &Uri) -> url::Url {
    url::Url::parse(&format!("http://tool{uri}")).unwrap()
}

fn settings() -> Value {
    json!({ "tenant": " Acme ", "secret": KEY })
}

async fn connect(tool: &Tool, fields: Value) -> (Running, Box<dyn DynConnector>, Context) {
    let answers = tool.clone();
    let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: String| {
        let token = method == Method::POST;
        if !token {
            answers.asked.lock().unwrap().push(uri.to_string());
        }
        let good = token || headers.get("authorization").is_some_and(|value| value == "Bearer granted");
        let (status, body) = if good { answers.answer(&uri, &body) } else { (StatusCode::UNAUTHORIZED, json!({})) };
        let odd = answers.token.clone().filter(|_| token);
        std::future::ready((status, odd.unwrap_or_else(|| body.to_string().into_bytes())))
    };
    let running = start(Canned(Router::new().fallback(answer)), 0).await.unwrap();
    let link = Endpoint {
        location: Location::parse(&running.url, false).unwrap(),
        options: HttpOptions::default(),
        limiters: Arc::new(Limiters::default()),
    };
    let source = Registration::find("checkmarx").unwrap().open(fields, link).unwrap();
    (running, source, Context::new(Arc::new(RunStats::without_waits())))
}

/// A pass over the project's findings.
struct Pass {
    read: Read,
    mark: Option<Box<str>>,
    incomplete: Option<String>,
    explained: Option<String>,
}

impl Pass {
    fn keys(&self) -> Vec<&str> {
        self.read.findings().iter().map(|finding| finding.key.strip_prefix("p-1/").unwrap()).collect()
    }
}

async fn pass(tool: &Tool, fields: Value, mark: Option<&str>) -> Result<Pass, Error> {
    let (_running, source, _) = connect(tool, fields).await;
    let activity = Arc::new(RunStats::without_waits());
    let cx = Context::new(Arc::clone(&activity));
    let record = RecordRef { key: "p-1".into(), name: "shop".into(), kind: "project".into() };
    let scopes = source.scopes(&cx, Job::Sync(&[record])).await?;
    let [scope] = &scopes[..] else { panic!("one scope a project") };
    let mut read = Read {
        items: Vec::new(),
        rejects: Vec::new(),
        mended: Vec::new(),
        total: None,
        coverage: Coverage::Delta,
        warnings: Vec::new(),
        incomplete: None,
    };
    let mut cursor = None::<Box<str>>;
    loop {
        let ask = RawPageRequest {
            scope,
            since: None,
            full: true,
            mark,
            cursor: cursor.as_deref().map(Into::into),
            stored: &Nothing,
            parts: None,
        };
        let page = source.page(&cx, ask).await?;
        assert_eq!(page.total, None, "totals are no promise");
        read.items.extend(page.items);
        read.rejects.extend(page.rejects);
        read.mended.extend(page.mended);
        match page.next {
            Next::More(next) => cursor = Some(next),
            Next::Done(coverage, mark) => {
                (read.coverage, read.warnings) = (coverage, activity.warnings());
                let (incomplete, explained) = (cx.why_incomplete().map(Into::into), cx.why_changed().map(Into::into));
                return Ok(Pass { read, mark, incomplete, explained });
            }
            Next::Wait(..) => panic!("nothing is waited for"),
        }
    }
}

async fn of(results: Vec<Value>) -> Read {
    pass(&Tool::of(results), settings(), None).await.unwrap().read
}

/// The results of a recorded file.
async fn recorded(name: &str) -> Option<Vec<Value>> {
    Some(super::recorded(&format!("checkmarx/{name}"))?["results"].as_array().unwrap().clone())
}

#[tokio::test]
async fn every_recorded_result_is_read_and_none_is_rejected() {
    for (name, expected) in
        [("api_export.json", 8), ("checkmarx_one_sca_10770.json", 8), ("one-open-one-false-positive.json", 2), ("no_findings.json", 0)]
    {
        let Some(results) = recorded(name).await else { continue };
        let page = of(results).await;
        assert_eq!((page.rejects.len(), page.items.len()), (0, expected), "{name}");
        assert_eq!(page.warnings, Vec::<String>::new(), "{name}");
        for finding in page.findings() {
            assert!(!finding.title.is_empty() && finding.raw.is_some() && finding.vendor_first_seen.is_some(), "{name}: {}", finding.key);
        }
    }
}

#[tokio::test]
async fn results_of_an_api_answer_are_mapped_field_by_field() {
    let Some(results) = recorded("api_export.json").await else { return };
    let page = of(results).await;
    let [kics, sast, rooted, old_container, _, urllib, cx, postcss] = page.findings()[..] else { panic!("eight results") };

    let similar = "05bdd0124158e318fae858d1428d56a824181ff2b786ef4bccb59c2e1682216e";
    assert!(kics.key.starts_with(&format!("p-1/kics/{similar}/")), "{}", kics.key);
    assert!(kics.lineage.as_deref().unwrap().starts_with(&format!("kics/{similar}/")));
    assert_eq!((&*kics.title, kics.category), ("Unpinned Actions Full Length Commit SHA", Category::Iac));
    assert_eq!(kics.rule.as_deref(), Some("555ab8f9-2001-455e-a077-f2d0f41e2fb9"));
    assert_eq!((kics.severity, kics.vendor_severity.as_deref()), (Severity::Medium, Some("MEDIUM")));
    assert_eq!((kics.state, kics.vendor_state.as_deref()), (State::Open, Some("TO_VERIFY")));
    assert_eq!((kics.file_path.as_deref(), kics.line_start), (Some("/.github/workflows/checkmarx.yaml"), Some(17)));
    assert_eq!(kics.remediation.as_deref(), Some("Action pinned to a full length commit SHA."));
    assert_eq!(texts(&kics.tags), ["kics", "Supply-Chain", "CICD", "TO_VERIFY", "application Billing", "application Web"]);
    assert!(kics.reference_urls.is_empty(), "its queryUrl is a text");
    assert_eq!(kics.vendor_first_seen.unwrap().to_string(), "2023-12-04T11:56:51Z");
    assert_eq!(kics.vendor_last_seen.unwrap().to_string(), "2024-04-03T11:42:23Z");
    assert!(kics.url.as_deref().unwrap().ends_with("/projects/p-1/overview"));
    assert_eq!((&*kics.record, kics.branch.as_deref()), ("p-1", Some("main")));

    assert!(sast.key.starts_with("p-1/sast/wUBV69FwAKwM2V0JMHrAf1C00Dk=/"), "{}", sast.key);
    assert_eq!(sast.lineage.as_deref(), Some("sast/SSL_Verification_Bypass/-624652752"));
    assert_eq!((&*sast.title, sast.category), ("SSL Verification Bypass", Category::Sast));
    assert_eq!((sast.file_path.as_deref(), sast.line_start), (Some("/robot/SAC016 atendimento_seller.py"), Some(50)));
    assert_eq!((texts(&sast.cwe), sast.cvss.as_ref()), (vec!["CWE-599"], None));
    assert_eq!(texts(&sast.tags)[..3], ["sast", "Python_Medium_Threat", "Python"]);
    assert!(sast.tags.iter().any(|tag| &**tag == "OWASP ASVS"));
    assert!(rooted.key.starts_with("p-1/sast/vOqNOr/NihqjRTHlMQE8aI5223k=/"), "the hash, not the id: {}", rooted.key);

    assert_eq!(&*old_container.key, "p-1/sca-container/libuuid1/2.34-0.1ubuntu9.4/CVE-2024-28085");
    assert_eq!((&*old_container.title, old_container.category), ("CVE-2024-28085 in libuuid1 2.34-0.1ubuntu9.4", Category::Container));
    assert_eq!((texts(&old_container.cve), old_container.cvss.as_ref()), (vec!["CVE-2024-28085"], None), "a score of 0 is none");
    assert_eq!((texts(&urllib.cwe), urllib.component_name.as_deref()), (vec!["CWE-74"], Some("urllib3")));

    assert_eq!(&*cx.key, "p-1/sca/Npm-bluebird-3.7.2/Cxda14f253-4e52");
    assert_eq!((&*cx.title, cx.category), ("Cxda14f253-4e52 in bluebird 3.7.2", Category::Sca));
    assert_eq!((cx.cve.len(), texts(&cx.identifiers), texts(&cx.cwe)), (0, vec!["Cxda14f253-4e52"], vec!["CWE-401"]));
    let cvss = cx.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score, cvss.vector.as_deref()), ("3.1", Some(3.7), None));
    assert_eq!(cx.component_purl.as_deref(), Some("pkg:npm/bluebird@3.7.2"));
    assert_eq!((cx.fixed_version.as_deref(), cx.fix_available), (None, None));
    assert_eq!(texts(&cx.reference_urls), ["https://github.com/petkaantonov/bluebird/issues/1080"]);
    assert_eq!((postcss.fixed_version.as_deref(), postcss.fix_available), (Some("8.4.31"), Some(true)));
    assert_eq!(postcss.remediation.as_deref(), Some("Update postcss to version 8.4.31."));
    assert_eq!(postcss.cvss.as_ref().unwrap().score, Some(5.3));
}

#[tokio::test]
async fn results_of_a_report_are_mapped_by_the_same_rules() {
    let Some(results) = recorded("checkmarx_one_sca_10770.json").await else { return };
    let page = of(results).await;
    let [sast, _, _, kics, xstream, _, tar, _] = page.findings()[..] else { panic!("eight results") };
    assert_eq!((sast.rule.as_deref(), &*sast.title), (Some("14517067005933136034"), "SQL Injection"), "beyond signed 64 bits");
    assert_eq!(kics.file_path.as_deref(), Some("/Dockerfile_desktop"), "filename, not fileName");
    assert_eq!(xstream.component_purl.as_deref(), Some("pkg:maven/com.thoughtworks.xstream/xstream@1.4.5"));
    assert_eq!((texts(&xstream.cwe), xstream.cvss.as_ref().unwrap().score), (vec!["CWE-78"], Some(9.8)));
    assert_eq!(&*tar.key, "p-1/sca/tar/1.34+dfsg-1+deb11u1/CVE-2005-2541");
    assert_eq!((texts(&tar.cwe), tar.cvss.as_ref()), (Vec::<&str>::new(), None), "NVD-CWE-Other is none");

    let Some(results) = recorded("one-open-one-false-positive.json").await else { return };
    let page = of(results).await;
    let states: Vec<_> =
        page.findings().iter().map(|finding| (finding.state, finding.vendor_state.as_deref().unwrap().to_owned())).collect();
    assert_eq!(states, [(State::FalsePositive, "NOT_EXPLOITABLE".to_owned()), (State::Open, "TO_VERIFY".to_owned())]);
}

#[expect(clippy::needless_pass_by_value, reason = "a literal at nearly every call")]
fn result(kind: &str, id: &str, data: Value) -> Value {
    json!({ "type": kind, "id": id, "similarityId": format!("similar-{id}"), "status": "RECURRENT", "state": "TO_VERIFY",
        "severity": "HIGH", "firstFoundAt": "2026-01-02T03:04:05Z", "foundAt": "2026-02-03T04:05:06Z", "description": "d", "data": data })
}

fn with(mut result: Value, member: &str, value: impl Into<Value>) -> Value {
    result[member] = value.into();
    result
}

#[tokio::test]
async fn severities_and_states_are_mapped_and_unknown_ones_kept() {
    for (word, severity) in [
        ("CRITICAL", Severity::Critical),
        ("HIGH", Severity::High),
        ("Medium", Severity::Medium),
        ("low", Severity::Low),
        ("INFO", Severity::Info),
        ("Information", Severity::Info),
        ("moderate", Severity::Medium),
        ("DIRE", Severity::Unknown),
    ] {
        let page = of(vec![with(result("sast", "1", json!({})), "severity", word)]).await;
        assert_eq!((page.findings()[0].severity, page.findings()[0].vendor_severity.as_deref()), (severity, Some(word)));
        assert_eq!(page.warnings.len(), usize::from(word == "DIRE"), "{:?}", page.warnings);
    }
    for (state, status, expected, vendor, verified) in [
        ("TO_VERIFY", "NEW", State::Open, "TO_VERIFY", false),
        ("TO_VERIFY", "RECURRENT", State::Open, "TO_VERIFY", false),
        ("TO_VERIFY", "FIXED", State::Fixed, "TO_VERIFY, FIXED", false),
        ("NOT_EXPLOITABLE", "RECURRENT", State::FalsePositive, "NOT_EXPLOITABLE", false),
        ("not_exploitable", "recurrent", State::FalsePositive, "not_exploitable", false),
        ("NOT_EXPLOITABLE", "FIXED", State::FalsePositive, "NOT_EXPLOITABLE, FIXED", false),
        ("PROPOSED_NOT_EXPLOITABLE", "RECURRENT", State::Open, "PROPOSED_NOT_EXPLOITABLE", false),
        ("CONFIRMED", "RECURRENT", State::Open, "CONFIRMED", true),
        ("URGENT", "NEW", State::Open, "URGENT", true),
        ("Waits for Bob ", "RECURRENT", State::Open, "Waits for Bob", false),
        ("TO_VERIFY", "MOVED", State::Open, "TO_VERIFY", false),
    ] {
        let page = of(vec![with(with(result("sast", "1", json!({})), "state", state), "status", status)]).await;
        let finding = page.findings()[0];
        assert_eq!((finding.state, finding.vendor_state.as_deref()), (expected, Some(vendor)), "{state} {status}");
        assert_eq!(finding.tags.iter().any(|tag| &**tag == "verified"), verified, "{state}");
        assert!(finding.tags.iter().any(|tag| **tag == *state.trim()), "{state}");
        assert_eq!(page.warnings.len(), usize::from(status == "MOVED"), "{:?}", page.warnings);
    }
}

#[tokio::test]
async fn keys_tell_the_same_cve_in_two_packages_apart() {
    let sca = |data| result("sca", "CVE-2026-1001", data);
    let page = of(vec![
        sca(json!({ "packageIdentifier": "Npm-a-1.0" })),
        sca(json!({ "packageIdentifier": "Npm-b-1.0" })),
        sca(json!({ "packageName": "a", "packageVersion": "1.0" })),
        result("sca-container", "CVE-2026-1001", json!({ "packageName": "a", "packageVersion": "1.0" })),
        result(
            "containers",
            "CVE-2026-1001",
            json!({ "imageName": "acme/shop", "imageTag": "2", "packageName": "a", "packageVersion": "1.0" }),
        ),
        result("kics", "7", json!({})),
        result("sast", "8", json!({})),
        result("sscs-scorecard", "9", json!({})),
        result("quantum", "10", json!({})),
    ])
    .await;
    let keys: Vec<&str> = page.findings().iter().map(|finding| &*finding.key).collect();
    let kics = keys[5];
    assert!(kics.starts_with("p-1/kics/similar-7/"), "{kics}");
    assert_eq!(
        keys,
        [
            "p-1/sca/Npm-a-1.0/CVE-2026-1001",
            "p-1/sca/Npm-b-1.0/CVE-2026-1001",
            "p-1/sca/a/1.0/CVE-2026-1001",
            "p-1/sca-container/a/1.0/CVE-2026-1001",
            "p-1/containers/acme/shop:2/a/1.0/CVE-2026-1001",
            kics,
            "p-1/sast/8",
            "p-1/sscs-scorecard/9",
            "p-1/quantum/10",
        ]
    );
    assert_eq!(page.warnings, ["unknown type of result `quantum`"]);
    assert_eq!(page.findings()[7].category, Category::Misconfiguration);
}

/// Results of one similarity id, or hash, as an editor moves them down by so many lines and the vendor numbers them anew.
fn of_one_similarity(kind: &str, scan: usize) -> Vec<Value> {
    let one = |n: usize| {
        let line = [12, 40, 40][n] + 5 * scan;
        let node = |line: usize| json!({ "fileName": "/a.tf", "line": line, "method": "apply", "methodLine": 8 + 5 * scan, "column": 3 });
        let mut data = json!({ "queryName": "Q", "resultHash": "hash", "nodes": [node(9), node(line + 100 * n)] });
        if kind == "kics" {
            data = json!({ "queryName": "Q", "fileName": "/a.tf", "line": line, "expectedValue": format!("package {n} has a version"), "value": "none" });
        }
        with(result(kind, &format!("{}", 1000 * scan + n), data), "similarityId", "same")
    };
    (0..3).map(one).collect()
}

#[tokio::test]
async fn results_of_one_similarity_id_or_hash_are_told_apart_and_known_again() {
    for kind in ["kics", "sast"] {
        let first = of(of_one_similarity(kind, 0)).await;
        let mut turned = of_one_similarity(kind, 0);
        turned.reverse();
        turned.iter_mut().enumerate().for_each(|(n, row)| row["id"] = format!("9{n}").into());
        let second = of(turned).await;
        let keys = |read: &Read| read.findings().iter().map(|finding| finding.key.clone()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!((keys(&first).len(), keys(&first)), (3, keys(&second)), "{kind}: whatever the order and the ids");

        let lineage = |read: &Read| read.findings().iter().map(|finding| finding.lineage.clone().unwrap()).collect::<Vec<_>>();
        let moved = of(of_one_similarity(kind, 1)).await;
        assert_eq!(lineage(&moved), lineage(&first), "{kind}");
        // Lines added above a method move nothing in it.
        assert_eq!(keys(&moved) == keys(&first), kind == "sast", "{kind}");
    }
    let kics = of(of_one_similarity("kics", 0)).await;
    let lineages: std::collections::BTreeSet<_> = kics.findings().iter().map(|finding| finding.lineage.clone()).collect();
    assert_eq!(lineages.len(), 3, "a decision on one is no decision on the others");
    // Another query's result never has the same lineage, be the similarity the same.
    let other = |query: &str| with(result("sast", "1", json!({ "queryName": query })), "similarityId", "-7");
    let read = of(vec![other("A"), other("B"), result("sca", "CVE-2026-1000", json!({ "packageIdentifier": "Npm-a-1" }))]).await;
    let lineages: Vec<_> = read.findings().iter().map(|finding| finding.lineage.as_deref()).collect();
    assert_eq!(lineages, [Some("sast/A/-7"), Some("sast/B/-7"), None]);
}

#[tokio::test]
async fn plain_text_stays_as_it_is_and_html_is_what_the_vendor_calls_so() {
    const PLAIN: &str = "List<String> of a_snake_case & <b>no tag</b>\n* as it stands";
    let plain = with(result("sast", "1", json!({ "remediation": PLAIN })), "description", PLAIN);
    let both = with(plain.clone(), "descriptionHTML", "<p>other</p>");
    let mut html = with(result("kics", "2", json!({ "expectedValue": PLAIN })), "descriptionHTML", "<p>a <b>b</b></p><script>x</script>");
    html.as_object_mut().unwrap().remove("description");
    let read = of(vec![plain, both, html]).await;
    let told: Vec<_> =
        read.findings().iter().map(|finding| (finding.description.as_deref().unwrap(), finding.remediation.as_deref())).collect();
    assert_eq!(told, [(PLAIN, Some(PLAIN)), (PLAIN, Some(PLAIN)), ("a **b**", Some(PLAIN))]);
}

#[tokio::test]
async fn odd_members_lose_neither_a_record_nor_its_findings() {
    let odd = json!({ "id": "p-1", "name": "shop", "mainBranch": 7, "tags": ["x"], "applicationIds": "a-1", "criticality": {} });
    let mut tool = Tool { project: odd, ..Tool::of(vec![result("sast", "1", json!({}))]) };
    tool.scans[0]["tags"] = json!([1]);
    tool.scans[0]["branch"] = json!(["main"]);
    assert_eq!(pass(&tool, settings(), None).await.unwrap().keys(), ["sast/1"]);
    // Totals as text.
    let page = json!({ "totalCount": "1", "filteredTotalCount": "1", "projects": [{ "id": "p-1", "tags": { "size": 7 } }] });
    let tool = Tool { refused: vec![("/api/projects", 200, page)], ..Tool::default() };
    let (_running, source, cx) = connect(&tool, settings()).await;
    let scopes = source.scopes(&cx, Job::Discover).await.unwrap();
    let ask = RawPageRequest { scope: &scopes[0], since: None, full: true, mark: None, cursor: None, stored: &Nothing, parts: None };
    let page = source.page(&cx, ask).await.unwrap();
    assert_eq!(page.next, Next::Done(Coverage::Full, None));
    let [Item::Record(record)] = &page.items[..] else { panic!("one record: {:?}", page.rejects) };
    assert_eq!((&*record.name, &record.attributes[..]), ("p-1", &[("tags", "size:7".into())][..]));
}

#[tokio::test]
async fn a_new_scan_explains_a_large_change_and_the_same_one_does_not() {
    let all = [("sast", "Completed"), ("sca", "Completed")];
    let rows = |id: &str| (id.to_owned(), vec![result("sast", id, json!({}))]);
    let mut tool =
        Tool { project: project(), scans: vec![scan("s-1", "main", &all)], results: [rows("s-1"), rows("s-2")].into(), ..Tool::default() };
    let first = pass(&tool, settings(), None).await.unwrap();
    assert_eq!(first.explained, None, "there is nothing before the first");
    let same = pass(&tool, settings(), first.mark.as_deref()).await.unwrap();
    assert_eq!(same.explained, None);
    tool.scans.insert(0, scan("s-2", "main", &all));
    let new = pass(&tool, settings(), first.mark.as_deref()).await.unwrap();
    assert_eq!(new.explained.as_deref(), Some("scan s-2 completed since the last sync"));
    // Another branch is another list, not a release.
    tool.project["mainBranch"] = json!("trunk");
    tool.scans = vec![scan("s-2", "trunk", &all)];
    let turned = pass(&tool, settings(), first.mark.as_deref()).await.unwrap();
    assert_eq!(turned.explained, None);
}

#[tokio::test]
async fn vectors_are_built_when_every_base_metric_is_there() {
    let details = |details: Value| with(result("sca", "CVE-2026-1001", json!({})), "vulnerabilityDetails", details);
    let full = json!({ "version": 3, "attackVector": "NETWORK", "attackComplexity": "LOW", "privilegesRequired": "NONE",
        "userInteraction": "REQUIRED", "scope": "CHANGED", "confidentiality": "LOW", "integrityImpact": "LOW", "availability": "NONE" });
    let snake = json!({ "scope": "UNCHANGED", "score": "3.7", "severity": "LOW", "attack_vector": "NETWORK", "attack_complexity": "HIGH",
        "privileges_required": "NONE", "user_interaction": "NONE", "confidentiality_impact": "LOW", "integrity_impact": "NONE",
        "availability_impact": "NONE" });
    let second = json!({ "version": 2, "attackVector": "NETWORK", "attackComplexity": "LOW", "authentication": "NONE",
        "confidentiality": "PARTIAL", "integrity": "COMPLETE", "availability": "NONE" });
    for (sent, version, score, vector) in [
        (json!({ "cvssScore": 6.099999904632568, "cvss": full.clone() }), "3.1", 6.1, Some("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N")),
        (json!({ "cvss": snake.clone() }), "3.1", 3.7, Some("CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:N/A:N")),
        (json!({ "cvssScore": 8.5, "cvss": second }), "2.0", 8.5, Some("AV:N/AC:L/Au:N/C:P/I:C/A:N")),
        (json!({ "cvssScore": 3.4000000953674316, "cvss": { "version": 3, "attackVector": "NETWORK" } }), "3.1", 3.4, None),
        // The score beside the metrics is of another version: the vector goes with its own.
        (json!({ "cvssScore": 9.3, "cvss": snake }), "3.1", 3.7, Some("CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:N/A:N")),
        (json!({ "cvssScore": 9.3, "cvss": full }), "3.1", 6.1, Some("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N")),
    ] {
        let page = of(vec![details(sent.clone())]).await;
        let cvss = page.findings()[0].cvss.as_ref().unwrap();
        assert_eq!((&*cvss.version, cvss.score, cvss.vector.as_deref()), (version, Some(score), vector), "{sent}");
    }
    for (sent, cve, cwe) in [
        (json!({ "cveName": "CVE-2020-1000", "cweId": 599 }), "CVE-2020-1000", Some("CWE-599")),
        (json!({ "cveName": " cve-2020-1000 ", "cweId": "cwe-599" }), "CVE-2020-1000", Some("CWE-599")),
        (json!({ "cveName": "", "cweId": 0 }), "CVE-2026-1001", None),
        (json!({ "cveName": "", "cweId": "CWE-0" }), "CVE-2026-1001", None),
        (json!({ "cveName": "CWE-74", "cweId": "CWE-74" }), "CVE-2026-1001", Some("CWE-74")),
        (json!({ "cveName": "**CWE-74**", "cweId": "NVD-CWE-Other" }), "CVE-2026-1001", None),
        (json!({ "cveName": null, "cweId": "", "cvss": null, "compliances": null }), "CVE-2026-1001", None),
        (json!({}), "CVE-2026-1001", None),
    ] {
        let page = of(vec![details(sent.clone())]).await;
        assert_eq!((texts(&page.findings()[0].cve), texts(&page.findings()[0].cwe)), (vec![cve], cwe.into_iter().collect()), "{sent}");
    }
}

#[tokio::test]
async fn packages_places_and_cures_come_from_where_each_type_has_them() {
    for (identifier, name, version, purl) in [
        ("Maven-org.acme:app-1.4", "org.acme:app", "1.4", Some("pkg:maven/org.acme/app@1.4")),
        ("Npm-@babel/core-7.0.0", "@babel/core", "7.0.0", Some("pkg:npm/%40babel/core@7.0.0")),
        ("Python-pillow-9.0", "pillow", "9.0", Some("pkg:pypi/pillow@9.0")),
        ("Nuget-Newtonsoft.Json-12.0.1", "Newtonsoft.Json", "12.0.1", Some("pkg:nuget/Newtonsoft.Json@12.0.1")),
        ("Go-github.com/acme/lib-v1.2.3", "github.com/acme/lib", "v1.2.3", Some("pkg:golang/github.com/acme/lib@v1.2.3")),
        ("Php-acme/forms-2.0", "acme/forms", "2.0", Some("pkg:composer/acme/forms@2.0")),
        ("Ruby-active-record-5.0", "active-record", "5.0", Some("pkg:gem/active-record@5.0")),
        ("Cpp-zlib-1.2", "zlib", "1.2", None),
    ] {
        let page =
            of(vec![result("sca", "CVE-2026-1001", json!({ "packageIdentifier": identifier, "recommendedVersion": { "a": 1 } }))]).await;
        let finding = page.findings()[0];
        assert_eq!((finding.component_name.as_deref(), finding.component_version.as_deref()), (Some(name), Some(version)));
        assert_eq!((finding.component_purl.as_deref(), finding.fixed_version.as_deref()), (purl, None), "{identifier}");
    }
    let secret = json!({ "ruleName": "Generic-Api-Key", "filename": "/src/a.py", "line": "12", "snippet": "key = canary", "remediation": "Rotate it." });
    let image = json!({ "packageName": "openssl", "packageVersion": "3.0", "imageName": "acme/shop", "imageTag": "2", "imageFilePath": "/Dockerfile" });
    let flow = json!({ "queryName": "SQL_Injection", "languageName": "Java",
        "nodes": [{ "fileName": "/In.java", "line": 3 }, { "fileName": "/Mid.java", "line": 5 }, { "fileName": "/Out.java", "line": 9 }] });
    let kics = json!({ "queryName": "Root_User", "queryUrl": "https://docs.example/root", "expectedValue": "a user", "fileName": "/Dockerfile", "line": 0 });
    let page = of(vec![
        result("sscs-secret-detection", "1", secret),
        result("containers", "CVE-2026-1002", image),
        result("sast", "3", flow),
        result("kics", "4", kics),
    ])
    .await;
    let [secret, image, flow, kics] = page.findings()[..] else { panic!("four results") };
    assert_eq!((&*secret.title, secret.category, secret.rule.as_deref()), ("Generic-Api-Key", Category::Secret, Some("Generic-Api-Key")));
    assert_eq!((secret.file_path.as_deref(), secret.line_start), (Some("/src/a.py"), Some(12)));
    assert_eq!(secret.remediation.as_deref(), Some("Rotate it."));
    assert!(!secret.raw.as_ref().unwrap().get().contains("canary"), "the secret itself is not kept");
    assert_eq!((&*image.title, image.file_path.as_deref()), ("CVE-2026-1002 in openssl 3.0", Some("/Dockerfile")));
    assert!(image.tags.iter().any(|tag| &**tag == "image acme/shop:2"));
    assert_eq!((flow.file_path.as_deref(), flow.line_start), (Some("/Out.java"), Some(9)), "the sink");
    assert_eq!(flow.description.as_deref(), Some("d\n\nSource: /In.java, line 3"));
    assert_eq!((kics.line_start, texts(&kics.reference_urls)), (None, vec!["https://docs.example/root"]));
    assert_eq!(kics.remediation.as_deref(), Some("a user"));
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_and_what_is_no_result_is_rejected() {
    let page =
        of(vec![json!([1, 2]), with(result("sast", "1", json!({})), "description", json!(["x"])), result("sast", "2", json!({}))]).await;
    let rejects: Vec<_> = page.rejects.iter().map(|reject| (reject.key.as_deref(), &*reject.path)).collect();
    assert_eq!(page.left_out(), [("p-1/sast/1", "description")]);
    assert_eq!((rejects.len(), rejects[0].0, page.items.len()), (1, None, 2));
}

#[tokio::test]
async fn what_an_offset_of_results_counts_is_decided_by_the_second_answer() {
    let rows = |count: usize| (0..count).map(|n| result("sast", &n.to_string(), json!({}))).collect::<Vec<_>>();
    for (in_rows, count, offsets) in [
        (false, 3, vec![0]),
        (true, 3, vec![0]),
        (false, 500, vec![0, 1]),
        (true, 500, vec![0, 1]),
        (false, 501, vec![0, 1]),
        (true, 501, vec![0, 1, 501]),
        (false, 1700, vec![0, 1, 2, 3]),
        (true, 1700, vec![0, 1, 501, 1001, 1501]),
    ] {
        let tool = Tool { in_rows, ..Tool::of(rows(count)) };
        let pass = pass(&tool, settings(), None).await.unwrap();
        let keys: std::collections::BTreeSet<&str> = pass.keys().into_iter().collect();
        assert_eq!((keys.len(), pass.read.coverage), (count, Coverage::Full), "{count} {in_rows}");
        let asked: Vec<usize> = tool.asked("/api/results").iter().map(|asked| number(asked, "offset")).collect();
        assert_eq!(asked, offsets, "{count} {in_rows}");
        assert!(tool.asked("/api/results").iter().all(|asked| number(asked, "limit") == 500 && asked.contains("sort=-severity")));
    }
}

fn number(asked: &str, name: &str) -> usize {
    let url = url(&asked.parse().unwrap());
    url.query_pairs().find(|(key, _)| key == name).unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn fewer_rows_than_declared_close_nothing_and_more_are_taken() {
    let rows = vec![result("sast", "1", json!({})), result("sast", "2", json!({}))];
    for (total, coverage, reason) in
        [(1, Coverage::Full, None), (2, Coverage::Full, None), (3, Coverage::Delta, Some("the vendor declares 3 results and delivered 2"))]
    {
        let pass = pass(&Tool { total: Some(total), ..Tool::of(rows.clone()) }, settings(), None).await.unwrap();
        assert_eq!((pass.keys().len(), pass.read.coverage, pass.incomplete.as_deref()), (2, coverage, reason), "{total}");
    }
}

#[tokio::test]
async fn an_answer_that_is_the_same_page_again_ends_the_pass_as_an_error() {
    // Whatever the offset, the same rows.
    let same = json!({ "results": [result("sast", "1", json!({})), result("sast", "2", json!({}))], "totalCount": 9 });
    let tool = Tool { refused: vec![("/api/results", 200, same)], ..Tool::of(Vec::new()) };
    let error = pass(&tool, settings(), None).await.map(|pass| pass.read.coverage).unwrap_err();
    assert!(matches!(error.kind, tributary_connectors::ErrorKind::PagingLoop), "{error:?}");
}

#[tokio::test]
async fn results_of_each_engine_come_from_the_newest_scan_in_which_it_completed() {
    let image = |id: &str| result("containers", id, json!({ "imageName": "i", "imageTag": "1" }));
    let code = |id: &str| result("sast", id, json!({}));
    let mut tool = Tool {
        project: project(),
        scans: vec![
            scan("s-3", "main", &[("general", "Completed"), ("sast", "Completed"), ("containers", "Failed")]),
            scan("s-2", "main", &[("sca", "Completed")]),
            scan("s-1", "main", &[("sast", "Completed"), ("containers", "Completed"), ("sca", "Completed")]),
        ],
        results: [
            ("s-3".to_owned(), vec![code("new"), image("half")]),
            ("s-2".to_owned(), vec![result("sca", "CVE-2026-1002", json!({}))]),
            ("s-1".to_owned(), vec![code("old"), image("CVE-2026-1001"), result("sca", "CVE-2026-1001", json!({}))]),
        ]
        .into(),
        ..Tool::default()
    };
    let first = pass(&tool, settings(), None).await.unwrap();
    assert_eq!(first.keys(), ["sast/new", "sca///CVE-2026-1002", "containers/i:1///CVE-2026-1001"]);
    assert_eq!(first.read.coverage, Coverage::Full);

    // The scan is no longer listed, but still there: it is read as before.
    tool.scans.pop();
    let second = pass(&tool, settings(), first.mark.as_deref()).await.unwrap();
    assert_eq!((second.keys(), second.read.coverage), (first.keys(), Coverage::Full));
    assert_eq!(second.mark, first.mark);

    // It was deleted: nothing is proved as long as the engine goes on failing.
    tool.results.remove("s-1");
    let third = pass(&tool, settings(), second.mark.as_deref()).await.unwrap();
    assert_eq!((third.keys(), third.read.coverage), (vec!["sast/new", "sca///CVE-2026-1002"], Coverage::Delta));
    assert!(third.incomplete.unwrap().contains("fails since"));

    // No scan of it is left and none runs it any more: then there is nothing of it.
    tool.scans[0] = scan("s-3", "main", &[("sast", "Completed")]);
    let fourth = pass(&tool, settings(), third.mark.as_deref()).await.unwrap();
    assert_eq!((fourth.keys(), fourth.read.coverage), (vec!["sast/new", "sca///CVE-2026-1002"], Coverage::Full));
}

#[tokio::test]
async fn a_scan_that_never_completed_an_engine_is_read_for_what_it_has() {
    let tool = Tool {
        project: project(),
        scans: vec![scan("s-1", "main", &[("sast", "Completed"), ("containers", "Failed")])],
        results: [("s-1".to_owned(), vec![result("containers", "CVE-2026-1001", json!({})), result("sast", "1", json!({}))])].into(),
        ..Tool::default()
    };
    let first = pass(&tool, settings(), None).await.unwrap();
    assert_eq!(first.keys(), ["containers/:///CVE-2026-1001", "sast/1"]);
    // What it met of an engine that failed is remembered, so that a next failure without results does not close it.
    assert!(first.mark.unwrap().contains("containers"));
}

#[tokio::test]
async fn a_project_without_a_scan_proves_nothing() {
    let tool = Tool { project: project(), ..Tool::default() };
    let first = pass(&tool, settings(), None).await.unwrap();
    assert_eq!((first.read.coverage, first.mark, first.read.warnings), (Coverage::Delta, None, Vec::new()));
    let mark = pass(&Tool::of(vec![result("sast", "1", json!({}))]), settings(), None).await.unwrap().mark;
    let later = pass(&tool, settings(), mark.as_deref()).await.unwrap();
    assert_eq!((later.read.coverage, &later.mark), (Coverage::Delta, &mark));
    assert_eq!(later.read.warnings, ["project shop had scans and shows none now: nothing of it is closed"]);
}

#[tokio::test]
async fn the_branch_is_the_pinned_one_else_the_main_one_else_the_newest() {
    let all = [("sast", "Completed")];
    let scans = vec![scan("s-3", "feature", &all), scan("s-2", "main", &all), scan("s-1", "release", &all)];
    let results = ["s-1", "s-2", "s-3"].map(|id| (id.to_owned(), vec![result("sast", id, json!({}))]));
    let tool = Tool { project: project(), scans, results: results.into(), ..Tool::default() };
    for (branch, main, expected) in [
        (Some("release"), "main", vec![("sast/s-1", "release")]),
        (None, "main", vec![("sast/s-2", "main")]),
        (None, "", vec![("sast/s-3", "feature")]),
        (None, "trunk", vec![("sast/s-3", "feature")]),
        (Some("nowhere"), "main", vec![]),
    ] {
        let mut fields = settings();
        if let Some(branch) = branch {
            fields["branch"] = branch.into();
        }
        let pass = pass(&Tool { project: with(project(), "mainBranch", main), ..tool.clone() }, fields, None).await.unwrap();
        let branches = pass.read.findings().into_iter().map(|finding| finding.branch.as_deref().unwrap());
        assert_eq!(pass.keys().into_iter().zip(branches).collect::<Vec<_>>(), expected, "{branch:?} {main}");
        assert_eq!(pass.read.coverage, if expected.is_empty() { Coverage::Delta } else { Coverage::Full });
    }
    let asked = tool.asked("/api/scans");
    assert_eq!(asked[0], "/api/scans?offset=0&limit=100&project-id=p-1&statuses=Completed%2CPartial&sort=-created_at&branches=release");
}

#[tokio::test]
async fn projects_are_records_with_their_applications() {
    let (_running, source, cx) = connect(&Tool { project: project(), ..Tool::default() }, settings()).await;
    let scopes = source.scopes(&cx, Job::Discover).await.unwrap();
    let ask = RawPageRequest { scope: &scopes[0], since: None, full: true, mark: None, cursor: None, stored: &Nothing, parts: None };
    let page = source.page(&cx, ask).await.unwrap();
    assert_eq!(page.next, Next::Done(Coverage::Full, None));
    let [Item::Record(record)] = &page.items[..] else { panic!("one record") };
    assert_eq!((&*record.key, &*record.name, &*record.kind), ("p-1", "shop", "project"));
    assert!(record.url.as_deref().unwrap().ends_with("/projects/p-1/overview"));
    let attributes: Vec<_> = record.attributes.iter().map(|(name, value)| (*name, &**value)).collect();
    assert_eq!(
        attributes,
        [
            ("applications", "Billing, Web"),
            ("repository", "https://git.example/shop"),
            ("main branch", "main"),
            ("criticality", "3"),
            ("tags", "legacy, team:red"),
        ]
    );
}

#[tokio::test]
async fn a_credential_that_sees_no_project_any_more_is_told_and_applications_are_not_needed() {
    let error = pass(&Tool::default(), settings(), None).await.map(|pass| pass.read.coverage).unwrap_err();
    assert!(error.hint().unwrap().contains("view-projects"), "{error:?}");
    let tool = Tool { refused: vec![("/api/applications", 403, json!({}))], ..Tool::of(vec![result("sast", "1", json!({}))]) };
    let pass = pass(&tool, settings(), None).await.unwrap();
    assert!(pass.read.warnings[0].contains("view-applications"));
    assert_eq!(texts(&pass.read.findings()[0].tags), ["sast", "TO_VERIFY"]);
}

#[tokio::test]
async fn credentials_are_exchanged_at_the_realm_in_lower_case() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let jwt = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(r#"{"azp":"other-app","aud":["","https://evil.example/auth/realms/acme"]}"#));
    for (fields, form) in [
        (settings(), "grant_type=refresh_token&client_id=ast-app&refresh_token=an%2Bapi+key%2Fwith%25signs".to_owned()),
        (json!({ "tenant": "acme", "secret": jwt }), format!("grant_type=refresh_token&client_id=other-app&refresh_token={jwt}")),
        (
            json!({ "tenant": "ACME", "client_id": "id", "client_secret": "a+b%" }),
            "grant_type=client_credentials&client_id=id&client_secret=a%2Bb%25".to_owned(),
        ),
    ] {
        let tool = Tool::of(Vec::new());
        pass(&tool, fields, None).await.unwrap();
        assert_eq!(tool.asked("grant_type"), [form]);
    }
    let link = || Endpoint {
        location: Location::parse("https://eu.ast.checkmarx.net", false).unwrap(),
        options: HttpOptions::default(),
        limiters: Arc::new(Limiters::default()),
    };
    for fields in [
        json!({ "tenant": "acme" }),
        json!({ "tenant": "acme", "client_id": "id" }),
        json!({ "tenant": "acme", "secret": "a", "client_id": "id", "client_secret": "b" }),
        json!({ "tenant": " ", "secret": "a" }),
        json!({ "secret": "a" }),
    ] {
        assert!(Registration::find("checkmarx").unwrap().open(fields, link()).is_err());
    }
}

#[tokio::test]
async fn a_token_in_an_odd_encoding_is_used_and_named() {
    let granted = r#"{"access_token":"granted","expires_in":1800}"#;
    for (token, told) in [
        (format!("\u{feff}{granted}").into_bytes(), "begins with a byte order mark"),
        (granted.encode_utf16().flat_map(u16::to_le_bytes).collect(), "is UTF-16 instead of UTF-8"),
        (b"{\"access_token\":\"granted\",\"scope\":\"\xff\"}".to_vec(), "holds bytes that are not UTF-8, each read as U+FFFD"),
    ] {
        let tool = Tool { token: Some(token), ..Tool::of(vec![result("sast", "1", json!({}))]) };
        let read = pass(&tool, settings(), None).await.unwrap().read;
        assert_eq!((read.findings().len(), &read.warnings), (1, &vec![format!("the answer with the access token {told}")]));
    }
    let tool = Tool { token: Some(b"{\"access_token\":\"gr\xe4nted\"}".to_vec()), ..Tool::of(Vec::new()) };
    let error = pass(&tool, settings(), None).await.err().unwrap();
    assert!(error.kind.to_string().contains("the token holds bytes that are not UTF-8"), "{error:?}");
}

#[tokio::test]
async fn the_check_names_what_is_wrong_and_its_cure() {
    const TOKEN: &str = "/auth/realms/acme/protocol/openid-connect/token";
    let tool = Tool::of(vec![result("sast", "1", json!({}))]);
    let (running, source, cx) = connect(&tool, settings()).await;
    let checked = source.check(&cx).await.unwrap();
    assert_eq!(checked.facts, [format!("tenant acme at {}", running.url), "1 projects visible".to_owned()]);
    assert_eq!(checked.warnings, Vec::<String>::new());

    let check = async |fields: Value, refused: Vec<(&'static str, u16, Value)>| {
        let (_running, source, cx) = connect(&Tool { refused, ..tool.clone() }, fields).await;
        source.check(&cx).await
    };
    let error = check(json!({ "tenant": "acne", "secret": KEY }), Vec::new()).await.unwrap_err();
    assert!(error.kind.to_string().contains("Realm does not exist"), "{error:?}");
    assert!(error.hint().unwrap().contains("no tenant `acne`") && error.hint().unwrap().contains("region"));
    let keycloak = |error: &str| json!({ "error": error, "error_description": "no" });
    for (path, status, body, word) in [
        (TOKEN, 400, keycloak("invalid_grant"), "does not accept the API key"),
        (TOKEN, 401, keycloak("invalid_client"), "`client_id` and `client_secret`"),
        ("/api/projects", 401, json!({}), "different regions"),
        ("/api/projects", 403, json!({}), "view-projects"),
        ("/api/scans", 403, json!({}), "view-scans"),
        ("/api/results", 403, json!({}), "view-results"),
    ] {
        let error = check(settings(), vec![(path, status, body)]).await.unwrap_err();
        assert!(error.hint().unwrap().contains(word), "{path} {status}: {:?}", error.hint());
        assert!(!format!("{error} {error:?}").contains(KEY));
    }
    let warned = check(settings(), vec![("/api/applications", 403, json!({}))]).await.unwrap().warnings;
    assert!(warned[0].contains("view-applications"));
    let (_running, source, cx) = connect(&Tool::default(), settings()).await;
    assert!(source.check(&cx).await.unwrap().warnings[0].contains("group"));
}
