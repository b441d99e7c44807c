//! D1 and D2 at every named place: the process dies there, and the next one ends where it would have ended.

use std::{
    collections::BTreeSet,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
};

use futures_util::{StreamExt, stream};
use rusqlite::Connection;
use tributary::store::{RecordAction, RecordFilter};
use tributary_simulator::{Change, Size, dependency_track::DependencyTrack, start};

use super::{assert_nothing_lost, assert_whole, kept, number, run, run_well};
use crate::common::TestApp;

/// Places that have to be there, whatever else is.
const LEAST: &[&str] = &[
    "close.applied",
    "close.begin",
    "close.row",
    "close.stored",
    "discover.ended",
    "fetch.begin",
    "fetch.done",
    "lease.released",
    "lease.releasing",
    "lease.taken",
    "lease.taking",
    "migration.begun",
    "migration.done",
    "operation.begin",
    "operation.end",
    "operation.ended",
    "page.begin",
    "page.cursor",
    "page.ready",
    "page.rows",
    "page.stored",
    "page.watermark",
];

/// Places that are passed before there is a database.
const WITHOUT_DATABASE: &str = "migration.";
/// Places that only a restore passes: see `backup.rs`.
const RESTORE: &str = "restore.";

/// Every place in the sources.
pub(crate) fn all() -> BTreeSet<String> {
    fn look(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(text.split("failpoint::pass(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let mut found = BTreeSet::new();
    look(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// Runs until it dies at the N-th passage of a place; false when it ended before.
pub(crate) async fn dies(mut command: Command, place: &str, passage: u32) -> bool {
    command.env("TRIBUTARY_FAILPOINT", format!("{place}:{passage}"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let aborted = output.status.signal() == Some(6);
    assert!(aborted || output.status.success(), "{place}:{passage}: {:?} {}", output.status, String::from_utf8_lossy(&output.stderr));
    aborted
}

/// Version 4 answers a project's whole list at once: it is stored in parts, of which the last one moves the cursor.
#[tokio::test(flavor = "multi_thread")]
async fn d1_kill_9_between_the_parts_of_a_page() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 3, findings: 1800, seed: 12 }).v4(), 0).await.unwrap());
    run_well(bench.command(&["run", "--once"])).await;
    bench.tool.vendor.step(&Change { vanished: 2.0, ..Change::ONE_PERCENT });
    let base = bench.folder.path().join("base.db");
    bench.engine.store.copy_to(&base).unwrap();
    let before = kept(&Connection::open(&base).unwrap());
    let places = ["page.begin", "page.rows", "page.cursor", "page.counted", "page.stored"];
    let cases: Vec<(&str, u32)> = places.into_iter().flat_map(|place| (2..=6).map(move |passage| (place, passage))).collect();
    let died: Vec<bool> = stream::iter(cases)
        .map(|(place, passage)| {
            let (bench, base, before) = (&bench, &base, &before);
            async move {
                let case = bench.beside(base);
                let died = dies(case.command(&["run", "--once"]), place, passage).await;
                let half = case.query_i64("select count(*) from pass_pages join passes on id = pass_id where page >= pages");
                for _ in 0..3 {
                    run_well(case.command(&["run", "--once"])).await;
                }
                let when = format!("after the death at {place}:{passage}");
                case.assert_oracle(&when);
                assert_nothing_lost(&case, before, &when);
                died && half > 0
            }
        })
        .buffer_unordered(3)
        .collect()
        .await;
    let between = died.iter().filter(|between| **between).count();
    assert!(between >= 5, "{between} deaths between two parts");
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_kill_9_at_every_failpoint() {
    let places = all();
    for least in LEAST {
        assert!(places.contains(*least), "{least} is gone from the sources");
    }
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 3, findings: 400, seed: 11 }), 0).await.unwrap());
    // The run that dies closes what is missing for the second time, and stores what is new, changed and missing since.
    run_well(bench.command(&["run", "--once"])).await;
    bench.tool.vendor.step(&Change { vanished: 2.0, ..Change::ONE_PERCENT });
    run_well(bench.command(&["run", "--once"])).await;
    bench.tool.vendor.step(&Change { vanished: 2.0, ..Change::ONE_PERCENT });
    let base = bench.folder.path().join("base.db");
    bench.engine.store.copy_to(&base).unwrap();
    let before = kept(&Connection::open(&base).unwrap());

    let places: Vec<String> =
        places.into_iter().filter(|place| !place.starts_with(WITHOUT_DATABASE) && !place.starts_with(RESTORE)).collect();
    let cases: Vec<(String, u32)> = places.iter().flat_map(|place| [1, 2, 7].map(|passage| (place.clone(), passage))).collect();
    let died: Vec<(String, u32)> = stream::iter(cases)
        .map(|(place, passage)| {
            let (bench, base, before) = (&bench, &base, &before);
            async move {
                let case = bench.beside(base);
                if !dies(case.command(&["run", "--once"]), &place, passage).await {
                    return None;
                }
                for _ in 0..2 {
                    run_well(case.command(&["run", "--once"])).await;
                }
                let when = format!("after the death at {place}:{passage}");
                case.assert_oracle(&when);
                assert_nothing_lost(&case, before, &when);
                Some((place, passage))
            }
        })
        .buffer_unordered(3)
        .filter_map(|died| async { died })
        .collect()
        .await;
    for place in &places {
        assert!(died.contains(&(place.clone(), 1)), "nothing passes {place}");
    }
    assert!(died.len() > places.len() * 3 / 2, "{} deaths", died.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_kill_9_while_the_database_is_made() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 2, findings: 40, seed: 12 }), 0).await.unwrap());
    let places: Vec<String> = all().into_iter().filter(|place| place.starts_with(WITHOUT_DATABASE)).collect();
    assert!(places.len() >= 2);
    for place in places {
        let config = std::fs::read_to_string(bench.config()).unwrap().replace("sqlite:t.db", &format!("sqlite:{place}.db"));
        let file = bench.folder.path().join("new.toml");
        std::fs::write(&file, config).unwrap();
        // It holds a secret, made up as it is.
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
            command.args(["run", "--once", "--config"]).arg(&file).env_clear();
            command
        };
        assert!(dies(command(), &place, 1).await, "{place}");
        run_well(command()).await;
        let made = Connection::open(bench.folder.path().join(format!("{place}.db"))).unwrap();
        assert_whole(&made, &place);
        let open = bench.tool.vendor.oracle().findings.values().filter(|truth| truth.state == "open").count();
        assert_eq!(number(&made, "select count(*) from findings where state = 'open'"), i64::try_from(open).unwrap(), "{place}");
    }
}

/// A list of one page: its rows and its watermark are there together, or neither is.
#[tokio::test(flavor = "multi_thread")]
async fn d2_rows_and_watermark_are_visible_together_or_not_at_all() {
    for (place, stored) in [
        ("page.begin", false),
        ("page.rows", false),
        ("page.cursor", false),
        ("page.watermark", false),
        ("page.counted", false),
        ("page.stored", true),
    ] {
        let bench = TestApp::new(start(DependencyTrack::new(Size { records: 1, findings: 20, seed: 4 }), 0).await.unwrap());
        run_well(bench.command(&["discover"])).await;
        // One list: of several, read at once, an empty one may be the first to be stored.
        let oracle = bench.tool.vendor.oracle();
        let found_in = &oracle.findings.values().next().unwrap().record;
        let keys = oracle.records.keys().filter(|record| *record != found_in).cloned().collect();
        bench.engine.store.change_records(RecordFilter { keys, ..RecordFilter::default() }, RecordAction::Ignore).await.unwrap();
        let (code, _, stderr) = {
            let mut command = bench.command(&["sync"]);
            command.env("TRIBUTARY_FAILPOINT", format!("{place}:1"));
            run(command).await
        };
        assert_eq!(code, None, "{place}: {stderr}");
        let database = crate::common::database(&bench.engine.store);
        let rows = number(&database, "select count(*) from finding_rows");
        let watermarks =
            number(&database, "select count(*) from scopes where list <> '' and watermark is not null and record_id is not null");
        let counted = number(&database, "select sum(created) from operations where kind = 'sync'");
        let pages = number(&database, "select count(*) from pass_pages");
        assert_eq!((rows > 0, watermarks > 0, counted == rows, pages > 0), (stored, stored, true, stored), "{place}");
    }
}

/// A discover of several pages dies behind its first one: who was met there is not missing from the rest.
#[tokio::test(flavor = "multi_thread")]
async fn d1_a_crash_in_a_discover_makes_no_record_missing() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 250, findings: 250, seed: 13 }), 0).await.unwrap());
    run_well(bench.command(&["discover"])).await;
    assert!(dies(bench.command(&["discover"]), "page.stored", 1).await);
    assert_eq!(bench.query_i64("select count(*) from passes where pages = 1 and ended is null"), 1, "in the middle of the list");
    run_well(bench.command(&["discover"])).await;
    assert_eq!(bench.query_i64("select count(*) from records where state <> 'good'"), 0);
    bench.tool.vendor.step(&Change::ONE_PERCENT);
    for _ in 0..2 {
        run_well(bench.command(&["run", "--once"])).await;
    }
    assert_eq!(bench.query_i64("select count(*) from findings where state = 'open'"), {
        let oracle = bench.tool.vendor.oracle();
        i64::try_from(oracle.findings.values().filter(|truth| truth.state == "open").count()).unwrap()
    });
}
