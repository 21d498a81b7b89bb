//! The API's documentation: the served document, read into chapters.

use std::sync::LazyLock;

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::frame::{Frame, Shown, page};
use super::reader::Visitor;
use crate::api::openapi;

/// Operations of one tag.
#[derive(Debug)]
struct Chapter {
    title: String,
    words: String,
    operations: Vec<Operation>,
}

#[derive(Debug)]
struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    /// Paragraphs.
    details: Vec<String>,
    parameters: Vec<Parameter>,
    bodies: Vec<Content>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    place: String,
    is_required: bool,
    shape: String,
    words: String,
}

/// A media type, and what it holds.
#[derive(Debug)]
struct Content {
    media: String,
    shape: String,
}

#[derive(Debug)]
struct Answer {
    status: String,
    words: String,
    contents: Vec<Content>,
}

/// A schema that has a name.
#[derive(Debug)]
struct Named {
    name: String,
    members: Vec<Member>,
    /// What it is, where it is no object.
    shape: String,
}

#[derive(Debug)]
struct Member {
    name: String,
    is_optional: bool,
    shape: String,
    words: String,
}

#[derive(Debug)]
struct Documentation {
    about: Vec<String>,
    chapters: Vec<Chapter>,
    schemas: Vec<Named>,
}

#[derive(Debug, Template)]
#[template(path = "docs.html")]
struct DocsPage<'d> {
    frame: Frame,
    docs: &'d Documentation,
}

/// For anybody: it says what can be asked, and nothing of anybody's.
pub(super) async fn show(visitor: Result<Visitor, Response>, headers: HeaderMap) -> Response {
    static DOCS: LazyLock<Documentation> = LazyLock::new(|| Documentation::read(&openapi::document()));
    let shown = visitor.map_or_else(|_| Shown::of(&headers), |visitor| visitor.shown);
    let frame = Frame::new("API", None, &shown);
    page(StatusCode::OK, &DocsPage { frame, docs: &DOCS })
}

impl Documentation {
    fn read(document: &Value) -> Self {
        let paths = || members(&document["paths"]);
        let operations = || {
            paths().flat_map(|(path, methods)| {
                members(methods).map(move |(method, operation)| (path, method, operation))
            })
        };
        let chapters = items(&document["tags"]).map(|tag| Chapter {
            title: text(&tag["name"]),
            words: text(&tag["description"]),
            operations: operations()
                .filter(|(_, _, operation)| operation["tags"][0] == tag["name"])
                .map(|(path, method, operation)| Operation::read(document, path, method, operation))
                .collect(),
        });
        Self {
            about: paragraphs(&document["info"]["description"]),
            chapters: chapters.collect(),
            schemas: members(&document["components"]["schemas"])
                .map(|(name, schema)| Named::read(name, schema))
                .collect(),
        }
    }
}

impl Operation {
    fn read(document: &Value, path: &str, method: &str, operation: &Value) -> Self {
        let found = |answer: &Value| match answer["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
            Some(pointer) => document.pointer(pointer).unwrap_or(&Value::Null).clone(),
            None => answer.clone(),
        };
        Self {
            id: text(&operation["operationId"]),
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            details: paragraphs(&operation["description"]),
            parameters: items(&operation["parameters"]).map(Parameter::read).collect(),
            bodies: contents(&operation["requestBody"]),
            answers: members(&operation["responses"])
                .map(|(status, answer)| (status, found(answer)))
                .map(|(status, answer)| Answer {
                    status: status.to_owned(),
                    words: text(&answer["description"]),
                    contents: contents(&answer),
                })
                .collect(),
        }
    }
}

impl Parameter {
    fn read(parameter: &Value) -> Self {
        Self {
            name: text(&parameter["name"]),
            place: text(&parameter["in"]),
            is_required: parameter["required"] == true,
            shape: shape(&parameter["schema"]),
            words: text(&parameter["description"]),
        }
    }
}

impl Named {
    fn read(name: &str, schema: &Value) -> Self {
        let is_needed = |name: &str| items(&schema["required"]).any(|needed| needed == name);
        let of_object = members(&schema["properties"]).map(|(name, schema)| Member {
            name: name.to_owned(),
            is_optional: !is_needed(name),
            shape: shape(schema),
            words: text(&schema["description"]),
        });
        Self { name: name.to_owned(), members: of_object.collect(), shape: shape(schema) }
    }
}

fn contents(of: &Value) -> Vec<Content> {
    members(&of["content"])
        .map(|(media, content)| Content { media: media.to_owned(), shape: shape(&content["schema"]) })
        .collect()
}

/// A schema in few words.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(text).collect::<Vec<_>>().join(" | ");
    }
    if !schema["const"].is_null() {
        return schema["const"].to_string();
    }
    if schema["anyOf"].is_array() {
        return items(&schema["anyOf"]).map(shape).collect::<Vec<_>>().join(", or ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", shape(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("{{name: {}}}", shape(&schema["additionalProperties"]))
        }
        Some("object") => {
            let names = members(&schema["properties"]).map(|(name, _)| name);
            format!("{{{}}}", names.collect::<Vec<_>>().join(", "))
        }
        Some("string") => schema["format"].as_str().unwrap_or("text").to_owned(),
        Some("integer") => match (&schema["minimum"], &schema["maximum"]) {
            (least, most) if least.is_number() && most.is_number() => format!("{least} to {most}"),
            _ => "number".to_owned(),
        },
        Some("boolean") => "true or false".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

fn members(of: &Value) -> impl Iterator<Item = (&str, &Value)> {
    of.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn items(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

fn text(of: &Value) -> String {
    of.as_str().unwrap_or_default().to_owned()
}

fn paragraphs(of: &Value) -> Vec<String> {
    text(of).split("\n\n").filter(|it| !it.is_empty()).map(str::to_owned).collect()
}
