//! Five hundred tenants at the same time: how long an acknowledged event waits for the head of its own tenant's log that
//! covers it. Each tenant has a log, and each of them is advanced by itself.
//!
//! Every tenant sends a batch in every second, whether or not the backend keeps up. The sizes of all logs are read all the time.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::ingest::{Conversation, Producer, failed, optimised, parent, request, socket, updated};
use super::process::{cpu_seconds, tree_cpu_seconds};
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Ingest, IngestSpec, SigningKey, free_port};

const TENANTS: usize = 500;
const CONNECTIONS: usize = 4;
/// Each request has a batch of so many tenants, as a delivery of the queue may.
const TENANTS_PER_REQUEST: usize = 25;
const EVENTS_PER_BATCH: usize = 4;
/// Between two batches of a tenant.
const EVERY: Duration = Duration::from_secs(1);
/// Logs are opened meanwhile, and statements prepared.
const WARM_UP: usize = 3;

/// A batch that was acknowledged: its tenant, how many events that makes for the tenant, when.
struct Acknowledged {
    tenant: String,
    events: u64,
    at: Instant,
}

/// Runs it.
///
/// # Errors
/// [`BenchError`] if the backend does not start, refuses something, or a log does not catch up.
pub async fn run(extent: Extent) -> Result<Report, BenchError> {
    let seconds = match extent {
        Extent::Quick => 10,
        Extent::Full => 40,
    };
    optimised()?;
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(failed("opening a directory"))?;
    let (key, theirs) = (SigningKey::generate(), SigningKey::generate());
    let names: Vec<_> = (0..TENANTS).map(|n| format!("tenant-{n:03}")).collect();
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    let spec = IngestSpec {
        port: free_port(None)?,
        key,
        api_key: format!("etk_bench_{}", hex::encode(random::<32>())),
        more: format!("[[signers]]\nkey = \"{}\"\ntenants = [{}]\n", theirs.verifier, quoted.join(", ")),
    };
    let ingest = Ingest::start(&dir.path().join("ingest"), spec).await?;
    let gone = || BenchError::Answer("PostgreSQL does not tell its process and its socket".to_owned());
    let postgres = ingest.postgres_pid().ok_or_else(gone)?;
    let backend = parent(postgres).ok_or_else(gone)?;
    let options = PgConnectOptions::new_without_pgpass()
        .socket(socket(&ingest.data_dir()).ok_or_else(gone)?)
        .username("edgetrail")
        .database("postgres");
    let mut database = PgConnection::connect_with(&options).await?;

    let address = ingest.address();
    let cpu = || (tree_cpu_seconds(postgres), cpu_seconds(backend));
    let before = cpu();
    let began = Instant::now();
    let clients: Vec<_> = names
        .chunks(TENANTS / CONNECTIONS)
        .map(|names| {
            let producers = names.iter().map(|name| (name.clone(), Producer::new(&theirs, name))).collect();
            thread::spawn(move || send(address, producers, seconds + WARM_UP))
        })
        .collect();
    let mut heads = Heads::default();
    while !clients.iter().all(thread::JoinHandle::is_finished) {
        heads.look(&mut database).await?;
    }
    let took = began.elapsed();
    let after = cpu();
    let mut acknowledged = Vec::new();
    for client in clients {
        let sent = client.join().map_err(|_| BenchError::Answer("a client panicked".to_owned()))?;
        acknowledged.extend(sent.map_err(failed("sending batches"))?);
    }
    let last = Instant::now();
    while !acknowledged.iter().all(|it| heads.covers(it).is_some()) {
        heads.look(&mut database).await?;
        if last.elapsed() > Duration::from_secs(60) {
            return Err(BenchError::Answer("a log does not catch up".to_owned()));
        }
    }
    let warm = u64::try_from(WARM_UP * EVENTS_PER_BATCH).unwrap_or(u64::MAX);
    let mut waits: Vec<f64> = acknowledged
        .iter()
        .filter(|it| it.events > warm)
        .filter_map(|it| Some(heads.covers(it)?.saturating_duration_since(it.at).as_secs_f64() * 1000.0))
        .collect();
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    let events = acknowledged.len() * EVENTS_PER_BATCH;
    let mut report = Report::default();
    report.row(
        "tenants",
        format!(
            "{TENANTS} tenants with {EVENTS_PER_BATCH} events each second: {:.0} events/s in {:.0} batches/s",
            events as f64 / took.as_secs_f64(),
            acknowledged.len() as f64 / took.as_secs_f64()
        ),
    );
    report.row(
        "  answer to head",
        format!("p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", at(0.5), at(0.99), at(1.0)),
    );
    report.row(
        "  cores",
        format!(
            "PostgreSQL {:.2}, backend {:.2}",
            (after.0 - before.0) / took.as_secs_f64(),
            (after.1 - before.1) / took.as_secs_f64()
        ),
    );
    report.figure("tenants.ack_to_checkpoint_p99_ms", at(0.99));
    report.figure("tenants.events_per_s", events as f64 / took.as_secs_f64());
    Ok(report)
}

/// When each log was first seen at which size.
#[derive(Default)]
struct Heads(HashMap<String, Vec<(u64, Instant)>>);

impl Heads {
    async fn look(&mut self, database: &mut PgConnection) -> Result<(), BenchError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("select tenant_id, size from logs where size > 0").fetch_all(database).await?;
        let now = Instant::now();
        for (tenant, size) in rows {
            let size = u64::try_from(size).unwrap_or(0);
            let seen = self.0.entry(tenant).or_default();
            if seen.last().is_none_or(|(last, _)| *last < size) {
                seen.push((size, now));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    /// When the log covered it.
    fn covers(&self, it: &Acknowledged) -> Option<Instant> {
        self.0.get(&it.tenant)?.iter().find(|(size, _)| *size >= it.events).map(|(_, at)| *at)
    }
}

/// Sends a batch of each producer's in every second.
fn send(
    address: SocketAddr,
    mut producers: Vec<(String, Producer)>,
    seconds: usize,
) -> io::Result<Vec<Acknowledged>> {
    let mut conversation = Conversation::open(address)?;
    let requests = producers.len().div_ceil(TENANTS_PER_REQUEST);
    let pause = EVERY / u32::try_from(requests).unwrap_or(1);
    let mut due = Instant::now();
    let mut acknowledged = Vec::new();
    for second in 1..=seconds {
        for some in producers.chunks_mut(TENANTS_PER_REQUEST) {
            let at = shared::event::Timestamp::from(chrono::Utc::now()).millis();
            let events: Vec<_> = (0..EVENTS_PER_BATCH).map(|n| updated(at, n)).collect();
            let body: Vec<u8> = some
                .iter_mut()
                .flat_map(|(_, producer)| {
                    let again = events.iter().map(|event| shared::event::Event {
                        id: shared::event::EventId::mint(event.occurred_at, &random()),
                        ..event.clone()
                    });
                    producer.seal_events(&again.collect::<Vec<_>>())
                })
                .collect();
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = conversation.say(&request(&body))?;
            let now = Instant::now();
            let batches: Vec<Value> = serde_json::from_slice(&answer).unwrap_or_default();
            if batches.len() != some.len() || batches.iter().any(|batch| batch["status"] != 200) {
                return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
            }
            let events = u64::try_from(second * EVENTS_PER_BATCH).unwrap_or(u64::MAX);
            acknowledged.extend(some.iter().map(|(tenant, _)| Acknowledged {
                tenant: tenant.clone(),
                events,
                at: now,
            }));
            due += pause;
        }
    }
    Ok(acknowledged)
}
