//! The words that schemas are put together from (JSON Schema 2020-12, as OpenAPI 3.1 takes it).
//!
//! An object lists every member that it can have, so that an answer with one more is not what the document says.

use serde_json::{Map, Value, json};

/// Any text.
pub(super) fn text() -> Value {
    json!({"type": "string"})
}

/// A text of a shape.
pub(super) fn shaped(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// One of some words.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"type": "string", "enum": words.into_iter().collect::<Vec<_>>()})
}

/// A UUID.
pub(super) fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

/// A time, in RFC 3339.
pub(super) fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// A month, such as 2026-01.
pub(super) fn month() -> Value {
    shaped("^[0-9]{4}-[0-9]{2}$")
}

/// Bytes in lower-case hex.
pub(super) fn hex(bytes: usize) -> Value {
    shaped(&format!("^[0-9a-f]{{{}}}$", 2 * bytes))
}

/// Bytes in base64.
pub(super) fn base64() -> Value {
    json!({"type": "string", "contentEncoding": "base64"})
}

/// How many.
pub(super) fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// A number within bounds, both within.
pub(super) fn number(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// A percentage with one decimal.
pub(super) fn percent() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 100})
}

/// Yes or no.
pub(super) fn flag() -> Value {
    json!({"type": "boolean"})
}

/// Yes or no in a query.
pub(super) fn switch() -> Value {
    one_of(["true", "false", "1", "0"])
}

/// Any JSON.
pub(super) fn any() -> Value {
    json!({})
}

/// Why personal data is shown: one line of 5 to 500 characters.
pub(super) fn reason() -> Value {
    const CONTROL: &str = "\\u0000-\\u001f\\u007f-\\u009f";
    shaped(&format!("^ *[^\\s{CONTROL}][^{CONTROL}]{{3,498}}[^\\s{CONTROL}] *$"))
}

/// A list of something.
pub(super) fn list(item: Value) -> Value {
    json!({"type": "array", "items": item})
}

/// An object whose members are named by data, each of them such a value.
pub(super) fn map(value: Value) -> Value {
    json!({"type": "object", "additionalProperties": value})
}

/// A schema of the document by its name.
pub(super) fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The same, or null.
pub(super) fn nullable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// The same with words for it.
pub(super) fn about(mut schema: Value, words: &str) -> Value {
    schema["description"] = words.into();
    schema
}

/// An object of these members, all of them there.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    object_with(members, [])
}

/// The same with members that can be missing.
pub(super) fn object_with<'a>(
    members: impl IntoIterator<Item = (&'a str, Value)>,
    optional: impl IntoIterator<Item = (&'a str, Value)>,
) -> Value {
    let mut properties: Map<String, Value> = owned(members);
    let required: Vec<String> = properties.keys().cloned().collect();
    properties.extend(owned(optional));
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn owned<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Map<String, Value> {
    members.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
