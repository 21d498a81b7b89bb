//! The queue consumer: posts signed batches to the backend and settles each by its own status.
//!
//! It holds no key and reads no batch. An error is never returned: the crate `worker` would turn it into a panic and
//! a reset of the whole isolate; whatever is not known to be stored is retried instead.

use js_sys::Uint8Array;
use serde::Deserialize;
use wasm_bindgen::{JsCast, JsValue};
use worker::{
    Context, Env, Fetch, Headers, MessageBatch, MessageExt, Method, QueueRetryOptions,
    QueueRetryOptionsBuilder, RawMessage, Request, RequestInit, Response, event,
};

/// The first delay of a retry, in seconds.
const FIRST_DELAY: u32 = 5;

/// The longest delay of a retry, in seconds.
const LONGEST_DELAY: u32 = 300;

/// The backend's word on one batch.
#[derive(Debug, Deserialize)]
struct Settled {
    status: u16,
}

#[event(queue)]
async fn queue(batch: MessageBatch<JsValue>, env: Env, _context: Context) -> worker::Result<()> {
    let messages: Vec<RawMessage> = batch.raw_iter().collect();
    let Answer { settled, retry_after } = deliver(&messages, &env).await;
    let settled = settled.unwrap_or_else(|error| {
        worker::console_error!("edgetrail: {} batches wait: {error}", messages.len());
        Vec::new()
    });
    for (at, message) in messages.iter().enumerate() {
        match settled.get(at) {
            Some(Settled { status: 200 }) => message.ack(),
            _ => message.retry_with_options(&delayed(message, retry_after)),
        }
    }
    Ok(())
}

/// What the backend said.
struct Answer {
    /// On each batch, or why nothing is known.
    settled: Result<Vec<Settled>, String>,
    /// Seconds that it wants us to wait; 0 if it did not say.
    retry_after: u32,
}

async fn deliver(messages: &[RawMessage], env: &Env) -> Answer {
    let unheard = |error| Answer { settled: Err(error), retry_after: 0 };
    let mut response = match post(messages, env).await {
        Ok(response) => response,
        Err(error) => return unheard(error),
    };
    let retry_after = response.headers().get("retry-after").ok().flatten();
    let retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let settled = match response.text().await {
        Ok(text) => settlement(&text, response.status_code(), messages.len()),
        Err(error) => Err(error.to_string()),
    };
    Answer { settled, retry_after }
}

async fn post(messages: &[RawMessage], env: &Env) -> Result<Response, String> {
    let config = env.var("EDGETRAIL_CONFIG").map_err(|error| error.to_string())?.to_string();
    let config: crate::config::Config = serde_json::from_str(&config).map_err(|error| error.to_string())?;
    let url = config.ingest_url();
    let mut body: Vec<u8> = Vec::new();
    for message in messages {
        body.extend_from_slice(&message_bytes(&message.body()));
    }
    let headers = Headers::new();
    headers.set("content-type", shared::batch::CONTENT_TYPE).map_err(|error| error.to_string())?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post)
        .with_headers(headers)
        .with_body(Some(Uint8Array::from(body.as_slice()).into()));
    let request = Request::new_with_init(&url, &init).map_err(|error| error.to_string())?;
    Fetch::Request(request).send().await.map_err(|error| error.to_string())
}

fn settlement(text: &str, status: u16, batches: usize) -> Result<Vec<Settled>, String> {
    let settled: Vec<Settled> = serde_json::from_str(text)
        .map_err(|_| format!("the backend answered {status} without a settlement"))?;
    if settled.len() == batches {
        Ok(settled)
    } else {
        Err(format!("the backend settled {} of {batches} batches", settled.len()))
    }
}

/// A message's bytes; queues hand them over as an `ArrayBuffer` or a view of one.
fn message_bytes(body: &JsValue) -> Vec<u8> {
    match body.dyn_ref::<Uint8Array>() {
        Some(view) => view.to_vec(),
        None => Uint8Array::new(body).to_vec(),
    }
}

/// As long as the message has already waited, so that the delay doubles with each attempt, and not before the backend wants it.
fn delayed(message: &RawMessage, retry_after: u32) -> QueueRetryOptions {
    let waited = worker::Date::now().as_millis().saturating_sub(message.timestamp().as_millis()) / 1000;
    let delay =
        u32::try_from(waited).unwrap_or(LONGEST_DELAY).max(retry_after).clamp(FIRST_DELAY, LONGEST_DELAY);
    QueueRetryOptionsBuilder::new().with_delay_seconds(delay).build()
}
