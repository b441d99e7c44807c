//! AWS: the SDK puts requests together, signs them and names the errors; sending, budget, retries, caps and decoding are the
//! kit's.
//!
//! The SDK gets this program's HTTP client as its own ([`HttpBridge`]); its retries, timeouts and log lines are off. An interceptor
//! ([`BodyCapture`]) takes the body of a good answer away before the SDK reads it, as one odd value would lose it the whole page. A
//! role is assumed here, ahead of the request: the failure of an SDK credentials provider looks like a broken network.

mod bridge;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, future},
};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{StatusCode, header::HeaderMap};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

pub(crate) use bridge::BodyCapture;
use bridge::{HttpBridge, plain};

use super::{
    auth::fingerprint,
    http::{Attempt, Form, Received, date, refusal, retry_after},
    redact::redact,
};
use crate::{
    Error, ErrorKind, Excerpt, Meta, Result,
    kit::{Auth, Context, Endpoint, Http, Location, Secret},
    model::text,
};

/// Every role may be assumed for an hour; its credentials are fetched anew before that is over.
const ROLE_SECONDS: i32 = 3600;
const ROLE_RENEWAL: Duration = Duration::from_secs(50 * 60);
/// AWS refuses signatures that are five minutes off.
const SKEW_MINUTES: i64 = 4;

/// What a user gives to be let in.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) access_key: Secret,
    pub(crate) secret_key: Secret,
    pub(crate) session_token: Option<Secret>,
    pub(crate) role_arn: Option<String>,
    pub(crate) external_id: Option<String>,
}

/// One AWS service at one endpoint, reached with one credential.
#[derive(Debug)]
pub(crate) struct Aws {
    http: Http,
    region: Box<str>,
    config: SdkConfig,
    given: Credentials,
    current: Current,
    role: Option<Role>,
}

#[derive(Debug)]
struct Role {
    sts: aws_sdk_sts::Client,
    arn: String,
    external_id: Option<String>,
    /// Until when the current credentials are the role's. Held while they are fetched: whoever waits finds the new ones.
    until: tokio::sync::Mutex<Option<Instant>>,
}

impl Aws {
    /// A client for a service at the link's location: an endpoint's URL or a bare region. `region` is needed where the host
    /// does not name it. STS is asked at AWS's own endpoint of that region; on loopback, where tests are, at the location.
    ///
    /// # Errors
    /// `ErrorKind::Settings` when the region is not known, or `location` and `region` do not agree.
    pub(crate) fn open(service: &str, meta: &'static Meta, mut link: Endpoint, keys: Keys, region: Option<&str>) -> Result<Self> {
        let (location, region) = endpoint(service, &link.location, region)?;
        link.location = location.clone();
        let role_arn = keys.role_arn.filter(|arn| !arn.trim().is_empty());
        let identity = fingerprint(role_arn.as_deref().unwrap_or_default(), &keys.access_key);
        let http = link.http_as(meta, Auth::None, &identity)?;
        let token = keys.session_token.as_ref().map(|token| token.expose().trim().to_owned());
        let given = Credentials::new(keys.access_key.expose().trim(), keys.secret_key.expose().trim(), token, None, "connection");
        let current = Current(Arc::new(RwLock::new(given.clone())));
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_string()))
            .endpoint_url(location.to_string())
            .http_client(HttpBridge(http.clone()))
            .credentials_provider(SharedCredentialsProvider::new(current.clone()))
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .sleep_impl(TokioSleep::new())
            // A wrong clock is told, not followed: what a proxy says in `Date` must not spoil signatures.
            .disable_clock_skew_correction(true)
            .build();
        let role = role_arn.map(|arn| {
            let sts = aws_sdk_sts::config::Builder::from(&config).credentials_provider(given.clone());
            let sts = if location.is_loopback() { sts } else { unset_endpoint(sts) };
            Role {
                sts: aws_sdk_sts::Client::from_conf(sts.build()),
                arn,
                external_id: keys.external_id,
                until: tokio::sync::Mutex::default(),
            }
        });
        Ok(Aws { http, region, config, given, current, role })
    }

    /// What a service's client is made of.
    pub(crate) fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// The region of the endpoint.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// The endpoint that requests go to.
    pub(crate) fn location(&self) -> &Location {
        self.http.location()
    }

    /// Sends one operation, with the kit's budget and retries, and decodes its JSON answer. The operation's future is made
    /// anew for each attempt and has to carry the tap: `client.op().customize().interceptor(tap).send()`.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub(crate) async fn send<T, O, E, F>(&self, cx: &Context, doing: &str, operation: impl Fn(BodyCapture) -> F + Sync) -> Result<T>
    where
        T: DeserializeOwned + Send,
        O: Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<O, SdkError<E, HttpResponse>>> + Send,
    {
        let operation = &operation;
        let mut attempt = || -> Attempt<'_> {
            Box::pin(async move {
                let done = self.once(cx, doing, operation).await;
                done.map_err(|error| error.rewritten(|text| self.without_secrets(text)))
            })
        };
        let answer = self.http.ask(cx, "", Some(self.http.standing()), &mut attempt).await;
        answer.map(|answer| answer.body).map_err(|error| error.rewritten(|text| self.without_secrets(text)))
    }

    async fn once<O, E, F>(&self, cx: &Context, doing: &str, operation: impl Fn(BodyCapture) -> F + Sync) -> Result<Received>
    where
        O: Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<O, SdkError<E, HttpResponse>>> + Send,
    {
        cx.sends(&self.secrets());
        self.assume(cx).await?;
        cx.sends(&self.secrets());
        let tap = BodyCapture::default();
        let started = Instant::now();
        let sent = quietly(operation(tap.clone())).await;
        let Some((headers, body)) = tap.take() else {
            let error = sent.err().map(|error| self.failure(cx, doing, &error));
            let error = error.unwrap_or_else(|| Error::new(doing, ErrorKind::Network("no answer was seen".into())));
            if let (Some(role), ErrorKind::Unauthorized(_)) = (&self.role, &error.kind) {
                *role.until.lock().await = None;
            }
            return Err(error);
        };
        let body = Bytes::copy_from_slice(body.bytes().unwrap_or_default());
        cx.answered(date(&headers));
        cx.received(body.len());
        tracing::debug!(doing, bytes = body.len(), took_ms = started.elapsed().as_millis(), "request");
        self.http.receive(cx, doing, headers, body, Form::Json)
    }

    /// Makes the role's credentials the current ones, unless they are.
    async fn assume(&self, cx: &Context) -> Result<()> {
        let Some(role) = &self.role else { return Ok(()) };
        let mut until = role.until.lock().await;
        if until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let doing = "assuming the role of `role_arn` through STS";
        cx.sent(1);
        let request = role.sts.assume_role().role_arn(&role.arn).role_session_name("tributary").duration_seconds(ROLE_SECONDS);
        let answer = quietly(request.set_external_id(role.external_id.clone()).send()).await.map_err(|error| {
            let error = self.failure(cx, doing, &error);
            if !matches!(error.kind, ErrorKind::Forbidden(_)) {
                return error;
            }
            error.with_hint(
                "let the access key's user call sts:AssumeRole on `role_arn`, and let the role's trust policy name that user and this \
                 `external_id`",
            )
        })?;
        let shape =
            || Error::new(doing, ErrorKind::UnexpectedBody { path: "Credentials".into(), reason: "no credentials in the answer".into() });
        let granted = answer.credentials().ok_or_else(shape)?;
        let token = Some(granted.session_token().to_owned());
        self.current.set(Credentials::new(granted.access_key_id(), granted.secret_access_key(), token, None, "role"));
        *until = Some(Instant::now() + ROLE_RENEWAL);
        Ok(())
    }

    /// What an error of the SDK is in our words.
    fn failure<E>(&self, cx: &Context, doing: &str, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let Some(answer) = error.raw_response() else { return Error::new(doing, self.unanswered(error)) };
        let headers = plain(answer.headers());
        let (ours, theirs) = (Timestamp::now(), date(&headers));
        cx.answered(theirs);
        let told = String::from_utf8_lossy(answer.body().bytes().unwrap_or_default());
        let code = error.code().or(xml(&told, "Code")).unwrap_or_default();
        let message = error.message().or(xml(&told, "Message")).unwrap_or_default();
        let body = if code.is_empty() { self.excerpt(&told) } else { self.excerpt(&format!("{code}: {}", text::plain(message))) };
        let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = Error::new(doing, kind(status, code, &headers, body));
        match (&error.kind, theirs) {
            (ErrorKind::Unauthorized(_), Some(theirs)) if skew(ours, theirs).abs() >= SKEW_MINUTES => {
                let minutes = skew(ours, theirs);
                let way = if minutes < 0 { "behind" } else { "ahead of" };
                error.with_hint(format!("the local clock is {} min off ({way} AWS's): set it right, AWS accepts at most 5", minutes.abs()))
            }
            (ErrorKind::Unauthorized(_), _) => error.with_hint(advice(code)),
            _ => error,
        }
    }

    /// Why there was no answer: what our own client said, where it came that far.
    fn unanswered(&self, error: &(dyn std::error::Error + 'static)) -> ErrorKind {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(ours) = error.downcast_ref::<Error>() {
                return ours.kind.clone();
            }
            text = format!("{text}: {error}");
            cause = error.source();
        }
        ErrorKind::Network(self.excerpt(&text).to_string().into())
    }

    /// The beginning of a text without credentials.
    fn excerpt(&self, text: &str) -> Excerpt {
        Excerpt::new(&self.without_secrets(text))
    }

    /// AWS tells what it computed a signature over, and which key it was asked with.
    fn without_secrets(&self, text: &str) -> String {
        self.secrets().iter().fold(text.to_owned(), |text, secret| redact(&text, secret))
    }

    /// What must not be shown of the given and the current credentials.
    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = Vec::new();
        for credentials in [&self.given, &self.current.get()] {
            let parts = [Some(credentials.access_key_id()), Some(credentials.secret_access_key()), credentials.session_token()];
            secrets.extend(parts.into_iter().flatten().map(Secret::new));
        }
        secrets
    }
}

/// The credentials in use: the SDK asks for them at every request.
#[derive(Clone)]
struct Current(Arc<RwLock<Credentials>>);

impl Current {
    fn get(&self) -> Credentials {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, credentials: Credentials) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(…)")
    }
}

impl ProvideCredentials for Current {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Ok(self.get()))
    }
}

/// The SDK's log lines show whole answers and what is signed: none of them gets out. Boxed, as its futures are large.
fn quietly<T>(work: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    Box::pin(work).with_subscriber(NoSubscriber::default())
}

fn unset_endpoint(mut builder: aws_sdk_sts::config::Builder) -> aws_sdk_sts::config::Builder {
    builder.set_endpoint_url(None);
    builder
}

/// What an element of an error in XML holds, which AWS's gateways answer with where a service speaks JSON.
fn xml<'a>(body: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{element}>"))?;
    rest.split_once('<').map(|(content, _)| content.trim()).filter(|content| !content.is_empty())
}

/// By how many minutes our clock is ahead.
fn skew(ours: Timestamp, theirs: Timestamp) -> i64 {
    ours.duration_since(theirs).as_mins()
}

/// What an AWS error means: its name tells more than its status.
fn kind(status: StatusCode, code: &str, headers: &HeaderMap, body: Excerpt) -> ErrorKind {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "SlowDown" => ErrorKind::Throttled(retry_after(headers)),
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "InvalidAccessException" | "OptInRequired" => {
            ErrorKind::Forbidden(body)
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => ErrorKind::Unauthorized(body),
        _ => refusal(status, headers, body),
    }
}

fn advice(code: &str) -> &'static str {
    match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            "the temporary credentials have expired: give fresh ones, or the key of an IAM user, which does not expire"
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => "`secret_key` does not belong to `access_key`",
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "InvalidToken" => {
            "check `access_key`: AWS does not know it in this region; a key that begins with ASIA needs its `session_token`"
        }
        _ => "check `access_key` and `secret_key`",
    }
}

/// The endpoint and region that a location and a `region` field stand for.
fn endpoint(service: &str, location: &Location, given: Option<&str>) -> Result<(Location, Box<str>)> {
    let wrong = |what: String| Error::new("reading `location`", ErrorKind::Settings(what.into()));
    let given = given.map(str::trim).filter(|region| !region.is_empty());
    if let Some(region) = given.filter(|region| !is_region(region)) {
        return Err(wrong(format!("`region` is {}, which is no AWS region such as us-east-1", Excerpt::new(region))));
    }
    let host = location.host();
    let fips = format!("{service}-fips");
    let labels: Vec<&str> = host.split('.').collect();
    let named = match labels[..] {
        [region] if is_region(region) => Some(region),
        [name, region, ..] if name == service || name == fips => {
            let domain = labels[2..].join(".");
            let ours = ["amazonaws.com", "api.aws", "amazonaws.com.cn", "api.amazonwebservices.com.cn"];
            (ours.contains(&&*domain) && is_region(region)).then_some(region)
        }
        _ => None,
    };
    let region = match (named, given) {
        (Some(named), Some(given)) if named != given => {
            return Err(wrong(format!("`location` is in {named}, but `region` says {given}; keep one of them")));
        }
        (Some(region), _) | (None, Some(region)) => region,
        (None, None) => return Err(wrong(format!("the region cannot be told from the host {host}; set `region`, such as us-east-1"))),
    };
    if labels.len() > 1 || named.is_none() {
        return Ok((location.clone(), region.into()));
    }
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Ok((Location::parse(&format!("https://{service}.{region}.{domain}"), false)?, region.into()))
}

/// Whether a text has the form of a region: `us-east-1`, `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [first, middle @ .., last] = &parts[..] else { return false };
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    !middle.is_empty()
        && letters(first)
        && middle.iter().all(|part| letters(part))
        && !last.is_empty()
        && last.bytes().all(|byte| byte.is_ascii_digit())
}
