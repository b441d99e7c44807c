//! What a result becomes: the one place of judgement.

use super::wire::{Data, Details, Metrics, Node, Recommended, Wire};
use crate::{kit::Loose, prelude::*};

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
        other => cx.unknown("type of result", other, Category::Misconfiguration),
    };
    let word = severity.as_deref().unwrap_or_default().trim();
    let severity = match &*word.to_ascii_uppercase() {
        "CRITICAL" => Severity::Critical,
        "HIGH" => Severity::High,
        "MEDIUM" => Severity::Medium,
        "LOW" => Severity::Low,
        "INFO" => Severity::Info,
        _ => cx.unknown("severity", word, Severity::Unknown),
    };
    // Custom states are the tenant's own words: known to mean open.
    let triaged = state.as_deref().map(str::trim).filter(|state| !state.is_empty()).unwrap_or("TO_VERIFY");
    let fixed = match status.as_deref().unwrap_or("RECURRENT").trim() {
        "FIXED" => true,
        "NEW" | "RECURRENT" => false,
        other => cx.unknown("status", other, false),
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
    let said = [Some(&*kind), group, platform].into_iter().chain(details.compliances.iter().flatten().map(|name| Some(&**name)));
    let mut tags = text::distinct(said.chain([Some(triaged), verified.then_some("verified"), image.as_deref()]).flatten());
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
        reference_urls: text::distinct(links.filter(|link| link.starts_with("https://") || link.starts_with("http://"))),
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
        let kind = match &*self.manager.as_deref()?.to_ascii_lowercase() {
            "maven" => "maven",
            "npm" => "npm",
            "python" => "pypi",
            "nuget" => "nuget",
            "go" => "golang",
            "php" => "composer",
            "ruby" => "gem",
            _ => return None,
        };
        text::package_named(kind, name, version)
    }
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
