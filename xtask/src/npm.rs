//! What is installed from npm: exact versions in `package.json` at the root and in `tests/npm`.

use std::process::Command;

use crate::command::{Failure, root, run, step};

/// Installs the runtime and the database that `dev` needs, once.
pub(crate) fn install() -> Result<(), Failure> {
    install_into("", "installing workerd and PostgreSQL (npm)")
}

/// Installs what only tests run, once: wrangler, and the newer Node that it asks for.
pub(crate) fn install_test_tools() -> Result<(), Failure> {
    install_into("tests/npm", "installing wrangler and playwright-core (npm)")
}

fn install_into(folder: &str, words: &str) -> Result<(), Failure> {
    let folder = root().join(folder);
    let changed = |path: &str| folder.join(path).metadata().and_then(|file| file.modified()).ok();
    // npm writes the second file at the end of an install.
    if changed("node_modules/.package-lock.json") > changed("package-lock.json") {
        return Ok(());
    }
    step(words);
    let mut npm = Command::new("npm");
    run(npm.args(["install", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(&folder))?;
    // An install that changes nothing leaves that file as old as it was.
    let done = std::fs::File::options().append(true).open(folder.join("node_modules/.package-lock.json"));
    let touched = done.and_then(|file| file.set_modified(std::time::SystemTime::now()));
    touched.map_err(|error| Failure(format!("{}: {error}", folder.display())))
}
