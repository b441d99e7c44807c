//! Configuration: TOML files read with their positions, so that every problem is told at once with file and line.
//!
//! Two stages: `read` turns files into values and problems; only a [`Config`] without problems exists. Secrets stay
//! references until a connection is opened: they are never in a `Config`, and so in nothing that shows one.

mod problem;
mod read;
mod schedule;
mod secret;
mod settings;

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tributary_connectors::{
    CONNECTORS, DynConnector, Error, ErrorKind, Registration,
    kit::{Endpoint, HttpOptions, Limiters, Location},
    model::Severity,
};

pub use problem::{Errors, Problem};
pub(crate) use read::nearest;
pub use schedule::Schedule;
pub(crate) use schedule::{MAX_JITTER, occurrence};
pub use secret::SecretRef;
pub(crate) use secret::variable;
pub(crate) use settings::{CONNECTION as CONNECTION_SETTINGS, SECTIONS as PROCESS_SETTINGS};

use crate::store::OperationKind;

/// What a run is configured with.
#[derive(Debug)]
pub struct Config {
    /// Settings of the process.
    pub daemon: Daemon,
    /// The connections, by name.
    pub connections: Vec<Arc<Connection>>,
    /// What works but should be mended.
    pub warnings: Vec<String>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
}

/// Settings of the process; the environment (`TRIBUTARY__STORE__URL`) goes before the files.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct Daemon {
    /// A literal secret is an error, not a warning.
    pub strict_secrets: bool,
    /// How the daemon works.
    #[serde(rename = "daemon")]
    pub runs: RunSettings,
    /// Where things are kept.
    pub store: StoreSettings,
    /// The HTTP server of the daemon.
    pub server: ServerSettings,
}

/// The `[daemon]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct RunSettings {
    /// How many operations work at once. One that waits for its vendor's quota does not count.
    pub concurrency: usize,
}

impl Default for RunSettings {
    fn default() -> Self {
        RunSettings { concurrency: 16 }
    }
}

/// The `[store]` table.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct StoreSettings {
    /// `sqlite:///absolute/path` or `sqlite:relative/path`.
    pub url: String,
    /// Keep the vendor's raw items.
    pub keep_raw: bool,
    /// Operations older than this are pruned.
    pub keep_operations: String,
}

/// The `[server]` table.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct ServerSettings {
    /// Loopback address and port, or `off`.
    pub listen: String,
    /// Address and port that only serves `/livez`, `/readyz` and `/metrics`, or `off`.
    pub probe_listen: String,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings { listen: "127.0.0.1:8420".into(), probe_listen: "off".into() }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        StoreSettings { url: "sqlite:///var/lib/tributary/tributary.db".into(), keep_raw: true, keep_operations: "90d".into() }
    }
}

impl StoreSettings {
    /// Operations that ended before this time are pruned.
    pub fn keep_since(&self) -> Timestamp {
        let keep = read::duration(&self.keep_operations).expect("checked when the configuration was read");
        crate::clock::now().checked_sub(keep).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The file that the URL names.
    pub fn path(&self) -> PathBuf {
        let rest = self.url.strip_prefix("sqlite:").unwrap_or(&self.url);
        PathBuf::from(rest.strip_prefix("//").unwrap_or(rest))
    }
}

/// One configured use of a connector.
#[derive(Debug)]
pub struct Connection {
    /// Its identity for ever.
    pub name: String,
    /// Text that is shown beside the name; it changes nothing else.
    pub label: Option<String>,
    /// The connector that the connection uses.
    pub entry: &'static Registration,
    /// Where the tool is.
    pub location: Location,
    /// Whether it runs.
    pub enabled: bool,
    /// When records are discovered.
    pub discover: Schedule,
    /// When findings are synced.
    pub sync: Schedule,
    /// The zone of the cron rules.
    pub timezone: TimeZone,
    /// Map records to products by name.
    pub auto_map: bool,
    /// Least severity of a new finding.
    pub minimum_severity: Severity,
    /// Store findings that were closed when first met.
    pub import_closed: bool,
    /// How often everything is listed.
    pub full_sync_every: Duration,
    /// How long a record is Missing before its findings are closed; `None` for ever.
    pub close_missing_after: Option<Duration>,
    /// The way to the tool.
    pub http: HttpOptions,
    /// When the credential stops being accepted, as its owner noted.
    pub credential_expires: Option<Timestamp>,
    pub(crate) fields: Map<String, Value>,
    pub(crate) secrets: Vec<(String, SecretRef)>,
}

impl Connection {
    /// Resolves the secrets, each anew, and opens the connection. No request is sent. Blocks while a command gives a secret:
    /// [`Connection::opened`] is for tasks.
    ///
    /// # Errors
    /// `ErrorKind::Settings` that names the secret or field at fault.
    pub fn open(&self, limiters: &Arc<Limiters>) -> Result<Arc<dyn DynConnector>, Error> {
        self.open_with(self.resolve()?, limiters)
    }

    /// The secrets as they are now, each read anew, by field. Reads files and runs commands, so it can take seconds.
    ///
    /// # Errors
    /// `ErrorKind::Settings` that names the secret at fault.
    pub(crate) fn resolve(&self) -> Result<Map<String, Value>, Error> {
        let resolve = |(field, reference): &(String, SecretRef)| {
            let told =
                |why: String| Error::new(format!("resolving `{field}`"), ErrorKind::Settings(why.into())).with_hint(reference.cure());
            let secret = reference.resolve().map_err(told)?;
            // Decoding moves the text from here into the connector's own `Secret`, which wipes it.
            Ok((field.clone(), Value::String(secret.expose().to_owned())))
        };
        self.secrets.iter().map(resolve).collect()
    }

    /// Like [`Connection::open`], for tasks: the runtime is not held up. What about the secrets looks like a mistake is told first,
    /// a line each, as it explains what may follow.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn opened(
        self: &Arc<Self>,
        limiters: &Arc<Limiters>,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Result<Arc<dyn DynConnector>, Error> {
        let (connection, limiters) = (Arc::clone(self), Arc::clone(limiters));
        let opened = tokio::task::spawn_blocking(move || {
            let secrets = connection.resolve()?;
            connection.doubts(&secrets).iter().for_each(|doubt| tell(doubt));
            connection.open_with(secrets, &limiters)
        });
        let opened = opened.await;
        opened.unwrap_or_else(|_| Err(Error::new("opening the connection", ErrorKind::Settings("a defect of the connector".into()))))
    }

    /// What about these secrets looks like a mistake of whoever stored them, a line each, which do not show them.
    pub(crate) fn doubts(&self, secrets: &Map<String, Value>) -> Vec<String> {
        let of = |(field, reference): &(String, SecretRef)| {
            let secret = secrets.get(field).and_then(Value::as_str).unwrap_or_default();
            secret::doubts(secret).into_iter().map(|doubt| format!("`{field}` ({reference}) {doubt}")).collect::<Vec<_>>()
        };
        self.secrets.iter().flat_map(of).collect()
    }

    /// Opens the connection with these secrets.
    ///
    /// # Errors
    /// `ErrorKind::Settings` that names the field at fault.
    pub(crate) fn open_with(&self, secrets: Map<String, Value>, limiters: &Arc<Limiters>) -> Result<Arc<dyn DynConnector>, Error> {
        let mut settings = self.fields.clone();
        settings.extend(secrets);
        let link = Endpoint { location: self.location.clone(), options: self.http.clone(), limiters: Arc::clone(limiters) };
        self.entry.open(Value::Object(settings), link).map(Arc::from)
    }

    /// When operations of a kind run.
    pub(crate) fn schedule(&self, kind: OperationKind) -> &Schedule {
        match kind {
            OperationKind::Discover => &self.discover,
            OperationKind::Sync => &self.sync,
        }
    }

    /// When the credential stops being accepted: what the vendor said ([`tributary_connectors::RunStats::credential_expires`])
    /// or what the configuration says, whichever is sooner.
    pub fn expiry(&self, told: Option<Timestamp>) -> Option<Timestamp> {
        [told, self.credential_expires].into_iter().flatten().min()
    }
}

impl Config {
    /// Reads the given files and directories, or the usual places when none are given.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load(paths: &[PathBuf]) -> Result<Config, Errors> {
        read::load(paths)
    }

    /// The effective configuration as TOML; secrets are shown as where they come from.
    pub fn show(&self) -> String {
        let process = toml::to_string(&self.daemon).unwrap_or_default();
        self.connections.iter().fold(process, |text, connection| text + "\n" + &settings::shown(connection))
    }

    /// JSON Schema of a configuration file, for editors.
    pub fn schema() -> Value {
        let fields: Map<String, Value> =
            CONNECTORS.iter().map(|entry| (entry.meta.id.to_owned(), entry.schema().as_value().clone())).collect();
        let mut properties = settings::section_schemas();
        properties.insert("strict_secrets".into(), json!({ "type": "boolean" }));
        properties.insert("defaults".into(), settings::connection_schema(|setting| setting.shared));
        properties.insert("connections".into(), json!({ "type": "object", "additionalProperties": settings::connection_schema(|_| true) }));
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Tributary configuration",
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
            "$defs": fields,
        })
    }
}
