//! Deciding from a terminal: policies over the API, and keys in the database.

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::audit::edgetrail_with;

async fn run(server: &Server, key: &str, arguments: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", server.address);
    edgetrail_with(arguments, &[("EDGETRAIL_URL", &url), ("EDGETRAIL_API_KEY", key)]).await
}

fn pack(action: &str) -> String {
    json!({"name": "own", "version": 1, "rules": [{
        "id": "make", "match": {"method": "POST", "path": "/api/x"}, "level": "full", "action": action,
        "severity": "info", "entity": {"type": "x"}}]})
    .to_string()
}

#[tokio::test]
async fn a_policy_is_proposed_compared_agreed_on_and_brought_back() {
    let server = Server::start().await;
    let (one, two) = (server.admin_key().to_owned(), server.another_admin().await);
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let (first, second) = (write("first.json", &pack("X_MADE")), write("second.json", &pack("X_BUILT")));

    let (status, out, err) = run(&server, &one, &["policy", "propose", &first]).await;
    assert_eq!(status, 0, "{err}");
    assert!(out.starts_with("version 1 is proposed, proposed by "), "{out}");
    assert!(out.ends_with("another admin agrees with: edgetrail policy approve 1\n"), "{out}");
    let (status, out, err) = run(&server, &one, &["policy", "approve", "1"]).await;
    assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
    assert!(err.contains("two people"), "{err}");
    let (status, out, err) = run(&server, &two, &["policy", "approve", "1"]).await;
    assert!(status == 0 && out.starts_with("version 1 is active"), "{out}{err}");

    run(&server, &one, &["policy", "propose", &second]).await;
    let (_, out, _) = run(&server, &two, &["policy", "diff", "2"]).await;
    assert_eq!(out, "~ own/make\n");
    let (_, out, _) = run(&server, &two, &["policy", "diff", "1"]).await;
    assert!(out.starts_with("nothing"), "{out}");
    let (_, out, _) = run(&server, &two, &["policy", "show", "2"]).await;
    assert!(out.lines().any(|line| line.starts_with("own/make  POST") && line.contains("X_BUILT")), "{out}");
    assert_eq!(run(&server, &two, &["policy", "approve", "2"]).await.0, 0);
    let (_, out, _) = run(&server, &one, &["policy", "rollback", "1", "--json"]).await;
    let back: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&back["version"], &back["rolls_back_to"]), (&json!(3), &json!(1)));
    let (_, out, _) = run(&server, &two, &["policy", "refuse", "3"]).await;
    assert!(out.starts_with("version 3 is refused"), "{out}");
    let (_, out, _) = run(&server, server.viewer_key(), &["policy", "list"]).await;
    let states: Vec<&str> = out.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(states, ["refused", "active", "superseded"], "{out}");

    let broken = write("broken.json", "{\"name\":\"own\",\n\"versoin\":1}");
    let (status, _, err) = run(&server, &one, &["policy", "propose", &broken]).await;
    assert_eq!((status, err.contains("broken.json:2:")), (2, true), "{err}");
    let (status, _, err) = run(&server, server.viewer_key(), &["policy", "propose", &first]).await;
    assert_eq!((status, err.lines().count()), (1, 1), "{err}");
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_made_rotated_and_revoked_and_each_is_an_event() {
    let server = Server::start().await;
    let config = server.dir().join("edgetrail.toml").display().to_string();
    let database = server.database_variables();
    let database: Vec<_> = database.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let keys = async |arguments: &[&str]| {
        let all = [&["--config", &config, "keys"][..], arguments].concat();
        edgetrail_with(&all, &database).await
    };
    let (status, out, err) =
        keys(&["create", "--tenant", "demo", "--name", "siem", "--role", "viewer", "--json"]).await;
    assert_eq!(status, 0, "{err}");
    let made: Value = serde_json::from_str(&out).expect("JSON");
    let (id, first) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    assert_eq!(server.get_with("/v1/events", first).await.status, 200);

    let (status, out, err) = keys(&["rotate", id]).await;
    assert_eq!(status, 0, "{err}");
    let second = out.trim();
    server.get_with("/v1/events", first).await.problem(401);
    assert_eq!(server.get_with("/v1/events", second).await.status, 200);
    let (_, out, _) = keys(&["list", "--tenant", "demo", "--json"]).await;
    let listed: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let named: Vec<&Value> = listed.iter().filter(|key| key["name"] == "siem").collect();
    assert_eq!(named.len(), 2);
    assert_eq!(named.iter().filter(|key| key["revoked_at"].is_null()).count(), 1);
    assert!(!out.contains("etk_"), "no key stands in a list");

    let newest = second.split('_').nth(1).expect("an id");
    assert_eq!(keys(&["revoke", newest]).await.0, 0);
    server.get_with("/v1/events", second).await.problem(401);
    for (arguments, status) in [
        (&["revoke", newest][..], 1),
        (&["rotate", newest], 1),
        (&["create", "--tenant", "demo", "--name", "a", "--role", "auditor"], 2),
        (
            &[
                "create",
                "--tenant",
                "demo",
                "--name",
                "a",
                "--role",
                "viewer",
                "--expires",
                "2020-01-01T00:00:00Z",
            ],
            2,
        ),
    ] {
        let (code, _, err) = keys(arguments).await;
        assert_eq!((code, err.lines().count()), (status, 1), "{arguments:?}: {err}");
    }
    let told = server.eventually("&action=ACCESS_API_KEY_*", 4).await;
    let actions: Vec<_> = told.iter().map(|event| event["action"].as_str().expect("text")).collect();
    let (made, revoked) = ("ACCESS_API_KEY_CREATED", "ACCESS_API_KEY_REVOKED");
    assert_eq!(actions[0], revoked, "{told:?}");
    assert_eq!(actions[3], made, "{told:?}");
    assert_eq!(actions.iter().filter(|action| **action == made).count(), 2);
    assert!(told.iter().all(|event| event["actor"]["id"] == "command line"), "{told:?}");
    let replaced = told.iter().filter(|event| event["details"]["replaces"] == id);
    assert_eq!(replaced.count(), 1);
    server.stop().await;
}
