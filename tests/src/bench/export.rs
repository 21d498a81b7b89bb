//! Exports of everything that is stored: how fast they are, and how much memory they take.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::ingest::{self, EVENTS_PER_REQUEST, Producer, failed, optimised};
use super::process::resident;
use super::report::median;
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Ingest, IngestSpec, SigningKey, free_port};

const FORMATS: [&str; 4] = ["ndjson", "csv", "parquet", "ocsf"];

/// Runs the exports.
///
/// # Errors
/// [`BenchError`] if the backend does not start, or an export is not whole.
pub async fn run(extent: Extent) -> Result<Report, BenchError> {
    let (rounds, requests) = match extent {
        Extent::Quick => (3, 100),
        Extent::Full => (5, 500),
    };
    optimised()?;
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(failed("opening a directory"))?;
    let key = SigningKey::generate();
    let api_key = format!("etk_bench_{}", hex::encode(random::<32>()));
    let spec = IngestSpec {
        port: free_port(None)?,
        key: key.clone(),
        api_key: api_key.clone(),
        more: String::new(),
    };
    let ingest = Ingest::start(&dir.path().join("ingest"), spec).await?;
    let address = ingest.address();
    let pid = ingest.postgres_pid().and_then(ingest::parent);
    let pid = pid.ok_or_else(|| BenchError::Answer("the backend's process is unknown".to_owned()))?;
    let mut producers = vec![Producer::of_a_connection(&key)];
    let (queues, length) = ingest::requests(&mut producers, requests * EVENTS_PER_REQUEST);
    let measuring = tokio::task::spawn_blocking(move || {
        ingest::send(address, queues)?;
        measure((address, pid), &api_key, rounds, (requests * EVENTS_PER_REQUEST) as f64, length)
    });
    measuring.await.map_err(|error| BenchError::Answer(error.to_string()))?
}

fn measure(
    (address, pid): (SocketAddr, u32),
    api_key: &str,
    rounds: usize,
    events: f64,
    length: f64,
) -> Result<Report, BenchError> {
    let mut report = Report::default();
    report.row("export", format!("{rounds} rounds of {events} events with openings of {length:.0} bytes"));
    for format in FORMATS {
        let (mut rates, mut peaks) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let before = resident(pid);
            let peak = Peak::of(pid);
            let began = Instant::now();
            let bytes = fetch(address, api_key, format).map_err(failed("reading an export"))?;
            rates.push(events / began.elapsed().as_secs_f64());
            peaks.push(peak.end().saturating_sub(before) as f64 / 1e6);
            if bytes == 0 {
                return Err(BenchError::Answer(format!("the {format} export was cut off")));
            }
        }
        let (rate, peak) = (median(&rates), median(&peaks));
        report.row(format!("  {format}"), format!("{rate:.0} events/s, {peak:.0} MB more at its peak"));
        report.figure(&format!("export.{format}.events_per_s"), rate);
        report.figure(&format!("export.{format}.peak_mb"), peak);
    }
    Ok(report)
}

/// Reads an export to its end; 0 if it has none.
fn fetch(address: SocketAddr, api_key: &str, format: &str) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET /v1/events/export?q=action:AGENT_UPDATED&format={format} HTTP/1.1\r\nhost: ingest\r\nauthorization: Bearer {api_key}\r\n\r\n"
    )?;
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut total = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(0);
        }
        let Ok(len) = u64::from_str_radix(line.trim(), 16) else { return Ok(0) };
        std::io::copy(&mut reader.by_ref().take(len), &mut std::io::sink())?;
        if len == 0 {
            return Ok(total);
        }
        total += len;
        reader.read_line(&mut line)?;
    }
}

/// The largest memory of a process until it is asked for.
struct Peak {
    ends: Arc<AtomicBool>,
    largest: Arc<AtomicU64>,
    looking: thread::JoinHandle<()>,
}

impl Peak {
    fn of(pid: u32) -> Self {
        let (ends, largest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, found) = (Arc::clone(&ends), Arc::clone(&largest));
        let looking = thread::spawn(move || {
            while !until.load(Ordering::Acquire) {
                found.fetch_max(resident(pid), Ordering::AcqRel);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { ends, largest, looking }
    }

    fn end(self) -> u64 {
        self.ends.store(true, Ordering::Release);
        // It only reads and sleeps.
        let _ = self.looking.join();
        self.largest.load(Ordering::Acquire)
    }
}
