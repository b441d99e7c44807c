//! Simulators of vendors' APIs: servers on loopback that speak each tool's protocol as its fact sheet says.
//!
//! They are test equipment and the stage of `tributary demo`. They share no code, constants or parsing with the
//! connectors: each is written from the vendor's documentation alone, so that a misreading on either side shows.
//! Every simulator holds seeded data, checks the credential, answers errors with the real tool's bodies, follows a
//! script of [`Fault`]s, can be moved one [`Change`] on, and knows its [`Oracle`]: what a correct client must end with.

pub mod fault;
pub mod oracle;
pub mod seed;
mod server;

pub mod burp;
pub mod dependency_track;

pub use fault::{Fault, Faults};
pub use oracle::{Change, Oracle, Truth};
use std::sync::Arc;

pub use server::{Logged, Running, Size, Vendor, start, start_any};

/// Makes a simulated tool.
pub type Make = fn(Size) -> Arc<dyn Vendor>;

/// Every simulated tool, by its connector's id: what `tributary demo` starts.
pub static VENDORS: &[(&str, Make)] = &[
    ("burp", |size| Arc::new(burp::Burp::new(size))),
    ("dependency_track", |size| Arc::new(dependency_track::DependencyTrack::new(size))),
];
