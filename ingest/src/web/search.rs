//! The search page: what was understood of the text, counts over time, what narrows it down, and the events.

mod text;

pub(super) use self::text::{between, timeless};

use askama::Template;
use axum::Json;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::search::{self, Expr};

use self::text::{Chip, Piece};
use super::chart::{Chart, Split};
use super::event::Row;
use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::saved::SavedSearch;
use super::{term, url};
use crate::auth::Capability;

/// Values of each facet.
const TOP: &str = "6";
/// Buckets of the chart: a bar is 10 to 20 pixels wide.
const BUCKETS: &str = "60";
const FACETS: &str = "action,actor,entity,severity,outcome,trust,country,host,rule,status";
/// Windows that are offered.
const WINDOWS: [(&str, &str); 5] =
    [("24 hours", "24h"), ("7 days", "7d"), ("30 days", "30d"), ("90 days", "90d"), ("1 year", "365d")];

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    cursor: String,
}

#[derive(Debug, Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    q: String,
    pieces: Vec<Piece>,
    wrong: Vec<Wrong>,
    chips: Vec<Chip>,
    windows: Vec<Window>,
    window: Span,
    notice: Option<String>,
    chart: Chart,
    facets: Vec<Facet>,
    rows: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
    live: String,
    saved: Vec<SavedSearch>,
    export: Option<ExportForm>,
}

/// What somebody may take away who may export at all.
#[derive(Debug)]
struct ExportForm {
    /// Whether a reason comes first.
    is_masked: bool,
    with_proofs: bool,
}

/// A part that was not understood.
#[derive(Debug)]
struct Wrong {
    message: String,
    /// The search with what may be meant.
    meant: Option<(String, String)>,
}

#[derive(Debug)]
struct Window {
    name: &'static str,
    url: String,
}

/// The window that was looked through.
#[derive(Debug, Deserialize)]
struct Span {
    from: String,
    to: Option<String>,
    default: bool,
}

#[derive(Debug)]
struct Facet {
    name: String,
    values: Vec<FacetValue>,
    other: i64,
}

#[derive(Debug)]
struct FacetValue {
    text: String,
    count: i64,
    narrower: Option<String>,
    without: Option<String>,
}

pub(super) async fn show(visitor: Visitor, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let q = asked.q.trim();
    let answers = visitor.answers();
    let mut of_page = vec![("q", q)];
    if !asked.cursor.is_empty() {
        of_page.push(("cursor", &*asked.cursor));
    }
    let (of_chart, of_facets) =
        ([("q", q), ("buckets", BUCKETS)], [("q", q), ("top", TOP), ("fields", FACETS)]);
    let told = tokio::try_join!(
        answers.events(&of_page),
        answers.histogram(&of_chart),
        answers.facets(&of_facets),
        answers.saved_searches()
    );
    let (events, histogram, facets, saved) = visitor.or_failure(told)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let parsed = search::parse(q);
    let next = events["next_cursor"].as_str();
    let title = if q.is_empty() { "Search".to_owned() } else { q.to_owned() };
    let search = SearchPage {
        frame: Frame::new(title, Some(Section::Search), &visitor.shown),
        pieces: text::pieces(q, &parsed.diagnostics),
        wrong: parsed.diagnostics.iter().map(|told| wrong(q, told)).collect(),
        chips: text::chips(q, &parsed.chips),
        windows: WINDOWS.map(|(name, last)| Window { name, url: url::search(&text::within(q, last)) }).into(),
        window: Span::deserialize(&events["window"]).map_err(unreadable)?,
        notice: events["notice"].as_str().map(str::to_owned),
        chart: Chart::read(q, &histogram, Split::Outcome).map_err(unreadable)?,
        facets: FACETS.split(',').filter_map(|name| facet(q, name, &facets["facets"][name])).collect(),
        rows: Row::list(&events["events"]).map_err(unreadable)?,
        first: (!asked.cursor.is_empty()).then(|| url::search(q)),
        next: next.map(|cursor| url::with("/", &[("q", q), ("cursor", cursor)])),
        live: url::with("/live", &[("q", q)]),
        saved: SavedSearch::list(&saved).map_err(unreadable)?,
        export: visitor.reader.role.can(Capability::Export).then(|| ExportForm {
            is_masked: visitor.reader.is_masked,
            with_proofs: visitor.reader.role.can(Capability::Openings),
        }),
        q: q.to_owned(),
    };
    Ok(page(StatusCode::OK, &search))
}

fn wrong(q: &str, told: &search::Diagnostic) -> Wrong {
    let meant = told.suggestion.as_ref().and_then(|word| {
        let (before, after) = (q.get(..told.start)?, q.get(told.end..)?);
        Some((word.clone(), url::search(&format!("{before}{word}{after}"))))
    });
    Wrong { message: told.message.clone(), meant }
}

fn facet(q: &str, name: &str, told: &Value) -> Option<Facet> {
    let values: Vec<FacetValue> =
        told["values"].as_array()?.iter().map(|value| facet_value(q, value)).collect();
    (!values.is_empty()).then(|| Facet {
        name: name.to_owned(),
        values,
        other: told["other"].as_i64().unwrap_or_default(),
    })
}

fn facet_value(q: &str, told: &Value) -> FacetValue {
    let term = term::of_facet(told);
    let link = |term: &Expr| url::search(&search::add(q, term));
    let text = told["label"].as_str().or(told["value"].as_str()).unwrap_or("(none)");
    FacetValue {
        text: text.to_owned(),
        count: told["count"].as_i64().unwrap_or_default(),
        narrower: term.as_ref().map(link),
        without: term.map(|term| link(&term.negated())),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Written {
    q: String,
    at: usize,
}

/// What the word at a place of the text could become. It tells of the grammar alone, so anybody may ask.
pub(super) async fn complete(Query(written): Query<Written>) -> Json<Value> {
    let completion = search::complete(&written.q, written.at);
    Json(json!({"start": completion.start, "end": completion.end, "words": completion.words}))
}
