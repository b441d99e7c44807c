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
    /// OAuth 2: an access token is fetched, kept until 80 % of its life, and fetched anew once when the vendor refuses it.
    OAuth(Arc<Tokens>),
}

impl Auth {
    /// OAuth 2 client credentials (RFC 6749 section 4.4), sent as a form with `client_id` and `client_secret`.
    pub fn client_credentials(token_url: Url, id: &str, secret: Secret) -> Self {
        Auth::OAuth(Arc::new(Tokens::new(token_url, Grant::ClientCredentials { id: id.into(), secret })))
    }

    /// An OAuth 2 refresh token that stays valid (an offline token), exchanged for access tokens as the client `id`.
    pub fn refresh_token(token_url: Url, id: &str, token: Secret) -> Self {
        Auth::OAuth(Arc::new(Tokens::new(token_url, Grant::RefreshToken { id: id.into(), token })))
    }

    /// Adds the credential to a request's headers.
    pub(crate) async fn apply(&self, cx: &Context, client: &reqwest::Client, headers: &mut HeaderMap) -> Result<()> {
        let (name, value) = match self {
            Auth::None => return Ok(()),
            Auth::Bearer(secret) => (AUTHORIZATION, format!("Bearer {}", secret.expose())),
            Auth::Basic(user, secret) => (AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{user}:{}", secret.expose())))),
            Auth::Scheme(word, secret) => (AUTHORIZATION, format!("{word} {}", secret.expose())),
            Auth::BasicToken(token) => (AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{}:", token.expose())))),
            Auth::Header(name, secret) | Auth::Composed(name, secret, _) => (HeaderName::from_static(name), secret.expose().to_owned()),
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
        let (user, secret) = match self {
            Auth::None => return String::new(),
            Auth::Bearer(secret)
            | Auth::BasicToken(secret)
            | Auth::Header(_, secret)
            | Auth::Scheme(_, secret)
            | Auth::Composed(_, secret, _) => ("", secret),
            Auth::Basic(user, secret) => (&**user, secret),
            Auth::OAuth(tokens) => tokens.grant.parts(),
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
            Auth::OAuth(tokens) => [tokens.grant.parts().1.clone()].into_iter().chain(tokens.minted()).collect(),
        }
    }
}

/// Tells one credential from another without telling the credential.
pub(crate) fn fingerprint(user: &str, secret: &Secret) -> String {
    let hash = Sha256::digest(format!("{user}\n{}", secret.expose()));
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
