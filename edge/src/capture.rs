//! The exports that a request goes through: `route`, `inspect`, `build`.

use std::cell::RefCell;

use js_sys::Uint8Array;
use serde_json::Value;
use shared::capture::{Body, Draft, Exchange, Headers};
use shared::event::Timestamp;
use shared::identity::{self, Algorithm, Verdict};
use shared::leaf::{self, Seed};
use shared::problem::Problem;
use wasm_bindgen::prelude::*;

use crate::config::{Compiled, Edge};

thread_local! {
    static EDGE: RefCell<Option<Edge>> = const { RefCell::new(None) };
}

/// Reads the configuration; to be called first, and again after every reset. Gives the plan for JavaScript as JSON.
///
/// # Errors
/// One line that names what is wrong.
#[wasm_bindgen]
pub fn configure(config: &str) -> Result<String, JsError> {
    // A panic's message can hold input; its place cannot.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        worker::console_error!("edgetrail: the core stopped at {place}");
    }));
    let edge = Edge::configure(config).map_err(|error| JsError::new(&error))?;
    let plan = edge.plan.clone();
    EDGE.with(|slot| *slot.borrow_mut() = Some(edge));
    Ok(plan)
}

/// The number of the capture plan for a request of a mount, or -1 if it is not audited.
#[wasm_bindgen]
pub fn route(mount: usize, method: &str, path: &str, query: &str) -> i32 {
    #[cfg(feature = "faults")]
    crate::faults::plant("route", query);
    with_mount(mount, |compiled| {
        let plan = compiled.router.plan(method, path, query)?;
        i32::try_from(plan).ok()
    })
    .unwrap_or(-1)
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
        }
    }

    /// The response's head, and the milliseconds until it came.
    pub fn answered(&mut self, status: u16, response_headers: &str, duration_ms: u32) {
        self.status = Some(status);
        self.response_headers = Headers::from_lines(response_headers);
        self.duration_ms = Some(duration_ms);
    }

    /// Looks at the whole exchange: `[draft, checks]` as JSON texts, or undefined if it is not audited.
    pub fn inspect(
        &self,
        request_body: &[u8],
        request_cut: bool,
        response_body: &[u8],
        response_cut: bool,
    ) -> Option<Vec<String>> {
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
        Some(draft_and_checks(draft))
    }

    /// `[draft, checks]` of an event that only says that capturing failed on this path template.
    pub fn fallback(&self, route: &str) -> Option<Vec<String>> {
        let draft = with_mount(self.mount, |compiled| {
            Some(Draft::fallback(&self.exchange(compiled, Body::default(), Body::default()), route))
        })?;
        Some(draft_and_checks(draft))
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
            before: None,
            intent: None,
            hash_key: None,
            platform: &self.platform,
            arrived: self.arrived,
            duration_ms: self.duration_ms,
        }
    }
}

fn draft_and_checks(mut draft: Draft) -> Vec<String> {
    let checks = serde_json::to_string(&draft.take_checks()).expect("checks are plain data");
    let text = serde_json::to_string(&draft).expect("a draft is plain data");
    vec![text, checks]
}

/// The events of a draft, each its digest (32 bytes) and opening: the act's own, and beside it one more where the
/// request named another user than its token proves.
///
/// `verdicts` is a JSON array of `valid`, `invalid` or `unavailable`, one for each check; `random` are 84 bytes: ten
/// for each of two ids, 32 for each of two seeds.
#[wasm_bindgen]
pub fn build(mount: usize, draft: &str, verdicts: &str, random: &[u8]) -> Option<Vec<Uint8Array>> {
    #[cfg(feature = "faults")]
    crate::faults::plant_build();
    let draft: Draft = serde_json::from_str(draft).ok()?;
    let verdicts: Vec<Verdict> = serde_json::from_str(verdicts).ok()?;
    let (ids, seeds) = random.split_at_checked(20)?;
    let ids = [*ids.first_chunk::<10>()?, *ids.last_chunk::<10>()?];
    let seeds = [*seeds.first_chunk::<32>()?, *seeds.get(32..)?.first_chunk::<32>()?];
    let events =
        with_mount(mount, |compiled| Some(draft.into_events(&verdicts, &compiled.mount.auth, &ids)))?;
    let encoded = events.iter().zip(seeds).map(|(event, seed)| {
        let opening = event.to_opening(Seed(seed));
        let mut bytes = leaf::digest(&opening).to_vec();
        bytes.extend_from_slice(&opening.encode());
        Uint8Array::from(bytes.as_slice())
    });
    Some(encoded.collect())
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
        _ => ("not-configured", "The worker is not configured"),
    };
    let problem = Problem::new(status, slug, title).detail(detail);
    serde_json::to_string(&problem).expect("a problem is plain data")
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
