//! `cargo xtask chaos`: builds everything and hands it over to the fault campaign.

use std::path::Path;
use std::process::Command;

use crate::command::{self, Failure, cargo, root, step, target};
use crate::{edge, npm};

/// How a campaign is asked for; the arguments go to the program `chaos`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Campaign<'a> {
    pub(crate) seed: u64,
    pub(crate) minutes: Option<u64>,
    pub(crate) rounds: Option<u64>,
    pub(crate) json: Option<&'a Path>,
}

/// Runs a campaign; it fails if anything is lost, twice, or not proven.
pub(crate) fn run(campaign: Campaign<'_>) -> Result<(), Failure> {
    npm::install()?;
    edge::build(edge::Build::Deployed)?;
    step("building the backend and the campaign");
    let build = ["build", "-p", "ingest", "-p", "tests", "--bin", "edgetrail", "--bin", "chaos"];
    command::run(cargo(&build).env("SQLX_OFFLINE", "true"))?;
    let mut chaos = Command::new(target().join("debug/chaos"));
    chaos.current_dir(root()).arg("--seed").arg(campaign.seed.to_string());
    for (name, number) in [("--minutes", campaign.minutes), ("--rounds", campaign.rounds)] {
        if let Some(number) = number {
            chaos.arg(name).arg(number.to_string());
        }
    }
    if let Some(path) = campaign.json {
        chaos.arg("--json").arg(path);
    }
    command::run(&mut chaos)
}
