//! Where the next page of a list begins. What an offset counts is disputed, and decided by the second answer.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Rows of a page that are remembered, to know them again in the next one.
const SAMPLE: usize = 32;

/// Where the next page of a list begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// Rows received, those that came twice because of the question itself not counted.
    pub(super) rows: u64,
    pub(super) counts: Counts,
    /// Keys of the last page, its first one first.
    pub(super) sample: Vec<String>,
}

/// What an offset counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Counts {
    #[default]
    Unknown,
    Rows,
    Pages,
}

impl Place {
    /// Where the page after this one begins, unless it is the last, and the rows received; `None` when it is the page before it.
    ///
    /// The second question is always for offset 1. When most of page 0 comes back, moved by one row, offsets count rows.
    pub(super) fn after(&self, keys: &[String], count: u64, total: u64, limit: u64) -> Option<(Option<Place>, u64)> {
        let here: HashSet<&String> = keys.iter().collect();
        let again = self.sample.iter().filter(|key| here.contains(key)).count() * 2 > self.sample.len();
        if again && keys.first() == self.sample.first() {
            return None;
        }
        let counts = match self.counts {
            Counts::Unknown if self.offset == 0 => Counts::Unknown,
            Counts::Unknown if again => Counts::Rows,
            Counts::Unknown => Counts::Pages,
            known => known,
        };
        let (offset, rows) = match counts {
            Counts::Unknown => (1, count),
            Counts::Rows => (self.offset + count, self.offset + count),
            Counts::Pages => (self.offset + 1, self.rows + count),
        };
        let sample = keys.iter().step_by(keys.len().div_ceil(SAMPLE).max(1)).cloned().collect();
        let ended = count == 0 || (rows >= total && count < limit);
        Some(((!ended).then_some(Place { offset, rows, counts, sample }), rows))
    }
}
