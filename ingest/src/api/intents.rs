//! `GET /v1/intents`: acts that were announced, and whether they came.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reader::Reader;
use super::{Answer, Shared};
use crate::store::intents::{self, IntentState};
use crate::view::time;

/// A screenful.
const LIMIT: i64 = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    state: Option<String>,
}

pub(super) async fn list(
    state: Shared,
    reader: Reader,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Value>, Answer> {
    let Query(parameters) = parameters.map_err(|error| Answer::parameter("query", error.body_text()))?;
    let wanted = parameters.state.as_deref().map(parse).transpose()?;
    let rows = intents::newest(&state.store, reader.tenant.as_str(), wanted, LIMIT).await?;
    let items: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "id": row.id,
                "state": row.state().word(),
                "action": row.action,
                "opened_at": row.opened_at.map(time),
                "closed_at": row.closed_at.map(time),
                "orphaned_at": row.orphaned_at.map(time),
            })
        })
        .collect();
    Ok(Json(json!({"intents": items})))
}

fn parse(word: &str) -> Result<IntentState, Answer> {
    let state = IntentState::ALL.into_iter().find(|state| state.word() == word);
    state.ok_or_else(|| Answer::parameter("state", "is not open, orphaned or closed"))
}
