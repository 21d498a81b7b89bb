//! The clients, who are the oracle: they know what they asked for, when, and what came back, and need no word of the
//! system's own for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::app::{HASH, Mode, breaks_off, sha256};
use crate::wire::{Answer, send};

/// Clients of each lane.
const CLIENTS: usize = 2;
/// Between two acts of a client.
const PAUSE: Duration = Duration::from_millis(110);

/// How batches leave a Worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Through the durable queue.
    Queue,
    /// By POST, from the request that made them.
    Direct,
}

/// Acts of one kind through one Worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Which Worker.
    pub way: Way,
    /// Which kind.
    pub mode: Mode,
}

impl Lane {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        [Way::Queue, Way::Direct].into_iter().flat_map(|way| Mode::ALL.map(|mode| Self { way, mode }))
    }

    /// In words.
    pub fn name(self) -> String {
        let way = if self.way == Way::Queue { "queue" } else { "direct" };
        format!("{way}, {}", self.mode.word())
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// The application's own answer, every byte of it.
    Unchanged,
    /// The Worker's word that without a trail the act may not be.
    Refused,
    /// Anything else.
    Otherwise(String),
}

/// An act.
#[derive(Debug, Clone)]
pub struct Act {
    /// Its lane.
    pub lane: Lane,
    /// When it was asked for.
    pub sent: Instant,
    /// When what came back; nothing, if the connection broke.
    pub answered: Option<(Instant, Answered)>,
}

/// The clients' memory: acts by their names.
#[derive(Debug, Default)]
pub struct Acts {
    acts: Mutex<BTreeMap<String, Act>>,
    next: AtomicU64,
    paused: AtomicBool,
}

impl Acts {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Act>> {
        self.acts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, Act> {
        self.held().clone()
    }

    /// Stops the clients after what they are at, or lets them go on.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// One act, to its end; gives its name.
    pub async fn act(&self, lane: Lane, address: SocketAddr, host: &str) -> String {
        let name = format!("a{:07}", self.next.fetch_add(1, Ordering::Relaxed));
        let act = Act { lane, sent: Instant::now(), answered: None };
        self.held().insert(name.clone(), act);
        if let Ok(answer) = send(address, host, &lane.mode.call(&name)).await {
            let answered = judged(lane.mode, &name, &answer);
            if let Some(act) = self.held().get_mut(&name) {
                act.answered = Some((Instant::now(), answered));
            }
        }
        name
    }

    /// Starts the clients of a lane. They end when their handles are aborted.
    pub fn start(self: &Arc<Self>, lane: Lane, address: SocketAddr, host: &str) -> Vec<JoinHandle<()>> {
        let client = |_| {
            let (acts, host) = (Arc::clone(self), host.to_owned());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(PAUSE).await;
                    if !acts.paused.load(Ordering::Relaxed) {
                        acts.act(lane, address, &host).await;
                    }
                }
            })
        };
        (0..CLIENTS).map(client).collect()
    }
}

fn judged(mode: Mode, name: &str, answer: &Answer) -> Answered {
    let (status, body) = mode.answer(name);
    let cut = mode == Mode::Stream && breaks_off(name);
    let whole = answer.body == body.as_bytes() && !cut;
    if answer.status == status && whole && answer.header(HASH) == Some(sha256(&answer.body).as_str()) {
        Answered::Unchanged
    } else if mode == Mode::Closed && answer.status == 503 && answer.text().contains("audit-unavailable") {
        Answered::Refused
    } else {
        Answered::Otherwise(format!(
            "{} {}",
            answer.status,
            answer.text().chars().take(200).collect::<String>()
        ))
    }
}
