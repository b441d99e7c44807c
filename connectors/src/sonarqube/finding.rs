//! Issues and hotspots as findings.

use std::{collections::HashMap, sync::Arc};

use super::{
    List, Server,
    rule::Rule,
    wire::{hotspot_key, text_key},
};
use crate::{
    kit::{Location, Scalar},
    prelude::*,
};

/// What the rows of a page have in common.
pub(super) struct PageContext<'a> {
    pub(super) location: &'a Location,
    pub(super) server: &'a Server,
    pub(super) list: List<'a>,
    /// Whether bugs and code smells are read too.
    pub(super) everything: bool,
    /// Rules, by [`text_key`].
    pub(super) texts: HashMap<String, Arc<Rule>>,
    /// Paths of the files, by component key.
    pub(super) paths: HashMap<String, String>,
}

impl PageContext<'_> {
    fn link(&self, route: &str, parameters: &[(&str, Option<&str>)]) -> Box<str> {
        link(self.location, route, parameters)
    }

    /// The file, unless the finding is on the project itself.
    fn path(&self, component: Option<&str>) -> Option<Box<str>> {
        let component = component?;
        let own = || component.strip_prefix(self.list.project)?.strip_prefix(':');
        self.paths.get(component).map(String::as_str).or_else(own).and_then(text::clean)
    }
}

/// A page of the web interface.
pub(super) fn link(location: &Location, route: &str, parameters: &[(&str, Option<&str>)]) -> Box<str> {
    let mut url = location.join(route, &[]);
    url.query_pairs_mut().extend_pairs(parameters.iter().filter_map(|(name, value)| Some((name, (*value)?))));
    String::from(url).into()
}

pub(super) fn issue(issue: Issue, about: &PageContext<'_>, cx: &Context) -> Item {
    let project = about.list.project;
    if let Some((filter, reason)) = issue.left_out(about) {
        if about.list.filtered {
            cx.filter_ignored(filter);
        }
        return Item::Skipped { key: issue.key.into(), reason };
    }
    let (state, vendor_state) = (issue_state(&issue, cx), issue.state_words());
    let word = issue.severity_word(about.server.mqr).map(str::to_owned);
    let word = word.as_deref();
    let rule = about.texts.get(&issue.rule).map(|rule| &**rule);
    let message = issue.message.as_deref().unwrap_or_default();
    let (cve, identifiers, mut cwe) = (ids::cves(message), advisories(message), ids::cwes(message));
    cwe.extend(rule.into_iter().flat_map(|rule| rule.cwe.iter().cloned()));
    let category = category(&issue.rule, rule, !cve.is_empty() || !identifiers.is_empty());
    let kind = issue.kind.filter(|_| about.everything).map(|kind| kind.to_lowercase());
    let (line_start, line_end) = lines_of(issue.text_range, &issue.line);
    let mut tags = issue.tags.unwrap_or_default();
    tags.sort_unstable();
    let migrated = tags.iter().any(|tag| tag == "former-hotspot");
    let url = about.link(
        "/project/issues",
        &[("id", Some(project)), ("issues", Some(&issue.key)), ("open", Some(&issue.key)), ("branch", about.list.named)],
    );
    let tags = tags.into_iter().chain([issue.clean_code_attribute, issue.external_rule_engine, kind].into_iter().flatten());
    Item::Finding(Box::new(Finding {
        // A server that turns its hotspots into issues keeps their keys.
        alternate_key: migrated.then(|| hotspot_key(&issue.key).into()),
        rule: text::clean(&issue.rule),
        branch: issue.branch.as_deref().or(about.list.named).and_then(text::clean),
        title: title(issue.message.as_deref(), rule),
        description: rule.and_then(|rule| rule.description.clone()),
        remediation: rule.and_then(|rule| rule.remediation(issue.rule_description_context_key.as_deref())),
        severity: severity_or_unknown(word, cx),
        vendor_severity: word.and_then(text::clean),
        state,
        vendor_state: text::clean(&vendor_state),
        cve,
        cwe: text::distinct(cwe),
        identifiers,
        file_path: about.path(issue.component.as_deref()),
        line_start,
        line_end,
        reference_urls: rule.map(|rule| rule.links.clone()).unwrap_or_default(),
        tags: text::distinct(tags),
        url: Some(url),
        vendor_first_seen: issue.creation_date.as_deref().and_then(text::time),
        vendor_closed_at: issue.close_date.as_deref().and_then(text::time),
        ..Finding::new(issue.key, project, category)
    }))
}

pub(super) fn hotspot(hotspot: Hotspot, about: &PageContext<'_>, cx: &Context) -> Item {
    let project = about.list.project;
    let word = hotspot.vulnerability_probability.as_deref();
    let (status, resolution) = (capitals(hotspot.status.as_deref()), capitals(hotspot.resolution.as_deref()));
    let state = match (status.as_str(), resolution.as_str()) {
        ("TO_REVIEW", _) => State::Open,
        ("REVIEWED", "FIXED") => State::Fixed,
        ("REVIEWED", "SAFE") => State::FalsePositive,
        ("REVIEWED", "ACKNOWLEDGED" | "EXCEPTION") => State::RiskAccepted,
        ("REVIEWED", other) => cx.unknown("hotspot resolution", other, State::Suppressed),
        (other, _) => cx.unknown("hotspot status", other, State::Open),
    };
    let (line_start, line_end) = lines_of(hotspot.text_range, &hotspot.line);
    let text_key = text_key(hotspot.rule_key.as_deref(), hotspot.security_category.as_deref(), hotspot.message.as_deref());
    let rule = about.texts.get(&text_key).map(|rule| &**rule);
    let vendor_state = [hotspot.status.as_deref(), hotspot.resolution.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let url = about.link("/security_hotspots", &[("id", Some(project)), ("hotspots", Some(&hotspot.key)), ("branch", about.list.named)]);
    Item::Finding(Box::new(Finding {
        rule: hotspot.rule_key.as_deref().and_then(text::clean).or_else(|| rule.and_then(|rule| rule.key.clone())),
        branch: about.list.named.and_then(text::clean),
        title: title(hotspot.message.as_deref(), rule),
        description: rule.and_then(|rule| rule.description.clone()),
        remediation: rule.and_then(|rule| rule.remediation(None)),
        severity: severity_or_unknown(word, cx),
        vendor_severity: word.and_then(text::clean),
        state,
        vendor_state: text::clean(&vendor_state),
        cwe: rule.map(|rule| rule.cwe.clone()).unwrap_or_default(),
        file_path: about.path(hotspot.component.as_deref()),
        line_start,
        line_end,
        reference_urls: rule.map(|rule| rule.links.clone()).unwrap_or_default(),
        tags: ["hotspot"].into_iter().chain(hotspot.security_category.as_deref()).filter_map(text::clean).collect(),
        url: Some(url),
        vendor_first_seen: hotspot.creation_date.as_deref().and_then(text::time),
        ..Finding::new(hotspot_key(&hotspot.key), project, Category::Sast)
    }))
}

fn capitals(word: Option<&str>) -> String {
    word.unwrap_or_default().trim().to_ascii_uppercase()
}

/// What sort of weakness the rule finds. With the id of a vulnerability it is one of a component, reported by another tool.
fn category(key: &str, rule: Option<&Rule>, names_vulnerability: bool) -> Category {
    match key.split(':').next().unwrap_or_default() {
        _ if names_vulnerability => Category::Sca,
        "secrets" => Category::Secret,
        _ if rule.is_some_and(|rule| rule.is_secret) => Category::Secret,
        "terraform" | "cloudformation" | "kubernetes" | "docker" | "azureresourcemanager" | "ansible" => Category::Iac,
        _ => Category::Sast,
    }
}

/// Lines of the range, else the one line.
fn lines_of(range: Option<TextRange>, line: &Scalar) -> (Option<u32>, Option<u32>) {
    let range = range.unwrap_or_default();
    lines(range.start_line.whole().or_else(|| line.whole()), range.end_line.whole().or_else(|| line.whole()))
}

/// In Standard Experience `CRITICAL` is the second of five words.
fn severity(word: &str) -> Option<Severity> {
    match capitals(Some(word)).as_str() {
        "CRITICAL" => Some(Severity::High),
        "MAJOR" => Some(Severity::Medium),
        _ => Severity::of_word(word),
    }
}

fn severity_or_unknown(word: Option<&str>, cx: &Context) -> Severity {
    word.and_then(severity).unwrap_or_else(|| cx.unknown("severity", word.unwrap_or_default(), Severity::Unknown))
}

fn issue_state(issue: &Issue, cx: &Context) -> State {
    let status = capitals(issue.issue_status.as_deref().or(issue.simple_status.as_deref()).or(issue.status.as_deref()));
    match (status.as_str(), capitals(issue.resolution.as_deref()).as_str()) {
        ("OPEN" | "REOPENED" | "CONFIRMED" | "IN_SANDBOX", _) => State::Open,
        ("FALSE_POSITIVE" | "FALSE-POSITIVE", _) | ("RESOLVED", "FALSE-POSITIVE" | "FALSE_POSITIVE") => State::FalsePositive,
        ("ACCEPTED" | "WONTFIX", _) | ("RESOLVED", "WONTFIX" | "ACCEPTED") => State::RiskAccepted,
        ("FIXED" | "REMOVED" | "CLOSED", _) | ("RESOLVED", "FIXED" | "REMOVED") => State::Fixed,
        ("RESOLVED", other) => cx.unknown("resolution", other, State::Suppressed),
        (other, _) => cx.unknown("issue status", other, State::Open),
    }
}

/// `GHSA-xxxx-xxxx-xxxx` ids in the message of an issue that another tool reported.
fn advisories(message: &str) -> Vec<Box<str>> {
    let words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    text::distinct(words.filter(|word| word.starts_with("GHSA-") && word.len() == 19))
}

/// The message; a rule's name where there is none.
fn title(message: Option<&str>, rule: Option<&Rule>) -> Box<str> {
    let name = || rule.and_then(|rule| rule.description.as_deref()?.lines().next());
    text::single_line(message.filter(|message| !message.trim().is_empty()).or_else(name).unwrap_or("finding without a message"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Issue {
    key: String,
    project: Option<String>,
    rule: String,
    severity: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    impacts: Option<Vec<Impact>>,
    clean_code_attribute: Option<String>,
    status: Option<String>,
    resolution: Option<String>,
    issue_status: Option<String>,
    simple_status: Option<String>,
    component: Option<String>,
    #[serde(default)]
    line: Scalar,
    text_range: Option<TextRange>,
    message: Option<String>,
    tags: Option<Vec<String>>,
    creation_date: Option<String>,
    close_date: Option<String>,
    external_rule_engine: Option<String>,
    rule_description_context_key: Option<String>,
    branch: Option<String>,
}

impl Issue {
    /// Why the issue is none of those that are read, and the name of the filter that the server then ignored.
    fn left_out(&self, about: &PageContext<'_>) -> Option<(&'static str, &'static str)> {
        match self.project.as_deref() {
            Some(other) if other != about.list.project => return Some(("components", "of another project")),
            _ if about.everything => return None,
            _ => {}
        }
        let (filter, is_other) = if about.server.mqr {
            ("impactSoftwareQualities", self.impacts.iter().flatten().all(|impact| !impact.is_of_security()))
        } else {
            ("types", self.kind.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("VULNERABILITY")))
        };
        is_other.then_some((filter, "no security issue"))
    }

    /// The severity in the vendor's word. Never the other mode's: the two rate the same rule differently.
    fn severity_word(&self, mqr: bool) -> Option<&str> {
        if !mqr {
            return self.severity.as_deref();
        }
        let impacts = self.impacts.as_deref().unwrap_or_default();
        let worst = || impacts.iter().max_by_key(|impact| severity(&impact.severity).unwrap_or(Severity::Unknown));
        impacts.iter().find(|impact| impact.is_of_security()).or_else(worst).map(|impact| impact.severity.as_str())
    }

    /// The state in the vendor's words.
    fn state_words(&self) -> String {
        match self.issue_status.as_deref().or(self.simple_status.as_deref()) {
            Some(status) => status.to_owned(),
            None => [self.status.as_deref(), self.resolution.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" "),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impact {
    software_quality: String,
    severity: String,
}

impl Impact {
    fn is_of_security(&self) -> bool {
        self.software_quality.eq_ignore_ascii_case("SECURITY")
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TextRange {
    start_line: Scalar,
    end_line: Scalar,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hotspot {
    key: String,
    component: Option<String>,
    security_category: Option<String>,
    vulnerability_probability: Option<String>,
    status: Option<String>,
    resolution: Option<String>,
    #[serde(default)]
    line: Scalar,
    message: Option<String>,
    creation_date: Option<String>,
    text_range: Option<TextRange>,
    rule_key: Option<String>,
}
