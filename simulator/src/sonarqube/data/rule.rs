//! Rules, with the texts that the server shows of them.

use serde_json::{Value, json};

use super::{Edition, Rule, TYPES, VULNERABILITY};
use crate::seed::Seed;

pub(super) fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    let languages = ["java", "ts", "py"];
    let repositories = ["java", "typescript", "python"];
    for number in 0..130_u32 {
        let n = number as usize % 3;
        let kind = match number {
            0..70 => VULNERABILITY,
            70..100 => 0,
            _ => 1,
        };
        rules.push(Rule {
            key: format!("{}:S{}", repositories[n], 2_000 + number),
            name: format!("Input number {number} should be <checked> & bound"),
            language: languages[n],
            cwe: 20 + number % 60,
            kind,
            external: false,
            hotspot: None,
        });
    }
    for number in 0..6_u32 {
        rules.push(Rule {
            key: format!("external_trivy:AVD-{number:04}"),
            name: format!("trivy:AVD-{number:04}"),
            language: "py",
            cwe: 0,
            kind: VULNERABILITY,
            external: true,
            hotspot: None,
        });
    }
    let spots = [("sql-injection", "HIGH"), ("auth", "HIGH"), ("dos", "MEDIUM"), ("weak-cryptography", "MEDIUM"), ("others", "LOW")];
    for (number, hotspot) in (0_u32..).zip(spots) {
        rules.push(Rule {
            key: format!("java:S{}", 5_100 + number),
            name: format!("Doing {} is security-sensitive", hotspot.0),
            language: "java",
            cwe: 200 + number,
            kind: VULNERABILITY,
            external: false,
            hotspot: Some(hotspot),
        });
    }
    rules
}

impl Rule {
    /// The texts that a hotspot of it shows: risk, assessment, cure.
    fn texts(&self) -> [String; 3] {
        let mut seed = Seed::of(&[24, u64::from(self.cwe)]);
        let see = format!(r#"<h3>See</h3><ul><li>CWE - <a href="https://cwe.example/{0}">CWE-{0} - A weakness</a></li></ul>"#, self.cwe);
        [
            format!("<p>{}</p><script>alert(3)</script>{see}", seed.prose(500)),
            format!("<h2>Ask Yourself Whether</h2><ul><li>{}</li></ul>", seed.prose(120)),
            format!("<h2>Recommended Secure Coding Practices</h2><p>{}</p><pre>use(bound);</pre>", seed.prose(200)),
        ]
    }

    /// The `rule` of `api/rules/show`.
    pub(in super::super) fn show(&self, edition: Edition) -> Value {
        let [risk, assess, cure] = self.texts();
        let mut body = json!({
            "key": self.key, "repo": self.key.split(':').next(), "name": self.name, "createdAt": "2023-01-17T10:11:21+0000",
            "updatedAt": "2025-01-17T10:11:21+0000", "severity": "MAJOR", "status": "READY", "isTemplate": false, "tags": [],
            "sysTags": ["cwe", "injection"], "lang": self.language, "langName": self.language.to_uppercase(), "params": [],
            "type": if self.hotspot.is_some() { "SECURITY_HOTSPOT" } else { TYPES[usize::from(self.kind)] }, "scope": "MAIN", "isExternal": self.external,
        });
        if !self.external && edition.old {
            body["htmlDesc"] = json!(format!("{risk}{assess}{cure}"));
            body["mdDesc"] = body["htmlDesc"].clone();
        } else if !self.external {
            body["descriptionSections"] = json!([
                { "key": "root_cause", "content": risk },
                { "key": "how_to_fix", "content": cure, "context": { "key": "others", "displayName": "Others" } },
                { "key": "how_to_fix", "content": format!("<p>Spring: {cure}</p>"), "context": { "key": "spring", "displayName": "Spring" } },
                // The text names a weakness that the server does not count the rule by.
                { "key": "resources", "content": format!("<ul><li>CWE-{}</li><li>See also CWE-1000</li></ul>", self.cwe) },
            ]);
        }
        if !edition.old {
            body["impacts"] = json!([{ "softwareQuality": "SECURITY", "severity": "MEDIUM" }]);
            body["cleanCodeAttribute"] = json!("COMPLETE");
            body["cleanCodeAttributeCategory"] = json!("INTENTIONAL");
        }
        body
    }

    /// One of the `rules` beside a list of issues.
    pub(in super::super) fn brief(&self) -> Value {
        json!({ "key": self.key, "name": self.name, "lang": self.language, "langName": self.language.to_uppercase(), "status": "READY" })
    }

    /// The `rule` of `api/hotspots/show`.
    pub(in super::super) fn of_hotspot(&self) -> Value {
        let [risk, assess, cure] = self.texts();
        let (category, probability) = self.hotspot.unwrap_or(("others", "LOW"));
        json!({ "key": self.key, "name": self.name, "securityCategory": category, "vulnerabilityProbability": probability,
            "riskDescription": risk, "vulnerabilityDescription": assess, "fixRecommendations": cure })
    }
}
