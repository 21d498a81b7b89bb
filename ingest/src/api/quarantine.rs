//! `GET /v1/quarantine`: what could not be stored as events, for auditors and admins.

use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::reader::Reader;
use super::{Answer, Shared};
use crate::store::quarantine;
use crate::view::time;

/// A screenful; who has more has another problem.
const LIMIT: i64 = 200;

pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let rows = quarantine::newest(&state.store, reader.tenant.as_str(), LIMIT).await?;
    let items: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({
                "stream": hex::encode(row.stream),
                "seq": row.seq,
                "batch": row.batch_id,
                "position": row.position,
                "reason": row.reason,
                "claimed_digest": hex::encode(row.claimed_digest),
                "entry": hex::encode(row.entry),
                "raw": row.raw.map(|raw| BASE64.encode(raw)),
                "received_at": time(row.received_at),
            })
        })
        .collect();
    Ok(Json(json!({"quarantine": items})))
}
