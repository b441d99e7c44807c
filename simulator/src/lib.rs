//! Simulators of vendors' APIs: servers on loopback that speak each tool's protocol as its fact sheet says.
//!
//! They are test equipment and the stage of `tributary demo`. They share no code, constants or parsing with the
//! connectors: each is written from the vendor's documentation alone, so that a misreading on either side shows.
//! Every simulator holds seeded data, checks the credential, answers errors with the real tool's bodies, follows a
//! script of [`Fault`]s, can be moved one [`Change`] on, and knows its [`Oracle`]: what a correct client must end with.

mod body;
pub mod door;
pub mod fault;
pub mod ledger;
pub mod list;
pub mod oracle;
pub mod seed;
mod server;

pub mod aikido;
pub mod aws_security_hub;
pub mod burp;
pub mod checkmarx;
pub mod dependency_track;
pub mod probely;
pub mod semgrep;
pub mod snyk;
pub mod sonarqube;
pub mod tenable;

pub use fault::{Fault, Faults, Odd};
pub use oracle::{Change, Oracle, Truth};
use std::sync::Arc;

pub use server::{Logged, Raw, Running, Size, Vendor, start, start_any, why_not};

/// Makes a simulated tool.
pub type Make = fn(Size) -> Arc<dyn Vendor>;

/// Every simulated tool, by its connector's id: what `tributary demo` starts, and the tests of all tools walk.
pub static VENDORS: &[(&str, Make)] = &[
    ("aikido", |size| Arc::new(aikido::Aikido::new(size))),
    ("aws_security_hub", |size| Arc::new(aws_security_hub::AwsSecurityHub::new(size))),
    ("burp", |size| Arc::new(burp::Burp::new(size))),
    ("checkmarx", |size| Arc::new(checkmarx::Checkmarx::new(size))),
    ("dependency_track", |size| Arc::new(dependency_track::DependencyTrack::new(size))),
    ("probely", |size| Arc::new(probely::Probely::new(size))),
    ("semgrep", |size| Arc::new(semgrep::Semgrep::new(size))),
    ("snyk", |size| Arc::new(snyk::Snyk::new(size))),
    ("sonarqube", |size| Arc::new(sonarqube::SonarQube::new(size))),
    ("tenable", |size| Arc::new(tenable::Tenable::new(size))),
];
