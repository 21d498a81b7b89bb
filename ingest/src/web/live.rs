//! What happens now: rows as they come.

use askama::Template;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::event::{Event, Row};
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::url;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
}

#[derive(Debug, Template)]
#[template(path = "live.html")]
struct LivePage {
    frame: Frame,
    q: String,
    rows: String,
    search: String,
}

pub(super) async fn show(visitor: Visitor, Query(asked): Query<Asked>) -> Response {
    let q = asked.q.trim().to_owned();
    let frame = Frame::new("Live", Some(Section::Live), &visitor.shown);
    let (rows, search) = (url::with("/live/rows", &[("q", &q)]), url::search(&q));
    page(StatusCode::OK, &LivePage { frame, q, rows, search })
}

/// The stream behind the page: each event is a row, as a JSON text.
pub(super) async fn rows(visitor: Visitor, headers: HeaderMap, Query(asked): Query<Asked>) -> Response {
    visitor.answers().live(&headers, &[("q", asked.q.trim())], row).await.into_response()
}

fn row(told: &Value) -> Option<String> {
    let html = Row::new(Event::deserialize(told).ok()?).render().ok()?;
    Some(Value::from(html).to_string())
}
