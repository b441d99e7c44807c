//! Aikido Security, public REST API v1 <https://apidocs.aikido.dev/>.
//!
//! Client credentials (Basic) are exchanged for a bearer token of an hour. 20 requests a minute are allowed to a workspace,
//! whoever asks, so pages are as large as they may be and go one by one. Pages have numbers from 0; `x-has-next-page` says
//! whether one follows, where it is sent. All issues are one list, the export; the places where they are found are four lists
//! (and a fifth, of virtual machines, that is read where the settings name it). Neither tells what changed, so every pass is a
//! full one, and the order of the export is not documented. Title, description and advice are those of an issue's group.

mod issue;

use std::{collections::HashMap, time::Duration};

use reqwest::{StatusCode, header::HeaderMap};
use tokio::sync::OnceCell;

use self::issue::{Group, Wire, finding};
use crate::{
    Excerpt, Sign,
    kit::{Grant, Rate, Request, Response, Scalar, entry, in_parts},
    prelude::*,
};

/// Rows asked for per page of issues, and of their groups.
const ISSUES: usize = 1000;
const GROUPS: usize = 20;
const SCOPES: &str = "give the client the scopes issues:read and repositories:read, and containers:read, clouds:read and domains:read for \
                      what `records` names (Settings > Integrations > Public REST API); the API needs a paid plan";
const ISSUES_READ: &str = "give the client the scope issues:read (Settings > Integrations > Public REST API); the API needs a paid plan";
const CLIENT: &str = "check id and secret of the client, and that `location` is that of your region: a client is known in no other";
const LOCATION: &str = "`location` is that of your region: https://app.aikido.dev, https://app.us.aikido.dev, https://app.au.aikido.dev or \
                        https://app.me.aikido.dev";

/// The connector for one connection: its client, and what its settings say.
#[derive(Debug)]
pub struct Aikido {
    http: Http,
    records: Vec<Records>,
    group_texts: bool,
    /// The texts of open groups, as they are in this run.
    groups: OnceCell<HashMap<i64, Group>>,
}

/// Fields of an Aikido connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Id of an API client (Settings > Integrations > Public REST API).
    client_id: String,
    /// Secret of that client.
    client_secret: Secret,
    /// Which places to read, of `code_repositories`, `containers`, `clouds`, `domains` and `virtual_machines`. All but the last
    /// by default; leave out what the client has no scope for. Issues elsewhere are counted and not stored.
    #[serde(default = "usual_records")]
    records: Vec<Records>,
    /// Whether the groups of open issues are read first, for titles, descriptions and advice: 20 of them cost a request.
    #[serde(default = "yes")]
    group_texts: bool,
}

/// A list of places where issues are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Records {
    CodeRepositories,
    Containers,
    Clouds,
    Domains,
    VirtualMachines,
}

fn usual_records() -> Vec<Records> {
    vec![Records::CodeRepositories, Records::Containers, Records::Clouds, Records::Domains]
}

fn yes() -> bool {
    true
}

/// What is known of a list of places.
struct Place {
    list: &'static str,
    route: &'static str,
    /// Rows of a page. Only for repositories more than the usual is proved.
    size: usize,
    /// What stands before the id in the key of a record: each list counts its ids by itself.
    prefix: &'static str,
    kind: &'static str,
    /// What gives the permission.
    needs: &'static str,
}

impl Records {
    fn place(self) -> &'static Place {
        match self {
            Records::CodeRepositories => &Place {
                list: "code_repositories",
                route: "/api/public/v1/repositories/code",
                size: 200,
                prefix: "code_repo",
                kind: "code repository",
                needs: "give the client the scope repositories:read, or leave `code_repositories` out of `records`",
            },
            Records::Containers => &Place {
                list: "containers",
                route: "/api/public/v1/containers",
                size: 20,
                prefix: "container_repo",
                kind: "container",
                needs: "give the client the scope containers:read, or leave `containers` out of `records`",
            },
            Records::Clouds => &Place {
                list: "clouds",
                route: "/api/public/v1/clouds",
                size: 20,
                prefix: "cloud",
                kind: "cloud",
                needs: "give the client the scope clouds:read, or leave `clouds` out of `records`",
            },
            Records::Domains => &Place {
                list: "domains",
                route: "/api/public/v1/domains",
                size: 20,
                prefix: "domain",
                kind: "domain",
                needs: "give the client the scope domains:read, or leave `domains` out of `records`",
            },
            Records::VirtualMachines => &Place {
                list: "virtual_machines",
                route: "/api/public/v1/virtual-machines",
                size: 20,
                prefix: "vm",
                kind: "virtual machine",
                needs: "give the client the scope that virtual machines need, or leave `virtual_machines` out of `records`",
            },
        }
    }
}

/// How far a list has been read.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Pages before this one.
    pages: usize,
}

impl Connector for Aikido {
    const META: Meta = Meta {
        id: "aikido",
        title: "Aikido Security",
        docs: "https://apidocs.aikido.dev/",
        record: "repository, container, cloud or domain",
        location: "https://app.aikido.dev",
        location_help: "the app of your region: https://app.aikido.dev (EU), https://app.us.aikido.dev, https://app.au.aikido.dev or \
                        https://app.me.aikido.dev",
        permissions: &["issues:read", "repositories:read", "containers:read", "clouds:read", "domains:read"],
        // Of the 20 two are left for the token, and for whoever else asks.
        rates: &[Rate { of: "", requests: 18, within: Duration::from_secs(60) }],
        judge: Some(judge),
        cures: &[(Sign::Unauthorized, CLIENT), (Sign::Forbidden, SCOPES), (Sign::NotFound, LOCATION), (Sign::NotAnApi, LOCATION)],
        concurrency: 1,
        timeout: Duration::from_secs(180),
        // Who ignored an issue, by name or mail address.
        cut: &["ignored_by"],
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Endpoint) -> Result<Self> {
        let Settings { client_id, client_secret, records, group_texts } = settings;
        if records.is_empty() {
            return Err(Error::settings("`records` names no list"));
        }
        link.location = link.location.before(&["api"]);
        let url = link.location.join("/api/oauth/token", &[]);
        let plain = vec![("grant_type", "client_credentials".into()), ("client_id", client_id.into())];
        let grant = Grant::Form { url, plain, secret: vec![("client_secret", client_secret)], basic: true };
        let http = link.http(&Self::META, Auth::granted(grant))?;
        Ok(Aikido { http, records, group_texts, groups: OnceCell::new() })
    }

    async fn scopes(&self, _: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(match job {
            Job::Discover => self.records.iter().map(|records| Scope::account(records.place().list)).collect(),
            Job::Sync(_) => vec![Scope::account("issues").absence(Absence::ProofTwice)],
        })
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        if let Some(records) = self.records.iter().find(|records| records.place().list == ask.scope.list) {
            let place = records.place();
            let (rows, next) = self.paged(cx, self.places(place), place.size, ask.cursor).await?;
            let key = |key: Key| Some(format!("{}:{}", place.prefix, key.id.text()?));
            return Ok(Page::new(items(rows, Self::META.cut, |wire: Listed| self.record(wire, place), key), None, next));
        }
        let read: Vec<&str> = self.records.iter().map(|records| records.place().prefix).collect();
        let groups = if self.group_texts { Some(self.groups(cx).await?) } else { None };
        let (rows, next) = self.paged(cx, self.issues(), ISSUES, ask.cursor).await?;
        let key = |raw: &RawValue| serde_json::from_str::<Key>(raw.get()).ok()?.id.0;
        let map = |wire: Wire| {
            let (group, url) = wire.group_id.whole().map(|id| (groups.and_then(|groups| groups.get(&id)), self.queue(id))).unzip();
            finding(&wire, &read, group.flatten(), url, cx)
        };
        let read = in_parts(ask.parts, rows, key, |rows| items(rows, Self::META.cut, map, |key: Key| key.id.0)).await;
        Ok(Page::new(read, None, next))
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let mut checked = CheckReport::default();
        let counts = self.http.get("/api/public/v1/issues/counts", &[]).needs(ISSUES_READ).send::<Counts>(cx).await?.body;
        checked.facts.push(match counts.issues.and_then(|issues| issues.all.whole()) {
            Some(count) => format!("{count} issues counted"),
            None => "issues can be read".to_owned(),
        });
        for records in &self.records {
            let place = records.place();
            let (rows, next) = self.paged(cx, self.places(place), GROUPS, Cursor::default()).await?;
            let more = if matches!(next, Next::More(_)) { "at least " } else { "" };
            checked.facts.push(format!("{}: {more}{} visible", place.list, rows.len()));
        }
        Ok(checked)
    }
}

/// The answer of a workspace whose plan has no API, and others that are an error and not the list: an object that says why.
fn judge(status: StatusCode, _: &HeaderMap, body: &[u8]) -> Option<ErrorKind> {
    let told =
        (status == StatusCode::OK && body.trim_ascii_start().starts_with(b"{")).then(|| serde_json::from_slice::<Told>(body).ok())??;
    let text = told.error.or(told.reason_phrase)?;
    let small = text.to_lowercase();
    ["plan", "scope", "upgrade", "permission"].iter().any(|word| small.contains(word)).then(|| ErrorKind::Forbidden(Excerpt::new(&text)))
}

impl Aikido {
    fn places(&self, place: &'static Place) -> Request<'_> {
        // What the tool lists where nothing is said is not documented.
        let status = (place.list == "containers").then_some("all");
        self.http.get(place.route, &[]).query("filter_status", status).needs(place.needs)
    }

    fn issues(&self) -> Request<'_> {
        let request = self.http.get("/api/public/v1/issues/export", &[]).query("format", Some("json"));
        request.query("filter_status", Some("all")).needs(ISSUES_READ)
    }

    /// The page of a list at a cursor, and what comes after it.
    async fn paged(&self, cx: &Context, request: Request<'_>, size: usize, cursor: Cursor) -> Result<(Vec<Box<RawValue>>, Next<Cursor>)> {
        let request = request.query("page", Some(cursor.pages)).query("per_page", Some(size));
        let Response { body: rows, headers } = request.send::<Vec<Box<RawValue>>>(cx).await?;
        let told = headers.get("x-has-next-page").and_then(|value| value.to_str().ok()).map(|told| told.trim().to_ascii_lowercase());
        let more = match told.as_deref() {
            Some("true") if rows.is_empty() => {
                cx.incomplete("an empty page says that another one follows");
                false
            }
            // Also after a page that is not full.
            Some("true") => true,
            // A full page is not the last one, whatever is said. A longer one is the whole list, of a server without pages.
            _ => rows.len() == size,
        };
        Ok((rows, if more { Next::More(Cursor { pages: cursor.pages + 1 }) } else { Next::FULL }))
    }

    /// The texts of groups that hold an open issue: few beside the issues, and needed before the first of them.
    async fn groups(&self, cx: &Context) -> Result<&HashMap<i64, Group>> {
        let ask = || async {
            let (mut groups, mut cursor) = (HashMap::new(), Cursor::default());
            loop {
                let request = self.http.get("/api/public/v1/open-issue-groups", &[]).needs(ISSUES_READ);
                let (rows, next) = self.paged(cx, request, GROUPS, cursor).await?;
                let known = groups.len();
                groups.extend(rows.iter().filter_map(|raw| entry::<Group>(raw)).filter_map(|group| Some((group.id.whole()?, group))));
                match next {
                    Next::More(_) if groups.len() == known => {
                        return Err(Error::new("reading GET /api/public/v1/open-issue-groups", ErrorKind::PagingLoop));
                    }
                    Next::More(next) => cursor = next,
                    _ => return Ok(groups),
                }
            }
        };
        self.groups.get_or_try_init(ask).await
    }

    /// The page of the web interface that shows a group.
    fn queue(&self, group: i64) -> Box<str> {
        format!("{}/queue?sidebarIssue={group}", self.http.location()).into()
    }

    fn record(&self, wire: Listed, place: &Place) -> Result<Item, String> {
        let id = wire.id.text().ok_or("it has no id")?;
        let key = format!("{}:{id}", place.prefix).into();
        // It is no longer scanned, and not asked for.
        if wire.active.text() == Some("false") {
            return Ok(Item::Skipped { key, reason: "inactive" });
        }
        let name = [&wire.name, &wire.domain].into_iter().find_map(Scalar::text).unwrap_or(id);
        let is_whole = place.list == "code_repositories" && wire.id.whole().is_some();
        Ok(Item::Record(Record {
            key,
            name: text::single_line(name),
            kind: place.kind.into(),
            url: is_whole.then(|| self.http.location().join("/repositories/{}", &[id]).to_string().into()),
            attributes: attributes([
                ("provider", wire.provider.0),
                ("branch", wire.branch.0),
                ("repository", wire.url.text().map(web_page)),
                ("registry", wire.registry_name.0),
                ("tag", wire.tag.0),
                ("distribution", wire.distro.0),
                ("environment", wire.environment.0),
                ("external_id", wire.external_id.0),
                ("kind", wire.kind.0),
                ("sensitivity", wire.sensitivity.0),
            ]),
        }))
    }
}

/// The page of a repository: of GitHub's, the address of its API is told.
fn web_page(url: &str) -> String {
    url.strip_prefix("https://api.github.com/repos/").map_or_else(|| url.to_owned(), |name| format!("https://github.com/{name}"))
}

#[derive(Deserialize)]
struct Key {
    id: Scalar,
}

#[derive(Deserialize)]
struct Told {
    error: Option<String>,
    reason_phrase: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    issues: Option<Count>,
}

#[derive(Deserialize)]
struct Count {
    #[serde(default)]
    all: Scalar,
}

/// A place, of whichever list.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Listed {
    id: Scalar,
    name: Scalar,
    domain: Scalar,
    active: Scalar,
    provider: Scalar,
    branch: Scalar,
    url: Scalar,
    registry_name: Scalar,
    tag: Scalar,
    distro: Scalar,
    environment: Scalar,
    external_id: Scalar,
    kind: Scalar,
    sensitivity: Scalar,
}
