//! `cargo xtask dev`: builds everything and hands over to the program that starts it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::command::{self, Failure, cargo, root, step, target};
use crate::{edge, npm};

pub(crate) fn run(once: bool) -> Result<(), Failure> {
    npm::install()?;
    edge::build(edge::Build::Deployed)?;
    step("building the backend and the demo application");
    command::run(cargo(&["build", "-p", "ingest", "-p", "tests", "--bins"]).env("SQLX_OFFLINE", "true"))?;
    let mut dev = Command::new(target().join("debug/dev"));
    dev.current_dir(root());
    if once {
        dev.arg("--once");
    }
    // In place of this process, so that Ctrl-C reaches it alone and is waited for.
    Err(Failure(format!("{}: {}", target().join("debug/dev").display(), dev.exec())))
}
