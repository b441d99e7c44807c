//! Tenable Vulnerability Management (tenable.io), export API <https://developer.tenable.com/docs/exports-tenable-io>.
//!
//! Two API keys of one user (`X-ApiKeys`), role Basic [16] with Can View on the assets. Findings and assets come as export
//! jobs: asked for, prepared, then fetched chunk by chunk in any order; a job and its chunks are kept for a day, so a walk
//! goes on with its job after a restart, and the same question asked twice is answered 409 with the job under way. A job
//! with failed or cancelled chunks proves nothing. Without a time filter only the last 30 days are exported, and without
//! states only the open ones: both are always sent. `since` goes by the end of a scan, which is indexed hours later, hence
//! the overlap. A record is a scan; what no scan met (an agent, a sensor) belongs to one more. Rates are limited by 429 only.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    Excerpt,
    kit::{Loose, Numbers, Request},
    model::Asset,
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
}

/// Routes of one kind of export.
struct Export {
    start: &'static str,
    status: &'static str,
    chunk: &'static str,
}

const FINDING_EXPORT: Export = Export { start: "/vulns/export", status: "/vulns/export/{}/status", chunk: "/vulns/export/{}/chunks/{}" };
const ASSET_EXPORT: Export =
    Export { start: "/assets/v2/export", status: "/assets/export/{}/status", chunk: "/assets/export/{}/chunks/{}" };

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
            return nothing(Next::More(self.begin(cx, &export, findings, since).await?));
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
            if !(finished && before) {
                return nothing(later(cursor, &status.status)?);
            }
            // What came of a job that lost a part of itself is stored, but says nothing about the rest.
            if broken > 0 || status.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty()) {
                return Err(failed(&export, &status, broken));
            }
            return nothing(Next::Done(if since == EVER { Coverage::Full } else { Coverage::Delta }, None));
        };
        // An empty chunk may come as `null`.
        let answer = self.get(export.chunk, &[job, &chunk.to_string()]).send::<Option<Vec<Box<RawValue>>>>(cx).await;
        let rows = match answer {
            Ok(answer) => answer.body.unwrap_or_default(),
            Err(error) if matches!(error.kind, Kind::Refused { status: NOT_READY, .. }) => {
                return nothing(later(cursor, "a chunk that it announced is not")?);
            }
            Err(error) => return Err(forgotten(error)),
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
    async fn begin(&self, cx: &Cx, export: &Export, findings: bool, since: i64) -> Result<Cursor> {
        let container = if findings { self.session(cx).await?.container_uuid } else { String::new() };
        let body = if findings {
            json!({ "num_assets": HOSTS, "include_unlicensed": self.unlicensed, "include_software_vulns": true,
                "filters": { "state": ["OPEN", "REOPENED", "FIXED"], "since": since } })
        } else {
            json!({ "chunk_size": ASSETS, "include_open_ports": false, "filters": { "types": ["host"], "since": since } })
        };
        let started = self.http.post(export.start, &[], &body).header("user-agent", AGENT).also(409).send::<Started>(cx).await;
        let job = match started.map_err(|error| denied(error, EXPORTING))?.body {
            Started::Own { export_uuid } => export_uuid,
            Started::UnderWay { active_job_id } => active_job_id,
        };
        Ok(Cursor { job: Some(job), container, ..Cursor::default() })
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

#[derive(Deserialize)]
struct Vulnerability {
    finding_id: Option<String>,
    #[serde(default)]
    asset: OnAsset,
    output: Option<String>,
    plugin: Plugin,
    #[serde(default)]
    port: Port,
    scan: Option<ByScan>,
    severity: Option<String>,
    #[serde(default)]
    severity_id: Loose,
    #[serde(default)]
    severity_default_id: Loose,
    severity_modification_type: Option<String>,
    recast_reason: Option<String>,
    state: Option<String>,
    first_found: Option<String>,
    last_found: Option<String>,
    source: Option<String>,
    software_vulns: Option<Vec<Software>>,
}

/// What its key is made of, from an item that could not be read.
#[derive(Deserialize)]
struct Known {
    finding_id: Option<String>,
    asset: Option<OnAsset>,
    plugin: Option<KnownPlugin>,
    port: Option<Port>,
}

impl Known {
    fn key(self) -> Option<String> {
        let plugin = self.plugin.unwrap_or_default();
        key(self.finding_id, &self.asset.unwrap_or_default(), &plugin.id, &self.port.unwrap_or_default())
    }
}

#[derive(Default, Deserialize)]
struct KnownPlugin {
    #[serde(default)]
    id: Loose,
}

#[derive(Default, Deserialize)]
struct OnAsset {
    uuid: Option<String>,
    fqdn: Option<String>,
    hostname: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
}

#[derive(Default, Deserialize)]
struct Port {
    #[serde(default)]
    port: Loose,
    protocol: Option<String>,
    service: Option<String>,
}

#[derive(Deserialize)]
struct ByScan {
    schedule_uuid: Option<String>,
}

#[derive(Deserialize)]
struct Plugin {
    #[serde(default)]
    id: Loose,
    name: Option<String>,
    family: Option<String>,
    synopsis: Option<String>,
    description: Option<String>,
    solution: Option<String>,
    workaround: Option<String>,
    cve: Option<Vec<String>>,
    cpe: Option<Vec<String>>,
    bid: Option<Vec<Loose>>,
    xrefs: Option<Vec<Xref>>,
    see_also: Option<Vec<String>>,
    #[serde(default)]
    cvss_base_score: Loose,
    cvss_vector: Option<Vector>,
    #[serde(default)]
    cvss3_base_score: Loose,
    cvss3_vector: Option<Vector>,
    #[serde(default)]
    cvss4_base_score: Loose,
    cvss4_vector: Option<Vector>,
    vpr: Option<Vpr>,
    vpr_v2: Option<Vpr>,
    #[serde(default)]
    epss_score: Loose,
    exploit_available: Option<bool>,
    exploited_by_malware: Option<bool>,
    has_patch: Option<bool>,
    vendor_unpatched: Option<bool>,
}

#[derive(Deserialize)]
struct Vector {
    raw: Option<String>,
}

#[derive(Deserialize)]
struct Vpr {
    #[serde(default)]
    score: Loose,
    on_cisa_kev: Option<bool>,
}

/// A reference to another list: an object in every recording, a text in the schema.
#[derive(Deserialize)]
#[serde(untagged)]
enum Xref {
    Pair {
        #[serde(rename = "type")]
        kind: String,
        id: Loose,
    },
    Text(String),
    Other(IgnoredAny),
}

impl Xref {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Xref::Pair { kind, id } => Some((kind, id.text()?)),
            Xref::Text(text) => text.split_once(':'),
            Xref::Other(IgnoredAny) => None,
        }
    }
}

#[derive(Deserialize)]
struct Software {
    identifier: Option<String>,
    product: Option<String>,
    version: Option<String>,
    fix_available: Option<bool>,
    fixes: Option<Vec<Fix>>,
}

#[derive(Deserialize)]
struct Fix {
    value: Option<String>,
}

#[derive(Deserialize)]
struct KnownHost {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Host {
    id: String,
    types: Option<Vec<String>>,
    is_licensed: Option<bool>,
    is_deleted: Option<bool>,
    system_types: Option<Vec<String>>,
    operating_systems: Option<Vec<String>>,
    #[serde(default)]
    timestamps: Times,
    #[serde(default)]
    network: Network,
    cloud: Option<Cloud>,
    ratings: Option<Ratings>,
    tags: Option<Vec<Tag>>,
}

#[derive(Default, Deserialize)]
struct Times {
    deleted_at: Option<String>,
    terminated_at: Option<String>,
}

#[derive(Default, Deserialize)]
struct Network {
    network_name: Option<String>,
    ipv4s: Option<Vec<String>>,
    ipv6s: Option<Vec<String>>,
    fqdns: Option<Vec<String>>,
    hostnames: Option<Vec<String>>,
    mac_addresses: Option<Vec<String>>,
    netbios_names: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Cloud {
    aws: Option<Instance>,
    azure: Option<Instance>,
    gcp: Option<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    #[serde(alias = "ec2_instance_id", alias = "vm_id")]
    instance_id: Option<String>,
}

#[derive(Deserialize)]
struct Ratings {
    acr: Option<Rating>,
}

#[derive(Deserialize)]
struct Rating {
    #[serde(default)]
    score: Loose,
}

#[derive(Deserialize)]
struct Tag {
    key: Option<String>,
    value: Option<String>,
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

/// A finding's own id; for those of old, which have none, what it stands for.
fn key(id: Option<String>, asset: &OnAsset, plugin: &Loose, port: &Port) -> Option<String> {
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        return Some(id);
    }
    let parts = [asset.uuid.as_deref()?, plugin.text()?, port.port.text().unwrap_or("0"), port.protocol.as_deref().unwrap_or_default()];
    Some(Sha256::digest(parts.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn finding(wire: Vulnerability, container: &str, cx: &Cx) -> Result<Item, String> {
    let Vulnerability { asset, plugin, port, .. } = wire;
    let key = key(wire.finding_id, &asset, &plugin.id, &port).ok_or("neither `finding_id` nor asset and plugin")?;
    let mut tags: Vec<Box<str>> = Vec::new();
    let severity = match (wire.severity_id.whole(), wire.severity.as_deref().map(str::to_ascii_lowercase).as_deref()) {
        (Some(0), _) | (None, Some("info")) => Severity::Info,
        (Some(1), _) | (None, Some("low")) => Severity::Low,
        (Some(2), _) | (None, Some("medium")) => Severity::Medium,
        (Some(3), _) | (None, Some("high")) => Severity::High,
        (Some(4), _) | (None, Some("critical")) => Severity::Critical,
        (id, word) => {
            cx.warn(format!("unknown severity `{}` {id:?}", text::line(word.unwrap_or_default())));
            Severity::Unknown
        }
    };
    let accepted = match wire.severity_modification_type.as_deref().map(str::to_ascii_uppercase).as_deref() {
        None | Some("" | "NONE") => false,
        Some("ACCEPTED") => true,
        Some("RECASTED") => {
            let before = ["info", "low", "medium", "high", "critical"];
            let before = wire.severity_default_id.whole().and_then(|id| before.get(usize::try_from(id).ok()?));
            tags.push(["recast from ", before.unwrap_or(&"another severity")].concat().into());
            false
        }
        Some(other) => {
            cx.warn(format!("unknown change of a severity `{}`", text::line(other)));
            false
        }
    };
    let word = text::line(wire.state.as_deref().unwrap_or("OPEN"));
    let open = if accepted { State::RiskAccepted } else { State::Open };
    let state = match word.to_ascii_uppercase().as_str() {
        "FIXED" => State::Fixed,
        "OPEN" => open,
        "REOPENED" => {
            tags.push("reopened".into());
            open
        }
        _ => {
            cx.warn(format!("unknown state `{word}`"));
            open
        }
    };
    let raw = |vector: &Option<Vector>, version: &str| {
        let raw = vector.as_ref()?.raw.as_deref()?.trim();
        Some(if raw.is_empty() || raw.starts_with("CVSS:") { raw.to_owned() } else { [version, raw].concat() })
    };
    let cvss = Cvss::read("4.0", raw(&plugin.cvss4_vector, "CVSS:4.0/").as_deref(), plugin.cvss4_base_score.number())
        .or_else(|| Cvss::read("3.0", raw(&plugin.cvss3_vector, "CVSS:3.0/").as_deref(), plugin.cvss3_base_score.number()))
        .or_else(|| Cvss::read("2.0", raw(&plugin.cvss_vector, "").as_deref(), plugin.cvss_base_score.number()));
    let (mut cwe, mut identifiers) = (Vec::<Box<str>>::new(), Vec::<Box<str>>::new());
    let mut cve: Vec<Box<str>> = plugin.cve.iter().flatten().map(|cve| text::line(cve)).collect();
    let mut kev = [&plugin.vpr_v2, &plugin.vpr].into_iter().flatten().find_map(|vpr| vpr.on_cisa_kev);
    for (kind, id) in plugin.xrefs.iter().flatten().filter_map(Xref::parts) {
        let id = text::line(id);
        let (list, id) = match kind {
            "CVE" => (&mut cve, if id.starts_with("CVE-") { id } else { ["CVE-", &id].concat().into() }),
            "CWE" => (&mut cwe, ["CWE-", id.trim_start_matches("CWE-")].concat().into()),
            "CISA-KNOWN-EXPLOITED" => {
                kev = Some(true);
                continue;
            }
            _ => (&mut identifiers, [&text::line(kind), ":", &id].concat().into()),
        };
        list.extend(Some(id).filter(|id: &Box<str>| !list.contains(id)));
    }
    identifiers.extend(plugin.bid.iter().flatten().filter_map(|bid| Some(["BID:", bid.text()?].concat().into())));
    let vpr = [&plugin.vpr, &plugin.vpr_v2].into_iter().flatten().find_map(|vpr| vpr.score.number());
    tags.extend([&plugin.family, &wire.source].into_iter().flatten().map(|tag| text::line(tag)));
    tags.extend(vpr.map(|score| format!("VPR {score}").into()));
    let notes = [(plugin.exploit_available, "exploit available"), (plugin.exploited_by_malware, "exploited by malware")];
    tags.extend(notes.into_iter().filter(|(yes, _)| *yes == Some(true)).map(|(_, note)| note.into()));
    tags.extend(
        port.service.as_deref().filter(|service| !service.is_empty()).map(|service| ["service ", &text::line(service)].concat().into()),
    );

    let software = wire.software_vulns.as_deref().and_then(<[_]>::first);
    let identifier = software.and_then(|software| software.identifier.as_deref());
    let named = identifier.or(plugin.cpe.as_deref().and_then(<[_]>::first).map(String::as_str)).and_then(platform);
    let (product, version) = named.unwrap_or_default();
    let fixed = software.and_then(|software| software.fixes.iter().flatten().find_map(|fix| fix.value.as_deref()));
    let fix_available = software.and_then(|software| software.fix_available);
    let reason = wire.recast_reason.map(|reason| ["Reason: ", &reason].concat());
    let id = plugin.id.text().unwrap_or_default();
    let mut references: Vec<Box<str>> = Vec::new();
    let page = (!id.is_empty()).then(|| ["https://www.tenable.com/plugins/nessus/", id].concat());
    for link in plugin.see_also.iter().flatten().chain(&page).flat_map(|text| text::links(text)) {
        references.extend(Some(link).filter(|link| !references.contains(link)));
    }
    Ok(Item::Finding(Box::new(Finding {
        record_sticky: true,
        rule: text::keep(id),
        title: plugin.name.as_deref().map(text::line).filter(|name| !name.is_empty()).unwrap_or_else(|| ["Plugin ", id].concat().into()),
        description: paragraphs([&plugin.synopsis, &plugin.description, &wire.output, &reason]),
        severity,
        vendor_severity: wire.severity.as_deref().or(wire.severity_id.text()).map(text::line),
        state,
        vendor_state: Some(if accepted { [&word, ", ACCEPTED"].concat().into() } else { word }),
        cve,
        cwe,
        identifiers,
        cvss,
        epss_score: plugin.epss_score.number().map(|percent| percent / 100.0),
        exploited: kev,
        fix_available: fix_available.or(plugin.has_patch.filter(|has| *has)).or(plugin.vendor_unpatched.filter(|not| *not).map(|not| !not)),
        component_name: software.and_then(|software| text::keep(software.product.as_deref()?)).or(text::keep(product)),
        component_version: software.and_then(|software| text::keep(software.version.as_deref()?)).or(text::keep(version)),
        component_purl: identifier.and_then(text::purl),
        fixed_version: fixed.and_then(|fixed| text::keep(if fixed.starts_with("pkg:") { package_version(fixed)? } else { fixed })),
        endpoint: endpoint(&asset, &port),
        remediation: paragraphs([&plugin.solution, &plugin.workaround]),
        reference_urls: references,
        tags,
        vendor_first_seen: wire.first_found.as_deref().and_then(text::time),
        vendor_last_seen: wire.last_found.as_deref().and_then(text::time),
        asset_key: asset.uuid.map(Into::into),
        ..Finding::new(
            key,
            wire.scan.and_then(|scan| scan.schedule_uuid).filter(|scan| !scan.is_empty()).unwrap_or_else(|| container.to_owned()),
            Category::Infrastructure,
        )
    })))
}

/// Plain texts one below the other: markup in them is what the plugin met or speaks of, not ours to read.
fn paragraphs<const N: usize>(parts: [&Option<String>; N]) -> Option<Box<str>> {
    let parts = parts.into_iter().flatten().map(|part| part.trim());
    text::keep(&parts.filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("n/a")).collect::<Vec<_>>().join("\n\n"))
}

/// Product and version of a CPE name of either form.
fn platform(cpe: &str) -> Option<(&str, &str)> {
    let mut parts = cpe.strip_prefix("cpe:2.3:").or_else(|| cpe.strip_prefix("cpe:/"))?.split(':').skip(2);
    let product = parts.next()?;
    Some((product, parts.next().filter(|version| !matches!(*version, "*" | "-")).unwrap_or_default()))
}

fn package_version(purl: &str) -> Option<&str> {
    purl.split(['?', '#']).next()?.rsplit_once('@').map(|(_, version)| version)
}

fn endpoint(asset: &OnAsset, port: &Port) -> Option<Box<str>> {
    let host = [&asset.fqdn, &asset.ipv4, &asset.ipv6, &asset.hostname].into_iter().flatten().find_map(|host| text::keep(host))?;
    let Some(number) = port.port.whole().filter(|number| *number > 0) else { return Some(host) };
    let host = if host.contains(':') { ["[", &host, "]"].concat().into() } else { host };
    let protocol = port.protocol.as_deref().unwrap_or_default().to_ascii_lowercase();
    let separator = if protocol.is_empty() { "" } else { "/" };
    Some(text::line(&format!("{host}:{number}{separator}{protocol}")))
}

fn asset(host: Host) -> Item {
    // Order means nothing here, and a list that comes in another order has not changed.
    let list = |list: Option<Vec<String>>| {
        let mut list: Vec<Box<str>> = list.into_iter().flatten().filter_map(|text| text::keep(&text)).collect();
        list.sort_unstable();
        list.dedup();
        list
    };
    let network = host.network;
    let instances = host.cloud.into_iter().flat_map(|cloud| [cloud.aws, cloud.azure, cloud.gcp]).flatten();
    let names = [
        ("fqdn", list(network.fqdns)),
        ("hostname", list(network.hostnames)),
        ("netbios", list(network.netbios_names)),
        ("ipv4", list(network.ipv4s)),
        ("ipv6", list(network.ipv6s)),
        ("mac", list(network.mac_addresses)),
        ("instance_id", list(Some(instances.filter_map(|instance| instance.instance_id).collect()))),
    ];
    let name = names.iter().find_map(|(_, list)| list.first()).cloned().unwrap_or_else(|| host.id.as_str().into());
    let kind = host.types.iter().flatten().find(|kind| *kind == "host").or(host.types.iter().flatten().next());
    let licensed = host.is_licensed.map(|yes| if yes { "yes" } else { "no" }.to_owned());
    let rating = host.ratings.and_then(|ratings| ratings.acr?.score.0);
    let single = [("network", network.network_name), ("licensed", licensed), ("asset_criticality", rating)];
    let many = [("operating_system", list(host.operating_systems)), ("system_type", list(host.system_types))];
    let single = single.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value?)?)));
    let tags = host.tags.into_iter().flatten().map(|tag| [tag.key.unwrap_or_default(), tag.value.unwrap_or_default()].join(":"));
    let ended = |time: &Option<String>| time.as_deref().is_some_and(|time| !time.is_empty());
    Item::Asset(Box::new(Asset {
        kind: kind.map_or("host".into(), |kind| text::line(kind)),
        name: text::line(&name),
        identifiers: names.into_iter().flat_map(|(name, list)| list.into_iter().map(move |value| (name, value))).collect(),
        attributes: many.into_iter().flat_map(|(name, list)| list.into_iter().map(move |value| (name, value))).chain(single).collect(),
        tags: list(Some(tags.collect())),
        gone: host.is_deleted == Some(true) || ended(&host.timestamps.deleted_at) || ended(&host.timestamps.terminated_at),
        key: host.id.into(),
        record: None,
    }))
}
