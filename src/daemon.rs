//! The daemon: runs what is due, takes a new configuration without a restart, and stops at a page boundary.
//!
//! `tokio-cron-scheduler` only ticks: its callback says "look at the due times". It counts by the time of day, so a monotonic
//! interval ticks in its place where that was set back. The due times are rows in the store, kept by [`timetable`]; what one
//! connection does, a panic included, is a task of its own and holds up no other.

mod credentials;
mod lock;
mod reload;
mod timetable;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    task::{Id, JoinSet},
};
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;
use tributary_connectors::kit::Limiters;

use crate::{
    config::{Config, Connection},
    error_code,
    http::{self, AppState},
    log, metrics, notify,
    operation::{self, Request, Work, credential},
    status,
    store::{self, OperationKind, Outcome, Refusal, Reload, Store, Trigger},
    sync::{self, Engine, Progress, Report},
};

pub use lock::{Holder, Lock, Taken, holder};
use timetable::{Block, RunningOperation, Timetable};

/// How long running operations get to reach a page boundary after the signal to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(15);
/// How often the daemon shows that it can write.
const WRITE_PROBE_EVERY: Duration = Duration::from_secs(5);
/// After this long without a tick of the scheduler the due times are looked at all the same.
const TICK: Duration = Duration::from_secs(3);
/// An operation that failed in a way that passes by itself is tried again after this long, then after twice as long, and so on,
/// up to the longest; sooner where its schedule says so.
const AGAIN: Duration = Duration::from_secs(60);
const AGAIN_AT_MOST: Duration = Duration::from_secs(1800);
/// How often operations that are older than `keep_operations` are pruned, and credentials that end soon are told about.
const HOUSEKEEPING: Duration = Duration::from_secs(24 * 3600);

/// What ran, when its task ends.
struct Ended {
    reports: Vec<Report>,
    error: Option<sync::Error>,
}

/// An operation under way.
struct Run {
    task: Id,
    connection: Arc<Connection>,
    kind: OperationKind,
    progress: Progress,
    stop: CancellationToken,
}

struct Daemon {
    state: Arc<AppState>,
    stop: CancellationToken,
    paths: Vec<PathBuf>,
    connections: BTreeMap<String, Arc<Connection>>,
    limiters: Arc<Limiters>,
    timetable: Timetable,
    running: BTreeMap<String, Run>,
    /// How many operations failed running in a way that passes by itself.
    failed: BTreeMap<(String, OperationKind), u32>,
    tasks: JoinSet<Ended>,
}

/// Runs until `stop`, then waits for the running operations to end at a page boundary.
///
/// # Errors
/// When another daemon runs on the same database ([`Taken`]), the store cannot be opened, an address is taken, or the ticker
/// cannot be started.
// long: the start and the end of all that lives as long as the daemon, in order
pub async fn run(paths: Vec<PathBuf>, config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let began = crate::clock::now();
    let settings = config.daemon.clone();
    let path = settings.store.path();
    // A signal that comes while the database is opened, or waits for another process, ends the daemon at once: that is safe.
    let opened = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let lock = Lock::take(&path)?;
        let store = Store::open(&path, settings.store.keep_raw)?;
        same_connectors(&path, &config)?;
        Ok((lock, store, config))
    });
    let (mut lock, store, config) = tokio::select! {
        opened = opened => opened??,
        () = stop.cancelled() => return Ok(()),
    };
    let listen = http::bind("listen", &config.daemon.server.listen).await?;
    let probes = http::bind("probe_listen", &config.daemon.server.probe_listen).await?;
    let address = listen.as_ref().and_then(|listener| listener.local_addr().ok()).map(|address| address.to_string());
    let probe_address = probes.as_ref().and_then(|listener| listener.local_addr().ok()).map(|address| address.to_string());
    lock.write_holder(&Holder { pid: std::process::id(), listen: address.clone() })?;

    let state = Arc::new(AppState::new(store.clone(), config, began, metrics::install()?));
    let mut daemon = Daemon {
        stop: stop.clone(),
        paths,
        connections: BTreeMap::new(),
        limiters: Arc::new(Limiters::default()),
        timetable: Timetable::default(),
        running: BTreeMap::new(),
        failed: BTreeMap::new(),
        tasks: JoinSet::new(),
        state: Arc::clone(&state),
    };
    let abandoned = store.end_abandoned().await?;
    daemon.plan().await?;
    for (connection, kind) in abandoned {
        tracing::info!(connection, kind = kind.as_str(), "its process ended before it did: it goes on where it stopped");
        daemon.due_now(&connection, Some(kind)).await;
    }
    let helpers = CancellationToken::new();
    http::serve(&state, listen, probes, &helpers);
    state.keep_alive(WRITE_PROBE_EVERY, &helpers);
    state.keep_counting(&helpers);
    tracing::info!(
        pid = std::process::id(),
        connections = daemon.connections.len(),
        listen = address.as_deref().unwrap_or("off"),
        probe_listen = probe_address.as_deref().unwrap_or("off"),
        "started"
    );
    // Heard from the moment on at which somebody may send it: nobody listening, it would end the process.
    let hangup = signal(SignalKind::hangup())?;
    notify::ready();
    credentials::warn_of_doubts(daemon.connections.values().cloned().collect());
    daemon.work(hangup).await?;
    notify::stopping();
    tracing::info!(running = daemon.running.len(), "stopping");
    daemon.drain().await;
    helpers.cancel();
    tracing::info!("stopped");
    drop(lock);
    Ok(())
}

impl Daemon {
    async fn work(&mut self, mut hangup: Signal) -> anyhow::Result<()> {
        let tick = Arc::new(Notify::new());
        let mut scheduler = JobScheduler::new().await?;
        let told = Arc::clone(&tick);
        scheduler.add(Job::new_repeated(Duration::from_secs(1), move |_, _| told.notify_one())?).await?;
        scheduler.start().await?;
        let mut watchdog = notify::Watchdog::of_manager();
        let mut late = tokio::time::interval(TICK);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        // Said once a minute at most.
        let mut told_status = (Instant::now(), String::new());
        loop {
            self.state.record_tick();
            tokio::select! {
                () = async { tokio::select! { () = tick.notified() => {} _ = late.tick() => {} } } => {
                    late.reset();
                    if let Some(lines) = log::lost() {
                        tracing::warn!(lines, "lines of the log are lost: nobody read it fast enough");
                    }
                    watchdog.turn(&self.state.store).await;
                    self.start_due().await;
                    if told_status.1.is_empty() || told_status.0.elapsed() >= Duration::from_secs(30) {
                        told_status.0 = Instant::now();
                        self.report_status(&mut told_status.1).await;
                    }
                }
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended).await,
                Some(()) = hangup.recv() => self.reload().await,
                _ = housekeeping.tick() => self.housekeeping().await,
                () = self.stop.cancelled() => break,
            }
        }
        scheduler.shutdown().await?;
        Ok(())
    }

    /// Reads the due times, and takes over the connections of the configuration.
    async fn plan(&mut self) -> anyhow::Result<()> {
        let config = self.state.config();
        self.connections = config
            .connections
            .iter()
            .filter(|connection| connection.enabled)
            .map(|connection| (connection.name.clone(), Arc::clone(connection)))
            .collect();
        let stored = if self.timetable.rows().is_empty() { self.state.store.due_rows()? } else { self.timetable.rows() };
        let store = self.state.store.clone();
        let last = |name: &str, kind| store.last_operation(name, kind).ok().flatten();
        self.timetable = Timetable::new(
            self.connections.values().map(AsRef::as_ref),
            &stored,
            last,
            self.state.began,
            crate::clock::now(),
            config.daemon.runs.concurrency,
        );
        self.save(self.timetable.rows()).await;
        Ok(())
    }

    /// Starts what is due.
    async fn start_due(&mut self) {
        let now = crate::clock::now();
        let moved = self.timetable.notice(now);
        if !moved.is_empty() {
            tracing::warn!("the clock was set back: due times follow it");
            self.save(moved).await;
        }
        if !self.timetable.has_due(now) || self.state.store_error().is_some_and(|error| error.replaced) {
            return;
        }
        let standings = match self.state.store.standings() {
            Ok(standings) => standings,
            Err(error) => return tracing::error!(%error, "the database cannot be read"),
        };
        let blocked = standings
            .iter()
            .filter_map(|(name, standing)| match standing {
                _ if standing.paused.is_some() => Some((name.clone(), Block::Paused)),
                _ if standing.refused.as_ref().is_some_and(|refusal| credential::must_rest(refusal, Trigger::Schedule).is_some()) => {
                    Some((name.clone(), Block::Refused))
                }
                _ => None,
            })
            .collect();
        let running = self
            .running
            .iter()
            .map(|(name, run)| {
                let waits = run.progress.look().waiting_until.is_some();
                (name.clone(), RunningOperation { kind: run.kind, host: run.connection.location.authority(), waits })
            })
            .collect();
        let tick = self.timetable.tick(now, &running, &blocked);
        self.save(tick.rescheduled).await;
        for (connection, kind) in tick.skips {
            tracing::warn!(connection, kind = kind.as_str(), "skipped: the one before still runs");
            let reason = format!("the {} before still ran", kind.as_str());
            if let Err(error) = self.state.store.skip(&connection, kind, Trigger::Schedule, reason).await {
                tracing::error!(%error, "the database cannot be written");
            }
        }
        for name in tick.refused {
            if let Some(refusal) = standings.get(&name).and_then(|standing| standing.refused.as_ref()) {
                self.try_other_credential(&name, refusal).await;
            }
        }
        for (name, kind, trigger) in tick.starts {
            self.start(&name, kind, trigger);
        }
    }

    fn start(&mut self, name: &str, kind: OperationKind, trigger: Trigger) {
        let Some(connection) = self.connections.get(name).cloned() else { return };
        let (progress, stop) = (Progress::default(), self.stop.child_token());
        let engine = Engine { store: self.state.store.clone(), stop: stop.clone() };
        let (limiters, shown, runs) = (Arc::clone(&self.limiters), progress.clone(), Arc::clone(&connection));
        tracing::debug!(connection = name, kind = kind.as_str(), trigger = trigger.as_str(), "due");
        let task = self.tasks.spawn(async move {
            // What looks wrong about secrets was told when the daemon started or reloaded.
            let warn: fn(&str, &str) = |_, _| ();
            let work = Work::of(kind);
            let request = Request { connection: &runs, engine: &engine, limiters: &limiters, work, trigger, progress: &shown, warn };
            let (reports, error) = operation::run(request).await;
            Ended { reports, error }
        });
        self.running.insert(name.to_owned(), Run { task: task.id(), connection, kind, progress, stop });
    }

    async fn ended(&mut self, ended: Result<(Id, Ended), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(name) = self.running.iter().find(|(_, run)| run.task == id).map(|(name, _)| name.clone()) else { return };
        let Some(run) = self.running.remove(&name) else { return };
        match ended {
            Ok((_, Ended { reports, error })) => {
                for report in &reports {
                    metrics::ended(run.connection.entry.meta.id, report);
                    log_end(report);
                }
                self.follow_up(&name, &run, &reports, error.as_ref()).await;
                if reports
                    .iter()
                    .any(|report| report.counts.created + report.counts.updated + report.counts.reopened + report.counts.closed > 0)
                {
                    self.state.refresh_counts();
                }
            }
            // What a panic says may hold anything: it is not repeated.
            Err(_) => {
                tracing::error!(
                    connection = name,
                    kind = run.kind.as_str(),
                    code = error_code::DEFECT,
                    "a defect of this program ended the operation"
                );
                if let Err(error) = self.state.store.end_abandoned().await {
                    tracing::error!(%error, "the database cannot be written");
                }
            }
        }
    }

    /// What the end of an operation means for the next one.
    async fn follow_up(&mut self, name: &str, run: &Run, reports: &[Report], error: Option<&sync::Error>) {
        match error {
            None => {}
            Some(sync::Error::Store(crate::store::Error::LeaseHeld(who))) => {
                tracing::info!(
                    connection = name,
                    kind = run.kind.as_str(),
                    by = who,
                    "another process runs an operation on it: once more in a minute"
                );
                let _ = self.state.store.skip(name, run.kind, Trigger::Schedule, format!("another operation ran, started by {who}")).await;
                let soon = crate::clock::now().checked_add(Duration::from_secs(60)).unwrap_or(Timestamp::MAX);
                let moved = self.timetable.set(name, Some(run.kind), soon);
                self.save(moved).await;
            }
            Some(error) => {
                tracing::error!(connection = name, kind = run.kind.as_str(), code = error.code(), %error, "the operation did not run");
            }
        }
        // The secret may have been rotated while the operation ran: the new one deserves its own try, at once.
        if reports.iter().any(credential::is_refused)
            && let Ok(standings) = self.state.store.standings()
            && let Some(refusal) = standings.get(name).and_then(|standing| standing.refused.as_ref())
        {
            if let Some(again) = refusal.again(Trigger::Schedule) {
                let moved = self.timetable.set(name, Some(run.kind), again);
                self.save(moved).await;
            }
            self.try_other_credential(name, refusal).await;
        }
        self.try_again_soon(name, run.kind, reports, error).await;
    }

    /// What failed in a way that passes by itself does not wait for its next scheduled time, which may be a day away.
    async fn try_again_soon(&mut self, name: &str, kind: OperationKind, reports: &[Report], error: Option<&sync::Error>) {
        let key = (name.to_owned(), kind);
        if !credentials::passes(reports, error) {
            self.failed.remove(&key);
            return;
        }
        let failed = self.failed.entry(key).or_default();
        let wait = AGAIN.saturating_mul(1 << (*failed).min(10)).min(AGAIN_AT_MOST);
        *failed += 1;
        let soon = crate::clock::now().checked_add(wait).unwrap_or(Timestamp::MAX);
        let moved = self.timetable.set(name, Some(kind), soon);
        self.save(moved).await;
    }

    /// Reads the references of a refused credential again; another secret is tried at once.
    async fn try_other_credential(&mut self, name: &str, refused: &Refusal) {
        let Some(connection) = self.connections.get(name).cloned() else { return };
        let refused = refused.mark.clone();
        let mark = tokio::task::spawn_blocking(move || {
            let secrets = connection.resolve().ok()?;
            Some(credential::mark(&connection, &secrets, &refused) != refused)
        });
        if !matches!(mark.await, Ok(Some(true))) {
            return tracing::debug!(connection = name, "its credential was refused, and there is no other one yet");
        }
        tracing::info!(connection = name, "its credential was refused; there is another one now");
        if let Err(error) = self.state.store.clear_refusal(name).await {
            return tracing::error!(%error, "the database cannot be written");
        }
        self.due_now(name, None).await;
    }

    async fn due_now(&mut self, name: &str, kind: Option<OperationKind>) {
        let moved = self.timetable.set(name, kind, crate::clock::now());
        self.save(moved).await;
    }

    async fn save(&self, rows: Vec<crate::store::DueRow>) {
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.state.store.save_due(rows).await {
            tracing::error!(%error, "due times cannot be stored");
        }
    }

    /// Takes the configuration as it is now on the disk, all of it or nothing.
    async fn reload(&mut self) {
        notify::reloading();
        let paths = self.paths.clone();
        let database = self.state.store.path().to_owned();
        let load = move || {
            let config = Config::load(&paths).map_err(|errors| errors.to_string())?;
            same_connectors(&database, &config).map_err(|error| error.to_string())?;
            Ok::<_, String>(config)
        };
        let loaded = match tokio::task::spawn_blocking(load).await {
            Ok(loaded) => loaded,
            Err(_) => return tracing::error!("reading the configuration failed"),
        };
        let (done, text) = match loaded {
            Err(errors) => {
                tracing::error!(code = error_code::RELOAD_REFUSED, %errors, "the configuration is invalid: the old one stays in force");
                (false, errors)
            }
            Ok(mut config) => {
                let old = self.state.config();
                let changes = reload::changes(&old, &mut config);
                for warning in &config.warnings {
                    tracing::warn!(warning, "configuration");
                }
                self.state.take(config);
                if let Err(error) = self.plan().await {
                    tracing::error!(%error, "the due times cannot be read");
                }
                // What is gone stops at its next page; what changed goes on, and its next run is the new one.
                for (_, run) in self.running.iter().filter(|(name, _)| !self.connections.contains_key(*name)) {
                    run.stop.cancel();
                }
                self.look_at_refused().await;
                credentials::warn_of_doubts(self.connections.values().cloned().collect());
                let text = if changes.is_empty() { "nothing changed".to_owned() } else { changes.join("\n") };
                tracing::info!(changes = %text.replace('\n', "; "), "the configuration was taken");
                (true, text)
            }
        };
        self.state.note_reload(done);
        if let Err(error) = self.state.store.note_reload(Reload { at: crate::clock::now(), done, text }).await {
            tracing::error!(%error, "the database cannot be written");
        }
        notify::ready();
    }

    /// After a reload: connections whose credential was refused may have another one, or other settings.
    async fn look_at_refused(&mut self) {
        let Ok(standings) = self.state.store.standings() else { return };
        for (name, standing) in standings {
            if let Some(refusal) = standing.refused {
                self.try_other_credential(&name, &refusal).await;
            }
        }
    }

    async fn housekeeping(&mut self) {
        let config = self.state.config();
        if let Err(error) = self.state.store.prune_operations(config.daemon.store.keep_since()).await {
            tracing::error!(%error, "old operations cannot be pruned");
        }
        if let Err(error) = self.state.store.rewrite_sparse_blocks().await {
            tracing::error!(%error, "what is left of old items cannot be put together");
        }
        if let Ok(connections) = status::read(&self.state.store, &config, crate::clock::now()) {
            connections.iter().for_each(credentials::warn_of_end);
        }
    }

    async fn report_status(&self, told: &mut String) {
        let state = Arc::clone(&self.state);
        let read = tokio::task::spawn_blocking(move || status::read(&state.store, &state.config(), crate::clock::now()));
        if let Ok(Ok(connections)) = read.await {
            let text = status::summary(&connections);
            if *told != text {
                notify::status(&text);
                *told = text;
            }
        }
    }

    /// Waits for the running operations, but not for ever: what does not end is found interrupted by the next start.
    async fn drain(&mut self) {
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok(Ended { reports, .. }) = ended {
                    reports.iter().for_each(log_end);
                }
            }
        };
        if tokio::time::timeout(SHUTDOWN_GRACE, all).await.is_err() {
            tracing::warn!("operations did not reach a page boundary in time; the next start goes on from their last stored page");
        }
    }
}

/// Refuses a configuration that gives a connection's name to another connector than the one whose findings are stored under it.
///
/// # Errors
/// [`store::Error::OtherConnector`].
pub(crate) fn same_connectors(database: &Path, config: &Config) -> store::Result<()> {
    store::check_connectors(database, config.connections.iter().map(|one| (one.name.as_str(), one.entry.meta.id)))
}

/// One operation's end, for the log.
fn log_end(report: &Report) {
    let (connection, kind, outcome) = (&report.connection, report.kind.as_str(), report.outcome.as_str());
    let counts = report.counts;
    tracing::info!(
        connection,
        kind,
        outcome,
        operation = %report.operation,
        seconds = report.took.as_secs(),
        fetched = counts.fetched,
        created = counts.created,
        updated = counts.updated,
        unchanged = counts.unchanged,
        reopened = counts.reopened,
        filtered = counts.filtered,
        rejected = counts.rejected,
        closed = counts.closed,
        mended = counts.mended,
        duplicates = counts.duplicates,
        "operation ended"
    );
    for (things, counted) in report.things.each() {
        tracing::info!(connection, kind, things = things.plural(), %counted, "beside findings");
    }
    for (scope, reason) in report.incomplete.iter().take(5) {
        tracing::warn!(connection, kind, scope, reason, "not complete, nothing of it was closed");
    }
    for warning in &report.warnings {
        tracing::warn!(connection, kind, warning, "look at this");
    }
    for (scope, error) in report.errors.iter().take(3) {
        tracing::error!(connection, kind, scope, code = error.code(), %error, "failed");
    }
    if report.outcome == Outcome::Held {
        tracing::warn!(connection, operation = %report.operation, "closes are held: tributary operations approve ID");
    }
}
