//! `GET /v1/echoes`: writes by the application's own server, and whether the act behind them is known.

use axum::Json;
use axum::extract::Query;
use serde_json::{Value, json};

use super::reader::Reader;
use super::writes::{Parameters, range};
use super::{Answer, Shared};
use crate::store::links;
use crate::view::time;

const LIMIT: i64 = 200;
const STATES: [&str; 3] = ["pending", "linked", "unlinked"];

pub(super) async fn list(
    state: Shared,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Value>, Answer> {
    let Query(parameters) = parameters.map_err(|error| Answer::parameter("query", error.body_text()))?;
    let (from, to) = range(&parameters, state.clock.now().to_utc(), &["state"])?;
    let wanted =
        parameters.iter().find(|(name, _)| name == "state").map_or("unlinked", |(_, value)| value.as_str());
    if !STATES.contains(&wanted) {
        return Err(Answer::parameter("state", format!("is not one of {}", STATES.join(", "))));
    }
    let found = links::newest(&state.store, reader.tenant.as_str(), wanted, from, to, LIMIT).await?;
    let found: Vec<Value> = found
        .into_iter()
        .map(|echo| {
            json!({
                "id": echo.id,
                "action": echo.action,
                "entity": echo.entity_type.map(|kind| json!({"type": kind, "id": echo.entity_id})),
                "at": time(echo.occurred_at),
                "state": echo.state,
                "act": echo.act_id,
            })
        })
        .collect();
    Ok(Json(json!({"echoes": found})))
}
