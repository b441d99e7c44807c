//! The normalized vocabulary: what every vendor's items are turned into.

pub mod ids;
pub mod text;
mod thing;

pub use ids::Ids;
pub use thing::{
    AccountStatus, Asset, Enrollment, Factor, Identity, IdentityKind, ItemKind, Membership, MembershipKind, Score, Thing, ThirdParty,
};

use jiff::Timestamp;
use serde_json::value::RawValue;

/// The vendor's own grouping of findings (project, site, application, account and region).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The vendor's id: never derived from a name.
    pub key: Box<str>,
    /// Its name, for people.
    pub name: Box<str>,
    /// The vendor's kind of record, such as `project`.
    pub kind: Box<str>,
    /// The page of the record in the web interface of the tool.
    pub url: Option<Box<str>>,
    /// Anything else worth showing: name and value.
    pub attributes: Vec<(&'static str, Box<str>)>,
}

/// What is worth showing of these values, for [`Record::attributes`] and [`Asset::attributes`]: those that are there.
pub fn attributes<const N: usize>(values: [(&'static str, Option<String>); N]) -> Vec<(&'static str, Box<str>)> {
    values.into_iter().filter_map(|(name, value)| Some((name, text::clean(&value?)?))).collect()
}

/// One weakness, vulnerability, misconfiguration, exposed secret or alert on one thing.
#[derive(Debug)]
pub struct Finding {
    /// The vendor's unique id, verbatim.
    pub key: Box<str>,
    /// Another key under which an older version of the tool delivered the same finding. A finding that is stored under it
    /// keeps that row and its id.
    pub alternate_key: Option<Box<str>>,
    /// The vendor's own stable identity of the weakness at its place, without ids that the vendor makes anew (an upload, an
    /// upgrade): what a finding that came back under another key is known by. It carries a person's decision and the date of
    /// the first sight from the old row to the new one. `None` where the vendor's key is stable itself.
    pub lineage: Option<Box<str>>,
    /// Key of the one record it belongs to.
    pub record: Box<str>,
    /// Whether the vendor names the record that met it last: then a finding stays with the record it was created with, as long
    /// as that one is there.
    pub record_sticky: bool,
    /// The vendor's rule, plugin or check.
    pub rule: Option<Box<str>>,
    /// Branch, where findings differ by it.
    pub branch: Option<Box<str>>,
    /// What sort of finding.
    pub category: Category,
    /// What was found, in one line.
    pub title: Box<str>,
    /// Plain text or Markdown.
    pub description: Option<Box<str>>,
    /// The severity on the scale that all vendors share.
    pub severity: Severity,
    /// The vendor's own word or number.
    pub vendor_severity: Option<Box<str>>,
    /// What the vendor says of it, in our words.
    pub state: State,
    /// What the vendor says of it, verbatim.
    pub vendor_state: Option<Box<str>>,
    /// Ids of the vulnerabilities in CVE, as `CVE-2025-1234`.
    pub cve: Vec<Box<str>>,
    /// Ids of the weaknesses in CWE, as `CWE-79`.
    pub cwe: Vec<Box<str>>,
    /// Other ids (GHSA, OSV, vendor advisories).
    pub identifiers: Vec<Box<str>>,
    /// Score and vector.
    pub cvss: Option<Cvss>,
    /// Probability of exploitation within 30 days, 0 to 1.
    pub epss_score: Option<f64>,
    /// Known to be exploited; `None` when the vendor does not say.
    pub exploited: Option<bool>,
    /// Whether a fix exists; `None` when the vendor does not say.
    pub fix_available: Option<bool>,
    /// Package or product.
    pub component_name: Option<Box<str>>,
    /// Version of the component, as the vendor writes it.
    pub component_version: Option<Box<str>>,
    /// Its package URL, when valid.
    pub component_purl: Option<Box<str>>,
    /// First version without the weakness.
    pub fixed_version: Option<Box<str>>,
    /// Path of the file, from the root of what was scanned.
    pub file_path: Option<Box<str>>,
    /// First line, from 1.
    pub line_start: Option<u32>,
    /// Last line, from 1; not before the first.
    pub line_end: Option<u32>,
    /// URL or host and port.
    pub endpoint: Option<Box<str>>,
    /// The vendor's key of the asset it is on.
    pub asset_key: Option<Box<str>>,
    /// What to do, plain text or Markdown.
    pub remediation: Option<Box<str>>,
    /// Links to advisories and explanations.
    pub reference_urls: Vec<Box<str>>,
    /// The vendor's tags and our notes.
    pub tags: Vec<Box<str>>,
    /// Deep link into the tool.
    pub url: Option<Box<str>>,
    /// When the vendor first saw it.
    pub vendor_first_seen: Option<Timestamp>,
    /// When the vendor last saw it.
    pub vendor_last_seen: Option<Timestamp>,
    /// When it was closed, where the vendor dates that; else it is closed when it is met closed.
    pub vendor_closed_at: Option<Timestamp>,
    /// The vendor's item as it came; set by [`crate::kit::items`].
    pub raw: Option<Box<RawValue>>,
}

impl Finding {
    /// A finding that says nothing yet: the base of a connector's struct literal.
    pub fn new(key: impl Into<Box<str>>, record: impl Into<Box<str>>, category: Category) -> Self {
        Finding {
            key: key.into(),
            alternate_key: None,
            lineage: None,
            record: record.into(),
            record_sticky: false,
            rule: None,
            branch: None,
            category,
            title: "".into(),
            description: None,
            severity: Severity::Unknown,
            vendor_severity: None,
            state: State::Open,
            vendor_state: None,
            cve: Vec::new(),
            cwe: Vec::new(),
            identifiers: Vec::new(),
            cvss: None,
            epss_score: None,
            exploited: None,
            fix_available: None,
            component_name: None,
            component_version: None,
            component_purl: None,
            fixed_version: None,
            file_path: None,
            line_start: None,
            line_end: None,
            endpoint: None,
            asset_key: None,
            remediation: None,
            reference_urls: Vec::new(),
            tags: Vec::new(),
            url: None,
            vendor_first_seen: None,
            vendor_last_seen: None,
            vendor_closed_at: None,
            raw: None,
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$word_doc])* $variant),+ }

        impl $name {
            /// Every word, in order.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The word as it stands in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The word read back.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Severity, from least to most; `Unknown` is not low, it is unknown, and passes every filter.
    Severity {
        /// The vendor gives nothing that can be understood.
        Unknown = "unknown",
        /// Worth knowing; nothing has to be done.
        Info = "info",
        /// The lowest grade that calls for action; as a CVSS score 0.1 to 3.9.
        Low = "low",
        /// As a CVSS score 4.0 to 6.9.
        Medium = "medium",
        /// As a CVSS score 7.0 to 8.9; in version 2, to 10.
        High = "high",
        /// As a CVSS score 9.0 and above; version 2 has none.
        Critical = "critical",
    }
}

impl Severity {
    /// The severity that a vendor's word stands for, in any case and with the usual synonyms; `None` for other words.
    pub fn of_word(word: &str) -> Option<Severity> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "critical" | "blocker" | "very_high" | "very high" => Severity::Critical,
            "high" | "error" | "important" => Severity::High,
            "medium" | "moderate" | "warning" => Severity::Medium,
            "low" | "minor" => Severity::Low,
            "info" | "information" | "informational" | "none" | "negligible" | "note" => Severity::Info,
            _ => return None,
        })
    }

    /// The severity of a CVSS base score in the bands of its version: version 2 knows neither critical nor none.
    pub fn of_score(version: CvssVersion, score: f64) -> Severity {
        match (version, score) {
            (CvssVersion::V2, s) if s >= 7.0 => Severity::High,
            (_, s) if s >= 9.0 => Severity::Critical,
            (_, s) if s >= 7.0 => Severity::High,
            (_, s) if s >= 4.0 => Severity::Medium,
            (CvssVersion::V2, _) => Severity::Low,
            (_, s) if s > 0.0 => Severity::Low,
            _ => Severity::Info,
        }
    }
}

words! {
    /// The state of a finding.
    State {
        /// It is there.
        Open = "open",
        /// The vendor says it is fixed.
        Fixed = "fixed",
        /// It is not a problem.
        FalsePositive = "false_positive",
        /// Somebody took the risk.
        RiskAccepted = "risk_accepted",
        /// Inactive for a reason without a word of ours.
        Suppressed = "suppressed",
        /// No longer listed, and that is proof.
        Gone = "gone",
    }
}

words! {
    /// What sort of finding.
    Category {
        /// A weakness in source code, found by reading it.
        Sast = "sast",
        /// A vulnerable or unwanted open-source component.
        Sca = "sca",
        /// A running application.
        Dast = "dast",
        /// An exposed secret.
        Secret = "secret",
        /// Infrastructure as code.
        Iac = "iac",
        /// A vulnerability in a container image.
        Container = "container",
        /// A weakness of a cloud resource.
        Cloud = "cloud",
        /// Hosts and networks.
        Infrastructure = "infrastructure",
        /// A setting that should be otherwise.
        Misconfiguration = "misconfiguration",
        /// An alert of something that happened, which is no weakness.
        Detection = "detection",
        /// Accounts and access.
        Identity = "identity",
        /// A rated company.
        ThirdParty = "third_party",
    }
}

/// First and last line as a vendor gives them: what is below 1 is no line, and an end before its start is none.
pub fn lines(start: Option<i64>, end: Option<i64>) -> (Option<u32>, Option<u32>) {
    let line = |line: Option<i64>| line.and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0);
    let start = line(start);
    (start, line(end).filter(|end| start.is_none_or(|start| start <= *end)))
}

/// Version of a CVSS score or vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CvssVersion {
    /// CVSS 2.0.
    V2,
    /// CVSS 3.0 and 3.1.
    V3,
    /// CVSS 4.0.
    V4,
}

/// A CVSS base score, with its vector when that is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Cvss {
    /// `2.0`, `3.0`, `3.1` or `4.0`.
    pub version: Box<str>,
    /// The vector; dropped when it does not parse.
    pub vector: Option<Box<str>>,
    /// 0 to 10; the vendor's, else computed from the vector.
    pub score: Option<f64>,
}

impl Cvss {
    /// Reads what a vendor says for one version. `None` when neither score nor vector make sense.
    pub fn read(version: &str, vector: Option<&str>, score: Option<f64>) -> Option<Self> {
        let bare = vector.map(|text| text.trim().trim_matches(['(', ')']).trim().trim_end_matches('/'));
        let parsed = bare.and_then(|text| text.parse::<cvss::Cvss>().ok().map(|parsed| (text, parsed)));
        // Scores have one decimal; some vendors send the nearest 32-bit float (6.900000095).
        let score = score.filter(|score| (0.0..=10.0).contains(score)).map(|score| (score * 10.0).round() / 10.0);
        let score = score.or_else(|| parsed.as_ref().map(|(_, parsed)| parsed.score()));
        let version = match &parsed {
            Some((_, cvss::Cvss::CvssV20(_))) => "2.0",
            Some((_, cvss::Cvss::CvssV30(_))) => "3.0",
            Some((_, cvss::Cvss::CvssV31(_))) => "3.1",
            Some((_, cvss::Cvss::CvssV40(_))) => "4.0",
            _ => version,
        };
        score?;
        Some(Cvss { version: version.into(), vector: parsed.map(|(text, _)| text.into()), score })
    }
}

impl Cvss {
    /// The severity that the score stands for.
    pub fn severity(&self) -> Severity {
        let version = match self.version.as_bytes().first() {
            Some(b'2') => CvssVersion::V2,
            Some(b'4') => CvssVersion::V4,
            _ => CvssVersion::V3,
        };
        self.score.map_or(Severity::Unknown, |score| Severity::of_score(version, score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_follows_the_bands_of_each_cvss_version() {
        use Severity::{Critical, High, Info, Low, Medium};
        for (version, score, expected) in [
            (CvssVersion::V2, 10.0, High),
            (CvssVersion::V2, 6.9, Medium),
            (CvssVersion::V2, 0.0, Low),
            (CvssVersion::V3, 9.0, Critical),
            (CvssVersion::V3, 8.9, High),
            (CvssVersion::V3, 0.1, Low),
            (CvssVersion::V3, 0.0, Info),
            (CvssVersion::V4, 4.0, Medium),
        ] {
            assert_eq!(Severity::of_score(version, score), expected, "{version:?} {score}");
        }
    }

    #[test]
    fn severity_words_are_read_in_any_case_and_with_their_synonyms() {
        use Severity::{Critical, High, Info, Low, Medium};
        for (word, expected) in [
            ("CRITICAL", Some(Critical)),
            ("High", Some(High)),
            ("ERROR", Some(High)),
            ("moderate", Some(Medium)),
            ("Warning", Some(Medium)),
            (" low ", Some(Low)),
            ("informational", Some(Info)),
            ("Information", Some(Info)),
            ("unassigned", None),
            ("", None),
        ] {
            assert_eq!(Severity::of_word(word), expected, "{word}");
        }
    }

    #[test]
    fn lines_below_one_are_none_and_so_is_an_end_before_its_start() {
        for (start, end, expected) in [
            (Some(3), Some(5), (Some(3), Some(5))),
            (Some(3), None, (Some(3), None)),
            (Some(-1), Some(0), (None, None)),
            (Some(0), Some(4), (None, Some(4))),
            (Some(9), Some(4), (Some(9), None)),
            (Some(1 << 40), Some(1 << 40), (None, None)),
        ] {
            assert_eq!(lines(start, end), expected, "{start:?} {end:?}");
        }
    }

    #[test]
    fn scores_have_one_decimal_and_vectors_no_wrapping() {
        let vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
        for wrapped in [format!("{vector}/"), format!("({vector})"), format!(" {vector} ")] {
            assert_eq!(Cvss::read("", Some(&wrapped), None).and_then(|cvss| cvss.vector).as_deref(), Some(vector), "{wrapped}");
        }
        for (sent, score, severity) in
            [(6.900_000_095, 6.9, Severity::Medium), (6.95, 7.0, Severity::High), (3.999_999_9, 4.0, Severity::Medium)]
        {
            let cvss = Cvss::read("3.1", None, Some(sent)).expect("a score");
            assert_eq!((cvss.score, cvss.severity()), (Some(score), severity), "{sent}");
        }
    }

    #[test]
    fn an_invalid_vector_is_dropped_and_the_score_kept() {
        let cvss = Cvss::read("3.1", Some("CVSS:3.1/AV:X/nonsense"), Some(7.5)).expect("a score");
        assert_eq!((cvss.vector, cvss.score), (None, Some(7.5)));
        assert_eq!(Cvss::read("3.1", Some("nonsense"), None), None);
        let computed = Cvss::read("3", Some("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"), None).expect("a vector");
        assert_eq!((&*computed.version, computed.score), ("3.1", Some(9.8)));
    }
}
