//! Walks over a project's issues or hotspots: what changed, or the whole list, slice by slice.

use super::{
    Cursor, List, PAGE, SonarQube, WINDOW, is_retired,
    server::Server,
    slice::{Slice, Step},
    wire::{Peek, Rows, Value},
};
use crate::{kit::Request, prelude::*};

/// A facet lists no more values than this.
const FACET: usize = 100;

/// A walk over a whole list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Slices {
    /// The branch as the server wants it; `None` is the main one.
    branch: Option<String>,
    /// What is not read yet; the last one is being read.
    slices: Vec<Slice>,
    /// Pages of it that are read.
    pages: u64,
    /// Whether it is to be cut.
    pub(super) cut: bool,
    /// Whether something could not be listed.
    left_out: bool,
}

impl Slices {
    pub(super) fn of(branch: Option<String>) -> Self {
        Slices { branch, slices: vec![Slice::default()], pages: 0, cut: false, left_out: false }
    }
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
        cx: &Cx,
        server: &Server,
        list: List<'_>,
        branch: Option<String>,
        pages: u64,
        since: jiff::Timestamp,
    ) -> Result<Page<Cursor>> {
        let page = pages + 1;
        let request = self.search(server, list, branch.as_deref(), &Slice::default());
        let request = request.query("s", Some("UPDATE_DATE")).query("asc", Some(false)).query("p", Some(page)).query("ps", Some(PAGE));
        let rows = request.send::<Rows>(cx).await.map_err(|error| self.hinted(error))?.body;
        let total = rows.paging.total;
        if pages == 0 && rows.rows.is_empty() {
            self.prove(cx, server, list.project, branch.as_deref()).await?;
        }
        let older = |row: Peek| row.update_date.and_then(|text| text::time(&text)).is_some_and(|at| at < since);
        let next = match () {
            () if rows.rows.is_empty()
                || rows.rows.iter().any(|raw| older(Peek::at(raw)))
                || (page * PAGE >= total && (rows.rows.len() as u64) < PAGE && !Server::cuts(total)) =>
            {
                Next::Done(Coverage::Delta, None)
            }
            // More has changed than can be listed in this order.
            () if (page + 1) * PAGE > WINDOW => Next::More(Cursor::Slices(Slices::of(branch))),
            () => Next::More(Cursor::Changes(branch, page)),
        };
        Ok(Page::new(self.read(cx, server, list, rows).await?, None, next))
    }

    /// One page of the slice at hand. The server's own order is kept, the only one in which rows have fixed places.
    pub(super) async fn slices(&self, cx: &Cx, server: &Server, list: List<'_>, mut walk: Slices) -> Result<Page<Cursor>> {
        let quiet = |total, next| Ok(Page { total, ..Page::empty(next) });
        let Some(slice) = walk.slices.last() else { return quiet(None, Next::FULL) };
        let page = walk.pages + 1;
        let branch = walk.branch.as_deref();
        let sent = self.search(server, list, branch, slice).query("p", Some(page)).query("ps", Some(PAGE)).send::<Rows>(cx).await;
        let rows = match sent {
            Ok(answer) => answer.body,
            Err(error) if list.hotspots && is_retired(&error) => {
                self.prove(cx, server, list.project, branch).await?;
                return quiet(None, Next::FULL);
            }
            Err(error) => return Err(self.hinted(error)),
        };
        let total = rows.paging.total;
        let declared = Some(total).filter(|_| slice.is_whole() && !(server.cloud && Server::cuts(total)));
        if page == 1 && slice.is_whole() && rows.rows.is_empty() {
            self.prove(cx, server, list.project, branch).await?;
        }
        // Or the total was wrong, and the window is full.
        let full = rows.rows.len() as u64 >= PAGE;
        if (page == 1 && Server::cuts(total)) || (full && page * PAGE >= WINDOW) {
            if slice.step < self.steps(server, list).len() {
                walk.cut = true;
                return quiet(declared, Next::More(Cursor::Slices(walk)));
            }
            walk.left_out = true;
            cx.warn(format!(
                "{}: more than 10,000 {} are alike ({slice}): the rest of them cannot be listed, and nothing is closed",
                list.project,
                if list.hotspots { "hotspots" } else { "issues" }
            ));
        }
        walk.pages = page;
        // A full page is not the last one, whatever the total says, unless no search shows more.
        if rows.rows.is_empty() || page * PAGE >= WINDOW || (!full && page * PAGE >= total) {
            walk.pages = 0;
            walk.slices.pop();
        }
        let next = match (walk.slices.is_empty(), walk.left_out) {
            (false, _) => Next::More(Cursor::Slices(walk)),
            (true, false) => Next::FULL,
            (true, true) => {
                cx.incomplete("some findings are so alike that the list cannot be cut into parts of at most 10,000");
                Next::Done(Coverage::Delta, None)
            }
        };
        Ok(Page::new(self.read(cx, server, list, rows).await?, declared, next))
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
        if !server.cloud {
            steps.extend([Step::Facet("directories"), Step::Facet("files")]);
        }
        steps
    }

    /// Cuts the slice at hand by its next step; one that does not divide it leaves it to the step after.
    pub(super) async fn cut(&self, cx: &Cx, server: &Server, list: List<'_>, mut walk: Slices) -> Result<Page<Cursor>> {
        let steps = self.steps(server, list);
        let slice = walk.slices.pop().unwrap_or_default();
        let ask = |name: &str, value: &str| {
            let request = self.search(server, list, walk.branch.as_deref(), &slice).query("ps", Some(1)).query("p", Some(1));
            request.query(name, Some(value))
        };
        let parts: Vec<Slice> = match steps.get(slice.step) {
            Some(Step::Values("resolution", _)) if slice.value("status") != Some("REVIEWED") => Vec::new(),
            Some(Step::Values(name, values)) => values.iter().map(|value| slice.with(name, value)).collect(),
            Some(Step::Facet(name)) => {
                let answer = ask("facets", name).send::<Rows>(cx).await.map_err(|error| self.hinted(error))?.body;
                let found = answer.facets.into_iter().flatten().find(|facet| facet.property == *name);
                let values: Vec<Value> = found.into_iter().flat_map(|facet| facet.values).filter(|value| value.count > 0).collect();
                let counted: u64 = values.iter().map(|value| value.count).sum();
                let complete = values.len() < FACET || (!server.cloud && counted >= answer.paging.total);
                if complete { values.iter().map(|value| slice.with(name, &value.val)).collect() } else { Vec::new() }
            }
            Some(Step::Dates) => {
                let mut ends = [None, None];
                for (end, ascending) in ends.iter_mut().zip(["true", "false"]) {
                    let request = ask("s", "CREATION_DATE").query("asc", Some(ascending));
                    let answer = request.send::<Rows>(cx).await.map_err(|error| self.hinted(error))?.body;
                    let created = answer.rows.first().and_then(|raw| Peek::at(raw).creation_date);
                    *end = created.and_then(|text| text::time(&text)).map(jiff::Timestamp::as_second);
                }
                if let [Some(first), Some(last)] = ends { slice.halves(first, last).into_iter().flatten().collect() } else { Vec::new() }
            }
            None => Vec::new(),
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
}
