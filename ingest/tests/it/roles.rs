//! Roles: what the database itself refuses, whatever the program asks for.

use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::retention::{filled, month_of, months_ago, present, superuser};
use crate::support::{Dial, is_skipped_on_a_cluster};

/// What the database says to a statement of a role: the SQLSTATE, none if it is done. Nothing of it stays.
async fn refusal(database: &mut PgConnection, role: &str, statement: String) -> Option<String> {
    let mut transaction = database.begin().await.expect("begun");
    let role = format!("set local role {role}");
    transaction.execute(sqlx::AssertSqlSafe(role)).await.expect("the role is there");
    let done = transaction.execute(sqlx::AssertSqlSafe(statement)).await;
    transaction.rollback().await.expect("rolled back");
    done.err().map(|error| {
        let error = error.into_database_error().expect("the database refuses");
        error.code().expect("a code").into_owned()
    })
}

const DENIED: &str = "42501";
const CHECK: &str = "23514";

#[tokio::test]
async fn the_program_works_under_roles_that_cannot_change_what_is_logged() {
    if is_skipped_on_a_cluster("there what removes values runs under the role that connects") {
        return;
    }
    let at = months_ago(14);
    let (server, _) = filled(at, &Dial::new(at)).await;
    let role = "select current_user::text";
    let mut app = server.store.begin().await.expect("begun");
    let current: String = sqlx::query_scalar(role).fetch_one(&mut *app).await.expect("read");
    assert_eq!(current, "edgetrail_app");
    drop(app);
    let mut keeper = server.store.begin_as_keeper().await.expect("begun");
    let current: String = sqlx::query_scalar(role).fetch_one(&mut *keeper).await.expect("read");
    assert_eq!(current, "edgetrail_keeper");
    drop(keeper);
    assert!(server.store.check_roles().await.expect("checked").is_empty());

    let mut database = superuser(&server).await;
    let month = month_of(at).format("events_%Y_%m").to_string();
    let log = ["log_rounds", "log_tiles", "log_checkpoints", "batches", "equivocations", "absence_lists"];
    for role in ["edgetrail_app", "edgetrail_keeper"] {
        let mut statements: Vec<String> = Vec::new();
        for table in log.iter().copied().chain(["events", month.as_str(), "retention_runs", "filed_batches"])
        {
            statements.push(format!("delete from {table}"));
            statements.push(format!("truncate {table}"));
            statements.push(
                format!("update {table} set tenant_id = 'x'")
                    .replace("log_tiles set tenant_id = 'x'", "log_tiles set level = 0")
                    .replace("log_checkpoints set tenant_id = 'x'", "log_checkpoints set size = 0"),
            );
            statements.push(format!("drop table {table}"));
            statements.push(format!("alter table {table} add column x integer"));
        }
        statements.extend([
            "delete from logs".to_owned(),
            "truncate logs".to_owned(),
            "update events set opening = '\\x02'".to_owned(),
            "update log_rounds set entries = ''".to_owned(),
            "delete from legal_holds".to_owned(),
            "update legal_holds set reason = 'none'".to_owned(),
            "update retention_policies set standard_days = 30".to_owned(),
            "delete from retention_policies".to_owned(),
            format!("alter table events detach partition {month}"),
            "create or replace function erase_event_fields(text, timestamptz, uuid, bytea, text[]) returns boolean
             language sql as 'select true'".to_owned(),
        ]);
        for statement in statements {
            assert_eq!(
                refusal(&mut database, role, statement.clone()).await.as_deref(),
                Some(DENIED),
                "{role}: {statement}"
            );
        }
    }
    let month = month_of(at);
    for statement in [
        "select erase_event_fields('demo', now(), gen_random_uuid(), '\\x02', '{}')".to_owned(),
        format!("select retention_stage('{month}')"),
        format!("select retention_index('{month}')"),
        format!("select retention_freeze('{month}')"),
        format!("select retention_swap('{month}')"),
        format!("select retention_open('{month}')"),
        format!("select retention_empty('{month}')"),
        format!("select retention_unstage('{month}')"),
        "select retention_clear('demo', now())".to_owned(),
        "insert into retention_runs values ('demo', now()::date, 'events', 0, now(), 0, 0, null)".to_owned(),
    ] {
        let said = refusal(&mut database, "edgetrail_app", statement.clone()).await;
        assert_eq!(said.as_deref(), Some(DENIED), "{statement}");
    }
    for statement in [
        "insert into events select * from events",
        "update logs set size = 0",
        "insert into log_rounds select * from log_rounds",
        "insert into log_checkpoints select * from log_checkpoints",
        "delete from log_pending",
        "insert into filed_batches select * from filed_batches",
        "insert into legal_holds select * from legal_holds",
        "update legal_holds set released_at = now()",
        "insert into retention_policies select * from retention_policies",
        "select * from api_keys",
    ] {
        let said = refusal(&mut database, "edgetrail_keeper", statement.to_owned()).await;
        assert_eq!(said.as_deref(), Some(DENIED), "{statement}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_functions_that_remove_values_do_one_thing_each() {
    if is_skipped_on_a_cluster("there what removes values runs under the role that connects") {
        return;
    }
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    present(&server, &dial).await;
    let mut database = superuser(&server).await;
    let (old, new) = (month_of(at), month_of(chrono::Utc::now()));
    let event =
        "(select filed_at from events limit 1), (select id from events order by filed_at, id limit 1)";
    for (statement, code) in [
        (format!("select erase_event_fields('demo', {event}, '\\x0100', '{{}}')"), CHECK),
        (format!("select erase_event_fields('demo', {event}, '', '{{}}')"), CHECK),
        (format!("select erase_event_fields('demo', {event}, '\\x0200', '{{action}}')"), CHECK),
        (format!("select erase_event_fields('demo', {event}, '\\x0200', '{{ip,class}}')"), CHECK),
        (format!("select retention_stage('{new}')"), CHECK),
        (format!("select retention_stage('{}')", old + chrono::TimeDelta::days(1)), "42P01"),
        ("select retention_stage('1999-01-01')".to_owned(), "42P01"),
        (format!("select retention_swap('{new}')"), CHECK),
        (format!("select retention_empty('{new}')"), CHECK),
        ("select retention_clear('demo', now() - interval '29 days')".to_owned(), CHECK),
    ] {
        let said = refusal(&mut database, "edgetrail_keeper", statement.clone()).await;
        assert_eq!(said.as_deref(), Some(code), "{statement}");
    }
    // A month is not emptied while something in it must stay, in neither way.
    sqlx::query("update events set class = 2 where id = (select id from events limit 1)")
        .execute(&mut database)
        .await
        .expect("a superuser may");
    for emptied in [
        format!(
            "select retention_stage('{old}'); select retention_index('{old}'); select retention_swap('{old}')"
        ),
        format!("select retention_empty('{old}')"),
    ] {
        let mut transaction = database.begin().await.expect("begun");
        transaction.execute("set local role edgetrail_keeper").await.expect("the role is there");
        let said = sqlx::raw_sql(sqlx::AssertSqlSafe(emptied))
            .execute(&mut *transaction)
            .await
            .expect_err("refused");
        assert!(said.to_string().contains("must stay"), "{said}");
    }
    server.stop().await;
}
