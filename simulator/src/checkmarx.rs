//! Checkmarx One: the token endpoint of its IAM, projects, applications, scans and results.
//!
//! One server is both hosts: the realm's token endpoint and the API. `offset` of `/api/results` counts pages unless
//! [`Checkmarx::offset_in_items`] says otherwise; of every other list it counts rows. What counts of a project is the newest
//! scan, `Completed` or `Partial`, of its main branch, and of any branch where it names none; findings of an engine that
//! failed there are those of the last scan in which it did not. Decisions of people need no new scan.
//!
//! Keys of the [`Oracle`]: the project's id, the type, and what tells results of the type apart, with `/` between all parts.
//! Lists have offsets and no cursors, so [`Fault::ExpiredCursor`] is ignored. The endpoints of single
//! engines and of API risks do not exist here.

mod api;
mod result;
#[cfg(test)]
mod tests;
mod world;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use self::{api::api, world::World};
use crate::{
    Change, Fault, Faults, Make, Oracle, Size, Truth, Vendor,
    door::{Tokens, base64, form, scheme},
};

/// Stands wherever the real tool has secrets of what it scans. No client may keep it.
pub const CANARY: &str = "canary-9d41c07b";
const REALM: &str = "acme-corp";
/// It has to be encoded in a form.
const CLIENT: (&str, &str) = ("tributary-reader", "s1m+cl%ent/s3cr=t&7f3e9b");
/// The offline token's head and signature; what is between names the realm.
const KEY: (&str, &str) = ("eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCIsImtpZCI6InNpbSJ9", "c2ltdWxhdGVkLXNpZ25hdHVyZS1vZi1hbi1vZmZsaW5lLXRva2Vu");
const STATUSES: [&str; 6] = ["Completed", "Partial", "Failed", "Canceled", "Running", "Queued"];

/// A simulated tenant.
#[derive(Debug)]
pub struct Checkmarx {
    has_client: bool,
    is_revoked: bool,
    in_items: bool,
    total_too_large: bool,
    roles: Vec<&'static str>,
    world: Mutex<World>,
    tokens: Tokens,
}

impl Checkmarx {
    /// A tenant with an API key. One project has no result, one has five and no main branch; one was never scanned, and one
    /// never with success; in the fourth of five or more, one engine always fails; the last has most of the results.
    pub fn new(size: Size) -> Self {
        Checkmarx {
            has_client: false,
            is_revoked: false,
            in_items: false,
            total_too_large: false,
            roles: vec!["view-projects", "view-applications", "view-scans", "view-results"],
            world: Mutex::new(World::new(size)),
            tokens: Tokens::new(Duration::from_secs(1800), u32::MAX),
        }
    }

    /// An OAuth client with id and secret in the place of the API key.
    #[must_use]
    pub fn oauth(mut self) -> Self {
        self.has_client = true;
        self
    }

    /// The tenant's licence was changed: its API keys are no longer valid.
    #[must_use]
    pub fn with_revoked_key(mut self) -> Self {
        self.is_revoked = true;
        self
    }

    /// The other reading: `offset` of `/api/results` counts rows.
    #[must_use]
    pub fn offset_in_items(mut self) -> Self {
        self.in_items = true;
        self
    }

    /// How long an access token lives, and how many requests it serves before it dies early, whatever its `exp` says.
    #[must_use]
    pub fn tokens(mut self, life: Duration, uses: u32) -> Self {
        self.tokens = Tokens::new(life, uses);
        self
    }

    /// Totals of results are larger than what is delivered. No listing is complete then, which the oracle does not know.
    #[must_use]
    pub fn with_too_large_totals(mut self) -> Self {
        self.total_too_large = true;
        self
    }

    /// At every other step, beginning with the first, the KICS engine fails in the last of the scanned projects.
    #[must_use]
    pub fn with_failing_engine(self) -> Self {
        self.world().fails = true;
        self
    }

    /// Takes a role away from the credential.
    #[must_use]
    pub fn without_role(mut self, name: &str) -> Self {
        self.roles.retain(|known| *known != name);
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new access token for callers who know the tenant's hosts by this URL.
    fn access_token(&self, url: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = |number: usize| {
            json!({
                "exp": (now + self.tokens.life()).as_secs(), "iat": now.as_secs(), "jti": format!("sim-{number}"), "typ": "Bearer",
                "iss": format!("{url}/auth/realms/{REALM}"), "aud": ["", format!("{url}/auth/realms/{REALM}"), "account"],
                "azp": if self.has_client { CLIENT.0 } else { "ast-app" }, "tenant_name": REALM, "ast-base-url": url,
                "roles_ast": self.roles, "ast-license": { "LicenseData": { "allowedEngines": ["SAST", "SCA", "KICS", "Containers"] } },
            })
        };
        self.tokens.give(|number| format!("{}.{}.c2ltLWFjY2Vzcy10b2tlbg", KEY.0, base64(claims(number).to_string().as_bytes(), true)))
    }
}

impl Vendor for Checkmarx {
    fn id(&self) -> &'static str {
        "checkmarx"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let server = Server { tool: self, faults };
        Router::new()
            .route("/api/{*path}", get(api))
            .fallback(|| std::future::ready(refused(404, "Not Found")))
            .layer(from_fn_with_state(server.clone(), guard))
            .route("/auth/realms/{realm}/protocol/openid-connect/token", post(token))
            .with_state(server)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => refused(403, "Forbidden: the permission is missing").into_response(),
            _ => refused(401, "Unauthorized").into_response(),
        }
    }

    fn fields(&self, url: &str) -> Vec<(&'static str, String)> {
        // As people type it: the realm itself is in small letters.
        let common = [("tenant", "Acme-Corp".to_owned()), ("iam_url", url.to_owned())];
        let secrets = if self.has_client {
            vec![("client_secret", CLIENT.1.to_owned()), ("client_id", CLIENT.0.to_owned())]
        } else {
            let claims = json!({
                "iat": 1_735_689_600, "jti": "0f6c1e5e-77aa-4f0e-9a55-5d6a7b8c9d0e", "iss": format!("{url}/auth/realms/{REALM}"),
                "aud": format!("{url}/auth/realms/{REALM}"), "typ": "Offline", "azp": "ast-app", "scope": "offline_access",
            });
            vec![("secret", format!("{}.{}.{}", KEY.0, base64(claims.to_string().as_bytes(), true), KEY.1))]
        };
        secrets.into_iter().chain(common).collect()
    }

    fn filters(&self) -> &'static [&'static str] {
        &["project-id", "statuses", "branches", "ids"]
    }

    fn totals(&self) -> &'static [&'static str] {
        &["totalCount", "filteredTotalCount"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "POST /auth/realms/{}/protocol/openid-connect/token",
            "GET /api/projects",
            "GET /api/projects/{}",
            "GET /api/projects/branches",
            "GET /api/projects/last-scan",
            "GET /api/applications",
            "GET /api/scans",
            "GET /api/scans/{}",
            "GET /api/results",
        ]
    }

    fn cannot(&self, fault: &Fault) -> Option<&'static str> {
        matches!(fault, Fault::ExpiredCursor).then_some("offsets")
    }

    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[
            ("offset in rows", |size| Arc::new(Checkmarx::new(size).offset_in_items().oauth())),
            ("failing engine", |size| Arc::new(Checkmarx::new(size).with_failing_engine())),
        ]
    }

    fn step(&self, change: &Change) {
        self.world().step(change);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let records = world.projects.iter().map(|project| (project.id.clone(), project.name.clone()));
        let mut oracle = Oracle { records: records.collect(), ..Oracle::default() };
        for project in &world.projects {
            for finding in project.findings.iter().filter(|finding| finding.ever_open) {
                let truth = Truth { record: project.id.clone(), severity: finding.severity, state: finding.state };
                oracle.findings.insert(finding.key.clone(), truth);
            }
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Checkmarx>,
    faults: Arc<Faults>,
}

/// A refusal in the form of the API.
#[derive(Debug)]
struct Refused(u16, Value);

fn refused(status: u16, message: &str) -> Refused {
    Refused(status, json!({ "code": status, "message": message, "type": "ERROR" }))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (StatusCode::from_u16(self.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(self.1)).into_response()
    }
}

async fn guard(State(server): State<Server>, headers: HeaderMap, request: Request, next: Next) -> Response {
    if scheme(&headers, "Bearer").is_some_and(|token| server.tool.tokens.accepts(token)) {
        next.run(request).await
    } else {
        refused(401, "Unauthorized").into_response()
    }
}

/// The realm's token endpoint, in the words of Keycloak.
async fn token(State(server): State<Server>, Path(realm): Path<String>, headers: HeaderMap, body: String) -> Response {
    let no = |status: u16, error: &str, description: &str| {
        Refused(status, json!({ "error": error, "error_description": description })).into_response()
    };
    if realm != REALM {
        return Refused(404, json!({ "error": "Realm does not exist" })).into_response();
    }
    let Some(form) = form(&headers, &body) else { return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response() };
    let of = |name: &str| form.get(name).map_or("", String::as_str);
    let tool = &server.tool;
    match (of("grant_type"), of("client_id")) {
        ("", _) => return no(400, "invalid_request", "Missing form parameter: grant_type"),
        ("refresh_token", "ast-app") => {
            let key = of("refresh_token");
            if key.is_empty() {
                return no(400, "invalid_request", "No refresh token");
            }
            if tool.is_revoked || tool.has_client || !key.starts_with(KEY.0) || !key.ends_with(KEY.1) {
                return no(400, "invalid_grant", "Offline user session not found");
            }
        }
        ("refresh_token", id) if id == CLIENT.0 => {
            return no(400, "invalid_grant", "Invalid refresh token. Token client and authorized client don't match");
        }
        ("client_credentials", id) if tool.has_client && id == CLIENT.0 => {
            if of("client_secret") != CLIENT.1 {
                return no(401, "unauthorized_client", "Invalid client secret");
            }
        }
        ("client_credentials", "ast-app") => {
            return no(401, "unauthorized_client", "Public client not allowed to retrieve service account");
        }
        ("refresh_token" | "client_credentials", _) => return no(401, "invalid_client", "Invalid client or Invalid client credentials"),
        _ => return no(400, "unsupported_grant_type", "Unsupported grant_type"),
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    let mut answer = json!({
        "access_token": tool.access_token(&format!("http://{host}")), "expires_in": tool.tokens.life().as_secs(), "refresh_expires_in": 0,
        "token_type": "Bearer", "not-before-policy": 0, "scope": "ast-api profile email",
    });
    if of("grant_type") == "refresh_token" {
        // Not the API key, and good for nothing once the session is over.
        answer["refresh_token"] = json!("eyJhbGciOiJIUzUxMiJ9.eyJ0eXAiOiJSZWZyZXNoIn0.c2ltLXNlc3Npb24");
        answer["session_state"] = json!("6b9f2c34-0000-4000-8000-00000000a11c");
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}
