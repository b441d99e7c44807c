//! One budget per host and credential, shared by every connection that uses them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How many requests a vendor allows one credential within a time, whatever the moment at which the time begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Which requests count: those whose route begins so. Empty = all.
    pub of: &'static str,
    /// How many of them.
    pub requests: usize,
    /// In any time of this length.
    pub within: Duration,
}

/// The budgets of this process.
#[derive(Debug, Default)]
pub struct Limiters(Mutex<HashMap<String, Arc<Limit>>>);

impl Limiters {
    /// The budget of one host and credential; the first caller's rates stand.
    pub(crate) fn of(&self, key: String, rates: &'static [Rate]) -> Arc<Limit> {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(limits.entry(key).or_insert_with(|| Arc::new(Limit::new(rates))))
    }
}

/// The budget of one host and credential.
#[derive(Debug)]
pub(crate) struct Limit {
    /// Each rate with when the last requests that it counts were sent, at most as many as it allows.
    sent: Mutex<Vec<(Rate, VecDeque<Instant>)>>,
    pause: Mutex<Option<Instant>>,
}

impl Limit {
    fn new(rates: &[Rate]) -> Self {
        let rates = rates.iter().filter(|rate| rate.requests > 0).map(|rate| (*rate, VecDeque::new()));
        Limit { sent: Mutex::new(rates.collect()), pause: Mutex::new(None) }
    }

    /// How long the next request to this route has to wait; takes one from every budget that counts it when that is nothing.
    pub(crate) fn wait(&self, route: &str) -> Option<Duration> {
        self.wait_at(Instant::now(), route)
    }

    fn wait_at(&self, now: Instant, route: &str) -> Option<Duration> {
        if let Some(until) = *self.pause.lock().unwrap_or_else(PoisonError::into_inner)
            && until > now
        {
            return Some(until - now);
        }
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counting: Vec<_> = sent.iter_mut().filter(|(rate, _)| route.starts_with(rate.of)).collect();
        let free = |(rate, sent): &&mut (Rate, VecDeque<Instant>)| match sent.front() {
            Some(oldest) if sent.len() >= rate.requests => *oldest + rate.within,
            _ => now,
        };
        match counting.iter().map(free).max() {
            Some(free) if free > now => Some(free - now),
            _ => {
                for (rate, sent) in &mut counting {
                    if sent.len() == rate.requests {
                        sent.pop_front();
                    }
                    sent.push_back(now);
                }
                None
            }
        }
    }

    /// Nobody sends before this time has passed: the vendor said so.
    pub(crate) fn pause(&self, time: Duration) {
        self.pause_until(Instant::now() + time);
    }

    fn pause_until(&self, until: Instant) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.is_none_or(|old| old < until) {
            *pause = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    /// When requests to these routes, one after the other, are sent.
    fn times(rates: &'static [Rate], routes: &[&str]) -> Vec<u64> {
        let limit = Limiters::default().of("host".into(), rates);
        let begin = Instant::now();
        let mut now = begin;
        let send = |route: &&str| {
            while let Some(wait) = limit.wait_at(now, route) {
                now += wait;
            }
            (now - begin).as_secs()
        };
        routes.iter().map(send).collect()
    }

    /// Aikido allows 20 requests a minute.
    #[test]
    fn a_slow_rate_lets_so_many_go_at_once_and_the_rest_as_the_time_has_passed() {
        let sent = times(&[Rate { of: "", requests: 20, within: MINUTE }], &["/issues/export"; 61]);
        assert_eq!((sent[0], sent[19], sent[20], sent[39], sent[40], sent[60]), (0, 0, 60, 60, 120, 180));
    }

    /// Defender allows one of its calls 5 times a minute and 20 times an hour.
    #[test]
    fn a_route_has_budgets_of_its_own_and_what_waits_for_one_takes_nothing_of_the_other() {
        const SLOW: &str = "/api/machines/Software";
        const RATES: &[Rate] = &[
            Rate { of: "", requests: 50, within: MINUTE },
            Rate { of: SLOW, requests: 5, within: MINUTE },
            Rate { of: SLOW, requests: 20, within: HOUR },
        ];
        let sent = times(RATES, &[SLOW; 21]);
        assert_eq!((sent[4], sent[5], sent[19], sent[20]), (0, 60, 180, 3600));
        let (limit, now) = (Limiters::default().of("host".into(), RATES), Instant::now());
        (0..5).for_each(|_| assert_eq!(limit.wait_at(now, SLOW), None));
        (0..45).for_each(|_| assert!(limit.wait_at(now, SLOW).is_some(), "and takes nothing"));
        (0..45).for_each(|_| assert_eq!(limit.wait_at(now, "/api/alerts"), None));
        assert_eq!(limit.wait_at(now, "/api/alerts"), Some(MINUTE));
    }

    #[test]
    fn two_connections_with_one_host_and_credential_share_a_budget_and_its_pauses() {
        let (limiters, now) = (Limiters::default(), Instant::now());
        let of = |key: &str| limiters.of(key.into(), &[Rate { of: "", requests: 1, within: MINUTE }]);
        assert_eq!(of("host a").wait_at(now, "/x"), None);
        assert_eq!((of("host a").wait_at(now, "/x"), of("host b").wait_at(now, "/x")), (Some(MINUTE), None));
        of("host a").pause_until(now + HOUR);
        assert_eq!(of("host a").wait_at(now, "/x"), Some(HOUR));
        let free = limiters.of("host c".into(), &[Rate { of: "", requests: 0, within: MINUTE }]);
        assert_eq!((free.wait_at(now, "/x"), free.wait_at(now, "/x")), (None, None));
    }
}
