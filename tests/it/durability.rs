//! What survives: crashes, torn files, full disks, foreign locks. Each test is named after its promise (D1 …); what the
//! promises mean for a user is in `docs/guarantees.md`.
//!
//! The real binary runs against simulators in this process, and is killed, stopped or starved by it.

#![expect(clippy::print_stderr, reason = "what is skipped is told")]

mod backup;
mod disk_full;
mod failpoints;
mod kill;
mod locks;
mod log;
mod plans;
mod torn;
mod unchanged;

use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
};

use crate::common::{TestApp, run};
use rusqlite::Connection;

async fn run_well(command: Command) -> String {
    let (code, stdout, stderr) = run(command).await;
    assert_eq!(code, Some(0), "{stderr}");
    stdout
}

/// Starts a command that nobody listens to.
fn start_quietly(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn number(database: &Connection, sql: &str) -> i64 {
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn assert_whole(database: &Connection, when: &str) {
    let told: String = database.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(told, "ok", "{when}");
    assert_eq!(number(database, "select count(*) from pragma_foreign_key_check"), 0, "rows point to rows that are not there {when}");
}

/// What never changes once it is there: the id of a key, and when it was first seen.
type Kept = BTreeMap<String, (String, i64)>;

fn kept(database: &Connection) -> Kept {
    let mut rows = database.prepare("select key, id, first_seen from findings").unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap().collect::<Result<_, _>>().unwrap()
}

/// What holds after every recovery, beside the oracle: nothing twice, nothing lost, nothing closed that was there all along.
fn assert_nothing_lost(bench: &TestApp, before: &Kept, when: &str) {
    let reader = crate::common::database(&bench.engine.store);
    assert_whole(&reader, when);
    let after = kept(&reader);
    for (key, what) in before {
        assert_eq!(after.get(key), Some(what), "id and first_seen of {key} {when}");
    }
    assert_eq!(number(&reader, "select count(*) from findings"), i64::try_from(after.len()).unwrap(), "a key twice {when}");
    assert_eq!(number(&reader, "select count(*) from operations where outcome = 'running'"), 0, "{when}");
    let blocks =
        "select count(*) from raw_blocks b where live <> (select count(*) from finding_rows f where f.raw_block = b.id) or live = 0";
    assert_eq!(number(&reader, blocks), 0, "{when}");
    let lost = "select count(*) from finding_rows where raw_block is null or raw_block not in (select id from raw_blocks)";
    assert_eq!(number(&reader, lost), 0, "{when}");
    let mut closed = reader
        .prepare("select f.key from finding_events e join finding_rows f on f.id = e.finding_id where e.event = 'closed' and e.new_value = 'gone'")
        .unwrap();
    let closed: Vec<String> = closed.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let oracle = bench.tool.vendor.oracle();
    for key in closed {
        assert_eq!(oracle.findings[&key].state, "gone", "{key} was closed by absence {when}");
    }
}
