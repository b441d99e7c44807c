//! `db`: looking after the database file.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    exit::Exit,
    message,
    output::{Format, Rows},
};
use crate::{
    config::Config,
    daemon::{Holder, Lock},
    store::{self, Store},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum DbCommand {
    /// Creates the database or brings its tables up to date.
    Migrate,
    /// Checks that the file is whole.
    Check,
    /// Copies the database to a new file, also while a sync runs.
    Backup {
        /// The new file.
        file: PathBuf,
    },
    /// Puts a backup in the database's place; nothing else may use the database meanwhile.
    Restore {
        /// The backup.
        file: PathBuf,
    },
    /// Sizes and counts.
    Stats,
}

pub(super) fn run(paths: &[PathBuf], what: &DbCommand, format: Format) -> anyhow::Result<Exit> {
    let config = Config::load(paths)?;
    let path = config.daemon.store.path();
    // Only one of them makes a database: what there is not can be neither whole nor copied.
    let open = || -> anyhow::Result<Store> {
        super::run::there(&config)?;
        Ok(Store::open(&path, config.daemon.store.keep_raw)?)
    };
    match what {
        DbCommand::Migrate => {
            Store::open(&path, config.daemon.store.keep_raw)?;
            message::eprint_line(&format!("{} is up to date", path.display()));
        }
        DbCommand::Check => {
            let problems = open()?.problems()?;
            if !problems.is_empty() {
                message::eprint_line(&problems.join("\n"));
                return Err(store::Error::Damaged(path).into());
            }
            message::eprint_line(&format!("{} is whole", path.display()));
        }
        DbCommand::Backup { file } => {
            open()?.copy_to(file)?;
            message::eprint_line(&format!("{} is a copy of {}", file.display(), path.display()));
        }
        DbCommand::Restore { file } => restore(&path, file)?,
        DbCommand::Stats => {
            let rows = open()?.numbers()?.into_iter().map(|(what, number)| vec![json!(what), json!(number)]).collect();
            Rows { columns: vec!["what", "number"], rows }.print(format, "numbers")?;
        }
    }
    Ok(Exit::Ok)
}

/// Puts a backup in the database's place. No daemon can run meanwhile, nor start.
fn restore(path: &Path, file: &Path) -> anyhow::Result<()> {
    let mut lock = Lock::take(path)?;
    lock.write_holder(&Holder { pid: std::process::id(), listen: None })?;
    let problems = store::restore(path, file)?;
    for problem in problems {
        message::eprint_line(&format!("warning: {problem}"));
    }
    message::eprint_line(&format!("{} holds what {} held", path.display(), file.display()));
    Ok(())
}
