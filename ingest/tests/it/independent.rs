//! The running log before code that shares nothing with ours: PyPI's aics-tlog verifies it, aics-witness cosigns it and
//! refuses a rollback and a fork.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ingest::ledger::keyring::Keyring;
use shared::note::{Checkpoint, KeyName};

use crate::support::{Response, Server, eventually, sample};
use crate::witness_log::{log_id, served, size};
use crate::worm::{Stopped, free_port, python};

const FAST: [(&str, &str); 3] = [
    ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ("EDGETRAIL__PUBLICATION__INTERVAL_MS", "50"),
    ("EDGETRAIL__LOG__PUBLIC", "true"),
];

/// Runs it while our own server, in the same runtime, goes on answering.
async fn run(python: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(python);
    command.args(arguments);
    let running = tokio::task::spawn_blocking(move || command.output());
    let output = running.await.expect("no panic").expect("runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A witness of PyPI's making in a directory of its own.
struct Witness {
    python: PathBuf,
    config: PathBuf,
    address: String,
    key: String,
}

impl Witness {
    async fn make(python: &Path, dir: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let config = dir.join("witness.json");
        let path = config.display().to_string();
        let said = run(
            python,
            &[
                "-m",
                "aics_witness",
                "init",
                "-c",
                &path,
                "--name",
                "witness.example/aics",
                "--listen",
                &address,
            ],
        )
        .await;
        let key = said.split_whitespace().find(|word| word.starts_with("witness.example/aics+"));
        Self {
            python: python.to_owned(),
            key: key.expect("a key").trim_matches('"').to_owned(),
            config,
            address,
        }
    }

    fn toml(&self) -> String {
        format!("[[cosigners]]\nkey = \"{}\"\nurl = \"http://{}\"\n", self.key, self.address)
    }

    async fn serve(&self, origin: &str, log_key: &str) -> Stopped {
        let path = self.config.display().to_string();
        run(
            &self.python,
            &["-m", "aics_witness", "add-log", "-c", &path, "--origin", origin, "--vkey", log_key],
        )
        .await;
        let child = Command::new(&self.python)
            .args(["-m", "aics_witness", "serve", "-c", &path])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let serving = Stopped(child);
        eventually(async || std::net::TcpStream::connect(&self.address).is_ok()).await;
        serving
    }

    async fn submit(&self, old: u64, note: &str) -> Response {
        crate::support::call(
            &self.address,
            "POST",
            "/add-checkpoint",
            &[],
            format!("old {old}\n\n{note}").as_bytes(),
        )
        .await
    }
}

#[tokio::test]
async fn a_stranger_verifies_the_log_and_a_witness_cosigns_it_and_refuses_a_rollback_and_a_fork() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    let witness = Witness::make(&python, dir.path()).await;
    let server = Server::configured(&witness.toml(), &FAST).await;
    let mut producer = server.producer().await;
    let mut append = async |events: std::ops::Range<u64>| {
        let events: Vec<_> = events.map(sample).collect();
        for some in events.chunks(90) {
            assert_eq!(server.send(&producer.seal(some)).await["status"], 200);
        }
    };
    append(0..700).await;
    eventually(async || size(&server).await == 700).await;
    let id = log_id(&server).await;
    let logs = server.get("/v1/logs").await.json();
    let word = |name: &str| logs["logs"][0][name].as_str().expect("a word").to_owned();
    let (origin, log_key) = (word("origin"), word("verifier_key"));
    assert!(served(&server, &id).await.is_none(), "the witness is not there yet");

    let _serving = witness.serve(&origin, &log_key).await;
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 700)).await;
    let old_note = server.call("GET", &format!("/log/{id}/checkpoint")).await.text();
    let audit = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/independent/audit.py");
    let audit = audit.display().to_string();
    let url = format!("http://{}/log/{id}", server.address);
    let first = run(&python, &[&audit, &url, &log_key, "1", &witness.key]).await;
    let (old_size, old_root) = first.split_once(' ').expect("a size and a root");
    assert_eq!(old_size, "700");

    append(700..1500).await;
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 1500)).await;
    let second = run(&python, &[&audit, &url, &log_key, "1", &witness.key, "--", old_size, old_root]).await;
    assert!(second.starts_with("1500 "), "{second}");

    // The same head again, as a restored database would send it.
    let refused = witness.submit(0, &old_note).await;
    assert_eq!((refused.status, refused.text().as_str()), (409, "1500\n"));
    assert_eq!(witness.submit(1500, &old_note).await.status, 400);
    // Another history of more entries, signed with the very key of the log.
    let name = KeyName::try_from(origin.clone()).expect("a name");
    let keys = Keyring::load_or_create(&server.dir().join("log.key"), &name).expect("keys");
    let fork = Checkpoint { origin, size: 1600, root: [9; 32] };
    let note = keys.newest().sign_note(&fork.to_string(), &name);
    assert_eq!(witness.submit(1500, &note).await.status, 422);
    let same = Checkpoint { size: 1500, ..fork };
    let note = keys.newest().sign_note(&same.to_string(), &name);
    assert_eq!(witness.submit(1500, &note).await.status, 422);
    server.stop().await;
}
