//! What others ask of the store: answers are named structs, or rows with named columns. No SQL and no type of the database leaves
//! this folder.

mod findings;
mod operations;
mod records;
mod status;
mod table;
mod things;

use rusqlite::Connection;

pub use records::LastSync;
pub use status::{EndedOperation, Failures, FindingCount, RunningOperation, Waiting};
pub use table::Table;

/// A connection for reading only; it sees whole transactions and hinders no writer.
#[derive(Debug)]
pub struct Reader(pub(in crate::store) Connection);
