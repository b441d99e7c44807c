//! Problems of a configuration, told with file, line, and the offending words underlined.

use std::{fmt, path::PathBuf};

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable code, one of [`crate::error_code`].
    pub code: &'static str,
    /// File, and line, column and length of the offending words in characters, from 1.
    pub place: Option<(PathBuf, usize, usize, usize)>,
    /// The line of the file.
    pub line: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub hint: String,
}

/// Every problem of a configuration.
#[derive(Debug, thiserror::Error)]
pub struct Errors(pub Vec<Problem>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            write!(f, "error[{}]: ", problem.code)?;
            match &problem.place {
                Some((file, line, column, length)) => {
                    writeln!(f, "{}:{line}:{column}: {}", file.display(), problem.what)?;
                    writeln!(f, "{line:>4} | {}", problem.line)?;
                    writeln!(f, "     | {}{} {}", " ".repeat(column - 1), "^".repeat((*length).max(1)), problem.hint)?;
                }
                None => writeln!(f, "{}\n  fix:   {}", problem.what, problem.hint)?,
            }
        }
        let count = self.0.len();
        write!(f, "{count} {}; nothing was changed", if count == 1 { "error" } else { "errors" })
    }
}
