//! The running backend: opening the store, starting every task, and stopping them in the order that loses nothing.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::account::Accountant;
use crate::api::{self, Cursors, SignIn, State};
use crate::archive::{Archive, ArchiveError};
use crate::auth::{
    ApiKey, Attempts, FingerprintKey, FingerprintKeyError, Provider, Reads, Signers, Verifier, reads,
};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::correlate::{Follow, Reconciler, Witness, inference};
use crate::detect;
use crate::execution;
use crate::export::Exports;
use crate::followers::Followers;
use crate::integrity::Watch;
use crate::ledger::key::{KeyFileError, LogKey};
use crate::ledger::keyring::Keyring;
use crate::ledger::publication::{Publisher, PublisherError};
use crate::ledger::sequencer::{SequenceError, Sequencer};
use crate::limits::{Limits, Readers};
use crate::listen;
use crate::own::Recorder;
use crate::own_activity::{Disowned, OwnActivity};
use crate::policy::{Policies, relabel};
use crate::postgres::{Embedded, EmbeddedError, Neighbour};
use crate::privacy::Privacy;
use crate::receive::Receiver;
use crate::receive::backlog::Backlog;
use crate::receive::write::Writer;
use crate::retention::{self, Retention};
use crate::sink::{Sinks, Vault};
use crate::store::text_index::{self, Made, TextIndexError};
use crate::store::{Store, StoreError, api_keys, partitions, replica, signing_keys};
use crate::tally;
use crate::telemetry::{self, vitals};

/// Months are made three ahead, so a day more or less does not matter.
const PARTITION_CHECK: Duration = Duration::from_hours(24);
/// As often as retention may swap a month, which is without its index then.
const TEXT_INDEX_CHECK: Duration = Duration::from_hours(1);
/// Requests under way at a stop; their own timeout is 30 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(35);

/// A swap that has begun ends by then.
const REMOVAL_STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Why the backend does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The private PostgreSQL.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The URL of the operator's PostgreSQL. What it says may hold the password.
    #[error("{0}: is not a PostgreSQL URL (its value is not shown)")]
    Url(&'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key of the logs.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// Witnesses or the copies' storage.
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    /// The file with the key of fingerprints.
    #[error("fingerprint.key_file: {0}")]
    HashKey(#[from] FingerprintKeyError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What those who follow the events run on.
    #[error("no threads for those who follow the events: {0}")]
    Threads(std::io::Error),
    /// The listener.
    #[error("http.listen: {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// A migrated store and, if there is one, the private server under it.
#[derive(Debug)]
pub struct Database {
    /// The store.
    pub store: Store,
    /// The private server.
    pub embedded: Option<Embedded>,
}

impl Database {
    /// Connects to the operator's PostgreSQL or starts the private one, and migrates.
    ///
    /// # Errors
    /// [`ServeError`] says what is missing.
    pub async fn open(config: &Config, neighbour: Neighbour) -> Result<Self, ServeError> {
        let opened = Self::as_it_is(config, neighbour).await?;
        opened.store.migrate().await?;
        Ok(opened)
    }

    /// The same without migrating.
    ///
    /// # Errors
    /// [`ServeError`] says what is missing.
    pub async fn as_it_is(config: &Config, neighbour: Neighbour) -> Result<Self, ServeError> {
        let (options, embedded) = match &config.database.url {
            Some(url) => {
                let options: PgConnectOptions =
                    url.reveal().parse().map_err(|_| ServeError::Url("database.url"))?;
                (options, None)
            }
            None => {
                let data_dir = config.database.data_dir.clone();
                let shared_buffers_mb = config.database.shared_buffers_mb;
                let start = move || Embedded::start(&data_dir, shared_buffers_mb, neighbour);
                let embedded =
                    tokio::task::spawn_blocking(start).await.expect("starting PostgreSQL does not panic")?;
                (embedded.connect_options(), Some(embedded))
            }
        };
        let mut store = Store::open(&options, config.database.max_connections);
        if embedded.is_some() {
            store = store.on_this_machine(&options);
        }
        if let Some(url) = &config.database.read_url {
            let options: PgConnectOptions =
                url.reveal().parse().map_err(|_| ServeError::Url("database.read_url"))?;
            store = store.with_replica(&options, config.database.read_max_lag);
        }
        Ok(Self { store, embedded })
    }

    /// Closes the connections and stops the private server.
    pub async fn close(self) {
        self.store.close().await;
        if let Some(mut embedded) = self.embedded {
            let stop = tokio::task::spawn_blocking(move || embedded.stop());
            // It only waits for the server; a panic was reported.
            let _ = stop.await;
        }
    }
}

/// The backend, listening.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its database.
    pub database: Database,
    listener: TcpListener,
    state: Arc<State>,
    leaving: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
    accountant: Accountant,
    stop: watch::Sender<bool>,
    stored: Arc<Notify>,
    writer: JoinHandle<()>,
    witnesses: Vec<Witness>,
    erasure_sweep: Duration,
    retention: config::Retention,
    search: config::Search,
    publisher: Option<Publisher>,
    watch: Watch,
    followers: Followers,
}

impl Backend {
    /// Opens everything and binds the listener; nothing is answered before [`Self::run`].
    ///
    /// # Errors
    /// [`ServeError`] says what is missing.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, ServeError> {
        let metrics = telemetry::metrics();
        let keys = Keyring::load_or_create(&config.log.key_file, &config.log.origin)?;
        let policy_key =
            LogKey::load_or_create("policy.key_file", &config.policy.key_file, &config.log.origin)?;
        let database = Database::open(&config, Neighbour::Outwait).await?;
        let store = database.store.clone();
        let oldest = partitions::ensure(&store, clock.now().to_utc()).await?;
        for role in store.check_roles().await? {
            tracing::warn!(role, "this role is missing, the database itself refuses less");
        }
        for signer in &config.signers {
            signing_keys::upsert(&store, &signer.key, &signer.tenants).await?;
        }
        for entry in &config.api_keys {
            let key = ApiKey {
                id: entry.id.clone(),
                tenant: entry.tenant.clone(),
                tenure: entry.tenure,
                person: entry.person.clone(),
                sha256: entry.sha256.to_vec(),
            };
            api_keys::upsert(&store, &key, "configuration").await?;
        }
        let listen = |source| ServeError::Listen { address: config.http.listen, source };
        let listener = TcpListener::bind(config.http.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;

        let (stop, stopped) = watch::channel(false);
        let stored = Arc::new(Notify::new());
        let (writer, writing) = Writer::start(store.clone(), Arc::clone(&stored), stopped);
        let host = config.log.origin.clone();
        let mut sequencer = Sequencer::new(store.clone(), keys, host, clock.clone());
        let publisher = Publisher::new(&config.publication, store.clone(), clock.clone()).await?;
        if let Some(publisher) = &publisher {
            sequencer = sequencer.behind(publisher.gate());
            publisher.settle_at_start().await?;
        }
        match sequencer.check().await {
            Ok(()) => {}
            Err(SequenceError::Store(error)) => return Err(error.into()),
            // Batches are taken all the same: they wait in the queue until an operator has looked.
            Err(error) => tracing::error!(%error, "a log is not sequenced"),
        }
        let limits = Limits::new(config.limits);
        let receiver = Receiver {
            signers: Arc::new(Signers::new(store.clone())),
            limits: limits.clone(),
            backlog: Backlog::new(config.http.max_backlog_bytes),
            writer,
            clock: clock.clone(),
            oldest: Arc::new(AtomicI64::new(oldest.timestamp_micros())),
        };
        let recorder = Recorder::new(
            store.clone(),
            receiver.clone(),
            clock.clone(),
            &config.log.key_file,
            &config.log.origin,
        )?;
        if config.access.reads_window.is_none() {
            tracing::warn!("what readers look at is not recorded (access.record_reads)");
        }
        let reads = Reads::new(config.access.reads_window);
        let key = policy_key.derive("edgetrail/sign-in/v1");
        let sign_in = SignIn {
            attempts: Attempts::default(),
            app_tokens: config.access.app_tokens.as_ref().map(Verifier::of_app),
            oidc: config
                .access
                .oidc
                .as_ref()
                .zip(config.access.public_url.as_ref())
                .map(|(oidc, public_url)| Provider::new(oidc, public_url, key)),
        };
        let cursors = Cursors::new(&policy_key.derive("edgetrail/cursor/v1"));
        let disowned = Disowned::new(store.clone(), clock.clone(), config.own_activity.webhook.clone());
        let own_activity = OwnActivity::new(
            config.access.app_tokens.as_ref().and_then(|tokens| tokens.tenant.clone()),
            &config.own_activity,
            policy_key.derive("edgetrail/own-activity/v1"),
            disowned,
        );
        let policies = Arc::new(Policies::new(
            store.clone(),
            clock.clone(),
            policy_key,
            &config.log.origin,
            config.policy_keys,
            config.policy.allow_closed,
        ));
        tracing::info!(verifier = %policies.verifier(), "policies that two admins agree on are signed");
        let watch = Watch::new(store.clone(), recorder.clone(), clock.clone(), config.integrity);
        let archive = config.archive.as_ref().map(|it| Archive::open(it, store.clone())).transpose()?;
        let privacy = Arc::new(Privacy::new(
            store.clone(),
            recorder.clone(),
            clock.clone(),
            &config.log.key_file,
            &config.log.origin,
            &config.privacy,
            archive.clone(),
        )?);
        let exports = Arc::new(Exports::new(
            store.clone(),
            recorder.clone(),
            clock.clone(),
            config.log.key_file.with_file_name("exports"),
        ));
        let vault = config.sinks.key_file.as_deref().map(Vault::load_or_create).transpose()?;
        let behind = store.of_followers(receiver.writer.rush());
        let sinks = Sinks::new(behind, clock.clone(), config.sinks, vault, config.log.origin.clone());
        let followers = Followers::start().map_err(ServeError::Threads)?;
        let fingerprints = config.hash_key_file.as_deref().map(FingerprintKey::load).transpose()?;
        let witness = |it| Witness::new(it, store.clone(), recorder.clone(), clock.clone());
        let witnesses = config.witnesses.into_iter().map(witness).collect();
        let retention = Retention::new(store.clone(), recorder.clone(), clock.clone()).archiving(archive);
        let accountant = Accountant {
            store: store.clone(),
            recorder: recorder.clone(),
            limits,
            clock: clock.clone(),
            ages: config.accounting,
        };
        let (stopping, told_to_stop) = watch::channel(false);
        let (leaving, told_to_leave) = watch::channel(false);
        let state = Arc::new(State {
            store,
            receiver,
            recorder,
            policies,
            privacy,
            retention,
            exports,
            sinks,
            fingerprints,
            cursors,
            rules: config.detection.rules.into(),
            readers: Readers::new(config.limits.reader),
            reads,
            access: config.access,
            own_activity: Arc::new(own_activity),
            sign_in: Arc::new(sign_in),
            sequencer,
            metrics,
            clock,
            http: config.http,
            log: config.log,
            leaving: told_to_leave,
            stopping: told_to_stop,
        });
        let erasure_sweep = config.privacy.sweep;
        Ok(Self {
            address,
            database,
            listener,
            state,
            leaving,
            stopping,
            accountant,
            stop,
            stored,
            writer: writing,
            witnesses,
            erasure_sweep,
            retention: config.retention,
            search: config.search,
            publisher,
            watch,
            followers,
        })
    }

    /// The way of our own events.
    pub fn recorder(&self) -> Recorder {
        self.state.recorder.clone()
    }

    /// What goes when.
    pub fn retention(&self) -> Retention {
        self.state.retention.clone()
    }

    /// Serves until `until` is done; then says that it is not ready, after a while takes no more connections, finishes what was accepted, sequences it, and
    /// stops the private server.
    pub async fn run(self, until: impl Future<Output = ()> + Send + 'static) {
        let interval = self.state.log.interval;
        let (stop_sequencer, sequencer_stopped) = watch::channel(false);
        let sequencer = tokio::spawn(self.state.sequencer.clone().run(
            interval,
            Arc::clone(&self.stored),
            sequencer_stopped,
        ));
        let (stop_policies, policies_stopped) = watch::channel(false);
        let policies = tokio::spawn(relabel::run(
            Arc::clone(&self.state.policies),
            self.state.recorder.clone(),
            self.state.receiver.clone(),
            policies_stopped,
        ));
        let followers = self.followers;
        let behind = self.state.store.of_followers(self.state.receiver.writer.rush());
        let (stop_correlation, correlation_stopped) = watch::channel(false);
        let inference = followers.spawn(inference::run(
            behind.clone(),
            self.state.recorder.clone(),
            self.state.clock.clone(),
            correlation_stopped.clone(),
        ));
        let watch = tokio::spawn(self.watch.run(correlation_stopped.clone()));
        let (stop_publisher, publisher_stopped) = watch::channel(false);
        let publisher = self.publisher.map(|publisher| tokio::spawn(publisher.run(publisher_stopped)));
        let reconciler =
            Reconciler::new(behind.clone(), self.state.recorder.clone(), self.state.clock.clone());
        let reconciliation = followers.spawn(reconciler.run(correlation_stopped));
        let follow = Follow::new(behind.clone(), self.state.recorder.clone(), self.state.clock.clone());
        let (stop_privacy, privacy_stopped) = watch::channel(false);
        let mut privacy =
            tokio::spawn(Arc::clone(&self.state.privacy).run(self.erasure_sweep, privacy_stopped));
        let (stop_follow, follow_stopped) = watch::channel(false);
        let follow = followers.spawn(follow.run(follow_stopped));
        let (stop_retention, retention_stopped) = watch::channel(false);
        let retention = self.retention.automatic.then(|| {
            let retention = self.state.retention.clone();
            tokio::spawn(retention::run(retention, self.retention.interval, retention_stopped))
        });
        let tallies = followers.spawn(tally::follow::run(
            behind.clone(),
            self.state.clock.clone(),
            self.state.stopping.clone(),
        ));
        let (stop_access, access_stopped) = watch::channel(false);
        let access = tokio::spawn(reads::run(
            self.state.store.clone(),
            self.state.recorder.clone(),
            self.state.reads.clone(),
            self.state.clock.clone(),
            access_stopped,
        ));
        let (stop_disowned, disowned_stopped) = watch::channel(false);
        let disowned = tokio::spawn(Arc::clone(&self.state.own_activity.disowned).run(disowned_stopped));
        let (stop_detection, detection_stopped) = watch::channel(false);
        let detection = followers.spawn(detect::run(
            behind.clone(),
            Arc::clone(&self.state.rules),
            self.state.clock.clone(),
            detection_stopped,
        ));
        let executions = followers.spawn(execution::follow::run(behind, self.state.stopping.clone()));
        let vitals = tokio::spawn(vitals::run(
            self.state.readiness(),
            self.state.clock.clone(),
            self.state.stopping.clone(),
        ));
        let replica = tokio::spawn(replica::follow(
            self.state.store.clone(),
            self.state.clock.clone(),
            self.state.stopping.clone(),
        ));
        let sinks = followers.spawn(Arc::clone(&self.state.sinks).run(self.state.stopping.clone()));
        let (stop_exports, exports_stopped) = watch::channel(false);
        let mut exports = tokio::spawn(Arc::clone(&self.state.exports).run(exports_stopped));
        let months = tokio::spawn(keep_months(Arc::clone(&self.state)));
        let text_index =
            self.search.text_index.then(|| tokio::spawn(keep_text_index(Arc::clone(&self.state))));
        let witnesses: Vec<_> =
            self.witnesses.into_iter().map(|witness| tokio::spawn(witness.run())).collect();
        let accounts = tokio::spawn(self.accountant.run());

        let (stop_http, mut http_stopped) = watch::channel(false);
        let drain = self.state.http.drain;
        let graceful = async move {
            until.await;
            tracing::info!("stopping");
            let _ = self.leaving.send(true);
            tokio::time::sleep(drain).await;
            let _ = stop_http.send(true);
            let _ = self.stopping.send(true);
        };
        let app = api::router(Arc::clone(&self.state));
        tokio::select! {
            () = listen::serve(self.listener, app, self.state.http.connections, graceful) => {}
            // A client that keeps its connection open must not keep the process from stopping.
            () = async {
                let _ = http_stopped.wait_for(|stopped| *stopped).await;
                tokio::time::sleep(DRAIN_WITHIN).await;
            } => tracing::warn!("requests are still open, stopping all the same"),
        }
        months.abort();
        text_index.iter().for_each(JoinHandle::abort);
        let _ = stop_detection.send(true);
        let _ = detection.await;
        let _ = tallies.await;
        let _ = executions.await;
        let _ = vitals.await;
        let _ = replica.await;
        let _ = sinks.await;
        // What it records still goes through the writer.
        let _ = stop_access.send(true);
        let _ = access.await;
        let _ = stop_policies.send(true);
        let _ = stop_correlation.send(true);
        let _ = stop_privacy.send(true);
        // An erasure that is cut off is begun again.
        if tokio::time::timeout(REMOVAL_STOPS_WITHIN, &mut privacy).await.is_err() {
            privacy.abort();
        }
        let _ = stop_retention.send(true);
        // A message under way is due again later.
        let _ = stop_disowned.send(true);
        disowned.abort();
        // A job under way waits in the queue again.
        let _ = stop_exports.send(true);
        if tokio::time::timeout(REMOVAL_STOPS_WITHIN, &mut exports).await.is_err() {
            exports.abort();
        }
        let _ = policies.await;
        accounts.abort();
        let _ = inference.await;
        let _ = reconciliation.await;
        let _ = watch.await;
        let _ = stop_follow.send(true);
        let _ = follow.await;
        // A month under way is left as it is: what was not swapped was not touched.
        if let Some(mut retention) = retention
            && tokio::time::timeout(REMOVAL_STOPS_WITHIN, &mut retention).await.is_err()
        {
            retention.abort();
        }
        witnesses.iter().for_each(JoinHandle::abort);
        // First the writer, so that the last round of the sequencer sees all of its batches.
        let _ = self.stop.send(true);
        let _ = self.writer.await;
        let _ = stop_sequencer.send(true);
        let _ = sequencer.await;
        let _ = stop_publisher.send(true);
        if let Some(publisher) = publisher {
            let _ = publisher.await;
        }
        self.database.close().await;
        // Not before: connections that they opened are served by their threads.
        drop(followers);
        tracing::info!("stopped");
    }
}

async fn keep_text_index(state: Arc<State>) {
    loop {
        match text_index::make_missing(&state.store, state.clock.now().to_utc()).await {
            Ok(made) => {
                for Made { month, bytes, took } in made {
                    let took = took.as_secs_f64();
                    tracing::info!(%month, bytes, took, "the words of a month are indexed");
                }
            }
            // Another process does it.
            Err(TextIndexError::Busy) => {}
            Err(error) => tracing::error!(%error, "the words of closed months are not indexed"),
        }
        tokio::time::sleep(TEXT_INDEX_CHECK).await;
    }
}

async fn keep_months(state: Arc<State>) {
    loop {
        tokio::time::sleep(PARTITION_CHECK).await;
        match partitions::ensure(&state.store, state.clock.now().to_utc()).await {
            Ok(oldest) => state.receiver.oldest.store(oldest.timestamp_micros(), Ordering::Release),
            Err(error) => tracing::error!(%error, "months ahead were not made"),
        }
    }
}
