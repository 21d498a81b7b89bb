//! Whoever events are forwarded to: over HTTP, and over TLS as syslog is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What a receiver does with what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Takes,
    /// Answers 200 with this body.
    Answers(&'static str),
    /// Keeps what it got, and answers with a status all the same.
    Refuses(u16),
    /// A status with `Retry-After` in seconds.
    Asks(u16, u64),
    /// Sends whoever comes on to another receiver.
    Moves(SocketAddr),
    /// Keeps what it got and never answers.
    Hangs,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) answered: Manner,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

#[derive(Debug)]
struct Inside {
    manner: Manner,
    got: Vec<Got>,
}

/// A receiver over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Receiver {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let inside = Arc::new(Mutex::new(Inside { manner, got: Vec::new() }));
        let app = Router::new().fallback(receive).with_state(Arc::clone(&inside));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, inside }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The manner of somebody who sends everybody here.
    pub(crate) fn as_goal(&self) -> Manner {
        Manner::Moves(self.address)
    }

    pub(crate) fn turn(&self, manner: Manner) {
        self.inside.lock().expect("no panic").manner = manner;
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.inside.lock().expect("no panic").got.clone()
    }

    /// Every CloudEvent that arrived, repeated ones too, in the order of arrival.
    pub(crate) fn events(&self) -> Vec<Value> {
        let events = |got: &Got| match got.json() {
            Value::Array(events) => events,
            event => vec![event],
        };
        self.got().iter().flat_map(events).collect()
    }

    /// The numbers of the samples among the events that were taken.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let taken = self.got().into_iter().filter(|got| got.answered == Manner::Takes);
        let numbers = |got: Got| match got.json() {
            Value::Array(events) => events.iter().filter_map(number).collect(),
            event => number(&event).into_iter().collect::<Vec<_>>(),
        };
        taken.flat_map(numbers).collect()
    }
}

/// The number of a sample.
pub(crate) fn number(event: &Value) -> Option<u64> {
    event["data"]["details"]["n"].as_u64()
}

async fn receive(
    State(inside): State<Arc<Mutex<Inside>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let manner = {
        let mut inside = inside.lock().expect("no panic");
        let answered = inside.manner;
        inside.got.push(Got { method, path: uri.path().to_owned(), headers, body: body.to_vec(), answered });
        answered
    };
    match manner {
        // S3 names what it keeps.
        Manner::Takes => ([("etag", "\"1\"")], "").into_response(),
        Manner::Answers(body) => body.into_response(),
        Manner::Refuses(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Manner::Asks(status, seconds) => {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [("retry-after", seconds.to_string())]).into_response()
        }
        Manner::Moves(to) => {
            (StatusCode::TEMPORARY_REDIRECT, [("location", format!("http://{to}/moved"))]).into_response()
        }
        Manner::Hangs => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            StatusCode::OK.into_response()
        }
    }
}

/// A receiver of syslog over TLS, with an authority of its own.
pub(crate) struct Syslog {
    pub(crate) address: String,
    pub(crate) authority: PathBuf,
    got: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
}

impl Syslog {
    pub(crate) async fn start() -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).expect("signed");
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .expect("parameters")
            .signed_by(&key, &Issuer::new(ca, ca_key))
            .expect("signed");
        let dir = tempfile::tempdir().expect("a directory");
        let authority = dir.path().join("ca.pem");
        std::fs::write(&authority, ca_certificate.pem()).expect("written");
        ingest::tls::use_ring();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("localhost:{}", listener.local_addr().expect("an address").port());
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut bytes = Vec::new();
                    if stream.read_to_end(&mut bytes).await.is_ok() {
                        kept.lock().expect("no panic").extend(frames(&bytes));
                    }
                });
            }
        });
        Self { address, authority, got, _dir: dir }
    }

    pub(crate) fn got(&self) -> Vec<String> {
        self.got.lock().expect("no panic").clone()
    }
}

/// Messages of octet counting (RFC 5425).
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ').expect("a length");
        let len: usize = std::str::from_utf8(&bytes[..blank]).expect("text").parse().expect("a length");
        let message = &bytes[blank + 1..blank + 1 + len];
        frames.push(String::from_utf8(message.to_vec()).expect("text"));
        bytes = &bytes[blank + 1 + len..];
    }
    frames
}
