//! A bundle as a running backend gives it: the public log, and with an admin's key the openings and lists.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use shared::bundle::{
    ABSENCES, Kind, LogId, LogItem, MAX_CHECKPOINT_LEN, Manifest, checkpoint_path, previous_path,
};
use shared::event::{TenantId, Timestamp};
use shared::note::{Checkpoint, Note};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::EvidenceError;
use crate::ledger::openings::MAX_LEAVES;

/// The largest answer that is read: the openings of [`MAX_LEAVES`] leaves, each at its largest.
const MAX_ANSWER_LEN: usize = 512 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);
/// A backend that restarts is back by then.
const TRIES: u32 = 4;

/// The backend and what it said its logs are. Blocks; to be used outside of asynchronous code.
#[derive(Debug)]
pub struct Remote {
    base: Url,
    key: Option<String>,
    client: Client,
    runtime: Handle,
    manifest: Manifest,
    /// Heads by their paths.
    heads: BTreeMap<String, Vec<u8>>,
    /// The log and leaf that openings are asked for next; beyond the last log, those that wait.
    next: (usize, u64),
    lines: VecDeque<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
}

#[derive(Deserialize)]
struct Logs {
    tenant: TenantId,
    logs: Vec<Log>,
}

#[derive(Deserialize)]
struct Log {
    log_id: LogId,
    origin: String,
    verifier_key: String,
    verifier_keys: Vec<NamedKey>,
    published_size: u64,
    previous: Option<Previous>,
}

#[derive(Deserialize)]
struct NamedKey {
    key: String,
}

#[derive(Deserialize)]
struct Previous {
    log_id: LogId,
    checkpoint: String,
}

#[derive(Deserialize)]
struct Lists {
    absences: Vec<List>,
}

#[derive(Deserialize)]
struct List {
    record_id: Uuid,
}

impl Remote {
    /// Asks a backend for its logs, or for those that are named, and for their heads.
    ///
    /// # Errors
    /// If it cannot be reached, or answers otherwise than a backend does.
    pub fn open(
        runtime: Handle,
        url: &str,
        key: Option<String>,
        only: &[LogId],
        now: Timestamp,
    ) -> Result<Self, EvidenceError> {
        crate::tls::use_ring();
        let mut base: Url = url.parse().map_err(|error| EvidenceError::Url(format!("the URL: {error}")))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| EvidenceError::Url(format!("no HTTP client: {error}")))?;
        let manifest = Manifest {
            kind: Kind::Log,
            tenant: TenantId::try_from("x".to_owned()).expect("a slug"),
            made_at: now.to_string(),
            logs: Vec::new(),
        };
        let mut remote = Self {
            base,
            key,
            client,
            runtime,
            manifest,
            heads: BTreeMap::new(),
            next: (0, 0),
            lines: VecDeque::new(),
            waiting: VecDeque::new(),
        };
        remote.ask_for_logs(only)?;
        Ok(remote)
    }

    fn ask_for_logs(&mut self, only: &[LogId]) -> Result<(), EvidenceError> {
        const PATH: &str = "v1/logs";
        let wrong = |reason: String| EvidenceError::Http { path: PATH.to_owned(), reason };
        let answer = self.need(PATH)?;
        let logs: Logs = serde_json::from_slice(&answer).map_err(|error| wrong(error.to_string()))?;
        self.manifest.tenant = logs.tenant;
        for log in logs.logs.into_iter().rev().filter(|log| only.is_empty() || only.contains(&log.log_id)) {
            let path = checkpoint_path(log.log_id);
            let head = self.get(&route(&path))?;
            let size = head.as_deref().and_then(size_of).unwrap_or(log.published_size);
            self.heads.extend(head.map(|head| (path, head)));
            let named = log.previous.as_ref().map(|previous| previous.checkpoint.clone().into_bytes());
            self.heads.extend(named.map(|named| (previous_path(log.log_id), named)));
            let parse =
                |key: &str| key.parse().map_err(|error: shared::note::KeyError| wrong(error.to_string()));
            let key = parse(&log.verifier_key)?;
            let mut others = Vec::new();
            for named in log.verifier_keys.iter().filter(|named| named.key != log.verifier_key) {
                others.push(parse(&named.key)?);
            }
            self.manifest.logs.push(LogItem {
                log_id: log.log_id,
                origin: log.origin,
                key,
                others,
                size,
                previous: log.previous.map(|previous| previous.log_id),
            });
        }
        Ok(())
    }

    /// What the backend said.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(super) fn file(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, EvidenceError> {
        if path.ends_with("/checkpoint") || path.ends_with("/previous") {
            return Ok(self.heads.get(path).cloned());
        }
        let mut bytes = self.get(&route(path))?;
        if let Some(bytes) = &mut bytes {
            bytes.truncate(limit + 1);
        }
        Ok(bytes)
    }

    pub(super) fn absences(&self) -> Result<Vec<Uuid>, EvidenceError> {
        const PATH: &str = "v1/absences";
        let Some(answer) = self.get(PATH)? else { return Ok(Vec::new()) };
        let wrong = |error: serde_json::Error| EvidenceError::Http {
            path: PATH.to_owned(),
            reason: error.to_string(),
        };
        let lists: Lists = serde_json::from_slice(&answer).map_err(wrong)?;
        Ok(lists.absences.into_iter().map(|list| list.record_id).collect())
    }

    /// Openings are for admins; with a viewer's key there are none.
    pub(super) fn has_openings(&mut self) -> Result<bool, EvidenceError> {
        match self.get("v1/openings")? {
            Some(answer) => {
                self.waiting = lines(&answer);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    pub(super) fn next_opening(&mut self) -> Result<Option<Vec<u8>>, EvidenceError> {
        while self.lines.is_empty() {
            let (number, from) = self.next;
            let Some(log) = self.manifest.logs.get(number) else {
                return Ok(self.waiting.pop_front());
            };
            let to = log.size.min(from.saturating_add(MAX_LEAVES));
            if from < to {
                let path = format!("v1/openings?log={}&from={from}&to={to}", log.log_id);
                self.lines = lines(&self.need(&path)?);
            }
            self.next = if to >= log.size { (number + 1, 0) } else { (number, to) };
        }
        Ok(self.lines.pop_front())
    }

    fn need(&self, path: &str) -> Result<Vec<u8>, EvidenceError> {
        self.get(path)?
            .ok_or_else(|| EvidenceError::Http { path: path.to_owned(), reason: "not given".to_owned() })
    }

    /// What is behind a path; nothing if it is not there or not for this key.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, EvidenceError> {
        let wrong = |reason: String| EvidenceError::Http { path: path.to_owned(), reason };
        let url = self.base.join(path).map_err(|error| wrong(error.to_string()))?;
        let mut tries = 1;
        loop {
            let answer = self.runtime.block_on(self.ask(url.clone()));
            match answer {
                Ok((StatusCode::OK, body)) => return Ok(Some(body)),
                Ok((StatusCode::UNAUTHORIZED, _)) => {
                    return Err(wrong("the API key is not accepted".to_owned()));
                }
                Ok((StatusCode::NOT_FOUND | StatusCode::FORBIDDEN, _)) => return Ok(None),
                // A log that was tampered with may be too damaged to be given; that is for the verifier to say.
                Ok((StatusCode::INTERNAL_SERVER_ERROR, _)) if path.starts_with("log/") => return Ok(None),
                Ok((status, _)) if status != StatusCode::SERVICE_UNAVAILABLE || tries == TRIES => {
                    return Err(wrong(format!("the backend answers {status}")));
                }
                Err(reason) if tries == TRIES => return Err(wrong(reason)),
                Ok(_) | Err(_) => {}
            }
            std::thread::sleep(Duration::from_millis(500 * u64::from(tries)));
            tries += 1;
        }
    }

    async fn ask(&self, url: Url) -> Result<(StatusCode, Vec<u8>), String> {
        let mut request = self.client.get(url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        // Its own words name the URL; the reason stands in what lies under it.
        let words = |error: reqwest::Error| {
            let mut source: &dyn std::error::Error = &error;
            while let Some(under) = source.source() {
                source = under;
            }
            source.to_string()
        };
        let mut answer = request.send().await.map_err(words)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(words)? {
            if body.len() + chunk.len() > MAX_ANSWER_LEN {
                return Err(format!("an answer of more than {MAX_ANSWER_LEN} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// The backend's path of a bundle's file.
fn route(path: &str) -> String {
    match path.strip_prefix("logs/") {
        Some(rest) => format!("log/{rest}"),
        None if path.starts_with(ABSENCES) => format!("v1/{path}"),
        None => path.to_owned(),
    }
}

fn size_of(head: &[u8]) -> Option<u64> {
    let note = Note::parse_within(head, MAX_CHECKPOINT_LEN).ok()?;
    Some(note.text().parse::<Checkpoint>().ok()?.size)
}

fn lines(answer: &[u8]) -> VecDeque<Vec<u8>> {
    answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}
