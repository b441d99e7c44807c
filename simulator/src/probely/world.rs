//! What the simulated account holds, and how it moves.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::CANARY;
use crate::{
    Change, Size,
    seed::{Seed, share, spread},
};

/// 2025-01-01, in seconds.
const START: i64 = 1_735_689_600;
const DAY: i64 = 86_400;
/// One answer of a scanned site in this many is a large one.
const LARGE: usize = 500;

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    step: u64,
    /// Whether the next step deletes a target.
    pub(super) loses: bool,
    pub(super) targets: Vec<Target>,
    pub(super) findings: Vec<Finding>,
    /// All findings, those found last first.
    pub(super) newest: Vec<usize>,
    definitions: Vec<Definition>,
    /// Pairs of requests and answers as JSON; the last is large.
    requests: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) listed: bool,
    /// As in the list of targets, and as in a finding.
    pub(super) body: String,
    inner: String,
    pub(super) scans: Vec<Scan>,
    /// In the order of their ids, and those found last first.
    pub(super) findings: Vec<usize>,
    pub(super) newest: Vec<usize>,
    number: usize,
}

#[derive(Debug)]
pub(super) struct Scan {
    pub(super) id: String,
    pub(super) body: String,
    started: i64,
    status: &'static str,
}

#[derive(Debug)]
struct Definition {
    id: String,
    name: &'static str,
    description: String,
    fix: String,
}

#[derive(Debug)]
pub(super) struct Finding {
    pub(super) id: usize,
    pub(super) target: usize,
    /// All members but `id`, `target` and `requests`.
    body: String,
    requests: usize,
    pub(super) level: i64,
    pub(super) word: &'static str,
    pub(super) found: i64,
    pub(super) changed: i64,
    pub(super) listed: bool,
    /// Whether a client that synced after every step has met it open.
    pub(super) ever_open: bool,
}

fn time(seconds: i64) -> String {
    let second = Timestamp::from_second(seconds).unwrap_or_default().to_string();
    format!("{}.183840Z", second.trim_end_matches('Z'))
}

/// When a step happened.
fn day_of(step: u64) -> i64 {
    START + (300 + i64::try_from(step).unwrap_or(0)) * DAY
}

/// An id as the tool makes them; some begin with a dash.
fn short(seed: &mut Seed) -> String {
    const LETTERS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz-_";
    (0..12).map(|_| char::from(LETTERS[seed.below(LETTERS.len())])).collect()
}

fn user() -> Value {
    json!({ "id": "2aDq6BEzAK5u", "email": "jo@acme.example", "name": "Jo Doe" })
}

impl World {
    pub(super) fn new(size: Size) -> Self {
        let mut seed = Seed::of(&[size.seed, 41]);
        let definitions = (0..60).map(|number| definition(&mut seed, number)).collect();
        let requests = (0..9).map(|number| requests(&mut seed, if number < 8 { 700 } else { 200_000 })).collect();
        let mut world = World {
            seed: size.seed,
            step: 0,
            loses: false,
            targets: Vec::new(),
            findings: Vec::new(),
            newest: Vec::new(),
            definitions,
            requests,
        };
        let records = size.records.max(4);
        for (number, open) in spread(size.findings, records).enumerate() {
            world.add_target(number);
            if number != 0 {
                world.scan(number);
                world.fill(number, open, (open * 6 / 100).max(3));
            }
            world.describe(number);
        }
        world.sort();
        world
    }

    fn add_target(&mut self, number: usize) {
        const NAMES: [&str; 6] = ["Shop", "Größe & Co <b>shop</b>", "Customer API", "Intranet", "Partner portal", "Status page"];
        let id = match number {
            // Differs from another one only in its case.
            2 => self.targets[1]
                .id
                .chars()
                .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
                .collect(),
            3 => format!("-{}", &short(&mut Seed::of(&[self.seed, 42, 3]))[1..]),
            _ => short(&mut Seed::of(&[self.seed, 42, number as u64])),
        };
        self.targets.push(Target {
            id,
            name: format!("{} {number}", NAMES[number % NAMES.len()]),
            kind: if number % 3 == 2 { "api" } else { "single" },
            listed: true,
            body: String::new(),
            inner: String::new(),
            scans: Vec::new(),
            findings: Vec::new(),
            newest: Vec::new(),
            number,
        });
    }

    fn scan(&mut self, target: usize) {
        let started = day_of(self.step);
        let owner = &mut self.targets[target];
        let id = short(&mut Seed::of(&[self.seed, 43, target as u64, owner.scans.len() as u64]));
        owner.scans.push(Scan { id, body: String::new(), started, status: "completed" });
    }

    /// Writes the target's texts anew.
    fn describe(&mut self, target: usize) {
        let owner = &self.targets[target];
        let own = || owner.findings.iter().map(|row| &self.findings[*row]).filter(|finding| finding.listed && finding.is_open());
        let number = owner.number;
        let host = format!("app{number}.acme.example");
        let count = |level: i64| own().filter(|finding| finding.level == level).count();
        let scanned = |value: Value| if owner.scans.is_empty() { Value::Null } else { value };
        let is_api = owner.kind == "api";
        let scan_settings = json!({ "api_schema_type": "openapi", "api_login_enabled": true,
            "api_login_payload": format!("{{\"user\":\"scanner\",\"password\":\"{CANARY}-login\"}}") });
        let site = json!({
            "id": format!("s{number}te8RF8Egsj"), "name": owner.name, "desc": "What customers see", "url": format!("https://{host}"), "host": host,
            "has_form_login": true, "form_login_url": format!("https://{host}/login"), "form_login_check_pattern": "Welcome",
            "form_login": if number % 4 == 3 { Value::Null } else { json!([{ "name": "password", "value": format!("{CANARY}-form") }]) },
            "logout_detection_enabled": false, "has_sequence_login": false, "has_sequence_navigation": false, "has_basic_auth": true,
            "basic_auth": { "username": "scanner", "password": format!("{CANARY}-basic") },
            "headers": [{ "name": "Authorization", "value": format!("Bearer {CANARY}-header"), "allow_testing": false }],
            "cookies": if number % 4 == 2 { Value::Null } else { json!([{ "name": "session", "value": format!("{CANARY}-cookie") }]) },
            "whitelist": [], "blacklist": [], "changed": time(START), "changed_by": user(), "auth_enabled": true, "logout_condition": "any",
            "check_session_url": "", "has_otp": true, "otp_secret": format!("{CANARY}-otp"), "otp_algorithm": "SHA1", "otp_digits": 6,
            "otp_type": "totp", "stack": [{ "id": "3XxEPJEIygTD", "name": "PHP", "desc": "" }], "verified": number % 5 != 4,
            "verification_token": format!("{CANARY}-verification"), "verification_date": null, "verification_method": "",
            "verification_last_error": "", "api_scan_settings": if is_api { scan_settings } else { Value::Null },
        });
        let last = owner.scans.last().map_or(Value::Null, |scan| {
            json!({ "id": scan.id, "status": scan.status, "started": time(scan.started), "completed": time(scan.started + 2600),
                "scan_profile": "normal", "lows": count(10), "mediums": count(20), "highs": count(30), "created": time(scan.started - 4) })
        });
        let labels = json!([{ "id": format!("427jgP7ESp{number:02}"), "name": "payments", "color": "green", "changed_by": user(), "changed": time(START) }]);
        let mut body = json!({
            "id": owner.id, "site": site, "lows": scanned(json!(count(10))), "mediums": scanned(json!(count(20))),
            "highs": scanned(json!(count(30))), "risk": scanned(json!(own().map(|finding| finding.level).max().unwrap_or(0))),
            "last_scan": last, "running_scan": null, "next_scan": null, "assets": [], "scan_profile": "normal", "type": owner.kind,
            "enabled": number % 5 != 3, "unlimited": false, "report_type": "default", "report_fileformat": "pdf",
            "labels": if number % 2 == 1 { labels } else { json!([]) }, "scanning_agent": null,
            "teams": if number % 3 == 1 { json!([{ "id": "teamPaymnt1", "name": "Payments" }]) } else { json!([]) },
            "blackout_period": null, "fail_fast": true, "changed": time(START + DAY), "changed_by": user(), "incremental": false,
        });
        let text = body.to_string();
        // Inside a finding it has a name of its own, which is empty, and no counters.
        body["name"] = json!("");
        for counter in ["lows", "mediums", "highs", "risk", "last_scan", "running_scan", "next_scan"] {
            body.as_object_mut().expect("an object").remove(counter);
        }
        let scans: Vec<String> = owner
            .scans
            .iter()
            .map(|scan| {
                json!({ "id": scan.id, "status": scan.status, "started": time(scan.started), "completed": time(scan.started + 2600),
                    "changed": time(scan.started + 2600), "scan_profile": "normal", "target": { "id": owner.id, "name": "", "site": body["site"] },
                    "target_options": { "site": body["site"] }, "lows": count(10), "mediums": count(20), "highs": count(30) })
                .to_string()
            })
            .collect();
        let owner = &mut self.targets[target];
        (owner.body, owner.inner) = (text, body.to_string());
        for (scan, text) in owner.scans.iter_mut().zip(scans) {
            scan.body = text;
        }
    }

    /// Adds this many open findings, and some more that somebody has closed already.
    fn fill(&mut self, target: usize, open: usize, closed: usize) {
        for number in 0..open + closed {
            let mut finding = self.finding(target);
            if number >= open {
                finding.judge(["accepted", "invalid", "fixed"][number % 3], None);
            }
            finding.ever_open = finding.is_open();
            self.targets[target].findings.push(self.findings.len());
            self.findings.push(finding);
        }
    }

    fn finding(&self, target: usize) -> Finding {
        let owner = &self.targets[target];
        let unique = self.findings.len();
        let mut seed = Seed::of(&[self.seed, 44, unique as u64]);
        let definition = &self.definitions[seed.below(self.definitions.len())];
        // A few are below low.
        let level = if unique % 37 == 36 { 0 } else { [40, 30, 30, 20, 20, 10, 10][seed.below(7)] };
        let word = if unique % 41 == 40 { "retesting" } else { "notfixed" };
        let found = if self.step == 0 { day_of(0) - i64::try_from(seed.below(20)).unwrap_or(0) * DAY } else { day_of(self.step) };
        let url = format!("https://app{}.acme.example/{}/{}", owner.number, seed.pick(&["cart", "login", "search", "größe"]), unique % 90);
        let method = seed.pick(&["get", "post", "put", "", "dns_a"]);
        let parameter = if unique.is_multiple_of(3) { String::new() } else { format!("q{}", unique % 7) };
        let point = seed.pick(&["cookie", "parameter", "header", "json_parameter", "graphql_parameter", ""]);
        let mut evidence = json!(format!("\nWe sent a request to {url} and saw the answer of another user.\n\n"));
        if unique.is_multiple_of(4) {
            evidence = Value::Null;
        } else if unique % 30 == 11 {
            evidence = json!("<script>alert(1)</script> & \u{1b}[31mcolour\u{0}\u{7}\u{202e} `<img src=x onerror=alert(1)>`");
        }
        let (score, vector) = match level {
            40 => (json!(9.8), json!("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")),
            _ if unique.is_multiple_of(6) => (Value::Null, Value::Null),
            _ => (json!(6.5), json!("CVSS:3.0/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:L/A:N")),
        };
        let labels =
            json!([{ "id": "iLvpsziVodAb", "name": "looked at", "color": "orange", "changed_by": user(), "changed": time(START) }]);
        let body = json!({
            "scans": owner.scans.iter().map(|scan| &scan.id).collect::<Vec<_>>(),
            "labels": if unique % 3 == 1 { labels } else { json!([]) }, "fix": definition.fix, "evidence": evidence, "extra": "",
            "definition": { "id": definition.id, "name": definition.name, "desc": definition.description },
            "url": url, "path": url, "method": method, "insertion_point": point, "parameter": parameter, "value": "1",
            "params": if unique.is_multiple_of(5) { Value::Null } else { json!({ "q": ["1"] }) }, "assignee": null, "state": word, "severity": level,
            "cvss_score": score, "cvss_vector": vector, "last_found": time(found), "retesting": unique % 13 == 5, "new": self.step > 0,
            "changed": time(found), "changed_by": user(), "comment": "",
        });
        let requests = if unique % LARGE == 3 { self.requests.len() - 1 } else { unique % (self.requests.len() - 1) };
        Finding {
            id: owner.findings.len() + 1,
            target,
            body: body.to_string(),
            requests,
            level,
            word,
            found,
            changed: found,
            listed: true,
            ever_open: true,
        }
    }

    /// One finding as the lists show it.
    pub(super) fn text(&self, finding: &Finding) -> String {
        self.wrap(finding, &finding.body)
    }

    /// The same with words that no documentation lists.
    pub(super) fn odd_text(&self, finding: &Finding) -> String {
        let mut body: Value = serde_json::from_str(&finding.body).expect("our own JSON");
        (body["severity"], body["state"]) = (json!(77), json!("pondering"));
        self.wrap(finding, &body.to_string())
    }

    fn wrap(&self, finding: &Finding, body: &str) -> String {
        let (target, requests) = (&self.targets[finding.target].inner, &self.requests[finding.requests]);
        format!(r#"{{"id":{},"target":{target},"requests":[{requests}],{}"#, finding.id, &body[1..])
    }

    /// Puts those found last first.
    fn sort(&mut self) {
        let findings = &self.findings;
        self.newest = (0..findings.len()).collect();
        self.newest.sort_by_key(|row| -findings[*row].found);
        for target in &mut self.targets {
            target.newest.clone_from(&target.findings);
            target.newest.sort_by_key(|row| -findings[*row].found);
        }
    }

    pub(super) fn step(&mut self, change: &Change) {
        self.step += 1;
        let at = day_of(self.step);
        if std::mem::take(&mut self.loses) {
            let lost = self.targets.len() - 2;
            self.targets[lost].listed = false;
        }
        let movable = |finding: &Finding| finding.listed && finding.is_open() && self.targets[finding.target].listed;
        let mut open: Vec<usize> = (0..self.findings.len()).filter(|row| movable(&self.findings[*row])).collect();
        let total = open.len();
        let share = |percent| share(total, percent);
        let mut seed = Seed::of(&[self.seed, 45, self.step]);
        let mut take = |count| seed.draw(&mut open, count);
        let (fixed, changed, vanished) = (take(share(change.fixed)), take(share(change.changed)), take(share(change.vanished)));
        let new = share(change.new);
        let last = self.targets.len() - 1;
        // Only a scan fixes and finds; what people decide moves no scan.
        let mut scanned: Vec<usize> = fixed.iter().map(|row| self.findings[*row].target).collect();
        if new > 0 {
            scanned.extend([last, 1]);
        }
        scanned.sort_unstable();
        scanned.dedup();
        for target in &scanned {
            self.scan(*target);
        }
        for row in fixed {
            self.findings[row].judge("fixed", Some(at));
        }
        for target in scanned {
            let owner = &self.targets[target];
            let Some(scan) = owner.scans.last() else { continue };
            for row in &owner.findings {
                self.findings[*row].meet(&scan.id, at);
            }
        }
        for (n, row) in changed.into_iter().enumerate() {
            let finding = &mut self.findings[row];
            match n % 3 {
                0 => finding.judge("accepted", Some(at)),
                1 => finding.judge("invalid", Some(at)),
                _ => finding.rate(if finding.level == 10 { 30 } else { 10 }, at),
            }
        }
        for row in vanished {
            self.findings[row].listed = false;
        }
        let few = usize::from(new > 1);
        self.fill(1, few, 0);
        self.fill(last, new - few, 0);
        for target in 0..self.targets.len() {
            self.describe(target);
        }
        self.sort();
    }
}

impl Finding {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.word, "notfixed" | "retesting")
    }

    /// Its severity in our words.
    pub(super) fn severity(&self) -> &'static str {
        match self.level {
            40 => "critical",
            30 => "high",
            20 => "medium",
            10 => "low",
            _ => "info",
        }
    }

    /// Its state in our words.
    pub(super) fn state(&self) -> &'static str {
        match self.word {
            _ if !self.listed => "gone",
            "accepted" => "risk_accepted",
            "invalid" => "false_positive",
            "fixed" => "fixed",
            _ => "open",
        }
    }

    /// Whether its text has this somewhere.
    pub(super) fn says(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    fn edit(&mut self, at: Option<i64>, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        edit(&mut body);
        if let Some(at) = at {
            self.changed = at;
            body["changed"] = json!(time(at));
        }
        self.body = body.to_string();
    }

    fn judge(&mut self, word: &'static str, at: Option<i64>) {
        self.word = word;
        self.edit(at, |body| {
            (body["state"], body["retesting"], body["new"]) = (json!(word), json!(false), json!(false));
        });
    }

    /// A scan has found it again, which is no change.
    fn meet(&mut self, scan: &str, at: i64) {
        if !self.is_open() {
            return;
        }
        if let Some(place) = self.body.find(r#""scans":["#) {
            self.body.insert_str(place + r#""scans":["#.len(), &format!(r#""{scan}","#));
        }
        self.body = self.body.replacen(&format!(r#""last_found":"{}""#, time(self.found)), &format!(r#""last_found":"{}""#, time(at)), 1);
        self.found = at;
    }

    fn rate(&mut self, level: i64, at: i64) {
        self.level = level;
        self.edit(Some(at), |body| body["severity"] = json!(level));
    }
}

fn definition(seed: &mut Seed, number: usize) -> Definition {
    const NAMES: [&str; 6] = [
        "SQL Injection",
        "Cross-site scripting (reflected)",
        "Unencrypted communications",
        "Missing <Strict-Transport-Security> header",
        "Open redirection",
        "Server-side request forgery",
    ];
    let fix = format!(
        "To fix it:\r\n\r\n* {}\r\n* **Test** again.\r\n\r\n```\r\nStrict-Transport-Security: max-age=31536000\r\n```",
        seed.prose(200)
    );
    Definition { id: short(seed), name: NAMES[number % NAMES.len()], description: seed.prose(400), fix }
}

/// One pair of a request and its answer, the answer of about this many bytes: with what the scanned site keeps secret.
fn requests(seed: &mut Seed, bytes: usize) -> String {
    let request = format!("```\nGET /cart HTTP/1.1\r\nhost: app.acme.example\r\ncookie: session={CANARY}-request\r\n\r\n```");
    let answer = format!("```\nHTTP/1.1 200 OK\r\nset-cookie: session={CANARY}-answer\r\n\r\n<html>{}</html>\n```", seed.prose(bytes));
    json!({ "request": request, "response": answer }).to_string()
}
