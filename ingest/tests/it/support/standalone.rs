//! A backend as an operator starts it: a process with a configuration file, an umask, and a log.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Response, call};

pub(crate) struct Standalone {
    pub(crate) address: String,
    child: Child,
}

impl Standalone {
    /// Starts one in a directory and waits until it listens. Its log has everything that can be logged.
    pub(crate) async fn start(dir: &Path, umask: &str, toml: &str, variables: &[(&str, &str)]) -> Self {
        let config = dir.join("edgetrail.toml");
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&config);
        std::io::Write::write_all(&mut file.expect("our own directory"), toml.as_bytes()).expect("written");
        let mut options = fs::OpenOptions::new();
        let log = options.append(true).create(true).mode(0o600).open(dir.join("edgetrail.log"));
        let log: File = log.expect("our own directory");
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "umask \"$0\" && exec \"$@\"",
                umask,
                env!("CARGO_BIN_EXE_edgetrail"),
                "serve",
                "--config",
            ])
            .arg(&config)
            .env("EDGETRAIL_LOG", "trace")
            .env("EDGETRAIL__HTTP__LISTEN", "127.0.0.1:0")
            .env("EDGETRAIL__LOG__INTERVAL_MS", "20")
            .envs(variables.iter().copied())
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(log);
        let dir = dir.to_owned();
        let started = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("it starts");
            let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
            let address = lines
                .find_map(|line| line.strip_prefix("edgetrail: listening on http://").map(str::to_owned))
                .unwrap_or_else(|| {
                    panic!(
                        "it listens: {}",
                        fs::read_to_string(dir.join("edgetrail.log")).unwrap_or_default()
                    )
                });
            // Whatever it says later must not fill the pipe.
            std::thread::spawn(move || lines.for_each(drop));
            Self { address, child }
        });
        started.await.expect("no panic")
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        call(&self.address, method, path, headers, body.as_bytes()).await
    }

    /// Stops it as a signal does, and its database with it.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let ended = tokio::task::spawn_blocking(move || self.child.wait().expect("a child"));
        assert!(ended.await.expect("no panic").success(), "it ends well");
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
