//! Sites: what the tree lists, and the records they become.

use super::scan::Reach;
use crate::{kit::or_default, prelude::*};

pub(super) fn record(site: Site, kind: &str, folders: &[Node], skip_ephemeral: bool) -> Item {
    if skip_ephemeral && site.ephemeral == Some(true) {
        return Item::Skipped { key: site.id.into(), reason: "ephemeral site" };
    }
    let (mut path, mut parent) = (Vec::new(), site.parent_id.as_deref());
    // A parent that is not listed is the root; the bound ends a tree that is none.
    while let Some(folder) =
        parent.and_then(|id| folders.iter().find(|folder| folder.id.as_deref() == Some(id))).filter(|_| path.len() < 32)
    {
        path.extend(folder.name.as_deref());
        parent = folder.parent_id.as_deref();
    }
    path.reverse();
    let urls = site.scope_v2.and_then(|reach| reach.start_urls).unwrap_or_default().into_iter().collect::<Vec<_>>().join(" ");
    Item::Record(Record {
        name: text::line(site.name.as_deref().unwrap_or(&site.id)),
        key: site.id.into(),
        kind: kind.into(),
        url: None,
        attributes: attributes([("folder", Some(path.join(" / "))), ("start_urls", Some(urls)), ("correlation_id", site.correlation_id)]),
    })
}

#[derive(Deserialize)]
pub(super) struct Tree {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) folders: Vec<Node>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) sites: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) cids_sites: Vec<Box<RawValue>>,
}

impl Tree {
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        self.sites.iter().chain(&self.cids_sites).filter_map(|site| serde_json::from_str::<Node>(site.get()).ok()?.id)
    }

    pub(super) fn lists(&self, site: &str) -> bool {
        self.keys().any(|key| key == site)
    }
}

/// A folder, a scan configuration, or the key of a site.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) parent_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Site {
    id: String,
    name: Option<String>,
    parent_id: Option<String>,
    ephemeral: Option<bool>,
    scope_v2: Option<Reach>,
    correlation_id: Option<String>,
}
