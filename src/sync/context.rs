//! What an operation and each of its walks need: the engine, the connection, and what is noted while they run.

use std::sync::{Arc, Mutex};

use tributary_connectors::{DynConnector, RunStats};
use uuid::Uuid;

use super::{Engine, Plan, Progress};
use crate::store::{Delivered, Lease, OperationKind};

/// An operation; each of its walks is a task of its own and holds it.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) engine: Engine,
    pub(super) source: Arc<dyn DynConnector>,
    pub(super) plan: Plan,
    pub(super) lease: Lease,
    pub(super) operation: Uuid,
    /// What the lists that are walked hold: records, or everything else.
    pub(super) kind: OperationKind,
    /// What its walks have been delivered so far.
    pub(super) delivered: Arc<Mutex<Delivered>>,
    pub(super) activity: Arc<RunStats>,
    pub(super) progress: Progress,
}
