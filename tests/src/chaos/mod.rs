//! The fault campaign: everything goes wrong, in an order that a seed repeats, while clients go on; then what became of
//! each act is counted.
//!
//! - [`fault`]: what goes wrong. [`dice`](Dice): in which order.
//! - [`wire`], [`clock`], [`disk`]: the network, the clocks and the disk that can be made to fail.
//! - [`stand`]: the Workers, the backend and its database, and how they are killed, filled and restored.
//! - [`acts`], [`app`]: the clients and the application, who know what was done.
//! - [`ledger`]: what became of it.
//!
//! A round is every fault once. At its end the clients stop, everything that is on its way arrives, and the shipped verifier
//! reads all logs. At the end of all rounds the time is up for all that has not come, and the books are closed.

mod account;
pub mod acts;
pub mod app;
pub mod clock;
mod dice;
pub mod disk;
pub mod fault;
pub mod ledger;
pub mod stand;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use account::Known;
use acts::{Acts, Lane, Way};
use app::Mode;
pub use dice::Dice;
use fault::{Fault, Step, Timekeeper};
use ledger::Ledger;
use stand::{Stand, waited};

/// The backend's clockwork: faster than it is shipped where a fault would otherwise end before it is noticed.
const SETTINGS: &str = "[publication]\ninterval_ms = 200\n\n[accounting]\nsweep_ms = 500\n";
/// At the end the time is up for all that is not there.
const TIME_IS_UP: &str = "[publication]\ninterval_ms = 200\n\n[accounting]\nsweep_ms = 200\ngap_after_ms = 1\n\
                          ended_after_ms = 1\nintent_after_ms = 1\n";

/// What is in the queue for longer than this at the end of a round was put off by a clock that jumped.
const PUT_OFF: Duration = Duration::from_secs(10);

/// The queue tries again after at most 300 s.
const ARRIVES: Duration = Duration::from_secs(360);

/// How long a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many rounds.
    Rounds(u64),
    /// Rounds until this time is over; the last one is finished.
    Time(Duration),
}

/// Why a campaign did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// A part did not start.
    #[error(transparent)]
    Stack(#[from] crate::stack::StackError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No port is free.
    #[error("no port is free: {0}")]
    Port(std::io::Error),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The API gave no answer.
    #[error(transparent)]
    Wire(#[from] crate::wire::WireError),
    /// Clocks cannot be made to jump.
    #[error("no clock can be made to jump here: {0}")]
    Clocks(String),
    /// There is no disk that may be filled.
    #[error("no disk may be filled here (only root may mount one): {0}")]
    Disk(String),
    /// What must come to an end did not.
    #[error("this was waited for in vain: {0}")]
    Stuck(String),
}

impl ChaosError {
    fn file(path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File { path: path.clone(), source }
    }
}

/// Runs a campaign; what it does is told line by line.
///
/// # Errors
/// [`ChaosError`], if it does not come to its end. What is wrong at its end stands in the ledger.
pub async fn run(seed: u64, length: Length, mut tell: impl FnMut(&str)) -> Result<Ledger, ChaosError> {
    let start = Instant::now();
    let mut ledger = Ledger { seed, ..Ledger::default() };
    let mut stand = Stand::start(seed, SETTINGS, &mut ledger.left_out).await?;
    for left_out in &ledger.left_out {
        tell(&format!("LEFT OUT: {left_out}"));
    }
    let result = rounds(&mut stand, &mut ledger, (start, length), &mut tell).await;
    ledger.seconds = start.elapsed().as_secs();
    if result.is_err() || !ledger.wrong().is_empty() {
        stand.keep();
        tell(&format!("logs stay in {}", stand.logs().display()));
    }
    result.map(|()| ledger)
}

async fn rounds(
    stand: &mut Stand,
    ledger: &mut Ledger,
    (start, length): (Instant, Length),
    tell: &mut impl FnMut(&str),
) -> Result<(), ChaosError> {
    let mut dice = Dice::of_run(ledger.seed);
    let acts = Arc::new(Acts::default());
    // A log begins with its first entry, and a backup from before that would know of no log.
    arrived(stand, &acts, &mut dice).await?;
    let clients = Clients::start(&acts, stand);
    loop {
        ledger.rounds += 1;
        for step in fault::round(&mut dice) {
            if !can(stand, &step) {
                continue;
            }
            tell(&format!("{:6.1} s  {step}", start.elapsed().as_secs_f64()));
            inject(stand, &step, &mut dice).await?;
            count(ledger, &step);
            dice.pause(300, 1_000).await;
        }
        acts.pause(true);
        arrived(stand, &acts, &mut dice).await?;
        verify(stand, ledger).await?;
        tell(&format!("{:6.1} s  round {} is over", start.elapsed().as_secs_f64(), ledger.rounds));
        let is_over = match length {
            Length::Rounds(rounds) => ledger.rounds >= rounds,
            Length::Time(time) => start.elapsed() >= time,
        };
        if is_over {
            break;
        }
        acts.pause(false);
    }
    drop(clients);
    close(stand, ledger, &acts).await
}

/// The clients of all lanes; they end when this is dropped.
struct Clients(Vec<JoinHandle<()>>);

impl Clients {
    fn start(acts: &Arc<Acts>, stand: &Stand) -> Self {
        let clients = Lane::all().flat_map(|lane| {
            let (address, host) = stand.target(lane.way);
            acts.start(lane, address, &host)
        });
        Self(clients.collect())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for client in &self.0 {
            client.abort();
        }
    }
}

fn can(stand: &Stand, step: &Step) -> bool {
    match step.fault {
        Fault::Jump { .. } => stand.can_jump(),
        Fault::FullDisk => stand.can_fill_the_disk(),
        Fault::Kill(_) | Fault::Restore => true,
    }
}

async fn inject(stand: &mut Stand, step: &Step, dice: &mut Dice) -> Result<(), ChaosError> {
    stand.wire().trouble(step.trouble);
    if step.trouble.is_some() {
        dice.pause(500, 1_500).await;
    }
    match &step.fault {
        Fault::Kill(victims) => stand.kill(victims, dice).await?,
        Fault::Jump { of, ahead } => stand.jump(of, *ahead, dice).await?,
        Fault::FullDisk => stand.fill_the_disk().await?,
        Fault::Restore => stand.restore(dice).await?,
    }
    if step.trouble.is_some() {
        dice.pause(500, 1_500).await;
    }
    stand.wire().trouble(None);
    Ok(())
}

fn count(ledger: &mut Ledger, step: &Step) {
    let mut one = |kind: String| *ledger.faults.entry(kind).or_default() += 1;
    match &step.fault {
        Fault::Kill(victims) => {
            for victim in victims {
                one(format!("kill -9 of {victim}"));
            }
            if victims.len() > 1 {
                one("kill -9 of several at once".to_owned());
            }
        }
        Fault::Jump { of, ahead } => {
            for whose in of {
                one(format!("clock of {whose} an hour {}", if *ahead { "ahead" } else { "back" }));
            }
        }
        fault @ (Fault::FullDisk | Fault::Restore) => one(fault.to_string()),
    }
    if let Some(trouble) = step.trouble {
        one(format!("network: {trouble}"));
    }
}

/// Waits until everything that is on its way is there: the queue is empty, and an act that came after all others is stored.
async fn arrived(stand: &mut Stand, acts: &Acts, dice: &mut Dice) -> Result<(), ChaosError> {
    // Longer than an act takes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    let mut last = Vec::new();
    let mut caught_up = false;
    loop {
        if !caught_up && start.elapsed() > PUT_OFF {
            stand.catch_up(dice).await?;
            caught_up = true;
        }
        for way in [Way::Queue, Way::Direct] {
            let (address, host) = stand.target(way);
            last.push((way, acts.act(Lane { way, mode: Mode::Open }, address, &host).await));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (waiting, dead) = stand.waiting().await?;
        let stored = stand.stored().await?;
        let is_there =
            |way| last.iter().any(|(of, name)| *of == way && stored.acts.iter().any(|act| act.name == *name));
        if waiting == 0 && dead == 0 && is_there(Way::Queue) && is_there(Way::Direct) {
            return stand.right();
        }
        if start.elapsed() > ARRIVES {
            return Err(ChaosError::Stuck(format!("{waiting} batches wait, {dead} are dead")));
        }
    }
}

/// Has all logs verified by the program that is shipped.
async fn verify(stand: &Stand, ledger: &mut Ledger) -> Result<(), ChaosError> {
    let (status, report) = stand.verified().await?;
    ledger.verifications += 1;
    ledger.entries_restored = stand.restored.iter().map(|restored| restored.entries).sum();
    ledger.entries_told = report["report"]["counts"]["lost"].as_u64().unwrap_or(0);
    let expected = if stand.restored.is_empty() { 0 } else { 4 };
    if status != expected {
        ledger.proofs_wrong.push(format!("status {status}: {}", report["first"]));
    }
    Ok(())
}

/// Lets the time be up for all that is not there, and closes the books.
async fn close(stand: &mut Stand, ledger: &mut Ledger, acts: &Acts) -> Result<(), ChaosError> {
    // What arrived while the clock was ahead is silent only after that hour.
    stand.hurry(&Timekeeper::ALL)?;
    stand.configure(TIME_IS_UP).await?;
    let start = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let open = stand.api().get("/v1/intents?state=open").await?.json();
        let streams = stand.api().get("/v1/streams").await?.json();
        let active = streams["streams"]
            .as_array()
            .map_or(0, |streams| streams.iter().filter(|stream| stream["state"] == "active").count());
        // The backend's own stream goes on.
        let settled = open["intents"].as_array().is_some_and(Vec::is_empty) && active <= 1;
        if settled || waited(start, "").is_err() {
            break;
        }
    }
    let stored = stand.stored().await?;
    let streams = stand.api().get("/v1/streams").await?.json();
    Known {
        acts: &acts.all(),
        seen: &stand.application.seen(),
        stored: &stored,
        kills: &stand.kills,
        restored: &stand.restored,
        queued: &stand.queued()?,
        passed: &stand.wire().passed(),
        streams: &streams["streams"],
    }
    .settle(ledger);
    let met = stand.wire().passed().met;
    ledger.met = met.into_iter().map(|(trouble, count)| (trouble.to_string(), count)).collect();
    verify(stand, ledger).await
}
