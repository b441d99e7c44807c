//! What Dependency-Track tells of a finding, and what it becomes.

use std::collections::HashMap;

use crate::{
    kit::{Scalar, or_default},
    prelude::*,
};

/// Whose findings are read.
pub(super) struct Place<'a> {
    pub(super) project: &'a str,
    /// Address of the web interface.
    pub(super) frontend: Option<&'a str>,
    /// Whether it has a page for each finding.
    pub(super) links_findings: bool,
}

impl Place<'_> {
    /// The finding's own page, else the project's.
    fn link(&self, component: Option<&str>, vulnerability: Option<&str>) -> Option<Box<str>> {
        let own = component.zip(vulnerability).filter(|_| self.links_findings);
        let own = own
            .and_then(|(component, vulnerability)| link(self.frontend?, &["projects", self.project, "findings", component, vulnerability]));
        own.or_else(|| link(self.frontend?, &["projects", self.project]))
    }
}

/// A page of the web interface; `None` when an id has characters that no UUID has.
pub(super) fn link(frontend: &str, segments: &[&str]) -> Option<Box<str>> {
    let plain = |segment: &&str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    segments.iter().all(plain).then(|| format!("{frontend}/{}", segments.join("/")).into())
}

/// Rows of one finding that several analyzers reported become one and the same: version 4 lists one for each, in any order.
pub(super) fn alike(items: &mut [Item]) {
    let mut places: HashMap<Box<str>, Vec<usize>> = HashMap::new();
    for (place, item) in items.iter().enumerate() {
        if let Item::Finding(finding) = item {
            places.entry(finding.key.clone()).or_default().push(place);
        }
    }
    for places in places.into_values().filter(|places| places.len() > 1) {
        let rows = || places.iter().filter_map(|place| if let Item::Finding(finding) = &items[*place] { Some(&**finding) } else { None });
        let raw = |finding: &&Finding| finding.raw.as_deref().map(|raw| raw.get().to_owned());
        let Some(first) = rows().min_by_key(raw) else { continue };
        let (raw, title) = (first.raw.clone(), first.title.clone());
        let mut tags: Vec<Box<str>> = rows().flat_map(|finding| finding.tags.iter().cloned()).collect();
        tags.sort_unstable();
        let mut links: Vec<Box<str>> = rows().flat_map(|finding| finding.reference_urls.iter().cloned()).collect();
        links.sort_unstable();
        links.dedup();
        let (tags, seen) = (text::distinct(tags), rows().filter_map(|finding| finding.vendor_first_seen).min());
        for place in places {
            if let Item::Finding(finding) = &mut items[place] {
                (finding.raw, finding.title, finding.tags) = (raw.clone(), title.clone(), tags.clone());
                (finding.reference_urls, finding.vendor_first_seen) = (links.clone(), seen);
            }
        }
    }
}

/// What stays the same when a BOM is uploaded anew, which gives every component another uuid: the package in its project, and
/// the vulnerability. `None` where the package has no name: it would be the one of every such row.
fn lineage(project: &str, component: &Component, vulnerability: &str) -> Option<Box<str>> {
    let named = || {
        component.name.text()?;
        Some([&component.group, &component.name, &component.version].map(|part| part.text().unwrap_or_default()).join("/"))
    };
    let package = component.purl.text().map(str::to_owned).or_else(named)?;
    Some([project, &package, vulnerability].join("\n").into())
}

/// What a row becomes.
pub(super) fn finding(wire: Wire, place: &Place<'_>, cx: &Context) -> Result<Item, String> {
    let Wire { component, vulnerability, analysis, attribution, matrix } = wire;
    let (analysis, attribution) = (analysis.unwrap_or_default(), attribution.unwrap_or_default());
    let id = vulnerability.vuln_id.as_str();
    let version = component.version.text().unwrap_or_default();
    let package = component.name.text().unwrap_or("a component without a name");
    let separator = if version.is_empty() { "" } else { ":" };
    let name = component.group.text().map_or_else(|| package.to_owned(), |group| format!("{group}/{package}"));
    let cvss = vulnerability.cvss();
    let severity = vulnerability.severity(cvss.as_ref(), cx);
    let state = analysis.state(cx);
    let Ids { cve, other: identifiers, .. } = vulnerability.ids();
    let parts = [&vulnerability.title, &vulnerability.subtitle, &vulnerability.description].map(Scalar::text);
    let analyst = analysis.detail.text().map(|detail| format!("Analysis: {detail}"));
    let references = [&vulnerability.references, &attribution.reference_url].into_iter().filter_map(Scalar::text);
    Ok(Item::Finding(Box::new(Finding {
        rule: text::clean(id),
        lineage: lineage(place.project, &component, id),
        title: text::single_line(&format!("{package}{separator}{version} affected by {id}")),
        description: text::paragraphs(parts.into_iter().chain([analyst.as_deref()])),
        severity,
        vendor_severity: Some(text::single_line(vulnerability.severity_word())),
        state,
        vendor_state: Some(analysis.words()),
        cwe: vulnerability.cwes(),
        cve,
        identifiers,
        cvss,
        epss_score: vulnerability.epss_score.number(),
        exploited: vulnerability.is_kev,
        component_name: text::clean(&name),
        component_version: text::clean(version),
        component_purl: component.purl.text().and_then(text::purl),
        url: place.link(component.uuid.text(), vulnerability.uuid.text()),
        asset_key: component.uuid.text().and_then(text::clean),
        remediation: vulnerability.recommendation.text().and_then(text::clean),
        reference_urls: text::links_of(references),
        tags: tags(&component, &vulnerability, &analysis, &attribution),
        vendor_first_seen: attribution.at(),
        ..Finding::new(matrix, place.project, Category::Sca)
    })))
}

impl Vulnerability {
    /// The newest version's score.
    fn cvss(&self) -> Option<Cvss> {
        let newest = self.cvss_v4_base_score.number().or(self.cvss_v4_score.number());
        Cvss::read("4.0", self.cvss_v4_vector.text(), newest)
            .or_else(|| Cvss::read("3.1", self.cvss_v3_vector.text(), self.cvss_v3_base_score.number()))
            .or_else(|| Cvss::read("2.0", self.cvss_v2_vector.text(), self.cvss_v2_base_score.number()))
    }

    fn severity_word(&self) -> &str {
        self.severity.text().unwrap_or("UNASSIGNED")
    }

    fn is_unassigned(&self) -> bool {
        self.severity_word().eq_ignore_ascii_case("UNASSIGNED")
    }

    /// The severity; where none is assigned, the one that the score stands for.
    fn severity(&self, cvss: Option<&Cvss>, cx: &Context) -> Severity {
        if self.is_unassigned() {
            return cvss.map_or(Severity::Unknown, Cvss::severity);
        }
        let word = self.severity_word();
        Severity::of_word(word).unwrap_or_else(|| cx.unknown("severity", word, Severity::Unknown))
    }

    /// The vulnerability's own id comes first: it is the one in the title. The others are a set, in any order.
    fn ids(&self) -> Ids {
        let mut aliases: Vec<&str> = self.aliases.iter().flat_map(Alias::ids).collect();
        aliases.sort_unstable();
        Ids::of([self.vuln_id.as_str()].into_iter().chain(aliases))
    }

    fn cwes(&self) -> Vec<Box<str>> {
        let cwes: Vec<Box<str>> = self.cwes.iter().filter_map(|cwe| ids::cwe(cwe.cwe_id.whole()?)).collect();
        if cwes.is_empty() { self.cwe_id.whole().and_then(ids::cwe).into_iter().collect() } else { cwes }
    }
}

impl Analysis {
    fn word(&self) -> &str {
        self.state.text().unwrap_or("NOT_SET")
    }

    fn state(&self, cx: &Context) -> State {
        match self.word().to_ascii_uppercase().as_str() {
            "FALSE_POSITIVE" | "NOT_AFFECTED" => State::FalsePositive,
            "RESOLVED" => State::Fixed,
            _ if self.is_suppressed => State::RiskAccepted,
            "EXPLOITABLE" | "IN_TRIAGE" | "NOT_SET" => State::Open,
            _ => cx.unknown("analysis state", self.word(), State::Open),
        }
    }

    /// The state in the vendor's words.
    fn words(&self) -> Box<str> {
        text::single_line(&format!("{}{}", self.word(), if self.is_suppressed { ", suppressed" } else { "" }))
    }

    /// Whether a person found it exploitable, and it is open.
    fn is_verified(&self) -> bool {
        self.word().eq_ignore_ascii_case("EXPLOITABLE") && !self.is_suppressed
    }
}

impl Attribution {
    /// When an analyzer first found it, written as milliseconds or as a text.
    fn at(&self) -> Option<jiff::Timestamp> {
        match self.attributed_on.whole() {
            Some(milliseconds) => text::time_of_millis(milliseconds),
            None => self.attributed_on.text().and_then(text::time),
        }
    }
}

fn tags(component: &Component, vulnerability: &Vulnerability, analysis: &Analysis, attribution: &Attribution) -> Vec<Box<str>> {
    let mut tags: Vec<Box<str>> = Vec::new();
    tags.extend(vulnerability.is_unassigned().then(|| "unassigned".into()));
    tags.extend(analysis.is_verified().then(|| "verified".into()));
    let says = |tag: &&str| !tag.eq_ignore_ascii_case("none");
    tags.extend(
        [&attribution.analyzer_identity, &component.scope].into_iter().filter_map(Scalar::text).filter(says).map(text::single_line),
    );
    tags.extend(component.latest_version.text().map(|latest| format!("latest version {}", text::single_line(latest)).into()));
    tags
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) matrix: Option<String>,
    pub(super) uuid: Option<String>,
}

impl Key {
    pub(super) fn key(self) -> Option<String> {
        self.matrix.or(self.uuid)
    }
}

#[derive(Deserialize)]
pub(super) struct Wire {
    #[serde(default)]
    component: Component,
    vulnerability: Vulnerability,
    analysis: Option<Analysis>,
    attribution: Option<Attribution>,
    matrix: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    #[serde(default)]
    uuid: Scalar,
    #[serde(default)]
    name: Scalar,
    #[serde(default)]
    group: Scalar,
    #[serde(default)]
    version: Scalar,
    #[serde(default)]
    purl: Scalar,
    #[serde(default)]
    scope: Scalar,
    #[serde(default)]
    latest_version: Scalar,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vulnerability {
    #[serde(default)]
    uuid: Scalar,
    vuln_id: String,
    #[serde(default)]
    title: Scalar,
    #[serde(default)]
    subtitle: Scalar,
    #[serde(default)]
    description: Scalar,
    #[serde(default)]
    recommendation: Scalar,
    #[serde(default)]
    references: Scalar,
    #[serde(default)]
    severity: Scalar,
    #[serde(default)]
    cvss_v2_base_score: Scalar,
    #[serde(default)]
    cvss_v3_base_score: Scalar,
    #[serde(default)]
    cvss_v4_base_score: Scalar,
    #[serde(default)]
    cvss_v4_score: Scalar,
    #[serde(default)]
    cvss_v2_vector: Scalar,
    #[serde(default)]
    cvss_v3_vector: Scalar,
    #[serde(default)]
    cvss_v4_vector: Scalar,
    #[serde(default)]
    epss_score: Scalar,
    is_kev: Option<bool>,
    #[serde(default)]
    cwe_id: Scalar,
    #[serde(default, deserialize_with = "or_default")]
    cwes: Vec<Weakness>,
    #[serde(default, deserialize_with = "or_default")]
    aliases: Vec<Alias>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Weakness {
    #[serde(default)]
    cwe_id: Scalar,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Alias {
    cve_id: Scalar,
    ghsa_id: Scalar,
    sonatype_id: Scalar,
    osv_id: Scalar,
    snyk_id: Scalar,
    vuln_db_id: Scalar,
}

impl Alias {
    fn ids(&self) -> impl Iterator<Item = &str> {
        [&self.cve_id, &self.ghsa_id, &self.sonatype_id, &self.osv_id, &self.snyk_id, &self.vuln_db_id].into_iter().filter_map(Scalar::text)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Analysis {
    #[serde(default)]
    state: Scalar,
    #[serde(default, deserialize_with = "or_default")]
    is_suppressed: bool,
    #[serde(default)]
    detail: Scalar,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attribution {
    #[serde(default)]
    analyzer_identity: Scalar,
    #[serde(default)]
    attributed_on: Scalar,
    #[serde(default)]
    reference_url: Scalar,
}
