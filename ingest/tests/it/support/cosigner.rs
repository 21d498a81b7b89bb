//! A witness (c2sp.org/tlog-witness) that keeps to the protocol, unless a test makes it misbehave.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use ingest::clock::random;
use shared::leaf::Hash;
use shared::note::{Checkpoint, CosignerKey, KeyName, Note, signature_line};
use shared::tree::verify_consistency;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    Away,
    /// Signs with another key.
    Forging,
}

struct Inner {
    mood: Mood,
    heads: HashMap<String, (u64, Hash)>,
    asked: Vec<u64>,
}

/// A running witness.
#[derive(Clone)]
pub(crate) struct Cosigner {
    pub(crate) url: String,
    name: KeyName,
    pair: SigningKey,
    inner: Arc<Mutex<Inner>>,
}

impl Cosigner {
    pub(crate) async fn start(name: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let witness = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            name: KeyName::try_from(name.to_owned()).expect("a name"),
            pair: SigningKey::from_bytes(&random()),
            inner: Arc::new(Mutex::new(Inner {
                mood: Mood::Honest,
                heads: HashMap::new(),
                asked: Vec::new(),
            })),
        };
        let app = Router::new().route("/add-checkpoint", post(add_checkpoint)).with_state(witness.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        witness
    }

    pub(crate) fn key(&self) -> CosignerKey {
        CosignerKey { name: self.name.clone(), public: self.pair.verifying_key().to_bytes() }
    }

    /// Its entry of the configuration.
    pub(crate) fn toml(&self) -> String {
        format!("[[cosigners]]\nkey = \"{}\"\nurl = \"{}\"\n", self.key(), self.url)
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.inner.lock().expect("no panic").mood = mood;
    }

    /// The old sizes with which it was asked.
    pub(crate) fn asked(&self) -> Vec<u64> {
        self.inner.lock().expect("no panic").asked.clone()
    }

    /// The size of the head that it last cosigned.
    pub(crate) fn size_of(&self, origin: &str) -> Option<u64> {
        self.inner.lock().expect("no panic").heads.get(origin).map(|(size, _)| *size)
    }

    fn answer(&self, body: &str) -> (StatusCode, String) {
        let mut inner = self.inner.lock().expect("no panic");
        if inner.mood == Mood::Away {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        let (head, note) = body.split_once("\n\n").expect("a proof and a note");
        let mut lines = head.lines();
        let old: u64 =
            lines.next().and_then(|line| line.strip_prefix("old ")).expect("old").parse().expect("a size");
        inner.asked.push(old);
        let proof: Vec<Hash> =
            lines.map(|line| BASE64.decode(line).expect("base64").try_into().expect("32 bytes")).collect();
        let text = Note::parse(note.as_bytes()).expect("a note").text().to_owned();
        let checkpoint: Checkpoint = text.parse().expect("a checkpoint");
        let known = inner.heads.get(&checkpoint.origin).copied();
        let known_size = known.map_or(0, |(size, _)| size);
        if old != known_size {
            return (StatusCode::CONFLICT, format!("{known_size}\n"));
        }
        let holds = match known {
            Some((size, root)) => {
                verify_consistency(size, checkpoint.size, &proof, &root, &checkpoint.root).is_ok()
            }
            None => proof.is_empty(),
        };
        if !holds {
            return (StatusCode::UNPROCESSABLE_ENTITY, String::new());
        }
        inner.heads.insert(checkpoint.origin, (checkpoint.size, checkpoint.root));
        let time = u64::try_from(chrono::Utc::now().timestamp()).expect("after 1970");
        let forged = SigningKey::from_bytes(&[1; 32]);
        let pair = if inner.mood == Mood::Forging { &forged } else { &self.pair };
        let signature = pair.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let bytes = [&time.to_be_bytes()[..], &signature.to_bytes()].concat();
        (StatusCode::OK, signature_line(&self.name, self.key().id(), &bytes))
    }
}

async fn add_checkpoint(State(witness): State<Cosigner>, body: String) -> (StatusCode, String) {
    witness.answer(&body)
}
