//! `config`: the configuration, validated, shown, described and reloaded.

use std::path::PathBuf;

use super::{exit::Exit, message, output};
use crate::{config::Config, daemon};

#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Reads the configuration and tells every problem at once.
    Validate,
    /// Shows the effective configuration, secrets as where they come from.
    Show,
    /// Prints the JSON Schema of a configuration file.
    Schema,
    /// Has the running daemon take the configuration as it is now, all of it or nothing, and says what changed.
    Reload,
}

pub(super) async fn config(paths: &[PathBuf], what: &ConfigCommand) -> anyhow::Result<Exit> {
    match what {
        ConfigCommand::Schema => output::text(&format!("{:#}\n", Config::schema()))?,
        ConfigCommand::Reload => return super::daemon::reload(paths).await,
        ConfigCommand::Show => output::text(&Config::load(paths)?.show())?,
        ConfigCommand::Validate => {
            let config = Config::load(paths)?;
            for warning in &config.warnings {
                message::eprint_line(&format!("warning: {warning}"));
            }
            daemon::same_connectors(&config.daemon.store.path(), &config)?;
            let files: Vec<String> = config.files.iter().map(|path| path.display().to_string()).collect();
            let (count, files) = (config.connections.len(), files.join(", "));
            output::text(&format!("{count} {} in {files}: valid\n", if count == 1 { "connection" } else { "connections" }))?;
        }
    }
    Ok(Exit::Ok)
}
