//! `edgetrail detection`: what rules found, the rules, and what a rule would have found.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::connection::{Backend, Connection};
use super::shown::table;
use super::{CommandError, print};

/// What to do about what rules find.
#[derive(Debug, Subcommand)]
pub(super) enum DetectionCommand {
    /// Prints the rules that look at every event.
    Rules {
        /// Print the backend's answer as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Says what a rule would have said of what is stored. Nothing is raised.
    Try {
        /// A file with one rule, as in the configuration.
        file: PathBuf,
        /// How far back, such as 30d; 30 days unless said, a year at most.
        #[arg(long)]
        last: Option<String>,
        /// Print the backend's answer as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Prints what rules found, newest first.
    Alerts {
        /// Where they stand; any unless said.
        #[arg(long)]
        state: Option<State>,
        /// Print the alerts as JSON, one on each line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Closes an alert.
    Close {
        /// Its id.
        id: String,
        /// What came out.
        #[arg(long)]
        note: Option<String>,
        /// Print the alert as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum State {
    /// Nobody has closed it.
    Open,
    /// Somebody has.
    Closed,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

pub(super) async fn run(command: DetectionCommand) -> Result<(), CommandError> {
    match command {
        DetectionCommand::Rules { json, connection } => rules(&connection, json).await,
        DetectionCommand::Try { file, last, json, connection } => {
            let rule = std::fs::read_to_string(&file)
                .map_err(|error| CommandError::Usage(format!("{}: {error}", file.display())))?;
            tried(&connection, &json!({"rule": rule, "last": last}), json).await
        }
        DetectionCommand::Alerts { state, json, connection } => alerts(&connection, state, json).await,
        DetectionCommand::Close { id, note, json, connection } => {
            let backend = Backend::open(&connection)?;
            let body = json!({"note": note}).to_string();
            let alert = backend.post(&["v1", "alerts", &id, "close"], body).await?;
            print(&if json { alert.to_string() } else { format!("{id}: closed") })
        }
    }
}

async fn rules(connection: &Connection, json: bool) -> Result<(), CommandError> {
    let answer = Backend::open(connection)?.json(&["v1", "detection", "rules"], &[]).await?;
    if json {
        return print(&answer.to_string());
    }
    let rows: Vec<_> = list(&answer, "rules")
        .iter()
        .map(|rule| {
            let by: Vec<&str> = list(rule, "by").iter().filter_map(Value::as_str).collect();
            let kind = rule["fires"]["kind"].as_str().unwrap_or_default().to_owned();
            vec![text(rule, "id"), text(rule, "severity"), kind, by.join(" "), text(rule, "title")]
        })
        .collect();
    print(table(&["RULE", "SEVERITY", "FIRES", "BY", "TITLE"], &rows).trim_end())
}

async fn tried(connection: &Connection, wanted: &Value, json: bool) -> Result<(), CommandError> {
    let backend = Backend::open(connection)?;
    let answer = backend.post(&["v1", "detection", "trial"], wanted.to_string()).await?;
    if json {
        return print(&answer.to_string());
    }
    let rows: Vec<_> = list(&answer, "alerts")
        .iter()
        .map(|said| {
            vec![text(said, "first_at"), text(said, "last_at"), said["events"].to_string(), alike(said)]
        })
        .collect();
    if !rows.is_empty() {
        print(&table(&["FIRST", "LAST", "EVENTS", "ALIKE"], &rows))?;
    }
    let (from, to) = (text(&answer["window"], "from"), text(&answer["window"], "to"));
    print(&format!("would have fired {} times between {from} and {to}", answer["fired"]))?;
    if answer["complete"] == Value::Bool(false) {
        eprintln!("there are more events than were looked at");
    }
    Ok(())
}

async fn alerts(connection: &Connection, state: Option<State>, json: bool) -> Result<(), CommandError> {
    let parameters: Vec<_> = state.map(|state| ("state", state.word())).into_iter().collect();
    let answer = Backend::open(connection)?.json(&["v1", "alerts"], &parameters).await?;
    if json {
        return list(&answer, "alerts").iter().try_for_each(|alert| print(&alert.to_string()));
    }
    let rows: Vec<_> = list(&answer, "alerts")
        .iter()
        .map(|alert| {
            let known = ["raised_at", "severity", "state", "rule"].map(|name| text(alert, name));
            let more = [alert["events"].to_string(), alike(alert), text(alert, "id")];
            known.into_iter().chain(more).collect()
        })
        .collect();
    print(table(&["RAISED", "SEVERITY", "STATE", "RULE", "EVENTS", "ALIKE", "ID"], &rows).trim_end())
}

/// What events have in common.
fn alike(said: &Value) -> String {
    let pairs = said["alike"].as_object().into_iter().flatten();
    let words: Vec<String> =
        pairs.map(|(name, value)| format!("{name} {}", value.as_str().unwrap_or_default())).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}
