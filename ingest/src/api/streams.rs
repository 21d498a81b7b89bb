//! `GET /v1/streams`: what arrived of each producer's stream, and what is missing.

use std::collections::HashMap;

use axum::Json;
use serde_json::{Value, json};

use super::reader::Reader;
use super::{Answer, Shared};
use crate::store::streams::{self, Gap};
use crate::view::time;

/// The newest; an instance of the edge has one stream.
const LIMIT: i64 = 500;

pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let tenant = reader.tenant.as_str();
    let rows = streams::newest(&state.store, tenant, LIMIT).await?;
    let names: Vec<&[u8]> = rows.iter().map(|row| row.stream.as_slice()).collect();
    let mut gaps: HashMap<Vec<u8>, Vec<Value>> = HashMap::new();
    for gap in streams::gaps(&state.store, tenant, &names).await? {
        let view = view(&gap);
        gaps.entry(gap.stream).or_default().push(view);
    }
    let items: Vec<Value> = rows
        .iter()
        .map(|row| {
            let (state, tail) =
                if row.ended_at.is_some() { ("ended", "unknown") } else { ("active", "open") };
            json!({
                "stream": hex::encode(&row.stream),
                "state": state,
                "tail": tail,
                "first_at": time(row.first_at),
                "last_at": time(row.last_at),
                "high_seq": row.high_seq,
                "batches": row.batches,
                "events": row.events,
                "dropped": row.dropped,
                "gaps": gaps.remove(&row.stream).unwrap_or_default(),
            })
        })
        .collect();
    Ok(Json(json!({"streams": items})))
}

fn view(gap: &Gap) -> Value {
    let range = gap.hole.range;
    let state = if gap.closed_at.is_some() { "closed" } else { "open" };
    json!({"first_seq": range.first, "last_seq": range.last, "state": state})
}
