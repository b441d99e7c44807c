//! `db`: looking after the database file.

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, OpenFlags, backup::Backup};
use serde_json::json;

use super::{
    DbCommand,
    exit::{self, Exit, Usage},
    output::{Format, Rows},
};
use crate::{
    config::Config,
    store::{self, Store},
};

pub(super) fn run(paths: &[PathBuf], what: &DbCommand, format: Format) -> anyhow::Result<Exit> {
    let config = Config::load(paths)?;
    let path = config.daemon.store.path();
    let open = || Store::open(&path, config.daemon.store.keep_raw);
    match what {
        DbCommand::Migrate => {
            open()?;
            exit::say(&format!("{} is up to date", path.display()));
        }
        DbCommand::Check => {
            let reader = open()?.reader()?;
            let check = || reader.prepare("pragma integrity_check")?.query_map([], |row| row.get(0))?.collect();
            let problems: Vec<String> = match check() {
                Err(error) if store::is_damage(&error) => vec![error.to_string()],
                told => told?,
            };
            if problems != ["ok"] {
                exit::say(&problems.join("\n"));
                return Err(store::Error::Damaged(path).into());
            }
            exit::say(&format!("{} is whole", path.display()));
        }
        DbCommand::Backup { file } => {
            open()?.copy_to(file)?;
            exit::say(&format!("{} is a copy of {}", file.display(), path.display()));
        }
        DbCommand::Restore { file } => restore(&path, file)?,
        DbCommand::Stats => {
            let reader = open()?.reader()?;
            let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
            let mut wal = path.clone().into_os_string();
            wal.push("-wal");
            let mut rows = vec![
                vec![json!("bytes of the file"), json!(size(path.clone()))],
                vec![json!("bytes of its write-ahead log"), json!(size(wal.into()))],
                vec![
                    json!("free bytes inside"),
                    json!(reader.query_row(
                        "select freelist_count * page_size from pragma_freelist_count, pragma_page_size",
                        [],
                        |row| row.get::<_, i64>(0)
                    )?),
                ],
            ];
            for table in ["connections", "products", "records", "findings", "finding_events", "assets", "operations", "quarantine"] {
                let count: i64 = reader.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0))?;
                rows.push(vec![json!(table), json!(count)]);
            }
            Rows { columns: vec!["what", "number"], rows }.print(format, "numbers")?;
        }
    }
    Ok(Exit::Ok)
}

/// Copies a checked backup over the database, page by page in one transaction: a crash leaves the old or the new one.
fn restore(path: &PathBuf, file: &PathBuf) -> anyhow::Result<()> {
    let backup = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| store::Error::Open { path: file.clone(), reason: error.to_string() })?;
    let whole = backup.query_row("pragma integrity_check", [], |row| row.get::<_, String>(0)).is_ok_and(|told| told == "ok");
    let ours = whole && backup.query_row("select count(*) from finding_rows", [], |_| Ok(())).is_ok();
    if !ours {
        return Err(Usage(format!("{} is no backup of tributary, or damaged; nothing was changed", file.display())).into());
    }
    let store = Store::open(path, true)?;
    if let Some(owner) = store.holder()? {
        return Err(store::Error::Busy(owner).into());
    }
    drop(store);
    let mut target = Connection::open(path)?;
    Backup::new(&backup, &mut target)?.run_to_completion(i32::MAX, Duration::from_millis(50), None)?;
    drop(target);
    // A backup may be of an older version.
    Store::open(path, true)?;
    exit::say(&format!("{} holds what {} held", path.display(), file.display()));
    Ok(())
}
