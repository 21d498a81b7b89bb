//! Secrets that a backend is given, by its operator and by whoever asks it, come out nowhere: not in the database, its files, the
//! log at its loudest, metrics, answers, exports, streams or bundles.
//!
//! The secrets of an application's traffic are looked for in the same places by `tests/tests/it/replay.rs`.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ingest::auth::Role;
use memchr::memmem::Finder;
use serde_json::{Value, json};
use sha2::Sha256;
use shared::note::SignerKey;
use sqlx::{AssertSqlSafe, Row as _};

use crate::support::audit::edgetrail_with;
use crate::support::receiver::{Manner, Receiver};
use crate::support::{Response, Server, Standalone, eventually, new_key, sample};

const PROJECT: &str = "Planted-project-secret-of-32-bytes-or-more";
const ORIGIN: (&str, &str) = ("origin", "http://127.0.0.1:9");

/// Secrets, and everywhere that they could be.
#[derive(Default)]
struct Search {
    secrets: Vec<(String, Vec<u8>)>,
    places: Vec<(String, Vec<u8>)>,
}

impl Search {
    fn secret(&mut self, what: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        assert!(value.len() >= 12, "{what} is found by chance");
        let base64 = STANDARD.encode(value).trim_end_matches('=').to_owned();
        for (how, bytes) in [
            ("", value.to_vec()),
            (" in hex", hex::encode(value).into_bytes()),
            // The last character hangs on what follows.
            (" in base64", base64.as_bytes()[..base64.len() - 1].to_vec()),
        ] {
            self.secrets.push((format!("{what}{how}"), bytes));
        }
    }

    fn place(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.places.push((name.to_owned(), bytes.into()));
    }

    /// An answer, as it came over the wire.
    fn answer(&mut self, name: &str, answer: &Response) {
        self.place(name, answer.raw_head.as_bytes());
        self.place(name, answer.body.clone());
    }

    /// Every file below a directory.
    fn files(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).expect("listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.files(&path);
            } else if let Ok(bytes) = fs::read(&path) {
                self.place(&path.display().to_string(), bytes);
            }
        }
    }

    fn holds(&self, place: &str, marker: &str) -> bool {
        let finder = Finder::new(marker);
        self.places.iter().any(|(name, bytes)| name.contains(place) && finder.find(bytes).is_some())
    }

    fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (what, secret) in &self.secrets {
            let finder = Finder::new(secret);
            for (place, bytes) in &self.places {
                if let Some(at) = finder.find(bytes) {
                    let before = String::from_utf8_lossy(&bytes[at.saturating_sub(120)..at]).into_owned();
                    found.push(format!("{what} is in {place}, after {before:?}"));
                }
            }
        }
        found
    }
}

fn token(secret: &str) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let payload = json!({
        "iss": "https://ref.example/auth/v1", "aud": "authenticated", "sub": "5b1f-alice", "email": "alice@example.com",
        "exp": chrono::Utc::now().timestamp() + 3_600,
    });
    let data = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256"}"#), BASE64.encode(payload.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(data.as_bytes());
    format!("{data}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// Every value of every table.
async fn stored(server: &Server, search: &mut Search) {
    let mut transaction = server.store.begin().await.expect("begun");
    let columns = sqlx::query(
        "select table_name::text as t, column_name::text as c, data_type::text as k
         from information_schema.columns where table_schema = 'public'",
    )
    .fetch_all(&mut *transaction)
    .await
    .expect("a catalogue");
    for column in columns {
        let (table, name, kind): (String, String, String) =
            (column.get("t"), column.get("c"), column.get("k"));
        let value = if kind == "bytea" { name.clone() } else { format!("convert_to({name}::text, 'UTF8')") };
        let sql = format!("select {value} as v from {table} where {name} is not null");
        // What the everyday role may not read holds nothing of ours.
        let Ok(rows) = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *transaction).await else { continue };
        for row in rows {
            search.place(&format!("database {table}.{name}"), row.get::<Vec<u8>, _>("v"));
        }
    }
}

#[tokio::test]
async fn no_secret_that_a_backend_is_given_comes_out_anywhere() {
    let mut search = Search::default();
    let server = Server::start().await;
    let home = tempfile::tempdir_in("/tmp").expect("a directory");
    let hash_key = "Planted-hash-key-of-the-edge-0123456789";
    fs::write(home.path().join("hash.key"), hash_key).expect("our own directory");
    search.secret("the key of fingerprints", hash_key);
    search.secret("the secret of the application's tokens", PROJECT);
    for (what, password) in [
        ("the database's password", "Planted-pw-database"),
        ("the copy's password", "Planted-pw-of-the-copy"),
        ("the watched database's password", "Planted-pw-watched"),
        ("the secret at the identity provider", "Planted-client-secret"),
    ] {
        search.secret(what, password);
    }
    let toml = format!(
        "[database]\nread_url = 'postgres://reader:Planted-pw-of-the-copy@127.0.0.1:1/x'\n\
         [[witness]]\ntenant = 'demo'\ndatabase_url = 'postgres://w:Planted-pw-watched@127.0.0.1:1/x'\ntables = {{}}\npoll_ms = 50\n\
         [access]\npublic_url = 'http://127.0.0.1:9'\nreads_window_ms = 10\n\
         [access.app]\nissuer = 'https://ref.example/auth/v1'\nhs256_key = '{PROJECT}'\n\
         [access.oidc]\nissuer = 'http://127.0.0.1:1'\nclient_id = 'edgetrail'\nclient_secret = 'Planted-client-secret'\n\
         [fingerprint]\nkey_file = 'hash.key'\n[sinks]\nkey_file = 'sinks.key'\nallow_private = true\nretry_ms = 50\n\
         [log]\nkey_file = 'log.key'\n[policy]\nkey_file = 'policy.key'\n[archive]\nurl = 'file://{home}/archive'\n",
        home = home.path().display(),
    );
    for name in ["log.key", "policy.key", "own.key"] {
        fs::copy(server.dir().join(name), home.path().join(name)).expect("a key of the same logs");
    }
    let url = server.database_url().replacen('@', ":Planted-pw-database@", 1);
    let backend = Standalone::start(home.path(), "022", &toml, &[("DATABASE_URL", &url)]).await;

    // Credentials as they come with requests, good and bad.
    let admin = new_key(&server.store, "demo", Role::Admin).await;
    let tampered = format!("{}{}", &admin[..admin.len() - 1], if admin.ends_with('0') { '1' } else { '0' });
    let (good, forged) = (token(PROJECT), token("some other secret, 32 bytes or more..."));
    for (what, credential) in [("an API key", &admin), ("a wrong API key", &tampered)] {
        let secret = credential.rsplit('_').next().expect("a secret part");
        search.secret(what, secret);
    }
    for (what, jwt) in [("a token", &good), ("a forged token", &forged)] {
        for part in jwt.split('.').skip(1) {
            search.secret(what, part);
        }
    }
    let bearer = format!("Bearer {admin}");
    let key = [("authorization", bearer.as_str())];
    let json = ("content-type", "application/json");
    for credential in [&tampered, &good, &forged] {
        let body = json!({"credential": credential}).to_string();
        let refused = backend.call("POST", "/sign-in", &[ORIGIN, json], &body).await;
        assert!(refused.status >= 400, "{}", refused.text());
        search.answer("answer", &refused);
        let bearer = format!("Bearer {credential}");
        for path in ["/v1/events", "/nowhere", "/v1/me/activity"] {
            let refused = backend.call("GET", path, &[("authorization", &bearer)], "").await;
            assert!(refused.status >= 400, "{path}: {}", refused.text());
            search.answer("answer", &refused);
        }
        let asked = format!("/v1/events?access_token={credential}");
        search.answer("answer", &backend.call("GET", &asked, &key, "").await);
        // The answer repeats what was looked for; what is kept of it must not.
        backend.call("GET", &format!("/v1/events?q={credential}"), &key, "").await;
    }
    search.answer("answer", &backend.call("GET", "/sign-in/oidc", &[], "").await);
    // A session: only its beginning shows its token, and only to its own browser.
    let signed_in =
        backend.call("POST", "/sign-in", &[ORIGIN, json], &json!({"credential": admin}).to_string()).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    let csrf = signed_in.json()["csrf"].as_str().expect("a token").to_owned();
    let cookie =
        signed_in.raw_head.lines().find_map(|line| line.split_once("edgetrail=")).expect("a session");
    let cookie = cookie.1.split(';').next().expect("a value").to_owned();
    search.secret("a session's token", &cookie);
    search.secret("a session's second token", &csrf);
    let session = format!("__Host-edgetrail={cookie}");
    let by_session = [("cookie", session.as_str()), ORIGIN, ("x-csrf-token", csrf.as_str())];
    search.answer("answer", &backend.call("GET", "/v1/events", &by_session[..1], "").await);
    search.answer("answer", &backend.call("POST", "/v1/holds", &by_session, "{\"reason\":").await);
    let mistaken = format!("/v1/events?csrf={csrf}");
    search.answer("answer", &backend.call("GET", &mistaken, &by_session[..1], "").await);
    let refused = backend.call("POST", "/v1/sinks", &key, "{\"secret\":\"Planted-in-broken-json\"").await;
    search.secret("a secret in a body that is refused", "Planted-in-broken-json");
    search.answer("answer", &refused);

    // Streams: one that arrives, and some that never do.
    let receiver = Receiver::start(Manner::Takes).await;
    for (name, wanted) in [
        (
            "ocsf",
            json!({"kind": "ocsf", "url": receiver.url("/ocsf?key=Planted-in-the-url"), "secret": "Planted-token-of-a-stream"}),
        ),
        ("hook", json!({"kind": "webhook", "url": "http://127.0.0.1:1/Planted-in-the-path"})),
        (
            "s3",
            json!({"kind": "objects", "url": "s3://bucket/x", "endpoint": "http://127.0.0.1:1", "region": "eu-central-1",
                      "access_key_id": "AKID", "secret": "Planted-key-of-a-bucket"}),
        ),
    ] {
        let mut wanted = wanted;
        wanted["name"] = json!(name);
        let made = backend.call("POST", "/v1/sinks", &key, &wanted.to_string()).await;
        assert_eq!(made.status, 200, "{}", made.text());
        if name == "hook" {
            let secret = made.json()["secret"].as_str().expect("shown once").to_owned();
            search.secret("a webhook's secret", secret.trim_start_matches("whsec_"));
        } else {
            search.answer("answer", &made);
        }
    }
    for (what, text) in [
        ("what a receiver's address holds", "Planted-in-the-url"),
        ("what a webhook's path holds", "Planted-in-the-path"),
        ("a stream's token", "Planted-token-of-a-stream"),
        ("a bucket's key", "Planted-key-of-a-bucket"),
    ] {
        search.secret(what, text);
    }
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..20).map(sample).collect();
    let frame = producer.seal(&events).frame();
    let sent = crate::support::call(
        &backend.address,
        "POST",
        "/v1/batches",
        &[("content-type", shared::batch::CONTENT_TYPE)],
        &frame,
    )
    .await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    eventually(async || {
        let sinks = backend.call("GET", "/v1/sinks", &key, "").await.json();
        let health = |sink: &Value| sink["health"]["attempts_failed"].as_u64() > Some(0);
        let failing =
            sinks["sinks"].as_array().is_some_and(|all| all.iter().filter(|it| health(it)).count() == 2);
        failing
            && receiver
                .got()
                .iter()
                .any(|got| String::from_utf8_lossy(&got.body).contains("user2@example.com"))
    })
    .await;
    for got in receiver.got() {
        search.place("stream", got.body);
    }

    // Everything that gives events away.
    for path in [
        "/v1/sinks",
        "/sinks",
        "/v1/access",
        "/v1/sessions",
        "/v1/session",
        "/v1/streams",
        "/v1/policies",
        "/metrics",
        "/readyz",
        "/",
        "/access",
        "/v1/events?limit=200",
    ] {
        let shown = backend.call("GET", path, &key, "").await;
        assert!(shown.status < 400, "{path}: {}", shown.text());
        search.answer(&format!("GET {path}"), &shown);
    }
    for format in ["ndjson", "csv", "parquet", "ocsf"] {
        let export = backend.call("GET", &format!("/v1/events/export?format={format}"), &key, "").await;
        assert_eq!(export.status, 200, "{}", export.text());
        search.answer(&format!("export {format}"), &export);
    }
    let bundle = home.path().join("bundle");
    let out = bundle.display().to_string();
    let url = format!("http://{}", backend.address);
    let (status, said, complained) =
        edgetrail_with(&["bundle", &url, "--out", &out], &[("EDGETRAIL_API_KEY", &admin)]).await;
    assert_eq!(status, 0, "{complained}");
    search.place("terminal", said + &complained);
    let diagnosis = edgetrail_with(
        &[
            "doctor",
            "--json",
            "--no-probe",
            "--config",
            &home.path().join("edgetrail.toml").display().to_string(),
        ],
        &[("DATABASE_URL", &server.database_url().replacen('@', ":Planted-pw-database@", 1))],
    )
    .await;
    assert!(diagnosis.1.contains("\"checks\""), "{}", diagnosis.2);
    search.place("terminal", diagnosis.1 + &diagnosis.2);
    stored(&server, &mut search).await;
    let log = backend.log();
    assert!(log.contains("\"level\":\"TRACE\""), "the log is at its loudest");
    search.place("log", log);
    backend.stop().await;

    // Files: those that are for secrets aside, and only they.
    for dir in [home.path(), server.dir()] {
        for name in [
            "log.key",
            "policy.key",
            "own.key",
            "erasure.key",
            "privacy.key",
            "sinks.key",
            "hash.key",
            "edgetrail.toml",
        ] {
            let path = dir.join(name);
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for line in text.lines() {
                if let Ok(key) = line.trim().parse::<SignerKey>() {
                    search.secret(name, key.seed);
                } else if name.ends_with(".key") {
                    search.secret(name, line.trim());
                }
            }
            if dir == home.path() {
                fs::remove_file(path).expect("our own file");
            }
        }
    }
    search.files(home.path());
    if server.postgres.is_some() {
        search.files(&server.dir().join("pg"));
    }
    for (place, marker) in [
        ("database", "user2@example.com"),
        ("log", "\"request\""),
        ("stream", "user2@example.com"),
        ("export ndjson", "user2@example.com"),
        ("export csv", "user2@example.com"),
        ("export ocsf", "user2@example.com"),
        ("bundle", "agent"),
        ("/pg/", "user2@example.com"),
        ("GET /sinks", "ocsf"),
        ("GET /metrics", "edgetrail_http_requests_total"),
    ] {
        // A database that is somewhere else has no files here.
        let is_here = place != "/pg/" || server.postgres.is_some();
        assert!(!is_here || search.holds(place, marker), "what is in {place} is looked at: no {marker}");
    }
    let leaks = search.leaks();
    assert!(leaks.is_empty(), "{leaks:#?}");
    server.stop().await;
}
