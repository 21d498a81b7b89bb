//! `edgetrail timeline`: what happened to one entity, and what is known of it.

use clap::Args;
use serde_json::Value;

use super::connection::{Backend, Connection};
use super::search::pages;
use super::shown::{EVENT_HEADS, event, plain, table, understood};
use super::{CommandError, print};

#[derive(Debug, Args)]
pub(super) struct TimelineArguments {
    /// The entity: type/id.
    #[arg(value_parser = entity)]
    entity: (String, String),
    /// Only what this finds as well, in the search grammar.
    #[arg(long, default_value = "")]
    query: String,
    /// How many events at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// Print each event as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

fn entity(text: &str) -> Result<(String, String), String> {
    let (kind, id) = text.split_once('/').ok_or("is not type/id")?;
    Ok((kind.to_owned(), id.to_owned()))
}

pub(super) async fn run(arguments: TimelineArguments) -> Result<(), CommandError> {
    understood(&arguments.query)?;
    let backend = Backend::open(&arguments.connection)?;
    let (kind, id) = &arguments.entity;
    let path = ["v1", "entities", kind, id, "timeline"];
    let found = pages(&backend, &path, &arguments.query, arguments.limit).await?;
    if arguments.json {
        return found.events.iter().try_for_each(|event| print(&event.to_string()));
    }
    let rows: Vec<_> = found
        .events
        .iter()
        .map(|it| {
            let mut row = event(it);
            // The entity is the same on every line.
            row.pop();
            row.push(it.pointer("/changes/summary").map(text).unwrap_or_default());
            row
        })
        .collect();
    let [heads @ .., _] = EVENT_HEADS;
    let heads: Vec<&str> = heads.into_iter().chain(["CHANGES"]).collect();
    print(table(&heads, &rows).trim_end())?;
    if let Some(fields) = found.first.pointer("/state/fields").and_then(Value::as_object) {
        let row =
            |(name, field): (&String, &Value)| vec![name.clone(), text(&field["value"]), text(&field["at"])];
        let rows: Vec<_> = fields.iter().map(row).collect();
        print(&format!("\n{}", table(&["FIELD", "VALUE", "SINCE"], &rows).trim_end()))?;
    }
    Ok(())
}

/// A value as a reader writes it: a text without its quotes.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}
