//! Items that cannot be read, by the thousand.

use tributary::store::Outcome;
use tributary_connectors::{Mended, Next, RawPage, Scope};

use super::tool::{World, all, finding, record, reject};

const PAGE: usize = 4000;

impl World {
    /// One list of so many unreadable items, each with a text that moves with `turn`.
    fn odd(&self, count: usize, keyed: bool, turn: usize) {
        *self.tool.lists.lock().unwrap() = vec![Scope::account("findings")];
        self.tool.answers(move |scope, number| {
            if scope.list == "records" {
                return all(vec![record("r")]);
            }
            let (start, end) = (number * PAGE, count.min((number + 1) * PAGE));
            let key = |at: usize| format!("k{at}");
            let rejects = (start..end).map(|at| reject(keyed.then(|| key(at)).as_deref(), format!("{at} at {turn}"))).collect();
            let next = if end == count { Next::FULL } else { Next::More((number + 1).to_string().into()) };
            Ok(RawPage { rejects, ..RawPage::of(if number == 0 { vec![finding("good", "r")] } else { Vec::new() }, next) })
        });
    }

    fn kept(&self) -> (i64, i64) {
        let of = |what: &str| self.query_i64(&format!("select coalesce({what}, 0) from quarantine where outcome = 'rejected'"));
        (of("count(*)"), of("sum(items)"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_thousand_items_a_thousand_are_kept_and_the_rest_is_counted() {
    let world = World::new();
    for turn in 0..3 {
        world.odd(20_000, true, turn);
        let report = world.full_sync().await;
        assert_eq!((report.outcome, report.counts.rejected), (Outcome::Success, 20_000));
        assert_eq!(world.kept(), (1001, 20_000), "turn {turn}: what moves does not pile up");
        let newest = format!("select count(*) from quarantine where raw like '% at {turn}'");
        assert_eq!(world.query_i64(&newest), 1000);
    }
    assert_eq!(world.query_string("select reason from quarantine where raw = ''"), "more than 1000 are not kept: these are only counted");
    // What can be read by the next full pass leaves.
    world.odd(3, true, 0);
    world.full_sync().await;
    assert_eq!(world.kept(), (3, 3));
    world.odd(0, true, 0);
    world.full_sync().await;
    assert_eq!(world.kept(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn items_without_a_key_are_known_by_their_text() {
    let world = World::new();
    world.odd(20_000, false, 0);
    let report = world.full_sync().await;
    assert_eq!((report.outcome, world.kept()), (Outcome::Partial, (1001, 20_000)));
    world.odd(500, false, 0);
    world.full_sync().await;
    assert_eq!(world.kept(), (500, 500));
    world.odd(500, false, 1);
    world.full_sync().await;
    assert_eq!(world.kept(), (500, 500), "the texts moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_item_is_kept_in_part() {
    let world = World::new();
    world.tool.answers(|scope, _| match scope.list {
        "records" => all(vec![record("r")]),
        _ => Ok(RawPage { rejects: vec![reject(Some("long"), "é".repeat(1 << 20))], ..RawPage::of(vec![finding("f", "r")], Next::FULL) }),
    });
    world.full_sync().await;
    assert_eq!(world.query_i64("select length(cast(raw as blob)) from quarantine"), 64 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn mended_members_are_listed_once_for_each_path() {
    let world = World::new();
    *world.tool.lists.lock().unwrap() = vec![Scope::account("findings")];
    world.tool.answers(|scope, number| {
        if scope.list == "records" {
            return all(vec![record("r")]);
        }
        let items = (0..1000).map(|at| finding(number * 1000 + at, "r")).collect();
        let path = |at: usize| if at == 0 { "line".to_owned() } else { format!("cwes[{at}].id") };
        let mended = |at| Mended { key: Some(format!("{number}-{at}").into()), path: path(at).into(), reason: "is odd".into() };
        let next = if number == 2 { Next::FULL } else { Next::More((number + 1).to_string().into()) };
        Ok(RawPage { mended: (0..1000).map(mended).collect(), ..RawPage::of(items, next) })
    });
    for _ in 0..2 {
        let report = world.full_sync().await;
        assert_eq!((report.outcome, report.counts.mended, report.counts.rejected), (Outcome::Success, 3000, 0));
        let rows = "select group_concat(path || ' ' || items || ' ' || reason, '; ') from (select * from quarantine where outcome = 'mended' order by path)";
        assert_eq!(world.query_string(rows), "cwes[].id 2997 is odd; line 3 is odd");
        assert_eq!(world.kept(), (0, 0), "nothing was rejected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_paths_are_bounded_too() {
    let world = World::new();
    *world.tool.lists.lock().unwrap() = vec![Scope::account("findings")];
    world.tool.answers(|scope, _| match scope.list {
        "records" => all(vec![record("r")]),
        _ => {
            let mended = |at| Mended { key: None, path: format!("tags.x{at}y").into(), reason: "is odd".into() };
            Ok(RawPage { mended: (0..5000).map(mended).collect(), ..RawPage::of(vec![finding("f", "r")], Next::FULL) })
        }
    });
    world.full_sync().await;
    assert_eq!((world.query_i64("select count(*) from quarantine"), world.query_i64("select sum(items) from quarantine")), (1001, 5000));
}
