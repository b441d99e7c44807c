//! Exit codes, and errors as people read them: what, why, how to mend it.

use std::{fmt, io::Write, path::PathBuf, process::ExitCode, sync::OnceLock};

use tributary_connectors::{Kind, model::text::visible};

use crate::{config, store, store::Outcome, sync, sync::Report};

/// The exit codes. Unknown ones mean failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed for another reason.
    Failed = 1,
    /// The command line cannot be meant so.
    Usage = 2,
    /// Some of it failed.
    Partial = 3,
    /// There is no such object.
    NotFound = 4,
    /// Closes wait for an operator.
    Held = 5,
    /// The database is damaged.
    Damaged = 65,
    /// The vendor cannot be reached.
    Unreachable = 69,
    /// Somebody else is at it.
    Busy = 75,
    /// The credential was refused, or lacks a permission.
    Refused = 77,
    /// The configuration is invalid.
    Configuration = 78,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// What a vendor's error means for the exit code.
    pub fn of_vendor(error: &tributary_connectors::Error) -> Exit {
        match error.kind {
            Kind::Unauthorized(_) | Kind::Forbidden(_) => Exit::Refused,
            Kind::Network(_) | Kind::Tls(_) | Kind::Redirect(_) | Kind::Elsewhere(_) => Exit::Unreachable,
            Kind::Settings(_) => Exit::Configuration,
            Kind::Throttled(_) | Kind::Pending(_) => Exit::Busy,
            _ => Exit::Failed,
        }
    }

    /// What an error of the store means.
    pub fn of_store(error: &store::Error) -> Exit {
        match error {
            store::Error::Damaged(_) => Exit::Damaged,
            store::Error::Busy(_) | store::Error::Locked | store::Error::InUse { .. } => Exit::Busy,
            store::Error::NoBackup { .. } => Exit::Usage,
            store::Error::OtherConnector { .. } => Exit::Configuration,
            _ => Exit::Failed,
        }
    }

    /// What any error of an operation means.
    pub fn of_sync(error: &sync::Error) -> Exit {
        match error {
            sync::Error::Vendor(error) => Exit::of_vendor(error),
            sync::Error::Store(error) => Exit::of_store(error),
            sync::Error::Stopped => Exit::Interrupted,
            sync::Error::Panicked => Exit::Failed,
        }
    }

    /// What one operation's report means.
    pub fn of_report(report: &Report) -> Exit {
        match report.outcome {
            Outcome::Success | Outcome::Skipped => Exit::Ok,
            Outcome::Partial => Exit::Partial,
            Outcome::Held => Exit::Held,
            Outcome::Interrupted => Exit::Interrupted,
            Outcome::Failed => same(report.errors.iter().map(|(_, error)| Exit::of_sync(error))).unwrap_or(Exit::Failed),
        }
    }

    /// The code of several: one class gives that class's code, a mix is partial.
    pub fn of_all(exits: &[Exit]) -> Exit {
        match same(exits.iter().copied()) {
            Some(exit) => exit,
            None if exits.is_empty() => Exit::Ok,
            None if exits.iter().all(|exit| matches!(exit, Exit::Ok | Exit::Held)) => Exit::Held,
            None => Exit::Partial,
        }
    }
}

fn same(mut exits: impl Iterator<Item = Exit>) -> Option<Exit> {
    let first = exits.next()?;
    exits.all(|exit| exit == first).then_some(first)
}

/// Something that is not there.
#[derive(Debug)]
pub(super) struct NotFound {
    /// What sort of thing.
    kind: &'static str,
    /// What was asked for.
    name: String,
    /// What to do.
    fix: Option<String>,
}

impl NotFound {
    pub(super) fn new(kind: &'static str, name: impl Into<String>) -> Self {
        NotFound { kind, name: name.into(), fix: None }
    }

    /// With what to do.
    pub(super) fn fix(mut self, fix: String) -> Self {
        self.fix = Some(fix);
        self
    }

    /// With the nearest of the names that there are, and the command that lists them.
    pub(super) fn among(self, known: &[String], list: &str) -> Self {
        let fix = super::words::advice(&self.name, known, list);
        self.fix(fix)
    }
}

impl std::error::Error for NotFound {}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {} `{}`", self.kind, self.name)?;
        self.fix.iter().try_for_each(|fix| write!(f, "\n  fix:   {fix}"))
    }
}

/// There is nothing to run.
#[derive(Debug, thiserror::Error)]
#[error(
    "no connection is configured in {0}\n  fix:   add a section [connections.NAME] there; `tributary connectors` lists what it can be, `tributary demo` needs none"
)]
pub(super) struct NoConnection(pub String);

/// A command that cannot be meant so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub String);

/// Tells an error on stderr and gives its exit code.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(errors) = error.downcast_ref::<config::Errors>() {
        say(&format!("{errors}"));
        return Exit::Configuration.into();
    }
    let io = error.downcast_ref::<std::io::Error>();
    if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        return Exit::Ok.into();
    }
    tell(error).into()
}

/// Tells an error on stderr, where more is done after it.
pub(super) fn tell(error: &anyhow::Error) -> Exit {
    let (code, exit) = class(error);
    say(&format!("error[{code}]: {error:#}"));
    exit
}

/// The stable code and the exit code of an error that ends a command.
fn class(error: &anyhow::Error) -> (&'static str, Exit) {
    if let Some(error) = error.downcast_ref::<sync::Error>() {
        return (crate::daemon::code_of(error), Exit::of_sync(error));
    }
    if let Some(error) = error.downcast_ref::<tributary_connectors::Error>() {
        return (code_of(error), Exit::of_vendor(error));
    }
    if let Some(error) = error.downcast_ref::<store::Error>() {
        return (code_of_store(error), Exit::of_store(error));
    }
    match () {
        () if error.downcast_ref::<rusqlite::Error>().is_some_and(store::is_damage) => ("E0501", Exit::Damaged),
        () if error.is::<NotFound>() => ("E0401", Exit::NotFound),
        () if error.is::<NoConnection>() => ("E0117", Exit::Configuration),
        () if error.is::<Usage>() => ("E0402", Exit::Usage),
        () if error.is::<crate::daemon::Taken>() => ("E0403", Exit::Busy),
        () if error.is::<super::daemon::NoDaemon>() => ("E0404", Exit::Unreachable),
        () => ("E0400", Exit::Failed),
    }
}

/// The stable code of an error of the store.
pub(crate) fn code_of_store(error: &store::Error) -> &'static str {
    match error {
        store::Error::Damaged(_) => "E0501",
        store::Error::Busy(_) => "E0502",
        store::Error::Locked => "E0507",
        store::Error::Full(_) => "E0503",
        store::Error::Newer(_) => "E0504",
        store::Error::Open { .. } | store::Error::Backup { .. } => "E0505",
        store::Error::LeaseLost | store::Error::PassLost => "E0506",
        store::Error::Replaced(_) => "E0508",
        store::Error::InUse { .. } => "E0509",
        store::Error::NoBackup { .. } => "E0510",
        store::Error::OtherConnector { .. } => "E0511",
        store::Error::Sqlite(_) | store::Error::Stopped => "E0500",
    }
}

/// What `--config` was given.
static CONFIG: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Keeps what `--config` was given, for [`command`].
pub(super) fn remember(config: &[PathBuf]) {
    let _ = CONFIG.set(config.to_vec());
}

/// A command as it can be pasted into a shell, for the same configuration as this one.
pub(super) fn command(words: &str) -> String {
    with_config(words, CONFIG.get().map_or(&[], Vec::as_slice))
}

/// Where the ids of findings, operations and the like are shown.
pub(super) fn list(what: &str) -> String {
    format!("`{}` shows the ids", command(&format!("tributary {what} list")))
}

fn with_config(words: &str, config: &[PathBuf]) -> String {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte));
    config.iter().fold(words.to_owned(), |command, path| {
        let path = path.display().to_string();
        let path = if plain(&path) { path } else { format!("'{}'", path.replace('\'', "'\\''")) };
        format!("{command} --config {path}")
    })
}

/// Tells what a vendor did wrong on one connection, and what to do next, unless that was what was done.
pub(super) fn say_vendor(connection: &str, doing: &str, error: &tributary_connectors::Error, next: Option<&str>) {
    let (code, what) = meaning(error);
    let tries = if error.attempts > 1 { format!(" ({} attempts)", error.attempts) } else { String::new() };
    let mut text =
        format!("error[{code}]: {what}: connection \"{connection}\"\n  where: {doing}, {}{tries}\n  why:   {}\n", error.doing, error.kind);
    if let Some(hint) = error.hint() {
        text.push_str(&format!("  fix:   {hint}\n"));
    }
    if let Some(next) = next {
        text.push_str(&format!("  next:  {}\n", command(next)));
    }
    say(text.trim_end());
}

/// The stable code of a vendor's error.
pub(crate) fn code_of(error: &tributary_connectors::Error) -> &'static str {
    meaning(error).0
}

fn meaning(error: &tributary_connectors::Error) -> (&'static str, &'static str) {
    match error.kind {
        Kind::Unauthorized(_) => ("E0201", "the credential was refused"),
        Kind::Forbidden(_) => ("E0202", "a permission is missing"),
        Kind::Network(_) | Kind::Tls(_) => ("E0203", "the tool cannot be reached"),
        Kind::Redirect(_) | Kind::Elsewhere(_) => ("E0204", "the tool's API is not at this location"),
        Kind::Settings(_) => ("E0205", "the connection's settings cannot work"),
        Kind::Throttled(_) => ("E0206", "the tool limits the rate of requests"),
        Kind::Shape { .. } => ("E0207", "the tool answered something unexpected"),
        Kind::Pending(_) => ("E0209", "the tool is not ready"),
        _ => ("E0208", "the tool failed"),
    }
}

/// A line on stderr, which what a vendor wrote does not steer. Nobody can be told when that fails.
pub(super) fn say(text: &str) {
    // In one write, as the log takes whole lines.
    let _ = super::log::stderr().write_all(format!("{}\n", visible(text, super::output::LAYOUT)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_told_can_be_pasted_with_its_configuration() {
        assert_eq!(with_config("tributary check t", &[]), "tributary check t");
        let config = ["etc/a.toml".into(), "my file's.toml".into()];
        assert_eq!(with_config("tributary check t", &config), r"tributary check t --config etc/a.toml --config 'my file'\''s.toml'");
    }
}
