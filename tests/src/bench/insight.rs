//! What insight costs: the backend with everything that looks at events beside the same backend without.
//!
//! Three backends with a database each take turns. One keeps tallies, follows with its rules and joins runs; another does so
//! and forwards every event to two receivers; in the third no rules come along, and a rule of the database throws away
//! what is appended to the tallies. The rate is that of the answers, while those who follow the events work beside; how long
//! they need after the last answer is told as well. The receivers are in this process, on the same machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::json;
use shared::event::{Action, Entity, EntityType, Event, JsonText, Outcome, RetentionClass, Severity};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _, SqlSafeStr as _};

use super::ingest::{self, CONNECTIONS, Producer, failed, optimised, requests_of, socket, updated};
use super::process::{cpu_seconds, tree_cpu_seconds};
use super::report::median;
use super::streams::{self, Receiver};
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Ingest, IngestSpec, SigningKey, free_port};

/// What the database throws away in the backend without tallies.
const NO_TALLIES: &str = "create rule bench_without as on insert to tally_deltas do instead nothing";
/// Followers need no longer than this after the last answer.
const CATCH_UP: Duration = Duration::from_secs(300);
/// People of the app: rules and runs look at what one person or agent did, so few would make each of them do more than anybody does.
/// A prime, so that everybody does everything: acts repeat every twenty and every four hundred, and of a multiple of that a quarter of the
/// agents would run all the time.
const PEOPLE: usize = 19_997;
/// Without, with what adds up, and with streams too.
const SIDES: usize = 3;

/// Runs the comparison.
///
/// # Errors
/// [`BenchError`] if a backend does not start or does not store everything, or followers do not catch up.
pub async fn run(extent: Extent) -> Result<Report, BenchError> {
    let (rounds, events) = match extent {
        Extent::Quick => (3, 40_000),
        Extent::Full => (7, 100_000),
    };
    optimised()?;
    let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(failed("opening a directory"))?;
    let mut without = Side::start(&dir.path().join("without"), "[detection]\nshipped = false\n").await?;
    without.database.execute(NO_TALLIES.into_sql_str()).await?;
    let whole = Side::start(&dir.path().join("whole"), "").await?;
    let folder = dir.path().join("streams");
    let sealed = format!("{}key_file = {:?}\n", streams::CONFIGURATION, folder.join("sinks.key"));
    let forwarding = Side::start(&folder, &sealed).await?;
    let receiver = Receiver::start().await?;
    let api = forwarding.ingest.api();
    receiver.stream(&api, "webhook", "/events", "").await?;
    receiver.stream(&api, "otlp", "/v1/logs", "").await?;
    let mut sides = [without, whole, forwarding];
    for side in &mut sides {
        side.round(10_000).await?;
    }
    let before = receiver.bytes();
    let mut taken = Vec::with_capacity(rounds);
    for round in 0..rounds {
        // Each begins in turn.
        let mut took = [Took::default(); SIDES];
        for at in 0..SIDES {
            let at = (round + at) % SIDES;
            took[at] = sides[at].round(events).await?;
        }
        taken.push(took);
    }
    let of = |read: &dyn Fn(&[Took; SIDES]) -> f64| median(&taken.iter().map(read).collect::<Vec<_>>());
    let mut report = Report::default();
    report.row("insight", format!("{rounds} rounds of {events} events, {CONNECTIONS} connections"));
    for (at, what) in
        ["  without", "  with tallies, rules, runs", "  with two streams too"].iter().enumerate()
    {
        report.row(
            *what,
            format!(
                "{:.0} events/s; CPU per event: PostgreSQL {:.0} µs, backend {:.0} µs; followed {:.1} s after the last answer",
                of(&|took| took[at].rate),
                of(&|took| took[at].postgres_us),
                of(&|took| took[at].backend_us),
                of(&|took| took[at].behind_s),
            ),
        );
    }
    let forwarded = (receiver.bytes() - before) as f64 / (rounds * events) as f64;
    report.row("  forwarded", format!("{forwarded:.0} bytes an event, both streams together"));
    for (name, what, at) in [("tallied", "  tallied", 1), ("ingest", "  with streams", 2)] {
        let ratio = |took: &[Took; SIDES]| took[at].rate / took[0].rate;
        let each: Vec<_> = taken.iter().map(|took| format!("{:.3}", ratio(took))).collect();
        report.row(format!("{what} to without, each round"), each.join(", "));
        report.figure(&format!("insight.{name}_ratio"), of(&ratio));
        report.figure(&format!("insight.{name}_behind_s"), of(&|took| took[at].behind_s));
    }
    Ok(report)
}

/// What a round took.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    /// Events in a second, until the last answer.
    rate: f64,
    /// Seconds from the last answer until all who follow have seen everything.
    behind_s: f64,
    /// CPU of PostgreSQL for an event, in microseconds, until then.
    postgres_us: f64,
    /// CPU of the backend.
    backend_us: f64,
}

struct Side {
    ingest: Ingest,
    database: PgConnection,
    producers: Vec<Vec<Producer>>,
    postgres: u32,
    backend: u32,
}

impl Side {
    async fn start(dir: &std::path::Path, more: &str) -> Result<Self, BenchError> {
        let key = SigningKey::generate();
        let spec = IngestSpec {
            port: free_port(None)?,
            key: key.clone(),
            api_key: format!("etk_bench_{}", hex::encode(random::<32>())),
            more: more.to_owned(),
        };
        let ingest = Ingest::start(dir, spec).await?;
        let gone = || BenchError::Answer("PostgreSQL does not tell its process and its socket".to_owned());
        let postgres = ingest.postgres_pid().ok_or_else(gone)?;
        let backend = ingest::parent(postgres).ok_or_else(gone)?;
        let socket = socket(&ingest.data_dir()).ok_or_else(gone)?;
        let options =
            PgConnectOptions::new_without_pgpass().socket(socket).username("edgetrail").database("postgres");
        let database = PgConnection::connect_with(&options).await?;
        let producers = (0..CONNECTIONS).map(|_| Producer::of_a_connection(&key)).collect();
        Ok(Self { ingest, database, producers, postgres, backend })
    }

    async fn round(&mut self, events: usize) -> Result<Took, BenchError> {
        let (requests, _) = requests_of(&mut self.producers, events, act);
        self.database.execute("checkpoint".into_sql_str()).await?;
        let (postgres, backend) = (tree_cpu_seconds(self.postgres), cpu_seconds(self.backend));
        let start = Instant::now();
        let address = self.ingest.address();
        let sending = tokio::task::spawn_blocking(move || ingest::send(address, requests));
        sending.await.map_err(|error| BenchError::Answer(error.to_string()))??;
        let answered = start.elapsed();
        self.followed().await?;
        let each = |cpu: f64| cpu * 1e6 / events as f64;
        Ok(Took {
            rate: events as f64 / answered.as_secs_f64(),
            behind_s: (start.elapsed() - answered).as_secs_f64(),
            postgres_us: each(tree_cpu_seconds(self.postgres) - postgres),
            backend_us: each(cpu_seconds(self.backend) - backend),
        })
    }

    /// Waits until every event is in the log and all who follow the events have seen it.
    async fn followed(&mut self) -> Result<(), BenchError> {
        let start = Instant::now();
        loop {
            let waiting: bool = sqlx::query_scalar(
                "select exists (select from log_pending) or exists (select from correlate_cursors
                     where batch_id < (select max(batch_id) from batches where received_at < now() - interval '1 second'))",
            )
            .fetch_one(&mut self.database)
            .await?;
            if !waiting && streams::are_through(&self.ingest.api()).await? {
                return Ok(());
            }
            if start.elapsed() > CATCH_UP {
                return Err(BenchError::Answer("those who follow do not catch up".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What an app sees in a day, told from its number: mostly edits and runs, some sign-ins, few failures and deletions.
fn act(at: u64, n: usize) -> Event {
    let mut event = updated(at, n);
    let (person, agent) = (n * 7_919 % PEOPLE, n * 7_919 % PEOPLE * 4 + n % 4);
    let id = |kind: &str, of: usize| format!("{kind}-{of:012}");
    if let Some(actor) = &mut event.actor {
        actor.id = id("5d5e6a52", person);
        actor.email = Some(format!("person{person}@example.com"));
    }
    if let Some(entity) = &mut event.entity {
        entity.id = Some(id("9a1c33f0", agent));
        entity.name = Some(format!("Support agent {agent}"));
    }
    let [high, low] = u16::try_from(person).unwrap_or_default().to_be_bytes();
    event.context.ip = Some(std::net::IpAddr::from([203, 0, high, low]));
    let as_action = |action: &str| Action::try_from(action.to_owned()).expect("an action");
    match (n % 20, n / 20 % 20) {
        (10..=14, _) => Event {
            action: as_action("AGENT_EXECUTED"),
            details: Some(JsonText::from(&json!({
                "execution_id": event.id.to_string(), "success": true, "tokens_used": 900 + n % 700,
                "raw_tokens": 600 + n % 400, "duration_ms": 1_000 + n % 9_000, "execution_type": "agentkit",
                "trigger": "manual",
            }))),
            changes: None,
            ..event
        },
        (15 | 16, _) => Event { action: as_action("USER_LOGIN"), entity: None, changes: None, ..event },
        (17, 0) => Event {
            action: as_action("USER_LOGIN_FAILED"),
            outcome: Outcome::Failure,
            reason: Some("invalid_credentials".to_owned()),
            severity: Severity::Warning,
            class: RetentionClass::from(Severity::Warning),
            entity: Some(Entity {
                kind: EntityType::try_from("user".to_owned()).expect("a type"),
                id: event.actor.as_ref().and_then(|actor| actor.email.clone()),
                name: None,
            }),
            actor: None,
            changes: None,
            ..event
        },
        (18, 0..=1) => Event {
            action: as_action("AGENT_DELETED"),
            severity: Severity::Critical,
            class: RetentionClass::from(Severity::Critical),
            changes: None,
            ..event
        },
        (19, _) => Event { action: as_action("PROFILE_UPDATED"), ..event },
        _ => event,
    }
}
