//! A whole stack in a folder of its own: backend, Worker, and an origin.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::recording::Exchange;
use sqlx::Row as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;
use tests::keys::{Alg, ISSUER, Keys};
use tests::replay::{Origin, Target};
use tests::stack::{
    Api, DeliveryMode, EdgeConfig, Ingest, IngestSpec, QueueOptions, SigningKey, Surroundings, Worker,
    edge_bundle, entered_by, free_port, open_to_postgres,
};
use tests::wire::{Answer, Call, Server, send};

/// How long events may take from the request to the API, on a loaded machine.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Scene {
    // Dropped in this order: producers first.
    pub worker: Worker,
    pub ingest: Ingest,
    pub origin: Origin,
    pub config: EdgeConfig,
    pub signing: SigningKey,
    pub dir: TempDir,
    bundle: PathBuf,
    vars: Vec<(String, String)>,
}

pub struct Setup {
    pub mode: DeliveryMode,
    pub queue: QueueOptions,
    pub bundle: &'static str,
    /// Whether the backend knows the Worker's key from the start.
    pub registered: bool,
    /// A module to enter by instead of the Worker's own, `./edge.mjs`, which it imports.
    pub entry: Option<&'static str>,
    /// Where the Worker sends batches instead of to the backend.
    pub backend: Option<SocketAddr>,
    /// Changes the Worker's configuration.
    pub adjust: Adjust,
    /// More of the backend's configuration, as TOML.
    pub backend_more: &'static str,
    /// What the Worker's runtime is started in.
    pub surroundings: Surroundings,
}

pub type Adjust = Box<dyn FnOnce(&mut EdgeConfig) + Send>;

impl Default for Setup {
    fn default() -> Self {
        Self {
            mode: DeliveryMode::Queue,
            queue: QueueOptions { max_batch_timeout: 1, ..QueueOptions::default() },
            bundle: "edge",
            registered: true,
            entry: None,
            backend: None,
            adjust: Box::new(|_| {}),
            backend_more: "",
            surroundings: Surroundings::default(),
        }
    }
}

impl Scene {
    /// Starts everything in front of an origin that answers from these exchanges.
    pub async fn start(keys: &Keys, exchanges: Vec<Exchange>, setup: Setup) -> Self {
        let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().expect("a folder");
        open_to_postgres(dir.path()).expect("our own folder");
        let origin = Origin::start(exchanges, keys.jwks()).await.expect("an origin");
        let signing = SigningKey::generate();
        let port = free_port(None).expect("a port");
        let registered = if setup.registered { signing.clone() } else { SigningKey::generate() };
        let spec = IngestSpec {
            port,
            key: registered,
            api_key: format!("etk_dev_{}", "0123456789abcdef".repeat(4)),
            more: setup.backend_more.to_owned(),
        };
        let ingest = Ingest::start(&dir.path().join("ingest"), spec).await.expect("a backend");
        let worker_port = free_port(None).expect("a port");
        let backend = setup.backend.unwrap_or(ingest.address());
        let mut config =
            EdgeConfig::for_demo(worker_port, origin.address(), origin.address(), backend, setup.mode);
        (setup.adjust)(&mut config);
        let mut bundle = edge_bundle().expect("a built worker").with_file_name(setup.bundle);
        if let Some(entry) = setup.entry {
            bundle = entered_by(entry, &bundle, &dir.path().join("bundle")).expect("our own folder");
        }
        let vars = vec![
            ("EDGETRAIL_CONFIG".to_owned(), serde_json::to_string(&config).expect("plain data")),
            ("EDGETRAIL_SIGNING_KEY".to_owned(), signing.signer.reveal()),
            ("SUPABASE_JWT_SECRET".to_owned(), keys.hs256_secret().to_owned()),
        ];
        let folder = dir.path().join("worker");
        let start =
            Worker::start_in(&folder, &bundle, worker_port, vars.clone(), setup.queue, setup.surroundings);
        let worker = start.await.expect("a worker");
        Self { worker, ingest, origin, config, signing, dir, bundle, vars }
    }

    /// A second Worker with the same configuration and a queue of its own, which takes ten seconds to deliver.
    pub async fn another_worker(&self) -> Worker {
        let port = free_port(None).expect("a port");
        let queue = QueueOptions { max_batch_timeout: 10, ..QueueOptions::default() };
        let folder = self.dir.path().join("another-worker");
        Worker::start_bundle(&folder, &self.bundle, port, self.vars.clone(), queue).await.expect("a worker")
    }

    /// What an operator does to make the backend know the Worker's key.
    pub fn register_signer(&self) {
        let config = self.ingest.config();
        let output = Command::new(tests::stack::edgetrail_bin().expect("a built backend"))
            .args([
                "signer",
                "add",
                "--tenant",
                "demo",
                "--key",
                &self.signing.verifier.to_string(),
                "--config",
            ])
            .arg(config)
            .output()
            .expect("it can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What an operator does to replay dead letters: attaches the Worker to their queue.
    pub async fn replay_dead_letters(&mut self) {
        self.worker.stop();
        let queue =
            QueueOptions { max_batch_timeout: 1, replay_dead_letters: true, ..QueueOptions::default() };
        let port = self.worker.address().port();
        let folder = self.dir.path().join("worker");
        self.worker = Worker::start_bundle(&folder, &self.bundle, port, self.vars.clone(), queue)
            .await
            .expect("a worker");
    }

    pub fn api(&self) -> Api {
        self.ingest.api()
    }

    pub fn target(&self) -> Target {
        Target {
            address: self.worker.address(),
            app_host: self.config.app_host(),
            supabase_host: self.config.supabase_host(),
        }
    }

    /// Sends a call to the application through the Worker.
    pub async fn app(&self, call: &Call) -> Answer {
        ask(self.worker.address(), &self.config.app_host(), call).await
    }

    /// Sends a call to Supabase through the Worker.
    pub async fn supabase(&self, call: &Call) -> Answer {
        ask(self.worker.address(), &self.config.supabase_host(), call).await
    }

    /// Every stored event of the Worker but its records of traffic, oldest first.
    pub async fn events(&self) -> Vec<Value> {
        let mut events = self.all_events("").await;
        // What the backend finds out about them comes at its own time.
        events.retain(|event| {
            !event["request"]["rule"].as_str().is_some_and(|rule| rule.starts_with("ingest/"))
        });
        events
    }

    /// Every stored event that the backend lists under this filter, oldest first, by as many pages as it takes.
    async fn all_events(&self, filter: &str) -> Vec<Value> {
        let mut events = Vec::new();
        let mut cursor = String::new();
        loop {
            let page =
                self.api().get(&format!("/v1/events?limit=200{filter}{cursor}")).await.expect("an answer");
            assert_eq!(page.status, 200, "{}", page.text());
            let page = page.json();
            events.extend(page["events"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        events.reverse();
        events
    }

    /// Waits until at least this many events are stored, and gives all.
    pub async fn at_least(&self, wanted: usize, limit: Duration) -> Vec<Value> {
        let start = std::time::Instant::now();
        loop {
            let events = self.events().await;
            if events.len() >= wanted {
                return events;
            }
            assert!(
                start.elapsed() < limit,
                "{} events of {wanted} after {limit:?}\nworker: {}\nbackend: {}",
                events.len(),
                tail(&self.worker.output()),
                tail(&self.ingest.output())
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Waits until there are enough events of an action, and gives those.
    pub async fn of_action(&self, action: &str, wanted: usize) -> Vec<Value> {
        self.until(action, |events| events.len() >= wanted).await
    }

    /// Waits until the events of an action are enough, and gives them.
    pub async fn until(&self, action: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let start = std::time::Instant::now();
        loop {
            let events = self.all_events(&format!("&action={action}")).await;
            if enough(&events) {
                return events;
            }
            let worker = self.worker.output();
            assert!(
                start.elapsed() < SOON,
                "{} events are {action}\nworker: {}",
                events.len(),
                tail(&worker)
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// How the backend's private PostgreSQL is reached, as its superuser.
    pub fn server(&self) -> PgConnectOptions {
        self.ingest.database().expect("a running database")
    }

    /// A connection to the backend's private database.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect_with(&self.server()).await.expect("a connection")
    }

    /// Every value of every table, bytes as they are.
    pub async fn stored_values(&self) -> Vec<Vec<u8>> {
        let mut database = self.database().await;
        let columns = sqlx::query(
            "select table_name::text as t, column_name::text as c, data_type::text as k
             from information_schema.columns where table_schema = 'public'",
        )
        .fetch_all(&mut database)
        .await
        .expect("a catalogue");
        let mut values = Vec::new();
        for column in columns {
            let (table, name, kind): (String, String, String) =
                (column.get("t"), column.get("c"), column.get("k"));
            let value =
                if kind == "bytea" { name.clone() } else { format!("convert_to({name}::text, 'UTF8')") };
            let sql = format!("select {value} as v from {table} where {name} is not null");
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut database).await.expect("a table");
            values.extend(rows.iter().map(|row| row.get::<Vec<u8>, _>("v")));
        }
        assert!(!values.is_empty());
        values
    }
}

pub async fn ask(address: SocketAddr, host: &str, call: &Call) -> Answer {
    send(address, host, call).await.unwrap_or_else(|error| panic!("{} {}: {error}", call.method, call.url))
}

pub fn tail(log: &str) -> &str {
    let start = log.len().saturating_sub(3_000);
    log.get(start..).unwrap_or(log)
}

/// The claims of Alice's token, good for an hour.
pub fn alice() -> Value {
    let now = tests::clock::unix_now();
    json!({
        "iss": ISSUER, "sub": "11111111-1111-4111-8111-111111111111", "aud": "authenticated", "exp": now + 3600,
        "iat": now, "email": "alice@example.com", "role": "authenticated", "aal": "aal1",
        "amr": [{"method": "password", "timestamp": now}], "session_id": "5ba8ba17-8d50-47a2-bd72-bd422cb8acb4",
    })
}

/// Alice's token.
pub fn alices_token(keys: &Keys) -> String {
    keys.sign(&alice(), Alg::Es256)
}

/// An exchange that the origin answers.
pub fn exchange(method: &str, url: &str, request: &str, status: u16, response: &str) -> Exchange {
    serde_json::from_value(json!({
        "label": "client-to-app", "n": 1, "at": "2026-11-23T00:00:00Z",
        "request": {"method": method, "url": url, "headers": [], "body": request},
        "response": {"status": status, "headers": [["content-type", "application/json"]], "body": response},
    }))
    .expect("an exchange")
}

/// The creation of an agent, which the origin answers for each name that it knows.
pub fn creation(name: &str) -> (Exchange, Call) {
    let request = json!({"agent": {"agent_name": name}}).to_string();
    let response =
        json!({"success": true, "agent": {"id": format!("id-{name}"), "agent_name": name}}).to_string();
    let call = Call {
        method: "POST".to_owned(),
        url: "/api/create-agent".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Some(request.clone()),
    };
    (exchange("POST", "/api/create-agent", &request, 201, &response), call)
}

/// An application that creates agents of any name; with its address as an upstream.
pub async fn creating_application() -> (Server, String) {
    let create = async |Json(body): Json<Value>| {
        let name = body["agent"]["agent_name"].clone();
        let agent = json!({"id": name, "agent_name": name});
        (StatusCode::CREATED, Json(json!({"success": true, "agent": agent})))
    };
    let router = Router::new().route("/api/create-agent", post(create));
    let server = Server::start(router, None).await.expect("a port");
    let upstream = format!("http://{}", server.address());
    (server, upstream)
}

/// The names of the agents that events say were created, sorted.
pub fn created(events: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = events
        .iter()
        .filter(|event| event["action"] == "AGENT_CREATED")
        .filter_map(|event| event["entity"]["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}
