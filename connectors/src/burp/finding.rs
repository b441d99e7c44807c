//! One issue: how it is told from others, and what it becomes.

use std::collections::{BTreeMap, HashMap};

use crate::{
    kit::{Scalar, or_default},
    prelude::*,
};

/// Serial numbers of the issues that have one fingerprint, and of those that have one type, origin and path.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Places(BTreeMap<String, Vec<String>>);

impl Places {
    /// Adds the places of these issues.
    pub(super) fn note(&mut self, issues: &[Box<RawValue>]) {
        for issue in issues.iter().filter_map(|raw| serde_json::from_str::<Known>(raw.get()).ok()).map(Issue::from) {
            let Some(serial) = issue.serial_number.text() else { continue };
            for place in [issue.by_fingerprint(), issue.by_place()].into_iter().flatten() {
                self.0.entry(place).or_default().push(serial.to_owned());
            }
        }
    }

    /// Only those that several issues share, their serial numbers in order: numbers of 64 bits as text.
    pub(super) fn shared(mut self) -> Self {
        self.0.retain(|_, serials| {
            serials.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
            serials.dedup();
            serials.len() > 1
        });
        self
    }

    /// The same text, from the second issue of a place on with its number there.
    fn numbered(&self, place: String, serial: &Scalar) -> String {
        let number = self.0.get(&place).and_then(|serials| serials.iter().position(|known| Some(&**known) == serial.text()));
        match number.filter(|before| *before > 0) {
            Some(before) => format!("{place}#{}", before + 1),
            None => place,
        }
    }
}

/// What an issue does not say itself.
pub(super) struct PageContext<'a> {
    pub(super) site: &'a str,
    pub(super) types: &'a Types,
    pub(super) places: &'a Places,
    pub(super) scan_end: Option<&'a str>,
}

pub(super) fn finding(issue: &Issue, around: &PageContext<'_>, cx: &Context) -> Result<Item, String> {
    let (key, alternate_key) = issue.keys(around).ok_or("neither a fingerprint nor origin and path")?;
    let own;
    let texts = match around.types.0.get(&issue.issue_type.id()) {
        Some(texts) => texts,
        None => {
            own = Texts::of(&issue.issue_type);
            &own
        }
    };
    let severity = match issue.severity.text() {
        Some(word) => Severity::of_word(word).unwrap_or_else(|| cx.unknown("severity", word, Severity::Unknown)),
        None => Severity::Unknown,
    };
    // On older servers a person's word is in the displayed confidence alone.
    let is_false = |word: &&str| word.eq_ignore_ascii_case("false_positive");
    let shown = issue.display_confidence.text().filter(is_false).or(issue.confidence.text());
    let accepted = issue.accepted_risk.text().is_some_and(|accepted| accepted.eq_ignore_ascii_case("true"));
    let state = match shown.map(str::to_ascii_lowercase).as_deref() {
        Some("false_positive") => State::FalsePositive,
        _ if accepted => State::RiskAccepted,
        Some("tentative" | "firm" | "certain") | None => State::Open,
        Some(other) => cx.unknown("confidence", other, State::Open),
    };
    let both = |instance: &Scalar, kind: &Option<Box<str>>| {
        let instance = text::from_html(instance.text().unwrap_or_default());
        text::paragraphs([instance.as_deref(), kind.as_deref()])
    };
    let generators = [&issue.generated_by_extension, &issue.generated_by_bcheck].into_iter().flatten().filter_map(|by| by.name.text());
    let tags = [issue.confidence.text(), issue.novelty.text()].into_iter().flatten().chain(generators);
    Ok(Item::Finding(Box::new(Finding {
        alternate_key: alternate_key.map(Into::into),
        rule: issue.issue_type.type_index.text().and_then(text::clean),
        title: text::single_line(issue.issue_type.name.text().unwrap_or("Issue without a name")),
        description: both(&issue.description_html, &texts.description),
        remediation: both(&issue.remediation_html, &texts.remediation),
        severity,
        vendor_severity: issue.severity.text().and_then(text::clean),
        state,
        vendor_state: text::clean(&format!("{}{}", shown.unwrap_or_default(), if accepted { ", accepted risk" } else { "" })),
        cwe: texts.cwe.clone(),
        endpoint: issue.endpoint().as_deref().and_then(text::clean),
        reference_urls: texts.references.clone(),
        tags: text::distinct(tags),
        vendor_last_seen: around.scan_end.and_then(text::time),
        ..Finding::new(key, around.site, Category::Dast)
    })))
}

#[derive(Deserialize)]
struct TypeGroup {
    issue_type: Option<IssueType>,
}

/// The texts of a scan's issue types, by index and name: an extension's issues share one index and differ by name.
pub(super) struct Types(HashMap<(Scalar, Scalar), Texts>);

impl Types {
    pub(super) fn read(groups: Vec<Box<RawValue>>, cx: &Context) -> Self {
        let group = |raw: Box<RawValue>| match serde_json::from_str::<TypeGroup>(raw.get()) {
            Ok(group) => Some(group.issue_type.map(|kind| (kind.id(), Texts::of(&kind)))?),
            Err(error) => {
                cx.warn(format!("the texts of an issue type cannot be read: {}", text::single_line(&error.to_string())));
                None
            }
        };
        Types(groups.into_iter().filter_map(group).collect())
    }
}

/// What all issues of a type say.
struct Texts {
    description: Option<Box<str>>,
    remediation: Option<Box<str>>,
    cwe: Vec<Box<str>>,
    references: Vec<Box<str>>,
}

impl Texts {
    fn of(kind: &IssueType) -> Self {
        let html = |html: &Scalar| text::from_html(html.text()?);
        let (classes, references) = (kind.vulnerability_classifications_html.text(), kind.references_html.text());
        Texts {
            description: html(&kind.description_html),
            remediation: html(&kind.remediation_html),
            cwe: ids::cwes(classes.unwrap_or_default()),
            references: text::links(&[references, classes].into_iter().flatten().collect::<Vec<_>>().join(" ")),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IssueType {
    type_index: Scalar,
    name: Scalar,
    description_html: Scalar,
    remediation_html: Scalar,
    vulnerability_classifications_html: Scalar,
    references_html: Scalar,
}

impl IssueType {
    fn id(&self) -> (Scalar, Scalar) {
        (self.type_index.clone(), self.name.clone())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Issue {
    serial_number: Scalar,
    fingerprint: Scalar,
    severity: Scalar,
    confidence: Scalar,
    display_confidence: Scalar,
    accepted_risk: Scalar,
    path: Scalar,
    origin: Scalar,
    novelty: Scalar,
    description_html: Scalar,
    remediation_html: Scalar,
    #[serde(deserialize_with = "or_default")]
    issue_type: IssueType,
    generated_by_extension: Option<Generator>,
    generated_by_bcheck: Option<Generator>,
}

/// What an issue is known by, read from one that cannot be read whole.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Known {
    serial_number: Scalar,
    fingerprint: Scalar,
    path: Scalar,
    origin: Scalar,
    #[serde(deserialize_with = "or_default")]
    issue_type: IssueType,
}

impl From<Known> for Issue {
    fn from(Known { serial_number, fingerprint, path, origin, issue_type }: Known) -> Self {
        Issue { serial_number, fingerprint, path, origin, issue_type, ..Issue::default() }
    }
}

#[derive(Deserialize)]
struct Generator {
    #[serde(default)]
    name: Scalar,
}

impl Issue {
    fn endpoint(&self) -> Option<String> {
        Some(format!("{}{}", self.origin.text()?, self.path.text()?))
    }

    /// What the server itself tells issues apart by, across scans.
    fn by_fingerprint(&self) -> Option<String> {
        Some(format!("fp/{}", self.fingerprint.text()?))
    }

    /// Type, origin and path.
    fn by_place(&self) -> Option<String> {
        let kind = self.issue_type.type_index.text().or(self.issue_type.name.text());
        Some(format!("{}/{}", kind.unwrap_or_default(), self.endpoint()?))
    }

    /// The key, and the other one under which a server without fingerprints delivers the same issue. Several issues may share
    /// either: they are told apart by the order of their serial numbers.
    pub(super) fn keys(&self, around: &PageContext<'_>) -> Option<(String, Option<String>)> {
        let key = |place: String| format!("{}/{}", around.site, around.places.numbered(place, &self.serial_number));
        let by_place = self.by_place().map(key);
        match self.by_fingerprint().map(key) {
            Some(by_fingerprint) => Some((by_fingerprint, by_place)),
            None => Some((by_place?, None)),
        }
    }
}
