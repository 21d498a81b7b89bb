//! Clocks that jump: a library of forty lines of C, put under a process with `LD_PRELOAD`, adds as many seconds to the time
//! of day as a file says. Durations are measured by another clock, which never jumps, as on a real machine whose time is set.
//!
//! The runtimes and the backend inherit it from us. PostgreSQL is started by the backend without any of our variables, so
//! a script in its place puts them back.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ChaosError;
use super::fault::Timekeeper;
use crate::stack::postgres_bin;

/// Seconds of a jump.
const JUMP: i64 = 3_600;

/// The clocks of the three kinds of processes.
#[derive(Debug)]
pub struct Clocks {
    dir: PathBuf,
}

impl Clocks {
    /// Compiles the library into a folder, with clocks that are right.
    ///
    /// # Errors
    /// There is no C compiler, or no PostgreSQL.
    pub fn new(dir: &Path) -> Result<Self, ChaosError> {
        let clocks = Self { dir: dir.to_path_buf() };
        let bin = dir.join("postgres");
        fs::create_dir_all(&bin).map_err(ChaosError::file(&bin))?;
        let source = dir.join("shim.c");
        fs::write(&source, include_str!("shim.c")).map_err(ChaosError::file(&source))?;
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&clocks.library(), &source])
            .output()
            .map_err(|error| ChaosError::Clocks(format!("cc: {error}")))?;
        if !output.status.success() {
            return Err(ChaosError::Clocks(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        for whose in Timekeeper::ALL {
            fs::write(clocks.file(whose), 0_i64.to_ne_bytes()).map_err(ChaosError::file(dir))?;
        }
        let real = postgres_bin()?;
        let settings: Vec<String> = clocks
            .variables(Timekeeper::Postgres)
            .into_iter()
            .map(|(name, value)| format!("{name}='{value}'"))
            .collect();
        let script =
            format!("#!/bin/sh\n{} exec '{}' \"$@\"\n", settings.join(" "), real.join("postgres").display());
        let program = bin.join("postgres");
        fs::write(&program, script).map_err(ChaosError::file(&program))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .map_err(ChaosError::file(&program))?;
        symlink(real.join("initdb"), bin.join("initdb")).map_err(ChaosError::file(&bin))?;
        Ok(clocks)
    }

    /// What puts a process under its clock.
    pub fn variables(&self, whose: Timekeeper) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("LD_PRELOAD", self.library().display().to_string()),
            ("CHAOS_CLOCK", self.file(whose).display().to_string()),
        ];
        if whose == Timekeeper::Ingest {
            variables.push(("EDGETRAIL_PG_BIN", self.dir.join("postgres").display().to_string()));
        }
        variables
    }

    /// Sets clocks an hour ahead, or back.
    ///
    /// # Errors
    /// The file is gone.
    pub fn jump(&self, of: &[Timekeeper], ahead: bool) -> Result<(), ChaosError> {
        self.set(of, if ahead { JUMP } else { -JUMP })
    }

    /// Sets clocks so far ahead that all is due that a jump put off: what was to happen later when a clock was ahead waits for
    /// that hour.
    ///
    /// # Errors
    /// The file is gone.
    pub fn hurry(&self, of: &[Timekeeper]) -> Result<(), ChaosError> {
        self.set(of, 2 * JUMP)
    }

    /// Sets clocks right.
    ///
    /// # Errors
    /// The file is gone.
    pub fn right(&self, of: &[Timekeeper]) -> Result<(), ChaosError> {
        self.set(of, 0)
    }

    fn set(&self, of: &[Timekeeper], seconds: i64) -> Result<(), ChaosError> {
        for whose in of {
            let path = self.file(*whose);
            // In place: the processes have the file in their memory.
            let written = fs::File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.write_all_at(&seconds.to_ne_bytes(), 0));
            written.map_err(ChaosError::file(&path))?;
        }
        Ok(())
    }

    fn library(&self) -> PathBuf {
        self.dir.join("clock.so")
    }

    fn file(&self, whose: Timekeeper) -> PathBuf {
        self.dir.join(match whose {
            Timekeeper::Edge => "edge.clock",
            Timekeeper::Ingest => "ingest.clock",
            Timekeeper::Postgres => "postgres.clock",
        })
    }

    /// What a process under a clock takes the time of day for, in seconds since 1970.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn read(&self, whose: Timekeeper) -> io::Result<i64> {
        let output = Command::new("date").arg("+%s").envs(self.variables(whose)).output()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_jumps_under_one_process_and_not_under_the_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let clocks = Clocks::new(dir.path()).expect("a C compiler and a PostgreSQL");
        let now = i64::try_from(crate::clock::unix_now()).expect("a time");
        let wrong_by = |whose| (clocks.read(whose).expect("date runs") - now + 60).div_euclid(600) * 600;
        clocks.jump(&[Timekeeper::Edge], true).expect("our own file");
        clocks.jump(&[Timekeeper::Postgres], false).expect("our own file");
        assert_eq!(Timekeeper::ALL.map(wrong_by), [3_600, 0, -3_600]);
        clocks.right(&Timekeeper::ALL).expect("our own file");
        assert_eq!(Timekeeper::ALL.map(wrong_by), [0, 0, 0]);
    }
}
