//! `edgetrail doctor` on the real stack: well, and with things broken.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::keys::Keys;
use tests::stack::edgetrail_bin;

use crate::scene::{Scene, Setup, creation};

struct Diagnosis {
    status: Option<i32>,
    checks: Vec<Value>,
    said: String,
}

impl Diagnosis {
    /// What the checks with this verdict are about.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let with = self.checks.iter().filter(|check| check["verdict"] == verdict);
        with.map(|check| check["check"].as_str().expect("a name")).collect()
    }

    fn advice(&self, check: &str) -> &str {
        let found = self.checks.iter().find(|it| it["check"] == check);
        found
            .and_then(|it| it["advice"].as_str())
            .unwrap_or_else(|| panic!("no advice on {check}: {}", self.said))
    }
}

/// Runs it beside the stack.
async fn doctor(config: &Path, more: &[&str]) -> Diagnosis {
    let mut command = Command::new(edgetrail_bin().expect("a built backend"));
    command.args(["doctor", "--json", "--config"]).arg(config).args(more);
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {said}"));
    let checks = report["checks"].as_array().expect("checks").clone();
    Diagnosis { status: output.status.code(), checks, said: said.into_owned() }
}

#[tokio::test]
async fn a_stack_that_works_is_well_and_what_is_broken_is_named_with_what_to_do() {
    let keys = Keys::generate();
    let (exchange, call) = creation("first");
    let setup = Setup { adjust: Box::new(|config| config.coverage_seconds = Some(1)), ..Setup::default() };
    let scene = Scene::start(&keys, vec![exchange], setup).await;
    assert_eq!(scene.app(&call).await.status, 201);
    scene.of_action("AGENT_CREATED", 1).await;

    let folder = scene.dir.path().join("ingest");
    let config = folder.join("edgetrail.toml");
    let edge = scene.dir.path().join("edge.json");
    let written = serde_json::to_value(&scene.config).expect("plain data");
    std::fs::write(&edge, written.to_string()).expect("our own folder");
    let edge = edge.to_str().expect("text");

    let well = doctor(&config, &["--edge", edge, "--wait", "40"]).await;
    assert_eq!((well.status, well.with("failed")), (Some(0), vec![]), "{}", well.said);
    let fine = well.with("ok");
    let host = scene.config.app_host();
    for check in [
        "configuration",
        "edge configuration",
        "database",
        "clock of the database",
        "schema",
        "roles",
        "key log.key_file",
        "signers of demo",
        "sequencer",
        "task detection",
        "queue of demo",
        "gaps of demo",
        "drops of demo",
        &format!("DNS of {host}"),
        &format!("route {host}"),
        &format!("mount {host}"),
        &format!("route {}", scene.config.supabase_host()),
    ] {
        assert!(fine.contains(&check), "{check} is not well: {}", well.said);
    }
    // An origin that answers whoever asks is no fault of the stack, and is told.
    assert!(well.with("warning").iter().all(|check| check.starts_with("origin ")), "{}", well.said);

    // A key that others can read, a producer that nobody knows, a mount that the Worker does not serve, an archive that is gone.
    let key = folder.join("log.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("our own file");
    let verifier = &scene.signing.verifier;
    let revoked = Command::new(edgetrail_bin().expect("a built backend"))
        .args(["signer", "revoke", verifier.name.as_str(), &verifier.id().to_string(), "--config"])
        .arg(&config)
        .output()
        .expect("it runs");
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    let gone = format!("gone.localhost:{}", scene.worker.address().port());
    let mut broken = written.clone();
    let mount = json!({"host": gone, "upstream": broken["mounts"][0]["upstream"], "tenant": "demo"});
    broken["mounts"].as_array_mut().expect("mounts").push(mount);
    let broken_edge = scene.dir.path().join("broken.json");
    std::fs::write(&broken_edge, broken.to_string()).expect("our own folder");
    let broken_config = folder.join("broken.toml");
    let text = std::fs::read_to_string(&config).expect("our own file");
    let nowhere = folder.join("nowhere");
    std::fs::write(&broken_config, format!("{text}\n[archive]\nurl = \"file://{}\"\n", nowhere.display()))
        .expect("our own folder");
    let ill = doctor(&broken_config, &["--edge", broken_edge.to_str().expect("text"), "--wait", "6"]).await;
    assert_eq!(ill.status, Some(1), "{}", ill.said);
    let failed = ill.with("failed");
    let (lost, unserved) = (format!("route {gone}"), format!("mount {gone}"));
    for check in ["key log.key_file", "signers of demo", &lost, &unserved, "storage archive"] {
        assert!(failed.contains(&check), "{check} is well: {}", ill.said);
    }
    assert!(ill.advice("key log.key_file").starts_with("chmod 600 "), "{}", ill.said);
    assert!(ill.advice("signers of demo").contains("edgetrail signer new"), "{}", ill.said);
    assert!(ill.advice(&lost).contains("wrangler tail"), "{}", ill.said);
    assert!(ill.said.contains("checks failed"), "{}", ill.said);
    assert!(!nowhere.exists(), "a look makes nothing");

    // What cannot be read is told in the same way.
    std::fs::write(&broken_config, "[http]\nlisten = 'nowhere'").expect("our own folder");
    let unread = doctor(&broken_config, &[]).await;
    assert_eq!((unread.status, unread.with("failed")), (Some(1), vec!["configuration"]));
}
