//! A client of witnesses (c2sp.org/tlog-witness): it submits a head with a proof that the log only grew since the last
//! one, and takes the cosignature that it verified itself.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, VerifyingKey};
use reqwest::StatusCode;
use sha2::{Digest as _, Sha256};
use shared::leaf::Hash;
use shared::note::{Cosignature, CosignerKey, Note, signature_line};

use super::consistency;
use crate::config::CosignerEntry;
use crate::store::publications::{self, CosignatureRow, Waiting};
use crate::store::{Store, StoreError};

/// How long a witness may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer: a few signature lines.
const MAX_ANSWER: usize = 64 * 1024;
/// A witness whose size changes while we ask is asked again: another process of ours works on the same log.
const TRIES: usize = 4;
/// How far a witness's clock may be ahead of ours.
const AHEAD: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

/// Why a head was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No answer.
    #[error("witness {witness} does not answer: {reason}")]
    Unreachable {
        /// Which.
        witness: String,
        /// Why.
        reason: String,
    },
    /// The witness does not know the log, or not its key.
    #[error("witness {witness} refuses: {status} {reason}")]
    Refused {
        /// Which.
        witness: String,
        /// The status of its answer.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// The witness cosigned a larger head than this one.
    #[error("witness {witness} has cosigned a head of {size} entries, this one has fewer")]
    Ahead {
        /// Which.
        witness: String,
        /// The size of its head.
        size: u64,
    },
    /// The witness cosigned another head, from which this one cannot be grown.
    #[error("witness {witness} has cosigned another head of {size} entries than this log had")]
    Forked {
        /// Which.
        witness: String,
        /// The size of its head.
        size: u64,
    },
    /// An answer that is no cosignature of the witness on the head.
    #[error("witness {0} answers without a cosignature of its own on the head")]
    Answer(String),
}

/// A witness.
#[derive(Debug, Clone)]
pub struct Cosigner {
    key: CosignerKey,
    url: String,
    monitoring_url: String,
    client: reqwest::Client,
}

/// What a witness answered to one submission.
enum Reply {
    Cosigned(String),
    Conflict(u64),
    Inconsistent,
}

impl Cosigner {
    /// A client for a witness.
    ///
    /// # Errors
    /// If there are no roots for TLS.
    pub fn new(entry: &CosignerEntry) -> Result<Self, reqwest::Error> {
        crate::tls::use_ring();
        // The spec's answers are direct ones; a redirect would send the head somewhere that nobody configured.
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            key: entry.key.clone(),
            url: entry.url.clone(),
            monitoring_url: entry.monitoring_url.clone(),
            client,
        })
    }

    /// The witness's name.
    pub fn name(&self) -> &str {
        self.key.name.as_str()
    }

    /// Has the witness cosign a head, and keeps the cosignature.
    ///
    /// # Errors
    /// [`CosignError`]; [`CosignError::Ahead`] and [`CosignError::Forked`] tell of a log that went back.
    pub async fn cosign(&self, store: &Store, head: &Waiting, now: DateTime<Utc>) -> Result<(), CosignError> {
        let size = u64::try_from(head.size).map_err(|_| StoreError::Damaged("size of a log"))?;
        let known = publications::last_cosigned(store, &head.log_id, self.name()).await?.unwrap_or(0);
        let mut old = u64::try_from(known).unwrap_or(0).min(size);
        for _ in 0..TRIES {
            let proof = {
                let mut connection = store.begin().await?;
                consistency::proof(&mut connection, head.key(), old, size).await?
            };
            match self.submit(old, &proof, &head.note).await? {
                Reply::Cosigned(answer) => {
                    let row = self
                        .verified(&head.note, &answer, now)
                        .ok_or_else(|| CosignError::Answer(self.witness()))?;
                    publications::cosigned(store, &head.log_id, head.size, &row).await?;
                    return Ok(());
                }
                Reply::Conflict(at) if at > size => {
                    return Err(CosignError::Ahead { witness: self.witness(), size: at });
                }
                Reply::Conflict(at) => old = at,
                Reply::Inconsistent => {
                    return Err(CosignError::Forked { witness: self.witness(), size: old });
                }
            }
        }
        Err(self.unreachable("its size changes all the time"))
    }

    /// The newest head that the witness shows (c2sp.org/tlog-witness, "Monitor Retrieval Mechanism"), if it shows any.
    ///
    /// # Errors
    /// [`CosignError::Unreachable`].
    pub async fn newest(&self, origin: &str) -> Result<Option<String>, CosignError> {
        let url = format!("{}/{}/checkpoint", self.monitoring_url, hex::encode(Sha256::digest(origin)));
        let response = self.client.get(url).send().await.map_err(|error| self.unreachable(&words(&error)))?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        self.body(response).await.map(Some)
    }

    async fn submit(&self, old: u64, proof: &[Hash], note: &str) -> Result<Reply, CosignError> {
        let lines: String = proof.iter().map(|hash| BASE64.encode(hash) + "\n").collect();
        let request = self.client.post(format!("{}/add-checkpoint", self.url));
        let response = request
            .header("content-type", "text/plain; charset=utf-8")
            .body(format!("old {old}\n{lines}\n{note}"))
            .send()
            .await
            .map_err(|error| self.unreachable(&words(&error)))?;
        let status = response.status();
        let answer = self.body(response).await?;
        match status {
            StatusCode::OK => Ok(Reply::Cosigned(answer)),
            StatusCode::CONFLICT => {
                let size = answer.strip_suffix('\n').unwrap_or(&answer).parse();
                size.map(Reply::Conflict).map_err(|_| CosignError::Answer(self.witness()))
            }
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Reply::Inconsistent),
            status if status.is_client_error() => Err(CosignError::Refused {
                witness: self.witness(),
                status: status.as_u16(),
                reason: answer.chars().filter(|char| !char.is_control()).take(200).collect(),
            }),
            status => Err(self.unreachable(&format!("status {status}"))),
        }
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<String, CosignError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&words(&error)))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(CosignError::Answer(self.witness()));
            }
        }
        String::from_utf8(bytes).map_err(|_| CosignError::Answer(self.witness()))
    }

    /// The witness's cosignature on the note, among whatever else was answered.
    fn verified(&self, note: &str, answer: &str, now: DateTime<Utc>) -> Option<CosignatureRow> {
        let text = Note::parse(note.as_bytes()).ok()?.text().to_owned();
        let answered = Note::parse_within(format!("{text}\n{answer}").as_bytes(), MAX_ANSWER * 2).ok()?;
        let public = VerifyingKey::from_bytes(&self.key.public).ok()?;
        let id = self.key.id();
        let ours = |line: &&shared::note::Signature| line.name == self.key.name && line.key_id == id;
        answered.signatures().iter().filter(ours).find_map(|line| {
            let cosignature = Cosignature::of(line)?;
            let at = DateTime::from_timestamp(i64::try_from(cosignature.timestamp).ok()?, 0)?;
            let message = cosignature.message(&text);
            let signature = Signature::from_bytes(&cosignature.signature);
            public.verify_strict(message.as_bytes(), &signature).ok()?;
            (at <= now + AHEAD).then(|| CosignatureRow {
                witness: self.witness(),
                key_id: id.0.to_vec(),
                line: signature_line(&line.name, line.key_id, &line.bytes),
                cosigned_at: at,
            })
        })
    }

    fn witness(&self) -> String {
        self.name().to_owned()
    }

    fn unreachable(&self, reason: &str) -> CosignError {
        CosignError::Unreachable { witness: self.witness(), reason: reason.to_owned() }
    }
}

/// What went wrong, without the URL.
fn words(error: &reqwest::Error) -> String {
    match (error.is_timeout(), error.is_connect()) {
        (true, _) => "no answer in time".to_owned(),
        (_, true) => "no connection".to_owned(),
        _ => "the connection broke".to_owned(),
    }
}
