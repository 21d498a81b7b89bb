//! A migrated database made once and copied for each test, which takes less time than making one.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingest::postgres::{Embedded, Neighbour};
use ingest::store::Store;
use sha2::{Digest as _, Sha256};

/// Puts a data directory with every migration and no data in a place, if there is nothing yet.
pub(super) async fn database(at: &Path) {
    if at.exists() {
        return;
    }
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("migrated-{}", fingerprint()));
    if !kept.exists() {
        let lock = File::create(kept.with_extension("lock")).expect("our own directory");
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.expect("no panic");
        let _lock = lock.expect("locked");
        // Another test may have been faster.
        if !kept.exists() {
            make(&kept).await;
        }
    }
    copy(&kept, at);
}

async fn make(kept: &Path) {
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    let data_dir = dir.path().join("pg");
    let mut server = Embedded::start(&data_dir, 16, Neighbour::Join).expect("PostgreSQL starts");
    let store = Store::open(&server.connect_options(), 5);
    store.migrate().await.expect("migrated");
    store.close().await;
    tokio::task::spawn_blocking(move || server.stop()).await.expect("it stops");
    let fresh = kept.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).expect("our own directory");
    }
    copy(&data_dir, &fresh);
    fs::rename(&fresh, kept).expect("renamed");
}

/// Copies a directory with the owners of its files.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(copied.success(), "{} is copied to {}", from.display(), to.display());
}

/// What a migrated database is made of: the migrations, and the programs that were named or that npm brings.
fn fingerprint() -> String {
    let mut migrations: Vec<PathBuf> =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations"))
            .expect("migrations")
            .map(|entry| entry.expect("a file").path())
            .collect();
    migrations.sort();
    let mut hasher = Sha256::new();
    for path in migrations {
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(fs::read(path).expect("a migration"));
    }
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../package-lock.json");
    hasher.update(fs::read(programs).expect("the repository's own file"));
    hasher.update(std::env::var_os("EDGETRAIL_PG_BIN").unwrap_or_default().as_encoded_bytes());
    hex::encode(&hasher.finalize()[..8])
}
