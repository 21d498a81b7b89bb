//! Policies: who may change them, what is served, and what is never activated.

use ed25519_dalek::{Verifier as _, VerifyingKey};
use ingest::clock::Clock;
use ingest::own::{OwnEvent, outbox};
use serde_json::{Value, json};
use shared::note::{Note, VerifierKey};
use shared::policy::served::{Document, MAX_POLICY_LEN, Served};

use crate::support::{Producer, Server, new_key, tenant};

fn packs(action: &str) -> String {
    json!({"packs": [{"name": "app", "version": 1, "rules": [{
        "id": "x", "match": {"method": "POST", "path": "/api/x"}, "level": "full", "action": action,
        "severity": "info", "entity": {"type": "x"}}]}]})
    .to_string()
}

fn signed(key: &Producer, slug: &str, version: u64, text: &str) -> String {
    let document = Document::parse(text).expect("a document");
    key.sign(&Served { tenant: tenant(slug), version, document }.to_string())
}

async fn proposed(server: &Server, text: &str) -> i64 {
    let answer = server.post_as_admin("/v1/policy", text).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["state"], "proposed");
    answer["version"].as_i64().expect("a version")
}

async fn states(server: &Server) -> Vec<(i64, String)> {
    let list = server.get("/v1/policies").await.json();
    let list = list["policies"].as_array().expect("a list").clone();
    let state = |item: &Value| {
        (item["version"].as_i64().expect("a number"), item["state"].as_str().expect("text").to_owned())
    };
    list.iter().map(state).collect()
}

async fn with_policy_key() -> (Server, Producer) {
    let key = Producer::new("acme/policy");
    let toml = format!("[[policy_keys]]\nkey = '{}'\ntenants = ['demo']", key.verifier());
    (Server::configured(&toml, &[]).await, key)
}

#[tokio::test]
async fn a_policy_needs_a_second_admin_and_is_then_served_signed() {
    let server = Server::start().await;
    server.call("GET", "/v1/policy/demo").await.problem(404);
    let version = proposed(&server, &packs("X_CREATED")).await;
    server.call("GET", "/v1/policy/demo").await.problem(404);
    let approve = format!("/v1/policy/{version}/approve");
    let same = server.post_as_admin(&approve, "").await.problem(403);
    assert_eq!(same["type"], "/problems/second-person");
    let viewer = new_key(&server.store, "demo", ingest::auth::Role::Viewer).await;
    server.post_with(&approve, &viewer, "").await.problem(403);
    let foreign = new_key(&server.store, "other", ingest::auth::Role::Admin).await;
    server.post_with(&approve, &foreign, "").await.problem(404);
    let other = server.another_admin().await;
    assert_eq!(server.post_with(&approve, &other, "").await.status, 200);
    server.post_with(&approve, &other, "").await.problem(409);

    let served = server.call("GET", "/v1/policy/demo").await;
    assert!(served.head.contains("content-type: text/plain; charset=utf-8"), "{}", served.head);
    assert!(served.head.contains("etag: \"1\""), "{}", served.head);
    let note = Note::parse_within(&served.body, MAX_POLICY_LEN).expect("a note");
    let keys = server.get("/v1/policy-keys").await.json();
    let key: VerifierKey = keys["keys"][0].as_str().expect("text").parse().expect("a key");
    let signature = &note.signatures()[0];
    assert_eq!((&signature.name, signature.key_id), (&key.name, key.id()));
    let bytes = ed25519_dalek::Signature::from_slice(&signature.bytes).expect("64 bytes");
    let public = VerifyingKey::from_bytes(&key.public).expect("a point");
    public.verify(note.text().as_bytes(), &bytes).expect("it verifies");
    let read: Served = note.text().parse().expect("a policy");
    assert_eq!((read.version, read.tenant.as_str()), (1, "demo"));

    for (tag, status) in [("\"1\"", 304), ("W/\"1\"", 304), ("\"0\", \"1\"", 304), ("*", 304), ("\"2\"", 200)]
    {
        let answer = server.call_with("GET", "/v1/policy/demo", &[("if-none-match", tag)]).await;
        assert_eq!(answer.status, status, "{tag}");
    }
    server.call("GET", "/v1/policy/other").await.problem(404);
    server.call("GET", "/v1/policy/N%20o").await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn every_change_is_an_event_with_who_and_what() {
    let server = Server::start().await;
    let other = server.another_admin().await;
    let id = |key: &str| key.split('_').nth(1).expect("an id").to_owned();
    let first = proposed(&server, &packs("X_CREATED")).await;
    server.post_with(&format!("/v1/policy/{first}/approve"), &other, "").await;
    let second = proposed(&server, &packs("X_MADE")).await;
    server.post_with(&format!("/v1/policy/{second}/approve"), &other, "").await;
    let third = proposed(&server, &packs("X_BUILT")).await;
    assert_eq!(server.post_with(&format!("/v1/policy/{third}/refuse"), &other, "").await.status, 200);
    server.post_as_admin("/v1/policy", "{\"packs\":[\n7]}").await.problem(422);
    let back = server.post_as_admin(&format!("/v1/policy/{first}/rollback"), "").await.json();
    let approve = format!("/v1/policy/{}/approve", back["version"]);
    server.post_as_admin(&approve, "").await.problem(403);
    assert_eq!(server.post_with(&approve, &other, "").await.status, 200);
    assert!(server.call("GET", "/v1/policy/demo").await.text().contains("X_CREATED"));
    assert_eq!(
        states(&server).await,
        [(4, "active"), (3, "refused"), (2, "superseded"), (1, "superseded")]
            .map(|(version, state)| (version, state.to_owned()))
    );

    for (action, count) in
        [("POLICY_PROPOSED", 4), ("POLICY_ACTIVATED", 2), ("POLICY_ROLLED_BACK", 1), ("POLICY_REFUSED", 2)]
    {
        let events = server.eventually(&format!("&action={action}"), count).await;
        for event in &events {
            assert_eq!((&event["severity"], &event["class"]), (&json!("critical"), &json!("critical")));
            assert_eq!(
                (&event["trust"], &event["request"]["rule"]),
                (&json!("verified"), &json!("ingest/policy"))
            );
            assert_eq!(event["entity"]["type"], "policy");
            assert_eq!(event["actor"]["id"], event["details"]["by"]);
        }
    }
    let activated = server.all("&action=POLICY_ACTIVATED&entity=policy/2").await;
    assert_eq!(activated[0]["details"]["by"], id(&other));
    assert_eq!(activated[0]["details"]["packs"]["app"]["changed"], json!(["x"]));
    let broken = server.all("&action=POLICY_REFUSED&entity=policy/4").await;
    assert_eq!(broken[0]["details"]["line"], 2);
    server.stop().await;
}

#[tokio::test]
async fn an_event_that_was_not_recorded_is_recorded_after_a_restart() {
    let server = Server::start().await;
    let mut transaction = server.store.begin().await.expect("begun");
    let now = Clock::system().now();
    let event =
        OwnEvent::new(&tenant("demo"), "POLICY_ACTIVATED", "ingest/policy", now, "policy", "9").by("k");
    outbox::keep(&mut transaction, &event).await.expect("kept");
    transaction.commit().await.expect("committed");
    let server = server.restart().await;
    server.eventually("&action=POLICY_ACTIVATED", 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_policy_signed_offline_is_active_at_once() {
    let (server, key) = with_policy_key().await;
    let note = signed(&key, "demo", 7, &packs("X_CREATED"));
    let answer = server.post_as_admin("/v1/policy", &note).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["state"], "active");
    assert_eq!(server.call("GET", "/v1/policy/demo").await.text(), note);
    let keys = server.get("/v1/policy-keys").await.json();
    assert_eq!(keys["keys"][1], key.verifier().to_string());
    server.eventually("&action=POLICY_ACTIVATED", 1).await;
    server.stop().await;
}

#[tokio::test]
async fn what_no_policy_key_of_the_tenant_signed_is_refused() {
    let (server, key) = with_policy_key().await;
    let stranger = Producer::new("acme/policy");
    let good = signed(&key, "demo", 1, &packs("X_CREATED"));
    for (body, status) in [
        (signed(&stranger, "demo", 1, &packs("X_CREATED")), 403),
        (good.replace("X_CREATED", "X_CREATEE"), 403),
        (signed(&key, "other", 1, &packs("X_CREATED")), 403),
        (key.sign("edgetrail-policy/v1\ntenant demo\n"), 422),
        (key.sign(&good.replace("edgetrail-policy/v1", "edgetrail-policy/v2")), 422),
        ("no note".to_owned(), 400),
        (String::new(), 400),
    ] {
        server.post_as_admin("/v1/policy", &body).await.problem(status);
    }
    // A key of the configuration speaks for its tenants only.
    let foreign = new_key(&server.store, "other", ingest::auth::Role::Admin).await;
    let note = signed(&key, "other", 1, &packs("X_CREATED"));
    server.post_with("/v1/policy", &foreign, &note).await.problem(403);
    server.call("GET", "/v1/policy/demo").await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn an_older_version_is_never_activated() {
    let (server, key) = with_policy_key().await;
    let other = server.another_admin().await;
    let waiting = proposed(&server, &packs("X_OLD")).await;
    let seventh = signed(&key, "demo", 7, &packs("X_CREATED"));
    assert_eq!(server.post_as_admin("/v1/policy", &seventh).await.status, 200);
    server.post_as_admin("/v1/policy", &seventh).await.problem(409);
    let sixth = signed(&key, "demo", 6, &packs("X_OLD"));
    server.post_as_admin("/v1/policy", &sixth).await.problem(409);
    server.post_with(&format!("/v1/policy/{waiting}/approve"), &other, "").await.problem(409);
    // What follows is above it.
    assert_eq!(proposed(&server, &packs("X_NEW")).await, 8);
    let never = server.post_as_admin(&format!("/v1/policy/{waiting}/rollback"), "").await.problem(409);
    assert!(never["detail"].as_str().is_some_and(|text| text.contains("never active")), "{never}");
    assert_eq!(server.call("GET", "/v1/policy/demo").await.text(), seventh);
    server.stop().await;
}

#[tokio::test]
async fn a_refused_policy_names_its_place_and_the_last_good_one_stays() {
    let (server, key) = with_policy_key().await;
    let good = signed(&key, "demo", 1, &packs("X_CREATED"));
    server.post_as_admin("/v1/policy", &good).await;
    let closed = packs("X_CREATED").replace("\"id\":\"x\"", "\"fail\":\"closed\",\n\"id\":\"x\"");
    let secret =
        packs("X_CREATED").replace("\"id\":\"x\"", "\"details\":{\"a\":\"request:/password\"},\"id\":\"x\"");
    for (text, line, reason) in [
        (packs("X_CREATED").replace("\"full\"", "\"fully\""), 1, "unknown variant, expected one of `none`"),
        (closed.clone(), 2, "closed"),
        (secret, 1, "masking"),
        ("{\"packs\":[\n\n{\"nmae\":1}]}".to_owned(), 3, "nmae"),
        ("{".to_owned(), 1, "EOF"),
    ] {
        let problem = server.post_as_admin("/v1/policy", &text).await.problem(422);
        assert_eq!(problem["line"], line, "{problem}");
        assert!(problem["column"].is_u64(), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(reason)), "{problem}");
    }
    let signed_closed = signed(&key, "demo", 2, &closed);
    server.post_as_admin("/v1/policy", &signed_closed).await.problem(422);
    assert_eq!(server.call("GET", "/v1/policy/demo").await.text(), good);
    assert_eq!(states(&server).await, [(1, "active".to_owned())]);
    server.eventually("&action=POLICY_REFUSED", 6).await;
    server.stop().await;
}
