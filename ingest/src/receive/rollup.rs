//! Figures that are kept while events are stored, in the same transaction, so that no list is ever counted again: how
//! much of the traffic rules cover, which mutating routes they do not know, which events wait for another, and how many events
//! have which values.
//!
//! What an event says about counts was written elsewhere; a number or text that could cost the batch is left out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::event::{Event, JsonText, Outcome};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::correlate::completion::AGENT_EXECUTED;
use crate::store::StoreError;
use crate::store::coverage::{self, RouteKey, Sightings};
use crate::store::events::EventRow;
use crate::store::links::{self, Awaiting};
use crate::store::{runs, tallies};
use crate::tally::Hours;

/// The action of the edge's own counts.
pub const COVERAGE_RECORDED: &str = "COVERAGE_RECORDED";
/// The action of a mutating request that no rule names.
pub const UNMAPPED_MUTATION: &str = "UNMAPPED_MUTATION";

/// Requests of one route in one record: above it is a mistake, and sums stay far from the end of an i64.
const MAX_COUNT: i64 = 1_000_000_000_000;
/// What stands for the routes that found no place in the edge's table.
const UNLISTED: &str = "*";

/// What a group of events adds up to.
#[derive(Debug, Default)]
pub(super) struct Rollup<'a> {
    covered: BTreeMap<(RouteKey, bool), Sightings>,
    unmapped: BTreeMap<RouteKey, (Sightings, Uuid)>,
    echoes: Vec<Awaiting<'a>>,
    open_runs: Vec<Awaiting<'a>>,
    hours: Hours<'a>,
}

impl<'a> Rollup<'a> {
    /// Adds a stored event.
    pub(super) fn add(&mut self, row: &'a EventRow) {
        let event = &row.event;
        self.hours.add(event, row.filed_at);
        if event.echo {
            self.echoes.push(awaiting(row));
        }
        match event.action.as_str() {
            COVERAGE_RECORDED => self.add_coverage(event),
            UNMAPPED_MUTATION => self.add_unmapped(event),
            AGENT_EXECUTED if event.outcome == Outcome::Unknown => self.open_runs.push(awaiting(row)),
            _ => {}
        }
    }

    /// Writes everything, sorted.
    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if !self.covered.is_empty() {
            let rows: Vec<_> =
                self.covered.iter().map(|((key, mapped), seen)| ((key, *mapped), *seen)).collect();
            coverage::add(connection, &rows).await?;
        }
        if !self.unmapped.is_empty() {
            let rows: Vec<_> =
                self.unmapped.iter().map(|(key, (seen, example))| (key, *seen, *example)).collect();
            coverage::add_unmapped(connection, &rows).await?;
        }
        if !self.echoes.is_empty() {
            links::insert(connection, &self.echoes).await?;
        }
        if !self.hours.is_empty() {
            tallies::append(connection, &self.hours).await?;
        }
        if !self.open_runs.is_empty() {
            runs::insert(connection, &self.open_runs).await?;
        }
        Ok(())
    }

    fn add_coverage(&mut self, event: &Event) {
        let Some(details) = event.details.as_ref().map(JsonText::value) else { return };
        let host = details.get("host").and_then(Value::as_str).unwrap_or(&event.request.host);
        let mut put = |method: &str, route: &str, mapped: bool, seen: Sightings| {
            if let Some(key) = key(event, host, method, route) {
                let sum = self.covered.get(&(key.clone(), mapped)).map_or(seen, |known| known.and(seen));
                self.covered.insert((key, mapped), sum);
            }
        };
        for row in details.get("routes").and_then(Value::as_array).into_iter().flatten() {
            if let Some((method, route, mapped, seen)) = route_row(row) {
                put(method, route, mapped, seen);
            }
        }
        let overflow = details.get("overflow").and_then(Value::as_i64).filter(|count| sane(*count));
        if let Some(count) = overflow {
            let at = event.occurred_at.to_utc();
            let since = details.get("since_ms").and_then(time).unwrap_or(at).min(at);
            put(UNLISTED, UNLISTED, false, Sightings { count, first_seen: since, last_seen: at });
        }
    }

    fn add_unmapped(&mut self, event: &Event) {
        let request = &event.request;
        let Some(key) = key(event, &request.host, &request.method, &request.route) else { return };
        let at = event.occurred_at.to_utc();
        let series = event.details.as_ref().map(JsonText::value).unwrap_or_default();
        let series = &series["coalesced"];
        let seen = Sightings {
            count: series["count"].as_i64().filter(|count| sane(*count)).unwrap_or(1),
            first_seen: time(&series["first_ms"]).unwrap_or(at).min(at),
            last_seen: time(&series["last_ms"]).unwrap_or(at).max(at),
        };
        let entry = match self.unmapped.get(&key) {
            Some((known, example)) => {
                let newest = if seen.last_seen >= known.last_seen { event.id.uuid() } else { *example };
                (known.and(seen), newest)
            }
            None => (seen, event.id.uuid()),
        };
        self.unmapped.insert(key, entry);
    }
}

fn awaiting(row: &EventRow) -> Awaiting<'_> {
    Awaiting {
        tenant: row.event.tenant.as_str(),
        id: row.event.id.uuid(),
        filed_at: row.filed_at,
        received_at: row.received_at,
    }
}

/// The key, unless an index could not hold it.
fn key(event: &Event, host: &str, method: &str, route: &str) -> Option<RouteKey> {
    let fits = |text: &str, max: usize| (1..=max).contains(&text.len()) && !text.contains('\0');
    (fits(host, 255) && fits(method, 32) && fits(route, 512)).then(|| RouteKey {
        tenant: event.tenant.to_string(),
        host: host.to_owned(),
        method: method.to_owned(),
        route: route.to_owned(),
    })
}

/// `[method, route, mapped, count, first_ms, last_ms]`.
fn route_row(row: &Value) -> Option<(&str, &str, bool, Sightings)> {
    let [method, route, mapped, count, first, last] = row.as_array()?.as_slice() else { return None };
    let count = count.as_i64().filter(|count| sane(*count))?;
    let (first_seen, last_seen) = (time(first)?, time(last)?);
    let seen = Sightings { count, first_seen: first_seen.min(last_seen), last_seen };
    Some((method.as_str()?, route.as_str()?, mapped.as_bool()?, seen))
}

fn sane(count: i64) -> bool {
    (1..=MAX_COUNT).contains(&count)
}

/// Milliseconds within the years that the database knows.
fn time(millis: &Value) -> Option<DateTime<Utc>> {
    const YEAR_3000: i64 = 32_503_680_000_000;
    millis.as_i64().filter(|millis| (0..YEAR_3000).contains(millis)).and_then(DateTime::from_timestamp_millis)
}
