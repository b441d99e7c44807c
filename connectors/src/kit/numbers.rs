//! Sets of numbers that mostly follow each other, short enough for a cursor.

use serde::{Deserialize, Serialize};

/// A set of numbers (the chunks of an export) as runs, in order: `[[1,20],[23,23]]` in a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RangeSet(Vec<(u64, u64)>);

impl RangeSet {
    /// Adds a number.
    pub fn insert(&mut self, number: u64) {
        let at = self.0.partition_point(|(_, last)| *last < number);
        if self.0.get(at).is_some_and(|(first, _)| *first <= number) {
            return;
        }
        self.0.insert(at, (number, number));
        if self.0.get(at + 1).is_some_and(|(first, _)| *first == number.saturating_add(1)) {
            self.0[at].1 = self.0.remove(at + 1).1;
        }
        if at > 0 && self.0[at - 1].1.saturating_add(1) == number {
            self.0[at - 1].1 = self.0.remove(at).1;
        }
    }

    /// The least number of this set that is not in the other.
    pub fn first_not_in(&self, other: &RangeSet) -> Option<u64> {
        self.0.iter().find_map(|&(first, last)| {
            let within = other.0.get(other.0.partition_point(|(_, end)| *end < first));
            match within {
                Some(&(from, to)) if from <= first => (to < last).then(|| to + 1),
                _ => Some(first),
            }
        })
    }

    /// The numbers of this set that are not in the other.
    pub fn without(&self, other: &RangeSet) -> RangeSet {
        let mut left = Vec::new();
        for &(first, last) in &self.0 {
            let mut from = Some(first);
            for &(gone, end) in other.0.iter().filter(|(gone, end)| *end >= first && *gone <= last) {
                left.extend(from.filter(|from| *from < gone).map(|from| (from, gone - 1)));
                from = end.checked_add(1);
            }
            left.extend(from.filter(|from| *from <= last).map(|from| (from, last)));
        }
        RangeSet(left)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }
}

impl FromIterator<u64> for RangeSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut set = RangeSet::default();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_any_order_become_runs() {
        let set: RangeSet = [3, 1, 2, 9, 7, 8, 2, 20].into_iter().collect();
        assert_eq!(serde_json::to_string(&set).expect("plain data"), "[[1,3],[7,9],[20,20]]");
        assert_eq!(set.count(), 7);
        assert_eq!(serde_json::from_str::<RangeSet>("[[1,3],[7,9],[20,20]]").expect("a set"), set);
    }

    #[test]
    fn what_is_taken_away_is_no_longer_there() {
        let all: RangeSet = (1..=9).chain([12, 13]).collect();
        for (away, left) in [
            (&[][..], "[[1,9],[12,13]]"),
            (&[1, 5, 6, 9, 10, 11, 12, 13], "[[2,4],[7,8]]"),
            (&[4], "[[1,3],[5,9],[12,13]]"),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], "[]"),
        ] {
            let left_over = all.without(&away.iter().copied().collect());
            assert_eq!(serde_json::to_string(&left_over).expect("plain data"), left, "{away:?}");
            assert_eq!(left_over.is_empty(), left == "[]");
        }
    }

    #[test]
    fn what_is_left_comes_in_order() {
        let all: RangeSet = (1..=5).chain([8, 9, 12]).collect();
        let mut done = RangeSet::default();
        let mut order = Vec::new();
        while let Some(number) = all.first_not_in(&done) {
            order.push(number);
            done.insert(number);
        }
        assert_eq!(order, [1, 2, 3, 4, 5, 8, 9, 12]);
        let others: RangeSet = [0, 2, 4, 9].into_iter().collect();
        assert_eq!(all.first_not_in(&others), Some(1));
        assert_eq!(RangeSet::default().first_not_in(&all), None);
    }
}
