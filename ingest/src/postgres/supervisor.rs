//! Keeps the private server running: one thread that spawns it, watches it and starts it again.

use std::fs::OpenOptions;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, at};
use super::{EmbeddedError, Neighbour, process};

/// Crash recovery of a large write-ahead log takes its time.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A server whose parent was killed shuts down fast; one that is still there after this is somebody's, and is joined.
const ORPHAN_GONE_WITHIN: Duration = Duration::from_secs(2);
const STOP_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// The thread and what it shares.
#[derive(Debug)]
pub(super) struct Supervisor {
    stop: Arc<AtomicBool>,
    pid: Arc<AtomicU32>,
    thread: JoinHandle<()>,
}

impl Supervisor {
    /// Starts the thread and waits until a server is ready.
    pub(super) fn start(cluster: Cluster, neighbour: Neighbour) -> Result<Self, EmbeddedError> {
        let stop = Arc::new(AtomicBool::new(false));
        let pid = Arc::new(AtomicU32::new(0));
        let (first, started) = mpsc::channel();
        let watch = Watch { cluster, neighbour, stop: Arc::clone(&stop), pid: Arc::clone(&pid) };
        let thread = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || watch.run(&first))
            .map_err(at(std::path::Path::new("thread")))?;
        let supervisor = Self { stop, pid, thread };
        match started.recv() {
            Ok(Ok(())) => Ok(supervisor),
            Ok(Err(error)) => {
                supervisor.stop();
                Err(error)
            }
            Err(_) => Err(EmbeddedError::Program {
                program: "postgres".to_owned(),
                reason: "its supervisor ended".to_owned(),
            }),
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match self.pid.load(Ordering::Acquire) {
            0 => None,
            pid => Some(pid),
        }
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // A panic of the thread was already reported by the panic hook.
        let _ = self.thread.join();
    }
}

struct Watch {
    cluster: Cluster,
    neighbour: Neighbour,
    stop: Arc<AtomicBool>,
    pid: Arc<AtomicU32>,
}

impl Watch {
    fn run(&self, first: &mpsc::Sender<Result<(), EmbeddedError>>) {
        match self.obtain() {
            Ok(child) => {
                // The receiver waits for exactly this.
                let _ = first.send(Ok(()));
                self.keep(child);
            }
            Err(error) => {
                let _ = first.send(Err(error));
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Keeps a server running until told to stop.
    fn keep(&self, mut child: Option<Child>) {
        while !self.stopping() {
            let gone = match &mut child {
                Some(child) => !matches!(child.try_wait(), Ok(None)),
                None => !self.cluster.is_held(),
            };
            if gone {
                self.pid.store(0, Ordering::Release);
                tracing::warn!("PostgreSQL is gone, starting it again");
                metrics::counter!("edgetrail_postgres_restarts_total").increment(1);
                child = match self.obtain() {
                    Ok(child) => child,
                    Err(error) => {
                        tracing::error!(%error, "PostgreSQL does not start");
                        std::thread::sleep(RESTART_PAUSE * 10);
                        None
                    }
                };
            }
            std::thread::sleep(POLL);
        }
        if let Some(child) = child {
            end(child);
        }
        self.pid.store(0, Ordering::Release);
    }

    /// A ready server: somebody else's that stays, or one of our own.
    fn obtain(&self) -> Result<Option<Child>, EmbeddedError> {
        let deadline = match self.neighbour {
            Neighbour::Join => Instant::now(),
            Neighbour::Outwait => Instant::now() + ORPHAN_GONE_WITHIN,
        };
        let mut child = None;
        let give_up = Instant::now() + READY_WITHIN;
        loop {
            if self.stopping() || Instant::now() > give_up {
                if let Some(child) = child {
                    end(child);
                }
                return Err(EmbeddedError::NotReady {
                    seconds: READY_WITHIN.as_secs(),
                    log: self.cluster.log.clone(),
                });
            }
            match &mut child {
                None if self.cluster.is_held() => {
                    if Instant::now() >= deadline && self.cluster.is_ready() {
                        tracing::info!("joined the PostgreSQL that already runs on this data");
                        return Ok(None);
                    }
                }
                None => child = Some(self.spawn()?),
                Some(running) => match running.try_wait() {
                    Ok(None) if self.cluster.is_ready() => {
                        self.pid.store(running.id(), Ordering::Release);
                        return Ok(child);
                    }
                    Ok(None) => {}
                    // The backends of a killed server hold its memory for a moment; starting before they are gone
                    // fails and is simply tried again.
                    _ => {
                        child = None;
                        std::thread::sleep(RESTART_PAUSE);
                    }
                },
            }
            std::thread::sleep(POLL);
        }
    }

    fn spawn(&self) -> Result<Child, EmbeddedError> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.cluster.log)
            .map_err(at(&self.cluster.log))?;
        let mut command = self.cluster.server();
        command.stdout(Stdio::null()).stderr(log);
        process::die_with_this_thread(&mut command);
        command.spawn().map_err(|error| EmbeddedError::Program {
            program: "postgres".to_owned(),
            reason: error.to_string(),
        })
    }
}

/// Fast shutdown, and the hard way for a server that does not hear.
fn end(mut child: Child) {
    process::interrupt(&child);
    let deadline = Instant::now() + STOP_WITHIN;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(POLL);
    }
    // Recovery at the next start brings back every committed row.
    let _ = child.kill();
    let _ = child.wait();
}
