//! What was learned once and is needed again a page later.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Facts about the things that a walk meets (a project's texts), so that each is asked for once and not once a page.
///
/// Bounded by weight, oldest out first. Whatever is not here is asked for again, so nothing may depend on it; a walk
/// forgets its place's facts at its beginning, so that none is older than the walk.
#[derive(Debug)]
pub struct Memo<T>(Mutex<Kept<T>>, usize);

type Name = (Box<str>, Box<str>);

#[derive(Debug)]
struct Kept<T> {
    facts: HashMap<Name, (Arc<T>, usize)>,
    order: VecDeque<Name>,
    weight: usize,
}

impl<T> Memo<T> {
    /// A memo that holds at most this weight, in whatever unit [`Memo::put`] is told.
    pub fn new(most: usize) -> Self {
        Memo(Mutex::new(Kept { facts: HashMap::new(), order: VecDeque::new(), weight: 0 }), most)
    }

    /// What is known of a thing at a place.
    pub fn get(&self, place: &str, key: &str) -> Option<Arc<T>> {
        self.kept().facts.get(&(place.into(), key.into())).map(|(fact, _)| Arc::clone(fact))
    }

    /// Notes what is known of a thing at a place.
    pub fn put(&self, place: &str, key: &str, fact: T, weight: usize) -> Arc<T> {
        let (fact, name): (_, Name) = (Arc::new(fact), (place.into(), key.into()));
        let mut kept = self.kept();
        if let Some((_, old)) = kept.facts.insert(name.clone(), (Arc::clone(&fact), weight)) {
            kept.weight -= old;
        } else {
            kept.order.push_back(name);
        }
        kept.weight += weight;
        while kept.weight > self.1 {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.weight -= kept.facts.remove(&oldest).map_or(0, |(_, weight)| weight);
        }
        fact
    }

    /// Forgets everything at a place.
    pub fn forget(&self, place: &str) {
        let mut kept = self.kept();
        kept.order.retain(|(at, _)| **at != *place);
        kept.facts.retain(|(at, _), _| **at != *place);
        kept.weight = kept.facts.values().map(|(_, weight)| weight).sum();
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_the_weight_stays_below_its_bound() {
        let memo = Memo::new(10);
        memo.put("a", "1", "one", 4);
        memo.put("a", "2", "two", 4);
        assert_eq!(*memo.put("b", "3", "three", 4), "three");
        assert_eq!((memo.get("a", "1"), memo.get("a", "2").as_deref()), (None, Some(&"two")));
        memo.put("a", "2", "zwei", 6);
        assert_eq!((memo.get("a", "2").as_deref(), memo.get("b", "3").as_deref()), (Some(&"zwei"), Some(&"three")));
        memo.forget("a");
        assert_eq!((memo.get("a", "2"), memo.get("b", "3").as_deref()), (None, Some(&"three")));
        assert_eq!(*memo.put("b", "4", "larger than all", 11), "larger than all");
        assert_eq!((memo.get("b", "3"), memo.get("b", "4")), (None, None));
    }
}
