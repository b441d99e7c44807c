//! Tributary keeps a faithful local copy of what security tools say.
//!
//! `config` reads what is wanted, `sync` walks the connectors' pages, `store` keeps what they deliver. The connectors are a
//! crate of their own and know nothing of these.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
mod failpoint;
pub mod http;
mod notify;
mod process;
pub mod status;
pub mod store;
pub mod sync;
