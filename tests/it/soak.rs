//! The daemon over hours: every tool at once, faults, kills. Ignored by default:
//!
//! ```sh
//! cargo test --test it soak:: -- --ignored --nocapture                                          # three minutes, as in CI
//! TRIBUTARY_SOAK_MINUTES=120 cargo test --release --test it soak:: -- --ignored --nocapture     # the two hours of a release
//! ```

#![allow(clippy::print_stdout, reason = "who waits for two hours wants to see something")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tributary_simulator::{Change, Running, Size, VENDORS, seed::Seed, start_any};

struct Pace {
    whole: Duration,
    sync: &'static str,
    discover: &'static str,
    kill: Duration,
}

impl Pace {
    fn of(minutes: u64) -> Pace {
        let whole = Duration::from_secs(minutes * 60);
        if minutes >= 30 {
            Pace { whole, sync: "1m", discover: "10m", kill: Duration::from_secs(600) }
        } else {
            Pace { whole, sync: "4s", discover: "20s", kill: Duration::from_secs(20) }
        }
    }
}

fn start_daemon(config: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(config.with_extension("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_tributary"))
        .arg("run")
        .arg("--config")
        .arg(config)
        .env_clear()
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Resident memory in KiB and open files.
fn size_of(child: &Child) -> Option<(u64, usize)> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().trim_end_matches(" kB").parse().ok())?;
    Some((memory, std::fs::read_dir(format!("/proc/{}/fd", child.id())).ok()?.count()))
}

/// Whether a connection was discovered, then synced twice from end to end since then: twice, because some lists can shift while
/// they are read.
fn caught_up(database: &Path, connection: &str, since: i64) -> bool {
    let reader = Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.busy_timeout(Duration::from_secs(30)).unwrap();
    let times = |kind: &str, since: i64| -> (i64, i64) {
        let sql = "select count(*), coalesce(min(started_at), 0) from operations where connection = ?1 and kind = ?2 and outcome = 'success' and started_at > ?3";
        reader.query_row(sql, rusqlite::params![connection, kind, since], |row| Ok((row.get(0)?, row.get(1)?))).unwrap_or((0, 0))
    };
    let (discovers, discovered) = times("discover", since);
    discovers > 0 && times("sync", discovered).0 >= 2
}

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; .ci/run runs it"]
async fn s5_hours_of_faults_and_kills_end_as_every_oracle_says() {
    let minutes = std::env::var("TRIBUTARY_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let pace = Pace::of(minutes);
    let mut tools: Vec<Running> = Vec::new();
    for (index, (_, make)) in VENDORS.iter().enumerate() {
        let tool = start_any(make(Size { records: 4, findings: 150, seed: 11 }), 0).await.unwrap();
        tool.faults.by_chance(2.0, u64::try_from(index).unwrap());
        tools.push(tool);
    }
    let folder = tempfile::tempdir().unwrap();
    let (config, database) = (folder.path().join("tributary.toml"), folder.path().join("soak.db"));
    // Every sync lists everything: what the oracle knows holds after full syncs.
    let mut text = format!(
        "[store]\nurl = \"sqlite:soak.db\"\n[server]\nlisten = \"off\"\n[defaults]\ndiscover = {{ every = \"{}\" }}\nsync = {{ every = \"{}\" }}\nfull_sync_every = \"1s\"\n",
        pace.discover, pace.sync
    );
    for tool in &tools {
        let id = tool.vendor.id();
        text.push_str(&format!("[connections.{id}]\nconnector = \"{id}\"\nlocation = \"{}\"\n[connections.{id}.fields]\n", tool.url));
        for (field, value) in tool.vendor.fields(&tool.url) {
            text.push_str(&format!("{field} = \"{value}\"\n"));
        }
    }
    std::fs::write(&config, text).unwrap();
    // It holds secrets, made up as they are.
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    let (began, mut seed) = (Instant::now(), Seed::of(&[minutes]));
    let mut daemon = start_daemon(&config);
    let mut born = Instant::now();
    let mut stepped: Vec<i64> = tools.iter().map(|_| now()).collect();
    let (mut kills, mut steps, mut sizes) = (0, 0, Vec::new());
    while began.elapsed() < pace.whole {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(daemon.try_wait().unwrap().is_none(), "it ended by itself: {}", folder.path().display());
        for (tool, stepped) in tools.iter().zip(&mut stepped) {
            if database.exists() && caught_up(&database, tool.vendor.id(), *stepped) {
                tool.vendor.step(&Change::ONE_PERCENT);
                (*stepped, steps) = (now(), steps + 1);
            }
        }
        // Between 80 and 120 % of the pace, so that every phase of the work is met.
        if born.elapsed() > pace.kill.mul_f64(0.8 + 0.004 * f64::from(u8::try_from(seed.below(100)).unwrap())) {
            sizes.extend(size_of(&daemon));
            daemon.kill().unwrap();
            daemon.wait().unwrap();
            daemon = start_daemon(&config);
            (born, kills) = (Instant::now(), kills + 1);
            println!("{:>5} s  {kills} kills, {steps} steps, {:?}", began.elapsed().as_secs(), sizes.last());
        }
    }
    // Peace, so that what was interrupted last can end.
    tools.iter().for_each(|tool| tool.faults.clear());
    let peace = Instant::now();
    while !tools.iter().zip(&stepped).all(|(tool, stepped)| caught_up(&database, tool.vendor.id(), *stepped)) {
        assert!(
            peace.elapsed() < Duration::from_secs(600),
            "it does not catch up: {}",
            std::fs::read_to_string(config.with_extension("log")).unwrap()
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    sizes.extend(size_of(&daemon));
    Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status().unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));

    let reader = Connection::open(&database).unwrap();
    for tool in &tools {
        let id = tool.vendor.id();
        crate::common::assert_equal(
            &crate::common::snapshot(&reader, id),
            &tool.vendor.oracle(),
            &format!("of {id} after {kills} kills and {steps} steps"),
        );
    }
    let whole: String = reader.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    assert!(kills > 0 && steps > 0, "{kills} kills, {steps} steps: nothing was tried");
    println!("{kills} kills, {steps} steps; memory in KiB and open files at each end: {sizes:?}");
    let (least, most) = (sizes.iter().map(|size| size.0).min().unwrap(), sizes.iter().map(|size| size.0).max().unwrap());
    assert!(most < 128 << 10, "{most} KiB");
    assert!(most < least * 2, "memory is not flat: {sizes:?}");
    assert!(sizes.iter().all(|size| size.1 < 200), "files stay open: {sizes:?}");
}
