//! Text with wildcards.

/// A text that a value is matched with as a whole; a wildcard stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// What stands between the wildcards: one part without any, only the first and the last may be empty.
    parts: Vec<String>,
}

impl Pattern {
    /// A text without wildcards; none if it is empty or holds a NUL, which no stored text does.
    pub fn exactly(text: impl Into<String>) -> Option<Self> {
        Self::of(vec![text.into()])
    }

    /// A pattern of what stands between its wildcards; none if that is nothing at all, or holds a NUL.
    pub fn of(parts: Vec<String>) -> Option<Self> {
        let last = parts.len().checked_sub(1)?;
        if parts.iter().any(|part| part.contains('\0')) || (last == 0 && parts[0].is_empty()) {
            return None;
        }
        let inner = |at: usize, part: &str| at == 0 || at == last || !part.is_empty();
        let kept = parts.into_iter().enumerate().filter(|(at, part)| inner(*at, part));
        Some(Self { parts: kept.map(|(_, part)| part).collect() })
    }

    /// What stands between the wildcards.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The text, if there is no wildcard.
    pub fn exact(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [text] => Some(text),
            _ => None,
        }
    }

    /// The beginning, if the only wildcard stands at the end.
    pub fn prefix(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [start, end] if end.is_empty() => Some(start),
            _ => None,
        }
    }

    /// Whether it is one wildcard, which any value matches.
    pub fn is_any(&self) -> bool {
        self.prefix() == Some("")
    }
}
