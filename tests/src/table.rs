//! Events as an aligned table, for people at a terminal.

use serde_json::Value;

/// The widest cell but the last, in characters.
const WIDEST: usize = 34;

const HEAD: [&str; 8] = ["TIME", "ACTION", "OUTCOME", "SEVERITY", "ACTOR", "TRUST", "ENTITY", "CHANGES"];

/// The events in the given order, a line each, under a head.
pub fn events(events: &[Value]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(events.iter().map(row));
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(WIDEST))
        .collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| {
            if at + 1 == HEAD.len() { cell.clone() } else { format!("{:width$}", cut(cell)) }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn row(event: &Value) -> [String; 8] {
    [
        time(&event["occurred_at"]),
        text(&event["action"]),
        text(&event["outcome"]),
        text(&event["severity"]),
        first(&event["actor"], &["email", "id"])
            .or_else(|| first(&event["claimed_user"], &["id"]).map(|claimed| format!("({claimed})")))
            .unwrap_or_else(|| "-".to_owned()),
        text(&event["trust"]),
        entity(&event["entity"]),
        changes(&event["changes"]),
    ]
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn first(value: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| value[name].as_str()).map(str::to_owned)
}

/// Hours to milliseconds of a time in RFC 3339, or of milliseconds since 1970.
fn time(value: &Value) -> String {
    let parsed = match value {
        Value::Number(millis) => millis.as_i64().and_then(chrono::DateTime::from_timestamp_millis),
        other => other.as_str().and_then(|text| text.parse().ok()),
    };
    parsed.map_or_else(|| text(value), |time| time.format("%H:%M:%S%.3f").to_string())
}

fn entity(value: &Value) -> String {
    let kind = first(value, &["type", "kind"]);
    let name = first(value, &["name"]).or_else(|| {
        first(value, &["id"]).map(|id| match id.split_once('-') {
            Some((head, _)) if id.len() == 36 => format!("{head}\u{2026}"),
            _ => id,
        })
    });
    match (kind, name) {
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "-".to_owned(),
    }
}

fn changes(value: &Value) -> String {
    let fields = match &value["fields"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        other => other.clone(),
    };
    let Some(fields) = fields.as_object() else { return "-".to_owned() };
    let fields: Vec<String> =
        fields.iter().map(|(name, change)| format!("{name}: {}", change_of(change))).collect();
    match value["quality"].as_str() {
        Some(quality) => format!("{} [{quality}]", fields.join(", ")),
        None => fields.join(", "),
    }
}

fn change_of(change: &Value) -> String {
    match (change.get("from"), change.get("to")) {
        (Some(from), Some(to)) => format!("{from} \u{2192} {to}"),
        (None, Some(to)) => format!("\u{2192} {to}"),
        _ => change.to_string(),
    }
}

fn cut(cell: &str) -> String {
    if cell.chars().count() <= WIDEST {
        return cell.to_owned();
    }
    cell.chars().take(WIDEST - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up() {
        let list = [
            json!({
                "occurred_at": "2026-11-23T03:21:57.319Z", "action": "AGENT_UPDATED", "outcome": "success",
                "severity": "warning", "actor": { "id": "1", "email": "alice@example.com" }, "trust": "verified",
                "entity": { "type": "agent", "id": "822ea53d-eb27-4f01-948b-dbaa0680b6f6" },
                "changes": { "quality": "partial", "fields": { "status": { "to": "inactive" } } },
            }),
            json!({ "occurred_at": 1_795_404_117_319_u64, "action": "USER_LOGIN_FAILED",
                    "claimed_user": { "id": "bob" } }),
        ];
        let expected = "\
TIME          ACTION             OUTCOME  SEVERITY  ACTOR              TRUST     ENTITY           CHANGES
03:21:57.319  AGENT_UPDATED      success  warning   alice@example.com  verified  agent 822ea53d…  status: → \"inactive\" [partial]
03:21:57.319  USER_LOGIN_FAILED  -        -         (bob)              -         -                -";
        assert_eq!(events(&list), expected);
    }
}
