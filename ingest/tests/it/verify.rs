//! Verifying what nobody has touched: over HTTP, from a folder, from a tar, one event by itself; and evidence that is none.

use std::fs;

use serde_json::json;
use shared::bundle::{OpeningLine, ProofFile};
use shared::leaf::Glance;

use crate::support::audit::{edgetrail, verify};
use crate::support::{Server, sample};

#[tokio::test]
async fn a_log_verifies_over_http_from_a_folder_and_from_a_tar() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    for batch in 0..7 {
        let events: Vec<_> = (batch * 90..batch * 90 + 90).map(sample).collect();
        assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
    }
    server.sequenced(630).await;
    let dir = tempfile::tempdir().expect("a directory");
    let head = server.keep_head(dir.path(), "head.txt").await;
    let anchor = ["--checkpoint", head.to_str().expect("text")];
    let folder = server.bundle(dir.path(), "folder").await;
    let tar = server.bundle(dir.path(), "bundle.tar").await;
    let url = format!("http://{}/", server.address);
    for target in [url.as_str(), folder.to_str().expect("text"), tar.to_str().expect("text")] {
        let verdict = verify(target, server.admin_key(), &anchor).await;
        let report = &verdict.holds().report["report"];
        assert_eq!(verdict.report["verdict"], "valid");
        assert_eq!((&report["counts"]["entries"], &report["counts"]["whole"]), (&json!(630), &json!(630)));
        let log = &report["logs"][0];
        for check in ["signature", "tree", "tiles", "consistency", "openings"] {
            assert_eq!(log[check], "passed", "{target}: {check}");
        }
        assert_eq!((&log["succession"], &report["absences"]), (&json!("skipped"), &json!("passed")));
    }
    // What a viewer may not read is not checked, and that is said.
    let verdict = verify(&url, server.viewer_key(), &anchor).await;
    let report = &verdict.holds().report["report"];
    assert_eq!(
        (&report["logs"][0]["tree"], &report["logs"][0]["openings"]),
        (&json!("passed"), &json!("skipped"))
    );
    assert!(report["notes"].to_string().contains("there are no openings here"), "{report:#}");

    let (status, stdout, _) = edgetrail(&["verify", tar.to_str().expect("text")], "").await;
    assert_eq!(status, 0);
    assert!(stdout.ends_with("valid: 1/1 logs valid, 630 entries\n"), "{stdout}");
    assert!(stdout.contains("note: nothing outside vouches for the logs' keys"), "{stdout}");
    // Nothing is written over.
    let (status, _, stderr) =
        edgetrail(&["bundle", &url, "--out", tar.to_str().expect("text")], server.admin_key()).await;
    assert_eq!((status, stderr.contains("File exists")), (1, true), "{stderr}");
    server.stop().await;
}

#[tokio::test]
async fn one_event_is_proven_by_a_file_that_needs_nothing_else() {
    let server = Server::without_sequencer().await;
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..5).map(sample).collect();
    let id = events[3].id;
    assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
    let path = format!("/v1/events/{id}/proof");
    let waiting = server.get(&path).await.problem(409);
    assert_eq!(waiting["type"], "/problems/not-yet-sequenced");
    server.stop().await;

    let server = Server::start().await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&events)).await["status"], 200);
    server.sequenced(5).await;
    let answer = server.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let line = OpeningLine::parse(&answer.body).expect("a line of a bundle");
    let opening = line.opening.clone().expect("an opening");
    assert_eq!(Glance::at(&opening).expect("readable").digest, line.entry.expect("an entry")[10..]);
    assert_eq!(line.id, Some(id.uuid()));

    let key = format!("Bearer {}", server.viewer_key());
    let plain = server.call_with("GET", &path, &[("authorization", &key), ("accept", "text/plain")]).await;
    assert_eq!(Some(&plain.text()), line.proof.as_ref());
    let file: ProofFile = plain.text().parse().expect("a c2sp.org/tlog-proof");
    assert_eq!((file.index, file.hashes.len()), (3, 3));

    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("event.json");
    fs::write(&kept, &answer.body).expect("written");
    let target = kept.to_str().expect("text");
    let named =
        server.get("/v1/logs").await.json()["logs"][0]["verifier_key"].as_str().expect("a key").to_owned();
    let verdict = verify(target, "", &["--key", &named]).await;
    assert_eq!(verdict.holds().report["report"]["logs"][0]["inclusion"], "passed");

    fs::write(&kept, answer.text().replacen("index 3", "index 2", 1)).expect("written");
    verify(target, "", &[]).await.finds("another leaf's proof", "proof_invalid", "its proof is of leaf 2");
    let other = "localhost/log/0+aaaaaaaa+x";
    assert_eq!(verify(target, "", &["--key", other]).await.status, 2);
    server.get("/v1/events/019a0000-0000-7000-8000-000000000000/proof").await.problem(404);
    server.get("/v1/events/nonsense/proof").await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn openings_and_lists_are_for_admins_and_within_bounds() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&[sample(1), sample(2)])).await["status"], 200);
    server.sequenced(2).await;
    let logs = server.get("/v1/logs").await.json();
    let log = logs["logs"][0]["log_id"].as_str().expect("a log").to_owned();
    server.get_with("/v1/openings", server.viewer_key()).await.problem(403);
    server.get_with("/v1/absences", server.viewer_key()).await.problem(403);
    let lines = server.get_as_admin(&format!("/v1/openings?log={log}")).await;
    assert_eq!((lines.status, lines.text().lines().count()), (200, 2));
    assert_eq!(
        server.get_as_admin(&format!("/v1/openings?log={log}&from=1&to=2")).await.text().lines().count(),
        1
    );
    assert_eq!(server.get_as_admin(&format!("/v1/openings?log={log}&from=7")).await.text(), "");
    assert_eq!(server.get_as_admin("/v1/absences").await.json(), json!({"absences": []}));
    let bad = async |query: &str| server.get_as_admin(&format!("/v1/openings?{query}")).await;
    assert_eq!(bad(&format!("log={log}&from=2&to=1")).await.problem(400)["detail"], "to: is before from");
    bad(&format!("log={log}&from=0&to=99999")).await.problem(400);
    bad(&format!("log={log}&from=x")).await.problem(400);
    bad("log=x").await.problem(400);
    bad("colour=red").await.problem(400);
    bad(&format!("log={}", "0".repeat(32))).await.problem(404);
    server.get_as_admin("/v1/absences/019a0000-0000-7000-8000-000000000000").await.problem(404);
    // Another tenant's admin sees neither the log nor its events.
    let other = crate::support::new_key(&server.store, "other", ingest::auth::Role::Admin).await;
    server.get_with(&format!("/v1/openings?log={log}"), &other).await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn evidence_that_is_none_ends_in_one_line_and_its_status() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let check = async |arguments: &[&str], status: i32, words: &str| {
        let (found, _, stderr) = edgetrail(arguments, "").await;
        assert_eq!(found, status, "{arguments:?}: {stderr}");
        assert!(stderr.contains(words) && stderr.trim_end().lines().count() == 1, "{arguments:?}: {stderr}");
    };
    check(&["verify", &path("nowhere")], 1, "No such file").await;
    fs::create_dir(path("empty")).expect("made");
    check(&["verify", &path("empty")], 1, "there is no manifest.json in it").await;
    fs::write(path("empty/manifest.json"), "{\"format\":\"edgetrail-bundle/v9\"}").expect("written");
    check(&["verify", &path("empty")], 1, "manifest: ").await;
    fs::write(path("noise.tar"), vec![7; 4096]).expect("written");
    check(&["verify", &path("noise.tar")], 1, "not a tar").await;
    fs::write(path("proof.json"), "{\"log\": 5}").expect("written");
    check(&["verify", &path("proof.json")], 1, "not a proof of an event").await;
    check(&["verify", &path("noise.tar"), "--checkpoint", &path("noise.tar")], 2, "--checkpoint").await;
    check(&["verify", &path("noise.tar"), "--key", "a+b"], 2, "--key: ").await;
    check(&["verify", &path("noise.tar"), "--log", &"0".repeat(32)], 2, "--log is for a backend").await;
    check(&["verify", "x", "--log", "short"], 2, "32 lower-case hex digits").await;
    check(&["verify"], 2, "required").await;
    check(&["verify", "http://127.0.0.1:1/"], 1, "v1/logs: ").await;
    check(&["verify", "http://[nonsense"], 1, "the URL: invalid IPv6 address").await;
    fs::write(
        path("empty/manifest.json"),
        json!({"format": "edgetrail-bundle/v1", "kind": "log", "tenant": "demo", "made_at": "", "logs": []})
            .to_string(),
    )
    .expect("written");
    // An empty period is no failure, and no success either.
    let (status, stdout, _) = edgetrail(&["verify", &path("empty")], "").await;
    assert_eq!(
        (status, stdout.ends_with("warning: nothing to verify, there is no entry\n")),
        (0, true),
        "{stdout}"
    );
}
