//! `POST /v1/events/{id}/unmask` and `POST /v1/session/unmask`: personal data for a reason, which is on record before anything
//! is shown.

use axum::Json;
use axum::extract::Request;
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::{Severity, Timestamp};
use shared::problem::Problem;
use uuid::Uuid;

use super::events::window;
use super::path::Path;
use super::reader::{Reader, reason_of};
use super::{Answer, Shared, body};
use crate::auth::Notice;
use crate::store::{self, access, events};
use crate::view::{time, view};

const DEFAULT_MINUTES: u8 = 15;
const MAX_MINUTES: u8 = 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reason: String,
    minutes: Option<u8>,
}

/// One event as it is.
pub(super) async fn event(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Answer> {
    let missing = || Answer::not_found("no event of this id");
    let asked: Asked = body::object(&state, request).await?;
    if asked.minutes.is_some() {
        return Err(Answer::parameter("minutes", "is for a session"));
    }
    let reason = reason_of(&asked.reason)?;
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let (from, to) = window(&state, id).ok_or_else(missing)?;
    let found =
        events::find(&state.store, reader.tenant.as_str(), id, from, to).await?.ok_or_else(missing)?;
    let notice = Notice::new(
        &reader.tenant,
        "EVENT_UNMASKED",
        &reader.key,
        ("event", id.to_string()),
        state.clock.now(),
    )
    .with(Severity::Warning, json!({"reason": reason}));
    let mut transaction = state.store.begin().await?;
    notice.keep(&mut transaction).await?;
    store::commit(transaction).await?;
    Ok(Json(view(&found)?))
}

/// Everything that this session reads, for some minutes.
pub(super) async fn session(state: Shared, reader: Reader, request: Request) -> Result<Json<Value>, Answer> {
    let asked: Asked = body::object(&state, request).await?;
    let reason = reason_of(&asked.reason)?;
    let minutes = asked.minutes.unwrap_or(DEFAULT_MINUTES);
    if !(1..=MAX_MINUTES).contains(&minutes) {
        return Err(Answer::parameter("minutes", format!("is not 1 to {MAX_MINUTES}")));
    }
    let session = reader.session.ok_or_else(|| {
        let problem = Problem::new(409, "no-session", "Only a session is unmasked for a time");
        Answer(problem.detail("with a key, send the reason in x-unmask-reason along with each request"))
    })?;
    let now = state.clock.now();
    let until = now.to_utc() + TimeDelta::minutes(i64::from(minutes));
    let what = ("session", session.to_string());
    let details = json!({"reason": reason, "until": Timestamp::from(until).to_string()});
    let notice = Notice::new(&reader.tenant, "PERSONAL_DATA_UNMASKED", &reader.key, what, now)
        .with(Severity::Warning, details);
    let mut transaction = state.store.begin().await?;
    access::unmask(&mut transaction, session, until).await?;
    notice.keep(&mut transaction).await?;
    store::commit(transaction).await?;
    Ok(Json(json!({"unmasked_until": time(until)})))
}
