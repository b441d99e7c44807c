//! Different items under one key in one pass: one is kept, whatever the order, and nothing flaps.

use tributary::store::RecordAction;
use tributary_connectors::model::{Severity, State};

use super::tool::{One, TestApp, many, one};

/// What the row of a key shows.
fn shown(bench: &TestApp, key: &str) -> String {
    bench.query_string(&format!(
        "select title || ' ' || severity || ' ' || source_state || ' ' || record_key from findings where key = '{key}'"
    ))
}

/// Everything in the table, and the history.
fn everything(bench: &TestApp) -> (String, i64) {
    let rows = "select group_concat(key || title || severity || source_state || updated_at || scope_id, ';') from finding_rows";
    (bench.query_string(rows), bench.query_i64("select count(*) from finding_events"))
}

/// Pairs of which the first is kept, by hand: open before closed, then the more severe one.
fn pairs() -> Vec<(One, One)> {
    vec![
        (one("k").title("kept"), one("k").title("other").state(State::Fixed).severity(Severity::Critical)),
        (one("k").title("kept").severity(Severity::Medium), one("k").title("other").severity(Severity::Low)),
        (one("k").title("kept").severity(Severity::Low), one("k").title("other").severity(Severity::Unknown)),
        (one("k").title("kept").record("s"), one("k").title("other").severity(Severity::Medium)),
        (one("k").title("kept"), one("k").title("other").severity(Severity::Medium).record("s")),
    ]
}

#[tokio::test]
async fn one_is_kept_whatever_the_order_and_nothing_flaps() {
    let filler = |from: usize| (from..from + 3).map(|number| one(&format!("filler{number}"))).collect::<Vec<_>>();
    for stream in [false, true] {
        for (kept, other) in pairs() {
            for gap in [0, 3] {
                for first in [&kept, &other] {
                    let second = if first.severity == kept.severity && first.title == kept.title { &other } else { &kept };
                    let mut items = vec![first.clone()];
                    items.extend(filler(0).into_iter().take(gap));
                    items.push(second.clone());
                    items.extend(filler(10));
                    let when = format!("{first:?}, {gap} between, {second:?}, stream {stream}");
                    let bench = TestApp::new(&["r", "s"]);
                    bench.tool().stream = stream;
                    let report = bench.list(items).await;
                    let all = 3 + gap as u64 + 2;
                    assert_eq!((report.counts.fetched, report.counts.duplicates), (all, 1), "{when}");
                    assert!(shown(&bench, "k").starts_with("kept "), "{when}: {}", shown(&bench, "k"));
                    let warned = |report: &tributary::sync::Report| report.warnings.iter().filter(|text| text.contains("\"k\"")).count();
                    assert_eq!(warned(&report), 1, "{when}: {:?}", report.warnings);
                    let list = if stream { "findings" } else { "r" };
                    assert!(stream || kept.record != other.record || report.warnings[0].starts_with(list), "{:?}", report.warnings);
                    let before = everything(&bench);
                    for _ in 0..3 {
                        let report = bench.sync().await;
                        let counts = report.counts;
                        assert_eq!((counts.updated, counts.reopened, counts.created, counts.closed), (0, 0, 0, 0), "{when}");
                        assert_eq!((counts.unchanged, counts.duplicates, warned(&report)), (all, 1, 1), "{when}");
                        assert_eq!(everything(&bench), before, "{when}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn of_equals_the_digest_decides() {
    let mut kept = Vec::new();
    let items = [one("k").title("a"), one("k").title("b"), one("k").title("c")];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let bench = TestApp::new(&["r"]);
        let list: Vec<One> = order.iter().map(|number| items[*number].clone()).collect();
        let counts = bench.list(list).await.counts;
        assert_eq!((counts.fetched, counts.created, counts.duplicates), (3, 1, 2));
        kept.push(shown(&bench, "k"));
        let counts = bench.sync().await.counts;
        assert_eq!((counts.unchanged, counts.updated, counts.duplicates), (3, 0, 2));
    }
    kept.dedup();
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[tokio::test]
async fn a_copy_is_unchanged() {
    let bench = TestApp::new(&["r"]);
    for counts in [bench.list(vec![one("k"), one("k"), one("l"), one("m"), one("k")]).await.counts, bench.sync().await.counts] {
        assert_eq!((counts.fetched, counts.duplicates, counts.updated), (5, 0, 0));
    }
}

#[tokio::test]
async fn another_that_joins_later_takes_over_only_when_it_goes_before() {
    let kept = one("k").severity(Severity::High).title("kept");
    for (joins, shows) in [(Severity::Low, "kept high open r"), (Severity::Critical, "joins critical open r")] {
        for before in [true, false] {
            let bench = TestApp::new(&["r"]);
            let others: Vec<One> = many(6);
            bench.list([vec![kept.clone()], others.clone()].concat()).await;
            let joins = one("k").severity(joins).title("joins");
            let lists = if before { [vec![joins], vec![kept.clone()], others] } else { [vec![kept.clone()], others, vec![joins]] };
            bench.list(lists.concat()).await;
            assert_eq!(shown(&bench, "k"), shows, "{before}");
            let counts = bench.sync().await.counts;
            assert_eq!((counts.updated, counts.duplicates), (0, 1), "{before}");
        }
    }
}

/// The variant that is left is shown: at the latest by the second pass after the kept one went.
#[tokio::test]
async fn the_one_that_stays_is_shown() {
    for stream in [false, true] {
        for record in ["r", "s"] {
            let (kept, other) = (one("k").title("kept"), one("k").title("other").severity(Severity::Low).record(record));
            let bench = TestApp::new(&["r", "s"]);
            bench.tool().stream = stream;
            bench.list([vec![kept], many(4), vec![other.clone()]].concat()).await;
            for _ in 0..2 {
                bench.list([many(4), vec![other.clone()]].concat()).await;
                assert_eq!(bench.query_string("select source_state from findings where key = 'k'"), "open", "never closed in between");
            }
            assert_eq!(shown(&bench, "k"), format!("other low open {record}"));
            assert_eq!(bench.query_i64("select count(*) from variants"), 0);
            let counts = bench.delta(vec![other.title("changed")]).await.counts;
            assert_eq!((counts.updated, counts.duplicates), (1, 0), "a change of what is alone is stored at once");
            bench.list(many(4)).await;
            assert_eq!(bench.query_string("select source_state from findings where key = 'k'"), "gone");
        }
    }
}

#[tokio::test]
async fn a_record_that_is_not_synced_any_more_hides_nothing() {
    let bench = TestApp::new(&["r", "s"]);
    let both = [vec![one("k").title("kept")], many(3), vec![one("k").title("other").severity(Severity::Low).record("s")]].concat();
    bench.list(both).await;
    assert_eq!(shown(&bench, "k"), "kept high open r");
    bench.act("r", RecordAction::Ignore).await;
    bench.sync().await;
    assert_eq!(shown(&bench, "k"), "other low open s");
}

#[tokio::test]
async fn a_change_of_the_kept_one_is_shown() {
    let bench = TestApp::new(&["r"]);
    let list = |title, severity| {
        [vec![one("k").title(title).severity(severity)], many(4), vec![one("k").title("other").severity(Severity::Low)]].concat()
    };
    bench.list(list("kept", Severity::High)).await;
    for (title, severity, shows) in [("graver", Severity::Critical, "graver critical"), ("milder", Severity::Medium, "milder medium")] {
        for _ in 0..3 {
            bench.list(list(title, severity)).await;
        }
        assert!(shown(&bench, "k").starts_with(shows), "{}", shown(&bench, "k"));
        let counts = bench.sync().await.counts;
        assert_eq!((counts.updated, counts.duplicates), (0, 1));
    }
}

/// A closed one that is never stored alone, before the open one: it does not close that in the next sync.
#[tokio::test]
async fn one_that_is_not_stored_when_it_comes_first_is_known_the_next_time() {
    let mut bench = TestApp::new(&["r"]);
    bench.least = Severity::Medium;
    for other in [one("k").title("other").state(State::Fixed), one("k").title("other").severity(Severity::Low)] {
        bench.list(vec![other, one("l"), one("m"), one("k").title("kept")]).await;
        for _ in 0..3 {
            assert_eq!(shown(&bench, "k"), "kept high open r");
            assert_eq!(bench.query_i64("select count(*) from finding_events"), 0);
            assert_eq!(bench.sync().await.counts.updated, 0);
        }
    }
}

#[tokio::test]
async fn a_pass_that_is_resumed_knows_what_came_before() {
    for (first, second) in [("kept", "other"), ("other", "kept")] {
        let bench = TestApp::new(&["r"]);
        let of = |title: &'static str| one("k").title(title).severity(if title == "kept" { Severity::High } else { Severity::Low });
        bench.list([vec![of("kept")], many(6)].concat()).await;
        bench.tool().fails = Some(2);
        let list = [vec![of(first)], many(6), vec![of(second)]].concat();
        bench.list(list).await;
        bench.tool().fails = None;
        let counts = bench.sync().await.counts;
        assert_eq!((shown(&bench, "k"), counts.duplicates), ("kept high open r".to_owned(), 1));
        let counts = bench.sync().await.counts;
        assert_eq!((counts.updated, counts.duplicates), (0, 1));
    }
}

/// A list that is sorted by change delivers once more, further down, what changes while it is read.
#[tokio::test]
async fn what_becomes_another_while_it_is_read_is_no_duplicate() {
    let bench = TestApp::new(&["r"]);
    bench.list([vec![one("k").last_seen(100)], many(4)].concat()).await;
    let report = bench.list([vec![one("k").last_seen(100)], many(4), vec![one("k").last_seen(200).state(State::Fixed)]].concat()).await;
    assert_eq!((report.counts.updated, report.counts.duplicates, report.warnings.len()), (1, 0, 0), "{:?}", report.warnings);
    assert_eq!(shown(&bench, "k"), "t high fixed r");
    let counts = bench.list([many(4), vec![one("k").last_seen(200).state(State::Fixed)]].concat()).await.counts;
    assert_eq!((counts.updated, counts.duplicates), (0, 0));
    assert_eq!(bench.query_i64("select count(*) from variants"), 0);
}

/// Two that come again and again are two, whatever their dates.
#[tokio::test]
async fn dates_make_nothing_flap() {
    for turned in [false, true] {
        let bench = TestApp::new(&["r"]);
        let mut pair = [one("k").title("kept").last_seen(100), one("k").title("other").last_seen(200).state(State::Fixed)];
        if turned {
            pair.reverse();
        }
        let list = [vec![pair[0].clone()], many(4), vec![pair[1].clone()]].concat();
        bench.list(list).await;
        bench.sync().await;
        let before = everything(&bench);
        for _ in 0..3 {
            let counts = bench.sync().await.counts;
            assert_eq!((counts.updated, counts.reopened, counts.duplicates), (0, 0, 1));
            assert_eq!(everything(&bench), before);
        }
        assert_eq!(shown(&bench, "k"), "kept high open r");
    }
}

#[tokio::test]
async fn a_hundred_under_one_key_are_one_row_and_few_notes() {
    let titles: Vec<&'static str> = (0..100).map(|number| &*Box::leak(format!("t{number}").into_boxed_str())).collect();
    let bench = TestApp::new(&["r"]);
    // Each page brings something new: else it would be a list without an end.
    let list: Vec<One> = titles.iter().flat_map(|title| [one("k").title(title), one(title)]).collect();
    bench.list(list.clone()).await;
    let kept = shown(&bench, "k");
    assert!(bench.query_i64("select count(*) from variants") <= 16);
    for _ in 0..2 {
        let counts = bench.list(list.iter().rev().cloned().collect()).await.counts;
        assert_eq!((counts.fetched, counts.updated), (200, 0));
        assert_eq!(shown(&bench, "k"), kept);
    }
}

/// What has become another while a delta was read is one item: what it becomes next is shown at once.
#[tokio::test]
async fn what_changes_after_it_became_another_is_shown() {
    let bench = TestApp::new(&["r"]);
    bench.list([vec![one("k").last_seen(100)], many(4)].concat()).await;
    let became = [vec![one("k").title("b").last_seen(200)], many(4), vec![one("k").title("c").last_seen(300)]].concat();
    assert_eq!(bench.delta(became).await.counts.duplicates, 0);
    assert_eq!(shown(&bench, "k"), "c high open r");
    bench.delta(vec![one("k").title("d").severity(Severity::Low).last_seen(400)]).await;
    assert_eq!(shown(&bench, "k"), "d low open r");
    bench.delta(vec![one("k").title("d").severity(Severity::Low).state(State::Fixed).last_seen(500)]).await;
    assert_eq!(shown(&bench, "k"), "d low fixed r");
}

/// Where the vendor gives no date, or where there are two, a delta cannot tell which of them has changed: the next pass is a full one.
#[tokio::test]
async fn what_a_delta_cannot_tell_is_read_in_full() {
    let now = || [many(4), vec![one("k").title("now").severity(Severity::Low)]].concat();
    // Without dates, twice in one delta.
    let bench = TestApp::new(&["r"]);
    bench.list([vec![one("k")], many(4)].concat()).await;
    bench.delta([vec![one("k").title("b")], many(4), vec![one("k").title("now").severity(Severity::Low)]].concat()).await;
    // By the second full pass, as always when the one that is shown went.
    bench.tool().items = now();
    for _ in 0..2 {
        bench.delta(vec![]).await;
    }
    assert_eq!(shown(&bench, "k"), "now low open r");
    // Two that were met in a full pass; one of them went, and the other changed.
    let bench = TestApp::new(&["r"]);
    bench.list([vec![one("k")], many(4), vec![one("k").title("b").severity(Severity::Medium)]].concat()).await;
    bench.delta(vec![one("k").title("now").severity(Severity::Low)]).await;
    assert_eq!(shown(&bench, "k"), "t high open r", "as long as nobody knows");
    // By the second full pass, as always when the one that is shown went.
    bench.tool().items = now();
    for _ in 0..2 {
        bench.delta(vec![]).await;
    }
    assert_eq!(shown(&bench, "k"), "now low open r");
    // A full pass once, and no more.
    let counts = bench.delta(vec![one("k").title("now").severity(Severity::Low)]).await.counts;
    assert_eq!(counts.fetched, 1, "a delta again");
}

/// A list that the tool has no more hides nothing of what another one brings.
#[tokio::test]
async fn a_list_that_is_not_there_any_more_hides_nothing() {
    let bench = TestApp::new(&["r", "s"]);
    bench.list([vec![one("k").title("kept")], many(3), vec![one("k").title("other").severity(Severity::Low).record("s")]].concat()).await;
    assert_eq!(shown(&bench, "k"), "kept high open r");
    bench.tool().without_lists = vec!["r"];
    bench.sync().await;
    assert_eq!(shown(&bench, "k"), "other low open s");
    assert_eq!(bench.query_i64("select count(*) from variants"), 0);
}

/// What was left aside before a break is known after it.
#[tokio::test]
async fn one_that_was_left_aside_before_a_break_is_a_duplicate_after_it() {
    let bench = TestApp::new(&["r"]);
    bench.tool().fails = Some(2);
    bench.list([vec![one("k").title("closed").state(State::Fixed)], many(4), vec![one("k").title("kept")]].concat()).await;
    bench.tool().fails = None;
    let counts = bench.sync().await.counts;
    assert_eq!((shown(&bench, "k"), counts.duplicates), ("kept high open r".to_owned(), 1));
    for _ in 0..2 {
        assert_eq!((bench.sync().await.counts.updated, shown(&bench, "k")), (0, "kept high open r".to_owned()));
    }
}
