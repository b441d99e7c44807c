//! What an answer means: its status, its headers, its body of another shape, or that none came.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{
    StatusCode,
    header::{self, HeaderMap},
};
use url::Url;

use super::body::is_page;
use crate::{
    Error, ErrorKind, Excerpt,
    error::{ERROR_PAGE, LOG_IN_PAGE, NO_TLS},
    kit::{items::without_values, mend::whereabouts},
};

/// What a good status means whose body is not the expected JSON. Without an excerpt nothing of the body is told.
pub(super) fn shape(headers: &HeaderMap, text: &str, error: &serde_json::Error, excerpt: Option<Excerpt>) -> ErrorKind {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("nothing said");
    // Only in whole JSON is there a place to be named.
    let (path, why) = if error.is_data() { whereabouts(text, error) } else { (".".to_owned(), error.to_string()) };
    let (path, reason) = match excerpt {
        _ if text.trim().is_empty() => (path, "the body is empty".to_owned()),
        _ if is_page(text.as_bytes()) => return ErrorKind::NotAnApi(format!("a web page came instead of JSON ({kind})").into()),
        Some(excerpt) => (path, format!("{why} (content type {kind}): {excerpt}")),
        None => (".".to_owned(), format!("{} (content type {kind}, {} bytes)", without_values(&why), text.len())),
    };
    ErrorKind::UnexpectedBody { path: path.into(), reason: reason.into() }
}

/// What a status other than success means.
pub(crate) fn refusal(status: StatusCode, headers: &HeaderMap, body: Excerpt) -> ErrorKind {
    match status.as_u16() {
        300..=399 => ErrorKind::Redirect(target(headers).into()),
        401 => ErrorKind::Unauthorized(Excerpt::new(&format!("status 401, {body}"))),
        403 => ErrorKind::Forbidden(Excerpt::new(&format!("status 403, {body}"))),
        429 => ErrorKind::Throttled(retry_after(headers)),
        503 if headers.contains_key(header::RETRY_AFTER) => ErrorKind::Throttled(retry_after(headers)),
        status @ (408 | 500..=599) => ErrorKind::Vendor { status, body },
        status => ErrorKind::Refused { status, body },
    }
}

/// Where a redirect leads, without what may hold a credential: path, query and user info.
pub(super) fn target(headers: &HeaderMap) -> String {
    let link = headers.get(header::LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
    let link = link.trim().replace('\\', "/");
    let absolute = if link.starts_with("//") { format!("https:{link}") } else { link };
    let address = absolute.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| address.contains(word));
    let page =
        if says(&["login", "log-in", "log_in", "signin", "sign-in", "sign_in", "/sso", "//sso.", "saml", "oauth", "authorize", "openid"]) {
            Some(LOG_IN_PAGE)
        } else if says(&["404", "not-found", "notfound", "not_found", "/error"]) {
            Some(ERROR_PAGE)
        } else {
            None
        };
    match (Url::parse(&absolute), page) {
        (Ok(url), Some(page)) => Excerpt::new(&format!("the {page} of {}", shown(&url))).to_string(),
        (Ok(url), None) => Excerpt::new(&shown(&url)).to_string(),
        (Err(_), Some(page)) => format!("its own {page}"),
        (Err(_), None) => "another page of itself".to_owned(),
    }
}

/// A URL's scheme, host and port.
pub(super) fn shown(url: &Url) -> String {
    match (url.host(), url.port()) {
        (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
        (Some(host), None) => format!("{}://{host}", url.scheme()),
        (None, _) => format!("a `{}:` address", url.scheme()),
    }
}

/// A time in a header: RFC 3339, with an offset such as `+0000`, or without one in UTC; a date is its beginning.
pub(super) fn time_in(headers: &HeaderMap, name: &str) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let utc = || Some(text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp());
    text.parse().ok().or_else(utc)
}

/// `Retry-After` in seconds, as an HTTP date or as a point in time since 1970 (in seconds or milliseconds), measured against the vendor's own clock; without it, the end of the quota's
/// window (`X-RateLimit-Reset` and its kin), by the same rules.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let since_now = |until: Timestamp| {
        let now = date(headers).unwrap_or_else(Timestamp::now);
        Duration::try_from(until.duration_since(now)).unwrap_or_default()
    };
    if let Some(text) = text("retry-after") {
        return match text.parse() {
            Ok(number) => time_of(number, since_now),
            Err(_) => Some(since_now(http_date(text)?)),
        };
    }
    WAITS.iter().find_map(|name| text(name)?.parse().ok()).and_then(|number| time_of(number, since_now))
}

/// Other headers in which vendors say how long to wait, or until when.
const WAITS: [&str; 5] = ["x-ratelimit-towait-sec", "x-ratelimit-retryafter", "x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset"];

/// The time that a number is: by its magnitude seconds to wait, or seconds or milliseconds since 1970.
fn time_of(number: f64, since_now: impl Fn(Timestamp) -> Duration) -> Option<Duration> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within what an i64 holds")]
    match number {
        1e12..1e15 => Timestamp::from_millisecond(number as i64).ok().map(since_now),
        1e9..1e12 => Timestamp::from_second(number as i64).ok().map(since_now),
        seconds => Duration::try_from_secs_f64(seconds).ok(),
    }
}

/// How many requests the vendor still allows in its present window.
pub(super) fn remaining(headers: &HeaderMap) -> Option<u32> {
    let names = ["x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining"];
    names.iter().find_map(|name| headers.get(*name)?.to_str().ok()?.trim().parse().ok())
}

/// The vendor's clock, as its `Date` header tells.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(header::DATE)?.to_str().ok()?)
}

/// The time in a `Date` header.
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000")).ok().map(|zoned| zoned.timestamp())
}

/// A transport error without its URL, told with its causes.
pub(crate) fn network(doing: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    let told = |text: &str| Excerpt::new(text).to_string().into();
    // What rustls says of a server that is not good enough. It has not been sent anything, and trying again changes nothing.
    if let Some(at) = text.find("invalid peer certificate") {
        return Error::new(doing, ErrorKind::Tls(told(&text[at..])));
    }
    if text.contains("InvalidContentType") {
        return Error::new(doing, ErrorKind::Tls(told(&format!("the port {NO_TLS} (https), but something else, such as plain http"))));
    }
    if text.contains("ProtocolVersion") || text.contains("peer is incompatible") {
        return Error::new(doing, ErrorKind::Tls(told(&text)));
    }
    Error::new(doing, ErrorKind::Network(told(&text)))
}
