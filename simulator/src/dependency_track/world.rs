//! What the simulated server holds, and how it moves.

use serde_json::{Value, json};

use crate::{
    Change, Truth,
    seed::{Seed, share},
};

#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) projects: Vec<Project>,
    pub(super) vulnerabilities: Vec<Value>,
    /// How many BOMs were uploaded anew.
    pub(super) imports: u64,
    /// How many lists of findings were answered.
    pub(super) lists: u64,
}

#[derive(Debug)]
pub(super) struct Project {
    pub(super) uuid: String,
    pub(super) body: Value,
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug)]
pub(super) struct Finding {
    pub(super) matrix: String,
    pub(super) body: String,
    pub(super) truth: Truth,
    /// Whether a client that synced after every step has met it open.
    pub(super) ever_open: bool,
    pub(super) listed: bool,
}

impl Project {
    pub(super) fn new(seed: &mut Seed, number: usize, kind: &str) -> Self {
        const NAMES: &[&str] = &["shop-api", "billing", "crm", "mobile-gateway", "warehouse", "identity", "reports"];
        let uuid = seed.uuid();
        let name = format!("{}-{}", NAMES[number % NAMES.len()], number / (2 * NAMES.len()));
        let mut body = json!({
            "uuid": uuid, "name": name, "version": format!("1.{}.0", number), "classifier": "APPLICATION",
            "active": kind != "inactive", "tags": [{ "name": "team-a" }], "lastBomImport": 1_763_000_000_000_u64,
            "lastVulnerabilityAnalysis": 1_763_000_004_000_u64, "isLatest": number.is_multiple_of(2),
            "metrics": { "critical": 1, "high": 2, "findingsTotal": 3 },
        });
        if number % 5 == 3 {
            body.as_object_mut().expect("an object").remove("version");
        }
        if kind == "collection" {
            body["collectionLogic"] = json!("AGGREGATE_DIRECT_CHILDREN");
        }
        Project { uuid, body, findings: Vec::new() }
    }

    pub(super) fn name(&self) -> String {
        let name = self.body["name"].as_str().unwrap_or_default();
        self.body["version"].as_str().map_or_else(|| name.to_owned(), |version| format!("{name} {version}"))
    }

    /// Whether its last BOM is analysed.
    pub(super) fn is_analysed(&self) -> bool {
        self.body["lastVulnerabilityAnalysis"].as_i64() >= self.body["lastBomImport"].as_i64()
    }

    pub(super) fn is_record(&self) -> bool {
        self.body["active"] == json!(true) && self.body.get("collectionLogic").is_none()
    }
}

impl World {
    pub(super) fn step(&mut self, change: &Change) {
        self.step += 1;
        let step = self.step;
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (p, project) in self.projects.iter().enumerate() {
            open.extend(project.findings.iter().enumerate().filter(|(_, f)| f.listed && f.truth.state == "open").map(|(f, _)| (p, f)));
        }
        let total = open.len();
        let mut seed = Seed::of(&[self.seed, 3, step]);
        let share = |percent| share(total, percent);
        let mut take = |count| seed.draw(&mut open, count);
        // A component that was updated takes its findings with it: half of what is fixed simply vanishes.
        for (n, (p, f)) in take(share(change.fixed)).into_iter().enumerate() {
            let finding = &mut self.projects[p].findings[f];
            if n % 2 == 0 { finding.analyze("RESOLVED", false) } else { finding.listed = false }
        }
        for (n, (p, f)) in take(share(change.changed)).into_iter().enumerate() {
            let finding = &mut self.projects[p].findings[f];
            match n % 4 {
                0 => finding.analyze("FALSE_POSITIVE", true),
                1 => finding.analyze("NOT_AFFECTED", false),
                2 => finding.analyze("NOT_SET", true),
                _ => {
                    let other = if finding.truth.severity == "low" { ("HIGH", "high") } else { ("LOW", "low") };
                    finding.edit(|body| body["vulnerability"]["severity"] = json!(other.0));
                    finding.truth.severity = other.1;
                }
            }
        }
        for (p, f) in take(share(change.vanished)) {
            self.projects[p].findings[f].listed = false;
        }
        let last = self.projects.iter().rposition(Project::is_record).unwrap_or(0);
        let before = self.projects[last].findings.len();
        self.fill(last, share(change.new), step);
        // Those that are closed already when they appear are of no interest to a step.
        self.projects[last].findings.truncate(before + share(change.new));
    }

    /// Adds this many open findings, and 3 % more that somebody has closed already.
    pub(super) fn fill(&mut self, project: usize, open: usize, step: u64) {
        let uuid = self.projects[project].uuid.clone();
        let closed = open * 3 / 100;
        for number in 0..open + closed {
            let mut seed = Seed::of(&[self.seed, 2, project as u64, step, number as u64]);
            let vulnerability = &self.vulnerabilities[seed.below(self.vulnerabilities.len())];
            let mut finding = finding(&mut seed, &uuid, vulnerability);
            if number >= open {
                finding.analyze(["FALSE_POSITIVE", "NOT_AFFECTED", "RESOLVED", "NOT_SET"][number % 4], number % 4 == 3);
            }
            finding.ever_open = finding.truth.state == "open";
            self.projects[project].findings.push(finding);
        }
    }
}

pub(super) fn vulnerability(seed: &mut Seed, number: usize) -> Value {
    let id = format!("CVE-2026-{}", 10_000 + number);
    let (severity, score) =
        *[("CRITICAL", 9.8), ("HIGH", 8.1), ("HIGH", 7.5), ("MEDIUM", 5.3), ("MEDIUM", 6.1), ("LOW", 3.1), ("INFO", 0.0)]
            .get(seed.below(7))
            .expect("seven");
    let mut body = json!({
        "uuid": seed.uuid(), "source": "NVD", "vulnId": id, "title": format!("Weakness {number} in a parser"),
        "description": seed.prose(500), "recommendation": "Upgrade to the fixed release.",
        "references": format!("* [https://nvd.example/{id}](https://nvd.example/{id})"),
        "severity": severity, "cvssV3BaseScore": score, "epssScore": 0.0042, "epssPercentile": 0.61,
        "cwes": [{ "cweId": 79 + number % 400, "name": "A weakness" }], "published": 1_763_000_000_000_u64,
        "aliases": [{ "cveId": id, "ghsaId": format!("GHSA-{number:04}-aaaa-bbbb") }],
    });
    // Some are unassigned: with a score of version 2, with one of version 3, or with none at all.
    match number % 25 {
        3 => {
            body["severity"] = json!("UNASSIGNED");
            body["cvssV2BaseScore"] = json!(9.3);
            body.as_object_mut().expect("an object").remove("cvssV3BaseScore");
        }
        7 => {
            body["severity"] = json!("UNASSIGNED");
            body["cvssV3BaseScore"] = json!(9.1);
        }
        11 => {
            body.as_object_mut().expect("an object").remove("cvssV3BaseScore");
            body["severity"] = json!("UNASSIGNED");
        }
        // One that no list of vulnerabilities has, nor of weaknesses; and one that another id stands for, too.
        13 => {
            body["vulnId"] = json!(format!("INT-{number}"));
            body["source"] = json!("INTERNAL");
            body["cwes"] = json!([]);
            body["aliases"] = json!([]);
        }
        17 => {
            body["vulnId"] = json!(format!("GHSA-{number:04}-aaaa-bbbb"));
            body["source"] = json!("GITHUB");
            body["aliases"] = json!([{ "cveId": format!("CVE-2026-{}", 10_000 + number - 1), "ghsaId": body["vulnId"] }]);
        }
        _ => {}
    }
    body
}

/// Now, as the tool writes it.
pub(super) fn milliseconds() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The severity that the documentation gives to a vulnerability of this simulator.
pub(super) fn severity(vulnerability: &Value) -> &'static str {
    match (vulnerability["severity"].as_str(), vulnerability["cvssV2BaseScore"].as_f64(), vulnerability["cvssV3BaseScore"].as_f64()) {
        (Some("CRITICAL"), ..) => "critical",
        (Some("HIGH"), ..) => "high",
        (Some("MEDIUM"), ..) => "medium",
        (Some("LOW"), ..) => "low",
        (Some("INFO"), ..) => "info",
        // 9.3 of version 2 is high: that version knows no critical. 9.1 of version 3 is critical.
        (_, Some(_), _) => "high",
        (_, _, Some(_)) => "critical",
        _ => "unknown",
    }
}

pub(super) fn finding(seed: &mut Seed, project: &str, vulnerability: &Value) -> Finding {
    let component = seed.uuid();
    let name = format!("{}-{}", seed.pick(&["parser", "codec", "http", "xml", "yaml", "log", "crypto", "zip"]), seed.below(900));
    let matrix = format!("{project}:{component}:{}", vulnerability["uuid"].as_str().unwrap_or_default());
    let body = json!({
        "component": {
            "uuid": component, "name": name, "group": "org.example", "version": "2.14.1",
            "purl": format!("pkg:maven/org.example/{name}@2.14.1"), "project": project, "latestVersion": "3.0.0",
        },
        "vulnerability": vulnerability,
        "analysis": { "state": "NOT_SET", "isSuppressed": false },
        "attribution": { "analyzerIdentity": "INTERNAL_ANALYZER", "attributedOn": 1_763_500_000_000_u64 + seed.next() % 1_000_000 },
        "matrix": matrix,
    });
    let truth = Truth { record: project.to_owned(), severity: severity(vulnerability), state: "open" };
    Finding { matrix, body: body.to_string(), truth, ever_open: true, listed: true }
}

impl Finding {
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        edit(&mut body);
        self.body = body.to_string();
    }

    /// The same finding of the same package, whose component has another id: nobody has analysed it yet.
    pub(super) fn of_another_component(&self, seed: &mut Seed) -> Finding {
        let (mut body, component): (Value, _) = (serde_json::from_str(&self.body).expect("our own JSON"), seed.uuid());
        body["component"]["uuid"] = json!(component);
        let parts: Vec<&str> = self.matrix.split(':').collect();
        let matrix = format!("{}:{component}:{}", parts[0], parts[2]);
        body["matrix"] = json!(matrix);
        let mut finding = Finding { matrix, body: body.to_string(), truth: self.truth.clone(), ever_open: true, listed: true };
        finding.analyze("NOT_SET", false);
        finding
    }

    pub(super) fn analyze(&mut self, state: &str, suppressed: bool) {
        self.edit(|body| body["analysis"] = json!({ "state": state, "isSuppressed": suppressed }));
        self.truth.state = match (state, suppressed) {
            ("FALSE_POSITIVE" | "NOT_AFFECTED", _) => "false_positive",
            ("RESOLVED", _) => "fixed",
            (_, true) => "risk_accepted",
            _ => "open",
        };
    }
}
