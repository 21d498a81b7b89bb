//! The third witness, in a second database of the same server that stands for a customer's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ingest::clock::{Clock, random};
use ingest::config;
use ingest::correlate::Witness;
use shared::event::{
    Actor, Entity, EntityType, Event, EventId, JsonText, Outcome, RequestFacts, Timestamp, Trust,
};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{AssertSqlSafe, Row as _};

use crate::support::{Server, sample, tenant};

const INSTALL: &str = include_str!("../../witness/install.sql");
const WINDOW: Duration = Duration::from_secs(10);
const HOLD: Duration = Duration::from_secs(30);

/// A customer's database with a watched table `agents`.
struct Customer {
    options: PgConnectOptions,
    pool: PgPool,
}

impl Customer {
    async fn of(server: &Server) -> Self {
        let admin = PgPool::connect_with(server.database.clone()).await.expect("connected");
        let name = format!("{}_customer", server.database.get_database().unwrap_or("edgetrail"));
        let create = AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&admin).await.expect("created");
        let options = server.database.clone().database(&name);
        let pool = PgPool::connect_with(options.clone()).await.expect("connected");
        let customer = Self { options, pool };
        customer.install().await;
        customer.run("alter role edgetrail_reader login").await;
        customer.run("create table agents (id text primary key, name text, c text, changed int)").await;
        customer.run("select edgetrail_witness.watch('agents')").await;
        customer
    }

    async fn install(&self) {
        sqlx::raw_sql(INSTALL).execute(&self.pool).await.expect("installed");
    }

    async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.expect("done");
    }

    /// A statement as PostgREST runs it for a user.
    async fn run_as(&self, uid: &str, sql: &str) {
        let claims = format!("set local request.jwt.claims = '{{\"sub\": \"{uid}\"}}'");
        self.run(&format!("begin; {claims}; {sql}; commit")).await;
    }

    async fn outbox(&self) -> Vec<(String, Option<String>, String)> {
        sqlx::query("select table_name, key, op from edgetrail_witness.outbox order by seq")
            .fetch_all(&self.pool)
            .await
            .expect("read")
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect()
    }
}

/// A clock that a test puts forward.
#[derive(Clone, Default)]
struct Ahead(Arc<AtomicU64>);

impl Ahead {
    fn by(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).expect("short"), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::from_fn(move || {
            let now = Timestamp::from(chrono::Utc::now()).millis();
            Timestamp::try_from(now + ahead.load(Ordering::SeqCst)).expect("a time")
        })
    }
}

fn witness(server: &Server, customer: &Customer, ahead: &Ahead) -> Witness {
    let kind = EntityType::try_from("agent".to_owned()).expect("a type");
    let config = config::Witness {
        tenant: tenant("demo"),
        database: customer.options.clone().username("edgetrail_reader"),
        poll: Duration::from_secs(1),
        tables: [("agents".to_owned(), kind)].into(),
        match_window: WINDOW,
        hold: HOLD,
    };
    Witness::new(config, server.store.clone(), server.recorder.clone(), ahead.clock())
}

/// What the edge saw just now: an act on an agent, at the database's own door.
fn act(key: Option<&str>, trust: Trust, who: Option<&str>) -> Event {
    let now = Timestamp::from(chrono::Utc::now());
    let bare = sample(0);
    Event {
        request: RequestFacts { route: "/rest/v1/agents".to_owned(), ..bare.request },
        id: EventId::mint(now, &random()),
        occurred_at: now,
        outcome: Outcome::Success,
        trust,
        actor: who.map(|who| Actor { id: who.to_owned(), ..Actor::default() }),
        entity: Some(Entity {
            kind: EntityType::try_from("agent".to_owned()).expect("a type"),
            id: key.map(str::to_owned),
            name: None,
        }),
        details: None,
        ..bare
    }
}

/// Passes until everything in the outbox was read: a line waits while any older transaction of the server runs.
async fn settle(witness: &Witness, customer: &Customer) {
    for _ in 0..200 {
        witness.pass().await.expect("passed");
        if customer.outbox().await.is_empty() {
            return witness.pass().await.map(drop).expect("passed");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the outbox is never read");
}

async fn states(server: &Server) -> serde_json::Value {
    let coverage = server.get("/v1/coverage/tables").await.json();
    coverage["tables"][0].clone()
}

#[tokio::test]
async fn c26_installing_and_watching_twice_changes_nothing_and_every_operation_is_told() {
    let server = Server::start().await;
    let customer = Customer::of(&server).await;
    customer.install().await;
    customer.run("select edgetrail_witness.watch('agents')").await;
    customer.run("insert into agents select n::text from generate_series(1, 3) n").await;
    customer.run("update agents set name = 'x' where id = '1'").await;
    customer.run("update agents set id = '9' where id = '2'").await;
    customer.run("update agents set name = 'x' where id = 'none'").await;
    customer.run("delete from agents where id = '3'").await;
    customer.run("truncate agents").await;
    let told = customer.outbox().await;
    let told: Vec<_> = told.iter().map(|(_, key, op)| (key.as_deref(), op.as_str())).collect();
    let expected = [
        (Some("1"), "INSERT"),
        (Some("2"), "INSERT"),
        (Some("3"), "INSERT"),
        (Some("1"), "UPDATE"),
        (Some("9"), "UPDATE"),
        (Some("2"), "UPDATE"),
        (Some("3"), "DELETE"),
        (None, "TRUNCATE"),
    ];
    assert_eq!(told, expected);

    customer.run("select edgetrail_witness.unwatch('agents'), edgetrail_witness.unwatch('agents')").await;
    customer.run("insert into agents values ('unwatched')").await;
    assert_eq!(customer.outbox().await.len(), expected.len());
    server.stop().await;
}

#[tokio::test]
async fn c26_a_table_without_a_primary_key_is_an_error_and_the_reader_reads_the_outbox_alone() {
    let server = Server::start().await;
    let customer = Customer::of(&server).await;
    customer.run("create table keyless (n int)").await;
    let error = sqlx::raw_sql("select edgetrail_witness.watch('keyless')").execute(&customer.pool).await;
    assert!(error.expect_err("refused").to_string().contains("has no primary key"));
    for forbidden in [
        "select * from edgetrail_witness.secret",
        "select * from agents",
        "select edgetrail_witness.unwatch('agents')",
        "update edgetrail_witness.outbox set key = 'x'",
    ] {
        let mut connection = customer.pool.acquire().await.expect("a connection");
        sqlx::raw_sql("set role edgetrail_reader").execute(&mut *connection).await.expect("set");
        sqlx::raw_sql("select * from edgetrail_witness.outbox")
            .execute(&mut *connection)
            .await
            .expect("read");
        sqlx::raw_sql(AssertSqlSafe(forbidden)).execute(&mut *connection).await.expect_err(forbidden);
        sqlx::raw_sql("reset role").execute(&mut *connection).await.expect("reset");
    }
    server.stop().await;
}

#[tokio::test]
async fn c31_an_event_and_a_write_join_in_either_order_and_after_a_restart() {
    let server = Server::start().await;
    let customer = Customer::of(&server).await;
    let mut producer = server.producer().await;
    let ahead = Ahead::default();

    // The event first.
    server.send(&producer.seal(&[act(Some("early"), Trust::Verified, Some("u1"))])).await;
    customer.run_as("u1", "insert into agents values ('early')").await;
    settle(&witness(&server, &customer, &ahead), &customer).await;
    assert_eq!(states(&server).await["explained"], 1);

    // The write first, and another process by the time the event arrives.
    customer.run_as("u1", "insert into agents values ('late')").await;
    settle(&witness(&server, &customer, &ahead), &customer).await;
    assert_eq!(states(&server).await["pending"], 1);
    server.send(&producer.seal(&[act(Some("late"), Trust::Verified, Some("u1"))])).await;
    settle(&witness(&server, &customer, &ahead), &customer).await;
    assert_eq!(states(&server).await["explained"], 2);
    assert!(customer.outbox().await.is_empty(), "what is stored is cleared");

    // Many rows of one statement, told by one event that counts them; a statement more is not its doing.
    let bulk = Event {
        details: Some(JsonText::from(&serde_json::json!({"table": "agents", "rows": 2}))),
        ..act(None, Trust::Verified, Some("u1"))
    };
    customer.run_as("u1", "update agents set name = 'all'").await;
    customer.run_as("u1", "update agents set name = 'again' where id = 'late'").await;
    server.send(&producer.seal(&[bulk])).await;
    settle(&witness(&server, &customer, &ahead), &customer).await;
    let table = states(&server).await;
    assert_eq!((&table["explained"], &table["pending"]), (&4.into(), &1.into()), "{table}");
    ahead.by(HOLD);
    settle(&witness(&server, &customer, &ahead), &customer).await;
    assert_eq!(states(&server).await["unattributed"], 1);
    server.stop().await;
}

#[tokio::test]
async fn another_persons_event_explains_nothing() {
    let server = Server::start().await;
    let customer = Customer::of(&server).await;
    let mut producer = server.producer().await;
    let ahead = Ahead::default();
    customer.run_as("u1", "insert into agents values ('a')").await;
    let failed = Event { outcome: Outcome::Failure, ..act(Some("a"), Trust::Verified, Some("u1")) };
    server.send(&producer.seal(&[act(Some("a"), Trust::Verified, Some("u2")), failed])).await;
    let witness = witness(&server, &customer, &ahead);
    settle(&witness, &customer).await;
    assert_eq!(states(&server).await["pending"], 1);
    ahead.by(HOLD);
    settle(&witness, &customer).await;
    assert_eq!(states(&server).await["unattributed"], 1);

    // It is an event, and stays the only one however often is looked.
    let again = self::witness(&server, &customer, &ahead);
    tokio::join!(settle(&witness, &customer), settle(&again, &customer));
    let events = server.eventually("&action=WRITE_UNATTRIBUTED", 1).await;
    let event = &events[0];
    assert_eq!(event["entity"], serde_json::json!({"type": "agent", "id": "a"}));
    assert_eq!((&event["severity"], &event["class"]), (&"critical".into(), &"critical".into()));
    let details = &event["details"];
    assert_eq!((&details["table"], &details["op"]), (&"agents".into(), &"INSERT".into()));
    assert_eq!(details["uid"], "u1");
    assert!(details["txid"].is_string() && details["at"].is_string(), "{details}");

    // What was not marked is said again rather than not at all.
    let owner = PgPool::connect_with(server.database.clone()).await.expect("connected");
    sqlx::query("update witness_writes set reported_at = null").execute(&owner).await.expect("done");
    witness.pass().await.expect("passed");
    witness.pass().await.expect("passed");
    server.eventually("&action=WRITE_UNATTRIBUTED", 2).await;
    server.stop().await;
}

#[tokio::test]
async fn a_hundred_writes_by_six_paths_and_coverage_names_exactly_the_unexplained_ones() {
    let server = Server::start().await;
    let customer = Customer::of(&server).await;
    let mut producer = server.producer().await;
    let ahead = Ahead::default();
    let mut events = Vec::new();
    let mut expected = BTreeSet::new();
    for n in 0..100 {
        let key = format!("k{n}");
        let insert = format!("insert into agents values ('{key}')");
        match n % 6 {
            0 => {
                // The app's server writes for the user, under its own role.
                events.push(act(Some(&key), Trust::Verified, Some("u1")));
                customer.run(&insert).await;
            }
            1 => {
                events.push(act(Some(&key), Trust::Verified, Some("u2")));
                customer.run_as("u2", &insert).await;
            }
            2 => {
                customer.run(&insert).await;
                expected.insert(key);
            }
            3 => {
                events.push(act(Some(&key), Trust::System, Some("cron")));
                customer.run(&insert).await;
            }
            4 => {
                events.push(act(Some(&key), Trust::System, Some("queue")));
                customer.run(&insert).await;
            }
            _ => {
                customer.run_as("u3", &insert).await;
                expected.insert(key);
            }
        }
    }
    server.send(&producer.seal(&events)).await;
    let (one, other) = (witness(&server, &customer, &ahead), witness(&server, &customer, &ahead));
    tokio::join!(settle(&one, &customer), settle(&other, &customer));
    ahead.by(HOLD);
    settle(&one, &customer).await;
    let table = states(&server).await;
    assert_eq!(
        table,
        serde_json::json!({
            "table": "agents", "writes": 100, "pending": 0, "explained": 34, "system": 33, "unattributed": 33,
            "percentage": 67.0,
        })
    );
    let listed = server.get("/v1/writes?state=unattributed").await.json();
    let listed: BTreeSet<String> = listed["writes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|write| write["key"].as_str().expect("a key").to_owned())
        .collect();
    assert_eq!(listed, expected);
    server.get("/v1/writes?state=lost").await.problem(400);
    server.stop().await;
}
