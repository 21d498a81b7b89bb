//! Copies of published heads in storage that keeps them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Server, eventually, sample};
use crate::witness_log::{log_id, served, size};

const FAST: [(&str, &str); 2] =
    [("EDGETRAIL__LOG__INTERVAL_MS", "20"), ("EDGETRAIL__PUBLICATION__INTERVAL_MS", "20")];

/// The Python that `cargo xtask test` prepared with the packages of `tests/independent/requirements.txt`.
pub(crate) fn python() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join("target/independent/bin/python");
    if !python.exists() {
        eprintln!("left out: there is no {}; `cargo xtask test` makes it", python.display());
        return None;
    }
    Some(python)
}

pub(crate) struct Stopped(pub(crate) Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A stand-in for S3 that enforces Object Lock.
pub(crate) struct StandIn {
    pub(crate) endpoint: String,
    python: PathBuf,
    _process: Stopped,
}

impl StandIn {
    pub(crate) async fn start(python: &Path) -> Self {
        let port = free_port();
        let process = Command::new(python)
            .args(["-m", "moto.server", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let process = Stopped(process);
        eventually(async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        Self { endpoint: format!("http://127.0.0.1:{port}"), python: python.to_owned(), _process: process }
    }

    /// Runs `bucket.py` against it.
    pub(crate) fn bucket(&self, arguments: &[&str]) -> (bool, String) {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/independent/bucket.py");
        let output = Command::new(&self.python)
            .arg(script)
            .arg(&self.endpoint)
            .args(arguments)
            .output()
            .expect("runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

#[tokio::test]
async fn each_published_head_lies_in_a_locked_bucket_that_gives_nothing_back() {
    let Some(python) = python() else { return };
    let stand_in = StandIn::start(&python).await;
    let endpoint = &stand_in.endpoint;
    let made = stand_in.bucket(&["make"]);
    assert!(made.0, "{}", made.1);

    let toml = format!(
        "[worm]\nurl = \"s3://audit/heads\"\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\n\
         access_key_id = \"test\"\nsecret_access_key = \"hunter2\"\n"
    );
    let server = Server::configured(&toml, &FAST).await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[sample(1), sample(2)])).await;
    eventually(async || size(&server).await == 2).await;
    let id = log_id(&server).await;
    eventually(async || served(&server, &id).await.is_some_and(|(head, _)| head.size == 2)).await;
    let key = format!("heads/{id}/{:020}", 2);
    let (there, copy) = stand_in.bucket(&["read", &key]);
    assert!(there, "{copy}");
    let answer = server.call("GET", &format!("/log/{id}/checkpoint")).await.text();
    assert_eq!(copy, answer, "the copy is the head as it is served");

    let (_, locked) = stand_in.bucket(&["locked", &key]);
    assert!(locked.contains("COMPLIANCE"), "{locked}");
    let (deleted, why) = stand_in.bucket(&["delete", &key]);
    assert!(!deleted && why.contains("AccessDenied"), "{why}");
    let (overwritten, why) = stand_in.bucket(&["replace", &key]);
    assert!(!overwritten, "{why}");
    assert_eq!(stand_in.bucket(&["read", &key]).1, answer);
    server.stop().await;
}

#[tokio::test]
async fn heads_wait_for_storage_that_is_away_and_ingest_does_not() {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let toml = format!(
        "[worm]\nurl = \"s3://audit\"\nendpoint = \"{endpoint}\"\naccess_key_id = \"a\"\nsecret_access_key = \"b\"\n"
    );
    let server = Server::configured(&toml, &FAST).await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[sample(1), sample(2)])).await;
    eventually(async || size(&server).await == 2).await;
    let id = log_id(&server).await;
    assert!(served(&server, &id).await.is_none());
    assert_eq!(server.all("").await.len(), 2);
    server.stop().await;
}
