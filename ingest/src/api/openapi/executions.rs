//! Executions: runs of agents, what they add up to, and how heavy an agent is.

use serde_json::{Value, json};

use super::operation::{Operation, Tag};
use super::schema::{
    about, count, flag, list, named, nullable, number, object, object_with, one_of, text, time, uuid,
};
use crate::execution::Status;

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Executions, summary).unmasks();
    let windowed = |operation: Operation, from: &str| {
        operation.query("from", time(), from).query("to", time(), "Until when; now unless said.")
    };
    let list_of = |name: &'static str| {
        object([(name, list(named("RunMetricsOf"))), ("complete", flag()), ("window", window())])
    };
    let hours = "Since when, in whole hours; 30 days before `to` unless said.";
    let by =
        "Hours or days (UTC) of the series; days for more than three days unless said, and for more than 31.";
    let missing = "No run of it began in this time.";
    let runs = get("/v1/executions", "list_executions", "Runs of agents, newest first")
        .query("agent", text(), "Of this agent.")
        .query("user", text(), "For this user.")
        .query("status", statuses(), "How they stand.")
        .query("trigger", text(), "What set them off, in the application's word.")
        .query("limit", number(1, 200), "How many at most; 50 unless said.")
        .query("cursor", text(), "The `next_cursor` of the page before; it is good for the same list alone.");
    vec![
        windowed(runs, "Since when they began; 30 days before `to` unless said.").gives(
            "A page of runs.",
            object([
                ("executions", list(named("Execution"))),
                ("next_cursor", about(nullable(text()), "Gives the next page; null on the last.")),
                ("window", window()),
            ]),
        ),
        get("/v1/executions/{id}", "read_execution", "One run, with the events that it is joined from")
            .part("id", text(), "The application's id of the execution, or what the list calls the run.")
            .gives("The run.", named("Execution"))
            .refuses(404, "There is no run of this id."),
        get("/v1/metrics", "read_standing", "How agents did in the last 24 hours").gives(
            "Counts; what was never seen is null.",
            object([
                ("window", window()),
                ("active_agents", about(count(), "Agents that ran.")),
                ("runs", count()),
                ("failed", count()),
                ("running", count()),
                ("memory_active_agents", about(nullable(count()), "Agents of which a memory was made.")),
                ("credits_used", nullable(json!({"type": "integer"}))),
                (
                    "credit_balance",
                    about(nullable(json!({"type": "integer"})), "Of all users, by the newest known of each."),
                ),
            ]),
        ),
        windowed(
            get("/v1/metrics/agents", "list_agent_metrics", "What the runs of each agent add up to"),
            hours,
        )
        .gives("The agents with the newest runs, 200 at most.", list_of("agents")),
        windowed(
            get("/v1/metrics/agents/{id}", "read_agent_metrics", "One agent over time, and its intensity")
                .part("id", text(), "The agent's id."),
            hours,
        )
        .query("by", one_of(["hour", "day"]), by)
        .gives(
            "The agent.",
            object([
                ("id", text()),
                ("window", window()),
                ("metrics", named("RunMetrics")),
                ("by", one_of(["hour", "day"])),
                ("series", list(named("RunMetricsSince"))),
                ("intensity", named("Intensity")),
            ]),
        )
        .refuses(404, missing)
        .refuses(422, "The window is too long for hours."),
        windowed(
            get("/v1/metrics/users", "list_user_metrics", "What the runs for each user add up to"),
            hours,
        )
        .gives("The users with the newest runs, 200 at most.", list_of("users")),
        windowed(
            get("/v1/metrics/users/{id}", "read_user_metrics", "One user's runs over time").part(
                "id",
                text(),
                "The user's id.",
            ),
            hours,
        )
        .query("by", one_of(["hour", "day"]), by)
        .gives(
            "The user.",
            object([
                ("id", text()),
                ("window", window()),
                ("metrics", named("RunMetrics")),
                ("by", one_of(["hour", "day"])),
                ("series", list(named("RunMetricsSince"))),
            ]),
        )
        .refuses(404, missing)
        .refuses(422, "The window is too long for hours."),
    ]
}

fn window() -> Value {
    object([("from", time()), ("to", time())])
}

fn statuses() -> Value {
    one_of(Status::ALL.map(Status::word))
}

fn ratio() -> Value {
    nullable(json!({"type": "number", "minimum": 0}))
}

fn known() -> Value {
    nullable(count())
}

fn figures() -> Vec<(&'static str, Value)> {
    vec![
        ("runs", count()),
        ("completed", count()),
        ("failed", count()),
        ("running", count()),
        ("unknown", about(count(), "Runs of which nobody said how they went.")),
        ("success_rate", about(ratio(), "Percent of the runs whose end is known.")),
        (
            "tokens",
            object([
                ("total", known()),
                ("input", known()),
                ("output", known()),
                ("peak", known()),
                ("average", ratio()),
                ("output_input_ratio", ratio()),
                ("runs_without", about(count(), "Runs that do not tell their tokens: they are in no sum.")),
            ]),
        ),
        ("iterations", object([("total", known()), ("average", ratio())])),
        ("duration_ms", object([("average", ratio()), ("peak", known())])),
        ("last_run", nullable(time())),
    ]
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let bounds = || {
        let figure = || json!({"type": "number"});
        about(
            object([("value", nullable(figure())), ("least", figure()), ("most", figure())]),
            "A figure, or if something was not captured null and the bounds between which it lies.",
        )
    };
    let with = |name, schema| object_with(figures().into_iter().chain([(name, schema)]), []);
    let part = object([
        ("name", text()),
        ("input", about(nullable(json!({"type": "number"})), "Null if it was not captured.")),
        ("weight", json!({"type": "number"})),
        ("adds", bounds()),
    ]);
    vec![
        (
            "Execution",
            object([
                ("id", text()),
                ("execution_id", about(nullable(text()), "The application's id of it.")),
                ("agent", object([("id", nullable(text())), ("name", nullable(text()))])),
                ("user", nullable(text())),
                ("status", statuses()),
                ("trigger", nullable(text())),
                ("type", nullable(text())),
                ("started_at", time()),
                ("ended_at", nullable(time())),
                ("duration_ms", known()),
                ("duration_from", about(nullable(one_of(["record", "answer", "edge"])), "Who says so.")),
                (
                    "tokens",
                    object([
                        ("input", known()),
                        ("output", known()),
                        ("total", about(known(), "As models count them; null if nobody said.")),
                        (
                            "total_from",
                            about(nullable(one_of(["record", "answer", "calls"])), "Who says so."),
                        ),
                        ("adjusted", about(known(), "As the application charges them.")),
                    ]),
                ),
                ("steps", object([("completed", known()), ("failed", known()), ("total", known())])),
                ("iterations", known()),
                ("tool_calls", known()),
                ("error", object([("kind", nullable(text())), ("text", nullable(text()))])),
                ("events", about(list(uuid()), "The events that it is joined from, oldest first.")),
                ("masked", flag()),
            ]),
        ),
        ("RunMetrics", object(figures())),
        ("RunMetricsOf", with("id", text())),
        ("RunMetricsSince", with("from", time())),
        (
            "Intensity",
            object([
                ("version", about(text(), "Which formula: docs/executions.md.")),
                ("complete", about(flag(), "Whether everything that counts was captured.")),
                ("score", bounds()),
                ("multiplier", bounds()),
                ("creation", bounds()),
                ("execution", bounds()),
                ("runs", count()),
                ("runs_needed", about(count(), "Before so many runs the score at creation counts alone.")),
                (
                    "components",
                    list(object([
                        ("name", text()),
                        ("weight", json!({"type": "number"})),
                        ("score", bounds()),
                        ("parts", list(part)),
                    ])),
                ),
            ]),
        ),
    ]
}
