//! The disk under the database: room for a page, and the write-ahead log beside the file.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection,
    trace::{TraceEvent, TraceEventCodes},
};

use super::{Error, Result, Writer};
use crate::failpoint;

/// What a sync leaves free: room for what people decide, and for saying how the sync ended.
const RESERVE: u64 = 16 << 20;
/// Checkpoints keep the log at about half of this: one that is longer was kept from being cleared away.
const LONG: u64 = 32 << 20;
/// How long the log is when somebody should look who keeps it from being cleared away.
const WARN: u64 = 1 << 30;
/// How long a transaction waits for another program's.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Says no before the disk does.
pub(super) fn room(path: &Path) -> Result<()> {
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
        let warn = failpoint::setting("TRIBUTARY_WAL_WARNING").and_then(|bytes| bytes.parse().ok()).unwrap_or(WARN);
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Log { path: path.into(), warn, warned: false }
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
    pub(super) fn shorten_log(&mut self) -> Result<()> {
        if self.log.bytes() >= LONG { self.checkpoint() } else { Ok(()) }
    }

    /// Moves what the log holds into the file, as far as nobody still reads what was before.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        // Readers are not waited for: all other writes would wait with it, and the next operation tries again.
        self.connection.busy_timeout(Duration::ZERO)?;
        let done = self.connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        self.connection.busy_timeout(PATIENCE)?;
        Ok(done?)
    }
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
