//! Who may ask what, and how often: keys, the policy, and the limits of requests.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Instant,
};

use jiff::Timestamp;

use super::{ACCOUNT, AwsSecurityHub, refusal::Refusal, signature::Signed};

/// A key that may sign requests.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
    pub(super) until: Option<Timestamp>,
    pub(super) arn: String,
    pub(super) is_role: bool,
}

/// Who signed a request.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) arn: String,
    pub(super) is_role: bool,
}

#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl AwsSecurityHub {
    /// Who signed this request for this service.
    pub(super) fn authenticate(&self, request: Signed<'_>, service: &str) -> Result<Caller, Refusal> {
        let claim = request.claim()?;
        let sessions = self.sessions();
        let credential = std::iter::once(&self.user).chain(sessions.iter()).find(|credential| credential.key == claim.key);
        let credential = credential.filter(|credential| credential.token.as_deref() == request.header("x-amz-security-token"));
        let Some(credential) = credential else { return Err(unrecognized()) };
        let now = self.now();
        if credential.until.is_some_and(|until| until <= now) {
            return Err(Refusal::front_door(403, "ExpiredTokenException", "The security token included in the request is expired"));
        }
        request.verify(&claim, &credential.secret, self.region(), service, now)?;
        Ok(Caller { arn: credential.arn.clone(), is_role: credential.is_role })
    }

    /// Whether this caller may do this here.
    pub(super) fn authorize(&self, caller: &Caller, action: &str) -> Result<(), Refusal> {
        if self.denied.contains(action) || self.role.is_some() && !caller.is_role {
            return Err(self.denied(caller, action));
        }
        if !self.subscribed {
            let message = format!("Account {ACCOUNT} is not subscribed to AWS Security Hub");
            return Err(Refusal::modelled(401, "InvalidAccessException", message));
        }
        Ok(())
    }

    pub(super) fn denied(&self, caller: &Caller, action: &str) -> Refusal {
        let message = format!(
            "User: {} is not authorized to perform: securityhub:{action} on resource: {} because no identity-based policy allows the securityhub:{action} action",
            caller.arn,
            self.hub_arn()
        );
        Refusal::modelled(403, "AccessDeniedException", message)
    }

    pub(super) fn throttle(&self, is_find: bool) -> Result<(), Refusal> {
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let is_over = self.buckets.as_ref().is_some_and(|buckets| {
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            !buckets[usize::from(!is_find)].take()
        });
        if !is_over && (self.throttle_every == 0 || !count.is_multiple_of(self.throttle_every)) {
            return Ok(());
        }
        Err(match count / self.throttle_every.max(1) % 3 {
            1 => Refusal::front_door(429, "TooManyRequestsException", "Too Many Requests"),
            2 => Refusal::front_door(400, "ThrottlingException", "Rate exceeded"),
            _ => Refusal::modelled(
                429,
                "LimitExceededException",
                "The request was rejected because it would exceed the limits of this account.",
            ),
        })
    }
}

impl Bucket {
    pub(super) fn new(per_second: f64, burst: f64) -> Self {
        Bucket { per_second, burst, tokens: burst, at: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

pub(super) fn unrecognized() -> Refusal {
    Refusal::front_door(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
}
