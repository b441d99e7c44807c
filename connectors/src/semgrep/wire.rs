//! What Semgrep sends.

use super::Product;
use crate::{
    kit::{Scalar, or_default},
    prelude::*,
};

#[derive(Deserialize)]
pub(super) struct Deployments {
    pub(super) deployments: Vec<Deployment>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Deployment {
    pub(super) id: Scalar,
    pub(super) slug: String,
    pub(super) name: Option<String>,
}

impl Deployment {
    pub(super) fn id(&self) -> &str {
        self.id.text().unwrap_or_default()
    }
}

#[derive(Deserialize)]
pub(super) struct Projects {
    pub(super) projects: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct Findings {
    pub(super) findings: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct Secrets {
    pub(super) findings: Vec<Box<RawValue>>,
    #[serde(default)]
    pub(super) cursor: Scalar,
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) id: Scalar,
}

impl Key {
    pub(super) fn of(self, product: Product) -> Option<String> {
        self.id.text().map(|id| product.key(id))
    }
}

#[derive(Deserialize)]
pub(super) struct Project {
    pub(super) id: Scalar,
    pub(super) name: Option<String>,
    pub(super) url: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tags: Texts,
    pub(super) primary_branch: Option<String>,
    pub(super) default_branch: Option<String>,
}

/// As much of a project as its findings need.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) id: Scalar,
    pub(super) name: Scalar,
}

impl Named {
    pub(super) fn parts(self) -> (Option<String>, Option<String>) {
        (self.name.0, self.id.0)
    }
}

/// A set of texts, in alphabetical order. Some answers write one text in its place, or have nulls in it.
#[derive(Default, Deserialize)]
#[serde(from = "Words")]
pub(super) struct Texts(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<Scalar>),
    One(Scalar),
}

impl From<Words> for Texts {
    fn from(words: Words) -> Self {
        let all = match words {
            Words::Many(all) => all,
            Words::One(one) => vec![one],
        };
        let mut texts: Vec<String> = all.into_iter().filter_map(|text| text.0.filter(|text| !text.is_empty())).collect();
        texts.sort_unstable();
        Texts(texts)
    }
}

/// A finding of Code, Supply Chain or AI detection.
#[derive(Deserialize)]
pub(super) struct Wire {
    pub(super) id: Scalar,
    pub(super) match_based_id: Option<String>,
    #[serde(rename = "ref")]
    pub(super) branch: Option<String>,
    pub(super) repository: Option<Repository>,
    pub(super) line_of_code_url: Option<String>,
    pub(super) state: Option<String>,
    pub(super) triage_state: Option<String>,
    pub(super) triage_reason: Option<String>,
    pub(super) status: Option<String>,
    pub(super) severity: Option<String>,
    pub(super) confidence: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) categories: Texts,
    pub(super) created_at: Option<String>,
    pub(super) state_updated_at: Option<String>,
    pub(super) rule_name: Option<String>,
    pub(super) rule_message: Option<String>,
    pub(super) location: Option<Place>,
    pub(super) rule: Option<Rule>,
    pub(super) assistant: Option<Assistant>,
    pub(super) ai_impact: Option<String>,
    pub(super) vulnerability_identifier: Option<String>,
    pub(super) reachability: Option<String>,
    pub(super) reachable_condition: Option<String>,
    pub(super) found_dependency: Option<Dependency>,
    pub(super) fix_recommendations: Option<Vec<Fix>>,
    pub(super) usage: Option<Usage>,
    pub(super) epss_score: Option<Epss>,
    pub(super) is_malicious: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Repository {
    pub(super) name: Option<String>,
    pub(super) visibility: Option<String>,
}

/// Where something is, in either of two spellings.
#[derive(Default, Deserialize)]
pub(super) struct Place {
    pub(super) file_path: Option<String>,
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) line: Scalar,
    #[serde(default)]
    pub(super) start_line: Scalar,
    #[serde(default)]
    pub(super) end_line: Scalar,
}

#[derive(Default, Deserialize)]
pub(super) struct Rule {
    pub(super) name: Option<String>,
    pub(super) message: Option<String>,
    pub(super) confidence: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) vulnerability_classes: Texts,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) cwe_names: Texts,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) owasp_names: Texts,
}

#[derive(Default, Deserialize)]
pub(super) struct Assistant {
    pub(super) autofix: Option<Autofix>,
    pub(super) guidance: Option<Told>,
    pub(super) rule_explanation: Option<Told>,
}

#[derive(Default, Deserialize)]
pub(super) struct Autofix {
    pub(super) fix_code: Option<String>,
    pub(super) explanation: Option<String>,
}

/// A text in short and at length.
#[derive(Default, Deserialize)]
pub(super) struct Told {
    pub(super) summary: Option<String>,
    pub(super) explanation: Option<String>,
    pub(super) instructions: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct Dependency {
    pub(super) package: Option<String>,
    pub(super) version: Option<String>,
    pub(super) ecosystem: Option<String>,
    pub(super) transitivity: Option<String>,
    pub(super) lockfile_line_url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Fix {
    pub(super) package: Option<String>,
    pub(super) version: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    pub(super) location: Option<Place>,
}

#[derive(Deserialize)]
pub(super) struct Epss {
    #[serde(default)]
    pub(super) score: Scalar,
}

/// A finding of Secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leak {
    pub(super) id: Scalar,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) finding_path: Option<String>,
    pub(super) finding_path_url: Option<String>,
    pub(super) repository: Option<Repository>,
    #[serde(rename = "ref")]
    pub(super) branch: Option<String>,
    pub(super) severity: Option<String>,
    pub(super) confidence: Option<String>,
    pub(super) validation_state: Option<String>,
    pub(super) status: Option<String>,
    pub(super) rule_hash_id: Option<String>,
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
}
