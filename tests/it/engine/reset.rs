//! `state reset` beside a sync, and pages that come late.

use tributary::{
    store::{Error, Outcome, PassKind},
    sync,
};
use tributary_connectors::Scope;

use super::tool::{World, all, finding, more, record};

fn two_pages(world: &World) {
    world.tool.answers(|scope, number| match (scope.list, number) {
        ("records", _) => all(vec![record("r")]),
        (_, 0) => more(0, vec![finding("a", "r")]),
        _ => all(vec![finding("b", "r")]),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_waits_for_the_operation_that_runs() {
    let world = World::new();
    two_pages(&world);
    *world.tool.holds.lock().unwrap() = Some(1);
    let beside = async {
        world.tool.asked.notified().await;
        let refused = world.engine.store.reset("e".into()).await;
        assert!(matches!(refused, Err(Error::LeaseHeld(_))), "{refused:?}");
        world.tool.released.notify_one();
    };
    let (report, ()) = tokio::join!(world.sync(), beside);
    assert_eq!((report.outcome, report.counts.created), (Outcome::Success, 2), "{:?}", report.errors);
    assert_eq!(world.engine.store.reset("e".into()).await.unwrap(), 2, "nothing runs any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_was_believed_dead_stores_nothing_after_a_reset() {
    let world = World::new();
    two_pages(&world);
    *world.tool.holds.lock().unwrap() = Some(1);
    let beside = async {
        world.tool.asked.notified().await;
        // The page before is stored while this one is asked for.
        while world.query_i64("select count(*) from findings") == 0 {
            tokio::task::yield_now().await;
        }
        world.write("update leases set held_until = 0");
        world.engine.store.reset("e".into()).await.unwrap();
        world.tool.released.notify_one();
    };
    let (ended, ()) = tokio::join!(world.try_sync(PassKind::Delta), beside);
    assert!(matches!(ended, Err(sync::Error::Store(Error::LeaseLost))), "{ended:?}");
    assert_eq!(world.query_string("select group_concat(key) from findings"), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_pass_is_never_given_again() {
    let world = World::new();
    world.tool.answers(|scope, number| match (scope.list, number) {
        ("records", _) => all(vec![record("r")]),
        (_, 0) => more(0, vec![finding("a", "r")]),
        _ => super::tool::status(400),
    });
    let mut last = 0;
    for _ in 0..3 {
        assert_eq!(world.sync().await.outcome, Outcome::Failed);
        let open = world.query_i64("select id from passes");
        assert!(open > last, "{open} after {last}");
        last = open;
        world.engine.store.reset("e".into()).await.unwrap();
        assert_eq!(world.query_i64("select count(*) from passes"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_pass_is_gone_is_not_stored_and_ends_the_walk() {
    let world = World::new();
    two_pages(&world);
    *world.tool.holds.lock().unwrap() = Some(1);
    let beside = async {
        world.tool.asked.notified().await;
        while world.query_i64("select count(*) from findings") == 0 {
            tokio::task::yield_now().await;
        }
        world.write("delete from passes");
        world.tool.released.notify_one();
    };
    let (report, ()) = tokio::join!(world.sync(), beside);
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(matches!(report.errors[0].1, sync::Error::Store(Error::PassLost)), "{:?}", report.errors);
    assert_eq!(world.query_string("select group_concat(key) from findings"), "a");
    // The next run reads the list from its beginning.
    *world.tool.holds.lock().unwrap() = None;
    assert_eq!(world.sync().await.outcome, Outcome::Success);
    assert_eq!(world.query_i64("select count(*) from findings"), 2);
}

/// A list that somebody asked to have read again while it was read keeps no mark, by which the next pass could pass items by.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_beside_a_sync_is_not_forgotten() {
    use tributary_connectors::{Coverage, Next, RawPage};
    let world = World::new();
    *world.tool.lists.lock().unwrap() = vec![Scope::account("findings")];
    world.tool.answers(|scope, number| match (scope.list, number) {
        ("records", _) => all(vec![record("r")]),
        (_, 0) => {
            let page = more(0, vec![finding("a", "r")]);
            page.map(|page| RawPage { rejects: vec![super::tool::reject(Some("odd"), "{}")], ..page })
        }
        _ => Ok(RawPage::empty(Next::Done(Coverage::Full, Some("mark".into())))),
    });
    *world.tool.holds.lock().unwrap() = Some(1);
    let beside = async {
        world.tool.asked.notified().await;
        while world.query_i64("select count(*) from quarantine") == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.engine.store.list_quarantined_again(None).await.unwrap(), 1);
        world.tool.released.notify_one();
    };
    let (report, ()) = tokio::join!(world.sync(), beside);
    assert_eq!(report.outcome, Outcome::Success, "{:?}", report.incomplete);
    assert_eq!(world.query_string("select mark from scopes where list = 'findings'"), "");
    *world.tool.holds.lock().unwrap() = None;
    world.sync().await;
    assert_eq!(world.query_string("select mark from scopes where list = 'findings'"), "mark");
    assert_eq!(world.query_i64("select count(*) from quarantine"), 1, "what still cannot be read came back");
}
