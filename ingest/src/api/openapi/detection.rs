//! Detection: what rules found, the rules, and what a rule would have found.

use serde_json::{Value, json};
use shared::event::Severity;

use super::operation::{Operation, Tag};
use super::schema::{
    about, count, flag, list, map, named, nullable, number, object, object_with, one_of, shaped, text, time,
    uuid,
};

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Detection, summary);
    let post = |path, id, summary| Operation::post(path, id, Tag::Detection, summary);
    let missing = "There is no alert of this id.";
    vec![
        get("/v1/alerts", "list_alerts", "What rules of detection found, newest first")
            .query("state", states(), "Where they stand; any unless said.")
            .gives("The alerts.", object([("alerts", list(named("Alert")))])),
        get("/v1/alerts/{id}", "read_alert", "One alert, with its evidence")
            .part("id", uuid(), "The alert's id.")
            .gives("The alert.", named("Alert"))
            .refuses(404, missing),
        post("/v1/alerts/{id}/close", "close_alert", "Closes an alert")
            .part("id", uuid(), "The alert's id.")
            .takes_any(false, &[("application/json", object_with([], [("note", nullable(text()))]))])
            .gives("The alert.", named("Alert"))
            .refuses(404, missing)
            .refuses(409, "It was closed before."),
        get("/v1/detection/rules", "list_detection_rules", "The rules that look at every event")
            .gives("The rules.", object([("rules", list(named("DetectionRule")))])),
        post("/v1/detection/trial", "try_detection_rule", "What a rule would have said of what is stored")
            .takes(object_with(
                [("rule", about(text(), "One rule, in TOML as in the configuration."))],
                [(
                    "last",
                    about(
                        nullable(text()),
                        "How far back, such as `30d`; 30 days unless said, a year at most.",
                    ),
                )],
            ))
            .gives("What it would have said; nothing is raised.", named("DetectionTrial")),
    ]
}

fn states() -> Value {
    one_of(["open", "closed"])
}

fn severities() -> Value {
    one_of(Severity::ALL.iter().map(|it| it.word()))
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let evidence = || about(list(uuid()), "Events that it stands on.");
    let alike = || about(map(text()), "What the events have in common.");
    let kind = |word: &str| json!({"type": "string", "const": word});
    let (many, seconds) = (|| ("at_least", count()), || ("within_s", count()));
    let clock = || shaped("^[0-9]{2}:[0-9]{2}$");
    let fires = json!({"anyOf": [
        object([("kind", kind("each"))]),
        object([("kind", kind("count")), many(), seconds()]),
        object([("kind", kind("distinct")), ("of", text()), many(), seconds()]),
        object([("kind", kind("after")), ("first", text()), many(), seconds()]),
        object([("kind", kind("new")), ("of", text()), ("history_s", count())]),
        object([("kind", kind("outside")), ("from", clock()), ("to", clock()), ("offset", text())]),
        object([("kind", kind("travel")), ("faster_than_kmh", count()), ("farther_than_km", count())]),
        object([("kind", kind("above_baseline")), ("of", text()), many(), ("spreads", count()), ("runs", count())]),
        object([("kind", kind("silence")), ("usually", count()), ("weeks", count())]),
        object([("kind", kind("drop")), ("below_percent", count()), ("usually", count()), ("weeks", count())]),
    ]});
    vec![
        (
            "Alert",
            object([
                ("id", uuid()),
                ("rule", text()),
                ("title", text()),
                ("severity", nullable(severities())),
                ("alike", nullable(alike())),
                ("events", count()),
                ("first_at", time()),
                ("last_at", time()),
                ("evidence", evidence()),
                ("raised_at", time()),
                ("state", states()),
                ("closed_by", nullable(text())),
                ("closed_at", nullable(time())),
                ("note", nullable(text())),
            ]),
        ),
        (
            "DetectionRule",
            object([
                ("id", text()),
                ("title", text()),
                ("severity", severities()),
                ("find", about(text(), "A query in the search grammar.")),
                ("by", about(list(text()), "What events that count together have in common.")),
                ("fires", fires),
                ("cool_down_s", count()),
            ]),
        ),
        (
            "DetectionTrial",
            object([
                ("rule", named("DetectionRule")),
                ("window", object([("from", time()), ("to", time())])),
                (
                    "found",
                    about(count(), "Events that the rule looked at; hours, of a rule that the clock asks."),
                ),
                ("complete", about(flag(), "Whether there were no more than are looked at.")),
                ("fired", count()),
                (
                    "alerts",
                    list(object([
                        ("alike", alike()),
                        ("events", number(0, u64::MAX)),
                        ("first_at", time()),
                        ("last_at", time()),
                        ("evidence", evidence()),
                    ])),
                ),
            ]),
        ),
    ]
}
