//! Conditions as an interface shows them: taken out of a text and put into it, with the rest as it was written.

use super::parser::parse;
use super::query::Expr;

/// One of the conditions that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// Byte at which it begins.
    pub start: usize,
    /// Byte after it.
    pub end: usize,
    /// What it says.
    pub expr: Expr,
}

/// The text with one more condition at its end; as it was if the condition stands there already. A contrary condition
/// goes: who first keeps a value and then excludes it does not look for nothing.
pub fn add(text: &str, wanted: &Expr) -> String {
    let contrary = wanted.clone().negated();
    let text = remove(text, &contrary);
    if parse(&text).chips.iter().any(|chip| chip.expr == *wanted) {
        return text;
    }
    let printed = match wanted {
        Expr::All(_) => format!("({wanted})"),
        _ => wanted.to_string(),
    };
    let kept = text.trim_end();
    let longer = if kept.is_empty() { printed } else { format!("{kept} {printed}") };
    if parse(&longer).chips.iter().any(|chip| chip.expr == *wanted) {
        longer
    } else {
        // An open quote or an `OR` at the end would swallow it.
        parse(&text).query.and(vec![wanted.clone()]).to_string()
    }
}

/// The text without a condition, wherever among those that must all hold it stands.
pub fn remove(text: &str, unwanted: &Expr) -> String {
    let mut kept = text.to_owned();
    // Once something is gone, what was beyond a limit may be within it: it is looked for anew.
    while let Some(chip) = parse(&kept).chips.iter().rev().find(|chip| chip.expr == *unwanted) {
        let before = kept[..chip.start].trim_end();
        let after = kept[chip.end..].trim_start();
        let space = if before.is_empty() || after.is_empty() { "" } else { " " };
        kept = format!("{before}{space}{after}");
    }
    kept
}
