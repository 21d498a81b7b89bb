//! The log beside ingest: how fast entries are sequenced, and how long a producer's acknowledged event waits for the head
//! that covers it while the backend is as busy as it gets.
//!
//! The sequencer alone gets its entries straight into its queue. For the wait, one producer of a tenant of its own sends an
//! event every few milliseconds, and the served head is read all the time: the n-th event is in it once its size is n.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _};

use super::ingest::{
    CONNECTIONS, Conversation, EVENTS_PER_REQUEST, Producer, failed, optimised, request, requests, send,
    socket, updated,
};
use super::report::median;
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Ingest, IngestSpec, SigningKey, free_port};

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: usize,
    /// Batches of a hundred entries that are queued at once.
    batches: i64,
    probes: usize,
}

/// Between two events of the producer whose wait is measured.
const PACE: Duration = Duration::from_millis(20);
/// The tenant of that producer.
const PROBE: &str = "probe";

/// Runs it.
///
/// # Errors
/// [`BenchError`] if the backend does not start, or the log does not catch up.
pub async fn run(extent: Extent) -> Result<Report, BenchError> {
    let size = match extent {
        Extent::Quick => Size { rounds: 3, batches: 1_000, probes: 300 },
        Extent::Full => Size { rounds: 5, batches: 2_500, probes: 1_500 },
    };
    optimised()?;
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(failed("opening a directory"))?;
    let (key, probe) = (SigningKey::generate(), SigningKey::generate());
    let spec = IngestSpec {
        port: free_port(None)?,
        key: key.clone(),
        api_key: format!("etk_bench_{}", hex::encode(random::<32>())),
        more: format!("[[signers]]\nkey = \"{}\"\ntenants = [\"{PROBE}\"]\n", probe.verifier),
    };
    let ingest = Ingest::start(&dir.path().join("ingest"), spec).await?;
    let gone = || BenchError::Answer("PostgreSQL does not tell its socket".to_owned());
    let socket = socket(&ingest.data_dir()).ok_or_else(gone)?;
    let options =
        PgConnectOptions::new_without_pgpass().socket(socket).username("edgetrail").database("postgres");
    let mut database = PgConnection::connect_with(&options).await?;

    let mut rates = Vec::new();
    for round in 0..=size.rounds {
        let rate = sequence(&mut database, i64::try_from(round).unwrap_or(0), size.batches).await?;
        // The first fills caches and opens the log.
        if round > 0 {
            rates.push(rate);
        }
    }
    let waits = waits(&mut database, ingest.address(), &key, &probe, size).await?;
    Ok(tell(size, &rates, &waits))
}

/// Leaves in a second, of entries that wait already.
async fn sequence(database: &mut PgConnection, round: i64, batches: i64) -> Result<f64, BenchError> {
    let doing = "insert into log_pending (tenant_id, batch_id, n, entries, queued_at)
         select 'sequenced', $1 + batch, 100, entries, now() from generate_series(1, $2) batch
         cross join lateral (select string_agg('\\x01'::bytea || '\\x01'::bytea || int8send(1795400000123) || sha256(int8send($1 + batch) || int8send(n)), ''::bytea) as entries
                     from generate_series(1, 100) n where batch > 0) made";
    let mut transaction = database.begin().await?;
    sqlx::query(doing).bind(round * 1_000_000).bind(batches).execute(&mut *transaction).await?;
    let start = Instant::now();
    transaction.commit().await?;
    loop {
        let waiting: bool =
            sqlx::query_scalar("select exists (select from log_pending)").fetch_one(&mut *database).await?;
        if !waiting {
            return Ok(batches as f64 * 100.0 / start.elapsed().as_secs_f64());
        }
        if start.elapsed() > Duration::from_secs(120) {
            return Err(BenchError::Answer("the log does not catch up".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What was seen while the backend was busy.
struct Waits {
    /// From each answer to the head that covers it, in milliseconds.
    millis: Vec<f64>,
    /// Entries that waited for the sequencer, whenever looked.
    pending: Vec<f64>,
    /// Events a second from the other producers meanwhile.
    rate: f64,
}

async fn waits(
    database: &mut PgConnection,
    address: SocketAddr,
    key: &SigningKey,
    probe: &SigningKey,
    size: Size,
) -> Result<Waits, BenchError> {
    let mut producer = Producer::new(probe, PROBE);
    // The first event opens the log, whose name is then known.
    let mut conversation = Conversation::open(address).map_err(failed("connecting"))?;
    conversation.say(&single(&mut producer, 0)).map_err(failed("sending a batch"))?;
    let log = loop {
        let found: Option<String> =
            sqlx::query_scalar("select log_id from logs where tenant_id = $1 and size > 0")
                .bind(PROBE)
                .fetch_optional(&mut *database)
                .await?;
        match found {
            Some(log) => break log,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let done = Arc::new(AtomicBool::new(false));
    let load = {
        let done = Arc::clone(&done);
        let mut producers: Vec<Vec<Producer>> =
            (0..CONNECTIONS).map(|_| Producer::of_a_connection(key)).collect();
        thread::spawn(move || -> Result<f64, BenchError> {
            let mut events = 0;
            let mut sending = Duration::ZERO;
            while !done.load(Ordering::Acquire) {
                let (queues, _) = requests(&mut producers, EVENTS_PER_REQUEST * CONNECTIONS * 5);
                let start = Instant::now();
                send(address, queues)?;
                sending += start.elapsed();
                events += EVENTS_PER_REQUEST * CONNECTIONS * 5;
            }
            Ok(events as f64 / sending.as_secs_f64())
        })
    };
    let heads = {
        let done = Arc::clone(&done);
        let url = format!("/log/{log}/checkpoint");
        thread::spawn(move || heads(address, &url, &done))
    };
    let probing = thread::spawn(move || -> io::Result<Vec<Instant>> {
        let mut answered = Vec::with_capacity(size.probes);
        for n in 1..=size.probes {
            let body = single(&mut producer, n);
            conversation.say(&body)?;
            answered.push(Instant::now());
            thread::sleep(PACE);
        }
        Ok(answered)
    });
    let mut pending = Vec::new();
    while !probing.is_finished() {
        let waiting: i64 = sqlx::query_scalar("select coalesce(sum(n), 0)::bigint from log_pending")
            .fetch_one(&mut *database)
            .await?;
        pending.push(waiting as f64);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The last events may still be on their way into the log.
    tokio::time::sleep(Duration::from_secs(2)).await;
    done.store(true, Ordering::Release);
    let panicked = |_| BenchError::Answer("a client panicked".to_owned());
    let answered = probing.join().map_err(panicked)?.map_err(failed("sending batches"))?;
    let heads = heads.join().map_err(panicked)?.map_err(failed("reading heads"))?;
    let rate = load.join().map_err(panicked)??;
    let mut millis = Vec::with_capacity(answered.len());
    for (at, n) in answered.iter().zip(2_u64..) {
        let covered = heads.iter().find(|(_, size)| *size >= n);
        let (seen, _) = covered.ok_or_else(|| BenchError::Answer(format!("no head covers event {n}")))?;
        millis.push(seen.saturating_duration_since(*at).as_secs_f64() * 1000.0);
    }
    database.execute("select 1").await?;
    Ok(Waits { millis, pending, rate })
}

fn single(producer: &mut Producer, n: usize) -> Vec<u8> {
    let at = shared::event::Timestamp::from(chrono::Utc::now()).millis();
    request(&producer.seal_events(&[updated(at, n)]))
}

/// The sizes of the served heads, each with the time when it was first seen.
fn heads(address: SocketAddr, url: &str, done: &AtomicBool) -> io::Result<Vec<(Instant, u64)>> {
    let mut conversation = Conversation::open(address)?;
    let mut seen: Vec<(Instant, u64)> = Vec::new();
    while !done.load(Ordering::Acquire) {
        let body = conversation.say(format!("GET {url} HTTP/1.1\r\nhost: ingest\r\n\r\n").as_bytes())?;
        let text = String::from_utf8_lossy(&body);
        let size = text.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
        if seen.last().is_none_or(|(_, last)| *last < size) {
            seen.push((Instant::now(), size));
        }
        thread::sleep(Duration::from_millis(4));
    }
    Ok(seen)
}

fn tell(size: Size, rates: &[f64], waits: &Waits) -> Report {
    let mut report = Report::default();
    let mut sorted = waits.millis.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let leaves = median(rates);
    let most = waits.pending.iter().copied().fold(0.0, f64::max);
    report.row(
        "the log",
        format!(
            "{} rounds of {} entries that wait; {} probes beside {:.0} events/s",
            size.rounds,
            size.batches * 100,
            size.probes,
            waits.rate
        ),
    );
    report.row("  sequenced", format!("{leaves:.0} leaves/s, {:.1} times what arrives", leaves / waits.rate));
    report.row(
        "  backlog",
        format!(
            "{:.0} entries in the middle, {most:.0} at most: {:.2} s",
            median(&waits.pending),
            most / waits.rate
        ),
    );
    report.row(
        "  answer to head",
        format!("p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", at(0.5), at(0.99), at(1.0)),
    );
    report.figure("sequencer.leaves_per_s", leaves);
    report.figure("sequencer.ingest_ratio", leaves / waits.rate);
    report.figure("sequencer.backlog_s", most / waits.rate);
    report.figure("publish.ack_to_checkpoint_p99_ms", at(0.99));
    report
}
