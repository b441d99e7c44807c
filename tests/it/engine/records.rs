//! Records that a discover does not list, lists badly, or no longer has.

use std::sync::atomic::Ordering;

use tributary::store::{Outcome, RecordAction, RecordFilter};
use tributary_connectors::{Next, RawPage};

use super::tool::{World, all, finding, record, reject, status};

impl World {
    /// The tool lists these records, each with one finding.
    fn lists(&self, records: std::ops::Range<usize>) {
        self.tool.answers(move |scope, _| match scope.list {
            "records" => all(records.clone().map(record).collect()),
            _ => all(vec![finding(format!("f{}", scope.key), &scope.key)]),
        });
    }

    fn states(&self) -> String {
        self.query_string(
            "select group_concat(n || ' ' || state) from (select count(*) as n, state from records group by state order by state)",
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discover_that_loses_a_large_part_of_the_records_is_held() {
    let world = World::new();
    world.lists(0..10);
    assert_eq!(world.sync().await.counts.created, 10);
    world.lists(0..4);
    let report = world.discover().await;
    assert_eq!((report.outcome, world.states()), (Outcome::Held, "10 good".into()));
    assert_eq!(report.discovered.map(|found| (found.missing, found.held, found.listed)), Some((0, 6, 4)));
    assert!(report.warnings.iter().any(|warning| warning.starts_with("6 records are no longer listed")), "{:?}", report.warnings);
    assert_eq!(world.query_i64("select count(*) from held_records"), 6);
    // It is held again each time, by the last discover alone.
    let again = world.discover().await;
    assert_eq!((again.outcome, world.query_i64("select count(*) from held_records")), (Outcome::Held, 6));
    assert_eq!(world.engine.store.approve(report.operation).await.unwrap(), None);
    let approved = world.engine.store.approve(again.operation).await.unwrap().unwrap();
    assert_eq!((approved.records, approved.closed, world.states()), (6, 0, "4 good,6 missing".into()));
    assert_eq!(world.query_string(&format!("select outcome from operations where id = '{}'", again.operation)), "success");
    assert_eq!(world.discover().await.outcome, Outcome::Success);
    assert_eq!(world.query_i64("select count(*) from findings where state = 'open'"), 10, "their findings stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_return_are_held_no_more() {
    let world = World::new();
    world.lists(0..10);
    world.discover().await;
    world.lists(0..4);
    let held = world.discover().await;
    world.lists(0..10);
    assert_eq!(world.discover().await.outcome, Outcome::Success);
    assert_eq!((world.query_i64("select count(*) from held_records"), world.states()), (0, "10 good".into()));
    assert_eq!(world.engine.store.approve(held.operation).await.unwrap(), None);
    // A discover that is not complete releases those that it lists.
    world.lists(0..4);
    let held = world.discover().await;
    world.tool.answers(|_, _| {
        let page = RawPage::of((0..9).map(record).collect(), Next::FULL);
        Ok(RawPage { rejects: vec![reject(None, "[]")], ..page })
    });
    assert_eq!(world.discover().await.outcome, Outcome::Partial);
    let approved = world.engine.store.approve(held.operation).await.unwrap().unwrap();
    assert_eq!((approved.records, world.states()), (1, "9 good,1 missing".into()));
}

/// A hold is released by an operator, or by the tool that lists the record again: not by what else a later discover lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_records_stays_whatever_else_a_later_discover_lists() {
    let world = World::new();
    world.lists(0..10);
    world.discover().await;
    world.lists(0..4);
    world.discover().await;
    // Many others beside them make the six a small part; where three return, three are few.
    let others = |more: std::ops::Range<usize>, back: usize| {
        world.tool.answers(move |_, _| all((0..4 + back).chain(more.clone()).map(record).collect()));
    };
    others(100..130, 0);
    let report = world.discover().await;
    assert_eq!((report.outcome, report.discovered.map(|found| (found.missing, found.held))), (Outcome::Held, Some((0, 6))));
    others(100..130, 3);
    let report = world.discover().await;
    assert_eq!((report.outcome, report.discovered.map(|found| (found.missing, found.held))), (Outcome::Held, Some((0, 3))));
    // What is missed first now is too few for the brake.
    others(101..130, 3);
    let report = world.discover().await;
    assert_eq!(report.discovered.map(|found| (found.missing, found.held)), Some((1, 3)));
    assert_eq!(world.states(), "39 good,1 missing");
    let approved = world.engine.store.approve(report.operation).await.unwrap().unwrap();
    assert_eq!((approved.records, world.states()), (3, "36 good,4 missing".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_decided_meanwhile_stays() {
    let world = World::new();
    world.lists(0..10);
    world.discover().await;
    world.lists(0..4);
    let held = world.discover().await;
    let one = RecordFilter { keys: vec!["9".into()], ..RecordFilter::default() };
    world.engine.store.change_records(one, RecordAction::Ignore).await.unwrap();
    let approved = world.engine.store.approve(held.operation).await.unwrap().unwrap();
    assert_eq!((approved.records, world.states()), (5, "4 good,1 ignored,5 missing".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_records_or_a_small_part_become_missing_at_once() {
    // (there were, there are, held)
    for (before, after, held) in [(4, 0, 0), (10, 6, 0), (10, 5, 5), (17, 12, 0), (16, 11, 5)] {
        let world = World::new();
        world.lists(0..before);
        world.discover().await;
        world.lists(0..after);
        let report = world.discover().await;
        let missing = (before - after) as u64 - held;
        let found = report.discovered.unwrap();
        assert_eq!((found.missing, found.held), (missing, held), "{after} of {before}");
        assert_eq!(after == 0, report.warnings.iter().any(|warning| warning.contains("lists no record")), "{:?}", report.warnings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_read_and_has_a_key_is_present() {
    let world = World::new();
    world.lists(0..3);
    world.discover().await;
    let with = |rejects: fn() -> Vec<tributary_connectors::Reject>| {
        world.tool.answers(move |_, _| Ok(RawPage { rejects: rejects(), ..RawPage::of(vec![record(0)], Next::FULL) }));
    };
    with(|| vec![reject(Some("1"), "{\"tags\":null}")]);
    assert_eq!((world.discover().await.outcome, world.states()), (Outcome::Success, "2 good,1 missing".into()));
    // The missing one comes back, even unreadable.
    with(|| vec![reject(Some("1"), "{}"), reject(Some("2"), "{}"), reject(Some("unknown"), "{}")]);
    world.discover().await;
    assert_eq!(world.states(), "3 good");
    // Which record the entry without a key is nobody knows.
    with(|| vec![reject(None, "{}")]);
    let report = world.discover().await;
    assert_eq!((report.outcome, world.states()), (Outcome::Partial, "3 good".into()));
}

/// Records by number, of which the tool answers this status for some lists.
fn without(world: &World, listed: std::ops::Range<usize>, lost: &'static [&'static str], code: u16) {
    world.tool.answers(move |scope, _| match scope.list {
        "records" => all(listed.clone().map(record).collect()),
        _ if lost.contains(&&*scope.key) => status(code),
        _ => all(vec![finding(format!("f{}", scope.key), &scope.key)]),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_deleted_is_missing_and_no_failure() {
    for code in [404, 410] {
        let world = World::new();
        world.lists(0..4);
        world.sync().await;
        without(&world, 0..2, &["2", "3"], code);
        let before = world.tool.discovers.load(Ordering::SeqCst);
        let report = world.sync().await;
        assert_eq!(report.outcome, Outcome::Success, "{:?}", report.errors);
        assert_eq!(world.states(), "2 good,2 missing");
        assert_eq!(world.tool.discovers.load(Ordering::SeqCst), before + 1, "once for both");
        assert_eq!(world.query_i64("select count(*) from findings where state = 'open'"), 4, "their findings stay");
        assert_eq!(world.query_i64("select count(*) from passes where ended is not null"), 0);
        let report = world.sync().await;
        assert_eq!((report.outcome, report.counts.fetched), (Outcome::Success, 2), "it is not asked for again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_record_is_still_listed_the_failure_stands() {
    let world = World::new();
    world.lists(0..4);
    world.sync().await;
    without(&world, 0..3, &["2", "3"], 404);
    let report = world.sync().await;
    assert_eq!(report.outcome, Outcome::Partial);
    assert_eq!(report.errors.iter().map(|(title, _)| &**title).collect::<Vec<_>>(), ["2"]);
    assert_eq!(world.states(), "3 good,1 missing");
    // Whatever fails all lists fails the operation, as before.
    without(&world, 0..3, &["0", "1", "2"], 404);
    assert_eq!(world.sync().await.outcome, Outcome::Failed);
    // Another refusal says nothing of the record.
    let before = world.tool.discovers.load(Ordering::SeqCst);
    without(&world, 0..3, &["2"], 400);
    assert_eq!(world.sync().await.outcome, Outcome::Partial);
    assert_eq!(world.tool.discovers.load(Ordering::SeqCst), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_at_once_are_held() {
    let world = World::new();
    world.lists(0..8);
    world.sync().await;
    without(&world, 0..2, &["2", "3", "4", "5", "6", "7"], 404);
    let report = world.sync().await;
    assert_eq!((report.outcome, report.errors.len(), world.states()), (Outcome::Partial, 6, "8 good".into()));
    assert_eq!(world.engine.store.approve(report.operation).await.unwrap().unwrap().records, 6);
    assert_eq!(world.sync().await.outcome, Outcome::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_listed_prove_nothing() {
    let world = World::new();
    world.lists(0..3);
    world.sync().await;
    world.tool.answers(|scope, _| match &*scope.key {
        "" | "2" => status(404),
        key => all(vec![finding(format!("f{key}"), key)]),
    });
    let report = world.sync().await;
    assert_eq!((report.outcome, report.errors.len(), world.states()), (Outcome::Partial, 1, "3 good".into()));
}
