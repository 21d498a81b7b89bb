//! The real parts as child processes: `edgetrail serve` with its PostgreSQL, and the Worker in workerd.
//!
//! Each part has a directory for its configuration, log and data, keeps its port and data over a restart, can be
//! stopped (SIGTERM, SIGKILL after a grace period) or killed outright, and stops when it is dropped. Signals go to
//! children by the id under which they were started and are not yet waited for, so never to anything else.

mod api;
mod capnp;
mod edge;
mod files;
mod ingest;
mod process;
mod signing;
mod worker;

pub use api::{Api, ApiError};
pub use capnp::{Module, ModuleKind, QueueOptions, WorkerSpec};
pub use edge::{Auth, Delivery, DeliveryMode, EdgeConfig, Mount, Supabase};
pub use files::{
    chromium_bin, edge_bundle, edgetrail_bin, entered_by, open_to_postgres, postgres_bin, verifier_page,
    workerd_bin, workspace_root,
};
pub use ingest::{Ingest, IngestSpec};
pub use process::{Process, free_port};
pub use signing::SigningKey;
pub use worker::{DEAD_LETTERS, EVENTS, Surroundings, Worker};

use std::io;
use std::path::PathBuf;

/// Why a part did not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A file or a process could not be made.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something that has to be built or installed first is not there.
    #[error("{what} is missing: {hint}")]
    Missing {
        /// What.
        what: &'static str,
        /// How to get it.
        hint: String,
    },
    /// The process ended before it was ready.
    #[error("{name} ended before it was ready ({status}); its log {log} ends:\n{tail}", log = log.display())]
    Ended {
        /// Which process.
        name: &'static str,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// The process is there but not ready in time.
    #[error("{name} was not ready in {seconds} s; its log {log} ends:\n{tail}", log = log.display())]
    NotReady {
        /// Which process.
        name: &'static str,
        /// How long it had.
        seconds: u64,
        /// Its log.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// workerd does not answer.
    #[error(transparent)]
    Wire(#[from] crate::wire::WireError),
    /// workerd does not tell how many messages wait.
    #[error("workerd does not tell its backlog: {status} {body}")]
    Backlog {
        /// The status of its answer.
        status: u16,
        /// The body of its answer.
        body: String,
    },
    /// PostgreSQL does not say where it is.
    #[error("there is no running database in {0}")]
    NoDatabase(PathBuf),
    /// The list of the Worker's modules cannot be read.
    #[error("modules.json: {0}")]
    Modules(#[from] serde_json::Error),
}

impl StackError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
