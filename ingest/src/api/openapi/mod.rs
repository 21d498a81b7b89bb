//! The API as a document: OpenAPI 3.1, made from the table of routes.
//!
//! Each chapter says for its routes what they are asked and what they answer, beside the schemas of it. Who may ask stands in
//! the table alone. Tests hold the document against the table, against the committed `docs/openapi.json`, and, with
//! requests made up from it, against a running backend: a route without a description fails, and so does an answer that the
//! document does not know.

mod access;
mod capture;
mod detection;
mod events;
mod executions;
mod exports;
mod log;
mod operation;
mod own_activity;
mod people;
mod policy;
mod retention;
mod running;
mod schema;
mod searches;
mod sinks;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::{Route, router};
use operation::{Operation, Tag, security_schemes, usual};
use schema::{about, number, object_with, text};

/// What the document says of the whole.
const ABOUT: &str = "The audit trail's backend: searching, exporting, proving and erasing what was recorded.\n\n\
    A reader sees their own tenant and nothing else; another tenant's things are not there (404). Errors are problems \
    (RFC 9457). A GET is answered to HEAD as well. Lists are newest first. Times are RFC 3339, in UTC.";

/// Whether a route is for programs, and so in the document; pages are for people, and browsers ask for OPTIONS by themselves.
pub fn is_described(route: &Route) -> bool {
    let is_for_programs = ["/v1/", "/log/"].iter().any(|start| route.path.starts_with(start))
        || ["/healthz", "/readyz", "/metrics", "/openapi.json"].contains(&route.path);
    is_for_programs && route.method != "OPTIONS"
}

/// The document.
///
/// # Panics
/// If an operation has no route in the table: both are this program's own.
pub fn document() -> Value {
    let table = router::table();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let route = table.iter().find(|it| (it.method, it.path) == (operation.method, operation.path));
        let route = route.unwrap_or_else(|| panic!("no route {} {}", operation.method, operation.path));
        let methods = paths.entry(template(route)).or_insert_with(|| json!({}));
        methods[operation.method.to_ascii_lowercase()] = operation.described(route);
    }
    let tags: Vec<Value> =
        Tag::ALL.iter().map(|tag| json!({"name": tag.word(), "description": tag.words()})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Edgetrail",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": tags,
        "paths": paths,
        "components": {"schemas": schemas(), "responses": usual(), "securitySchemes": security_schemes()},
    })
}

/// The document as it is committed and served: one member a line, and a newline at the end.
pub fn written() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

/// The path of a route as the document writes it: what takes the rest of a path is a part like another.
pub fn template(route: &Route) -> String {
    route.path.replace("{*", "{")
}

/// `GET /openapi.json`.
pub(super) async fn serve() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, written())
}

fn operations() -> Vec<Operation> {
    let chapters = [
        events::operations(),
        searches::operations(),
        exports::operations(),
        capture::operations(),
        policy::operations(),
        people::operations(),
        own_activity::operations(),
        retention::operations(),
        access::operations(),
        detection::operations(),
        executions::operations(),
        sinks::operations(),
        log::operations(),
        running::operations(),
    ];
    chapters.into_iter().flatten().collect()
}

fn schemas() -> Map<String, Value> {
    let chapters = [
        vec![("Problem", problem())],
        events::schemas(),
        searches::schemas(),
        exports::schemas(),
        capture::schemas(),
        policy::schemas(),
        people::schemas(),
        own_activity::schemas(),
        retention::schemas(),
        access::schemas(),
        detection::schemas(),
        executions::schemas(),
        sinks::schemas(),
        log::schemas(),
        running::schemas(),
    ];
    chapters.into_iter().flatten().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// Every error (RFC 9457).
fn problem() -> Value {
    object_with(
        [
            ("type", about(text(), "Names the kind of problem, such as `/problems/bad-parameter`.")),
            ("title", about(text(), "The kind in words.")),
            ("status", number(400, 599)),
        ],
        [
            ("detail", about(text(), "This occurrence in words; begins with the name of a bad parameter.")),
            ("limit", about(number(0, u64::MAX), "The limit that was passed.")),
            ("line", about(number(1, u64::from(u32::MAX)), "Where in the document that was sent.")),
            ("column", about(number(0, u64::from(u32::MAX)), "Where in that line.")),
        ],
    )
}
