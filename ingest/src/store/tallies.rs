//! Sums of events by hour and day ([`crate::tally`]): appended, folded, counted again, read.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Executor as _, PgConnection};

use super::search::counted_apart;
use super::{Doing as _, Store, StoreError, Transaction};
use crate::tally::follow::floored;
use crate::tally::{DAY_MS, Hours, Kind, Tally};

/// Any number, the same in every process.
const LOCK: i64 = 0x6564_6774_616c_6c79;
/// Sums that are folded in one transaction.
const FOLDED_TOGETHER: i64 = 2_000;

/// Appends what events add up to, in the transaction that stores them.
///
/// # Errors
/// If the database refuses.
pub async fn append(connection: &mut PgConnection, hours: &Hours<'_>) -> Result<(), StoreError> {
    let (mut tenants, mut kinds, mut starts, mut counts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (tenant, kind, hour, bytes) in hours.rows() {
        tenants.push(tenant);
        kinds.push(kind.code());
        starts.push(hour);
        counts.push(bytes);
    }
    sqlx::query!(
        "insert into tally_deltas (tenant_id, kind, hour, counts)
         select * from unnest($1::text[], $2::smallint[], $3::timestamptz[], $4::bytea[])",
        &tenants as _,
        &kinds,
        &starts,
        &counts
    )
    .execute(connection)
    .await
    .doing("appending to the tallies")?;
    Ok(())
}

/// Begins a transaction that sees one state of everything.
///
/// # Errors
/// If there is no connection.
pub async fn begin(store: &Store) -> Result<Transaction, StoreError> {
    let mut transaction = store.begin().await?;
    let statement = "set transaction isolation level repeatable read";
    transaction.execute(statement).await.doing("beginning to read one state")?;
    Ok(transaction)
}

/// Whether nobody else works on the sums until this transaction ends.
///
/// # Errors
/// If the database refuses.
pub async fn lock(connection: &mut PgConnection) -> Result<bool, StoreError> {
    // What it writes can be counted again, and counting the days of somebody busy takes a while.
    let settings = "set local synchronous_commit = off; set local statement_timeout = '10min'";
    connection.execute(settings).await.doing("preparing to keep tallies")?;
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "held!""#, LOCK)
        .fetch_one(connection)
        .await
        .doing("locking the tallies")
}

/// A span of which no sum tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Its row.
    pub id: i64,
    /// Whose; none for everybody's.
    pub tenant: Option<String>,
    /// From then on.
    pub from: DateTime<Utc>,
    /// Earlier.
    pub to: DateTime<Utc>,
}

/// The span that reaches furthest.
///
/// # Errors
/// If the database refuses.
pub async fn newest_stale(connection: &mut PgConnection) -> Result<Option<Stale>, StoreError> {
    sqlx::query_as!(
        Stale,
        r#"select id, tenant_id as tenant, from_at as "from", to_at as "to" from tally_stale
           order by to_at desc, id limit 1"#
    )
    .fetch_optional(connection)
    .await
    .doing("reading what is stale")
}

/// Whether a span of a tenant is stale.
///
/// # Errors
/// If the database refuses.
pub async fn is_stale(store: &Store, tenant: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from tally_stale where tenant_id = $1 or tenant_id is null) as "is!""#,
        tenant
    )
    .fetch_one(store.pool())
    .await
    .doing("looking for what is stale")
}

/// A stale span ends here from now on; it goes if nothing is left.
///
/// # Errors
/// If the database refuses.
pub async fn shorten(connection: &mut PgConnection, id: i64, to: DateTime<Utc>) -> Result<(), StoreError> {
    let doing = "shortening what is stale";
    sqlx::query!("delete from tally_stale where id = $1 and from_at >= $2", id, to)
        .execute(&mut *connection)
        .await
        .doing(doing)?;
    sqlx::query!("update tally_stale set to_at = $2 where id = $1", id, to)
        .execute(connection)
        .await
        .doing(doing)?;
    Ok(())
}

/// No span of a tenant's ends within this one any more.
///
/// # Errors
/// If the database refuses.
pub async fn shorten_within(
    connection: &mut PgConnection,
    tenant: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<(), StoreError> {
    let doing = "shortening what is stale";
    sqlx::query!(
        "delete from tally_stale where tenant_id = $1 and from_at >= $2 and to_at <= $3",
        tenant,
        from,
        to
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    sqlx::query!(
        "update tally_stale set to_at = $2 where tenant_id = $1 and from_at < $2 and to_at > $2 and to_at <= $3",
        tenant,
        from,
        to
    )
    .execute(connection)
    .await
    .doing(doing)?;
    Ok(())
}

/// Makes a span stale for each tenant that has events or sums in it. Whoever has its first events there afterwards has
/// appended what they add up to.
///
/// # Errors
/// If the database refuses.
pub async fn split(
    connection: &mut PgConnection,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into tally_stale (tenant_id, from_at, to_at)
         select tenant_id, $1, $2 from (
             select tenant_id from events where filed_at >= $1 and filed_at < $2 group by 1
             union select tenant_id from tallies where start >= $1 and start < $2
             union select tenant_id from tally_deltas where hour >= $1 and hour < $2) tenants",
        from,
        to
    )
    .execute(connection)
    .await
    .doing("splitting what is stale")?;
    Ok(())
}

/// Counts the events of a tenant's hours in place of what was known of them, appended or summed up.
///
/// # Errors
/// If the database refuses.
pub async fn recount(
    connection: &mut PgConnection,
    tenant: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<(), StoreError> {
    let doing = "counting again";
    sqlx::query!(
        "delete from tally_deltas where tenant_id = $1 and hour >= $2 and hour < $3",
        tenant,
        from,
        to
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    sqlx::query!(
        "delete from tallies where tenant_id = $1 and start >= date_trunc('day', $2::timestamptz, 'UTC') and start < $3
         and (is_day or start >= $2)",
        tenant,
        from,
        to
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    let mut sums: BTreeMap<(Kind, DateTime<Utc>), Tally<'static>> = BTreeMap::new();
    for counted in counted_apart(connection, tenant, from, to).await? {
        let tally = sums.entry((counted.kind, counted.hour)).or_default();
        tally.add(
            counted.field,
            counted.value.map(Into::into),
            counted.label.map(Into::into),
            counted.events,
        );
    }
    let rows = sums.iter().map(|((kind, hour), tally)| Row {
        tenant: tenant.to_owned(),
        kind: kind.code(),
        is_day: false,
        start: *hour,
        counts: tally.encode(),
    });
    put(connection, rows.collect()).await
}

/// Sums up a tenant's day from its hours.
///
/// # Errors
/// If the database refuses.
pub async fn make_day(
    connection: &mut PgConnection,
    tenant: &str,
    day: DateTime<Utc>,
) -> Result<(), StoreError> {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.has_days()) {
        let until = day + TimeDelta::milliseconds(DAY_MS);
        let hours = sqlx::query_scalar!(
            "select counts from tallies
             where tenant_id = $1 and kind = $2 and not is_day and start >= $3 and start < $4",
            tenant,
            kind.code(),
            day,
            until
        )
        .fetch_all(&mut *connection)
        .await
        .doing("reading a day's hours")?;
        if !hours.is_empty() {
            let row = Row {
                tenant: tenant.to_owned(),
                kind: kind.code(),
                is_day: true,
                start: day,
                counts: sum(&hours)?.encode(),
            };
            put(connection, vec![row]).await?;
        }
    }
    Ok(())
}

/// Days between two that have hours and no sum.
///
/// # Errors
/// If the database refuses.
pub async fn days_to_make(
    store: &Store,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<(String, DateTime<Utc>)>, StoreError> {
    let kinds: Vec<i16> = Kind::ALL.into_iter().filter(|kind| kind.has_days()).map(Kind::code).collect();
    let rows = sqlx::query!(
        r#"select distinct h.tenant_id, date_trunc('day', h.start, 'UTC') as "day!" from tallies h
           where h.kind = any($1) and not h.is_day and h.start >= $2 and h.start < $3
             and not exists (select 1 from tallies d where d.tenant_id = h.tenant_id and d.kind = h.kind and d.is_day
                             and d.start = date_trunc('day', h.start, 'UTC'))
           order by 1, 2"#,
        &kinds,
        from,
        to
    )
    .fetch_all(store.pool())
    .await
    .doing("looking for days that are over")?;
    Ok(rows.into_iter().map(|row| (row.tenant_id, row.day)).collect())
}

#[derive(Debug)]
struct Row {
    tenant: String,
    kind: i16,
    is_day: bool,
    start: DateTime<Utc>,
    counts: Vec<u8>,
}

/// Folds what was appended into the sums, and makes the days before `today` that it is about. Whether there was more than is
/// folded at a time.
///
/// # Errors
/// If the database refuses.
pub async fn fold(connection: &mut PgConnection, today: DateTime<Utc>) -> Result<bool, StoreError> {
    let doing = "folding tallies";
    let deltas = sqlx::query!(
        "delete from tally_deltas where id in (select id from tally_deltas order by id limit $1)
         returning tenant_id, kind, hour, counts",
        FOLDED_TOGETHER
    )
    .fetch_all(&mut *connection)
    .await
    .doing(doing)?;
    if deltas.is_empty() {
        return Ok(false);
    }
    let mut keys: Vec<(&str, i16, DateTime<Utc>)> =
        deltas.iter().map(|delta| (delta.tenant_id.as_str(), delta.kind, delta.hour)).collect();
    keys.sort_unstable();
    keys.dedup();
    let known = sqlx::query_as!(
        Row,
        r#"select t.tenant_id as "tenant!", t.kind as "kind!", t.is_day as "is_day!", t.start as "start!",
               t.counts as "counts!"
           from unnest($1::text[], $2::smallint[], $3::timestamptz[]) as u (tenant_id, kind, hour)
           join tallies t on t.tenant_id = u.tenant_id and t.kind = u.kind and not t.is_day and t.start = u.hour
           union
           select t.tenant_id, t.kind, t.is_day, t.start, t.counts
           from unnest($1::text[], $2::smallint[], $3::timestamptz[]) as u (tenant_id, kind, hour)
           join tallies t on t.tenant_id = u.tenant_id and t.kind = u.kind and t.is_day
               and t.start = date_trunc('day', u.hour, 'UTC')"#,
        &keys.iter().map(|key| key.0).collect::<Vec<_>>() as _,
        &keys.iter().map(|key| key.1).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.2).collect::<Vec<_>>()
    )
    .fetch_all(&mut *connection)
    .await
    .doing(doing)?;
    let damaged = || StoreError::Damaged("tally");
    let mut sums: BTreeMap<(&str, i16, bool, DateTime<Utc>), Tally<'_>> = BTreeMap::new();
    for row in &known {
        let sum = sums.entry((row.tenant.as_str(), row.kind, row.is_day, row.start)).or_default();
        sum.add_encoded(&row.counts).ok_or_else(damaged)?;
    }
    for delta in &deltas {
        let (tenant, kind) = (delta.tenant_id.as_str(), delta.kind);
        let sum = sums.entry((tenant, kind, false, delta.hour)).or_default();
        sum.add_encoded(&delta.counts).ok_or_else(damaged)?;
        let day = floored(delta.hour, DAY_MS);
        if let Some(sum) = sums.get_mut(&(tenant, kind, true, day)) {
            sum.add_encoded(&delta.counts).ok_or_else(damaged)?;
        }
    }
    let rows = sums.iter().map(|((tenant, kind, is_day, start), tally)| Row {
        tenant: (*tenant).to_owned(),
        kind: *kind,
        is_day: *is_day,
        start: *start,
        counts: tally.encode(),
    });
    let rows = rows.collect();
    let late: BTreeSet<(&str, DateTime<Utc>)> = deltas
        .iter()
        .map(|delta| (delta.tenant_id.as_str(), floored(delta.hour, DAY_MS)))
        .filter(|(tenant, day)| {
            *day < today && !sums.contains_key(&(*tenant, Kind::Values.code(), true, *day))
        })
        .collect();
    put(connection, rows).await?;
    for (tenant, day) in late {
        make_day(connection, tenant, day).await?;
    }
    Ok(i64::try_from(deltas.len()) == Ok(FOLDED_TOGETHER))
}

async fn put(connection: &mut PgConnection, rows: Vec<Row>) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into tallies (tenant_id, kind, is_day, start, counts)
         select * from unnest($1::text[], $2::smallint[], $3::boolean[], $4::timestamptz[], $5::bytea[])
         on conflict (tenant_id, kind, is_day, start) do update set counts = excluded.counts",
        &rows.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>() as _,
        &rows.iter().map(|row| row.kind).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.is_day).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.start).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.counts.as_slice()).collect::<Vec<_>>() as _
    )
    .execute(connection)
    .await
    .doing("writing tallies")?;
    Ok(())
}

fn sum(encoded: &[Vec<u8>]) -> Result<Tally<'_>, StoreError> {
    let mut sum = Tally::default();
    for bytes in encoded {
        sum.add_encoded(bytes).ok_or(StoreError::Damaged("tally"))?;
    }
    Ok(sum)
}

/// From one time to another.
pub type Span = (DateTime<Utc>, DateTime<Utc>);

/// The parts of a span that are stale, in their order; they may overlap.
///
/// # Errors
/// If the database refuses.
pub async fn stale_within(
    connection: &mut PgConnection,
    tenant: &str,
    span: Span,
) -> Result<Vec<Span>, StoreError> {
    let rows = sqlx::query!(
        r#"select greatest(from_at, $2) as "from!", least(to_at, $3) as "to!" from tally_stale
           where (tenant_id = $1 or tenant_id is null) and from_at < $3 and to_at > $2 order by 1, 2"#,
        tenant,
        span.0,
        span.1
    )
    .fetch_all(connection)
    .await
    .doing("reading what is stale")?;
    Ok(rows.into_iter().map(|row| (row.from, row.to)).collect())
}

/// A sum, or what is to be added to one.
#[derive(Debug)]
pub struct Sum {
    /// When its hour or day begins.
    pub start: DateTime<Utc>,
    /// What it says.
    pub counts: Vec<u8>,
}

/// The days of a span that are summed up.
///
/// # Errors
/// If the database refuses.
pub async fn days(
    connection: &mut PgConnection,
    tenant: &str,
    kind: Kind,
    span: Span,
) -> Result<Vec<Sum>, StoreError> {
    sqlx::query_as!(
        Sum,
        "select start, counts from tallies
         where tenant_id = $1 and kind = $2 and is_day and start >= $3 and start < $4",
        tenant,
        kind.code(),
        span.0,
        span.1
    )
    .fetch_all(connection)
    .await
    .doing("reading days")
}

/// The hours of some spans that are summed up.
///
/// # Errors
/// If the database refuses.
pub async fn hours(
    connection: &mut PgConnection,
    tenant: &str,
    kind: Kind,
    spans: &[Span],
) -> Result<Vec<Sum>, StoreError> {
    let (from, to): (Vec<_>, Vec<_>) = spans.iter().copied().unzip();
    sqlx::query_as!(
        Sum,
        r#"select t.start, t.counts from unnest($3::timestamptz[], $4::timestamptz[]) as span (from_at, to_at)
           join tallies t on t.tenant_id = $1 and t.kind = $2 and not t.is_day
               and t.start >= span.from_at and t.start < span.to_at"#,
        tenant,
        kind.code(),
        &from,
        &to
    )
    .fetch_all(connection)
    .await
    .doing("reading hours")
}

/// What was appended for hours of a span and is not in a sum.
///
/// # Errors
/// If the database refuses.
pub async fn deltas(
    connection: &mut PgConnection,
    tenant: &str,
    kind: Kind,
    span: Span,
) -> Result<Vec<Sum>, StoreError> {
    sqlx::query_as!(
        Sum,
        "select hour as start, counts from tally_deltas
         where tenant_id = $1 and kind = $2 and hour >= $3 and hour < $4",
        tenant,
        kind.code(),
        span.0,
        span.1
    )
    .fetch_all(connection)
    .await
    .doing("reading what is not summed up")
}
