//! Where a sink leads, checked and ready: how its events are written, and one attempt to deliver some.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use rustls::ClientConfig;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shared::event::EventId;

use super::format::{self, Format, OTLP_HEAD, OTLP_TAIL};
use super::send::{Bucket, Peer, SendError, post, read_answer};
use super::settings::{Invalid, Settings, host_and_port};
use super::vault::Secret;
use crate::export::Row;
use crate::webhook::{self, Target};

/// Events of one delivery.
const MAX_EVENTS: usize = 500;
/// Their bytes, after which no more are added.
const MAX_BYTES: usize = 1 << 20;

/// An event as it is delivered.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: EventId,
    /// The first leaf of its batch; none for a message that tries a sink out.
    pub(super) batch: Option<i64>,
    pub(super) bytes: Vec<u8>,
}

/// Some events of one log, in its order.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) tenant: String,
    pub(super) log_id: String,
    pub(super) items: Vec<Item>,
}

/// A checked way to a receiver.
#[derive(Debug, Clone)]
pub(super) enum Destination {
    Webhook { target: Target, secret: webhook::Secret, single: bool },
    Syslog { peer: Peer, format: Format },
    Ocsf { target: Target, token: Option<Secret>, array: bool },
    Otlp { target: Target, token: Option<Secret> },
    Objects(Bucket),
}

/// What is allowed, and who is trusted.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) allow_private: bool,
    pub(super) trust: Arc<ClientConfig>,
}

impl Bounds {
    fn target(&self, url: &str) -> Result<Target, webhook::TargetError> {
        Target::parse(url, self.allow_private).map(|target| target.trusting(Arc::clone(&self.trust)))
    }
}

impl Destination {
    /// The way to where settings lead.
    pub(super) fn of(settings: &Settings, secret: Option<&Secret>, bounds: &Bounds) -> Result<Self, Invalid> {
        let target = |url: &str| bounds.target(url).map_err(|error| Invalid::new("url", error));
        let token = || secret.map(header).transpose();
        Ok(match settings {
            Settings::Webhook { url, single } => {
                let secret = secret.ok_or_else(|| Invalid::new("secret", "is missing"))?;
                let secret = secret.reveal().parse().map_err(|error| Invalid::new("secret", error))?;
                Self::Webhook { target: target(url)?, secret, single: *single }
            }
            Settings::Syslog { address } => {
                Self::Syslog { peer: peer(address, secret, bounds)?, format: Format::Syslog }
            }
            Settings::Cef { address } => {
                Self::Syslog { peer: peer(address, secret, bounds)?, format: Format::Cef }
            }
            Settings::Ocsf { url, array } => {
                Self::Ocsf { target: target(url)?, token: token()?, array: *array }
            }
            Settings::Otlp { url } => Self::Otlp { target: target(url)?, token: token()? },
            Settings::Objects { .. } => Self::Objects(bucket(settings, secret, bounds)?),
        })
    }

    /// Whether a batch of the log is delivered as a whole or not at all.
    pub(super) fn takes_whole_batches(&self) -> bool {
        matches!(self, Self::Objects(_))
    }

    /// Whether events that are so many bytes in all go together, the last of them included: one always does.
    pub(super) fn takes(&self, events: usize, bytes: usize) -> bool {
        match self {
            Self::Webhook { single: true, .. } => events <= 1,
            // What was read for it: a batch is never parted.
            Self::Objects(_) => true,
            _ => events <= 1 || events <= MAX_EVENTS && bytes <= MAX_BYTES,
        }
    }

    /// An event as this receiver takes it.
    pub(super) fn write(&self, row: &Row, host: &str, max: usize) -> Vec<u8> {
        let format = match self {
            Self::Webhook { .. } => Format::CloudEvents,
            Self::Syslog { format, .. } => *format,
            Self::Ocsf { .. } => Format::Ocsf,
            Self::Otlp { .. } => Format::Otlp,
            Self::Objects(_) => Format::Json,
        };
        format::write(format, row, host, max)
    }

    /// One attempt to deliver a parcel, which is not empty.
    pub(super) async fn deliver(
        &self,
        parcel: Parcel,
        at: DateTime<Utc>,
        within: Duration,
    ) -> Result<(), SendError> {
        tokio::time::timeout(within, self.attempt(parcel, at)).await.unwrap_or(Err(SendError::Late(within)))
    }

    async fn attempt(&self, parcel: Parcel, at: DateTime<Utc>) -> Result<(), SendError> {
        match self {
            Self::Webhook { target, secret, single } => {
                let kind = if *single {
                    "application/cloudevents+json"
                } else {
                    "application/cloudevents-batch+json"
                };
                let id = message_id(&parcel.items, *single);
                let body =
                    if *single { joined(&parcel, "", "\n", "") } else { joined(&parcel, "[", ",", "]") };
                let timestamp = at.timestamp();
                let signature = secret.sign(&id, timestamp, &body);
                post(target, at, |request| {
                    request
                        .header(CONTENT_TYPE, kind)
                        .header("webhook-id", id)
                        .header("webhook-timestamp", timestamp)
                        .header("webhook-signature", signature)
                        .body(body)
                })
                .await
                .map(|_| ())
            }
            Self::Syslog { peer, .. } => {
                let messages: Vec<Vec<u8>> = parcel.items.into_iter().map(|item| item.bytes).collect();
                peer.write(&messages).await
            }
            Self::Ocsf { target, token, array } => {
                let (kind, body) = if *array {
                    ("application/json", joined(&parcel, "[", ",", "]"))
                } else {
                    ("application/x-ndjson", joined(&parcel, "", "\n", "\n"))
                };
                with_token(target, at, token.as_ref(), kind, body).await.map(|_| ())
            }
            Self::Otlp { target, token } => {
                let body = joined(&parcel, OTLP_HEAD, ",", OTLP_TAIL);
                let answer = with_token(target, at, token.as_ref(), "application/json", body).await?;
                accepted(&read_answer(answer).await)
            }
            Self::Objects(bucket) => bucket.put(objects(&parcel)).await,
        }
    }
}

/// A token that can stand in a header.
fn header(token: &Secret) -> Result<Secret, Invalid> {
    let is_one = !token.reveal().is_empty() && HeaderValue::from_str(token.reveal()).is_ok();
    if is_one { Ok(token.clone()) } else { Err(Invalid::new("secret", "is no token that fits a header")) }
}

fn peer(address: &str, secret: Option<&Secret>, bounds: &Bounds) -> Result<Peer, Invalid> {
    if secret.is_some() {
        return Err(Invalid::new("secret", "has no use for syslog"));
    }
    let (host, port) = host_and_port(address)?;
    if !bounds.allow_private && host.parse().is_ok_and(|address| !webhook::target::is_public(address)) {
        return Err(Invalid::new("address", webhook::TargetError::Private));
    }
    let peer = Peer { host, port, allow_private: bounds.allow_private, trust: Arc::clone(&bounds.trust) };
    if peer.name().is_none() {
        return Err(Invalid::new("address", "has a host that no certificate can be for"));
    }
    Ok(peer)
}

fn bucket(settings: &Settings, secret: Option<&Secret>, bounds: &Bounds) -> Result<Bucket, Invalid> {
    let Settings::Objects { url, endpoint, region, access_key_id } = settings else {
        return Err(Invalid::new("kind", "is not objects"));
    };
    if let Some(dir) = url.strip_prefix("file://") {
        let dir = std::path::PathBuf::from(dir);
        let is_plain = dir.is_absolute() && dir.components().all(|it| it != std::path::Component::ParentDir);
        if !bounds.allow_private || !is_plain {
            let reason = "is a directory of the server, which sinks.allow_private must allow";
            return Err(Invalid::new("url", reason));
        }
        return match secret {
            Some(_) => Err(Invalid::new("secret", "has no use for a directory")),
            None => Ok(Bucket::Directory(dir)),
        };
    }
    let place = url.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if bucket.is_empty() || !bucket.bytes().all(plain) {
        return Err(Invalid::new("url", "is not s3://bucket/prefix"));
    }
    let region = region.clone().unwrap_or_else(|| "us-east-1".to_owned());
    if !region.bytes().all(plain) {
        return Err(Invalid::new("region", "is no name of a region"));
    }
    let endpoint = endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let missing = |field| move || Invalid::new(field, "is missing");
    Ok(Bucket::S3 {
        endpoint: bounds.target(&endpoint).map_err(|error| Invalid::new("endpoint", error))?,
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region,
        access_key_id: access_key_id.clone().ok_or_else(missing("access_key_id"))?,
        secret: secret.cloned().ok_or_else(missing("secret"))?,
    })
}

async fn with_token(
    target: &Target,
    at: DateTime<Utc>,
    token: Option<&Secret>,
    kind: &'static str,
    body: Vec<u8>,
) -> Result<reqwest::Response, SendError> {
    post(target, at, |request| {
        let request = request.header(CONTENT_TYPE, kind).body(body);
        match token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    })
    .await
}

/// The id of a message: that of its event, or what the ids of its events come to. The same events have the same.
fn message_id(items: &[Item], single: bool) -> String {
    match items.first() {
        Some(item) if single => format!("msg_{}", item.id.uuid().simple()),
        _ => {
            let mut hash = Sha256::new();
            items.iter().for_each(|item| hash.update(item.id.as_bytes()));
            format!("msg_{}", hex::encode(&hash.finalize()[..16]))
        }
    }
}

fn joined(parcel: &Parcel, head: &str, between: &str, tail: &str) -> Vec<u8> {
    let items: Vec<&[u8]> = parcel.items.iter().map(|item| item.bytes.as_slice()).collect();
    [head.as_bytes(), &items.join(between.as_bytes()), tail.as_bytes()].concat()
}

/// One object for each batch of the log: however often it is written, it is the same.
fn objects(parcel: &Parcel) -> Vec<(String, Vec<u8>)> {
    let mut objects: Vec<(String, Vec<u8>)> = Vec::new();
    for item in &parcel.items {
        let name = item.batch.map_or_else(|| "test".to_owned(), |batch| format!("{batch:012}"));
        let path = format!("{}/{}/{name}.ndjson", parcel.tenant, parcel.log_id);
        match objects.last_mut() {
            Some((last, bytes)) if *last == path => bytes.extend_from_slice(&item.bytes),
            _ => objects.push((path, item.bytes.clone())),
        }
        if let Some((_, bytes)) = objects.last_mut() {
            bytes.push(b'\n');
        }
    }
    objects
}

/// Whether a receiver of OTLP took every record: it answers 200 as well if it did not.
fn accepted(answer: &[u8]) -> Result<(), SendError> {
    let read: Value = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &read["partialSuccess"]["rejectedLogRecords"];
    // A whole number of 64 bits may come as a text.
    let rejected = rejected.as_i64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
    if rejected > 0 { Err(SendError::Rejected(format!("{rejected} log records"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(allow_private: bool) -> Bounds {
        Bounds { allow_private, trust: super::super::send::client_config(&[]) }
    }

    fn wrong(settings: &Settings, secret: Option<&str>) -> Option<&'static str> {
        let secret = secret.map(|text| Secret::new(text.to_owned()));
        Destination::of(settings, secret.as_ref(), &bounds(false)).err().map(|invalid| invalid.field)
    }

    #[test]
    fn nothing_leads_into_the_own_network_unless_that_is_allowed() {
        let token = Some("token");
        let url = "https://10.0.0.1/x".to_owned();
        let address = "127.0.0.1:6514".to_owned();
        let s3 = Settings::Objects {
            url: "s3://b".to_owned(),
            endpoint: Some("https://169.254.169.254".to_owned()),
            region: None,
            access_key_id: Some("id".to_owned()),
        };
        let file = Settings::Objects {
            url: "file:///tmp/x".to_owned(),
            endpoint: None,
            region: None,
            access_key_id: None,
        };
        assert_eq!(wrong(&Settings::Ocsf { url: url.clone(), array: false }, token), Some("url"));
        assert_eq!(wrong(&Settings::Otlp { url: url.clone() }, token), Some("url"));
        assert_eq!(wrong(&Settings::Syslog { address: address.clone() }, None), Some("address"));
        assert_eq!(wrong(&Settings::Cef { address: "[::1]".to_owned() }, None), Some("address"));
        assert_eq!(wrong(&s3, token), Some("endpoint"));
        assert_eq!(wrong(&file, None), Some("url"));
        assert!(Destination::of(&file, None, &bounds(true)).is_ok());
        assert!(Destination::of(&Settings::Syslog { address }, None, &bounds(true)).is_ok());
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(wrong(&Settings::Webhook { url, single: false }, Some(secret)), Some("url"));
    }

    #[test]
    fn a_secret_is_asked_for_where_there_is_a_use_for_it() {
        let webhook = Settings::Webhook { url: "https://a.example/".to_owned(), single: false };
        assert_eq!((wrong(&webhook, None), wrong(&webhook, Some("x"))), (Some("secret"), Some("secret")));
        let syslog = Settings::Syslog { address: "a.example".to_owned() };
        assert_eq!((wrong(&syslog, None), wrong(&syslog, Some("x"))), (None, Some("secret")));
        let otlp = Settings::Otlp { url: "https://a.example/".to_owned() };
        assert_eq!((wrong(&otlp, None), wrong(&otlp, Some("a\nb"))), (None, Some("secret")));
    }

    #[test]
    fn a_parcel_is_bounded_by_events_and_by_bytes_and_never_empty() {
        let otlp = Settings::Otlp { url: "https://a.example/".to_owned() };
        let otlp = Destination::of(&otlp, None, &bounds(false)).expect("a destination");
        assert!(otlp.takes(MAX_EVENTS, MAX_BYTES) && otlp.takes(1, 2 * MAX_BYTES));
        assert!(!otlp.takes(MAX_EVENTS + 1, 10) && !otlp.takes(2, MAX_BYTES + 1));
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let single = Settings::Webhook { url: "https://a.example/".to_owned(), single: true };
        let single = Destination::of(&single, Some(&secret), &bounds(false)).expect("a destination");
        assert!(single.takes(1, 2 * MAX_BYTES) && !single.takes(2, 2));
    }

    #[test]
    fn a_receiver_that_takes_only_some_records_has_not_taken_them() {
        for answer in
            ["", "{}", r#"{"partialSuccess":{}}"#, r#"{"partialSuccess":{"rejectedLogRecords":"0"}}"#]
        {
            assert_eq!(accepted(answer.as_bytes()), Ok(()), "{answer}");
        }
        for answer in [
            r#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#,
            r#"{"partialSuccess":{"rejectedLogRecords":2}}"#,
        ] {
            assert!(accepted(answer.as_bytes()).is_err_and(|error| error.is_refusal()), "{answer}");
        }
    }

    #[test]
    fn a_batch_of_the_log_is_one_object_of_its_own_name() {
        let item = |batch, text: &str| Item {
            id: EventId::mint(shared::event::Timestamp::try_from(1).expect("a time"), &[0; 10]),
            batch,
            bytes: text.as_bytes().to_vec(),
        };
        let parcel = Parcel {
            tenant: "demo".to_owned(),
            log_id: "0f".to_owned(),
            items: vec![item(Some(3), "a"), item(Some(3), "b"), item(Some(12), "c")],
        };
        let expected = [("demo/0f/000000000003.ndjson", "a\nb\n"), ("demo/0f/000000000012.ndjson", "c\n")];
        let expected = expected.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        assert_eq!(objects(&parcel), expected);
    }
}
