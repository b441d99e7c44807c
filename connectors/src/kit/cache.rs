//! What was asked once and is needed again (texts of rules, facts about projects): asked for by one walk, however many wait,
//! and never more of it kept than a bound in bytes.

use std::{any::Any, fmt, pin::Pin, sync::Arc};

use moka::{future, policy::EvictionPolicy};

use crate::{Error, Result};

/// What an entry costs besides its key and value.
const OVERHEAD: usize = 128;

/// Where something is (an organization; nothing for the whole account), and its id there.
type Name = (Box<str>, Box<str>);

/// A value of any type, and how many bytes it takes with its name.
#[derive(Clone)]
struct Held {
    value: Arc<dyn Any + Send + Sync>,
    bytes: u32,
}

/// A cache bounded in bytes, shared by all walks of one connection. What was not used for longest goes first.
///
/// It holds facts that can be asked for again and nothing else: a walk must not depend on what is in it.
pub struct Cache<V> {
    /// Its values have no type of their own, so that it is compiled once.
    held: future::Cache<Name, Held>,
    weight: fn(&V) -> usize,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// An empty cache that holds at most this many bytes; `weight` tells how many a value has on the heap, roughly.
    pub fn new(limit: usize, weight: fn(&V) -> usize) -> Self {
        Cache { held: empty(limit), weight }
    }

    /// The value, if it is here.
    pub async fn get(&self, place: &str, key: &str) -> Option<Arc<V>> {
        self.held.get(&name(place, key)).await.map(of)
    }

    /// Keeps a value, and gives it back: also when it is too large to be kept.
    pub async fn put(&self, place: &str, key: &str, value: V) -> Arc<V> {
        let (name, value) = (name(place, key), Arc::new(value));
        let held = Held { bytes: bytes(&name, &*value, self.weight), value: Arc::<V>::clone(&value) };
        self.held.insert(name, held).await;
        self.held.run_pending_tasks().await;
        value
    }

    /// The value, fetched when it is not here: by one caller, however many wait for it. What fails is not kept.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub async fn get_or_fetch(&self, place: &str, key: &str, fetch: impl Future<Output = Result<V>> + Send) -> Result<Arc<V>> {
        let name = name(place, key);
        let fetch = async {
            let value = fetch.await?;
            Ok(Held { bytes: bytes(&name, &value, self.weight), value: Arc::new(value) })
        };
        get_or_fetch(&self.held, name.clone(), Box::pin(fetch)).await.map(of)
    }

    /// Forgets everything at a place: at the beginning of a walk, so that nothing it knows is older than itself.
    pub fn forget(&self, place: &str) {
        let place: Box<str> = place.into();
        self.held.invalidate_entries_if(move |(at, _), _| *at == place).expect("the cache was built to support this");
    }
}

fn empty(limit: usize) -> future::Cache<Name, Held> {
    let cache = future::Cache::builder().max_capacity(limit as u64).weigher(|_, held: &Held| held.bytes);
    cache.eviction_policy(EvictionPolicy::lru()).support_invalidation_closures().build()
}

async fn get_or_fetch(
    cache: &future::Cache<Name, Held>,
    name: Name,
    fetch: Pin<Box<dyn Future<Output = Result<Held>> + Send + '_>>,
) -> Result<Held> {
    let entry = cache.entry(name).or_try_insert_with(fetch).await.map_err(|error: Arc<Error>| Error::clone(&error))?;
    if entry.is_fresh() {
        // The bound is kept at once, not with some later write.
        cache.run_pending_tasks().await;
    }
    Ok(entry.into_value())
}

fn of<V: Send + Sync + 'static>(held: Held) -> Arc<V> {
    held.value.downcast().expect("a cache holds values of one type")
}

fn bytes<V>((place, key): &Name, value: &V, weight: fn(&V) -> usize) -> u32 {
    u32::try_from(weight(value) + place.len() + key.len() + size_of::<V>() + OVERHEAD).unwrap_or(u32::MAX)
}

fn name(place: &str, key: &str) -> Name {
    (place.into(), key.into())
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ErrorKind;

    fn cache(limit: usize) -> Cache<String> {
        Cache::new(limit, String::len)
    }

    async fn held(cache: &Cache<String>) -> u64 {
        cache.held.run_pending_tasks().await;
        cache.held.weighted_size()
    }

    #[tokio::test]
    async fn what_was_not_used_for_longest_goes_first_and_the_bound_holds() {
        let cache = cache(4_000);
        for key in ["a", "b", "c"] {
            cache.put("", key, "x".repeat(1_000)).await;
        }
        assert!(cache.get("", "a").await.is_some());
        cache.put("", "d", "x".repeat(1_000)).await;
        let mut here = Vec::new();
        for key in ["a", "b", "c", "d"] {
            here.push(cache.get("", key).await.is_some());
        }
        assert_eq!(here, [true, false, true, true], "b was the oldest");
        for number in 0..2_000 {
            cache.put("", &number.to_string(), "x".repeat(number % 900)).await;
            assert!(held(&cache).await <= 4_000);
        }
        assert!(cache.get("", "1999").await.is_some());
    }

    #[tokio::test]
    async fn a_value_beyond_the_bound_is_given_back_and_not_kept() {
        let cache = cache(1_000);
        cache.put("", "small", "x".repeat(100)).await;
        assert_eq!(cache.put("", "large", "x".repeat(2_000)).await.len(), 2_000);
        assert_eq!((cache.get("", "large").await, cache.get("", "small").await.map(|text| text.len())), (None, Some(100)));
        cache.put("", "small", "x".repeat(2_000)).await;
        assert_eq!((cache.get("", "small").await, held(&cache).await), (None, 0), "the old value is no longer true");
    }

    #[tokio::test]
    async fn a_place_is_forgotten_and_no_other() {
        let cache = cache(1 << 20);
        for place in ["a", "b"] {
            cache.put(place, "1", place.to_owned()).await;
        }
        cache.forget("a");
        assert_eq!((cache.get("a", "1").await, cache.get("b", "1").await.as_deref()), (None, Some(&"b".to_owned())));
        cache.put("a", "1", "again".to_owned()).await;
        assert_eq!(cache.get("a", "1").await.as_deref(), Some(&"again".to_owned()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_at_once_fetch_a_value_once() {
        let cache = Arc::new(cache(1 << 20));
        let fetched = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let (cache, fetched) = (Arc::clone(&cache), Arc::clone(&fetched));
                tokio::spawn(async move {
                    let key = format!("key {}", number % 4);
                    let fetch = async {
                        fetched.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        Ok(key.clone())
                    };
                    cache.get_or_fetch("", &key, fetch).await.map(|text| *text == key)
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.expect("no panic").expect("a value"));
        }
        assert_eq!(fetched.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn what_failed_is_fetched_again() {
        let cache = cache(1_000);
        let failed = || Error::new("asking", ErrorKind::PagingLoop).with_hint("a hint");
        let told = cache.get_or_fetch("", "a", async { Err(failed()) }).await.expect_err("it failed");
        assert_eq!((told.to_string(), told.hint()), (failed().to_string(), Some("a hint")));
        assert_eq!(cache.get_or_fetch("", "a", async { Ok("1".to_owned()) }).await.expect("a value").as_str(), "1");
        assert_eq!(cache.get_or_fetch("", "a", async { Err(failed()) }).await.expect("not asked").as_str(), "1");
    }
}
