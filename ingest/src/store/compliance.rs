//! What a window of time holds, by action: what reports on controls add up.

use chrono::{DateTime, Utc};

use super::{Doing as _, Store, StoreError};
use crate::receive::rollup::COVERAGE_RECORDED;

/// Events of one action.
#[derive(Debug, Clone)]
pub struct ActionCount {
    /// The action.
    pub action: String,
    /// How many.
    pub events: i64,
    /// How many of them failed.
    pub failures: i64,
    /// How many of them carry the flag that was asked for.
    pub flagged: i64,
    /// When the first was filed.
    pub first: DateTime<Utc>,
    /// When the last was filed.
    pub last: DateTime<Utc>,
}

/// Counts events by action in a window.
///
/// # Errors
/// If the database refuses.
pub async fn actions(
    store: &Store,
    tenant: &str,
    flag: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<ActionCount>, StoreError> {
    sqlx::query_as!(
        ActionCount,
        r#"select action, count(*) as "events!", count(*) filter (where outcome = 2) as "failures!",
               count(*) filter (where $5 = any(compliance)) as "flagged!",
               min(filed_at) as "first!", max(filed_at) as "last!"
           from events where tenant_id = $1 and filed_at >= $2 and filed_at < $3 and action <> $4
           group by action order by action"#,
        tenant,
        from,
        to,
        COVERAGE_RECORDED,
        flag
    )
    .fetch_all(store.pool())
    .await
    .doing("counting events by action")
}
