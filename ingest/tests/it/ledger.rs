//! The logs, read as a stranger reads them.

use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use ingest::clock::Clock;
use ingest::ledger::key::LogKey;
use ingest::ledger::sequencer::Sequencer;
use shared::leaf::Hash;
use shared::note::{Checkpoint, KeyName, Note, VerifierKey};
use shared::tree::{CompactRange, TILE_WIDTH, TileRef, leaf_hash};

use crate::support::{Server, sample};

/// The verified head of the only log.
async fn checkpoint(server: &Server) -> (String, Checkpoint) {
    let logs = server.get("/v1/logs").await.json();
    let log_id = logs["logs"][0]["log_id"].as_str().expect("a log").to_owned();
    let key: VerifierKey = logs["logs"][0]["verifier_key"].as_str().expect("a key").parse().expect("a key");
    let answer = server.call("GET", &format!("/log/{log_id}/checkpoint")).await;
    assert!(answer.head.contains("content-type: text/plain"), "{}", answer.head);
    let note = Note::parse(&answer.body).expect("a note");
    let signature = &note.signatures()[0];
    assert_eq!((&signature.name, signature.key_id), (&key.name, key.id()));
    VerifyingKey::from_bytes(&key.public)
        .expect("a point")
        .verify_strict(note.text().as_bytes(), &Signature::from_slice(&signature.bytes).expect("64 bytes"))
        .expect("the signature holds");
    let checkpoint: Checkpoint = note.text().parse().expect("a checkpoint");
    assert_eq!(checkpoint.origin, key.name.to_string());
    (log_id, checkpoint)
}

async fn tile(server: &Server, log_id: &str, level: Option<u8>, index: u64, size: u64) -> Vec<u8> {
    let mut tile = TileRef { level, index, width: 256 };
    tile.width = tile.width_at(size);
    let answer = server.get(&format!("/log/{log_id}/{tile}")).await;
    assert_eq!(answer.status, 200, "{tile}: {}", answer.text());
    let full = u64::from(tile.width) == TILE_WIDTH;
    assert_eq!(answer.head.contains("immutable"), full, "{}", answer.head);
    answer.body
}

/// Every leaf's hash, from the entry bundles.
async fn leaves(server: &Server, log_id: &str, size: u64) -> Vec<Hash> {
    let mut leaves = Vec::new();
    for index in 0..size.div_ceil(TILE_WIDTH) {
        let bundle = tile(server, log_id, None, index, size).await;
        for entry in bundle.chunks(44) {
            assert_eq!(entry[..2], [0, 42]);
            leaves.push(leaf_hash(&entry[2..]));
        }
    }
    leaves
}

fn root(leaves: &[Hash]) -> Hash {
    let mut range = CompactRange::default();
    leaves.iter().for_each(|leaf| range.append(*leaf));
    range.root()
}

#[tokio::test]
async fn a_stranger_recomputes_the_signed_root_from_bundles_and_tiles() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    for batch in 0..7 {
        let events: Vec<_> = (batch * 90..batch * 90 + 90).map(sample).collect();
        assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
    }
    let mut head = checkpoint_of(&server, 630).await;
    let (log_id, size) = (head.0.clone(), head.1.size);
    let leaves = leaves(&server, &log_id, size).await;
    assert_eq!(leaves.len(), 630);
    assert_eq!(root(&leaves), head.1.root);
    for (index, hashes) in (0..).zip(leaves.chunks(256)) {
        assert_eq!(tile(&server, &log_id, Some(0), index, size).await, hashes.concat());
    }
    let full: Vec<Hash> = leaves.chunks_exact(256).map(root).collect();
    assert_eq!(tile(&server, &log_id, Some(1), 0, size).await, full.concat());
    // Not covered, and not a tile.
    server.get(&format!("/log/{log_id}/tile/0/003")).await.problem(404);
    server.get(&format!("/log/{log_id}/tile/0/002")).await.problem(404);
    server.get(&format!("/log/{log_id}/tile/9/000")).await.problem(404);
    server.get(&format!("/log/{log_id}/tile/0/3")).await.problem(404);

    // The same log goes on.
    server.send(&producer.seal(&[sample(631)])).await;
    head = checkpoint_of(&server, 631).await;
    assert_eq!(head.0, log_id);
    server.stop().await;
}

/// The head once it covers this many entries.
async fn checkpoint_of(server: &Server, size: u64) -> (String, Checkpoint) {
    for _ in 0..200 {
        let logs = server.get("/v1/logs").await.json();
        if logs["logs"][0]["size"].as_u64() == Some(size) {
            return checkpoint(server).await;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the log does not reach {size}");
}

#[tokio::test]
async fn four_sequencers_at_once_leave_no_gap_and_no_repeat() {
    let server = Server::without_sequencer().await;
    let mut producer = server.producer().await;
    let host = KeyName::try_from("localhost".to_owned()).expect("a name");
    let key = LogKey::from_seed(&[5; 32]);
    let mut racers = Vec::new();
    for _ in 0..4 {
        let sequencer = Sequencer::new(server.store.clone(), key.clone(), host.clone(), Clock::system());
        let store = server.store.clone();
        racers.push(tokio::spawn(async move {
            // Without the advisory lock: the row's lock alone must be enough.
            for _ in 0..60 {
                let mut transaction = store.begin().await.expect("begun");
                sequencer.round(&mut transaction, "demo").await.expect("a round");
                transaction.commit().await.expect("committed");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }));
    }
    for batch in 0..30 {
        let events: Vec<_> = (batch * 20..batch * 20 + 20).map(sample).collect();
        assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
    }
    for racer in racers {
        racer.await.expect("no panic");
    }
    let last = Sequencer::new(server.store.clone(), key, host, Clock::system());
    last.pass().await;
    last.check().await.expect("the tree is the signed one");
    let (log_id, head) = checkpoint(&server).await;
    assert_eq!(head.size, 600);
    let leaves = leaves(&server, &log_id, head.size).await;
    assert_eq!(root(&leaves), head.root);
    let distinct: std::collections::BTreeSet<_> = leaves.iter().collect();
    assert_eq!(distinct.len(), 600);
    server.stop().await;
}

#[tokio::test]
async fn a_new_year_opens_a_log_whose_first_leaf_is_the_old_head() {
    use sha2::Digest as _;
    let server = Server::without_sequencer().await;
    let mut producer = server.producer().await;
    let host = KeyName::try_from("localhost".to_owned()).expect("a name");
    let key = LogKey::from_seed(&[5; 32]);
    let now = chrono::Utc::now();
    let sequencer = |later: i64| {
        let at = now + chrono::TimeDelta::days(later);
        Sequencer::new(server.store.clone(), key.clone(), host.clone(), Clock::from_fn(move || at.into()))
    };
    server.send(&producer.seal(&[sample(1)])).await;
    sequencer(0).pass().await;
    let (old, _) = checkpoint(&server).await;
    let old_note = server.call("GET", &format!("/log/{old}/checkpoint")).await.text();
    server.send(&producer.seal(&[sample(2)])).await;
    sequencer(366).pass().await;
    let (fresh, head) = checkpoint(&server).await;
    assert_ne!(old, fresh);
    assert_eq!(head.size, 2);
    let bundle = tile(&server, &fresh, None, 0, 2).await;
    let digest = sha2::Sha256::digest(format!("audit/succession/v1\0{old_note}"));
    assert_eq!(bundle[12..44], digest[..]);
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_signed_on_top_of_a_tree_that_was_changed() {
    let server = Server::without_sequencer().await;
    let mut producer = server.producer().await;
    let host = KeyName::try_from("localhost".to_owned()).expect("a name");
    let sequencer =
        Sequencer::new(server.store.clone(), LogKey::from_seed(&[5; 32]), host.clone(), Clock::system());
    server.send(&producer.seal(&[sample(1), sample(2)])).await;
    sequencer.pass().await;
    let mut transaction = server.store.begin().await.expect("begun");
    sqlx::query("update logs set peaks = $1")
        .bind(vec![0_u8; 32])
        .execute(&mut *transaction)
        .await
        .expect("changed");
    transaction.commit().await.expect("committed");
    server.send(&producer.seal(&[sample(3)])).await;
    sequencer.pass().await;
    assert!(!sequencer.is_healthy());
    assert!(sequencer.check().await.is_err());
    let (_, head) = checkpoint(&server).await;
    assert_eq!(head.size, 2);
    server.stop().await;
}
