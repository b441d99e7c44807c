//! What the simulated region holds, and how it moves.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::SEVERITIES;
use crate::{
    Change, Size,
    seed::{Seed, share, spread},
};

/// 2025-01-01, in milliseconds.
const START: i64 = 1_735_689_600_000;
const DAY: i64 = 86_400_000;

/// (type of project, origin, prefix of vulnerability ids, file)
const KINDS: [(&str, &str, &str, &str); 7] = [
    ("gomodules", "azure-repos", "SNYK-GOLANG", "go.mod"),
    ("sast", "github", "", ""),
    ("terraformconfig", "gitlab", "SNYK-CC-TF", "infra/main.tf"),
    ("npm", "github", "SNYK-JS", "package.json"),
    ("maven", "github", "SNYK-JAVA", "service/pom.xml"),
    ("pip", "cli", "SNYK-PYTHON", "requirements.txt"),
    ("deb", "ecr", "SNYK-DEBIAN12", ""),
];

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    step: u64,
    pub(super) group: String,
    pub(super) orgs: Vec<Org>,
    pub(super) targets: Vec<Target>,
    pub(super) projects: Vec<Project>,
    pub(super) issues: Vec<Issue>,
    /// Every row: what the group lists.
    pub(super) all: Vec<usize>,
    flaws: Vec<Flaw>,
}

#[derive(Debug)]
pub(super) struct Org {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) slug: String,
    pub(super) in_group: bool,
    /// Whether the credential may read nothing in it.
    pub(super) closed: bool,
    pub(super) issues: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Target {
    id: String,
    pub(super) org: usize,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) origin: &'static str,
}

#[derive(Debug)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) org: usize,
    pub(super) target: usize,
    pub(super) target_id: String,
    pub(super) name: String,
    pub(super) attributes: Value,
    kind: usize,
    pub(super) issues: Vec<usize>,
}

/// A weakness that many issues share.
#[derive(Debug)]
struct Flaw {
    title: String,
    description: String,
    cve: String,
    cwe: String,
    /// The members of V1's `issueData` behind those that each issue has for itself, without and with the description.
    data: [String; 2],
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
    key: String,
    /// Its id in V1, the package and its version.
    package: Option<(String, String, &'static str)>,
    flaw: usize,
    resolved_at_step: u64,
}

fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default().to_string()
}

/// When a step happened: the same on every run, unlike the times by which clients ask for what is new.
fn day_of(step: u64) -> i64 {
    START + (300 + i64::try_from(step).unwrap_or(0)) * DAY
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|time| i64::try_from(time.as_millis()).ok()).unwrap_or(START)
}

impl World {
    pub(super) fn new(size: Size) -> Self {
        let mut seed = Seed::of(&[size.seed, 21]);
        let flaws = (0..300).map(|number| flaw(&mut seed, number)).collect();
        let mut world = World {
            seed: size.seed,
            step: 0,
            group: seed.uuid(),
            orgs: Vec::new(),
            targets: Vec::new(),
            projects: Vec::new(),
            issues: Vec::new(),
            all: Vec::new(),
            flaws,
        };
        for (name, slug, in_group) in
            [("Acme Platform", "acme-platform", true), ("Acme Mobile & Web", "acme-mobile-web", true), ("jo.doe", "jo.doe", false)]
        {
            let (id, name, slug) = (seed.uuid(), name.to_owned(), slug.to_owned());
            world.orgs.push(Org { id, name, slug, in_group, closed: false, issues: Vec::new() });
        }
        let records = size.records.max(4);
        for (number, open) in spread(size.findings, records).enumerate() {
            world.add_project(&mut seed, number, "active");
            world.fill(number, open, number != 0);
        }
        world.add_project(&mut seed, records, "inactive");
        world.fill(records, 3, false);
        world
    }

    pub(super) fn close_an_org(&mut self) {
        let id = Seed::of(&[self.seed, 22]).uuid();
        let (name, slug) = ("Acme Secret".to_owned(), "acme-secret".to_owned());
        self.orgs.push(Org { id, name, slug, in_group: true, closed: true, issues: Vec::new() });
    }

    fn add_project(&mut self, seed: &mut Seed, number: usize, status: &str) {
        const REPOSITORIES: [&str; 5] = ["shop-api", "größe-rechner", "crm", "mobile-gateway", "warehouse"];
        let (kind, org) = (number % KINDS.len(), number % 2);
        let (type_, origin, _, file) = KINDS[kind];
        let repository = format!("acme/{}-{}", REPOSITORIES[number % REPOSITORIES.len()], number / 10);
        // The projects of one repository share its target.
        let known = self.targets.iter().position(|target| target.org == org && target.name == repository && target.origin == origin);
        let target = known.unwrap_or_else(|| {
            let (id, url) = (seed.uuid(), format!("https://git.example/{repository}"));
            self.targets.push(Target { id, org, name: repository.clone(), url, origin });
            self.targets.len() - 1
        });
        let id = seed.uuid();
        let name = match type_ {
            "sast" => "Code analysis".to_owned(),
            "deb" => format!("{repository}:1.{number}"),
            _ => format!("{repository}:{file}"),
        };
        let mut attributes = json!({
            "name": name, "type": type_, "origin": origin, "status": status, "target_file": file,
            "target_reference": if origin == "cli" { "" } else { "main" }, "created": time(START + i64::try_from(number).unwrap_or(0) * DAY),
            "read_only": false, "settings": { "recurring_tests": { "frequency": "daily" } },
            "business_criticality": [], "environment": [], "lifecycle": [], "tags": [],
        });
        if number % 3 == 1 {
            attributes["business_criticality"] = json!(["high"]);
            attributes["environment"] = json!(["external", "hosted"]);
            attributes["lifecycle"] = json!(["production"]);
            attributes["tags"] = json!([{ "key": "team", "value": "payments" }]);
        }
        let target_id = self.targets[target].id.clone();
        self.projects.push(Project { id, org, target, target_id, name, attributes, kind, issues: Vec::new() });
    }

    /// Adds this many open issues, and some more that are resolved, ignored or about licences.
    fn fill(&mut self, project: usize, open: usize, with_others: bool) {
        const OTHERS: [&str; 7] = ["fixed", "disappeared", "not-vulnerable", "wont-fix", "temporary-ignore", "policy", "license"];
        let others = if with_others { (open * 5 / 100).max(OTHERS.len()) } else { 0 };
        for number in 0..open + others {
            let mut seed = Seed::of(&[self.seed, 23, project as u64, self.step, number as u64]);
            let other = number.checked_sub(open).map(|number| OTHERS[number % OTHERS.len()]);
            let Some(mut issue) = self.issue(&mut seed, project, number, other == Some("license")) else { continue };
            match other {
                Some(how @ ("fixed" | "disappeared")) => issue.resolve(how, issue.updated, self.step),
                Some("license") | None => {}
                Some("policy") => issue.ignore("", false),
                Some(reason) => issue.ignore(reason, number.is_multiple_of(2)),
            }
            issue.ever_open = issue.state() == "open";
            let row = self.issues.len();
            self.issues.push(issue);
            self.all.push(row);
            self.projects[project].issues.push(row);
            self.orgs[self.projects[project].org].issues.push(row);
        }
    }

    /// An open issue; `None` for a licence where no packages are.
    fn issue(&self, seed: &mut Seed, project: usize, number: usize, is_license: bool) -> Option<Issue> {
        let owner = &self.projects[project];
        let (type_, _, prefix, file) = KINDS[owner.kind];
        let at = seed.below(self.flaws.len());
        let flaw = &self.flaws[at];
        let unique = self.issues.len();
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
        let created =
            if self.step == 0 { START + i64::try_from(seed.below(25_000_000)).unwrap_or(0) * 1000 + 35 } else { day_of(self.step) };
        let updated = if self.step == 0 { created + DAY } else { now() };
        let uuid = seed.uuid();
        let mut attributes = Map::new();
        let mut v1 = None;
        let key = match kind {
            "package_vulnerability" => {
                // An id of the old form, which the key only begins with.
                let old = unique % 50 == 7 && type_ == "npm";
                let id =
                    if old { format!("npm:{name}:20180212") } else { format!("{prefix}-{}-{}", name.to_uppercase(), 1_000_000 + unique) };
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
                v1 = Some((id, package, version));
                key
            }
            "license" => {
                let key = format!("snyk:lic:{type_}:{package}:GPL-3.0");
                let represented = json!({ "dependency": { "package_name": package, "package_version": version } });
                attributes.insert("coordinates".into(), json!([{ "representations": [represented] }]));
                attributes.insert("problems".into(), json!([{ "id": key, "source": "SNYK", "type": "rule" }]));
                v1 = Some((key.clone(), package, version));
                key
            }
            "code" => {
                let line = 1 + unique % 900;
                let region = json!({ "start": { "line": line, "column": 9 }, "end": { "line": line + 6, "column": 22 } });
                let place = json!({ "sourceLocation": { "commit_id": format!("{:040x}", unique + 0xabc_def), "file": format!("src/{name}/handler_{}.js", unique % 40), "region": region } });
                attributes.insert("coordinates".into(), json!([{ "is_fixable_manually": false, "is_fixable_snyk": unique.is_multiple_of(3), "is_fixable_upstream": false, "representations": [place] }]));
                let key = seed.uuid();
                attributes.insert(
                    "problems".into(),
                    json!([{ "id": key, "source": "SNYK", "type": "vulnerability", "updated_at": time(updated) }]),
                );
                attributes.insert("key_asset".into(), json!(seed.uuid()));
                attributes.insert("description".into(), json!(flaw.description));
                key
            }
            "cloud" => {
                let resource = json!({ "id": seed.uuid(), "name": format!("bucket-{unique}"), "type": "aws_s3_bucket", "platform": "aws" });
                let environment = json!({ "id": seed.uuid(), "name": "Production & Co", "native_id": "123456789012" });
                attributes.insert(
                    "coordinates".into(),
                    json!([{ "representations": [{ "cloud_resource": { "environment": environment, "resource": resource } }] }]),
                );
                attributes.insert("description".into(), json!(flaw.description));
                seed.uuid()
            }
            _ => {
                let path = format!("{file} > resource > aws_s3_bucket[logs-{unique}] > acl");
                attributes
                    .insert("coordinates".into(), json!([{ "is_fixable_manually": true, "representations": [{ "resourcePath": path }] }]));
                let rule = if kind == "custom" { format!("CUSTOM-{}", at % 9) } else { format!("SNYK-CC-{at:05}") };
                attributes.insert("problems".into(), json!([{ "id": rule, "source": "SNYK", "type": "rule", "url": format!("https://security.snyk.io/rules/cloud/{rule}") }]));
                attributes.insert("description".into(), json!(flaw.description));
                seed.uuid()
            }
        };
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
        let org = &self.orgs[owner.org].id;
        // Without `/rest`, other than the links of the page.
        let body = json!({
            "id": uuid, "type": "issue", "attributes": attributes,
            "relationships": {
                "organization": { "data": { "id": org, "type": "organization" }, "links": { "related": format!("/orgs/{org}") } },
                "scan_item": { "data": { "id": owner.id, "type": "project" }, "links": { "related": format!("/orgs/{org}/projects/{}", owner.id) } },
            },
        });
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
            package: v1,
            flaw: at,
            resolved_at_step: 0,
        })
    }

    pub(super) fn step(&mut self, change: &Change) {
        self.step += 1;
        let step = self.step;
        // What was resolved long ago is no longer kept.
        for issue in self.issues.iter_mut().filter(|issue| issue.resolved && issue.resolved_at_step + 2 < step) {
            issue.listed = false;
        }
        let movable = |issue: &Issue| issue.listed && issue.state() == "open" && issue.kind != "license";
        let mut open: Vec<usize> = self.all.iter().copied().filter(|row| movable(&self.issues[*row])).collect();
        let total = open.len();
        let mut seed = Seed::of(&[self.seed, 24, step]);
        let share = |percent| share(total, percent);
        let mut take = |count| seed.draw(&mut open, count);
        for (n, row) in take(share(change.fixed)).into_iter().enumerate() {
            self.issues[row].resolve(["fixed", "disappeared"][n % 2], now(), step);
        }
        for (n, row) in take(share(change.changed)).into_iter().enumerate() {
            let issue = &mut self.issues[row];
            match n % 5 {
                0 => issue.ignore("not-vulnerable", true),
                1 => issue.ignore("wont-fix", false),
                2 => issue.ignore("temporary-ignore", true),
                3 => issue.ignore("", false),
                _ => issue.rate(if issue.severity == "low" { "high" } else { "low" }, now()),
            }
        }
        for row in take(share(change.vanished)) {
            self.issues[row].listed = false;
        }
        // The last active project gets most of what is new, one before it the rest: the last project is the inactive one.
        let new = share(change.new);
        let last = self.projects.len() - 2;
        self.fill(last, new - new / 3, false);
        self.fill(last - 1, new / 3, false);
    }

    /// V1's list of ignores of one project, by key: those of people. Policies and `.snyk` files are not in it.
    pub(super) fn ignores(&self, project: &Project) -> Value {
        let mut ignores = Map::new();
        for (number, issue) in project.issues.iter().map(|row| &self.issues[*row]).filter(|issue| issue.listed).enumerate() {
            let Some(reason) = issue.ignored.filter(|reason| !reason.is_empty()) else { continue };
            let mut ignore = json!({
                "reason": "Looked at by the team <team@acme.example>", "reasonType": reason, "source": "api", "disregardIfFixable": false,
                "ignoredBy": { "id": "6b9f2c34-0000-4000-8000-000000000001", "name": "Jo Doe", "email": "jo@acme.example" },
                "created": time(issue.updated),
            });
            if reason == "temporary-ignore" {
                ignore["expires"] = json!("2099-12-31T00:00:00.000Z");
            }
            let path = if number.is_multiple_of(3) { "shop-api > parser" } else { "*" };
            ignores.insert(issue.key.clone(), json!([{ path: ignore }]));
        }
        Value::Object(ignores)
    }

    /// V1's aggregated issues of one project: packages and licences of the latest snapshot.
    pub(super) fn aggregated(&self, project: &Project, options: &Value) -> String {
        let described = usize::from(options["includeDescription"] == json!(true));
        let filter = |name: &str| options["filters"][name].as_array();
        let passes = |name: &str, value: &str| filter(name).is_none_or(|values| values.iter().any(|known| known == value));
        let mut rows = Vec::new();
        for issue in project.issues.iter().map(|row| &self.issues[*row]).filter(|issue| issue.listed && !issue.resolved) {
            let Some((id, package, version)) = &issue.package else { continue };
            let kind = if issue.kind == "license" { "license" } else { "vuln" };
            let is_ignored = issue.ignored.is_some();
            if !passes("types", kind) || !passes("severities", issue.severity) {
                continue;
            }
            if options["filters"]["ignored"].as_bool().is_some_and(|wanted| wanted != is_ignored) {
                continue;
            }
            let fix = if issue.flaw.is_multiple_of(3) { "" } else { r#","fixedIn":["3.0.0","2.17.1"]"# };
            let reasons = if is_ignored { r#"[{"reason":"Looked at by the team","expires":"","source":"api"}]"# } else { "[]" };
            rows.push(format!(
                r#"{{"id":"{id}","issueType":"{kind}","pkgName":"{package}","pkgVersions":["{version}"],"isPatched":false,"isIgnored":{is_ignored},"ignoreReasons":{reasons},"issueData":{{"id":"{id}","severity":"{severity}","originalSeverity":"{severity}","url":"https://security.snyk.io/vuln/{id}",{data}}},"fixInfo":{{"isUpgradable":{fixable},"isPinnable":false,"isPatchable":false,"isFixable":{fixable},"isPartiallyFixable":false{fix}}},"priority":{{"score":412,"factors":[]}},"links":{{"paths":"https://api.snyk.io/v1/org/{org}/project/{project}/issue/{id}/paths"}}}}"#,
                severity = issue.severity,
                data = self.flaws[issue.flaw].data[described],
                fixable = !fix.is_empty(),
                org = self.orgs[project.org].id,
                project = project.id,
            ));
        }
        format!(r#"{{"issues":[{}]}}"#, rows.join(","))
    }
}

impl Org {
    pub(super) fn body(&self, group: &str) -> Value {
        let mut attributes = json!({ "name": self.name, "slug": self.slug, "is_personal": !self.in_group, "created_at": time(START), "updated_at": time(START + DAY) });
        if self.in_group {
            attributes["group_id"] = json!(group);
        }
        json!({ "id": self.id, "type": "org", "attributes": attributes })
    }
}

impl Target {
    pub(super) fn body(&self, org: &str) -> Value {
        json!({
            "id": self.id, "type": "target",
            "attributes": { "display_name": self.name, "url": self.url, "is_private": true, "created_at": time(START) },
            "relationships": {
                "organization": { "data": { "id": org, "type": "organization" } },
                "integration": { "data": { "id": self.id, "type": "integration", "attributes": { "integration_type": self.origin } } },
            },
        })
    }
}

impl Project {
    pub(super) fn body(&self, world: &World, expand: bool, counts: bool) -> Value {
        let (target, org) = (&world.targets[self.target], &world.orgs[self.org].id);
        let mut data = json!({ "id": target.id, "type": "target" });
        if expand {
            data["attributes"] = json!({ "display_name": target.name, "url": target.url });
        }
        let mut body = json!({
            "id": self.id, "type": "project", "attributes": self.attributes, "meta": {},
            "relationships": {
                "organization": { "data": { "id": org, "type": "org" }, "links": { "related": format!("/rest/orgs/{org}") } },
                "target": { "data": data, "links": { "related": format!("/rest/orgs/{org}/targets/{}", target.id) } },
            },
        });
        if counts {
            let open = self.issues.iter().map(|row| &world.issues[*row]).filter(|issue| issue.listed && issue.state() == "open");
            let mut levels = [0_u64; SEVERITIES.len()];
            for issue in open {
                levels[SEVERITIES.iter().position(|level| *level == issue.severity).unwrap_or(0)] += 1;
            }
            body["meta"]["latest_issue_counts"] =
                json!({ "critical": levels[4], "high": levels[3], "medium": levels[2], "low": levels[1], "updated_at": time(START + DAY) });
        }
        body
    }
}

impl Issue {
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

    fn resolve(&mut self, how: &str, at: i64, step: u64) {
        (self.resolved, self.updated, self.resolved_at_step) = (true, at, step);
        self.edit(|body| {
            body["attributes"]["status"] = json!("resolved");
            body["attributes"]["updated_at"] = json!(time(at));
            body["attributes"]["resolution"] = json!({ "type": how, "resolved_at": time(day_of(step)) });
        });
    }

    /// Neither moves `updated_at` nor always names the rule.
    fn ignore(&mut self, reason: &'static str, with_rule: bool) {
        self.ignored = Some(reason);
        let rule = self.id.replace('4', "5");
        self.edit(|body| {
            body["attributes"]["ignored"] = json!(true);
            if with_rule {
                body["relationships"]["ignore"] = json!({ "data": { "id": rule, "type": "ignore" } });
            }
        });
    }

    fn rate(&mut self, severity: &'static str, at: i64) {
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

fn flaw(seed: &mut Seed, number: usize) -> Flaw {
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
