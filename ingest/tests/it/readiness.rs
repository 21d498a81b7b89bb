//! `/readyz` says what is in the way, and `/healthz` only that the process is there.

use std::time::Duration;

use ingest::clock::Clock;
use ingest::config::{Config, Environment};
use ingest::serve::Backend;
use sqlx::Executor as _;

use crate::support::{Server, call, eventually, is_skipped_on_a_cluster, sample};
use crate::witness_log::{size, superuser};

async fn detail(address: &str) -> String {
    let answer = call(address, "GET", "/readyz", &[], &[]).await;
    answer.problem(503)["detail"].as_str().expect("a reason").to_owned()
}

async fn is_ready(address: &str) -> bool {
    call(address, "GET", "/readyz", &[], &[]).await.status == 200
}

#[tokio::test]
async fn a_database_that_went_away_is_told_and_one_that_comes_back_is_seen() {
    if is_skipped_on_a_cluster("a cluster does not stop with a backend") {
        return;
    }
    let server = Server::start().await;
    let (socket, user) = (server.database.get_socket().expect("a socket"), server.database.get_username());
    let url = format!(
        "postgres://{user}@localhost/{}?host={}",
        server.database.get_database().unwrap_or("postgres"),
        socket.display()
    );
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    for key in ["log.key", "policy.key"] {
        std::fs::copy(server.dir().join(key), dir.path().join(key)).expect("copied");
    }
    let data = dir.path().join("pg");
    let variables = [
        ("EDGETRAIL__HTTP__LISTEN", "127.0.0.1:0"),
        ("EDGETRAIL__DATABASE__DATA_DIR", data.to_str().expect("text")),
        ("DATABASE_URL", &url),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let config = Config::load(None, &Environment { variables }).expect("valid");
    let other = Backend::start(config, Clock::system()).await.expect("started");
    let address = other.address.to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(other.run(async {
        let _ = stopped.await;
    }));
    eventually(async || is_ready(&address).await).await;

    // Its PostgreSQL stops with the backend that started it.
    let data = server.halt().await;
    assert_eq!(detail(&address).await, "the database does not answer");
    assert_eq!(
        call(&address, "GET", "/healthz", &[], &[]).await.status,
        200,
        "the process is there all the same"
    );

    let server = Server::inside(data, "", &[]).await;
    eventually(async || is_ready(&address).await).await;
    let _ = stop.send(());
    running.await.expect("no panic");
    server.stop().await;
}

#[tokio::test]
async fn a_log_other_than_its_signed_head_is_told_with_and_without_something_to_add() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&[sample(0)])).await["status"], 200);
    eventually(async || size(&server).await == 1).await;
    let damage = "update logs set peaks = set_byte(peaks, 0, 255 - get_byte(peaks, 0))";
    superuser(&server).await.execute(damage).await.expect("a superuser may");
    assert_eq!(server.send(&producer.seal(&[sample(1)])).await["status"], 200, "batches are taken");
    eventually(async || !is_ready(&server.address).await).await;
    assert_eq!(detail(&server.address).await, "the sequencer does not advance a log");

    // The same after a start with nothing that waits: what is quiet is not well.
    let mut database = superuser(&server).await;
    database.execute("delete from log_pending").await.expect("a superuser may");
    drop(database);
    let server = server.restart().await;
    eventually(async || !is_ready(&server.address).await).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(detail(&server.address).await, "the sequencer does not advance a log");
    superuser(&server).await.execute(damage).await.expect("a superuser may");
    eventually(async || is_ready(&server.address).await).await;
    server.stop().await;
}

#[tokio::test]
async fn a_writer_that_waits_for_a_lock_is_told() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let mut database = superuser(&server).await;
    database
        .execute("begin; lock table stream_drops in access exclusive mode")
        .await
        .expect("a superuser may");
    producer.dropped = 1;
    let sealed = producer.seal(&[sample(0)]);
    let address = server.address.clone();
    let waiting = tokio::spawn(async move { Server::send_to(&address, &sealed).await });
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while is_ready(&server.address).await {
        assert!(std::time::Instant::now() < until, "it says that it is ready");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let said = detail(&server.address).await;
    assert!(said.starts_with("the writer has been at the same batches for 1"), "{said}");
    database.execute("rollback").await.expect("the lock goes");
    assert_eq!(waiting.await.expect("no panic"), 200);
    eventually(async || is_ready(&server.address).await).await;
    server.stop().await;
}

#[tokio::test]
async fn a_schema_that_is_behind_and_a_pool_that_is_used_up_are_told() {
    let server = Server::start().await;
    eventually(async || is_ready(&server.address).await).await;
    let mut database = superuser(&server).await;
    database
        .execute("update _sqlx_migrations set success = false where version = (select max(version) from _sqlx_migrations)")
        .await
        .expect("a superuser may");
    let said = detail(&server.address).await;
    assert!(said.contains("run edgetrail migrate"), "{said}");
    database.execute("update _sqlx_migrations set success = true").await.expect("a superuser may");
    // A newer process migrated further: this one goes on.
    database
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'newer', true, '', 0)",
        )
        .await
        .expect("a superuser may");
    assert!(is_ready(&server.address).await);

    // The background takes a connection now and then, so all of them are ours only after a moment.
    let mut held = Vec::new();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while is_ready(&server.address).await {
        assert!(std::time::Instant::now() < until, "it says that it is ready");
        if let Ok(Ok(transaction)) =
            tokio::time::timeout(Duration::from_millis(200), server.store.begin()).await
        {
            held.push(transaction);
        }
    }
    assert_eq!(detail(&server.address).await, "every connection to the database is in use");
    drop(held);
    eventually(async || is_ready(&server.address).await).await;
    server.stop().await;
}
