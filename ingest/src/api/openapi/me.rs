//! What people see of themselves, by a token of the application.

use serde_json::Value;
use shared::event::Outcome;

use super::operation::{Operation, Tag};
use super::schema::{about, count, flag, list, named, nullable, number, object, one_of, text, time, uuid};

pub(super) fn operations() -> Vec<Operation> {
    let kinds = || one_of(["sign-ins", "changes", "runs", "other"]);
    let of_app = |operation: Operation| operation.by_app_token();
    vec![
        of_app(Operation::get(
            "/v1/me/activity",
            "read_own_activity",
            Tag::Me,
            "One's own activity, in plain words",
        ))
        .query("limit", number(1, 100), "Entries of a page; 50 unless said.")
        .query("kind", kinds(), "Of one kind; all but `other` unless said.")
        .query("from", time(), "From this time on; 90 days back unless said.")
        .query("to", time(), "Before this time.")
        .query("cursor", text(), "Where a page before ended.")
        .gives(
            "A page, newest first, and every device and place of the last time.",
            object([
                ("activity", list(named("OwnActivity"))),
                ("devices", list(seen([("name", text())]))),
                ("places", list(seen([("name", text()), ("country", text())]))),
                ("window", object([("from", time()), ("to", nullable(time())), ("default", flag())])),
                ("next_cursor", nullable(text())),
            ]),
        ),
        of_app(Operation::post(
            "/v1/me/activity/{id}/disown",
            "disown_activity",
            Tag::Me,
            "This was not me: a critical event, and a message to the application",
        ))
        .part("id", uuid(), "The event's id.")
        .gives(
            "That it is on record.",
            object([
                ("disowned", uuid()),
                ("already", about(flag(), "Whether it was said before.")),
                ("application_is_told", flag()),
                ("next", about(text(), "What to do now.")),
            ]),
        )
        .refuses(404, "There is no event of theirs of this id."),
        of_app(Operation::post(
            "/v1/me/export",
            "export_own_data",
            Tag::Me,
            "Everything of theirs, as a file",
        ))
        .query(
            "format",
            one_of(["ndjson", "json"]),
            "A line for each event, or one document; ndjson unless said.",
        )
        .gives_as(
            200,
            "Their events, between what opens and what sums up.",
            &[("application/x-ndjson", text()), ("application/json", named("PersonExport"))],
        )
        .refuses(404, "Nothing is known of them."),
    ]
}

fn seen<const N: usize>(more: [(&str, Value); N]) -> Value {
    let spans = [("first_seen", time()), ("last_seen", time()), ("events", count())];
    object(more.into_iter().chain(spans))
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let is_new = || about(nullable(flag()), "Whether it was not seen before; null where that is not known.");
    vec![(
        "OwnActivity",
        object([
            ("id", uuid()),
            ("at", time()),
            ("kind", one_of(["sign-ins", "changes", "runs", "other"])),
            ("text", text()),
            ("outcome", one_of(Outcome::ALL.iter().map(|it| it.word()))),
            ("by", one_of(["you", "somebody_else"])),
            ("device", nullable(object([("name", text()), ("new", is_new())]))),
            ("place", nullable(object([("name", text()), ("country", nullable(text())), ("new", is_new())]))),
            ("ip", nullable(text())),
            ("changes", nullable(text())),
            ("disowned", flag()),
        ]),
    )]
}
