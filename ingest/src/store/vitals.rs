//! How the whole is, in a few numbers: for gauges and for `edgetrail doctor`.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Doing as _, Store, StoreError};

/// Streams that were silent for longer are left out of the sums, which so stay small.
const HEARD_WITHIN: TimeDelta = TimeDelta::hours(24);
/// Tenants with numbers of their own, those heard of last.
pub const TENANTS: i64 = 100;
/// Mounts with numbers of their own, the busiest.
const MOUNTS: i64 = 400;
/// Rows that are counted before counting stops.
const ENOUGH: i64 = 1_000_000;

/// What the edges of a tenant sent, within [`HEARD_WITHIN`].
#[derive(Debug, Clone)]
pub struct Edges {
    /// Whose.
    pub tenant: String,
    /// Events that arrived.
    pub events: i64,
    /// Events that they say were dropped.
    pub dropped: i64,
    /// Streams that go on.
    pub active: i64,
    /// Streams that fell silent.
    pub ended: i64,
    /// Batches in recorded gaps that are open, of any time.
    pub missing: i64,
    /// Seconds since the newest batch arrived.
    pub silence: f64,
}

/// What the Worker counted on a mount.
#[derive(Debug, Clone)]
pub struct MountTraffic {
    /// Whose.
    pub tenant: String,
    /// The host.
    pub host: String,
    /// Requests on routes that a rule names.
    pub named: i64,
    /// Requests on the others.
    pub unnamed: i64,
    /// The newest of them.
    pub last_seen: DateTime<Utc>,
}

/// When a tenant's logs were last verified.
#[derive(Debug, Clone)]
pub struct Verification {
    /// Whose.
    pub tenant: String,
    /// By which schedule.
    pub kind: String,
    /// Seconds since then; of the log that waits longest.
    pub age: f64,
    /// The first thing that was found wrong then.
    pub finding: Option<String>,
}

/// A task that follows the stored events.
#[derive(Debug, Clone)]
pub struct Follower {
    /// Its name.
    pub task: String,
    /// Seconds since the oldest batch arrived that it has not followed.
    pub lag: f64,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Vitals {
    /// Edges by tenant.
    pub edges: Vec<Edges>,
    /// Mounts.
    pub mounts: Vec<MountTraffic>,
    /// Verifications by tenant and schedule.
    pub verifications: Vec<Verification>,
    /// Tasks that follow the events.
    pub followers: Vec<Follower>,
    /// Sums that wait to be folded.
    pub tally_new: i64,
    /// Spans that must be counted again.
    pub tally_stale: i64,
    /// Tenants beyond [`TENANTS`].
    pub left_out: i64,
}

/// Reads all of it.
///
/// # Errors
/// If the database refuses.
pub async fn read(store: &Store, now: DateTime<Utc>) -> Result<Vitals, StoreError> {
    let edges = edges(store, now).await?;
    let mounts = mounts(store).await?;
    let verifications = verifications(store, now).await?;
    let followers = followers(store, now).await?;
    let rest = sqlx::query!(
        r#"select (select count(*) from (select 1 from tally_deltas limit $1) as d) as "new!",
                  (select count(*) from (select 1 from tally_stale limit $1) as s) as "stale!",
                  (select greatest(count(*) - $2, 0) from (select distinct tenant_id from logs) as t) as "left_out!""#,
        ENOUGH,
        TENANTS
    )
    .fetch_one(store.pool())
    .await
    .doing("reading what waits")?;
    Ok(Vitals {
        edges,
        mounts,
        verifications,
        followers,
        tally_new: rest.new,
        tally_stale: rest.stale,
        left_out: rest.left_out,
    })
}

/// The edges' own numbers, the tenant heard of last first. Streams of the backend itself are none of an edge's: their notes carry
/// a key whose name ends in `/own`.
///
/// # Errors
/// If the database refuses.
pub async fn edges(store: &Store, now: DateTime<Utc>) -> Result<Vec<Edges>, StoreError> {
    sqlx::query_as!(
        Edges,
        r#"select s.tenant_id as "tenant!", coalesce(sum(s.events), 0)::bigint as "events!",
                  least(coalesce(sum(s.dropped), 0), 9223372036854775807)::bigint as "dropped!",
                  count(*) filter (where s.ended_at is null) as "active!",
                  count(*) filter (where s.ended_at is not null) as "ended!",
                  (select coalesce(sum(g.last_seq - g.first_seq + 1), 0)::bigint from stream_gaps g
                   where g.tenant_id = s.tenant_id and g.closed_at is null) as "missing!",
                  greatest(extract(epoch from $1::timestamptz - max(s.last_at)), 0)::float8 as "silence!"
           from streams s
           join batches b on (b.tenant_id, b.stream, b.seq) = (s.tenant_id, s.stream, s.first_seq)
           where s.last_at > $2 and b.header !~ E'\n\u2014 [^ \n]*/own [^\n]*\n'
           group by s.tenant_id order by max(s.last_at) desc limit $3"#,
        now,
        now - HEARD_WITHIN,
        TENANTS
    )
    .fetch_all(store.pool())
    .await
    .doing("reading what the edges sent")
}

/// The mounts that the Worker counted requests on, the busiest first.
///
/// # Errors
/// If the database refuses.
pub async fn mounts(store: &Store) -> Result<Vec<MountTraffic>, StoreError> {
    sqlx::query_as!(
        MountTraffic,
        r#"select tenant_id as "tenant!", host as "host!",
                  least(coalesce(sum(count) filter (where mapped), 0), 9223372036854775807)::bigint as "named!",
                  least(coalesce(sum(count) filter (where not mapped), 0), 9223372036854775807)::bigint as "unnamed!",
                  max(last_seen) as "last_seen!"
           from coverage group by tenant_id, host order by sum(count) desc limit $1"#,
        MOUNTS
    )
    .fetch_all(store.pool())
    .await
    .doing("reading the mounts' traffic")
}

/// When each tenant's newest logs were last verified, by schedule.
///
/// # Errors
/// If the database refuses.
pub async fn verifications(store: &Store, now: DateTime<Utc>) -> Result<Vec<Verification>, StoreError> {
    sqlx::query_as!(
        Verification,
        r#"select l.tenant_id as "tenant!", k.kind as "kind!",
                  greatest(extract(epoch from $1::timestamptz - r.finished_at), 0)::float8 as "age!", r.finding
           from (select distinct on (tenant_id) tenant_id, log_id from logs order by tenant_id, year desc, part desc limit $2) as l
           cross join unnest(array['head', 'openings', 'heartbeat', 'tree', 'everything']) as k (kind)
           cross join lateral (
               select finished_at, finding from integrity_results i where i.log_id = l.log_id and i.kind = k.kind
               order by finished_at desc, result_id desc limit 1) as r
           order by 1, 2"#,
        now,
        TENANTS
    )
    .fetch_all(store.pool())
    .await
    .doing("reading when logs were verified")
}

/// How far behind the tasks are that follow the stored events.
///
/// # Errors
/// If the database refuses.
pub async fn followers(store: &Store, now: DateTime<Utc>) -> Result<Vec<Follower>, StoreError> {
    let doing = "reading how far the followers are";
    let cursors = sqlx::query!("select name, batch_id from correlate_cursors order by name")
        .fetch_all(store.pool())
        .await
        .doing(doing)?;
    let mut followers = Vec::with_capacity(cursors.len());
    // A statement for each: in a cluster cursors and batches are on different nodes.
    for cursor in cursors {
        let next = sqlx::query_scalar!(
            "select received_at from batches where batch_id > $1 order by batch_id limit 1",
            cursor.batch_id
        )
        .fetch_optional(store.pool())
        .await
        .doing(doing)?;
        let lag = next.map_or(0.0, |at| (now - at).as_seconds_f64().max(0.0));
        followers.push(Follower { task: cursor.name, lag });
    }
    Ok(followers)
}

/// What a deployment's database says of itself.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// `server_version_num`, such as 170002.
    pub version: i32,
    /// Its clock.
    pub now: DateTime<Utc>,
    /// Whether it is a copy that takes no writes.
    pub is_standby: bool,
}

/// Asks the database about itself.
///
/// # Errors
/// If it refuses.
pub async fn server(store: &Store) -> Result<ServerFacts, StoreError> {
    sqlx::query_as!(
        ServerFacts,
        r#"select current_setting('server_version_num')::int as "version!", clock_timestamp() as "now!",
                  pg_is_in_recovery() as "is_standby!""#
    )
    .fetch_one(store.pool())
    .await
    .doing("asking the database about itself")
}

/// How often a route was requested, as the Worker counted it.
///
/// # Errors
/// If the database refuses.
pub async fn requests_of_route(store: &Store, host: &str, route: &str) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(count), 0)::bigint as "count!" from coverage where host = $1 and route = $2"#,
        host,
        route
    )
    .fetch_one(store.pool())
    .await
    .doing("reading how often a route was requested")
}
