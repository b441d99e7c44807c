//! Snyk (Open Source, Code, Container, IaC), REST API <https://docs.snyk.io/snyk-api/rest-api>, with two calls of its older
//! API V1 for what REST does not say.
//!
//! An API token (`Authorization: token …`, best a group service account's), or the client credentials of a service account;
//! each belongs to one region. Lists are JSON:API: `links.next` until it is absent, a path that comes with or without `/rest`
//! and holds all parameters. Issues of an organization are one list, open, ignored and resolved; later syncs ask for what was
//! updated, and once a day for all ignored ones, as Snyk does not promise that ignoring moves `updated_at`. Names and types of
//! projects come from one further request a page; fixed versions, descriptions and the reasons of ignores from V1, once a
//! project and pass. V1 may be switched off for a while or for good: then findings go without. 1620 requests a minute.

mod finding;
mod home;
mod issue;
mod organization;
mod record;
mod v1;
mod wire;

use std::{collections::BTreeMap, time::Duration};

use self::{
    home::resolve_api_url,
    v1::V1,
    wire::{Key, Listing, NextLink, One, Org, Project, Who, Whoami},
};
use crate::{
    kit::{Cache, Rate, RedirectUrls, Request},
    prelude::*,
};

/// The release of the REST API that is asked for.
const VERSION: &str = "2024-10-15";
/// Largest page of every list.
const LIMIT: u32 = 100;
/// Bytes of facts about projects kept.
const PROJECTS: usize = 8 << 20;
/// How often all ignored issues are listed.
const IGNORED_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Vendor states of issues that may have been un-ignored without a trace.
const IGNORED: &[&str] = &["open, ignored", "open, ignored: not-vulnerable", "open, ignored: wont-fix", "open, ignored: temporary-ignore"];
/// Such issues looked up per page.
const LOOK_UPS: usize = 20;
/// Pages in a row that may be empty and still name a next one.
const EMPTY_PAGES: u8 = 9;

/// The connector for one connection: its client, and what its settings say.
#[derive(Debug)]
pub struct Snyk {
    http: Http,
    app: Option<Box<str>>,
    note: Option<String>,
    group: Option<String>,
    orgs: Vec<String>,
    licenses: bool,
    projects: Cache<Option<Project>>,
    v1: V1,
}

/// Fields of a Snyk connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// API token, best of a group's service account with the role Group Viewer; or give `client_id` and `client_secret`.
    #[serde(default)]
    secret: Option<Secret>,
    /// Client id of a service account with OAuth 2.0 client credentials.
    #[serde(default)]
    client_id: Option<String>,
    /// Client secret of that service account.
    #[serde(default)]
    client_secret: Option<Secret>,
    /// Where a browser is sent after consent to a Snyk app. Accepted and not used yet: give `secret`, or `client_id` and
    /// `client_secret`, beside it.
    #[serde(default)]
    oauth2_redirect_urls: Option<RedirectUrls>,
    /// Read only the organizations of this group.
    #[serde(default)]
    group_id: Option<String>,
    /// Read only these organizations: ids or slugs. Without it every organization that the token sees.
    #[serde(default)]
    org_ids: Vec<String>,
    /// Also store license issues. Default: no.
    #[serde(default)]
    include_licenses: bool,
}

/// How far an organization's list has been read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    part: Part,
    /// The vendor's link to the page.
    link: Option<String>,
    /// Empty pages before it.
    empty: u8,
    /// Cloud environments met so far, and whether an issue gave the name.
    #[serde(default)]
    environments: BTreeMap<String, bool>,
}

/// What of it is being read.
#[derive(Debug, Default, Serialize, Deserialize)]
enum Part {
    /// The list itself.
    #[default]
    Main,
    /// Issues of cloud environments, which are listed nowhere else.
    Cloud,
    /// All ignored issues.
    Ignored,
    /// Those that were ignored and are no longer: looked up by id, after this one.
    Unignored(Option<String>),
}

impl Connector for Snyk {
    const META: Meta = Meta {
        id: "snyk",
        title: "Snyk",
        docs: "https://docs.snyk.io/snyk-api/rest-api",
        record: "project",
        location: "https://api.snyk.io/rest",
        location_help: "REST URL of your region: https://api.snyk.io/rest, https://api.us.snyk.io/rest, https://api.eu.snyk.io/rest, \
                        https://api.au.snyk.io/rest, https://api.snykgov.io/rest",
        permissions: &["org.read", "org.project.read", "org.project.snapshot.read", "org.project.ignore.read"],
        incremental: true,
        rates: &[Rate { of: "", requests: 25, within: Duration::from_secs(1) }],
        overlap: Duration::from_secs(600),
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Endpoint) -> Result<Self> {
        let (location, note) = resolve_api_url(&link.location);
        link.location = location;
        let auth = match (settings.secret, settings.client_id, settings.client_secret) {
            (Some(token), None, None) => Auth::Scheme("token", token),
            (None, Some(id), Some(secret)) => Auth::client_credentials(link.location.join("/oauth2/token", &[]), &id, secret),
            (None, None, None) if settings.oauth2_redirect_urls.is_some() => {
                return Err(Error::settings(
                    "consent in a browser is not built yet: give `secret` (an API token), or `client_id` and `client_secret`, beside \
                     `oauth2_redirect_urls`",
                ));
            }
            _ => {
                return Err(Error::settings("give either `secret` (an API token), or `client_id` and `client_secret`"));
            }
        };
        let app = link.location.host().strip_prefix("api.").map(|rest| link.location.clone().at_host(&["app.", rest].concat()));
        Ok(Snyk {
            app: app.map(|app| app.to_string().into()),
            http: link.http(&Self::META, auth)?,
            note,
            group: settings.group_id,
            orgs: settings.org_ids,
            licenses: settings.include_licenses,
            projects: Cache::new(PROJECTS, |project| project.as_ref().map_or(0, Project::bytes)),
            v1: V1::default(),
        })
    }

    async fn scopes(&self, cx: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        if let Some(note) = &self.note {
            cx.warn(note);
        }
        let list = if matches!(job, Job::Discover) { "projects" } else { "issues" };
        // The slug serves people and deep links.
        let scope = |org: Org| Scope { key: org.id.into(), title: org.attributes.slug.unwrap_or_default().into(), ..Scope::account(list) };
        Ok(self.organizations(cx).await?.into_iter().map(scope).collect())
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        match &ask.cursor.part {
            Part::Main if ask.scope.list == "projects" => self.project_page(cx, ask).await,
            Part::Cloud => self.environment_page(cx, ask).await,
            Part::Main | Part::Ignored => self.issue_page(cx, ask).await,
            Part::Unignored(after) => {
                let keys = ask.stored.undelivered(IGNORED, after.as_deref(), LOOK_UPS).await;
                let Some(last) = keys.last() else {
                    return Ok(Page::empty(Next::Done(Coverage::Delta, Some(cx.now().to_string().into()))));
                };
                let next = Cursor { part: Part::Unignored(Some(last.to_string())), ..Cursor::default() };
                let mut found = Vec::new();
                for key in &keys {
                    let one = self.rest("/rest/orgs/{}/issues/{}", &[&ask.scope.key, key]).send::<One>(cx).await;
                    match one {
                        Ok(answer) => found.push(answer.body.data),
                        // Deleted, or resolved long ago: the next full pass tells.
                        Err(error) if matches!(error.kind, ErrorKind::Refused { status: 404, .. }) => {}
                        Err(error) => return Err(with_hint(error, "org.project.snapshot.read")),
                    }
                }
                Ok(Page::new(self.read(cx, ask.scope, found).await?, None, Next::More(next)))
            }
        }
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let mut checked = CheckReport::default();
        checked.warnings.extend(self.note.clone());
        match self.rest("/rest/self", &[]).send::<Whoami>(cx).await.map_err(|error| with_hint(error, "org.read")) {
            Ok(answer) => {
                let Who { kind, attributes } = answer.body.data;
                checked.facts.push(text::single_line(&[&kind, " ", &attributes.name.unwrap_or_default()].concat()).into());
            }
            // Not every kind of token may ask who it is: the organizations decide.
            Err(error) if matches!(error.kind, ErrorKind::Forbidden(_) | ErrorKind::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        let orgs = self.organizations(cx).await?;
        checked.facts.push(format!("{} organizations visible", orgs.len()));
        for org in orgs.iter().take(5) {
            let projects = self.rest("/rest/orgs/{}/projects", &[&org.id]).query("limit", Some(10)).send::<Listing>(cx).await;
            let projects = projects.map_err(|error| with_hint(error, "org.project.read"))?.body.data;
            let issues = self.rest("/rest/orgs/{}/issues", &[&org.id]).query("limit", Some(10)).send::<Listing>(cx).await;
            issues.map_err(|error| with_hint(error, "org.project.snapshot.read"))?;
            let Some(project) = projects.first().and_then(|raw| serde_json::from_str::<Key>(raw.get()).ok()?.id) else { continue };
            if let Err(error) = v1::ask_ignores(&self.http, cx, &org.id, &project).await {
                checked.warnings.push(format!("reasons of ignores cannot be read, every ignored issue counts as risk accepted: {error}"));
            }
            if let Err(error) = v1::ask_fixes(&self.http, cx, &org.id, &project).await {
                checked.warnings.push(format!("fixed versions cannot be read: {error}"));
            }
            return Ok(checked);
        }
        checked.warnings.push("no project is visible in the first organizations".into());
        Ok(checked)
    }
}

/// The error with what cures it here.
fn with_hint(error: Error, permission: &str) -> Error {
    const REGION: &str = "a token belongs to one region: `location` is https://api.snyk.io/rest where the web interface is app.snyk.io, \
                          https://api.eu.snyk.io/rest where it is app.eu.snyk.io, and so on";
    match &error.kind {
        ErrorKind::Forbidden(_) => error.with_hint(format!(
            "give the token's role the permission {permission} in this organization; API access needs an Enterprise plan"
        )),
        ErrorKind::Unauthorized(_) => error.with_hint(format!("check the credential, and its region: {REGION}")),
        ErrorKind::Refused { status: 404, .. } => error.with_hint(format!("the organization is not visible to this token, or {REGION}")),
        ErrorKind::NotAnApi(_) | ErrorKind::Redirect(_) => {
            error.with_hint(format!("`location` has to be the API, not a web page; {REGION}"))
        }
        _ => error,
    }
}

impl Snyk {
    fn rest(&self, route: &'static str, arguments: &[&str]) -> Request<'_> {
        self.http.get(route, arguments).header("accept", "application/vnd.api+json").query("version", Some(VERSION))
    }

    /// One page of a list: `first` is asked when the cursor has no link yet. With it the cursor after it, unless it is the last.
    async fn list(
        &self,
        cx: &Context,
        first: Request<'_>,
        route: &'static str,
        cursor: &Cursor,
    ) -> Result<(Vec<Box<RawValue>>, Option<Cursor>)> {
        let request = match &cursor.link {
            None => first.query("limit", Some(LIMIT)),
            Some(link) => {
                // Links come with and without the API's own path.
                let below = link.starts_with('/') && !link.starts_with("/rest/");
                let request = self.http.follow(route, &if below { ["/rest", link].concat() } else { link.clone() })?;
                let request = request.header("accept", "application/vnd.api+json");
                request.query("version", (!link.contains("version=")).then_some(VERSION))
            }
        };
        let answer = request.send::<Listing>(cx).await.map_err(|error| match error.kind {
            // Everything in a link is the vendor's own: when it is no longer accepted, the cursor in it is old.
            ErrorKind::Refused { status: 400, .. } if cursor.link.is_some() => Error::new(error.doing, ErrorKind::CursorExpired),
            _ => error,
        })?;
        if answer.headers.contains_key("sunset") {
            cx.warn(format!(
                "Snyk will end version {VERSION} of this API (Sunset header): a newer version of the connector will be needed"
            ));
        }
        let Listing { data, links } = answer.body;
        let next = links.and_then(|links| links.next).map(|next| match next {
            NextLink::Text(link) | NextLink::Object { href: link } => link,
        });
        let Some(link) = next else { return Ok((data, None)) };
        let empty = if data.is_empty() { cursor.empty + 1 } else { 0 };
        // An empty page that names itself is the end of the list; another one would come for ever.
        let itself = cursor.link.as_ref() == Some(&link);
        if empty > EMPTY_PAGES || (itself && empty == 0) {
            return Err(Error::new(["reading GET ", route].concat(), ErrorKind::PagingLoop));
        }
        let ended = itself && empty > 0;
        Ok((data, (!ended).then_some(Cursor { link: Some(link), empty, ..Cursor::default() })))
    }

    async fn issue_page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        const ROUTE: &str = "/rest/orgs/{}/issues";
        let (main, since) = (matches!(ask.cursor.part, Part::Main), ask.since.filter(|_| !ask.full));
        if main && ask.cursor.link.is_none() {
            self.projects.forget(&ask.scope.key);
            self.v1.forget(&ask.scope.key);
        }
        let first = self.rest(ROUTE, &[&ask.scope.key]);
        let first = if main { first.query("updated_after", since) } else { first.query("ignored", Some(true)) };
        let (data, next) = self.list(cx, first, ROUTE, &ask.cursor).await.map_err(|error| with_hint(error, "org.project.snapshot.read"))?;
        let read = self.read(cx, ask.scope, data).await?;
        if next.is_none() {
            cx.another_part();
        }
        // The mark is when all ignored issues were listed last.
        let ignored_at = ask.mark.and_then(text::time);
        let next = match next {
            Some(next) => Next::More(Cursor { part: ask.cursor.part, ..next }),
            None if !main => Next::More(Cursor { part: Part::Unignored(None), ..Cursor::default() }),
            None if since.is_none() => Next::Done(Coverage::Full, Some(cx.now().to_string().into())),
            None if ignored_at.is_some_and(|at| cx.now().duration_since(at).unsigned_abs() < IGNORED_EVERY) => {
                Next::Done(Coverage::Delta, ask.mark.map(Into::into))
            }
            None => Next::More(Cursor { part: Part::Ignored, ..Cursor::default() }),
        };
        Ok(Page::new(read, None, next))
    }
}
