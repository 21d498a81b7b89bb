//! Reading from a terminal: the program itself, against a running backend.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shared::event::{Event, JsonText};

use crate::support::audit::edgetrail_with;
use crate::support::{Server, counts, sample};

async fn with_events(count: u64) -> Server {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let events: Vec<Event> = (0..count).map(sample).collect();
    for some in events.chunks(50) {
        assert_eq!(server.send(&producer.seal(some)).await["status"], 200);
    }
    server
}

async fn run(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", server.address);
    edgetrail_with(arguments, &[("EDGETRAIL_URL", &url), ("EDGETRAIL_API_KEY", server.auditor_key())]).await
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn a_search_is_a_table_or_lines_of_json_over_as_many_pages_as_it_takes() {
    let server = with_events(450).await;
    let (status, out, err) = run(&server, &["search", "actor:user-1", "--limit", "3"]).await;
    assert_eq!(status, 0, "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].starts_with("TIME"), "{out}");
    assert!(lines[1].contains("user1@example.com") && lines[1].contains("agent Agent 449"), "{out}");
    assert!(err.contains("more than 3"), "{err}");

    let (status, out, _) = run(&server, &["search", "entity:agent", "--limit", "1000", "--json"]).await;
    assert_eq!(status, 0);
    assert_eq!(json_lines(&out), server.all("&entity_type=agent").await);
    server.stop().await;
}

#[tokio::test]
async fn a_saved_search_is_run_by_its_name() {
    let server = with_events(5).await;
    let wish = r#"{"name":"the third","q":"entity:agent/3"}"#;
    assert_eq!(server.post_with("/v1/searches", server.auditor_key(), wish).await.status, 200);
    let (status, out, err) = run(&server, &["search", "--saved", "the third", "--json"]).await;
    assert_eq!(status, 0, "{err}");
    let names: Vec<_> = json_lines(&out).iter().map(|event| event["entity"]["id"].clone()).collect();
    assert_eq!(names, ["3"]);
    let (status, _, err) = run(&server, &["search", "--saved", "nothing"]).await;
    assert_eq!((status, err.contains("no saved search is called nothing")), (1, true), "{err}");
    let (status, ..) = run(&server, &["search", "actor:x", "--saved", "the third"]).await;
    assert_eq!(status, 2, "one or the other");
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_in_a_query_is_underlined_and_nobody_is_asked() {
    let server = with_events(1).await;
    for command in ["search", "tail"] {
        let (status, out, err) = run(&server, &[command, "actor:x severty:info"]).await;
        assert_eq!((status, out.as_str()), (2, ""));
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines[0], "  actor:x severty:info");
        assert!(lines[1].starts_with("          ^^^^^^^"), "{err}");
        assert!(lines[1].contains("did you mean severity?"), "{err}");
        assert!(lines[2].starts_with("edgetrail: "), "{err}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_export_is_a_file_that_agrees_with_its_manifest() {
    let server = with_events(30).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("events.csv");
    let path = file.to_str().expect("text");
    let (status, out, err) =
        run(&server, &["export", "entity:agent", "--format", "csv", "--out", path]).await;
    assert_eq!(status, 0, "{err}");
    assert!(out.ends_with("events.csv: 30 events\n"), "{out}");
    let bytes = std::fs::read(&file).expect("a file");
    let manifest = std::fs::read(format!("{path}.manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["sha256"], hex::encode(Sha256::digest(&bytes)));

    let packed = dir.path().join("events.ndjson.gz");
    let path = packed.to_str().expect("text");
    let (status, out, err) = run(&server, &["export", "--gzip", "--json", "--out", path]).await;
    assert_eq!(status, 0, "{err}");
    let manifest: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(manifest["gzip"], true);
    assert_eq!(std::fs::read(&packed).expect("a file")[..2], [0x1f, 0x8b], "gzip");

    let (url, viewer) = (format!("http://{}/", server.address), server.viewer_key());
    let variables = [("EDGETRAIL_URL", url.as_str()), ("EDGETRAIL_API_KEY", viewer)];
    let (status, _, err) = edgetrail_with(&["export", "--proofs", "--out", path], &variables).await;
    assert_eq!((status, err.contains("may not")), (1, true), "{err}");
    assert!(!dir.path().join("events.ndjson.gz.part").exists(), "nothing half is left");
    server.stop().await;
}

#[tokio::test]
async fn a_timeline_tells_what_changed_and_coverage_what_no_rule_names() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let mut event = sample(7);
    event.changes = Some(shared::event::ChangeSet {
        quality: shared::event::Quality::Exact,
        fields: JsonText::from(&serde_json::json!({"name": {"from": "old", "to": "new"}})),
    });
    event.outcome = shared::event::Outcome::Success;
    let routes = [("GET", "/api/agents", true, 30), ("POST", "/api/other", false, 10)];
    let counted = counts(1, "app.example.com", &routes, 0);
    assert_eq!(server.send(&producer.seal(&[event, counted])).await["stored"], 2);

    let (status, out, err) = run(&server, &["timeline", "agent/7"]).await;
    assert_eq!(status, 0, "{err}");
    assert!(out.lines().next().is_some_and(|line| line.ends_with("CHANGES")), "{out}");
    assert!(out.lines().any(|line| line.starts_with("name ") && line.contains("new")), "{out}");
    let (status, _, err) = run(&server, &["timeline", "agent/none"]).await;
    assert_eq!(status, 1);
    assert!(err.contains("no event of this entity"), "{err}");

    crate::support::eventually(async || {
        run(&server, &["coverage"]).await.1.contains("75 % of 40 requests fall under a rule")
    })
    .await;
    let (_, out, _) = run(&server, &["coverage", "--unmapped"]).await;
    assert!(out.contains("/api/other") && !out.contains("/api/agents"), "{out}");
    server.stop().await;
}

#[tokio::test]
async fn a_tail_shows_each_event_once_as_it_comes() {
    let server = with_events(5).await;
    let arguments = ["tail", "entity:agent", "--every", "1", "--count", "4", "--json"];
    let sending = async {
        let mut producer = server.producer().await;
        for n in 100..104 {
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            assert_eq!(server.send(&producer.seal(&[sample(n + 600_000 - 200)])).await["status"], 200);
        }
    };
    let ((status, out, err), ()) = tokio::join!(run(&server, &arguments), sending);
    assert_eq!(status, 0, "{err}");
    let shown: Vec<Value> = json_lines(&out);
    let ids: std::collections::BTreeSet<&str> = shown.iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!((shown.len(), ids.len()), (4, 4));
    server.stop().await;
}

#[tokio::test]
async fn shells_learn_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (status, out, _) = edgetrail_with(&["completions", shell], &[]).await;
        assert_eq!(status, 0);
        assert!(out.contains("timeline"), "{shell}");
    }
    assert_eq!(edgetrail_with(&["completions", "csh"], &[]).await.0, 2);
}
