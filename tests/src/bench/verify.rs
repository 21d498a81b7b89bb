//! The verifier's core on one thread: openings down to entries, entries up to the signed root, over the events that the
//! recordings give.
//!
//! What is timed is [`Verifier`] with the lines in memory, as it is for every verifier whatever the bytes come from; the
//! same from the text of `openings.ndjson` stands beside it.

use std::convert::Infallible;
use std::time::Instant;

use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use shared::bundle::{Kind, LogId, LogItem, Manifest, OpeningLine, checkpoint_path, tile_path};
use shared::capture::{Body, Draft, Exchange, Headers, Mount};
use shared::event::Event;
use shared::identity::Verdict;
use shared::leaf::{self, ENTRY_LEN, Seed};
use shared::note::{Checkpoint, KeyName, VerifierKey, assemble};
use shared::policy::{Pack, Router};
use shared::recording;
use shared::tree::{CompactRange, TileRef, encode_bundle, leaf_hash};
use shared::verify::{Source, Trust, Verifier, verify};

use super::process::cpu_seconds;
use super::report::median;
use super::{BenchError, Extent, Report};

/// Each recording with the pack that it is read by.
const RECORDINGS: [(&str, &str, &str); 3] = [
    ("app", include_str!("../../../edge/packs/app.json"), include_str!("../../fixtures/client-to-app.jsonl")),
    (
        "supabase",
        include_str!("../../../edge/packs/supabase.json"),
        include_str!("../../fixtures/app-to-supabase.jsonl"),
    ),
    (
        "supabase",
        include_str!("../../../edge/packs/supabase.json"),
        include_str!("../../fixtures/supabase-js.jsonl"),
    ),
];

/// Measures it.
///
/// # Errors
/// If the recordings give no events, or what was made does not verify.
pub fn run(extent: Extent) -> Result<Report, BenchError> {
    let (rounds, copies) = match extent {
        Extent::Quick => (3, 400),
        Extent::Full => (7, 800),
    };
    let log = Log::of(&golden_events()?, copies);
    let count = log.lines.iter().flatten().count() as f64;
    let mut core = Vec::new();
    let mut text = Vec::new();
    for _ in 0..rounds {
        core.push(count / timed(|| log.verify_lines())?);
        text.push(count / timed(|| log.verify_text())?);
    }
    let mut report = Report::default();
    report.figure("verify.events_per_s_core", median(&core));
    report.figure("verify.ndjson_events_per_s_core", median(&text));
    report.row("events of the recordings", format!("{count}, {:.0} bytes each", log.bytes as f64 / count));
    report.row("verified in memory", format!("{:.0} events/s and core", median(&core)));
    report.row("verified from openings.ndjson", format!("{:.0} events/s and core", median(&text)));
    Ok(report)
}

/// CPU seconds of this process for it; the clock on the wall where the kernel's is too coarse.
fn timed(work: impl Fn() -> Result<(), BenchError>) -> Result<f64, BenchError> {
    let (cpu, wall) = (cpu_seconds(std::process::id()), Instant::now());
    work()?;
    let cpu = cpu_seconds(std::process::id()) - cpu;
    Ok(if cpu > 0.1 { cpu } else { wall.elapsed().as_secs_f64() })
}

fn golden_events() -> Result<Vec<Event>, BenchError> {
    let wrong = |reason: &dyn std::fmt::Display| BenchError::Answer(format!("a recording: {reason}"));
    let mut events = Vec::new();
    for (name, pack, recorded) in RECORDINGS {
        let mount: Mount = serde_json::from_value(json!({
            "host": format!("{name}.localhost"), "upstream": "http://127.0.0.1:1", "tenant": "acme",
            "platform": "workerd", "packs": [name],
            "auth": {"issuer": "http://127.0.0.1:54321/auth/v1", "audience": "authenticated"},
        }))
        .map_err(|error| wrong(&error))?;
        let pack = Pack::parse(pack).map_err(|error| wrong(&error))?;
        let router = Router::compile(vec![pack]).map_err(|error| wrong(&format!("{error:?}")))?;
        for exchange in recording::parse(recorded).map_err(|error| wrong(&error))? {
            events.extend(events_of(&mount, &router, &exchange));
        }
    }
    if events.is_empty() { Err(wrong(&"no events")) } else { Ok(events) }
}

fn events_of(mount: &Mount, router: &Router, recorded: &recording::Exchange) -> Vec<Event> {
    let (path, query) = recorded.request.url.split_once('?').unwrap_or((&recorded.request.url, ""));
    let whole = |text: &'_ Option<String>| text.clone().unwrap_or_default();
    let (request, response) = (whole(&recorded.request.body), whole(&recorded.response.body));
    let arrived =
        chrono::DateTime::parse_from_rfc3339(&recorded.at).map(|at| at.to_utc()).unwrap_or_default();
    let draft = Draft::from_exchange(
        router,
        &Exchange {
            mount,
            method: &recorded.request.method,
            path,
            query,
            request_headers: &recorded.request.headers.iter().cloned().collect::<Headers>(),
            request_body: Body { bytes: request.as_bytes(), cut: false },
            status: Some(recorded.response.status),
            response_headers: &recorded.response.headers.iter().cloned().collect::<Headers>(),
            response_body: Body { bytes: response.as_bytes(), cut: false },
            before: None,
            intent: None,
            hash_key: Some(b"recorded"),
            platform: &Value::from_iter([("clientIp", "203.0.113.7:4711")]),
            arrived: arrived.into(),
            duration_ms: Some(7),
        },
    );
    let Some(mut draft) = draft else { return Vec::new() };
    let verdicts = vec![Verdict::Valid; draft.take_checks().len()];
    draft.into_events(&verdicts, &mount.auth, &[[0; 10], [1; 10]])
}

/// A log of many copies of the events, each under a seed of its own.
struct Log {
    item: LogItem,
    head: String,
    bundles: Vec<Vec<u8>>,
    lines: Vec<Vec<Option<OpeningLine>>>,
    text: Vec<Vec<u8>>,
    bytes: usize,
}

impl Log {
    fn of(events: &[Event], copies: usize) -> Self {
        let log_id = LogId([7; 16]);
        let origin = format!("bench/log/{log_id}");
        let name = KeyName::try_from(origin.clone()).expect("a name");
        let pair = SigningKey::from_bytes(&[9; 32]);
        let key = VerifierKey { name: name.clone(), public: pair.verifying_key().to_bytes() };
        let mut range = CompactRange::default();
        let (mut entries, mut lines, mut text): (Vec<[u8; ENTRY_LEN]>, Vec<_>, Vec<_>) = Default::default();
        let mut bytes = 0;
        for (index, event) in events.iter().cycle().take(events.len() * copies).enumerate() {
            let mut seed = [3; 32];
            seed[..8].copy_from_slice(&(index as u64).to_be_bytes());
            let opening = event.to_opening(Seed(seed));
            let entry = leaf::entry(event.class, event.occurred_at.millis(), &leaf::digest(&opening));
            range.append(leaf_hash(&entry));
            entries.push(entry);
            let opening = opening.encode();
            bytes += opening.len();
            let line = OpeningLine {
                place: Some((log_id, index as u64)),
                id: Some(event.id.uuid()),
                opening: Some(opening),
                ..OpeningLine::default()
            };
            text.push(line.to_json().trim_end().as_bytes().to_vec());
            lines.push(Some(line));
        }
        let checkpoint = Checkpoint { origin: origin.clone(), size: range.size(), root: range.root() };
        let note = checkpoint.to_string();
        let head = assemble(&note, &name, key.id(), &pair.sign(note.as_bytes()).to_bytes());
        let bundle = |some: &[[u8; ENTRY_LEN]]| encode_bundle(some.iter().map(<[u8; ENTRY_LEN]>::as_slice));
        Self {
            item: LogItem { log_id, origin, key, others: Vec::new(), size: range.size(), previous: None },
            head,
            bundles: entries.chunks(256).map(bundle).collect(),
            lines: lines.chunks(256).map(<[Option<OpeningLine>]>::to_vec).collect(),
            text,
            bytes,
        }
    }

    fn verify_lines(&self) -> Result<(), BenchError> {
        let mut verifier = Verifier::new("acme".parse().ok(), Trust::default());
        verifier.begin(&self.item, Some(self.head.as_bytes()));
        for (bundle, lines) in self.bundles.iter().zip(&self.lines) {
            verifier.bundle(bundle, None, Some(lines));
        }
        verifier.end(None);
        let report = verifier.finish();
        valid(report.is_valid() && report.counts.whole == self.item.size)
    }

    fn verify_text(&self) -> Result<(), BenchError> {
        let manifest = Manifest {
            kind: Kind::Log,
            tenant: "acme".parse().expect("a slug"),
            made_at: String::new(),
            logs: vec![self.item.clone()],
        };
        let Ok(report) =
            verify(&mut Text { log: self, next: 0 }, &manifest, Trust::default(), &mut |_, _| {});
        valid(report.is_valid() && report.counts.whole == self.item.size)
    }
}

fn valid(holds: bool) -> Result<(), BenchError> {
    if holds { Ok(()) } else { Err(BenchError::Answer("what was made does not verify".to_owned())) }
}

/// The log as a bundle in memory.
struct Text<'a> {
    log: &'a Log,
    next: usize,
}

impl Source for Text<'_> {
    type Error = Infallible;

    fn file(&mut self, path: &str, _: usize) -> Result<Option<Vec<u8>>, Infallible> {
        if path == checkpoint_path(self.log.item.log_id) {
            return Ok(Some(self.log.head.clone().into_bytes()));
        }
        // Bundles are asked for in their order.
        let index = self.next / 256;
        let tile = TileRef { level: None, index: index as u64, width: 0 };
        let tile = TileRef { width: tile.width_at(self.log.item.size), ..tile };
        Ok(self.log.bundles.get(index).filter(|_| path == tile_path(self.log.item.log_id, tile)).cloned())
    }

    fn absences(&mut self) -> Result<Vec<uuid::Uuid>, Infallible> {
        Ok(Vec::new())
    }

    fn has_openings(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }

    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, Infallible> {
        self.next += 1;
        Ok(self.log.text.get(self.next - 1).cloned())
    }
}
