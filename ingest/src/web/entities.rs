//! One entity and one actor: everything that happened to the one, and what is known of the other.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use shared::search::TextField;

use super::event::Row;
use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{term, url};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    as_of: String,
    #[serde(default)]
    cursor: String,
}

#[derive(Debug, Template)]
#[template(path = "entity.html")]
struct EntityPage {
    frame: Frame,
    kind: String,
    id: String,
    known: Option<Known>,
    rows: Vec<Row>,
    next: Option<String>,
    search: String,
    path: String,
    as_of: String,
}

/// What was known of an entity at a time.
#[derive(Debug, Deserialize)]
struct Known {
    as_of: String,
    complete: bool,
    fields: BTreeMap<String, Told>,
    unknown: BTreeMap<String, Source>,
    deleted: Option<Source>,
}

#[derive(Debug, Deserialize)]
struct Told {
    value: Value,
    at: String,
    event: String,
}

#[derive(Debug, Deserialize)]
struct Source {
    at: String,
    event: String,
}

impl Told {
    fn text(&self) -> String {
        match &self.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

pub(super) async fn entity(
    visitor: Visitor,
    Path((kind, id)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    // A field of a form gives a time without seconds and offset.
    let as_of = if asked.as_of.len() == 16 { format!("{}:00Z", asked.as_of) } else { asked.as_of };
    let given = [("as_of", &*as_of), ("cursor", &*asked.cursor)];
    let given: Vec<_> = given.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let told = visitor.or_failure(visitor.answers().timeline(&kind, &id, &given).await)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let path = url::under(&["entities", &kind, &id]);
    let next = told["next_cursor"].as_str();
    let known = Option::<Known>::deserialize(&told["state"]).map_err(unreadable)?;
    let found = EntityPage {
        frame: Frame::new(format!("{kind} {id}"), Some(Section::Entities), &visitor.shown),
        rows: Row::list(&told["events"]).map_err(unreadable)?,
        next: next.map(|cursor| url::with(&path, &[("as_of", &as_of), ("cursor", cursor)])),
        search: url::search(&term::entity(&kind, Some(&id)).unwrap_or_default()),
        as_of: as_of.get(..16).unwrap_or_default().to_owned(),
        kind,
        id,
        known,
        path,
    };
    Ok(page(StatusCode::OK, &found))
}

#[derive(Debug, Deserialize)]
struct Actor {
    actor: String,
    events: i64,
    failed: i64,
    first_seen: Option<String>,
    last_seen: Option<String>,
    named: Named,
    seen: BTreeMap<String, Vec<Seen>>,
}

/// Events that name somebody and prove nothing.
#[derive(Debug, Deserialize)]
struct Named {
    events: i64,
    failed: i64,
}

#[derive(Debug, Deserialize)]
struct Seen {
    value: Option<String>,
    events: i64,
    last_seen: String,
}

/// Values of one kind that an actor's events have.
#[derive(Debug)]
struct List {
    title: &'static str,
    values: Vec<Listed>,
}

#[derive(Debug)]
struct Listed {
    text: String,
    events: i64,
    last_seen: String,
    url: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "actor.html")]
struct ActorPage {
    frame: Frame,
    actor: Actor,
    name: String,
    lists: Vec<List>,
    rows: Vec<Row>,
    search: String,
    named: String,
}

pub(super) async fn actor(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    let q = term::text(TextField::Actor, &id).unwrap_or_default();
    let named = term::text(TextField::User, &id).unwrap_or_default();
    let answers = visitor.answers();
    let recent = [("q", &*q), ("limit", "20")];
    let told = tokio::try_join!(answers.actor(&id), answers.events(&recent));
    let (told, events) = visitor.or_failure(told)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let actor = Actor::deserialize(&told).map_err(unreadable)?;
    let kinds = [
        ("Addresses", "ip"),
        ("Sessions", "session"),
        ("Countries", "country"),
        ("Actions", "action"),
        ("Entities", "entity"),
        ("Ids", "id"),
    ];
    let lists = kinds.into_iter().filter_map(|(title, kind)| list(&actor, &q, title, kind));
    let email = actor.seen.get("email").and_then(|emails| emails.first()?.value.clone());
    let name = email.unwrap_or_else(|| actor.actor.clone());
    let found = ActorPage {
        frame: Frame::new(name.clone(), Some(Section::Actors), &visitor.shown),
        lists: lists.collect(),
        rows: Row::list(&events["events"]).map_err(unreadable)?,
        search: url::search(&q),
        named: url::search(&format!("{named} -{q}")),
        actor,
        name,
    };
    Ok(page(StatusCode::OK, &found))
}

fn list(actor: &Actor, q: &str, title: &'static str, kind: &str) -> Option<List> {
    let seen = actor.seen.get(kind).filter(|seen| !seen.is_empty())?;
    let narrowed = |term: Option<String>| term.map(|term| url::search(&format!("{q} {term}")));
    let found = |text: &str| match kind {
        "ip" => narrowed(Some(format!("ip:{text}"))),
        "session" => narrowed(term::text(TextField::Session, text)),
        "country" => narrowed(term::text(TextField::Country, text)),
        "action" => narrowed(term::text(TextField::Action, text)),
        "entity" => text.split_once('/').map(|(kind, id)| url::under(&["entities", kind, id])),
        _ => None,
    };
    let values = seen.iter().filter_map(|seen| {
        let text = seen.value.clone()?;
        Some(Listed { url: found(&text), events: seen.events, last_seen: seen.last_seen.clone(), text })
    });
    Some(List { title, values: values.collect() })
}
