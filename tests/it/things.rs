//! Assets, identities, memberships, second factors and rated companies: what is stored of them, and when they are gone.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::{TestApp, run};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tributary::{
    store::{Counted, ImportPolicy, Outcome, PassKind, Store, Trigger},
    sync::{Engine, Plan, Progress, Report},
};
use tributary_connectors::{
    Absence, CheckReport, Context, Coverage, DynConnector, Item, Job, Meta, Next, Page, RawPage, RawPageRequest, Reject, Result, Scope,
    model::{
        AccountStatus, Asset, Category, Enrollment, Factor, Finding, Identity, IdentityKind, ItemKind, Membership, MembershipKind, Record,
        Score, Severity, Thing, ThirdParty,
    },
};
use tributary_simulator::{Size, start, tenable::Tenable};

static META: Meta = Meta { id: "scripted", concurrency: 1, ..Meta::DEFAULT };
const PAGE: usize = 10;

/// One item of the tool's only list.
#[derive(Clone)]
enum One {
    Thing(Thing),
    /// An item that cannot be read, with its key.
    Reject(&'static str),
    Skipped(&'static str),
    Finding(&'static str),
}

impl One {
    fn item(&self) -> Option<Item> {
        Some(match self {
            One::Thing(thing) => Item::Thing(thing.clone()),
            One::Reject(_) => return None,
            One::Skipped(key) => Item::Skipped { key: (*key).into(), reason: "a sample" },
            One::Finding(key) => Item::Finding(Box::new(Finding {
                title: "t".into(),
                severity: Severity::High,
                ..Finding::new(*key, "r", Category::Identity)
            })),
        })
    }

    fn reject(&self) -> Option<Reject> {
        let One::Reject(key) = self else { return None };
        Some(Reject { key: Some((*key).into()), path: "name".into(), reason: "no text".into(), raw: "{}".into() })
    }
}

#[derive(Clone)]
struct Tool {
    items: Vec<One>,
    holds: ItemKind,
    absence: Absence,
    coverage: Coverage,
}

/// A tool in memory with one record, `r`, and one list.
struct App {
    _folder: TempDir,
    engine: Engine,
    tool: Shared,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Tool>>);

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl DynConnector for Shared {
    fn scopes<'a>(&'a self, _: &'a Context, job: Job<'a>) -> Later<'a, Vec<Scope>> {
        let Tool { holds, absence, .. } = self.0.lock().unwrap().clone();
        let scope = match job {
            Job::Discover => Scope::account("records"),
            Job::Sync(_) => Scope::account("list").holding(holds).absence(absence),
        };
        Box::pin(std::future::ready(Ok(vec![scope])))
    }

    fn page<'a>(&'a self, _: &'a Context, ask: RawPageRequest<'a>) -> Later<'a, RawPage> {
        let Tool { items, coverage, .. } = self.0.lock().unwrap().clone();
        if ask.scope.list == "records" {
            let record = Record { key: "r".into(), name: "r".into(), ..Record::default() };
            return Box::pin(std::future::ready(Ok(Page::of(vec![Item::Record(record)], Next::FULL))));
        }
        let page: usize = ask.cursor.as_deref().map_or(0, |text| text.parse().unwrap());
        let here: Vec<&One> = items.iter().skip(page * PAGE).take(PAGE).collect();
        let more = items.len() > (page + 1) * PAGE;
        let next = if more { Next::More((page + 1).to_string().into()) } else { Next::Done(coverage, None) };
        let rejects = here.iter().filter_map(|one| one.reject()).collect();
        let items = here.iter().filter_map(|one| one.item()).collect();
        Box::pin(std::future::ready(Ok(Page { items, rejects, mended: Vec::new(), total: None, next })))
    }

    fn check<'a>(&'a self, _: &'a Context) -> Later<'a, CheckReport> {
        Box::pin(std::future::ready(Ok(CheckReport::default())))
    }
}

impl App {
    fn new(holds: ItemKind, absence: Absence) -> App {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("t.db"), false).unwrap();
        let tool = Shared(Arc::new(Mutex::new(Tool { items: Vec::new(), holds, absence, coverage: Coverage::Full })));
        App { _folder: folder, engine: Engine { store, stop: CancellationToken::new() }, tool }
    }

    /// A sync of a list that holds these.
    async fn list(&self, items: Vec<One>) -> Report {
        self.tool.0.lock().unwrap().items = items;
        let source: Arc<dyn DynConnector> = Arc::new(self.tool.clone());
        let plan = Plan {
            connection: "t".into(),
            meta: &META,
            policy: ImportPolicy { minimum_severity: Severity::Info, import_closed: false, auto_map: true },
            full_sync_every: Duration::from_secs(1 << 30),
            close_missing_after: None,
            settings: "s".into(),
        };
        let progress = Progress::without_waits();
        self.engine.sync(&source, &plan, Trigger::Manual, PassKind::Full, &progress).await.unwrap().pop().unwrap()
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let database = crate::common::database(&self.engine.store);
        let mut statement = database.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let value = |at| match row.get_ref(at).unwrap() {
                rusqlite::types::ValueRef::Null => "null".to_owned(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                rusqlite::types::ValueRef::Real(number) => number.to_string(),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Blob(_) => "blob".to_owned(),
            };
            found.push((0..columns).map(value).collect::<Vec<_>>().join("|"));
        }
        found
    }

    fn gone(&self) -> Vec<String> {
        self.rows("select key from assets where state = 'gone' order by key")
    }
}

fn host(number: usize) -> One {
    One::Thing(Thing::Asset(Box::new(Asset {
        key: format!("h{number:02}").into(),
        kind: "host".into(),
        name: format!("host {number}").into(),
        ..Asset::default()
    })))
}

fn hosts(count: usize) -> Vec<One> {
    (0..count).map(host).collect()
}

fn user(key: &str) -> Identity {
    Identity { status: AccountStatus::Active, ..Identity::new(key, IdentityKind::User, key) }
}

#[tokio::test]
async fn what_is_listed_unreadable_or_skipped_is_there() {
    let app = App::new(ItemKind::Asset, Absence::Proof);
    app.list(hosts(6)).await;
    let report = app.list(vec![host(0), host(1), One::Reject("h02"), One::Skipped("h03"), host(5)]).await;
    assert_eq!(app.gone(), ["h04"]);
    let counted = Counted { fetched: 3, unchanged: 3, closed: 1, ..Counted::default() };
    assert_eq!(report.things.of(ItemKind::Asset), counted);
    // What came back is as it was.
    app.list(hosts(6)).await;
    assert!(app.gone().is_empty());
}

#[tokio::test]
async fn what_two_passes_miss_of_a_list_that_shifts_is_gone() {
    let app = App::new(ItemKind::Asset, Absence::ProofTwice);
    let without = |number: usize| hosts(25).into_iter().enumerate().filter(move |(at, _)| *at != number).map(|(_, one)| one).collect();
    app.list(hosts(25)).await;
    app.list(without(3)).await;
    assert!(app.gone().is_empty());
    // Met in between, it has to be missed twice again; so does another one.
    app.list(without(7)).await;
    app.list(without(3)).await;
    assert!(app.gone().is_empty());
    app.list(without(3)).await;
    assert_eq!(app.gone(), ["h03"]);
    // Even when what comes of it cannot be read.
    app.list(without(8)).await;
    let mut unreadable: Vec<One> = without(8);
    unreadable.push(One::Reject("h08"));
    app.list(unreadable).await;
    app.list(without(8)).await;
    assert!(app.gone().is_empty(), "{:?}", app.gone());
}

#[tokio::test]
async fn a_list_of_what_is_recent_closes_nothing_and_is_complete() {
    let app = App::new(ItemKind::Asset, Absence::Nothing);
    app.list(vec![host(0), One::Finding("f1"), One::Finding("f2")]).await;
    for _ in 0..3 {
        let report = app.list(vec![One::Finding("f2")]).await;
        assert_eq!((report.outcome, report.counts.closed), (Outcome::Success, 0));
    }
    assert!(app.gone().is_empty());
    assert_eq!(app.rows("select key, state from findings order by key"), ["f1|open", "f2|open"]);
    let full = app.rows("select full_at is not null, last_seen is null from scopes where list = 'list'");
    assert_eq!(full, ["1|1"]);
}

#[tokio::test]
async fn a_list_that_lost_most_of_its_things_closes_none_and_warns() {
    for (listed, gone, kept) in [(95, 5, 0), (71, 29, 0), (69, 0, 31), (0, 0, 100)] {
        let app = App::new(ItemKind::Asset, Absence::Proof);
        app.list(hosts(100)).await;
        let report = app.list(hosts(listed)).await;
        let counted = report.things.of(ItemKind::Asset);
        assert_eq!((app.gone().len(), counted.closed, counted.kept), (gone, gone as u64, kept), "{listed}");
        let warned = report.warnings.iter().any(|warning| warning.contains(&format!("{kept} assets are no longer listed")));
        assert_eq!(warned, kept > 0, "{:?}", report.warnings);
    }
}

#[tokio::test]
async fn a_few_things_that_are_all_of_their_list_have_to_be_missed_twice() {
    let app = App::new(ItemKind::Asset, Absence::Proof);
    app.list(hosts(5)).await;
    app.list(Vec::new()).await;
    assert!(app.gone().is_empty());
    app.list(Vec::new()).await;
    assert_eq!(app.gone().len(), 5);
}

#[tokio::test]
async fn a_thing_that_the_tool_calls_gone_is_gone_at_once_and_not_made_anew() {
    let app = App::new(ItemKind::Identity, Absence::Proof);
    let all = |gone| vec![One::Thing(Thing::Identity(Box::new(Identity { gone, ..user("u1") }))), identity("u2"), identity("u3")];
    let report = app.list(all(true)).await;
    assert_eq!(report.things.of(ItemKind::Identity).filtered, 1);
    app.list(all(false)).await;
    app.list(all(true)).await;
    assert_eq!(app.rows("select key, state from identities order by key"), ["u1|gone", "u2|present", "u3|present"]);
    let report = app.list(all(true)).await;
    assert_eq!(report.things.of(ItemKind::Identity).unchanged, 3);
}

fn identity(key: &str) -> One {
    One::Thing(Thing::Identity(Box::new(user(key))))
}

#[tokio::test]
async fn identities_show_what_is_known_of_their_second_factor() {
    let app = App::new(ItemKind::Identity, Absence::Proof);
    let factor = |identity: &str, enrolled| {
        let methods = if enrolled { vec!["totp".into(), "sms".into()] } else { Vec::new() };
        let enrolled = Some(enrolled);
        One::Thing(Thing::Enrollment(Box::new(Enrollment { identity: identity.into(), enrolled, methods, ..Enrollment::default() })))
    };
    let all = [identity("u1"), identity("u2"), identity("u3"), identity("u4")];
    let mut with: Vec<One> = all.to_vec();
    with.extend([factor("u1", true), factor("u2", false), factor("u4", true), factor("u3", true)]);
    app.list(with.clone()).await;
    with.pop();
    app.list(with).await;
    let shown = app.rows("select key, mfa, mfa_methods, admin from identities order by key");
    // Of u3 nothing is known any more: that is not "none".
    assert_eq!(shown, ["u1|1|[\"totp\",\"sms\"]|null", "u2|0|[]|null", "u3|null|[]|null", "u4|1|[\"totp\",\"sms\"]|null"]);
}

#[tokio::test]
async fn an_identity_is_shown_with_its_memberships_and_a_group_with_its_members() {
    let app = App::new(ItemKind::Identity, Absence::Proof);
    let member = |member: &str| {
        let (container, member, kind) = ("g1".into(), member.into(), MembershipKind::Group);
        One::Thing(Thing::Membership(Box::new(Membership { kind, container, member, label: None, vendor_status: None, gone: false })))
    };
    let group = One::Thing(Thing::Identity(Box::new(Identity::new("g1", IdentityKind::Group, "Admins"))));
    app.list(vec![identity("u1"), identity("u2"), group, member("u1"), member("elsewhere")]).await;
    let reader = app.engine.store.reader().unwrap();
    let listed = reader.things(ItemKind::Identity, Some("t"), Some("present"), 2).unwrap();
    let names: Vec<&serde_json::Value> = listed.rows.iter().map(|row| &row[3]).collect();
    assert_eq!(names, ["Admins", "u1"]);
    let show = |row: usize| reader.thing(ItemKind::Identity, listed.rows[row][0].as_str().unwrap()).unwrap().unwrap();
    let (group, user) = (show(0), show(1));
    assert_eq!((&group["members"][0]["key"], &group["members"][0]["name"]), (&"elsewhere".into(), &serde_json::Value::Null));
    assert_eq!((&group["members"][1]["name"], &group["member_of"]), (&"u1".into(), &serde_json::json!([])));
    assert_eq!((&user["member_of"][0]["name"], &user["mfa"]), (&"Admins".into(), &serde_json::Value::Null));
    assert_eq!(reader.thing(ItemKind::Identity, "no-id").unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_listed_and_shown_by_the_command() {
    let bench = TestApp::new(start(Tenable::new(Size { records: 2, findings: 40, seed: 5 }), 0).await.unwrap());
    bench.discover().await;
    bench.full_sync().await;
    let (code, listed, _) = run(bench.command(&["assets", "list", "--limit", "2", "--output", "json"])).await;
    let listed = &serde_json::from_str::<serde_json::Value>(&listed).unwrap()["items"];
    assert_eq!((code, listed.as_array().map(Vec::len)), (Some(0), Some(2)));
    let id = listed[0]["id"].as_str().unwrap();
    let (code, shown, _) = run(bench.command(&["assets", "show", id, "--output", "json"])).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown["name"], shown["identifiers"].is_object()), (Some(0), &listed[0]["name"], true));
    let (code, _, told) = run(bench.command(&["assets", "show", "nonsense"])).await;
    assert!(code != Some(0) && told.contains("nonsense") && told.contains("assets list"), "{told}");
    let (_, _, told) = run(bench.command(&["sync", "--full"])).await;
    let unchanged = format!("{} unchanged", bench.query_i64("select count(*) from assets"));
    assert!(told.lines().any(|line| line.contains("assets: ") && line.contains(&unchanged)), "{told}");
    let operation = bench.query_string("select id from operations order by seq desc limit 1");
    let (_, shown, _) = run(bench.command(&["operations", "show", &operation])).await;
    assert!(shown.lines().any(|line| line.starts_with("  assets   ") && line.contains(&unchanged)), "{shown}");
    let (code, listed, told) = run(bench.command(&["parties", "list"])).await;
    assert_eq!((code, &*listed), (Some(0), ""), "{told}");
    let (code, _, told) = run(bench.command(&["identities", "list", "--state", "presnt"])).await;
    assert!(code == Some(2) && told.contains("present"), "{told}");
}

#[tokio::test]
async fn a_log_in_is_stored_and_no_change() {
    let app = App::new(ItemKind::Identity, Absence::Proof);
    let at =
        |second| One::Thing(Thing::Identity(Box::new(Identity { last_login: jiff::Timestamp::from_second(second).ok(), ..user("u1") })));
    app.list(vec![at(1_000_000)]).await;
    let report = app.list(vec![at(2_000_000)]).await;
    assert_eq!(report.things.of(ItemKind::Identity).unchanged, 1);
    assert_eq!(app.rows("select last_login from identities"), ["2000000000000"]);
}

#[tokio::test]
async fn memberships_end_by_absence_and_a_group_that_is_gone_takes_none_with_it() {
    let app = App::new(ItemKind::Membership, Absence::Proof);
    let of = |container: &str, member: &str| {
        let (container, member, kind) = (container.into(), member.into(), MembershipKind::Group);
        One::Thing(Thing::Membership(Box::new(Membership { kind, container, member, label: None, vendor_status: None, gone: false })))
    };
    app.list(vec![of("g1", "u1"), of("g1", "u2"), of("g2", "u1"), identity("u1")]).await;
    let report = app.list(vec![of("g1", "u1"), of("g2", "u1"), identity("u1")]).await;
    assert_eq!(report.things.of(ItemKind::Membership).closed, 1);
    let shown = app.rows("select kind, container_key, member_key, state from memberships order by key");
    assert_eq!(shown, ["group|g1|u1|present", "group|g1|u2|gone", "group|g2|u1|present"]);
}

#[tokio::test]
async fn ratings_of_a_company_are_kept_when_they_move() {
    let app = App::new(ItemKind::ThirdParty, Absence::Proof);
    let rated = |value: f64, grade: &str, patching: f64, second: i64| {
        One::Thing(Thing::ThirdParty(Box::new(ThirdParty {
            key: "c1".into(),
            name: "Acme".into(),
            score: Some(Score {
                value,
                lowest: 0.0,
                highest: 100.0,
                grade: Some(grade.into()),
                at: jiff::Timestamp::from_second(second).ok(),
            }),
            factors: vec![Factor { name: "patching".into(), score: Some(patching), grade: None }],
            ..ThirdParty::default()
        })))
    };
    for (one, unchanged) in [(rated(80.0, "B", 70.0, 1), 0), (rated(80.0, "B", 70.0, 2), 1), (rated(75.5, "B", 70.0, 3), 0)] {
        assert_eq!(app.list(vec![one]).await.things.of(ItemKind::ThirdParty).unchanged, unchanged);
    }
    // What is no number is none, and none is not another one each time.
    app.list(vec![rated(75.5, "B", f64::NAN, 4)]).await;
    app.list(vec![rated(75.5, "C", f64::NAN, 5)]).await;
    let history = app.rows("select at / 1000000, factor, score, grade from third_party_scores order by at, factor");
    assert_eq!(history, ["1||80|B", "1|patching|70|null", "3||75.5|B", "4|patching|null|null", "5||75.5|C"]);
    let shown = app.rows("select name, score, grade, scored_at / 1000000, factors, state from third_parties");
    assert_eq!(shown, ["Acme|75.5|C|5|[{\"grade\":null,\"name\":\"patching\",\"score\":null}]|present"]);
}

#[tokio::test]
async fn an_operation_tells_of_each_kind_what_it_counted() {
    let app = App::new(ItemKind::Identity, Absence::Proof);
    app.list(vec![identity("u1"), identity("u2"), host(1)]).await;
    let detail = app.rows("select detail from operations where kind = 'sync'").remove(0);
    let detail: serde_json::Value = serde_json::from_str(&detail).unwrap();
    let counted = |created: u64| serde_json::json!({ "fetched": created, "created": created, "updated": 0, "unchanged": 0, "filtered": 0, "closed": 0 });
    assert_eq!((&detail["identities"], &detail["assets"]), (&counted(2), &counted(1)));
}
