//! A hundred writes to the application's database by six paths, and coverage that names exactly those that no event
//! tells: the ones of the SQL console, and the ones around the edge.
//!
//! The Worker, the backend and the database with the third witness are real. PostgREST, GoTrue and the application's
//! server cannot run here; [`tests::standin`] stands for them over that database, with the roles, claims and requests
//! of the real ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tests::keys::Keys;
use tests::replay::Session;
use tests::stack::{EdgeConfig, free_port};
use tests::standin::{App, Database, PEOPLE, Person, Project};
use tests::wire::{Answer, Call, send};

use crate::scene::{SOON, Scene, Setup, tail};

const INSTALL: &str = include_str!("../../../ingest/witness/install.sql");
/// The watched tables, and what their rows are as entities.
const TABLES: [(&str, &str); 6] = [
    ("agent_executions", "execution"),
    ("agent_logs", "log"),
    ("agents", "agent"),
    ("auth.users", "user"),
    ("profiles", "user"),
    ("token_usage", "token_usage"),
];
const CRON_SECRET: &str = "a secret of the scheduler";
/// How far apart an event and its write may be, in milliseconds.
const WINDOW: u32 = 5_000;
/// Longer than the test, in milliseconds.
const PATIENT: u32 = 600_000;

/// Writes by table, operation and key; one that was made twice is in it twice.
type Writes = Vec<(String, String, String)>;

/// What a test did to the database.
#[derive(Default)]
struct Done {
    /// Explained, the system's own, unattributed; by table.
    counts: BTreeMap<&'static str, [u64; 3]>,
    unattributed: Writes,
    /// Requests that the edge audits.
    events: usize,
}

impl Done {
    fn explained(&mut self, table: &'static str) {
        self.counts.entry(table).or_default()[0] += 1;
    }

    fn by_system(&mut self, table: &'static str) {
        self.counts.entry(table).or_default()[1] += 1;
    }

    fn untold(&mut self, table: &'static str, op: &str, key: &str) {
        self.counts.entry(table).or_default()[2] += 1;
        self.unattributed.push((table.to_owned(), op.to_owned(), key.to_owned()));
    }

    fn writes(&self) -> u64 {
        self.counts.values().flatten().sum()
    }
}

/// The whole stack before a project with the witness in it.
struct Stand {
    scene: Scene,
    database: Database,
    project: Project,
    keys: Keys,
    /// Connections of the SQL console.
    console: PgPool,
    _app: App,
}

impl Stand {
    async fn start() -> Self {
        let keys = Keys::generate();
        let (app_port, project_port) = (free_port(None).expect("a port"), free_port(None).expect("a port"));
        let adjust = move |config: &mut EdgeConfig| {
            for (mount, port) in config.mounts.iter_mut().zip([app_port, project_port]) {
                mount.upstream = format!("http://127.0.0.1:{port}");
                mount.auth.jwks_url =
                    format!("http://127.0.0.1:{project_port}/auth/v1/.well-known/jwks.json");
            }
        };
        let setup = Setup { adjust: Box::new(adjust), ..Setup::default() };
        let scene = Scene::start(&keys, Vec::new(), setup).await;
        let database = Database::create(scene.server()).await.expect("a database");
        let project = Project::start(&database, &keys, project_port).await.expect("a project");
        // As in production, where the application is told the project's new address: its server goes through the edge.
        let through_the_edge = (scene.worker.address(), scene.config.supabase_host());
        let app = App::start(&keys, through_the_edge, CRON_SECRET, app_port).await.expect("an application");
        let console = database.pool_of("postgres");
        let stand = Self { scene, database, project, keys, console, _app: app };
        stand.install().await;
        stand
    }

    /// What docs/witness.md says to run in the SQL console.
    async fn install(&self) {
        sqlx::raw_sql(INSTALL).execute(&self.console).await.expect("installed");
        for (table, _) in TABLES {
            sqlx::query("select edgetrail_witness.watch($1::regclass)")
                .bind(table)
                .execute(&self.console)
                .await
                .unwrap_or_else(|error| panic!("{table}: {error}"));
        }
        sqlx::raw_sql("alter role edgetrail_reader login").execute(&self.console).await.expect("done");
    }

    /// Tells the backend of the witness, and how long a write may wait for its event.
    async fn watch(&mut self, hold: u32) {
        let tables = TABLES.map(|(table, kind)| format!("{table:?} = {kind:?}")).join(", ");
        let url = self.database.url_of("edgetrail_reader").expect("a socket");
        let more = format!(
            "[[witness]]\ntenant = \"demo\"\ndatabase_url = {url:?}\npoll_ms = 200\ntables = {{ {tables} }}\n\
             match_window_ms = {WINDOW}\nhold_ms = {hold}\n"
        );
        self.scene.ingest.configure(more).await.expect("a backend");
    }

    /// A statement in the SQL console.
    async fn sql(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.console).await.unwrap_or_else(|error| {
            panic!("{sql}: {error}");
        });
    }

    /// The ids of some rows.
    async fn ids(&self, table: &str, filter: &str) -> Vec<String> {
        let sql = format!("select id::text from {table} where {filter} order by created_at, id");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&self.console).await.expect("ids")
    }

    /// The figures of each table, in the order of [`Done::counts`], with what is pending as the fourth.
    async fn coverage(&self) -> BTreeMap<String, [u64; 4]> {
        let answer = self.scene.api().get("/v1/coverage/tables").await.expect("an answer").json();
        let tables = answer["tables"].as_array().cloned().unwrap_or_default();
        let row = |table: &Value| {
            let figure = |name: &str| table[name].as_u64().expect("a figure");
            let figures = ["explained", "system", "unattributed", "pending"].map(figure);
            assert_eq!(figure("writes"), figures.iter().sum::<u64>(), "{table}");
            (table["table"].as_str().expect("a name").to_owned(), figures)
        };
        tables.iter().map(row).collect()
    }

    /// Waits until the figures are good.
    async fn until(&self, good: impl Fn(&BTreeMap<String, [u64; 4]>) -> bool) {
        let start = std::time::Instant::now();
        loop {
            let coverage = self.coverage().await;
            if good(&coverage) {
                return;
            }
            let log = self.scene.ingest.output();
            assert!(start.elapsed() < SOON, "{coverage:?}\nbackend: {}", tail(&log));
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Waits until the backend has every event, and knows the act behind each echo on these agents.
    async fn until_all_is_in(&self, events: usize, agents: &[String]) {
        let found = self.scene.at_least(events, SOON).await;
        assert_eq!(found.len(), events, "each audited request is one event");
        let start = std::time::Instant::now();
        loop {
            let answer = self.scene.api().get("/v1/echoes?state=pending").await.expect("an answer").json();
            let echoes = answer["echoes"].as_array().expect("a list");
            if !echoes.iter().any(|echo| agents.iter().any(|id| echo["entity"]["id"] == id.as_str())) {
                return;
            }
            assert!(start.elapsed() < SOON, "{answer}");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// What the backend lists as written, in one state.
    async fn listed(&self, state: &str) -> Writes {
        let url = format!("/v1/writes?state={state}");
        let answer = self.scene.api().get(&url).await.expect("an answer").json();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let writes = answer["writes"].as_array().expect("a list");
        sorted(writes.iter().map(|it| (text(&it["table"]), text(&it["op"]), text(&it["key"]))).collect())
    }
}

fn sorted(mut writes: Writes) -> Writes {
    writes.sort();
    writes
}

/// Somebody who is logged in, at a browser.
struct Browser<'a> {
    stand: &'a Stand,
    person: Person,
    token: String,
    cookie: String,
}

impl<'a> Browser<'a> {
    /// Logs in, which GoTrue notes on the user's row.
    async fn log_in(stand: &'a Stand, person: Person, done: &mut Done) -> Self {
        let anon = stand.keys.api_key("anon");
        let call = Call::new("POST", "/auth/v1/token?grant_type=password")
            .header("apikey", &anon)
            .header("authorization", format!("Bearer {anon}"))
            .header("x-client-info", "supabase-ssr/0.6.1 createBrowserClient")
            .json(&json!({"email": person.email, "password": person.password, "gotrue_meta_security": {}}));
        let answer = stand.scene.supabase(&call).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        done.explained("auth.users");
        done.events += 1;
        let session = Session::new("sb-ref-auth-token", answer.text());
        let pairs: Vec<_> =
            session.cookies().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        Self { stand, person, token, cookie: pairs.join("; ") }
    }

    /// A call to the application, through the edge.
    async fn app(&self, method: &str, url: &str, body: Value, done: &mut Done) -> Value {
        let call = Call::new(method, url).header("cookie", &self.cookie).json(&body);
        let answer = self.stand.scene.app(&call).await;
        assert!(answer.status < 300, "{method} {url}: {} {}", answer.status, answer.text());
        done.events += 1;
        answer.json()
    }

    /// Makes an agent by the application's API. Its server tells the database, through the edge as well.
    async fn create_by_app(&self, agent: Value, done: &mut Done) -> String {
        let answer = self.app("POST", "/api/create-agent", json!({"agent": agent}), done).await;
        done.explained("agents");
        done.events += 1;
        answer["agent"]["id"].as_str().expect("an id").to_owned()
    }

    /// What `supabase-js` sends.
    fn call(&self, method: &str, url: &str, body: Value) -> Call {
        Call::new(method, url)
            .header("apikey", self.stand.keys.api_key("anon"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("x-client-info", "supabase-ssr/0.6.1 createBrowserClient")
            .json(&body)
    }

    /// A call to Supabase, through the edge.
    async fn supabase(&self, call: Call, done: &mut Done) -> Answer {
        let answer = self.stand.scene.supabase(&call).await;
        assert!(answer.status < 300, "{} {}: {} {}", call.method, call.url, answer.status, answer.text());
        done.events += 1;
        answer
    }
}

/// A call straight to the project, past the edge.
async fn around(address: SocketAddr, call: &Call) -> Answer {
    let answer = send(address, &address.to_string(), call).await.expect("an answer");
    assert!(answer.status < 300, "{} {}: {} {}", call.method, call.url, answer.status, answer.text());
    answer
}

/// The agents that later paths come back to.
struct Agents {
    /// Alice's, made by the application's API and left alone by everybody with a right to it since.
    by_app: Vec<String>,
    /// Alice's, made by the browser.
    by_browser: Vec<String>,
}

/// Path 1: the application's API. The act is the person's; what its server notes on a run is the server's own.
async fn by_api(alice: &Browser<'_>, bob: &Browser<'_>, done: &mut Done) -> Agents {
    let mut by_app = Vec::new();
    for n in 0..3 {
        by_app.push(alice.create_by_app(json!({"agent_name": format!("api {n}")}), done).await);
    }
    for n in 0..2 {
        let agent = json!({
            "agent_name": format!("scheduled {n}"), "mode": "scheduled", "status": "active",
            "schedule_cron": "0 8 * * *",
        });
        alice.create_by_app(agent, done).await;
    }
    let mut of_bob = Vec::new();
    for n in 0..3 {
        of_bob.push(bob.create_by_app(json!({"agent_name": format!("bob's {n}")}), done).await);
    }
    for n in 0..6 {
        let url = format!("/api/agents/{}", of_bob[n % 3]);
        bob.app("PUT", &url, json!({"agent": {"description": format!("version {n}")}}), done).await;
        done.explained("agents");
        done.events += 1;
    }
    for _ in 0..4 {
        let run = json!({"agent_id": of_bob[2], "execution_type": "manual"});
        bob.app("POST", "/api/run-agent", run, done).await;
        for table in ["token_usage", "agent_logs", "agent_executions"] {
            done.by_system(table);
            done.events += 1;
        }
    }
    for id in &of_bob[..2] {
        bob.app("DELETE", &format!("/api/agents/{id}"), json!({}), done).await;
        done.explained("agents");
        done.events += 1;
    }
    Agents { by_app, by_browser: Vec::new() }
}

/// Path 2: the browser to Supabase, beside the two logins.
async fn by_browser(alice: &Browser<'_>, bob: &Browser<'_>, agents: &mut Agents, done: &mut Done) {
    for n in 0..3 {
        let agent = json!({"user_id": alice.person.id, "agent_name": format!("browser {n}")});
        let call = alice
            .call("POST", "/rest/v1/agents?select=*", agent)
            .header("prefer", "return=representation")
            .header("accept", "application/vnd.pgrst.object+json");
        let row = alice.supabase(call, done).await.json();
        agents.by_browser.push(row["id"].as_str().expect("an id").to_owned());
        done.explained("agents");
    }
    for n in 0..5 {
        let url = format!("/rest/v1/agents?id=eq.{}", agents.by_browser[n % 3]);
        let status = ["active", "inactive"][n % 2];
        alice.supabase(alice.call("PATCH", &url, json!({"status": status})), done).await;
        done.explained("agents");
    }
    for person in [alice, bob] {
        let id = person.person.id;
        let profile = json!({"id": id, "full_name": person.person.email});
        let call = person.call("POST", "/rest/v1/profiles?on_conflict=id", profile);
        person.supabase(call.header("prefer", "resolution=merge-duplicates"), done).await;
        done.explained("profiles");
        let url = format!("/rest/v1/profiles?id=eq.{id}");
        person.supabase(person.call("PATCH", &url, json!({"company": "Acme"})), done).await;
        done.explained("profiles");
        let password = json!({"password": "another-password-1"});
        person.supabase(person.call("PUT", "/auth/v1/user", password), done).await;
        done.explained("auth.users");
    }
    for id in &agents.by_browser[1..] {
        let url = format!("/rest/v1/agents?id=eq.{id}&user_id=eq.{}", alice.person.id);
        alice.supabase(alice.call("DELETE", &url, Value::Null), done).await;
        done.explained("agents");
    }
}

/// Path 4: the scheduler, three times, over two agents.
async fn by_cron(stand: &Stand, done: &mut Done) {
    for _ in 0..3 {
        let call = Call::new("GET", "/api/run-scheduled-agents")
            .header("authorization", format!("Bearer {CRON_SECRET}"));
        let answer = stand.scene.app(&call).await;
        assert_eq!((answer.status, &answer.json()["summary"]["totalAgents"]), (200, &json!(2)));
        done.events += 1;
        for table in ["agent_executions", "agents", "agent_executions", "agents"] {
            done.by_system(table);
            done.events += 1;
        }
    }
}

/// Path 5: the queue hands over what the scheduler put into it.
async fn by_queue(stand: &Stand, done: &mut Done) -> Vec<String> {
    let jobs = stand.ids("agent_executions", "status = 'pending'").await;
    for execution in &jobs[..3] {
        let sql = format!("select agent_id::text from agent_executions where id = '{execution}'");
        let agent: String =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&stand.console).await.expect("an execution");
        let job = json!({
            "agent_id": agent, "user_id": PEOPLE[0].id, "execution_id": execution, "execution_type": "scheduled",
        });
        let answer = stand.scene.app(&Call::new("POST", "/api/cron/process-queue").json(&job)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        done.events += 1;
        for table in ["agent_executions", "token_usage", "agent_logs", "agent_executions"] {
            done.by_system(table);
            done.events += 1;
        }
    }
    jobs
}

/// Path 3: the SQL console. Half of it is on rows that people and jobs have just written as well.
async fn by_console(stand: &Stand, agents: &Agents, jobs: &[String], done: &mut Done) {
    let mut own = Vec::new();
    for n in 0..3 {
        own.push(format!("cccccccc-0000-4000-8000-00000000000{n}"));
        let (id, user) = (&own[n], PEOPLE[1].id);
        stand
            .sql(&format!("insert into agents (id, user_id, agent_name) values ('{id}', '{user}', 'x')"))
            .await;
        done.untold("agents", "INSERT", id);
    }
    stand.sql("update agents set description = 'x' where agent_name = 'x'").await;
    own.iter().for_each(|id| done.untold("agents", "UPDATE", id));
    for id in &agents.by_app[..2] {
        stand.sql(&format!("update agents set user_id = '{}' where id = '{id}'", PEOPLE[1].id)).await;
        done.untold("agents", "UPDATE", id);
    }
    stand.sql(&format!("update agent_executions set status = 'failed' where id = '{}'", jobs[0])).await;
    done.untold("agent_executions", "UPDATE", &jobs[0]);
    let usage = stand.ids("token_usage", "true").await;
    for id in &usage[..2] {
        stand.sql(&format!("delete from token_usage where id = '{id}'")).await;
        done.untold("token_usage", "DELETE", id);
    }
    let log = stand.ids("agent_logs", "true").await.remove(0);
    stand.sql(&format!("delete from agent_logs where id = '{log}'")).await;
    done.untold("agent_logs", "DELETE", &log);
    let alice = PEOPLE[0].id;
    stand.sql(&format!("update profiles set role = 'admin' where id = '{alice}'")).await;
    done.untold("profiles", "UPDATE", alice);
    stand.sql(&format!("update auth.users set email = 'mallory@example.com' where id = '{alice}'")).await;
    done.untold("auth.users", "UPDATE", alice);
}

/// Path 6: straight to the project with good credentials, a user's and the service key.
async fn around_the_edge(alice: &Browser<'_>, agents: &Agents, done: &mut Done) {
    let stand = alice.stand;
    let project = stand.project.address();
    for n in 0..3 {
        let id = format!("aaaaaaaa-0000-4000-8000-00000000000{n}");
        let agent = json!({"id": id, "user_id": alice.person.id, "agent_name": "y"});
        around(project, &alice.call("POST", "/rest/v1/agents", agent)).await;
        done.untold("agents", "INSERT", &id);
    }
    for id in [&agents.by_browser[0], &agents.by_browser[0], &agents.by_app[2]] {
        let url = format!("/rest/v1/agents?id=eq.{id}");
        around(project, &alice.call("PATCH", &url, json!({"status": "active"}))).await;
        done.untold("agents", "UPDATE", id);
    }
    let url = format!("/rest/v1/profiles?id=eq.{}", alice.person.id);
    around(project, &alice.call("PATCH", &url, json!({"company": "Elsewhere"}))).await;
    done.untold("profiles", "UPDATE", alice.person.id);

    let key = stand.keys.api_key("service_role");
    let by_key = |method: &str, url: String, body: Value| {
        Call::new(method, url)
            .header("apikey", &key)
            .header("authorization", format!("Bearer {key}"))
            .header("x-client-info", "supabase-js-node/2.75.1")
            .json(&body)
    };
    for id in stand.ids("token_usage", "true").await.iter().take(3) {
        around(project, &by_key("DELETE", format!("/rest/v1/token_usage?id=eq.{id}"), Value::Null)).await;
        done.untold("token_usage", "DELETE", id);
    }
    for id in stand.ids("agent_executions", "execution_type = 'manual'").await.iter().take(3) {
        let url = format!("/rest/v1/agent_executions?id=eq.{id}");
        around(project, &by_key("PATCH", url, json!({"status": "failed"}))).await;
        done.untold("agent_executions", "UPDATE", id);
    }
    for id in stand.ids("agent_logs", "true").await.iter().take(3) {
        around(project, &by_key("DELETE", format!("/rest/v1/agent_logs?id=eq.{id}"), Value::Null)).await;
        done.untold("agent_logs", "DELETE", id);
    }
}

#[tokio::test]
async fn of_a_hundred_writes_by_six_paths_coverage_names_exactly_those_that_no_event_tells() {
    let mut stand = Stand::start().await;
    let mut done = Done::default();
    let by_app = {
        let alice = Browser::log_in(&stand, PEOPLE[0], &mut done).await;
        let bob = Browser::log_in(&stand, PEOPLE[1], &mut done).await;
        let mut agents = by_api(&alice, &bob, &mut done).await;
        by_browser(&alice, &bob, &mut agents, &mut done).await;
        by_cron(&stand, &mut done).await;
        let jobs = by_queue(&stand, &mut done).await;
        by_console(&stand, &agents, &jobs, &mut done).await;
        around_the_edge(&alice, &agents, &mut done).await;
        agents.by_app
    };
    assert_eq!(done.writes(), 100, "{:?}", done.counts);
    let untold = sorted(std::mem::take(&mut done.unattributed));

    // The witness is heard last, so that nothing hangs on how fast the machine is.
    stand.until_all_is_in(done.events, &by_app).await;
    stand.watch(PATIENT).await;
    let sum = |coverage: &BTreeMap<String, [u64; 4]>, state: usize| -> u64 {
        coverage.values().map(|figures| figures[state]).sum()
    };
    // While there is time, what no event tells is undecided, and nothing else is.
    stand.until(|all| all.values().flatten().sum::<u64>() == 100 && sum(all, 3) <= untold.len() as u64).await;
    assert_eq!(stand.listed("pending").await, untold);

    // When there is none left, it is named.
    stand.watch(WINDOW).await;
    stand.until(|all| sum(all, 3) == 0).await;
    let coverage = stand.coverage().await;
    let expected: BTreeMap<_, _> =
        done.counts.iter().map(|(table, [a, b, c])| ((*table).to_owned(), [*a, *b, *c, 0])).collect();
    assert_eq!(coverage, expected);
    assert_eq!(stand.listed("unattributed").await, untold);
    let reports = stand.scene.of_action("WRITE_UNATTRIBUTED", untold.len()).await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let reported = reports.iter().map(|event| {
        assert_eq!(event["severity"], "critical", "{event}");
        let (table, kind) = (text(&event["details"]["table"]), text(&event["entity"]["type"]));
        assert!(TABLES.contains(&(table.as_str(), kind.as_str())), "{event}");
        (table, text(&event["details"]["op"]), text(&event["entity"]["id"]))
    });
    assert_eq!(sorted(reported.collect()), untold);
}
