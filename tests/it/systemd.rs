//! What systemd is told, at a real notify socket, and the units that it is given.

#![expect(clippy::print_stderr, reason = "what is skipped is told")]

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::TestApp;
use tributary_simulator::{Size, dependency_track::DependencyTrack, start};

/// Long enough for a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(60);
/// The daemon lets itself be heard three times in it.
const WATCHDOG: Duration = Duration::from_secs(3);

/// A running daemon and the socket at which it is heard.
struct Daemon {
    bench: TestApp,
    socket: UnixDatagram,
    child: Child,
}

impl Daemon {
    /// Nothing is due: what happens is what the test does.
    async fn start() -> Daemon {
        let bench = TestApp::new(start(DependencyTrack::new(Size { records: 2, findings: 10, seed: 1 }), 0).await.unwrap());
        bench.configure("discover = \"off\"\nsync = \"off\"");
        let path = bench.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let child = bench
            .command(&["run"])
            .env("NOTIFY_SOCKET", path)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Daemon { bench, socket, child }
    }

    /// The next message, as lines.
    fn next(&self, patience: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap().lines().map(str::to_owned).collect())
    }

    /// Reads on until a message has a line that starts so; gives all lines up to it.
    fn until(&self, start: &str) -> Vec<String> {
        let mut heard: Vec<String> = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        while !heard.iter().any(|line| line.starts_with(start)) {
            assert!(Instant::now() < deadline, "{start} was not told; heard: {heard:?}");
            heard.extend(self.next(DEADLINE).unwrap_or_default());
        }
        heard
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn stop(mut self) {
        self.signal("-TERM");
        self.until("STOPPING=1");
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "a stop that was asked for is no failure");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_systemd_is_told_ready_status_life_and_the_stop() {
    let daemon = Daemon::start().await;
    let heard = daemon.until("READY=1");
    assert!(daemon.bench.folder.path().join("t.db").exists(), "ready before the database was there: {heard:?}");
    let told = |heard: &[String]| heard.iter().any(|line| line.len() > "STATUS=".len() && line.starts_with("STATUS="));
    assert!(told(&heard) || told(&daemon.until("STATUS=")));
    for _ in 0..3 {
        daemon.until("WATCHDOG=1");
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_watchdog_falls_silent_while_the_store_does_not_answer() {
    let daemon = Daemon::start().await;
    daemon.until("WATCHDOG=1");
    let other = rusqlite::Connection::open(daemon.bench.folder.path().join("t.db")).unwrap();
    other.busy_timeout(DEADLINE).unwrap();
    other.execute_batch("begin immediate").unwrap();
    // What was answered before may still be told.
    let deadline = Instant::now() + WATCHDOG;
    while Instant::now() < deadline {
        daemon.next(Duration::from_millis(100));
    }
    assert_eq!(daemon.next(WATCHDOG), None, "alive, with a store that does not answer");
    other.execute_batch("rollback").unwrap();
    daemon.until("WATCHDOG=1");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_reload_is_told_with_its_time_and_then_readiness_again() {
    let daemon = Daemon::start().await;
    daemon.until("READY=1");
    daemon.signal("-HUP");
    let heard = daemon.until("RELOADING=1");
    let heard = if heard.iter().any(|line| line.starts_with("MONOTONIC_USEC=")) { heard } else { daemon.until("MONOTONIC_USEC=") };
    let told: u64 = heard.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse().ok()).unwrap();
    assert!(told > 0);
    daemon.until("READY=1");
    daemon.stop();
}

/// The units, with the binary of this build in place of the installed one, which need not be here.
fn units(folder: &Path) -> Vec<PathBuf> {
    let names = ["tributary.service", "tributary-once.service", "tributary-once.timer"];
    let write = |name: &&str| {
        let text = unit(name);
        let path = folder.join(name);
        fs::write(&path, text.replace("/usr/local/bin/tributary", env!("CARGO_BIN_EXE_tributary"))).unwrap();
        path
    };
    names.iter().map(write).collect()
}

fn unit(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)).unwrap()
}

#[test]
fn p3_the_units_are_valid_and_their_exposure_is_low() {
    let folder = tempfile::tempdir().unwrap();
    let units = units(folder.path());
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").args(&units).output() else {
        eprintln!("SKIPPED: p3_the_units_are_valid_and_their_exposure_is_low: systemd-analyze is not here");
        return;
    };
    let told = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !told.contains("tributary"), "{told}");
    for unit in units.iter().filter(|unit| unit.extension().is_some_and(|end| end == "service")) {
        // The scale is times ten: an exposure of 1.5.
        let rated = Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15"]).arg(unit).output().unwrap();
        assert!(rated.status.success(), "{}: {}", unit.display(), String::from_utf8_lossy(&rated.stdout));
    }
}

#[test]
fn p3_both_services_have_the_same_user_state_and_sandbox() {
    let sandbox = |name| {
        let text = unit(name);
        let from = text.find("DynamicUser=yes").unwrap();
        text[from..].lines().take_while(|line| *line != "[Install]").filter(|line| line.contains('=')).map(str::to_owned).collect()
    };
    let (daemon, once): (Vec<String>, Vec<String>) = (sandbox("tributary.service"), sandbox("tributary-once.service"));
    assert!(daemon.len() > 20 && daemon == once, "{daemon:#?}\n{once:#?}");
    for line in ["User=tributary", "StateDirectory=tributary", "StateDirectoryMode=0700", "UMask=0077"] {
        assert!(daemon.iter().any(|have| have == line), "{line}");
    }
}

#[test]
fn p3_the_daemons_unit_says_what_the_manager_has_to_know() {
    let text = unit("tributary.service");
    for line in [
        "Type=notify",
        "WatchdogSec=60",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartPreventExitStatus=65 78",
        "TimeoutStopSec=30",
        "LimitNOFILE=65536",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}");
    }
}
