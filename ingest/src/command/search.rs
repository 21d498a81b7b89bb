//! `edgetrail search`: what a query finds, newest first.

use clap::Args;
use serde_json::Value;

use super::connection::{Backend, Connection};
use super::shown::{EVENT_HEADS, event, table, understood};
use super::{CommandError, print};

/// Events of one page, the most that the API gives.
const PAGE: u64 = 200;

#[derive(Debug, Args)]
pub(super) struct SearchArguments {
    /// What to look for, in the search grammar.
    #[arg(default_value = "")]
    query: String,
    /// Look for what is saved under this name: your own, or else one that somebody shares.
    #[arg(long, value_name = "NAME", conflicts_with = "query")]
    saved: Option<String>,
    /// How many events at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// Print each event as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: SearchArguments) -> Result<(), CommandError> {
    understood(&arguments.query)?;
    let backend = Backend::open(&arguments.connection)?;
    let query = match &arguments.saved {
        Some(name) => saved(&backend, name).await?,
        None => arguments.query,
    };
    let found = pages(&backend, &["v1", "events"], &query, arguments.limit).await?;
    if arguments.json {
        return found.events.iter().try_for_each(|event| print(&event.to_string()));
    }
    let rows: Vec<_> = found.events.iter().map(event).collect();
    print(table(&EVENT_HEADS, &rows).trim_end())?;
    if let Some(notice) = found.first["notice"].as_str() {
        eprintln!("{notice}");
    }
    if found.more {
        eprintln!("there are more than {}: see --limit, or edgetrail export", arguments.limit);
    }
    Ok(())
}

/// The query that is saved under a name. Somebody's own come first in the list.
async fn saved(backend: &Backend, name: &str) -> Result<String, CommandError> {
    let told = backend.json(&["v1", "searches"], &[]).await?;
    let found = told["searches"].as_array().into_iter().flatten().find(|search| search["name"] == name);
    match found.and_then(|search| search["query"].as_str()) {
        Some(query) => Ok(query.to_owned()),
        None => Err(CommandError::Backend(format!("no saved search is called {name}"))),
    }
}

/// The events of a list, page by page.
pub(super) struct Found {
    pub(super) events: Vec<Value>,
    /// The first page without its events.
    pub(super) first: Value,
    pub(super) more: bool,
}

/// Reads a list until it ends or a limit is reached.
pub(super) async fn pages(
    backend: &Backend,
    path: &[&str],
    query: &str,
    limit: u64,
) -> Result<Found, CommandError> {
    let mut found = Found { events: Vec::new(), first: Value::Null, more: false };
    let mut cursor: Option<String> = None;
    loop {
        let left = limit.saturating_sub(found.events.len() as u64).min(PAGE).to_string();
        let mut parameters = vec![("q", query), ("limit", left.as_str())];
        if let Some(cursor) = &cursor {
            parameters.push(("cursor", cursor));
        }
        let mut page = backend.json(path, &parameters).await?;
        if let Value::Array(events) = page["events"].take() {
            found.events.extend(events);
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if found.first.is_null() {
            found.first = page;
        }
        found.more = cursor.is_some();
        if cursor.is_none() || found.events.len() as u64 >= limit {
            return Ok(found);
        }
    }
}
