//! Searches on a streaming copy: they say from when they are, and go to the primary while the copy is too far behind.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::support::{Server, eventually, sample};

/// PostgreSQL refuses root; this is nobody.
const UNPRIVILEGED: u32 = 65_534;

/// PostgreSQL's programs with which copies are made; the private server's are without.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.flatten().map(|entry| entry.path().join("bin")).find(|bin| bin.join("pg_basebackup").exists())
}

/// A primary and its copy, each with a socket in a directory of its own.
struct Pair {
    bin: PathBuf,
    dir: tempfile::TempDir,
}

impl Pair {
    async fn start(bin: PathBuf) -> Self {
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        for name in ["primary", "copy"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
            if is_root() {
                let nobody = Some(UNPRIVILEGED);
                std::os::unix::fs::chown(dir.path().join(name), nobody, nobody).expect("given away");
            }
        }
        let pair = Self { bin, dir };
        let (primary, copy) = (pair.folder("primary"), pair.folder("copy"));
        pair.run("initdb", &["-D", &format!("{primary}/data"), "-U", "edgetrail", "-A", "trust"]).await;
        pair.serve("primary").await;
        let data = format!("{copy}/data");
        pair.run("pg_basebackup", &["-h", &primary, "-U", "edgetrail", "-D", &data, "-R", "-c", "fast"])
            .await;
        pair.serve("copy").await;
        pair
    }

    fn folder(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn url(&self, name: &str) -> String {
        format!("postgres://edgetrail@localhost/postgres?host={}", self.folder(name))
    }

    async fn serve(&self, name: &str) {
        let folder = self.folder(name);
        let options = format!("-k {folder} -c listen_addresses= -c fsync=off");
        let (data, log) = (format!("{folder}/data"), format!("{folder}/log"));
        self.run("pg_ctl", &["-D", &data, "-o", &options, "-l", &log, "-w", "start"]).await;
    }

    async fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).current_dir("/tmp").env("LC_ALL", "C").stdout(std::process::Stdio::null());
        if is_root() {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        let status = tokio::task::spawn_blocking(move || command.status().expect("it runs"));
        assert!(status.await.expect("no panic").success(), "{program}");
    }

    async fn stop(&self, name: &str) {
        self.run("pg_ctl", &["-D", &format!("{}/data", self.folder(name)), "-m", "immediate", "stop"]).await;
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in ["copy", "primary"] {
            let pid = std::fs::read_to_string(Path::new(&self.folder(name)).join("data/postmaster.pid"));
            let Some(pid) = pid.ok().and_then(|text| text.lines().next().map(str::to_owned)) else {
                continue;
            };
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        }
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|of_self| std::os::unix::fs::MetadataExt::uid(&of_self) == 0)
}

/// How many events a search finds, and from when the answer is.
async fn found(server: &Server) -> (usize, Option<String>) {
    let page = server.get("/v1/events?limit=100&q=host:app.example.com").await;
    assert_eq!(page.status, 200, "{}", page.text());
    let as_of = page.head.lines().find_map(|line| line.strip_prefix("edgetrail-as-of: ").map(str::to_owned));
    (page.json()["events"].as_array().expect("a list").len(), as_of)
}

#[tokio::test]
async fn searches_are_read_from_a_copy_that_keeps_up_and_from_the_primary_otherwise() {
    let Some(bin) = programs() else {
        eprintln!("SKIPPED: no PostgreSQL with pg_basebackup is installed");
        return;
    };
    let pair = Pair::start(bin).await;
    let (primary, copy) = (pair.url("primary"), pair.url("copy"));
    let variables = [
        ("DATABASE_URL", primary.as_str()),
        ("EDGETRAIL__DATABASE__READ_URL", &copy),
        ("EDGETRAIL__DATABASE__READ_MAX_LAG_MS", "4000"),
        ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ];
    let server = Server::with(&variables).await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&[sample(0), sample(1)])).await["status"], 200);
    eventually(async || matches!(found(&server).await, (2, Some(_)))).await;
    assert!(server.call("GET", "/readyz").await.text().contains("replica: "));
    let facets = server.get("/v1/events/facets").await;
    assert!(facets.head.contains("edgetrail-as-of: "), "{}", facets.head);

    // The copy stands still: what is stored now is not found, and each answer says so by its time.
    let mut standby = PgConnection::connect(&copy).await.expect("connected");
    standby.execute("select pg_wal_replay_pause()").await.expect("paused");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.send(&producer.seal(&[sample(2)])).await["status"], 200);
    let stored_before = chrono::Utc::now();
    let (events, as_of) = found(&server).await;
    assert_eq!(events, 2);
    let as_of: chrono::DateTime<chrono::Utc> = as_of.expect("a time").parse().expect("a time");
    assert!(as_of < stored_before, "{as_of} is not before {stored_before}");
    let export = server.get_as_admin("/v1/events/export?format=ndjson&q=host:app.example.com").await;
    assert_eq!(export.text().matches("AGENT_CREATED\"").count(), 2, "an export is whole: {}", export.text());

    // Too far behind: the primary answers, from now.
    eventually(async || found(&server).await == (3, None)).await;
    eventually(async || {
        let metrics = server.call("GET", "/metrics").await.text();
        let lag = metrics.lines().find_map(|line| line.strip_prefix("edgetrail_replica_lag_seconds "));
        let lag: f64 = lag.and_then(|text| text.parse().ok()).unwrap_or(0.0);
        metrics.contains("\nedgetrail_replica_in_use 0\n") && lag > 4.0
    })
    .await;

    standby.execute("select pg_wal_replay_resume()").await.expect("resumed");
    eventually(async || matches!(found(&server).await, (3, Some(_)))).await;

    // A copy that took over is a database of its own, and not to be believed about this one.
    standby.execute("select pg_promote()").await.expect("promoted");
    eventually(async || found(&server).await == (3, None)).await;
    pair.stop("copy").await;
    assert_eq!(found(&server).await, (3, None));
    assert_eq!(server.call("GET", "/readyz").await.status, 200);
    server.stop().await;
}
