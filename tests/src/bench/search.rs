//! Searching a year of events: what a client waits for, over HTTP, with an API key.
//!
//! Once with fifty tenants, of which the one that asks has a fifth of all events, and once with a single tenant. Each kind
//! of question is asked with other values each time, one at a time; the figures are of the wait for the whole answer.

use std::borrow::Cow;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::ingest::{self, Conversation, failed, optimised};
use super::year::{COPY_END, COPY_HEAD, Dice, Year};
use super::{BenchError, Extent, Report};
use crate::keys::random;
use crate::stack::{Ingest, IngestSpec, SigningKey, edgetrail_bin, free_port};

/// Events whose search goes without their number in the names of its figures.
const USUAL: usize = 10_000_000;
/// The least number of questions of each kind.
const QUESTIONS: usize = 200;
/// Bytes of rows that are sent at a time.
const PART: usize = 1 << 20;
/// A sixth of the machine: the pages of some months.
const SHARED_BUFFERS_MB: u32 = 4_096;
/// The edges of the year: nothing in it is due while it is measured.
const DAYS: i64 = 364;

/// How much there is, and where.
#[derive(Debug, Clone)]
pub struct Size {
    /// Events in all.
    pub rows: usize,
    /// Where the data is kept and found again; a directory for this run if there is none.
    pub dir: Option<PathBuf>,
    /// Only with as many tenants.
    pub tenants: Option<usize>,
}

impl Size {
    /// What an extent comes to.
    pub fn of(extent: Extent) -> Self {
        let rows = match extent {
            Extent::Quick => 300_000,
            Extent::Full => USUAL,
        };
        Self { rows, dir: None, tenants: None }
    }
}

/// Who has the events.
#[derive(Debug, Clone)]
struct Scene {
    name: &'static str,
    tenants: usize,
    /// What begins the names of its figures.
    figures: Cow<'static, str>,
}

impl Scene {
    /// The same with so many events.
    fn of_rows(self, rows: usize) -> Self {
        if rows == USUAL { self } else { Self { figures: format!("{}.{rows}", self.figures).into(), ..self } }
    }
}

const SCENES: [Scene; 2] = [
    Scene { name: "fifty-tenants", tenants: 50, figures: Cow::Borrowed("search") },
    Scene { name: "one-tenant", tenants: 1, figures: Cow::Borrowed("search.single") },
];

/// The path of a question by its number.
type Ask<'a> = dyn Fn(usize, &mut Dice) -> String + 'a;

/// Asks.
///
/// # Errors
/// [`BenchError`] if the backend does not start, or an answer is none.
pub async fn run(size: &Size) -> Result<Report, BenchError> {
    optimised()?;
    let mut report = Report::default();
    for scene in SCENES.into_iter().filter(|scene| size.tenants.is_none_or(|only| only == scene.tenants)) {
        let temporary =
            tempfile::Builder::new().prefix("edgetrail").tempdir().map_err(failed("making a directory"))?;
        let dir = size.dir.as_deref().unwrap_or(temporary.path()).join(scene.name);
        fs::create_dir_all(&dir).map_err(failed("making a directory"))?;
        for open in [Some(dir.as_path()), dir.parent()].into_iter().flatten() {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755))
                .map_err(failed("opening a directory"))?;
        }
        report.extend(ask(size.rows, scene.of_rows(size.rows), &dir).await?);
    }
    Ok(report)
}

async fn ask(rows: usize, scene: Scene, dir: &Path) -> Result<Report, BenchError> {
    let spec = IngestSpec {
        port: free_port(None)?,
        key: SigningKey::generate(),
        api_key: format!("etk_bench_{}", hex::encode(random::<32>())),
        more: "[retention]\nautomatic = false\n\n[limits]\nreader_requests_per_second = 1000000\n".to_owned(),
    };
    let memory = vec![("EDGETRAIL__DATABASE__SHARED_BUFFERS_MB", SHARED_BUFFERS_MB.to_string())];
    let ingest = Ingest::start_with(&dir.join("ingest"), spec, memory).await?;
    let gone = || BenchError::Answer("PostgreSQL does not tell its socket".to_owned());
    let socket = ingest::socket(&ingest.data_dir()).ok_or_else(gone)?;
    let options =
        PgConnectOptions::new_without_pgpass().socket(socket).username("edgetrail").database("postgres");
    let mut database = PgConnection::connect_with(&options).await?;
    let year = Year::of(scene.tenants);
    let filled: bool =
        sqlx::query_scalar("select to_regclass('bench_year') is not null").fetch_one(&mut database).await?;
    let mut report = Report::default();
    report.row(format!("search, {}", scene.name), format!("{rows} events in {DAYS} days"));
    if !filled {
        let start = Instant::now();
        fill(&mut database, Year::of(scene.tenants), rows).await?;
        report.row("  written and indexed", format!("in {:.0} s", start.elapsed().as_secs_f64()));
    }
    let start = Instant::now();
    while sqlx::query_scalar("select exists (select from tally_stale)").fetch_one(&mut database).await? {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    report.row("  summed up", format!("in {:.0} s", start.elapsed().as_secs_f64()));
    let bytes: i64 =
        sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(&mut database).await?;
    report.row("  the database", format!("{:.1} GB", bytes as f64 / 1e9));
    let (address, api_key) = (ingest.address(), ingest.api_key().to_owned());
    let (by, of) = (api_key.clone(), scene.clone());
    let (mut report, year) =
        asked(move || questions(address, &by, &year, &of, &mut report).map(|()| (report, year))).await?;
    if rows > USUAL {
        return Ok(report);
    }
    let window = Closed::before(Utc::now());
    for line in window.index(&ingest).await? {
        report.row("  words indexed", line);
    }
    asked(move || window.questions(address, &api_key, &year, &scene, &mut report).map(|()| report)).await
}

async fn asked<T: Send + 'static>(
    asking: impl FnOnce() -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    tokio::task::spawn_blocking(asking).await.map_err(|error| BenchError::Answer(error.to_string()))?
}

/// The last thirty days in which every month is closed.
#[derive(Debug, Clone, Copy)]
struct Closed {
    from: NaiveDate,
    to: NaiveDate,
}

impl Closed {
    fn before(now: DateTime<Utc>) -> Self {
        let over = (now - TimeDelta::days(1)).date_naive();
        let to = over.with_day(1).unwrap_or(over);
        Self { from: to - Days::new(30), to }
    }

    /// Indexes their words as an operator does, and gives what was said about it.
    async fn index(self, ingest: &Ingest) -> Result<Vec<String>, BenchError> {
        let mut months: Vec<_> =
            [self.from, self.to - Days::new(1)].map(|day| day.format("%Y-%m").to_string()).into();
        months.dedup();
        let mut command = tokio::process::Command::new(edgetrail_bin()?);
        command.arg("--config").arg(ingest.config()).args(["text-index", "create"]);
        for month in &months {
            command.args(["--month", month]);
        }
        let ran = command.output().await.map_err(failed("indexing words"))?;
        if !ran.status.success() {
            return Err(BenchError::Answer(String::from_utf8_lossy(&ran.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&ran.stdout).lines().map(str::to_owned).collect())
    }

    /// Asks for words in them.
    fn questions(
        self,
        address: SocketAddr,
        api_key: &str,
        year: &Year,
        scene: &Scene,
        report: &mut Report,
    ) -> Result<(), BenchError> {
        let mut client =
            Client { connection: Conversation::open(address).map_err(failed("connecting"))?, api_key };
        let path = |word: &str| format!("/v1/events?q={word}+after:{}+before:{}", self.from, self.to);
        let kinds: [(&str, &Ask); 3] = [
            ("words_common_indexed", &|_, dice| path(year.word(5 + dice.below(60)))),
            ("words_less_common_indexed", &|_, dice| path(year.word(200 + dice.below(2_000)))),
            ("words_rare_indexed", &|_, dice| path(year.word(15_000 + dice.below(5_000)))),
        ];
        client.ask_each(&kinds, scene, report)
    }
}

/// Writes the year: without the write-ahead log, and with its indexes made afterwards.
async fn fill(database: &mut PgConnection, mut year: Year, rows: usize) -> Result<(), BenchError> {
    let months: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'events'::regclass",
    )
    .fetch_all(&mut *database)
    .await?;
    for month in months {
        database.execute(AssertSqlSafe(format!("alter table {month} set unlogged"))).await?;
    }
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index
         where indrelid = 'events'::regclass and not indisprimary",
    )
    .fetch_all(&mut *database)
    .await?;
    for (name, _) in &indexes {
        database.execute(AssertSqlSafe(format!("drop index {name}"))).await?;
    }
    let end = Utc::now() - TimeDelta::minutes(1);
    let begin = u64::try_from((end - TimeDelta::days(DAYS)).timestamp_millis()).unwrap_or(0);
    let length = u64::try_from(TimeDelta::days(DAYS).num_milliseconds()).unwrap_or(1);
    let mut copy = database.copy_in_raw("copy events from stdin (format binary)").await?;
    let mut part = COPY_HEAD.to_vec();
    for number in 0..rows {
        year.row(begin + number as u64 * length / rows as u64, number, &mut part);
        if part.len() >= PART {
            copy.send(part.as_slice()).await?;
            part.clear();
        }
    }
    part.extend_from_slice(&COPY_END);
    copy.send(part.as_slice()).await?;
    copy.finish().await?;
    database.execute("set maintenance_work_mem = '512MB'").await?;
    for (_, definition) in indexes {
        // Of the parent, so that every month gets one.
        database.execute(AssertSqlSafe(definition.replace(" ON ONLY ", " ON "))).await?;
    }
    database.execute("vacuum (analyze) events").await?;
    // The backend was told of none of them.
    sqlx::query("insert into tally_stale (from_at, to_at) values (date_trunc('month', $1, 'UTC'), date_trunc('hour', $2, 'UTC') + interval '1 hour')")
        .bind(end - TimeDelta::days(DAYS))
        .bind(end)
        .execute(&mut *database)
        .await?;
    database.execute("create table bench_year as select now() as filled_at").await?;
    Ok(())
}

/// Asks every kind of question.
fn questions(
    address: SocketAddr,
    api_key: &str,
    year: &Year,
    scene: &Scene,
    report: &mut Report,
) -> Result<(), BenchError> {
    let mut client =
        Client { connection: Conversation::open(address).map_err(failed("connecting"))?, api_key };
    let people = |dice: &mut Dice| Year::person(dice.below(500));
    let kinds: [(&str, &Ask); 9] = [
        ("first_page", &|_, _| "/v1/events".to_owned()),
        ("page_of_a_field", &|at, dice| match at % 4 {
            0 => format!("/v1/events?q=actor:{}+last:30d", people(dice)),
            1 => "/v1/events?q=severity:critical+last:30d".to_owned(),
            2 => "/v1/events?q=action:AGENT_*+outcome:failure+last:30d".to_owned(),
            _ => format!("/v1/events?q=ip:203.0.113.{}+last:30d", dice.below(256)),
        }),
        ("timeline", &|_, dice| format!("/v1/entities/agent/{}/timeline", Year::entity(dice.below(200)))),
        ("facets", &|_, _| "/v1/events/facets".to_owned()),
        ("histogram", &|_, _| "/v1/events/histogram".to_owned()),
        ("facets_filtered", &|at, dice| {
            let filters = [
                "outcome:failure".to_owned(),
                "severity:%3E=warning".to_owned(),
                "action:AGENT_*".to_owned(),
                "outcome:success".to_owned(),
                "country:DE".to_owned(),
                "status:4xx".to_owned(),
                format!("actor:{}", people(dice)),
                "entity:agent".to_owned(),
            ];
            format!("/v1/events/facets?q={}+last:30d", filters[at % filters.len()])
        }),
        ("histogram_filtered", &|at, _| {
            let filters = ["outcome:failure", "action:AGENT_*", "country:DE", "-action:USER_LOGIN"];
            format!("/v1/events/histogram?q={}+last:30d", filters[at % filters.len()])
        }),
        ("words_common", &|_, dice| format!("/v1/events?q={}+last:30d", year.word(5 + dice.below(60)))),
        ("words_rare", &|_, dice| format!("/v1/events?q={}+last:30d", year.word(15_000 + dice.below(5_000)))),
    ];
    client.ask_each(&kinds, scene, report)?;
    let (mut times, mut cursor) = (Times::default(), None::<String>);
    for _ in 0..QUESTIONS {
        let more = cursor.map_or_else(String::new, |cursor| format!("?cursor={cursor}"));
        let answer = client.ask(&format!("/v1/events{more}"), &mut times)?;
        cursor = answer["next_cursor"].as_str().map(str::to_owned);
    }
    times.tell("next_page", scene, report);
    Ok(())
}

struct Client<'a> {
    connection: Conversation,
    api_key: &'a str,
}

impl Client<'_> {
    /// Asks questions of some kinds.
    fn ask_each(
        &mut self,
        kinds: &[(&str, &Ask)],
        scene: &Scene,
        report: &mut Report,
    ) -> Result<(), BenchError> {
        let mut dice = Dice::of(7);
        for (name, path) in kinds {
            let mut times = Times::default();
            for at in 0..QUESTIONS {
                self.ask(&path(at, &mut dice), &mut times)?;
                if times.are_enough() {
                    break;
                }
            }
            times.tell(name, scene, report);
        }
        Ok(())
    }

    fn ask(&mut self, path: &str, times: &mut Times) -> Result<Value, BenchError> {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: ingest\r\nauthorization: Bearer {}\r\n\r\n", self.api_key);
        let start = Instant::now();
        let answer = self.connection.say(request.as_bytes()).map_err(failed("asking"))?;
        times.0.push(start.elapsed());
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if ["events", "facets", "buckets"].iter().any(|part| !answer[part].is_null()) {
            Ok(answer)
        } else {
            Err(BenchError::Answer(format!("{path}: {answer}")))
        }
    }
}

/// What each answer took.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    /// Whether waiting for more would only take time: a minute is enough for a figure that is far off.
    fn are_enough(&self) -> bool {
        self.0.len() >= 20 && self.0.iter().sum::<Duration>() > Duration::from_secs(60)
    }

    fn tell(mut self, name: &str, scene: &Scene, report: &mut Report) {
        self.0.sort_unstable();
        let at = |share: usize| {
            self.0.get(self.0.len() * share / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
        };
        report.row(
            format!("  {name}"),
            format!(
                "{} answers; p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
                self.0.len(),
                at(50),
                at(95),
                at(99)
            ),
        );
        report.figure(&format!("{}.{name}_p50_ms", scene.figures), at(50));
        report.figure(&format!("{}.{name}_p95_ms", scene.figures), at(95));
    }
}
