//! Runs a sync in a process of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tributary::{
    config::Config,
    store::{Outcome, PassKind, Store, Trigger},
    sync::{Engine, Progress},
};
use tributary_connectors::kit::Limiters;

use crate::tool::Tool;

/// What a process took.
#[derive(Clone, Copy)]
pub(crate) struct Ran {
    /// From its start to its exit.
    pub(crate) took: Duration,
    /// Peak resident memory in KiB.
    pub(crate) rss: u64,
}

/// One sync by the real program; where its waits for the vendor are not to be measured, by this one (see [`sync`]).
pub(crate) fn run(tool: &Tool, config: &Path, pass: PassKind) -> Ran {
    let is_full = pass == PassKind::Full;
    let mut command = if tool.waits {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("sync").arg(config).arg(if is_full { "full" } else { "due" });
        command
    } else {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.args(if is_full { ["sync", "--full"] } else { ["run", "--once"] }).arg("--config").arg(config);
        command
    };
    watch(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Runs a command to its successful end.
pub(crate) fn watch(command: &mut Command) -> Ran {
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut rss = 0;
    while child.try_wait().unwrap().is_none() {
        if let Ok(text) = std::fs::read_to_string(&status) {
            rss = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(rss);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let took = started.elapsed();
    assert!(child.wait().unwrap().success(), "{command:?}");
    Ran { took, rss }
}

/// What `tributary run --once` does, but for waits that the vendor wants: they are counted and not waited.
pub(crate) async fn sync(config: PathBuf, pass: PassKind) {
    let config = Config::load(&[config]).unwrap();
    let store = Store::open(&config.daemon.store.path(), config.daemon.store.keep_raw).unwrap();
    let engine = Engine { store, stop: CancellationToken::new() };
    let limiters = Arc::new(Limiters::default());
    for connection in &config.connections {
        let source = connection.open(&limiters).unwrap();
        let (plan, progress) = (tributary::operation::plan(connection), Progress::without_waits());
        if pass == PassKind::Delta {
            let discovered = engine.discover(&source, &plan, Trigger::Once, &progress).await.unwrap();
            assert_eq!(discovered.outcome, Outcome::Success, "{:?}", discovered.errors);
        }
        for report in engine.sync(&source, &plan, Trigger::Once, pass, &progress).await.unwrap() {
            assert_eq!(report.outcome, Outcome::Success, "{:?} {:?}", report.errors, report.incomplete);
        }
    }
}
