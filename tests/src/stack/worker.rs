//! The Worker in bare workerd.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::wire::{Call, send};

use super::{EdgeConfig, Module, Process, QueueOptions, SigningKey, StackError, WorkerSpec};

/// workerd is up in under 0.1 s; compiling the wasm on a loaded machine takes longer.
const READY: Duration = Duration::from_secs(30);

/// The queue of the Worker's batches.
pub const EVENTS: &str = "audit";

/// The queue of those that could not be delivered.
pub const DEAD_LETTERS: &str = "audit-dlq";

/// What a runtime is started with beside its configuration.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Flags of the JavaScript engine, such as a limit of its heap.
    pub v8_flags: Vec<String>,
    /// Variables of the environment.
    pub variables: Vec<(&'static str, String)>,
}

/// The Worker's process, its port and its directory.
#[derive(Debug)]
pub struct Worker {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    backlog_port: u16,
    variables: Vec<(&'static str, String)>,
    process: Option<Process>,
}

impl Worker {
    /// Writes the configuration for a bundle into a directory and starts workerd there. The queue's storage in that
    /// directory is kept.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn start(
        dir: &Path,
        port: u16,
        config: &EdgeConfig,
        key: &SigningKey,
        jwt_secret: &str,
        queue: QueueOptions,
    ) -> Result<Self, StackError> {
        let config = serde_json::to_string(config)?;
        let vars = vec![
            ("EDGETRAIL_CONFIG".to_owned(), config),
            ("EDGETRAIL_SIGNING_KEY".to_owned(), key.signer.reveal()),
            ("SUPABASE_JWT_SECRET".to_owned(), jwt_secret.to_owned()),
        ];
        Self::start_bundle(dir, &super::edge_bundle()?, port, vars, queue).await
    }

    /// The same with any bundle and bindings.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn start_bundle(
        dir: &Path,
        bundle: &Path,
        port: u16,
        vars: Vec<(String, String)>,
        queue: QueueOptions,
    ) -> Result<Self, StackError> {
        Self::start_in(dir, bundle, port, vars, queue, Surroundings::default()).await
    }

    /// The same in other surroundings.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn start_in(
        dir: &Path,
        bundle: &Path,
        port: u16,
        vars: Vec<(String, String)>,
        queue: QueueOptions,
        surroundings: Surroundings,
    ) -> Result<Self, StackError> {
        let Surroundings { v8_flags, variables } = surroundings;
        let list = bundle.join("modules.json");
        let list = fs::read(&list).map_err(StackError::io(list.display().to_string()))?;
        let modules: Vec<Module> = serde_json::from_slice(&list)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir.join("state"))
            .map_err(StackError::io("making the storage directory"))?;
        for module in &modules {
            copy(bundle, &dir.join("modules"), &module.name)?;
        }
        let backlog_port = super::free_port(None)?;
        let spec = WorkerSpec { port, backlog_port, modules, vars, queue, v8_flags };
        write_secret(&dir.join("config.capnp"), &spec.capnp())?;
        let (bin, dir) = (super::workerd_bin()?, dir.to_path_buf());
        let mut worker = Self { bin, dir, port, backlog_port, variables, process: None };
        worker.restart().await?;
        Ok(worker)
    }

    /// Starts it again on the same port and storage, stopping it first if it runs.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn restart(&mut self) -> Result<(), StackError> {
        self.stop();
        let mut command = Command::new(&self.bin);
        command.args(["serve", "--experimental", "config.capnp"]).current_dir(&self.dir);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start("workerd", command, &self.dir.join("workerd.log"))?;
        // It opens its sockets one after the other.
        let backlog = SocketAddr::from(([127, 0, 0, 1], self.backlog_port));
        let open = [self.address(), backlog];
        let listens = |address: &SocketAddr| TcpStream::connect(address).is_ok();
        process.wait_for(READY, |_| open.iter().all(listens).then_some(())).await?;
        self.process = Some(process);
        self.backlog(DEAD_LETTERS).await?;
        Ok(())
    }

    /// How many messages wait in a queue, [`EVENTS`] or [`DEAD_LETTERS`].
    ///
    /// # Errors
    /// workerd does not answer.
    pub async fn backlog(&self, queue: &str) -> Result<u64, StackError> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.backlog_port));
        let call = Call::new("GET", format!("/{queue}"));
        let answer = send(address, "backlog", &call).await?;
        answer.json()["backlogCount"]
            .as_u64()
            .ok_or_else(|| StackError::Backlog { status: answer.status, body: answer.text() })
    }

    /// Stops it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// Kills it as a crash would.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What it wrote since it was started.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// [`StackError::Io`].
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), StackError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let what = || StackError::io(path.display().to_string());
    fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(what())?
        .write_all(text.as_bytes())
        .map_err(what())
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<(), StackError> {
    let target = to.join(name);
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir).map_err(StackError::io(dir.display().to_string()))?;
    }
    fs::copy(from.join(name), &target).map(drop).map_err(StackError::io(format!("copying module {name}")))
}
