//! Reads single keys out of the merged sources and remembers which were read, so that every error names its key and
//! every unknown key is refused.

use std::collections::BTreeSet;
use std::fmt::Display;

use config::{ConfigError as SourceError, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::ConfigError;
use crate::unquoted;

/// The merged sources.
pub(super) struct Reader {
    sources: config::Config,
    known: BTreeSet<&'static str>,
}

impl Reader {
    pub(super) fn new(sources: config::Config) -> Self {
        Self { sources, known: BTreeSet::new() }
    }

    /// The value of a key, if it is set.
    pub(super) fn optional<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        self.known.insert(key);
        match self.sources.get::<T>(key) {
            Ok(value) => Ok(Some(value)),
            Err(SourceError::NotFound(_)) => Ok(None),
            Err(error) => Err(ConfigError::key(key, reason(error))),
        }
    }

    /// The value of a key or its default.
    pub(super) fn or<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    /// The value of a key as text, parsed.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let text = self.or(key, default.to_owned())?;
        parse(&text).map_err(|reason| ConfigError::key(key, reason))
    }

    /// Refuses whatever was never asked for.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let mut unknown = None;
        walk(&self.sources.cache, String::new(), &mut |path| {
            let known = self.known.contains(path);
            if !known && unknown.is_none() {
                unknown = Some(path.to_owned());
            }
            known
        });
        match unknown {
            Some(path) => Err(ConfigError::key(&path, "unknown key")),
            None => Ok(()),
        }
    }
}

/// Visits the leaves of the tables; a list is a leaf.
fn walk(value: &Value, path: String, visit: &mut impl FnMut(&str) -> bool) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (name, value) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(value, path, visit);
            }
        }
        _ => {
            visit(&path);
        }
    }
}

/// The crate's words without its own mention of the key, and never the value of one that may be secret.
fn reason(error: SourceError) -> String {
    match error {
        SourceError::Type { expected, .. } => format!("not {expected}"),
        SourceError::At { error, .. } => reason(*error),
        other => other.to_string(),
    }
}

impl ConfigError {
    pub(super) fn key(key: &str, reason: impl Display) -> Self {
        Self::Key { key: key.to_owned(), reason: unquoted::reason(&reason.to_string()) }
    }
}
