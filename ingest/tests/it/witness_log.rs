//! Heads wait for the witnesses that the configuration names; nothing else does.

use ed25519_dalek::{Signature, VerifyingKey};
use shared::note::{Checkpoint, Cosignature, Note};

use crate::support::{Cosigner, Mood, Server, counted, eventually, sample};

const FAST: [(&str, &str); 2] =
    [("EDGETRAIL__LOG__INTERVAL_MS", "20"), ("EDGETRAIL__PUBLICATION__INTERVAL_MS", "20")];

pub(crate) async fn log_id(server: &Server) -> String {
    let logs = server.get("/v1/logs").await.json();
    logs["logs"][0]["log_id"].as_str().expect("a log").to_owned()
}

/// The size in `/v1/logs` of the log that grows.
pub(crate) async fn size(server: &Server) -> u64 {
    server.get("/v1/logs").await.json()["logs"][0]["size"].as_u64().unwrap_or(0)
}

/// The served head, if there is one.
pub(crate) async fn served(server: &Server, log_id: &str) -> Option<(Checkpoint, Note)> {
    let answer = server.call("GET", &format!("/log/{log_id}/checkpoint")).await;
    if answer.status != 200 {
        answer.problem(404);
        return None;
    }
    let note = Note::parse(&answer.body).expect("a note");
    Some((note.text().parse().expect("a checkpoint"), note))
}

async fn store(server: &Server, producer: &mut crate::support::Producer, events: std::ops::Range<u64>) {
    let events: Vec<_> = events.map(sample).collect();
    for some in events.chunks(90) {
        assert_eq!(server.send(&producer.seal(some)).await["status"], 200);
    }
}

fn cosigned_by(note: &Note, witness: &Cosigner) -> bool {
    let key = witness.key();
    let public = VerifyingKey::from_bytes(&key.public).expect("a point");
    note.signatures().iter().filter(|line| line.name == key.name && line.key_id == key.id()).any(|line| {
        let cosignature = Cosignature::of(line).expect("a cosignature");
        let message = cosignature.message(note.text());
        public.verify_strict(message.as_bytes(), &Signature::from_bytes(&cosignature.signature)).is_ok()
    })
}

#[tokio::test]
async fn a_head_is_served_with_its_cosignatures_once_the_quorum_has_seen_it() {
    let (first, second) =
        (Cosigner::start("witness.example/1").await, Cosigner::start("witness.example/2").await);
    let toml = format!("[publication]\nquorum = 2\n{}{}", first.toml(), second.toml());
    let server = Server::configured(&toml, &FAST).await;
    let mut producer = server.producer().await;
    store(&server, &mut producer, 0..700).await;
    eventually(async || size(&server).await == 700).await;
    let id = log_id(&server).await;
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 700)).await;
    let (_, note) = served(&server, &id).await.expect("served");
    assert!(cosigned_by(&note, &first) && cosigned_by(&note, &second), "{note:?}");
    assert_eq!(note.signatures().len(), 3);

    // One of two is not enough: what was published stays, everything else goes on.
    second.set(Mood::Away);
    store(&server, &mut producer, 700..1000).await;
    eventually(async || size(&server).await == 1000).await;
    assert_eq!(server.all("").await.len(), 1000);
    eventually(async || first.size_of(note.text().lines().next().expect("an origin")) == Some(1000)).await;
    assert_eq!(served(&server, &id).await.expect("served").0.size, 700);
    let tile = server.get(&format!("/log/{id}/tile/0/002.p/188")).await;
    assert_eq!(tile.status, 200, "of the published head");
    server.get(&format!("/log/{id}/tile/0/002.p/200")).await.problem(404);
    assert_eq!(server.get("/readyz").await.status, 200);
    let listed = server.get("/v1/logs").await.json();
    assert_eq!(
        (&listed["logs"][0]["size"], &listed["logs"][0]["published_size"]),
        (&1000.into(), &700.into())
    );
    let metrics = server.call("GET", "/metrics").await.text();
    assert!(counted(&metrics, "edgetrail_publication_failures_total") > 0);

    second.set(Mood::Honest);
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 1000)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_new_log_grows_while_its_witness_was_never_there() {
    let witness = Cosigner::start("witness.example/1").await;
    witness.set(Mood::Away);
    let server = Server::configured(&witness.toml(), &FAST).await;
    let mut producer = server.producer().await;
    for n in 0..5 {
        store(&server, &mut producer, n..n + 1).await;
        eventually(async || size(&server).await == n + 1).await;
    }
    assert_eq!(server.call("GET", "/readyz").await.status, 200);
    let id = log_id(&server).await;
    assert!(served(&server, &id).await.is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_cosignature_that_does_not_verify_counts_for_nothing() {
    let witness = Cosigner::start("witness.example/1").await;
    witness.set(Mood::Forging);
    let server = Server::configured(&witness.toml(), &FAST).await;
    let mut producer = server.producer().await;
    store(&server, &mut producer, 0..5).await;
    eventually(async || size(&server).await == 5).await;
    eventually(async || witness.asked().len() > 2).await;
    let id = log_id(&server).await;
    assert!(served(&server, &id).await.is_none());
    witness.set(Mood::Honest);
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 5)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_witness_that_knows_another_size_than_we_believe_is_asked_again_with_its_own() {
    let witness = Cosigner::start("witness.example/1").await;
    let server = Server::configured(&witness.toml(), &FAST).await;
    let mut producer = server.producer().await;
    store(&server, &mut producer, 0..5).await;
    let id = async || log_id(&server).await;
    eventually(async || size(&server).await == 5).await;
    let id = id().await;
    eventually(async || served(&server, &id).await.is_some()).await;
    // As after a restore of the cosignatures alone: the witness's word counts.
    sqlx::query("delete from log_cosignatures")
        .execute(&mut superuser(&server).await)
        .await
        .expect("deleted");
    store(&server, &mut producer, 5..300).await;
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 300)).await;
    assert!(witness.asked().windows(2).any(|two| two[0] == 0 && two[1] > 0), "{:?}", witness.asked());
    server.stop().await;
}

pub(crate) async fn superuser(server: &Server) -> sqlx::PgConnection {
    use sqlx::Connection as _;
    sqlx::PgConnection::connect_with(&server.database).await.expect("connected")
}
