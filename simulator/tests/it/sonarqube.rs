//! What the simulated SonarQube promises, asked over HTTP.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;
use tributary_simulator::{Change, Fault, Running, Size, Vendor, sonarqube::SonarQube, start};

const SIZE: Size = Size { records: 6, findings: 600, seed: 7 };

struct Asked {
    status: u16,
    head: String,
    body: Value,
}

/// One GET with the tool's own token.
fn get(tool: &Running, target: &str) -> Asked {
    let token = &tool.vendor.fields(&tool.url)[0].1;
    get_as(tool, target, &format!("Authorization: Bearer {token}\r\n"))
}

fn get_as(tool: &Running, target: &str, headers: &str) -> Asked {
    let mut stream = TcpStream::connect(tool.url.trim_start_matches("http://")).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: sonar\r\nConnection: close\r\n{headers}\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Asked { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())) }
}

fn message(asked: &Asked) -> &str {
    asked.body["errors"][0]["msg"].as_str().unwrap_or_default()
}

/// The keys of all pages of a query.
fn keys(tool: &Running, query: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for page in 1.. {
        let asked = get(tool, &format!("{query}&ps=500&p={page}"));
        assert_eq!(asked.status, 200, "{query}: {}", asked.body);
        let items = asked.body.get("issues").or(asked.body.get("hotspots")).unwrap().as_array().unwrap();
        if items.is_empty() {
            break;
        }
        keys.extend(items.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
    }
    keys
}

async fn serve(tool: SonarQube) -> Running {
    start(tool, 0).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_is_refused_and_only_validate_says_so_politely() {
    let new = serve(SonarQube::new(SIZE)).await;
    let bad = "Authorization: Bearer squ_wrong\r\n";
    assert_eq!(get_as(&new, "/api/issues/search", bad).status, 401);
    assert_eq!(get_as(&new, "/api/authentication/validate", bad).body["valid"], false);
    assert_eq!(get_as(&new, "/api/server/version", "").body, "2025.6.1.117629");
    let good = get(&new, "/api/components/search_projects?filter=qualifier%20%3D%20TRK");
    assert_eq!(good.status, 200);
    assert!(good.head.contains("sonarqube-authentication-token-expiration: 2099-01-31t00:00:00+0000"));
    let old = serve(SonarQube::new(SIZE).old()).await;
    assert_eq!(get(&old, "/api/components/search_projects").status, 401);
    let basic = "Authorization: Basic c3F1XzlmMmM2ZTBkNDFiN2E4NTM2MmMwOg==\r\n";
    assert_eq!(get_as(&old, "/api/components/search_projects", basic).status, 200);
    assert_eq!(get_as(&old, "/api/v2/clean-code-policy/mode", basic).status, 404);
    assert_eq!(get(&new, "/api/v2/clean-code-policy/mode").body["mode"], "MQR");
    let standard = serve(SonarQube::new(SIZE).standard()).await;
    assert_eq!(get(&standard, "/api/v2/clean-code-policy/mode").body["mode"], "STANDARD_EXPERIENCE");
    let moved = serve(SonarQube::new(SIZE).context_path("/sonarqube")).await;
    assert_eq!(get(&moved, "/sonarqube/api/authentication/validate").body["valid"], true);
    assert_eq!(get(&moved, "/sonarqube/api/nothing").status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_limited_and_unknown_values_refused() {
    let new = serve(SonarQube::new(SIZE)).await;
    let refused = |query: &str| {
        let asked = get(&new, query);
        assert_eq!(asked.status, 400, "{query}");
        message(&asked).to_owned()
    };
    assert_eq!(refused("/api/issues/search?ps=501"), "'ps' value (501) must be less than 500");
    assert_eq!(refused("/api/issues/search?ps=500&p=21"), "Can return only the first 10000 results. 10500th result asked.");
    assert!(refused("/api/issues/search?types=CRIME").starts_with("Value of parameter 'types' (CRIME) must be one of: ["));
    assert_eq!(refused("/api/issues/search?facets=files"), "Facet(s) 'files' require to also filter by project");
    assert!(refused("/api/issues/search?createdAfter=2020-01-01T00:00:00+0000").starts_with("Date '2020-01-01T00:00:00 0000'"));
    assert!(refused("/api/hotspots/search?projectKey=acme_billing_1&status=TO_REVIEW,REVIEWED").contains("'status'"));
    assert!(refused("/api/hotspots/search").contains("must be provided"));
    assert_eq!(get(&new, "/api/issues/search?componentKeys=acme_billing_1&nonsense=1").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_browsed_is_silently_empty_in_the_issues_only() {
    let new = serve(SonarQube::new(SIZE)).await;
    for key in ["acme_reports_6", "no-such-project"] {
        assert_eq!(get(&new, &format!("/api/issues/search?components={key}")).body["total"], 0);
    }
    assert_eq!(get(&new, "/api/components/show?component=acme_reports_6").status, 403);
    assert_eq!(get(&new, "/api/hotspots/search?project=acme_reports_6").status, 403);
    assert_eq!(message(&get(&new, "/api/components/show?component=nope")), "Component key 'nope' not found");
    assert_eq!(message(&get(&new, "/api/hotspots/search?project=nope")), "Project 'nope' not found");
    assert_eq!(get(&new, "/api/projects/search").status, 403);
    let admin = serve(SonarQube::new(SIZE).admin()).await;
    assert_eq!(get(&admin, "/api/projects/search").body["paging"]["total"], 7);
    let narrow = serve(SonarQube::new(SIZE).with_project_token()).await;
    assert_eq!(get(&narrow, "/api/authentication/validate").body["valid"], true);
    // Of the list of projects it is shown its own, and neither another one nor an application; all are counted.
    let listed = get(&narrow, "/api/components/search_projects").body;
    let keys: Vec<&str> = listed["components"].as_array().unwrap().iter().filter_map(|project| project["key"].as_str()).collect();
    assert_eq!((keys, &listed["paging"]["total"]), (vec!["acme_shop-api_0"], &Value::from(8)));
    // It lists the issues of any project that its user may browse, and opens none.
    assert_eq!(
        get(&narrow, "/api/issues/search?components=acme_billing_1").body["total"],
        get(&new, "/api/issues/search?components=acme_billing_1").body["total"]
    );
    for project in ["acme_shop-api_0", "acme_billing_1"] {
        assert_eq!(get(&narrow, &format!("/api/components/show?component={project}")).status, 403);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_parameter_for_the_project_brings_the_issues_of_all() {
    let new = serve(SonarQube::new(SIZE)).await;
    let five = get(&new, "/api/issues/search?components=acme_billing_1&ps=500").body["total"].as_u64().unwrap();
    assert!(five < 8);
    assert_eq!(get(&new, "/api/issues/search?componentKeys=acme_billing_1").body["total"], five);
    let cloud = serve(SonarQube::new(SIZE).cloud()).await;
    assert!(get(&cloud, "/api/issues/search?organization=acme-org&components=acme_billing_1").body["total"].as_u64().unwrap() > 100);
    assert_eq!(message(&get(&cloud, "/api/projects/search")), "The 'organization' parameter is missing");
    assert_eq!(get(&cloud, "/api/projects/search?organization=acme-org").body["paging"]["total"], 6);
    assert_eq!(get(&cloud, "/api/organizations/search?member=true").body["organizations"][0]["key"], "acme-org");
    assert_eq!(get(&cloud, "/api/issues/search?componentKeys=acme_billing_1").body["ps"], 50);
    assert_eq!(get(&cloud, "/api/issues/search?componentKeys=acme_billing_1&issueStatuses=IN_SANDBOX").status, 400);
}

/// The security findings that are open, by the tool's own filters, are those that the oracle has as open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filters_and_the_oracle_agree_after_every_step() {
    let tools = [
        (SonarQube::new(SIZE), "components", "impactSoftwareQualities=SECURITY&issueStatuses=OPEN,CONFIRMED,IN_SANDBOX", "project"),
        (SonarQube::new(SIZE).standard(), "components", "types=VULNERABILITY&issueStatuses=OPEN,CONFIRMED,IN_SANDBOX", "project"),
        (
            SonarQube::new(SIZE).cloud(),
            "organization=acme-org&componentKeys",
            "impactSoftwareQualities=SECURITY&resolved=false",
            "projectKey",
        ),
        (SonarQube::new(SIZE).community(), "components", "impactSoftwareQualities=SECURITY&statuses=OPEN,CONFIRMED,REOPENED", "project"),
    ];
    for (tool, component, security, project) in tools {
        let tool = serve(tool).await;
        for step in 0..3 {
            let oracle = tool.vendor.oracle();
            let open: BTreeSet<String> =
                oracle.findings.iter().filter(|(_, truth)| truth.state == "open").map(|(key, _)| key.clone()).collect();
            let mut listed = Vec::new();
            for key in oracle.records.keys() {
                listed.extend(keys(&tool, &format!("/api/issues/search?{component}={key}&{security}")));
                let hotspots = keys(&tool, &format!("/api/hotspots/search?{project}={key}&status=TO_REVIEW"));
                listed.extend(hotspots.into_iter().map(|key| format!("hotspot:{key}")));
            }
            let count = listed.len();
            let listed: BTreeSet<String> = listed.into_iter().collect();
            assert_eq!(listed.len(), count, "nothing comes twice");
            assert_eq!(listed, open, "{component}, step {step}");
            tool.vendor.step(&Change::ONE_PERCENT);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_moves_what_it_says_and_the_update_dates_of_it() {
    let tool = serve(SonarQube::new(SIZE)).await;
    let before = tool.vendor.oracle();
    let newest = |tool: &Running| -> BTreeSet<String> {
        let body = get(tool, "/api/issues/search?s=UPDATE_DATE&asc=false&ps=100").body;
        let recent = body["issues"].as_array().unwrap().iter().filter(|issue| issue["updateDate"].as_str().unwrap() > "2026");
        recent.map(|issue| issue["key"].as_str().unwrap().to_owned()).collect()
    };
    assert!(newest(&tool).is_empty());
    tool.vendor.step(&Change { fixed: 2.0, changed: 3.0, new: 1.0, vanished: 1.0 });
    let after = tool.vendor.oracle();
    let of = |state: &str| after.findings.values().filter(|truth| truth.state == state).count();
    assert_eq!(after.findings.len(), before.findings.len() + 6);
    assert!(of("fixed") >= 6 && of("gone") >= 6, "{} {}", of("fixed"), of("gone"));
    let moved = newest(&tool);
    let told = after
        .findings
        .iter()
        .filter(|(key, truth)| !key.starts_with("hotspot:") && truth.state != "gone" && before.findings.get(*key) != Some(truth));
    for (key, truth) in told {
        assert!(moved.contains(key), "{key} {truth:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_project_needs_splitting_by_facets() {
    let server = serve(SonarQube::large(25_000)).await;
    let cloud = serve(SonarQube::large(25_000).cloud()).await;
    let query = "/api/issues/search?componentKeys=org.example:crm-2&organization=acme-org&impactSoftwareQualities=SECURITY";
    let total = get(&server, &format!("{query}&ps=1")).body["paging"]["total"].as_u64().unwrap();
    assert!(total > 20_000);
    assert_eq!(get(&cloud, &format!("{query}&ps=1")).body["paging"]["total"], 10_000);
    // No span of time parts what the first analysis found.
    let import =
        format!("{query}&createdAfter=2025-11-15T02:14:35%2B0000&createdBefore=2025-11-15T02:14:36%2B0000&facets=impactSeverities,rules");
    let same = get(&server, &import).body;
    assert!(same["total"].as_u64().unwrap() > 10_000);
    let counts = same["facets"][0]["values"].as_array().unwrap();
    assert_eq!(counts.iter().map(|value| value["count"].as_u64().unwrap()).sum::<u64>(), same["total"].as_u64().unwrap());
    let one = format!("{import}&impactSeverities={}", counts[0]["val"].as_str().unwrap());
    assert_eq!(keys(&server, &one).len() as u64, counts[0]["count"].as_u64().unwrap());
    // The list from the database has no window, and a total that says nothing.
    let list = get(&server, "/api/issues/list?project=org.example:crm-2&ps=500&p=30").body;
    assert_eq!((list["paging"]["total"].as_u64(), list["issues"].as_array().unwrap().len()), (Some(500), 500));
    let started = std::time::Instant::now();
    for page in 1..=20 {
        assert_eq!(get(&server, &format!("{query}&s=UPDATE_DATE&asc=false&ps=500&p={page}")).status, 200);
    }
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_items_come_on_pages_that_list_open_findings() {
    let tool = serve(SonarQube::new(SIZE)).await;
    tool.faults.add("finding", 0, 1, Fault::BadItem);
    assert_eq!(get(&tool, "/api/issues/search?components=acme_shop-api_0").body["total"], 0);
    let bad = get(&tool, "/api/issues/search?components=acme_billing_1").body;
    assert_eq!(bad["issues"].as_array().unwrap().iter().filter(|issue| issue.is_array()).count(), 1);
    tool.faults.add("finding", 0, 1, Fault::UnknownEnum);
    let odd = get(&tool, "/api/issues/search?components=acme_billing_1").body.to_string();
    assert!(odd.contains("PONDERING") && odd.contains("APOCALYPTIC"));
    tool.faults.add("", 0, usize::MAX, Fault::NoRole);
    assert_eq!(get(&tool, "/api/issues/search?components=acme_billing_1").body["total"], 0);
    assert_eq!(get(&tool, "/api/components/show?component=acme_billing_1").status, 403);
    assert_eq!(get(&tool, "/api/components/search_projects").body["paging"]["total"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_hotspots_and_rules_have_their_details() {
    let tool = serve(SonarQube::new(SIZE)).await;
    let branch = get(&tool, "/api/issues/search?components=acme_warehouse_4&branch=release/1.x").body;
    assert!(branch["total"].as_u64().unwrap() > 0 && branch["issues"][0]["branch"] == "release/1.x");
    assert_eq!(get(&tool, "/api/issues/search?components=acme_warehouse_4&branch=nope").body["total"], 0);
    assert_eq!(get(&tool, "/api/hotspots/search?project=acme_warehouse_4&branch=nope").status, 404);
    assert_eq!(get(&tool, "/api/project_branches/list?project=acme_warehouse_4").body["branches"].as_array().unwrap().len(), 2);
    let spots = get(&tool, "/api/hotspots/search?project=acme_warehouse_4").body;
    let key = spots["hotspots"][0]["key"].as_str().unwrap();
    assert!(get(&tool, &format!("/api/hotspots/show?hotspot={key}")).body["rule"]["fixRecommendations"].is_string());
    let rule = get(&tool, "/api/rules/show?key=java:S2000").body;
    assert_eq!(rule["rule"]["descriptionSections"][1]["key"], "how_to_fix");
    assert_eq!(get(&tool, "/api/rules/search?rule_key=java:S2000").body["total"], 1);
    assert_eq!(get(&tool, "/api/rules/show?key=java:S1").status, 404);
    let community = serve(SonarQube::new(SIZE).community()).await;
    assert_eq!(get(&community, "/api/issues/search?components=acme_warehouse_4&branch=main").body["total"], 0);
    let without = serve(SonarQube::new(SIZE).without_hotspots()).await;
    assert_eq!(get(&without, "/api/hotspots/search?project=acme_warehouse_4").status, 404);
    assert!(SonarQube::new(SIZE).without_hotspots().oracle().findings.keys().all(|key| !key.starts_with("hotspot:")));
}
