//! What SonarQube's lists send.

use std::collections::HashMap;

use crate::{
    kit::{count, or_default},
    prelude::*,
};

#[derive(Deserialize)]
pub(super) struct Paging {
    #[serde(deserialize_with = "count")]
    pub(super) total: u64,
}

#[derive(Deserialize)]
pub(super) struct Components {
    pub(super) paging: Paging,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) components: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) key: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Project {
    pub(super) key: String,
    pub(super) name: Option<String>,
    pub(super) qualifier: Option<String>,
    pub(super) visibility: Option<String>,
    pub(super) tags: Option<Vec<String>>,
}

/// A page of issues or hotspots.
#[derive(Deserialize)]
pub(super) struct Rows {
    pub(super) paging: Paging,
    #[serde(rename = "issues", alias = "hotspots")]
    pub(super) rows: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "or_default")]
    components: Vec<Box<RawValue>>,
    #[serde(default, deserialize_with = "or_default")]
    facets: Vec<Facet>,
}

impl Rows {
    /// Paths of the files, by component key.
    pub(super) fn take_paths(&mut self) -> HashMap<String, String> {
        let components = std::mem::take(&mut self.components);
        let read = components.iter().filter_map(|raw| serde_json::from_str::<Component>(raw.get()).ok());
        read.filter_map(|component| Some((component.key?, component.path?))).collect()
    }

    /// The values of a facet that some row has, with how many have each.
    pub(super) fn facet(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        let found = self.facets.iter().filter(move |facet| facet.property == name).flat_map(|facet| &facet.values);
        found.map(|value| (value.val.as_str(), value.count)).filter(|(_, count)| *count > 0)
    }
}

#[derive(Deserialize)]
struct Component {
    key: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Facet {
    property: String,
    #[serde(default, deserialize_with = "or_default")]
    values: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    val: String,
    #[serde(deserialize_with = "count")]
    count: u64,
}

/// A page of `api/components/tree`: the files of a project.
#[derive(Deserialize)]
pub(super) struct Tree {
    pub(super) paging: Paging,
    #[serde(default, deserialize_with = "or_default")]
    components: Vec<Component>,
}

impl Tree {
    pub(super) fn paths(self) -> impl Iterator<Item = String> {
        self.components.into_iter().filter_map(|file| file.path)
    }
}

/// What `api/components/show` says of a project or branch.
#[derive(Deserialize)]
pub(super) struct Shown {
    pub(super) component: PageContext,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageContext {
    pub(super) analysis_date: Option<String>,
    /// Whether the search engine does not hold all of its issues yet.
    #[serde(deserialize_with = "or_default")]
    pub(super) need_issue_sync: bool,
}

/// What `api/ce/component` says of a project: analyses that wait or are being worked off.
#[derive(Deserialize)]
pub(super) struct Tasks {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) queue: Vec<serde::de::IgnoredAny>,
}

/// What has to be known of a row before it is mapped.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ItemKey {
    pub(super) key: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) rule_key: Option<String>,
    pub(super) security_category: Option<String>,
    pub(super) message: Option<String>,
    pub(super) creation_date: Option<String>,
    pub(super) update_date: Option<String>,
}

impl ItemKey {
    pub(super) fn at(raw: &RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    pub(super) fn text_key(&self, hotspot: bool) -> Option<String> {
        if hotspot {
            return Some(text_key(self.rule_key.as_deref(), self.security_category.as_deref(), self.message.as_deref()));
        }
        self.rule.clone().filter(|rule| !rule.is_empty())
    }
}

/// The key of a hotspot as a finding: issues and hotspots may have the same one.
pub(super) fn hotspot_key(key: &str) -> String {
    format!("hotspot:{key}")
}

/// Under which rule texts are kept. Before 9.7 hotspots do not name their rule, but one rule says the same of all of them.
pub(super) fn text_key(rule: Option<&str>, category: Option<&str>, message: Option<&str>) -> String {
    rule.map_or_else(|| format!("{} {}", category.unwrap_or_default(), message.unwrap_or_default()), str::to_owned)
}
