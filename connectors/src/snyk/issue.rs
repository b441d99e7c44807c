//! Issues with what has to be asked around them: their projects, and what V1 tells.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    LIMIT, Snyk,
    finding::{PageContext, finding},
    wire::{Issue, ItemKey, Key, Listing, Project},
    with_hint,
};
use crate::{kit::entry, prelude::*};

/// Projects that V1 is asked about at once.
const MAX_CONCURRENT_REQUESTS: usize = 4;

impl Snyk {
    /// Issues as findings, with what their projects and V1 say of them.
    pub(super) async fn read(&self, cx: &Context, org: &Scope, data: Vec<Box<RawValue>>) -> Result<Decoded> {
        let mut wanted: BTreeMap<String, (bool, bool)> = BTreeMap::new();
        for peek in data.iter().filter_map(|raw| entry::<ItemKey>(raw)) {
            let item = peek.relationships.scan_item.data;
            if item.kind != "project" {
                continue;
            }
            let open = peek.attributes.status != "resolved";
            let (fixes, ignores) = wanted.entry(item.id).or_default();
            *fixes |= open && peek.attributes.kind == "package_vulnerability";
            *ignores |= open && peek.attributes.ignored;
        }
        let mut around = PageContext { app: self.app.clone(), licenses: self.licenses, ..PageContext::default() };
        around.projects = self.about_projects(cx, &org.key, wanted.keys()).await?;
        let told: Vec<_> = stream::iter(wanted)
            .map(|(project, (fixes, ignores))| async move {
                let fixes = if fixes { Some(self.v1.fixes(&self.http, cx, &org.key, &project).await?) } else { None };
                let ignores = if ignores { Some(self.v1.ignores(&self.http, cx, &org.key, &project).await?) } else { None };
                Ok::<_, Error>((project, fixes, ignores))
            })
            .buffer_unordered(MAX_CONCURRENT_REQUESTS)
            .try_collect()
            .await?;
        for (project, fixes, ignores) in told {
            around.fixes.extend(fixes.map(|fixes| (project.clone(), fixes)));
            around.ignores.extend(ignores.map(|ignores| (project, ignores)));
        }
        Ok(items(data, &[], |issue: Issue| Ok(finding(issue, org, &around, cx)), |key: Key| key.id))
    }

    async fn about_projects(
        &self,
        cx: &Context,
        org: &str,
        ids: impl Iterator<Item = &String>,
    ) -> Result<HashMap<String, Arc<Option<Project>>>> {
        let (mut known, mut missing) = (HashMap::new(), Vec::new());
        for id in ids {
            match self.projects.get(org, id).await {
                Some(project) => drop(known.insert(id.clone(), project)),
                None => missing.push(id.as_str()),
            }
        }
        missing.sort_unstable();
        if !missing.is_empty() {
            let request = self.rest("/rest/orgs/{}/projects", &[org]).query("limit", Some(LIMIT)).query("ids", Some(missing.join(",")));
            let answer = request.send::<Listing>(cx).await.map_err(|error| with_hint(error, "org.project.read"))?;
            let found = answer.body.data.iter().filter_map(|raw| entry::<Project>(raw));
            let mut found: HashMap<String, Project> = found.map(|project| (project.id.clone(), project)).collect();
            for id in missing {
                known.insert(id.to_owned(), self.projects.put(org, id, found.remove(id)).await);
            }
        }
        Ok(known)
    }
}
