//! A month of events whose time is over: how long it takes until it is gone, beside DELETE and VACUUM of the same rows.
//!
//! The ratios are those of the whole job, from the first look at the month to its end: the list of leaves and its record are
//! part of what it costs, although DELETE and VACUUM account for nothing. What the removal alone takes is told beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use chrono::{Datelike as _, Months, NaiveDate, Utc};
use shared::leaf::{Seed, StoredOpening, Tag};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::ingest::{self, Producer, TENANT, failed, optimised};
use super::report::median;
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Ingest, IngestSpec, SigningKey, edgetrail_bin, free_port, workspace_root};

/// One of so many events is critical and stays.
const KEPT_OF: usize = 50;
/// Openings that the made-up events share.
const OPENINGS: usize = 500;
/// Leaves of made-up events stand far beyond those of real ones.
const FIRST_LEAF: i64 = 1_000_000_000;

/// What it took to let a month go.
#[derive(Debug, Clone, Copy)]
struct Took {
    /// Without the accounting.
    seconds: f64,
    wal: f64,
    /// Of the table with its indexes afterwards, to what it was.
    space: f64,
    /// Nobody else could read or write, in seconds.
    exclusive: f64,
    /// What the accounting took beside that.
    accounting: f64,
}

/// Runs the comparison.
///
/// # Errors
/// [`BenchError`] if the backend does not start, or not everything goes.
pub async fn run(extent: Extent) -> Result<Report, BenchError> {
    let (rounds, events) = match extent {
        Extent::Quick => (3, 100_000),
        Extent::Full => (3, 1_000_000),
    };
    optimised()?;
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(failed("opening a directory"))?;
    let key = SigningKey::generate();
    let spec = IngestSpec {
        port: free_port(None)?,
        key: key.clone(),
        api_key: format!("etk_bench_{}", hex::encode(random::<32>())),
        more: "[retention]\nautomatic = false\n".to_owned(),
    };
    let home = dir.path().join("ingest");
    let ingest = Ingest::start(&home, spec).await?;
    let mut bench = Bench::start(&ingest, &key, &home, events).await?;
    let mut all = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let deleted = [bench.deleted(true).await?, bench.deleted(false).await?];
        all.push((deleted, [bench.retained(true).await?, bench.retained(false).await?]));
    }
    Ok(tell(events, &all))
}

type Round = ([Took; 2], [Took; 2]);

fn tell(events: usize, rounds: &[Round]) -> Report {
    let of = |read: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(read).collect::<Vec<_>>());
    let mut report = Report::default();
    report.row("retention", format!("{} rounds of a month of {events} events", rounds.len()));
    for (at, what) in [(0, "2 % kept"), (1, "none kept")] {
        report.row(
            format!("  DELETE and VACUUM, {what}"),
            format!(
                "{:.2} s, {:.1} MB of WAL, {:.0} % of the space is still taken",
                of(&|round| round.0[at].seconds),
                of(&|round| round.0[at].wal / 1e6),
                of(&|round| round.0[at].space * 100.0),
            ),
        );
        report.row(
            format!("  retention, {what}"),
            format!(
                "{:.2} s, {:.1} MB of WAL, {:.0} % of the space; exclusive for {:.0} ms; {:.2} s more to account for it",
                of(&|round| round.1[at].seconds),
                of(&|round| round.1[at].wal / 1e6),
                of(&|round| round.1[at].space * 100.0),
                of(&|round| round.1[at].exclusive * 1000.0),
                of(&|round| round.1[at].accounting),
            ),
        );
    }
    let removal = |at: usize| of(&move |round| round.0[at].seconds / round.1[at].seconds);
    let whole =
        |at: usize| of(&move |round| round.0[at].seconds / (round.1[at].seconds + round.1[at].accounting));
    let wal = |at: usize| of(&move |round| round.0[at].wal / round.1[at].wal);
    report.figure("retention.delete_over_swap_ratio", whole(0));
    report.figure("retention.delete_over_drop_ratio", whole(1));
    report.figure("retention.delete_over_swap_removal_ratio", removal(0));
    report.figure("retention.delete_over_drop_removal_ratio", removal(1));
    report.figure("retention.delete_over_swap_wal_ratio", wal(0));
    report.figure("retention.delete_over_drop_wal_ratio", wal(1));
    report.figure(
        "retention.exclusive_ms",
        of(&|round| round.1[0].exclusive.max(round.1[1].exclusive) * 1000.0),
    );
    report
}

struct Bench {
    database: PgConnection,
    config: std::path::PathBuf,
    month: NaiveDate,
    table: String,
    events: usize,
}

impl Bench {
    async fn start(
        ingest: &Ingest,
        key: &SigningKey,
        home: &Path,
        events: usize,
    ) -> Result<Self, BenchError> {
        let gone = || BenchError::Answer("PostgreSQL does not tell its socket".to_owned());
        let socket = ingest::socket(&ingest.data_dir()).ok_or_else(gone)?;
        let options =
            PgConnectOptions::new_without_pgpass().socket(socket).username("edgetrail").database("postgres");
        let mut database = PgConnection::connect_with(&options).await?;
        // A log to stand in.
        let mut producers = vec![(0..10).map(|_| Producer::new(key, TENANT)).collect::<Vec<_>>()];
        let (requests, _) = ingest::requests(&mut producers, 1000);
        let address = ingest.address();
        let sending = tokio::task::spawn_blocking(move || ingest::send(address, requests));
        sending.await.map_err(|error| BenchError::Answer(error.to_string()))??;
        while sqlx::query_scalar::<_, i64>("select count(*) from logs").fetch_one(&mut database).await? == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let month = Utc::now().date_naive().with_day(1).unwrap_or_default() - Months::new(13);
        let table = month.format("events_%Y_%m").to_string();
        // A year on, the personal context is long gone.
        let context = [Tag::IP, Tag::USER_AGENT, Tag::SESSION, Tag::PLACE];
        let openings: Vec<Vec<u8>> = (0..OPENINGS)
            .map(|n| {
                let whole = ingest::updated(1_700_000_000_000, n).to_opening(Seed(random()));
                let remnant = StoredOpening::Whole(whole).erase(&context);
                remnant.map_or_else(Vec::new, |remnant| remnant.encode())
            })
            .collect();
        database.execute("create unlogged table bench_openings (which bigint, opening bytea)").await?;
        sqlx::query(
            "insert into bench_openings
             select which - 1, opening from unnest($1::bytea[]) with ordinality as made (opening, which)",
        )
        .bind(openings)
        .execute(&mut database)
        .await?;
        let fill = format!(
            "create unlogged table bench_month as
             select 'demo'::text as tenant_id, t as filed_at,
                 (lpad(to_hex((extract(epoch from t) * 1000)::bigint), 12, '0') || '7'
                  || substr(md5(n::text), 14))::uuid as id,
                 t as occurred_at, arrived as received_at, 0::smallint as class, 1::smallint as severity, 0::smallint as outcome,
                 0::smallint as trust, 'AGENT_UPDATED'::text as action, md5('a' || n % 500)::uuid::text as actor_id,
                 'person' || n % 500 || '@example.com' as actor_email, null::text as claimed_user,
                 'agent'::text as entity_type, md5('e' || n % 2000)::uuid::text as entity_id,
                 'Support agent ' || n % 2000 as entity_name,
                 null::inet as ip, null::text as session_id, null::text as country, 'app.example.com'::text as host, 'PUT'::text as method,
                 '/api/agents/{{id}}'::text as route, 'app/agent-update'::text as rule, 200 as status,
                 null::text as reason, (n % 200)::bigint as duration_ms, 0::smallint as change_quality,
                 '{{}}'::text[] as compliance, {FIRST_LEAF} + n / 100 as batch_id, (n % 100)::smallint as position,
                 opening
             from (select n, n % {OPENINGS} as which, '{month} 00:00Z'::timestamptz + n * (interval '28 days' / {events}) as t,
                          '{month} 00:00Z'::timestamptz + (n / 100 + 1) * 100 * (interval '28 days' / {events}) as arrived
                   from generate_series(0::bigint, {events} - 1) n) made
             join bench_openings using (which);
             insert into log_rounds (log_id, first_index, tenant_id, batch_id, n, entries)
             select log_id, {FIRST_LEAF} + 100 * n, tenant_id, {FIRST_LEAF} + n, 100, ''
             from (select log_id, tenant_id from logs limit 1) l, generate_series(0::bigint, ({events} - 1) / 100) n",
        );
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut database).await?;
        Ok(Self { database, config: home.join("edgetrail.toml"), month, table, events })
    }

    /// The month as it is before anything of it goes.
    async fn fill(&mut self, some_stay: bool) -> Result<f64, BenchError> {
        let table = &self.table;
        let class = if some_stay {
            format!("case when position % {KEPT_OF} = 0 then 1 else 0 end")
        } else {
            "0".to_owned()
        };
        let columns: Vec<String> = sqlx::query_scalar(
            "select attname::text from pg_attribute where attrelid = 'events'::regclass and attnum > 0 order by attnum",
        )
        .fetch_all(&mut self.database)
        .await?;
        let columns: Vec<&str> =
            columns.iter().map(|name| if name == "class" { class.as_str() } else { name.as_str() }).collect();
        let fill = format!(
            "truncate {table}; delete from retention_runs;
             alter table {table} set (autovacuum_enabled = off);
             insert into {table} select {} from bench_month;
             delete from filed_batches where month = '{month}';
             insert into filed_batches
             select '{month}'::date, tenant_id, batch_id, class, received_at,
                 bit_or(case when position < 64 then 1::bigint << position else 0 end),
                 bit_or(case when position >= 64 then 1::bigint << (position - 64) else 0 end)
             from {table} group by tenant_id, batch_id, class, received_at;",
            columns.join(", "),
            month = self.month,
        );
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut self.database).await?;
        for statement in [format!("vacuum analyze {table}, filed_batches"), "checkpoint".to_owned()] {
            self.database.execute(AssertSqlSafe(statement)).await?;
        }
        self.space().await
    }

    async fn space(&mut self) -> Result<f64, BenchError> {
        let bytes: i64 = sqlx::query_scalar("select pg_total_relation_size($1::text::regclass)")
            .bind(&self.table)
            .fetch_one(&mut self.database)
            .await?;
        Ok(bytes as f64)
    }

    async fn written(&mut self) -> Result<f64, BenchError> {
        let bytes: i64 = sqlx::query_scalar("select (pg_current_wal_insert_lsn() - '0/0')::bigint")
            .fetch_one(&mut self.database)
            .await?;
        Ok(bytes as f64)
    }

    async fn left(&mut self, some_stay: bool) -> Result<(), BenchError> {
        let left: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {}", self.table)))
            .fetch_one(&mut self.database)
            .await?;
        let expected = if some_stay { self.events / KEPT_OF } else { 0 };
        if usize::try_from(left) == Ok(expected) {
            Ok(())
        } else {
            Err(BenchError::Answer(format!("{left} events are left, not {expected}")))
        }
    }

    async fn deleted(&mut self, some_stay: bool) -> Result<Took, BenchError> {
        let before = self.fill(some_stay).await?;
        let wal = self.written().await?;
        let start = Instant::now();
        for statement in
            [format!("delete from {} where class = 0", self.table), format!("vacuum {}", self.table)]
        {
            self.database.execute(AssertSqlSafe(statement)).await?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let wal = self.written().await? - wal;
        self.left(some_stay).await?;
        Ok(Took { seconds, wal, space: self.space().await? / before, exclusive: 0.0, accounting: 0.0 })
    }

    async fn retained(&mut self, some_stay: bool) -> Result<Took, BenchError> {
        let before = self.fill(some_stay).await?;
        let wal = self.written().await?;
        let (bin, config) = (edgetrail_bin()?, self.config.clone());
        let running = tokio::task::spawn_blocking(move || {
            Command::new(bin)
                .args(["retention", "run", "--config"])
                .arg(config)
                .current_dir(workspace_root())
                .output()
        });
        let output = running
            .await
            .map_err(|error| BenchError::Answer(error.to_string()))?
            .map_err(failed("running edgetrail"))?;
        let wal = self.written().await? - wal;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let month = self.month.format("%B %Y: ").to_string();
        // … exclusive for 12 ms, accounted for in 345 ms of 1234 ms
        let times = said.lines().find(|line| line.starts_with(&month)).and_then(|line| {
            let times = line.split_once("exclusive for ")?.1.strip_suffix(" ms")?;
            let (exclusive, times) = times.split_once(" ms, accounted for in ")?;
            let (accounting, all) = times.split_once(" ms of ")?;
            let seconds = |text: &str| Some(text.parse::<f64>().ok()? / 1000.0);
            Some((seconds(exclusive)?, seconds(accounting)?, seconds(all)?))
        });
        let (exclusive, accounting, all) = times.ok_or_else(|| {
            BenchError::Answer(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
        })?;
        self.left(some_stay).await?;
        let space = self.space().await? / before;
        Ok(Took { seconds: all - accounting, wal, space, exclusive, accounting })
    }
}
