//! When something runs, and how far ahead that can be.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// By how much a cron rule is moved at most, so that connections with the same rule do not start together.
pub(crate) const MAX_JITTER: SignedDuration = SignedDuration::from_mins(15);
/// A clock that is set back by less than this does not make a cron rule run twice.
const MAX_CLOCK_STEP: SignedDuration = SignedDuration::from_mins(1);

/// When something runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Never.
    Off,
    /// Again and again.
    Every(Duration),
    /// By a cron rule.
    Cron(Box<croner::Cron>),
}

impl Schedule {
    /// A stored due time; now, when it lies further ahead than the schedule allows: it came from a wrong clock.
    pub(crate) fn believed(&self, zone: &TimeZone, due: Timestamp, now: Timestamp) -> Timestamp {
        match self.furthest(zone, now) {
            Some(furthest) if due > furthest => now,
            _ => due,
        }
    }

    /// The furthest time ahead that something with this schedule can be due; `None` when it never is.
    pub(crate) fn furthest(&self, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        match self {
            Schedule::Off => None,
            Schedule::Every(time) => now.checked_add(*time).ok(),
            Schedule::Cron(cron) => occurrence(cron, zone, now.checked_add(MAX_CLOCK_STEP).ok()?)?.checked_add(MAX_JITTER).ok(),
        }
    }
}

/// The first time after `after` that a rule names.
pub(crate) fn occurrence(cron: &croner::Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    cron.find_next_occurrence(&after.to_zoned(zone.clone()), false).ok().map(|at| at.timestamp())
}
