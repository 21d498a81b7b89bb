//! `cargo xtask test`: everything, in the order in which it fails soonest.

use std::process::Command;

use crate::command::{self, Failure, cargo, root, step, target};
use crate::{edge, independent, npm, verifier};

/// Traces are built in where they are asked for; what is tested has them, so that one build does.
const TRACES: [&str; 2] = ["--features", "ingest/otlp"];

/// Runs every lint and test.
pub(crate) fn run() -> Result<(), Failure> {
    npm::install()?;
    npm::install_test_tools()?;
    independent::install()?;
    step("cargo fmt --check");
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    edge::build(edge::Build::Faults)?;
    edge::build(edge::Build::Deployed)?;
    verifier::build()?;
    browser();
    promtool();
    // The programs under test are built with their packages' tests.
    step("tests");
    if command::succeeds(&mut cargo(&["nextest", "--version"])) {
        // One second try: a machine that is busy for a moment is not a fault; nextest names whoever needed it as flaky.
        let all = ["nextest", "run", "--workspace", TRACES[0], TRACES[1], "--no-fail-fast"];
        checked(&[&all[..], &["--retries", "1"]].concat())?;
    } else {
        checked(&["test", "--workspace", TRACES[0], TRACES[1], "--no-fail-fast"])?;
    }
    step("clippy");
    let everything = ["clippy", "--workspace", TRACES[0], TRACES[1], "--all-targets", "--", "-D", "warnings"];
    checked(&everything)?;
    checked(&["clippy", "-p", "ingest", "--all-targets", "--", "-D", "warnings"])?;
    checked(&["clippy", "-p", "edge", "--target", "wasm32-unknown-unknown", "--", "-D", "warnings"])?;
    optional("cargo deny", &mut cargo(&["deny", "--version"]), || {
        command::run(&mut cargo(&["deny", "check", "bans", "licenses", "sources"]))
    })?;
    optional("python3", Command::new("python3").arg("--version"), || {
        let mut vectors = Command::new("python3");
        vectors.args(["shared/tests/vectors/leaf.py", "check", "shared/tests/vectors/leaf.json"]);
        command::run(vectors.current_dir(root()))
    })?;
    step("all passed");
    Ok(())
}

/// Installs a Chromium where there is none and the system's packages are ours to install; tests say so if it stays away.
fn browser() {
    let there = ["chromium", "chromium-browser", "google-chrome"];
    if there.iter().any(|name| command::succeeds(Command::new(name).arg("--version"))) {
        return;
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if root && command::succeeds(Command::new("apt-get").arg("--version")) {
        step("installing Chromium (apt)");
        let update = Command::new("apt-get").args(["update", "-qq"]).status();
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-qq", "--no-install-recommends", "chromium"]);
        if update.is_ok() && command::succeeds(&mut install) {
            return;
        }
    }
    step("there is no Chromium: what needs a browser is left out");
}

/// Unpacks Prometheus' promtool into `target/promtool` where Debian's packages can be had: installing them would start a server. Tests
/// say so if it stays away.
fn promtool() {
    let folder = target().join("promtool");
    let there = [folder.join("usr/bin/promtool"), "promtool".into()];
    if there.iter().any(|name| command::succeeds(Command::new(name).arg("--version"))) {
        return;
    }
    if command::succeeds(Command::new("apt-get").arg("--version")) && std::fs::create_dir_all(&folder).is_ok()
    {
        step("fetching promtool (apt)");
        let mut download = Command::new("apt-get");
        download.args(["download", "-qq", "prometheus"]).current_dir(&folder);
        // A fresh machine has no lists of packages yet; only root may fetch them.
        let downloaded = command::succeeds(&mut download)
            || (command::succeeds(Command::new("apt-get").args(["update", "-qq"]))
                && command::succeeds(&mut download));
        let mut unpack = Command::new("sh");
        unpack.args(["-c", "dpkg-deb --extract prometheus_*.deb ."]).current_dir(&folder);
        if downloaded && command::succeeds(&mut unpack) {
            return;
        }
    }
    step("there is no promtool: alerts and metrics are not held against it");
}

/// A build needs no database: queries are checked against `.sqlx`.
fn checked(arguments: &[&str]) -> Result<(), Failure> {
    command::run(cargo(arguments).env("SQLX_OFFLINE", "true"))
}

fn optional(
    name: &str,
    probe: &mut Command,
    task: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    if command::succeeds(probe) {
        step(name);
        task()
    } else {
        step(&format!("{name} is not installed: left out"));
        Ok(())
    }
}
