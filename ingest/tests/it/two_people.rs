//! What takes two people takes two: a second key, a second name or a colleague just appointed makes no second person.

use chrono::{TimeDelta, Utc};
use ingest::auth::{ApiKey, ApiKeyText, Role, Tenure};
use ingest::clock::random;
use ingest::store::api_keys;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::support::{Dial, Server, sample, tenant};

const PERIODS: &str = r#"{"standard_days":400,"critical_days":2555,"context_days":90}"#;

/// An admin's key that belongs to a person, or to nobody.
pub(crate) async fn key_of(server: &Server, person: Option<&str>) -> String {
    let text = ApiKeyText::mint(random(), random());
    let key = ApiKey {
        id: text.id().to_owned(),
        tenant: tenant("demo"),
        tenure: Tenure::new(Role::Admin, None).expect("until it is revoked"),
        person: person.map(str::to_owned),
        sha256: text.sha256().to_vec(),
    };
    api_keys::upsert(&server.store, &key, "test").await.expect("registered");
    text.reveal().to_owned()
}

async fn with_an_event(server: &Server) {
    let mut producer = server.producer().await;
    let sent = server.send(&producer.seal(&[sample(1)])).await;
    assert_eq!(sent["stored"], 1, "{sent}");
}

fn erase() -> (String, String) {
    let actor = sample(1).actor.expect("an actor").id.to_string();
    let body = json!({"mode": "erase", "legal_basis": "Art. 17(1)(a) GDPR"}).to_string();
    (format!("/v1/subjects/{actor}/erase"), body)
}

#[tokio::test]
async fn a_persons_second_key_is_no_second_person() {
    let server = Server::start().await;
    with_an_event(&server).await;
    let (first, second) =
        (key_of(&server, Some("a@x.example")).await, key_of(&server, Some("a@x.example")).await);
    let other = key_of(&server, Some("b@x.example")).await;
    let (path, body) = erase();
    let asked = server.post_with(&path, &first, &body).await.json();
    assert_eq!(asked["state"], "requested", "{asked}");
    let approve = format!("/v1/erasures/{}/approve", asked["id"].as_str().expect("an id"));
    for same in [&first, &second] {
        let refused = server.post_with(&approve, same, "").await.problem(403);
        assert!(refused["detail"].as_str().expect("words").contains("another person"), "{refused}");
    }
    assert_eq!(server.post_with(&approve, &other, "").await.status, 200);

    let proposed = server.post_with("/v1/retention/periods", &first, PERIODS).await.json();
    let approve = format!("/v1/retention/periods/{}/approve", proposed["version"]);
    server.post_with(&approve, &second, "").await.problem(403);
    assert_eq!(server.post_with(&approve, &other, "").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_person_with_all_the_keys_is_alone_and_waits() {
    let server = Server::start().await;
    with_an_event(&server).await;
    let own = server.admin_key().split('_').nth(1).expect("an id");
    let mut owner = PgConnection::connect_with(&server.database).await.expect("connected");
    assert!(api_keys::revoke(&mut owner, own).await.expect("revoked").is_some());
    let first = key_of(&server, Some("a@x.example")).await;
    key_of(&server, Some("a@x.example")).await;
    key_of(&server, None).await;
    let (path, body) = erase();
    let asked = server.post_with(&path, &first, &body).await.json();
    assert_eq!(asked["state"], "approved", "{asked}");
    let wait =
        asked["not_before"].as_str().expect("a time").parse::<chrono::DateTime<Utc>>().expect("a time");
    assert!(wait > Utc::now() + TimeDelta::days(6), "{asked}");
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_belongs_to_nobody_neither_asks_nor_agrees() {
    let server = Server::start().await;
    with_an_event(&server).await;
    let machine = key_of(&server, None).await;
    let (path, body) = erase();
    for (path, body) in [(path.as_str(), body.as_str()), ("/v1/retention/periods", PERIODS)] {
        let refused = server.post_with(path, &machine, body).await.problem(403);
        assert!(refused["detail"].as_str().expect("words").contains("belongs to nobody"), "{refused}");
    }
    let proposed = server.post_as_admin("/v1/retention/periods", PERIODS).await.json();
    let approve = format!("/v1/retention/periods/{}/approve", proposed["version"]);
    server.post_with(&approve, &machine, "").await.problem(403);
    assert_eq!(server.get_as_admin("/v1/retention").await.json()["versions"][0]["state"], "proposed");
    server.stop().await;
}

#[tokio::test]
async fn whom_an_admin_appoints_is_a_second_person_only_after_seven_days() {
    let appointed = Utc::now();
    let dial = Dial::new(appointed);
    let server = Server::at(&dial).await;
    with_an_event(&server).await;
    let grant = json!({"who": "made-up@x.example", "role": "admin"}).to_string();
    assert_eq!(server.post_as_admin("/v1/access", &grant).await.status, 200);
    let (path, body) = erase();
    let alone = server.post_as_admin(&path, &body).await.json();
    assert_eq!(alone["state"], "approved", "a colleague made up a moment ago is nobody yet: {alone}");
    let cancel = format!("/v1/erasures/{}/cancel", alone["id"].as_str().expect("an id"));
    assert_eq!(server.post_as_admin(&cancel, "").await.status, 200);
    dial.turn(appointed + TimeDelta::days(7));
    let asked = server.post_as_admin(&path, &body).await.json();
    assert_eq!(asked["state"], "requested", "{asked}");
    server.stop().await;
}
