//! D12: a backup made at any moment is whole; a damaged database is refused, never mended or made anew behind the user's back.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tributary::store::{RecordAction, RecordFilter};
use tributary_simulator::{Size, dependency_track::DependencyTrack, start};

use super::{
    assert_whole,
    failpoints::{all, dies},
    number, run, run_well, start_quietly,
};
use crate::common::{SIZE, TestApp, assert_equal, snapshot};

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_backup_is_whole_and_a_restored_one_catches_up() {
    let bench = TestApp::new(start(DependencyTrack::new(SIZE), 0).await.unwrap());
    let backup = bench.folder.path().join("backup.db");
    let file = backup.to_str().unwrap();
    // In the middle of a sync.
    let sync = tokio::spawn(run(bench.command(&["run", "--once"])));
    while bench.query_i64("select count(*) from findings") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run_well(bench.command(&["db", "backup", file])).await;
    assert_eq!(run(bench.command(&["db", "backup", file])).await.0, Some(1), "never over a file that is there");
    assert_eq!(sync.await.unwrap().0, Some(0));
    assert_whole(&Connection::open(&backup).unwrap(), "the copy");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let place = Place::of(&bench);
    run_well(place.command(&["db", "restore", file])).await;
    for _ in 0..3 {
        run_well(place.command(&["run", "--once"])).await;
    }
    assert_equal(&snapshot(&place.open(), "t"), &bench.tool.vendor.oracle(), "after the restore");
    fs::write(&backup, b"not a database at all, but long enough to be looked at").unwrap();
    let (code, _, stderr) = run(place.command(&["db", "restore", file])).await;
    assert!(code == Some(2) && stderr.contains("E0510") && stderr.contains("the database is as it was"), "{stderr}");
    run_well(place.command(&["db", "check"])).await;
}

/// A folder with a bench's configuration, whose database no process has open.
struct Place(tempfile::TempDir);

impl Place {
    fn of(bench: &TestApp) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::copy(bench.config(), place.0.path().join("tributary.toml")).unwrap();
        place
    }

    /// The same, with a database that a first run filled.
    async fn filled(bench: &TestApp) -> Place {
        let place = Place::of(bench);
        run_well(place.command(&["run", "--once"])).await;
        place
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("t.db")
    }

    fn beside(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.args(arguments).arg("--config").arg(self.0.path().join("tributary.toml")).env_clear();
        command
    }

    fn open(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    fn findings(&self) -> i64 {
        number(&self.open(), "select count(*) from findings")
    }

    /// Triage of all findings: what tells a database from its backup.
    async fn decide(&self) {
        run_well(self.command(&["findings", "triage", "--connection", "t", "--as", "wont-fix", "--note", "later"])).await;
    }

    /// Moves what a process left in the log into the file.
    fn settle(&self) {
        let database = self.open();
        database.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
    }

    fn decided(&self) -> bool {
        number(&self.open(), "select count(*) from findings where triage is not null") > 0
    }
}

async fn small() -> TestApp {
    TestApp::new(start(DependencyTrack::new(Size { records: 3, findings: 300, seed: 71 }), 0).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_backup_that_cannot_be_made_says_why_and_leaves_nothing() {
    let bench = small().await;
    let place = Place::filled(&bench).await;
    let folder = place.0.path().to_owned();
    let before = || fs::read_dir(&folder).unwrap().count();
    place.settle();
    let count = before();
    for (target, why) in [
        (place.beside("nowhere/backup.db"), "there is no folder"),
        (place.beside("t.db"), "it is the database itself"),
        (place.beside("tributary.toml"), "it is there already"),
        (place.beside(""), "it is a folder"),
    ] {
        let (code, _, stderr) = run(place.command(&["db", "backup", &target])).await;
        assert_eq!(code, Some(1), "{target}: {stderr}");
        assert!(stderr.contains("error[E0505]: cannot write the backup") && stderr.contains(why), "{target}: {stderr}");
        assert!(!folder.join("nowhere").exists());
    }
    // A disk that takes no more: the size of files is limited to less than the database.
    place.settle();
    assert!(fs::metadata(place.database()).unwrap().len() > 300 << 10);
    let inner = place.command(&["db", "backup", &place.beside("backup.db")]);
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -f 400; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    let (code, _, stderr) = run(limited).await;
    assert!(
        code == Some(1) && stderr.contains("cannot write the backup") && stderr.contains("the disk takes nothing more"),
        "{code:?} {stderr}"
    );
    assert_eq!(before(), count, "nothing is left behind");
    // In the folder where one stands, by its name alone.
    let mut command = place.command(&["db", "backup", "backup.db"]);
    command.current_dir(&folder);
    run_well(command).await;
    assert!(folder.join("backup.db").exists() && !folder.join("backup.db-wal").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_nothing_is_restored_under_a_daemon_or_another_program() {
    let bench = small().await;
    let place = Place::filled(&bench).await;
    run_well(place.command(&["db", "backup", &place.beside("backup.db")])).await;
    place.decide().await;
    let restore = async || run(place.command(&["db", "restore", &place.beside("backup.db")])).await;

    let mut daemon = start_quietly(place.command(&["run"]));
    while tributary::daemon::holder(&place.database()).and_then(|holder| holder.listen).is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, _, stderr) = restore().await;
    assert!(code == Some(75) && stderr.contains("E0403") && stderr.contains(&daemon.id().to_string()), "{code:?} {stderr}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(place.decided(), "nothing was restored");

    let other = place.open();
    number(&other, "select count(*) from findings");
    let (code, _, stderr) = restore().await;
    assert!(code == Some(75) && stderr.contains("E0509") && stderr.contains("nothing was changed"), "{code:?} {stderr}");
    drop(other);
    assert!(place.decided(), "nothing was restored");
    let (code, _, stderr) = restore().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!place.decided(), "the backup is from before the decision");
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_backup_of_a_newer_version_or_another_program_changes_nothing() {
    let bench = small().await;
    let place = Place::filled(&bench).await;
    let backup = place.beside("backup.db");
    run_well(place.command(&["db", "backup", &backup])).await;
    let newer = place.beside("newer.db");
    fs::copy(&backup, &newer).unwrap();
    let sql =
        "insert into refinery_schema_history (version, name, applied_on, checksum) values (999, 'later', '2030-01-01T00:00:00Z', '1')";
    Connection::open(&newer).unwrap().execute(sql, []).unwrap();
    let unfinished = place.beside("unfinished.db");
    fs::copy(&backup, &unfinished).unwrap();
    Connection::open(&unfinished).unwrap().execute("update refinery_schema_history set checksum = '5'", []).unwrap();
    let other = place.beside("other.db");
    Connection::open(&other).unwrap().execute_batch("create table t (a); insert into t values (1)").unwrap();
    place.settle();
    let before = fs::read(place.database()).unwrap();
    for (file, exit, code) in [
        (&newer, 1, "E0504"),
        (&unfinished, 1, "E0504"),
        (&other, 2, "E0510"),
        (&place.beside("no.db"), 2, "E0510"),
        (&place.beside("t.db"), 2, "E0510"),
    ] {
        let (told, _, stderr) = run(place.command(&["db", "restore", file])).await;
        assert!(told == Some(exit) && stderr.contains(code), "{file}: {told:?} {stderr}");
        assert!(fs::read(place.database()).unwrap() == before, "{file}: the database was touched");
    }
    // The other way round is what a backup is for: the database is newer, as after an upgrade that is undone.
    fs::copy(&newer, place.database()).unwrap();
    assert_eq!(run(place.command(&["findings", "list"])).await.0, Some(1));
    run_well(place.command(&["db", "restore", &backup])).await;
    run_well(place.command(&["db", "check"])).await;
}

/// The damaged file lies at its place, with a log that belongs to it.
#[tokio::test(flavor = "multi_thread")]
async fn d12_a_restore_goes_over_a_damaged_database_and_its_log() {
    let bench = small().await;
    let place = Place::filled(&bench).await;
    let backup = place.beside("backup.db");
    run_well(place.command(&["db", "backup", &backup])).await;
    let findings = place.findings();
    for what in ["damaged", "empty", "with a foreign log", "not there, with a foreign log"] {
        // A log as a killed process leaves it.
        let writer = place.open();
        writer.execute("update finding_rows set title = 'from the log'", []).unwrap();
        let log = fs::read(place.beside("t.db-wal")).unwrap();
        assert!(!log.is_empty());
        drop(writer);
        match what {
            "damaged" => damage(&place.database(), 0, 4096),
            "empty" => fs::write(place.database(), "").unwrap(),
            "with a foreign log" => {}
            _ => fs::remove_file(place.database()).unwrap(),
        }
        fs::write(place.beside("t.db-wal"), &log).unwrap();
        run_well(place.command(&["db", "restore", &backup])).await;
        assert_whole(&place.open(), what);
        assert_eq!(place.findings(), findings, "{what}");
        assert_eq!(number(&place.open(), "select count(*) from findings where title = 'from the log'"), 0, "{what}");
    }
}

/// Root restores what another user's daemon works with.
#[tokio::test(flavor = "multi_thread")]
async fn d12_the_owner_of_a_restored_database_stays_the_same() {
    const OWNER: u32 = 61_234;
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: d12_the_owner_of_a_restored_database_stays_the_same: only root can give files away");
        return;
    }
    let bench = small().await;
    let place = Place::filled(&bench).await;
    run_well(place.command(&["db", "backup", &place.beside("backup.db")])).await;
    let owner = |name: &str| fs::metadata(place.beside(name)).unwrap().uid();
    for name in [".", "t.db"] {
        std::os::unix::fs::chown(place.beside(name), Some(OWNER), Some(OWNER)).unwrap();
    }
    run_well(place.command(&["db", "restore", &place.beside("backup.db")])).await;
    assert_eq!([owner("t.db"), owner("t.db.lock")], [OWNER; 2]);
    fs::remove_file(place.database()).unwrap();
    run_well(place.command(&["db", "restore", &place.beside("backup.db")])).await;
    assert_eq!(owner("t.db"), OWNER, "that of the folder");
}

/// Backups are kept where nobody can write: on a read-only mount, or as another user's file. A log may lie beside one.
#[tokio::test(flavor = "multi_thread")]
async fn d12_a_read_only_backup_is_restored_with_the_log_beside_it() {
    let bench = small().await;
    let place = Place::filled(&bench).await;
    let kept = tempfile::tempdir().unwrap();
    let backup = kept.path().join("backup.db");
    // As a snapshot of a volume holds it: the file, and a log with what is newest.
    let writer = place.open();
    writer.execute("update finding_rows set title = 'from the log'", []).unwrap();
    for end in ["", "-wal"] {
        fs::copy(place.beside(&format!("t.db{end}")), kept.path().join(format!("backup.db{end}"))).unwrap();
        fs::set_permissions(kept.path().join(format!("backup.db{end}")), fs::Permissions::from_mode(0o400)).unwrap();
    }
    drop(writer);
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o500)).unwrap();
    place.open().execute("update finding_rows set title = 'later'", []).unwrap();
    let inner = place.command(&["db", "restore", backup.to_str().unwrap()]);
    // Nobody can be kept from writing who is root: without capabilities root is somebody who owns its files.
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(inner.get_program()).args(inner.get_args());
        command
    } else {
        inner
    };
    command.env("PATH", std::env::var("PATH").unwrap());
    run_well(command).await;
    let title: String = place.open().query_row("select min(title) from findings", [], |row| row.get(0)).unwrap();
    assert_eq!(title, "from the log");
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 2, "nothing was written beside the backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_an_interrupted_restore_leaves_the_old_database_or_the_new_one() {
    let bench = small().await;
    let filled = Place::filled(&bench).await;
    run_well(filled.command(&["db", "backup", &filled.beside("backup.db")])).await;
    filled.decide().await;
    filled.settle();
    let places: Vec<String> = all().into_iter().filter(|place| place.starts_with("restore.")).collect();
    assert!(places.len() >= 3, "{places:?}");
    for at in places {
        let place = Place::of(&bench);
        fs::copy(filled.database(), place.database()).unwrap();
        // With a log that holds what is newest.
        let writer = place.open();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.execute("update finding_rows set triage_note = 'from the log'", []).unwrap();
        let files = ["", "-wal"].map(|end| (place.beside(&format!("t.db{end}")), fs::read(place.beside(&format!("t.db{end}"))).unwrap()));
        drop(writer);
        files.iter().for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
        assert!(dies(place.command(&["db", "restore", &filled.beside("backup.db")]), &at, 1).await, "{at}");
        assert_whole(&place.open(), &at);
        let old = number(&place.open(), "select count(*) from findings where triage_note = 'from the log'");
        assert_eq!(old, if at == "restore.renamed" { 0 } else { filled.findings() }, "{at}");
        run_well(place.command(&["db", "restore", &filled.beside("backup.db")])).await;
        assert!(!place.decided(), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_check_finds_rows_that_point_to_nothing() {
    let bench = small().await;
    let place = Place::filled(&bench).await;
    place.open().execute_batch("pragma foreign_keys = off; delete from texts where id = (select min(id) from texts)").unwrap();
    let (code, _, stderr) = run(place.command(&["db", "check"])).await;
    assert_eq!(code, Some(65), "{stderr}");
    assert!(stderr.contains("rows of finding_rows point to rows of texts that are not there"), "{stderr}");
}

/// What a process remembers of a file is not true of what another program puts in its place, into the very same file.
#[tokio::test(flavor = "multi_thread")]
async fn d12_texts_are_right_after_another_program_restored_into_the_open_file() {
    let bench = small().await;
    let empty = bench.folder.path().join("empty.db");
    bench.engine.store.copy_to(&empty).unwrap();
    bench.sync().await;
    {
        let (from, mut to) = (Connection::open(&empty).unwrap(), Connection::open(bench.folder.path().join("t.db")).unwrap());
        to.busy_timeout(Duration::from_secs(10)).unwrap();
        rusqlite::backup::Backup::new(&from, &mut to).unwrap().run_to_completion(i32::MAX, Duration::ZERO, None).unwrap();
    }
    assert_eq!(bench.query_i64("select count(*) from finding_rows"), 0);
    bench.sync().await;
    assert_eq!(bench.query_i64("select count(*) from finding_rows where text_id not in (select id from texts)"), 0);
    bench.assert_oracle("after the foreign restore");
}

/// The database was moved away while its log stays: an empty one in its place would destroy the log.
#[tokio::test(flavor = "multi_thread")]
async fn d12_no_database_is_begun_beside_the_log_of_another_one() {
    let bench = small().await;
    bench.sync().await;
    let (database, away) = (bench.folder.path().join("t.db"), bench.folder.path().join("away"));
    let log = || fs::read(bench.folder.path().join("t.db-wal")).unwrap();
    let before = log();
    assert!(!before.is_empty());
    fs::rename(&database, &away).unwrap();
    for arguments in [&["status"][..], &["findings", "list"], &["run", "--once"], &["run"], &["db", "migrate"]] {
        let (code, _, stderr) = run(bench.command(arguments)).await;
        assert!(
            code == Some(1) && stderr.contains("E0505") && stderr.contains("t.db-wal is: put it back"),
            "{arguments:?}: {code:?} {stderr}"
        );
    }
    assert!(!database.exists() && log() == before);
    fs::rename(&away, &database).unwrap();
    bench.full_sync().await;
    bench.assert_oracle("after it was put back");
}

/// Deleted or replaced under a process: it is noticed, told, and nothing goes into files that nobody will find.
#[tokio::test(flavor = "multi_thread")]
async fn d12_nothing_is_written_into_files_that_were_deleted_or_replaced() {
    for what in ["the database is deleted", "the database is replaced", "the log is deleted", "the shared memory is deleted"] {
        let bench = small().await;
        let (database, away) = (bench.folder.path().join("t.db"), bench.folder.path().join("away"));
        bench.sync().await;
        let gone = match what {
            "the log is deleted" => bench.folder.path().join("t.db-wal"),
            "the shared memory is deleted" => bench.folder.path().join("t.db-shm"),
            _ => database.clone(),
        };
        fs::rename(&gone, &away).unwrap();
        if what == "the database is replaced" {
            fs::copy(&away, &database).unwrap();
        }
        let error = bench.engine.store.beat().await.unwrap_err();
        assert!(matches!(error, tributary::store::Error::Replaced(_)), "{what}: {error}");
        assert!(error.to_string().contains(database.to_str().unwrap()), "{error}");
        assert!(bench.engine.store.reader().is_err(), "{what}");
        // Put back, it goes on.
        fs::rename(&away, &gone).unwrap();
        bench.engine.store.beat().await.unwrap();
        bench.full_sync().await;
        bench.assert_oracle(what);
    }
}

/// A copy is one moment: it neither waits for a pause between writes nor begins anew with each of them.
#[tokio::test(flavor = "multi_thread")]
async fn d12_a_backup_ends_while_others_never_stop_writing() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { findings: 24_000, ..SIZE }), 0).await.unwrap());
    bench.sync().await;
    run_well(bench.command(&["records", "map", "--all", "--product", "turn 0"])).await;
    assert!(bench.query_i64("select page_count from pragma_page_count") > 2000, "copied in more than one step");
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
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 3, findings: 300, seed: 71 }), 0).await.unwrap());
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
        assert_eq!(open, bench.query_i64("select count(*) from findings where state = 'open'"));
    }
}
