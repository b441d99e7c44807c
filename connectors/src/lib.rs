//! Connectors: what Tributary knows about each vendor's API.
//!
//! Read in this order: [`model`] says what comes out (findings and product records in one vocabulary), [`Connector`] says
//! what a vendor file answers (one page for one cursor), [`kit`] is what it may lean on (HTTP with auth, limits, retries,
//! caps; item-by-item decoding), and [`CONNECTORS`] lists the vendors. This crate knows nothing of the
//! database, the schedule or the command line: the arrow points one way.

pub mod aikido;
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
    Absence, CheckReport, Connector, Coverage, DynConnector, Item, Job, Judge, Mended, Meta, NOT_LISTED, Next, Page, PageRequest, Parts,
    RawPage, RawPageRequest, RecordRef, Registration, Reject, ResumeToken, Scope, Sign, StoredKeys,
};
pub use error::{Error, ErrorKind, Excerpt, Recovery, Result};
pub use kit::{Context, RunStats};

/// Every connector of this build, in alphabetical order. Adding a vendor adds its line here.
pub static CONNECTORS: &[Registration] = &[
    Registration::of::<aikido::Aikido>(),
    #[cfg(feature = "aws")]
    Registration::of::<aws_security_hub::AwsSecurityHub>(),
    Registration::of::<burp::Burp>(),
    Registration::of::<checkmarx::Checkmarx>(),
    Registration::of::<dependency_track::DependencyTrack>(),
    Registration::of::<probely::Probely>(),
    Registration::of::<semgrep::Semgrep>(),
    Registration::of::<snyk::Snyk>(),
    Registration::of::<sonarqube::SonarQube>(),
    Registration::of::<tenable::Tenable>(),
];

/// Connectors that are named in the contract and not built yet, with their [`Meta::vendors`]. Building one moves its line into
/// [`CONNECTORS`].
pub static PLANNED: &[(&str, &[&str])] = &[
    ("aws_inspector2", &[]),
    ("bitsight", &["BIT_SIGHT"]),
    ("black_kite", &[]),
    ("crowdstrike", &[]),
    ("crowdstrike_spotlight", &[]),
    ("insightvm", &[]),
    ("mend", &[]),
    ("ms_defender_endpoint", &[]),
    ("ms_defender_vms", &[]),
    ("ms_entra", &[]),
    ("okta", &["OKTA_IDP"]),
    ("process_unity", &["PROCESSUNITY"]),
    ("qualys", &[]),
    ("security_scorecard", &[]),
    ("sentinelone", &[]),
    ("sentinelone_vms", &[]),
    ("wiz_code", &[]),
    ("wiz_vms", &[]),
];

/// What nearly every vendor file needs.
pub(crate) mod prelude {
    pub(crate) use schemars::JsonSchema;
    pub(crate) use serde::{Deserialize, Serialize};
    pub(crate) use serde_json::value::RawValue;

    pub(crate) use crate::{
        Absence, CheckReport, Connector, Coverage, Error, ErrorKind, Item, Job, Meta, NOT_LISTED, Next, Page, PageRequest, Result, Scope,
        kit::{Auth, Context, Decoded, Endpoint, Http, Secret, items},
        model::{Category, Cvss, Finding, Ids, Record, Severity, State, attributes, ids, lines, text},
    };
}
