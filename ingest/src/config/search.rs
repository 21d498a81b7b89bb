//! Section `search`: what is done for searches beside what they need.

use super::ConfigError;
use super::reader::Reader;

/// Section `search`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Search {
    /// Whether the words of each closed month are indexed, once it is over since a day.
    pub text_index: bool,
}

impl Search {
    pub(super) fn read(keys: &mut Reader) -> Result<Self, ConfigError> {
        Ok(Self { text_index: keys.or("search.text_index", false)? })
    }
}
