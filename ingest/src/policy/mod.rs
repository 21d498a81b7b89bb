//! A tenant's rule packs as the backend serves them: proposed, agreed on by a second admin, signed and activated.
//!
//! A served policy decides what is recorded about everybody, so nothing is activated by one admin alone: either a key
//! that the configuration names signed the document offline, or two admins' keys agree and the backend signs. Versions
//! strictly rise; a Worker that has seen one takes no older one.

mod document;
pub mod draft;
pub mod relabel;

use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};
use shared::event::{RetentionClass, Severity, TenantId};
use shared::note::{KeyName, Note, VerifierKey};
use shared::policy::served::{self, Bounds, Document, MAX_POLICY_LEN, MAX_VERSION, Served, ServedError};
use sqlx::PgConnection;
use tokio::sync::Notify;

use crate::auth::{Admin, SecondPersonError};
use crate::clock::Clock;
use crate::config::Signer;
use crate::ledger::key::LogKey;
use crate::own::{OwnEvent, outbox};
use crate::store::asking_people::{self, Matter};
use crate::store::policies::{self, Policy, PolicyState};
use crate::store::{Store, StoreError, accepted_rules};
use crate::unquoted;
use document::InboxRule;

/// Signature lines stand beside the text.
const MAX_SIGNED_LEN: usize = MAX_POLICY_LEN + 4096;

/// Why a policy was not changed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The document.
    #[error(transparent)]
    Refused(#[from] ServedError),
    /// The signed note.
    #[error("{0}")]
    Unreadable(String),
    /// No signature of a policy key of this tenant verifies.
    #[error("no registered policy key of the tenant signed it")]
    Signature,
    /// Another tenant's.
    #[error("it is of tenant {0}")]
    ForeignTenant(TenantId),
    /// There is no such version.
    #[error("no policy of this version")]
    Missing,
    /// It is not waiting for a decision.
    #[error("version {version} is {}", state.word())]
    NotProposed {
        /// The version.
        version: i64,
        /// Where it stands.
        state: PolicyState,
    },
    /// One admin is not two.
    #[error(transparent)]
    Second(#[from] SecondPersonError),
    /// The version does not rise.
    #[error("version {version} is not above {newest}, the newest there is")]
    Replayed {
        /// The version.
        version: u64,
        /// The newest.
        newest: i64,
    },
    /// It was made on a version that is no longer the active one.
    #[error("version {0} was made on one that is not active any more; propose it again")]
    Stale(i64),
    /// It was never active.
    #[error("version {0} was never active")]
    NeverActive(i64),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tenants' policies.
#[derive(Debug)]
pub struct Policies {
    store: Store,
    clock: Clock,
    key: LogKey,
    name: KeyName,
    keys: Vec<Signer>,
    allow_closed: bool,
    changed: Notify,
}

impl Policies {
    /// Policies over a store. `origin` is the installation's name.
    pub fn new(
        store: Store,
        clock: Clock,
        key: LogKey,
        origin: &KeyName,
        keys: Vec<Signer>,
        allow_closed: bool,
    ) -> Self {
        let name = KeyName::try_from(format!("{origin}/policy")).expect("an origin leaves room");
        Self { store, clock, key, name, keys, allow_closed, changed: Notify::new() }
    }

    /// The key that signs what two admins agreed on.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), public: self.key.public() }
    }

    /// Every key whose signature a Worker of this tenant may trust: our own first.
    pub fn verifiers(&self, tenant: &TenantId) -> Vec<VerifierKey> {
        let offline = self.keys.iter().filter(|key| key.tenants.contains(tenant)).map(|key| key.key.clone());
        [self.verifier()].into_iter().chain(offline).collect()
    }

    /// Proposes packs, `{"packs":[…]}`.
    ///
    /// # Errors
    /// [`PolicyError`]; a document that is refused leaves an event.
    pub async fn propose(&self, admin: Admin<'_>, text: &str) -> Result<i64, PolicyError> {
        let document = self.checked(admin, Document::parse(text)).await?;
        let mut transaction = self.store.begin().await?;
        policies::lock(&mut transaction, admin.tenant).await?;
        let active = policies::active(&mut transaction, admin.tenant).await?;
        let details = json!({"packs": document::difference(active.as_ref(), &document)});
        let version = self.add_proposal(&mut transaction, admin, &document, Origin::Whole, details).await?;
        self.finish(transaction).await?;
        Ok(version)
    }

    /// Proposes what was active at an earlier version.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub async fn roll_back(&self, admin: Admin<'_>, to: i64) -> Result<i64, PolicyError> {
        let mut transaction = self.store.begin().await?;
        policies::lock(&mut transaction, admin.tenant).await?;
        let old = policies::find(&mut transaction, admin.tenant, to).await?.ok_or(PolicyError::Missing)?;
        if old.note.is_none() {
            return Err(PolicyError::NeverActive(to));
        }
        let document = Document::parse(&old.document)?;
        served::check(&document, self.bounds())?;
        let active = policies::active(&mut transaction, admin.tenant).await?;
        let packs = document::difference(active.as_ref(), &document);
        let details = json!({"packs": packs, "rolls_back_to": to});
        let version = self.add_proposal(&mut transaction, admin, &document, Origin::Old(to), details).await?;
        self.finish(transaction).await?;
        Ok(version)
    }

    /// Proposes one more rule of the pack `inbox-<pack>`, made from a route that no rule names on this host.
    ///
    /// It is added to what is active, or to the same admin's own proposal; never to another's, which nobody but its
    /// author would then have looked at.
    ///
    /// # Errors
    /// [`PolicyError`]; a rule that is refused leaves an event.
    pub async fn accept(
        &self,
        admin: Admin<'_>,
        host: &str,
        pack: &str,
        rule: &Value,
    ) -> Result<i64, PolicyError> {
        let mut transaction = self.store.begin().await?;
        policies::lock(&mut transaction, admin.tenant).await?;
        let active = policies::active(&mut transaction, admin.tenant).await?;
        let active_version = active.as_ref().map_or(0, |active| active.version);
        let own = policies::open_proposal(&mut transaction, admin.tenant, admin.key)
            .await?
            .filter(|own| own.version > active_version);
        let bases = match &own {
            Some(own) => own.bases.clone().map(|mut bases| {
                bases.push(own.version);
                bases
            }),
            None => Some(vec![active_version]),
        };
        let base = own.as_ref().or(active.as_ref());
        let text = document::with_rule(base, pack, rule);
        let parsed = text.and_then(|text| Document::parse(&text));
        let document = match parsed.and_then(|it| served::check(&it, self.bounds()).map(|()| it)) {
            Ok(document) => document,
            Err(error) => {
                drop(transaction);
                return Err(self.refused(admin, error).await?);
            }
        };
        let packs = document::difference(active.as_ref(), &document);
        let origin = Origin::Rules(bases);
        let details = json!({"packs": packs});
        let version = self.add_proposal(&mut transaction, admin, &document, origin, details).await?;
        if let Some(rule) = InboxRule::find(&document, pack, rule) {
            for accepted in rule.routes(host) {
                accepted_rules::insert(&mut transaction, admin.tenant, version, &accepted).await?;
            }
        }
        self.finish(transaction).await?;
        Ok(version)
    }

    /// Activates a document that was signed offline.
    ///
    /// # Errors
    /// [`PolicyError`]; a document that is refused leaves an event.
    pub async fn take_signed(&self, admin: Admin<'_>, bytes: &[u8]) -> Result<i64, PolicyError> {
        let note = Note::parse_within(bytes, MAX_SIGNED_LEN)
            .map_err(|error| PolicyError::Unreadable(error.to_string()))?;
        let signer = self.signer(admin.tenant, &note).ok_or(PolicyError::Signature)?;
        let served = match note.text().parse::<Served>() {
            Ok(served) => served,
            Err(error) => return Err(self.refused(admin, error).await?),
        };
        if served.tenant != *admin.tenant {
            return Err(PolicyError::ForeignTenant(served.tenant));
        }
        let document = self.checked(admin, Ok(served.document)).await?;
        let version = i64::try_from(served.version).expect("bounded when it was read");
        let mut transaction = self.store.begin().await?;
        policies::lock(&mut transaction, admin.tenant).await?;
        let newest = policies::newest(&mut transaction, admin.tenant).await?;
        if version <= newest {
            return Err(PolicyError::Replayed { version: served.version, newest });
        }
        let active = policies::active(&mut transaction, admin.tenant).await?;
        let packs = document::difference(active.as_ref(), &document);
        let now = self.now();
        policies::supersede(&mut transaction, admin.tenant, version).await?;
        let policy = Policy {
            version,
            state: PolicyState::Active,
            document: document.to_line(),
            note: Some(String::from_utf8_lossy(bytes).into_owned()),
            bases: None,
            rolls_back_to: None,
            proposed_by: admin.key.to_owned(),
            proposed_at: now,
            decided_by: Some(signer.to_string()),
            decided_at: Some(now),
        };
        policies::insert(&mut transaction, admin.tenant, &policy).await?;
        let rules = document::inbox_rules(&document);
        accepted_rules::activate(&mut transaction, admin.tenant, version, &rules, now).await?;
        let details = json!({"by": admin.key, "signed_by": signer.to_string(), "packs": packs});
        self.tell(&mut transaction, admin, "POLICY_ACTIVATED", version, details).await?;
        self.finish(transaction).await?;
        Ok(version)
    }

    /// Agrees with another admin's proposal, which is signed and activated.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub async fn approve(&self, admin: Admin<'_>, version: i64) -> Result<(), PolicyError> {
        let mut transaction = self.store.begin().await?;
        policies::lock(&mut transaction, admin.tenant).await?;
        let proposal = self.proposal(&mut transaction, admin, version).await?;
        let matter = Matter::Policy(version);
        let asked = asking_people::names(&mut transaction, admin.tenant, matter).await?;
        admin.standing.agree(&asked, self.now())?;
        let active = policies::active(&mut transaction, admin.tenant).await?;
        let active_version = active.as_ref().map_or(0, |active| active.version);
        if active_version >= version {
            let version = u64::try_from(version).unwrap_or(0);
            return Err(PolicyError::Replayed { version, newest: active_version });
        }
        if proposal.bases.as_ref().is_some_and(|bases| !bases.contains(&active_version)) {
            return Err(PolicyError::Stale(version));
        }
        // Once more: the configuration may allow less than when it was proposed.
        let document = Document::parse(&proposal.document)?;
        served::check(&document, self.bounds())?;
        let packs = document::difference(active.as_ref(), &document);
        let rules = document::inbox_rules(&document);
        let number = u64::try_from(version).map_err(|_| PolicyError::Missing)?;
        let served = Served { tenant: admin.tenant.clone(), version: number, document };
        let note = self.key.sign_note(&served.to_string(), &self.name);
        let now = self.now();
        policies::supersede(&mut transaction, admin.tenant, version).await?;
        policies::decide(&mut transaction, admin.tenant, version, Some(&note), admin.key, now).await?;
        asking_people::forget(&mut transaction, admin.tenant, matter).await?;
        accepted_rules::activate(&mut transaction, admin.tenant, version, &rules, now).await?;
        let mut details = json!({"by": admin.key, "proposed_by": proposal.proposed_by, "packs": packs});
        let action = match proposal.rolls_back_to {
            Some(to) => {
                details["rolls_back_to"] = Value::from(to);
                "POLICY_ROLLED_BACK"
            }
            None => "POLICY_ACTIVATED",
        };
        self.tell(&mut transaction, admin, action, version, details).await?;
        self.finish(transaction).await
    }

    /// Turns a proposal down; whoever made it may as well.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub async fn refuse(&self, admin: Admin<'_>, version: i64) -> Result<(), PolicyError> {
        let mut transaction = self.store.begin().await?;
        policies::lock(&mut transaction, admin.tenant).await?;
        let proposal = self.proposal(&mut transaction, admin, version).await?;
        policies::decide(&mut transaction, admin.tenant, version, None, admin.key, self.now()).await?;
        asking_people::forget(&mut transaction, admin.tenant, Matter::Policy(version)).await?;
        let details = json!({"by": admin.key, "proposed_by": proposal.proposed_by});
        self.tell(&mut transaction, admin, "POLICY_REFUSED", version, details).await?;
        self.finish(transaction).await
    }

    /// A version as an admin looks at it before deciding: with what it would change.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub async fn look(&self, tenant: &TenantId, version: i64) -> Result<(Policy, Value), PolicyError> {
        let mut transaction = self.store.begin().await?;
        let policy = policies::find(&mut transaction, tenant, version).await?.ok_or(PolicyError::Missing)?;
        let active = policies::active(&mut transaction, tenant).await?;
        let document = Document::parse(&policy.document)?;
        Ok((policy, document::difference(active.as_ref(), &document)))
    }

    async fn proposal(
        &self,
        connection: &mut PgConnection,
        admin: Admin<'_>,
        version: i64,
    ) -> Result<Policy, PolicyError> {
        let policy = policies::find(connection, admin.tenant, version).await?.ok_or(PolicyError::Missing)?;
        match policy.state {
            PolicyState::Proposed => Ok(policy),
            state => Err(PolicyError::NotProposed { version, state }),
        }
    }

    async fn add_proposal(
        &self,
        connection: &mut PgConnection,
        admin: Admin<'_>,
        document: &Document,
        origin: Origin,
        mut details: Value,
    ) -> Result<i64, PolicyError> {
        let person = admin.standing.person()?;
        let version = policies::newest(connection, admin.tenant).await? + 1;
        if u64::try_from(version).is_ok_and(|version| version > MAX_VERSION) {
            return Err(PolicyError::Replayed { version: MAX_VERSION, newest: version - 1 });
        }
        let (bases, rolls_back_to) = match origin {
            Origin::Whole => (None, None),
            Origin::Old(version) => (None, Some(version)),
            Origin::Rules(bases) => (bases, None),
        };
        let policy = Policy {
            version,
            state: PolicyState::Proposed,
            document: document.to_line(),
            note: None,
            bases,
            rolls_back_to,
            proposed_by: admin.key.to_owned(),
            proposed_at: self.now(),
            decided_by: None,
            decided_at: None,
        };
        policies::insert(connection, admin.tenant, &policy).await?;
        asking_people::remember(connection, admin.tenant, Matter::Policy(version), person).await?;
        details["by"] = Value::from(admin.key);
        self.tell(connection, admin, "POLICY_PROPOSED", version, details).await?;
        Ok(version)
    }

    async fn checked(
        &self,
        admin: Admin<'_>,
        document: Result<Document, ServedError>,
    ) -> Result<Document, PolicyError> {
        let checked =
            document.and_then(|document| served::check(&document, self.bounds()).map(|()| document));
        match checked {
            Ok(document) => Ok(document),
            Err(error) => Err(self.refused(admin, error).await?),
        }
    }

    /// The error, once its event is kept.
    async fn refused(&self, admin: Admin<'_>, error: ServedError) -> Result<PolicyError, PolicyError> {
        let mut transaction = self.store.begin().await?;
        let version = policies::newest(&mut transaction, admin.tenant).await? + 1;
        let details = json!({
            "by": admin.key, "rule": error.rule, "line": error.line, "column": error.column,
            "reason": shared::redact::text(&unquoted::words(&error.reason), 500),
        });
        self.tell(&mut transaction, admin, "POLICY_REFUSED", version, details).await?;
        self.finish(transaction).await?;
        Ok(PolicyError::Refused(error))
    }

    /// The policy key of the tenant that signed this note.
    fn signer(&self, tenant: &TenantId, note: &Note) -> Option<&KeyName> {
        note.signatures().iter().take(8).find_map(|signature| {
            let signer = self.keys.iter().find(|key| {
                key.tenants.contains(tenant)
                    && key.key.name == signature.name
                    && key.key.id() == signature.key_id
            })?;
            let public = VerifyingKey::from_bytes(&signer.key.public).ok()?;
            let bytes = Signature::from_slice(&signature.bytes).ok()?;
            public.verify_strict(note.text().as_bytes(), &bytes).ok()?;
            Some(&signer.key.name)
        })
    }

    async fn tell(
        &self,
        connection: &mut PgConnection,
        admin: Admin<'_>,
        action: &str,
        version: i64,
        details: Value,
    ) -> Result<(), PolicyError> {
        let (now, version) = (self.clock.now(), version.to_string());
        let event =
            OwnEvent::new(admin.tenant, action, "ingest/policy", now, "policy", &version).by(admin.key);
        let event = OwnEvent {
            severity: Severity::Critical,
            class: RetentionClass::Critical,
            details: Some(details),
            ..event
        };
        Ok(outbox::keep(connection, &event).await?)
    }

    async fn finish(&self, transaction: crate::store::Transaction) -> Result<(), PolicyError> {
        crate::store::commit(transaction).await?;
        self.changed.notify_one();
        Ok(())
    }

    fn bounds(&self) -> Bounds<'static> {
        // Which packs a Worker has is its own configuration's business.
        Bounds { compiled_in: None, allow_closed: self.allow_closed }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now().to_utc()
    }
}

/// What a proposal was made of.
enum Origin {
    /// A document that stands for itself.
    Whole,
    /// What an earlier version held.
    Old(i64),
    /// Single rules on top of these versions.
    Rules(Option<Vec<i64>>),
}
