//! `cargo xtask bench`: builds what is measured, with optimisation, and measures it.

use std::ffi::OsString;
use std::process::Command;

use crate::command::{self, Failure, cargo, root, step, target};
use crate::{edge, npm};

/// Runs the benchmarks; the arguments go to the program `bench`.
pub(crate) fn run(arguments: &[OsString]) -> Result<(), Failure> {
    npm::install()?;
    edge::build(edge::Build::Deployed)?;
    step("building the backend and the benchmarks with optimisation");
    let build = ["build", "--release", "-p", "ingest", "-p", "tests", "--bin", "edgetrail", "--bin", "bench"];
    command::run(cargo(&build).env("SQLX_OFFLINE", "true"))?;
    step("measuring");
    let programs = target().join("release");
    let mut bench = Command::new(programs.join("bench"));
    bench.env("EDGETRAIL_BIN", programs.join("edgetrail")).current_dir(root()).args(arguments);
    command::run(&mut bench)
}
