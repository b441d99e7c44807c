//! Errors of commands, as people read them: what, why, how to mend it.

use std::fmt;

use super::message;
use crate::config::nearest;

/// More names than this are not listed in an error.
const MOST: usize = 12;

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
        let fix = advice(&self.name, known, list);
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

/// The daemon does not run, or does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoDaemon(pub String);

/// What helps whoever mistyped a name: the nearest, or all when they are few, and the command that lists them.
fn advice(name: &str, known: &[String], list: &str) -> String {
    let words: Vec<&str> = known.iter().map(String::as_str).collect();
    let list = message::command(list);
    match nearest(name, &words) {
        Some(near) => format!("did you mean `{near}`? `{list}` shows all"),
        None if known.is_empty() => format!("there are none yet: `{list}`"),
        None if known.len() <= MOST => format!("there are: {}", known.join(", ")),
        None => format!("`{list}` shows them"),
    }
}
