//! A finding of Security Hub in our words.

use super::wire::{Identity, Package, Place, Recommendation, Score, Wire, present};
use crate::prelude::*;

/// A finding as an item: the one place of judgement.
pub(super) fn item(wire: &Wire, cx: &Context) -> Result<Item, String> {
    let Identity { key, account, region } = wire.known().identify()?;
    if wire.sample == Some(true) {
        return Ok(Item::Skipped { key: key.into(), reason: "sample finding" });
    }
    let (severity, vendor_severity) = wire.severity(cx);
    let (state, vendor_state) = wire.state(cx);
    let Ids { cve, cwe, other: identifiers } = wire.ids();
    let (packages, place, resource) = (wire.packages(), wire.place(), wire.resource());
    let package = packages.first().copied();
    let (line_start, line_end) = lines(place.and_then(|place| place.start.whole()), place.and_then(|place| place.end.whole()));
    Ok(Item::Finding(Box::new(Finding {
        lineage: wire.lineage(),
        rule: wire.rule().map(text::single_line),
        title: title(wire.title.as_deref().unwrap_or_default(), resource),
        description: wire.description.as_deref().and_then(text::clean),
        severity,
        vendor_severity,
        state,
        vendor_state: Some(vendor_state),
        cve,
        cwe,
        identifiers,
        cvss: wire.cvss(),
        epss_score: wire.vulnerabilities.0.iter().find_map(|one| one.epss_score.number()),
        exploited: wire.exploited(),
        fix_available: wire.fix_available(),
        component_name: package.and_then(|package| text::clean(package.name.as_deref()?)),
        component_version: package.and_then(|package| text::clean(&package.version())),
        component_purl: package.and_then(Package::purl),
        fixed_version: package
            .and_then(|package| present(&package.fixed_in))
            .filter(|fixed| *fixed != "NotAvailable")
            .and_then(text::clean),
        file_path: place
            .and_then(|place| present(&place.path).or_else(|| present(&place.name)))
            .or_else(|| package.and_then(|package| present(&package.file_path)))
            .and_then(text::clean),
        line_start,
        line_end,
        asset_key: resource.map(Into::into),
        remediation: wire.remediation(&packages),
        reference_urls: wire.links(),
        tags: wire.tags(&packages),
        url: text::links_of(&wire.source_url).into_iter().next(),
        vendor_first_seen: [&wire.first_observed_at, &wire.created_at].into_iter().find_map(|time| text::time(time.as_deref()?)),
        vendor_last_seen: [&wire.last_observed_at, &wire.updated_at].into_iter().find_map(|time| text::time(time.as_deref()?)),
        ..Finding::new(key, format!("{account}:{region}"), wire.category())
    })))
}

/// Findings of one control or package have one title: the resource tells them apart.
fn title(title: &str, resource: Option<&str>) -> Box<str> {
    let part = resource.and_then(|id| id.rsplit('/').next().filter(|part| part.len() < id.len()).or_else(|| id.rsplit(':').next()));
    match part.filter(|part| !part.is_empty() && !title.contains(part)) {
        Some(part) => text::single_line(&format!("{title}: {part}")),
        None => text::single_line(title),
    }
}

/// What the vendor gives as a set: another order of it is no change.
fn sorted<T: Ord>(set: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = set.into_iter().collect();
    list.sort_unstable();
    list.dedup();
    list
}

/// Whether a word of the vendor is this one, in capitals or not.
fn says(told: &Option<String>, word: &str) -> bool {
    present(told).is_some_and(|told| told.eq_ignore_ascii_case(word))
}

fn add(list: &mut Vec<Box<str>>, text: Box<str>) {
    if !text.is_empty() && !list.contains(&text) {
        list.push(text);
    }
}

impl Wire {
    /// What a control or a vulnerability on a resource is known by when its provider reports it anew under another id: who
    /// found it, on which resource, which weakness, in which packages or at which place of the code. None for other findings:
    /// two alerts of one detector are two events.
    fn lineage(&self) -> Option<Box<str>> {
        let vulnerabilities = || self.vulnerabilities.0.iter();
        let mut weaknesses = sorted(vulnerabilities().filter_map(|one| present(&one.id)).map(str::to_ascii_uppercase));
        if weaknesses.is_empty() {
            weaknesses = self.ids().cve.into_iter().map(String::from).collect();
        }
        if weaknesses.is_empty() && self.compliance.is_none() {
            return None;
        }
        let packages = sorted(vulnerabilities().flat_map(|one| &one.packages.0).filter_map(|package| present(&package.name)));
        let places = vulnerabilities().flat_map(|one| &one.code.0).filter_map(|weakness| weakness.place.as_ref());
        let places = places.map(|place| {
            let file = present(&place.path).or_else(|| present(&place.name)).unwrap_or_default();
            format!("{file}:{}", place.start.text().unwrap_or_default())
        });
        let resource = present(&self.resources.0.first()?.id)?;
        let (product, generator) = (present(&self.product_arn)?, present(&self.generator_id)?);
        let lists = [weaknesses.join(" "), packages.join(" "), sorted(places).join(" ")];
        Some([&[product, generator, resource], &lists.each_ref().map(String::as_str)[..]].concat().join("\n").into())
    }

    fn severity(&self, cx: &Context) -> (Severity, Option<Box<str>>) {
        let Some(wire) = &self.severity else { return (Severity::Unknown, None) };
        let severity = match (present(&wire.label), wire.normalized.number()) {
            (Some(word), _) => Severity::of_word(word).unwrap_or_else(|| cx.unknown("severity", word, Severity::Unknown)),
            (None, Some(score)) if score >= 90.0 => Severity::Critical,
            (None, Some(score)) if score >= 70.0 => Severity::High,
            (None, Some(score)) if score >= 40.0 => Severity::Medium,
            (None, Some(score)) if score > 0.0 => Severity::Low,
            (None, Some(_)) => Severity::Info,
            (None, None) => Severity::Unknown,
        };
        (severity, present(&wire.label).or_else(|| wire.normalized.text()).map(text::single_line))
    }

    /// The state, and the vendor's word that decides it, in capitals.
    fn state(&self, cx: &Context) -> (State, Box<str>) {
        let upper = |word: &Option<String>| present(word).map(str::to_ascii_uppercase);
        let workflow = self.workflow.as_ref().and_then(|workflow| upper(&workflow.status)).unwrap_or_else(|| "NEW".into());
        let compliance = self.compliance.as_ref().and_then(|compliance| upper(&compliance.status));
        match upper(&self.record_state).as_deref() {
            Some("ARCHIVED") => return (State::Fixed, "ARCHIVED".into()),
            Some("ACTIVE") | None => {}
            Some(other) => cx.unknown("record state", other, ()),
        }
        match (&*workflow, upper(&self.verification_state).as_deref()) {
            ("RESOLVED", _) => return (State::Fixed, "RESOLVED".into()),
            ("SUPPRESSED", Some(word @ ("FALSE_POSITIVE" | "BENIGN_POSITIVE"))) => {
                return (State::FalsePositive, format!("SUPPRESSED, {word}").into());
            }
            ("SUPPRESSED", _) => return (State::RiskAccepted, "SUPPRESSED".into()),
            ("NEW" | "NOTIFIED", _) => {}
            (other, _) => cx.unknown("workflow status", other, ()),
        }
        match compliance.as_deref() {
            Some("PASSED") => return (State::Fixed, "PASSED".into()),
            Some("FAILED" | "WARNING" | "NOT_AVAILABLE") | None => {}
            Some(other) => cx.unknown("compliance status", other, ()),
        }
        match self.product_field("aws/inspector/FindingStatus").map(|status| status.trim().to_ascii_uppercase()).as_deref() {
            Some("ACTIVE") | None => (State::Open, text::single_line(&workflow)),
            Some(closed) => (State::Fixed, text::single_line(&format!("Inspector {closed}"))),
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

    /// Ids of all kinds, the vulnerability's own first.
    fn ids(&self) -> Ids {
        let vulnerabilities = || self.vulnerabilities.0.iter();
        let own = vulnerabilities().filter_map(|one| present(&one.id));
        let related = vulnerabilities().flat_map(|one| &one.related.0).map(|id| id.trim());
        let weaknesses = vulnerabilities().flat_map(|one| &one.code.0).flat_map(|weakness| &weakness.cwes.0).map(String::as_str);
        let named = own.chain(sorted(related.filter(|id| id.contains('-') && !id.contains(char::is_whitespace)))).chain(weaknesses);
        let mut ids = Ids::of(named);
        // Inspector's own findings were once without details: their titles are `CVE-2022-3643 - kernel`.
        if self.vulnerabilities.0.is_empty() {
            ids.cve = self.title.as_deref().and_then(|title| title.split(" - ").next()).map(ids::cves).unwrap_or_default();
        }
        ids
    }

    /// The newest version's score, NVD's before others.
    fn cvss(&self) -> Option<Cvss> {
        let mut scores: Vec<&Score> = self.vulnerabilities.0.iter().flat_map(|one| &one.cvss.0).collect();
        let version = |score: &Score| score.version.number().unwrap_or_default();
        let is_other = |score: &Score| !present(&score.source).is_some_and(|source| source.eq_ignore_ascii_case("NVD"));
        scores.sort_by(|a, b| version(b).total_cmp(&version(a)).then(is_other(a).cmp(&is_other(b))));
        scores.into_iter().find_map(|one| Cvss::read(one.version.text().unwrap_or_default(), present(&one.vector), one.score.number()))
    }

    fn packages(&self) -> Vec<&Package> {
        self.vulnerabilities.0.iter().flat_map(|vulnerability| &vulnerability.packages.0).collect()
    }

    /// Where in the code the first weakness is that says so.
    fn place(&self) -> Option<&Place> {
        self.vulnerabilities.0.iter().flat_map(|vulnerability| &vulnerability.code.0).find_map(|weakness| weakness.place.as_ref())
    }

    /// The id of the first resource.
    fn resource(&self) -> Option<&str> {
        present(&self.resources.0.first()?.id)
    }

    /// The control of Security Hub that the resource does not meet.
    fn control(&self) -> Option<&str> {
        self.compliance.as_ref().and_then(|compliance| present(&compliance.control)).or_else(|| self.product_field("ControlId"))
    }

    /// The control, else the first vulnerability, else the provider's generator.
    fn rule(&self) -> Option<&str> {
        self.control().or_else(|| present(&self.vulnerabilities.0.first()?.id)).or_else(|| present(&self.generator_id))
    }

    fn has_exploit(&self, word: &str) -> bool {
        self.vulnerabilities.0.iter().any(|one| says(&one.exploit_available, word))
    }

    /// Whether a vulnerability has been exploited: with a time, yes; an exploit that is only available decides nothing.
    fn exploited(&self) -> Option<bool> {
        let when = self.vulnerabilities.0.iter().find_map(|one| text::time(one.last_known_exploit_at.as_deref()?));
        match when {
            Some(_) => Some(true),
            None if self.has_exploit("YES") => None,
            None => self.has_exploit("NO").then_some(false),
        }
    }

    fn fix_available(&self) -> Option<bool> {
        let answers = |word: &str| self.vulnerabilities.0.iter().any(|one| says(&one.fix_available, word));
        if answers("YES") || answers("PARTIAL") { Some(true) } else { answers("NO").then_some(false) }
    }

    fn recommendation(&self) -> Option<&Recommendation> {
        self.remediation.as_ref()?.recommendation.as_ref()
    }

    /// The recommendation, and how each package is updated.
    fn remediation(&self, packages: &[&Package]) -> Option<Box<str>> {
        let advice = self.recommendation().and_then(|recommendation| present(&recommendation.text));
        let advice = advice.filter(|text| *text != "None Provided");
        let mut texts = Vec::new();
        for text in advice.into_iter().chain(packages.iter().filter_map(|package| present(&package.remediation))) {
            add(&mut texts, text.into());
        }
        text::clean(&texts.join("\n\n"))
    }

    /// The recommendation's and the provider's link, then those of the vulnerabilities in order of their text.
    fn links(&self) -> Vec<Box<str>> {
        let recommended = self.recommendation().and_then(|recommendation| present(&recommendation.url));
        let further = self.vulnerabilities.0.iter().flat_map(|one| {
            let vendor = one.vendor.as_ref().and_then(|vendor| present(&vendor.url));
            one.reference_urls.0.iter().map(String::as_str).chain(vendor)
        });
        text::links_of([recommended, present(&self.source_url)].into_iter().flatten().chain(sorted(further)))
    }

    /// Product, generator, control, standards, type of the first resource, the other resources and packages.
    fn tags(&self, packages: &[&Package]) -> Vec<Box<str>> {
        let mut tags = Vec::new();
        let product = present(&self.product_name).or_else(|| self.product_field("aws/securityhub/ProductName"));
        let standards = self.compliance.iter().flat_map(|compliance| &compliance.standards.0).filter_map(|one| present(&one.id));
        let kind = self.resources.0.first().and_then(|resource| present(&resource.kind));
        let others = self.resources.0.iter().skip(1).filter_map(|resource| present(&resource.id));
        let source = product.into_iter().chain(present(&self.generator_id)).chain(self.control());
        for tag in source.chain(sorted(standards)).chain(kind).chain(sorted(others)) {
            add(&mut tags, text::single_line(tag));
        }
        let shown = packages.first().map(|first| first.name_and_version());
        for further in sorted(packages.iter().skip(1).map(|package| package.name_and_version())) {
            if shown.as_ref() != Some(&further) {
                add(&mut tags, text::single_line(&format!("package {further}")));
            }
        }
        if self.has_exploit("YES") {
            tags.push("exploit available".into());
        }
        tags
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
