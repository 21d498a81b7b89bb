//! A month without what is due: what stays is copied beside it, then the copy takes its place and the month is dropped. A
//! month of which nothing stays is emptied.
//!
//! Nothing is updated or deleted row by row: that would write every dropped row to the write-ahead log and give no space
//! back. The copy is made while everybody reads and writes on; only its taking the month's place keeps others out, for
//! milliseconds. What goes is read from the list of what each batch filed in the month; the list is taken at its word only
//! if the month, with writers kept away, has exactly as many events as it accounts for. The statements name the month's
//! table, so they are built here and not checked at compile time.

use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};
use uuid::Uuid;

use super::holds::HELD;
use super::partitions::name_of;
use super::retention::{RunRow, note_run};
use super::shipments::{self, ShipmentRow};
use super::{Doing as _, Store, StoreError, absences};
use shared::absence::AbsenceList;

/// How long the swap waits for readers and writers before it lets those behind it pass.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '300ms'";
/// A batch that arrived before the copy began and was stored after it is at most this old; the count tells if not.
const LATE: &str = "interval '1 hour'";

/// What of a tenant's is due: what arrived at these times or before. None where nothing is.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Whose.
    pub tenant: String,
    /// Standard events.
    pub standard: Option<DateTime<Utc>>,
    /// Critical events.
    pub critical: Option<DateTime<Utc>>,
    /// Personal context.
    pub context: Option<DateTime<Utc>>,
}

/// Events of one batch that do not stay.
#[derive(Debug, Clone)]
pub struct Gone {
    /// Whose.
    pub tenant: String,
    /// Their class.
    pub class: i16,
    /// How many.
    pub count: i64,
    /// Their positions: bit n of the low 64, then of the next.
    pub positions: [u64; 2],
    /// The log and the place of the batch's first leaf; none if it has no place.
    pub first: Option<(String, i64)>,
}

/// An event whose context is due.
#[derive(Debug, Clone)]
pub struct Due {
    /// Whose.
    pub tenant: String,
    /// The rest of its key.
    pub filed_at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
    /// What is stored of it.
    pub opening: Vec<u8>,
    /// The log and its leaf; none if it has none yet.
    pub leaf: Option<(String, i64)>,
}

/// How an event stays whose context was due.
#[derive(Debug)]
pub struct Kept {
    /// The event.
    pub event: Due,
    /// Whether its columns are cleared.
    pub cleared: bool,
}

/// How to find what goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// By the list of what each batch filed in the month, where it may be complete and nothing is held.
    List,
    /// By a look at every event.
    Events,
}

/// What of a month stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// What was copied.
    Staged,
    /// Nothing: the month is emptied.
    Nothing,
}

/// A copy of a month that waits to take its place.
#[derive(Debug)]
pub struct Copied {
    month: NaiveDate,
    limits: Vec<Limits>,
    rest: Rest,
    /// What the copy saw of the month.
    snapshot: String,
    at: DateTime<Utc>,
    holds: Vec<Uuid>,
    /// By tenant and class: events that are due and stay for a hold.
    held: Vec<(String, i16, i64)>,
    /// What does not stay.
    pub gone: Vec<Gone>,
    /// Rows in the copy.
    pub kept: i64,
    /// How long it took to find what does not stay.
    pub found_in: Duration,
}

impl Copied {
    /// A tenant's events of a class that are due and stay for a hold; of context, class -1, they are not counted.
    pub fn held(&self, tenant: &str, class: i16) -> i64 {
        self.held.iter().find(|held| held.0 == tenant && held.1 == class).map_or(0, |held| held.2)
    }
}

/// What is stored together with a swap.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records, by tenant, and the lists they commit to.
    pub lists: Vec<(String, Uuid, AbsenceList)>,
    /// What was looked at and done.
    pub runs: Vec<RunRow>,
    /// What went to the archive.
    pub shipments: Vec<ShipmentRow>,
}

/// What became of an attempt to swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// It is done; so long nobody else could read or write.
    Done(Duration),
    /// Somebody reads or writes for longer than the swap waits: try again.
    Busy,
    /// The month is not what was copied any more: copy again.
    Changed,
}

/// How a transaction copies.
#[derive(Debug)]
pub struct Copying {
    transaction: super::Transaction,
    month: NaiveDate,
    name: String,
    limits: Vec<Limits>,
    source: Source,
    rest: Rest,
    snapshot: String,
    at: DateTime<Utc>,
    holds: Vec<Uuid>,
    held: Vec<(String, i16, i64)>,
    gone: Vec<Gone>,
    kept: i64,
    found_in: Duration,
}

/// Whether an event goes, and whether its context does. The table is `e`, the limits are `l`.
fn conditions(held: bool) -> (String, String) {
    let free = if held { format!("and not {HELD}") } else { String::new() };
    (format!("({DUE} {free})"), format!("(coalesce(e.received_at <= l.context, false) {free})"))
}

/// A list that names less than this part of what its table is said to have is not worth a try.
const WORTH_A_TRY: f64 = 0.9;

/// What each batch filed in a month, by the list.
fn listed(month: NaiveDate) -> String {
    format!(
        "select tenant_id, class, batch_id, received_at, low, high,
             bit_count(low::bit(64)) + bit_count(high::bit(64)) as n
         from filed_batches where month = '{month}' and (low <> 0 or high <> 0)"
    )
}

/// The same by a look at each event that no hold covers. All of a batch arrived at one time.
fn seen(name: &str, held: bool) -> String {
    let free = if held { format!("where not {HELD}") } else { String::new() };
    format!(
        "select e.tenant_id, e.class, e.batch_id, max(e.received_at) as received_at,
             bit_or(case when e.position < 64 then 1::bigint << e.position else 0 end) as low,
             bit_or(case when e.position >= 64 then 1::bigint << (e.position - 64) else 0 end) as high,
             count(*) as n
         from {name} e {free} group by 1, 2, 3"
    )
}

const DUE: &str = "coalesce(e.class = 0 and e.received_at <= l.standard or e.class = 1 and e.received_at <= l.critical, false)";

/// `$1` to `$4`, as [`bind`] gives them.
const LIMITS: &str = "unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[])
    as l (tenant_id, standard, critical, context)";

type Query = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind(sql: String, limits: &[Limits]) -> Query {
    let each = |read: fn(&Limits) -> Option<DateTime<Utc>>| limits.iter().map(read).collect::<Vec<_>>();
    sqlx::query(AssertSqlSafe(sql))
        .bind(limits.iter().map(|limit| limit.tenant.clone()).collect::<Vec<_>>())
        .bind(each(|limit| limit.standard))
        .bind(each(|limit| limit.critical))
        .bind(each(|limit| limit.context))
}

/// Begins to copy a month.
///
/// # Errors
/// If the database refuses.
pub async fn begin(
    store: &Store,
    month: NaiveDate,
    limits: Vec<Limits>,
    source: Source,
) -> Result<Copying, StoreError> {
    let doing = "beginning to copy a month";
    let mut transaction = store.begin_as_keeper().await?;
    // Everything that is decided here is decided on one state of the month.
    transaction.execute("set transaction isolation level repeatable read").await.doing(doing)?;
    transaction.execute("set local work_mem = '64MB'").await.doing(doing)?;
    let row = sqlx::query("select retention_open($1), pg_current_snapshot()::text, clock_timestamp()")
        .bind(month)
        .fetch_one(&mut *transaction)
        .await
        .doing(doing)?;
    let name: String = row.try_get(0).doing(doing)?;
    let snapshot = row.try_get(1).doing(doing)?;
    let at = row.try_get(2).doing(doing)?;
    let holds = active_holds(&mut transaction).await?;
    let source = match source {
        Source::List if holds.is_empty() && may_be_listed(&mut transaction, month, &name).await? => {
            Source::List
        }
        _ => Source::Events,
    };
    Ok(Copying {
        transaction,
        month,
        name,
        limits,
        source,
        rest: Rest::Staged,
        snapshot,
        at,
        holds,
        held: Vec::new(),
        gone: Vec::new(),
        kept: 0,
        found_in: Duration::ZERO,
    })
}

/// Whether a month's list names about as many events as its table is said to have; they are counted when it matters, and where
/// nothing is said: of a table that was never analysed, and of one that is spread over a cluster.
async fn may_be_listed(
    connection: &mut PgConnection,
    month: NaiveDate,
    name: &str,
) -> Result<bool, StoreError> {
    let doing = "looking at a month's list";
    let sql = format!("select sum(n)::float8 from ({}) listed", listed(month));
    let names: Option<f64> =
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection).await.doing(doing)?;
    let said: f32 = sqlx::query_scalar("select reltuples from pg_class where oid = $1::regclass")
        .bind(name)
        .fetch_one(&mut *connection)
        .await
        .doing(doing)?;
    let has = if said > 0.0 {
        f64::from(said)
    } else {
        let count = format!("select count(*)::float8 from {name}");
        sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(connection).await.doing(doing)?
    };
    Ok(names.is_some_and(|names| names >= WORTH_A_TRY * has))
}

async fn active_holds(connection: &mut PgConnection) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!("select hold_id from legal_holds where released_at is null order by hold_id")
        .fetch_all(connection)
        .await
        .doing("reading active holds")
}

impl Copying {
    /// Finds what goes, and copies what stays as it is.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn copy_whole(&mut self) -> Result<(), StoreError> {
        let all_goes = self.find().await?;
        if all_goes {
            self.rest = Rest::Nothing;
            return Ok(());
        }
        let doing = "making a table for what stays";
        sqlx::query_scalar!("select retention_stage($1)", self.month)
            .fetch_one(&mut *self.transaction)
            .await
            .doing(doing)?;
        if !self.holds.is_empty() {
            self.count_held().await?;
        }
        let name = &self.name;
        let (gone, context) = conditions(!self.holds.is_empty());
        let sql = format!(
            "insert into {name}_staged select e.* from {name} e left join {LIMITS} using (tenant_id)
             where not {gone} and not {context}"
        );
        let copied =
            bind(sql, &self.limits).execute(&mut *self.transaction).await.doing("copying what stays")?;
        self.kept += i64::try_from(copied.rows_affected()).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Finds what goes. True if that is all there is.
    async fn find(&mut self) -> Result<bool, StoreError> {
        let doing = "finding what is due";
        let started = Instant::now();
        let batches = match self.source {
            Source::List => listed(self.month),
            Source::Events => seen(&self.name, !self.holds.is_empty()),
        };
        let sql = format!(
            "select e.tenant_id, e.class, e.n, e.low, e.high, r.log_id, r.first_index, {DUE}
             from ({batches}) e left join {LIMITS} using (tenant_id) left join log_rounds r using (tenant_id, batch_id)"
        );
        let rows = bind(sql, &self.limits).fetch_all(&mut *self.transaction).await.doing(doing)?;
        let mut all_goes = self.holds.is_empty();
        for row in rows {
            if !row.try_get::<bool, _>(7).doing(doing)? {
                all_goes = false;
                continue;
            }
            let (log, first): (Option<String>, Option<i64>) =
                (row.try_get(5).doing(doing)?, row.try_get(6).doing(doing)?);
            let bits = |at| row.try_get::<i64, _>(at).doing(doing).map(i64::cast_unsigned);
            self.gone.push(Gone {
                tenant: row.try_get(0).doing(doing)?,
                class: row.try_get(1).doing(doing)?,
                count: row.try_get(2).doing(doing)?,
                positions: [bits(3)?, bits(4)?],
                first: log.zip(first),
            });
        }
        self.found_in = started.elapsed();
        Ok(all_goes)
    }

    async fn count_held(&mut self) -> Result<(), StoreError> {
        let name = &self.name;
        let doing = "counting what a hold keeps";
        let sql = format!(
            "select e.tenant_id, e.class, count(*) from {name} e join {LIMITS} using (tenant_id)
             where {DUE} and {HELD} group by 1, 2"
        );
        for row in bind(sql, &self.limits).fetch_all(&mut *self.transaction).await.doing(doing)? {
            let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
            self.held.push(read().doing(doing)?);
        }
        Ok(())
    }

    /// Whether something of the month stays.
    pub fn something_stays(&self) -> bool {
        self.rest == Rest::Staged
    }

    /// Opens the events that stay and whose context is due, to be taken by [`Self::next_due`].
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn open_due(&mut self) -> Result<(), StoreError> {
        let name = &self.name;
        let (gone, context) = conditions(!self.holds.is_empty());
        let sql = format!(
            "declare due no scroll cursor for
             select e.tenant_id, e.filed_at, e.id, e.opening, r.log_id, r.first_index + e.position
             from {name} e join {LIMITS} using (tenant_id)
             left join log_rounds r on r.tenant_id = e.tenant_id and r.batch_id = e.batch_id
             where not {gone} and {context}"
        );
        bind(sql, &self.limits).execute(&mut *self.transaction).await.doing("finding context that is due")?;
        Ok(())
    }

    /// The next of them; none at the end.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn next_due(&mut self) -> Result<Vec<Due>, StoreError> {
        let doing = "reading context that is due";
        let rows = self.transaction.fetch_all("fetch 2000 from due").await.doing(doing)?;
        let read = |row: &sqlx::postgres::PgRow| -> Result<Due, sqlx::Error> {
            let (log, leaf): (Option<String>, Option<i64>) = (row.try_get(4)?, row.try_get(5)?);
            Ok(Due {
                tenant: row.try_get(0)?,
                filed_at: row.try_get(1)?,
                id: row.try_get(2)?,
                opening: row.try_get(3)?,
                leaf: log.zip(leaf),
            })
        };
        rows.iter().map(read).collect::<Result<_, _>>().doing(doing)
    }

    /// Copies them with what is left of them.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn copy_due(&mut self, events: Vec<Kept>) -> Result<(), StoreError> {
        let name = &self.name;
        let sql = format!(
            "insert into {name}_staged
             select e.tenant_id, e.filed_at, e.id, e.occurred_at, e.received_at, e.class, e.severity, e.outcome, e.trust,
                 e.action, e.actor_id, e.actor_email, e.claimed_user, e.entity_type, e.entity_id, e.entity_name,
                 case when u.cleared then null else e.ip end, case when u.cleared then null else e.session_id end,
                 case when u.cleared then null else e.country end, e.host, e.method, e.route, e.rule, e.status, e.reason,
                 e.duration_ms, e.change_quality, e.compliance, e.batch_id, e.position, u.opening
             from unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::bytea[], $5::boolean[])
                 as u (tenant_id, filed_at, id, opening, cleared)
             join {name} e on e.tenant_id = u.tenant_id and e.filed_at = u.filed_at and e.id = u.id"
        );
        let count = events.len();
        let mut tenants = Vec::with_capacity(count);
        let (mut filed, mut ids) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut openings, mut cleared) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for kept in events {
            tenants.push(kept.event.tenant);
            filed.push(kept.event.filed_at);
            ids.push(kept.event.id);
            openings.push(kept.event.opening);
            cleared.push(kept.cleared);
        }
        let query =
            sqlx::query(AssertSqlSafe(sql)).bind(tenants).bind(filed).bind(ids).bind(openings).bind(cleared);
        let copied = query.execute(&mut *self.transaction).await.doing("copying what stays of events")?;
        self.kept += i64::try_from(copied.rows_affected()).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Ends the copy, with its indexes.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn finish(mut self) -> Result<Copied, StoreError> {
        let doing = "indexing a copy";
        if self.rest == Rest::Staged {
            self.transaction.execute("close all").await.doing(doing)?;
            sqlx::query!("select retention_index($1)", self.month)
                .execute(&mut *self.transaction)
                .await
                .doing(doing)?;
        }
        super::commit(self.transaction).await?;
        let Self { month, limits, rest, snapshot, at, holds, held, gone, kept, found_in, .. } = self;
        Ok(Copied { month, limits, rest, snapshot, at, holds, held, gone, kept, found_in })
    }
}

/// Puts a copy in its month's place, with the lists of what is lost.
///
/// # Errors
/// If the database refuses.
pub async fn swap(store: &Store, copied: &Copied, outcome: &Outcome) -> Result<Swapped, StoreError> {
    match attempt(store, copied, outcome).await {
        Err(error) if matches!(error.code().as_deref(), Some("55P03" | "40P01")) => Ok(Swapped::Busy),
        result => result,
    }
}

async fn attempt(store: &Store, copied: &Copied, outcome: &Outcome) -> Result<Swapped, StoreError> {
    let doing = "putting a copy in a month's place";
    let name = name_of(copied.month);
    let mut transaction = store.begin_as_keeper().await?;
    transaction.execute(LOCK_TIMEOUT).await.doing(doing)?;
    sqlx::query!("select retention_freeze($1)", copied.month)
        .execute(&mut *transaction)
        .await
        .doing(doing)?;
    let touched: bool = sqlx::query_scalar(
        "select exists (select 1 from event_touches
                        where month = $1 and not pg_visible_in_snapshot(xid, $2::pg_snapshot))",
    )
    .bind(copied.month)
    .bind(&copied.snapshot)
    .fetch_one(&mut *transaction)
    .await
    .doing(doing)?;
    let placed = active_holds(&mut transaction).await?.iter().any(|hold| !copied.holds.contains(hold));
    if touched || placed {
        return Ok(Swapped::Changed);
    }
    let late = match copied.rest {
        Rest::Staged => copy_late(&mut transaction, copied, &name).await?,
        Rest::Nothing => 0,
    };
    let there: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {name}")))
        .fetch_one(&mut *transaction)
        .await
        .doing(doing)?;
    let gone: i64 = copied.gone.iter().map(|gone| gone.count).sum();
    if there != copied.kept + gone + late {
        return Ok(Swapped::Changed);
    }
    for (tenant, record, list) in &outcome.lists {
        absences::insert(&mut transaction, tenant, *record, list).await?;
    }
    for run in &outcome.runs {
        note_run(&mut transaction, run).await?;
    }
    for shipment in &outcome.shipments {
        shipments::insert(&mut transaction, shipment).await?;
    }
    let started = Instant::now();
    let removed = match copied.rest {
        Rest::Staged => {
            let sql = format!(
                "select retention_swap($5, array_agg(tenant_id), array_agg(standard), array_agg(critical))
                 from {LIMITS}"
            );
            bind(sql, &copied.limits).bind(copied.month).execute(&mut *transaction).await
        }
        Rest::Nothing => {
            sqlx::query!("select retention_empty($1)", copied.month).execute(&mut *transaction).await
        }
    };
    removed.doing(doing)?;
    super::commit(transaction).await?;
    Ok(Swapped::Done(started.elapsed()))
}

/// Copies what arrived since the copy began, and says how much that is.
async fn copy_late(connection: &mut PgConnection, copied: &Copied, name: &str) -> Result<i64, StoreError> {
    let sql = format!(
        "insert into {name}_staged select e.* from {name} e
         left join {name}_staged s on s.tenant_id = e.tenant_id and s.filed_at = e.filed_at and s.id = e.id
             and s.received_at > $1 - {LATE}
         where e.received_at > $1 - {LATE} and s.id is null"
    );
    let late = sqlx::query(AssertSqlSafe(sql))
        .bind(copied.at)
        .execute(connection)
        .await
        .doing("copying what arrived late")?;
    Ok(i64::try_from(late.rows_affected()).unwrap_or(i64::MAX))
}

/// Takes a copy away that nothing needs: nothing was due.
///
/// # Errors
/// If the database refuses.
pub async fn discard(store: &Store, copied: &Copied, outcome: &Outcome) -> Result<(), StoreError> {
    let mut transaction = store.begin_as_keeper().await?;
    for run in &outcome.runs {
        note_run(&mut transaction, run).await?;
    }
    sqlx::query!("select retention_unstage($1)", copied.month)
        .execute(&mut *transaction)
        .await
        .doing("taking a copy away")?;
    super::commit(transaction).await
}

/// Whether anything of a month is due and not held. The columns tell for context; an event with a user agent and nothing
/// else beside it is found where another is.
///
/// # Errors
/// If the database refuses.
pub async fn anything(
    connection: &mut PgConnection,
    limits: &Limits,
    month: NaiveDate,
) -> Result<bool, StoreError> {
    let sql = format!(
        "select exists (
             select from events e
             where e.tenant_id = $1 and e.filed_at >= $2 and e.filed_at < $3
               and (e.class = 0 and e.received_at <= $4 or e.class = 1 and e.received_at <= $5
                    or e.received_at <= $6
                       and (e.ip is not null or e.session_id is not null or e.country is not null))
               and not {HELD})"
    );
    let start = month.and_time(chrono::NaiveTime::MIN).and_utc();
    let end = (month + chrono::Months::new(1)).and_time(chrono::NaiveTime::MIN).and_utc();
    sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(&limits.tenant)
        .bind(start)
        .bind(end)
        .bind(limits.standard)
        .bind(limits.critical)
        .bind(limits.context)
        .fetch_one(connection)
        .await
        .doing("looking for what is due")
}

/// What a look at a tenant's months counts.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Counted {
    /// The month.
    pub month: NaiveDate,
    /// Of the events.
    pub class: i16,
    /// All of the class.
    pub events: i64,
    /// Of them, those that are due and go.
    pub due: i64,
    /// Of them, those that are due and stay for a hold.
    pub held: i64,
    /// Of them, those whose personal context is due and goes.
    pub context: i64,
    /// Of them, those whose personal context is due and stays for a hold.
    pub context_held: i64,
}

/// Counts a tenant's events that were filed before a time, by month and class, against limits.
///
/// # Errors
/// If the database refuses.
pub async fn count(
    connection: &mut PgConnection,
    limits: &Limits,
    before: DateTime<Utc>,
) -> Result<Vec<Counted>, StoreError> {
    let sql = format!(
        "select (date_trunc('month', e.filed_at at time zone 'UTC'))::date as month, e.class, count(*) as events,
                count(*) filter (where due and not held) as due, count(*) filter (where due and held) as held,
                count(*) filter (where context and not held and not due) as context,
                count(*) filter (where context and held) as context_held
         from (select e.filed_at, e.class, {HELD} as held,
                      coalesce(e.class = 0 and e.received_at <= $3 or e.class = 1 and e.received_at <= $4, false) as due,
                      coalesce(e.received_at <= $5, false)
                          and (e.ip is not null or e.session_id is not null or e.country is not null) as context
               from events e where e.tenant_id = $1 and e.filed_at < $2) e
         group by 1, 2 order by 1, 2"
    );
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(&limits.tenant)
        .bind(before)
        .bind(limits.standard)
        .bind(limits.critical)
        .bind(limits.context)
        .fetch_all(connection)
        .await
        .doing("counting what is due")
}
