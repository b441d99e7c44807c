//! K1 to K6: secrets stay where they belong, whatever a tool does with them (docs/security.md).

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::common::TestApp;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tributary::config::Config;
use tributary_connectors::{Context, Registration, RunStats, kit::Limiters};
use tributary_simulator::{
    Change, Fault, Faults, Oracle, Size, VENDORS, Vendor, aws_security_hub::AwsSecurityHub, checkmarx::Checkmarx,
    dependency_track::DependencyTrack, snyk::Snyk, sonarqube::SonarQube, start, start_any, tenable::Tenable,
};

const SMALL: Size = Size { records: 3, findings: 60, seed: 3 };

/// What a run of the binary showed.
struct Shown {
    code: i32,
    out: String,
}

/// Runs a command without blocking the simulator: its exit code, and all that could be seen of it.
async fn run_command(mut command: Command) -> Shown {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    tokio::task::spawn_blocking(move || {
        let child = command.spawn().unwrap();
        let line = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
        let done = child.wait_with_output().unwrap();
        let out = [&done.stdout, &done.stderr, &line].map(|bytes| String::from_utf8_lossy(bytes)).join("\n");
        Shown { code: done.status.code().unwrap_or(-1), out }
    })
    .await
    .unwrap()
}

async fn run(bench: &TestApp, arguments: &[&str]) -> Shown {
    run_command(bench.command(arguments)).await
}

// K1: the sweep.

/// What a tool does with the credentials that it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Echo {
    /// What it should.
    Nothing,
    /// Tells them in the answers of its API, one bad answer after another.
    Cycle,
    /// Tells them in this answer of its API.
    Status(u16),
    /// Tells them in every answer, those of its token endpoint too.
    Tokens(u16),
}

/// A tool that tells everybody what it knows and is sent.
struct Gossip {
    tool: Arc<dyn Vendor>,
    state: Arc<Mutex<State>>,
}

struct State {
    echo: Echo,
    requests: usize,
    /// Every credential that came over the wire, in either direction, and those of the configuration.
    met: BTreeSet<String>,
    /// Of these, what the process that runs knows.
    known: BTreeSet<String>,
}

impl Vendor for Gossip {
    fn id(&self) -> &'static str {
        self.tool.id()
    }
    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let inner = Arc::clone(&self.tool).router(faults);
        let gossip = move |request: Request, next: Next| Arc::clone(&self).answer(request, next);
        inner.layer(axum::middleware::from_fn(gossip))
    }
    fn refuse(&self, fault: &Fault) -> Response {
        self.tool.refuse(fault)
    }
    fn fields(&self, url: &str) -> Vec<(&'static str, String)> {
        self.tool.fields(url)
    }
    fn step(&self, change: &Change) {
        self.tool.step(change);
    }
    fn oracle(&self) -> Oracle {
        self.tool.oracle()
    }
}

impl Gossip {
    async fn answer(self: Arc<Self>, request: Request, next: Next) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let for_token = parts.uri.path().ends_with("/token") || (parts.uri.path() == "/" && parts.method == "POST");
        let (echo, number) = {
            let mut state = self.state.lock().unwrap();
            let credentials = ["authorization", "x-amz-security-token"].iter().filter_map(|name| parts.headers.get(*name)?.to_str().ok());
            // AWS's signature is none.
            let credentials = credentials.filter(|value| !value.starts_with("AWS4-")).filter_map(|value| value.split(' ').next_back());
            state.known.extend(credentials.map(str::to_owned));
            state.requests += 1;
            (state.echo, state.requests)
        };
        let status = match (echo, for_token) {
            (Echo::Nothing, _) | (Echo::Cycle | Echo::Status(_), true) => {
                let (parts, body) = next.run(Request::from_parts(parts, Body::from(body))).await.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                if for_token {
                    self.state.lock().unwrap().known.extend(tokens(&String::from_utf8_lossy(&body)));
                }
                return Response::from_parts(parts, Body::from(body));
            }
            (Echo::Status(status) | Echo::Tokens(status), _) => status,
            (Echo::Cycle, _) => [500, 429, 200, 201, 202, 302][number % 6],
        };
        let known: Vec<String> = self.state.lock().unwrap().known.iter().cloned().collect();
        echoed(status, &known, &parts.headers, &body)
    }
}

/// Tokens and keys in an answer of a token endpoint, JSON or XML.
fn tokens(body: &str) -> Vec<String> {
    let json = ["access_token", "refresh_token"].iter().filter_map(|name| {
        let document: serde_json::Value = serde_json::from_str(body).ok()?;
        Some(document[name].as_str()?.to_owned())
    });
    let xml = ["SecretAccessKey", "SessionToken"].iter().filter_map(|name| {
        let rest = body.split_once(&format!("<{name}>"))?.1;
        Some(rest.split('<').next()?.to_owned())
    });
    json.chain(xml).collect()
}

/// An answer that holds these secrets in every form, and all that was sent.
fn echoed(status: u16, secrets: &[String], headers: &HeaderMap, body: &Bytes) -> Response {
    // The first characters are what is quoted: each answer begins with another secret.
    let every: Vec<String> = secrets.iter().flat_map(|secret| spellings(secret)).collect();
    let turn = usize::from(status) % every.len().max(1);
    let all = format!("{} {}", every[turn..].join(" "), every[..turn].join(" "));
    let text = format!("{all} {headers:?} {}", String::from_utf8_lossy(body));
    let code = StatusCode::from_u16(if (201..300).contains(&status) { 200 } else { status }).unwrap();
    let kind = secrets.first().cloned().unwrap_or_default();
    match status {
        200 => (code, [(header::CONTENT_TYPE, kind)], text).into_response(),
        201 => (code, axum::Json(text)).into_response(),
        202 => (code, [(header::CONTENT_TYPE, kind)], format!("<html>{text}")).into_response(),
        300..=399 => {
            let host: String = secrets.first().map(|secret| url_escaped(secret)).unwrap_or_default();
            (code, [(header::LOCATION, format!("https://{host}:{host}@{host}.evil.example/{host}?{host}"))], text).into_response()
        }
        429 => (code, [(header::RETRY_AFTER, "0")], text).into_response(),
        _ => (code, axum::Json(serde_json::json!({ "message": text, "error": text, "errors": [{ "msg": text, "detail": text }] })))
            .into_response(),
    }
}

/// A secret as somebody may write it down: as it is, escaped, in hexadecimal, and in base64, alone or inside of a longer text.
fn spellings(secret: &str) -> BTreeSet<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let json = serde_json::to_string(secret).unwrap();
    let plain = [secret.to_owned(), url_escaped(secret), json[1..json.len() - 1].to_owned(), hex.to_uppercase(), hex];
    let inside = ["", "x", "xx"].into_iter().flat_map(|before| {
        let text = format!("{before}{secret}{before}");
        [base64(&text, '+', '/'), base64(&text, '-', '_')]
    });
    plain.into_iter().chain(inside).collect()
}

/// What is looked for: the same, of base64 only those characters that depend on nothing but the secret.
fn forms(secret: &str) -> BTreeSet<String> {
    let coded = |before: &str, plus, slash| {
        let text = format!("{before}{secret}");
        base64(&text, plus, slash)[(before.len() * 8).div_ceil(6)..text.len() * 8 / 6].to_owned()
    };
    let inside = ["", "x", "xx"].into_iter().flat_map(|before| [coded(before, '+', '/'), coded(before, '-', '_')]);
    spellings(secret).into_iter().chain(inside.filter(|form| form.len() >= 8)).collect()
}

fn url_escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Base64 without padding.
fn base64(text: &str, plus: char, slash: char) -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain([plus, slash]).collect();
    let bits: Vec<u8> = text.bytes().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    bits.chunks(6).map(|six| alphabet[six.iter().chain([0; 5].iter()).take(6).fold(0, |sum, bit| sum * 2 + usize::from(*bit))]).collect()
}

/// What can be looked at when a connection has run. A new output of this program is one line more.
const OUTPUTS: &[&[&str]] = &[
    &["config", "show"],
    &["config", "validate"],
    &["connections", "list", "-o", "json"],
    &["connections", "show", "t"],
    &["status"],
    &["status", "-o", "json"],
    &["operations", "list", "-o", "json"],
    &["quarantine", "list", "-o", "json"],
    &["state", "show", "t"],
    &["records", "list"],
    &["findings", "list", "-o", "csv"],
    &["db", "stats"],
];

/// What the daemon answers over HTTP. A new path is one word more.
const PATHS: &[&str] = &["/api/v1/status", "/metrics", "/readyz", "/livez"];

/// Starts the daemon and asks it everything. Its log stays beside the database.
async fn asked_of_the_daemon(bench: &TestApp) -> Vec<(String, String)> {
    let log = fs::File::create(bench.folder.path().join("daemon.log")).unwrap();
    let mut child = bench.command(&["run", "-vvv"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let database = bench.folder.path().join("t.db");
    let address = || tributary::daemon::holder(&database).filter(|holder| holder.pid == child.id())?.listen;
    eventually(|| address().is_some()).await;
    let (address, mut answers) = (address().unwrap(), Vec::new());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in PATHS {
        let answer = client.get(format!("http://{address}{path}")).send().await.unwrap();
        answers.push((format!("GET {path}"), format!("{:?} {}", answer.headers().clone(), answer.text().await.unwrap())));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    answers
}

/// Fails when one of these secrets is in a text, in whatever form.
fn assert_clean(place: &str, bytes: &[u8], secrets: &BTreeSet<String>) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    for secret in secrets {
        for form in forms(secret) {
            let form = form.to_lowercase();
            if let Some(at) = text.find(&form) {
                let from = text.floor_char_boundary(at.saturating_sub(300));
                let until = text.ceil_char_boundary((at + form.len() + 100).min(text.len()));
                panic!("K1: {place} shows `{form}` of `{secret}`:\n{}", &text[from..until]);
            }
        }
    }
}

/// The secrets among a tool's fields, by the connector's own schema, and the halves of double ones.
fn secrets_of(tool: &dyn Vendor, url: &str) -> Vec<String> {
    let schema = Registration::find(tool.id()).unwrap().schema();
    let is_secret = |name: &str| schema.get("properties").is_some_and(|all| all[name]["format"] == "password");
    let secrets: Vec<String> = tool.fields(url).into_iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| value).collect();
    assert!(!secrets.is_empty(), "{} has no secret", tool.id());
    secrets.iter().flat_map(|secret| secret.split(';').map(str::to_owned).chain([secret.clone()])).collect()
}

async fn sweep(tool: Arc<dyn Vendor>) {
    let id = tool.id();
    let state = Arc::new(Mutex::new(State { echo: Echo::Nothing, requests: 0, met: BTreeSet::new(), known: BTreeSet::new() }));
    // Where it listens is part of what Checkmarx's key says.
    let running = start_any(Arc::new(Gossip { tool: Arc::clone(&tool), state: Arc::clone(&state) }), 0).await.unwrap();
    let secrets = secrets_of(&*tool, &running.url);
    let configured: BTreeSet<String> = secrets.into_iter().collect();
    // Another process knows nothing of what this one was granted.
    let forget = || {
        let mut state = state.lock().unwrap();
        let known = std::mem::replace(&mut state.known, configured.clone());
        state.met.extend(known.into_iter().chain(configured.iter().cloned()));
    };
    let bench = TestApp::new(running);
    let mut shown: Vec<(String, String)> = Vec::new();
    for (echo, commands) in [
        (Echo::Nothing, &[&["check", "-vvv"][..], &["run", "--once", "-vvv"], &["sync", "--full", "-vvv", "--log-format", "json"]][..]),
        (Echo::Cycle, &[&["run", "--once", "-vvv"]]),
        (Echo::Status(401), &[&["check", "-vvv"], &["sync", "-vvv", "-o", "json"]]),
        (Echo::Status(403), &[&["discover", "-vvv", "--log-format", "json"]]),
        (Echo::Status(418), &[&["sync", "--full", "-vv"]]),
        (Echo::Tokens(400), &[&["run", "--once", "-vvv"]]),
        (Echo::Tokens(302), &[&["check", "-vvv"]]),
    ] {
        state.lock().unwrap().echo = echo;
        for command in commands {
            forget();
            let Shown { code, out } = run(&bench, command).await;
            assert_eq!(code == 0, echo == Echo::Nothing, "{id} {echo:?} {command:?}: {code}\n{out}");
            assert!(out.contains("TRACE") || command.contains(&"-vv"), "{id}: {command:?} shows nothing at level TRACE");
            shown.push((format!("{id} {echo:?} {command:?}"), out));
            // Else a refused credential would not be sent again, and nothing would be echoed.
            assert_eq!(run(&bench, &["connections", "resume", "t"]).await.code, 0);
        }
    }
    forget();
    shown.extend(asked_of_the_daemon(&bench).await.into_iter().map(|(place, text)| (format!("{id} {place}"), text)));
    state.lock().unwrap().echo = Echo::Nothing;
    for command in OUTPUTS {
        let Shown { code, out } = run(&bench, &[command, &["-vvv"][..]].concat()).await;
        assert_eq!(code, 0, "{command:?}: {out}");
        shown.push((format!("{id} {command:?}"), out));
    }
    let operations: Vec<String> = {
        let reader = crate::common::database(&bench.engine.store);
        let mut ids = reader.prepare("select id from operations where error is not null").unwrap();
        ids.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert!(operations.len() >= 3, "{id}: the errors are not in the store: {operations:?}");
    for operation in operations {
        shown.push((format!("{id} operations show"), run(&bench, &["operations", "show", &operation]).await.out));
    }
    forget();
    let met = state.lock().unwrap().met.clone();
    for (place, text) in shown {
        assert_clean(&place, text.as_bytes(), &met);
    }
    for file in fs::read_dir(bench.folder.path()).unwrap().map(|file| file.unwrap().path()) {
        if file != bench.config() {
            assert_clean(&format!("{id} {}", file.display()), &fs::read(&file).unwrap(), &met);
        }
    }
    assert!(bench.query_i64("select count(*) from findings") > 0, "{id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_no_secret_of_any_connector_is_shown_or_stored_even_when_the_tool_echoes_it() {
    let mut tools: Vec<Arc<dyn Vendor>> =
        VENDORS.iter().filter(|(id, _)| Registration::find(id).is_some()).map(|(_, make)| make(SMALL)).collect();
    tools.extend([
        Arc::new(Snyk::new(SMALL).oauth()) as Arc<dyn Vendor>,
        Arc::new(Checkmarx::new(SMALL).oauth()),
        Arc::new(Tenable::new(SMALL).joined()),
        Arc::new(SonarQube::new(SMALL).old()),
    ]);
    if Registration::find("aws_security_hub").is_some() {
        tools.push(Arc::new(AwsSecurityHub::new(SMALL).with_role()));
    }
    let mut sweeps = tokio::task::JoinSet::new();
    for tool in tools {
        sweeps.spawn(sweep(tool));
    }
    while let Some(done) = sweeps.join_next().await {
        done.unwrap();
    }
}

#[test]
fn k1_the_sweep_finds_a_secret_in_every_form() {
    let secrets = BTreeSet::from(["s3cr3t/with+signs".to_owned()]);
    for text in [
        "a S3CR3T/with+signs b",
        "s3cr3t%2fwith%2Bsigns",
        "7333637233742f776974682b7369676e73",
        // `user:s3cr3t/with+signs`, and the same after one character more.
        "dXNlcjpzM2NyM3Qvd2l0aCtzaWducw==",
        "dXNlcnM6czNjcjN0L3dpdGgrc2lnbnM=",
        "czNjcjN0L3dpdGgrc2lnbnM",
    ] {
        assert!(std::panic::catch_unwind(|| assert_clean("", text.as_bytes(), &secrets)).is_err(), "{text}");
    }
    assert_clean("", b"nothing here", &secrets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_the_command_that_gives_one_secret_sees_no_other() {
    let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
    let key = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    let script = "tr '\\0' '\\n' < /proc/self/environ > environment; env >> environment; ls -l /proc/self/fd > descriptors; cat key";
    private(&bench.folder.path().join("key"), &key);
    let script = script.replace("environment", &bench.folder.path().join("environment").display().to_string());
    let script = script.replace("descriptors", &bench.folder.path().join("descriptors").display().to_string());
    let script = script.replace("cat key", &format!("cat {}", bench.folder.path().join("key").display()));
    replace(&bench, &format!("\"{key}\""), &format!("{{ command = [\"/bin/sh\", \"-c\", {}] }}", serde_json::json!(script)));
    let mut command = bench.command(&["check"]);
    command.env("OTHER_TOKEN", "canary-of-another").env("PATH", "/usr/bin:/bin").env("CREDENTIALS_DIRECTORY", "/nowhere");
    let shown = run_command(command).await;
    assert_eq!(shown.code, 0, "{}", shown.out);
    let environment = fs::read_to_string(bench.folder.path().join("environment")).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("canary") && !environment.contains("CREDENTIALS"), "{environment}");
    let descriptors = fs::read_to_string(bench.folder.path().join("descriptors")).unwrap();
    assert!(!descriptors.contains("t.db"), "{descriptors}");
}

#[test]
fn k1_problems_of_a_configuration_show_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    let canary = "C4naryC4nary";
    let head = "[connections.t]\nconnector = \"dependency_track\"\n";
    for (text, code) in [
        (format!("{head}location = \"https://user:{canary}@x.example\"\nsecret = {{ env = \"X\" }}\n"), "E0112"),
        (format!("{head}location = \"https://x.example\"\nsercet = \"{canary}\"\n"), "E0102"),
        (format!("{head}location = \"https://x.example\"\nsecret = {{ literal = \"{canary}\" }}\n"), "E0113"),
        (format!("{head}location = \"https://x.example\"\nfields = {{ secret = \"{canary}\", unknown = 1 }}\n"), "E0102"),
        (format!("{head}location = \"https://x.example\"\ncredentials = {{ pass = \"{canary}\" }}\n"), "E0102"),
        (format!("{head}location = \"https://x.example\"\nsecret = \"{canary}\n"), "E0101"),
        (format!("{head}location = \"https://x.example\"\nsecret = \"\"\"\n{canary}\"\"\" x\n"), "E0101"),
        (format!("{head}location = \"https://x.example\"\nsecret = {{ command = [\n\"a\",\n\"{canary}\" \"b\"] }}\n"), "E0101"),
        (format!("strict_secrets = true\n{head}location = \"https://x.example\"\nsecret = \"{canary}\"\n"), "E0113"),
    ] {
        private(&path, &text);
        let errors = Config::load(std::slice::from_ref(&path)).expect_err(&text).to_string();
        assert!(errors.contains(code), "{code} for\n{text}\n{errors}");
        assert!(!errors.contains(canary), "{errors}");
    }
}

// K2

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_the_process_dumps_no_core() {
    let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
    bench.tool.faults.add("", 0, usize::MAX, Fault::Slow(Duration::from_secs(60)));
    let mut child = bench.command(&["sync"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually(|| !bench.tool.log().is_empty() || bench.query_i64("select count(*) from operations") > 0).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let core: Vec<&str> = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
}

// K4

/// Writes a file for its owner only.
fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The bench's configuration with one text replaced by another.
fn replace(bench: &TestApp, from: &str, to: &str) {
    let text = fs::read_to_string(bench.config()).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(bench.config(), text.replace(from, to)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o7777
}

async fn eventually(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to be");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k4_the_database_and_all_beside_it_are_its_owners_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
        replace(&bench, "sqlite:t.db", "sqlite:state/t.db");
        let under = |arguments: &[&str]| {
            let inner = bench.command(arguments);
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(inner.get_program()).args(inner.get_args()).env_clear();
            command
        };
        let state = bench.folder.path().join("state");
        let [database, wal, shm, backup] = ["t.db", "t.db-wal", "t.db-shm", "backup.db"].map(|name| state.join(name));
        // Stopped in the middle, so that what lies beside the database can be looked at.
        bench.tool.faults.add("", 2, usize::MAX, Fault::Slow(Duration::from_secs(60)));
        let mut child = under(&["run", "--once"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually(|| [&database, &wal, &shm].iter().all(|file| file.exists())).await;
        let modes = [&database, &wal, &shm].map(|file| mode(file));
        child.kill().unwrap();
        child.wait().unwrap();
        bench.tool.faults.clear();
        assert_eq!(modes, [0o600; 3], "umask {umask}");
        assert_eq!(mode(&state), 0o700, "umask {umask}");
        for arguments in [&["run", "--once"][..], &["sync", "--dry-run"], &["db", "backup", backup.to_str().unwrap()]] {
            let shown = run_command(under(arguments)).await;
            assert_eq!(shown.code, 0, "{}", shown.out);
        }
        assert_eq!([mode(&backup), mode(&database)], [0o600; 2], "umask {umask}");
        let shown = run_command(under(&["db", "restore", backup.to_str().unwrap()])).await;
        assert_eq!((shown.code, mode(&database)), (0, 0o600), "{}", shown.out);
    }
}

/// A folder on a disk, and one in memory where there is one.
fn folders() -> (tempfile::TempDir, Option<tempfile::TempDir>) {
    let memory = tempfile::tempdir_in("/dev/shm").ok();
    #[expect(clippy::print_stderr, reason = "whoever runs the tests has to see what did not run")]
    if memory.is_none() {
        eprintln!("SKIPPED: there is no /dev/shm");
    }
    (tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), memory)
}

async fn check(config: &Path) -> Shown {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
    command.arg("check").arg("--config").arg(config).env_clear();
    run_command(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k4_a_file_with_a_secret_that_everybody_can_read_is_refused_on_a_disk_and_told_of_in_memory() {
    let tool = start(DependencyTrack::new(SMALL), 0).await.unwrap();
    let key = tool.vendor.fields(&tool.url)[0].1.clone();
    let config =
        |secret: &str| format!("[connections.t]\nconnector = \"dependency_track\"\nlocation = \"{}\"\nsecret = {secret}\n", tool.url);
    let write = |path: &Path, text: &str, mode: u32| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let literal = config(&format!("\"{key}\""));
    let (disk, memory) = folders();
    // The configuration itself.
    let path = disk.path().join("t.toml");
    for (mode, code) in [(0o600, 0), (0o640, 0), (0o644, 78), (0o604, 78), (0o444, 78)] {
        let _ = fs::remove_file(&path);
        write(&path, &literal, mode);
        let shown = check(&path).await;
        assert_eq!(shown.code, code, "{mode:o}: {}", shown.out);
        if code == 78 {
            assert!(shown.out.contains("error[E0115]") && shown.out.contains(&format!("chmod o-r {}", path.display())), "{}", shown.out);
            assert!(!shown.out.contains(&key), "{}", shown.out);
        } else {
            assert!(shown.out.contains("`secret` is a literal secret"), "{}", shown.out);
        }
    }
    // One without a secret is nobody's business, and a file that it refers to is looked at by itself.
    let _ = fs::remove_file(&path);
    write(&path, &config("{ file = \"key\" }"), 0o644);
    for (mode, code) in [(0o600, 0), (0o440, 0), (0o644, 78), (0o444, 78)] {
        let secret = disk.path().join("key");
        let _ = fs::remove_file(&secret);
        write(&secret, &key, mode);
        let shown = check(&path).await;
        assert_eq!(shown.code, code, "{mode:o}: {}", shown.out);
        assert_eq!(shown.out.contains(&format!("chmod o-r {}", secret.display())), code == 78, "{}", shown.out);
    }
    write(
        &path,
        &format!("strict_secrets = true\n{}", config("{ env = \"KEY\" }").replace("{ env = \"KEY\" }", &format!("\"{key}\""))),
        0o600,
    );
    let shown = check(&path).await;
    assert_eq!(shown.code, 78, "{}", shown.out);
    assert!(shown.out.contains("strict_secrets"), "{}", shown.out);
    // In memory, as Kubernetes mounts secrets: wherever that is mounted.
    let Some(memory) = memory else { return };
    let path = memory.path().join("t.toml");
    write(&path, &literal, 0o644);
    let shown = check(&path).await;
    assert_eq!(shown.code, 0, "{}", shown.out);
    assert!(shown.out.contains("everybody on this machine can read"), "{}", shown.out);
    write(&memory.path().join("key"), &key, 0o644);
    write(&path, &config("{ file = \"key\" }"), 0o644);
    let shown = check(&path).await;
    assert_eq!(shown.code, 0, "{}", shown.out);
    assert!(shown.out.contains("everybody on this machine can read"), "{}", shown.out);
}

// K5: what a command may do is tested where it is run (`src/config/secret.rs`); here, that it holds up nobody else.

#[tokio::test]
async fn k5_a_command_that_takes_its_time_does_not_hold_up_the_runtime() {
    let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
    let key = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    replace(&bench, &format!("\"{key}\""), "{ command = [\"/bin/sh\", \"-c\", \"sleep 1; echo key\"] }");
    let config = Config::load(&[bench.config()]).unwrap();
    let limiters = Arc::new(Limiters::default());
    let open = config.connections[0].opened(&limiters, |_| {});
    // One thread drives both: ticks come only while the command does not block it.
    let ticks = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        opened = open => panic!("the runtime stood still: {:?}", opened.map(drop)),
        () = ticks => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_around_a_secret_is_named_by_check_run_and_daemon() {
    let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
    let key = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    replace(&bench, &format!("\"{key}\""), "{ file = \"key\" }");
    private(&bench.folder.path().join("key"), &format!("\u{feff}\"Bearer {key}\"\n\n"));
    let named = |out: &str, by: &str| {
        for word in ["byte order mark", "blanks or empty lines", "quotes", "`Bearer`"] {
            let line = out.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{by} does not tell {word}: {out}"));
            assert!(line.contains("`secret`") && line.contains("file:"), "{line}");
        }
        assert!(!out.contains(&key), "{by}: {out}");
    };
    for arguments in [&["check"][..], &["run", "--once"]] {
        named(&run(&bench, arguments).await.out, arguments[0]);
    }
    let log = bench.folder.path().join("log");
    let mut daemon = bench.command(&["run"]).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(&log).unwrap().contains("`Bearer`") {
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(&log).unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    named(&fs::read_to_string(&log).unwrap(), "the daemon");
    // As it should be, nothing is told.
    private(&bench.folder.path().join("key"), &format!("{key}\r\n"));
    let shown = run(&bench, &["check"]).await;
    assert!(shown.code == 0 && !shown.out.contains("warning: `secret`"), "{}", shown.out);
}

// K6

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_a_rotated_secret_is_used_by_the_next_run() {
    let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
    let key = bench.tool.vendor.fields(&bench.tool.url)[0].1.clone();
    replace(&bench, &format!("\"{key}\""), "{ file = \"key\" }");
    let path = bench.folder.path().join("key");
    private(&path, "odt_old");
    assert_eq!(run(&bench, &["run", "--once"]).await.code, 77);
    let next = bench.folder.path().join("next");
    private(&next, &key);
    fs::rename(&next, &path).unwrap();
    assert_eq!(run(&bench, &["run", "--once"]).await.code, 0);
}

// When a credential ends.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_credential_is_known_from_the_vendor_or_the_configuration() {
    let bench = TestApp::new(start(SonarQube::new(SMALL), 0).await.unwrap());
    let activity = Arc::new(RunStats::without_waits());
    let (source, _) = bench.plan();
    source.check(&Context::new(Arc::clone(&activity))).await.unwrap();
    let told = activity.credential_expires();
    assert_eq!(told, "2099-01-31T00:00:00Z".parse().ok());
    let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    for (line, expected) in [
        ("", time("2099-01-31T00:00:00Z")),
        ("credential_expires = 2027-01-31", time("2027-01-31T00:00:00Z")),
        ("credential_expires = \"2027-01-31\"", time("2027-01-31T00:00:00Z")),
        ("credential_expires = 2027-01-31\ntimezone = \"Europe/Berlin\"", time("2027-01-30T23:00:00Z")),
        ("credential_expires = 2027-01-31T12:00:00+01:00", time("2027-01-31T11:00:00Z")),
        ("credential_expires = \"2027-01-31T12:00:00Z\"", time("2027-01-31T12:00:00Z")),
        ("credential_expires = 2027-07-31T12:00:00\ntimezone = \"Europe/Berlin\"", time("2027-07-31T10:00:00Z")),
        ("credential_expires = 2199-01-31", time("2099-01-31T00:00:00Z")),
    ] {
        bench.configure(line);
        let config = Config::load(&[bench.config()]).unwrap();
        assert_eq!(config.connections[0].expiry(told), Some(expected), "{line}");
    }
    bench.configure("credential_expires = 2027-01-31");
    assert!(Config::load(&[bench.config()]).unwrap().show().contains("credential_expires = 2027-01-31T00:00:00Z"));
    for line in ["credential_expires = \"soon\"", "credential_expires = 12:00:00", "credential_expires = 20270131"] {
        bench.configure(line);
        let errors = Config::load(&[bench.config()]).expect_err(line).to_string();
        assert!(errors.contains("E0105") && errors.contains("2027-01-31"), "{errors}");
    }
    let bench = TestApp::new(start(DependencyTrack::new(SMALL), 0).await.unwrap());
    let config = Config::load(&[bench.config()]).unwrap();
    assert_eq!(config.connections[0].expiry(None), None);
}

#[test]
fn what_the_tests_of_the_sweep_stand_on_is_right() {
    assert_eq!(base64("Man", '+', '/'), "TWFu");
    assert_eq!(base64("Ma", '+', '/'), "TWE");
    assert_eq!(base64("~~~???", '-', '_'), "fn5-Pz8_");
}
