//! Events about access: who signed in or failed to, what was granted, what was unmasked.
//!
//! A notice is stored in the transaction of what it tells of, and becomes an event right after. It is recorded before it is
//! taken away: a crash in between says it twice, never not at all.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::event::{
    Action, Actor, Entity, EntityType, Outcome, RetentionClass, Severity, TenantId, Timestamp, Trust,
};
use sqlx::PgConnection;

use crate::own::{OwnError, OwnEvent, Recorder};
use crate::store::{Store, StoreError, access};

/// Notices of one transaction.
const TOGETHER: i64 = 50;

/// Something about access, as it waits for its event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    /// Whose log.
    pub tenant: TenantId,
    /// What happened, such as `ADMIN_SIGNED_IN`.
    pub action: Action,
    /// How much it matters.
    pub severity: Severity,
    /// Who; a key's id or a person. None if nobody proved to be somebody.
    pub by: Option<String>,
    /// The kind of what it happened to, such as `session`.
    pub kind: EntityType,
    /// Its id.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Whether it was refused.
    #[serde(default)]
    pub refused: bool,
    /// What else there is to say.
    pub details: Value,
}

impl Notice {
    /// A notice of something that went well, which is information.
    ///
    /// # Panics
    /// If `action` or `kind` has not the shape of one: both are words of this program.
    pub fn new(tenant: &TenantId, action: &str, by: &str, (kind, id): (&str, String), at: Timestamp) -> Self {
        Self {
            tenant: tenant.clone(),
            action: Action::try_from(action.to_owned()).expect("an action's shape"),
            severity: Severity::Info,
            by: Some(by.to_owned()),
            kind: EntityType::try_from(kind.to_owned()).expect("an entity type's shape"),
            id,
            at,
            refused: false,
            details: Value::Null,
        }
    }

    /// The same with more to say, and as important as it is.
    #[must_use]
    pub fn with(self, severity: Severity, details: Value) -> Self {
        Self { severity, details, ..self }
    }

    /// Keeps it until it is recorded.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn keep(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let text = serde_json::to_string(self).expect("a notice is JSON");
        access::notify(connection, &text).await
    }

    fn event(self) -> OwnEvent {
        let actor =
            self.by.map(|id| Actor { email: id.contains('@').then(|| id.clone()), id, ..Actor::default() });
        OwnEvent {
            tenant: self.tenant,
            action: self.action,
            severity: self.severity,
            class: RetentionClass::Critical,
            outcome: if self.refused { Outcome::Failure } else { Outcome::Success },
            trust: if actor.is_some() { Trust::Verified } else { Trust::Anonymous },
            actor,
            entity: Some(Entity { kind: self.kind, id: Some(self.id), name: None }),
            details: (!self.details.is_null()).then_some(self.details),
            changes: None,
            rule: "ingest/access",
            occurred_at: self.at,
        }
    }
}

/// Records what waits.
///
/// # Errors
/// If it cannot be recorded now; it waits on.
pub(super) async fn record(store: &Store, recorder: &Recorder) -> Result<(), OwnError> {
    loop {
        let mut transaction = store.begin().await?;
        let texts = access::take_notices(&mut transaction, TOGETHER).await?;
        if texts.is_empty() {
            return Ok(());
        }
        let notices = texts.iter().map(|text| serde_json::from_str::<Notice>(text));
        let notices: Vec<Notice> =
            notices.collect::<Result<_, _>>().map_err(|_| StoreError::Damaged("access notice"))?;
        recorder.record(notices.into_iter().map(Notice::event).collect()).await?;
        crate::store::commit(transaction).await?;
    }
}
