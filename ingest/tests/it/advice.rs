//! What an operator asks PostgreSQL itself, as `docs/postgres.md` has it.

use std::path::Path;

use sqlx::{AssertSqlSafe, Column as _, Row as _};

use crate::support::{Server, sample};
use crate::witness_log::superuser;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/postgres.md");
    std::fs::read_to_string(path).expect("the page")
}

fn statements(page: &str) -> Vec<&str> {
    let blocks = page.split("```sql\n").skip(1);
    blocks.map(|block| block.split("\n```").next().expect("its end")).collect()
}

#[tokio::test]
async fn every_statement_of_the_page_runs_and_tells_what_the_page_reads_of_it() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&[sample(1), sample(2)])).await["stored"], 2);
    let mut database = superuser(&server).await;
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(&mut database)
        .await
        .expect("told");
    if version < 180_000 {
        eprintln!("LEFT OUT: the page is for PostgreSQL 18, this is {version}");
        return;
    }
    sqlx::raw_sql("analyze events; select pg_stat_force_next_flush()")
        .execute(&mut database)
        .await
        .expect("flushed");
    let page = page();
    let statements = statements(&page);
    assert!(statements.len() > 6, "{statements:#?}");
    let mut told = Vec::new();
    for statement in &statements {
        let rows = sqlx::query(AssertSqlSafe((*statement).to_owned()))
            .fetch_all(&mut database)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
        told.push(rows);
    }
    let first = |at: usize, column: &str| -> String {
        let row = told[at].first().unwrap_or_else(|| panic!("{} tells nothing", statements[at]));
        assert!(row.columns().iter().any(|it| it.name() == column), "{}", statements[at]);
        row.get(column)
    };
    assert!(first(0, "month").starts_with("events_20"));
    let indexes: Vec<String> = told[1].iter().map(|row| row.get("index")).collect();
    for index in indexes.iter().filter(|name| name.starts_with("events_")) {
        assert!(page.contains(&format!("`{index}`")), "the page does not name {index}");
    }
    assert!(first(2, "month").starts_with("events_20"));
    server.stop().await;
}
