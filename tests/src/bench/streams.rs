//! Streams under load: a receiver that takes everything, and a stream that was paused for a while.
//!
//! Events have numbers and one producer, so the order in which they must arrive is known: a number that is skipped is missing or
//! out of order, one that comes back is a repetition.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use serde_json::{Value, json};
use shared::event::{Event, JsonText, Timestamp};
use tokio::net::TcpListener;

use super::ingest::{Conversation, Producer, TENANT, failed, optimised, request, updated};
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Api, Ingest, IngestSpec, SigningKey, free_port};
use crate::wire::Call;

/// Lets streams lead to this machine.
pub(super) const CONFIGURATION: &str = "[sinks]\nallow_private = true\n";
/// Events in a second while a stream is paused.
const RATE: u64 = 200;
const BATCH: u64 = 20;

/// What a receiver saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    /// The number that comes next if nothing is missing.
    next: u64,
    /// Numbers that were not there when a later one came.
    skipped: u64,
    /// Numbers that came again.
    repeated: u64,
}

impl Seen {
    fn take(&mut self, number: u64) {
        if number < self.next {
            self.repeated += 1;
        } else {
            self.skipped += number - self.next;
            self.next = number + 1;
        }
    }
}

/// Takes everything and counts.
#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    /// Listens on a free port of this machine.
    pub(super) async fn start() -> Result<Self, BenchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed("listening"))?;
        let address = listener.local_addr().map_err(failed("listening"))?;
        let bytes = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&bytes);
        let seen = Arc::<Mutex<Seen>>::default();
        let numbered = Arc::clone(&seen);
        // Numbers are only looked for where somebody asks: to read JSON costs as much as to write it.
        let numbers = move |State(seen): State<Arc<Mutex<Seen>>>, body: Bytes| async move {
            let Ok(events) = serde_json::from_slice::<Vec<Value>>(&body) else {
                return StatusCode::BAD_REQUEST;
            };
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            for number in events.iter().filter_map(|event| event["data"]["details"]["n"].as_u64()) {
                seen.take(number);
            }
            StatusCode::OK
        };
        let everything = move |body: Bytes| async move {
            counted.fetch_add(body.len() as u64, Ordering::Relaxed);
            StatusCode::OK
        };
        let routes = Router::new()
            .route("/numbers", axum::routing::post(numbers))
            .fallback(everything)
            .with_state(numbered);
        let listener = listener.into_std().map_err(failed("listening"))?;
        thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || elsewhere(listener, routes))
            .map_err(failed("starting a receiver"))?;
        Ok(Self { address, bytes, seen })
    }

    /// Bytes that arrived.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a stream that leads here; gives its id.
    pub(super) async fn stream(
        &self,
        api: &Api,
        kind: &str,
        path: &str,
        query: &str,
    ) -> Result<String, BenchError> {
        let url = format!("http://{}{path}", self.address);
        let made = asked(
            api,
            Call::new("POST", "/v1/sinks")
                .json(&json!({"kind": kind, "name": format!("{kind} to {}", self.address), "url": url, "query": query})),
        )
        .await?;
        let id = made["id"].as_str().ok_or_else(|| BenchError::Answer(made.to_string()))?;
        Ok(id.to_owned())
    }
}

/// Serves on a thread that gives way: receivers stand on machines of their own.
fn elsewhere(listener: std::net::TcpListener, routes: Router) -> io::Result<()> {
    // Elsewhere it would be the whole process.
    if cfg!(target_os = "linux") {
        rustix::process::nice(10).map_err(io::Error::from)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { axum::serve(TcpListener::from_std(listener)?, routes).await })
}

async fn asked(api: &Api, call: Call) -> Result<Value, BenchError> {
    let answer = api.call(call).await.map_err(|error| BenchError::Answer(error.to_string()))?;
    if answer.status / 100 == 2 { Ok(answer.json()) } else { Err(BenchError::Answer(answer.text())) }
}

/// Whether no stream has anything left to look at.
pub(super) async fn are_through(api: &Api) -> Result<bool, BenchError> {
    let listed = asked(api, Call::new("GET", "/v1/sinks")).await?;
    let sinks = listed["sinks"].as_array().ok_or_else(|| BenchError::Answer(listed.to_string()))?;
    Ok(sinks.iter().all(|sink| sink["health"]["lag_events"] == 0))
}

/// Pauses one of two streams while events arrive, resumes it and waits until it has caught up, while they go on arriving.
///
/// # Errors
/// [`BenchError`] if the backend does not start or store, or the stream does not catch up.
pub async fn run(extent: Extent, minutes: Option<u64>) -> Result<Report, BenchError> {
    let pause = Duration::from_secs(match (minutes, extent) {
        (Some(minutes), _) => minutes * 60,
        (None, Extent::Quick) => 60,
        (None, Extent::Full) => 3_600,
    });
    optimised()?;
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(failed("opening a directory"))?;
    let key = SigningKey::generate();
    let data = dir.path().join("ingest");
    let spec = IngestSpec {
        port: free_port(None)?,
        key: key.clone(),
        api_key: format!("etk_bench_{}", hex::encode(random::<32>())),
        more: format!("{CONFIGURATION}key_file = {:?}\n", data.join("sinks.key")),
    };
    let ingest = Ingest::start(&data, spec).await?;
    let api = ingest.api();
    let (paused, other) = (Receiver::start().await?, Receiver::start().await?);
    let stream = paused.stream(&api, "webhook", "/numbers", "-is:own").await?;
    other.stream(&api, "webhook", "/numbers", "-is:own").await?;

    let sent = Arc::<AtomicU64>::default();
    let over = Arc::<AtomicU64>::default();
    let load = {
        let (address, sent, over) = (ingest.address(), Arc::clone(&sent), Arc::clone(&over));
        tokio::task::spawn_blocking(move || steady(address, &key, &sent, &over))
    };
    // Both have begun.
    until(Duration::from_secs(60), async || Ok(paused.seen().next > 0 && other.seen().next > 0)).await?;
    asked(&api, Call::new("POST", format!("/v1/sinks/{stream}/pause"))).await?;
    tokio::time::sleep(pause).await;
    let (had, waiting) = (paused.seen().next, sent.load(Ordering::SeqCst));
    asked(&api, Call::new("POST", format!("/v1/sinks/{stream}/resume"))).await?;
    let resumed = Instant::now();
    until(Duration::from_secs(1_800), async || Ok(paused.seen().next >= waiting)).await?;
    let caught_up = resumed.elapsed().as_secs_f64();
    over.store(1, Ordering::SeqCst);
    let total = load.await.map_err(|error| BenchError::Answer(error.to_string()))??;
    until(Duration::from_secs(120), async || Ok(paused.seen().next >= total && other.seen().next >= total))
        .await?;

    let (paused, other) = (paused.seen(), other.seen());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
    let (late, behind) = ((waiting - had) as f64, other.next as f64);
    let mut report = Report::default();
    report.row("streams", format!("{RATE} events/s; one of two webhooks paused for {} s", pause.as_secs()));
    report.row("  paused", format!("{paused:?}, {late} events late, caught up in {caught_up:.1} s"));
    report.row("  not paused", format!("{other:?}"));
    report.figure("streams.events", behind);
    report.figure("streams.paused_s", pause.as_secs_f64());
    report.figure("streams.caught_up_events", late);
    report.figure("streams.catch_up_events_per_s", late / caught_up);
    report.figure("streams.missing_or_out_of_order", counted(paused.skipped + other.skipped));
    report.figure("streams.repeated", counted(paused.repeated + other.repeated));
    if paused.next == total && other.next == total && paused.skipped + other.skipped == 0 {
        Ok(report)
    } else {
        Err(BenchError::Answer(format!("of {total}: paused {paused:?}, other {other:?}")))
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
fn counted(events: u64) -> f64 {
    events as f64
}

/// Sends numbered events at a steady rate until it is told to end; how many.
fn steady(
    address: SocketAddr,
    key: &SigningKey,
    sent: &AtomicU64,
    over: &AtomicU64,
) -> Result<u64, BenchError> {
    let mut producer = Producer::new(key, TENANT);
    let mut line = Conversation::open(address).map_err(failed("connecting"))?;
    let began = Instant::now();
    let mut next = 0;
    while over.load(Ordering::SeqCst) == 0 {
        let at = Timestamp::from(Utc::now()).millis();
        let events: Vec<Event> = (next..next + BATCH).map(|n| numbered(at, n)).collect();
        let body = producer.seal_events(&events);
        let answer = line.say(&request(&body)).map_err(failed("sending batches"))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if answer[0]["status"] != 200 {
            return Err(BenchError::Answer(answer.to_string()));
        }
        next += BATCH;
        sent.store(next, Ordering::SeqCst);
        let due = began + Duration::from_millis(next * 1_000 / RATE);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(next)
}

fn numbered(at: u64, n: u64) -> Event {
    let event = updated(at, usize::try_from(n).unwrap_or(usize::MAX));
    Event { details: Some(JsonText::from(&json!({"n": n}))), ..event }
}

async fn until(limit: Duration, is_so: impl AsyncFn() -> Result<bool, BenchError>) -> Result<(), BenchError> {
    let start = Instant::now();
    while !is_so().await? {
        if start.elapsed() > limit {
            return Err(BenchError::Answer(format!("not within {} s", limit.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_comes_again_is_counted() {
        let mut seen = Seen::default();
        for number in [0, 1, 1, 4, 2, 5] {
            seen.take(number);
        }
        assert_eq!(seen, Seen { next: 6, skipped: 2, repeated: 2 });
    }
}
