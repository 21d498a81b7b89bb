//! Events about access: who signed in or failed to, what was granted, what was unmasked.
//!
//! A notice is kept in the transaction of what it tells of, see [`outbox`].

use std::borrow::Cow;

use serde_json::Value;
use shared::event::{
    Action, Actor, Entity, EntityType, Outcome, RetentionClass, Severity, TenantId, Timestamp, Trust,
};
use sqlx::PgConnection;

use crate::own::{OwnEvent, outbox};
use crate::store::StoreError;

/// Something about access.
#[derive(Debug, Clone)]
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
    pub async fn keep(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        outbox::keep(connection, &self.event()).await
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
            rule: Cow::Borrowed("ingest/access"),
            occurred_at: self.at,
        }
    }
}
