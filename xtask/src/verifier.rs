//! Building the page that verifies bundles: one HTML file, with the core in it.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasm_bindgen_cli_support::Bindgen;

use crate::command::{Failure, cargo, root, run, step, target};

/// Builds `target/verifier/verify.html`.
pub(crate) fn build() -> Result<(), Failure> {
    step("building the page that verifies bundles (wasm)");
    let profile = ["--profile", "worker", "--target", "wasm32-unknown-unknown"];
    let mut build = cargo(&["build", "--quiet", "-p", "verifier"]);
    run(build.args(profile).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", crate::edge::wasm_flags()))?;
    let out = target().join("verifier");
    bind(&target().join("wasm32-unknown-unknown/worker/verifier.wasm"), &out)
        .map_err(|error| Failure(format!("wasm-bindgen: {error:#}")))?;
    let page = root().join("verifier/page");
    let wasm = out.join("verify_bg.wasm");
    let wasm = fs::read(&wasm).map_err(|error| at(&wasm, &error))?;
    let mut html = text(&page.join("index.html"))?;
    for (mark, part) in [
        ("{{style}}", text(&page.join("style.css"))?),
        ("{{glue}}", text(&out.join("verify.js"))?),
        ("{{worker}}", text(&page.join("worker.js"))?),
        ("{{script}}", text(&page.join("page.js"))?),
        ("{{wasm}}", STANDARD.encode(wasm)),
    ] {
        html = html.replacen(mark, part.trim_end(), 1);
    }
    let path = out.join("verify.html");
    fs::write(&path, html).map_err(|error| at(&path, &error))
}

fn bind(wasm: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name("verify").typescript(false);
    bindgen.remove_name_section(true).remove_producers_section(true);
    bindgen.no_modules(true)?.generate(out)?;
    Ok(())
}

fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
