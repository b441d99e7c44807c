//! The engine: walks the pages of a connector's scopes into the store.
//!
//! It owns what connectors must not: loops, resuming, prefetching, closing. While one page is being stored the next one is
//! fetched; a page and the cursor after it are one transaction; a scope that fails stops no other.

mod clip;
mod context;
mod detail;
mod progress;
mod repeats;
mod run;
mod walk;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tributary_connectors::{DynConnector, model::Severity};
use uuid::Uuid;

use crate::{
    error_code,
    store::{self, Closing, Counts, Discovered, ImportPolicy, Lease, OperationKind, Outcome, PassKind, Store, ThingCounts, Trigger},
};
use context::Run;
pub use progress::{Progress, Snapshot};

/// How often the holder of a lease shows that it lives.
const LEASE_HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it looks whether somebody asked to stop the operation.
const CANCEL_POLL: Duration = Duration::from_secs(2);

/// Why an operation did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The vendor, or the way to it.
    #[error(transparent)]
    Vendor(#[from] tributary_connectors::Error),
    /// The store could not read or write.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It was told to stop before it knew what to read.
    #[error("the operation was stopped; the next one goes on where it stopped")]
    Stopped,
    /// A defect of this program.
    #[error("a defect of the connector stopped the operation; what was stored before stands")]
    Panicked,
}

impl Error {
    /// The stable code of this error.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Error::Vendor(error) => error_code::of_vendor(error),
            Error::Store(error) => error_code::of_store(error),
            Error::Stopped => error_code::STOPPED,
            Error::Panicked => error_code::DEFECT,
        }
    }
}

/// What an operation needs to know of its connection.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The connection's name.
    pub connection: String,
    /// The connector's description.
    pub meta: &'static tributary_connectors::Meta,
    /// What is let in as a new row.
    pub policy: ImportPolicy,
    /// How often everything is listed.
    pub full_sync_every: Duration,
    /// How long a record is Missing before its findings are closed; `None` for ever.
    pub close_missing_after: Option<Duration>,
    /// Hash of what widens the stored set when it changes.
    pub settings: String,
}

/// What an operation did.
#[derive(Debug)]
pub struct Report {
    /// Id of the operation.
    pub operation: Uuid,
    /// The connection's name.
    pub connection: String,
    /// Discover or sync.
    pub kind: OperationKind,
    /// How it ended.
    pub outcome: Outcome,
    /// What it counted.
    pub counts: Counts,
    /// What it counted of assets, identities and other things.
    pub things: ThingCounts,
    /// What closing did.
    pub closing: Closing,
    /// What a discover made of records that it did not list, if there was one.
    pub discovered: Option<Discovered>,
    /// Filtered items by reason.
    pub filtered: std::collections::BTreeMap<&'static str, u64>,
    /// Why scopes, or the whole operation, failed: title of the scope and error.
    pub errors: Vec<(String, Error)>,
    /// Why full passes were no proof: title of the scope and reason.
    pub incomplete: Vec<(String, String)>,
    /// What worked but should be looked at.
    pub warnings: Vec<String>,
    /// The vendor's own total, when every list was read in full.
    pub vendor_total: Option<u64>,
    /// How long it took.
    pub took: Duration,
    /// What periodic full passes found that the deltas had missed; `None` when there was no such pass.
    pub drift: Option<Counts>,
}

impl Report {
    fn of(operation: Uuid, connection: &str, kind: OperationKind) -> Self {
        Report {
            operation,
            connection: connection.to_owned(),
            kind,
            outcome: Outcome::Success,
            counts: Counts::default(),
            things: ThingCounts::default(),
            closing: Closing::default(),
            discovered: None,
            filtered: std::collections::BTreeMap::new(),
            errors: Vec::new(),
            incomplete: Vec::new(),
            warnings: Vec::new(),
            vendor_total: None,
            took: Duration::ZERO,
            drift: None,
        }
    }

    /// What is not wrong, and yet for somebody to look at.
    fn warn(&mut self) {
        if self.closing.emptied > 0 {
            self.warnings.push(format!(
                "{} findings are no longer listed, and nothing else of their lists is: they are closed when the next full pass misses them too; look whether the credential lost a role",
                self.closing.emptied
            ));
        }
        if self.closing.held > 0 {
            self.warnings.push(format!(
                "{} findings are no longer listed, too many to close unasked: they stay open until they are seen again or an operator approves",
                self.closing.held
            ));
        }
        for (kind, counted) in self.things.each().filter(|(_, counted)| counted.kept > 0) {
            self.warnings.push(format!(
                "{} {} are no longer listed, too many to believe it: they stay as they are; look whether the credential lost access",
                counted.kept,
                kind.plural().replace('_', " ")
            ));
        }
        if let Some(discovered) = self.discovered {
            if discovered.held > 0 {
                self.warnings.push(format!(
                    "{} records are no longer listed, too many to believe it unasked: they stay as they are until they are listed again or an operator approves; look whether the credential lost access",
                    discovered.held
                ));
            }
            if discovered.listed == 0 {
                self.warnings.push("the tool lists no record: look whether the credential may see any".to_owned());
            }
        }
        if let Some(drift) = self.drift.filter(|drift| drift.created + drift.updated + drift.reopened > 0) {
            self.warnings.push(format!(
                "drift: the full pass found {} new, {} changed and {} reopened findings that reading only changes had missed",
                drift.created, drift.updated, drift.reopened
            ));
        }
    }
}

/// The engine of one process.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where things are kept.
    pub store: Store,
    /// Cancelled when the process is to stop: walks end at a page boundary.
    pub stop: CancellationToken,
}

impl Engine {
    /// Runs one discover.
    ///
    /// # Errors
    /// When the connection is busy or the store fails; what the vendor does wrong is in the report.
    pub async fn discover(
        &self,
        source: &Arc<dyn DynConnector>,
        plan: &Plan,
        trigger: Trigger,
        progress: &Progress,
    ) -> Result<Report, Error> {
        let this = self.for_one();
        let lease = this.store.lease(&plan.connection, plan.meta.id).await?;
        let work = this.operation(source, plan, &lease, OperationKind::Discover, trigger, PassKind::Delta, progress);
        let done = this.under(&lease, plan, progress, work).await;
        this.leave(lease).await;
        done
    }

    /// Runs one sync; a connection that was never discovered is discovered first, and that report comes first.
    ///
    /// # Errors
    /// As [`Engine::discover`].
    pub async fn sync(
        &self,
        source: &Arc<dyn DynConnector>,
        plan: &Plan,
        trigger: Trigger,
        pass: PassKind,
        progress: &Progress,
    ) -> Result<Vec<Report>, Error> {
        let this = self.for_one();
        let lease = this.store.lease(&plan.connection, plan.meta.id).await?;
        let both = async {
            let mut reports = Vec::new();
            if !this.store.is_discovered(&lease).await? {
                reports.push(this.operation(source, plan, &lease, OperationKind::Discover, trigger, PassKind::Delta, progress).await?);
                if matches!(reports[0].outcome, Outcome::Failed | Outcome::Interrupted) {
                    return Ok(reports);
                }
            }
            reports.push(this.operation(source, plan, &lease, OperationKind::Sync, trigger, pass, progress).await?);
            Ok(reports)
        };
        let done = this.under(&lease, plan, progress, both).await;
        this.leave(lease).await;
        done
    }

    /// The engine of one run: it can be stopped alone.
    fn for_one(&self) -> Engine {
        Engine { store: self.store.clone(), stop: self.stop.child_token() }
    }

    /// Gives the lease back. What hinders that now hinders nobody for long: it runs out, or is given back with the next write.
    async fn leave(&self, lease: Lease) {
        if let Err(error) = self.store.release(lease).await {
            tracing::warn!(%error, "the lease could not be given back");
        }
        if let Err(error) = self.store.truncate_wal().await {
            tracing::warn!(%error, "the write-ahead log could not be cleared");
        }
    }

    /// Keeps the lease alive while the work runs, and stops the work when somebody asks for that.
    async fn under<T>(
        &self,
        lease: &Lease,
        plan: &Plan,
        progress: &Progress,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let (mut beat, mut glance) = (tokio::time::interval(LEASE_HEARTBEAT), tokio::time::interval(CANCEL_POLL));
        let mut shown = None;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beat.tick() => self.keep(lease, shown).await?,
                _ = glance.tick() => {
                    let waiting = progress.look().waiting_until;
                    if waiting != shown {
                        shown = waiting;
                        self.keep(lease, shown).await?;
                    }
                    if !self.stop.is_cancelled() && self.store.reader()?.is_cancelled(&plan.connection)? {
                        tracing::info!(connection = %plan.connection, "somebody asked to stop the operation");
                        self.stop.cancel();
                    }
                }
            }
        }
    }

    async fn keep(&self, lease: &Lease, waiting_until: Option<Timestamp>) -> Result<(), Error> {
        match self.store.keep_lease(lease, waiting_until).await {
            // The work itself meets it too, and says what became of it.
            Err(error) if error.is_transient() => tracing::warn!(%error, "the lease could not be extended"),
            kept => kept?,
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one private function; each argument is of its own type")]
    async fn operation(
        &self,
        source: &Arc<dyn DynConnector>,
        plan: &Plan,
        lease: &Lease,
        kind: OperationKind,
        trigger: Trigger,
        pass: PassKind,
        progress: &Progress,
    ) -> Result<Report, Error> {
        let settings = plan.settings.clone();
        let least = Severity::ALL.iter().position(|severity| *severity == plan.policy.minimum_severity).unwrap_or(0);
        self.store.configured(lease, settings, i64::try_from(least).unwrap_or(0), plan.policy.import_closed).await?;
        let operation = self.store.begin_operation(lease, kind, trigger).await?;
        let clock = Instant::now();
        let run = Arc::new(Run {
            engine: self.clone(),
            source: Arc::clone(source),
            plan: plan.clone(),
            lease: lease.clone(),
            operation,
            kind,
            delivered: Arc::default(),
            activity: progress.begin(kind, &plan.connection),
            progress: progress.clone(),
        });
        let (mut report, mut lists) = (Report::of(operation, &plan.connection, kind), Vec::new());
        let span = tracing::info_span!("operation", connection = %plan.connection, kind = kind.as_str(), id = %operation);
        match run.work(pass, &mut lists, &mut report).instrument(span).await {
            Ok(()) => {}
            // Whoever holds the lease now says how it ended.
            Err(Error::Store(error @ store::Error::LeaseLost)) => return Err(error.into()),
            Err(error) => {
                report.outcome = if matches!(error, Error::Stopped) { Outcome::Interrupted } else { Outcome::Failed };
                report.errors.insert(0, (String::new(), error));
            }
        }
        if let Some(at) = run.activity.credential_expires()
            && let Err(error) = self.store.expires(&plan.connection, at).await
        {
            tracing::warn!(%error, "when the credential ends could not be stored");
        }
        report.warnings = run.activity.warnings();
        report.warn();
        let detail = detail::of(&report, &lists, &run.activity);
        let error = report.errors.first().map(|(_, error)| (error.code(), clip::clip(&error.to_string(), detail::LONGEST_ERROR)));
        report.counts = match self.store.end_operation(operation, report.outcome, error, detail, report.vendor_total).await {
            // It is written as soon as something can be; until then the pages that were stored are what is known.
            Err(error) if error.is_transient() => progress.look().counts,
            counts => counts?,
        };
        report.took = clock.elapsed();
        progress.end(&report);
        Ok(report)
    }
}
