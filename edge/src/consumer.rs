//! The queue consumer: posts signed batches to the backend and settles each by its own status.
//!
//! It holds no key and reads no batch. An error is never returned, as the type says: the crate `worker` would turn it into
//! a panic and a reset of the whole isolate; whatever is not known to be stored is retried instead. The request is made
//! of the platform's own types, since the crate's wrappers bring everything that a request may have.

use core::convert::Infallible;

use js_sys::Uint8Array;
use serde::Deserialize;
use wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::{Headers, Request, RequestInit, Response, WorkerGlobalScope};
use worker::{
    Context, Date, Env, MessageBatch, MessageExt, QueueRetryOptions, QueueRetryOptionsBuilder, RawMessage,
    event,
};

use crate::capture::batches_url;

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
async fn queue(batch: MessageBatch<JsValue>, _env: Env, _context: Context) -> Result<(), Infallible> {
    let messages: Vec<RawMessage> = batch.raw_iter().collect();
    let Answer { settled, retry_after } = deliver(&messages).await;
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

async fn deliver(messages: &[RawMessage]) -> Answer {
    let response = match post(messages).await {
        Ok(response) => response,
        Err(error) => return Answer { settled: Err(reason(&error)), retry_after: 0 },
    };
    let retry_after = response.headers().get("retry-after").ok().flatten();
    let retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let settled = match text(&response).await {
        Ok(text) => settlement(&text, response.status(), messages.len()),
        Err(error) => Err(reason(&error)),
    };
    Answer { settled, retry_after }
}

async fn post(messages: &[RawMessage]) -> Result<Response, JsValue> {
    let url = batches_url().ok_or("the core is not configured")?;
    let mut body: Vec<u8> = Vec::new();
    for message in messages {
        body.extend_from_slice(&message_bytes(&message.body()));
    }
    let headers = Headers::new()?;
    headers.set("content-type", shared::batch::CONTENT_TYPE)?;
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_headers(&headers);
    init.set_body(&Uint8Array::from(body.as_slice()));
    let request = Request::new_with_str_and_init(&url, &init)?;
    let platform: WorkerGlobalScope = js_sys::global().unchecked_into();
    JsFuture::from(platform.fetch_with_request(&request)).await?.dyn_into()
}

async fn text(response: &Response) -> Result<String, JsValue> {
    let text = JsFuture::from(response.text()?).await?;
    Ok(text.as_string().unwrap_or_default())
}

/// What JavaScript says went wrong.
fn reason(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => error.message().into(),
        None => error.as_string().unwrap_or_default(),
    }
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
    let waited = Date::now().as_millis().saturating_sub(message.timestamp().as_millis()) / 1000;
    let delay =
        u32::try_from(waited).unwrap_or(LONGEST_DELAY).max(retry_after).clamp(FIRST_DELAY, LONGEST_DELAY);
    QueueRetryOptionsBuilder::new().with_delay_seconds(delay).build()
}
