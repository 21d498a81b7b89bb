//! What recording costs the application's own database: the same acts with nothing recorded, and recorded inside it.
//!
//! An act is an update of one row, committed by itself. Beside it stand a row trigger that keeps the old and the new row as JSON (the
//! pattern of supa_audit), and the table of an application that gathers a hundred acts and inserts them together, with the indexes
//! that such a table has. Both are written here after their documented patterns; no foreign code runs. Recorded in front of the
//! application, an act costs its database nothing: that is the side where nothing is recorded.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};

use super::ingest::{self, failed};
use super::report::median;
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Ingest, IngestSpec, SigningKey, free_port};

/// Rows that acts change.
const AGENTS: usize = 10_000;
/// Acts that an application gathers before it inserts them.
const TOGETHER: usize = 100;

const AGENT: &str =
    "id text primary key, name text not null, description text not null, status text not null,
     config jsonb not null, changed int not null";
const CONFIG: &str =
    r#"{"model": "gpt-4o", "schedule": "0 9 * * 1", "plugins": ["mail", "sheets"], "retries": 3}"#;

/// Who records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Nobody,
    Trigger,
    OwnTable,
}

const SIDES: [Side; 3] = [Side::Nobody, Side::Trigger, Side::OwnTable];

impl Side {
    fn table(self) -> &'static str {
        match self {
            Self::Nobody => "app_bare",
            Self::Trigger => "app_trigger",
            Self::OwnTable => "app_own",
        }
    }

    /// What records in it, beside the table that acts change.
    fn records(self) -> &'static [&'static str] {
        match self {
            Self::Nobody => &[],
            Self::Trigger => &[
                "create table app_trigger_versions (id bigint generated always as identity primary key, record_id uuid,
                     old_record_id uuid, op text not null, ts timestamptz not null default now(), table_oid oid not null,
                     table_name text not null, record jsonb, old_record jsonb)",
                "create index on app_trigger_versions using brin (ts)",
                "create index on app_trigger_versions (record_id) where record_id is not null",
                "create index on app_trigger_versions (old_record_id) where old_record_id is not null",
                "create index on app_trigger_versions (table_oid)",
                "create function app_trigger_record() returns trigger language plpgsql security definer as $$
                 begin
                     insert into app_trigger_versions (record_id, old_record_id, op, table_oid, table_name, record, old_record)
                     values (md5(tg_relid || new.id)::uuid, md5(tg_relid || old.id)::uuid, tg_op, tg_relid, tg_table_name,
                             to_jsonb(new), to_jsonb(old));
                     return new;
                 end $$",
                "create trigger record after update on app_trigger for each row execute function app_trigger_record()",
            ],
            Self::OwnTable => &[
                "create table app_own_trail (id uuid primary key default gen_random_uuid(), user_id uuid, actor_id uuid,
                     action text not null, entity_type text, entity_id text, resource_name text, changes jsonb, details jsonb,
                     ip_address text, user_agent text, session_id text, severity text not null default 'info',
                     compliance_flags text[], hash text, created_at timestamptz not null default now())",
                "create index on app_own_trail (user_id)",
                "create index on app_own_trail (action)",
                "create index on app_own_trail (entity_type)",
                "create index on app_own_trail (entity_id)",
                "create index on app_own_trail (severity)",
                "create index on app_own_trail (created_at desc)",
                "create index on app_own_trail (user_id, created_at)",
                "create index on app_own_trail using gin (changes)",
                "create index on app_own_trail using gin (details)",
                "create index on app_own_trail using gin (compliance_flags)",
            ],
        }
    }
}

/// What an act took on one side.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    /// Acts in a second.
    rate: f64,
    /// Write-ahead log, in bytes.
    wal: f64,
}

/// Runs the comparison.
///
/// # Errors
/// [`BenchError`] if the database does not start or refuses.
pub async fn run(extent: Extent) -> Result<Report, BenchError> {
    let (rounds, acts) = match extent {
        Extent::Quick => (3, 2_000),
        Extent::Full => (7, 10_000),
    };
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(failed("opening a directory"))?;
    let spec = IngestSpec {
        port: free_port(None)?,
        key: SigningKey::generate(),
        api_key: format!("etk_bench_{}", hex::encode(random::<32>())),
        more: String::new(),
    };
    // Only for its PostgreSQL: the backend has nothing to do meanwhile.
    let ingest = Ingest::start(&dir.path().join("ingest"), spec).await?;
    let gone = || BenchError::Answer("PostgreSQL does not tell its socket".to_owned());
    let socket = ingest::socket(&ingest.data_dir()).ok_or_else(gone)?;
    let options =
        PgConnectOptions::new_without_pgpass().socket(socket).username("edgetrail").database("postgres");
    let mut database = PgConnection::connect_with(&options).await?;
    for side in SIDES {
        let table = side.table();
        database.execute(AssertSqlSafe(format!("create table {table} ({AGENT})"))).await?;
        let fill = format!(
            "insert into {table} select 'agent-' || n, 'Agent ' || n, repeat('does a thing ', 10), 'active', $1::jsonb, 0
             from generate_series(0, {AGENTS} - 1) n"
        );
        sqlx::query(AssertSqlSafe(fill)).bind(CONFIG).execute(&mut database).await?;
        for statement in side.records() {
            database.execute(statement.into_sql_str()).await?;
        }
        act(&mut database, side, 500).await?;
    }
    let mut taken = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let mut took = [Took::default(); SIDES.len()];
        for at in 0..SIDES.len() {
            let at = (round + at) % SIDES.len();
            database.execute("checkpoint".into_sql_str()).await?;
            took[at] = act(&mut database, SIDES[at], acts).await?;
        }
        taken.push(took);
    }
    let of = |read: &dyn Fn(&[Took; SIDES.len()]) -> f64| median(&taken.iter().map(read).collect::<Vec<_>>());
    let mut report = Report::default();
    report.row("peers", format!("{rounds} rounds of {acts} updates of a row, each committed"));
    for (at, what) in
        ["  not recorded there", "  a row trigger", "  the application's own table"].iter().enumerate()
    {
        let (rate, wal) = (of(&|took| took[at].rate), of(&|took| took[at].wal));
        report.row(*what, format!("{rate:.0} acts/s, {wal:.0} bytes of write-ahead log for an act"));
    }
    for (name, at) in [("trigger", 1), ("own_table", 2)] {
        report.figure(&format!("peers.{name}_rate_ratio"), of(&|took| took[at].rate / took[0].rate));
        report.figure(&format!("peers.{name}_wal_ratio"), of(&|took| took[at].wal / took[0].wal));
    }
    Ok(report)
}

async fn act(database: &mut PgConnection, side: Side, acts: usize) -> Result<Took, BenchError> {
    let position = "select pg_current_wal_insert_lsn()::text";
    let before: String = sqlx::query_scalar(position).fetch_one(&mut *database).await?;
    let update = format!(
        "update {} set name = $2, status = case status when 'active' then 'paused' else 'active' end, changed = changed + 1
         where id = $1",
        side.table()
    );
    let start = Instant::now();
    let mut gathered = 0;
    for n in 0..acts {
        sqlx::query(AssertSqlSafe(update.clone()))
            .bind(format!("agent-{}", n * 7_919 % AGENTS))
            .bind(format!("Agent {n}"))
            .execute(&mut *database)
            .await?;
        gathered += 1;
        if side == Side::OwnTable && (gathered == TOGETHER || n + 1 == acts) {
            record(database, n + 1 - gathered, gathered).await?;
            gathered = 0;
        }
    }
    let rate = acts as f64 / start.elapsed().as_secs_f64();
    let wal: i64 = sqlx::query_scalar("select (pg_current_wal_insert_lsn() - $1::pg_lsn)::bigint")
        .bind(before)
        .fetch_one(database)
        .await?;
    Ok(Took { rate, wal: wal as f64 / acts as f64 })
}

/// The insert of an application that gathers.
async fn record(database: &mut PgConnection, first: usize, count: usize) -> Result<(), BenchError> {
    let ids: Vec<String> = (first..first + count).map(|n| format!("agent-{}", n * 7_919 % AGENTS)).collect();
    sqlx::query(
        "insert into app_own_trail (user_id, action, entity_type, entity_id, resource_name, changes, details, ip_address,
             user_agent, session_id, compliance_flags)
         select md5(id)::uuid, 'AGENT_UPDATED', 'agent', id, 'Agent ' || id,
                jsonb_build_object('name', jsonb_build_object('before', 'Agent', 'after', id), 'status',
                                   jsonb_build_object('before', 'active', 'after', 'paused')),
                jsonb_build_object('changeSummary', 'name, status changed'), '203.0.113.7', repeat('Mozilla/5.0 ', 8), md5(id),
                '{SOC2}'
         from unnest($1::text[]) id",
    )
    .bind(ids)
    .execute(database)
    .await?;
    Ok(())
}
