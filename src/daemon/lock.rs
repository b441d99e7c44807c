//! One daemon per database file. The lock is the operating system's: it ends with the process, however that ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The held lock.
#[derive(Debug)]
pub struct Lock(File);

/// Who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, in its own pid namespace.
    pub pid: u32,
    /// Where its HTTP server listens, when it does.
    pub listen: Option<String>,
}

/// Another daemon runs on this database.
#[derive(Debug, thiserror::Error)]
#[error("process {pid} holds {database}: another daemon, or a restore under way; wait for it or stop it, or use a store of your own", database = .database.display(), pid = .holder.pid)]
pub struct Taken {
    /// Path of the database file.
    pub database: PathBuf,
    /// Who it is.
    pub holder: Holder,
}

impl Lock {
    /// Takes the lock of a database.
    ///
    /// # Errors
    /// [`Taken`] while another daemon holds it; an I/O error when the file beside the database cannot be written.
    pub fn take(database: &Path) -> anyhow::Result<Lock> {
        crate::store::make_folder(database)?;
        let path = path(database);
        let new = !path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| anyhow::anyhow!("cannot open {}: {error}", path.display()))?;
        if new {
            crate::store::give_to_owner_of(database, &path);
        }
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(Taken { database: database.to_owned(), holder: read(file).unwrap_or_default() }.into()),
            Err(TryLockError::Error(error)) => Err(anyhow::anyhow!("cannot lock {}: {error}", path.display())),
        }
    }

    /// Says who holds it, for other processes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_holder(&mut self, holder: &Holder) -> anyhow::Result<()> {
        self.0.set_len(0)?;
        std::io::Seek::rewind(&mut self.0)?;
        self.0.write_all(&serde_json::to_vec(holder)?)?;
        Ok(())
    }
}

/// The daemon that runs on a database, if one does.
pub fn holder(database: &Path) -> Option<Holder> {
    let file = File::open(path(database)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read(file),
        _ => None,
    }
}

fn read(mut file: File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Beside the file itself: two paths that lead to one file share a lock.
fn path(database: &Path) -> PathBuf {
    let mut name = crate::store::real(database).into_os_string();
    name.push(".lock");
    name.into()
}
