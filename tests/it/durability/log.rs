//! D9: the write-ahead log grows only while somebody reads for a long time, which is told, and is short again after that.

use tributary_simulator::{Change, Size, dependency_track::DependencyTrack, start};

use super::{number, run};
use crate::common::TestApp;

const MOST: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn d9_a_pinned_reader_is_warned_about_and_the_log_is_short_after_it() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 3, findings: 900, seed: 61 }), 0).await.unwrap());
    let sync = async || {
        bench.tool.vendor.step(&Change { new: 5.0, ..Change::ONE_PERCENT });
        let mut command = bench.command(&["sync", "-v"]);
        command.env("TRIBUTARY_WAL_WARNING", (48 << 20).to_string());
        let (code, _, stderr) = run(command).await;
        assert_eq!(code, Some(0), "{stderr}");
        stderr.contains("write-ahead log is long")
    };
    assert!(!sync().await, "a short log is not warned about");
    let reader = crate::common::database(&bench.engine.store);
    reader.execute_batch("begin").unwrap();
    let seen = number(&reader, "select count(*) from finding_rows");
    // As much as a long sync writes: other rows than findings, for speed.
    let foreign = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    for _ in 0..9 {
        foreign
            .execute_batch(
                "insert into quarantine (operation, connection, scope, outcome, identity, path, reason, raw, items, pass_id, at)
                 select 'x', 'other', 'x', 'rejected', random(), 'x', 'x', hex(randomblob(500000)), 1, 0, 0 from (values (1), (2), (3), (4), (5), (6), (7), (8), (9), (10))",
            )
            .unwrap();
    }
    assert!(bench.engine.store.wal_bytes() > MOST, "{}", bench.engine.store.wal_bytes());
    assert!(sync().await, "the reader is warned about");
    assert!(bench.engine.store.wal_bytes() > MOST, "what somebody reads is not cleared");
    assert_eq!(number(&reader, "select count(*) from finding_rows"), seen, "one moment is seen all along");
    drop(reader);
    sync().await;
    let left = bench.engine.store.wal_bytes();
    assert!(left <= MOST, "{left} bytes");
    assert!(!sync().await);
}
