//! Streams of producers: what of them arrived, their recorded holes, and what they say was dropped.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Doing as _, Store, StoreError};

/// What new batches add to a stream.
#[derive(Debug, Clone)]
pub struct Arrival<'a> {
    /// Whose events.
    pub tenant: &'a str,
    /// The stream.
    pub stream: &'a [u8],
    /// The lowest of the new places.
    pub first_seq: i64,
    /// The highest.
    pub high_seq: i64,
    /// New batches.
    pub batches: i64,
    /// Events in them.
    pub events: i64,
    /// Events they say were dropped.
    pub dropped: i64,
    /// When the first of them arrived.
    pub first_at: DateTime<Utc>,
    /// When the last did.
    pub last_at: DateTime<Utc>,
}

/// A range of places in a stream, both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first place.
    pub first: i64,
    /// The last.
    pub last: i64,
}

/// A hole in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Where.
    pub range: Range,
    /// When the first batch above it arrived.
    pub noticed_at: DateTime<Utc>,
}

/// A recorded hole.
#[derive(Debug, Clone)]
pub struct Gap {
    /// The stream.
    pub stream: Vec<u8>,
    /// The hole.
    pub hole: Hole,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// When it was found filled.
    pub closed_at: Option<DateTime<Utc>>,
}

/// A stream by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamKey {
    /// Whose events.
    pub tenant: String,
    /// The stream.
    pub stream: Vec<u8>,
}

/// Batches of a stream that say events were dropped before them.
#[derive(Debug, Clone)]
pub struct Drop {
    /// The stream.
    pub key: StreamKey,
    /// The place of the batch.
    pub seq: i64,
    /// How many.
    pub count: i64,
}

/// A stream that fell silent.
#[derive(Debug, Clone)]
pub struct Silent {
    /// The stream.
    pub key: StreamKey,
    /// Its highest place.
    pub high_seq: i64,
    /// The signed note of its first batch.
    pub header: String,
}

/// A stream as readers see it.
#[derive(Debug, Clone)]
pub struct StreamRow {
    /// The stream.
    pub stream: Vec<u8>,
    /// Its highest place.
    pub high_seq: i64,
    /// Batches that arrived.
    pub batches: i64,
    /// Events in them.
    pub events: i64,
    /// Events they say were dropped.
    pub dropped: i64,
    /// When the first batch arrived.
    pub first_at: DateTime<Utc>,
    /// When the last did.
    pub last_at: DateTime<Utc>,
    /// When it was found silent.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Adds what arrived. The order of `rows` is the order of locking: callers sort it by tenant and stream, one row each.
///
/// # Errors
/// If the database refuses.
pub async fn add(connection: &mut PgConnection, rows: &[Arrival<'_>]) -> Result<(), StoreError> {
    fn each<'a, T>(rows: &[Arrival<'a>], read: impl Fn(&Arrival<'a>) -> T) -> Vec<T> {
        rows.iter().map(read).collect()
    }
    // Only the next places, without a hole among them, leave a stream settled. Sums never overflow: what a producer
    // claims must not cost its batch.
    sqlx::query!(
        "insert into streams as s (tenant_id, stream, first_seq, high_seq, batches, events, dropped, first_at, last_at,
                                   unsettled)
         select u.*, u.first_seq <> 0 or u.high_seq - u.first_seq <> u.batches - 1
         from unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::timestamptz[], $9::timestamptz[])
             as u (tenant_id, stream, first_seq, high_seq, batches, events, dropped, first_at, last_at)
         on conflict (tenant_id, stream) do update set
             first_seq = least(s.first_seq, excluded.first_seq),
             high_seq = greatest(s.high_seq, excluded.high_seq),
             batches = s.batches + excluded.batches,
             events = s.events + excluded.events,
             dropped = least(s.dropped::numeric + excluded.dropped, 9223372036854775807)::bigint,
             first_at = least(s.first_at, excluded.first_at),
             last_at = greatest(s.last_at, excluded.last_at),
             ended_at = null,
             unsettled = s.unsettled or excluded.first_seq - 1 <> s.high_seq
                 or excluded.high_seq - excluded.first_seq <> excluded.batches - 1",
        &each(rows, |row| row.tenant) as _,
        &each(rows, |row| row.stream) as _,
        &each(rows, |row| row.first_seq),
        &each(rows, |row| row.high_seq),
        &each(rows, |row| row.batches),
        &each(rows, |row| row.events),
        &each(rows, |row| row.dropped),
        &each(rows, |row| row.first_at),
        &each(rows, |row| row.last_at)
    )
    .execute(connection)
    .await
    .doing("counting streams")?;
    Ok(())
}

/// Queues what batches say was dropped: (tenant, stream, place, how many).
///
/// # Errors
/// If the database refuses.
pub async fn queue_drops(
    connection: &mut PgConnection,
    rows: &[(&str, &[u8], i64, i64)],
) -> Result<(), StoreError> {
    let tenant: Vec<_> = rows.iter().map(|row| row.0).collect();
    let stream: Vec<_> = rows.iter().map(|row| row.1).collect();
    let seq: Vec<_> = rows.iter().map(|row| row.2).collect();
    let count: Vec<_> = rows.iter().map(|row| row.3).collect();
    sqlx::query!(
        "insert into stream_drops (tenant_id, stream, seq, count)
         select * from unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[])",
        &tenant as _,
        &stream as _,
        &seq,
        &count
    )
    .execute(connection)
    .await
    .doing("queueing drops")?;
    Ok(())
}

/// Takes queued drops.
///
/// # Errors
/// If the database refuses.
pub async fn take_drops(connection: &mut PgConnection, limit: i64) -> Result<Vec<Drop>, StoreError> {
    let rows = sqlx::query!(
        "delete from stream_drops where (tenant_id, stream, seq) in
             (select tenant_id, stream, seq from stream_drops order by tenant_id, stream, seq limit $1)
         returning tenant_id, stream, seq, count",
        limit
    )
    .fetch_all(connection)
    .await
    .doing("taking drops")?;
    let drop = |key, seq, count| Drop { key, seq, count };
    Ok(rows
        .into_iter()
        .map(|row| drop(StreamKey { tenant: row.tenant_id, stream: row.stream }, row.seq, row.count))
        .collect())
}

/// Streams that may have a hole, after `after`, in the order of their names.
///
/// # Errors
/// If the database refuses.
pub async fn unsettled(
    connection: &mut PgConnection,
    after: Option<&StreamKey>,
    limit: i64,
) -> Result<Vec<StreamKey>, StoreError> {
    sqlx::query_as!(
        StreamKey,
        r#"select tenant_id as tenant, stream from streams
           where unsettled and (tenant_id, stream) > ($1, $2) order by tenant_id, stream limit $3"#,
        after.map_or("", |key| key.tenant.as_str()),
        after.map_or(&[][..], |key| key.stream.as_slice()),
        limit
    )
    .fetch_all(connection)
    .await
    .doing("looking for holes")
}

/// The batches counted in a stream, and its holes, in one look.
///
/// # Errors
/// If the database refuses.
pub async fn holes(connection: &mut PgConnection, key: &StreamKey) -> Result<(i64, Vec<Hole>), StoreError> {
    let rows = sqlx::query!(
        r#"select s.batches, h.before as "before?", h.seq as "seq?", h.noticed_at as "noticed_at?"
           from streams s left join lateral (
               select b.before, b.seq, b.noticed_at from (
                   select seq, lag(seq, 1, -1::bigint) over (order by seq) as before,
                          min(received_at) over (order by seq desc) as noticed_at
                   from batches where tenant_id = $1 and stream = $2
               ) b where b.seq > b.before + 1
           ) h on true
           where s.tenant_id = $1 and s.stream = $2 order by h.seq"#,
        key.tenant,
        key.stream
    )
    .fetch_all(connection)
    .await
    .doing("looking for holes")?;
    let batches = rows.first().map_or(0, |row| row.batches);
    let holes = rows.iter().filter_map(|row| {
        let range = Range { first: row.before? + 1, last: row.seq? - 1 };
        Some(Hole { range, noticed_at: row.noticed_at? })
    });
    Ok((batches, holes.collect()))
}

/// A stream's recorded holes that are not filled, in order.
///
/// # Errors
/// If the database refuses.
pub async fn open_gaps(connection: &mut PgConnection, key: &StreamKey) -> Result<Vec<Gap>, StoreError> {
    let rows = sqlx::query!(
        "select first_seq, last_seq, noticed_at, recorded_at from stream_gaps
         where tenant_id = $1 and stream = $2 and closed_at is null order by first_seq",
        key.tenant,
        key.stream
    )
    .fetch_all(connection)
    .await
    .doing("reading gaps")?;
    Ok(rows
        .into_iter()
        .map(|row| Gap {
            stream: key.stream.clone(),
            hole: Hole {
                range: Range { first: row.first_seq, last: row.last_seq },
                noticed_at: row.noticed_at,
            },
            recorded_at: row.recorded_at,
            closed_at: None,
        })
        .collect())
}

/// Puts gaps in the place of a stream's open ones.
///
/// # Errors
/// If the database refuses.
pub async fn replace_open_gaps(
    connection: &mut PgConnection,
    key: &StreamKey,
    gaps: &[Gap],
) -> Result<(), StoreError> {
    let doing = "recording gaps";
    sqlx::query!(
        "delete from stream_gaps where tenant_id = $1 and stream = $2 and closed_at is null",
        key.tenant,
        key.stream
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    let first: Vec<_> = gaps.iter().map(|gap| gap.hole.range.first).collect();
    let last: Vec<_> = gaps.iter().map(|gap| gap.hole.range.last).collect();
    let noticed: Vec<_> = gaps.iter().map(|gap| gap.hole.noticed_at).collect();
    let recorded: Vec<_> = gaps.iter().map(|gap| gap.recorded_at).collect();
    let closed: Vec<_> = gaps.iter().map(|gap| gap.closed_at).collect();
    sqlx::query!(
        "insert into stream_gaps (tenant_id, stream, first_seq, last_seq, noticed_at, recorded_at, closed_at)
         select $1, $2, * from unnest($3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[],
                                      $7::timestamptz[])",
        key.tenant,
        key.stream,
        &first,
        &last,
        &noticed,
        &recorded,
        &closed as _
    )
    .execute(connection)
    .await
    .doing(doing)?;
    Ok(())
}

/// Marks a stream as settled, unless more of it arrived than was counted.
///
/// # Errors
/// If the database refuses.
pub async fn settle(connection: &mut PgConnection, key: &StreamKey, batches: i64) -> Result<(), StoreError> {
    sqlx::query!(
        "update streams set unsettled = false where tenant_id = $1 and stream = $2 and batches = $3",
        key.tenant,
        key.stream,
        batches
    )
    .execute(connection)
    .await
    .doing("settling a stream")?;
    Ok(())
}

/// Active streams of which nothing arrived since `since`.
///
/// # Errors
/// If the database refuses.
pub async fn silent(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Silent>, StoreError> {
    let rows = sqlx::query!(
        "select s.tenant_id, s.stream, s.high_seq, b.header from streams s
         join batches b on b.tenant_id = s.tenant_id and b.stream = s.stream and b.seq = s.first_seq
         where s.ended_at is null and s.last_at <= $1 order by s.last_at limit $2",
        since,
        limit
    )
    .fetch_all(connection)
    .await
    .doing("looking for silent streams")?;
    Ok(rows
        .into_iter()
        .map(|row| Silent {
            key: StreamKey { tenant: row.tenant_id, stream: row.stream },
            high_seq: row.high_seq,
            header: row.header,
        })
        .collect())
}

/// Marks streams as ended, those of which something arrived meanwhile excepted.
///
/// # Errors
/// If the database refuses.
pub async fn end(
    connection: &mut PgConnection,
    silent: &[Silent],
    since: DateTime<Utc>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    // Row locks are taken in the order in which writers take theirs, and of one tenant at a time: a cluster locks on one node.
    let mut by_tenant: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for stream in silent {
        by_tenant.entry(&stream.key.tenant).or_default().push(&stream.key.stream);
    }
    for (tenant, streams) in by_tenant {
        sqlx::query!(
            "with silent as (
                 select tenant_id, stream from streams
                 where tenant_id = $1 and stream = any($2::bytea[]) and last_at <= $3 order by stream for update
             )
             update streams s set ended_at = $4 from silent
             where s.tenant_id = $1 and s.tenant_id = silent.tenant_id and s.stream = silent.stream",
            tenant,
            &streams as _,
            since,
            at
        )
        .execute(&mut *connection)
        .await
        .doing("ending streams")?;
    }
    Ok(())
}

/// A tenant's streams, newest first.
///
/// # Errors
/// If the database refuses.
pub async fn newest(store: &Store, tenant: &str, limit: i64) -> Result<Vec<StreamRow>, StoreError> {
    sqlx::query_as!(
        StreamRow,
        "select stream, high_seq, batches, events, dropped, first_at, last_at, ended_at from streams
         where tenant_id = $1 order by last_at desc, stream limit $2",
        tenant,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("listing streams")
}

/// The recorded holes of some of a tenant's streams, in order.
///
/// # Errors
/// If the database refuses.
pub async fn gaps(store: &Store, tenant: &str, streams: &[&[u8]]) -> Result<Vec<Gap>, StoreError> {
    let rows = sqlx::query!(
        "select stream, first_seq, last_seq, noticed_at, recorded_at, closed_at from stream_gaps
         where tenant_id = $1 and stream = any($2::bytea[]) order by stream, first_seq",
        tenant,
        streams as _
    )
    .fetch_all(store.pool())
    .await
    .doing("listing gaps")?;
    Ok(rows
        .into_iter()
        .map(|row| Gap {
            stream: row.stream,
            hole: Hole {
                range: Range { first: row.first_seq, last: row.last_seq },
                noticed_at: row.noticed_at,
            },
            recorded_at: row.recorded_at,
            closed_at: row.closed_at,
        })
        .collect())
}

/// Whether this transaction is the one that looks at what is owed.
///
/// # Errors
/// If the database refuses.
pub async fn try_lead(connection: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(7161) as "led!""#)
        .fetch_one(connection)
        .await
        .doing("leading the accounts")
}
