//! CEF, the Common Event Format of ArcSight (version 0), in a message of syslog.

use std::fmt::Write as _;
use std::net::IpAddr;

use shared::event::{JsonText, Severity};

use super::{Told, message as words, syslog};

/// An event as a message.
pub(super) fn message(told: &Told<'_>) -> Vec<u8> {
    let event = &told.row.event;
    let severity = match event.severity {
        Severity::Info => 3,
        Severity::Warning => 6,
        Severity::Critical => 10,
    };
    let mut text = format!(
        "{} {} CEF:0|Edgetrail|Edgetrail|{}|{}|{}|{severity}|",
        syslog::head(told),
        syslog::data(told),
        env!("CARGO_PKG_VERSION"),
        in_head(event.action.as_str()),
        in_head(&words(event)),
    );
    let extension: Vec<String> =
        pairs(told).into_iter().map(|(key, value)| format!("{key}={}", in_extension(&value))).collect();
    // Writing to a string does not fail.
    let _ = write!(text, "{}", extension.join(" "));
    text.into_bytes()
}

fn pairs(told: &Told<'_>) -> Vec<(&'static str, String)> {
    let (event, erased) = (&told.row.event, &told.row.erased);
    let mut pairs = vec![
        ("externalId", event.id.to_string()),
        ("rt", event.occurred_at.millis().to_string()),
        ("act", event.action.to_string()),
        ("outcome", event.outcome.word().to_owned()),
        ("dhost", event.request.host.clone()),
        ("requestMethod", event.request.method.clone()),
        ("request", event.request.route.clone()),
    ];
    let mut put = |key: &'static str, value: Option<String>| {
        if let Some(value) = value {
            pairs.push((key, value));
        }
    };
    match event.context.ip {
        Some(IpAddr::V4(ip)) => put("src", Some(ip.to_string())),
        Some(IpAddr::V6(ip)) => {
            put("c6a2Label", Some("Source IPv6 Address".to_owned()));
            put("c6a2", Some(ip.to_string()));
        }
        None => {}
    }
    let actor = event.actor.as_ref();
    put("suid", actor.map(|actor| actor.id.clone()));
    put("suser", actor.and_then(|actor| actor.email.clone()));
    put("requestClientApplication", event.context.user_agent.clone());
    put("reason", event.reason.clone());
    let entity = event.entity.as_ref();
    let mut labelled = |keys: (&'static str, &'static str), label: &str, value: Option<String>| {
        if let Some(value) = value {
            pairs.push((keys.0, label.to_owned()));
            pairs.push((keys.1, value));
        }
    };
    labelled(("cs1Label", "cs1"), "tenant", Some(event.tenant.to_string()));
    labelled(("cs2Label", "cs2"), "entityType", entity.map(|entity| entity.kind.to_string()));
    labelled(("cs3Label", "cs3"), "entityId", entity.and_then(|entity| entity.id.clone()));
    labelled(("cs4Label", "cs4"), "trust", Some(event.trust.word().to_owned()));
    labelled(("cs5Label", "cs5"), "session", event.context.session.clone());
    let mut notes = Vec::new();
    if told.is_truncated {
        notes.push("truncated".to_owned());
    }
    if !erased.is_empty() {
        notes.push(format!("erased:{}", erased.join(",")));
    }
    labelled(("cs6Label", "cs6"), "notes", (!notes.is_empty()).then(|| notes.join(" ")));
    let text = |text: &JsonText| text.value().to_string();
    labelled(("flexString1Label", "flexString1"), "details", event.details.as_ref().map(text));
    let changes = event.changes.as_ref();
    labelled(("flexString2Label", "flexString2"), "changes", changes.map(|it| text(&it.fields)));
    pairs
}

/// A text in the head: what ends a part is escaped, and a line break, which may not be there, is a blank.
fn in_head(text: &str) -> String {
    let plain = text.replace('\\', "\\\\").replace('|', "\\|");
    plain.replace(['\r', '\n'], " ")
}

/// A value of the extension.
fn in_extension(text: &str) -> String {
    text.replace('\\', "\\\\").replace('=', "\\=").replace('\r', "\\r").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_signs_of_the_format_are_escaped_where_they_would_mean_something() {
        assert_eq!(in_head("a|b\\c=d\ne"), "a\\|b\\\\c=d e");
        assert_eq!(in_extension("a|b\\c=d\r\ne"), "a|b\\\\c\\=d\\r\\ne");
    }

    #[test]
    fn nothing_that_was_recorded_makes_a_key_or_a_line_of_its_own() {
        let mut event = sample::event();
        event.actor.as_mut().expect("an actor").id = "x outcome=failure\nCEF:0|a|".to_owned();
        event.context.ip = Some("2001:db8::1".parse().expect("an address"));
        let row = sample::row(&event);
        let text = message(&Told { row: &row, host: "audit.example.com", is_truncated: false });
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("suid=x outcome\\=failure\\nCEF:0|a| "), "{text}");
        assert!(text.contains("c6a2Label=Source IPv6 Address c6a2=2001:db8::1"), "{text}");
        assert!(!text.contains('\n') && !text.contains("src="), "{text}");
    }
}
