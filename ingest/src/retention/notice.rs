//! Events about periods and holds: kept with the change they tell of, recorded right after, and again after a crash in
//! between.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::event::{
    Action, Actor, Entity, EntityType, Outcome, RetentionClass, Severity, TenantId, Timestamp, Trust,
};

use crate::own::{OwnError, OwnEvent, Recorder};
use crate::store::{Store, retention};

/// Notices of one transaction.
const TOGETHER: i64 = 50;

/// A change, as it waits for its event.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Notice {
    pub(super) tenant: TenantId,
    pub(super) action: String,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) by: String,
    pub(super) at_ms: u64,
    pub(super) details: Value,
}

impl Notice {
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a notice is JSON")
    }

    fn event(text: &str) -> Option<OwnEvent> {
        let notice: Self = serde_json::from_str(text).ok()?;
        Some(OwnEvent {
            tenant: notice.tenant,
            action: Action::try_from(notice.action).ok()?,
            severity: Severity::Critical,
            class: RetentionClass::Permanent,
            outcome: Outcome::Success,
            trust: Trust::Verified,
            actor: Some(Actor { id: notice.by, ..Actor::default() }),
            entity: Some(Entity {
                kind: EntityType::try_from(notice.kind).ok()?,
                id: Some(notice.id),
                name: None,
            }),
            details: Some(notice.details),
            changes: None,
            rule: "ingest/retention",
            occurred_at: Timestamp::try_from(notice.at_ms).ok()?,
        })
    }
}

/// Records what waits.
pub(super) async fn record(store: &Store, recorder: &Recorder) -> Result<(), OwnError> {
    loop {
        let mut transaction = store.begin().await?;
        let texts = retention::take_notices(&mut transaction, TOGETHER).await?;
        if texts.is_empty() {
            return Ok(());
        }
        let events = texts.iter().filter_map(|text| Notice::event(text)).collect();
        recorder.record(events).await?;
        crate::store::commit(transaction).await?;
    }
}
