//! How a request proves who sends it.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::Url;

use crate::{
    Error, ErrorKind, Result,
    kit::{
        Context, Secret,
        oauth::{Grant, Tokens},
    },
};

/// The kinds of authentication that vendors ask for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// Nothing, or the caller signs by itself (AWS).
    None,
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// `Authorization: Basic …`. Where the password is empty the user is the secret: a token in its place.
    Basic(Secret, Secret),
    /// `Authorization` with a scheme word of the vendor's own.
    Scheme(&'static str, Secret),
    /// A header of the vendor's own, and the secrets that its value is made of.
    Header(&'static str, Secret, Vec<Secret>),
    /// OAuth 2: an access token is fetched, kept until 80 % of its life, and fetched anew once when the vendor refuses it.
    OAuth(Arc<Tokens>),
}

impl Auth {
    /// A header of the vendor's own, holding the bare secret.
    pub fn header(name: &'static str, secret: Secret) -> Self {
        Auth::Header(name, secret.clone(), vec![secret])
    }

    /// Access tokens that are granted so.
    pub fn granted(grant: Grant) -> Self {
        Auth::OAuth(Arc::new(Tokens::new(grant)))
    }

    /// OAuth 2 client credentials (RFC 6749 section 4.4), sent as a form with `client_id` and `client_secret`.
    pub fn client_credentials(url: Url, id: &str, secret: Secret) -> Self {
        let plain = vec![("grant_type", "client_credentials".into()), ("client_id", id.into())];
        Auth::granted(Grant::Form { url, plain, secret: vec![("client_secret", secret)], basic: false })
    }

    /// An OAuth 2 refresh token that stays valid (an offline token), exchanged for access tokens as the client `id`.
    pub fn refresh_token(url: Url, id: &str, token: Secret) -> Self {
        let plain = vec![("grant_type", "refresh_token".into()), ("client_id", id.into())];
        Auth::granted(Grant::Form { url, plain, secret: vec![("refresh_token", token)], basic: false })
    }

    /// Adds the credential to a request's headers.
    pub(crate) async fn apply(&self, cx: &Context, client: &reqwest::Client, headers: &mut HeaderMap) -> Result<()> {
        let (name, value) = match self {
            Auth::None => return Ok(()),
            Auth::Bearer(secret) => (AUTHORIZATION, format!("Bearer {}", secret.expose())),
            Auth::Basic(user, secret) => {
                (AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{}:{}", user.expose(), secret.expose()))))
            }
            Auth::Scheme(word, secret) => (AUTHORIZATION, format!("{word} {}", secret.expose())),
            Auth::Header(name, secret, _) => (HeaderName::from_static(name), secret.expose().to_owned()),
            Auth::OAuth(tokens) => (AUTHORIZATION, format!("Bearer {}", tokens.get(cx, client).await?.expose())),
        };
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| {
            Error::new("preparing the request", ErrorKind::Settings("the secret holds characters that no header can carry".into()))
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }

    /// Forgets what can be fetched anew; true when a refused request, begun at `sent`, is worth sending once more.
    pub(crate) async fn refresh(&self, sent: Instant) -> bool {
        match self {
            Auth::OAuth(tokens) => tokens.refused(sent).await,
            _ => false,
        }
    }

    /// What tells one credential's budget from another's, without telling the credential.
    pub(crate) fn identity(&self) -> String {
        match self {
            Auth::None => String::new(),
            Auth::Bearer(secret) | Auth::Header(_, secret, _) | Auth::Scheme(_, secret) => fingerprint("", secret),
            Auth::Basic(token, password) if password.expose().is_empty() => fingerprint("", token),
            Auth::Basic(user, password) => fingerprint(user.expose(), password),
            Auth::OAuth(tokens) => tokens.grant.identity(),
        }
    }

    /// The secrets that an answer might echo.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match self {
            Auth::None => Vec::new(),
            Auth::Bearer(secret) | Auth::Scheme(_, secret) => vec![secret.clone()],
            Auth::Basic(token, password) if password.expose().is_empty() => vec![token.clone()],
            Auth::Basic(_, password) => vec![password.clone()],
            Auth::Header(_, _, secrets) => secrets.clone(),
            Auth::OAuth(tokens) => tokens.grant.secrets().into_iter().chain(tokens.minted()).collect(),
        }
    }
}

/// Tells one credential from another without telling the credential.
pub(crate) fn fingerprint(user: &str, secret: &Secret) -> String {
    let hash = Sha256::digest(format!("{user}\n{}", secret.expose()));
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
