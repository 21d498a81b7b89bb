//! What producers and operators call.

use serde_json::{Value, json};

use super::operation::{Operation, Tag};
use super::schema::{any, count, flag, hex, list, map, named, number, object, text};

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Operation, summary);
    vec![
        Operation::post("/v1/batches", "receive_batches", Tag::Producers, "Takes framed batches of events")
            .details(
                "Each batch is a signed note and a body, both with their length before them; its signature is what \
                 authorises it. There is one answer for each, in their order. The status is 200 if any batch was taken, the \
                 status of all if it is the same, else 207.",
            )
            .takes_any(true, &[(shared::batch::CONTENT_TYPE, text())])
            .gives_as(200, "Some were taken.", &[("application/json", named("Receipts"))])
            .gives_as(207, "None was taken, for different reasons.", &[("application/json", named("Receipts"))])
            .gives_or_problem(400, "The request is not framed batches, or no batch can be read.")
            .gives_or_problem(401, "No batch is signed by a key of its tenant.")
            .gives_or_problem(403, "The key may not sign for the tenant.")
            .gives_or_problem(413, "The request, or each batch, is over the limit of bytes.")
            .refuses(415, "The media type is another.")
            .gives_or_problem(429, "The tenant sends more than it may, or more is under way than can be written now; `Retry-After` says when to come again.")
            .gives_or_problem(500, "Something broke on the backend's side.")
            .gives_or_problem(503, "The store is away."),
        get("/healthz", "is_alive", "The process answers").gives_as(200, "It does.", &[("text/plain", text())]),
        get("/readyz", "is_ready", "The process can do its work")
            .details("The store answers, its schema is current, and the sequencer moves.")
            .gives_as(200, "It can.", &[("text/plain", text())]),
        get("/metrics", "read_metrics", "Counters and gauges, as Prometheus reads them")
            .gives_as(200, "The metrics.", &[("text/plain", text())]),
        get("/openapi.json", "read_document", "This document").gives("The document.", map(any())),
    ]
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let taken = object([
        ("status", json!({"type": "integer", "const": 200})),
        ("stream", hex(16)),
        ("seq", number(0, u64::MAX)),
        ("stored", count()),
        ("quarantined", list(object([("position", count()), ("reason", text())]))),
        ("duplicate", flag()),
    ]);
    let refused = object([("status", number(400, 599)), ("problem", named("Problem"))]);
    vec![("Receipts", list(json!({"anyOf": [taken, refused]})))]
}
