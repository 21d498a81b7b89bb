//! Traces, where they are built in: a collector gets a span for a batch, and nothing in it is anybody's.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use ed25519_dalek::{Signer as _, SigningKey};
use shared::batch::{CONTENT_TYPE, Header, StreamId, encode_body, events_hash, frame};
use shared::event::Timestamp;
use shared::leaf::{Hash, digest};
use shared::note::{KeyName, VerifierKey, assemble};

type Received = Arc<Mutex<Vec<u8>>>;

async fn collector() -> (SocketAddr, Received) {
    let received = Received::default();
    let keep = async |State(received): State<Received>, body: Bytes| {
        received.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&body);
    };
    let router = Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, received)
}

/// A batch of one event that is none: it goes to quarantine, which is enough to be traced.
fn batch(pair: &SigningKey, name: &KeyName, secret: &str) -> Vec<u8> {
    let opening = secret.as_bytes();
    let claimed: Hash = shared::leaf::Opening::decode(opening).map_or([9; 32], |it| digest(&it));
    let header = Header {
        tenant: "demo".parse().expect("a slug"),
        stream: StreamId([7; 16]),
        seq: 0,
        prev: [0; 32],
        sent: Timestamp::from(chrono::Utc::now()),
        count: 1,
        dropped: 0,
        events: events_hash([&claimed]),
    };
    let text = header.to_string();
    let key = VerifierKey { name: name.clone(), public: pair.verifying_key().to_bytes() };
    let note = assemble(&text, name, key.id(), &pair.sign(text.as_bytes()).to_bytes());
    frame(&note, &encode_body([(&claimed, opening)].into_iter()))
}

#[tokio::test]
async fn a_collector_gets_a_span_for_a_batch_and_nothing_of_what_is_in_it() {
    let (address, received) = collector().await;
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    let pair = SigningKey::from_bytes(&[3; 32]);
    let name = KeyName::try_from("edge/traced".to_owned()).expect("a name");
    let verifier = VerifierKey { name: name.clone(), public: pair.verifying_key().to_bytes() };
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[database]\ndata_dir = \"{}\"\n[[signers]]\nkey = \"{verifier}\"\ntenants = [\"demo\"]\n",
        dir.path().join("pg").display()
    );
    let file = dir.path().join("edgetrail.toml");
    std::fs::write(&file, config).expect("written");
    let mut serving = Command::new(env!("CARGO_BIN_EXE_edgetrail"))
        .args(["serve", "--config"])
        .arg(&file)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let out = serving.stdout.take().expect("piped");
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).map(|_| line)
    });
    let line = line.await.expect("no panic").expect("it says where it listens");
    let url = line.trim().rsplit_once(' ').expect("an address").1.to_owned();

    ingest::tls::use_ring();
    let sent = reqwest::Client::new()
        .post(format!("{url}/v1/batches"))
        .header("content-type", CONTENT_TYPE)
        .body(batch(&pair, &name, "alice@example.com hunter2"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(sent.status(), 200);
    let holds = |word: &str| {
        let bytes = received.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    };
    let until = Instant::now() + Duration::from_secs(20);
    while !(holds("batch") && holds("request") && holds("/v1/batches") && holds("sequencing")) {
        assert!(Instant::now() < until, "the spans do not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(holds("edgetrail"), "the service names itself");
    for word in ["alice", "hunter2", "example.com", "edge/traced"] {
        assert!(!holds(word), "{word} is in a span");
    }
    let told = Command::new("kill").arg(serving.id().to_string()).status().expect("kill runs");
    assert!(told.success());
    let ended =
        tokio::task::spawn_blocking(move || serving.wait()).await.expect("no panic").expect("it ends");
    assert!(ended.success());
}
