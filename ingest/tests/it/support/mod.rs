//! A backend of its own for each test, and a producer that signs batches for it.

pub(crate) mod audit;
mod balancer;
pub(crate) mod cluster;
mod cosigner;
mod guarded;
mod http;
mod prepared;
mod producer;
mod provider;
pub(crate) mod receiver;
pub(crate) mod scan;
mod sibling;
mod standalone;

pub(crate) use balancer::Balancer;
pub(crate) use cosigner::{Cosigner, Mood};
pub(crate) use guarded::Guarded;
pub(crate) use http::{Response, call};
pub(crate) use producer::{Producer, Sealed, counts, sample, sample_at, unmapped};
pub(crate) use provider::IdentityProvider;
pub(crate) use sibling::Sibling;
pub(crate) use standalone::Standalone;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use ingest::auth::{ApiKey, ApiKeyText, Role, Tenure};
use ingest::clock::{Clock, random};
use ingest::config::{Config, Environment};
use ingest::serve::Backend;
use ingest::store::{Store, api_keys, signing_keys};
use shared::batch::CONTENT_TYPE;
use shared::event::{TenantId, Timestamp};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running backend.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) store: Store,
    pub(crate) recorder: ingest::own::Recorder,
    pub(crate) retention: ingest::retention::Retention,
    /// The process of its private PostgreSQL; none if it has one by URL.
    pub(crate) postgres: Option<u32>,
    pub(crate) database: PgConnectOptions,
    auditor: String,
    viewer: String,
    admin: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    dir: tempfile::TempDir,
}

/// A clock that a test sets.
#[derive(Clone)]
pub(crate) struct Dial(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Dial {
    pub(crate) fn new(at: chrono::DateTime<chrono::Utc>) -> Self {
        let dial = Self(std::sync::Arc::default());
        dial.turn(at);
        dial
    }

    pub(crate) fn turn(&self, at: chrono::DateTime<chrono::Utc>) {
        let millis = Timestamp::from(at).millis();
        self.0.store(millis, std::sync::atomic::Ordering::Release);
    }

    pub(crate) fn clock(&self) -> Clock {
        let dial = self.clone();
        Clock::from_fn(move || {
            let millis = dial.0.load(std::sync::atomic::Ordering::Acquire);
            Timestamp::try_from(millis).expect("a time")
        })
    }
}

pub(crate) fn tenant(slug: &str) -> TenantId {
    slug.parse().expect("a slug")
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(&[("EDGETRAIL__LOG__INTERVAL_MS", "20")]).await
    }

    /// A backend that never sequences by itself while a test runs.
    pub(crate) async fn without_sequencer() -> Self {
        Self::with(&[("EDGETRAIL__LOG__INTERVAL_MS", "60000")]).await
    }

    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        Self::configured("", variables).await
    }

    /// A backend with a configuration file and variables over it.
    pub(crate) async fn configured(toml: &str, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        // PostgreSQL runs as another user where tests run as root.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        Self::inside(dir, toml, variables).await
    }

    /// A backend at the time that a dial shows. Nothing goes by itself.
    pub(crate) async fn at(dial: &Dial) -> Self {
        Self::configured_at(dial, "").await
    }

    /// The same with a configuration file.
    pub(crate) async fn configured_at(dial: &Dial, toml: &str) -> Self {
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let variables = [("EDGETRAIL__LOG__INTERVAL_MS", "20"), ("EDGETRAIL__RETENTION__AUTOMATIC", "false")];
        Self::inside_at(dir, toml, &variables, dial.clock()).await
    }

    /// Stops the backend and starts one on the same data.
    pub(crate) async fn restart(self) -> Self {
        let _ = self.stop.send(());
        self.running.await.expect("no panic");
        Self::inside(self.dir, "", &[]).await
    }

    /// Stops the backend, does something to the files it leaves, and starts one on them.
    pub(crate) async fn restart_after(
        self,
        variables: &[(&str, &str)],
        between: impl FnOnce(&std::path::Path),
    ) -> Self {
        let _ = self.stop.send(());
        self.running.await.expect("no panic");
        between(self.dir.path());
        Self::inside(self.dir, "", variables).await
    }

    /// Stops the backend and gives the directory with its data.
    pub(crate) async fn halt(self) -> tempfile::TempDir {
        let _ = self.stop.send(());
        self.running.await.expect("no panic");
        self.dir
    }

    /// Its directory: `pg`, `log.key`, `edgetrail.toml`.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// What tells a command which database is this server's, and where its keys are.
    pub(crate) fn database_variables(&self) -> Vec<(&'static str, String)> {
        let place = self.dir().join("pg").display().to_string();
        let url = cluster::kept(self.dir()).map(|url| ("DATABASE_URL", url));
        url.into_iter().chain([("EDGETRAIL__DATABASE__DATA_DIR", place)]).collect()
    }

    /// A backend on the data of a directory.
    pub(crate) async fn inside(dir: tempfile::TempDir, toml: &str, variables: &[(&str, &str)]) -> Self {
        Self::inside_at(dir, toml, variables, Clock::system()).await
    }

    /// The same at the time of another clock.
    pub(crate) async fn inside_at(
        dir: tempfile::TempDir,
        toml: &str,
        variables: &[(&str, &str)],
        clock: Clock,
    ) -> Self {
        let data_dir: PathBuf = dir.path().join("pg");
        let file = dir.path().join("edgetrail.toml");
        std::fs::write(&file, toml).expect("written");
        let mut all = vec![
            ("EDGETRAIL__HTTP__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("EDGETRAIL__DATABASE__DATA_DIR".to_owned(), data_dir.display().to_string()),
            // They ask again and again, some by a clock that stands still.
            ("EDGETRAIL__LIMITS__READER_REQUESTS_PER_SECOND".to_owned(), "0".to_owned()),
            // Tests count events; those about reading switch it on.
            ("EDGETRAIL__ACCESS__RECORD_READS".to_owned(), "false".to_owned()),
        ];
        all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        if let Some(url) = cluster::url().filter(|_| !all.iter().any(|(name, _)| name == "DATABASE_URL")) {
            all.push(("DATABASE_URL".to_owned(), Box::pin(cluster::database(&url, dir.path())).await));
        }
        if !all.iter().any(|(name, _)| name == "DATABASE_URL") {
            Box::pin(prepared::database(&data_dir)).await;
        }
        let environment = Environment { variables: all };
        let config = Config::load(Some(&file), &environment).expect("valid");
        let url = config.database.url.as_ref().map(|url| url.reveal().parse().expect("a URL"));
        let backend = Box::pin(Backend::start(config, clock)).await.expect("started");
        let address = backend.address.to_string();
        let store = backend.database.store.clone();
        let recorder = backend.recorder();
        let retention = backend.retention();
        let embedded = backend.database.embedded.as_ref();
        let postgres = embedded.and_then(ingest::postgres::Embedded::pid);
        let database = url.or_else(|| embedded.map(ingest::postgres::Embedded::connect_options));
        let database = database.expect("a private server, or a URL");
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(backend.run(async {
            let _ = stopped.await;
        }));
        let auditor = new_key(&store, "demo", Role::Auditor).await;
        let viewer = new_key(&store, "demo", Role::Viewer).await;
        let admin = new_key(&store, "demo", Role::Admin).await;
        Self {
            address,
            store,
            recorder,
            retention,
            postgres,
            database,
            auditor,
            viewer,
            admin,
            stop,
            running,
            dir,
        }
    }

    /// How another process reaches its database.
    pub(crate) fn database_url(&self) -> String {
        if let Some(url) = cluster::kept(self.dir()) {
            return url;
        }
        let (user, name) = (self.database.get_username(), self.database.get_database().unwrap_or("postgres"));
        match self.database.get_socket() {
            Some(socket) => format!("postgres://{user}@localhost/{name}?host={}", socket.display()),
            None => {
                let (host, port) = (self.database.get_host(), self.database.get_port());
                format!("postgres://{user}@{host}:{port}/{name}")
            }
        }
    }

    /// Stops the backend as a signal would.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.running.await.expect("no panic");
    }

    /// A producer whose key is registered for tenant `demo`.
    pub(crate) async fn producer(&self) -> Producer {
        let producer = Producer::new("edge/test");
        signing_keys::upsert(&self.store, &producer.verifier(), &[tenant("demo")]).await.expect("registered");
        producer
    }

    pub(crate) async fn post(&self, body: &[u8]) -> Response {
        http::call(&self.address, "POST", "/v1/batches", &[("content-type", CONTENT_TYPE)], body).await
    }

    /// Posts one batch and gives its item of the reply.
    pub(crate) async fn send(&self, sealed: &Sealed) -> serde_json::Value {
        let reply = self.post(&sealed.frame()).await.json();
        reply[0].clone()
    }

    /// Posts one batch to another backend and gives its status.
    pub(crate) async fn send_to(address: &str, sealed: &Sealed) -> u64 {
        let headers = [("content-type", CONTENT_TYPE)];
        let reply = http::call(address, "POST", "/v1/batches", &headers, &sealed.frame()).await.json();
        reply[0]["status"].as_u64().unwrap_or(0)
    }

    /// As an auditor, who sees events as they are.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.get_with(path, &self.auditor).await
    }

    pub(crate) async fn get_as_admin(&self, path: &str) -> Response {
        self.get_with(path, &self.admin).await
    }

    pub(crate) async fn get_with(&self, path: &str, key: &str) -> Response {
        let bearer = format!("Bearer {key}");
        http::call(&self.address, "GET", path, &[("authorization", &bearer)], &[]).await
    }

    /// Posts a body with a key.
    pub(crate) async fn post_with(&self, path: &str, key: &str, body: &str) -> Response {
        let bearer = format!("Bearer {key}");
        http::call(&self.address, "POST", path, &[("authorization", &bearer)], body.as_bytes()).await
    }

    /// Posts as this server's admin.
    pub(crate) async fn post_as_admin(&self, path: &str, body: &str) -> Response {
        self.post_with(path, &self.admin, body).await
    }

    /// A new admin's key.
    pub(crate) async fn another_admin(&self) -> String {
        new_key(&self.store, "demo", Role::Admin).await
    }

    /// This server's admin key.
    pub(crate) fn admin_key(&self) -> &str {
        &self.admin
    }

    /// This server's viewer key.
    pub(crate) fn viewer_key(&self) -> &str {
        &self.viewer
    }

    /// The key that [`Self::get`] reads with: it sees personal data.
    pub(crate) fn auditor_key(&self) -> &str {
        &self.auditor
    }

    /// What a filter gives, once it is this many events.
    pub(crate) async fn eventually(&self, filter: &str, count: usize) -> Vec<serde_json::Value> {
        for _ in 0..600 {
            let events = self.all(filter).await;
            if events.len() >= count {
                assert_eq!(events.len(), count, "{filter}");
                return events;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{filter} does not give {count} events");
    }

    /// A request with headers of its own.
    pub(crate) async fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        http::call(&self.address, method, path, headers, &[]).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str) -> Response {
        http::call(&self.address, method, path, &[], &[]).await
    }

    /// Every event a filter gives, page by page.
    pub(crate) async fn all(&self, filter: &str) -> Vec<serde_json::Value> {
        let mut events = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/v1/events?limit=7{filter}{cursor}")).await;
            assert_eq!(page.status, 200, "{}", page.text());
            let page = page.json();
            events.extend(page["events"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return events,
            }
        }
    }
}

pub(crate) async fn new_key(store: &Store, slug: &str, role: Role) -> String {
    let text = ApiKeyText::mint(random(), random());
    // No test's clock gets there.
    let end = chrono::DateTime::from_timestamp(4_102_444_800, 0).filter(|_| role == Role::Auditor);
    let tenure = Tenure::new(role, end).expect("an auditor ends");
    let id = text.id().to_owned();
    let person = Some(format!("{id}@people.example"));
    let key = ApiKey { id, tenant: tenant(slug), tenure, person, sha256: text.sha256().to_vec() };
    api_keys::upsert(store, &key, "test").await.expect("registered");
    text.reveal().to_owned()
}

/// Waits until a task has looked at everything that was stored before, and everybody sees what it made of it.
pub(crate) async fn followed(server: &Server, task: &str) {
    eventually(async || {
        let mut transaction = server.store.begin().await.expect("begun");
        let is_behind: bool = sqlx::query_scalar(
            "select exists (select 1 from batches where batch_id >
                 (select coalesce(max(batch_id), -1) from correlate_cursors where name = $1))",
        )
        .bind(task)
        .fetch_one(&mut *transaction)
        .await
        .expect("asked");
        // On a cluster the nodes commit after the coordinator.
        let wait = "select pg_advisory_xact_lock(hashtextextended($1, 7162))";
        sqlx::query(wait).bind(task).execute(&mut *transaction).await.expect("it is free");
        !is_behind
    })
    .await;
}

/// Whether a test that needs the private server is skipped, which it says aloud: there is a cluster instead.
pub(crate) fn is_skipped_on_a_cluster(why: &str) -> bool {
    let is_skipped = cluster::url().is_some();
    if is_skipped {
        eprintln!("SKIPPED: {why}");
    }
    is_skipped
}

/// Waits until it holds, for ten seconds.
pub(crate) async fn eventually(holds: impl AsyncFn() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !holds().await {
        assert!(std::time::Instant::now() < until, "it does not come to hold");
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
}

/// The process-wide count of a metric, by its line's beginning.
pub(crate) fn counted(metrics: &str, line: &str) -> u64 {
    metrics.lines().filter_map(|text| text.strip_prefix(line)?.trim().parse::<u64>().ok()).sum()
}
