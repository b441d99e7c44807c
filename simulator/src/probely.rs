//! Probely (Snyk API & Web): targets and findings of one region.
//!
//! In front of it stands a proxy that refuses clients without a name of their own. Ids of findings count within a target.
//! A fixed finding stays in the list; one that is deleted is in none. What people decide moves `changed` of the finding, and
//! no scan. Documented filters are not simulated and refused, so that nobody believes that they worked.
//!
//! Keys of the [`Oracle`] are `target/finding`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Change, Fault, Faults, Make, Oracle, Raw, Size, Truth, Vendor,
    body::{body, fill},
    door::{Access, Credential},
    ledger::{Fact, Ledger, Row},
    list::List,
    seed::{Seed, spread},
};

/// Stands wherever the real tool has secrets of the scanned site. No client may keep it.
pub const CANARY: &str = "canary-4be7a913";
const KEY: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJqdGkiOiI4ZDVjOWYxZSJ9.c2ltdWxhdGVkLXByb2JlbHkta2V5";
/// Rows of a page at most.
const LONGEST: usize = 10_000;
/// 2025-01-01, in seconds.
const START: i64 = 1_735_689_600;
const DAY: i64 = 86_400;
/// One answer of a scanned site in this many is a large one.
const LARGE: usize = 500;

/// A simulated region.
#[derive(Debug)]
pub struct Probely {
    longest: usize,
    world: Mutex<World>,
}

#[derive(Debug)]
struct World {
    seed: u64,
    targets: Vec<Target>,
    findings: Ledger<Finding>,
    /// What findings say of their kind.
    definitions: Vec<Value>,
    /// Pairs of requests and answers as JSON; the last is large.
    requests: Vec<String>,
}

#[derive(Debug)]
struct Target {
    id: String,
    name: String,
    /// What its body says, but for its counters.
    values: Value,
    /// As in a finding: its name is empty there, and it has no counters.
    inner: String,
    /// Ids of its scans, and when they began.
    scans: Vec<(String, i64)>,
}

#[derive(Debug)]
struct Finding {
    id: usize,
    target: String,
    /// All members but `id`, `target` and `requests`.
    body: String,
    requests: usize,
    level: i64,
    word: &'static str,
    found: i64,
}

impl Probely {
    /// An account whose key may look at all targets. One target was never scanned, one has five open findings; two ids differ
    /// only in their case.
    pub fn new(size: Size) -> Self {
        let mut seed = Seed::of(&[size.seed, 41]);
        let definitions = (0..60).map(|number| definition(&mut seed, number)).collect();
        let requests = (0..9).map(|number| requests(&mut seed, if number < 8 { 700 } else { 200_000 })).collect();
        let mut world = World { seed: size.seed, targets: Vec::new(), findings: Ledger::new(size.seed), definitions, requests };
        for (number, open) in spread(size.findings, size.records.max(4)).enumerate() {
            world.add_target(number);
            if number != 0 {
                world.scan(number);
                world.fill(number, open, (open * 6 / 100).max(3));
            }
        }
        Probely { longest: LONGEST, world: Mutex::new(world) }
    }

    /// Pages are no longer than this, whatever is asked for.
    #[must_use]
    pub fn with_pages_of(mut self, longest: usize) -> Self {
        self.longest = longest;
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
        Router::new().route("/{*path}", get(api)).layer(from_fn_with_state(server.clone(), guard)).with_state(server)
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => refused(403, "You do not have permission to perform this action."),
            _ => refused(401, "Incorrect authentication credentials."),
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

    fn raw(&self) -> Option<Raw> {
        Some(Raw {
            credential: ("authorization", format!("JWT {KEY}")),
            records: "/targets/?page={page}&length=3",
            record: "id",
            findings: "/targets/{record}/findings/?page={page}&length=10&ordering=-last_found",
            rows: "/results",
            key: |target, row| format!("{target}/{}", row["id"]),
            is_whole: false,
        })
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
        let world = &mut *self.world();
        let moved = world.findings.advance(change, |_| true);
        // Only a scan fixes and finds; what people decide moves no scan.
        let last = world.targets.len() - 1;
        let mut scanned: Vec<usize> = moved.fixed.iter().map(|row| world.findings.rows()[*row].record).collect();
        scanned.extend([last, 1].iter().filter(|_| moved.new > 0));
        scanned.sort_unstable();
        scanned.dedup();
        for target in scanned {
            world.scan(target);
            let scan = world.targets[target].scans.last().map_or("", |scan| &scan.0);
            for row in world.findings.of(target).to_vec() {
                world.findings.row_mut(row).fact.meet(scan, day_of(moved.step));
            }
        }
        let few = usize::from(moved.new > 1);
        world.fill(1, few, 0);
        world.fill(last, moved.new - few, 0);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        world.findings.oracle(world.targets.iter().map(|target| (target.id.clone(), target.name.clone())), |_| true)
    }
}

fn time(seconds: i64) -> String {
    let second = Timestamp::from_second(seconds).unwrap_or_default().to_string();
    format!("{}.183840Z", second.trim_end_matches('Z'))
}

/// When a step happened.
fn day_of(step: u64) -> i64 {
    START + (300 + i64::try_from(step).unwrap_or(0)) * DAY
}

/// An id as the tool makes them; some begin with a dash.
fn short(seed: &mut Seed) -> String {
    const LETTERS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz-_";
    (0..12).map(|_| char::from(LETTERS[seed.below(LETTERS.len())])).collect()
}

impl World {
    fn add_target(&mut self, number: usize) {
        const NAMES: [&str; 6] = ["Shop", "Größe & Co <b>shop</b>", "Customer API", "Intranet", "Partner portal", "Status page"];
        let flipped = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        let id = match number {
            // Differs from another one only in its case.
            2 => self.targets[1].id.chars().map(flipped).collect(),
            3 => format!("-{}", &short(&mut Seed::of(&[self.seed, 42, 3]))[1..]),
            _ => short(&mut Seed::of(&[self.seed, 42, number as u64])),
        };
        let name = format!("{} {number}", NAMES[number % NAMES.len()]);
        let list = |has: bool, item: Value| if has { json!([item]) } else { json!([]) };
        let cookies = json!([{ "name": "session", "value": format!("{CANARY}-cookie") }]);
        let values = json!({
            "id": id, "name": name, "number": number, "host": format!("app{number}.acme.example"), "canary": CANARY,
            "kind": if number % 3 == 2 { "api" } else { "single" }, "cookies": if number % 4 == 2 { Value::Null } else { cookies },
            "labels": list(number % 2 == 1, json!({ "id": format!("427jgP7ESp{number:02}"), "name": "payments", "color": "green" })),
            "teams": list(number % 3 == 1, json!({ "id": "teamPaymnt1", "name": "Payments" })),
            "inner": "", "lows": null, "mediums": null, "highs": null, "risk": null, "scan": null,
        });
        let inner = fill(body!("probely/target.json"), &values).to_string();
        self.targets.push(Target { id, name, values, inner, scans: Vec::new() });
    }

    fn scan(&mut self, target: usize) {
        let (at, owner) = (day_of(self.findings.step()), &mut self.targets[target]);
        owner.scans.push((short(&mut Seed::of(&[self.seed, 43, target as u64, owner.scans.len() as u64])), at));
    }

    /// A target as the list of targets shows it.
    fn target(&self, number: usize) -> String {
        let (owner, open) = (&self.targets[number], |finding: &&Finding| finding.state() == "open");
        let count = |level: i64| self.findings.listed(number).filter(open).filter(|finding| finding.level == level).count();
        let mut values = owner.values.clone();
        values["inner"] = Value::Null;
        if let Some((id, at)) = owner.scans.last() {
            let risk = self.findings.listed(number).filter(open).map(|finding| finding.level).max().unwrap_or(0);
            (values["lows"], values["mediums"], values["highs"], values["risk"]) =
                (json!(count(10)), json!(count(20)), json!(count(30)), json!(risk));
            values["scan"] = json!({ "id": id, "status": "completed", "started": time(*at), "completed": time(at + 2600) });
        }
        fill(body!("probely/target.json"), &values).to_string()
    }

    /// Adds this many open findings, and some more that somebody has closed already.
    fn fill(&mut self, target: usize, open: usize, closed: usize) {
        for number in 0..open + closed {
            let mut finding = self.finding(target);
            if number >= open {
                finding.judge(["accepted", "invalid", "fixed"][number % 3], None);
            }
            self.findings.add(target, finding);
        }
    }

    fn finding(&self, target: usize) -> Finding {
        let (owner, unique, step) = (&self.targets[target], self.findings.len(), self.findings.step());
        let mut seed = Seed::of(&[self.seed, 44, unique as u64]);
        let mut values = self.definitions[seed.below(self.definitions.len())].clone();
        // A few are below low.
        let level = if unique % 37 == 36 { 0 } else { [40, 30, 30, 20, 20, 10, 10][seed.below(7)] };
        let word = if unique % 41 == 40 { "retesting" } else { "notfixed" };
        let found = if step == 0 { day_of(0) - i64::try_from(seed.below(20)).unwrap_or(0) * DAY } else { day_of(step) };
        let url = format!("https://app{target}.acme.example/{}/{}", seed.pick(&["cart", "login", "search", "größe"]), unique % 90);
        let (score, vector) = match level {
            40 => (json!(9.8), json!("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")),
            _ if unique.is_multiple_of(6) => (Value::Null, Value::Null),
            _ => (json!(6.5), json!("CVSS:3.0/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:L/A:N")),
        };
        let evidence = match unique {
            n if n.is_multiple_of(4) => Value::Null,
            n if n % 30 == 11 => json!("<script>alert(1)</script> & \u{1b}[31mcolour\u{0}\u{7}\u{202e} `<img src=x onerror=alert(1)>`"),
            _ => json!(format!("\nWe sent a request to {url} and saw the answer of another user.\n\n")),
        };
        let label = json!([{ "id": "iLvpsziVodAb", "name": "looked at", "color": "orange" }]);
        let own = json!({
            "scans": owner.scans.iter().map(|scan| &scan.0).collect::<Vec<_>>(), "labels": if unique % 3 == 1 { label } else { json!([]) },
            "evidence": evidence, "url": url, "method": seed.pick(&["get", "post", "put", "", "dns_a"]),
            "point": seed.pick(&["cookie", "parameter", "header", "json_parameter", "graphql_parameter", ""]),
            "parameter": if unique.is_multiple_of(3) { String::new() } else { format!("q{}", unique % 7) },
            "params": if unique.is_multiple_of(5) { Value::Null } else { json!({ "q": ["1"] }) }, "state": word, "severity": level,
            "score": score, "vector": vector, "found": time(found), "retesting": unique % 13 == 5, "new": step > 0,
        });
        values.as_object_mut().expect("an object").extend(own.as_object().expect("an object").clone());
        let (small, body) = (self.requests.len() - 1, fill(body!("probely/finding.json"), &values).to_string());
        let requests = if unique % LARGE == 3 { small } else { unique % small };
        Finding { id: self.findings.of(target).len() + 1, target: owner.id.clone(), body, requests, level, word, found }
    }

    /// A finding with this body as the lists show it.
    fn text(&self, row: &Row<Finding>, body: &str) -> String {
        let (target, requests) = (&self.targets[row.record].inner, &self.requests[row.fact.requests]);
        format!(r#"{{"id":{},"target":{target},"requests":[{requests}],{}"#, row.fact.id, &body[1..])
    }
}

impl Fact for Finding {
    fn key(&self) -> String {
        format!("{}/{}", self.target, self.id)
    }

    fn truth(&self) -> Truth {
        let severity = match self.level {
            40 => "critical",
            30 => "high",
            20 => "medium",
            10 => "low",
            _ => "info",
        };
        Truth { record: self.target.clone(), severity, state: self.state() }
    }

    fn fix(&mut self, _: usize, step: u64) -> bool {
        self.judge("fixed", Some(day_of(step)));
        true
    }

    fn change(&mut self, n: usize, step: u64) {
        match n % 3 {
            0 => self.judge("accepted", Some(day_of(step))),
            1 => self.judge("invalid", Some(day_of(step))),
            _ => {
                self.level = if self.level == 10 { 30 } else { 10 };
                let level = self.level;
                self.edit(Some(day_of(step)), |body| body["severity"] = json!(level));
            }
        }
    }
}

impl Finding {
    fn state(&self) -> &'static str {
        match self.word {
            "accepted" => "risk_accepted",
            "invalid" => "false_positive",
            "fixed" => "fixed",
            _ => "open",
        }
    }

    fn edit(&mut self, at: Option<i64>, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        edit(&mut body);
        if let Some(at) = at {
            body["changed"] = json!(time(at));
        }
        self.body = body.to_string();
    }

    fn judge(&mut self, word: &'static str, at: Option<i64>) {
        self.word = word;
        self.edit(at, |body| (body["state"], body["retesting"], body["new"]) = (json!(word), json!(false), json!(false)));
    }

    /// A scan has found it again, which is no change.
    fn meet(&mut self, scan: &str, at: i64) {
        if self.state() == "open" {
            self.found = at;
            self.edit(None, |body| {
                body["last_found"] = json!(time(at));
                body["scans"].as_array_mut().expect("a list").insert(0, json!(scan));
            });
        }
    }
}

fn definition(seed: &mut Seed, number: usize) -> Value {
    const NAMES: [&str; 6] = [
        "SQL Injection",
        "Cross-site scripting (reflected)",
        "Unencrypted communications",
        "Missing <Strict-Transport-Security> header",
        "Open redirection",
        "Server-side request forgery",
    ];
    let code = "```\r\nStrict-Transport-Security: max-age=31536000\r\n```";
    let fix = format!("To fix it:\r\n\r\n* {}\r\n* **Test** again.\r\n\r\n{code}", seed.prose(200));
    json!({ "definition": short(seed), "name": NAMES[number % NAMES.len()], "description": seed.prose(400), "fix": fix })
}

/// One pair of a request and its answer, the answer of about this many bytes: with what the scanned site keeps secret.
fn requests(seed: &mut Seed, bytes: usize) -> String {
    let request = format!("```\nGET /cart HTTP/1.1\r\nhost: app.acme.example\r\ncookie: session={CANARY}-request\r\n\r\n```");
    let answer = format!("```\nHTTP/1.1 200 OK\r\nset-cookie: session={CANARY}-answer\r\n\r\n<html>{}</html>\n```", seed.prose(bytes));
    json!({ "request": request, "response": answer }).to_string()
}

#[derive(Clone)]
struct Server {
    tool: Arc<Probely>,
    faults: Arc<Faults>,
}

fn refused(status: u16, detail: &str) -> Response {
    (StatusCode::from_u16(status).unwrap_or_default(), Json(json!({ "detail": detail }))).into_response()
}

/// Whether the proxy lets this client pass: it has to have a name, other than those of libraries.
fn is_welcome(agent: &str) -> bool {
    const LIBRARIES: [&str; 7] = ["python-urllib", "python-requests", "go-http-client", "java/", "libwww-perl", "okhttp", "reqwest"];
    let agent = agent.trim().to_ascii_lowercase();
    !agent.is_empty() && !LIBRARIES.iter().any(|library| agent.starts_with(library))
}

async fn guard(State(server): State<Server>, uri: Uri, headers: HeaderMap, request: Request, next: Next) -> Response {
    if !is_welcome(headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()) {
        let page = "<!doctype html><html><head><title>Access denied | Cloudflare</title></head><body><h1>Error 1010</h1>\
            <p>The owner of this website has banned your access based on your browser's signature.</p></body></html>";
        return (StatusCode::FORBIDDEN, [(header::SERVER, "cloudflare")], Html(page)).into_response();
    }
    if !uri.path().ends_with('/') {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, format!("{}/{query}", uri.path()))]).into_response();
    }
    match Credential::Scheme("JWT", KEY).of(&headers) {
        Access::Granted => next.run(request).await,
        Access::Wrong => server.tool.refuse(&Fault::Unauthorized),
        Access::Missing => refused(401, "Authentication credentials were not provided."),
    }
}

async fn api(State(server): State<Server>, uri: Uri, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    const FILTERS: [&str; 10] = ["assignee", "exclude", "include", "label", "new", "scan", "search", "severity", "state", "target"];
    if let Some((name, _)) = pairs.iter().find(|(name, _)| FILTERS.contains(&name.as_str())) {
        return (StatusCode::BAD_REQUEST, Json(json!({ name: ["This filter is not simulated."] }))).into_response();
    }
    let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let world = server.tool.world();
    let target = |id: &str| world.targets.iter().position(|target| target.id == id);
    let newest = pairs.iter().any(|(name, value)| name == "ordering" && value == "-last_found");
    let findings = |mut rows: Vec<&Row<Finding>>| {
        rows.retain(|row| row.listed);
        if newest {
            rows.sort_by_key(|row| -row.fact.found);
        }
        let odd = |row: &&Row<Finding>| {
            let mut body: Value = serde_json::from_str(&row.fact.body).expect("our own JSON");
            (body["severity"], body["state"]) = (json!(77), json!("pondering"));
            row.is_open().then(|| world.text(row, &body.to_string()))
        };
        server.list(uri.path(), &pairs, rows, |row| world.text(row, &row.fact.body), odd)
    };
    match (&path[..], path.get(1).map(|id| target(id))) {
        (["profile"], _) => {
            Json(json!({ "id": "9pRof1Le2aDq", "email": "", "name": "tributary-reader", "is_apiuser": true })).into_response()
        }
        (["account"], _) => Json(json!({ "id": "4cC0untAcme1", "name": "Acme", "status": "active" })).into_response(),
        (["targets"], _) => server.list(uri.path(), &pairs, (0..world.targets.len()).collect(), |number| world.target(*number), |_| None),
        (["findings"], _) => findings(world.findings.rows().iter().collect()),
        (["targets", _], Some(Some(number))) => json_text(world.target(number)),
        (["targets", _, "findings"], Some(Some(number))) => {
            findings(world.findings.of(number).iter().map(|row| &world.findings.rows()[*row]).collect())
        }
        _ => refused(404, "Not found."),
    }
}

fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

impl Server {
    /// The page that is asked for, in the envelope of all lists.
    fn list<T>(
        &self,
        path: &str,
        pairs: &[(String, String)],
        rows: Vec<T>,
        text: impl Fn(&T) -> String,
        odd: impl Fn(&T) -> Option<String>,
    ) -> Response {
        let number = |name: &str| pairs.iter().rev().find(|(key, _)| key == name).map(|(_, text)| text.parse().unwrap_or(0));
        let length = number("length").filter(|length| *length > 0).unwrap_or(10).min(self.tool.longest);
        let number = number("page").unwrap_or(1);
        let Ok(page) = (List::Numbered { page: number, size: length }).page(rows, self.faults.take(&format!("GET {path}"))) else {
            return refused(400, "Invalid cursor.");
        };
        let (count, total) = (page.total, page.total.div_ceil(length).max(1));
        if !(1..=total).contains(&number) {
            return refused(404, "Invalid page.");
        }
        let results = page.json(text, odd);
        json_text(format!(r#"{{"count":{count},"page_total":{total},"page":{number},"length":{length},"results":[{results}]}}"#))
    }
}
