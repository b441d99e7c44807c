//! Checkmarx One (SAST, SCA, IaC, containers, secrets), REST API <https://checkmarx.com/resource/documents/en/34965-68772>.
//!
//! An API key (a refresh token) or an OAuth client, exchanged for access tokens at the tenant's realm on the region's IAM
//! host, which is not the API's host. Projects, applications and scans are paged by rows to skip; what `offset` of results
//! counts is disputed, and decided by the second answer. Totals are no promise: fewer rows than declared close nothing, more
//! are taken. Triage moves no date, so every pass is a full one. No known rate limit.
//!
//! A scan holds results of the engines that ran in it and succeeded. So those of each engine are taken from the newest scan
//! in which it completed: one that failed since, or did not run, closes nothing of its kind and keeps no other from closing.

mod finding;
mod home;
mod place;
mod projects;
mod scans;
mod wire;

use std::time::Duration;

use self::{
    finding::{PageContext, finding},
    home::{Claims, Home, REGIONS},
    place::Place,
    scans::{Reading, Taken},
    wire::{Key, Listing, Project},
};
use crate::{
    Excerpt,
    kit::{Cache, Request, entry, http},
    prelude::*,
};

/// Rows asked for per page of results, and of every other list.
const RESULTS: u64 = 500;
const ROWS: u64 = 100;
/// The client that API keys belong to, when they do not say.
const KEY_CLIENT: &str = "ast-app";
/// Bytes of facts about projects and applications kept.
const FACTS: usize = 8 << 20;

/// The connector for one connection: its client, and what its settings say.
#[derive(Debug)]
pub struct Checkmarx {
    http: Http,
    home: Home,
    branch: Option<String>,
    /// Names of applications, and what is needed of projects, as they were listed at the beginning of the job.
    applications: Cache<Box<str>>,
    projects: Cache<Project>,
}

/// Fields of a Checkmarx One connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the tenant, as the log-in page shows it ("Tenant: …").
    tenant: String,
    /// API key (Identity and Access Management > API Keys); or give `client_id` and `client_secret`.
    #[serde(default)]
    secret: Option<Secret>,
    /// Client id of an OAuth client (Identity and Access Management > OAuth Clients).
    #[serde(default)]
    client_id: Option<String>,
    /// Secret of that OAuth client.
    #[serde(default)]
    client_secret: Option<Secret>,
    /// Address of the IAM host, where it does not follow from the location: `https://eu.iam.checkmarx.net`.
    #[serde(default)]
    iam_url: Option<String>,
    /// Read only scans of this branch. Default: each project's main branch; the newest scans where it names none.
    #[serde(default)]
    branch: Option<String>,
}

/// How far a list has been read; for results, what is read of which scan.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Scans that are still to be read, the one being read first; none as long as they are not chosen.
    scans: Vec<Reading>,
    place: Place,
    taken: Taken,
    /// What was not listed.
    lacking: Option<String>,
}

impl Connector for Checkmarx {
    const META: Meta = Meta {
        id: "checkmarx",
        title: "Checkmarx One",
        docs: "https://checkmarx.com/resource/documents/en/34965-68772-checkmarx-one-api-documentation.html",
        record: "project",
        location_help: "API address of the tenant's region, such as https://eu.ast.checkmarx.net; https://ast.checkmarx.net is the first US region",
        permissions: &["view-projects", "view-applications", "view-scans", "view-results"],
        aliases: &[("base_url", "location"), ("tenant_name", "tenant")],
        timeout: Duration::from_secs(180),
        cut: &["snippet"],
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Endpoint) -> Result<Self> {
        let Settings { tenant, secret, client_id, client_secret, iam_url, branch } = settings;
        let claims = secret.as_ref().and_then(|key| Claims::of(key.expose()));
        let home = Home::find(&link.location, &tenant, iam_url.as_deref(), claims.as_ref(), &link.options)?;
        let tokens = home.iam.join("/auth/realms/{}/protocol/openid-connect/token", &[&home.tenant]);
        let auth = match (secret, client_id, client_secret) {
            (Some(key), None, None) => {
                let client = claims.and_then(|claims| claims.azp).unwrap_or_else(|| KEY_CLIENT.to_owned());
                Auth::refresh_token(tokens, &client, Secret::new(key.expose().trim()))
            }
            (None, Some(id), Some(secret)) => Auth::client_credentials(tokens, id.trim(), Secret::new(secret.expose().trim())),
            _ => return Err(Error::settings("give either `secret` (an API key), or `client_id` and `client_secret`")),
        };
        link.location = home.api.clone();
        let (applications, projects) = (Cache::<Box<str>>::new(FACTS, |name| name.len()), Cache::new(FACTS, Project::bytes));
        Ok(Checkmarx { http: link.http(&Self::META, auth)?, home, branch, applications, projects })
    }

    async fn scopes(&self, cx: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        if let Some(note) = &self.home.note {
            cx.warn(note);
        }
        let Job::Sync(records) = job else {
            self.applications(cx).await?;
            return Ok(vec![Scope::account("projects")]);
        };
        let visible: Vec<Project> = self.everything(cx, "/api/projects", "view-projects").await?;
        // A credential that lost its role or its groups is answered with empty lists.
        if visible.is_empty() && !records.is_empty() {
            let what = ErrorKind::Forbidden(Excerpt::new("not one project is visible, and there were some"));
            return Err(self.with_hint(Error::new("reading GET /api/projects", what), "view-projects"));
        }
        for project in visible {
            let key = project.id.clone();
            self.projects.put("", &key, project).await;
        }
        self.applications(cx).await?;
        Ok(records.iter().map(|record| Scope::of("findings", record).absence(Absence::ProofTwice)).collect())
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        if ask.scope.list == "projects" {
            return self.project_page(cx, ask.cursor).await;
        }
        let project = self.project(cx, &ask.scope.key).await?;
        let mut cursor = ask.cursor;
        if cursor.scans.is_empty() {
            cursor = self.choose(cx, &project, ask.mark).await?;
        }
        let Some(reading) = cursor.scans.first() else {
            // Without a scan nothing is proved: retention deletes scans too.
            return Ok(Page::empty(Next::Done(Coverage::Delta, ask.mark.map(Into::into))));
        };
        let request = self.list("/api/results", cursor.place.offset, RESULTS);
        let sent = request.query("scan-id", Some(&reading.scan.scan)).query("sort", Some("-severity")).send::<Listing>(cx).await;
        let listing = match sent {
            Ok(answer) => answer.body,
            Err(error) if reading.old && matches!(error.kind, ErrorKind::Refused { status: 404, .. }) => {
                if reading.failing {
                    cursor.lacking = Some("the last scan in which an engine completed was deleted, and it fails since".to_owned());
                } else {
                    cursor.taken.scans.retain(|_, origin| *origin != reading.scan);
                }
                return Ok(Page::empty(cursor.after_scan(cx, ask.mark)));
            }
            Err(error) => return Err(self.with_hint(error, "view-results")),
        };
        let (total, rows) = (listing.declared(), listing.rows.unwrap_or_default());
        let count = rows.len() as u64;
        let (kept, keys) = reading.select(rows, &project.id, &mut cursor.taken);
        let url = self.project_url(&project.id);
        let applications = self.names(&project).await;
        let branch = reading.scan.branch.as_deref();
        let around = PageContext { cx, project: &project.id, branch, applications: &applications, url: &url };
        let read = items(kept, Self::META.cut, |wire| finding(wire, &around), |key: Key| key.key(&project.id));
        let (next, rows) = cursor.place.after(&keys, count, total, RESULTS).ok_or_else(|| repeated("/api/results"))?;
        let next = match next {
            Some(place) => Next::More(Cursor { place, ..cursor }),
            None => {
                if rows < total {
                    cursor.lacking = Some(format!("the vendor declares {total} results and delivered {rows}"));
                }
                cursor.after_scan(cx, ask.mark)
            }
        };
        Ok(Page::new(read, None, next))
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let mut checked = CheckReport::default();
        checked.warnings.extend(self.home.note.clone());
        let one = |route| self.list(route, 0, 1);
        let projects = one("/api/projects").send::<Listing>(cx).await.map_err(|error| self.with_hint(error, "view-projects"))?.body;
        checked.facts.push(format!("tenant {} at {}", self.home.tenant, self.home.iam));
        checked.facts.push(format!("{} projects visible", projects.declared()));
        if let Err(error) = one("/api/applications").send::<Listing>(cx).await {
            checked.warnings.push(format!("applications cannot be read (role view-applications), findings go without: {error}"));
        }
        let Some(project) = projects.rows.iter().flatten().find_map(|raw| entry::<Project>(raw)) else {
            checked
                .warnings
                .push("no project is visible: the account or OAuth client has to be in a group that is assigned to projects".into());
            return Ok(checked);
        };
        let scans = self.scans(cx, &project.id, None).await?;
        let Some(scan) = scans.first() else {
            checked.warnings.push(format!("project {} has no completed scan, so reading results was not tried", project.title()));
            return Ok(checked);
        };
        one("/api/results")
            .query("scan-id", Some(&scan.id))
            .send::<Listing>(cx)
            .await
            .map_err(|error| self.with_hint(error, "view-results"))?;
        Ok(checked)
    }
}

impl Checkmarx {
    fn list(&self, route: &'static str, offset: u64, limit: u64) -> Request<'_> {
        let request = self.http.get(route, &[]).header("accept", "application/json; version=1.0");
        request.query("offset", Some(offset)).query("limit", Some(limit))
    }

    /// An error with what cures it here.
    fn with_hint(&self, error: Error, role: &str) -> Error {
        let Home { tenant, iam, .. } = &self.home;
        let token = &*error.doing == http::FETCHING;
        let told = error.kind.to_string();
        let hint = match &error.kind {
            ErrorKind::Refused { status: 404, .. } if token => format!(
                "there is no tenant `{tenant}` at {iam}: check `tenant` (the log-in page shows it), and the region in `location`: {REGIONS}"
            ),
            ErrorKind::Unauthorized(_) if token && told.contains("invalid_grant") => format!(
                "{iam} does not accept the API key for tenant `{tenant}`: it is wrong, expired or revoked (all API keys of a tenant become \
                 invalid when its licence changes); make a new one under Identity and Access Management > API Keys"
            ),
            ErrorKind::Unauthorized(_) if token => {
                format!("{iam} does not accept the credential for tenant `{tenant}`: check `client_id` and `client_secret`, or the API key")
            }
            ErrorKind::NotAnApi(_) | ErrorKind::Redirect(_) if token => {
                format!("{iam} is not the IAM host of tenant `{tenant}`: set `location` to its region ({REGIONS}), or give `iam_url`")
            }
            ErrorKind::Unauthorized(_) => format!(
                "{} refuses a token that {iam} has just given: `location` and tenant are of different regions ({REGIONS}), or the tenant's \
                 list of allowed IP addresses lacks this machine's",
                self.home.api
            ),
            ErrorKind::Forbidden(_) => format!(
                "give the account of the API key, or the OAuth client, the role {role} (ast-viewer holds all that are needed), and the groups of the projects"
            ),
            ErrorKind::NotAnApi(_) | ErrorKind::Redirect(_) => {
                format!("`location` has to be the API address of the tenant's region: {REGIONS}")
            }
            _ => return error,
        };
        error.with_hint(hint)
    }
}

fn repeated(route: &str) -> Error {
    Error::new(["reading GET ", route].concat(), ErrorKind::PagingLoop)
}
