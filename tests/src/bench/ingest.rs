//! The backend over HTTP beside binary COPY and single INSERTs of the very same rows.
//!
//! Each round sends new events, reads the rows that the backend made of them in COPY's own bytes, and writes those
//! bytes into tables with the same columns and indexes. COPY's table gets every row that `events` has, so both grow
//! alike. The backend alone also verifies, gathers, queues and sequences; its CPU time is counted until the log has
//! every event, its wall time until the last answer.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};
use shared::batch::{CONTENT_TYPE, Header, MAX_EVENTS_PER_BATCH, StreamId, encode_body, events_hash, frame};
use shared::event::{
    Action, Actor, BodyState, ChangeSet, Context, Entity, EntityType, Event, EventId, JsonText, Outcome,
    Place, Quality, RequestFacts, RetentionClass, Severity, TenantId, Timestamp, Trust,
};
use shared::leaf::{self, Hash, Seed};
use shared::note::assemble;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgConnectOptions, PgConnection, PgTypeInfo};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Encode, Executor as _, Postgres, SqlSafeStr as _,
    Statement as _, Type,
};

use super::process::{cpu_seconds, tree_cpu_seconds};
use super::report::median;
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Ingest, IngestSpec, SigningKey, edgetrail_bin, free_port};

/// Deliveries of the queue that are under way at the same time.
pub(super) const CONNECTIONS: usize = 4;
/// A delivery may hold a hundred batches; each of these is of another of the connection's streams.
const BATCHES_PER_REQUEST: usize = 10;
pub(super) const EVENTS_PER_REQUEST: usize = BATCHES_PER_REQUEST * MAX_EVENTS_PER_BATCH;
/// Connections over which events arrive at a given rate: as many batches may wait at the same time.
const PACED_CONNECTIONS: usize = 16;
const ROWS_PER_COPY: usize = 10_000;
pub(super) const TENANT: &str = "demo";
/// The settings that `edgetrail` gives to a month.
const TABLE_SETTINGS: &str = "autovacuum_vacuum_insert_scale_factor = 0.02";

/// How much a round does.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: usize,
    events: usize,
    single_inserts: usize,
    /// How long events arrive at half of the best rate.
    paced: Duration,
}

/// Runs the comparison.
///
/// # Errors
/// [`BenchError`] if the backend does not start or does not store everything, or the tables differ.
pub async fn run(extent: Extent) -> Result<Report, BenchError> {
    let size = match extent {
        Extent::Quick => {
            Size { rounds: 3, events: 20_000, single_inserts: 1_000, paced: Duration::from_secs(8) }
        }
        Extent::Full => {
            Size { rounds: 5, events: 100_000, single_inserts: 2_000, paced: Duration::from_secs(20) }
        }
    };
    optimised()?;
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
    // PostgreSQL runs as another user where this runs as root, and has to reach its directory.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(failed("opening a directory"))?;
    let key = SigningKey::generate();
    let spec = IngestSpec {
        port: free_port(None)?,
        key: key.clone(),
        api_key: format!("etk_bench_{}", hex::encode(random::<32>())),
        more: String::new(),
    };
    let ingest = Ingest::start(&dir.path().join("ingest"), spec).await?;
    let mut bench = Bench::start(&ingest, &key).await?;
    // Fills caches, prepares statements, gives every index its first pages.
    bench.round(Size { events: ROWS_PER_COPY, single_inserts: 100, ..size }).await?;
    let mut rounds = Vec::with_capacity(size.rounds);
    for _ in 0..size.rounds {
        rounds.push(bench.round(size).await?);
    }
    let best = rounds.iter().map(|round| round.ingest.rate()).fold(0.0, f64::max);
    let acks = acks_at(ingest.address(), &key, best / 2.0, size.paced).await?;
    Ok(tell(size, &rounds, &acks))
}

/// Milliseconds from when each batch of a hundred events was due to its acknowledgement, while so many events arrive in a
/// second whether or not the backend keeps up.
async fn acks_at(
    address: SocketAddr,
    key: &SigningKey,
    rate: f64,
    time: Duration,
) -> Result<Vec<f64>, BenchError> {
    let pause = Duration::from_secs_f64(MAX_EVENTS_PER_BATCH as f64 / rate);
    let each = (time.as_secs_f64() / pause.as_secs_f64()) as usize / PACED_CONNECTIONS;
    let queues: Vec<Vec<Vec<u8>>> = (0..PACED_CONNECTIONS)
        .map(|at| {
            let mut producer = Producer::new(key, TENANT);
            let began = Timestamp::from(Utc::now()).millis();
            let batch = |number: usize| {
                let first = (at * each + number) * MAX_EVENTS_PER_BATCH;
                let made = (first..first + MAX_EVENTS_PER_BATCH).map(|n| updated(began + number as u64, n));
                request(&producer.seal_events(&made.collect::<Vec<_>>()))
            };
            (0..each).map(batch).collect()
        })
        .collect();
    let sending = tokio::task::spawn_blocking(move || -> io::Result<Vec<f64>> {
        let start = Instant::now() + Duration::from_millis(100);
        let clients: Vec<_> = (0..)
            .zip(queues)
            .map(|(at, requests)| thread::spawn(move || paced(address, &requests, start + pause * at, pause)))
            .collect();
        let mut acks = Vec::new();
        for client in clients {
            acks.extend(client.join().map_err(|_| io::Error::other("a client panicked"))??);
        }
        acks.sort_by(f64::total_cmp);
        Ok(acks)
    });
    sending.await.map_err(|error| BenchError::Answer(error.to_string()))?.map_err(failed("sending batches"))
}

/// One connection's part: every so many batches one of its own.
fn paced(address: SocketAddr, requests: &[Vec<u8>], first: Instant, pause: Duration) -> io::Result<Vec<f64>> {
    let mut conversation = Conversation::open(address)?;
    let mut due = first;
    let mut acks = Vec::with_capacity(requests.len());
    for request in requests {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = conversation.say(request)?;
        acks.push(due.elapsed().as_secs_f64() * 1000.0);
        let batches: Vec<Value> = serde_json::from_slice(&answer).unwrap_or_default();
        if batches.iter().any(|batch| batch["status"] != 200) || batches.is_empty() {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        due += pause * u32::try_from(PACED_CONNECTIONS).unwrap_or(u32::MAX);
    }
    Ok(acks)
}

/// A debug build would be compared with a PostgreSQL that is none.
pub(super) fn optimised() -> Result<(), BenchError> {
    let bin = edgetrail_bin()?;
    let named = std::env::var_os("EDGETRAIL_BIN").is_some();
    if !named && bin.components().any(|part| part.as_os_str() == "debug") {
        let hint = "edgetrail is a debug build: run `cargo build --release -p ingest`, or set EDGETRAIL_BIN";
        return Err(BenchError::Answer(hint.to_owned()));
    }
    Ok(())
}

pub(super) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> BenchError {
    move |source| BenchError::Io { what, source }
}

/// What one way of writing rows took.
#[derive(Debug, Clone, Copy)]
struct Took {
    rows: f64,
    seconds: f64,
    /// CPU time of PostgreSQL with all its processes, in seconds.
    postgres: f64,
    /// CPU time of the backend, in seconds.
    backend: f64,
}

impl Took {
    fn rate(&self) -> f64 {
        self.rows / self.seconds
    }

    fn postgres_us(&self) -> f64 {
        self.postgres * 1e6 / self.rows
    }

    fn backend_us(&self) -> f64 {
        self.backend * 1e6 / self.rows
    }
}

/// The same rows, written in three ways.
#[derive(Debug, Clone)]
struct Round {
    ingest: Took,
    copy: Took,
    insert: Took,
    /// Seconds from the last answer until the log has everything.
    lag: f64,
    /// Of a small write that the disk has to confirm, in milliseconds: what a single INSERT mostly waits for.
    disk: f64,
    /// Of a committed opening, on average.
    event_bytes: f64,
    /// Of a stored row, on average.
    row_bytes: f64,
}

type Way = fn(&Round) -> Took;

fn tell(size: Size, rounds: &[Round], acks: &[f64]) -> Report {
    let of = |read: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(read).collect::<Vec<_>>());
    let mut report = Report::default();
    report.row(
        "ingest",
        format!(
            "{} rounds of {} events of {:.0} bytes ({:.0} as a row), {MAX_EVENTS_PER_BATCH} a batch, \
             {EVENTS_PER_REQUEST} a request, {CONNECTIONS} connections",
            size.rounds,
            size.events,
            of(&|round| round.event_bytes),
            of(&|round| round.row_bytes),
        ),
    );
    let ways: [(&str, Way); 3] = [
        ("  over HTTP", |round| round.ingest),
        ("  COPY, 10,000 rows each", |round| round.copy),
        ("  INSERT, one row each", |round| round.insert),
    ];
    for (what, took) in ways {
        let (rate, postgres) = (of(&|round| took(round).rate()), of(&|round| took(round).postgres_us()));
        let backend = of(&|round| took(round).backend_us());
        report.row(
            what,
            format!("{rate:.0} rows/s; CPU per row: PostgreSQL {postgres:.0} µs, backend {backend:.0} µs"),
        );
    }
    let spread = |read: &dyn Fn(&Round) -> f64| {
        rounds.iter().map(|round| format!("{:.3}", read(round))).collect::<Vec<_>>().join(", ")
    };
    let to_copy = |round: &Round| round.ingest.rate() / round.copy.rate();
    let to_insert = |round: &Round| round.ingest.rate() / round.insert.rate();
    report.row("  to COPY, each round", spread(&to_copy));
    report.row("  to INSERT, each round", spread(&to_insert));
    let cpu = |took: Way| of(&move |round| took(round).postgres_us() / round.ingest.postgres_us());
    report.row(
        "  PostgreSQL's CPU",
        format!(
            "COPY {:.3}, INSERT {:.3} of a row over HTTP",
            cpu(|round| round.copy),
            cpu(|round| round.insert)
        ),
    );
    report.row("  the disk", format!("{:.2} ms to confirm 8 kB", of(&|round| round.disk)));
    report.row("  in the log", format!("{:.2} s after the last answer", of(&|round| round.lag)));
    let at = |share: f64| acks[((acks.len() - 1) as f64 * share) as usize];
    report.row(
        "  acknowledged at half load",
        format!(
            "p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms of {} batches",
            at(0.5),
            at(0.99),
            at(1.0),
            acks.len()
        ),
    );
    report.figure("ingest.ack_p99_ms_at_half_load", at(0.99));
    report.figure("ingest.copy_ratio", of(&to_copy));
    report.figure("ingest.single_insert_ratio", of(&to_insert));
    report.figure("ingest.events_per_s", of(&|round| round.ingest.rate()));
    report.figure("ingest.server_cpu_us_per_event", of(&|round| round.ingest.postgres_us()));
    report.figure("ingest.backend_cpu_us_per_event", of(&|round| round.ingest.backend_us()));
    report
}

struct Bench {
    address: SocketAddr,
    data_dir: PathBuf,
    postgres: u32,
    backend: u32,
    database: PgConnection,
    columns: Vec<PgTypeInfo>,
    /// Of each connection, the streams of as many isolates.
    producers: Vec<Vec<Producer>>,
}

impl Bench {
    async fn start(ingest: &Ingest, key: &SigningKey) -> Result<Self, BenchError> {
        let gone = || BenchError::Answer("PostgreSQL does not tell its process and its socket".to_owned());
        let postgres = ingest.postgres_pid().ok_or_else(gone)?;
        let backend = parent(postgres).ok_or_else(gone)?;
        let socket = socket(&ingest.data_dir()).ok_or_else(gone)?;
        let options =
            PgConnectOptions::new_without_pgpass().socket(socket).username("edgetrail").database("postgres");
        let mut database = PgConnection::connect_with(&options).await?;
        for table in ["bench_copy", "bench_insert"] {
            like_a_month(&mut database, table).await?;
        }
        let described = (&mut database).prepare("select * from events".into_sql_str()).await?;
        let columns = described.columns().iter().map(|column| column.type_info().clone()).collect();
        let producers = (0..CONNECTIONS).map(|_| Producer::of_a_connection(key)).collect();
        let (address, data_dir) = (ingest.address(), ingest.data_dir());
        Ok(Self { address, data_dir, postgres, backend, database, columns, producers })
    }

    async fn round(&mut self, size: Size) -> Result<Round, BenchError> {
        let last: i64 = sqlx::query_scalar("select coalesce(max(batch_id), 0) from batches")
            .fetch_one(&mut self.database)
            .await?;
        let (requests, event_bytes) = requests(&mut self.producers, size.events);

        let before = self.before().await?;
        let address = self.address;
        let sending = tokio::task::spawn_blocking(move || send(address, requests));
        sending.await.map_err(|error| BenchError::Answer(error.to_string()))??;
        let answered = before.start.elapsed();
        let lag = self.sequenced().await?;
        let ingest = self.took(&before, size.events, answered);

        let rows = self.stored_after(last).await?;
        if rows.len() != size.events {
            return Err(BenchError::Answer(format!("{} of {} events are rows", rows.len(), size.events)));
        }
        let before = self.before().await?;
        for first in (0..rows.len()).step_by(ROWS_PER_COPY) {
            self.copy(&rows, first).await?;
        }
        let copy = self.took(&before, rows.len(), before.start.elapsed());

        let before = self.before().await?;
        self.insert(&rows, size.single_inserts).await?;
        let insert = self.took(&before, size.single_inserts, before.start.elapsed());
        let disk = confirmed_write(&self.data_dir).map_err(failed("writing a file"))?;
        let row_bytes = rows.bytes.len() as f64 / rows.len() as f64;
        Ok(Round { ingest, copy, insert, lag: lag.as_secs_f64(), disk, event_bytes, row_bytes })
    }

    /// Every way of writing begins right after a checkpoint, so that none pays for what another left.
    async fn before(&mut self) -> Result<Before, BenchError> {
        self.database.execute("checkpoint".into_sql_str()).await?;
        let (postgres, backend) = (tree_cpu_seconds(self.postgres), cpu_seconds(self.backend));
        Ok(Before { start: Instant::now(), postgres, backend })
    }

    fn took(&self, before: &Before, rows: usize, time: Duration) -> Took {
        Took {
            rows: rows as f64,
            seconds: time.as_secs_f64(),
            postgres: tree_cpu_seconds(self.postgres) - before.postgres,
            backend: cpu_seconds(self.backend) - before.backend,
        }
    }

    /// Waits until no event waits for its place in the log.
    async fn sequenced(&mut self) -> Result<Duration, BenchError> {
        let start = Instant::now();
        loop {
            let waiting: bool = sqlx::query_scalar("select exists (select from log_pending)")
                .fetch_one(&mut self.database)
                .await?;
            if !waiting {
                return Ok(start.elapsed());
            }
            if start.elapsed() > Duration::from_secs(60) {
                return Err(BenchError::Answer("the log does not catch up".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The events of the batches after `last`, in the order in which they were stored.
    async fn stored_after(&mut self, last: i64) -> Result<Rows, BenchError> {
        use futures_util::TryStreamExt as _;
        let sql = format!("copy (select * from events where batch_id > {last}) to stdout (format binary)");
        let mut stream = self.database.copy_out_raw(&sql).await?;
        let mut bytes = Vec::new();
        while let Some(part) = stream.try_next().await? {
            bytes.extend_from_slice(&part);
        }
        Rows::parse(bytes).ok_or_else(|| BenchError::Answer("COPY gives no rows".to_owned()))
    }

    async fn copy(&mut self, rows: &Rows, first: usize) -> Result<(), BenchError> {
        let end = rows.len().min(first + ROWS_PER_COPY);
        let mut copy = self.database.copy_in_raw("copy bench_copy from stdin (format binary)").await?;
        copy.send(&Rows::HEAD[..]).await?;
        for part in rows.bytes[rows.starts[first]..rows.starts[end]].chunks(64 * 1024) {
            copy.send(part).await?;
        }
        copy.send(&Rows::END[..]).await?;
        let copied = copy.finish().await?;
        if copied == (end - first) as u64 {
            Ok(())
        } else {
            Err(BenchError::Answer(format!("COPY took {copied} rows of {}", end - first)))
        }
    }

    async fn insert(&mut self, rows: &Rows, count: usize) -> Result<(), BenchError> {
        let places: Vec<String> = (1..=self.columns.len()).map(|at| format!("${at}")).collect();
        let sql = format!("insert into bench_insert values ({})", places.join(", "));
        for at in 0..count {
            let mut query = sqlx::query(AssertSqlSafe(sql.as_str()));
            for (kind, bytes) in self.columns.iter().zip(rows.values(at)) {
                query = query.bind(AsStored { kind, bytes });
            }
            query.execute(&mut self.database).await?;
        }
        Ok(())
    }
}

/// Where time and CPU time stood.
struct Before {
    start: Instant,
    postgres: f64,
    backend: f64,
}

/// The median time that the disk under the database takes to confirm 8 kB, in milliseconds.
fn confirmed_write(data_dir: &Path) -> io::Result<f64> {
    let mut file = tempfile::tempfile_in(data_dir)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        file.seek(io::SeekFrom::Start(0))?;
        file.write_all(&[1; 8192])?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(median(&times))
}

/// The process that started this one.
pub(super) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; the state and the parent follow it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The directory of PostgreSQL's socket: the fifth line of `postmaster.pid`.
pub(super) fn socket(data_dir: &Path) -> Option<String> {
    let text = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    text.lines().nth(4).map(str::to_owned)
}

/// Makes a table that the store cannot tell from a month of events.
async fn like_a_month(database: &mut PgConnection, table: &str) -> Result<(), BenchError> {
    let month = Utc::now().format("events_%Y_%m").to_string();
    let ddl = format!("create table {table} (like {month} including all) with ({TABLE_SETTINGS})");
    database.execute(AssertSqlSafe(ddl)).await?;
    let mut described = Vec::new();
    for name in [month.as_str(), table] {
        let settings: Vec<String> =
            sqlx::query_scalar("select coalesce(reloptions, '{}') from pg_class where relname = $1")
                .bind(name)
                .fetch_one(&mut *database)
                .await?;
        let indexes: Vec<String> = sqlx::query_scalar(
            r"select regexp_replace(indexdef, '^(CREATE (?:UNIQUE )?INDEX ).*( USING )', '\1\2')
              from pg_indexes where tablename = $1 order by 1",
        )
        .bind(name)
        .fetch_all(&mut *database)
        .await?;
        described.push((settings, indexes));
    }
    if described[0] == described[1] && !described[0].1.is_empty() {
        Ok(())
    } else {
        Err(BenchError::Answer(format!("{table} is not as {month}: {described:?}")))
    }
}

/// Rows as binary COPY writes them.
struct Rows {
    bytes: Vec<u8>,
    /// Where each row begins, and where the last one ends.
    starts: Vec<usize>,
}

impl Rows {
    /// Signature, no flags, no extension.
    const HEAD: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    /// Where a row's number of values would stand.
    const END: [u8; 2] = [0xff; 2];

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&Self::HEAD)?;
        let mut starts = Vec::new();
        loop {
            starts.push(bytes.len() - rest.len());
            let (count, values) = rest.split_first_chunk::<2>()?;
            if *count == Self::END {
                return Some(Self { bytes, starts });
            }
            rest = values;
            for _ in 0..u16::from_be_bytes(*count) {
                value(&mut rest)?;
            }
        }
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The values of a row.
    fn values(&self, at: usize) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &self.bytes[self.starts[at] + 2..self.starts[at + 1]];
        std::iter::from_fn(move || value(&mut rest))
    }
}

/// The next value: a length of -1 stands for null. None at the end.
fn value<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let Ok(len) = usize::try_from(i32::from_be_bytes(*len)) else {
        *rest = after;
        return Some(None);
    };
    let (value, after) = after.split_at_checked(len)?;
    *rest = after;
    Some(Some(value))
}

/// A value in the bytes in which the store gave it.
struct AsStored<'a> {
    kind: &'a PgTypeInfo,
    bytes: Option<&'a [u8]>,
}

impl Type<Postgres> for AsStored<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, Postgres> for AsStored<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = self.bytes else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.clone())
    }
}

/// A producer as the Worker is one: a stream and a chain of headers.
pub(super) struct Producer {
    key: SigningKey,
    tenant: TenantId,
    pair: ed25519_dalek::SigningKey,
    stream: StreamId,
    seq: u64,
    prev: Hash,
}

impl Producer {
    pub(super) fn new(key: &SigningKey, tenant: &str) -> Self {
        let pair = ed25519_dalek::SigningKey::from_bytes(&key.signer.seed);
        let tenant = tenant.parse().expect("a slug");
        Self { key: key.clone(), tenant, pair, stream: StreamId(random()), seq: 0, prev: [0; 32] }
    }

    /// The streams of one connection.
    pub(super) fn of_a_connection(key: &SigningKey) -> Vec<Self> {
        (0..BATCHES_PER_REQUEST).map(|_| Self::new(key, TENANT)).collect()
    }

    /// A signed batch of events of the producer's tenant, framed.
    pub(super) fn seal_events(&mut self, events: &[Event]) -> Vec<u8> {
        let openings: Vec<(Hash, Vec<u8>)> = events
            .iter()
            .map(|event| {
                let event = Event { tenant: self.tenant.clone(), ..event.clone() };
                let opening = event.to_opening(Seed(random()));
                (leaf::digest(&opening), opening.encode())
            })
            .collect();
        self.seal(&openings)
    }

    /// A signed batch, framed.
    fn seal(&mut self, openings: &[(Hash, Vec<u8>)]) -> Vec<u8> {
        let header = Header {
            tenant: self.tenant.clone(),
            stream: self.stream,
            seq: self.seq,
            prev: self.prev,
            sent: Timestamp::from(Utc::now()),
            count: u16::try_from(openings.len()).expect("at most 100"),
            dropped: 0,
            events: events_hash(openings.iter().map(|(digest, _)| digest)),
        };
        self.seq += 1;
        self.prev = header.hash();
        let text = header.to_string();
        let signature = self.pair.sign(text.as_bytes()).to_bytes();
        let note = assemble(&text, &self.key.signer.name, self.key.signer.id, &signature);
        frame(&note, &encode_body(openings.iter().map(|(digest, bytes)| (digest, bytes.as_slice()))))
    }
}

fn tenant() -> TenantId {
    TENANT.parse().expect("a slug")
}

/// The requests of each connection for a number of edited agents, and the mean length of an opening.
pub(super) fn requests(producers: &mut [Vec<Producer>], events: usize) -> (Vec<Vec<Vec<u8>>>, f64) {
    requests_of(producers, events, updated)
}

/// The requests of each connection for a number of new events, and the mean length of an opening. An event is made of its
/// time in milliseconds and its number.
pub(super) fn requests_of(
    producers: &mut [Vec<Producer>],
    events: usize,
    made: fn(u64, usize) -> Event,
) -> (Vec<Vec<Vec<u8>>>, f64) {
    let began = Timestamp::from(Utc::now()).millis();
    let mut queues = vec![Vec::new(); producers.len()];
    let mut length = 0;
    for number in 0..events / EVENTS_PER_REQUEST {
        let at = number % producers.len();
        let mut body = Vec::new();
        for (batch, producer) in producers[at].iter_mut().enumerate() {
            let openings: Vec<(Hash, Vec<u8>)> = (0..MAX_EVENTS_PER_BATCH)
                .map(|event| {
                    let n = (number * BATCHES_PER_REQUEST + batch) * MAX_EVENTS_PER_BATCH + event;
                    // Twenty each millisecond: busy, and in the order in which they are sent.
                    let opening = made(began + n as u64 / 20, n).to_opening(Seed(random()));
                    (leaf::digest(&opening), opening.encode())
                })
                .collect();
            length += openings.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            body.extend(producer.seal(&openings));
        }
        queues[at].push(request(&body));
    }
    (queues, length as f64 / events as f64)
}

/// A request with framed batches.
pub(super) fn request(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/batches HTTP/1.1\r\nhost: ingest\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An agent that was edited, as the Worker records it.
pub(super) fn updated(at: u64, n: usize) -> Event {
    let at = Timestamp::try_from(at).expect("the time of day");
    let noise: [u8; 10] = random();
    // Some five hundred people with two thousand agents.
    let person = usize::from(u16::from_be_bytes([noise[8], noise[9]])) % 500;
    let agent = person * 4 + n % 4;
    let uuid = |kind: u8, of: usize| {
        let mut bytes = [kind; 16];
        bytes[..8].copy_from_slice(&(of as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    };
    let temperature = f64::from(noise[7] % 10) / 10.0;
    let changes = json!({
        "agent_name": {"from": format!("Support agent {agent}"), "to": format!("Support agent {agent} v{}", n % 9)},
        "model": {"from": "gpt-4o-mini", "to": "gpt-4o"},
        "temperature": {"from": 0.2, "to": temperature},
    });
    Event {
        tenant: tenant(),
        id: EventId::mint(at, &noise),
        occurred_at: at,
        class: RetentionClass::from(Severity::Info),
        action: Action::try_from("AGENT_UPDATED".to_owned()).expect("an action"),
        severity: Severity::Info,
        outcome: Outcome::Success,
        reason: None,
        trust: Trust::Verified,
        actor: Some(Actor {
            id: uuid(1, person),
            email: Some(format!("person{person}@example.com")),
            role: Some("authenticated".to_owned()),
            aal: Some("aal1".to_owned()),
            method: Some("password".to_owned()),
        }),
        claimed_user: None,
        entity: Some(Entity {
            kind: EntityType::try_from("agent".to_owned()).expect("a type"),
            id: Some(uuid(2, agent)),
            name: Some(format!("Support agent {agent}")),
        }),
        request: RequestFacts {
            host: "app.example.com".to_owned(),
            method: "PUT".to_owned(),
            route: "/api/agents/{id}".to_owned(),
            rule: "app/agent-update".to_owned(),
            status: Some(200),
            request_body: BodyState::Complete,
            response_body: BodyState::Complete,
        },
        context: Context {
            ip: Some(std::net::IpAddr::from([203, 0, u8::try_from(person / 250).expect("small"), noise[9]])),
            user_agent: Some(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/142.0.0.0 Safari/537.36"
                    .to_owned(),
            ),
            session: Some(uuid(3, person)),
            place: Some(Place {
                country: Some("DE".to_owned()),
                colo: Some("FRA".to_owned()),
                ray: Some(hex::encode(&noise[..8])),
                tls: Some("TLSv1.3".to_owned()),
                asn: Some("3320".to_owned()),
            }),
        },
        details: Some(JsonText::from(&json!({"source": "dashboard", "tools": n % 7, "version": n % 9}))),
        changes: Some(ChangeSet { quality: Quality::Exact, fields: JsonText::from(&changes) }),
        compliance: Vec::new(),
        duration_ms: Some(u32::from(noise[7])),
        echo: false,
    }
}

/// Sends every connection's requests, one after the other; returns after the last answer.
pub(super) fn send(address: SocketAddr, queues: Vec<Vec<Vec<u8>>>) -> Result<(), BenchError> {
    let clients: Vec<_> =
        queues.into_iter().map(|requests| thread::spawn(move || converse(address, &requests))).collect();
    for client in clients {
        let answers = client
            .join()
            .map_err(|_| BenchError::Answer("a client panicked".to_owned()))?
            .map_err(failed("sending batches"))?;
        for answer in answers {
            all_stored(&answer)?;
        }
    }
    Ok(())
}

fn all_stored(answer: &[u8]) -> Result<(), BenchError> {
    let batches: Vec<Value> = serde_json::from_slice(answer).unwrap_or_default();
    let stored = |batch: &Value| batch["status"] == 200 && batch["stored"] == MAX_EVENTS_PER_BATCH;
    if batches.len() == BATCHES_PER_REQUEST && batches.iter().all(stored) {
        Ok(())
    } else {
        Err(BenchError::Answer(String::from_utf8_lossy(answer).into_owned()))
    }
}

fn converse(address: SocketAddr, requests: &[Vec<u8>]) -> io::Result<Vec<Vec<u8>>> {
    let mut conversation = Conversation::open(address)?;
    requests.iter().map(|request| conversation.say(request)).collect()
}

/// A connection on which requests and answers take turns.
pub(super) struct Conversation(BufReader<TcpStream>);

impl Conversation {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and gives the body of its answer.
    pub(super) fn say(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.0.get_mut().write_all(request)?;
        answer(&mut self.0)
    }
}

/// The body of the next answer.
fn answer(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}
