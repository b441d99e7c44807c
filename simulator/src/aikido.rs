//! Aikido Security, public REST API v1: repositories, containers, clouds and domains of one workspace, and its issues.
//!
//! Pages have numbers from 0; where one follows the answer says `x-has-next-page: true`. The list of clouds says nothing. Each
//! kind of place counts its ids by itself. An issue that was closed stays in the export, and some leave it all the same. What
//! is documented as a filter and not simulated here gets 400, so that nobody believes that it worked. Undocumented, and
//! decided so: pages of 1000 issues and of 20 of all else where no size is asked for; the export comes in the order of ids.
//!
//! Keys of the [`Oracle`]'s records have the kind of place before the id, as in `code_repo:7`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    Change, Fault, Faults, Make, Oracle, Size, Truth, Vendor,
    body::{body, fill},
    door::{Access, Credential, Tokens, form, scheme},
    ledger::{Fact, Ledger},
    list::List,
    seed::{Seed, spread},
};

const CLIENT: (&str, &str) = ("AIK_CLIENT_sim01", "AIK_SECRET_sim_7d1e0c5ba94f");
/// 2026-04-08, in seconds.
const START: u64 = 1_775_606_400;
const DAY: u64 = 86_400;
/// Kinds of places with the types of issue that are found there.
const PLACES: [(&str, &[&str]); 4] = [
    ("code_repo", &["open_source", "sast", "leaked_secret", "iac", "eol", "license", "malware", "scm_security", "mobile"]),
    ("container_repo", &["docker_container", "open_source"]),
    ("cloud", &["cloud", "cloud_instance"]),
    ("domain", &["surface_monitoring", "ai_pentest"]),
];
/// Groups of issues of one type.
const GROUPS: usize = 3;
const FIRST_GROUP: usize = 26_361_000;

/// A simulated workspace.
#[derive(Debug)]
pub struct Aikido {
    scopes: Vec<&'static str>,
    says_more: bool,
    tokens: Tokens,
    world: Mutex<World>,
}

#[derive(Debug)]
struct World {
    seed: u64,
    places: Vec<Place>,
    issues: Ledger<Issue>,
}

#[derive(Debug)]
struct Place {
    /// Index into [`PLACES`].
    kind: usize,
    id: usize,
    name: String,
    /// A repository that is not active is not listed unless it is asked for.
    active: bool,
}

#[derive(Debug)]
struct Issue {
    id: usize,
    group: usize,
    body: String,
    truth: Truth,
}

impl Aikido {
    /// A workspace whose client may read everything. One place has no issue, one has five.
    pub fn new(size: Size) -> Self {
        let mut world = World { seed: size.seed, places: Vec::new(), issues: Ledger::new(size.seed) };
        for (number, open) in spread(size.findings, size.records.max(5)).enumerate() {
            world.add_place(true);
            world.fill(number, open, open * 5 / 100);
        }
        world.add_place(false);
        let scopes = vec!["issues:read", "repositories:read", "containers:read", "clouds:read", "domains:read"];
        Aikido { scopes, says_more: true, tokens: Tokens::new(Duration::from_secs(3600), u32::MAX), world: Mutex::new(world) }
    }

    /// No answer says whether a page follows.
    #[must_use]
    pub fn saying_nothing_of_pages(mut self) -> Self {
        self.says_more = false;
        self
    }

    /// Takes a scope away from the client.
    #[must_use]
    pub fn without_scope(mut self, name: &str) -> Self {
        self.scopes.retain(|known| *known != name);
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vendor for Aikido {
    fn id(&self) -> &'static str {
        "aikido"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let server = Server { tool: self, faults };
        Router::new()
            .route("/api/public/v1/issues/counts", get(counts))
            .route("/api/public/v1/issues/export", get(export))
            .route("/api/public/v1/open-issue-groups", get(groups))
            .route("/api/public/v1/repositories/code", get(places))
            .route("/api/public/v1/containers", get(places))
            .route("/api/public/v1/clouds", get(places))
            .route("/api/public/v1/domains", get(places))
            .layer(from_fn_with_state(server.clone(), guard))
            .route("/api/oauth/token", post(token))
            .with_state(server)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => refused(403, "You are missing the required scope for this request: 'issues:read'"),
            _ => refused(401, "invalid_client"),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("client_id", CLIENT.0.to_owned()), ("client_secret", CLIENT.1.to_owned())]
    }

    fn text_member(&self) -> &'static str {
        "rule"
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "POST /api/oauth/token",
            "GET /api/public/v1/issues/counts",
            "GET /api/public/v1/issues/export",
            "GET /api/public/v1/open-issue-groups",
            "GET /api/public/v1/repositories/code",
            "GET /api/public/v1/containers",
            "GET /api/public/v1/clouds",
            "GET /api/public/v1/domains",
            "GET /api/public/v1/virtual-machines",
        ]
    }

    fn covers_many(&self) -> bool {
        true
    }

    fn cannot(&self, fault: &Fault) -> Option<&'static str> {
        match fault {
            Fault::ExpiredCursor => Some("page numbers"),
            Fault::NoFilters => Some("no filter is asked for"),
            _ => None,
        }
    }

    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[("that says nothing of pages", |size| Arc::new(Aikido::new(size).saying_nothing_of_pages()))]
    }

    fn step(&self, change: &Change) {
        let world = &mut *self.world();
        let moved = world.issues.advance(change, |_| true);
        let last = world.places.iter().rposition(|place| place.active).unwrap_or(0);
        world.fill(last, moved.new, 0);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let records = world.places.iter().filter(|place| place.active).map(|place| (place.key(), place.name.clone()));
        world.issues.oracle(records, |_| true)
    }
}

impl Place {
    fn kind(&self) -> &'static str {
        PLACES[self.kind].0
    }

    fn key(&self) -> String {
        format!("{}:{}", self.kind(), self.id)
    }

    fn body(&self) -> Value {
        let values = json!({ "id": self.id, "name": self.name, "active": self.active });
        fill(&body!("aikido/places.json")[self.kind()], &values)
    }
}

impl World {
    /// Adds a place; an inactive one is a repository.
    fn add_place(&mut self, active: bool) {
        const NAMES: [&str; 5] = ["shop-api", "billing <b>&amp;</b>", "images/gateway", "Größe production", "www.acme.example"];
        let number = self.places.len();
        let kind = if active { (number % 5).saturating_sub(1) } else { 0 };
        // Each kind counts by itself: the first repository, cloud and domain have the same number.
        let id = 1_841_540 + self.places.iter().filter(|place| place.kind == kind).count();
        self.places.push(Place { kind, id, name: format!("{} {number}", NAMES[number % NAMES.len()]), active });
    }

    /// Adds so many open issues to a place, and some more that somebody has closed already.
    fn fill(&mut self, place: usize, open: usize, closed: usize) {
        for number in 0..open + closed {
            let mut issue = self.issue(place);
            if number >= open {
                issue.judge(["closed", "ignored", "snoozed"][number % 3], START);
            }
            self.issues.add(place, issue);
        }
    }

    fn issue(&self, place: usize) -> Issue {
        const LEVELS: [(&str, u64); 4] = [("critical", 98), ("high", 81), ("medium", 53), ("low", 20)];
        let (owner, number) = (&self.places[place], self.issues.len());
        let mut seed = Seed::of(&[self.seed, 61, number as u64]);
        let kind = seed.pick(PLACES[owner.kind].1);
        let group = number_of(kind) * GROUPS + seed.below(GROUPS);
        let (severity, score) = LEVELS[seed.below(4)];
        let is_package = matches!(kind, "open_source" | "docker_container" | "malware" | "license" | "eol");
        let has_cve = matches!(kind, "open_source" | "docker_container");
        let is_code = matches!(kind, "sast" | "leaked_secret" | "iac");
        let own = |wanted: &str| (owner.kind() == wanted).then_some(owner);
        let [code, container, cloud, domain] = PLACES.map(|(kind, _)| own(kind));
        let id = |place: Option<&Place>| place.map(|place| place.id);
        let name = |place: Option<&Place>| place.map(|place| place.name.clone());
        let cve = if number % 9 == 5 { format!("AIKIDO-2026-{}", 10_000 + group) } else { format!("CVE-2026-{}", 10_000 + group) };
        let values = json!({
            "id": 214_600_000 + number, "group": FIRST_GROUP + group, "surface": if code.is_some() { "backend" } else { "cloud" },
            "severity": severity, "score": score, "cvss": (has_cve || kind == "eol").then_some(score), "type": kind,
            "rule": (!is_package).then(|| format!("{kind} {group} in <script>alert(1)</script>")),
            "rule_id": (!is_package).then(|| format!("AIK_{kind}_{group}")), "package": is_package.then(|| format!("@acme/package-{group}")),
            "cve": has_cve.then_some(cve), "file": code.map(|_| format!("src/größe/{}.ts", number % 90)),
            "detected": START - seed.next() % (90 * DAY) + self.issues.step() * 91 * DAY, "code": id(code), "code_name": name(code),
            "container": id(container), "container_name": name(container), "cloud": id(cloud), "cloud_name": name(cloud),
            "resource": cloud.map(|_| format!("arn:aws:s3:::bucket-{}", number % 50)), "domain": id(domain), "domain_name": name(domain),
            "line": is_code.then_some(number % 400 + 1), "cwe": if has_cve { json!(["CWE-94"]) } else { json!([]) },
            "version": is_package.then_some("4.17.21"), "patched": if has_cve { json!(["3.9.9", " 4.18.1"]) } else { json!([]) },
            "language": is_package.then_some("JS"),
        });
        let body = fill(body!("aikido/issue.json"), &values).to_string();
        Issue { id: 214_600_000 + number, group, body, truth: Truth { record: owner.key(), severity, state: "open" } }
    }
}

/// Where a type of issue stands among all.
fn number_of(kind: &str) -> usize {
    PLACES.iter().flat_map(|(_, kinds)| kinds.iter()).position(|known| *known == kind).unwrap_or(0)
}

impl Fact for Issue {
    fn key(&self) -> String {
        self.id.to_string()
    }

    fn truth(&self) -> Truth {
        self.truth.clone()
    }

    fn fix(&mut self, n: usize, step: u64) -> bool {
        self.judge("closed", START + step * DAY);
        n % 4 != 3
    }

    fn change(&mut self, n: usize, step: u64) {
        match n % 3 {
            0 => self.judge("ignored", START + step * DAY),
            1 => self.judge("snoozed", START + step * DAY),
            _ => {
                self.truth.severity = if self.truth.severity == "low" { "high" } else { "low" };
                let severity = self.truth.severity;
                self.edit(|body| body["severity"] = json!(severity));
            }
        }
    }
}

impl Issue {
    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        edit(&mut body);
        self.body = body.to_string();
    }

    fn judge(&mut self, status: &str, at: u64) {
        self.truth.state = if status == "closed" { "fixed" } else { "risk_accepted" };
        self.edit(|body| {
            body["status"] = json!(status);
            match status {
                "closed" => body["closed_at"] = json!(at),
                "ignored" => (body["ignored_at"], body["ignored_by"]) = (json!(at), json!("jo@acme.example")),
                _ => body["snooze_until"] = json!(at + 30 * DAY),
            }
        });
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Aikido>,
    faults: Arc<Faults>,
}

type Parameters = Query<HashMap<String, String>>;

fn refused(status: u16, error: &str) -> Response {
    (StatusCode::from_u16(status).unwrap_or_default(), Json(json!({ "error": error }))).into_response()
}

/// Client credentials by Basic, with the grant in a form or in JSON.
async fn token(State(server): State<Server>, headers: HeaderMap, text: String) -> Response {
    if Credential::Basic(CLIENT.0, CLIENT.1).of(&headers) != Access::Granted {
        return refused(401, "invalid_client");
    }
    let in_json = || serde_json::from_str::<Value>(&text).ok()?["grant_type"].as_str().map(str::to_owned);
    let grant = form(&headers, &text).and_then(|mut form| form.remove("grant_type")).or_else(in_json);
    if grant.as_deref() != Some("client_credentials") {
        return refused(400, "unsupported_grant_type");
    }
    let token = server.tool.tokens.give(|number| format!("aik.sim.{number}.c0ffee"));
    Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": server.tool.tokens.life().as_secs() })).into_response()
}

async fn guard(State(server): State<Server>, headers: HeaderMap, request: Request, next: Next) -> Response {
    if !scheme(&headers, "Bearer").is_some_and(|token| server.tool.tokens.accepts(token)) {
        return server.tool.refuse(&Fault::Unauthorized);
    }
    let path = request.uri().path().trim_start_matches("/api/public/v1/");
    let needed = match path.split('/').next() {
        Some("issues" | "open-issue-groups") | None => "issues:read",
        Some("repositories") => "repositories:read",
        Some("containers") => "containers:read",
        Some("clouds") => "clouds:read",
        _ => "domains:read",
    };
    if !server.tool.scopes.contains(&needed) {
        return refused(403, &format!("You are missing the required scope for this request: '{needed}'"));
    }
    next.run(request).await
}

/// How many issues and groups are open, by severity.
async fn counts(State(server): State<Server>) -> Json<Value> {
    let world = server.tool.world();
    let open: Vec<_> = world.issues.rows().iter().filter(|row| row.is_open()).map(|row| &row.fact).collect();
    let count = |severity: &str| open.iter().filter(|issue| issue.truth.severity == severity).count();
    let by_severity = json!({
        "all": open.len(), "critical": count("critical"), "high": count("high"), "medium": count("medium"), "low": count("low"),
    });
    let groups = open.iter().map(|issue| issue.group).collect::<BTreeSet<_>>().len();
    Json(json!({ "issue_groups": { "all": groups, "critical": 0, "high": 0, "medium": 0, "low": 0 }, "issues": by_severity }))
}

impl Server {
    /// The page that is asked for of these rows: a list, and in a header whether more follows. Of `sizes` the first is
    /// that of a page where none is asked for, the others the least and the most that can be.
    fn answer<T: AsRef<str>>(
        &self,
        route: &str,
        query: &HashMap<String, String>,
        rows: Vec<T>,
        (usual, least, most): (usize, usize, usize),
    ) -> Response {
        let number = |name: &str, usual: usize| query.get(name).map_or(Some(usual), |text| text.parse().ok());
        let (Some(number), Some(size)) = (number("page", 0), number("per_page", usual)) else {
            return refused(400, "Bad Request: page and per_page are numbers");
        };
        if !(least..=most).contains(&size) {
            return (StatusCode::BAD_REQUEST, Json(json!({ "reason_phrase": format!("per_page is not in {least}..{most}") })))
                .into_response();
        }
        // A fault of a row waits for a page that has one.
        let has_rows = number.saturating_mul(size) < rows.len();
        let fault = self.faults.take(if has_rows { route } else { "GET nothing" });
        let list = List::Numbered { page: number.saturating_add(1), size };
        let Ok(page) = list.page(rows, fault) else { return refused(400, "Bad Request") };
        let odd = |row: &T| {
            let mut body: Value = serde_json::from_str(row.as_ref()).expect("our own JSON");
            let is_open = body["status"] == json!("open");
            (body["status"], body["severity"]) = (json!("pondering"), json!("apocalyptic"));
            is_open.then(|| body.to_string())
        };
        let mut answer = format!("[{}]", page.json(|row| row.as_ref().to_owned(), odd)).into_response();
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.tool.says_more && !route.contains("clouds") {
            answer.headers_mut().insert("x-has-next-page", HeaderValue::from_static(if page.next.is_some() { "true" } else { "false" }));
        }
        answer
    }
}

/// The refusal of a parameter that is documented and not simulated, or not documented.
fn not_simulated(query: &HashMap<String, String>, known: &[(&str, &[&str])]) -> Option<Response> {
    let is_known = |name: &str, value: &str| {
        let paging = ["page", "per_page"].contains(&name);
        paging || known.iter().any(|(known, values)| *known == name && values.contains(&value))
    };
    let odd = query.iter().find(|(name, value)| !is_known(name, value))?;
    Some(refused(400, &format!("Bad Request: {}={} is not simulated", odd.0, odd.1)))
}

async fn export(State(server): State<Server>, Query(query): Parameters) -> Response {
    const STATUSES: &[&str] = &["all", "open", "ignored", "snoozed", "closed"];
    if let Some(refused) = not_simulated(&query, &[("format", &["json"]), ("filter_status", STATUSES)]) {
        return refused;
    }
    let wanted = query.get("filter_status").filter(|status| *status != "all").map(|status| format!(r#""status":"{status}""#));
    let world = server.tool.world();
    let listed = world.issues.rows().iter().filter(|row| row.listed).map(|row| row.fact.body.as_str());
    let rows: Vec<&str> = listed.filter(|body| wanted.as_ref().is_none_or(|wanted| body.contains(wanted))).collect();
    // Without a page everything comes at once.
    let sizes = if query.contains_key("page") { (1000, 1, 5000) } else { (rows.len(), 0, usize::MAX) };
    server.answer("GET /issues/export findings", &query, rows, sizes)
}

/// Groups that hold an open issue.
async fn groups(State(server): State<Server>, Query(query): Parameters) -> Response {
    if let Some(refused) = not_simulated(&query, &[("filter_status", &["open"])]) {
        return refused;
    }
    let world = server.tool.world();
    let open: BTreeSet<usize> = world.issues.rows().iter().filter(|row| row.is_open()).map(|row| row.fact.group).collect();
    let kinds: Vec<&str> = PLACES.iter().flat_map(|(_, kinds)| kinds.iter().copied()).collect();
    let group = |number: &usize| {
        let text = Seed::of(&[world.seed, 62, *number as u64]).prose(200);
        let values = json!({
            "id": FIRST_GROUP + number, "type": kinds[number / GROUPS], "title": format!("@acme/package-{number}"),
            "description": (number % 5 != 4).then_some(text), "score": 80, "severity": "high",
        });
        fill(body!("aikido/group.json"), &values).to_string()
    };
    server.answer("GET /open-issue-groups", &query, open.iter().map(group).collect::<Vec<_>>(), (20, 1, 20))
}

async fn places(State(server): State<Server>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches("/api/public/v1/").to_owned();
    let Ok(Query(query)) = Query::<HashMap<String, String>>::try_from_uri(request.uri()) else { return refused(400, "Bad Request") };
    let (kind, own, sizes): (_, &[(&str, &[&str])], _) = match &*path {
        "repositories/code" => (0, &[("include_inactive", &["true", "false"])], (20, 10, 200)),
        "containers" => (1, &[("filter_status", &["all", "active"])], (20, 1, 200)),
        "clouds" => (2, &[], (20, 1, 20)),
        _ => (3, &[], (20, 1, 20)),
    };
    if let Some(refused) = not_simulated(&query, own) {
        return refused;
    }
    let inactive = query.get("include_inactive").is_some_and(|wanted| wanted == "true");
    let world = server.tool.world();
    let listed = world.places.iter().filter(|place| place.kind == kind && (place.active || inactive));
    let rows = listed.map(|place| place.body().to_string()).collect::<Vec<_>>();
    server.answer(&format!("GET /{path}"), &query, rows, sizes)
}
