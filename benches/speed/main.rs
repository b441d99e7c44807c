//! Speed and memory as ratios against physical limits, measured in one run on one machine:
//! `cargo bench --bench speed [-- TOOL … FINDINGS …]`; see docs/performance.md.
//!
//! The limit of a first sync is the sum of three things, each measured alone: downloading everything that the sync asked for
//! with the same number of connections, a typed parse of the findings in it, and prepared inserts of the same rows into the
//! same tables. Simulated tools are processes of their own; times are those of whole processes, from start to exit.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and fails by panicking")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds and sizes for people")]

mod limits;
mod reading;
mod run;
mod tool;
mod wire;

use std::{path::PathBuf, time::Duration};

use limits::Limits;
use run::Ran;
use tool::{TOOLS, Tool};
use tributary::store::PassKind;

const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // These two are how the bench starts itself.
        ["serve", tool, findings] => runtime.block_on(tool::serve(Tool::find(tool).unwrap(), findings.parse().unwrap())),
        ["sync", config, "full"] => runtime.block_on(run::sync(config.into(), PassKind::Full)),
        ["sync", config, "due"] => runtime.block_on(run::sync(config.into(), PassKind::Delta)),
        _ => {
            let mut sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
            let mut tools: Vec<&Tool> = words.iter().filter_map(|word| Tool::find(word)).collect();
            if sizes.is_empty() {
                sizes.extend(SIZES);
            }
            if tools.is_empty() {
                tools.extend(&TOOLS);
            }
            runtime.block_on(measure(&tools, &sizes));
        }
    }
}

async fn measure(tools: &[&Tool], sizes: &[usize]) {
    println!("load average at the start: {}\n", std::fs::read_to_string("/proc/loadavg").unwrap().trim());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("speed");
    for tool in tools {
        println!("{}", tool.title);
        println!("{:<42} {:>9} {:>9} {:>9} {:>6} {:>5} {:>9}", "work", "findings", "time", "limit", "ratio", "bar", "peak RSS");
        let mut before: Option<(usize, Ran)> = None;
        for size in sizes {
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            let first = of_size(tool, *size, &folder).await;
            if let Some((smaller, before)) = before.filter(|(smaller, _)| size / smaller == 10) {
                let (time, rss) = (first.took.as_secs_f64() / before.took.as_secs_f64(), first.rss as f64 / before.rss as f64);
                println!("growth of the first sync, {smaller} to {size}: time × {time:.1} (bar 11), peak RSS × {rss:.2} (bar 0.9 to 1.1)");
            }
            before = Some((*size, first));
            if tool.connector == "dependency_track" && size == sizes.last().unwrap() {
                reading::measure(&folder, *size).await;
            }
        }
        println!();
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// First, second and changed sync of one tool.
async fn of_size(tool: &Tool, findings: usize, folder: &std::path::Path) -> Ran {
    let mut simulated = tool.start(findings);
    let config = folder.join("tributary.toml");
    write_private(&config, &simulated.config("b.db"));
    let database = folder.join("b.db");
    let mut line = Lines { findings };

    let first = run::run(tool, &config, PassKind::Delta);
    let limits = Limits::measure(tool, &mut simulated, Some((&database, &folder.join("copy.db")))).await;
    line.print("first sync", first, Some((limits.download + limits.parse + limits.insert, 1.0)));
    // A listing that can shift marks what is absent from it once; nothing else of the second sync may write.
    let unchanged = run::run(tool, &config, PassKind::Full);
    let again = Limits::measure(tool, &mut simulated, None).await;
    let look_up = limits::look_up(&database);
    line.print("second sync, nothing changed", unchanged, Some((again.download + again.parse + look_up, 1.0)));
    simulated.step();
    let changed = run::run(tool, &config, PassKind::Full);
    line.print("1 % changed, 1 % gone, 1 % new", changed, Some((unchanged.took, 1.3)));
    if tool.incremental {
        simulated.log();
        let delta = run::run(tool, &config, PassKind::Delta);
        line.print("an incremental sync, nothing changed", delta, None);
    }
    println!(
        "  alone: download {:.2} s, parse {:.2} s, insert {:.2} s, look-up {:.2} s; {} requests, {} items of {:.0} bytes",
        limits.download.as_secs_f64(),
        limits.parse.as_secs_f64(),
        limits.insert.as_secs_f64(),
        look_up.as_secs_f64(),
        limits.requests,
        limits.items,
        limits.bytes as f64 / limits.items.max(1) as f64
    );
    first
}

struct Lines {
    findings: usize,
}

impl Lines {
    fn print(&mut self, work: &str, ran: Ran, limit: Option<(Duration, f64)>) {
        let (mut told, mut ratio, mut bar) = (String::new(), String::new(), String::new());
        if let Some((limit, most)) = limit {
            told = format!("{:.2} s", limit.as_secs_f64());
            ratio = format!("{:.2}", ran.took.as_secs_f64() / limit.as_secs_f64());
            bar = format!("{most:.1}");
        }
        let (findings, time, rss) = (self.findings, ran.took.as_secs_f64(), ran.rss >> 10);
        println!("{work:<42} {findings:>9} {time:>7.2} s {told:>9} {ratio:>6} {bar:>5} {rss:>5} MiB");
    }
}

/// Writes a configuration, which holds made-up secrets, for its owner alone.
pub(crate) fn write_private(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
