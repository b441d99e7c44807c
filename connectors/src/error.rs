//! Why a page could not be read, and what follows from it. The kind decides the behaviour in one place: [`ErrorKind::recovery`].

use std::{fmt, time::Duration};

use crate::model::text;

/// The result of anything that talks to a vendor.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A request, or a whole page, that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind} while {doing}")]
pub struct Error {
    /// What was being done, as `reading GET /api/v1/project`.
    pub doing: Box<str>,
    /// What went wrong.
    #[source]
    pub kind: ErrorKind,
    /// How often the request was sent.
    pub attempts: u32,
    hint: Option<Box<str>>,
}

/// What went wrong, in the few classes that behave differently.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The vendor does not accept the credential (HTTP 401, or its own word for it).
    #[error("the credential was refused ({0})")]
    Unauthorized(Excerpt),
    /// The credential is good, but lacks a permission (HTTP 403, or its own word for it).
    #[error("a permission is missing: {0}")]
    Forbidden(Excerpt),
    /// The vendor asks to slow down and said for how long, or not.
    #[error("the vendor limits the rate of requests")]
    Throttled(Option<Duration>),
    /// The vendor answered with a status that is its own fault (5xx).
    #[error("the vendor failed with status {status}: {body}")]
    Vendor {
        /// The HTTP status of the answer.
        status: u16,
        /// Beginning of the body.
        body: Excerpt,
    },
    /// The vendor does not accept the request (4xx other than the above).
    #[error("the request was refused with status {status}: {body}")]
    Refused {
        /// The HTTP status of the answer.
        status: u16,
        /// Beginning of the body.
        body: Excerpt,
    },
    /// Something else than the tool's API answers at this location (a web page).
    #[error("no API answers here: {0}")]
    NotAnApi(Box<str>),
    /// The answer is not what the documentation says.
    #[error("unexpected answer at `{path}`: {reason}")]
    UnexpectedBody {
        /// Path of the member in the answer.
        path: Box<str>,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// The answer is larger than the connector allows.
    #[error("the answer has more than {limit} {unit}")]
    TooLarge {
        /// How many are allowed, in `unit`.
        limit: usize,
        /// Of what: bytes after decompression, items.
        unit: &'static str,
    },
    /// The vendor answers with a redirect; credentials do not follow one.
    #[error("the vendor redirects to {0}, which is not followed")]
    Redirect(Box<str>),
    /// A cursor is no longer valid: the pass has to start anew.
    #[error("the cursor has expired")]
    CursorExpired,
    /// The vendor gave up what it was preparing (an export job): nothing is proved, and it has to be asked for anew.
    #[error("the vendor's export failed: {0}")]
    ExportFailed(Box<str>),
    /// The tool starts, migrates its database, or is still preparing what was asked for; the next run looks again.
    #[error("the tool is not ready: {0}")]
    Pending(Box<str>),
    /// The vendor names the same page again and again.
    #[error("the vendor repeats the same page for ever")]
    PagingLoop,
    /// The connection could not be made or broke.
    #[error("network: {0}")]
    Network(Box<str>),
    /// Nothing was sent, as the server's certificate or its version of TLS is not good enough.
    #[error("the server's TLS is not accepted: {0}")]
    Tls(Box<str>),
    /// The settings of the connection cannot work.
    #[error("{0}")]
    Settings(Box<str>),
}

/// What a redirect to where people log in is called.
pub(crate) const LOG_IN_PAGE: &str = "log-in page";
/// What a redirect to a page that says "not found" is called.
pub(crate) const ERROR_PAGE: &str = "error page";
/// What a port is called that answers to TLS with something else.
pub(crate) const NO_TLS: &str = "does not speak TLS";

/// What follows from an [`ErrorKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The same request may succeed soon.
    Retry,
    /// The same request may succeed after this long, or after the usual back-off.
    Wait(Option<Duration>),
    /// This page cannot be read now; the next run may fare better.
    Fail,
    /// Nobody but a person can help.
    Operator,
    /// The pass starts anew.
    Restart,
}

impl ErrorKind {
    /// A body above its limit in bytes, after decompression.
    pub fn too_large(limit: usize) -> Self {
        ErrorKind::TooLarge { limit, unit: "bytes" }
    }

    /// What follows from this kind. The one place where errors decide behaviour.
    pub fn recovery(&self) -> Recovery {
        match self {
            ErrorKind::Throttled(wait) => Recovery::Wait(*wait),
            ErrorKind::Vendor { .. } | ErrorKind::Network(_) | ErrorKind::UnexpectedBody { .. } | ErrorKind::NotAnApi(_) => Recovery::Retry,
            ErrorKind::Unauthorized(_) | ErrorKind::Forbidden(_) | ErrorKind::Settings(_) | ErrorKind::Redirect(_) | ErrorKind::Tls(_) => {
                Recovery::Operator
            }
            ErrorKind::CursorExpired | ErrorKind::ExportFailed(_) => Recovery::Restart,
            ErrorKind::Refused { .. } | ErrorKind::TooLarge { .. } | ErrorKind::Pending(_) | ErrorKind::PagingLoop => Recovery::Fail,
        }
    }
}

impl Error {
    /// An error with the request or step in which it happened.
    pub fn new(doing: impl Into<Box<str>>, kind: ErrorKind) -> Self {
        Error { doing: doing.into(), kind, attempts: 1, hint: None }
    }

    /// The same error with advice that only the connector can give.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with this advice, unless it has some.
    pub(crate) fn or_hint(self, hint: impl Into<Box<str>>) -> Self {
        if self.hint.is_some() { self } else { self.with_hint(hint) }
    }

    /// Settings that cannot work together, with what to write instead.
    pub fn settings(what: impl Into<Box<str>>) -> Self {
        Error::new("reading the connection's fields", ErrorKind::Settings(what.into()))
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The same error with every foreign text in it changed: for cutting secrets out.
    pub(crate) fn rewritten(mut self, change: impl Fn(&str) -> String) -> Self {
        let excerpt = |text: &mut Excerpt| *text = Excerpt(change(&text.0).into());
        let plain = |text: &mut Box<str>| *text = change(text).into();
        match &mut self.kind {
            ErrorKind::Unauthorized(text) | ErrorKind::Forbidden(text) => excerpt(text),
            ErrorKind::Vendor { body, .. } | ErrorKind::Refused { body, .. } => excerpt(body),
            ErrorKind::NotAnApi(text)
            | ErrorKind::Redirect(text)
            | ErrorKind::ExportFailed(text)
            | ErrorKind::Pending(text)
            | ErrorKind::Network(text)
            | ErrorKind::Tls(text)
            | ErrorKind::Settings(text) => plain(text),
            ErrorKind::UnexpectedBody { path, reason } => {
                plain(path);
                plain(reason);
            }
            ErrorKind::Throttled(_) | ErrorKind::TooLarge { .. } | ErrorKind::CursorExpired | ErrorKind::PagingLoop => {}
        }
        plain(&mut self.doing);
        self.hint.iter_mut().for_each(plain);
        self
    }

    /// Advice for the operator, a sentence of its own.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref().or(match &self.kind {
            ErrorKind::Unauthorized(_) => Some("check the secret that the connection refers to: it may be wrong, expired or revoked"),
            ErrorKind::Forbidden(_) => Some("give the credential the permissions that `tributary connectors ID` lists"),
            ErrorKind::Redirect(to) if to.contains(LOG_IN_PAGE) => Some(
                "check that `location` is the address of the API, not of the web interface, and the credential: the tool wants a person to log in",
            ),
            ErrorKind::Redirect(to) if to.contains(ERROR_PAGE) => {
                Some("check `location`: the tool, or a proxy in front of it, knows no API at this address")
            }
            ErrorKind::Redirect(_) => Some("set `location` to the address that the tool redirects to"),
            ErrorKind::Network(why) if why.contains("invalid HTTP") => {
                Some("check the scheme and port of `location`: the port may speak https, not http")
            }
            ErrorKind::Network(_) => Some("check `location`, DNS, firewall, proxy and the tool itself; a private CA goes into `http.ca_file`"),
            ErrorKind::Tls(why) if why.contains("expired") => Some("renew the tool's certificate, or set this machine's clock right"),
            ErrorKind::Tls(why) if why.contains("not valid for name") => {
                Some("set `location` to a name that the tool's certificate is made for, or have it made for this one")
            }
            ErrorKind::Tls(why) if why.contains("certificate") => {
                Some("if the tool's certificate comes from a CA of your own, put that CA's PEM file into `http.ca_file` of the connection")
            }
            ErrorKind::Tls(why) if why.contains(NO_TLS) => Some(
                "write the tool's https port into `location`; if it has none, `http://…` in `location` with `http = { allow_http = true }`",
            ),
            ErrorKind::Tls(_) => Some("let the tool, or the proxy in front of it, speak TLS 1.2 or newer"),
            ErrorKind::NotAnApi(_) => Some("check that `location` is the tool's API address; a log-in page or a proxy may have answered"),
            ErrorKind::Pending(_) => {
                Some("nothing has to be done here: the daemon looks again within minutes; if it lasts, look at the tool itself")
            }
            ErrorKind::TooLarge { .. } => Some(
                "an answer of this size is not held in memory: read less with this connection (its fields name projects and filters), or let \
                 the tool list less at once",
            ),
            ErrorKind::Throttled(_) => {
                Some("nothing has to be done at once; fewer connections with one credential, rarer syncs or a higher quota help")
            }
            ErrorKind::Vendor { .. } => Some("look at the tool and its log; the next run goes on where this one stopped"),
            ErrorKind::Refused { .. } => Some("check the connection's fields against `tributary connectors ID`; if they are right, report it"),
            ErrorKind::UnexpectedBody { .. } => Some("a newer version of tributary may read it; if there is none, report it with the connector's name"),
            ErrorKind::CursorExpired | ErrorKind::ExportFailed(_) | ErrorKind::PagingLoop => {
                Some("nothing has to be done at once: the next run asks anew; if it lasts, look at the tool")
            }
            ErrorKind::Settings(_) => Some("correct what is named here in the configuration, or what it refers to"),
        })
    }
}

/// The beginning of a foreign text, fit for a log line: at most 200 bytes, one line, and what is hidden in it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    const LONGEST: usize = 200;

    /// Clips and cleans a text of unknown origin.
    pub fn new(text: &str) -> Self {
        let mut clean = String::with_capacity(Self::LONGEST + 4);
        for character in text.chars() {
            if clean.len() >= Self::LONGEST {
                clean.push('…');
                break;
            }
            match character {
                c if c.is_whitespace() => {
                    if !clean.ends_with(' ') {
                        clean.push(' ');
                    }
                }
                c => clean.push_str(&text::visible(c.encode_utf8(&mut [0; 4]), &[])),
            }
        }
        Excerpt(clean.trim().into())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "no body" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_one_clean_short_line() {
        assert_eq!(Excerpt::new("a\r\n\tb\u{1b}[31m\u{202e}c").to_string(), "a b\\u001b[31m\\u202ec");
        assert_eq!(Excerpt::new("").to_string(), "no body");
        assert!(Excerpt::new(&"é".repeat(1000)).to_string().len() <= 206);
    }
}
