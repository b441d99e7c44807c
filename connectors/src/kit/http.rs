//! The one HTTP client: base URL, authentication, budget, retries, caps, address rules, clean errors.

mod answer;
mod body;
mod client;
mod links;
mod retry;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use crate::{
    Error, ErrorKind, Excerpt, Meta, Result, Sign,
    kit::{Auth, Context, Limiters, Location, limit::Limit, redact::redact},
};

use answer::{remaining, shown, time_in};
use client::{Resolver, client};

#[cfg(any(test, feature = "aws"))]
pub(crate) use answer::retry_after;
pub(crate) use answer::{date, network, refusal};
pub(crate) use body::{Text, is_page, read};

/// What is being done when an error says so: tells a connector that the token was refused, not the API's answer.
pub(crate) const FETCHING: &str = "fetching an access token";
/// Refused credentials running after which nothing more is sent: a tool may lock the account of one that keeps trying.
const REFUSALS: u32 = 2;
/// Largest head of an answer, in bytes.
const HEADERS: usize = 64 << 10;

/// What a connection says about its way to the tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// Further certificate authorities, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// Proxy for all requests; else the environment's.
    pub proxy: Option<String>,
    /// Longest wait for one answer, instead of the connector's own.
    pub timeout: Option<Duration>,
    /// Whether plain http is accepted beyond loopback.
    pub allow_http: bool,
}

/// What a connector gets to reach its tool.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where the tool is.
    pub location: Location,
    /// The connection's options.
    pub options: HttpOptions,
    /// The budgets of this process.
    pub limiters: Arc<Limiters>,
}

impl Endpoint {
    /// A client for the location, under the limits that `meta` states.
    ///
    /// # Errors
    /// `ErrorKind::Settings` when the CA file or the proxy cannot be used.
    pub fn http(self, meta: &'static Meta, auth: Auth) -> Result<Http> {
        let identity = auth.identity();
        self.http_as(meta, auth, &identity)
    }

    /// Like [`Endpoint::http`] for a connector that signs by itself; `identity` names the credential's budget.
    ///
    /// # Errors
    /// As [`Endpoint::http`].
    pub fn http_as(self, meta: &'static Meta, auth: Auth, identity: &str) -> Result<Http> {
        self.http_by(meta, auth, identity, Resolver::system())
    }

    fn http_by(self, meta: &'static Meta, auth: Auth, identity: &str, resolver: Resolver) -> Result<Http> {
        let limit = self.limiters.of(format!("{} {identity}", self.location.url().origin().ascii_serialization()), meta.rates);
        let client = client(meta, &self.options, resolver)?;
        Ok(Http(Arc::new(Inner {
            client,
            host: self.location.url().origin().ascii_serialization().into(),
            location: self.location,
            auth,
            limit,
            standing: CredentialState::default(),
            meta,
        })))
    }
}

/// A client for one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Http(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: reqwest::Client,
    location: Location,
    /// The location's scheme, host and port.
    host: Box<str>,
    auth: Auth,
    limit: Arc<Limit>,
    standing: CredentialState,
    meta: &'static Meta,
}

/// What the tool has made of the credential so far. Until it has accepted it once, requests go one by one.
#[derive(Debug, Default)]
pub(crate) struct CredentialState {
    accepted: AtomicBool,
    first: tokio::sync::Mutex<()>,
    refusals: AtomicU32,
}

impl CredentialState {
    /// Leave to send; what is returned is held until the answer is there.
    async fn permit(&self, doing: &str) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>> {
        let alone = if self.accepted.load(Ordering::Relaxed) { None } else { Some(self.first.lock().await) };
        if self.refusals.load(Ordering::Relaxed) >= REFUSALS {
            return Err(Error::new(
                doing,
                ErrorKind::Unauthorized(Excerpt::new("it was refused before in this run, so it was not sent again")),
            ));
        }
        Ok(alone)
    }

    fn accepted(&self) {
        self.accepted.store(true, Ordering::Relaxed);
        self.refusals.store(0, Ordering::Relaxed);
    }

    fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }
}

impl Http {
    /// A GET of a path below the location; each `{}` segment takes the next argument.
    pub fn get(&self, route: &'static str, arguments: &[&str]) -> Request<'_> {
        self.request(Method::GET, route, self.0.location.join(route, arguments))
    }

    /// A POST of a JSON body to a path below the location; each `{}` segment takes the next argument.
    pub fn post(&self, route: &'static str, arguments: &[&str], body: &impl Serialize) -> Request<'_> {
        let mut request = self.request(Method::POST, route, self.0.location.join(route, arguments));
        request.body = Some(serde_json::to_vec(body).expect("a request body is plain data").into());
        request
    }

    /// A POST of a form to a path below the location; each `{}` segment takes the next argument. Without secrets: those belong
    /// into [`Auth`].
    pub fn form(&self, route: &'static str, arguments: &[&str], fields: &[(&str, &str)]) -> Request<'_> {
        let mut request = self.request(Method::POST, route, self.0.location.join(route, arguments));
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        request.body = Some(form.into());
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request
    }

    /// Like [`Http::follow`] for a vendor whose links name one of these hosts of its own, too: what the link asks for is asked for
    /// at the location's origin.
    ///
    /// # Errors
    /// As [`Http::follow`].
    pub fn follow_among(&self, route: &'static str, link: &str, hosts: &[&str]) -> Result<Request<'_>> {
        let own = |url: &Url| url.scheme() == "https" && url.port().is_none() && url.host_str().is_some_and(|host| hosts.contains(&host));
        match Url::parse(link) {
            Ok(url) if own(&url) && url.username().is_empty() && url.password().is_none() => {
                self.follow(route, &url[url::Position::BeforePath..])
            }
            _ => self.follow(route, link),
        }
    }

    /// A GET of a link that the vendor gave, which must lead to the same origin, below the location.
    ///
    /// # Errors
    /// `ErrorKind::UnexpectedBody` when it leads elsewhere or is no link: then no request is built.
    pub fn follow(&self, route: &'static str, link: &str) -> Result<Request<'_>> {
        let base = self.0.location.url();
        let wrong = |reason: String| {
            Error::new(
                format!("following the link to the next page of {route}"),
                ErrorKind::UnexpectedBody { path: "next".into(), reason: reason.into() },
            )
        };
        let url = base.join(link).map_err(|error| wrong(error.to_string()))?;
        if url.origin() != base.origin() || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!("it leads to {}, not to the tool", shown(&url))));
        }
        // `..` is resolved by now. Beside the location another application of the same host may live.
        let below = url.path().strip_prefix(base.path().trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
        if !below {
            return Err(wrong("it leads out of the location's path".to_owned()));
        }
        Ok(self.request(Method::GET, route, url))
    }

    /// The tool's address.
    pub fn location(&self) -> &Location {
        &self.0.location
    }

    fn request(&self, method: Method, route: &'static str, url: Url) -> Request<'_> {
        Request { http: self, method, route, url, headers: HeaderMap::new(), body: None, anonymous: false, also: None, needs: None }
    }

    /// Asks for JSON with the connection's credential until it can be read: see [`Http::attempts`]. JSON of another shape is asked
    /// for once more.
    ///
    /// # Errors
    /// The last error.
    pub(crate) async fn ask<'a, T: DeserializeOwned>(
        &self,
        cx: &Context,
        route: &str,
        standing: Option<&CredentialState>,
        attempt: &mut (dyn FnMut() -> Attempt<'a> + Send),
    ) -> Result<Response<T>> {
        for time in 1.. {
            let Received { doing, headers, text } = self.attempts(cx, route, standing, attempt).await?;
            match serde_json::from_str(&text) {
                Ok(body) => return Ok(Response { body, headers }),
                Err(error) => self.asks_again(cx, time, Error::new(doing, self.shape(&headers, &text, &error))).await?,
            }
        }
        unreachable!("the loop returns at the last answer")
    }

    /// What a good answer is that does not have the expected form.
    fn shape(&self, headers: &HeaderMap, text: &str, error: &serde_json::Error) -> ErrorKind {
        // Where few members may be kept, the body of a good answer is not quoted either.
        answer::shape(headers, text, error, self.0.meta.keep.is_empty().then(|| self.excerpt(text.as_bytes())))
    }

    /// What a good status brought: a text, of JSON only what is whole and bounded.
    ///
    /// # Errors
    /// `ErrorKind::NotAnApi` for a web page, `ErrorKind::UnexpectedBody` for what is no JSON, `ErrorKind::TooLarge`.
    pub(crate) fn receive(&self, cx: &Context, doing: &str, headers: HeaderMap, body: Bytes, form: Form) -> Result<Received> {
        let fail = |kind| Error::new(doing, kind);
        let Text { text, odd } = read(body, self.0.meta.body_limit).map_err(fail)?;
        match form {
            Form::Json => {
                body::is_whole(&text).map_err(|error| fail(self.shape(&headers, &text, &error)))?;
                if !body::is_bounded(&text) {
                    return Err(fail(ErrorKind::TooLarge { limit: body::MOST_IN_A_LIST, unit: "items in one list" }));
                }
            }
            Form::Plain if is_page(text.as_bytes()) => {
                return Err(fail(ErrorKind::NotAnApi("a web page came instead of plain text".into())));
            }
            Form::Plain if text.trim().is_empty() => {
                return Err(fail(ErrorKind::UnexpectedBody { path: ".".into(), reason: "no text came".into() }));
            }
            Form::Plain => {}
        }
        for what in odd {
            cx.warn(format!("the answer to {} {what}", doing.strip_prefix("reading ").unwrap_or(doing)));
        }
        Ok(Received { doing: doing.into(), headers, text })
    }

    /// The credential's standing, for what is asked with it.
    #[cfg(feature = "aws")]
    pub(crate) fn standing(&self) -> &CredentialState {
        &self.0.standing
    }

    /// One request, one answer, whatever its status: the body is read to its end under the cap.
    pub(crate) async fn transmit(&self, doing: &str, request: reqwest::Request) -> Result<(StatusCode, HeaderMap, Bytes)> {
        let answer = self.0.client.execute(request).await.map_err(|error| network(doing, error))?;
        receive(doing, answer, self.0.meta.body_limit).await
    }

    /// An error with the connector's advice, unless it has some; `needs` gives the permission that may be missing.
    pub(crate) fn cured(&self, error: Error, needs: Option<&'static str>) -> Error {
        let sign = Sign::of(&error.kind);
        // What a token endpoint does not know is no part of the API.
        let sign = sign.filter(|sign| *sign != Sign::NotFound || &*error.doing != FETCHING);
        let cure = self.0.meta.cures.iter().find(|(known, _)| sign == Some(*known)).map(|(_, cure)| *cure);
        match needs.filter(|_| sign == Some(Sign::Forbidden)).or(cure) {
            Some(cure) => error.or_hint(cure),
            None => error,
        }
    }

    /// The beginning of a body without the credential, should the vendor echo it.
    pub(crate) fn excerpt(&self, body: &[u8]) -> Excerpt {
        Excerpt::new(&self.without_secrets(&String::from_utf8_lossy(&body[..body.len().min(16 << 10)])))
    }

    fn without_secrets(&self, text: &str) -> String {
        self.0.auth.secrets().iter().fold(text.to_owned(), |text, secret| redact(&text, secret))
    }
}

/// One attempt at a request.
pub(crate) type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Received>> + Send + 'a>>;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Plain,
}

/// A good answer before it is decoded.
#[derive(Debug)]
pub(crate) struct Received {
    doing: Box<str>,
    headers: HeaderMap,
    text: String,
}

/// Reads an answer to its end, under the caps for head and decompressed body.
pub(crate) async fn receive(doing: &str, mut answer: reqwest::Response, limit: usize) -> Result<(StatusCode, HeaderMap, Bytes)> {
    let head: usize = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head > HEADERS {
        return Err(Error::new(format!("{doing} (its headers)"), ErrorKind::too_large(HEADERS)));
    }
    let too_large = || Error::new(doing, ErrorKind::too_large(limit));
    if answer.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    // What is announced is believed up to a size that does no harm: growing by doubling copies each page twice.
    let announced = answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut body = BytesMut::with_capacity(announced.min(4 << 20));
    while let Some(chunk) = answer.chunk().await.map_err(|error| network(doing, error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok((answer.status(), std::mem::take(answer.headers_mut()), body.freeze()))
}

/// One request being put together.
#[derive(Debug)]
pub struct Request<'a> {
    http: &'a Http,
    method: Method,
    route: &'static str,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    anonymous: bool,
    also: Option<u16>,
    needs: Option<&'static str>,
}

/// What came back, decoded.
#[derive(Debug)]
pub struct Response<T> {
    /// The decoded body.
    pub body: T,
    /// The headers of the answer.
    pub headers: HeaderMap,
}

impl<T> Response<T> {
    /// A header that holds a number.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }

    /// The link to the next page, from the `Link` headers (RFC 8288): for [`Http::follow`].
    pub fn next_link(&self) -> Option<String> {
        links::next(&self.headers)
    }
}

impl Request<'_> {
    /// Adds a query parameter, unless there is no value.
    #[must_use]
    pub fn query(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.url.query_pairs_mut().append_pair(name, &value.to_string());
        }
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Sends without the credential.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Takes an answer with this status, too, for a good one (409 that names the job under way).
    #[must_use]
    pub fn accept_status(mut self, status: u16) -> Self {
        self.also = Some(status);
        self
    }

    /// Says what gives the permission that this request needs: the advice when it is missing.
    #[must_use]
    pub fn needs(mut self, cure: &'static str) -> Self {
        self.needs = Some(cure);
        self
    }

    /// Sends it, with retries, and decodes the JSON answer. An answer that cannot be used is asked for once more: half an answer
    /// or a log-in page must never be taken for "nothing there".
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn send<T: DeserializeOwned>(self, cx: &Context) -> Result<Response<T>> {
        let answer = self.http.ask(cx, self.route, self.standing(), &mut || Box::pin(self.once(cx, Form::Json))).await;
        answer.map_err(|error| self.http.cured(error, self.needs))
    }

    /// Like [`Request::send`], for the few answers that are plain text. A web page is none.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn text(self, cx: &Context) -> Result<Response<String>> {
        let received = self.http.attempts(cx, self.route, self.standing(), &mut || Box::pin(self.once(cx, Form::Plain))).await;
        let received = received.map_err(|error| self.http.cured(error, self.needs))?;
        Ok(Response { body: self.http.without_secrets(received.text.trim()), headers: received.headers })
    }

    fn standing(&self) -> Option<&CredentialState> {
        (!self.anonymous).then_some(&self.http.0.standing)
    }

    /// One request: the text of a success.
    async fn once(&self, cx: &Context, form: Form) -> Result<Received> {
        let doing = format!("reading {} {}", self.method, self.route);
        let inner = &self.http.0;
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        request.headers_mut().extend(self.headers.clone());
        request.headers_mut().entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        if let Some(body) = &self.body {
            request.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.clone().into());
        }
        if !self.anonymous {
            inner.auth.apply(cx, &inner.client, request.headers_mut()).await?;
        }
        let started = std::time::Instant::now();
        let span = tracing::Span::current();
        span.record("method", self.method.as_str());
        let (status, headers, body) = self.http.transmit(&doing, request).await?;
        span.record("status", status.as_u16());
        cx.answered(date(&headers));
        cx.received(body.len());
        if let Some(time) = inner.meta.expiry_header.filter(|_| !self.anonymous).and_then(|name| time_in(&headers, name)) {
            cx.credential_expires(time);
        }
        remaining(&headers).inspect(|remaining| cx.allowed(*remaining));
        tracing::debug!(bytes = body.len(), took_ms = started.elapsed().as_millis(), "answer");
        if let Some(kind) = inner.meta.judge.and_then(|judge| judge(status, &headers, &body)) {
            return Err(Error::new(doing, kind));
        }
        if status.is_success() || self.also == Some(status.as_u16()) {
            return self.http.receive(cx, &doing, headers, body, form);
        }
        Err(Error::new(doing, refusal(status, &headers, self.http.excerpt(&body))))
    }
}
