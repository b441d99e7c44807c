//! Tells the service manager how the daemon is, over the socket that `$NOTIFY_SOCKET` names. Where nothing is named,
//! nothing is told: every function here may be called anywhere.
//!
//! The units are of `Type=notify`, as systemd 252 (Debian 12) does not know `notify-reload` yet. What is sent serves both:
//! `RELOADING=1` comes with the monotonic time that `notify-reload` asks for.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use crate::store::{Error, Store};

/// The store is open and up to date, and the daemon works. Also told when a reload has ended.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub(crate) fn status(text: &str) {
    // A line break would begin another message.
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    tell(&[NotifyState::Status(&line)]);
}

/// The configuration is read anew; [`ready`] says that it is done, whether the new one is in force or not.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no monotonic clock"),
    }
}

/// The daemon was told to stop, and stops.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often the service manager wants to hear [`alive`]; `None` when it does not.
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|time| !time.is_zero())
}

/// The daemon does its work.
fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody can be told that nobody can be told; a manager that hears nothing acts on its own.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Says [`alive`] for a loop that turns and a store that answers, and falls silent when either hangs.
///
/// It never waits for the store: a loop that did would hang with it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Three questions in the time that the manager grants: two may be late.
    every: Option<Duration>,
    asked: Option<Instant>,
    answer: Option<JoinHandle<bool>>,
}

impl Watchdog {
    /// As the service manager wants it.
    pub(crate) fn of_manager() -> Self {
        Watchdog { every: watchdog().map(|time| time / 3), asked: None, answer: None }
    }

    /// One turn of the loop: passes on an answer that has come, and asks again when it is time.
    pub(crate) async fn turn(&mut self, store: &Store) {
        let Some(every) = self.every else { return };
        if let Some(answer) = self.answer.take_if(|answer| answer.is_finished())
            && answer.await.unwrap_or(false)
        {
            alive();
        }
        if self.answer.is_none() && self.asked.is_none_or(|asked| asked.elapsed() >= every) {
            self.asked = Some(Instant::now());
            let question = store.write(|_, _| Ok(()));
            // A file that was deleted is no reason to start anew: a new process would make an empty one.
            self.answer = Some(tokio::spawn(async move { matches!(question.await, Ok(()) | Err(Error::Replaced(_))) }));
        }
    }
}
