//! D8: whoever else writes to the database is waited for; nobody reads "database is locked".

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tributary::store::{RecordAction, RecordFilter, Store};
use tributary_simulator::{Change, Fault, Size, dependency_track::DependencyTrack, start};

use super::{assert_whole, run, run_well, start_quietly};
use crate::common::TestApp;

/// How long another program holds the write lock.
const HELD: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn d8_a_foreign_lock_of_twenty_seconds_is_waited_for() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 4, findings: 1500, seed: 51 }), 0).await.unwrap());
    let mut foreign = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    foreign.busy_timeout(Duration::from_secs(10)).unwrap();
    // It is not at its end when the lock is taken, however slow this machine is.
    bench.tool.faults.add("finding", 2, 1, Fault::Slow(Duration::from_secs(5)));
    let sync = tokio::spawn(run(bench.command(&["run", "--once"])));
    while bench.query_i64("select count(*) from findings") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lock = foreign.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let began = Instant::now();
    let rows = bench.query_i64("select count(*) from findings");
    let map = tokio::spawn(run(bench.command(&["records", "map", "--all", "--product", "Shop"])));
    tokio::time::sleep(HELD).await;
    assert!(!map.is_finished() && !sync.is_finished(), "both wait");
    assert_eq!(bench.query_i64("select count(*) from findings"), rows, "and reads are served");
    lock.rollback().unwrap();
    for waiting in [map, sync] {
        let (code, _, stderr) = waiting.await.unwrap();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(!stderr.contains("locked"), "{stderr}");
    }
    assert!(began.elapsed() >= HELD);
    bench.assert_oracle("after the lock");
    assert_eq!(bench.query_i64("select count(*) from records where product <> 'Shop'"), 0);
}

/// Who holds the lock may hold it for good: the signal to stop ends a command all the same, before systemd kills it.
#[tokio::test(flavor = "multi_thread")]
async fn d8_a_command_that_waits_for_a_foreign_lock_can_be_stopped() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 4, findings: 1500, seed: 55 }), 0).await.unwrap());
    let mut foreign = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    foreign.busy_timeout(Duration::from_secs(10)).unwrap();
    // It is not at its end when the lock is taken, however slow this machine is.
    bench.tool.faults.add("finding", 2, 1, Fault::Slow(Duration::from_secs(5)));
    let mut sync = start_quietly(bench.command(&["run", "--once"]));
    while bench.query_i64("select count(*) from findings") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lock = foreign.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let began = Instant::now();
    kill_process(Pid::from_child(&sync), Signal::TERM).unwrap();
    while sync.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(28) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ended = sync.try_wait().unwrap();
    sync.kill().unwrap();
    lock.rollback().unwrap();
    assert_eq!(ended.and_then(|ended| ended.code()), Some(130), "after {:?}", began.elapsed());
    run_well(bench.command(&["run", "--once"])).await;
    bench.assert_oracle("after the lock");
}

/// A database has one lock, one log and one daemon, however many paths lead to it.
#[tokio::test(flavor = "multi_thread")]
async fn d8_two_paths_to_one_file_are_one_database() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 2, findings: 20, seed: 53 }), 0).await.unwrap());
    let folder = bench.folder.path();
    std::os::unix::fs::symlink(folder, folder.join("way")).unwrap();
    std::os::unix::fs::symlink("t.db", folder.join("link.db")).unwrap();
    let mut lock = tributary::daemon::Lock::take(&folder.join("t.db")).unwrap();
    lock.write_holder(&tributary::daemon::Holder { pid: std::process::id(), listen: None }).unwrap();
    for path in ["way/t.db", "link.db", "way/link.db"] {
        let taken = tributary::daemon::Lock::take(&folder.join(path)).unwrap_err();
        assert!(taken.is::<tributary::daemon::Taken>(), "{path}: {taken}");
        assert!(tributary::daemon::holder(&folder.join(path)).is_some(), "{path}");
        let store = Store::open(&folder.join(path), true).unwrap();
        store.beat().await.unwrap();
        assert!(store.wal_bytes() > 0, "{path}: the log of the file itself");
    }
    // A second name of the file itself has another log and other locks for SQLite: whoever uses both damages it.
    std::fs::hard_link(folder.join("t.db"), folder.join("second.db")).unwrap();
    let error = Store::open(&folder.join("second.db"), true).unwrap_err().to_string();
    assert!(error.contains("hard links"), "{error}");
}

/// Closing any file gives up the locks that a process holds on it: opening a store must not open and close the database itself.
#[tokio::test(flavor = "multi_thread")]
async fn d8_a_second_store_in_a_process_leaves_the_locks_of_the_first() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 2, findings: 20, seed: 54 }), 0).await.unwrap());
    let path = bench.folder.path().join("t.db");
    let log = bench.folder.path().join("t.db-wal");
    bench.engine.store.beat().await.unwrap();
    drop(Store::open(&path, true).unwrap());
    // Another process that believes to be the last one clears the log away.
    for _ in 0..2 {
        run_well(bench.command(&["status"])).await;
        assert!(log.exists());
    }
    bench.engine.store.beat().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_commands_and_syncs_write_at_once_thousands_of_times() {
    const WRITERS: usize = 3;
    const WRITES: usize = 1000;
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 6, findings: 600, seed: 52 }), 0).await.unwrap());
    run_well(bench.command(&["run", "--once"])).await;
    let path = bench.folder.path().join("t.db");
    // Each with a connection of its own, as processes have: locks are between connections.
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let store = Store::open(&path, true).unwrap();
            tokio::spawn(async move {
                for turn in 0..WRITES {
                    let product = Some(format!("product {number} {}", turn % 5));
                    let filter = RecordFilter { connection: Some("t".into()), ..RecordFilter::default() };
                    let changed = store.change_records(filter, RecordAction::Map(product)).await;
                    assert!(changed.as_ref().is_ok_and(|changed| !changed.is_empty()), "write {turn} of writer {number}: {changed:?}");
                }
            })
        })
        .collect();
    let mut commands = 0;
    while writers.iter().any(|writer| !writer.is_finished()) || commands < 10 {
        bench.tool.vendor.step(&Change::ONE_PERCENT);
        for arguments in [&["sync"][..], &["records", "map", "--all", "--product", "command"]] {
            let (code, _, stderr) = run(bench.command(arguments)).await;
            assert!(code == Some(0) && !stderr.contains("locked"), "{arguments:?}: {code:?} {stderr}");
            commands += 1;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for _ in 0..2 {
        run_well(bench.command(&["sync", "--full"])).await;
    }
    bench.assert_oracle("after everybody wrote at once");
    assert_whole(&crate::common::database(&bench.engine.store), "after everybody wrote at once");
}
