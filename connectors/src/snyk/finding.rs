//! From an issue, and what is known around it, to a finding. Nothing here asks anything.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    v1::{Fix, Fixes, Ignore, Ignores, version_order},
    wire::{
        Class, Coordinate, Dependency, Issue, IssueAttributes, Place, Problem, Project, ProjectAttributes, Remedy, ScanItemData,
        SourceLocation, WireSeverity,
    },
};
use crate::prelude::*;

/// What is known around the issues of a page.
#[derive(Default)]
pub(super) struct PageContext {
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

impl PageContext {
    /// What V1 tells of how a problem is fixed.
    fn fix(&self, project: &str, problem: &str) -> Option<&Fix> {
        self.fixes.get(project)?.get(&problem.to_ascii_lowercase())
    }

    /// The page of the web interface: the issue's own in its project, else that of the organization's cloud issues.
    fn link(&self, item: &ScanItemData, org: &Scope, key: &str) -> Option<Box<str>> {
        match item.kind.as_str() {
            "project" => project_url(self.app.as_deref(), &org.title, &item.id, Some(key)),
            "environment" => cloud_url(self.app.as_deref(), &org.title),
            _ => None,
        }
    }
}

pub(super) fn finding(issue: Issue, org: &Scope, around: &PageContext, cx: &Context) -> Item {
    let Issue { id, attributes: about, relationships } = issue;
    let item = relationships.scan_item.data;
    let project = around.projects.get(&item.id).and_then(|project| project.as_ref().as_ref()).map(|project| &project.attributes);
    let project_kind = project.and_then(|project| project.kind.as_deref()).unwrap_or_default();
    let Some(category) = category(&about.kind, project_kind, around.licenses, cx) else {
        return Item::Skipped { key: id.into(), reason: "license issue" };
    };
    let level = &about.effective_severity_level;
    let severity = Severity::of_word(level).unwrap_or_else(|| cx.unknown("severity", level, Severity::Unknown));
    let ignore = around.ignores.get(&item.id).and_then(|ignores| ignores.get(&about.key)).filter(|_| about.ignored);
    let (state, word) = state(&about, ignore.map(|ignore| ignore.kind.as_str()), cx);

    let problems = about.problems.as_deref().unwrap_or_default();
    let own = rule_of(problems);
    let rule = rule(&about, category, own);
    let problem = own.map_or(&*about.key, |problem| &*problem.id);
    let fix = around.fix(&item.id, problem).filter(|_| state != State::Fixed);
    let fixed_in = fix.map(|fix| &fix.fixed_in[..]).unwrap_or_default();
    let ids = identifiers(&about, category, problems);
    let places = Places::of(about.coordinates.as_deref().unwrap_or_default());
    let (package, source) = (places.packages.first().copied(), places.sources.first().copied());
    let version = package.and_then(|package| package.package_version.as_deref());
    let (line_start, line_end) = source.map(SourceLocation::lines).unwrap_or_default();
    // A resolved one was seen until then.
    let resolved_at = about.resolution.as_ref().and_then(|resolution| text::time(resolution.resolved_at.as_deref()?));
    let resolved_at = resolved_at.filter(|_| state == State::Fixed);
    Item::Finding(Box::new(Finding {
        rule: rule.and_then(text::clean),
        branch: project.and_then(|project| text::clean(project.target_reference.as_deref()?)),
        title: title(&about, package),
        description: description(&about, fix, ignore),
        severity,
        vendor_severity: Some(text::single_line(level)),
        state,
        vendor_state: Some(text::single_line(word.as_deref().unwrap_or(&about.status))),
        exploited: exploited(&about),
        fix_available: places.fix_available(fixed_in),
        cvss: cvss(about.severities.as_deref().unwrap_or_default()),
        component_name: package.and_then(|package| text::clean(package.package_name.as_deref()?)),
        component_version: version.and_then(text::clean),
        component_purl: package.and_then(|package| purl(project_kind, package.package_name.as_deref()?, version, rule.unwrap_or_default())),
        fixed_version: first_fixed(fixed_in, version.unwrap_or_default()).and_then(text::clean),
        file_path: file(source, project, category).and_then(text::clean),
        line_start,
        line_end,
        asset_key: Some(item.id.as_str().into()),
        remediation: remediation(package, fixed_in, &places.standing),
        reference_urls: links(&about.kind, category, rule, problems),
        tags: tags(&about, project, &places),
        url: around.link(&item, org, &about.key),
        vendor_first_seen: about.created_at.as_deref().and_then(text::time),
        vendor_last_seen: resolved_at.or_else(|| about.updated_at.as_deref().and_then(text::time)),
        vendor_closed_at: resolved_at,
        cve: ids.cve,
        cwe: ids.cwe,
        identifiers: ids.other,
        ..Finding::new(id, item.id, category)
    }))
}

/// What sort of weakness it is; `None` for a license issue where those are not stored.
fn category(kind: &str, project_kind: &str, licenses: bool, cx: &Context) -> Option<Category> {
    let system_package = package_kind(project_kind).is_some_and(|kind| matches!(kind, "deb" | "apk" | "rpm"));
    Some(match kind.to_ascii_lowercase().as_str() {
        "package_vulnerability" if system_package || matches!(project_kind, "dockerfile" | "linux") => Category::Container,
        "package_vulnerability" => Category::Sca,
        "license" if !licenses => return None,
        "license" => Category::Sca,
        "code" => Category::Sast,
        "config" | "custom" => Category::Iac,
        "cloud" => Category::Cloud,
        other => cx.unknown("type of issue", other, Category::Misconfiguration),
    })
}

/// The state, and the vendor's words for it where they are not its status alone. `ignore` is the kind of the ignore in force.
fn state(about: &IssueAttributes, ignore: Option<&str>, cx: &Context) -> (State, Option<String>) {
    match (about.status.to_ascii_lowercase().as_str(), about.ignored) {
        ("resolved", _) => {
            let how = about.resolution.as_ref().and_then(|resolution| resolution.kind.as_deref());
            (State::Fixed, how.map(|how| ["resolved: ", how].concat()))
        }
        ("open", false) => (State::Open, None),
        ("open", true) => match ignore.filter(|kind| !kind.is_empty()) {
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
    }
}

/// What it is, and why it is ignored.
fn description(about: &IssueAttributes, fix: Option<&Fix>, ignore: Option<&Ignore>) -> Option<Box<str>> {
    let reason = ignore.map(|ignore| ignore.reason.trim()).filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| ["Ignored: ", reason].concat());
    let own = about.description.as_deref().or(fix.and_then(|fix| fix.description.as_deref()));
    text::paragraphs([own, reason.as_deref()])
}

/// Whether CISA knows of exploitation; `None` where no source is named.
fn exploited(about: &IssueAttributes) -> Option<bool> {
    let sources = about.exploit_details.as_ref()?.sources.as_ref()?;
    Some(sources.iter().any(|source| source.eq_ignore_ascii_case("CISA")))
}

/// The file in the source, else for infrastructure as code the project's own.
fn file<'a>(source: Option<&'a SourceLocation>, project: Option<&'a ProjectAttributes>, category: Category) -> Option<&'a str> {
    let own = project.and_then(|project| project.target_file.as_deref()).filter(|_| category == Category::Iac);
    source.and_then(|source| source.file.as_deref()).or(own)
}

fn title(about: &IssueAttributes, package: Option<&Dependency>) -> Box<str> {
    match package {
        Some(package) if matches!(about.kind.as_str(), "package_vulnerability" | "license") => {
            text::single_line(&[&*about.title, " in ", &package.to_string()].concat())
        }
        _ => text::single_line(&about.title),
    }
}

/// The rule: a finding of Snyk Code has its own fingerprint for a problem, which is none.
fn rule<'a>(about: &'a IssueAttributes, category: Category, own: Option<&'a Problem>) -> Option<&'a str> {
    let rule = own.map(|problem| problem.id.as_str()).or(matches!(category, Category::Sca | Category::Container).then_some(&*about.key));
    rule.filter(|rule| category != Category::Sast || *rule != about.key)
}

fn identifiers(about: &IssueAttributes, category: Category, problems: &[Problem]) -> Ids {
    let weaknesses = about.classes.iter().flatten().filter(|class| class.is_weakness());
    let named = weaknesses.map(|class| &class.id).chain(problems.iter().map(|problem| &problem.id));
    let mut ids = Ids::of(named.filter(|word| category != Category::Sast || **word != about.key));
    [&mut ids.cve, &mut ids.cwe, &mut ids.other].into_iter().for_each(|list| list.sort_unstable());
    ids
}

/// Where an issue stands, in an order of its own: the vendor's is none.
struct Places<'a> {
    /// The coordinates that count. One may be resolved while the issue is open.
    standing: Vec<&'a Coordinate>,
    all: Vec<&'a Place>,
    packages: Vec<&'a Dependency>,
    sources: Vec<&'a SourceLocation>,
}

impl<'a> Places<'a> {
    fn of(coordinates: &'a [Coordinate]) -> Self {
        let (open, resolved): (Vec<&Coordinate>, Vec<&Coordinate>) =
            coordinates.iter().partition(|coordinate| coordinate.state.as_deref() != Some("resolved"));
        let standing = if open.is_empty() { resolved } else { open };
        let all: Vec<&Place> = standing.iter().flat_map(|coordinate| coordinate.representations.iter().flatten()).collect();
        let mut packages: Vec<&Dependency> = all.iter().filter_map(|place| place.dependency.as_ref()).collect();
        packages.sort_unstable();
        let mut sources: Vec<&SourceLocation> = all.iter().filter_map(|place| place.source_location.as_ref()).collect();
        sources.sort_by_key(|source| (source.file.as_deref(), source.start()));
        Places { standing, all, packages, sources }
    }
}

fn links(kind: &str, category: Category, rule: Option<&str>, problems: &[Problem]) -> Vec<Box<str>> {
    let mut links: Vec<String> = problems.iter().filter_map(|problem| problem.url.clone()).collect();
    links.sort_unstable();
    let page = if category == Category::Cloud { "rules/cloud/" } else { "vuln/" };
    let has_page = category == Category::Cloud || kind == "package_vulnerability";
    let own_page = rule.filter(|rule| has_page && !rule.contains(['/', '?', '#']));
    links.extend(own_page.map(|rule| ["https://security.snyk.io/", page, rule].concat()));
    text::links_of(links)
}

/// Tags, each once and of a bounded number.
struct Tags(Vec<Box<str>>);

impl Tags {
    fn add(&mut self, tag: &str) {
        const MOST: usize = 50;
        let tag = text::single_line(tag);
        if !tag.is_empty() && !self.0.contains(&tag) && self.0.len() < MOST {
            self.0.push(tag);
        }
    }
}

fn tags(about: &IssueAttributes, project: Option<&ProjectAttributes>, places: &Places<'_>) -> Vec<Box<str>> {
    let mut tags = Tags(vec![text::single_line(&about.kind)]);
    tags.add(project.and_then(|project| project.origin.as_deref()).unwrap_or_default());
    project.iter().flat_map(|project| project.tags()).for_each(|text| tags.add(&text));
    let words = places.standing.iter().filter_map(|coordinate| coordinate.reachability.as_deref());
    let words: BTreeSet<&str> = words.filter(|word| !matches!(*word, "no-info" | "not-applicable")).collect();
    words.into_iter().for_each(|word| tags.add(&["reachability ", word].concat()));
    let others = about.classes.iter().flatten().filter(|class| !class.is_weakness());
    others.map(Class::tag).collect::<BTreeSet<_>>().iter().for_each(|class| tags.add(class));
    if let Some(score) = about.risk.as_ref().and_then(|risk| risk.score.as_ref()?.value.0.as_deref()) {
        tags.add(&["risk score ", score].concat());
    }
    let levels = about.exploit_details.as_ref().and_then(|exploit| exploit.maturity_levels.as_deref()).unwrap_or_default();
    // By the newest CVSS: "CVSSv4" sorts last.
    let level = levels.iter().max_by_key(|level| &level.format).and_then(|level| level.level.as_deref());
    if let Some(level) = level.filter(|level| *level != "Not Defined") {
        tags.add(&["exploit maturity ", level].concat());
    }
    places.tag(&mut tags);
    tags.0
}

impl Places<'_> {
    /// Whether there is a fix; `None` where nothing is said of it.
    fn fix_available(&self, fixed_in: &[String]) -> Option<bool> {
        let flags: Vec<bool> = self.standing.iter().flat_map(|coordinate| coordinate.fixable()).flatten().collect();
        (!flags.is_empty() || !fixed_in.is_empty()).then(|| flags.contains(&true) || !fixed_in.is_empty())
    }

    /// Adds what is not shown elsewhere: the resource, and the places beside the first.
    fn tag(&self, tags: &mut Tags) {
        if let Some(resource) = self.all.iter().find_map(|place| place.cloud_resource.as_ref()?.resource.as_ref()) {
            let name = resource.native_id.as_ref().or(resource.name.as_ref()).or(resource.id.as_ref());
            [resource.resource_type.as_ref(), resource.location.as_ref(), name].into_iter().flatten().for_each(|word| tags.add(word));
        }
        let path = self.all.iter().find_map(|place| place.resource_path.as_deref());
        path.iter().for_each(|path| tags.add(&["resource ", path].concat()));
        let first = self.packages.first();
        self.packages.iter().filter(|other| Some(*other) != first).for_each(|other| tags.add(&["also in ", &other.to_string()].concat()));
        let others = self.sources.iter().skip(1).map(|other| other.file.as_deref().unwrap_or_default());
        others.for_each(|file| tags.add(&["also at ", file].concat()));
    }
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

    fn lines(&self) -> (Option<u32>, Option<u32>) {
        lines(self.start(), self.region.as_ref().and_then(|region| region.end.as_ref()?.line.whole()))
    }
}

/// The score that Snyk itself gives, else NVD's, else anybody's; of the newest version of CVSS; of several the highest.
fn cvss(severities: &[WireSeverity]) -> Option<Cvss> {
    let read = |severity: &WireSeverity| {
        let rank = match severity.source.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("snyk") => 2,
            Some("nvd") => 1,
            _ => 0,
        };
        let version = severity.version.0.as_deref().unwrap_or_default();
        Some((rank, Cvss::read(version, severity.vector.as_deref(), severity.score.number())?))
    };
    let best = severities.iter().filter_map(read).max_by(|(a, x), (b, y)| {
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
    let above =
        fixed_in.iter().filter(|version| version_order(version) > version_order(installed)).min_by_key(|version| version_order(version));
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
    let mut remedies: Vec<&Remedy> = coordinates.iter().flat_map(|coordinate| coordinate.remedies.iter().flatten()).collect();
    remedies.sort_by_key(|remedy| (&remedy.kind, &remedy.description));
    for remedy in remedies {
        lines.extend(remedy.description.as_deref().filter(|line| !lines.contains(line)));
    }
    text::clean(&lines.join("\n"))
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
