//! Outcome, severity and retention class: small closed sets with one byte each in the structural record.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares a closed set with a wire byte and a word for each member.
macro_rules! closed_set {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $member:ident = $byte:literal => $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $member = $byte),+
        }

        impl $name {
            /// Every member, in ascending order of its byte.
            pub const ALL: &'static [Self] = &[$(Self::$member),+];

            /// The byte that stands for it in records.
            pub fn byte(self) -> u8 {
                self as u8
            }

            /// The member a byte stands for.
            pub fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$member),)+
                    _ => None,
                }
            }

            /// The word that stands for it in APIs and searches.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$member => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $name {
            type Err = String;

            /// The error lists the words that are understood.
            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$member),)+
                    other => Err(format!("{other:?} is not one of {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use closed_set;

closed_set! {
    /// What became of the act. A guess is not an outcome: what cannot be told is `unknown`.
    Outcome {
        /// The act was done.
        Success = 1 => "success",
        /// The act was refused or failed.
        Failure = 2 => "failure",
        /// The exchange does not tell.
        Unknown = 3 => "unknown",
    }
}

closed_set! {
    /// How much an event matters, in the application's own three steps.
    Severity {
        /// Ordinary.
        Info = 1 => "info",
        /// Worth a look.
        Warning = 2 => "warning",
        /// Security or privacy relevant; kept seven years.
        Critical = 3 => "critical",
    }
}

closed_set! {
    /// How long an event is kept.
    RetentionClass {
        /// 365 days.
        Standard = 0 => "standard",
        /// Seven years.
        Critical = 1 => "critical",
        /// As long as the log: records of erasures, drops, gaps and holds.
        Permanent = 2 => "permanent",
    }
}

impl From<Severity> for RetentionClass {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Self::Critical,
            Severity::Info | Severity::Warning => Self::Standard,
        }
    }
}
