//! A finding of Security Hub in our words.

use super::wire::{Package, Place, Score, Weakness, Wire};
use crate::{kit::Loose, prelude::*};

/// A finding as an item: the one place of judgement.
pub(super) fn item(wire: &Wire, cx: &Cx) -> Result<Item, String> {
    let key = key(&wire.product_arn, &wire.id).ok_or("`ProductArn` or `Id` is missing")?;
    if wire.sample == Some(true) {
        return Ok(Item::Skipped { key: key.into(), reason: "sample finding" });
    }
    let (account, region) = wire.place().ok_or("no account and region in it, nor in its ARNs")?;
    let (severity, vendor_severity) = wire.severity(cx);
    let (state, vendor_state) = wire.state(cx);
    let (cve, identifiers) = wire.ids();
    let vulnerabilities = &wire.vulnerabilities.0;
    let packages: Vec<&Package> = vulnerabilities.iter().flat_map(|vulnerability| &vulnerability.packages.0).collect();
    let package = packages.first().copied();
    let weaknesses: Vec<&Weakness> = vulnerabilities.iter().flat_map(|vulnerability| &vulnerability.code.0).collect();
    let place = weaknesses.iter().find_map(|weakness| weakness.place.as_ref());
    let line = |line: fn(&Place) -> &Loose| place.and_then(|place| u32::try_from(line(place).whole()?).ok()).filter(|line| *line > 0);
    let answers = |word: &str| vulnerabilities.iter().any(|one| one.fix_available.as_deref() == Some(word));
    let exploit = |word: &str| vulnerabilities.iter().any(|one| one.exploit_available.as_deref() == Some(word));
    let exploited = match () {
        () if vulnerabilities.iter().any(|one| one.last_known_exploit_at.is_some()) => Some(true),
        () if exploit("YES") => None,
        () => exploit("NO").then_some(false),
    };
    let control = wire.compliance.as_ref().and_then(|compliance| present(&compliance.control)).or_else(|| wire.product_field("ControlId"));
    let generator = present(&wire.generator_id);
    let rule = control.or_else(|| present(&vulnerabilities.first()?.id)).or(generator);
    let recommendation = wire.remediation.as_ref().and_then(|remediation| remediation.recommendation.as_ref());
    let advice = recommendation.and_then(|recommendation| present(&recommendation.text)).filter(|text| *text != "None Provided");
    let mut remediation = Vec::new();
    for text in advice.into_iter().chain(packages.iter().filter_map(|package| present(&package.remediation))) {
        add(&mut remediation, text.into());
    }
    let urls = [recommendation.and_then(|recommendation| present(&recommendation.url)), present(&wire.source_url)].into_iter().flatten();
    let further = vulnerabilities
        .iter()
        .flat_map(|one| one.reference_urls.0.iter().map(String::as_str).chain(one.vendor.as_ref().and_then(|vendor| present(&vendor.url))));
    let mut references = Vec::new();
    urls.chain(further).flat_map(text::links).for_each(|link| add(&mut references, link));
    let mut tags = Vec::new();
    let product = present(&wire.product_name).or_else(|| wire.product_field("aws/securityhub/ProductName"));
    let standards = wire.compliance.iter().flat_map(|compliance| &compliance.standards.0).filter_map(|one| present(&one.id));
    let kind = wire.resources.0.first().and_then(|resource| present(&resource.kind));
    let others = wire.resources.0.iter().skip(1).filter_map(|resource| present(&resource.id));
    for tag in product.into_iter().chain(generator).chain(control).chain(standards).chain(kind).chain(others) {
        add(&mut tags, text::line(tag));
    }
    for further in packages.iter().skip(1).map(|package| package.name_and_version()) {
        if package.is_some_and(|first| first.name_and_version() != further) {
            add(&mut tags, text::line(&format!("package {further}")));
        }
    }
    if exploit("YES") {
        tags.push("exploit available".into());
    }
    let first = wire.resources.0.first().and_then(|resource| present(&resource.id));
    Ok(Item::Finding(Box::new(Finding {
        rule: rule.map(text::line),
        title: title(wire.title.as_deref().unwrap_or_default(), first),
        description: wire.description.as_deref().and_then(text::keep),
        severity,
        vendor_severity,
        state,
        vendor_state: Some(vendor_state),
        cve,
        cwe: weaknesses.iter().flat_map(|weakness| &weakness.cwes.0).flat_map(|cwe| ids::cwes(cwe)).collect(),
        identifiers,
        cvss: wire.cvss(),
        epss_score: vulnerabilities.iter().find_map(|one| one.epss_score.number()),
        exploited,
        fix_available: if answers("YES") || answers("PARTIAL") { Some(true) } else { answers("NO").then_some(false) },
        component_name: package.and_then(|package| text::keep(package.name.as_deref()?)),
        component_version: package.and_then(|package| text::keep(&package.version())),
        component_purl: package.and_then(Package::purl),
        fixed_version: package.and_then(|package| present(&package.fixed_in)).filter(|fixed| *fixed != "NotAvailable").and_then(text::keep),
        file_path: place
            .and_then(|place| present(&place.path).or_else(|| present(&place.name)))
            .or_else(|| package.and_then(|package| present(&package.file_path)))
            .and_then(text::keep),
        line_start: line(|place| &place.start),
        line_end: line(|place| &place.end),
        asset_key: first.map(Into::into),
        remediation: text::keep(&remediation.join("\n\n")),
        reference_urls: references,
        tags,
        url: wire.source_url.as_deref().and_then(|url| text::links(url).into_iter().next()),
        vendor_first_seen: [&wire.first_observed_at, &wire.created_at].into_iter().find_map(|time| text::time(time.as_deref()?)),
        vendor_last_seen: [&wire.last_observed_at, &wire.updated_at].into_iter().find_map(|time| text::time(time.as_deref()?)),
        ..Finding::new(key, format!("{account}:{region}"), wire.category())
    })))
}

/// What makes a finding unique: ids are the providers', so only unique with the provider.
pub(super) fn key(product_arn: &Option<String>, id: &Option<String>) -> Option<String> {
    Some(format!("{}/{}", present(product_arn)?, present(id)?))
}

/// The provider's id in a key: behind `arn:aws:securityhub:REGION:ACCOUNT:product/COMPANY/PRODUCT/`.
pub(super) fn id_of_key(key: &str) -> Option<&str> {
    key.splitn(4, '/').nth(3)
}

/// Findings of one control or package have one title: the resource tells them apart.
fn title(title: &str, resource: Option<&str>) -> Box<str> {
    let part = resource.and_then(|id| id.rsplit('/').next().filter(|part| part.len() < id.len()).or_else(|| id.rsplit(':').next()));
    match part.filter(|part| !part.is_empty() && !title.contains(part)) {
        Some(part) => text::line(&format!("{title}: {part}")),
        None => text::line(title),
    }
}

fn present(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn add(list: &mut Vec<Box<str>>, text: Box<str>) {
    if !text.is_empty() && !list.contains(&text) {
        list.push(text);
    }
}

/// A part of an ARN, counted from 0: 3 is the region, 4 the account.
fn arn_part(arn: &str, part: usize) -> Option<&str> {
    arn.strip_prefix("arn:").and(arn.split(':').nth(part)).filter(|part| !part.is_empty())
}

impl Wire {
    /// Account and region: required members, but old findings and odd providers lack them.
    pub(super) fn place(&self) -> Option<(String, String)> {
        let resources = || self.resources.0.iter();
        let account = present(&self.aws_account_id)
            .or_else(|| resources().find_map(|resource| arn_part(resource.id.as_deref()?, 4)))
            .or_else(|| arn_part(self.id.as_deref()?, 4))?;
        let region = present(&self.region)
            .or_else(|| arn_part(self.product_arn.as_deref()?, 3))
            .or_else(|| resources().find_map(|resource| present(&resource.region)))?;
        Some((account.into(), region.into()))
    }

    fn severity(&self, cx: &Cx) -> (Severity, Option<Box<str>>) {
        let Some(wire) = &self.severity else { return (Severity::Unknown, None) };
        let severity = match (present(&wire.label), wire.normalized.number()) {
            (Some("CRITICAL"), _) => Severity::Critical,
            (Some("HIGH"), _) => Severity::High,
            (Some("MEDIUM"), _) => Severity::Medium,
            (Some("LOW"), _) => Severity::Low,
            (Some("INFORMATIONAL"), _) => Severity::Info,
            (Some(other), _) => cx.unknown("severity", other, Severity::Unknown),
            (None, Some(score)) if score >= 90.0 => Severity::Critical,
            (None, Some(score)) if score >= 70.0 => Severity::High,
            (None, Some(score)) if score >= 40.0 => Severity::Medium,
            (None, Some(score)) if score > 0.0 => Severity::Low,
            (None, Some(_)) => Severity::Info,
            (None, None) => Severity::Unknown,
        };
        (severity, present(&wire.label).or_else(|| wire.normalized.text()).map(text::line))
    }

    /// The state, and the vendor's word that decides it.
    fn state(&self, cx: &Cx) -> (State, Box<str>) {
        let workflow = self.workflow.as_ref().and_then(|workflow| present(&workflow.status)).unwrap_or("NEW");
        let compliance = self.compliance.as_ref().and_then(|compliance| present(&compliance.status));
        match present(&self.record_state) {
            Some("ARCHIVED") => return (State::Fixed, "ARCHIVED".into()),
            Some("ACTIVE") | None => {}
            Some(other) => cx.unknown("record state", other, ()),
        }
        match (workflow, present(&self.verification_state)) {
            ("RESOLVED", _) => return (State::Fixed, "RESOLVED".into()),
            ("SUPPRESSED", Some(word @ ("FALSE_POSITIVE" | "BENIGN_POSITIVE"))) => {
                return (State::FalsePositive, format!("SUPPRESSED, {word}").into());
            }
            ("SUPPRESSED", _) => return (State::RiskAccepted, "SUPPRESSED".into()),
            ("NEW" | "NOTIFIED", _) => {}
            (other, _) => cx.unknown("workflow status", other, ()),
        }
        match compliance {
            Some("PASSED") => return (State::Fixed, "PASSED".into()),
            Some("FAILED" | "WARNING" | "NOT_AVAILABLE") | None => {}
            Some(other) => cx.unknown("compliance status", other, ()),
        }
        match self.product_field("aws/inspector/FindingStatus") {
            Some("ACTIVE") | None => (State::Open, text::line(workflow)),
            Some(closed) => (State::Fixed, text::line(&format!("Inspector {closed}"))),
        }
    }

    fn category(&self) -> Category {
        let types = |beginning: &str| self.types.0.iter().any(|kind| kind.starts_with(beginning));
        let resource = self.resources.0.first().and_then(|resource| present(&resource.kind)).unwrap_or_default();
        match () {
            () if self.compliance.is_some() => Category::Misconfiguration,
            () if self.vulnerabilities.0.iter().any(|one| !one.code.0.is_empty()) => Category::Sast,
            () if !self.vulnerabilities.0.is_empty() || types("Software and Configuration Checks/Vulnerabilities") => match resource {
                "AwsEcrContainerImage" | "Container" => Category::Container,
                "AwsLambdaFunction" | "AwsLambdaLayerVersion" => Category::Sca,
                _ => Category::Infrastructure,
            },
            () if types("TTPs") || self.product_arn.as_deref().is_some_and(|arn| arn.ends_with("/aws/guardduty")) => Category::Detection,
            () => Category::Cloud,
        }
    }

    /// CVE ids and others, the vulnerability's own first.
    fn ids(&self) -> (Vec<Box<str>>, Vec<Box<str>>) {
        let (mut cve, mut others) = (Vec::new(), Vec::new());
        let own = self.vulnerabilities.0.iter().filter_map(|one| present(&one.id));
        let related = self.vulnerabilities.0.iter().flat_map(|one| one.related.0.iter().map(|id| id.trim()));
        for id in own.chain(related).filter(|id| id.contains('-') && !id.contains(char::is_whitespace)) {
            add(if id.starts_with("CVE-") { &mut cve } else { &mut others }, id.into());
        }
        // Inspector's own findings were once without details: their titles are `CVE-2022-3643 - kernel`.
        if self.vulnerabilities.0.is_empty() {
            cve.extend(
                self.title.iter().filter_map(|title| title.split(' ').next()).filter(|word| word.starts_with("CVE-")).map(Into::into),
            );
        }
        (cve, others)
    }

    /// The newest version's score, NVD's before others.
    fn cvss(&self) -> Option<Cvss> {
        let mut scores: Vec<&Score> = self.vulnerabilities.0.iter().flat_map(|one| &one.cvss.0).collect();
        let version = |score: &Score| score.version.number().unwrap_or_default();
        scores.sort_by(|a, b| {
            let source = |score: &Score| score.source.as_deref() != Some("NVD");
            version(b).total_cmp(&version(a)).then(source(a).cmp(&source(b)))
        });
        scores.into_iter().find_map(|one| Cvss::read(one.version.text().unwrap_or_default(), present(&one.vector), one.score.number()))
    }

    fn product_field(&self, name: &str) -> Option<&str> {
        self.product_fields.as_ref()?.get(name)?.text()
    }
}

impl Package {
    fn version(&self) -> String {
        // An epoch of 0 is the same as none.
        let epoch = present(&self.epoch).filter(|epoch| *epoch != "0").map(|epoch| format!("{epoch}:")).unwrap_or_default();
        let release = present(&self.release).map(|release| format!("-{release}")).unwrap_or_default();
        present(&self.version).map(|version| format!("{epoch}{version}{release}")).unwrap_or_default()
    }

    fn name_and_version(&self) -> String {
        format!("{} {}", self.name.as_deref().unwrap_or_default(), self.version())
    }

    /// Only where the package manager leaves no doubt: an operating system's package would need its distribution.
    fn purl(&self) -> Option<Box<str>> {
        let name = present(&self.name)?;
        let kind = match present(&self.manager)? {
            "NPM" | "NODEPKG" | "YARN" => "npm",
            "PIP" | "PIPENV" | "POETRY" | "PYTHONPKG" => "pypi",
            "GOBINARY" | "GOMOD" => "golang",
            // Without a group or vendor it is none of theirs.
            "JAR" | "POM" if name.contains(':') => "maven",
            "COMPOSER" if name.contains('/') => "composer",
            "BUNDLER" | "GEMSPEC" => "gem",
            "CARGO" => "cargo",
            "NUGET" => "nuget",
            _ => return None,
        };
        text::package_named(kind, name, present(&self.version))
    }
}
