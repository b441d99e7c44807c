//! The store: one SQLite file, one writer.
//!
//! All writes of a process go through one thread that owns the write connection, each in a transaction that takes the
//! write lock at its start (`BEGIN IMMEDIATE`): a transaction can wait for another process, but never fail in its middle.
//! A page, the cursor after it and what it counts are one transaction, so a crash at any moment leaves a prefix of pages.

mod assets;
mod close;
mod lease;
mod list;
mod mapping;
mod merge;
mod operations;
mod passes;
#[cfg(test)]
mod plans;
mod records;
mod row;
mod triage;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, backup::Backup};
use tokio::sync::oneshot;

pub use assets::{AssetCounts, AssetRow, prepare_asset};
pub use close::{Approved, Closing, ScopeClosing};
pub use lease::Lease;
pub use mapping::{RecordAction, RecordChange, RecordFilter};
pub use merge::{Counts, Gate, PageCommit, Stored};
pub use operations::{Kind as OperationKind, Outcome, Trigger};
pub use passes::{Pass, PassEnd, ScopeRow};
pub use row::{Row, hash_of, prepare};
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
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is no database, or damaged.
    #[error("the database {0} is damaged: restore a backup, or move the file away to start anew")]
    Damaged(PathBuf),
    /// The file was written by a newer version.
    #[error("the database was written by a newer version of tributary: {0}")]
    Newer(String),
    /// Another process runs an operation on this connection.
    #[error("another operation is running on this connection, started by {0}")]
    Busy(String),
    /// The lease was taken over: nothing more may be written by this operation.
    #[error("the lease of this operation was taken over by another process")]
    LeaseLost,
    /// The disk is full.
    #[error("the disk is full: nothing was lost, the next run goes on from the last stored page")]
    Full,
    /// Anything else that SQLite reports.
    #[error("database: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The writer thread has ended.
    #[error("the database writer has stopped")]
    Stopped,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Error::Full,
            _ => Error::Sqlite(error),
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
    work: mpsc::Sender<Work>,
    keep_raw: bool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

/// What the writer thread owns.
pub(crate) struct Writer {
    connection: Connection,
    pub(crate) texts: merge::TextCache,
}

impl Store {
    /// Opens the file, creates it when it is not there (readable by its owner only), and brings its tables up to date.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(path: &Path, keep_raw: bool) -> Result<Self> {
        create_private(path)?;
        let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(|error| damaged(path, error))?;
        migrate(path, &mut connection)?;
        let (work, jobs) = mpsc::channel::<Work>();
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                let mut writer = Writer { connection, texts: merge::TextCache::default() };
                while let Ok(job) = jobs.recv() {
                    job(&mut writer);
                }
            })
            .map_err(|error| Error::Open { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Store { path: path.to_owned(), work, keep_raw })
    }

    /// A connection for reading only; it sees whole transactions and hinders no writer.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reader(&self) -> Result<Connection> {
        open(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// Copies the database to a new file, also while others write to it.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn copy_to(&self, file: &Path) -> Result<()> {
        if file.exists() {
            return Err(Error::Open { path: file.to_owned(), reason: "it is there already".to_owned() });
        }
        // Created first, so that nobody else can read it whatever the umask.
        create_private(file)?;
        let reader = self.reader()?;
        let mut copy = Connection::open(file)?;
        Backup::new(&reader, &mut copy)?.run_to_completion(2000, Duration::ZERO, None)?;
        Ok(())
    }

    /// A copy in a folder, on which an operation can be tried: nobody holds a lease there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn trial(&self, folder: &Path) -> Result<Store> {
        let file = folder.join("trial.db");
        self.copy_to(&file)?;
        let store = Store::open(&file, false)?;
        open(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?.execute("update leases set held_until = 0", [])?;
        Ok(store)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The vendor's own item of a finding, as it came.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn raw(reader: &Connection, finding: &str) -> Result<Option<String>> {
        use rusqlite::OptionalExtension;
        let body: Option<Vec<u8>> = reader
            .query_row(
                "select r.body from raws r join finding_rows f on f.seq = r.finding_seq where f.id_hash = ?1 and f.id = ?2",
                rusqlite::params![row::Id::hash_of(finding), finding],
                |row| row.get(0),
            )
            .optional()?;
        Ok(body.and_then(|body| row::unpack(&body).ok()))
    }

    /// What the column `id_hash` of `finding_list` holds for a finding's id: by that a finding is found at once.
    pub fn id_hash(id: &str) -> i64 {
        row::Id::hash_of(id)
    }

    /// Whether the vendor's raw items are kept.
    pub fn keeps_raw(&self) -> bool {
        self.keep_raw
    }

    /// Runs a transaction on the writer thread. Transactions run in the order in which they were asked for.
    pub(crate) fn write<T, F>(&self, run: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, &mut merge::TextCache) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Work = Box::new(move |writer| {
            let _ = reply.send(writer.transaction(run));
        });
        // Sent now, not at the first poll: the order of calls is the order of transactions.
        let sent = self.work.send(job);
        async move {
            sent.map_err(|_| Error::Stopped)?;
            answer.await.map_err(|_| Error::Stopped)?
        }
    }
}

impl Store {
    /// Like [`Store::write`] for what a person decided: on the disk before the call returns.
    pub(crate) fn write_durably<T, F>(&self, run: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Work = Box::new(move |writer| {
            let done = writer
                .connection
                .pragma_update(None, "synchronous", "full")
                .map_err(Error::from)
                .and_then(|()| writer.transaction(|tx, _| run(tx)));
            let _ = writer.connection.pragma_update(None, "synchronous", "normal");
            let _ = reply.send(done);
        });
        let sent = self.work.send(job);
        async move {
            sent.map_err(|_| Error::Stopped)?;
            answer.await.map_err(|_| Error::Stopped)?
        }
    }
}

impl Writer {
    fn transaction<T>(&mut self, run: impl FnOnce(&Transaction<'_>, &mut merge::TextCache) -> Result<T>) -> Result<T> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = run(&transaction, &mut self.texts).and_then(|done| {
            transaction.commit()?;
            Ok(done)
        });
        if done.is_err() {
            // Texts of a transaction that was rolled back are not in the table.
            self.texts.clear();
        }
        done
    }
}

/// Now, in microseconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Creates a file that its owner alone can read, whatever the umask, with its folder.
fn create_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let open_error = |error: std::io::Error| Error::Open { path: path.to_owned(), reason: error.to_string() };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(open_error)?;
    }
    std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(open_error)?;
    Ok(())
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| Error::Open { path: path.to_owned(), reason: error.to_string() })?;
    let setup = || -> rusqlite::Result<()> {
        connection.busy_timeout(Duration::from_secs(60))?;
        // Only of a new file. A row with its raw item is about 2 kB: larger pages take a fifth off the time of an insert.
        connection.pragma_update(None, "page_size", 8192)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "cache_size", -24_000)?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
    };
    setup().map_err(|error| damaged(path, error))?;
    Ok(connection)
}

fn damaged(path: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => Error::Damaged(path.to_owned()),
        _ => error.into(),
    }
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<()> {
    // Two processes may open a new file at once: the second one waits here, then finds nothing left to do.
    connection.execute_batch("create table if not exists migration_lock (held integer)").map_err(|error| damaged(path, error))?;
    let runner = migrations::migrations::runner().set_abort_missing(true).set_abort_divergent(true);
    let mut last = None;
    for _ in 0..50 {
        match runner.run(connection) {
            Ok(_) => return Ok(()),
            Err(error) if error.to_string().contains("missing from the filesystem") => return Err(Error::Newer(error.to_string())),
            Err(error) => {
                // The other process may have applied the same step meanwhile.
                last = Some(error.to_string());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    Err(Error::Open { path: path.to_owned(), reason: last.unwrap_or_default() })
}
