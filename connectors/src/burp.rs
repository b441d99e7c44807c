//! Burp Suite DAST (formerly Enterprise Edition), GraphQL API
//! <https://portswigger.net/burp/documentation/dast/user-guide/api-documentation/graphql-api>.
//!
//! One endpoint, `POST /graphql/v1`, with the bare API key in `Authorization`. One unknown field fails a whole query, and old
//! servers lack fields that new ones have: introspection decides which of two sets of documents is sent. Issues belong to
//! scans; the newest succeeded scan of a site is what is true of it. Long texts belong to issue types and are fetched once a
//! scan. Requests and responses, which may hold secrets of the scanned site, are never asked for. No known rate limit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use graphql_client::GraphQLQuery;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::{
    kit::graphql::{self, Operation},
    prelude::*,
};

const ROUTE: &str = "/graphql/v1";
/// Issues of a page with all their texts, and of a page with their places only.
const ISSUES: i64 = 200;
const PLACES: i64 = 1000;
/// How many scans' texts are kept at once: more than are read at once.
const SCANS: usize = 8;

macro_rules! document {
    ($($name:ident in $file:tt),+) => {
        $(#[derive(GraphQLQuery)]
        #[graphql(schema_path = "src/burp/schema.graphql", query_path = $file, skip_serializing_none)]
        struct $name;)+
    };
}
type Timestamp = String;
document!(NewSiteTree in "src/burp/new.graphql", NewLatestScan in "src/burp/new.graphql", NewIssues in "src/burp/new.graphql",
    OldSiteTree in "src/burp/old.graphql", OldLatestScan in "src/burp/old.graphql", OldIssues in "src/burp/old.graphql",
    IssueTypes in "src/burp/old.graphql", IssuePlaces in "src/burp/old.graphql");

/// The connector.
#[derive(Debug)]
pub struct Burp {
    http: Http,
    skip_ephemeral: bool,
    /// A fact about the server: whether it knows the new documents' fields.
    is_new: OnceCell<bool>,
    /// Facts about the scans being read; what is missing after a restart is asked for again.
    scans: Mutex<BTreeMap<String, Arc<ScanFacts>>>,
}

/// Fields of a Burp Suite DAST connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// API key of an API user that may view sites and scan results (Team > Users, login type "API key").
    secret: Secret,
    /// Leave out sites that exist for one scan only (made through the REST API or CI). Default: no.
    #[serde(default)]
    skip_ephemeral: bool,
}

/// How far a site has been read: first facts about its newest succeeded scan, then the issues.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum Cursor {
    /// Nothing is known.
    #[default]
    Start,
    /// The scan is known, the texts of its issue types are not.
    Types(Scan),
    /// The places of the issues from this one on are not known; they tell equal issues apart.
    Places(Scan, i64),
    /// The issues from this one on are not read.
    Issues(Scan, i64),
}

/// The scan that is read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Scan {
    id: String,
    end_time: Option<String>,
    total: Option<u64>,
    configurations: Option<String>,
}

/// What the issues of a scan have in common.
#[derive(Debug, Default)]
struct ScanFacts {
    types: HashMap<String, TypeTexts>,
    /// Serial numbers, in order, of issues that share type, origin and path.
    equals: HashMap<String, Vec<String>>,
}

impl Connector for Burp {
    const META: Meta = Meta {
        id: "burp",
        title: "Burp Suite DAST",
        docs: "https://portswigger.net/burp/documentation/dast/user-guide/api-documentation/graphql-api",
        record: "site",
        location_help: "URL of the web interface, such as https://burp.example.com:8443",
        permissions: &["view sites", "view scan results"],
        concurrency: 2,
        timeout: Duration::from_secs(300),
        cut: &["evidence", "request", "response", "request_segments", "response_segments"],
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Link) -> Result<Self> {
        link.location = link.location.without_endings(&["/graphql/v1", "/api-internal", "/api"]);
        let http = link.http(&Self::META, Auth::Header("authorization", settings.secret))?;
        Ok(Burp { http, skip_ephemeral: settings.skip_ephemeral, is_new: OnceCell::new(), scans: Mutex::default() })
    }

    async fn scopes(&self, _: &Cx, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(match job {
            Job::Discover => vec![Scope::account("sites")],
            Job::Sync(records) => records.iter().map(|record| Scope::of("issues", record)).collect(),
        })
    }

    async fn page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        let is_new = *self.is_new.get_or_try_init(|| self.introspect(cx)).await?;
        if ask.scope.list == "sites" {
            return self.sites(cx, is_new).await;
        }
        let quiet = |next| Ok(Page::new((Vec::new(), Vec::new()), None, next));
        match ask.cursor {
            Cursor::Start => match self.latest_scan(cx, is_new, &ask.scope.key).await? {
                Some(scan) => quiet(Next::More(Cursor::Types(scan))),
                // Retention may have deleted the scans: that says nothing about the issues.
                None => quiet(Next::Done(Coverage::Delta, ask.mark.map(Into::into))),
            },
            Cursor::Types(scan) => {
                self.types(cx, &scan).await?;
                quiet(Next::More(Cursor::Places(scan, 0)))
            }
            Cursor::Places(scan, start) => {
                let more = self.places(cx, &scan, start).await?;
                quiet(Next::More(if more { Cursor::Places(scan, start + PLACES) } else { Cursor::Issues(scan, 0) }))
            }
            Cursor::Issues(scan, start) => self.issues(cx, is_new, ask.scope, ask.mark, scan, start).await,
        }
    }

    async fn check(&self, cx: &Cx) -> Result<Checked> {
        let is_new = self.introspect(cx).await?;
        let tree = self.tree(cx, is_new).await?;
        let mut checked = Checked::default();
        checked.facts.push(format!("{} sites visible", tree.sites.len() + tree.cids_sites.len()));
        checked.facts.push(if is_new { "new schema" } else { "old schema" }.to_owned());
        if tree.sites.is_empty() {
            checked.warnings.push("no site is visible: the API user's role or its site restrictions may hide them".into());
        }
        Ok(checked)
    }
}

impl Burp {
    async fn ask<V: Serialize + Sync, T: DeserializeOwned>(&self, cx: &Cx, operation: impl Into<Operation<V>>) -> Result<T> {
        let sent = graphql::send(&self.http, cx, ROUTE, &operation.into()).await;
        sent.map_err(|error| match &error.kind {
            Kind::Forbidden(_) => {
                error.with_hint("give the API user a role that can view sites and view scan results, without site restrictions")
            }
            Kind::Refused { status: 404, .. } => {
                error.with_hint("`location` has to be the address at which the web interface opens, with its port")
            }
            _ => error,
        })
    }

    /// Whether the server knows what the new documents ask for. A server that refuses introspection is an old one.
    async fn introspect(&self, cx: &Cx) -> Result<bool> {
        const CHECK: &str = r#"query Check {
            query: __type(name: "Query") { fields { name args { name } } }
            tree: __type(name: "SiteTree") { fields(includeDeprecated: true) { name } }
            site: __type(name: "Site") { fields(includeDeprecated: true) { name } }
            scan: __type(name: "Scan") { fields(includeDeprecated: true) { name } }
            issue: __type(name: "Issue") { fields(includeDeprecated: true) { name } }
        }"#;
        let operation = Operation { query: CHECK, variables: serde_json::json!({}), operation_name: "Check" };
        let types: HashMap<String, Option<Type>> = match self.ask(cx, operation).await {
            Ok(types) => types,
            Err(error) if matches!(error.kind, Kind::Refused { status: 200 | 400, .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let field = |of: &str, name: &str| {
            let fields = types.get(of).and_then(Option::as_ref).and_then(|kind| kind.fields.as_ref());
            fields.and_then(|fields| fields.iter().find(|field| field.name == name))
        };
        let wanted = [
            ("tree", "cids_sites"),
            ("site", "scope_v2"),
            ("site", "ephemeral"),
            ("scan", "scan_configurations"),
            ("issue", "fingerprint"),
            ("issue", "accepted_risk"),
            ("issue", "generated_by_bcheck"),
        ];
        let by_target = field("query", "scans").is_some_and(|scans| scans.args.iter().flatten().any(|arg| arg.name == "scan_target_id"));
        Ok(by_target && wanted.iter().all(|(of, name)| field(of, name).is_some()))
    }

    async fn tree(&self, cx: &Cx, is_new: bool) -> Result<SiteTree> {
        let answer: Tree = if is_new {
            self.ask(cx, NewSiteTree::build_query(new_site_tree::Variables)).await?
        } else {
            self.ask(cx, OldSiteTree::build_query(old_site_tree::Variables)).await?
        };
        answer.site_tree.ok_or_else(|| {
            let why = Kind::Forbidden(crate::Excerpt::new("the server answers no site tree"));
            Error::new("reading the site tree", why).with_hint("give the API user a role that can view sites")
        })
    }

    async fn sites(&self, cx: &Cx, is_new: bool) -> Result<Page<Cursor>> {
        let SiteTree { folders, sites, cids_sites } = self.tree(cx, is_new).await?;
        let (mut read, mut rejects) = (Vec::new(), Vec::new());
        for (kind, list) in [("site", sites), ("cids_site", cids_sites)] {
            let (mut more, mut bad) =
                items(list, Self::META.cut, |site: Site| Ok(self.record(site, kind, &folders)), |key: SiteKey| key.id);
            read.append(&mut more);
            rejects.append(&mut bad);
        }
        Ok(Page::new((read, rejects), None, Next::Done(Coverage::Full, None)))
    }

    fn record(&self, site: Site, kind: &str, folders: &[Folder]) -> Item {
        if self.skip_ephemeral && site.ephemeral == Some(true) {
            return Item::Skipped { key: site.id.into(), reason: "ephemeral site" };
        }
        let mut path = Vec::new();
        let mut parent = site.parent_id.as_deref();
        // A parent that is not listed is the root; the bound ends a tree that is none.
        while let Some(folder) = parent.and_then(|id| folders.iter().find(|folder| folder.id == id)).filter(|_| path.len() < 32) {
            path.push(folder.name.as_deref().unwrap_or(&folder.id));
            parent = folder.parent_id.as_deref();
        }
        path.reverse();
        let urls = site.scope_v2.and_then(|scope| scope.start_urls).unwrap_or_default().join(" ");
        let attributes = [("folder", path.join(" / ")), ("start_urls", urls)];
        Item::Record(Record {
            name: text::line(site.name.as_deref().unwrap_or(&site.id)),
            key: site.id.into(),
            kind: kind.into(),
            url: None,
            attributes: attributes.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value)?))).collect(),
        })
    }

    async fn latest_scan(&self, cx: &Cx, is_new: bool, target: &str) -> Result<Option<Scan>> {
        let target = target.to_owned();
        let answer: Scans = if is_new {
            self.ask(cx, NewLatestScan::build_query(new_latest_scan::Variables { target })).await?
        } else {
            self.ask(cx, OldLatestScan::build_query(old_latest_scan::Variables { target })).await?
        };
        Ok(answer.scans.into_iter().flatten().next().map(|scan| {
            let mut configurations: Vec<String> =
                scan.scan_configurations.unwrap_or_default().into_iter().map(|configuration| configuration.id).collect();
            configurations.sort();
            Scan {
                id: scan.id,
                end_time: scan.end_time,
                total: scan.issue_counts.and_then(|counts| counts.total),
                configurations: is_new.then(|| configurations.join(",")),
            }
        }))
    }

    async fn types(&self, cx: &Cx, scan: &Scan) -> Result<()> {
        let answer: OneScan<ScanTypes> = self.ask(cx, IssueTypes::build_query(issue_types::Variables { scan: scan.id.clone() })).await?;
        let groups = answer.scan.ok_or_else(deleted)?.issue_type_groups.unwrap_or_default();
        let types =
            groups.into_iter().filter_map(|group| group.issue_type).filter_map(|kind| Some((kind.type_index.clone()?, kind))).collect();
        let mut scans = self.scans();
        while scans.len() >= SCANS {
            scans.pop_first();
        }
        scans.insert(scan.id.clone(), Arc::new(ScanFacts { types, equals: HashMap::new() }));
        Ok(())
    }

    /// Notes the places of one page of issues; true when there are more. After the last page only equal places are kept.
    async fn places(&self, cx: &Cx, scan: &Scan, start: i64) -> Result<bool> {
        let variables = issue_places::Variables { scan: scan.id.clone(), start, count: PLACES };
        let answer: OneScan<ScanIssues<Issue>> = self.ask(cx, IssuePlaces::build_query(variables)).await?;
        let issues = answer.scan.ok_or_else(deleted)?.issues.unwrap_or_default();
        let mut scans = self.scans();
        let facts = Arc::get_mut(scans.get_mut(&scan.id).ok_or_else(deleted)?).ok_or_else(deleted)?;
        for issue in &issues {
            facts.equals.entry(issue.place()).or_default().push(issue.serial_number.clone().unwrap_or_default());
        }
        let more = i64::try_from(issues.len()).unwrap_or(i64::MAX) >= PLACES;
        if !more {
            facts.equals.retain(|_, serials| serials.len() > 1);
            // Serial numbers are 64-bit numbers as text: by length, then by digits.
            facts.equals.values_mut().for_each(|serials| {
                serials.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
                serials.dedup();
            });
        }
        Ok(more)
    }

    async fn issues(&self, cx: &Cx, is_new: bool, scope: &Scope, mark: Option<&str>, scan: Scan, start: i64) -> Result<Page<Cursor>> {
        let facts = self.scans().get(&scan.id).map(Arc::clone).ok_or_else(deleted)?;
        let id = scan.id.clone();
        let answer: OneScan<ScanIssues<Box<RawValue>>> = if is_new {
            self.ask(cx, NewIssues::build_query(new_issues::Variables { scan: id, start, count: ISSUES })).await?
        } else {
            self.ask(cx, OldIssues::build_query(old_issues::Variables { scan: id, start, count: ISSUES })).await?
        };
        let issues = answer.scan.ok_or_else(deleted)?.issues.ok_or_else(deleted)?;
        let more = i64::try_from(issues.len()).unwrap_or(i64::MAX) >= ISSUES;
        let total = scan.total;
        let read = self.read(issues, &scope.key, &facts, &scan, cx);
        let next = if more {
            Next::More(Cursor::Issues(scan, start + ISSUES))
        } else {
            // What a scan with another configuration does not find is not proved to be gone; the next one like it is compared.
            let other = mark.is_some() && mark != scan.configurations.as_deref();
            if other {
                cx.warn(format!(
                    "the newest scan of {} ran with another configuration than the one before: nothing it did not find was closed",
                    scope.title
                ));
            }
            self.scans().remove(&scan.id);
            Next::Done(if other { Coverage::Delta } else { Coverage::Full }, scan.configurations.map(Into::into))
        };
        Ok(Page::new(read, total, next))
    }

    fn read(&self, issues: Vec<Box<RawValue>>, site: &str, facts: &ScanFacts, scan: &Scan, cx: &Cx) -> (Vec<Item>, Vec<crate::Reject>) {
        items(
            issues,
            Self::META.cut,
            |issue: Issue| finding(issue, site, facts, scan, cx),
            |issue: Issue| Some(keys(&issue, site, facts)?.0),
        )
    }

    fn scans(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ScanFacts>>> {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Maps issues as they come in a scan's page, with the texts of their types inside (recorded files have them there).
    #[doc(hidden)]
    pub fn read_recorded(issues: Vec<Box<RawValue>>, site: &str) -> (Vec<Item>, Vec<crate::Reject>) {
        let scan = Scan { id: "0".into(), end_time: None, total: None, configurations: None };
        let cx = Cx::default();
        let map = |issue: Issue| {
            let types = issue.issue_type.iter().map(|kind| (kind.type_index.clone().unwrap_or_default(), kind.clone())).collect();
            finding(issue, site, &ScanFacts { types, equals: HashMap::new() }, &scan, &cx)
        };
        items(issues, Self::META.cut, map, |issue: Issue| Some(keys(&issue, site, &ScanFacts::default())?.0))
    }
}

/// The scan is gone, or what was known of it: the site is read from the start.
fn deleted() -> Error {
    Error::new("reading a scan", Kind::CursorExpired)
}

/// The key of an issue, and the other one under which an older server delivered it.
fn keys(issue: &Issue, site: &str, facts: &ScanFacts) -> Option<(String, Option<String>)> {
    if issue.fingerprint.is_none() && (issue.origin.is_none() || issue.path.is_none()) {
        return None;
    }
    let place = issue.place();
    let serial = issue.serial_number.as_deref().unwrap_or_default();
    let number = facts.equals.get(&place).and_then(|serials| serials.iter().position(|known| known == serial)).filter(|at| *at > 0);
    let by_place = number.map_or_else(|| format!("{site}/{place}"), |at| format!("{site}/{place}#{}", at + 1));
    Some(match issue.fingerprint.as_deref().filter(|fingerprint| !fingerprint.is_empty()) {
        Some(fingerprint) => (format!("{site}/fp/{fingerprint}"), Some(by_place)),
        None => (by_place, None),
    })
}

fn finding(issue: Issue, site: &str, facts: &ScanFacts, scan: &Scan, cx: &Cx) -> Result<Item, String> {
    let (key, alternate_key) = keys(&issue, site, facts).ok_or("neither a fingerprint nor origin and path")?;
    let kind = issue.issue_type.unwrap_or_default();
    let type_index = kind.type_index.as_deref().unwrap_or_default();
    let texts = facts.types.get(type_index).cloned().unwrap_or_default();
    let word = issue.severity.as_deref().unwrap_or_default();
    let severity = match word {
        "high" => Severity::High,
        "medium" => Severity::Medium,
        "low" => Severity::Low,
        "info" => Severity::Info,
        other => {
            cx.warn(format!("unknown severity `{}`", text::line(other)));
            Severity::Unknown
        }
    };
    let confidence = issue.confidence.as_deref().unwrap_or_default();
    let accepted = issue.accepted_risk == Some(true);
    let state = match (confidence, issue.display_confidence.as_deref()) {
        ("false_positive", _) | (_, Some("false_positive")) => State::FalsePositive,
        _ if accepted => State::RiskAccepted,
        ("tentative" | "firm" | "certain" | "", _) => State::Open,
        (other, _) => {
            cx.warn(format!("unknown confidence `{}`", text::line(other)));
            State::Open
        }
    };
    let shown = issue.display_confidence.as_deref().filter(|shown| *shown != confidence).unwrap_or(confidence);
    let vendor_state = format!("{shown}{}", if accepted { ", accepted risk" } else { "" });
    let join = |parts: [&Option<String>; 2]| {
        let parts: Vec<_> = parts.into_iter().flatten().filter_map(|html| text::from_html(html)).collect();
        text::keep(&parts.join("\n\n"))
    };
    let classes = texts.vulnerability_classifications_html.as_deref().unwrap_or_default();
    let mut references = text::links(texts.references_html.as_deref().unwrap_or_default());
    references.extend(text::links(classes));
    let generators = [issue.generated_by_extension, issue.generated_by_bcheck].into_iter().flatten().filter_map(|generator| generator.name);
    let tags = [issue.confidence, issue.novelty].into_iter().flatten().chain(generators).filter(|tag| !tag.is_empty());
    Ok(Item::Finding(Box::new(Finding {
        alternate_key: alternate_key.map(Into::into),
        rule: text::keep(type_index),
        title: text::line(kind.name.as_deref().unwrap_or("Issue")),
        description: join([&issue.description_html, &texts.description_html]),
        remediation: join([&issue.remediation_html, &texts.remediation_html]),
        severity,
        vendor_severity: text::keep(word),
        state,
        vendor_state: text::keep(&vendor_state),
        cwe: text::cwes(classes),
        endpoint: text::keep(&format!("{}{}", issue.origin.as_deref().unwrap_or_default(), issue.path.as_deref().unwrap_or_default())),
        reference_urls: references,
        tags: tags.map(|tag| text::line(&tag)).collect(),
        vendor_last_seen: scan.end_time.as_deref().and_then(text::time),
        ..Finding::new(key, site, Category::Dast)
    })))
}

#[derive(Deserialize)]
struct Type {
    fields: Option<Vec<Field>>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    args: Option<Vec<Named>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Tree {
    site_tree: Option<SiteTree>,
}

#[derive(Deserialize)]
struct SiteTree {
    #[serde(default, deserialize_with = "listed")]
    folders: Vec<Folder>,
    #[serde(default, deserialize_with = "listed")]
    sites: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "listed")]
    cids_sites: Vec<Box<RawValue>>,
}

/// A list, where null means none.
fn listed<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Folder {
    id: String,
    name: Option<String>,
    parent_id: Option<String>,
}

#[derive(Deserialize)]
struct SiteKey {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Site {
    id: String,
    name: Option<String>,
    parent_id: Option<String>,
    ephemeral: Option<bool>,
    scope_v2: Option<SiteScope>,
}

#[derive(Deserialize)]
struct SiteScope {
    start_urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Scans {
    scans: Option<Vec<LatestScan>>,
}

#[derive(Deserialize)]
struct LatestScan {
    id: String,
    end_time: Option<String>,
    issue_counts: Option<Counts>,
    scan_configurations: Option<Vec<Configuration>>,
}

#[derive(Deserialize)]
struct Counts {
    total: Option<u64>,
}

#[derive(Deserialize)]
struct Configuration {
    id: String,
}

#[derive(Deserialize)]
struct OneScan<T> {
    scan: Option<T>,
}

#[derive(Deserialize)]
struct ScanTypes {
    issue_type_groups: Option<Vec<TypeGroup>>,
}

#[derive(Deserialize)]
struct TypeGroup {
    issue_type: Option<TypeTexts>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct TypeTexts {
    type_index: Option<String>,
    name: Option<String>,
    description_html: Option<String>,
    remediation_html: Option<String>,
    vulnerability_classifications_html: Option<String>,
    references_html: Option<String>,
}

#[derive(Deserialize)]
struct ScanIssues<T> {
    issues: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct Issue {
    serial_number: Option<String>,
    fingerprint: Option<String>,
    severity: Option<String>,
    confidence: Option<String>,
    display_confidence: Option<String>,
    accepted_risk: Option<bool>,
    path: Option<String>,
    origin: Option<String>,
    novelty: Option<String>,
    description_html: Option<String>,
    remediation_html: Option<String>,
    issue_type: Option<TypeTexts>,
    generated_by_extension: Option<Generator>,
    generated_by_bcheck: Option<Generator>,
}

impl Issue {
    /// Type, origin and path: what an issue is known by where the server has no fingerprint for it.
    fn place(&self) -> String {
        let type_index = self.issue_type.as_ref().and_then(|kind| kind.type_index.as_deref()).unwrap_or_default();
        format!("{type_index}/{}{}", self.origin.as_deref().unwrap_or_default(), self.path.as_deref().unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Generator {
    name: Option<String>,
}
