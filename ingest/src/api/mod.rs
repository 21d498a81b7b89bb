//! HTTP: one file per endpoint, and [`router`] as their table of contents.

mod actors;
mod batches;
mod compliance;
mod coverage;
mod cursor;
mod echoes;
mod entities;
mod erasures;
mod events;
mod exports;
mod facets;
mod health;
mod histogram;
mod holds;
mod inbox;
mod integrity;
mod intents;
mod log;
mod openings;
mod policy;
mod problem;
mod proof;
mod quarantine;
mod reader;
mod reconciliation;
mod retention;
mod router;
mod search;
mod streams;
mod subjects;
mod writes;

pub use cursor::Cursors;
pub use problem::Answer;
pub use router::router;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::clock::Clock;
use crate::config::{Http, Log};
use crate::export::Exports;
use crate::ledger::sequencer::Sequencer;
use crate::own::Recorder;
use crate::policy::Policies;
use crate::privacy::Privacy;
use crate::receive::Receiver;
use crate::retention::Retention;
use crate::store::Store;

/// What endpoints work with.
#[derive(Debug, Clone)]
pub struct State {
    /// The store.
    pub store: Store,
    /// The way of batches.
    pub receiver: Receiver,
    /// The way of events of our own.
    pub recorder: Recorder,
    /// The tenants' rule packs.
    pub policies: Arc<Policies>,
    /// People's data.
    pub privacy: Arc<Privacy>,
    /// What goes when.
    pub retention: Retention,
    /// What searches find, as files.
    pub exports: Arc<Exports>,
    /// What readers go on with.
    pub cursors: Cursors,
    /// For its health.
    pub sequencer: Sequencer,
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// The time.
    pub clock: Clock,
    /// Limits of requests.
    pub http: Http,
    /// Whether tiles are public.
    pub log: Log,
}

/// The state as handlers share it.
pub type Shared = axum::extract::State<Arc<State>>;
