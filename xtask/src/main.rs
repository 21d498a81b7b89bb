//! The project's own commands: `cargo xtask dev` starts everything, `cargo xtask test` runs every test.

mod command;
mod dev;
mod edge;
mod npm;
mod test;

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
    /// Build the worker into target/edge.
    BuildEdge {
        /// Build the variant for tests, in which requests can plant a stop of the core, into target/edge-faults.
        #[arg(long)]
        faults: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Dev { once } => dev::run(once),
        Task::Test => test::run(),
        Task::BuildEdge { faults: false } => edge::build(edge::Build::Deployed),
        Task::BuildEdge { faults: true } => edge::build(edge::Build::Faults),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
