//! Saved searches: whose they are, what is refused, and that an erasure, an export and retention reach them.

use chrono::{TimeDelta, Utc};
use ingest::auth::Role;
use serde_json::{Value, json};

use crate::retention::{filled, present};
use crate::subjects::unchunked;
use crate::support::{Dial, Server, eventually, new_key, sample};

fn wish(name: &str, q: &str, shared: bool) -> String {
    json!({"name": name, "q": q, "shared": shared}).to_string()
}

async fn save(server: &Server, key: &str, name: &str, q: &str, shared: bool) -> Value {
    let reply = server.post_with("/v1/searches", key, &wish(name, q, shared)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Name and query of what somebody reads, in their order.
async fn read(server: &Server, key: &str) -> Vec<(String, String)> {
    let told = server.get_with("/v1/searches", key).await.json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let all = told["searches"].as_array().expect("a list");
    all.iter().map(|it| (text(&it["name"]), text(&it["query"]))).collect()
}

fn pair(name: &str, query: &str) -> (String, String) {
    (name.to_owned(), query.to_owned())
}

#[tokio::test]
async fn a_search_is_kept_as_the_grammar_prints_it_and_read_by_its_owner_or_by_all() {
    let server = Server::start().await;
    let (one, other) = (server.admin_key().to_owned(), server.auditor_key().to_owned());
    let mine = save(&server, &one, " failures ", "outcome:FAILURE   (last:7d)  \"free text\"", false).await;
    assert_eq!(
        (&mine["name"], &mine["query"]),
        (&json!("failures"), &json!("outcome:failure last:7d \"free text\""))
    );
    save(&server, &one, "agents", "entity:agent", true).await;
    save(&server, &other, "agents", "entity:agent/7", false).await;
    assert_eq!(
        read(&server, &one).await,
        [pair("agents", "entity:agent"), pair("failures", mine["query"].as_str().expect("text"))]
    );
    assert_eq!(
        read(&server, &other).await,
        [pair("agents", "entity:agent/7"), pair("agents", "entity:agent")]
    );
    let stranger = new_key(&server.store, "other", Role::Admin).await;
    assert_eq!(read(&server, &stranger).await, []);

    let path = format!("/v1/searches/{}", mine["id"].as_str().expect("an id"));
    server.post_with(&path, &other, &wish("stolen", "is:failed", false)).await.problem(404);
    server.post_with(&format!("{path}/remove"), &stranger, "").await.problem(404);
    let taken = server.post_with(&path, &one, &wish("agents", "is:failed", false)).await.problem(409);
    assert!(taken["type"].as_str().is_some_and(|kind| kind.contains("name-taken")), "{taken}");
    let renamed = server.post_with(&path, &one, &wish("all failures", "is:failed", false)).await.json();
    assert_eq!((&renamed["id"], &renamed["query"]), (&mine["id"], &json!("is:failed")));
    assert_eq!(server.post_with(&format!("{path}/remove"), &one, "").await.status, 200);
    assert_eq!(read(&server, &one).await, [pair("agents", "entity:agent")]);

    let removed = server.eventually("&action=SEARCH_REMOVED", 1).await;
    assert_eq!(removed[0]["details"]["name"], "all failures");
    let saved = server.eventually("&action=SEARCH_SAVED", 4).await;
    assert!(saved.iter().all(|event| event["entity"]["type"] == "search" && event["trust"] == "verified"));
    server.stop().await;
}

#[tokio::test]
async fn what_others_share_is_masked_for_who_may_not_see_personal_data() {
    let server = Server::start().await;
    let theirs = save(&server, server.admin_key(), "Alice", "actor:alice@example.com", true).await;
    let told = server.get_with("/v1/searches", server.viewer_key()).await.json();
    assert_eq!(told["searches"][0]["query"], "actor:a***@example.com");
    assert_eq!(told["searches"][0]["masked"], true);
    let path = format!("/v1/searches/{}", theirs["id"].as_str().expect("an id"));
    server.post_with(&path, server.viewer_key(), &wish("x", "is:failed", true)).await.problem(403);
    server.post_with(&format!("{path}/remove"), server.viewer_key(), "").await.problem(403);
    let viewers = save(&server, server.viewer_key(), "mine", "is:failed", true).await;
    let path = format!("/v1/searches/{}/remove", viewers["id"].as_str().expect("an id"));
    assert_eq!(server.post_as_admin(&path, "").await.status, 200, "an admin tidies up what is shared");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_its_places() {
    let server = Server::start().await;
    let broken = wish("ü", "ü severty:info is:wrong", false);
    let problem = server.post_as_admin("/v1/searches", &broken).await.problem(400);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("characters 3 to 9: ") && detail.contains("did you mean severity?"), "{detail}");
    assert!(detail.contains("characters 19 to 23: "), "both are told: {detail}");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(1), &json!(3)));
    for (name, q, said) in [
        ("", "is:failed", "name: "),
        ("two\nlines", "is:failed", "name: "),
        (&*"x".repeat(81), "is:failed", "name: "),
        ("nothing", "  ", "q: "),
        ("a key", "\"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ\"", "q: "),
    ] {
        let problem = server.post_as_admin("/v1/searches", &wish(name, q, false)).await.problem(400);
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.starts_with(said) && !detail.contains("eyJ"), "{name:?}: {detail}");
    }
    server.post_as_admin("/v1/searches", r#"{"name":"x","q":"is:failed","sharing":1}"#).await.problem(400);
    assert_eq!(read(&server, server.admin_key()).await, []);
    for n in 0..100 {
        save(&server, server.auditor_key(), &format!("number {n}"), "is:failed", false).await;
    }
    let more = wish("more", "is:failed", false);
    let refused = server.post_with("/v1/searches", server.auditor_key(), &more).await.problem(409);
    assert_eq!(refused["limit"], 100);
    server.stop().await;
}

#[tokio::test]
async fn a_person_gets_the_searches_that_name_them_and_an_erasure_removes_those() {
    let quick = [
        ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
        ("EDGETRAIL__PRIVACY__COOL_OFF_MS", "1"),
        ("EDGETRAIL__PRIVACY__SWEEP_MS", "100"),
    ];
    let server = Server::with(&quick).await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&[sample(1), sample(2)])).await["stored"], 2);
    save(&server, server.auditor_key(), "a case", "actor:user1@example.com last:7d", true).await;
    save(&server, server.auditor_key(), "what user1@example.com did", "is:failed", false).await;
    save(&server, server.auditor_key(), "others", "actor:user2@example.com", false).await;

    let reply = server.post_as_admin("/v1/subjects/user-1/export", "").await;
    let text = unchunked(&reply.body);
    let head: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let theirs = head["export"]["saved_searches"].as_array().expect("a list");
    let mut names: Vec<_> = theirs.iter().map(|it| it["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["a case", "what user1@example.com did"]);
    assert!(theirs.iter().all(|it| it["as"] == "named" && it["owner"].is_null()), "{theirs:?}");

    let other = server.another_admin().await;
    let body = json!({"mode": "erase", "legal_basis": "Art. 17"}).to_string();
    let asked = server.post_as_admin("/v1/subjects/user-1/erase", &body).await.json();
    let path = format!("/v1/erasures/{}", asked["id"].as_str().expect("an id"));
    assert_eq!(server.post_with(&format!("{path}/approve"), &other, "").await.status, 200);
    eventually(async || server.get_as_admin(&path).await.json()["state"] == "done").await;
    assert_eq!(read(&server, server.auditor_key()).await, [pair("others", "actor:user2@example.com")]);
    server.stop().await;
}

#[tokio::test]
async fn a_saved_search_goes_when_it_is_as_old_as_standard_events_become() {
    let old = Utc::now() - TimeDelta::days(400);
    let dial = Dial::new(old);
    let (server, _) = filled(old, &dial).await;
    save(&server, server.admin_key(), "old", "is:failed", false).await;
    present(&server, &dial).await;
    save(&server, server.admin_key(), "newer", "is:failed", false).await;
    server.retention.pass().await.expect("done");
    assert_eq!(read(&server, server.admin_key()).await, [pair("newer", "is:failed")]);
    server.stop().await;
}
