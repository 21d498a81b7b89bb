//! `/v1/holds…`: legal holds, which keep what they cover whatever its age.

use axum::Json;
use axum::extract::Request;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::{Action, EntityType};
use shared::problem::Problem;
use uuid::Uuid;

use super::path::Path;
use super::reader::{Admin, Reader};
use super::{Answer, Shared, body};
use crate::store::holds::{self, Hold};
use crate::view::time;

const LISTED: i64 = 500;
/// Of a reason, and of an id.
const MAX_TEXT: usize = 500;

/// A hold as an admin asks for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    reason: String,
    entity_type: Option<String>,
    entity_id: Option<String>,
    actor_id: Option<String>,
    action: Option<String>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

impl Wanted {
    fn checked(self, by: &str, at: DateTime<Utc>) -> Result<Hold, (&'static str, String)> {
        let text = |name: &'static str, text: Option<String>| match text {
            Some(text) if text.trim().is_empty() || text.len() > MAX_TEXT => {
                Err((name, format!("is empty or longer than {MAX_TEXT} bytes")))
            }
            Some(text) if text.contains('\0') => Err((name, "holds a NUL".to_owned())),
            text => Ok(text),
        };
        let reason = text("reason", Some(self.reason))?.unwrap_or_default();
        let entity_type = self.entity_type.map(EntityType::try_from).transpose();
        let entity_type = entity_type.map_err(|error| ("entity_type", error.to_string()))?.map(String::from);
        let action =
            self.action.map(|word| action(&word)).transpose().map_err(|reason| ("action", reason))?;
        if self.from.zip(self.to).is_some_and(|(from, to)| from >= to) {
            return Err(("to", "is not after from".to_owned()));
        }
        Ok(Hold {
            hold_id: Uuid::from_bytes(crate::clock::random()),
            reason,
            entity_type,
            entity_id: text("entity_id", self.entity_id)?,
            actor_id: text("actor_id", self.actor_id)?,
            action,
            from_at: self.from,
            to_at: self.to,
            placed_by: by.to_owned(),
            placed_at: at,
            released_by: None,
            released_at: None,
        })
    }
}

/// An action, or the beginning of some with `*` after it, in capitals.
fn action(word: &str) -> Result<String, String> {
    let word = word.trim().to_ascii_uppercase();
    let (stem, star) = word.strip_suffix('*').map_or((word.as_str(), ""), |stem| (stem, "*"));
    let stem = Action::try_from(stem.to_owned()).map(String::from).map_err(|error| error.to_string())?;
    Ok(stem + star)
}

pub(super) async fn list(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let all = holds::list(&state.store, reader.tenant.as_str(), LISTED).await?;
    Ok(Json(json!({"holds": all.iter().map(view).collect::<Vec<_>>()})))
}

pub(super) async fn place(state: Shared, admin: Admin, request: Request) -> Result<Json<Value>, Answer> {
    let text = body::text(&state, request).await?;
    let unreadable = || Problem::new(400, "unreadable-hold", "This is no hold");
    let wanted: Wanted = body::read(&text, unreadable())?;
    let hold = wanted
        .checked(&admin.0.key, state.clock.now().to_utc())
        .map_err(|(name, reason)| Answer(unreadable().detail(format_args!("{name}: {reason}"))))?;
    let hold = state.retention.hold(admin.who(), hold).await?;
    Ok(Json(view(&hold)))
}

pub(super) async fn release(
    state: Shared,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let id = id.parse().map_err(|_| Answer::not_found("no hold of this id"))?;
    let hold = state.retention.release(admin.who(), id).await?;
    Ok(Json(view(&hold)))
}

fn view(hold: &Hold) -> Value {
    json!({
        "id": hold.hold_id,
        "reason": hold.reason,
        "entity_type": hold.entity_type,
        "entity_id": hold.entity_id,
        "actor_id": hold.actor_id,
        "action": hold.action,
        "from": hold.from_at.map(time),
        "to": hold.to_at.map(time),
        "placed_by": hold.placed_by,
        "placed_at": time(hold.placed_at),
        "released_by": hold.released_by,
        "released_at": hold.released_at.map(time),
    })
}
