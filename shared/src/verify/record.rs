//! Records: events of the backend's own stream that say what was done to logs and their events.

use crate::event::{Event, RetentionClass};
use crate::leaf::StoredOpening;

/// The action of a record of erasure.
pub const ERASURE: &str = "ERASURE";
/// The action of a record of a drop.
pub const RETENTION_DROP: &str = "RETENTION_DROP";
/// The action of a record that a log goes on under a new origin.
pub const LOG_REOPENED: &str = "LOG_REOPENED";

/// Whether an action is that of a record.
pub(super) fn is_record(action: &[u8]) -> bool {
    [ERASURE, RETENTION_DROP, LOG_REOPENED].iter().any(|record| record.as_bytes() == action)
}

/// The event of an opening, if it is one of ours: anybody who may sign batches can name an action.
pub(super) fn own(opening: &[u8]) -> Option<Event> {
    let stored = StoredOpening::decode(opening).ok()?;
    let event = Event::from_fields(&stored.fields()).ok()?;
    let ours = event.class == RetentionClass::Permanent
        && event.request.host == "ingest"
        && event.request.rule.starts_with("ingest/");
    ours.then_some(event)
}
