//! The store: one SQLite file, one writer.
//!
//! All writes of a process go through one thread that owns the write connection, each in a transaction that takes the
//! write lock at its start (`BEGIN IMMEDIATE`): a transaction can wait for another process, but never fail in its middle.
//! A page, the cursor after it and what it counts are one transaction, so a crash at any moment leaves a prefix of pages.

mod carry;
mod close;
mod copy;
mod counts;
mod daemon;
mod disk;
mod due;
mod file;
mod finding_columns;
mod history;
mod lease;
mod list;
mod mapping;
mod merge;
mod names;
mod operations;
mod passes;
#[cfg(test)]
mod plans;
mod quarantine;
mod raws;
mod read;
mod records;
mod row;
mod standing;
mod things;
mod triage;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::failpoint;

pub use close::{Approved, Closing, ScopeClosing};
pub(crate) use copy::give_to_owner_of;
pub use copy::restore;
pub use counts::Counts;
pub use daemon::Reload;
pub use due::DueRow;
pub(crate) use file::{make_folder, real};
pub(crate) use lease::is_alive;
pub use lease::{Lease, check_connectors};
pub use mapping::{RecordAction, RecordChange, RecordFilter};
pub use merge::{Delivered, ImportPolicy, PageCommit, StoredPage};
pub use names::{Named, RECORD_STATES, is_there};
pub use operations::{OperationKind, Outcome, Trigger};
pub use passes::{Pass, PassEnd, PassKind, Resume, ScopeRow};
pub use raws::pack_ahead;
pub use read::{EndedOperation, Failures, FindingCount, LastSync, Reader, RunningOperation, Table, Waiting};
pub use records::Discovered;
pub use row::{PreparedFinding, hash_of, prepare};
pub use standing::{ConnectionFlags, Refusal};
pub use things::{Counted, PreparedThing, ThingCounts, prepare_thing};
pub use triage::{Decision, FindingFilter, Triage, Triaged};

mod migrations {
    refinery::embed_migrations!("src/store/migrations");
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or created.
    #[error("cannot open the database {path}: {reason}")]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// The file is no database, or damaged.
    #[error(
        "the database {0} is damaged, and was left as it is: move it away together with {0}-wal and {0}-shm, \
         then put a backup in its place with `tributary db restore BACKUP`, or sync anew without one"
    )]
    Damaged(PathBuf),
    /// The file was written by a newer version.
    #[error(
        "the database was written by a newer version of tributary, or one that is not finished ({0}): run that version, or restore a backup of this one"
    )]
    Newer(String),
    /// A backup cannot be written.
    #[error("cannot write the backup {path}: {reason}")]
    Backup {
        /// Path of the file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// What was to be restored is no backup.
    #[error("cannot restore {path}: {reason}; the database is as it was")]
    NoBackup {
        /// Path of the file.
        path: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// Somebody works with the database that was to be replaced.
    #[error("{by} has the database {path} open: nothing was changed; end it (`fuser {path}` names it), then restore again")]
    InUse {
        /// Path of the file.
        path: PathBuf,
        /// Who, as far as is known.
        by: String,
    },
    /// The file is not at its place any more.
    #[error(
        "the database {0} was deleted or replaced while this process worked with it, so nothing more is written: \
         put the same files back, or start this process anew with what is there now"
    )]
    Replaced(PathBuf),
    /// Another process runs an operation on this connection.
    #[error(
        "another operation is running on this connection, started by {0}: wait for it, or stop it with `tributary operations cancel ID`"
    )]
    LeaseHeld(String),
    /// What is stored under a connection's name came from another connector.
    #[error(
        "what is stored under the name `{connection}` came from the connector `{stored}`, and would be taken for that of `{configured}`: \
         give this connection another name, or set its connector back; what is stored stays under the old name"
    )]
    OtherConnector {
        /// The connection's name.
        connection: String,
        /// Whose findings are stored.
        stored: String,
        /// What the configuration says.
        configured: String,
    },
    /// The lease was taken over: nothing more may be written by this operation.
    #[error("the lease of this operation was taken over by another process")]
    LeaseLost,
    /// The pass that a page belongs to is not there: nothing of the page was stored.
    #[error("the list's position was reset while it was read: nothing was stored, and the next run reads it from its beginning")]
    PassLost,
    /// The disk takes nothing more.
    #[error("storage_full: {0}; nothing was lost, the next run goes on from the last stored page")]
    Full(&'static str),
    /// Somebody holds the write lock, longer than any transaction of this program lasts.
    #[error("another program has been writing to the database for over a minute; nothing was lost, try again when it is done")]
    Locked,
    /// Anything else that SQLite reports.
    #[error("database: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The writer thread has ended.
    #[error("the database writer has stopped")]
    Stopped,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::{ErrorCode, ffi};
        match error.sqlite_error().map(|error| (error.code, error.extended_code)) {
            Some((ErrorCode::DiskFull, _)) => Error::Full("the disk is full"),
            Some((_, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)) => {
                Error::Full("the disk takes nothing more: a quota or a limit of file sizes is reached, or it fails")
            }
            Some((ErrorCode::DatabaseBusy, _)) => Error::Locked,
            _ => Error::Sqlite(error),
        }
    }
}

impl Error {
    /// Whether the file is damaged, or no database.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Error::Damaged(_) => true,
            Error::Sqlite(error) => is_damage(error),
            _ => false,
        }
    }

    /// Whether the same may work a little later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Error::Full(_) | Error::Locked)
    }

    /// Names the file where it is the file that is wrong.
    fn of(self, path: &Path) -> Self {
        match self {
            Error::Sqlite(error) => damaged(path, error),
            other => other,
        }
    }
}

/// Results of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Work = Box<dyn FnOnce(&mut Writer) + Send>;

/// The open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    files: file::Files,
    writer: Arc<Thread>,
    keep_raw: bool,
}

/// The writer's thread. It ends with the last copy of the store, and whoever drops that one waits for it: the database is closed
/// then, and no log is left beside it unless another program has it open.
struct Thread {
    work: Option<mpsc::Sender<Work>>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.work = None;
        // What the thread itself runs may hold the last copy.
        if let Some(handle) = self.handle.take().filter(|handle| handle.thread().id() != thread::current().id()) {
            let _ = handle.join();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

/// What the writer thread owns.
pub(crate) struct Writer {
    path: PathBuf,
    files: file::Files,
    connection: Connection,
    pub(crate) texts: merge::TextCache,
    log: disk::Log,
    deferred: Vec<Owed>,
}

/// What could not be written when it should have been.
type Owed = Box<dyn Fn(&Transaction<'_>) -> Result<()> + Send>;

impl Store {
    /// Opens the file, creates it when it is not there (readable by its owner only), and brings its tables up to date.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(path: &Path, keep_raw: bool) -> Result<Self> {
        let path = &file::real(path);
        let mut connection = open_there(path)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(|error| damaged(path, error))?;
        migrate(path, &mut connection)?;
        disk::log_statements(&mut connection)?;
        let mover = disk::spawn_checkpointer(path, &mut connection)?;
        let (files, log) = (file::Files::of(path), disk::Log::of(path));
        let mut writer =
            Writer { path: path.clone(), files: files.clone(), connection, texts: merge::TextCache::default(), log, deferred: Vec::new() };
        let (work, jobs) = mpsc::channel::<Work>();
        let write = move || {
            while let Ok(job) = jobs.recv() {
                job(&mut writer);
            }
            // Its end is that of the thread beside it, too.
            drop(writer);
            let _ = mover.join();
        };
        let started = thread::Builder::new().name("store-writer".into()).spawn(write);
        let handle = started.map_err(|error| Error::Open { path: path.to_owned(), reason: error.to_string() })?;
        let writer = Arc::new(Thread { work: Some(work), handle: Some(handle) });
        Ok(Store { path: path.clone(), files, writer, keep_raw })
    }

    /// A connection for reading only; it sees whole transactions and hinders no writer.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reader(&self) -> Result<Reader> {
        self.files.check()?;
        open(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map(Reader)
    }

    /// Path of the database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the vendor's raw items are kept.
    pub fn keeps_raw(&self) -> bool {
        self.keep_raw
    }

    /// How long the write-ahead log is. It grows while somebody reads the database for a long time.
    pub fn wal_bytes(&self) -> u64 {
        disk::Log::of(&self.path).bytes()
    }

    /// Runs a transaction on the writer thread. Transactions run in the order in which they were asked for.
    pub(crate) fn write<T, F>(&self, run: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, &mut merge::TextCache) -> Result<T> + Send + 'static,
    {
        self.ask(|writer| writer.transaction(run))
    }

    /// Like [`Store::write`] for what a person decided: on the disk before the call returns.
    pub(crate) fn write_durably<T, F>(&self, run: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.ask(|writer| {
            writer.connection.pragma_update(None, "synchronous", "full")?;
            let done = writer.transaction(|tx, _| run(tx));
            writer.connection.pragma_update(None, "synchronous", "normal")?;
            done
        })
    }

    /// Like [`Store::write`] for how something ended: when that cannot be written now (a full disk), it is written before
    /// whatever is written next.
    pub(crate) fn write_or_defer<T, F>(&self, run: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.ask(|writer| {
            let done = writer.transaction(|tx, _| run(tx));
            if done.as_ref().is_err_and(Error::is_transient) {
                writer.deferred.push(Box::new(move |tx| run(tx).map(drop)));
            }
            done
        })
    }

    /// Clears the write-ahead log when it became long; to be called when an operation has ended.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn truncate_wal(&self) -> Result<()> {
        self.ask(Writer::truncate_wal).await
    }

    fn ask<T, F>(&self, run: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writer) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let asked = std::time::Instant::now();
        let job: Work = Box::new(move |writer| {
            metrics::histogram!("tributary_store_write_wait_seconds").record(asked.elapsed().as_secs_f64());
            let _ = reply.send(run(writer));
        });
        // Sent now, not at the first poll: the order of calls is the order of transactions.
        let sent = self.writer.work.as_ref().and_then(|work| work.send(job).ok());
        async move {
            sent.ok_or(Error::Stopped)?;
            answer.await.map_err(|_| Error::Stopped)?
        }
    }
}

impl Writer {
    fn transaction<T>(&mut self, run: impl FnOnce(&Transaction<'_>, &mut merge::TextCache) -> Result<T>) -> Result<T> {
        while let Some(deferred) = self.deferred.pop() {
            match self.attempt(|tx, _| deferred(tx)) {
                Err(error) if error.is_transient() => {
                    self.deferred.push(deferred);
                    return Err(error);
                }
                Err(error) => tracing::warn!(%error, "how something ended could not be written"),
                Ok(()) => {}
            }
        }
        self.attempt(run)
    }

    fn attempt<T>(&mut self, run: impl FnOnce(&Transaction<'_>, &mut merge::TextCache) -> Result<T>) -> Result<T> {
        let done = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from).and_then(|tx| {
            // Nobody else writes from here on: what is true now holds until the end.
            self.files.check()?;
            self.texts.forget_what_others_wrote(&tx)?;
            let done = run(&tx, &mut self.texts)?;
            tx.commit()?;
            Ok(done)
        });
        if done.is_err() {
            // Texts of a transaction that was rolled back are not in the table.
            self.texts.clear();
        }
        if matches!(done, Err(Error::Full(_))) {
            // What the log holds may fit into the file where it replaces what is there: then the log has room again.
            let _ = self.checkpoint();
        }
        self.log.watch();
        done.map_err(|error| error.of(&self.path))
    }
}

/// Now, in microseconds since 1970.
pub(crate) fn now() -> i64 {
    crate::clock::now_us()
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| Error::Open { path: path.to_owned(), reason: error.to_string() })?;
    let setup = || -> rusqlite::Result<()> {
        connection.busy_timeout(disk::BUSY_TIMEOUT)?;
        // Only of a new file. A row with its raw item is about 2 kB: larger pages take a fifth off the time of an insert.
        connection.pragma_update(None, "page_size", 8192)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "cache_size", -24_000)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
    };
    setup().map_err(|error| damaged(path, error))?;
    Ok(connection)
}

/// Opens the file at a path for writing, and creates it when it is not there.
fn open_there(path: &Path) -> Result<Connection> {
    for _ in 0..10 {
        file::create_private(path)?;
        let before = file::inode(path);
        let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // A restore may have put another file there while this one was waited for.
        if before.is_some() && before == file::inode(path) {
            return Ok(connection);
        }
    }
    Err(Error::Replaced(path.to_owned()))
}

/// Whether it is the file that is wrong.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt))
}

fn damaged(path: &Path, error: rusqlite::Error) -> Error {
    if is_damage(&error) { Error::Damaged(path.to_owned()) } else { error.into() }
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<()> {
    // Two processes may open a new file at once: the second one waits here, then finds nothing left to do.
    connection.execute_batch("create table if not exists migration_lock (held integer)").map_err(|error| damaged(path, error))?;
    failpoint::pass("migration.begun");
    let runner = migrations::migrations::runner().set_abort_missing(true).set_abort_divergent(true);
    let mut last = None;
    for _ in 0..50 {
        match runner.run(connection) {
            Ok(_) => {
                failpoint::pass("migration.done");
                return Ok(());
            }
            // Steps that this version does not know, or knows otherwise: trying again changes nothing.
            Err(error) if ["missing from the filesystem", "is different than"].iter().any(|told| error.to_string().contains(told)) => {
                return Err(Error::Newer(error.to_string()));
            }
            Err(error) => {
                // The other process may have applied the same step meanwhile.
                last = Some(error.to_string());
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
    Err(Error::Open { path: path.to_owned(), reason: last.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("t.db"), true).expect("a store");
        (folder, store)
    }

    fn synchronous(tx: &Transaction<'_>) -> Result<i64> {
        Ok(tx.query_row("pragma synchronous", [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn d3_what_people_decide_is_synced_to_the_disk_and_pages_are_not_waited_for() {
        let (_folder, store) = store();
        let (normal, full) = (1, 2);
        assert_eq!(store.write_durably(synchronous).await.expect("written"), full);
        assert_eq!(store.write(|tx, _| synchronous(tx)).await.expect("written"), normal);
        assert!(store.write_durably(|_| Err::<(), _>(Error::LeaseLost)).await.is_err());
        assert_eq!(store.write(|tx, _| synchronous(tx)).await.expect("written"), normal, "after a failure too");
    }

    #[tokio::test]
    async fn d7_what_a_full_disk_refused_is_written_once_there_is_room() {
        let (_folder, store) = store();
        let most = |pages: &'static str| {
            store.ask(move |writer| {
                let limit = writer.connection.query_row(&format!("pragma max_page_count = {pages}"), [], |row| row.get::<_, i64>(0))?;
                Ok(limit)
            })
        };
        let long = |tx: &Transaction<'_>, name: &str| -> Result<()> {
            tx.execute("insert into products (name, created_at) values (?1 || hex(randomblob(100000)), 0)", [name])?;
            Ok(())
        };
        most("1").await.expect("the size that it has now");
        let refused = store.write_or_defer(move |tx| long(tx, "deferred ")).await.expect_err("there is no room");
        assert_eq!(refused.to_string(), "storage_full: the disk is full; nothing was lost, the next run goes on from the last stored page");
        assert!(store.write(move |tx, _| long(tx, "other ")).await.is_err());
        most("1000000").await.expect("room");
        let names = "select group_concat(substr(name, 1, 9)) from products";
        let written: String = store.write(move |tx, _| Ok(tx.query_row(names, [], |row| row.get(0))?)).await.expect("written");
        assert_eq!(written, "deferred ", "what was deferred, once, and nothing that was given up");
        let written: String = store.write(move |tx, _| Ok(tx.query_row(names, [], |row| row.get(0))?)).await.expect("written");
        assert_eq!(written, "deferred ");
    }

    #[test]
    fn d8_every_connection_waits_for_other_programs_for_a_minute() {
        let (_folder, store) = store();
        let waits: i64 = store.reader().expect("a reader").0.query_row("pragma busy_timeout", [], |row| row.get(0)).expect("a number");
        assert_eq!(waits, 60_000);
    }
}
