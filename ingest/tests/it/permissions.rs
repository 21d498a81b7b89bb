//! Files and sockets of a backend are for its owner alone, whatever umask it was started with.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::audit::edgetrail_with;
use crate::support::{Standalone, eventually};

const KEY: &str = "etk_ops_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Everything below a directory, with its permissions.
fn below(dir: &Path, found: &mut Vec<(PathBuf, fs::Metadata)>) {
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        // Some of PostgreSQL's files come and go.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            below(&path, found);
        }
        found.push((path, metadata));
    }
}

/// What others than the owner may do with.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    below(dir, &mut found);
    found.retain(|(_, metadata)| !metadata.is_symlink() && metadata.permissions().mode() & 0o077 != 0);
    found
        .iter()
        .map(|(path, it)| format!("{} {:o}", path.display(), it.permissions().mode() & 0o7777))
        .collect()
}

#[tokio::test]
async fn with_any_umask_nothing_of_a_backend_is_open_to_others() {
    for umask in ["000", "022"] {
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        // PostgreSQL runs as another user where tests run as root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let home = dir.path();
        let toml = format!(
            "[database]\ndata_dir = 'data/pg'\n[sinks]\nkey_file = 'data/sinks.key'\nallow_private = true\n\
             [archive]\nurl = 'file://{home}/data/archive'\n[worm]\nurl = 'file://{home}/data/heads'\n\
             [[api_keys]]\nid = 'ops'\ntenant = 'demo'\nrole = 'admin'\nperson = 'ops@example.com'\nsha256 = '{hash}'\n",
            home = home.display(),
            hash = hex::encode(Sha256::digest(KEY)),
        );
        let backend = Standalone::start(home, umask, &toml, &[]).await;
        let bearer = format!("Bearer {KEY}");
        let key = [("authorization", bearer.as_str())];
        let post = async |path: &str, body: Value| -> Value {
            let answer = backend.call("POST", path, &key, &body.to_string()).await;
            assert!(answer.status < 300, "{path}: {}", answer.text());
            answer.json()
        };
        // Its own events are what there is to forward and to export.
        let objects = format!("file://{}/data/objects", home.display());
        post("/v1/sinks", json!({"kind": "objects", "name": "copies", "url": objects})).await;
        post("/v1/access", json!({"who": "a@example.com", "role": "viewer"})).await;
        eventually(async || {
            fs::read_dir(home.join("data/objects")).is_ok_and(|mut all| all.next().is_some())
        })
        .await;
        let export = post("/v1/exports", json!({"format": "ndjson", "q": "is:own"})).await;
        let id = export["id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/exports/{id}");
        eventually(async || {
            let state = backend.call("GET", &path, &key, "").await.json()["state"].clone();
            state != "queued" && state != "running"
        })
        .await;

        // A bundle needs a head, which is published some seconds after the first event.
        let logs = backend.call("GET", "/v1/logs", &key, "").await.json();
        let log = logs["logs"][0]["log_id"].as_str().expect("a log").to_owned();
        let head = format!("/log/{log}/checkpoint");
        eventually(async || backend.call("GET", &head, &key, "").await.status == 200).await;

        let out = |name: &str| home.join(name).display().to_string();
        let url = format!("http://{}", backend.address);
        for arguments in
            [["bundle", url.as_str(), "--out", &out("bundle")], ["export", "--url", url.as_str(), "--out"]]
        {
            let file = out("events.ndjson");
            let arguments = if arguments[0] == "export" {
                [&arguments[..], &[file.as_str()]].concat()
            } else {
                arguments.to_vec()
            };
            let (status, _, stderr) = edgetrail_with(&arguments, &[("EDGETRAIL_API_KEY", KEY)]).await;
            assert_eq!(status, 0, "{arguments:?}: {stderr}");
        }
        let mut found = Vec::new();
        below(home, &mut found);
        for wanted in [
            "pg/PG_VERSION",
            "log.key",
            "policy.key",
            "own.key",
            "privacy.key",
            "erasure.key",
            "sinks.key",
            "pg.log",
            "events.ndjson",
            "events.ndjson.manifest.json",
            "bundle/manifest.json",
        ] {
            assert!(
                found.iter().any(|(path, _)| path.ends_with(wanted)),
                "{wanted} is not looked at: {found:?}"
            );
        }
        for folder in ["data/objects/", "data/exports/", "data/heads/"] {
            let inside = |path: &Path| path.display().to_string().contains(folder);
            assert!(found.iter().any(|(path, it)| it.is_file() && inside(path)), "nothing lies in {folder}");
        }
        assert!(
            found.iter().any(|(_, metadata)| metadata.file_type().is_socket()),
            "PostgreSQL has its socket here"
        );
        // Where PostgreSQL is another user, it gets through the directory that its own lies in; nobody can list it.
        let mut open = open_to_others(home);
        open.retain(|line| !line.ends_with("/data 701"));
        assert_eq!(open, Vec::<String>::new(), "umask {umask}");
        backend.stop().await;
    }
}
