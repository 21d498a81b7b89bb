//! PostgREST on table `agents`: read and change by equality filters, with row-level security by owner.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::agent;
use super::state::{Caller, Shared};

const JSON: &str = "application/json; charset=utf-8";
const OBJECT: &str = "application/vnd.pgrst.object+json";

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/rest/v1/agents", get(read).patch(update))
}

type Filters = Vec<(String, String)>;

async fn read(State(shared): State<Shared>, Query(filters): Query<Filters>, headers: HeaderMap) -> Response {
    let Some(caller) = shared.by_bearer(&headers) else { return denied() };
    let state = shared.state();
    let rows: Vec<Value> =
        state.agents.values().filter(|row| visible(row, &caller, &filters)).cloned().collect();
    representation(&rows, &headers)
}

async fn update(
    State(shared): State<Shared>,
    Query(filters): Query<Filters>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let Some(caller) = shared.by_bearer(&headers) else { return denied() };
    let Ok(body) = serde_json::from_str::<Value>(&body) else {
        return error(400, "PGRST102", "Empty or invalid json");
    };
    let mut state = shared.state();
    let mut rows = Vec::new();
    for row in state.agents.values_mut().filter(|row| visible(row, &caller, &filters)) {
        agent::update(row, &body);
        rows.push(row.clone());
    }
    let wants = headers.get("prefer").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wants.contains("return=representation") {
        return representation(&rows, &headers);
    }
    let headers = [("content-type", JSON.to_owned()), ("content-range", range(rows.len()))];
    (StatusCode::NO_CONTENT, [("access-control-allow-origin", "*")], headers).into_response()
}

fn visible(row: &Value, caller: &Caller, filters: &Filters) -> bool {
    let own = caller.role == "service_role" || row["user_id"] == caller.user_id.as_str();
    own && filters.iter().all(|(column, filter)| match filter.strip_prefix("eq.") {
        Some(wanted) => row[column].as_str().map_or_else(|| row[column].to_string(), str::to_owned) == wanted,
        // `select`, `columns` and `order` are no filters.
        None => ["select", "columns", "order", "limit"].contains(&column.as_str()),
    })
}

fn range(rows: usize) -> String {
    rows.checked_sub(1).map_or_else(|| "*/*".to_owned(), |last| format!("0-{last}/*"))
}

fn representation(rows: &[Value], headers: &HeaderMap) -> Response {
    let single = headers.get("accept").is_some_and(|accept| accept == OBJECT);
    let (kind, body) = match rows {
        [row] if single => (OBJECT, row.clone()),
        _ if single => return error(406, "PGRST116", "Cannot coerce the result to a single JSON object"),
        rows => (JSON, json!(rows)),
    };
    let headers = [("content-type", kind.to_owned()), ("content-range", range(rows.len()))];
    ([("access-control-allow-origin", "*")], headers, body.to_string()).into_response()
}

fn denied() -> Response {
    error(401, "PGRST301", "No suitable key or wrong key type")
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({ "code": code, "details": null, "hint": null, "message": message });
    (status, [("content-type", JSON)], body.to_string()).into_response()
}
