//! SonarQube.

use std::{collections::BTreeMap, sync::Mutex};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse,
    routing::get,
};
use serde_json::json;
use tributary_connectors::{
    CheckReport, DynConnector, Error, ErrorKind,
    model::{Category, Record, Severity, State as Shown},
};

use super::*;

/// What a test's server is asked and answers: path to answer, and every request as `path?query`.
#[derive(Default)]
struct Script {
    answers: BTreeMap<&'static str, (u16, String)>,
    authorization: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn of(version: &str, answers: &[(&'static str, u16, Value)]) -> Arc<Self> {
        let mut all: BTreeMap<_, _> = answers.iter().map(|(path, status, body)| (*path, (*status, body.to_string()))).collect();
        all.insert("/api/server/version", (200, version.to_owned()));
        // What every server of that time has, unless the test says otherwise.
        for (path, body) in [
            ("/api/system/status", json!({ "status": "UP" })),
            ("/api/components/show", json!({ "component": { "key": "p" } })),
            ("/api/ce/component", json!({ "queue": [] })),
        ] {
            all.entry(path).or_insert((200, body.to_string()));
        }
        Arc::new(Script { answers: all, ..Script::default() })
    }

    fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(get(answer)).with_state(Arc::clone(self))
    }

    /// What was asked for at a path, but for the weaknesses of rules.
    fn asked(&self, path: &str) -> Vec<String> {
        let all = self.asked.lock().unwrap();
        all.iter().filter(|target| target.starts_with(path) && !target.contains("facets=cwe")).cloned().collect()
    }
}

async fn answer(State(script): State<Arc<Script>>, uri: Uri, headers: HeaderMap, Query(_): Query<Vec<(String, String)>>) -> Response {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if uri.path() != "/api/server/version" {
        script.authorization.lock().unwrap().extend(authorization);
    }
    script.asked.lock().unwrap().push(uri.path_and_query().unwrap().to_string());
    match script.answers.get(uri.path()) {
        Some((status, body)) => {
            let expires = [("sonarqube-authentication-token-expiration", "2099-01-31")];
            (StatusCode::from_u16(*status).unwrap(), expires, body.clone()).into_response()
        }
        None => {
            let body = json!({ "errors": [{ "msg": format!("Unknown url : {}", uri.path()) }] }).to_string();
            (StatusCode::NOT_FOUND, body).into_response()
        }
    }
}

fn secret() -> Value {
    json!({ "secret": "squ_x" })
}

fn scope(list: &'static str, project: &str) -> Scope {
    Scope { list, key: project.into(), title: project.into(), record: Some(project.into()), ..Scope::account(list) }
}

async fn walk(script: &Arc<Script>, settings: Value, scope: &Scope) -> Read {
    read("sonarqube", settings, scope, script.router()).await
}

fn page(list: &str, rows: &Value) -> Value {
    json!({ "paging": { "pageIndex": 1, "pageSize": 500, "total": rows.as_array().unwrap().len() }, list: rows, "components": [] })
}

/// The connector at a script, as Cloud when `cloud`: then the script is the proxy to it.
async fn open(script: &Arc<Script>, settings: Value, cloud: bool) -> (tributary_simulator::Running, Result<Box<dyn DynConnector>, Error>) {
    let tool = start(Canned(script.router()), 0).await.unwrap();
    let options = HttpOptions { proxy: cloud.then(|| tool.url.clone()), allow_http: true, ..HttpOptions::default() };
    let location = Location::parse(if cloud { "http://sonarcloud.io" } else { &tool.url }, true).unwrap();
    let link = Endpoint { location, options, limiters: Arc::new(Limiters::default()) };
    (tool, Registration::find("sonarqube").unwrap().open(settings, link))
}

async fn check(script: &Arc<Script>, settings: Value, cloud: bool) -> Result<CheckReport, Error> {
    let (_tool, source) = open(script, settings, cloud).await;
    source?.check(&Context::new(Arc::new(RunStats::without_waits()))).await
}

fn by_key<'a>(read: &'a Read, key: &str) -> &'a Finding {
    read.findings().into_iter().find(|finding| &*finding.key == key).unwrap_or_else(|| panic!("{key} is missing"))
}

/// An issue of a server in Standard Experience, with these members besides.
fn issue(key: &str, more: impl std::borrow::Borrow<Value>) -> Value {
    let mut issue = json!({
        "key": key, "rule": "java:S2077", "severity": "MAJOR", "type": "VULNERABILITY", "component": "p:src/A.java", "project": "p",
        "status": "OPEN", "message": "Use a prepared statement.", "author": "a@b.example", "tags": ["sql"],
        "creationDate": "2024-03-01T10:00:00+0100", "updateDate": "2024-03-02T10:00:00+0100"
    });
    issue.as_object_mut().unwrap().extend(more.borrow().as_object().unwrap().clone());
    issue
}

#[tokio::test]
async fn every_recorded_issue_of_9_9_is_read_and_none_is_rejected() {
    let (Some(body), Some(rule)) = (recorded("sonarqube/issues_search_9x.json"), recorded("sonarqube/rule.json")) else { return };
    let script = Script::of("9.9.8.100196", &[("/api/issues/search", 200, body), ("/api/rules/show", 200, json!({ "rule": rule }))]);
    let page = walk(&script, json!({ "secret": "squ_x", "include_bugs_and_code_smells": true }), &scope("issues", "testapplication")).await;
    // Five rows, one key twice; of the totals 42 and 3 the one in `paging` counts.
    assert_eq!((page.rejects.len(), page.findings().len(), page.total), (0, 5, Some(3)));
    let first = page.findings()[0];
    assert_eq!(
        (&*first.key, first.category, first.severity, first.state),
        ("fjioefjwoefijo", Category::Sca, Severity::Medium, Shown::Open)
    );
    assert_eq!(texts(&first.cve), ["CVE-2024-2529"]);
    assert_eq!(texts(&first.cwe), ["CWE-120", "CWE-563"]);
    assert_eq!((first.file_path.as_deref(), first.line_start), (None, None), "it is on the project, not on a file");
    assert_eq!(first.vendor_first_seen.unwrap().to_string(), "2023-10-16T15:05:35Z");
    assert_eq!(texts(&first.tags), ["cve", "cwe", "cwe-937", "owasp-a9", "vulnerability"], "the type is one of the tags");
    let bug = page.findings()[1];
    assert_eq!(bug.file_path.as_deref(), Some("src/app/pages/fjiowefjewio/fjwieof/fjiwoe/details.html"));
    assert_eq!((bug.line_start, bug.line_end, bug.severity), (Some(59), Some(59), Severity::Low));
    assert!(texts(&bug.tags).contains(&"bug"));
    assert_eq!(texts(&page.findings()[3].identifiers), ["GHSA-frr2-c345-p7c2"]);
    assert_eq!(page.findings()[4].severity, Severity::High);
    // The rule's texts: one request for each of the three rules.
    let text = first.description.as_deref().unwrap();
    assert!(text.starts_with("Dead stores should be removed\n\nA dead store happens when"), "{text}");
    assert!(!text.contains("<p>") && text.contains("i = a + b;"), "{text}");
    assert_eq!(script.asked("/api/rules/show").len(), 3);
    let search = &script.asked("/api/issues/search")[0];
    assert_eq!(search, "/api/issues/search?componentKeys=testapplication&types=VULNERABILITY%2CBUG%2CCODE_SMELL&p=1&ps=500");
}

#[tokio::test]
async fn every_recorded_hotspot_is_read_with_the_texts_of_its_rule() {
    let (Some(body), Some(rule)) = (recorded("sonarqube/hotspots_search.json"), recorded("sonarqube/hotspot_rule.json")) else { return };
    let script = Script::of("10.4.1.88267", &[("/api/hotspots/search", 200, body), ("/api/hotspots/show", 200, json!({ "rule": rule }))]);
    let page = walk(&script, secret(), &scope("hotspots", "nana-ofewfe")).await;
    assert_eq!((page.rejects.len(), page.findings().len(), page.total), (0, 4, Some(4)));
    let first = by_key(&page, "hotspot:fwafewef");
    assert_eq!((first.severity, first.vendor_severity.as_deref()), (Severity::High, Some("HIGH")));
    assert_eq!((first.state, first.vendor_state.as_deref()), (Shown::Open, Some("TO_REVIEW")));
    assert_eq!((first.rule.as_deref(), first.file_path.as_deref()), (Some("typescript:7777"), Some("src/app/component.asdf")));
    assert_eq!((first.line_start, first.line_end), (Some(47), Some(47)));
    assert_eq!(texts(&first.tags), ["hotspot", "xss"]);
    assert_eq!(&*first.title, "Make sure disabling asdfbuilt-in sanitization is safe here.");
    assert_eq!(texts(&first.cwe), ["CWE-798", "CWE-259"]);
    assert!(first.remediation.as_deref().unwrap().contains("Store the credentials in a configuration file"));
    assert!(first.description.as_deref().unwrap().starts_with("Hard-coded credentials are security-sensitive\n\nBecause it is easy"));
    assert!(first.description.as_deref().unwrap().contains("Ask Yourself Whether"));
    assert!(texts(&first.reference_urls).contains(&"http://cwe.mitre.org/data/definitions/798"));
    // This component's key is not its path.
    assert_eq!(by_key(&page, "hotspot:werrwerwerwer").file_path.as_deref(), Some("src/app/2389479284379021-footer.component.html"));
    assert_eq!(script.asked("/api/hotspots/show").len(), 4, "four rules");
    assert!(script.asked("/api/hotspots/search")[0].starts_with("/api/hotspots/search?project=nana-ofewfe&p=1&ps=500"));
}

#[tokio::test]
async fn the_recorded_project_is_a_record() {
    let Some(project) = recorded("sonarqube/component.json") else { return };
    let application = json!({ "key": "app", "name": "All", "qualifier": "APP" });
    let script = Script::of(
        "9.9.8.100196",
        &[("/api/components/search_projects", 200, json!({ "paging": { "total": 2 }, "components": [project, application] }))],
    );
    let all = Scope::account("projects");
    let page = walk(&script, secret(), &all).await;
    let records: Vec<&Record> =
        page.items.iter().filter_map(|item| if let Item::Record(record) = item { Some(record) } else { None }).collect();
    assert_eq!(records.len(), 1, "an application is no project");
    assert_eq!((&*records[0].key, &*records[0].name, &*records[0].kind), ("internal.dummy.project", "project", "project"));
    assert!(records[0].url.as_deref().unwrap().ends_with("/dashboard?id=internal.dummy.project"));
    assert_eq!(records[0].attributes, [("visibility", "private".into())]);
    assert_eq!(page.total, None, "pages are filtered after they were counted");
}

#[tokio::test]
async fn an_empty_list_counts_only_when_the_project_can_be_read() {
    let Some(empty) = recorded("sonarqube/issues_search_empty.json") else { return };
    let search = ("/api/issues/search", 200, empty);
    let proved = Script::of("9.9.8.100196", &[search.clone(), ("/api/components/show", 200, json!({ "component": { "key": "p" } }))]);
    let page = walk(&proved, secret(), &scope("issues", "p")).await;
    assert_eq!((page.items.len(), page.total), (0, Some(0)));

    let error = json!({ "errors": [{ "msg": "Insufficient privileges" }] });
    for (status, wanted) in [(403, "permission Browse"), (404, "deleted or renamed")] {
        let script = Script::of("9.9.8.100196", &[search.clone(), ("/api/components/show", status, error.clone())]);
        for since in [None, Some("2026-01-01T00:00:00Z".parse().unwrap())] {
            let (_tool, source) = open(&script, secret(), false).await;
            let scope = scope("issues", "p");
            let ask =
                RawPageRequest { scope: &scope, since, full: since.is_none(), mark: None, cursor: None, stored: &Nothing, parts: None };
            let error = source.unwrap().page(&Context::new(Arc::new(RunStats::without_waits())), ask).await.unwrap_err();
            assert!(error.hint().unwrap().contains(wanted), "{status} {since:?}: {:?}", error.hint());
        }
    }
}

/// Each row of the table: severity and state of issues in Standard Experience, before and after `issueStatus`.
#[tokio::test]
async fn severities_and_states_of_issues_follow_the_table() {
    use Severity::{Critical, High, Info, Low, Medium, Unknown};
    use Shown::{FalsePositive, Fixed, Open, RiskAccepted, Suppressed};
    let rows = [
        (json!({ "severity": "BLOCKER" }), Critical, Open, "OPEN"),
        (json!({ "severity": "CRITICAL" }), High, Open, "OPEN"),
        (json!({ "severity": "MAJOR" }), Medium, Open, "OPEN"),
        (json!({ "severity": "MINOR" }), Low, Open, "OPEN"),
        (json!({ "severity": "INFO" }), Info, Open, "OPEN"),
        (json!({ "severity": "DREADFUL" }), Unknown, Open, "OPEN"),
        (json!({ "severity": null }), Unknown, Open, "OPEN"),
        (json!({ "status": "REOPENED" }), Medium, Open, "REOPENED"),
        (json!({ "status": "CONFIRMED" }), Medium, Open, "CONFIRMED"),
        (json!({ "status": "RESOLVED", "resolution": "FALSE-POSITIVE" }), Medium, FalsePositive, "RESOLVED FALSE-POSITIVE"),
        (json!({ "status": "RESOLVED", "resolution": "WONTFIX" }), Medium, RiskAccepted, "RESOLVED WONTFIX"),
        (json!({ "status": "RESOLVED", "resolution": "FIXED" }), Medium, Fixed, "RESOLVED FIXED"),
        (json!({ "status": "RESOLVED", "resolution": "BORED" }), Medium, Suppressed, "RESOLVED BORED"),
        (json!({ "status": "CLOSED", "resolution": "FIXED" }), Medium, Fixed, "CLOSED FIXED"),
        (json!({ "status": "CLOSED", "resolution": "REMOVED" }), Medium, Fixed, "CLOSED REMOVED"),
        (json!({ "status": "PONDERED" }), Medium, Open, "PONDERED"),
        (json!({ "issueStatus": "OPEN" }), Medium, Open, "OPEN"),
        (json!({ "issueStatus": "CONFIRMED", "status": "CONFIRMED" }), Medium, Open, "CONFIRMED"),
        (json!({ "issueStatus": "IN_SANDBOX" }), Medium, Open, "IN_SANDBOX"),
        (
            json!({ "issueStatus": "FALSE_POSITIVE", "status": "RESOLVED", "resolution": "FALSE-POSITIVE" }),
            Medium,
            FalsePositive,
            "FALSE_POSITIVE",
        ),
        (json!({ "issueStatus": "ACCEPTED", "status": "RESOLVED", "resolution": "WONTFIX" }), Medium, RiskAccepted, "ACCEPTED"),
        (json!({ "issueStatus": "FIXED", "status": "CLOSED", "resolution": "FIXED" }), Medium, Fixed, "FIXED"),
        (json!({ "simpleStatus": "ACCEPTED", "status": "RESOLVED", "resolution": "WONTFIX" }), Medium, RiskAccepted, "ACCEPTED"),
    ];
    let issues: Vec<Value> = rows.iter().enumerate().map(|(number, (more, ..))| issue(&format!("i-{number:02}"), more.clone())).collect();
    let script = Script::of("9.9.8.100196", &[("/api/issues/search", 200, page("issues", &Value::Array(issues)))]);
    let read = walk(&script, secret(), &scope("issues", "p")).await;
    assert_eq!(read.rejects, []);
    for (finding, (more, severity, state, word)) in read.findings().into_iter().zip(&rows) {
        assert_eq!((finding.severity, finding.state, finding.vendor_state.as_deref()), (*severity, *state, Some(*word)), "{more}");
    }
    for word in ["DREADFUL", "BORED", "PONDERED"] {
        assert!(read.warnings.iter().any(|warning| warning.contains(word)), "{word}: {:?}", read.warnings);
    }
}

/// In MQR mode the security impact counts, whatever the old severity and type say.
#[tokio::test]
async fn severities_in_mqr_mode_are_those_of_the_security_impact() {
    let impact = |quality: &str, severity: &str| json!({ "softwareQuality": quality, "severity": severity });
    let rows = [
        (json!([impact("SECURITY", "BLOCKER")]), Severity::Critical, "BLOCKER"),
        (json!([impact("MAINTAINABILITY", "BLOCKER"), impact("SECURITY", "HIGH")]), Severity::High, "HIGH"),
        (json!([impact("SECURITY", "MEDIUM")]), Severity::Medium, "MEDIUM"),
        (json!([impact("SECURITY", "LOW"), impact("RELIABILITY", "HIGH")]), Severity::Low, "LOW"),
        (json!([impact("SECURITY", "INFO")]), Severity::Info, "INFO"),
        (json!([impact("SECURITY", "DREADFUL")]), Severity::Unknown, "DREADFUL"),
        (json!([impact("RELIABILITY", "LOW"), impact("MAINTAINABILITY", "MEDIUM")]), Severity::Medium, "MEDIUM"),
    ];
    let more =
        |impacts: &Value| json!({ "impacts": impacts, "type": "CODE_SMELL", "severity": "MINOR", "cleanCodeAttribute": "TRUSTWORTHY" });
    let issues: Vec<Value> = rows.iter().enumerate().map(|(number, (impacts, ..))| issue(&format!("i-{number}"), more(impacts))).collect();
    let answers = [
        ("/api/v2/clean-code-policy/mode", 200, json!({ "mode": "MQR" })),
        ("/api/issues/search", 200, page("issues", &Value::Array(issues))),
    ];
    let script = Script::of("2025.1.0.102418", &answers);
    let read = walk(&script, secret(), &scope("issues", "p")).await;
    for (finding, (impacts, severity, word)) in read.findings().into_iter().zip(&rows) {
        assert_eq!((finding.severity, finding.vendor_severity.as_deref()), (*severity, Some(*word)), "{impacts}");
    }
    assert_eq!(texts(&read.findings()[0].tags), ["sql", "TRUSTWORTHY"]);
    let search = &script.asked("/api/issues/search")[0];
    assert_eq!(search, "/api/issues/search?components=p&impactSoftwareQualities=SECURITY&p=1&ps=500");
}

#[tokio::test]
async fn version_and_mode_decide_parameters_and_authentication() {
    let standard = ("/api/v2/clean-code-policy/mode", 200, json!({ "mode": "STANDARD_EXPERIENCE" }));
    let some = |list| page(list, &json!([issue("i-1", json!({ "impacts": [], "vulnerabilityProbability": "LOW" }))]));
    let answers = [standard, ("/api/issues/search", 200, some("issues")), ("/api/hotspots/search", 200, some("hotspots"))];
    for (version, issues, hotspots, authorization) in [
        ("9.9.8.100196", "componentKeys=p&types=VULNERABILITY", "projectKey=p", "Basic c3F1X3g6"),
        ("10.1.0.73491", "componentKeys=p&types=VULNERABILITY", "projectKey=p", "Bearer squ_x"),
        ("10.2.0.77647", "components=p&types=VULNERABILITY", "project=p", "Bearer squ_x"),
        ("10.8.1.101195", "components=p&types=VULNERABILITY", "project=p", "Bearer squ_x"),
        ("25.5.0.107428", "components=p&types=VULNERABILITY", "project=p", "Bearer squ_x"),
    ] {
        let script = Script::of(version, &answers);
        walk(&script, secret(), &scope("issues", "p")).await;
        walk(&script, secret(), &scope("hotspots", "p")).await;
        assert_eq!(script.asked("/api/issues/search"), [format!("/api/issues/search?{issues}&p=1&ps=500")], "{version}");
        assert_eq!(script.asked("/api/hotspots/search"), [format!("/api/hotspots/search?{hotspots}&p=1&ps=500")], "{version}");
        assert!(script.authorization.lock().unwrap().iter().all(|sent| sent == authorization), "{version}");
    }
}

#[tokio::test]
async fn states_and_severities_of_hotspots_follow_the_table() {
    use Shown::{FalsePositive, Fixed, Open, RiskAccepted, Suppressed};
    let rows = [
        ("HIGH", "TO_REVIEW", None, Severity::High, Open, "TO_REVIEW"),
        ("MEDIUM", "TO_REVIEW", None, Severity::Medium, Open, "TO_REVIEW"),
        ("LOW", "TO_REVIEW", None, Severity::Low, Open, "TO_REVIEW"),
        ("LURKING", "TO_REVIEW", None, Severity::Unknown, Open, "TO_REVIEW"),
        ("HIGH", "REVIEWED", Some("FIXED"), Severity::High, Fixed, "REVIEWED FIXED"),
        ("HIGH", "REVIEWED", Some("SAFE"), Severity::High, FalsePositive, "REVIEWED SAFE"),
        ("HIGH", "REVIEWED", Some("ACKNOWLEDGED"), Severity::High, RiskAccepted, "REVIEWED ACKNOWLEDGED"),
        ("HIGH", "REVIEWED", Some("EXCEPTION"), Severity::High, RiskAccepted, "REVIEWED EXCEPTION"),
        ("HIGH", "REVIEWED", Some("BORED"), Severity::High, Suppressed, "REVIEWED BORED"),
        ("HIGH", "PONDERED", None, Severity::High, Open, "PONDERED"),
    ];
    let hotspots: Vec<Value> = rows
        .iter()
        .enumerate()
        .map(|(number, (probability, status, resolution, ..))| {
            json!({ "key": format!("h-{number}"), "component": "p:a/b.c", "project": "p", "securityCategory": "auth",
                "vulnerabilityProbability": probability, "status": status, "resolution": resolution, "line": 7,
                "message": "Look here.", "creationDate": "2024-03-01T10:00:00+0000" })
        })
        .collect();
    // 9.6 does not name the rule of a hotspot: its details do, and one request serves all that say the same.
    let rule = json!({ "rule": { "key": "java:S2068", "name": "Credentials" } });
    let answers = [("/api/hotspots/search", 200, page("hotspots", &Value::Array(hotspots))), ("/api/hotspots/show", 200, rule)];
    let script = Script::of("9.6.1.59531", &answers);
    let read = walk(&script, secret(), &scope("hotspots", "p")).await;
    assert_eq!(read.rejects, []);
    for (finding, (probability, _, _, severity, state, word)) in read.findings().into_iter().zip(&rows) {
        assert_eq!((finding.severity, finding.state, finding.vendor_state.as_deref()), (*severity, *state, Some(*word)), "{word}");
        assert_eq!(finding.vendor_severity.as_deref(), Some(*probability));
    }
    let first = by_key(&read, "hotspot:h-0");
    assert_eq!((first.rule.as_deref(), first.description.as_deref()), (Some("java:S2068"), Some("Credentials")));
    assert_eq!((first.file_path.as_deref(), first.line_start), (Some("a/b.c"), Some(7)));
    assert!(first.url.as_deref().unwrap().ends_with("/security_hotspots?id=p&hotspots=h-0"));
    assert_eq!(script.asked("/api/hotspots/show").len(), 1);
}

/// The rest of the table: what no recording holds.
#[tokio::test]
async fn an_issue_of_a_new_server_is_mapped_field_by_field() {
    let section = |key: &str, content: &str, context: Value| json!({ "key": key, "content": content, "context": context });
    let rule = json!({ "rule": { "key": "java:S2077", "name": "SQL <injection>", "descriptionSections": [
        section("resources", "<a href=\"https://cwe.mitre.org/data/definitions/89\">CWE-89</a>", Value::Null),
        section("how_to_fix", "<p>Use JPA.</p>", json!({ "key": "jpa", "displayName": "JPA" })),
        section("how_to_fix", "<p>Use JDBC.</p>", json!({ "key": "jdbc", "displayName": "JDBC" })),
        section("root_cause", "<p>Why it is <b>bad</b>.</p><script>alert(1)</script>", Value::Null),
        section("introduction", "<p>What it is.</p>", Value::Null),
    ] } });
    let issues = json!([
        issue("i-1", json!({ "ruleDescriptionContextKey": "jdbc", "line": 3, "branch": "dev", "externalRuleEngine": "eslint",
            "textRange": { "startLine": 3, "endLine": 5, "startOffset": 1, "endOffset": 2 }, "closeDate": "2024-04-01T00:00:00+0000" })),
        issue("i-2", json!({ "message": "two\u{0}\u{1b}[31m\nlines", "tags": ["former-hotspot", "sql", "sql"] })),
        issue("i-3", json!({ "rule": "secrets:S6290", "component": "p" })),
        issue("i-4", json!({ "rule": "terraform:S6270" })),
        [1, 2],
        { "key": "i-5", "rule": 5 },
    ]);
    let script = Script::of("10.4.1.88267", &[("/api/issues/search", 200, page("issues", &issues)), ("/api/rules/show", 200, rule)]);
    let read = walk(&script, secret(), &scope("issues", "p")).await;
    let rejects: Vec<_> = read.rejects.iter().map(|reject| (reject.key.as_deref(), &*reject.path)).collect();
    assert_eq!(rejects, [(None, ""), (Some("i-5"), "rule")], "a list is no issue, and a rule is no number");
    let first = by_key(&read, "i-1");
    assert_eq!((&*first.title, &*first.record, first.category), ("Use a prepared statement.", "p", Category::Sast));
    assert_eq!((first.rule.as_deref(), first.branch.as_deref()), (Some("java:S2077"), Some("dev")));
    let text = first.description.as_deref().unwrap();
    assert!(text.starts_with("SQL <injection>\n\nWhat it is.\n\nWhy it is **bad**.\n\n") && !text.contains("alert"), "{text}");
    assert_eq!(first.remediation.as_deref(), Some("**JDBC**\n\nUse JDBC."), "the issue's own context");
    assert_eq!(by_key(&read, "i-2").remediation.as_deref(), Some("**JDBC**\n\nUse JDBC.\n\n**JPA**\n\nUse JPA."));
    assert_eq!(texts(&first.cwe), ["CWE-89"]);
    assert_eq!(texts(&first.reference_urls), ["https://cwe.mitre.org/data/definitions/89"]);
    assert_eq!((first.file_path.as_deref(), first.line_start, first.line_end), (Some("src/A.java"), Some(3), Some(5)));
    assert_eq!(texts(&first.tags), ["sql", "eslint"]);
    assert!(first.url.as_deref().unwrap().ends_with("/project/issues?id=p&issues=i-1&open=i-1"));
    assert_eq!(first.vendor_first_seen.unwrap().to_string(), "2024-03-01T09:00:00Z");
    assert_eq!(first.vendor_closed_at.unwrap().to_string(), "2024-04-01T00:00:00Z");
    assert_eq!(first.alternate_key, None);
    let migrated = by_key(&read, "i-2");
    assert_eq!(migrated.alternate_key.as_deref(), Some("hotspot:i-2"), "it was a hotspot, and is the same finding");
    assert!(!migrated.title.contains(char::is_control));
    assert_eq!(texts(&migrated.tags), ["former-hotspot", "sql"]);
    assert_eq!((by_key(&read, "i-3").category, by_key(&read, "i-3").file_path.as_deref()), (Category::Secret, None));
    assert_eq!(by_key(&read, "i-4").category, Category::Iac);
}

#[tokio::test]
async fn a_named_branch_is_sent_unless_it_is_the_main_one_or_missing() {
    let branches = json!({ "branches": [{ "name": "trunk", "isMain": true }, { "name": "release", "isMain": false }] });
    let answers =
        [("/api/project_branches/list", 200, branches), ("/api/issues/search", 200, page("issues", &json!([issue("i-1", json!({}))])))];
    let script = Script::of("9.9.8.100196", &answers);
    let settings = json!({ "secret": "squ_x", "branches": ["trunk", "release", "gone"], "include_hotspots": false });
    let (_tool, source) = open(&script, settings.clone(), false).await;
    let record = tributary_connectors::RecordRef { key: "p".into(), name: "P".into(), kind: "project".into() };
    let scopes = source.unwrap().scopes(&Context::default(), tributary_connectors::Job::Sync(&[record])).await.unwrap();
    let keys: Vec<&str> = scopes.iter().map(|scope| &*scope.key).collect();
    assert_eq!(keys, ["p@trunk", "p@release", "p@gone"]);
    let mut found = Vec::new();
    for scope in &scopes {
        let read = walk(&script, settings.clone(), scope).await;
        found.push(read.findings().first().map(|finding| (finding.branch.clone().unwrap(), finding.url.clone().unwrap())));
    }
    assert_eq!(found[0].as_ref().unwrap().0, Box::<str>::from("trunk"));
    assert!(found[1].as_ref().unwrap().1.ends_with("&open=i-1&branch=release"));
    assert_eq!(found[2], None, "the project has no such branch");
    // It was there once: then what it had is not known to be gone.
    for (mark, complete) in [(None, true), (Some(""), false)] {
        let (_tool, source) = open(&script, settings.clone(), false).await;
        let activity = Arc::new(RunStats::without_waits());
        let cx = Context::new(Arc::clone(&activity));
        let ask = RawPageRequest { scope: &scopes[2], since: None, full: true, mark, cursor: None, stored: &Nothing, parts: None };
        let page = source.unwrap().page(&cx, ask).await.unwrap();
        let coverage = if complete { Coverage::Full } else { Coverage::Delta };
        assert!(matches!(page.next, Next::Done(ended, _) if ended == coverage), "{:?}", page.next);
        let told = if complete { activity.warnings().remove(0) } else { cx.why_incomplete().unwrap().to_owned() };
        assert!(told.contains("project p has no branch `gone`") && cx.why_incomplete().is_none() == complete, "{told}");
    }
    let sent = script.asked("/api/issues/search");
    assert_eq!(sent.len(), 2);
    assert!(!sent[0].contains("branch=") && sent[1].contains("branch=release"), "{sent:?}");
}

#[tokio::test]
async fn hotspots_that_a_server_no_longer_has_are_no_error_but_a_missing_project_is() {
    let proved = Script::of(
        "2026.4.0.1",
        &[("/api/v2/clean-code-policy/mode", 200, json!({ "mode": "MQR" })), ("/api/components/show", 200, json!({ "component": {} }))],
    );
    let read = walk(&proved, secret(), &scope("hotspots", "p")).await;
    assert_eq!((read.items.len(), read.rejects.len()), (0, 0));
    let unknown = json!({ "errors": [{ "msg": "Project 'p' not found" }] });
    let missing = Script::of("9.9.8.100196", &[("/api/hotspots/search", 404, unknown), ("/api/components/show", 200, json!({}))]);
    let (_tool, source) = open(&missing, secret(), false).await;
    let scope = scope("hotspots", "p");
    let ask = RawPageRequest { scope: &scope, since: None, full: true, mark: None, cursor: None, stored: &Nothing, parts: None };
    let error = source.unwrap().page(&Context::default(), ask).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Refused { status: 404, .. }));
}

#[tokio::test]
async fn check_says_what_it_saw_and_names_what_is_missing() {
    let project = json!({ "paging": { "total": 1 }, "components": [{ "key": "p", "name": "P", "qualifier": "TRK" }] });
    let good = [
        ("/api/authentication/validate", 200, json!({ "valid": true })),
        ("/api/v2/clean-code-policy/mode", 200, json!({ "mode": "MQR" })),
        ("/api/components/search_projects", 200, project),
        ("/api/components/show", 200, json!({ "component": { "key": "p" } })),
        ("/api/issues/search", 200, page("issues", &json!([]))),
        ("/api/hotspots/search", 200, page("hotspots", &json!([]))),
    ];
    let with = |path: &'static str, status: u16, body: Value| {
        let mut answers = good.to_vec();
        answers.retain(|(known, ..)| *known != path);
        answers.push((path, status, body));
        Script::of("10.8.1.101195", &answers)
    };
    let checked = check(&Script::of("10.8.1.101195", &good), secret(), false).await.unwrap();
    assert_eq!(
        checked.facts,
        ["SonarQube 10.8.1.101195", "MQR mode: severities of the security impact", "the token expires on 2099-01-31", "1 projects visible"]
    );
    assert_eq!(checked.warnings, Vec::<String>::new());

    let refused = json!({ "errors": [{ "msg": "Insufficient privileges" }] });
    let nothing_here = |path| (path, (404, "nothing here".to_owned()));
    let elsewhere = ["/api/server/version", "/api/system/status"].map(nothing_here);
    let elsewhere = Script { answers: BTreeMap::from(elsewhere), ..Script::default() };
    for (script, token, wanted) in [
        (with("/api/components/show", 403, refused.clone()), "sqp_x", "token of type User"),
        (with("/api/authentication/validate", 200, json!({ "valid": false })), "squ_x", "token of type User"),
        (with("/api/authentication/validate", 401, json!("")), "squ_x", "wrong, expired or revoked"),
        (with("/api/components/show", 403, refused.clone()), "squ_x", "permission Browse"),
        (with("/api/hotspots/search", 403, refused.clone()), "squ_x", "permission Browse"),
        (Arc::new(elsewhere), "squ_x", "the address at which SonarQube opens"),
    ] {
        let error = check(&script, json!({ "secret": token }), false).await.unwrap_err();
        assert!(error.hint().unwrap().contains(wanted), "{wanted}: {error} {:?}", error.hint());
        assert!(!format!("{error:?}").contains(token), "{error:?}");
    }
    for token in ["sqp_x", "sqa_x"] {
        let checked = check(&Script::of("10.8.1.101195", &good), json!({ "secret": token }), false).await.unwrap();
        assert!(checked.warnings[0].contains("analysis token lists issues") && checked.warnings[0].contains("token of type User"));
    }
    let nothing = with("/api/components/search_projects", 200, json!({ "paging": { "total": 0 }, "components": [] }));
    let checked = check(&nothing, secret(), false).await.unwrap();
    assert!(checked.warnings[0].contains("permission Browse"), "{:?}", checked.warnings);
}

#[tokio::test]
async fn cloud_is_told_by_its_host_and_needs_an_organization() {
    let organizations =
        |keys: &[&str]| json!({ "organizations": keys.iter().map(|key| json!({ "key": key, "name": key })).collect::<Vec<_>>() });
    let project = json!({ "paging": { "total": 1 }, "components": [{ "key": "p", "name": "P", "qualifier": "TRK" }] });
    let cloud = |keys: &[&str]| {
        Script::of(
            "8.0.0.61234",
            &[
                ("/api/organizations/search", 200, organizations(keys)),
                ("/api/authentication/validate", 200, json!({ "valid": true })),
                ("/api/projects/search", 200, project.clone()),
                ("/api/components/show", 200, json!({ "component": { "key": "p" } })),
                ("/api/issues/search", 200, page("issues", &json!([]))),
                ("/api/hotspots/search", 200, page("hotspots", &json!([]))),
            ],
        )
    };
    for (keys, shown) in [(vec![], "none"), (vec!["a", "b"], "a, b")] {
        let error = check(&cloud(&keys), secret(), true).await.unwrap_err();
        assert!(matches!(&error.kind, ErrorKind::Settings(why) if why.contains("`organization`") && why.ends_with(shown)), "{error}");
        assert!(error.hint().unwrap().contains("organizations/KEY"));
    }
    for (settings, keys) in [(secret(), vec!["acme"]), (json!({ "secret": "x", "organization": " acme " }), vec![])] {
        let script = cloud(&keys);
        let checked = check(&script, settings, true).await.unwrap();
        assert_eq!(checked.facts[0], "SonarQube Cloud, organization acme");
        assert_eq!(script.asked("/api/projects/search"), ["/api/projects/search?organization=acme&p=1&ps=1"]);
        assert_eq!(
            script.asked("/api/issues/search"),
            ["/api/issues/search?componentKeys=p&organization=acme&impactSoftwareQualities=SECURITY&p=1&ps=1"]
        );
        assert_eq!(script.asked("/api/hotspots/search"), ["/api/hotspots/search?projectKey=p&p=1&ps=1"]);
        assert!(script.authorization.lock().unwrap().iter().all(|sent| sent.starts_with("Bearer ")));
    }
    let wrong = Script::of(
        "8.0.0.61234",
        &[
            ("/api/authentication/validate", 200, json!({ "valid": true })),
            ("/api/projects/search", 404, json!({ "errors": [{ "msg": "No organization for key 'acme'" }] })),
            ("/api/components/search", 404, json!({ "errors": [{ "msg": "No organization for key 'acme'" }] })),
        ],
    );
    let error = check(&wrong, json!({ "secret": "x", "organization": "acme" }), true).await.unwrap_err();
    assert!(error.hint().unwrap().contains("organizations/KEY"), "{error}");
}

#[tokio::test]
async fn an_organization_means_nothing_to_a_server() {
    let script = Script::of("9.9.8.100196", &[("/api/issues/search", 200, page("issues", &json!([issue("i-1", json!({}))])))]);
    let read = walk(&script, json!({ "secret": "squ_x", "organization": "acme" }), &scope("issues", "p")).await;
    assert_eq!(script.asked("/api/issues/search"), ["/api/issues/search?componentKeys=p&types=VULNERABILITY&p=1&ps=500"]);
    assert!(read.warnings.iter().any(|warning| warning.contains("`organization`")), "{:?}", read.warnings);
}

/// 20,000 issues of one severity, second, directory and file, under more rules than a facet lists.
async fn alike(Query(query): Query<BTreeMap<String, String>>) -> String {
    let number: u64 = query["p"].parse().unwrap();
    assert!(number * query["ps"].parse::<u64>().unwrap() <= 10_000, "beyond the window: {query:?}");
    let value = |val: String, count: u64| json!({ "val": val, "count": count });
    let facets: Vec<Value> = query
        .get("facets")
        .into_iter()
        .map(|name| match name.as_str() {
            "rules" => json!({ "property": name, "values": (0..100).map(|rule| value(format!("java:S{rule}"), 10)).collect::<Vec<_>>() }),
            _ => json!({ "property": name, "values": [value(format!("the-{name}"), 20_000), value("none".into(), 0)] }),
        })
        .collect();
    json!({ "paging": { "total": 20_000 }, "issues": [issue(&format!("i-{number}"), json!({ "rule": "" }))], "facets": facets }).to_string()
}

#[tokio::test]
async fn a_slice_that_cannot_be_cut_is_named_and_ends_the_pass_as_not_complete() {
    let text = |body: Value| move || std::future::ready(body.to_string());
    let file = json!({ "key": "p:a.c", "path": "a.c" });
    let router = Router::new()
        .route("/api/server/version", get(|| std::future::ready("9.9.8.100196")))
        .route("/api/components/show", get(text(json!({ "component": {} }))))
        .route("/api/components/tree", get(text(json!({ "paging": { "total": 1 }, "components": [file] }))))
        .route("/api/issues/search", get(alike));
    let tool = start(Canned(router), 0).await.unwrap();
    let link = Endpoint {
        location: Location::parse(&tool.url, false).unwrap(),
        options: HttpOptions::default(),
        limiters: Arc::new(Limiters::default()),
    };
    let source = Registration::find("sonarqube").unwrap().open(secret(), link).unwrap();
    let activity = Arc::new(RunStats::without_waits());
    let cx = Context::new(Arc::clone(&activity));
    let scope = scope("issues", "p");
    let (mut cursor, mut delivered, mut declared) = (None::<Box<str>>, 0, None);
    let coverage = loop {
        let ask = RawPageRequest {
            scope: &scope,
            since: None,
            full: true,
            mark: None,
            cursor: cursor.as_deref().map(Into::into),
            stored: &Nothing,
            parts: None,
        };
        let page = source.page(&cx, ask).await.unwrap();
        delivered += page.items.len();
        declared = declared.max(page.total);
        match page.next {
            Next::More(next) => cursor = Some(next),
            Next::Wait(..) => panic!("nothing to wait for"),
            Next::Done(coverage, _) => break coverage,
        }
    };
    assert_eq!((coverage, delivered, declared), (Coverage::Delta, 40, Some(20_000)));
    for slice in ["(severities=the-severities, files=a.c)", "(severities=the-severities, onComponentOnly=true)"] {
        let named = |warning: &String| warning.contains("p: more than 10,000 issues") && warning.contains(slice);
        assert!(activity.warnings().iter().any(named), "{slice}: {:?}", activity.warnings());
    }
}

#[tokio::test]
async fn lines_and_totals_are_read_in_whatever_form_they_come() {
    let range = |start: Value, end: Value| json!({ "textRange": { "startLine": start, "endLine": end } });
    let rows = [
        (json!({ "line": -1 }), None, None),
        (json!({ "line": "3" }), Some(3), Some(3)),
        (json!({ "line": 3.0 }), Some(3), Some(3)),
        (json!({ "line": null, "textRange": null }), None, None),
        (range(json!("7"), json!(9.0)), Some(7), Some(9)),
        (range(json!(7), json!(2)), Some(7), None),
    ];
    let issues: Vec<Value> = rows.iter().enumerate().map(|(number, (more, ..))| issue(&format!("i-{number}"), more)).collect();
    for total in [json!(6), json!("6"), json!(6.0)] {
        let body = json!({ "paging": { "total": total }, "issues": issues, "components": null, "facets": null });
        let script = Script::of("9.9.8.100196", &[("/api/issues/search", 200, body)]);
        let read = walk(&script, secret(), &scope("issues", "p")).await;
        assert_eq!((read.rejects.len(), read.total), (0, Some(6)));
        for (finding, (more, start, end)) in read.findings().into_iter().zip(&rows) {
            assert_eq!((finding.line_start, finding.line_end), (*start, *end), "{more}");
        }
    }
}

#[tokio::test]
async fn words_are_read_in_any_case() {
    let issues = json!([issue("i-1", json!({ "severity": "critical", "issueStatus": "accepted", "type": "vulnerability" }))]);
    let script = Script::of("9.9.8.100196", &[("/api/issues/search", 200, page("issues", &issues))]);
    let read = walk(&script, secret(), &scope("issues", "p")).await;
    assert_eq!((read.findings()[0].severity, read.findings()[0].state), (Severity::High, Shown::RiskAccepted));
    let hotspots =
        json!([{ "key": "h", "component": "p:a", "vulnerabilityProbability": "high", "status": "reviewed", "resolution": "safe" }]);
    let script = Script::of("9.9.8.100196", &[("/api/hotspots/search", 200, page("hotspots", &hotspots))]);
    let read = walk(&script, secret(), &scope("hotspots", "p")).await;
    assert_eq!((read.findings()[0].severity, read.findings()[0].state), (Severity::High, Shown::FalsePositive));
}

#[tokio::test]
async fn weaknesses_are_those_that_the_server_counts_a_rule_by_and_those_of_its_texts_where_it_counts_none() {
    let rule = json!({ "rule": { "key": "java:S2077", "htmlDesc": "<p>CWE-943 is not it.</p>" } });
    let value = |val: &str| json!({ "val": val, "count": 1 });
    for (values, expected) in
        [(json!([value("564"), value("89")]), vec!["CWE-89", "CWE-564"]), (json!([value("unknown")]), vec![]), (json!([]), vec!["CWE-943"])]
    {
        let mut body = page("issues", &json!([issue("i-1", json!({}))]));
        body["facets"] = json!([{ "property": "cwe", "values": values }]);
        let script = Script::of("9.9.8.100196", &[("/api/issues/search", 200, body), ("/api/rules/show", 200, rule.clone())]);
        let read = walk(&script, secret(), &scope("issues", "p")).await;
        assert_eq!(texts(&read.findings()[0].cwe), expected);
        let asked = script.asked.lock().unwrap();
        let facets = asked.iter().find(|target| target.contains("facets=cwe")).unwrap();
        assert_eq!(facets, "/api/issues/search?componentKeys=p&types=VULNERABILITY&rules=java%3AS2077&facets=cwe&p=1&ps=1");
    }
}

#[tokio::test]
async fn the_order_of_what_is_a_set_changes_nothing_and_a_rule_tagged_secret_finds_secrets() {
    let fix = |context: &str| json!({ "key": "how_to_fix", "content": format!("<p>Use {context}.</p>"), "context": { "key": context, "displayName": context } });
    let mut shown = Vec::new();
    for (contexts, tags) in [(["b", "a", "c"], ["x", "y"]), (["c", "b", "a"], ["y", "x"])] {
        let sections: Vec<Value> = contexts.iter().map(|context| fix(context)).collect();
        let rule = json!({ "rule": { "key": "java:S2077", "name": "n", "descriptionSections": sections, "sysTags": ["cwe", "secret"] } });
        let issues = page("issues", &json!([issue("i-1", json!({ "tags": tags }))]));
        let script = Script::of("9.9.8.100196", &[("/api/issues/search", 200, issues), ("/api/rules/show", 200, rule)]);
        let read = walk(&script, secret(), &scope("issues", "p")).await;
        let finding = read.findings()[0];
        assert_eq!(finding.category, Category::Secret);
        shown.push((finding.remediation.clone().unwrap(), finding.tags.clone()));
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!(&*shown[0].0, "**a**\n\nUse a.\n\n**b**\n\nUse b.\n\n**c**\n\nUse c.");
}
