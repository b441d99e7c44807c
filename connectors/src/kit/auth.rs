//! How a request proves who sends it.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::{Error, Excerpt, Kind, Result, kit::Secret};

/// The kinds of authentication that vendors ask for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// Nothing, or the caller signs by itself (AWS).
    None,
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic(Box<str>, Secret),
    /// `Authorization` with a scheme word of the vendor's own.
    Scheme(&'static str, Secret),
    /// `Authorization: Basic …` with a token in the place of the user and an empty password.
    BasicToken(Secret),
    /// A header of the vendor's own, holding the bare secret.
    Header(&'static str, Secret),
    /// A header of the vendor's own with a value made of several secrets, and those secrets.
    Composed(&'static str, Secret, Vec<Secret>),
    /// OAuth 2 client credentials: a token is fetched from this URL, kept until 80 % of its life, and fetched anew once
    /// when the vendor refuses it.
    ClientCredentials(Arc<ClientCredentials>),
}

impl Auth {
    /// OAuth 2 client credentials (RFC 6749 section 4.4), sent as a form with `client_id` and `client_secret`.
    pub fn client_credentials(token_url: Url, id: &str, secret: Secret) -> Self {
        Auth::ClientCredentials(Arc::new(ClientCredentials { token_url, id: id.into(), secret, token: Mutex::new(None) }))
    }

    /// Adds the credential to a request's headers.
    pub(crate) async fn apply(&self, client: &reqwest::Client, headers: &mut HeaderMap) -> Result<()> {
        let (name, value) = match self {
            Auth::None => return Ok(()),
            Auth::Bearer(secret) => (AUTHORIZATION, format!("Bearer {}", secret.expose())),
            Auth::Basic(user, secret) => (AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{user}:{}", secret.expose())))),
            Auth::Scheme(word, secret) => (AUTHORIZATION, format!("{word} {}", secret.expose())),
            Auth::BasicToken(token) => (AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{}:", token.expose())))),
            Auth::Header(name, secret) | Auth::Composed(name, secret, _) => (HeaderName::from_static(name), secret.expose().to_owned()),
            Auth::ClientCredentials(client_credentials) => {
                (AUTHORIZATION, format!("Bearer {}", client_credentials.token(client).await?.expose()))
            }
        };
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| {
            Error::new("preparing the request", Kind::Settings("the secret holds characters that no header can carry".into()))
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }

    /// Forgets what can be fetched anew; true when a refused request is worth sending once more.
    pub(crate) async fn refresh(&self) -> bool {
        match self {
            Auth::ClientCredentials(client_credentials) => client_credentials.token.lock().await.take().is_some(),
            _ => false,
        }
    }

    /// What tells one credential's budget from another's, without telling the credential.
    pub(crate) fn identity(&self) -> String {
        let (user, secret) = match self {
            Auth::None => return String::new(),
            Auth::Bearer(secret)
            | Auth::BasicToken(secret)
            | Auth::Header(_, secret)
            | Auth::Scheme(_, secret)
            | Auth::Composed(_, secret, _) => ("", secret),
            Auth::Basic(user, secret) => (&**user, secret),
            Auth::ClientCredentials(client_credentials) => (&*client_credentials.id, &client_credentials.secret),
        };
        fingerprint(user, secret)
    }

    /// The secrets that an answer might echo.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match self {
            Auth::None => Vec::new(),
            Auth::Bearer(secret)
            | Auth::BasicToken(secret)
            | Auth::Header(_, secret)
            | Auth::Scheme(_, secret)
            | Auth::Basic(_, secret) => vec![secret.clone()],
            Auth::Composed(_, _, secrets) => secrets.clone(),
            Auth::ClientCredentials(client_credentials) => vec![client_credentials.secret.clone()],
        }
    }
}

/// Tells one credential from another without telling the credential.
pub(crate) fn fingerprint(user: &str, secret: &Secret) -> String {
    let hash = Sha256::digest(format!("{user}\n{}", secret.expose()));
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A client whose access tokens are fetched when needed, by one request however many wait for it.
#[derive(Debug)]
pub struct ClientCredentials {
    token_url: Url,
    id: Box<str>,
    secret: Secret,
    token: Mutex<Option<(Secret, Instant)>>,
}

impl ClientCredentials {
    async fn token(&self, client: &reqwest::Client) -> Result<Secret> {
        // The lock is held over the request on purpose: whoever waits for it finds the fresh token.
        let mut token = self.token.lock().await;
        if let Some((secret, until)) = &*token
            && Instant::now() < *until
        {
            return Ok(secret.clone());
        }
        let doing = "fetching an access token";
        let form = [("grant_type", "client_credentials"), ("client_id", &*self.id), ("client_secret", self.secret.expose())];
        let answer = client.post(self.token_url.clone()).form(&form).send().await.map_err(|error| super::http::network(doing, error))?;
        let status = answer.status();
        if !status.is_success() {
            let kind = match status.as_u16() {
                429 => Kind::Throttled(None),
                400..=499 => Kind::Unauthorized(Excerpt::new(&format!("status {status} from the token endpoint"))),
                other => Kind::Vendor { status: other, body: Excerpt::new("token endpoint") },
            };
            return Err(Error::new(doing, kind));
        }
        let shape = |_| Error::new(doing, Kind::Shape { path: "access_token".into(), reason: "no token in the answer".into() });
        let granted: Granted = answer.json().await.map_err(shape)?;
        let life = Duration::from_secs(granted.expires_in.unwrap_or(300)).mul_f64(0.8);
        *token = Some((granted.access_token.clone(), Instant::now() + life));
        Ok(granted.access_token)
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    expires_in: Option<u64>,
}
