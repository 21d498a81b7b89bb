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
    let length = word.chars().take(MAX_WORD + 1).count();
    let allowed = match length {
        1..=4 => 1,
        5 => 2,
        6..=MAX_WORD => 3,
        _ => return None,
    };
    let far = |candidate: &str| {
        if length >= 3 && candidate.starts_with(word) {
            return Some(1);
        }
        let may_be_near = candidate.chars().count().abs_diff(length) <= allowed;
        let far = may_be_near.then(|| strsim::osa_distance(word, candidate));
        far.filter(|far| *far <= allowed)
    };
    let near = words.into_iter().filter_map(|candidate| Some((far(candidate)?, candidate)));
    near.min_by_key(|(far, _)| *far).map(|(_, candidate)| candidate)
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
