//! The binary as its user meets it: errors that say what, where and how to mend it; exit codes; crashes; secrets.

mod configuration;
mod mistyped;
mod nothing;

use std::{process::Output, sync::Arc};

use crate::common::{self, SIZE, TestApp};
use tributary_simulator::{
    Change, Fault, Size, Vendor,
    burp::Burp,
    dependency_track::{DependencyTrack, Frontend},
    start, start_any,
};

/// Runs the binary without blocking the simulator.
async fn run(bench: &TestApp, arguments: &[&str]) -> (i32, String, String) {
    let (code, stdout, stderr) = common::run(bench.command(arguments)).await;
    (code.unwrap(), stdout, stderr)
}

async fn tool(vendor: impl Vendor) -> TestApp {
    TestApp::new(start(vendor, 0).await.unwrap())
}

/// The configuration with one text replaced by another.
fn change(bench: &TestApp, from: &str, to: &str) {
    let text = std::fs::read_to_string(bench.config()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(bench.config(), text.replace(from, to)).unwrap();
}

const SMALL: Size = Size { records: 4, findings: 200, seed: 3 };

#[tokio::test(flavor = "multi_thread")]
async fn one_run_ends_as_the_oracle_and_a_second_one_changes_nothing() {
    let bench = tool(DependencyTrack::new(SIZE)).await;
    let (code, _, stderr) = run(&bench, &["run", "--once"]).await;
    assert_eq!(code, 0, "{stderr}");
    bench.assert_oracle("after run --once");
    let (code, stdout, stderr) = run(&bench, &["sync", "-o", "json"]).await;
    assert_eq!(code, 0, "{stderr}");
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let operation = &document["items"][0];
    assert_eq!((&operation["created"], &operation["updated"], &operation["closed"]), (&0.into(), &0.into(), &0.into()), "{document:#}");
    bench.tool.vendor.step(&Change::ONE_PERCENT);
    for _ in 0..2 {
        assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    }
    bench.assert_oracle("after a step");
}

type Tool = fn() -> Arc<dyn Vendor>;

/// The usual mistakes with one tool. A new connector adds a block to [`MISTAKES`].
struct Mistakes {
    tool: Tool,
    /// A tool whose credential lacks a permission, the commands that meet it, and what has to be told of it.
    lacking: &'static [(Tool, &'static [&'static str], &'static str)],
    /// Something that is not the tool's API, the path below it that the user took, and what has to be told.
    elsewhere: &'static [(Tool, &'static str, &'static str)],
    /// Paths that users paste behind the right address: as good as the address itself.
    pasted: &'static [&'static str],
}

const MISTAKES: &[Mistakes] = &[
    Mistakes {
        tool: || Arc::new(Burp::new(SMALL)),
        lacking: &[
            (|| Arc::new(Burp::new(SMALL).without_permission("view sites")), &["check", "discover"], "role that can view sites"),
            (|| Arc::new(Burp::old(SMALL).without_permission("view scan results")), &["check", "sync"], "view scan results"),
        ],
        elsewhere: &[(|| Arc::new(Burp::new(SMALL)), "/burp", "the address at which the web interface opens")],
        pasted: &["/graphql/v1/", "/api/v0.1/scan", "/api-internal"],
    },
    Mistakes {
        tool: || Arc::new(DependencyTrack::new(SMALL)),
        lacking: &[
            (|| Arc::new(DependencyTrack::new(SMALL).without_permission("VIEW_VULNERABILITY")), &["check", "sync"], "VIEW_VULNERABILITY"),
            (|| Arc::new(DependencyTrack::new(SMALL).without_permission("VIEW_PORTFOLIO")), &["check", "discover"], "VIEW_PORTFOLIO"),
        ],
        elsewhere: &[
            (|| Arc::new(Frontend { api: "http://dtrack-api.example:8081".into() }), "", "web interface of Dependency-Track"),
            (|| Arc::new(Frontend { api: "http://dtrack-api.example:8081".into() }), "", "http://dtrack-api.example:8081"),
        ],
        pasted: &["/api/v1/", "/api"],
    },
];

async fn start_tool(tool: Tool) -> TestApp {
    TestApp::new(start_any(tool(), 0).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_levels_of_the_log_where_no_flag_does() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    for (asked, flags, debug, warned) in [
        (None, &[][..], false, false),
        (Some("tributary=debug"), &[], true, false),
        (Some("tributary=debug"), &["-v"], true, false),
        (Some("error"), &["-v"], true, false),
        (Some("=="), &[], false, true),
    ] {
        let mut command = bench.command(&[&["sync"], flags].concat());
        command.envs(asked.map(|asked| ("RUST_LOG", asked)));
        let Output { status, stderr, .. } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{stderr}");
        assert_eq!(stderr.contains("DEBUG"), debug, "{asked:?} {flags:?}: {stderr}");
        assert_eq!(stderr.contains("warning: RUST_LOG is ignored"), warned, "{asked:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_log_says_in_which_request_of_which_list_it_stands() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    bench.tool.faults.add("finding", 0, 1, tributary_simulator::Fault::Status(500, None));
    let (code, _, stderr) = run(&bench, &["sync", "-v", "--log-format", "json"]).await;
    assert_eq!(code, 0, "{stderr}");
    let lines = stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let spans = |line: serde_json::Value| -> Option<Vec<serde_json::Value>> { line["spans"].as_array().cloned() };
    let requests: Vec<Vec<serde_json::Value>> =
        lines.filter_map(spans).filter(|spans| spans.last().unwrap()["name"] == "request").collect();
    let of_findings = |spans: &&Vec<serde_json::Value>| spans.len() == 4 && spans[1]["list"] == "findings";
    let told: Vec<String> = requests
        .iter()
        .filter(of_findings)
        .map(|spans| {
            let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["operation", "scope", "page", "request"]);
            let request = &spans[3];
            format!("{} {} {} {}", request["method"], request["route"], request["status"], request["attempt"]).replace('"', "")
        })
        .collect();
    for expected in ["GET /api/v1/finding/project/{} 500 1", "GET /api/v1/finding/project/{} 200 2"] {
        assert!(told.iter().any(|told| told == expected), "{told:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_told_and_never_shown() {
    let canary = "odt_C4nary00_5up3r53cr3t5up3r53cr3t5up3r5";
    for mistakes in MISTAKES {
        let bench = start_tool(mistakes.tool).await;
        let real = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
        change(&bench, &real, canary);
        for command in [
            &["check"][..],
            &["run", "--once", "-vv"],
            &["sync", "-v", "--log-format", "json"],
            &["config", "show"],
            &["connections", "show", "t"],
        ] {
            let (code, stdout, stderr) = run(&bench, command).await;
            let expected = if matches!(command[0], "config" | "connections") { 0 } else { 77 };
            assert_eq!(code, expected, "{command:?}: {stderr}");
            if expected == 77 {
                assert!(stderr.contains("error[E0201]: the credential was refused: connection \"t\""), "{stderr}");
                assert!(stderr.contains("fix:   check the secret"), "{stderr}");
            }
            assert!(!stdout.contains(canary) && !stderr.contains(canary), "K1: {command:?} shows the secret");
        }
        for file in ["t.db", "t.db-wal"] {
            let bytes = std::fs::read(bench.folder.path().join(file)).unwrap_or_default();
            assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()), "K1: {file} holds the secret");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named() {
    for (tool, commands, told) in MISTAKES.iter().flat_map(|mistakes| mistakes.lacking) {
        for command in *commands {
            let (code, _, stderr) = run(&start_tool(*tool).await, &[command]).await;
            assert_eq!(code, 77, "{command}: {stderr}");
            assert!(stderr.contains("error[E0202]: a permission is missing") && stderr.contains(told), "{stderr}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_url_is_recognized() {
    for (tool, path, told) in MISTAKES.iter().flat_map(|mistakes| mistakes.elsewhere) {
        let bench = start_tool(*tool).await;
        change(&bench, &bench.tool.url, &format!("{}{path}", bench.tool.url));
        let (code, _, stderr) = run(&bench, &["check"]).await;
        assert_eq!(code, 69, "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
        // A port on which nobody listens.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        change(&bench, &bench.tool.url, &format!("http://{free}"));
        let (code, _, stderr) = run(&bench, &["check"]).await;
        assert_eq!(code, 69, "{stderr}");
        assert!(stderr.contains("error[E0203]: the tool cannot be reached"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_api_path_is_as_good_as_the_root() {
    for mistakes in MISTAKES {
        for path in mistakes.pasted {
            let bench = start_tool(mistakes.tool).await;
            change(&bench, &bench.tool.url, &format!("{}{path}", bench.tool.url));
            let (code, stdout, stderr) = run(&bench, &["check"]).await;
            assert_eq!(code, 0, "{path}: {stderr}");
            assert!(stdout.contains(" visible"), "{stdout}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o1_a_redirect_is_never_followed() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    bench.tool.faults.add("", 0, usize::MAX, Fault::Status(302, None));
    let (code, _, stderr) = run(&bench, &["sync"]).await;
    assert_eq!(code, 69, "{stderr}");
    assert_eq!(bench.tool.log().len(), 1, "one request, no second one after the redirect");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_a_configuration_is_told_at_once() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    let file = bench.config();
    std::fs::write(
        &file,
        r#"[defaults]
sync = "*/90 * * * *"
[connections.one]
connector = "dependency_trak"
[connections.two]
connector = "dependency_track"
locaton = "https://dtrack.example"
[connections.three]
connector = "dependency_track"
location = "http://dtrack.example"
minimum_severity = "severe"
[connections.three.fields]
secret = { enf = "X" }
fronted_url = "https://x.example"
"#,
    )
    .unwrap();
    let (code, stdout, stderr) = run(&bench, &["config", "validate"]).await;
    assert_eq!((code, &*stdout), (78, ""), "{stderr}");
    let shown = file.display();
    for expected in [
        format!("error[E0107]: {shown}:2:8: schedule \"*/90 * * * *\": minute step 90 is over 59"),
        format!("error[E0110]: {shown}:4:13: unknown connector `dependency_trak`"),
        "did you mean `dependency_track`?".to_owned(),
        format!(
            "error[E0102]: {shown}:7:1: unknown key `locaton` in [connections.two]\n   7 | locaton = \"https://dtrack.example\"\n     | ^^^^^^^ did you mean `location`?"
        ),
        format!("error[E0111]: {shown}:5:14: [connections.two] lacks `secret`"),
        format!("error[E0112]: {shown}:10:12: `location` is plain http"),
        format!("error[E0109]: {shown}:11:20: unknown severity `severe`"),
        format!("error[E0113]: {shown}:13:12: `secret` is no secret reference"),
        format!("error[E0102]: {shown}:14:1: unknown field `fronted_url` of dependency_track"),
        "did you mean `frontend_url`?".to_owned(),
        "nothing was changed".to_owned(),
    ] {
        assert!(stderr.contains(&expected), "missing: {expected}\nin:\n{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_in_the_wrong_place_is_told_where_it_belongs() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    change(&bench, "[connections.t.fields]", "frontend_url = \"https://x.example\"\n[connections.t.fields]");
    let (code, _, stderr) = run(&bench, &["config", "validate"]).await;
    assert_eq!(code, 78, "{stderr}");
    assert!(
        stderr.contains("unknown key `frontend_url` in [connections.t]") && stderr.contains("put it below [connections.t.fields]"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn how_many_operations_work_at_once_is_a_setting() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    let shown = || async { run(&bench, &["config", "show"]).await.1 };
    assert!(shown().await.contains("[daemon]\nconcurrency = 16"), "{}", shown().await);
    change(&bench, "[store]", "[daemon]\nconcurrency = 3\n[store]");
    assert!(shown().await.contains("[daemon]\nconcurrency = 3"), "{}", shown().await);
    for (from, to, code) in [("3", "0", "E0116"), ("0", "1001", "E0116"), ("1001", "\"many\"", "E0103")] {
        change(&bench, &format!("concurrency = {from}"), &format!("concurrency = {to}"));
        let (exit, _, stderr) = run(&bench, &["config", "validate"]).await;
        assert_eq!(exit, 78, "{stderr}");
        assert!(stderr.contains(code) && stderr.contains("concurrency"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_missing_record_keeps_its_findings_is_a_setting() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    change(&bench, "[store]", "[defaults]\nclose_missing_after = \"off\"\n[store]");
    for (from, to, exit) in [("off", "30d", 0), ("30d", "12h", 0), ("12h", "soon", 78), ("soon", "on", 78)] {
        change(&bench, &format!("close_missing_after = \"{from}\""), &format!("close_missing_after = \"{to}\""));
        let (code, _, stderr) = run(&bench, &["config", "validate"]).await;
        assert_eq!(code, exit, "{to}: {stderr}");
        assert!(code == 0 || stderr.contains("E0105") && stderr.contains("30d") && stderr.contains("`off`"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_from_where_the_configuration_says() {
    use std::os::unix::fs::PermissionsExt;
    let bench = tool(DependencyTrack::new(SMALL)).await;
    let real = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    let file = bench.folder.path().join("key");
    std::fs::write(&file, format!("{real}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    change(&bench, &format!("\"{real}\""), "{ file = \"key\" }");
    assert_eq!(run(&bench, &["check"]).await.0, 0);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, stderr) = run(&bench, &["check"]).await;
    // K4: a file that everybody can read is refused, unless it lies in memory only.
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("chmod o-r"), "{stderr}");
    change(&bench, "{ file = \"key\" }", "{ command = [\"cat\", \"/nonexistent\"] }");
    assert_eq!(run(&bench, &["check"]).await.0, 78);
    change(&bench, "\"/nonexistent\"", &format!("\"{}\"", file.display()));
    assert_eq!(run(&bench, &["check"]).await.0, 0);
    change(&bench, "command = [\"cat\", ", "env = ");
    change(&bench, "\"] }", "\" }");
    let (code, _, stderr) = run(&bench, &["check"]).await;
    assert_eq!(code, 78);
    assert!(stderr.contains("is not set, or empty"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_its_own_exit_code() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    for command in [
        &["sync", "nobody"][..],
        &["findings", "show", "x"],
        &["operations", "show", "x"],
        &["connections", "show", "x"],
        &["connectors", "x"],
    ] {
        assert_eq!(run(&bench, command).await.0, 4, "{command:?}");
    }
    assert_eq!(run(&bench, &["nonsense"]).await.0, 2);
    let (code, stdout, _) = run(&bench, &["findings", "list", "-o", "ndjson", "--limit", "1"]).await;
    assert_eq!(code, 0);
    let finding: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let (code, stdout, _) = run(&bench, &["findings", "show", finding["id"].as_str().unwrap(), "-o", "json"]).await;
    assert_eq!(code, 0);
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown["key"], shown["raw"]["matrix"]);
    assert!(shown["first_seen"].as_str().unwrap().ends_with('Z'));
}

/// Control characters, marks of direction, and what has no width: told here apart from the program, after the Unicode standard.
fn is_hidden(c: char) -> bool {
    matches!(u32::from(c), 0..=8 | 0xb..=0x1f | 0x7f..=0x9f | 0xad | 0x61c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe0000..=0xe007f)
}

/// Whoever writes into a finding steers no terminal, and what is shown reads as it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_vendors_write_is_shown_and_steers_nothing() {
    const HOSTILE: &str = "a\u{1b}]0;title\u{7}\u{9b}2J\u{7f}\rb\u{202e}txt.exe\u{2066}\u{200b}\u{feff}\u{e0041}\u{85}c";
    let bench = tool(DependencyTrack::new(SMALL)).await;
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    let database = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    for sql in [
        "update finding_rows set title = ?1, component_name = '=' || ?1, severity = 'critical'",
        "update record_rows set name = ?1",
        "update operations set error = ?1, detail = json_object('warnings', json_array(?1))",
        "insert into quarantine (operation, connection, scope, outcome, identity, key, path, reason, raw, items, pass_id, at) values ('o', 't', ?1, 'rejected', 0, ?1, ?1, ?1, ?1, 1, 0, 0)",
    ] {
        database.execute(sql, [HOSTILE]).unwrap();
    }
    let id = bench.query_string("select id from findings limit 1");
    let operation = bench.query_string("select id from operations limit 1");
    for arguments in [
        &["findings", "list"][..],
        &["findings", "show", &id],
        &["records", "list"],
        &["operations", "show", &operation],
        &["operations", "list"],
        &["quarantine", "list"],
        &["quarantine", "show", "1"],
        &["status"],
        &["connections", "list"],
    ] {
        for format in ["table", "json", "ndjson", "csv"] {
            let (code, stdout, stderr) = run(&bench, &[arguments, &["-o", format]].concat()).await;
            assert_eq!(code, 0, "{stderr}");
            for text in [&stdout, &stderr] {
                assert!(!text.contains(is_hidden), "{arguments:?} as {format}: {text:?}");
            }
            if arguments == ["findings", "list"] {
                assert!(stdout.contains("\\u001b]0;title\\u0007") && stdout.contains("\\u202etxt.exe"), "{format}: {stdout}");
            }
            if arguments == ["findings", "list"] && format == "json" {
                let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
                assert_eq!(document["items"][0]["title"], HOSTILE, "JSON holds the text itself");
            }
            if arguments == ["findings", "list"] && format == "csv" {
                assert_eq!(stdout.lines().count(), 51, "a line for each of fifty, and their names");
                assert!(stdout.contains(",'=a\\u001b"), "{stdout}");
            }
        }
    }
    // What a person typed comes back in errors.
    let (code, _, stderr) = run(&bench, &["findings", "show", "x\u{202e}y"]).await;
    assert!(code == 4 && stderr.contains("x\\u202ey") && !stderr.contains(is_hidden), "{stderr:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_operations_are_pruned_and_findings_stay() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    change(&bench, "url = \"sqlite:t.db\"", "url = \"sqlite:t.db\"\nkeep_operations = \"1d\"");
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    let findings = bench.query_i64("select count(*) from findings");
    let old = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    old.execute("update operations set ended_at = ended_at - 2 * 86400000000", []).unwrap();
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    assert_eq!(bench.query_i64("select count(*) from operations"), 2, "only those of the second run");
    assert_eq!(bench.query_i64("select count(*) from findings"), findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_a_connection_that_is_busy_says_who_holds_it() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    let lease = bench.engine.store.lease("t", "dependency_track").await.unwrap();
    let (code, _, stderr) = run(&bench, &["sync"]).await;
    assert_eq!(code, 75, "{stderr}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(stderr.contains(&format!("process {} on {}", std::process::id(), host.trim())), "{stderr}");
    bench.engine.store.release(lease).await.unwrap();
    assert_eq!(run(&bench, &["sync"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_would_be_and_writes_nothing() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    assert_eq!(run(&bench, &["run", "--once"]).await.0, 0);
    bench.tool.vendor.step(&Change { fixed: 0.0, changed: 5.0, new: 5.0, vanished: 0.0 });
    let before = (bench.query_i64("select count(*) from operations"), bench.query_i64("select max(updated_at) from findings"));
    // Somebody else may be at it meanwhile.
    let lease = bench.engine.store.lease("t", "dependency_track").await.unwrap();
    let (code, stdout, stderr) = run(&bench, &["sync", "--full", "--dry-run", "-o", "json"]).await;
    bench.engine.store.release(lease).await.unwrap();
    assert_eq!(code, 0, "{stderr}");
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(told["items"][0]["created"].as_u64().unwrap() > 0 && told["items"][0]["updated"].as_u64().unwrap() > 0, "{stdout}");
    assert_eq!((bench.query_i64("select count(*) from operations"), bench.query_i64("select max(updated_at) from findings")), before);
    let (_, real, _) = run(&bench, &["sync", "--full", "-o", "json"]).await;
    let real: serde_json::Value = serde_json::from_str(&real).unwrap();
    for count in ["created", "updated", "unchanged", "filtered", "closed"] {
        assert_eq!(told["items"][0][count], real["items"][0][count], "{count}");
    }
    let left: Vec<_> = std::fs::read_dir(bench.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tributary-dry-run")), "{left:?}");
}

#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn the_usual_mistakes_with_aws_are_told() {
    use tributary_simulator::aws_security_hub::AwsSecurityHub;
    let canary = "C4naryC4naryC4naryC4naryC4naryC4naryC4na";
    let bench = tool(AwsSecurityHub::new(SMALL)).await;
    let fields = bench.tool.vendor.fields(&bench.tool.url);
    let secret = &fields.iter().find(|(name, _)| *name == "secret_key").unwrap().1;
    change(&bench, secret, canary);
    for command in [&["check"][..], &["sync", "-vv"]] {
        let (code, stdout, stderr) = run(&bench, command).await;
        assert_eq!(code, 77, "{stderr}");
        assert!(stderr.contains("error[E0201]: the credential was refused: connection \"t\""), "{stderr}");
        assert!(!stdout.contains(canary) && !stderr.contains(canary), "K1: {command:?} shows the secret");
    }
    let bench = tool(AwsSecurityHub::new(SMALL).without_permission("securityhub:GetFindings")).await;
    let (code, _, stderr) = run(&bench, &["check"]).await;
    assert_eq!(code, 77, "{stderr}");
    assert!(stderr.contains("error[E0202]: a permission is missing") && stderr.contains("securityhub:GetFindings"), "{stderr}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    change(&bench, &bench.tool.url, &format!("http://{free}"));
    let (code, _, stderr) = run(&bench, &["check"]).await;
    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("error[E0203]: the tool cannot be reached"), "{stderr}");
}
