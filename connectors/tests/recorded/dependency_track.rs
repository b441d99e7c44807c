//! Dependency-Track.

use axum::routing::get;
use tributary_connectors::model::{Category, Severity, State};

use super::*;

async fn page(findings: &Value) -> Read {
    let settings = serde_json::json!({ "secret": "odt_x", "frontend_url": "https://dtrack.example/" });
    let scope = Scope { list: "findings", key: "p-1".into(), title: "p".into(), record: Some("p-1".into()) };
    let body = findings.to_string();
    let answers = Router::new().route("/api/v1/finding/project/{uuid}", get(move || std::future::ready(body)));
    read("dependency_track", settings, &scope, answers).await
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
    assert_eq!(finding.url.as_deref(), Some("https://dtrack.example/projects/p-1"));
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
