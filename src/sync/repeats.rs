//! Tells a list that comes to its end from one that brings the same for ever.

/// So many pages running without one new item are a loop. One may be a list that moved while it was read.
const REPEATED: usize = 2;
/// So many empty pages running are one, too: chunks that hold nothing, slices in which nothing falls, questions for numbers and
/// pages of which nothing is wanted are fewer.
const EMPTY: usize = 100_000;

/// The items of the part of a list that is being read.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Their hashes in sorted runs, each more than twice as long as the next: eight bytes an item, however long the list.
    runs: Vec<Vec<i64>>,
    repeated: usize,
    empty: usize,
}

impl Repeats {
    /// Notes a page, after which another part of the list begins or not; whether the list goes round in circles.
    pub(super) fn met(&mut self, mut page: Vec<i64>, another_part: bool) -> bool {
        self.empty = if page.is_empty() { self.empty + 1 } else { 0 };
        if !page.is_empty() {
            page.sort_unstable();
            page.dedup();
            page.retain(|item| !self.runs.iter().any(|run| run.binary_search(item).is_ok()));
            self.repeated = if page.is_empty() { self.repeated + 1 } else { 0 };
            self.keep(page);
        }
        let circles = self.repeated >= REPEATED || self.empty >= EMPTY;
        if another_part {
            // What one part brought another one may bring again.
            *self = Repeats { empty: self.empty, ..Repeats::default() };
        }
        circles
    }

    fn keep(&mut self, mut new: Vec<i64>) {
        if new.is_empty() {
            return;
        }
        while let Some(mut run) = self.runs.pop_if(|run| run.len() <= 2 * new.len()) {
            run.append(&mut new);
            run.sort_unstable();
            new = run;
        }
        self.runs.push(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pages_running_without_a_new_item_are_a_loop() {
        let mut repeats = Repeats::default();
        for page in [vec![1, 2, 3], vec![3, 2], vec![3, 4], vec![], vec![1, 4], vec![]] {
            assert!(!repeats.met(page.clone(), false), "{page:?}");
        }
        assert!(repeats.met(vec![2, 2], false), "an empty page between them does not help");
    }

    #[test]
    fn another_part_may_bring_everything_again_once() {
        let mut repeats = Repeats::default();
        assert!(!repeats.met(vec![1], false));
        assert!(!repeats.met(vec![2], true));
        assert!(!repeats.met(vec![1], false));
        assert!(!repeats.met(vec![2], false));
        assert!(!repeats.met(vec![1], false));
        assert!(repeats.met(vec![2], false));
    }

    #[test]
    fn empty_pages_end_at_some_time() {
        let mut repeats = Repeats::default();
        assert!((1..EMPTY).all(|_| !repeats.met(Vec::new(), false)));
        assert!(repeats.met(Vec::new(), false));
    }

    #[test]
    fn many_items_are_kept_in_few_sorted_runs() {
        let mut repeats = Repeats::default();
        let item = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed();
        for page in 0..2000 {
            assert!(!repeats.met((page * 50..page * 50 + 50).map(item).collect(), false));
        }
        assert_eq!(repeats.runs.iter().map(Vec::len).sum::<usize>(), 100_000);
        assert!(repeats.runs.len() < 14 && repeats.runs.iter().all(|run| run.is_sorted()), "{}", repeats.runs.len());
        assert!(!repeats.met((500..550).map(item).collect(), false));
        assert!(repeats.met((99_000..99_050).map(item).collect(), false));
    }
}
