//! Snyk: the REST API, what the V1 API adds to it, and the token endpoint of service accounts.
//!
//! Resolved issues stay listed for two steps more, as the real ones do for a while. An ignore does not move `updated_at`;
//! a resolution and a changed severity do. Links are relative and start with `/rest` unless [`Snyk::links`] says otherwise.
//! A parameter that the specification does not name, or that comes twice, is refused.
//!
//! Cursors name the last row, so a page cannot shift, and [`Fault::ShiftedPage`] is ignored.

mod asked;
mod issue;
mod refusal;
mod rest;
#[cfg(test)]
mod tests;
mod v1;
mod world;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use self::{
    refusal::{answer, refused},
    rest::rest,
    v1::{refused_v1, v1},
    world::World,
};
use crate::{
    Change, Fault, Faults, Oracle, Size, Truth, Vendor,
    door::{Tokens, form},
};

const KEY: &str = "5e1f00d0-51aa-4b1c-8e2d-0123456789ab";
const CLIENT: (&str, &str) = ("c0ffee00-1234-4abc-9def-0a1b2c3d4e5f", "sim-client-secret-7f3e9b");
const SEVERITIES: [&str; 5] = ["info", "low", "medium", "high", "critical"];

/// The form in which a page names its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// `/rest/orgs/…`, the path that a client can ask for as it is.
    Rest,
    /// `/orgs/…`, as in the vendor's documentation.
    Bare,
    /// `http://host/rest/orgs/…`, with scheme and host.
    Absolute,
    /// `{ "href": "/rest/orgs/…" }`
    Object,
}

/// A simulated region.
#[derive(Debug)]
pub struct Snyk {
    links: Links,
    has_oauth: bool,
    has_self: bool,
    in_brownout: bool,
    /// Requests that one window of this length allows.
    limit: Option<(u32, Duration)>,
    permissions: Vec<&'static str>,
    world: Mutex<World>,
    session: Mutex<Session>,
    tokens: Tokens,
}

#[derive(Debug)]
struct Session {
    window: Instant,
    used: u32,
    requests: u64,
}

impl Snyk {
    /// A group of two organizations with projects, and one that stands alone and has none. One project has no issue, one
    /// has five; one is inactive and keeps its issues.
    pub fn new(size: Size) -> Self {
        Snyk {
            links: Links::Rest,
            has_oauth: false,
            has_self: true,
            in_brownout: false,
            limit: None,
            permissions: vec![
                "org.read",
                "org.project.read",
                "org.project.snapshot.read",
                "org.project.ignore.read",
                "group.read",
                "group.org.list",
                "group.issues.read",
            ],
            world: Mutex::new(World::new(size)),
            session: Mutex::new(Session { window: Instant::now(), used: 0, requests: 0 }),
            tokens: Tokens::new(Duration::from_secs(3599), u32::MAX),
        }
    }

    /// Another form of links.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// A service account with a client id and secret in the place of a token.
    #[must_use]
    pub fn oauth(mut self) -> Self {
        self.has_oauth = true;
        self
    }

    /// A kind of credential that may not ask who it is.
    #[must_use]
    pub fn without_self(mut self) -> Self {
        self.has_self = false;
        self
    }

    /// Takes a permission away from the credential.
    #[must_use]
    pub fn without_permission(mut self, name: &str) -> Self {
        self.permissions.retain(|known| *known != name);
        self
    }

    /// One more organization in the lists, of which the credential may read nothing.
    #[must_use]
    pub fn with_closed_org(self) -> Self {
        self.world().close_an_org();
        self
    }

    /// The aggregated issues of V1 answer 410.
    #[must_use]
    pub fn in_brownout(mut self) -> Self {
        self.in_brownout = true;
        self
    }

    /// More than this many requests in a window of this length are refused with 429 until it ends.
    #[must_use]
    pub fn limited(mut self, requests: u32, window: Duration) -> Self {
        self.limit = Some((requests, window));
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepts(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, secret)) = authorization.and_then(|value| value.split_once(' ')) else { return false };
        match scheme.to_ascii_lowercase().as_str() {
            "token" => !self.has_oauth && secret == KEY,
            "bearer" => self.tokens.accepts(secret),
            _ => false,
        }
    }

    /// Counts a request: (allowed, limit, remaining, seconds to the next window, number of the request).
    fn count(&self) -> (bool, u32, u32, u64, u64) {
        let (limit, window) = self.limit.unwrap_or((1620, Duration::from_secs(60)));
        let mut session = self.session();
        if session.window.elapsed() >= window {
            (session.window, session.used) = (Instant::now(), 0);
        }
        session.used = session.used.saturating_add(1);
        session.requests += 1;
        let left = window.saturating_sub(session.window.elapsed());
        // Without a limit of its own the simulator only counts: it never says that nothing remains.
        let floor = u32::from(self.limit.is_none());
        let remaining = limit.saturating_sub(session.used).max(floor);
        (
            self.limit.is_none() || session.used <= limit,
            limit,
            remaining,
            left.as_millis().div_ceil(1000).try_into().unwrap_or(60),
            session.requests,
        )
    }
}

impl Vendor for Snyk {
    fn id(&self) -> &'static str {
        "snyk"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let server = Server { tool: self, faults };
        Router::new()
            .route("/rest/{*path}", get(rest))
            .route("/v1/{*path}", get(v1).post(v1))
            .fallback(|| std::future::ready(refused(404, "Not Found")))
            .layer(from_fn_with_state(server.clone(), guard))
            .route("/oauth2/token", post(token))
            .with_state(server)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => refused(403, "Permission denied for this resource").into_response(),
            _ => refused(401, "Unauthorized").into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        if self.has_oauth {
            vec![("client_id", CLIENT.0.to_owned()), ("client_secret", CLIENT.1.to_owned())]
        } else {
            vec![("secret", KEY.to_owned())]
        }
    }

    fn filters(&self) -> &'static [&'static str] {
        &["updated_after", "ignored", "type", "ids"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "GET /rest/self",
            "GET /rest/orgs",
            "GET /rest/groups/{}/orgs",
            "GET /rest/orgs/{}/projects",
            "GET /rest/orgs/{}/targets",
            "GET /rest/orgs/{}/issues",
            "GET /rest/orgs/{}/issues/{}",
            "POST /v1/org/{}/project/{}/aggregated-issues",
            "GET /v1/org/{}/project/{}/ignores",
            "POST /oauth2/token",
        ]
    }

    fn cannot(&self, fault: &Fault) -> Option<&'static str> {
        matches!(fault, Fault::ShiftedPage).then_some("cursors that stand still")
    }

    fn covers_many(&self) -> bool {
        true
    }

    fn several_pages(&self) -> usize {
        350
    }

    fn step(&self, change: &Change) {
        self.world().step(change);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        // Without the list of ignores nobody can tell a false positive from an accepted risk.
        let reasons = self.permissions.contains(&"org.project.ignore.read");
        let records = world.projects.iter().map(|project| (project.id.clone(), project.name.clone()));
        let mut oracle = Oracle { records: records.collect(), ..Oracle::default() };
        // Licence issues are off unless the user wants them.
        for issue in world.issues.iter().filter(|issue| issue.ever_open && issue.kind != "license") {
            let state = match issue.state() {
                "false_positive" if !reasons => "risk_accepted",
                state => state,
            };
            let truth = Truth { record: world.projects[issue.project].id.clone(), severity: issue.severity, state };
            oracle.findings.insert(issue.id.clone(), truth);
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Snyk>,
    faults: Arc<Faults>,
}

async fn guard(State(server): State<Server>, uri: Uri, request: Request, next: Next) -> Response {
    let is_v1 = uri.path().starts_with("/v1/");
    let (allowed, limit, remaining, reset, number) = server.tool.count();
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut response = if !allowed {
        if is_v1 { refused_v1(429, "Too Many Requests") } else { refused(429, "Too Many Requests").into_response() }
    } else if server.tool.accepts(authorization.as_deref()) {
        next.run(request).await
    } else if is_v1 {
        refused_v1(401, "Not authorised")
    } else if authorization.is_none() {
        // The other form that the vendor shows.
        answer(401, json!({ "status": "401", "code": "Unauthorized" }).to_string())
    } else {
        refused(401, "Unauthorized").into_response()
    };
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    if let Ok(id) = HeaderValue::from_str(&format!("00000000-0000-4000-8000-{number:012x}")) {
        headers.insert("snyk-request-id", id);
    }
    response
}

/// Client credentials, sent as a form.
async fn token(State(server): State<Server>, headers: HeaderMap, body: String) -> Response {
    let no = |status: StatusCode, error: &str, description: &str| {
        (status, Json(json!({ "error": error, "error_description": description }))).into_response()
    };
    let Some(form) = form(&headers, &body) else {
        return no(StatusCode::BAD_REQUEST, "invalid_request", "The request is no form");
    };
    let of = |name: &str| form.get(name).map_or("", String::as_str);
    if of("grant_type") != "client_credentials" {
        return no(StatusCode::BAD_REQUEST, "unsupported_grant_type", "The authorization grant type is not supported");
    }
    if !server.tool.has_oauth || (of("client_id"), of("client_secret")) != CLIENT {
        return no(StatusCode::UNAUTHORIZED, "invalid_client", "Client authentication failed");
    }
    let token = server.tool.tokens.give(|number| format!("sim.access.{:06}", number + 1));
    let scope = server.tool.permissions.join(" ");
    Json(json!({ "access_token": token, "expires_in": server.tool.tokens.life().as_secs(), "token_type": "bearer", "scope": scope }))
        .into_response()
}
