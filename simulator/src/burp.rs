//! Burp Suite DAST: one GraphQL endpoint, in the age before and after fingerprints, scan targets and accepted risks.
//!
//! Faults that cannot occur and are ignored: expired and repeated cursors (offsets over a finished scan's fixed list).

mod graphql;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

use crate::{Change, Fault, Faults, Oracle, Size, Truth, Vendor, seed::Seed};

const KEY: &str = "SimBurpKey0a1b2c3d4e5f60718293a4b5";

/// What both ages know. The order of the words is free; `field=Type` has members, `(a|b)` are arguments.
const OLD: &str = "Query: site_tree=SiteTree scans=Scan(offset|limit|sort_column|sort_order|scan_status|site_id) scan=Scan(id)
SiteTree: folders=Folder sites=Site
Folder: id name parent_id
Site: id name parent_id ephemeral scope=Scope
Scope: included_urls excluded_urls
Scan: id site_id site_name status start_time end_time issue_counts=IssueCounts issues=Issue(start|count|severities) issue_type_groups=IssueTypeGroup
IssueCounts: total
IssueTypeGroup: issue_type=IssueType severity confidence
IssueType: type_index name description_html remediation_html vulnerability_classifications_html references_html
Issue: serial_number severity confidence display_confidence path origin novelty description_html remediation_html issue_type=IssueType generated_by_extension=Generator
Generator: name";
const NEW: &str = "Query: site_tree=SiteTree scans=Scan(offset|limit|sort_column|sort_order|scan_status|site_id|scan_target_id) scan=Scan(id)
SiteTree: folders=Folder sites=Site cids_sites=CidsSite
Folder: id name parent_id
Site: id name parent_id ephemeral scope_v2=Scope
CidsSite: id name parent_id ephemeral correlation_id
Scope: start_urls in_scope_url_prefixes
Scan: id scan_target=Target status start_time end_time issue_counts=IssueCounts scan_configurations=Configuration issues=Issue(start|count|severities) issue_type_groups=IssueTypeGroup
Target: id name type
Configuration: id name
IssueCounts: total
IssueTypeGroup: issue_type=IssueType severity confidence
IssueType: type_index name description_html remediation_html vulnerability_classifications_html references_html
Issue: serial_number fingerprint severity confidence accepted_risk path origin novelty description_html remediation_html issue_type=IssueType generated_by_extension=Generator generated_by_bcheck=Generator
Generator: name";

/// A simulated server.
#[derive(Debug)]
pub struct Burp {
    is_new: bool,
    introspection: bool,
    schema: graphql::Schema,
    world: Mutex<World>,
}

#[derive(Debug)]
struct World {
    seed: u64,
    step: u64,
    is_new: bool,
    sites: Vec<Site>,
}

#[derive(Debug)]
struct Site {
    id: String,
    name: String,
    kind: &'static str,
    /// Number of the newest succeeded scan.
    scan: u64,
    issues: Vec<Issue>,
}

#[derive(Debug)]
struct Issue {
    /// Everything but the serial number, which each scan gives anew.
    body: Value,
    key: String,
    truth: Truth,
    ever_open: bool,
    listed: bool,
    /// Whether a step may move it: issues of one place keep their order.
    fixed_place: bool,
}

impl Burp {
    /// A server of the newer age. One site has no issue, one has five.
    pub fn new(size: Size) -> Self {
        Self::of(size, true)
    }

    /// A server of the older age.
    pub fn old(size: Size) -> Self {
        Self::of(size, false)
    }

    fn of(size: Size, is_new: bool) -> Self {
        let mut world = World { seed: size.seed, step: 0, is_new, sites: Vec::new() };
        let records = size.records.max(3);
        let mut left = size.findings;
        for number in 0..records {
            let kind = if is_new && number + 1 == records { "cids_site" } else { "site" };
            let site = Site { id: format!("{}", 40 + number), name: format!("Site {number}"), kind, scan: 7, issues: Vec::new() };
            world.sites.push(site);
            let issues = match number {
                0 => 0,
                1 => 5.min(left),
                n if n + 1 == records => left,
                n => (left / (records - n)).min(left),
            };
            left -= issues;
            world.fill(number, issues, 0);
        }
        Burp { is_new, introspection: true, schema: graphql::schema(if is_new { NEW } else { OLD }), world: Mutex::new(world) }
    }

    /// Makes it refuse introspection.
    #[must_use]
    pub fn without_introspection(mut self) -> Self {
        self.introspection = false;
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn fill(&mut self, site: usize, open: usize, step: u64) {
        let closed = if step == 0 { open * 3 / 100 } else { 0 };
        for number in 0..open + closed {
            let mut seed = Seed::of(&[self.seed, 11, site as u64, step, number as u64]);
            let id = self.sites[site].id.clone();
            // The first three of a larger site are found at one place: three instances of one weakness.
            let same = step == 0 && open > 20 && number < 3;
            let kind = if same { 0 } else { seed.below(40) };
            let path =
                if same { "/search".to_owned() } else { format!("/{step}/{number}/{}", seed.pick(&["login", "cart", "profile", "api"])) };
            let type_index = 1_048_832 + 256 * kind;
            let severity = seed.pick(&["high", "high", "medium", "medium", "low", "info"]).to_owned();
            let place = format!("{id}/{type_index}/https://site{site}.example{path}");
            let fingerprint = format!("{:016x}", seed.next());
            // Even there some have no fingerprint: the second of three at one place is told by its number.
            let has_fingerprint = self.is_new && number % 20 != 1;
            let key = match (has_fingerprint, same && number > 0) {
                (true, _) => format!("{id}/fp/{fingerprint}"),
                (false, true) => format!("{place}#{}", number + 1),
                (false, false) => place,
            };
            let confidence = ["certain", "firm", "tentative"][number % 3];
            let mut body = json!({
                "severity": severity, "confidence": confidence, "path": path, "origin": format!("https://site{site}.example"),
                "novelty": "repeated", "description_html": format!("<p>The parameter <b>q</b> &amp; the header {number} reach the page.</p><script>alert(1)</script>"),
                "remediation_html": null, "issue_type": { "type_index": type_index.to_string(), "name": format!("Weakness class {kind}") },
                "display_confidence": null, "generated_by_extension": null, "generated_by_bcheck": null, "accepted_risk": false,
                "fingerprint": has_fingerprint.then_some(fingerprint),
            });
            let mut state = "open";
            if number >= open {
                body["confidence"] = json!("false_positive");
                state = "false_positive";
            }
            let severity = ["high", "medium", "low", "info"].into_iter().find(|word| *word == severity).unwrap_or("unknown");
            let truth = Truth { record: id, severity, state };
            self.sites[site].issues.push(Issue { body, key, truth, ever_open: state == "open", listed: true, fixed_place: same });
        }
    }
}

impl Site {
    fn scan(&self, number: u64, status: &str) -> Value {
        json!({
            "id": format!("{}{number:03}", self.id), "status": status, "start_time": format!("2026-11-{:02}T01:00:00.000Z", number.min(28)),
            "end_time": format!("2026-11-{:02}T02:14:35.190Z", number.min(28)), "site_id": self.id, "site_name": self.name,
            "scan_target": { "id": self.id, "name": self.name, "type": self.kind }, "scan_configurations": [{ "id": "c-1", "name": "Crawl and audit" }],
            "issue_counts": { "total": self.issues.iter().filter(|issue| issue.listed).count() },
        })
    }

    /// All scans, newest first: one is running, one failed, and an older one succeeded too.
    fn scans(&self) -> Vec<Value> {
        vec![
            self.scan(self.scan + 2, "running"),
            self.scan(self.scan + 1, "failed"),
            self.scan(self.scan, "succeeded"),
            self.scan(self.scan - 1, "succeeded"),
        ]
    }

    /// The issues of a scan with the serial numbers that it gave them, in an order of its own.
    fn issues(&self, scan: &str) -> Vec<Value> {
        let newest = scan == format!("{}{:03}", self.id, self.scan);
        let listed = self.issues.iter().filter(|issue| issue.listed);
        let number: u64 = scan.parse().unwrap_or(0);
        let mut issues: Vec<Value> = listed
            .enumerate()
            .map(|(index, issue)| {
                let mut body = issue.body.clone();
                // 64-bit numbers as text, some longer than others.
                body["serial_number"] = json!((number * 1_000_000_000_000 + 95 + index as u64).to_string());
                body
            })
            .collect();
        if !newest {
            issues.clear();
        }
        issues.reverse();
        issues
    }
}

fn type_texts(index: &str) -> Value {
    let number: u64 = index.parse().unwrap_or(0);
    let mut seed = Seed::of(&[number]);
    json!({
        "type_index": index, "name": format!("Weakness class {}", number.saturating_sub(1_048_832) / 256), "description_html": format!("<p>{}</p>", seed.prose(600)),
        "remediation_html": "<p>Encode <i>all</i> output.</p>",
        "vulnerability_classifications_html": "<ul><li><a href=\"https://cwe.mitre.org/data/definitions/79.html\">CWE-79: Cross-site scripting</a></li></ul>",
        "references_html": "<ul><li><a href=\"https://burp.example/kb\">Knowledge base</a></li></ul>",
    })
}

impl Vendor for Burp {
    fn id(&self) -> &'static str {
        "burp"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        Router::new().route("/graphql/v1", post(query)).with_state((self, faults))
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => {
                Json(json!({ "errors": [{ "message": "Unauthorized: missing permission", "extensions": { "code": 403 } }], "data": null }))
                    .into_response()
            }
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", KEY.to_owned())]
    }

    fn step(&self, change: &Change) {
        let mut world = self.world();
        world.step += 1;
        let (step, is_new) = (world.step, world.is_new);
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (s, site) in world.sites.iter().enumerate() {
            let movable = |issue: &Issue| issue.listed && issue.truth.state == "open" && !issue.fixed_place;
            open.extend(site.issues.iter().enumerate().filter(|(_, issue)| movable(issue)).map(|(i, _)| (s, i)));
        }
        let total = open.len();
        let mut seed = Seed::of(&[world.seed, 13, step]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small positive counts")]
        let share = |percent: f64| (total as f64 * percent / 100.0).ceil() as usize;
        let mut take = |count: usize| -> Vec<(usize, usize)> {
            (0..count.min(open.len())).map(|_| open.swap_remove(seed.below(open.len()))).collect()
        };
        // A scan cannot say that an issue is fixed: it is not found any more.
        for (s, i) in take(share(change.fixed) + share(change.vanished)) {
            world.sites[s].issues[i].listed = false;
        }
        for (n, (s, i)) in take(share(change.changed)).into_iter().enumerate() {
            let issue = &mut world.sites[s].issues[i];
            match n % 3 {
                0 => {
                    issue.body["confidence"] = json!("false_positive");
                    issue.truth.state = "false_positive";
                }
                1 if is_new => {
                    issue.body["accepted_risk"] = json!(true);
                    issue.truth.state = "risk_accepted";
                }
                _ => {
                    let other = if issue.truth.severity == "low" { "medium" } else { "low" };
                    issue.body["severity"] = json!(other);
                    issue.truth.severity = other;
                }
            }
        }
        let last = world.sites.len() - 1;
        world.fill(last, share(change.new), step);
        world.sites.iter_mut().for_each(|site| site.scan += 3);
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let mut oracle =
            Oracle { records: world.sites.iter().map(|site| (site.id.clone(), site.name.clone())).collect(), ..Oracle::default() };
        for issue in world.sites.iter().flat_map(|site| &site.issues).filter(|issue| issue.ever_open) {
            let state = if issue.listed { issue.truth.state } else { "gone" };
            oracle.findings.insert(issue.key.clone(), Truth { state, ..issue.truth.clone() });
        }
        oracle
    }
}

async fn query(State((tool, faults)): State<(Arc<Burp>, Arc<Faults>)>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if headers.get("authorization").is_none_or(|key| key != KEY) {
        return tool.refuse(&Fault::Unauthorized);
    }
    let refused = |errors: Vec<String>| {
        Json(json!({ "errors": errors.iter().map(|message| json!({ "message": message })).collect::<Vec<_>>(), "data": null }))
            .into_response()
    };
    if !tool.introspection && body["query"].as_str().is_some_and(|query| query.contains("__type(") || query.contains("__schema")) {
        return refused(vec!["Introspection has been disabled".to_owned()]);
    }
    let is_list = body["query"].as_str().is_some_and(|query| query.contains("issues("))
        && body["operationName"].as_str().is_some_and(|name| name.contains("Issues"));
    let route = format!("POST /graphql/v1 {}", if is_list { "findings" } else { body["operationName"].as_str().unwrap_or_default() });
    let fault = faults.take(&route);
    let world = tool.world();
    let is_new = tool.is_new;
    let resolve = |kind: &str, name: &str, value: &Value, argument: &dyn Fn(&str) -> Value| -> Value {
        let no_role = fault == Some(Fault::NoRole);
        match (kind, name) {
            ("Query", "site_tree") => {
                let of = |kind: &str| -> Vec<Value> {
                    let sites = world.sites.iter().filter(|site| site.kind == kind && !no_role);
                    sites.map(|site| json!({ "id": site.id, "name": site.name, "parent_id": "3", "ephemeral": false, "scope_v2": { "start_urls": ["https://site.example"] } })).collect()
                };
                json!({ "folders": [{ "id": "2", "name": "Shops", "parent_id": "0" }, { "id": "3", "name": "EU", "parent_id": "2" }], "sites": of("site"), "cids_sites": of("cids_site") })
            }
            ("Query", "scans") => {
                let target = if is_new { argument("scan_target_id") } else { argument("site_id") };
                let wanted = argument("scan_status");
                let sites = world.sites.iter().filter(|site| !no_role && (target.is_null() || target == json!(site.id)));
                let scans =
                    sites.flat_map(Site::scans).filter(|scan| wanted.as_array().is_none_or(|wanted| wanted.contains(&scan["status"])));
                let number =
                    |name: &str, otherwise: usize| argument(name).as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(otherwise);
                Value::Array(scans.skip(number("offset", 0)).take(number("limit", 100)).collect())
            }
            ("Query", "scan") if !no_role => {
                let id = argument("id");
                world.sites.iter().flat_map(Site::scans).find(|scan| scan["id"] == id).unwrap_or(Value::Null)
            }
            ("Scan", "issues") => {
                let number = |name: &str| argument(name).as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                let (mut start, count) = (number("start"), number("count"));
                match fault {
                    Some(Fault::DuplicatePage) => start = start.saturating_sub(count),
                    Some(Fault::ShiftedPage) if start > 0 => start += 1,
                    _ => {}
                }
                let scan = value["id"].as_str().unwrap_or_default();
                let site = world.sites.iter().find(|site| scan.starts_with(&site.id));
                let mut page: Vec<Value> =
                    site.map(|site| site.issues(scan)).unwrap_or_default().into_iter().skip(start).take(count).collect();
                match (&fault, page.first_mut()) {
                    (Some(Fault::BadItem), Some(first)) => *first = json!([1, 2]),
                    (Some(Fault::UnknownEnum), Some(first)) => {
                        (first["severity"], first["confidence"]) = (json!("apocalyptic"), json!("guessed"))
                    }
                    _ => {}
                }
                Value::Array(page)
            }
            ("Scan", "issue_type_groups") => {
                let scan = value["id"].as_str().unwrap_or_default();
                let site = world.sites.iter().find(|site| scan.starts_with(&site.id));
                let mut types: Vec<String> = site
                    .iter()
                    .flat_map(|site| &site.issues)
                    .filter_map(|issue| Some(issue.body["issue_type"]["type_index"].as_str()?.to_owned()))
                    .collect();
                types.sort();
                types.dedup();
                Value::Array(
                    types
                        .iter()
                        .map(|index| json!({ "issue_type": type_texts(index), "severity": "high", "confidence": "firm" }))
                        .collect(),
                )
            }
            _ => value.get(name).cloned().unwrap_or(Value::Null),
        }
    };
    match graphql::answer(&tool.schema, &body, &resolve) {
        Ok(data) => Json(json!({ "data": data })).into_response(),
        Err(errors) => refused(errors),
    }
}
