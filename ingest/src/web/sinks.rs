//! Streams: where events are forwarded to, how each does, and the forms to make, change, pause and repeat one.

use askama::Template;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{act, url};
use crate::api::Answer;
use crate::auth::Capability;

/// Fields of the form that are texts of the API.
const TEXTS: [&str; 10] =
    ["name", "kind", "query", "url", "address", "format", "endpoint", "region", "access_key_id", "secret"];

#[derive(Debug, Deserialize)]
struct Sinks {
    sinks: Vec<Sink>,
}

#[derive(Debug, Deserialize)]
struct Sink {
    id: String,
    name: String,
    kind: String,
    settings: Settings,
    has_secret: bool,
    query: Option<String>,
    max_event_bytes: i32,
    made_by: String,
    made_at: String,
    health: Health,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    url: Option<String>,
    address: Option<String>,
    format: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    access_key_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Health {
    state: String,
    sent: i64,
    attempts_failed: i64,
    failing_since: Option<String>,
    next_attempt_at: Option<String>,
    last_success_at: Option<String>,
    last_error: Option<String>,
    last_error_at: Option<String>,
    lag_events: i64,
    lag_seconds: i64,
    oldest_waiting_at: Option<String>,
}

impl Sink {
    fn page(&self) -> String {
        url::under(&["sinks", &self.id])
    }

    fn act(&self, what: &str) -> String {
        url::under(&["sinks", &self.id, what])
    }

    /// Where it leads.
    fn to(&self) -> &str {
        self.settings.url.as_deref().or(self.settings.address.as_deref()).unwrap_or_default()
    }

    /// Its address for the form; what is not shown whole is written anew.
    fn writable_url(&self) -> &str {
        self.settings.url.as_deref().filter(|url| !url.contains('?')).unwrap_or_default()
    }

    fn is_paused(&self) -> bool {
        self.health.state == "paused"
    }

    /// How its events are told, in words.
    fn words(&self) -> &'static str {
        match self.kind.as_str() {
            "webhook" => "signed webhook",
            "syslog" => "syslog over TLS",
            "cef" => "CEF over TLS",
            "ocsf" => "OCSF over HTTPS",
            "objects" => "NDJSON in object storage",
            _ => "OTLP logs",
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "sinks.html")]
struct SinksPage {
    frame: Frame,
    may_change: bool,
    sinks: Vec<Sink>,
}

#[derive(Debug, Template)]
#[template(path = "sink.html")]
struct SinkPage {
    frame: Frame,
    may_change: bool,
    sink: Sink,
    /// A secret that was made for it, shown once.
    secret: Option<String>,
    /// What became of a message that tried it out.
    said: Option<String>,
}

pub(super) async fn list(visitor: Visitor) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().sinks().await)?;
    let Sinks { sinks } =
        Sinks::deserialize(&told).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    let frame = Frame::new("Streams", Some(Section::Sinks), &visitor.shown);
    Ok(page(StatusCode::OK, &SinksPage { frame, may_change: may_change(&visitor), sinks }))
}

pub(super) async fn show(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    let told = visitor.answers().sink(&id).await;
    shown(&visitor, told, None)
}

pub(super) async fn create(visitor: Visitor, request: Request) -> Result<Response, Failure> {
    let wanted = wanted(&visitor, request).await?;
    let told = visitor.or_failure(visitor.answers().create_sink(&wanted).await)?;
    // A secret is shown in this answer, or never.
    if told["secret"].is_string() {
        return shown(&visitor, Ok(told), None);
    }
    Ok(Redirect::to("/sinks").into_response())
}

pub(super) async fn change(
    visitor: Visitor,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let mut wanted = wanted(&visitor, request).await?;
    let known = visitor.or_failure(visitor.answers().sink(&id).await)?;
    wanted["kind"] = known["kind"].clone();
    visitor.or_failure(visitor.answers().change_sink(&id, &wanted).await)?;
    Ok(Redirect::to(&url::under(&["sinks", &id])).into_response())
}

pub(super) async fn act(
    visitor: Visitor,
    Path((id, what)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let answers = visitor.answers();
    match what.as_str() {
        "pause" => visitor.or_failure(answers.pause_sink(&id).await)?,
        "resume" => visitor.or_failure(answers.resume_sink(&id).await)?,
        "replay" => {
            let fields = visitor.or_failure(act::form(request).await)?;
            let from = act::value(&fields, "from").unwrap_or_default().trim();
            visitor.or_failure(answers.replay_sink(&id, &json!({"from": moment(from)})).await)?
        }
        "remove" => {
            visitor.or_failure(answers.remove_sink(&id).await)?;
            return Ok(Redirect::to("/sinks").into_response());
        }
        "test" => {
            let told = visitor.or_failure(answers.test_sink(&id).await)?;
            let said = match told["error"].as_str() {
                Some(error) => format!("The message did not arrive: {error}."),
                None => "The message arrived.".to_owned(),
            };
            return shown(&visitor, answers.sink(&id).await, Some(said));
        }
        _ => return Err(Failure::new(Answer::not_found("no such act"), visitor.shown.clone())),
    };
    Ok(Redirect::to(&url::under(&["sinks", &id])).into_response())
}

fn shown(visitor: &Visitor, told: Result<Value, Answer>, said: Option<String>) -> Result<Response, Failure> {
    let told = visitor.or_failure(told)?;
    let sink =
        Sink::deserialize(&told).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    let frame = Frame::new(sink.name.clone(), Some(Section::Sinks), &visitor.shown);
    let secret = told["secret"].as_str().map(str::to_owned);
    let may_change = may_change(visitor);
    Ok(page(StatusCode::OK, &SinkPage { frame, may_change, sink, secret, said }))
}

fn may_change(visitor: &Visitor) -> bool {
    visitor.reader.role.can(Capability::Sinks)
}

/// The form's fields that are filled in, as the API takes them.
async fn wanted(visitor: &Visitor, request: Request) -> Result<Value, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let filled = |name: &str| act::value(&fields, name).map(str::trim).filter(|value| !value.is_empty());
    let mut wanted: Map<String, Value> =
        TEXTS.iter().filter_map(|name| Some(((*name).to_owned(), filled(name)?.into()))).collect();
    if let Some(bytes) = filled("max_event_bytes") {
        // What is no number is refused by the API, which names the field.
        let bytes = bytes.parse::<i32>().unwrap_or(0);
        wanted.insert("max_event_bytes".to_owned(), bytes.into());
    }
    Ok(Value::Object(wanted))
}

/// A time as browsers send it, in UTC and with or without seconds, as the API takes it.
fn moment(text: &str) -> String {
    match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_form_is_one_of_utc() {
        assert_eq!(moment("2026-09-21T10:00"), "2026-09-21T10:00:00Z");
        assert_eq!(moment("2026-09-21T10:00:30"), "2026-09-21T10:00:30Z");
        assert_eq!(moment("2026-09-21T10:00:00+02:00"), "2026-09-21T10:00:00+02:00");
    }
}
