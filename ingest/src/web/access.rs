//! Who may do what: grants, keys by their names, and who is signed in; and the forms to grant and to revoke.

use askama::Template;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{act, url};
use crate::auth::{Capability, Role};

#[derive(Debug, Deserialize)]
struct Access {
    grants: Vec<Grant>,
    api_keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
struct Grant {
    id: String,
    who: String,
    role: String,
    expires_at: Option<String>,
    granted_by: String,
    granted_at: String,
    revoked_by: Option<String>,
    revoked_at: Option<String>,
}

impl Grant {
    fn revoke(&self) -> String {
        url::under(&["access", &self.id, "revoke"])
    }
}

/// A key; nobody can read the key itself.
#[derive(Debug, Deserialize)]
struct Key {
    id: String,
    name: String,
    role: String,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sessions {
    sessions: Vec<Session>,
}

#[derive(Debug, Deserialize)]
struct Session {
    id: String,
    who: String,
    role: String,
    means: String,
    ip: Option<String>,
    started_at: String,
    seen_at: String,
    unmasked_until: Option<String>,
    current: bool,
}

impl Session {
    fn end(&self) -> String {
        url::under(&["access", "sessions", &self.id, "end"])
    }
}

#[derive(Debug, Template)]
#[template(path = "access.html")]
struct AccessPage {
    frame: Frame,
    access: Access,
    sessions: Vec<Session>,
    roles: [Role; 4],
    may_change: bool,
}

pub(super) async fn list(visitor: Visitor) -> Result<Response, Failure> {
    let answers = visitor.answers();
    let told = tokio::try_join!(answers.access(), answers.sessions());
    let (access, sessions) = visitor.or_failure(told)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let Sessions { sessions } = Sessions::deserialize(&sessions).map_err(unreadable)?;
    let found = AccessPage {
        frame: Frame::new("Access", Some(Section::Access), &visitor.shown),
        access: Access::deserialize(&access).map_err(unreadable)?,
        sessions,
        roles: Role::ALL,
        may_change: visitor.reader.role.can(Capability::Access),
    };
    Ok(page(StatusCode::OK, &found))
}

pub(super) async fn grant(visitor: Visitor, request: Request) -> Result<Response, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let of = |name| act::value(&fields, name).unwrap_or_default().trim();
    // A form gives a day; access ends with it.
    let end = match of("until") {
        "" => Value::Null,
        day => Value::from(format!("{day}T23:59:59Z")),
    };
    let wanted = json!({"who": of("who"), "role": of("role"), "expires_at": end});
    visitor.or_failure(visitor.answers().grant(&wanted).await)?;
    Ok(Redirect::to("/access").into_response())
}

pub(super) async fn revoke(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().revoke_grant(&id).await)?;
    Ok(Redirect::to("/access").into_response())
}

pub(super) async fn end_session(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().end_session(&id).await)?;
    Ok(Redirect::to("/access").into_response())
}
