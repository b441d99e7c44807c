//! Records: projects, and cloud environments, which only their issues name.

use super::{
    Cursor, Part, Snyk,
    finding::project_url,
    told,
    wire::{Issue, Key, Project},
};
use crate::prelude::*;

impl Snyk {
    pub(super) async fn project_page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        const ROUTE: &str = "/rest/orgs/{}/projects";
        let first = self.rest(ROUTE, &[&ask.scope.key]).query("expand", Some("target"));
        let (data, next) = self.list(cx, first, ROUTE, &ask.cursor).await.map_err(|error| told(error, "org.project.read"))?;
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
            name: text::line(about.name.as_deref().unwrap_or(&id)),
            url: project_url(self.app.as_deref(), &org.title, &id, None),
            key: id.into(),
            kind: "project".into(),
            attributes,
        }
    }

    /// Cloud environments are records too, but only their issues name them.
    pub(super) async fn environment_page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        const ROUTE: &str = "/rest/orgs/{}/issues";
        let first = self.rest(ROUTE, &[&ask.scope.key]).query("type", Some("cloud"));
        let (data, next) = self.list(cx, first, ROUTE, &ask.cursor).await.map_err(|error| told(error, "org.project.snapshot.read"))?;
        let mut environments: Vec<Item> = Vec::new();
        for issue in data.iter().filter_map(|raw| serde_json::from_str::<Issue>(raw.get()).ok()) {
            let item = &issue.relationships.scan_item.data;
            let known = |other: &Item| matches!(other, Item::Record(record) if *record.key == *item.id);
            if item.kind != "environment" || environments.iter().any(known) {
                continue;
            }
            let all = issue.attributes.coordinates.iter().flatten().flat_map(|coordinate| coordinate.representations.iter().flatten());
            let named =
                all.filter_map(|place| place.cloud_resource.as_ref()?.environment.as_ref()).find(|at| at.id.as_ref() == Some(&item.id));
            environments.push(Item::Record(Record {
                name: text::line(named.and_then(|environment| environment.name.as_deref()).unwrap_or(&item.id)),
                key: item.id.as_str().into(),
                kind: "environment".into(),
                url: None,
                attributes: attributes([
                    ("type", named.and_then(|environment| environment.kind.clone())),
                    ("native_id", named.and_then(|environment| environment.native_id.clone())),
                ]),
            }));
        }
        let next = next.map_or(Next::FULL, |next| Next::More(Cursor { part: Part::Cloud, ..next }));
        Ok(Page::of(environments, next))
    }
}
