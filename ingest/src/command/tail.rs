//! `edgetrail tail`: events as they are filed.
//!
//! It asks again and again for what was filed lately; an event that is filed more than [`OVERLAP`] behind the newest one is
//! not shown.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use serde_json::Value;

use super::connection::{Backend, Connection};
use super::shown::{EVENT_HEADS, event, plain, understood};
use super::{CommandError, print};
use crate::clock::Clock;
use crate::view::time;

/// How far back each look goes.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);
/// Pages of one look at most.
const PAGES: usize = 50;

#[derive(Debug, Args)]
pub(super) struct TailArguments {
    /// What to look for, in the search grammar.
    #[arg(default_value = "")]
    query: String,
    /// Seconds from one look to the next.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    every: u64,
    /// End after this many events.
    #[arg(long)]
    count: Option<u64>,
    /// Print each event as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: TailArguments) -> Result<(), CommandError> {
    understood(&arguments.query)?;
    let backend = Backend::open(&arguments.connection)?;
    let started = Clock::system().now().to_utc();
    let mut seen: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    let mut left = arguments.count.unwrap_or(u64::MAX);
    if !arguments.json {
        print(&EVENT_HEADS.join("  "))?;
    }
    loop {
        let now = Clock::system().now().to_utc();
        for it in look(&backend, &arguments.query, now - OVERLAP).await? {
            let id = it["id"].as_str().unwrap_or_default().to_owned();
            let received = it["received_at"].as_str().and_then(|at| at.parse().ok()).unwrap_or(now);
            if seen.insert(id, received).is_some() || received < started {
                continue;
            }
            print(&if arguments.json { it.to_string() } else { plain(&event(&it).join("  ")) })?;
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
        // What left the window is not given again.
        seen.retain(|_, received| *received > now - OVERLAP - OVERLAP);
        tokio::time::sleep(Duration::from_secs(arguments.every)).await;
    }
}

/// What was filed since a time, oldest first.
async fn look(backend: &Backend, query: &str, since: DateTime<Utc>) -> Result<Vec<Value>, CommandError> {
    let since = time(since);
    let (mut events, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    for _ in 0..PAGES {
        let mut parameters = vec![("q", query), ("from", since.as_str()), ("limit", "200")];
        if let Some(cursor) = &cursor {
            parameters.push(("cursor", cursor));
        }
        let mut page = backend.json(&["v1", "events"], &parameters).await?;
        if let Value::Array(some) = page["events"].take() {
            events.extend(some);
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    events.reverse();
    Ok(events)
}
