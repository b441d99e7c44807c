//! Hotspots.

use serde_json::{Value, json};

use super::{DAY, Edition, Project, Rule, Spot, date};
use crate::seed::Seed;

impl Spot {
    pub(super) fn new(
        seed: &mut Seed,
        edition: Edition,
        project: &Project,
        rules: &[Rule],
        resolution: &'static str,
        created: i64,
    ) -> Self {
        let mut choices = rules.iter().enumerate().filter(|(_, rule)| rule.hotspot.is_some()).map(|(n, _)| n);
        let count = choices.clone().count();
        let rule = choices.nth(seed.below(count)).unwrap_or(0);
        let (category, probability) = rules[rule].hotspot.unwrap_or(("others", "LOW"));
        let file = 1 + seed.below(project.files.len() - 1);
        let line = 1 + seed.below(700);
        let key = if edition.cloud || edition.old { format!("AZ{:018x}", seed.next()) } else { seed.uuid() };
        let mut body = json!({
            "key": key, "component": format!("{}:{}", project.key, project.files[file].path), "project": project.key,
            "securityCategory": category, "vulnerabilityProbability": probability, "status": "TO_REVIEW", "line": line,
            "message": format!("Make sure that {} is safe here & <b>nowhere</b> else.", seed.prose(40).trim_end_matches('.')),
            "author": "dev3@corp.example", "creationDate": date(created), "updateDate": date(created), "flows": [],
            "textRange": { "startLine": line, "endLine": line, "startOffset": 4, "endOffset": 40 }, "ruleKey": rules[rule].key,
            "messageFormattings": [],
        });
        if edition.cloud {
            body["organization"] = json!(super::super::ORGANIZATION);
        }
        let mut spot = Spot {
            key,
            body: body.to_string(),
            branch: 0,
            rule: u16::try_from(rule).unwrap_or(0),
            file: u32::try_from(file).unwrap_or(0),
            resolution: "",
            ever_open: resolution.is_empty(),
            listed: true,
        };
        if !resolution.is_empty() {
            spot.review(resolution, created + DAY);
        }
        spot
    }

    pub(super) fn review(&mut self, resolution: &'static str, now: i64) {
        self.resolution = resolution;
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        body["status"] = json!("REVIEWED");
        body["resolution"] = json!(resolution);
        body["updateDate"] = json!(date(now));
        self.body = body.to_string();
    }

    pub(in super::super) fn is_open(&self) -> bool {
        self.listed && self.resolution.is_empty()
    }
}
