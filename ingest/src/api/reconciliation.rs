//! `GET /v1/reconciliation`: the application's own audit rows held against what the edge saw, by action.

use axum::Json;
use axum::extract::Query;
use serde_json::{Value, json};

use super::reader::Reader;
use super::writes::{Parameters, range};
use super::{Answer, Shared};
use crate::correlate::reconcile;
use crate::view::time;

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Value>, Answer> {
    let Query(parameters) = parameters.map_err(|error| Answer::parameter("query", error.body_text()))?;
    let now = state.clock.now().to_utc();
    let (from, to) = range(&parameters, now, &[])?;
    let actions: Vec<Value> = reconcile::figures(&state.store, &reader.tenant, (from, to), now)
        .await?
        .into_iter()
        .map(|(action, figures)| {
            json!({
                "action": action,
                "confirmed": figures.confirmed,
                "only_theirs": figures.only_theirs,
                "only_ours": figures.only_ours,
                "pending": figures.pending,
            })
        })
        .collect();
    Ok(Json(json!({"from": time(from), "to": time(to), "actions": actions})))
}
