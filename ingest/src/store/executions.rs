//! Runs and the reports that they are joined from; what they add up to is in [`super::run_metrics`].

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::run_metrics::{Cells, recount};
use super::{Doing as _, Store, StoreError};
use crate::execution::credits::{self, Credit};
use crate::execution::report::ACTIONS;
use crate::execution::{Execution, Kind, Report};

/// An event that may tell of a run.
#[derive(Debug, Clone)]
pub struct RunEvent {
    /// Whose.
    pub tenant_id: String,
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// The committed bytes.
    pub opening: Vec<u8>,
}

/// A report and the run that it is joined to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// What it says.
    pub report: Report,
    /// The run.
    pub run_key: Option<String>,
}

/// A time of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    /// Which agent.
    pub agent: String,
    /// The first moment.
    pub from: DateTime<Utc>,
    /// The last moment.
    pub to: DateTime<Utc>,
}

/// The events of some batches that may tell of runs or credits; none of this backend's own.
///
/// # Errors
/// If the database refuses.
pub async fn events_of_runs(
    connection: &mut PgConnection,
    batches: &[i64],
) -> Result<Vec<RunEvent>, StoreError> {
    sqlx::query_as!(
        RunEvent,
        "select tenant_id, filed_at, opening from events
         where batch_id = any($1) and action = any($2) and host <> 'ingest'",
        batches,
        &[&ACTIONS[..], &credits::ACTIONS].concat() as _
    )
    .fetch_all(connection)
    .await
    .doing("reading events of runs")
}

/// Adds reports; those that are there stay as they are. Which are new.
///
/// # Errors
/// If the database refuses.
pub async fn add_reports(
    connection: &mut PgConnection,
    tenant: &str,
    reports: &[Report],
) -> Result<HashSet<Uuid>, StoreError> {
    fn each<'a, T>(reports: &'a [Report], read: impl Fn(&'a Report) -> T) -> Vec<T> {
        reports.iter().map(read).collect()
    }
    let said = each(reports, |it| serde_json::to_string(&it.said).unwrap_or_default());
    let added = sqlx::query_scalar!(
        "insert into execution_reports
             (tenant_id, event_id, kind, at, begun_at, execution_id, agent_id, agent_name, user_id, error, said)
         select $1, u.event_id, u.kind, u.at, u.begun_at, u.execution_id, u.agent_id, u.agent_name, u.user_id, u.error,
                u.said::jsonb
         from unnest($2::uuid[], $3::smallint[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::text[])
             as u (event_id, kind, at, begun_at, execution_id, agent_id, agent_name, user_id, error, said)
         on conflict do nothing returning event_id",
        tenant,
        &each(reports, |it| it.event_id),
        &each(reports, |it| it.kind.code()),
        &each(reports, |it| it.at),
        &each(reports, Report::begun_at),
        &each(reports, |it| it.execution_id.as_deref()) as _,
        &each(reports, |it| it.agent_id.as_deref()) as _,
        &each(reports, |it| it.agent_name.as_deref()) as _,
        &each(reports, |it| it.user_id.as_deref()) as _,
        &each(reports, |it| it.error.as_deref()) as _,
        &said
    )
    .fetch_all(connection)
    .await
    .doing("adding reports of runs")?;
    Ok(added.into_iter().collect())
}

struct ReportRow {
    event_id: Uuid,
    kind: i16,
    at: DateTime<Utc>,
    execution_id: Option<String>,
    agent_id: Option<String>,
    agent_name: Option<String>,
    user_id: Option<String>,
    error: Option<String>,
    said: String,
    run_key: Option<String>,
}

impl TryFrom<ReportRow> for Joined {
    type Error = StoreError;

    fn try_from(row: ReportRow) -> Result<Self, StoreError> {
        const DAMAGED: StoreError = StoreError::Damaged("report of a run");
        let report = Report {
            event_id: row.event_id,
            kind: Kind::of(row.kind).ok_or(DAMAGED)?,
            at: row.at,
            execution_id: row.execution_id,
            agent_id: row.agent_id,
            agent_name: row.agent_name,
            user_id: row.user_id,
            error: row.error,
            said: serde_json::from_str(&row.said).map_err(|_| DAMAGED)?,
        };
        Ok(Self { report, run_key: row.run_key })
    }
}

/// The reports that name some executions.
///
/// # Errors
/// If the database refuses, or a report is damaged.
pub async fn named(
    connection: &mut PgConnection,
    tenant: &str,
    executions: &[String],
) -> Result<Vec<Joined>, StoreError> {
    let rows = sqlx::query_as!(
        ReportRow,
        r#"select event_id, kind, at, execution_id, agent_id, agent_name, user_id, error, said::text as "said!", run_key
           from execution_reports where tenant_id = $1 and execution_id = any($2)"#,
        tenant,
        executions
    )
    .fetch_all(connection)
    .await
    .doing("reading reports of executions")?;
    rows.into_iter().map(Joined::try_from).collect()
}

/// The reports of agents at some times.
///
/// # Errors
/// If the database refuses, or a report is damaged.
pub async fn around(
    connection: &mut PgConnection,
    tenant: &str,
    spans: &[Around],
) -> Result<Vec<Joined>, StoreError> {
    let agents: Vec<_> = spans.iter().map(|span| span.agent.as_str()).collect();
    let from: Vec<_> = spans.iter().map(|span| span.from).collect();
    let to: Vec<_> = spans.iter().map(|span| span.to).collect();
    let rows = sqlx::query_as!(
        ReportRow,
        r#"select r.event_id, r.kind, r.at, r.execution_id, r.agent_id, r.agent_name, r.user_id, r.error,
                  r.said::text as "said!", r.run_key
           from unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) as u (agent_id, from_at, to_at)
           join execution_reports r on r.tenant_id = $1 and r.agent_id = u.agent_id
               and r.begun_at >= u.from_at and r.begun_at <= u.to_at"#,
        tenant,
        &agents as _,
        &from,
        &to
    )
    .fetch_all(connection)
    .await
    .doing("reading reports of agents")?;
    rows.into_iter().map(Joined::try_from).collect()
}

/// Notes to which runs reports are joined.
///
/// # Errors
/// If the database refuses.
pub async fn assign(
    connection: &mut PgConnection,
    tenant: &str,
    assigned: &[(Uuid, Option<String>)],
) -> Result<(), StoreError> {
    let events: Vec<_> = assigned.iter().map(|(event, _)| *event).collect();
    let keys: Vec<_> = assigned.iter().map(|(_, key)| key.as_deref()).collect();
    sqlx::query!(
        "update execution_reports r set run_key = u.run_key
         from unnest($2::uuid[], $3::text[]) as u (event_id, run_key)
         where r.tenant_id = $1 and r.event_id = u.event_id",
        tenant,
        &events,
        &keys as _
    )
    .execute(connection)
    .await
    .doing("joining reports of runs")?;
    Ok(())
}

/// Removes runs, writes others, and counts anew what they are counted in.
///
/// # Errors
/// If the database refuses.
pub async fn replace(
    connection: &mut PgConnection,
    tenant: &str,
    gone: &[String],
    runs: &[Execution],
) -> Result<(), StoreError> {
    let removed = sqlx::query!(
        "delete from executions where tenant_id = $1 and execution_key = any($2)
         returning agent_id, user_id, started_at",
        tenant,
        gone
    )
    .fetch_all(&mut *connection)
    .await
    .doing("removing runs")?;
    insert(connection, tenant, runs).await?;
    let mut cells = Cells::default();
    for row in &removed {
        cells.add(row.agent_id.as_deref(), row.user_id.as_deref(), row.started_at);
    }
    for run in runs {
        cells.add(run.agent_id.as_deref(), run.user_id.as_deref(), run.started_at);
    }
    recount(connection, tenant, &cells).await
}

async fn insert(connection: &mut PgConnection, tenant: &str, runs: &[Execution]) -> Result<(), StoreError> {
    fn text<'a>(runs: &'a [Execution], read: fn(&'a Execution) -> Option<&'a str>) -> Vec<Option<&'a str>> {
        runs.iter().map(read).collect()
    }
    fn figure(runs: &[Execution], read: fn(&Execution) -> Option<i64>) -> Vec<Option<i64>> {
        runs.iter().map(read).collect()
    }
    let events: Vec<_> =
        runs.iter().map(|run| run.events.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",")).collect();
    sqlx::query!(
        "insert into executions (tenant_id, execution_key, first_event, events, execution_id, agent_id, agent_name, user_id,
             status, trigger, execution_type, started_at, ended_at, duration_ms, duration_from, tokens_in, tokens_out,
             tokens_total, tokens_from, tokens_adjusted, steps_completed, steps_failed, steps_total, iterations,
             tool_calls, error_kind, error)
         select $1, u.execution_key, u.first_event, string_to_array(u.events, ',')::uuid[], u.execution_id, u.agent_id,
             u.agent_name, u.user_id, u.status, u.trigger, u.execution_type, u.started_at, u.ended_at, u.duration_ms,
             u.duration_from, u.tokens_in, u.tokens_out, u.tokens_total, u.tokens_from, u.tokens_adjusted,
             u.steps_completed, u.steps_failed, u.steps_total, u.iterations, u.tool_calls, u.error_kind, u.error
         from unnest($2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
             $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::bigint[], $15::text[], $16::bigint[],
             $17::bigint[], $18::bigint[], $19::text[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[],
             $24::bigint[], $25::bigint[], $26::text[], $27::text[])
             as u (execution_key, first_event, events, execution_id, agent_id, agent_name, user_id, status, trigger,
             execution_type, started_at, ended_at, duration_ms, duration_from, tokens_in, tokens_out, tokens_total,
             tokens_from, tokens_adjusted, steps_completed, steps_failed, steps_total, iterations, tool_calls,
             error_kind, error)",
        tenant,
        &text(runs, |run| Some(&run.execution_key)) as _,
        &runs.iter().map(|run| run.first_event).collect::<Vec<_>>(),
        &events,
        &text(runs, |run| run.execution_id.as_deref()) as _,
        &text(runs, |run| run.agent_id.as_deref()) as _,
        &text(runs, |run| run.agent_name.as_deref()) as _,
        &text(runs, |run| run.user_id.as_deref()) as _,
        &text(runs, |run| Some(&run.status)) as _,
        &text(runs, |run| run.trigger.as_deref()) as _,
        &text(runs, |run| run.execution_type.as_deref()) as _,
        &runs.iter().map(|run| run.started_at).collect::<Vec<_>>(),
        &runs.iter().map(|run| run.ended_at).collect::<Vec<_>>() as _,
        &figure(runs, |run| run.duration_ms) as _,
        &text(runs, |run| run.duration_from.as_deref()) as _,
        &figure(runs, |run| run.tokens_in) as _,
        &figure(runs, |run| run.tokens_out) as _,
        &figure(runs, |run| run.tokens_total) as _,
        &text(runs, |run| run.tokens_from.as_deref()) as _,
        &figure(runs, |run| run.tokens_adjusted) as _,
        &figure(runs, |run| run.steps_completed) as _,
        &figure(runs, |run| run.steps_failed) as _,
        &figure(runs, |run| run.steps_total) as _,
        &figure(runs, |run| run.iterations) as _,
        &figure(runs, |run| run.tool_calls) as _,
        &text(runs, |run| run.error_kind.as_deref()) as _,
        &text(runs, |run| run.error.as_deref()) as _
    )
    .execute(connection)
    .await
    .doing("writing runs")?;
    Ok(())
}

/// Which runs are asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this agent.
    pub agent: Option<String>,
    /// For this user.
    pub user: Option<String>,
    /// That stand so.
    pub status: Option<&'static str>,
    /// That this set off.
    pub trigger: Option<String>,
    /// That began at or after this.
    pub from: DateTime<Utc>,
    /// That began before this.
    pub to: DateTime<Utc>,
}

/// Where a page of runs ended: the last one's beginning and first event.
pub type Place = (DateTime<Utc>, Uuid);

/// Runs, newest first, after a place.
///
/// # Errors
/// If the database refuses.
pub async fn list(
    store: &Store,
    tenant: &str,
    wanted: &Wanted,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Execution>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "select execution_key, first_event, events, execution_id, agent_id, agent_name, user_id, status, trigger,
             execution_type, started_at, ended_at, duration_ms, duration_from, tokens_in, tokens_out, tokens_total,
             tokens_from, tokens_adjusted, steps_completed, steps_failed, steps_total, iterations, tool_calls, error_kind,
             error
         from executions where tenant_id = ",
    );
    sql.push_bind(tenant.to_owned());
    sql.push(" and started_at >= ").push_bind(wanted.from).push(" and started_at < ").push_bind(wanted.to);
    for (column, value) in [
        (" and agent_id = ", wanted.agent.as_deref()),
        (" and user_id = ", wanted.user.as_deref()),
        (" and status = ", wanted.status),
        (" and trigger = ", wanted.trigger.as_deref()),
    ] {
        if let Some(value) = value {
            sql.push(column).push_bind(value.to_owned());
        }
    }
    if let Some((started_at, first_event)) = after {
        sql.push(" and (started_at, first_event) < (").push_bind(started_at).push(", ");
        sql.push_bind(first_event).push(")");
    }
    sql.push(" order by started_at desc, first_event desc limit ").push_bind(limit);
    sql.build_query_as().fetch_all(store.pool()).await.doing("listing runs")
}

/// A run by its key.
///
/// # Errors
/// If the database refuses.
pub async fn find(store: &Store, tenant: &str, key: &str) -> Result<Option<Execution>, StoreError> {
    sqlx::query_as!(
        Execution,
        "select execution_key, first_event, events, execution_id, agent_id, agent_name, user_id, status, trigger,
             execution_type, started_at, ended_at, duration_ms, duration_from, tokens_in, tokens_out, tokens_total,
             tokens_from, tokens_adjusted, steps_completed, steps_failed, steps_total, iterations, tool_calls, error_kind,
             error
         from executions where tenant_id = $1 and execution_key = $2",
        tenant,
        key
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading a run")
}

/// Whose runs are listed.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// Of everybody who has one of these names, proven or not.
    Named(&'a [String]),
    /// Of whoever has this id and asked for the run with a token that proves it: a name in a request may be anybody's.
    Proven(&'a str),
}

/// Runs for somebody, newest first, after a place.
///
/// # Errors
/// If the database refuses.
pub async fn of_users(
    store: &Store,
    tenant: &str,
    whose: Whose<'_>,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Execution>, StoreError> {
    let (at, event) = after.unzip();
    let (users, is_proven) = match whose {
        Whose::Named(names) => (names.to_vec(), false),
        Whose::Proven(subject) => (vec![subject.to_owned()], true),
    };
    let asked: Vec<i16> = Kind::ALL.into_iter().filter(|kind| kind.is_asked()).map(Kind::code).collect();
    sqlx::query_as!(
        Execution,
        "select execution_key, first_event, events, execution_id, agent_id, agent_name, user_id, status, trigger,
             execution_type, started_at, ended_at, duration_ms, duration_from, tokens_in, tokens_out, tokens_total,
             tokens_from, tokens_adjusted, steps_completed, steps_failed, steps_total, iterations, tool_calls, error_kind,
             error
         from executions
         where tenant_id = $1 and user_id = any($2)
             and ($3::timestamptz is null or (started_at, first_event) < ($3, $4))
             and (not $6 or exists (
                 select from execution_reports
                 where execution_reports.tenant_id = $1 and run_key = execution_key
                     and execution_reports.user_id = executions.user_id
                     and kind = any($7) and (said ->> 'is_proven')::boolean))
         order by started_at desc, first_event desc limit $5",
        tenant,
        &users,
        at,
        event,
        limit,
        is_proven,
        &asked
    )
    .fetch_all(store.pool())
    .await
    .doing("listing somebody's runs")
}

/// Adds what was written down of credits; what is there stays as it is.
///
/// # Errors
/// If the database refuses.
pub async fn add_credits(
    connection: &mut PgConnection,
    tenant: &str,
    credits: &[Credit],
) -> Result<(), StoreError> {
    let events: Vec<_> = credits.iter().map(|it| it.event_id).collect();
    let at: Vec<_> = credits.iter().map(|it| it.at).collect();
    let users: Vec<_> = credits.iter().map(|it| it.user_id.as_str()).collect();
    let deltas: Vec<_> = credits.iter().map(|it| it.delta).collect();
    let balances: Vec<_> = credits.iter().map(|it| it.balance).collect();
    sqlx::query!(
        "insert into credit_reports (tenant_id, event_id, at, user_id, delta, balance)
         select $1, * from unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::bigint[], $6::bigint[])
         on conflict do nothing",
        tenant,
        &events,
        &at,
        &users as _,
        &deltas as _,
        &balances as _
    )
    .execute(connection)
    .await
    .doing("adding what is known of credits")?;
    Ok(())
}

/// Takes a person out of runs, those until a time or all, and of what was reported of them: who decides is told the texts.
/// How many runs.
///
/// # Errors
/// If the database refuses.
pub async fn forget(
    connection: &mut PgConnection,
    tenant: &str,
    until: Option<DateTime<Utc>>,
    theirs: &impl Fn(&[Option<&str>]) -> bool,
) -> Result<i64, StoreError> {
    let doing = "taking somebody out of runs";
    let mut cells = Cells::default();
    let (mut places, mut kept) = (Vec::new(), Vec::new());
    {
        let mut rows = sqlx::query!(
            "select event_id, agent_name, user_id, error from execution_reports
             where tenant_id = $1 and ($2::timestamptz is null or at <= $2)
                 and (agent_name is not null or user_id is not null or error is not null)",
            tenant,
            until
        )
        .fetch(&mut *connection);
        while let Some(row) = rows.try_next().await.doing(doing)? {
            let texts = [row.agent_name, row.user_id, row.error];
            if let Some(left) = without(texts, theirs) {
                places.push(row.event_id);
                kept.push(left);
            }
        }
    }
    let column = |kept: &[[Option<String>; 3]], at: usize| -> Vec<Option<String>> {
        kept.iter().map(|left| left[at].clone()).collect()
    };
    sqlx::query!(
        "update execution_reports r set agent_name = u.agent_name, user_id = u.user_id, error = u.error
         from unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) as u (event_id, agent_name, user_id, error)
         where r.tenant_id = $1 and r.event_id = u.event_id",
        tenant,
        &places,
        &column(&kept, 0) as _,
        &column(&kept, 1) as _,
        &column(&kept, 2) as _
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    let (mut keys, mut kept) = (Vec::new(), Vec::new());
    {
        let mut rows = sqlx::query!(
            "select execution_key, agent_id, agent_name, user_id, error, started_at from executions
             where tenant_id = $1 and ($2::timestamptz is null or started_at <= $2)
                 and (agent_name is not null or user_id is not null or error is not null)",
            tenant,
            until
        )
        .fetch(&mut *connection);
        while let Some(row) = rows.try_next().await.doing(doing)? {
            let user = row.user_id.clone();
            if let Some(left) = without([row.agent_name, row.user_id, row.error], theirs) {
                cells.add(row.agent_id.as_deref(), user.as_deref(), row.started_at);
                keys.push(row.execution_key);
                kept.push(left);
            }
        }
    }
    sqlx::query!(
        "update executions e set agent_name = u.agent_name, user_id = u.user_id, error = u.error
         from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as u (execution_key, agent_name, user_id, error)
         where e.tenant_id = $1 and e.execution_key = u.execution_key",
        tenant,
        &keys,
        &column(&kept, 0) as _,
        &column(&kept, 1) as _,
        &column(&kept, 2) as _
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    let mut credits = BTreeSet::new();
    {
        let mut rows =
            sqlx::query_scalar!("select distinct user_id from credit_reports where tenant_id = $1", tenant)
                .fetch(&mut *connection);
        while let Some(user) = rows.try_next().await.doing(doing)? {
            credits.extend(Some(user).filter(|user| theirs(&[Some(user.as_str())])));
        }
    }
    let credits: Vec<String> = credits.into_iter().collect();
    sqlx::query!(
        "delete from credit_reports
         where tenant_id = $1 and user_id = any($2) and ($3::timestamptz is null or at <= $3)",
        tenant,
        &credits,
        until
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    recount(connection, tenant, &cells).await?;
    Ok(i64::try_from(keys.len()).unwrap_or(i64::MAX))
}

/// Texts without those that are somebody's; none if none of them is.
fn without(
    texts: [Option<String>; 3],
    theirs: &impl Fn(&[Option<&str>]) -> bool,
) -> Option<[Option<String>; 3]> {
    let is_theirs = |text: &Option<String>| text.is_some() && theirs(&[text.as_deref()]);
    texts.iter().any(is_theirs).then(|| texts.map(|text| text.filter(|text| !theirs(&[Some(text)]))))
}

/// Removes the runs of whole days (UTC) before a time, and what they add up to. How many.
///
/// # Errors
/// If the database refuses.
pub async fn expire(
    connection: &mut PgConnection,
    tenant: &str,
    before: DateTime<Utc>,
) -> Result<i64, StoreError> {
    let before = before.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    let doing = "removing runs that are kept no longer";
    sqlx::query!(
        "delete from execution_reports r
         where tenant_id = $1 and (exists (select 1 from executions e where e.tenant_id = $1 and e.execution_key = r.run_key
                                           and e.started_at < $2)
                                   or r.run_key is null and r.begun_at < $2)",
        tenant,
        before
    )
    .execute(&mut *connection)
    .await
    .doing(doing)?;
    sqlx::query!("delete from execution_metrics where tenant_id = $1 and start < $2", tenant, before)
        .execute(&mut *connection)
        .await
        .doing(doing)?;
    sqlx::query!("delete from credit_reports where tenant_id = $1 and at < $2", tenant, before)
        .execute(&mut *connection)
        .await
        .doing(doing)?;
    let gone =
        sqlx::query!("delete from executions where tenant_id = $1 and started_at < $2", tenant, before)
            .execute(connection)
            .await
            .doing(doing)?;
    Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
}
