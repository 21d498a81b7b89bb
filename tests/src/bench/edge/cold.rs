//! How long a new process takes until it answers for the first time, beside a bare pass-through in one of its own.
//!
//! workerd compiles the wasm before it listens, and the core reads its packs for the first request.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::super::load::Connection;
use super::super::report::median;
use super::super::{BenchError, Extent, Report};
use super::io;
use super::stage::{Part, Peers, Requests, Stage};

/// A process that does not answer within this never will.
const LIMIT: Duration = Duration::from_secs(30);

/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_micros(250);

pub(super) fn run(dir: &Path, peers: Peers<'_>, extent: Extent) -> Result<Report, BenchError> {
    let rounds = match extent {
        Extent::Quick => 5,
        Extent::Full => 15,
    };
    let mut report = Report::default();
    for (name, figure, audited) in [
        ("cold, unaudited", "edge.cold_start_added_ms", false),
        ("cold, audited", "edge.cold_start_audited_added_ms", true),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for step in 0..2 {
                let at = (round + step) % 2;
                let part = [Part::Bare, Part::Direct][at].clone();
                let stage = Stage::write(&dir.join(format!("cold-{at}")), [part], peers, &[])?;
                times[at].push(first_answer(&stage, peers, audited)?);
            }
        }
        let [bare, direct] = &times;
        let added: Vec<f64> = direct.iter().zip(bare).map(|(direct, bare)| direct - bare).collect();
        report.figure(figure, median(&added));
        report.row(
            name,
            format!("first answer after {:.1} ms, bare JS {:.1} ms", median(direct), median(bare)),
        );
    }
    Ok(report)
}

/// Milliseconds from the start of workerd until its first answer.
fn first_answer(stage: &Stage, peers: Peers<'_>, audited: bool) -> Result<f64, BenchError> {
    let variant = &stage.variants[0];
    let requests = Requests::to(variant, peers.keys);
    let request = if audited { &requests.audited } else { &requests.unaudited };
    let start = Instant::now();
    let mut workerd = stage.launch()?;
    let mut connection = loop {
        match Connection::open(variant.address) {
            Ok(connection) => break connection,
            Err(_) if start.elapsed() < LIMIT => thread::sleep(AGAIN),
            Err(error) => return Err(io("connecting")(error)),
        }
    };
    connection.ask(request).map_err(io("sending the first request"))?;
    let time = start.elapsed().as_secs_f64() * 1000.0;
    workerd.stop();
    Ok(time)
}
