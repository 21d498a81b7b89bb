//! What is wrong with a text, and where.

use serde::Serialize;

/// A part of a text that was not understood and does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Byte at which the part begins.
    pub start: usize,
    /// Byte after the part; never inside a character.
    pub end: usize,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What could stand there instead, if something is near.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Diagnostic {
    pub(super) fn new((start, end): (usize, usize), message: impl Into<String>) -> Self {
        Self { start, end, message: message.into(), suggestion: None }
    }

    /// With the nearest of some words, if one is near enough to be meant.
    pub(super) fn near<'a>(mut self, word: &str, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.suggestion = nearest(&word.to_lowercase(), words).map(str::to_owned);
        if let Some(meant) = &self.suggestion {
            self.message = format!("{}; did you mean {meant}?", self.message);
        }
        self
    }
}

/// Longer words are not compared: nobody misspells one into a field's name.
const MAX_WORD: usize = 32;

fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters: Vec<char> = word.chars().take(MAX_WORD + 1).collect();
    if letters.is_empty() || letters.len() > MAX_WORD {
        return None;
    }
    let allowed = match letters.len() {
        ..=4 => 1,
        5 => 2,
        _ => 3,
    };
    words
        .into_iter()
        .map(|candidate| {
            let begins = letters.len() >= 3 && candidate.starts_with(word);
            let far = if begins { 1 } else { distance(&letters, &candidate.chars().collect::<Vec<_>>()) };
            (far, candidate)
        })
        .filter(|(far, _)| *far <= allowed)
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// Letters put in, left out, changed, or swapped with their neighbour.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut least = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = core::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_near_and_another_word_is_not() {
        let words = ["severity", "session", "status", "ip"];
        for (word, near) in [
            ("severty", Some("severity")),
            ("sevreity", Some("severity")),
            ("sev", Some("severity")),
            ("stauts", Some("status")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), near, "{word}");
        }
    }
}
