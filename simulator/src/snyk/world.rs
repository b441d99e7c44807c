//! What the simulated region holds, and how it moves.

use serde_json::{Map, Value, json};

use super::{
    SEVERITIES,
    issue::{DAY, Flaw, Issue, KINDS, Place, START, flaw, now, time},
};
use crate::{
    Change, Size,
    seed::{Seed, share, spread},
};

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
            let owner = &self.projects[project];
            let place = Place {
                flaws: &self.flaws,
                org: &self.orgs[owner.org].id,
                project,
                project_id: &owner.id,
                kind: owner.kind,
                step: self.step,
            };
            let issue = Issue::new(&mut seed, &place, self.issues.len(), number, other == Some("license"));
            let Some(mut issue) = issue else { continue };
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
