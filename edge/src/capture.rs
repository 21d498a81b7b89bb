//! The exports that a request goes through: `route`, `inspect`, `build`.

use std::cell::RefCell;

use js_sys::{Array, Uint8Array};
use serde_json::Value;
use shared::capture::{self, Body, Coalesced, Draft, Exchange, Headers, Intent};
use shared::event::{Event, Timestamp};
use shared::identity::{self, Algorithm, Check, Verdict};
use shared::leaf::{self, Seed};
use shared::policy::FailMode;
use shared::problem::Problem;
use wasm_bindgen::prelude::*;

use crate::config::{Compiled, Edge, policy_note};

thread_local! {
    static EDGE: RefCell<Option<Edge>> = const { RefCell::new(None) };
}

/// Reads the configuration; to be called first, and again after every reset. Gives the plan for JavaScript as JSON.
///
/// # Errors
/// One line that names what is wrong.
#[wasm_bindgen]
pub fn configure(config: &str, hash_key: &str) -> Result<String, JsError> {
    // A panic's message can hold input; its place cannot.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        worker::console_error!("edgetrail: the core stopped at {place}");
    }));
    let edge = Edge::configure(config, hash_key).map_err(|error| JsError::new(&error))?;
    let plan = edge.plan();
    EDGE.with(|slot| *slot.borrow_mut() = Some(edge));
    Ok(plan)
}

/// Puts a served policy into force whose signature was checked; gives the new plan. Nothing changes if it is refused.
///
/// # Errors
/// One line that says why.
#[wasm_bindgen]
pub fn adopt(tenant: &str, note: &str) -> Result<String, JsError> {
    EDGE.with(|slot| {
        let mut slot = slot.borrow_mut();
        let edge = slot.as_mut().ok_or_else(|| JsError::new("the core is not configured"))?;
        edge.adopt(tenant, note).map_err(|error| JsError::new(&error))?;
        Ok(edge.plan())
    })
}

/// What must be checked of a served policy: `[public key, text, signature]` for each signature of a trusted key.
#[wasm_bindgen]
pub fn policy_signatures(note: &str) -> Vec<Array> {
    let Some(note) = policy_note(note) else { return Vec::new() };
    EDGE.with(|slot| {
        let slot = slot.borrow();
        let trusted: Vec<_> = slot.iter().flat_map(Edge::policy_keys).collect();
        let signatures = note.signatures().iter().filter_map(|signature| {
            let key =
                trusted.iter().find(|key| key.name == signature.name && key.id() == signature.key_id)?;
            Some(Array::of3(
                &Uint8Array::from(key.public.as_slice()).into(),
                &note.text().into(),
                &Uint8Array::from(signature.bytes.as_slice()).into(),
            ))
        });
        signatures.collect()
    })
}

/// The number of the capture plan for a request of a mount, or -1 if it is not audited. The request is counted.
#[wasm_bindgen]
pub fn look(mount: usize, method: &str, path: &str, query: &str, arrived: f64) -> i32 {
    #[cfg(feature = "faults")]
    crate::faults::plant("route", query);
    with_mount(mount, |compiled| {
        let look = compiled.router.look(method, path, query);
        compiled.traffic.borrow_mut().count(method, path, look.mapped, timestamp(arrived));
        look.plan.and_then(|plan| i32::try_from(plan).ok())
    })
    .unwrap_or(-1)
}

/// The drafts that record the requests of a mount since the last call.
#[wasm_bindgen]
pub fn traffic(mount: usize, now: f64, resets: u32) -> Vec<Drafted> {
    with_mount(mount, |compiled| {
        let drafts = compiled.traffic.borrow_mut().drain(&compiled.mount, timestamp(now), resets);
        Some(drafts.into_iter().map(Drafted::of).collect())
    })
    .unwrap_or_default()
}

/// The one request to make before a request is forwarded: its address, and its headers as lines; undefined for none.
#[wasm_bindgen]
pub fn pre_read(
    mount: usize,
    method: &str,
    path: &str,
    query: &str,
    request_headers: &str,
    arrived: f64,
) -> Option<Vec<String>> {
    with_mount(mount, |compiled| {
        let headers = Headers::from_lines(request_headers);
        let at = timestamp(arrived);
        let read = capture::pre_read(&compiled.router, &compiled.mount, method, path, query, &headers, at)?;
        let lines = read.headers.iter().map(|(name, value)| format!("{name}: {value}"));
        Some(core::iter::once(read.url.clone()).chain(lines).collect())
    })
}

/// A built event as that of all exchanges which it stands for: `counted` is a [`Coalesced`] as JSON, `random` the 32 bytes
/// of a new seed.
#[wasm_bindgen]
pub fn coalesce(event: &[u8], counted: &str, random: &[u8]) -> Option<Uint8Array> {
    let counted: Coalesced = serde_json::from_str(counted).ok()?;
    let event = Event::from_opening(&leaf::Opening::decode(event.get(32..)?).ok()?).ok()?;
    Some(encoded(&counted.told_by(event), Seed(random.try_into().ok()?)))
}

/// The id of a built event.
#[wasm_bindgen]
pub fn event_id(event: &[u8]) -> Option<String> {
    let opening = leaf::Opening::decode(event.get(32..)?).ok()?;
    Some(Event::from_opening(&opening).ok()?.id.to_string())
}

/// A stream of server-sent events, scanned as it passes.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Scanner(capture::Scanner);

#[wasm_bindgen]
impl Scanner {
    /// A scanner at the stream's beginning.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.0.feed(chunk);
    }

    /// What was found, as the body that rules look at.
    pub fn finish(self) -> Vec<u8> {
        self.0.finish()
    }
}

/// The client's address for the forwarding header; empty where it is not known.
#[wasm_bindgen]
pub fn client_ip(mount: usize, request_headers: &str, platform: &str) -> String {
    with_mount(mount, |compiled| {
        let headers = Headers::from_lines(request_headers);
        compiled.mount.client_ip(&headers, &platform_value(platform))
    })
    .map(|ip| ip.to_string())
    .unwrap_or_default()
}

/// An exchange in JavaScript's words.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Seen {
    mount: usize,
    method: String,
    path: String,
    query: String,
    request_headers: Headers,
    platform: Value,
    arrived: Timestamp,
    status: Option<u16>,
    response_headers: Headers,
    duration_ms: Option<u32>,
    before: Option<(Vec<u8>, bool)>,
    intent: Option<(String, bool)>,
}

#[wasm_bindgen]
impl Seen {
    /// The request: header lines `name: value`, what the runtime says of it as JSON, milliseconds since 1970.
    #[wasm_bindgen(constructor)]
    pub fn new(
        mount: usize,
        method: String,
        path: String,
        query: String,
        request_headers: &str,
        platform: &str,
        arrived: f64,
    ) -> Self {
        Self {
            mount,
            method,
            path,
            query,
            request_headers: Headers::from_lines(request_headers),
            platform: platform_value(platform),
            arrived: timestamp(arrived),
            status: None,
            response_headers: Headers::default(),
            duration_ms: None,
            before: None,
            intent: None,
        }
    }

    /// What was read of the old side, and whether it was cut.
    pub fn before(&mut self, bytes: Vec<u8>, cut: bool) {
        self.before = Some((bytes, cut));
    }

    /// The event that recorded the intent, and whether it was durable before the request was forwarded.
    pub fn intended(&mut self, id: String, durable: bool) {
        self.intent = Some((id, durable));
    }

    /// The record that the act is intended; undefined if no rule asks for one.
    pub fn intent(&self) -> Option<Drafted> {
        let (draft, closed) = with_mount(self.mount, |compiled| {
            let exchange = self.exchange(compiled, Body::default(), Body::default());
            let routed = compiled.router.route(&self.method, &self.path, &self.query)?;
            let closed = routed.rules.iter().any(|(_, rule)| rule.fail == FailMode::Closed);
            Some((Draft::intent(&compiled.router, &exchange)?, closed))
        })?;
        Some(Drafted { closed, ..Drafted::of(draft) })
    }

    /// The response's head, and the milliseconds until it came.
    pub fn answered(&mut self, status: u16, response_headers: &str, duration_ms: u32) {
        self.status = Some(status);
        self.response_headers = Headers::from_lines(response_headers);
        self.duration_ms = Some(duration_ms);
    }

    /// Looks at the whole exchange; undefined if it is not audited.
    pub fn inspect(
        &self,
        request_body: &[u8],
        request_cut: bool,
        response_body: &[u8],
        response_cut: bool,
    ) -> Option<Drafted> {
        #[cfg(feature = "faults")]
        crate::faults::plant("inspect", &self.query);
        let draft = with_mount(self.mount, |compiled| {
            let exchange = self.exchange(
                compiled,
                Body { bytes: request_body, cut: request_cut },
                Body { bytes: response_body, cut: response_cut },
            );
            Draft::from_exchange(&compiled.router, &exchange)
        })?;
        Some(Drafted::of(draft))
    }

    /// An event that only says that capturing failed; on which path template, unless not even that was found.
    pub fn fallback(&self, is_routed: bool) -> Option<Drafted> {
        let draft = with_mount(self.mount, |compiled| {
            let look = is_routed.then(|| compiled.router.look(&self.method, &self.path, &self.query));
            let route = look.map_or("(unknown)", |look| look.mapped.unwrap_or(""));
            Some(Draft::fallback(&self.exchange(compiled, Body::default(), Body::default()), route))
        })?;
        Some(Drafted::of(draft))
    }

    fn exchange<'a>(
        &'a self,
        compiled: &'a Compiled,
        request_body: Body<'a>,
        response_body: Body<'a>,
    ) -> Exchange<'a> {
        Exchange {
            mount: &compiled.mount,
            method: &self.method,
            path: &self.path,
            query: &self.query,
            request_headers: &self.request_headers,
            request_body,
            status: self.status,
            response_headers: &self.response_headers,
            response_body,
            before: self.before.as_ref().map(|(bytes, cut)| Body { bytes, cut: *cut }),
            intent: self.intent.as_ref().map(|(id, durable)| Intent { id, durable: *durable }),
            hash_key: compiled.hash_key.as_deref(),
            platform: &self.platform,
            arrived: self.arrived,
            duration_ms: self.duration_ms,
        }
    }
}

/// An event that waits for the verdicts on its signatures. It lives in the core's memory: where the core was reset in
/// between, JavaScript looks at the exchange once more.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Drafted {
    draft: Draft,
    checks: Vec<Check>,
    closed: bool,
}

#[wasm_bindgen]
impl Drafted {
    fn of(mut draft: Draft) -> Self {
        let checks = draft.take_checks();
        Self { draft, checks, closed: false }
    }

    /// The names of the signatures to check, with commas between; empty if there are none. A verdict is known by its name.
    pub fn checks(&self) -> String {
        self.checks.iter().map(|check| check.key.as_str()).collect::<Vec<_>>().join(",")
    }

    /// A signature to check, as JSON.
    pub fn check(&self, at: usize) -> Option<String> {
        serde_json::to_string(self.checks.get(at)?).ok()
    }

    /// The name of its series, if it is of one.
    pub fn series(&self) -> Option<String> {
        self.draft.series()
    }

    /// The user that the request named.
    pub fn claimed(&self) -> Option<String> {
        self.draft.claimed().map(str::to_owned)
    }

    /// Whether the request may not pass without this record.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// The events, each its digest (32 bytes) and opening: the act's own, and beside it one more where the request named
    /// another user than its token proves.
    ///
    /// `verdicts` are `valid`, `invalid` or `unavailable`, one for each check, with commas between; `random` are 84 bytes:
    /// ten for each of two ids, 32 for each of two seeds.
    pub fn build(self, mount: usize, verdicts: &str, random: &[u8]) -> Option<Vec<Uint8Array>> {
        #[cfg(feature = "faults")]
        crate::faults::plant_build();
        let verdicts: Vec<Verdict> = verdicts
            .split(',')
            .map(|verdict| match verdict {
                "valid" => Verdict::Valid,
                "invalid" => Verdict::Invalid,
                _ => Verdict::Unavailable,
            })
            .collect();
        let (ids, seeds) = random.split_at_checked(20)?;
        let ids = [*ids.first_chunk::<10>()?, *ids.last_chunk::<10>()?];
        let seeds = [*seeds.first_chunk::<32>()?, *seeds.get(32..)?.first_chunk::<32>()?];
        let draft = self.draft;
        let events =
            with_mount(mount, |compiled| Some(draft.into_events(&verdicts, &compiled.mount.auth, &ids)))?;
        Some(events.iter().zip(seeds).map(|(event, seed)| encoded(event, Seed(seed))).collect())
    }
}

/// An event's digest and opening.
fn encoded(event: &Event, seed: Seed) -> Uint8Array {
    let opening = event.to_opening(seed);
    let mut bytes = leaf::digest(&opening).to_vec();
    bytes.extend_from_slice(&opening.encode());
    Uint8Array::from(bytes.as_slice())
}

/// The key of a key set to check a signature with, as JWK text.
#[wasm_bindgen]
pub fn select_key(jwks: &str, alg: &str, kid: Option<String>) -> Option<String> {
    let algorithm = match alg {
        "ES256" => Algorithm::Es256,
        "RS256" => Algorithm::Rs256,
        _ => return None,
    };
    identity::select_key(jwks, algorithm, kid.as_deref())
}

/// A problem document (RFC 9457) of one of the three kinds that the Worker itself answers with.
#[wasm_bindgen]
pub fn problem(status: u16, detail: &str) -> String {
    let (slug, title) = match status {
        421 => ("unknown-host", "No mount serves this host"),
        502 => ("origin-unreachable", "The origin did not answer"),
        503 if detail == "audit-unavailable" => {
            ("audit-unavailable", "This request may only pass with its audit record, and none can be made")
        }
        _ => ("not-configured", "The worker is not configured"),
    };
    let problem = Problem::new(status, slug, title).detail(detail);
    serde_json::to_string(&problem).expect("a problem is plain data")
}

/// Where batches are posted to; none before the core is configured.
pub(crate) fn batches_url() -> Option<String> {
    EDGE.with(|slot| slot.borrow().as_ref().map(Edge::batches_url))
}

fn with_mount<T>(mount: usize, look: impl FnOnce(&Compiled) -> Option<T>) -> Option<T> {
    EDGE.with(|slot| slot.borrow().as_ref()?.mounts.get(mount).and_then(look))
}

fn platform_value(platform: &str) -> Value {
    serde_json::from_str(platform).unwrap_or(Value::Null)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "JavaScript's time is whole and positive"
)]
pub(crate) fn timestamp(millis: f64) -> Timestamp {
    Timestamp::try_from(millis.max(0.0) as u64).unwrap_or_else(|_| Timestamp::try_from(0).expect("in range"))
}
