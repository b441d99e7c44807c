//! From an issue, and what is known around it, to a finding. Nothing here asks anything.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    v1::{Fixes, Ignores},
    wire::{Class, Coordinate, Dependency, Issue, Place, Problem, Project, Remedy, SourceLocation, WireSeverity},
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
    let category = match about.kind.to_ascii_lowercase().as_str() {
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
    let level = &about.effective_severity_level;
    let severity = Severity::of_word(level).unwrap_or_else(|| cx.unknown("severity", level, Severity::Unknown));
    let ignore = around.ignores.get(&item.id).and_then(|ignores| ignores.get(&about.key)).filter(|_| about.ignored);
    let (state, word) = match (about.status.to_ascii_lowercase().as_str(), about.ignored) {
        ("resolved", _) => {
            let how = about.resolution.as_ref().and_then(|resolution| resolution.kind.as_deref());
            (State::Fixed, how.map(|how| ["resolved: ", how].concat()))
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
    let own = rule_of(&problems);
    // A finding of Snyk Code has its own fingerprint for a problem: that is no rule.
    let rule = own.map(|problem| problem.id.as_str()).or(matches!(category, Category::Sca | Category::Container).then_some(&*about.key));
    let rule = rule.filter(|rule| category != Category::Sast || *rule != about.key);
    let fix = around.fixes.get(&item.id).filter(|_| state != State::Fixed);
    let fix = fix.and_then(|fixes| fixes.get(&own.map_or(&*about.key, |problem| &*problem.id).to_ascii_lowercase()));
    let (weaknesses, others): (Vec<&Class>, Vec<&Class>) = about.classes.iter().flatten().partition(|class| class.is_weakness());
    let named = weaknesses.into_iter().map(|class| &class.id).chain(problems.iter().map(|problem| &problem.id));
    let mut ids = Ids::of(named.filter(|word| category != Category::Sast || **word != about.key));
    [&mut ids.cve, &mut ids.cwe, &mut ids.other].into_iter().for_each(|list| list.sort_unstable());

    // A coordinate may be resolved while the issue is open.
    let coordinates = about.coordinates.unwrap_or_default();
    let (open, resolved): (Vec<&Coordinate>, Vec<&Coordinate>) =
        coordinates.iter().partition(|coordinate| coordinate.state.as_deref() != Some("resolved"));
    let standing = if open.is_empty() { resolved } else { open };
    let places: Vec<&Place> = standing.iter().flat_map(|coordinate| coordinate.representations.iter().flatten()).collect();
    let mut packages: Vec<&Dependency> = places.iter().filter_map(|place| place.dependency.as_ref()).collect();
    packages.sort_unstable();
    let mut sources: Vec<&SourceLocation> = places.iter().filter_map(|place| place.source_location.as_ref()).collect();
    sources.sort_by_key(|source| (source.file.as_deref(), source.start()));
    let (package, source) = (packages.first().copied(), sources.first().copied());
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
    let words = standing.iter().filter_map(|coordinate| coordinate.reachability.as_deref());
    let words: BTreeSet<&str> = words.filter(|word| !matches!(*word, "no-info" | "not-applicable")).collect();
    words.into_iter().for_each(|word| tag(&["reachability ", word].concat()));
    others.iter().map(|class| class.tag()).collect::<BTreeSet<_>>().iter().for_each(|class| tag(class));
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
    packages.iter().filter(|other| Some(**other) != package).for_each(|other| tag(&["also in ", &other.to_string()].concat()));
    sources.iter().skip(1).for_each(|other| tag(&["also at ", other.file.as_deref().unwrap_or_default()].concat()));

    let mut links: Vec<String> = problems.iter().filter_map(|problem| problem.url.clone()).collect();
    links.sort_unstable();
    let page = if category == Category::Cloud { "rules/cloud/" } else { "vuln/" };
    let has_page = category == Category::Cloud || about.kind == "package_vulnerability";
    let own_page = rule.filter(|rule| has_page && !rule.contains(['/', '?', '#']));
    links.extend(own_page.map(|rule| ["https://security.snyk.io/", page, rule].concat()));
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
    let end = region.and_then(|region| region.end.as_ref()?.line.whole());
    let (line_start, line_end) = lines(source.and_then(SourceLocation::start), end);
    // A resolved one was seen until then.
    let resolved_at = about.resolution.and_then(|resolution| text::time(&resolution.resolved_at?));
    let resolved_at = resolved_at.filter(|_| state == State::Fixed);
    let seen = resolved_at.or_else(|| about.updated_at.as_deref().and_then(text::time));
    let link = match item.kind.as_str() {
        "project" => project_url(around.app.as_deref(), &org.title, &item.id, Some(&about.key)),
        "environment" => cloud_url(around.app.as_deref(), &org.title),
        _ => None,
    };
    Item::Finding(Box::new(Finding {
        rule: rule.and_then(text::keep),
        branch: project.and_then(|project| text::keep(project.target_reference.as_deref()?)),
        title: text::line(&title),
        description: text::paragraphs(description),
        severity,
        vendor_severity: Some(text::line(&about.effective_severity_level)),
        state,
        vendor_state: Some(text::line(word.as_deref().unwrap_or(&about.status))),
        exploited: exploit
            .as_ref()
            .and_then(|exploit| Some(exploit.sources.as_ref()?.iter().any(|source| source.eq_ignore_ascii_case("CISA")))),
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
        reference_urls: text::links_of(links),
        tags,
        url: link,
        vendor_first_seen: about.created_at.as_deref().and_then(text::time),
        vendor_last_seen: seen,
        vendor_closed_at: resolved_at,
        cve: ids.cve,
        cwe: ids.cwe,
        identifiers: ids.other,
        ..Finding::new(id, item.id, category)
    }))
}

/// The problem whose id is the rule: Snyk's own, else one of a part of Snyk (`snyk-cloud`), else one that is a rule.
fn rule_of(problems: &[Problem]) -> Option<&Problem> {
    let rank = |problem: &Problem| {
        let source = problem.source.as_deref().unwrap_or_default().to_ascii_lowercase();
        match &*source {
            "snyk" => Some(0),
            source if source.starts_with("snyk") => Some(1),
            _ => (problem.kind.as_deref() == Some("rule")).then_some(2),
        }
    };
    // Of several, always the same one.
    let ranked = problems.iter().filter_map(|problem| Some((rank(problem)?, problem)));
    ranked.min_by_key(|(rank, problem)| (*rank, &problem.id)).map(|(_, problem)| problem)
}

impl Class {
    fn is_weakness(&self) -> bool {
        self.source.as_deref().is_some_and(|source| source.eq_ignore_ascii_case("CWE"))
    }

    /// Its source and id, in which the source may stand already.
    fn tag(&self) -> String {
        match self.source.as_deref().filter(|source| !self.id.starts_with(source)) {
            Some(source) => [source, " ", &self.id].concat(),
            None => self.id.clone(),
        }
    }
}

impl SourceLocation {
    fn start(&self) -> Option<i64> {
        self.region.as_ref()?.start.as_ref()?.line.whole()
    }
}

/// The score that Snyk itself gives, else NVD's, else anybody's; of the newest version of CVSS; of several the highest.
fn cvss(severities: Vec<WireSeverity>) -> Option<Cvss> {
    let read = |severity: WireSeverity| {
        let rank = match severity.source.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("snyk") => 2,
            Some("nvd") => 1,
            _ => 0,
        };
        let version = severity.version.0.unwrap_or_default();
        Some((rank, Cvss::read(&version, severity.vector.as_deref(), severity.score.number())?))
    };
    let best = severities.into_iter().filter_map(read).max_by(|(a, x), (b, y)| {
        let score = |cvss: &Cvss| cvss.score.unwrap_or_default();
        (a, &x.version).cmp(&(b, &y.version)).then(score(x).total_cmp(&score(y))).then(x.vector.cmp(&y.vector))
    });
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
    let above = fixed_in.iter().filter(|version| parts(version) > parts(installed)).min_by_key(|version| parts(version));
    above.or(fixed_in.first()).map(String::as_str)
}

/// What versions are compared by.
pub(super) fn parts(version: &str) -> Vec<(u64, String)> {
    version.split(['.', '-', '+', '_', ':', '~']).map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
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
    let mut remedies: Vec<&Remedy> = coordinates.iter().flat_map(|coordinate| coordinate.remedies.iter().flatten()).collect();
    remedies.sort_by_key(|remedy| (&remedy.kind, &remedy.description));
    for remedy in remedies {
        lines.extend(remedy.description.as_deref().filter(|line| !lines.contains(line)));
    }
    text::keep(&lines.join("\n"))
}

/// Deep link to the cloud issues of an organization, which has pages for neither one issue nor one environment.
pub(super) fn cloud_url(app: Option<&str>, org: &str) -> Option<Box<str>> {
    let mut url = url::Url::parse(app?).ok()?;
    url.path_segments_mut().ok()?.extend(["org", Some(org).filter(|org| !org.is_empty())?, "cloud", "issues"]);
    Some(url.to_string().into())
}

/// Deep link to a project, or to an issue in it.
pub(super) fn project_url(app: Option<&str>, org: &str, project: &str, issue: Option<&str>) -> Option<Box<str>> {
    let mut url = url::Url::parse(app?).ok()?;
    url.path_segments_mut().ok()?.extend(["org", Some(org).filter(|org| !org.is_empty())?, "project", project]);
    url.set_fragment(issue.map(|key| ["issue-", key].concat()).as_deref());
    Some(url.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_links_lead_to_the_project_or_to_the_cloud_issues_of_the_organization() {
        let app = Some("https://app.eu.snyk.io");
        let project = project_url(app, "acme & co", "p-1", Some("SNYK-JS-A-1"));
        assert_eq!(project.as_deref(), Some("https://app.eu.snyk.io/org/acme%20&%20co/project/p-1#issue-SNYK-JS-A-1"));
        assert_eq!(cloud_url(app, "acme").as_deref(), Some("https://app.eu.snyk.io/org/acme/cloud/issues"));
        assert_eq!((cloud_url(app, ""), cloud_url(None, "acme")), (None, None));
    }
}
