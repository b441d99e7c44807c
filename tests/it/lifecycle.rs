//! Records and findings as people decide about them, beside what the tool says.

use crate::common::{TestApp, assert_outcome};
use tributary::store::{Decision, FindingFilter, Outcome, RecordAction, RecordFilter, Triage};
use tributary_simulator::{Change, Fault, Size, dependency_track::DependencyTrack, start};

const SIZE: Size = Size { records: 5, findings: 300, seed: 5 };

async fn bench() -> TestApp {
    TestApp::new(start(DependencyTrack::new(SIZE), 0).await.unwrap())
}

impl TestApp {
    async fn act(&self, key: &str, action: RecordAction) -> String {
        let filter = RecordFilter { keys: vec![key.to_owned()], ..RecordFilter::default() };
        self.engine.store.change_records(filter, action).await.unwrap().remove(0).to
    }

    fn write(&self, sql: &str) {
        rusqlite::Connection::open(self.folder.path().join("t.db")).unwrap().execute_batch(sql).unwrap();
    }

    async fn triage(&self, ids: &[&str], decision: Option<Decision>) {
        let filter = FindingFilter { ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..FindingFilter::default() };
        let triaged = self.engine.store.triage(filter, Triage { decision, until: None, note: Some("because".into()) }).await.unwrap();
        assert_eq!(triaged.found, ids.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_follow_the_state_table() {
    let bench = bench().await;
    bench.configure("auto_map = false");
    bench.discover().await;
    assert_eq!(bench.query_i64("select count(*) from records where state = 'new'"), bench.query_i64("select count(*) from records"));
    bench.sync().await;
    assert_eq!(bench.query_i64("select count(*) from findings"), 0, "nothing of a New record is synced");
    let key = bench.tool.vendor.oracle().findings.into_values().next().unwrap().record;
    let key = key.as_str();
    let state = || bench.query_string(&format!("select state from records where key = '{key}'"));
    let product = || bench.query_string(&format!("select product from records where key = '{key}'"));
    let findings = || bench.query_i64(&format!("select count(*) from findings where record_key = '{key}' and state = 'open'"));

    assert_eq!(bench.act(key, RecordAction::Map(Some("Shop".into()))).await, "good");
    bench.sync().await;
    let all = findings();
    assert!(all > 0 && product() == "Shop");
    assert_eq!(bench.query_string(&format!("select distinct product from findings where record_key = '{key}'")), "Shop");

    assert_eq!(bench.act(key, RecordAction::Ignore).await, "ignored");
    assert_eq!((product(), findings()), (String::new(), all), "its findings stay as they are");
    assert_eq!(bench.act(key, RecordAction::Map(None)).await, "ignored", "an ignored record is restored first");
    assert_eq!(bench.act(key, RecordAction::Restore { auto_map: vec![] }).await, "new");
    assert_eq!(bench.act(key, RecordAction::Map(Some("Shop".into()))).await, "good");
    assert_eq!(bench.act(key, RecordAction::Ignore).await, "ignored");
    assert_eq!(bench.act(key, RecordAction::Restore { auto_map: vec!["t".into()] }).await, "good");
    assert_eq!(product(), "Shop", "with its former mapping");
    assert_eq!(bench.act(key, RecordAction::Unmap).await, "new");
    assert_eq!(bench.act(key, RecordAction::Map(Some("Shop".into()))).await, "good");
    assert_eq!(bench.engine.store.delete_product("Shop".into()).await.unwrap(), Some(1));
    assert_eq!(state(), "stale");
    assert_eq!(bench.act(key, RecordAction::Map(None)).await, "good");

    // Not in a complete discover: Good becomes Missing, New stays, and both come back.
    let other = bench.query_string("select key from records where state = 'new' limit 1");
    bench.tool.faults.add("", 0, usize::MAX, Fault::NoRole);
    bench.discover().await;
    bench.tool.faults.clear();
    assert_eq!(
        (state(), bench.query_string(&format!("select state from records where key = '{other}'"))),
        ("missing".into(), "new".into())
    );
    bench.discover().await;
    assert_eq!(state(), "good");

    assert_eq!(bench.act(key, RecordAction::Delete { close: false }).await, "deleted");
    assert_eq!((state(), findings()), (String::new(), all), "gone; its findings stay");
    bench.discover().await;
    assert_eq!(state(), "new", "the tool still has it: it is met like a new one");
    assert_eq!(bench.act(key, RecordAction::Delete { close: true }).await, "deleted");
    assert_eq!(findings(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_beside_an_operation_is_refused_with_75() {
    let bench = bench().await;
    bench.sync().await;
    let lease = bench.engine.store.lease("t", "dependency_track").await.unwrap();
    let mut command = bench.command(&["state", "reset", "t"]);
    let refused = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(refused.status.code(), Some(75), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(bench.query_i64("select count(*) from scopes where watermark is not null") > 0, "nothing was reset");
    bench.engine.store.release(lease).await.unwrap();
    let mut command = bench.command(&["state", "reset", "t"]);
    assert!(tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_becomes_good_gets_a_full_pass_next() {
    let bench = bench().await;
    bench.sync().await;
    let key = bench.tool.vendor.oracle().findings.into_values().next().unwrap().record;
    bench.act(&key, RecordAction::Unmap).await;
    bench.write("update scopes set full_served = full_requested");
    bench.act(&key, RecordAction::Map(None)).await;
    assert_eq!(bench.query_i64("select count(*) from scopes where full_requested > full_served and list = 'findings'"), 1);
}

/// The published table, by hand: what the source says × what was decided → what is shown.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_a_function_of_source_and_triage() {
    let bench = bench().await;
    bench.sync().await;
    let rows = [
        ("open", "open", "false_positive", "risk_accepted", "risk_accepted"),
        ("fixed", "fixed", "fixed", "fixed", "fixed"),
        ("gone", "gone", "gone", "gone", "gone"),
        ("false_positive", "false_positive", "false_positive", "risk_accepted", "risk_accepted"),
        ("risk_accepted", "risk_accepted", "false_positive", "risk_accepted", "risk_accepted"),
        ("suppressed", "suppressed", "false_positive", "risk_accepted", "risk_accepted"),
    ];
    for (source, none, false_positive, accepted, wont_fix) in rows {
        for (triage, shown) in
            [("null", none), ("'false_positive'", false_positive), ("'risk_accepted'", accepted), ("'wont_fix'", wont_fix)]
        {
            bench.write(&format!("update finding_rows set source_state = '{source}', triage = {triage}"));
            assert_eq!(bench.query_string("select distinct state from findings"), shown, "{source} {triage}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n5_local_decisions_survive_syncs_and_fixed_shows_fixed() {
    let bench = bench().await;
    bench.sync().await;
    let id = bench.query_string("select id from findings where state = 'open' limit 1");
    let state = || bench.query_string(&format!("select state from findings where id = '{id}'"));
    bench.triage(&[&id], Some(Decision::RiskAccepted)).await;
    assert_eq!(state(), "risk_accepted");
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    assert_eq!(state(), "risk_accepted");
    let event =
        bench.query_string("select event || ' ' || field || ' ' || coalesce(old_value, '-') || ' ' || new_value from finding_events");
    assert_eq!(event, "triaged triage - risk_accepted: because");
    // It runs out: the next operation lifts it, with an event.
    bench.write("update finding_rows set triage_until = 1 where triage is not null");
    bench.sync().await;
    assert_eq!(state(), "open");
    assert_eq!(bench.query_i64("select count(*) from finding_events where event = 'triaged' and operation is not null"), 1);
    bench.triage(&[&id], Some(Decision::FalsePositive)).await;
    bench.write(&format!("update finding_rows set source_state = 'fixed' where id = '{id}'"));
    assert_eq!(state(), "fixed");
    bench.triage(&[&id], None).await;
    assert_eq!(bench.query_string(&format!("select triage from findings where id = '{id}'")), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_closes_wait_for_an_operator_who_closes_only_what_is_still_unseen() {
    let bench = bench().await;
    bench.sync().await;
    bench.tool.vendor.step(&Change { fixed: 0.0, changed: 0.0, new: 0.0, vanished: 60.0 });
    bench.full_sync().await;
    let report = bench.full_sync().await;
    assert_outcome(&report, Outcome::Held);
    let held = bench.query_i64("select count(*) from held_closes");
    assert!(held >= 20 && report.counts.closed == 0);
    let open = bench.query_i64("select count(*) from findings where state = 'open'");
    let approved = bench.engine.store.approve(report.operation).await.unwrap().unwrap();
    assert_eq!((i64::try_from(approved.closed).unwrap(), approved.seen_again), (held, 0));
    assert_eq!(bench.query_i64("select count(*) from findings where state = 'open'"), open - held);
    assert_eq!(bench.query_i64("select count(*) from findings where state = 'gone'"), held);
    bench.assert_oracle("after the approval");
    assert_eq!(bench.engine.store.approve(report.operation).await.unwrap(), None, "once");
    assert_outcome(&bench.full_sync().await, Outcome::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_full_pass_replaces_what_is_held() {
    let bench = bench().await;
    bench.sync().await;
    let mut held = None;
    for _ in 0..2 {
        bench.tool.faults.add("", 0, usize::MAX, Fault::NoRole);
        held = Some(bench.full_sync().await);
        bench.tool.faults.clear();
    }
    assert_outcome(held.as_ref().unwrap(), Outcome::Held);
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    assert_eq!(bench.engine.store.approve(held.unwrap().operation).await.unwrap(), None, "they were seen again");
    bench.assert_oracle("with the role back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_forgets_positions_only() {
    let bench = bench().await;
    bench.sync().await;
    let rows = "select group_concat(id || first_seen || updated_at) from finding_rows";
    let before = bench.query_string(rows);
    assert!(bench.engine.store.reset("t".into()).await.unwrap() > 0);
    let counts = bench.sync().await.counts;
    assert_eq!((counts.created, counts.updated, counts.closed), (0, 0, 0));
    assert_eq!(bench.query_string(rows), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantined_items_are_read_again_on_request() {
    let bench = bench().await;
    bench.discover().await;
    bench.tool.faults.add("finding", 0, 1, Fault::BadItem);
    bench.full_sync().await;
    assert_eq!(bench.query_i64("select count(*) from quarantine"), 1);
    assert_eq!(bench.engine.store.list_quarantined_again(None).await.unwrap(), 1);
    assert_outcome(&bench.sync().await, Outcome::Success);
    assert_eq!(bench.query_i64("select count(*) from quarantine"), 0);
    bench.assert_oracle("with nothing in quarantine");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ids_that_begin_alike_are_two_findings() {
    let bench = bench().await;
    bench.sync().await;
    // A row whose id shares the eight bytes by which rows are found with the id of another one that the tool lists.
    let id = bench.query_string("select id from findings where state = 'open' limit 1");
    let other = format!("{}-8000-000000000000", &id[..18]);
    bench.write(&format!("update finding_rows set id = '{other}', key = 'other' where id = '{id}'"));
    bench.triage(&[&other], Some(Decision::WontFix)).await;
    assert_eq!(bench.full_sync().await.counts.created, 1);
    let counts = bench.full_sync().await.counts;
    assert_eq!((counts.created, counts.updated, counts.reopened), (0, 0, 0), "each is found again");
    let state = |id: &str| bench.query_string(&format!("select state from findings where id = '{id}'"));
    assert_eq!((&*state(&id), &*state(&other)), ("open", "risk_accepted"));
    bench.triage(&[&id], Some(Decision::FalsePositive)).await;
    assert_eq!((&*state(&id), &*state(&other)), ("false_positive", "risk_accepted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_begins_with_what_a_look_at_every_finding_puts_first() {
    let bench = bench().await;
    bench.sync().await;
    for _ in 0..2 {
        bench.tool.vendor.step(&Change { vanished: 4.0, ..Change::ONE_PERCENT });
        bench.full_sync().await;
    }
    let some = |sql: &str| Some(bench.query_string(sql)).filter(|text| !text.is_empty());
    let word = |word: &str| Some(word.to_owned());
    let none = FindingFilter::default;
    let record = some("select record_key from findings where state = 'gone' limit 1");
    let cve =
        some("select m.cve from cve_members m join finding_rows f on f.cve_list_id = m.list_id group by 1 order by count(*) desc limit 1");
    let product = some("select product from findings order by key limit 1");
    let id = bench.query_string("select id from findings limit 1");
    let (reader, store) = (crate::common::database(&bench.engine.store), bench.engine.store.reader().unwrap());
    let quoted = |text: &Option<String>| format!("'{}'", text.as_deref().unwrap());
    let of_record = format!("record_key = {}", quoted(&record));
    let of_cve = format!("exists (select 1 from json_each(cve) where upper(value) = {})", quoted(&cve));
    for (filter, condition) in [
        (none(), "true".to_owned()),
        (FindingFilter { severity: word("high"), ..none() }, "severity = 'high'".to_owned()),
        (FindingFilter { state: word("gone"), ..none() }, "state = 'gone'".to_owned()),
        (
            FindingFilter { state: word("open"), severity: word("critical"), ..none() },
            "state = 'open' and severity = 'critical'".to_owned(),
        ),
        (FindingFilter { connection: word("t"), ..none() }, "connection = 't'".to_owned()),
        (
            FindingFilter { connector: word("dependency_track"), state: word("open"), ..none() },
            "connector = 'dependency_track' and state = 'open'".to_owned(),
        ),
        (FindingFilter { record: record.clone(), ..none() }, of_record.clone()),
        (FindingFilter { record, state: word("gone"), ..none() }, format!("{of_record} and state = 'gone'")),
        (FindingFilter { product: product.clone(), ..none() }, format!("product = {}", quoted(&product))),
        (FindingFilter { cve: cve.clone(), ..none() }, of_cve.clone()),
        (FindingFilter { cve, connection: word("t"), state: word("open"), ..none() }, format!("{of_cve} and state = 'open'")),
        (FindingFilter { ids: vec![id.clone()], ..none() }, format!("id = '{id}'")),
    ] {
        let sql = format!(
            "select seq from finding_list where {condition} order by case severity when 'critical' then 0 when 'high' then 1
             when 'medium' then 2 when 'low' then 3 when 'info' then 4 else 5 end, first_seen desc, seq desc limit 20"
        );
        let mut statement = reader.prepare(&sql).unwrap();
        let all: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(!all.is_empty(), "{filter:?}");
        assert_eq!(store.first_findings(&filter, 20).unwrap(), all, "{filter:?}");
    }
    for nothing in [FindingFilter { cve: word("CVE-1999-1"), ..none() }, FindingFilter { severity: word("dire"), ..none() }] {
        assert_eq!(store.first_findings(&nothing, 20).unwrap(), Vec::<i64>::new());
    }
}
