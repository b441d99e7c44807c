//! From an issue, and what is known around it, to a finding. Nothing here asks anything.

use std::{collections::HashMap, sync::Arc};

use super::{
    v1::{Fixes, Ignores},
    wire::{Coordinate, Dependency, Issue, Place, Position, Project, WireSeverity},
};
use crate::prelude::*;

/// What is known around the issues of a page.
#[derive(Default)]
pub(super) struct Around {
    /// Address of the web interface.
    pub(super) app: Option<Box<str>>,
    /// Whether license issues are stored.
    pub(super) licenses: bool,
    /// The projects, by id.
    pub(super) projects: HashMap<String, Arc<Option<Project>>>,
    /// What V1 tells, by project.
    pub(super) fixes: HashMap<String, Arc<Fixes>>,
    pub(super) ignores: HashMap<String, Arc<Ignores>>,
}

pub(super) fn finding(issue: Issue, org: &Scope, around: &Around, cx: &Cx) -> Item {
    let Issue { id, attributes: about, relationships } = issue;
    let item = relationships.scan_item.data;
    let project = around.projects.get(&item.id).and_then(|project| project.as_ref().as_ref()).map(|project| &project.attributes);
    let project_kind = project.and_then(|project| project.kind.as_deref()).unwrap_or_default();
    let category = match about.kind.as_str() {
        "package_vulnerability" if package_kind(project_kind).is_some_and(|kind| matches!(kind, "deb" | "apk" | "rpm")) => {
            Category::Container
        }
        "package_vulnerability" if matches!(project_kind, "dockerfile" | "linux") => Category::Container,
        "package_vulnerability" => Category::Sca,
        "license" if !around.licenses => return Item::Skipped { key: id.into(), reason: "license issue" },
        "license" => Category::Sca,
        "code" => Category::Sast,
        "config" | "custom" => Category::Iac,
        "cloud" => Category::Cloud,
        other => cx.unknown("type of issue", other, Category::Misconfiguration),
    };
    let severity = match about.effective_severity_level.as_str() {
        "critical" => Severity::Critical,
        "high" => Severity::High,
        "medium" => Severity::Medium,
        "low" => Severity::Low,
        "info" => Severity::Info,
        other => cx.unknown("severity", other, Severity::Unknown),
    };
    let ignore = around.ignores.get(&item.id).and_then(|ignores| ignores.get(&about.key)).filter(|_| about.ignored);
    let (state, word) = match (about.status.as_str(), about.ignored) {
        ("resolved", _) => {
            (State::Fixed, about.resolution.and_then(|resolution| resolution.kind).map(|kind| ["resolved: ", &kind].concat()))
        }
        ("open", false) => (State::Open, None),
        ("open", true) => match ignore.map(|ignore| ignore.kind.as_str()).filter(|kind| !kind.is_empty()) {
            None => (State::RiskAccepted, Some("open, ignored".to_owned())),
            Some(kind) => {
                let state = if kind == "not-vulnerable" { State::FalsePositive } else { State::RiskAccepted };
                if !matches!(kind, "not-vulnerable" | "wont-fix" | "temporary-ignore") {
                    cx.unknown("reason of an ignore", kind, ());
                }
                (state, Some(["open, ignored: ", kind].concat()))
            }
        },
        (other, _) => cx.unknown("status", other, (State::Open, None)),
    };

    let problems = about.problems.unwrap_or_default();
    let own = problems.iter().find(|problem| problem.source.as_deref().is_some_and(|source| source.eq_ignore_ascii_case("snyk")));
    // A finding of Snyk Code has its own fingerprint for a problem: that is no rule.
    let rule = own.map(|problem| problem.id.as_str()).or(matches!(category, Category::Sca | Category::Container).then_some(&*about.key));
    let rule = rule.filter(|rule| category != Category::Sast || *rule != about.key);
    let fix = around.fixes.get(&item.id).filter(|_| state != State::Fixed);
    let fix = fix.and_then(|fixes| fixes.get(&own.map_or(&*about.key, |problem| &*problem.id).to_ascii_lowercase()));
    let (mut cve, mut cwe, mut identifiers) = (Vec::<Box<str>>::new(), Vec::<Box<str>>::new(), Vec::<Box<str>>::new());
    let classes = about.classes.iter().flatten().filter(|class| class.source.as_deref() == Some("CWE")).map(|class| &class.id);
    for word in classes.chain(problems.iter().map(|problem| &problem.id)).filter(|word| category != Category::Sast || **word != about.key) {
        let list = match word.split_once('-') {
            Some(("CVE", _)) => &mut cve,
            Some(("CWE", _)) => &mut cwe,
            _ => &mut identifiers,
        };
        if !list.iter().any(|known| **known == **word) {
            list.push(text::line(word));
        }
    }

    // A coordinate may be resolved while the issue is open.
    let coordinates = about.coordinates.unwrap_or_default();
    let (open, resolved): (Vec<&Coordinate>, Vec<&Coordinate>) =
        coordinates.iter().partition(|coordinate| coordinate.state.as_deref() != Some("resolved"));
    let standing = if open.is_empty() { resolved } else { open };
    let places: Vec<&Place> = standing.iter().flat_map(|coordinate| coordinate.representations.iter().flatten()).collect();
    let mut packages = places.iter().filter_map(|place| place.dependency.as_ref());
    let mut sources = places.iter().filter_map(|place| place.source_location.as_ref());
    let (package, source) = (packages.next(), sources.next());
    let version = package.and_then(|package| package.package_version.as_deref());
    let region = source.and_then(|source| source.region.as_ref());
    let resource = places.iter().filter_map(|place| place.cloud_resource.as_ref()?.resource.as_ref()).next();
    let path = places.iter().find_map(|place| place.resource_path.as_deref());
    let flags: Vec<bool> = standing.iter().flat_map(|coordinate| coordinate.fixable()).flatten().collect();

    let mut tags: Vec<Box<str>> = vec![text::line(&about.kind)];
    let mut tag = |tag: &str| {
        let tag = text::line(tag);
        if !tag.is_empty() && !tags.contains(&tag) && tags.len() < 50 {
            tags.push(tag);
        }
    };
    tag(project.and_then(|project| project.origin.as_deref()).unwrap_or_default());
    project.iter().flat_map(|project| project.tags()).for_each(|text| tag(&text));
    standing
        .iter()
        .filter_map(|coordinate| coordinate.reachability.as_deref())
        .filter(|word| !matches!(*word, "no-info" | "not-applicable"))
        .for_each(|word| tag(&["reachability ", word].concat()));
    if let Some(score) = about.risk.and_then(|risk| risk.score).and_then(|score| score.value.0) {
        tag(&["risk score ", &score].concat());
    }
    let exploit = about.exploit_details;
    let levels = exploit.as_ref().and_then(|exploit| exploit.maturity_levels.as_deref()).unwrap_or_default();
    // By the newest CVSS: "CVSSv4" sorts last.
    let level = levels.iter().max_by_key(|level| &level.format).and_then(|level| level.level.as_deref());
    if let Some(level) = level.filter(|level| *level != "Not Defined") {
        tag(&["exploit maturity ", level].concat());
    }
    if let Some(resource) = resource {
        let name = resource.native_id.as_ref().or(resource.name.as_ref()).or(resource.id.as_ref());
        [&resource.resource_type, &resource.location, &name.cloned()].into_iter().flatten().for_each(|word| tag(word));
    }
    path.iter().for_each(|path| tag(&["resource ", path].concat()));
    packages.filter(|other| Some(*other) != package).for_each(|other| tag(&["also in ", &other.to_string()].concat()));
    sources.for_each(|other| tag(&["also at ", other.file.as_deref().unwrap_or_default()].concat()));

    let links = problems.iter().filter_map(|problem| problem.url.as_deref());
    let mut references: Vec<Box<str>> = links.filter_map(text::keep).collect();
    if let Some(rule) = rule.filter(|rule| about.kind == "package_vulnerability" && !rule.contains(['/', '?', '#'])) {
        references.push(["https://security.snyk.io/vuln/", rule].concat().into());
    }
    references.dedup();
    let fixed_in = fix.map(|fix| &fix.fixed_in[..]).unwrap_or_default();
    let description = [
        about.description.as_deref().or(fix.and_then(|fix| fix.description.as_deref())).map(str::to_owned),
        ignore.map(|ignore| ignore.reason.trim()).filter(|reason| !reason.is_empty()).map(|reason| ["Ignored: ", reason].concat()),
    ];
    let title = match package {
        Some(package) if matches!(about.kind.as_str(), "package_vulnerability" | "license") => {
            [&*about.title, " in ", &package.to_string()].concat()
        }
        _ => about.title,
    };
    let line = |place: Option<&Position>| place.and_then(|place| place.line.whole());
    let (line_start, line_end) =
        lines(line(region.and_then(|region| region.start.as_ref())), line(region.and_then(|region| region.end.as_ref())));
    Item::Finding(Box::new(Finding {
        rule: rule.and_then(text::keep),
        branch: project.and_then(|project| text::keep(project.target_reference.as_deref()?)),
        title: text::line(&title),
        description: text::paragraphs(description),
        severity,
        vendor_severity: Some(text::line(&about.effective_severity_level)),
        state,
        vendor_state: Some(text::line(word.as_deref().unwrap_or(&about.status))),
        exploited: exploit.as_ref().and_then(|exploit| Some(exploit.sources.as_ref()?.iter().any(|source| source == "CISA"))),
        fix_available: (!flags.is_empty() || !fixed_in.is_empty()).then(|| flags.contains(&true) || !fixed_in.is_empty()),
        cvss: cvss(about.severities.unwrap_or_default()),
        component_name: package.and_then(|package| text::keep(package.package_name.as_deref()?)),
        component_version: version.and_then(text::keep),
        component_purl: package.and_then(|package| purl(project_kind, package.package_name.as_deref()?, version, rule.unwrap_or_default())),
        fixed_version: first_fixed(fixed_in, version.unwrap_or_default()).and_then(text::keep),
        file_path: source
            .and_then(|source| source.file.as_deref())
            .or(project.and_then(|project| project.target_file.as_deref()).filter(|_| category == Category::Iac))
            .and_then(text::keep),
        line_start,
        line_end,
        asset_key: Some(item.id.as_str().into()),
        remediation: remediation(package, fixed_in, &standing),
        reference_urls: references,
        tags,
        url: project_url(around.app.as_deref(), &org.title, &item.id, Some(&about.key)).filter(|_| item.kind == "project"),
        vendor_first_seen: about.created_at.as_deref().and_then(text::time),
        cve,
        cwe,
        identifiers,
        ..Finding::new(id, item.id, category)
    }))
}

/// The score that Snyk itself gives, else NVD's, else anybody's; of the newest version of CVSS.
fn cvss(severities: Vec<WireSeverity>) -> Option<Cvss> {
    let mut best: Option<(i32, Cvss)> = None;
    for severity in severities {
        let rank = match severity.source.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("snyk") => 2,
            Some("nvd") => 1,
            _ => 0,
        };
        let version = severity.version.0.unwrap_or_default();
        let Some(cvss) = Cvss::read(&version, severity.vector.as_deref(), severity.score.number()) else { continue };
        if best.as_ref().is_none_or(|(old, known)| (rank, &cvss.version) > (*old, &known.version)) {
            best = Some((rank, cvss));
        }
    }
    best.map(|(_, cvss)| cvss)
}

/// The package URL's type for a type of project.
fn package_kind(project: &str) -> Option<&'static str> {
    Some(match project {
        "npm" | "yarn" | "yarn-workspace" | "pnpm" => "npm",
        "maven" | "gradle" | "sbt" => "maven",
        "pip" | "pipenv" | "poetry" | "setuptools" => "pypi",
        "golang" | "gomodules" | "golangdep" | "govendor" => "golang",
        "rubygems" => "gem",
        "composer" => "composer",
        "nuget" | "paket" => "nuget",
        "cocoapods" => "cocoapods",
        "hex" => "hex",
        "cargo" => "cargo",
        "swift" => "swift",
        "deb" => "deb",
        "rpm" => "rpm",
        "apk" => "apk",
        _ => return None,
    })
}

fn purl(project: &str, name: &str, version: Option<&str>, rule: &str) -> Option<Box<str>> {
    let kind = package_kind(project)?;
    // Of a system package Snyk writes source and binary package; the distribution is only in its id (SNYK-DEBIAN11-…).
    let distribution = rule.split('-').nth(1).unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase();
    let (namespace, name) = match kind {
        "deb" | "rpm" | "apk" => (Some(&*distribution), name.rsplit('/').next()?),
        "maven" => name.split_once(':').map_or((None, name), |(group, artifact)| (Some(group), artifact)),
        _ => name.rsplit_once('/').map_or((None, name), |(namespace, name)| (Some(namespace), name)),
    };
    text::package(kind, namespace, name, version)
}

/// The least fixed version above the installed one; one fix may be made in several release lines.
fn first_fixed<'a>(fixed_in: &'a [String], installed: &str) -> Option<&'a str> {
    let parts = |version: &str| -> Vec<(u64, String)> {
        version.split(['.', '-', '+', '_', ':', '~']).map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
    };
    let above = fixed_in.iter().filter(|version| parts(version) > parts(installed)).min_by_key(|version| parts(version));
    above.or(fixed_in.first()).map(String::as_str)
}

fn remediation(package: Option<&Dependency>, fixed_in: &[String], coordinates: &[&Coordinate]) -> Option<Box<str>> {
    let mut lines: Vec<&str> = Vec::new();
    let upgrade = package.filter(|_| !fixed_in.is_empty()).and_then(|package| package.package_name.as_deref());
    let upgrade = upgrade.map(|name| format!("Upgrade {name} to {}.", fixed_in.join(" or ")));
    lines.extend(upgrade.as_deref());
    let is = |flag: fn(&Coordinate) -> Option<bool>| coordinates.iter().any(|coordinate| flag(coordinate) == Some(true));
    for (holds, line) in [
        (is(|coordinate| coordinate.is_upgradeable), "A direct dependency can be upgraded to fix it."),
        (is(|coordinate| coordinate.is_pinnable), "The dependency can be pinned to a fixed version."),
        (is(|coordinate| coordinate.is_patchable), "A Snyk patch is available."),
        (is(|coordinate| coordinate.is_fixable_manually), "It can be fixed by hand."),
    ] {
        lines.extend(holds.then_some(line));
    }
    for remedy in coordinates.iter().flat_map(|coordinate| coordinate.remedies.iter().flatten()) {
        lines.extend(remedy.description.as_deref().filter(|line| !lines.contains(line)));
    }
    text::keep(&lines.join("\n"))
}

/// Deep link to a project, or to an issue in it.
pub(super) fn project_url(app: Option<&str>, org: &str, project: &str, issue: Option<&str>) -> Option<Box<str>> {
    let mut url = url::Url::parse(app?).ok()?;
    url.path_segments_mut().ok()?.extend(["org", Some(org).filter(|org| !org.is_empty())?, "project", project]);
    url.set_fragment(issue.map(|key| ["issue-", key].concat()).as_deref());
    Some(url.to_string().into())
}
