//! What a result becomes: the one place of judgement.

use super::wire::{Data, Details, Metrics, Node, Recommended, Wire};
use crate::{kit::Scalar, prelude::*};

/// What is the same for every result of a scan.
pub(super) struct PageContext<'a> {
    pub(super) cx: &'a Context,
    pub(super) project: &'a str,
    pub(super) branch: Option<&'a str>,
    pub(super) applications: &'a [Box<str>],
    pub(super) url: &'a str,
}

pub(super) fn finding(mut wire: Wire, around: &PageContext<'_>) -> Result<Item, String> {
    let identity = wire.key();
    let Some(key) = identity.key(around.project) else { return Err("no id in it".to_owned()) };
    let (data, details) = (wire.data.take().unwrap_or_default(), wire.vulnerability_details.take().unwrap_or_default());
    let (id, component) = (wire.id.text().unwrap_or_default(), data.component());
    let category = category(&wire.kind, around.cx);
    let word = wire.severity.as_deref().unwrap_or_default().trim();
    let standing = Standing::read(wire.state.as_deref(), wire.status.as_deref(), around.cx);
    let (title, rule) = title_and_rule(id, category, &data, &component);
    let ids = identifiers(id, category, &details);
    let (file_path, line_start) = place(&data);
    let better = data.better_version();
    let tags = tags(&wire.kind, &data, &details, &standing, around.applications);
    Ok(Item::Finding(Box::new(Finding {
        lineage: identity.lineage(data.query_name.as_deref()),
        rule: rule.and_then(text::clean),
        branch: around.branch.and_then(text::clean),
        title: text::single_line(&title),
        description: description(wire.description.as_deref(), wire.description_html.as_deref(), &data),
        severity: Severity::of_word(word).unwrap_or_else(|| around.cx.unknown("severity", word, Severity::Unknown)),
        vendor_severity: text::clean(word).map(|word| text::single_line(&word)),
        state: standing.state,
        vendor_state: Some(standing.words()),
        cve: ids.cve,
        cwe: cwes(&details.cwe_id),
        identifiers: ids.other,
        cvss: cvss(&details),
        fix_available: better.map(|_| true),
        fixed_version: better.and_then(text::clean),
        component_purl: component.purl(),
        component_name: component.name.as_deref().and_then(text::clean),
        component_version: component.version.as_deref().and_then(text::clean),
        file_path,
        line_start,
        remediation: remediation(&data, &component),
        reference_urls: links(&data),
        tags,
        url: Some(around.url.into()),
        vendor_first_seen: wire.first_found_at.as_deref().and_then(text::time),
        vendor_last_seen: wire.found_at.as_deref().and_then(text::time),
        ..Finding::new(key, around.project, category)
    })))
}

fn category(kind: &str, cx: &Context) -> Category {
    match kind {
        "sast" => Category::Sast,
        "sca" => Category::Sca,
        "kics" => Category::Iac,
        "containers" | "sca-container" => Category::Container,
        "sscs-secret-detection" => Category::Secret,
        "sscs-scorecard" => Category::Misconfiguration,
        other => cx.unknown("type of result", other, Category::Misconfiguration),
    }
}

/// What scans and people say of a result.
struct Standing<'a> {
    state: State,
    /// What people made of it, in the vendor's word.
    triaged: &'a str,
    verified: bool,
    fixed: bool,
}

impl<'a> Standing<'a> {
    fn read(state: Option<&'a str>, status: Option<&str>, cx: &Context) -> Self {
        // Custom states are the tenant's own words: known to mean open.
        let triaged = state.map(str::trim).filter(|state| !state.is_empty()).unwrap_or("TO_VERIFY");
        let status = status.unwrap_or("RECURRENT").trim();
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
        Standing { state, triaged, verified, fixed }
    }

    fn words(&self) -> Box<str> {
        text::single_line(&[self.triaged, if self.fixed { ", FIXED" } else { "" }].concat())
    }
}

fn title_and_rule<'a>(id: &'a str, category: Category, data: &'a Data, component: &Component) -> (String, Option<&'a str>) {
    match category {
        Category::Sca | Category::Container => (titled(id, component), Some(id)),
        Category::Secret => (data.rule_name.as_deref().unwrap_or(id).to_owned(), data.rule_name.as_deref()),
        _ => match (&data.query_name, &data.rule_name) {
            (Some(query), _) => (query.replace('_', " "), data.query_id.text().map(untaken)),
            (None, Some(rule)) => (rule.clone(), Some(&**rule)),
            (None, None) => (titled(id, component), None),
        },
    }
}

/// The name of the CVE may be that of a CWE; the id of a package's result is one, or of the vendor's own making.
fn identifiers(id: &str, category: Category, details: &Details) -> Ids {
    let mut ids = Ids::of([details.cve_name.text().unwrap_or_default(), id]);
    ids.cve.truncate(1);
    ids.other.retain(|other| **other == *id && matches!(category, Category::Sca | Category::Container));
    ids
}

/// File and line of a node.
fn at(node: Option<&Node>) -> Option<(Box<str>, Option<u32>)> {
    node.and_then(|node| Some((text::clean(node.file_name.text()?)?, row(&node.line))))
}

/// File and line: where the data ends up, else those of the result itself.
fn place(data: &Data) -> (Option<Box<str>>, Option<u32>) {
    match at(data.nodes.iter().flatten().next_back()) {
        Some((file, line)) => (Some(file), line),
        None => (
            [&data.file_name, &data.filename, &data.image_file_path].into_iter().find_map(|file| text::clean(file.text()?)),
            row(&data.line),
        ),
    }
}

/// What it is, and where the data comes from.
fn description(plain: Option<&str>, html: Option<&str>, data: &Data) -> Option<Box<str>> {
    // Only the one whose name says so is HTML: `List<String>` and `snake_case` in the other are meant as they stand.
    let description = plain.and_then(text::clean).or_else(|| html.and_then(text::from_html)).unwrap_or_default();
    let flows = data.nodes.as_ref().is_some_and(|nodes| nodes.len() > 1);
    let from = flows.then(|| at(data.nodes.iter().flatten().next())).flatten();
    let from = from.map(|(file, line)| format!("\n\nSource: {file}{}", line.map(|line| format!(", line {line}")).unwrap_or_default()));
    text::clean(&[&description, from.as_deref().unwrap_or_default()].concat())
}

fn remediation(data: &Data, component: &Component) -> Option<Box<str>> {
    let name = component.name.as_deref().unwrap_or("the package");
    let update = data.better_version().map(|version| format!("Update {name} to version {version}."));
    update.as_deref().or(data.expected_value.text()).or(data.remediation.as_deref()).and_then(text::clean)
}

fn links(data: &Data) -> Vec<Box<str>> {
    let mut links: Vec<&str> = data.package_data.iter().flatten().filter_map(|package| package.url.as_deref()).collect();
    links.sort_unstable();
    links.extend(data.query_url.as_deref());
    text::links_of(links)
}

fn tags(kind: &str, data: &Data, details: &Details, standing: &Standing<'_>, applications: &[Box<str>]) -> Vec<Box<str>> {
    let group = data.group.as_deref().map(untaken);
    let platform = data.language_name.as_deref().or(data.platform.as_deref());
    let image = data.image_name.text().map(|name| [name, ":", data.image_tag.text().unwrap_or_default()].concat());
    let image = image.map(|image| ["image ", image.trim_end_matches(':')].concat());
    let mut compliances: Vec<&str> = details.compliances.iter().flatten().map(String::as_str).collect();
    compliances.sort_unstable();
    let said = [Some(kind), group, platform].into_iter().chain(compliances.into_iter().map(Some));
    let verified = standing.verified.then_some("verified");
    let mut tags = text::distinct(said.chain([Some(standing.triaged), verified, image.as_deref()]).flatten());
    tags.extend(applications.iter().map(|name| ["application ", name].concat().into()));
    tags
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

fn row(line: &Scalar) -> Option<u32> {
    lines(line.whole(), None).0
}

/// A number, or `CWE-n`.
fn cwes(id: &Scalar) -> Vec<Box<str>> {
    id.whole().map_or_else(|| ids::cwes(id.text().unwrap_or_default()), |number| ids::cwe(number).into_iter().collect())
}

/// The score, with a vector when every base metric is there: all letters are the first of their words. A vector made of the
/// metrics goes with their own score, or with the one that follows from it: the other may be of another version.
fn cvss(details: &Details) -> Option<Cvss> {
    let none = Metrics::default();
    let m = details.cvss.as_ref().unwrap_or(&none);
    let given = |score: &Scalar| score.number().filter(|score| *score > 0.0);
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
    /// The version to update to, where one is recommended.
    fn better_version(&self) -> Option<&str> {
        match &self.recommended_version {
            Some(Recommended::Version(version)) if !version.trim().is_empty() => Some(version.trim()),
            _ => None,
        }
    }

    fn component(&self) -> Component {
        if let Some((manager, rest)) = self.package_identifier.text().and_then(|package| package.split_once('-')) {
            let (name, version) = rest.rsplit_once('-').map_or((rest, None), |(name, version)| (name, Some(version.to_owned())));
            return Component { manager: Some(manager.to_owned()), name: Some(name.to_owned()), version };
        }
        let given = |text: &Scalar| text.text().map(str::to_owned);
        Component { manager: None, name: given(&self.package_name), version: given(&self.package_version) }
    }
}
