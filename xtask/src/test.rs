//! `cargo xtask test`: everything, in the order in which it fails soonest.

use crate::command::{self, Failure, cargo, step};
use crate::{edge, npm};

pub(crate) fn run() -> Result<(), Failure> {
    npm::install()?;
    step("cargo fmt --check");
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    edge::build()?;
    Ok(())
}
