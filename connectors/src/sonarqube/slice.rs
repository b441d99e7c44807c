//! Parts of a list that is larger than the server hands out.
//!
//! A search shows its first 10,000 rows only. A larger one is cut into slices that together hold every row, and those again,
//! until each fits. A slice is nothing but further query parameters, so a walk over slices is plain data in the cursor.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::kit::Request;

/// One way to cut a slice; a list has a fixed sequence of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// By the values that the server's own facet lists: none that exists is missed, unless there are too many to list.
    Facet(&'static str),
    /// By these values, which are all there are.
    Values(&'static str, &'static [&'static str]),
    /// By the time of creation: halves, as often as it takes.
    Dates,
    /// By the project's files, some at a time, and what is on no file.
    Files,
}

/// What of a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slice {
    filters: Vec<(String, String)>,
    /// Created at this second or later.
    from: Option<i64>,
    /// Created before this second.
    to: Option<i64>,
    /// How many of the list's steps are used up.
    pub(super) step: usize,
    /// It is what is left of a slice after so many pages of the project's list of files.
    pub(super) files_read: Option<u64>,
}

impl Slice {
    /// Whether it is the whole list.
    pub(super) fn is_whole(&self) -> bool {
        self.filters.is_empty() && self.from.is_none() && self.to.is_none()
    }

    /// Whether it is filtered by this parameter.
    pub(super) fn has(&self, name: &str) -> bool {
        self.filters.iter().any(|(filter, _)| filter == name)
    }

    /// The value of a filter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.filters.iter().find(|(filter, _)| filter == name).map(|(_, value)| value.as_str())
    }

    /// The slice as query parameters.
    pub(super) fn apply<'a>(&self, mut request: Request<'a>) -> Request<'a> {
        for (name, value) in &self.filters {
            request = request.query(name, Some(value));
        }
        request.query("createdAfter", self.from.and_then(date)).query("createdBefore", self.to.and_then(date))
    }

    /// The same slice, to be cut by the step after this one.
    pub(super) fn next_step(self) -> Slice {
        Slice { step: self.step + 1, ..self }
    }

    /// The part with this value; the step is used up.
    pub(super) fn with(&self, name: &str, value: &str) -> Slice {
        let mut slice = self.clone().next_step();
        slice.filters.push((name.to_owned(), value.to_owned()));
        slice
    }

    /// The part with what is on these files (paths without commas). It can be halved, so the step is not used up.
    pub(super) fn on(&self, files: &[&str]) -> Slice {
        let mut slice = Slice { files_read: None, ..self.clone() };
        slice.filters.retain(|(name, _)| name != "files");
        slice.filters.push(("files".to_owned(), files.join(",")));
        slice
    }

    /// What is left of the slice after so many pages of the project's list of files.
    pub(super) fn after_files(&self, pages: u64) -> Slice {
        Slice { files_read: Some(pages), ..self.clone() }
    }

    /// The two halves of the files of the slice; `None` when it is one.
    pub(super) fn halves_of_files(&self) -> Option<[Slice; 2]> {
        let files: Vec<&str> = self.value("files")?.split(',').collect();
        let (first, second) = files.split_at(files.len() / 2);
        (!first.is_empty()).then(|| [self.on(first), self.on(second)])
    }

    /// The two halves of the time between the first and the last creation in it, both in seconds; `None` when that is one
    /// second and cannot be halved.
    pub(super) fn halves(&self, first: i64, last: i64) -> Option<[Slice; 2]> {
        let from = self.from.map_or(first, |from| from.max(first));
        let to = self.to.map_or(last + 1, |to| to.min(last + 1));
        let middle = from + (to - from) / 2;
        if middle <= from || middle >= to {
            return None;
        }
        let part = |from, to| Slice { from: Some(from), to: Some(to), ..self.clone() };
        Some([part(from, middle), part(middle, to)])
    }
}

fn date(second: i64) -> Option<String> {
    Some(Timestamp::from_second(second).ok()?.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string())
}

/// For people: the parameters that make the slice.
impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.filters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        parts.extend(self.from.and_then(date).map(|from| format!("createdAfter={from}")));
        parts.extend(self.to.and_then(date).map(|to| format!("createdBefore={to}")));
        f.write_str(if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_ends_at_single_seconds_that_cover_every_second_once() {
        let (mut open, mut seconds) = (vec![Slice::default()], Vec::new());
        // Rows at each second from 100 to 136; the server is asked for the first and last of each slice.
        while let Some(slice) = open.pop() {
            let (first, last) = (slice.from.unwrap_or(100), slice.to.map_or(136, |to| to - 1));
            match slice.halves(first, last) {
                Some(halves) => open.extend(halves),
                None => seconds.push((first, last)),
            }
        }
        seconds.sort_unstable();
        assert_eq!(seconds, (100..=136).map(|second| (second, second)).collect::<Vec<_>>());
    }

    #[test]
    fn an_end_that_the_server_includes_does_not_keep_halving_from_ending() {
        // Cloud's createdBefore includes its second: the last row is at the end of the slice itself.
        let slice = Slice { from: Some(5), to: Some(6), ..Slice::default() };
        assert_eq!(slice.halves(5, 6), None);
    }

    #[test]
    fn a_slice_survives_a_restart_and_names_itself() {
        let slice = Slice { from: Some(0), to: Some(60), ..Slice::default().with("severities", "MAJOR") };
        let again: Slice = serde_json::from_str(&serde_json::to_string(&slice).expect("plain data")).expect("the same");
        assert_eq!(again, slice);
        assert_eq!(slice.to_string(), "severities=MAJOR, createdAfter=1970-01-01T00:00:00+0000, createdBefore=1970-01-01T00:01:00+0000");
        assert!(!slice.is_whole() && Slice::default().next_step().is_whole());
    }

    #[test]
    fn files_are_halved_until_there_is_one() {
        let (mut open, mut single) = (vec![Slice::default().on(&["a", "b", "c", "d", "e"])], Vec::new());
        while let Some(slice) = open.pop() {
            match slice.halves_of_files() {
                Some(halves) => open.extend(halves),
                None => single.push(slice.value("files").expect("a file").to_owned()),
            }
        }
        single.sort_unstable();
        assert_eq!(single, ["a", "b", "c", "d", "e"]);
        assert_eq!(Slice::default().halves_of_files(), None);
    }
}
