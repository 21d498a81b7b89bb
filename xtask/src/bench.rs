//! `cargo xtask bench`: builds what is measured, with optimisation, and measures it.

use std::path::Path;
use std::process::Command;

use crate::command::{self, Failure, cargo, root, step, target};
use crate::{edge, npm};

/// Runs the benchmarks; the arguments go to the program `bench`.
pub(crate) fn run(
    quick: bool,
    json: Option<&Path>,
    only: Option<&str>,
    rows: Option<u64>,
    soak: Option<u64>,
) -> Result<(), Failure> {
    npm::install()?;
    edge::build(edge::Build::Deployed)?;
    step("building the backend and the benchmarks with optimisation");
    let build = ["build", "--release", "-p", "ingest", "-p", "tests", "--bin", "edgetrail", "--bin", "bench"];
    command::run(cargo(&build).env("SQLX_OFFLINE", "true"))?;
    step("measuring");
    let programs = target().join("release");
    let mut bench = Command::new(programs.join("bench"));
    bench.env("EDGETRAIL_BIN", programs.join("edgetrail")).current_dir(root());
    if quick {
        bench.arg("--quick");
    }
    if let Some(path) = json {
        bench.arg("--json").arg(path);
    }
    if let Some(side) = only {
        bench.arg("--only").arg(side);
    }
    if let Some(rows) = rows {
        bench.arg("--rows").arg(rows.to_string());
    }
    if let Some(requests) = soak {
        bench.arg("--soak").arg(requests.to_string());
    }
    command::run(&mut bench)
}
