//! What readers see on a terminal: tables, and queries with what is wrong in them underlined.

use std::fmt::Write as _;

use serde_json::Value;
use shared::search::{Diagnostic, parse};

use super::CommandError;

/// The longest cell that is shown whole.
const MAX_CELL: usize = 60;

/// A text of which no sign can move the cursor or colour the screen: what is shown was written by others.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Rows under their heads, in columns.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |row: &[String]| row.iter().map(|cell| shortened(&plain(cell))).collect::<Vec<_>>();
    let mut lines = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| cells(row)));
    let width = |at: usize| {
        lines.iter().map(|line| line.get(at).map_or(0, |it| it.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_CELL {
        return text.to_owned();
    }
    text.chars().take(MAX_CELL - 1).chain(['…']).collect()
}

/// The heads of a table of events.
pub(super) const EVENT_HEADS: [&str; 6] = ["TIME", "SEVERITY", "OUTCOME", "ACTION", "ACTOR", "ENTITY"];

/// An event of the API as a row under [`EVENT_HEADS`].
pub(super) fn event(event: &Value) -> Vec<String> {
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let first = |paths: &[&str]| paths.iter().map(|path| text(path)).find(|it| !it.is_empty()).unwrap_or("-");
    let entity = match (text("/entity/type"), first(&["/entity/name", "/entity/id"])) {
        ("", _) => "-".to_owned(),
        (kind, "-") => kind.to_owned(),
        (kind, name) => format!("{kind} {name}"),
    };
    vec![
        text("/occurred_at").to_owned(),
        text("/severity").to_owned(),
        text("/outcome").to_owned(),
        text("/action").to_owned(),
        first(&["/actor/email", "/actor/id", "/pseudonym", "/claimed_user/id"]).to_owned(),
        entity,
    ]
}

/// Checks a query before anybody is asked: what is wrong with it is shown under it.
///
/// # Errors
/// [`CommandError::Usage`] if something is.
pub(super) fn understood(query: &str) -> Result<(), CommandError> {
    let parsed = parse(query);
    if parsed.diagnostics.is_empty() {
        return Ok(());
    }
    eprint!("{}", underlined(query, &parsed.diagnostics));
    Err(CommandError::Usage("the query is not understood".to_owned()))
}

fn underlined(query: &str, diagnostics: &[Diagnostic]) -> String {
    let columns = |end: usize| query.get(..end).map_or(0, |before| before.chars().count());
    let mut out = format!("  {}\n", plain(query));
    for diagnostic in diagnostics {
        let (start, end) = (columns(diagnostic.start), columns(diagnostic.end));
        let marks = "^".repeat(end.saturating_sub(start).max(1));
        let _ = writeln!(out, "  {}{marks} {}", " ".repeat(start), plain(&diagnostic.message));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_underlined_where_it_stands() {
        let query = "é severty:info";
        let shown = underlined(query, &parse(query).diagnostics);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "  é severty:info");
        assert!(lines[1].starts_with("    ^^^^^^^"), "{shown}");
        assert!(lines[1].ends_with("did you mean severity?"), "{shown}");
    }

    #[test]
    fn nothing_that_was_recorded_can_move_the_cursor() {
        let shown = table(&["A"], &[vec!["x\u{1b}[2J\ny".to_owned()]]);
        assert_eq!(shown, "A\nx\u{fffd}[2J\u{fffd}y\n");
    }
}
