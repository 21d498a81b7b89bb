//! Legal holds: what they cover stays, whatever its age, until they are released.

use serde_json::{Value, json};

use crate::retention::{filled, months_ago, present, superuser};
use crate::support::{Dial, Server, new_key};

async fn count(server: &Server, condition: &str) -> i64 {
    let sql = format!("select count(*) from events where class < 2 and {condition}");
    let sql = sqlx::AssertSqlSafe(sql);
    sqlx::query_scalar(sql).fetch_one(&mut superuser(server).await).await.expect("counted")
}

async fn place(server: &Server, hold: Value) -> String {
    let placed = server.post_as_admin("/v1/holds", &hold.to_string()).await;
    assert_eq!(placed.status, 200, "{}", placed.text());
    placed.json()["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_hold_keeps_what_it_covers_and_the_rest_goes() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    present(&server, &dial).await;
    place(&server, json!({"reason": "case 7", "actor_id": "user-1"})).await;
    place(&server, json!({"reason": "case 8", "entity_type": "agent", "entity_id": "2"})).await;
    place(
        &server,
        json!({"reason": "case 9", "action": "agent_*", "from": "2000-01-01T00:00:00Z",
                          "to": "2001-01-01T00:00:00Z"}),
    )
    .await;
    let covered = "(actor_id = 'user-1' or entity_id = '2')";
    let before = (count(&server, covered).await, count(&server, "class = 1").await);
    let critical_too = count(&server, &format!("class = 1 and {covered}")).await;

    let preview = server.get_as_admin("/v1/retention/preview").await.json();
    let standard = &preview["months"][0]["classes"]["standard"];
    assert_eq!(standard["held"], before.0 - critical_too, "{preview}");
    assert_eq!((&preview["active_holds"], &standard["events"]), (&json!(3), &json!(40)));

    let done = server.retention.pass().await.expect("done");
    let kept = before.0 + before.1 - critical_too;
    assert_eq!(i64::try_from(done[0].kept).expect("few"), kept);
    assert_eq!(count(&server, covered).await, before.0);
    assert_eq!(count(&server, "true").await, kept);
    assert_eq!(count(&server, &format!("ip is not null and not {covered}")).await, 0);
    assert_eq!(
        count(&server, &format!("ip is not null and {covered}")).await,
        before.0,
        "context is held too"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_month_that_is_held_as_a_whole_is_not_dropped_until_the_hold_is_released() {
    let at = months_ago(14);
    let dial = Dial::new(at);
    let (server, _) = filled(at, &dial).await;
    present(&server, &dial).await;
    let hold = place(&server, json!({"reason": "everything", "from": "2000-01-01T00:00:00Z"})).await;
    assert!(server.retention.pass().await.expect("done").is_empty());
    assert_eq!(count(&server, "true").await, 60);
    assert_eq!(count(&server, "ip is not null").await, 60);

    dial.turn(chrono::Utc::now());
    let release = format!("/v1/holds/{hold}/release");
    assert!(server.post_as_admin(&release, "").await.json()["released_at"].is_string());
    server.post_as_admin(&release, "").await.problem(409);
    dial.turn(chrono::Utc::now());
    let done = server.retention.pass().await.expect("done");
    assert_eq!((done[0].dropped, done[0].kept), (40, 20));
    server.stop().await;
}

#[tokio::test]
async fn placing_and_releasing_are_recorded_and_bad_holds_are_refused() {
    let server = Server::start().await;
    let viewer = new_key(&server.store, "demo", ingest::auth::Role::Viewer).await;
    let good = json!({"reason": "case of Mr Miller", "action": "user_login"});
    server.post_with("/v1/holds", &viewer, &good.to_string()).await.problem(403);
    for (hold, status) in [
        (json!({"reason": "case"}), 422),
        (json!({"actor_id": "a"}), 400),
        (json!({"reason": " ", "actor_id": "a"}), 400),
        (json!({"reason": "case", "action": "a b"}), 400),
        (json!({"reason": "case", "action": "*"}), 400),
        (json!({"reason": "case", "entity_type": "Agent/1"}), 400),
        (json!({"reason": "case", "actor_id": "a", "colour": "red"}), 400),
        (json!({"reason": "case", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}), 400),
    ] {
        server.post_as_admin("/v1/holds", &hold.to_string()).await.problem(status);
    }
    let hold = place(&server, good).await;
    let foreign = new_key(&server.store, "other", ingest::auth::Role::Admin).await;
    let release = format!("/v1/holds/{hold}/release");
    server.post_with(&release, &foreign, "").await.problem(404);
    server.post_as_admin("/v1/holds/7/release", "").await.problem(404);
    assert_eq!(server.post_as_admin(&release, "").await.status, 200);
    let told = server.eventually("&action=LEGAL_HOLD_*", 2).await;
    assert_eq!(
        (&told[0]["action"], &told[1]["action"]),
        (&json!("LEGAL_HOLD_RELEASED"), &json!("LEGAL_HOLD_PLACED"))
    );
    assert_eq!(told[1]["class"], "permanent");
    assert_eq!(told[1]["details"]["action"], "USER_LOGIN");
    assert_eq!(told[1]["entity"], json!({"type": "hold", "id": hold}));
    assert!(!told[1].to_string().contains("Miller"), "what an admin wrote stays out of what never goes");
    let holds = server.get_as_admin("/v1/holds").await.json();
    assert_eq!(holds["holds"][0]["reason"], "case of Mr Miller");
    server.stop().await;
}
