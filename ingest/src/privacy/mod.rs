//! A person's data: exported to them, erased where the law says so, and shown to be erased without breaking a proof.
//!
//! An erasure is asked for by one admin and agreed to by another (of a tenant with a single admin: after a notice of seven
//! days), waits out a cool-off in which it can be cancelled, and is then carried out: values and salts go, leaves stay. What
//! arrives late of an erased person is erased as well, and so is what a restored copy of the database brings back.

mod archived;
pub mod certificate;
mod erase;
pub mod export;
mod find;
pub mod key;
mod late;
pub mod person;
mod reapply;
mod shelf;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shared::event::{Actor, RetentionClass, Severity, TenantId, Trust};
use shared::leaf::Hash;
use shared::note::{KeyName, VerifierKey};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::archive::{Archive, ArchiveError};
use crate::auth::{Admin, SecondPersonError};
use crate::clock::{Clock, random};
use crate::ledger::key::{KeyFileError, LogKey};
use crate::own::{OwnError, OwnEvent, Recorder};
use crate::store::asking_people::{self, Matter};
use crate::store::erasures::{self, Request};
use crate::store::holds::{self, Hold};
use crate::store::subjects::{self, Beside};
use crate::store::{self, Store, StoreError};
use erase::theirs;
use find::{Extent, Found};
use key::SubjectKey;
use person::{Names, Who};
use shelf::Shelf;

/// What a tenant with one admin waits instead of a second one's word.
const NOTICE: TimeDelta = TimeDelta::days(7);
/// How long a request looks before it answers; who is not found by then is looked for when the time has come.
const LOOK_FOR: Duration = Duration::from_secs(20);
/// After which an erasure that another process began is taken over: it may have stopped.
const TAKEN_OVER_AFTER: TimeDelta = TimeDelta::minutes(10);
const MAX_SUBJECT_LEN: usize = 512;
const MAX_BASIS_LEN: usize = 500;
const MAX_EMAILS: usize = 20;

/// Why something about a person was not done.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyError {
    /// Nothing is known of them. Nothing about whom is kept or logged either.
    #[error("nothing is known of this subject")]
    Unknown,
    /// A parameter.
    #[error("{0}: {1}")]
    Parameter(&'static str, String),
    /// There is no such request.
    #[error("no erasure of this id")]
    Missing,
    /// It is not where it would have to be.
    #[error("erasure {id} is {state}")]
    State {
        /// Which.
        id: Uuid,
        /// Where it stands.
        state: String,
    },
    /// One admin is not two.
    #[error(transparent)]
    Second(#[from] SecondPersonError),
    /// A legal hold covers some of the events.
    #[error("legal hold {id} covers events of this subject: {reason}")]
    Held {
        /// The hold.
        id: Uuid,
        /// Why it was placed.
        reason: String,
    },
    /// Leaves are not in the tree yet.
    #[error("events are not sequenced yet")]
    NotSequenced,
    /// Our own event.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory of certificates.
    #[error("certificates: {0}")]
    Files(#[from] std::io::Error),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl PrivacyError {
    fn held(hold: Hold) -> Self {
        Self::Held { id: hold.hold_id, reason: hold.reason }
    }
}

/// What is to become of a person's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It goes.
    Erase,
    /// It goes, and a random name stands for the person, so that their acts can still be told to be one person's.
    Pseudonymise,
    /// It stays, on a legal ground.
    Keep,
}

impl Mode {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Erase => "erase",
            Self::Pseudonymise => "pseudonymise",
            Self::Keep => "keep",
        }
    }
}

/// What an admin asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The person's id, as the application calls them.
    pub subject: String,
    /// Addresses of theirs that events do not tell.
    pub emails: Vec<String>,
    /// What is to become of their data.
    pub mode: Mode,
    /// On what ground.
    pub legal_basis: String,
}

/// What an erasure would do.
#[derive(Debug)]
pub struct Preview {
    /// What the person is known by.
    pub names: Vec<String>,
    /// In counts.
    pub counts: Value,
    /// The hold that forbids it.
    pub held: Option<Hold>,
}

/// The persons of an installation.
#[derive(Debug)]
pub struct Privacy {
    store: Store,
    recorder: Recorder,
    clock: Clock,
    key: LogKey,
    name: KeyName,
    hashes: SubjectKey,
    shelf: Shelf,
    archive: Option<Archive>,
    cool_off: TimeDelta,
    changed: Notify,
    begun: Mutex<HashSet<Uuid>>,
}

impl Privacy {
    /// The keys lie beside the log's key and are made at the first start.
    ///
    /// # Errors
    /// If a key cannot be read or made.
    pub fn new(
        store: Store,
        recorder: Recorder,
        clock: Clock,
        log_key_file: &Path,
        origin: &KeyName,
        settings: &crate::config::Privacy,
        archive: Option<Archive>,
    ) -> Result<Self, KeyFileError> {
        let name = KeyName::try_from(format!("{origin}/erasure")).expect("an origin leaves room");
        let key = LogKey::load_or_create("erasure.key", &log_key_file.with_file_name("erasure.key"), &name)?;
        let hashes = SubjectKey::load_or_create(&log_key_file.with_file_name("privacy.key"))?;
        let cool_off = TimeDelta::from_std(settings.cool_off).unwrap_or(TimeDelta::days(1));
        let shelf = Shelf::new(PathBuf::from(&settings.certificates));
        let (changed, begun) = (Notify::new(), Mutex::default());
        Ok(Self { store, recorder, clock, key, name, hashes, shelf, archive, cool_off, changed, begun })
    }

    /// The key that signs certificates.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), public: self.key.public() }
    }

    /// What an erasure would do, without doing any of it.
    ///
    /// # Errors
    /// [`PrivacyError`]
    pub async fn preview(
        &self,
        tenant: &TenantId,
        subject: &str,
        emails: &[String],
    ) -> Result<Preview, PrivacyError> {
        let names = self.names(tenant, subject, emails).await?;
        let known: Vec<String> = names.iter().map(str::to_owned).collect();
        let who = Who::Named(names);
        let holds = self.holds(tenant).await?;
        let extent = Extent::Until(Instant::now() + LOOK_FOR);
        let found = self.search(tenant, &who, &holds, extent).await?;
        let beside = self.beside(tenant, &who).await?;
        if found.complete && found.losses.is_empty() && beside == Beside::default() {
            return Err(PrivacyError::Unknown);
        }
        Ok(Preview { names: known, counts: counts(&found, beside), held: found.held })
    }

    /// Asks for an erasure, or says why there is none.
    ///
    /// # Errors
    /// [`PrivacyError`]; of an unknown subject nothing is kept.
    pub async fn request(&self, admin: Admin<'_>, wish: &Wish) -> Result<Request, PrivacyError> {
        let tenant = admin.tenant;
        let names = self.names(tenant, &wish.subject, &wish.emails).await?;
        let who = Who::Named(names);
        check_basis(&wish.legal_basis, &who)?;
        let holds = self.holds(tenant).await?;
        let until = Instant::now() + LOOK_FOR;
        let extent = if holds.is_empty() { Extent::First(until) } else { Extent::Until(until) };
        let found = self.search(tenant, &who, &holds, extent).await?;
        let nothing = found.complete && found.losses.is_empty();
        if nothing && self.beside(tenant, &who).await? == Beside::default() {
            return Err(PrivacyError::Unknown);
        }
        if let Some(hold) = found.held.filter(|_| wish.mode != Mode::Keep) {
            return Err(PrivacyError::held(hold));
        }
        let now = self.clock.now().to_utc();
        let keeps = wish.mode == Mode::Keep;
        let mut transaction = self.store.begin().await?;
        let alone = !keeps && {
            let person = admin.standing.person()?;
            !asking_people::has_second(&mut transaction, tenant, person, now).await?
        };
        let state = match () {
            () if keeps => "kept",
            () if alone => "approved",
            () => "requested",
        };
        let request = Request {
            tenant_id: tenant.to_string(),
            id: new_id(now),
            mode: wish.mode.word().to_owned(),
            legal_basis: wish.legal_basis.clone(),
            state: state.to_owned(),
            subject: Some(wish.subject.clone()).filter(|_| !keeps),
            names: if keeps { Vec::new() } else { wish.emails.clone() },
            pseudonym: (wish.mode == Mode::Pseudonymise)
                .then(|| format!("anon-{}", hex::encode(random::<16>()))),
            requested_by: admin.key.to_owned(),
            requested_at: now,
            approved_by: None,
            approved_at: None,
            not_before: alone.then(|| now + NOTICE.max(self.cool_off)),
            until: None,
            closed_by: keeps.then(|| admin.key.to_owned()),
            closed_at: keeps.then_some(now),
        };
        let action = if keeps { "ERASURE_DECLINED" } else { "ERASURE_REQUESTED" };
        let details = json!({
            "mode": request.mode, "legal_basis": request.legal_basis,
            "single_admin": alone,
            "not_before": request.not_before.map(crate::view::time),
        });
        self.tell(tenant, action, request.id, Some(admin.key), details).await?;
        erasures::insert(&mut transaction, &request).await?;
        if request.state == "requested" {
            let matter = Matter::Erasure(request.id);
            asking_people::remember(&mut transaction, tenant, matter, admin.standing.person()?).await?;
        }
        store::commit(transaction).await?;
        if keeps {
            self.certify(tenant, &request).await?;
        }
        self.changed.notify_one();
        Ok(request)
    }

    /// Agrees with another admin's request; the cool-off begins.
    ///
    /// # Errors
    /// [`PrivacyError`]
    pub async fn approve(&self, admin: Admin<'_>, id: Uuid) -> Result<Request, PrivacyError> {
        let known = self.look(admin.tenant, id).await?;
        if let Some(subject) = known.subject.as_ref().filter(|_| known.state == "requested") {
            let holds = self.holds(admin.tenant).await?;
            if !holds.is_empty() {
                let who = Who::Named(self.names(admin.tenant, subject, &known.names).await?);
                let extent = Extent::Until(Instant::now() + LOOK_FOR);
                let found = self.search(admin.tenant, &who, &holds, extent).await?;
                found.held.map_or(Ok(()), |hold| Err(PrivacyError::held(hold)))?;
            }
        }
        self.change(admin, id, "ERASURE_APPROVED", |request, asked, now| {
            if request.state != "requested" {
                return Err(PrivacyError::State { id, state: request.state.clone() });
            }
            admin.standing.agree(asked, now)?;
            request.state = "approved".to_owned();
            request.approved_by = Some(admin.key.to_owned());
            request.approved_at = Some(now);
            request.not_before = Some(now + self.cool_off);
            Ok(())
        })
        .await
    }

    /// Cancels what was not begun. Whom it was about is forgotten.
    ///
    /// # Errors
    /// [`PrivacyError`]
    pub async fn cancel(&self, admin: Admin<'_>, id: Uuid) -> Result<Request, PrivacyError> {
        self.change(admin, id, "ERASURE_CANCELLED", |request, _, now| {
            if !["requested", "approved"].contains(&request.state.as_str()) {
                return Err(PrivacyError::State { id, state: request.state.clone() });
            }
            request.state = "cancelled".to_owned();
            request.subject = None;
            request.names = Vec::new();
            request.closed_by = Some(admin.key.to_owned());
            request.closed_at = Some(now);
            Ok(())
        })
        .await
    }

    /// A request.
    ///
    /// # Errors
    /// [`PrivacyError`]
    pub async fn look(&self, tenant: &TenantId, id: Uuid) -> Result<Request, PrivacyError> {
        let found = erasures::list(&self.store, tenant.as_str(), Some(id), 1).await?;
        found.into_iter().next().ok_or(PrivacyError::Missing)
    }

    /// Works until it is stopped: what is due, what arrives late, what a restored database has forgotten.
    pub async fn run(self: std::sync::Arc<Self>, sweep: Duration, mut stop: watch::Receiver<bool>) {
        let mut reapplied = false;
        loop {
            if !reapplied {
                reapplied = self.reapply().await.inspect_err(warn).is_ok();
            }
            // What a restored database does not know comes first: it may be half done.
            if reapplied {
                if let Err(error) = self.carry_out_due().await {
                    warn(&error);
                }
                if let Err(error) = self.follow().await {
                    warn(&error);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(sweep) => {}
                () = self.changed.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn carry_out_due(&self) -> Result<(), PrivacyError> {
        let now = self.clock.now().to_utc();
        for request in erasures::due(&self.store, now).await? {
            let abandoned = request.until.is_none_or(|begun| begun < now - TAKEN_OVER_AFTER);
            if request.state == "running" && !abandoned && !self.is_ours(request.id) {
                continue;
            }
            match self.carry_out(&request).await {
                // Another process was faster.
                Err(PrivacyError::State { .. }) => {}
                // It waits for the hold; whoever asks for the request sees that it is overdue.
                Err(error @ PrivacyError::Held { .. }) => {
                    tracing::warn!(%error, request = %request.id, "an erasure waits");
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Whether this process began it.
    fn is_ours(&self, id: Uuid) -> bool {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// A change of a request: its event first, so that no change is without one.
    async fn change(
        &self,
        admin: Admin<'_>,
        id: Uuid,
        action: &str,
        change: impl FnOnce(&mut Request, &[String], DateTime<Utc>) -> Result<(), PrivacyError>,
    ) -> Result<Request, PrivacyError> {
        let tenant = admin.tenant;
        let mut transaction = self.store.begin().await?;
        let locked = erasures::lock(&mut transaction, tenant.as_str(), id).await?;
        let mut request = locked.ok_or(PrivacyError::Missing)?;
        let matter = Matter::Erasure(id);
        let asked = asking_people::names(&mut transaction, tenant, matter).await?;
        change(&mut request, &asked, self.clock.now().to_utc())?;
        let details = json!({
            "mode": request.mode, "legal_basis": request.legal_basis, "requested_by": request.requested_by,
            "not_before": request.not_before.map(crate::view::time),
        });
        self.tell(tenant, action, id, Some(admin.key), details).await?;
        erasures::update(&mut transaction, &request).await?;
        asking_people::forget(&mut transaction, tenant, matter).await?;
        store::commit(transaction).await?;
        self.changed.notify_one();
        Ok(request)
    }

    async fn tell(
        &self,
        tenant: &TenantId,
        action: &str,
        id: Uuid,
        by: Option<&str>,
        details: Value,
    ) -> Result<(), PrivacyError> {
        let event =
            OwnEvent::new(tenant, action, "ingest/privacy", self.clock.now(), "erasure", &id.to_string());
        let event = OwnEvent {
            severity: Severity::Critical,
            class: RetentionClass::Permanent,
            trust: if by.is_some() { Trust::Verified } else { Trust::System },
            actor: by.map(|key| Actor { id: key.to_owned(), ..Actor::default() }),
            details: Some(details),
            ..event
        };
        self.recorder.record(vec![event]).await?;
        Ok(())
    }

    /// What a person is known by, if the texts that say who can be a person's at all.
    async fn names(
        &self,
        tenant: &TenantId,
        subject: &str,
        emails: &[String],
    ) -> Result<Names, PrivacyError> {
        let fits = |text: &str| {
            (1..=MAX_SUBJECT_LEN).contains(&text.trim().len()) && !text.chars().any(char::is_control)
        };
        if !fits(subject) {
            let reason = format!("is not 1 to {MAX_SUBJECT_LEN} bytes of text");
            return Err(PrivacyError::Parameter("subject", reason));
        }
        if emails.len() > MAX_EMAILS || !emails.iter().all(|email| fits(email) && email.contains('@')) {
            let reason = format!("is not a list of at most {MAX_EMAILS} addresses");
            return Err(PrivacyError::Parameter("emails", reason));
        }
        let until = Some(Instant::now() + LOOK_FOR);
        find::names(&self.store, self.archive.as_ref(), tenant, subject, emails, until).await
    }

    async fn search(
        &self,
        tenant: &TenantId,
        who: &Who,
        holds: &[Hold],
        extent: Extent,
    ) -> Result<Found, PrivacyError> {
        find::search(&self.store, self.archive.as_ref(), tenant, who, holds, extent).await
    }

    async fn holds(&self, tenant: &TenantId) -> Result<Vec<Hold>, PrivacyError> {
        let mut transaction = self.store.begin().await?;
        let active = holds::active(&mut transaction, tenant.as_str()).await?;
        store::commit(transaction).await?;
        Ok(active)
    }

    /// What would go beside the events: done, counted and taken back.
    async fn beside(&self, tenant: &TenantId, who: &Who) -> Result<Beside, PrivacyError> {
        let mut transaction = subjects::begin_removing(&self.store).await?;
        let beside =
            subjects::clear_beside(&mut transaction, tenant.as_str(), |texts| theirs(who, texts)).await?;
        store::roll_back(transaction).await?;
        Ok(beside)
    }
}

fn counts(found: &Found, beside: Beside) -> Value {
    json!({
        "events": found.losses.len(),
        "as": found.relations,
        "fields": found.fields,
        "whole": found.whole,
        "beside": {
            "remembered_entities": beside.entity_states,
            "audit_rows": beside.claims,
            "reported_writes": beside.writes,
            "routes": beside.routes,
            "saved_searches": beside.searches,
            "alerts": beside.alerts,
            "runs": beside.runs,
            "sinks": beside.sinks,
        },
        "complete": found.complete,
    })
}

/// The ground stands in events that are kept for ever: it says why, not whom.
fn check_basis(basis: &str, who: &Who) -> Result<(), PrivacyError> {
    let bad = |reason: String| Err(PrivacyError::Parameter("legal_basis", reason));
    if !(1..=MAX_BASIS_LEN).contains(&basis.len()) || basis.chars().any(char::is_control) {
        return bad(format!("is not one line of 1 to {MAX_BASIS_LEN} bytes"));
    }
    if who.within(basis) {
        return bad("names the person; it is kept for good".to_owned());
    }
    Ok(())
}

fn warn(error: &PrivacyError) {
    tracing::warn!(%error, "erasures are not carried out, trying again");
}

fn sha256(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

pub(crate) fn new_id(now: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random()).into_uuid()
}
