//! One operation under way: walks its lists, then says what follows from how the walks ended.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use tributary_connectors::{Absence, Context, Coverage, ErrorKind, Job, NOT_LISTED, Scope};

use super::{
    Error, Report,
    context::Run,
    walk::{Walk, Walked, Wants},
};
use crate::{
    clock,
    store::{Discovered, OperationKind, Outcome, PassKind, ScopeClosing, ScopeRow},
};

/// A list of an operation, and how the walk over it ended.
pub(super) struct List {
    pub(super) scope: Scope,
    pub(super) walked: Walked,
}

impl List {
    /// The name of the scope, as messages and the timeline show it.
    pub(super) fn title(&self) -> String {
        if self.scope.title.is_empty() { self.scope.list.to_owned() } else { self.scope.title.to_string() }
    }

    fn was_read_in_full(&self) -> bool {
        self.walked.coverage == Some(Coverage::Full) && self.walked.incomplete.is_none() && self.walked.error.is_none()
    }

    /// The record whose own list it is, when the tool answered that there is no such list.
    fn lost_record(&self) -> Option<&str> {
        let record = self.scope.record.as_deref()?;
        match &self.walked.error {
            Some(Error::Vendor(error)) if matches!(error.kind, ErrorKind::Refused { status: 404 | 410, .. }) => Some(record),
            _ => None,
        }
    }

    /// Why nothing that the list delivered was of any use, if so: that is no success, whatever the tool said.
    fn useless(&self) -> Option<String> {
        let (counts, walked) = (&self.walked.counts, &self.walked);
        if walked.coverage.is_none() || counts.fetched == 0 || walked.things.fetched() > 0 {
            return None;
        }
        if counts.rejected == counts.fetched {
            return Some(format!("none of its {} items could be read", counts.fetched));
        }
        let unlisted = walked.filtered.get(NOT_LISTED).copied().unwrap_or(0);
        (unlisted > 0 && unlisted + counts.rejected == counts.fetched)
            .then(|| format!("all of its {} items belong to records that the tool does not list", counts.fetched))
    }
}

impl Run {
    /// Everything that the operation does. What its lists met is in `lists`, also when it fails.
    pub(super) async fn work(self: &Arc<Self>, kind: PassKind, lists: &mut Vec<List>, report: &mut Report) -> Result<(), Error> {
        self.walk_all(kind, lists).await?;
        match self.kind {
            OperationKind::Discover => {
                report.discovered = self.end_discover(lists).await?;
                conclude(lists, report);
            }
            OperationKind::Sync => {
                let records = self.look_for_lost_records(lists, report).await?;
                self.close(lists, report).await?;
                conclude(lists, report);
                records.iter().for_each(|list| report.add(list));
                lists.extend(records);
            }
        }
        Ok(())
    }

    /// Walks every list of the job, some at once. What one list meets is its own.
    async fn walk_all(self: &Arc<Self>, kind: PassKind, lists: &mut Vec<List>) -> Result<(), Error> {
        let good = match self.kind {
            OperationKind::Discover => None,
            OperationKind::Sync => Some(self.engine.store.good_records(&self.lease).await?),
        };
        let run = Arc::clone(self);
        // A task of its own, as each walk is: a defect of the connector ends the operation, and not what runs it.
        let asked = tokio::spawn(async move {
            let cx = Context::new(Arc::clone(&run.activity));
            run.source.scopes(&cx, good.as_deref().map_or(Job::Discover, Job::Sync)).await
        });
        let scopes = tokio::select! {
            scopes = AbortOnDropHandle::new(asked) => scopes.map_err(|_| Error::Panicked)??,
            () = self.engine.stop.cancelled() => return Err(Error::Stopped),
        };
        let scopes = self.engine.store.scopes(&self.lease, self.kind, scopes).await?;
        self.progress.scopes(scopes.len());
        let walks = scopes.into_iter().map(|(scope, row)| {
            let wants = self.wants(kind, &row);
            let walk = Walk::new(Arc::clone(self), scope.clone(), row);
            let span = tracing::info_span!("scope", list = scope.list, key = %scope.key);
            async move { (scope, AbortOnDropHandle::new(tokio::spawn(walk.run(wants).instrument(span))).await) }
        });
        let mut walks = stream::iter(walks).buffer_unordered(self.plan.meta.concurrency.max(1));
        while let Some((scope, walked)) = walks.next().await {
            let walked = walked.map_err(|_| Error::Panicked)??;
            self.progress.scope_done();
            tracing::debug!(list = scope.list, key = %scope.key, ended = %walked.detail(), "list");
            lists.push(List { scope, walked });
        }
        Ok(())
    }

    fn wants(&self, kind: PassKind, scope: &ScopeRow) -> Wants {
        match scope.full_at {
            _ if kind == PassKind::Full || scope.full_due => Wants::Full,
            None => Wants::Full,
            // Where nobody can tell how long ago it was, it was too long.
            Some(at) if clock::age(at).is_none_or(|age| age >= self.plan.full_sync_every) => Wants::Periodic,
            Some(_) => Wants::Changes,
        }
    }

    /// The end of a discover: what it did not list is Missing. `None` when no list could be read.
    async fn end_discover(&self, lists: &[List]) -> Result<Option<Discovered>, Error> {
        let failed = lists.iter().filter(|list| list.walked.error.is_some()).count();
        if failed == lists.len().max(1) {
            return Ok(None);
        }
        let complete = lists.iter().all(List::was_read_in_full);
        let passes = lists.iter().filter(|list| list.walked.coverage.is_some()).map(|list| list.walked.pass.clone()).collect();
        Ok(Some(self.engine.store.end_discover(&self.lease, self.operation, passes, complete).await?))
    }

    /// A record whose own list is not there may have been deleted in the tool. So the records are listed again, once: one that is
    /// no longer listed is Missing and its list no failure; else the failure stands. Returns the lists of records.
    async fn look_for_lost_records(self: &Arc<Self>, lists: &mut [List], report: &mut Report) -> Result<Vec<List>, Error> {
        let lost: Vec<Box<str>> = lists.iter().filter_map(List::lost_record).map(Into::into).collect();
        if lost.is_empty() || lists.iter().any(|list| list.walked.stopped) {
            return Ok(Vec::new());
        }
        tracing::info!(records = lost.len(), "the tool does not know the lists of these records: all records are listed again");
        let again = Arc::new(Run { kind: OperationKind::Discover, ..Run::clone(self) });
        let mut records = Vec::new();
        match again.walk_all(PassKind::Delta, &mut records).await {
            Ok(()) => report.discovered = again.end_discover(&records).await?,
            Err(Error::Vendor(error)) => tracing::warn!(%error, "the records could not be listed"),
            Err(error) => return Err(error),
        }
        let missing = self.engine.store.missing_of(&self.lease, lost).await?;
        for list in lists {
            if list.lost_record().is_some_and(|record| missing.contains(record)) {
                list.walked.error = None;
                list.walked.record_gone = true;
            }
        }
        Ok(records)
    }

    /// Closes what is proved to be gone, and what is in records that have been Missing for too long.
    async fn close(&self, lists: &[List], report: &mut Report) -> Result<(), Error> {
        let closing = lists.iter().filter_map(|List { scope, walked }| {
            // What is on one page cannot shift.
            let absence = match scope.absence {
                Absence::ProofTwice if walked.pages <= 1 => Absence::Proof,
                absence => absence,
            };
            let (pass, complete) = (walked.pass.clone(), walked.incomplete.is_none());
            walked.coverage.map(|coverage| ScopeClosing { pass, coverage, complete, absence, explained: walked.explained })
        });
        report.closing = self.engine.store.close(&self.lease, self.operation, closing.collect()).await?;
        report.things += report.closing.things.clone();
        if let Some(time) = self.plan.close_missing_after {
            report.closing.closed += self.engine.store.close_missing(&self.lease, self.operation, time).await?;
        }
        Ok(())
    }
}

impl Report {
    /// Adds what a list counted.
    fn add(&mut self, list: &List) {
        for (reason, count) in &list.walked.filtered {
            *self.filtered.entry(reason).or_default() += count;
        }
        self.things += list.walked.things.clone();
        if let Some(drift) = list.walked.drift {
            *self.drift.get_or_insert_default() += drift;
        }
    }
}

/// What the vendor says that all lists hold, when each of them was read in full and said so.
fn total(lists: &[List]) -> Option<u64> {
    if lists.is_empty() {
        return None;
    }
    lists.iter().map(|list| list.walked.total.filter(|_| list.was_read_in_full())).sum()
}

/// How the operation ended, from how its lists did.
fn conclude(lists: &mut [List], report: &mut Report) {
    report.vendor_total = total(lists);
    for list in lists.iter_mut() {
        report.add(list);
        if list.walked.incomplete.is_none() {
            list.walked.incomplete = list.useless();
        }
        if let Some(reason) = &list.walked.incomplete {
            report.incomplete.push((list.title(), reason.clone()));
        }
    }
    let failed = lists.iter().filter(|list| list.walked.error.is_some()).count();
    let held = report.closing.held > 0 || report.discovered.is_some_and(|discovered| discovered.held > 0);
    report.outcome = match () {
        () if lists.iter().any(|list| list.walked.stopped) => Outcome::Interrupted,
        () if failed > 0 && failed == lists.len() => Outcome::Failed,
        () if failed > 0 || !report.incomplete.is_empty() => Outcome::Partial,
        () if held => Outcome::Held,
        () => Outcome::Success,
    };
    for list in lists {
        if let Some(error) = list.walked.error.take() {
            list.walked.failed = Some(error.to_string());
            report.errors.push((list.title(), error));
        }
    }
}
