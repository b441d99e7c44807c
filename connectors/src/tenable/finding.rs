//! Findings: the wire form and what it means.

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use crate::{kit::Loose, prelude::*};

#[derive(Deserialize)]
pub(super) struct Vulnerability {
    finding_id: Option<String>,
    #[serde(default)]
    asset: OnAsset,
    output: Option<String>,
    plugin: Plugin,
    #[serde(default)]
    port: Port,
    scan: Option<ByScan>,
    severity: Option<String>,
    #[serde(default)]
    severity_id: Loose,
    #[serde(default)]
    severity_default_id: Loose,
    severity_modification_type: Option<String>,
    recast_reason: Option<String>,
    state: Option<String>,
    first_found: Option<String>,
    last_found: Option<String>,
    source: Option<String>,
    software_vulns: Option<Vec<Software>>,
}

/// What its key is made of, from an item that could not be read.
#[derive(Deserialize)]
pub(super) struct Known {
    finding_id: Option<String>,
    asset: Option<OnAsset>,
    plugin: Option<KnownPlugin>,
    port: Option<Port>,
}

impl Known {
    pub(super) fn key(self) -> Option<String> {
        let plugin = self.plugin.unwrap_or_default();
        key(self.finding_id, &self.asset.unwrap_or_default(), &plugin.id, &self.port.unwrap_or_default())
    }
}

#[derive(Default, Deserialize)]
struct KnownPlugin {
    #[serde(default)]
    id: Loose,
}

#[derive(Default, Deserialize)]
struct OnAsset {
    uuid: Option<String>,
    fqdn: Option<String>,
    hostname: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
}

#[derive(Default, Deserialize)]
struct Port {
    #[serde(default)]
    port: Loose,
    protocol: Option<String>,
    service: Option<String>,
}

#[derive(Deserialize)]
struct ByScan {
    schedule_uuid: Option<String>,
}

#[derive(Deserialize)]
struct Plugin {
    #[serde(default)]
    id: Loose,
    name: Option<String>,
    family: Option<String>,
    synopsis: Option<String>,
    description: Option<String>,
    solution: Option<String>,
    workaround: Option<String>,
    cve: Option<Vec<String>>,
    cpe: Option<Vec<String>>,
    bid: Option<Vec<Loose>>,
    xrefs: Option<Vec<Xref>>,
    see_also: Option<Vec<String>>,
    #[serde(default)]
    cvss_base_score: Loose,
    cvss_vector: Option<Vector>,
    #[serde(default)]
    cvss3_base_score: Loose,
    cvss3_vector: Option<Vector>,
    #[serde(default)]
    cvss4_base_score: Loose,
    cvss4_vector: Option<Vector>,
    vpr: Option<Vpr>,
    vpr_v2: Option<Vpr>,
    #[serde(default)]
    epss_score: Loose,
    exploit_available: Option<bool>,
    exploited_by_malware: Option<bool>,
    has_patch: Option<bool>,
    vendor_unpatched: Option<bool>,
}

#[derive(Deserialize)]
struct Vector {
    raw: Option<String>,
}

#[derive(Deserialize)]
struct Vpr {
    #[serde(default)]
    score: Loose,
    on_cisa_kev: Option<bool>,
}

/// A reference to another list: an object in every recording, a text in the schema.
#[derive(Deserialize)]
#[serde(untagged)]
enum Xref {
    Pair {
        #[serde(rename = "type")]
        kind: String,
        id: Loose,
    },
    Text(String),
    Other(IgnoredAny),
}

impl Xref {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Xref::Pair { kind, id } => Some((kind, id.text()?)),
            Xref::Text(text) => text.split_once(':'),
            Xref::Other(IgnoredAny) => None,
        }
    }
}

#[derive(Deserialize)]
struct Software {
    identifier: Option<String>,
    product: Option<String>,
    version: Option<String>,
    fix_available: Option<bool>,
    fixes: Option<Vec<Fix>>,
}

#[derive(Deserialize)]
struct Fix {
    value: Option<String>,
}

/// A finding's own id; for those of old, which have none, what it stands for.
fn key(id: Option<String>, asset: &OnAsset, plugin: &Loose, port: &Port) -> Option<String> {
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        return Some(id);
    }
    let parts = [asset.uuid.as_deref()?, plugin.text()?, port.port.text().unwrap_or("0"), port.protocol.as_deref().unwrap_or_default()];
    Some(Sha256::digest(parts.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn finding(wire: Vulnerability, container: &str, cx: &Cx) -> Result<Item, String> {
    let Vulnerability { asset, plugin, port, .. } = wire;
    let key = key(wire.finding_id, &asset, &plugin.id, &port).ok_or("neither `finding_id` nor asset and plugin")?;
    let mut tags: Vec<Box<str>> = Vec::new();
    let severity = match (wire.severity_id.whole(), wire.severity.as_deref().map(str::to_ascii_lowercase).as_deref()) {
        (Some(0), _) | (None, Some("info")) => Severity::Info,
        (Some(1), _) | (None, Some("low")) => Severity::Low,
        (Some(2), _) | (None, Some("medium")) => Severity::Medium,
        (Some(3), _) | (None, Some("high")) => Severity::High,
        (Some(4), _) | (None, Some("critical")) => Severity::Critical,
        (_, word) => cx.unknown("severity", wire.severity_id.text().or(word).unwrap_or_default(), Severity::Unknown),
    };
    let accepted = match wire.severity_modification_type.as_deref().map(str::to_ascii_uppercase).as_deref() {
        None | Some("" | "NONE") => false,
        Some("ACCEPTED") => true,
        Some("RECASTED") => {
            let before = ["info", "low", "medium", "high", "critical"];
            let before = wire.severity_default_id.whole().and_then(|id| before.get(usize::try_from(id).ok()?));
            tags.push(["recast from ", before.unwrap_or(&"another severity")].concat().into());
            false
        }
        Some(other) => cx.unknown("change of a severity", other, false),
    };
    let word = text::line(wire.state.as_deref().unwrap_or("OPEN"));
    let open = if accepted { State::RiskAccepted } else { State::Open };
    let state = match word.to_ascii_uppercase().as_str() {
        "FIXED" => State::Fixed,
        "OPEN" => open,
        "REOPENED" => {
            tags.push("reopened".into());
            open
        }
        _ => cx.unknown("state", &word, open),
    };
    let raw = |vector: &Option<Vector>, version: &str| {
        let raw = vector.as_ref()?.raw.as_deref()?.trim();
        Some(if raw.is_empty() || raw.starts_with("CVSS:") { raw.to_owned() } else { [version, raw].concat() })
    };
    let cvss = Cvss::read("4.0", raw(&plugin.cvss4_vector, "CVSS:4.0/").as_deref(), plugin.cvss4_base_score.number())
        .or_else(|| Cvss::read("3.0", raw(&plugin.cvss3_vector, "CVSS:3.0/").as_deref(), plugin.cvss3_base_score.number()))
        .or_else(|| Cvss::read("2.0", raw(&plugin.cvss_vector, "").as_deref(), plugin.cvss_base_score.number()));
    let (mut cwe, mut identifiers) = (Vec::<Box<str>>::new(), Vec::<Box<str>>::new());
    let mut cve: Vec<Box<str>> = plugin.cve.iter().flatten().map(|cve| text::line(cve)).collect();
    let mut kev = [&plugin.vpr_v2, &plugin.vpr].into_iter().flatten().find_map(|vpr| vpr.on_cisa_kev);
    for (kind, id) in plugin.xrefs.iter().flatten().filter_map(Xref::parts) {
        let id = text::line(id);
        let (list, id) = match kind {
            "CVE" => (&mut cve, if id.starts_with("CVE-") { id } else { ["CVE-", &id].concat().into() }),
            "CWE" => (&mut cwe, ["CWE-", id.trim_start_matches("CWE-")].concat().into()),
            "CISA-KNOWN-EXPLOITED" => {
                kev = Some(true);
                continue;
            }
            _ => (&mut identifiers, [&text::line(kind), ":", &id].concat().into()),
        };
        if !list.contains(&id) {
            list.push(id);
        }
    }
    identifiers.extend(plugin.bid.iter().flatten().filter_map(|bid| Some(["BID:", bid.text()?].concat().into())));
    let vpr = [&plugin.vpr, &plugin.vpr_v2].into_iter().flatten().find_map(|vpr| vpr.score.number());
    tags.extend([&plugin.family, &wire.source].into_iter().flatten().map(|tag| text::line(tag)));
    tags.extend(vpr.map(|score| format!("VPR {score}").into()));
    let notes = [(plugin.exploit_available, "exploit available"), (plugin.exploited_by_malware, "exploited by malware")];
    tags.extend(notes.into_iter().filter(|(yes, _)| *yes == Some(true)).map(|(_, note)| note.into()));
    tags.extend(
        port.service.as_deref().filter(|service| !service.is_empty()).map(|service| ["service ", &text::line(service)].concat().into()),
    );

    let software = wire.software_vulns.as_deref().and_then(<[_]>::first);
    let identifier = software.and_then(|software| software.identifier.as_deref());
    let named = identifier.or(plugin.cpe.as_deref().and_then(<[_]>::first).map(String::as_str)).and_then(platform);
    let (product, version) = named.unwrap_or_default();
    let fixed = software.and_then(|software| software.fixes.iter().flatten().find_map(|fix| fix.value.as_deref()));
    let fix_available = software.and_then(|software| software.fix_available);
    let reason = wire.recast_reason.map(|reason| ["Reason: ", &reason].concat());
    let id = plugin.id.text().unwrap_or_default();
    let mut references: Vec<Box<str>> = Vec::new();
    let page = (!id.is_empty()).then(|| ["https://www.tenable.com/plugins/nessus/", id].concat());
    for link in plugin.see_also.iter().flatten().chain(&page).flat_map(|text| text::links(text)) {
        references.extend(Some(link).filter(|link| !references.contains(link)));
    }
    Ok(Item::Finding(Box::new(Finding {
        record_sticky: true,
        rule: text::keep(id),
        title: plugin.name.as_deref().map(text::line).filter(|name| !name.is_empty()).unwrap_or_else(|| ["Plugin ", id].concat().into()),
        description: paragraphs([&plugin.synopsis, &plugin.description, &wire.output, &reason]),
        severity,
        vendor_severity: wire.severity.as_deref().or(wire.severity_id.text()).map(text::line),
        state,
        vendor_state: Some(if accepted { [&word, ", ACCEPTED"].concat().into() } else { word }),
        cve,
        cwe,
        identifiers,
        cvss,
        epss_score: plugin.epss_score.number().map(|percent| percent / 100.0),
        exploited: kev,
        fix_available: fix_available.or(plugin.has_patch.filter(|has| *has)).or(plugin.vendor_unpatched.filter(|not| *not).map(|not| !not)),
        component_name: software.and_then(|software| text::keep(software.product.as_deref()?)).or(text::keep(product)),
        component_version: software.and_then(|software| text::keep(software.version.as_deref()?)).or(text::keep(version)),
        component_purl: identifier.and_then(text::purl),
        fixed_version: fixed.and_then(|fixed| text::keep(if fixed.starts_with("pkg:") { package_version(fixed)? } else { fixed })),
        endpoint: endpoint(&asset, &port),
        remediation: paragraphs([&plugin.solution, &plugin.workaround]),
        reference_urls: references,
        tags,
        vendor_first_seen: wire.first_found.as_deref().and_then(text::time),
        vendor_last_seen: wire.last_found.as_deref().and_then(text::time),
        asset_key: asset.uuid.map(Into::into),
        ..Finding::new(
            key,
            wire.scan.and_then(|scan| scan.schedule_uuid).filter(|scan| !scan.is_empty()).unwrap_or_else(|| container.to_owned()),
            Category::Infrastructure,
        )
    })))
}

/// Plain texts one below the other: markup in them is what the plugin met or speaks of, not ours to read.
fn paragraphs<const N: usize>(parts: [&Option<String>; N]) -> Option<Box<str>> {
    let parts = parts.into_iter().flatten().map(|part| part.trim());
    text::keep(&parts.filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("n/a")).collect::<Vec<_>>().join("\n\n"))
}

/// Product and version of a CPE name of either form.
fn platform(cpe: &str) -> Option<(&str, &str)> {
    let mut parts = cpe.strip_prefix("cpe:2.3:").or_else(|| cpe.strip_prefix("cpe:/"))?.split(':').skip(2);
    let product = parts.next()?;
    Some((product, parts.next().filter(|version| !matches!(*version, "*" | "-")).unwrap_or_default()))
}

fn package_version(purl: &str) -> Option<&str> {
    purl.split(['?', '#']).next()?.rsplit_once('@').map(|(_, version)| version)
}

fn endpoint(asset: &OnAsset, port: &Port) -> Option<Box<str>> {
    let host = [&asset.fqdn, &asset.ipv4, &asset.ipv6, &asset.hostname].into_iter().flatten().find_map(|host| text::keep(host))?;
    let Some(number) = port.port.whole().filter(|number| *number > 0) else { return Some(host) };
    let host = if host.contains(':') { ["[", &host, "]"].concat().into() } else { host };
    let protocol = port.protocol.as_deref().unwrap_or_default().to_ascii_lowercase();
    let separator = if protocol.is_empty() { "" } else { "/" };
    Some(text::line(&format!("{host}:{number}{separator}{protocol}")))
}
