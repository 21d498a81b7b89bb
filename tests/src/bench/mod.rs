//! Benchmarks: ratios against a baseline in the same run, since absolute times say more of the machine than of us.
//!
//! [`edge`] puts the Worker beside a bare JavaScript pass-through and a JavaScript worker that does the same work, in
//! one workerd; [`ingest`] puts the backend beside binary COPY and single INSERTs into the same table; [`log`] measures the
//! sequencer and the wait for a head, [`tenants`] that wait with five hundred logs; [`insight`] asks what rules, tallies and streams
//! cost it; [`streams`] pauses one for an hour;
//! [`export`] reads everything back; [`search`] asks about a year of events; [`retention`] lets a month of events go and puts DELETE
//! and VACUUM beside it; [`verify`] is the verifier's core on one thread; [`peers`] asks what others cost the application's database.
//! [`publish`] keeps what was found beside what was wanted, and [`growth`] draws it.

pub mod edge;
pub mod export;
pub mod growth;
pub mod ingest;
pub mod insight;
mod load;
pub mod log;
pub mod peers;
mod process;
pub mod publish;
mod report;
pub mod retention;
pub mod search;
pub mod streams;
pub mod tenants;
pub mod verify;
mod wanted;
mod year;

pub use report::Report;

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Under three minutes in all; for a look.
    Quick,
    /// For figures that are written down.
    Full,
}

/// Why a benchmark did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A part did not start.
    #[error(transparent)]
    Stack(#[from] crate::stack::StackError),
    /// A socket or file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Something answered otherwise than it must.
    #[error("{0}")]
    Answer(String),
}
