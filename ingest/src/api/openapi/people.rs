//! A person's data: exported to them, and erased.

use serde_json::Value;

use super::operation::{Operation, Tag};
use super::schema::{
    about, count, flag, list, map, named, nullable, object, object_with, one_of, shaped, text, time, uuid,
};

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::People, summary);
    let post = |path, id, summary| Operation::post(path, id, Tag::People, summary);
    let unknown = "Nothing is known of this person; nothing about the request is kept.";
    let missing = "There is no erasure of this id.";
    let decide = |path, id, summary| {
        post(path, id, summary)
            .part("id", uuid(), "The erasure's id.")
            .gives("The erasure.", named("Erasure"))
            .refuses(404, missing)
            .refuses(409, "It is not in the state for that, or a legal hold forbids it.")
    };
    let subject = || shaped("^[!-.0-~]([ -.0-~]{0,200}[!-.0-~])?$");
    let emails = || {
        let address = shaped("^[a-z0-9.]{1,30}@[a-z0-9-]{1,30}\\.[a-z]{2,10}$");
        let mut list = about(list(address), "Addresses of theirs that events do not tell.");
        list["maxItems"] = 20.into();
        list
    };
    vec![
        post("/v1/subjects/{id}/export", "export_person", "Everything about a person, with its proofs")
            .part("id", subject(), "The person's id, as the application calls them.")
            .query(
                "format",
                one_of(["ndjson", "json"]),
                "A line for each event, or one document; ndjson unless said.",
            )
            .takes_any(false, &[("application/json", object_with([], [("emails", emails())]))])
            .gives_as(
                200,
                "Their events, between what opens and what sums up.",
                &[("application/x-ndjson", text()), ("application/json", named("PersonExport"))],
            )
            .refuses(404, unknown),
        post(
            "/v1/subjects/{id}/erase",
            "erase_person",
            "Asks for the erasure of a person's data, or shows what it would do",
        )
        .details("With `preview: true` nothing is asked for. Otherwise a second admin must agree.")
        .part("id", subject(), "The person's id, as the application calls them.")
        .takes(erasure(emails()))
        .gives("What it would do.", object([("preview", named("ErasurePreview"))]))
        .gives_as(202, "The erasure.", &[("application/json", named("Erasure"))])
        .refuses(404, unknown)
        .refuses(409, "A legal hold forbids it, or it was asked for already."),
        get("/v1/erasures", "list_erasures", "Requests to erase a person's data, newest first")
            .gives("The erasures.", object([("erasures", list(named("Erasure")))])),
        get("/v1/erasures/{id}", "read_erasure", "A request to erase a person's data")
            .part("id", uuid(), "The erasure's id.")
            .gives("The erasure.", named("ErasureDetails"))
            .refuses(404, missing),
        decide(
            "/v1/erasures/{id}/approve",
            "approve_erasure",
            "Agrees to an erasure that another admin asked for",
        ),
        decide("/v1/erasures/{id}/cancel", "cancel_erasure", "Ends an erasure that was not carried out"),
        get(
            "/v1/erasures/{id}/certificate",
            "read_certificate",
            "The signed certificate of an erasure; it names nobody",
        )
        .part("id", uuid(), "The erasure's id.")
        .gives_as(200, "The certificate, a signed note.", &[("text/plain", text())])
        .refuses(404, "There is no certificate yet, or no erasure of this id."),
    ]
}

fn modes() -> Value {
    one_of(["erase", "pseudonymise", "keep"])
}

/// What is asked for: an erasure with its ground, or a preview of one.
fn erasure(emails: Value) -> Value {
    let preview = |is: bool| serde_json::json!({"type": "boolean", "const": is});
    let basis = || shaped("^[A-Za-z][ -~]{1,400}$");
    let asked = object_with(
        [("mode", modes()), ("legal_basis", about(basis(), "Why; it is kept for good and names nobody."))],
        [("emails", emails.clone()), ("preview", preview(false))],
    );
    let previewed = object_with(
        [("preview", preview(true))],
        [("emails", emails), ("mode", nullable(text())), ("legal_basis", nullable(text()))],
    );
    serde_json::json!({"anyOf": [asked, previewed]})
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let erasure = || {
        [
            ("id", uuid()),
            ("mode", modes()),
            ("legal_basis", text()),
            ("state", one_of(["requested", "approved", "running", "done", "cancelled", "kept"])),
            ("subject", about(nullable(text()), "Whom it is about, until it is closed.")),
            ("pseudonym", nullable(shaped("^anon-[0-9a-f]{32}$"))),
            ("requested_by", text()),
            ("requested_at", time()),
            ("approved_by", nullable(text())),
            ("approved_at", nullable(time())),
            ("not_before", about(nullable(time()), "It is not carried out before.")),
            ("carried_out_at", nullable(time())),
            ("closed_by", nullable(text())),
            ("closed_at", nullable(time())),
        ]
    };
    let relations = || map(count());
    let saved = object([
        ("as", one_of(["owner", "named"])),
        ("name", text()),
        ("query", text()),
        ("saved_at", time()),
    ]);
    let alert = object([
        ("id", uuid()),
        ("rule", text()),
        ("title", text()),
        ("alike", map(text())),
        ("events", count()),
        ("first_at", time()),
        ("last_at", time()),
        ("raised_at", time()),
        ("state", one_of(["open", "closed"])),
        ("note", nullable(text())),
    ]);
    let opened = object([
        ("tenant", text()),
        ("subject", text()),
        ("known_by", list(text())),
        ("made_at", time()),
        ("logs", list(object([("log_id", text()), ("origin", text()), ("verifier_key", nullable(text()))]))),
        (
            "saved_searches",
            about(list(saved), "Searches that they saved, and those of others that name them."),
        ),
        ("alerts", about(list(alert), "Alerts that name them, with what of them is theirs.")),
        (
            "sinks",
            about(
                list(object([("name", text()), ("query", nullable(text()))])),
                "Sinks whose name or filter names them.",
            ),
        ),
    ]);
    let summary = object([
        ("events", count()),
        ("runs", about(count(), "Runs of agents that were for them.")),
        ("proven", about(count(), "Events that come with a proof.")),
        ("as", about(relations(), "Events by what the person has to do with them.")),
        ("fields", about(relations(), "Fields that are theirs.")),
        ("first", nullable(time())),
        ("last", nullable(time())),
    ]);
    vec![
        ("Erasure", object(erasure())),
        (
            "ErasureDetails",
            object(
                erasure()
                    .into_iter()
                    .chain([("verifier_key", about(text(), "The key that signs certificates."))]),
            ),
        ),
        (
            "ErasurePreview",
            object([
                ("known_by", list(text())),
                (
                    "counts",
                    object([
                        ("events", count()),
                        ("as", relations()),
                        ("fields", relations()),
                        ("whole", count()),
                        (
                            "beside",
                            object([
                                ("remembered_entities", count()),
                                ("audit_rows", count()),
                                ("reported_writes", count()),
                                ("routes", count()),
                                ("alerts", count()),
                                ("runs", count()),
                                ("sinks", count()),
                                ("saved_searches", count()),
                            ]),
                        ),
                        ("complete", about(flag(), "Whether there was time to look at everything.")),
                    ]),
                ),
                (
                    "hold",
                    about(
                        nullable(object([("id", uuid()), ("reason", text())])),
                        "The hold that forbids it.",
                    ),
                ),
            ]),
        ),
        (
            "PersonExport",
            object([("export", opened), ("events", list(map(serde_json::json!({})))), ("summary", summary)]),
        ),
    ]
}
