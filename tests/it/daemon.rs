//! The daemon as its operator meets it: the real process, its schedule, its signals, its HTTP server.

use std::{
    io::Read,
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::common::{self, TestApp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tributary_simulator::{Change, Fault, Size, dependency_track::DependencyTrack, seed::Seed, start};

const SMALL: Size = Size { records: 4, findings: 200, seed: 3 };
/// Longer than anything here takes on a busy machine; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(90);

/// A running daemon. It is killed when this is dropped.
struct Daemon {
    child: Child,
    log: PathBuf,
    address: String,
}

impl Daemon {
    async fn start(bench: &TestApp) -> Daemon {
        Daemon::start_with(bench, ":").await
    }

    /// As a shell starts it after a command of its own.
    async fn start_with(bench: &TestApp, first: &str) -> Daemon {
        let log = bench.folder.path().join(format!("log-{}", rand_name()));
        let file = std::fs::File::create(&log).unwrap();
        let inner = bench.command(&["run"]);
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &format!("{first}; exec \"$0\" \"$@\"")]).arg(inner.get_program()).args(inner.get_args()).env_clear();
        Daemon::of(bench, command, log, file.into()).await
    }

    /// As this command starts it, with a clock that can be shifted.
    async fn of(bench: &TestApp, mut command: std::process::Command, log: PathBuf, stderr: Stdio) -> Daemon {
        command.env("TRIBUTARY_CLOCK", bench.folder.path().join("clock")).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().unwrap();
        let mut daemon = Daemon { child, log, address: String::new() };
        let database = bench.folder.path().join("t.db");
        let began = Instant::now();
        loop {
            let holder = tributary::daemon::holder(&database);
            if let Some(address) = holder.filter(|holder| holder.pid == daemon.child.id()).and_then(|holder| holder.listen) {
                daemon.address = address;
                return daemon;
            }
            assert!(began.elapsed() < DEADLINE && daemon.child.try_wait().unwrap().is_none(), "it did not start: {}", daemon.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where the probes are, as the log tells.
    async fn probe_address(&self) -> String {
        let began = Instant::now();
        loop {
            let text = self.text();
            if let Some((_, rest)) = text.split_once("probe_listen=\"").or_else(|| text.split_once("probe_listen=")) {
                return rest.split(['"', ' ', '\n']).next().unwrap().to_owned();
            }
            assert!(began.elapsed() < DEADLINE, "{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it catches SIGTERM by now.
    fn hears_signals(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 14) != 0
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer =
            reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://{}{path}", self.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn status(&self, connection: &str) -> Value {
        let (code, body) = self.get("/api/v1/status").await;
        assert_eq!(code, 200, "{body}");
        let status: Value = serde_json::from_str(&body).unwrap();
        let found = status["connections"].as_array().unwrap().iter().find(|one| one["connection"] == connection);
        found.cloned().unwrap_or(Value::Null)
    }

    /// Waits until a connection's status is as wanted.
    async fn until(&self, connection: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let status = self.status(connection).await;
            if wanted(&status) {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "still {status:#}\n{}", self.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its exit code, and how long it took to end.
    async fn end(mut self, signal: Signal) -> (Option<i32>, Duration, String) {
        self.signal(signal);
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), began.elapsed(), self.text());
            }
            assert!(began.elapsed() < DEADLINE, "it does not end: {}", self.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By how many seconds the clock of the daemon is ahead, from its next look on.
fn set_clock(bench: &TestApp, seconds: i64) {
    let next = bench.folder.path().join("next-clock");
    std::fs::write(&next, seconds.to_string()).unwrap();
    std::fs::rename(next, bench.folder.path().join("clock")).unwrap();
}

fn rand_name() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

async fn bench(more: &str) -> TestApp {
    let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
    bench.configure(more);
    bench
}

async fn run(bench: &TestApp, arguments: &[&str]) -> (i32, String, String) {
    let (code, stdout, stderr) = common::run(bench.command(arguments)).await;
    (code.unwrap(), stdout, stderr)
}

const EVERY_SECOND: &str = "discover = { every = \"1h\" }\nsync = { every = \"1s\" }";

fn succeeded(status: &Value) -> bool {
    !status["sync"]["last_success"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_syncs_on_schedule_tells_how_it_stands_and_stops_with_exit_0() {
    let bench = bench(EVERY_SECOND).await;
    let daemon = Daemon::start(&bench).await;
    daemon.until("t", succeeded).await;
    bench.tool.vendor.step(&Change::ONE_PERCENT);
    let before = daemon.status("t").await["sync"]["last_success"].clone();
    daemon.until("t", |status| succeeded(status) && status["sync"]["last_success"] != before).await;

    assert_eq!(daemon.get("/livez").await.0, 200);
    assert_eq!(daemon.get("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(daemon.get("/nothing").await.0, 404);
    let (_, metrics) = daemon.get("/metrics").await;
    for line in [
        "tributary_operations_total{connection=\"t\",operation=\"sync\",outcome=\"success\"}",
        "tributary_items_total{connection=\"t\",kind=\"finding\",result=\"created\"} ",
        "tributary_vendor_requests_total{connection=\"t\",code=\"200\"}",
        "tributary_operation_duration_seconds_bucket{connector=\"dependency_track\",operation=\"sync\",le=",
        "tributary_consecutive_failures{connection=\"t\",operation=\"sync\"} 0",
        "tributary_held_closes{connection=\"t\"} 0",
        "tributary_config_last_reload_successful 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }

    // Commands work beside it, and a second daemon does not.
    let (code, stdout, stderr) = run(&bench, &["status"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains('t') && stderr.contains(&format!("process {}", daemon.child.id())), "{stdout}{stderr}");
    assert_eq!(run(&bench, &["health", "--ready"]).await.0, 0);
    let (code, _, stderr) = run(&bench, &["run"]).await;
    assert_eq!(code, 75, "{stderr}");
    assert!(stderr.contains(&format!("process {}", daemon.child.id())), "{stderr}");

    let (code, took, log) = daemon.end(Signal::TERM).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(run(&bench, &["health"]).await.0, 69, "nobody is there");
    let (_, stdout, stderr) = run(&bench, &["status", "-o", "json"]).await;
    let status: Value = serde_json::from_str(&stdout).unwrap();
    assert!(succeeded(&status["items"][0]), "{stdout}{stderr}");
    for _ in 0..2 {
        assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    }
    bench.assert_oracle("after the daemon");
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_nobody_beyond_this_machine_is_answered() {
    let bench = bench("discover = \"off\"\nsync = \"off\"").await;
    let daemon = Daemon::start(&bench).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/api/v1/status", daemon.address);
    let foreign = client.get(&url).header("host", "rebound.example").send().await.unwrap();
    assert_eq!(foreign.status(), 421, "a name that was made to resolve to this machine");
    drop(daemon);
    let text = std::fs::read_to_string(bench.config()).unwrap();
    std::fs::write(bench.config(), text.replace("127.0.0.1:0", "0.0.0.0:8420")).unwrap();
    let (code, _, stderr) = run(&bench, &["run"]).await;
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("E0114") && stderr.contains("probe_listen"), "{stderr}");
}

/// A configuration that has the probes on an address of their own, too.
fn with_probes(bench: &TestApp) {
    let text = std::fs::read_to_string(bench.config()).unwrap();
    std::fs::write(bench.config(), text.replace("[server]\n", "[server]\nprobe_listen = \"127.0.0.1:0\"\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_the_probe_address_serves_probes_and_metrics_and_nothing_else() {
    let bench = bench("discover = \"off\"\nsync = \"off\"").await;
    with_probes(&bench);
    let mut daemon = Daemon::start(&bench).await;
    daemon.address = daemon.probe_address().await;
    for (path, code) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/api/v1/status", 404)] {
        assert_eq!(daemon.get(path).await.0, code, "{path}");
    }
}

/// Sends bytes, and gives what comes until the daemon closes the connection.
async fn raw(address: &str, bytes: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the daemon closes the connection");
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_a_request_that_can_be_read_in_two_ways_is_refused() {
    let bench = bench("discover = \"off\"\nsync = \"off\"").await;
    with_probes(&bench);
    let daemon = Daemon::start(&bench).await;
    for address in [daemon.address.clone(), daemon.probe_address().await] {
        for (request, code) in [
            ("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
            ("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "400"),
            ("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", "400"),
            ("GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("GET /livez HTTP/1.1\r\n\r\n", "400"),
            ("GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ] {
            let answer = raw(&address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{request:?}: {answer}");
        }
    }
    for (host, code) in
        [("evil.example", "421"), ("127.0.0.1:80", "200"), ("[::1]:80", "200"), ("localhost.evil.example", "421"), ("", "421")]
    {
        let answer = raw(&daemon.address, &format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{host}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_closed() {
    let bench = bench("discover = \"off\"\nsync = \"off\"").await;
    with_probes(&bench);
    let daemon = Daemon::start(&bench).await;
    let probes = daemon.probe_address().await;
    let head = "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: ";
    let long = format!("{head}{}", "a".repeat(100_000));
    let starts = ["", "G", head, "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", &long];
    let all = starts.iter().flat_map(|start| [(&probes, start), (&daemon.address, start)]).map(|(address, start)| raw(address, start));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 ")), "{answers:?}");
    assert_eq!(daemon.get("/livez").await.0, 200);
}

/// Half-open connections in their hundreds, with few files that may be open: the probes answer, and syncs go on.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_stop_neither_probes_nor_syncs() {
    let bench = bench(EVERY_SECOND).await;
    with_probes(&bench);
    let daemon = Daemon::start_with(&bench, "ulimit -n 128").await;
    let probes = daemon.probe_address().await;
    daemon.until("t", succeeded).await;
    let mut held = Vec::new();
    for round in 0..3 {
        for address in [&probes, &daemon.address] {
            for _ in 0..150 {
                held.push(tokio::net::TcpStream::connect(address.as_str()).await.unwrap());
            }
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = raw(&probes, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "round {round}, {path}: {answer}");
        }
        let before = daemon.status("t").await["sync"]["last_success"].clone();
        daemon.until("t", |status| status["sync"]["last_success"] != before).await;
    }
    assert!(!daemon.text().contains("Too many open files"), "{}", daemon.text());
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_ends_soon_is_told_in_log_status_and_metrics() {
    let bench = bench("discover = \"off\"\nsync = \"off\"").await;
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 5 + 1);
    let text = std::fs::read_to_string(bench.config()).unwrap();
    let line = format!("credential_expires = \"{ends}\"\n[connections.t.fields]");
    std::fs::write(bench.config(), text.replace("[connections.t.fields]", &line)).unwrap();
    let daemon = Daemon::start(&bench).await;
    let (_, stdout, stderr) = run(&bench, &["status"]).await;
    assert!(stdout.contains("credential ends in 5 days"), "{stdout}{stderr}");
    let wanted = format!("tributary_credential_expiry_timestamp_seconds{{connection=\"t\"}} {}", ends.as_second());
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(metrics.contains(&wanted), "{metrics}");
    let began = Instant::now();
    while !daemon.text().contains("E0210") {
        assert!(began.elapsed() < DEADLINE, "{}", daemon.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_sigterm_at_any_moment_ends_with_exit_0_and_loses_nothing() {
    let bench = bench(EVERY_SECOND).await;
    let mut seed = Seed::of(&[2, 26]);
    for round in 0..100 {
        if round % 20 == 19 {
            // What a correct client must end with is known for one that synced between two steps.
            for _ in 0..2 {
                assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
            }
            bench.assert_oracle(&format!("after {round} stops"));
            bench.tool.vendor.step(&Change::ONE_PERCENT);
        }
        let log = bench.folder.path().join(format!("log-{round}"));
        let child = bench.command(&["run"]).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let daemon = Daemon { child, log, address: String::new() };
        // From the moment on at which it listens to signals: reading the configuration, migrating, syncing, idle.
        while !daemon.hears_signals() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(seed.below(500) as u64)).await;
        let (code, took, log) = daemon.end(Signal::TERM).await;
        assert_eq!(code, Some(0), "round {round}: {log}");
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
    for _ in 0..2 {
        assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    }
    bench.assert_oracle("after 100 stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_a_wait_for_quota_does_not_delay_the_end_and_is_shown() {
    let bench = bench(EVERY_SECOND).await;
    bench.tool.faults.add("/api/v1/finding", 0, usize::MAX, Fault::Status(429, Some("600".to_owned())));
    let daemon = Daemon::start(&bench).await;
    let status = daemon.until("t", |status| status["status"] == "waiting").await;
    assert!(status["running"]["waiting_until"].is_string(), "{status:#}");
    let (_, stdout, _) = run(&bench, &["status"]).await;
    assert!(stdout.contains("waiting until"), "{stdout}");
    let (code, took, log) = daemon.end(Signal::TERM).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_what_a_killed_daemon_ran_is_shown_as_interrupted_and_goes_on() {
    let bench = bench("discover = { every = \"1h\" }\nsync = { every = \"1h\" }").await;
    bench.tool.faults.add("/api/v1/finding", 2, usize::MAX, Fault::Status(429, Some("600".to_owned())));
    let daemon = Daemon::start(&bench).await;
    let status = daemon.until("t", |status| status["status"] == "waiting").await;
    let operation = status["running"]["operation"].as_str().unwrap().to_owned();
    daemon.end(Signal::KILL).await;
    let (_, stdout, _) = run(&bench, &["status", "-o", "json"]).await;
    let status: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(status["items"][0]["running"], Value::Null, "nobody runs it any more");
    bench.tool.faults.clear();
    let daemon = Daemon::start(&bench).await;
    daemon.until("t", succeeded).await;
    let (_, stdout, _) = run(&bench, &["operations", "show", &operation, "-o", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["outcome"], "interrupted", "{stdout}");
    let (_, stdout, _) = run(&bench, &["operations", "list", "-o", "json"]).await;
    let operations: Value = serde_json::from_str(&stdout).unwrap();
    let resumed = operations["items"].as_array().unwrap().iter().find(|one| one["kind"] == "sync" && one["outcome"] == "success").unwrap();
    assert_eq!(resumed["trigger"], "schedule", "due at once, though its hour is not over: {resumed}");
    drop(daemon);
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    bench.assert_oracle("after the kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_a_reload_is_all_or_nothing_and_leaves_the_untouched_alone() {
    let bench = bench("discover = \"off\"\nsync = { every = \"1h\" }").await;
    bench.tool.faults.add("/api/v1/finding", 0, usize::MAX, Fault::Status(429, Some("600".to_owned())));
    let daemon = Daemon::start(&bench).await;
    let status = daemon.until("t", |status| status["status"] == "waiting").await;
    let operation = status["running"]["operation"].clone();
    let good = std::fs::read_to_string(bench.config()).unwrap();
    let other = start(DependencyTrack::new(SMALL), 0).await.unwrap();

    // Invalid: told at once, and nothing of it is taken.
    let more = format!(
        "\n[connections.u]\nconnector = \"dependency_track\"\nlocation = \"{}\"\nsecret = \"{}\"\ndiscover = \"off\"\nsync = {{ every = \"1h\" }}\n",
        other.url,
        other.vendor.fields(&other.url)[0].1
    );
    std::fs::write(bench.config(), format!("{good}{more}locaton = 1\n")).unwrap();
    let (code, _, stderr) = run(&bench, &["config", "reload"]).await;
    assert_eq!(code, 78, "{stderr}");
    daemon.signal(Signal::HUP);
    let began = Instant::now();
    while !daemon.get("/metrics").await.1.contains("tributary_config_last_reload_successful 0") {
        assert!(began.elapsed() < DEADLINE, "{}", daemon.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(daemon.status("u").await, Value::Null, "the old configuration is in force");
    assert!(daemon.text().contains("E0120") && daemon.text().contains("locaton"), "{}", daemon.text());

    std::fs::write(bench.config(), format!("{good}{more}")).unwrap();
    let (code, stdout, stderr) = run(&bench, &["config", "reload"]).await;
    assert_eq!((code, stdout.trim()), (0, "added u"), "{stderr}");
    daemon.until("u", succeeded).await;
    let status = daemon.status("t").await;
    assert_eq!(status["running"]["operation"], operation, "it was not touched");
    assert!(daemon.get("/metrics").await.1.contains("tributary_config_last_reload_successful 1"));

    std::fs::write(bench.config(), good.replace("every = \"1h\"", "every = \"2h\"")).unwrap();
    let (code, stdout, stderr) = run(&bench, &["config", "reload"]).await;
    assert_eq!((code, stdout.trim()), (0, "changed t: sync\nremoved u; what is stored of it stays"), "{stderr}");
    let (_, stdout, _) = run(&bench, &["config", "reload"]).await;
    assert_eq!(stdout.trim(), "nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_not_sent_again_before_it_is_another_one() {
    let bench = bench(EVERY_SECOND).await;
    let secret = bench.folder.path().join("secret");
    let good = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    let write = |text: &str| {
        // By renaming, as secret managers do.
        let next = bench.folder.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(next, &secret).unwrap();
    };
    write("odt_wrong");
    let text = std::fs::read_to_string(bench.config()).unwrap();
    std::fs::write(bench.config(), text.replace(&format!("\"{good}\""), "{ file = \"secret\" }")).unwrap();
    let daemon = Daemon::start(&bench).await;
    daemon.until("t", |status| status["status"] == "auth").await;
    // Others are asked without the credential: whether the tool is up.
    let sent = || bench.tool.log().iter().filter(|one| one.target.starts_with("/api/v1/")).count();
    let before = sent();
    assert!((1..=2).contains(&before), "{before} refused requests may lock an account");
    // The sync is due every second: none of them asks the vendor.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(sent(), before, "it was not tried again");
    let (_, stdout, _) = run(&bench, &["status"]).await;
    assert!(stdout.contains("auth") && stdout.contains("refused"), "{stdout}");
    // K6: the secret is rotated; no restart, no reload.
    write(&good);
    daemon.until("t", succeeded).await;
    assert!(
        daemon
            .get("/metrics")
            .await
            .1
            .contains("tributary_connection_status{connection=\"t\",connector=\"dependency_track\",status=\"auth\"} 0")
    );
}

/// The files of the database vanish under the daemon, or others are put in their place: it tells so, and makes no new ones.
#[tokio::test(flavor = "multi_thread")]
async fn d12_a_database_that_is_deleted_or_replaced_under_the_daemon_is_told() {
    for replaced in [false, true] {
        let bench = bench(EVERY_SECOND).await;
        let daemon = Daemon::start(&bench).await;
        daemon.until("t", succeeded).await;
        let (database, away) = (bench.folder.path().join("t.db"), bench.folder.path().join("away.db"));
        std::fs::rename(&database, &away).unwrap();
        if replaced {
            std::fs::copy(&away, &database).unwrap();
        }
        let put = std::fs::read(&database).ok();
        let began = Instant::now();
        let answer = loop {
            let (code, text) = daemon.get("/readyz").await;
            if code == 503 {
                break text;
            }
            assert!(began.elapsed() < DEADLINE, "{}", daemon.text());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(answer.contains("database: cannot be written (E0508, see the log)"), "{answer}");
        assert!(daemon.text().contains("was deleted or replaced while this process worked with it"), "{}", daemon.text());
        assert_eq!(daemon.get("/livez").await.0, 200, "a new process would begin an empty database");
        assert!(std::fs::read(&database).ok() == put, "nothing is made or written in its place");
        std::fs::rename(&away, &database).unwrap();
        while daemon.get("/readyz").await.0 != 200 {
            assert!(began.elapsed() < DEADLINE, "{}", daemon.text());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_connection_rests_until_it_is_resumed() {
    let bench = bench(EVERY_SECOND).await;
    assert_eq!(run(&bench, &["connections", "pause", "t"]).await.0, 0);
    let daemon = Daemon::start(&bench).await;
    assert_eq!(daemon.status("t").await["status"], "paused");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.tool.log().len(), 0);
    let (code, _, stderr) = run(&bench, &["run", "--once"]).await;
    assert_eq!((code, bench.tool.log().len()), (0, 0), "{stderr}");
    assert_eq!(run(&bench, &["connections", "resume", "t"]).await.0, 0);
    daemon.until("t", succeeded).await;
    assert_eq!(run(&bench, &["connections", "pause", "nobody"]).await.0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_can_be_stopped_from_outside_and_the_next_one_goes_on() {
    let bench = bench("discover = { every = \"1h\" }\nsync = { every = \"1h\" }").await;
    bench.tool.faults.add("/api/v1/finding", 1, usize::MAX, Fault::Status(429, Some("600".to_owned())));
    let daemon = Daemon::start(&bench).await;
    let status = daemon.until("t", |status| status["status"] == "waiting").await;
    let operation = status["running"]["operation"].as_str().unwrap().to_owned();
    let (code, _, stderr) = run(&bench, &["operations", "cancel", &operation]).await;
    assert_eq!(code, 0, "{stderr}");
    daemon.until("t", |status| status["sync"]["last_outcome"] == "interrupted").await;
    assert_eq!(run(&bench, &["operations", "cancel", "nothing"]).await.0, 4);
    bench.tool.faults.clear();
    assert_eq!(run(&bench, &["sync", "t"]).await.0, 0);
    bench.assert_oracle("after the next sync");
    let (_, stdout, _) = run(&bench, &["operations", "show", &operation]).await;
    assert!(stdout.contains("interrupted") && stdout.contains("timeline") && stdout.contains("waited"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_hangs_delays_no_other() {
    let bench = bench(EVERY_SECOND).await;
    bench.tool.faults.add("", 0, usize::MAX, Fault::Slow(Duration::from_secs(60)));
    let other = start(DependencyTrack::new(SMALL), 0).await.unwrap();
    let text = std::fs::read_to_string(bench.config()).unwrap();
    let more = format!(
        "\n[connections.u]\nconnector = \"dependency_track\"\nlocation = \"{}\"\nsecret = \"{}\"\n{EVERY_SECOND}\n",
        other.url,
        other.vendor.fields(&other.url)[0].1
    );
    std::fs::write(bench.config(), format!("{text}{more}")).unwrap();
    let daemon = Daemon::start(&bench).await;
    daemon.until("u", succeeded).await;
    assert_eq!(daemon.status("t").await["status"], "running");
    let mut text = String::new();
    std::fs::File::open(&daemon.log).unwrap().read_to_string(&mut text).unwrap();
    assert!(!text.contains("panicked"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_wrong_and_right_again_stops_no_schedule() {
    let bench = bench("discover = { every = \"1h\" }\nsync = { every = \"2s\" }").await;
    set_clock(&bench, 0);
    let daemon = Daemon::start(&bench).await;
    let syncs = || bench.query_i64("select count(*) from operations where kind = 'sync' and outcome = 'success'");
    daemon.until("t", |_| syncs() > 0).await;
    // A year ahead and back; two hours back and right again.
    for seconds in [365 * 86_400, 0, -7200, 0] {
        set_clock(&bench, seconds);
        let before = syncs();
        daemon.until("t", |_| syncs() > before + 1).await;
    }
    // Between runs too: another process finds due times that lie a year ahead.
    set_clock(&bench, 365 * 86_400);
    let before = syncs();
    daemon.until("t", |_| syncs() > before).await;
    daemon.end(Signal::TERM).await;
    set_clock(&bench, 0);
    assert!(
        bench.query_i64("select min(due_at) from due where kind = 'sync'") > jiff::Timestamp::now().as_microsecond() + 300 * 86_400_000_000
    );
    let before = syncs();
    let daemon = Daemon::start(&bench).await;
    daemon.until("t", |_| syncs() > before).await;
    let next: jiff::Timestamp = daemon.status("t").await["discover"]["next"].as_str().unwrap().parse().unwrap();
    assert!(next <= jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1), "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_by_itself_is_tried_again_within_minutes_and_not_at_the_next_daily_schedule() {
    let bench = bench("discover = \"15 3 * * *\"\nsync = \"off\"").await;
    set_clock(&bench, 0);
    bench.tool.faults.add("/api/v1/project", 0, usize::MAX, Fault::Status(503, Some("0".to_owned())));
    let daemon = Daemon::start(&bench).await;
    // In how many seconds by the daemon's clock, `ahead` of the true one, the next try comes after so many failures.
    let again = |status: &Value, failures: i64, ahead: i64| {
        let next: jiff::Timestamp = status["discover"]["next"].as_str().unwrap().parse().unwrap();
        let seconds = next.duration_since(jiff::Timestamp::now()).as_secs() - ahead;
        (status["discover"]["failures"] == failures).then_some(seconds)
    };
    daemon.until("t", |status| again(status, 1, 0).is_some_and(|seconds| (0..=60).contains(&seconds))).await;
    // Again after a minute, then after two.
    set_clock(&bench, 61);
    daemon.until("t", |status| again(status, 2, 61).is_some_and(|seconds| (60..=120).contains(&seconds))).await;
    bench.tool.faults.clear();
    set_clock(&bench, 61 + 121);
    daemon.until("t", |status| !status["discover"]["last_success"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_tried_again_after_five_minutes_and_rests_when_it_is_refused_again() {
    let bench = bench("discover = \"15 3 * * *\"\nsync = \"15 4 * * *\"").await;
    set_clock(&bench, 0);
    bench.tool.faults.add("", 0, usize::MAX, Fault::Status(401, None));
    let daemon = Daemon::start(&bench).await;
    let refused = || bench.query_i64("select count(*) from operations where code = 'E0201'");
    daemon.until("t", |status| status["status"] == "auth" && refused() == 1).await;
    set_clock(&bench, 310);
    let status = daemon.until("t", |status| refused() == 2 && status["status"] == "auth").await;
    assert!(status["reason"].as_str().unwrap().contains("not tried again"), "{status:#}");
    // It rests, whatever becomes due.
    let sent = bench.tool.log().len();
    set_clock(&bench, 2 * 86_400);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((bench.tool.log().len(), refused()), (sent, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_vanishes_and_returns_is_told_and_recovered_from() {
    let bench = bench(EVERY_SECOND).await;
    let good = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    let (secret, away) = (bench.folder.path().join("secret"), bench.folder.path().join("away"));
    std::fs::write(&secret, &good).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = std::fs::read_to_string(bench.config()).unwrap();
    std::fs::write(bench.config(), text.replace(&format!("\"{good}\""), "{ file = \"secret\" }")).unwrap();
    let daemon = Daemon::start(&bench).await;
    daemon.until("t", |status| status["status"] == "ok").await;
    std::fs::rename(&secret, &away).unwrap();
    daemon
        .until("t", |status| {
            status["status"] == "auth" && status["sync"]["code"] == "E0205" && status["sync"]["failures"].as_i64() > Some(1)
        })
        .await;
    let auth = "tributary_connection_status{connection=\"t\",connector=\"dependency_track\",status=\"auth\"} 1";
    let began = Instant::now();
    // Another operation may be starting at this moment.
    while !daemon.get("/metrics").await.1.contains(auth) {
        assert!(began.elapsed() < DEADLINE, "{}", daemon.text());
    }
    std::fs::rename(&away, &secret).unwrap();
    daemon.until("t", |status| status["status"] == "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_stalls_stops_nothing() {
    let bench = bench(EVERY_SECOND).await;
    let log = bench.folder.path().join("log");
    let mut daemon = Daemon::of(&bench, bench.command(&["run", "-vvv"]), log, Stdio::piped()).await;
    let mut stderr = daemon.child.stderr.take().unwrap();
    // Nobody reads, and everything is said: the pipe, which holds 64 KiB, is full at once. The operations go on.
    let syncs = || bench.query_i64("select count(*) from operations where kind = 'sync' and outcome = 'success'");
    daemon.until("t", |_| syncs() > 1).await;
    let before = syncs();
    daemon.until("t", |_| syncs() > before + 2).await;
    assert_eq!(daemon.get("/livez").await.0, 200);
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let mut part = [0; 65_536];
        while let Ok(read @ 1..) = stderr.read(&mut part) {
            text.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        text
    });
    let before = syncs();
    daemon.until("t", |_| syncs() > before).await;
    daemon.end(Signal::TERM).await;
    let text = reader.join().unwrap();
    assert!(text.len() > 65_536, "it was full");
    assert!(text.contains("stopped"), "what was said last is there: {}", &text[text.len().saturating_sub(2000)..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_starts_refuses_good_credentials_and_nothing_follows_from_it() {
    let bench = bench("discover = \"15 3 * * *\"\nsync = \"off\"").await;
    set_clock(&bench, 0);
    // It refuses what is right, and says that it is not up.
    bench.tool.faults.add("/api/v1", 0, usize::MAX, Fault::Status(401, None));
    let down = r#"{"status":"DOWN","checks":[{"name":"database","status":"DOWN"}]}"#;
    bench.tool.faults.add("/health/ready", 0, usize::MAX, Fault::Json(503, down));
    for command in [&["check"][..], &["run", "--once"]] {
        let (code, _, stderr) = run(&bench, command).await;
        assert_eq!(code, 75, "{stderr}");
        assert!(stderr.contains("E0209") && stderr.contains("not ready") && stderr.contains("database"), "{stderr}");
    }
    let daemon = Daemon::start(&bench).await;
    // What failed a moment ago is no run that the schedule could wait for.
    let status = daemon.until("t", |status| status["status"] == "starting" && status["discover"]["code"] == "E0209").await;
    assert!(status["reason"].as_str().unwrap().contains("database"), "{status:#}");
    let tries = || bench.query_i64("select count(*) from operations where code = 'E0209'");
    let refused = "select count(*) from connections where credential_fingerprint is not null";
    let before = tries();
    // Hours pass between any two looks, so whatever waits is due.
    let clock = std::cell::Cell::new(0);
    let later = || {
        clock.set(clock.get() + 3600);
        set_clock(&bench, clock.get());
    };
    daemon
        .until("t", |_| {
            later();
            tries() > before + 2
        })
        .await;
    assert_eq!(bench.query_i64(refused), 0, "no refusal counted");
    bench.tool.faults.clear();
    daemon
        .until("t", |status| {
            later();
            !status["discover"]["last_success"].is_null()
        })
        .await;
}
