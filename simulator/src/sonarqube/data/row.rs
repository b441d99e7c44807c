//! Issues.

use serde_json::{Value, json};

use super::{
    CLOSED_FIXED, Edition, IMPACT_SEVERITIES, Project, QUALITIES, Row, Rule, SECURITY, SEVERITIES, STATES, State, TYPES, VULNERABILITY,
    WORDS, date, day_of, now,
};
use crate::seed::Seed;

pub(super) struct Plan {
    pub(super) number: usize,
    pub(super) wanted: bool,
    pub(super) state: u8,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) branch: u8,
}

impl Row {
    pub(super) fn new(seed: &mut Seed, edition: Edition, project: &Project, rules: &[Rule], plan: &Plan) -> Self {
        let (number, wanted) = (plan.number, plan.wanted);
        let (kind, impacts) = kind_and_impacts(seed, edition, wanted, number);
        let mut choices = rules.iter().enumerate().filter(|(_, rule)| rule.kind == kind && rule.hotspot.is_none()).map(|(n, _)| n);
        let count = choices.clone().count();
        let rule = choices.nth(seed.below(count)).unwrap_or(0);
        // Some are about the project as a whole: no file, no line.
        let file = if number % 60 == 59 { 0 } else { 1 + seed.below(project.files.len() - 1) };
        let key = if edition.cloud || edition.old { format!("AY{:018x}", seed.next()) } else { seed.uuid() };
        let mut row = Row {
            key,
            body: String::new(),
            branch: plan.branch,
            kind,
            severity: [0, 0, 1, 1, 2, 2, 2, 3, 3, 4][seed.below(10)],
            impacts,
            state: plan.state,
            created: plan.created,
            updated: plan.updated,
            closed: (plan.state >= CLOSED_FIXED).then_some(plan.updated),
            rule: u16::try_from(rule).unwrap_or(0),
            file: u32::try_from(file).unwrap_or(0),
            line: u32::try_from(1 + seed.below(900)).unwrap_or(1),
            test: project.files[file].path.starts_with("src/test"),
            wanted: wanted && plan.branch == 0,
            ever_open: STATES[usize::from(plan.state)].3 == "open",
            listed: true,
        };
        let mut body = row.first_body(seed, edition, project, &rules[rule], number);
        row.paint(&mut body, edition);
        row.body = body.to_string();
        row
    }

    pub(super) fn first_body(&self, seed: &mut Seed, edition: Edition, project: &Project, rule: &Rule, number: usize) -> Value {
        let path = &project.files[self.file as usize].path;
        let component = if path.is_empty() { project.key.clone() } else { format!("{}:{path}", project.key) };
        let range = |line: u32| json!({ "startLine": line, "endLine": line + 1, "startOffset": 8, "endOffset": 63 });
        let mut message = match number % 50 {
            7 => "Make sure <script>alert(1)</script> & \"quotes\"\u{7} are\u{202e} escaped <img src=x onerror=alert(2)>".to_owned(),
            _ => format!("Change this code to not {}.", seed.prose(60).trim_end_matches('.')),
        };
        if rule.external {
            message = format!("CVE-2026-{} | {message}", 10_000 + seed.below(5_000));
        }
        let mut body = json!({
            "key": self.key, "rule": rule.key, "component": component, "project": project.key, "type": TYPES[usize::from(self.kind)],
            "message": message, "effort": "15min", "debt": "15min", "author": format!("dev{}@corp.example", number % 9),
            "tags": ["cwe", rule.language], "creationDate": date(self.created), "scope": if self.test { "TEST" } else { "MAIN" },
            "quickFixAvailable": false, "messageFormattings": [], "codeVariants": [], "flows": [],
        });
        if !path.is_empty() {
            body["line"] = json!(self.line);
            body["hash"] = json!(format!("{:016x}{:016x}", seed.next(), seed.next()));
            body["textRange"] = range(self.line);
            if !number.is_multiple_of(3) {
                let step = |n: u32| json!({ "component": component, "textRange": range(self.line.saturating_sub(n).max(1)), "msg": seed.clone().prose(50), "msgFormattings": [] });
                body["flows"] = json!([{ "locations": [step(0), step(3), step(8)] }]);
            }
        }
        if number % 4 == 1 {
            body["assignee"] = json!("jdoe");
        }
        if rule.external {
            body["externalRuleEngine"] = json!("trivy");
        }
        if !edition.old {
            body["cleanCodeAttribute"] = json!("COMPLETE");
            body["cleanCodeAttributeCategory"] = json!("INTENTIONAL");
            body["prioritizedRule"] = json!(false);
        }
        if edition.cloud {
            body["organization"] = json!(super::super::ORGANIZATION);
        }
        if let Some((name, pull)) = project.branches.get(usize::from(self.branch)).filter(|_| self.branch > 0) {
            body[if *pull { "pullRequest" } else { "branch" }] = json!(name);
        }
        body
    }

    /// Writes what can change.
    pub(super) fn paint(&self, body: &mut Value, edition: Edition) {
        let State(status, resolution, issue_status, _) = &STATES[usize::from(self.state)];
        body["severity"] = json!(SEVERITIES[usize::from(self.severity)]);
        body["status"] = json!(status);
        body["updateDate"] = json!(date(self.updated));
        if !resolution.is_empty() {
            body["resolution"] = json!(resolution);
        }
        if let Some(closed) = self.closed {
            body["closeDate"] = json!(date(closed));
        }
        if !edition.old {
            body["issueStatus"] = json!(issue_status);
            let impact = |(quality, severity): &(u8, u8)| {
                let (quality, severity) = (QUALITIES[usize::from(*quality)], IMPACT_SEVERITIES[usize::from(*severity)]);
                json!({ "softwareQuality": quality, "severity": severity })
            };
            body["impacts"] = json!(self.impacts.iter().map(impact).collect::<Vec<_>>());
        }
    }

    pub(super) fn set(&mut self, edition: Edition, step: u64, edit: impl FnOnce(&mut Row)) {
        edit(self);
        self.updated = now();
        self.closed = (self.state >= CLOSED_FIXED).then_some(day_of(step));
        self.repaint(edition);
    }

    /// Writes what can change into the body.
    pub(super) fn repaint(&mut self, edition: Edition) {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        self.paint(&mut body, edition);
        self.body = body.to_string();
    }

    /// A person gives it another severity.
    pub(super) fn rate(&mut self, edition: Edition) {
        let other = |severity: u8| if severity == 3 { 1 } else { 3 };
        match self.impacts.iter_mut().find(|(quality, _)| *quality == SECURITY) {
            Some((_, severity)) if edition.mqr => *severity = other(*severity),
            _ => self.severity = other(self.severity),
        }
    }

    pub(super) fn word(&self, edition: Edition) -> &'static str {
        let impact = self.impacts.iter().find(|(quality, _)| *quality == SECURITY);
        match impact {
            Some((_, severity)) if edition.mqr => WORDS[usize::from(*severity)],
            _ => WORDS[usize::from(self.severity)],
        }
    }

    pub(in super::super) fn is_open(&self) -> bool {
        self.listed && self.wanted && STATES[usize::from(self.state)].3 == "open"
    }
}

/// In one mode the impact decides whether it is a security finding, in the other the type; they need not agree.
fn kind_and_impacts(seed: &mut Seed, edition: Edition, wanted: bool, number: usize) -> (u8, Vec<(u8, u8)>) {
    let severity = [0, 0, 1, 1, 2, 2, 2, 3, 3, 4][seed.below(10)];
    let other = (u8::from(seed.chance(50.0)), [1, 2, 3][seed.below(3)]);
    let odd = number % 10 == 3;
    let has_impact = if edition.mqr { wanted } else { wanted != odd };
    let has_type = if edition.mqr { wanted != odd } else { wanted };
    let kind = if has_type { VULNERABILITY } else { u8::from(seed.chance(40.0)) };
    let impacts = match (has_impact, number % 4) {
        _ if edition.old => Vec::new(),
        (false, _) => vec![other],
        (true, 0) => vec![other, (SECURITY, severity)],
        (true, _) => vec![(SECURITY, severity)],
    };
    (kind, impacts)
}
