//! Semgrep.

use std::collections::BTreeSet;

use axum::{extract::Query, routing::get};
use serde_json::json;
use tributary_connectors::model::{Category, Severity, State};

use super::*;

/// A Semgrep of one deployment and these projects, where findings and secrets are answered so.
async fn walk<F>(list: &'static str, settings: Value, answer: F) -> Read
where
    F: Fn(&HashMap<String, String>) -> Value + Clone + Send + Sync + 'static,
{
    let deployments = json!({ "deployments": [{ "id": 120, "name": "Acme", "slug": "acme", "findings": { "url": "https://x.example" } }] });
    let projects = json!({ "projects": [
        { "id": 1, "name": "semgrep", "tags": ["red", "blue"], "url": "https://github.com/semgrep/semgrep", "primary_branch": "refs/heads/main",
          "created_at": "2020-11-18 23:28:12.391807+00:00", "latest_scan_at": "2024-06-20T17:33:00.669343Z" },
        { "id": 2, "name": "simpsoncorp/sample_repo", "tags": "red", "default_branch": "refs/heads/trunk" },
        { "id": 3, "name": "foo/bar" }, { "id": 4, "name": "foo/baz", "tags": [] },
    ] });
    let page = move |Query(query): Query<HashMap<String, String>>| std::future::ready(answer(&query).to_string());
    let answers = Router::new()
        .route("/api/v1/deployments", get(move || std::future::ready(deployments.to_string())))
        .route(
            "/api/v1/deployments/acme/projects",
            get(move |Query(query): Query<HashMap<String, String>>| {
                let body = if query["page"] == "0" { projects.to_string() } else { json!({ "projects": [] }).to_string() };
                std::future::ready(body)
            }),
        )
        .route("/api/v1/deployments/acme/findings", get(page.clone()))
        .route("/api/v1/deployments/120/secrets", get(page));
    let scope = Scope { list, key: "120".into(), title: list.into(), record: None, ..Scope::account(list) };
    read("semgrep", settings, &scope, answers).await
}

/// One page of findings, and the empty page after it.
async fn page(list: &'static str, findings: &Value) -> Read {
    let findings = findings.clone();
    walk(list, json!({ "secret": "t" }), move |query| {
        let first = query.get("page").or(query.get("cursor")).is_some_and(|page| page == "0" || page.is_empty());
        json!({ "findings": if first { findings.clone() } else { json!([]) } })
    })
    .await
}

async fn recorded(list: &'static str, name: &str) -> Option<Read> {
    let file = super::recorded(&format!("semgrep/{name}"))?;
    Some(page(list, &file["findings"]).await)
}

#[tokio::test]
async fn every_recorded_finding_is_read_and_none_is_rejected() {
    for (list, name, expected) in [
        ("sast", "findings_sast_one_vuln.json", 1),
        ("sast", "findings_sast_multiple_cwes_fabricated.json", 1),
        ("sast", "findings_sast_no_vuln.json", 0),
        ("sca", "findings_sca.json", 2),
        ("secrets", "secrets_page.json", 2),
    ] {
        let Some(page) = recorded(list, name).await else { continue };
        assert_eq!((&page.rejects[..], page.items.len(), page.coverage), (&[][..], expected, Coverage::Full), "{name}");
        assert!(page.warnings.is_empty() && page.total.is_none(), "{name}: {:?}", page.warnings);
        for finding in page.findings() {
            assert!(
                finding.raw.is_some() && finding.vendor_first_seen.is_some() && finding.description.is_some(),
                "{name}: {}",
                finding.key
            );
        }
    }
}

#[tokio::test]
async fn a_code_finding_is_mapped_field_by_field() {
    let Some(page) = recorded("sast", "findings_sast_one_vuln.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!((&*finding.key, &*finding.record, finding.category), ("sast:1234567", "1", Category::Sast));
    assert_eq!(&*finding.title, "plaintext-http-link");
    assert_eq!(finding.rule.as_deref(), Some("html.security.plaintext-http-link.plaintext-http-link"));
    assert_eq!(finding.branch.as_deref(), Some("refs/pull/1234/merge"));
    assert_eq!((finding.severity, finding.vendor_severity.as_deref()), (Severity::Medium, Some("medium")));
    assert_eq!((finding.state, finding.vendor_state.as_deref()), (State::Open, Some("open")));
    assert_eq!(
        finding.description.as_deref(),
        Some("This link points to a plaintext HTTP URL. Prefer an encrypted HTTPS URL if possible.")
    );
    assert_eq!(texts(&finding.cwe), ["CWE-319"]);
    assert_eq!((finding.file_path.as_deref(), finding.line_start), (Some("frontend/src/corpComponents/Code.tsx"), Some(120)));
    assert_eq!(finding.line_end, Some(124));
    assert_eq!(
        finding.url.as_deref(),
        Some("https://github.com/semgrep/semgrep/blob/39f95450a7d4d70e54c9edbd109bed8210a36889/src/core_cli/Core_CLI.ml#L1")
    );
    let advice = finding.remediation.as_deref().unwrap();
    assert!(advice.starts_with("Use a template rendering engine such as EJS instead of string concatenation.\n\n1. Check if"), "{advice}");
    assert!(advice.ends_with("\n\n    cookie.setHttpOnly(true);\n    response.addCookie(cookie);"), "{advice}");
    assert_eq!(
        texts(&finding.tags),
        ["security", "A02:2021 - Cryptographic Failures", "A03:2017 - Sensitive Data Exposure", "confidence: medium"]
    );
    assert_eq!(finding.vendor_first_seen.unwrap().to_string(), "2020-11-18T23:28:12.391807Z");
    assert_eq!(finding.vendor_last_seen, None);
    let Some(page) = recorded("sast", "findings_sast_multiple_cwes_fabricated.json").await else { return };
    assert_eq!(texts(&page.findings()[0].cwe), ["CWE-311", "CWE-319"]);
}

#[tokio::test]
async fn a_supply_chain_finding_is_mapped_field_by_field() {
    let Some(page) = recorded("sca", "findings_sca.json").await else { return };
    let [used, unused] = page.findings()[..] else { panic!("two findings") };
    assert_eq!((&*used.key, &*used.record, used.category), ("sca:73537136", "2", Category::Sca));
    assert_eq!(&*used.title, "moment@2.29.2: CVE-2022-31129");
    assert_eq!(used.rule.as_deref(), Some("ssc-1e99e462-0fc5-4109-ad52-d2b5a7048232"));
    assert_eq!((texts(&used.cve), texts(&used.identifiers)), (vec!["CVE-2022-31129"], vec![]));
    assert_eq!(texts(&used.cwe), ["CWE-1333", "CWE-400"]);
    assert_eq!((used.component_name.as_deref(), used.component_version.as_deref()), (Some("moment"), Some("2.29.2")));
    assert_eq!(used.component_purl.as_deref(), Some("pkg:npm/moment@2.29.2"));
    assert_eq!((used.fix_available, used.fixed_version.as_deref()), (Some(true), Some("2.29.4")));
    assert_eq!(used.remediation.as_deref(), Some("Upgrade moment to 2.29.4."));
    let file = "src/packages/linked-accounts/components/LinkedAccountsTable/constants.tsx";
    assert_eq!((used.file_path.as_deref(), used.line_start, used.line_end), (Some(file), Some(274), Some(274)));
    assert!(used.url.as_deref().unwrap().ends_with("/AccountsTable/constants.tsx#L274"));
    assert_eq!((used.severity, used.state, used.branch.as_deref()), (Severity::High, State::Open, Some("main")));
    assert_eq!(
        texts(&used.tags),
        [
            "security",
            "A06: 2021 - Vulnerable and Outdated Components",
            "confidence: high",
            "reachability: reachable",
            "transitivity: direct"
        ]
    );
    // The placeholder is no id, and a place that is not used is where the lockfile names the package.
    assert_eq!(&*unused.title, "moment@2.29.2: Denial-of-Service (DoS)");
    assert_eq!((unused.cve.len(), unused.identifiers.len()), (0, 0));
    assert_eq!((unused.file_path.as_deref(), unused.line_start), (Some("package-lock.json"), Some(14373)));
    assert!(texts(&unused.tags).contains(&"reachability: unreachable"));
}

#[tokio::test]
async fn a_secret_is_mapped_field_by_field() {
    let Some(page) = recorded("secrets", "secrets_page.json").await else { return };
    let [fixed, ignored] = page.findings()[..] else { panic!("two findings") };
    assert_eq!((&*fixed.key, &*fixed.record, fixed.category), ("secrets:691234", "3", Category::Secret));
    assert_eq!(&*fixed.title, "OpenAI secret in src/ai.py");
    assert_eq!(fixed.description.as_deref(), Some("A secret of type OpenAI. It was tried and is valid."));
    assert_eq!((fixed.severity, fixed.vendor_severity.as_deref()), (Severity::High, Some("SEVERITY_HIGH")));
    assert_eq!((fixed.state, fixed.vendor_state.as_deref()), (State::Fixed, Some("FINDING_STATUS_FIXED")));
    assert_eq!((fixed.file_path.as_deref(), fixed.line_start, fixed.line_end), (Some("src/ai.py"), Some(232), Some(232)));
    assert_eq!((texts(&fixed.cwe), fixed.rule.as_deref()), (vec!["CWE-798"], Some("lBU41LA")));
    assert_eq!(texts(&fixed.tags), ["visibility: private", "validation: confirmed valid", "confidence: high", "live"]);
    assert_eq!(fixed.branch.as_deref(), Some("refs/pull/148/merge"));
    assert_eq!(fixed.url.as_deref(), Some("https://github.com/foo/bar/blob/6ad16b240d4b6ae5bd6e326dd71053c21344e311/src/ai.py#L232"));
    assert_eq!(fixed.vendor_first_seen.unwrap().to_string(), "2024-06-17T17:23:01.901204Z");
    assert_eq!(fixed.vendor_last_seen.unwrap().to_string(), "2024-06-20T17:33:00.669343Z");
    assert!(fixed.remediation.is_some());
    assert_eq!((&*ignored.record, ignored.state, ignored.file_path.as_deref()), ("4", State::RiskAccepted, Some("config.yaml")));
    assert_eq!(texts(&ignored.tags), ["visibility: private", "validation: confirmed invalid", "confidence: medium"]);
}

#[tokio::test]
async fn states_and_severities_follow_the_table() {
    use Severity::{Critical, High, Low, Medium, Unknown};
    use State::{FalsePositive, Fixed, Gone, Open, RiskAccepted, Suppressed};
    let rows = [
        (json!({ "status": "open", "severity": "critical" }), Open, "open", Critical),
        (json!({ "status": "reviewing", "severity": "high" }), Open, "reviewing", High),
        (json!({ "status": "fixing", "severity": "medium" }), Open, "fixing", Medium),
        (json!({ "status": "fixed", "severity": "low", "triage_reason": "no_time" }), Fixed, "fixed", Low),
        (json!({ "status": "provisionally_ignored", "severity": "info" }), Suppressed, "provisionally_ignored", Low),
        (json!({ "status": "OPEN", "severity": "WARNING" }), Open, "open", Medium),
        (
            json!({ "status": "Ignored", "triage_reason": "FALSE_POSITIVE", "severity": "error" }),
            FalsePositive,
            "ignored, false_positive",
            High,
        ),
        (json!({ "status": "open", "severity": "dire" }), Open, "open", Unknown),
        (json!({ "status": "ignored", "triage_reason": "false_positive" }), FalsePositive, "ignored, false_positive", Unknown),
        (json!({ "status": "ignored", "triage_reason": "acceptable_risk" }), RiskAccepted, "ignored, acceptable_risk", Unknown),
        (json!({ "status": "ignored", "triage_reason": "duplicate" }), Suppressed, "ignored, duplicate", Unknown),
        (json!({ "status": "ignored", "triage_reason": "no_time" }), RiskAccepted, "ignored, no_time", Unknown),
        (json!({ "status": "ignored", "triage_reason": "no_triage_reason" }), RiskAccepted, "ignored, no_triage_reason", Unknown),
        (json!({ "status": "ignored", "triage_reason": null }), RiskAccepted, "ignored", Unknown),
        (json!({ "status": "ignored", "triage_reason": "boredom" }), Suppressed, "ignored, boredom", Unknown),
        (json!({ "status": "pondering" }), Open, "pondering", Unknown),
        (json!({ "state": "unresolved", "triage_state": "untriaged" }), Open, "open", Unknown),
        (json!({ "state": "unresolved", "triage_state": "reopened" }), Open, "open", Unknown),
        (json!({ "state": "unresolved", "triage_state": "fixing" }), Open, "fixing", Unknown),
        (json!({ "state": "fixed", "triage_state": "ignored" }), Fixed, "fixed", Unknown),
        (json!({ "state": "muted", "triage_state": "provisionally_ignored" }), Suppressed, "provisionally_ignored", Unknown),
        (json!({ "state": "muted" }), RiskAccepted, "ignored", Unknown),
    ];
    let body = |(n, (row, ..)): (usize, &(Value, State, &str, Severity))| {
        let mut body = json!({ "id": n, "repository": { "name": "semgrep" }, "rule": { "name": "a.b" } });
        body.as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
        body
    };
    for list in ["sast", "sca", "ai_sast"] {
        let mut bodies: Vec<Value> = rows.iter().enumerate().map(body).collect();
        if list == "sca" {
            bodies.iter_mut().for_each(|body| body["found_dependency"] = json!({ "package": "left-pad" }));
        }
        let page = page(list, &Value::Array(bodies)).await;
        assert_eq!((page.rejects.len(), page.items.len()), (0, rows.len()));
        for (finding, (row, state, word, severity)) in page.findings().into_iter().zip(&rows) {
            assert_eq!(
                (finding.state, finding.vendor_state.as_deref(), finding.severity),
                (*state, Some(*word), *severity),
                "{list} {row}"
            );
        }
        for expected in ["unknown triage reason `boredom`", "unknown status `pondering`", "unknown severity `dire`"] {
            assert!(page.warnings.iter().any(|warning| warning == expected), "{:?}", page.warnings);
        }
    }
    let rows = [
        ("OPEN", "CRITICAL", Open, Critical),
        ("FIXED", "HIGH", Fixed, High),
        ("REMOVED", "MEDIUM", Gone, Medium),
        ("IGNORED", "LOW", RiskAccepted, Low),
        ("PROVISIONALLY_IGNORED", "UNSPECIFIED", Suppressed, Unknown),
        ("UNKNOWN", "LOW", Open, Low),
        ("PONDERING", "LOW", Open, Low),
        ("fixed", "moderate", Fixed, Medium),
    ];
    let body = |(n, (status, severity, ..)): (usize, &(&str, &str, State, Severity))| {
        json!({ "id": n.to_string(), "repository": { "name": "foo/bar" }, "findingPath": "a:b", "type": "AWS",
            "status": format!("FINDING_STATUS_{status}"), "severity": format!("SEVERITY_{severity}") })
    };
    let page = page("secrets", &rows.iter().enumerate().map(body).collect()).await;
    for (finding, (status, _, state, severity)) in page.findings().into_iter().zip(&rows) {
        assert_eq!((finding.state, finding.severity), (*state, *severity), "{status}");
        assert_eq!(finding.vendor_state.as_deref(), Some(&*format!("FINDING_STATUS_{status}")));
        // What follows the colon is no line.
        assert_eq!((finding.file_path.as_deref(), finding.line_start), (Some("a:b"), None));
    }
}

#[tokio::test]
async fn the_lineage_is_the_vendors_hash_of_rule_file_and_code() {
    let finding = |rule: &str, line: u32, same: &str| {
        json!({ "id": line, "repository": { "name": "semgrep" }, "rule": { "name": rule, "cwe_names": ["CWE-89: SQL"] }, "match_based_id": same,
            "location": { "file_path": "app/views.py", "line": line } })
    };
    let without = json!({ "id": 9, "repository": { "name": "semgrep" }, "rule": { "name": "r1" } });
    let page = page("sast", &json!([finding("r1", 12, "aa_0"), finding("r2", 240, "bb_0"), finding("r1", 14, "aa_0"), without])).await;
    let lineages: Vec<_> = page.findings().iter().map(|finding| finding.lineage.as_deref()).collect();
    let first = Some("sast:r1/app/views.py/aa_0");
    assert_eq!(lineages, [first, Some("sast:r2/app/views.py/bb_0"), first, None], "another rule inherits nothing, a moved line does");
}

#[tokio::test]
async fn a_fixed_finding_is_closed_when_its_state_changed() {
    let finding = |status: &str| json!({ "id": 1, "repository": { "name": "semgrep" }, "status": status, "state_updated_at": "2026-01-02 03:04:05+00:00" });
    let read = page("sast", &json!([finding("fixed"), finding("open"), finding("ignored")])).await;
    let closed: Vec<_> = read.findings().iter().map(|finding| finding.vendor_closed_at.map(|time| time.to_string())).collect();
    assert_eq!(closed, [Some("2026-01-02T03:04:05Z".to_owned()), None, None]);
}

#[tokio::test]
async fn repositories_are_found_in_any_case() {
    let answer = |name: &str| json!([{ "id": 1, "repository": { "name": name } }]);
    for (name, record) in [("Foo/Bar", "3"), ("foo/bar", "3"), ("SimpsonCorp/sample_repo", "2")] {
        let read = page("sast", &answer(name)).await;
        assert_eq!(read.findings().iter().map(|finding| &*finding.record).collect::<Vec<_>>(), [record], "{name}");
    }
}

#[tokio::test]
async fn odd_forms_of_lists_and_lines_lose_no_finding() {
    let finding = |members: Value| {
        let mut finding = json!({ "id": 1, "repository": { "name": "semgrep" } });
        finding.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        finding
    };
    let rows = [
        (json!({ "rule": { "cwe_names": "CWE-89: SQL" } }), vec!["CWE-89"]),
        (json!({ "rule": { "cwe_names": [null, "cwe-79: XSS", "CWE-0", null] } }), vec!["CWE-79"]),
        (json!({ "rule": { "cwe_names": ["CWE-89", "CWE-22"], "owasp_names": null }, "categories": null }), vec!["CWE-22", "CWE-89"]),
        (json!({ "rule": { "cwe_names": [] }, "location": { "file_path": "a.py", "line": -1, "end_line": 0 } }), vec![]),
        (json!({ "location": { "file_path": "a.py", "line": "9", "end_line": 4.0 } }), vec![]),
    ];
    let read = page("sast", &rows.iter().map(|(members, _)| finding(members.clone())).collect()).await;
    assert_eq!(read.rejects, []);
    for (finding, (members, cwe)) in read.findings().into_iter().zip(&rows) {
        assert_eq!(texts(&finding.cwe), *cwe, "{members}");
    }
    let found = read.findings();
    assert_eq!((found[3].line_start, found[3].line_end), (None, None));
    assert_eq!((found[4].line_start, found[4].line_end), (Some(9), Some(9)), "an end before its start is none");
}

/// A page that names itself as the next one.
#[tokio::test]
async fn secrets_whose_cursor_repeats_are_not_read_for_ever() {
    let deployments = json!({ "deployments": [{ "id": 120, "slug": "acme" }] });
    let answers = Router::new()
        .route("/api/v1/deployments", get(move || std::future::ready(deployments.to_string())))
        .route("/api/v1/deployments/acme/projects", get(|| std::future::ready(json!({ "projects": [] }).to_string())))
        .route(
            "/api/v1/deployments/120/secrets",
            get(|| std::future::ready(json!({ "findings": [{ "id": "1" }], "cursor": "again" }).to_string())),
        );
    let tool = start(Canned(answers), 0).await.unwrap();
    let link = Endpoint {
        location: Location::parse(&tool.url, false).unwrap(),
        options: HttpOptions::default(),
        limiters: Arc::new(Limiters::default()),
    };
    let source = Registration::find("semgrep").unwrap().open(json!({ "secret": "t" }), link).unwrap();
    let cx = Context::new(Arc::new(RunStats::without_waits()));
    let scope = Scope { list: "secrets", key: "120".into(), title: "secrets".into(), record: None, ..Scope::account("secrets") };
    let ask = |cursor| RawPageRequest { scope: &scope, since: None, full: true, mark: None, cursor, stored: &Nothing, parts: None };
    let Next::More(cursor) = source.page(&cx, ask(None)).await.unwrap().next else { panic!("there is a cursor") };
    let error = source.page(&cx, ask(Some((&*cursor).into()))).await.unwrap_err();
    assert!(matches!(error.kind, tributary_connectors::ErrorKind::PagingLoop), "{error:?}");
}

#[tokio::test]
async fn what_no_recording_holds_follows_the_table() {
    let dependency = |ecosystem: &str, package: &str| json!({ "id": 7, "repository": { "name": "semgrep" }, "found_dependency": { "package": package, "version": "1.0", "ecosystem": ecosystem } });
    let purls = [
        ("npm", "@babel/core", Some("pkg:npm/%40babel/core@1.0")),
        ("pypi", "pillow", Some("pkg:pypi/pillow@1.0")),
        ("gomod", "golang.org/x/net", Some("pkg:golang/golang.org/x/net@1.0")),
        ("cargo", "tokio", Some("pkg:cargo/tokio@1.0")),
        ("maven", "org.acme:app", Some("pkg:maven/org.acme/app@1.0")),
        ("gem", "rails", Some("pkg:gem/rails@1.0")),
        ("composer", "acme/shop", Some("pkg:composer/acme/shop@1.0")),
        ("nuget", "Acme.Shop", Some("pkg:nuget/Acme.Shop@1.0")),
        ("pub", "http", Some("pkg:pub/http@1.0")),
        ("swiftpm", "github.com/acme/shop", Some("pkg:swift/github.com/acme/shop@1.0")),
        ("hex", "plug", Some("pkg:hex/plug@1.0")),
        ("no_package_manager", "x", None),
        ("cobol", "x", None),
    ];
    let read = page("sca", &purls.iter().map(|(ecosystem, package, _)| dependency(ecosystem, package)).collect()).await;
    for (finding, (ecosystem, _, expected)) in read.findings().into_iter().zip(&purls) {
        assert_eq!(finding.component_purl.as_deref(), *expected, "{ecosystem}");
        assert_eq!((finding.fix_available, finding.remediation.as_deref()), (None, None), "nothing is said of fixes");
    }

    let malicious = json!([
        { "id": 8, "repository": { "name": "semgrep" }, "vulnerability_identifier": "MAL-2024-1", "is_malicious": true,
          "found_dependency": { "package": "evil", "version": "1", "ecosystem": "npm", "transitivity": "transitive",
            "lockfile_line_url": "https://github.com/acme/shop/blob/0a1b/web/package-lock.json#L12-L14" },
          "rule": { "message": "It steals." }, "reachable_condition": "when installed", "reachability": "always reachable",
          "epss_score": { "score": 0.25, "percentile": 0.9 }, "fix_recommendations": [], "created_at": "2020-11-18 23:28:12.391807+00:00",
          "assistant": { "guidance": { "summary": "Remove it." } } },
        { "id": 9, "repository": { "name": "semgrep" }, "vulnerability_identifier": "GHSA-xxxx-yyyy-zzzz", "is_malicious": false,
          "found_dependency": { "package": "left", "version": "1", "ecosystem": "npm" }, "epss_score": null,
          "location": { "file_path": "b.js", "line": 3 }, "usage": { "location": { "file_path": "a.js", "line": 5, "end_line": 6 } },
          "fix_recommendations": [{ "package": "left", "version": "1.1" }, { "package": "right", "version": "2" }, { "package": "left", "version": "2.0" }] },
    ]);
    let read = page("sca", &malicious).await;
    let [evil, left] = read.findings()[..] else { panic!("two findings") };
    assert_eq!((texts(&evil.cve), texts(&evil.identifiers)), (vec![], vec!["MAL-2024-1"]));
    assert_eq!(&*evil.title, "evil@1: MAL-2024-1");
    assert_eq!(evil.description.as_deref(), Some("It steals.\n\nwhen installed"));
    assert_eq!((evil.epss_score, evil.fix_available, evil.remediation.as_deref()), (Some(0.25), Some(false), Some("Remove it.")));
    assert_eq!(texts(&evil.tags), ["reachability: always reachable", "transitivity: transitive", "malicious"]);
    assert_eq!((evil.file_path.as_deref(), evil.line_start), (Some("web/package-lock.json"), Some(12)));
    assert_eq!(evil.url.as_deref(), Some("https://github.com/acme/shop/blob/0a1b/web/package-lock.json#L12-L14"));
    assert_eq!(evil.vendor_first_seen.unwrap().to_string(), "2020-11-18T23:28:12.391807Z");
    assert_eq!((texts(&left.identifiers), left.fixed_version.as_deref()), (vec!["GHSA-xxxx-yyyy-zzzz"], Some("1.1, 2.0")));
    assert_eq!((left.file_path.as_deref(), left.line_start, left.line_end), (Some("a.js"), Some(5), Some(6)));
    assert_eq!(left.remediation.as_deref(), Some("Upgrade left to 1.1.\nUpgrade right to 2.\nUpgrade left to 2.0."));

    let detected = json!([{ "id": 7, "repository": { "name": "semgrep" }, "ai_impact": "Anyone reads it.",
        "rule": { "vulnerability_classes": ["IDOR"], "message": "No check.", "confidence": "low" },
        "assistant": { "rule_explanation": { "summary": "Short.", "explanation": "Long." }, "autofix": { "explanation": "Check it." } } }]);
    let read = page("ai_sast", &detected).await;
    let finding = read.findings()[0];
    assert_eq!((&*finding.key, &*finding.title, finding.category), ("sast:7", "IDOR", Category::Sast));
    assert_eq!(finding.description.as_deref(), Some("No check.\n\nAnyone reads it.\n\nShort.\n\nLong."));
    assert_eq!((finding.remediation.as_deref(), texts(&finding.tags)), (Some("Check it."), vec!["confidence: low"]));
}

#[tokio::test]
async fn projects_are_records_by_id_and_findings_of_others_are_left_as_they_are() {
    let read = page("projects", &json!([])).await;
    let record = |at: usize| if let Item::Record(record) = &read.items[at] { record } else { panic!("a record") };
    assert_eq!((read.items.len(), read.coverage), (4, Coverage::Full));
    assert_eq!((&*record(0).key, &*record(0).name, record(0).url.as_deref()), ("1", "semgrep", Some("https://github.com/semgrep/semgrep")));
    assert_eq!(record(0).attributes, [("tags", "blue, red".into()), ("branch", "main".into())]);
    assert_eq!(record(1).attributes, [("tags", "red".into()), ("branch", "trunk".into())]);
    assert_eq!((record(2).attributes.len(), record(3).attributes.len()), (0, 0));

    let read =
        page("sca", &json!([{ "id": 5, "repository": { "name": "archived" } }, { "id": 6 }, { "repository": { "name": "semgrep" } }]))
            .await;
    assert!(matches!(&read.items[..], [Item::Skipped { key, reason: "record not listed" }] if &**key == "sca:5"));
    let rejects: Vec<_> = read.rejects.iter().map(|reject| (reject.key.as_deref(), &*reject.reason)).collect();
    assert_eq!((rejects[0], rejects[1].0), ((Some("sca:6"), "it names no repository"), None));
}

/// A server of before June 2026 with 60,000 findings, whose severity and status follow from their number.
async fn long(word: fn(usize) -> (&'static str, &'static str)) -> Read {
    walk("sast", json!({ "secret": "t", "branch_mode": "default" }), move |query| {
        assert_eq!((&*query["ref"], &*query["dedup"], &*query["issue_type"]), ("_default", "true", "sast"));
        let wanted = |name: &str, word: &str| query.get(name).is_none_or(|wanted| wanted == word);
        let size: usize = query["page_size"].parse().unwrap();
        let from = size * query["page"].parse::<usize>().unwrap();
        let listed = (0..60_000).filter(|n| wanted("severities", word(*n).0) && wanted("status", word(*n).1)).take(50_000);
        let row = |n| json!({ "id": n, "repository": { "name": "semgrep" }, "severity": word(n).0, "status": word(n).1 });
        json!({ "findings": listed.skip(from).take(size).map(row).collect::<Vec<_>>() })
    })
    .await
}

#[tokio::test]
async fn a_list_that_ends_at_the_window_is_read_in_parts() {
    let read = long(|n| (["critical", "high", "medium", "low"][n % 4], "open")).await;
    let keys: BTreeSet<&str> = read.findings().into_iter().map(|finding| &*finding.key).collect();
    assert_eq!((keys.len(), read.coverage, read.warnings.len()), (60_000, Coverage::Full, 0));
    let read = long(|n| ("high", if n % 3 == 0 { "fixed" } else { "open" })).await;
    let keys: BTreeSet<&str> = read.findings().into_iter().map(|finding| &*finding.key).collect();
    assert_eq!((keys.len(), read.coverage, read.warnings.len()), (60_000, Coverage::Full, 0));
}

#[tokio::test]
async fn what_cannot_be_listed_is_told_and_proves_nothing() {
    let read = long(|_| ("low", "open")).await;
    let keys: BTreeSet<&str> = read.findings().into_iter().map(|finding| &*finding.key).collect();
    assert_eq!((keys.len(), read.coverage), (50_000, Coverage::Delta));
    assert!(read.incomplete.as_deref().unwrap().contains("more than 50000 findings"), "{:?}", read.incomplete);
}
