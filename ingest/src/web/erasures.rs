//! Requests to erase a person's data, and the second person who consents to them.

use askama::Template;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{act, url};

#[derive(Debug, Deserialize)]
struct Erasures {
    erasures: Vec<Erasure>,
}

#[derive(Debug, Deserialize)]
struct Erasure {
    id: String,
    mode: String,
    legal_basis: Option<String>,
    state: String,
    subject: Option<String>,
    pseudonym: Option<String>,
    requested_by: String,
    requested_at: String,
    approved_by: Option<String>,
    not_before: Option<String>,
    carried_out_at: Option<String>,
    closed_by: Option<String>,
}

impl Erasure {
    fn action(&self, verb: &str) -> String {
        url::under(&["erasures", &self.id, verb])
    }
}

#[derive(Debug, Template)]
#[template(path = "erasures.html")]
struct ErasuresPage {
    frame: Frame,
    erasures: Vec<Erasure>,
}

pub(super) async fn list(visitor: Visitor) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().erasures().await)?;
    let Erasures { erasures } =
        Erasures::deserialize(&told).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    let frame = Frame::new("Erasures", Some(Section::Erasures), &visitor.shown);
    Ok(page(StatusCode::OK, &ErasuresPage { frame, erasures }))
}

pub(super) async fn request(visitor: Visitor, request: Request) -> Result<Response, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let of = |name| act::value(&fields, name).unwrap_or_default().trim();
    let emails: Vec<&str> = of("emails").split([',', ' ']).filter(|email| !email.is_empty()).collect();
    let wanted = json!({"mode": of("mode"), "legal_basis": of("legal_basis"), "emails": emails});
    visitor.or_failure(visitor.answers().erase(of("subject"), &wanted).await)?;
    Ok(Redirect::to("/erasures").into_response())
}

pub(super) async fn approve(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().approve_erasure(&id).await)?;
    Ok(Redirect::to("/erasures").into_response())
}

pub(super) async fn cancel(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().cancel_erasure(&id).await)?;
    Ok(Redirect::to("/erasures").into_response())
}
