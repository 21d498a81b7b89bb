//! The writer: a few lanes, each a task that gathers the batches of many connections into one transaction and answers
//! after the commit. A stream keeps to one lane, so that its batches are written in their order.
//!
//! The batch rows decide what is new, in the same transaction as the events, so a repeated request stores nothing
//! twice, and a commit whose answer was lost can simply be tried again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::backlog::Held;
use super::bookkeeping;
use super::examine::{Bad, Prepared};
use super::rollup::Rollup;
use super::rush;
use crate::store::batches::{self, BatchKey, BatchRow};
use crate::store::events::{self, EventRow, Expected};
use crate::store::{Rush, Store, StoreError, log, quarantine};

/// Transactions at a time: while one waits for the disk or for us, PostgreSQL works on another.
pub(super) const LANES: usize = 2;
/// Events in one transaction: measured, more than 1000 gains nothing.
const GATHER_EVENTS: usize = 1000;
/// How long the first batch waits for company: about one commit.
const GATHER_FOR: Duration = Duration::from_millis(5);
/// Batches in the queue of a lane: at 110 kB each 28 MB, and about two seconds of work.
const QUEUE: usize = 256;
/// A restart of PostgreSQL after a crash takes one to two seconds; the sender's own timeout is longer.
const RETRY_FOR: Duration = Duration::from_secs(6);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is new and durable.
    Stored {
        /// Events in the table.
        stored: usize,
        /// Positions and reasons of the others.
        quarantined: Vec<(i16, String)>,
    },
    /// It was stored before.
    Duplicate,
    /// Another header has its place; that is recorded.
    Equivocation,
    /// The store is away. It may or may not be stored; sending it again tells.
    Unavailable,
    /// The store refuses it, and not because of an event.
    Failed,
}

/// The queue is full.
#[derive(Debug)]
pub struct QueueFull;

/// The way to the writer.
#[derive(Debug, Clone)]
pub struct Writer {
    lanes: Vec<mpsc::Sender<Job>>,
    work: Work,
    rush: Rush,
}

/// What the lanes are at.
#[derive(Debug, Clone, Default)]
pub(super) struct Work(Arc<Mutex<[Lane; LANES]>>);

/// A lane's work.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// When it began with what it writes now.
    since: Option<Instant>,
    /// What it has been at before.
    done: Duration,
    /// Whether what it writes now came in several batches, so that somebody waited for somebody.
    is_shared: bool,
    /// Whether anything since the last look did.
    was_shared: bool,
}

impl Work {
    fn lanes(&self) -> MutexGuard<'_, [Lane; LANES]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, lane: usize, batches: usize) {
        let lane = &mut self.lanes()[lane];
        lane.since = Some(Instant::now());
        lane.is_shared = batches > 1;
        lane.was_shared |= lane.is_shared;
    }

    fn end(&self, lane: usize) {
        let lane = &mut self.lanes()[lane];
        lane.done += lane.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    fn oldest(&self) -> Option<Instant> {
        self.lanes().iter().filter_map(|lane| lane.since).min()
    }

    /// How long each lane has been writing so far, and whether it wrote several batches together since the last look.
    pub(super) fn look(&self) -> [(Duration, bool); LANES] {
        let mut lanes = self.lanes();
        let told = lanes
            .map(|lane| (lane.done + lane.since.map_or(Duration::ZERO, |at| at.elapsed()), lane.was_shared));
        for lane in lanes.iter_mut() {
            lane.was_shared = lane.since.is_some() && lane.is_shared;
        }
        told
    }
}

#[derive(Debug)]
struct Job {
    batch: Prepared,
    answer: oneshot::Sender<Outcome>,
    since: Instant,
    /// Room that its request takes, also if whoever sent it has gone.
    _held: Option<Held>,
}

impl Writer {
    /// Starts the lanes. They end after `stop` turned true and their queues are empty; `stored` is notified of each
    /// commit.
    pub fn start(
        store: Store,
        stored: Arc<Notify>,
        stop: watch::Receiver<bool>,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let mut tasks = tokio::task::JoinSet::new();
        let work = Work::default();
        let lanes = (0..LANES)
            .map(|lane| {
                let (queue, jobs) = mpsc::channel(QUEUE);
                let at_work = (work.clone(), lane);
                tasks.spawn(run(store.clone(), jobs, Arc::clone(&stored), at_work, stop.clone()));
                queue
            })
            .collect();
        let (tell, told) = watch::channel(false);
        let watched = work.clone();
        let all = tokio::spawn(async move {
            let lanes = async { while tasks.join_next().await.is_some() {} };
            tokio::select! {
                () = lanes => {}
                () = rush::watch(&watched, &tell) => {}
            }
        });
        (Self { lanes, work, rush: Rush::new(told) }, all)
    }

    /// Whether batches arrive as fast as they can be written.
    pub fn rush(&self) -> Rush {
        self.rush.clone()
    }

    /// How long the writer has been at what it writes now; of its lanes the longest, zero if it has nothing to do.
    pub fn busy_for(&self) -> Duration {
        self.work.oldest().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Puts a batch into the queue, with the room that it takes until it is written.
    ///
    /// # Errors
    /// If the queue is full or the writer has stopped.
    pub fn submit(
        &self,
        batch: Prepared,
        held: Option<Held>,
    ) -> Result<oneshot::Receiver<Outcome>, QueueFull> {
        let (answer, receiver) = oneshot::channel();
        let since = Instant::now();
        // Streams are named at random.
        let lane = batch.row.stream.last().map_or(0, |byte| usize::from(*byte)) % self.lanes.len();
        self.lanes[lane].try_send(Job { batch, answer, since, _held: held }).map_err(|_| QueueFull)?;
        metrics::gauge!("edgetrail_writer_queue_depth").increment(1.0);
        Ok(receiver)
    }
}

async fn run(
    store: Store,
    mut jobs: mpsc::Receiver<Job>,
    stored: Arc<Notify>,
    (work, lane): (Work, usize),
    mut stop: watch::Receiver<bool>,
) {
    let mut open = true;
    while let Some(first) = next(&mut jobs, &mut stop, &mut open).await {
        let mut size = first.batch.len();
        let mut group = vec![first];
        let until = tokio::time::Instant::now() + GATHER_FOR;
        while size < GATHER_EVENTS {
            match tokio::time::timeout_at(until, jobs.recv()).await {
                Ok(Some(job)) => {
                    size += job.batch.len();
                    group.push(job);
                }
                Ok(None) | Err(_) => break,
            }
        }
        metrics::gauge!("edgetrail_writer_queue_depth").decrement(group.len() as f64);
        let prepared: Vec<&Prepared> = group.iter().map(|job| &job.batch).collect();
        work.begin(lane, group.len());
        let outcomes = write(&store, &prepared).await;
        work.end(lane);
        stored.notify_one();
        for (job, outcome) in group.into_iter().zip(outcomes) {
            count(&job.batch, &outcome);
            metrics::histogram!("edgetrail_ingest_seconds").record(job.since.elapsed());
            // Whoever asked may be gone; the batch is stored all the same.
            let _ = job.answer.send(outcome);
        }
    }
}

/// The next job; after a stop only what is still queued.
async fn next(
    jobs: &mut mpsc::Receiver<Job>,
    stop: &mut watch::Receiver<bool>,
    open: &mut bool,
) -> Option<Job> {
    if *open {
        tokio::select! {
            job = jobs.recv() => return job,
            _ = stop.wait_for(|stop| *stop) => {
                *open = false;
                jobs.close();
            }
        }
    }
    jobs.recv().await
}

fn count(batch: &Prepared, outcome: &Outcome) {
    let result = match outcome {
        Outcome::Stored { stored, .. } => {
            metrics::counter!("edgetrail_events_stored_total").increment(*stored as u64);
            let dropped = u64::try_from(batch.row.dropped).unwrap_or(0);
            metrics::counter!("edgetrail_dropped_events_total").increment(dropped);
            "stored"
        }
        Outcome::Duplicate => "duplicate",
        Outcome::Equivocation => "equivocation",
        Outcome::Unavailable => "unavailable",
        Outcome::Failed => "failed",
    };
    metrics::counter!("edgetrail_batches_total", "result" => result).increment(1);
}

/// Writes batches; the outcomes are in their order.
pub async fn write(store: &Store, group: &[&Prepared]) -> Vec<Outcome> {
    let mut written = patiently(store, group, Care::Together(Expected::New)).await;
    if written.as_ref().is_err_and(StoreError::is_repeated) {
        written = patiently(store, group, Care::Together(Expected::SomeKnown)).await;
    }
    match written {
        Ok(outcomes) => outcomes,
        Err(error) if error.is_data() => {
            tracing::warn!(%error, "a batch holds data the store refuses, writing one by one");
            let mut outcomes = Vec::with_capacity(group.len());
            for batch in group {
                outcomes.push(write_alone(store, batch).await);
            }
            outcomes
        }
        Err(error) => vec![lost(&error); group.len()],
    }
}

async fn write_alone(store: &Store, batch: &Prepared) -> Outcome {
    let mut written = patiently(store, &[batch], Care::Together(Expected::SomeKnown)).await;
    if written.as_ref().is_err_and(StoreError::is_data) {
        written = patiently(store, &[batch], Care::EachEvent).await;
    }
    match written {
        Ok(mut outcomes) => outcomes.pop().unwrap_or(Outcome::Failed),
        Err(error) => lost(&error),
    }
}

fn lost(error: &StoreError) -> Outcome {
    tracing::error!(%error, "batches were not stored");
    if error.is_passing() { Outcome::Unavailable } else { Outcome::Failed }
}

#[derive(Clone, Copy)]
enum Care {
    /// All events in one statement.
    Together(Expected),
    /// Each event behind a savepoint.
    EachEvent,
}

/// Tries until it works, fails for good, or time is up. A commit that was cut off is safe to try again.
async fn patiently(store: &Store, group: &[&Prepared], care: Care) -> Result<Vec<Outcome>, StoreError> {
    let started = Instant::now();
    loop {
        match write_once(store, group, care).await {
            Err(error) if error.is_passing() && started.elapsed() < RETRY_FOR => {
                tracing::warn!(%error, "writing again");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn write_once(store: &Store, group: &[&Prepared], care: Care) -> Result<Vec<Outcome>, StoreError> {
    let mut transaction = store.begin().await?;
    let placed = place(&mut transaction, group).await?;
    let new: Vec<(i64, &Prepared)> = group
        .iter()
        .zip(&placed)
        .filter_map(|(batch, place)| match place {
            Place::New(id) => Some((*id, *batch)),
            Place::Taken(_) => None,
        })
        .collect();
    let mut bad: HashMap<i64, Vec<Bad>> = new.iter().map(|(id, batch)| (*id, batch.bad.clone())).collect();
    for (id, refused) in insert_events(&mut transaction, &new, care).await? {
        bad.entry(id).or_default().push(refused);
    }
    let quarantined: Vec<_> = new
        .iter()
        .flat_map(|(id, batch)| {
            let rows = bad.get(id).into_iter().flatten();
            rows.map(move |bad| (batch.row.tenant.as_str(), *id, &bad.row))
        })
        .collect();
    if !quarantined.is_empty() {
        quarantine::insert(&mut transaction, &quarantined).await?;
    }
    let set_aside = quarantined.iter().map(|(_, id, row)| (*id, row.position)).collect();
    rolled_up(&new, &set_aside).write(&mut transaction).await?;
    bookkeeping::keep(&mut transaction, &new, &set_aside).await?;
    let entries: Vec<_> = new
        .iter()
        .map(|(id, batch)| {
            let row = &batch.row;
            (row.tenant.as_str(), *id, batch.entries.as_slice(), row.received_at)
        })
        .collect();
    if !entries.is_empty() {
        log::queue(&mut transaction, &entries).await?;
    }
    crate::store::commit(transaction).await?;

    for bad in bad.values().flatten() {
        metrics::counter!("edgetrail_quarantined_events_total", "reason" => bad.kind).increment(1);
    }
    let outcome = |(batch, place): (&&Prepared, Place)| match place {
        Place::New(id) => {
            let bad = bad.remove(&id).unwrap_or_default();
            let mut quarantined: Vec<_> =
                bad.into_iter().map(|bad| (bad.row.position, bad.row.reason)).collect();
            quarantined.sort();
            Outcome::Stored { stored: batch.len() - quarantined.len(), quarantined }
        }
        Place::Taken(outcome) => outcome,
    };
    Ok(group.iter().zip(placed).map(outcome).collect())
}

/// What the events that were stored add up to.
fn rolled_up<'a>(new: &[(i64, &'a Prepared)], set_aside: &HashSet<(i64, i16)>) -> Rollup<'a> {
    let mut rollup = Rollup::default();
    for (id, batch) in new {
        let stored = batch.good.iter().filter(|row| !set_aside.contains(&(*id, row.position)));
        stored.for_each(|row| rollup.add(row));
    }
    rollup
}

enum Place {
    /// The batch is new, under this id.
    New(i64),
    /// Its place in the stream is taken.
    Taken(Outcome),
}

/// Inserts the batches' rows and finds out which are new.
async fn place(connection: &mut PgConnection, group: &[&Prepared]) -> Result<Vec<Place>, StoreError> {
    let keys: Vec<BatchKey> = group.iter().map(|batch| batch.row.key()).collect();
    let mut headers: HashMap<BatchKey, (Vec<u8>, Vec<u8>)> = batches::known(connection, &keys)
        .await?
        .into_iter()
        .map(|known| (known.key, (known.header_hash, known.prev)))
        .collect();
    // Of batches with one key only the first can be new. Sorted: see `batches::insert`.
    let mut first: BTreeMap<&BatchKey, usize> = BTreeMap::new();
    for (at, key) in keys.iter().enumerate() {
        first.entry(key).or_insert(at);
    }
    for (key, at) in &first {
        let row = &group[*at].row;
        headers.entry((*key).clone()).or_insert_with(|| (row.header_hash.clone(), row.prev.clone()));
    }
    let rows: Vec<BatchRow> = first
        .values()
        .map(|at| {
            let row = &group[*at].row;
            BatchRow { prev_ok: chain_holds(row, &headers), ..row.clone() }
        })
        .collect();
    let inserted: HashMap<BatchKey, i64> =
        batches::insert(connection, &rows.iter().collect::<Vec<_>>()).await?.into_iter().collect();
    for row in &rows {
        if row.prev_ok == Some(false) && inserted.contains_key(&row.key()) {
            tracing::error!(tenant = %row.tenant, stream = %hex::encode(&row.stream), seq = row.seq,
                "the chain of headers does not hold");
            metrics::counter!("edgetrail_prev_mismatches_total").increment(1);
        }
    }
    if inserted.len() < rows.len() {
        // Another process may have taken a place after `known` looked.
        for known in batches::known(connection, &keys).await? {
            headers.insert(known.key, (known.header_hash, known.prev));
        }
    }
    let mut placed = Vec::with_capacity(group.len());
    for (at, key) in keys.iter().enumerate() {
        let new = inserted.get(key).filter(|_| first.get(key) == Some(&at));
        placed.push(match new {
            Some(id) => Place::New(*id),
            None => {
                let row = &group[at].row;
                let same = headers
                    .get(key)
                    .is_some_and(|(hash, _)| *hash == row.header_hash);
                if same {
                    Place::Taken(Outcome::Duplicate)
                } else {
                    if batches::record_equivocation(connection, row).await? {
                        tracing::error!(tenant = %row.tenant, stream = %hex::encode(&row.stream), seq = row.seq,
                            "two headers were signed for one place in a stream");
                        metrics::counter!("edgetrail_equivocations_total").increment(1);
                    }
                    Place::Taken(Outcome::Equivocation)
                }
            }
        });
    }
    Ok(placed)
}

/// Whether a header names the one before it, and the one after it names this; none if neither is known.
fn chain_holds(row: &BatchRow, headers: &HashMap<BatchKey, (Vec<u8>, Vec<u8>)>) -> Option<bool> {
    let neighbour = |step: i64| {
        let seq = row.seq.checked_add(step)?;
        headers.get(&BatchKey { seq, ..row.key() })
    };
    let before = neighbour(-1).map(|(hash, _)| *hash == row.prev);
    let after = neighbour(1).map(|(_, prev)| *prev == row.header_hash);
    match (before, after) {
        (None, None) => None,
        (before, after) => Some(before != Some(false) && after != Some(false)),
    }
}

/// Inserts the events of new batches and gives those that the store did not take.
async fn insert_events(
    connection: &mut PgConnection,
    new: &[(i64, &Prepared)],
    care: Care,
) -> Result<Vec<(i64, Bad)>, StoreError> {
    let mut rows: Vec<(i64, &EventRow)> =
        new.iter().flat_map(|(id, batch)| batch.good.iter().map(move |event| (*id, event))).collect();
    // In the order of the primary key, so that two lanes with the same events cannot wait for each other.
    rows.sort_by(|(_, one), (_, other)| {
        let key = |row: &EventRow| (row.filed_at, row.event.id);
        one.event.tenant.cmp(&other.event.tenant).then_with(|| key(one).cmp(&key(other)))
    });
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let batch_of: HashMap<i64, &Prepared> = new.iter().copied().collect();
    let mut refused = Vec::new();
    let mut refuse = |id: i64, event: &EventRow, kind, reason: String| {
        refused.push((id, batch_of[&id].demote(event, kind, reason)));
    };
    let mut stored: HashSet<(i64, i16)> = Default::default();
    let mut asked = Vec::with_capacity(rows.len());
    match care {
        Care::Together(expected) => {
            stored.extend(events::insert(connection, &rows, expected).await?);
            asked = rows;
        }
        Care::EachEvent => {
            for row in rows {
                let doing = "setting a savepoint";
                let failed = |source| StoreError::Database { doing, source };
                let mut savepoint = connection.begin().await.map_err(failed)?;
                match events::insert(&mut savepoint, &[row], Expected::SomeKnown).await {
                    Ok(inserted) => {
                        savepoint.commit().await.map_err(failed)?;
                        stored.extend(inserted);
                        asked.push(row);
                    }
                    Err(error) if error.is_data() => {
                        savepoint.rollback().await.map_err(failed)?;
                        refuse(row.0, row.1, "store", format!("refused by the store: {error}"));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    for (id, event) in asked {
        if !stored.contains(&(id, event.position)) {
            let reason = "an event with this id is stored already".to_owned();
            refuse(id, event, "repeated", reason);
        }
    }
    Ok(refused)
}
