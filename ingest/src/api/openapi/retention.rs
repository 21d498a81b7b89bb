//! How long what is kept, and what is held back.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{
    about, count, flag, list, month, named, nullable, number, object, object_with, one_of, shaped, text,
    time, uuid,
};

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Retention, summary);
    let post = |path, id, summary| Operation::post(path, id, Tag::Retention, summary);
    let decide = |path, id, summary| {
        post(path, id, summary)
            .part("version", number(1, 9_007_199_254_740_991), "The version.")
            .gives("The version.", named("PeriodsVersion"))
            .refuses(404, "There are no periods of this version.")
            .refuses(409, "They were decided on already, or newer ones were.")
    };
    vec![
        get("/v1/retention", "read_retention", "How long events are kept, and what went").gives(
            "Periods, their versions, and what went.",
            object([
                ("in_force", named("Periods")),
                ("versions", list(named("PeriodsVersion"))),
                ("drops", list(named("Drop"))),
            ]),
        ),
        get("/v1/retention/preview", "preview_retention", "What would go now")
            .gives("It in counts and words.", named("RetentionPreview")),
        post("/v1/retention/periods", "propose_periods", "Proposes other periods")
            .takes(object([
                ("standard_days", number(30, 3653)),
                ("critical_days", number(365, 7305)),
                ("context_days", number(7, 3653)),
            ]))
            .gives("The version.", named("PeriodsVersion"))
            .refuses(422, "Critical events are kept as long as standard ones at least, context no longer."),
        decide(
            "/v1/retention/periods/{version}/approve",
            "approve_periods",
            "Agrees to periods that another admin proposed",
        ),
        decide(
            "/v1/retention/periods/{version}/refuse",
            "refuse_periods",
            "Turns periods down that do not count yet",
        ),
        get("/v1/holds", "list_holds", "Legal holds, newest first")
            .gives("The holds.", object([("holds", list(named("Hold")))])),
        post("/v1/holds", "place_hold", "Keeps what it covers, whatever its age")
            .takes(hold())
            .gives("The hold.", named("Hold"))
            .refuses(422, "It would cover everything."),
        post("/v1/holds/{id}/release", "release_hold", "Ends a hold")
            .part("id", uuid(), "The hold's id.")
            .gives("The hold.", named("Hold"))
            .refuses(404, "There is no hold of this id.")
            .refuses(409, "It was released before."),
    ]
}

/// A hold as an admin asks for it: what is not named covers everything.
fn hold() -> Value {
    let said = || shaped("^[A-Za-z0-9][^\\u0000]{0,120}$");
    object_with(
        [("reason", said())],
        [
            ("entity_type", nullable(shaped("^[a-z0-9_]{1,64}$"))),
            ("entity_id", nullable(said())),
            ("actor_id", nullable(said())),
            ("action", nullable(shaped("^[A-Za-z0-9_]{1,64}\\*?$"))),
            ("from", nullable(time())),
            ("to", nullable(time())),
        ],
    )
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let counts = object([
        ("events", count()),
        ("drop", count()),
        ("held", count()),
        ("context_drop", count()),
        ("context_held", count()),
    ]);
    let classes = ["standard", "critical", "permanent", "other"].map(|class| (class, counts.clone()));
    vec![
        (
            "Periods",
            object([
                ("standard_days", count()),
                ("critical_days", count()),
                ("context_days", about(count(), "Of addresses, user agents, sessions and places.")),
            ]),
        ),
        (
            "PeriodsVersion",
            object([
                ("version", count()),
                ("state", one_of(["proposed", "approved", "refused"])),
                ("periods", named("Periods")),
                ("proposed_by", text()),
                ("proposed_at", time()),
                ("decided_by", nullable(text())),
                ("decided_at", nullable(time())),
                ("effective_at", nullable(time())),
            ]),
        ),
        (
            "Drop",
            object([
                ("month", month()),
                ("what", one_of(["events", "context", "archive"])),
                ("class", one_of(["standard", "critical", "any"])),
                ("at", time()),
                ("leaves", count()),
                ("held", count()),
                ("record", about(nullable(uuid()), "The event that tells of it.")),
            ]),
        ),
        (
            "RetentionPreview",
            object([
                ("at", time()),
                ("periods", named("Periods")),
                ("active_holds", count()),
                ("archive", about(flag(), "Whether what goes is archived first.")),
                (
                    "months",
                    list(object([
                        ("month", month()),
                        ("classes", object_with([], classes)),
                        ("words", list(text())),
                    ])),
                ),
                ("next", nullable(object([("month", month()), ("on", time())]))),
                ("words", list(text())),
            ]),
        ),
        (
            "Hold",
            object([
                ("id", uuid()),
                ("reason", text()),
                ("entity_type", nullable(text())),
                ("entity_id", nullable(text())),
                ("actor_id", nullable(text())),
                ("action", nullable(text())),
                ("from", nullable(time())),
                ("to", nullable(time())),
                ("placed_by", text()),
                ("placed_at", time()),
                ("released_by", nullable(text())),
                ("released_at", nullable(time())),
            ]),
        ),
    ]
}
