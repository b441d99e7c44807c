//! Probely, now Snyk API & Web, REST API <https://developers.probely.com/>.
//!
//! An API key (`Authorization: JWT …`) whose role may view targets. Lists come by page number in `{count, page_total, results}`;
//! each target's findings are a list of their own, because a finding's id counts within its target. There is no filter by
//! time of change, and a person's triage moves nothing at the target, so every pass is a full one. No documented rate limit:
//! two requests at a time. Findings carry whole HTTP exchanges and the target's log-in data, half a megabyte each: pages
//! are small, and of a finding only the members in [`Meta::keep`] are read or kept. Cloudflare stands in front of the API.

use serde::de::IgnoredAny;

use crate::{
    kit::{Location, Loose, Request},
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

/// The connector.
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
        shifting: true,
        body_limit: 32 << 20,
        keep: KEEP,
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Link) -> Result<Self> {
        let (location, note) = home(&link.location);
        link.location = location;
        let app = REGIONS.iter().find(|(api, _)| *api == link.location.host()).map(|(_, app)| link.location.clone().at_host(app));
        Ok(Probely { http: link.http(&Self::META, Auth::Scheme("JWT", settings.secret))?, app, note })
    }

    async fn scopes(&self, cx: &Cx, job: Job<'_>) -> Result<Vec<Scope>> {
        if let Some(note) = &self.note {
            cx.warn(note);
        }
        Ok(match job {
            Job::Discover => vec![Scope::account("targets")],
            Job::Sync(records) => records.iter().map(|record| Scope::of("findings", record)).collect(),
        })
    }

    async fn page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        let Cursor { pages, halved } = ask.cursor;
        let targets = ask.scope.list == "targets";
        let size = if targets { TARGETS } else { FINDINGS } >> halved;
        let request = if targets { self.targets(pages, size) } else { self.findings(&ask.scope.key, pages, size) };
        let listing = match request.send::<Listing>(cx).await {
            Ok(answer) => answer.body,
            Err(error) if matches!(error.kind, Kind::TooLarge { .. }) && size > 1 => {
                let half = Cursor { pages: pages * 2, halved: halved + 1 };
                return Ok(Page::new((Vec::new(), Vec::new()), None, Next::More(half)));
            }
            // A page that was there when the one before it was read: the list became shorter.
            Err(error) if matches!(error.kind, Kind::Refused { status: 404, .. }) && pages > 0 => {
                return Err(Error::new(error.doing, Kind::CursorExpired));
            }
            Err(error) => return Err(told(error, if targets { ELSEWHERE } else { LOST })),
        };
        let next = if pages + 1 >= listing.page_total {
            Next::Done(Coverage::Full, None)
        } else {
            Next::More(Cursor { pages: pages + 1, halved })
        };
        let read = if targets {
            items(listing.results, &[], |target: Target| self.record(target), |key: Key| key.id.0)
        } else {
            let target = &*ask.scope.key;
            items(listing.results, &[], |wire: Wire| self.finding(wire, target, cx), |key: Key| Some(unique(target, key.id.text()?)))
        };
        Ok(Page::new(read, Some(listing.count), next))
    }

    async fn check(&self, cx: &Cx) -> Result<Checked> {
        let mut checked = Checked::default();
        checked.warnings.extend(self.note.clone());
        // Any key of this region may read it.
        let profile = self.http.get("/profile/", &[]).send::<Profile>(cx).await.map_err(|error| told(error, ELSEWHERE))?.body;
        checked.facts.extend(profile.name.or(profile.email).map(|name| format!("key of {}", text::line(&name))));
        let targets = self.targets(0, 1).send::<Listing>(cx).await.map_err(|error| told(error, ELSEWHERE))?.body;
        checked.facts.push(format!("{} targets visible (a key limited to teams or targets sees no others)", targets.count));
        let Some(target) = targets.results.first().and_then(|raw| serde_json::from_str::<Key>(raw.get()).ok()?.id.0) else {
            checked.warnings.push(format!("no target is visible: {ROLE}"));
            return Ok(checked);
        };
        self.findings(&target, 0, 1).send::<Listing>(cx).await.map_err(|error| told(error, LOST))?;
        Ok(checked)
    }
}

/// The API's address from what people paste: the web interface, or a longer path.
fn home(location: &Location) -> (Location, Option<String>) {
    let host = location.host().to_owned();
    let Some((api, _)) = REGIONS.iter().find(|(_, app)| *app == host) else { return (location.clone().at_host(&host), None) };
    let corrected = location.clone().at_host(api);
    let note = format!("`location` {location} is the web interface; {corrected} is used: set `location` to that");
    (corrected, Some(note))
}

/// The error with what cures it here; `missing` is what it means that something does not exist.
fn told(error: Error, missing: &str) -> Error {
    match &error.kind {
        Kind::Forbidden(said) => {
            let said = said.to_string();
            // The API's own refusals are `{"detail": …}`.
            if !said.contains("\"detail\"") && (said.contains('<') || said.contains("1010") || said.to_lowercase().contains("cloudflare")) {
                return Error::new(error.doing, Kind::Elsewhere("Cloudflare, in front of the API, refused the request (403)".into()))
                    .with_hint("the network or the proxy is blocked there, the key is not the cause: try from another address");
            }
            error.with_hint(ROLE)
        }
        Kind::Unauthorized(_) => error.with_hint(format!("check the key, and its region: {REGION}")),
        Kind::Refused { status: 404, .. } => error.with_hint(missing),
        Kind::Elsewhere(_) | Kind::Redirect(_) => error.with_hint(ELSEWHERE),
        _ => error,
    }
}

/// A finding's number counts within its target.
fn unique(target: &str, id: &str) -> String {
    format!("{target}/{id}")
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
        let attributes =
            [("url", site.url.clone()), ("type", target.kind), ("labels", names(target.labels)), ("teams", names(target.teams))];
        Ok(Item::Record(Record {
            key: id.into(),
            name: text::line(name.map_or(id, String::as_str)),
            kind: "target".into(),
            url: self.link(id),
            attributes: attributes.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value?)?))).collect(),
        }))
    }

    fn finding(&self, wire: Wire, target: &str, cx: &Cx) -> Result<Item, String> {
        let id = wire.id.text().ok_or("the finding has no id")?;
        let definition = wire.definition.unwrap_or_default();
        let cvss = Cvss::read("3.0", wire.cvss_vector.as_deref(), wire.cvss_score.number());
        let severity = match wire.severity.whole() {
            Some(40) => Severity::Critical,
            Some(30) => Severity::High,
            Some(20) => Severity::Medium,
            Some(10) => Severity::Low,
            Some(..10) => Severity::Info,
            _ => {
                if let Some(other) = wire.severity.text() {
                    cx.warn(format!("unknown severity `{}`", text::line(other)));
                }
                cvss.as_ref().map_or(Severity::Unknown, Cvss::severity)
            }
        };
        let word = wire.state.as_deref().unwrap_or_default();
        let state = match word {
            "notfixed" | "retesting" => State::Open,
            "fixed" => State::Fixed,
            "accepted" => State::RiskAccepted,
            "invalid" => State::FalsePositive,
            other => {
                cx.warn(format!("unknown state `{}`", text::line(other)));
                State::Open
            }
        };
        let name = definition.name.as_deref().filter(|name| !name.is_empty()).or(definition.id.as_deref()).unwrap_or("finding");
        let parameter = wire.parameter.as_deref().filter(|parameter| !parameter.is_empty());
        let title = parameter.map_or_else(|| name.to_owned(), |parameter| format!("{name} in '{parameter}'"));
        let mut tags: Vec<Box<str>> = Vec::new();
        let labels = [wire.labels, wire.target.and_then(|target| target.labels)].into_iter().flatten().flatten();
        let notes = [("method", wire.method), ("insertion point", wire.insertion_point), ("parameter", wire.parameter.clone())];
        let notes = notes.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value.filter(|value| !value.is_empty())?)));
        let retest = (word == "retesting" || wire.retesting == Some(true)).then(|| "retesting".to_owned());
        for tag in labels.filter_map(|label| label.name).chain(notes).chain(retest) {
            let tag = text::line(&tag);
            if !tag.is_empty() && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(Item::Finding(Box::new(Finding {
            title: text::line(&title),
            description: definition.desc.as_deref().and_then(text::keep),
            severity,
            vendor_severity: wire.severity.text().map(text::line),
            state,
            vendor_state: wire.state.as_deref().map(text::line),
            cwe: definition.cwe.map(Cwe::ids).unwrap_or_default(),
            rule: definition.id.as_deref().and_then(text::keep),
            cvss,
            endpoint: wire.url.as_deref().and_then(text::keep),
            asset_key: Some(target.into()),
            // Markdown with HTML's line breaks in it.
            remediation: wire.fix.as_deref().and_then(|fix| text::keep(&fix.replace("<br>", "\n").replace("<br/>", "\n"))),
            tags,
            url: self.link(target),
            vendor_last_seen: wire.last_found.as_deref().and_then(text::time),
            ..Finding::new(unique(target, id), target, Category::Dast)
        })))
    }
}

#[derive(Deserialize)]
struct Listing {
    count: u64,
    page_total: u64,
    results: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Profile {
    name: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    id: Loose,
}

#[derive(Deserialize)]
struct Target {
    id: Loose,
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

/// A label or a team.
#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

fn names(all: Option<Vec<Named>>) -> Option<String> {
    Some(all?.into_iter().filter_map(|named| named.name).collect::<Vec<_>>().join(", "))
}

#[derive(Deserialize)]
struct Wire {
    id: Loose,
    target: Option<Scanned>,
    labels: Option<Vec<Named>>,
    definition: Option<Definition>,
    fix: Option<String>,
    url: Option<String>,
    method: Option<String>,
    insertion_point: Option<String>,
    parameter: Option<String>,
    state: Option<String>,
    retesting: Option<bool>,
    #[serde(default)]
    severity: Loose,
    #[serde(default)]
    cvss_score: Loose,
    cvss_vector: Option<String>,
    last_found: Option<String>,
}

#[derive(Deserialize)]
struct Scanned {
    labels: Option<Vec<Named>>,
}

#[derive(Default, Deserialize)]
struct Definition {
    id: Option<String>,
    name: Option<String>,
    desc: Option<String>,
    cwe: Option<Cwe>,
}

/// No recording has it; clients have seen a number, a text and a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Cwe {
    Many(Vec<Loose>),
    One(Loose),
    Other(IgnoredAny),
}

impl Cwe {
    fn ids(self) -> Vec<Box<str>> {
        let all = match self {
            Cwe::Many(all) => all,
            Cwe::One(one) => vec![one],
            Cwe::Other(_) => Vec::new(),
        };
        let id =
            |one: &Loose| one.whole().map_or_else(|| text::cwes(one.text().unwrap_or_default()), |id| vec![format!("CWE-{id}").into()]);
        all.iter().flat_map(id).collect()
    }
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
            let connection = Link { location, options: HttpOptions::default(), limiters: Default::default() };
            let probely = Probely::open(Settings { secret: Secret::new("eyJ") }, connection).expect("a connector");
            assert_eq!(probely.link("-t1").as_deref(), link);
        }
    }
}
