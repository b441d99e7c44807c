//! What the absence of findings from a list proves.

use std::time::Duration;

use tributary::store::{Outcome, RecordAction};

use super::tool::{One, TestApp, many, one};

#[tokio::test]
async fn what_an_incomplete_pass_delivered_is_not_held_any_more() {
    let bench = TestApp::new(&["r"]);
    bench.list(many(100)).await;
    let report = bench.list(many(40)).await;
    assert_eq!((report.outcome, report.closing.held), (Outcome::Held, 60));
    bench.tool().unkeyed = true;
    let partial = bench.list(many(100)).await;
    assert_eq!((partial.outcome, partial.closing.held), (Outcome::Partial, 0));
    assert_eq!(bench.engine.store.approve(report.operation).await.unwrap(), None);
    assert_eq!(bench.open(), 100);
}

#[tokio::test]
async fn what_was_delivered_in_an_incomplete_or_failed_pass_was_not_absent_twice() {
    for fails in [None, Some(4)] {
        let bench = TestApp::new(&["r"]);
        bench.tool().shifting = true;
        bench.list(many(10)).await;
        let without: Vec<One> = many(10).into_iter().filter(|one| one.key != "k3").collect();
        assert_eq!(bench.list(without.clone()).await.closing.absent_once, 1);
        (bench.tool().incomplete, bench.tool().fails) = (fails.is_none(), fails);
        bench.list(many(10)).await;
        (bench.tool().incomplete, bench.tool().fails) = (false, None);
        // The failed pass goes on where it stopped: only a new one lists anew.
        bench.engine.store.reset("t".into()).await.unwrap();
        let report = bench.list(without.clone()).await;
        assert_eq!((report.counts.closed, report.closing.absent_once, bench.open()), (0, 1, 10), "{fails:?}");
        assert_eq!((bench.list(without).await.counts.closed, bench.open()), (1, 9));
    }
}

#[tokio::test]
async fn a_pass_that_delivers_some_of_what_is_held_leaves_the_rest_held() {
    let bench = TestApp::new(&["r"]);
    bench.list(many(100)).await;
    let report = bench.list(many(40)).await;
    // 60 of 100 come, then it breaks.
    bench.tool().fails = Some(30);
    bench.list(many(100)).await;
    let approved = bench.engine.store.approve(report.operation).await.unwrap().unwrap();
    assert_eq!((approved.closed, bench.open()), (40, 60));
}

#[tokio::test]
async fn everything_at_once_has_to_be_absent_twice() {
    for (count, closed_at_once) in [(2, true), (3, false), (19, false)] {
        let bench = TestApp::new(&["r", "s"]);
        let beside: Vec<One> = (0..30).map(|number| one(&format!("s{number}")).record("s")).collect();
        bench.list(many(count).into_iter().chain(beside.clone()).collect()).await;
        let first = bench.list(beside.clone()).await;
        assert_eq!(first.counts.closed == count as u64, closed_at_once, "{count}");
        assert_eq!(first.closing.absent_once == count as u64, !closed_at_once, "{count}");
        assert_eq!(first.warnings.iter().any(|text| text.contains("nothing else of their lists")), !closed_at_once, "{count}");
        let second = bench.list(beside).await;
        assert_eq!((first.counts.closed + second.counts.closed, bench.open()), (count as u64, 30), "{count}");
    }
}

#[tokio::test]
async fn everything_that_is_delivered_in_between_begins_anew() {
    let bench = TestApp::new(&["r"]);
    bench.list(many(5)).await;
    assert_eq!(bench.list(vec![]).await.closing.absent_once, 5);
    assert_eq!(bench.delta(many(5)).await.counts.unchanged, 5);
    assert_eq!(bench.list(vec![]).await.closing.absent_once, 5);
    assert_eq!(bench.open(), 5);
    // One of them comes back, under another key: what is left is not everything.
    assert_eq!(bench.list(vec![one("k9")]).await.counts.closed, 5);
}

#[tokio::test]
async fn everything_at_once_is_held_when_it_is_much() {
    let bench = TestApp::new(&["r"]);
    bench.list(many(40)).await;
    for _ in 0..3 {
        let report = bench.list(vec![]).await;
        assert_eq!((report.outcome, report.closing.held, report.closing.absent_once), (Outcome::Held, 40, 0));
    }
    bench.list(many(40)).await;
    assert_eq!(bench.query_i64("select (select count(*) from held_closes) + (select count(*) from absences)"), 0);
}

#[tokio::test]
async fn what_an_import_explains_is_closed_unasked() {
    let bench = TestApp::new(&["r", "s"]);
    let named = |record: &'static str, from: usize, to: usize| {
        (from..to).map(move |number| one(&format!("{record}{number}")).record(record)).collect::<Vec<_>>()
    };
    let both = |r: Vec<One>, s: Vec<One>| r.into_iter().chain(s).collect::<Vec<_>>();
    bench.list(both(named("r", 0, 60), named("s", 0, 60))).await;
    // A release replaces all of `r`; half of `s` vanishes without a reason.
    bench.tool().explained = Some("r");
    let report = bench.list(both(named("r", 60, 120), named("s", 0, 30))).await;
    assert_eq!((report.outcome, report.counts.closed, report.closing.held), (Outcome::Held, 60, 30));
    assert_eq!(bench.query_i64("select count(*) from findings where record_key = 's' and state = 'open'"), 60);
    assert_eq!(bench.query_i64("select count(*) from findings where record_key = 'r' and state = 'gone'"), 60);
}

/// What an explained pass of a list that can shift missed first is closed by the next one; a list that is empty explains nothing.
#[tokio::test]
async fn an_explanation_lasts_until_the_second_pass_and_explains_no_empty_list() {
    let bench = TestApp::new(&["r"]);
    bench.tool().shifting = true;
    bench.list(many(60)).await;
    bench.tool().explained = Some("r");
    assert_eq!(bench.list(many(10)).await.closing.absent_once, 50);
    bench.tool().explained = None;
    let report = bench.sync().await;
    assert_eq!((report.closing.held, report.counts.closed), (0, 50));

    let bench = TestApp::new(&["r"]);
    bench.list(many(60)).await;
    bench.tool().explained = Some("r");
    assert_eq!(bench.list(vec![]).await.closing.held, 60);
}

/// What is explained does not push the rest over the brake of the whole operation, nor hide it below.
#[tokio::test]
async fn the_brake_of_an_operation_looks_at_what_is_not_explained() {
    for (r, explained, held) in [(59, true, 0), (60, false, 25), (10, true, 24)] {
        let bench = TestApp::new(&["r", "s1", "s2", "s3"]);
        let list = |record: &'static str, count: usize| (0..count).map(move |number| one(&format!("{record}{number}")).record(record));
        let all = |r: usize, s: usize| list("r", r).chain(list("s1", s)).chain(list("s2", s)).chain(list("s3", s)).collect::<Vec<_>>();
        bench.list(all(60, 20)).await;
        bench.tool().explained = explained.then_some("r");
        // Eight of twenty go from each of three lists: too few for the brake of any, together more than 30 % of 60.
        let left = if held == 24 { 12 } else { 20 };
        let kept = if held == 25 {
            35
        } else if explained {
            60 - r
        } else {
            60
        };
        let report = bench.list(all(kept, left)).await;
        assert_eq!(report.closing.held, held, "{r} {explained}");
    }
}

/// A record that a person deleted while it was held, and that the tool still has, is met like a new one: the approval is not about it.
#[tokio::test]
async fn a_held_record_that_was_deleted_and_met_again_is_held_no_more() {
    const RECORDS: [&str; 8] = ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"];
    let bench = TestApp::new(&RECORDS);
    bench.tool().stream = true;
    bench.list(many(4).into_iter().map(|one| one.record("r0")).collect()).await;
    bench.tool().records.truncate(3);
    bench.write("update connections set discovered_at = null");
    bench.sync().await;
    assert_eq!(bench.query_i64("select count(*) from held_records"), 5);
    let discover: String = bench.query_string("select distinct operation from held_records");
    bench.act("r7", RecordAction::Delete { close: false }).await;
    bench.list(vec![one("k").record("r7"), one("l").record("r0")]).await;
    let approved = bench.engine.store.approve(discover.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((approved.records, bench.query_string("select state from records where key = 'r7'")), (4, "good".to_owned()));
}

/// A hold is ended by an operator, or by the tool that lists most of the findings again: not by what else the list holds later,
/// nor by an import after it.
#[tokio::test]
async fn a_hold_stays_whatever_else_a_later_pass_lists() {
    let bench = TestApp::new(&["r"]);
    bench.list(many(100)).await;
    assert_eq!(bench.list(many(40)).await.closing.held, 60);
    let more = || (0..300).map(|number| one(&format!("more{number}")));
    for explained in [None, Some("r")] {
        bench.tool().explained = explained;
        let report = bench.list(many(40).into_iter().chain(more()).collect()).await;
        assert_eq!((report.outcome, report.counts.closed, report.closing.held, bench.open()), (Outcome::Held, 0, 60, 400));
    }
    // What is missed first now is too few for the brake, and is closed; what the tool lists again is released.
    let report = bench.list(many(41).into_iter().chain(more().skip(1)).collect()).await;
    assert_eq!((report.counts.closed, report.closing.held, bench.open()), (1, 59, 399));
    let approved = bench.engine.store.approve(report.operation).await.unwrap().unwrap();
    assert_eq!((approved.closed, bench.open()), (59, 340));
}

/// A role that was lost comes back: what the list held is listed again, but for what has really gone meanwhile. That is few of
/// what was there, and waits for nobody.
#[tokio::test]
async fn a_hold_ends_when_what_is_left_of_it_would_not_be_held() {
    for (listed, closed, held) in [(95, 5, 0), (81, 19, 0), (80, 20, 0), (70, 30, 0), (69, 0, 31), (40, 0, 60)] {
        let bench = TestApp::new(&["r"]);
        bench.list(many(100)).await;
        assert_eq!(bench.list(many(40)).await.closing.held, 60);
        // New findings do not count: they say nothing of those that are held.
        let more = (0..300).map(|number| one(&format!("more{number}")));
        let report = bench.list(many(listed).into_iter().chain(more).collect()).await;
        assert_eq!((report.counts.closed, report.closing.held), (closed, held), "{listed}");
    }
}

/// What is missed later, and is too much only with what is held, waits with that.
#[tokio::test]
async fn what_is_held_for_a_hold_ends_with_it() {
    let bench = TestApp::new(&["r"]);
    bench.list(many(100)).await;
    assert_eq!(bench.list(many(40)).await.closing.held, 60);
    for _ in 0..3 {
        let report = bench.list(many(30)).await;
        assert_eq!((report.counts.closed, report.closing.held), (0, 70));
    }
    let report = bench.list(many(100).into_iter().skip(5).collect()).await;
    assert_eq!((report.counts.closed, report.closing.held, bench.open()), (5, 0, 95));
}

/// The same where no list alone lost too many, but all together did.
#[tokio::test]
async fn a_hold_over_several_lists_ends_when_what_is_left_of_all_would_not_be_held() {
    const RECORDS: [&str; 3] = ["r", "s", "t"];
    // Of 3 × 20, how many each list shows at last.
    for (listed, closed, held) in [([12, 12, 12], 0, 24), ([12, 12, 15], 0, 21), ([12, 12, 17], 19, 0), ([20, 20, 12], 8, 0)] {
        let bench = TestApp::new(&RECORDS);
        let lists = |counts: [usize; 3]| {
            let of = |(record, count): (&'static str, usize)| (0..count).map(move |at| one(&format!("{record}{at}")).record(record));
            RECORDS.into_iter().zip(counts).flat_map(of).collect::<Vec<_>>()
        };
        bench.list(lists([20, 20, 20])).await;
        assert_eq!(bench.list(lists([12, 12, 12])).await.closing.held, 24);
        let report = bench.list(lists(listed)).await;
        assert_eq!((report.counts.closed, report.closing.held), (closed, held), "{listed:?}");
    }
}

/// What is held of one list, and waits for an operator, holds nothing of another one.
#[tokio::test]
async fn a_hold_of_one_list_leaves_the_others_free() {
    let bench = TestApp::new(&["r", "s"]);
    let both = |r: usize, s: usize| {
        let s = (0..s).map(|number| one(&format!("s{number}")).record("s"));
        many(r).into_iter().chain(s).collect::<Vec<_>>()
    };
    bench.list(both(100, 100)).await;
    assert_eq!(bench.list(both(40, 100)).await.closing.held, 60);
    // Together with the 60 that would be more than 30 % of 200.
    let report = bench.list(both(40, 98)).await;
    assert_eq!((report.counts.closed, report.closing.held), (2, 60));
    // As many again are too many by themselves.
    let report = bench.list(both(40, 55)).await;
    assert_eq!((report.counts.closed, report.closing.held), (0, 103));
}

/// One stream over all records: what it does not list of a record that is Missing, or would be if that were not held, stays.
#[tokio::test]
async fn the_findings_of_a_record_that_is_not_listed_stay_in_a_stream() {
    const RECORDS: [&str; 8] = ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"];
    for (left, state, held) in [(7, "missing", 0), (3, "good", 5)] {
        let bench = TestApp::new(&RECORDS);
        bench.tool().stream = true;
        let of = |record: &'static str| (0..5).map(move |number| one(&format!("{record}-{number}")).record(record));
        let rest = || many(100).into_iter().map(|one| one.record("r0"));
        bench.list(rest().chain(of("r7")).chain(of("r1")).collect()).await;
        bench.tool().records.truncate(left);
        bench.write("update connections set discovered_at = null");
        for _ in 0..3 {
            bench.list(rest().collect()).await;
        }
        assert_eq!(bench.query_string("select state from records where key = 'r7'"), state);
        assert_eq!(bench.query_i64("select count(*) from held_records"), held);
        let open = "select count(*) from findings where source_state = 'open' and record_key = ";
        assert_eq!((bench.query_i64(&format!("{open}'r7'")), bench.query_i64(&format!("{open}'r1'"))), (5, 0), "{state}");
    }
}

/// A hold outlasts the time in which the record of the finding is not synced.
#[tokio::test]
async fn a_hold_outlasts_the_absence_of_its_record() {
    let bench = TestApp::new(&["r", "s"]);
    bench.tool().stream = true;
    let all = |count: usize, more: usize| {
        let more = (0..more).map(|number| one(&format!("more{number}")).record("s"));
        many(count).into_iter().chain(more).collect::<Vec<_>>()
    };
    bench.list(all(100, 10)).await;
    assert_eq!(bench.list(all(40, 10)).await.closing.held, 60);
    bench.act("r", RecordAction::Unmap).await;
    bench.list(all(0, 10)).await;
    bench.act("r", RecordAction::Map(None)).await;
    let report = bench.list(all(40, 400)).await;
    assert_eq!((report.counts.closed, report.closing.held), (0, 60));
}

#[tokio::test]
async fn what_a_person_closed_waits_for_nobody() {
    let bench = TestApp::new(&["r"]);
    bench.list(many(100)).await;
    let report = bench.list(many(40)).await;
    bench.act("r", RecordAction::Delete { close: true }).await;
    assert_eq!(bench.query_i64("select (select count(*) from held_closes) + (select count(*) from absences)"), 0);
    assert_eq!(bench.engine.store.approve(report.operation).await.unwrap(), None);
}

/// What a list says of itself on a page counts also when the pass is broken off after it and resumed.
#[tokio::test]
async fn what_an_early_page_says_of_its_list_outlasts_a_break() {
    for explained in [None, Some("r")] {
        let bench = TestApp::new(&["r"]);
        bench.list(many(100)).await;
        (bench.tool().incomplete, bench.tool().explained) = (explained.is_none(), explained);
        (bench.tool().says_so_first, bench.tool().fails) = (true, Some(3));
        bench.list(many(40)).await;
        (bench.tool().incomplete, bench.tool().explained, bench.tool().fails) = (false, None, None);
        let report = bench.sync().await;
        let (outcome, closed) = if explained.is_some() { (Outcome::Success, 60) } else { (Outcome::Partial, 0) };
        assert_eq!((report.outcome, report.counts.closed, report.closing.held), (outcome, closed, 0), "{explained:?}");
    }
}

/// What a record holds that the tool lists no more stays, or is closed after the time that the configuration gives it.
#[tokio::test]
async fn findings_of_a_missing_record_close_when_the_configuration_says_so() {
    let day = Duration::from_secs(86_400);
    for (after, days, gone) in [(None, 400, 0), (Some(30 * day), 29, 0), (Some(30 * day), 31, 25)] {
        for stream in [false, true] {
            let mut bench = TestApp::new(&["r", "s"]);
            bench.close_missing_after = after;
            bench.tool().stream = stream;
            let of_s = (0..25).map(|number| one(&format!("s{number}")).record("s"));
            bench.list(many(3).into_iter().chain(of_s.clone()).collect()).await;
            bench.tool().records = vec!["r"];
            bench.write("update connections set discovered_at = null");
            assert_eq!(bench.list(many(3)).await.counts.closed, 0);
            bench.write(&format!("update record_rows set state_since = state_since - {days} * 86400000000 where state = 'missing'"));
            let report = bench.sync().await;
            assert_eq!((report.outcome, report.counts.closed, report.closing.closed), (Outcome::Success, gone, gone), "{after:?} {days}");
            assert_eq!(bench.open(), 28 - i64::try_from(gone).unwrap());
            // It is there again, and so are they.
            bench.tool().records = vec!["r", "s"];
            bench.write("update connections set discovered_at = null");
            bench.list(many(3).into_iter().chain(of_s).collect()).await;
            assert_eq!(bench.open(), 28);
        }
    }
}
