//! The application: a page and the routes of `/api` that people use most.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::agent;
use super::state::{Caller, Shared};
use crate::clock::rfc3339_now;

const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Demo</title>\n\
    <h1>Demo application</h1>\n<p>Everything that is done here is recorded at the edge; this page knows nothing of it.</p>\n\
    </html>\n";

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/api/create-agent", post(create))
        .route("/api/agents", get(list))
        .route("/api/agents/{id}", get(read).put(update).delete(delete))
        .route("/api/run-agent", post(run))
        .route("/api/user/profile", get(profile).put(update_profile))
}

fn answer(status: u16, body: Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let vary = [("vary", "RSC, Next-Router-State-Tree, Next-Router-Prefetch")];
    (status, vary, Json(body)).into_response()
}

fn unauthorized() -> Response {
    answer(401, json!({ "error": "Unauthorized" }))
}

fn not_found() -> Response {
    answer(404, json!({ "success": false, "error": "Agent not found or access denied" }))
}

/// The agent's row, if it is the caller's.
fn own<'a>(
    agents: &'a mut std::collections::BTreeMap<String, Value>,
    id: &str,
    caller: &Caller,
) -> Option<&'a mut Value> {
    agents.get_mut(id).filter(|row| row["user_id"] == caller.user_id.as_str())
}

async fn create(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let Some(caller) = shared.by_cookie(&headers) else {
        let error = json!({
            "success": false, "error": "Unauthorized", "details": "No valid session \u{2014} please log in again",
        });
        return answer(401, error);
    };
    let Ok(body) = serde_json::from_str::<Value>(&body) else {
        return answer(400, json!({ "success": false, "error": "Invalid JSON in request body" }));
    };
    if !body["agent"]["agent_name"].is_string() {
        let error =
            json!({ "success": false, "error": "Invalid request body", "details": "Validation failed" });
        return answer(400, error);
    }
    let row = agent::create(&body["agent"], &caller.user_id);
    let id = row["id"].as_str().unwrap_or_default().to_owned();
    shared.state().agents.insert(id.clone(), row.clone());
    answer(
        201,
        json!({
            "success": true, "agent": row, "message": "Agent created successfully",
            "inputsSaved": body.get("input_values").is_some(),
            "analytics": { "agentId": id, "sessionId": body["sessionId"], "tokenTrackingConsistent": false },
        }),
    )
}

async fn list(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some(caller) = shared.by_cookie(&headers) else { return unauthorized() };
    let state = shared.state();
    let rows = state.agents.values().filter(|row| row["user_id"] == caller.user_id.as_str());
    answer(200, json!({ "success": true, "agents": rows.collect::<Vec<_>>() }))
}

async fn read(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Some(caller) = shared.by_cookie(&headers) else { return unauthorized() };
    match own(&mut shared.state().agents, &id, &caller) {
        Some(row) => answer(200, json!({ "success": true, "agent": row, "pluginRefresh": null })),
        None => not_found(),
    }
}

async fn update(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let Some(caller) = shared.by_cookie(&headers) else { return unauthorized() };
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    if !body["agent"].is_object() {
        return answer(400, json!({ "success": false, "error": "Agent data is required" }));
    }
    let mut state = shared.state();
    let Some(row) = own(&mut state.agents, &id, &caller) else { return not_found() };
    agent::update(row, &body["agent"]);
    let message = "Agent updated successfully";
    answer(200, json!({ "success": true, "agent": row, "message": message, "scheduleUpdate": null }))
}

async fn delete(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Some(caller) = shared.by_cookie(&headers) else { return unauthorized() };
    let mut state = shared.state();
    if own(&mut state.agents, &id, &caller).is_none() {
        return not_found();
    }
    state.agents.remove(&id);
    answer(200, json!({ "success": true, "message": "Agent deleted successfully" }))
}

async fn run(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let Some(caller) = shared.by_cookie(&headers) else { return unauthorized() };
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let id = body["agent_id"].as_str().unwrap_or_default();
    let mut state = shared.state();
    let Some(row) = own(&mut state.agents, id, &caller) else {
        return answer(404, json!({ "error": "Agent not found" }));
    };
    let good = !row["agent_name"].as_str().unwrap_or_default().to_lowercase().contains("fail");
    let (done, failed) = if good { (json!(["step1"]), json!([])) } else { (json!([]), json!(["step1"])) };
    let execution = body["execution_id"].as_str().map_or_else(agent::uuid, ToOwned::to_owned);
    let output = if good { json!({ "step1": body["input_variables"]["text"] }) } else { Value::Null };
    answer(
        200,
        json!({
            "success": good, "message": "Workflow completed", "pilot": true,
            "data": {
                "agent_id": id, "agent_name": row["agent_name"], "execution_type": "workflow_pilot",
                "executionId": execution, "stepsCompleted": u8::from(good), "stepsFailed": u8::from(!good),
                "stepsSkipped": 0, "totalSteps": 1, "tokens_used": 0, "raw_tokens": 0, "intensity_multiplier": 1,
                "execution_time_ms": 13, "output": output, "completedStepIds": done, "failedStepIds": failed,
                "skippedStepIds": [],
            },
        }),
    )
}

async fn profile(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some(caller) = shared.by_cookie(&headers) else { return unauthorized() };
    let mut state = shared.state();
    let Some(user) = state.user(&caller.user_id) else { return unauthorized() };
    let mut profile = user.profile.clone();
    profile["email"] = user.email.clone().into();
    answer(200, json!({ "success": true, "profile": profile }))
}

async fn update_profile(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    const WRITABLE: [&str; 7] = ["full_name", "company", "role", "avatar_url", "bio", "timezone", "language"];
    let Some(caller) = shared.by_cookie(&headers) else { return unauthorized() };
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut state = shared.state();
    let Some(user) = state.user(&caller.user_id) else { return unauthorized() };
    for name in WRITABLE {
        if let Some(value) = body.get(name) {
            user.profile[name] = value.clone();
        }
    }
    user.profile["updated_at"] = rfc3339_now().into();
    let message = "Profile updated successfully";
    answer(200, json!({ "success": true, "message": message, "profile": user.profile }))
}
