//! The auditor: another program, with a key and files of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Server;

/// What `edgetrail verify` came to.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) status: i32,
    pub(crate) report: Value,
    pub(crate) stderr: String,
}

impl Verdict {
    /// Asserts that everything holds.
    pub(crate) fn holds(&self) -> &Self {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{:#}", self.report);
        self
    }

    /// Asserts that it is refused, and that a finding of this kind says this.
    pub(crate) fn finds(&self, case: &str, kind: &str, words: &str) {
        assert_eq!(self.status, 3, "{case}: {} {:#}", self.stderr, self.report);
        assert!(self.stderr.starts_with("edgetrail: INVALID: "), "{case}: {}", self.stderr);
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{case}: one line");
        let findings = self.report["report"]["findings"].as_array().expect("findings");
        let found = findings.iter().any(|finding| {
            finding["kind"] == kind && finding["detail"].as_str().is_some_and(|detail| detail.contains(words))
        });
        assert!(found, "{case}: no {kind} with {words:?} in {findings:#?}");
    }

    /// The kinds that were found.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let totals = self.report["report"]["totals"].as_object().expect("totals");
        totals.keys().cloned().collect()
    }
}

/// Runs the program and gives status, stdout and stderr.
pub(crate) async fn edgetrail(arguments: &[&str], key: &str) -> (i32, String, String) {
    edgetrail_with(arguments, &[("EDGETRAIL_API_KEY", key)]).await
}

/// The same in another environment.
pub(crate) async fn edgetrail_with(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgetrail"));
    command.args(arguments).envs(variables.iter().copied());
    let ran =
        tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("no panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ran.status.code().expect("it ends by itself"), text(ran.stdout), text(ran.stderr))
}

/// Verifies a target with more arguments.
pub(crate) async fn verify(target: &str, key: &str, more: &[&str]) -> Verdict {
    let arguments = [&["verify", target, "--json"], more].concat();
    let (status, stdout, stderr) = edgetrail(&arguments, key).await;
    let report = serde_json::from_str(&stdout).unwrap_or(Value::Null);
    Verdict { status, report, stderr }
}

impl Server {
    /// Writes a bundle with an admin's key, whole or not.
    pub(crate) async fn bundle(&self, dir: &Path, name: &str) -> PathBuf {
        let out = dir.join(name);
        let url = format!("http://{}", self.address);
        let path = out.to_str().expect("text");
        let (status, _, stderr) = edgetrail(&["bundle", &url, "--out", path], self.admin_key()).await;
        assert!(status == 0 || stderr.contains("did not give"), "{stderr}");
        out
    }

    /// Keeps the newest head of a log in a file.
    pub(crate) async fn keep_head(&self, dir: &Path, name: &str) -> PathBuf {
        let logs = self.get("/v1/logs").await.json();
        let log = logs["logs"][0]["log_id"].as_str().expect("a log").to_owned();
        let head = self.call("GET", &format!("/log/{log}/checkpoint")).await;
        let path = dir.join(name);
        std::fs::write(&path, head.body).expect("written");
        path
    }

    /// Waits until the log covers this many entries.
    pub(crate) async fn sequenced(&self, size: u64) {
        super::eventually(async || {
            self.get("/v1/logs").await.json()["logs"][0]["published_size"].as_u64() == Some(size)
        })
        .await;
    }
}
