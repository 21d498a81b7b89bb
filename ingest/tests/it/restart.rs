//! Starts on a database that went back, and several processes on one database.

use std::path::Path;
use std::process::Command;

use ingest::clock::Clock;
use ingest::config::{Config, Environment};
use ingest::serve::Backend;
use sha2::Digest as _;
use shared::note::Note;

use crate::support::audit::{edgetrail, verify};
use crate::support::{Cosigner, Producer, Server, eventually, is_skipped_on_a_cluster, sample, tenant};
use crate::witness_log::{log_id, served, size};

const FAST: [(&str, &str); 3] = [
    ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ("EDGETRAIL__PUBLICATION__INTERVAL_MS", "20"),
    ("EDGETRAIL__INTEGRITY__HEADS_MS", "100"),
];

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(done.success());
}

async fn append(server: &Server, producer: &mut Producer, events: std::ops::Range<u64>) {
    let events: Vec<_> = events.map(sample).collect();
    assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
}

/// A log whose head of 30 entries is published, and a database that was restored to the one of 10.
async fn gone_back(toml: &str) -> (Server, Producer, String) {
    let mut server = Server::configured(toml, &FAST).await;
    let mut producer = server.producer().await;
    append(&server, &mut producer, 0..10).await;
    eventually(async || size(&server).await == 10).await;
    let id = log_id(&server).await;
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 10)).await;
    let dir = server.halt().await;
    copy(&dir.path().join("pg"), &dir.path().join("backup"));
    server = Server::inside(dir, toml, &FAST).await;
    let mut after = server.producer().await;
    append(&server, &mut after, 10..30).await;
    eventually(async || size(&server).await == 30).await;
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 30)).await;
    let dir = server.halt().await;
    copy(&dir.path().join("backup"), &dir.path().join("pg"));
    server = Server::inside(dir, toml, &FAST).await;
    (server, producer, id)
}

async fn goes_on_with_a_new_origin(toml: &str, known: &str) -> (Server, Reopened) {
    let (server, mut producer, old) = gone_back(toml).await;
    append(&server, &mut producer, 30..33).await;
    eventually(async || server.call("GET", "/readyz").await.status == 503).await;
    assert_eq!(size(&server).await, 10, "nothing is signed");
    assert_eq!(server.all("").await.len(), 13, "and everything is taken");
    let standing = server.get("/v1/integrity").await.json()["logs"][0]["signing"].to_string();
    assert!(standing.contains(known), "{standing}");
    assert!(standing.contains(&format!("edgetrail log reopen --log {old}")), "{standing}");

    let file = server.dir().join("edgetrail.toml");
    let data = server.dir().join("pg");
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgetrail"));
    command.args(["log", "reopen", "--log", &old, "--config"]).arg(&file);
    command.env("EDGETRAIL__DATABASE__DATA_DIR", &data);
    // Beside the server and the witness of this very runtime.
    let running = tokio::task::spawn_blocking(move || command.output());
    let reopened = running.await.expect("no panic").expect("runs");
    let said = String::from_utf8_lossy(&reopened.stdout).into_owned();
    assert!(reopened.status.success(), "{}", String::from_utf8_lossy(&reopened.stderr));
    eventually(async || {
        let logs = server.get("/v1/logs").await.json();
        let newest = &logs["logs"][0];
        newest["part"] == 1 && newest["published_size"].as_u64() >= Some(5)
    })
    .await;
    let logs = server.get("/v1/logs").await.json();
    let fresh = logs["logs"][0]["log_id"].as_str().expect("a log").to_owned();
    assert!(said.contains(&fresh), "{said}");
    assert_eq!(logs["logs"][0]["previous"]["log_id"], old);
    let note = logs["logs"][0]["previous"]["checkpoint"].as_str().expect("a note");
    let bundle = server.get(&format!("/log/{fresh}/tile/entries/000.p/1")).await.body;
    assert_eq!(bundle[12..44], sha2::Sha256::digest(format!("audit/succession/v1\0{note}"))[..]);
    eventually(async || server.call("GET", "/readyz").await.status == 200).await;
    let told = server.eventually("&action=LOG_REOPENED", 1).await;
    assert_eq!(
        (&told[0]["severity"], &told[0]["details"]["previous"]),
        (&"critical".into(), &old.clone().into())
    );
    assert_eq!(told[0]["details"]["database_size"], 10);
    let note = note.to_owned();
    (server, Reopened { old, fresh, note })
}

/// The log that a restore closed, the one that goes on, and what its leaf 0 names.
struct Reopened {
    old: String,
    fresh: String,
    note: String,
}

/// What an auditor sees of it: an accounted loss, and damage as soon as a part of the account is missing.
async fn the_loss_is_told(server: &Server, Reopened { old, fresh, note: lost }: &Reopened) {
    let url = format!("http://{}", server.address);
    // The record of the restore waits for its own place for a moment.
    eventually(async || verify(&url, server.admin_key(), &[]).await.status == 4).await;
    let dir = tempfile::tempdir().expect("a directory");
    let bundle = server.bundle(dir.path(), "folder").await;
    let kept = dir.path().join("kept.txt");
    std::fs::write(&kept, lost).expect("written");
    let kept = kept.to_str().expect("text");
    let target = bundle.to_str().expect("text");
    for more in [&[][..], &["--checkpoint", kept]] {
        let verdict = verify(target, "", more).await;
        assert_eq!(
            (verdict.status, verdict.kinds()),
            (4, vec!["restored".to_owned()]),
            "{:#}",
            verdict.report
        );
        assert_eq!(verdict.report["verdict"], "valid but for a restore");
        assert_eq!(verdict.report["report"]["counts"]["lost"], 20);
        let told = format!(
            "edgetrail: LOSS: lost in a restore: leaf 10 of log {old}: closed by a restore: the backup holds 10 of 30 \
             leaves; leaves 10..30 are missing since the head of 30 entries that log {fresh} names\n"
        );
        assert_eq!(verdict.stderr, told);
    }
    let (_, stdout, _) = edgetrail(&["verify", target], "").await;
    assert!(stdout.contains("events LOST with a restored backup: 20"), "{stdout}");
    assert!(
        stdout.contains("valid but for a restore: 2/2 logs valid, ") && stdout.ends_with(", 20 LOST\n"),
        "{stdout}"
    );
    // Without the openings there is no record to be seen, and the loss stands there all the same.
    let viewer = verify(&url, server.viewer_key(), &[]).await;
    assert_eq!((viewer.status, viewer.kinds()), (4, vec!["restored".to_owned()]), "{:#}", viewer.report);

    let named = bundle.join(format!("logs/{fresh}/previous"));
    std::fs::write(&named, lost.replacen("\n30\n", "\n12\n", 1)).expect("written");
    verify(target, "", &[]).await.finds(
        "another head",
        "succession_broken",
        "nor the one that it is said to name",
    );
    std::fs::remove_file(&named).expect("removed");
    verify(target, "", &[]).await.finds("no head", "succession_broken", "what it names is not here");
}

#[tokio::test]
async fn a_restored_backup_is_not_signed_when_a_witness_knows_better() {
    if is_skipped_on_a_cluster("a cluster has no one directory to be restored") {
        return;
    }
    let witness = Cosigner::start("witness.example/1").await;
    let (server, reopened) =
        Box::pin(goes_on_with_a_new_origin(&witness.toml(), "has cosigned a head of 30 entries")).await;
    // This witness shows no heads, so nothing proves what is lost; that more was seen stands in the record.
    let url = format!("http://{}", server.address);
    eventually(async || verify(&url, server.admin_key(), &[]).await.status == 3).await;
    let seen = format!("30 entries of it were seen, and leaf 0 of log {} admits only 10", reopened.fresh);
    verify(&url, server.admin_key(), &[]).await.finds("no head", "truncated", &seen);
    server.stop().await;
}

#[tokio::test]
async fn a_restored_backup_is_not_signed_when_the_copies_know_better_and_leaf_0_is_the_newest_of_them() {
    if is_skipped_on_a_cluster("a cluster has no one directory to be restored") {
        return;
    }
    let copies = tempfile::tempdir_in("/tmp").expect("a directory");
    let toml = format!("[worm]\nurl = \"file://{}\"\n", copies.path().display());
    let (server, reopened) =
        Box::pin(goes_on_with_a_new_origin(&toml, "holds a head of 30 entries, the database one of 10"))
            .await;
    the_loss_is_told(&server, &reopened).await;
    server.stop().await;
    // Under the old log's name the largest copy is the one that leaf 0 commits to.
    let newest = walk(copies.path()).into_iter().find(|path| path.ends_with("00000000000000000030"));
    let note = std::fs::read(newest.expect("a copy of the lost head")).expect("read");
    assert!(Note::parse(&note).expect("a note").text().lines().nth(1) == Some("30"));
}

fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("listed").flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(walk(&path)),
            path => found.push(path.display().to_string()),
        }
    }
    found
}

#[tokio::test]
async fn a_database_that_went_another_way_is_not_signed_either() {
    if is_skipped_on_a_cluster("a cluster has no one directory to be restored") {
        return;
    }
    let copies = tempfile::tempdir_in("/tmp").expect("a directory");
    let toml = format!("[worm]\nurl = \"file://{}\"\n", copies.path().display());
    let (server, mut producer, id) = gone_back(&toml).await;
    // The restored database grows past the lost head without anybody asking.
    let dir = server.halt().await;
    let plain = Server::inside(dir, "", &FAST).await;
    append(&plain, &mut producer, 30..90).await;
    eventually(async || size(&plain).await == 70).await;
    let dir = plain.halt().await;
    let server = Server::inside(dir, &toml, &FAST).await;
    let standing = server.get("/v1/integrity").await.json()["logs"][0]["signing"].to_string();
    assert!(standing.contains("another head of 30 entries"), "{standing}");
    assert!(served(&server, &id).await.is_none_or(|(head, _)| head.size < 70), "and nothing more is served");
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_signed_before_anybody_who_could_know_better_has_answered() {
    let witness = Cosigner::start("witness.example/1").await;
    let server = Server::configured(&witness.toml(), &FAST).await;
    let mut producer = server.producer().await;
    append(&server, &mut producer, 0..10).await;
    eventually(async || size(&server).await == 10).await;
    let dir = server.halt().await;
    witness.set(crate::support::Mood::Away);
    let server = Server::inside(dir, &witness.toml(), &FAST).await;
    append(&server, &mut producer, 10..12).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!((size(&server).await, server.all("").await.len()), (10, 12));
    witness.set(crate::support::Mood::Honest);
    eventually(async || size(&server).await == 12).await;
    server.stop().await;
}

#[tokio::test]
async fn two_processes_on_one_database_sequence_without_gap_or_fork() {
    let witness = Cosigner::start("witness.example/1").await;
    let server = Server::configured(&witness.toml(), &FAST).await;
    let url = server.database_url();
    // The other process holds the same key, as both instances of an installation do.
    let other_dir = tempfile::tempdir_in("/tmp").expect("a directory");
    for key in ["log.key", "policy.key"] {
        std::fs::copy(server.dir().join(key), other_dir.path().join(key)).expect("copied");
    }
    let toml = witness.toml();
    let file = other_dir.path().join("edgetrail.toml");
    std::fs::write(&file, toml).expect("written");
    let mut variables: Vec<(String, String)> =
        FAST.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    variables.push(("EDGETRAIL__HTTP__LISTEN".to_owned(), "127.0.0.1:0".to_owned()));
    variables.push((
        "EDGETRAIL__DATABASE__DATA_DIR".to_owned(),
        other_dir.path().join("pg").display().to_string(),
    ));
    variables.push(("DATABASE_URL".to_owned(), url));
    let config = Config::load(Some(&file), &Environment { variables }).expect("valid");
    let other = Backend::start(config, Clock::system()).await.expect("started");
    let address = other.address.to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(other.run(async {
        let _ = stopped.await;
    }));

    let (mut mine, mut theirs) = (server.producer().await, Producer::new("edge/other"));
    ingest::store::signing_keys::upsert(&server.store, &theirs.verifier(), &[tenant("demo")])
        .await
        .expect("registered");
    for batch in 0..40 {
        let events: Vec<_> = (batch * 10..batch * 10 + 10).map(sample).collect();
        assert_eq!(server.send(&mine.seal(&events)).await["status"], 200);
        let events: Vec<_> = (1000 + batch * 10..1000 + batch * 10 + 10).map(sample).collect();
        let sealed = theirs.seal(&events);
        eventually(async || Server::send_to(&address, &sealed).await == 200).await;
    }
    eventually(async || size(&server).await == 800).await;
    let id = log_id(&server).await;
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 800)).await;
    let _ = stop.send(());
    running.await.expect("no panic");

    // Every head that was ever signed is a prefix of the last: the witness would have refused a fork, and the entries say so.
    let heads: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select size, root from log_checkpoints where log_id = $1 order by size")
            .bind(&id)
            .fetch_all(&mut crate::witness_log::superuser(&server).await)
            .await
            .expect("read");
    let mut range = shared::tree::CompactRange::default();
    let mut heads = heads.into_iter().peekable();
    let mut entries = Vec::new();
    for (index, width) in [(0, ""), (1, ""), (2, ""), (3, ".p/32")] {
        let bundle = server.get(&format!("/log/{id}/tile/entries/{index:03}{width}")).await.body;
        entries.extend(bundle.chunks(44).map(|entry| entry[2..].to_vec()));
    }
    assert_eq!(entries.iter().collect::<std::collections::BTreeSet<_>>().len(), 800);
    for (size, entry) in (1_i64..).zip(&entries) {
        range.append(shared::tree::leaf_hash(entry));
        if let Some((_, root)) = heads.next_if(|(at, _)| *at == size) {
            assert_eq!(root, range.root(), "head of {size} entries");
        }
    }
    assert!(heads.next().is_none());
    server.stop().await;
}
