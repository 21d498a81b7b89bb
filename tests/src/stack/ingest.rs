//! `edgetrail serve` with a PostgreSQL of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;

use super::worker::write_secret;
use super::{Api, Process, SigningKey, StackError};

/// Making a new PostgreSQL cluster takes about 3 s here, and much longer on a loaded machine.
const READY: Duration = Duration::from_secs(120);

/// What it prints before its address when it is ready.
const LISTENING: &str = "edgetrail: listening on http://";

/// What the configuration is made from.
#[derive(Debug, Clone)]
pub struct IngestSpec {
    /// The loopback port to listen on.
    pub port: u16,
    /// The Worker's key.
    pub key: SigningKey,
    /// An administrator's API key, `etk_<id>_<secret>`.
    pub api_key: String,
    /// More of the configuration, as TOML.
    pub more: String,
}

impl IngestSpec {
    /// The configuration file, with the data in `data_dir`.
    pub fn toml(&self, data_dir: &Path) -> String {
        // A JSON string is a TOML basic string.
        let text = |value: String| serde_json::Value::from(value).to_string();
        let id = self.api_key.split('_').nth(1).unwrap_or("dev").to_owned();
        format!(
            "[http]\nlisten = \"127.0.0.1:{port}\"\n\n[database]\ndata_dir = {data}\n\n[log]\norigin = \"localhost\"\n\n\
             [[signers]]\nkey = {key}\ntenants = [\"demo\"]\n\n[[api_keys]]\nid = {id}\ntenant = \"demo\"\nperson = \"dev@example.com\"\n\
             role = \"admin\"\nsha256 = \"{hash}\"\n\n{more}",
            port = self.port,
            data = text(data_dir.display().to_string()),
            key = text(self.key.verifier.to_string()),
            id = text(id),
            hash = hex::encode(Sha256::digest(&self.api_key)),
            more = self.more,
        )
    }
}

/// The process, its port and its data.
#[derive(Debug)]
pub struct Ingest {
    bin: PathBuf,
    dir: PathBuf,
    spec: IngestSpec,
    variables: Vec<(&'static str, String)>,
    process: Option<Process>,
}

impl Ingest {
    /// Writes the configuration into a directory and starts the server there. Its data is kept.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn start(dir: &Path, spec: IngestSpec) -> Result<Self, StackError> {
        Self::start_with(dir, spec, Vec::new()).await
    }

    /// The same with variables of the environment, which go before the configuration.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn start_with(
        dir: &Path,
        spec: IngestSpec,
        variables: Vec<(&'static str, String)>,
    ) -> Result<Self, StackError> {
        fs::create_dir_all(dir).map_err(StackError::io(dir.display().to_string()))?;
        let (bin, dir) = (super::edgetrail_bin()?, dir.to_path_buf());
        let mut ingest = Self { bin, dir, spec, variables, process: None };
        let more = ingest.spec.more.clone();
        ingest.configure(more).await?;
        Ok(ingest)
    }

    /// Writes its configuration anew with this in place of what was added to it, and starts it again.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn configure(&mut self, more: String) -> Result<(), StackError> {
        self.spec.more = more;
        write_secret(&self.config(), &self.spec.toml(&self.data_dir()))?;
        self.restart().await
    }

    /// Starts it again on the same port and data, stopping it first if it runs.
    ///
    /// # Errors
    /// [`StackError`].
    pub async fn restart(&mut self) -> Result<(), StackError> {
        self.stop();
        let mut command = Command::new(&self.bin);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(super::workspace_root());
        let mut process = Process::start("edgetrail", command, &self.dir.join("edgetrail.log"))?;
        process.wait_for(READY, |process| process.output().contains(LISTENING).then_some(())).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it, and with it its PostgreSQL.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.spec.port))
    }

    /// Its API, as administrator.
    pub fn api(&self) -> Api {
        Api::new(self.address(), &self.spec.api_key)
    }

    /// The key of an admin.
    pub fn api_key(&self) -> &str {
        &self.spec.api_key
    }

    /// What it wrote since it was started.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("edgetrail.toml")
    }

    /// The directory with its data.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// How its private PostgreSQL is reached, as its superuser.
    ///
    /// # Errors
    /// [`StackError::NoDatabase`] if none runs.
    pub fn database(&self) -> Result<PgConnectOptions, StackError> {
        let pid_file = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        let socket = pid_file.lines().nth(4).ok_or_else(|| StackError::NoDatabase(self.data_dir()))?;
        let options = PgConnectOptions::new_without_pgpass();
        Ok(options.socket(socket).username("edgetrail").database("postgres"))
    }

    /// The process id of its PostgreSQL: the first line of `postmaster.pid`.
    pub fn postgres_pid(&self) -> Option<u32> {
        let mut dirs = vec![(self.data_dir(), 0)];
        while let Some((dir, depth)) = dirs.pop() {
            if let Ok(text) = fs::read_to_string(dir.join("postmaster.pid")) {
                return text.lines().next()?.trim().parse().ok();
            }
            if depth < 2 {
                let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
                dirs.extend(entries.map(|entry| (entry.path(), depth + 1)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml() {
        let spec = IngestSpec {
            port: 9200,
            key: SigningKey::from_seed([7; 32]),
            api_key: "etk_dev_secret".to_owned(),
            more: String::new(),
        };
        let text = spec.toml(Path::new("/tmp/a \"b\""));
        let config: toml::Table = toml::from_str(&text).expect("it is TOML");
        assert_eq!(config["database"]["data_dir"].as_str(), Some("/tmp/a \"b\""));
        assert_eq!(config["api_keys"][0]["id"].as_str(), Some("dev"));
        let key: Result<shared::note::VerifierKey, _> =
            config["signers"][0]["key"].as_str().unwrap_or_default().parse();
        assert_eq!(key, Ok(spec.key.verifier));
        assert!(!text.contains("secret\""), "only the hash is stored");
    }
}
