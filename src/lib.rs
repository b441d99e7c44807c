//! Tributary keeps a faithful local copy of what security tools say.
//!
//! The modules use each other in one direction only, from the command line down to the store; `docs/architecture.md` shows the
//! order, and `tests/it/arrows.rs` keeps it. The connectors are a package of their own and know nothing of these.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod error_code;
mod failpoint;
pub mod http;
mod log;
pub mod metrics;
mod notify;
pub mod operation;
mod process;
pub mod status;
pub mod store;
pub mod sync;
