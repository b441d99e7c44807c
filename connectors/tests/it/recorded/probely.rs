//! Probely.

use axum::{
    extract::Query,
    http::{HeaderMap, StatusCode, Uri},
};
use serde_json::json;
use tributary_connectors::{
    Error, ErrorKind, Job,
    model::{Category, Record, Severity, State},
};

use super::*;

fn key() -> Value {
    json!({ "secret": "eyJ.key" })
}

fn listing(results: &[Value]) -> Value {
    json!({ "count": results.len(), "page_total": 1, "page": 1, "length": 16, "results": results })
}

/// Walks one list of a Probely that has this one page of it.
async fn answered(scope: &Scope, path: &'static str, page: Value) -> Read {
    let answer = move |uri: Uri, headers: HeaderMap| {
        assert!(headers["authorization"] == "JWT eyJ.key" && headers["accept"] == "application/json");
        // Cloudflare refuses the agents of common libraries.
        assert!(headers["user-agent"].to_str().unwrap().starts_with("tributary/"), "{headers:?}");
        let status = if uri.path() == path { StatusCode::OK } else { StatusCode::NOT_FOUND };
        std::future::ready((status, page.to_string()))
    };
    read("probely", key(), scope, Router::new().fallback(answer)).await
}

fn scope() -> Scope {
    Scope { list: "findings", key: "t-1".into(), title: "shop".into(), record: Some("t-1".into()), ..Scope::account("findings") }
}

async fn findings(page: Value) -> Read {
    answered(&scope(), "/targets/t-1/findings/", page).await
}

async fn targets(page: Value) -> Read {
    answered(&Scope::account("targets"), "/targets/", page).await
}

fn records(read: &Read) -> Vec<&Record> {
    read.items.iter().filter_map(|item| if let Item::Record(record) = item { Some(record) } else { None }).collect()
}

/// A finding of our own with these members changed.
#[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
fn finding(members: Value) -> Value {
    let mut finding = json!({ "id": 1, "target": { "id": "t-1", "labels": [{ "name": "shops" }, { "name": "seen" }] },
        "labels": [{ "name": "seen" }], "fix": "Escape it.<br>Always.", "definition": { "id": "d-1", "name": "XSS", "desc": "**Bad.**" },
        "evidence": "secret", "requests": [{ "request": "secret", "response": "secret" }], "url": "https://shop.example/q?a=1",
        "path": "https://shop.example/q", "method": "post", "insertion_point": "cookie", "parameter": "", "value": "secret",
        "state": "notfixed", "severity": 20, "cvss_score": 6.5, "cvss_vector": "CVSS:3.0/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:L/A:N",
        "last_found": "2026-01-02T03:04:05.183840Z", "retesting": false, "new": true, "changed": "2026-01-03T00:00:00Z" });
    finding.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    finding
}

#[tokio::test]
async fn every_recorded_finding_is_read_and_none_is_rejected() {
    let Some(page) = recorded("probely/findings_page.json") else { return };
    let read = findings(page).await;
    assert_eq!((read.rejects.as_slice(), read.total, read.warnings.len()), (&[][..], Some(4), 0));
    let told: Vec<_> = read.findings().iter().map(|finding| (&*finding.key, &*finding.title, finding.severity, finding.state)).collect();
    let open = State::Open;
    assert_eq!(
        told,
        [
            ("t-1/28", "Unencrypted communications", Severity::High, open),
            ("t-1/5", "Unencrypted communications", Severity::Medium, open),
            ("t-1/3", "Missing clickjacking protection", Severity::Low, open),
            ("t-1/2", "Missing Content Security Policy header", Severity::Low, open),
        ]
    );
    let first = read.findings()[0];
    assert_eq!(
        (first.category, first.rule.as_deref(), first.vendor_severity.as_deref()),
        (Category::Dast, Some("0fR9GA5lgbo6"), Some("30"))
    );
    assert_eq!((first.endpoint.as_deref(), first.vendor_state.as_deref()), (Some("http://testphp.vulnweb.com/"), Some("notfixed")));
    assert_eq!(texts(&first.tags), ["good_label", "first_label", "second_label", "method get"]);
    let cvss = first.cvss.as_ref().unwrap();
    let vector = Some("CVSS:3.0/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:L/A:N");
    assert_eq!((&*cvss.version, cvss.score, cvss.vector.as_deref()), ("3.0", Some(6.5), vector));
    assert_eq!(first.vendor_last_seen.unwrap().to_string(), "2024-08-22T20:07:35.18384Z");
    assert!(first.description.as_deref().unwrap().starts_with("The application allows clients to connect to it through"));
    assert!(first.remediation.as_deref().unwrap().starts_with("The application should be configured to use encryption"));
    for finding in read.findings() {
        let raw = finding.raw.as_ref().unwrap().get();
        for cut in ["requests", "evidence", "extra", "basic_auth", "cookies", "headers", "otp_secret", "changed_by", "verification_token"] {
            assert!(!raw.contains(&format!("\"{cut}\"")), "{}: {cut}", finding.key);
        }
        assert!(!finding.remediation.as_deref().unwrap().contains("<br>"));
    }
}

#[tokio::test]
async fn every_recorded_target_is_a_record() {
    if let Some(page) = recorded("probely/targets_page.json") {
        let read = targets(page).await;
        assert_eq!((read.rejects.as_slice(), read.items.len(), read.total), (&[][..], 15, Some(46)), "the recording was cut after 15");
        let first = records(&read)[0];
        assert_eq!((&*first.key, &*first.name, &*first.kind), ("3r5Sjyg7enXp", "Name may be replaced", "target"));
        let expected = [("url", "http://testphp.vulnweb.com"), ("type", "single"), ("labels", "first_label, second_label")];
        assert_eq!(first.attributes, expected.map(|(name, value)| (name, Box::from(value))));
        let unnamed = records(&read).into_iter().find(|record| &*record.key == "3NnoNEvCLtsc").unwrap();
        assert_eq!(&*unnamed.name, "testphp.vulnweb.com", "a site without a name is called by its host");
    }
    if let Some(target) = recorded("probely/target.json") {
        let read = targets(listing(&[target])).await;
        assert_eq!(
            records(&read).iter().map(|record| (&*record.key, &*record.name)).collect::<Vec<_>>(),
            [("2HxSwf4e175o", "random_naming")]
        );
    }
    // The recorded scan is of a list that is not read.
}

#[tokio::test]
async fn names_of_targets_come_from_the_first_place_that_has_one() {
    let target = |members: Value| {
        let mut target = json!({ "id": "-t", "type": "api", "teams": [{ "name": "red" }, { "name": "blue" }] });
        target.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        target
    };
    let rows = [
        (json!({ "name": "n", "site": { "name": "s", "host": "h", "url": "u" } }), "s"),
        (json!({ "name": "n", "site": { "name": "", "host": "h", "url": "u" } }), "n"),
        (json!({ "name": "", "site": { "name": null, "host": "h", "url": "u" } }), "h"),
        (json!({ "site": { "url": "https://u" } }), "https://u"),
        (json!({ "labels": null }), "-t"),
    ];
    let bodies: Vec<Value> = rows.iter().map(|(members, _)| target(members.clone())).collect();
    let read = targets(listing(&bodies)).await;
    let names: Vec<&str> = records(&read).iter().map(|record| &*record.name).collect();
    assert_eq!(names, rows.iter().map(|(_, name)| *name).collect::<Vec<_>>());
    let last = *records(&read).last().unwrap();
    assert_eq!(last.attributes, [("type", Box::from("api")), ("teams", "blue, red".into())]);
}

/// One expectation for each row of the mapping table.
#[tokio::test]
async fn a_finding_is_mapped_field_by_field() {
    let read = findings(listing(&[finding(
        json!({ "id": "7", "parameter": "q", "definition": { "id": "d-1", "name": "XSS", "desc": "**Bad.**", "cwe": 79 } }),
    )]))
    .await;
    let finding = read.findings()[0];
    assert_eq!((&*finding.key, &*finding.record, &*finding.title), ("t-1/7", "t-1", "XSS in 'q'"));
    assert_eq!((finding.category, finding.rule.as_deref(), finding.asset_key.as_deref()), (Category::Dast, Some("d-1"), Some("t-1")));
    assert_eq!(finding.description.as_deref(), Some("**Bad.**"), "evidence is left out");
    assert_eq!(finding.remediation.as_deref(), Some("Escape it.\nAlways."));
    assert_eq!((finding.endpoint.as_deref(), finding.url.as_deref()), (Some("https://shop.example/q?a=1"), None));
    assert_eq!((texts(&finding.cwe), texts(&finding.cve)), (vec!["CWE-79"], vec![]));
    assert_eq!(texts(&finding.tags), ["seen", "shops", "method post", "insertion point cookie", "parameter q"]);
    assert_eq!((finding.vendor_first_seen, finding.vendor_last_seen.unwrap().to_string()), (None, "2026-01-02T03:04:05.18384Z".to_owned()));
    let cvss = finding.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score), ("3.0", Some(6.5)));
}

#[tokio::test]
async fn states_and_severities_follow_the_table() {
    let rows = [
        (json!({ "severity": 10 }), State::Open, Severity::Low),
        (json!({ "severity": 20 }), State::Open, Severity::Medium),
        (json!({ "severity": 30 }), State::Open, Severity::High),
        (json!({ "severity": 40 }), State::Open, Severity::Critical),
        (json!({ "severity": 0 }), State::Open, Severity::Info),
        (json!({ "severity": "40" }), State::Open, Severity::Critical),
        // Changed by hand: the score stays, and has no say.
        (json!({ "severity": 10, "cvss_score": 9.8 }), State::Open, Severity::Low),
        (json!({ "severity": "Moderate", "state": "Fixed" }), State::Fixed, Severity::Medium),
        (json!({ "severity": 25 }), State::Open, Severity::Medium),
        (json!({ "severity": 50, "cvss_score": 9.8, "cvss_vector": "" }), State::Open, Severity::Critical),
        (json!({ "severity": null, "cvss_score": 3.0, "cvss_vector": null }), State::Open, Severity::Low),
        (json!({ "severity": 50, "cvss_score": null, "cvss_vector": null }), State::Open, Severity::Unknown),
        (json!({ "severity": null, "cvss_score": null, "cvss_vector": null }), State::Open, Severity::Unknown),
        (json!({ "state": "notfixed", "retesting": true }), State::Open, Severity::Medium),
        (json!({ "state": "retesting" }), State::Open, Severity::Medium),
        (json!({ "state": "fixed" }), State::Fixed, Severity::Medium),
        (json!({ "state": "accepted" }), State::RiskAccepted, Severity::Medium),
        (json!({ "state": "invalid" }), State::FalsePositive, Severity::Medium),
        (json!({ "state": "pondering" }), State::Open, Severity::Medium),
    ];
    let bodies: Vec<Value> = rows.iter().map(|(members, ..)| finding(members.clone())).collect();
    let read = findings(listing(&bodies)).await;
    assert_eq!(read.rejects, []);
    for (finding, (members, state, severity)) in read.findings().into_iter().zip(&rows) {
        assert_eq!((finding.state, finding.severity), (*state, *severity), "{members}");
        let told = members["severity"].as_i64().map(|severity| severity.to_string());
        assert!(told.is_none() || finding.vendor_severity.as_deref() == told.as_deref(), "{members}");
        let word = members["state"].as_str().unwrap_or("notfixed");
        assert_eq!(finding.vendor_state.as_deref(), Some(word), "{members}");
        let retested = word == "retesting" || members["retesting"] == true;
        assert_eq!(texts(&finding.tags).contains(&"retesting"), retested, "{members}");
    }
    assert_eq!(read.warnings, ["unknown severity `25`", "unknown severity `50`", "unknown state `pondering`"]);
}

#[tokio::test]
async fn absent_and_odd_members_are_read_leniently() {
    let least = json!({ "id": 1, "definition": null, "target": null, "labels": null, "params": null, "state": "fixed", "severity": 30 });
    let definition = |cwe: Value| finding(json!({ "definition": { "id": "d-2", "name": "", "cwe": cwe } }));
    let odd = [json!(["cwe-79", 89, 89]), json!("CWE-352"), json!({ "id": 1 }), json!(null), json!([0, -1, "CWE-0"])].map(definition);
    let read = findings(listing(&[&[least][..], &odd].concat())).await;
    assert_eq!(read.rejects, []);
    let found = read.findings();
    assert_eq!((&*found[0].title, found[0].cvss.as_ref(), texts(&found[0].tags)), ("finding", None, vec![]));
    assert_eq!(&*found[1].title, "d-2");
    let cwes: Vec<_> = found[1..].iter().map(|finding| texts(&finding.cwe)).collect();
    assert_eq!(cwes, [vec!["CWE-79", "CWE-89"], vec!["CWE-352"], vec![], vec![], vec![]]);

    let windows = json!({ "fix": "One.\r\nTwo.\r\n", "definition": { "name": "X\r\nY", "desc": "a\r\n\r\nb" }, "last_found": "0001-01-01T00:00:00Z",
        "cvss_vector": "(CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:L/A:N/)", "cvss_score": 6.500000095 });
    let read = findings(listing(&[finding(windows)])).await;
    let found = read.findings()[0];
    assert_eq!((found.remediation.as_deref(), found.description.as_deref()), (Some("One.\nTwo."), Some("a\n\nb")));
    assert_eq!((&*found.title, found.vendor_last_seen), ("X Y", None));
    let cvss = found.cvss.as_ref().unwrap();
    assert_eq!((cvss.score, cvss.vector.as_deref()), (Some(6.5), Some("CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:L/A:N")));
}

#[tokio::test]
async fn totals_as_text_and_odd_targets_lose_nothing() {
    let page = json!({ "count": "2", "page_total": "1", "page": 1, "length": 128, "results": [
        { "id": "t-1", "labels": "red", "site": { "name": "shop" }, "teams": [{ "name": 7 }] }, { "id": "t-2", "site": null } ] });
    let read = targets(page).await;
    assert_eq!((read.total, read.rejects.as_slice()), (Some(2), &[][..]));
    assert_eq!(records(&read).iter().map(|record| (&*record.key, &*record.name)).collect::<Vec<_>>(), [("t-1", "shop"), ("t-2", "t-2")]);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_its_key_and_without_its_secrets() {
    let mut wrong = finding(json!({ "id": 9 }));
    wrong["url"] = json!(["secret", 1]);
    wrong["state"] = json!({ "password": "secret" });
    let read = findings(listing(&[finding(json!({})), wrong, json!("secret"), finding(json!({ "id": null }))])).await;
    let raws: Vec<_> = read.findings().iter().map(|finding| finding.raw.as_ref().unwrap().get()).collect();
    assert!(raws.len() == 2 && raws[1].contains(r#""state":{}"#) && !raws[1].contains("password"), "{raws:?}");
    let mut left_out = read.left_out();
    left_out.sort_unstable();
    assert_eq!(left_out, [("t-1/9", "state"), ("t-1/9", "url")]);
    assert!(!format!("{:?}", read.mended).contains("secret"));
    let told: Vec<_> = read.rejects.iter().map(|reject| (reject.key.as_deref(), &*reject.reason)).collect();
    assert_eq!(told, [(None, "not an object"), (None, "the finding has no id")]);
    assert_eq!(&*read.rejects[0].raw, "\"…\"");
}

/// A list of twenty findings in pages, as the server would, of which no page may be larger than so many.
async fn paged(fits: usize) -> (Read, Vec<(usize, usize)>) {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let answer = move |Query(query): Query<HashMap<String, String>>| {
        assert_eq!(query["ordering"], "-last_found");
        let (page, length): (usize, usize) = (query["page"].parse().unwrap(), query["length"].parse().unwrap());
        log.lock().unwrap().push((page, length));
        let all: Vec<Value> = (0..20).map(|id| finding(json!({ "id": id }))).collect();
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
    let empty = findings(json!({ "count": 0, "page_total": 1, "page": 1, "length": 16, "results": [] })).await;
    assert_eq!((empty.items.len(), empty.total), (0, Some(0)));
}

fn open(location: &str) -> (Box<dyn tributary_connectors::DynConnector>, Context, Arc<RunStats>) {
    let location = Location::parse(location, false).unwrap();
    let link = Endpoint { location, options: HttpOptions::default(), limiters: Arc::new(Limiters::default()) };
    let activity = Arc::new(RunStats::without_waits());
    (Registration::find("PROBELY").unwrap().open(key(), link).unwrap(), Context::new(Arc::clone(&activity)), activity)
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
        let (source, cx, activity) = open(location);
        source.scopes(&cx, Job::Discover).await.unwrap();
        let warnings = activity.warnings();
        assert_eq!(warnings.len(), usize::from(word.is_some()), "{location}: {warnings:?}");
        assert!(word.is_none_or(|word| warnings[0].contains(word)), "{location}: {warnings:?}");
    }
}

/// Checks a Probely that answers this at one path, and well elsewhere.
async fn check(broken: &'static str, status: u16, body: &'static str) -> Result<tributary_connectors::CheckReport, Error> {
    let answer = move |uri: Uri| {
        let good = match uri.path() {
            path if path == broken => return std::future::ready((StatusCode::from_u16(status).unwrap(), body.to_owned())),
            "/profile/" => json!({ "id": "u", "email": "bot@example.com", "name": "tributary", "is_apiuser": true }),
            "/targets/" => json!({ "count": 3, "page_total": 3, "page": 1, "length": 1, "results": [{ "id": "-t" }] }),
            "/targets/-t/findings/" => listing(&[]),
            _ => return std::future::ready((StatusCode::NOT_FOUND, r#"{"detail":"Not found."}"#.to_owned())),
        };
        std::future::ready((StatusCode::OK, good.to_string()))
    };
    let tool = start(Canned(Router::new().fallback(answer)), 0).await.unwrap();
    let (source, cx, _) = open(&tool.url);
    source.check(&cx).await
}

#[tokio::test]
async fn the_check_names_what_is_missing_and_its_cure() {
    let checked = check("", 200, "").await.unwrap();
    assert_eq!(checked.facts, ["key of tributary", "3 targets visible (a key limited to teams or targets sees no others)"]);
    assert_eq!(checked.warnings, Vec::<String>::new());
    let none = check("/targets/", 200, r#"{"count":0,"page_total":1,"page":1,"length":1,"results":[]}"#).await.unwrap();
    assert!(matches!(&none.warnings[..], [word] if word.contains("no target is visible") && word.contains("View Target")));

    let (refused, denied) = (r#"{"detail":"Incorrect authentication credentials."}"#, r#"{"detail":"You do not have permission."}"#);
    for (path, status, body, word) in [
        ("/profile/", 401, refused, "a key works only in its own region"),
        ("/profile/", 404, "{}", "has to be Probely's API server"),
        ("/profile/", 200, "<!doctype html><html></html>", "has to be Probely's API server"),
        ("/profile/", 302, "", "has to be Probely's API server"),
        ("/profile/", 403, "<html><title>Access denied | Cloudflare</title></html>", "the key is not the cause"),
        ("/targets/", 403, r#"{"title":"Error 1010: Access denied","error_code":1010}"#, "the key is not the cause"),
        ("/targets/", 403, denied, "role with the permission View Target"),
        ("/targets/-t/findings/", 403, denied, "role with the permission View Target"),
        ("/targets/-t/findings/", 404, "{}", "left the scope of the key"),
    ] {
        let error = check(path, status, body).await.unwrap_err();
        assert!(error.hint().unwrap().contains(word), "{path} {status} {body}: {:?}", error.hint());
        let firewall = word.starts_with("the key is not");
        assert!(!firewall || matches!(error.kind, ErrorKind::NotAnApi(_)), "{error}");
    }
}
