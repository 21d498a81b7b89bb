//! What may leave the edge.
//!
//! Only values that a rule names get here at all (default-deny). Of those, what looks like a secret is masked, by the
//! [name](names) it stands under and by its [shape](shapes), through nested objects and through JSON and URLs inside
//! strings. Long texts are shortened. A masked value stays visible as masked.

mod names;
mod shapes;

pub use names::is_secret_name;
pub use shapes::scrub;

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::gather::gathered;

/// What stands in place of a value under a secret name.
pub const MASK: &str = "[masked]";

/// Characters of one text that are kept.
const MAX_TEXT_CHARS: usize = 1_000;

/// Nesting that is kept; what is deeper is masked whole.
const MAX_DEPTH: usize = 16;

/// Bytes of a member's name that are kept.
const MAX_NAME_LEN: usize = 200;

/// Items of one array or members of one object that are kept.
const MAX_ITEMS: usize = 100;

/// The value as it may leave the edge; `name` is what it stands under.
pub fn value(name: &str, value: &Value) -> Value {
    redact(name, value, 0)
}

/// Whether the value may not be seen under that name.
pub(crate) fn masks(name: &str, value: &Value) -> bool {
    is_secret_name(name) && names::masks(name, value)
}

/// A text as it may leave the edge: secrets masked, control characters gone, shortened to `max_bytes`.
pub fn text(text: &str, max_bytes: usize) -> String {
    shorten_bytes(clean(scrub(head(text, 4 * max_bytes))), max_bytes)
}

/// The beginning that is looked at: what is cut off here is cut off in the end anyway, and a secret that reaches over
/// the cut is masked up to it. Without it a hostile text would cost more than its event is worth.
fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The text without control characters (a store cannot hold NUL), as it is otherwise.
pub fn clean<'t>(text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
    let text = text.into();
    // The others outside ASCII begin with this byte.
    let may_be_control = |byte: u8| byte.is_ascii_control() || byte == 0xc2;
    if !text.bytes().any(may_be_control) {
        return text;
    }
    text.chars().filter(|char| !char.is_control() || matches!(char, '\n' | '\t')).collect()
}

/// The text cut to at most `max` bytes at a character's boundary.
pub fn shorten_bytes<'t>(text: impl Into<Cow<'t, str>>, max: usize) -> String {
    match text.into() {
        Cow::Borrowed(text) => text[..text.floor_char_boundary(max)].to_owned(),
        Cow::Owned(mut text) => {
            text.truncate(text.floor_char_boundary(max));
            text
        }
    }
}

fn redact(name: &str, value: &Value, depth: usize) -> Value {
    if masks(name, value) {
        return Value::String(MASK.to_owned());
    }
    match value {
        Value::String(text) => Value::String(redact_text(text, depth)),
        Value::Array(items) if depth < MAX_DEPTH => {
            let mut kept: Vec<Value> =
                items.iter().take(MAX_ITEMS).map(|item| redact(name, item, depth + 1)).collect();
            if items.len() > MAX_ITEMS {
                kept.push(Value::String(format!("… {} more", items.len() - MAX_ITEMS)));
            }
            Value::Array(kept)
        }
        Value::Object(members) if depth < MAX_DEPTH => Value::Object(redact_members(members, depth)),
        Value::Array(_) | Value::Object(_) => Value::String(MASK.to_owned()),
        Value::Number(number) if shapes::is_card_number(number) => Value::String("[masked:card]".to_owned()),
        scalar => scalar.clone(),
    }
}

fn redact_members(members: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    let redacted = members
        .iter()
        .take(MAX_ITEMS)
        .map(|(name, value)| (self::text(name, MAX_NAME_LEN), redact(name, value, depth + 1)));
    let mut kept: Map<String, Value> = gathered(redacted);
    if members.len() > MAX_ITEMS {
        kept.insert("…".to_owned(), Value::String(format!("{} more", members.len() - MAX_ITEMS)));
    }
    kept
}

fn redact_text(text: &str, depth: usize) -> String {
    let nested = text.trim_start();
    if (nested.starts_with('{') || nested.starts_with('['))
        && depth < MAX_DEPTH
        && let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
    {
        let inner = redact("", &inner, depth + 1).to_string();
        return shortened(Cow::Borrowed(&inner), &inner);
    }
    // What is cut off here is cut off in the end anyway; a secret that reaches over the cut is masked to it.
    shortened(clean(scrub(characters(text, 4 * MAX_TEXT_CHARS))), text)
}

/// The first characters of a text.
fn characters(text: &str, count: usize) -> &str {
    if text.len() <= count {
        return text;
    }
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

/// The text if it is short, or else its beginning and how long the whole was.
fn shortened(text: Cow<'_, str>, whole: &str) -> String {
    let kept = characters(&text, MAX_TEXT_CHARS);
    if kept.len() == text.len() {
        return text.into_owned();
    }
    format!("{kept}… [{} characters]", whole.chars().count())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_by_name_at_any_depth_and_in_json_inside_strings() {
        let before = json!({
            "agent_name": "Invoice chaser",
            "config": {"api_key": "short", "nested": [{"Client-Secret": "x"}]},
            "raw": "{\"password\":\"hunter2\",\"mode\":\"on\"}",
            "tokens_used": 12,
        });
        assert_eq!(
            value("agent", &before),
            json!({
                "agent_name": "Invoice chaser",
                "config": {"api_key": MASK, "nested": [{"Client-Secret": MASK}]},
                "raw": "{\"mode\":\"on\",\"password\":\"[masked]\"}",
                "tokens_used": 12,
            })
        );
    }

    #[test]
    fn long_texts_and_long_lists_say_how_long_they_were() {
        let text = value("description", &json!("ä".repeat(1500)));
        assert!(text.as_str().is_some_and(|text| text.ends_with("… [1500 characters]")));
        let list = value("items", &json!((0..150).collect::<Vec<_>>()));
        assert_eq!(list.as_array().map(Vec::len), Some(101));
    }

    #[test]
    fn texts_lose_control_characters_and_keep_whole_characters_when_cut() {
        assert_eq!(text("a\u{0}b\u{1b}[31m", 100), "ab[31m");
        assert_eq!(text("ääää", 5), "ää");
    }
}
