//! Tells the service manager how the daemon is, over the socket that `$NOTIFY_SOCKET` names. Where nothing is named,
//! nothing is told: every function here may be called anywhere.
//!
//! The units are of `Type=notify`, as systemd 252 (Debian 12) does not know `notify-reload` yet. What is sent serves both:
//! `RELOADING=1` comes with the monotonic time that `notify-reload` asks for.

use std::time::Duration;

use sd_notify::NotifyState;

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
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|time| !time.is_zero())
}

/// The daemon does its work.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody can be told that nobody can be told; a manager that hears nothing acts on its own.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
