//! Probely (Snyk API & Web): targets, findings and scans of one region.
//!
//! In front of it stands a proxy that refuses clients without a name of their own. Ids of findings count within a target.
//! A fixed finding stays in the list; one that is deleted is in none. What people decide moves `changed` of the finding, and
//! no scan. Unknown parameters, and orders that do not exist, are ignored; an unknown value of a choice is refused.
//!
//! Keys of the [`Oracle`] are `target/finding`. Pages have numbers, so [`Fault::ExpiredCursor`] is ignored.

#[cfg(test)]
mod tests;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use self::world::{Finding, World};
use crate::{Change, Fault, Faults, Make, Oracle, Size, Truth, Vendor};

/// Stands wherever the real tool has secrets of the scanned site. No client may keep it.
pub const CANARY: &str = "canary-4be7a913";
const KEY: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJqdGkiOiI4ZDVjOWYxZSJ9.c2ltdWxhdGVkLXByb2JlbHkta2V5";
const STATES: [&str; 5] = ["notfixed", "fixed", "accepted", "invalid", "retesting"];
/// Rows of a page at most.
const LONGEST: usize = 10_000;

/// A simulated region.
#[derive(Debug)]
pub struct Probely {
    longest: usize,
    is_elsewhere: bool,
    permissions: Vec<&'static str>,
    /// How many of the targets the key's team has.
    seen: usize,
    world: Mutex<World>,
}

impl Probely {
    /// An account whose key may look at all targets. One target was never scanned, one has five open findings; two ids differ
    /// only in their case.
    pub fn new(size: Size) -> Self {
        Probely {
            longest: LONGEST,
            is_elsewhere: false,
            permissions: vec!["view_account", "view_target"],
            seen: usize::MAX,
            world: Mutex::new(World::new(size)),
        }
    }

    /// The key belongs to another region.
    #[must_use]
    pub fn of_another_region(mut self) -> Self {
        self.is_elsewhere = true;
        self
    }

    /// Pages are no longer than this, whatever is asked for.
    #[must_use]
    pub fn with_pages_of(mut self, longest: usize) -> Self {
        self.longest = longest;
        self
    }

    /// Takes a permission away from the key's role.
    #[must_use]
    pub fn without_permission(mut self, name: &str) -> Self {
        self.permissions.retain(|known| *known != name);
        self
    }

    /// The key's scope is a team that has only this many of the targets.
    #[must_use]
    pub fn scoped_to(mut self, targets: usize) -> Self {
        self.seen = targets;
        self
    }

    /// The next step deletes the last target but one; nothing is known of its findings then.
    #[must_use]
    pub fn losing_a_target(self) -> Self {
        self.world().loses = true;
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vendor for Probely {
    fn id(&self) -> &'static str {
        "probely"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let server = Server { tool: self, faults };
        Router::new()
            .route("/{*path}", get(api))
            .fallback(|| std::future::ready(refused(404, "Not found.")))
            .layer(from_fn_with_state(server.clone(), guard))
            .with_state(server)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => refused(403, "You do not have permission to perform this action.").into_response(),
            _ => refused(401, "Incorrect authentication credentials.").into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", KEY.to_owned())]
    }

    fn text_member(&self) -> &'static str {
        "evidence"
    }

    fn totals(&self) -> &'static [&'static str] {
        &["count", "page_total"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["GET /profile/", "GET /account/", "GET /targets/", "GET /targets/{}/", "GET /targets/{}/findings/", "GET /findings/"]
    }

    fn cannot(&self, fault: &Fault) -> Option<&'static str> {
        match fault {
            Fault::ExpiredCursor => Some("page numbers"),
            Fault::NoFilters => Some("no filter is asked for"),
            _ => None,
        }
    }

    fn several_pages(&self) -> usize {
        200
    }

    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[("with short pages", |size| Arc::new(Probely::new(size).with_pages_of(10)))]
    }

    fn step(&self, change: &Change) {
        self.world().step(change);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let seen = || world.targets.iter().take(self.seen);
        let records = seen().filter(|target| target.listed).map(|target| (target.id.clone(), target.name.clone()));
        let mut oracle = Oracle { records: records.collect(), ..Oracle::default() };
        for target in seen() {
            for finding in target.findings.iter().map(|row| &world.findings[*row]).filter(|finding| finding.ever_open) {
                let truth = Truth { record: target.id.clone(), severity: finding.severity(), state: finding.state() };
                oracle.findings.insert(format!("{}/{}", target.id, finding.id), truth);
            }
        }
        oracle
    }
}

#[derive(Clone)]
struct Server {
    tool: Arc<Probely>,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Refused(u16, Value);

fn refused(status: u16, detail: &str) -> Refused {
    Refused(status, json!({ "detail": detail }))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.1)).into_response();
        if self.0 == 401 {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("JWT realm=\"api\""));
        }
        response
    }
}

/// Whether the proxy lets this client pass: it has to have a name, other than those of libraries.
fn is_welcome(agent: &str) -> bool {
    const LIBRARIES: [&str; 7] = ["python-urllib", "python-requests", "go-http-client", "java/", "libwww-perl", "okhttp", "reqwest"];
    let agent = agent.trim().to_ascii_lowercase();
    !agent.is_empty() && !LIBRARIES.iter().any(|library| agent.starts_with(library))
}

async fn guard(State(server): State<Server>, uri: Uri, headers: HeaderMap, request: Request, next: Next) -> Response {
    let of = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_welcome(of(header::USER_AGENT)) {
        let page = "<!doctype html><html><head><title>Access denied | Cloudflare</title></head><body><h1>Error 1010</h1>\
            <p>The owner of this website has banned your access based on your browser's signature.</p></body></html>";
        return (StatusCode::FORBIDDEN, [(header::SERVER, "cloudflare")], Html(page)).into_response();
    }
    if !uri.path().ends_with('/') {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, format!("{}/{query}", uri.path()))]).into_response();
    }
    match of(header::AUTHORIZATION).split_once(' ') {
        Some(("JWT", key)) if key == KEY && !server.tool.is_elsewhere => next.run(request).await,
        Some(("JWT", _)) => refused(401, "Incorrect authentication credentials.").into_response(),
        _ => refused(401, "Authentication credentials were not provided.").into_response(),
    }
}

async fn api(State(server): State<Server>, uri: Uri, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let asked = Asked { server: &server, pairs };
    let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let answered = match path[..] {
        ["profile"] => Ok(json!({ "id": "9pRof1Le2aDq", "email": "", "name": "tributary-reader", "is_apiuser": true }).to_string()),
        ["account"] => asked.account(),
        ["targets"] => asked.targets(),
        ["targets", target] => asked.target(target),
        ["targets", target, "findings"] => asked.findings(Some(target)),
        ["targets", target, "findings", id] => asked.finding(Some(target), id),
        ["targets", target, "scans"] => asked.scans(Some(target)),
        ["findings"] => asked.findings(None),
        ["findings", id] => asked.finding(None, id),
        ["scans"] => asked.scans(None),
        _ => Err(refused(404, "Not found.")),
    };
    match answered {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// One request: with what.
struct Asked<'a> {
    server: &'a Server,
    pairs: Vec<(String, String)>,
}

impl Asked<'_> {
    fn one(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Values of a parameter that may come again; `None` when nothing is asked for.
    fn all(&self, name: &str) -> Option<Vec<&str>> {
        let values: Vec<&str> =
            self.pairs.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then_some(values)
    }

    fn choice(&self, name: &str, allowed: &[&str]) -> Result<Option<Vec<&str>>, Refused> {
        let values = self.all(name);
        match values.iter().flatten().find(|value| !allowed.contains(value)) {
            Some(value) => {
                let message = format!("Select a valid choice. {value} is not one of the available choices.");
                Err(Refused(400, json!({ name: [message] })))
            }
            None => Ok(values),
        }
    }

    fn needs(&self, permission: &str) -> Result<(), Refused> {
        if self.server.tool.permissions.contains(&permission) {
            Ok(())
        } else {
            Err(refused(403, "You do not have permission to perform this action."))
        }
    }

    /// The page of these rows that is asked for, with the faults that only a list knows.
    fn page<T: Copy>(
        &self,
        route: &str,
        rows: &[T],
        text: impl Fn(T) -> String,
        odd: impl Fn(&[T]) -> Option<(usize, String)>,
    ) -> Result<String, Refused> {
        let number = |name: &str| self.one(name).map(|text| text.parse::<usize>().unwrap_or(0));
        let length = number("length").filter(|length| *length > 0).unwrap_or(10).min(self.server.tool.longest);
        let fault = self.server.faults.take(route);
        let rows = if fault == Some(Fault::NoRole) { &[] } else { rows };
        let total = rows.len().div_ceil(length).max(1);
        let page = match self.one("page") {
            None => 1,
            Some("last") => total,
            Some(_) => number("page").filter(|page| (1..=total).contains(page)).ok_or_else(|| refused(404, "Invalid page."))?,
        };
        let mut from = (page - 1) * length;
        match fault {
            Some(Fault::DuplicatePage) => from = from.saturating_sub(length),
            Some(Fault::RepeatedCursor) => from = 0,
            Some(Fault::ShiftedPage) if from > 0 => from += 1,
            _ => {}
        }
        let shown: Vec<T> = rows.iter().skip(from).take(length).copied().collect();
        let mut texts: Vec<String> = shown.iter().map(|row| text(*row)).collect();
        match fault {
            Some(Fault::BadItem) if !texts.is_empty() => "[1,2]".clone_into(&mut texts[0]),
            Some(Fault::UnknownEnum) => {
                if let Some((at, text)) = odd(&shown) {
                    texts[at] = text;
                }
            }
            _ => {}
        }
        let count = rows.len();
        Ok(format!(r#"{{"count":{count},"page_total":{total},"page":{page},"length":{length},"results":[{}]}}"#, texts.join(",")))
    }

    fn account(&self) -> Result<String, Refused> {
        self.needs("view_account")?;
        Ok(json!({ "id": "4cC0untAcme1", "name": "Acme", "status": "active", "plan": { "id": "pro", "name": "Pro" } }).to_string())
    }

    /// Where a target stands that this key may see.
    fn find(&self, world: &World, id: &str) -> Result<usize, Refused> {
        self.needs("view_target")?;
        let found = world.targets.iter().take(self.server.tool.seen).position(|target| target.listed && target.id == id);
        found.ok_or_else(|| refused(404, "Not found."))
    }

    /// All targets that this key may see.
    fn seen(&self, world: &World) -> Result<Vec<usize>, Refused> {
        self.needs("view_target")?;
        Ok((0..world.targets.len().min(self.server.tool.seen)).filter(|target| world.targets[*target].listed).collect())
    }

    fn targets(&self) -> Result<String, Refused> {
        let kinds = self.choice("type", &["single", "api"])?;
        let search = self.one("search").unwrap_or_default().to_lowercase();
        let world = self.server.tool.world();
        let mut rows = self.seen(&world)?;
        rows.retain(|row| {
            let target = &world.targets[*row];
            kinds.as_ref().is_none_or(|kinds| kinds.contains(&target.kind)) && target.name.to_lowercase().contains(&search)
        });
        self.page("GET /targets/", &rows, |row| world.targets[row].body.clone(), |_| None)
    }

    fn target(&self, id: &str) -> Result<String, Refused> {
        let world = self.server.tool.world();
        Ok(world.targets[self.find(&world, id)?].body.clone())
    }

    fn scans(&self, target: Option<&str>) -> Result<String, Refused> {
        let world = self.server.tool.world();
        let targets = match target {
            Some(id) => vec![self.find(&world, id)?],
            None => self.seen(&world)?,
        };
        let mut rows: Vec<&str> = targets.iter().flat_map(|target| &world.targets[*target].scans).map(|scan| scan.body.as_str()).collect();
        if self.one("ordering") == Some("-started") {
            rows.reverse();
        }
        self.page("GET /scans/", &rows, ToOwned::to_owned, |_| None)
    }

    fn findings(&self, target: Option<&str>) -> Result<String, Refused> {
        let world = self.server.tool.world();
        let only = target.map(|id| self.find(&world, id)).transpose()?;
        let seen = self.seen(&world)?;
        let levels = self.choice("severity", &["10", "20", "30", "40"])?;
        let states = self.choice("state", &STATES)?;
        let (labels, scans, of) = (self.all("label"), self.all("scan"), self.all("target").filter(|_| only.is_none()));
        let (search, is_new) = (self.one("search").unwrap_or_default(), self.one("new"));
        let order = self.one("ordering").unwrap_or_default();
        let prepared = match (only, order) {
            (Some(target), "-last_found") => &world.targets[target].newest,
            (Some(target), _) => &world.targets[target].findings,
            (None, "-last_found") => &world.newest,
            // In the order in which they were made.
            (None, _) => &(0..world.findings.len()).collect(),
        };
        let quoted = |value: &&str| format!("\"{value}\"");
        let keep = |finding: &Finding| {
            finding.listed
                && seen.binary_search(&finding.target).is_ok()
                && levels.as_ref().is_none_or(|levels| levels.iter().any(|level| level.parse() == Ok(finding.level)))
                && states.as_ref().is_none_or(|states| states.contains(&finding.word))
                && of.as_ref().is_none_or(|targets| targets.contains(&world.targets[finding.target].id.as_str()))
                && labels.as_ref().is_none_or(|labels| labels.iter().any(|label| finding.says(&quoted(label))))
                && scans.as_ref().is_none_or(|scans| scans.iter().any(|scan| finding.says(&quoted(scan))))
                && is_new.is_none_or(|value| finding.says(&format!("\"new\":{value}")))
                && (search.is_empty() || finding.says(search))
        };
        let mut rows: Vec<usize> = prepared.iter().copied().filter(|row| keep(&world.findings[*row])).collect();
        match order {
            "last_found" => rows.sort_by_key(|row| world.findings[*row].found),
            "changed" => rows.sort_by_key(|row| world.findings[*row].changed),
            "-changed" => rows.sort_by_key(|row| -world.findings[*row].changed),
            "severity" => rows.sort_by_key(|row| world.findings[*row].level),
            "-severity" => rows.sort_by_key(|row| -world.findings[*row].level),
            _ => {}
        }
        let odd = |shown: &[usize]| {
            let at = shown.iter().position(|row| world.findings[*row].is_open())?;
            Some((at, world.odd_text(&world.findings[shown[at]])))
        };
        let route = target.map_or_else(|| "GET /findings/".to_owned(), |id| format!("GET /targets/{id}/findings/"));
        self.page(&route, &rows, |row| world.text(&world.findings[row]), odd)
    }

    fn finding(&self, target: Option<&str>, id: &str) -> Result<String, Refused> {
        let world = self.server.tool.world();
        let only = target.map(|id| self.find(&world, id)).transpose()?;
        let seen = self.seen(&world)?;
        let fits = |finding: &&Finding| {
            finding.listed
                && id.parse() == Ok(finding.id)
                && seen.contains(&finding.target)
                && only.is_none_or(|target| target == finding.target)
        };
        // Without a target the number is not unique: the first is as good as any.
        let found = world.findings.iter().find(fits).ok_or_else(|| refused(404, "Not found."))?;
        Ok(world.text(found))
    }
}
