//! The built Worker as an artefact.

use std::process::Command;

/// What a Worker may weigh after gzip, in bytes: an isolate starts the slower the more there is to compile.
const MAX_GZIP: usize = 355_000;

#[test]
fn the_worker_stays_small() {
    let wasm = tests::stack::edge_bundle().expect("a built worker").join("index_bg.wasm");
    let output = Command::new("gzip").arg("-9c").arg(wasm).output().expect("gzip");
    assert!(output.status.success() && output.stdout.len() > 10_000, "it was compressed");
    assert!(output.stdout.len() < MAX_GZIP, "{} bytes", output.stdout.len());
}
