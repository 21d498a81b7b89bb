//! `cargo xtask chaos`: the fault campaign.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::chaos::{Length, run};

#[derive(Debug, Parser)]
#[command(
    about = "Kills, cuts, fills and restores everything under load, and counts what became of each act"
)]
struct Arguments {
    /// What repeats a run's faults: their kinds, order, combinations and pauses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minutes to go on for; the round under way is finished.
    #[arg(long, conflicts_with = "rounds")]
    minutes: Option<u64>,
    /// Rounds, each with every fault: 1 unless said.
    #[arg(long)]
    rounds: Option<u64>,
    /// Write the ledger as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let length = match arguments.minutes {
        Some(minutes) => Length::Time(Duration::from_secs(minutes * 60)),
        None => Length::Rounds(arguments.rounds.unwrap_or(1)),
    };
    println!("seed {}", arguments.seed);
    let ledger = match run(arguments.seed, length, |line| println!("{line}")).await {
        Ok(ledger) => ledger,
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("\n{ledger}");
    if let Some(path) = &arguments.json
        && let Err(error) = std::fs::write(path, ledger.json())
    {
        eprintln!("chaos: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if ledger.wrong().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
