//! Section `detection`: which rules look at the events.

use std::path::PathBuf;

use super::ConfigError;
use super::reader::Reader;
use crate::detect::{Rule, SHIPPED, rule};

/// Section `detection`.
#[derive(Debug, Clone)]
pub struct Detection {
    /// The rules: those that come along, unless `detection.shipped` is false, and those of `detection.rules_file`. A rule of
    /// the file takes the place of the shipped one of its id.
    pub rules: Vec<Rule>,
}

impl Detection {
    pub(super) fn read(keys: &mut Reader) -> Result<Self, ConfigError> {
        let shipped = keys.or("detection.shipped", true)?;
        let file: Option<PathBuf> = keys.optional("detection.rules_file")?;
        let mut rules = rule::read(if shipped { SHIPPED } else { "" }).expect("tested");
        if let Some(file) = file {
            let wrong = |reason: String| {
                ConfigError::key("detection.rules_file", format!("{}: {reason}", file.display()))
            };
            let text = std::fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
            let own = rule::read(&text).map_err(|error| wrong(error.to_string()))?;
            rules.retain(|shipped| own.iter().all(|own| own.id != shipped.id));
            rules.extend(own);
        }
        Ok(Self { rules })
    }
}
