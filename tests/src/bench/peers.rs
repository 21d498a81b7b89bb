//! What recording costs the application's own database: the same acts with nothing recorded, and recorded inside it.
//!
//! An act is an update of one row, committed by itself. Beside it stand a row trigger that keeps the old and the new row as JSON (the
//! pattern of supa_audit), and the table of an application that gathers a hundred acts and inserts them together, with the indexes
//! that such a table has. Both are written here after their documented patterns. Where the PostgreSQL has pgaudit, it stands there as
//! well, with the statements and their parameters in the server's log. Recorded in front of the application, an act costs its
//! database nothing: that is the side where nothing is recorded.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};

use super::ingest::failed;
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
    Pgaudit,
}

impl Side {
    fn table(self) -> &'static str {
        match self {
            Self::Nobody => "app_bare",
            Self::Trigger => "app_trigger",
            Self::OwnTable => "app_own",
            Self::Pgaudit => "app_pgaudit",
        }
    }

    /// What it is called in figures, and what in the report.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Nobody => ("nobody", "  not recorded there"),
            Self::Trigger => ("trigger", "  a row trigger"),
            Self::OwnTable => ("own_table", "  the application's own table"),
            Self::Pgaudit => ("pgaudit", "  pgaudit"),
        }
    }

    /// What turns it on for the session, and off again.
    fn switch(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Nobody | Self::Trigger | Self::OwnTable => None,
            Self::Pgaudit => Some((
                "set pgaudit.log = 'write'; set pgaudit.log_parameter = on",
                "reset pgaudit.log; reset pgaudit.log_parameter",
            )),
        }
    }

    /// What records in it, beside the table that acts change.
    fn records(self) -> &'static [&'static str] {
        match self {
            Self::Nobody | Self::Pgaudit => &[],
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
    let mut ingest = Ingest::start(&dir.path().join("ingest"), spec).await?;
    let mut sides = vec![Side::Nobody, Side::Trigger, Side::OwnTable];
    let mut report = Report::default();
    report.row("peers", format!("{rounds} rounds of {acts} updates of a row, each committed"));
    if load_pgaudit(&mut ingest).await? {
        sides.push(Side::Pgaudit);
    } else {
        report.row(Side::Pgaudit.names().1, "not measured: this PostgreSQL does not have it".to_owned());
    }
    let mut database = PgConnection::connect_with(&ingest.database()?).await?;
    for side in &sides {
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
        act(&mut database, *side, 500).await?;
    }
    let mut taken = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let mut took = vec![Took::default(); sides.len()];
        for at in 0..sides.len() {
            let at = (round + at) % sides.len();
            database.execute("checkpoint".into_sql_str()).await?;
            took[at] = act(&mut database, sides[at], acts).await?;
        }
        taken.push(took);
    }
    let of = |read: &dyn Fn(&[Took]) -> f64| median(&taken.iter().map(|took| read(took)).collect::<Vec<_>>());
    for (at, side) in sides.iter().enumerate() {
        let (rate, wal) = (of(&|took| took[at].rate), of(&|took| took[at].wal));
        let (figure, name) = side.names();
        report.row(name, format!("{rate:.0} acts/s, {wal:.0} bytes of write-ahead log for an act"));
        if *side != Side::Nobody {
            report.figure(&format!("peers.{figure}_rate_ratio"), of(&|took| took[at].rate / took[0].rate));
            report.figure(&format!("peers.{figure}_wal_ratio"), of(&|took| took[at].wal / took[0].wal));
        }
    }
    Ok(report)
}

/// Starts PostgreSQL again with pgaudit, if it has it. What is not asked for is not recorded by it.
async fn load_pgaudit(ingest: &mut Ingest) -> Result<bool, BenchError> {
    let mut database = PgConnection::connect_with(&ingest.database()?).await?;
    let has = "select exists (select from pg_available_extensions where name = 'pgaudit')";
    if !sqlx::query_scalar::<_, bool>(has).fetch_one(&mut database).await? {
        return Ok(false);
    }
    database.execute("alter system set shared_preload_libraries = 'pgaudit'".into_sql_str()).await?;
    database.close().await?;
    ingest.restart().await?;
    let mut database = PgConnection::connect_with(&ingest.database()?).await?;
    database.execute("create extension pgaudit".into_sql_str()).await?;
    Ok(true)
}

async fn act(database: &mut PgConnection, side: Side, acts: usize) -> Result<Took, BenchError> {
    let position = "select pg_current_wal_insert_lsn()::text";
    let before: String = sqlx::query_scalar(position).fetch_one(&mut *database).await?;
    let update = format!(
        "update {} set name = $2, status = case status when 'active' then 'paused' else 'active' end, changed = changed + 1
         where id = $1",
        side.table()
    );
    if let Some((on, _)) = side.switch() {
        database.execute(on.into_sql_str()).await?;
    }
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
    if let Some((_, off)) = side.switch() {
        database.execute(off.into_sql_str()).await?;
    }
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
