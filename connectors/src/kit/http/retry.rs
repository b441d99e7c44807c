//! How often a request is sent, and how long is waited in between.

use std::time::Duration;

use backon::BackoffBuilder;
use tracing::{Instrument, field::Empty};

use super::{Attempt, CredentialState, Http, Received};
use crate::{Error, ErrorKind, Recovery, Result, kit::Context};

/// How often one request is sent at most.
pub(super) const ATTEMPTS: u32 = 6;
/// How often an answer is taken that cannot be used: a second one is seldom better.
const UNUSABLE: u32 = 2;
/// How long to wait before an answer that cannot be used is asked for again.
const BEFORE_ANOTHER: Duration = Duration::from_secs(5);
/// Waits longer than this are the next run's business.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Http {
    /// Waits before JSON that cannot be used is asked for again.
    ///
    /// # Errors
    /// The given one, when it was asked for often enough.
    pub(super) async fn asks_again(&self, cx: &Context, time: u32, error: Error) -> Result<()> {
        if time >= UNUSABLE {
            return Err(error.after(time).rewritten(|text| self.without_secrets(text)));
        }
        cx.tries_again(&error.kind);
        cx.sleep(BEFORE_ANOTHER.mul_f64(0.75 + 0.25 * fastrand::f64())).await;
        Ok(())
    }

    /// Sends until it succeeds, as the error's kind allows: full-jitter exponential back-off, the vendor's `Retry-After`,
    /// the shared budget. A credential that is refused is not sent again and again, and a host that has gone silent is left alone.
    ///
    /// # Errors
    /// The last error, with the number of attempts.
    pub(super) async fn attempts<'a>(
        &self,
        cx: &Context,
        route: &str,
        standing: Option<&CredentialState>,
        attempt: &mut (dyn FnMut() -> Attempt<'a> + Send),
    ) -> Result<Received> {
        let host = &*self.0.host;
        let mut delays = Delays::new();
        let (mut refreshed, mut unusable) = (false, 0);
        for number in 1.. {
            self.wait_for_budget(cx, route).await;
            if let Some(silence) = cx.silence(host) {
                return Err(Error::new("preparing the request", ErrorKind::Network(silence.into())));
            }
            let alone = match standing {
                Some(standing) => standing.permit("preparing the request").await?,
                None => None,
            };
            cx.sent(number);
            let sent = tokio::time::Instant::now();
            // The method and the status are known further below.
            let span = tracing::debug_span!("request", method = Empty, route, status = Empty, attempt = number);
            let attempted = attempt().instrument(span).await;
            cx.sends(&self.0.auth.secrets());
            let error = match attempted {
                Ok(done) => {
                    cx.measured(self.0.meta.id, None, sent.elapsed());
                    cx.heard(host, standing.is_none(), None);
                    standing.inspect(|standing| standing.accepted());
                    return Ok(done);
                }
                Err(error) => error.after(number).rewritten(|text| self.without_secrets(text)),
            };
            cx.measured(self.0.meta.id, Some(&error.kind), sent.elapsed());
            let silent = cx.heard(host, standing.is_none(), Some(&error.kind));
            unusable += u32::from(matches!(error.kind, ErrorKind::UnexpectedBody { .. } | ErrorKind::NotAnApi(_)));
            let refused = matches!(error.kind, ErrorKind::Unauthorized(_));
            if refused && !refreshed && self.0.auth.refresh(sent).await {
                refreshed = true;
                cx.tries_again(&error.kind);
                continue;
            }
            if refused {
                standing.inspect(|standing| standing.refused());
            }
            drop(alone);
            let is_last = number >= ATTEMPTS || unusable >= UNUSABLE || silent;
            let wait = if is_last { None } else { self.wait_after(&error.kind, unusable > 0, &mut delays) };
            let Some(wait) = wait else { return Err(error) };
            tracing::debug!(attempt = number, wait_ms = wait.as_millis(), %error, "trying again");
            cx.tries_again(&error.kind);
            match error.kind {
                ErrorKind::Throttled(_) => cx.wait_for_quota(wait).await,
                _ => cx.sleep(wait).await,
            }
        }
        unreachable!("the loop returns at the last attempt")
    }

    /// How long to wait before the next attempt; `None` where another one would not help. A vendor that limits makes everyone
    /// wait who shares the budget. `unusable`: an answer came already that cannot be used.
    fn wait_after(&self, kind: &ErrorKind, unusable: bool, delays: &mut Delays) -> Option<Duration> {
        match kind.recovery() {
            Recovery::Wait(Some(time)) if time > LONGEST_WAIT => None,
            Recovery::Wait(Some(time)) => {
                self.0.limit.pause(time);
                Some(time + delays.failed().mul_f64(0.1 * fastrand::f64()))
            }
            Recovery::Wait(None) => {
                let time = delays.throttled().mul_f64(0.75 + 0.25 * fastrand::f64());
                self.0.limit.pause(time);
                Some(time)
            }
            Recovery::Retry if unusable => Some(BEFORE_ANOTHER.mul_f64(0.75 + 0.25 * fastrand::f64())),
            Recovery::Retry => Some(delays.failed().mul_f64(fastrand::f64())),
            Recovery::Fail | Recovery::Operator | Recovery::Restart => None,
        }
    }

    async fn wait_for_budget(&self, cx: &Context, route: &str) {
        while let Some(wait) = self.0.limit.wait(route) {
            cx.wait_for_quota(wait).await;
            if cx.skips_waits() {
                break;
            }
        }
    }
}

/// How long to wait at most before the next attempt. A failure may pass within a second. A vendor that limits without
/// saying for how long counts by the minute or the hour: all attempts together wait about half an hour.
pub(super) struct Delays {
    failed: backon::ExponentialBackoff,
    throttled: backon::ExponentialBackoff,
}

impl Delays {
    pub(super) fn new() -> Self {
        let all = backon::ExponentialBuilder::default().without_max_times();
        Delays {
            failed: all.with_min_delay(Duration::from_millis(500)).with_max_delay(Duration::from_secs(20)).build(),
            throttled: all.with_factor(4.0).with_min_delay(Duration::from_secs(5)).with_max_delay(Duration::from_secs(1280)).build(),
        }
    }

    fn failed(&mut self) -> Duration {
        self.failed.next().unwrap_or(Duration::from_secs(20))
    }

    pub(super) fn throttled(&mut self) -> Duration {
        self.throttled.next().unwrap_or(Duration::from_secs(1280))
    }
}
