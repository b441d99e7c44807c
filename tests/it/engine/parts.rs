//! A page that comes in parts is the same page: what is stored, counted and closed does not depend on where it was cut.

use tributary::store::Outcome;
use tributary_connectors::{
    Item, Mended, Next, RawPage,
    model::{Category, Finding, Severity, State},
};

use super::tool::{World, all, finding, record, reject};

/// Where no page breaks off.
const NEVER: usize = usize::MAX;

impl World {
    /// A list of one page with these keys, and so many by the tool's own word.
    fn delivers(&self, keys: &[usize], total: Option<u64>) {
        let keys = keys.to_vec();
        self.tool.answers(move |scope, _| match scope.list {
            "records" => all(vec![record("r")]),
            _ => Ok(RawPage { total, ..RawPage::of(keys.iter().map(|key| finding(key, "r")).collect(), Next::FULL) }),
        });
    }

    fn cuts(&self, size: usize, breaks: usize) {
        *self.tool.parts.lock().unwrap() = Some((size, breaks));
    }

    fn open(&self) -> String {
        self.query_string(
            "select group_concat(key, ' ') from (select key from findings where state = 'open' order by cast(key as integer))",
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_parts_is_one_page() {
    // A row that stands twice on a page is two rows of the tool's list, wherever the page is cut.
    let keys = [1, 2, 3, 4, 5, 6, 2, 8, 9, 10, 11];
    for size in [1, 3, 10, 11, 100] {
        let world = World::new();
        world.delivers(&keys, Some(11));
        world.cuts(size, NEVER);
        let first = world.full_sync().await;
        assert_eq!((first.outcome, first.counts.fetched, first.counts.created, first.counts.unchanged), (Outcome::Success, 11, 10, 1));
        assert_eq!(first.vendor_total, Some(11));
        let again = world.full_sync().await;
        assert_eq!((again.outcome, again.counts.fetched, again.counts.unchanged), (Outcome::Success, 11, 11), "{size}");
        // One is gone: that is met in the first part as well as in the last.
        for (gone, left) in [(1, "2 3 4 5 6 8 9 10 11"), (11, "1 2 3 4 5 6 8 9 10")] {
            world.delivers(&keys.into_iter().filter(|key| *key != gone).collect::<Vec<_>>(), Some(10));
            let report = world.full_sync().await;
            assert_eq!((report.outcome, report.counts.closed, &*world.open()), (Outcome::Success, 1, left), "{size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_off_between_its_parts_moves_no_cursor_and_closes_nothing() {
    let world = World::new();
    world.delivers(&(1..=10).collect::<Vec<_>>(), Some(10));
    world.cuts(3, 2);
    let report = world.full_sync().await;
    assert_eq!((report.outcome, report.counts.fetched, report.counts.created), (Outcome::Failed, 6, 6));
    assert_eq!(
        world.query_string("select pages || ' ' || coalesce(next_cursor, 'no cursor') from passes where ended is null"),
        "0 no cursor"
    );
    // The page is read anew; what is stored by then is unchanged.
    world.cuts(3, NEVER);
    let report = world.full_sync().await;
    assert_eq!((report.outcome, report.counts.fetched, report.counts.created), (Outcome::Success, 10, 4));
    assert_eq!((report.counts.unchanged, report.counts.closed, &*world.open()), (6, 0, "1 2 3 4 5 6 7 8 9 10"));
    let report = world.full_sync().await;
    assert_eq!((report.outcome, report.counts.unchanged, report.counts.closed), (Outcome::Success, 10, 0));
}

/// What came before a page broke off was seen in that pass, and helps no list to its total twice.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_a_broken_page_counts_as_seen_and_once() {
    let world = World::new();
    for _ in 0..2 {
        world.cuts(2, 2);
        world.delivers(&[1, 1, 2, 3, 4, 5], Some(6));
        assert_eq!(world.full_sync().await.outcome, Outcome::Failed);
    }
    world.cuts(2, NEVER);
    // Of seven rows six were delivered, one of them before the page broke off.
    world.delivers(&[1, 1, 3, 4, 5], Some(7));
    let report = world.full_sync().await;
    assert_eq!((report.outcome, report.counts.closed), (Outcome::Partial, 0));
    assert!(report.incomplete[0].1.contains("declares 7 items and delivered 6"), "{:?}", report.incomplete);

    let world = World::new();
    world.delivers(&[1, 2, 3, 4], None);
    world.full_sync().await;
    world.cuts(2, 1);
    world.delivers(&[1, 2, 3, 4], None);
    assert_eq!(world.full_sync().await.outcome, Outcome::Failed);
    world.cuts(2, NEVER);
    world.delivers(&[2, 3, 4], None);
    let report = world.full_sync().await;
    assert_eq!((report.outcome, report.counts.closed, &*world.open()), (Outcome::Success, 0, "1 2 3 4"));
    let report = world.full_sync().await;
    assert_eq!((report.outcome, report.counts.closed, &*world.open()), (Outcome::Success, 1, "2 3 4"));
}

/// What changed between a page that broke off and its second reading is the same item, and not another one under its key.
#[tokio::test(flavor = "multi_thread")]
async fn what_changed_since_a_page_broke_off_is_the_same_item() {
    let world = World::new();
    let delivers = |severity: Severity, state: State| {
        world.tool.answers(move |scope, _| match scope.list {
            "records" => all(vec![record("r")]),
            _ => all((1..=6).map(|key| of(key, severity, state)).collect()),
        });
    };
    delivers(Severity::High, State::Open);
    world.cuts(2, 2);
    assert_eq!(world.full_sync().await.outcome, Outcome::Failed);
    world.cuts(2, NEVER);
    delivers(Severity::Low, State::Fixed);
    let report = world.full_sync().await;
    assert_eq!((report.outcome, report.counts.duplicates, report.counts.updated), (Outcome::Success, 0, 4), "{:?}", report.warnings);
    let states = "select group_concat(distinct source_state || ' ' || severity) from findings";
    assert_eq!(world.query_string(states), "fixed low");
    assert_eq!(world.query_i64("select count(*) from variants"), 0);
}

fn of(key: usize, severity: Severity, state: State) -> Item {
    let finding = Finding { title: "t".into(), severity, state, ..Finding::new(key.to_string(), "r", Category::Sca) };
    Item::Finding(Box::new(finding))
}

/// What could not be read of a page that broke off is counted once, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_mended_of_a_broken_page_counts_once() {
    let world = World::new();
    world.tool.answers(|scope, _| match scope.list {
        "records" => all(vec![record("r")]),
        _ => {
            let mended = Mended { key: Some("1".into()), path: "member".into(), reason: "is odd".into() };
            Ok(RawPage { mended: vec![mended; 3], ..RawPage::of((1..=6).map(|key| finding(key, "r")).collect(), Next::FULL) })
        }
    });
    for breaks in [2, 2, NEVER] {
        world.cuts(2, breaks);
        world.full_sync().await;
    }
    assert_eq!(world.query_i64("select sum(items) from quarantine"), 3);
}

/// The next page is read while the last part of this one is stored.
#[tokio::test(flavor = "multi_thread")]
async fn pages_in_parts_follow_each_other() {
    let world = World::new();
    world.cuts(3, NEVER);
    world.tool.answers(|scope, number| {
        if scope.list == "records" {
            return all(vec![record("r")]);
        }
        let items: Vec<Item> = (number * 10..number * 10 + 10).map(|key| finding(key, "r")).collect();
        let next = if number == 4 { Next::FULL } else { Next::More((number + 1).to_string().into()) };
        Ok(RawPage { rejects: vec![reject(Some("odd"), number)], total: Some(51), ..RawPage::of(items, next) })
    });
    for created in [50, 0] {
        let report = world.full_sync().await;
        assert_eq!((report.outcome, report.counts.fetched, report.counts.created), (Outcome::Success, 55, created));
        assert_eq!((report.counts.rejected, world.query_i64("select count(*) from quarantine")), (5, 1));
    }
}
