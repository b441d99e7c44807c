//! Connectors: what Tributary knows about each vendor's API.
//!
//! Read in this order: [`model`] says what comes out (findings and product records in one vocabulary), [`Connector`] says
//! what a vendor file answers (one page for one cursor), [`kit`] is what it may lean on (HTTP with auth, limits, retries,
//! caps; item-by-item decoding), and [`SOURCES`] lists the vendors. This crate knows nothing of the
//! database, the schedule or the command line: the arrow points one way.

#[cfg(feature = "aws")]
pub mod aws_security_hub;
pub mod burp;
pub mod checkmarx;
mod connector;
pub mod dependency_track;
mod error;
pub mod kit;
pub mod model;
pub mod probely;
pub mod semgrep;
pub mod snyk;
pub mod sonarqube;
pub mod tenable;

pub use connector::{
    Ask, Checked, Connector, Coverage, Entry, Item, Job, Mark, Mended, Meta, NOT_LISTED, Next, Page, Parts, RawAsk, RawPage, RecordRef,
    Reject, Scope, Source, Stored,
};
pub use error::{Error, Excerpt, Kind, Remedy, Result};
pub use kit::{Activity, Cx};

/// Every connector of this build, in alphabetical order. Adding a vendor adds its line here.
pub static SOURCES: &[Entry] = &[
    #[cfg(feature = "aws")]
    Entry::of::<aws_security_hub::AwsSecurityHub>(),
    Entry::of::<burp::Burp>(),
    Entry::of::<checkmarx::Checkmarx>(),
    Entry::of::<dependency_track::DependencyTrack>(),
    Entry::of::<probely::Probely>(),
    Entry::of::<semgrep::Semgrep>(),
    Entry::of::<snyk::Snyk>(),
    Entry::of::<sonarqube::SonarQube>(),
    Entry::of::<tenable::Tenable>(),
];

/// What nearly every vendor file needs.
pub(crate) mod prelude {
    pub(crate) use schemars::JsonSchema;
    pub(crate) use serde::{Deserialize, Serialize};
    pub(crate) use serde_json::value::RawValue;

    pub(crate) use crate::{
        Ask, Checked, Connector, Coverage, Error, Item, Job, Kind, Meta, NOT_LISTED, Next, Page, Result, Scope,
        kit::{Auth, Cx, Decoded, Http, Link, Secret, items},
        model::{Category, Cvss, Finding, Ids, Record, Severity, State, attributes, ids, lines, text},
    };
}
