//! The tests of the simulated tools, by a client that knows nothing of the connectors.
//!
//! One binary: each further one would be linked with everything once more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aikido;
mod client;
mod contract;
mod probely;
mod semgrep;
mod sonarqube;
mod tenable;
