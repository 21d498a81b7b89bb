//! What can be written at a place: names of fields, then the words that a field takes.

use super::field::Field;

/// What can stand in the place of what is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// Byte at which the word begins.
    pub start: usize,
    /// Byte after what is written of it.
    pub end: usize,
    /// What it could become: `name:` for fields.
    pub words: Vec<String>,
}

/// What the word before `cursor` could become; a cursor inside a character counts as before it. Nothing is offered for
/// fields that take any value: their values are known to the store alone.
pub fn complete(text: &str, cursor: usize) -> Completion {
    let end = text.floor_char_boundary(cursor.min(text.len()));
    let before = &text[..end];
    let is_quoted = before.bytes().filter(|byte| *byte == b'"').count() % 2 == 1;
    if is_quoted {
        return Completion { start: end, end, words: Vec::new() };
    }
    let start = before.rfind(|it: char| it.is_whitespace() || it == '(').map_or(0, |at| after(before, at));
    let word = &before[start..];
    match word.trim_start_matches('-').split_once(':') {
        Some((name, values)) => {
            let written = values.rsplit([',', '>', '<', '=', '.']).next().unwrap_or_default();
            offer(end, written, Field::named(name).map(Field::words).unwrap_or_default())
        }
        None if enclosing_field(&before[..start]).is_some() => {
            let field = enclosing_field(&before[..start]);
            offer(end, word, field.map(Field::words).unwrap_or_default())
        }
        None => {
            let name = word.trim_start_matches('-');
            let mut offered = offer(end, name, Field::names().collect());
            offered.words.iter_mut().for_each(|name| name.push(':'));
            offered
        }
    }
}

fn after(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(0, char::len_utf8)
}

/// The field whose list of values is open at the end of a text: `is:(failed OR `.
fn enclosing_field(before: &str) -> Option<Field> {
    let opened = before.rfind('(').filter(|at| !before[*at..].contains(')'))?;
    let name = before[..opened].strip_suffix(':')?;
    Field::named(name.rsplit(|it: char| !it.is_ascii_alphabetic() && it != '.').next()?)
}

fn offer(end: usize, written: &str, words: Vec<&str>) -> Completion {
    let begun = written.to_lowercase();
    let words = words.into_iter().filter(|word| word.starts_with(&begun)).map(str::to_owned).collect();
    Completion { start: end - written.len(), end, words }
}
