//! `/v1/inbox`: mutating routes that no rule names, and how they get one.

use axum::Json;
use axum::extract::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::policy::described;
use super::reader::{Admin, Reader};
use super::{Answer, Shared, body};
use crate::policy::draft;
use crate::store::coverage;
use crate::view::time;

/// A screenful; the busiest come first.
const LIMIT: i64 = 500;

pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let routes = coverage::unmapped(&state.store, &reader.tenant, LIMIT).await?;
    let items: Vec<Value> = routes
        .iter()
        .map(|route| {
            json!({
                "host": route.host,
                "method": route.method,
                "route": route.route,
                "count": route.count,
                "first_seen": time(route.first_seen),
                "last_seen": time(route.last_seen),
                "example": route.example,
                "accepted_in": route.accepted_in,
            })
        })
        .collect();
    Ok(Json(json!({"inbox": items})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    host: String,
    method: String,
    route: String,
}

pub(super) async fn draft(state: Shared, _reader: Reader, request: Request) -> Result<Json<Value>, Answer> {
    let route: Route = body::object(&state, request).await?;
    let rule = draft::draft(&route.method, &route.route)
        .map_err(|reason| Answer::parameter("route", format_args!("{} {reason}", route.route)))?;
    // The browser's own traffic to Supabase is told by its paths; everything else is the application's.
    let supabase = ["/rest/v1", "/auth/v1", "/storage/v1", "/functions/v1"];
    let pack = if supabase.iter().any(|start| route.route.starts_with(start)) { "supabase" } else { "app" };
    Ok(Json(json!({"host": route.host, "pack": pack, "rule": rule})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    host: String,
    pack: String,
    rule: Value,
}

pub(super) async fn accept(state: Shared, admin: Admin, request: Request) -> Result<Json<Value>, Answer> {
    let accepted: Acceptance = body::object(&state, request).await?;
    if accepted.host.is_empty() || accepted.host.len() > 255 || accepted.host.contains('\0') {
        return Err(Answer::parameter("host", "is not a host"));
    }
    let version = state.policies.accept(admin.who(), &accepted.host, &accepted.pack, &accepted.rule).await?;
    described(&state, &admin.0, version).await
}
