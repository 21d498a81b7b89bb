//! HTTP: one file per endpoint, and [`router`] as their table of contents.

mod access;
mod actors;
mod alerts;
pub(crate) mod answers;
mod as_of;
mod batches;
mod body;
mod compliance;
mod coverage;
mod cursor;
mod echoes;
mod entities;
mod erasures;
mod events;
mod executions;
mod exports;
mod facets;
mod fingerprint;
mod headers;
mod health;
mod histogram;
mod holds;
mod inbox;
mod integrity;
mod intents;
mod live;
mod log;
pub(crate) mod me;
pub mod openapi;
mod openings;
mod origin;
mod path;
mod patience;
mod policy;
mod problem;
mod proof;
mod quarantine;
mod reader;
mod reconciliation;
mod retention;
mod router;
mod routes;
mod run_metrics;
mod saved;
mod search;
mod session;
mod sign_in;
mod sinks;
mod streams;
mod subjects;
mod unmask;
mod writes;

pub(crate) use access::record as grant;
pub use cursor::Cursors;
pub use problem::Answer;
pub(crate) use reader::{Reader, cookie as session_token};
pub use router::{router, table};
pub use routes::Route;
pub(crate) use routes::Routes;
pub use sign_in::SignIn;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::auth::{FingerprintKey, Reads};
use crate::clock::Clock;
use crate::config::{Access, Http, Log};
use crate::detect::Rule;
use crate::export::Exports;
use crate::ledger::sequencer::Sequencer;
use crate::limits::Readers;
use crate::own::Recorder;
use crate::own_activity::OwnActivity;
use crate::policy::Policies;
use crate::privacy::Privacy;
use crate::readiness::Readiness;
use crate::receive::Receiver;
use crate::retention::Retention;
use crate::sink::Sinks;
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
    /// Where events are forwarded to.
    pub sinks: Arc<Sinks>,
    /// By which a value is found that the edge told by its keyed hash.
    pub fingerprints: Option<FingerprintKey>,
    /// What readers go on with.
    pub cursors: Cursors,
    /// How much each of them may ask.
    pub readers: Readers,
    /// What was read and has no event yet.
    pub reads: Reads,
    /// Where people reach us, and from where.
    pub access: Access,
    /// What people see of themselves.
    pub own_activity: Arc<OwnActivity>,
    /// How they sign in.
    pub sign_in: Arc<SignIn>,
    /// The rules of detection.
    pub rules: Arc<[Rule]>,
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
    /// Turns true when the server is told to stop: nobody new should come.
    pub leaving: watch::Receiver<bool>,
    /// Turns true when the server stops: what lasts must end then.
    pub stopping: watch::Receiver<bool>,
}

impl State {
    /// What the work needs.
    pub fn readiness(&self) -> Readiness {
        let (store, writer) = (self.store.clone(), self.receiver.writer.clone());
        Readiness { store, writer, sequencer: self.sequencer.clone(), leaving: self.leaving.clone() }
    }
}

/// The state as handlers share it.
pub type Shared = axum::extract::State<Arc<State>>;
