//! A child process with a log file.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::StackError;

/// How long a process may take to end after SIGTERM. PostgreSQL's fast shutdown writes a checkpoint first.
const GRACE: Duration = Duration::from_secs(15);

const POLL: Duration = Duration::from_millis(20);

/// How much of a log goes into a message.
const TAIL: usize = 2000;

/// A running child. It is stopped when dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Where this run's part of the log begins.
    from: usize,
}

impl Process {
    /// Starts a command in a process group of its own, so that a Ctrl-C in the terminal reaches only its parent, with
    /// both outputs appended to a file.
    ///
    /// # Errors
    /// No file, no process.
    pub fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self, StackError> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(StackError::io(log.display().to_string()))?;
        let from = fs::metadata(log).map_or(0, |meta| meta.len());
        let both = file.try_clone().map_err(StackError::io(log.display().to_string()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(both)
            .process_group(0)
            .spawn()
            .map_err(StackError::io(format!("starting {name}")))?;
        Ok(Self { name, child, log: log.to_path_buf(), from: usize::try_from(from).unwrap_or(0) })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote since it was started.
    pub fn output(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until `ready` gives something.
    ///
    /// # Errors
    /// The process ends first, or the time is over.
    pub async fn wait_for<T>(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, StackError> {
        let start = Instant::now();
        loop {
            if let Some(found) = ready(self) {
                return Ok(found);
            }
            if let Some(status) = self.ended() {
                return Err(StackError::Ended {
                    name: self.name,
                    status: status.to_string(),
                    log: self.log.clone(),
                    tail: self.tail(),
                });
            }
            if start.elapsed() > limit {
                return Err(StackError::NotReady {
                    name: self.name,
                    seconds: limit.as_secs(),
                    log: self.log.clone(),
                    tail: self.tail(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end, and makes it after a grace period.
    pub fn stop(&mut self) {
        self.signal(libc::SIGTERM);
        let start = Instant::now();
        while self.ended().is_none() {
            if start.elapsed() > GRACE {
                self.kill9();
                return;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Ends it without warning, as a crash would.
    pub fn kill9(&mut self) {
        self.signal(libc::SIGKILL);
        // It cannot refuse; this collects the status.
        let _ = self.child.wait();
    }

    fn signal(&mut self, signal: libc::c_int) {
        if self.ended().is_some() {
            return;
        }
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            #[expect(unsafe_code, reason = "std cannot send SIGTERM")]
            // SAFETY: kill takes two numbers. The child is ours and not yet waited for, so its id is not reused.
            unsafe {
                libc::kill(pid, signal);
            }
        }
    }

    fn tail(&self) -> String {
        let output = self.output();
        let skip = output.chars().count().saturating_sub(TAIL);
        output.chars().skip(skip).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The wished port if it is free, else one that is.
///
/// # Errors
/// No port is free.
pub fn free_port(wished: Option<u16>) -> Result<u16, StackError> {
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).and_then(|socket| socket.local_addr());
    wished
        .and_then(|port| bind(port).ok())
        .map_or_else(|| bind(0), Ok)
        .map(|address| address.port())
        .map_err(StackError::io("looking for a free port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_stops_what_it_started_and_says_why_it_ended() {
        let dir = tempfile::tempdir().expect("there is a temporary directory");
        let log = dir.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo ready; exec sleep 60"]);
        let mut process = Process::start("sleeper", command, &log).expect("sh starts");
        let found = process
            .wait_for(Duration::from_secs(5), |process| process.output().contains("ready").then_some(()))
            .await;
        assert!(found.is_ok());
        process.stop();
        assert!(process.ended().is_some());

        let mut command = Command::new("sh");
        command.args(["-c", "echo broken; exit 3"]);
        let mut process = Process::start("failing", command, &log).expect("sh starts");
        let error = process.wait_for(Duration::from_secs(5), |_| None::<()>).await.expect_err("it ends");
        let text = error.to_string();
        assert!(text.contains("broken") && !text.contains("ready\n"), "{text}");
    }
}
