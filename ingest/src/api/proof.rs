//! `GET /v1/events/{id}/proof`: that one event is in the log, for whoever has nothing else.
//!
//! The answer is a line of a bundle of kind `selection`: the opening, the 42-byte entry it hashes to, and the proof file
//! (c2sp.org/tlog-proof) that leads from the entry to a signed head; beside it the log's keys. With
//! `Accept: text/plain` it is the proof file alone.

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use shared::bundle::OpeningLine;
use shared::problem::Problem;
use uuid::Uuid;

use super::events::window;
use super::path::Path;
use super::reader::Reader;
use super::{Answer, Shared};
use crate::ledger::{inclusion, key};
use crate::store::{log, log_keys, openings};

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let missing = || Answer::not_found("no event of this id");
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let tenant = reader.tenant.as_str();
    let (from, to) = window(&state, id).ok_or_else(missing)?;
    let (batch, position, opening) =
        openings::stored(&state.store, tenant, id, from, to).await?.ok_or_else(missing)?;
    let proven = inclusion::proven(&state.store, tenant, batch, position).await?.ok_or_else(|| {
        Answer(
            Problem::new(409, "not-yet-sequenced", "The event has no proof yet")
                .detail("it is stored; the next published checkpoint of the log will cover it"),
        )
    })?;
    // The entry and its path tell nothing of the event; the opening tells everything.
    let opening = (!reader.is_masked).then_some(opening);
    let line = OpeningLine { id: Some(id), opening, ..proven };
    let plain =
        headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"));
    let proof = line.proof.clone().unwrap_or_default();
    if plain {
        let name = format!("attachment; filename=\"{id}.tlog-proof\"");
        let headers = [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
            (header::CONTENT_DISPOSITION, name),
        ];
        return Ok((headers, proof).into_response());
    }
    let log_id = line.place.map(|(log, _)| log.to_string()).unwrap_or_default();
    let log = log::find(&state.store, &log_id).await?.ok_or_else(missing)?;
    let mut connection = state.store.begin().await?;
    let named = log_keys::of(&mut connection, &log_id).await?;
    let keys: Vec<String> = named
        .iter()
        .filter_map(|named| key::verifier(&log.origin, &named.public_key))
        .map(|key| key.to_string())
        .collect();
    let mut body: serde_json::Value = serde_json::from_str(&line.to_json()).unwrap_or_default();
    body["origin"] = json!(log.origin);
    body["verifier_keys"] = json!(keys);
    Ok(axum::Json(body).into_response())
}
