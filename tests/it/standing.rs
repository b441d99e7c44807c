//! What stands between a connection and its next run: a lease, a wrong clock, a refused credential, another connector's findings.

use crate::common::{self, TestApp};
use serde_json::Value;
use tributary_simulator::{Fault, Size, dependency_track::DependencyTrack, start};

const SMALL: Size = Size { records: 4, findings: 200, seed: 3 };
const YEAR: i64 = 365 * 86_400;

async fn bench(more: &str) -> TestApp {
    let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
    bench.configure(more);
    set_clock(&bench, 0);
    bench
}

/// By how many seconds the clock of the next processes is ahead.
fn set_clock(bench: &TestApp, seconds: i64) {
    std::fs::write(bench.folder.path().join("clock"), seconds.to_string()).unwrap();
}

async fn run(bench: &TestApp, arguments: &[&str]) -> (i32, String, String) {
    let mut command = bench.command(arguments);
    command.env("TRIBUTARY_CLOCK", bench.folder.path().join("clock"));
    let (code, stdout, stderr) = common::run(command).await;
    (code.unwrap(), stdout, stderr)
}

async fn status(bench: &TestApp) -> Value {
    let (code, stdout, stderr) = run(bench, &["status", "-o", "json"]).await;
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str::<Value>(&stdout).unwrap()["items"][0].clone()
}

fn write(bench: &TestApp, sql: &str) {
    rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap().execute_batch(sql).unwrap();
}

fn replace(bench: &TestApp, from: &str, to: &str) {
    let text = std::fs::read_to_string(bench.config()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(bench.config(), text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ends_further_ahead_than_a_lease_lasts_blocks_nobody() {
    let bench = bench("").await;
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    // A process of an earlier start of this machine, whose clock was a year ahead.
    write(
        &bench,
        "update leases set owner = '0badb007-4026531836 4711 99', held_until = (unixepoch() + 31536000) * 1000000;
         update operations set outcome = 'running', ended_at = null where kind = 'sync'",
    );
    assert_eq!(status(&bench).await["running"], Value::Null, "nobody runs it");
    let operation = bench.query_string("select id from operations where kind = 'sync'");
    let (code, _, stderr) = run(&bench, &["operations", "cancel", &operation]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("does not run any more"), "{stderr}");
    assert_eq!(bench.query_string("select outcome from operations where kind = 'sync'"), "interrupted");
    let (code, _, stderr) = run(&bench, &["sync"]).await;
    assert_eq!(code, 0, "{stderr}");
    // Within its life it is believed: that process may be one of another container.
    write(&bench, "update leases set owner = '0badb007-4026531836 4711 99', held_until = (unixepoch() + 50) * 1000000");
    assert_eq!(run(&bench, &["sync"]).await.0, 75);
    // A process of this machine that is no more is found out at once, whatever its lease says.
    bench.engine.store.lease("other", "dependency_track").await.unwrap();
    let living = bench.query_string("select owner from leases l join connections c on c.id = l.connection_id where c.name = 'other'");
    let dead = living.replace(&format!(" {} ", std::process::id()), " 4194300 ");
    assert_ne!(living, dead);
    write(&bench, &format!("update leases set owner = '{dead}' where connection_id = (select id from connections where name = 't')"));
    assert_eq!(run(&bench, &["sync"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_a_wrong_clock_do_not_hide_later_ones() {
    let bench = bench("").await;
    set_clock(&bench, YEAR);
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    set_clock(&bench, 0);
    let now = jiff::Timestamp::now();
    let seen = status(&bench).await;
    assert_eq!(seen["sync"]["last_success"], Value::Null, "no success lies in the future: an alert on its age would never come");
    let end: jiff::Timestamp = seen["sync"]["last_end"].as_str().unwrap().parse().unwrap();
    assert!(end <= jiff::Timestamp::now() && end >= now, "{end}");
    bench.tool.faults.add("/api/v1/finding", 0, usize::MAX, Fault::Status(400, None));
    assert_ne!(run(&bench, &["sync"]).await.0, 0);
    let seen = status(&bench).await;
    assert_eq!((&seen["status"], &seen["sync"]["failures"]), (&"failing".into(), &1.into()), "{seen:#}");
    bench.tool.faults.clear();
    assert_eq!(run(&bench, &["sync"]).await.0, 0);
    let seen = status(&bench).await;
    assert_eq!((&seen["status"], &seen["sync"]["failures"]), (&"ok".into(), &0.into()), "{seen:#}");
    assert!(seen["sync"]["last_success"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_a_wrong_clock_is_shown_as_of_now_and_ends() {
    let bench = bench("").await;
    set_clock(&bench, YEAR);
    assert_eq!(run(&bench, &["connections", "pause", "t"]).await.0, 0);
    set_clock(&bench, 0);
    let seen = status(&bench).await;
    let since: jiff::Timestamp = seen["since"].as_str().unwrap().parse().unwrap();
    assert!(seen["status"] == "paused" && since <= jiff::Timestamp::now(), "{seen:#}");
    assert_eq!(run(&bench, &["connections", "resume", "t"]).await.0, 0);
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    assert_eq!(status(&bench).await["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_sent_again_after_five_minutes_and_then_rests() {
    let bench = bench("").await;
    bench.tool.faults.add("", 0, usize::MAX, Fault::Status(401, None));
    // Others are asked without the credential: whether the tool is up.
    let sent = || bench.tool.log().iter().filter(|one| one.target.starts_with("/api/v1/")).count();
    let (code, _, stderr) = run(&bench, &["run", "--once"]).await;
    assert_eq!(code, 77, "{stderr}");
    assert!((1..=2).contains(&sent()), "{} requests", sent());
    let before = sent();
    set_clock(&bench, 290);
    let (code, _, stderr) = run(&bench, &["run", "--once"]).await;
    assert_eq!((code, sent()), (77, before), "not before five minutes: {stderr}");
    assert!(stderr.contains("E0201") && stderr.contains("not sent again before"), "{stderr}");
    let seen = status(&bench).await;
    assert!(seen["status"] == "auth" && seen["reason"].as_str().unwrap().contains("tried again from"), "{seen:#}");

    // The tool was only starting: after five minutes it takes the same credential.
    set_clock(&bench, 301);
    bench.tool.faults.clear();
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    assert_eq!(status(&bench).await["status"], "ok");

    // It is wrong indeed: refused twice, five minutes apart, it rests.
    bench.tool.faults.add("", 0, usize::MAX, Fault::Status(401, None));
    for seconds in [400, 701] {
        set_clock(&bench, seconds);
        let before = sent();
        assert_eq!(run(&bench, &["run", "--once"]).await.0, 77);
        assert!(sent() > before, "at {seconds}");
    }
    let before = sent();
    for seconds in [1100, 86_400] {
        set_clock(&bench, seconds);
        let (code, _, stderr) = run(&bench, &["run", "--once"]).await;
        assert_eq!((code, sent()), (77, before), "it rests: {stderr}");
        assert!(stderr.contains("not sent again by itself") && stderr.contains("connections resume"), "{stderr}");
    }
    // A person may try it, but not more than three times an hour.
    let mut tries = Vec::new();
    for _ in 0..5 {
        let before = sent();
        assert_eq!(run(&bench, &["sync", "t"]).await.0, 77);
        tries.push(sent() > before);
    }
    assert_eq!(tries, [true, true, true, false, false]);
    assert_eq!(run(&bench, &["connections", "resume", "t"]).await.0, 0);
    let before = sent();
    assert_eq!((run(&bench, &["run", "--once"]).await.0, sent()), (77, before), "nor after a resume");
    // Another secret is tried at once.
    replace(&bench, "secret = \"", "secret = \"x");
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 77);
    assert!(sent() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_wrong_clock_does_not_rest_for_a_year() {
    let bench = bench("").await;
    bench.tool.faults.add("", 0, usize::MAX, Fault::Status(401, None));
    set_clock(&bench, YEAR);
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 77);
    set_clock(&bench, 0);
    bench.tool.faults.clear();
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0, "it is tried, and works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_holds_another_connectors_findings_is_refused() {
    let bench = bench("").await;
    // A name that holds nothing may change its connector.
    assert_eq!(run(&bench, &["connections", "pause", "t"]).await.0, 0);
    assert_eq!(run(&bench, &["connections", "resume", "t"]).await.0, 0);
    write(&bench, "update connections set connector = 'snyk'");
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    assert_eq!(bench.query_string("select connector from connections"), "dependency_track");
    let findings = bench.query_i64("select count(*) from findings where connector = 'dependency_track'");
    assert!(findings > 0);

    let url = &bench.tool.url;
    let other =
        format!("[store]\nurl = \"sqlite:t.db\"\n[connections.t]\nconnector = \"sonarqube\"\nlocation = \"{url}\"\nsecret = \"squ_x\"\n");
    std::fs::write(bench.config(), other).unwrap();
    let sent = bench.tool.log().len();
    for command in [&["config", "validate"][..], &["run", "--once"], &["run"], &["sync"], &["sync", "t"], &["discover"], &["check"]] {
        let (code, _, stderr) = run(&bench, command).await;
        assert_eq!(code, 78, "{command:?}: {stderr}");
        for word in ["E0511", "`t`", "`dependency_track`", "`sonarqube`", "another name"] {
            assert!(stderr.contains(word), "{command:?} does not say {word}: {stderr}");
        }
    }
    assert_eq!(bench.tool.log().len(), sent, "nothing was asked");
    assert_eq!(bench.query_i64("select count(*) from findings where connector = 'dependency_track'"), findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_read_is_a_failed_operation_and_told_by_the_status() {
    let bench = bench("").await;
    let good = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    let secret = bench.folder.path().join("secret");
    let write_secret = || {
        std::fs::write(&secret, &good).unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write_secret();
    replace(&bench, &format!("\"{good}\""), "{ file = \"secret\" }");
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    assert_eq!(status(&bench).await["status"], "ok");

    std::fs::remove_file(&secret).unwrap();
    for failed in 1..=2 {
        assert_eq!(run(&bench, &["sync"]).await.0, 78);
        let rows =
            "select count(*) from operations where outcome = 'failed' and code = 'E0205' and kind = 'sync' and error like '%secret%'";
        assert_eq!(bench.query_i64(rows), failed);
    }
    let seen = status(&bench).await;
    assert_eq!((&seen["status"], &seen["sync"]["code"]), (&"auth".into(), &"E0205".into()), "{seen:#}");
    assert!(seen["reason"].as_str().unwrap().contains("secret"), "{seen:#}");
    write_secret();
    assert_eq!(run(&bench, &["sync"]).await.0, 0);
    assert_eq!(status(&bench).await["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_records_or_without_a_sync_is_not_ok() {
    let bench = bench("").await;
    assert_eq!(run(&bench, &["discover"]).await.0, 0);
    assert_eq!(status(&bench).await["status"], "new", "it was never synced");
    assert_eq!(run(&bench, &["sync"]).await.0, 0);
    assert_eq!(status(&bench).await["status"], "ok");
    write(&bench, "update operations set outcome = 'held'");
    assert_eq!(status(&bench).await["status"], "ok", "what it held was approved, or came back");
    write(&bench, "update record_rows set state = 'missing'");
    let seen = status(&bench).await;
    assert!(seen["status"] == "empty" && seen["reason"].as_str().unwrap().contains("check"), "{seen:#}");
    write(&bench, "pragma foreign_keys = off; delete from record_rows");
    assert_eq!(status(&bench).await["status"], "empty");
}

/// A proxy that answers 503 for a tool that is gone says for ever what a tool says that starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_starts_for_an_hour_is_failing() {
    let bench = bench("").await;
    let down = r#"{"status":"DOWN","checks":[{"name":"database","status":"DOWN"}]}"#;
    bench.tool.faults.add("/api/v1", 0, usize::MAX, Fault::Status(401, None));
    bench.tool.faults.add("/health/ready", 0, usize::MAX, Fault::Json(503, down));
    for (seconds, word) in [(0, "starting"), (3500, "starting"), (3700, "failing")] {
        set_clock(&bench, seconds);
        assert_eq!(run(&bench, &["run", "--once"]).await.0, 75);
        let seen = status(&bench).await;
        assert!(seen["status"] == word && seen["reason"].as_str().unwrap().contains("database"), "{seconds}: {seen:#}");
    }
}
