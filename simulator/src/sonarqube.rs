//! SonarQube: a server of today, one of 9.9, and Cloud, all with the web API of `api/…`.
//!
//! What is faithful where it hurts: a query reads at most 10,000 results; Cloud's totals stop there; a parameter that the
//! version does not know is ignored (so a wrong name for the project brings the issues of all projects), a value that it
//! does not know is refused; `issues/search` answers an unknown or unreadable project with an empty list. While it starts or
//! migrates its database it knows no call but its status; at the end of a start it knows no token. The texts of a rule come in
//! another order each time.
//! Faults that cannot occur here and are ignored: expired and repeated cursors (pages are numbers).

mod data;
mod hotspots;
mod issues;
mod page;
mod projects;
mod search;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use self::{
    data::{Edition, Project, World},
    hotspots::{hotspot, hotspots},
    issues::{issues, issues_list, rule, rules},
    projects::{branches, component, components_search, files, projects_search, search_projects, tasks},
};
use crate::{Change, Fault, Faults, Make, Oracle, Size, Vendor};

/// A token with the text that HTTP basic authentication makes of it and an empty password.
type Token = (&'static str, &'static str);
const USER: Token = ("squ_9f2c6e0d41b7a85362c0", "c3F1XzlmMmM2ZTBkNDFiN2E4NTM2MmMwOg==");
const PROJECT: Token = ("sqp_51d0b9a7e3f86c24d7a1", "c3FwXzUxZDBiOWE3ZTNmODZjMjRkN2ExOg==");
/// The project that the token above is made for.
const PROJECT_OF_TOKEN: &str = "acme_shop-api_0";
const CLOUD: Token = ("8d1f6b3a905e7c24", "OGQxZjZiM2E5MDVlN2MyNDo=");
const ORGANIZATION: &str = "acme-org";

type Params = HashMap<String, String>;
type Answer = Result<Response, Refused>;

/// How far a server has started: its status, and what it answers to everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is up.
    Up,
    /// It says this status and knows no other call.
    Unrouted(&'static str),
    /// It knows no call at all.
    Dumb,
    /// It says this status and takes everybody for a stranger.
    Strange(&'static str),
    /// It says this status and answers everything else with 503, as its web server or the proxy in front of it does.
    Failing(&'static str),
}

/// A simulated server.
#[derive(Debug)]
pub struct SonarQube {
    edition: Edition,
    size: Size,
    version: &'static str,
    token: Token,
    is_admin: bool,
    expires: Option<&'static str>,
    context: &'static str,
    start: Mutex<Start>,
    world: Mutex<World>,
}

impl SonarQube {
    /// A commercial server of today, in its Multi-Quality Rule mode. One project has no finding, one has five; the others
    /// share the rest unevenly. One more project may not be browsed.
    pub fn new(size: Size) -> Self {
        let edition = Edition { cloud: false, old: false, mqr: true, community: false, hotspots: true };
        SonarQube {
            edition,
            size,
            version: "2025.6.1.117629",
            token: USER,
            is_admin: false,
            expires: Some("2099-01-31T00:00:00+0000"),
            context: "",
            start: Mutex::new(Start::Up),
            world: Mutex::new(World::new(size, edition)),
        }
    }

    /// A server with nearly all findings in one project. Of more than 10,000 the larger half has one creation date.
    pub fn large(findings: usize) -> Self {
        Self::new(Size { records: 3, findings, seed: 7 })
    }

    fn edit(mut self, edit: impl FnOnce(&mut Edition)) -> Self {
        edit(&mut self.edition);
        self.world = Mutex::new(World::new(self.size, self.edition));
        self
    }

    /// Makes it a community server of version 9.9: types only, basic authentication only, one branch.
    #[must_use]
    pub fn old(mut self) -> Self {
        (self.version, self.expires) = ("9.9.8.100196", None);
        self.edit(|edition| *edition = Edition { old: true, mqr: false, community: true, ..*edition })
    }

    /// Makes it SonarQube Cloud, which has organizations and caps its totals.
    #[must_use]
    pub fn cloud(mut self) -> Self {
        (self.version, self.expires, self.token) = ("8.0.0.77777", None, CLOUD);
        self.edit(|edition| edition.cloud = true)
    }

    /// Puts the server of today into Standard Experience: the type of an issue decides.
    #[must_use]
    pub fn standard(self) -> Self {
        self.edit(|edition| edition.mqr = false)
    }

    /// Makes it a Community Build: it has the main branch only.
    #[must_use]
    pub fn community(mut self) -> Self {
        self.version = "25.5.0.107428";
        self.edit(|edition| edition.community = true)
    }

    /// Takes hotspots away: they have become issues, and their interface is gone.
    #[must_use]
    pub fn without_hotspots(self) -> Self {
        self.edit(|edition| edition.hotspots = false)
    }

    /// Gives out a token that is made for analyzing one project: it is valid and lists issues, is shown its own project alone, and
    /// may open none.
    #[must_use]
    pub fn with_project_token(mut self) -> Self {
        self.token = PROJECT;
        self
    }

    /// Gives the token's user Administer System, which shows all projects and still opens none of them.
    #[must_use]
    pub fn admin(mut self) -> Self {
        self.is_admin = true;
        self
    }

    /// Says in every answer that the token expires then (`2026-12-01T00:00:00+0000`).
    #[must_use]
    pub fn token_expires(mut self, at: &'static str) -> Self {
        self.expires = Some(at);
        self
    }

    /// Serves everything below a path such as `/sonarqube`; the location is then the address with that path.
    #[must_use]
    pub fn context_path(mut self, path: &'static str) -> Self {
        self.context = path;
        self
    }

    /// Makes it a server that is so far with its start.
    pub fn is_at(&self, start: Start) {
        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = start;
    }

    /// Analyses the project with the most issues: so many percent of them change, all at the date of the analysis an hour ago.
    pub fn analyse(&self, percent: f64) {
        self.world().analyse(percent);
    }

    /// Renames a branch in all projects.
    pub fn rename_branch(&self, from: &str, to: &'static str) {
        let mut world = self.world();
        world.found.clear();
        for (name, _) in world.projects.iter_mut().flat_map(|project| &mut project.branches).filter(|(name, _)| *name == from) {
            *name = to;
        }
    }

    /// The issues of the project with the most of them become alike: one rule, severity and second, on so many files.
    #[must_use]
    pub fn alike(self, files: usize) -> Self {
        self.world().make_alike(files);
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepts(&self, headers: &HeaderMap) -> bool {
        let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match text.split_once(' ') {
            Some(("Basic", user)) => user == self.token.1,
            Some(("Bearer", token)) => token == self.token.0 && !self.edition.old,
            _ => false,
        }
    }

    /// Whether a search finds the project: by the rights of the token's user.
    fn sees(&self, project: &Project) -> bool {
        !project.hidden
    }

    /// Whether the list of projects shows this one. To a token that is made for one project it shows that one, and counts all.
    fn lists(&self, project: &Project) -> bool {
        self.sees(project) && (self.token != PROJECT || project.key == PROJECT_OF_TOKEN)
    }

    /// Whether the project itself may be opened: by the rights of the token, and those of an analysis token end at sending analyses.
    fn opens(&self, project: &Project) -> bool {
        self.sees(project) && self.token != PROJECT
    }

    /// Refuses a call of Cloud that does not name the organization.
    fn organization(&self, params: &Params) -> Result<(), Refused> {
        match params.get("organization") {
            _ if !self.edition.cloud => Ok(()),
            None => Err(Refused::bad("The 'organization' parameter is missing")),
            Some(key) if key == ORGANIZATION => Ok(()),
            Some(key) => Err(Refused(StatusCode::NOT_FOUND, format!("No organization with key '{key}'"))),
        }
    }
}

/// An answer that is an error, with the tool's message.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl Refused {
    fn bad(message: impl Into<String>) -> Self {
        Refused(StatusCode::BAD_REQUEST, message.into())
    }

    fn not_found(message: String) -> Self {
        Refused(StatusCode::NOT_FOUND, message)
    }

    fn forbidden() -> Self {
        Refused(StatusCode::FORBIDDEN, "Insufficient privileges".to_owned())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "errors": [{ "msg": self.1 }] }))).into_response()
    }
}

impl Vendor for SonarQube {
    fn id(&self) -> &'static str {
        "sonarqube"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let (edition, context) = (self.edition, self.context);
        let server = Server { tool: self, faults };
        let mut router = Router::new()
            .route("/api/components/search_projects", get(search_projects))
            .route("/api/components/search", get(components_search))
            .route("/api/components/show", get(component))
            .route("/api/components/tree", get(files))
            .route("/api/ce/component", get(tasks))
            .route("/api/projects/search", get(projects_search))
            .route("/api/project_branches/list", get(branches))
            .route("/api/issues/search", get(issues))
            .route("/api/rules/show", get(rule))
            .route("/api/rules/search", get(rules));
        if edition.hotspots {
            router = router.route("/api/hotspots/search", get(hotspots)).route("/api/hotspots/show", get(hotspot));
        }
        if edition.cloud {
            router = router.route("/api/organizations/search", get(organizations));
        } else if !edition.old {
            router = router.route("/api/issues/list", get(issues_list)).route("/api/v2/clean-code-policy/mode", get(mode));
        }
        let router = router
            .fallback(unknown)
            .layer(from_fn_with_state(server.clone(), guard))
            .route("/api/server/version", get(version))
            .route("/api/authentication/validate", get(validate))
            .layer(from_fn_with_state(server.clone(), started))
            .route("/api/system/status", get(status))
            .with_state(server);
        if context.is_empty() { router } else { Router::new().nest(context, router) }
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => Refused::forbidden().into_response(),
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        let mut fields = vec![("secret", self.token.0.to_owned())];
        if self.edition.cloud {
            fields.push(("organization", ORGANIZATION.to_owned()));
        }
        fields
    }

    fn text_member(&self) -> &'static str {
        "message"
    }

    fn filters(&self) -> &'static [&'static str] {
        &[
            "components",
            "componentKeys",
            "types",
            "impactSoftwareQualities",
            "severities",
            "impactSeverities",
            "createdAfter",
            "createdBefore",
        ]
    }

    fn totals(&self) -> &'static [&'static str] {
        &["total"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "GET /api/server/version",
            "GET /api/system/status",
            "GET /api/authentication/validate",
            "GET /api/v2/clean-code-policy/mode",
            "GET /api/organizations/search",
            "GET /api/components/search_projects",
            "GET /api/components/search",
            "GET /api/components/show",
            "GET /api/components/tree",
            "GET /api/ce/component",
            "GET /api/projects/search",
            "GET /api/project_branches/list",
            "GET /api/issues/search",
            "GET /api/issues/list",
            "GET /api/hotspots/search",
            "GET /api/hotspots/show",
            "GET /api/rules/show",
        ]
    }

    fn cannot(&self, fault: &Fault) -> Option<&'static str> {
        matches!(fault, Fault::ExpiredCursor).then_some("page numbers")
    }

    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[
            ("standard", |size| Arc::new(SonarQube::new(size).standard())),
            ("old", |size| Arc::new(SonarQube::new(size).old())),
            ("cloud", |size| Arc::new(SonarQube::new(size).cloud())),
        ]
    }

    fn step(&self, change: &Change) {
        self.world().step(change);
    }

    fn oracle(&self) -> Oracle {
        self.world().oracle()
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<SonarQube>,
    faults: Arc<Faults>,
}

impl Server {
    /// Whether the user has lost Browse on all projects: asked where no list is answered.
    fn lost_role(&self, route: &str) -> bool {
        self.faults.next(route, |fault| *fault == Fault::NoRole).is_some()
    }
}

async fn guard(State(server): State<Server>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(header::AUTHORIZATION) && server.tool.edition.cloud {
        return Refused(StatusCode::UNAUTHORIZED, "Authentication is required".to_owned()).into_response();
    }
    if !server.tool.accepts(request.headers()) {
        return server.tool.refuse(&Fault::Unauthorized);
    }
    let mut response = next.run(request).await;
    if let Some(expires) = server.tool.expires {
        response.headers_mut().insert("SonarQube-Authentication-Token-Expiration", HeaderValue::from_static(expires));
    }
    response
}

/// Answers in place of a server that is not up.
async fn started(State(server): State<Server>, request: Request, next: Next) -> Response {
    let start = *server.tool.start.lock().unwrap_or_else(PoisonError::into_inner);
    match start {
        Start::Up => next.run(request).await,
        Start::Strange(_) if request.headers().contains_key(header::AUTHORIZATION) => {
            Refused(StatusCode::UNAUTHORIZED, "User is not authenticated".to_owned()).into_response()
        }
        Start::Strange(_) => next.run(request).await,
        Start::Failing(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Start::Unrouted(_) | Start::Dumb => Refused::not_found(format!("Unknown url : {}", request.uri().path())).into_response(),
    }
}

async fn status(State(server): State<Server>) -> Response {
    let status = match *server.tool.start.lock().unwrap_or_else(PoisonError::into_inner) {
        Start::Up => "UP",
        Start::Unrouted(status) | Start::Strange(status) | Start::Failing(status) => status,
        Start::Dumb => return Refused::not_found("Unknown url : /api/system/status".to_owned()).into_response(),
    };
    Json(json!({ "id": "20150504120436", "version": server.tool.version, "status": status })).into_response()
}

async fn unknown(uri: Uri) -> Response {
    if uri.path().starts_with("/api/v2/") {
        return (StatusCode::NOT_FOUND, Json(json!({ "message": format!("No endpoint GET {}.", uri.path()) }))).into_response();
    }
    Refused::not_found(format!("Unknown url : {}", uri.path())).into_response()
}

async fn version(State(server): State<Server>) -> &'static str {
    server.tool.version
}

/// A bad token is no error here.
async fn validate(State(server): State<Server>, headers: HeaderMap) -> Json<Value> {
    Json(json!({ "valid": server.tool.accepts(&headers) }))
}

async fn mode(State(server): State<Server>) -> Json<Value> {
    Json(json!({ "mode": if server.tool.edition.mqr { "MQR" } else { "STANDARD_EXPERIENCE" }, "modified": false }))
}

async fn organizations(State(server): State<Server>) -> Json<Value> {
    let route = "GET /api/organizations/search";
    let organizations =
        if server.lost_role(route) { json!([]) } else { json!([{ "key": ORGANIZATION, "name": "Acme", "actions": { "admin": false } }]) };
    let total = organizations.as_array().map_or(0, Vec::len);
    Json(json!({ "paging": { "pageIndex": 1, "pageSize": 100, "total": total }, "organizations": organizations }))
}
