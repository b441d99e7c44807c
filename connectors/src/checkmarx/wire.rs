//! What Checkmarx One sends.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Deserializer, IgnoredAny};
use sha2::{Digest, Sha256};

use crate::{
    kit::{Scalar, count_if_any},
    prelude::*,
};

/// For `deserialize_with`: a member that is not of the expected form counts as absent, so that a key can be read all the same.
fn lenient<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_str(Box::<RawValue>::deserialize(deserializer)?.get()).ok())
}

/// Who found a result: what succeeds or fails in a scan on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    Sast,
    Sca,
    Kics,
    Containers,
    /// Every other one: secrets, scorecards, what is yet to come.
    Other,
}

impl Engine {
    pub(super) const ALL: [Engine; 5] = [Engine::Sast, Engine::Sca, Engine::Kics, Engine::Containers, Engine::Other];

    /// The engine that a scan names; `None` for what brings no results of its own here.
    pub(super) fn named(name: &str) -> Option<Self> {
        match &*name.to_ascii_lowercase() {
            "general" | "apisec" => None,
            "sast" => Some(Engine::Sast),
            "sca" => Some(Engine::Sca),
            "kics" => Some(Engine::Kics),
            "containers" => Some(Engine::Containers),
            _ => Some(Engine::Other),
        }
    }

    /// The engine that results of a type come from.
    fn of(kind: &str) -> Self {
        match kind {
            "sast" => Engine::Sast,
            "sca" | "sca-container" => Engine::Sca,
            "kics" => Engine::Kics,
            "containers" => Engine::Containers,
            _ => Engine::Other,
        }
    }
}

/// What tells one result from another, read from whatever came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) id: Scalar,
    #[serde(default)]
    pub(super) similarity_id: Scalar,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) data: Option<Parts>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Parts {
    pub(super) result_hash: Scalar,
    pub(super) package_identifier: Scalar,
    pub(super) package_name: Scalar,
    pub(super) package_version: Scalar,
    pub(super) image_name: Scalar,
    pub(super) image_tag: Scalar,
    pub(super) file_name: Scalar,
    pub(super) filename: Scalar,
    pub(super) line: Scalar,
    pub(super) expected_value: Scalar,
    pub(super) value: Scalar,
    /// The last node: where a data flow ends.
    #[serde(rename = "nodes", deserialize_with = "last")]
    pub(super) sink: Option<Node>,
}

fn last<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Node>, D::Error> {
    let nodes: Option<Vec<Box<RawValue>>> = lenient(deserializer)?;
    Ok(nodes.and_then(|nodes| serde_json::from_str(nodes.last()?.get()).ok()))
}

impl Parts {
    /// File, method and line within the method at which a data flow ends: the line stays when some are added above the method.
    fn end(&self) -> Option<String> {
        let node = self.sink.as_ref()?;
        let line = node.line.whole().unwrap_or_default();
        let method_line = node.method_line.whole().filter(|start| (1..=line).contains(start)).unwrap_or_default();
        let [file, method] = [&node.file_name, &node.method].map(|text| text.text().unwrap_or_default());
        Some(digest(&[file, method, &(line - method_line).to_string()]))
    }

    /// What an infrastructure result demands and has met: it tells apart results of one similarity id.
    fn demand(&self) -> String {
        digest(&[&self.expected_value, &self.value].map(|text| text.text().unwrap_or_default()))
    }

    /// File and line of an infrastructure result, and what it is about there.
    fn spot(&self) -> String {
        let file = self.file_name.text().or(self.filename.text()).unwrap_or_default();
        digest(&[file, self.line.text().unwrap_or_default(), &self.demand()])
    }
}

/// Sixteen digits that stand for these texts in a key.
fn digest(texts: &[&str]) -> String {
    Sha256::digest(texts.join("\n"))[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Key {
    pub(super) fn engine(&self) -> Engine {
        Engine::of(&self.kind)
    }

    /// The key of the finding. `id` alone names a CVE, which may be in many packages, or counts anew in each scan; one hash or
    /// similarity id may stand for several places.
    pub(super) fn key(&self, project: &str) -> Option<String> {
        let Key { kind, id, similarity_id, data } = self;
        let none = Parts::default();
        let data = data.as_ref().unwrap_or(&none);
        let (id, hash) = (id.text(), data.result_hash.text());
        let package = [&data.package_name, &data.package_version].map(|part| part.text().unwrap_or_default());
        let image = [&data.image_name, &data.image_tag].map(|part| part.text().unwrap_or_default());
        let own = match &**kind {
            "sast" => [Some(hash.or(id)?), data.end().as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/"),
            "kics" => [similarity_id.text().or(id)?, &data.spot()].join("/"),
            "sca" => match data.package_identifier.text() {
                Some(package) => [package, id?].join("/"),
                None => [package[0], package[1], id?].join("/"),
            },
            "sca-container" => [package[0], package[1], id?].join("/"),
            "containers" => [&image.join(":"), package[0], package[1], id?].join("/"),
            _ => id?.to_owned(),
        };
        Some([project, kind, &own].join("/"))
    }

    /// What stays of a result when its lines move and the vendor numbers it anew: Checkmarx itself carries a triage by the
    /// similarity id. Keys of packages hold nothing that moves.
    pub(super) fn lineage(&self, query: Option<&str>) -> Option<Box<str>> {
        let similarity = self.similarity_id.text()?;
        let lineage = match &*self.kind {
            "sca" | "sca-container" | "containers" => return None,
            // Of 32 bits: not alone.
            "sast" => ["sast", query.unwrap_or_default(), similarity].join("/"),
            "kics" => ["kics", similarity, &self.data.as_ref().map(Parts::demand).unwrap_or_default()].join("/"),
            other => [other, similarity].join("/"),
        };
        Some(lineage.into())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) id: Scalar,
    #[serde(default)]
    pub(super) similarity_id: Scalar,
    pub(super) status: Option<String>,
    pub(super) state: Option<String>,
    pub(super) severity: Option<String>,
    pub(super) first_found_at: Option<String>,
    pub(super) found_at: Option<String>,
    pub(super) description: Option<String>,
    #[serde(rename = "descriptionHTML")]
    pub(super) description_html: Option<String>,
    pub(super) data: Option<Data>,
    pub(super) vulnerability_details: Option<Details>,
}

impl Wire {
    pub(super) fn key(&self) -> Key {
        let parts = |data: &Data| Parts {
            result_hash: data.result_hash.clone(),
            package_identifier: data.package_identifier.clone(),
            package_name: data.package_name.clone(),
            package_version: data.package_version.clone(),
            image_name: data.image_name.clone(),
            image_tag: data.image_tag.clone(),
            file_name: data.file_name.clone(),
            filename: data.filename.clone(),
            line: data.line.clone(),
            expected_value: data.expected_value.clone(),
            value: data.value.clone(),
            sink: data.nodes.iter().flatten().next_back().cloned(),
        };
        let data = self.data.as_ref().map(parts);
        Key { kind: self.kind.clone(), id: self.id.clone(), similarity_id: self.similarity_id.clone(), data }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Data {
    pub(super) query_id: Scalar,
    pub(super) query_name: Option<String>,
    pub(super) query_url: Option<String>,
    pub(super) group: Option<String>,
    pub(super) result_hash: Scalar,
    pub(super) language_name: Option<String>,
    pub(super) platform: Option<String>,
    pub(super) expected_value: Scalar,
    pub(super) value: Scalar,
    pub(super) nodes: Option<Vec<Node>>,
    pub(super) file_name: Scalar,
    pub(super) filename: Scalar,
    pub(super) line: Scalar,
    pub(super) package_identifier: Scalar,
    pub(super) package_name: Scalar,
    pub(super) package_version: Scalar,
    pub(super) recommended_version: Option<Recommended>,
    pub(super) package_data: Option<Vec<Package>>,
    pub(super) image_name: Scalar,
    pub(super) image_tag: Scalar,
    pub(super) image_file_path: Scalar,
    pub(super) rule_name: Option<String>,
    pub(super) remediation: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    #[serde(default)]
    pub(super) file_name: Scalar,
    #[serde(default)]
    pub(super) method: Scalar,
    #[serde(default)]
    pub(super) method_line: Scalar,
    #[serde(default)]
    pub(super) line: Scalar,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Recommended {
    Version(String),
    /// An object of unknown make.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Details {
    pub(super) cwe_id: Scalar,
    pub(super) cvss_score: Scalar,
    pub(super) cve_name: Scalar,
    pub(super) compliances: Option<Vec<String>>,
    pub(super) cvss: Option<Metrics>,
}

/// Base metrics: SCA writes them in camel case, containers in snake case.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metrics {
    pub(super) version: Scalar,
    pub(super) score: Scalar,
    pub(super) scope: Option<String>,
    #[serde(alias = "attack_vector")]
    pub(super) attack_vector: Option<String>,
    #[serde(alias = "attack_complexity")]
    pub(super) attack_complexity: Option<String>,
    #[serde(alias = "privileges_required")]
    pub(super) privileges_required: Option<String>,
    #[serde(alias = "user_interaction")]
    pub(super) user_interaction: Option<String>,
    #[serde(alias = "confidentiality_impact")]
    pub(super) confidentiality: Option<String>,
    pub(super) integrity: Option<String>,
    #[serde(alias = "integrity_impact")]
    pub(super) integrity_impact: Option<String>,
    #[serde(alias = "availability_impact")]
    pub(super) availability: Option<String>,
    pub(super) authentication: Option<String>,
}

/// A page of any list; an empty one may be null.
#[derive(Deserialize)]
pub(super) struct Listing {
    #[serde(alias = "projects", alias = "applications", alias = "scans", alias = "results", deserialize_with = "Option::deserialize")]
    pub(super) rows: Option<Vec<Box<RawValue>>>,
    #[serde(rename = "totalCount", default, deserialize_with = "count_if_any")]
    total: Option<u64>,
    #[serde(rename = "filteredTotalCount", default, deserialize_with = "count_if_any")]
    filtered: Option<u64>,
}

impl Listing {
    /// How many rows the list has, as the vendor says.
    pub(super) fn declared(&self) -> u64 {
        self.filtered.or(self.total).unwrap_or_default()
    }
}

#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Application {
    pub(super) id: String,
    pub(super) name: String,
}

/// A project as a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) repo_url: Option<String>,
    pub(super) main_branch: Option<String>,
    pub(super) origin: Option<String>,
    #[serde(default)]
    pub(super) criticality: Scalar,
    pub(super) tags: Option<BTreeMap<String, Scalar>>,
}

/// What reading a project's findings needs of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) main_branch: Option<String>,
    pub(super) application_ids: Option<Vec<String>>,
}

impl Project {
    /// Its name for people.
    pub(super) fn title(&self) -> Box<str> {
        text::single_line(self.name.as_deref().unwrap_or(&self.id))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scan {
    pub(super) id: Box<str>,
    pub(super) project_id: Option<String>,
    pub(super) status: Option<String>,
    pub(super) branch: Option<Box<str>>,
    pub(super) engines: Option<Vec<String>>,
    pub(super) status_details: Option<Vec<StatusDetail>>,
}

#[derive(Deserialize)]
pub(super) struct StatusDetail {
    pub(super) name: Option<String>,
    pub(super) status: Option<String>,
}

/// A scan and its branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) scan: Box<str>,
    pub(super) branch: Option<Box<str>>,
}

impl Scan {
    /// Whether it is what was asked for: a scan of this project, and branch, with results.
    pub(super) fn is_of(&self, project: &str, branch: Option<&str>) -> bool {
        let fits = |own: Option<&str>, wanted: &str| own.is_none_or(|own| own == wanted);
        fits(self.project_id.as_deref(), project)
            && branch.is_none_or(|branch| fits(self.branch.as_deref(), branch))
            && self.status.as_deref().is_none_or(|status| ["Completed", "Partial"].iter().any(|known| status.eq_ignore_ascii_case(known)))
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { scan: self.id.clone(), branch: self.branch.clone().filter(|branch| !branch.is_empty()) }
    }

    /// Whether an engine completed in it; `None` when it did not run.
    pub(super) fn completed(&self, engine: Engine) -> Option<bool> {
        let whole = |status: &Option<String>| status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("completed"));
        let is = |name: &str| Engine::named(name) == Some(engine);
        let mut details = self.status_details.iter().flatten().filter(|detail| detail.name.as_deref().is_some_and(is)).peekable();
        if details.peek().is_some() {
            return Some(details.all(|detail| whole(&detail.status)));
        }
        // A scan that does not say which engines ran ran all that it ever does.
        let ran = self.engines.as_ref().map_or(self.status_details.is_none(), |engines| engines.iter().any(|name| is(name)));
        ran.then(|| whole(&self.status))
    }
}

impl Project {
    /// What it holds on the heap, roughly.
    pub(super) fn bytes(&self) -> usize {
        let texts = [Some(&self.id), self.name.as_ref(), self.main_branch.as_ref()];
        self.application_ids.iter().flatten().count() * 64 + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}
