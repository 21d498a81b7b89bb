//! Code that shares nothing with ours, for the tests that hold ours against it: a verifier and a witness from PyPI, a
//! stand-in for S3, and what makes requests up from the API's document. They live in `target/independent`, exact versions
//! in `tests/independent/requirements.txt`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::command::{Failure, root, run, step, succeeds, target};

/// The packages ask for it.
const NEEDED: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))";

/// Installs them, once; without a Python that can run them the tests say that they are left out.
pub(crate) fn install() -> Result<(), Failure> {
    let wanted = root().join("tests/independent/requirements.txt");
    let folder = target().join("independent");
    let installed = folder.join("requirements.txt");
    let read = |path: &PathBuf| fs::read(path).ok();
    if read(&installed).is_some() && read(&installed) == read(&wanted) {
        return Ok(());
    }
    let Some(python) = python() else {
        step("Python 3.12 is not installed: the independent verifier and witness are left out");
        return Ok(());
    };
    step("installing an independent verifier, a witness and a stand-in for S3 (PyPI)");
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&wanted);
    run(&mut pip)?;
    // Last, so that an install that broke off is done again.
    fs::copy(&wanted, &installed).map_err(|error| Failure(format!("{}: {error}", installed.display())))?;
    Ok(())
}

/// A Python that is new enough: of the path, or the newest that pyenv keeps.
fn python() -> Option<PathBuf> {
    let on_path = ["python3", "python3.14", "python3.13", "python3.12"].map(PathBuf::from);
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")));
    let kept = pyenv.and_then(|dir| fs::read_dir(dir.join("versions")).ok()).into_iter().flatten().flatten();
    let mut kept: Vec<PathBuf> = kept.map(|version| version.path().join("bin/python3")).collect();
    kept.sort();
    let candidates = on_path.into_iter().chain(kept.into_iter().rev());
    candidates.into_iter().find(|python| succeeds(Command::new(python).args(["-c", NEEDED])))
}
