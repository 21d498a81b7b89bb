//! Runs of agents: each is one row, whatever order its events come in, and what they add up to is what a count gives.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use ingest::auth::Role;
use ingest::execution::{Execution, Report, fold, join};
use serde_json::{Value, json};
use shared::event::{
    Action, Actor, ClaimedUser, Entity, EntityType, Event, EventId, JsonText, Outcome, Timestamp, Trust,
};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::retention::{months_ago, present, sequenced, superuser};
use crate::support::{Dial, Server, eventually, followed, new_key, sample, sample_at};

/// The task has looked at everything that was stored before.
async fn joined(server: &Server) {
    followed(server, "executions").await;
}

/// An event of the application at a time: its action, what it is on, what the rule told.
fn told(at: DateTime<Utc>, action: &str, (kind, id): (&str, Option<&str>), details: Value) -> Event {
    let at = Timestamp::from(at);
    let mut event = sample(4);
    event.id = EventId::mint(at, &ingest::clock::random());
    event.occurred_at = at;
    event.action = Action::try_from(action.to_owned()).expect("an action");
    event.outcome = Outcome::Success;
    event.entity = Some(Entity {
        kind: EntityType::try_from(kind.to_owned()).expect("a type"),
        id: id.map(str::to_owned),
        name: None,
    });
    event.actor = None;
    event.trust = Trust::Service;
    event.request.status = Some(200);
    event.duration_ms = None;
    event.details = Some(JsonText::from(&details));
    event
}

fn by(event: Event, user: &str) -> Event {
    let actor = Some(Actor { id: user.to_owned(), ..Actor::default() });
    Event { actor, trust: Trust::Verified, ..event }
}

fn answered(at: DateTime<Utc>, agent: &str, user: &str, details: Value) -> Event {
    by(told(at, "AGENT_EXECUTED", ("agent", Some(agent)), details), user)
}

/// A table as it stands, in an order of its own.
async fn rows(server: &Server, table: &str, key: &str) -> Vec<Value> {
    let sql = format!("select to_jsonb(t)::text from {table} t order by {key}");
    let rows: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut superuser(server).await).await.expect("read");
    rows.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

async fn everything(server: &Server) -> [Vec<Value>; 4] {
    [
        rows(server, "executions", "execution_key").await,
        rows(server, "execution_reports", "event_id").await,
        rows(server, "execution_metrics", "of_what, id, is_day, start").await,
        rows(server, "credit_reports", "event_id").await,
    ]
}

/// The events that the real application's traffic gives (tests/golden), at the times when it was recorded.
fn recorded(name: &str, beginning_at: DateTime<Utc>) -> Vec<Event> {
    let file = |path: String| {
        let path = format!("{}/../tests/{path}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let lines = file(format!("fixtures/{name}.jsonl"));
    let lines: BTreeMap<u64, Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|line| (line["n"].as_u64().expect("a number"), line))
        .collect();
    let golden: Vec<Value> = serde_json::from_str(&file(format!("golden/{name}.json"))).expect("JSON");
    let first: DateTime<Utc> = lines[&1]["at"].as_str().expect("a time").parse().expect("a time");
    let beginning: DateTime<Utc> = "2026-11-23T03:21:56Z".parse().expect("a time");
    assert!((first - beginning).num_seconds().abs() < 10, "both recordings are of one session");
    golden
        .iter()
        .map(|event| {
            let line = &lines[&event["n"].as_u64().expect("a number")];
            let at: DateTime<Utc> = line["at"].as_str().expect("a time").parse().expect("a time");
            let entity = &event["entity"];
            let kind = entity["type"].as_str().unwrap_or("none");
            let mut told = told(
                beginning_at + (at - beginning),
                event["action"].as_str().expect("an action"),
                (kind, entity["id"].as_str()),
                event["details"].clone(),
            );
            if let Some(entity) = &mut told.entity {
                entity.name = event["entity"]["name"].as_str().map(str::to_owned);
            }
            told.outcome = match event["outcome"].as_str() {
                Some("success") => Outcome::Success,
                Some("failure") => Outcome::Failure,
                _ => Outcome::Unknown,
            };
            told.reason = event["reason"].as_str().map(str::to_owned);
            let status = event["request"].as_str().and_then(|text| text.rsplit(' ').next()?.parse().ok());
            told.request.status = status;
            told.duration_ms = line["ms"].as_u64().and_then(|millis| u32::try_from(millis).ok());
            let claimed = event["claimed"].as_str().and_then(|text| text.split(' ').next());
            told.claimed_user =
                claimed.map(|id| ClaimedUser { id: id.to_owned(), source: "body:/user_id".to_owned() });
            match (event["trust"].as_str(), event["actor"].as_str()) {
                (Some("verified"), Some(actor)) => by(told, actor),
                _ => told,
            }
        })
        .collect()
}

#[tokio::test]
async fn the_runs_of_the_recorded_traffic_are_told_from_both_mounts() {
    const PILOT: &str = "0808819f-9fc8-48fd-b30c-0f798fda0d3f";
    let server = Server::start().await;
    let mut producer = server.producer().await;
    // Today: what is older would be filed elsewhere.
    let beginning_at = Utc::now() - TimeDelta::minutes(10);
    let mut events = recorded("client-to-app", beginning_at);
    events.extend(recorded("app-to-supabase", beginning_at));
    for some in events.chunks(90) {
        server.send(&producer.seal(some)).await;
    }
    joined(&server).await;
    let runs = server.get("/v1/executions?limit=200").await.json();
    let runs = runs["executions"].as_array().expect("a list");
    let told: BTreeSet<(&str, &str)> = runs
        .iter()
        .map(|run| (run["type"].as_str().unwrap_or("-"), run["status"].as_str().expect("a status")))
        .collect();
    assert_eq!(
        told,
        BTreeSet::from([
            ("agentkit", "completed"),
            ("stream", "completed"),
            ("workflow_pilot", "completed"),
            ("workflow_pilot", "failed"),
        ]),
        "what was refused is no run: {runs:#?}"
    );
    assert_eq!(runs.len(), 4, "{runs:#?}");

    let failed = server.get(&format!("/v1/executions/{PILOT}")).await.json();
    assert_eq!(
        json!([failed["agent"], failed["trigger"], failed["duration_ms"], failed["duration_from"]]),
        json!([
            {"id": "aaaaaaaa-0000-4000-8000-000000000001", "name": "Weekly report"},
            "manual",
            61,
            "record"
        ])
    );
    assert_eq!(
        failed["tokens"],
        json!({"input": 0, "output": 0, "total": 0, "total_from": "record", "adjusted": 0}),
        "the record says that no model was called"
    );
    assert_eq!(failed["steps"], json!({"completed": 0, "failed": 1, "total": 1}));
    assert!(failed["error"]["text"].as_str().is_some_and(|text| text.starts_with("Calibration stop")));
    // The answer, three writes of its workflow, two of its execution, and a line of the log.
    assert_eq!(failed["events"].as_array().map(Vec::len), Some(7), "{failed:#}");
    assert_eq!(failed["user"], "alice@example.com");

    // The application itself lost this one: its tokens stand in the call of a model that names no execution.
    let agentkit = runs.iter().find(|run| run["type"] == "agentkit").expect("it ran");
    assert_eq!(
        agentkit["tokens"],
        json!({"input": 321, "output": 45, "total": 366, "total_from": "calls", "adjusted": null})
    );
    assert_eq!((&agentkit["duration_ms"], &agentkit["duration_from"]), (&json!(1103), &json!("edge")));
    let stream = runs.iter().find(|run| run["type"] == "stream").expect("it ran");
    assert_eq!((&stream["tokens"]["total"], &stream["duration_ms"]), (&Value::Null, &json!(295)));

    let standing = server.get("/v1/metrics").await.json();
    assert_eq!(
        json!([standing["active_agents"], standing["runs"], standing["failed"], standing["credit_balance"]]),
        json!([2, 4, 1, 5_000_000])
    );
    assert_eq!(
        (&standing["memory_active_agents"], &standing["credits_used"]),
        (&Value::Null, &json!(0)),
        "no memory was seen to be made; the credits' movements were seen, and took nothing"
    );
    let agent = server.get("/v1/metrics/agents/aaaaaaaa-0000-4000-8000-000000000001").await.json();
    assert_eq!(
        json!([agent["metrics"]["runs"], agent["metrics"]["success_rate"], agent["metrics"]["iterations"]]),
        json!([2, 50.0, {"total": 2, "average": 1.0}])
    );
    let part = |component: &str, name: &str| {
        let find = |list: &Value, name: &str| {
            let list = list.as_array().cloned().unwrap_or_default();
            list.into_iter().find(|it| it["name"] == name).unwrap_or_default()
        };
        find(&find(&agent["intensity"]["components"], component)["parts"], name)["adds"]["value"].clone()
    };
    // 0.3 * 10 * 37 / 30000, 0.2 * 10 (half fail, and 50 % is all of the range), and one step of twenty: 0.4 * 0.5.
    assert_eq!(
        json!([
            part("execution", "duration_ms"),
            part("execution", "failure_rate"),
            part("workflow", "steps")
        ]),
        json!([0.004, 2.0, 0.2])
    );
    assert_eq!(
        (&agent["intensity"]["complete"], part("execution", "retry_rate")),
        (&json!(false), Value::Null)
    );
    server.stop().await;
}

/// Numbers that look as if by chance, the same in each run of the test.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for at in (1..items.len()).rev() {
            let other = usize::try_from(self.below(at as u64 + 1)).expect("small");
            items.swap(at, other);
        }
        items
    }
}

/// Some event of two agents' runs within some hours.
fn some_event(dice: &mut Dice, seed: u64, base: DateTime<Utc>) -> Event {
    let at = base + TimeDelta::seconds(i64::try_from(dice.below(4 * 3600)).expect("small"));
    let agent = format!("agent-{seed}-{}", dice.below(2));
    let user = format!("user-{seed}-{}", dice.below(2));
    let id = format!("run-{seed}-{}", dice.below(8));
    let named = dice.below(2) == 0;
    let mut details = json!({"agent_id": agent, "user_id": user});
    if named {
        details["execution_id"] = json!(id);
    }
    let (input, output) = (dice.below(500), dice.below(500));
    let status = ["running", "completed", "failed", "odd"][usize::try_from(dice.below(4)).expect("small")];
    match dice.below(7) {
        0 | 1 => {
            details["success"] = json!(dice.below(2) == 0);
            if dice.below(2) == 0 {
                details["raw_tokens"] = json!(input);
            }
            let event = answered(at, &agent, &user, details);
            let waited = u32::try_from(dice.below(900_000)).expect("small");
            let outcome =
                [Outcome::Success, Outcome::Unknown][usize::try_from(dice.below(2)).expect("small")];
            Event { outcome, duration_ms: (dice.below(3) > 0).then_some(waited), ..event }
        }
        2 => {
            details["status"] = json!(status);
            details["duration_ms"] = json!(dice.below(1_200_000));
            details["input_tokens"] = json!(input);
            if dice.below(3) == 0 {
                details.as_object_mut().expect("an object").remove("agent_id");
            }
            told(at, "EXECUTION_RECORDED", ("execution", Some(&id)), details)
        }
        3 => {
            let details = json!({"agent_id": (dice.below(2) == 0).then_some(&agent), "status": status,
                "tokens_used": output, "duration_ms": dice.below(900_000)});
            told(at, "WORKFLOW_EXECUTION_RECORDED", ("execution", Some(&id)), details)
        }
        4 | 5 => {
            details["input_tokens"] = json!(input);
            if dice.below(5) > 0 {
                details["output_tokens"] = json!(output);
            }
            told(at, "TOKEN_USAGE_RECORDED", ("token_usage", None), details)
        }
        _ => told(at, "AGENT_LOG_RECORDED", ("agent", Some(&agent)), json!({"status": status})),
    }
}

/// All runs of all events, told at once.
fn recounted(events: &[Event]) -> Vec<Execution> {
    let reports: Vec<Report> =
        events.iter().filter_map(|event| Report::read(event, event.occurred_at.to_utc())).collect();
    let mut runs: Vec<Execution> =
        join(&reports).iter().filter_map(|run| fold(&run.key, &run.reports)).collect();
    runs.sort_by(|a, b| a.execution_key.cmp(&b.execution_key));
    runs
}

async fn stored(server: &Server) -> Vec<Execution> {
    let sql = "select execution_key, first_event, events, execution_id, agent_id, agent_name, user_id, status, trigger,
                   execution_type, started_at, ended_at, duration_ms, duration_from, tokens_in, tokens_out, tokens_total,
                   tokens_from, tokens_adjusted, steps_completed, steps_failed, steps_total, iterations, tool_calls,
                   error_kind, error
               from executions order by execution_key";
    sqlx::query_as(sql).fetch_all(&mut superuser(server).await).await.expect("read")
}

/// What runs add up to by hand: for each agent and user, hour and day.
fn added_up(runs: &[Execution]) -> BTreeMap<(String, String, bool, DateTime<Utc>), Value> {
    let mut cells: BTreeMap<_, Vec<&Execution>> = BTreeMap::new();
    for run in runs {
        let day = run.started_at.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        let hour = day + TimeDelta::hours(i64::from(run.started_at.hour()));
        for (of, id) in [("agent", &run.agent_id), ("user", &run.user_id)] {
            let Some(id) = id else { continue };
            for (is_day, start) in [(false, hour), (true, day)] {
                cells.entry((of.to_owned(), id.clone(), is_day, start)).or_default().push(run);
            }
        }
    }
    let told = |runs: Vec<&Execution>| {
        let with = |status: &str| runs.iter().filter(|run| run.status == status).count();
        let known = |read: fn(&Execution) -> Option<i64>| -> Vec<i64> {
            runs.iter().filter_map(|run| read(run)).collect()
        };
        let sum = |read: fn(&Execution) -> Option<i64>| (known(read).iter().sum::<i64>(), known(read).len());
        let both: Vec<_> = runs.iter().filter_map(|run| run.tokens_in.zip(run.tokens_out)).collect();
        json!([
            runs.len(),
            with("completed"),
            with("failed"),
            with("running"),
            sum(|run| run.tokens_total),
            known(|run| run.tokens_total).iter().max(),
            sum(|run| run.tokens_in),
            sum(|run| run.tokens_out),
            both.iter().map(|both| both.0).sum::<i64>(),
            both.iter().map(|both| both.1).sum::<i64>(),
            sum(|run| run.duration_ms),
            known(|run| run.duration_ms).iter().max(),
            runs.iter().map(|run| run.started_at).max().map(|at| at.timestamp_micros()),
        ])
    };
    cells.into_iter().map(|(cell, runs)| (cell, told(runs))).collect()
}

async fn kept_sums(server: &Server) -> BTreeMap<(String, String, bool, DateTime<Utc>), Value> {
    let rows = rows(server, "execution_metrics", "start").await;
    let time = |value: &Value| value.as_str().expect("a time").parse::<DateTime<Utc>>().expect("a time");
    let told = |row: &Value| {
        let pair = |sum: &str, of: &str| json!([row[sum], row[of]]);
        json!([
            row["runs"],
            row["completed"],
            row["failed"],
            row["running"],
            pair("tokens", "tokens_runs"),
            row["tokens_peak"],
            pair("tokens_in", "tokens_in_runs"),
            pair("tokens_out", "tokens_out_runs"),
            row["both_in"],
            row["both_out"],
            pair("duration_ms", "duration_runs"),
            row["duration_peak_ms"],
            time(&row["last_run"]).timestamp_micros(),
        ])
    };
    rows.iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().expect("a text").to_owned();
            let is_day = row["is_day"].as_bool().expect("yes or no");
            ((text("of_what"), text("id"), is_day, time(&row["start"])), told(row))
        })
        .collect()
}

#[tokio::test]
async fn events_in_any_order_late_and_twice_give_the_rows_of_a_recount() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let mut sent = Vec::new();
    for seed in 0..8 {
        let mut dice = Dice(seed);
        let base = Utc::now() - TimeDelta::hours(5);
        let events: Vec<Event> = (0..60).map(|_| some_event(&mut dice, seed, base)).collect();
        let mut arriving = events.clone();
        arriving.extend((0..10).map(|at| events[at * 3].clone()));
        let mut arriving = dice.shuffled(arriving).into_iter().peekable();
        sent.extend(events);
        let mut rounds = 0;
        while arriving.peek().is_some() {
            let some = usize::try_from(1 + dice.below(9)).expect("small");
            let batch: Vec<Event> = arriving.by_ref().take(some).collect();
            server.send(&producer.seal(&batch)).await;
            rounds += 1;
            if rounds % 4 == 0 {
                joined(&server).await;
            }
        }
    }
    joined(&server).await;
    let stored = stored(&server).await;
    let wanted = recounted(&sent);
    assert!(wanted.len() > 60 && wanted.iter().any(|run| run.events.len() > 3), "{}", wanted.len());
    for (found, wanted) in stored.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(stored.len(), wanted.len());
    assert_eq!(kept_sums(&server).await, added_up(&wanted));

    // What is made again from the events is what was there.
    let before = everything(&server).await;
    let mut database = superuser(&server).await;
    let empty =
        "begin; select from correlate_cursors where name = 'executions' for update; delete from executions;
                 delete from execution_reports; delete from execution_metrics; delete from credit_reports;
                 update correlate_cursors set batch_id = 0 where name = 'executions'; commit";
    sqlx::raw_sql(empty).execute(&mut database).await.expect("emptied");
    joined(&server).await;
    assert_eq!(everything(&server).await, before);
    database.close().await.expect("closed");
    server.stop().await;
}

#[tokio::test]
async fn runs_are_listed_by_what_is_asked_and_page_by_page() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let base = Utc::now() - TimeDelta::hours(2);
    let at = |minute| base + TimeDelta::minutes(minute);
    let events: Vec<Event> = (0..12)
        .map(|n: i64| {
            let agent = format!("a{}", n % 2);
            let success = n % 3 > 0;
            let details = json!({"execution_id": format!("r-{n}"), "success": success, "trigger": "manual",
                "error": "asked by carol@example.com", "raw_tokens": n});
            let outcome = if success { Outcome::Success } else { Outcome::Failure };
            Event { outcome, ..answered(at(n), &agent, "bob@example.com", details) }
        })
        .collect();
    server.send(&producer.seal(&events)).await;
    joined(&server).await;
    let ids = |told: &Value| -> Vec<String> {
        let runs = told["executions"].as_array().expect("a list").iter();
        runs.map(|run| run["id"].as_str().expect("an id").to_owned()).collect()
    };
    let all: Vec<String> = (0..12).rev().map(|n| format!("r-{n}")).collect();
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/v1/executions?limit=5{cursor}")).await.json();
        paged.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    let list = async |query: &str| ids(&server.get(&format!("/v1/executions?{query}")).await.json());
    assert_eq!(list("agent=a1&status=failed").await, ["r-9", "r-3"]);
    assert_eq!(list("user=bob@example.com&trigger=manual").await.len(), 12);
    assert!(list("user=eve").await.is_empty() && list("trigger=webhook").await.is_empty());
    let from = at(10).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    assert_eq!(list(&format!("from={from}")).await, ["r-11", "r-10"]);
    assert_eq!(list(&format!("to={from}&limit=1")).await, ["r-9"]);

    for (bad, named) in [
        ("status=done", "status"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("from=yesterday", "from"),
        ("agents=a", "agents"),
        ("agent=a&agent=b", "agent"),
    ] {
        let problem = server.get(&format!("/v1/executions?{bad}")).await.problem(400);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with(named)), "{problem}");
    }
    let other_list = cursor.replace("&cursor=", "agent=a1&cursor=");
    server.get(&format!("/v1/executions?{other_list}")).await.problem(400);
    server.get("/v1/executions/r-99").await.problem(404);
    server.get("/v1/metrics/agents/a9").await.problem(404);
    server.get("/v1/metrics/agents?by=day").await.problem(400);
    server.get("/v1/metrics/agents/a1?by=week").await.problem(400);
    server.get("/v1/metrics/agents/a1?by=hour&from=2020-01-01T00:00:00Z").await.problem(422);

    // Who may not see personal data sees none, here as in events.
    let masked = new_key(&server.store, "demo", Role::Viewer).await;
    for path in ["/v1/executions", "/v1/executions/r-0", "/v1/metrics/users"] {
        let answer = server.get_with(path, &masked).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let text = answer.text();
        assert!(!text.contains("bob@example.com") && !text.contains("carol@"), "{path}: {text}");
    }
    assert_eq!(server.get("/v1/executions/r-0").await.json()["error"]["text"], "asked by carol@example.com");
    let stranger = new_key(&server.store, "other", Role::Admin).await;
    server.get_with("/v1/executions/r-0", &stranger).await.problem(404);
    server.get_with("/v1/metrics/agents/a1", &stranger).await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn what_runs_add_up_to_is_the_documented_formula_and_the_unknown_is_null() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let base = Utc::now() - TimeDelta::hours(3);
    let recorded = |minute, id: &str, agent: &str, details: Value| {
        let mut all = json!({"agent_id": agent, "user_id": "u-1", "execution_id": id});
        all.as_object_mut().expect("an object").extend(details.as_object().expect("an object").clone());
        let at = base + TimeDelta::minutes(minute);
        told(at, "EXECUTION_RECORDED", ("execution", Some(id)), all)
    };
    let full = |status: &str, (input, output): (u64, u64), duration: u64, iterations: u64| {
        json!({"status": status, "raw_tokens": input + output, "input_tokens": input, "output_tokens": output,
            "duration_ms": duration, "iterations": iterations})
    };
    server
        .send(&producer.seal(&[
            recorded(0, "x-1", "a", full("completed", (100, 50), 1_000, 2)),
            recorded(10, "x-2", "a", full("completed", (300, 150), 3_000, 4)),
            recorded(20, "x-3", "a", full("failed", (0, 10), 500, 1)),
            recorded(70, "x-4", "a", json!({"status": "running"})),
            recorded(30, "y-1", "b", json!({"status": "completed"})),
        ]))
        .await;
    joined(&server).await;
    let day_before = (base - TimeDelta::days(1)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let told = server.get(&format!("/v1/metrics/agents/a?by=hour&from={day_before}")).await.json();
    let metrics = &told["metrics"];
    assert_eq!(
        json!([
            metrics["runs"],
            metrics["completed"],
            metrics["failed"],
            metrics["running"],
            metrics["unknown"]
        ]),
        json!([4, 2, 1, 1, 0])
    );
    assert_eq!(metrics["success_rate"], 66.667, "two of the three whose end is known");
    assert_eq!(
        metrics["tokens"],
        json!({"total": 610, "input": 400, "output": 210, "peak": 450, "average": 203.333,
            "output_input_ratio": 0.525, "runs_without": 1})
    );
    assert_eq!(metrics["iterations"], json!({"total": 7, "average": 2.333}));
    assert_eq!(metrics["duration_ms"], json!({"average": 1_500.0, "peak": 3_000}));
    let series = told["series"].as_array().expect("a list");
    assert_eq!(series.iter().map(|hour| hour["runs"].as_i64().expect("a count")).sum::<i64>(), 4);
    assert_eq!(told["by"], "hour");
    let silent = server.get("/v1/metrics/agents/b").await.json();
    assert_eq!(
        silent["metrics"]["tokens"],
        json!({"total": null, "input": null, "output": null, "peak": null, "average": null,
            "output_input_ratio": null, "runs_without": 1})
    );
    assert_eq!(silent["metrics"]["success_rate"], 100.0);
    let users = server.get("/v1/metrics/users").await.json();
    assert_eq!((&users["users"][0]["id"], &users["users"][0]["runs"]), (&json!("u-1"), &json!(5)));
    let agents = server.get("/v1/metrics/agents").await.json();
    assert_eq!(agents["agents"].as_array().map(Vec::len), Some(2), "{agents}");
    server.stop().await;
}

#[tokio::test]
async fn an_erased_person_is_in_no_run_and_no_sum_and_counts_per_agent_stay() {
    let server = Server::with(&[
        ("EDGETRAIL__PRIVACY__COOL_OFF_MS", "1"),
        ("EDGETRAIL__PRIVACY__SWEEP_MS", "100"),
        ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ])
    .await;
    let mut producer = server.producer().await;
    let at = |minute: i64| Utc::now() - TimeDelta::minutes(60 - minute);
    let run = |minute, id: &str, user: &str| {
        let details = json!({"execution_id": id, "success": true, "raw_tokens": 10});
        answered(at(minute), "a", user, details)
    };
    let credit = told(
        at(3),
        "CREDITS_RECORDED",
        ("subscription", Some("gone-1")),
        json!({"credits_delta": -5, "balance_after": 95}),
    );
    server
        .send(&producer.seal(&[
            run(0, "r-1", "gone-1"),
            run(1, "r-2", "gone-1"),
            run(2, "r-3", "stays-1"),
            credit,
        ]))
        .await;
    joined(&server).await;
    let export = server.post_as_admin("/v1/subjects/gone-1/export?format=ndjson", "").await;
    assert_eq!(export.status, 200, "{}", export.text());
    let text = crate::subjects::unchunked(&export.body);
    let runs: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter_map(|line| line.get("run").cloned())
        .collect();
    assert_eq!(runs.iter().map(|run| &run["id"]).collect::<Vec<_>>(), ["r-2", "r-1"], "{text}");
    let whole = server.post_as_admin("/v1/subjects/gone-1/export?format=json", "").await;
    let whole: Value = serde_json::from_str(&crate::subjects::unchunked(&whole.body)).expect("JSON");
    assert_eq!(whole["runs"].as_array().map(Vec::len), Some(2), "{whole}");

    let other = server.another_admin().await;
    let wish = json!({"mode": "erase", "legal_basis": "consent withdrawn"}).to_string();
    let asked = server.post_as_admin("/v1/subjects/gone-1/erase", &wish).await.json();
    let erasure = format!("/v1/erasures/{}", asked["id"].as_str().expect("an id"));
    server.post_with(&format!("{erasure}/approve"), &other, "").await;
    eventually(async || server.get_as_admin(&erasure).await.json()["state"] == "done").await;
    joined(&server).await;
    for table in everything(&server).await {
        assert!(!Value::from(table.clone()).to_string().contains("gone-1"), "{table:#?}");
    }
    server.get("/v1/metrics/users/gone-1").await.problem(404);
    let agent = server.get("/v1/metrics/agents/a").await.json();
    assert_eq!(
        (&agent["metrics"]["runs"], &agent["metrics"]["tokens"]["total"]),
        (&json!(3), &json!(30)),
        "the agent's counts stay"
    );
    assert_eq!(kept_sums(&server).await, added_up(&stored(&server).await));

    // What comes late of them is nobody's either.
    server.send(&producer.seal(&[run(4, "r-4", "gone-1")])).await;
    eventually(async || {
        joined(&server).await;
        let text = Value::from(everything(&server).await.concat()).to_string();
        !text.contains("gone-1")
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn runs_go_with_the_events_that_they_are_told_from() {
    let then = months_ago(14);
    let dial = Dial::new(then);
    let server = Server::at(&dial).await;
    let mut producer = server.producer().await;
    let run = |at: DateTime<Utc>, id: &str| {
        let details = json!({"execution_id": id, "success": true, "raw_tokens": 7});
        answered(at, "a", "u-1", details)
    };
    server.send(&producer.seal(&[run(then, "old"), sample_at(then, 1)])).await;
    sequenced(&server).await;
    present(&server, &dial).await;
    server.send(&producer.seal(&[run(Utc::now() - TimeDelta::minutes(5), "new")])).await;
    sequenced(&server).await;
    joined(&server).await;
    assert_eq!(stored(&server).await.len(), 2);
    server.retention.pass().await.expect("passed");
    let left = stored(&server).await;
    assert_eq!(left.iter().map(|run| run.execution_key.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(kept_sums(&server).await, added_up(&left));
    assert_eq!(rows(&server, "execution_reports", "event_id").await.len(), 1);
    server.stop().await;
}
