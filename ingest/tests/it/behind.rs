//! Those who follow the events give way to those who store them, down to the server's processes.

use std::fs;

use ingest::store::{Rush, Store};
use tokio::sync::watch;

use crate::support::{Server, is_skipped_on_a_cluster};

/// The niceness of the process that serves a store's next connection.
#[cfg(target_os = "linux")]
async fn niceness(store: &Store) -> i32 {
    let mut transaction = store.begin().await.expect("a connection");
    let process: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *transaction).await.expect("a process");
    let told = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // proc_pid_stat(5): the name in parentheses is the second field, the niceness the nineteenth.
    let mut fields = told.rsplit_once(')').expect("a name").1.split_whitespace();
    fields.nth(16).and_then(|nice| nice.parse().ok()).expect("a niceness")
}

#[cfg(target_os = "linux")]
fn calm() -> Rush {
    Rush::new(watch::channel(false).1)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn processes_of_followers_give_way_where_the_server_is_on_this_machine_and_nobody_elses_do() {
    if is_skipped_on_a_cluster("the server is a cluster's") {
        return;
    }
    let server = Server::start().await;
    let beside = Store::open(&server.database, 2).on_this_machine(&server.database);
    let away = Store::open(&server.database, 2);
    let usual = niceness(&away).await;
    assert_eq!(niceness(&away.of_followers(calm())).await, usual);
    assert_eq!(niceness(&beside).await, usual);
    assert_eq!(niceness(&beside.of_followers(calm())).await, 10);
    for store in [beside, away] {
        store.close().await;
    }
    server.stop().await;
}
