//! Tenable Vulnerability Management.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{
    body::Bytes,
    extract::Path,
    http::StatusCode,
    routing::{get, post},
};
use serde_json::json;
use tributary_connectors::{
    ErrorKind,
    model::{Asset, Category, Record, Severity, State, Thing},
};

use super::*;

/// `printf 'b666e9f5-fde7-4cd8-9c07-12c19246b616\n100931\n0\nTCP' | sha256sum`
const KEY_OF_2018: &str = "3fe87fdfebeb83aaf5676039ef9f9d2255228a3976a2460d2dd2a6436e7386d4";
/// `printf 'a\n7\n443\nTCP' | sha256sum`
const KEY_OF_PARTS: &str = "7c2d1718392670c9b906805d742573dd3c797fb5d47d5aa2da9abdc7f43f008f";
const ACCOUNT: &str = "c0c0c0c0-0000-4000-8000-000000000000";

fn keys() -> Value {
    json!({ "access_key": "a".repeat(64), "secret_key": "b".repeat(64) })
}

fn always(body: impl Into<Value>) -> axum::routing::MethodRouter {
    let body = body.into().to_string();
    get(move || std::future::ready(body.clone()))
}

/// An export whose status is asked for until its answers are used up, and whose chunks are these.
fn export(list: &str, statuses: Vec<Value>, chunk: Value) -> Router {
    let (start, jobs) = if list == "findings" { ("/vulns/export", "/vulns/export") } else { ("/assets/v2/export", "/assets/export") };
    let (asked, last) = (Arc::new(AtomicUsize::new(0)), statuses.len() - 1);
    let status = get(move || std::future::ready(statuses[asked.fetch_add(1, Ordering::Relaxed).min(last)].to_string()));
    Router::new()
        .route("/session", always(json!({ "container_uuid": ACCOUNT, "username": "u", "permissions": 16, "enabled": true })))
        .route(start, post(|| std::future::ready(json!({ "export_uuid": "job-1" }).to_string())))
        .route(&format!("{jobs}/job-1/status"), status)
        .route(&format!("{jobs}/job-1/chunks/{{number}}"), always(chunk))
}

async fn chunk(list: &'static str, chunk: Value) -> Read {
    let statuses = vec![json!({ "status": "QUEUED" }), json!({ "status": "FINISHED", "chunks_available": [1] })];
    read("tenable", keys(), &Scope::account(list), export(list, statuses, chunk)).await
}

async fn findings(rows: Vec<Value>) -> Read {
    chunk("findings", Value::Array(rows)).await
}

fn assets_of(read: &Read) -> Vec<&Asset> {
    read.items.iter().filter_map(|item| if let Item::Thing(Thing::Asset(asset)) = item { Some(&**asset) } else { None }).collect()
}

/// A finding as short as the vendor may make it, with these members on top.
fn least(members: Value) -> Value {
    let mut finding = json!({
        "finding_id": "f-1", "asset": { "uuid": "a-1", "hostname": "h" }, "plugin": { "id": 7, "name": "P" }, "port": { "port": 0, "protocol": "TCP" },
        "severity": "high", "severity_id": 3, "severity_default_id": 3, "severity_modification_type": "NONE", "state": "OPEN",
    });
    let Value::Object(members) = members else { panic!("no members") };
    finding.as_object_mut().unwrap().extend(members);
    finding
}

async fn one(members: Value) -> Finding {
    let mut read = findings(vec![least(members)]).await;
    assert_eq!(read.rejects, []);
    let Item::Finding(finding) = read.items.remove(0) else { panic!("no finding") };
    *finding
}

async fn of_plugin(members: Value) -> Finding {
    let mut plugin = json!({ "id": 7, "name": "P" });
    let Value::Object(members) = members else { panic!("no members") };
    plugin.as_object_mut().unwrap().extend(members);
    one(json!({ "plugin": plugin })).await
}

#[tokio::test]
async fn every_recorded_item_is_read_and_none_is_rejected() {
    for (name, list, expected) in [
        ("vulns_chunk_2018.json", "findings", 19),
        ("vulns_chunk_cartography.json", "findings", 3),
        ("assets_v2_chunk_cartography.json", "assets", 2),
        // Of the older form, which is never asked for, only the id and the systems have the same names: they are read.
        ("assets_v1_chunk_2018.json", "assets", 8),
    ] {
        let Some(rows) = recorded(&format!("tenable/{name}")) else { continue };
        let read = chunk(list, rows).await;
        assert_eq!((read.rejects.len(), read.items.len(), read.total), (0, expected, None), "{name}");
        assert_eq!(read.warnings, Vec::<String>::new(), "{name}");
        let keys: BTreeSet<&str> = read.findings().iter().map(|finding| &*finding.key).collect();
        assert_eq!(keys.len(), read.findings().len(), "{name}: keys are unique, also without `finding_id`");
        for finding in read.findings() {
            assert!(!finding.title.is_empty() && finding.raw.is_some() && finding.vendor_first_seen.is_some(), "{name}: {}", finding.key);
            assert!(finding.asset_key.is_some() && finding.record_sticky && &*finding.record != ACCOUNT, "{name}: {}", finding.key);
            assert_eq!((finding.category, finding.state), (Category::Infrastructure, State::Open), "{name}");
        }
    }
}

#[tokio::test]
async fn recorded_jobs_are_followed_to_their_end() {
    let Some(job) = recorded("tenable/assets_v1_export_job.json") else { return };
    let statuses = job["status_responses"].as_array().unwrap().clone();
    let read = read("tenable", keys(), &Scope::account("assets"), export("assets", statuses, json!([{ "id": "x" }]))).await;
    assert_eq!(read.items.len(), 3, "three chunks of one asset");
    let Some(job) = recorded("tenable/vulns_export_job.json") else { return };
    let mut statuses = job["status_responses"].as_array().unwrap().clone();
    // The recording ends before the job does.
    statuses.push(json!({ "status": "FINISHED", "chunks_available": [1, 4], "chunks_failed": [], "chunks_cancelled": [] }));
    let read = super::read("tenable", keys(), &Scope::account("findings"), export("findings", statuses, json!([least(json!({}))]))).await;
    assert_eq!(read.items.len(), 2, "a chunk that came while it ran, and one that came with its end");
}

#[tokio::test]
async fn a_finding_of_2018_is_mapped_field_by_field() {
    let Some(rows) = recorded("tenable/vulns_chunk_2018.json") else { return };
    let read = chunk("findings", rows).await;
    let finding = read.findings().into_iter().find(|finding| finding.rule.as_deref() == Some("100931")).unwrap();
    assert_eq!(&*finding.key, KEY_OF_2018);
    assert_eq!((finding.severity, finding.vendor_severity.as_deref()), (Severity::Critical, Some("critical")));
    assert_eq!((finding.cve.len(), &*finding.cve[0]), (10, "CVE-2017-1000363"));
    let cvss = finding.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score), ("3.0", Some(9.8)));
    assert_eq!(cvss.vector.as_deref(), Some("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"));
    assert_eq!(
        (finding.endpoint.as_deref(), finding.asset_key.as_deref()),
        (Some("docker.demo.io"), Some("b666e9f5-fde7-4cd8-9c07-12c19246b616"))
    );
    assert_eq!(finding.remediation.as_deref(), Some("Update the affected packages."));
    assert!(finding.description.as_deref().unwrap().ends_with("linux-image-4.8.0-56-generic_4.8.0-56.61~16.04.1"));
    assert!(finding.identifiers.iter().any(|id| &**id == "USN:3333-1"), "{:?}", finding.identifiers);
    assert_eq!((finding.fix_available, finding.exploited, finding.epss_score), (Some(true), None, None));
    assert!(texts(&finding.tags).contains(&"exploit available"));
    // Version 2 alone.
    let old = read.findings().into_iter().find(|finding| finding.rule.as_deref() == Some("7282")).unwrap();
    let cvss = old.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score, cvss.vector.as_deref()), ("2.0", Some(2.6), Some("AV:N/AC:H/Au:N/C:P/I:N/A:N")));
    assert_eq!(texts(&old.reference_urls)[0], "http://www.imperva.com/docs/HII_Attacking_SSL_when_using_RC4.pdf");
    assert!(texts(&old.identifiers).contains(&"BID:73684"));
    // "n/a" is no remediation.
    let info = read.findings().into_iter().find(|finding| finding.rule.as_deref() == Some("10736")).unwrap();
    assert_eq!(
        (info.remediation.as_deref(), info.severity, info.endpoint.as_deref()),
        (None, Severity::Info, Some("192.168.16.147:49678/tcp"))
    );
    assert!(texts(&info.tags).contains(&"service dce-rpc"));
}

#[tokio::test]
async fn a_present_day_finding_is_mapped_field_by_field() {
    let Some(rows) = recorded("tenable/vulns_chunk_cartography.json") else { return };
    let read = chunk("findings", rows).await;
    let finding = read.findings()[0];
    assert_eq!((&*finding.key, finding.rule.as_deref()), ("02716af9-1adb-4057-b4d5-dcb0c36b290c", Some("156641")));
    assert_eq!(&*finding.record, "461e4ebc-b309-face-6fa1-afa4ba163cb6d84b9dc0a0dc5020");
    assert_eq!(&*finding.title, "Security Updates for Microsoft SharePoint Server 2016 (January 2022)");
    assert_eq!(
        finding.description.as_deref(),
        Some(
            "The remote host is missing a security update.\n\nThe Microsoft SharePoint Server 2016 installation is missing security updates.\n\n\
             Microsoft SharePoint Enterprise Server 2016 - KB5002113 missing."
        )
    );
    assert_eq!((finding.severity, finding.state, finding.vendor_state.as_deref()), (Severity::High, State::Open, Some("OPEN")));
    assert_eq!(texts(&finding.cve), ["CVE-2022-21837", "CVE-2022-21840", "CVE-2022-21842"]);
    let cvss = finding.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score, cvss.vector.as_deref()), ("4.0", Some(6.9), None));
    // 10.647 percent.
    assert!((finding.epss_score.unwrap() - 0.10647).abs() < 1e-12);
    assert_eq!(finding.endpoint.as_deref(), Some("sharepoint2016.target.example.com:445/tcp"));
    assert_eq!(finding.asset_key.as_deref(), Some("aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"));
    assert_eq!(finding.vendor_first_seen.unwrap().to_string(), "2022-11-08T19:18:10.472Z");
    assert_eq!(finding.vendor_last_seen.unwrap().to_string(), "2023-05-04T05:03:13.737Z");
    assert_eq!(finding.remediation.as_deref(), Some("Microsoft has released security update KB5002113."));
    assert_eq!(texts(&finding.reference_urls), ["https://www.tenable.com/plugins/nessus/156641"]);
    assert_eq!(texts(&finding.tags), ["Windows : Microsoft Bulletins", "NESSUS", "VPR 6.7", "service cifs"]);
    assert_eq!((finding.fix_available, finding.exploited), (Some(true), None));
}

#[tokio::test]
async fn states_and_severities_follow_the_table() {
    let state = |state: &str, modified: &str| json!({ "state": state, "severity_modification_type": modified });
    let severity = |word: &str, id: Value| json!({ "severity": word, "severity_id": id });
    let rows = [
        (state("OPEN", "NONE"), State::Open, Severity::High, "OPEN", vec![]),
        (state("REOPENED", "NONE"), State::Open, Severity::High, "REOPENED", vec!["reopened"]),
        (state("FIXED", "NONE"), State::Fixed, Severity::High, "FIXED", vec![]),
        (state("OPEN", "ACCEPTED"), State::RiskAccepted, Severity::High, "OPEN, ACCEPTED", vec![]),
        (state("REOPENED", "accepted"), State::RiskAccepted, Severity::High, "REOPENED, ACCEPTED", vec!["reopened"]),
        (state("FIXED", "ACCEPTED"), State::Fixed, Severity::High, "FIXED, ACCEPTED", vec![]),
        (state("open", "none"), State::Open, Severity::High, "open", vec![]),
        (state("PONDERING", "NONE"), State::Open, Severity::High, "PONDERING", vec![]),
        (
            json!({ "severity": "low", "severity_id": 1, "severity_default_id": 4, "severity_modification_type": "RECASTED" }),
            State::Open,
            Severity::Low,
            "OPEN",
            vec!["recast from critical"],
        ),
        (severity("info", json!(0)), State::Open, Severity::Info, "OPEN", vec![]),
        (severity("low", json!(1)), State::Open, Severity::Low, "OPEN", vec![]),
        (severity("medium", json!(2)), State::Open, Severity::Medium, "OPEN", vec![]),
        (severity("high", json!("3")), State::Open, Severity::High, "OPEN", vec![]),
        (severity("critical", json!(4)), State::Open, Severity::Critical, "OPEN", vec![]),
        (severity("Critical", Value::Null), State::Open, Severity::Critical, "OPEN", vec![]),
        (severity("apocalyptic", json!(9)), State::Open, Severity::Unknown, "OPEN", vec![]),
    ];
    let bodies = rows.iter().enumerate().map(|(number, (members, ..))| {
        let mut body = least(members.clone());
        body["finding_id"] = json!(format!("f-{number}"));
        body
    });
    let read = findings(bodies.collect()).await;
    assert_eq!(read.rejects, []);
    for (finding, (members, state, severity, word, tags)) in read.findings().into_iter().zip(&rows) {
        assert_eq!((finding.state, finding.severity, finding.vendor_state.as_deref()), (*state, *severity, Some(*word)), "{members}");
        assert_eq!(&texts(&finding.tags), tags, "{members}");
    }
    assert_eq!(read.findings().last().unwrap().vendor_severity.as_deref(), Some("apocalyptic"));
    assert_eq!(read.warnings.len(), 2, "{:?}", read.warnings);
}

#[tokio::test]
async fn keys_and_records_have_their_fallbacks() {
    let finding = one(json!({ "scan": { "uuid": "run", "schedule_uuid": "s-1" } })).await;
    assert_eq!((&*finding.key, &*finding.record), ("f-1", "s-1"));
    let unscanned =
        one(json!({ "finding_id": null, "scan": {}, "asset": { "uuid": "a" }, "port": { "port": 443, "protocol": "TCP" } })).await;
    assert_eq!(&*unscanned.record, ACCOUNT);
    assert_eq!(&*unscanned.key, KEY_OF_PARTS);
    let unreadable =
        json!({ "asset": { "uuid": "a" }, "plugin": { "id": "7", "name": ["no text"] }, "port": { "port": 443, "protocol": "TCP" } });
    let read = findings(vec![unreadable, json!([1, 2]), json!({ "plugin": { "name": "neither id nor asset" } })]).await;
    let rejects: Vec<_> = read.rejects.iter().map(|reject| (reject.key.as_deref(), &*reject.path)).collect();
    assert_eq!(rejects, [(None, ""), (None, "")]);
    assert_eq!((read.left_out(), &*read.findings()[0].key), (vec![(KEY_OF_PARTS, "plugin.name")], KEY_OF_PARTS));
}

#[tokio::test]
async fn identifiers_weaknesses_and_exploitation_come_from_references() {
    let finding = of_plugin(json!({
        "cve": ["cve-2024-1111"], "bid": [12, "34"],
        "xrefs": [{ "type": "CWE", "id": "89" }, "CWE:79", { "type": "cve", "id": "2024-2222" }, { "type": "CVE", "id": "CVE-2024-1111" },
            { "type": "IAVA", "id": "2024-A-1" }, "MSKB:5002113", { "strange": true }, { "type": "CWE", "id": "0" }],
    }))
    .await;
    assert_eq!((texts(&finding.cve), texts(&finding.cwe)), (vec!["CVE-2024-1111", "CVE-2024-2222"], vec!["CWE-79", "CWE-89"]));
    assert_eq!(texts(&finding.identifiers), ["BID:12", "BID:34", "IAVA:2024-A-1", "MSKB:5002113"]);
    assert_eq!(finding.exploited, None);
    for (members, exploited) in [
        (json!({ "xrefs": [{ "type": "CISA-KNOWN-EXPLOITED", "id": "2024/05/01" }] }), Some(true)),
        (json!({ "vpr_v2": { "score": 9.1, "on_cisa_kev": true } }), Some(true)),
        (json!({ "vpr": { "score": 9.1, "on_cisa_kev": false } }), Some(false)),
        (json!({ "exploit_available": true, "exploited_by_malware": true }), None),
    ] {
        assert_eq!(of_plugin(members.clone()).await.exploited, exploited, "{members}");
    }
    let tags = of_plugin(json!({ "family": "Web", "vpr_v2": { "score": "9.1" }, "exploit_available": true, "exploited_by_malware": true }))
        .await
        .tags;
    assert_eq!(texts(&tags), ["Web", "VPR 9.1", "exploit available", "exploited by malware"]);
}

/// What a decision follows to a finding with another id: asset, plugin, port and protocol.
#[tokio::test]
async fn lineage_is_asset_plugin_port_and_protocol() {
    let at = |asset: &str, plugin: u32, port: Value, protocol: &str| json!({ "asset": { "uuid": asset }, "plugin": { "id": plugin }, "port": { "port": port, "protocol": protocol } });
    let mut lineages = BTreeSet::new();
    for members in [
        at("a", 7, json!(443), "TCP"),
        at("b", 7, json!(443), "TCP"),
        at("a", 8, json!(443), "TCP"),
        at("a", 7, json!(444), "TCP"),
        at("a", 7, json!(443), "UDP"),
    ] {
        let finding = one(members.clone()).await;
        assert!(lineages.insert(finding.lineage.unwrap()), "{members}");
    }
    let other =
        json!({ "finding_id": "f-2", "asset": { "uuid": "a" }, "plugin": { "id": "7" }, "port": { "port": "443", "protocol": "tcp" } });
    assert!(lineages.contains(&one(other).await.lineage.unwrap()), "the same under another id");
    assert_eq!(one(json!({ "asset": {} })).await.lineage, None);
}

/// Forms that a decorative member may have: none of them costs the finding, nor what can be read of the member.
#[tokio::test]
async fn odd_forms_of_members_are_read() {
    let odd = of_plugin(json!({
        "cve": "CVE-2024-1111", "cpe": "cpe:/a:acme:rocket:1.2", "bid": 12, "see_also": "https://a.example/x_(y)", "vpr": 9.5, "vpr_v2": null,
        "xrefs": null, "cvss3_base_score": "6.900000095",
    }))
    .await;
    assert_eq!((texts(&odd.cve), texts(&odd.identifiers), texts(&odd.tags)), (vec!["CVE-2024-1111"], vec!["BID:12"], vec!["VPR 9.5"]));
    assert_eq!(odd.component_name.as_deref(), Some("rocket"));
    assert_eq!((texts(&odd.reference_urls)[0], odd.cvss.unwrap().score), ("https://a.example/x_(y)", Some(6.9)));
    let odd = one(json!({
        "asset": { "uuid": "a", "ipv4": ["10.0.0.2", "10.0.0.1"], "fqdn": [], "hostname": 7 }, "port": null, "severity": "Moderate", "severity_id": null,
        "first_found": "1970-01-01T00:00:00Z", "last_found": "0001-01-01T00:00:00Z",
    }))
    .await;
    assert_eq!((odd.endpoint.as_deref(), odd.severity), (Some("10.0.0.1"), Severity::Medium));
    assert_eq!((odd.vendor_first_seen, odd.vendor_last_seen), (None, None));
    let host = json!([{ "id": "h", "types": "host", "operating_systems": null, "network": { "ipv4s": "10.0.0.1", "fqdns": [null, 7] }, "timestamps": null,
        "tags": [{ "key": "Floor", "value": 3 }] }, { "id": "i", "timestamps": { "deleted_at": "0001-01-01T00:00:00Z" }, "network": null }]);
    let read = chunk("assets", host).await;
    assert_eq!(read.rejects, []);
    let assets = assets_of(&read);
    assert_eq!((&*assets[0].name, texts(&assets[0].tags)), ("7", vec!["Floor:3"]));
    assert!(assets.iter().all(|asset| !asset.gone));
}

/// A set in another order is no change.
#[tokio::test]
async fn the_order_of_sets_means_nothing() {
    let with = |cve: [&str; 2], links: [&str; 2], xrefs: [&str; 2]| {
        of_plugin(json!({ "cve": cve, "see_also": links, "bid": xrefs, "xrefs": xrefs }))
    };
    let (a, b) = ("https://a.example/1", "https://b.example/2");
    let one = with(["CVE-2024-1111", "CVE-2024-2222"], [a, b], ["IAVA:1", "MSKB:2"]).await;
    let two = with(["CVE-2024-2222", "CVE-2024-1111"], [b, a], ["MSKB:2", "IAVA:1"]).await;
    assert_eq!((&one.cve, &one.reference_urls, &one.identifiers), (&two.cve, &two.reference_urls, &two.identifiers));
}

/// An export's status in odd forms, and chunks that are announced as texts.
#[tokio::test]
async fn a_job_is_followed_whatever_the_form_of_its_numbers() {
    let statuses = vec![
        json!({ "status": "processing", "chunks_available": null }),
        json!({ "status": "finished", "chunks_available": ["1", 2], "chunks_failed": 0, "chunks_cancelled": null }),
    ];
    let answers = export("findings", statuses, json!([least(json!({}))]));
    let read = read("tenable", keys(), &Scope::account("findings"), answers).await;
    assert_eq!((read.items.len(), read.rejects.len()), (2, 0));
}

/// A list of chunks that cannot be read whole, or a word of lost ones that cannot be read at all, never looks like a whole job.
#[tokio::test]
async fn a_status_that_cannot_be_read_is_no_whole_job() {
    for odd in [
        json!({ "chunks_available": { "1": true } }),
        json!({ "chunks_available": [1, "two"] }),
        json!({ "chunks_available": [1, -2] }),
        json!({ "chunks_available": [1], "chunks_failed": "2" }),
        json!({ "chunks_available": [1], "chunks_cancelled": { "2": "why" } }),
        json!({ "chunks_available": [1], "chunks_failed": 1 }),
    ] {
        let mut status = odd.clone();
        status["status"] = json!("FINISHED");
        let tool = start(Canned(export("findings", vec![status], json!([least(json!({}))]))), 0).await.unwrap();
        let link = Endpoint {
            location: Location::parse(&tool.url, false).unwrap(),
            options: HttpOptions::default(),
            limiters: Arc::new(Limiters::default()),
        };
        let source = Registration::find("tenable").unwrap().open(keys(), link).unwrap();
        let (cx, scope) = (Context::new(Arc::new(RunStats::without_waits())), Scope::account("findings"));
        let mut cursor = None::<Box<str>>;
        let error = loop {
            let ask = RawPageRequest {
                scope: &scope,
                since: None,
                full: true,
                mark: None,
                cursor: cursor.as_deref().map(Into::into),
                stored: &Nothing,
                parts: None,
            };
            match source.page(&cx, ask).await.map(|page| page.next) {
                Ok(Next::More(next) | Next::Wait(next, _)) => cursor = Some(next),
                Ok(Next::Done(..)) => panic!("{odd}: it ends as whole"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error.kind, ErrorKind::UnexpectedBody { .. } | ErrorKind::ExportFailed(_)), "{odd}: {error}");
    }
}

/// An odd member beside the id hides no key: the finding is stored without it.
#[tokio::test]
async fn an_odd_port_or_plugin_hides_no_key() {
    let read = findings(vec![least(json!({ "port": "443/tcp" })), least(json!({ "finding_id": "f-2", "asset": "a" }))]).await;
    let seen: Vec<_> = read.findings().iter().map(|finding| (&*finding.key, finding.lineage.as_deref())).collect();
    assert_eq!((seen, read.rejects.len()), (vec![("f-1", None), ("f-2", None)], 0));
    assert_eq!(read.left_out(), [("f-1", "port"), ("f-2", "asset")]);
    // Without an id they are what it is known by.
    let read = findings(vec![least(json!({ "finding_id": null, "port": "443/tcp" }))]).await;
    assert_eq!((read.items.len(), read.rejects[0].key.as_deref()), (0, None));
}

#[tokio::test]
async fn scores_are_taken_from_the_newest_version() {
    let vector = |raw: &str| json!({ "raw": raw });
    let four = "AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N";
    let three = "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
    let all = json!({ "cvss4_base_score": 9.3, "cvss4_vector": vector(four), "cvss3_base_score": 9.8, "cvss3_vector": vector(three), "cvss_base_score": 10.0 });
    let cvss = of_plugin(all).await.cvss.unwrap();
    assert_eq!((&*cvss.version, cvss.score, cvss.vector.as_deref()), ("4.0", Some(9.3), Some(&*format!("CVSS:4.0/{four}"))));
    let named = of_plugin(json!({ "cvss3_base_score": "9.8", "cvss3_vector": vector(&format!("CVSS:3.1/{three}")) })).await.cvss.unwrap();
    assert_eq!((&*named.version, named.vector.as_deref()), ("3.1", Some(&*format!("CVSS:3.1/{three}"))));
    let second = of_plugin(json!({ "cvss_base_score": 10.0, "cvss_vector": vector("AV:N/AC:L/Au:N/C:C/I:C/A:C") })).await.cvss.unwrap();
    assert_eq!((&*second.version, second.score), ("2.0", Some(10.0)));
    assert_eq!(of_plugin(json!({ "cvss_base_score": null, "cvss_vector": null })).await.cvss, None);
    assert_eq!(of_plugin(json!({ "epss_score": 94.31 })).await.epss_score, Some(0.943_1));
}

#[tokio::test]
async fn components_come_from_software_else_from_the_first_cpe() {
    let parts = |finding: &Finding| {
        [&finding.component_name, &finding.component_version, &finding.component_purl, &finding.fixed_version]
            .map(|text| text.as_deref().unwrap_or_default().to_owned())
    };
    let software = |members: Value| json!({ "software_vulns": [members, { "product": "another" }] });
    let package = software(json!({
        "identifier": "pkg:npm/lodash@4.17.20", "product": "lodash", "product_type": "Package", "version": "4.17.20", "fix_available": true,
        "fixes": [{ "fix_type": "PACKAGE", "value": "pkg:npm/lodash@4.17.21?x=y" }],
    }));
    let finding = one(package).await;
    assert_eq!(
        (parts(&finding), finding.fix_available),
        (["lodash", "4.17.20", "pkg:npm/lodash@4.17.20", "4.17.21"].map(str::to_owned), Some(true))
    );
    let application = software(json!({ "identifier": "cpe:2.3:a:acme:rocket:1.2:*:*:*:*:*:*:*", "fixes": [{ "value": "1.3" }] }));
    assert_eq!(parts(&one(application).await), ["rocket", "1.2", "", "1.3"].map(str::to_owned));
    for (cpe, expected) in [
        ("cpe:/a:microsoft:sharepoint_server:2016", ["sharepoint_server", "2016"]),
        ("cpe:/o:linux:linux_kernel", ["linux_kernel", ""]),
        ("cpe:2.3:a:acme:rocket:*:*:*:*:*:*:*:*", ["rocket", ""]),
        ("nonsense", ["", ""]),
    ] {
        let finding = of_plugin(json!({ "cpe": [cpe, "cpe:/a:x:y"] })).await;
        assert_eq!(parts(&finding)[..2], expected.map(str::to_owned), "{cpe}");
    }
    for (members, available) in [
        (json!({ "has_patch": true }), Some(true)),
        (json!({ "has_patch": false }), None),
        (json!({ "has_patch": false, "vendor_unpatched": true }), Some(false)),
    ] {
        assert_eq!(of_plugin(members.clone()).await.fix_available, available, "{members}");
    }
}

#[tokio::test]
async fn places_and_texts_are_put_together() {
    let at = |asset: Value, port: Value| json!({ "asset": asset, "port": port });
    for (members, endpoint) in [
        (
            at(json!({ "fqdn": "a.example", "ipv4": "10.0.0.1" }), json!({ "port": 443, "protocol": "TCP", "service": "www" })),
            Some("a.example:443/tcp"),
        ),
        (at(json!({ "ipv4": "10.0.0.1", "hostname": "h" }), json!({ "port": "161", "protocol": "UDP" })), Some("10.0.0.1:161/udp")),
        (at(json!({ "ipv6": "2001:db8::1" }), json!({ "port": 22 })), Some("[2001:db8::1]:22")),
        (at(json!({ "fqdn": "a.example" }), json!({ "port": 0, "protocol": "ICMP" })), Some("a.example")),
        (at(json!({}), json!({ "port": 22 })), None),
    ] {
        assert_eq!(one(members.clone()).await.endpoint.as_deref(), endpoint, "{members}");
    }
    let told = one(json!({
        "plugin": { "id": 7, "name": " P &lt; 2.4 &amp; Q&#39;s\u{7}\n ", "synopsis": "S", "description": " D < 2 & <script>x</script> ", "solution": "Upgrade.", "workaround": "Or not.",
            "see_also": ["https://a.example/1", "see https://b.example/2", "https://a.example/1"] },
        "output": "O\n", "recast_reason": "as agreed", "severity_modification_type": "ACCEPTED", "source": "AGENT",
        "first_found": "2024-01-02T03:04:05Z", "last_found": "2024-02-02T03:04:05.678Z",
    }))
    .await;
    assert_eq!(&*told.title, "P < 2.4 & Q's", "a plugin's name is HTML");
    assert_eq!(told.description.as_deref(), Some("S\n\nD < 2 & <script>x</script>\n\nO\n\nReason: as agreed"), "plain text stays as it is");
    assert_eq!(told.remediation.as_deref(), Some("Upgrade.\n\nOr not."));
    assert_eq!(texts(&told.reference_urls), ["https://a.example/1", "https://b.example/2", "https://www.tenable.com/plugins/nessus/7"]);
    assert_eq!(texts(&told.tags), ["AGENT"]);
    assert_eq!(told.vendor_first_seen.unwrap().to_string(), "2024-01-02T03:04:05Z");
    assert_eq!(told.vendor_last_seen.unwrap().to_string(), "2024-02-02T03:04:05.678Z");
}

#[tokio::test]
async fn assets_are_mapped_with_what_identifies_them_and_their_end() {
    let gone = |times: Value| json!({ "id": "x", "timestamps": times });
    let rows = json!([
        { "id": "h", "types": ["cloud", "host"], "is_licensed": true, "operating_systems": ["Linux"], "system_types": ["general-purpose"],
          "timestamps": { "created_at": "2024-01-01T00:00:00Z", "deleted_at": null },
          "network": { "network_name": "Default", "ipv4s": ["10.0.0.2", "10.0.0.1"], "fqdns": ["b.example", "a.example"], "hostnames": ["b"],
              "mac_addresses": ["00:11:22:33:44:55"], "netbios_names": ["B"] },
          "cloud": { "azure": { "vm_id": "vm-1" } }, "ratings": { "acr": { "score": 7 }, "aes": { "score": 800 } },
          "tags": [{ "key": "Team", "value": "Red" }, { "key": "Env", "value": "Prod" }] },
        { "id": "named-by-nothing" },
        gone(json!({ "deleted_at": "2024-01-01T00:00:00Z" })), gone(json!({ "terminated_at": "2024-01-01T00:00:00Z" })), { "id": "x", "is_deleted": true },
    ]);
    let read = chunk("assets", rows).await;
    assert_eq!(read.rejects, []);
    let assets = assets_of(&read);
    assert_eq!((&*assets[0].key, &*assets[0].kind, &*assets[0].name, assets[0].gone), ("h", "host", "a.example", false));
    let pairs =
        |list: &[(&'static str, Box<str>)]| list.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    assert_eq!(
        pairs(&assets[0].identifiers),
        "fqdn=a.example fqdn=b.example hostname=b netbios=B ipv4=10.0.0.1 ipv4=10.0.0.2 mac=00:11:22:33:44:55 instance_id=vm-1"
    );
    assert_eq!(
        pairs(&assets[0].attributes),
        "operating_system=Linux system_type=general-purpose network=Default licensed=yes asset_criticality=7"
    );
    assert_eq!(texts(&assets[0].tags), ["Env:Prod", "Team:Red"]);
    assert_eq!((&*assets[1].name, assets[1].gone), ("named-by-nothing", false));
    assert!(assets[2..].iter().all(|asset| asset.gone));
    let Some(rows) = recorded("tenable/assets_v2_chunk_cartography.json") else { return };
    let read = chunk("assets", rows).await;
    let first = assets_of(&read)[0];
    assert_eq!(&*first.name, "server1.example.com");
    assert!(pairs(&first.identifiers).contains("instance_id=i-1234567890abcdef0"), "{:?}", first.identifiers);
}

#[tokio::test]
async fn scans_are_records_and_there_is_one_more() {
    let scans = json!({ "folders": [], "timestamp": 1, "scans": [
        { "id": 11, "schedule_uuid": "template-1", "name": "Weekly ", "type": "remote", "owner": "a@b.example", "status": "running" },
        { "id": 12, "schedule_uuid": "s-2", "name": "" }, { "id": 13, "name": "never" },
    ] });
    let answers = |scans: Value| {
        Router::new().route("/scans", always(scans)).route("/session", always(json!({ "container_uuid": ACCOUNT, "permissions": 64 })))
    };
    let read = super::read("tenable", keys(), &Scope::account("scans"), answers(scans)).await;
    let records: Vec<&Record> =
        read.items.iter().filter_map(|item| if let Item::Record(record) = item { Some(record) } else { None }).collect();
    let shown: Vec<_> = records.iter().map(|record| (&*record.key, &*record.name, &*record.kind)).collect();
    assert_eq!(shown, [("template-1", "Weekly", "scan"), ("s-2", "s-2", "scan"), (ACCOUNT, "All assets", "container")]);
    assert_eq!(records[0].attributes, [("scan_id", "11".into()), ("type", "remote".into()), ("owner", "a@b.example".into())]);
    assert_eq!((read.items.len(), read.rejects.len()), (4, 0), "a scan without a schedule is counted");
    // `null` is no scan at all.
    let none = super::read("tenable", keys(), &Scope::account("scans"), answers(json!({ "scans": null }))).await;
    assert_eq!(none.items.len(), 1);
}

/// Each form of the keys leads to the same header, and both exports ask for what the documentation says is needed.
#[tokio::test]
async fn every_way_to_write_the_keys_is_understood_and_filters_are_never_empty() {
    for settings in [
        json!({ "access_key": "acc", "secret_key": "sec" }),
        json!({ "secret": "acc;sec" }),
        json!({ "secret": "acc:sec" }),
        json!({ "secret": "accessKey=acc; secretKey=sec;" }),
        json!({ "secret": "secretKey=sec;accessKey=acc" }),
        json!({ "secret": "{\"accessKey\":\"acc\",\"secretKey\":\"sec\"}" }),
    ] {
        for list in ["findings", "assets"] {
            let status = json!({ "status": "FINISHED" });
            let seen = Arc::new(std::sync::Mutex::new(Value::Null));
            let note = Arc::clone(&seen);
            let start = post(move |headers: axum::http::HeaderMap, body: Bytes| {
                assert_eq!(headers["x-apikeys"], "accessKey=acc;secretKey=sec");
                assert!(headers["user-agent"].to_str().unwrap().starts_with("Integration/1.0 (Tributary; Tributary; Build: "));
                *note.lock().unwrap() = serde_json::from_slice(&body).unwrap();
                std::future::ready((StatusCode::CONFLICT, json!({ "active_job_id": "job-2", "failure_reason": "so" }).to_string()))
            });
            let (path, jobs) =
                if list == "findings" { ("/vulns/export", "/vulns/export") } else { ("/assets/v2/export", "/assets/export") };
            let answers = Router::new().route("/session", always(json!({ "container_uuid": ACCOUNT }))).route(path, start).route(
                &format!("{jobs}/{{uuid}}/status"),
                get(move |Path(uuid): Path<String>| {
                    assert_eq!(uuid, "job-2", "the job under way is adopted");
                    std::future::ready(status.to_string())
                }),
            );
            let read = super::read("tenable", settings.clone(), &Scope::account(list), answers).await;
            assert_eq!(read.items.len(), 0, "a job without chunks");
            let body = seen.lock().unwrap().take();
            let expected = if list == "findings" {
                json!({ "num_assets": 50, "include_unlicensed": true, "include_software_vulns": true,
                    "filters": { "state": ["OPEN", "REOPENED", "FIXED"], "since": 1_000_000_000 } })
            } else {
                json!({ "chunk_size": 1000, "include_open_ports": false, "filters": { "types": ["host"], "since": 1_000_000_000 } })
            };
            assert_eq!(body, expected);
        }
    }
    let link = || Endpoint {
        location: Location::parse("https://cloud.tenable.com", false).unwrap(),
        options: HttpOptions::default(),
        limiters: Arc::new(Limiters::default()),
    };
    for settings in [
        json!({}),
        json!({ "access_key": "a" }),
        json!({ "secret": "one" }),
        json!({ "secret": ";b" }),
        json!({ "secret": "a;b", "secret_key": "c" }),
    ] {
        let error = Registration::find("tenable").unwrap().open(settings.clone(), link()).err().unwrap();
        assert!(error.to_string().contains("`access_key` and `secret_key`"), "{settings}: {error}");
    }
}
