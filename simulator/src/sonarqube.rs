//! SonarQube: a server of today, one of 9.9, and Cloud, all with the web API of `api/…`.
//!
//! What is faithful where it hurts: a query reads at most 10,000 results; Cloud's totals stop there; a parameter that the
//! version does not know is ignored (so a wrong name for the project brings the issues of all projects), a value that it
//! does not know is refused; `issues/search` answers an unknown or unreadable project with an empty list.
//! Faults that cannot occur here and are ignored: expired and repeated cursors (pages are numbers).

mod data;
mod search;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{Change, Fault, Faults, Oracle, Size, Vendor};
use data::{Edition, File, Project, World, date};
use search::{Filter, known};

/// A token with the text that HTTP basic authentication makes of it and an empty password.
type Token = (&'static str, &'static str);
const USER: Token = ("squ_9f2c6e0d41b7a85362c0", "c3F1XzlmMmM2ZTBkNDFiN2E4NTM2MmMwOg==");
const PROJECT: Token = ("sqp_51d0b9a7e3f86c24d7a1", "c3FwXzUxZDBiOWE3ZTNmODZjMjRkN2ExOg==");
const CLOUD: Token = ("8d1f6b3a905e7c24", "OGQxZjZiM2E5MDVlN2MyNDo=");
const ORGANIZATION: &str = "acme-org";

type Params = HashMap<String, String>;
type Answer = Result<Response, Refused>;

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

    /// Gives out a token that is made for analyzing one project: it is valid, and may browse nothing.
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

    fn sees(&self, project: &Project) -> bool {
        !project.hidden && self.token != PROJECT
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

/// The page that is asked for.
#[derive(Clone, Copy)]
struct Page {
    number: usize,
    size: usize,
}

impl Page {
    /// `largest` is the size above which a page is refused.
    fn read(params: &Params, default: usize, largest: usize) -> Result<Self, Refused> {
        let number = |name: &str, default: usize| match params.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| Refused::bad(format!("The '{name}' parameter cannot be parsed as an integer value: {text}"))),
        };
        let (page, size) = (number("p", 1)?, number("ps", default)?);
        if size > largest {
            return Err(Refused::bad(format!("'ps' value ({size}) must be less than {largest}")));
        }
        if page < 1 {
            return Err(Refused::bad(format!("Page must be greater or equal to 1 (got {page})")));
        }
        Ok(Page { number: page, size: if size == 0 { largest } else { size } })
    }

    /// Refuses what lies beyond the 10,000 results that the search engine gives.
    fn in_window(self) -> Result<Self, Refused> {
        let last = self.number.saturating_mul(self.size);
        if last > 10_000 {
            return Err(Refused::bad(format!("Can return only the first 10000 results. {last}th result asked.")));
        }
        Ok(self)
    }

    fn of<'a, T>(self, rows: &'a [T], fault: Option<&Fault>) -> &'a [T] {
        let from = (self.number - 1).saturating_mul(self.size);
        let from = match fault {
            Some(Fault::DuplicatePage) => from.saturating_sub(self.size),
            Some(Fault::ShiftedPage) if from > 0 => from + 1,
            Some(Fault::NoRole) => rows.len(),
            _ => from,
        };
        let from = from.min(rows.len());
        &rows[from..from.saturating_add(self.size).min(rows.len())]
    }

    fn paging(self, total: usize) -> Value {
        json!({ "pageIndex": self.number, "pageSize": self.size, "total": total })
    }
}

/// A page of projects. Every row counts, and those that may not be shown are left out.
fn components(server: &Server, route: &str, page: Page, rows: &[Option<Value>]) -> Response {
    let fault = server.faults.take(route);
    let total = if fault == Some(Fault::NoRole) { 0 } else { rows.len() };
    let shown: Vec<&Value> = page.of(rows, fault.as_ref()).iter().flatten().collect();
    Json(json!({ "paging": page.paging(total), "components": shown, "facets": [] })).into_response()
}

fn summary(server: &Server, project: &Project) -> Value {
    let mut body = json!({ "key": project.key, "name": project.name, "qualifier": "TRK", "visibility": "private" });
    if server.tool.edition.cloud {
        body["organization"] = json!(ORGANIZATION);
    }
    body
}

async fn search_projects(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let edition = server.tool.edition;
    server.tool.organization(&params)?;
    let page = Page::read(&params, 100, 500)?.in_window()?;
    let filter = params.get("filter").map(|text| text.replace(' ', "").to_lowercase());
    let (projects, applications) = match filter.as_deref() {
        None | Some("") => (true, true),
        Some("qualifier=trk" | "qualifierin(trk)") => (true, false),
        Some("qualifier=app" | "qualifierin(app)") => (false, true),
        Some(other) => return Err(Refused::bad(format!("Invalid criterion '{other}'"))),
    };
    let fields: Vec<&str> = params.get("f").map(|text| text.split(',').collect()).unwrap_or_default();
    let mut rows = Vec::new();
    // Applications of the commercial editions are listed beside the projects.
    if applications && !edition.cloud && !edition.community {
        rows.push(Some(json!({ "key": "all-shops", "name": "All shops", "qualifier": "APP", "isFavorite": false, "tags": [], "visibility": "private" })));
    }
    let world = server.tool.world();
    for project in world.projects.iter().filter(|_| projects) {
        let mut body = summary(&server, project);
        body["isFavorite"] = json!(false);
        body["tags"] = json!(["team-a"]);
        if !edition.old && !edition.cloud {
            body["isAiCodeAssured"] = json!(false);
        }
        if let Some(analysis) = project.analysis.filter(|_| fields.contains(&"analysisDate") && !edition.cloud) {
            body["analysisDate"] = json!(date(analysis));
        }
        rows.push(server.tool.sees(project).then_some(body));
    }
    Ok(components(&server, "GET /api/components/search_projects", page, &rows))
}

async fn projects_search(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    server.tool.organization(&params)?;
    if !server.tool.edition.cloud && !server.tool.is_admin {
        return Err(Refused::forbidden());
    }
    let page = Page::read(&params, 100, 500)?;
    let world = server.tool.world();
    // The administrator is shown every project, and Cloud shows those that may be browsed.
    let shown = world.projects.iter().filter(|project| !server.tool.edition.cloud || server.tool.sees(project));
    let rows: Vec<Option<Value>> = shown
        .map(|project| {
            let mut body = summary(&server, project);
            if let Some(analysis) = project.analysis {
                body["lastAnalysisDate"] = json!(date(analysis));
                body["revision"] = json!("cfb82f55c6ef32e61828c4cb3db2da12795fd767");
            }
            Some(body)
        })
        .collect();
    Ok(components(&server, "GET /api/projects/search", page, &rows))
}

async fn components_search(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    server.tool.organization(&params)?;
    match params.get("qualifiers") {
        None if !server.tool.edition.cloud => return Err(Refused::bad("The 'qualifiers' parameter is missing")),
        None => {}
        Some(word) => _ = known("qualifiers", word, &["APP", "SVW", "TRK", "VW"])?,
    }
    let page = Page::read(&params, 100, 500)?.in_window()?;
    let world = server.tool.world();
    let shown =
        world.projects.iter().filter(|project| server.tool.sees(project) && params.get("qualifiers").is_none_or(|word| word == "TRK"));
    let rows: Vec<Option<Value>> = shown.map(|project| Some(summary(&server, project))).collect();
    Ok(components(&server, "GET /api/components/search", page, &rows))
}

/// The project of that key that may be browsed, or the tool's refusal.
fn browse<'a>(server: &Server, world: &'a World, key: &str, route: &str, missing: &str) -> Result<&'a Project, Refused> {
    let Some(project) = world.projects.iter().find(|project| project.key == key) else {
        return Err(Refused::not_found(format!("{missing} '{key}' not found")));
    };
    if !server.tool.sees(project) || server.lost_role(route) { Err(Refused::forbidden()) } else { Ok(project) }
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, Refused> {
    let value = params.get(name).map(String::as_str).filter(|text| !text.is_empty());
    value.ok_or_else(|| Refused::bad(format!("The '{name}' parameter is missing")))
}

/// The number of the branch or pull request that is asked for. Where there is one branch only, none is found by its name.
fn branch(server: &Server, params: &Params, project: &Project) -> Option<u8> {
    let Some(name) = params.get("branch").or_else(|| params.get("pullRequest")) else { return Some(0) };
    if server.tool.edition.community {
        return None;
    }
    project.branches.iter().position(|(known, _)| known == name).and_then(|number| u8::try_from(number).ok())
}

async fn component(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let key = required(&params, "component")?;
    let world = server.tool.world();
    let project = browse(&server, &world, key, "GET /api/components/show", "Component key")?;
    if branch(&server, &params, project).is_none() {
        let name = params.get("branch").map(String::as_str).unwrap_or_default();
        return Err(Refused::not_found(format!("Component '{key}' on branch '{name}' not found")));
    }
    let mut body = summary(&server, project);
    if let Some(analysis) = project.analysis {
        body["analysisDate"] = json!(date(analysis));
        body["version"] = json!("1.4-SNAPSHOT");
    }
    Ok(Json(json!({ "component": body, "ancestors": [] })).into_response())
}

async fn branches(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let key = required(&params, "project")?;
    let world = server.tool.world();
    let project = browse(&server, &world, key, "GET /api/project_branches/list", "Project")?;
    let branches = project.branches.iter().enumerate().filter(|(_, (_, pull))| !pull).map(|(number, (name, _))| {
        let mut body = json!({ "name": name, "isMain": number == 0, "type": if server.tool.edition.cloud { "LONG" } else { "BRANCH" },
            "status": { "qualityGateStatus": "OK" }, "excludedFromPurge": number == 0 });
        if let Some(analysis) = project.analysis {
            body["analysisDate"] = json!(date(analysis));
        }
        body
    });
    Ok(Json(json!({ "branches": branches.collect::<Vec<_>>() })).into_response())
}

/// Which row of a page shows what only one item can show: the first open one. The route of a page without one, or of a page
/// that was asked for to count, is not named as a list of findings.
fn odd(server: &Server, route: &str, page: Page, is_open: impl Iterator<Item = bool>) -> (Option<Fault>, Option<usize>) {
    let first = is_open.enumerate().find(|(_, open)| *open).map(|(number, _)| number).filter(|_| page.size > 1);
    let fault = server.faults.take(&if first.is_some() { format!("{route} findings") } else { route.to_owned() });
    let first = first.filter(|_| matches!(fault, Some(Fault::UnknownEnum | Fault::BadItem)));
    (fault, first)
}

/// Puts the bodies together, one of them made odd.
fn join<'a>(bodies: impl Iterator<Item = &'a str>, fault: Option<&Fault>, odd: Option<usize>) -> String {
    let mut text = String::new();
    for (number, body) in bodies.enumerate() {
        if number > 0 {
            text.push(',');
        }
        match fault {
            Some(Fault::BadItem) if odd == Some(number) => text.push_str("[1,2]"),
            Some(Fault::UnknownEnum) if odd == Some(number) => {
                let mut body: Value = serde_json::from_str(body).expect("our own JSON");
                for (field, word) in [
                    ("status", "PONDERING"),
                    ("issueStatus", "PONDERING"),
                    ("severity", "APOCALYPTIC"),
                    ("vulnerabilityProbability", "CERTAIN"),
                ] {
                    if let Some(value) = body.get_mut(field) {
                        *value = json!(word);
                    }
                }
                for impact in body["impacts"].as_array_mut().into_iter().flatten() {
                    impact["severity"] = json!("APOCALYPTIC");
                }
                text.push_str(&body.to_string());
            }
            _ => text.push_str(body),
        }
    }
    text
}

/// The components that the items of a page name, each once.
fn named<'a>(files: impl Iterator<Item = (&'a Project, u32)>) -> String {
    let mut seen = BTreeSet::new();
    let mut bodies: Vec<&str> = Vec::new();
    for (project, number) in files {
        for number in [0, number] {
            if seen.insert((project.key.as_str(), number)) {
                let file: &File = &project.files[number as usize];
                bodies.push(&file.component);
            }
        }
    }
    bodies.join(",")
}

fn raw(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// What a filter finds, remembered for the next page of the same query.
fn find(world: &mut World, filter: &Filter, params: &Params) -> Result<Arc<Vec<(u32, u32)>>, Refused> {
    let paging = ["p", "ps", "facets", "additionalFields"];
    let mut query: Vec<String> =
        params.iter().filter(|(name, _)| !paging.contains(&name.as_str())).map(|(name, value)| format!("{name}={value}")).collect();
    query.sort_unstable();
    let query = query.join("&");
    if let Some(rows) = world.found.get(&query) {
        return Ok(Arc::clone(rows));
    }
    let rows = Arc::new(filter.rows(world, params)?);
    if world.found.len() >= 16 {
        world.found.clear();
    }
    world.found.insert(query, Arc::clone(&rows));
    Ok(rows)
}

async fn issues(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let edition = server.tool.edition;
    let page = Page::read(&params, if edition.cloud { 50 } else { 100 }, 500)?.in_window()?;
    let mut world = server.tool.world();
    let filter = Filter::read(&params, edition, &world, |project| server.tool.sees(project))?;
    let rows = find(&mut world, &filter, &params)?;
    let mut facets = filter.facets(&world, &params, edition)?;
    let open = page.of(&rows, None).iter().map(|row| world.row(*row).1.is_open());
    let (fault, odd) = odd(&server, "GET /api/issues/search", page, open);
    let mut total = if edition.cloud { rows.len().min(10_000) } else { rows.len() };
    if fault == Some(Fault::NoRole) {
        (total, facets) = (0, Vec::new());
    }
    let shown: Vec<(&Project, &data::Row)> = page.of(&rows, fault.as_ref()).iter().map(|row| world.row(*row)).collect();
    let more: Vec<&str> = params.get("additionalFields").map(|text| text.split(',').collect()).unwrap_or_default();
    for word in &more {
        known(
            "additionalFields",
            word,
            &["_all", "actions", "comments", "languages", "rules", "ruleDescriptionContextKey", "transitions", "users"],
        )?;
    }
    let rules = if more.contains(&"rules") || more.contains(&"_all") {
        let numbers: BTreeSet<u16> = shown.iter().map(|(_, row)| row.rule).collect();
        let rules: Vec<Value> = numbers.iter().map(|number| world.rules[usize::from(*number)].brief()).collect();
        format!(r#","rules":{}"#, json!(rules))
    } else {
        String::new()
    };
    Ok(raw(format!(
        r#"{{"total":{total},"p":{},"ps":{},"paging":{},"effortTotal":{},"issues":[{}],"components":[{}]{rules},"facets":{}}}"#,
        page.number,
        page.size,
        page.paging(total),
        15 * total,
        join(shown.iter().map(|(_, row)| row.body.as_str()), fault.as_ref(), odd),
        named(shown.iter().map(|(project, row)| (*project, row.file))),
        json!(facets),
    )))
}

/// Reads the database: no window, and a total that says nothing.
async fn issues_list(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let page = Page::read(&params, 100, 500)?;
    let key = params.get("project").or_else(|| params.get("component"));
    let key = key.ok_or_else(|| Refused::bad("Either 'project' or 'component' parameter must be provided"))?;
    let route = "GET /api/issues/list";
    let mut world = server.tool.world();
    let project = browse(&server, &world, key, route, "Project")?;
    // Only these parameters are known here.
    let known = ["types", "resolved"].into_iter().filter_map(|name| params.get_key_value(name));
    let mut known: Params = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    known.insert("components".to_owned(), project.key.clone());
    match branch(&server, &params, project) {
        None => {
            return Err(Refused::not_found(format!(
                "Component '{key}' on branch '{}' not found",
                params.get("branch").map_or("", String::as_str)
            )));
        }
        Some(number) if number > 0 => _ = known.insert("branch".to_owned(), project.branches[usize::from(number)].0.to_owned()),
        Some(_) => {}
    }
    let filter = Filter::read(&known, server.tool.edition, &world, |project| server.tool.sees(project))?;
    let rows = find(&mut world, &filter, &known)?;
    let (fault, odd) = odd(&server, route, page, page.of(&rows, None).iter().map(|row| world.row(*row).1.is_open()));
    let shown: Vec<(&Project, &data::Row)> = page.of(&rows, fault.as_ref()).iter().map(|row| world.row(*row)).collect();
    Ok(raw(format!(
        r#"{{"paging":{},"issues":[{}],"components":[{}]}}"#,
        page.paging(page.size),
        join(shown.iter().map(|(_, row)| row.body.as_str()), fault.as_ref(), odd),
        named(shown.iter().map(|(project, row)| (*project, row.file))),
    )))
}

async fn hotspots(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let edition = server.tool.edition;
    let page = Page::read(&params, 100, usize::MAX)?;
    let page = Page { size: page.size.min(500), ..page }.in_window()?;
    let name = if edition.old || edition.cloud { "projectKey" } else { "project" };
    let key = params.get(name).or_else(|| params.get("projectKey"));
    let keys: Option<Vec<&str>> = params.get("hotspots").map(|text| text.split(',').collect());
    let status = params.get("status").map(|word| known("status", word, &["TO_REVIEW", "REVIEWED"])).transpose()?;
    let words: &[&str] = if edition.cloud { &["FIXED", "SAFE"] } else { &["FIXED", "SAFE", "ACKNOWLEDGED"] };
    let resolution = params.get("resolution").map(|word| known("resolution", word, words)).transpose()?;
    if let Some(word) = resolution.filter(|_| status != Some("REVIEWED")) {
        let message = format!("Value '{word}' of parameter 'resolution' can only be provided if value of parameter 'status' is 'REVIEWED'");
        return Err(Refused::bad(message));
    }
    let route = "GET /api/hotspots/search";
    let world = server.tool.world();
    let mut projects: Vec<(&Project, u8)> = Vec::new();
    match (key, &keys) {
        (None, None) => {
            return Err(Refused::bad(format!("A value must be provided for either parameter '{name}' or parameter 'hotspots'")));
        }
        (Some(_), Some(_)) => return Err(Refused::bad(format!("Parameters '{name}' and 'hotspots' are mutually exclusive"))),
        (None, Some(_)) if status.is_some() => return Err(Refused::bad("Parameter 'status' can't be used with parameter 'hotspots'")),
        (None, Some(_)) => projects.extend(world.projects.iter().filter(|project| server.tool.sees(project)).map(|project| (project, 0))),
        (Some(key), None) => {
            let project = browse(&server, &world, key, route, "Project")?;
            // Cloud does not know the parameter.
            let number = if edition.cloud { Some(0) } else { branch(&server, &params, project) };
            let number = number.ok_or_else(|| Refused::not_found(format!("Project '{key}' not found")))?;
            projects.push((project, number));
        }
    }
    let mut rows = Vec::new();
    for (project, branch) in projects {
        let fits = |spot: &&data::Spot| {
            spot.listed
                && spot.branch == branch
                && keys.as_ref().is_none_or(|keys| keys.contains(&spot.key.as_str()))
                && status.is_none_or(|status| (status == "REVIEWED") != spot.resolution.is_empty())
                && resolution.is_none_or(|resolution| spot.resolution == resolution)
        };
        rows.extend(project.spots.iter().filter(fits).map(|spot| (project, spot)));
    }
    let (fault, odd) = odd(&server, route, page, page.of(&rows, None).iter().map(|(_, spot)| spot.is_open()));
    let shown = page.of(&rows, fault.as_ref());
    let total = if edition.cloud { rows.len().min(10_000) } else { rows.len() };
    Ok(raw(format!(
        r#"{{"paging":{},"hotspots":[{}],"components":[{}]}}"#,
        page.paging(if fault == Some(Fault::NoRole) { 0 } else { total }),
        join(shown.iter().map(|(_, spot)| spot.body.as_str()), fault.as_ref(), odd),
        named(shown.iter().map(|(project, spot)| (*project, spot.file))),
    )))
}

async fn hotspot(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let key = required(&params, "hotspot")?;
    let world = server.tool.world();
    let mut all = world.projects.iter().flat_map(|project| project.spots.iter().map(move |spot| (project, spot)));
    let Some((project, spot)) = all.find(|(_, spot)| spot.key == key && spot.listed) else {
        return Err(Refused::not_found(format!("Hotspot '{key}' does not exist")));
    };
    if !server.tool.sees(project) || server.lost_role("GET /api/hotspots/show") {
        return Err(Refused::forbidden());
    }
    let mut body: Value = serde_json::from_str(&spot.body).expect("our own JSON");
    let component: Value = serde_json::from_str(&project.files[spot.file as usize].component).expect("our own JSON");
    body["component"] = component;
    body["project"] = serde_json::from_str(&project.files[0].component).expect("our own JSON");
    body["rule"] = world.rules[usize::from(spot.rule)].of_hotspot();
    for list in ["changelog", "comment", "users"] {
        body[list] = json!([]);
    }
    body["canChangeStatus"] = json!(false);
    for field in ["securityCategory", "vulnerabilityProbability", "ruleKey"] {
        body.as_object_mut().expect("an object").remove(field);
    }
    Ok(Json(body).into_response())
}

async fn rule(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    server.tool.organization(&params)?;
    let key = required(&params, "key")?;
    let world = server.tool.world();
    let rule = world.rules.iter().find(|rule| rule.key == key);
    let rule = rule.ok_or_else(|| Refused::not_found(format!("Rule not found: {key}")))?;
    Ok(Json(json!({ "rule": rule.show(server.tool.edition), "actives": [] })).into_response())
}

async fn rules(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    server.tool.organization(&params)?;
    let page = Page::read(&params, 100, 500)?.in_window()?;
    let asks = |name: &str| params.get(name).map(|text| text.split(',').collect::<Vec<_>>());
    let (repositories, languages) = (asks("repositories"), asks("languages"));
    let world = server.tool.world();
    let fits = |rule: &&data::Rule| {
        params.get("rule_key").is_none_or(|key| *key == rule.key)
            && languages.as_ref().is_none_or(|languages| languages.contains(&rule.language))
            && repositories.as_ref().is_none_or(|known| rule.key.split(':').next().is_some_and(|name| known.contains(&name)))
    };
    let rows: Vec<Value> = world.rules.iter().filter(fits).map(|rule| rule.show(server.tool.edition)).collect();
    let (total, shown) = (rows.len(), page.of(&rows, None));
    let body = json!({ "total": total, "p": page.number, "ps": page.size, "rules": shown, "paging": page.paging(total) });
    Ok(Json(body).into_response())
}
