//! Operations from the command line: `run`, `discover`, `sync`.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tributary_connectors::kit::Limiters;

use super::{
    error::{NoConnection, NotFound, Usage},
    exit::Exit,
    message,
    output::{Format, Rows},
    progress,
};
use crate::{
    config::{Config, Connection},
    daemon,
    operation::{self, Request, Work},
    store::{self, Counts, Reader, Store, Trigger},
    sync::{self, Engine, Progress, Report},
};

/// How many connections run at once.
const MAX_CONCURRENT_CONNECTIONS: usize = 4;

pub(super) async fn run(config: &[PathBuf], once: bool, names: &[String]) -> anyhow::Result<Exit> {
    if once {
        let Some((config, engine)) = open_to_run(config, names)? else { return Ok(Exit::Ok) };
        match engine.store.prune_operations(config.daemon.store.keep_since()).await {
            // A full disk is met, told and waited out by the operations: it is no reason not to start.
            Err(error) if error.is_transient() => tracing::warn!(%error, "old operations stay"),
            pruned => pruned?,
        }
        let (exit, _) = all(&config, &engine, names, Work::Both, Trigger::Once).await?;
        return Ok(exit);
    }
    if !names.is_empty() {
        return Err(Usage("--connection goes with --once; the daemon runs what the configuration enables".into()).into());
    }
    let stop = CancellationToken::new();
    let interrupted = stop_on_signal(stop.clone());
    let paths = config.to_vec();
    let config = Config::load(&paths)?;
    for warning in &config.warnings {
        tracing::warn!(warning, "configuration");
    }
    daemon::run(paths, config, stop).await?;
    Ok(if interrupted.load(Ordering::Relaxed) { Exit::Interrupted } else { Exit::Ok })
}

pub(super) async fn discover(config: &[PathBuf], names: &[String], format: Format) -> anyhow::Result<Exit> {
    let Some((config, engine)) = open_to_run(config, names)? else { return Ok(Exit::Ok) };
    let (exit, reports) = all(&config, &engine, names, Work::Discover, Trigger::Manual).await?;
    if format != Format::Table {
        summary(&reports).print(format, "operations")?;
    }
    Ok(exit)
}

pub(super) async fn sync(config: &[PathBuf], names: &[String], full: bool, dry: bool, format: Format) -> anyhow::Result<Exit> {
    let Some((config, mut engine)) = open_to_run(config, names)? else { return Ok(Exit::Ok) };
    // A dry run is a real one, on a copy: it says exactly what would be, and holds nothing up meanwhile.
    let beside = engine.store.path().parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let folder = if dry { Some(tempfile::Builder::new().prefix(".tributary-dry-run-").tempdir_in(beside)?) } else { None };
    if let Some(folder) = &folder {
        engine.store = engine.store.dry_run_copy(folder.path())?;
        message::eprint_line("dry run: this is what a sync would do; nothing is written");
    }
    let (exit, reports) = all(&config, &engine, names, if full { Work::FullSync } else { Work::Sync }, Trigger::Manual).await?;
    if format != Format::Table {
        summary(&reports).print(format, "operations")?;
    }
    Ok(exit)
}

/// Opens the store and the engine for operations. `None` when no connection is to run, which is told: no database is made for
/// nothing.
fn open_to_run(paths: &[PathBuf], names: &[String]) -> anyhow::Result<Option<(Config, Engine)>> {
    let config = Config::load(paths)?;
    if chosen(&config, names)?.is_empty() {
        return Ok(None);
    }
    let engine = engine(open_or_make(&config)?);
    Ok(Some((config, engine)))
}

/// Reads the configuration and opens the store; a new one is told.
pub(super) fn open_store(paths: &[PathBuf]) -> anyhow::Result<(Config, Store)> {
    let config = Config::load(paths)?;
    let store = open_or_make(&config)?;
    Ok((config, store))
}

/// Reads the configuration and opens the store for what changes something that is stored already: without a database there is
/// nothing to change.
pub(super) fn open_existing_store(paths: &[PathBuf]) -> anyhow::Result<(Config, Store)> {
    let config = Config::load(paths)?;
    there(&config)?;
    let store = warn_and_open(&config)?;
    Ok((config, store))
}

fn open_or_make(config: &Config) -> anyhow::Result<Store> {
    let is_new = !store::is_there(&config.daemon.store.path());
    let store = warn_and_open(config)?;
    if is_new {
        message::eprint_line(&format!("made a new database: {}", store.path().display()));
    }
    Ok(store)
}

/// Refuses to go on where there is no database yet.
pub(super) fn there(config: &Config) -> anyhow::Result<()> {
    let path = config.daemon.store.path();
    if store::is_there(&path) {
        return Ok(());
    }
    let fix = format!("the first sync makes it (`{}`); is `store.url` right?", message::command("tributary run --once"));
    Err(NotFound::new("database", path.display().to_string()).fix(fix).into())
}

/// What a command looks at.
pub(super) struct Seen {
    pub(super) config: Config,
    pub(super) reader: Reader,
    /// Closed after its reader: whoever is last clears the log away, and only a writer can.
    pub(super) store: Store,
    /// Where an empty one is, when there is none.
    _nothing: Option<tempfile::TempDir>,
}

/// Opens what is stored to look at it. Where nothing is stored yet, that is told, and nothing is made.
pub(super) fn look(paths: &[PathBuf]) -> anyhow::Result<Seen> {
    let config = Config::load(paths)?;
    let path = config.daemon.store.path();
    let nothing = if store::is_there(&path) { None } else { Some(tempfile::tempdir()?) };
    let store = match &nothing {
        None => Store::open(&path, config.daemon.store.keep_raw)?,
        Some(folder) => {
            let first = message::command("tributary run --once");
            message::eprint_line(&format!(
                "Nothing is stored yet: there is no database {}; the first sync makes it: {first}",
                path.display()
            ));
            Store::open(&folder.path().join("nothing.db"), false)?
        }
    };
    let reader = store.reader()?;
    Ok(Seen { config, reader, store, _nothing: nothing })
}

/// Tells what is odd about the configuration and opens its store.
pub(super) fn warn_and_open(config: &Config) -> anyhow::Result<Store> {
    for warning in &config.warnings {
        message::eprint_line(&format!("warning: {warning}"));
    }
    Ok(Store::open(&config.daemon.store.path(), config.daemon.store.keep_raw)?)
}

/// The engine of this process, which the signal to stop stops.
pub(super) fn engine(store: Store) -> Engine {
    let engine = Engine { store, stop: CancellationToken::new() };
    stop_on_signal(engine.stop.clone());
    engine
}

/// How long a process goes on after the signal to stop: where the database is locked no page boundary comes. That is more than a
/// daemon takes to stop by itself, and less than systemd waits.
const GRACE: Duration = Duration::from_secs(20);

/// The first signal stops at a page boundary; the second one, or the end of [`GRACE`], ends the process, which is safe too.
///
/// What is returned becomes true when the first one was an interrupt from the keyboard.
fn stop_on_signal(stop: CancellationToken) -> Arc<AtomicBool> {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = Arc::new(AtomicBool::new(false));
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return interrupted;
    };
    let by_keyboard = Arc::clone(&interrupted);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => by_keyboard.store(true, Ordering::Relaxed),
            _ = terminate.recv() => {}
        }
        stop.cancel();
        // A thread of its own: the tasks end before the database is closed, which may take its time, too.
        std::thread::spawn(|| {
            std::thread::sleep(GRACE);
            // Who reads what is said may have stopped, too: that is not waited for.
            std::thread::spawn(|| {
                message::eprint_line(
                    "the database takes nothing: this process ends here, and the next run goes on from the last stored page",
                );
            });
            std::thread::sleep(Duration::from_millis(200));
            std::process::exit(Exit::Interrupted as i32);
        });
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        std::process::exit(Exit::Interrupted as i32);
    });
    interrupted
}

/// The enabled connections of these names, or all of them.
pub(super) fn select<'a>(config: &'a Config, names: &[String]) -> anyhow::Result<Vec<&'a Arc<Connection>>> {
    for name in names {
        if !config.connections.iter().any(|connection| connection.name == *name) {
            let known: Vec<String> = config.connections.iter().map(|connection| connection.name.clone()).collect();
            return Err(NotFound::new("connection", name).among(&known, "tributary connections list").into());
        }
    }
    let wanted = |connection: &&Arc<Connection>| if names.is_empty() { connection.enabled } else { names.contains(&connection.name) };
    Ok(config.connections.iter().filter(wanted).collect())
}

/// The same for what is to run: that there is none is an error, that none is enabled is told.
pub(super) fn chosen<'a>(config: &'a Config, names: &[String]) -> anyhow::Result<Vec<&'a Arc<Connection>>> {
    let files = || config.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    let chosen = select(config, names)?;
    if config.connections.is_empty() {
        return Err(NoConnection(files()).into());
    }
    if chosen.is_empty() {
        message::eprint_line(&format!(
            "Nothing to do: each of the {} connections in {} has `enabled = false`; one that is named runs all the same",
            config.connections.len(),
            files()
        ));
    }
    Ok(chosen)
}

/// Runs the work on the connections, a few at once, and tells how each ended.
pub(super) async fn all(
    config: &Config,
    engine: &Engine,
    names: &[String],
    work: Work,
    trigger: Trigger,
) -> anyhow::Result<(Exit, Vec<Report>)> {
    let mut chosen = select(config, names)?;
    store::check_connectors(engine.store.path(), chosen.iter().map(|one| (one.name.as_str(), one.entry.meta.id)))?;
    if names.is_empty() {
        let standings = engine.store.standings()?;
        let paused = |name: &str| standings.get(name).is_some_and(|standing| standing.paused.is_some());
        chosen
            .iter()
            .filter(|one| paused(&one.name))
            .for_each(|one| message::eprint_line(&format!("{}  is paused; name it to run it", one.name)));
        chosen.retain(|one| !paused(&one.name));
    }
    let warn: fn(&str, &str) = |name, doubt| message::eprint_line(&format!("{name}  warning: {doubt}"));
    let limiters = Arc::new(Limiters::default());
    let progresses: Vec<Progress> = chosen.iter().map(|_| Progress::default()).collect();
    let shown = progress::show(chosen.iter().map(|connection| connection.name.clone()).zip(progresses.iter().cloned()).collect());
    let done: Vec<_> = stream::iter(chosen.iter().zip(&progresses))
        .map(|(connection, progress)| {
            let limiters = Arc::clone(&limiters);
            async move {
                (*connection, operation::run(Request { connection, engine, limiters: &limiters, work, trigger, progress, warn }).await)
            }
        })
        .buffered(MAX_CONCURRENT_CONNECTIONS)
        .collect()
        .await;
    drop(shown);
    let (mut exits, mut all) = (Vec::new(), Vec::new());
    for (connection, (reports, error)) in done {
        exits.push(tell_all(&connection.name, &reports, error.as_ref()));
        all.extend(reports);
    }
    Ok((Exit::combine(&exits), all))
}

/// Tells how the operations of one connection ended, and gives the exit code that they mean together.
fn tell_all(connection: &str, reports: &[Report], error: Option<&sync::Error>) -> Exit {
    reports.iter().for_each(tell);
    if let Some(error) = error {
        tell_error(connection, "before the first request", error);
        return Exit::of_sync(error);
    }
    reports.iter().map(Exit::of_report).find(|exit| *exit != Exit::Ok).unwrap_or(Exit::Ok)
}

/// One operation's end, on stderr.
fn tell(report: &Report) {
    let name = &report.connection;
    message::eprint_line(&format!("{name}  {:8}  {:11}  {}", report.kind.as_str(), report.outcome.as_str(), report.counts));
    for (kind, counted) in report.things.each() {
        message::eprint_line(&format!("{name}  {}: {counted}", kind.plural().replace('_', " ")));
    }
    for (reason, count) in &report.filtered {
        tracing::info!(connection = name, count, reason, "filtered");
    }
    for (scope, reason) in report.incomplete.iter().take(5) {
        message::eprint_line(&format!("{name}  {scope}: not complete, nothing of it was closed: {reason}"));
    }
    for warning in &report.warnings {
        message::eprint_line(&format!("{name}  warning: {warning}"));
    }
    for (scope, error) in report.errors.iter().take(3) {
        let doing = if scope.is_empty() { report.kind.as_str().to_owned() } else { format!("{} of {scope}", report.kind.as_str()) };
        tell_error(name, &doing, error);
    }
    if report.errors.len() > 3 {
        let more = message::command(&format!("tributary operations show {}", report.operation));
        message::eprint_line(&format!("{name}  and {} more: {more}", report.errors.len() - 3));
    }
}

fn tell_error(connection: &str, doing: &str, error: &sync::Error) {
    match error {
        sync::Error::Vendor(error) => {
            message::vendor_error(connection, doing, error, Some(&format!("tributary check {connection}")));
        }
        error => message::eprint_line(&format!("error[{}]: connection \"{connection}\": {error}", error.code())),
    }
}

/// Operations as rows.
pub(super) fn summary(reports: &[Report]) -> Rows {
    let number = |count: u64| json!(count);
    Rows {
        columns: ["connection", "kind", "outcome"].iter().chain(Counts::NAMES).chain(&["vendor_total", "operation"]).copied().collect(),
        rows: reports
            .iter()
            .map(|report| {
                let mut row: Vec<Value> =
                    vec![report.connection.clone().into(), report.kind.as_str().into(), report.outcome.as_str().into()];
                row.extend(report.counts.each().map(|(_, count)| number(count)));
                row.push(report.vendor_total.map_or(Value::Null, number));
                row.push(report.operation.to_string().into());
                row
            })
            .collect(),
    }
}
