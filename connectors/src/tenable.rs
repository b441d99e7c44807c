//! Tenable Vulnerability Management (tenable.io), export API <https://developer.tenable.com/docs/exports-tenable-io>.
//!
//! Two API keys of one user (`X-ApiKeys`), role Basic [16] with Can View on the assets. Findings and assets come as export
//! jobs: asked for, prepared, then fetched chunk by chunk in any order; a job and its chunks are kept for a day, so a walk
//! goes on with its job after a restart, and the same question asked twice is answered 409 with the job under way. A job
//! with failed or cancelled chunks proves nothing. Without a time filter only the last 30 days are exported, and without
//! states only the open ones: both are always sent. `since` goes by the end of a scan, which is indexed hours or days later:
//! hence the overlap, and a second export of what was indexed since (the documentation is too vague about that filter to rest
//! on it alone). Accepting and recasting move no date: a third export lists all such findings. A record is a scan; what no
//! scan met (a sensor did) belongs to one more. Rates are limited by 429 only.

mod asset;
mod finding;

use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::json;

use asset::{Host, KnownHost, asset};
use finding::{Known, Vulnerability, finding};

use crate::{
    Excerpt,
    kit::{Loose, Numbers, Request},
    prelude::*,
};

/// Tenable asks integrations to name themselves in this form.
const AGENT: &str = concat!("Integration/1.0 (Tributary; Tributary; Build: ", env!("CARGO_PKG_VERSION"), ")");
/// A time before everything, in the ten digits that filters want (2001-09-09).
const EVER: i64 = 1_000_000_000;
/// Assets per chunk of findings: the API's own default and least, as one host may have some megabytes of findings.
const HOSTS: u32 = 50;
/// Assets per chunk of assets.
const ASSETS: u32 = 1000;
/// Questions without news, half a minute apart, after which the rest is the next run's business (two hours).
const PATIENCE: u32 = 240;
/// The chunk is announced, but not ready.
const NOT_READY: u16 = 400;

/// The connector.
#[derive(Debug)]
pub struct Tenable {
    http: Http,
    unlicensed: bool,
}

/// Fields of a Tenable connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Access key (Settings > My Account > API Keys). A user has one pair: generating a new one ends the old one.
    #[serde(default)]
    access_key: Option<Secret>,
    /// Secret key of the same pair.
    #[serde(default)]
    secret_key: Option<Secret>,
    /// Both keys in one, instead: `access;secret`, `access:secret` or `accessKey=…;secretKey=…`.
    #[serde(default)]
    secret: Option<Secret>,
    /// Whether findings on assets without a licence are stored. Default: yes.
    #[serde(default = "yes")]
    include_unlicensed: bool,
}

fn yes() -> bool {
    true
}

/// How far an export has come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The job; none before it is asked for.
    job: Option<String>,
    /// Id of the account, the record of findings without a scan.
    container: String,
    /// Chunks that are ready, as the vendor said last.
    ready: Numbers,
    /// Chunks that are stored.
    done: Numbers,
    /// Whether it was finished when last asked: chunks may come with the last step, so it is asked once more.
    finished: bool,
    /// Questions without news.
    asked: u32,
    /// Which question the job answers.
    part: Part,
}

/// The questions of a pass: the first alone where everything is asked for, and for assets.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
enum Part {
    /// What was found or fixed since.
    #[default]
    Found,
    /// What was indexed since, however long ago it was found.
    Indexed,
    /// All that a person's rule accepts or recasts: that moves no date.
    Ruled,
}

impl Part {
    fn next(self) -> Option<Part> {
        match self {
            Part::Found => Some(Part::Indexed),
            Part::Indexed => Some(Part::Ruled),
            Part::Ruled => None,
        }
    }
}

/// Routes of one kind of export.
struct Export {
    start: &'static str,
    status: &'static str,
    chunk: &'static str,
    cancel: &'static str,
}

const FINDING_EXPORT: Export = Export {
    start: "/vulns/export",
    status: "/vulns/export/{}/status",
    chunk: "/vulns/export/{}/chunks/{}",
    cancel: "/vulns/export/{}/cancel",
};
const ASSET_EXPORT: Export = Export {
    start: "/assets/v2/export",
    status: "/assets/export/{}/status",
    chunk: "/assets/export/{}/chunks/{}",
    cancel: "/assets/export/{}/cancel",
};

impl Connector for Tenable {
    const META: Meta = Meta {
        id: "tenable",
        title: "Tenable Vulnerability Management",
        docs: "https://developer.tenable.com/reference/navigate",
        record: "scan, and one for findings without a scan",
        location: "https://cloud.tenable.com",
        location_help: "address of the Tenable cloud, https://cloud.tenable.com unless your tenant is elsewhere",
        permissions: &["Basic [16]", "Can View on All Assets", "Can View on each scan"],
        aliases: &[("client_key", "access_key")],
        incremental: true,
        // Tenable asks not to send requests side by side.
        concurrency: 1,
        overlap: Duration::from_secs(24 * 3600),
        cursor_life: Duration::from_secs(24 * 3600),
        body_limit: 256 << 20,
        timeout: Duration::from_secs(300),
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Link) -> Result<Self> {
        link.location = link.location.without_endings(&["/app.html", "/tio", "/session", "/scans"]);
        let (access, secret) = match (settings.access_key, settings.secret_key, settings.secret) {
            (Some(access), Some(secret), None) => Some((access, secret)),
            (None, None, Some(both)) => split(both.expose()),
            _ => None,
        }
        .ok_or_else(|| {
            let what = "give either `access_key` and `secret_key`, or both in `secret` as `access;secret`";
            Error::new("reading the connection's fields", Kind::Settings(what.into()))
        })?;
        let header = Secret::new(&["accessKey=", access.expose().trim(), ";secretKey=", secret.expose().trim()].concat());
        let http = link.http(&Self::META, Auth::Composed("x-apikeys", header, vec![access, secret]))?;
        Ok(Tenable { http, unlicensed: settings.include_unlicensed })
    }

    async fn scopes(&self, _: &Cx, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(match job {
            Job::Discover => vec![Scope::account("scans")],
            Job::Sync(_) => vec![Scope::account("findings"), Scope::account("assets")],
        })
    }

    async fn page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        let findings = match ask.scope.list {
            "scans" => return self.scans(cx).await,
            list => list == "findings",
        };
        let export = if findings { FINDING_EXPORT } else { ASSET_EXPORT };
        // What a delta asks for and what it ends as are decided by the same: a question for everything covers everything.
        let since = ask.since.filter(|_| !ask.full).map_or(EVER, |since| since.as_second().max(EVER));
        let nothing = |next| Ok(Page::new((Vec::new(), Vec::new()), None, next));
        let Cursor { job: Some(job), .. } = &ask.cursor else {
            return nothing(Next::More(self.begin(cx, findings, since, ask.cursor.part).await?));
        };
        let mut cursor = Cursor { job: Some(job.clone()), ..ask.cursor };
        let job = cursor.job.as_deref().unwrap_or_default();

        let Some(chunk) = cursor.ready.first_not_in(&cursor.done) else {
            // All that was ready is stored. What else is?
            let status = self.get(export.status, &[job]).send::<Status>(cx).await.map_err(forgotten)?.body;
            let broken = lost(&status.chunks_failed) + lost(&status.chunks_cancelled);
            let finished = match status.status.to_ascii_uppercase().as_str() {
                "FINISHED" => true,
                "QUEUED" | "PROCESSING" => false,
                "ERROR" | "CANCELLED" => return Err(failed(&export, &status, broken)),
                other => {
                    cx.warn(format!("unknown state of an export `{}`", text::line(other)));
                    false
                }
            };
            let before = std::mem::replace(&mut cursor.finished, finished);
            cursor.ready = status.chunks_available.iter().flatten().copied().collect();
            if cursor.ready.first_not_in(&cursor.done).is_some() {
                return nothing(Next::More(Cursor { asked: 0, ..cursor }));
            }
            if !finished {
                return nothing(later(cursor, &status.status)?);
            }
            if !before {
                return nothing(later(Cursor { asked: 0, ..cursor }, &status.status)?);
            }
            // What came of a job that lost a part of itself is stored, but says nothing about the rest.
            if broken > 0 || status.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty()) {
                return Err(failed(&export, &status, broken));
            }
            return nothing(match cursor.part.next().filter(|_| findings) {
                _ if since == EVER => Next::Done(Coverage::Full, None),
                Some(part) => Next::More(Cursor { part, ..Cursor::default() }),
                None => Next::Done(Coverage::Delta, None),
            });
        };
        // An empty chunk may come as `null`.
        let answer = self.get(export.chunk, &[job, &chunk.to_string()]).send::<Option<Vec<Box<RawValue>>>>(cx).await;
        let rows = match answer {
            Ok(answer) => answer.body.unwrap_or_default(),
            Err(error) if matches!(error.kind, Kind::Refused { status: NOT_READY, .. }) => {
                return nothing(later(cursor, "a chunk that it announced is not")?);
            }
            Err(error) => {
                let error = forgotten(error);
                if matches!(error.kind, Kind::CursorExpired) {
                    // While it runs, whoever asks for the same is referred to it.
                    let cancel = self.http.post(export.cancel, &[job], &json!({})).header("user-agent", AGENT);
                    let _ = cancel.send::<IgnoredAny>(cx).await;
                }
                return Err(error);
            }
        };
        let read = if findings {
            items(rows, &[], |wire: Vulnerability| finding(wire, &cursor.container, cx), |known: Known| known.key())
        } else {
            items(rows, &[], |wire: Host| Ok(asset(wire)), |known: KnownHost| known.id)
        };
        cursor.done.insert(chunk);
        Ok(Page::new(read, None, Next::More(Cursor { asked: 0, ..cursor })))
    }

    async fn check(&self, cx: &Cx) -> Result<Checked> {
        let mut checked = Checked::default();
        let session = self.session(cx).await?;
        let who = session.username.or(session.email).unwrap_or_else(|| "a user".to_owned());
        let role = session.permissions.text().unwrap_or("unknown").to_owned();
        checked.facts.push(format!("{} with permissions [{}]", text::line(&who), text::line(&role)));
        if session.enabled == Some(false) {
            checked.warnings.push(format!("the user {} is disabled", text::line(&who)));
        }
        self.get("/vulns/export/status", &[]).send::<Recent>(cx).await.map_err(|error| denied(error, EXPORTING))?;
        let scans = self.get("/scans", &[]).send::<Scans>(cx).await.map_err(|error| denied(error, SCANNING))?;
        let count = scans.body.scans.unwrap_or_default().len();
        checked.facts.push(format!("{count} scans visible"));
        if count == 0 {
            checked.warnings.push("no scan is visible: give the user Can View on the scans, or their records have no names".into());
        }
        checked
            .facts
            .push("what the user may not view is left out of exports without a word: Can View on All Assets shows everything".into());
        Ok(checked)
    }
}

const SIGNING: &str = "enable the user, and give it at least the role Basic [16]";
const EXPORTING: &str = "give the user the role Basic [16], or a custom role with VM.VM_EXPLORE.VM_EXPLORE.EXPORT, and Can View on \
                         All Assets; a FedRAMP tenant wants Administrator [64]";
const SCANNING: &str = "give the user at least the role Basic [16], and Can View on each scan";

impl Tenable {
    fn get(&self, route: &'static str, arguments: &[&str]) -> Request<'_> {
        self.http.get(route, arguments).header("user-agent", AGENT)
    }

    async fn session(&self, cx: &Cx) -> Result<Session> {
        match self.get("/session", &[]).send(cx).await {
            Ok(answer) => Ok(answer.body),
            Err(error) if matches!(error.kind, Kind::Unauthorized(_)) => Err(error.with_hint(
                "the pair of keys is not accepted: whoever generates new API keys for a user ends the old ones; access and secret key may be swapped",
            )),
            Err(error) if matches!(error.kind, Kind::Refused { status: 404, .. }) => {
                Err(error.with_hint("`location` does not lead to Tenable: it is https://cloud.tenable.com unless your tenant is elsewhere"))
            }
            Err(error) => Err(denied(error, SIGNING)),
        }
    }

    async fn scans(&self, cx: &Cx) -> Result<Page<Cursor>> {
        let account = self.session(cx).await?.container_uuid;
        let scans = self.get("/scans", &[]).send::<Scans>(cx).await.map_err(|error| denied(error, SCANNING))?.body.scans;
        let mut read = items(scans.unwrap_or_default(), &[], scan, |known: KnownScan| known.schedule_uuid);
        let rest = Record { key: account.into(), name: "All assets".into(), kind: "container".into(), ..Record::default() };
        read.0.push(Item::Record(rest));
        Ok(Page::new(read, None, Next::Done(Coverage::Full, None)))
    }

    /// Asks for an export, or finds the same one under way.
    async fn begin(&self, cx: &Cx, findings: bool, since: i64, part: Part) -> Result<Cursor> {
        let (start, container, body) = if findings {
            let filters = match part {
                Part::Found => json!({ "state": ["OPEN", "REOPENED", "FIXED"], "since": since }),
                Part::Indexed => json!({ "state": ["OPEN", "REOPENED", "FIXED"], "indexed_at": since }),
                Part::Ruled => {
                    json!({ "state": ["OPEN", "REOPENED"], "severity_modification_type": ["ACCEPTED", "RECASTED"], "since": EVER })
                }
            };
            let body =
                json!({ "num_assets": HOSTS, "include_unlicensed": self.unlicensed, "include_software_vulns": true, "filters": filters });
            (FINDING_EXPORT.start, self.session(cx).await?.container_uuid, body)
        } else {
            let body = json!({ "chunk_size": ASSETS, "include_open_ports": false, "filters": { "types": ["host"], "since": since } });
            (ASSET_EXPORT.start, String::new(), body)
        };
        let started = self.http.post(start, &[], &body).header("user-agent", AGENT).also(409).send::<Started>(cx).await;
        let job = match started.map_err(|error| denied(error, EXPORTING))?.body {
            Started::Own { export_uuid } => export_uuid,
            Started::UnderWay { active_job_id } => active_job_id,
        };
        Ok(Cursor { job: Some(job), container, part, ..Cursor::default() })
    }
}

/// Both keys, from the forms in which they are written as one.
fn split(both: &str) -> Option<(Secret, Secret)> {
    let whole = both.trim().trim_end_matches(';');
    if whole.starts_with('{') {
        let Both { access, secret } = serde_json::from_str(whole).ok()?;
        return Some((access, secret));
    }
    let (first, second) = whole.split_once([';', ':', ','])?;
    let (first, second) = (first.trim(), second.trim());
    let named = |text: &str, name: &str| text.strip_prefix(name).and_then(|rest| rest.trim_start().strip_prefix('=')).map(Secret::new);
    match (named(first, "accessKey"), named(second, "secretKey"), named(first, "secretKey"), named(second, "accessKey")) {
        (Some(access), Some(secret), ..) | (.., Some(secret), Some(access)) => Some((access, secret)),
        _ if first.is_empty() || second.is_empty() => None,
        _ => Some((Secret::new(first), Secret::new(second))),
    }
}

fn denied(error: Error, cure: &'static str) -> Error {
    if matches!(error.kind, Kind::Forbidden(_)) { error.with_hint(cure) } else { error }
}

/// A job or chunk that is no longer there: a new one has to be asked for.
fn forgotten(error: Error) -> Error {
    match error.kind {
        Kind::Refused { status: 404 | 410, .. } => Error::new(error.doing, Kind::CursorExpired),
        _ => denied(error, EXPORTING),
    }
}

fn failed(export: &Export, status: &Status, broken: usize) -> Error {
    let reason = status.reason.as_deref().unwrap_or("no reason given");
    let what = Excerpt::new(&format!("{}, {broken} chunks failed or cancelled: {reason}", status.status)).to_string();
    Error::new(["exporting by ", export.start].concat(), Kind::Export(what.into()))
}

/// The same question again, ever less eagerly, and not for ever.
fn later(cursor: Cursor, word: &str) -> Result<Next<Cursor>> {
    if cursor.asked >= PATIENCE {
        let what = format!("its export is {}", Excerpt::new(word));
        return Err(Error::new("waiting for an export", Kind::Pending(what.into())));
    }
    let wait = Duration::from_secs((2 << cursor.asked.min(4)).min(30));
    Ok(Next::Wait(Cursor { asked: cursor.asked + 1, ..cursor }, wait))
}

fn lost(chunks: &Option<Vec<IgnoredAny>>) -> usize {
    chunks.as_ref().map_or(0, Vec::len)
}

#[derive(Deserialize)]
struct Both {
    #[serde(alias = "accessKey", alias = "access_key")]
    access: Secret,
    #[serde(alias = "secretKey", alias = "secret_key")]
    secret: Secret,
}

#[derive(Deserialize)]
struct Session {
    container_uuid: String,
    username: Option<String>,
    email: Option<String>,
    #[serde(default)]
    permissions: Loose,
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct Recent {
    #[serde(rename = "exports", deserialize_with = "Option::deserialize")]
    _exports: Option<Vec<IgnoredAny>>,
}

/// `scans` may be null, but an answer without it is none.
#[derive(Deserialize)]
struct Scans {
    #[serde(deserialize_with = "Option::deserialize")]
    scans: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Scan {
    #[serde(default)]
    id: Loose,
    schedule_uuid: Option<String>,
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    owner: Option<String>,
}

#[derive(Deserialize)]
struct KnownScan {
    schedule_uuid: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Started {
    Own { export_uuid: String },
    UnderWay { active_job_id: String },
}

#[derive(Deserialize)]
struct Status {
    status: String,
    reason: Option<String>,
    chunks_available: Option<Vec<u64>>,
    chunks_failed: Option<Vec<IgnoredAny>>,
    chunks_cancelled: Option<Vec<IgnoredAny>>,
}

fn scan(scan: Scan) -> Result<Item, String> {
    let Some(key) = scan.schedule_uuid.filter(|key| !key.is_empty()) else {
        return Ok(Item::Skipped { key: scan.id.text().unwrap_or_default().into(), reason: "scan without a schedule" });
    };
    let name = scan.name.map(|name| text::line(&name)).filter(|name| !name.is_empty()).unwrap_or_else(|| key.as_str().into());
    let attributes = [("scan_id", scan.id.0), ("type", scan.kind), ("owner", scan.owner)];
    let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value?)?))).collect();
    Ok(Item::Record(Record { key: key.into(), name, kind: "scan".into(), url: None, attributes }))
}
