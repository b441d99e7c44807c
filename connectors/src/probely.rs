//! Probely, now Snyk API & Web, REST API <https://developers.probely.com/>.
//!
//! An API key (`Authorization: JWT …`) whose role may view targets. Lists come by page number in `{count, page_total, results}`;
//! each target's findings are a list of their own, because a finding's id counts within its target. There is no filter by
//! time of change, and a person's triage moves nothing at the target, so every pass is a full one. No documented rate limit:
//! two requests at a time. Findings carry whole HTTP exchanges and the target's log-in data, half a megabyte each: pages
//! are small, and of a finding only the members in [`Meta::keep`] are read or kept. Cloudflare stands in front of the API.

mod finding;

use self::finding::{Key, Named, Wire, finding, sorted, unique};
use crate::{
    kit::{Location, Request, Scalar, count},
    prelude::*,
};

/// Rows asked for per page of targets, and of findings until a page is too large. Powers of two, so that half a page is a page.
const TARGETS: u64 = 128;
const FINDINGS: u64 = 16;
/// The members of a target and of a finding that are read: nothing else is kept.
#[rustfmt::skip]
const KEEP: &[&str] = &[
    "name", "type", "site.name", "site.url", "site.host", "teams.name", "labels.name", "target.id", "target.name", "target.type",
    "target.site.name", "target.site.host", "target.labels.name", "definition.id", "definition.name", "definition.desc", "definition.cwe",
    "id", "fix", "url", "method", "insertion_point", "parameter", "state", "retesting", "severity", "cvss_score", "cvss_vector",
    "last_found", "changed",
];
/// API hosts with the web interface of their region.
const REGIONS: [(&str, &str); 4] = [
    ("api.eu.probely.com", "plus.probely.app"),
    ("api.us.probely.com", "plus.us.probely.app"),
    ("api.au.probely.com", "plus.au.probely.app"),
    // The first host of all, still the European region.
    ("api.probely.com", "plus.probely.app"),
];
const REGION: &str = "a key works only in its own region: `location` is https://api.eu.probely.com where the web interface is \
                      plus.probely.app, https://api.us.probely.com for plus.us.probely.app, https://api.au.probely.com for plus.au.probely.app";

const ROLE: &str = "give the key a role with the permission View Target, with the whole account, the teams or the targets to be read as its \
                    scope (Settings > API Keys)";
const ELSEWHERE: &str = "`location` has to be Probely's API server, such as https://api.eu.probely.com, not a web page or another tool";
const LOST: &str = "the target was deleted, or left the scope of the key: the next discover tells";

/// The connector for one connection: its client, and what its settings say.
#[derive(Debug)]
pub struct Probely {
    http: Http,
    /// The web interface, for deep links.
    app: Option<Location>,
    note: Option<String>,
}

/// Fields of a Probely connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// API key with the role permission View Target (Settings > API Keys), a text that begins with `eyJ`.
    secret: Secret,
}

/// How far a list has been read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Pages of this size before it.
    pages: u64,
    /// How often the page had to be halved to fit.
    halved: u32,
    /// Whether the vendor said that there is no such page: the one before it was full, so it was asked for all the same.
    #[serde(default)]
    beyond: bool,
    /// Id of the first row of that page: who answers it again knows no pages.
    #[serde(default)]
    first: Option<String>,
}

impl Connector for Probely {
    const META: Meta = Meta {
        id: "probely",
        title: "Probely (Snyk API & Web)",
        docs: "https://developers.probely.com/",
        record: "target",
        location_help: "API server of your region: https://api.eu.probely.com, https://api.us.probely.com, https://api.au.probely.com \
                        (or the older https://api.probely.com)",
        permissions: &["View Target"],
        concurrency: 2,
        body_limit: 32 << 20,
        keep: KEEP,
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Endpoint) -> Result<Self> {
        let (location, note) = resolve_api_url(&link.location);
        link.location = location;
        let app = REGIONS.iter().find(|(api, _)| *api == link.location.host()).map(|(_, app)| link.location.clone().at_host(app));
        Ok(Probely { http: link.http(&Self::META, Auth::Scheme("JWT", settings.secret))?, app, note })
    }

    async fn scopes(&self, cx: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        if let Some(note) = &self.note {
            cx.warn(note);
        }
        Ok(Scope::by_record(job, "targets", "findings", Absence::ProofTwice))
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        let Cursor { pages, halved, beyond, first } = ask.cursor;
        let targets = ask.scope.list == "targets";
        let size = if targets { TARGETS } else { FINDINGS } >> halved;
        let request = if targets { self.targets(pages, size) } else { self.findings(&ask.scope.key, pages, size) };
        let listing = match request.send::<Listing>(cx).await {
            Ok(answer) => answer.body,
            Err(error) if matches!(error.kind, ErrorKind::TooLarge { .. }) && size > 1 => {
                let half = Cursor { pages: pages * 2, halved: halved + 1, beyond, first };
                return Ok(Page::empty(Next::More(half)));
            }
            Err(error) if matches!(error.kind, ErrorKind::Refused { status: 404, .. }) && beyond => return Ok(Page::empty(Next::FULL)),
            // A page that was there when the one before it was read: the list became shorter.
            Err(error) if matches!(error.kind, ErrorKind::Refused { status: 404, .. }) && pages > 0 => {
                return Err(Error::new(error.doing, ErrorKind::CursorExpired));
            }
            Err(error) => return Err(with_hint(error, if targets { ELSEWHERE } else { LOST })),
        };
        let own = listing.results.first().and_then(|raw| serde_json::from_str::<Key>(raw.get()).ok()?.id.0);
        if beyond && own.is_some() && own == first {
            return Ok(Page::empty(Next::FULL));
        }
        let last = pages + 1 >= listing.page_total;
        // A full page is not the last one, whatever the vendor counts.
        let next = if last && (listing.results.len() as u64) < size {
            Next::FULL
        } else {
            Next::More(Cursor { pages: pages + 1, halved, beyond: last, first: own })
        };
        let read = if targets {
            items(listing.results, &[], |target: Target| self.record(target), |key: Key| key.id.0)
        } else {
            let (target, url) = (&*ask.scope.key, self.link(&ask.scope.key));
            items(
                listing.results,
                &[],
                |wire: Wire| finding(wire, target, url.clone(), cx),
                |key: Key| Some(unique(target, key.id.text()?)),
            )
        };
        Ok(Page::new(read, Some(listing.count), next))
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let mut checked = CheckReport::default();
        checked.warnings.extend(self.note.clone());
        // Any key of this region may read it.
        let profile = self.http.get("/profile/", &[]).send::<Profile>(cx).await.map_err(|error| with_hint(error, ELSEWHERE))?.body;
        checked.facts.extend(profile.name.or(profile.email).map(|name| format!("key of {}", text::single_line(&name))));
        let targets = self.targets(0, 1).send::<Listing>(cx).await.map_err(|error| with_hint(error, ELSEWHERE))?.body;
        checked.facts.push(format!("{} targets visible (a key limited to teams or targets sees no others)", targets.count));
        let Some(target) = targets.results.first().and_then(|raw| serde_json::from_str::<Key>(raw.get()).ok()?.id.0) else {
            checked.warnings.push(format!("no target is visible: {ROLE}"));
            return Ok(checked);
        };
        self.findings(&target, 0, 1).send::<Listing>(cx).await.map_err(|error| with_hint(error, LOST))?;
        Ok(checked)
    }
}

/// The API's address from what people paste: the web interface, or a longer path.
fn resolve_api_url(location: &Location) -> (Location, Option<String>) {
    let host = location.host().to_owned();
    let Some((api, _)) = REGIONS.iter().find(|(_, app)| *app == host) else { return (location.clone().at_host(&host), None) };
    let corrected = location.clone().at_host(api);
    let note = format!("`location` {location} is the web interface; {corrected} is used: set `location` to that");
    (corrected, Some(note))
}

/// The error with what cures it here; `missing` is what it means that something does not exist.
fn with_hint(error: Error, missing: &str) -> Error {
    match &error.kind {
        ErrorKind::Forbidden(said) => {
            let said = said.to_string();
            // The API's own refusals are `{"detail": …}`.
            if !said.contains("\"detail\"") && (said.contains('<') || said.contains("1010") || said.to_lowercase().contains("cloudflare")) {
                return Error::new(error.doing, ErrorKind::NotAnApi("Cloudflare, in front of the API, refused the request (403)".into()))
                    .with_hint("the network or the proxy is blocked there, the key is not the cause: try from another address");
            }
            error.with_hint(ROLE)
        }
        ErrorKind::Unauthorized(_) => error.with_hint(format!("check the key, and its region: {REGION}")),
        ErrorKind::Refused { status: 404, .. } => error.with_hint(missing),
        ErrorKind::NotAnApi(_) | ErrorKind::Redirect(_) => error.with_hint(ELSEWHERE),
        _ => error,
    }
}

impl Probely {
    /// The page after so many pages of this size.
    fn targets(&self, pages: u64, size: u64) -> Request<'_> {
        self.http.get("/targets/", &[]).query("page", Some(pages + 1)).query("length", Some(size))
    }

    fn findings(&self, target: &str, pages: u64, size: u64) -> Request<'_> {
        let request = self.http.get("/targets/{}/findings/", &[target]).query("ordering", Some("-last_found"));
        request.query("page", Some(pages + 1)).query("length", Some(size))
    }

    fn link(&self, target: &str) -> Option<Box<str>> {
        Some(self.app.as_ref()?.join("/targets/{}", &[target]).to_string().into())
    }

    fn record(&self, target: Target) -> Result<Item, String> {
        let id = target.id.text().ok_or("the target has no id")?;
        let site = target.site.unwrap_or_default();
        let name = [&site.name, &target.name, &site.host, &site.url].into_iter().flatten().find(|name| !name.trim().is_empty());
        Ok(Item::Record(Record {
            key: id.into(),
            name: text::single_line(name.map_or(id, String::as_str)),
            kind: "target".into(),
            url: self.link(id),
            attributes: attributes([
                ("url", site.url.clone()),
                ("type", target.kind),
                ("labels", names(target.labels)),
                ("teams", names(target.teams)),
            ]),
        }))
    }
}

#[derive(Deserialize)]
struct Listing {
    #[serde(deserialize_with = "count")]
    count: u64,
    #[serde(deserialize_with = "count")]
    page_total: u64,
    results: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Profile {
    name: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    id: Scalar,
    name: Option<String>,
    site: Option<Site>,
    #[serde(rename = "type")]
    kind: Option<String>,
    labels: Option<Vec<Named>>,
    teams: Option<Vec<Named>>,
}

#[derive(Default, Deserialize)]
struct Site {
    name: Option<String>,
    url: Option<String>,
    host: Option<String>,
}

fn names(all: Option<Vec<Named>>) -> Option<String> {
    Some(sorted(all?).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::HttpOptions;

    #[test]
    fn deep_links_lead_to_the_web_interface_of_the_region() {
        for (location, link) in [
            ("https://api.probely.com", Some("https://plus.probely.app/targets/-t1")),
            ("https://api.eu.probely.com", Some("https://plus.probely.app/targets/-t1")),
            ("https://plus.us.probely.app", Some("https://plus.us.probely.app/targets/-t1")),
            ("https://probely.example", None),
        ] {
            let location = Location::parse(location, false).expect("a location");
            let connection = Endpoint { location, options: HttpOptions::default(), limiters: Default::default() };
            let probely = Probely::open(Settings { secret: Secret::new("eyJ") }, connection).expect("a connector");
            assert_eq!(probely.link("-t1").as_deref(), link);
        }
    }
}
