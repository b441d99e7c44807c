//! Semgrep AppSec Platform, API v1: findings by number of page (Code, Supply Chain, AI), secrets by cursor.
//!
//! Lists say neither a total nor whether more follows; `/findings` knows the deployment by its slug, `/secrets` by its number. Findings come newest
//! first by `relevant_since`, so a new one shifts all pages. Findings removed by Semgrep itself are not listed any more;
//! secrets say `FINDING_STATUS_REMOVED`. What the documentation leaves open is decided so: values outside the documented
//! ranges and words get 400, a `limit` of secrets above 500 is cut to 500, documented filters that are not simulated get
//! 400 (so that nobody believes they worked), undocumented parameters are ignored.
//! Expired cursors exist for secrets only.

use std::{
    cmp::Reverse,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Change, Fault, Faults, Oracle, Size, Truth, Vendor,
    seed::{Seed, share, spread},
};

const TOKEN: &str = "sim0semgrep0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const DEPLOYMENT: u64 = 4120;
const SLUG: &str = "acme-corp";
/// Where paging silently ended until June 2026.
const WINDOW: usize = 50_000;
/// Branches of a finding; the first is the default one of every project.
const BRANCHES: [&str; 3] = ["main", "develop", "refs/pull/148/merge"];
/// 2024-03-01: the first finding of all.
const BEGINNING: i64 = 1_709_251_200_000_000;

/// A simulated deployment.
#[derive(Debug)]
pub struct Semgrep {
    scope: bool,
    /// Whether it is of the release before June 2026.
    lags: bool,
    keyed_by_name: bool,
    world: Mutex<World>,
}

#[derive(Debug)]
struct World {
    seed: u64,
    step: u64,
    next_id: u64,
    rules: Vec<Value>,
    advisories: Vec<Value>,
    projects: Vec<Project>,
    findings: Vec<Finding>,
    /// One list per kind, in the reverse of the order in which they are listed.
    lists: [Vec<Row>; 4],
}

#[derive(Debug)]
struct Project {
    id: u64,
    name: String,
    body: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sast,
    Sca,
    AiSast,
    Secrets,
}

/// A finding on one branch.
#[derive(Clone, Copy, Debug)]
struct Row {
    finding: usize,
    id: u64,
    branch: usize,
    /// Whether it is the one that stands for all branches.
    first: bool,
}

#[derive(Debug)]
struct Finding {
    project: usize,
    kind: Kind,
    id: u64,
    /// The object as text, without its opening brace, and without `id` and `ref`, which differ from branch to branch.
    rest: String,
    severity: &'static str,
    status: &'static str,
    since: i64,
    ticket: bool,
    state: &'static str,
    /// Whether a client that synced after every step has met it open.
    ever_open: bool,
    listed: bool,
}

impl Semgrep {
    /// A deployment on semgrep.dev. One project was never scanned, one has five findings; the others share the rest.
    pub fn new(size: Size) -> Self {
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
        Semgrep { scope: true, lags: false, keyed_by_name: false, world: Mutex::new(world) }
    }

    /// Its token was made without the Web API scope.
    #[must_use]
    pub fn without_scope(mut self) -> Self {
        self.scope = false;
        self
    }

    /// Makes it a dedicated tenant of the release of May 2026: the listing of findings silently ends after 50,000 rows, and
    /// findings with a ticket are missing from it.
    #[must_use]
    pub fn may_2026(mut self) -> Self {
        self.lags = true;
        self
    }

    /// The oracle's records have their names for keys, as findings refer to them, instead of their numbers.
    #[must_use]
    pub fn keyed_by_name(mut self) -> Self {
        self.keyed_by_name = true;
        self
    }

    /// Renames a project's repository; returns its number. Everything that names it says the new name from now on.
    pub fn rename(&self, project: usize, name: &str) -> u64 {
        let mut world = self.world();
        let World { projects, findings, .. } = &mut *world;
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

    /// Brings back the first finding that was fixed: it is open again, and listed first, as `relevant_since` is now. Its key.
    pub fn reintroduce(&self) -> Option<String> {
        let mut world = self.world();
        let World { findings, lists, .. } = &mut *world;
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

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
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

impl World {
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
        if dice % 40 == 1 {
            // The number of a note is a text in the specification and a number in what it shows.
            body["review_comments"] = json!([{ "external_discussion_id": "af04762b69acfb74c8f9", "external_note_id": 123_523 }]);
        }
        match kind {
            Kind::Sca => supply_chain(&mut body, advisory, dice, &file, line, &blob),
            _ => code(&mut body, seed, kind, dice),
        }
        if kind == Kind::Sast && dice % 100 == 30 {
            // Every member is optional in the specification.
            body.as_object_mut().expect("an object").remove("severity");
            finding.severity = "unknown";
        }
        if dice % 60 == 7 {
            body.as_object_mut().expect("an object").remove("rule_message");
            body["triage_comment"] = json!("</textarea><script>alert(document.cookie)</script>\u{0}\u{7}\u{1b}[31m \u{202e}txt.exe");
        }
        finding.rest = text(&body);
        finding
    }
}

fn one<'a>(words: &[&'a str], number: usize) -> &'a str {
    words[number % words.len()]
}

/// The object without its opening brace.
fn text(body: &Value) -> String {
    let mut text = body.to_string();
    text.remove(0);
    text
}

fn moment(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).expect("a time of this century")
}

/// Both forms of a time that the documentation shows.
fn date(micros: i64, spaced: bool) -> String {
    moment(micros).strftime(if spaced { "%Y-%m-%d %H:%M:%S%.6f+00:00" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" }).to_string()
}

fn rule(seed: &mut Seed, number: usize) -> Value {
    const CLASSES: &[(&str, &str)] = &[
        ("SQL Injection", "CWE-89: Improper Neutralization of Special Elements used in an SQL Command ('SQL Injection')"),
        ("Cross-Site-Scripting (XSS)", "CWE-79: Improper Neutralization of Input During Web Page Generation ('Cross-site Scripting')"),
        ("Mishandled Sensitive Information", "CWE-319: Cleartext Transmission of Sensitive Information"),
        ("Path Traversal", "CWE-22: Improper Limitation of a Pathname to a Restricted Directory ('Path Traversal')"),
    ];
    let (class, cwe) = CLASSES[number % CLASSES.len()];
    let name = format!("python.django.security.audit.rule-{number}.rule-{number}");
    let mut message = seed.prose(260);
    if number % 11 == 3 {
        message.push_str("\n\n<script>alert('rule')</script> & <b onmouseover=alert(1)>`ref`</b>\u{7}\u{1b}[2J");
    }
    json!({
        "name": name, "message": message, "confidence": one(&["low", "medium", "high"], number), "category": "security", "subcategories": ["vuln"],
        "vulnerability_classes": if number % 13 == 5 { json!([]) } else { json!([class]) }, "cwe_names": if number % 17 == 6 { json!([]) } else { json!([cwe]) },
        "owasp_names": ["A03:2021 - Injection"],
    })
}

/// A weakness of a package: the rule that finds it and what the finding says of it.
fn advisory(seed: &mut Seed, number: usize) -> Value {
    const PACKAGES: &[(&str, &str)] = &[
        ("npm", "moment"),
        ("npm", "@angular/core"),
        ("pypi", "requests"),
        ("gomod", "golang.org/x/net"),
        ("cargo", "tokio"),
        ("maven", "org.apache.logging.log4j:log4j-core"),
        ("gem", "rails"),
        ("composer", "symfony/http-kernel"),
        ("nuget", "Newtonsoft.Json"),
        ("pub", "dio"),
        ("swiftpm", "github.com/vapor/vapor"),
        ("hex", "plug"),
        ("no_package_manager", "openssl"),
    ];
    let (ecosystem, package) = PACKAGES[number % PACKAGES.len()];
    let identifier = match number % 12 {
        3 => json!(format!("GHSA-{number:04}-abcd-efgh")),
        5 => json!(format!("MAL-2026-{}", 1000 + number)),
        7 => json!(format!("UNKNOWN-2026-{}", 1000 + number)),
        9 => Value::Null,
        _ => json!(format!("CVE-2026-{}", 20_000 + number)),
    };
    let reachability = [
        json!("reachable"),
        json!("unreachable"),
        json!("always reachable"),
        json!("conditionally reachable"),
        json!("no reachability analysis"),
        Value::Null,
    ];
    json!({
        "rule": {
            "name": format!("ssc-{}", seed.uuid()), "message": seed.prose(260), "confidence": "high", "category": "security", "subcategories": [],
            "vulnerability_classes": ["Denial-of-Service (DoS)"],
            "cwe_names": ["CWE-1333: Inefficient Regular Expression Complexity", "CWE-400: Uncontrolled Resource Consumption"],
            "owasp_names": ["A06:2021 - Vulnerable and Outdated Components"],
        },
        "identifier": identifier, "ecosystem": ecosystem, "package": package, "is_malicious": number % 12 == 5,
        "reachability": reachability[number % 6], "transitivity": one(&["direct", "transitive", "unknown"], number),
    })
}

fn supply_chain(body: &mut Value, advisory: &Value, dice: usize, file: &str, line: usize, blob: &str) {
    let conditional = advisory["reachability"] == json!("conditionally reachable");
    body["vulnerability_identifier"] = advisory["identifier"].clone();
    body["reachability"] = advisory["reachability"].clone();
    body["reachable_condition"] = if conditional { json!("When the locale comes from the user.") } else { Value::Null };
    body["found_dependency"] = json!({
        "package": advisory["package"], "version": format!("2.{}.2", dice % 30), "ecosystem": advisory["ecosystem"],
        "transitivity": advisory["transitivity"],
        "lockfile_line_url": if dice % 9 == 2 { Value::Null } else { json!(format!("{blob}/package-lock.json#L{}", 100 + line)) },
    });
    body["fix_recommendations"] = if dice % 7 == 2 { json!([]) } else { json!([{ "package": advisory["package"], "version": "3.0.4" }]) };
    body["is_malicious"] = advisory["is_malicious"].clone();
    body["epss_score"] = json!({ "score": 0.0123, "percentile": 0.84 });
    // The place of use has one shape in recordings and the other in the specification, and often there is none.
    body["usage"] = match dice % 3 {
        0 => Value::Null,
        1 => {
            json!({ "location": { "path": file, "start_line": line, "start_col": 37, "end_line": line, "end_col": 62, "url": format!("{blob}/{file}#L{line}") }, "external_ticket": null })
        }
        _ => {
            json!({ "location": { "file_path": file, "line": line, "column": 37, "end_line": line, "end_column": 62 }, "external_ticket": null })
        }
    };
    if dice.is_multiple_of(4) {
        body.as_object_mut().expect("an object").remove("location");
    }
}

fn code(body: &mut Value, seed: &mut Seed, kind: Kind, dice: usize) {
    body["sourcing_policy"] = json!({ "id": 120, "name": "Default Policy", "slug": "default-policy" });
    match dice % 4 {
        0 => {
            body["assistant"] = json!({
                "autofix": { "fix_code": "cookie.setHttpOnly(true);\nresponse.addCookie(cookie);", "explanation": "" },
                "guidance": { "summary": "Use the template engine.", "instructions": "1. Install it.\n2. Replace `<h2>` + name by a template." },
                "autotriage": { "verdict": "true_positive", "reason": "The value comes from the request." },
                "component": { "tag": "user data", "risk": "high" },
                "rule_explanation": { "summary": "Markup from a user.", "explanation": seed.prose(120) },
            });
        }
        1 => body["assistant"] = json!({}),
        _ => {}
    }
    if dice % 50 == 9 {
        body["click_to_fix_prs"] = json!([{ "url": "https://github.com/acme/x/pull/9", "created_at": "2026-05-01T00:00:00Z" }]);
    }
    if kind == Kind::AiSast {
        body["ai_impact"] = json!(seed.prose(160));
        body.as_object_mut().expect("an object").remove("categories");
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one object")]
fn secret(seed: &mut Seed, id: u64, severity: &str, name: &str, url: &Value, path: &str, link: &str, since: i64) -> Value {
    let dice = seed.below(10_000);
    let state = one(&["CONFIRMED_VALID", "NO_VALIDATOR", "VALIDATION_ERROR", "CONFIRMED_INVALID"], seed.below(4));
    let (branch, link_of_branch) = if dice.is_multiple_of(4) { (BRANCHES[2], "pull/148") } else { (BRANCHES[0], "tree/main") };
    let mut body = json!({
        "id": id.to_string(), "ref": branch, "refUrl": format!("https://github.com/{name}/{link_of_branch}"),
        "type": seed.pick(&["OpenAI", "Heroku", "AWS", "Generic Secret", "<img src=x onerror=alert(1)>"]),
        "findingPath": path, "findingPathUrl": link, "mode": one(&["MODE_MONITOR", "MODE_COMMENT", "MODE_BLOCK", "MODE_DISABLED"], dice),
        "repository": {
            "name": name, "url": url, "scmType": "SCM_TYPE_GITHUB",
            "visibility": one(&["REPOSITORY_VISIBILITY_PRIVATE", "REPOSITORY_VISIBILITY_PUBLIC", "REPOSITORY_VISIBILITY_UNKNOWN"], dice),
        },
        "reviewComments": [{ "externalDiscussionId": "af0433345acfb74c8f9", "externalNoteId": "5678" }], "ruleHashId": "lBU41LA",
        "severity": format!("SEVERITY_{}", severity.to_uppercase()), "confidence": "CONFIDENCE_HIGH", "status": "FINDING_STATUS_OPEN",
        "validationState": format!("VALIDATION_STATE_{state}"), "createdAt": date(since, false), "updatedAt": date(since, false),
    });
    if dice % 6 == 1 {
        body["historicalInfo"] = json!({ "gitCommit": "6ad16b240d4b6ae5bd6e326dd71053c21344e311", "gitBlob": "e2b6d5ca", "gitCommitTimestamp": date(since, false) });
    }
    if dice % 8 == 3 {
        body["autotriage"] = json!({ "verdict": "VERDICT_TRUE_POSITIVE", "reason": "A key of the payment provider." });
    }
    body
}

impl Finding {
    fn key(&self) -> String {
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

impl Vendor for Semgrep {
    fn id(&self) -> &'static str {
        "semgrep"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let state = Server { tool: self, faults };
        Router::new()
            .route("/api/v1/deployments", get(deployments))
            .route("/api/v1/deployments/{deployment}/projects", get(projects))
            .route("/api/v1/deployments/{deployment}/findings", get(findings))
            .route("/api/v1/deployments/{deployment}/secrets", get(secrets))
            .route_layer(from_fn_with_state(state.clone(), guard))
            .route("/api/v1/ping", get(|| std::future::ready("pong")))
            .fallback(|request: Request| std::future::ready(unknown(request.uri().path())))
            .with_state(state)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            // Nothing is said of a missing scope: the path does not exist for such a token.
            Fault::Forbidden => not_found(),
            _ => (StatusCode::UNAUTHORIZED, Json(json!({ "error": "Unauthorized: invalid API token" }))).into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", TOKEN.to_owned())]
    }

    fn text_member(&self) -> &'static str {
        "message"
    }

    fn filters(&self) -> &'static [&'static str] {
        &["issue_type", "severities", "status", "ref"]
    }

    fn step(&self, change: &Change) {
        let mut guard = self.world();
        let world = &mut *guard;
        world.step += 1;
        let now = Timestamp::now();
        let mut open: Vec<usize> =
            world.findings.iter().enumerate().filter(|(_, f)| f.listed && f.state == "open").map(|(index, _)| index).collect();
        let total = open.len();
        let mut seed = Seed::of(&[world.seed, 63, world.step]);
        let share = |percent| share(total, percent);
        let mut take = |count| seed.draw(&mut open, count);
        for index in take(share(change.fixed)) {
            world.findings[index].triage("fixed", None, now);
        }
        for (n, index) in take(share(change.changed)).into_iter().enumerate() {
            let finding = &mut world.findings[index];
            match n % 12 {
                0..=1 => finding.regrade(),
                2 if finding.kind != Kind::Secrets => finding.triage("reviewing", None, now),
                3 if finding.kind != Kind::Secrets => finding.triage("fixing", None, now),
                n => finding.close(2 + n % 7, now),
            }
        }
        // A rule was disabled or a file deleted: such findings are not listed any more, and secrets say that they are removed.
        for index in take(share(change.vanished)) {
            let finding = &mut world.findings[index];
            if finding.kind == Kind::Secrets { finding.triage("removed", None, now) } else { finding.listed = false }
        }
        let World { lists, findings, .. } = &mut *world;
        lists.iter_mut().for_each(|list| list.retain(|row| findings[row.finding].listed));
        let projects = world.projects.len();
        let (first, last) = (share(change.new) / 3, share(change.new) - share(change.new) / 3);
        world.fill(projects - 2, first, Some(now));
        world.fill(projects - 1, last, Some(now));
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let key = |project: &Project| if self.keyed_by_name { project.name.clone() } else { project.id.to_string() };
        let mut oracle =
            Oracle { records: world.projects.iter().map(|project| (key(project), project.name.clone())).collect(), ..Oracle::default() };
        for finding in world.findings.iter().filter(|finding| finding.ever_open && !(self.lags && finding.ticket)) {
            let state = if finding.listed { finding.state } else { "gone" };
            let record = key(&world.projects[finding.project]);
            oracle.findings.insert(finding.key(), Truth { record, severity: finding.severity, state });
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Semgrep>,
    faults: Arc<Faults>,
}

async fn guard(State(server): State<Server>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    if bearer != Some(TOKEN) {
        return server.tool.refuse(&Fault::Unauthorized);
    }
    if !server.tool.scope {
        return server.tool.refuse(&Fault::Forbidden);
    }
    next.run(request).await
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "detail": "Not Found" }))).into_response()
}

/// Outside the API there is the web application.
fn unknown(path: &str) -> Response {
    if path.starts_with("/api/") {
        return not_found();
    }
    (StatusCode::NOT_FOUND, Html("<!doctype html><html><body><h1>Page not found</h1></body></html>")).into_response()
}

/// The parameters as they came: names may repeat.
struct Parameters(Vec<(String, String)>);

type Refused = Box<Response>;

impl Parameters {
    fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A list, whether the name repeats or one value has commas in it.
    fn list(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).flat_map(|(_, value)| value.split(',')).filter(|word| !word.is_empty()).collect()
    }

    fn number(&self, name: &str, otherwise: usize, least: usize, most: usize) -> Result<usize, Refused> {
        let Some(text) = self.one(name) else { return Ok(otherwise) };
        text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| bad(name, text))
    }

    fn word<'a>(&'a self, name: &str, known: &[&str]) -> Result<Option<&'a str>, Refused> {
        self.one(name).map(|word| if known.contains(&word) { Ok(word) } else { Err(bad(name, word)) }).transpose()
    }

    fn words<'a>(&'a self, name: &str, known: &[&str]) -> Result<Vec<&'a str>, Refused> {
        self.list(name).into_iter().map(|word| if known.contains(&word) { Ok(word) } else { Err(bad(name, word)) }).collect()
    }
}

fn bad(name: &str, value: &str) -> Refused {
    Box::new((StatusCode::BAD_REQUEST, Json(json!({ "message": format!("invalid value for {name}: {value:?}") }))).into_response())
}

async fn deployments(State(server): State<Server>) -> Json<Value> {
    if server.faults.take("GET /api/v1/deployments") == Some(Fault::NoRole) {
        return Json(json!({ "deployments": [] }));
    }
    let url = format!("https://semgrep.dev/api/v1/deployments/{SLUG}/findings");
    Json(json!({ "deployments": [{ "id": DEPLOYMENT, "name": "Acme Corp", "slug": SLUG, "findings": { "url": url } }] }))
}

async fn projects(State(server): State<Server>, Path(slug): Path<String>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let query = Parameters(query);
    let page = || -> Result<_, Refused> { Ok((query.number("page", 0, 0, usize::MAX)?, query.number("page_size", 100, 1, 100)?)) };
    let (page, size) = match page() {
        Ok(page) if slug == SLUG => page,
        Ok(_) => return not_found(),
        Err(refused) => return *refused,
    };
    let fault = server.faults.take("GET /api/v1/deployments/projects");
    let from = start(page.saturating_mul(size), size, fault.as_ref());
    let world = server.tool.world();
    let rows = world.projects.iter().skip(from).take(if fault == Some(Fault::NoRole) { 0 } else { size });
    Json(json!({ "projects": rows.map(|project| &project.body).collect::<Vec<_>>() })).into_response()
}

/// Where a page starts, with the faults that move it.
fn start(from: usize, size: usize, fault: Option<&Fault>) -> usize {
    match fault {
        Some(Fault::DuplicatePage) => from.saturating_sub(size),
        Some(Fault::ShiftedPage) if from > 0 => from + 1,
        _ => from,
    }
}

const STATUSES: &[&str] = &["open", "fixed", "ignored", "reviewing", "fixing", "provisionally_ignored"];
const SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];
/// Documented, but not simulated.
const OTHER_FILTERS: &[&str] = &[
    "triage_reasons",
    "policies",
    "rules",
    "categories",
    "confidence",
    "autotriage_verdict",
    "component_tags",
    "exposures",
    "transitivities",
    "is_malicious",
    "click_to_fix_pr_state",
];

struct Filter {
    kind: Kind,
    dedup: bool,
    page: usize,
    size: usize,
    since: i64,
    branch: Option<String>,
    status: Option<String>,
    severities: Vec<String>,
    /// Which projects are wanted, by index; `None` is all of them.
    projects: Option<Vec<bool>>,
}

impl Filter {
    fn read(query: &Parameters, world: &World) -> Result<Filter, Refused> {
        if let Some(name) = OTHER_FILTERS.iter().find(|name| query.one(name).is_some()) {
            return Err(bad(name, "not simulated"));
        }
        let kind = match query.word("issue_type", &["sast", "sca", "ai_sast"])? {
            Some("sca") => Kind::Sca,
            Some("ai_sast") => Kind::AiSast,
            _ => Kind::Sast,
        };
        let since = match query.one("since") {
            #[expect(clippy::cast_possible_truncation, reason = "microseconds since 1970 fit")]
            Some(text) => (text.parse::<f64>().map_err(|_| bad("since", text))? * 1e6) as i64,
            None => i64::MIN,
        };
        let (names, ids) = (query.list("repos"), query.list("repository_ids"));
        if let Some(id) = ids.iter().find(|id| id.parse::<u64>().is_err()) {
            return Err(bad("repository_ids", id));
        }
        let wanted = |project: &Project| {
            (names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(&project.name)))
                && (ids.is_empty() || ids.iter().any(|id| *id == project.id.to_string()))
        };
        let any = !names.is_empty() || !ids.is_empty();
        Ok(Filter {
            kind,
            dedup: query.word("dedup", &["true", "false"])? == Some("true"),
            page: query.number("page", 0, 0, usize::MAX)?,
            size: query.number("page_size", 100, 100, 3000)?,
            since,
            branch: query.one("ref").map(|branch| if branch == "_default" { BRANCHES[0] } else { branch }.to_owned()),
            status: query.word("status", STATUSES)?.map(str::to_owned),
            severities: query.words("severities", SEVERITIES)?.into_iter().map(str::to_owned).collect(),
            projects: any.then(|| world.projects.iter().map(wanted).collect()),
        })
    }

    fn fits(&self, row: &Row, finding: &Finding) -> bool {
        // A branch of its own has each finding once.
        (row.first || !self.dedup || self.branch.is_some())
            && finding.since >= self.since
            && self.branch.as_ref().is_none_or(|branch| branch == BRANCHES[row.branch])
            && self.status.as_ref().is_none_or(|status| status == finding.status)
            && (self.severities.is_empty() || self.severities.iter().any(|severity| severity == finding.severity))
            && self.projects.as_ref().is_none_or(|projects| projects[finding.project])
    }
}

async fn findings(State(server): State<Server>, Path(slug): Path<String>, Query(query): Query<Vec<(String, String)>>) -> Response {
    if slug != SLUG {
        return not_found();
    }
    let world = server.tool.world();
    let filter = match Filter::read(&Parameters(query), &world) {
        Ok(filter) => filter,
        Err(refused) => return *refused,
    };
    let fault = server.faults.take("GET /api/v1/deployments/findings");
    let from = start(filter.page.saturating_mul(filter.size), filter.size, fault.as_ref());
    let lags = server.tool.lags;
    let window = if lags { WINDOW } else { usize::MAX };
    let mut size = filter.size.min(window.saturating_sub(from));
    if fault == Some(Fault::NoRole) {
        size = 0;
    }
    let fitting = world.lists[filter.kind as usize].iter().rev().map(|row| (row, &world.findings[row.finding]));
    let fitting = fitting.filter(|(row, finding)| filter.fits(row, finding) && !(lags && finding.ticket));
    let page: Vec<_> = fitting.skip(from).take(size).map(|(row, finding)| (row.id, BRANCHES[row.branch], finding)).collect();
    let mut rows: Vec<String> =
        page.iter().map(|(id, branch, finding)| format!("{{\"id\":{id},\"ref\":\"{branch}\",{}", finding.rest)).collect();
    damage(&mut rows, page.iter().position(|(.., finding)| finding.ever_open && finding.state == "open"), fault.as_ref());
    answer(format!("{{\"findings\":[{}]}}", rows.join(",")))
}

/// What a fault does to the items of a page; `open` is an item of it that is open.
fn damage(rows: &mut [String], open: Option<usize>, fault: Option<&Fault>) {
    match (fault, open, rows.first_mut()) {
        (Some(Fault::BadItem), _, Some(first)) => "[1,2]".clone_into(first),
        (Some(Fault::UnknownEnum), Some(open), _) => {
            let mut body: Value = serde_json::from_str(&rows[open]).expect("our own JSON");
            let is_secret = body.get("validationState").is_some();
            body["severity"] = json!(if is_secret { "SEVERITY_APOCALYPTIC" } else { "apocalyptic" });
            body["status"] = json!(if is_secret { "FINDING_STATUS_PONDERING" } else { "pondering" });
            rows[open] = body.to_string();
        }
        _ => {}
    }
}

fn answer(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

const SECRET_STATUSES: &[&str] = &["UNSPECIFIED", "OPEN", "IGNORED", "FIXED", "REMOVED", "UNKNOWN", "PROVISIONALLY_IGNORED"];

/// Opaque, with characters that have to be escaped in a query.
fn cursor(position: usize) -> String {
    format!("Pm0R+{:010x}/c2VjcmV0==", position ^ 0x005e_c4e7)
}

fn position(cursor: &str) -> Option<usize> {
    let digits = cursor.strip_prefix("Pm0R+")?.strip_suffix("/c2VjcmV0==")?;
    usize::from_str_radix(digits, 16).ok().map(|number| number ^ 0x005e_c4e7)
}

async fn secrets(State(server): State<Server>, Path(deployment): Path<String>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let query = Parameters(query);
    match deployment.parse::<u64>() {
        Ok(DEPLOYMENT) => {}
        Ok(_) => return not_found(),
        Err(_) => return *bad("deploymentId", &deployment),
    }
    let fault = server.faults.take("GET /api/v1/deployments/secrets findings");
    let read = || -> Result<_, Refused> {
        let asked = query.one("cursor").unwrap_or_default();
        let from = if asked.is_empty() { Some(0) } else { position(asked) };
        let from = from.filter(|_| asked.is_empty() || fault != Some(Fault::ExpiredCursor)).ok_or_else(|| bad("cursor", asked))?;
        let known = |prefix: &str, words: &[&str]| -> Vec<String> { words.iter().map(|word| format!("{prefix}{word}")).collect() };
        let (statuses, severities) =
            (known("FINDING_STATUS_", SECRET_STATUSES), known("SEVERITY_", &["UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "CRITICAL"]));
        let status = query.word("status", &statuses.iter().map(String::as_str).collect::<Vec<_>>())?;
        let severities = query.words("severity", &severities.iter().map(String::as_str).collect::<Vec<_>>())?;
        let status = status.filter(|status| *status != "FINDING_STATUS_UNSPECIFIED");
        if let Some(value) = query.one("validationState").filter(|value| *value != "VALIDATION_STATE_UNSPECIFIED") {
            return Err(bad("validationState", value));
        }
        let since = match query.one("since") {
            Some(text) => text.parse::<Timestamp>().map_err(|_| bad("since", text))?.as_microsecond(),
            None => i64::MIN,
        };
        let limit = query.number("limit", 100, 1, usize::MAX)?.min(500);
        Ok((asked, from, status, severities, since, limit))
    };
    let (asked, from, status, severities, since, limit) = match read() {
        Ok(read) => read,
        Err(refused) => return *refused,
    };
    let from = start(from, limit, fault.as_ref());
    let repos = query.list("repo");
    let world = server.tool.world();
    let fits = |finding: &&Finding| {
        finding.since >= since
            && status
                .is_none_or(|status| status.strip_prefix("FINDING_STATUS_").is_some_and(|word| word.eq_ignore_ascii_case(finding.status)))
            && (severities.is_empty()
                || severities.iter().any(|word| word.ends_with("UNSPECIFIED") || word[9..].eq_ignore_ascii_case(finding.severity)))
            && (repos.is_empty() || repos.contains(&world.projects[finding.project].name.as_str()))
    };
    let list = world.lists[Kind::Secrets as usize].iter().map(|row| &world.findings[row.finding]);
    let size = if fault == Some(Fault::NoRole) { 0 } else { limit };
    let page: Vec<_> = list.filter(fits).skip(from).take(size).collect();
    let mut rows: Vec<String> = page.iter().map(|finding| format!("{{{}", finding.rest)).collect();
    damage(&mut rows, page.iter().position(|finding| finding.ever_open && finding.state == "open"), fault.as_ref());
    // A full page has a next one, which may be empty; an empty page has an empty cursor, a shorter one none.
    let next = match (&fault, rows.len()) {
        (Some(Fault::RepeatedCursor), _) if !asked.is_empty() => format!(",\"cursor\":{}", json!(asked)),
        (_, 0) => ",\"cursor\":\"\"".to_owned(),
        (_, count) if count == limit => format!(",\"cursor\":\"{}\"", cursor(from + limit)),
        _ => String::new(),
    };
    answer(format!("{{\"findings\":[{}]{next}}}", rows.join(",")))
}
