//! Plays a recording against packs, as the Worker would have seen it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::capture::{Body, Draft, Exchange, Headers, Mount, Scanner};
use shared::event::{Event, Timestamp};
use shared::identity::Issuer;
use shared::leaf::Seed;
use shared::policy::{Plan, Router, fold_path, is_mutating};
use shared::recording;

use super::MountChoice;
use super::packs::{self, PackFile, Side};

/// The key of fingerprints in a trial: equal texts are seen as equal, and the hashes are worth nothing elsewhere.
const HASH_KEY: &[u8] = b"edgetrail policy try";

#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) mount: MountChoice,
    pub(super) shadow: bool,
}

/// What a recording gave.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) shadow: bool,
    /// Every event, in the recording's order.
    pub(super) events: Vec<Event>,
    /// Mutating requests that no rule names, by method and route, with the side that they were on.
    pub(super) unmapped: BTreeMap<(String, String), Unmapped>,
    /// Exchanges in the recording.
    pub(super) exchanges: usize,
    /// Reads that rules make before forwarding; a recording holds no answers to them.
    pub(super) pre_reads: usize,
    /// Bytes of the recorded messages.
    pub(super) traffic_bytes: usize,
    /// Bytes of the events' openings: what would leave the edge.
    pub(super) event_bytes: usize,
    /// From the first request to the last.
    pub(super) span: Duration,
    /// How long capturing took for each audited exchange, in order of length.
    pub(super) capture: Vec<Duration>,
}

/// A route that no rule names.
#[derive(Debug)]
pub(super) struct Unmapped {
    pub(super) side: &'static str,
    pub(super) count: usize,
    /// Whether rules are about the route, and none of their conditions held.
    pub(super) known: bool,
}

impl Trial {
    pub(super) fn run(
        recording: &[recording::Exchange],
        own: Vec<PackFile>,
        options: Options,
    ) -> Result<Self, String> {
        let mut sides: BTreeMap<Side, Router> = BTreeMap::new();
        for side in [Side::App, Side::Supabase] {
            sides.insert(side, packs::router(side, &own, options.mount, options.shadow)?);
        }
        let mut trial = Self {
            shadow: options.shadow,
            events: Vec::new(),
            unmapped: BTreeMap::new(),
            exchanges: recording.len(),
            pre_reads: 0,
            traffic_bytes: recording.iter().map(bytes_of).sum(),
            event_bytes: 0,
            span: span_of(recording),
            capture: Vec::new(),
        };
        for recorded in recording {
            let side = match options.mount {
                MountChoice::Auto => Side::of(&recorded.request.url),
                MountChoice::App | MountChoice::Own => Side::App,
                MountChoice::Supabase => Side::Supabase,
            };
            trial.look(&sides[&side], side, recorded)?;
        }
        trial.capture.sort_unstable();
        Ok(trial)
    }

    fn look(&mut self, router: &Router, side: Side, recorded: &recording::Exchange) -> Result<(), String> {
        let (path, query) = recorded.request.url.split_once('?').unwrap_or((&recorded.request.url, ""));
        let method = &recorded.request.method;
        let look = router.look(method, path, query);
        let Some(plan) = look.plan.and_then(|number| router.plans().nth(number)).map(|(_, plan)| plan) else {
            return Ok(());
        };
        let request_headers: Headers = recorded.request.headers.iter().cloned().collect();
        let mount = mount(request_headers.get("host").unwrap_or("recording"))?;
        let started = Instant::now();
        let sent = capped(recorded.request.body.as_deref(), plan.request_bytes, recorded.request.cut);
        let answer = Answer::of(&plan, recorded);
        let draft = Draft::from_exchange(
            router,
            &Exchange {
                mount: &mount,
                method,
                path,
                query,
                request_headers: &request_headers,
                request_body: sent,
                status: Some(recorded.response.status).filter(|status| *status > 0),
                response_headers: &recorded.response.headers.iter().cloned().collect(),
                response_body: answer.body(),
                before: None,
                intent: None,
                hash_key: Some(HASH_KEY),
                platform: &Value::Null,
                arrived: time_of(recorded).unwrap_or_else(|| Timestamp::try_from(0).expect("in range")),
                duration_ms: u32::try_from(recorded.ms).ok(),
            },
        );
        let Some(mut draft) = draft else { return Ok(()) };
        draft.take_checks();
        // No signature is checked here, so nobody is verified; the ids need not be unguessable.
        let number = recorded.n.to_be_bytes();
        let random = [1_u8, 2].map(|which| {
            let mut random = [which; 10];
            random[..4].copy_from_slice(&number);
            random
        });
        let events = draft.into_events(&[], &Issuer::default(), &random);
        let bytes: usize = events.iter().map(|event| event.to_opening(Seed([0; 32])).encode().len()).sum();
        self.capture.push(started.elapsed());
        self.event_bytes += bytes;
        self.pre_reads += usize::from(plan.before);
        if events.iter().any(|event| event.request.rule == "edge/unmapped") && is_mutating(method) {
            let side = if side == Side::App { "app" } else { "supabase" };
            let route = (method.clone(), fold_path(path));
            self.unmapped
                .entry(route)
                .or_insert(Unmapped { side, count: 0, known: look.mapped.is_some() })
                .count += 1;
        }
        self.events.extend(events);
        Ok(())
    }
}

/// A response's body as it would have been captured.
enum Answer<'a> {
    Bytes(Body<'a>),
    Scanned(Vec<u8>),
}

impl<'a> Answer<'a> {
    fn of(plan: &Plan, recorded: &'a recording::Exchange) -> Self {
        let response = &recorded.response;
        let is_stream = response.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("content-type") && value.starts_with("text/event-stream")
        });
        if plan.stream && is_stream && plan.response_bytes > 0 {
            let mut scanner = Scanner::new();
            scanner.feed(response.body.as_deref().unwrap_or_default().as_bytes());
            Self::Scanned(scanner.finish())
        } else {
            Self::Bytes(capped(response.body.as_deref(), plan.response_bytes, response.cut))
        }
    }

    fn body(&self) -> Body<'_> {
        match self {
            Self::Bytes(body) => *body,
            Self::Scanned(bytes) => Body { bytes, cut: false },
        }
    }
}

fn capped(body: Option<&str>, cap: usize, cut: bool) -> Body<'_> {
    let bytes = body.unwrap_or_default().as_bytes();
    match bytes.get(..cap) {
        _ if cap == 0 => Body::default(),
        Some(head) if bytes.len() > cap => Body { bytes: head, cut: true },
        _ => Body { bytes, cut },
    }
}

fn mount(host: &str) -> Result<Mount, String> {
    let mount = json!({
        "host": host, "upstream": "https://origin", "tenant": "recording", "platform": "workerd", "packs": [],
    });
    serde_json::from_value(mount).map_err(|error| format!("host {host:?}: {error}"))
}

/// As many bytes as the messages had on the wire in HTTP/1.1, without the request line's frame.
fn bytes_of(recorded: &recording::Exchange) -> usize {
    let headers = recorded.request.headers.iter().chain(&recorded.response.headers);
    let headers: usize = headers.map(|(name, value)| name.len() + value.len() + 4).sum();
    let bodies = [&recorded.request.body, &recorded.response.body];
    let bodies: usize = bodies.into_iter().flatten().map(String::len).sum();
    recorded.request.method.len() + recorded.request.url.len() + headers + bodies
}

fn time_of(recorded: &recording::Exchange) -> Option<Timestamp> {
    let time = chrono::DateTime::parse_from_rfc3339(&recorded.at).ok()?;
    Timestamp::try_from(u64::try_from(time.timestamp_millis()).ok()?).ok()
}

fn span_of(recording: &[recording::Exchange]) -> Duration {
    let times = || recording.iter().filter_map(time_of).map(Timestamp::millis);
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    Duration::from_millis(last - first)
}
