//! `/v1/erasures…`: requests to erase a person's data, as admins decide on them.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use super::path::Path;
use super::reader::{Admin, Reader};
use super::{Answer, Shared};
use crate::store::erasures::{self, Request};
use crate::view::time;

const LISTED: i64 = 200;

pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let all = erasures::list(&state.store, reader.tenant.as_str(), None, LISTED).await?;
    let items: Vec<Value> = all.iter().map(described).collect();
    Ok(Json(json!({"erasures": items})))
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let request = state.privacy.look(&reader.tenant, number(&id)?).await?;
    let mut described = described(&request);
    described["verifier_key"] = Value::from(state.privacy.verifier().to_string());
    Ok(Json(described))
}

pub(super) async fn approve(
    state: Shared,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    Ok(Json(described(&state.privacy.approve(admin.who(), number(&id)?).await?)))
}

pub(super) async fn cancel(
    state: Shared,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    Ok(Json(described(&state.privacy.cancel(admin.who(), number(&id)?).await?)))
}

/// The newest certificate; it names nobody, so it can be handed to whoever was erased.
pub(super) async fn certificate(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Response, Answer> {
    let note = erasures::certificate(&state.store, reader.tenant.as_str(), number(&id)?)
        .await?
        .ok_or_else(|| Answer::not_found("no certificate yet"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

pub(super) fn described(request: &Request) -> Value {
    json!({
        "id": request.id,
        "mode": request.mode,
        "legal_basis": request.legal_basis,
        "state": request.state,
        "subject": request.subject,
        "pseudonym": request.pseudonym,
        "requested_by": request.requested_by,
        "requested_at": time(request.requested_at),
        "approved_by": request.approved_by,
        "approved_at": request.approved_at.map(time),
        "not_before": request.not_before.map(time),
        "carried_out_at": request.until.map(time),
        "closed_by": request.closed_by,
        "closed_at": request.closed_at.map(time),
    })
}

fn number(text: &str) -> Result<Uuid, Answer> {
    text.parse().map_err(|_| Answer::not_found("no erasure of this id"))
}
