//! The disk under the database: room for a page, and the write-ahead log beside the file.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags,
    hooks::Wal,
    trace::{TraceEvent, TraceEventCodes},
};

use super::{Error, Result, Writer};
use crate::failpoint;

/// What a sync leaves free: room for what people decide, and for saying how the sync ended.
const RESERVE: u64 = 16 << 20;
/// Pages in the log of which the writer is not to wait for the moving into the file: see [`spawn_checkpointer`].
const CHECKPOINT_PAGES: i32 = 2500;
/// Pages in the log (60 MiB) at which the writer waits, so that the log can begin anew.
const BLOCKING_CHECKPOINT_PAGES: i32 = 7500;
/// An operation does not leave a longer log behind.
const TRUNCATE_WAL_BYTES: u64 = 32 << 20;
/// How long the log is when somebody should look who keeps it from being cleared away.
const WARN_WAL_BYTES: u64 = 1 << 30;
/// How long a transaction waits for another program's.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Says no before the disk does.
pub(super) fn ensure_free_space(path: &Path) -> Result<()> {
    let Ok(disk) = rustix::fs::statvfs(path) else { return Ok(()) };
    // A file system that tells nothing tells of no block at all.
    let full = disk.f_blocks > 0 && disk.f_bavail.saturating_mul(disk.f_frsize) < RESERVE;
    if full { Err(Error::Full("less than 16 MiB are left on the disk")) } else { Ok(()) }
}

/// The write-ahead log.
pub(super) struct Log {
    path: PathBuf,
    warn: u64,
    warned: bool,
}

impl Log {
    pub(super) fn of(database: &Path) -> Self {
        let warn = failpoint::setting("TRIBUTARY_WAL_WARNING").and_then(|bytes| bytes.parse().ok()).unwrap_or(WARN_WAL_BYTES);
        Log { path: super::file::beside(database, "-wal"), warn, warned: false }
    }

    pub(super) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Warns once each time that it becomes too long.
    pub(super) fn watch(&mut self) {
        let bytes = self.bytes();
        let long = bytes >= self.warn;
        if long && !self.warned {
            tracing::warn!(
                bytes,
                "the database's write-ahead log is long: a program that has been reading the database for a long time keeps it from being cleared"
            );
        }
        self.warned = long;
    }
}

impl Writer {
    /// After an operation: clears a log that a reader had kept from being cleared.
    pub(super) fn truncate_wal(&mut self) -> Result<()> {
        self.files.check()?;
        if self.log.bytes() >= TRUNCATE_WAL_BYTES { self.checkpoint() } else { Ok(()) }
    }

    /// Moves what the log holds into the file, as far as nobody still reads what was before.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        // Readers are not waited for: all other writes would wait with it, and the next operation tries again.
        self.connection.busy_timeout(Duration::ZERO)?;
        let done = self.connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(done?)
    }
}

/// Has a thread of its own move what the log holds into the file, again and again while the log grows: the disk is slow, and
/// the writer goes on meanwhile. The log can begin anew only when all of it was moved, so at [`BLOCKING_CHECKPOINT_PAGES`] the writer moves the rest.
///
/// The thread ends when the writer's connection is closed.
pub(super) fn spawn_checkpointer(path: &Path, writer: &mut Connection) -> Result<JoinHandle<()>> {
    let (asks, asked) = mpsc::sync_channel::<()>(1);
    let file = path.to_owned();
    let beside = move || {
        let mut connection = None;
        while asked.recv().is_ok() {
            // What fails here is done by the writer, later.
            if connection.is_none() {
                connection = super::open(&file, OpenFlags::SQLITE_OPEN_READ_WRITE).ok();
            }
            let _ = connection.as_ref().map(|connection| connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())));
        }
    };
    let started = std::thread::Builder::new().name("store-log".into()).spawn(beside);
    let started = started.map_err(|error| Error::Open { path: path.to_owned(), reason: error.to_string() })?;
    let mut moved = 0;
    writer.wal_hook(Some(move |log: &mut Wal, pages: std::ffi::c_int| {
        // Fewer than before: the log began anew.
        moved = moved.min(pages);
        if pages >= BLOCKING_CHECKPOINT_PAGES {
            // The transaction is committed whatever comes of this.
            let _ = log.checkpoint();
        } else if pages - moved >= CHECKPOINT_PAGES && asks.try_send(()).is_ok() {
            moved = pages;
        }
        Ok(())
    }))?;
    Ok(started)
}

/// For tests: every statement that this connection runs.
pub(super) fn log_statements(connection: &mut Connection) -> rusqlite::Result<()> {
    let Some(file) = failpoint::setting("TRIBUTARY_SQL_LOG") else { return Ok(()) };
    let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(file) else { return Ok(()) };
    let log = move |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, _) = event {
            let _ = write!(file, "{}\0", statement.sql());
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(log))
}
