//! Exports: every format holds what the search finds, a half is never taken for the whole, and each leaves a trace.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use ingest::auth::Role;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shared::event::{Action, Actor, ClaimedUser, Event, EventId, JsonText, Outcome, Trust};
use sqlx::postgres::PgPool;

use crate::subjects::check;
use crate::support::{Producer, Response, Server, eventually, new_key, sample};

/// A body of unknown length as HTTP/1.1 carries it: what it holds, its trailers, and whether it came to its end.
pub(crate) fn unchunked(body: &[u8]) -> (Vec<u8>, String, bool) {
    let (mut rest, mut whole) = (body, Vec::new());
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let len = std::str::from_utf8(&rest[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let len = len.expect("a length");
        if len == 0 {
            return (whole, String::from_utf8_lossy(&rest[end + 2..]).to_lowercase(), true);
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = &rest[end + 2 + len + 2..];
    }
    (whole, String::new(), false)
}

fn whole(response: &Response) -> Vec<u8> {
    assert_eq!(response.status, 200, "{}", response.text());
    let (body, _, complete) = unchunked(&response.body);
    assert!(complete, "it came to its end");
    body
}

fn lines(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn id_of(response: &Response) -> String {
    let line = response.head.lines().find_map(|line| line.strip_prefix("x-edgetrail-export: "));
    line.expect("an id").to_owned()
}

async fn send(server: &Server, events: &[Event]) {
    send_with(server, &mut server.producer().await, events).await;
}

async fn send_with(server: &Server, producer: &mut Producer, events: &[Event]) {
    for some in events.chunks(50) {
        let reply = server.send(&producer.seal(some)).await;
        assert_eq!(reply["stored"], json!(some.len()), "{reply}");
    }
}

fn action(word: &str) -> Action {
    Action::try_from(word.to_owned()).expect("an action")
}

#[tokio::test]
async fn every_format_holds_exactly_what_the_search_finds() {
    let server = Server::start().await;
    let mut events: Vec<Event> = (0..120).map(sample).collect();
    events[0].entity.as_mut().expect("an entity").name = Some("=cmd|' /C calc'!A0".to_owned());
    events[2].entity.as_mut().expect("an entity").name = Some("two\r\nlines, \"quoted\"".to_owned());
    send(&server, &events).await;
    let expected = server.all("&action=AGENT_CREATED").await;
    assert_eq!(expected.len(), 60);

    let ndjson = server.get("/v1/events/export?q=action:AGENT_CREATED").await;
    assert!(ndjson.head.contains("content-type: application/x-ndjson"), "{}", ndjson.head);
    let body = whole(&ndjson);
    assert_eq!(lines(&body), expected, "the lines are the API's own");
    let manifest = server.get(&format!("/v1/exports/{}/manifest", id_of(&ndjson))).await.json();
    assert_eq!(
        (&manifest["complete"], &manifest["rows"], &manifest["bytes"], &manifest["query"]),
        (&json!(true), &json!(60), &json!(body.len()), &json!("action:AGENT_CREATED"))
    );
    assert_eq!(manifest["sha256"], hex::encode(Sha256::digest(&body)));

    let csv = whole(&server.get("/v1/events/export?q=action:AGENT_CREATED&format=csv").await);
    let mut reader = csv::Reader::from_reader(csv.as_slice());
    let heads = reader.headers().expect("heads").clone();
    let column = |name: &str| heads.iter().position(|head| head == name).expect("a column");
    let (id, name, at) = (column("id"), column("entity_name"), column("occurred_at"));
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 60);
    for (row, event) in rows.iter().zip(&expected) {
        assert_eq!(
            (&row[id], &row[at]),
            (event["id"].as_str().expect("text"), event["occurred_at"].as_str().expect("text"))
        );
    }
    let names: BTreeSet<&str> = rows.iter().map(|row| &row[name]).collect();
    assert!(names.contains("'=cmd|' /C calc'!A0"), "a formula is a text");
    assert!(names.contains("two\r\nlines, \"quoted\""), "RFC 4180 keeps what is quoted");

    let parquet = whole(&server.get("/v1/events/export?q=action:AGENT_CREATED&format=parquet").await);
    let reader = SerializedFileReader::new(bytes::Bytes::from(parquet)).expect("a Parquet file");
    assert_eq!(reader.metadata().file_metadata().num_rows(), 60);
    let ids: Vec<String> = reader
        .get_row_iter(None)
        .expect("rows")
        .map(|row| row.expect("a row").get_string(0).expect("an id").clone())
        .collect();
    assert!(ids.iter().zip(&expected).all(|(id, event)| event["id"] == id.as_str()), "in the same order");

    let ocsf = lines(&whole(&server.get("/v1/events/export?q=action:AGENT_CREATED&format=ocsf").await));
    assert!(ocsf.iter().zip(&expected).all(|(line, event)| line["metadata"]["uid"] == event["id"]));
    assert_eq!(ocsf.len(), 60);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_who_asks_for_trailers_and_compression_gets_them() {
    let server = Server::start().await;
    send(&server, &(0..20).map(sample).collect::<Vec<_>>()).await;
    let bearer = format!("Bearer {}", server.auditor_key());
    let headers = [("authorization", bearer.as_str()), ("te", "trailers")];
    let path = "/v1/events/export?q=actor:user-1&gzip=1";
    let response = server.call_with("GET", path, &headers).await;
    assert!(response.head.contains("content-encoding: gzip"), "{}", response.head);
    let (packed, trailers, complete) = unchunked(&response.body);
    assert!(complete);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut plain).expect("gzip");
    assert_eq!(lines(&plain).len(), 5);
    assert!(trailers.contains("x-edgetrail-rows: 5\r\n"), "{trailers}");
    let hash = hex::encode(Sha256::digest(&plain));
    assert!(trailers.contains(&format!("x-edgetrail-sha256: {hash}\r\n")), "{trailers}");
    server.stop().await;
}

#[tokio::test]
async fn an_export_is_told_of_in_the_log_before_and_after() {
    let server = Server::start().await;
    send(&server, &(0..4).map(sample).collect::<Vec<_>>()).await;
    let response = server.get("/v1/events/export?q=actor:user-1&format=csv").await;
    let body = whole(&response);
    let id = id_of(&response);
    let created = server.eventually("&action=EXPORT_CREATED", 1).await.remove(0);
    assert_eq!(created["entity"], json!({"type": "export", "id": id}));
    assert_eq!(
        (&created["details"]["query"], &created["details"]["format"]),
        (&json!("actor:user-1"), &json!("csv"))
    );
    assert!(server.auditor_key().contains(created["actor"]["id"].as_str().expect("the key's id")));
    let ended = server.eventually("&action=EXPORT_COMPLETED", 1).await.remove(0);
    assert_eq!((&ended["outcome"], &ended["details"]["rows"]), (&json!("success"), &json!(1)));
    assert_eq!(ended["details"]["sha256"], hex::encode(Sha256::digest(&body)));
    server.stop().await;
}

#[tokio::test]
async fn an_export_that_breaks_off_is_no_whole_one_for_anybody() {
    let server = Server::start().await;
    let events: Vec<Event> = (0..40).map(sample).collect();
    send(&server, &events).await;
    let pool = PgPool::connect_with(server.database.clone()).await.expect("connected");
    let oldest: EventId = events[1].id;
    let done = sqlx::query("update events set opening = '\\x00' where id = $1").bind(oldest.uuid());
    assert_eq!(done.execute(&pool).await.expect("changed").rows_affected(), 1);
    for format in ["ndjson", "csv", "parquet", "ocsf"] {
        let response = server.get(&format!("/v1/events/export?q=entity:agent&format={format}")).await;
        let (_, _, complete) = unchunked(&response.body);
        assert!(!complete, "{format}: the body has no end");
        let manifest = server.get(&format!("/v1/exports/{}/manifest", id_of(&response))).await.json();
        assert_eq!((&manifest["complete"], &manifest["sha256"]), (&json!(false), &Value::Null), "{format}");
    }
    let ended = server.eventually("&action=EXPORT_COMPLETED", 4).await;
    assert!(ended.iter().all(|event| event["outcome"] == "failure"));
    pool.close().await;
    server.stop().await;
}

#[tokio::test]
async fn what_arrives_later_is_not_in_the_snapshot() {
    use ingest::store::search::{Scope, Sweep};
    let server = Server::start().await;
    let mut producer = server.producer().await;
    send_with(&server, &mut producer, &(0..10).map(sample).collect::<Vec<_>>()).await;
    let until = chrono::Utc::now();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    send_with(&server, &mut producer, &(10..20).map(sample).collect::<Vec<_>>()).await;
    let found = async |until: chrono::DateTime<chrono::Utc>| {
        let scope = Scope {
            tenant: "demo".to_owned(),
            from: until - chrono::TimeDelta::days(1),
            to: None,
            query: shared::search::parse("entity:agent").query,
            now: until.into(),
        };
        let mut sweep = Sweep::new(server.store.clone(), scope, until);
        let page = sweep.next().await.expect("read");
        assert!(sweep.next().await.expect("read").is_empty(), "one page");
        page.len()
    };
    assert_eq!(found(until).await, 10);
    assert_eq!(found(chrono::Utc::now()).await, 20);
    server.stop().await;
}

#[tokio::test]
async fn with_proofs_every_line_shows_that_it_is_in_the_log_and_only_who_may_read_openings_gets_them() {
    let server = Server::start().await;
    send(&server, &(0..30).map(sample).collect::<Vec<_>>()).await;
    eventually(async || server.get("/v1/logs").await.json()["logs"][0]["size"].as_u64() >= Some(30)).await;
    server.get_with("/v1/events/export?proofs=1", server.viewer_key()).await.problem(403);
    let investigator = crate::support::new_key(&server.store, "demo", ingest::auth::Role::Investigator).await;
    server.get_with("/v1/events/export", &investigator).await.problem(403);
    let unmasked = [
        ("authorization", format!("Bearer {investigator}")),
        ("x-unmask-reason", "case 7, as asked".to_owned()),
    ];
    let unmasked: Vec<_> = unmasked.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(server.call_with("GET", "/v1/events/export", &unmasked).await.status, 200);
    assert_eq!(server.call_with("GET", "/v1/events/export?proofs=1", &unmasked).await.status, 403);
    server.get_as_admin("/v1/events/export?proofs=1&format=csv").await.problem(400);
    let exported = lines(&whole(&server.get_as_admin("/v1/events/export?q=entity:agent&proofs=1").await));
    let logs = server.get("/v1/logs").await.json();
    assert_eq!(exported.len(), 30);
    exported.iter().for_each(|line| check(line, &logs["logs"]));
    server.stop().await;
}

#[tokio::test]
async fn an_export_of_what_is_not_understood_is_refused() {
    let server = Server::start().await;
    for (parameters, word) in [
        ("q=severty:info", "q: "),
        ("format=xml", "format: "),
        ("proofs=yes", "proofs: "),
        ("format=parquet&gzip=1", "gzip: "),
        ("colour=red", "colour: "),
    ] {
        let problem = server.get_as_admin(&format!("/v1/events/export?{parameters}")).await.problem(400);
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.starts_with(word), "{detail}");
        server.post_as_admin("/v1/exports", "[]").await.problem(400);
    }
    assert!(server.all("&action=EXPORT_CREATED").await.is_empty(), "nothing was exported");
    server.stop().await;
}

#[tokio::test]
async fn tables_open_in_another_reader() {
    let Some(python) = crate::worm::python() else { return };
    let server = Server::start().await;
    send(&server, &(0..30).map(sample).collect::<Vec<_>>()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut paths = Vec::new();
    for format in ["parquet", "csv"] {
        let path = dir.path().join(format!("events.{format}"));
        let body = whole(&server.get(&format!("/v1/events/export?q=entity:agent&format={format}")).await);
        std::fs::write(&path, body).expect("written");
        paths.push(path);
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/independent/exported.py");
    let ran = std::process::Command::new(python).arg(script).args(&paths).output().expect("it runs");
    let said = String::from_utf8(ran.stdout).expect("text");
    let year = chrono::Utc::now().format("%Y");
    let expected = format!("30\n15\n30\n15\nTrue\n{year}\n");
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&ran.stderr));
    server.stop().await;
}

async fn finished(server: &Server, id: &str, key: &str) -> Value {
    eventually(async || {
        let state = server.get_with(&format!("/v1/exports/{id}"), key).await.json()["state"].clone();
        state != "queued" && state != "running"
    })
    .await;
    server.get_with(&format!("/v1/exports/{id}"), key).await.json()
}

#[tokio::test]
async fn a_job_makes_a_file_that_only_its_maker_fetches() {
    let server = Server::start().await;
    send(&server, &(0..40).map(sample).collect::<Vec<_>>()).await;
    let streamed = whole(&server.get("/v1/events/export?q=actor:user-2").await);
    let asked = server.post_as_admin("/v1/exports", r#"{"q": "actor:user-2", "gzip": true}"#).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let id = asked.json()["id"].as_str().expect("an id").to_owned();
    let job = finished(&server, &id, server.admin_key()).await;
    assert_eq!((&job["state"], &job["rows"]), (&json!("complete"), &json!(10)), "{job}");
    let file = server.get_as_admin(&format!("/v1/exports/{id}/download")).await;
    assert_eq!(file.status, 200, "{}", file.text());
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(file.body.as_slice()).read_to_end(&mut plain).expect("gzip");
    assert_eq!(plain, streamed);
    let folder = server.dir().join("exports");
    let files: Vec<_> = std::fs::read_dir(&folder).expect("a folder").map(|it| it.expect("a file")).collect();
    assert_eq!(files.len(), 1, "no part is left");
    let mode = files[0].metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.get(&format!("/v1/exports/{id}/download")).await.problem(404);
    let stranger = new_key(&server.store, "other", Role::Admin).await;
    server.get_with(&format!("/v1/exports/{id}"), &stranger).await.problem(404);
    let listed = server.get("/v1/exports").await.json();
    assert_eq!(listed["exports"][0]["id"], json!(id));
    server.stop().await;
}

#[tokio::test]
async fn a_job_that_died_is_begun_again_and_an_old_file_goes() {
    let server = Server::start().await;
    send(&server, &(0..8).map(sample).collect::<Vec<_>>()).await;
    let asked = server.post_as_admin("/v1/exports", r#"{"q": "entity:agent", "format": "csv"}"#).await;
    let id = asked.json()["id"].as_str().expect("an id").to_owned();
    finished(&server, &id, server.admin_key()).await;
    let path = format!("/v1/exports/{id}/download");
    let before = server.get_as_admin(&path).await.body;
    let pool = PgPool::connect_with(server.database.clone()).await.expect("connected");
    let folder = server.dir().join("exports");
    for file in std::fs::read_dir(&folder).expect("a folder") {
        std::fs::remove_file(file.expect("a file").path()).expect("removed");
    }
    let died =
        "update exports set state = 'running', progressed_at = now() - interval '2 minutes', ended_at = null";
    sqlx::query(died).execute(&pool).await.expect("changed");
    let job = finished(&server, &id, server.admin_key()).await;
    assert_eq!((&job["state"], &job["rows"]), (&json!("complete"), &json!(8)), "{job}");
    assert_eq!(server.get_as_admin(&path).await.body, before, "the same snapshot");

    let old = "update exports set ended_at = now() - interval '25 hours'";
    sqlx::query(old).execute(&pool).await.expect("changed");
    eventually(async || server.get_as_admin(&path).await.status == 410).await;
    eventually(async || std::fs::read_dir(&folder).expect("a folder").next().is_none()).await;
    pool.close().await;
    server.stop().await;
}

/// Every event of OCSF has what its class requires, and nothing that the class does not know.
#[tokio::test]
async fn every_class_keeps_to_the_schema_of_ocsf() {
    let server = Server::start().await;
    let user = |mut event: Event| {
        event.entity = event.entity.map(|mut entity| {
            entity.kind = shared::event::EntityType::try_from("user".to_owned()).expect("a type");
            entity
        });
        event
    };
    let named = |n: u64, word: &str| Event { action: action(word), ..sample(n) };
    let failed = Event {
        actor: None,
        trust: Trust::Anonymous,
        outcome: Outcome::Failure,
        reason: Some("invalid_credentials".to_owned()),
        claimed_user: Some(ClaimedUser {
            id: "eve@example.com".to_owned(),
            source: "body:/email".to_owned(),
        }),
        entity: None,
        ..named(1, "USER_LOGIN_FAILED")
    };
    let mut nowhere = Event { entity: None, actor: None, trust: Trust::Anonymous, ..named(2, "THING_DONE") };
    nowhere.context = shared::event::Context::default();
    nowhere.request.method = "PURGE".to_owned();
    let mut role = named(3, "ROLE_UPDATED");
    role.entity.as_mut().expect("an entity").kind =
        shared::event::EntityType::try_from("role".to_owned()).expect("a type");
    let service = Event {
        trust: Trust::Service,
        actor: Some(Actor { id: "cron".to_owned(), ..Actor::default() }),
        details: Some(JsonText::from(&json!({"a": [1, {"b": null}]}))),
        ..named(4, "AGENT_RUN_STARTED")
    };
    let events = [
        failed,
        nowhere,
        role,
        service,
        named(5, "USER_LOGIN"),
        named(6, "USER_LOGOUT"),
        named(7, "AGENT_DELETED"),
        named(8, "AGENT_PAUSED"),
        user(named(9, "USER_PASSWORD_CHANGED")),
        named(10, "SETTINGS_2FA_ENABLED"),
    ];
    send(&server, &events).await;
    // With the backend's own events.
    server.get("/v1/events/export?q=id:019a0000-0000-7000-8000-00000000dddd").await;
    let exported = lines(&whole(&server.get("/v1/events/export?format=ocsf").await));
    assert!(exported.len() > events.len());
    for event in &exported {
        is_of_ocsf(event);
    }
    let classes: BTreeSet<u64> = exported.iter().filter_map(|event| event["class_uid"].as_u64()).collect();
    assert_eq!(classes, BTreeSet::from([3002, 3004, 3007, 3008, 6003]));
    server.stop().await;
}

/// Holds an event against the schema of its class.
pub(crate) fn is_of_ocsf(event: &Value) {
    let fixture = include_str!("../../../tests/fixtures/ocsf-1.9.json");
    let schema: Value = serde_json::from_str(fixture).expect("JSON");
    let class = event["class_uid"].to_string();
    assert_eq!(event["category_uid"].to_string(), class[..1], "{event}");
    assert_eq!(
        event["type_uid"].to_string(),
        format!("{class}{:02}", event["activity_id"].as_u64().expect("a number"))
    );
    conforms(&schema, &schema["classes"][&class], event, &class);
}

fn conforms(schema: &Value, class: &Value, value: &Value, path: &str) {
    let attributes = class["attributes"].as_object().unwrap_or_else(|| panic!("{path} is no class"));
    let fields = value.as_object().unwrap_or_else(|| panic!("{path} is no object: {value}"));
    for (name, attribute) in attributes {
        assert!(attribute["required"] != true || fields.contains_key(name), "{path}.{name} is missing");
    }
    if let Some(names) = class["at_least_one"].as_array() {
        let any = names.iter().any(|name| fields.contains_key(name.as_str().expect("a name")));
        assert!(any, "{path} has none of {names:?}: {value}");
    }
    for (name, field) in fields {
        let path = format!("{path}.{name}");
        let attribute = attributes.get(name).unwrap_or_else(|| panic!("{path} is unknown to the schema"));
        assert!(attribute["deprecated"] != true, "{path} is deprecated");
        let items = match attribute["array"] == true {
            true => field.as_array().unwrap_or_else(|| panic!("{path} is no array")).clone(),
            false => vec![field.clone()],
        };
        for item in &items {
            typed(schema, attribute, item, &path);
        }
    }
}

fn typed(schema: &Value, attribute: &Value, item: &Value, path: &str) {
    let kind = attribute["type"].as_str().expect("a type");
    if kind == "object" {
        assert!(item.is_object(), "{path}");
    } else if let Some(basic) = schema["types"].get(kind) {
        match basic.as_str().expect("a type") {
            "integer_t" | "long_t" => assert!(item.is_i64() || item.is_u64(), "{path} is no number: {item}"),
            "boolean_t" => assert!(item.is_boolean(), "{path}"),
            "float_t" => assert!(item.is_number(), "{path}"),
            "json_t" => {}
            _ => assert!(item.is_string(), "{path} is no text: {item}"),
        }
        if let Some(values) = attribute["enum"].as_array() {
            let text = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            assert!(values.iter().any(|value| *value == text.as_str()), "{path} is {text}");
        }
    } else {
        assert!(schema["objects"].get(kind).is_some(), "{path} is a {kind}, which the fixture lacks");
        conforms(schema, &schema["objects"][kind], item, path);
    }
}
