//! The API's document: complete, committed, shown, and true of a running backend.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingest::api::{openapi, table};
use serde_json::{Value, json};
use shared::event::{ChangeSet, Event, JsonText, Outcome, Quality};
use sqlx::{Connection as _, PgConnection};

use crate::support::{Server, counts, eventually, sample, unmapped};
use crate::worm::python;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_committed_document_is_what_the_code_says() {
    let committed = std::fs::read_to_string(root().join("docs/openapi.json")).expect("docs/openapi.json");
    assert!(committed == openapi::written(), "docs/openapi.json is old; `cargo xtask openapi` writes it");
}

#[test]
fn every_route_for_programs_is_in_the_document_and_nothing_else() {
    let routes: BTreeSet<(String, String)> = table()
        .iter()
        .filter(|route| openapi::is_described(route))
        .map(|route| (route.method.to_owned(), openapi::template(route)))
        .collect();
    let document = openapi::document();
    let paths = document["paths"].as_object().expect("paths");
    let written: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| (method.to_ascii_uppercase(), path.clone()))
        })
        .collect();
    assert_eq!(routes, written);
}

#[test]
fn every_part_of_a_path_and_every_schema_that_is_named_is_described() {
    let document = openapi::document();
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for operation in methods.as_object().expect("methods").values() {
            let parts = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let parts: BTreeSet<&str> = parts.collect();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let described = parameters.filter(|it| it["in"] == "path").filter_map(|it| it["name"].as_str());
            assert_eq!(parts, described.collect(), "{path}");
            assert!(ids.insert(operation["operationId"].to_string()), "{path}: its id is another's");
        }
    }
    let text = document.to_string();
    let named = text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
    for name in named {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn the_document_is_served_and_shown_to_anybody_on_a_page_that_loads_nothing() {
    let server = Server::start().await;
    let served = server.call("GET", "/openapi.json").await;
    assert_eq!((served.status, served.text().as_str()), (200, openapi::written()));
    let page = server.call("GET", "/docs").await;
    assert_eq!(page.status, 200);
    let text = page.text();
    for methods in openapi::document()["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(text.contains(&format!("<details class=\"operation\" id=\"{id}\">")), "{id}");
        }
    }
    assert!(!text.contains("<style") && !text.contains("style=") && !text.contains("//cdn"));
    assert_eq!(text.matches("<script").count(), text.matches("<script src=\"/assets/").count());
    server.stop().await;
}

/// Ids of things that are there, by the path and the parameter that name them.
type There = Vec<(&'static [&'static str], &'static str, Vec<String>)>;

/// A server on which there is something of everything.
async fn filled() -> (Server, There) {
    let quick = [
        ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
        // Made-up requests come as fast as they are answered.
        ("EDGETRAIL__LIMITS__READER_REQUESTS_PER_SECOND", "0"),
    ];
    let server = Server::with(&quick).await;
    let mut producer = server.producer().await;
    let changed = Event {
        changes: Some(ChangeSet {
            quality: Quality::Exact,
            fields: JsonText::from(&json!({"name": {"from": "old", "to": "new"}, "tags": {"added": ["a"]}})),
        }),
        outcome: Outcome::Success,
        ..sample(44)
    };
    let mut events: Vec<Event> = (0..12).map(sample).collect();
    events.extend([
        changed,
        Event { echo: true, ..sample(45) },
        unmapped(46, "POST", "/api/other"),
        counts(
            47,
            "app.example.com",
            &[("GET", "/api/agents", true, 30), ("POST", "/api/other", false, 3)],
            1,
        ),
    ]);
    assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
    // An opening that is none is set aside, and a batch that is left out leaves a gap.
    assert_eq!(server.send(&producer.seal_openings("demo", &[vec![1, 2, 3]])).await["status"], 200);
    let _lost = producer.seal(&[sample(48)]);
    assert_eq!(server.send(&producer.seal(&[sample(49)])).await["status"], 200);
    let mut owner = PgConnection::connect_with(&server.database).await.expect("connected");
    sqlx::query(
        "insert into witness_writes (tenant_id, at, seq, table_name, entity_type, key, op, txid, role_name,
             application_name, received_at, state)
         values ('demo', now(), 1, 'agents', 'agent', '4', 'UPDATE', 7, 'postgres', '', now(), 'unattributed')",
    )
    .execute(&mut owner)
    .await
    .expect("inserted");

    let post = async |path: &str, body: Value| {
        let answer = server.post_as_admin(path, &body.to_string()).await;
        assert!([200, 202].contains(&answer.status), "{path}: {}", answer.text());
        answer.json()
    };
    let id = |answer: &Value| answer["id"].as_str().expect("an id").to_owned();
    let other = server.another_admin().await;
    let pack = json!({"name": "own", "version": 1, "rules": [{"id": "x", "match": {"method": "POST", "path": "/x"},
        "level": "full", "action": "X_MADE", "severity": "info", "entity": {"type": "x"}}]});
    post("/v1/policy", json!({"packs": [pack]})).await;
    assert_eq!(server.post_with("/v1/policy/1/approve", &other, "").await.status, 200);
    let grant = id(&post("/v1/access", json!({"who": "a@example.com", "role": "viewer"})).await);
    let hold = id(&post("/v1/holds", json!({"reason": "a case", "entity_id": "none"})).await);
    let periods = json!({"standard_days": 400, "critical_days": 2557, "context_days": 90});
    post("/v1/retention/periods", periods).await;
    let erase = json!({"mode": "pseudonymise", "legal_basis": "they asked for it"});
    let erasure = id(&post("/v1/subjects/user-3/erase", erase).await);
    let export = id(&post("/v1/exports", json!({"q": "action:USER_LOGIN", "format": "csv"})).await);
    eventually(async || {
        server.get_as_admin(&format!("/v1/exports/{export}")).await.json()["state"] == "complete"
    })
    .await;
    let sink =
        id(&post("/v1/sinks", json!({"kind": "ocsf", "name": "siem", "url": "https://siem.invalid/events"}))
            .await);
    let credential = json!({"credential": server.viewer_key()}).to_string();
    let headers = [("origin", "http://test"), ("content-type", "application/json")];
    let signed_in =
        crate::support::call(&server.address, "POST", "/sign-in", &headers, credential.as_bytes()).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    let sessions = server.get_as_admin("/v1/sessions").await.json();
    let session = id(&sessions["sessions"][0]);
    eventually(async || server.get("/v1/logs").await.json()["logs"][0]["published_size"].as_i64() > Some(16))
        .await;
    let logs = server.get("/v1/logs").await.json();
    let log = logs["logs"][0]["log_id"].as_str().expect("a log").to_owned();

    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    let there: There = vec![
        (&["/v1/events/{id}", "/v1/events/{id}/proof", "/v1/events/{id}/unmask"], "path.id", ids),
        (&["/v1/entities/{type}/{id}/timeline"], "path.id", vec!["4".to_owned(), "44".to_owned()]),
        (&["/v1/entities/{type}/{id}/timeline"], "path.type", vec!["agent".to_owned()]),
        (&["/v1/actors/{id}"], "path.id", vec!["user-1".to_owned(), "user2@example.com".to_owned()]),
        (
            &["/v1/subjects/{id}/export", "/v1/subjects/{id}/erase"],
            "path.id",
            vec!["user-1".to_owned(), "user-2".to_owned()],
        ),
        (
            &["/v1/erasures/{id}", "/v1/erasures/{id}/approve", "/v1/erasures/{id}/cancel"],
            "path.id",
            vec![erasure],
        ),
        (
            &["/v1/exports/{id}", "/v1/exports/{id}/manifest", "/v1/exports/{id}/download"],
            "path.id",
            vec![export],
        ),
        (&["/v1/holds/{id}/release"], "path.id", vec![hold]),
        (
            &[
                "/v1/sinks/{id}",
                "/v1/sinks/{id}/pause",
                "/v1/sinks/{id}/resume",
                "/v1/sinks/{id}/replay",
                "/v1/sinks/{id}/test",
            ],
            "path.id",
            vec![sink],
        ),
        (&["/v1/access/{id}/revoke"], "path.id", vec![grant]),
        (&["/v1/sessions/{id}/revoke"], "path.id", vec![session]),
        (&["/v1/policy/{name}"], "path.name", vec!["demo".to_owned()]),
        (&["/log/{log_id}/checkpoint", "/log/{log_id}/tile/{path}"], "path.log_id", vec![log.clone()]),
        (&["/v1/openings"], "query.log", vec![log]),
        (
            &["/log/{log_id}/tile/{path}"],
            "path.path",
            vec!["0/000.p/2".to_owned(), "entries/000.p/3".to_owned(), "0/001".to_owned()],
        ),
    ];
    (server, there)
}

/// The rest of the configuration: what is there is asked for more often than what is not.
fn configuration(there: &There) -> String {
    let mut text = std::fs::read_to_string(root().join("tests/independent/schemathesis.toml")).expect("read");
    let versions: &[&str] = &[
        "/v1/policies/{version}",
        "/v1/retention/periods/{version}/approve",
        "/v1/retention/periods/{version}/refuse",
    ];
    let quoted = |ids: &[String]| ids.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(", ");
    let named = there.iter().map(|(paths, name, ids)| (*paths, *name, quoted(ids)));
    let all = named.chain([
        (versions, "path.version", "1, 2".to_owned()),
        (
            &["/v1/policy/{name}/approve", "/v1/policy/{name}/refuse", "/v1/policy/{name}/rollback"][..],
            "path.name",
            "1, 2".to_owned(),
        ),
    ]);
    for (number, (paths, name, values)) in all.enumerate() {
        write!(
            text,
            "\n[dictionaries.there{number}]\nvalues = [{values}]\n\n[[operations]]\ninclude-path = {paths:?}\n\
             parameters.\"{name}\" = {{ dictionary = \"there{number}\", probability = 0.8 }}\n"
        )
        .expect("a string");
    }
    text
}

/// The document without what only the server can make up: a cursor is signed, and `search.rs` turns it over.
fn document() -> Value {
    let mut document = openapi::document();
    for methods in document["paths"].as_object_mut().expect("paths").values_mut() {
        for operation in methods.as_object_mut().expect("methods").values_mut() {
            if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
                parameters.retain(|parameter| parameter["name"] != "cursor");
            }
        }
    }
    document
}

/// Requests for each operation, at most; a nightly run has more.
fn examples(least: u32) -> String {
    let asked = std::env::var("EDGETRAIL_CONTRACT_EXAMPLES").ok();
    asked.map_or(least, |text| text.parse().expect("EDGETRAIL_CONTRACT_EXAMPLES is a number")).to_string()
}

async fn schemathesis(python: &Path, dir: &Path, url: &str, key: &str, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(dir.join("schemathesis.toml"));
    command.arg("run").arg(dir.join("openapi.json")).args(["--url", url]);
    command.args(["--header", &format!("Authorization: Bearer {key}")]).args(more);
    command.current_dir(dir).env("NO_COLOR", "1");
    let running = tokio::task::spawn_blocking(move || command.output());
    let output = running.await.expect("no panic").expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_backend_answers_as_the_document_says_whatever_it_is_asked() {
    let Some(python) = python() else { return };
    let (server, there) = filled().await;
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    std::fs::write(dir.path().join("schemathesis.toml"), configuration(&there)).expect("written");
    std::fs::write(dir.path().join("openapi.json"), document().to_string()).expect("written");
    let url = format!("http://{}", server.address);
    let (few, more) = (examples(2), examples(3));
    for (who, key, arguments) in [
        ("a viewer", server.viewer_key(), ["--phases", "fuzzing", "--max-examples", &few]),
        ("an auditor", server.auditor_key(), ["--phases", "fuzzing", "--max-examples", &few]),
        ("an admin", server.admin_key(), ["--phases", "coverage,fuzzing", "--max-examples", &more]),
    ] {
        let (holds, said) = schemathesis(&python, dir.path(), &url, key, &arguments).await;
        assert!(holds, "{who}: {said}");
    }
    assert_eq!(server.call("GET", "/readyz").await.status, 200);
    server.stop().await;
}
