//! Pages that show one answer as tables: what is covered, what is not, what was checked, what arrived.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::search::TextField;

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{term, url};
use crate::api::Answer;

/// Reads an answer.
fn read<T: DeserializeOwned>(visitor: &Visitor, told: Result<Value, Answer>) -> Result<T, Failure> {
    let told = visitor.or_failure(told)?;
    T::deserialize(told).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))
}

#[derive(Debug, Deserialize)]
struct Coverage {
    routes: Vec<Route>,
    more: bool,
    totals: Totals,
}

#[derive(Debug, Deserialize)]
struct Route {
    host: String,
    method: String,
    route: String,
    #[serde(default)]
    mapped: bool,
    count: i64,
    last_seen: String,
    example: Option<String>,
    accepted_in: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Totals {
    #[serde(flatten)]
    all: Figures,
    hosts: BTreeMap<String, Figures>,
}

#[derive(Debug, Deserialize)]
struct Figures {
    requests: i64,
    requests_unmapped: i64,
    requests_unlisted: i64,
    routes_mapped: i64,
    routes_unmapped: i64,
    percent_mapped: Option<f64>,
}

#[derive(Debug, Template)]
#[template(path = "coverage.html")]
struct CoveragePage {
    frame: Frame,
    coverage: Coverage,
}

pub(super) async fn coverage(visitor: Visitor) -> Result<Response, Failure> {
    let coverage = read(&visitor, visitor.answers().coverage().await)?;
    let frame = Frame::new("Coverage", Some(Section::Coverage), &visitor.shown);
    Ok(page(StatusCode::OK, &CoveragePage { frame, coverage }))
}

#[derive(Debug, Deserialize)]
struct Inbox {
    inbox: Vec<Route>,
}

#[derive(Debug, Template)]
#[template(path = "inbox.html")]
struct InboxPage {
    frame: Frame,
    routes: Vec<Route>,
}

impl Route {
    /// The search for its events.
    fn search(&self) -> String {
        let terms = [term::text(TextField::Host, &self.host), term::text(TextField::Route, &self.route)];
        let terms: Vec<String> = terms.into_iter().flatten().collect();
        url::search(&format!("is:unmapped {}", terms.join(" ")))
    }
}

pub(super) async fn inbox(visitor: Visitor) -> Result<Response, Failure> {
    let Inbox { inbox: routes } = read(&visitor, visitor.answers().inbox().await)?;
    let frame = Frame::new("Inbox", Some(Section::Inbox), &visitor.shown);
    Ok(page(StatusCode::OK, &InboxPage { frame, routes }))
}

#[derive(Debug, Deserialize)]
struct Integrity {
    sound: bool,
    logs: Vec<Log>,
    findings: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Log {
    log_id: String,
    size: i64,
    published_size: i64,
    signing: String,
    checks: BTreeMap<String, Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    log_id: String,
    kind: String,
    finished_at: String,
    verified_to: i64,
    open: i64,
    erased: i64,
    dropped: i64,
    unexplained: i64,
    mismatched: i64,
    finding: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "integrity.html")]
struct IntegrityPage {
    frame: Frame,
    integrity: Integrity,
}

pub(super) async fn integrity(visitor: Visitor) -> Result<Response, Failure> {
    let integrity = read(&visitor, visitor.answers().integrity().await)?;
    let frame = Frame::new("Integrity", Some(Section::Integrity), &visitor.shown);
    Ok(page(StatusCode::OK, &IntegrityPage { frame, integrity }))
}

#[derive(Debug, Deserialize)]
struct Streams {
    streams: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    stream: String,
    state: String,
    tail: String,
    first_at: String,
    last_at: String,
    batches: i64,
    events: i64,
    dropped: i64,
    gaps: Vec<Gap>,
}

#[derive(Debug, Deserialize)]
struct Gap {
    first_seq: i64,
    last_seq: i64,
    state: String,
}

#[derive(Debug, Template)]
#[template(path = "streams.html")]
struct StreamsPage {
    frame: Frame,
    streams: Vec<Stream>,
}

pub(super) async fn streams(visitor: Visitor) -> Result<Response, Failure> {
    let Streams { streams } = read(&visitor, visitor.answers().streams().await)?;
    let frame = Frame::new("Arrivals", Some(Section::Streams), &visitor.shown);
    Ok(page(StatusCode::OK, &StreamsPage { frame, streams }))
}
