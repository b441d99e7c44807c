//! Tenable Vulnerability Management (tenable.io), export API <https://developer.tenable.com/docs/exports-tenable-io>.
//!
//! Two API keys of one user (`X-ApiKeys`), role Basic [16] with Can View on the assets. Findings and assets come as export
//! jobs: asked for, prepared, then fetched chunk by chunk in any order; a job and its chunks are kept for a day, so a walk
//! goes on with its job after a restart, and the same question asked twice is answered 409 with the job under way. A job
//! with failed or cancelled chunks proves nothing; one with chunks that cannot be read is asked for once more, after the others
//! are stored. Without a time filter only the last 30 days are exported, and without
//! states only the open ones: both are always sent. `since` goes by the end of a scan, which is indexed hours or days later:
//! hence the overlap, and a second export of what was indexed since (the documentation is too vague about that filter to rest
//! on it alone). Accepting and recasting move no date: a third export lists all such findings. A record is a scan; what no
//! scan met (a sensor did) belongs to one more. Rates are limited by 429 only.

mod asset;
mod export;
mod finding;
mod keys;
mod wire;

use std::time::Duration;

use self::{
    asset::{Host, KnownHost, asset},
    export::{ASSETS, FINDINGS, Part},
    finding::{Known, Vulnerability, finding},
    wire::{KnownScan, Recent, Scan, Scans, Session},
};
use crate::{
    Sign,
    kit::{RangeSet, Request},
    model::ItemKind,
    prelude::*,
};

/// Tenable asks integrations to name themselves in this form.
const AGENT: &str = concat!("Integration/1.0 (Tributary; Tributary; Build: ", env!("CARGO_PKG_VERSION"), ")");
/// A time before everything, in the ten digits that filters want (2001-09-09).
const EVER: i64 = 1_000_000_000;
const SIGNING: &str = "enable the user, and give it at least the role Basic [16]";
const EXPORTING: &str = "give the user the role Basic [16], or a custom role with VM.VM_EXPLORE.VM_EXPLORE.EXPORT, and Can View on \
                         All Assets; a FedRAMP tenant wants Administrator [64]";
const SCANNING: &str = "give the user at least the role Basic [16], and Can View on each scan";

/// The connector for one connection: its client, and what its settings say.
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
    ready: RangeSet,
    /// Chunks that are settled: stored, or set aside.
    done: RangeSet,
    /// Those of them that were set aside, as they could not be read.
    aside: RangeSet,
    /// Why the first of these could not.
    why: Option<String>,
    /// Whether what was set aside has been asked for once more, after all others.
    again: bool,
    /// Whether it was finished when last asked: chunks may come with the last step, so it is asked once more.
    finished: bool,
    /// Questions without news.
    asked: u32,
    /// Which question the job answers.
    part: Part,
}

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
        cures: &[
            (
                Sign::Unauthorized,
                "the pair of keys is not accepted: whoever generates new API keys for a user ends the old ones; access and secret key may \
                 be swapped",
            ),
            (Sign::NotFound, "`location` does not lead to Tenable: it is https://cloud.tenable.com unless your tenant is elsewhere"),
        ],
        timeout: Duration::from_secs(300),
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Endpoint) -> Result<Self> {
        link.location = link.location.without_endings(&["/app.html", "/tio", "/session", "/scans"]);
        let (access, secret) = match (settings.access_key, settings.secret_key, settings.secret) {
            (Some(access), Some(secret), None) => Some((access, secret)),
            (None, None, Some(both)) => keys::split(both.expose()),
            _ => None,
        }
        .ok_or_else(|| Error::settings("give either `access_key` and `secret_key`, or both in `secret` as `access;secret`"))?;
        let header = Secret::new(&["accessKey=", access.expose().trim(), ";secretKey=", secret.expose().trim()].concat());
        let http = link.http(&Self::META, Auth::Header("x-apikeys", header, vec![access, secret]))?;
        Ok(Tenable { http, unlicensed: settings.include_unlicensed })
    }

    async fn scopes(&self, _: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(match job {
            Job::Discover => vec![Scope::account("scans")],
            Job::Sync(_) => vec![Scope::account("findings"), Scope::account("assets").holding(ItemKind::Asset)],
        })
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        let findings = match ask.scope.list {
            "scans" => return self.scans(cx).await,
            list => list == "findings",
        };
        let export = if findings { FINDINGS } else { ASSETS };
        // What a delta asks for and what it ends as are decided by the same: a question for everything covers everything.
        let since = ask.since.filter(|_| !ask.full).map_or(EVER, |since| since.as_second().max(EVER));
        let Some(job) = ask.cursor.job.clone() else {
            return Ok(Page::empty(Next::More(self.begin(cx, findings, since, ask.cursor.part).await?)));
        };
        let mut cursor = ask.cursor;
        let Some(chunk) = cursor.ready.first_not_in(&cursor.done) else {
            return Ok(Page::empty(self.poll_export(cx, &export, &job, cursor, since).await?));
        };
        // An empty chunk may come as `null`.
        let answer = self.get(export.chunk, &[&job, &chunk.to_string()]).needs(EXPORTING).send::<Option<Vec<Box<RawValue>>>>(cx).await;
        let rows = match answer {
            Ok(answer) => answer.body.unwrap_or_default(),
            Err(error) => return Ok(Page::empty(self.set_aside(cx, &export, &job, cursor, chunk, error).await?)),
        };
        let read = if findings {
            items(rows, &[], |wire: Vulnerability| finding(wire, &cursor.container, cx), |known: Known| known.key())
        } else {
            items(rows, &[], |wire: Host| Ok(asset(wire)), |known: KnownHost| known.id)
        };
        cursor.done.insert(chunk);
        Ok(Page::new(read, None, Next::More(Cursor { asked: 0, ..cursor })))
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let mut checked = CheckReport::default();
        let session = self.session(cx).await?;
        let who = session.username.or(session.email).unwrap_or_else(|| "a user".to_owned());
        let role = session.permissions.text().unwrap_or("unknown").to_owned();
        checked.facts.push(format!("{} with permissions [{}]", text::single_line(&who), text::single_line(&role)));
        if session.enabled == Some(false) {
            checked.warnings.push(format!("the user {} is disabled", text::single_line(&who)));
        }
        self.get("/vulns/export/status", &[]).needs(EXPORTING).send::<Recent>(cx).await?;
        let scans = self.get("/scans", &[]).needs(SCANNING).send::<Scans>(cx).await?;
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

impl Tenable {
    fn get(&self, route: &'static str, arguments: &[&str]) -> Request<'_> {
        self.http.get(route, arguments).header("user-agent", AGENT)
    }

    async fn session(&self, cx: &Context) -> Result<Session> {
        Ok(self.get("/session", &[]).needs(SIGNING).send(cx).await?.body)
    }

    async fn scans(&self, cx: &Context) -> Result<Page<Cursor>> {
        let account = self.session(cx).await?.container_uuid;
        let scans = self.get("/scans", &[]).needs(SCANNING).send::<Scans>(cx).await?.body.scans;
        let mut read = items(scans.unwrap_or_default(), &[], scan, |known: KnownScan| known.schedule_uuid);
        let rest = Record { key: account.into(), name: "All assets".into(), kind: "container".into(), ..Record::default() };
        read.items.push(Item::Record(rest));
        Ok(Page::new(read, None, Next::FULL))
    }
}

fn scan(scan: Scan) -> Result<Item, String> {
    let Some(key) = scan.schedule_uuid.filter(|key| !key.is_empty()) else {
        return Ok(Item::Skipped { key: scan.id.text().unwrap_or_default().into(), reason: "scan without a schedule" });
    };
    let name = scan.name.text().map(text::single_line).filter(|name| !name.is_empty()).unwrap_or_else(|| key.as_str().into());
    let attributes = attributes([("scan_id", scan.id.0), ("type", scan.kind.0), ("owner", scan.owner.0)]);
    Ok(Item::Record(Record { key: key.into(), name, kind: "scan".into(), url: None, attributes }))
}
