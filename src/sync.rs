//! The engine: walks the pages of a connector's scopes into the store.
//!
//! It owns what connectors must not: loops, resuming, prefetching, closing. While one page is being stored the next one is
//! fetched; a page and the cursor after it are one transaction; a scope that fails stops no other.

mod progress;
mod walk;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument;
use tributary_connectors::{Activity, Cx, Job, Scope, Source, model::Severity};
use uuid::Uuid;

use crate::store::{self, AssetCounts, Closing, Counts, Gate, Lease, OperationKind, Outcome, ScopeClosing, ScopeRow, Store, Trigger};
pub use progress::{Progress, Snapshot};
use walk::{Walk, Walked, Wants};

/// How often the holder of a lease shows that it lives.
const BEAT: Duration = Duration::from_secs(15);
/// How often it looks whether somebody asked to stop the operation.
const GLANCE: Duration = Duration::from_secs(2);

/// Why an operation did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The vendor, or the way to it.
    #[error(transparent)]
    Vendor(#[from] tributary_connectors::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It was told to stop before it knew what to read.
    #[error("the operation was stopped; the next one goes on where it stopped")]
    Stopped,
    /// A defect of this program.
    #[error("a defect of the connector stopped the operation; what was stored before stands")]
    Panicked,
}

/// What an operation needs to know of its connection.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The connection's name.
    pub connection: String,
    /// The connector's description.
    pub meta: &'static tributary_connectors::Meta,
    /// What is let in as a new row.
    pub gate: Gate,
    /// How often everything is listed.
    pub full_sync_every: Duration,
    /// Hash of what widens the stored set when it changes.
    pub settings: String,
}

/// What an operation did.
#[derive(Debug)]
pub struct Report {
    /// Its id.
    pub operation: Uuid,
    /// The connection.
    pub connection: String,
    /// Discover or sync.
    pub kind: OperationKind,
    /// How it ended.
    pub outcome: Outcome,
    /// What it counted.
    pub counts: Counts,
    /// What it counted of assets.
    pub assets: AssetCounts,
    /// What closing did.
    pub closing: Closing,
    /// Filtered items by reason.
    pub filtered: std::collections::BTreeMap<&'static str, u64>,
    /// Why scopes, or the whole operation, failed: title of the scope and error.
    pub errors: Vec<(String, Error)>,
    /// Why full passes were no proof: title of the scope and reason.
    pub incomplete: Vec<(String, String)>,
    /// What worked but should be looked at.
    pub warnings: Vec<String>,
    /// The vendor's own total.
    pub vendor_total: Option<u64>,
    /// How long it took.
    pub took: Duration,
    /// What periodic full passes found that the deltas had missed; `None` when there was no such pass.
    pub drift: Option<Counts>,
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
    pub async fn discover(&self, source: &Arc<dyn Source>, plan: &Plan, trigger: Trigger, progress: &Progress) -> Result<Report, Error> {
        let this = self.for_one();
        let lease = this.store.lease(&plan.connection, plan.meta.id).await?;
        let work = this.operation(source, plan, &lease, OperationKind::Discover, trigger, false, progress);
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
        source: &Arc<dyn Source>,
        plan: &Plan,
        trigger: Trigger,
        full: bool,
        progress: &Progress,
    ) -> Result<Vec<Report>, Error> {
        let this = self.for_one();
        let lease = this.store.lease(&plan.connection, plan.meta.id).await?;
        let both = async {
            let mut reports = Vec::new();
            if !this.store.is_discovered(&lease).await? {
                reports.push(this.operation(source, plan, &lease, OperationKind::Discover, trigger, false, progress).await?);
                if matches!(reports[0].outcome, Outcome::Failed | Outcome::Interrupted) {
                    return Ok(reports);
                }
            }
            reports.push(this.operation(source, plan, &lease, OperationKind::Sync, trigger, full, progress).await?);
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
        if let Err(error) = self.store.shorten_log().await {
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
        let (mut beat, mut glance) = (tokio::time::interval(BEAT), tokio::time::interval(GLANCE));
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
                    if !self.stop.is_cancelled() && Store::is_cancelled(&self.store.reader()?, &plan.connection)? {
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
            Err(error) if error.passes() => tracing::warn!(%error, "the lease could not be extended"),
            kept => kept?,
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one private function; each argument is of its own type")]
    async fn operation(
        &self,
        source: &Arc<dyn Source>,
        plan: &Plan,
        lease: &Lease,
        kind: OperationKind,
        trigger: Trigger,
        full: bool,
        progress: &Progress,
    ) -> Result<Report, Error> {
        let settings = plan.settings.clone();
        let least = Severity::ALL.iter().position(|severity| *severity == plan.gate.minimum_severity).unwrap_or(0);
        self.store.configured(lease, settings, i64::try_from(least).unwrap_or(0), plan.gate.import_closed).await?;
        let operation = self.store.begin_operation(lease, kind, trigger).await?;
        let (began, clock) = (crate::clock::now(), Instant::now());
        let run = Arc::new(Run {
            engine: self.clone(),
            source: Arc::clone(source),
            plan: plan.clone(),
            lease: lease.clone(),
            operation,
            kind,
            activity: progress.begin(kind, &plan.connection),
            progress: progress.clone(),
        });
        let mut report = Report {
            operation,
            connection: plan.connection.clone(),
            kind,
            outcome: Outcome::Success,
            counts: Counts::default(),
            assets: AssetCounts::default(),
            closing: Closing::default(),
            filtered: std::collections::BTreeMap::new(),
            errors: Vec::new(),
            incomplete: Vec::new(),
            warnings: Vec::new(),
            vendor_total: None,
            took: Duration::ZERO,
            drift: None,
        };
        let mut scopes = serde_json::Map::new();
        let span = tracing::info_span!("operation", connection = %plan.connection, kind = kind.as_str(), id = %operation);
        let done = match run.walk_all(full, &mut report, &mut scopes).instrument(span).await {
            Ok(walked) => run.conclude(walked, began, &mut report).await,
            Err(error) => Err(error),
        };
        match done {
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
        if report.closing.held > 0 {
            report.warnings.push(format!(
                "{} findings are no longer listed, too many to close unasked: they stay open until they are seen again or an operator approves",
                report.closing.held
            ));
        }
        if let Some(drift) = report.drift.filter(|drift| drift.created + drift.updated + drift.reopened > 0) {
            report.warnings.push(format!(
                "drift: the full pass found {} new, {} changed and {} reopened findings that reading only changes had missed",
                drift.created, drift.updated, drift.reopened
            ));
        }
        let detail = serde_json::json!({
            "scopes": scopes,
            "assets": report.assets.detail(),
            "filtered": report.filtered,
            "drift": report.drift.map(|drift| drift.detail()),
            "held": report.closing.held,
            "absent_once": report.closing.absent_once,
            "incomplete": report.incomplete,
            "errors": report.errors.iter().map(|(scope, error)| format!("{scope}: {error}")).collect::<Vec<_>>(),
            "warnings": report.warnings,
            "requests": run.activity.requests(),
            "retries": run.activity.retries(),
            "waits": run.activity.waits().iter().map(|(at, time)| serde_json::json!({ "at": at.to_string(), "seconds": time.as_secs() })).collect::<Vec<_>>(),
            "waited_ms": u64::try_from(run.activity.waited().as_millis()).unwrap_or(u64::MAX),
            "bytes": run.activity.bytes(),
        });
        let error = report.errors.first().map(|(_, error)| (crate::daemon::code_of(error), error.to_string()));
        report.counts = match self.store.end_operation(operation, report.outcome, error, detail, report.vendor_total).await {
            // It is written as soon as something can be; until then the pages that were stored are what is known.
            Err(error) if error.passes() => progress.look().counts,
            counts => counts?,
        };
        report.took = clock.elapsed();
        progress.end(&report);
        Ok(report)
    }
}

/// One operation under way; each of its walks is a task of its own and holds it.
struct Run {
    engine: Engine,
    source: Arc<dyn Source>,
    plan: Plan,
    lease: Lease,
    operation: Uuid,
    kind: OperationKind,
    activity: Arc<Activity>,
    progress: Progress,
}

impl Run {
    /// Walks every scope of the job, some at once. What one scope meets is its own.
    async fn walk_all(
        self: &Arc<Self>,
        full: bool,
        report: &mut Report,
        detail: &mut serde_json::Map<String, serde_json::Value>,
    ) -> Result<Vec<(Scope, Walked)>, Error> {
        let good = match self.kind {
            OperationKind::Discover => None,
            OperationKind::Sync => Some(self.engine.store.good_records(&self.lease).await?),
        };
        let run = Arc::clone(self);
        // A task of its own, as each walk is: a defect of the connector ends the operation, and not what runs it.
        let asked = tokio::spawn(async move {
            let cx = Cx::new(Arc::clone(&run.activity));
            run.source.scopes(&cx, good.as_deref().map_or(Job::Discover, Job::Sync)).await
        });
        let scopes = tokio::select! {
            scopes = AbortOnDropHandle::new(asked) => scopes.map_err(|_| Error::Panicked)??,
            () = self.engine.stop.cancelled() => return Err(Error::Stopped),
        };
        let scopes = self.engine.store.scopes(&self.lease, scopes).await?;
        self.progress.scopes(scopes.len());
        let walks = scopes.into_iter().map(|(scope, row)| {
            let wants = self.wants(full, &row);
            let walk = Walk::new(Arc::clone(self), scope.clone(), row);
            let span = tracing::info_span!("scope", list = scope.list, key = %scope.key);
            async move { (scope, AbortOnDropHandle::new(tokio::spawn(walk.run(wants).instrument(span))).await) }
        });
        let mut walks = stream::iter(walks).buffer_unordered(self.plan.meta.concurrency.max(1));
        let mut done = Vec::new();
        while let Some((scope, walked)) = walks.next().await {
            let walked = walked.map_err(|_| Error::Panicked)??;
            self.progress.scope_done();
            for (reason, count) in &walked.filtered {
                *report.filtered.entry(reason).or_default() += count;
            }
            report.assets += walked.assets;
            if let Some(drift) = walked.drift {
                *report.drift.get_or_insert_default() += drift;
            }
            if let Some(total) = walked.total {
                report.vendor_total = Some(report.vendor_total.unwrap_or(0) + total);
            }
            detail.insert(format!("{} {}", scope.list, scope.key).trim().to_owned(), walked.detail());
            done.push((scope, walked));
        }
        Ok(done)
    }

    fn wants(&self, full: bool, scope: &ScopeRow) -> Wants {
        let long_ago = |at: Timestamp| crate::clock::now().duration_since(at).unsigned_abs() >= self.plan.full_sync_every;
        match scope.full_at {
            _ if full || scope.full_due => Wants::Full,
            None => Wants::Full,
            Some(at) if long_ago(at) => Wants::Periodic,
            Some(_) => Wants::Changes,
        }
    }

    /// The last step: closes what is proved to be gone, and says how the operation ended.
    async fn conclude(&self, walked: Vec<(Scope, Walked)>, began: Timestamp, report: &mut Report) -> Result<(), Error> {
        let all = walked.len();
        let (mut failed, mut stopped, mut complete) = (0, false, true);
        let mut closing = Vec::new();
        for (scope, walked) in walked {
            let title = if scope.title.is_empty() { scope.list.to_owned() } else { scope.title.to_string() };
            stopped |= walked.stopped;
            complete &= walked.incomplete.is_none() && walked.error.is_none() && !walked.stopped;
            complete &= walked.coverage == Some(tributary_connectors::Coverage::Full);
            if let Some(coverage) = walked.coverage {
                let shifting = self.plan.meta.shifting && walked.pages > 1;
                closing.push(ScopeClosing { pass: walked.pass, coverage, complete: walked.incomplete.is_none(), shifting });
            }
            if let Some(reason) = walked.incomplete {
                report.incomplete.push((title.clone(), reason));
            }
            if let Some(error) = walked.error {
                failed += 1;
                report.errors.push((title, error));
            }
        }
        match self.kind {
            OperationKind::Discover if failed < all.max(1) => {
                self.engine.store.end_discover(&self.lease, began.as_microsecond(), complete).await?;
            }
            OperationKind::Sync => {
                report.closing = self.engine.store.close(&self.lease, self.operation, closing).await?;
                report.assets.closed = report.closing.assets_closed;
            }
            OperationKind::Discover => {}
        }
        report.outcome = match () {
            () if stopped => Outcome::Interrupted,
            () if all > 0 && failed == all => Outcome::Failed,
            () if failed > 0 || !report.incomplete.is_empty() => Outcome::Partial,
            () if report.closing.held > 0 => Outcome::Held,
            () => Outcome::Success,
        };
        Ok(())
    }
}
