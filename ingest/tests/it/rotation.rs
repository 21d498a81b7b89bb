//! A log's key is rotated with overlap: within a log, and at a new year.

use std::process::{Command, Output};

use ed25519_dalek::{Signature, VerifyingKey};
use ingest::clock::Clock;
use ingest::ledger::keyring::Keyring;
use ingest::ledger::sequencer::Sequencer;
use shared::note::{KeyName, Note, VerifierKey};

use crate::support::{Server, eventually, sample};
use crate::witness_log::{log_id, served, size};

const FAST: [(&str, &str); 2] =
    [("EDGETRAIL__LOG__INTERVAL_MS", "20"), ("EDGETRAIL__INTEGRITY__HEADS_MS", "100")];

fn rotate_key(server: &Server, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgetrail"))
        .args(["log", "rotate-key"])
        .args(more)
        .envs(server.database_variables())
        .output()
        .expect("runs")
}

fn keys(log: &serde_json::Value) -> Vec<VerifierKey> {
    let keys = log["verifier_keys"].as_array().expect("a list");
    keys.iter().map(|key| key["key"].as_str().expect("a key").parse().expect("a key")).collect()
}

fn signed_by(note: &Note, key: &VerifierKey) -> bool {
    let public = VerifyingKey::from_bytes(&key.public).expect("a point");
    note.signatures().iter().filter(|line| line.name == key.name && line.key_id == key.id()).any(|line| {
        let signature = Signature::from_slice(&line.bytes).expect("64 bytes");
        public.verify_strict(note.text().as_bytes(), &signature).is_ok()
    })
}

#[tokio::test]
async fn within_a_log_both_keys_sign_until_the_old_one_is_retired() {
    let server = Server::with(&FAST).await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[sample(1)])).await;
    eventually(async || size(&server).await == 1).await;
    let early = rotate_key(&server, &["--at-next-year", "--finish"]);
    assert_eq!(early.status.code(), Some(2));
    assert!(rotate_key(&server, &[]).status.success());
    let told = server.eventually("&action=LOG_KEY_NAMED", 1).await;
    let dir = server.halt().await;

    let server = Server::inside(dir, "", &FAST).await;
    server.send(&producer.seal(&[sample(2)])).await;
    eventually(async || size(&server).await == 3).await;
    let id = log_id(&server).await;
    let listed = server.get("/v1/logs").await.json()["logs"][0].clone();
    let named = keys(&listed);
    assert_eq!(named.len(), 2);
    assert_eq!(told[0]["details"]["key"], named[1].to_string(), "the log itself says which key is new");
    let (_, note) = served(&server, &id).await.expect("served");
    assert!(signed_by(&note, &named[0]) && signed_by(&note, &named[1]), "{note:?}");
    assert_eq!(listed["verifier_key"], named[0].to_string());

    assert!(rotate_key(&server, &["--finish"]).status.success());
    server.eventually("&action=LOG_KEY_RETIRED", 1).await;
    let dir = server.halt().await;
    let server = Server::inside(dir, "", &FAST).await;
    server.send(&producer.seal(&[sample(3)])).await;
    eventually(async || size(&server).await == 5).await;
    let (_, note) = served(&server, &id).await.expect("served");
    assert!(!signed_by(&note, &named[0]) && signed_by(&note, &named[1]), "{note:?}");
    let listed = server.get("/v1/logs").await.json()["logs"][0].clone();
    assert!(listed["verifier_keys"][0]["retired_at"].is_string(), "{listed}");
    assert_eq!(server.get("/v1/integrity").await.json()["sound"], true);
    server.stop().await;
}

#[tokio::test]
async fn at_a_new_year_the_new_log_has_the_new_key_alone() {
    let server = Server::without_sequencer().await;
    let mut producer = server.producer().await;
    let host = KeyName::try_from("localhost".to_owned()).expect("a name");
    let path = server.dir().join("log.key");
    let now = chrono::Utc::now();
    let sequencer = |later: i64| {
        let at = now + chrono::TimeDelta::days(later);
        let keys = Keyring::load_or_create(&path, &host).expect("keys");
        Sequencer::new(server.store.clone(), keys, host.clone(), Clock::from_fn(move || at.into()))
    };
    server.send(&producer.seal(&[sample(1)])).await;
    sequencer(0).pass().await;
    assert!(rotate_key(&server, &["--at-next-year"]).status.success());
    // Too early: the log that grows has only the old key.
    let early = rotate_key(&server, &["--finish"]);
    assert_eq!(early.status.code(), Some(2), "{}", String::from_utf8_lossy(&early.stderr));
    server.send(&producer.seal(&[sample(2)])).await;
    sequencer(0).pass().await;
    let old = server.get("/v1/logs").await.json()["logs"][0].clone();
    let (_, note) = served(&server, old["log_id"].as_str().expect("an id")).await.expect("served");
    assert_eq!((note.signatures().len(), keys(&old).len()), (1, 1));

    server.send(&producer.seal(&[sample(3)])).await;
    sequencer(366).pass().await;
    let fresh = server.get("/v1/logs").await.json()["logs"][0].clone();
    assert_ne!(fresh["log_id"], old["log_id"]);
    assert_ne!(keys(&fresh)[0].public, keys(&old)[0].public);
    let (_, note) = served(&server, fresh["log_id"].as_str().expect("an id")).await.expect("served");
    assert!(signed_by(&note, &keys(&fresh)[0]) && note.signatures().len() == 1);
    assert!(rotate_key(&server, &["--finish"]).status.success());
    server.send(&producer.seal(&[sample(4)])).await;
    let last = sequencer(366);
    last.pass().await;
    last.check().await.expect("old logs whose key is gone do not stand in the way");
    assert_eq!(size(&server).await, 3);
    server.stop().await;
}
