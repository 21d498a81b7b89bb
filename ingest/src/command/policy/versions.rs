//! Versions of a tenant's policy, read and decided on over the API.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::super::connection::{Backend, Connection};
use super::super::shown::{plain, table};
use super::super::{CommandError, print};
use super::packs::PackFile;
use super::{read, refused};

#[derive(Debug, Args)]
pub(in crate::command) struct ListArguments {
    /// Prints the backend's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(in crate::command) struct VersionArguments {
    /// The version.
    version: u32,
    /// Prints the backend's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ProposeArguments {
    /// The packs' files, all that are to be active; or one signed policy.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Prints the backend's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the versions.
pub(super) async fn list(arguments: ListArguments) -> Result<(), CommandError> {
    let answer = Backend::open(&arguments.connection)?.json(&["v1", "policies"], &[]).await?;
    if arguments.json {
        return print(&answer.to_string());
    }
    let rows: Vec<Vec<String>> = items(&answer["policies"])
        .map(|version| {
            let (proposed, by) = (text(&version["proposed_at"]), text(&version["proposed_by"]));
            let back = version["rolls_back_to"].as_i64().map(|to| format!("what {to} was"));
            vec![
                version["version"].to_string(),
                text(&version["state"]),
                proposed,
                by,
                text(&version["decided_at"]),
                text(&version["decided_by"]),
                back.unwrap_or_default(),
            ]
        })
        .collect();
    print(table(&["VERSION", "STATE", "PROPOSED", "BY", "DECIDED", "BY", "BRINGS BACK"], &rows).trim_end())
}

/// Prints a version and its rules.
pub(super) async fn show(arguments: VersionArguments) -> Result<(), CommandError> {
    let answer = looked(&arguments).await?;
    if arguments.json {
        return print(&answer.to_string());
    }
    print(&format!("{}\n", summary(&answer)))?;
    let rules = items(&answer["packs"]).flat_map(|pack| {
        items(&pack["rules"]).map(|rule| {
            let methods = &rule["match"]["method"];
            let methods = match methods.as_array() {
                Some(methods) => methods.iter().map(text).collect::<Vec<_>>().join(","),
                None => text(methods),
            };
            let id = format!("{}/{}", text(&pack["name"]), text(&rule["id"]));
            vec![id, methods, text(&rule["match"]["path"]), text(&rule["action"]), text(&rule["severity"])]
        })
    });
    let rules: Vec<Vec<String>> = rules.collect();
    print(table(&["RULE", "METHOD", "PATH", "ACTION", "SEVERITY"], &rules).trim_end())
}

/// Prints what a version changes, a rule on each line.
pub(super) async fn diff(arguments: VersionArguments) -> Result<(), CommandError> {
    let answer = looked(&arguments).await?;
    if arguments.json {
        return print(&answer["changes"].to_string());
    }
    let mut lines = Vec::new();
    for (pack, changes) in answer["changes"].as_object().into_iter().flatten() {
        for (sign, kind) in [("-", "removed"), ("+", "added"), ("~", "changed")] {
            lines.extend(items(&changes[kind]).map(|rule| plain(&format!("{sign} {pack}/{}", text(rule)))));
        }
    }
    if lines.is_empty() {
        lines.push("nothing: the active version has the same rules".to_owned());
    }
    print(&lines.join("\n"))
}

/// Proposes packs, each read and checked here first, so that what is wrong is told with its file and line.
pub(super) async fn propose(arguments: ProposeArguments) -> Result<(), CommandError> {
    let texts = arguments.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let body = match texts.as_slice() {
        [note] if !note.trim_start().starts_with('{') => note.clone(),
        packs => {
            let mut documents = Vec::with_capacity(packs.len());
            for (path, text) in arguments.files.iter().zip(packs) {
                PackFile::parse(text).map_err(|flaw| refused(path, &flaw))?;
                let document: Value = serde_json::from_str(text)
                    .map_err(|error| CommandError::Usage(format!("{}: {error}", path.display())))?;
                documents.push(document);
            }
            json!({"packs": documents}).to_string()
        }
    };
    let answer = Backend::open(&arguments.connection)?.post(&["v1", "policy"], body).await?;
    print(&said(&answer, arguments.json))
}

/// Decides on a version.
pub(super) async fn decide(arguments: VersionArguments, how: &str) -> Result<(), CommandError> {
    let backend = Backend::open(&arguments.connection)?;
    let version = arguments.version.to_string();
    let answer = backend.post(&["v1", "policy", &version, how], String::new()).await?;
    print(&said(&answer, arguments.json))
}

async fn looked(arguments: &VersionArguments) -> Result<Value, CommandError> {
    let backend = Backend::open(&arguments.connection)?;
    backend.json(&["v1", "policies", &arguments.version.to_string()], &[]).await
}

fn said(answer: &Value, json: bool) -> String {
    if json {
        return answer.to_string();
    }
    let next = match answer["state"].as_str() {
        Some("proposed") => {
            format!("; another admin agrees with: edgetrail policy approve {}", answer["version"])
        }
        _ => String::new(),
    };
    format!("{}{next}", summary(answer))
}

/// A version in a line.
fn summary(answer: &Value) -> String {
    let person = |verb: &str, by: &Value, at: &Value| {
        by.as_str().map(|by| plain(&format!(", {verb} by {by} at {}", text(at)))).unwrap_or_default()
    };
    format!(
        "version {} is {}{}{}",
        answer["version"],
        plain(&text(&answer["state"])),
        person("proposed", &answer["proposed_by"], &answer["proposed_at"]),
        person("decided", &answer["decided_by"], &answer["decided_at"]),
    )
}

fn items(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

fn text(of: &Value) -> String {
    of.as_str().unwrap_or_default().to_owned()
}
