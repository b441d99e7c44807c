//! What an answer means: its status, its headers, its body of another shape, or that none came.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{
    StatusCode,
    header::{self, HeaderMap},
};
use url::Url;

use crate::{Error, Excerpt, Kind, kit::items::without_values};

/// What a good status means whose body is not the expected JSON. Without `excerpt` nothing of the body is told.
pub(crate) fn shape(headers: &HeaderMap, body: &[u8], error: &serde_json::Error, excerpt: Option<impl FnOnce(&[u8]) -> Excerpt>) -> Kind {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("nothing said");
    let reason = match (body.first(), excerpt) {
        (None, _) => "the body is empty".to_owned(),
        (Some(b'<'), _) => return Kind::Elsewhere(format!("a web page came instead of JSON ({kind})").into()),
        (_, Some(excerpt)) => format!("{error} (content type {kind}): {}", excerpt(body)),
        (_, None) => format!("{} (content type {kind}, {} bytes)", without_values(&error.to_string()), body.len()),
    };
    Kind::Shape { path: ".".into(), reason: reason.into() }
}

/// What a status other than success means.
pub(crate) fn refusal(status: StatusCode, headers: &HeaderMap, body: Excerpt) -> Kind {
    match status.as_u16() {
        300..=399 => Kind::Redirect(target(headers).into()),
        401 => Kind::Unauthorized(Excerpt::new(&format!("status 401, {body}"))),
        403 => Kind::Forbidden(Excerpt::new(&format!("status 403, {body}"))),
        429 => Kind::Throttled(retry_after(headers)),
        503 if headers.contains_key(header::RETRY_AFTER) => Kind::Throttled(retry_after(headers)),
        status @ (408 | 500..=599) => Kind::Vendor { status, body },
        status => Kind::Refused { status, body },
    }
}

/// Where a redirect leads, without what may hold a credential: path, query and user info.
pub(super) fn target(headers: &HeaderMap) -> String {
    let link = headers.get(header::LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
    let link = link.trim().replace('\\', "/");
    let absolute = if link.starts_with("//") { format!("https:{link}") } else { link };
    match Url::parse(&absolute) {
        Ok(url) => Excerpt::new(&shown(&url)).to_string(),
        Err(_) => "another page of itself".to_owned(),
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

/// `Retry-After` in seconds or as an HTTP date, measured against the vendor's own clock; without it, the end of the quota's
/// window (`X-RateLimit-Reset` and its kin) in seconds, or as a point in time since 1970.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let since_now = |until: Timestamp| {
        let now = date(headers).unwrap_or_else(Timestamp::now);
        Duration::try_from(until.duration_since(now)).unwrap_or_default()
    };
    if let Some(text) = text("retry-after") {
        return match text.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => Some(since_now(http_date(text)?)),
        };
    }
    let reset: u64 = ["x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset"].iter().find_map(|name| text(name)?.parse().ok())?;
    match i64::try_from(reset) {
        Ok(epoch @ 1_000_000_000..) => Some(since_now(Timestamp::from_second(epoch).ok()?)),
        _ => Some(Duration::from_secs(reset)),
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
        return Error::new(doing, Kind::Tls(told(&text[at..])));
    }
    if text.contains("ProtocolVersion") || text.contains("peer is incompatible") {
        return Error::new(doing, Kind::Tls(told(&text)));
    }
    Error::new(doing, Kind::Network(told(&text)))
}
