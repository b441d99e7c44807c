//! D4: the same input twice changes nothing, and costs next to no room.

use tributary_simulator::{Change, Size, dependency_track::DependencyTrack, snyk::Snyk, start, start_any};

use super::{assert_whole, number, run_well};
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
                number(&database, "select count(*) + sum(live) + sum(length(body)) from raw_blocks"),
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

/// Items are kept in blocks of some dozens. Where most of a block is replaced, what is left moves to another one.
#[tokio::test(flavor = "multi_thread")]
async fn items_are_read_back_whatever_became_of_their_blocks() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 2, findings: 1500, seed: 71 }), 0).await.unwrap());
    let items = || -> Vec<String> {
        let database = crate::common::database(&bench.engine.store);
        let mut ids = database.prepare("select id from findings order by id").unwrap();
        let ids: Vec<String> = ids.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let reader = bench.engine.store.reader().unwrap();
        ids.iter().map(|id| reader.raw(id).unwrap().unwrap_or_else(|| panic!("no item of {id}"))).collect()
    };
    let number_of_blocks = || bench.query_i64("select count(*) from raw_blocks");
    bench.discover().await;
    bench.full_sync().await;
    let first = items();
    assert!(number_of_blocks() < 80, "{} blocks for 1500 items", number_of_blocks());
    assert_eq!(bench.engine.store.rewrite_sparse_blocks().await.unwrap(), 0);
    for _ in 0..4 {
        bench.tool.vendor.step(&Change { fixed: 0.0, changed: 40.0, new: 0.0, vanished: 0.0 });
        bench.full_sync().await;
    }
    let (changed, blocks) = (items(), number_of_blocks());
    assert_ne!(first, changed);
    assert_whole(&crate::common::database(&bench.engine.store), "after changes");
    let rewritten = bench.engine.store.rewrite_sparse_blocks().await.unwrap();
    assert!(rewritten > 0 && number_of_blocks() < blocks, "{rewritten} of {blocks}");
    assert!(items() == changed, "every item is as it was");
    assert_eq!(bench.engine.store.rewrite_sparse_blocks().await.unwrap(), 0);
    let blocks =
        "select count(*) from raw_blocks b where live <> (select count(*) from finding_rows f where f.raw_block = b.id) or live = 0";
    assert_eq!(bench.query_i64(blocks), 0);
}

/// An id of a block is given again once nothing points to it: whoever lost its item must not show another one's.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_whose_block_is_damaged_is_lost_and_never_another_ones() {
    let bench = TestApp::new(start(DependencyTrack::new(Size { records: 1, findings: 100, seed: 72 }), 0).await.unwrap());
    bench.sync().await;
    let database = rusqlite::Connection::open(bench.folder.path().join("t.db")).unwrap();
    let last = number(&database, "select max(id) from raw_blocks");
    let lost: Vec<String> = {
        let mut ids = database.prepare("select id from finding_rows where raw_block = ?1").unwrap();
        ids.query_map([last], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    database.execute("update raw_blocks set body = x'00', live = 1, items = 8 where id = ?1", [last]).unwrap();
    assert_eq!(bench.engine.store.rewrite_sparse_blocks().await.unwrap(), 1);
    bench.tool.vendor.step(&Change { fixed: 0.0, changed: 0.0, new: 30.0, vanished: 0.0 });
    bench.full_sync().await;
    assert!(number(&database, "select max(id) from raw_blocks") >= last, "the id is given again");
    let reader = bench.engine.store.reader().unwrap();
    assert!(!lost.is_empty());
    for id in lost {
        assert_eq!(reader.raw(&id).unwrap(), None, "{id}");
    }
}
