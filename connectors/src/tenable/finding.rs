//! Findings: the wire form and what it means.

use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::{Digest, Sha256};

use crate::{
    kit::{Scalar, Texts, or_default},
    prelude::*,
};

#[derive(Deserialize)]
pub(super) struct Vulnerability {
    finding_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    asset: OnAsset,
    output: Option<String>,
    plugin: Plugin,
    #[serde(default, deserialize_with = "or_default")]
    port: Port,
    scan: Option<ByScan>,
    severity: Option<String>,
    #[serde(default)]
    severity_id: Scalar,
    #[serde(default)]
    severity_default_id: Scalar,
    severity_modification_type: Option<String>,
    recast_reason: Option<String>,
    state: Option<String>,
    first_found: Option<String>,
    last_found: Option<String>,
    source: Option<String>,
    software_vulns: Option<Vec<Software>>,
}

/// What its key is made of, from an item that could not be read: the members beside the id only count where there is no id.
#[derive(Deserialize)]
pub(super) struct Known {
    finding_id: Option<String>,
    asset: Option<Box<RawValue>>,
    plugin: Option<Box<RawValue>>,
    port: Option<Box<RawValue>>,
}

impl Known {
    pub(super) fn key(self) -> Option<String> {
        if self.finding_id.as_ref().is_some_and(|id| !id.is_empty()) {
            return self.finding_id;
        }
        let plugin: KnownPlugin = part(self.plugin)?;
        key(None, &part(self.asset)?, &plugin.id, &part(self.port)?)
    }
}

/// A member that may be missing; `None` when it is there and cannot be read. What is odd about its other members does not count.
fn part<T: Default + DeserializeOwned>(member: Option<Box<RawValue>>) -> Option<T> {
    member.map_or_else(|| Some(T::default()), |member| serde_json::from_str(member.get()).ok())
}

#[derive(Default, Deserialize)]
struct KnownPlugin {
    #[serde(default)]
    id: Scalar,
}

#[derive(Default, Deserialize)]
struct OnAsset {
    uuid: Option<String>,
    #[serde(default)]
    fqdn: Texts,
    #[serde(default)]
    hostname: Texts,
    #[serde(default)]
    ipv4: Texts,
    #[serde(default)]
    ipv6: Texts,
}

#[derive(Default, Deserialize)]
struct Port {
    #[serde(default)]
    port: Scalar,
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
    id: Scalar,
    name: Option<String>,
    family: Option<String>,
    synopsis: Option<String>,
    description: Option<String>,
    solution: Option<String>,
    workaround: Option<String>,
    #[serde(default)]
    cve: Texts,
    #[serde(default)]
    cpe: Texts,
    #[serde(default)]
    bid: Texts,
    xrefs: Option<Vec<Xref>>,
    #[serde(default)]
    see_also: Texts,
    #[serde(default)]
    cvss_base_score: Scalar,
    cvss_vector: Option<Vector>,
    #[serde(default)]
    cvss3_base_score: Scalar,
    cvss3_vector: Option<Vector>,
    #[serde(default)]
    cvss4_base_score: Scalar,
    cvss4_vector: Option<Vector>,
    vpr: Option<Vpr>,
    vpr_v2: Option<Vpr>,
    #[serde(default)]
    epss_score: Scalar,
    exploit_available: Option<bool>,
    exploited_by_malware: Option<bool>,
    has_patch: Option<bool>,
    vendor_unpatched: Option<bool>,
}

#[derive(Deserialize)]
struct Vector {
    raw: Option<String>,
}

/// A priority rating: an object today, of which a new form is announced.
#[derive(Deserialize)]
#[serde(from = "VprForm")]
struct Vpr {
    score: Scalar,
    on_cisa_kev: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum VprForm {
    Rating {
        #[serde(default)]
        score: Scalar,
        on_cisa_kev: Option<bool>,
    },
    Score(Scalar),
}

impl From<VprForm> for Vpr {
    fn from(form: VprForm) -> Self {
        match form {
            VprForm::Rating { score, on_cisa_kev } => Vpr { score, on_cisa_kev },
            VprForm::Score(score) => Vpr { score, on_cisa_kev: None },
        }
    }
}

/// A reference to another list: an object in every recording, a text in the schema.
#[derive(Deserialize)]
#[serde(untagged)]
enum Xref {
    Pair {
        #[serde(rename = "type")]
        kind: String,
        id: Scalar,
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
fn key(id: Option<String>, asset: &OnAsset, plugin: &Scalar, port: &Port) -> Option<String> {
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        return Some(id);
    }
    let parts = [asset.uuid.as_deref()?, plugin.text()?, port.port.text().unwrap_or("0"), port.protocol.as_deref().unwrap_or_default()];
    Some(Sha256::digest(parts.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Asset, plugin, port and protocol: the same weakness at the same place, whatever finding ids it is given.
fn lineage(asset: &OnAsset, plugin: &Scalar, port: &Port) -> Option<Box<str>> {
    let asset = asset.uuid.as_deref().filter(|asset| !asset.is_empty())?;
    let protocol = port.protocol.as_deref().unwrap_or_default().trim().to_ascii_uppercase();
    Some([asset, plugin.text()?, port.port.text()?, &protocol].join("/").into())
}

pub(super) fn finding(mut wire: Vulnerability, container: &str, cx: &Context) -> Result<Item, String> {
    let key = key(wire.finding_id.take(), &wire.asset, &wire.plugin.id, &wire.port).ok_or("neither `finding_id` nor asset and plugin")?;
    let word = wire.severity.as_deref().map(str::trim).filter(|word| !word.is_empty()).or(wire.severity_id.text());
    let standing = Standing::read(&wire, cx);
    let weaknesses = Weaknesses::of(&wire.plugin);
    let tags = tags(&wire, standing.tags);
    let (asset, plugin, port) = (&wire.asset, &wire.plugin, &wire.port);
    let software = wire.software_vulns.as_deref().and_then(<[_]>::first);
    let identifier = software.and_then(|software| software.identifier.as_deref());
    let (product, version) = identifier.or(plugin.cpe.first()).and_then(platform).unwrap_or_default();
    let fixed = software.and_then(|software| software.fixes.iter().flatten().find_map(|fix| fix.value.as_deref()));
    let fix_available = software.and_then(|software| software.fix_available);
    let reason = wire.recast_reason.as_ref().map(|reason| ["Reason: ", reason].concat());
    let id = plugin.id.text().unwrap_or_default();
    let page = (!id.is_empty()).then(|| ["https://www.tenable.com/plugins/nessus/", id].concat());
    let name = plugin.name.as_deref().map(|name| text::single_line(&text::plain(name))).filter(|name| !name.is_empty());
    let scan = wire.scan.as_ref().and_then(|scan| scan.schedule_uuid.as_deref()).filter(|scan| !scan.is_empty());
    Ok(Item::Finding(Box::new(Finding {
        lineage: lineage(asset, &plugin.id, port),
        record_sticky: true,
        rule: text::clean(id),
        title: name.unwrap_or_else(|| ["Plugin ", id].concat().into()),
        description: paragraphs([&plugin.synopsis, &plugin.description, &wire.output, &reason]),
        severity: severity(&wire.severity_id, word, cx),
        vendor_severity: word.map(text::single_line),
        state: standing.state,
        vendor_state: Some(standing.word),
        cve: weaknesses.ids.cve,
        cwe: weaknesses.ids.cwe,
        identifiers: weaknesses.ids.other,
        cvss: cvss(plugin),
        epss_score: plugin.epss_score.number().map(|percent| percent / 100.0),
        exploited: weaknesses.exploited,
        fix_available: fix_available.or(plugin.has_patch.filter(|has| *has)).or(plugin.vendor_unpatched.filter(|not| *not).map(|not| !not)),
        component_name: software.and_then(|software| text::clean(software.product.as_deref()?)).or(text::clean(product)),
        component_version: software.and_then(|software| text::clean(software.version.as_deref()?)).or(text::clean(version)),
        component_purl: identifier.and_then(text::purl),
        fixed_version: fixed.and_then(|fixed| text::clean(if fixed.starts_with("pkg:") { package_version(fixed)? } else { fixed })),
        endpoint: endpoint(asset, port),
        remediation: paragraphs([&plugin.solution, &plugin.workaround]),
        reference_urls: text::links_of(plugin.see_also.sorted().into_iter().chain(page.as_deref())),
        tags,
        vendor_first_seen: wire.first_found.as_deref().and_then(text::time),
        vendor_last_seen: wire.last_found.as_deref().and_then(text::time),
        asset_key: asset.uuid.as_deref().map(Into::into),
        ..Finding::new(key, scan.unwrap_or(container), Category::Infrastructure)
    })))
}

/// By the number, else by the word.
fn severity(id: &Scalar, word: Option<&str>, cx: &Context) -> Severity {
    match (id.whole(), word) {
        (Some(0), _) => Severity::Info,
        (Some(1), _) => Severity::Low,
        (Some(2), _) => Severity::Medium,
        (Some(3), _) => Severity::High,
        (Some(4), _) => Severity::Critical,
        (_, Some(word)) => Severity::of_word(word).unwrap_or_else(|| cx.unknown("severity", word, Severity::Unknown)),
        (_, None) => Severity::Unknown,
    }
}

/// What scans and people say of a finding.
struct Standing {
    state: State,
    /// The vendor's words.
    word: Box<str>,
    /// What else is to be said of it.
    tags: Vec<Box<str>>,
}

impl Standing {
    fn read(wire: &Vulnerability, cx: &Context) -> Self {
        let mut tags: Vec<Box<str>> = Vec::new();
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
        let told = text::single_line(wire.state.as_deref().unwrap_or("OPEN"));
        let open = if accepted { State::RiskAccepted } else { State::Open };
        let state = match told.to_ascii_uppercase().as_str() {
            "FIXED" => State::Fixed,
            "OPEN" => open,
            "REOPENED" => {
                tags.push("reopened".into());
                open
            }
            _ => cx.unknown("state", &told, open),
        };
        Standing { state, word: if accepted { [&told, ", ACCEPTED"].concat().into() } else { told }, tags }
    }
}

fn cvss(plugin: &Plugin) -> Option<Cvss> {
    let raw = |vector: &Option<Vector>, version: &str| {
        let raw = vector.as_ref()?.raw.as_deref()?.trim();
        Some(if raw.is_empty() || raw.starts_with("CVSS:") { raw.to_owned() } else { [version, raw].concat() })
    };
    Cvss::read("4.0", raw(&plugin.cvss4_vector, "CVSS:4.0/").as_deref(), plugin.cvss4_base_score.number())
        .or_else(|| Cvss::read("3.0", raw(&plugin.cvss3_vector, "CVSS:3.0/").as_deref(), plugin.cvss3_base_score.number()))
        .or_else(|| Cvss::read("2.0", raw(&plugin.cvss_vector, "").as_deref(), plugin.cvss_base_score.number()))
}

/// What the lists of weaknesses call it, as sets, whatever their order.
struct Weaknesses {
    ids: Ids,
    /// Whether it is known to be exploited.
    exploited: Option<bool>,
}

impl Weaknesses {
    fn of(plugin: &Plugin) -> Self {
        let mut exploited = [&plugin.vpr_v2, &plugin.vpr].into_iter().flatten().find_map(|vpr| vpr.on_cisa_kev);
        let mut named: Vec<String> = plugin.cve.iter().map(str::to_owned).collect();
        let mut others: Vec<Box<str>> = plugin.bid.iter().map(|bid| ["BID:", &text::single_line(bid)].concat().into()).collect();
        for (kind, id) in plugin.xrefs.iter().flatten().filter_map(Xref::parts) {
            match kind.trim().to_ascii_uppercase().as_str() {
                kind @ ("CVE" | "CWE") if id.to_ascii_uppercase().contains(kind) => named.push(id.to_owned()),
                kind @ ("CVE" | "CWE") => named.push([kind, "-", id.trim()].concat()),
                "CISA-KNOWN-EXPLOITED" => exploited = Some(true),
                _ => others.push(text::single_line(&[kind, ":", id].concat())),
            }
        }
        named.sort_unstable();
        let mut ids = Ids::of(named);
        ids.other.extend(others);
        ids.other.sort_unstable();
        ids.other.dedup();
        Weaknesses { ids, exploited }
    }
}

fn tags(wire: &Vulnerability, mut tags: Vec<Box<str>>) -> Vec<Box<str>> {
    let (plugin, service) = (&wire.plugin, wire.port.service.as_deref().filter(|service| !service.is_empty()));
    let vpr = [&plugin.vpr, &plugin.vpr_v2].into_iter().flatten().find_map(|vpr| vpr.score.number());
    tags.extend([&plugin.family, &wire.source].into_iter().flatten().map(|tag| text::single_line(tag)));
    tags.extend(vpr.map(|score| format!("VPR {score}").into()));
    let notes = [(plugin.exploit_available, "exploit available"), (plugin.exploited_by_malware, "exploited by malware")];
    tags.extend(notes.into_iter().filter(|(yes, _)| *yes == Some(true)).map(|(_, note)| note.into()));
    tags.extend(service.map(|service| ["service ", &text::single_line(service)].concat().into()));
    tags
}

/// Plain texts one below the other: markup in them is what the plugin met or speaks of, not ours to read.
fn paragraphs<const N: usize>(parts: [&Option<String>; N]) -> Option<Box<str>> {
    let parts = parts.into_iter().flatten().map(|part| part.trim());
    text::clean(&parts.filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("n/a")).collect::<Vec<_>>().join("\n\n"))
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
    let names = [&asset.fqdn, &asset.ipv4, &asset.ipv6, &asset.hostname];
    let host = names.into_iter().find_map(|names| names.sorted().first().and_then(|host| text::clean(host)))?;
    let Some(number) = port.port.whole().filter(|number| *number > 0) else { return Some(host) };
    let host = if host.contains(':') { ["[", &host, "]"].concat().into() } else { host };
    let protocol = port.protocol.as_deref().unwrap_or_default().to_ascii_lowercase();
    let separator = if protocol.is_empty() { "" } else { "/" };
    Some(text::single_line(&format!("{host}:{number}{separator}{protocol}")))
}
