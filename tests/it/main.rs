//! The tests of the whole program: `cargo test --test it faults::` runs those of one subject.
//!
//! One binary: each further one would be linked with everything once more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arrows;
mod aws_security_hub;
mod burp;
mod checkmarx;
mod command_line;
mod common;
mod conformance;
mod container;
mod daemon;
mod decisions;
mod deltas;
mod dependency_track;
mod documents;
mod durability;
mod engine;
mod faults;
mod lifecycle;
mod model;
mod packaging;
mod probely;
mod read_only;
mod secrets;
mod semgrep;
mod snyk;
mod soak;
mod sonarqube;
mod standing;
mod streams;
mod systemd;
mod tenable;
mod things;
