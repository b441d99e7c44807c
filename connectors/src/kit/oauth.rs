//! OAuth 2 access tokens: fetched when needed, by one request however many wait for it, and kept for most of their life.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use reqwest::{StatusCode, header::HeaderMap};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::{
    Error, ErrorKind, Excerpt, Result,
    kit::{
        Context, Scalar, Secret,
        auth::fingerprint,
        http::{self, FETCHING},
        redact::redact,
    },
};

/// Of its life, how much a token is used: a request under way must not outlive it.
const USED: f64 = 0.8;
/// Life of a token whose answer does not tell.
const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(300);
/// Largest answer of a token endpoint.
const LARGEST: usize = 1 << 20;
/// How many of the last tokens are cut out of what is shown: an answer may name one that was replaced meanwhile.
const REMEMBERED: usize = 8;

/// What is shown for an access token.
#[derive(Clone, Debug)]
pub enum Grant {
    /// A form of RFC 6749: client credentials, a password, a refresh token that stays.
    Form {
        /// The token endpoint.
        url: Url,
        /// Members that are no secret (`grant_type`, `client_id`, `scope`).
        plain: Vec<(&'static str, Box<str>)>,
        /// Members that are secret (`client_secret`).
        secret: Vec<(&'static str, Secret)>,
        /// Whether `client_id` and `client_secret` are sent as `Authorization: Basic` and not in the form.
        basic: bool,
    },
    /// A vendor's own way to a token.
    Login(Arc<dyn Login>),
}

/// A vendor's own way to an access token.
pub trait Login: fmt::Debug + Send + Sync {
    /// Who logs in, as far as that is no secret.
    fn user(&self) -> &str;

    /// The secrets that are sent.
    fn secrets(&self) -> Vec<Secret>;

    /// Logs in.
    fn granted<'a>(&'a self, client: &'a reqwest::Client) -> Pin<Box<dyn Future<Output = Result<Granted>> + Send + 'a>>;
}

/// An access token as it was granted.
#[derive(Debug)]
pub struct Granted {
    /// The access token.
    pub token: Secret,
    /// How long it lives; `None` where nothing tells.
    pub life: Option<Duration>,
    /// A refresh token that came with it. It is not used, and yet nothing to be shown.
    pub rotated: Option<Secret>,
}

impl Granted {
    /// A token with the life that the answer states, in seconds; else the one that the token states of itself (`exp` of a JWT).
    pub fn new(token: Secret, seconds: Option<f64>, rotated: Option<Secret>) -> Self {
        let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).or_else(|| life_of(&token, Timestamp::now()));
        Granted { token, life, rotated }
    }
}

/// How long a JWT lives by its own word.
fn life_of(token: &Secret, now: Timestamp) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.expose().split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let Claims { exp, iat } = serde_json::from_slice(&claims).ok()?;
    // Both by the vendor's clock, where it tells both.
    let from = iat.whole().unwrap_or(now.as_second());
    u64::try_from(exp.whole()?.checked_sub(from)?).ok().map(Duration::from_secs)
}

#[derive(Deserialize)]
struct Claims {
    exp: Scalar,
    #[serde(default)]
    iat: Scalar,
}

impl Grant {
    /// What tells one credential from another: who shows it, and its first secret.
    pub(crate) fn identity(&self) -> String {
        let (user, secrets) = match self {
            Grant::Form { plain, .. } => (plain.iter().map(|(_, value)| &**value).collect::<Vec<_>>().join("\n"), self.secrets()),
            Grant::Login(login) => (login.user().to_owned(), login.secrets()),
        };
        fingerprint(&user, secrets.first().unwrap_or(&Secret::new("")))
    }

    /// The secrets that are shown.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match self {
            Grant::Form { plain, secret, basic, .. } => {
                let mut all: Vec<Secret> = secret.iter().map(|(_, secret)| secret.clone()).collect();
                let id = plain.iter().find(|(name, _)| *name == "client_id").map_or("", |(_, id)| id);
                // What stands in the header is as good as the secret in it, and an answer may show it in any form.
                let shown = secret.iter().find(|(name, _)| *basic && *name == "client_secret");
                all.extend(shown.map(|(_, secret)| Secret::new(&STANDARD.encode(format!("{id}:{}", secret.expose())))));
                all
            }
            Grant::Login(login) => login.secrets(),
        }
    }
}

/// Where a browser is sent after a consent that a person gave there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct RedirectUrls {
    /// After it was given.
    #[serde(default)]
    pub success: Option<String>,
    /// After it was refused.
    #[serde(default)]
    pub error: Option<String>,
}

/// Access tokens of one grant.
#[derive(Debug)]
pub struct Tokens {
    pub(crate) grant: Grant,
    kept: Mutex<Kept>,
    minted: StdMutex<Vec<Secret>>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    /// When a token was last forgotten because the vendor refused it.
    forgotten: Option<Instant>,
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    fetched: Instant,
    until: Instant,
}

impl Tokens {
    pub(crate) fn new(grant: Grant) -> Self {
        Tokens { grant, kept: Mutex::default(), minted: StdMutex::default() }
    }

    /// A token that lives.
    pub(crate) async fn get(&self, cx: &Context, client: &reqwest::Client) -> Result<Secret> {
        // The lock is held over the request on purpose: whoever waits for it finds the fresh token.
        let mut kept = self.kept.lock().await;
        if let Some(token) = &kept.token
            && Instant::now() < token.until
        {
            return Ok(token.secret.clone());
        }
        kept.token = None;
        let asked = Instant::now();
        let granted = match &self.grant {
            Grant::Form { url, plain, secret, basic } => self.fetch(cx, request(client.post(url.clone()), plain, secret, *basic)).await?,
            Grant::Login(login) => login.granted(client).await.map_err(|error| error.rewritten(|text| self.without_secrets(text)))?,
        };
        match granted.token.expose() {
            token if token.trim().is_empty() => return Err(unusable("the token is empty")),
            token if token.contains(char::REPLACEMENT_CHARACTER) => return Err(unusable("the token holds bytes that are not UTF-8")),
            _ => self.remember(&granted.token),
        }
        granted.rotated.iter().for_each(|token| self.remember(token));
        let until = asked + granted.life.unwrap_or(DEFAULT_TOKEN_LIFE).min(Duration::from_secs(7 * 86_400)).mul_f64(USED);
        kept.token = Some(Token { secret: granted.token.clone(), fetched: Instant::now(), until });
        Ok(granted.token)
    }

    /// A request that was begun at `sent` was refused: true when it is worth sending once more, with another token. However
    /// many requests are refused with one token, it is forgotten once, and never the fresh one that followed it.
    pub(crate) async fn refused(&self, sent: Instant) -> bool {
        let mut kept = self.kept.lock().await;
        match &kept.token {
            Some(token) if token.fetched <= sent => {
                *kept = Kept { token: None, forgotten: Some(Instant::now()) };
                true
            }
            Some(_) => true,
            None => kept.forgotten.is_some_and(|at| at >= sent),
        }
    }

    /// The newest tokens, for cutting them out of what is shown.
    pub(crate) fn minted(&self) -> Vec<Secret> {
        self.minted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, token: &Secret) {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        if minted.len() == REMEMBERED {
            minted.remove(0);
        }
        minted.push(token.clone());
    }

    fn without_secrets(&self, text: &str) -> String {
        self.grant.secrets().iter().fold(text.to_owned(), |text, secret| redact(&text, secret))
    }

    async fn fetch(&self, cx: &Context, request: reqwest::RequestBuilder) -> Result<Granted> {
        let answer = request.send().await.map_err(|error| http::network(FETCHING, error))?;
        let (status, headers, body) = http::receive(FETCHING, answer, LARGEST).await?;
        tracing::debug!(status = status.as_u16(), "access token");
        let http::Text { text, odd } = http::read(body, LARGEST).map_err(|kind| Error::new(FETCHING, kind))?;
        if !status.is_success() {
            return Err(Error::new(FETCHING, self.refusal(status, &headers, &text)));
        }
        for what in odd {
            cx.warn(format!("the answer with the access token {what}"));
        }
        match serde_json::from_str::<Answer>(&text) {
            Ok(Answer { access_token, refresh_token, expires_in, token_ttl }) => {
                let life = expires_in.number().or(token_ttl.number());
                Ok(Granted::new(access_token, life, refresh_token.text().map(Secret::new)))
            }
            Err(_) if http::is_page(text.as_bytes()) => {
                Err(Error::new(FETCHING, ErrorKind::NotAnApi("a web page came instead of an access token".into())))
            }
            // The body is never shown: a token may be in it.
            Err(_) => Err(unusable("no token in the answer")),
        }
    }

    /// The endpoint's own words for a refusal: 400 and 401 are about the credential, anything else is what it is elsewhere.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, text: &str) -> ErrorKind {
        let told = match serde_json::from_str::<Refusal>(text) {
            Ok(Refusal { error: Some(error), error_description: Some(description) }) => [error, ": ".into(), description].concat(),
            Ok(Refusal { error: Some(told), .. } | Refusal { error_description: Some(told), .. }) => told,
            _ => text[..text.floor_char_boundary(16 << 10)].to_owned(),
        };
        let told = Excerpt::new(&self.without_secrets(&told));
        match status.as_u16() {
            status @ (400 | 401) => ErrorKind::Unauthorized(Excerpt::new(&format!("status {status} from the token endpoint, {told}"))),
            _ => http::refusal(status, headers, told),
        }
    }
}

/// A request with the members of a form, or with the client before it.
fn request(
    request: reqwest::RequestBuilder,
    plain: &[(&'static str, Box<str>)],
    secret: &[(&'static str, Secret)],
    basic: bool,
) -> reqwest::RequestBuilder {
    let all = plain.iter().map(|(name, value)| (*name, &**value)).chain(secret.iter().map(|(name, value)| (*name, value.expose())));
    let (client, form): (Vec<_>, Vec<_>) = all.partition(|(name, _)| basic && matches!(*name, "client_id" | "client_secret"));
    let member = |wanted: &str| client.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| *value);
    let request = request.header("accept", "application/json").form(&form);
    if basic { request.basic_auth(member("client_id"), Some(member("client_secret"))) } else { request }
}

/// An answer without a token that could be used.
fn unusable(reason: &str) -> Error {
    Error::new(FETCHING, ErrorKind::UnexpectedBody { path: "access_token".into(), reason: reason.into() })
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    #[serde(default)]
    refresh_token: Scalar,
    #[serde(default)]
    expires_in: Scalar,
    #[serde(default, rename = "tokenTTL")]
    token_ttl: Scalar,
}

#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
}

#[cfg(test)]
mod tests;
