//! What Dependency-Track tells of a finding, and what it becomes.

use crate::{kit::Loose, prelude::*};

/// The finding in a project whose page is at `url`.
pub(super) fn finding(wire: Wire, project: &str, url: Option<Box<str>>, cx: &Cx) -> Result<Item, String> {
    let Wire { component, vulnerability, analysis, attribution, matrix } = wire;
    let id = vulnerability.vuln_id.as_str();
    let version = component.version.as_deref().unwrap_or_default();
    let separator = if version.is_empty() { "" } else { ":" };
    let score = |loose: &Loose| loose.number();
    let cvss = Cvss::read(
        "4.0",
        vulnerability.cvss_v4_vector.as_deref(),
        score(&vulnerability.cvss_v4_base_score).or(score(&vulnerability.cvss_v4_score)),
    )
    .or_else(|| Cvss::read("3.1", vulnerability.cvss_v3_vector.as_deref(), score(&vulnerability.cvss_v3_base_score)))
    .or_else(|| Cvss::read("2.0", vulnerability.cvss_v2_vector.as_deref(), score(&vulnerability.cvss_v2_base_score)));
    let mut tags: Vec<Box<str>> = Vec::new();
    let word = vulnerability.severity.as_deref().unwrap_or("UNASSIGNED");
    let severity = match word {
        "CRITICAL" => Severity::Critical,
        "HIGH" => Severity::High,
        "MEDIUM" => Severity::Medium,
        "LOW" => Severity::Low,
        "INFO" => Severity::Info,
        "UNASSIGNED" => {
            tags.push("unassigned".into());
            cvss.as_ref().map_or(Severity::Unknown, Cvss::severity)
        }
        other => cx.unknown("severity", other, Severity::Unknown),
    };
    let analysis = analysis.unwrap_or_default();
    let analyzed = analysis.state.as_deref().unwrap_or("NOT_SET");
    let state = match analyzed {
        "FALSE_POSITIVE" | "NOT_AFFECTED" => State::FalsePositive,
        "RESOLVED" => State::Fixed,
        _ if analysis.is_suppressed => State::RiskAccepted,
        "EXPLOITABLE" => {
            tags.push("verified".into());
            State::Open
        }
        "IN_TRIAGE" | "NOT_SET" => State::Open,
        other => cx.unknown("analysis state", other, State::Open),
    };
    let suppressed = if analysis.is_suppressed { ", suppressed" } else { "" };
    // The vulnerability's own id comes first: it is the one in the title.
    let Ids { cve, other: identifiers, .. } = Ids::of([id].into_iter().chain(vulnerability.aliases.iter().flat_map(Alias::ids)));
    let mut cwe: Vec<Box<str>> = vulnerability.cwes.iter().filter_map(|cwe| ids::cwe(cwe.cwe_id.whole()?)).collect();
    if cwe.is_empty() {
        cwe.extend(vulnerability.cwe_id.whole().and_then(ids::cwe));
    }
    let attribution = attribution.unwrap_or_default();
    tags.extend([&attribution.analyzer_identity, &component.scope].into_iter().flatten().map(|tag| text::line(tag)));
    tags.extend(
        component.latest_version.filter(|latest| !latest.is_empty()).map(|latest| format!("latest version {}", text::line(&latest)).into()),
    );
    let mut references = vulnerability.references.as_deref().map(text::links).unwrap_or_default();
    references.extend(attribution.reference_url.filter(|url| !references.iter().any(|known| **known == **url)).map(Into::into));
    let parts = [vulnerability.title.as_deref(), vulnerability.subtitle.as_deref(), vulnerability.description.as_deref()];
    let analyst = analysis.detail.as_deref().map(|detail| format!("Analysis: {detail}"));
    let name = match component.group.as_deref() {
        Some(group) if !group.is_empty() => format!("{group}/{}", component.name),
        _ => component.name.clone(),
    };
    Ok(Item::Finding(Box::new(Finding {
        rule: text::keep(id),
        title: text::line(&format!("{}{separator}{version} affected by {id}", component.name)),
        description: text::paragraphs(parts.into_iter().chain([analyst.as_deref()])),
        severity,
        vendor_severity: Some(text::line(word)),
        state,
        vendor_state: Some(text::line(&format!("{analyzed}{suppressed}"))),
        cwe,
        cve,
        identifiers,
        cvss,
        epss_score: vulnerability.epss_score.number(),
        exploited: vulnerability.is_kev,
        component_name: text::keep(&name),
        component_version: text::keep(version),
        component_purl: component.purl.as_deref().and_then(text::purl),
        asset_key: component.uuid.map(Into::into),
        remediation: vulnerability.recommendation.as_deref().and_then(text::keep),
        reference_urls: references,
        tags,
        url,
        vendor_first_seen: attribution
            .attributed_on
            .whole()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .or_else(|| text::time(attribution.attributed_on.text()?)),
        ..Finding::new(matrix, project, Category::Sca)
    })))
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
    component: Component,
    vulnerability: Vulnerability,
    analysis: Option<Analysis>,
    attribution: Option<Attribution>,
    matrix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    uuid: Option<String>,
    #[serde(default)]
    name: String,
    group: Option<String>,
    version: Option<String>,
    purl: Option<String>,
    scope: Option<String>,
    latest_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vulnerability {
    vuln_id: String,
    title: Option<String>,
    subtitle: Option<String>,
    description: Option<String>,
    recommendation: Option<String>,
    references: Option<String>,
    severity: Option<String>,
    #[serde(default)]
    cvss_v2_base_score: Loose,
    #[serde(default)]
    cvss_v3_base_score: Loose,
    #[serde(default)]
    cvss_v4_base_score: Loose,
    #[serde(default)]
    cvss_v4_score: Loose,
    cvss_v2_vector: Option<String>,
    cvss_v3_vector: Option<String>,
    cvss_v4_vector: Option<String>,
    #[serde(default)]
    epss_score: Loose,
    is_kev: Option<bool>,
    #[serde(default)]
    cwe_id: Loose,
    #[serde(default)]
    cwes: Vec<Weakness>,
    #[serde(default)]
    aliases: Vec<Alias>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Weakness {
    #[serde(default)]
    cwe_id: Loose,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    cve_id: Option<String>,
    ghsa_id: Option<String>,
    sonatype_id: Option<String>,
    osv_id: Option<String>,
    snyk_id: Option<String>,
    vuln_db_id: Option<String>,
}

impl Alias {
    fn ids(&self) -> impl Iterator<Item = &str> {
        [&self.cve_id, &self.ghsa_id, &self.sonatype_id, &self.osv_id, &self.snyk_id, &self.vuln_db_id]
            .into_iter()
            .filter_map(Option::as_deref)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Analysis {
    state: Option<String>,
    #[serde(default)]
    is_suppressed: bool,
    detail: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attribution {
    analyzer_identity: Option<String>,
    #[serde(default)]
    attributed_on: Loose,
    reference_url: Option<String>,
}
