//! Checkmarx One (SAST, SCA, IaC, containers, secrets), REST API <https://checkmarx.com/resource/documents/en/34965-68772>.
//!
//! An API key (a refresh token) or an OAuth client, exchanged for access tokens at the tenant's realm on the region's IAM
//! host, which is not the API's host. Projects, applications and scans are paged by rows to skip; what `offset` of results
//! counts is disputed, and decided by the second answer. Totals are no promise: fewer rows than declared close nothing, more
//! are taken. Triage moves no date, so every pass is a full one. No known rate limit.
//!
//! A scan holds results of the engines that ran in it and succeeded. So those of each engine are taken from the newest scan
//! in which it completed: one that failed since, or did not run, closes nothing of its kind and keeps no other from closing.

mod wire;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use wire::{Application, Around, Engine, Key, Listing, Named, Project, Scan, finding};

use crate::{
    Excerpt,
    kit::{HttpOptions, Location, Memo, Request, oauth},
    prelude::*,
};

/// Rows asked for per page of results, and of every other list.
const RESULTS: u64 = 500;
const ROWS: u64 = 100;
/// Rows of a page that are remembered, to know them again in the next one.
const SAMPLE: usize = 32;
/// The client that API keys belong to, when they do not say.
const KEY_CLIENT: &str = "ast-app";
const REGIONS: &str = "https://ast.checkmarx.net (US), https://us.ast.checkmarx.net (US2), https://eu.ast.checkmarx.net, \
                       https://eu-2.ast.checkmarx.net, https://deu.ast.checkmarx.net, https://anz.ast.checkmarx.net, \
                       https://ind.ast.checkmarx.net, https://sng.ast.checkmarx.net, https://mea.ast.checkmarx.net";

/// The connector.
#[derive(Debug)]
pub struct Checkmarx {
    http: Http,
    home: Home,
    branch: Option<String>,
    /// Names of applications, and what is needed of projects, as they were listed at the beginning of the job.
    applications: Memo<Box<str>>,
    projects: Memo<Project>,
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

/// A scan to be read.
#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    scan: Origin,
    /// Whose results are taken from it.
    engines: Vec<Engine>,
    /// Remembered from an earlier pass and no longer listed; `failing`: one of its engines still runs, in vain.
    old: bool,
    failing: bool,
}

/// A scan and its branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    scan: Box<str>,
    branch: Option<Box<str>>,
}

/// The mark of a pass: from which scans the results of each engine were taken, on which branch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Taken {
    branch: Option<String>,
    scans: BTreeMap<Engine, Origin>,
}

/// Where the next page of a list begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    offset: u64,
    /// Rows received, those that came twice because of the question itself not counted.
    rows: u64,
    counts: Counts,
    /// Keys of the last page, its first one first.
    sample: Vec<String>,
}

/// What an offset counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Counts {
    #[default]
    Unknown,
    Rows,
    Pages,
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
        shifting: true,
        timeout: Duration::from_secs(180),
        cut: &["snippet"],
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Link) -> Result<Self> {
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
            _ => return Err(wrong("give either `secret` (an API key), or `client_id` and `client_secret`")),
        };
        link.location = home.api.clone();
        let (applications, projects) = (Memo::new(1 << 20), Memo::new(1 << 20));
        Ok(Checkmarx { http: link.http(&Self::META, auth)?, home, branch, applications, projects })
    }

    async fn scopes(&self, cx: &Cx, job: Job<'_>) -> Result<Vec<Scope>> {
        if let Some(note) = &self.home.note {
            cx.warn(note);
        }
        let Job::Sync(records) = job else {
            self.applications(cx).await?;
            return Ok(vec![Scope::account("projects")]);
        };
        let mut visible = 0;
        let note = |project: Project| {
            visible += 1;
            let key = project.id.clone();
            self.projects.put("", &key, project, 1);
        };
        self.everything(cx, "/api/projects", "view-projects", note).await?;
        // A credential that lost its role or its groups is answered with empty lists.
        if visible == 0 && !records.is_empty() {
            let what = Kind::Forbidden(Excerpt::new("not one project is visible, and there were some"));
            return Err(self.told(Error::new("reading GET /api/projects", what), "view-projects"));
        }
        self.applications(cx).await?;
        Ok(records.iter().map(|record| Scope::of("findings", record)).collect())
    }

    async fn page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
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
        let Listing { rows, total, filtered: _ } = match sent {
            Ok(answer) => answer.body,
            Err(error) if reading.old && matches!(error.kind, Kind::Refused { status: 404, .. }) => {
                if reading.failing {
                    cursor.lacking = Some("the last scan in which an engine completed was deleted, and it fails since".to_owned());
                } else {
                    cursor.taken.scans.retain(|_, origin| *origin != reading.scan);
                }
                return Ok(Page::empty(cursor.after_scan(cx)));
            }
            Err(error) => return Err(self.told(error, "view-results")),
        };
        let (mut kept, mut keys) = (Vec::new(), Vec::new());
        let rows = rows.unwrap_or_default();
        let count = rows.len() as u64;
        for raw in rows {
            // One that cannot be read is kept too, to be rejected.
            if raw.get().starts_with('{')
                && let Ok(key) = serde_json::from_str::<Key>(raw.get())
            {
                let engine = key.engine();
                keys.extend(key.key(&project.id));
                if !reading.engines.contains(&engine) {
                    continue;
                }
                cursor.taken.scans.entry(engine).or_insert_with(|| reading.scan.clone());
            }
            kept.push(raw);
        }
        let url = self.project_url(&project.id);
        let applications = self.names(&project);
        let branch = reading.scan.branch.as_deref();
        let around = Around { cx, project: &project.id, branch, applications: &applications, url: &url };
        let read = items(kept, Self::META.cut, |wire| finding(wire, &around), |key: Key| key.key(&project.id));
        let total = total.unwrap_or_default();
        let (next, rows) = cursor.place.after(&keys, count, total, RESULTS).ok_or_else(|| repeated("/api/results"))?;
        let next = match next {
            Some(place) => Next::More(Cursor { place, ..cursor }),
            None => {
                if rows < total {
                    cursor.lacking = Some(format!("the vendor declares {total} results and delivered {rows}"));
                }
                cursor.after_scan(cx)
            }
        };
        Ok(Page::new(read, None, next))
    }

    async fn check(&self, cx: &Cx) -> Result<Checked> {
        let mut checked = Checked::default();
        checked.warnings.extend(self.home.note.clone());
        let one = |route| self.list(route, 0, 1);
        let projects = one("/api/projects").send::<Listing>(cx).await.map_err(|error| self.told(error, "view-projects"))?.body;
        checked.facts.push(format!("tenant {} at {}", self.home.tenant, self.home.iam));
        checked.facts.push(format!("{} projects visible", projects.declared()));
        if let Err(error) = one("/api/applications").send::<Listing>(cx).await {
            checked.warnings.push(format!("applications cannot be read (role view-applications), findings go without: {error}"));
        }
        let Some(project) = projects.rows.iter().flatten().find_map(|raw| serde_json::from_str::<Project>(raw.get()).ok()) else {
            checked
                .warnings
                .push("no project is visible: the account or OAuth client has to be in a group that is assigned to projects".into());
            return Ok(checked);
        };
        let scans = self.scans(cx, &project.id, None).await?;
        let Some(scan) = scans.first() else {
            checked.warnings.push(format!("project {} has no completed scan, so reading results was not tried", text::line(&project.name)));
            return Ok(checked);
        };
        one("/api/results").query("scan-id", Some(&scan.id)).send::<Listing>(cx).await.map_err(|error| self.told(error, "view-results"))?;
        Ok(checked)
    }
}

impl Checkmarx {
    fn list(&self, route: &'static str, offset: u64, limit: u64) -> Request<'_> {
        let request = self.http.get(route, &[]).header("accept", "application/json; version=1.0");
        request.query("offset", Some(offset)).query("limit", Some(limit))
    }

    /// The rows of a list that is needed as a whole before anything else can be read.
    async fn everything<T: serde::de::DeserializeOwned>(
        &self,
        cx: &Cx,
        route: &'static str,
        role: &str,
        mut each: impl FnMut(T),
    ) -> Result<()> {
        let mut place = Some(Place { counts: Counts::Rows, ..Place::default() });
        while let Some(at) = place {
            let listing = self.list(route, at.offset, ROWS).send::<Listing>(cx).await.map_err(|error| self.told(error, role))?.body;
            let (total, rows) = (listing.declared(), listing.rows.unwrap_or_default());
            (place, _) = at.after(&ids(&rows), rows.len() as u64, total, ROWS).ok_or_else(|| repeated(route))?;
            // What is no project or application is rejected where it is listed as one.
            rows.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok()).for_each(&mut each);
        }
        Ok(())
    }

    async fn applications(&self, cx: &Cx) -> Result<()> {
        let note = |application: Application| {
            let Application { id, name } = application;
            self.applications.put("", &id, text::line(&name), 1);
        };
        match self.everything(cx, "/api/applications", "view-applications", note).await {
            Err(error) if matches!(error.kind, Kind::Forbidden(_)) => {
                cx.warn("applications cannot be read (role view-applications): findings go without their names");
                Ok(())
            }
            other => other,
        }
    }

    /// Names of a project's applications, in order.
    fn names(&self, project: &Project) -> Vec<Box<str>> {
        let ids = project.application_ids.iter().flatten();
        let mut names: Vec<Box<str>> = ids.filter_map(|id| Some((*self.applications.get("", id)?).clone())).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn project(&self, cx: &Cx, key: &str) -> Result<std::sync::Arc<Project>> {
        if let Some(project) = self.projects.get("", key) {
            return Ok(project);
        }
        let sent = self.list("/api/projects", 0, 1).query("ids", Some(key)).send::<Listing>(cx).await;
        let rows = sent.map_err(|error| self.told(error, "view-projects"))?.body.rows.unwrap_or_default();
        let found = rows.iter().find_map(|raw| serde_json::from_str::<Project>(raw.get()).ok().filter(|project| project.id == key));
        let gone = || {
            let body = Excerpt::new("it is not listed");
            let error = Error::new("looking for the project", Kind::Refused { status: 404, body });
            error.with_hint("it was deleted, or its groups were taken from the credential: the next discover tells")
        };
        Ok(self.projects.put("", key, found.ok_or_else(gone)?, 1))
    }

    async fn project_page(&self, cx: &Cx, cursor: Cursor) -> Result<Page<Cursor>> {
        let place = Place { counts: Counts::Rows, ..cursor.place };
        let sent = self.list("/api/projects", place.offset, ROWS).send::<Listing>(cx).await;
        let listing = sent.map_err(|error| self.told(error, "view-projects"))?.body;
        let (total, rows) = (listing.declared(), listing.rows.unwrap_or_default());
        let (next, count) = place.after(&ids(&rows), rows.len() as u64, total, ROWS).ok_or_else(|| repeated("/api/projects"))?;
        let next = match next {
            Some(place) => Next::More(Cursor { place, ..Cursor::default() }),
            None if count < total => {
                cx.incomplete(format!("the vendor declares {total} projects and delivered {count}"));
                Next::Done(Coverage::Delta, None)
            }
            None => Next::Done(Coverage::Full, None),
        };
        let read = items(rows, &[], |project| Ok(self.record(&project)), |named: Named| named.id);
        Ok(Page::new(read, None, next))
    }

    fn record(&self, project: &Project) -> Item {
        let tags = project.tags.iter().flatten().map(|(key, value)| match value.as_deref() {
            Some(value) if !value.is_empty() => [key, ":", value].concat(),
            _ => key.clone(),
        });
        let attributes = [
            ("applications", Some(self.names(project).join(", "))),
            ("repository", project.repo_url.clone()),
            ("main branch", project.main_branch.clone()),
            ("criticality", project.criticality.text().map(Into::into)),
            ("origin", project.origin.clone()),
            ("tags", Some(tags.collect::<Vec<_>>().join(", "))),
        ];
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value?)?))).collect();
        let (key, name) = (project.id.as_str().into(), text::line(&project.name));
        Item::Record(Record { key, name, kind: "project".into(), url: Some(self.project_url(&project.id).into()), attributes })
    }

    fn project_url(&self, project: &str) -> String {
        self.http.location().join("/projects/{}/overview", &[project]).into()
    }

    /// The newest scans of a project with anything in them, newest first.
    async fn scans(&self, cx: &Cx, project: &str, branch: Option<&str>) -> Result<Vec<Scan>> {
        const ROUTE: &str = "/api/scans";
        let request = self.list(ROUTE, 0, ROWS).query("project-id", Some(project)).query("statuses", Some("Completed,Partial"));
        let request = request.query("sort", Some("-created_at")).query("branches", branch);
        let rows = request.send::<Listing>(cx).await.map_err(|error| self.told(error, "view-scans"))?.body.rows.unwrap_or_default();
        let read = |raw: &RawValue| {
            serde_json::from_str(raw.get()).map_err(|error| {
                let kind = Kind::Shape { path: "scans".into(), reason: Excerpt::new(&error.to_string()).to_string().into() };
                Error::new("reading GET /api/scans", kind)
            })
        };
        rows.iter().map(|raw| read(raw)).collect()
    }

    /// Which scans are to be read for a project.
    async fn choose(&self, cx: &Cx, project: &Project, mark: Option<&str>) -> Result<Cursor> {
        let main = project.main_branch.as_deref().filter(|branch| !branch.is_empty());
        let mut branch = self.branch.as_deref().or(main);
        let mut scans = self.scans(cx, &project.id, branch).await?;
        if scans.is_empty() && self.branch.is_none() && branch.take().is_some() {
            scans = self.scans(cx, &project.id, None).await?;
        }
        let before: Taken = mark.and_then(|mark| serde_json::from_str(mark).ok()).unwrap_or_default();
        if scans.is_empty() && !before.scans.is_empty() {
            cx.warn(format!("project {} had scans and shows none now: nothing of it is closed", text::line(&project.name)));
        }
        let before = if before.branch.as_deref() == branch { before.scans } else { BTreeMap::new() };
        let (scans, taken) = readings(&scans, before);
        Ok(Cursor { scans, taken: Taken { branch: branch.map(Into::into), scans: taken }, ..Cursor::default() })
    }

    /// An error with what cures it here.
    fn told(&self, error: Error, role: &str) -> Error {
        let Home { tenant, iam, .. } = &self.home;
        let token = &*error.doing == oauth::FETCHING;
        let told = error.kind.to_string();
        let hint = match &error.kind {
            Kind::Refused { status: 404, .. } if token => format!(
                "there is no tenant `{tenant}` at {iam}: check `tenant` (the log-in page shows it), and the region in `location`: {REGIONS}"
            ),
            Kind::Unauthorized(_) if token && told.contains("invalid_grant") => format!(
                "{iam} does not accept the API key for tenant `{tenant}`: it is wrong, expired or revoked (all API keys of a tenant become \
                 invalid when its licence changes); make a new one under Identity and Access Management > API Keys"
            ),
            Kind::Unauthorized(_) if token => {
                format!("{iam} does not accept the credential for tenant `{tenant}`: check `client_id` and `client_secret`, or the API key")
            }
            Kind::Elsewhere(_) | Kind::Redirect(_) if token => {
                format!("{iam} is not the IAM host of tenant `{tenant}`: set `location` to its region ({REGIONS}), or give `iam_url`")
            }
            Kind::Unauthorized(_) => format!(
                "{} refuses a token that {iam} has just given: `location` and tenant are of different regions ({REGIONS}), or the tenant's \
                 list of allowed IP addresses lacks this machine's",
                self.home.api
            ),
            Kind::Forbidden(_) => format!(
                "give the account of the API key, or the OAuth client, the role {role} (ast-viewer holds all that are needed), and the groups of the projects"
            ),
            Kind::Elsewhere(_) | Kind::Redirect(_) => format!("`location` has to be the API address of the tenant's region: {REGIONS}"),
            _ => return error,
        };
        error.with_hint(hint)
    }
}

/// For each engine the scan that its results are taken from: the newest in which it completed, else the one they were taken
/// from before, else the newest. With it what is to be remembered of that.
fn readings(scans: &[Scan], mut taken: BTreeMap<Engine, Origin>) -> (Vec<Reading>, BTreeMap<Engine, Origin>) {
    let mut readings: Vec<Reading> = Vec::new();
    let Some(newest) = scans.first() else { return (readings, taken) };
    for engine in Engine::ALL {
        if let Some(scan) = scans.iter().find(|scan| scan.completed(engine) == Some(true)) {
            taken.insert(engine, scan.origin());
        }
        let scan = taken.get(&engine).cloned().unwrap_or_else(|| newest.origin());
        let failing = scans.iter().any(|scan| scan.completed(engine).is_some());
        match readings.iter_mut().find(|reading| reading.scan.scan == scan.scan) {
            Some(reading) => {
                reading.engines.push(engine);
                reading.failing |= failing;
            }
            None => {
                let old = !scans.iter().any(|listed| *listed.id == *scan.scan);
                readings.push(Reading { scan, engines: vec![engine], old, failing });
            }
        }
    }
    (readings, taken)
}

impl Cursor {
    /// What comes after a scan that was read to its end.
    fn after_scan(mut self, cx: &Cx) -> Next<Cursor> {
        self.scans.remove(0);
        if !self.scans.is_empty() {
            return Next::More(Cursor { place: Place::default(), ..self });
        }
        let mark = serde_json::to_string(&self.taken).expect("a mark is plain data");
        let Some(reason) = self.lacking else { return Next::Done(Coverage::Full, Some(mark.into())) };
        cx.incomplete(reason);
        Next::Done(Coverage::Delta, Some(mark.into()))
    }
}

impl Place {
    /// Where the page after this one begins, unless it is the last, and the rows received; `None` when it is the page before it.
    ///
    /// The second question is always for offset 1. When most of page 0 comes back, moved by one row, offsets count rows.
    fn after(&self, keys: &[String], count: u64, total: u64, limit: u64) -> Option<(Option<Place>, u64)> {
        let here: HashSet<&String> = keys.iter().collect();
        let again = self.sample.iter().filter(|key| here.contains(key)).count() * 2 > self.sample.len();
        if again && keys.first() == self.sample.first() {
            return None;
        }
        let counts = match self.counts {
            Counts::Unknown if self.offset == 0 => Counts::Unknown,
            Counts::Unknown if again => Counts::Rows,
            Counts::Unknown => Counts::Pages,
            known => known,
        };
        let (offset, rows) = match counts {
            Counts::Unknown => (1, count),
            Counts::Rows => (self.offset + count, self.offset + count),
            Counts::Pages => (self.offset + 1, self.rows + count),
        };
        let sample = keys.iter().step_by(keys.len().div_ceil(SAMPLE).max(1)).cloned().collect();
        let ended = count == 0 || (rows >= total && count < limit);
        Some(((!ended).then_some(Place { offset, rows, counts, sample }), rows))
    }
}

fn repeated(route: &str) -> Error {
    Error::new(["reading GET ", route].concat(), Kind::PagingLoop)
}

fn wrong(what: impl Into<Box<str>>) -> Error {
    Error::new("reading the connection's fields", Kind::Settings(what.into()))
}

fn ids(rows: &[Box<RawValue>]) -> Vec<String> {
    rows.iter().filter_map(|raw| serde_json::from_str::<Named>(raw.get()).ok()?.id).collect()
}

/// Where a tenant is: its API, and the IAM host with its realm.
#[derive(Debug, PartialEq, Eq)]
struct Home {
    api: Location,
    iam: Location,
    tenant: String,
    /// What should be corrected in the settings.
    note: Option<String>,
}

impl Home {
    /// From what was typed and what the API key says of itself. A key is unverified: it leads to hosts of Checkmarx only.
    fn find(typed: &Location, tenant: &str, iam_url: Option<&str>, key: Option<&Claims>, options: &HttpOptions) -> Result<Home> {
        let parse = |text: &str| Location::parse(text, options.allow_http);
        let mut tenant = tenant.trim().to_lowercase();
        let mut notes = Vec::new();
        let mut api = typed.clone().without_endings(&["/api"]);
        if known(typed.host()) {
            api = typed.clone().at_host(&swap(typed.host(), "iam.", "ast."));
            if api.host() != typed.host() {
                notes.push(format!("`location` is the IAM host, {api} is used"));
            }
        }
        let realm = key.and_then(Claims::realm).and_then(|(host, realm)| Some((parse(host).ok()?, realm)));
        let iam = match iam_url {
            Some(text) => parse(text.trim().split("/auth/realms").next().unwrap_or(text))?.without_endings(&["/auth"]),
            None => match &realm {
                Some((host, _)) if known(host.host()) && host.url().scheme() == "https" => host.clone(),
                _ if known(api.host()) => api.clone().at_host(&swap(api.host(), "ast.", "iam.")),
                _ => api.clone(),
            },
        };
        if let Some((host, realm)) = realm
            && host.host() == iam.host()
        {
            if !tenant.is_empty() && tenant != realm {
                notes.push(format!("the API key belongs to tenant `{realm}`, not to `{tenant}`: set `tenant` to that"));
            }
            tenant = realm.to_owned();
            let region = swap(host.host(), "iam.", "ast.");
            if known(host.host()) && known(api.host()) && region != api.host() {
                api = api.at_host(&region);
                notes.push(format!("the API key belongs to another region than {typed}: {api} is used, set `location` to that"));
            }
        }
        if tenant.is_empty() {
            return Err(wrong("`tenant` is empty; the log-in page shows its name"));
        }
        Ok(Home { api, iam, tenant, note: (!notes.is_empty()).then(|| notes.join("; ")) })
    }
}

/// Whether a host is Checkmarx's own.
fn known(host: &str) -> bool {
    let of = |suffix: &str| host == suffix || host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    of("ast.checkmarx.net") || of("iam.checkmarx.net") || host.ends_with(".cxone.cloud")
}

/// The host's twin in the same region: `eu.ast.checkmarx.net` and `eu.iam.checkmarx.net`.
fn swap(host: &str, from: &str, to: &str) -> String {
    let region = host.strip_suffix(&[from, "checkmarx.net"].concat()).filter(|region| region.is_empty() || region.ends_with('.'));
    region.map_or_else(|| host.to_owned(), |region| [region, to, "checkmarx.net"].concat())
}

/// What an API key, a JWT, says of itself.
#[derive(Debug, Deserialize)]
struct Claims {
    aud: Option<Audience>,
    azp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    fn of(key: &str) -> Option<Claims> {
        let payload = URL_SAFE_NO_PAD.decode(key.trim().split('.').nth(1)?.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&payload).ok()
    }

    /// Address of the IAM host, and the realm.
    fn realm(&self) -> Option<(&str, &str)> {
        let audience = match self.aud.as_ref()? {
            Audience::One(text) => text,
            Audience::Many(texts) => texts.iter().find(|text| !text.is_empty())?,
        };
        let (host, realm) = audience.split_once("/auth/realms/")?;
        Some((host, realm.trim_end_matches('/'))).filter(|(_, realm)| !realm.is_empty() && !realm.contains('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_iam_host_follows_from_what_was_typed_and_from_the_key() {
        const EU: &str = "https://eu.iam.checkmarx.net";
        for (typed, iam_url, audience, api, iam, tenant, noted) in [
            ("https://eu.ast.checkmarx.net/", None, None, "https://eu.ast.checkmarx.net", EU, "acme", ""),
            ("ast.checkmarx.net/api/", None, None, "https://ast.checkmarx.net", "https://iam.checkmarx.net", "acme", ""),
            ("https://eu.ast.checkmarx.net/projects/x/overview", None, None, "https://eu.ast.checkmarx.net", EU, "acme", ""),
            ("https://eu.iam.checkmarx.net/auth", None, None, "https://eu.ast.checkmarx.net", EU, "acme", "is the IAM host"),
            ("https://acme.cxone.cloud", None, None, "https://acme.cxone.cloud", "https://acme.cxone.cloud", "acme", ""),
            ("https://cx.acme.example/api", None, None, "https://cx.acme.example", "https://cx.acme.example", "acme", ""),
            (
                "https://cx.acme.example",
                Some("https://iam.acme.example/auth/realms/acme"),
                None,
                "https://cx.acme.example",
                "https://iam.acme.example",
                "acme",
                "",
            ),
            // A key names its realm: of another region, of another tenant.
            ("https://ast.checkmarx.net", None, Some(EU), "https://eu.ast.checkmarx.net", EU, "acme", "another region"),
            ("https://cx.acme.example", None, Some(EU), "https://cx.acme.example", EU, "acme", ""),
            // But it leads to no other hosts.
            ("https://eu.ast.checkmarx.net", None, Some("https://evil.example"), "https://eu.ast.checkmarx.net", EU, "acme", ""),
            (
                "https://eu.ast.checkmarx.net",
                None,
                Some("https://ast.checkmarx.net.evil.example"),
                "https://eu.ast.checkmarx.net",
                EU,
                "acme",
                "",
            ),
            ("https://eu.ast.checkmarx.net", None, Some("https://evilast.checkmarx.net"), "https://eu.ast.checkmarx.net", EU, "acme", ""),
        ] {
            let claims = audience.map(|host| Claims { aud: Some(Audience::One([host, "/auth/realms/acme"].concat())), azp: None });
            let location = Location::parse(typed, false).expect("a location");
            let home = Home::find(&location, " ACME ", iam_url, claims.as_ref(), &HttpOptions::default()).expect("a home");
            assert_eq!((&*home.api.to_string(), &*home.iam.to_string(), &*home.tenant), (api, iam, tenant), "{typed} {audience:?}");
            assert!(
                home.note.as_deref().map_or(noted.is_empty(), |note| note.contains(noted) && !noted.is_empty()),
                "{typed}: {:?}",
                home.note
            );
        }
        let claims = Claims { aud: Some(Audience::Many(vec![String::new(), [EU, "/auth/realms/other"].concat()])), azp: None };
        let location = Location::parse("https://eu.ast.checkmarx.net", false).expect("a location");
        let home = Home::find(&location, "acme", None, Some(&claims), &HttpOptions::default()).expect("a home");
        assert_eq!((&*home.tenant, home.note.as_deref().is_some_and(|note| note.contains("belongs to tenant `other`"))), ("other", true));
    }

    #[test]
    fn what_a_key_says_is_read_and_anything_else_is_no_claim() {
        let key = |claims: &str| ["e30", &URL_SAFE_NO_PAD.encode(claims), "x"].join(".");
        let claims = Claims::of(&key(r#"{"azp":"app","aud":["","https://iam.checkmarx.net/auth/realms/acme/"]}"#)).expect("claims");
        assert_eq!((claims.azp.as_deref(), claims.realm()), (Some("app"), Some(("https://iam.checkmarx.net", "acme"))));
        for odd in ["no jwt", "a.b.c", &key("[1]"), &key(r#"{"aud":"https://x/auth/realms/a/b"}"#), &key(r#"{"aud":"account"}"#)] {
            assert_eq!(Claims::of(odd).and_then(|claims| claims.realm().map(|_| ())), None, "{odd}");
        }
    }
}
