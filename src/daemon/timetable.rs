//! When each connection's discover and sync are due, and which of them may start now. Pure: it is told the time.
//!
//! - A rule is read in its connection's time zone: a time that the clock skips runs at the end of the gap, one that it shows
//!   twice runs once.
//! - Each rule is moved by a part of its period that only depends on the connection's name, so that fifty connections with the
//!   same rule do not start together.
//! - What was missed, for whatever reason and however often, is caught up once.
//! - What is due again while it still runs is skipped; a discover that is due during a sync waits for its end.
//! - A due time further ahead than its rule allows came from a wrong clock: it is not believed, whether it was stored by another
//!   process or the clock was set back while this one runs.
//! - Starts are spread: a few at once against one host, and over all hosts twice as many as the configured periods ask for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::{
    config::{Connection, MAX_JITTER, Schedule, occurrence},
    store::{DueRow, OperationKind, Trigger},
};

/// How many operations work at once against one host. One that waits for its vendor's quota does not count.
const PER_HOST: usize = 2;
/// No more starts than this within [`START_WINDOW`] against one host, also when everything is overdue. Over all hosts it is at least
/// this, and more where the configured periods ask for more.
const MAX_STARTS_PER_WINDOW: usize = 4;
const START_WINDOW: SignedDuration = SignedDuration::from_secs(10);

/// What is due when.
#[derive(Debug)]
struct Entry {
    connection: String,
    kind: OperationKind,
    host: String,
    schedule: Schedule,
    zone: TimeZone,
    /// The schedule as text: when it changes, the stored due time is void.
    rule: String,
    period: SignedDuration,
    offset: SignedDuration,
    due: Timestamp,
}

/// The due times of all connections.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    entries: Vec<Entry>,
    /// When this process began: what was due before is caught up.
    began: Timestamp,
    /// The latest time it was told: an earlier one means that the clock was set back.
    latest: Timestamp,
    /// How many operations work at once. One that waits for its vendor's quota does not count.
    at_once: usize,
    /// When the last operations started, and against which host.
    starts: VecDeque<(Timestamp, String)>,
}

/// An operation under way, as the timetable sees it.
#[derive(Clone, Debug)]
pub(super) struct RunningOperation {
    pub(super) kind: OperationKind,
    pub(super) host: String,
    /// It waits for its vendor's quota.
    pub(super) waits: bool,
}

/// Why a connection does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Somebody paused it: what becomes due runs when it is resumed.
    Paused,
    /// Its credential was refused: at each due time somebody looks whether there is another one.
    Refused,
}

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tick {
    /// Operations to start: connection, kind and reason.
    pub(super) starts: Vec<(String, OperationKind, Trigger)>,
    /// These were due while they still ran.
    pub(super) skips: Vec<(String, OperationKind)>,
    /// These would have run if their credential had not been refused.
    pub(super) refused: BTreeSet<String>,
    /// Due times that moved, to be stored before anything starts.
    pub(super) rescheduled: Vec<DueRow>,
}

impl Timetable {
    /// The timetable of these connections. A rule without a stored due time follows the last run that somebody else made
    /// (`last`); what has never run is due now.
    pub(super) fn new<'a>(
        connections: impl IntoIterator<Item = &'a Connection>,
        stored: &[DueRow],
        last: impl Fn(&str, OperationKind) -> Option<Timestamp>,
        began: Timestamp,
        now: Timestamp,
        at_once: usize,
    ) -> Self {
        let mut entries = Vec::new();
        for connection in connections {
            for kind in [OperationKind::Discover, OperationKind::Sync] {
                let schedule = connection.schedule(kind);
                let Some(rule) = rule(schedule, &connection.timezone) else { continue };
                let period = period(schedule, &connection.timezone, now);
                let offset = offset(&connection.name, kind, schedule, period);
                let mut entry = Entry {
                    connection: connection.name.clone(),
                    kind,
                    host: connection.location.authority(),
                    schedule: schedule.clone(),
                    zone: connection.timezone.clone(),
                    rule,
                    period,
                    offset,
                    due: now,
                };
                match stored.iter().find(|row| row.connection == connection.name && row.kind == kind) {
                    Some(row) if row.rule != entry.rule => entry.due = entry.after(now),
                    Some(row) => entry.due = schedule.believed(&connection.timezone, row.due, now),
                    None => entry.due = last(&connection.name, kind).map_or(now, |last| entry.after(last)),
                }
                entries.push(entry);
            }
        }
        Timetable { entries, began, latest: now, at_once, starts: VecDeque::new() }
    }

    /// Takes note of the time. When the clock was set back, due times are recomputed: what runs again and again keeps the time
    /// that it still had to wait, and a rule is due at its next occurrence. Returns what moved, to be stored.
    pub(super) fn notice(&mut self, now: Timestamp) -> Vec<DueRow> {
        let back = self.latest.duration_since(now);
        self.latest = now;
        if back <= SignedDuration::ZERO {
            return Vec::new();
        }
        self.starts.clear();
        let mut rescheduled = Vec::new();
        for entry in &mut self.entries {
            let before = entry.due;
            if matches!(entry.schedule, Schedule::Every(_)) {
                entry.due = entry.due.checked_sub(back).unwrap_or(now);
            }
            if entry.schedule.furthest(&entry.zone, now).is_some_and(|furthest| entry.due > furthest) {
                entry.due = entry.after(now);
            }
            if entry.due != before {
                rescheduled.push(entry.row());
            }
        }
        rescheduled
    }

    /// What is to be done at this moment.
    pub(super) fn tick(&mut self, now: Timestamp, running: &BTreeMap<String, RunningOperation>, blocked: &BTreeMap<String, Block>) -> Tick {
        let mut tick = Tick::default();
        while self.starts.front().is_some_and(|(at, _)| now.duration_since(*at) >= START_WINDOW) {
            self.starts.pop_front();
        }
        let most = self.starts_in_gate();
        let working = || running.values().filter(|running| !running.waits);
        let mut active = working().count();
        let mut hosts: BTreeMap<String, usize> = BTreeMap::new();
        working().for_each(|running| *hosts.entry(running.host.clone()).or_default() += 1);
        // The longest overdue first; of one connection the discover.
        self.entries.sort_by(|a, b| (a.due, &a.connection, a.kind as u8).cmp(&(b.due, &b.connection, b.kind as u8)));
        let mut started = BTreeSet::new();
        for entry in self.entries.iter_mut().take_while(|entry| entry.due <= now) {
            match (blocked.get(&entry.connection), running.get(&entry.connection)) {
                (Some(Block::Paused), _) => {}
                (Some(Block::Refused), _) => {
                    tick.refused.insert(entry.connection.clone());
                    tick.rescheduled.push(entry.advance(now));
                }
                (None, Some(running)) if running.kind == entry.kind => {
                    tick.skips.push((entry.connection.clone(), entry.kind));
                    tick.rescheduled.push(entry.advance(now));
                }
                (None, Some(_)) => {}
                (None, None) => {
                    let on_host = hosts.entry(entry.host.clone()).or_default();
                    let started_on_host = self.starts.iter().filter(|(_, host)| *host == entry.host).count();
                    let room =
                        self.starts.len() < most && active < self.at_once && *on_host < PER_HOST && started_on_host < MAX_STARTS_PER_WINDOW;
                    if !room || started.contains(&entry.connection) {
                        continue;
                    }
                    let trigger = if entry.due < self.began { Trigger::Startup } else { Trigger::Schedule };
                    tick.starts.push((entry.connection.clone(), entry.kind, trigger));
                    started.insert(entry.connection.clone());
                    self.starts.push_back((now, entry.host.clone()));
                    active += 1;
                    *on_host += 1;
                    tick.rescheduled.push(entry.advance(now));
                }
            }
        }
        tick
    }

    /// Makes an operation due at a time, wherever its rule stands.
    pub(super) fn set(&mut self, connection: &str, kind: Option<OperationKind>, due: Timestamp) -> Vec<DueRow> {
        let of = |entry: &&mut Entry| entry.connection == connection && kind.is_none_or(|kind| kind == entry.kind);
        self.entries
            .iter_mut()
            .filter(of)
            .map(|entry| {
                entry.due = entry.due.min(due);
                entry.row()
            })
            .collect()
    }

    /// How many may start within [`START_WINDOW`] over all hosts: twice what the configured periods ask for, so that what is late catches up.
    fn starts_in_gate(&self) -> usize {
        let gate = START_WINDOW.as_secs_f64();
        let asked: f64 = self.entries.iter().map(|entry| gate / entry.period.as_secs_f64().max(1.0)).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number above zero")]
        let twice = (2.0 * asked).ceil() as usize;
        twice.max(MAX_STARTS_PER_WINDOW)
    }

    /// Whether anything is due.
    pub(super) fn has_due(&self, now: Timestamp) -> bool {
        self.entries.iter().any(|entry| entry.due <= now)
    }

    /// Every due time.
    pub(super) fn rows(&self) -> Vec<DueRow> {
        self.entries.iter().map(Entry::row).collect()
    }
}

impl Entry {
    fn row(&self) -> DueRow {
        DueRow { connection: self.connection.clone(), kind: self.kind, rule: self.rule.clone(), due: self.due }
    }

    fn advance(&mut self, now: Timestamp) -> DueRow {
        self.due = self.after(now);
        self.row()
    }

    /// The first due time after `now`.
    fn after(&self, now: Timestamp) -> Timestamp {
        let far = Timestamp::MAX;
        match &self.schedule {
            Schedule::Off => far,
            Schedule::Every(time) => {
                let next = self.due.checked_add(*time).unwrap_or(far);
                if next > now { next } else { now.checked_add(*time).unwrap_or(far) }
            }
            Schedule::Cron(cron) => {
                let from = now.checked_sub(self.offset).unwrap_or(now);
                occurrence(cron, &self.zone, from).and_then(|at| at.checked_add(self.offset).ok()).unwrap_or(far)
            }
        }
    }
}

/// A schedule as text; `None` when it never runs.
fn rule(schedule: &Schedule, zone: &TimeZone) -> Option<String> {
    match schedule {
        Schedule::Off => None,
        Schedule::Every(time) => Some(format!("every {} s", time.as_secs())),
        Schedule::Cron(cron) => Some(format!("{} {}", cron.pattern, zone.iana_name().unwrap_or("UTC"))),
    }
}

/// The time between two runs; of a cron rule, between the next two.
fn period(schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> SignedDuration {
    match schedule {
        Schedule::Off => SignedDuration::MAX,
        Schedule::Every(time) => SignedDuration::try_from(*time).unwrap_or(SignedDuration::MAX),
        Schedule::Cron(cron) => {
            let period = occurrence(cron, zone, now).and_then(|first| Some(occurrence(cron, zone, first)?.duration_since(first)));
            period.unwrap_or(SignedDuration::MAX)
        }
    }
}

/// By how much a rule is moved: a part of a tenth of its period, decided by the connection's name and the kind alone.
fn offset(connection: &str, kind: OperationKind, schedule: &Schedule, period: SignedDuration) -> SignedDuration {
    if !matches!(schedule, Schedule::Cron(_)) {
        return SignedDuration::ZERO;
    }
    let window = (period / 10).min(MAX_JITTER);
    let digest = Sha256::digest(format!("{connection} {}", kind.as_str()));
    let part = u16::from_be_bytes([digest[0], digest[1]]);
    let seconds = u64::try_from(window.as_secs()).unwrap_or(0) * u64::from(part) / 65_536;
    SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or(SignedDuration::ZERO)
}

#[cfg(test)]
mod tests;
