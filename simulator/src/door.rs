//! Credentials and the tokens that they are exchanged for, once for all simulators. A vendor says in its own words who is refused.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::Query,
    http::{HeaderMap, Uri, header},
};

/// What a request has to carry.
#[derive(Clone, Copy, Debug)]
pub enum Credential {
    /// A header of the vendor's own, and its value.
    Header(&'static str, &'static str),
    /// `Authorization` with this word before the secret, such as `Bearer`.
    Scheme(&'static str, &'static str),
    /// User and password.
    Basic(&'static str, &'static str),
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The credential.
    Granted,
    /// Another one of the same form.
    Wrong,
    /// None of this form.
    Missing,
}

impl Credential {
    /// What these headers carry of it.
    pub fn of(&self, headers: &HeaderMap) -> Access {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (given, wanted) = match *self {
            Credential::Header(name, value) => (text(name), value.to_owned()),
            Credential::Scheme(word, secret) => (scheme(headers, word), secret.to_owned()),
            Credential::Basic(user, password) => (scheme(headers, "Basic"), base64(format!("{user}:{password}").as_bytes(), false)),
        };
        given.map_or(Access::Missing, |given| if given == wanted { Access::Granted } else { Access::Wrong })
    }
}

/// What stands behind this word in `Authorization`.
pub fn scheme<'a>(headers: &'a HeaderMap, word: &str) -> Option<&'a str> {
    let (given, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(word).then_some(secret)
}

/// Base64 with padding, or in the alphabet of URLs without.
pub fn base64(bytes: &[u8], for_url: bool) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let others = if for_url { b"-_" } else { b"+/" };
    let letter = |bits: usize| char::from(if bits < 62 { LETTERS[bits] } else { others[bits - 62] });
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0, 0]).take(3).fold(0_usize, |bits, byte| (bits << 8) | usize::from(*byte));
        text.extend((0..=chunk.len()).map(|n| letter((bits >> (18 - 6 * n)) & 63)));
        if !for_url {
            text.extend((chunk.len()..3).map(|_| '='));
        }
    }
    text
}

/// Access tokens with a life.
#[derive(Debug)]
pub struct Tokens {
    life: Duration,
    /// How many requests one serves.
    uses: u32,
    given: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Tokens {
    /// Tokens that live this long, and serve so many requests.
    pub fn new(life: Duration, uses: u32) -> Self {
        Tokens { life, uses, given: Mutex::default() }
    }

    /// How long one lives.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// Gives out a token, which `make` makes of its number.
    pub fn give(&self, make: impl FnOnce(usize) -> String) -> String {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let token = make(given.len());
        given.insert(token.clone(), (Instant::now(), 0));
        token
    }

    /// Whether a token is still good; this is one use of it.
    pub fn accepts(&self, token: &str) -> bool {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((made, used)) = given.get_mut(token) else { return false };
        *used += 1;
        made.elapsed() < self.life && *used <= self.uses
    }
}

/// The members of a form; `None` where the body is none.
pub fn form(headers: &HeaderMap, body: &str) -> Option<HashMap<String, String>> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let uri = format!("/?{body}").parse::<Uri>().ok().filter(|_| kind.starts_with("application/x-www-form-urlencoded"))?;
    Query::try_from_uri(&uri).ok().map(|Query(form)| form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_granted_wrong_or_missing() {
        let of = |name: &'static str, value: &str| HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        let (own, jwt, basic) =
            (Credential::Header("x-api-key", "k"), Credential::Scheme("JWT", "k"), Credential::Basic("Aladdin", "open sesame"));
        for (credential, headers, access) in [
            (own, of("x-api-key", "k"), Access::Granted),
            (own, of("x-api-key", "l"), Access::Wrong),
            (own, of("authorization", "k"), Access::Missing),
            (jwt, of("authorization", "JWT k"), Access::Granted),
            (jwt, of("authorization", "JWT l"), Access::Wrong),
            (jwt, of("authorization", "Bearer k"), Access::Missing),
            (basic, of("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Access::Granted),
            (basic, of("authorization", "Basic QWxhZGRpbg=="), Access::Wrong),
        ] {
            assert_eq!(credential.of(&headers), access, "{credential:?} {headers:?}");
        }
    }

    #[test]
    fn a_token_dies_of_age_or_use() {
        let tokens = Tokens::new(Duration::from_secs(60), 2);
        let token = tokens.give(|number| format!("t{number}"));
        assert_eq!([0; 3].map(|_| tokens.accepts(&token)), [true, true, false]);
        assert!(!tokens.accepts("t9"));
        let dead = Tokens::new(Duration::ZERO, 9);
        assert!(!dead.accepts(&dead.give(|_| "t".to_owned())));
    }
}
