//! What people are told on stderr: lines, vendors' errors, and commands that they can paste.

use std::{path::PathBuf, sync::OnceLock};

use crate::error_code;
pub(super) use crate::log::eprint_line;

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
pub(super) fn vendor_error(connection: &str, doing: &str, error: &tributary_connectors::Error, next: Option<&str>) {
    let code = error_code::of_vendor(error);
    let what = error_code::meaning(code);
    let tries = if error.attempts > 1 { format!(" ({} attempts)", error.attempts) } else { String::new() };
    let mut text =
        format!("error[{code}]: {what}: connection \"{connection}\"\n  where: {doing}, {}{tries}\n  why:   {}\n", error.doing, error.kind);
    if let Some(hint) = error.hint() {
        text.push_str(&format!("  fix:   {hint}\n"));
    }
    if let Some(next) = next {
        text.push_str(&format!("  next:  {}\n", command(next)));
    }
    eprint_line(text.trim_end());
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
