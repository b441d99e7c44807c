//! The model: the contract written a second time, as plainly as possible. It knows nothing of tables, transactions or hashes.

use std::collections::{BTreeMap, BTreeSet};

use tributary::store::Decision;
use tributary_connectors::model::{Severity, State};

use super::{
    sequence::Act,
    tool::{PAGE, Told, Tool, lineage},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordRow {
    pub(crate) state: &'static str,
    pub(crate) former_state: &'static str,
    pub(crate) mapped: bool,
    pub(crate) formerly_mapped: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) record: u8,
    pub(crate) severity: Severity,
    pub(crate) source_state: State,
    pub(crate) triage: Option<Decision>,
    /// The list that delivered it last.
    pub(crate) scope: u8,
    /// Which row it is, counted from 1.
    pub(crate) created: u64,
    /// Whether a decision about it was ever made, or taken back.
    pub(crate) decided: bool,
    /// The finding that it replaces, from which it took over.
    pub(crate) replaces: Option<u8>,
    /// Whether it is gone and was taken over from.
    pub(crate) gave: bool,
}

/// A finding that a list did not deliver.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    pub(crate) scope: u8,
    /// How many rows there were when the list had delivered it last.
    pub(crate) since: u64,
    pub(crate) explained: bool,
    pub(crate) held: Option<Hold>,
}

/// What is held together: its number, and how many findings there were then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hold {
    pub(crate) number: u64,
    pub(crate) of: usize,
}

/// A close that waits for an operator.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) scope: u8,
    /// The sync that holds it.
    pub(crate) by: u64,
    pub(crate) hold: Hold,
}

/// What a list that was read to its end says about what it did not deliver.
#[derive(Default)]
struct Judged {
    gone: Vec<(u8, Absent)>,
    /// Absent for the first time, with everything else.
    once: Vec<(u8, Absent)>,
    /// How many findings the brake is about.
    of: usize,
}

/// A walk that was broken off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    pub(crate) full: bool,
    pub(crate) began: u64,
    pub(crate) page: usize,
    pub(crate) after: Option<u8>,
    pub(crate) seen: BTreeSet<u8>,
    /// How many rows there were when it began.
    pub(crate) rows: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) auto_map: bool,
    pub(crate) least: Option<Severity>,
    /// The least severity of the last run: a lower one makes the next passes full ones.
    pub(crate) least_before: Option<Severity>,
    pub(crate) records: BTreeMap<u8, RecordRow>,
    pub(crate) rows: BTreeMap<u8, Row>,
    pub(crate) walks: BTreeMap<u8, Walk>,
    /// Counts what asks for full passes: what comes later has a higher number.
    pub(crate) tick: u64,
    /// When a full pass of a list was asked for, and when the last one began that was read to its end.
    pub(crate) full_requested: BTreeMap<u8, u64>,
    pub(crate) read_fully: BTreeMap<u8, u64>,
    pub(crate) held: BTreeMap<u8, Held>,
    pub(crate) absent: BTreeMap<u8, Absent>,
    /// New findings that may replace one that was gone before, and the list that brought them.
    pub(crate) arrived: BTreeMap<u8, u8>,
    /// How many rows there are, and how many there were when the last pass of a list began and ended, or when it was met first.
    pub(crate) created: u64,
    pub(crate) rows_at: BTreeMap<u8, (u64, u64)>,
    pub(crate) held_records: BTreeSet<u8>,
    pub(crate) discovered: bool,
}

pub(crate) const UNCLOSED: [State; 4] = [State::Open, State::FalsePositive, State::RiskAccepted, State::Suppressed];

pub(crate) fn too_many(gone: usize, of: usize) -> bool {
    gone >= 20 && gone * 100 > of * 30
}

impl Model {
    pub(crate) fn configure(&mut self) {
        let rank = |least: Option<Severity>| least.unwrap_or(Severity::Info);
        if rank(self.least) < rank(self.least_before) {
            self.ask_for_full(&ALL);
        }
        self.least_before = self.least;
    }

    /// The next passes of these lists that begin are full ones: what they had passed by is wanted now.
    pub(crate) fn ask_for_full(&mut self, lists: &[u8]) {
        self.tick += 1;
        self.full_requested.extend(lists.iter().map(|list| (*list, self.tick)));
    }

    pub(crate) fn discover(&mut self, tool: &Tool) {
        for number in &tool.listed {
            self.meet(*number);
        }
        let lost: BTreeSet<u8> = self
            .records
            .iter()
            .filter(|(number, record)| !tool.listed.contains(number) && matches!(record.state, "good" | "stale"))
            .map(|(number, _)| *number)
            .collect();
        let good = self.good();
        let lost_good = good.iter().filter(|number| lost.contains(number)).count();
        self.held_records.retain(|number| lost.contains(number));
        if lost_good >= 5 && lost_good * 100 > good.len() * 30 {
            self.held_records = lost;
        } else {
            lost.into_iter()
                .filter(|number| !self.held_records.contains(number))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|number| self.miss(number));
        }
        self.discovered = true;
    }

    fn miss(&mut self, number: u8) {
        let record = self.records.get_mut(&number).unwrap();
        if matches!(record.state, "good" | "stale") {
            record.former_state = record.state;
            record.state = "missing";
        }
    }

    /// A record that a discover lists, or that a finding in a stream names.
    pub(crate) fn meet(&mut self, number: u8) -> bool {
        self.held_records.remove(&number);
        let auto_map = self.auto_map;
        let fresh =
            || RecordRow { state: if auto_map { "good" } else { "new" }, former_state: "", mapped: auto_map, formerly_mapped: false };
        match self.records.get_mut(&number) {
            None => {
                self.records.insert(number, fresh());
                self.became_good(number);
            }
            Some(record) if record.state == "deleted" => {
                *record = fresh();
                self.became_good(number);
            }
            Some(record) if record.state == "missing" => {
                record.state = record.former_state;
                self.became_good(number);
            }
            Some(_) => {}
        }
        self.records[&number].state == "good"
    }

    /// Its own list, or the stream, is read from its beginning next.
    pub(crate) fn became_good(&mut self, number: u8) {
        if self.records[&number].state == "good" {
            self.ask_for_full(&[number, STREAM]);
        }
    }

    /// One sync: every list from where its walk stands to its end, or to the page where it breaks.
    /// True when the process dies there.
    pub(crate) fn sync(&mut self, tool: &Tool, asked_full: bool, broken: Option<(u8, usize)>, crashed: bool) -> bool {
        let scopes: Vec<u8> = if tool.stream { vec![0] } else { self.good() };
        let mut ended_walks = Vec::new();
        for scope in &scopes {
            self.rows_at.entry(*scope).or_insert((self.created, self.created));
        }
        for scope in scopes {
            let due = if tool.stream { STREAM } else { scope };
            let asked = self.full_requested.get(&due).copied().unwrap_or(0);
            let full = asked_full || self.read_fully.get(&scope).is_none_or(|began| asked > *began);
            let begin = Walk { full, began: self.tick, rows: self.created, ..Walk::default() };
            let mut walk = self.walks.remove(&scope).filter(|walk| walk.full || !full).unwrap_or(begin);
            let mut ended = false;
            while !ended && broken != Some((scope, walk.page)) {
                let after = walk.after;
                let here = tool
                    .findings
                    .iter()
                    .filter(|(number, told)| after.is_none_or(|after| **number > after) && (tool.stream || told.record == scope));
                let page: Vec<(u8, Told)> = here.take(PAGE).map(|(number, told)| (*number, *told)).collect();
                ended = page.len() < PAGE;
                walk.after = page.last().map(|(number, _)| *number);
                walk.page += 1;
                for (number, told) in page {
                    walk.seen.insert(number);
                    self.deliver(scope, number, told);
                }
            }
            if ended {
                ended_walks.push((scope, walk));
            } else {
                self.walks.insert(scope, walk);
                if crashed {
                    return true;
                }
            }
        }
        self.close(tool, ended_walks);
        false
    }

    pub(crate) fn good(&self) -> Vec<u8> {
        self.records.iter().filter(|(_, record)| record.state == "good").map(|(number, _)| *number).collect()
    }

    pub(crate) fn deliver(&mut self, scope: u8, number: u8, told: Told) {
        self.held.retain(|held, place| *held != number || place.scope != scope);
        self.absent.retain(|absent, place| *absent != number || place.scope != scope);
        if !self.meet(told.record) {
            return;
        }
        let least = self.least.unwrap_or(Severity::Info);
        let wanted = told.state == State::Open && (told.severity == Severity::Unknown || told.severity >= least);
        match self.rows.get_mut(&number) {
            Some(row) => {
                if row.scope != scope {
                    self.held.remove(&number);
                    self.absent.remove(&number);
                }
                *row = Row { record: told.record, severity: told.severity, source_state: told.state, scope, gave: false, ..row.clone() };
            }
            None if wanted => {
                let is_old =
                    |(old, row): (&u8, &Row)| self.is_one(*old, row, told.record, lineage(number)) && row.source_state == State::Gone;
                // A list that was never read to its end has nothing that is gone.
                if self.read_fully.contains_key(&scope) && self.rows.iter().any(is_old) {
                    self.arrived.insert(number, scope);
                }
                self.created += 1;
                let row = Row {
                    record: told.record,
                    severity: told.severity,
                    source_state: told.state,
                    triage: None,
                    scope,
                    created: self.created,
                    decided: false,
                    replaces: None,
                    gave: false,
                };
                self.rows.insert(number, row);
            }
            None => {}
        }
    }

    fn is_one(&self, number: u8, row: &Row, record: u8, of: Option<u8>) -> bool {
        of.is_some() && lineage(number) == of && row.record == record && !row.gave
    }

    /// What a list that was read to its end proves, and what follows.
    pub(crate) fn close(&mut self, tool: &Tool, ended: Vec<(u8, Walk)>) {
        let arrived: Vec<u8> =
            self.arrived.iter().filter(|(_, scope)| ended.iter().any(|(ended, _)| ended == *scope)).map(|(number, _)| *number).collect();
        self.arrived.retain(|number, _| !arrived.contains(number));
        self.tick += 1;
        let by = self.tick;
        let judged: Vec<_> = ended
            .into_iter()
            .filter(|_| !tool.incomplete)
            .map(|(scope, walk)| {
                let judged = self.judge(tool, scope, &walk);
                (scope, walk, judged)
            })
            .collect();
        let count = |judged: &Judged| {
            let unexplained = judged.gone.iter().filter(|(_, absent)| !absent.explained).count();
            if judged.of == 0 { (0, 0) } else { (unexplained + judged.once.len(), judged.of) }
        };
        let new = |judged: &Judged| {
            let held = judged.gone.iter().filter(|(_, absent)| absent.held.is_some() && !absent.explained).count();
            let (gone, of) = count(judged);
            (gone.saturating_sub(held), of.saturating_sub(held))
        };
        let all = judged.iter().map(|(.., judged)| new(judged)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let mut gone = Vec::new();
        for (scope, walk, mut judged) in judged {
            let (count, of) = count(&judged);
            let hold = match () {
                // One of all lists together, or the one that the list has, or its own.
                () if too_many(all.0, all.1) => Some(Hold { number: by * 100 + 99, of: all.1 }),
                () if too_many(count, of) => {
                    let own = Hold { number: by * 100 + u64::from(scope), of };
                    Some(judged.gone.iter().filter_map(|(_, absent)| absent.held).min_by_key(|hold| hold.number).unwrap_or(own))
                }
                () => None,
            };
            if hold.is_some() {
                judged.gone.append(&mut judged.once);
            }
            self.absent.extend(judged.once);
            for (number, absent) in judged.gone {
                if let Some(hold) = absent.held.or(hold.filter(|_| !absent.explained)) {
                    self.held.insert(number, Held { scope, by, hold });
                    self.absent.insert(number, absent);
                } else {
                    self.held.remove(&number);
                    self.absent.remove(&number);
                    self.rows.get_mut(&number).unwrap().source_state = State::Gone;
                    gone.push((number, absent.since));
                }
            }
            self.read_fully.insert(scope, walk.began);
            self.rows_at.insert(scope, (walk.rows, self.created));
        }
        self.carry(&gone, &arrived);
    }

    /// What a list did not deliver of what is not closed in it.
    fn judge(&self, tool: &Tool, scope: u8, walk: &Walk) -> Judged {
        let kept_out = |row: &Row| self.records[&row.record].state != "good" || self.held_records.contains(&row.record);
        let unclosed: Vec<u8> = self
            .rows
            .iter()
            .filter(|(_, row)| row.scope == scope && UNCLOSED.contains(&row.source_state) && !kept_out(row))
            .map(|(number, _)| *number)
            .collect();
        let missed: Vec<u8> = unclosed.iter().filter(|number| !walk.seen.contains(number)).copied().collect();
        let explained = tool.explained && !walk.seen.is_empty();
        let everything = missed.len() == unclosed.len() && missed.len() >= 3;
        // What came in one pass with a finding stood beside it and does not replace it.
        let (began, ended) = self.rows_at[&scope];
        let since = |created: u64| if created > began { ended } else { began };
        let mut judged = Judged::default();
        for number in missed {
            let before = self.absent.get(&number).cloned();
            let twice = before.is_some();
            let absent = before.unwrap_or(Absent { scope, since: since(self.rows[&number].created), explained, held: None });
            // A hold ends when so much of it was listed again that the rest would not have been held.
            let left = |hold: &Hold| self.held.values().filter(|held| held.hold == *hold).count();
            let held = self.held.get(&number).map(|held| held.hold).filter(|hold| too_many(left(hold), hold.of));
            let explained = absent.explained || explained;
            let absent = Absent { scope, explained, held, ..absent };
            let list = if twice || !everything || explained { &mut judged.gone } else { &mut judged.once };
            list.push((number, absent));
        }
        let explained_before = judged.gone.iter().filter(|(_, absent)| absent.explained).count();
        judged.of = if explained { 0 } else { unclosed.len() - explained_before };
        judged
    }

    /// A finding that is gone hands on to the one that replaces it: of one record and one identity, one to one.
    fn carry(&mut self, gone: &[(u8, u64)], arrived: &[u8]) {
        let mut groups: BTreeSet<(u8, u8)> = BTreeSet::new();
        for number in gone.iter().map(|(number, _)| number).chain(arrived) {
            let row = &self.rows[number];
            groups.extend(lineage(*number).filter(|_| !row.gave).map(|of| (row.record, of)));
        }
        for (record, of) in groups {
            let all = || self.rows.iter().filter(|(number, row)| self.is_one(**number, row, record, Some(of)));
            let old: Vec<u8> = all().filter(|(_, row)| row.source_state == State::Gone).map(|(number, _)| *number).collect();
            let &[old] = &old[..] else { continue };
            let since = gone.iter().find(|(number, _)| *number == old).map_or(u64::MAX, |(_, since)| *since);
            let new: Vec<u8> = all()
                .filter(|(number, row)| {
                    row.source_state != State::Gone && row.replaces.is_none() && (row.created > since || arrived.contains(number))
                })
                .map(|(number, _)| *number)
                .collect();
            let &[new] = &new[..] else { continue };
            let triage = self.rows[&old].triage;
            self.rows.get_mut(&old).unwrap().gave = true;
            let row = self.rows.get_mut(&new).unwrap();
            row.replaces = Some(old);
            if triage.is_some() && !row.decided {
                (row.triage, row.decided) = (triage, true);
            }
        }
    }

    /// What was held and is still absent is gone: not what was seen again, closed or moved to another list meanwhile.
    pub(crate) fn approve(&mut self) {
        let syncs: BTreeSet<u64> = self.held.values().map(|held| held.by).collect();
        for sync in syncs {
            let held: Vec<(u8, u8)> =
                self.held.iter().filter(|(_, held)| held.by == sync).map(|(number, held)| (*number, held.scope)).collect();
            let mut gone = Vec::new();
            for (number, scope) in held {
                self.held.remove(&number);
                let row = self.rows.get_mut(&number).unwrap();
                if row.scope == scope && UNCLOSED.contains(&row.source_state) {
                    row.source_state = State::Gone;
                    gone.push((number, self.absent.remove(&number).unwrap().since));
                }
            }
            self.carry(&gone, &[]);
        }
        for number in std::mem::take(&mut self.held_records) {
            self.miss(number);
        }
    }

    pub(crate) fn act(&mut self, number: u8, act: Act, auto_map: bool) {
        let Some(record) = self.records.get_mut(&number).filter(|record| record.state != "deleted") else { return };
        let before = record.state;
        match (act, record.state) {
            (Act::Map, "new" | "good" | "stale") => (record.state, record.mapped) = ("good", true),
            (Act::Unmap, "good") => (record.state, record.mapped) = ("new", false),
            (Act::Ignore, "new" | "good") => {
                record.formerly_mapped = record.mapped;
                (record.state, record.mapped) = ("ignored", false);
            }
            (Act::Restore, "ignored") => {
                record.state = if auto_map { "good" } else { "new" };
                record.mapped = auto_map;
            }
            (Act::Delete, _) => {
                (record.state, record.mapped) = ("deleted", false);
            }
            _ => return,
        }
        if before != "good" {
            self.became_good(number);
        }
    }
}

/// In `full_requested`: the stream over all records, whose list has the number 0 like the first record's.
const STREAM: u8 = 255;

/// The list of each record, and the stream.
pub(crate) const ALL: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, STREAM];
