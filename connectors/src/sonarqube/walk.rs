//! Walks over a project's issues or hotspots: what changed, or the whole list, slice by slice.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Cursor, List, PAGE, SonarQube, WINDOW,
    finding::{self, PageContext},
    is_retired,
    rule::Rule,
    server::Server,
    slice::{Slice, Step},
    wire::{ItemKey, Key, Rows, Tree, hotspot_key},
};
use crate::{kit::Request, prelude::*};

/// A facet lists no more values than this.
const FACET: usize = 100;
/// Files asked for at once: their paths have to fit into an address.
const FILES: u64 = 20;
/// A list with so many times as many issues of other kinds is not read from the database, which does not filter by impact.
const OTHERS: u64 = 10;
/// Rules asked for at once.
const MAX_CONCURRENT_RULES: usize = 8;
/// How far changes are read back when no analysis can bring older ones: as far as clocks differ.
const CLOCKS: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// A walk over what changed, the newest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Changes {
    /// The branch as the server wants it; `None` is the main one.
    branch: Option<String>,
    /// Pages that are read.
    pages: u64,
    /// Whether it was asked how far the project is analysed.
    asked: bool,
    /// The analysis of which everything was listed by then.
    analysed: Option<String>,
    /// Whether an earlier pass has read everything of it.
    is_read: bool,
}

/// A walk over a whole list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Slices {
    branch: Option<String>,
    /// What is not read yet; the last one is being read.
    slices: Vec<Slice>,
    /// Pages of it that are read.
    pages: u64,
    /// Whether it is to be cut.
    cut: bool,
    /// Whether something could not be listed.
    left_out: bool,
    /// The analysis of which everything was listed when the walk began.
    analysed: Option<String>,
    /// Whether the server was found to offer no list from its database.
    no_database: bool,
}

/// A walk over a whole list in the server's database.
#[derive(Debug, Serialize, Deserialize)]
pub struct Database {
    branch: Option<String>,
    pages: u64,
    analysed: Option<String>,
}

impl Changes {
    pub(super) fn of(branch: Option<String>) -> Self {
        Changes { branch, pages: 0, asked: false, analysed: None, is_read: false }
    }
}

impl Slices {
    pub(super) fn of(branch: Option<String>, analysed: Option<String>) -> Self {
        Slices { branch, slices: vec![Slice::default()], pages: 0, cut: false, left_out: false, analysed, no_database: false }
    }

    pub(super) fn is_to_be_cut(&self) -> bool {
        self.cut || self.slices.last().is_some_and(|slice| slice.files_read.is_some())
    }
}

/// The end of a pass, which leaves behind up to which analysis everything was read; the empty text is none, of a list that is there.
fn done(coverage: Coverage, analysed: Option<&str>, mark: Option<&str>) -> Next<Cursor> {
    Next::Done(coverage, Some(analysed.or(mark).unwrap_or_default().into()))
}

impl SonarQube {
    pub(super) fn search(&self, server: &Server, list: List<'_>, branch: Option<&str>, slice: &Slice) -> Request<'_> {
        let request = if list.hotspots {
            self.get(server, "/api/hotspots/search").query(if server.since(10, 2) { "project" } else { "projectKey" }, Some(list.project))
        } else {
            let everything = self.settings.include_bugs_and_code_smells;
            let (name, value) = match (server.mqr, everything) {
                (true, everything) => ("impactSoftwareQualities", (!everything).then_some("SECURITY")),
                (false, true) => ("types", Some("VULNERABILITY,BUG,CODE_SMELL")),
                (false, false) => ("types", Some("VULNERABILITY")),
            };
            self.get(server, "/api/issues/search")
                .query(if server.since(10, 2) { "components" } else { "componentKeys" }, Some(list.project))
                .query("organization", server.organization.as_ref())
                .query(name, value.filter(|_| !slice.has(name)))
        };
        slice.apply(request.query("branch", branch))
    }

    /// One page of issues in the order of their last change, the newest first, whatever their state.
    pub(super) async fn changes(
        &self,
        cx: &Context,
        server: &Server,
        list: List<'_>,
        mut walk: Changes,
        since: jiff::Timestamp,
        mark: Option<&str>,
    ) -> Result<Page<Cursor>> {
        let page = walk.pages + 1;
        let since = if walk.is_read { narrowed(since) } else { since };
        let rows = self.newest(cx, server, list, walk.branch.as_deref(), page, PAGE).await?;
        let (total, count) = (rows.paging.total, rows.rows.len() as u64);
        if page == 1 && rows.rows.is_empty() {
            self.ensure_readable(cx, server, list.project, walk.branch.as_deref()).await?;
        }
        let ended = rows.rows.is_empty()
            || rows.rows.iter().any(|raw| is_older(raw, since))
            || (page * PAGE >= total && count < PAGE && !Server::cuts(total));
        if !ended && !walk.asked {
            return self.many_changes(cx, server, list, walk, since, mark, total).await;
        }
        let read = self.read(cx, server, list, walk.branch.as_deref(), rows).await?;
        walk.pages = page;
        let next = match () {
            () if ended => done(Coverage::Delta, walk.analysed.as_deref(), mark),
            () if (page + 1) * PAGE > WINDOW => {
                cx.another_part();
                Next::More(Cursor::Slices(Slices::of(walk.branch, walk.analysed)))
            }
            () => Next::More(Cursor::Changes(walk)),
        };
        Ok(Page::new(read, None, next))
    }

    async fn newest(&self, cx: &Context, server: &Server, list: List<'_>, branch: Option<&str>, page: u64, size: u64) -> Result<Rows> {
        let request = self.search(server, list, branch, &Slice::default()).query("s", Some("UPDATE_DATE")).query("asc", Some(false));
        let answer = request.query("p", Some(page)).query("ps", Some(size)).send::<Rows>(cx).await;
        Ok(answer.map_err(|error| self.with_hint(error))?.body)
    }

    /// What follows when more than a page has changed: mostly an analysis. Its issues carry the date at which it was sent in, and
    /// are listed when it was worked off, so changes are read from some hours back. Once all of it was read, that is not needed
    /// any more. More changes than a search shows are read as a whole list, and not one by one before that.
    #[expect(clippy::too_many_arguments, reason = "a walk's state")]
    async fn many_changes(
        &self,
        cx: &Context,
        server: &Server,
        list: List<'_>,
        mut walk: Changes,
        since: jiff::Timestamp,
        mark: Option<&str>,
        total: u64,
    ) -> Result<Page<Cursor>> {
        walk.asked = true;
        walk.analysed = self.analysed(cx, server, list.project, walk.branch.as_deref()).await?;
        walk.is_read = walk.analysed.is_some() && walk.analysed.as_deref() == mark;
        let since = if walk.is_read { narrowed(since) } else { since };
        if Server::cuts(total) {
            let last = self.newest(cx, server, list, walk.branch.as_deref(), WINDOW, 1).await?;
            if !last.rows.iter().any(|raw| is_older(raw, since)) {
                return Ok(Page::empty(Next::More(Cursor::Slices(Slices::of(walk.branch, walk.analysed)))));
            }
        }
        // The first page is read again: what was analysed meanwhile stands on it.
        Ok(Page::empty(Next::More(Cursor::Changes(walk))))
    }

    /// One page of the slice at hand. The server's own order is kept, the only one in which rows have fixed places.
    pub(super) async fn slices(
        &self,
        cx: &Context,
        server: &Server,
        list: List<'_>,
        mut walk: Slices,
        mark: Option<&str>,
    ) -> Result<Page<Cursor>> {
        let quiet = |total, next| Ok(Page { total, ..Page::empty(next) });
        let Some(slice) = walk.slices.last() else { return quiet(None, end_of_slices(cx, &walk, mark)) };
        let page = walk.pages + 1;
        let branch = walk.branch.as_deref();
        let sent = self.search(server, list, branch, slice).query("p", Some(page)).query("ps", Some(PAGE)).send::<Rows>(cx).await;
        let rows = match sent {
            Ok(answer) => answer.body,
            Err(error) if list.hotspots && is_retired(&error) => {
                self.has_no_hotspots(cx, server, list, branch, error).await?;
                return quiet(None, done(Coverage::Full, None, mark));
            }
            Err(error) => return Err(self.with_hint(error)),
        };
        let total = rows.paging.total;
        let declared = Some(total).filter(|_| slice.is_whole() && !(server.cloud && Server::cuts(total)));
        let (none, full) = (rows.rows.is_empty(), rows.rows.len() as u64 >= PAGE);
        let is_all = page == 1 && slice.is_whole();
        if is_all && none && self.ensure_readable(cx, server, list.project, branch).await?.need_issue_sync {
            cx.incomplete("the server is still indexing the project's issues");
        }
        // Or the total was wrong, and the window is full.
        if (page == 1 && Server::cuts(total)) || (full && page * PAGE >= WINDOW) {
            if slice.is_whole() && self.is_in_database(cx, server, list, &walk, total).await? {
                let Slices { branch, analysed, .. } = walk;
                cx.another_part();
                return quiet(declared, Next::More(Cursor::Database(Database { branch, pages: 0, analysed })));
            }
            if slice.step < self.steps(server, list).len() {
                walk.cut = true;
                cx.another_part();
                return quiet(declared, Next::More(Cursor::Slices(walk)));
            }
            walk.left_out = true;
            cx.warn(format!(
                "{}: more than 10,000 {} are alike ({slice}): the rest of them cannot be listed, and nothing is closed",
                list.project,
                if list.hotspots { "hotspots" } else { "issues" }
            ));
        }
        let read = self.read(cx, server, list, branch, rows).await?;
        walk.pages = page;
        // A full page is not the last one, whatever the total says, unless no search shows more.
        if none || page * PAGE >= WINDOW || (!full && page * PAGE >= total) {
            walk.pages = 0;
            walk.slices.pop();
            cx.another_part();
        }
        let next = if walk.slices.is_empty() { end_of_slices(cx, &walk, mark) } else { Next::More(Cursor::Slices(walk)) };
        Ok(Page::new(read, declared, next))
    }

    /// Fails unless the server is up, knows the project, and still has no call for hotspots: one that starts has none either.
    async fn has_no_hotspots(&self, cx: &Context, server: &Server, list: List<'_>, branch: Option<&str>, error: Error) -> Result<()> {
        if let Some(why) = self.starting(cx).await {
            return Err(Error::new(error.doing, ErrorKind::Pending(why)));
        }
        self.ensure_readable(cx, server, list.project, branch).await?;
        let again = self.search(server, list, branch, &Slice::default()).query("p", Some(1)).query("ps", Some(1));
        match again.send::<Rows>(cx).await {
            Err(error) if is_retired(&error) => Ok(()),
            Err(error) => Err(self.with_hint(error)),
            Ok(_) => Err(Error::new(error.doing, ErrorKind::Pending("SonarQube has just learnt this call: it starts".into()))),
        }
    }

    /// Whether a list beyond the window is to be read from the server's database. That knows no filter by impact: with many more
    /// issues of other kinds slices are cheaper.
    async fn is_in_database(&self, cx: &Context, server: &Server, list: List<'_>, walk: &Slices, wanted: u64) -> Result<bool> {
        if list.hotspots || walk.no_database || !server.lists_issues() {
            return Ok(false);
        }
        if !server.mqr || self.settings.include_bugs_and_code_smells {
            return Ok(true);
        }
        let request = self.get(server, "/api/issues/search").query("components", Some(list.project)).query("branch", walk.branch.as_ref());
        let all = request.query("p", Some(1)).query("ps", Some(1)).send::<Rows>(cx).await.map_err(|error| self.with_hint(error))?;
        Ok(all.body.paging.total <= wanted.saturating_mul(OTHERS))
    }

    /// One page of a whole list from the database, which says no total: it ends with an empty page.
    pub(super) async fn database(
        &self,
        cx: &Context,
        server: &Server,
        list: List<'_>,
        mut walk: Database,
        mark: Option<&str>,
    ) -> Result<Page<Cursor>> {
        let everything = self.settings.include_bugs_and_code_smells;
        let types = Some("VULNERABILITY").filter(|_| !everything && !server.mqr);
        let request = self.get(server, "/api/issues/list").query("project", Some(list.project)).query("branch", walk.branch.as_ref());
        let request = request.query("types", types).query("p", Some(walk.pages + 1)).query("ps", Some(PAGE));
        let rows = match request.send::<Rows>(cx).await {
            Ok(answer) => answer.body,
            // It is an internal call: a server may lose it.
            Err(error) if walk.pages == 0 && is_retired(&error) => {
                let slices = Slices { no_database: true, ..Slices::of(walk.branch, walk.analysed) };
                return Ok(Page::empty(Next::More(Cursor::Slices(slices))));
            }
            Err(error) => return Err(self.with_hint(error)),
        };
        if rows.rows.is_empty() {
            return Ok(Page::empty(done(Coverage::Full, walk.analysed.as_deref(), mark)));
        }
        let list = List { filtered: types.is_some(), ..list };
        let read = self.read(cx, server, list, walk.branch.as_deref(), rows).await?;
        walk.pages += 1;
        Ok(Page::new(read, None, Next::More(Cursor::Database(walk))))
    }

    /// A page's rows as findings, with the texts of their rules.
    async fn read(&self, cx: &Context, server: &Server, list: List<'_>, branch: Option<&str>, mut rows: Rows) -> Result<Decoded> {
        let mut wanted = BTreeMap::new();
        for row in rows.rows.iter().map(|raw| ItemKey::at(raw)) {
            if let (Some(rule), Some(key)) = (row.text_key(list.hotspots), row.key) {
                wanted.entry(rule).or_insert(key);
            }
        }
        let texts: HashMap<String, Arc<Rule>> = stream::iter(wanted)
            .map(|(rule, finding)| async move {
                let text = if list.hotspots {
                    self.hotspot_rule(cx, server, &rule, finding).await
                } else {
                    self.rule(cx, server, list, branch, &rule).await
                };
                text.map(|text| (rule, text))
            })
            .buffer_unordered(MAX_CONCURRENT_RULES)
            .try_collect()
            .await?;
        let paths = rows.take_paths();
        let everything = self.settings.include_bugs_and_code_smells;
        let about = PageContext { location: self.bearer.location(), server, list, everything, texts, paths };
        Ok(if list.hotspots {
            items(rows.rows, Self::META.cut, |row| Ok(finding::hotspot(row, &about, cx)), |key: Key| Some(hotspot_key(&key.key?)))
        } else {
            items(rows.rows, Self::META.cut, |row| Ok(finding::issue(row, &about, cx)), |key: Key| key.key)
        })
    }

    /// The ways to cut a list, in order.
    fn steps(&self, server: &Server, list: List<'_>) -> Vec<Step> {
        if list.hotspots {
            let resolutions: &[&str] = if server.cloud { &["FIXED", "SAFE"] } else { &["FIXED", "SAFE", "ACKNOWLEDGED"] };
            return vec![Step::Values("status", &["TO_REVIEW", "REVIEWED"]), Step::Values("resolution", resolutions)];
        }
        let mut steps = vec![Step::Facet(if server.mqr { "impactSeverities" } else { "severities" })];
        if self.settings.include_bugs_and_code_smells {
            steps.push(if server.mqr {
                Step::Values("impactSoftwareQualities", &["SECURITY", "RELIABILITY", "MAINTAINABILITY"])
            } else {
                Step::Values("types", &["VULNERABILITY", "BUG", "CODE_SMELL"])
            });
        }
        steps.extend([Step::Dates, Step::Facet("rules")]);
        // Cloud has no filter by file.
        steps.extend((!server.cloud).then_some(Step::Files));
        steps
    }

    /// Cuts the slice at hand by its next step; one that does not divide it leaves it to the step after.
    pub(super) async fn cut(&self, cx: &Context, server: &Server, list: List<'_>, mut walk: Slices) -> Result<Page<Cursor>> {
        let steps = self.steps(server, list);
        let slice = walk.slices.pop().unwrap_or_default();
        let ask = |name: &str, value: &str| {
            let request = self.search(server, list, walk.branch.as_deref(), &slice).query("ps", Some(1)).query("p", Some(1));
            request.query(name, Some(value))
        };
        if let Some(Step::Files) = steps.get(slice.step) {
            return self.cut_by_files(cx, server, list, walk, slice).await;
        }
        let parts: Vec<Slice> = match steps.get(slice.step) {
            Some(Step::Values("resolution", _)) if slice.value("status") != Some("REVIEWED") => Vec::new(),
            Some(Step::Values(name, values)) => values.iter().map(|value| slice.with(name, value)).collect(),
            Some(Step::Facet(name)) => {
                let answer = ask("facets", name).send::<Rows>(cx).await.map_err(|error| self.with_hint(error))?.body;
                let values: Vec<(&str, u64)> = answer.facet(name).collect();
                let counted: u64 = values.iter().map(|(_, count)| count).sum();
                let complete = values.len() < FACET || (!server.cloud && counted >= answer.paging.total);
                if complete { values.iter().map(|(value, _)| slice.with(name, value)).collect() } else { Vec::new() }
            }
            Some(Step::Dates) => {
                let mut ends = [None, None];
                for (end, ascending) in ends.iter_mut().zip(["true", "false"]) {
                    let request = ask("s", "CREATION_DATE").query("asc", Some(ascending));
                    let answer = request.send::<Rows>(cx).await.map_err(|error| self.with_hint(error))?.body;
                    let created = answer.rows.first().and_then(|raw| ItemKey::at(raw).creation_date);
                    *end = created.and_then(|text| text::time(&text)).map(jiff::Timestamp::as_second);
                }
                if let [Some(first), Some(last)] = ends { slice.halves(first, last).into_iter().flatten().collect() } else { Vec::new() }
            }
            Some(Step::Files) | None => Vec::new(),
        };
        walk.cut = parts.is_empty() && slice.step + 1 < steps.len();
        if parts.is_empty() {
            walk.slices.push(slice.next_step());
        } else {
            walk.slices.extend(parts.into_iter().rev());
        }
        walk.pages = 0;
        Ok(Page::empty(Next::More(Cursor::Slices(walk))))
    }

    /// Cuts a slice by files: into what is on the next few files of the project and what is left, and a slice of several files
    /// into halves. What is on no file, but on the project itself, is a part of its own.
    async fn cut_by_files(&self, cx: &Context, server: &Server, list: List<'_>, mut walk: Slices, slice: Slice) -> Result<Page<Cursor>> {
        (walk.cut, walk.pages) = (false, 0);
        if slice.has("files") {
            match slice.halves_of_files() {
                Some(halves) => walk.slices.extend(halves),
                None => walk.slices.push(slice.next_step()),
            }
            return Ok(Page::empty(Next::More(Cursor::Slices(walk))));
        }
        let page = slice.files_read.unwrap_or(0) + 1;
        let request = self.get(server, "/api/components/tree").query("component", Some(list.project)).query("branch", walk.branch.as_ref());
        let request = request.query("qualifiers", Some("FIL,UTS")).query("p", Some(page)).query("ps", Some(FILES));
        let tree = request.send::<Tree>(cx).await.map_err(|error| self.with_hint(error))?.body;
        let is_last = page * FILES >= tree.paging.total;
        let (paths, odd): (Vec<String>, Vec<String>) = tree.paths().partition(|path| !path.contains(','));
        if let Some(path) = odd.first() {
            walk.left_out = true;
            cx.warn(format!(
                "{}: issues on a file whose path has a comma cannot be asked for: `{}`",
                list.project,
                text::single_line(path)
            ));
        }
        if page == 1 {
            walk.slices.push(slice.with("onComponentOnly", "true"));
        }
        if !is_last {
            walk.slices.push(slice.after_files(page));
        }
        if !paths.is_empty() {
            walk.slices.push(slice.on(&paths.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        Ok(Page::empty(Next::More(Cursor::Slices(walk))))
    }
}

/// The end of a walk over slices.
fn end_of_slices(cx: &Context, walk: &Slices, mark: Option<&str>) -> Next<Cursor> {
    if walk.left_out {
        cx.incomplete("some findings are so alike that the list cannot be cut into parts of at most 10,000");
        return Next::Done(Coverage::Delta, None);
    }
    done(Coverage::Full, walk.analysed.as_deref(), mark)
}

/// From where changes are read when no analysis can bring older ones.
fn narrowed(since: jiff::Timestamp) -> jiff::Timestamp {
    let overlap = jiff::SignedDuration::try_from(SonarQube::META.overlap).unwrap_or_default();
    since.checked_add(overlap).and_then(|start| start.checked_sub(CLOCKS)).unwrap_or(since)
}

fn is_older(raw: &RawValue, since: jiff::Timestamp) -> bool {
    ItemKey::at(raw).update_date.and_then(|text| text::time(&text)).is_some_and(|at| at < since)
}
