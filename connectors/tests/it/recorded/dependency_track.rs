//! Dependency-Track.

use axum::{extract::Query, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::json;

use super::*;

fn scope() -> Scope {
    Scope { list: "findings", key: "p-1".into(), title: "p".into(), record: Some("p-1".into()), ..Scope::account("findings") }
}

/// A server whose project says this of itself.
fn server(project: &Value) -> Router {
    let project = project.to_string();
    Router::new()
        .route("/api/version", get(|| std::future::ready(r#"{"application":"Dependency-Track","version":"4.14.3"}"#)))
        .route("/api/v1/project/{uuid}", get(move || std::future::ready(project)))
}

/// A finding.
fn one(id: &str, attribution: &Value) -> Value {
    json!({ "component": { "uuid": "c-1", "name": "lib", "version": "1" }, "vulnerability": { "uuid": "v-1", "vulnId": id, "severity": "HIGH" },
        "matrix": format!("p-1:c-1:{id}"), "attribution": attribution })
}

#[tokio::test]
async fn a_finding_of_two_analyzers_is_one_and_the_same_in_both_rows_whichever_comes_first() {
    let by = |analyzer: &str, at: u64| {
        one(
            "CVE-2026-1234",
            &json!({ "analyzerIdentity": analyzer, "attributedOn": at, "referenceUrl": format!("https://{analyzer}.example/") }),
        )
    };
    let (a, b) = (by("A", 1_770_000_002_000), by("B", 1_770_000_001_000));
    let mut shown = Vec::new();
    for rows in [[&a, &b], [&b, &a]] {
        let body = json!(rows).to_string();
        let answers = server(&json!({})).route("/api/v1/finding/project/{uuid}", get(move || std::future::ready(body)));
        let read = read("dependency_track", json!({ "secret": "odt_x" }), &scope(), answers).await;
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
async fn an_import_that_was_analysed_explains_the_change_of_one_complete_pass() {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut mark: Option<Box<str>> = None;
    for (import, analysis, explained) in [(-9000, -8000, false), (-9000, -7000, false), (-5000, -4000, true), (-5000, -4000, false)] {
        let project = json!({ "lastBomImport": now + import, "lastVulnerabilityAnalysis": now + analysis });
        let answers = server(&project).route("/api/v1/finding/project/{uuid}", get(|| std::future::ready("[]")));
        let tool = start(Canned(answers), 0).await.unwrap();
        let (source, cx, _) = open("dependency_track", json!({ "secret": "odt_x" }), &tool.url);
        let scope = scope();
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
    let of = |id: &str| one(id, &json!({}));
    match query.get("source").map(String::as_str) {
        None => format!("[{}]", " ".repeat(65 << 20)).into_response(),
        Some("NVD") => json!([of("CVE-2026-1111"), of("CVE-2026-2222")]).to_string().into_response(),
        Some("UNKNOWN") => json!([of("X-1")]).to_string().into_response(),
        Some("TRIVY") => StatusCode::NOT_FOUND.into_response(),
        Some(_) => "[]".into_response(),
    }
}

#[tokio::test]
async fn a_list_of_version_4_that_is_too_long_for_one_answer_is_read_by_its_sources() {
    for (metrics, proof) in [
        (json!({ "findingsTotal": 2, "suppressed": 1 }), true),
        (json!({ "findingsTotal": 3, "suppressed": 1 }), false),
        (Value::Null, false),
    ] {
        let answers = server(&json!({ "metrics": metrics })).route("/api/v1/finding/project/{uuid}", get(too_long));
        let read = read("dependency_track", json!({ "secret": "odt_x" }), &scope(), answers).await;
        assert_eq!((read.findings().len(), read.total, read.coverage), (3, None, Coverage::Full));
        assert_eq!(read.incomplete.is_none(), proof, "{metrics} {:?}", read.incomplete);
    }
}
