//! What the faults happen to: an application, two Workers in runtimes of their own in front of it, the wire, and the backend with
//! its database. All of it is what is shipped; only the queue's send is wrapped, so that what it accepted is written down.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use tempfile::TempDir;

use super::ChaosError;
use super::acts::Way;
use super::app::Application;
use super::clock::Clocks;
use super::dice::Dice;
use super::disk::Disk;
use super::fault::{Timekeeper, Trouble, Victim};
use super::wire::{Place, Proxy};
use crate::keys::{Keys, random};
use crate::stack::{
    Api, DEAD_LETTERS, DeliveryMode, EVENTS, EdgeConfig, Ingest, IngestSpec, QueueOptions, SigningKey,
    StackError, Surroundings, Worker, edge_bundle, edgetrail_bin, entered_by, free_port, open_to_postgres,
};

/// How long anything may take that ends by itself, on a loaded machine.
const SOON: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

/// The Worker, whose queue tells what it accepted.
const NOTEBOOK: &str = r#"import edge from "./edge.mjs";
const told = (queue) => ({
  async send(bytes, options) {
    const head = new TextDecoder("latin1").decode(bytes.slice(4, 300));
    await queue.send(bytes, options);
    console.log(`queued ${/^stream (\w+)$/m.exec(head)[1]} ${/^seq (\d+)$/m.exec(head)[1]}`);
  },
});
export default {
  fetch: (request, env, ctx) => edge.fetch(request, { ...env, EVENTS: told(env.EVENTS) }, ctx),
  queue: edge.queue,
};
"#;

/// When something of the edge was killed.
#[derive(Debug, Clone, Copy)]
pub struct Kill {
    /// Which Worker.
    pub way: Way,
    /// It ran until then at least.
    pub before: Instant,
    /// It was gone by then.
    pub after: Instant,
}

/// What the database went back from.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Batches that were stored and then were not.
    pub batches: Vec<Place>,
    /// Names of acts whose event was stored and then was not.
    pub acts: Vec<String>,
    /// Names of acts whose intent was stored and then was not.
    pub intents: Vec<String>,
    /// Entries that the log had under a published head and then had not.
    pub entries: u64,
}

/// A look at what is stored.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Batches.
    pub batches: BTreeSet<Place>,
    /// Events of acts: name, action, status, outcome.
    pub acts: Vec<StoredAct>,
    /// Intents by the names of their acts.
    pub intents: Vec<(String, String)>,
    /// Ids of intents of which it was told that their act never came.
    pub orphans: Vec<String>,
    /// Events that were set aside, headers that contradict each other, ids that stand twice, captures that failed.
    pub odd: [(&'static str, u64); 4],
}

/// The event of an act.
#[derive(Debug, Clone)]
pub struct StoredAct {
    /// The act's name.
    pub name: String,
    /// The action.
    pub action: String,
    /// The status of the answer; none if there was none.
    pub status: Option<i32>,
    /// The outcome's byte.
    pub outcome: i16,
    /// The stream that it came in.
    pub stream: String,
}

/// The stand.
pub struct Stand {
    // Dropped in this order: producers first, folders last.
    queue: Worker,
    direct: Worker,
    proxy: Proxy,
    ingest: Ingest,
    /// The application.
    pub application: Application,
    /// Kills of the Workers.
    pub kills: Vec<Kill>,
    /// What went with restores.
    pub restored: Vec<Restored>,
    clocks: Option<Clocks>,
    disk: Option<Disk>,
    hosts: [String; 2],
    dir: TempDir,
}

impl Stand {
    /// Starts everything. What this machine cannot do is said aloud and left out.
    ///
    /// # Errors
    /// A part does not start.
    pub async fn start(seed: u64, settings: &str, left_out: &mut Vec<String>) -> Result<Self, ChaosError> {
        let dir = tempfile::Builder::new()
            .prefix("edgetrail-chaos")
            .tempdir()
            .map_err(ChaosError::file(Path::new("/tmp")))?;
        open_to_postgres(dir.path())?;
        let mut given = |what: &str, error: ChaosError| left_out.push(format!("{what}: {error}"));
        let folder = dir.path().join("ingest");
        let disk = Disk::mount(&folder).map_err(|error| given("disk full", error)).ok();
        let clocks =
            Clocks::new(&dir.path().join("clocks")).map_err(|error| given("clock jumps", error)).ok();
        let variables = |whose| clocks.as_ref().map(|clocks| clocks.variables(whose)).unwrap_or_default();

        let application = Application::start().await.map_err(ChaosError::Port)?;
        let keys = Keys::generate();
        let signing = SigningKey::generate();
        let copies = dir.path().join("copies");
        fs::create_dir_all(&copies).map_err(ChaosError::file(&copies))?;
        let spec = IngestSpec {
            port: free_port(None)?,
            key: signing.clone(),
            api_key: format!("etk_dev_{}", hex::encode(random::<32>())),
            more: with_copies(&copies, settings),
        };
        let ingest = Ingest::start_with(&folder, spec, variables(Timekeeper::Ingest)).await?;
        let proxy = Proxy::start(ingest.address(), Dice::of_run(seed ^ 0x00ff_00ff))
            .await
            .map_err(ChaosError::Port)?;

        let plain = edge_bundle()?;
        let noted = entered_by(NOTEBOOK, &plain, &dir.path().join("bundle"))?;
        let mut hosts = [String::new(), String::new()];
        let mut workers = Vec::new();
        for (at, (mode, bundle, name)) in
            [(DeliveryMode::Queue, &noted, "queue"), (DeliveryMode::Direct, &plain, "direct")]
                .into_iter()
                .enumerate()
        {
            let port = free_port(None)?;
            let origin = application.address();
            let mut config = EdgeConfig::for_demo(port, origin, origin, proxy.address(), mode);
            config.mounts[0].fail = [("app/agent.delete", "intent"), ("app/agent.update", "closed")]
                .map(|(rule, fail)| (rule.to_owned(), fail.to_owned()))
                .into();
            hosts[at] = config.app_host();
            let vars = vec![
                ("EDGETRAIL_CONFIG".to_owned(), serde_json::to_string(&config).map_err(StackError::from)?),
                ("EDGETRAIL_SIGNING_KEY".to_owned(), signing.signer.reveal()),
                ("SUPABASE_JWT_SECRET".to_owned(), keys.hs256_secret().to_owned()),
            ];
            let queue = QueueOptions { max_batch_timeout: 1, ..QueueOptions::default() };
            let surroundings =
                Surroundings { variables: variables(Timekeeper::Edge), ..Surroundings::default() };
            workers.push(
                Worker::start_in(&dir.path().join(name), bundle, port, vars, queue, surroundings).await?,
            );
        }
        let direct = workers.pop();
        let (queue, direct) =
            workers.pop().zip(direct).ok_or_else(|| ChaosError::Stuck("two Workers".to_owned()))?;
        let (kills, restored) = (Vec::new(), Vec::new());
        Ok(Self { queue, direct, proxy, ingest, application, kills, restored, clocks, disk, hosts, dir })
    }

    /// Starts the backend again with other settings.
    ///
    /// # Errors
    /// It does not start.
    pub async fn configure(&mut self, settings: &str) -> Result<(), ChaosError> {
        let copies = self.dir.path().join("copies");
        Ok(self.ingest.configure(with_copies(&copies, settings)).await?)
    }

    /// Where a Worker listens, and as which host.
    pub fn target(&self, way: Way) -> (SocketAddr, String) {
        match way {
            Way::Queue => (self.queue.address(), self.hosts[0].clone()),
            Way::Direct => (self.direct.address(), self.hosts[1].clone()),
        }
    }

    /// The wire.
    pub fn wire(&self) -> &Proxy {
        &self.proxy
    }

    /// The API, with an admin's key.
    pub fn api(&self) -> Api {
        self.ingest.api()
    }

    /// Kills some parts and starts them again, each after a while.
    ///
    /// # Errors
    /// One does not start again.
    pub async fn kill(&mut self, victims: &[Victim], dice: &mut Dice) -> Result<(), ChaosError> {
        for victim in victims {
            let before = Instant::now();
            match victim {
                Victim::Ingest => self.ingest.kill9(),
                Victim::Postgres => self.kill_postgres(),
                Victim::QueueWorker => self.queue.kill9(),
                Victim::DirectWorker => self.direct.kill9(),
            }
            let after = Instant::now();
            match victim {
                Victim::QueueWorker => self.kills.push(Kill { way: Way::Queue, before, after }),
                Victim::DirectWorker => self.kills.push(Kill { way: Way::Direct, before, after }),
                Victim::Ingest | Victim::Postgres => {}
            }
        }
        for victim in victims {
            dice.pause(0, 1_000).await;
            match victim {
                Victim::Ingest => self.ingest.restart().await?,
                // The backend starts it again.
                Victim::Postgres => {}
                Victim::QueueWorker => self.queue.restart().await?,
                Victim::DirectWorker => self.direct.restart().await?,
            }
        }
        Ok(())
    }

    /// Kills the postmaster, if what its pid file names is it.
    fn kill_postgres(&self) {
        let Some(pid) = self.postmaster() else { return };
        #[expect(unsafe_code, reason = "std cannot send SIGKILL to what is not its child")]
        // SAFETY: kill takes two numbers; the process was just found to work in the data directory of this very stand.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
        }
    }

    /// The process that works in the data directory.
    fn postmaster(&self) -> Option<libc::pid_t> {
        let pid = self.ingest.postgres_pid()?;
        let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (works_in == self.ingest.data_dir()).then(|| libc::pid_t::try_from(pid).ok()).flatten()
    }

    /// Lets clocks jump, and sets them right after a while. Nothing, where that cannot be done.
    ///
    /// # Errors
    /// [`ChaosError::File`].
    pub async fn jump(&self, of: &[Timekeeper], ahead: bool, dice: &mut Dice) -> Result<(), ChaosError> {
        let Some(clocks) = &self.clocks else { return Ok(()) };
        clocks.jump(of, ahead)?;
        dice.pause(2_000, 4_000).await;
        clocks.right(of)
    }

    /// Lets the hour come that the queue waits for since a clock jumped: the runtimes' clocks go ahead, and the one with the
    /// queue is started again, since its timers do not follow the time of day.
    ///
    /// # Errors
    /// It does not start again.
    pub async fn catch_up(&mut self, dice: &mut Dice) -> Result<(), ChaosError> {
        self.hurry(&[Timekeeper::Edge])?;
        self.kill(&[Victim::QueueWorker], dice).await
    }

    /// Sets clocks ahead of all that a jump put off.
    ///
    /// # Errors
    /// [`ChaosError::File`].
    pub fn hurry(&self, of: &[Timekeeper]) -> Result<(), ChaosError> {
        self.clocks.as_ref().map_or(Ok(()), |clocks| clocks.hurry(of))
    }

    /// Sets all clocks right.
    ///
    /// # Errors
    /// [`ChaosError::File`].
    pub fn right(&self) -> Result<(), ChaosError> {
        self.clocks.as_ref().map_or(Ok(()), |clocks| clocks.right(&Timekeeper::ALL))
    }

    /// Whether this machine can do it.
    pub fn can_jump(&self) -> bool {
        self.clocks.is_some()
    }

    /// Whether this machine can do it.
    pub fn can_fill_the_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Fills the disk until the backend has refused batches for it, and makes room again.
    ///
    /// # Errors
    /// It never refuses any.
    pub async fn fill_the_disk(&self) -> Result<(), ChaosError> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let refused = || self.proxy.passed().refused.values().sum::<u64>();
        let before = refused();
        disk.fill()?;
        let start = Instant::now();
        while refused() == before && start.elapsed() < SOON {
            tokio::time::sleep(POLL).await;
        }
        let never = refused() == before;
        // What was refused goes on being refused for a moment.
        tokio::time::sleep(Duration::from_secs(1)).await;
        disk.free()?;
        if never {
            Err(ChaosError::Stuck("a full disk that the backend does not notice".to_owned()))
        } else {
            Ok(())
        }
    }

    /// Makes a backup, lets some time pass, puts the database back to it, and reopens the log as an operator has to. Batches
    /// that are on their way meanwhile wait in front of a line that is half open.
    ///
    /// # Errors
    /// Something does not come back.
    pub async fn restore(&mut self, dice: &mut Dice) -> Result<(), ChaosError> {
        let (data, backup) = (self.ingest.data_dir(), self.dir.path().join("backup"));
        self.ingest.stop();
        copy(&data, &backup)?;
        self.ingest.restart().await?;
        dice.pause(2_000, 4_000).await;

        self.proxy.trouble(Some(Trouble::HalfOpen));
        let (log, stored) = self.published().await?;
        let had = self.size_of(&log).await?;
        self.ingest.kill9();
        let start = Instant::now();
        while self.postmaster().is_some() {
            waited(start, "PostgreSQL ends after its backend was killed")?;
            tokio::time::sleep(POLL).await;
        }
        copy(&backup, &data)?;
        self.ingest.restart().await?;
        let left = self.stored().await?;
        let reopened = Command::new(edgetrail_bin()?)
            .args(["log", "reopen", "--log", &log, "--config"])
            .arg(self.ingest.config())
            .envs(self.clocks.as_ref().map(|clocks| clocks.variables(Timekeeper::Ingest)).unwrap_or_default())
            .current_dir(crate::stack::workspace_root())
            .output()
            .map_err(ChaosError::file(Path::new("edgetrail")))?;
        if !reopened.status.success() {
            return Err(ChaosError::Stuck(String::from_utf8_lossy(&reopened.stderr).into_owned()));
        }
        self.proxy.trouble(None);
        let gone = |now: &[String], then: &[String]| -> Vec<String> {
            let now: BTreeSet<&String> = now.iter().collect();
            then.iter().filter(|name| !now.contains(name)).cloned().collect()
        };
        let acts = |stored: &Stored| stored.acts.iter().map(|act| act.name.clone()).collect::<Vec<_>>();
        let intents =
            |stored: &Stored| stored.intents.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        // What the backup had stored and not put under a head gets one before the log is closed.
        let left_entries = self.size_of(&log).await?;
        self.restored.push(Restored {
            batches: stored.batches.difference(&left.batches).cloned().collect(),
            acts: gone(&acts(&left), &acts(&stored)),
            intents: gone(&intents(&left), &intents(&stored)),
            entries: had.saturating_sub(left_entries),
        });
        Ok(())
    }

    /// Entries of a log, as published.
    async fn size_of(&self, log: &str) -> Result<u64, ChaosError> {
        let mut database = self.database().await?;
        let row = sqlx::query("select size from log_publications where log_id = $1")
            .bind(log)
            .fetch_one(&mut database)
            .await?;
        Ok(u64::try_from(row.get::<i64, _>("size")).unwrap_or(0))
    }

    /// Waits until everything that is stored stands under a head that is published; the log that grows, and what is stored.
    async fn published(&self) -> Result<(String, Stored), ChaosError> {
        let start = Instant::now();
        let mut quiet: Option<(Instant, i64)> = None;
        loop {
            let mut database = self.database().await?;
            let row = sqlx::query(
                "select l.log_id, l.size, coalesce(p.size, 0) as published, (select count(*) from log_pending) as pending
                 from logs l left join log_publications p using (log_id)
                 where l.tenant_id = 'demo' order by year desc, part desc limit 1",
            )
            .fetch_one(&mut database)
            .await?;
            let (size, published, pending): (i64, i64, i64) =
                (row.get("size"), row.get("published"), row.get("pending"));
            let still = size == published && pending == 0;
            match quiet {
                Some((since, at)) if still && at == size => {
                    if since.elapsed() > Duration::from_millis(1_500) {
                        return Ok((row.get("log_id"), self.stored().await?));
                    }
                }
                _ => quiet = still.then(|| (Instant::now(), size)),
            }
            waited(start, "everything that is stored stands in the published log")?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// How many batches wait in the queue, and how many are dead.
    ///
    /// # Errors
    /// workerd does not answer.
    pub async fn waiting(&self) -> Result<(u64, u64), ChaosError> {
        Ok((self.queue.backlog(EVENTS).await?, self.queue.backlog(DEAD_LETTERS).await?))
    }

    /// The batches that the queue said it accepted.
    ///
    /// # Errors
    /// Its notes cannot be read.
    pub fn queued(&self) -> Result<Vec<Place>, ChaosError> {
        let path = self.dir.path().join("queue/workerd.log");
        let text = fs::read(&path).map_err(ChaosError::file(&path))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let place = |line: &str| {
            let (stream, seq) = line.strip_prefix("queued ")?.split_once(' ')?;
            Some((stream.to_owned(), seq.parse().ok()?))
        };
        Ok(text.lines().filter_map(place).collect())
    }

    /// A connection to the database, as its superuser.
    ///
    /// # Errors
    /// None comes in time.
    pub async fn database(&self) -> Result<PgConnection, ChaosError> {
        let start = Instant::now();
        loop {
            if let Ok(options) = self.ingest.database()
                && let Ok(connection) = PgConnection::connect_with(&options).await
            {
                return Ok(connection);
            }
            waited(start, "the database answers")?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Looks at what is stored, in one snapshot.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn stored(&self) -> Result<Stored, ChaosError> {
        let mut database = self.database().await?;
        let mut look = database.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *look).await?;
        let batches = sqlx::query("select encode(stream, 'hex') as stream, seq from batches")
            .fetch_all(&mut *look)
            .await?;
        let events = sqlx::query(
            "select e.id::text as id, e.action::text as action, coalesce(e.entity_id, e.entity_name)::text as name,
                    e.status, e.outcome, encode(b.stream, 'hex') as stream
             from events e join batches b on b.tenant_id = e.tenant_id and b.batch_id = e.batch_id
             where e.action in ('AGENT_CREATED', 'AGENT_EXECUTED', 'AGENT_DELETED', 'AGENT_UPDATED', 'INTENT_RECORDED',
                                'INTENT_ORPHANED')",
        )
        .fetch_all(&mut *look)
        .await?;
        let odd = sqlx::query(
            "select (select count(*) from quarantine) as aside, (select count(*) from equivocations) as two_headers,
                    (select count(*) - count(distinct id) from events) as repeated,
                    (select count(*) from events where action = 'CAPTURE_FAILED') as failed",
        )
        .fetch_one(&mut *look)
        .await?;
        look.rollback().await?;
        let count = |name: &str| u64::try_from(odd.get::<i64, _>(name)).unwrap_or(0);
        let mut stored = Stored {
            batches: batches
                .iter()
                .map(|row| (row.get("stream"), u64::try_from(row.get::<i64, _>("seq")).unwrap_or(0)))
                .collect(),
            odd: [
                ("events set aside", count("aside")),
                ("two headers for one place", count("two_headers")),
                ("ids that stand twice", count("repeated")),
                ("captures that failed", count("failed")),
            ],
            ..Stored::default()
        };
        for row in &events {
            let (action, name): (String, Option<String>) = (row.get("action"), row.get("name"));
            let name = name.unwrap_or_default();
            match action.as_str() {
                "INTENT_RECORDED" => stored.intents.push((name, row.get("id"))),
                "INTENT_ORPHANED" => stored.orphans.push(name),
                _ => stored.acts.push(StoredAct {
                    name,
                    action,
                    status: row.get("status"),
                    outcome: row.get("outcome"),
                    stream: row.get("stream"),
                }),
            }
        }
        Ok(stored)
    }

    /// What the shipped verifier says of all logs: its status, and its report.
    ///
    /// # Errors
    /// It cannot be run.
    pub async fn verified(&self) -> Result<(i32, serde_json::Value), ChaosError> {
        let output = tokio::process::Command::new(edgetrail_bin()?)
            .args(["verify", &format!("http://{}", self.ingest.address()), "--json"])
            .env("EDGETRAIL_API_KEY", self.ingest.api_key())
            .output()
            .await
            .map_err(ChaosError::file(Path::new("edgetrail")))?;
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok((output.status.code().unwrap_or(-1), report))
    }

    /// The folder with what all parts wrote, for whoever looks for a cause.
    pub fn logs(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    /// Keeps the folder with all logs.
    pub fn keep(&mut self) {
        // What lies on a disk of our own goes with it.
        for name in ["edgetrail.log", "data.log"] {
            // One that is not there says nothing.
            let _ = fs::copy(self.dir.path().join("ingest").join(name), self.dir.path().join(name));
        }
        self.dir.disable_cleanup(true);
    }
}

/// Settings of a backend that keeps copies of its heads, by which it notices that it went back.
fn with_copies(copies: &Path, settings: &str) -> String {
    format!("[worm]\nurl = \"file://{}\"\n\n{settings}", copies.display())
}

/// A copy of a folder in place of what was there.
fn copy(from: &Path, to: &Path) -> Result<(), ChaosError> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(ChaosError::file(to))?;
    }
    let done = Command::new("cp").arg("-a").args([from, to]).status().map_err(ChaosError::file(to))?;
    if done.success() { Ok(()) } else { Err(ChaosError::Stuck(format!("copying {}", from.display()))) }
}

/// An error once something takes too long.
pub(super) fn waited(since: Instant, what: &str) -> Result<(), ChaosError> {
    if since.elapsed() > SOON { Err(ChaosError::Stuck(what.to_owned())) } else { Ok(()) }
}
