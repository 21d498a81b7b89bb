//! The files of the private server: where they are, who owns them, and making them.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use super::binaries::Binaries;
use super::{EmbeddedError, USER, process};

/// The number in the socket's name; there is no port.
pub(super) const PORT: u16 = 5432;
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// `sockaddr_un.sun_path` holds 108 bytes on Linux and 104 elsewhere, the closing NUL among them.
const MAX_SOCKET_PATH: usize = 103;
/// `nobody`: PostgreSQL refuses to run as root.
const UNPRIVILEGED: u32 = 65534;

/// An initialised data directory and the programs that fit it.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) data_dir: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log: PathBuf,
    binaries: Binaries,
    owner: Option<u32>,
    /// Memory that its processes share for pages, in MB.
    shared_buffers_mb: u32,
}

impl Cluster {
    /// Finds programs, and makes the data directory if there is none.
    pub(super) fn prepare(data_dir: &Path, shared_buffers_mb: u32) -> Result<Self, EmbeddedError> {
        let data_dir = std::path::absolute(data_dir).map_err(at(data_dir))?;
        let parent = data_dir.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(at(parent))?;
        // Symlinks resolved, so that every process finds the same socket.
        let data_dir =
            fs::canonicalize(parent).map_err(at(parent))?.join(data_dir.file_name().unwrap_or_default());
        let version_file = data_dir.join("PG_VERSION");
        let wanted = match fs::read_to_string(&version_file) {
            Ok(text) => text.trim().parse().ok(),
            Err(_) => None,
        };
        let binaries = Binaries::find(&data_dir, wanted)?;
        let owner = process::is_root().then_some(UNPRIVILEGED);
        if owner.is_some() {
            let_through(data_dir.parent().unwrap_or(Path::new("/")))?;
        }
        let socket_dir = if data_dir.as_os_str().len() + 1 + SOCKET_NAME.len() <= MAX_SOCKET_PATH {
            data_dir.clone()
        } else {
            runtime_dir(&data_dir, owner)?
        };
        let log = data_dir.with_extension("log");
        let cluster = Self { log, socket_dir, binaries, owner, data_dir, shared_buffers_mb };
        if wanted.is_none() {
            cluster.init()?;
        }
        Ok(cluster)
    }

    /// A program of the server, as the user the data belongs to.
    pub(super) fn program(&self, name: &str) -> Command {
        let mut command = self.binaries.program(name);
        if let Some(id) = self.owner {
            // Setting the group as root also drops the supplementary ones.
            command.uid(id).gid(id);
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// The server's command line. The settings stand here and not in a file, so that they follow the program.
    pub(super) fn server(&self) -> Command {
        let mut command = self.program("postgres");
        command.arg("-D").arg(&self.data_dir);
        command.arg("-k").arg(&self.socket_dir);
        for setting in [
            "listen_addresses=",
            "unix_socket_permissions=0700",
            "fsync=on",
            "synchronous_commit=on",
            "wal_compression=on",
            "max_wal_size=1GB",
            "jit=off",
            "log_min_messages=warning",
        ] {
            command.arg("-c").arg(setting);
        }
        command.arg("-c").arg(format!("shared_buffers={}MB", self.shared_buffers_mb));
        command
    }

    /// The socket, if a server says in its pid file that it is ready and takes connections on it.
    pub(super) fn is_ready(&self) -> bool {
        let Ok(pid_file) = fs::read_to_string(self.data_dir.join("postmaster.pid")) else {
            return false;
        };
        pid_file.lines().nth(7).is_some_and(|status| status.trim() == "ready")
            && UnixStream::connect(self.socket_dir.join(SOCKET_NAME)).is_ok()
    }

    /// Whether some process holds the data directory, ready or not.
    pub(super) fn is_held(&self) -> bool {
        let pid = fs::read_to_string(self.data_dir.join("postmaster.pid"))
            .ok()
            .and_then(|file| file.lines().next()?.trim().parse::<u32>().ok());
        // A pid file survives kill -9 and a restart of the machine; the socket tells whether anyone listens.
        pid.is_some() && UnixStream::connect(self.socket_dir.join(SOCKET_NAME)).is_ok()
    }

    /// Makes the data directory beside its place and renames it, so that a killed first start leaves nothing half-made.
    fn init(&self) -> Result<(), EmbeddedError> {
        let fresh = self.data_dir.with_extension(format!("new-{}", std::process::id()));
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(at(&fresh))?;
        }
        private_dir(&fresh, self.owner)?;
        let output = self
            .program("initdb")
            .arg("-D")
            .arg(&fresh)
            .args(["-U", USER, "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-instructions"])
            .output()
            .map_err(at(&self.binaries.dir.join("initdb")))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let _ = fs::remove_dir_all(&fresh);
            return Err(EmbeddedError::Program {
                program: "initdb".to_owned(),
                reason: words.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join(" / "),
            });
        }
        match fs::rename(&fresh, &self.data_dir) {
            Ok(()) => Ok(()),
            // Another process was faster; its cluster is as good.
            Err(_) if self.data_dir.join("PG_VERSION").exists() => {
                fs::remove_dir_all(&fresh).map_err(at(&fresh))
            }
            Err(source) => Err(EmbeddedError::Io { path: self.data_dir.clone(), source }),
        }
    }
}

/// Lets another user through a directory of ours to what is theirs in it; they cannot list it.
fn let_through(dir: &Path) -> Result<(), EmbeddedError> {
    let mode = fs::metadata(dir).map_err(at(dir))?.permissions().mode();
    if mode & 0o001 == 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o001)).map_err(at(dir))?;
    }
    Ok(())
}

/// A short directory for the socket of a deep data directory.
fn runtime_dir(data_dir: &Path, owner: Option<u32>) -> Result<PathBuf, EmbeddedError> {
    let name = hex::encode(&Sha256::digest(data_dir.as_os_str().as_encoded_bytes())[..8]);
    let dir = Path::new("/tmp").join(format!("edgetrail-{name}"));
    match fs::symlink_metadata(&dir) {
        Ok(found) => {
            let expected = owner.unwrap_or_else(|| {
                fs::metadata(data_dir.parent().unwrap_or(data_dir)).map_or(found.uid(), |parent| parent.uid())
            });
            // In /tmp anyone may have put a directory of this name there first.
            if !found.is_dir() || found.uid() != expected {
                return Err(EmbeddedError::Io {
                    path: dir,
                    source: std::io::Error::other("exists and belongs to someone else"),
                });
            }
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(at(&dir))?;
        }
        Err(_) => private_dir(&dir, owner)?,
    }
    Ok(dir)
}

fn private_dir(dir: &Path, owner: Option<u32>) -> Result<(), EmbeddedError> {
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(at(dir))?;
    if let Some(id) = owner {
        chown(dir, Some(id), Some(id)).map_err(at(dir))?;
    }
    Ok(())
}

pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> EmbeddedError {
    let path = path.to_owned();
    move |source| EmbeddedError::Io { path, source }
}
