//! The daemon: when each connection's discover and sync are due.
//!
//! `tokio-cron-scheduler` only ticks: its callback says "look at the due times". The due times are ours (croner, in the
//! connection's time zone): two runs of a connection never overlap, and what was missed while the daemon was down, or while
//! a run went on, is caught up once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use tokio::{sync::Notify, task::JoinSet};
use tokio_cron_scheduler::{Job, JobScheduler};
use tributary_connectors::kit::Limiters;

use crate::{
    cli::{Exit, Work, one, tell_all},
    config::{Config, Connection, Schedule},
    notify,
    store::{OperationKind, Trigger},
    sync::{Engine, Progress},
};

/// How many connections run at once.
const AT_ONCE: usize = 4;

/// What is due when.
struct Due {
    connection: Arc<Connection>,
    kind: OperationKind,
    next: Option<Timestamp>,
}

/// Runs until the engine is told to stop, then waits for the running operations to end at a page boundary.
///
/// # Errors
/// When the ticker cannot be started or the store cannot be read.
pub async fn run(config: Config, engine: &Engine) -> anyhow::Result<Exit> {
    let tick = Arc::new(Notify::new());
    let mut scheduler = JobScheduler::new().await?;
    let told = Arc::clone(&tick);
    scheduler.add(Job::new_repeated(Duration::from_secs(1), move |_, _| told.notify_one())?).await?;
    scheduler.start().await?;

    let mut due = plan(config, engine)?;
    tracing::info!(schedules = due.len(), "started");
    notify::status(&format!("{} schedules", due.len()));
    notify::ready();
    let mut watchdog = notify::Watchdog::of_manager();
    let limiters = Arc::new(Limiters::default());
    let mut running: BTreeSet<String> = BTreeSet::new();
    let mut runs: JoinSet<String> = JoinSet::new();
    loop {
        tokio::select! {
            () = tick.notified() => {}
            Some(ended) = runs.join_next(), if !runs.is_empty() => match ended {
                Ok(name) => drop(running.remove(&name)),
                // Which one it was is not known any more: its lease keeps it from running twice.
                Err(_) => running.clear(),
            },
            () = engine.stop.cancelled() => break,
        }
        watchdog.turn(&engine.store).await;
        let now = Timestamp::now();
        for due in &mut due {
            let name = &due.connection.name;
            if runs.len() >= AT_ONCE || running.contains(name) || due.next.is_none_or(|next| next > now) {
                continue;
            }
            due.next = next(schedule_of(&due.connection, due.kind), &due.connection.timezone, now);
            running.insert(name.clone());
            let (connection, engine, limiters, kind) = (Arc::clone(&due.connection), engine.clone(), Arc::clone(&limiters), due.kind);
            runs.spawn(async move {
                let (reports, error) = one(&connection, &engine, &limiters, Work::of(kind), Trigger::Schedule, &Progress::default()).await;
                tell_all(&connection.name, &reports, error.as_ref());
                connection.name.clone()
            });
        }
    }
    notify::stopping();
    while runs.join_next().await.is_some() {}
    scheduler.shutdown().await?;
    Ok(Exit::Ok)
}

/// The first due times: never run means now; missed while nothing ran means now, once.
fn plan(config: Config, engine: &Engine) -> anyhow::Result<Vec<Due>> {
    let mut due = Vec::new();
    for connection in config.connections.into_iter().filter(|connection| connection.enabled).map(Arc::new) {
        for kind in [OperationKind::Discover, OperationKind::Sync] {
            let schedule = schedule_of(&connection, kind);
            let next = match engine.store.last_operation(&connection.name, kind)? {
                None if matches!(schedule, Schedule::Off) => None,
                None => Some(Timestamp::now()),
                Some(last) => next(schedule, &connection.timezone, last),
            };
            due.push(Due { connection: Arc::clone(&connection), kind, next });
        }
    }
    Ok(due)
}

fn schedule_of(connection: &Connection, kind: OperationKind) -> &Schedule {
    match kind {
        OperationKind::Discover => &connection.discover,
        OperationKind::Sync => &connection.sync,
    }
}

/// The first time after `last` at which a schedule wants to run.
fn next(schedule: &Schedule, zone: &TimeZone, last: Timestamp) -> Option<Timestamp> {
    match schedule {
        Schedule::Off => None,
        Schedule::Every(time) => last.checked_add(*time).ok(),
        Schedule::Cron(rule) => rule.find_next_occurrence(&last.to_zoned(zone.clone()), false).ok().map(|at| at.timestamp()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_a_rule_runs_once_a_day_through_both_changes_of_the_clock() {
        let rule = Schedule::Cron(Box::new("30 2 * * *".parse().expect("a rule")));
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let mut at: Timestamp = "2026-03-27T12:00:00Z".parse().expect("a time");
        let mut days = Vec::new();
        for _ in 0..4 {
            at = next(&rule, &zone, at).expect("a next time");
            days.push(at.to_zoned(zone.clone()).date().to_string());
        }
        assert_eq!(days, ["2026-03-28", "2026-03-29", "2026-03-30", "2026-03-31"], "the night without 02:30 runs once too");
        at = "2026-10-24T12:00:00Z".parse().expect("a time");
        let runs = (0..2).map(|_| {
            at = next(&rule, &zone, at).expect("a next time");
            at.to_zoned(zone.clone()).date().to_string()
        });
        assert_eq!(runs.collect::<Vec<_>>(), ["2026-10-25", "2026-10-26"], "the night with two 02:30 runs once");
    }
}
