//! Syslog (RFC 5424): the event as JSON, and what one filters by as structured data.

use std::fmt::Write as _;

use shared::event::Severity;

use super::Told;

/// "log audit" of RFC 5424.
const FACILITY: u8 = 13;
/// Structured data of ours; the number is the one for documentation, as we have none of our own.
const ID: &str = "edgetrail@32473";
/// The longest HOSTNAME and MSGID.
const MAX: (usize, usize) = (255, 32);

/// An event as a message: its JSON in ASCII, so that no byte order mark is due.
pub(super) fn message(told: &Told<'_>) -> Vec<u8> {
    let mut text = format!("{} {} ", head(told), data(told));
    let event = serde_json::to_string(&told.shown()).expect("an event is JSON");
    for letter in event.chars() {
        if letter.is_ascii() {
            text.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text.into_bytes()
}

/// Everything before the structured data.
pub(super) fn head(told: &Told<'_>) -> String {
    let event = &told.row.event;
    let level = match event.severity {
        Severity::Critical => 2,
        Severity::Warning => 4,
        Severity::Info => 6,
    };
    let name = |text: &str, max: usize| {
        let name: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
        if name.is_empty() { "-".to_owned() } else { name }
    };
    format!(
        "<{}>1 {} {} edgetrail - {}",
        FACILITY * 8 + level,
        event.occurred_at,
        name(told.host, MAX.0),
        name(event.action.as_str(), MAX.1)
    )
}

/// The structured data.
pub(super) fn data(told: &Told<'_>) -> String {
    let event = &told.row.event;
    let id = event.id.to_string();
    let mut pairs = vec![
        ("id", id.as_str()),
        ("tenant", event.tenant.as_str()),
        ("action", event.action.as_str()),
        ("severity", event.severity.word()),
        ("outcome", event.outcome.word()),
    ];
    if told.is_truncated {
        pairs.push(("truncated", "true"));
    }
    let mut text = format!("[{ID}");
    for (name, value) in pairs {
        let _ = write!(text, " {name}=\"{}\"", escaped(value));
    }
    text.push(']');
    text
}

/// A value as it stands between quotes.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn what_ends_a_value_is_escaped() {
        assert_eq!(escaped(r#"a"b\c]d"#), r#"a\"b\\c\]d"#);
    }

    #[test]
    fn a_message_is_ascii_and_its_json_is_the_event() {
        let mut event = sample::event();
        event.entity.as_mut().expect("an entity").name = Some("Zo\u{eb} \u{1f600}\n".to_owned());
        let row = sample::row(&event);
        let text = String::from_utf8(message(&Told { row: &row, host: "a b\u{e9}c", is_truncated: false }));
        let text = text.expect("text");
        assert!(text.is_ascii() && !text.contains('\n'), "{text}");
        assert!(text.starts_with("<108>1 2026-09-21T"), "{text}");
        assert!(text.contains(" abc edgetrail - AGENT_UPDATED ["), "{text}");
        let json = &text[text.find("] {").expect("JSON") + 2..];
        let read: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(read["entity"]["name"], "Zo\u{eb} \u{1f600}\n");
    }
}
