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
    let identity = wire.key();
    let Some(key) = identity.key(around.project) else { return Err("no id in it".to_owned()) };
    let Wire { kind, id, status, state, severity, first_found_at, found_at, data, vulnerability_details, .. } = wire;
    let (data, details) = (data.unwrap_or_default(), vulnerability_details.unwrap_or_default());
    let lineage = identity.lineage(data.query_name.as_deref());
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
    let severity = Severity::of_word(word).unwrap_or_else(|| cx.unknown("severity", word, Severity::Unknown));
    // Custom states are the tenant's own words: known to mean open.
    let triaged = state.as_deref().map(str::trim).filter(|state| !state.is_empty()).unwrap_or("TO_VERIFY");
    let status = status.as_deref().unwrap_or("RECURRENT").trim();
    let fixed = match &*status.to_ascii_uppercase() {
        "FIXED" => true,
        "NEW" | "RECURRENT" => false,
        _ => cx.unknown("status", status, false),
    };
    let (state, verified) = match &*triaged.to_ascii_uppercase() {
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
    // The name of the CVE may be that of a CWE; the id of a package's result is one, or of the vendor's own making.
    let mut ids = Ids::of([details.cve_name.text().unwrap_or_default(), id]);
    ids.cve.truncate(1);
    ids.other.retain(|other| **other == *id && matches!(category, Category::Sca | Category::Container));
    let group = data.group.as_deref().map(untaken);
    let platform = data.language_name.as_deref().or(data.platform.as_deref());
    let image = data.image_name.text().map(|name| [name, ":", data.image_tag.text().unwrap_or_default()].concat());
    let image = image.map(|image| ["image ", image.trim_end_matches(':')].concat());
    let mut compliances: Vec<&str> = details.compliances.iter().flatten().map(String::as_str).collect();
    compliances.sort_unstable();
    let said = [Some(&*kind), group, platform].into_iter().chain(compliances.into_iter().map(Some));
    let mut tags = text::distinct(said.chain([Some(triaged), verified.then_some("verified"), image.as_deref()]).flatten());
    tags.extend(around.applications.iter().map(|name| ["application ", name].concat().into()));
    let (sink, source) = (data.nodes.iter().flatten().next_back(), data.nodes.iter().flatten().next());
    let file = |node: Option<&Node>| node.and_then(|node| Some((text::keep(node.file_name.text()?)?, row(&node.line))));
    let (file_path, line) = match file(sink) {
        Some((file, line)) => (Some(file), line),
        None => (
            [&data.file_name, &data.filename, &data.image_file_path].into_iter().find_map(|file| text::keep(file.text()?)),
            row(&data.line),
        ),
    };
    let from = (data.nodes.as_ref().is_some_and(|nodes| nodes.len() > 1)).then(|| file(source)).flatten();
    let from = from.map(|(file, line)| format!("\n\nSource: {file}{}", line.map(|line| format!(", line {line}")).unwrap_or_default()));
    // Only the one whose name says so is HTML: `List<String>` and `snake_case` in the other are meant as they stand.
    let plain = wire.description.as_deref().and_then(text::keep);
    let description = plain.or_else(|| wire.description_html.as_deref().and_then(text::from_html)).unwrap_or_default();
    let better = match &data.recommended_version {
        Some(Recommended::Version(version)) if !version.trim().is_empty() => Some(version.trim()),
        _ => None,
    };
    let update = better.map(|version| format!("Update {} to version {version}.", component.name.as_deref().unwrap_or("the package")));
    let remediation = update.as_deref().or(data.expected_value.text()).or(data.remediation.as_deref());
    let mut links: Vec<&str> = data.package_data.iter().flatten().filter_map(|package| package.url.as_deref()).collect();
    links.sort_unstable();
    links.extend(data.query_url.as_deref());
    let fixed_word = if fixed { ", FIXED" } else { "" };
    Ok(Item::Finding(Box::new(Finding {
        lineage,
        rule: rule.and_then(text::keep),
        branch: around.branch.and_then(text::keep),
        title: text::line(&title),
        description: text::keep(&[&description, from.as_deref().unwrap_or_default()].concat()),
        severity,
        vendor_severity: text::keep(word).map(|word| text::line(&word)),
        state,
        vendor_state: Some(text::line(&[triaged, fixed_word].concat())),
        cve: ids.cve,
        cwe: cwes(&details.cwe_id),
        identifiers: ids.other,
        cvss: cvss(&details),
        fix_available: better.map(|_| true),
        fixed_version: better.and_then(text::keep),
        component_purl: component.purl(),
        component_name: component.name.as_deref().and_then(text::keep),
        component_version: component.version.as_deref().and_then(text::keep),
        file_path,
        line_start: line,
        remediation: remediation.and_then(text::keep),
        reference_urls: text::links_of(links),
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
    lines(line.whole(), None).0
}

/// A number, or `CWE-n`.
fn cwes(id: &Loose) -> Vec<Box<str>> {
    id.whole().map_or_else(|| ids::cwes(id.text().unwrap_or_default()), |number| ids::cwe(number).into_iter().collect())
}

/// The score, with a vector when every base metric is there: all letters are the first of their words. A vector made of the
/// metrics goes with their own score, or with the one that follows from it: the other may be of another version.
fn cvss(details: &Details) -> Option<Cvss> {
    let none = Metrics::default();
    let m = details.cvss.as_ref().unwrap_or(&none);
    let given = |score: &Loose| score.number().filter(|score| *score > 0.0);
    let integrity = m.integrity.as_ref().or(m.integrity_impact.as_ref());
    let impacts = [m.confidentiality.as_ref(), integrity, m.availability.as_ref()];
    let number = m.version.number().unwrap_or_default();
    let second =
        (2.0..3.0).contains(&number) || impacts.iter().flatten().any(|word| matches!(&*word.to_ascii_uppercase(), "PARTIAL" | "COMPLETE"));
    let [confidentiality, integrity, availability] = impacts;
    let (version, start, metrics) = if second {
        let metrics = [("AV", m.attack_vector.as_ref()), ("AC", m.attack_complexity.as_ref()), ("Au", m.authentication.as_ref())];
        ("2.0", "", metrics.to_vec())
    } else {
        let (vector, complexity) = (m.attack_vector.as_ref(), m.attack_complexity.as_ref());
        let rest = [("PR", m.privileges_required.as_ref()), ("UI", m.user_interaction.as_ref()), ("S", m.scope.as_ref())];
        ("3.1", "CVSS:3.1/", [("AV", vector), ("AC", complexity)].into_iter().chain(rest).collect())
    };
    let metrics = metrics.into_iter().chain([("C", confidentiality), ("I", integrity), ("A", availability)]);
    let letters: Option<Vec<String>> =
        metrics.map(|(name, word)| Some(format!("{name}:{}", word?.trim().chars().next()?.to_ascii_uppercase()))).collect();
    let vector = letters.map(|letters| [start, &letters.join("/")].concat());
    let whole = Cvss::read(version, vector.as_deref(), given(&m.score)).filter(|cvss| cvss.vector.is_some());
    whole.or_else(|| Cvss::read(if number >= 4.0 { "4.0" } else { version }, None, given(&details.cvss_score).or(given(&m.score))))
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
        if let Some((manager, rest)) = self.package_identifier.text().and_then(|package| package.split_once('-')) {
            let (name, version) = rest.rsplit_once('-').map_or((rest, None), |(name, version)| (name, Some(version.to_owned())));
            return Component { manager: Some(manager.to_owned()), name: Some(name.to_owned()), version };
        }
        let given = |text: &Loose| text.text().map(str::to_owned);
        Component { manager: None, name: given(&self.package_name), version: given(&self.package_version) }
    }
}
