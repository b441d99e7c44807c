//! Issues: what each kind says, and what happens to one.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::SEVERITIES;
use crate::seed::Seed;

/// 2025-01-01, in milliseconds.
pub(super) const START: i64 = 1_735_689_600_000;
pub(super) const DAY: i64 = 86_400_000;

/// (type of project, origin, prefix of vulnerability ids, file)
pub(super) const KINDS: [(&str, &str, &str, &str); 7] = [
    ("gomodules", "azure-repos", "SNYK-GOLANG", "go.mod"),
    ("sast", "github", "", ""),
    ("terraformconfig", "gitlab", "SNYK-CC-TF", "infra/main.tf"),
    ("npm", "github", "SNYK-JS", "package.json"),
    ("maven", "github", "SNYK-JAVA", "service/pom.xml"),
    ("pip", "cli", "SNYK-PYTHON", "requirements.txt"),
    ("deb", "ecr", "SNYK-DEBIAN12", ""),
];

/// A weakness that many issues share.
#[derive(Debug)]
pub(super) struct Flaw {
    title: String,
    description: String,
    cve: String,
    cwe: String,
    /// The members of V1's `issueData` behind those that each issue has for itself, without and with the description.
    pub(super) data: [String; 2],
}

#[derive(Debug)]
pub(super) struct Issue {
    pub(super) id: String,
    pub(super) project: usize,
    pub(super) body: String,
    pub(super) kind: &'static str,
    pub(super) severity: &'static str,
    pub(super) resolved: bool,
    /// Why it is ignored, where V1 knows a reason ("" where it does not: a policy, or a `.snyk` file).
    pub(super) ignored: Option<&'static str>,
    pub(super) created: i64,
    pub(super) updated: i64,
    /// Whether a client that synced after every step has met it open.
    pub(super) ever_open: bool,
    pub(super) listed: bool,
    pub(super) key: String,
    /// Its id in V1, the package and its version.
    pub(super) package: Option<(String, String, &'static str)>,
    pub(super) flaw: usize,
    pub(super) resolved_at_step: u64,
}

pub(super) fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default().to_string()
}

/// When a step happened: the same on every run, unlike the times by which clients ask for what is new.
pub(super) fn day_of(step: u64) -> i64 {
    START + (300 + i64::try_from(step).unwrap_or(0)) * DAY
}

pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|time| i64::try_from(time.as_millis()).ok()).unwrap_or(START)
}

/// Where an issue is, and what it may be about.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) flaws: &'a [Flaw],
    /// Id of the organization.
    pub(super) org: &'a str,
    /// The project: its number, its id, and its kind by number in [`KINDS`].
    pub(super) project: usize,
    pub(super) project_id: &'a str,
    pub(super) kind: usize,
    pub(super) step: u64,
}

/// The id of an issue in V1, its package and the package's version; `None` where V1 does not list it.
type OfV1 = Option<(String, String, &'static str)>;

/// What is drawn for an issue before its kind says more.
struct Draft<'a> {
    /// Of the project: its type, the prefix of vulnerability ids, and its file.
    type_: &'static str,
    prefix: &'static str,
    file: &'static str,
    /// The issue's number among all.
    unique: usize,
    /// The number of its flaw.
    at: usize,
    flaw: &'a Flaw,
    name: String,
    version: &'static str,
    package: String,
    kind: &'static str,
    severity: &'static str,
    updated: i64,
}

impl Draft<'_> {
    /// Writes what issues of its kind have, and returns the key.
    fn members(&self, seed: &mut Seed, attributes: &mut Map<String, Value>) -> (String, OfV1) {
        match self.kind {
            "package_vulnerability" => self.vulnerability(attributes),
            "license" => self.license(attributes),
            "code" => self.code(seed, attributes),
            "cloud" => self.cloud(seed, attributes),
            _ => self.setting(seed, attributes),
        }
    }

    /// A vulnerable package.
    fn vulnerability(&self, attributes: &mut Map<String, Value>) -> (String, OfV1) {
        let &Draft { type_, prefix, unique, at, flaw, ref name, version, ref package, severity, updated, .. } = self;
        // An id of the old form, which the key only begins with.
        let old = unique % 50 == 7 && type_ == "npm";
        let id = if old { format!("npm:{name}:20180212") } else { format!("{prefix}-{}-{}", name.to_uppercase(), 1_000_000 + unique) };
        let key = if old { format!("{id}:{name}:{version}") } else { id.clone() };
        let source = ["SNYK", "SNYK", "Snyk", "snyk"][unique % 4];
        let mut problems = vec![
            json!({ "id": id, "source": source, "type": "vulnerability", "updated_at": time(updated) }),
            json!({ "id": flaw.cve, "source": "NVD", "type": "vulnerability", "url": format!("https://nvd.nist.gov/vuln/detail/{}", flaw.cve), "updated_at": time(updated) }),
        ];
        if unique.is_multiple_of(3) {
            problems.push(json!({ "id": format!("GHSA-{at:04x}-aaaa-bbbb"), "source": "GHSA", "type": "vulnerability" }));
        }
        let reachability = ["function", "package", "no-info", "not-applicable"][unique % 4];
        let dependency = |version: &str| json!({ "dependency": { "package_name": package, "package_version": version } });
        let mut coordinates = vec![json!({
            "is_fixable_manually": false, "is_fixable_snyk": true, "is_fixable_upstream": false, "is_patchable": false,
            "is_pinnable": type_ == "pip", "is_upgradeable": unique.is_multiple_of(2),
            "reachability": reachability,
            "representations": [dependency(version)],
        })];
        if unique.is_multiple_of(9) {
            // The same package in another version, where it is gone already.
            let mut other = coordinates[0].clone();
            (other["state"], other["representations"]) = (json!("resolved"), json!([dependency("0.0.1")]));
            coordinates.insert(usize::from(unique.is_multiple_of(2)), other);
        }
        attributes.insert("problems".into(), json!(problems));
        attributes.insert("coordinates".into(), json!(coordinates));
        attributes.insert("severities".into(), severities(severity, unique));
        let sources: &[&str] = if unique.is_multiple_of(20) { &["CISA", "PoC in GitHub", "Snyk"] } else { &["Snyk"] };
        let level = if unique.is_multiple_of(20) { "Attacked" } else { "Not Defined" };
        attributes.insert("exploit_details".into(), json!({ "maturity_levels": [{ "format": "CVSSv3", "level": "High" }, { "format": "CVSSv4", "level": level }], "sources": sources }));
        (key, Some((id, package.clone(), version)))
    }

    /// A package under a licence that is not wanted.
    fn license(&self, attributes: &mut Map<String, Value>) -> (String, OfV1) {
        let &Draft { type_, version, ref package, .. } = self;
        let key = format!("snyk:lic:{type_}:{package}:GPL-3.0");
        let represented = json!({ "dependency": { "package_name": package, "package_version": version } });
        attributes.insert("coordinates".into(), json!([{ "representations": [represented] }]));
        attributes.insert("problems".into(), json!([{ "id": key, "source": "SNYK", "type": "rule" }]));
        (key.clone(), Some((key, package.clone(), version)))
    }

    /// A data flow of Snyk Code.
    fn code(&self, seed: &mut Seed, attributes: &mut Map<String, Value>) -> (String, OfV1) {
        let &Draft { unique, flaw, ref name, updated, .. } = self;
        let line = 1 + unique % 900;
        let region = json!({ "start": { "line": line, "column": 9 }, "end": { "line": line + 6, "column": 22 } });
        let place = json!({ "sourceLocation": { "commit_id": format!("{:040x}", unique + 0xabc_def), "file": format!("src/{name}/handler_{}.js", unique % 40), "region": region } });
        attributes.insert("coordinates".into(), json!([{ "is_fixable_manually": false, "is_fixable_snyk": unique.is_multiple_of(3), "is_fixable_upstream": false, "representations": [place] }]));
        let key = seed.uuid();
        attributes
            .insert("problems".into(), json!([{ "id": key, "source": "SNYK", "type": "vulnerability", "updated_at": time(updated) }]));
        attributes.insert("key_asset".into(), json!(seed.uuid()));
        attributes.insert("description".into(), json!(flaw.description));
        (key, None)
    }

    /// A resource in an environment of a cloud.
    fn cloud(&self, seed: &mut Seed, attributes: &mut Map<String, Value>) -> (String, OfV1) {
        let &Draft { unique, flaw, .. } = self;
        let resource = json!({ "id": seed.uuid(), "name": format!("bucket-{unique}"), "type": "aws_s3_bucket", "platform": "aws" });
        let environment = json!({ "id": seed.uuid(), "name": "Production & Co", "native_id": "123456789012" });
        attributes.insert(
            "coordinates".into(),
            json!([{ "representations": [{ "cloud_resource": { "environment": environment, "resource": resource } }] }]),
        );
        attributes.insert("description".into(), json!(flaw.description));
        (seed.uuid(), None)
    }

    /// A wrong setting in infrastructure as code, by a rule of Snyk or of the customer.
    fn setting(&self, seed: &mut Seed, attributes: &mut Map<String, Value>) -> (String, OfV1) {
        let &Draft { file, unique, at, flaw, kind, .. } = self;
        let path = format!("{file} > resource > aws_s3_bucket[logs-{unique}] > acl");
        attributes.insert("coordinates".into(), json!([{ "is_fixable_manually": true, "representations": [{ "resourcePath": path }] }]));
        let rule = if kind == "custom" { format!("CUSTOM-{}", at % 9) } else { format!("SNYK-CC-{at:05}") };
        attributes.insert(
            "problems".into(),
            json!([{ "id": rule, "source": "SNYK", "type": "rule", "url": format!("https://security.snyk.io/rules/cloud/{rule}") }]),
        );
        attributes.insert("description".into(), json!(flaw.description));
        (seed.uuid(), None)
    }
}

impl Issue {
    /// An open issue, the `unique`th of all; `None` for a licence where no packages are.
    pub(super) fn new(seed: &mut Seed, place: &Place<'_>, unique: usize, number: usize, is_license: bool) -> Option<Issue> {
        let Place { flaws, org, project, project_id, kind, step } = *place;
        let (type_, _, prefix, file) = KINDS[kind];
        let at = seed.below(flaws.len());
        let flaw = &flaws[at];
        let name = format!("{}-{}", seed.pick(&["parser", "codec", "http", "xml", "yaml", "log", "crypto", "zip"]), unique % 997);
        let version = seed.pick(&["1.0.3", "2.14.1", "9.5.0", "0.9.0-beta.2", "1:2.36-9+deb12u4"]);
        let package = match type_ {
            "maven" => format!("org.example:{name}"),
            "gomodules" => format!("example.com/lib/{name}"),
            "deb" => format!("{name}/lib{name}"),
            "npm" if unique.is_multiple_of(5) => format!("@acme/{name}"),
            _ => name.clone(),
        };
        let kind = match type_ {
            "sast" if !is_license => "code",
            "terraformconfig" if !is_license => ["config", "config", "cloud", "custom"][number % 4],
            "sast" | "terraformconfig" => return None,
            _ if is_license => "license",
            _ => "package_vulnerability",
        };
        let severity = SEVERITIES[[4, 3, 3, 2, 2, 2, 1, 0][seed.below(8)]];
        let created = if step == 0 { START + i64::try_from(seed.below(25_000_000)).unwrap_or(0) * 1000 + 35 } else { day_of(step) };
        let updated = if step == 0 { created + DAY } else { now() };
        let uuid = seed.uuid();
        let draft = Draft { type_, prefix, file, unique, at, flaw, name, version, package, kind, severity, updated };
        let mut attributes = Map::new();
        let (key, package) = draft.members(seed, &mut attributes);
        attributes.insert("classes".into(), json!([{ "id": flaw.cwe, "source": "CWE", "type": "weakness" }, { "id": "A03:2021", "source": "OWASP", "type": "compliance", "url": "https://owasp.org/Top10/" }]));
        attributes.insert("risk".into(), json!({ "factors": [], "score": { "model": "v1", "value": seed.below(1001) } }));
        if unique % 12 == 5 {
            // As in the vendor's own examples: only what is required.
            attributes.clear();
        }
        let required = json!({
            "key": key, "title": if kind == "license" { "GPL-3.0 license" } else { &flaw.title }, "type": kind, "status": "open", "ignored": false,
            "effective_severity_level": severity, "created_at": time(created), "updated_at": time(updated),
        });
        attributes.extend(required.as_object().cloned().unwrap_or_default());
        let body = body_of(&uuid, &attributes, org, project_id);
        Some(Issue {
            id: uuid,
            project,
            body: body.to_string(),
            kind,
            severity,
            resolved: false,
            ignored: None,
            created,
            updated,
            ever_open: true,
            listed: true,
            key,
            package,
            flaw: at,
            resolved_at_step: 0,
        })
    }

    /// Its state in our words, for a client that reads the reasons of ignores.
    pub(super) fn state(&self) -> &'static str {
        match (self.resolved, self.ignored) {
            (true, _) => "fixed",
            _ if !self.listed => "gone",
            (_, Some("not-vulnerable")) => "false_positive",
            (_, Some(_)) => "risk_accepted",
            _ => "open",
        }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        edit(&mut body);
        self.body = body.to_string();
    }

    pub(super) fn resolve(&mut self, how: &str, at: i64, step: u64) {
        (self.resolved, self.updated, self.resolved_at_step) = (true, at, step);
        self.edit(|body| {
            body["attributes"]["status"] = json!("resolved");
            body["attributes"]["updated_at"] = json!(time(at));
            body["attributes"]["resolution"] = json!({ "type": how, "resolved_at": time(day_of(step)) });
        });
    }

    /// Neither moves `updated_at` nor always names the rule.
    pub(super) fn ignore(&mut self, reason: &'static str, with_rule: bool) {
        self.ignored = Some(reason);
        let rule = self.id.replace('4', "5");
        self.edit(|body| {
            body["attributes"]["ignored"] = json!(true);
            if with_rule {
                body["relationships"]["ignore"] = json!({ "data": { "id": rule, "type": "ignore" } });
            }
        });
    }

    pub(super) fn rate(&mut self, severity: &'static str, at: i64) {
        (self.severity, self.updated) = (severity, at);
        self.edit(|body| {
            body["attributes"]["effective_severity_level"] = json!(severity);
            body["attributes"]["updated_at"] = json!(time(at));
        });
    }

    /// Its body with words that no documentation lists.
    pub(super) fn with_odd_words(&self) -> String {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        body["attributes"]["effective_severity_level"] = json!("apocalyptic");
        body["attributes"]["status"] = json!("pondering");
        body.to_string()
    }
}

/// An issue as the API lists it. Its links go without `/rest`, other than those of the page.
fn body_of(uuid: &str, attributes: &Map<String, Value>, org: &str, project: &str) -> Value {
    json!({
        "id": uuid, "type": "issue", "attributes": attributes,
        "relationships": {
            "organization": { "data": { "id": org, "type": "organization" }, "links": { "related": format!("/orgs/{org}") } },
            "scan_item": { "data": { "id": project, "type": "project" }, "links": { "related": format!("/orgs/{org}/projects/{project}") } },
        },
    })
}

/// What several sources say of one vulnerability.
fn severities(level: &str, unique: usize) -> Value {
    let (score, vector) = match level {
        "critical" => (9.8, "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
        "high" => (7.5, "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"),
        "medium" => (5.3, "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:L"),
        _ => (3.7, "CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:N/I:N/A:L"),
    };
    let of = |source: &str, version: &str, vector: &str, score: f64| json!({ "level": level, "score": score, "source": source, "vector": vector, "version": version, "modification_time": "2025-03-11T09:54:02.586Z" });
    let mut all = vec![of("NVD", "3.1", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8), of("Red Hat", "3.1", vector, score)];
    if unique % 4 != 3 {
        all.insert(unique % 2, of("Snyk", "3.1", vector, score));
    }
    if unique % 4 == 1 {
        all.push(of("Snyk", "4.0", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 9.3));
    }
    Value::Array(all)
}

pub(super) fn flaw(seed: &mut Seed, number: usize) -> Flaw {
    const TITLES: [&str; 6] = [
        "Heap-based Buffer Overflow",
        "SQL Injection",
        "Cross-site Scripting (XSS)",
        "Prototype Pollution",
        "Path Traversal",
        "Denial of Service (DoS)",
    ];
    let mut title = TITLES[number % TITLES.len()].to_owned();
    let mut description = format!("## Overview\n{}\n\n## Remediation\nUpgrade to version 3.0.0 or higher.\n", seed.prose(420));
    if number % 30 == 11 {
        title = "Injection of <script>alert(1)</script> & \u{1b}[31mcolour".to_owned();
        description.push_str("<img src=x onerror=alert(1)>\u{0}\u{7}\u{202e}");
    }
    let cve = format!("CVE-2025-{}", 20_000 + number);
    let cwe = format!("CWE-{}", 20 + number * 3);
    let vulnerable = if number.is_multiple_of(2) { json!(["<3.0.0", ">=1.0.0 <2.17.1"]) } else { json!("<3.0.0") };
    let mut data = json!({
        "title": title, "identifiers": { "CVE": [cve], "CWE": [cwe], "OSVDB": [] }, "exploitMaturity": "no-known-exploit",
        "CVSSv3": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", "cvssScore": 7.5, "semver": { "vulnerable": vulnerable },
        "isMaliciousPackage": false, "publicationTime": time(START), "disclosureTime": time(START - DAY),
    });
    // The members alone: each issue puts its own before them.
    let members = |data: &Value| data.to_string().strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().to_owned();
    let bare = members(&data);
    data["description"] = json!(description);
    let described = members(&data);
    Flaw { title, description, cve, cwe, data: [bare, described] }
}
