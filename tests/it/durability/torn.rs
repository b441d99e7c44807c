//! D3: whatever a power cut leaves of the write-ahead log, what is there is a prefix of whole pages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use tributary_simulator::{Size, dependency_track::DependencyTrack, seed::Seed, start};

use super::{assert_whole, number, run_well, start_quietly};
use crate::common::TestApp;

/// Moments at which the process is frozen, and its files are copied and cut.
const MOMENTS: usize = 200;

/// Stops every thread of a process; returns when they all stand still, false when it has ended.
fn freeze(child: &mut Child) -> bool {
    let pid = i32::try_from(child.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        // A thread that ends meanwhile has no state.
        let mut states = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).ok());
        if states.all(|stat| matches!(stat.rsplit_once(") ").unwrap().1.as_bytes()[0], b'T' | b'Z' | b'X')) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn thaw(child: &Child) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::CONT).unwrap();
}

/// The database and what is left of its log after `cut` bytes, opened as the next process would.
fn left(folder: &Path, files: &(Vec<u8>, Vec<u8>), cut: usize) -> (PathBuf, Connection) {
    let path = folder.join("left.db");
    for old in ["left.db", "left.db-wal", "left.db-shm"] {
        let _ = fs::remove_file(folder.join(old));
    }
    fs::write(&path, &files.0).unwrap();
    fs::write(folder.join("left.db-wal"), &files.1[..cut]).unwrap();
    let database = Connection::open(&path).unwrap();
    (path, database)
}

/// How much of the work is there. Fails when it is anything but whole pages, each with its rows, its place and its counts.
fn pages(database: &Connection, when: &str) -> Vec<String> {
    assert_whole(database, when);
    let same = |what: &str, one: &str, other: &str| assert_eq!(number(database, one), number(database, other), "{what} {when}");
    same(
        "findings are what operations created",
        "select count(*) from finding_rows",
        "select coalesce(sum(created), 0) from operations where kind = 'sync'",
    );
    same(
        "records are what operations created",
        "select count(*) from record_rows",
        "select coalesce(sum(created), 0) from operations where kind = 'discover'",
    );
    same("a raw item each", "select count(*) from finding_rows", "select coalesce(sum(live), 0) from raw_blocks");
    same("a text each", "select count(*) from finding_rows", "select count(*) from finding_rows f join texts t on t.id = f.text_id");
    same("pages are contiguous", "select count(*) from pass_pages", "select coalesce(sum(pages), 0) from passes");
    same(
        "pages are numbered",
        "select coalesce(sum(page), 0) from pass_pages",
        "select coalesce(sum(pages * (pages - 1) / 2), 0) from passes",
    );
    assert_eq!(
        number(
            database,
            "select count(*) from passes where (next_cursor is not null) <> (pages > 0 and ended is null) or (ended is not null and pages = 0)"
        ),
        0,
        "the place of a walk is that after its last page {when}"
    );
    assert_eq!(
        number(
            database,
            "select count(*) from scopes s join passes p on p.scope_id = s.id where s.watermark is not null and p.ended is null and s.full_at is null"
        ),
        0,
        "a watermark without the pages before it {when}"
    );
    // While a pass is not judged, what it was delivered is what was fetched.
    let closed = number(database, "select count(*) from scopes where full_at is not null") > 0;
    if !closed {
        same(
            "what was delivered",
            "select coalesce(sum(length(hashes)) / 8, 0) from pass_pages",
            "select coalesce(sum(fetched), 0) from operations o where o.kind = 'sync' or not exists (select 1 from connections where discovered_at is not null)",
        );
    }
    let mut ids = database.prepare("select id from finding_rows order by seq").unwrap();
    ids.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_a_torn_log_leaves_a_prefix_of_pages() {
    let tool = start(DependencyTrack::new(Size { records: 4, findings: 1200, seed: 21 }), 0).await.unwrap();
    let bench = TestApp::new(tool);
    let empty = bench.folder.path().join("empty.db");
    bench.engine.store.copy_to(&empty).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut seed = Seed::of(&[2026, 3]);
    let (mut moments, mut torn, mut resumed) = (0, 0, 0);
    while moments < MOMENTS {
        // The file itself stands still: the log stays shorter than what a checkpoint waits for.
        let case = bench.beside(&empty);
        let files =
            || (fs::read(case.folder.path().join("t.db")).unwrap(), fs::read(case.folder.path().join("t.db-wal")).unwrap_or_default());
        let untouched = files().0;
        let mut child = start_quietly(case.command(&["run", "--once"]));
        loop {
            tokio::time::sleep(Duration::from_millis(5 + seed.below(40) as u64)).await;
            if !freeze(&mut child) {
                break;
            }
            let now = files();
            thaw(&child);
            assert!(now.0 == untouched, "a checkpoint ran: make the tool smaller");
            if now.1.is_empty() {
                continue;
            }
            moments += 1;
            let cut = seed.below(now.1.len() + 1);
            let when = format!("at moment {moments}, cut at {cut} of {}", now.1.len());
            let all = pages(&left(scratch.path(), &now, now.1.len()).1, &format!("uncut at moment {moments}"));
            let (path, some) = left(scratch.path(), &now, cut);
            let some = pages(&some, &when);
            assert_eq!(some[..], all[..some.len()], "a prefix {when}");
            torn += usize::from(some.len() < all.len());
            if moments % 40 == 0 {
                let case = case.beside_with_log(&path);
                run_well(case.command(&["run", "--once"])).await;
                case.assert_oracle(&when);
                resumed += 1;
            }
            if moments >= MOMENTS {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    assert!(torn > MOMENTS / 5 && resumed == MOMENTS / 40, "{torn} cuts lost a page, {resumed} were gone on from");
}

impl TestApp {
    /// Like [`TestApp::beside`], for a database whose log was not moved into its file.
    fn beside_with_log(&self, database: &Path) -> TestApp {
        let whole = database.with_extension("whole");
        let _ = fs::remove_file(&whole);
        let database = Connection::open(database).unwrap();
        // Who held the lease lives on here; after a power cut it would be found dead.
        database.execute("update leases set held_until = 0", []).unwrap();
        database.execute("vacuum into ?1", [whole.to_str().unwrap()]).unwrap();
        self.beside(&whole)
    }
}
