//! Texts that many findings share (of rules, plugins, issue types): asked for once, kept while they are of use, and never
//! more of them than a bound in bytes, however many the vendor has.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::OnceCell;

/// What an entry costs besides its key and value.
const OVERHEAD: usize = 128;

/// How much memory a value holds.
pub trait Weigh {
    /// Bytes on the heap, roughly.
    fn bytes(&self) -> usize;
}

impl Weigh for Box<str> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl<T: Weigh> Weigh for Option<T> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, Weigh::bytes)
    }
}

impl<T: Weigh> Weigh for [T] {
    fn bytes(&self) -> usize {
        self.iter().map(|value| value.bytes() + size_of::<T>()).sum()
    }
}

/// A cache bounded in bytes, shared by all walks of one connection. What was not used for longest goes first.
///
/// It holds facts that can be asked for again and nothing else: a walk must not depend on what is in it.
pub struct Cache<V> {
    limit: usize,
    state: Mutex<State<V>>,
}

struct State<V> {
    entries: HashMap<Arc<str>, Entry<V>>,
    /// Keys by their last use.
    order: BTreeMap<u64, Arc<str>>,
    /// Values being fetched, so that no two walks fetch the same one.
    flights: HashMap<Arc<str>, Weak<OnceCell<Arc<V>>>>,
    uses: u64,
    bytes: usize,
}

struct Entry<V> {
    value: Arc<V>,
    bytes: usize,
    used: u64,
}

impl<V: Weigh> Cache<V> {
    /// An empty cache that holds at most this many bytes.
    pub fn new(limit: usize) -> Self {
        let state = State { entries: HashMap::new(), order: BTreeMap::new(), flights: HashMap::new(), uses: 0, bytes: 0 };
        Cache { limit, state: Mutex::new(state) }
    }

    /// The value, if it is here.
    pub fn get(&self, key: &str) -> Option<Arc<V>> {
        self.state().get(key)
    }

    /// Keeps a value, and gives it back: also when it is too large to be kept.
    pub fn put(&self, key: &str, value: V) -> Arc<V> {
        let value = Arc::new(value);
        self.state().put(key, Arc::clone(&value), self.limit);
        value
    }

    /// The value, fetched when it is not here: by one caller, however many wait for it. What fails is not kept.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub async fn get_or_fetch<E, F: Future<Output = Result<V, E>>>(&self, key: &str, fetch: impl FnOnce() -> F) -> Result<Arc<V>, E> {
        let flight = {
            let mut state = self.state();
            if let Some(value) = state.get(key) {
                return Ok(value);
            }
            state.flight(key)
        };
        let value = flight.get_or_try_init(|| async { fetch().await.map(Arc::new) }).await?;
        self.state().put(key, Arc::clone(value), self.limit);
        Ok(Arc::clone(value))
    }

    /// How many bytes it holds now.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Weigh> State<V> {
    fn get(&mut self, key: &str) -> Option<Arc<V>> {
        let (key, entry) = (self.entries.get_key_value(key)?.0.clone(), self.entries.get_mut(key)?);
        self.order.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.order.insert(self.uses, key);
        Some(Arc::clone(&entry.value))
    }

    fn put(&mut self, key: &str, value: Arc<V>, limit: usize) {
        if let Some(old) = self.entries.remove(key) {
            self.order.remove(&old.used);
            self.bytes -= old.bytes;
        }
        let bytes = value.bytes() + 2 * key.len() + size_of::<V>() + OVERHEAD;
        if bytes > limit {
            return;
        }
        while self.bytes + bytes > limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
        self.uses += 1;
        let key: Arc<str> = key.into();
        self.order.insert(self.uses, Arc::clone(&key));
        self.entries.insert(key, Entry { value, bytes, used: self.uses });
        self.bytes += bytes;
    }

    fn flight(&mut self, key: &str) -> Arc<OnceCell<Arc<V>>> {
        if let Some(flight) = self.flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        // What landed, failed or was given up is held by nobody any more.
        self.flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(OnceCell::new());
        self.flights.insert(key.into(), Arc::downgrade(&flight));
        flight
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn text(bytes: usize) -> Box<str> {
        "x".repeat(bytes).into()
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_the_bound_holds() {
        let cache = Cache::new(4_000);
        for key in ["a", "b", "c"] {
            cache.put(key, text(1_000));
        }
        assert!(cache.get("a").is_some());
        cache.put("d", text(1_000));
        let held = ["a", "b", "c", "d"].map(|key| cache.get(key).is_some());
        assert_eq!(held, [true, false, true, true], "b was the oldest");
        for number in 0..10_000 {
            cache.put(&number.to_string(), text(number % 900));
            assert!(cache.bytes() <= 4_000);
        }
        assert!(cache.get("9999").is_some());
    }

    #[test]
    fn a_value_beyond_the_bound_is_given_back_and_not_kept() {
        let cache = Cache::new(1_000);
        cache.put("small", text(100));
        assert_eq!(cache.put("large", text(2_000)).len(), 2_000);
        assert_eq!((cache.get("large"), cache.get("small").map(|text| text.len())), (None, Some(100)));
        cache.put("small", text(2_000));
        assert_eq!((cache.get("small"), cache.bytes()), (None, 0), "the old value is no longer true");
    }

    #[test]
    fn a_value_put_again_counts_once() {
        let cache = Cache::new(10_000);
        cache.put("a", text(100));
        let once = cache.bytes();
        cache.put("a", text(100));
        assert_eq!(cache.bytes(), once);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_at_once_fetch_a_value_once() {
        let cache = Arc::new(Cache::<Box<str>>::new(1 << 20));
        let fetched = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let (cache, fetched) = (Arc::clone(&cache), Arc::clone(&fetched));
                tokio::spawn(async move {
                    let key = format!("key {}", number % 4);
                    let fetch = || async {
                        fetched.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        Ok::<_, ()>(key.as_str().into())
                    };
                    cache.get_or_fetch(&key, fetch).await.map(|text| **text == *key)
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), Ok(true));
        }
        assert_eq!(fetched.load(Ordering::SeqCst), 4);
        assert!(cache.state().flights.values().all(|flight| flight.strong_count() == 0));
    }

    #[tokio::test]
    async fn what_failed_is_fetched_again() {
        let cache = Cache::<Box<str>>::new(1_000);
        assert_eq!(cache.get_or_fetch("a", || async { Err("no") }).await, Err("no"));
        assert_eq!(cache.get_or_fetch("a", || async { Ok::<_, ()>(text(1)) }).await.map(|text| text.len()), Ok(1));
        assert_eq!(cache.get_or_fetch("a", || async { Err("not asked") }).await.map(|text| text.len()), Ok(1));
    }
}
