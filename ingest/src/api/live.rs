//! `GET /v1/events/live`: what is stored from now on, as server-sent events.
//!
//! Events are told in the order of the log: places in it have no gap and are given once, so a reader who comes back with the
//! last place that they were told (`Last-Event-ID`) misses nothing and hears nothing twice. An event is told when the log has
//! taken it in, about a second after it was stored.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use chrono::TimeDelta;
use futures_util::stream;
use serde_json::Value;
use shared::search::{Expr, OneOf, Query, Term};

use super::reader::Reader;
use super::search;
use super::writes::Parameters;
use super::{Answer, Shared, State};
use crate::store::log::{self, LogRow, Round};
use crate::store::search::{Scope, page};
use crate::store::{StoreError, openings};
use crate::view::view;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// A client comes back by itself, and is asked again who it is.
const LASTS: Duration = Duration::from_mins(10);
/// Leaves that are looked through at once: some batches.
const STRIDE: i64 = 1_000;

/// A place in a tenant's logs: so many leaves of a log, and so many events of the batch that comes then, were told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    log_id: String,
    leaf: i64,
    told: usize,
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let place = Self {
            log_id: parts.next()?.to_owned(),
            leaf: parts.next()?.parse().ok().filter(|leaf| *leaf >= 0)?,
            told: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    }

    fn text(&self) -> String {
        format!("{}.{}.{}", self.log_id, self.leaf, self.told)
    }
}

/// A reader's way along the log.
struct Tail {
    state: Arc<State>,
    reader: Reader,
    query: Query,
    /// None until the tenant has a log.
    place: Option<Place>,
    waiting: VecDeque<(Place, Value)>,
    began: Instant,
    /// Whether the reader knows where they begin.
    is_greeted: bool,
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    headers: HeaderMap,
    asked: Parameters,
) -> Result<Response, Answer> {
    follow(state, reader, &headers, asked, |event| Some(event.to_string())).await
}

/// The events of a search as they come, each as `write` puts it on one line.
pub(super) async fn follow(
    axum::extract::State(state): Shared,
    reader: Reader,
    headers: &HeaderMap,
    asked: Parameters,
    write: fn(&Value) -> Option<String>,
) -> Result<Response, Answer> {
    let search = search::read(asked, |_, _| Ok(false))?;
    search.check(&reader)?;
    let tail = Tail::begin(state, reader, search.query, headers).await?;
    let lines = stream::unfold(tail, move |mut tail| async move {
        let line = tail.line(write).await?;
        Some((Ok::<_, Infallible>(line), tail))
    });
    Ok(Sse::new(lines).keep_alive(KeepAlive::default()).into_response())
}

impl Tail {
    async fn begin(
        state: Arc<State>,
        reader: Reader,
        query: Query,
        headers: &HeaderMap,
    ) -> Result<Self, Answer> {
        let logs = log::list(&state.store, Some(reader.tenant.as_str())).await?;
        let place = match headers.get("last-event-id") {
            None => logs.first().map(|log| Place { log_id: log.log_id.clone(), leaf: log.size, told: 0 }),
            Some(text) => {
                let place = text.to_str().ok().and_then(Place::read);
                let known = place.filter(|place| logs.iter().any(|log| log.log_id == place.log_id));
                Some(known.ok_or_else(|| Answer::parameter("Last-Event-ID", "is no place in the log"))?)
            }
        };
        let (waiting, began, is_greeted) = (VecDeque::new(), Instant::now(), place.is_none());
        Ok(Self { state, reader, query, place, waiting, began, is_greeted })
    }

    /// The next line; none at the end.
    async fn line(&mut self, write: fn(&Value) -> Option<String>) -> Option<Event> {
        if let Some(place) = self.place.as_ref().filter(|_| !self.is_greeted) {
            self.is_greeted = true;
            return Some(Event::default().event("place").id(place.text()).data("{}"));
        }
        let mut stopping = self.state.stopping.clone();
        loop {
            if let Some((place, event)) = self.waiting.pop_front() {
                match write(&event) {
                    Some(text) => return Some(Event::default().id(place.text()).data(text)),
                    None => continue,
                }
            }
            if *stopping.borrow() || self.began.elapsed() > LASTS {
                return None;
            }
            match self.look().await {
                Ok(true) => {}
                Ok(false) => {
                    tokio::select! {
                        () = tokio::time::sleep(EVERY) => {}
                        _ = stopping.changed() => {}
                    }
                }
                Err(error) => {
                    // The client comes back with its place.
                    tracing::warn!(%error, "a live tail ends");
                    return None;
                }
            }
        }
    }

    /// Takes in what comes next in the log; whether there was anything.
    async fn look(&mut self) -> Result<bool, StoreError> {
        let logs = log::list(&self.state.store, Some(self.reader.tenant.as_str())).await?;
        let begin = |log: &LogRow| Place { log_id: log.log_id.clone(), leaf: 0, told: 0 };
        let Some(place) = self.place.clone().or_else(|| logs.last().map(begin)) else { return Ok(false) };
        let here = logs.iter().position(|log| log.log_id == place.log_id);
        let here = here.ok_or(StoreError::Damaged("log"))?;
        self.place = Some(place.clone());
        if place.leaf >= logs[here].size {
            // Logs stand newest first; the one after this has begun.
            let next = here.checked_sub(1).map(|newer| begin(&logs[newer]));
            let moved = next.is_some();
            self.place = next.or(self.place.take());
            return Ok(moved);
        }
        let to = logs[here].size.min(place.leaf + STRIDE);
        let mut connection = self.state.store.begin().await?;
        let rounds = log::rounds(&mut connection, logs[here].key(), place.leaf, to).await?;
        drop(connection);
        for round in rounds {
            self.take_in(&place, &round).await?;
        }
        Ok(true)
    }

    /// Takes in the events of a batch that the search finds.
    async fn take_in(&mut self, from: &Place, round: &Round) -> Result<(), StoreError> {
        let events = match round.batch_id {
            Some(batch) => self.found(batch).await?,
            None => Vec::new(),
        };
        let already = if round.first_index == from.leaf { from.told } else { 0 };
        let here = |told| Place { log_id: from.log_id.clone(), leaf: round.first_index, told };
        let numbered = events.into_iter().zip(1..).skip(already);
        self.waiting.extend(numbered.map(|(event, told)| (here(told), event)));
        let leaves = i64::try_from(round.entries.len() / shared::leaf::ENTRY_LEN).unwrap_or(i64::MAX);
        self.place = Some(Place { leaf: round.first_index + leaves, ..here(0) });
        Ok(())
    }

    /// The events of a batch that the search finds, oldest first.
    async fn found(&self, batch: i64) -> Result<Vec<Value>, StoreError> {
        let (store, tenant) = (&self.state.store, self.reader.tenant.as_str());
        let rows = openings::of_batches(store, tenant, &[batch]).await?;
        let times = || rows.iter().map(|row| row.filed_at);
        let (Some(from), Some(last)) = (times().min(), times().max()) else { return Ok(Vec::new()) };
        let of_batch = Expr::Term(Term::Batch(OneOf::one(batch)));
        let scope = Scope {
            tenant: tenant.to_owned(),
            from,
            to: Some(last + TimeDelta::milliseconds(1)),
            query: self.query.clone().and(vec![of_batch]),
            now: self.state.clock.now(),
        };
        let limit = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let mut found = page(store, &scope, None, limit).await?;
        found.reverse();
        found.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = Place { log_id: "0f".to_owned(), leaf: 7, told: 2 };
        assert_eq!(Place::read(&place.text()), Some(place));
        for text in ["", "x", "x.1", "x.-1.0", "x.1.0.", "x.1.y", "x.99999999999999999999.0"] {
            assert_eq!(Place::read(text), None, "{text}");
        }
    }
}
