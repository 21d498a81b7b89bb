//! `GET /v1/openings` and `GET /v1/absences`: what a verifier needs besides the public log, for auditors and
//! admins.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Query;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use shared::absence::AbsenceList;
use shared::bundle::LogId;
use uuid::Uuid;

use super::path::Path;
use super::reader::Reader;
use super::writes::{Parameters, once};
use super::{Answer, Shared};
use crate::ledger::openings::{self, MAX_LEAVES};
use crate::store::{absences, log};

/// The lines of leaves `from..to` of a log, or without a log those of events that wait for their place.
pub(super) async fn lines(state: Shared, reader: Reader, asked: Parameters) -> Result<Response, Answer> {
    let Query(parameters) = asked.map_err(|error| Answer::parameter("query", error.body_text()))?;
    once(&parameters)?;
    let parameters: BTreeMap<String, String> = parameters.into_iter().collect();
    let tenant = reader.tenant.as_str();
    let known = ["log", "from", "to"];
    if let Some(name) = parameters.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Answer::parameter(name, "is unknown"));
    }
    let number = |name: &str| match parameters.get(name) {
        None => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_| Answer::parameter(name, "is not a leaf's index"))
        }
    };
    let (from, to) = (number("from")?, number("to")?);
    let lines = match parameters.get("log") {
        None => openings::waiting(&state.store, tenant).await?,
        Some(name) => {
            let id: LogId = name.parse().map_err(|error| Answer::parameter("log", error))?;
            let found = log::find(&state.store, name).await?.filter(|log| log.tenant_id == tenant);
            found.ok_or_else(|| Answer::not_found("no such log"))?;
            let from = from.unwrap_or(0);
            let to = to.unwrap_or_else(|| from.saturating_add(MAX_LEAVES));
            if to < from {
                return Err(Answer::parameter("to", "is before from"));
            }
            if to - from > MAX_LEAVES {
                return Err(Answer::parameter("to", format!("is more than {MAX_LEAVES} leaves after from")));
            }
            openings::lines(&state.store, tenant, id, from, to).await?
        }
    };
    let body: String = lines.iter().map(shared::bundle::OpeningLine::to_json).collect();
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// Which records have lists.
pub(super) async fn lists(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let lists = absences::raw(&state.store, reader.tenant.as_str(), None).await?;
    let items: Vec<Value> = lists
        .iter()
        .map(|(record, bytes)| {
            let list = AbsenceList::decode(bytes).ok();
            json!({
                "record_id": record,
                "sha256": list.as_ref().map(|list| hex::encode(list.hash())),
                "leaves": list.as_ref().map(AbsenceList::leaves),
                "runs": list.as_ref().map(|list| list.runs().len()),
            })
        })
        .collect();
    Ok(Json(json!({"absences": items})))
}

/// One list, in the bytes that its record commits to.
pub(super) async fn list(
    state: Shared,
    reader: Reader,
    Path(record): Path<String>,
) -> Result<Response, Answer> {
    let missing = || Answer::not_found("no list of this record");
    let record: Uuid = record.parse().map_err(|_| missing())?;
    let mut lists = absences::raw(&state.store, reader.tenant.as_str(), Some(record)).await?;
    let (_, list) = lists.pop().ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], list).into_response())
}
