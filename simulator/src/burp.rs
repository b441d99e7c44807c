//! Burp Suite DAST: one GraphQL endpoint, in the age before and after fingerprints, scan targets and accepted risks.
//!
//! The list of a finished scan's issues has no documented order, so its pages may repeat and shift. An expired cursor is a
//! scan that was deleted between two requests. The fault that cannot occur and is ignored: repeated cursors.

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

use crate::{
    Change, Fault, Faults, Make, Oracle, Size, Truth, Vendor,
    seed::{Seed, share},
};
use graphql::Schema;

const KEY: &str = "SimBurpKey0a1b2c3d4e5f60718293a4b5";

/// What both ages know.
const BOTH: &str = "Folder: id name parent_id
ScanConfiguration: id name
IssueCounts: total high=CountsByConfidence medium=CountsByConfidence low=CountsByConfidence info=CountsByConfidence
CountsByConfidence: total firm tentative certain
IssueTypeGroup: issue_type=IssueType severity confidence novelty number_of_children first_child_serial_number
IssueType: type_index name description_html remediation_html vulnerability_classifications_html references_html
GeneratedByExtension: name
enum ScansSortColumn: start end status site id
enum SortOrder: asc desc
enum Severity: info low medium high
enum Confidence: tentative firm certain false_positive
enum Novelty: repeated new regression first";
const OLD: &str = "Query: site_tree=SiteTree scans=Scan(offset:Int|limit:Int|sort_column:ScansSortColumn|sort_order:SortOrder|scan_status:[ScanStatus]|site_id:ID|schedule_item_id:ID) scan=Scan(id:ID!)
SiteTree: folders=Folder sites=Site
Site: id name parent_id ephemeral scope=Scope
Scope: included_urls excluded_urls protocol_options
Scan: id site_id site_name status start_time end_time issue_counts=IssueCounts issues=Issue(start:Int!|count:Int!|type_index:ID|severities:[Severity]|confidences:[Confidence]|novelties:[Novelty]) issue_type_groups=IssueTypeGroup(severities:[Severity])
Issue: serial_number severity confidence display_confidence path origin novelty description_html remediation_html issue_type=IssueType generated_by_extension=GeneratedByExtension
enum ScanStatus: queued running succeeded cancelled failed";
const NEW: &str = "Query: site_tree=SiteTree scans=Scan(offset:Int|limit:Int|sort_column:ScansSortColumn|sort_order:SortOrder|scan_status:[ScanStatus]|site_id:ID|scan_target_id:ID|schedule_item_id:ID|scan_end_time_from:Timestamp|scan_end_time_to:Timestamp) scan=Scan(id:ID!)
SiteTree: folders=Folder sites=Site cids_sites=CidsSite
Site: id name parent_id ephemeral scope_v2=ScopeV2
CidsSite: id name parent_id ephemeral correlation_id
ScopeV2: start_urls in_scope_url_prefixes out_of_scope_url_prefixes protocol_options
Scan: id scan_target=ScanTarget site_id site_name status start_time end_time issue_counts=IssueCounts scan_configurations=ScanConfiguration scope_v2=ScopeV2 issues=Issue(start:Int!|count:Int!|type_index:ID|severities:[Severity]|confidences:[Confidence]|novelties:[Novelty]) issue_type_groups=IssueTypeGroup(severities:[Severity])
ScanTarget: id name type ephemeral
Issue: serial_number fingerprint severity original_severity confidence display_confidence original_confidence accepted_risk path origin novelty description_html remediation_html issue_type=IssueType generated_by_extension=GeneratedByExtension generated_by_bcheck=GeneratedByBCheck
GeneratedByBCheck: name
enum ScanStatus: queued running succeeded cancelled failed paused";

/// A simulated server.
#[derive(Debug)]
pub struct Burp {
    introspection: bool,
    /// The permission that the key's role lacks.
    lacking: &'static str,
    old: Schema,
    new: Schema,
    world: Mutex<World>,
}

#[derive(Debug)]
struct World {
    seed: u64,
    step: u64,
    is_new: bool,
    /// How many sites the key may see.
    visible: usize,
    /// Whether retention has deleted every scan.
    forgotten: bool,
    sites: Vec<Site>,
}

#[derive(Debug)]
struct Site {
    id: String,
    name: String,
    kind: &'static str,
    /// Number of the newest succeeded scan.
    scan: u64,
    /// Whether that scan was a light one, with a configuration of its own, that looks at every second issue only.
    light: bool,
    issues: Vec<Issue>,
    /// What the newest succeeded scan lists, in its order: issue and serial number.
    listing: Vec<(usize, String)>,
    types: Vec<Value>,
}

#[derive(Debug)]
struct Issue {
    /// What does not depend on the scan and the server's age.
    body: Value,
    fingerprint: Option<String>,
    key: String,
    truth: Truth,
    ever_open: bool,
    listed: bool,
    /// Whether several issues share its type, origin and path: they keep their order, so no step moves them.
    shares_place: bool,
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
        let mut world = World { seed: size.seed, step: 0, is_new, visible: usize::MAX, forgotten: false, sites: Vec::new() };
        let records = size.records.max(3);
        let mut left = size.findings;
        for number in 0..records {
            let kind = if is_new && number + 1 == records { "cids_site" } else { "site" };
            let (id, name) = ((40 + number).to_string(), format!("Site {number}"));
            let (issues, listing, types) = (Vec::new(), Vec::new(), Vec::new());
            world.sites.push(Site { id, name, kind, scan: 7, light: false, issues, listing, types });
            let open = match number {
                0 => 0,
                1 => 5.min(left),
                n if n + 1 == records => left,
                n => (left / (records - n)).min(left),
            };
            left -= open;
            world.fill(number, open, 0);
        }
        world.sites.iter_mut().for_each(Site::finish_scan);
        Burp { introspection: true, lacking: "", old: schema(OLD), new: schema(NEW), world: Mutex::new(world) }
    }

    /// Makes it refuse introspection.
    #[must_use]
    pub fn without_introspection(mut self) -> Self {
        self.introspection = false;
        self
    }

    /// Takes a permission from the key's role: `view sites` or `view scan results`.
    #[must_use]
    pub fn without_permission(mut self, name: &'static str) -> Self {
        self.lacking = name;
        self
    }

    /// The administrator installs the newer age over the same data.
    pub fn upgrade(&self) {
        self.world().is_new = true;
    }

    /// The key's role is restricted to the first sites.
    pub fn restrict(&self, sites: usize) {
        self.world().visible = sites;
    }

    /// Retention deletes all scans; the sites stay.
    pub fn forget_scans(&self) {
        self.world().forgotten = true;
    }

    /// Each site is scanned once more, with a light configuration that finds half of the issues.
    pub fn scan_lightly(&self) {
        for site in &mut self.world().sites {
            site.scan += 3;
            site.light = true;
            site.finish_scan();
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn schema(own: &'static str) -> Schema {
    Schema::default().with(own).with(BOTH)
}

impl World {
    /// Adds this many open issues, and 3 % more that a person has called false positives already.
    fn fill(&mut self, number: usize, open: usize, step: u64) {
        let id = self.sites[number].id.clone();
        let origin = format!("https://site{number}.example");
        let closed = if step == 0 { open * 3 / 100 } else { 0 };
        let mut of_first_mate = None;
        for n in 0..open + closed {
            let mut seed = Seed::of(&[self.seed, 11, number as u64, step, n as u64]);
            // Three issues of a larger site are found at one place, the first, the last and one between.
            let mates = [0, open / 2, open - 1];
            let mate = mates.iter().position(|mate| step == 0 && open > 20 && *mate == n);
            let kind = if mate.is_some() { 0 } else { seed.below(40) };
            let leaf = seed.pick(&["login", "cart", "profile", "api"]);
            let path = if mate.is_some() { "/search".to_owned() } else { format!("/{step}/{n}/{leaf}") };
            let type_index = (1_048_832 + 256 * kind).to_string();
            let severity = ["high", "high", "medium", "medium", "low", "info"][seed.below(6)];
            let place = format!("{id}/{type_index}/{origin}{path}");
            // Even a newer server has no fingerprint for some.
            let fingerprint = Some(format!("{:016x}", seed.next())).filter(|_| n % 20 != 1 && mate != Some(1));
            // The first and the last of the three are one thing to the server: it has one fingerprint for them.
            let fingerprint = if mate == Some(2) { of_first_mate.clone() } else { fingerprint };
            if mate == Some(0) {
                of_first_mate.clone_from(&fingerprint);
            }
            let key = match (&fingerprint, mate) {
                (Some(fingerprint), Some(2)) if self.is_new => format!("{id}/fp/{fingerprint}#2"),
                (Some(fingerprint), _) if self.is_new => format!("{id}/fp/{fingerprint}"),
                (_, Some(before @ 1..)) => format!("{place}#{}", before + 1),
                _ => place,
            };
            let payload = if n % 50 == 7 { "<script>alert(1)</script>\u{1b}[31m\u{0}" } else { "" };
            let confidence = ["certain", "firm", "tentative"][n % 3];
            let body = json!({
                "severity": severity, "confidence": confidence, "path": path, "origin": origin, "novelty": "repeated",
                "description_html": format!("<p>The parameter <b>q</b> &amp; the header {n} reach the page. {}</p>{payload}", seed.prose(700)),
                "remediation_html": null, "issue_type": { "type_index": type_index, "name": type_name(kind) },
                "generated_by_extension": if n % 30 == 4 { json!({ "name": "Backslash Powered Scanner" }) } else { Value::Null },
                "generated_by_bcheck": null, "original_severity": severity, "original_confidence": "firm",
            });
            let state = if n < open { "open" } else { "false_positive" };
            let truth = Truth { record: id.clone(), severity, state };
            let (ever_open, shares_place) = (state == "open", mate.is_some());
            self.sites[number].issues.push(Issue { body, fingerprint, key, truth, ever_open, listed: true, shares_place });
        }
    }

    /// The sites that the key sees.
    fn visible(&self) -> &[Site] {
        &self.sites[..self.visible.min(self.sites.len())]
    }

    /// The site of a scan, by the scan's id.
    fn site_of(&self, scan: &str) -> Option<&Site> {
        let (site, _) = scan.split_at_checked(scan.len().checked_sub(3)?)?;
        self.visible().iter().find(|known| known.id == site)
    }
}

fn type_name(kind: usize) -> String {
    if kind == 13 { "Cross-site <scripting> (reflected)".to_owned() } else { format!("Weakness class {kind}") }
}

impl Site {
    /// The newest succeeded scan finds what is there, in an order of its own, and numbers it anew.
    fn finish_scan(&mut self) {
        let found: Vec<usize> = (0..self.issues.len()).filter(|n| self.issues[*n].listed && !(self.light && n % 2 == 1)).collect();
        // Numbers of 64 bits as text: the first half has a digit less than the second.
        let first = 10_u64.pow(19) - 7 * (found.len() as u64 / 2) + self.scan % 7;
        let numbered = found.iter().enumerate().map(|(index, issue)| (*issue, (first + 7 * index as u64).to_string()));
        self.listing = numbered.rev().collect();
        let mut types: Vec<&str> = found.iter().filter_map(|n| self.issues[*n].body["issue_type"]["type_index"].as_str()).collect();
        types.sort_unstable();
        types.dedup();
        let group =
            |index: &&str| json!({ "issue_type": type_texts(index), "severity": "high", "confidence": "firm", "number_of_children": 1 });
        self.types = types.iter().map(group).collect();
    }

    fn scan(&self, number: u64, status: &str) -> Value {
        let (day, (configuration, name)) = (number.min(28), if self.light { ("c-9", "Lightweight") } else { ("c-1", "Crawl and audit") });
        // The counts have no column for false positives.
        let total = self.listing.iter().filter(|(issue, _)| self.issues[*issue].truth.state != "false_positive").count();
        json!({
            "id": format!("{}{number:03}", self.id), "status": status, "site_id": self.id, "site_name": self.name,
            "start_time": format!("2026-11-{day:02}T01:00:00.000Z"), "end_time": format!("2026-11-{day:02}T02:14:35.190Z"),
            "scan_target": { "id": self.id, "name": self.name, "type": self.kind, "ephemeral": false },
            "scan_configurations": [{ "id": configuration, "name": name }], "issue_counts": { "total": total },
            "scope_v2": { "start_urls": [format!("https://{}.example", self.name.replace(' ', ""))], "in_scope_url_prefixes": [], "out_of_scope_url_prefixes": [] },
        })
    }

    /// Its scans, oldest first: an older one that succeeded too, the newest that did, one that failed, one that runs.
    fn scans(&self) -> Vec<Value> {
        let scans = [(self.scan - 1, "succeeded"), (self.scan, "succeeded"), (self.scan + 1, "failed"), (self.scan + 2, "running")];
        scans.into_iter().map(|(number, status)| self.scan(number, status)).collect()
    }

    /// A page of a scan's list. Scans but the newest that succeeded list nothing: whoever takes the wrong one sees it.
    fn issues(&self, scan: &str, is_new: bool, start: usize, count: usize) -> Vec<Value> {
        let newest = scan.strip_prefix(&self.id) == Some(&format!("{:03}", self.scan));
        let listing = self.listing.iter().filter(|_| newest).skip(start).take(count);
        listing
            .map(|(issue, serial)| {
                let Issue { body, fingerprint, truth, .. } = &self.issues[*issue];
                let mut body = body.clone();
                body["serial_number"] = json!(serial);
                body["fingerprint"] = json!(fingerprint);
                body["accepted_risk"] = json!(truth.state == "risk_accepted");
                if truth.state == "false_positive" {
                    // What a person decided stands in the displayed confidence of older servers.
                    body[if is_new { "confidence" } else { "display_confidence" }] = json!("false_positive");
                }
                body
            })
            .collect()
    }
}

fn type_texts(index: &str) -> Value {
    let number: usize = index.parse().unwrap_or(0);
    let mut seed = Seed::of(&[number as u64]);
    json!({
        "type_index": index, "name": type_name(number.saturating_sub(1_048_832) / 256), "description_html": format!("<p>{}</p>", seed.prose(600)),
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
            Fault::Forbidden => refused(&["Unauthorized: the role of this user does not allow it".to_owned()], "DataFetchingException"),
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("secret", KEY.to_owned())]
    }

    fn text_member(&self) -> &'static str {
        "description_html"
    }

    fn totals(&self) -> &'static [&'static str] {
        &["total"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["POST /graphql/v1"]
    }

    fn hides_filters(&self) -> bool {
        true
    }

    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[("old", |size| Arc::new(Burp::old(size)))]
    }

    fn step(&self, change: &Change) {
        let mut world = self.world();
        world.step += 1;
        let (step, is_new) = (world.step, world.is_new);
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (s, site) in world.sites.iter().enumerate() {
            let movable = |issue: &Issue| issue.listed && issue.truth.state == "open" && !issue.shares_place;
            open.extend(site.issues.iter().enumerate().filter(|(_, issue)| movable(issue)).map(|(i, _)| (s, i)));
        }
        let total = open.len();
        let mut seed = Seed::of(&[world.seed, 13, step]);
        let share = |percent| share(total, percent);
        let mut take = |count| seed.draw(&mut open, count);
        // A scan cannot say that an issue is fixed: it is not found any more.
        for (s, i) in take(share(change.fixed) + share(change.vanished)) {
            world.sites[s].issues[i].listed = false;
        }
        for (n, (s, i)) in take(share(change.changed)).into_iter().enumerate() {
            let issue = &mut world.sites[s].issues[i];
            match n % 3 {
                0 => issue.truth.state = "false_positive",
                1 if is_new => issue.truth.state = "risk_accepted",
                _ => {
                    let other = if issue.truth.severity == "low" { "medium" } else { "low" };
                    issue.body["severity"] = json!(other);
                    issue.truth.severity = other;
                }
            }
        }
        let last = world.sites.len() - 1;
        world.fill(last, share(change.new), step);
        world.forgotten = false;
        for site in &mut world.sites {
            site.scan += 3;
            site.light = false;
            site.finish_scan();
        }
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let mut oracle =
            Oracle { records: world.visible().iter().map(|site| (site.id.clone(), site.name.clone())).collect(), ..Oracle::default() };
        for issue in world.sites.iter().flat_map(|site| &site.issues).filter(|issue| issue.ever_open) {
            let state = if issue.listed { issue.truth.state } else { "gone" };
            oracle.findings.insert(issue.key.clone(), Truth { state, ..issue.truth.clone() });
        }
        oracle
    }
}

/// Errors come with status 200.
fn refused(messages: &[String], classification: &str) -> Response {
    let error = |message: &String| json!({ "message": message, "locations": [], "extensions": { "classification": classification } });
    Json(json!({ "errors": messages.iter().map(error).collect::<Vec<_>>(), "data": null })).into_response()
}

async fn query(State((tool, faults)): State<(Arc<Burp>, Arc<Faults>)>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if headers.get("authorization").is_none_or(|key| key != KEY) {
        return tool.refuse(&Fault::Unauthorized);
    }
    let world = tool.world();
    let schema = if world.is_new { &tool.new } else { &tool.old };
    let query = match schema.query(&body) {
        Ok(query) => query,
        Err(errors) => return refused(&errors, "ValidationError"),
    };
    if query.introspects() && !tool.introspection {
        return refused(&["Introspection has been disabled for this request".to_owned()], "IntrospectionDisabled");
    }
    let needed = if query.asks("site_tree") { "view sites" } else { "view scan results" };
    if !query.introspects() && tool.lacking == needed {
        return tool.refuse(&Fault::Forbidden);
    }
    // A request that lists findings, where there are any.
    let scan = query.argument("scan", "id", &body["variables"]);
    let site = scan.as_str().and_then(|scan| world.site_of(scan));
    let finds = query.lists("issues", "severity") && site.is_some_and(|site| !site.listing.is_empty());
    let fault = faults.take(&format!("POST /graphql/v1 {} {}", query.name, if finds { "findings" } else { "" }));
    let no_role = fault == Some(Fault::NoRole);
    let resolve = |kind: &str, name: &str, value: &Value, argument: &dyn Fn(&str) -> Value| -> Value {
        match (kind, name) {
            ("Query", "site_tree") => world.tree(no_role),
            ("Query", "scans") => world.scans(argument, fault.as_ref()),
            ("Query", "scan") => {
                let id = argument("id");
                let hidden = world.forgotten || (no_role && !finds) || fault == Some(Fault::ExpiredCursor);
                let scans = world.site_of(id.as_str().unwrap_or_default()).filter(|_| !hidden).map(Site::scans);
                scans.into_iter().flatten().find(|scan| scan["id"] == id).unwrap_or(Value::Null)
            }
            ("Scan", "issues" | "issue_type_groups") if no_role => json!([]),
            ("Scan", "issues") => world.issues(value, argument, fault.as_ref()),
            ("Scan", "issue_type_groups") => {
                json!(world.site_of(value["id"].as_str().unwrap_or_default()).map(|site| &site.types))
            }
            _ => value.get(name).cloned().unwrap_or(Value::Null),
        }
    };
    Json(json!({ "data": schema.answer(&query, &body["variables"], &resolve) })).into_response()
}

/// A number among the arguments of a field.
fn number(argument: &dyn Fn(&str) -> Value, name: &str, otherwise: usize) -> usize {
    argument(name).as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(otherwise)
}

impl World {
    /// A page of the scans that fit.
    fn scans(&self, argument: &dyn Fn(&str) -> Value, fault: Option<&Fault>) -> Value {
        let wanted = argument("scan_status");
        let filters = fault != Some(&Fault::NoFilters);
        let targets: Vec<Value> = ["scan_target_id", "site_id"].map(argument).into_iter().filter(|id| !id.is_null()).collect();
        let sites = self.visible().iter().filter(|site| {
            fault != Some(&Fault::NoRole) && !self.forgotten && (!filters || targets.iter().all(|id| *id == json!(site.id)))
        });
        let mut scans: Vec<Value> = sites.flat_map(Site::scans).collect();
        scans.retain(|scan| !filters || wanted.as_array().is_none_or(|wanted| wanted.contains(&scan["status"])));
        if argument("sort_column") == "end" && argument("sort_order") == "desc" {
            scans.reverse();
        }
        Value::Array(scans.into_iter().skip(number(argument, "offset", 0)).take(number(argument, "limit", 100)).collect())
    }

    /// A page of a scan's issues, with the faults of lists and of rows.
    fn issues(&self, scan: &Value, argument: &dyn Fn(&str) -> Value, fault: Option<&Fault>) -> Value {
        let (mut start, count) = (number(argument, "start", 0), number(argument, "count", 0));
        match fault {
            Some(Fault::DuplicatePage) => start = start.saturating_sub(count),
            Some(Fault::RepeatedCursor) => start = 0,
            Some(Fault::ShiftedPage) if start > 0 => start += 1,
            _ => {}
        }
        let id = scan["id"].as_str().unwrap_or_default();
        let mut page = self.site_of(id).map(|site| site.issues(id, self.is_new, start, count)).unwrap_or_default();
        let open = |issue: &&mut Value| issue["confidence"] != "false_positive" && issue["display_confidence"] != "false_positive";
        match (fault, page.iter_mut().find(open)) {
            (Some(Fault::BadItem), Some(issue)) => *issue = json!([1, 2]),
            (Some(Fault::UnknownEnum), Some(issue)) => {
                (issue["severity"], issue["confidence"]) = (json!("apocalyptic"), json!("guessed"));
            }
            _ => {}
        }
        Value::Array(page)
    }

    fn tree(&self, no_role: bool) -> Value {
        let of = |kind: &str| -> Vec<Value> {
            let sites = self.visible().iter().filter(|site| site.kind == kind && !no_role);
            let node = |site: &Site| {
                let urls = [format!("https://{}.example", site.name.replace(' ', ""))];
                json!({ "id": site.id, "name": site.name, "parent_id": "3", "ephemeral": false, "correlation_id": "ci-7", "scope_v2": { "start_urls": urls }, "scope": { "included_urls": urls } })
            };
            sites.map(node).collect()
        };
        let folders = json!([{ "id": "2", "name": "Shops", "parent_id": "0" }, { "id": "3", "name": "EU", "parent_id": "2" }]);
        json!({ "folders": folders, "sites": of("site"), "cids_sites": of("cids_site") })
    }
}
