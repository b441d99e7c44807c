//! A finding that comes back under another key keeps what people decided, and nothing else does.

use tributary::store::{Decision, RecordAction};

use super::tool::{One, TestApp, many, one};

/// Ten findings that stay, so that what vanishes is a small part of the list.
fn others() -> Vec<One> {
    (0..10).map(|number| one(&format!("other{number}"))).collect()
}

fn with(more: &[One]) -> Vec<One> {
    others().into_iter().chain(more.iter().cloned()).collect()
}

async fn bench_with(items: &[One]) -> TestApp {
    let bench = TestApp::new(&["r", "s"]);
    bench.list(with(items)).await;
    bench.write("update finding_rows set first_seen = 1000000 where key like 'old%'");
    bench
}

const KEPT: &str = "open false_positive until a lab host";

#[tokio::test]
async fn a_decision_goes_with_the_lineage() {
    let bench = bench_with(&[one("old").lineage("l")]).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    let changed = bench.query_i64("select updated_at from findings where key = 'old'");
    bench.list(with(&[one("new").lineage("l")])).await;
    assert_eq!((bench.told("old"), bench.told("new")), ("gone false_positive until a lab host".into(), KEPT.into()));
    assert_eq!(bench.query_i64("select first_seen from findings where key = 'new'"), 1_000_000);
    assert!(bench.query_i64("select updated_at from findings where key = 'new'") > changed);
    let events = bench.query_string(&format!(
        "select group_concat(event || ' ' || field || ' ' || coalesce(old_value, '-') || ' ' || new_value, '; ')
         from finding_events where finding_id = '{}' and operation is not null",
        bench.id("new")
    ));
    let (old, new) = (bench.id("old"), bench.id("new"));
    assert_eq!(events, format!("carried id {old} {new}; triaged triage - false_positive until 2126-01-01T00:00:00Z: a lab host"));
    let counts = bench.sync().await.counts;
    assert_eq!((counts.updated, counts.created, counts.closed), (0, 0, 0), "and nothing moves any more");
    assert_eq!(bench.carried("new"), "old", "once");
}

/// The same weakness class in the same file (one fingerprint) is another finding.
#[tokio::test]
async fn a_decision_does_not_go_to_another_weakness() {
    for (old, new) in [(None, None), (Some("l"), Some("m")), (Some("l"), None), (None, Some("l"))] {
        let stated = |key: &str, lineage: Option<&'static str>| One { lineage, ..one(key) };
        let bench = bench_with(&[stated("old", old)]).await;
        bench.decide("old", Some(Decision::FalsePositive)).await;
        bench.list(with(&[stated("new", new).title("R2")])).await;
        assert_eq!(bench.query_i64("select count(distinct fingerprint) from findings"), 1);
        assert_eq!((bench.told("new"), bench.carried("new")), ("open".into(), String::new()), "{old:?} {new:?}");
        assert!(bench.query_i64("select first_seen from findings where key = 'new'") > 1_000_000);
    }
}

#[tokio::test]
async fn it_goes_from_one_to_one_within_one_record_only() {
    let l = |key: &str| one(key).lineage("l");
    for (old, new) in [
        (vec![l("old")], vec![l("new"), l("new2")]),
        (vec![l("old"), l("old2")], vec![l("new")]),
        (vec![l("old")], vec![l("new").record("s")]),
        // What stood beside it is no successor.
        (vec![l("old"), l("new")], vec![l("new")]),
    ] {
        let bench = bench_with(&old).await;
        bench.decide("old", Some(Decision::FalsePositive)).await;
        bench.list(with(&new)).await;
        bench.sync().await;
        assert_eq!((bench.told("new"), bench.carried("new")), ("open".into(), String::new()), "{old:?} {new:?}");
    }
}

#[tokio::test]
async fn the_old_one_may_be_gone_for_thirty_days() {
    for (days, carried) in [(0, "old"), (29, "old"), (31, "")] {
        let bench = bench_with(&[one("old").lineage("l")]).await;
        bench.decide("old", Some(Decision::FalsePositive)).await;
        bench.list(others()).await;
        bench.write(&format!("update finding_events set at = at - {days} * 86400000000 where new_value = 'gone'"));
        bench.list(with(&[one("new").lineage("l")])).await;
        assert_eq!((&*bench.carried("new"), bench.told("new") == KEPT), (carried, carried == "old"), "{days} days");
    }
}

#[tokio::test]
async fn two_that_arrive_in_one_pass_take_nothing_from_one_that_is_gone() {
    let bench = bench_with(&[one("old").lineage("l")]).await;
    bench.list(others()).await;
    // On different pages, and the pass is interrupted between them.
    let mut items = with(&[one("new2").lineage("l")]);
    items.insert(0, one("new").lineage("l"));
    bench.tool().fails = Some(3);
    bench.list(items).await;
    assert_eq!((bench.told("new"), bench.carried("new")), ("open".into(), String::new()), "it is not known yet who else comes");
    bench.tool().fails = None;
    bench.sync().await;
    assert_eq!((bench.carried("new"), bench.carried("new2")), (String::new(), String::new()));
}

#[tokio::test]
async fn what_an_interrupted_pass_brought_takes_it_over_when_the_pass_has_ended() {
    let bench = bench_with(&[one("old").lineage("l")]).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    bench.list(others()).await;
    let mut items = others();
    items.insert(0, one("new").lineage("l"));
    bench.tool().fails = Some(3);
    bench.list(items).await;
    bench.tool().fails = None;
    bench.sync().await;
    assert_eq!((bench.told("new"), bench.carried("new")), (KEPT.into(), "old".into()));
}

#[tokio::test]
async fn what_a_delta_brought_takes_it_over_when_a_full_pass_closes_the_old_one() {
    let bench = bench_with(&[one("old").lineage("l")]).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    bench.delta(vec![one("new").lineage("l")]).await;
    assert_eq!(bench.told("new"), "open");
    bench.list(with(&[one("new").lineage("l")])).await;
    assert_eq!((bench.told("new"), bench.carried("new")), (KEPT.into(), "old".into()));
}

#[tokio::test]
async fn a_list_that_can_shift_hands_over_when_the_second_pass_closes() {
    let bench = TestApp::new(&["r"]);
    bench.tool().shifting = true;
    bench.list(with(&[one("old").lineage("l")])).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    bench.list(with(&[one("new").lineage("l")])).await;
    assert_eq!((bench.told("old"), bench.told("new")), ("open false_positive until a lab host".into(), "open".into()));
    bench.sync().await;
    assert_eq!((bench.told("new"), bench.carried("new")), (KEPT.into(), "old".into()));
}

#[tokio::test]
async fn a_decision_of_the_new_finding_stands() {
    for taken_back in [false, true] {
        let bench = bench_with(&[one("old").lineage("l")]).await;
        bench.decide("old", Some(Decision::FalsePositive)).await;
        bench.delta(vec![one("new").lineage("l")]).await;
        bench.decide("new", Some(Decision::WontFix)).await;
        if taken_back {
            bench.decide("new", None).await;
        }
        bench.list(with(&[one("new").lineage("l")])).await;
        let kept = if taken_back { "open" } else { "open wont_fix until a lab host" };
        assert_eq!((&*bench.told("new"), &*bench.carried("new")), (kept, "old"), "who decided there was asked already");
        assert_eq!(bench.query_i64("select first_seen from findings where key = 'new'"), 1_000_000);
    }
}

/// A decision about the new finding is not overwritten by nothing either.
#[tokio::test]
async fn a_decision_outlives_an_old_finding_without_one() {
    let bench = bench_with(&[one("old").lineage("l")]).await;
    bench.delta(vec![one("new").lineage("l")]).await;
    bench.decide("new", Some(Decision::FalsePositive)).await;
    bench.list(with(&[one("new").lineage("l")])).await;
    assert_eq!((bench.told("new"), bench.carried("new")), (KEPT.into(), "old".into()));
}

#[tokio::test]
async fn an_approval_hands_over_and_erases_nothing() {
    let l = |number: usize, key: &str| One { lineage: Some(["a", "b", "c"][number]), ..one(&format!("{key}{number}")) };
    let bench = TestApp::new(&["r"]);
    let old: Vec<One> = (0..3).map(|number| l(number, "old")).collect();
    bench.list(many(60).into_iter().chain(old).collect()).await;
    for key in ["old0", "old1"] {
        bench.decide(key, Some(Decision::FalsePositive)).await;
    }
    let new: Vec<One> = (0..3).map(|number| l(number, "new")).collect();
    let report = bench.list(many(30).into_iter().chain(new).collect()).await;
    assert_eq!(report.closing.held, 33);
    bench.decide("new1", Some(Decision::WontFix)).await;
    bench.decide("new2", Some(Decision::WontFix)).await;
    // Another pass that holds them again changes nothing of that.
    let report = bench.sync().await;
    bench.engine.store.approve(report.operation).await.unwrap().unwrap();
    assert_eq!(bench.told("new0"), KEPT);
    assert_eq!((bench.told("new1"), bench.told("new2")), (KEPT.replace("false_positive", "wont_fix"), bench.told("new1")));
    assert_eq!((bench.carried("new0"), bench.carried("new1"), bench.carried("new2")), ("old0".into(), "old1".into(), "old2".into()));
}

#[tokio::test]
async fn each_gives_once_and_takes_once() {
    let l = |key: &str| one(key).lineage("l");
    let bench = bench_with(&[l("old"), l("old2")]).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    bench.decide("old2", Some(Decision::WontFix)).await;
    // One goes and is replaced; then the other goes, and `new` has taken already; then one more comes.
    bench.list(with(&[l("old2"), l("new")])).await;
    assert_eq!((bench.told("new"), bench.carried("new")), (KEPT.into(), "old".into()));
    bench.list(with(&[l("new")])).await;
    assert_eq!((bench.told("new"), bench.carried("new")), (KEPT.into(), "old".into()));
    bench.list(with(&[l("new"), l("new2")])).await;
    assert_eq!((&*bench.told("new2"), &*bench.carried("new2")), ("open wont_fix until a lab host", "old2"));
    // What took can give.
    bench.list(with(&[l("new2"), l("new3")])).await;
    assert_eq!((bench.told("new3"), bench.carried("new3")), (KEPT.into(), "new".into()));
}

#[tokio::test]
async fn a_finding_that_is_reopened_keeps_what_it_had() {
    let l = |key: &str| one(key).lineage("l");
    let bench = bench_with(&[l("old")]).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    bench.list(with(&[l("new")])).await;
    bench.decide("new", Some(Decision::WontFix)).await;
    // Back under the old key: both keep their own.
    bench.list(with(&[l("old")])).await;
    assert_eq!((&*bench.told("old"), &*bench.told("new")), (KEPT, "gone wont_fix until a lab host"));
    assert_eq!(bench.carried("old"), "");
    // It has its lineage again: what replaces it now takes over from the one that went now, as the other is gone too.
    bench.list(with(&[l("old"), l("new3")])).await;
    assert_eq!((&*bench.told("new3"), &*bench.carried("new3")), ("open wont_fix until a lab host", "new"));
}

#[tokio::test]
async fn a_lineage_that_is_stated_later_counts() {
    let bench = bench_with(&[one("old")]).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    let counts = bench.list(with(&[one("old").lineage("l")])).await.counts;
    assert_eq!(counts.updated, 0, "nothing of the finding changed");
    bench.list(with(&[one("new").lineage("l")])).await;
    assert_eq!(bench.carried("new"), "old");
}

#[tokio::test]
async fn what_was_closed_with_its_record_hands_over() {
    let bench = bench_with(&[one("old").lineage("l")]).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    bench.act("r", RecordAction::Delete { close: true }).await;
    bench.list(with(&[one("new").lineage("l")])).await;
    assert_eq!(bench.query_i64("select count(*) from findings where key = 'new'"), 0, "it is not read until it is discovered again");
    bench.write("update connections set discovered_at = null");
    bench.sync().await;
    assert_eq!((bench.told("new"), bench.carried("new")), (KEPT.into(), "old".into()));
}

/// No one but a person, and the end that a person set, changes a decision.
#[tokio::test]
async fn the_lineage_is_no_public_column() {
    let bench = bench_with(&[]).await;
    let columns = bench.query_string("select group_concat(name) from pragma_table_info('findings')");
    assert!(columns.contains("fingerprint") && !columns.contains("lineage"));
}

/// A BOM is uploaded while the list is read: the pass that still lists the old key on an early page brings the new one on a late one.
#[tokio::test]
async fn the_new_one_may_come_in_the_last_pass_that_lists_the_old_one() {
    let bench = bench_with(&[one("old").lineage("l")]).await;
    bench.decide("old", Some(Decision::FalsePositive)).await;
    bench.list(with(&[one("old").lineage("l"), one("new").lineage("l")])).await;
    bench.list(with(&[one("new").lineage("l")])).await;
    assert_eq!((bench.told("new"), bench.carried("new")), (KEPT.into(), "old".into()));
}
