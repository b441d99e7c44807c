//! The fault matrix: every fault of a vendor or of the way to it × every simulated tool. `docs/reliability.md` shows the result.
//!
//! A tool is synced (once, for all cells of its column), moves one step on, and is synced again while the fault is shown. A
//! fault that passes ends as if it had never been; one that lasts ends as `partial` or `failed`. Neither closes anything
//! wrongly, and the runs after it heal.
//!
//! `TRIBUTARY_FAULTS=F8` tries only the rows of that id, `TRIBUTARY_TOOL=snyk` only the columns of those tools, which
//! are not compared with the document.

use std::{pin::Pin, sync::Arc, time::Duration};

use crate::common::{SMALLEST, TestApp};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tributary::{
    store::{Outcome, PassKind, Trigger},
    sync::Progress,
};
use tributary_connectors::{CheckReport, Context, DynConnector, Error, Job, RawPage, RawPageRequest, Scope};
use tributary_simulator::{Change, Fault, Make, Odd, Size, VENDORS, Vendor, start_any, why_not};

const SIZE: Size = Size { records: 5, findings: 240, seed: 11 };
/// Most findings in one record.
const LONG: Size = Size { records: 2, ..SIZE };
const FOR_EVER: usize = usize::MAX;

/// How a sync under a fault has to end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    /// As the oracle says.
    Complete,
    /// As `partial` or `failed` (or held: a listing that lost most of its rows), with nothing closed by absence.
    Unfinished,
    /// Either, as the protocol has it; never with something closed wrongly.
    Either,
}

struct Row {
    id: &'static str,
    fault: &'static str,
    /// On which requests ("" = all), after how many good ones, how often.
    on: (&'static str, usize, usize),
    show: Fault,
    ends: Ends,
    /// Lines for the connection's configuration.
    config: &'static str,
    /// Whether lists have several pages, whatever the tool's pages are.
    is_long: bool,
    /// What is asked for while the fault is shown.
    pass: PassKind,
}

fn rows() -> Vec<Row> {
    use Ends::{Complete, Either, Unfinished};
    let row = |id, fault, on, show, ends| Row { id, fault, on, show, ends, config: "", is_long: false, pass: PassKind::Full };
    let always = |id, fault, show, ends| row(id, fault, ("", 0, FOR_EVER), show, ends);
    let hurried = |row| Row { config: "http = { timeout = \"300ms\" }", ..row };
    let soon = || Some("1".to_owned());
    vec![
        row("F1", "429, Retry-After in seconds", ("", 2, 2), Fault::Status(429, soon()), Complete),
        row("F1", "429, Retry-After as a date", ("", 2, 1), Fault::Status(429, Some("Tue, 24 Nov 2020 10:00:00 GMT".into())), Complete),
        row("F1", "429, X-RateLimit-Reset", ("", 2, 1), Fault::Limited("x-ratelimit-reset", "3".into()), Complete),
        row("F1", "429 without a word", ("", 2, 2), Fault::Status(429, None), Complete),
        row("F2", "429 for ever", ("", 2, FOR_EVER), Fault::Status(429, None), Unfinished),
        row("F3", "500 once", ("", 2, 1), Fault::Status(500, None), Complete),
        row("F3", "502 three times", ("", 2, 3), Fault::Status(502, None), Complete),
        row("F3", "503 for ever", ("", 2, FOR_EVER), Fault::Status(503, None), Unfinished),
        row("F3", "connection broken in the body, once", ("", 2, 1), Fault::Broken, Complete),
        row("F3", "connection broken for ever", ("", 2, FOR_EVER), Fault::Broken, Unfinished),
        hurried(row("F4", "no answer", ("", 2, FOR_EVER), Fault::Slow(Duration::from_secs(60)), Unfinished)),
        hurried(row("F4", "one byte a second", ("", 2, FOR_EVER), Fault::Drip, Unfinished)),
        row("F4", "a body without end", ("", 2, FOR_EVER), Fault::Endless, Unfinished),
        row("F5", "half a body, once", ("", 2, 1), Fault::Truncated, Complete),
        row("F5", "half a body for ever", ("", 2, FOR_EVER), Fault::Truncated, Unfinished),
        row("F5", "empty 200", ("", 2, FOR_EVER), Fault::Empty, Unfinished),
        row("F5", "204", ("", 2, FOR_EVER), Fault::Status(204, None), Unfinished),
        row("F5", "log-in page with 200", ("", 2, FOR_EVER), Fault::Html, Unfinished),
        row("F5", "error inside a 200", ("", 2, FOR_EVER), Fault::ErrorBody, Unfinished),
        row("F6", "a page twice", ("", 2, 1), Fault::DuplicatePage, Either),
        row("F7", "rows shift between pages", ("", 2, 1), Fault::ShiftedPage, Either),
        Row { is_long: true, ..row("F8", "the list does not get on", ("", 2, FOR_EVER), Fault::RepeatedCursor, Unfinished) },
        row("F8", "the cursor expires", ("", 2, 1), Fault::ExpiredCursor, Either),
        Row { pass: PassKind::Delta, ..always("F9", "filters are ignored", Fault::NoFilters, Complete) },
        Row { is_long: true, ..always("F9", "twice as many rows are declared", Fault::Declared(200), Unfinished) },
        Row { is_long: true, ..always("F9", "half as many rows are declared", Fault::Declared(50), Complete) },
        Row { is_long: true, ..always("F9", "the declared number of rows is a cap", Fault::Capped(0), Complete) },
        row("F10", "401 for ever", ("", 2, FOR_EVER), Fault::Unauthorized, Unfinished),
        row("F10", "403 for ever", ("", 2, FOR_EVER), Fault::Forbidden, Unfinished),
        row("F10", "403 once", ("", 2, 1), Fault::Forbidden, Either),
        row("D5", "the role is lost: 200 and empty", ("", 0, FOR_EVER), Fault::NoRole, Unfinished),
        row("F11", "an export is never ready", ("", 0, FOR_EVER), Fault::ExportPending, Unfinished),
        row("F11", "an export fails, once", ("export/status", 0, 1), Fault::ExportFailed, Complete),
        row("F11", "every export fails", ("", 0, FOR_EVER), Fault::ExportFailed, Unfinished),
        row("F11", "a chunk is not there, once", ("/chunks", 0, 1), Fault::ChunkLost, Complete),
        row("F11", "the first chunk is never there", ("/chunks", 0, FOR_EVER), Fault::ChunkLost, Unfinished),
        row("F12", "unknown words", ("finding", 0, 1), Fault::UnknownEnum, Either),
        row("F12", "an item that is none", ("finding", 0, 1), Fault::BadItem, Either),
        row("F12", "a text is null", ("", 0, FOR_EVER), Fault::Odd(Odd::Null), Either),
        row("F12", "a text is a number", ("", 0, FOR_EVER), Fault::Odd(Odd::Number), Either),
        row("F12", "a number beyond all numbers", ("", 0, FOR_EVER), Fault::Odd(Odd::Huge), Either),
        row("F12", "a text is a list", ("", 0, FOR_EVER), Fault::Odd(Odd::List), Either),
        row("F12", "NUL and control characters", ("", 0, FOR_EVER), Fault::Odd(Odd::Control), Either),
        row("F12", "half a surrogate pair", ("", 0, FOR_EVER), Fault::Odd(Odd::Surrogate), Either),
        row("F12", "a text of 5 MiB", ("", 0, FOR_EVER), Fault::Odd(Odd::Long), Either),
        row("F12", "a member nobody knows", ("", 0, FOR_EVER), Fault::Odd(Odd::Extra), Complete),
        row("F12", "a member twice", ("", 0, FOR_EVER), Fault::Odd(Odd::Twice), Either),
        row("F12", "a member is missing", ("", 0, FOR_EVER), Fault::Odd(Odd::Missing), Either),
        row("F13", "the vendor's clock is a day fast", ("", 0, FOR_EVER), Fault::Clock(86_400), Complete),
        row("F13", "the vendor's clock is a day slow", ("", 0, FOR_EVER), Fault::Clock(-86_400), Complete),
    ]
}

impl Row {
    /// How it ends for this tool.
    fn ends_of(&self, tool: &dyn Vendor) -> Ends {
        if self.show == Fault::NoFilters && tool.hides_filters() { Ends::Unfinished } else { self.ends }
    }

    /// What is shown of a tool that has so many findings.
    fn shown_of(&self, findings: usize) -> Fault {
        match &self.show {
            Fault::Capped(_) => Fault::Capped(findings as u64 / 2),
            fault => fault.clone(),
        }
    }
}

/// A tool, and what a store holds after its first sync: where each cell begins.
struct Column {
    make: Make,
    /// By whether lists have several pages.
    synced: [OnceCell<Synced>; 2],
}

struct Synced {
    size: Size,
    port: u16,
    folder: TempDir,
}

impl Column {
    fn new(make: Make) -> Self {
        Column { make, synced: [OnceCell::new(), OnceCell::new()] }
    }

    /// A tool as it was at its first sync, where it was, and a store that has seen it.
    async fn begin(&self, is_long: bool) -> (TestApp, Size) {
        let synced = self.synced[usize::from(is_long)].get_or_init(|| self.sync(is_long)).await;
        // The tool of the cell before leaves the port in a moment.
        for _ in 0..500 {
            if let Ok(tool) = start_any((self.make)(synced.size), synced.port).await {
                let bench = TestApp::with_store(tool, &synced.folder.path().join("synced.db"));
                bench.assert_oracle("before the fault");
                return (bench, synced.size);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the port {} is taken", synced.port);
    }

    async fn sync(&self, is_long: bool) -> Synced {
        let size = if is_long { Size { findings: (self.make)(SMALLEST).several_pages(), ..LONG } } else { SIZE };
        let bench = TestApp::new(start_any((self.make)(size), 0).await.unwrap());
        bench.discover().await;
        bench.sync().await;
        bench.assert_oracle("after the first sync");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("synced.db");
        crate::common::database(&bench.engine.store).execute("vacuum into ?1", [file.to_str().unwrap()]).unwrap();
        let port = bench.tool.url.rsplit_once(':').unwrap().1.parse().unwrap();
        Synced { size, port, folder }
    }
}

/// Shows one fault to one tool's client; what the table says of it.
async fn cell(column: Arc<Column>, row: Arc<Row>) -> String {
    let (bench, size) = column.begin(row.is_long).await;
    bench.configure(row.config);
    bench.tool.vendor.step(&Change::ONE_PERCENT);
    let (on, skip, times) = row.on;
    bench.tool.faults.add(on, skip, times, row.shown_of(size.findings));
    let id = bench.tool.vendor.id();
    let what = format!("{id}: {} {}", row.id, row.fault);
    if row.show == Fault::NoFilters {
        bench.discover().await;
    }
    let report = bench.sync_as(row.pass).await;
    assert!(bench.tool.faults.shown() > 0, "{what}: it was never shown");
    // What is odd about a text that is neither key nor required costs that text, not its finding.
    if matches!(row.show, Fault::Odd(_)) {
        assert_eq!(report.counts.rejected, 0, "{what}: {:?}", report.incomplete);
    }
    let unfinished = matches!(report.outcome, Outcome::Partial | Outcome::Failed | Outcome::Held);
    let ends = row.ends_of(&*bench.tool.vendor);
    match ends {
        Ends::Complete => assert_eq!(report.outcome, Outcome::Success, "{what}: {:?} {:?}", report.errors, report.incomplete),
        Ends::Unfinished => assert!(unfinished, "{what}: {:?}", report.outcome),
        Ends::Either => {}
    }
    // Whatever was closed, by this run or before, is closed in the tool too.
    let oracle = bench.tool.vendor.oracle();
    for (key, truth) in &bench.snapshot().findings {
        let told = oracle.findings.get(key).unwrap_or_else(|| panic!("{what}: {key} was invented"));
        assert!(truth.state != "gone" || told.state == "gone", "{what}: {key} was closed wrongly");
    }
    if ends == Ends::Complete && times == FOR_EVER {
        // It lasts, and yet what is stored becomes the truth. (Where a listing can shift, absence counts when met twice.)
        for _ in 0..2 {
            bench.full_sync().await;
        }
        bench.assert_oracle(&format!("under {what}"));
    }
    bench.tool.faults.clear();
    bench.configure("");
    bench.discover().await;
    // A pass that was open ends; then, where a listing can shift, absence counts when it is met twice.
    for _ in 0..3 {
        bench.full_sync().await;
    }
    bench.assert_oracle(&format!("after {what}"));
    // What hangs on which request came first is told as what always holds.
    match ends {
        Ends::Complete => "whole".to_owned(),
        Ends::Unfinished => "nothing closed".to_owned(),
        Ends::Either if times == 1 => "whole or partial".to_owned(),
        Ends::Either if report.counts.rejected > 0 => "rejected".to_owned(),
        Ends::Either if report.counts.mended > 0 => "mended".to_owned(),
        Ends::Either => "whole".to_owned(),
    }
}

/// What one connection does while another of the same tool is synced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    PanicsInPage,
    PanicsInScopes,
    NeverAnswers,
}

const DEFECTS: &[(&str, Defect)] = &[
    ("a connection panics reading a page", Defect::PanicsInPage),
    ("a connection panics looking for its lists", Defect::PanicsInScopes),
    ("a connection's tool never answers", Defect::NeverAnswers),
];

/// A connector with a defect.
struct Broken(Arc<dyn DynConnector>, Defect);

/// What a panic may say, and nobody may read.
const SAID: &str = "hush-said-by-a-panic";

impl DynConnector for Broken {
    fn scopes<'a>(&'a self, cx: &'a Context, job: Job<'a>) -> Pin<Box<dyn Future<Output = Result<Vec<Scope>, Error>> + Send + 'a>> {
        assert!(self.1 != Defect::PanicsInScopes, "{SAID}");
        self.0.scopes(cx, job)
    }

    fn page<'a>(&'a self, cx: &'a Context, ask: RawPageRequest<'a>) -> Pin<Box<dyn Future<Output = Result<RawPage, Error>> + Send + 'a>> {
        assert!(self.1 != Defect::PanicsInPage, "{SAID}");
        self.0.page(cx, ask)
    }

    fn check<'a>(&'a self, cx: &'a Context) -> Pin<Box<dyn Future<Output = Result<CheckReport, Error>> + Send + 'a>> {
        self.0.check(cx)
    }
}

/// Syncs a good and a defective connection of one tool side by side, in one engine; what the table says of it.
async fn defective(make: Make, defect: Defect) -> String {
    let bench = TestApp::new(start_any(make(SIZE), 0).await.unwrap());
    let other = TestApp::new(start_any(make(SIZE), 0).await.unwrap());
    let what = format!("{}: {defect:?}", bench.tool.vendor.id());
    if defect == Defect::NeverAnswers {
        bench.configure("http = { timeout = \"300ms\" }");
        bench.tool.faults.add("", 1, FOR_EVER, Fault::Slow(Duration::from_secs(3600)));
    }
    let ((source, plan), (good, mut good_plan)) = (bench.plan(), other.plan());
    good_plan.connection = "good".to_owned();
    let (source, progress): (Arc<dyn DynConnector>, _) =
        (Arc::new(Broken(source, defect)), [Progress::without_waits(), Progress::without_waits()]);
    let (bad, good) = tokio::join!(
        bench.engine.sync(&source, &plan, Trigger::Manual, PassKind::Full, &progress[0]),
        bench.engine.sync(&good, &good_plan, Trigger::Manual, PassKind::Full, &progress[1]),
    );
    let (bad, good) = (bad.unwrap().pop().unwrap(), good.unwrap().pop().unwrap());
    assert_eq!(good.outcome, Outcome::Success, "{what}: {:?}", good.errors);
    assert_eq!(bad.outcome, Outcome::Failed, "{what}: {:?}", bad.errors);
    assert_eq!(bench.query_i64("select count(*) from operations where outcome = 'running'"), 0, "{what}");
    let told = bench.query_string("select group_concat(coalesce(error, '') || coalesce(detail, '')) from operations") + &format!("{bad:?}");
    assert!(!told.contains(SAID), "{what}: {told}");
    // The place is free again: the connection syncs as soon as its defect is mended.
    bench.tool.faults.clear();
    bench.configure("");
    bench.discover().await;
    bench.full_sync().await;
    bench.assert_oracle(&what);
    "failed, the others whole".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_every_tool_ends_well() {
    let [only, tool] = ["TRIBUTARY_FAULTS", "TRIBUTARY_TOOL"].map(|name| std::env::var(name).ok());
    let wanted = |id: &str| only.as_deref().is_none_or(|only| only == id);
    let rows: Vec<Arc<Row>> = rows().into_iter().filter(|row| wanted(row.id)).map(Arc::new).collect();
    let defects = if wanted("F14") { DEFECTS } else { &[] };
    let tools: Vec<_> = VENDORS.iter().filter(|(id, _)| tool.as_deref().is_none_or(|tool| id.contains(tool))).collect();
    let columns = join_all(tools.iter().map(|(_, make)| {
        let rows = &rows;
        async move {
            let (asked, mut cells) = (make(SMALLEST), Vec::new());
            let column = Arc::new(Column::new(*make));
            for row in rows {
                cells.push(match why_not(&*asked, &row.show) {
                    Some(why) => format!("– ({why})"),
                    // A task of its own, so that one broken cell does not hide the others.
                    None => tokio::spawn(cell(Arc::clone(&column), Arc::clone(row))).await.unwrap_or_else(|_| "**BROKEN**".to_owned()),
                });
            }
            for (_, defect) in defects {
                cells.push(tokio::spawn(defective(*make, *defect)).await.unwrap_or_else(|_| "**BROKEN**".to_owned()));
            }
            cells
        }
    }))
    .await;
    let ids: Vec<&str> = tools.iter().map(|(id, _)| *id).collect();
    let mut table = format!("| test | fault | {} |\n|---|---|{}\n", ids.join(" | "), "---|".repeat(ids.len()));
    let names = rows.iter().map(|row| (row.id, row.fault)).chain(defects.iter().map(|(name, _)| ("F14", *name)));
    for (number, (id, fault)) in names.enumerate() {
        let cells: Vec<&str> = columns.iter().map(|column| &*column[number]).collect();
        table.push_str(&format!("| {id} | {fault} | {} |\n", cells.join(" | ")));
    }
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md")).unwrap_or_default();
    assert!(!table.contains("BROKEN"), "{table}");
    // Of a part of the columns no line is whole; a part of the rows is still one of whole lines.
    let lines = if only.is_some() { table.split_inclusive('\n').skip(2).collect() } else { vec![&*table] };
    let missing: String = lines.into_iter().filter(|line| tool.is_none() && !document.contains(line)).collect();
    assert!(missing.is_empty(), "put this into docs/reliability.md:\n{missing}");
}
