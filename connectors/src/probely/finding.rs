//! What Probely tells of a finding, and what it becomes.

use serde::de::IgnoredAny;

use crate::{kit::Scalar, prelude::*};

/// The finding on a target whose page is at `page`.
pub(super) fn finding(wire: Wire, target: &str, page: Option<Box<str>>, cx: &Context) -> Result<Item, String> {
    let id = wire.id.text().ok_or("the finding has no id")?;
    let definition = wire.definition.unwrap_or_default();
    let cvss = Cvss::read("3.0", wire.cvss_vector.as_deref(), wire.cvss_score.number());
    let severity = match wire.severity.whole() {
        Some(40) => Severity::Critical,
        Some(30) => Severity::High,
        Some(20) => Severity::Medium,
        Some(10) => Severity::Low,
        Some(..10) => Severity::Info,
        _ => {
            let word = wire.severity.text().unwrap_or_default();
            Severity::of_word(word).unwrap_or_else(|| {
                if !word.is_empty() {
                    cx.unknown("severity", word, ());
                }
                cvss.as_ref().map_or(Severity::Unknown, Cvss::severity)
            })
        }
    };
    let word = wire.state.as_deref().unwrap_or_default();
    let small = word.trim().to_ascii_lowercase();
    let state = match &*small {
        "notfixed" | "retesting" => State::Open,
        "fixed" => State::Fixed,
        "accepted" => State::RiskAccepted,
        "invalid" => State::FalsePositive,
        _ => cx.unknown("state", word, State::Open),
    };
    let name = definition.name.as_deref().filter(|name| !name.is_empty()).or(definition.id.as_deref()).unwrap_or("finding");
    let parameter = wire.parameter.as_deref().filter(|parameter| !parameter.is_empty());
    let title = parameter.map_or_else(|| name.to_owned(), |parameter| format!("{name} in '{parameter}'"));
    let labels = [wire.labels, wire.target.and_then(|target| target.labels)].into_iter().flatten().flat_map(sorted);
    let notes = [("method", wire.method), ("insertion point", wire.insertion_point), ("parameter", wire.parameter.clone())];
    let notes = notes.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value.filter(|value| !value.is_empty())?)));
    let retest = (small == "retesting" || wire.retesting == Some(true)).then(|| "retesting".to_owned());
    Ok(Item::Finding(Box::new(Finding {
        title: text::single_line(&title),
        description: definition.desc.as_deref().and_then(text::clean),
        severity,
        vendor_severity: wire.severity.text().map(text::single_line),
        state,
        vendor_state: wire.state.as_deref().map(text::single_line),
        cwe: definition.cwe.map(Cwe::ids).unwrap_or_default(),
        rule: definition.id.as_deref().and_then(text::clean),
        cvss,
        endpoint: wire.url.as_deref().and_then(text::clean),
        asset_key: Some(target.into()),
        // Markdown with HTML's line breaks in it.
        remediation: wire.fix.as_deref().and_then(|fix| text::clean(&fix.replace("<br>", "\n").replace("<br/>", "\n"))),
        tags: text::distinct(labels.chain(notes).chain(retest)),
        url: page,
        vendor_last_seen: wire.last_found.as_deref().and_then(text::time),
        ..Finding::new(unique(target, id), target, Category::Dast)
    })))
}

/// A finding's number counts within its target.
pub(super) fn unique(target: &str, id: &str) -> String {
    format!("{target}/{id}")
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) id: Scalar,
}

/// A label or a team.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) name: Option<String>,
}

/// Their names, in alphabetical order: they are sets.
pub(super) fn sorted(all: Vec<Named>) -> Vec<String> {
    let mut names: Vec<String> = all.into_iter().filter_map(|named| named.name).collect();
    names.sort_unstable();
    names
}

#[derive(Deserialize)]
pub(super) struct Wire {
    id: Scalar,
    target: Option<Scanned>,
    labels: Option<Vec<Named>>,
    definition: Option<Definition>,
    fix: Option<String>,
    url: Option<String>,
    method: Option<String>,
    insertion_point: Option<String>,
    parameter: Option<String>,
    state: Option<String>,
    retesting: Option<bool>,
    #[serde(default)]
    severity: Scalar,
    #[serde(default)]
    cvss_score: Scalar,
    cvss_vector: Option<String>,
    last_found: Option<String>,
}

#[derive(Deserialize)]
struct Scanned {
    labels: Option<Vec<Named>>,
}

#[derive(Default, Deserialize)]
struct Definition {
    id: Option<String>,
    name: Option<String>,
    desc: Option<String>,
    cwe: Option<Cwe>,
}

/// No recording has it; clients have seen a number, a text and a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Cwe {
    Many(Vec<Scalar>),
    One(Scalar),
    Other(IgnoredAny),
}

impl Cwe {
    fn ids(self) -> Vec<Box<str>> {
        let all = match self {
            Cwe::Many(all) => all,
            Cwe::One(one) => vec![one],
            Cwe::Other(_) => Vec::new(),
        };
        let id =
            |one: &Scalar| one.whole().map_or_else(|| ids::cwes(one.text().unwrap_or_default()), |id| ids::cwe(id).into_iter().collect());
        let mut found: Vec<Box<str>> = all.iter().flat_map(id).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
