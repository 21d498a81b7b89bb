//! What people see of themselves, by a token of the application.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{
    about, any, count, flag, list, named, nullable, number, object, one_of, text, time, uuid,
};

pub(super) fn operations() -> Vec<Operation> {
    let mine = |operation: Operation| {
        operation
            .by_token()
            .refuses(401, "The token is missing, wrong, over or not for this server.")
            .refuses(429, "This person asks more often than is allowed.")
    };
    let get = |path, id, summary| mine(Operation::get(path, id, Tag::OwnActivity, summary));
    let post = |path, id, summary| mine(Operation::post(path, id, Tag::OwnActivity, summary));
    let misunderstood = "A parameter is not understood; `detail` begins with its name.";
    vec![
        get("/v1/me/activity", "list_own_activity", "Somebody's own acts, in plain words")
            .details("Acts that a signature proves to be theirs, and what others did to their account, as far as it may be told.")
            .query(
                "kind",
                one_of(["sign-ins", "changes", "runs", "other"]),
                "Of one kind; `other` are looks and refreshes, which are left out otherwise.",
            )
            .query("from", time(), "The beginning; 90 days ago unless said.")
            .query("to", time(), "The end.")
            .query("limit", number(1, 100), "How many; 50 unless said.")
            .query("cursor", text(), "`next_cursor` of the page before.")
            .gives("A page, newest first.", named("OwnActivity"))
            .refuses(400, misunderstood),
        post("/v1/me/activity/{id}/disown", "disown_activity", "This wasn't me")
            .part("id", uuid(), "The event's id.")
            .gives(
                "It is on record, once.",
                object([
                    ("disowned", uuid()),
                    ("already", about(flag(), "Whether they had said so before.")),
                    ("application_is_told", about(flag(), "Whether a webhook is configured.")),
                    ("next", about(text(), "What they should do now.")),
                ]),
            )
            .refuses(404, "There is no event of theirs of this id."),
        post("/v1/me/export", "export_own_activity", "Everything of theirs, with its proofs")
            .details("Once an hour.")
            .query(
                "format",
                one_of(["ndjson", "json"]),
                "A line for each event, or one document; ndjson unless said.",
            )
            .gives_as(
                200,
                "Their events and the runs that they provably asked for, between what opens and what sums up.",
                &[("application/x-ndjson", text()), ("application/json", any())],
            )
            .refuses(400, misunderstood)
            .refuses(404, "There is nothing of theirs."),
    ]
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let is_new =
        || about(nullable(flag()), "Whether it was the first act there; null where that is not known.");
    let span = || [("first_seen", time()), ("last_seen", time()), ("events", count())];
    let seen = |named: Vec<(&'static str, Value)>| object(named.into_iter().chain(span()));
    vec![
        (
            "OwnActivity",
            object([
                ("activity", list(named("OwnAct"))),
                ("devices", about(list(seen(vec![("name", text())])), "Those used last first, of 90 days.")),
                (
                    "places",
                    about(
                        list(seen(vec![("name", text()), ("country", text())])),
                        "Those seen last first, of 90 days.",
                    ),
                ),
                ("window", object([("from", time()), ("to", nullable(time())), ("default", flag())])),
                ("next_cursor", nullable(text())),
            ]),
        ),
        (
            "OwnAct",
            object([
                ("id", uuid()),
                ("at", time()),
                ("kind", one_of(["sign-ins", "changes", "runs", "other"])),
                ("text", about(text(), "What happened, in words to the person.")),
                ("outcome", one_of(["success", "failure", "unknown"])),
                ("by", one_of(["you", "somebody_else"])),
                ("device", nullable(object([("name", text()), ("new", is_new())]))),
                (
                    "place",
                    nullable(object([("name", text()), ("country", nullable(text())), ("new", is_new())])),
                ),
                ("ip", nullable(text())),
                ("changes", about(nullable(text()), "What changed, in words.")),
                ("disowned", about(flag(), "Whether they said that it was not them.")),
            ]),
        ),
    ]
}
