//! `cargo xtask dev`: builds everything and hands over to the program that starts it.

use crate::command::{Failure, cargo, root, step, target};
use crate::{edge, npm};

pub(crate) fn run(once: bool) -> Result<(), Failure> {
    npm::install()?;
    edge::build()?;
    step("building the backend and the demo application");
    crate::command::run(&mut cargo(&["build", "-p", "ingest", "-p", "tests", "--bins"]))?;
    let mut dev = std::process::Command::new(target().join("debug/dev"));
    dev.current_dir(root());
    if once {
        dev.arg("--once");
    }
    crate::command::run(&mut dev)
}
