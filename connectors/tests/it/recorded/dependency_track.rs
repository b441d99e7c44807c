//! Dependency-Track.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{extract::Query, http::StatusCode, response::IntoResponse, routing::get};
use tributary_connectors::{
    ErrorKind,
    model::{Category, Severity, State},
};

use super::*;

fn scope() -> Scope {
    Scope { list: "findings", key: "p-1".into(), title: "p".into(), record: Some("p-1".into()), ..Scope::account("findings") }
}

/// A server of this version whose project says this of itself, one after the other, for ever the last.
fn server(version: &str, projects: &[Value]) -> Router {
    let version = serde_json::json!({ "application": "Dependency-Track", "version": version }).to_string();
    let (projects, asked) = (projects.to_vec(), Arc::new(AtomicUsize::new(0)));
    let project = move || {
        let number = asked.fetch_add(1, Ordering::SeqCst).min(projects.len() - 1);
        std::future::ready(projects[number].to_string())
    };
    Router::new().route("/api/version", get(move || std::future::ready(version))).route("/api/v1/project/{uuid}", get(project))
}

async fn read_of(version: &str, projects: &[Value], findings: &Value) -> Read {
    let settings = serde_json::json!({ "secret": "odt_x", "frontend_url": "https://dtrack.example/" });
    let body = findings.to_string();
    let answers = server(version, projects).route("/api/v1/finding/project/{uuid}", get(move || std::future::ready(body)));
    read("dependency_track", settings, &scope(), answers).await
}

async fn page(findings: &Value) -> Read {
    read_of("4.14.3", &[serde_json::json!({ "uuid": "p-1" })], findings).await
}

/// The findings of a recorded file.
async fn recorded(name: &str) -> Option<(usize, Read)> {
    let file = super::recorded(&format!("dependency_track/{name}"))?;
    let count = file["findings"].as_array().unwrap().len();
    Some((count, page(&file["findings"]).await))
}

#[tokio::test]
async fn every_recorded_finding_is_read_and_none_is_rejected() {
    for (name, expected) in [
        ("dependency_track_4.10_2024_02_11.json", 1),
        ("deptrack_npm_4.14.1.json", 22),
        ("many_findings_with_alias.json", 12),
        ("no_findings_because_findings_key_is_empty_list.json", 0),
        ("one_finding_with_analysis_detail.json", 1),
    ] {
        let Some((count, page)) = recorded(name).await else { continue };
        assert_eq!(page.rejects, [], "{name}");
        assert_eq!((count, page.items.len()), (expected, expected), "{name}");
        for finding in page.findings() {
            assert!(!finding.title.is_empty() && finding.raw.is_some() && finding.vendor_first_seen.is_some(), "{name}: {}", finding.key);
        }
    }
}

#[tokio::test]
async fn a_finding_of_4_10_is_mapped_field_by_field() {
    let Some((_, page)) = recorded("dependency_track_4.10_2024_02_11.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!(
        &*finding.key,
        "1g2345tc-16rh-7te5-92b5-12345z6789fb:4b5385f9-52fa-4116-a6e8-79197ad27c01:3ef52aaa-6f61-4b8e-9764-d51fe5cd754d"
    );
    assert_eq!(&*finding.title, "urllib3:1.26.16 affected by CVE-2023-45803");
    assert_eq!((finding.category, finding.severity, finding.vendor_severity.as_deref()), (Category::Sca, Severity::Medium, Some("MEDIUM")));
    assert_eq!((finding.state, finding.vendor_state.as_deref()), (State::Open, Some("NOT_SET")));
    assert_eq!((texts(&finding.cve), texts(&finding.identifiers)), (vec!["CVE-2023-45803"], vec!["GHSA-g4mx-q9vg-27p4"]));
    assert_eq!(texts(&finding.cwe), ["CWE-200"]);
    let cvss = finding.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score, cvss.vector.as_deref()), ("3.1", Some(4.2), None));
    assert_eq!((finding.epss_score, finding.exploited), (Some(0.00043), None));
    assert_eq!((finding.component_name.as_deref(), finding.component_version.as_deref()), (Some("urllib3"), Some("1.26.16")));
    assert_eq!(finding.component_purl.as_deref(), Some("pkg:pypi/urllib3@1.26.16"));
    assert_eq!(finding.fixed_version, None, "the latest version is not the fixed one");
    assert_eq!(texts(&finding.tags), ["OSSINDEX_ANALYZER", "latest version 2.2.0"]);
    assert_eq!(finding.reference_urls.len(), 1);
    assert!(finding.reference_urls[0].starts_with("https://ossindex.sonatype.org/vulnerability/CVE-2023-45803"));
    assert_eq!(finding.vendor_first_seen.unwrap().to_string(), "2024-01-31T15:19:45.978Z");
    let own = "/findings/4b5385f9-52fa-4116-a6e8-79197ad27c01/3ef52aaa-6f61-4b8e-9764-d51fe5cd754d";
    assert_eq!(finding.url.as_deref(), Some(&*format!("https://dtrack.example/projects/p-1{own}")));
    assert_eq!(finding.lineage.as_deref(), Some("p-1\npkg:pypi/urllib3@1.26.16\nCVE-2023-45803"));
    assert_eq!(finding.asset_key.as_deref(), Some("4b5385f9-52fa-4116-a6e8-79197ad27c01"));
    assert!(finding.description.as_deref().unwrap().starts_with("urllib3 is a user-friendly HTTP client library"));
}

#[tokio::test]
async fn version_4_14_adds_cvss_4_and_links() {
    let Some((_, page)) = recorded("deptrack_npm_4.14.1.json").await else { return };
    let first = page.findings()[0];
    let cvss = first.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score), ("4.0", Some(9.2)));
    assert_eq!(cvss.vector.as_deref(), Some("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:H/SC:N/SI:N/SA:H"));
    assert_eq!(texts(&first.reference_urls), ["https://github.com/isaacs/brace-expansion/security/advisories/GHSA-7h2j-956f-4vf2"]);
    let axios = page.findings().into_iter().find(|finding| finding.rule.as_deref() == Some("GHSA-3p68-rc4w-qgx5")).unwrap();
    assert_eq!((texts(&axios.cve), texts(&axios.identifiers)), (vec!["CVE-2025-62718"], vec!["GHSA-3p68-rc4w-qgx5"]));
    assert_eq!(texts(&axios.cwe), ["CWE-441", "CWE-918"]);
    assert_eq!(axios.severity, Severity::Medium);
}

#[tokio::test]
async fn a_word_of_the_analyst_is_kept() {
    let Some((_, page)) = recorded("one_finding_with_analysis_detail.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!((finding.state, finding.vendor_state.as_deref(), finding.severity), (State::Open, Some("IN_TRIAGE"), Severity::Critical));
    assert!(
        finding
            .description
            .as_deref()
            .unwrap()
            .ends_with("Analysis: Reviewed and confirmed vulnerable. Upgrade scheduled for next sprint.")
    );
}

/// What nothing is known of is told apart by its key alone: it has no identity that another one could take a decision from.
#[tokio::test]
async fn a_row_whose_component_cannot_be_read_is_stored_and_hands_over_nothing() {
    let row = |number: usize, component: Value| {
        let vulnerability = serde_json::json!({ "vulnId": "CVE-2024-1", "severity": "HIGH" });
        serde_json::json!({ "matrix": format!("m-{number}"), "component": component, "vulnerability": vulnerability })
    };
    let odd = [serde_json::json!(null), serde_json::json!("lib"), serde_json::json!({}), serde_json::json!({ "name": null, "uuid": "c" })];
    let rows: Vec<Value> = odd.into_iter().enumerate().map(|(number, component)| row(number, component)).collect();
    let page = page(&rows.into()).await;
    assert_eq!((page.items.len(), &page.rejects), (4, &Vec::new()));
    for finding in page.findings() {
        assert_eq!(&*finding.title, "a component without a name affected by CVE-2024-1");
        assert_eq!(finding.lineage, None);
    }
}

/// States, severities and scores that no recorded file holds: a body of our own for each row of the mapping table.
#[tokio::test]
async fn states_and_severities_follow_the_table() {
    let body = |number: usize, analysis: Value, vulnerability: Value| {
        let mut base = serde_json::json!({
            "component": { "uuid": "c", "name": "n", "group": "g", "version": "1", "scope": "REQUIRED" },
            "vulnerability": { "uuid": "v", "vulnId": "INT-1", "recommendation": "Upgrade.", "isKev": true, "cweId": "79", "aliases": [] },
            "analysis": analysis, "attribution": { "attributedOn": 1_700_000_000_000_u64 }, "matrix": format!("m-{number}"),
        });
        base["vulnerability"].as_object_mut().unwrap().extend(vulnerability.as_object().unwrap().clone());
        base
    };
    let high = serde_json::json!({ "severity": "HIGH" });
    let state = |state: &str, suppressed: bool| serde_json::json!({ "state": state, "isSuppressed": suppressed });
    let unset = state("NOT_SET", false);
    let severity = |severity: &str| serde_json::json!({ "severity": severity });
    let rows = [
        (state("FALSE_POSITIVE", true), high.clone(), State::FalsePositive, Severity::High),
        (state("NOT_AFFECTED", false), high.clone(), State::FalsePositive, Severity::High),
        (state("RESOLVED", false), high.clone(), State::Fixed, Severity::High),
        (state("EXPLOITABLE", true), high.clone(), State::RiskAccepted, Severity::High),
        (state("EXPLOITABLE", false), high.clone(), State::Open, Severity::High),
        (state("IN_TRIAGE", false), high.clone(), State::Open, Severity::High),
        (state("PONDERING", false), high, State::Open, Severity::High),
        (unset.clone(), severity("CRITICAL"), State::Open, Severity::Critical),
        (unset.clone(), severity("LOW"), State::Open, Severity::Low),
        (unset.clone(), severity("INFO"), State::Open, Severity::Info),
        (unset.clone(), severity("APOCALYPTIC"), State::Open, Severity::Unknown),
        (unset.clone(), serde_json::json!({}), State::Open, Severity::Unknown),
        (unset.clone(), serde_json::json!({ "severity": "UNASSIGNED", "cvssV2BaseScore": 9.9 }), State::Open, Severity::High),
        (unset.clone(), serde_json::json!({ "severity": "UNASSIGNED", "cvssV3BaseScore": "9.9" }), State::Open, Severity::Critical),
        (unset, serde_json::json!({ "severity": "UNASSIGNED", "cvssV4Score": 5.0, "cvssV3BaseScore": 9.9 }), State::Open, Severity::Medium),
    ];
    let bodies: Vec<Value> =
        rows.iter().enumerate().map(|(n, (analysis, vulnerability, ..))| body(n, analysis.clone(), vulnerability.clone())).collect();
    let page = page(&Value::Array(bodies)).await;
    assert_eq!(page.rejects, []);
    for (finding, (analysis, vulnerability, state, severity)) in page.findings().into_iter().zip(&rows) {
        assert_eq!((finding.state, finding.severity), (*state, *severity), "{analysis} {vulnerability}");
    }
    let first = page.findings()[0];
    assert_eq!(
        (first.exploited, first.remediation.as_deref(), first.component_name.as_deref()),
        (Some(true), Some("Upgrade."), Some("g/n"))
    );
    assert_eq!((texts(&first.cwe), texts(&first.identifiers), texts(&first.tags)), (vec!["CWE-79"], vec!["INT-1"], vec!["REQUIRED"]));
    assert_eq!(texts(&page.findings()[4].tags), ["verified", "REQUIRED"]);
    assert_eq!(texts(&page.findings()[11].tags), ["unassigned", "REQUIRED"]);
}

/// A finding with these members of its parts besides.
fn one(component: &Value, vulnerability: &Value, more: &Value) -> Value {
    let mut body = serde_json::json!({
        "component": { "uuid": "c-1", "name": "lib", "version": "1" }, "vulnerability": { "uuid": "v-1", "vulnId": "CVE-2026-1234", "severity": "HIGH" },
        "matrix": "p-1:c-1:v-1",
    });
    let mut extend = |part: &str, more: &Value| body[part].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    extend("component", component);
    extend("vulnerability", vulnerability);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn what_stays_the_same_when_a_bom_is_uploaded_anew_is_package_and_vulnerability() {
    let none = serde_json::json!({});
    let vulnerability = |id: &str| serde_json::json!({ "vulnId": id });
    for (component, id, expected) in [
        (serde_json::json!({ "uuid": "c-9", "purl": "pkg:npm/lib@1" }), "INT-1", "p-1\npkg:npm/lib@1\nINT-1"),
        (serde_json::json!({ "group": "org.acme" }), "GHSA-aaaa-bbbb-cccc", "p-1\norg.acme/lib/1\nGHSA-aaaa-bbbb-cccc"),
        (serde_json::json!({ "version": null, "purl": "" }), "CVE-2026-1", "p-1\n/lib/\nCVE-2026-1"),
    ] {
        let read = page(&serde_json::json!([one(&component, &vulnerability(id), &none)])).await;
        assert_eq!(read.findings()[0].lineage.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn members_of_other_types_cost_no_finding() {
    let component = serde_json::json!({ "name": null, "version": 7, "scope": "NONE", "group": null });
    let vulnerability = serde_json::json!({ "aliases": null, "cwes": null, "severity": "high", "cvssV3BaseScore": "6.95", "title": 5 });
    let more = serde_json::json!({ "analysis": { "state": "not_affected", "isSuppressed": null },
        "attribution": { "analyzerIdentity": "NONE", "attributedOn": 0, "referenceUrl": "https://x.example/a(b)[c]" } });
    let read = page(&serde_json::json!([one(&component, &vulnerability, &more)])).await;
    assert_eq!((read.rejects.len(), read.warnings.len()), (0, 0), "{:?} {:?}", read.rejects, read.warnings);
    let finding = read.findings()[0];
    assert_eq!((finding.severity, finding.state), (Severity::High, State::FalsePositive));
    assert_eq!(&*finding.title, "a component without a name:7 affected by CVE-2026-1234");
    assert_eq!((finding.vendor_first_seen, texts(&finding.tags)), (None, vec![]), "the epoch is no date, and NONE is no tag");
    assert_eq!(texts(&finding.reference_urls), ["https://x.example/a(b)[c]"]);
}

#[tokio::test]
async fn a_finding_of_two_analyzers_is_one_and_the_same_in_both_rows_whichever_comes_first() {
    let none = serde_json::json!({});
    let by = |analyzer: &str, at: u64| {
        let attribution =
            serde_json::json!({ "analyzerIdentity": analyzer, "attributedOn": at, "referenceUrl": format!("https://{analyzer}.example/") });
        one(&none, &none, &serde_json::json!({ "attribution": attribution }))
    };
    let (a, b) = (by("A", 1_770_000_002_000), by("B", 1_770_000_001_000));
    let mut shown = Vec::new();
    for rows in [[&a, &b], [&b, &a]] {
        let read = page(&serde_json::json!(rows)).await;
        let rows = read.findings();
        assert_eq!(rows.len(), 2, "the vendor counts two rows");
        for row in rows {
            shown.push(format!("{:?} {:?} {:?} {}", row.tags, row.reference_urls, row.vendor_first_seen, row.raw.as_ref().unwrap()));
        }
    }
    shown.dedup();
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert!(shown[0].starts_with(r#"["A", "B"] ["https://A.example/", "https://B.example/"] Some(2026-02-02T02:40:01Z)"#), "{}", shown[0]);
}

#[tokio::test]
async fn links_lead_to_the_finding_where_the_web_interface_has_a_page_for_it() {
    let none = serde_json::json!({});
    let finding = serde_json::json!([one(&none, &none, &none)]);
    let project = [serde_json::json!({})];
    for (version, expected) in [
        ("4.11.7", "https://dtrack.example/projects/p-1"),
        ("4.12.0", "https://dtrack.example/projects/p-1/findings/c-1/v-1"),
        ("5.1.0-SNAPSHOT", "https://dtrack.example/projects/p-1/findings/c-1/v-1"),
        ("unknown", "https://dtrack.example/projects/p-1"),
    ] {
        let read = read_of(version, &project, &finding).await;
        assert_eq!(read.findings()[0].url.as_deref(), Some(expected), "{version}");
    }
    // Without `frontend_url`: the web interface's own configuration, at the same address, says that it is there.
    let body = finding.to_string();
    let answers = server("4.14.3", &project).route("/api/v1/finding/project/{uuid}", get(move || std::future::ready(body)));
    let without = serde_json::json!({ "secret": "odt_x" });
    let read = super::read("dependency_track", without.clone(), &scope(), answers.clone()).await;
    assert_eq!(read.findings()[0].url, None);
    let config = || std::future::ready(r#"{"API_BASE_URL":""}"#);
    let read = super::read("dependency_track", without, &scope(), answers.route("/static/config.json", get(config))).await;
    let url = read.findings()[0].url.clone().unwrap();
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/projects/p-1/findings/c-1/v-1"), "{url}");
}

#[tokio::test]
async fn a_list_is_no_proof_while_the_imported_bom_is_not_analysed() {
    let now = jiff::Timestamp::now().as_millisecond();
    let project = |import: i64, analysis: Option<i64>| serde_json::json!({ "uuid": "p-1", "lastBomImport": now + import, "lastVulnerabilityAnalysis": analysis.map(|at| now + at) });
    let second = 1000;
    let hour = 3600 * second;
    for (before, after, proof) in [
        (project(-5 * second, Some(-2 * second)), None, true),
        (project(-5 * second, Some(-9 * second)), None, false),
        // The analysis ended while the list was read; the import came while it was read; both.
        (project(-5 * second, Some(-9 * second)), Some(project(-5 * second, Some(0))), false),
        (project(-hour, Some(-hour)), Some(project(0, Some(-hour))), false),
        (project(-hour, Some(-hour)), Some(project(-second, Some(0))), false),
        // A BOM without components is never analysed: an hour is enough. So it is before 4.13, which does not tell.
        (project(-second, None), None, false),
        (project(-2 * hour, None), None, true),
        (serde_json::json!({ "uuid": "p-1", "metrics": null }), None, true),
    ] {
        let states = [before.clone(), after.clone().unwrap_or(before)];
        let read = read_of("4.14.3", &states, &serde_json::json!([])).await;
        let why = read.incomplete.as_deref().unwrap_or_default();
        assert_eq!((read.incomplete.is_none(), why.contains("a BOM was imported")), (proof, !proof), "{states:?} {why}");
    }
}

#[tokio::test]
async fn an_import_that_was_analysed_explains_the_change_of_one_complete_pass() {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut mark: Option<Box<str>> = None;
    for (import, analysis, explained) in [(-9000, -8000, false), (-9000, -7000, false), (-5000, -4000, true), (-5000, -4000, false)] {
        let project = serde_json::json!({ "lastBomImport": now + import, "lastVulnerabilityAnalysis": now + analysis });
        let answers = server("4.14.3", &[project]).route("/api/v1/finding/project/{uuid}", get(|| std::future::ready("[]")));
        let tool = start(Canned(answers), 0).await.unwrap();
        let link = Endpoint {
            location: Location::parse(&tool.url, false).unwrap(),
            options: HttpOptions::default(),
            limiters: Arc::new(Limiters::default()),
        };
        let source = Registration::find("dependency_track").unwrap().open(serde_json::json!({ "secret": "odt_x" }), link).unwrap();
        let (cx, scope) = (Context::new(Arc::new(RunStats::without_waits())), scope());
        let ask =
            RawPageRequest { scope: &scope, since: None, full: true, mark: mark.as_deref(), cursor: None, stored: &Nothing, parts: None };
        let page = source.page(&cx, ask).await.unwrap();
        assert_eq!((cx.why_changed().is_some(), cx.why_incomplete()), (explained, None), "{import} {mark:?}");
        let Next::Done(Coverage::Full, next) = page.next else { panic!("the list has ended") };
        mark = next;
    }
}

/// The largest body that is read has 64 MiB.
async fn too_long(Query(query): Query<HashMap<String, String>>) -> Response {
    let none = serde_json::json!({});
    let of = |id: &str| one(&none, &serde_json::json!({ "vulnId": id }), &serde_json::json!({ "matrix": format!("p-1:c-1:{id}") }));
    match query.get("source").map(String::as_str) {
        None => format!("[{}]", " ".repeat(65 << 20)).into_response(),
        Some("NVD") => serde_json::json!([of("CVE-2026-1111"), of("CVE-2026-2222")]).to_string().into_response(),
        Some("UNKNOWN") => serde_json::json!([of("X-1")]).to_string().into_response(),
        Some("TRIVY") => StatusCode::NOT_FOUND.into_response(),
        Some(_) => "[]".into_response(),
    }
}

#[tokio::test]
async fn a_list_of_version_4_that_is_too_long_for_one_answer_is_read_by_its_sources() {
    for (metrics, proof) in [
        (serde_json::json!({ "findingsTotal": 2, "suppressed": 1 }), true),
        (serde_json::json!({ "findingsTotal": 3, "suppressed": 1 }), false),
        (Value::Null, false),
    ] {
        let answers = server("4.14.3", &[serde_json::json!({ "metrics": metrics })]).route("/api/v1/finding/project/{uuid}", get(too_long));
        let read = super::read("dependency_track", serde_json::json!({ "secret": "odt_x" }), &scope(), answers).await;
        assert_eq!((read.findings().len(), read.total, read.coverage), (3, None, Coverage::Full));
        assert_eq!(read.incomplete.is_none(), proof, "{metrics} {:?}", read.incomplete);
    }
}

#[tokio::test]
async fn a_project_says_version_parent_and_whether_it_is_the_latest_and_odd_members_cost_nothing() {
    let projects = serde_json::json!([
        { "uuid": "p-1", "name": "shop", "version": "1.2", "isLatest": true, "parent": { "uuid": "p-0", "name": "all", "version": "2" },
          "tags": [{ "name": "a" }, { "name": 7 }, {}, "b"], "active": true, "collectionLogic": "NONE" },
        { "uuid": "p-2", "name": null, "tags": null, "parent": null },
        { "uuid": "p-3", "name": 5, "version": 6 },
    ]);
    let body = projects.to_string();
    let answers = server("4.14.3", &[serde_json::json!({})]).route("/api/v1/project", get(move || std::future::ready(body)));
    let read = super::read("dependency_track", serde_json::json!({ "secret": "odt_x" }), &Scope::account("projects"), answers).await;
    assert_eq!(read.rejects, []);
    let records: Vec<_> = read.items.iter().map(|item| if let Item::Record(record) = item { record } else { panic!("{item:?}") }).collect();
    let names: Vec<&str> = records.iter().map(|record| &*record.name).collect();
    assert_eq!(names, ["shop 1.2", "p-2", "5 6"]);
    let shown: Vec<String> = records[0].attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["version=1.2", "is_latest=true", "parent=all 2", "tags=a, 7, b"]);
}

/// A restart under a sync: the container of the API server, or the proxy in front of it, answers for it meanwhile.
#[tokio::test]
async fn a_restart_is_told_as_a_start_and_an_error_of_a_tool_that_is_up_as_that() {
    const VERSION: &str = r#"{"application":"Dependency-Track","version":"4.14.3"}"#;
    let fails = |status: StatusCode| get(move || std::future::ready((status, "no")));
    let of = |status| Router::new().route("/api/v1/project/{uuid}", fails(status)).route("/api/version", get(|| async { VERSION }));
    let down = r#"{"status":"DOWN","checks":[{"name":"database","status":"DOWN"}]}"#;
    let health = get(move || std::future::ready((StatusCode::SERVICE_UNAVAILABLE, down)));
    let (unavailable, defect) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR);
    for (answers, told) in [
        (of(unavailable).route("/health/ready", health), Some("waits for what it needs (database)")),
        (Router::new().fallback(fails(StatusCode::BAD_GATEWAY)), Some("GET /api/version is answered with 502")),
        (of(unavailable), None),
        (of(defect), None),
    ] {
        let tool = start(Canned(answers), 0).await.unwrap();
        let link = Endpoint {
            location: Location::parse(&tool.url, false).unwrap(),
            options: HttpOptions::default(),
            limiters: Arc::new(Limiters::default()),
        };
        let source = Registration::find("dependency_track").unwrap().open(serde_json::json!({ "secret": "odt_x" }), link).unwrap();
        let scope = scope();
        let ask = RawPageRequest { scope: &scope, since: None, full: true, mark: None, cursor: None, stored: &Nothing, parts: None };
        let error = source.page(&Context::new(Arc::new(RunStats::without_waits())), ask).await.unwrap_err();
        match (&error.kind, told) {
            (ErrorKind::Pending(why), Some(told)) => assert!(why.contains(told), "{why}"),
            (ErrorKind::Vendor { .. }, None) => {}
            (other, told) => panic!("{told:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_tool_that_starts_is_told_as_that_and_a_deleted_project_is_refused_with_404() {
    let down =
        || std::future::ready((StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"DOWN","checks":[{"name":"database","status":"DOWN"}]}"#));
    let deleted = || std::future::ready((StatusCode::NOT_FOUND, "The project could not be found."));
    let version = r#"{"application":"Dependency-Track","version":"4.14.3"}"#;
    let gone = Router::new().route("/api/v1/project/{uuid}", get(deleted)).route("/api/version", get(move || std::future::ready(version)));
    for (answers, starting) in [(gone.clone(), false), (gone.route("/health/ready", get(down)), true)] {
        let tool = start(Canned(answers), 0).await.unwrap();
        let link = Endpoint {
            location: Location::parse(&tool.url, false).unwrap(),
            options: HttpOptions::default(),
            limiters: Arc::new(Limiters::default()),
        };
        let source = Registration::find("dependency_track").unwrap().open(serde_json::json!({ "secret": "odt_x" }), link).unwrap();
        let scope = scope();
        let ask = RawPageRequest { scope: &scope, since: None, full: true, mark: None, cursor: None, stored: &Nothing, parts: None };
        let error = source.page(&Context::new(Arc::new(RunStats::without_waits())), ask).await.unwrap_err();
        match error.kind {
            ErrorKind::Pending(why) => assert!(starting && why.contains("database"), "{why}"),
            ErrorKind::Refused { status, .. } => assert_eq!((status, starting), (404, false)),
            other => panic!("{other:?}"),
        }
    }
}
