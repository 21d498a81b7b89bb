//! The backend, the Worker or both are killed, at any moment, under load: what the queue accepted is stored exactly once.
//!
//! The client is the oracle. It knows what it sent and when that was answered, and so what the queue must have had by
//! the time of a kill; it needs no word of the system's own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tests::chaos::Dice;
use tests::keys::Keys;
use tests::stack::EVENTS;
use tests::wire::send;

use crate::kills::{hit_everything, strike};
use crate::scene::{SOON, Scene, Setup, created, creating_application, creation};

const KILLS: usize = 10;
const CLIENTS: usize = 4;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// An act that was answered this long before a kill of the Worker is in the queue: the linger and one send are over.
const SETTLED: Duration = Duration::from_secs(2);

/// What the client did.
#[derive(Debug, Default)]
struct Told {
    sent: BTreeSet<String>,
    /// Names, and when each was sent and answered.
    answered: Vec<(String, Instant, Instant)>,
}

type Oracle = Arc<Mutex<Told>>;

fn told(oracle: &Oracle) -> std::sync::MutexGuard<'_, Told> {
    oracle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates agents of ever new names until it is told to end.
async fn client(
    scene: (std::net::SocketAddr, String),
    oracle: Oracle,
    names: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) {
    while !over.load(Ordering::Relaxed) {
        let name = format!("agent-{:05}", names.fetch_add(1, Ordering::Relaxed));
        let (_, call) = creation(&name);
        told(&oracle).sent.insert(name.clone());
        let sent = Instant::now();
        if let Ok(answer) = send(scene.0, &scene.1, &call).await {
            assert_eq!(answer.status, 201, "{name}: the origin's own answer or none");
            told(&oracle).answered.push((name, sent, Instant::now()));
        }
        tokio::time::sleep(Duration::from_millis(90)).await;
    }
}

#[tokio::test]
async fn ten_kills_at_any_moment_lose_nothing_that_was_accepted_and_store_nothing_twice() {
    let keys = Keys::generate();
    let (_application, upstream) = creating_application().await;
    let adjust = Box::new(move |config: &mut tests::stack::EdgeConfig| config.mounts[0].upstream = upstream);
    let mut scene = Scene::start(&keys, Vec::new(), Setup { adjust, ..Setup::default() }).await;

    let (oracle, names, over) =
        (Oracle::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let target = (scene.worker.address(), scene.config.app_host());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            tokio::spawn(client(target.clone(), Arc::clone(&oracle), Arc::clone(&names), Arc::clone(&over)))
        })
        .collect();
    let mut dice = Dice::new(SEED);
    let mut kills = Vec::new();
    for _ in 0..KILLS {
        dice.pause(1_000, 3_500).await;
        kills.push(strike(&mut scene, &mut dice).await);
    }
    assert!(hit_everything(&kills), "{kills:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every answer is the origin's");
    }

    // The acts at stake: those that no kill of the Worker followed closely.
    let certain: BTreeSet<String> = told(&oracle)
        .answered
        .iter()
        .filter(|(_, sent, answered)| {
            !kills.iter().any(|kill| {
                kill.hit_the_worker() && *sent <= kill.after && kill.before <= *answered + SETTLED
            })
        })
        .map(|(name, ..)| name.clone())
        .collect();
    assert!(certain.len() > 100, "{} acts: the load was real", certain.len());
    let start = Instant::now();
    loop {
        let stored: BTreeSet<String> = created(&scene.events().await).into_iter().collect();
        let missing: Vec<_> = certain.difference(&stored).take(5).collect();
        let left = scene.worker.backlog(EVENTS).await.expect("it answers");
        if missing.is_empty() && left == 0 {
            break;
        }
        assert!(start.elapsed() < SOON, "{left} batches wait, and {missing:?} are not stored");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let stored = created(&scene.events().await);
    let distinct: BTreeSet<String> = stored.iter().cloned().collect();
    assert_eq!(stored.len(), distinct.len(), "nothing is stored twice");
    let told = told(&oracle);
    assert!(distinct.is_subset(&told.sent), "nothing is stored that was not sent");
    println!(
        "{} sent, {} answered, {} certain, {} stored",
        told.sent.len(),
        told.answered.len(),
        certain.len(),
        stored.len()
    );
}
