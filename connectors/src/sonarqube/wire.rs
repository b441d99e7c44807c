//! What SonarQube's lists send.

use super::finding::text_key;
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
    pub(super) components: Vec<Component>,
    pub(super) facets: Option<Vec<Facet>>,
}

#[derive(Deserialize)]
pub(super) struct Component {
    pub(super) key: Option<String>,
    pub(super) path: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Facet {
    pub(super) property: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) values: Vec<Value>,
}

#[derive(Deserialize)]
pub(super) struct Value {
    pub(super) val: String,
    #[serde(deserialize_with = "count")]
    pub(super) count: u64,
}

/// What has to be known of a row before it is mapped.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Peek {
    pub(super) key: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) rule_key: Option<String>,
    pub(super) security_category: Option<String>,
    pub(super) message: Option<String>,
    pub(super) creation_date: Option<String>,
    pub(super) update_date: Option<String>,
}

impl Peek {
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
