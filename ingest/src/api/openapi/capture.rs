//! How much of what happens is recorded: by route, by table, by stream, and what was set aside.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{
    about, any, base64, count, flag, hex, list, map, named, nullable, number, object, one_of, percent,
    shaped, text, time, uuid,
};
use crate::store::intents::IntentState;

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Capture, summary);
    let post = |path, id, summary| Operation::post(path, id, Tag::Capture, summary);
    let host = || shaped("^[^\\u0000]*$");
    vec![
        get("/v1/coverage", "read_coverage", "How much of the traffic rules cover, by route and by host")
            .query("host", host(), "Of this host.")
            .query("mapped", flag(), "Only routes that a rule names, or only the others.")
            .gives("The busiest routes, and totals.", named("Coverage")),
        get("/v1/inbox", "list_inbox", "Mutating routes that no rule names, busiest first")
            .gives("The routes.", object([("inbox", list(named("UnmappedRoute")))])),
        post("/v1/inbox/draft", "draft_rule", "A first guess at the rule for a route")
            .takes(object([
                ("host", text()),
                ("method", one_of(["POST", "PUT", "PATCH", "DELETE"])),
                ("route", shaped("^(/[a-z][a-z0-9-]{1,20}){1,4}$")),
            ]))
            .gives(
                "The rule, and the pack that it belongs to.",
                object([("host", text()), ("pack", one_of(["app", "supabase"])), ("rule", rule())]),
            ),
        post(
            "/v1/inbox/accept",
            "accept_rule",
            "Proposes a rule for a route, to which a second admin must agree",
        )
        .takes(object([
            ("host", shaped("^[a-z0-9.-]{1,255}$")),
            ("pack", shaped("^[a-z0-9_-]{1,60}$")),
            ("rule", rule()),
        ]))
        .gives("The version that holds it.", named("PolicyDetails"))
        .refuses(422, "The rule is refused; `line` and `column` say where."),
        get(
            "/v1/coverage/tables",
            "read_table_coverage",
            "How much of what databases saw written an event tells",
        )
        .query("from", time(), "Written at this time or later; 30 days back unless said.")
        .query("to", time(), "Written before this time.")
        .gives("Counts by table.", named("TableCoverage")),
        get("/v1/writes", "list_writes", "Writes that the watched databases saw, newest first")
            .query("from", time(), "Written at this time or later; 30 days back unless said.")
            .query("to", time(), "Written before this time.")
            .query("state", writes(), "What became of them; unattributed unless said.")
            .gives("The writes.", object([("writes", list(named("Write")))])),
        get("/v1/streams", "list_streams", "What arrived of each producer's stream")
            .gives("The streams.", object([("streams", list(named("Stream")))])),
        get("/v1/intents", "list_intents", "Acts that were announced, and whether they came")
            .query("state", intents(), "Where they stand; any unless said.")
            .gives("The intents.", object([("intents", list(named("Intent")))])),
        get(
            "/v1/reconciliation",
            "read_reconciliation",
            "The application's own audit rows held against what the edge saw",
        )
        .query("from", time(), "At this time or later; 30 days back unless said.")
        .query("to", time(), "Before this time.")
        .gives("Counts by action.", named("Reconciliation")),
        get(
            "/v1/echoes",
            "list_echoes",
            "Writes by the application's own server, and whether the act behind them is known",
        )
        .query("from", time(), "At this time or later; 30 days back unless said.")
        .query("to", time(), "Before this time.")
        .query("state", echoes(), "What became of them; unlinked unless said.")
        .gives("The echoes.", object([("echoes", list(named("Echo")))])),
        get("/v1/quarantine", "list_quarantine", "What could not be stored as events")
            .gives("What was set aside.", object([("quarantine", list(named("SetAside")))])),
    ]
}

/// A rule of a pack: docs/own-pack.md.
fn rule() -> Value {
    about(map(any()), "A rule of a pack; edge/packs/schema.json is the schema of packs.")
}

fn writes() -> Value {
    one_of(["pending", "explained", "system", "unattributed"])
}

fn echoes() -> Value {
    one_of(["pending", "linked", "unlinked"])
}

fn intents() -> Value {
    one_of(IntentState::ALL.map(IntentState::word))
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let figures = || {
        [
            ("requests", count()),
            ("requests_mapped", count()),
            ("requests_unmapped", count()),
            ("requests_unlisted", about(count(), "Of routes beyond those that are listed.")),
            ("routes_mapped", count()),
            ("routes_unmapped", count()),
            ("percent_mapped", nullable(percent())),
        ]
    };
    let hosts = map(object(figures()));
    let route = || {
        [
            ("host", text()),
            ("method", text()),
            ("route", text()),
            ("count", count()),
            ("first_seen", time()),
            ("last_seen", time()),
        ]
    };
    let seq = || number(0, u64::MAX);
    vec![
        (
            "Coverage",
            object([
                ("routes", list(object(route().into_iter().chain([("mapped", flag())])))),
                ("more", about(flag(), "Whether there are more routes than are listed.")),
                ("totals", object(figures().into_iter().chain([("hosts", hosts)]))),
            ]),
        ),
        (
            "UnmappedRoute",
            object(route().into_iter().chain([
                ("example", about(nullable(uuid()), "An event of it.")),
                (
                    "accepted_in",
                    about(nullable(count()), "The version of the policy that has a rule for it."),
                ),
            ])),
        ),
        (
            "TableCoverage",
            object([
                ("from", time()),
                ("to", time()),
                (
                    "tables",
                    list(object([
                        ("table", text()),
                        ("writes", count()),
                        ("pending", count()),
                        ("explained", count()),
                        ("system", count()),
                        ("unattributed", count()),
                        ("percentage", nullable(percent())),
                    ])),
                ),
            ]),
        ),
        (
            "Write",
            object([
                ("at", time()),
                ("seq", seq()),
                ("table", text()),
                ("entity_type", nullable(text())),
                ("key", nullable(text())),
                ("op", one_of(["INSERT", "UPDATE", "DELETE", "TRUNCATE"])),
                ("txid", shaped("^-?[0-9]+$")),
                ("uid", nullable(text())),
                ("role", text()),
                ("application_name", text()),
                ("state", writes()),
                ("event", about(nullable(uuid()), "The event that tells it.")),
            ]),
        ),
        (
            "Stream",
            object([
                ("stream", hex(16)),
                ("state", one_of(["active", "ended"])),
                ("tail", one_of(["open", "unknown"])),
                ("first_at", time()),
                ("last_at", time()),
                ("high_seq", seq()),
                ("batches", count()),
                ("events", count()),
                ("dropped", count()),
                (
                    "gaps",
                    list(object([
                        ("first_seq", seq()),
                        ("last_seq", seq()),
                        ("state", one_of(["open", "closed"])),
                    ])),
                ),
            ]),
        ),
        (
            "Intent",
            object([
                ("id", uuid()),
                ("state", intents()),
                ("action", nullable(text())),
                ("opened_at", nullable(time())),
                ("closed_at", nullable(time())),
                ("orphaned_at", nullable(time())),
            ]),
        ),
        (
            "Reconciliation",
            object([
                ("from", time()),
                ("to", time()),
                (
                    "actions",
                    list(object([
                        ("action", text()),
                        ("confirmed", count()),
                        ("only_theirs", count()),
                        ("only_ours", count()),
                        ("pending", count()),
                    ])),
                ),
            ]),
        ),
        (
            "Echo",
            object([
                ("id", uuid()),
                ("action", text()),
                ("entity", nullable(object([("type", text()), ("id", nullable(text()))]))),
                ("at", time()),
                ("state", echoes()),
                ("act", nullable(uuid())),
            ]),
        ),
        (
            "SetAside",
            object([
                ("stream", hex(16)),
                ("seq", seq()),
                ("batch", count()),
                ("position", count()),
                ("reason", text()),
                ("claimed_digest", hex(32)),
                ("entry", hex(42)),
                ("raw", nullable(base64())),
                ("received_at", time()),
            ]),
        ),
    ]
}
