//! Operations from the command line: `run`, `discover`, `sync`.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tributary_connectors::{Error, Kind, kit::Limiters};

use super::{
    exit::{self, Exit, NoConnection, NotFound, Usage},
    output::{Format, Rows},
    progress,
};
use crate::{
    config::{Config, Connection},
    daemon,
    store::{self, Counts, OperationKind, Outcome, Store, Trigger},
    sync::{Engine, Progress, Report},
};

/// How many connections run at once.
const AT_ONCE: usize = 4;

/// What is asked of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Discover, then sync.
    Both,
    /// Discover only.
    Discover,
    /// Sync; with `true` a full one.
    Sync(bool),
}

pub(super) async fn run(config: &[PathBuf], once: bool, names: &[String]) -> anyhow::Result<Exit> {
    if once {
        let Some((config, engine)) = open_to_run(config, names)? else { return Ok(Exit::Ok) };
        match engine.store.prune_operations(config.daemon.store.keep_since()).await {
            // A full disk is met, told and waited out by the operations: it is no reason not to start.
            Err(error) if error.passes() => tracing::warn!(%error, "old operations stay"),
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
    let exit = daemon::run(paths, config, stop).await?;
    Ok(if interrupted.load(Ordering::Relaxed) { Exit::Interrupted } else { exit })
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
        exit::say("dry run: this is what a sync would do; nothing is written");
    }
    let (exit, reports) = all(&config, &engine, names, Work::Sync(full), Trigger::Manual).await?;
    if format != Format::Table {
        summary(&reports).print(format, "operations")?;
    }
    Ok(exit)
}

/// Reads the configuration, warns, opens the store (a new one is told), and listens for the signal to stop.
pub(super) fn open(paths: &[PathBuf]) -> anyhow::Result<(Config, Engine)> {
    open_or_make(Config::load(paths)?)
}

fn open_or_make(config: Config) -> anyhow::Result<(Config, Engine)> {
    let is_new = !store::is_there(&config.daemon.store.path());
    let (config, engine) = with(config)?;
    if is_new {
        exit::say(&format!("made a new database: {}", engine.store.path().display()));
    }
    Ok((config, engine))
}

/// The same for operations: `None` when no connection is to run, which is told. No database is made for nothing.
fn open_to_run(paths: &[PathBuf], names: &[String]) -> anyhow::Result<Option<(Config, Engine)>> {
    let config = Config::load(paths)?;
    if chosen(&config, names)?.is_empty() { Ok(None) } else { open_or_make(config).map(Some) }
}

/// The same for what changes something that is stored already: without a database there is nothing to change.
pub(super) fn open_there(paths: &[PathBuf]) -> anyhow::Result<(Config, Engine)> {
    let config = Config::load(paths)?;
    there(&config)?;
    with(config)
}

/// Refuses to go on where there is no database yet.
pub(super) fn there(config: &Config) -> anyhow::Result<()> {
    let path = config.daemon.store.path();
    if store::is_there(&path) {
        return Ok(());
    }
    let fix = format!("the first sync makes it (`{}`); is `store.url` right?", exit::command("tributary run --once"));
    Err(NotFound::new("database", path.display().to_string()).fix(fix).into())
}

/// What a command looks at.
pub(super) struct Seen {
    pub(super) config: Config,
    pub(super) reader: rusqlite::Connection,
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
            let first = exit::command("tributary run --once");
            exit::say(&format!("Nothing is stored yet: there is no database {}; the first sync makes it: {first}", path.display()));
            Store::open(&folder.path().join("nothing.db"), false)?
        }
    };
    let reader = store.reader()?;
    Ok(Seen { config, reader, store, _nothing: nothing })
}

/// The same with a configuration that is read already.
pub(super) fn with(config: Config) -> anyhow::Result<(Config, Engine)> {
    for warning in &config.warnings {
        exit::say(&format!("warning: {warning}"));
    }
    let store = Store::open(&config.daemon.store.path(), config.daemon.store.keep_raw)?;
    let engine = Engine { store, stop: CancellationToken::new() };
    stop_on_signal(engine.stop.clone());
    Ok((config, engine))
}

/// The first signal stops at a page boundary; the second one ends the process, which is safe too.
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
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        std::process::exit(Exit::Interrupted as i32);
    });
    interrupted
}

/// The enabled connections of these names, or all of them.
pub(super) fn choose<'a>(config: &'a Config, names: &[String]) -> anyhow::Result<Vec<&'a Arc<Connection>>> {
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
    let chosen = choose(config, names)?;
    if config.connections.is_empty() {
        return Err(NoConnection(files()).into());
    }
    if chosen.is_empty() {
        exit::say(&format!(
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
    let mut chosen = choose(config, names)?;
    store::check_connectors(engine.store.path(), chosen.iter().map(|one| (one.name.as_str(), one.entry.meta.id)))?;
    if names.is_empty() {
        let standings = engine.store.standings()?;
        let paused = |name: &str| standings.get(name).is_some_and(|standing| standing.paused.is_some());
        chosen.iter().filter(|one| paused(&one.name)).for_each(|one| exit::say(&format!("{}  is paused; name it to run it", one.name)));
        chosen.retain(|one| !paused(&one.name));
    }
    let limiters = Arc::new(Limiters::default());
    let progresses: Vec<Progress> = chosen.iter().map(|_| Progress::default()).collect();
    let shown = progress::show(chosen.iter().map(|connection| connection.name.clone()).zip(progresses.iter().cloned()).collect());
    let done: Vec<_> = stream::iter(chosen.iter().zip(&progresses))
        .map(|(connection, progress)| {
            let limiters = Arc::clone(&limiters);
            async move { (*connection, one(connection, engine, &limiters, work, trigger, progress).await) }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    drop(shown);
    let (mut exits, mut all) = (Vec::new(), Vec::new());
    for (connection, (reports, error)) in done {
        exits.push(tell_all(&connection.name, &reports, error.as_ref()));
        all.extend(reports);
    }
    Ok((Exit::of_all(&exits), all))
}

/// Runs the work on one connection: the reports of what ran, and the error that kept the rest from running.
///
/// A credential that the vendor refuses is noted, and so is one that works: the former is not sent again before it is time.
pub(crate) async fn one(
    connection: &Arc<Connection>,
    engine: &Engine,
    limiters: &Arc<Limiters>,
    work: Work,
    trigger: Trigger,
    progress: &Progress,
) -> (Vec<Report>, Option<crate::sync::Error>) {
    let (opening, budgets, store) = (Arc::clone(connection), Arc::clone(limiters), engine.store.clone());
    // References to secrets read files and run commands.
    let opened = tokio::task::spawn_blocking(move || open_connection(&opening, &budgets, &store, trigger));
    let defect = || Error::new("opening the connection", Kind::Settings("a defect of the connector".into())).into();
    let (source, mark) = match opened.await.unwrap_or_else(|_| Err((defect(), Unopened::Settings))) {
        Ok(opened) => opened,
        Err((error, why)) => {
            if why != Unopened::Resting {
                let told = (daemon::code_of(&error), error.to_string());
                let kind = if matches!(work, Work::Sync(_)) { OperationKind::Sync } else { OperationKind::Discover };
                let unreadable = why == Unopened::Credential;
                if let Err(error) = engine.store.failed(&connection.name, kind, trigger, told, unreadable).await {
                    return (Vec::new(), Some(error.into()));
                }
            }
            return (Vec::new(), Some(error));
        }
    };
    let mut reports = Vec::new();
    let failed = run_on(&source, connection, engine, work, trigger, progress, &mut reports).await.err();
    let refused = reports.iter().any(daemon::is_refused);
    let noted = match refused {
        true => engine.store.refuse(&connection.name, Some(mark)).await,
        false if reports.iter().any(|report| matches!(report.outcome, Outcome::Success | Outcome::Partial | Outcome::Held)) => {
            engine.store.refuse(&connection.name, None).await
        }
        false => Ok(()),
    };
    (reports, failed.or_else(|| noted.err().map(Into::into)))
}

/// Why a connection was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unopened {
    /// Its credential cannot be read.
    Credential,
    /// Its settings cannot work.
    Settings,
    /// Its credential was refused, and it is not time to send it again.
    Resting,
}

/// Reads the secrets and opens the connection, unless its credential was refused and must not be sent again yet. Gives the mark
/// of the credential.
fn open_connection(
    connection: &Connection,
    limiters: &Arc<Limiters>,
    store: &Store,
    trigger: Trigger,
) -> Result<(Arc<dyn tributary_connectors::Source>, String), (crate::sync::Error, Unopened)> {
    let secrets = connection.resolve().map_err(|error| (error.into(), Unopened::Credential))?;
    if trigger != Trigger::Schedule {
        // The daemon tells them at its start.
        connection.doubts(&secrets).iter().for_each(|doubt| exit::say(&format!("{}  warning: {doubt}", connection.name)));
    }
    let standing = store.standings().map_err(|error| (error.into(), Unopened::Resting))?.remove(&connection.name);
    let refusal = standing.and_then(|standing| standing.refused);
    let mark = daemon::mark(connection, &secrets, refusal.as_ref().map_or("", |refusal| &refusal.mark));
    if let Some(refusal) = refusal.filter(|refusal| refusal.mark == mark)
        && let Some(error) = daemon::must_rest(&refusal, trigger == Trigger::Manual)
    {
        return Err((error.into(), Unopened::Resting));
    }
    let source = connection.open_with(secrets, limiters).map_err(|error| (error.into(), Unopened::Settings))?;
    Ok((source, mark))
}

async fn run_on(
    source: &Arc<dyn tributary_connectors::Source>,
    connection: &Connection,
    engine: &Engine,
    work: Work,
    trigger: Trigger,
    progress: &Progress,
    reports: &mut Vec<Report>,
) -> Result<(), crate::sync::Error> {
    let plan = connection.plan();
    if let Work::Sync(full) = work {
        reports.extend(engine.sync(source, &plan, trigger, full, progress).await?);
        return Ok(());
    }
    let report = engine.discover(source, &plan, trigger, progress).await?;
    let goes_on = !matches!(report.outcome, Outcome::Failed | Outcome::Interrupted);
    reports.push(report);
    if work == Work::Both && goes_on {
        reports.extend(engine.sync(source, &plan, trigger, false, progress).await?);
    }
    Ok(())
}

/// Tells how the operations of one connection ended, and gives the exit code that they mean together.
pub(crate) fn tell_all(connection: &str, reports: &[Report], error: Option<&crate::sync::Error>) -> Exit {
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
    exit::say(&format!("{name}  {:8}  {:11}  {}", report.kind.as_str(), report.outcome.as_str(), report.counts));
    for (reason, count) in &report.filtered {
        tracing::info!(connection = name, count, reason, "filtered");
    }
    for (scope, reason) in report.incomplete.iter().take(5) {
        exit::say(&format!("{name}  {scope}: not complete, nothing of it was closed: {reason}"));
    }
    for warning in &report.warnings {
        exit::say(&format!("{name}  warning: {warning}"));
    }
    for (scope, error) in report.errors.iter().take(3) {
        let doing = if scope.is_empty() { report.kind.as_str().to_owned() } else { format!("{} of {scope}", report.kind.as_str()) };
        tell_error(name, &doing, error);
    }
    if report.errors.len() > 3 {
        let more = exit::command(&format!("tributary operations show {}", report.operation));
        exit::say(&format!("{name}  and {} more: {more}", report.errors.len() - 3));
    }
}

fn tell_error(connection: &str, doing: &str, error: &crate::sync::Error) {
    match error {
        crate::sync::Error::Vendor(error) => {
            exit::say_vendor(connection, doing, error, Some(&format!("tributary check {connection}")));
        }
        crate::sync::Error::Store(error) => {
            exit::say(&format!("error[{}]: connection \"{connection}\": {error}", exit::code_of_store(error)));
        }
        error => exit::say(&format!("error[E0302]: connection \"{connection}\": {error}")),
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

impl Work {
    /// The work of a scheduled operation.
    pub(crate) fn of(kind: OperationKind) -> Work {
        match kind {
            OperationKind::Discover => Work::Discover,
            OperationKind::Sync => Work::Sync(false),
        }
    }
}
