//! What admins do with sinks. Each act is an event of our own, kept in the act's transaction.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::event::{Severity, TenantId};
use shared::leaf::Seed;
use shared::search;
use uuid::Uuid;

use super::destination::{Bounds, Destination, Item, Parcel};
use super::send::{SendError, client_config};
use super::settings::{Invalid, Settings};
use super::vault::{Secret, Vault};
use super::{Sinks, tenant_of};
use crate::auth::Notice;
use crate::clock::random;
use crate::export::Row;
use crate::own::OwnEvent;
use crate::privacy::new_id;
use crate::store::search::Swept;
use crate::store::sinks::{self, SinkRow};
use crate::store::{self, StoreError, Transaction, log};

/// Sinks of a tenant.
const MAX_SINKS: i64 = 20;
/// Characters of a name.
const NAME: std::ops::RangeInclusive<usize> = 1..=80;
/// What stands before a sealed query in a stored address.
const SEALED: &str = "?sealed.";
/// Bytes of the longest event that is sent whole.
const EVENT_BYTES: std::ops::RangeInclusive<i32> = 4_096..=1_000_000;

/// A sink as an admin asks for it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it is called.
    pub name: String,
    /// Its kind and where it leads.
    pub settings: Settings,
    /// What the receiver knows us by; none to keep the one there is, or to have one made for a webhook.
    pub secret: Option<Secret>,
    /// Which events, in the search grammar; all unless said.
    pub query: String,
    /// The longest event that is sent whole, in bytes; what is usual for the kind unless said.
    pub max_event_bytes: Option<i32>,
}

/// What became of a message that tried a sink out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Why it did not arrive; none if it did.
    pub error: Option<String>,
}

/// Why something was not done with a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A field is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is none of this id.
    #[error("no sink of this id")]
    Missing,
    /// Secrets cannot be kept.
    #[error("secrets of sinks need a key: the operator sets sinks.key_file")]
    NoKey,
    /// The tenant has as many as it may have.
    #[error("there are {MAX_SINKS} sinks, as many as a tenant may have")]
    Full,
    /// Another has its name.
    #[error("another sink has this name")]
    NameTaken,
    /// Its filter named somebody who was erased.
    #[error("its filter named somebody who was erased: it needs another before it sends again")]
    FilterLost,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sinks {
    /// Makes a sink that begins with what is stored from now on. A secret that was made for it is given, once.
    ///
    /// # Errors
    /// [`SinkError`]
    pub async fn create(
        &self,
        tenant: &TenantId,
        by: &str,
        wanted: Wanted,
    ) -> Result<(SinkRow, Option<Secret>), SinkError> {
        let now = self.clock.now();
        let id = new_id(now.to_utc());
        let made = match (&wanted.settings, &wanted.secret) {
            (Settings::Webhook { .. }, None) => Some(mint()),
            _ => None,
        };
        let secret = made.as_ref().or(wanted.secret.as_ref());
        let sealed = self.sealed(tenant, id, secret)?;
        Destination::of(&wanted.settings, secret, &self.bounds().await)?;
        let newest = log::list(&self.store, Some(tenant.as_str())).await?.into_iter().next();
        let sink = SinkRow {
            tenant_id: tenant.to_string(),
            sink_id: id,
            name: name(&wanted.name)?,
            max_event_bytes: max_event_bytes(&wanted)?,
            settings: self.stored(tenant, id, &wanted.settings)?,
            secret: sealed,
            query: Some(query(&wanted.query)?),
            state: "active".to_owned(),
            made_by: by.to_owned(),
            made_at: now.to_utc(),
            version: 1,
            leaf: newest.as_ref().map_or(0, |log| log.size),
            log_id: newest.map(|log| log.log_id),
            sent: 0,
            attempts: 0,
            failing_since: None,
            next_at: None,
            last_success_at: None,
            last_error: None,
            last_error_at: None,
        };
        let mut transaction = self.store.begin().await?;
        if sinks::count(&mut transaction, tenant.as_str()).await? >= MAX_SINKS {
            return Err(SinkError::Full);
        }
        if !sinks::insert(&mut transaction, &sink).await? {
            return Err(SinkError::NameTaken);
        }
        self.tell(transaction, "SINK_CREATED", by, &sink, Severity::Warning, json!({})).await?;
        Ok((sink, made))
    }

    /// Changes a sink: everything but its kind and its place.
    ///
    /// # Errors
    /// [`SinkError`]
    pub async fn change(
        &self,
        tenant: &TenantId,
        by: &str,
        id: Uuid,
        wanted: Wanted,
    ) -> Result<SinkRow, SinkError> {
        let (transaction, mut sink) = self.lock(tenant, id).await?;
        let before = self.settings(&sink)?;
        if before.kind() != wanted.settings.kind() {
            return Err(Invalid::new("kind", format!("is {}, and stays so", before.kind())).into());
        }
        let kept = self.secret(&sink)?;
        let secret = match (&wanted.secret, kept) {
            (Some(secret), _) => Some(secret.clone()),
            // Whoever may lead a sink elsewhere may not thereby learn its secret.
            (None, Some(_)) if !wanted.settings.leads_where(&before) => {
                return Err(Invalid::new("secret", "is needed anew, as the sink leads elsewhere").into());
            }
            (None, kept) => kept,
        };
        Destination::of(&wanted.settings, secret.as_ref(), &self.bounds().await)?;
        sink.secret = match &wanted.secret {
            Some(_) => self.sealed(tenant, id, secret.as_ref())?,
            None => sink.secret,
        };
        sink.name = name(&wanted.name)?;
        sink.max_event_bytes = max_event_bytes(&wanted)?;
        sink.settings = self.stored(tenant, id, &wanted.settings)?;
        sink.query = Some(query(&wanted.query)?);
        let details = json!({"secret_changed": wanted.secret.is_some()});
        self.keep(transaction, "SINK_CHANGED", by, sink, Severity::Warning, details).await
    }

    /// Stops sending. What follows waits in the log.
    ///
    /// # Errors
    /// [`SinkError`]
    pub async fn pause(&self, tenant: &TenantId, by: &str, id: Uuid) -> Result<SinkRow, SinkError> {
        let (transaction, sink) = self.lock(tenant, id).await?;
        let sink = SinkRow { state: "paused".to_owned(), ..sink };
        self.keep(transaction, "SINK_PAUSED", by, sink, Severity::Warning, json!({})).await
    }

    /// Goes on at its place, at once also where it waited to try again.
    ///
    /// # Errors
    /// [`SinkError`]
    pub async fn resume(&self, tenant: &TenantId, by: &str, id: Uuid) -> Result<SinkRow, SinkError> {
        let (transaction, mut sink) = self.lock(tenant, id).await?;
        if sink.query.is_none() {
            return Err(SinkError::FilterLost);
        }
        if sink.state == "paused" {
            sink.state = "active".to_owned();
        }
        self.keep(transaction, "SINK_RESUMED", by, sink, Severity::Info, json!({})).await
    }

    /// Goes back, or forward, to what arrived at a time; to the end of the log if nothing has since.
    ///
    /// # Errors
    /// [`SinkError`]
    pub async fn replay(
        &self,
        tenant: &TenantId,
        by: &str,
        id: Uuid,
        from: DateTime<Utc>,
    ) -> Result<SinkRow, SinkError> {
        let (mut transaction, mut sink) = self.lock(tenant, id).await?;
        let place = match sinks::place_at(&mut transaction, tenant.as_str(), from).await? {
            Some(place) => Some(place),
            None => {
                let newest = log::list(&self.store, Some(tenant.as_str())).await?.into_iter().next();
                newest.map(|log| (log.log_id, log.size))
            }
        };
        (sink.log_id, sink.leaf) = place.map_or((None, 0), |(log_id, leaf)| (Some(log_id), leaf));
        let details = json!({"from": crate::view::time(from)});
        self.keep(transaction, "SINK_REPLAYED", by, sink, Severity::Warning, details).await
    }

    /// Removes a sink, with its secret and its place.
    ///
    /// # Errors
    /// [`SinkError`]
    pub async fn remove(&self, tenant: &TenantId, by: &str, id: Uuid) -> Result<SinkRow, SinkError> {
        let (mut transaction, sink) = self.lock(tenant, id).await?;
        sinks::remove(&mut transaction, tenant.as_str(), id).await?;
        self.tell(transaction, "SINK_DELETED", by, &sink, Severity::Warning, json!({"sent": sink.sent}))
            .await?;
        Ok(sink)
    }

    /// Sends a message that is no event of the log.
    ///
    /// # Errors
    /// [`SinkError`]; that the message did not arrive is none.
    pub async fn try_out(&self, tenant: &TenantId, by: &str, id: Uuid) -> Result<Tried, SinkError> {
        let sink = self.find(tenant, id).await?;
        let sent = match self.destination(&sink).await? {
            Ok(destination) => self.send_sample(&destination, &sink).await?,
            Err(error) => Err(error),
        };
        let error = sent.err().map(|error| error.to_string());
        let transaction = self.store.begin().await?;
        let details = json!({"delivered": error.is_none(), "error": error});
        self.tell(transaction, "SINK_TESTED", by, &sink, Severity::Info, details).await?;
        Ok(Tried { error })
    }

    async fn send_sample(
        &self,
        destination: &Destination,
        sink: &SinkRow,
    ) -> Result<Result<(), SendError>, StoreError> {
        let (tenant, now) = (tenant_of(sink)?, self.clock.now());
        let event = OwnEvent {
            details: Some(json!({"test": true})),
            ..OwnEvent::new(&tenant, "SINK_TESTED", "ingest/sinks", now, "sink", &sink.sink_id.to_string())
        };
        let event = event.mint();
        let swept = Swept {
            id: event.id.uuid(),
            filed_at: now.to_utc(),
            received_at: now.to_utc(),
            opening: event.to_opening(Seed(random())).encode(),
            pseudonym: None,
            batch_id: 0,
            position: 0,
        };
        let row = Row::open(swept)?;
        let bytes = destination.write(&row, self.host.as_str(), limit(sink));
        let items = vec![Item { id: event.id, batch: None, bytes }];
        let parcel = Parcel { tenant: sink.tenant_id.clone(), log_id: "test".to_owned(), items };
        Ok(destination.deliver(parcel, now.to_utc(), self.config.timeout).await)
    }

    /// A sink by its id.
    ///
    /// # Errors
    /// [`SinkError::Missing`]
    pub async fn find(&self, tenant: &TenantId, id: Uuid) -> Result<SinkRow, SinkError> {
        let found = sinks::list(&self.store, tenant.as_str(), Some(id)).await?;
        found.into_iter().next().ok_or(SinkError::Missing)
    }

    /// The way to a stored sink; the inner error says why there is none now.
    pub(super) async fn destination(
        &self,
        sink: &SinkRow,
    ) -> Result<Result<Destination, SendError>, StoreError> {
        let opened = self.settings(sink).and_then(|settings| Ok((settings, self.secret(sink)?)));
        let (settings, secret) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(SendError::Unusable(error.to_string()))),
        };
        let found = Destination::of(&settings, secret.as_ref(), &self.bounds().await);
        Ok(found.map_err(|invalid| SendError::Unusable(invalid.to_string())))
    }

    /// What is allowed. Whom the system trusts is read once, where it keeps nobody waiting.
    async fn bounds(&self) -> Bounds {
        let read = || async {
            let more = self.config.ca.clone();
            let reading = tokio::task::spawn_blocking(move || client_config(&more));
            reading.await.expect("reading certificates does not panic")
        };
        let trust = self.trust.get_or_init(read).await;
        Bounds { allow_private: self.config.allow_private, trust: Arc::clone(trust) }
    }

    /// Settings as they are stored. What stands in the query of an address may be a secret of the receiver: it is sealed.
    fn stored(&self, tenant: &TenantId, id: Uuid, settings: &Settings) -> Result<String, SinkError> {
        let mut settings = settings.clone();
        if let Some(url) = settings.url_mut()
            && let Some((place, query)) = url.split_once('?')
        {
            let sealed = self.vault()?.seal(tenant.as_str(), id, &Secret::new(query.to_owned()));
            *url = format!("{place}{SEALED}{}", URL_SAFE_NO_PAD.encode(sealed));
        }
        Ok(settings.text())
    }

    /// Settings as they are used.
    fn settings(&self, sink: &SinkRow) -> Result<Settings, SinkError> {
        let mut settings = Settings::of(sink)?;
        if let Some(url) = settings.url_mut()
            && let Some((place, sealed)) = url.split_once(SEALED)
        {
            let query = self.open(sink, &URL_SAFE_NO_PAD.decode(sealed).unwrap_or_default())?;
            *url = format!("{place}?{}", query.reveal());
        }
        Ok(settings)
    }

    fn secret(&self, sink: &SinkRow) -> Result<Option<Secret>, SinkError> {
        sink.secret.as_ref().map(|sealed| self.open(sink, sealed)).transpose()
    }

    fn open(&self, sink: &SinkRow, sealed: &[u8]) -> Result<Secret, SinkError> {
        let opened = self.vault()?.open(&sink.tenant_id, sink.sink_id, sealed);
        opened.map_err(|_| SinkError::Store(StoreError::Damaged("secret of a sink")))
    }

    fn vault(&self) -> Result<&Vault, SinkError> {
        self.vault.as_ref().ok_or(SinkError::NoKey)
    }

    fn sealed(
        &self,
        tenant: &TenantId,
        id: Uuid,
        secret: Option<&Secret>,
    ) -> Result<Option<Vec<u8>>, SinkError> {
        let Some(secret) = secret else { return Ok(None) };
        Ok(Some(self.vault()?.seal(tenant.as_str(), id, secret)))
    }

    async fn lock(&self, tenant: &TenantId, id: Uuid) -> Result<(Transaction, SinkRow), SinkError> {
        let mut transaction = self.store.begin().await?;
        let sink = sinks::lock(&mut transaction, tenant.as_str(), id).await?;
        Ok((transaction, sink.ok_or(SinkError::Missing)?))
    }

    async fn keep(
        &self,
        mut transaction: Transaction,
        action: &str,
        by: &str,
        sink: SinkRow,
        severity: Severity,
        details: Value,
    ) -> Result<SinkRow, SinkError> {
        if !sinks::change(&mut transaction, &sink).await? {
            return Err(SinkError::NameTaken);
        }
        self.tell(transaction, action, by, &sink, severity, details).await?;
        self.find(&tenant_of(&sink)?, sink.sink_id).await
    }

    /// Ends a transaction with the event about what was done in it.
    async fn tell(
        &self,
        mut transaction: Transaction,
        action: &str,
        by: &str,
        sink: &SinkRow,
        severity: Severity,
        mut details: Value,
    ) -> Result<(), SinkError> {
        let settings = Settings::of(sink)?;
        details["name"] = sink.name.as_str().into();
        details["kind"] = settings.kind().into();
        details["to"] = settings.place().into();
        details["query"] = sink.query.as_deref().into();
        let what = ("sink", sink.sink_id.to_string());
        Notice::new(&tenant_of(sink)?, action, by, what, self.clock.now())
            .with(severity, details)
            .keep(&mut transaction)
            .await?;
        store::commit(transaction).await?;
        self.changed.notify_waiters();
        Ok(())
    }
}

/// The longest event that a sink takes whole, in bytes.
pub(super) fn limit(sink: &SinkRow) -> usize {
    usize::try_from(sink.max_event_bytes).unwrap_or(0)
}

/// A secret of Standard Webhooks.
fn mint() -> Secret {
    Secret::new(format!("whsec_{}", STANDARD.encode(random::<32>())))
}

fn name(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    let is_line = NAME.contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if !is_line {
        let words = format!("is not one line of {} to {} characters", NAME.start(), NAME.end());
        return Err(Invalid::new("name", words));
    }
    plain("name", text)
}

fn query(text: &str) -> Result<String, Invalid> {
    let parsed = search::parse(text);
    if let Some(diagnostic) = parsed.diagnostics.first() {
        return Err(Invalid::new("query", &diagnostic.message));
    }
    plain("query", &parsed.query.to_string())
}

fn plain(field: &'static str, text: &str) -> Result<String, Invalid> {
    if shared::redact::text(text, search::MAX_TEXT_LEN) == text {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(field, "holds what looks like a secret, or is too long"))
    }
}

fn max_event_bytes(wanted: &Wanted) -> Result<i32, Invalid> {
    match wanted.max_event_bytes {
        None => Ok(wanted.settings.max_event_bytes()),
        Some(bytes) if EVENT_BYTES.contains(&bytes) => Ok(bytes),
        Some(_) => {
            let words = format!("is not {} to {}", EVENT_BYTES.start(), EVENT_BYTES.end());
            Err(Invalid::new("max_event_bytes", words))
        }
    }
}
