//! A database of its own on a Citus cluster for each backend, where `EDGETRAIL_TEST_CLUSTER_URL` names the coordinator: the
//! same tests, on tables that are spread over its nodes.

use std::path::Path;

use ingest::clock::random;
use ingest::store::{Store, distribution};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// Shards of each table: enough for two nodes, and few enough to be made in seconds.
const SHARDS: u32 = 4;

/// How the databases of tests are named; the number of the test's process and something random follow.
const PREFIX: &str = "edgetrail_test_";

/// Where the URL of a backend's database is written down.
const KEPT: &str = "cluster-database";

/// Held on the coordinator by whoever makes or drops databases: joining a node writes its roles, which all databases share.
const MAKING: i64 = 0x6d61_6b65;

/// How the coordinator is reached, if there is a cluster.
pub(crate) fn url() -> Option<String> {
    std::env::var("EDGETRAIL_TEST_CLUSTER_URL").ok().filter(|url| !url.is_empty())
}

/// The database of a backend with its data in a directory, if one was made on a cluster.
pub(super) fn kept(dir: &Path) -> Option<String> {
    std::fs::read_to_string(dir.join(KEPT)).ok()
}

/// The database of a backend with its data in a directory, made the first time: migrated and spread.
pub(super) async fn database(cluster: &str, dir: &Path) -> String {
    if let Some(url) = kept(dir) {
        return url;
    }
    let name = format!("{PREFIX}{}_{}", std::process::id(), hex::encode(random::<6>()));
    let coordinator: PgConnectOptions = cluster.parse().expect("a URL");
    let mut connection = PgConnection::connect_with(&coordinator).await.expect("the cluster answers");
    let nodes: Vec<(String, i32)> = sqlx::query_as(
        "select nodename, nodeport from pg_dist_node where noderole = 'primary' and groupid <> 0 order by 1, 2",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the coordinator knows its nodes");
    assert!(!nodes.is_empty(), "the cluster has no nodes beside the coordinator");
    let mut all = vec![coordinator.clone()];
    all.extend(
        nodes
            .iter()
            .map(|(host, port)| coordinator.clone().host(host).port(u16::try_from(*port).expect("a port"))),
    );
    sqlx::query("select pg_advisory_lock($1)").bind(MAKING).execute(&mut connection).await.expect("locked");
    drop_abandoned(&mut connection, &all).await;
    for node in &all {
        let mut connection = PgConnection::connect_with(node).await.expect("the node answers");
        connection.execute("set citus.enable_create_database_propagation = off").await.expect("set");
        run(&mut connection, format!("create database {name} template template0 encoding 'UTF8'")).await;
        let mut inside = PgConnection::connect_with(&node.clone().database(&name)).await.expect("it answers");
        inside.execute("create extension citus").await.expect("the extension is installed");
    }
    let inside = coordinator.clone().database(&name);
    let mut joining = PgConnection::connect_with(&inside).await.expect("it answers");
    let (host, port) = (coordinator.get_host().to_owned(), coordinator.get_port());
    run(&mut joining, format!("select citus_set_coordinator_host('{host}', {port})")).await;
    for (host, port) in &nodes {
        run(&mut joining, format!("select citus_add_node('{host}', {port})")).await;
    }
    run(&mut joining, format!("alter database {name} set citus.shard_count = {SHARDS}")).await;
    connection.close().await.expect("the lock is given back");
    let store = Store::open(&inside, 5);
    store.migrate().await.expect("migrated");
    distribution::spread(&store).await.expect("spread");
    store.close().await;
    let (url, parameters) = cluster.split_once('?').unwrap_or((cluster, ""));
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    let url = format!("{server}/{name}?{parameters}");
    std::fs::write(dir.join(KEPT), &url).expect("written");
    url
}

/// Drops the databases of tests whose processes are gone: each has worker processes of the cluster's, of which there are few.
async fn drop_abandoned(coordinator: &mut PgConnection, nodes: &[PgConnectOptions]) {
    let names: Vec<String> =
        sqlx::query_scalar("select datname from pg_database where starts_with(datname, $1)")
            .bind(PREFIX)
            .fetch_all(coordinator)
            .await
            .expect("listed");
    let abandoned = names.iter().filter(|name| {
        let process = name[PREFIX.len()..].split('_').next().unwrap_or_default();
        !Path::new("/proc").join(process).exists()
    });
    for name in abandoned {
        for node in nodes {
            let mut connection = PgConnection::connect_with(node).await.expect("the node answers");
            connection.execute("set citus.enable_create_database_propagation = off").await.expect("set");
            // Whoever still looks at it leaves it to the next test.
            let drop = format!("drop database if exists {name} with (force)");
            let _ = connection.execute(AssertSqlSafe(drop)).await;
        }
    }
}

async fn run(connection: &mut PgConnection, sql: String) {
    connection.execute(AssertSqlSafe(sql.clone())).await.expect(&sql);
}
