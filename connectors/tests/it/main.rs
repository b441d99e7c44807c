//! The tests of the connectors without the program: `cargo test --test it recorded::` runs those of one subject.
//!
//! One binary: each further one would be linked with everything once more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod documents;
mod outgoing;
mod recorded;
mod shape;
