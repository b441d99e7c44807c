//! Probely.

use axum::extract::Query;
use serde_json::json;
use tributary_connectors::Job;

use super::*;

fn key() -> Value {
    json!({ "secret": "eyJ.key" })
}

fn scope() -> Scope {
    Scope { list: "findings", key: "t-1".into(), title: "shop".into(), record: Some("t-1".into()), ..Scope::account("findings") }
}

/// A list of twenty findings in pages, as the server would, of which no page may be larger than so many.
async fn paged(fits: usize) -> (Read, Vec<(usize, usize)>) {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let answer = move |Query(query): Query<HashMap<String, String>>| {
        assert_eq!(query["ordering"], "-last_found");
        let (page, length): (usize, usize) = (query["page"].parse().unwrap(), query["length"].parse().unwrap());
        log.lock().unwrap().push((page, length));
        let all: Vec<Value> =
            (0..20).map(|id| json!({ "id": id, "severity": 20, "state": "notfixed", "target": { "id": "t-1" } })).collect();
        let mut results: Vec<Value> = all.chunks(length).nth(page - 1).unwrap_or_default().to_vec();
        if results.len() > fits {
            results[0]["evidence"] = " ".repeat(33 << 20).into();
        }
        let total = all.len().div_ceil(length);
        std::future::ready(json!({ "count": 20, "page_total": total, "page": page, "length": length, "results": results }).to_string())
    };
    let read = read("probely", key(), &scope(), Router::new().fallback(answer)).await;
    let asked = asked.lock().unwrap().clone();
    (read, asked)
}

#[tokio::test]
async fn pages_are_read_to_the_last_and_a_page_that_is_too_large_is_asked_for_in_halves() {
    let keys = |read: &Read| read.findings().iter().map(|finding| finding.key.to_string()).collect::<Vec<_>>();
    let (whole, asked) = paged(16).await;
    assert_eq!((asked, whole.total), (vec![(1, 16), (2, 16)], Some(20)));
    let (halved, asked) = paged(4).await;
    // The last one was full, and what the vendor counts is no promise: there might be one more.
    assert_eq!(asked, [(1, 16), (1, 8), (1, 4), (2, 4), (3, 4), (4, 4), (5, 4), (6, 4)]);
    assert_eq!((keys(&whole).len(), keys(&whole)), (20, keys(&halved)));
}

#[tokio::test]
async fn every_api_host_is_taken_and_a_web_interface_is_corrected_with_a_word() {
    for (location, word) in [
        ("https://api.probely.com", None),
        ("api.eu.probely.com/", None),
        ("https://api.us.probely.com/targets/", None),
        ("https://api.au.probely.com", None),
        ("https://plus.probely.app/targets", Some("https://api.eu.probely.com is used")),
        ("https://plus.us.probely.app", Some("https://api.us.probely.com is used")),
        ("https://plus.au.probely.app", Some("https://api.au.probely.com is used")),
    ] {
        let (source, cx, activity) = open("PROBELY", key(), location);
        source.scopes(&cx, Job::Discover).await.unwrap();
        let warnings = activity.warnings();
        assert_eq!(warnings.len(), usize::from(word.is_some()), "{location}: {warnings:?}");
        assert!(word.is_none_or(|word| warnings[0].contains(word)), "{location}: {warnings:?}");
    }
}
