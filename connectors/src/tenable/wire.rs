//! What Tenable sends besides findings and assets.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::{kit::Scalar, prelude::*};

#[derive(Deserialize)]
pub(super) struct Session {
    pub(super) container_uuid: String,
    pub(super) username: Option<String>,
    pub(super) email: Option<String>,
    #[serde(default)]
    pub(super) permissions: Scalar,
    pub(super) enabled: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Recent {
    #[serde(rename = "exports", deserialize_with = "Option::deserialize")]
    pub(super) _exports: Option<Vec<IgnoredAny>>,
}

/// `scans` may be null, but an answer without it is none.
#[derive(Deserialize)]
pub(super) struct Scans {
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) scans: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
pub(super) struct Scan {
    #[serde(default)]
    pub(super) id: Scalar,
    pub(super) schedule_uuid: Option<String>,
    #[serde(default)]
    pub(super) name: Scalar,
    #[serde(rename = "type", default)]
    pub(super) kind: Scalar,
    #[serde(default)]
    pub(super) owner: Scalar,
}

#[derive(Deserialize)]
pub(super) struct KnownScan {
    pub(super) schedule_uuid: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Started {
    Own { export_uuid: String },
    UnderWay { active_job_id: String },
}

#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) status: String,
    pub(super) reason: Option<String>,
    /// Numbers, each of which has to be read: a chunk that is passed over would make a part look whole.
    pub(super) chunks_available: Option<Vec<Scalar>>,
    #[serde(default)]
    pub(super) chunks_failed: Value,
    #[serde(default)]
    pub(super) chunks_cancelled: Value,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub(super) created: Scalar,
}
