//! The Worker beside a bare pass-through and beside a JavaScript worker that does the same work, in one workerd.
//!
//! Closed-loop load on four connections, in short runs that alternate between the variants; each round gives one ratio
//! for each pair, and the median of the rounds counts. The origin, the backend's stand-in (it acknowledges whatever
//! comes) and the load share the machine with workerd, so only ratios mean anything. Other builds of the Worker can be
//! put beside it: that is how one change is measured.
//!
//! Then without hurry ([`paced`]), from a cold start ([`cold`]); by itself, over many requests ([`soak`]).

mod cold;
mod paced;
mod soak;
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::load::{End, Found, Load, Message, serve};
use super::process::cpu_seconds;
use super::report::median;
use super::{BenchError, Extent, Report};
use crate::keys::Keys;
use crate::stack::edge_bundle;
use stage::{Part, Peers, Requests, Stage, Variant};

const CONNECTIONS: usize = 4;

/// Runs the comparison; beside it, the builds of the Worker in these folders.
///
/// # Errors
/// [`BenchError`] if a part does not start, or an answer is not a 2xx.
pub async fn run(extent: Extent, beside: &[PathBuf]) -> Result<Report, BenchError> {
    let (rounds, time) = match extent {
        Extent::Quick => (5, Duration::from_millis(1_000)),
        Extent::Full => (9, Duration::from_secs(2)),
    };
    let dir = tempfile::tempdir().map_err(io("making a folder"))?;
    let keys = Keys::generate();
    let origin = serve(origin_answer(&keys)).map_err(io("serving an origin"))?;
    let backend = serve(backend_answer).map_err(io("serving a backend"))?;
    let peers = Peers { keys: &keys, origin, backend };
    let usual = [Part::Bare, Part::Capture, Part::Direct, Part::Queue];
    let beside = beside.iter().cloned().map(Part::Beside);
    let stage = Stage::write(&dir.path().join("all"), usual.into_iter().chain(beside), peers, &[])?;
    let mut workerd = stage.start().await?;
    let pid = workerd.pid();
    let mut report = Report::default();
    report.row("edge", format!("{rounds} rounds of {time:?} a variant, {CONNECTIONS} connections"));
    for kind in [Kind::Unaudited, Kind::Forwarding, Kind::Audited] {
        let measured = measure(&stage.variants, &keys, kind, rounds, time, pid)?;
        tell(&mut report, kind, &measured);
    }
    report.extend(paced::run(&stage.variants, peers, extent)?);
    workerd.stop();
    report.extend(cold::run(dir.path(), peers, extent)?);
    report.figure("edge.wasm_gzip_bytes", gzip_len(&edge_bundle()?.join("index_bg.wasm"))?);
    Ok(report)
}

/// Watches memory over so many requests; as many as the extent says, if none.
///
/// # Errors
/// [`BenchError`] if a part does not start, or an answer is not a 2xx.
pub async fn memory(extent: Extent, requests: Option<usize>) -> Result<Report, BenchError> {
    let dir = tempfile::tempdir().map_err(io("making a folder"))?;
    let keys = Keys::generate();
    let origin = serve(origin_answer(&keys)).map_err(io("serving an origin"))?;
    let backend = serve(backend_answer).map_err(io("serving a backend"))?;
    let requests = requests.unwrap_or(match extent {
        Extent::Quick => 20_000,
        Extent::Full => 1_000_000,
    });
    soak::run(dir.path(), Peers { keys: &keys, origin, backend }, requests).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unaudited,
    Forwarding,
    Audited,
}

impl Kind {
    fn of(self, requests: Requests) -> Arc<[u8]> {
        match self {
            Self::Unaudited => requests.unaudited,
            Self::Forwarding => requests.forwarding,
            Self::Audited => requests.audited,
        }
    }
}

/// One variant's rounds.
struct Measured<'v> {
    part: &'v Part,
    runs: Vec<Found>,
    /// CPU time of workerd for each request, in seconds.
    cpu: Vec<f64>,
}

fn measure<'v>(
    variants: &'v [Variant],
    keys: &Keys,
    kind: Kind,
    rounds: usize,
    time: Duration,
    pid: u32,
) -> Result<Vec<Measured<'v>>, BenchError> {
    let load = |variant| Load {
        requests: vec![kind.of(Requests::to(variant, keys))],
        connections: CONNECTIONS,
        end: End::After(time),
        every: None,
    };
    let loads: Vec<Load> = variants.iter().map(load).collect();
    let mut measured: Vec<Measured<'_>> = variants
        .iter()
        .map(|variant| Measured { part: &variant.part, runs: Vec::new(), cpu: Vec::new() })
        .collect();
    for round in 0..=rounds {
        for step in 0..variants.len() {
            // Each round begins with another variant.
            let at = (round + step) % variants.len();
            let before = cpu_seconds(pid);
            let found = loads[at].send(variants[at].address).map_err(io("sending requests"))?;
            // What goes on after the last response belongs to the variant, too.
            std::thread::sleep(Duration::from_millis(300));
            let cpu = cpu_seconds(pid) - before;
            if round > 0 {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
                measured[at].cpu.push(cpu / found.requests as f64);
                measured[at].runs.push(found);
            }
        }
    }
    Ok(measured)
}

fn tell(report: &mut Report, kind: Kind, measured: &[Measured<'_>]) {
    let ratio =
        |of: &[f64], to: &[f64]| median(&of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>());
    let rates = |of: &Measured<'_>| of.runs.iter().map(Found::rate).collect::<Vec<_>>();
    let p50s = |of: &Measured<'_>| of.runs.iter().map(|run| run.p50).collect::<Vec<_>>();
    let find = |part: Part| measured.iter().find(|one| *one.part == part);
    let (Some(bare), Some(capture), Some(direct), Some(queue)) =
        (find(Part::Bare), find(Part::Capture), find(Part::Direct), find(Part::Queue))
    else {
        return;
    };
    for one in measured {
        let p99 = median(&one.runs.iter().map(|run| run.p99).collect::<Vec<_>>());
        let mut found = format!(
            "{:6.0} requests/s  {:.3} of bare  p50 {:.2} ms  p99 {p99:.2} ms  {:.0} us CPU a request, {:.2} of bare",
            median(&rates(one)),
            ratio(&rates(one), &rates(bare)),
            median(&p50s(one)),
            median(&one.cpu) * 1e6,
            ratio(&one.cpu, &bare.cpu),
        );
        if let Part::Beside(_) = one.part {
            let (rate, cpu) = (ratio(&rates(one), &rates(direct)), ratio(&one.cpu, &direct.cpu));
            found.push_str(&format!("; of the worker {rate:.3}, CPU {cpu:.3}"));
        }
        report.row(format!("{kind:?} {}", one.part.name()).to_lowercase(), found);
    }
    let mut figure = |name: &str, of: &Measured<'_>| {
        report.figure(&format!("edge.{name}.rps_ratio"), ratio(&rates(of), &rates(bare)));
        report.figure(&format!("edge.{name}.p50_ratio"), ratio(&p50s(bare), &p50s(of)));
        report.figure(&format!("edge.{name}.cpu_ratio"), ratio(&of.cpu, &bare.cpu));
    };
    match kind {
        Kind::Unaudited => figure("unaudited", direct),
        Kind::Forwarding => figure("unaudited_forwarding", direct),
        Kind::Audited => {
            figure("audited", direct);
            figure("audited_queue", queue);
            report.figure("edge.audited.js_capture_ratio", ratio(&rates(direct), &rates(capture)));
        }
    }
}

/// 1.1 kB of JSON, as the application answers; and the key set.
fn origin_answer(keys: &Keys) -> impl Fn(&Message) -> (&'static str, String) + Send + Sync + 'static {
    let jwks = keys.jwks().to_string();
    let agent = json!({"success": true, "agent": {
        "id": "822ea53d-eb27-4f01-948b-dbaa0680b6f6", "created_at": "2026-11-23T03:21:57.319Z",
        "description": "Chases", "user_prompt": "Chase unpaid invoices", "system_prompt": "You are helpful",
        "mode": "scheduled", "schedule_cron": "0 8 * * *", "next_run": null, "timezone": "Europe/Zurich",
        "status": "draft", "is_archived": false, "plugins_required": ["google-mail", "stripe"],
        "connected_plugins": null, "pilot_steps": null, "agent_config": {"ai_context": {"confidence": 0.9}},
        "workflow_steps": [{"id": "s1", "type": "action", "plugin": "google-mail", "action": "search_emails"}],
        "production_ready": false, "insights_enabled": true, "deleted_at": null,
        "updated_at": "2026-11-23T03:21:57.319Z", "user_id": "11111111-1111-4111-8111-111111111111",
        "agent_name": "Invoice chaser", "created_from_prompt": null, "input_schema": null, "output_schema": null,
        "generated_plan": null, "detected_categories": null, "trigger_conditions": null, "ai_reasoning": null,
    }, "message": "Agent created successfully", "inputsSaved": true})
    .to_string();
    move |message| {
        let jwks_wanted = message.head.starts_with("GET /auth/v1/.well-known/jwks.json");
        ("200 OK", if jwks_wanted { jwks.clone() } else { agent.clone() })
    }
}

/// Acknowledges each batch of a request.
fn backend_answer(message: &Message) -> (&'static str, String) {
    let batches = shared::batch::unframe(&message.body).map_or(1, |frames| frames.len());
    ("200 OK", format!("[{}]", vec![r#"{"status":200}"#; batches].join(",")))
}

/// The size that the runtime's own limit speaks of, by the system's gzip.
fn gzip_len(path: &Path) -> Result<f64, BenchError> {
    let output = Command::new("gzip").arg("-9c").arg(path).output().map_err(io("running gzip"))?;
    let bytes = u32::try_from(output.stdout.len()).map_err(|error| BenchError::Answer(error.to_string()))?;
    Ok(f64::from(bytes))
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> BenchError {
    move |source| BenchError::Io { what, source }
}
