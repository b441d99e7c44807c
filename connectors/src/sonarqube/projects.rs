//! The lists of projects: which one may be read depends on the server and the account.

use super::{
    Cursor, PAGE, SonarQube, WINDOW,
    finding::link,
    server::{Server, expiry},
    wire::{Components, Key, Project},
};
use crate::{kit::Request, prelude::*};

/// The lists of projects, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projects {
    /// `api/components/search_projects`: Browse is enough, 10,000 at most.
    Visible,
    /// `api/projects/search`: for administrators, without that limit. The documented list of Cloud.
    All,
    /// `api/components/search`: the public list, 10,000 at most.
    Components,
}

impl Projects {
    pub(super) fn of_cloud(self) -> bool {
        self != Projects::Visible
    }
}

impl SonarQube {
    pub(super) fn list(&self, server: &Server, list: Projects, page: u64, size: u64) -> Request<'_> {
        let request = match list {
            // Applications of commercial editions are in this list too.
            Projects::Visible => self.get(server, "/api/components/search_projects").query("filter", Some("qualifier = TRK")),
            Projects::All => self.get(server, "/api/projects/search"),
            Projects::Components => self.get(server, "/api/components/search").query("qualifiers", Some("TRK").filter(|_| !server.cloud)),
        };
        request.query("organization", server.organization.as_ref()).query("p", Some(page)).query("ps", Some(size))
    }

    pub(super) async fn projects(&self, cx: &Context, server: &Server, list: Projects, pages: u64) -> Result<Page<Cursor>> {
        let page = pages + 1;
        let elsewhere = |list| Ok(Page::empty(Next::More(Cursor::Projects(list, 0))));
        let Components { paging, components } = match (self.list(server, list, page, PAGE).send(cx).await, list) {
            (Ok(answer), _) => {
                if let Some((_, Some(warning))) = expiry(&answer.headers, cx) {
                    cx.warn(warning);
                }
                answer.body
            }
            (Err(error), Projects::Visible) if next_list(&error) && pages == 0 => return elsewhere(Projects::All),
            (Err(error), Projects::All) if next_list(&error) && pages == 0 => return elsewhere(Projects::Components),
            (Err(error), _) => return Err(self.list_hinted(server, error)),
        };
        if list == Projects::Visible && pages == 0 && paging.total > WINDOW {
            return elsewhere(Projects::All);
        }
        // What may not be seen is taken out of a page after it was counted: a short page is not the last one.
        let next = match () {
            () if page * PAGE >= paging.total => Next::FULL,
            () if list != Projects::All && (page + 1) * PAGE > WINDOW => {
                cx.incomplete("more than 10,000 projects: only an account with Administer System can list them all");
                Next::Done(Coverage::Delta, None)
            }
            () => Next::More(Cursor::Projects(list, page)),
        };
        let total = Some(paging.total).filter(|_| list == Projects::All);
        let read = items(components, Self::META.cut, |project: Project| Ok(self.record(server, project)), |key: Key| key.key);
        Ok(Page::new(read, total, next))
    }

    fn record(&self, server: &Server, project: Project) -> Item {
        if project.qualifier.as_deref().is_some_and(|qualifier| qualifier != "TRK") {
            return Item::Skipped { key: project.key.into(), reason: "not a project" };
        }
        let route = if server.cloud { "/project/overview" } else { "/dashboard" };
        Item::Record(Record {
            url: Some(link(self.bearer.location(), route, &[("id", Some(&project.key))])),
            name: text::single_line(project.name.as_deref().unwrap_or(&project.key)),
            key: project.key.into(),
            kind: "project".into(),
            attributes: attributes([("visibility", project.visibility), ("tags", project.tags.map(|tags| tags.join(", ")))]),
        })
    }
}

/// Whether another list of projects is worth a try.
pub(super) fn next_list(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Forbidden(_) | ErrorKind::Refused { status: 400 | 404 | 410, .. })
}
