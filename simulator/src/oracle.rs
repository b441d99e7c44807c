//! What a correct client must end with.

use std::collections::BTreeMap;

/// The truth about one finding, in the words of the normalized store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Key of the product record it belongs to.
    pub record: String,
    /// `critical high medium low info unknown`.
    pub severity: &'static str,
    /// `open fixed false_positive risk_accepted suppressed gone`.
    pub state: &'static str,
}

/// What a correct client holds after it has synced fully at every step of the simulated tool, with the default settings
/// (`import_closed = false`, all records mapped).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oracle {
    /// Record key → record name.
    pub records: BTreeMap<String, String>,
    /// Finding key (the vendor's unique id) → truth. Findings closed before any client could have met them are absent.
    pub findings: BTreeMap<String, Truth>,
    /// Kind (`asset` …) and key of everything else that the tool lists → `present` or `gone`.
    pub things: BTreeMap<(&'static str, String), &'static str>,
}

/// How far one step moves the simulated tool on, each in percent of its open findings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Reported as fixed by the vendor, where the vendor reports it; elsewhere they vanish.
    pub fixed: f64,
    /// Changed in a column that the history keeps (severity or state by a person).
    pub changed: f64,
    /// Findings that were not there before.
    pub new: f64,
    /// No longer listed at all.
    pub vanished: f64,
}

impl Change {
    /// 1 % of each kind.
    pub const ONE_PERCENT: Change = Change { fixed: 1.0, changed: 1.0, new: 1.0, vanished: 1.0 };
}
