//! `GET /v1/events` and `GET /v1/events/{id}`: a tenant's events, newest first.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::event::{Action, EntityType, Severity};
use uuid::Uuid;

use super::reader::Reader;
use super::{Answer, Shared, State};
use crate::store::search::{ActionFilter, Position, Search, SeverityFilter};
use crate::store::{events, search};
use crate::view::view;

/// Every list has a window, so that every query prunes.
const DEFAULT_WINDOW: Duration = Duration::from_hours(30 * 24);
const DEFAULT_LIMIT: u8 = 50;
const MAX_LIMIT: u8 = 200;
/// What was recorded about one event later.
const MAX_ANNOTATIONS: i64 = 100;
/// An event is filed within a day of its own time; ids are minted at that time.
const ID_SLACK: Duration = Duration::from_hours(48);

pub(super) async fn list(
    state: Shared,
    reader: Reader,
    parameters: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Answer> {
    let Query(parameters) = parameters.map_err(|error| Answer::parameter("query", error.body_text()))?;
    let now = state.clock.now().to_utc();
    let search = parse(reader.tenant.as_str(), &parameters, now)?;
    let mut rows = search::page(&state.store, &one_more(&search)).await?;
    let limit = usize::try_from(search.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|last| encode_cursor(Position { filed_at: last.filed_at, id: last.id }));
    let events: Vec<Value> = rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(json!({"events": events, "next_cursor": next})))
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let missing = || Answer::not_found("no event of this id");
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let (from, to) = window(&state, id).ok_or_else(missing)?;
    let found =
        events::find(&state.store, reader.tenant.as_str(), id, from, to).await?.ok_or_else(missing)?;
    let mut event = view(&found)?;
    let tenant = reader.tenant.as_str();
    let annotations = events::annotations(&state.store, tenant, id, from, MAX_ANNOTATIONS).await?;
    event["annotations"] = annotations.iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(event))
}

/// When an event of this id may be filed; none if no event has such an id.
pub(super) fn window(state: &State, id: Uuid) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let minted = DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)?;
    // Late and early arrivals are filed at the edges of what is open.
    let minted = minted.clamp(state.receiver.oldest(), state.clock.now().to_utc());
    Some((minted - ID_SLACK, minted + ID_SLACK))
}

/// One row beyond the page tells whether there is another page.
fn one_more(search: &Search) -> Search {
    Search { limit: search.limit + 1, ..search.clone() }
}

fn parse(tenant: &str, parameters: &[(String, String)], now: DateTime<Utc>) -> Result<Search, Answer> {
    let mut search = Search {
        tenant: tenant.to_owned(),
        from: now - DEFAULT_WINDOW,
        to: None,
        actions: Vec::new(),
        actor: None,
        entity_type: None,
        entity_id: None,
        severity: None,
        outcome: None,
        after: None,
        limit: i64::from(DEFAULT_LIMIT),
    };
    let mut seen = BTreeSet::new();
    for (name, value) in parameters {
        let bad = |reason: String| Answer::parameter(name, reason);
        if !seen.insert(name.as_str()) {
            return Err(bad("is given twice".to_owned()));
        }
        match name.as_str() {
            "from" => search.from = parse_time(value).map_err(bad)?,
            "to" => search.to = Some(parse_time(value).map_err(bad)?),
            "actor" => search.actor = Some(text(value).map_err(bad)?),
            "action" => search.actions = parse_actions(value).map_err(bad)?,
            "entity" => {
                let entity = text(value).map_err(bad)?;
                match entity.split_once('/') {
                    Some((kind, id)) => {
                        search.entity_type = Some(entity_type(kind).map_err(bad)?);
                        search.entity_id = Some(id.to_owned());
                    }
                    None => search.entity_id = Some(entity),
                }
            }
            "entity_type" => search.entity_type = Some(entity_type(value).map_err(bad)?),
            "severity" => search.severity = Some(parse_severity(value).map_err(bad)?),
            "outcome" => search.outcome = Some(FromStr::from_str(value).map_err(bad)?),
            "limit" => {
                let limit = value.parse::<u8>().ok();
                search.limit = limit
                    .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                    .map(i64::from)
                    .ok_or_else(|| bad(format!("is not 1 to {MAX_LIMIT}")))?;
            }
            "cursor" => {
                search.after =
                    Some(decode_cursor(value).ok_or_else(|| bad("is not a cursor of this list".to_owned()))?);
            }
            _ => return Err(bad("is unknown".to_owned())),
        }
    }
    Ok(search)
}

pub(super) fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    // In a query a bare `+` of an offset arrives as a space.
    DateTime::parse_from_rfc3339(&text.replace(' ', "+"))
        .map(|time| time.to_utc())
        .map_err(|_| "is not a time such as 2026-01-31T12:00:00Z".to_owned())
}

fn text(value: &str) -> Result<String, String> {
    if value.is_empty() || value.contains('\0') {
        Err("is empty or holds a NUL".to_owned())
    } else {
        Ok(value.to_owned())
    }
}

fn entity_type(value: &str) -> Result<String, String> {
    EntityType::try_from(value.to_owned()).map(String::from).map_err(|error| error.to_string())
}

fn parse_actions(list: &str) -> Result<Vec<ActionFilter>, String> {
    list.split(',')
        .map(|word| {
            let word = word.trim().to_ascii_uppercase();
            let (stem, prefix) = match word.strip_suffix('*') {
                Some(stem) => (stem.to_owned(), true),
                None => (word, false),
            };
            let action = Action::try_from(stem).map(String::from).map_err(|error| error.to_string())?;
            Ok(if prefix { ActionFilter::Prefix(action) } else { ActionFilter::Exactly(action) })
        })
        .collect()
}

fn parse_severity(word: &str) -> Result<SeverityFilter, String> {
    match word.strip_prefix(">=") {
        Some(word) => Severity::from_str(word).map(SeverityFilter::AtLeast),
        None => Severity::from_str(word).map(SeverityFilter::Exactly),
    }
}

fn encode_cursor(position: Position) -> String {
    let mut bytes = position.filed_at.timestamp_micros().to_be_bytes().to_vec();
    bytes.extend_from_slice(position.id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode_cursor(text: &str) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (micros, id) = bytes.split_first_chunk::<8>()?;
    Some(Position {
        filed_at: DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?,
        id: Uuid::from_slice(id).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(parameters: &[(&str, &str)]) -> Result<Search, String> {
        let owned: Vec<_> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        parse("demo", &owned, DateTime::UNIX_EPOCH).map_err(|answer| {
            assert_eq!(answer.0.status, 400);
            answer.0.detail.unwrap_or_default()
        })
    }

    #[test]
    fn every_bad_parameter_is_named() {
        for (name, value) in [
            ("from", "yesterday"),
            ("to", ""),
            ("action", "a b"),
            ("severity", ">warning"),
            ("outcome", "ok"),
            ("limit", "0"),
            ("limit", "201"),
            ("cursor", "x"),
            ("entity", "Agent/1"),
            ("actor", ""),
            ("colour", "red"),
        ] {
            let error = parsed(&[(name, value)]).expect_err(value);
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        }
    }

    #[test]
    fn a_cursor_reads_back() {
        let position = Position {
            filed_at: DateTime::from_timestamp_micros(1_795_400_000_123_000).expect("a time"),
            id: Uuid::from_u128(7),
        };
        assert_eq!(decode_cursor(&encode_cursor(position)), Some(position));
    }

    #[test]
    fn actions_are_matched_without_case_and_by_their_beginning() {
        let search = parsed(&[("action", "agent_*,USER_LOGIN")]).expect("valid");
        let expected =
            [ActionFilter::Prefix("AGENT_".to_owned()), ActionFilter::Exactly("USER_LOGIN".to_owned())];
        assert_eq!(search.actions, expected);
    }
}
