//! The life of a tool's findings, once for all simulators: what is there, what a step moves, what a client must end with.

use crate::{
    Change, Oracle, Truth,
    seed::{Seed, share},
};

/// What a vendor knows of one finding, and how it changes.
pub trait Fact {
    /// Its key, as a client has to make it: the vendor's unique id.
    fn key(&self) -> String;
    /// What is true of it as long as it is listed.
    fn truth(&self) -> Truth;
    /// It is fixed in this step, as the `n`-th; `false` where the tool does not say so, and it is no longer listed.
    fn fix(&mut self, n: usize, step: u64) -> bool;
    /// A column that the history keeps changes in this step, as the `n`-th.
    fn change(&mut self, n: usize, step: u64);
}

/// A finding, and whether it is still there.
#[derive(Debug)]
pub struct Row<F> {
    /// What the vendor knows of it.
    pub fact: F,
    /// The record it belongs to.
    pub record: usize,
    /// Whether the tool lists it.
    pub listed: bool,
    /// Whether a client that synced after every step has met it open.
    ever_open: bool,
}

impl<F: Fact> Row<F> {
    /// Whether it is listed as open.
    pub fn is_open(&self) -> bool {
        self.listed && self.fact.truth().state == "open"
    }
}

/// What a step has moved, as numbers of rows.
#[derive(Debug)]
pub struct Moved {
    /// Which step it was, from 1.
    pub step: u64,
    /// Fixed, whether the tool says so or not.
    pub fixed: Vec<usize>,
    /// How many are to be added.
    pub new: usize,
}

/// All findings of a tool, in the order in which they were made.
#[derive(Debug)]
pub struct Ledger<F> {
    seed: u64,
    step: u64,
    rows: Vec<Row<F>>,
    by_record: Vec<Vec<usize>>,
}

impl<F: Fact> Ledger<F> {
    /// An empty one; what a step moves is drawn with this seed.
    pub fn new(seed: u64) -> Self {
        Ledger { seed, step: 0, rows: Vec::new(), by_record: Vec::new() }
    }

    /// How many steps were made.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// How many findings there were ever.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there was none yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a finding of this record.
    pub fn add(&mut self, record: usize, fact: F) {
        if self.by_record.len() <= record {
            self.by_record.resize_with(record + 1, Vec::new);
        }
        self.by_record[record].push(self.rows.len());
        let ever_open = fact.truth().state == "open";
        self.rows.push(Row { fact, record, listed: true, ever_open });
    }

    /// All findings.
    pub fn rows(&self) -> &[Row<F>] {
        &self.rows
    }

    /// A finding, to be changed.
    pub fn row_mut(&mut self, row: usize) -> &mut Row<F> {
        &mut self.rows[row]
    }

    /// The findings of a record, as numbers of rows, those no longer listed too.
    pub fn of(&self, record: usize) -> &[usize] {
        self.by_record.get(record).map_or(&[], Vec::as_slice)
    }

    /// What is listed of a record.
    pub fn listed(&self, record: usize) -> impl Iterator<Item = &F> {
        self.of(record).iter().map(|row| &self.rows[*row]).filter(|row| row.listed).map(|row| &row.fact)
    }

    /// Moves the tool one step on, but for what is new. Only what `moves` may be drawn.
    pub fn advance(&mut self, change: &Change, moves: impl Fn(&Row<F>) -> bool) -> Moved {
        self.step += 1;
        let step = self.step;
        let mut open: Vec<usize> =
            self.rows.iter().enumerate().filter(|(_, row)| row.is_open() && moves(row)).map(|(number, _)| number).collect();
        let total = open.len();
        let mut seed = Seed::of(&[self.seed, step]);
        let mut take = |percent| seed.draw(&mut open, share(total, percent));
        let (fixed, changed, vanished) = (take(change.fixed), take(change.changed), take(change.vanished));
        for (n, row) in fixed.iter().enumerate() {
            self.rows[*row].listed = self.rows[*row].fact.fix(n, step);
        }
        for (n, row) in changed.into_iter().enumerate() {
            self.rows[row].fact.change(n, step);
        }
        for row in vanished {
            self.rows[row].listed = false;
        }
        Moved { step, fixed, new: share(total, change.new) }
    }

    /// What a client must end with that sees these records and knows the rows for which `sees` holds.
    pub fn oracle(&self, records: impl Iterator<Item = (String, String)>, sees: impl Fn(&Row<F>) -> bool) -> Oracle {
        let mut oracle = Oracle { records: records.collect(), ..Oracle::default() };
        for row in self.rows.iter().filter(|row| row.ever_open && sees(row)) {
            let truth = row.fact.truth();
            oracle.findings.insert(row.fact.key(), Truth { state: if row.listed { truth.state } else { "gone" }, ..truth });
        }
        oracle
    }
}
