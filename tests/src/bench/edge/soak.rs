//! Whether memory grows with the number of requests: audited and unaudited ones in turn, through one process.
//!
//! The engine's heap has the limit that Cloudflare gives an isolate: without one it collects garbage late, and the
//! process grows for that alone.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::super::load::{End, Load};
use super::super::process::resident;
use super::super::{BenchError, Report};
use super::stage::{Part, Peers, Requests, Stage};
use super::{CONNECTIONS, io};

const HEAP_LIMIT: &str = "--max-heap-size=128";

/// How often memory is looked at. Growth counts from the first look: until then caches fill and code is compiled.
const LOOKS: usize = 10;

pub(super) async fn run(dir: &Path, peers: Peers<'_>, requests: usize) -> Result<Report, BenchError> {
    let stage = Stage::write(&dir.join("soak"), [Part::Direct], peers, &[HEAP_LIMIT])?;
    let mut workerd = stage.start().await?;
    let known = Requests::to(&stage.variants[0], peers.keys);
    let load = Load {
        requests: vec![known.audited, known.unaudited],
        connections: CONNECTIONS,
        end: End::Requests(requests / LOOKS / CONNECTIONS),
        every: None,
    };
    let (mut sizes, mut row, mut sent) = (Vec::new(), String::new(), 0);
    for _ in 0..LOOKS {
        sent += load.send(stage.variants[0].address).map_err(io("sending requests"))?.requests;
        thread::sleep(Duration::from_millis(500));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let megabytes = resident(workerd.pid()) as f64 / 1e6;
        let _ = write!(row, "{megabytes:.0} MB after {sent}  ");
        sizes.push(megabytes);
    }
    workerd.stop();
    let mut report = Report::default();
    report.figure("edge.memory_growth_mb", sizes[LOOKS - 1] - sizes[0]);
    report.row("soak", row);
    Ok(report)
}
