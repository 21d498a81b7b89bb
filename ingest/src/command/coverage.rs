//! `edgetrail coverage`: how much of the traffic rules cover, busiest routes first.

use clap::Args;
use serde_json::Value;

use super::connection::{Backend, Connection};
use super::shown::table;
use super::{CommandError, print};

#[derive(Debug, Args)]
pub(super) struct CoverageArguments {
    /// Only this host.
    #[arg(long)]
    host: Option<String>,
    /// Only routes that no rule names.
    #[arg(long)]
    unmapped: bool,
    /// Print the backend's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: CoverageArguments) -> Result<(), CommandError> {
    let backend = Backend::open(&arguments.connection)?;
    let mut parameters = Vec::new();
    if let Some(host) = &arguments.host {
        parameters.push(("host", host.as_str()));
    }
    if arguments.unmapped {
        parameters.push(("mapped", "false"));
    }
    let answer = backend.json(&["v1", "coverage"], &parameters).await?;
    if arguments.json {
        return print(&answer.to_string());
    }
    let routes = answer["routes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = routes
        .iter()
        .map(|route| {
            let text = |name: &str| route[name].as_str().unwrap_or_default().to_owned();
            let mapped = if route["mapped"] == true { "yes" } else { "no" };
            vec![route["count"].to_string(), mapped.to_owned(), text("method"), text("host"), text("route")]
        })
        .collect();
    print(table(&["REQUESTS", "MAPPED", "METHOD", "HOST", "ROUTE"], &rows).trim_end())?;
    let totals = &answer["totals"];
    match totals["percent_mapped"].as_f64() {
        Some(percent) => {
            print(&format!("\n{percent} % of {} requests fall under a rule", totals["requests"]))
        }
        None => print("\nno request was counted yet"),
    }?;
    if answer["more"] == Value::Bool(true) {
        eprintln!("there are more routes than are shown");
    }
    Ok(())
}
