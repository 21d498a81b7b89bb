//! Recorded traffic through the whole stack: the same answers, exactly the expected events, and no secret anywhere.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::keys::Keys;
use tests::replay::{fixture, play, resign};

use crate::scene::{SOON, Scene, Setup};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/replay.json");

#[tokio::test]
async fn replaying_the_recording_gives_exactly_the_expected_events_and_leaks_no_secret() {
    let keys = Keys::generate();
    let recording = fixture().expect("the fixture is good");
    let resigned = resign(&recording, &keys, tests::clock::unix_now());
    let mut scene = Scene::start(&keys, resigned.exchanges.clone(), Setup::default()).await;

    for outcome in play(&resigned.exchanges, &scene.target()).await {
        let place = format!("{} {} {}", outcome.label, outcome.n, outcome.request);
        assert_eq!(outcome.differences, Vec::<String>::new(), "{place}");
    }
    let golden: Value =
        fs::read_to_string(GOLDEN).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let wanted = golden.as_array().map_or(1, Vec::len);
    let mut events = scene.at_least(wanted, SOON).await;
    // One more round of the queue, in which nothing more may come.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    events = if scene.events().await.len() > events.len() { scene.events().await } else { events };

    let events: Vec<Value> = events.iter().map(stable).collect();
    let found = serde_json::to_string_pretty(&events).expect("plain data") + "\n";
    if std::env::var_os("EDGETRAIL_WRITE_GOLDEN").is_some() {
        fs::write(GOLDEN, &found).expect("the golden file");
    }
    let expected = fs::read_to_string(GOLDEN).expect("the golden file; EDGETRAIL_WRITE_GOLDEN=1 writes it");
    assert!(found == expected, "the events are not those of {GOLDEN}:\n{found}");

    no_secret_is_stored(&mut scene, &resigned.secrets).await;
}

/// Every byte that was stored or logged: the database by value and by file, the queue's files, logs, metrics.
async fn no_secret_is_stored(scene: &mut Scene, secrets: &[tests::replay::Secret]) {
    assert!(secrets.len() > 20, "the recording is full of secrets");
    let mut haystacks: Vec<(String, Vec<u8>)> =
        scene.stored_values().await.into_iter().map(|value| ("a stored value".to_owned(), value)).collect();
    let metrics = scene.api().get("/metrics").await.expect("an answer");
    haystacks.push(("the metrics".to_owned(), metrics.body.to_vec()));
    let api = serde_json::to_vec(&scene.events().await).expect("plain data");
    haystacks.push(("the API".to_owned(), api));
    // The Worker's own configuration holds its secrets; what it wrote beside must not.
    scene.worker.stop();
    scene.ingest.stop();
    for folder in ["ingest", "worker/state", "worker/workerd.log"] {
        read_all(&scene.dir.path().join(folder), &mut haystacks);
    }
    for secret in secrets.iter().filter(|secret| secret.value.len() >= 8) {
        let pieces = pieces(&secret.value);
        for (place, haystack) in &haystacks {
            for piece in &pieces {
                assert!(!contains(haystack, piece), "a {:?} was found in {place}", secret.kind);
            }
        }
    }
    assert!(
        haystacks.iter().any(|(_, bytes)| contains(bytes, b"Invoice chaser")),
        "the search finds what is there"
    );
}

/// The secret, and of a token each of its parts: none of them may be kept.
fn pieces(secret: &str) -> Vec<Vec<u8>> {
    let parts = secret.split('.').filter(|part| secret.starts_with("eyJ") && part.len() > 40).skip(1);
    std::iter::once(secret).chain(parts).map(|piece| piece.as_bytes().to_vec()).collect()
}

fn read_all(path: &Path, haystacks: &mut Vec<(String, Vec<u8>)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder").flatten() {
            read_all(&entry.path(), haystacks);
        }
    } else if let Ok(bytes) = fs::read(path) {
        haystacks.push((path.display().to_string(), bytes));
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    // Short-cut by the rarest comparison there is: the first byte.
    let first = needle[0];
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// An event without what differs from run to run: ids, times, ports.
fn stable(event: &Value) -> Value {
    let mut event = event.clone();
    for name in ["id", "occurred_at", "received_at", "filed_at", "duration_ms", "proof"] {
        if let Some(members) = event.as_object_mut() {
            members.remove(name);
        }
    }
    let host =
        event["request"]["host"].as_str().and_then(|host| host.split_once(':')).map(|(name, _)| json!(name));
    event["request"]["host"] = host.expect("a host with a port");
    event
}
