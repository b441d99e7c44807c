//! D4: the same input twice changes nothing, and costs next to no room.

use tributary_simulator::{Size, dependency_track::DependencyTrack, snyk::Snyk, start_any};

use super::{number, run_well};
use crate::common::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn d4_an_unchanged_tool_writes_no_finding_and_grows_the_file_by_less_than_64_kib() {
    let size = Size { records: 4, findings: 2000, seed: 31 };
    for tool in [
        std::sync::Arc::new(DependencyTrack::new(size)) as std::sync::Arc<dyn tributary_simulator::Vendor>,
        std::sync::Arc::new(Snyk::new(size)),
    ] {
        let bench = TestApp::new(start_any(tool, 0).await.unwrap());
        run_well(bench.command(&["run", "--once"])).await;
        let database = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
        let bytes = || {
            database.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
            i64::try_from(std::fs::metadata(bench.folder.path().join("t.db")).unwrap().len()).unwrap()
        };
        let state = || {
            (
                number(&database, "select sum(updated_at) + count(*) + max(seq) + sum(digest % 1000003) from finding_rows"),
                number(&database, "select count(*) from finding_events"),
                number(&database, "select count(*) from raws") + number(&database, "select sum(length(body)) from raws"),
            )
        };
        let before = (state(), bytes());
        assert!(before.1 > 1 << 20, "large enough to grow");
        for arguments in [&["sync"][..], &["sync", "--full"], &["sync", "--full"]] {
            run_well(bench.command(arguments)).await;
            assert_eq!(state(), before.0, "{arguments:?}");
        }
        let grown = bytes() - before.1;
        assert!(grown < 64 << 10, "{grown} bytes in three runs");
        let counts = "select count(*) from operations where kind = 'sync' and created + updated + reopened + closed > 0";
        assert_eq!(number(&database, counts), 1, "only the first one did anything");
    }
}
