//! Publication: a head is served once as many witnesses cosigned it as the configuration asks for, and once its copy lies
//! in storage that forgets nothing. Ingest and sequencing never wait for it; the served head stays where it is meanwhile.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cosign::{CosignError, Cosigner};
use super::startup::{Authorities, Gate, finding};
use super::worm::{Worm, WormError};
use crate::clock::Clock;
use crate::config::Publication;
use crate::store::publications::{self, Waiting};
use crate::store::{Store, StoreError, log};

/// How long the other witnesses may still take once there are enough.
const STRAGGLERS: Duration = Duration::from_millis(250);
/// How long all of the copies and witnesses may take at a start, before the backend answers without them.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Why heads cannot be published at all.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copies' storage.
    #[error(transparent)]
    Worm(#[from] WormError),
    /// TLS.
    #[error("no client for witnesses: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why one head is not published yet.
#[derive(Debug, thiserror::Error)]
pub enum Unpublished {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too few cosignatures.
    #[error("{got} of {wanted} cosignatures; {why}")]
    Cosignatures {
        /// How many there are.
        got: usize,
        /// How many there must be.
        wanted: usize,
        /// What the others said.
        why: String,
    },
    /// No copy.
    #[error(transparent)]
    Worm(#[from] WormError),
}

/// Publishes heads.
#[derive(Debug, Clone)]
pub struct Publisher {
    store: Store,
    authorities: Authorities,
    quorum: usize,
    interval: Duration,
    gate: Gate,
    clock: Clock,
}

impl Publisher {
    /// A publisher as configured; none if every head is served at once.
    ///
    /// # Errors
    /// [`PublisherError`].
    pub async fn new(
        config: &Publication,
        store: Store,
        clock: Clock,
    ) -> Result<Option<Self>, PublisherError> {
        if !config.waits() {
            publications::hold_nothing(&store).await?;
            return Ok(None);
        }
        let authorities = authorities(config)?;
        let mut connection = store.begin().await?;
        for log in log::list(&store, None).await? {
            publications::hold(&mut connection, &log.log_id, clock.now().to_utc()).await?;
        }
        crate::store::commit(connection).await?;
        let (quorum, interval) = (config.quorum, config.interval);
        Ok(Some(Self { store, authorities, quorum, interval, gate: Gate::guarded(), clock }))
    }

    /// What decides whether a log is signed.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Asks about every log that may grow and was not asked about yet.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn settle(&self) -> Result<(), StoreError> {
        for head in newest_heads(&self.store).await? {
            if !self.gate.is_settled(&head.log_id) {
                self.authorities.settle(&self.store, &self.gate, &head, &self.clock).await?;
            }
        }
        Ok(())
    }

    /// [`Self::settle`], for as long as a start may take.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn settle_at_start(&self) -> Result<(), StoreError> {
        match tokio::time::timeout(START_WITHIN, self.settle()).await {
            Ok(settled) => settled,
            Err(_) => {
                tracing::warn!(
                    "the witnesses and the copies' storage take too long: logs are not signed yet"
                );
                Ok(())
            }
        }
    }

    /// Publishes until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                passed = self.pass() => if let Err(error) = passed {
                    tracing::warn!(%error, "heads are not published, trying again");
                },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Publishes the newest head of each log.
    ///
    /// # Errors
    /// If the store cannot be read; what a log waits for is logged.
    pub async fn pass(&self) -> Result<(), StoreError> {
        self.settle().await?;
        let mut oldest = 0.0_f64;
        for head in publications::waiting(&self.store).await? {
            if !self.gate.is_settled(&head.log_id) {
                self.authorities.settle(&self.store, &self.gate, &head, &self.clock).await?;
            }
            if !self.gate.is_clear(&head.log_id) {
                continue;
            }
            match self.publish(&head).await {
                Ok(()) => metrics::counter!("edgetrail_published_heads_total").increment(1),
                Err(Unpublished::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, log_id = head.log_id, size = head.size, "a head is not published yet");
                    metrics::counter!("edgetrail_publication_failures_total").increment(1);
                    let age = self.clock.now().to_utc() - head.signed_at;
                    oldest = oldest.max(age.num_milliseconds() as f64 / 1000.0);
                }
            }
        }
        metrics::gauge!("edgetrail_publication_lag_seconds").set(oldest);
        Ok(())
    }

    async fn publish(&self, head: &Waiting) -> Result<(), Unpublished> {
        self.gather(head).await?;
        if let Some(worm) = &self.authorities.worm {
            self.copy(worm, head).await?;
        }
        publications::publish(&self.store, &head.log_id, head.size, self.clock.now().to_utc()).await?;
        Ok(())
    }

    /// Asks every witness at once, and goes on when enough have cosigned.
    async fn gather(&self, head: &Waiting) -> Result<(), Unpublished> {
        let mut asked = JoinSet::new();
        for cosigner in &self.authorities.cosigners {
            asked.spawn(ask(cosigner.clone(), self.store.clone(), head.clone(), self.clock.clone()));
        }
        let mut got = 0;
        let mut others = Vec::new();
        loop {
            let next = if got >= self.quorum {
                let more = tokio::time::timeout(STRAGGLERS, asked.join_next()).await;
                more.unwrap_or(None)
            } else {
                asked.join_next().await
            };
            match next {
                Some(Ok(Ok(()))) => got += 1,
                Some(Ok(Err(CosignError::Store(error)))) => return Err(error.into()),
                Some(Ok(Err(error))) => {
                    if let Some(finding) = finding(&self.store, head, &error).await? {
                        self.gate.refuse(&head.log_id, &finding);
                    }
                    others.push(error.to_string());
                }
                Some(Err(error)) => others.push(error.to_string()),
                None => break,
            }
        }
        if got >= self.quorum {
            return Ok(());
        }
        Err(Unpublished::Cosignatures { got, wanted: self.quorum, why: others.join("; ") })
    }

    async fn copy(&self, worm: &Worm, head: &Waiting) -> Result<(), Unpublished> {
        let size = u64::try_from(head.size).map_err(|_| StoreError::Damaged("size of a log"))?;
        let lines = publications::cosignature_lines(&self.store, &head.log_id, head.size).await?;
        match worm.keep(&head.log_id, size, &format!("{}{lines}", head.note)).await {
            Ok(()) => {}
            Err(error @ WormError::Other { .. }) => {
                self.gate.refuse(&head.log_id, &error.to_string());
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
        publications::copied(&self.store, &head.log_id, head.size, self.clock.now().to_utc()).await?;
        Ok(())
    }
}

/// The configured witnesses and storage.
///
/// # Errors
/// [`PublisherError`].
pub fn authorities(config: &Publication) -> Result<Authorities, PublisherError> {
    let cosigners = config.cosigners.iter().map(Cosigner::new).collect::<Result<_, _>>()?;
    let worm = config.worm.as_ref().map(Worm::open).transpose()?;
    Ok(Authorities { cosigners, worm })
}

async fn ask(cosigner: Cosigner, store: Store, head: Waiting, clock: Clock) -> Result<(), CosignError> {
    cosigner.cosign(&store, &head, clock.now().to_utc()).await
}

/// The newest head of the log that grows, of each tenant.
async fn newest_heads(store: &Store) -> Result<Vec<Waiting>, StoreError> {
    let mut heads: Vec<Waiting> = Vec::new();
    let mut connection = store.begin().await?;
    let mut tenant = None;
    for log in log::list(store, None).await? {
        if tenant.as_ref() == Some(&log.tenant_id) {
            continue;
        }
        tenant = Some(log.tenant_id.clone());
        heads.extend(newest_head(&mut connection, &log).await?);
    }
    Ok(heads)
}

/// The newest head of a log, to be asked about.
///
/// # Errors
/// If the store cannot be read.
pub async fn newest_head(
    connection: &mut PgConnection,
    log: &log::LogRow,
) -> Result<Option<Waiting>, StoreError> {
    let head = log::newest_checkpoint(connection, &log.log_id).await?;
    Ok(head.map(|head| Waiting {
        log_id: log.log_id.clone(),
        tenant_id: log.tenant_id.clone(),
        origin: log.origin.clone(),
        size: head.size,
        root: head.root,
        note: head.note,
        signed_at: chrono::DateTime::UNIX_EPOCH,
    }))
}
