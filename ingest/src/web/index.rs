//! Where to begin: which entities and which actors there are.

use std::collections::HashMap;

use askama::Template;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::Value;

use super::event::{Entity, Event};
use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::ranking::Ranking;
use super::reader::Visitor;
use super::{term, url};

const WINDOW: &str = "last:30d";
/// Events that are looked at for the entities which they touched: a page of the API.
const NEWEST: &str = "200";
const SHOWN: usize = 25;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    id: String,
}

/// An entity that was touched.
#[derive(Debug)]
struct Touched {
    kind: String,
    id: String,
    name: Option<String>,
    last: String,
    /// How often, among the events that were looked at.
    events: usize,
}

impl Touched {
    fn url(&self) -> String {
        url::under(&["entities", &self.kind, &self.id])
    }
}

#[derive(Debug, Template)]
#[template(path = "entities.html")]
struct EntitiesPage {
    frame: Frame,
    kind: String,
    kinds: Ranking,
    all: Vec<Kind>,
    newest: Vec<Touched>,
    looked_at: usize,
}

/// A type of entity, as the list can be narrowed to it.
#[derive(Debug)]
struct Kind {
    name: String,
    url: String,
}

pub(super) async fn entities(visitor: Visitor, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let (kind, id) = (asked.kind.trim(), asked.id.trim());
    if !kind.is_empty() && !id.is_empty() {
        return Ok(Redirect::to(&url::under(&["entities", kind, id])).into_response());
    }
    let of_kind = if kind.is_empty() { None } else { term::entity(kind, None) };
    // The server's own records, exports and sessions are there for who asks for them.
    let q = format!("{} {WINDOW}", of_kind.as_deref().unwrap_or("has:entity -is:own"));
    let answers = visitor.answers();
    let (of_facets, of_events) =
        ([("q", WINDOW), ("fields", "entity"), ("top", "50")], [("q", &*q), ("limit", NEWEST)]);
    let told = tokio::try_join!(answers.facets(&of_facets), answers.events(&of_events));
    let (facets, events) = visitor.or_failure(told)?;
    let events = Vec::<Event>::deserialize(&events["events"])
        .map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    let told = &facets["facets"]["entity"];
    let values = told["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = values.iter().filter_map(|value| value["value"].as_str());
    let found = EntitiesPage {
        frame: Frame::new("Entities", Some(Section::Entities), &visitor.shown),
        kind: kind.to_owned(),
        kinds: Ranking::read("Types", WINDOW, told),
        all: names
            .map(|name| Kind { name: name.to_owned(), url: url::with("/entities", &[("kind", name)]) })
            .collect(),
        newest: touched(&events),
        looked_at: events.len(),
    };
    Ok(page(StatusCode::OK, &found))
}

/// The entities of events that are newest first, each once.
fn touched(events: &[Event]) -> Vec<Touched> {
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    let mut all: Vec<Touched> = Vec::new();
    for event in events {
        let Some(Entity { kind, id: Some(id), name }) = &event.entity else { continue };
        let place = *places.entry((kind, id)).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => {
                known.events += 1;
                known.name = known.name.take().or_else(|| name.clone());
            }
            None => all.push(Touched {
                kind: kind.clone(),
                id: id.clone(),
                name: name.clone(),
                last: event.occurred_at.clone(),
                events: 1,
            }),
        }
    }
    all.truncate(SHOWN);
    all
}

#[derive(Debug, Template)]
#[template(path = "actors.html")]
struct ActorsPage {
    frame: Frame,
    actors: Vec<Known>,
    by_trust: Ranking,
    by_country: Ranking,
}

/// An actor and how much they did.
#[derive(Debug)]
struct Known {
    text: String,
    url: Option<String>,
    search: Option<String>,
    events: i64,
}

pub(super) async fn actors(visitor: Visitor, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let id = asked.id.trim();
    if !id.is_empty() {
        return Ok(Redirect::to(&url::under(&["actors", id])).into_response());
    }
    let answers = visitor.answers();
    let asked = [("q", WINDOW), ("fields", "actor,trust,country"), ("top", "50")];
    let told = visitor.or_failure(answers.facets(&asked).await)?;
    let facets = &told["facets"];
    let values = facets["actor"]["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = ActorsPage {
        frame: Frame::new("Actors", Some(Section::Actors), &visitor.shown),
        actors: values.iter().filter_map(known).collect(),
        by_trust: Ranking::read("How sure we are", WINDOW, &facets["trust"]),
        by_country: Ranking::read("Countries", WINDOW, &facets["country"]),
    };
    Ok(page(StatusCode::OK, &found))
}

/// A value of the facet; what is masked leads nowhere.
fn known(told: &Value) -> Option<Known> {
    let id = told["value"].as_str()?;
    let term = told["term"].as_str();
    Some(Known {
        text: told["label"].as_str().unwrap_or(id).to_owned(),
        url: term.map(|_| url::under(&["actors", id])),
        search: term.map(|term| url::search(&format!("{term} {WINDOW}"))),
        events: told["count"].as_i64().unwrap_or_default(),
    })
}
