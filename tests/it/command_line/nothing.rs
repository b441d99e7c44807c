//! Where nothing is configured, stored or to be done, that is said, and nothing is made.

use std::{path::Path, process::Command};

use super::*;

/// Runs the binary in a folder, with what is configured there.
fn run_in(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tributary")).args(arguments).current_dir(folder).env_clear().output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const STORE: &str = "[store]\nurl = \"sqlite:t.db\"\n";
const DISABLED: &str = "[connections.a]\nconnector = \"semgrep\"\nsecret = { env = \"X\" }\nenabled = false\n";

#[test]
fn a_run_without_a_connection_says_so_and_makes_no_database() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tributary.toml"), STORE).unwrap();
    for command in [&["run", "--once"][..], &["sync"], &["discover"], &["check"]] {
        let (code, stdout, stderr) = run_in(folder.path(), command);
        assert_eq!((code, &*stdout), (78, ""), "{command:?}: {stderr}");
        assert!(
            stderr.contains("error[E0117]: no connection is configured in tributary.toml") && stderr.contains("[connections.NAME]"),
            "{stderr}"
        );
    }
    std::fs::write(folder.path().join("tributary.toml"), format!("{STORE}{DISABLED}")).unwrap();
    for command in [&["run", "--once"][..], &["sync"], &["discover"], &["check"]] {
        let (code, _, stderr) = run_in(folder.path(), command);
        assert_eq!(code, 0, "{command:?}: {stderr}");
        assert!(stderr.contains("Nothing to do") && stderr.contains("enabled = false"), "{stderr}");
    }
    assert_eq!(names(folder.path()), ["tributary.toml"]);
}

#[test]
fn looking_at_what_is_not_there_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tributary.toml"), format!("{STORE}{DISABLED}")).unwrap();
    for command in [
        &["status"][..],
        &["findings", "list"],
        &["records", "list"],
        &["products", "list"],
        &["operations", "list"],
        &["quarantine", "list"],
        &["connections", "list"],
        &["connections", "show", "a"],
        &["state", "show", "a"],
    ] {
        let (code, _, stderr) = run_in(folder.path(), command);
        assert_eq!(code, 0, "{command:?}: {stderr}");
        assert!(stderr.contains("Nothing is stored yet: there is no database t.db"), "{command:?}: {stderr}");
    }
    let backup = folder.path().join("backup.db").display().to_string();
    for command in [
        &["db", "check"][..],
        &["db", "stats"],
        &["db", "backup", &backup],
        &["records", "ignore", "--all"],
        &["findings", "triage", "x", "--as", "none"],
        &["products", "delete", "x"],
        &["operations", "cancel", "x"],
        &["operations", "approve", "x"],
        &["quarantine", "replay"],
        &["state", "reset", "a"],
    ] {
        let (code, stdout, stderr) = run_in(folder.path(), command);
        assert_eq!((code, &*stdout), (4, ""), "{command:?}: {stderr}");
        assert!(stderr.contains("error[E0401]: there is no database `t.db`"), "{command:?}: {stderr}");
    }
    assert_eq!(names(folder.path()), ["tributary.toml"]);
    let (code, _, stderr) = run_in(folder.path(), &["db", "migrate"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(folder.path().join("t.db").exists());
}

/// A mistyped path is told, and not made.
#[test]
fn of_a_path_to_the_database_only_the_last_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| {
        let url = format!("[store]\nurl = \"sqlite://{}\"\n", folder.path().join(path).display());
        std::fs::write(folder.path().join("tributary.toml"), url).unwrap();
        run_in(folder.path(), &["db", "migrate"])
    };
    let (code, _, stderr) = at("var/lib/t.db");
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("error[E0505]") && stderr.contains(&format!("there is no folder {}", folder.path().join("var").display())),
        "{stderr}"
    );
    assert_eq!(names(folder.path()), ["tributary.toml"]);
    assert_eq!(at("lib/t.db").0, 0);
    assert!(folder.path().join("lib/t.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_made_is_told_once() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    change(&bench, "sqlite:t.db", "sqlite:new.db");
    let told = format!(
        "made a new database: {}",
        bench.folder.path().join("new.db").canonicalize().unwrap_or(bench.folder.path().join("new.db")).display()
    );
    let (code, _, stderr) = run(&bench, &["run", "--once"]).await;
    assert!(code == 0 && stderr.contains(&told), "{stderr}");
    let (code, _, stderr) = run(&bench, &["run", "--once"]).await;
    assert!(code == 0 && !stderr.contains("made a new database"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_leaves_one_file() {
    let bench = tool(DependencyTrack::new(SMALL)).await;
    change(&bench, "sqlite:t.db", "sqlite:new.db");
    for command in [
        &["run", "--once"][..],
        &["sync", "--full"],
        &["sync", "--dry-run"],
        &["findings", "list"],
        &["findings", "triage", "--severity", "critical", "--as", "wont-fix"],
        &["records", "ignore", "--all"],
        &["records", "ignore", "nope"],
        &["connections", "pause", "t"],
        &["connections", "show", "t"],
        &["status"],
        &["db", "stats"],
        &["db", "check"],
    ] {
        let (code, _, stderr) = run(&bench, command).await;
        assert!(code == 0 || command.contains(&"nope"), "{command:?}: {stderr}");
        let mut left = names(bench.folder.path());
        left.retain(|name| name.starts_with("new.db") || name.starts_with('.'));
        assert_eq!(left, ["new.db"], "after {command:?}");
    }
}

#[test]
fn a_demo_that_cannot_be_kept_is_told_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run_in(folder.path(), &["demo", "--exit", "--store", "nodir/x.db"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("error[E0505]") && stderr.contains("nodir/x.db") && stderr.contains("there is no folder nodir"), "{stderr}");
    let (code, _, stderr) = run_in(folder.path(), &["demo", "--exit", "--change"]);
    assert!(code == 2 && stderr.contains("--store"), "{stderr}");
    assert!(names(folder.path()).is_empty());
}

/// What a newcomer types first, and it was answered with `did you mean health`.
#[test]
fn help_is_a_command_too() {
    let folder = tempfile::tempdir().unwrap();
    for command in [&["help"][..], &["help", "findings"], &["findings", "help", "list"]] {
        let (code, stdout, stderr) = run_in(folder.path(), command);
        assert!(code == 0 && stdout.contains("Usage: "), "{command:?}: {stderr}");
    }
}
