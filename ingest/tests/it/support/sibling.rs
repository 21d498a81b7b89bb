//! A backend as a process of its own, on another's database and with its keys, as every process of an installation is.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::Server;

pub(crate) struct Sibling {
    pub(crate) address: String,
    child: Child,
}

impl Sibling {
    /// Starts one and waits until it listens.
    pub(crate) async fn start(server: &Server, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgetrail"));
        command
            .arg("serve")
            .env("DATABASE_URL", server.database_url())
            .env("EDGETRAIL__HTTP__LISTEN", "127.0.0.1:0")
            .env("EDGETRAIL__LOG__INTERVAL_MS", "20")
            .env("EDGETRAIL__LOG__KEY_FILE", server.dir().join("log.key"))
            .env("EDGETRAIL__POLICY__KEY_FILE", server.dir().join("policy.key"))
            .env("EDGETRAIL__ACCESS__RECORD_READS", "false")
            .envs(variables.iter().copied())
            .current_dir(server.dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let started = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("it starts");
            let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
            let address = lines
                .find_map(|line| line.strip_prefix("edgetrail: listening on http://").map(str::to_owned))
                .expect("it listens");
            // Whatever it says later must not fill the pipe.
            std::thread::spawn(move || lines.for_each(drop));
            Self { address, child }
        });
        started.await.expect("no panic")
    }

    /// Tells it to stop, as whoever replaces processes does.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success());
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let ended = tokio::task::spawn_blocking(move || self.child.wait().expect("a child"));
        ended.await.expect("no panic")
    }

    /// Bytes of memory that it holds.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
