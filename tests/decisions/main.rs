//! What people decided, and what is concluded from lists: on the real engine and store, with lists written by hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod absence;
mod carrying;
mod duplicates;
mod tool;
