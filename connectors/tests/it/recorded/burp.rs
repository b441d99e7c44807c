//! Burp Suite DAST.

use std::sync::Mutex;

use axum::{Json, routing::post};
use serde_json::json;
use tributary_connectors::model::{Category, Severity, State};

use super::*;

/// A server with one site and one succeeded scan that found these issues, with the texts of these types.
fn server(issues: &Value, types: &Value) -> (Router, Arc<Mutex<Vec<Value>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, issues, types) = (Arc::clone(&asked), issues.clone(), types.clone());
    let answer = move |Json(body): Json<Value>| {
        let data = match body["operationName"].as_str().unwrap() {
            "Introspection" => {
                json!({ "Query": { "fields": [{ "name": "scans", "args": [{ "name": "scan_target_id" }] }] }, "Issue": null })
            }
            "LatestScan" => json!({ "scans": [{ "id": "9", "end_time": "2021-11-08T14:35:12.190Z", "issue_counts": { "total": 0 } }] }),
            "Issues" => json!({ "scan": { "issues": issues, "issue_type_groups": types } }),
            "SiteTree" => json!({ "site_tree": {
                "folders": [{ "id": "0", "name": "All Sites", "parent_id": null }, { "id": "3", "name": "EU", "parent_id": "0" }, { "id": "5", "name": "Shops", "parent_id": "3" }],
                "sites": [
                    { "id": "40", "name": "Shop", "parent_id": "5", "ephemeral": false, "scope_v2": { "start_urls": ["https://shop.example/", "https://b.example/"] } },
                    { "id": "41", "name": null, "parent_id": "77", "ephemeral": true, "scope_v2": null },
                    { "name": "no id" },
                ],
                "cids_sites": [{ "id": "50", "name": "pipeline", "parent_id": null, "correlation_id": "ci-7" }],
            } }),
            other => panic!("{other}"),
        };
        log.lock().unwrap().push(body);
        std::future::ready(Json(json!({ "data": data })))
    };
    (Router::new().route("/graphql/v1", post(answer)), asked)
}

async fn page(issues: &Value, types: &Value) -> Read {
    let scope = Scope { list: "issues", key: "40".into(), title: "Shop".into(), record: Some("40".into()), ..Scope::account("issues") };
    let (answers, asked) = server(issues, types);
    let page = read("burp", json!({ "secret": "key" }), &scope, answers).await;
    for request in asked.lock().unwrap().iter() {
        assert!(!request["query"].as_str().unwrap().contains("evidence"), "{request}");
    }
    page
}

/// The issues of a recorded file: they hold the texts of their types themselves.
async fn recorded(name: &str) -> Option<(usize, Read)> {
    let file = super::recorded(&format!("burp/{name}"))?;
    let issues = &file["Issues"];
    Some((issues.as_array().unwrap().len(), page(issues, &json!([])).await))
}

#[tokio::test]
async fn every_recorded_issue_is_read_and_none_is_rejected() {
    for (name, expected) in [("no_findings.json", 0), ("null_data.json", 1), ("null_request_segments.json", 1), ("one_finding.json", 1)] {
        let Some((count, page)) = recorded(name).await else { continue };
        assert_eq!(page.rejects, [], "{name}");
        assert_eq!((count, page.items.len()), (expected, expected), "{name}");
        for finding in page.findings() {
            assert_eq!((&*finding.record, finding.category, finding.state), ("40", Category::Dast, State::Open), "{name}");
            let raw = finding.raw.as_ref().unwrap().get();
            assert!(!raw.contains("evidence") && !raw.contains("request data"), "{name}: {raw}");
        }
    }
}

#[tokio::test]
async fn recorded_issues_are_mapped_field_by_field() {
    let Some((_, page)) = recorded("one_finding.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!((&*finding.key, &*finding.title), ("40/Finding/https://www.test.com/path", "Finding"));
    assert_eq!(finding.description.as_deref(), Some("description 1\n\nissue description 1"));
    assert_eq!(finding.remediation.as_deref(), Some("remediation 1\n\nissue remediation 1"));
    assert_eq!((finding.severity, finding.vendor_severity.as_deref()), (Severity::High, Some("high")));
    assert_eq!((finding.vendor_state.as_deref(), finding.endpoint.as_deref()), (None, Some("https://www.test.com/path")));
    assert_eq!((texts(&finding.cwe), texts(&finding.reference_urls), texts(&finding.tags)), (vec!["CWE-79"], vec![], vec![]));

    let Some((_, page)) = recorded("null_data.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!((&*finding.title, finding.severity), ("Finding", Severity::High));
    assert_eq!((finding.description.as_deref(), finding.remediation.as_deref()), (None, None));

    let Some((_, page)) = recorded("null_request_segments.json").await else { return };
    let finding = page.findings()[0];
    assert_eq!((&*finding.title, finding.severity), ("TLS certificate", Severity::Medium));
    assert_eq!(finding.endpoint.as_deref(), Some("https://verysecretcompany.domain/"));
    assert_eq!(texts(&finding.cwe), ["CWE-295", "CWE-326", "CWE-327"]);
    assert_eq!(
        texts(&finding.reference_urls),
        [
            "https://wiki.mozilla.org/Security/Server_Side_TLS",
            "https://cwe.mitre.org/data/definitions/295.html",
            "https://cwe.mitre.org/data/definitions/326.html",
            "https://cwe.mitre.org/data/definitions/327.html",
        ]
    );
}

/// An issue of our own making, with some members in place of the usual ones.
fn issue(serial: &str, other: &Value) -> Value {
    let mut issue = json!({
        "serial_number": serial, "fingerprint": format!("f{serial}"), "severity": "high", "confidence": "firm", "display_confidence": null,
        "accepted_risk": false, "path": format!("/{serial}"), "origin": "https://shop.example", "novelty": "repeated",
        "description_html": "<p>The <b>q</b> parameter.</p><script>alert(1)</script>", "remediation_html": null,
        "issue_type": { "type_index": "2097920", "name": "Cross-site scripting (reflected)" },
        "generated_by_extension": null, "generated_by_bcheck": null,
    });
    issue.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    issue
}

#[tokio::test]
async fn each_row_of_the_table_is_mapped() {
    let types = json!([
        { "issue_type": {
            "type_index": "2097920", "name": "Cross-site scripting (reflected)", "description_html": "<p>About <i>XSS</i>.</p>",
            "remediation_html": "<p>Encode output.</p>", "references_html": "<a href=\"https://kb.example/xss?a=1&amp;b=2\">KB</a>",
            "vulnerability_classifications_html": "<a href=\"https://cwe.mitre.org/data/definitions/79.html\">CWE-79</a> CWE-80",
        } },
        // An extension's issues share one index: the name tells them apart.
        { "issue_type": { "type_index": "134217728", "name": "One", "description_html": "First." } },
        { "issue_type": { "type_index": "134217728", "name": "Two", "description_html": "Second." } },
        { "issue_type": null },
        { "issue_type": { "type_index": "7", "name": "Broken", "description_html": [[1]] } },
    ]);
    let generators = json!({ "generated_by_extension": { "name": "Scanner++" }, "generated_by_bcheck": { "name": "Check 7" }, "novelty": "regression",
        "remediation_html": "Do this first." });
    let two = json!({ "issue_type": { "type_index": "134217728", "name": "Two" }, "description_html": null });
    let issues = json!([issue("1", &generators), issue("2", &two), issue("3", &json!({ "issue_type": null, "path": "/" }))]);
    let page = page(&issues, &types).await;
    assert_eq!((&page.rejects[..], page.total), (&[][..], Some(0)));
    // A type that cannot be read costs its texts, not the page.
    assert!(matches!(&page.warnings[..], [only] if only.starts_with("the texts of an issue type cannot be read")), "{:?}", page.warnings);
    let [first, second, third] = page.findings()[..] else { panic!() };
    assert_eq!((&*first.key, first.alternate_key.as_deref()), ("40/fp/f1", Some("40/2097920/https://shop.example/1")));
    assert_eq!((first.rule.as_deref(), &*first.title), (Some("2097920"), "Cross-site scripting (reflected)"));
    assert_eq!(first.description.as_deref(), Some("The **q** parameter.\n\nAbout *XSS*."));
    assert_eq!(first.remediation.as_deref(), Some("Do this first.\n\nEncode output."));
    assert_eq!(texts(&first.cwe), ["CWE-79", "CWE-80"]);
    assert_eq!(texts(&first.reference_urls), ["https://kb.example/xss?a=1&b=2", "https://cwe.mitre.org/data/definitions/79.html"]);
    assert_eq!(texts(&first.tags), ["firm", "regression", "Scanner++", "Check 7"]);
    assert_eq!(first.endpoint.as_deref(), Some("https://shop.example/1"));
    assert_eq!(first.vendor_last_seen.unwrap().to_string(), "2021-11-08T14:35:12.19Z");
    assert_eq!((first.vendor_first_seen, first.url.as_deref(), first.cvss.is_none(), first.cve.is_empty()), (None, None, true, true));
    assert_eq!((&*second.title, second.description.as_deref()), ("Two", Some("Second.")));
    assert_eq!(
        (&*third.title, third.rule.as_deref(), third.alternate_key.as_deref()),
        ("Issue without a name", None, Some("40//https://shop.example/"))
    );
}

#[tokio::test]
async fn severities_and_states_follow_the_table() {
    let rows = [
        (json!({ "severity": "high" }), Severity::High, State::Open, Some("firm")),
        (json!({ "severity": "medium", "confidence": "certain" }), Severity::Medium, State::Open, Some("certain")),
        (json!({ "severity": "low", "confidence": "tentative" }), Severity::Low, State::Open, Some("tentative")),
        (json!({ "severity": "info", "novelty": "regression" }), Severity::Info, State::Open, Some("firm")),
        (json!({ "severity": "apocalyptic" }), Severity::Unknown, State::Open, Some("firm")),
        (json!({ "severity": "CRITICAL", "confidence": "Certain" }), Severity::Critical, State::Open, Some("Certain")),
        (
            json!({ "severity": "Information", "confidence": "FALSE_POSITIVE" }),
            Severity::Info,
            State::FalsePositive,
            Some("FALSE_POSITIVE"),
        ),
        (json!({ "severity": null, "confidence": null }), Severity::Unknown, State::Open, None),
        (json!({ "confidence": "guessed" }), Severity::High, State::Open, Some("guessed")),
        (json!({ "confidence": "false_positive" }), Severity::High, State::FalsePositive, Some("false_positive")),
        (json!({ "display_confidence": "false_positive" }), Severity::High, State::FalsePositive, Some("false_positive")),
        (json!({ "display_confidence": "certain" }), Severity::High, State::Open, Some("firm")),
        (json!({ "accepted_risk": true }), Severity::High, State::RiskAccepted, Some("firm, accepted risk")),
        (
            json!({ "accepted_risk": true, "confidence": "false_positive" }),
            Severity::High,
            State::FalsePositive,
            Some("false_positive, accepted risk"),
        ),
    ];
    let issues: Vec<Value> = rows.iter().enumerate().map(|(n, (other, ..))| issue(&n.to_string(), other)).collect();
    let page = page(&json!(issues), &json!([])).await;
    assert_eq!(page.rejects, []);
    for (finding, (other, severity, state, word)) in page.findings().into_iter().zip(&rows) {
        assert_eq!((finding.severity, finding.state, finding.vendor_state.as_deref()), (*severity, *state, *word), "{other}");
    }
    assert_eq!(page.warnings, ["unknown severity `apocalyptic`", "unknown confidence `guessed`"]);
}

#[tokio::test]
async fn issues_of_one_place_are_told_apart_by_the_order_of_their_numbers() {
    let at = |serial: &str, fingerprint: &Value| issue(serial, &json!({ "path": "/search", "fingerprint": fingerprint }));
    let issues = json!([
        at("10000000000000000001", &Value::Null),
        at("9999999999999999990", &json!("")),
        at("9999999999999999997", &json!("abc")),
        issue("5", &json!({ "fingerprint": null })),
        issue("6", &json!({ "fingerprint": null, "path": null })),
        issue("7", &json!({ "path": null })),
        issue("8", &json!({ "severity": ["high"] })),
        // Two instances for which the server has one fingerprint.
        issue("10", &json!({ "fingerprint": "same", "path": "/a" })),
        issue("9", &json!({ "fingerprint": "same", "path": "/b" })),
    ]);
    let page = page(&issues, &json!([])).await;
    let keys: Vec<_> = page.findings().iter().map(|finding| (&*finding.key, finding.alternate_key.as_deref())).collect();
    let place = "40/2097920/https://shop.example/search";
    assert_eq!(
        keys,
        [
            (&*format!("{place}#3"), None),
            (place, None),
            ("40/fp/abc", Some(&*format!("{place}#2"))),
            ("40/2097920/https://shop.example/5", None),
            ("40/fp/f7", None),
            ("40/fp/f8", Some("40/2097920/https://shop.example/8")),
            ("40/fp/same#2", Some("40/2097920/https://shop.example/a")),
            ("40/fp/same", Some("40/2097920/https://shop.example/b")),
        ]
    );
    assert_eq!(page.left_out(), [("40/fp/f8", "severity")]);
    let rejects: Vec<_> = page.rejects.iter().map(|reject| (&*reject.path, &*reject.reason)).collect();
    assert_eq!(rejects, [("", "neither a fingerprint nor origin and path")]);
}

/// Entries of the site tree in odd forms: whatever has an id is there.
#[tokio::test]
async fn odd_entries_of_the_site_tree_are_records() {
    let tree = json!({
        "folders": [null, "odd", { "id": 3, "name": 7, "parent_id": null }],
        "sites": [
            { "id": 40, "name": 2024, "parent_id": 3, "ephemeral": "false", "scope_v2": { "start_urls": "https://shop.example/" } },
            { "id": "41", "name": null, "parent_id": null, "scope_v2": { "start_urls": null } },
            { "id": "42", "scope_v2": { "start_urls": ["https://b.example/", null, "https://a.example/"] } },
        ],
        "cids_sites": null,
    });
    let answer = move |Json(body): Json<Value>| {
        let data = if body["operationName"] == "Introspection" {
            json!({ "Query": { "fields": [{ "name": "scans", "args": null }] } })
        } else {
            json!({ "site_tree": tree })
        };
        std::future::ready(Json(json!({ "data": data })))
    };
    let answers = Router::new().route("/graphql/v1", post(answer));
    let page = super::read("burp", json!({ "secret": "key" }), &Scope::account("sites"), answers).await;
    assert_eq!((&page.rejects[..], page.coverage), (&[][..], Coverage::Full));
    let shown: Vec<_> = page
        .items
        .iter()
        .map(|item| {
            let Item::Record(record) = item else { panic!("{item:?}") };
            let attributes: Vec<_> = record.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
            (&*record.key, &*record.name, attributes.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("40", "2024", "folder=7 start_urls=https://shop.example/".to_owned()),
            ("41", "41", String::new()),
            ("42", "42", "start_urls=https://a.example/ https://b.example/".to_owned()),
        ]
    );
}

/// A scan whose members have odd forms is the scan it is.
#[tokio::test]
async fn an_odd_scan_is_read() {
    let scan = json!({
        "id": 9, "status": "SUCCEEDED", "site_id": 40, "end_time": 1_700_000_000, "issue_counts": { "total": 1 },
        "scan_configurations": [{ "id": 1, "name": 2 }], "scope_v2": { "start_urls": "https://shop.example/" },
    });
    let answer = move |Json(body): Json<Value>| {
        let data = match body["operationName"].as_str().unwrap() {
            "Introspection" => json!({ "Query": { "fields": [{ "name": "scans", "args": [{ "name": "scan_target_id" }] }] } }),
            "LatestScan" => json!({ "scans": [scan] }),
            _ => {
                assert_eq!(body["variables"]["scan"], "9");
                json!({ "scan": { "issues": [issue("1", &json!({}))], "issue_type_groups": null } })
            }
        };
        std::future::ready(Json(json!({ "data": data })))
    };
    let scope = Scope { list: "issues", key: "40".into(), title: "Shop".into(), record: Some("40".into()), ..Scope::account("issues") };
    let page = read("burp", json!({ "secret": "key" }), &scope, Router::new().route("/graphql/v1", post(answer))).await;
    assert_eq!((page.items.len(), page.rejects.len(), page.coverage, page.total), (1, 0, Coverage::Full, Some(1)));
    assert_eq!(page.findings()[0].vendor_last_seen, None);
}

#[tokio::test]
async fn sites_and_pipelines_are_records_with_their_folders() {
    let scope = Scope::account("sites");
    let read = |settings: Value| async { super::read("burp", settings, &scope, server(&json!([]), &json!([])).0).await };
    let page = read(json!({ "secret": "key" })).await;
    let [Item::Record(shop), Item::Record(nameless), Item::Record(pipeline)] = &page.items[..] else { panic!("{:?}", page.items) };
    assert_eq!((&*shop.key, &*shop.name, &*shop.kind), ("40", "Shop", "site"));
    assert_eq!(
        shop.attributes,
        [("folder", "All Sites / EU / Shops".into()), ("start_urls", "https://b.example/ https://shop.example/".into())]
    );
    assert_eq!((&*nameless.key, &*nameless.name, &nameless.attributes[..]), ("41", "41", &[][..]));
    assert_eq!((&*pipeline.key, &*pipeline.kind, &pipeline.attributes[..]), ("50", "cids_site", &[("correlation_id", "ci-7".into())][..]));
    assert_eq!((page.rejects.len(), &*page.rejects[0].reason), (1, "no id"));
    let page = read(json!({ "secret": "key", "skip_ephemeral": true })).await;
    assert!(matches!(&page.items[1], Item::Skipped { key, reason: "ephemeral site" } if &**key == "41"));
}
