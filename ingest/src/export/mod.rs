//! Everything that a search finds, as a file: streamed as it is read, or made in the background and fetched later.
//!
//! An export is a snapshot: what arrives after it began is not in it. Its row is its manifest, and what came of it is an event
//! in the log, so that who holds a file can show that it is the one that was made. Memory holds two pages, however much is found.

mod encode;
mod format;
mod job;
pub(crate) mod ocsf;
mod row;

pub use encode::{EncodeError, Summary, csv_text};
pub use format::Format;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shared::event::{Actor, Outcome, Severity, TenantId, Timestamp, Trust};
use shared::leaf::StoredOpening;
use shared::search::Query;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

use crate::clock::Clock;
use crate::ledger::prover::Prover;
use crate::own::{OwnError, OwnEvent, Recorder};
use crate::store::exports::{self, ExportRow, Progress};
use crate::store::search::{Scope, Sweep, Swept};
use crate::store::{self, Store, StoreError, absences};
use crate::view::time;
use encode::Encoder;
pub(crate) use row::Row;

/// Pieces on their way to a slow reader.
const AHEAD: usize = 2;
/// Exports that are streamed at one time.
const AT_ONCE: usize = 4;
/// How often an export says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// A reader who takes nothing for so long has gone.
const STALLED_AFTER: Duration = Duration::from_secs(45);
/// An export that has not told for so long is nobody's.
pub const STALE_AFTER: TimeDelta = TimeDelta::seconds(60);
/// How long the file of a job is kept.
pub const KEEP_FOR: TimeDelta = TimeDelta::hours(24);

/// Why there is no export, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// That it is made could not be recorded, so it is not made.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// An event could not be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Its file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Whoever it was for has gone.
    #[error("nobody reads it any more")]
    Gone,
    /// The backend is stopping.
    #[error("the backend is stopping")]
    Stopping,
    /// Others are being made.
    #[error("{AT_ONCE} exports are being made, which is as many as there may be at one time")]
    Busy,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose events.
    pub tenant: TenantId,
    /// The key it is asked for with.
    pub by: String,
    /// Which of them. Its `now` is the snapshot's time.
    pub scope: Scope,
    /// As what.
    pub format: Format,
    /// Whether it is compressed.
    pub gzip: bool,
    /// Whether each event comes with its proof; [`Format::Ndjson`] alone has a place for it.
    pub proofs: bool,
}

impl Order {
    fn row(&self, id: Uuid, job: bool) -> ExportRow {
        let until = self.scope.now.to_utc();
        ExportRow {
            tenant_id: self.tenant.as_str().to_owned(),
            export_id: id,
            made_by: self.by.clone(),
            query: self.scope.query.to_string(),
            window_from: self.scope.from,
            window_to: self.scope.to,
            until_at: until,
            format: self.format.word().to_owned(),
            gzip: self.gzip,
            proofs: self.proofs,
            job,
            state: if job { "queued" } else { "running" }.to_owned(),
            rows: 0,
            bytes: 0,
            sha256: None,
            began_at: until,
            progressed_at: until,
            ended_at: None,
        }
    }

    /// The order that a row is of.
    fn of(row: &ExportRow) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged("export");
        let tenant = TenantId::try_from(row.tenant_id.clone()).map_err(|_| damaged())?;
        let parsed = shared::search::parse(&row.query);
        if !parsed.diagnostics.is_empty() {
            return Err(damaged());
        }
        let query: Query = parsed.query;
        Ok(Self {
            scope: Scope {
                tenant: row.tenant_id.clone(),
                from: row.window_from,
                to: row.window_to,
                query,
                now: Timestamp::from(row.until_at),
            },
            tenant,
            by: row.made_by.clone(),
            format: row.format.parse().map_err(|_| damaged())?,
            gzip: row.gzip,
            proofs: row.proofs,
        })
    }

    fn event(&self, action: &str, id: Uuid, at: Timestamp) -> OwnEvent {
        let event = OwnEvent::new(&self.tenant, action, "ingest/export", at, "export", &id.to_string());
        OwnEvent {
            severity: Severity::Warning,
            trust: Trust::Verified,
            actor: Some(Actor { id: self.by.clone(), ..Actor::default() }),
            ..event
        }
    }
}

/// A piece of an export; an error cuts it off, so that half of one is never taken for the whole.
#[derive(Debug)]
pub enum Piece {
    /// Some of its bytes.
    Bytes(Bytes),
    /// All of them went out.
    End(Summary),
}

/// Where the bytes of an export go.
trait Sink {
    /// Takes some.
    async fn put(&mut self, bytes: Vec<u8>) -> Result<(), ExportError>;

    /// There are no more.
    async fn end(&mut self) -> Result<(), ExportError>;
}

/// A reader who waits.
struct Reader(mpsc::Sender<Result<Piece, io::Error>>);

impl Sink for Reader {
    async fn put(&mut self, bytes: Vec<u8>) -> Result<(), ExportError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sent = self.0.send(Ok(Piece::Bytes(bytes.into())));
        match tokio::time::timeout(STALLED_AFTER, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ExportError::Gone),
        }
    }

    /// The last piece says it, once it is on record.
    async fn end(&mut self) -> Result<(), ExportError> {
        Ok(())
    }
}

/// Makes exports.
#[derive(Debug)]
pub struct Exports {
    store: Store,
    recorder: Recorder,
    clock: Clock,
    folder: PathBuf,
    streams: Arc<Semaphore>,
}

impl Exports {
    /// Over a store; files of jobs lie in a folder of their own.
    pub fn new(store: Store, recorder: Recorder, clock: Clock, folder: PathBuf) -> Self {
        Self { store, recorder, clock, folder, streams: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Begins an export that is read while it is made. That it was asked for is an event, recorded before the first piece.
    ///
    /// # Errors
    /// [`ExportError::Busy`], or why it could not be recorded.
    pub async fn stream(
        self: Arc<Self>,
        order: Order,
    ) -> Result<(Uuid, mpsc::Receiver<Result<Piece, io::Error>>), ExportError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| ExportError::Busy)?;
        let id = self.begin(&order, false).await?;
        let (out, pieces) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let _permit: OwnedSemaphorePermit = permit;
            let mut reader = Reader(out.clone());
            let end = match self.make(&order, id, &mut reader).await {
                Ok(summary) => Ok(Piece::End(summary)),
                Err(error) => {
                    tracing::warn!(%error, %id, "an export was cut off");
                    Err(io::Error::other("the export was cut off"))
                }
            };
            // Whoever reads may be gone.
            let _ = tokio::time::timeout(STALLED_AFTER, out.send(end)).await;
        });
        Ok((id, pieces))
    }

    /// Records that an export was asked for.
    async fn begin(&self, order: &Order, job: bool) -> Result<Uuid, ExportError> {
        let id = shared::event::EventId::mint(order.scope.now, &crate::clock::random()).uuid();
        let event = order.event("EXPORT_CREATED", id, order.scope.now);
        let details = json!({
            "query": order.scope.query.to_string(),
            "from": time(order.scope.from),
            "to": order.scope.to.map(time),
            "format": order.format.word(),
            "proofs": order.proofs,
            "job": job,
        });
        self.recorder.record(vec![OwnEvent { details: Some(details), ..event }]).await?;
        exports::insert(&self.store, &order.row(id, job)).await?;
        Ok(id)
    }

    /// Makes an export, and records what came of it.
    async fn make(&self, order: &Order, id: Uuid, sink: &mut impl Sink) -> Result<Summary, ExportError> {
        let mut told = Told { rows: 0, bytes: 0 };
        let made = self.write(order, id, sink, &mut told).await;
        if matches!(made, Err(ExportError::Stopping)) {
            return made;
        }
        let now = self.clock.now();
        let (state, outcome, sha256) = match &made {
            Ok(summary) => {
                told = Told { rows: summary.rows, bytes: summary.bytes };
                ("complete", Outcome::Success, Some(&summary.sha256))
            }
            Err(_) => ("cut_off", Outcome::Failure, None),
        };
        let details = json!({"rows": told.rows, "bytes": told.bytes, "sha256": sha256.map(hex::encode)});
        let event = order.event("EXPORT_COMPLETED", id, now);
        let event = OwnEvent { details: Some(details), outcome, ..event };
        let ended = Progress { ended: true, ..told.progress(state, sha256, now.to_utc()) };
        self.recorder.record(vec![event]).await?;
        exports::progress(&self.store, order.tenant.as_str(), id, ended).await?;
        made
    }

    async fn write(
        &self,
        order: &Order,
        id: Uuid,
        sink: &mut impl Sink,
        told: &mut Told,
    ) -> Result<Summary, ExportError> {
        let mut encoder = Encoder::new(order.format, order.gzip)?;
        let mut prover = order.proofs.then(|| Prover::new(self.store.clone()));
        let source = self.store.reading_whole(order.scope.now, &self.clock).await;
        let mut sweep = Sweep::new(source, order.scope.clone(), order.scope.now.to_utc());
        sink.put(encoder.head()?).await?;
        let mut told_at = Instant::now();
        let mut page = sweep.next().await?;
        while !page.is_empty() {
            let evidence = match &mut prover {
                Some(prover) => self.evidence(order, prover, &page).await?,
                None => HashMap::new(),
            };
            // The next page is read while this one is written.
            let written = tokio::task::spawn_blocking(move || {
                let bytes = encoder.page(page, evidence);
                (encoder, bytes)
            });
            let (next, written) = tokio::join!(sweep.next(), written);
            let (goes_on, bytes) =
                written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let bytes = bytes?;
            encoder = goes_on;
            *told = Told { rows: encoder.rows, bytes: encoder.bytes };
            sink.put(bytes).await?;
            page = next?;
            if told_at.elapsed() >= TELL_EVERY {
                told_at = Instant::now();
                let progress = told.progress("running", None, self.clock.now().to_utc());
                exports::progress(&self.store, order.tenant.as_str(), id, progress).await?;
            }
        }
        let (last, summary) = encoder.finish()?;
        sink.put(last).await?;
        sink.end().await?;
        Ok(summary)
    }

    /// What proves the events of a page, by their ids.
    async fn evidence(
        &self,
        order: &Order,
        prover: &mut Prover,
        page: &[Swept],
    ) -> Result<HashMap<Uuid, crate::ledger::prover::Evidence>, ExportError> {
        let mut transaction = self.store.begin().await?;
        let batches = page.iter().map(|swept| swept.batch_id).collect();
        let starts = absences::starts_of(&mut transaction, order.tenant.as_str(), batches).await?;
        store::commit(transaction).await?;
        let mut evidence = HashMap::with_capacity(page.len());
        for swept in page {
            let damaged = || StoreError::Damaged("event");
            let opening = StoredOpening::decode(&swept.opening).map_err(|_| damaged())?;
            let class = store::events::read(&swept.opening).ok_or_else(damaged)?.class;
            let leaf = starts
                .get(&swept.batch_id)
                .map(|(log, first)| (*log, first + u64::try_from(swept.position).unwrap_or(0)));
            let of_event = prover.evidence(class, swept.received_at, &opening, leaf).await?;
            evidence.insert(swept.id, of_event);
        }
        Ok(evidence)
    }

    /// A tenant's export.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn find(&self, tenant: &TenantId, id: Uuid) -> Result<Option<ExportRow>, StoreError> {
        Ok(exports::find(&self.store, tenant.as_str(), id).await?.map(|row| self.seen(row)))
    }

    /// A tenant's exports, newest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn list(&self, tenant: &TenantId, limit: i64) -> Result<Vec<ExportRow>, StoreError> {
        let rows = exports::list(&self.store, tenant.as_str(), limit).await?;
        Ok(rows.into_iter().map(|row| self.seen(row)).collect())
    }

    /// A stream on which nobody works any more was cut off by the end of its backend.
    fn seen(&self, row: ExportRow) -> ExportRow {
        let stale = self.clock.now().to_utc() - row.progressed_at > STALE_AFTER;
        if !row.job && row.state == "running" && stale {
            return ExportRow { state: "cut_off".to_owned(), ..row };
        }
        row
    }

    /// Where the file of a job lies.
    pub fn file(&self, row: &ExportRow) -> PathBuf {
        self.folder.join(file_name(row))
    }

    fn folder(&self) -> &Path {
        &self.folder
    }
}

/// How far an export is.
#[derive(Debug, Clone, Copy)]
struct Told {
    rows: u64,
    bytes: u64,
}

impl Told {
    fn progress<'a>(
        self,
        state: &'static str,
        sha256: Option<&'a [u8; 32]>,
        at: DateTime<Utc>,
    ) -> Progress<'a> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Progress { state, rows: number(self.rows), bytes: number(self.bytes), sha256, at, ended: false }
    }
}

/// The name of an export's file.
pub fn file_name(row: &ExportRow) -> String {
    let extension = row.format.parse().map_or("bin", Format::extension);
    let packed = if row.gzip { ".gz" } else { "" };
    format!("{}-{}.{extension}{packed}", row.tenant_id, row.export_id)
}
