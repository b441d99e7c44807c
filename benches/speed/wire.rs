//! A typed parse of what the tools answer: the members that the connectors read, owned.

#![expect(dead_code, reason = "only parsed")]

use std::collections::HashMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// How many items an answer holds; `None` when it holds no findings or assets.
pub(crate) fn parse(connector: &str, target: &str, body: &[u8]) -> Option<usize> {
    fn list<T: DeserializeOwned>(body: &[u8]) -> usize {
        serde_json::from_slice::<Option<Vec<T>>>(body).unwrap().map_or(0, |items| items.len())
    }
    match connector {
        "dependency_track" if target.contains("/finding/project/") => Some(list::<dependency_track::Finding>(body)),
        "snyk" if target.contains("/aggregated-issues") => {
            serde_json::from_slice::<snyk::Aggregated>(body).unwrap();
            None
        }
        "snyk" if target.contains("/ignores") => {
            serde_json::from_slice::<HashMap<String, Box<RawValue>>>(body).unwrap();
            None
        }
        "snyk" if target.contains("/issues") => Some(serde_json::from_slice::<snyk::Issues>(body).unwrap().data.len()),
        "tenable" if target.contains("/vulns/") && target.contains("/chunks/") => Some(list::<tenable::Finding>(body)),
        "tenable" if target.contains("/chunks/") => Some(list::<tenable::Host>(body)),
        _ => None,
    }
}

mod dependency_track {
    use super::*;

    #[derive(Deserialize)]
    pub(super) struct Finding {
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
        cvss_v2_base_score: Option<f64>,
        cvss_v3_base_score: Option<f64>,
        cvss_v2_vector: Option<String>,
        cvss_v3_vector: Option<String>,
        epss_score: Option<f64>,
        is_kev: Option<bool>,
        #[serde(default)]
        cwes: Vec<Weakness>,
        #[serde(default)]
        aliases: Vec<Alias>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Weakness {
        cwe_id: i64,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Alias {
        cve_id: Option<String>,
        ghsa_id: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Analysis {
        state: Option<String>,
        is_suppressed: bool,
        detail: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Attribution {
        analyzer_identity: Option<String>,
        attributed_on: u64,
        reference_url: Option<String>,
    }
}

mod snyk {
    use super::*;

    #[derive(Deserialize)]
    pub(super) struct Issues {
        pub(super) data: Vec<Issue>,
    }

    #[derive(Deserialize)]
    pub(super) struct Issue {
        id: String,
        attributes: Attributes,
        relationships: Relationships,
    }

    #[derive(Deserialize)]
    struct Attributes {
        key: String,
        title: String,
        #[serde(rename = "type")]
        kind: String,
        status: String,
        ignored: bool,
        effective_severity_level: String,
        created_at: Option<String>,
        description: Option<String>,
        classes: Option<Vec<Class>>,
        problems: Option<Vec<Problem>>,
        severities: Option<Vec<Severity>>,
        exploit_details: Option<Exploit>,
        risk: Option<Risk>,
        coordinates: Option<Vec<Coordinate>>,
    }

    #[derive(Deserialize)]
    struct Class {
        id: String,
        source: Option<String>,
    }

    #[derive(Deserialize)]
    struct Problem {
        id: String,
        source: Option<String>,
        url: Option<String>,
    }

    #[derive(Deserialize)]
    struct Severity {
        source: Option<String>,
        score: Option<f64>,
        vector: Option<String>,
        version: Option<String>,
    }

    #[derive(Deserialize)]
    struct Exploit {
        maturity_levels: Option<Vec<Maturity>>,
        sources: Option<Vec<String>>,
    }

    #[derive(Deserialize)]
    struct Maturity {
        format: Option<String>,
        level: Option<String>,
    }

    #[derive(Deserialize)]
    struct Risk {
        score: Option<Score>,
    }

    #[derive(Deserialize)]
    struct Score {
        value: Option<f64>,
    }

    #[derive(Deserialize)]
    struct Coordinate {
        state: Option<String>,
        reachability: Option<String>,
        is_fixable_manually: Option<bool>,
        is_fixable_snyk: Option<bool>,
        is_fixable_upstream: Option<bool>,
        is_patchable: Option<bool>,
        is_pinnable: Option<bool>,
        is_upgradeable: Option<bool>,
        representations: Option<Vec<Place>>,
    }

    #[derive(Deserialize)]
    struct Place {
        dependency: Option<Dependency>,
        #[serde(rename = "sourceLocation")]
        source_location: Option<Source>,
        #[serde(rename = "resourcePath")]
        resource_path: Option<String>,
    }

    #[derive(Deserialize)]
    struct Dependency {
        package_name: Option<String>,
        package_version: Option<String>,
    }

    #[derive(Deserialize)]
    struct Source {
        file: Option<String>,
        region: Option<Region>,
    }

    #[derive(Deserialize)]
    struct Region {
        start: Option<Position>,
        end: Option<Position>,
    }

    #[derive(Deserialize)]
    struct Position {
        line: Option<u32>,
    }

    #[derive(Deserialize)]
    struct Relationships {
        scan_item: ScanItem,
    }

    #[derive(Deserialize)]
    struct ScanItem {
        data: ScanItemData,
    }

    #[derive(Deserialize)]
    struct ScanItemData {
        id: String,
        #[serde(rename = "type")]
        kind: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Aggregated {
        issues: Vec<AggregatedIssue>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct AggregatedIssue {
        id: String,
        issue_data: Option<IssueData>,
        fix_info: Option<FixInfo>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct IssueData {
        description: Option<String>,
        nearest_fixed_in_version: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct FixInfo {
        fixed_in: Option<Vec<String>>,
        nearest_fixed_in_version: Option<String>,
    }
}

mod tenable {
    use super::*;

    #[derive(Deserialize)]
    pub(super) struct Finding {
        finding_id: Option<String>,
        asset: OnAsset,
        output: Option<String>,
        plugin: Plugin,
        port: Port,
        scan: Option<ByScan>,
        severity: Option<String>,
        severity_id: Option<i64>,
        severity_default_id: Option<i64>,
        severity_modification_type: Option<String>,
        recast_reason: Option<String>,
        state: Option<String>,
        first_found: Option<String>,
        last_found: Option<String>,
        source: Option<String>,
        software_vulns: Option<Vec<Software>>,
    }

    #[derive(Deserialize)]
    struct OnAsset {
        uuid: Option<String>,
        fqdn: Option<String>,
        hostname: Option<String>,
        ipv4: Option<String>,
        ipv6: Option<String>,
    }

    #[derive(Deserialize)]
    struct Port {
        port: Option<u16>,
        protocol: Option<String>,
        service: Option<String>,
    }

    #[derive(Deserialize)]
    struct ByScan {
        schedule_uuid: Option<String>,
    }

    #[derive(Deserialize)]
    struct Plugin {
        id: Option<u64>,
        name: Option<String>,
        family: Option<String>,
        synopsis: Option<String>,
        description: Option<String>,
        solution: Option<String>,
        workaround: Option<String>,
        cve: Option<Vec<String>>,
        cpe: Option<Vec<String>>,
        see_also: Option<Vec<String>>,
        cvss_base_score: Option<f64>,
        cvss_vector: Option<Vector>,
        cvss3_base_score: Option<f64>,
        cvss3_vector: Option<Vector>,
        cvss4_base_score: Option<f64>,
        cvss4_vector: Option<Vector>,
        vpr: Option<Vpr>,
        vpr_v2: Option<Vpr>,
        epss_score: Option<f64>,
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
        score: Option<f64>,
        on_cisa_kev: Option<bool>,
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

    #[derive(Deserialize)]
    pub(super) struct Host {
        id: String,
        types: Option<Vec<String>>,
        is_licensed: Option<bool>,
        is_deleted: Option<bool>,
        system_types: Option<Vec<String>>,
        operating_systems: Option<Vec<String>>,
        network: Network,
    }

    #[derive(Deserialize)]
    struct Network {
        network_name: Option<String>,
        ipv4s: Option<Vec<String>>,
        ipv6s: Option<Vec<String>>,
        fqdns: Option<Vec<String>>,
        hostnames: Option<Vec<String>>,
        mac_addresses: Option<Vec<String>>,
    }
}
