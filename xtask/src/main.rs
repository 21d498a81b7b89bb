//! The project's own commands: `cargo xtask dev` starts everything, `cargo xtask test` runs every test.

mod bench;
mod chaos;
mod command;
mod dev;
mod edge;
mod independent;
mod npm;
mod openapi;
mod test;
mod verifier;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::Failure;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Start everything on an embedded PostgreSQL and show real events.
    Dev {
        /// End after the first events instead of waiting for Ctrl-C.
        #[arg(long)]
        once: bool,
    },
    /// Run every test and lint, installing what they need.
    Test,
    /// Measure the Worker and the backend against baselines in the same run.
    Bench {
        /// End within three minutes, once everything is built.
        #[arg(long)]
        quick: bool,
        /// Write the figures as one flat JSON object.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Only `edge`, `export`, `ingest`, `insight`, `retention`, `search`, `streams`, `tenants` or `verify`.
        #[arg(long, value_name = "SIDE")]
        only: Option<String>,
        /// Events that are searched: 10,000,000 unless said, 300,000 with --quick.
        #[arg(long, value_name = "COUNT")]
        rows: Option<u64>,
        /// Watch the Worker's memory over so many requests: 1,000,000 unless said, 20,000 with --quick.
        #[arg(long, value_name = "COUNT")]
        soak: Option<u64>,
    },
    /// Kill, cut, fill and restore everything under load, and count what became of each act.
    Chaos {
        /// What repeats a run's faults.
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
    },
    /// Build the worker into target/edge.
    BuildEdge {
        /// Build the variant for tests, in which requests can plant a stop of the core, into target/edge-faults.
        #[arg(long)]
        faults: bool,
    },
    /// Write the API's document, as the code says it, to docs/openapi.json.
    #[command(name = "openapi")]
    OpenApi,
    /// Build the page that verifies bundles, one HTML file, into target/verifier.
    BuildVerifier,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Dev { once } => dev::run(once),
        Task::Test => test::run(),
        Task::Bench { quick, json, only, rows, soak } => {
            bench::run(quick, json.as_deref(), only.as_deref(), rows, soak)
        }
        Task::Chaos { seed, minutes, rounds, json } => {
            chaos::run(chaos::Campaign { seed, minutes, rounds, json: json.as_deref() })
        }
        Task::BuildEdge { faults: false } => edge::build(edge::Build::Deployed),
        Task::BuildEdge { faults: true } => edge::build(edge::Build::Faults),
        Task::OpenApi => openapi::write(),
        Task::BuildVerifier => verifier::build(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
