//! What the simulated deployment holds, and how it moves.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::body::{Kind, advisory, code, date, moment, rule, secret, supply_chain};
use crate::{
    Change, Size,
    seed::{Seed, share, spread},
};

/// 2024-03-01: the first finding of all.
const BEGINNING: i64 = 1_709_251_200_000_000;

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    step: u64,
    next_id: u64,
    rules: Vec<Value>,
    advisories: Vec<Value>,
    pub(super) projects: Vec<Project>,
    pub(super) findings: Vec<Finding>,
    /// One list per kind, in the reverse of the order in which they are listed.
    pub(super) lists: [Vec<Row>; 4],
}

#[derive(Debug)]
pub(super) struct Project {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) body: Value,
}

/// A finding on one branch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) finding: usize,
    pub(super) id: u64,
    pub(super) branch: usize,
    /// Whether it is the one that stands for all branches.
    pub(super) first: bool,
}

#[derive(Debug)]
pub(super) struct Finding {
    pub(super) project: usize,
    pub(super) kind: Kind,
    id: u64,
    /// The object as text, without its opening brace, and without `id` and `ref`, which differ from branch to branch.
    pub(super) rest: String,
    pub(super) severity: &'static str,
    pub(super) status: &'static str,
    pub(super) since: i64,
    pub(super) ticket: bool,
    pub(super) state: &'static str,
    /// Whether a client that synced after every step has met it open.
    pub(super) ever_open: bool,
    pub(super) listed: bool,
}

impl World {
    pub(super) fn new(size: Size) -> Self {
        let mut seed = Seed::of(&[size.seed, 61]);
        let mut world = World {
            seed: size.seed,
            step: 0,
            next_id: 73_530_000,
            rules: (0..120).map(|number| rule(&mut seed, number)).collect(),
            advisories: (0..200).map(|number| advisory(&mut seed, number)).collect(),
            projects: Vec::new(),
            findings: Vec::new(),
            lists: Default::default(),
        };
        let records = size.records.max(3);
        for (number, findings) in spread(size.findings, records).enumerate() {
            world.projects.push(Project::new(number));
            world.fill(number, findings, None);
        }
        let World { lists, findings, .. } = &mut world;
        for list in &mut lists[..3] {
            // Newest first, as it is read from the end; the rows of one finding stay together.
            list.sort_by_key(|row| (findings[row.finding].since, Reverse(row.id)));
        }
        world
    }

    /// Adds this many open findings; at the beginning (no time) also 4 % that somebody has closed already.
    fn fill(&mut self, project: usize, open: usize, at: Option<Timestamp>) {
        let closed = if at.is_none() { open * 4 / 100 } else { 0 };
        for number in 0..open + closed {
            let mut seed = Seed::of(&[self.seed, 62, project as u64, self.step, number as u64]);
            let kind = match (17 * number + project) % 20 {
                0..=9 => Kind::Sast,
                10..=16 => Kind::Sca,
                17 => Kind::AiSast,
                _ => Kind::Secrets,
            };
            let since =
                at.map_or_else(|| BEGINNING + i64::try_from(seed.below(40_000_000)).unwrap_or(0) * 1_000_000, |at| at.as_microsecond());
            let id = self.next_id;
            self.next_id += 3;
            let mut finding = self.finding(&mut seed, project, kind, id, since);
            let now = at.unwrap_or_else(|| moment(since + 86_400_000_000));
            if number >= open {
                finding.close(number - open, now);
            } else if kind != Kind::Secrets && number % 9 == 4 {
                finding.triage(if number % 2 == 0 { "reviewing" } else { "fixing" }, None, now);
            } else if kind == Kind::Secrets && seed.chance(4.0) {
                finding.triage("unknown", None, now);
            }
            finding.ever_open = finding.state == "open";
            let index = self.findings.len();
            self.findings.push(finding);
            let list = &mut self.lists[kind as usize];
            // A few are found in a pull request only, a third of them on more branches than one.
            let branch = if seed.chance(4.0) { 2 } else { 0 };
            list.push(Row { finding: index, id, branch, first: true });
            if kind != Kind::Secrets && branch == 0 && seed.chance(33.0) {
                list.push(Row { finding: index, id: id + 1, branch: 1, first: false });
                if seed.chance(30.0) {
                    list.push(Row { finding: index, id: id + 2, branch: 2, first: false });
                }
            }
        }
    }

    fn finding(&self, seed: &mut Seed, project: usize, kind: Kind, id: u64, since: i64) -> Finding {
        let dice = seed.below(100_000);
        let severity = *["critical", "high", "high", "medium", "medium", "low"].get(seed.below(6)).expect("six");
        let repository = &self.projects[project].body;
        let (name, url) = (&self.projects[project].name, &repository["url"]);
        let line = 1 + seed.below(900);
        let file =
            format!("src/{}/{}_{}.py", seed.pick(&["api", "core", "jobs", "web"]), seed.pick(&["views", "models", "util"]), id % 997);
        let blob = format!("https://github.com/{name}/blob/{:016x}{:016x}{:08x}", seed.next(), seed.next(), seed.next() >> 32);
        let mut finding = Finding {
            project,
            kind,
            id,
            rest: String::new(),
            severity,
            status: "open",
            since,
            ticket: kind != Kind::Secrets && dice.is_multiple_of(20),
            state: "open",
            ever_open: true,
            listed: true,
        };
        if kind == Kind::Secrets {
            finding.rest =
                text(&secret(seed, finding.id, severity, name, url, &format!("{file}:{line}"), &format!("{blob}/{file}#L{line}"), since));
            return finding;
        }
        let advisory = &self.advisories[seed.below(self.advisories.len())];
        let rule = if kind == Kind::Sca { &advisory["rule"] } else { &self.rules[seed.below(self.rules.len())] };
        let spaced = dice.is_multiple_of(2);
        let ticket = json!({ "external_slug": format!("OPS-{}", id % 900), "url": format!("https://acme.atlassian.example/browse/OPS-{}", id % 900), "id": id % 900, "linked_issue_ids": [id] });
        let mut body = json!({
            "first_seen_scan_id": 30_000_000 + id % 100_000, "syntactic_id": format!("{:016x}{:016x}", seed.next(), seed.next()),
            "match_based_id": format!("{:016x}{:016x}{}", seed.next(), seed.next(), if kind == Kind::Sca { "" } else { "_0" }),
            "external_ticket": finding.ticket.then_some(ticket), "review_comments": [],
            "repository": { "name": name, "url": url }, "line_of_code_url": format!("{blob}/{file}#L{line}"),
            "triage_state": "untriaged", "state": "unresolved", "status": "open", "severity": severity, "confidence": rule["confidence"],
            "categories": ["security"], "created_at": date(since, spaced), "relevant_since": date(since, spaced),
            "rule_name": rule["name"], "rule_message": rule["message"], "rule": rule,
            "location": { "file_path": file, "line": line, "column": 8, "end_line": line + dice % 5, "end_column": 42 },
            "triaged_at": null, "triage_comment": null, "triage_reason": null, "state_updated_at": null,
        });
        match kind {
            Kind::Sca => supply_chain(&mut body, advisory, dice, &file, line, &blob),
            _ => code(&mut body, seed, kind, dice),
        }
        finding.make_odd(&mut body, dice);
        finding.rest = text(&body);
        finding
    }

    pub(super) fn step(&mut self, change: &Change) {
        self.step += 1;
        let now = Timestamp::now();
        let mut open: Vec<usize> =
            self.findings.iter().enumerate().filter(|(_, f)| f.listed && f.state == "open").map(|(index, _)| index).collect();
        let total = open.len();
        let mut seed = Seed::of(&[self.seed, 63, self.step]);
        let share = |percent| share(total, percent);
        let mut take = |count| seed.draw(&mut open, count);
        for index in take(share(change.fixed)) {
            self.findings[index].triage("fixed", None, now);
        }
        for (n, index) in take(share(change.changed)).into_iter().enumerate() {
            let finding = &mut self.findings[index];
            match n % 12 {
                0..=1 => finding.regrade(),
                2 if finding.kind != Kind::Secrets => finding.triage("reviewing", None, now),
                3 if finding.kind != Kind::Secrets => finding.triage("fixing", None, now),
                n => finding.close(2 + n % 7, now),
            }
        }
        // A rule was disabled or a file deleted: such findings are not listed any more, and secrets say that they are removed.
        for index in take(share(change.vanished)) {
            let finding = &mut self.findings[index];
            if finding.kind == Kind::Secrets { finding.triage("removed", None, now) } else { finding.listed = false }
        }
        let World { lists, findings, .. } = self;
        lists.iter_mut().for_each(|list| list.retain(|row| findings[row.finding].listed));
        let projects = self.projects.len();
        let (first, last) = (share(change.new) / 3, share(change.new) - share(change.new) / 3);
        self.fill(projects - 2, first, Some(now));
        self.fill(projects - 1, last, Some(now));
    }

    pub(super) fn rename(&mut self, project: usize, name: &str) -> u64 {
        let World { projects, findings, .. } = self;
        projects[project].rename(name);
        let (name, url) = (projects[project].name.clone(), projects[project].body["url"].clone());
        for finding in findings.iter_mut().filter(|finding| finding.project == project) {
            finding.edit(|body| {
                body["repository"]["name"] = json!(name);
                body["repository"]["url"] = url.clone();
            });
        }
        projects[project].id
    }

    pub(super) fn reintroduce(&mut self) -> Option<String> {
        let World { findings, lists, .. } = self;
        let index = findings.iter().position(|finding| finding.kind != Kind::Secrets && finding.status == "fixed" && finding.listed)?;
        let (now, finding) = (Timestamp::now(), &mut findings[index]);
        finding.triage("open", None, now);
        finding.since = now.as_microsecond();
        finding.edit(|body| {
            body["triage_state"] = json!("reopened");
            body["relevant_since"] = json!(date(now.as_microsecond(), false));
        });
        finding.ever_open = true;
        let list = &mut lists[finding.kind as usize];
        let (moved, kept): (Vec<Row>, Vec<Row>) = list.iter().partition(|row| row.finding == index);
        *list = kept;
        list.extend(moved);
        Some(finding.key())
    }
}

impl Project {
    fn new(number: usize) -> Self {
        const NAMES: &[&str] = &["shop-api", "billing", "crm", "mobile-gateway", "warehouse", "identity", "reports"];
        let name = format!("acme/{}-{}", NAMES[number % NAMES.len()], number / NAMES.len());
        let id = 1_300_000 + 17 * number as u64;
        let mut body = json!({
            "id": id, "name": "", "tags": ["team-a"], "created_at": "2023-11-18 23:28:12.391807+00:00",
            "latest_scan_at": "2026-01-13 20:51:51.449081+00:00", "primary_branch": "refs/heads/main", "default_branch": "refs/heads/main",
        });
        let object = body.as_object_mut().expect("an object");
        match number % 5 {
            // Onboarded, but never scanned.
            0 if number == 0 => {
                object.remove("latest_scan_at");
                object.remove("primary_branch");
            }
            // The specification says that the list is a text, and shows a list.
            2 => drop(object.insert("tags".into(), json!("team-b"))),
            3 => drop(object.insert("tags".into(), json!([]))),
            _ => {}
        }
        let mut project = Project { id, name, body };
        let name = project.name.clone();
        project.rename(&name);
        if number % 5 == 4 {
            // Scanned from somebody's machine: there is no place to link to.
            project.body.as_object_mut().expect("an object").remove("url");
        }
        project
    }

    fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.body["name"] = json!(name);
        self.body["url"] = json!(format!("https://github.com/{name}"));
    }
}

impl Finding {
    /// Gives a few findings what a specification allows and a client seldom meets.
    fn make_odd(&mut self, body: &mut Value, dice: usize) {
        if dice % 40 == 1 {
            // The number of a note is a text in the specification and a number in what it shows.
            body["review_comments"] = json!([{ "external_discussion_id": "af04762b69acfb74c8f9", "external_note_id": 123_523 }]);
        }
        if self.kind == Kind::Sast && dice % 100 == 30 {
            // Every member is optional in the specification.
            body.as_object_mut().expect("an object").remove("severity");
            self.severity = "unknown";
        }
        if dice % 60 == 7 {
            body.as_object_mut().expect("an object").remove("rule_message");
            body["triage_comment"] = json!("</textarea><script>alert(document.cookie)</script>\u{0}\u{7}\u{1b}[31m \u{202e}txt.exe");
        }
    }

    pub(super) fn key(&self) -> String {
        let kind = match self.kind {
            Kind::Sast | Kind::AiSast => "sast",
            Kind::Sca => "sca",
            Kind::Secrets => "secrets",
        };
        format!("{kind}:{}", self.id)
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&format!("{{{}", self.rest)).expect("our own JSON");
        edit(&mut body);
        self.rest = text(&body);
    }

    /// Gives it a status, and for `ignored` the reason.
    fn triage(&mut self, status: &'static str, reason: Option<&str>, now: Timestamp) {
        let now = now.as_microsecond();
        if self.kind == Kind::Secrets {
            self.edit(|body| {
                body["status"] = json!(format!("FINDING_STATUS_{}", status.to_uppercase()));
                body["updatedAt"] = json!(date(now, false));
            });
        } else {
            self.edit(|body| {
                body["status"] = json!(status);
                body["state"] = json!(match status {
                    "fixed" => "fixed",
                    "ignored" | "provisionally_ignored" => "muted",
                    _ => "unresolved",
                });
                if matches!(status, "fixed" | "open") {
                    body["state_updated_at"] = json!(date(now, false));
                } else {
                    body["triage_state"] = json!(status);
                    body["triaged_at"] = json!(date(now, true));
                    body["triage_reason"] = json!(reason);
                }
            });
        }
        self.status = status;
        self.state = match (status, reason) {
            ("fixed", _) => "fixed",
            // The same event as in the other lists, which leave such a finding out.
            ("removed", _) => "gone",
            ("provisionally_ignored", _) | ("ignored", Some("duplicate")) => "suppressed",
            ("ignored", Some("false_positive")) => "false_positive",
            ("ignored", _) => "risk_accepted",
            _ => "open",
        };
    }

    /// Closes it in one of the ways there are.
    fn close(&mut self, way: usize, now: Timestamp) {
        let reasons = [Some("false_positive"), Some("acceptable_risk"), Some("duplicate"), Some("no_time"), Some("no_triage_reason"), None];
        match (way % 9, self.kind) {
            (0, _) => self.triage("fixed", None, now),
            (1, Kind::Secrets) => self.triage("removed", None, now),
            (1 | 2, _) => self.triage("provisionally_ignored", None, now),
            (way, Kind::Secrets) if way > 2 => self.triage("ignored", None, now),
            (way, _) => self.triage("ignored", reasons[way % 6], now),
        }
    }

    fn regrade(&mut self) {
        let severity = if self.severity == "low" { "high" } else { "low" };
        let word = if self.kind == Kind::Secrets { format!("SEVERITY_{}", severity.to_uppercase()) } else { severity.to_owned() };
        self.edit(|body| body["severity"] = json!(word));
        self.severity = severity;
    }
}

/// The object without its opening brace.
fn text(body: &Value) -> String {
    let mut text = body.to_string();
    text.remove(0);
    text
}
