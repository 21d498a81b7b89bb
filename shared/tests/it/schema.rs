//! The JSON Schema of packs, held against the reader of packs, against the packs, and against the guide.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::policy::{Expr, Function, Pack, Router};

use crate::packs::{APP, SUPABASE};

const GUIDE: &str = include_str!("../../../docs/own-pack.md");

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../edge/packs/schema.json")).expect("JSON")
}

/// The guide's blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    GUIDE
        .split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .map(str::to_owned)
        .collect()
}

/// What a value breaks of a schema, as far as the schema of packs uses the vocabulary.
fn breaches(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let mut breach = |why: String| found.push(format!("{at}: {why}"));
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).expect("a definition");
        return breaches(root, target, value, at, found);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = options.iter().any(|option| {
            let mut own = Vec::new();
            breaches(root, option, value, at, &mut own);
            own.is_empty()
        });
        if !fits {
            breach("none of the options fits".to_owned());
        }
        return;
    }
    if schema.get("const").is_some_and(|only| only != value) {
        breach(format!("it is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        breach(format!("{value} is none of {}", schema["enum"]));
    }
    let of_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !of_type {
        return breach(format!("{value} is no {}", schema["type"]));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !matches(pattern, text)
    {
        found.push(format!("{at}: {text:?} is not {pattern}"));
        return;
    }
    let size = |limit: &str| schema[limit].as_u64();
    let length = match value {
        Value::String(text) => (text.chars().count(), "minLength", "maxLength"),
        Value::Array(items) => (items.len(), "minItems", "maxItems"),
        Value::Object(members) => (members.len(), "minProperties", "maxProperties"),
        other => (usize::try_from(other.as_u64().unwrap_or(0)).expect("small"), "minimum", "maximum"),
    };
    let count = u64::try_from(length.0).expect("small");
    if size(length.1).is_some_and(|least| count < least) || size(length.2).is_some_and(|most| count > most) {
        breach(format!("{count} is out of bounds"));
    }
    if let Some(items) = value.as_array() {
        for (number, item) in items.iter().enumerate() {
            breaches(root, &schema["items"], item, &format!("{at}/{number}"), found);
        }
    }
    if let Some(members) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                found.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, member) in members {
            let at = format!("{at}/{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(own), _) => breaches(root, own, member, &at, found),
                (None, Value::Object(_)) => {
                    breaches(root, &schema["additionalProperties"], member, &at, found);
                }
                (None, Value::Bool(false)) => found.push(format!("{at}: there is no such member")),
                (None, _) => {}
            }
        }
    }
}

/// The few patterns that the schema uses.
fn matches(pattern: &str, text: &str) -> bool {
    let upper = |byte: u8| byte.is_ascii_uppercase();
    let all =
        |fits: &dyn Fn(u8) -> bool, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(fits);
    match pattern {
        "^[A-Z]+$" => all(&upper, usize::MAX),
        "^/" => text.starts_with('/'),
        "^[A-Z0-9_]{1,64}$" => all(&|byte| upper(byte) || byte.is_ascii_digit() || byte == b'_', 64),
        "^[A-Z0-9]{1,16}$" => all(&|byte| upper(byte) || byte.is_ascii_digit(), 16),
        "^[a-z0-9_]{1,64}$" => {
            all(&|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_', 64)
        }
        "^[A-Za-z0-9_]{1,63}$" => all(&|byte| byte.is_ascii_alphanumeric() || byte == b'_', 63),
        "^/[A-Za-z0-9/_.{}-]*$" => {
            text.starts_with('/')
                && all(&|byte| byte.is_ascii_alphanumeric() || b"/_.{}-".contains(&byte), usize::MAX)
        }
        other => panic!("the pattern {other} is not known here"),
    }
}

fn breaches_of(text: &str) -> Vec<String> {
    let (schema, value) = (schema(), serde_json::from_str(text).expect("JSON"));
    let mut found = Vec::new();
    breaches(&schema, &schema, &value, "", &mut found);
    found
}

#[test]
fn the_packs_that_are_compiled_in_fit_the_schema() {
    assert_eq!(breaches_of(APP), [""; 0]);
    assert_eq!(breaches_of(SUPABASE), [""; 0]);
}

#[test]
fn every_example_of_the_guide_is_a_pack_and_fits_the_schema() {
    let examples = blocks("json");
    assert!(examples.len() >= 6, "{}", examples.len());
    for text in examples {
        let pack = Pack::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Router::compile(vec![pack]).expect("routable");
        assert_eq!(breaches_of(&text), [""; 0], "{text}");
    }
}

#[test]
fn the_guide_shows_an_expression_for_every_source_and_every_function() {
    let rows = GUIDE.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 2);
    let mut shown = String::new();
    for row in rows {
        let example = row.trim_end_matches([' ', '|', '`']).rsplit('`').next().expect("an example");
        example.parse::<Expr>().unwrap_or_else(|error| panic!("{error}"));
        shown += example;
        shown.push('\n');
    }
    for (name, _, _) in Function::ALL {
        assert!(shown.contains(&format!("{name}(")), "{name}");
    }
    for source in [
        "request:/",
        "response:/",
        "before:/",
        "changed:",
        "request-header:",
        "response-header:",
        "path:",
        "query:",
        "filter:",
        "claim:",
        "status",
        "rows",
        "client",
        "request-text",
        "response-text",
    ] {
        assert!(shown.lines().any(|line| line.starts_with(source)), "{source}");
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    for (member, wrong) in [
        ("level", json!("everything")),
        ("action", json!("lower case")),
        ("capture_bytes", json!(2_000_000)),
        ("match", json!({"method": "put", "path": "/a"})),
        ("match", json!({"method": "PUT", "path": "a"})),
        ("before", json!({"rows": false})),
        ("before", json!({"get": "https://elsewhere.example/"})),
        ("changes", json!({"request": "request:"})),
        ("levle", json!("full")),
    ] {
        let mut pack = sample();
        pack["rules"][0][member] = wrong;
        let text = pack.to_string();
        assert!(Pack::parse(&text).is_err(), "{text}");
        assert!(!breaches_of(&text).is_empty(), "{text}");
    }
}

/// A pack with every member that has members.
fn sample() -> Value {
    json!({
        "name": "p", "version": 1,
        "defaults": {"on_failure": {"severity": "info"}, "outcome": {"reason": "r"}},
        "rules": [{
            "id": "r", "match": {"method": "PUT", "path": "/a"}, "level": "full", "action": "A", "severity": "info",
            "entity": {"type": "x"}, "actions": [{"when": "true", "is": "B"}],
            "severities": [{"when": "true", "is": "info"}], "changes": {"fields": ["f"]},
            "acts_for": {"action": "A", "severity": "info", "entity": "x"},
        }],
    })
}

/// The members that the reader knows at a place: its own words about one that it does not know.
fn known_to_the_reader(pointer: &str) -> BTreeSet<String> {
    let mut pack = sample();
    let place = pack.pointer_mut(pointer).expect("a place");
    place["unheard_of"] = json!(1);
    let error = Pack::parse(&pack.to_string()).expect_err("refused").to_string();
    let words = error.split("expected").nth(1).expect("what was expected");
    words.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_schema_names_exactly_the_members_that_the_reader_knows() {
    let schema = schema();
    for (place, definition) in [
        ("", ""),
        ("/defaults", "/properties/defaults"),
        ("/defaults/on_failure", "/$defs/on_failure"),
        ("/defaults/outcome", "/$defs/outcome"),
        ("/rules/0", "/$defs/rule"),
        ("/rules/0/match", "/$defs/match"),
        ("/rules/0/entity", "/$defs/rule/properties/entity"),
        ("/rules/0/actions/0", "/$defs/rule/properties/actions/items"),
        ("/rules/0/severities/0", "/$defs/rule/properties/severities/items"),
        ("/rules/0/changes", "/$defs/changes"),
        ("/rules/0/acts_for", "/$defs/rule/properties/acts_for"),
    ] {
        let own = schema.pointer(definition).expect("a definition");
        let named: BTreeSet<String> =
            own["properties"].as_object().expect("members").keys().cloned().collect();
        assert_eq!(named, known_to_the_reader(place), "{place}");
    }
}

#[test]
fn each_form_of_the_old_side_takes_its_own_members_and_no_others() {
    for (form, more) in [
        (json!({"rows": true}), vec![("select", json!(["a"]))]),
        (json!({"table": "t", "filters": {"id": "path:id"}, "select": ["a"]}), vec![]),
        (json!({"get": "/a"}), vec![("at", json!("/b"))]),
    ] {
        let with = |name: &str, value: &Value| {
            let mut pack = sample();
            pack["rules"][0]["before"] = form.clone();
            if !name.is_empty() {
                pack["rules"][0]["before"][name] = value.clone();
            }
            pack.to_string()
        };
        for (name, value) in more.into_iter().chain([("", Value::Null)]) {
            let text = with(name, &value);
            assert!(Pack::parse(&text).is_ok() && breaches_of(&text).is_empty(), "{text}");
        }
        let text = with("unheard_of", &json!(1));
        assert!(Pack::parse(&text).is_err() && !breaches_of(&text).is_empty(), "{text}");
    }
}
