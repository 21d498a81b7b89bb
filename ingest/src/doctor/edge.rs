//! The Worker's configuration, as far as it says what must be reachable.

use std::path::Path;

use serde::Deserialize;
use shared::event::TenantId;

use crate::unquoted;

/// What the Worker stands in front of, and where it delivers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EdgeConfig {
    /// Its hosts.
    pub mounts: Vec<Mount>,
    /// Where events go.
    pub delivery: Delivery,
}

/// A host and its origin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mount {
    /// The host, with a port if it has one.
    pub host: String,
    /// The origin's URL.
    pub upstream: String,
    /// Whose events these are.
    pub tenant: TenantId,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delivery {
    /// The backend's address, as the Worker reaches it.
    pub ingest_url: String,
}

#[derive(Deserialize)]
struct Settings {
    vars: Variables,
}

#[derive(Deserialize)]
struct Variables {
    #[serde(rename = "EDGETRAIL_CONFIG")]
    config: String,
}

impl EdgeConfig {
    /// Reads `wrangler.toml`, or the value of `EDGETRAIL_CONFIG` in a file of its own.
    ///
    /// # Errors
    /// One line that says what cannot be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let json = if text.trim_start().starts_with('{') {
            text.to_owned()
        } else {
            let settings: Settings = toml::from_str(text).map_err(|error| unquoted::toml(text, &error))?;
            settings.vars.config
        };
        serde_json::from_str(&json).map_err(|error| format!("EDGETRAIL_CONFIG: {}", unquoted::json(&error)))
    }
}

impl Mount {
    /// How a browser reaches it: by TLS, unless it is this machine.
    pub fn url(&self) -> String {
        url_of(&self.host)
    }
}

/// How a browser reaches a host.
pub fn url_of(host: &str) -> String {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let scheme = if name == "localhost" || name.ends_with(".localhost") { "http" } else { "https" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_come_along_are_read() {
        let config = EdgeConfig::parse(include_str!("../../../wrangler.toml")).expect("they are valid");
        let urls: Vec<_> = config.mounts.iter().map(Mount::url).collect();
        assert_eq!(urls, ["https://app.example.com", "https://your-project-ref.example.com"]);
        assert_eq!(config.delivery.ingest_url, "https://audit.example.com");
        assert_eq!(url_of("app.localhost:8787"), "http://app.localhost:8787");
    }

    #[test]
    fn what_cannot_be_read_is_told_in_one_line() {
        for (text, wanted) in [
            ("name = 'edgetrail'", "vars"),
            ("{\"mounts\": []}", "delivery"),
            ("[vars]\nEDGETRAIL_CONFIG = '{'", "EDGETRAIL_CONFIG: "),
        ] {
            let error = EdgeConfig::parse(text).expect_err(text);
            assert!(error.contains(wanted) && !error.contains('\n'), "{error:?}");
        }
    }
}
