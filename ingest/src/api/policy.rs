//! `/v1/policy…`: a tenant's rule packs, as Workers fetch them and as admins change them.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use shared::event::TenantId;
use shared::policy::served::CONTENT_TYPE;
use shared::problem::Problem;

use super::path::Path;
use super::reader::{Admin, Reader};
use super::{Answer, Shared, body};
use crate::policy::PolicyError;
use crate::store::policies::{self, Policy};
use crate::unquoted;
use crate::view::time;

const LISTED: i64 = 200;

/// The signed document. It holds rules and no secret, and its signature is all that a Worker believes.
pub(super) async fn served(
    state: Shared,
    Path(tenant): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let missing = || Answer::not_found("no policy is active");
    let tenant: TenantId = tenant.parse().map_err(|_| missing())?;
    let (version, note) = policies::served(&state.store, &tenant).await?.ok_or_else(missing)?;
    let etag = format!("\"{version}\"");
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == etag);
    let common = [(header::ETAG, etag.as_str()), (header::CACHE_CONTROL, "no-cache")];
    Ok(if known {
        (StatusCode::NOT_MODIFIED, common).into_response()
    } else {
        (common, [(header::CONTENT_TYPE, CONTENT_TYPE)], note).into_response()
    })
}

/// A signed document, or packs to propose: told apart by their first byte.
pub(super) async fn upload(state: Shared, admin: Admin, request: Request) -> Result<Json<Value>, Answer> {
    let text = body::text(&state, request).await?;
    let version = if text.trim_start().starts_with('{') {
        state.policies.propose(admin.who(), &text).await?
    } else {
        state.policies.take_signed(admin.who(), text.as_bytes()).await?
    };
    described(&state, &admin.0, version).await
}

pub(super) async fn approve(
    state: Shared,
    admin: Admin,
    Path(version): Path<String>,
) -> Result<Json<Value>, Answer> {
    let version = number(&version)?;
    state.policies.approve(admin.who(), version).await?;
    described(&state, &admin.0, version).await
}

pub(super) async fn refuse(
    state: Shared,
    admin: Admin,
    Path(version): Path<String>,
) -> Result<Json<Value>, Answer> {
    let version = number(&version)?;
    state.policies.refuse(admin.who(), version).await?;
    described(&state, &admin.0, version).await
}

pub(super) async fn roll_back(
    state: Shared,
    admin: Admin,
    Path(version): Path<String>,
) -> Result<Json<Value>, Answer> {
    let version = state.policies.roll_back(admin.who(), number(&version)?).await?;
    described(&state, &admin.0, version).await
}

pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let all = policies::list(&state.store, &reader.tenant, LISTED).await?;
    let items: Vec<Value> = all.iter().map(summary).collect();
    Ok(Json(json!({"policies": items})))
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(version): Path<String>,
) -> Result<Json<Value>, Answer> {
    described(&state, &reader, number(&version)?).await
}

pub(super) async fn keys(state: Shared, reader: Reader) -> Json<Value> {
    let keys: Vec<String> =
        state.policies.verifiers(&reader.tenant).iter().map(ToString::to_string).collect();
    Json(json!({"keys": keys}))
}

/// A version with its packs and what they change.
pub(super) async fn described(state: &Shared, reader: &Reader, version: i64) -> Result<Json<Value>, Answer> {
    let (policy, changes) = state.policies.look(&reader.tenant, version).await?;
    let mut described = summary(&policy);
    let document: Value = serde_json::from_str(&policy.document).unwrap_or_default();
    described["packs"] = document["packs"].clone();
    described["changes"] = changes;
    Ok(Json(described))
}

fn summary(policy: &Policy) -> Value {
    json!({
        "version": policy.version,
        "state": policy.state.word(),
        "proposed_by": policy.proposed_by,
        "proposed_at": time(policy.proposed_at),
        "decided_by": policy.decided_by,
        "decided_at": policy.decided_at.map(time),
        "rolls_back_to": policy.rolls_back_to,
    })
}

fn number(text: &str) -> Result<i64, Answer> {
    text.parse().map_err(|_| Answer::not_found("no policy of this version"))
}

impl From<PolicyError> for Answer {
    fn from(error: PolicyError) -> Self {
        let problem = match &error {
            PolicyError::Refused(refused) => {
                Problem::new(422, "policy-refused", "The policy is refused; what was active stays so")
                    .at(refused.line, refused.column)
            }
            PolicyError::Unreadable(_) => {
                Problem::new(400, "unreadable-policy", "This is neither a signed policy nor packs")
            }
            PolicyError::Signature => {
                Problem::new(403, "bad-signature", "No signature of a policy key verifies")
            }
            PolicyError::ForeignTenant(_) => {
                Problem::new(403, "foreign-tenant", "The policy is another tenant's")
            }
            PolicyError::Missing => Problem::new(404, "not-found", "There is no such thing"),
            PolicyError::Second(_) => Problem::new(403, "second-person", "This takes two people"),
            PolicyError::NotProposed { .. }
            | PolicyError::Replayed { .. }
            | PolicyError::Stale(_)
            | PolicyError::NeverActive(_) => {
                Problem::new(409, "policy-conflict", "The version cannot be changed so")
            }
            PolicyError::Store(_) => Problem::new(500, "internal", "Something broke on our side"),
        };
        match error {
            PolicyError::Store(error) => Self::from(error),
            error => Self(problem.detail(unquoted::words(&error.to_string()))),
        }
    }
}
