//! Lists that come to no end.

use tributary::{store::Outcome, sync};
use tributary_connectors::{ErrorKind, Next, RawPage, Scope};

use super::tool::{World, all, finding, more, record, reject};

fn is_loop(report: &sync::Report) -> bool {
    matches!(&report.errors[..], [(_, sync::Error::Vendor(error))] if matches!(error.kind, ErrorKind::PagingLoop))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_repeats_a_page_under_new_cursors_is_not_read_for_ever() {
    let world = World::new();
    *world.tool.lists.lock().unwrap() = vec![Scope::account("findings")];
    let with = |page: fn(usize) -> tributary_connectors::Result<RawPage>| {
        world.tool.answers(move |scope, number| if scope.list == "records" { all(vec![record("r")]) } else { page(number) });
    };
    // The same page; two pages in turn; items that cannot be read; the same with an empty page between.
    let endless: [fn(usize) -> tributary_connectors::Result<RawPage>; 4] = [
        |number| more(number, vec![finding("a", "r"), finding("b", "r")]),
        |number| more(number, vec![finding(number % 2, "r")]),
        |number| more(number, Vec::new()).map(|page| RawPage { rejects: vec![reject(None, "[]")], ..page }),
        |number| more(number, if number.is_multiple_of(2) { vec![finding("a", "r")] } else { Vec::new() }),
    ];
    for page in endless {
        with(page);
        let report = world.full_sync().await;
        assert!(report.outcome == Outcome::Failed && is_loop(&report), "{:?}", report.errors);
        assert!(report.counts.fetched <= 5, "it was noticed at once: {:?}", report.counts);
        assert_eq!(world.query_i64("select count(*) from passes"), 0, "the next one begins anew");
    }
    // One page that comes twice is a list that moved.
    with(|number| match number {
        0 | 1 => more(number, vec![finding("a", "r")]),
        _ => all(vec![finding("b", "r")]),
    });
    assert_eq!(world.full_sync().await.outcome, Outcome::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_the_list_of_records_makes_none_missing() {
    let world = World::new();
    world.tool.answers(|_, _| all((0..3).map(record).collect()));
    world.discover().await;
    world.tool.answers(|_, number| more(number, vec![record(0)]));
    let report = world.discover().await;
    assert!(report.outcome == Outcome::Failed && is_loop(&report), "{:?}", report.errors);
    assert_eq!(world.query_i64("select count(*) from records where state = 'good'"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_bring_nothing_are_no_repetition() {
    let world = World::new();
    *world.tool.lists.lock().unwrap() = vec![Scope::account("findings")];
    // The wait is asked again under the same cursor: the answer then is another one.
    let waited = std::sync::atomic::AtomicBool::new(false);
    world.tool.answers(move |scope, number| match number {
        _ if scope.list == "records" => all(vec![record("r")]),
        0 => more(0, vec![finding("a", "r")]),
        1..50 => more(number, Vec::new()),
        _ if !waited.swap(true, std::sync::atomic::Ordering::SeqCst) => {
            Ok(RawPage::empty(Next::Wait(number.to_string().into(), std::time::Duration::ZERO)))
        }
        _ => all(vec![finding("b", "r")]),
    });
    let report = world.full_sync().await;
    assert_eq!((report.outcome, report.counts.created), (Outcome::Success, 2), "{:?}", report.errors);
}
