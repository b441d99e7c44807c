//! What Checkmarx sends, and the finding that a result becomes.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::Origin;
use crate::{kit::Loose, prelude::*};

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

/// What is the same for every result of a scan.
pub(super) struct Around<'a> {
    pub(super) cx: &'a Cx,
    pub(super) project: &'a str,
    pub(super) branch: Option<&'a str>,
    pub(super) applications: &'a [Box<str>],
    pub(super) url: &'a str,
}

pub(super) fn finding(wire: Wire, around: &Around<'_>) -> Result<Item, String> {
    let cx = around.cx;
    let Some(key) = wire.key(around.project) else { return Err("no id in it".to_owned()) };
    let Wire { kind, id, status, state, severity, first_found_at, found_at, description, data, vulnerability_details, .. } = wire;
    let (data, details) = (data.unwrap_or_default(), vulnerability_details.unwrap_or_default());
    let id = id.text().unwrap_or_default();
    let category = match &*kind {
        "sast" => Category::Sast,
        "sca" => Category::Sca,
        "kics" => Category::Iac,
        "containers" | "sca-container" => Category::Container,
        "sscs-secret-detection" => Category::Secret,
        "sscs-scorecard" => Category::Misconfiguration,
        other => {
            cx.warn(format!("unknown type of result `{}`", text::line(other)));
            Category::Misconfiguration
        }
    };
    let word = severity.as_deref().unwrap_or_default().trim();
    let severity = match &*word.to_ascii_uppercase() {
        "CRITICAL" => Severity::Critical,
        "HIGH" => Severity::High,
        "MEDIUM" => Severity::Medium,
        "LOW" => Severity::Low,
        "INFO" => Severity::Info,
        _ => {
            cx.warn(format!("unknown severity `{}`", text::line(word)));
            Severity::Unknown
        }
    };
    // Custom states are the tenant's own words: known to mean open.
    let triaged = state.as_deref().map(str::trim).filter(|state| !state.is_empty()).unwrap_or("TO_VERIFY");
    let fixed = match status.as_deref().unwrap_or("RECURRENT").trim() {
        "FIXED" => true,
        "NEW" | "RECURRENT" => false,
        other => {
            cx.warn(format!("unknown status `{}`", text::line(other)));
            false
        }
    };
    let (state, verified) = match triaged {
        "NOT_EXPLOITABLE" => (State::FalsePositive, false),
        _ if fixed => (State::Fixed, false),
        "CONFIRMED" | "URGENT" => (State::Open, true),
        _ => (State::Open, false),
    };
    let component = data.component();
    let (title, rule) = match category {
        Category::Sca | Category::Container => (titled(id, &component), Some(id)),
        Category::Secret => (data.rule_name.as_deref().unwrap_or(id).to_owned(), data.rule_name.as_deref()),
        _ => match (&data.query_name, &data.rule_name) {
            (Some(query), _) => (query.replace('_', " "), data.query_id.text().map(untaken)),
            (None, Some(rule)) => (rule.clone(), Some(&**rule)),
            (None, None) => (titled(id, &component), None),
        },
    };
    let cve = [details.cve_name.text().unwrap_or_default().trim(), id].into_iter().find(|name| is_cve(name));
    let group = data.group.as_deref().map(untaken);
    let platform = data.language_name.as_deref().or(data.platform.as_deref());
    let image = data.image_name.as_deref().map(|name| [name, ":", data.image_tag.as_deref().unwrap_or_default()].concat());
    let image = image.map(|image| ["image ", image.trim_end_matches(':')].concat());
    let mut tags: Vec<Box<str>> = Vec::new();
    let said = [Some(&*kind), group, platform].into_iter().chain(details.compliances.iter().flatten().map(|name| Some(&**name)));
    for tag in said.chain([Some(triaged), verified.then_some("verified"), image.as_deref()]).flatten() {
        tags.extend(Some(text::line(tag)).filter(|tag| !tag.is_empty() && !tags.contains(tag)));
    }
    tags.extend(around.applications.iter().map(|name| ["application ", name].concat().into()));
    let (sink, source) = (data.nodes.iter().flatten().next_back(), data.nodes.iter().flatten().next());
    let file = |node: Option<&Node>| node.and_then(|node| Some((text::keep(node.file_name.as_deref()?)?, row(&node.line))));
    let (file_path, line) = match file(sink) {
        Some((file, line)) => (Some(file), line),
        None => (
            [&data.file_name, &data.filename, &data.image_file_path].into_iter().flatten().find_map(|file| text::keep(file)),
            row(&data.line),
        ),
    };
    let from = (data.nodes.as_ref().is_some_and(|nodes| nodes.len() > 1)).then(|| file(source)).flatten();
    let from = from.map(|(file, line)| format!("\n\nSource: {file}{}", line.map(|line| format!(", line {line}")).unwrap_or_default()));
    let description = description.as_deref().and_then(text::from_html).map(String::from).unwrap_or_default();
    let better = match &data.recommended_version {
        Some(Recommended::Version(version)) if !version.trim().is_empty() => Some(version.trim()),
        _ => None,
    };
    let update = better.map(|version| format!("Update {} to version {version}.", component.name.as_deref().unwrap_or("the package")));
    let remediation = update.or(data.expected_value.clone()).or(data.remediation.clone());
    let links = data.package_data.iter().flatten().filter_map(|package| package.url.as_deref()).chain(data.query_url.as_deref());
    let mut reference_urls: Vec<Box<str>> = Vec::new();
    for link in links.filter(|link| link.starts_with("https://") || link.starts_with("http://")) {
        reference_urls.extend(Some(text::line(link)).filter(|link| !reference_urls.contains(link)));
    }
    let fixed_word = if fixed { ", FIXED" } else { "" };
    Ok(Item::Finding(Box::new(Finding {
        rule: rule.and_then(text::keep),
        branch: around.branch.and_then(text::keep),
        title: text::line(&title),
        description: text::keep(&[&description, from.as_deref().unwrap_or_default()].concat()),
        severity,
        vendor_severity: text::keep(word).map(|word| text::line(&word)),
        state,
        vendor_state: Some(text::line(&[triaged, fixed_word].concat())),
        cve: cve.map(Into::into).into_iter().collect(),
        cwe: cwe(&details.cwe_id).into_iter().collect(),
        identifiers: Some(id).filter(|id| id.starts_with("Cx")).map(text::line).into_iter().collect(),
        cvss: cvss(&details),
        fix_available: better.map(|_| true),
        fixed_version: better.and_then(text::keep),
        component_purl: component.purl(),
        component_name: component.name.as_deref().and_then(text::keep),
        component_version: component.version.as_deref().and_then(text::keep),
        file_path,
        line_start: line,
        remediation: remediation.as_deref().and_then(text::from_html),
        reference_urls,
        tags,
        url: Some(around.url.into()),
        vendor_first_seen: first_found_at.as_deref().and_then(text::time),
        vendor_last_seen: found_at.as_deref().and_then(text::time),
        ..Finding::new(key, around.project, category)
    })))
}

/// The id with the package that it is about.
fn titled(id: &str, component: &Component) -> String {
    match (&component.name, &component.version) {
        (Some(name), Some(version)) => format!("{id} in {name} {version}"),
        (Some(name), None) => format!("{id} in {name}"),
        _ => id.to_owned(),
    }
}

/// A text without the note that some answers add: `Build Process [Taken from category]`.
fn untaken(text: &str) -> &str {
    text.split(" [Taken from ").next().unwrap_or(text).trim()
}

fn row(line: &Loose) -> Option<u32> {
    line.whole().and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0)
}

fn is_cve(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix("CVE-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(year, number)| year.len() == 4 && digits(year) && digits(number))
}

fn cwe(id: &Loose) -> Option<Box<str>> {
    let text = id.text()?.trim();
    let number = text.strip_prefix("CWE-").unwrap_or(text);
    (number.bytes().all(|byte| byte.is_ascii_digit()) && !number.trim_matches('0').is_empty()).then(|| ["CWE-", number].concat().into())
}

/// The score, with a vector when every base metric is there: all letters are the first of their words.
fn cvss(details: &Details) -> Option<Cvss> {
    let none = Metrics::default();
    let m = details.cvss.as_ref().unwrap_or(&none);
    let score = [&details.cvss_score, &m.score].into_iter().filter_map(Loose::number).find(|score| *score > 0.0);
    let integrity = m.integrity.as_ref().or(m.integrity_impact.as_ref());
    let impacts = [m.confidentiality.as_ref(), integrity, m.availability.as_ref()];
    let second = m.version.number().is_some_and(|version| (2.0..3.0).contains(&version))
        || impacts.iter().flatten().any(|word| matches!(&*word.to_ascii_uppercase(), "PARTIAL" | "COMPLETE"));
    let [confidentiality, integrity, availability] = impacts;
    let (start, metrics) = if second {
        let metrics = [("AV", m.attack_vector.as_ref()), ("AC", m.attack_complexity.as_ref()), ("Au", m.authentication.as_ref())];
        ("", metrics.to_vec())
    } else {
        let (vector, complexity) = (m.attack_vector.as_ref(), m.attack_complexity.as_ref());
        let rest = [("PR", m.privileges_required.as_ref()), ("UI", m.user_interaction.as_ref()), ("S", m.scope.as_ref())];
        ("CVSS:3.1/", [("AV", vector), ("AC", complexity)].into_iter().chain(rest).collect())
    };
    let metrics = metrics.into_iter().chain([("C", confidentiality), ("I", integrity), ("A", availability)]);
    let letters: Option<Vec<String>> =
        metrics.map(|(name, word)| Some(format!("{name}:{}", word?.trim().chars().next()?.to_ascii_uppercase()))).collect();
    let vector = letters.map(|letters| [start, &letters.join("/")].concat());
    let version = if second { "2.0" } else { "3.1" };
    Cvss::read(version, vector.as_deref(), score.map(|score| (score * 10.0).round() / 10.0))
}

/// A package, as far as it is told.
#[derive(Default)]
struct Component {
    manager: Option<String>,
    name: Option<String>,
    version: Option<String>,
}

impl Component {
    fn purl(&self) -> Option<Box<str>> {
        let (name, version) = (self.name.as_deref()?, self.version.as_deref());
        let (kind, cut) = match &*self.manager.as_deref()?.to_ascii_lowercase() {
            "maven" => ("maven", ':'),
            "npm" => ("npm", '/'),
            "python" => ("pypi", '\0'),
            "nuget" => ("nuget", '\0'),
            "go" => ("golang", '/'),
            "php" => ("composer", '/'),
            "ruby" => ("gem", '\0'),
            _ => return None,
        };
        let (namespace, name) = name.rsplit_once(cut).map_or((None, name), |(namespace, name)| (Some(namespace), name));
        text::package(kind, namespace, name, version)
    }
}

/// What tells one result from another, read from whatever came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Loose,
    #[serde(default)]
    similarity_id: Loose,
    data: Option<Parts>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parts {
    result_hash: Option<String>,
    package_identifier: Option<String>,
    package_name: Option<String>,
    package_version: Option<String>,
    image_name: Option<String>,
    image_tag: Option<String>,
}

impl Key {
    pub(super) fn engine(&self) -> Engine {
        Engine::of(&self.kind)
    }

    /// The key of the finding: `id` alone names a CVE, and that may be in many packages.
    pub(super) fn key(self, project: &str) -> Option<String> {
        let Key { kind, id, similarity_id, data } = self;
        let data = data.unwrap_or_default();
        let (id, hash) = (id.text(), data.result_hash.as_deref().filter(|hash| !hash.is_empty()));
        let package = [&data.package_name, &data.package_version].map(|part| part.as_deref().unwrap_or_default());
        let image = [&data.image_name, &data.image_tag].map(|part| part.as_deref().unwrap_or_default());
        let own = match &*kind {
            "sast" => hash.or(id)?.to_owned(),
            "kics" => similarity_id.text().or(id)?.to_owned(),
            "sca" => match data.package_identifier.as_deref().filter(|package| !package.is_empty()) {
                Some(package) => [package, id?].join("/"),
                None => [package[0], package[1], id?].join("/"),
            },
            "sca-container" => [package[0], package[1], id?].join("/"),
            "containers" => [&image.join(":"), package[0], package[1], id?].join("/"),
            _ => id?.to_owned(),
        };
        Some([project, &kind, &own].join("/"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Loose,
    #[serde(default)]
    similarity_id: Loose,
    status: Option<String>,
    state: Option<String>,
    severity: Option<String>,
    first_found_at: Option<String>,
    found_at: Option<String>,
    description: Option<String>,
    data: Option<Data>,
    vulnerability_details: Option<Details>,
}

impl Wire {
    fn key(&self, project: &str) -> Option<String> {
        let data = self.data.as_ref().map(|data| Parts {
            result_hash: data.result_hash.clone(),
            package_identifier: data.package_identifier.clone(),
            package_name: data.package_name.clone(),
            package_version: data.package_version.clone(),
            image_name: data.image_name.clone(),
            image_tag: data.image_tag.clone(),
        });
        Key { kind: self.kind.clone(), id: self.id.clone(), similarity_id: self.similarity_id.clone(), data }.key(project)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Data {
    query_id: Loose,
    query_name: Option<String>,
    query_url: Option<String>,
    group: Option<String>,
    result_hash: Option<String>,
    language_name: Option<String>,
    platform: Option<String>,
    expected_value: Option<String>,
    nodes: Option<Vec<Node>>,
    file_name: Option<String>,
    filename: Option<String>,
    line: Loose,
    package_identifier: Option<String>,
    package_name: Option<String>,
    package_version: Option<String>,
    recommended_version: Option<Recommended>,
    package_data: Option<Vec<Package>>,
    image_name: Option<String>,
    image_tag: Option<String>,
    image_file_path: Option<String>,
    rule_name: Option<String>,
    remediation: Option<String>,
}

impl Data {
    fn component(&self) -> Component {
        if let Some((manager, rest)) = self.package_identifier.as_deref().and_then(|package| package.split_once('-')) {
            let (name, version) = rest.rsplit_once('-').map_or((rest, None), |(name, version)| (name, Some(version.to_owned())));
            return Component { manager: Some(manager.to_owned()), name: Some(name.to_owned()), version };
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Component { manager: None, name: given(&self.package_name), version: given(&self.package_version) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    file_name: Option<String>,
    #[serde(default)]
    line: Loose,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Recommended {
    Version(String),
    /// An object of unknown make.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Package {
    url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    cwe_id: Loose,
    cvss_score: Loose,
    cve_name: Loose,
    compliances: Option<Vec<String>>,
    cvss: Option<Metrics>,
}

/// Base metrics: SCA writes them in camel case, containers in snake case.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metrics {
    version: Loose,
    score: Loose,
    scope: Option<String>,
    #[serde(alias = "attack_vector")]
    attack_vector: Option<String>,
    #[serde(alias = "attack_complexity")]
    attack_complexity: Option<String>,
    #[serde(alias = "privileges_required")]
    privileges_required: Option<String>,
    #[serde(alias = "user_interaction")]
    user_interaction: Option<String>,
    #[serde(alias = "confidentiality_impact")]
    confidentiality: Option<String>,
    integrity: Option<String>,
    #[serde(alias = "integrity_impact")]
    integrity_impact: Option<String>,
    #[serde(alias = "availability_impact")]
    availability: Option<String>,
    authentication: Option<String>,
}

/// A page of any list; an empty one may be null.
#[derive(Deserialize)]
pub(super) struct Listing {
    #[serde(alias = "projects", alias = "applications", alias = "scans", alias = "results", deserialize_with = "Option::deserialize")]
    pub(super) rows: Option<Vec<Box<RawValue>>>,
    #[serde(rename = "totalCount")]
    pub(super) total: Option<u64>,
    #[serde(rename = "filteredTotalCount")]
    pub(super) filtered: Option<u64>,
}

impl Listing {
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) repo_url: Option<String>,
    pub(super) main_branch: Option<String>,
    pub(super) origin: Option<String>,
    #[serde(default)]
    pub(super) criticality: Loose,
    pub(super) tags: Option<BTreeMap<String, Option<String>>>,
    pub(super) application_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scan {
    pub(super) id: Box<str>,
    status: Option<String>,
    pub(super) branch: Option<Box<str>>,
    engines: Option<Vec<String>>,
    status_details: Option<Vec<StatusDetail>>,
}

#[derive(Deserialize)]
struct StatusDetail {
    name: Option<String>,
    status: Option<String>,
}

impl Scan {
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
