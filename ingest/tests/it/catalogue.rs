//! The migrated schema against what a Citus cluster takes, read from the catalogue of a plain PostgreSQL: so a migration that
//! a cluster would refuse is found without one.

use std::collections::BTreeSet;
use std::path::Path;

use ingest::store::distribution::{Spread, TABLES};
use sqlx::{Executor as _, PgConnection};

use crate::support::{Server, is_skipped_on_a_cluster};
use crate::witness_log::superuser;

/// Every table that is not a partition, sqlx's own excepted.
const THERE: &str = "select relname::text from pg_class
    where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') and not relispartition
      and relname <> '_sqlx_migrations'";

/// Distributed tables without their column, or with one that may be null.
const COLUMN: &str = "select d.name || ' has no ' || d.key || ' that is never null' from declared d
    where not exists (select from pg_attribute a where a.attrelid = d.name::regclass and a.attname = d.key and a.attnotnull)";

/// Unique indexes that do not hold the column: a node could not check them alone. Those of partitions are the parent's.
const UNIQUE: &str = "select i.indexrelid::regclass::text || ' is unique without ' || d.key
    from declared d join pg_index i on i.indrelid = d.name::regclass
    where (i.indisunique or i.indisexclusion) and not exists (
        select from pg_attribute a where a.attrelid = i.indrelid and a.attname = d.key and a.attnum = any(i.indkey))";

const LEVELS: &str = "select c.oid::regclass::text || ' is a second level of partitions'
    from declared d join pg_inherits i on i.inhparent = d.name::regclass
    join pg_class c on c.oid = i.inhrelid where c.relkind = 'p'";

const TRIGGERS: &str = "select t.tgname || ' is a trigger on ' || d.name
    from declared d join pg_trigger t on t.tgrelid = d.name::regclass where not t.tgisinternal";

const FOREIGN_KEYS: &str = "select c.conname || ' is a foreign key at ' || d.name
    from declared d join pg_constraint c on d.name::regclass in (c.conrelid, c.confrelid) where c.contype = 'f'";

/// What a cluster would refuse.
async fn refused(database: &mut PgConnection) -> Vec<String> {
    let there: Vec<String> = sqlx::query_scalar(THERE).fetch_all(&mut *database).await.expect("read");
    let there: BTreeSet<_> = there.into_iter().collect();
    let listed: BTreeSet<_> = TABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut refused: Vec<_> = there
        .symmetric_difference(&listed)
        .map(|name| format!("{name} stands either in the schema or in the list"))
        .collect();
    let distributed: Vec<_> = TABLES
        .iter()
        .filter(|(name, _)| there.contains(*name))
        .filter_map(|(name, spread)| Some((*name, spread.column()?)))
        .collect();
    let (names, keys): (Vec<_>, Vec<_>) = distributed.into_iter().unzip();
    for rule in [COLUMN, UNIQUE, LEVELS, TRIGGERS, FOREIGN_KEYS] {
        let sql = format!(
            "with declared as (select * from unnest($1::text[], $2::text[]) as d (name, key)) {rule}"
        );
        let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(&names)
            .bind(&keys)
            .fetch_all(&mut *database)
            .await
            .expect("read");
        refused.extend(found);
    }
    refused
}

#[tokio::test]
async fn a_cluster_would_take_every_table_as_it_is_listed() {
    let server = Server::start().await;
    assert_eq!(refused(&mut superuser(&server).await).await, Vec::<String>::new());
    server.stop().await;
}

#[tokio::test]
async fn what_a_cluster_would_refuse_is_found_by_name() {
    if is_skipped_on_a_cluster("a cluster refuses it itself") {
        return;
    }
    let server = Server::start().await;
    let mut database = superuser(&server).await;
    for (ddl, found) in [
        ("create table forgotten (tenant_id text)", "forgotten stands either in the schema or in the list"),
        ("create unique index loose on batches (batch_id)", "loose is unique without tenant_id"),
        ("create unique index loose on log_tiles (level)", "loose is unique without log_id"),
        (
            "create table apart (like events) partition by list (tenant_id);
             alter table events attach partition apart for values from ('1999-01-01') to ('1999-02-01')",
            "apart is a second level of partitions",
        ),
        (
            "create function nothing() returns trigger language plpgsql as 'begin return new; end';
             create trigger watched before insert on streams for each row execute function nothing()",
            "watched is a trigger on streams",
        ),
        (
            "alter table alerts add constraint pointing foreign key (alert_id) references access_grants",
            "pointing is a foreign key at alerts",
        ),
        (
            "alter table filed_batches alter tenant_id drop not null",
            "filed_batches has no tenant_id that is never null",
        ),
    ] {
        database.execute("begin").await.expect("begun");
        database.execute(ddl).await.expect(ddl);
        let refused = refused(&mut database).await;
        assert_eq!(refused, [found], "{ddl}");
        database.execute("rollback").await.expect("taken back");
    }
    server.stop().await;
}

#[test]
fn no_statement_detaches_concurrently() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut read = 0;
    for folder in [root.join("../migrations"), root.join("src/store")] {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            let text = text.to_lowercase();
            let detaches = text.match_indices("detach partition").map(|(at, _)| text[at..].chars().take(120));
            for statement in detaches.map(Iterator::collect::<String>) {
                read += 1;
                assert!(!statement.contains("concurrently"), "{}: {statement}", entry.path().display());
            }
        }
    }
    assert!(read > 0, "no statement detaches a partition, so this looks at nothing");
}

#[test]
fn a_leader_stands_before_what_stands_with_it() {
    let first = |spread| TABLES.iter().find(|(_, it)| *it == spread).map(|(name, _)| *name);
    assert_eq!((first(Spread::ByTenant), first(Spread::ByLog)), (Some("events"), Some("log_tiles")));
}
