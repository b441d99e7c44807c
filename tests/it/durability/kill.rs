//! D1, and the second half of D3: `kill -9` at any moment loses nothing and invents nothing.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use tributary_simulator::{Change, Running, Size, dependency_track::DependencyTrack, seed::Seed, snyk::Snyk, start};

use super::{assert_nothing_lost, kept, number, run_well, start_quietly};
use crate::common::TestApp;

/// Kills per tool; with two tools that is over a hundred.
const KILLS: u32 = 56;
const ROUNDS: u32 = 4;
const SIZE: Size = Size { records: 6, findings: 2000, seed: 7 };

/// Runs, is killed, and goes on, with the tool moving on meanwhile. `change` is what one ordinary sync can see.
async fn survives(tool: Running, seed: u64, change: Change, syncs: usize) {
    let bench = TestApp::new(tool);
    let mut seed = Seed::of(&[2026, seed]);
    let mut killed = 0;
    for round in 0..ROUNDS {
        let before = kept(&crate::common::database(&bench.engine.store));
        let full = round % 2 == 1;
        let arguments: &[&str] = if full { &["sync", "--full"] } else { &["run", "--once"] };
        let began = Instant::now();
        if round > 0 {
            bench.tool.vendor.step(if full { &Change::ONE_PERCENT } else { &change });
            // How long it takes here and now, on a copy: moments are chosen within that.
            run_well(bench.command(&["sync", "--full", "--dry-run"])).await;
        }
        let mut lasts = if round > 0 { began.elapsed() } else { Duration::from_millis(1500) };
        let until = KILLS * (round + 1) / ROUNDS;
        while killed < until {
            let mut child = start_quietly(bench.command(arguments));
            tokio::time::sleep(lasts.mul_f64(seed.below(1000) as f64 / 1000.0)).await;
            if child.try_wait().unwrap().is_some() {
                // It was done before: sooner next time.
                lasts = lasts.mul_f64(0.8).max(Duration::from_millis(50));
                bench.tool.vendor.step(&Change { new: 1.0, ..NOTHING });
                continue;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
        }
        let again: &[&str] = if full { &["sync", "--full"] } else { &["run", "--once"] };
        for _ in 0..syncs {
            run_well(bench.command(again)).await;
        }
        let when = format!("after {killed} kills");
        bench.assert_oracle(&when);
        assert_nothing_lost(&bench, &before, &when);
    }
    assert_eq!(killed, KILLS);
    let resumed = "select count(*) from operations where detail like '%\"resumed\":true%'";
    assert!(bench.query_i64(resumed) > 0, "some went on where a killed one had stopped");
    assert!(bench.query_i64("select count(*) from operations where outcome = 'interrupted'") > 20, "most were killed while they ran");
}

const NOTHING: Change = Change { fixed: 0.0, changed: 0.0, new: 0.0, vanished: 0.0 };

#[tokio::test(flavor = "multi_thread")]
async fn d1_kill_9_at_random_moments_of_full_syncs() {
    // Its lists can shift: what is gone has to be missing twice.
    survives(start(DependencyTrack::new(SIZE), 0).await.unwrap(), 1, Change::ONE_PERCENT, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_kill_9_at_random_moments_of_incremental_syncs() {
    let seen_by_a_delta = Change { fixed: 2.0, new: 2.0, ..NOTHING };
    survives(start(Snyk::new(SIZE), 0).await.unwrap(), 2, seen_by_a_delta, 1).await;
}

/// Whoever was told that a decision is stored finds it stored.
#[tokio::test(flavor = "multi_thread")]
async fn d3_a_decision_is_there_once_its_command_has_answered() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 3, findings: 60, seed: 3 }), 0).await.unwrap());
    run_well(bench.command(&["run", "--once"])).await;
    let reader = crate::common::database(&bench.engine.store);
    let mut ids = reader.prepare("select id from findings where state = 'open' order by id limit 8").unwrap();
    let ids: Vec<String> = ids.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    for id in &ids {
        let mut child = bench
            .command(&["findings", "triage", id, "--as", "false-positive"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let answer = told.find(|line| !line.starts_with("warning"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(answer.as_deref(), Some("1 findings, 1 of them changed"));
        assert_eq!(number(&reader, &format!("select count(*) from findings where id = '{id}' and triage = 'false_positive'")), 1);
    }
    let key: String = reader.query_row("select key from records limit 1", [], |row| row.get(0)).unwrap();
    run_well(bench.command(&["records", "map", &key, "--product", "Shop"])).await;
    assert_eq!(number(&reader, "select count(*) from records where product = 'Shop'"), 1);
}
