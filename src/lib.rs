//! Tributary keeps a faithful local copy of what security tools say.
//!
//! `config` reads what is wanted, `sync` walks the connectors' pages, `store` keeps what they deliver. The connectors are a
//! crate of their own and know nothing of these.

pub mod cli;
pub mod config;
mod failpoint;
pub mod schedule;
pub mod store;
pub mod sync;
