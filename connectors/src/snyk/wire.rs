//! What Snyk's REST API sends.

use crate::{kit::Scalar, prelude::*};

#[derive(Deserialize)]
pub(super) struct Listing {
    pub(super) data: Vec<Box<RawValue>>,
    pub(super) links: Option<Links>,
}

#[derive(Deserialize)]
pub(super) struct Links {
    pub(super) next: Option<NextLink>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum NextLink {
    Text(String),
    Object { href: String },
}

#[derive(Deserialize)]
pub(super) struct One {
    pub(super) data: Box<RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Whoami {
    pub(super) data: Who,
}

#[derive(Deserialize)]
pub(super) struct Who {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) attributes: Named,
}

#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) name: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Org {
    pub(super) id: String,
    #[serde(default)]
    pub(super) attributes: OrgAttributes,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct OrgAttributes {
    pub(super) slug: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) attributes: ProjectAttributes,
    pub(super) relationships: Option<ProjectRelationships>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProjectAttributes {
    pub(super) name: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) status: Option<String>,
    pub(super) target_file: Option<String>,
    pub(super) target_reference: Option<String>,
    pub(super) tags: Option<Vec<ProjectTag>>,
    pub(super) business_criticality: Option<Vec<String>>,
    pub(super) environment: Option<Vec<String>>,
    pub(super) lifecycle: Option<Vec<String>>,
}

impl Project {
    /// What it holds on the heap, roughly: its name, file and branch, and a few short words.
    pub(super) fn bytes(&self) -> usize {
        let Project { id, attributes: about, .. } = self;
        let long = [&about.name, &about.target_file, &about.target_reference];
        512 + id.len() + long.into_iter().flatten().map(String::len).sum::<usize>() + about.tags().map(|tag| tag.len() + 64).sum::<usize>()
    }
}

impl ProjectAttributes {
    pub(super) fn tags(&self) -> impl Iterator<Item = String> {
        let text = |tag: &ProjectTag| [tag.key.as_deref().unwrap_or_default(), ":", tag.value.as_deref().unwrap_or_default()].concat();
        self.tags.iter().flatten().map(text)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ProjectTag {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProjectRelationships {
    pub(super) target: Option<Target>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Target {
    pub(super) data: Option<TargetData>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TargetData {
    pub(super) attributes: Option<TargetAttributes>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TargetAttributes {
    pub(super) display_name: Option<String>,
    pub(super) url: Option<String>,
}

/// As much of an issue as says what to ask for around it.
#[derive(Deserialize)]
pub(super) struct ItemKey {
    pub(super) attributes: PeekAttributes,
    pub(super) relationships: Relationships,
}

#[derive(Deserialize)]
pub(super) struct PeekAttributes {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) ignored: bool,
}

#[derive(Deserialize)]
pub(super) struct Relationships {
    pub(super) scan_item: ScanItem,
}

#[derive(Deserialize)]
pub(super) struct ScanItem {
    pub(super) data: ScanItemData,
}

#[derive(Deserialize)]
pub(super) struct ScanItemData {
    pub(super) id: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

#[derive(Deserialize)]
pub(super) struct Issue {
    pub(super) id: String,
    pub(super) attributes: IssueAttributes,
    pub(super) relationships: Relationships,
}

#[derive(Deserialize)]
pub(super) struct IssueAttributes {
    pub(super) key: String,
    pub(super) title: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) ignored: bool,
    pub(super) effective_severity_level: String,
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
    pub(super) description: Option<String>,
    pub(super) classes: Option<Vec<Class>>,
    pub(super) problems: Option<Vec<Problem>>,
    pub(super) severities: Option<Vec<WireSeverity>>,
    pub(super) exploit_details: Option<Exploit>,
    pub(super) risk: Option<Risk>,
    pub(super) resolution: Option<Resolution>,
    pub(super) coordinates: Option<Vec<Coordinate>>,
}

#[derive(Deserialize)]
pub(super) struct Class {
    pub(super) id: String,
    pub(super) source: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Problem {
    pub(super) id: String,
    pub(super) source: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct WireSeverity {
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) score: Scalar,
    pub(super) vector: Option<String>,
    #[serde(default)]
    pub(super) version: Scalar,
}

#[derive(Deserialize)]
pub(super) struct Exploit {
    pub(super) maturity_levels: Option<Vec<Maturity>>,
    pub(super) sources: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct Maturity {
    pub(super) format: Option<String>,
    pub(super) level: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Risk {
    pub(super) score: Option<RiskScore>,
}

#[derive(Deserialize)]
pub(super) struct RiskScore {
    #[serde(default)]
    pub(super) value: Scalar,
}

#[derive(Deserialize)]
pub(super) struct Resolution {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) resolved_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Coordinate {
    pub(super) state: Option<String>,
    pub(super) reachability: Option<String>,
    pub(super) is_fixable_manually: Option<bool>,
    pub(super) is_fixable_snyk: Option<bool>,
    pub(super) is_fixable_upstream: Option<bool>,
    pub(super) is_patchable: Option<bool>,
    pub(super) is_pinnable: Option<bool>,
    pub(super) is_upgradeable: Option<bool>,
    pub(super) remedies: Option<Vec<Remedy>>,
    pub(super) representations: Option<Vec<Place>>,
}

impl Coordinate {
    pub(super) fn fixable(&self) -> [Option<bool>; 6] {
        let snyk = [self.is_fixable_manually, self.is_fixable_snyk, self.is_fixable_upstream];
        [snyk[0], snyk[1], snyk[2], self.is_patchable, self.is_pinnable, self.is_upgradeable]
    }
}

#[derive(Deserialize)]
pub(super) struct Remedy {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) description: Option<String>,
}

/// Where an issue is: one of these.
#[derive(Deserialize)]
pub(super) struct Place {
    pub(super) dependency: Option<Dependency>,
    #[serde(rename = "sourceLocation")]
    pub(super) source_location: Option<SourceLocation>,
    #[serde(rename = "resourcePath")]
    pub(super) resource_path: Option<String>,
    pub(super) cloud_resource: Option<CloudResource>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Dependency {
    pub(super) package_name: Option<String>,
    pub(super) package_version: Option<String>,
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.package_name.as_deref().unwrap_or("an unnamed package"))?;
        self.package_version.as_deref().filter(|version| !version.is_empty()).map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

#[derive(Deserialize)]
pub(super) struct SourceLocation {
    pub(super) file: Option<String>,
    pub(super) region: Option<Region>,
}

#[derive(Deserialize)]
pub(super) struct Region {
    pub(super) start: Option<Position>,
    pub(super) end: Option<Position>,
}

#[derive(Deserialize)]
pub(super) struct Position {
    #[serde(default)]
    pub(super) line: Scalar,
}

#[derive(Deserialize)]
pub(super) struct CloudResource {
    pub(super) environment: Option<Environment>,
    pub(super) resource: Option<Resource>,
}

#[derive(Deserialize)]
pub(super) struct Environment {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) native_id: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Resource {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) native_id: Option<String>,
    pub(super) location: Option<String>,
    pub(super) resource_type: Option<String>,
}
