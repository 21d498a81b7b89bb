//! `GET /v1/events` and `GET /v1/events/{id}`: a tenant's events, newest first.

use std::time::{Duration, Instant};

use axum::Json;
use chrono::{DateTime, Datelike as _, NaiveTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::event::Timestamp;
use uuid::Uuid;

use super::cursor::Cursor;
use super::path::Path;
use super::reader::Reader;
use super::search::Looked;
use super::writes::Parameters;
use super::{Answer, Shared, State, as_of};
use crate::store::events::StoredEvent;
use crate::store::search::{self, Position, Scope};
use crate::store::{StoreError, events};

const DEFAULT_LIMIT: u8 = 50;
const MAX_LIMIT: u8 = 200;
/// Bytes of openings on one page; a page always has one event at least.
const MAX_PAGE_LEN: usize = 2 * 1024 * 1024;
/// How long a search without a beginning looks for more before it answers with what it has.
const WIDEN_WITHIN: Duration = Duration::from_secs(1);
/// What was recorded about one event later.
const MAX_ANNOTATIONS: i64 = 100;
/// An event is filed within a day of its own time; ids are minted at that time.
const ID_SLACK: Duration = Duration::from_hours(48);

/// Which page of a list is asked for.
#[derive(Debug, Clone)]
pub(super) struct Paging {
    limit: u8,
    cursor: Option<String>,
}

impl Paging {
    pub(super) fn new() -> Self {
        Self { limit: DEFAULT_LIMIT, cursor: None }
    }

    /// Takes one of its parameters; whether it was one.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit = limit.ok_or_else(|| format!("is not 1 to {MAX_LIMIT}"))?;
            }
            "cursor" => self.cursor = Some(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How many at most.
    pub(super) fn limit(&self) -> u8 {
        self.limit
    }

    /// What the cursor says, if there is one; `of` is the list that it must be good for.
    pub(super) fn cursor(&self, state: &State, reader: &Reader, of: &str) -> Result<Option<Cursor>, Answer> {
        let read = |text| {
            let cursor = state.cursors.read(&reader.tenant, of, text);
            cursor.ok_or_else(|| Answer::parameter("cursor", "is not a cursor of this list"))
        };
        self.cursor.as_deref().map(read).transpose()
    }

    /// A page and the cursor of the next one.
    pub(super) async fn page(
        &self,
        state: &State,
        scope: &Scope,
        after: Option<Position>,
    ) -> Result<(Vec<StoredEvent>, Option<Position>), StoreError> {
        // One row beyond the page tells whether there is another page.
        let rows = search::page(&as_of::reading(state), scope, after, i64::from(self.limit) + 1).await?;
        Ok(self.cut(rows))
    }

    /// A page of a search that nobody gave a beginning: of the newest month, and while it is not full, of one month more,
    /// as long as that does not take too long. How far was looked stands in `looked`; the next page goes on from there, so
    /// that all pages together reach everything that is kept.
    async fn widened(
        &self,
        state: &State,
        looked: &mut Looked,
        mut after: Option<Position>,
    ) -> Result<(Vec<StoredEvent>, Option<Position>), StoreError> {
        let began = Instant::now();
        let oldest = state.receiver.oldest();
        let wanted = usize::from(self.limit) + 1;
        if let Some(after) = after.filter(|after| after.filed_at <= looked.scope.from) {
            looked.scope.from = month_before(after.filed_at);
        }
        let store = as_of::reading(state);
        let mut rows = Vec::new();
        loop {
            let missing = i64::try_from(wanted - rows.len()).unwrap_or(1);
            rows.extend(search::page(&store, &looked.scope, after, missing).await?);
            let reached = looked.scope.from;
            if rows.len() >= wanted || reached <= oldest {
                return Ok(self.cut(rows));
            }
            // No id is smaller: what follows is older than the window.
            let behind = Position { filed_at: reached, id: Uuid::nil() };
            if began.elapsed() >= WIDEN_WITHIN {
                let (rows, next) = self.cut(rows);
                return Ok((rows, next.or(Some(behind))));
            }
            after = Some(behind);
            looked.scope.from = month_before(reached);
        }
    }

    /// What fits on a page, and where the next one begins if there is more.
    fn cut(&self, mut rows: Vec<StoredEvent>) -> (Vec<StoredEvent>, Option<Position>) {
        let limit = usize::from(self.limit);
        let fitting = rows
            .iter()
            .scan(0, |sum, row| {
                *sum += row.opening.len();
                Some(*sum)
            })
            .take_while(|sum| *sum <= MAX_PAGE_LEN);
        let kept = fitting.count().clamp(1, limit);
        let more = rows.len() > kept;
        rows.truncate(kept);
        let next = rows.last().filter(|_| more).map(|last| Position { filed_at: last.filed_at, id: last.id });
        (rows, next)
    }
}

/// The beginning of the month in which the last moment before a time lies.
fn month_before(at: DateTime<Utc>) -> DateTime<Utc> {
    let day = (at - TimeDelta::microseconds(1)).date_naive();
    day.with_day(1).unwrap_or(day).and_time(NaiveTime::MIN).and_utc()
}

pub(super) async fn list(state: Shared, reader: Reader, asked: Parameters) -> Result<Json<Value>, Answer> {
    let mut paging = Paging::new();
    let search = super::search::read(asked, |name, value| paging.take(name, value))?;
    search.check(&reader)?;
    let of = format!("events {}", search.query);
    let cursor = paging.cursor(&state, &reader, &of)?;
    let now = cursor.map_or_else(|| state.clock.now(), |cursor| cursor.now);
    let mut looked = search.scope(&state, &reader, now);
    let after = cursor.map(|cursor| cursor.after);
    let (rows, next) = if looked.is_default {
        paging.widened(&state, &mut looked, after).await?
    } else {
        paging.page(&state, &looked.scope, after).await?
    };
    let next = next.map(|after| state.cursors.sign(&reader.tenant, &of, Cursor { now, after }));
    let events: Vec<Value> = rows.iter().map(|row| reader.view(row)).collect::<Result<_, _>>()?;
    Ok(Json(json!({
        "events": events,
        "next_cursor": next,
        "query": search.view(),
        "window": looked.window(),
        "notice": looked.notice(&state, &reader).await?,
    })))
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
    let mut event = reader.view(&found)?;
    let tenant = reader.tenant.as_str();
    let annotations = events::annotations(&state.store, tenant, id, from, MAX_ANNOTATIONS).await?;
    event["annotations"] = annotations.iter().map(|row| reader.view(row)).collect::<Result<_, _>>()?;
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

/// A time of a query, which events can have: before 1970 is 1970.
pub(super) fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    // In a query a bare `+` of an offset arrives as a space.
    DateTime::parse_from_rfc3339(&text.replace(' ', "+"))
        .map(|time| Timestamp::from(time.to_utc()).to_utc())
        .map_err(|_| "is not a time such as 2026-01-31T12:00:00Z".to_owned())
}
