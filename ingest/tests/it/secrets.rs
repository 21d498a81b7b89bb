//! A scan for secrets over everything that comes out. Secrets of every kind go in by every door: keys of readers and producers,
//! cookies, tokens, what receivers and databases know us by, and texts where none of them belongs. Afterwards none of them is
//! anywhere, neither as it is nor encoded, but in the files and the headers that are made for it.

mod acts;
mod mistyped;
mod reading;
mod remains;
mod settings;
mod streams;
mod wrong_places;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exports::unchunked;
use crate::support::audit::edgetrail_with;
use crate::support::scan::Scan;
use crate::support::{Guarded, IdentityProvider, Response, Standalone, is_skipped_on_a_cluster};
use settings::{Receivers, borrowed, configuration, variables};

const ALICE: &str = "5b1f-alice";
const ORIGIN: (&str, &str) = ("origin", "http://localhost:9");
const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// What is harmless, and known to come out.
const ENTITY: &str = "harmless-agent-of-the-scan";
const HOST: &str = "harmless-host.example.com";
const REQUEST: &str = "harmless-request-of-the-scan";
const PARAMETER: &str = "harmless_parameter_of_the_scan";

/// The id of nothing.
const NOTHING: &str = "018f0000-0000-7000-8000-000000000000";

/// The kinds of places that a running backend fills, each with what must be found there.
const PLACES: &[(&str, &str)] = &[
    ("the log", REQUEST),
    ("metrics", HOST),
    ("an answer to anybody", "/v1/events/{id}"),
    ("an answer of the API", ENTITY),
    ("a page", ENTITY),
    ("a tail", ENTITY),
    ("a refusal", PARAMETER),
    ("an export", ENTITY),
    ("a webhook", ENTITY),
    ("OCSF", ENTITY),
    ("OTLP", ENTITY),
    ("S3", ENTITY),
    ("syslog", ENTITY),
    ("CEF", ENTITY),
    ("a receiver that refuses", ENTITY),
    ("what the application is told", "activity.disowned"),
    ("a terminal", ENTITY),
    ("a bundle", ENTITY),
    ("a file of PostgreSQL", ENTITY),
    ("the log of PostgreSQL", "database system is ready"),
    ("a file of the archive", ENTITY),
    ("a copy of a head", "localhost/log/"),
    ("a file of an export", ENTITY),
    ("a certificate of an erasure", "harmless basis of the scan"),
    ("an object in a directory", ENTITY),
    ("a table", ENTITY),
    #[cfg(feature = "otlp")]
    ("a trace", "/v1/batches"),
];

/// What goes in and must not come out.
struct Seeded {
    /// The key that the configuration registers: an admin's.
    admin: String,
    /// A key of another reader, which is sent where keys do not belong.
    stray_key: String,
    /// A text without a shape of its own, which is sent where texts do not belong.
    stray: String,
    /// What the application signs its tokens with.
    project: String,
    /// What receivers know us by.
    ocsf: String,
    otlp: String,
    s3: String,
    collector: String,
}

/// A backend as an operator runs it, with a secret wherever its configuration takes one.
struct Trail {
    scan: Scan,
    seeded: Seeded,
    receivers: Receivers,
    provider: IdentityProvider,
    home: tempfile::TempDir,
    database: Guarded,
    backend: Standalone,
    ids: Ids,
}

/// Ids for paths that name something.
struct Ids {
    event: String,
    entity: String,
    sink: String,
    export: String,
    erasure: String,
    log: String,
}

impl Ids {
    /// Of nothing that is there.
    fn of_nothing() -> Self {
        let [event, entity, sink, export, erasure, log] = [NOTHING; 6].map(str::to_owned);
        Self { event, entity, sink, export, erasure, log }
    }

    /// A route's path, with these ids where it names something.
    fn path(&self, template: &str) -> String {
        let of_kind = [
            ("/erasures/", &self.erasure),
            ("/exports/", &self.export),
            ("/sinks/", &self.sink),
            ("/events/", &self.event),
            ("/entities/", &self.entity),
        ];
        let id = of_kind.iter().find(|(kind, _)| template.contains(kind)).map_or(NOTHING, |(_, id)| id);
        template
            .replace("/v1/policy/{name}", "/v1/policy/demo")
            .replace("{*path}", "0/000.p/1")
            .replace("{path}", "0/000.p/1")
            .replace("/actors/{id}", "/actors/user-1")
            .replace("{type}", "agent")
            .replace("{id}", id)
            .replace("{act}", "resume")
            .replace("{record}", NOTHING)
            .replace("{version}", "1")
            .replace("{name}", "style.css")
            .replace("{framework}", "soc2")
            .replace("{log_id}", &self.log)
    }
}

impl Trail {
    async fn start() -> Self {
        let mut scan = Scan::default();
        let home = tempfile::tempdir_in("/tmp").expect("a directory");
        open_to_postgres(home.path());
        let receivers = Receivers::start().await;
        let provider = IdentityProvider::start().await;
        let seeded = Seeded {
            admin: format!("etk_ops_{}", scan.secrets.mint("the admin's key")),
            stray_key: format!("etk_stray_{}", scan.secrets.mint("a key in the wrong place")),
            stray: scan.secrets.mint("a text in the wrong place"),
            project: scan.secrets.mint("the application's secret"),
            ocsf: scan.secrets.mint("the token for OCSF"),
            otlp: scan.secrets.mint("the token for OTLP"),
            s3: scan.secrets.mint("the access key for S3"),
            collector: scan.secrets.mint("the token for traces"),
        };
        let password = scan.secrets.mint("the database's password");
        let database = Guarded::start(&home.path().join("pg"), &password).await;
        let toml = configuration(&mut scan, home.path(), &seeded, &receivers, &provider, &database);
        let variables = variables(&seeded, &receivers);
        let home = acts::long_ago(home, &toml, &borrowed(&variables)).await;
        let backend = Standalone::start(home.path(), "022", &toml, &borrowed(&variables)).await;
        let ids = Ids { entity: ENTITY.to_owned(), ..Ids::of_nothing() };
        Self { scan, seeded, receivers, provider, home, database, backend, ids }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.backend.call(method, path, headers, body).await
    }

    async fn call_as(&self, key: &str, method: &str, path: &str, body: &str) -> Response {
        let bearer = format!("Bearer {key}");
        self.call(method, path, &[("authorization", &bearer), JSON, ORIGIN], body).await
    }

    async fn get(&self, path: &str) -> Response {
        self.call_as(&self.seeded.admin, "GET", path, "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.call_as(&self.seeded.admin, "POST", path, &body.to_string()).await;
        assert!(answer.status < 300, "{path}: {}", answer.text());
        answer.json()
    }

    /// Runs the program beside the backend and takes down what it says on stderr; what it says on stdout is given.
    async fn run(&mut self, arguments: &[&str], more: &[(&str, &str)]) -> String {
        let config = self.home.path().join("edgetrail.toml").display().to_string();
        let url = format!("http://{}", self.backend.address);
        let all = variables(&self.seeded, &self.receivers);
        let mut given = vec![
            ("EDGETRAIL_CONFIG", config.as_str()),
            ("EDGETRAIL_URL", &url),
            ("EDGETRAIL_API_KEY", &self.seeded.admin),
            ("EDGETRAIL__HTTP__LISTEN", &self.backend.address),
        ];
        given.extend(borrowed(&all));
        given.extend(more);
        let (_, said, complained) = edgetrail_with(arguments, &given).await;
        self.scan.saw("a terminal", &format!("{arguments:?}, stderr"), complained.as_bytes());
        said
    }

    /// The same, and what it says on stdout is taken down as well.
    async fn look(&mut self, arguments: &[&str], more: &[(&str, &str)]) {
        let said = self.run(arguments, more).await;
        self.scan.saw("a terminal", &format!("{arguments:?}"), said.as_bytes());
    }

    /// Takes down a whole answer, with its head.
    fn saw(&mut self, kind: &'static str, name: &str, answer: &Response) {
        self.scan.saw(kind, name, answer.raw_head.as_bytes());
        self.scan.saw(kind, name, &body_of(answer));
    }
}

/// PostgreSQL runs as another user where tests run as root.
fn open_to_postgres(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}

/// What an answer holds, whole also where it came in chunks.
fn body_of(answer: &Response) -> Vec<u8> {
    if answer.head.contains("transfer-encoding: chunked") {
        unchunked(&answer.body).0
    } else {
        answer.body.clone()
    }
}

/// Every file under a directory.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(below(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

fn id(told: &Value) -> String {
    told["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_running_backend_comes_out_anywhere() {
    if is_skipped_on_a_cluster("it asks who comes for a password, and reads all that the server leaves") {
        return;
    }
    let mut trail = Trail::start().await;
    let second = trail.keys_are_made().await;
    trail.streams_are_made().await;
    trail.events_arrive().await;
    trail.readers_decide(&second).await;
    trail.people_sign_in().await;
    trail.secrets_come_in_the_wrong_places().await;
    trail.an_operator_looks().await;
    trail.everything_is_read().await;
    trail.everything_is_exported().await;
    trail.what_was_sent_is_looked_at().await;
    trail.the_database_keeps_it_out().await;
    let scan = trail.what_stays_is_looked_at().await;
    scan.finds_nothing_but(PLACES);
}
