//! Checking a deployment from end to end.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{CommandError, print};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::doctor::Finding;
use crate::doctor::edge::EdgeConfig;
use crate::doctor::examination::{Extent, examine};

/// How much is looked at.
#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// The Worker's settings: wrangler.toml, or a file with the value of EDGETRAIL_CONFIG. Without them only hosts are looked at
    /// that were counted before.
    #[arg(long, value_name = "FILE")]
    edge: Option<PathBuf>,
    /// Seconds that a request to each mount may take until it is counted here.
    #[arg(long, value_name = "SECONDS", default_value_t = 40)]
    wait: u64,
    /// Sends no requests to the mounts.
    #[arg(long)]
    no_probe: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    config: Result<Config, ConfigError>,
    file: Option<PathBuf>,
    arguments: DoctorArguments,
) -> Result<(), CommandError> {
    let findings = match config {
        Ok(config) => {
            let patience = (!arguments.no_probe).then_some(Duration::from_secs(arguments.wait));
            let mut findings = vec![Finding::ok("configuration", "read as `serve` reads it")];
            let edge = arguments.edge.as_ref().map(|path| (path, EdgeConfig::read(path)));
            let edge = match edge {
                Some((path, Ok(edge))) => {
                    let seen = format!("{}: {} mounts", path.display(), edge.mounts.len());
                    findings.push(Finding::ok("edge configuration", seen));
                    Some(edge)
                }
                Some((path, Err(reason))) => {
                    let seen = format!("{}: {reason}", path.display());
                    findings.push(Finding::failed(
                        "edge configuration",
                        seen,
                        "see edge/README.md, configuration",
                    ));
                    None
                }
                None => None,
            };
            findings
                .extend(examine(&config, &Extent { config: file, edge, patience }, &Clock::system()).await);
            findings
        }
        Err(error) => {
            let advice = "correct it; every key is in ingest/README.md";
            vec![Finding::failed("configuration", error.to_string(), advice)]
        }
    };
    let failed = findings.iter().filter(|finding| finding.is_failed()).count();
    if arguments.json {
        let checks: Vec<_> = findings.iter().map(Finding::to_json).collect();
        print(&format!("{:#}", json!({"failed": failed, "checks": checks})))?;
    } else {
        for finding in &findings {
            print(&finding.line())?;
        }
    }
    if failed > 0 { Err(CommandError::Unwell(failed, findings.len())) } else { Ok(()) }
}
