//! Alerts: what rules of detection found, until somebody has looked at it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// An alert.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Whose.
    pub tenant_id: String,
    /// Its id.
    pub alert_id: Uuid,
    /// The rule that fired.
    pub rule: String,
    /// What the rule says of it.
    pub title: String,
    /// The byte of its severity.
    pub severity: i16,
    /// What the events have in common, in the order of the rule: names of likenesses.
    pub alike_in: Vec<String>,
    /// Their values; none once somebody whom they name was erased.
    pub alike: Option<Vec<String>>,
    /// How many events.
    pub events: i64,
    /// The oldest of them.
    pub first_at: DateTime<Utc>,
    /// The newest of them.
    pub last_at: DateTime<Utc>,
    /// Some of them.
    pub evidence: Vec<Uuid>,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// `open` or `closed`.
    pub state: String,
    /// Who closed it.
    pub closed_by: Option<String>,
    /// When.
    pub closed_at: Option<DateTime<Utc>>,
    /// What they said.
    pub note: Option<String>,
}

/// Raises an alert.
///
/// # Errors
/// If the database refuses.
pub async fn raise(connection: &mut PgConnection, alert: &Alert) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into alerts (tenant_id, alert_id, rule, title, severity, alike_in, alike, events, first_at, last_at,
                             evidence, raised_at, state)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'open')",
        alert.tenant_id,
        alert.alert_id,
        alert.rule,
        alert.title,
        alert.severity,
        &alert.alike_in,
        alert.alike.as_deref(),
        alert.events,
        alert.first_at,
        alert.last_at,
        &alert.evidence,
        alert.raised_at
    )
    .execute(connection)
    .await
    .doing("raising an alert")?;
    Ok(())
}

/// The newest event of a rule's alerts about what is alike in these values.
///
/// # Errors
/// If the database refuses.
pub async fn newest(
    connection: &mut PgConnection,
    tenant: &str,
    rule: &str,
    alike: &[String],
) -> Result<Option<DateTime<Utc>>, StoreError> {
    sqlx::query_scalar!(
        "select max(last_at) from alerts where tenant_id = $1 and rule = $2 and alike = $3",
        tenant,
        rule,
        alike
    )
    .fetch_one(connection)
    .await
    .doing("looking for an earlier alert")
}

/// A tenant's alerts, newest first; all of them, one, or those of a state.
///
/// # Errors
/// If the database refuses.
pub async fn list(
    store: &Store,
    tenant: &str,
    one: Option<Uuid>,
    state: Option<&str>,
    limit: i64,
) -> Result<Vec<Alert>, StoreError> {
    sqlx::query_as!(
        Alert,
        "select tenant_id, alert_id, rule, title, severity, alike_in, alike, events, first_at, last_at, evidence,
                raised_at, state, closed_by, closed_at, note
         from alerts
         where tenant_id = $1 and ($2::uuid is null or alert_id = $2) and ($3::text is null or state = $3)
         order by raised_at desc, alert_id limit $4",
        tenant,
        one,
        state,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing alerts")
}

/// Closes an alert. False if there is none of this id that is open.
///
/// # Errors
/// If the database refuses.
pub async fn close(
    connection: &mut PgConnection,
    tenant: &str,
    id: Uuid,
    (by, at, note): (&str, DateTime<Utc>, Option<&str>),
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update alerts set state = 'closed', closed_by = $3, closed_at = $4, note = $5
         where tenant_id = $1 and alert_id = $2 and state = 'open'",
        tenant,
        id,
        by,
        at,
        note
    )
    .execute(connection)
    .await
    .doing("closing an alert")?;
    Ok(done.rows_affected() == 1)
}
