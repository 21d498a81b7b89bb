//! The Merkle logs, what a verifier needs beside them, and what verification found.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{
    about, base64, count, flag, hex, list, map, named, nullable, number, object, object_with, one_of, shaped,
    text, time, uuid,
};
use crate::compliance::Framework;

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Log, summary);
    let log = |operation: Operation| operation.part("log_id", hex(16), "The log's id.");
    let index = || number(0, u64::MAX);
    vec![
        get("/v1/logs", "list_logs", "The tenant's logs, with their keys")
            .gives("The logs.", object([("tenant", text()), ("logs", list(named("Log")))])),
        log(get("/log/{log_id}/checkpoint", "read_checkpoint", "The newest head of a log, signed"))
            .gives_as(200, "A checkpoint (c2sp.org/tlog-checkpoint).", &[("text/plain", text())])
            .refuses(404, "There is no such log, or no head of it is published."),
        log(get("/log/{log_id}/tile/{*path}", "read_tile", "A tile of a log, or a bundle of its entries"))
            .details("Needs a key of the log's tenant, unless `log.public` is set (c2sp.org/tlog-tiles).")
            .part("path", tiles(), "What stands after `tile/`, such as `0/x001/067` or `entries/000.p/12`.")
            .asks_by_itself()
            .gives_as(200, "The tile.", &[("application/octet-stream", text())])
            .refuses(400, "A header is not understood.")
            .refuses(401, "There is no good key or session.")
            .refuses(403, "The role may not unmask personal data.")
            .refuses(404, "No published head covers this tile."),
        get(
            "/v1/integrity",
            "read_integrity",
            "What continuous verification found, and how far logs are published",
        )
        .gives("The findings.", named("Integrity")),
        get("/v1/openings", "list_openings", "What is stored of a log's leaves, line by line")
            .details(
                "Without `log` the events that wait for their place. Each line is an `OpeningLine` as JSON.",
            )
            .query("log", hex(16), "The log's id.")
            .query("from", index(), "The first leaf; 0 unless said.")
            .query("to", index(), "The leaf after the last; at most 4,096 after `from`.")
            .gives_as(200, "The lines.", &[("application/x-ndjson", text())])
            .refuses(404, "There is no such log."),
        get("/v1/absences", "list_absences", "Which records of erasures and drops have a list of leaves")
            .gives("The lists.", object([("absences", list(named("AbsenceList")))])),
        get(
            "/v1/absences/{record}",
            "read_absence",
            "The list of leaves of a record, in the bytes that it commits to",
        )
        .part("record", uuid(), "The record's id.")
        .gives_as(200, "The list.", &[("application/octet-stream", text())])
        .refuses(404, "There is no list of this record."),
        get(
            "/v1/compliance/{framework}",
            "read_compliance",
            "What of a framework's controls there is evidence for",
        )
        .part("framework", frameworks(), "The framework.")
        .query("from", time(), "At this time or later; 90 days back unless said.")
        .query("to", time(), "Before this time.")
        .query("format", one_of(["json", "csv"]), "json unless said.")
        .gives_as(200, "The report.", &[("application/json", named("Compliance")), ("text/csv", text())])
        .refuses(404, "There is no framework of this name."),
    ]
}

fn frameworks() -> Value {
    one_of(Framework::ALL.map(Framework::word))
}

fn tiles() -> Value {
    shaped("^(entries|[0-9]|[1-5][0-9]|6[0-3])/(x[0-9]{3}/){0,4}[0-9]{3}(\\.p/[1-9][0-9]?)?$")
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let place = || [("log_id", hex(16)), ("size", count()), ("published_size", count())];
    let checked = || {
        object([
            ("log_id", hex(16)),
            ("kind", text()),
            ("started_at", time()),
            ("finished_at", time()),
            ("from", count()),
            ("verified_to", count()),
            ("open", count()),
            ("erased", count()),
            ("dropped", count()),
            ("unexplained", count()),
            ("mismatched", count()),
            ("finding", about(nullable(text()), "The first thing that is wrong.")),
        ])
    };
    vec![
        (
            "Log",
            object(place().into_iter().chain([
                ("year", count()),
                ("part", count()),
                ("origin", text()),
                ("verifier_key", nullable(text())),
                (
                    "verifier_keys",
                    list(object([
                        ("key", nullable(text())),
                        ("named_at", time()),
                        ("retired_at", nullable(time())),
                    ])),
                ),
                (
                    "previous",
                    about(
                        nullable(object([("log_id", hex(16)), ("checkpoint", text())])),
                        "The log that this one follows, and the head that its first leaf commits to.",
                    ),
                ),
            ])),
        ),
        (
            "Integrity",
            object([
                ("sound", about(flag(), "Whether nothing stands that is wrong.")),
                (
                    "logs",
                    list(object(place().into_iter().chain([
                        ("signing", about(text(), "`ok`, or why the log is not signed.")),
                        ("checks", about(map(checked()), "The newest look of each kind.")),
                    ]))),
                ),
                ("findings", list(checked())),
            ]),
        ),
        (
            "OpeningLine",
            object_with(
                [
                    ("log", nullable(hex(16))),
                    ("index", nullable(count())),
                    ("id", nullable(uuid())),
                    ("opening", nullable(base64())),
                ],
                [("set_aside", text()), ("columns", map(nullable(text())))],
            ),
        ),
        (
            "AbsenceList",
            object([
                ("record_id", uuid()),
                ("sha256", nullable(hex(32))),
                ("leaves", nullable(count())),
                ("runs", nullable(count())),
            ]),
        ),
        (
            "Compliance",
            object([
                ("framework", frameworks()),
                ("title", text()),
                ("window", object([("from", time()), ("to", time())])),
                ("flag", object([("name", text()), ("events", count())])),
                (
                    "controls",
                    list(object([
                        ("id", text()),
                        ("title", text()),
                        ("actions", list(text())),
                        ("events", count()),
                        ("failures", count()),
                        ("first", nullable(time())),
                        ("last", nullable(time())),
                        ("found", map(count())),
                    ])),
                ),
                (
                    "gaps",
                    object([
                        ("controls_without_events", list(text())),
                        ("events", map(count())),
                        ("requests_mapped", count()),
                        ("requests_unmapped", count()),
                        ("routes_unmapped", count()),
                    ]),
                ),
                (
                    "proof",
                    object([(
                        "logs",
                        list(object(
                            place()
                                .into_iter()
                                .chain([("verified_at", nullable(time())), ("findings", count())]),
                        )),
                    )]),
                ),
            ]),
        ),
    ]
}
