//! What the simulated tenant holds, and how it moves.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    CANARY,
    result::{Told, hash, result},
};
use crate::{
    Change, Size,
    seed::{Seed, share},
};

/// 2025-01-01, in seconds.
const START: i64 = 1_735_689_600;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const NEVER: usize = usize::MAX;

/// One type of result in this many, of each type.
const TYPES: [&str; 14] = [
    "sast",
    "sca",
    "kics",
    "containers",
    "sast",
    "sca",
    "sscs-secret-detection",
    "sast",
    "sca",
    "sca-container",
    "kics",
    "sast",
    "sscs-scorecard",
    "sast",
];

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    step: u64,
    /// Whether an engine of the last project fails at every other step.
    pub(super) fails: bool,
    pub(super) projects: Vec<Project>,
    pub(super) applications: Vec<Application>,
    unique: usize,
}

#[derive(Debug)]
pub(super) struct Application {
    pub(super) id: String,
    pub(super) projects: Vec<String>,
    pub(super) body: String,
}

#[derive(Debug)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) main_branch: &'static str,
    pub(super) body: Value,
    /// Whether the total of its results is one too small.
    pub(super) miscounts: bool,
    /// Whether no step scans it again.
    is_quiet: bool,
    /// Whether its containers cannot be scanned.
    always_fails: bool,
    /// The scans of the project, the oldest first.
    pub(super) scans: Vec<Scan>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug)]
pub(super) struct Scan {
    pub(super) id: String,
    pub(super) branch: &'static str,
    pub(super) status: &'static str,
    /// The engine that failed in it.
    failed: Option<&'static str>,
    /// Its place among the scans of the branch that counts; `None` on another branch.
    number: Option<usize>,
    pub(super) created: i64,
    pub(super) body: Value,
}

#[derive(Debug)]
pub(super) struct Finding {
    pub(super) key: String,
    pub(super) kind: &'static str,
    pub(super) body: String,
    pub(super) severity: &'static str,
    /// `open false_positive fixed gone`.
    pub(super) state: &'static str,
    /// Whether it is only on another branch.
    elsewhere: bool,
    /// Numbers of the first scan that lists it, of the first that no longer does, and of the one that says it is fixed.
    from: usize,
    until: usize,
    fixed: usize,
    /// Whether a client that synced after every step has met it open.
    pub(super) ever_open: bool,
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// When a step happened.
fn day_of(step: u64) -> i64 {
    START + (300 + i64::try_from(step).unwrap_or(0)) * DAY
}

fn engine(kind: &str) -> &str {
    match kind {
        "sca-container" => "sca",
        "sscs-secret-detection" | "sscs-scorecard" => "microengines",
        other => other,
    }
}

impl World {
    pub(super) fn new(size: Size) -> Self {
        let mut world = World { seed: size.seed, step: 0, fails: false, projects: Vec::new(), applications: Vec::new(), unique: 0 };
        let records = size.records.max(4);
        let mut left = size.findings;
        for number in 0..records {
            let open = match number {
                0 => 0,
                1 => 5.min(left),
                n if n + 1 == records => left,
                // The last has the most, so that its listing has several pages.
                n => (left / (records - n) / 4).min(left),
            };
            left -= open;
            world.add_project(number, number + 1 == records);
            world.scan(number);
            world.scan(number);
            world.fill(number, open, open + open * 5 / 100, 1);
            // What an older scan still had, and what only another branch has.
            world.fill_with(number, open.min(3), |finding| (finding.from, finding.until) = (0, 1));
            world.fill_with(number, 3, |finding| finding.elsewhere = true);
            world.scan_aside(number);
        }
        for name in ["never scanned", "<b>only</b> failed & running"] {
            let number = world.projects.len();
            world.add_project(number, false);
            world.projects[number].name = name.to_owned();
            world.projects[number].body["name"] = json!(name);
            if name != "never scanned" {
                world.add_scan(number, "main", "Failed", Some("sast"), None, day_of(0));
                world.add_scan(number, "main", "Running", None, None, day_of(0) + HOUR);
            }
        }
        world.applications = (0..2).map(|number| world.application(number)).collect();
        for project in &mut world.projects {
            let ids: Vec<&str> =
                world.applications.iter().filter(|app| app.projects.contains(&project.id)).map(|app| app.id.as_str()).collect();
            project.body["applicationIds"] = json!(ids);
        }
        world
    }

    fn application(&self, number: usize) -> Application {
        let mut seed = Seed::of(&[self.seed, 32, number as u64]);
        let id = seed.uuid();
        let projects: Vec<String> = self.projects.iter().skip(number).step_by(3).map(|project| project.id.clone()).collect();
        let body = json!({
            "id": id, "name": format!("Application {number}"), "description": "Everything that customers see", "criticality": 3 + number,
            "rules": [{ "id": seed.uuid(), "type": "project.tag.key-value.exists", "value": "team;payments" }],
            "projectIds": projects, "tags": { "tier": "1" }, "type": "default", "createdAt": micros(START), "updatedAt": micros(START + DAY),
        });
        Application { id, projects, body: body.to_string() }
    }

    fn add_project(&mut self, number: usize, is_last: bool) {
        const NAMES: [&str; 7] = ["shop-api", "billing", "größe-rechner", "mobile-gateway", "warehouse", "identity", "reports"];
        let mut seed = Seed::of(&[self.seed, 31, number as u64]);
        let name = format!("acme/{}-{number}", NAMES[number % NAMES.len()]);
        let id = seed.uuid();
        let main_branch = ["main", "", "develop"][number % 3];
        let repository = if number % 4 == 1 { String::new() } else { format!("https://git.example/{name}.git") };
        let mut body = json!({
            "id": id, "name": name, "createdAt": micros(START), "updatedAt": micros(START + DAY), "groups": [],
            "tags": { "team": "payments", "external": "" }, "repoUrl": repository, "mainBranch": main_branch, "criticality": 3,
            "privatePackage": false, "tenantId": "7d0c1f8e-1d5a-4c53-8a2b-0123456789ab", "imported_proj_name": "",
        });
        if number.is_multiple_of(2) {
            body["origin"] = json!("GitHub");
            body["scmRepoId"] = json!(1000 + number);
        }
        self.projects.push(Project {
            id,
            name,
            main_branch,
            body,
            miscounts: number == 2 && !is_last,
            is_quiet: number % 7 == 2 && !is_last,
            always_fails: number % 7 == 3 && !is_last,
            scans: Vec::new(),
            findings: Vec::new(),
        });
    }

    /// A new scan of the branch that counts: what was new is now recurrent.
    fn scan(&mut self, project: usize) {
        let failing = self.failing(project);
        let owner = &mut self.projects[project];
        let number = owner.scans.iter().filter_map(|scan| scan.number).max().map_or(0, |number| number + 1);
        let (is_first, branch) = (number == 0, if owner.main_branch.is_empty() { "trunk" } else { owner.main_branch });
        let failed = if owner.always_fails && !is_first { Some("containers") } else { failing };
        let at = if is_first { day_of(0) - 10 * DAY } else { day_of(self.step) };
        let (found, created) = (time(at), time(at - DAY));
        for finding in owner.findings.iter_mut().filter(|finding| finding.is_listed(number) && failed != Some(engine(finding.kind))) {
            finding.replace("status", "NEW", "RECURRENT");
            finding.set_time("foundAt", &found);
            finding.set_time("created", &created);
        }
        self.add_scan(project, branch, if failed.is_some() { "Partial" } else { "Completed" }, failed, Some(number), at);
    }

    /// Later scans that do not count: of another branch where there is a main one, and such as came to nothing.
    fn scan_aside(&mut self, project: usize) {
        let at = day_of(self.step) + HOUR;
        if !self.projects[project].main_branch.is_empty() {
            self.add_scan(project, "feature/login", "Completed", None, None, at);
        }
        let branch = if self.projects[project].main_branch.is_empty() { "trunk" } else { self.projects[project].main_branch };
        match project % 3 {
            0 => self.add_scan(project, branch, "Failed", Some("sast"), None, at + HOUR),
            1 => self.add_scan(project, branch, "Running", None, None, at + HOUR),
            _ => self.add_scan(project, branch, "Canceled", None, None, at + HOUR),
        }
    }

    fn add_scan(
        &mut self,
        project: usize,
        branch: &'static str,
        status: &'static str,
        failed: Option<&'static str>,
        number: Option<usize>,
        created: i64,
    ) {
        let owner = &mut self.projects[project];
        let id = Seed::of(&[self.seed, 33, project as u64, owner.scans.len() as u64]).uuid();
        let mut engines = vec!["sast", "sca", "kics", "microengines"];
        if !(owner.always_fails && number == Some(0)) {
            engines.push("containers");
        }
        let state = |engine: &str| match status {
            _ if failed == Some(engine) => "Failed",
            "Running" => "Running",
            "Canceled" => "Canceled",
            _ => "Completed",
        };
        let mut details: Vec<Value> = vec![json!({ "name": "general", "status": status, "details": "" })];
        for engine in &engines {
            let mut detail = json!({ "name": engine, "status": state(engine), "details": "", "startDate": micros(created) });
            if state(engine) == "Failed" {
                detail["errorCode"] = json!(7124);
                detail["details"] = json!("the engine ended with an error");
            } else if *engine == "sast" {
                detail["loc"] = json!(48_211);
            }
            details.push(detail);
        }
        let body = json!({
            "id": id, "status": status, "statusDetails": details, "branch": branch, "createdAt": micros(created),
            "updatedAt": micros(created + 600), "projectId": owner.id, "projectName": owner.name, "userAgent": "ASTCLI/2.3", "initiator": "ci",
            "tags": {}, "engines": engines, "sourceType": "github", "sourceOrigin": "GitHub",
            "metadata": { "type": "git", "Handler": { "GitHandler": {
                "branch": branch, "repo_url": "https://git.example/acme",
                "credentials": { "username": "ci", "type": "password", "value": format!("git-{CANARY}") },
            } } },
        });
        owner.scans.push(Scan { id, branch, status, failed, number, created, body });
    }

    /// The engine that fails at this step.
    fn failing(&self, project: usize) -> Option<&'static str> {
        let is_last = project + 3 == self.projects.len();
        (self.fails && is_last && self.step % 2 == 1).then_some("kics")
    }

    fn fill_with(&mut self, project: usize, count: usize, edit: impl Fn(&mut Finding)) {
        let before = self.projects[project].findings.len();
        self.fill(project, count, count, 0);
        for finding in &mut self.projects[project].findings[before..] {
            finding.ever_open = false;
            edit(finding);
        }
    }

    /// Adds results that the project's newest scan lists: open ones first, then such as are closed already.
    fn fill(&mut self, project: usize, open: usize, all: usize, from: usize) {
        for number in 0..all {
            let mut finding = self.finding(project, from);
            match number.checked_sub(open) {
                None => {}
                Some(other) if other.is_multiple_of(2) => finding.judge("NOT_EXPLOITABLE"),
                Some(_) => finding.fix(from),
            }
            finding.ever_open = finding.state == "open";
            self.projects[project].findings.push(finding);
        }
    }

    fn finding(&mut self, project: usize, from: usize) -> Finding {
        self.unique += 1;
        let unique = self.unique;
        let failing = self.failing(project);
        let mut seed = Seed::of(&[self.seed, 34, unique as u64]);
        let owner = &self.projects[project];
        let mut kind = TYPES[seed.below(TYPES.len())];
        if (owner.always_fails && kind == "containers") || failing == Some(engine(kind)) {
            kind = "sast";
        }
        if unique % 400 == 9 {
            kind = "cloud-insights";
        }
        let (raw, severity) = severity(&mut seed, unique);
        let state = match unique % 20 {
            1 => "CONFIRMED",
            2 => "URGENT",
            3 => "PROPOSED_NOT_EXPLOITABLE",
            4 => "Under Review ",
            _ => "TO_VERIFY",
        };
        let found = day_of(self.step);
        let first = if self.step == 0 { START + i64::try_from(seed.below(250)).unwrap_or(0) * DAY } else { found };
        let Told { id, similarity, key, data, details } = result(&mut seed, unique, kind);
        let mut description = seed.prose(500);
        if unique % 30 == 11 {
            description.push_str("<script>alert(1)</script><img src=x onerror=alert(1)>\u{0}\u{1b}[31m\u{202e}");
        }
        let status = if self.step == 0 && !unique.is_multiple_of(10) { "RECURRENT" } else { "NEW" };
        let mut body = json!({
            "type": kind, "id": id, "similarityId": similarity, "status": status, "state": state, "severity": raw, "confidenceLevel": 0,
            "created": time(found - DAY), "firstFoundAt": time(first), "foundAt": time(found), "firstScanId": seed.uuid(),
            "description": description, "data": data, "comments": if unique.is_multiple_of(2) { json!({}) } else { json!({ "comments": "" }) },
            "vulnerabilityDetails": details,
        });
        if kind == "sca" && unique.is_multiple_of(3) {
            body["alternateId"] = json!(hash(&mut seed));
        }
        Finding {
            key: format!("{}/{kind}/{key}", owner.id),
            kind,
            body: body.to_string(),
            severity,
            state: "open",
            elsewhere: false,
            from,
            until: NEVER,
            fixed: NEVER,
            ever_open: true,
        }
    }

    pub(super) fn step(&mut self, change: &Change) {
        self.step += 1;
        let regular = self.projects.len() - 2;
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (p, project) in self.projects[..regular].iter().enumerate() {
            let (newest, failing) = (project.newest(), self.failing(p));
            let movable = |finding: &Finding| {
                finding.state == "open" && finding.is_listed(newest) && failing != Some(engine(finding.kind)) && !finding.elsewhere
            };
            open.extend(project.findings.iter().enumerate().filter(|(_, finding)| movable(finding)).map(|(f, _)| (p, f)));
        }
        let total = open.len();
        let share = |percent| share(total, percent);
        let mut seed = Seed::of(&[self.seed, 35, self.step]);
        // What needs a new scan does not happen in a quiet project: there only people decide.
        let (quiet, mut scanned): (Vec<_>, Vec<_>) = open.into_iter().partition(|(p, _)| self.projects[*p].is_quiet);
        let mut take = |from: &mut Vec<(usize, usize)>, count| seed.draw(from, count);
        let fixed = take(&mut scanned, share(change.fixed));
        let vanished = take(&mut scanned, share(change.vanished));
        scanned.extend(quiet);
        for (n, (p, f)) in take(&mut scanned, share(change.changed)).into_iter().enumerate() {
            let finding = &mut self.projects[p].findings[f];
            match n % 4 {
                0 => finding.judge("NOT_EXPLOITABLE"),
                1 => finding.judge("URGENT"),
                2 => finding.judge("PROPOSED_NOT_EXPLOITABLE"),
                _ if finding.severity == "low" => finding.rate("HIGH", "high"),
                _ => finding.rate("LOW", "low"),
            }
        }
        let new = share(change.new);
        let mut touched: Vec<usize> = fixed.iter().chain(&vanished).map(|(p, _)| *p).collect();
        if new > 0 {
            touched.extend([regular - 1, 1]);
        }
        touched.sort_unstable();
        touched.dedup();
        for (n, (p, f)) in fixed.into_iter().enumerate() {
            let next = self.projects[p].newest() + 1;
            let finding = &mut self.projects[p].findings[f];
            // Some are told, others are just no longer there.
            if n % 2 == 0 { finding.fix(next) } else { finding.vanish(next) }
        }
        for (p, f) in vanished {
            let next = self.projects[p].newest() + 1;
            self.projects[p].findings[f].vanish(next);
        }
        for project in touched {
            self.scan(project);
            self.scan_aside(project);
        }
        if new > 0 {
            let few = usize::from(new > 1);
            self.fill(1, few, few, self.projects[1].newest());
            self.fill(regular - 1, new - few, new - few, self.projects[regular - 1].newest());
        }
    }
}

impl Project {
    /// Number of the newest scan that counts.
    fn newest(&self) -> usize {
        self.scans.iter().filter_map(|scan| scan.number).max().unwrap_or(0)
    }

    /// What a scan found, and how it says so.
    pub(super) fn results<'a>(&'a self, scan: &'a Scan) -> impl Iterator<Item = &'a Finding> {
        let ended = matches!(scan.status, "Completed" | "Partial");
        self.findings.iter().filter(move |finding| {
            ended
                && scan.failed != Some(engine(finding.kind))
                && match scan.number {
                    Some(number) => !finding.elsewhere && finding.is_listed(number),
                    // The other branch has its own, and some of those of the first scan.
                    None => finding.elsewhere || (finding.from == 0 && finding.until == 1),
                }
        })
    }
}

impl Scan {
    pub(super) fn text<'a>(&self, finding: &'a Finding) -> std::borrow::Cow<'a, str> {
        if self.number.is_some_and(|number| finding.fixed != NEVER && number < finding.fixed) {
            return finding.body.replacen(r#""status":"FIXED""#, r#""status":"RECURRENT""#, 1).into();
        }
        finding.body.as_str().into()
    }
}

impl Finding {
    fn is_listed(&self, number: usize) -> bool {
        self.from <= number && number < self.until
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        edit(&mut body);
        self.body = body.to_string();
    }

    fn replace(&mut self, member: &str, from: &str, to: &str) {
        let old = format!(r#""{member}":"{from}""#);
        if let Some(at) = self.body.find(&old) {
            self.body.replace_range(at..at + old.len(), &format!(r#""{member}":"{to}""#));
        }
    }

    /// Times have one length.
    fn set_time(&mut self, member: &str, value: &str) {
        let start = format!(r#""{member}":""#);
        if let Some(at) = self.body.find(&start).map(|at| at + start.len()) {
            self.body.replace_range(at..at + value.len(), value);
        }
    }

    fn judge(&mut self, state: &'static str) {
        self.edit(|body| body["state"] = json!(state));
        if state == "NOT_EXPLOITABLE" {
            self.state = "false_positive";
        }
    }

    fn rate(&mut self, raw: &'static str, severity: &'static str) {
        self.edit(|body| body["severity"] = json!(raw));
        self.severity = severity;
    }

    /// The scan of this number says that it is fixed; the next does not list it.
    fn fix(&mut self, number: usize) {
        self.edit(|body| body["status"] = json!("FIXED"));
        (self.state, self.fixed, self.until) = ("fixed", number, number + 1);
    }

    fn vanish(&mut self, number: usize) {
        (self.state, self.until) = ("gone", number);
    }

    /// Its body with words that no documentation lists.
    pub(super) fn with_odd_words(&self) -> String {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        body["severity"] = json!("APOCALYPTIC");
        body["status"] = json!("SOMETIME");
        body["state"] = json!("PONDERING");
        body.to_string()
    }
}

fn micros(seconds: i64) -> String {
    let second = time(seconds);
    format!("{}.123456Z", second.trim_end_matches('Z'))
}

/// A severity in the vendor's word, and in ours.
fn severity(seed: &mut Seed, unique: usize) -> (&'static str, &'static str) {
    const SEVERITIES: [(&str, &str); 7] = [
        ("CRITICAL", "critical"),
        ("HIGH", "high"),
        ("HIGH", "high"),
        ("MEDIUM", "medium"),
        ("MEDIUM", "medium"),
        ("LOW", "low"),
        ("INFO", "info"),
    ];
    let (raw, severity) = SEVERITIES[seed.below(7)];
    // In small letters too, as some exporters have it.
    (if unique % 23 == 4 { severity } else { raw }, severity)
}
