//! `edgetrail sinks`: where events are forwarded to, and stopping, going on and repeating.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use serde_json::{Value, json};

use super::connection::{Backend, Connection};
use super::shown::{plain, table};
use super::{CommandError, print};

/// What to do about sinks.
#[derive(Debug, Subcommand)]
pub(super) enum SinksCommand {
    /// Prints sinks by name, with their health.
    List {
        /// Print the backend's answer as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Stops sending; what follows waits in the log.
    Pause {
        /// The sink's id.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Goes on at its place, at once.
    Resume {
        /// The sink's id.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Sends once more what arrived from a time on.
    Replay {
        /// The sink's id.
        id: String,
        /// From when, such as 2026-01-31T12:00:00Z.
        #[arg(long)]
        from: DateTime<Utc>,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(super) async fn run(command: SinksCommand) -> Result<(), CommandError> {
    match command {
        SinksCommand::List { json, connection } => list(&connection, json).await,
        SinksCommand::Pause { id, connection } => act(&connection, &id, "pause", String::new()).await,
        SinksCommand::Resume { id, connection } => act(&connection, &id, "resume", String::new()).await,
        SinksCommand::Replay { id, from, connection } => {
            let body = json!({"from": from.to_rfc3339_opts(SecondsFormat::AutoSi, true)}).to_string();
            act(&connection, &id, "replay", body).await
        }
    }
}

async fn list(connection: &Connection, json: bool) -> Result<(), CommandError> {
    let answer = Backend::open(connection)?.json(&["v1", "sinks"], &[]).await?;
    if json {
        return print(&answer.to_string());
    }
    let sinks = answer["sinks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = sinks.iter().map(row).collect();
    let heads = ["NAME", "KIND", "STATE", "SENT", "WAITING", "SECONDS", "LAST ERROR", "ID"];
    print(table(&heads, &rows).trim_end())
}

fn row(sink: &Value) -> Vec<String> {
    let health = &sink["health"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    vec![
        text(&sink["name"]),
        text(&sink["kind"]),
        text(&health["state"]),
        health["sent"].to_string(),
        health["lag_events"].to_string(),
        health["lag_seconds"].to_string(),
        text(&health["last_error"]),
        text(&sink["id"]),
    ]
}

async fn act(connection: &Connection, id: &str, what: &str, body: String) -> Result<(), CommandError> {
    let answer = Backend::open(connection)?.post(&["v1", "sinks", id, what], body).await?;
    let text = |value: &Value| plain(value.as_str().unwrap_or("-"));
    print(&format!("{} is {}", text(&answer["name"]), text(&answer["health"]["state"])))
}
