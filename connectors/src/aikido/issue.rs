//! What Aikido tells of an issue, and what it becomes: the one place of judgement.

use crate::{
    kit::{Scalar, Texts},
    prelude::*,
};

/// The finding that an issue is. `read` are the kinds of places that are read, as they stand before a record's id; `url` is the
/// page of the group.
pub(super) fn finding(wire: &Wire, read: &[&str], group: Option<&Group>, url: Option<Box<str>>, cx: &Context) -> Result<Item, String> {
    let id = wire.id.text().ok_or("the issue has no id")?;
    let places = wire.places();
    let Some((_, record)) = places.iter().find(|(kind, _)| read.contains(kind)) else {
        return Ok(Item::Skipped { key: id.into(), reason: NOT_LISTED });
    };
    let elsewhere = places.iter().map(|(_, place)| place).find(|place| *place != record);
    let state = wire.state(cx);
    let Ids { cve, other: identifiers, .. } = Ids::of(wire.cve_id.text());
    let (line_start, line_end) = lines(wire.start_line.whole(), wire.end_line.whole());
    let version = wire.installed_version.text();
    let (closed, ignored) = (time(&wire.closed_at), time(&wire.ignored_at));
    Ok(Item::Finding(Box::new(Finding {
        title: text::single_line(&wire.title(group)),
        description: group.and_then(|group| text::clean(group.description.text()?)),
        severity: wire.severity(cx),
        vendor_severity: wire.severity.text().map(text::single_line),
        state,
        vendor_state: wire.status.text().map(text::single_line),
        rule: [&wire.rule_id, &wire.cve_id, &wire.rule].into_iter().find_map(Scalar::text).and_then(text::clean),
        cvss: wire.cvss(&cve, &identifiers),
        cve,
        identifiers,
        cwe: wire.cwes(),
        fix_available: wire.patched_versions.first().map(|_| true),
        fixed_version: wire.fixed_version().and_then(text::clean),
        component_name: wire.affected_package.text().and_then(text::clean),
        component_version: version.and_then(text::clean),
        component_purl: wire.purl(),
        file_path: wire.affected_file.text().and_then(text::clean),
        line_start,
        line_end,
        endpoint: wire.domain_name.text().and_then(text::clean),
        // The resource in the cloud; of an issue in a repository's container, the container.
        asset_key: wire.cloud_resource_id.text().and_then(text::clean).or_else(|| elsewhere.map(|place| place.as_str().into())),
        remediation: group.and_then(|group| text::clean(group.how_to_fix.text()?)),
        tags: wire.tags(),
        url,
        vendor_first_seen: time(&wire.first_detected_at),
        vendor_closed_at: closed.or(ignored).filter(|_| state != State::Open),
        ..Finding::new(id, record.as_str(), wire.category(cx))
    })))
}

/// A time in seconds since 1970.
fn time(seconds: &Scalar) -> Option<jiff::Timestamp> {
    text::time_of_millis(seconds.whole()?.checked_mul(1000)?)
}

/// The part of a version before its first dot.
fn major(version: &str) -> &str {
    version.trim_start_matches('v').split('.').next().unwrap_or_default()
}

impl Wire {
    /// Kinds and keys of the places that it names, in the order in which the first one that is read is its record.
    fn places(&self) -> Vec<(&'static str, String)> {
        let ids = [
            ("code_repo", &self.code_repo_id),
            ("container_repo", &self.container_repo_id),
            ("cloud", &self.cloud_id),
            ("domain", &self.domain_id),
            ("vm", &self.virtual_machine_id),
        ];
        // -1 stands for none in some members.
        let key = |(kind, id): (&'static str, &Scalar)| Some((kind, format!("{kind}:{}", id.text().filter(|id| *id != "-1")?)));
        ids.into_iter().filter_map(key).collect()
    }

    fn title(&self, group: Option<&Group>) -> String {
        let (package, kind) = (self.affected_package.text(), self.kind.text().unwrap_or("issue"));
        let of_group = || group.and_then(|group| group.title.text()).map(str::to_owned);
        match (self.cve_id.text(), package, self.rule.text()) {
            (Some(cve), Some(package), _) => format!("{cve} in {package}"),
            (_, _, Some(rule)) => rule.to_owned(),
            (None, Some(package), None) => of_group().unwrap_or_else(|| format!("{kind}: {package}")),
            (cve, None, None) => of_group().unwrap_or_else(|| cve.unwrap_or(kind).to_owned()),
        }
    }

    fn severity(&self, cx: &Context) -> Severity {
        let word = self.severity.text().unwrap_or_default();
        match word.to_ascii_lowercase().as_str() {
            "critical" => Severity::Critical,
            "high" => Severity::High,
            "medium" => Severity::Medium,
            "low" => Severity::Low,
            _ => cx.unknown("severity", word, Severity::of_word(word).unwrap_or(Severity::Unknown)),
        }
    }

    fn state(&self, cx: &Context) -> State {
        let word = self.status.text().unwrap_or_default();
        match word.to_ascii_lowercase().as_str() {
            "open" => State::Open,
            "closed" => State::Fixed,
            // Why it is ignored the export does not say.
            "ignored" | "snoozed" => State::RiskAccepted,
            _ => cx.unknown("status", word, State::Open),
        }
    }

    fn category(&self, cx: &Context) -> Category {
        let word = self.kind.text().unwrap_or_default();
        match word.to_ascii_lowercase().as_str() {
            "open_source" | "app_level_open_source" | "malware" | "eol" | "license" => Category::Sca,
            "docker_container" => Category::Container,
            "sast" | "mobile" => Category::Sast,
            "leaked_secret" => Category::Secret,
            "iac" => Category::Iac,
            "cloud" | "cloud_instance" => Category::Cloud,
            "surface_monitoring" | "ai_pentest" => Category::Dast,
            "scm_security" => Category::Misconfiguration,
            _ => cx.unknown("type", word, Category::Misconfiguration),
        }
    }

    /// The vendor's number is a CVSS score only where it is that of a vulnerability that others know.
    fn cvss(&self, cve: &[Box<str>], identifiers: &[Box<str>]) -> Option<Cvss> {
        let known = !cve.is_empty() || identifiers.iter().any(|id| id.to_ascii_uppercase().starts_with("GHSA-"));
        known.then(|| Cvss::read("3.1", None, Some(self.original_cvss_severity_score.number()? / 10.0)))?
    }

    fn cwes(&self) -> Vec<Box<str>> {
        Ids::of(self.cwe_classes.sorted()).cwe
    }

    /// The patched version of the same major version, else the first.
    fn fixed_version(&self) -> Option<&str> {
        let own = self.installed_version.text().map(major);
        self.patched_versions.iter().find(|version| own == Some(major(version))).or_else(|| self.patched_versions.first())
    }

    fn purl(&self) -> Option<Box<str>> {
        let kind = match self.programming_language.text()?.to_ascii_uppercase().as_str() {
            "JS" => "npm",
            "PY" => "pypi",
            "GO" => "golang",
            "JAVA" => "maven",
            "PHP" => "composer",
            "RUBY" => "gem",
            "DOTNET" => "nuget",
            "RUST" => "cargo",
            _ => return None,
        };
        text::package_named(kind, self.affected_package.text()?, self.installed_version.text())
    }

    fn tags(&self) -> Vec<Box<str>> {
        let day = |at: &Scalar| time(at).map(|at| at.strftime("%F").to_string());
        let notes = [
            ("", self.kind.text().map(str::to_owned)),
            ("attack surface ", self.attack_surface.text().map(str::to_owned)),
            ("score ", self.severity_score.text().map(str::to_owned)),
            ("exploitability ", self.exploitability.text().map(str::to_owned)),
            ("license ", self.license_type.text().map(str::to_owned)),
            ("container ", self.container_repo_name.text().map(str::to_owned)),
            ("snoozed until ", day(&self.snooze_until)),
            ("due ", day(&self.sla_remediate_by)),
        ];
        text::distinct(notes.into_iter().filter_map(|(what, value)| Some(format!("{what}{}", value?))))
    }
}

/// Issues of one kind that are mended together.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Group {
    pub(super) id: Scalar,
    title: Scalar,
    description: Scalar,
    how_to_fix: Scalar,
}

/// An issue of the export.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wire {
    id: Scalar,
    pub(super) group_id: Scalar,
    attack_surface: Scalar,
    status: Scalar,
    severity: Scalar,
    severity_score: Scalar,
    original_cvss_severity_score: Scalar,
    #[serde(rename = "type")]
    kind: Scalar,
    rule: Scalar,
    rule_id: Scalar,
    affected_package: Scalar,
    cve_id: Scalar,
    affected_file: Scalar,
    first_detected_at: Scalar,
    code_repo_id: Scalar,
    container_repo_id: Scalar,
    container_repo_name: Scalar,
    cloud_id: Scalar,
    cloud_resource_id: Scalar,
    domain_id: Scalar,
    domain_name: Scalar,
    virtual_machine_id: Scalar,
    ignored_at: Scalar,
    closed_at: Scalar,
    start_line: Scalar,
    end_line: Scalar,
    snooze_until: Scalar,
    cwe_classes: Texts,
    installed_version: Scalar,
    patched_versions: Texts,
    license_type: Scalar,
    programming_language: Scalar,
    sla_remediate_by: Scalar,
    exploitability: Scalar,
}
