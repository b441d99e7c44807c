//! Starts one vendor on loopback, with the fault script in front of it and a log of every request.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use serde_json::Value;

use crate::{Change, Fault, Faults, Make, Oracle, fault::declare};

/// How much data a simulated tool holds.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Product records (projects, sites, regions); the vendor may need a few more or fewer.
    pub records: usize,
    /// Open findings in all of them together.
    pub findings: usize,
    /// Seed of the data.
    pub seed: u64,
}

/// One simulated tool.
pub trait Vendor: Send + Sync + 'static {
    /// The connector's id, such as `dependency_track`.
    fn id(&self) -> &'static str;
    /// The HTTP interface. Handlers ask `faults.take(route)` for the faults that only they can show.
    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router;
    /// The tool's own answer to a bad credential (`Fault::Unauthorized`) or a missing permission (`Fault::Forbidden`).
    fn refuse(&self, _: &Fault) -> Response {
        StatusCode::NOT_FOUND.into_response()
    }
    /// What a user writes into the connection besides its location: (field, value); secrets included. `_url` is where this
    /// simulator listens, for fields that name a further host of the tool.
    fn fields(&self, _url: &str) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// A member of a finding that holds free text, where [`crate::fault::Odd`] things are put.
    fn text_member(&self) -> &'static str {
        "description"
    }
    /// Query parameters that narrow a list: what the tool does not see under [`Fault::NoFilters`].
    fn filters(&self) -> &'static [&'static str] {
        &[]
    }
    /// Where an answer declares how many rows a list has: members of its body, or a header.
    fn totals(&self) -> &'static [&'static str] {
        &[]
    }
    /// The calls that its documentation calls reads, as `METHOD /path`; `{}` stands for one segment of a path.
    fn reads(&self) -> &'static [&'static str] {
        &[]
    }
    /// Why its protocol cannot have this fault; `None` where it can. Ask [`why_not`], which knows what holds for all.
    fn cannot(&self, _: &Fault) -> Option<&'static str> {
        None
    }
    /// Whether its lists are made by jobs that a client starts and waits for.
    fn has_exports(&self) -> bool {
        false
    }
    /// Whether one of its lists covers many records.
    fn covers_many(&self) -> bool {
        false
    }
    /// Whether it tells everything that changed since a time, what people decide too.
    fn tells_changes(&self) -> bool {
        false
    }
    /// Whether its rows do not say what they were filtered by, so that nobody can tell what a filter should have left out.
    fn hides_filters(&self) -> bool {
        false
    }
    /// So many findings make lists of several pages, as its documentation advises or allows clients to ask for them.
    fn several_pages(&self) -> usize {
        2100
    }
    /// The same tool in other releases, plans and settings, by a name.
    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[]
    }
    /// How its lists are walked without knowing it, where they are plain enough for that.
    fn raw(&self) -> Option<Raw> {
        None
    }
    /// Moves the tool one step on.
    fn step(&self, _: &Change) {}
    /// What a correct client must end with now.
    fn oracle(&self) -> Oracle {
        Oracle::default()
    }
}

/// How a tool's lists are walked by a client that knows nothing else of it.
#[derive(Clone, Debug)]
pub struct Raw {
    /// A header and its value.
    pub credential: (&'static str, String),
    /// Where records are listed, with `{page}`: pages have numbers from 1.
    pub records: &'static str,
    /// The member of a record that is its key.
    pub record: &'static str,
    /// Where the findings of a record are listed, with `{record}` and `{page}`.
    pub findings: &'static str,
    /// The list in an answer, as a JSON pointer.
    pub rows: &'static str,
    /// The key of a finding, by its record's and what is listed.
    pub key: fn(&str, &Value) -> String,
    /// Whether findings come in one piece, whatever page is asked for.
    pub is_whole: bool,
}

/// Why this tool cannot have this fault; `None` where it can.
pub fn why_not(vendor: &dyn Vendor, fault: &Fault) -> Option<&'static str> {
    match fault {
        Fault::ExportPending | Fault::ExportFailed | Fault::ChunkLost if !vendor.has_exports() => Some("no export jobs"),
        Fault::Declared(_) | Fault::Capped(_) if vendor.totals().is_empty() => Some("no number is declared"),
        _ => vendor.cannot(fault),
    }
}

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The HTTP method of the request.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The HTTP status of the answer.
    pub status: u16,
}

/// A simulator that is up. It stops when this is dropped.
pub struct Running {
    /// Where the simulator listens: `http://127.0.0.1:PORT`.
    pub url: String,
    /// The faults still to be shown.
    pub faults: Arc<Faults>,
    /// The tool itself.
    pub vendor: Arc<dyn Vendor>,
    log: Arc<Mutex<Vec<Logged>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Every request so far, oldest first.
    pub fn log(&self) -> Vec<Logged> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a simulator on loopback; port 0 takes a free one.
///
/// # Errors
/// When the port cannot be bound.
pub async fn start(vendor: impl Vendor, port: u16) -> io::Result<Running> {
    start_any(Arc::new(vendor), port).await
}

/// Starts a simulator of [`crate::VENDORS`].
///
/// # Errors
/// When the port cannot be bound.
pub async fn start_any(vendor: Arc<dyn Vendor>, port: u16) -> io::Result<Running> {
    let faults = Arc::new(Faults::default());
    let log = Arc::new(Mutex::new(Vec::new()));
    let front = Front { vendor: vendor.clone(), faults: faults.clone(), log: log.clone() };
    let router = vendor.clone().router(faults.clone()).layer(axum::middleware::from_fn_with_state(front, answer));
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "simulator stopped");
        }
    });
    Ok(Running { url, faults, vendor, log, task })
}

#[derive(Clone)]
struct Front {
    vendor: Arc<dyn Vendor>,
    faults: Arc<Faults>,
    log: Arc<Mutex<Vec<Logged>>>,
}

async fn answer(State(front): State<Front>, mut request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let route = format!("{method} {}", request.uri().path());
    let filters = front.vendor.filters();
    if !filters.is_empty() && front.faults.next(&route, |fault| *fault == Fault::NoFilters).is_some() {
        unfilter(request.uri_mut(), filters);
    }
    let fault = front.faults.next(&route, Fault::is_transport).or_else(|| front.faults.chanced());
    let response = match fault {
        None => next.run(request).await,
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            next.run(request).await
        }
        Some(Fault::Truncated) => changed(next.run(request).await, |body| body.slice(..body.len() / 2)).await,
        Some(Fault::Odd(odd)) => {
            let member = front.vendor.text_member();
            changed(next.run(request).await, |body| odd.apply(&String::from_utf8_lossy(&body), member).into()).await
        }
        Some(Fault::Declared(percent)) => declared(next.run(request).await, front.vendor.totals(), |number| number * percent / 100).await,
        Some(Fault::Capped(most)) => declared(next.run(request).await, front.vendor.totals(), |number| number.min(most)).await,
        Some(Fault::Clock(seconds)) => dated(next.run(request).await, seconds),
        Some(Fault::Broken) => {
            let body = axum::body::to_bytes(next.run(request).await.into_body(), usize::MAX).await.unwrap_or_default();
            let half = body.slice(..body.len() / 2);
            streamed([Ok(half), Err(io::Error::other("broken"))].into_iter(), Duration::ZERO)
        }
        Some(Fault::Drip) => streamed((0..3600).map(|_| Ok(Bytes::from_static(b" "))), Duration::from_secs(1)),
        Some(Fault::Endless) => streamed((0..1 << 14).map(|_| Ok(Bytes::from_static(&[b' '; 1 << 16]))), Duration::ZERO),
        Some(Fault::ErrorBody) => {
            let body =
                serde_json::json!({ "error": "internal error", "errors": [{ "message": "internal error", "title": "internal error" }] });
            axum::Json(body).into_response()
        }
        Some(Fault::Limited(name, value)) => {
            let mut response = StatusCode::TOO_MANY_REQUESTS.into_response();
            response.headers_mut().extend(HeaderValue::from_str(&value).map(|value| (HeaderName::from_static(name), value)));
            response
        }
        Some(Fault::Empty) => StatusCode::OK.into_response(),
        Some(Fault::Html) => axum::response::Html("<!doctype html><html><body><form>Log in</form></body></html>").into_response(),
        Some(Fault::Json(status, body)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Some(Fault::Status(status, retry_after)) => {
            let mut response = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
            if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            response
        }
        Some(fault) => front.vendor.refuse(&fault),
    };
    let status = response.status().as_u16();
    front.log.lock().unwrap_or_else(PoisonError::into_inner).push(Logged { method, target, status });
    response
}

/// The same answer with another body.
async fn changed(response: Response, change: impl FnOnce(Bytes) -> Bytes) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(change(body)))
}

/// The same question without these parameters.
fn unfilter(uri: &mut Uri, filters: &[&str]) {
    let Some((path, query)) = uri.path_and_query().and_then(|both| both.as_str().split_once('?')) else { return };
    let kept: Vec<&str> = query.split('&').filter(|pair| !filters.contains(&pair.split('=').next().unwrap_or_default())).collect();
    if let Ok(plain) = format!("{path}?{}", kept.join("&")).parse() {
        *uri = plain;
    }
}

/// The same answer with other numbers of rows.
async fn declared(mut response: Response, totals: &[&'static str], change: impl Fn(u64) -> u64 + Copy) -> Response {
    for name in totals {
        let number = response.headers().get(*name).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(number) = number.map(change) {
            response.headers_mut().insert(*name, HeaderValue::from(number));
        }
    }
    let of_body = |body: Bytes| {
        let text = String::from_utf8_lossy(&body).into_owned();
        totals.iter().fold(text, |text, member| declare(&text, member, change)).into()
    };
    changed(response, of_body).await
}

/// The same answer with the `Date` of a clock that is off.
fn dated(mut response: Response, seconds: i64) -> Response {
    let shift = Duration::from_secs(seconds.unsigned_abs());
    let date = httpdate::fmt_http_date(if seconds < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift });
    response.headers_mut().extend(HeaderValue::from_str(&date).map(|value| (header::DATE, value)));
    response
}

/// 200 with a body that comes in these pieces, each after this long.
fn streamed(pieces: impl Iterator<Item = io::Result<Bytes>> + Send + 'static, pause: Duration) -> Response {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for piece in pieces {
            tokio::time::sleep(pause).await;
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response()
}
