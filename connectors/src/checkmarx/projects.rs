//! Projects and applications: read whole before a job, and one by one when a walk goes on after a restart.

use std::{collections::HashMap, sync::Arc};

use super::{
    Checkmarx, Cursor, ROWS,
    place::{Counts, Place},
    repeated,
    wire::{Application, Listed, Listing, Named, Project},
};
use crate::{Excerpt, kit::entry, prelude::*};

impl Checkmarx {
    /// The rows of a list that is needed as a whole before anything else can be read.
    pub(super) async fn everything<T: serde::de::DeserializeOwned>(&self, cx: &Context, route: &'static str, role: &str) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut place = Some(Place { counts: Counts::Rows, ..Place::default() });
        while let Some(at) = place {
            let listing = self.list(route, at.offset, ROWS).send::<Listing>(cx).await.map_err(|error| self.with_hint(error, role))?.body;
            let (total, rows) = (listing.declared(), listing.rows.unwrap_or_default());
            (place, _) = at.after(&ids(&rows), rows.len() as u64, total, ROWS).ok_or_else(|| repeated(route))?;
            // What has no id is rejected where it is listed.
            all.extend(rows.iter().filter_map(|raw| entry::<T>(raw)));
        }
        Ok(all)
    }

    pub(super) async fn applications(&self, cx: &Context) -> Result<()> {
        let all: Vec<Application> = match self.everything(cx, "/api/applications", "view-applications").await {
            Err(error) if matches!(error.kind, ErrorKind::Forbidden(_)) => {
                cx.warn("applications cannot be read (role view-applications): findings go without their names");
                Vec::new()
            }
            all => all?,
        };
        for Application { id, name } in all {
            self.applications.put("", &id, text::single_line(&name)).await;
        }
        Ok(())
    }

    /// Names of a project's applications, in order.
    pub(super) async fn names(&self, project: &Project) -> Vec<Box<str>> {
        let mut names: Vec<Box<str>> = Vec::new();
        for id in project.application_ids.iter().flatten() {
            names.extend(self.applications.get("", id).await.map(|name| (*name).clone()));
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(super) async fn project(&self, cx: &Context, key: &str) -> Result<Arc<Project>> {
        if let Some(project) = self.projects.get("", key).await {
            return Ok(project);
        }
        let sent = self.list("/api/projects", 0, 1).query("ids", Some(key)).send::<Listing>(cx).await;
        let rows = sent.map_err(|error| self.with_hint(error, "view-projects"))?.body.rows.unwrap_or_default();
        let found = rows.iter().find_map(|raw| entry::<Project>(raw).filter(|project| project.id == key));
        let gone = || {
            let body = Excerpt::new("it is not listed");
            let error = Error::new("looking for the project", ErrorKind::Refused { status: 404, body });
            error.with_hint("it was deleted, or its groups were taken from the credential: the next discover tells")
        };
        Ok(self.projects.put("", key, found.ok_or_else(gone)?).await)
    }

    pub(super) async fn project_page(&self, cx: &Context, cursor: Cursor) -> Result<Page<Cursor>> {
        let place = Place { counts: Counts::Rows, ..cursor.place };
        let sent = self.list("/api/projects", place.offset, ROWS).send::<Listing>(cx).await;
        let listing = sent.map_err(|error| self.with_hint(error, "view-projects"))?.body;
        let (total, rows) = (listing.declared(), listing.rows.unwrap_or_default());
        let (next, count) = place.after(&ids(&rows), rows.len() as u64, total, ROWS).ok_or_else(|| repeated("/api/projects"))?;
        let next = match next {
            Some(place) => Next::More(Cursor { place, ..Cursor::default() }),
            None if count < total => {
                cx.incomplete(format!("the vendor declares {total} projects and delivered {count}"));
                Next::Done(Coverage::Delta, None)
            }
            None => Next::FULL,
        };
        let mut names = HashMap::new();
        for project in rows.iter().filter_map(|raw| entry::<Project>(raw)) {
            names.insert(project.id.clone(), self.names(&project).await.join(", "));
        }
        let read = items(rows, &[], |project: Listed| Ok(self.record(project, &names)), |named: Named| named.id);
        Ok(Page::new(read, None, next))
    }

    /// The record of a project; `applications` are their names, by project.
    fn record(&self, project: Listed, applications: &HashMap<String, String>) -> Item {
        let tags = project.tags.iter().flatten().map(|(key, value)| match value.text() {
            Some(value) => [key, ":", value].concat(),
            None => key.clone(),
        });
        let tags = tags.collect::<Vec<_>>().join(", ");
        Item::Record(Record {
            name: text::single_line(project.name.as_deref().unwrap_or(&project.id)),
            kind: "project".into(),
            url: Some(self.project_url(&project.id).into()),
            attributes: attributes([
                ("applications", applications.get(&project.id).cloned()),
                ("repository", project.repo_url),
                ("main branch", project.main_branch),
                ("criticality", project.criticality.0),
                ("origin", project.origin),
                ("tags", Some(tags)),
            ]),
            key: project.id.into(),
        })
    }

    pub(super) fn project_url(&self, project: &str) -> String {
        self.http.location().join("/projects/{}/overview", &[project]).into()
    }
}

fn ids(rows: &[Box<RawValue>]) -> Vec<String> {
    rows.iter().filter_map(|raw| serde_json::from_str::<Named>(raw.get()).ok()?.id).collect()
}
