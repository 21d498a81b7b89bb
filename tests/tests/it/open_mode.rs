//! Without a queue and without intents: what a kill of the Worker costs is what was in flight, and the stream that ended says
//! that its tail is unknown.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::send;

use crate::scene::{SOON, Scene, Setup, created, creating_application, creation};

const ACTS: usize = 80;

/// An act that was answered this long before the kill has been sent: the linger and one round are over.
const IN_FLIGHT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_kill_costs_at_most_what_was_in_flight_and_the_stream_is_ended_with_its_tail_unknown() {
    let keys = Keys::generate();
    let (_application, upstream) = creating_application().await;
    let setup = Setup {
        mode: DeliveryMode::Direct,
        adjust: Box::new(move |config| config.mounts[0].upstream = upstream),
        backend_more: "[accounting]\nended_after_ms = 6000\nsweep_ms = 500\n",
        ..Setup::default()
    };
    let mut scene = Scene::start(&keys, Vec::new(), setup).await;

    let mut answered: Vec<(String, Instant)> = Vec::new();
    for number in 0..ACTS {
        let name = format!("agent-{number:03}");
        let (_, call) = creation(&name);
        let answer = send(scene.worker.address(), &scene.config.app_host(), &call).await.expect("an answer");
        assert_eq!(answer.status, 201, "{name}");
        answered.push((name, Instant::now()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let killed = Instant::now();
    scene.worker.kill9();

    let sent: BTreeSet<String> = answered.iter().map(|(name, _)| name.clone()).collect();
    let settled: BTreeSet<String> =
        answered.iter().filter(|(_, at)| *at + IN_FLIGHT < killed).map(|(name, _)| name.clone()).collect();
    assert!(settled.len() > ACTS / 4 && settled.len() < ACTS, "{} of {ACTS}", settled.len());
    let start = Instant::now();
    let ended = loop {
        let streams = scene.api().get("/v1/streams").await.expect("an answer").json();
        let list = streams["streams"].as_array().cloned().unwrap_or_default();
        let ended = list.into_iter().find(|stream| stream["state"] == "ended");
        if let Some(ended) = ended {
            break ended;
        }
        assert!(start.elapsed() < SOON, "{streams}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert_eq!(ended["tail"], "unknown", "{ended}");

    let names = created(&scene.events().await);
    let stored: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(names.len(), stored.len(), "nothing is stored twice");
    assert!(stored.is_subset(&sent), "nothing is stored that was not sent");
    let lost: Vec<_> = settled.difference(&stored).collect();
    assert!(lost.is_empty(), "{lost:?} were not in flight any more");
}
