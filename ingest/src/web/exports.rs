//! Exports: what was asked for, how far each is, and the files; and the reason that comes first where data is masked.

use askama::Template;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{act, url};

#[derive(Debug, Deserialize)]
struct Exports {
    exports: Vec<Export>,
}

#[derive(Debug, Deserialize)]
struct Export {
    id: String,
    state: String,
    job: bool,
    by: String,
    query: String,
    format: String,
    gzip: bool,
    proofs: bool,
    rows: i64,
    bytes: i64,
    made_at: String,
    ended_at: Option<String>,
    expires_at: Option<String>,
}

impl Export {
    /// Whether there is more to come.
    fn is_under_way(&self) -> bool {
        self.state == "queued" || self.state == "running"
    }

    fn words(&self) -> &'static str {
        match self.state.as_str() {
            "queued" => "waits for its turn",
            "running" => "under way",
            "complete" => "complete",
            "cut_off" => "cut off",
            "expired" => "complete; its file has gone",
            _ => "unknown",
        }
    }

    fn kind(&self) -> String {
        let parts =
            [Some(self.format.as_str()), self.gzip.then_some("gzip"), self.proofs.then_some("proofs")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn search(&self) -> String {
        url::search(&self.query)
    }

    fn api(&self, what: &str) -> String {
        url::under(&["v1", "exports", &self.id, what])
    }
}

#[derive(Debug, Template)]
#[template(path = "exports.html")]
struct ExportsPage {
    frame: Frame,
    who: String,
    is_under_way: bool,
    exports: Vec<Export>,
}

pub(super) async fn list(visitor: Visitor) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().exports().await)?;
    let Exports { mut exports } =
        Exports::deserialize(&told).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    let who = visitor.reader.key.clone();
    // What others searched for may name people.
    for export in exports.iter_mut().filter(|export| export.by != who) {
        export.query = visitor.reader.text(&export.query);
    }
    let frame = Frame::new("Exports", Some(Section::Exports), &visitor.shown);
    let is_under_way = exports.iter().any(Export::is_under_way);
    Ok(page(StatusCode::OK, &ExportsPage { frame, who, is_under_way, exports }))
}

/// Asks for a file that is made in the background.
pub(super) async fn ask(visitor: Visitor, request: Request) -> Result<Response, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let wanted: Map<String, Value> =
        fields.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    visitor.or_failure(visitor.answers().ask_export(&Value::Object(wanted)).await)?;
    Ok(Redirect::to("/exports").into_response())
}

/// Shows the session personal data, and goes back to the search.
pub(super) async fn unmask(visitor: Visitor, request: Request) -> Result<Response, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let of = |name| act::value(&fields, name).unwrap_or_default().trim();
    let wanted = json!({"reason": of("reason"), "minutes": of("minutes").parse::<u8>().ok()});
    visitor.or_failure(visitor.answers().unmask(&wanted).await)?;
    Ok(Redirect::to(&url::search(of("q"))).into_response())
}
