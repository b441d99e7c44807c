//! Copies of the whole database: a backup, its way back, and the copy on which an operation can be tried.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, backup::Backup};

use tributary_connectors::model::ItemKind;

use super::{
    Error, Result, Store, damaged,
    file::{self, BESIDE},
    is_damage, lease, migrate, open, things,
};
use crate::failpoint;

/// How long a restore waits for other programs to leave the database.
const RESTORE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Copies the database to a new file, also while others write to it. The copy has its name only when it is whole.
    ///
    /// # Errors
    /// [`Error::Backup`] when the file is there already or cannot be written.
    pub fn copy_to(&self, file: &Path) -> Result<()> {
        let error = |reason: String| Error::Backup { path: file.to_owned(), reason };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match (file::inode(file), file.is_dir(), folder.is_dir()) {
            (_, true, _) => return Err(error("it is a folder: name a new file in it".to_owned())),
            (Some(there), ..) if Some(there) == file::inode(&self.path) => {
                return Err(error("it is the database itself: name a new file".to_owned()));
            }
            (Some(_), ..) => return Err(error("it is there already, and is not written over: name a new file".to_owned())),
            (.., false) => return Err(error(format!("there is no folder {}: make it first", folder.display()))),
            _ => {}
        }
        let told = |why: io::Error| error(why.to_string());
        // Readable by its owner alone, whatever the umask.
        let copy = tempfile::Builder::new().prefix(".tributary-backup-").tempfile_in(folder).map_err(told)?.into_temp_path();
        let made = self.snapshot(&copy).map_err(|why| match why {
            // It is the disk of the copy that is full, not that of the database.
            Error::Full(why) => error(format!("{why}; nothing was left behind")),
            Error::Sqlite(why) if !is_damage(&why) => error(format!("{why}; nothing was left behind")),
            why => why.of(&self.path),
        });
        made?;
        copy.persist_noclobber(file).map_err(|why| told(why.error))?;
        file::sync_folder(file).map_err(told)
    }

    /// Copies one moment of the database into an empty file, which is a database of its own after that.
    fn snapshot(&self, file: &Path) -> Result<()> {
        let reader = self.reader()?.0;
        let mut copy = Connection::open(file)?;
        // One snapshot from the first page to the last: without it the copy begins anew whenever somebody writes.
        reader.execute_batch("begin; select count(*) from sqlite_schema")?;
        Backup::new(&reader, &mut copy)?.run_to_completion(2000, Duration::ZERO, None)?;
        // No log beside it: it can be read where nothing can be written.
        copy.pragma_update(None, "journal_mode", "delete")?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    /// A copy in a folder, on which an operation can be tried: nobody holds a lease there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn dry_run_copy(&self, folder: &Path) -> Result<Store> {
        let file = folder.join("trial.db");
        self.copy_to(&file)?;
        let store = Store::open(&file, false)?;
        lease::end_all(&open(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?)?;
        Ok(store)
    }

    /// What is wrong with the file or with what is in it, a line each; empty when all is well. Reads every page.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn problems(&self) -> Result<Vec<String>> {
        let reader = self.reader()?.0;
        let damage = damage(&reader)?;
        if damage.is_empty() { lost_rows(&reader) } else { Ok(damage) }
    }
}

/// Pages that cannot be read, a line each.
fn damage(reader: &Connection) -> Result<Vec<String>> {
    let look = || reader.prepare("pragma integrity_check")?.query_map([], |row| row.get(0))?.collect();
    let mut found: Vec<String> = match look() {
        Err(error) if is_damage(&error) => vec![error.to_string()],
        told => told?,
    };
    found.retain(|line| line != "ok");
    Ok(found)
}

/// Rows that point to rows which are not there, a line for each pair of tables.
fn lost_rows(reader: &Connection) -> Result<Vec<String>> {
    let mut found = reader.prepare(
        "select \"table\", parent, count(*) from pragma_foreign_key_check group by \"table\", parent order by \"table\", parent",
    )?;
    let found = found.query_map([], |row| {
        let (table, parent, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("{count} rows of {table} point to rows of {parent} that are not there"))
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Puts a backup in the place of a database. It is looked through first, and brought up to date in a copy of its own beside the
/// database; then that copy takes the database's name at once: whatever interrupts it, the old file is there or the new one.
///
/// Gives what is wrong inside the backup, where that is no reason to refuse it.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::Newer`] and [`Error::InUse`]; the database is as it was then.
pub fn restore(path: &Path, backup: &Path) -> Result<Vec<String>> {
    let path = file::real(path);
    let refused = |why: &str| Error::NoBackup { path: backup.to_owned(), reason: why.to_owned() };
    match fs::metadata(backup) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(refused("there is no such file")),
        Err(error) => return Err(refused(&error.to_string())),
        Ok(file) if !file.is_file() => return Err(refused("it is no file")),
        Ok(_) if file::inode(backup) == file::inode(&path) => return Err(refused("it is the database itself")),
        Ok(_) => {}
    }
    file::make_folder(&path)?;
    let error = |why: io::Error| Error::Open { path: path.clone(), reason: why.to_string() };
    let beside = path.parent().unwrap_or(Path::new("."));
    let folder = tempfile::Builder::new().prefix(".tributary-restore-").tempdir_in(beside).map_err(error)?;
    let copy = folder.path().join("restored.db");
    file::create_private(&copy)?;
    let told = prepare(backup, &copy)?;
    fs::File::open(&copy).and_then(|file| file.sync_all()).map_err(error)?;
    give_to_owner_of(&path, &copy);
    failpoint::pass("restore.copied");
    let held = hold(&path)?;
    failpoint::pass("restore.held");
    if held.is_none() {
        // What belongs to a damaged database would be taken for a part of the new one.
        for end in BESIDE.iter().chain(&["-journal"]) {
            match fs::remove_file(file::beside(&path, end)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(error(why)),
                _ => {}
            }
        }
    }
    fs::rename(&copy, &path).map_err(error)?;
    failpoint::pass("restore.renamed");
    file::sync_folder(&path).map_err(error)?;
    drop(held);
    Ok(told)
}

/// Reads a backup into an empty file, and makes that a database of this version that nobody works on.
fn prepare(backup: &Path, copy: &Path) -> Result<Vec<String>> {
    let refused = |why: String| Error::NoBackup { path: backup.to_owned(), reason: why };
    match read(backup, copy) {
        // SQLite has to write beside a database with a log, even to read it.
        Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)) => {
            read_as_file(backup, copy).map_err(|why| refused(why.to_string()))?;
        }
        Err(error) if is_damage(&error) => return Err(refused("it is damaged, or no database".to_owned())),
        read => read?,
    }
    let mut connection = match open(copy, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        Err(Error::Damaged(_)) => return Err(refused("it is damaged, or no database".to_owned())),
        opened => opened?,
    };
    if let Some(line) = damage(&connection)?.first() {
        return Err(refused(format!("it is damaged: {line}")));
    }
    let lost = lost_rows(&connection)?;
    if connection.query_row("select count(*) from finding_rows", [], |_| Ok(())).is_err() {
        return Err(refused("it is a database, but none of tributary".to_owned()));
    }
    migrate(copy, &mut connection)?;
    lease::end_all(&connection)?;
    // So that whoever opens it holds its lock as long as it is open.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(lost)
}

/// One moment of a database, whoever else writes to it.
fn read(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let from = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    from.busy_timeout(RESTORE_BUSY_TIMEOUT)?;
    let mut to = Connection::open(to)?;
    from.execute_batch("begin; select count(*) from sqlite_schema")?;
    Backup::new(&from, &mut to)?.run_to_completion(2000, Duration::ZERO, None)?;
    to.close().map_err(|(_, error)| error)
}

/// A file and the log that lies beside it, where nobody can write.
fn read_as_file(from: &Path, to: &Path) -> io::Result<()> {
    let from = file::real(from);
    for end in ["", BESIDE[0]] {
        match (fs::File::open(file::beside(&from, end)), end) {
            (Err(error), "") => return Err(error),
            (Err(_), _) => {}
            (Ok(mut from), _) => {
                let mut to = fs::File::create(file::beside(to, end))?;
                io::copy(&mut from, &mut to)?;
            }
        }
    }
    Ok(())
}

/// Takes a database from everybody, with all of its log moved into it: what is returned keeps it. `None` when there is none, or
/// one so damaged that nobody can work with it.
fn hold(path: &Path) -> Result<Option<Connection>> {
    if !path.exists() {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let hold = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(RESTORE_BUSY_TIMEOUT)?;
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        connection.pragma_update(None, "journal_mode", "delete")?;
        connection.execute_batch("begin exclusive")?;
        Ok(connection)
    };
    match hold() {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            let by = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|reader| lease::holder(&reader)).ok().flatten();
            Err(Error::InUse { path: path.to_owned(), by: by.unwrap_or_else(|| "another program".to_owned()) })
        }
        Err(error) => Err(damaged(path, error)),
    }
}

/// The owner of the database before, or of its folder, goes on to own it: root may restore what another user's daemon works with.
pub(crate) fn give_to_owner_of(path: &Path, file: &Path) {
    let owner = fs::metadata(path).or_else(|_| fs::metadata(path.parent().unwrap_or(Path::new("."))));
    if let Ok(owner) = owner {
        // Only root can give files away; who is not, owns what he makes.
        let _ = std::os::unix::fs::chown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

impl Store {
    /// Sizes in bytes, and rows by table.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn numbers(&self) -> Result<Vec<(&'static str, i64)>> {
        let reader = self.reader()?.0;
        let size = |path: &Path| fs::metadata(path).map_or(0, |file| i64::try_from(file.len()).unwrap_or(i64::MAX));
        let free = "select freelist_count * page_size from pragma_freelist_count, pragma_page_size";
        let mut numbers = vec![
            ("bytes of the file", size(&self.path)),
            ("bytes of its write-ahead log", size(&file::beside(&self.path, BESIDE[0]))),
            ("free bytes inside", reader.query_row(free, [], |row| row.get(0))?),
        ];
        let things = ItemKind::THINGS.iter().map(|kind| (kind.plural(), things::table(*kind)));
        let views = ["connections", "products", "records", "findings", "finding_events", "operations", "quarantine"];
        for (name, table) in views.map(|view| (view, view)).into_iter().chain(things) {
            numbers.push((name, reader.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0))?));
        }
        Ok(numbers)
    }
}
