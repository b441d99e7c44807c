//! Records: projects, and cloud environments, which only their issues name.

use super::{
    Cursor, Part, Snyk,
    finding::{cloud_url, project_url},
    wire::{Environment, Issue, Key, Project},
    with_hint,
};
use crate::{kit::entry, prelude::*};

impl Snyk {
    pub(super) async fn project_page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        const ROUTE: &str = "/rest/orgs/{}/projects";
        let first = self.rest(ROUTE, &[&ask.scope.key]).query("expand", Some("target"));
        let (data, next) = self.list(cx, first, ROUTE, &ask.cursor).await.map_err(|error| with_hint(error, "org.project.read"))?;
        let next = next.unwrap_or(Cursor { part: Part::Cloud, ..Cursor::default() });
        let read = items(data, &[], |project: Project| Ok(Item::Record(self.record(project, ask.scope))), |key: Key| key.id);
        Ok(Page::new(read, None, Next::More(next)))
    }

    fn record(&self, project: Project, org: &Scope) -> Record {
        let Project { id, attributes: about, relationships } = project;
        let target = relationships.and_then(|all| all.target).and_then(|target| target.data).and_then(|data| data.attributes);
        let tags = about.tags().collect::<Vec<_>>().join(", ");
        let attributes = attributes([
            ("organization", (!org.title.is_empty()).then(|| org.title.to_string())),
            ("target", target.as_ref().and_then(|target| target.display_name.clone())),
            ("target_url", target.and_then(|target| target.url)),
            ("type", about.kind),
            ("origin", about.origin),
            ("target_file", about.target_file),
            ("branch", about.target_reference),
            ("status", about.status),
            ("business_criticality", Some(about.business_criticality.unwrap_or_default().join(", "))),
            ("environment", Some(about.environment.unwrap_or_default().join(", "))),
            ("lifecycle", Some(about.lifecycle.unwrap_or_default().join(", "))),
            ("tags", Some(tags)),
        ]);
        Record {
            name: text::single_line(about.name.as_deref().unwrap_or(&id)),
            url: project_url(self.app.as_deref(), &org.title, &id, None),
            key: id.into(),
            kind: "project".into(),
            attributes,
        }
    }

    /// Cloud environments are records too, but only their issues name them.
    pub(super) async fn environment_page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        const ROUTE: &str = "/rest/orgs/{}/issues";
        let first = self.rest(ROUTE, &[&ask.scope.key]).query("type", Some("cloud"));
        let (data, next) = self.list(cx, first, ROUTE, &ask.cursor).await.map_err(|error| with_hint(error, "org.project.snapshot.read"))?;
        let mut met = ask.cursor.environments;
        let mut records: Vec<Item> = Vec::new();
        for issue in data.iter().filter_map(|raw| entry::<Issue>(raw)) {
            let item = issue.relationships.scan_item.data;
            if item.kind != "environment" || met.get(&item.id) == Some(&true) {
                continue;
            }
            let all = issue.attributes.coordinates.iter().flatten().flat_map(|coordinate| coordinate.representations.iter().flatten());
            // The environment of a resource has an id of its own, which need not be that of the scanned item.
            let mut there: Vec<&Environment> = all.filter_map(|place| place.cloud_resource.as_ref()?.environment.as_ref()).collect();
            there.sort_by_key(|at| (at.id.as_ref() != Some(&item.id), &at.name));
            let named = there.into_iter().find(|environment| environment.name.is_some());
            records.extend(named.map(|named| self.environment(&item.id, Some(named), ask.scope)));
            met.insert(item.id, named.is_some());
        }
        let next = match next {
            Some(next) => Next::More(Cursor { part: Part::Cloud, environments: met, ..next }),
            None => {
                // What no issue names is called by its id.
                let unnamed = met.iter().filter(|(_, named)| !**named);
                records.extend(unnamed.map(|(id, _)| self.environment(id, None, ask.scope)));
                Next::FULL
            }
        };
        Ok(Page::of(records, next))
    }

    fn environment(&self, id: &str, named: Option<&Environment>, org: &Scope) -> Item {
        Item::Record(Record {
            name: text::single_line(named.and_then(|environment| environment.name.as_deref()).unwrap_or(id)),
            key: id.into(),
            kind: "environment".into(),
            url: cloud_url(self.app.as_deref(), &org.title),
            attributes: attributes([
                ("type", named.and_then(|environment| environment.kind.clone())),
                ("native_id", named.and_then(|environment| environment.native_id.clone())),
            ]),
        })
    }
}
