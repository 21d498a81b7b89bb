//! The backend, the Worker or both are killed, at any moment, in the middle of acts that announce themselves: none is
//! missing. Each act that the application saw is stored, or shows as one of unknown outcome.
//!
//! The application is the oracle of what was done; the kills cut acts short that it went on with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::routing::delete;
use serde_json::Value;
use tests::chaos::Dice;
use tests::keys::Keys;
use tests::stack::{EVENTS, EdgeConfig};
use tests::wire::{Call, Server, send};

use crate::kills::{hit_everything, strike};
use crate::scene::{SOON, Scene, Setup};

const KILLS: usize = 10;
const CLIENTS: usize = 6;
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// No intent is given up while there are kills: an act that is on its way may still come.
const PATIENT: &str = "[accounting]\nintent_after_ms = 3600000\nsweep_ms = 300\n";
/// After the last one the time is up for all that is not there.
const IMPATIENT: &str = "[accounting]\nintent_after_ms = 1\nsweep_ms = 300\n";

/// The agents that the application was asked to delete, and when.
type Asked = Arc<Mutex<Vec<(String, Instant)>>>;

/// Only a kill of the Worker cuts an act short, and only one that follows this closely: an answer takes up to 600 ms, and
/// two seconds later its event is in the queue.
const AT_RISK: Duration = Duration::from_millis(2_600);

/// An application that takes up to 600 ms for a deletion.
async fn application() -> (Server, Asked) {
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let answer = async move |Path(id): Path<String>| {
        log.lock().unwrap_or_else(PoisonError::into_inner).push((id.clone(), Instant::now()));
        let number: u64 = id.trim_start_matches('a').parse().unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(number % 4 * 200)).await;
        r#"{"success":true}"#
    };
    let router = Router::new().route("/api/agents/{id}", delete(answer));
    (Server::start(router, None).await.expect("a port"), asked)
}

/// Deletes ever other agents, whether it is answered or not.
async fn client(
    (address, host): (std::net::SocketAddr, String),
    names: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) {
    while !over.load(Ordering::Relaxed) {
        let name = format!("a{:05}", names.fetch_add(1, Ordering::Relaxed));
        if let Ok(answer) = send(address, &host, &Call::new("DELETE", format!("/api/agents/{name}"))).await {
            assert_eq!(answer.status, 200, "{name}: the application's own answer or none");
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Events by the id of their entity; none may be there twice.
fn by_entity(events: Vec<Value>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for event in events {
        let id = event["entity"]["id"].as_str().expect("an entity").to_owned();
        if let Some(other) = found.insert(id, event) {
            panic!("stored twice: {other}");
        }
    }
    found
}

/// The ids of the intents that the backend lists as being of a state.
async fn listed(scene: &Scene, state: &str) -> BTreeSet<String> {
    let list = scene.api().get(&format!("/v1/intents?state={state}")).await.expect("an answer").json();
    let list = list["intents"].as_array().expect("a list");
    list.iter().map(|intent| intent["id"].as_str().expect("an id").to_owned()).collect()
}

/// Waits until nothing is on its way any more.
async fn quiet(scene: &Scene) {
    let start = Instant::now();
    let mut stored = 0;
    loop {
        // Longer than events gather in the Worker before they are sent.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let left = scene.worker.backlog(EVENTS).await.expect("it answers");
        let now = scene.events().await.len();
        if left == 0 && now == stored {
            return;
        }
        assert!(start.elapsed() < SOON, "{left} batches wait, {now} events are stored");
        stored = now;
    }
}

#[tokio::test]
async fn whoever_is_killed_ten_times_no_act_is_missing_and_those_cut_short_are_of_unknown_outcome() {
    let keys = Keys::generate();
    let (application, asked) = application().await;
    let upstream = format!("http://{}", application.address());
    let adjust = Box::new(move |config: &mut EdgeConfig| {
        config.mounts[0].upstream = upstream;
        config.mounts[0].fail = [("app/agent.delete".to_owned(), "intent".to_owned())].into();
    });
    let setup = Setup { adjust, backend_more: PATIENT, ..Setup::default() };
    let mut scene = Scene::start(&keys, Vec::new(), setup).await;

    let (names, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let target = (scene.worker.address(), scene.config.app_host());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(target.clone(), Arc::clone(&names), Arc::clone(&over))))
        .collect();
    let mut dice = Dice::new(SEED);
    let mut kills = Vec::new();
    for _ in 0..KILLS {
        dice.pause(500, 1_500).await;
        kills.push(strike(&mut scene, &mut dice).await);
    }
    assert!(hit_everything(&kills), "{kills:?}");
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every answer is the application's");
    }
    quiet(&scene).await;
    scene.ingest.configure(IMPATIENT.to_owned()).await.expect("it starts again");
    let start = Instant::now();
    while !listed(&scene, "open").await.is_empty() {
        assert!(start.elapsed() < SOON, "no intent waits for ever");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let done: BTreeMap<String, Instant> = asked.iter().cloned().collect();
    assert_eq!(asked.len(), done.len(), "the application was asked once for each");
    let intents = by_entity(scene.of_action("INTENT_RECORDED", 0).await);
    let acts = by_entity(scene.of_action("AGENT_DELETED", 0).await);
    let orphans = by_entity(scene.of_action("INTENT_ORPHANED", 0).await);
    for name in done.keys() {
        assert!(intents.contains_key(name), "{name} was done, and nothing tells of it");
    }
    for (name, act) in &acts {
        assert!(done.contains_key(name), "{name} is stored and was not done");
        assert_eq!(act["details"]["intent"], intents[name]["id"], "{name}");
        assert_eq!(act["outcome"], "success", "{name}");
    }
    for (name, intent) in &intents {
        let orphan = orphans.get(intent["id"].as_str().expect("an id"));
        assert_ne!(
            acts.contains_key(name),
            orphan.is_some(),
            "{name} is either stored or of unknown outcome"
        );
        if let Some(orphan) = orphan {
            assert_eq!(
                (&orphan["outcome"], &orphan["details"]["action"]),
                (&"unknown".into(), &"AGENT_DELETED".into())
            );
        }
    }
    assert_eq!(listed(&scene, "orphaned").await, orphans.keys().cloned().collect());
    let cut: Vec<_> = done.iter().filter(|(name, _)| !acts.contains_key(*name)).collect();
    for (name, at) in &cut {
        let by = kills
            .iter()
            .find(|kill| kill.hit_the_worker() && **at <= kill.after && kill.before <= **at + AT_RISK);
        assert!(by.is_some(), "{name} is missing, and no kill explains it");
    }
    assert!(!cut.is_empty() && acts.len() > 50, "{} acts were cut short, {} were not", cut.len(), acts.len());
    println!(
        "{} done, {} announced, {} stored, {} of unknown outcome, {} of them done",
        done.len(),
        intents.len(),
        acts.len(),
        orphans.len(),
        cut.len()
    );
}
