//! What others ask of the store, as named structs: no SQL and no row leaves this folder.

mod status;

pub use status::{EndedOperation, Failures, FindingCount, RunningOperation, Waiting};
