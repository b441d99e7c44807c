//! D12: a backup made at any moment is whole; a damaged database is refused, never mended or made anew behind the user's back.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tributary::store::{RecordAction, RecordFilter};
use tributary_simulator::{Size, dependency_track::DependencyTrack, start};

use crate::{
    assert_whole,
    common::{Bench, SIZE},
    run, run_well,
};

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_backup_is_whole_and_a_restored_one_catches_up() {
    let bench = Bench::new(start(DependencyTrack::new(SIZE), 0).await.unwrap());
    let backup = bench.folder.path().join("backup.db");
    let file = backup.to_str().unwrap();
    // In the middle of a sync.
    let sync = tokio::spawn(run(bench.command(&["run", "--once"])));
    while bench.number("select count(*) from findings") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run_well(bench.command(&["db", "backup", file])).await;
    assert_eq!(run(bench.command(&["db", "backup", file])).await.0, Some(1), "never over a file that is there");
    assert_eq!(sync.await.unwrap().0, Some(0));
    assert_whole(&Connection::open(&backup).unwrap(), "the copy");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    run_well(bench.command(&["db", "restore", file])).await;
    for _ in 0..3 {
        run_well(bench.command(&["run", "--once"])).await;
    }
    bench.assert_oracle("after the restore");
    fs::write(&backup, b"not a database at all, but long enough to be looked at").unwrap();
    assert_eq!(run(bench.command(&["db", "restore", file])).await.0, Some(2));
    run_well(bench.command(&["db", "check"])).await;
}

/// A copy is one moment: it neither waits for a pause between writes nor begins anew with each of them.
#[tokio::test(flavor = "multi_thread")]
async fn d12_a_backup_ends_while_others_never_stop_writing() {
    let bench = Bench::new(start(DependencyTrack::new(Size { findings: 14_000, ..SIZE }), 0).await.unwrap());
    bench.sync(false).await;
    run_well(bench.command(&["records", "map", "--all", "--product", "turn 0"])).await;
    assert!(bench.number("select page_count from pragma_page_count") > 2000, "copied in more than one step");
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, done) = (tributary::store::Store::open(&bench.folder.path().join("t.db"), true).unwrap(), Arc::clone(&done));
        async move {
            let mut turns = 0;
            while !done.load(Ordering::SeqCst) {
                turns += 1;
                let filter = RecordFilter { connection: Some("t".into()), ..RecordFilter::default() };
                store.change_records(filter, RecordAction::Map(Some(format!("turn {turns}")))).await.unwrap();
            }
        }
    });
    let copies = bench.folder.path().to_owned();
    let store = bench.engine.store.clone();
    let copying = tokio::task::spawn_blocking(move || {
        for number in 0..3 {
            let copy = copies.join(format!("copy-{number}.db"));
            store.copy_to(&copy).unwrap();
            let copy = Connection::open(&copy).unwrap();
            assert_whole(&copy, "a copy");
            let products: i64 = copy.query_row("select count(distinct product) from records", [], |row| row.get(0)).unwrap();
            assert_eq!(products, 1, "one moment: all records are mapped by the same turn");
        }
    });
    tokio::time::timeout(Duration::from_secs(60), copying).await.expect("the copies are made").unwrap();
    done.store(true, Ordering::SeqCst);
    writer.await.unwrap();
}

/// Overwrites a part of a file.
fn damage(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).unwrap();
    let to = to.min(bytes.len());
    for (number, byte) in bytes[from..to].iter_mut().enumerate() {
        *byte = u8::try_from(number * 31 % 251).unwrap() ^ 0x5a;
    }
    fs::write(path, bytes).unwrap();
}

type Damage = fn(&Path);

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_damaged_database_is_refused_and_the_way_back_is_told_and_works() {
    let bench = Bench::new(start(DependencyTrack::new(Size { records: 3, findings: 300, seed: 71 }), 0).await.unwrap());
    run_well(bench.command(&["run", "--once"])).await;
    let backup = bench.folder.path().join("backup.db");
    bench.engine.store.copy_to(&backup).unwrap();
    let damages: [(&str, Damage); 4] = [
        ("its header", |path| damage(path, 0, 100)),
        ("its first page behind the header", |path| damage(path, 100, 4096)),
        ("all pages but the first", |path| damage(path, 4096, usize::MAX)),
        ("its end cut off", |path| {
            let length = fs::metadata(path).unwrap().len();
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length / 2).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        fs::copy(&backup, &path).unwrap();
        fs::copy(bench.config(), folder.path().join("tributary.toml")).unwrap();
        damage(&path);
        let damaged = fs::read(&path).unwrap();
        let command = |arguments: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tributary"));
            command.args(arguments).arg("--config").arg(folder.path().join("tributary.toml")).env_clear();
            command
        };
        for arguments in [&["run", "--once"][..], &["run"], &["findings", "list"], &["db", "check"], &["db", "migrate"]] {
            let (code, stdout, stderr) = run(command(arguments)).await;
            assert_eq!((code, &*stdout), (Some(65), ""), "{what}, {arguments:?}: {stderr}");
            assert!(stderr.contains(path.to_str().unwrap()), "{what}, {arguments:?}: {stderr}");
            assert!(stderr.contains("move it away") && stderr.contains("tributary db restore"), "{what}, {arguments:?}: {stderr}");
            assert!(fs::read(&path).unwrap() == damaged, "{what}, {arguments:?}: the file was touched");
        }
        // What the message says.
        for end in ["", "-wal", "-shm"] {
            let from = folder.path().join(format!("t.db{end}"));
            if from.exists() {
                fs::rename(from, folder.path().join(format!("damaged{end}"))).unwrap();
            }
        }
        run_well(command(&["db", "restore", backup.to_str().unwrap()])).await;
        run_well(command(&["run", "--once"])).await;
        let restored = Connection::open(&path).unwrap();
        assert_whole(&restored, what);
        let open: i64 = restored.query_row("select count(*) from findings where state = 'open'", [], |row| row.get(0)).unwrap();
        assert_eq!(open, bench.number("select count(*) from findings where state = 'open'"));
    }
}
