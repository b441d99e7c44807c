//! How an operation ends, and what is stored of it.

use tributary::store::Outcome;
use tributary_connectors::{Coverage, Error, ErrorKind, Excerpt, Item, NOT_LISTED, Next, RawPage, Scope};

use super::tool::{World, all, finding, more, record, reject, status};

fn account(world: &World) {
    *world.tool.lists.lock().unwrap() = vec![Scope::account("findings")];
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_which_nothing_could_be_read_is_no_success() {
    let world = World::new();
    account(&world);
    world.tool.answers(|scope, _| match scope.list {
        "records" => all(vec![record("r")]),
        _ => {
            let rejects = (0..100).map(|at| reject(Some(&format!("k{at}")), "{}")).collect();
            Ok(RawPage { rejects, ..RawPage::empty(Next::FULL) })
        }
    });
    let report = world.sync().await;
    assert_eq!(report.outcome, Outcome::Partial);
    assert_eq!(report.incomplete, [("findings".to_owned(), "none of its 100 items could be read".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_all_of_whose_items_belong_to_unlisted_records_is_no_success() {
    let world = World::new();
    account(&world);
    let skipped = |reason| Item::Skipped { key: "k".into(), reason };
    let with = |reason: &'static str, good: usize| {
        world.tool.answers(move |scope, _| match scope.list {
            "records" => all(vec![record("r")]),
            _ => all((0..good).map(|at| finding(at, "r")).chain([skipped(reason)]).collect()),
        });
    };
    with(NOT_LISTED, 0);
    let report = world.sync().await;
    assert_eq!(report.outcome, Outcome::Partial);
    assert_eq!(report.incomplete[0].1, "all of its 1 items belong to records that the tool does not list");
    with(NOT_LISTED, 1);
    assert_eq!(world.sync().await.outcome, Outcome::Success, "some are");
    with("sample finding", 0);
    assert_eq!(world.sync().await.outcome, Outcome::Success, "a rule of ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_does_not_want_is_a_success() {
    let world = World::new();
    account(&world);
    world.tool.answers(|scope, _| match scope.list {
        "records" => all(vec![record("r")]),
        _ => all(vec![finding("f", "r")]),
    });
    world.sync().await;
    let filter = tributary::store::RecordFilter::default();
    world.engine.store.change_records(filter, tributary::store::RecordAction::Ignore).await.unwrap();
    let report = world.sync().await;
    assert_eq!((report.outcome, report.counts.filtered), (Outcome::Success, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_detail_of_a_thousand_hostile_lists_is_short() {
    let world = World::new();
    let hostile = "\u{1}\"\\😀\u{202e}".repeat(400);
    let title = hostile.clone();
    let lists =
        (0..1000).map(|at| Scope { title: title.as_str().into(), key: format!("{at}{title}").into(), ..Scope::account("findings") });
    *world.tool.lists.lock().unwrap() = lists.collect();
    let read = |hostile: String, failing: fn(usize) -> bool| {
        world.tool.answers(move |scope, number| {
            let at: usize = scope.key.split('\u{1}').next().unwrap().parse().unwrap_or(0);
            match number {
                _ if scope.list == "records" => all(vec![record("r")]),
                _ if failing(at) => {
                    Err(Error::new(format!("reading {hostile}"), ErrorKind::Vendor { status: 500, body: Excerpt::new(&hostile) }))
                }
                0 => more(0, vec![finding(at, "r")]),
                _ if at.is_multiple_of(2) => Ok(RawPage { rejects: vec![reject(None, &hostile)], ..RawPage::empty(Next::FULL) }),
                _ => all(Vec::new()),
            }
        });
    };
    for failing in [(|at| at.is_multiple_of(3)) as fn(usize) -> bool, |_| true, |_| false, |at| at == 999] {
        read(hostile.clone(), failing);
        world.full_sync().await;
        let last = "from operations where kind = 'sync' order by started_at desc limit 1";
        assert!(world.query_i64(&format!("select length(cast(detail as blob)) {last}")) <= 8192);
        assert!(world.query_i64(&format!("select coalesce(length(cast(error as blob)), 0) {last}")) <= 1000);
        let detail: serde_json::Value = serde_json::from_str(&world.query_string(&format!("select detail {last}"))).unwrap();
        let told = detail["scopes"].as_object().unwrap().len();
        assert!((1..=100).contains(&told), "{told}");
        assert_eq!(detail["rest"]["lists"], 1000 - told);
    }
    // One list of a thousand failed: it is among those that are told.
    let detail = world.query_string("select detail from operations where kind = 'sync' order by started_at desc limit 1");
    assert!(detail.contains("findings 999"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_lists_are_all_told_and_quiet_ones_among_many_are_summed() {
    let world = World::new();
    let with = |count: usize| {
        let list = |at: usize| Scope { key: at.to_string().into(), ..Scope::account("findings") };
        *world.tool.lists.lock().unwrap() = (0..count).map(list).collect();
        world.tool.answers(|scope, _| match scope.list {
            "records" => all(vec![record("r")]),
            _ => all(vec![finding(format!("f{}", scope.key), "r")]),
        });
    };
    let detail = || -> serde_json::Value {
        serde_json::from_str(&world.query_string("select detail from operations where kind = 'sync' order by started_at desc limit 1"))
            .unwrap()
    };
    with(10);
    for _ in 0..2 {
        world.full_sync().await;
        assert_eq!((detail()["scopes"].as_object().unwrap().len(), detail()["rest"].is_null()), (10, true));
    }
    with(12);
    world.full_sync().await;
    let told = detail();
    assert_eq!(told["scopes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["findings 10", "findings 11"], "those with new findings");
    assert_eq!(told["rest"], serde_json::json!({ "lists": 10, "pages": 10, "fetched": 10 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_total_is_told_when_every_list_was_read_in_full() {
    let world = World::new();
    let list = |key: &str| Scope { key: key.into(), ..Scope::account("findings") };
    *world.tool.lists.lock().unwrap() = vec![list("a"), list("b")];
    let with = |second: fn() -> tributary_connectors::Result<RawPage>| {
        world.tool.answers(move |scope, _| match (scope.list, &*scope.key) {
            ("records", _) => all(vec![record("r")]),
            (_, "a") => Ok(RawPage { total: Some(1), ..RawPage::of(vec![finding("f", "r")], Next::FULL) }),
            _ => second(),
        });
    };
    with(|| Ok(RawPage { total: Some(2), ..RawPage::of(vec![finding("g", "r"), finding("h", "r")], Next::FULL) }));
    assert_eq!(world.full_sync().await.vendor_total, Some(3));
    with(|| Ok(RawPage { total: Some(2), ..RawPage::empty(Next::Done(Coverage::Delta, None)) }));
    assert_eq!(world.sync().await.vendor_total, None, "only changes were read");
    with(|| status(400));
    assert_eq!(world.full_sync().await.vendor_total, None, "one list failed");
    with(|| Ok(RawPage { total: Some(9), ..RawPage::of(vec![finding("g", "r")], Next::FULL) }));
    assert_eq!(world.full_sync().await.vendor_total, None, "one list was cut short");
}
