//! What AWS sends: the hub, its aggregation, and findings in the AWS Security Finding Format.

use std::collections::HashMap;

use serde_json::Value;

use crate::{kit::Scalar, prelude::*};

#[derive(Deserialize)]
pub(super) struct Hub {
    #[serde(rename = "HubArn")]
    pub(super) arn: String,
}

#[derive(Deserialize)]
pub(super) struct Aggregators {
    #[serde(rename = "FindingAggregators")]
    pub(super) aggregators: Many<Named>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    #[serde(rename = "FindingAggregatorArn")]
    pub(super) arn: String,
}

#[derive(Deserialize)]
pub(super) struct Aggregator {
    #[serde(rename = "FindingAggregationRegion")]
    pub(super) region: String,
    #[serde(rename = "RegionLinkingMode")]
    pub(super) mode: String,
    #[serde(rename = "Regions", default)]
    pub(super) regions: Many<String>,
}

/// `Findings` is required: an answer without it is a fault, not an empty hub.
#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(rename = "Findings")]
    pub(super) findings: Vec<Box<RawValue>>,
    #[serde(rename = "NextToken")]
    pub(super) next_token: Option<String>,
}

/// A list that may be null or hold nulls.
#[derive(Deserialize)]
#[serde(from = "Option<Vec<Option<T>>>", bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<T> From<Option<Vec<Option<T>>>> for Many<T> {
    fn from(list: Option<Vec<Option<T>>>) -> Self {
        Many(list.into_iter().flatten().flatten().collect())
    }
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many(Vec::new())
    }
}

/// What is read of a finding that cannot be read whole.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Key {
    product_arn: Option<String>,
    id: Option<String>,
    aws_account_id: Option<String>,
    region: Option<String>,
    #[serde(default)]
    resources: Value,
}

impl Key {
    pub(super) fn identify(&self) -> Option<Identity> {
        let Key { product_arn, id, aws_account_id: account, region, resources } = self;
        // They only count where account or region are missing: one that is odd hides no key.
        let resources: Vec<Resource> =
            resources.as_array().into_iter().flatten().filter_map(|one| Resource::deserialize(one).ok()).collect();
        Known { product_arn, id, account, region, resources: &resources }.identify().ok()
    }
}

/// What a finding is known by, read alike from one that can be read whole and from one that cannot.
pub(super) struct Known<'a> {
    product_arn: &'a Option<String>,
    id: &'a Option<String>,
    account: &'a Option<String>,
    region: &'a Option<String>,
    resources: &'a [Resource],
}

/// The key of a finding, and account and region, which are the record that it belongs to.
pub(super) struct Identity {
    pub(super) key: String,
    pub(super) account: String,
    pub(super) region: String,
}

impl Known<'_> {
    /// An id is the provider's, so only unique with the provider; and a provider that serves a whole organization uses one id in
    /// several accounts and regions.
    pub(super) fn identify(&self) -> Result<Identity, &'static str> {
        let (Some(product), Some(id)) = (present(self.product_arn), present(self.id)) else {
            return Err("`ProductArn` or `Id` is missing");
        };
        let (account, region) = self.place().ok_or("no account and region in it, nor in its ARNs")?;
        Ok(Identity { key: format!("{account}:{region}/{product}/{id}"), account: account.into(), region: region.into() })
    }

    /// Account and region: required members, but old findings and odd providers lack them.
    fn place(&self) -> Option<(&str, &str)> {
        let account = present(self.account)
            .or_else(|| self.resources.iter().find_map(|resource| arn_part(resource.id.as_deref()?, 4)))
            .or_else(|| arn_part(self.id.as_deref()?, 4))?;
        let region = present(self.region)
            .or_else(|| arn_part(self.product_arn.as_deref()?, 3))
            .or_else(|| self.resources.iter().find_map(|resource| present(&resource.region)))?;
        Some((account, region))
    }
}

/// The provider's id in a key: behind `ACCOUNT:REGION/` and `arn:aws:securityhub:REGION:ACCOUNT:product/COMPANY/PRODUCT/`.
pub(super) fn id_of_key(key: &str) -> Option<&str> {
    key.splitn(5, '/').nth(4)
}

/// A part of an ARN, counted from 0: 3 is the region, 4 the account.
fn arn_part(arn: &str, part: usize) -> Option<&str> {
    arn.strip_prefix("arn:").and(arn.split(':').nth(part)).filter(|part| !part.is_empty())
}

/// The text without space around it; `None` when nothing is left.
pub(super) fn present(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Wire {
    pub(super) product_arn: Option<String>,
    pub(super) id: Option<String>,
    pub(super) product_name: Option<String>,
    pub(super) region: Option<String>,
    pub(super) generator_id: Option<String>,
    pub(super) aws_account_id: Option<String>,
    #[serde(default)]
    pub(super) types: Many<String>,
    pub(super) first_observed_at: Option<String>,
    pub(super) last_observed_at: Option<String>,
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
    pub(super) severity: Option<Level>,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) remediation: Option<Remediation>,
    pub(super) source_url: Option<String>,
    pub(super) product_fields: Option<HashMap<String, Scalar>>,
    #[serde(default)]
    pub(super) resources: Many<Resource>,
    pub(super) compliance: Option<Compliance>,
    pub(super) verification_state: Option<String>,
    pub(super) workflow: Option<Workflow>,
    pub(super) record_state: Option<String>,
    #[serde(default)]
    pub(super) vulnerabilities: Many<Vulnerability>,
    pub(super) sample: Option<bool>,
}

impl Wire {
    /// What the finding is known by.
    pub(super) fn known(&self) -> Known<'_> {
        let Wire { product_arn, id, aws_account_id: account, region, resources, .. } = self;
        Known { product_arn, id, account, region, resources: &resources.0 }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Level {
    pub(super) label: Option<String>,
    #[serde(default)]
    pub(super) normalized: Scalar,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Remediation {
    pub(super) recommendation: Option<Recommendation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Recommendation {
    pub(super) text: Option<String>,
    pub(super) url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Resource {
    #[serde(rename = "Id")]
    pub(super) id: Option<String>,
    #[serde(rename = "Type")]
    pub(super) kind: Option<String>,
    #[serde(rename = "Region")]
    pub(super) region: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Compliance {
    #[serde(rename = "Status")]
    pub(super) status: Option<String>,
    #[serde(rename = "SecurityControlId")]
    pub(super) control: Option<String>,
    #[serde(rename = "AssociatedStandards", default)]
    pub(super) standards: Many<Standard>,
}

#[derive(Deserialize)]
pub(super) struct Standard {
    #[serde(rename = "StandardsId")]
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Workflow {
    pub(super) status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Vulnerability {
    pub(super) id: Option<String>,
    #[serde(rename = "VulnerablePackages", default)]
    pub(super) packages: Many<Package>,
    #[serde(default)]
    pub(super) cvss: Many<Score>,
    #[serde(rename = "RelatedVulnerabilities", default)]
    pub(super) related: Many<String>,
    pub(super) vendor: Option<Vendor>,
    #[serde(default)]
    pub(super) reference_urls: Many<String>,
    pub(super) fix_available: Option<String>,
    #[serde(default)]
    pub(super) epss_score: Scalar,
    pub(super) exploit_available: Option<String>,
    pub(super) last_known_exploit_at: Option<String>,
    #[serde(rename = "CodeVulnerabilities", default)]
    pub(super) code: Many<Weakness>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Package {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) epoch: Option<String>,
    pub(super) release: Option<String>,
    #[serde(rename = "PackageManager")]
    pub(super) manager: Option<String>,
    pub(super) file_path: Option<String>,
    #[serde(rename = "FixedInVersion")]
    pub(super) fixed_in: Option<String>,
    pub(super) remediation: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Score {
    #[serde(rename = "Version", default)]
    pub(super) version: Scalar,
    #[serde(rename = "BaseScore", default)]
    pub(super) score: Scalar,
    #[serde(rename = "BaseVector")]
    pub(super) vector: Option<String>,
    #[serde(rename = "Source")]
    pub(super) source: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Vendor {
    pub(super) url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Weakness {
    #[serde(rename = "Cwes", default)]
    pub(super) cwes: Many<String>,
    #[serde(rename = "FilePath")]
    pub(super) place: Option<Place>,
}

#[derive(Deserialize)]
pub(super) struct Place {
    #[serde(rename = "FileName")]
    pub(super) name: Option<String>,
    #[serde(rename = "FilePath")]
    pub(super) path: Option<String>,
    #[serde(rename = "StartLine", default)]
    pub(super) start: Scalar,
    #[serde(rename = "EndLine", default)]
    pub(super) end: Scalar,
}
