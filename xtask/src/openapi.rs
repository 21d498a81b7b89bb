//! `cargo xtask openapi`: the API's document, committed so that a change of the API is seen in review.

use std::fs;
use std::process::Stdio;

use crate::command::{Failure, cargo, root, step};

/// Writes `docs/openapi.json`.
pub(crate) fn write() -> Result<(), Failure> {
    step("writing docs/openapi.json");
    let mut print = cargo(&["run", "--quiet", "-p", "ingest", "--bin", "edgetrail", "--", "openapi"]);
    let printed = print.env("SQLX_OFFLINE", "true").stderr(Stdio::inherit()).output();
    let printed = printed.map_err(|error| Failure(format!("cargo run: {error}")))?;
    if !printed.status.success() {
        return Err(Failure(format!("edgetrail openapi: {}", printed.status)));
    }
    let path = root().join("docs/openapi.json");
    fs::write(&path, printed.stdout).map_err(|error| Failure(format!("{}: {error}", path.display())))
}
