//! `/v1/session` and `/v1/sessions`: who is signed in.

use axum::Json;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use shared::event::Severity;
use uuid::Uuid;

use super::path::Path;
use super::reader::{Reader, cookie};
use super::{Answer, Shared};
use crate::auth::{ABSOLUTE, Capability, IDLE, Notice};
use crate::store::{self, access};
use crate::view::time;

const LISTED: i64 = 500;

/// Who asks, and what a page needs to act for them.
pub(super) async fn read(reader: Reader, headers: HeaderMap) -> Json<Value> {
    let csrf = reader.session.and(cookie(&headers)).map(|token| token.csrf());
    let can: Vec<&str> = Capability::ALL
        .into_iter()
        .filter(|capability| reader.role.can(*capability))
        .map(Capability::words)
        .collect();
    Json(json!({
        "tenant": reader.tenant,
        "who": reader.key,
        "role": reader.role.word(),
        "means": reader.means.word(),
        "session": reader.session,
        "masked": reader.is_masked,
        "may": can,
        "csrf": csrf,
    }))
}

/// The tenant's sessions that go on.
pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let now = state.clock.now().to_utc();
    let tenant = reader.tenant.as_str();
    let sessions = access::sessions(&state.store, tenant, now - IDLE, now - ABSOLUTE, LISTED).await?;
    let sessions: Vec<Value> = sessions
        .iter()
        .filter(|session| !session.tenure.is_over(now))
        .map(|session| {
            json!({
                "id": session.session_id,
                "who": session.who,
                "role": session.tenure.role().word(),
                "means": session.means,
                "ip": session.address.map(|address| address.ip()),
                "started_at": time(session.started_at),
                "seen_at": time(session.seen_at),
                "unmasked_until": session.unmasked_until.map(time),
                "current": Some(session.session_id) == reader.session,
            })
        })
        .collect();
    Ok(Json(json!({"sessions": sessions})))
}

/// Ends a session: one's own, or for admins any of the tenant.
pub(super) async fn revoke(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let missing = || Answer::not_found("no session of this id that goes on");
    let id: Uuid = id.parse().map_err(|_| missing())?;
    if reader.session != Some(id) {
        reader.require(Capability::Access)?;
    }
    if end(&state, &reader, id, "SESSION_REVOKED").await? {
        Ok(Json(json!({"revoked": id})))
    } else {
        Err(missing())
    }
}

/// Ends a session, with the event of it; false if it does not go on.
pub(super) async fn end(
    state: &Shared,
    reader: &Reader,
    session: Uuid,
    action: &str,
) -> Result<bool, Answer> {
    let now = state.clock.now();
    let mut transaction = state.store.begin().await?;
    let tenant = reader.tenant.as_str();
    let ended = access::end_session(&mut transaction, tenant, session, &reader.key, now.to_utc()).await?;
    if ended {
        Notice::new(&reader.tenant, action, &reader.key, ("session", session.to_string()), now)
            .with(Severity::Info, json!({"means": reader.means.word()}))
            .keep(&mut transaction)
            .await?;
    }
    store::commit(transaction).await?;
    Ok(ended)
}
