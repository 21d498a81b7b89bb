//! Rules that were made from unmapped routes, and how far past events were named by them.

use chrono::{DateTime, Utc};
use shared::event::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, StoreError};

/// A rule for a route.
#[derive(Debug, Clone)]
pub struct AcceptedRule {
    /// As events name it: `pack/rule`.
    pub rule: String,
    /// The act it names.
    pub action: String,
    /// The mount's host.
    pub host: String,
    /// The method.
    pub method: String,
    /// The folded path.
    pub route: String,
    /// Whether past events hold what the rule asks for, so that it can name them.
    pub relabels: bool,
}

/// Past events that are to be named by an active rule.
#[derive(Debug, Clone)]
pub struct Relabelling {
    /// Whose.
    pub tenant_id: String,
    /// The version that accepted the rule.
    pub version: i64,
    /// The rule.
    pub rule: String,
    /// The act it names.
    pub action: String,
    /// The mount's host.
    pub host: String,
    /// The method.
    pub method: String,
    /// The folded path.
    pub route: String,
    /// The version that made it active.
    pub active_version: i64,
    /// When.
    pub active_since: DateTime<Utc>,
    /// The last event that was looked at.
    pub at_filed: Option<DateTime<Utc>>,
    /// Its id.
    pub at_id: Option<Uuid>,
}

/// Adds a rule that a version holds.
///
/// # Errors
/// If the database refuses.
pub async fn insert(
    connection: &mut PgConnection,
    tenant: &TenantId,
    version: i64,
    rule: &AcceptedRule,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into accepted_rules (tenant_id, version, rule, action, host, method, route, done)
         values ($1, $2, $3, $4, $5, $6, $7, not $8::boolean) on conflict do nothing",
        tenant.as_str(),
        version,
        rule.rule,
        rule.action,
        rule.host,
        rule.method,
        rule.route,
        rule.relabels
    )
    .execute(connection)
    .await
    .doing("adding an accepted rule")?;
    Ok(())
}

/// Starts the relabelling of rules that were accepted up to this version and are in it.
///
/// # Errors
/// If the database refuses.
pub async fn activate(
    connection: &mut PgConnection,
    tenant: &TenantId,
    version: i64,
    rules: &[(String, String)],
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ids: Vec<_> = rules.iter().map(|(rule, _)| rule.as_str()).collect();
    let actions: Vec<_> = rules.iter().map(|(_, action)| action.as_str()).collect();
    sqlx::query!(
        "update accepted_rules a set active_version = $2, active_since = $5
         from unnest($3::text[], $4::text[]) as r (rule, action)
         where a.tenant_id = $1 and a.version <= $2 and a.active_since is null
           and a.rule = r.rule and a.action = r.action",
        tenant.as_str(),
        version,
        &ids as _,
        &actions as _,
        at
    )
    .execute(connection)
    .await
    .doing("activating accepted rules")?;
    Ok(())
}

/// A relabelling that is not done and that nobody else is at, locked until the transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn open(
    connection: &mut PgConnection,
    after: Option<&Relabelling>,
) -> Result<Option<Relabelling>, StoreError> {
    let key =
        after.map(|last| (last.active_since, last.tenant_id.as_str(), last.rule.as_str(), last.version));
    sqlx::query_as!(
        Relabelling,
        r#"select tenant_id, version, rule, action, host, method, route, active_version as "active_version!",
                  active_since as "active_since!", at_filed, at_id
           from accepted_rules
           where active_since is not null and active_version is not null and not done
             and ($1::timestamptz is null or (active_since, tenant_id, rule, version) > ($1, $2, $3, $4))
           order by active_since, tenant_id, rule, version limit 1 for update skip locked"#,
        key.map(|key| key.0),
        key.map(|key| key.1),
        key.map(|key| key.2),
        key.map(|key| key.3)
    )
    .fetch_optional(connection)
    .await
    .doing("looking for rules to relabel by")
}

/// An event that no rule named, and whether it was relabelled already.
#[derive(Debug, Clone)]
pub struct UnmappedEvent {
    /// Its id.
    pub id: Uuid,
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// Whether an annotation of this activation names it.
    pub relabelled: bool,
}

/// The next unmapped events of a relabelling's route, oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn next_events(
    connection: &mut PgConnection,
    job: &Relabelling,
    oldest: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<UnmappedEvent>, StoreError> {
    let from = job.at_filed.unwrap_or(oldest);
    let id = job.at_id.unwrap_or(Uuid::nil());
    // An edge event has its folded route as its entity's id, so this is a scan of one range of an index.
    sqlx::query_as!(
        UnmappedEvent,
        r#"select e.id, e.filed_at,
                  exists (select 1 from events a
                          where a.tenant_id = e.tenant_id and a.entity_type = 'event' and a.entity_id = e.id::text
                            and a.filed_at >= $8 and a.action = 'EVENT_RELABELED' and a.host = 'ingest'
                            and a.rule = 'ingest/relabel') as "relabelled!"
           from events e
           where e.tenant_id = $1 and e.entity_type = 'route' and e.entity_id = $2 and e.action = 'UNMAPPED_MUTATION'
             and e.host = $3 and e.method = $4 and e.route = $2
             and e.filed_at >= $5 and (e.filed_at, e.id) > ($5, $6)
           order by e.filed_at, e.id limit $7"#,
        job.tenant_id,
        job.route,
        job.host,
        job.method,
        from,
        id,
        limit,
        job.active_since
    )
    .fetch_all(connection)
    .await
    .doing("reading unmapped events")
}

/// Remembers how far a relabelling came.
///
/// # Errors
/// If the database refuses.
pub async fn advance(
    connection: &mut PgConnection,
    job: &Relabelling,
    last: Option<&UnmappedEvent>,
    done: bool,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update accepted_rules set at_filed = coalesce($7, at_filed), at_id = coalesce($8, at_id), done = $9
         where tenant_id = $1 and version = $2 and rule = $3 and host = $4 and method = $5 and route = $6",
        job.tenant_id,
        job.version,
        job.rule,
        job.host,
        job.method,
        job.route,
        last.map(|last| last.filed_at),
        last.map(|last| last.id),
        done
    )
    .execute(connection)
    .await
    .doing("advancing a relabelling")?;
    Ok(())
}
