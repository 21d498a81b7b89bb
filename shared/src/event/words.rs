//! Words of limited shape: actions, entity types, compliance flags, and JSON that was serialised once.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Why a word was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Wrong length or characters.
    #[error("{kind} {word:?} is not {rule}")]
    Shape {
        /// What the word should have been.
        kind: &'static str,
        /// The word.
        word: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(String),
}

macro_rules! word {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $rule:literal, $test:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The word.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = WordError;

            fn try_from(word: String) -> Result<Self, WordError> {
                let test: fn(&[u8]) -> bool = $test;
                if test(word.as_bytes()) {
                    Ok(Self(word))
                } else {
                    Err(WordError::Shape { kind: $kind, word, rule: $rule })
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word! {
    /// An action's name in the application's own spelling: 1 to 64 of `A-Z`, `0-9` and `_`.
    Action, "action", "1 to 64 of A-Z, 0-9 and '_'",
    |bytes| (1..=64).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

word! {
    /// An entity's kind: 1 to 64 of `a-z`, `0-9` and `_`.
    EntityType, "entity type", "1 to 64 of a-z, 0-9 and '_'",
    |bytes| (1..=64).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
}

word! {
    /// A compliance regime, such as `SOC2`: 1 to 16 of `A-Z` and `0-9`.
    ComplianceFlag, "compliance flag", "1 to 16 of A-Z and 0-9",
    |bytes| (1..=16).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// A JSON document as the text that was committed to. It is never serialised again before hashing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JsonText(String);

impl JsonText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses it.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or(serde_json::Value::Null)
    }
}

impl From<&serde_json::Value> for JsonText {
    fn from(value: &serde_json::Value) -> Self {
        Self(value.to_string())
    }
}

impl From<JsonText> for String {
    fn from(text: JsonText) -> Self {
        text.0
    }
}

impl TryFrom<String> for JsonText {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        // As a value: a reader that only skips over it lets lone surrogates, numbers out of range and any depth pass.
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(WordError::Json(error.to_string())),
        }
    }
}
