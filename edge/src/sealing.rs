//! From events to signed batches. The signature itself is made by the platform's crypto between the two steps.

use js_sys::{Array, Uint8Array};
use shared::batch::{self, Header, MAX_BATCH_LEN, MAX_EVENTS_PER_BATCH, StreamId};
use shared::leaf::Hash;
use shared::note::{KeyId, KeyName, SignerKey};
use wasm_bindgen::prelude::*;

use crate::capture::timestamp;

/// What the largest note takes of a batch, in bytes.
const NOTE_RESERVE: usize = 1_000;

/// Before the 32 bytes of a seed in PKCS #8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Reads a signer key: `[name, id, PKCS #8]`.
///
/// # Errors
/// One line that says what is wrong with its form, never the key.
#[wasm_bindgen]
pub fn signer(secret: &str) -> Result<Array, JsError> {
    let key: SignerKey =
        secret.parse().map_err(|error| JsError::new(&format!("EDGETRAIL_SIGNING_KEY: {error}")))?;
    let mut pkcs8 = PKCS8_PREFIX.to_vec();
    pkcs8.extend_from_slice(&key.seed);
    let parts = Array::new();
    parts.push(&key.name.to_string().into());
    parts.push(&key.id.to_string().into());
    parts.push(&Uint8Array::from(pkcs8.as_slice()).into());
    Ok(parts)
}

/// Seals the next batch of a stream from as many of the events as fit: `[header, header's hash, body, events taken]`.
///
/// Each event is its digest (32 bytes) and opening; `prev` is the previous header's hash in hex, empty at seq 0.
#[wasm_bindgen]
pub fn seal(
    tenant: &str,
    stream: &[u8],
    seq: f64,
    prev: &str,
    sent: f64,
    dropped: f64,
    events: Vec<Uint8Array>,
) -> Option<Array> {
    let events: Vec<(Hash, Vec<u8>)> = fitting(&events);
    let mut previous = [0; 32];
    if !prev.is_empty() {
        hex::decode_to_slice(prev, &mut previous).ok()?;
    }
    let header = Header {
        tenant: tenant.parse().ok()?,
        stream: StreamId(stream.try_into().ok()?),
        seq: whole(seq),
        prev: previous,
        sent: timestamp(sent),
        count: u16::try_from(events.len()).ok()?,
        dropped: whole(dropped),
        events: batch::events_hash(events.iter().map(|(digest, _)| digest)),
    };
    let body = batch::encode_body(events.iter().map(|(digest, opening)| (digest, opening.as_slice())));
    let sealed = Array::new();
    sealed.push(&header.to_string().into());
    sealed.push(&hex::encode(header.hash()).into());
    sealed.push(&Uint8Array::from(body.as_slice()).into());
    sealed.push(&JsValue::from(header.count));
    Some(sealed)
}

/// The framed batch of a sealed header and its signature.
#[wasm_bindgen]
pub fn frame(header: &str, name: String, key_id: &str, signature: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let name = KeyName::try_from(name).ok()?;
    let mut id = [0; 4];
    hex::decode_to_slice(key_id, &mut id).ok()?;
    let note = shared::note::assemble(header, &name, KeyId(id), signature.try_into().ok()?);
    Some(batch::frame(&note, body))
}

/// As many of the first events as one batch holds; at least one, since an event is capped far below a batch.
fn fitting(events: &[Uint8Array]) -> Vec<(Hash, Vec<u8>)> {
    let mut room = MAX_BATCH_LEN - NOTE_RESERVE;
    let mut taken = Vec::new();
    for event in events.iter().take(MAX_EVENTS_PER_BATCH) {
        let bytes = event.to_vec();
        let Some((digest, opening)) = bytes.split_first_chunk::<32>() else { break };
        let needed = bytes.len() + 4;
        if needed > room {
            break;
        }
        room -= needed;
        taken.push((*digest, opening.to_vec()));
    }
    taken
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "JavaScript counts in whole numbers"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
