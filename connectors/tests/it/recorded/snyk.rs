//! Snyk.

use axum::{
    extract::Query,
    http::{StatusCode, Uri},
    routing::{get, post},
};
use serde_json::json;
use tributary_connectors::model::{Category, Record, Severity, State};

use super::*;

/// A Snyk that answers one page of issues, with one project of this type, and these answers of API V1.
struct Tool {
    issues: Value,
    project: Value,
    aggregated: (StatusCode, Value),
    ignores: (StatusCode, Value),
}

impl Tool {
    #[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
    fn of(issues: Value) -> Self {
        let project = json!({ "type": "npm", "origin": "github", "name": "acme/shop:package.json", "status": "active",
            "target_file": "package.json", "target_reference": "main", "tags": [{ "key": "team", "value": "red" }] });
        let ok = StatusCode::OK;
        Tool { issues: json!({ "data": issues }), project, aggregated: (ok, json!({ "issues": [] })), ignores: (ok, json!({})) }
    }

    fn project(mut self, kind: &str) -> Self {
        self.project["type"] = kind.into();
        self
    }

    async fn read(self, settings: Value) -> Read {
        let Tool { issues, project, aggregated, ignores } = self;
        let projects = move |Query(query): Query<HashMap<String, String>>| {
            let of = |id: &str| json!({ "id": id, "type": "project", "attributes": project });
            let data: Vec<Value> = query["ids"].split(',').map(of).collect();
            std::future::ready(json!({ "jsonapi": { "version": "1.0" }, "data": data, "links": {} }).to_string())
        };
        let answer = |(status, body): (StatusCode, Value)| std::future::ready((status, body.to_string()));
        let answers = Router::new()
            .route("/rest/orgs/o-1/issues", get(move || std::future::ready(issues.to_string())))
            .route("/rest/orgs/o-1/projects", get(projects))
            .route("/v1/org/o-1/project/{project}/aggregated-issues", post(move || answer(aggregated.clone())))
            .route("/v1/org/o-1/project/{project}/ignores", get(move || answer(ignores.clone())));
        let scope = Scope { list: "issues", key: "o-1".into(), title: "acme".into(), record: None, ..Scope::account("issues") };
        read("snyk", settings, &scope, answers).await
    }
}

fn token() -> Value {
    json!({ "secret": "00000000-aaaa" })
}

async fn recorded(name: &str) -> Option<Value> {
    super::recorded(&format!("snyk/{name}"))
}

#[tokio::test]
async fn every_recorded_issue_is_read_and_none_is_rejected() {
    for (name, expected) in [("issues_sca_single.json", 1), ("issues_code_many.json", 3), ("issues_empty.json", 0)] {
        let Some(file) = recorded(name).await else { continue };
        let page = Tool { issues: file, ..Tool::of(json!([])) }.read(token()).await;
        assert_eq!((page.rejects.len(), page.items.len()), (0, expected), "{name}");
        assert!(page.warnings.is_empty(), "{name}: {:?}", page.warnings);
        for finding in page.findings() {
            assert!(!finding.title.is_empty() && finding.raw.is_some() && finding.vendor_first_seen.is_some(), "{name}: {}", finding.key);
        }
    }
    // The other recordings are of lists that are not read: targets and groups of an older release, and issues of a package.
}

#[tokio::test]
async fn a_package_vulnerability_is_mapped_field_by_field() {
    let Some(file) = recorded("issues_sca_single.json").await else { return };
    let page = Tool { issues: file, ..Tool::of(json!([])) }.project("pip").read(token()).await;
    let finding = page.findings()[0];
    assert_eq!((&*finding.key, &*finding.record), ("834bd190-3f57-46bb-b9ef-e11fee859ab4", "92867a20-30b8-44fd-a59f-da71d59b58f1"));
    assert_eq!(&*finding.title, "Heap-based Buffer Overflow in pillow@9.5.0");
    assert_eq!(
        (finding.category, finding.severity, finding.vendor_severity.as_deref()),
        (Category::Sca, Severity::Critical, Some("critical"))
    );
    assert_eq!((finding.state, finding.vendor_state.as_deref()), (State::RiskAccepted, Some("open, ignored")));
    assert_eq!((finding.rule.as_deref(), finding.branch.as_deref()), (Some("SNYK-PYTHON-PILLOW-5918878"), Some("main")));
    assert_eq!((texts(&finding.cve), texts(&finding.cwe)), (vec!["CVE-2023-4863"], vec!["CWE-122"]));
    assert_eq!(texts(&finding.identifiers), ["SNYK-PYTHON-PILLOW-5918878"]);
    let cvss = finding.cvss.as_ref().unwrap();
    assert_eq!((&*cvss.version, cvss.score), ("3.1", Some(9.6)));
    assert_eq!((finding.exploited, finding.fix_available, finding.fixed_version.as_deref()), (Some(true), Some(true), None));
    assert_eq!((finding.component_name.as_deref(), finding.component_version.as_deref()), (Some("pillow"), Some("9.5.0")));
    assert_eq!(finding.component_purl.as_deref(), Some("pkg:pypi/pillow@9.5.0"));
    assert_eq!(finding.remediation.as_deref(), Some("The dependency can be pinned to a fixed version."));
    assert_eq!(
        texts(&finding.reference_urls),
        ["https://nvd.nist.gov/vuln/detail/CVE-2023-4863", "https://security.snyk.io/vuln/SNYK-PYTHON-PILLOW-5918878"]
    );
    assert_eq!(texts(&finding.tags), ["package_vulnerability", "github", "team:red", "risk score 649", "exploit maturity Attacked"]);
    assert_eq!(finding.lineage, None, "the vendor's id stays");
    assert_eq!(finding.vendor_first_seen.unwrap().to_string(), "2025-09-11T18:25:22.457Z");
    assert_eq!((finding.asset_key.as_deref(), finding.url.as_deref()), (Some("92867a20-30b8-44fd-a59f-da71d59b58f1"), None));
}

#[tokio::test]
async fn findings_of_snyk_code_have_a_place_and_no_rule() {
    let Some(file) = recorded("issues_code_many.json").await else { return };
    let page = Tool { issues: file, ..Tool::of(json!([])) }.project("sast").read(token()).await;
    let found = page.findings();
    let first = found[0];
    assert_eq!((first.category, first.severity, first.state), (Category::Sast, Severity::High, State::Open));
    assert_eq!((&*first.title, first.vendor_state.as_deref()), ("Cross-Site Request Forgery (CSRF)", Some("open")));
    assert_eq!((first.file_path.as_deref(), first.line_start, first.line_end), (Some("path/path/file.abc"), Some(65), Some(71)));
    assert_eq!((first.rule.as_deref(), first.identifiers.len(), texts(&first.cwe)), (None, 0, vec!["CWE-352"]));
    assert_eq!((first.fix_available, first.description.as_deref()), (Some(false), Some("Cross-Site Request Forgery (CSRF)")));
    assert_eq!((found[1].state, found[1].severity), (State::RiskAccepted, Severity::Medium));
    assert_eq!((texts(&found[2].cwe), found[2].severity), (vec!["CWE-259", "CWE-798"], Severity::Low));
}

/// An issue of our own making, with these attributes besides the required ones.
#[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
fn issue(number: usize, more: Value) -> Value {
    let mut attributes = json!({ "key": format!("key-{number}"), "title": "T", "type": "package_vulnerability", "effective_severity_level": "high",
        "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z", "status": "open", "ignored": false });
    attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "id": format!("i-{number}"), "type": "issue", "attributes": attributes, "relationships": {
        "organization": { "data": { "id": "o-1", "type": "organization" } }, "scan_item": { "data": { "id": "p-1", "type": "project" } } } })
}

fn issues(rows: impl IntoIterator<Item = Value>) -> Value {
    rows.into_iter().enumerate().map(|(number, more)| issue(number, more)).collect()
}

/// Status, ignored, key's reason in V1, severity, type: each row of the mapping table.
#[tokio::test]
async fn states_severities_and_types_follow_the_table() {
    let rows = [
        (json!({}), State::Open, "open"),
        (json!({ "status": "resolved" }), State::Fixed, "resolved"),
        (
            json!({ "status": "resolved", "resolution": { "type": "fixed", "resolved_at": "2026-02-02T00:00:00Z" } }),
            State::Fixed,
            "resolved: fixed",
        ),
        (json!({ "status": "resolved", "ignored": true, "resolution": { "type": "disappeared" } }), State::Fixed, "resolved: disappeared"),
        (json!({ "ignored": true }), State::RiskAccepted, "open, ignored"),
        (json!({ "ignored": true, "key": "nv" }), State::FalsePositive, "open, ignored: not-vulnerable"),
        (json!({ "ignored": true, "key": "wf" }), State::RiskAccepted, "open, ignored: wont-fix"),
        (json!({ "ignored": true, "key": "ti" }), State::RiskAccepted, "open, ignored: temporary-ignore"),
        (json!({ "ignored": true, "key": "both" }), State::RiskAccepted, "open, ignored: wont-fix"),
        (json!({ "ignored": true, "key": "odd" }), State::RiskAccepted, "open, ignored: because"),
        (json!({ "ignored": false, "key": "nv" }), State::Open, "open"),
        (json!({ "status": "pondering" }), State::Open, "pondering"),
        (json!({ "status": "RESOLVED", "type": "Code" }), State::Fixed, "RESOLVED"),
    ];
    let entry = |kind: &str| json!({ "*": { "reason": format!("said {kind}"), "reasonType": kind, "created": "2026-01-01T00:00:00Z" } });
    let ignores = json!({ "nv": [entry("not-vulnerable")], "wf": [entry("wont-fix")], "ti": [entry("temporary-ignore")], "odd": [entry("because")],
        "both": [{ "a > b": { "reasonType": "not-vulnerable" } }, { "a > c": { "reason": "later", "reasonType": "wont-fix" } }], "unreadable": 7 });
    let tool = Tool { ignores: (StatusCode::OK, ignores), ..Tool::of(issues(rows.iter().map(|(more, ..)| more.clone()))) };
    let page = tool.read(token()).await;
    assert_eq!(page.rejects, []);
    for (finding, (more, state, word)) in page.findings().into_iter().zip(&rows) {
        assert_eq!((finding.state, finding.vendor_state.as_deref()), (*state, Some(*word)), "{more}");
    }
    assert_eq!(page.findings()[5].description.as_deref(), Some("Ignored: said not-vulnerable"));
    assert_eq!(page.warnings, ["unknown reason of an ignore `because`", "unknown status `pondering`"]);

    let severities = [
        ("critical", Severity::Critical),
        ("high", Severity::High),
        ("medium", Severity::Medium),
        ("low", Severity::Low),
        ("info", Severity::Info),
        ("Moderate", Severity::Medium),
        ("informational", Severity::Info),
        ("apocalyptic", Severity::Unknown),
    ];
    let page = Tool::of(issues(severities.map(|(word, _)| json!({ "effective_severity_level": word })))).read(token()).await;
    for (finding, (word, severity)) in page.findings().into_iter().zip(severities) {
        assert_eq!((finding.severity, finding.vendor_severity.as_deref()), (severity, Some(word)));
    }

    let types = [
        ("package_vulnerability", "npm", Category::Sca),
        ("package_vulnerability", "deb", Category::Container),
        ("license", "npm", Category::Sca),
        ("code", "sast", Category::Sast),
        ("config", "terraformconfig", Category::Iac),
        ("custom", "k8sconfig", Category::Iac),
        ("cloud", "cloudformationconfig", Category::Cloud),
        ("magic", "npm", Category::Misconfiguration),
    ];
    for (kind, project, category) in types {
        let tool = Tool::of(issues([json!({ "type": kind })])).project(project);
        let settings = json!({ "secret": "00000000-aaaa", "include_licenses": true });
        assert_eq!(tool.read(settings).await.findings()[0].category, category, "{kind} {project}");
    }
}

/// An issue of a cloud environment, as in the vendor's specification: the resource's environment has an id of its own.
fn cloud_issue(number: usize, item: &str, environment: &Value) -> Value {
    let resource =
        json!({ "input_type": "cloud_scan", "name": "logs", "native_id": "arn:aws:s3:::logs", "resource_type": "aws_s3_bucket" });
    let mut issue = issue(
        number,
        json!({ "type": "cloud", "problems": [{ "id": "SNYK-CC-00181", "source": "snyk-cloud", "type": "rule" }],
        "classes": [{ "id": "data", "source": "snyk-cloud", "type": "rule-category" },
            { "id": "CIS-AWS_v1.3.0_2.1.2", "source": "CIS-AWS_v1.3.0", "type": "compliance" },
            { "id": "A05:2021", "source": "OWASP", "type": "compliance" }, { "id": "cwe-319", "source": "cwe", "type": "weakness" }],
        "status": "resolved", "resolution": { "type": "fixed", "resolved_at": "2026-02-03T00:00:00Z", "details": "rule_passed" },
        "coordinates": [{ "representations": [{ "cloud_resource": { "environment": environment, "resource": resource } }] }] }),
    );
    issue["relationships"]["scan_item"]["data"] = json!({ "id": item, "type": "environment" });
    issue
}

#[tokio::test]
async fn a_cloud_issue_has_its_rule_its_classes_its_dates_and_a_link() {
    let environment = json!({ "id": "e-other", "name": "Staging", "native_id": "721018433921", "type": "aws" });
    let page = Tool::of(json!([cloud_issue(1, "e-1", &environment)])).read(token()).await;
    let finding = page.findings()[0];
    assert_eq!((finding.category, finding.rule.as_deref(), &*finding.record), (Category::Cloud, Some("SNYK-CC-00181"), "e-1"));
    assert_eq!((texts(&finding.cwe), texts(&finding.identifiers)), (vec!["CWE-319"], vec!["SNYK-CC-00181"]));
    assert_eq!(
        texts(&finding.tags),
        ["cloud", "CIS-AWS_v1.3.0_2.1.2", "OWASP A05:2021", "snyk-cloud data", "aws_s3_bucket", "arn:aws:s3:::logs"]
    );
    assert_eq!(texts(&finding.reference_urls), ["https://security.snyk.io/rules/cloud/SNYK-CC-00181"]);
    assert_eq!(finding.vendor_last_seen.unwrap().to_string(), "2026-02-03T00:00:00Z", "until it was resolved");
    assert_eq!(finding.vendor_closed_at, finding.vendor_last_seen);
    let custom = json!({ "type": "custom", "updated_at": "2026-03-04T05:06:07Z",
        "problems": [{ "id": "X-1", "source": "acme", "type": "vulnerability" }, { "id": "RULE-9", "source": "acme", "type": "rule" }] });
    let page = Tool::of(issues([custom])).read(token()).await;
    assert_eq!(page.findings()[0].rule.as_deref(), Some("RULE-9"), "whatever its source is called");
    let open = page.findings()[0];
    assert_eq!((open.vendor_last_seen.unwrap().to_string(), open.vendor_closed_at), ("2026-03-04T05:06:07Z".to_owned(), None));
}

#[tokio::test]
async fn whatever_order_the_vendor_lists_in_is_the_same_finding() {
    let place = |file: &str| json!({ "representations": [{ "sourceLocation": { "file": file, "region": { "start": { "line": 3 } } } }] });
    let severity = |score: f64| json!({ "source": "Snyk", "version": "3.1", "score": score });
    let mut lists = json!({
        "problems": [{ "id": "SNYK-JS-A-1", "source": "SNYK", "url": "https://x.example/1" }, { "id": "CVE-2026-1001", "source": "NVD", "url": "https://x.example/2" },
            { "id": "CVE-2026-1000", "source": "NVD" }, { "id": "GHSA-a", "source": "GHSA" }, { "id": "SNYK-JS-B-2", "source": "SNYK" }],
        "classes": [{ "id": "CWE-79", "source": "CWE" }, { "id": "CWE-22", "source": "CWE" }, { "id": "A1", "source": "OWASP" }, { "id": "A2", "source": "OWASP" }],
        "severities": [severity(5.0), severity(7.0)],
        "coordinates": [dependency("a", "1"), dependency("b", "2"), place("x.js"), place("y.js"),
            { "reachability": "function", "remedies": [{ "type": "t1", "description": "One." }, { "type": "t2", "description": "Two." }], "representations": [] },
            { "reachability": "package", "representations": [] }],
    });
    let first = Tool::of(issues([lists.clone()])).read(token()).await;
    for list in lists.as_object_mut().unwrap().values_mut() {
        list.as_array_mut().unwrap().reverse();
        list.as_array_mut().unwrap().iter_mut().filter_map(|one| one["remedies"].as_array_mut()).for_each(|remedies| remedies.reverse());
    }
    let second = Tool::of(issues([lists])).read(token()).await;
    let told = |read: &Read| {
        let finding = read.findings()[0];
        format!(
            "{:?}",
            (
                &finding.title,
                &finding.rule,
                &finding.cve,
                &finding.cwe,
                &finding.identifiers,
                &finding.cvss,
                &finding.tags,
                &finding.reference_urls,
                &finding.remediation,
                &finding.component_name,
                &finding.file_path
            )
        )
    };
    assert_eq!(told(&first), told(&second));
    assert_eq!(first.findings()[0].rule.as_deref(), Some("SNYK-JS-A-1"));
}

#[tokio::test]
async fn odd_lines_and_dates_are_none_and_lose_no_finding() {
    let place = |start: Value, end: Value| json!([{ "representations": [{ "sourceLocation": { "file": "a.js", "region": { "start": { "line": start }, "end": { "line": end } } } }] }]);
    let rows = [(json!(-1), json!(0), None, None), (json!("3"), json!(3.0), Some(3), Some(3)), (json!(9), json!(4), Some(9), None)];
    let of = |(start, end, ..): &(Value, Value, Option<u32>, Option<u32>)| json!({ "type": "code", "created_at": "0001-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z", "coordinates": place(start.clone(), end.clone()) });
    let page = Tool::of(issues(rows.iter().map(of))).read(token()).await;
    for (finding, (start, end, first, last)) in page.findings().into_iter().zip(&rows) {
        assert_eq!((finding.line_start, finding.line_end), (*first, *last), "{start} {end}");
        assert_eq!((finding.vendor_first_seen, finding.vendor_last_seen), (None, None));
    }
    assert_eq!(page.findings().len(), 3);
}

#[tokio::test]
async fn license_issues_are_counted_and_not_stored_unless_wanted() {
    let page = Tool::of(issues([json!({ "type": "license" })])).read(token()).await;
    assert!(matches!(&page.items[..], [Item::Skipped { key, reason: "license issue" }] if &**key == "i-0"), "{:?}", page.items);
}

#[tokio::test]
async fn the_score_is_snyks_own_then_nvds_and_of_the_newest_version() {
    let severity =
        |source: &str, version: &str, score: f64| json!({ "source": source, "version": version, "score": score, "level": "high" });
    for (severities, expected) in [
        (json!([severity("NVD", "4.0", 9.0), severity("Snyk", "3.1", 5.0)]), Some(("3.1", 5.0))),
        (json!([severity("Snyk", "3.1", 5.0), severity("Snyk", "4.0", 6.0), severity("NVD", "4.0", 9.0)]), Some(("4.0", 6.0))),
        (json!([severity("Red Hat", "4.0", 3.0), severity("NVD", "3.1", 9.0)]), Some(("3.1", 9.0))),
        (json!([severity("Red Hat", "3.1", 3.0)]), Some(("3.1", 3.0))),
        (json!([]), None),
    ] {
        let page = Tool::of(issues([json!({ "severities": severities })])).read(token()).await;
        let cvss = page.findings()[0].cvss.clone();
        assert_eq!(cvss.as_ref().map(|cvss| (&*cvss.version, cvss.score.unwrap())), expected, "{severities}");
    }
    let exploit = |sources: Value| json!({ "exploit_details": { "sources": sources, "maturity_levels": [] } });
    let page = Tool::of(issues([exploit(json!(["CISA", "Snyk"])), exploit(json!(["Snyk"])), json!({})])).read(token()).await;
    assert_eq!(page.findings().iter().map(|finding| finding.exploited).collect::<Vec<_>>(), [Some(true), Some(false), None]);
}

fn dependency(name: &str, version: &str) -> Value {
    json!({ "representations": [{ "dependency": { "package_name": name, "package_version": version } }] })
}

#[tokio::test]
async fn package_urls_follow_the_type_of_the_project() {
    for (kind, name, id, purl) in [
        ("npm", "@babel/core", "SNYK-JS-BABELCORE-1", "pkg:npm/%40babel/core@1.0"),
        ("yarn", "lodash", "SNYK-JS-LODASH-1", "pkg:npm/lodash@1.0"),
        ("maven", "org.acme:app", "SNYK-JAVA-ORGACME-1", "pkg:maven/org.acme/app@1.0"),
        ("gradle", "org.acme:app", "SNYK-JAVA-ORGACME-1", "pkg:maven/org.acme/app@1.0"),
        ("pip", "pillow", "SNYK-PYTHON-PILLOW-1", "pkg:pypi/pillow@1.0"),
        ("gomodules", "github.com/acme/x", "SNYK-GOLANG-ACME-1", "pkg:golang/github.com/acme/x@1.0"),
        ("rubygems", "rails", "SNYK-RUBY-RAILS-1", "pkg:gem/rails@1.0"),
        ("composer", "acme/x", "SNYK-PHP-ACMEX-1", "pkg:composer/acme/x@1.0"),
        ("nuget", "Newtonsoft.Json", "SNYK-DOTNET-N-1", "pkg:nuget/Newtonsoft.Json@1.0"),
        ("cocoapods", "AFNetworking", "SNYK-COCOAPODS-A-1", "pkg:cocoapods/AFNetworking@1.0"),
        ("hex", "plug", "SNYK-HEX-PLUG-1", "pkg:hex/plug@1.0"),
        ("cargo", "time", "SNYK-RUST-TIME-1", "pkg:cargo/time@1.0"),
        ("deb", "glibc/libc6", "SNYK-DEBIAN11-GLIBC-1", "pkg:deb/debian/libc6@1.0"),
        ("rpm", "openssl", "SNYK-RHEL8-OPENSSL-1", "pkg:rpm/rhel/openssl@1.0"),
        ("apk", "busybox/busybox", "SNYK-ALPINE313-BUSYBOX-1", "pkg:apk/alpine/busybox@1.0"),
    ] {
        let problems = json!([{ "id": id, "source": "snyk", "type": "vulnerability" }]);
        let tool = Tool::of(issues([json!({ "problems": problems, "coordinates": [dependency(name, "1.0")] })])).project(kind);
        assert_eq!(tool.read(token()).await.findings()[0].component_purl.as_deref(), Some(purl), "{kind}");
    }
    let tool = Tool::of(issues([json!({ "coordinates": [dependency("x", "1.0")] })])).project("unheard-of");
    assert_eq!(tool.read(token()).await.findings()[0].component_purl, None);
}

#[tokio::test]
async fn fixed_versions_and_descriptions_come_from_v1_by_the_id_of_snyks_own_problem() {
    let aggregated = json!({ "issues": [
        { "id": "npm:hoek:20180212", "issueType": "vuln", "pkgName": "hoek", "pkgVersions": ["4.1.0"],
          "issueData": { "id": "npm:hoek:20180212", "title": "T", "description": "## Overview\nhoek", "severity": "high" },
          "fixInfo": { "isUpgradable": true, "fixedIn": ["2.10.0", "4.2.1", "5.0.3"] } },
        { "id": "SNYK-DEBIAN11-GLIBC-1", "issueData": { "nearestFixedInVersion": "2.31-13" }, "fixInfo": { "isUpgradable": false } },
        7,
    ] });
    let problem = |id: &str, source: &str| json!([{ "id": "CVE-2018-1000", "source": "CVE" }, { "id": id, "source": source, "url": "https://x.example/1" }]);
    let tool = Tool {
        aggregated: (StatusCode::OK, aggregated.clone()),
        ..Tool::of(issues([
            json!({ "key": "npm:hoek:20180212:hoek:4.1.0", "problems": problem("NPM:hoek:20180212", "Snyk"), "coordinates": [dependency("hoek", "4.1.0")] }),
            json!({ "key": "SNYK-DEBIAN11-GLIBC-1", "description": "of REST", "coordinates": [dependency("glibc", "2.30")] }),
            json!({ "key": "SNYK-JS-OTHER-1" }),
            json!({ "status": "resolved", "key": "npm:hoek:20180212" }),
        ]))
    };
    let page = tool.read(token()).await;
    let [hoek, glibc, other, resolved] = page.findings()[..] else { panic!("{:?}", page.rejects) };
    assert_eq!((hoek.fixed_version.as_deref(), hoek.fix_available), (Some("4.2.1"), Some(true)));
    assert_eq!(hoek.remediation.as_deref(), Some("Upgrade hoek to 2.10.0 or 4.2.1 or 5.0.3."));
    assert_eq!(hoek.description.as_deref(), Some("## Overview\nhoek"));
    assert_eq!((texts(&hoek.cve), texts(&hoek.identifiers)), (vec!["CVE-2018-1000"], vec!["NPM:hoek:20180212"]));
    assert_eq!((glibc.fixed_version.as_deref(), glibc.description.as_deref()), (Some("2.31-13"), Some("of REST")));
    assert_eq!((other.fixed_version.as_deref(), other.fix_available, other.remediation.as_deref()), (None, None, None));
    assert_eq!(resolved.fixed_version, None);
}

/// V1 may be switched off at any time.
#[tokio::test]
async fn without_v1_findings_go_without_and_nothing_fails() {
    for status in [StatusCode::GONE, StatusCode::NOT_FOUND, StatusCode::FORBIDDEN] {
        let refusal = (status, json!({ "code": status.as_u16(), "error": "no", "message": "no" }));
        let rows = issues([json!({ "coordinates": [dependency("x", "1")] }), json!({ "ignored": true })]);
        let page = Tool { aggregated: refusal.clone(), ignores: refusal, ..Tool::of(rows) }.read(token()).await;
        let states: Vec<_> = page.findings().iter().map(|finding| (finding.state, finding.fixed_version.is_some())).collect();
        assert_eq!(states, [(State::Open, false), (State::RiskAccepted, false)], "{status}");
        assert_eq!(page.warnings.is_empty(), status == StatusCode::NOT_FOUND, "{status}: {:?}", page.warnings);
    }
}

#[tokio::test]
async fn the_first_standing_place_is_used_and_the_others_are_tags() {
    let place = |file: &str, line: u32| {
        json!({ "state": "open", "reachability": "function", "representations": [{ "sourceLocation": { "file": file, "commit_id": "c",
            "region": { "start": { "line": line, "column": 1 }, "end": { "line": line + 2, "column": 9 } } } }] })
    };
    let gone = json!({ "state": "resolved", "representations": [{ "dependency": { "package_name": "old", "package_version": "1" } }] });
    let page = Tool::of(issues([
        json!({ "coordinates": [gone, dependency("a", "1"), dependency("a", "1"), dependency("b", "2")] }),
        json!({ "type": "code", "coordinates": [place("src/a.js", 7), place("src/b.js", 9)] }),
        json!({ "type": "config", "coordinates": [{ "is_fixable_manually": true, "remedies": [{ "type": "manual", "description": "Set `x` to true." }],
            "representations": [{ "resourcePath": "aws_s3_bucket.logs" }] }] }),
        json!({ "type": "cloud", "coordinates": [{ "representations": [{ "cloud_resource": { "environment": { "id": "e", "name": "prod", "type": "aws" },
            "resource": { "input_type": "cloud_scan", "name": "logs", "native_id": "arn:aws:s3:::logs", "resource_type": "aws_s3_bucket", "location": "eu-west-1" } } }] }] }),
    ]))
    .read(token())
    .await;
    let [package, code, config, cloud] = page.findings()[..] else { panic!("{:?}", page.rejects) };
    assert_eq!(
        (&*package.title, package.component_name.as_deref(), package.component_version.as_deref()),
        ("T in a@1", Some("a"), Some("1"))
    );
    assert_eq!(texts(&package.tags), ["package_vulnerability", "github", "team:red", "also in b@2"]);
    assert_eq!((code.file_path.as_deref(), code.line_start, code.line_end), (Some("src/a.js"), Some(7), Some(9)));
    assert_eq!(texts(&code.tags), ["code", "github", "team:red", "reachability function", "also at src/b.js"]);
    assert_eq!((config.file_path.as_deref(), config.fix_available), (Some("package.json"), Some(true)));
    assert_eq!(config.remediation.as_deref(), Some("It can be fixed by hand.\nSet `x` to true."));
    assert!(texts(&config.tags).contains(&"resource aws_s3_bucket.logs"));
    assert_eq!(texts(&cloud.tags)[3..], ["aws_s3_bucket", "eu-west-1", "arn:aws:s3:::logs"]);
}

/// Links with and without the API's own path and as an object; the last page has none; V1 and projects are asked once.
#[tokio::test]
async fn links_are_followed_as_the_vendor_gives_them() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let log = asked.clone();
    let page = move |uri: Uri| {
        let asked = uri.path_and_query().unwrap().to_string();
        let cursor = asked.split("starting_after=").nth(1).unwrap_or_default().to_owned();
        log.lock().unwrap().push(asked);
        let (numbers, next) = match &*cursor {
            "" => (0..2, json!("/rest/orgs/o-1/issues?version=2024-10-15&limit=100&starting_after=a")),
            "a" => (2..4, json!("/orgs/o-1/issues?version=2024-10-15&limit=100&starting_after=b")),
            "b" => (0..0, json!({ "href": "/rest/orgs/o-1/issues?version=2024-10-15&limit=100&starting_after=c", "meta": {} })),
            _ => (4..5, Value::Null),
        };
        let data: Vec<Value> = numbers.map(|number| issue(number, json!({ "coordinates": [dependency("x", "1")] }))).collect();
        let mut links = json!({ "self": "/rest/orgs/o-1/issues", "last": "/rest/orgs/o-1/issues?ending_before=end" });
        if !next.is_null() {
            links["next"] = next;
        }
        std::future::ready(json!({ "jsonapi": { "version": "1.0" }, "data": data, "links": links }).to_string())
    };
    let log = asked.clone();
    let side = move |uri: Uri| {
        log.lock().unwrap().push(uri.path_and_query().unwrap().to_string());
        std::future::ready(if uri.path().starts_with("/v1") { json!({ "issues": [] }) } else { json!({ "data": [] }) }.to_string())
    };
    let answers = Router::new()
        .route("/rest/orgs/o-1/issues", get(page))
        .route("/rest/orgs/o-1/projects", get(side.clone()))
        .route("/v1/org/o-1/project/p-1/aggregated-issues", post(side));
    let scope = Scope { list: "issues", key: "o-1".into(), title: "acme".into(), record: None, ..Scope::account("issues") };
    let page = read("snyk", token(), &scope, answers).await;
    assert_eq!(page.items.len(), 5);
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "/rest/orgs/o-1/issues?version=2024-10-15&limit=100",
            "/rest/orgs/o-1/projects?version=2024-10-15&limit=100&ids=p-1",
            "/v1/org/o-1/project/p-1/aggregated-issues",
            "/rest/orgs/o-1/issues?version=2024-10-15&limit=100&starting_after=a",
            "/rest/orgs/o-1/issues?version=2024-10-15&limit=100&starting_after=b",
            "/rest/orgs/o-1/issues?version=2024-10-15&limit=100&starting_after=c",
        ]
    );
}

#[tokio::test]
async fn a_page_that_names_itself_ends_the_walk_when_it_is_empty_and_fails_it_when_not() {
    use tributary_connectors::{ErrorKind, Job};
    for rows in [0, 1] {
        let row = json!({ "id": "o-1", "type": "org", "attributes": { "slug": "one" } });
        let answer = move |uri: Uri| {
            let next = format!("{}?version=2024-10-15&starting_after=a", uri.path());
            std::future::ready(json!({ "data": vec![row.clone(); rows], "links": { "next": next } }).to_string())
        };
        let (_tool, source, cx) = connect(token(), Router::new().fallback(answer)).await;
        let error = source.scopes(&cx, Job::Discover).await.map(|_| ()).unwrap_err();
        assert_eq!(matches!(error.kind, ErrorKind::PagingLoop), rows == 1, "{error:?}");

        let scope = Scope { list: "projects", key: "o-1".into(), title: "acme".into(), record: None, ..Scope::account("projects") };
        let ask = |cursor| RawPageRequest { scope: &scope, since: None, full: true, mark: None, cursor, stored: &Nothing, parts: None };
        let Next::More(cursor) = source.page(&cx, ask(None)).await.unwrap().next else { panic!("a next page is named") };
        let second = source.page(&cx, ask(Some((&*cursor).into()))).await;
        assert_eq!(second.is_err_and(|error| matches!(error.kind, ErrorKind::PagingLoop)), rows == 1);
    }
}

#[tokio::test]
async fn a_project_is_a_record_with_its_target_and_a_cloud_environment_is_one_too() {
    let project = json!({ "id": "p-1", "type": "project", "attributes": { "name": "acme/shop:package.json", "type": "npm", "origin": "github",
        "created": "2026-01-01T00:00:00Z", "status": "inactive", "read_only": false, "settings": {}, "target_file": "package.json",
        "target_reference": "main", "tags": [{ "key": "team", "value": "red" }], "business_criticality": ["high"], "environment": ["backend"],
        "lifecycle": ["production"] },
        "meta": { "latest_issue_counts": { "critical": 1 } },
        "relationships": { "target": { "data": { "id": "t", "type": "target", "attributes": { "display_name": "acme/shop", "url": "https://github.com/acme/shop" } },
            "links": {} } } });
    let bare = json!({ "id": "p-2", "type": "project", "attributes": {} });
    let mut cloud = issue(
        1,
        json!({ "type": "cloud", "coordinates": [{ "representations": [{ "cloud_resource": {
        "environment": { "id": "e-1", "name": "prod", "type": "aws", "native_id": "123456789012" }, "resource": { "input_type": "cloud_scan" } } }] }] }),
    );
    cloud["relationships"]["scan_item"]["data"] = json!({ "id": "e-1", "type": "environment" });
    let ordinary = issue(2, json!({ "type": "cloud" }));
    // Its first issue names no resource, the second one does, under an id of its own; the last environment has no name at all.
    let mut unnamed = cloud_issue(3, "e-2", &json!(null));
    unnamed["attributes"]["coordinates"] = json!(null);
    let staging = cloud_issue(4, "e-2", &json!({ "id": "e-other", "name": "Staging", "type": "aws" }));
    let mut nameless = unnamed.clone();
    nameless["relationships"]["scan_item"]["data"]["id"] = "e-3".into();
    let answer = |data: Value| move || std::future::ready(json!({ "data": data, "links": {} }).to_string());
    let answers = Router::new()
        .route("/rest/orgs/o-1/projects", get(answer(json!([project, bare, [1, 2]]))))
        .route("/rest/orgs/o-1/issues", get(answer(json!([cloud, ordinary, cloud, unnamed, staging, nameless, unnamed]))));
    let scope = Scope { list: "projects", key: "o-1".into(), title: "acme".into(), record: None, ..Scope::account("projects") };
    let page = read("snyk", token(), &scope, answers).await;
    assert_eq!((page.rejects.len(), page.total), (1, None));
    let records: Vec<&Record> =
        page.items.iter().map(|item| if let Item::Record(record) = item { record } else { panic!("{item:?}") }).collect();
    let [shop, bare, environment, staging, nameless] = records[..] else { panic!("{records:?}") };
    assert_eq!((&*shop.key, &*shop.name, &*shop.kind), ("p-1", "acme/shop:package.json", "project"));
    let attributes: Vec<(&str, &str)> = shop.attributes.iter().map(|(name, value)| (*name, &**value)).collect();
    assert_eq!(
        attributes,
        [
            ("organization", "acme"),
            ("target", "acme/shop"),
            ("target_url", "https://github.com/acme/shop"),
            ("type", "npm"),
            ("origin", "github"),
            ("target_file", "package.json"),
            ("branch", "main"),
            ("status", "inactive"),
            ("business_criticality", "high"),
            ("environment", "backend"),
            ("lifecycle", "production"),
            ("tags", "team:red")
        ]
    );
    assert_eq!((&*bare.key, &*bare.name), ("p-2", "p-2"));
    assert_eq!((&*environment.key, &*environment.name, &*environment.kind), ("e-1", "prod", "environment"));
    let facts: Vec<(&str, &str)> = environment.attributes.iter().map(|(name, value)| (*name, &**value)).collect();
    assert_eq!(facts, [("type", "aws"), ("native_id", "123456789012")]);
    assert_eq!((&*staging.key, &*staging.name, &*nameless.key, &*nameless.name), ("e-2", "Staging", "e-3", "e-3"));
}

/// A connection to these answers, and where its walks leave their counters.
async fn connect(settings: Value, answers: Router) -> (tributary_simulator::Running, Box<dyn tributary_connectors::DynConnector>, Context) {
    let tool = start(Canned(answers), 0).await.unwrap();
    let link = Endpoint {
        location: Location::parse(&[&tool.url, "/v1"].concat(), false).unwrap(),
        options: HttpOptions::default(),
        limiters: Arc::new(Limiters::default()),
    };
    let source = Registration::find("snyk").unwrap().open(settings, link).unwrap();
    (tool, source, Context::new(Arc::new(RunStats::without_waits())))
}

/// Findings that the store holds as ignored.
struct Ignored(&'static [&'static str]);

impl StoredKeys for Ignored {
    fn undelivered<'a>(
        &'a self,
        states: &'a [&'a str],
        after: Option<&'a str>,
        limit: usize,
    ) -> Pin<Box<dyn Future<Output = Vec<Box<str>>> + Send + 'a>> {
        assert!(states.contains(&"open, ignored: wont-fix"));
        let keys = self.0.iter().filter(|key| after.is_none_or(|after| **key > after)).take(limit).map(|key| (*key).into()).collect();
        Box::pin(std::future::ready(keys))
    }
}

/// Snyk does not promise that ignoring moves `updated_at`: once a day all ignored issues are listed, and those that were
/// ignored and are not listed are looked up.
#[tokio::test]
async fn a_delta_asks_for_what_was_updated_and_once_a_day_for_what_is_ignored() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let log = asked.clone();
    let answer = move |uri: Uri| {
        let asked = uri.path_and_query().unwrap().to_string();
        log.lock().unwrap().push(asked.clone());
        let list = |numbers: &[usize], more: Value| {
            let data: Vec<Value> = numbers.iter().map(|number| issue(*number, more.clone())).collect();
            (StatusCode::OK, json!({ "data": data, "links": {} }).to_string())
        };
        std::future::ready(match asked.split('?').next().unwrap() {
            "/rest/orgs/o-1/issues" if asked.contains("ignored=true") => list(&[2], json!({ "ignored": true, "type": "code" })),
            "/rest/orgs/o-1/issues" => list(&[1], json!({ "type": "code" })),
            "/rest/orgs/o-1/issues/i-3" => (StatusCode::OK, json!({ "data": issue(3, json!({ "type": "code" })) }).to_string()),
            "/rest/orgs/o-1/projects" => list(&[], json!({})),
            "/v1/org/o-1/project/p-1/ignores" => (StatusCode::OK, "{}".to_owned()),
            _ => (StatusCode::NOT_FOUND, json!({ "errors": [{ "status": "404", "detail": "no" }] }).to_string()),
        })
    };
    let (_tool, source, cx) = connect(token(), Router::new().fallback(answer)).await;
    let scope = Scope { list: "issues", key: "o-1".into(), title: "acme".into(), record: None, ..Scope::account("issues") };
    let hour = |hours: i64| jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - hours * 3600).unwrap().to_string();
    let stored = Ignored(&["i-3", "i-4"]);
    for (mark, delivered, requests) in
        [(hour(1), vec!["i-1"], 2), (hour(25), vec!["i-1", "i-2", "i-3"], 6), ("odd".into(), vec!["i-1", "i-2", "i-3"], 6)]
    {
        asked.lock().unwrap().clear();
        let (mut cursor, mut keys) = (None::<Box<str>>, Vec::new());
        let new_mark = loop {
            let since = Some("2026-01-01T00:00:00Z".parse().unwrap());
            let cursor_text = cursor.as_deref().map(Into::into);
            let ask =
                RawPageRequest { scope: &scope, since, full: false, mark: Some(&mark), cursor: cursor_text, stored: &stored, parts: None };
            let page = source.page(&cx, ask).await.unwrap();
            assert_eq!(page.rejects, []);
            keys.extend(
                page.items.into_iter().map(|item| if let Item::Finding(finding) = item { finding.key } else { panic!("{item:?}") }),
            );
            match page.next {
                Next::More(next) => cursor = Some(next),
                Next::Done(coverage, mark) => {
                    assert_eq!(coverage, tributary_connectors::Coverage::Delta);
                    break mark.unwrap();
                }
                Next::Wait(..) => panic!("nothing is waited for"),
            }
        };
        let asked = asked.lock().unwrap();
        assert_eq!((texts(&keys), asked.len()), (delivered, requests), "{asked:?}");
        assert_eq!(asked[0], "/rest/orgs/o-1/issues?version=2024-10-15&updated_after=2026-01-01T00%3A00%3A00Z&limit=100");
        assert_eq!(*new_mark == *mark, requests == 2, "{new_mark}");
    }
}

fn organizations() -> Value {
    let org = |id: &str, slug: &str| json!({ "id": id, "type": "org", "attributes": { "name": slug.to_uppercase(), "slug": slug, "is_personal": false } });
    json!({ "data": [org("o-1", "one"), org("o-2", "two"), org("o-1", "one")], "links": {} })
}

#[tokio::test]
async fn organizations_are_all_that_the_token_sees_or_those_named() {
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    for (settings, query, expected) in [
        (json!({}), "/rest/orgs?version=2024-10-15&limit=100", vec![("o-1", "one"), ("o-2", "two")]),
        (json!({ "group_id": "g-1" }), "/rest/orgs?version=2024-10-15&group_id=g-1&limit=100", vec![("o-1", "one"), ("o-2", "two")]),
        (json!({ "org_ids": ["two", "o-2", "o-9"] }), "/rest/orgs?version=2024-10-15&limit=100", vec![("o-2", "two"), ("o-9", "")]),
    ] {
        let mut fields = token();
        fields.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let log = seen.clone();
        let answer = move |uri: Uri| {
            *log.lock().unwrap() = uri.path_and_query().unwrap().to_string();
            std::future::ready(organizations().to_string())
        };
        let (_tool, source, cx) = connect(fields, Router::new().route("/rest/orgs", get(answer))).await;
        for (job, list) in [(tributary_connectors::Job::Discover, "projects"), (tributary_connectors::Job::Sync(&[]), "issues")] {
            let scopes = source.scopes(&cx, job).await.unwrap();
            let found: Vec<_> = scopes.iter().map(|scope| (scope.list, &*scope.key, &*scope.title, scope.record.is_none())).collect();
            assert_eq!(found, expected.iter().map(|(key, slug)| (list, *key, *slug, true)).collect::<Vec<_>>(), "{settings}");
        }
        assert_eq!(*seen.lock().unwrap(), query);
    }
}

#[tokio::test]
async fn the_check_names_what_is_missing_and_its_cure() {
    let denied = |status: u16| {
        let body = json!({ "jsonapi": { "version": "1.0" }, "errors": [{ "status": status.to_string(), "detail": "no" }] });
        (StatusCode::from_u16(status).unwrap(), body)
    };
    let good = [
        ("/rest/self", json!({ "data": { "id": "u", "type": "service_account", "attributes": { "name": "tributary" } } })),
        ("/rest/orgs", organizations()),
        ("/rest/orgs/o-1/projects", json!({ "data": [{ "id": "p-1", "type": "project", "attributes": {} }], "links": {} })),
        ("/rest/orgs/o-1/issues", json!({ "data": [], "links": {} })),
        ("/v1/org/o-1/project/p-1/ignores", json!({})),
        ("/v1/org/o-1/project/p-1/aggregated-issues", json!({ "issues": [] })),
    ];
    let check = async |broken: &'static str, status: u16| {
        let good = good.clone();
        let answer = move |uri: Uri| {
            let path = uri.path().to_owned();
            let body = good.iter().find(|(known, _)| *known == path).map(|(_, body)| (StatusCode::OK, body.clone()));
            let (status, body) = if path == broken { denied(status) } else { body.unwrap_or(denied(404)) };
            std::future::ready((status, body.to_string()))
        };
        let (_tool, source, cx) = connect(token(), Router::new().fallback(answer)).await;
        source.check(&cx).await
    };
    let checked = check("", 200).await.unwrap();
    assert_eq!(checked.facts, ["service_account tributary", "2 organizations visible"]);
    assert!(matches!(&checked.warnings[..], [note] if note.contains("/v1 is not the REST API")), "{:?}", checked.warnings);
    assert_eq!(check("/rest/self", 403).await.unwrap().facts, ["2 organizations visible"]);
    for (path, status, word) in [
        ("/rest/self", 401, "region"),
        ("/rest/orgs", 403, "org.read"),
        ("/rest/orgs/o-1/projects", 403, "org.project.read"),
        ("/rest/orgs/o-1/issues", 403, "org.project.snapshot.read"),
        ("/rest/orgs/o-1/issues", 404, "not visible to this token"),
    ] {
        let error = check(path, status).await.unwrap_err();
        assert!(error.hint().unwrap().contains(word), "{path} {status}: {:?}", error.hint());
    }
    for (path, word) in
        [("/v1/org/o-1/project/p-1/ignores", "risk accepted"), ("/v1/org/o-1/project/p-1/aggregated-issues", "fixed versions")]
    {
        let warnings = check(path, 403).await.unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains(word)), "{warnings:?}");
    }

    let nobody = Router::new().fallback(|| std::future::ready(json!({ "data": [], "links": {} }).to_string()));
    let (_tool, source, cx) = connect(token(), nobody).await;
    let error = source.scopes(&cx, tributary_connectors::Job::Sync(&[])).await.unwrap_err();
    assert!(error.hint().unwrap().contains("member of"), "no organization is not the same as nothing to do");
}

#[tokio::test]
async fn client_credentials_are_an_access_token_of_the_same_region() {
    let token = |body: String| {
        assert_eq!(body, "grant_type=client_credentials&client_id=id&client_secret=hush");
        std::future::ready(json!({ "access_token": "granted", "expires_in": 3599, "token_type": "bearer" }).to_string())
    };
    let orgs = |headers: axum::http::HeaderMap| {
        let good = headers["authorization"] == "Bearer granted" && headers["accept"] == "application/vnd.api+json";
        std::future::ready(if good { (StatusCode::OK, organizations().to_string()) } else { (StatusCode::UNAUTHORIZED, String::new()) })
    };
    let answers = Router::new().route("/oauth2/token", post(token)).route("/rest/orgs", get(orgs));
    let (_tool, source, cx) = connect(json!({ "client_id": "id", "client_secret": "hush" }), answers).await;
    assert_eq!(source.scopes(&cx, tributary_connectors::Job::Discover).await.unwrap().len(), 2);
    for fields in [json!({}), json!({ "client_id": "id" }), json!({ "secret": "a", "client_id": "id", "client_secret": "hush" })] {
        let link = Endpoint {
            location: Location::parse("https://api.snyk.io/rest", false).unwrap(),
            options: HttpOptions::default(),
            limiters: Arc::new(Limiters::default()),
        };
        assert!(Registration::find("snyk").unwrap().open(fields, link).is_err());
    }
}
