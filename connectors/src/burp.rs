//! Burp Suite DAST (formerly Enterprise Edition), GraphQL API
//! <https://portswigger.net/burp/documentation/dast/user-guide/api-documentation/graphql-api>.
//!
//! One endpoint, `POST /graphql/v1`, with the bare API key in `Authorization`. The schema grows with the server's version:
//! introspection decides which optional fields are asked for. Issues belong to scans, and the newest succeeded scan of a site
//! is what is true of it. Its list is paged by offset in an order that is not documented. The long texts of issue types come
//! once a page, beside the issues. Requests and responses, which may hold secrets of the scanned site, are never asked for.
//! No rate limit is known.

mod finding;
mod scan;
mod site;

use std::time::Duration;

use graphql_client::GraphQLQuery;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use self::{
    finding::{Issue, Known, PageContext, Places, Types, finding},
    scan::Scan,
    site::{Node, Site, Tree, record},
};
use crate::{
    Excerpt,
    kit::graphql::{self, Fields, Operation},
    prelude::*,
};

const ROUTE: &str = "/graphql/v1";
/// Issues of a page with their texts, and with their places only. No maximum is documented; the vendor's own tool asks for 9999.
const ISSUES: i64 = 500;
const PLACES: i64 = 9999;

type Timestamp = String;
graphql::operations!("src/burp/schema.graphql", "src/burp/queries.graphql": SiteTree, LatestScan, LatestScanOfSite, Issues, Instances);

/// The connector for one connection: its client, and what its settings say.
#[derive(Debug)]
pub struct Burp {
    http: Http,
    settings: Settings,
    /// What the server's schema has: a fact about the server, not about a walk.
    fields: OnceCell<Fields>,
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
    /// When an issue that the newest scan did not find is gone: `same_configuration` (default) = when that scan had the
    /// configurations of the one before it and no narrower scope; `always`; `never`.
    #[serde(default)]
    close_missing: CloseMissing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum CloseMissing {
    #[default]
    SameConfiguration,
    Always,
    Never,
}

/// How far a site has been read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum Cursor {
    /// Nothing is known.
    #[default]
    Start,
    /// The scan has more issues than a page: their places from this one on are still to be noted.
    Places(Scan, i64, Places),
    /// The issues from this one on are not read; the places are those that several issues share.
    Issues(Scan, i64, Places),
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

    fn open(settings: Settings, mut link: Endpoint) -> Result<Self> {
        link.location = link.location.before(&["graphql", "api", "api-internal"]);
        let http = link.http(&Self::META, Auth::header("authorization", settings.secret.clone()))?;
        Ok(Burp { http, settings, fields: OnceCell::new() })
    }

    async fn scopes(&self, _: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(Scope::by_record(job, "sites", "issues", Absence::ProofTwice))
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        let PageRequest { scope, mark, cursor, .. } = ask;
        match cursor {
            Cursor::Start if scope.list == "sites" => self.sites(cx).await,
            Cursor::Start => match self.latest_scan(cx, &scope.key).await? {
                Some(scan) if scan.declared() >= ISSUES => Ok(Page::empty(Next::More(Cursor::Places(scan, 0, Places::default())))),
                Some(scan) => self.issues(cx, scope, mark, scan, 0, None).await,
                // A site that was read before has no succeeded scan.
                None if mark.is_some() => self.without_scan(cx, scope, mark).await,
                None => Ok(Page::empty(Next::Done(Coverage::Delta, mark.map(Into::into)))),
            },
            Cursor::Places(scan, start, mut places) => {
                let variables = instances::Variables { scan: scan.id.clone(), start, count: PLACES };
                let list = self.ask::<Instances, Found>(cx, variables).await?.and_then(|found| found.issues).ok_or_else(deleted)?;
                places.note(&list);
                let (end, more) = scan.after(start, list.len(), PLACES);
                Ok(Page::empty(Next::More(if more { Cursor::Places(scan, end, places) } else { Cursor::Issues(scan, 0, places.shared()) })))
            }
            Cursor::Issues(scan, start, shared) => self.issues(cx, scope, mark, scan, start, Some(shared)).await,
        }
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let tree = self.tree(cx).await?;
        let mut checked = CheckReport { facts: vec![format!("{} sites visible", tree.keys().count())], warnings: Vec::new() };
        if !self.fields(cx).await?.has("Issue", "fingerprint") {
            checked.facts.push("an older schema: no fingerprints, no accepted risks".into());
        }
        let Some(first) = tree.keys().next() else {
            checked.warnings.push("no site is visible: the API user's role or its site restrictions may hide them".into());
            return Ok(checked);
        };
        if let Some(scan) = self.latest_scan(cx, &first).await? {
            self.ask::<Issues, Found>(cx, issues::Variables { scan: scan.id, start: 0, count: 1 }).await?;
        }
        Ok(checked)
    }
}

impl Burp {
    async fn ask<Q: GraphQLQuery<Variables: Send + Sync>, T: DeserializeOwned>(
        &self,
        cx: &Context,
        variables: Q::Variables,
    ) -> Result<Option<T>> {
        let operation = Operation::fitting(Q::build_query(variables), self.fields(cx).await?);
        graphql::send(&self.http, cx, ROUTE, &operation).await.map_err(|error| with_hint(error, operation.name()))
    }

    async fn fields(&self, cx: &Context) -> Result<&Fields> {
        let introspect = || async {
            let types = ["Query", "SiteTree", "Site", "Scan", "Issue"];
            let fields = graphql::introspect(&self.http, cx, ROUTE, &types).await.map_err(|error| with_hint(error, "SiteTree"))?;
            Ok(fields.unwrap_or_else(|| Fields::known(&[("Issue", "display_confidence")])))
        };
        let fields = self.fields.get_or_try_init(introspect).await?;
        if !fields.has("Query", "scans") {
            cx.warn("the server refuses introspection: it is read as an old one, without accepted risks and fingerprints");
        }
        Ok(fields)
    }

    async fn tree(&self, cx: &Context) -> Result<Tree> {
        self.ask::<SiteTree, Tree>(cx, site_tree::Variables).await?.ok_or_else(|| {
            let why = ErrorKind::Forbidden(Excerpt::new("the server answers no site tree"));
            with_hint(Error::new("reading the site tree", why), "SiteTree")
        })
    }

    async fn sites(&self, cx: &Context) -> Result<Page<Cursor>> {
        let tree = self.tree(cx).await?;
        let folders = tree.folders();
        let mut read = Decoded::default();
        for (kind, list) in [("site", tree.sites), ("cids_site", tree.cids_sites)] {
            let map = |site: Site| record(site, kind, &folders, self.settings.skip_ephemeral);
            read.append(items(list, Self::META.cut, map, |key: Node| key.id));
        }
        Ok(Page::new(read, None, Next::FULL))
    }

    /// A site whose scans retention deleted is answered like one that was deleted itself, or that the key may no longer see. None of
    /// this says anything of its issues; where the site is not there either, the records are listed again.
    async fn without_scan(&self, cx: &Context, scope: &Scope, mark: Option<&str>) -> Result<Page<Cursor>> {
        let tree = self.tree(cx).await?;
        if tree.lists(&scope.key) {
            return Ok(Page::empty(Next::Done(Coverage::Delta, mark.map(Into::into))));
        }
        let doing = "reading the newest scan of a site";
        if tree.keys().next().is_none() {
            let why = ErrorKind::Forbidden(Excerpt::new("no site is visible any more"));
            return Err(Error::new(doing, why).with_hint("give the API user's role access to its sites again"));
        }
        let why = ErrorKind::Refused { status: 404, body: Excerpt::new("the site and its scans are no longer visible") };
        Err(Error::new(doing, why).with_hint("if the site was not deleted, give the API user's role access to it again"))
    }

    async fn latest_scan(&self, cx: &Context, target: &str) -> Result<Option<Scan>> {
        let wanted = target.to_owned();
        let target = wanted.clone();
        let scans: Option<Vec<Scan>> = if self.fields(cx).await?.has("Query", "scans.scan_target_id") {
            self.ask::<LatestScan, _>(cx, latest_scan::Variables { target }).await?
        } else {
            self.ask::<LatestScanOfSite, _>(cx, latest_scan_of_site::Variables { site: target }).await?
        };
        let scan = scans.into_iter().flatten().next();
        if scan.as_ref().is_some_and(|scan| !scan.is_of(&wanted)) {
            // The one that was asked for may be anywhere in the list of all scans of all sites.
            cx.filter_ignored("scan_target_id, scan_status");
            let reason = "a scan of another site, or one that did not succeed";
            return Err(Error::new(
                "reading the newest scan of a site",
                ErrorKind::UnexpectedBody { path: "scans".into(), reason: reason.into() },
            ));
        }
        Ok(scan)
    }

    /// A page of issues. Places are known when there are several pages; the only page tells its own.
    async fn issues(
        &self,
        cx: &Context,
        scope: &Scope,
        mark: Option<&str>,
        scan: Scan,
        start: i64,
        places: Option<Places>,
    ) -> Result<Page<Cursor>> {
        let variables = issues::Variables { scan: scan.id.clone(), start, count: ISSUES };
        let Found { issue_type_groups, issues } = self.ask::<Issues, Found>(cx, variables).await?.ok_or_else(deleted)?;
        let issues = issues.ok_or_else(deleted)?;
        let (end, more) = scan.after(start, issues.len(), ISSUES);
        let places = match places {
            Some(places) => places,
            None if more => return Ok(Page::empty(Next::More(Cursor::Places(scan, 0, Places::default())))),
            None => {
                let mut places = Places::default();
                places.note(&issues);
                places.shared()
            }
        };
        let types = Types::read(issue_type_groups.unwrap_or_default(), cx);
        let around = PageContext { site: &scope.key, types: &types, places: &places, scan_end: scan.end_time.as_deref() };
        let read = items(
            issues,
            Self::META.cut,
            |issue: Issue| finding(&issue, &around, cx),
            |known: Known| Some(Issue::from(known).keys(&around)?.0),
        );
        let total = scan.total();
        let next =
            if more { Next::More(Cursor::Issues(scan, end, places)) } else { scan.end(cx, scope, mark, self.settings.close_missing) };
        Ok(Page::new(read, total, next))
    }
}

fn with_hint(error: Error, operation: &str) -> Error {
    match (&error.kind, operation) {
        (ErrorKind::Forbidden(_), "SiteTree") => error.with_hint("give the API user a role that can view sites"),
        (ErrorKind::Forbidden(_), _) => error.with_hint("give the API user a role that can view scan results, for all its sites"),
        (ErrorKind::NotAnApi(_), _) => error.with_hint("`location` has to be the address at which the web interface opens, with its port"),
        _ => error,
    }
}

/// The scan is gone: the site is read from the start.
fn deleted() -> Error {
    Error::new("reading a scan", ErrorKind::CursorExpired)
        .with_hint("the scan was deleted while it was read, or the API user may not view scan results")
}

/// What a scan found.
#[derive(Deserialize)]
struct Found {
    issue_type_groups: Option<Vec<Box<RawValue>>>,
    issues: Option<Vec<Box<RawValue>>>,
}
