//! Sites: what the tree lists, and the records they become.

use serde::Deserializer;

use crate::{
    kit::{Scalar, Texts, or_default},
    prelude::*,
};

pub(super) fn record(site: Site, kind: &str, folders: &[Node], skip_ephemeral: bool) -> Result<Item, String> {
    let key = site.id.text().ok_or("no id")?;
    if skip_ephemeral && site.ephemeral.text() == Some("true") {
        return Ok(Item::Skipped { key: key.into(), reason: "ephemeral site" });
    }
    let (mut path, mut parent) = (Vec::new(), site.parent_id.text());
    // A parent that is not listed is the root; the bound ends a tree that is none.
    while let Some(folder) =
        parent.and_then(|id| folders.iter().find(|folder| folder.id.as_deref() == Some(id))).filter(|_| path.len() < 32)
    {
        path.extend(folder.name.as_deref());
        parent = folder.parent_id.as_deref();
    }
    path.reverse();
    let urls = site.scope_v2.map(|reach| reach.start_urls.sorted().join(" "));
    Ok(Item::Record(Record {
        name: text::single_line(site.name.text().unwrap_or(key)),
        key: key.into(),
        kind: kind.into(),
        url: None,
        attributes: attributes([("folder", Some(path.join(" / "))), ("start_urls", urls), ("correlation_id", site.correlation_id.0)]),
    }))
}

#[derive(Deserialize)]
pub(super) struct Tree {
    #[serde(default, deserialize_with = "or_default")]
    folders: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) sites: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) cids_sites: Vec<Box<RawValue>>,
}

impl Tree {
    /// The folders that can be read: one that cannot costs its name in the path of its sites.
    pub(super) fn folders(&self) -> Vec<Node> {
        self.folders.iter().filter_map(|folder| serde_json::from_str(folder.get()).ok()).collect()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        self.sites.iter().chain(&self.cids_sites).filter_map(|site| serde_json::from_str::<Node>(site.get()).ok()?.id)
    }

    pub(super) fn lists(&self, site: &str) -> bool {
        self.keys().any(|key| key == site)
    }
}

/// A folder, a scan configuration, or the key of a site.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    #[serde(deserialize_with = "scalar")]
    pub(super) id: Option<String>,
    #[serde(deserialize_with = "scalar")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "scalar")]
    pub(super) parent_id: Option<String>,
}

/// A text that may be written as a number.
pub(super) fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Scalar::deserialize(deserializer)?.text().map(str::to_owned))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Site {
    id: Scalar,
    name: Scalar,
    parent_id: Scalar,
    ephemeral: Scalar,
    scope_v2: Option<Start>,
    correlation_id: Scalar,
}

/// Where the scans of a site begin.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Start {
    start_urls: Texts,
}
