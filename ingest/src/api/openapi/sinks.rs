//! Forwarding: sinks, their health, and whether a value was used.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{
    about, count, flag, list, named, nullable, number, object, object_with, one_of, shaped, text, time, uuid,
};
use crate::sink::Settings;

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Forwarding, summary);
    let post = |path, id, summary| Operation::post(path, id, Tag::Forwarding, summary);
    let missing = "There is no sink of this id.";
    let refused = "A field is missing, not for this kind, or not what it must be.";
    let of_one = |operation: Operation| operation.part("id", uuid(), "The sink's id.").refuses(404, missing);
    let conflicts =
        "Its name is another's, there are as many sinks as a tenant may have, or secrets cannot be kept.";
    vec![
        get("/v1/sinks", "list_sinks", "Where events are forwarded to, by name, with their health")
            .gives("The sinks.", object([("sinks", list(named("Sink")))])),
        post("/v1/sinks", "create_sink", "Forwards events from now on")
            .details(
                "What is forwarded is not masked. A webhook's secret is made unless one is given, and is in this answer alone.",
            )
            .takes(named("NewSink"))
            .gives("The sink.", named("MadeSink"))
            .refuses(409, conflicts)
            .refuses(422, refused),
        of_one(get("/v1/sinks/{id}", "read_sink", "One sink with its health")).gives("The sink.", named("Sink")),
        of_one(post("/v1/sinks/{id}", "change_sink", "Changes a sink, except for its kind and its place"))
            .details("Without `secret` it keeps the one it has, unless it leads elsewhere than before.")
            .takes(named("NewSink"))
            .gives("The sink.", named("Sink"))
            .refuses(409, conflicts)
            .refuses(422, refused),
        of_one(post("/v1/sinks/{id}/pause", "pause_sink", "Stops sending; what follows waits"))
            .gives("The sink.", named("Sink")),
        of_one(post("/v1/sinks/{id}/resume", "resume_sink", "Goes on at its place, at once"))
            .gives("The sink.", named("Sink"))
            .refuses(409, "Its filter named somebody who was erased: it needs another."),
        of_one(post("/v1/sinks/{id}/replay", "replay_sink", "Sends once more what arrived from a time on"))
            .takes(object([("from", about(time(), "Not after now. Events carry the ids that they had."))]))
            .gives("The sink.", named("Sink"))
            .refuses(422, "The time is not between 1970 and now."),
        of_one(post("/v1/sinks/{id}/test", "test_sink", "Sends a message that is no event of the log"))
            .gives("What became of it.", object([("delivered", flag()), ("error", nullable(text()))]))
            .refuses(409, "Secrets cannot be opened."),
        of_one(post("/v1/sinks/{id}/remove", "remove_sink", "Removes a sink"))
            .gives("That it is gone.", object([("removed", uuid())])),
        post("/v1/fingerprint", "test_fingerprint", "Whether a value, such as a leaked token, was used")
            .details("The value is compared by the edge's keyed hash of it. It is neither stored nor logged.")
            .takes(object([("value", shaped("^[^\\u0000]+$"))]))
            .gives("Where it was used.", named("Fingerprint"))
            .refuses(409, "The key of fingerprints is not here."),
    ]
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let kinds = || one_of(Settings::KINDS);
    let optional = |words: &str| about(nullable(text()), words);
    let settings = object_with(
        [],
        [
            ("url", text()),
            ("address", text()),
            ("format", one_of(["batch", "single", "ndjson", "array"])),
            ("endpoint", nullable(text())),
            ("region", nullable(text())),
            ("access_key_id", nullable(text())),
        ],
    );
    let health = object([
        ("state", about(one_of(["active", "failing", "paused"]), "A failing sink goes on trying.")),
        ("sent", about(count(), "Events that the receiver took, repeated ones included.")),
        ("attempts_failed", about(count(), "Since one succeeded.")),
        ("failing_since", nullable(time())),
        ("next_attempt_at", nullable(time())),
        ("last_success_at", nullable(time())),
        ("last_error", nullable(text())),
        ("last_error_at", nullable(time())),
        ("lag_events", about(count(), "Events of the log that it has not looked at.")),
        ("lag_seconds", about(count(), "How long the oldest of them has waited.")),
        ("oldest_waiting_at", nullable(time())),
    ]);
    let sink = || {
        vec![
            ("id", uuid()),
            ("name", text()),
            ("kind", kinds()),
            ("settings", settings.clone()),
            ("has_secret", flag()),
            ("query", about(nullable(text()), "Null once it named somebody who was erased.")),
            ("max_event_bytes", number(4_096, 1_000_000)),
            ("made_by", text()),
            ("made_at", time()),
            ("health", health.clone()),
        ]
    };
    let mut made = sink();
    made.push(("secret", optional("The secret that was made for it, shown once.")));
    vec![
        ("Sink", object(sink())),
        ("MadeSink", object(made)),
        (
            "NewSink",
            object_with(
                [("name", about(text(), "One line of 80 characters at most.")), ("kind", kinds())],
                [
                    ("query", about(text(), "Which events, in the search grammar; all unless said.")),
                    ("url", optional("For webhook, ocsf, otlp: https. For objects: s3://bucket/prefix.")),
                    ("address", optional("For syslog and cef: host and port, 6514 unless said.")),
                    (
                        "format",
                        about(
                            nullable(one_of(["batch", "single", "ndjson", "array"])),
                            "Webhook: batch or single. OCSF: ndjson or array. The first unless said.",
                        ),
                    ),
                    ("endpoint", optional("For objects: unless it is Amazon's own.")),
                    ("region", optional("For objects.")),
                    ("access_key_id", optional("For objects in S3.")),
                    (
                        "secret",
                        optional(
                            "What the receiver knows us by: whsec_… of a webhook, a bearer token, S3's access key. Never shown again.",
                        ),
                    ),
                    (
                        "max_event_bytes",
                        about(
                            nullable(number(4_096, 1_000_000)),
                            "Longer events are told without details and changes, and say so. 8192 for syslog unless said.",
                        ),
                    ),
                ],
            ),
        ),
        (
            "Fingerprint",
            object([
                ("fingerprint", text()),
                ("query", about(text(), "The search that finds the events.")),
                ("events", number(0, 1_000)),
                ("complete", about(flag(), "Whether these are all of them.")),
                ("first_at", nullable(time())),
                ("last_at", nullable(time())),
            ]),
        ),
    ]
}
