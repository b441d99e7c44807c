//! One budget per host and credential, shared by every connection that uses them.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

/// The budgets of this process.
#[derive(Debug, Default)]
pub struct Limiters(Mutex<HashMap<String, Arc<Limit>>>);

impl Limiters {
    /// The budget of one host and credential; the first caller's rate stands.
    pub(crate) fn of(&self, key: String, rate: Option<(u32, u32)>) -> Arc<Limit> {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(limits.entry(key).or_insert_with(|| Arc::new(Limit::new(rate))))
    }
}

/// The budget of one host and credential.
#[derive(Debug)]
pub(crate) struct Limit {
    rate: Option<DefaultDirectRateLimiter>,
    pause: Mutex<Option<Instant>>,
}

impl Limit {
    fn new(rate: Option<(u32, u32)>) -> Self {
        let quota =
            rate.and_then(|(per_second, burst)| Some(Quota::per_second(NonZeroU32::new(per_second)?).allow_burst(NonZeroU32::new(burst)?)));
        Limit { rate: quota.map(RateLimiter::direct), pause: Mutex::new(None) }
    }

    /// How long the next request has to wait; takes one from the budget when that is nothing.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        if let Some(until) = *self.pause.lock().unwrap_or_else(PoisonError::into_inner)
            && until > now
        {
            return Some(until - now);
        }
        let limiter = self.rate.as_ref()?;
        limiter.check().err().map(|full| full.wait_time_from(governor::clock::Clock::now(limiter.clock())).max(Duration::from_millis(1)))
    }

    /// Nobody sends before this time has passed: the vendor said so.
    pub(crate) fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.is_none_or(|old| old < until) {
            *pause = Some(until);
        }
    }
}
