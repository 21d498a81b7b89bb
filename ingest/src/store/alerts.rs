//! Alerts: what rules of detection found, until somebody has looked at it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use shared::event::Severity;
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

impl Alert {
    /// The texts that may name somebody.
    pub fn texts(&self) -> Vec<Option<&str>> {
        let alike = self.alike.iter().flatten().map(String::as_str);
        alike.chain(self.note.as_deref()).map(Some).collect()
    }
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

/// What a rule said before: the newest events of its alerts.
#[derive(Debug, Default)]
pub struct Said(HashMap<(String, Vec<String>), Vec<DateTime<Utc>>>);

impl Said {
    /// What was said of a tenant's events that are alike in these values.
    pub fn of(&self, tenant: &str, alike: Vec<String>) -> Vec<DateTime<Utc>> {
        self.0.get(&(tenant.to_owned(), alike)).cloned().unwrap_or_default()
    }
}

/// What a rule said of the time between two times, both included, to some tenants.
///
/// # Errors
/// If the database refuses.
pub async fn said(
    connection: &mut PgConnection,
    tenants: &[String],
    rule: &str,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Said, StoreError> {
    let rows = sqlx::query!(
        r#"select tenant_id, alike as "alike!", last_at from alerts
           where tenant_id = any($1) and rule = $2 and last_at between $3 and $4 and alike is not null"#,
        tenants,
        rule,
        from,
        to
    )
    .fetch_all(connection)
    .await
    .doing("looking for earlier alerts")?;
    let mut said = Said::default();
    for row in rows {
        said.0.entry((row.tenant_id, row.alike)).or_default().push(row.last_at);
    }
    Ok(said)
}

/// Lets a tenant's alerts go whose newest event is older than events of their class are kept: closed ones go, open ones lose
/// whom they name.
///
/// # Errors
/// If the database refuses.
pub async fn expire(
    connection: &mut PgConnection,
    tenant: &str,
    before: (DateTime<Utc>, DateTime<Utc>),
) -> Result<u64, StoreError> {
    let (standard, critical) = before;
    let severe = i16::from(Severity::Critical.byte());
    let gone = sqlx::query!(
        "delete from alerts where tenant_id = $1 and state = 'closed'
             and last_at < case when severity = $4 then $3::timestamptz else $2::timestamptz end",
        tenant,
        standard,
        critical,
        severe
    )
    .execute(&mut *connection)
    .await
    .doing("letting alerts go")?;
    let cleared = sqlx::query!(
        "update alerts set alike = null, note = null where tenant_id = $1 and alike is not null
             and last_at < case when severity = $4 then $3::timestamptz else $2::timestamptz end",
        tenant,
        standard,
        critical,
        severe
    )
    .execute(connection)
    .await
    .doing("clearing alerts")?;
    Ok(gone.rows_affected() + cleared.rows_affected())
}

/// Those that name somebody, by whoever decides about their texts; oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn of_person(
    connection: &mut PgConnection,
    tenant: &str,
    theirs: impl Fn(&[Option<&str>]) -> bool,
) -> Result<Vec<Alert>, StoreError> {
    let doing = "reading alerts";
    let mut found = Vec::new();
    let mut rows = sqlx::query_as!(
        Alert,
        "select tenant_id, alert_id, rule, title, severity, alike_in, alike, events, first_at, last_at, evidence,
                raised_at, state, closed_by, closed_at, note
         from alerts where tenant_id = $1 order by raised_at, alert_id",
        tenant
    )
    .fetch(connection);
    while let Some(alert) = rows.try_next().await.doing(doing)? {
        if theirs(&alert.texts()) {
            found.push(alert);
        }
    }
    Ok(found)
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
