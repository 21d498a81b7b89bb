//! The deployment: wrangler takes the Worker and its settings as they are.

use std::fs;
use std::process::Command;

use tests::stack::{Module, edge_bundle, workspace_root};

/// A dry run: everything but the upload, without an account. `cargo xtask test` installs wrangler.
#[test]
fn wrangler_accepts_the_worker() {
    let root = workspace_root();
    let installed = root.join("tests/npm/node_modules");
    let wrangler = installed.join("wrangler/bin/wrangler.js");
    assert!(wrangler.is_file(), "run `cargo xtask test`, or `npm ci` in tests/npm");
    let dir = tempfile::tempdir().expect("there is a temporary directory");

    // The Worker is built already, and its path is relative to the settings.
    let settings = fs::read_to_string(root.join("wrangler.toml")).expect("the settings");
    let (before, build) = settings.split_once("\n[build]\n").expect("they say how it is built");
    let (_, after) = build.split_once("\n[").expect("more follows");
    let settings = format!("{before}\n[{after}");
    let table: toml::Table = settings.parse().expect("they are TOML");
    let main = table["main"].as_str().expect("the entry");
    let bundle = dir.path().join(main).with_file_name("");
    let built = edge_bundle().expect("a built Worker");
    let list = fs::read(built.join("modules.json")).expect("the list of its modules");
    let modules: Vec<Module> = serde_json::from_slice(&list).expect("it is JSON");
    for Module { name, .. } in &modules {
        let target = bundle.join(name);
        fs::create_dir_all(target.parent().expect("it lies in the folder")).expect("our own folder");
        fs::copy(built.join(name), target).expect("our own folder");
    }
    fs::write(dir.path().join("wrangler.toml"), settings).expect("our own folder");

    let output = Command::new(installed.join(".bin/node"))
        .arg(&wrangler)
        .args(["deploy", "--dry-run", "--outdir", "out"])
        .current_dir(dir.path())
        .env("HOME", dir.path())
        .env("CI", "1")
        .env("WRANGLER_SEND_METRICS", "false")
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
        .output()
        .expect("Node runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for part in ["env.EVENTS (audit)", "Queue", "env.EDGETRAIL_CONFIG", "Environment Variable"] {
        assert!(said.contains(part), "{part} is not listed:\n{said}");
    }
    for Module { name, .. } in &modules {
        assert!(dir.path().join("out").join(name).is_file(), "{name} is not uploaded:\n{said}");
    }
}
