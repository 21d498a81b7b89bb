//! How much of the traffic rules cover, and the mutating routes that they do not.

use chrono::{DateTime, Utc};
use shared::event::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, Store, StoreError};

/// A route as requests were seen on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Whose.
    pub tenant: String,
    /// The mount's host.
    pub host: String,
    /// The method.
    pub method: String,
    /// The folded path.
    pub route: String,
}

/// How often, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sightings {
    /// Requests.
    pub count: i64,
    /// The first.
    pub first_seen: DateTime<Utc>,
    /// The last.
    pub last_seen: DateTime<Utc>,
}

impl Sightings {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            first_seen: self.first_seen.min(other.first_seen),
            last_seen: self.last_seen.max(other.last_seen),
        }
    }
}

/// Adds what was seen on routes, mapped or not. Rows are in the order of their keys, so that two writers cannot wait
/// for each other.
///
/// # Errors
/// If the database refuses.
pub async fn add(
    connection: &mut PgConnection,
    rows: &[((&RouteKey, bool), Sightings)],
) -> Result<(), StoreError> {
    let each = |read: fn(&RouteKey) -> &str| rows.iter().map(|((key, _), _)| read(key)).collect::<Vec<_>>();
    let mapped: Vec<_> = rows.iter().map(|((_, mapped), _)| *mapped).collect();
    let count: Vec<_> = rows.iter().map(|(_, seen)| seen.count).collect();
    let first: Vec<_> = rows.iter().map(|(_, seen)| seen.first_seen).collect();
    let last: Vec<_> = rows.iter().map(|(_, seen)| seen.last_seen).collect();
    sqlx::query!(
        "insert into coverage as c (tenant_id, host, method, route, mapped, count, first_seen, last_seen)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::bigint[],
                              $7::timestamptz[], $8::timestamptz[])
         on conflict (tenant_id, host, method, route, mapped) do update
         set count = c.count + excluded.count, first_seen = least(c.first_seen, excluded.first_seen),
             last_seen = greatest(c.last_seen, excluded.last_seen)",
        &each(|key| &key.tenant) as _,
        &each(|key| &key.host) as _,
        &each(|key| &key.method) as _,
        &each(|key| &key.route) as _,
        &mapped,
        &count,
        &first,
        &last
    )
    .execute(connection)
    .await
    .doing("adding to the coverage")?;
    Ok(())
}

/// Adds events of routes that no rule names, each route with the newest of them; rows as for [`add`].
///
/// # Errors
/// If the database refuses.
pub async fn add_unmapped(
    connection: &mut PgConnection,
    rows: &[(&RouteKey, Sightings, Uuid)],
) -> Result<(), StoreError> {
    let each = |read: fn(&RouteKey) -> &str| rows.iter().map(|(key, ..)| read(key)).collect::<Vec<_>>();
    let count: Vec<_> = rows.iter().map(|(_, seen, _)| seen.count).collect();
    let first: Vec<_> = rows.iter().map(|(_, seen, _)| seen.first_seen).collect();
    let last: Vec<_> = rows.iter().map(|(_, seen, _)| seen.last_seen).collect();
    let example: Vec<_> = rows.iter().map(|(.., example)| *example).collect();
    sqlx::query!(
        "insert into unmapped_routes as u (tenant_id, host, method, route, count, first_seen, last_seen, example)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[],
                              $7::timestamptz[], $8::uuid[])
         on conflict (tenant_id, host, method, route) do update
         set count = u.count + excluded.count, first_seen = least(u.first_seen, excluded.first_seen),
             last_seen = greatest(u.last_seen, excluded.last_seen),
             example = case when excluded.last_seen >= u.last_seen then excluded.example else u.example end",
        &each(|key| &key.tenant) as _,
        &each(|key| &key.host) as _,
        &each(|key| &key.method) as _,
        &each(|key| &key.route) as _,
        &count,
        &first,
        &last,
        &example
    )
    .execute(connection)
    .await
    .doing("adding to the unmapped routes")?;
    Ok(())
}

/// A route of the coverage.
#[derive(Debug, Clone)]
pub struct CoveredRoute {
    /// The mount's host.
    pub host: String,
    /// The method.
    pub method: String,
    /// The folded path.
    pub route: String,
    /// Whether a rule knew it when it was last seen.
    pub mapped: bool,
    /// Requests.
    pub count: i64,
    /// The first.
    pub first_seen: DateTime<Utc>,
    /// The last.
    pub last_seen: DateTime<Utc>,
}

/// Requests of a host.
#[derive(Debug, Clone)]
pub struct HostTotal {
    /// The host.
    pub host: String,
    /// On routes that rules knew.
    pub mapped: i64,
    /// On routes that they did not.
    pub unmapped: i64,
    /// Of these, requests that found no place in a Worker's own table.
    pub unlisted: i64,
    /// Distinct routes that were known when last seen.
    pub routes_mapped: i64,
    /// Distinct routes that were not.
    pub routes_unmapped: i64,
}

/// A tenant's routes, the busiest first.
///
/// # Errors
/// If the database refuses.
pub async fn routes(
    store: &Store,
    tenant: &TenantId,
    host: Option<&str>,
    mapped: Option<bool>,
    limit: i64,
) -> Result<Vec<CoveredRoute>, StoreError> {
    sqlx::query_as!(
        CoveredRoute,
        r#"select host, method, route, mapped as "mapped!", count as "count!", first_seen as "first_seen!",
                  last_seen as "last_seen!"
           from (select host, method, route, (array_agg(mapped order by last_seen desc, mapped desc))[1] as mapped,
                        sum(count)::bigint as count, min(first_seen) as first_seen, max(last_seen) as last_seen
                 from coverage
                 where tenant_id = $1 and ($2::text is null or host = $2) and route <> '*'
                 group by host, method, route) as r
           where $3::boolean is null or mapped = $3
           order by count desc, host, route, method limit $4"#,
        tenant.as_str(),
        host,
        mapped,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading the coverage")
}

/// A tenant's totals, by host.
///
/// # Errors
/// If the database refuses.
pub async fn totals(
    store: &Store,
    tenant: &TenantId,
    host: Option<&str>,
) -> Result<Vec<HostTotal>, StoreError> {
    sqlx::query_as!(
        HostTotal,
        r#"select host, coalesce(sum(on_mapped), 0)::bigint as "mapped!",
                  coalesce(sum(on_unmapped), 0)::bigint as "unmapped!",
                  coalesce(sum(on_unmapped) filter (where route = '*'), 0)::bigint as "unlisted!",
                  count(*) filter (where mapped and route <> '*') as "routes_mapped!",
                  count(*) filter (where not mapped and route <> '*') as "routes_unmapped!"
           from (select host, method, route, (array_agg(mapped order by last_seen desc, mapped desc))[1] as mapped,
                        coalesce(sum(count) filter (where mapped), 0) as on_mapped,
                        coalesce(sum(count) filter (where not mapped), 0) as on_unmapped
                 from coverage where tenant_id = $1 and ($2::text is null or host = $2)
                 group by host, method, route) as r
           group by host order by host"#,
        tenant.as_str(),
        host
    )
    .fetch_all(store.pool())
    .await
    .doing("adding the coverage up")
}

/// A mutating route that no rule knows.
#[derive(Debug, Clone)]
pub struct UnmappedRoute {
    /// The mount's host.
    pub host: String,
    /// The method.
    pub method: String,
    /// The folded path.
    pub route: String,
    /// Requests.
    pub count: i64,
    /// The first.
    pub first_seen: DateTime<Utc>,
    /// The last.
    pub last_seen: DateTime<Utc>,
    /// The newest event of it.
    pub example: Option<Uuid>,
    /// The newest version of the policy that would name it.
    pub accepted_in: Option<i64>,
}

/// A tenant's mutating routes that no rule knows, the busiest first: seen without a rule since they were last seen
/// with one, and since a rule for them was last activated.
///
/// # Errors
/// If the database refuses.
pub async fn unmapped(
    store: &Store,
    tenant: &TenantId,
    limit: i64,
) -> Result<Vec<UnmappedRoute>, StoreError> {
    // A mapped route is the rule's template, whose parameters have names of their own.
    // The edge's counts and the events tell of the same requests: the larger number is the better known one.
    sqlx::query_as!(
        UnmappedRoute,
        r#"with accepted as materialized (
               select a.host, a.method, a.route, max(a.active_since) as active_since,
                      max(a.version) filter (where p.state in ('proposed', 'active')) as version
               from accepted_rules a left join policies p on p.tenant_id = a.tenant_id and p.version = a.version
               where a.tenant_id = $1 group by a.host, a.method, a.route
           ), seen as (
               select host, method, route, max(count) as count, min(first_seen) as first_seen,
                      max(last_seen) as last_seen, (array_agg(example) filter (where example is not null))[1] as example
               from (select host, method, route, count, first_seen, last_seen, null::uuid as example
                     from coverage
                     where tenant_id = $1 and not mapped and method in ('POST', 'PUT', 'PATCH', 'DELETE')
                     union all
                     select host, method, route, count, first_seen, last_seen, example
                     from unmapped_routes where tenant_id = $1) as both_sources
               group by host, method, route
           )
           select s.host as "host!", s.method as "method!", s.route as "route!", s.count as "count!",
                  s.first_seen as "first_seen!", s.last_seen as "last_seen!", s.example,
                  a.version as accepted_in
           from seen s left join accepted a on (a.host, a.method, a.route) = (s.host, s.method, s.route)
           where not exists (select 1 from coverage m where m.tenant_id = $1 and m.mapped and m.last_seen > s.last_seen
                               and (m.host, m.method) = (s.host, s.method)
                               and regexp_replace(m.route, '\{[^{}]*\}', '{id}', 'g') = s.route)
             and (a.active_since is null or a.active_since < s.last_seen)
           order by s.count desc, s.host, s.route, s.method limit $2"#,
        tenant.as_str(),
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("reading the unmapped routes")
}
