//! `GET /v1/logs` and `GET /log/{log_id}/…`: the logs as any transparency log client reads them
//! (c2sp.org/tlog-tiles).

use axum::Json;
use axum::extract::{FromRequestParts as _, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use shared::tree::{TILE_WIDTH, TileRef};

use super::path::Path;
use super::reader::Reader;
use super::{Answer, Shared};
use crate::ledger::{key, tiles};
use crate::store::log::{self, LogKey};
use crate::store::{log_keys, publications};
use crate::view::time;

/// The reader's logs, so that a log can be found without its name being guessable.
pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let logs = log::list(&state.store, Some(reader.tenant.as_str())).await?;
    let mut items = Vec::with_capacity(logs.len());
    let mut connection = state.store.begin().await?;
    for log in &logs {
        let verifier = |public: &[u8]| key::verifier(&log.origin, public).map(|key| key.to_string());
        let named = log_keys::of(&mut connection, &log.log_id).await?;
        let keys: Vec<Value> = named
            .iter()
            .map(|named| {
                json!({
                    "key": verifier(&named.public_key),
                    "named_at": time(named.named_at),
                    "retired_at": named.retired_at.map(time),
                })
            })
            .collect();
        let succession = log::succession(&mut connection, &log.log_id).await?;
        let published = publications::published_size(&state.store, &log.log_id).await?;
        items.push(json!({
            "log_id": log.log_id,
            "year": log.year,
            "part": log.part,
            "origin": log.origin,
            "size": log.size,
            "published_size": published.unwrap_or(log.size),
            "verifier_key": verifier(&log.public_key),
            "verifier_keys": keys,
            // What leaf 0 commits to: the head, as it was signed, of the log before.
            "previous": succession.map(|(log_id, checkpoint)| json!({"log_id": log_id, "checkpoint": checkpoint})),
        }));
    }
    Ok(Json(json!({"tenant": reader.tenant, "logs": items})))
}

pub(super) async fn checkpoint(state: Shared, Path(log_id): Path<String>) -> Result<Response, Answer> {
    let (_, checkpoint) = log::published(&state.store, &log_id)
        .await?
        .ok_or_else(|| Answer::not_found("no such log is published"))?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, checkpoint.note).into_response())
}

pub(super) async fn tile(
    state: Shared,
    Path((log_id, path)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Answer> {
    let missing = || Answer::not_found("no checkpoint covers this tile");
    let reader = if state.log.public {
        None
    } else {
        let (mut parts, _) = request.into_parts();
        Some(Reader::from_request_parts(&mut parts, &state.0).await?)
    };
    let tile: TileRef = format!("tile/{path}")
        .parse()
        .map_err(|error: shared::tree::TileError| Answer::not_found(&error.to_string()))?;
    let (tenant, checkpoint) = log::published(&state.store, &log_id).await?.ok_or_else(missing)?;
    if reader.is_some_and(|reader| reader.tenant.as_str() != tenant) {
        return Err(missing());
    }
    let size = u64::try_from(checkpoint.size).unwrap_or(0);
    let bytes = tiles::read(&state.store, LogKey { tenant: &tenant, log_id: &log_id }, tile, size)
        .await?
        .ok_or_else(missing)?;
    let full = u64::from(tile.width) == TILE_WIDTH;
    let cache = match (full, state.log.public) {
        (true, true) => "public, max-age=31536000, immutable",
        (true, false) => "private, max-age=31536000, immutable",
        (false, _) => "no-cache",
    };
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, cache)];
    Ok((headers, bytes).into_response())
}
