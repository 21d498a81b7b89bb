//! `/v1/access…`: which people may do what in the tenant.

use axum::Json;
use axum::extract::Request;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::Severity;
use shared::problem::Problem;
use uuid::Uuid;

use super::path::Path;
use super::reader::Reader;
use super::{Answer, Shared, body};
use crate::auth::{Notice, Role, Tenure, person};
use crate::clock::random;
use crate::store::access::{self, Grant};
use crate::store::{self, api_keys};
use crate::unquoted;
use crate::view::time;

const LISTED: i64 = 500;

/// A grant as an admin asks for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    who: String,
    role: String,
    expires_at: Option<DateTime<Utc>>,
}

pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let tenant = reader.tenant.as_str();
    let grants = access::grants(&state.store, tenant, LISTED).await?;
    let keys = api_keys::list(&state.store, Some(tenant)).await?;
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| {
            json!({
                "id": key.id,
                "name": key.name,
                "role": key.role,
                "created_at": time(key.created_at),
                "expires_at": key.expires_at.map(time),
                "revoked_at": key.revoked_at.map(time),
            })
        })
        .collect();
    Ok(Json(json!({"grants": grants.iter().map(view).collect::<Vec<_>>(), "api_keys": keys})))
}

pub(super) async fn grant(state: Shared, reader: Reader, request: Request) -> Result<Json<Value>, Answer> {
    let text = body::text(&state, request).await?;
    let unreadable = || Problem::new(400, "unreadable-grant", "This is no grant");
    let wanted: Wanted = body::read(&text, unreadable())?;
    let bad = |name: &str, reason: String| {
        Answer(unreadable().detail(format_args!("{name}: {}", unquoted::reason(&reason))))
    };
    let who = person(&wanted.who).map_err(|reason| bad("who", reason.to_owned()))?;
    let role: Role = wanted.role.parse().map_err(|reason| bad("role", reason))?;
    let now = state.clock.now();
    if wanted.expires_at.is_some_and(|end| end <= now.to_utc()) {
        return Err(bad("expires_at", "is over".to_owned()));
    }
    let tenure =
        Tenure::new(role, wanted.expires_at).map_err(|error| bad("expires_at", error.to_string()))?;
    let grant = Grant {
        grant_id: Uuid::from_bytes(random()),
        tenant: reader.tenant.clone(),
        who,
        tenure,
        granted_by: reader.key.clone(),
        granted_at: now.to_utc(),
        revoked_by: None,
        revoked_at: None,
    };
    record(&state.store, &grant).await?;
    Ok(Json(view(&grant)))
}

/// Grants, and keeps the notice of it.
pub(crate) async fn record(store: &store::Store, grant: &Grant) -> Result<(), store::StoreError> {
    let until = grant.tenure.until().map(time);
    let details = json!({"role": grant.tenure.role().word(), "expires_at": until, "who": grant.who});
    let what = ("grant", grant.grant_id.to_string());
    let notice =
        Notice::new(&grant.tenant, "ACCESS_GRANTED", &grant.granted_by, what, grant.granted_at.into())
            .with(Severity::Critical, details);
    let mut transaction = store.begin().await?;
    access::grant(&mut transaction, grant).await?;
    notice.keep(&mut transaction).await?;
    store::commit(transaction).await
}

pub(super) async fn revoke(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let missing = || Answer::not_found("no grant of this id that stands");
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let now = state.clock.now();
    let mut transaction = state.store.begin().await?;
    let tenant = reader.tenant.as_str();
    let revoked = access::revoke(&mut transaction, tenant, id, &reader.key, now.to_utc()).await?;
    let revoked = revoked.ok_or_else(missing)?;
    let what = ("grant", id.to_string());
    let details = json!({"who": revoked.who, "role": revoked.tenure.role().word()});
    Notice::new(&reader.tenant, "ACCESS_REVOKED", &reader.key, what, now)
        .with(Severity::Critical, details)
        .keep(&mut transaction)
        .await?;
    store::commit(transaction).await?;
    Ok(Json(view(&revoked)))
}

fn view(grant: &Grant) -> Value {
    json!({
        "id": grant.grant_id,
        "who": grant.who,
        "role": grant.tenure.role().word(),
        "expires_at": grant.tenure.until().map(time),
        "granted_by": grant.granted_by,
        "granted_at": time(grant.granted_at),
        "revoked_by": grant.revoked_by,
        "revoked_at": grant.revoked_at.map(time),
    })
}
