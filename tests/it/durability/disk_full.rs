//! D7: a full disk fails the operation and says so; reads go on, and so does everything once there is room.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tributary::{
    store::{Outcome, PassKind, Store},
    sync,
};
use tributary_simulator::{Change, Size, dependency_track::DependencyTrack, start};

use super::{assert_nothing_lost, kept, number, run, run_well, start_quietly};
use crate::common::TestApp;

const MANY_NEW: Change = Change { fixed: 1.0, changed: 1.0, new: 60.0, vanished: 1.0 };

/// A small disk of its own. It goes when this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn of(bytes: usize, at: &Path) -> Option<Disk> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Disk(at.to_owned()))
    }

    /// Fills it but for this much.
    fn fill(&self, left: u64) {
        let disk = rustix::fs::statvfs(&self.0).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        std::fs::write(self.filler(), vec![1; usize::try_from(free - left).unwrap()]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_a_full_disk_fails_the_operation_and_nothing_else() {
    let tool = start(DependencyTrack::new(Size { records: 3, findings: 600, seed: 41 }), 0).await.unwrap();
    let mut bench = TestApp::new(tool);
    let Some(disk) = Disk::of(64 << 20, &bench.folder.path().join("small")) else {
        eprintln!("SKIPPED: no disk can be mounted here; d7_where_files_cannot_grow_… is the same with a limit");
        return;
    };
    let text = std::fs::read_to_string(bench.config()).unwrap();
    std::fs::write(bench.config(), text.replace("sqlite:t.db", "sqlite:small/t.db")).unwrap();
    bench.engine.store = Store::open(&disk.0.join("t.db"), true).unwrap();
    bench.full_sync().await;
    bench.assert_oracle("with room");
    let before = kept(&crate::common::database(&bench.engine.store));
    bench.tool.vendor.step(&MANY_NEW);

    // Less than what a sync leaves free: it stops by itself, and there is room for telling and for what people decide.
    disk.fill(4 << 20);
    let report = bench.full_sync().await;
    assert_eq!((report.outcome, report.counts.closed), (Outcome::Failed, 0));
    let told = "select count(*) from operations where outcome = 'failed' and error like 'storage_full: %' and ended_at is not null";
    assert_eq!(bench.query_i64(told), 1);
    let listed = run_well(bench.command(&["findings", "list", "-o", "ndjson", "--limit", "3"])).await;
    assert_eq!(listed.lines().count(), 3);
    let id = serde_json::from_str::<serde_json::Value>(listed.lines().next().unwrap()).unwrap()["id"].as_str().unwrap().to_owned();
    run_well(bench.command(&["findings", "triage", &id, "--as", "false-positive"])).await;
    let (code, _, stderr) = run(bench.command(&["sync"])).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("storage_full: less than 16 MiB are left"), "{stderr}");

    // Not a byte left: whatever becomes of the operation, the process and the file live on.
    disk.make_room();
    disk.fill(0);
    let (source, plan) = bench.plan();
    let progress = sync::Progress::without_waits();
    match bench.engine.sync(&source, &plan, tributary::store::Trigger::Manual, PassKind::Full, &progress).await {
        Ok(reports) => assert_eq!(reports[0].outcome, Outcome::Failed),
        Err(error) => assert!(error.to_string().starts_with("storage_full: "), "{error}"),
    }
    assert!(bench.query_i64("select count(*) from findings") > 0);

    disk.make_room();
    for _ in 0..2 {
        assert_eq!(bench.full_sync().await.outcome, Outcome::Success, "by the same process");
    }
    run_well(bench.command(&["findings", "triage", &id, "--as", "none"])).await;
    bench.assert_oracle("with room again");
    assert_nothing_lost(&bench, &before, "with room again");
}

/// The daemon: what it cannot tell while the disk takes nothing is told as soon as it does.
#[tokio::test(flavor = "multi_thread")]
async fn d7_where_files_cannot_grow_the_daemon_goes_on_and_recovers() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 3, findings: 600, seed: 42 }), 0).await.unwrap());
    bench.configure("sync = { every = \"1s\" }\ndiscover = \"off\"");
    run_well(bench.command(&["run", "--once"])).await;
    let database = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    database.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
    let size = std::fs::metadata(bench.folder.path().join("t.db")).unwrap().len();
    let before = kept(&database);

    let mut daemon = start_quietly(bench.command(&["run"]));
    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    let wait_for = async |sql: &str| {
        let began = Instant::now();
        while number(&database, sql) == 0 {
            assert!(began.elapsed() < Duration::from_secs(120), "waited too long for {sql}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    wait_for("select count(*) from operations where trigger = 'schedule' and outcome = 'success'").await;
    // From now on no file of this process grows past a little more than the database has.
    let limit = |bytes| prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    limit(Some(size + (64 << 10)));
    bench.tool.vendor.step(&MANY_NEW);
    let stuck =
        "select count(*) from operations where outcome = 'failed' or (outcome = 'running' and started_at < (unixepoch() - 3) * 1000000)";
    wait_for(stuck).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(daemon.try_wait().unwrap().is_none(), "the daemon lives");
    let ended = number(&database, "select max(started_at) from operations");
    limit(None);
    wait_for(&format!("select count(*) from operations where outcome = 'success' and started_at > {ended}")).await;
    assert!(number(&database, "select count(*) from operations where outcome = 'failed' and error like 'storage_full: %'") > 0);
    assert!(daemon.try_wait().unwrap().is_none(), "the same daemon");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    for _ in 0..2 {
        run_well(bench.command(&["sync", "--full"])).await;
    }
    bench.assert_oracle("with room again");
    assert_nothing_lost(&bench, &before, "with room again");
}
