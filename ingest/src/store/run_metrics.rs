//! What runs add up to, for each agent and each user, and how things stand with all of them.

use std::collections::BTreeSet;

use chrono::{DateTime, Timelike as _, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{Doing as _, Store, StoreError};
use crate::execution::metrics::{Of, Sums};

/// Sums that runs are counted in.
#[derive(Debug, Default)]
pub(super) struct Cells(BTreeSet<(Of, String, bool, DateTime<Utc>)>);

impl Cells {
    /// Adds those of a run: its agent's and its user's hour and day.
    pub(super) fn add(&mut self, agent: Option<&str>, user: Option<&str>, at: DateTime<Utc>) {
        let hour = at.date_naive().and_hms_opt(at.hour(), 0, 0).map(|hour| hour.and_utc()).unwrap_or(at);
        let day = at.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        for (of, id) in [(Of::Agent, agent), (Of::User, user)] {
            for (is_day, start) in [(false, hour), (true, day)] {
                self.0.extend(id.map(|id| (of, id.to_owned(), is_day, start)));
            }
        }
    }
}

/// Counts runs anew for some sums.
///
/// # Errors
/// If the database refuses.
pub(super) async fn recount(
    connection: &mut PgConnection,
    tenant: &str,
    cells: &Cells,
) -> Result<(), StoreError> {
    let doing = "counting runs";
    for of in [Of::Agent, Of::User] {
        let own = || cells.0.iter().filter(move |cell| cell.0 == of);
        let ids: Vec<_> = own().map(|cell| cell.1.as_str()).collect();
        let days: Vec<_> = own().map(|cell| cell.2).collect();
        let starts: Vec<_> = own().map(|cell| cell.3).collect();
        if ids.is_empty() {
            continue;
        }
        sqlx::query!(
            "delete from execution_metrics m using unnest($3::text[], $4::boolean[], $5::timestamptz[])
                 as u (id, is_day, start)
             where m.tenant_id = $1 and m.of_what = $2 and m.id = u.id and m.is_day = u.is_day and m.start = u.start",
            tenant,
            of.word(),
            &ids as _,
            &days,
            &starts
        )
        .execute(&mut *connection)
        .await
        .doing(doing)?;
        // Each has an index of its own.
        let column = match of {
            Of::Agent => "e.agent_id",
            Of::User => "e.user_id",
        };
        let mut sql = QueryBuilder::<Postgres>::new(
            "insert into execution_metrics (tenant_id, of_what, id, is_day, start, runs, completed, failed, running, tokens,
                 tokens_runs, tokens_peak, tokens_in, tokens_in_runs, tokens_out, tokens_out_runs, both_in, both_out,
                 iterations, iterations_runs, duration_ms, duration_runs, duration_peak_ms, last_run) select ",
        );
        sql.push_bind(tenant.to_owned()).push(", ").push_bind(of.word());
        sql.push(", u.id, u.is_day, u.start, ").push(SUMS).push(" from unnest(");
        sql.push_bind(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()).push(", ");
        sql.push_bind(days).push(", ").push_bind(starts);
        sql.push(") as u (id, is_day, start) join executions e on e.tenant_id = ")
            .push_bind(tenant.to_owned());
        sql.push(" and ")
            .push(column)
            .push(" = u.id and e.started_at >= u.start and e.started_at < u.start + ");
        sql.push("case when u.is_day then interval '24 hours' else interval '1 hour' end");
        sql.push(" group by u.id, u.is_day, u.start");
        sql.build().execute(&mut *connection).await.doing(doing)?;
    }
    Ok(())
}

/// What runs add up to. A sum of `bigint` is numeric; no sum here may be too large to write down.
const SUMS: &str = "count(*), count(*) filter (where e.status = 'completed'), count(*) filter (where e.status = 'failed'),
     count(*) filter (where e.status = 'running'),
     least(coalesce(sum(e.tokens_total), 0), 9000000000000000000)::bigint, count(e.tokens_total), max(e.tokens_total),
     least(coalesce(sum(e.tokens_in), 0), 9000000000000000000)::bigint, count(e.tokens_in),
     least(coalesce(sum(e.tokens_out), 0), 9000000000000000000)::bigint, count(e.tokens_out),
     least(coalesce(sum(e.tokens_in) filter (where e.tokens_out is not null), 0), 9000000000000000000)::bigint,
     least(coalesce(sum(e.tokens_out) filter (where e.tokens_in is not null), 0), 9000000000000000000)::bigint,
     least(coalesce(sum(e.iterations), 0), 9000000000000000000)::bigint, count(e.iterations),
     least(coalesce(sum(e.duration_ms), 0), 9000000000000000000)::bigint, count(e.duration_ms), max(e.duration_ms),
     max(e.started_at)";

/// What the runs of each agent or user add up to that begin within whole hours; those with the newest runs first.
///
/// # Errors
/// If the database refuses.
pub async fn sums(
    store: &Store,
    tenant: &str,
    of: Of,
    id: Option<&str>,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    limit: i64,
) -> Result<Vec<Sums>, StoreError> {
    sqlx::query_as!(
        Sums,
        r#"select id, sum(runs)::bigint as "runs!", sum(completed)::bigint as "completed!", sum(failed)::bigint as "failed!",
               sum(running)::bigint as "running!",
               least(sum(tokens), 9000000000000000000)::bigint as "tokens!", sum(tokens_runs)::bigint as "tokens_runs!",
               max(tokens_peak) as tokens_peak,
               least(sum(tokens_in), 9000000000000000000)::bigint as "tokens_in!",
               sum(tokens_in_runs)::bigint as "tokens_in_runs!",
               least(sum(tokens_out), 9000000000000000000)::bigint as "tokens_out!",
               sum(tokens_out_runs)::bigint as "tokens_out_runs!",
               least(sum(both_in), 9000000000000000000)::bigint as "both_in!",
               least(sum(both_out), 9000000000000000000)::bigint as "both_out!",
               least(sum(iterations), 9000000000000000000)::bigint as "iterations!",
               sum(iterations_runs)::bigint as "iterations_runs!",
               least(sum(duration_ms), 9000000000000000000)::bigint as "duration_ms!",
               sum(duration_runs)::bigint as "duration_runs!", max(duration_peak_ms) as duration_peak_ms,
               max(last_run) as last_run
           from execution_metrics
           where tenant_id = $1 and of_what = $2 and ($3::text is null or id = $3) and start >= $4 and start < $5
               and (is_day and start >= date_trunc('day', $4::timestamptz + interval '24 hours' - interval '1 microsecond', 'UTC')
                        and start + interval '24 hours' <= $5
                    or not is_day and (start < date_trunc('day', $4::timestamptz + interval '24 hours' - interval '1 microsecond', 'UTC')
                        or start >= date_trunc('day', $5::timestamptz, 'UTC')))
           group by id order by max(last_run) desc, id limit $6"#,
        tenant,
        of.word(),
        id,
        from,
        to,
        limit
    )
    .fetch_all(store.pool())
    .await
    .doing("adding up runs")
}

/// What the runs of an agent or a user add up to in each hour or day; each named by its beginning. Oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn series(
    store: &Store,
    tenant: &str,
    (of, id): (Of, &str),
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    by_day: bool,
) -> Result<Vec<(DateTime<Utc>, Sums)>, StoreError> {
    let rows = sqlx::query!(
        "select start, id, runs, completed, failed, running, tokens, tokens_runs, tokens_peak, tokens_in, tokens_in_runs,
             tokens_out, tokens_out_runs, both_in, both_out, iterations, iterations_runs, duration_ms, duration_runs,
             duration_peak_ms, last_run
         from execution_metrics
         where tenant_id = $1 and of_what = $2 and id = $3 and is_day = $4 and start >= $5 and start < $6
         order by start",
        tenant,
        of.word(),
        id,
        by_day,
        from,
        to
    )
    .fetch_all(store.pool())
    .await
    .doing("adding up runs")?;
    let sums = rows.into_iter().map(|row| {
        let sums = Sums {
            id: row.id,
            runs: row.runs,
            completed: row.completed,
            failed: row.failed,
            running: row.running,
            tokens: row.tokens,
            tokens_runs: row.tokens_runs,
            tokens_peak: row.tokens_peak,
            tokens_in: row.tokens_in,
            tokens_in_runs: row.tokens_in_runs,
            tokens_out: row.tokens_out,
            tokens_out_runs: row.tokens_out_runs,
            both_in: row.both_in,
            both_out: row.both_out,
            iterations: row.iterations,
            iterations_runs: row.iterations_runs,
            duration_ms: row.duration_ms,
            duration_runs: row.duration_runs,
            duration_peak_ms: row.duration_peak_ms,
            last_run: Some(row.last_run),
        };
        (row.start, sums)
    });
    Ok(sums.collect())
}

/// What of an agent its runs alone tell.
#[derive(Debug, Clone)]
pub struct AgentFacts {
    /// Runs of which the end is known, ever.
    pub ended: Option<i64>,
    /// Of them, those that failed.
    pub failed: Option<i64>,
    /// Turns of a run, in the mean of those that tell.
    pub iterations: Option<f64>,
    /// Milliseconds of a run, in the mean of those that tell.
    pub duration_ms: Option<f64>,
    /// Tokens that came out of a run, in the mean of those that tell.
    pub output: Option<f64>,
    /// Steps of a run, at most.
    pub steps: Option<i64>,
    /// Tokens that went into the last run that tells both, and came out.
    pub last_in: Option<i64>,
    /// The latter.
    pub last_out: Option<i64>,
}

/// What an agent's runs tell of it.
///
/// # Errors
/// If the database refuses.
pub async fn facts(store: &Store, tenant: &str, agent: &str) -> Result<AgentFacts, StoreError> {
    sqlx::query_as!(
        AgentFacts,
        "select count(*) filter (where e.status in ('completed', 'failed')) as ended,
             count(*) filter (where e.status = 'failed') as failed,
             avg(e.iterations)::float8 as iterations, avg(e.duration_ms)::float8 as duration_ms,
             avg(e.tokens_out)::float8 as output, max(e.steps_total) as steps,
             max(last.tokens_in) as last_in, max(last.tokens_out) as last_out
         from executions e
         left join lateral (select tokens_in, tokens_out from executions
             where tenant_id = $1 and agent_id = $2 and tokens_in > 0 and tokens_out > 0
             order by started_at desc, first_event desc limit 1) last on true
         where e.tenant_id = $1 and e.agent_id = $2",
        tenant,
        agent
    )
    .fetch_one(store.pool())
    .await
    .doing("reading what runs tell of an agent")
}

/// The details of the event in which an agent was made, the newest that says them: its opening.
///
/// # Errors
/// If the database refuses.
pub async fn creation(store: &Store, tenant: &str, agent: &str) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar!(
        "select opening from events
         where tenant_id = $1 and entity_type = 'agent' and entity_id = $2 and action = 'AGENT_CREATED' and outcome = $3
         order by filed_at desc, id desc limit 1",
        tenant,
        agent,
        i16::from(shared::event::Outcome::Success.byte())
    )
    .fetch_optional(store.pool())
    .await
    .doing("reading how an agent was made")
}

/// How things stand with an application's agents.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Agents that ran.
    pub agents: i64,
    /// Runs.
    pub runs: i64,
    /// Runs that failed.
    pub failed: i64,
    /// Runs that go on as far as is known.
    pub running: i64,
    /// Agents of which a memory was made; none if no such event was ever seen.
    pub memory_agents: Option<i64>,
    /// Credits that were taken; none if no movement was seen in this time.
    pub credits_used: Option<i64>,
    /// What all users have left by the newest that is known of each; none if nothing is.
    pub balance: Option<i64>,
}

/// How things stand between two times.
///
/// # Errors
/// If the database refuses.
pub async fn standing(
    store: &Store,
    tenant: &str,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Standing, StoreError> {
    sqlx::query_as!(
        Standing,
        r#"select r.agents as "agents!", r.runs as "runs!", r.failed as "failed!", r.running as "running!",
               case when exists (select 1 from events where tenant_id = $1 and action = 'MEMORY_CREATED') then
                   (select count(distinct entity_id) from events
                    where tenant_id = $1 and action = 'MEMORY_CREATED' and entity_type = 'agent'
                        and filed_at >= $2 and filed_at < $3) end as memory_agents,
               (select least(-coalesce(sum(delta) filter (where delta < 0), 0), 9000000000000000000)::bigint from credit_reports
                where tenant_id = $1 and at >= $2 and at < $3 having count(delta) > 0) as credits_used,
               (select least(sum(balance), 9000000000000000000)::bigint from
                    (select distinct on (user_id) balance from credit_reports
                     where tenant_id = $1 and balance is not null order by user_id, at desc, event_id) newest) as balance
           from (select count(distinct agent_id) as agents, count(*) as runs,
                     count(*) filter (where status = 'failed') as failed,
                     count(*) filter (where status = 'running') as running
                 from executions where tenant_id = $1 and started_at >= $2 and started_at < $3) r"#,
        tenant,
        from,
        to
    )
    .fetch_one(store.pool())
    .await
    .doing("reading how agents do")
}
