//! What a search finds, as a file: streamed, or made in the background.

use serde_json::Value;

use super::events::searched;
use super::operation::{Operation, Tag};
use super::schema::{
    about, count, flag, hex, list, named, nullable, object, object_with, one_of, switch, text, time, uuid,
};
use crate::export::Format;

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| Operation::get(path, id, Tag::Exports, summary);
    let missing = "There is no export of this id.";
    vec![
        searched(get("/v1/events/export", "stream_export", "Everything that a search finds, as a stream"))
            .details(
                "A query that is not understood whole is refused. A stream that was cut off has no last chunk; its manifest \
                 says `complete: false`. With `TE: trailers` rows and SHA-256 come as trailers.",
            )
            .query("format", formats(), "The format; ndjson unless said.")
            .query("gzip", switch(), "Whether it is compressed; not for parquet.")
            .query("proofs", switch(), "Whether each line has its proof; for ndjson, and for who may read openings.")
            .unmasks()
            .gives_as(200, "The file.", &media())
            .with_header("X-Edgetrail-Export", "The export's id, under which its manifest is found.")
            .with_header("Content-Disposition", "The name of the file.")
            .refuses(429, "As many exports are being made as there may be, or the reader asks too often."),
        get("/v1/exports", "list_exports", "A tenant's exports, newest first")
            .gives("The exports.", object([("exports", list(named("Export")))])),
        Operation::post("/v1/exports", "make_export", Tag::Exports, "Makes a file in the background")
            .details("The parameters of the stream, as the members of a JSON object.")
            .unmasks()
            .takes(wish())
            .gives_as(202, "The export.", &[("application/json", named("Export"))])
            .refuses(429, "As many exports are being made as there may be, or the reader asks too often."),
        get("/v1/exports/{id}", "read_export", "How far an export is")
            .part("id", uuid(), "The export's id.")
            .gives("The export.", named("Export"))
            .refuses(404, missing),
        get("/v1/exports/{id}/manifest", "read_manifest", "What an export is of, and what it came to")
            .part("id", uuid(), "The export's id.")
            .gives("The manifest.", named("Manifest"))
            .refuses(404, missing)
            .refuses(409, "It is not made yet."),
        get("/v1/exports/{id}/download", "download_export", "The file of an export, for who asked for it")
            .part("id", uuid(), "The export's id.")
            .gives_as(200, "The file.", &[&media()[..], &[("application/gzip", text())]].concat())
            .with_header("X-Edgetrail-Export", "The export's id.")
            .with_header("Content-Disposition", "The name of the file.")
            .refuses(404, "There is no export of this id, it was streamed, or somebody else asked for it.")
            .refuses(409, "It is not made yet.")
            .refuses(410, "The file has gone: it is kept for a day."),
    ]
}

fn formats() -> Value {
    one_of(Format::ALL.map(Format::word))
}

fn media() -> [(&'static str, Value); 3] {
    [("application/x-ndjson", text()), ("text/csv", text()), ("application/vnd.apache.parquet", text())]
}

/// The parameters of an export as a body.
fn wish() -> Value {
    let words = ["q", "actor", "action", "entity", "entity_type", "severity", "outcome"];
    let words = words.map(|name| (name, text()));
    let more =
        [("from", time()), ("to", time()), ("format", formats()), ("gzip", flag()), ("proofs", flag())];
    object_with([], words.into_iter().chain(more))
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let states = one_of(["queued", "running", "complete", "cut_off", "expired"]);
    vec![
        (
            "Export",
            object([
                ("id", uuid()),
                ("state", states),
                ("job", about(flag(), "Whether it is made into a file in the background.")),
                ("by", text()),
                ("query", text()),
                ("format", formats()),
                ("gzip", flag()),
                ("proofs", flag()),
                ("rows", count()),
                ("bytes", count()),
                ("made_at", time()),
                ("ended_at", nullable(time())),
                ("expires_at", nullable(time())),
            ]),
        ),
        (
            "Manifest",
            object([
                ("id", uuid()),
                ("tenant", text()),
                ("by", text()),
                ("made_at", time()),
                ("ended_at", nullable(time())),
                ("query", text()),
                ("window", object([("from", time()), ("to", nullable(time()))])),
                ("until", about(time(), "What arrived later is not in it.")),
                ("format", formats()),
                ("gzip", flag()),
                ("proofs", flag()),
                ("complete", flag()),
                ("rows", count()),
                ("bytes", count()),
                ("sha256", nullable(hex(32))),
            ]),
        ),
    ]
}
