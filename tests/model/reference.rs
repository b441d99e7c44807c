//! The model: the contract written a second time, as plainly as possible. It knows nothing of tables, transactions or hashes.

use std::collections::{BTreeMap, BTreeSet};

use tributary::store::Decision;
use tributary_connectors::model::{Severity, State};

use crate::{
    sequence::Act,
    tool::{PAGE, Told, Tool},
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
}

/// A walk that was broken off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    pub(crate) full: bool,
    pub(crate) began: u64,
    pub(crate) page: usize,
    pub(crate) after: Option<u8>,
    pub(crate) seen: BTreeSet<u8>,
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
    pub(crate) full_asked: BTreeMap<u8, u64>,
    pub(crate) read_fully: BTreeMap<u8, u64>,
    pub(crate) held: BTreeMap<u8, BTreeSet<u8>>,
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
        self.full_asked.extend(lists.iter().map(|list| (*list, self.tick)));
    }

    pub(crate) fn discover(&mut self, tool: &Tool) {
        for number in &tool.listed {
            self.meet(*number);
        }
        for (number, record) in &mut self.records {
            if !tool.listed.contains(number) && matches!(record.state, "good" | "stale") {
                record.former_state = record.state;
                record.state = "missing";
            }
        }
        self.discovered = true;
    }

    /// A record that a discover lists, or that a finding in a stream names.
    pub(crate) fn meet(&mut self, number: u8) -> bool {
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
        let mut complete = Vec::new();
        for scope in scopes {
            let due = if tool.stream { STREAM } else { scope };
            let asked = self.full_asked.get(&due).copied().unwrap_or(0);
            let full = asked_full || self.read_fully.get(&scope).is_none_or(|began| asked > *began);
            let begin = Walk { full, began: self.tick, ..Walk::default() };
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
                complete.push((scope, walk));
            } else {
                self.walks.insert(scope, walk);
                if crashed {
                    return true;
                }
            }
        }
        self.close(tool, complete);
        false
    }

    pub(crate) fn good(&self) -> Vec<u8> {
        self.records.iter().filter(|(_, record)| record.state == "good").map(|(number, _)| *number).collect()
    }

    pub(crate) fn deliver(&mut self, scope: u8, number: u8, told: Told) {
        if !self.meet(told.record) {
            return;
        }
        let least = self.least.unwrap_or(Severity::Info);
        let wanted = told.state == State::Open && (told.severity == Severity::Unknown || told.severity >= least);
        match self.rows.get_mut(&number) {
            Some(row) => {
                *row = Row { record: told.record, severity: told.severity, source_state: told.state, triage: row.triage, scope };
            }
            None if wanted => {
                let row = Row { record: told.record, severity: told.severity, source_state: told.state, triage: None, scope };
                self.rows.insert(number, row);
            }
            None => {}
        }
    }

    pub(crate) fn close(&mut self, tool: &Tool, complete: Vec<(u8, Walk)>) {
        let mut absent = Vec::new();
        for (scope, walk) in complete {
            let kept_out = |row: &Row| tool.stream && matches!(self.records[&row.record].state, "new" | "ignored" | "stale" | "deleted");
            let unclosed: Vec<u8> = self
                .rows
                .iter()
                .filter(|(_, row)| row.scope == scope && UNCLOSED.contains(&row.source_state) && !kept_out(row))
                .map(|(number, _)| *number)
                .collect();
            let gone: BTreeSet<u8> = unclosed.iter().filter(|number| !walk.seen.contains(number)).copied().collect();
            absent.push((scope, walk.began, unclosed.len(), gone));
        }
        let all = too_many(absent.iter().map(|(.., gone)| gone.len()).sum(), absent.iter().map(|(_, _, of, _)| of).sum());
        for (scope, began, of, gone) in absent {
            self.held.remove(&scope);
            if (all || too_many(gone.len(), of)) && !gone.is_empty() {
                self.held.insert(scope, gone);
            } else {
                for number in gone {
                    self.rows.get_mut(&number).unwrap().source_state = State::Gone;
                }
            }
            self.read_fully.insert(scope, began);
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

/// In `full_asked`: the stream over all records, whose list has the number 0 like the first record's.
const STREAM: u8 = 255;

/// The list of each record, and the stream.
pub(crate) const ALL: [u8; 4] = [0, 1, 2, STREAM];
