//! The files of a database: where they are, that only their owner reads them, and that they are still the ones that were opened.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Error, Result};

/// What SQLite keeps beside a database while it is open.
pub(super) const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// Symbolic links in a row that are followed where the file is not there yet.
const LINKS: usize = 40;

/// The file that a path names, without symbolic links in it: one database has one name, one lock and one log.
pub(crate) fn real(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Ok(real) = fs::canonicalize(&path) {
            return real;
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        // The file is not there yet: a link may name its place.
        match fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => return fs::canonicalize(&folder).ok().zip(path.file_name()).map_or(path.clone(), |(folder, name)| folder.join(name)),
        }
    }
    path
}

/// A file beside another one, named after it.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Device and number of a file: what stays the same however it is named.
type Inode = (u64, u64);

/// The inode of a file; `None` when there is no such file.
pub(super) fn inode(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// The files of a database as they were when it was opened.
#[derive(Clone, Debug)]
pub(super) struct Files {
    path: PathBuf,
    opened: Vec<(PathBuf, Option<Inode>)>,
}

impl Files {
    /// Those of a database that is open: while it is, SQLite makes none of them anew.
    pub(super) fn of(path: &Path) -> Self {
        let all = std::iter::once(path.to_owned()).chain(BESIDE.iter().map(|end| beside(path, end)));
        Files { path: path.to_owned(), opened: all.map(|file| (file.clone(), inode(&file))).collect() }
    }

    /// Whether the same database can still be found at its path. What a process writes into a file that was deleted or replaced
    /// is lost, and what it remembers of that file is not true of another one.
    pub(super) fn check(&self) -> Result<()> {
        let same = self.opened.iter().all(|(file, opened)| match (opened, fs::metadata(file)) {
            (Some(opened), Ok(now)) => *opened == (now.dev(), now.ino()),
            // What cannot be looked at is met, and told, when it is read or written.
            (Some(_), Err(error)) => error.kind() != io::ErrorKind::NotFound,
            (None, _) => true,
        });
        if same { Ok(()) } else { Err(Error::Replaced(self.path.clone())) }
    }
}

/// Creates the folder of a database, for its owner alone. Only that one: where the folder around it is not there either, the
/// path is mistyped, or a disk is not mounted.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) else { return Ok(()) };
    let reason = match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        // Another process was faster.
        Err(_) if folder.is_dir() => return Ok(()),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let around = folder.parent().unwrap_or(folder).display();
            format!("there is no folder {around}: correct `store.url`, or make that folder")
        }
        Err(why) => why.to_string(),
    };
    Err(Error::Open { path: path.to_owned(), reason })
}

/// Creates a file that its owner alone can read, whatever the umask, with its folder, unless it is there.
///
/// A file that is there is not opened: closing it again would give up every lock that SQLite holds on it in this process.
pub(super) fn create_private(path: &Path) -> Result<()> {
    make_folder(path)?;
    let error = |reason: String| Error::Open { path: path.to_owned(), reason };
    let log = beside(path, BESIDE[0]);
    if !path.exists() && fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        // An empty database in its place would destroy what the log holds, and whoever works with the old one its place.
        let log = log.display();
        return Err(error(format!("it is not there, but its log {log} is: put it back, or remove the log to begin an empty one")));
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => return Ok(()),
        Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(error(why.to_string())),
        Err(_) => {}
    }
    let file = fs::metadata(path).map_err(|why| error(why.to_string()))?;
    if file.is_dir() {
        return Err(error("it is a folder".to_owned()));
    }
    if file.nlink() > 1 {
        // SQLite would keep another log and other locks for each name.
        return Err(error(format!("it has {} names (hard links), which damages databases: leave it one name", file.nlink())));
    }
    use rustix::fs::{Access, access};
    access(path, Access::READ_OK | Access::WRITE_OK).map_err(|why| error(io::Error::from(why).to_string()))
}

/// Whether the entries of a folder are on the disk, after this.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_file_has_one_name_whatever_links_lead_to_it_and_before_it_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = fs::canonicalize(folder.path()).expect("a folder");
        fs::create_dir(here.join("real")).expect("a folder");
        symlink("real", here.join("way")).expect("a link");
        symlink("way/t.db", here.join("t.db")).expect("a link to what is not there");
        for path in ["real/t.db", "way/t.db", "t.db", "way/../real/t.db"] {
            assert_eq!(real(&here.join(path)), here.join("real/t.db"), "{path}, before it is there");
        }
        fs::write(here.join("real/t.db"), "").expect("written");
        for path in ["real/t.db", "way/t.db", "t.db"] {
            assert_eq!(real(&here.join(path)), here.join("real/t.db"), "{path}");
        }
        symlink("b", here.join("a")).expect("a link");
        symlink("a", here.join("b")).expect("a link");
        real(&here.join("a"));
    }
}
