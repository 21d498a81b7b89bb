//! Legal holds: what is kept whatever its age, and the forms to place and release one.

use askama::Template;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{act, url};

/// What a hold can be placed on.
const FIELDS: [&str; 5] = ["reason", "entity_type", "entity_id", "actor_id", "action"];

#[derive(Debug, Deserialize)]
struct Holds {
    holds: Vec<Hold>,
}

#[derive(Debug, Deserialize)]
struct Hold {
    id: String,
    reason: String,
    entity_type: Option<String>,
    entity_id: Option<String>,
    actor_id: Option<String>,
    action: Option<String>,
    from: Option<String>,
    to: Option<String>,
    placed_by: String,
    placed_at: String,
    released_by: Option<String>,
    released_at: Option<String>,
}

impl Hold {
    fn release(&self) -> String {
        url::under(&["holds", &self.id, "release"])
    }

    /// What it covers, in words.
    fn covers(&self) -> String {
        let entity = self.entity_type.as_ref().map(|kind| match &self.entity_id {
            Some(id) => format!("{kind} {id}"),
            None => format!("every {kind}"),
        });
        let parts = [
            entity.or_else(|| self.entity_id.as_ref().map(|id| format!("entity {id}"))),
            self.actor_id.as_ref().map(|actor| format!("acts of {actor}")),
            self.action.as_ref().map(|action| format!("action {action}")),
            self.from.as_ref().map(|from| format!("from {}", super::time::short(from))),
            self.to.as_ref().map(|to| format!("until {}", super::time::short(to))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Template)]
#[template(path = "holds.html")]
struct HoldsPage {
    frame: Frame,
    holds: Vec<Hold>,
}

pub(super) async fn list(visitor: Visitor) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().holds().await)?;
    let Holds { holds } =
        Holds::deserialize(&told).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    let frame = Frame::new("Holds", Some(Section::Holds), &visitor.shown);
    Ok(page(StatusCode::OK, &HoldsPage { frame, holds }))
}

pub(super) async fn place(visitor: Visitor, request: Request) -> Result<Response, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let given = FIELDS.into_iter().filter_map(|name| {
        let value = act::value(&fields, name)?.trim();
        (!value.is_empty()).then(|| (name.to_owned(), Value::from(value)))
    });
    let wanted = Value::Object(given.collect::<Map<_, _>>());
    visitor.or_failure(visitor.answers().place_hold(&wanted).await)?;
    Ok(Redirect::to("/holds").into_response())
}

pub(super) async fn release(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().release_hold(&id).await)?;
    Ok(Redirect::to("/holds").into_response())
}
