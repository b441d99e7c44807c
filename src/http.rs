//! The daemon's HTTP server: probes, metrics and the status of every connection. It only reads, and tells no finding.

mod metrics;
mod server;
mod state;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, Version, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde::Serialize;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tributary_connectors::model::text::visible;

pub(crate) use state::AppState;

use crate::{
    status::{self, ConnectionStatus},
    store::FindingCount,
};

/// After this long without an answer of the loop or the database the daemon is not ready.
const READY: Duration = Duration::from_secs(30);
/// After this long it hangs, and whoever watches it should start it anew. Longer than any wait for a lock that another
/// process holds on the database: that passes by itself.
const ALIVE: Duration = Duration::from_secs(120);
/// No request takes longer.
const SLOWEST: Duration = Duration::from_secs(10);
/// Requests that read the database at once. Reading goes on when whoever asked has gone, so it is here that it is bounded.
static READERS: Semaphore = Semaphore::const_new(4);

/// The whole status, as it is served.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    schema: &'static str,
    version: &'static str,
    started_at: Timestamp,
    now: Timestamp,
    connections: Vec<ConnectionStatus>,
    findings: Vec<FindingCount>,
}

/// Serves until `stop`: everything on `listen`, and what a scraper outside the host needs on `probes`.
pub(crate) fn serve(state: &Arc<AppState>, listen: Option<TcpListener>, probes: Option<TcpListener>, stop: &CancellationToken) {
    let outer = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(scrape));
    let inner = outer.clone().route("/api/v1/status", get(full_status)).route_layer(middleware::from_fn(local_names_only));
    for (listener, routes) in [(listen, inner), (probes, outer)] {
        let Some(listener) = listener else { continue };
        let routes = routes.layer(middleware::from_fn(one_host)).layer(middleware::from_fn(bounded)).with_state(Arc::clone(state));
        tokio::spawn(server::serve(listener, routes, stop.clone()));
    }
}

/// What is not well, by the name of the check. A vendor that fails is not among it: that is what the status is for.
fn failing_checks(state: &AppState, limit: Duration) -> BTreeMap<&'static str, String> {
    let mut failing_checks = BTreeMap::new();
    let late = |age: Duration| (age > limit).then(|| format!("no answer for {} s", age.as_secs()));
    failing_checks.extend(late(state.loop_age()).map(|why| ("scheduler", why)));
    failing_checks.extend(late(state.store_age()).map(|why| ("database", why)));
    if limit == READY {
        // What exactly is for the log: this is asked from other machines too.
        failing_checks.extend(state.store_error().map(|why| ("database", format!("cannot be written ({}, see the log)", why.code))));
    }
    failing_checks
}

fn probe_response(failing_checks: &BTreeMap<&'static str, String>) -> Response {
    if failing_checks.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let text: String = failing_checks.iter().map(|(check, why)| format!("{check}: {why}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn livez(State(state): State<Arc<AppState>>) -> Response {
    probe_response(&failing_checks(&state, ALIVE))
}

async fn readyz(State(state): State<Arc<AppState>>) -> Response {
    probe_response(&failing_checks(&state, READY))
}

async fn full_status(State(state): State<Arc<AppState>>) -> Response {
    let read = read(move || -> crate::store::Result<Status> {
        let now = crate::clock::now();
        Ok(Status {
            schema: "tributary/v1",
            version: env!("CARGO_PKG_VERSION"),
            started_at: state.began,
            now,
            connections: status::read(&state.store, &state.config(), now)?,
            findings: state.findings(),
        })
    });
    answer(read.await, |status| {
        let told = serde_json::to_string(&status).unwrap_or_default();
        ([(header::CONTENT_TYPE, "application/json")], visible(&told, &[]).into_owned())
    })
}

async fn scrape(State(state): State<Arc<AppState>>) -> Response {
    let read = read(move || metrics::render(&state));
    answer(read.await, |text| ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

/// Reads on a thread that may wait, when it is this one's turn.
async fn read<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, tokio::task::JoinError> {
    // It is never closed.
    let turn = READERS.acquire().await.ok();
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        run()
    })
    .await
}

fn answer<T, R: IntoResponse>(read: Result<crate::store::Result<T>, tokio::task::JoinError>, show: impl FnOnce(T) -> R) -> Response {
    match read {
        Ok(Ok(read)) => show(read).into_response(),
        failed => {
            // What exactly is for the log: an answer tells no paths and no SQL.
            if let Ok(Err(error)) = failed {
                tracing::error!(%error, "the status cannot be read");
            }
            (StatusCode::INTERNAL_SERVER_ERROR, "the status cannot be read; see the log\n").into_response()
        }
    }
}

/// A request says one thing about whom it is for, in one place: else a proxy in front of this server and the server itself could
/// read it differently.
async fn one_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) || request.uri().authority().is_some() {
        return (StatusCode::BAD_REQUEST, "send one Host header, and a path alone as the target\n").into_response();
    }
    next.run(request).await
}

/// A page in a browser that resolves its own name to this machine must not read what is meant for local programs.
async fn local_names_only(request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = named.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(named, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok() {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "this server answers to localhost only\n").into_response()
}

/// No request lasts for ever, no answer is kept by anybody, and each is counted.
async fn bounded(request: Request<Body>, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", |path| known(path.as_str()));
    let method = if request.method() == axum::http::Method::GET { "GET" } else { "other" };
    let mut response = match tokio::time::timeout(SLOWEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let code = response.status().as_u16().to_string();
    ::metrics::counter!("tributary_http_requests_total", "route" => route, "method" => method, "code" => code).increment(1);
    response
}

fn known(path: &str) -> &'static str {
    ["/livez", "/readyz", "/metrics", "/api/v1/status"].into_iter().find(|route| *route == path).unwrap_or("other")
}

/// Binds an address of the configuration; `None` where it says "off".
///
/// # Errors
/// When the address is taken or cannot be bound.
pub(crate) async fn bind(setting: &str, address: &str) -> anyhow::Result<Option<TcpListener>> {
    if address == "off" {
        return Ok(None);
    }
    let parsed: SocketAddr = address.parse()?;
    let listener = TcpListener::bind(parsed)
        .await
        .map_err(|error| anyhow::anyhow!("server.{setting}: cannot listen on {address}: {error}; set another address, or \"off\""))?;
    Ok(Some(listener))
}
