//! What kinds of sinks there are, and where each leads. Secrets are no part of it.

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::store::StoreError;
use crate::store::sinks::SinkRow;

/// The port of syslog over TLS (RFC 5425).
const SYSLOG_PORT: u16 = 6514;

/// Why a sink cannot be so: the field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field of the request.
    pub field: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl Invalid {
    pub(super) fn new(field: &'static str, reason: impl ToString) -> Self {
        Self { field, reason: reason.to_string() }
    }
}

/// A kind with where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Settings {
    /// CloudEvents, signed as Standard Webhooks are.
    Webhook {
        /// An `https://` address.
        url: String,
        /// Each event by itself instead of some together.
        single: bool,
    },
    /// RFC 5424 over TLS, the event as JSON.
    Syslog {
        /// Host and port.
        address: String,
    },
    /// CEF, the same way.
    Cef {
        /// Host and port.
        address: String,
    },
    /// OCSF over HTTPS.
    Ocsf {
        /// An `https://` address.
        url: String,
        /// One JSON array instead of lines.
        array: bool,
    },
    /// NDJSON in object storage.
    Objects {
        /// `s3://bucket/prefix`, or `file:///directory` where that is allowed.
        url: String,
        /// The S3 endpoint, unless it is Amazon's own.
        endpoint: Option<String>,
        /// The region.
        region: Option<String>,
        /// The access key's id.
        access_key_id: Option<String>,
    },
    /// OTLP logs over HTTP, as JSON.
    Otlp {
        /// An `https://` address.
        url: String,
    },
}

impl Settings {
    /// The words for the kinds.
    pub const KINDS: [&'static str; 6] = ["webhook", "syslog", "cef", "ocsf", "objects", "otlp"];

    /// Those of a stored sink.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]
    pub fn of(sink: &SinkRow) -> Result<Self, StoreError> {
        serde_json::from_str(&sink.settings).map_err(|_| StoreError::Damaged("settings of a sink"))
    }

    /// As they are stored.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("settings are JSON")
    }

    /// Its address, if it is one of HTTP.
    pub(super) fn url_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Webhook { url, .. } | Self::Ocsf { url, .. } | Self::Otlp { url } => Some(url),
            Self::Syslog { .. } | Self::Cef { .. } | Self::Objects { .. } => None,
        }
    }

    /// The word for the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Syslog { .. } => "syslog",
            Self::Cef { .. } => "cef",
            Self::Ocsf { .. } => "ocsf",
            Self::Objects { .. } => "objects",
            Self::Otlp { .. } => "otlp",
        }
    }

    /// The longest event in bytes that is sent whole, unless the sink says otherwise: what receivers of syslog take (RFC 5425), and
    /// as good as everything elsewhere.
    pub(super) fn max_event_bytes(&self) -> i32 {
        match self {
            Self::Syslog { .. } | Self::Cef { .. } => 8_192,
            _ => 1_000_000,
        }
    }

    /// As admins see them. What stands in the query of an address may be a secret of the receiver.
    pub(super) fn view(&self) -> Value {
        let shown = |url: &str| match url.split_once('?') {
            Some((before, _)) => format!("{before}?…"),
            None => url.to_owned(),
        };
        match self {
            Self::Webhook { url, single } => {
                json!({"url": shown(url), "format": if *single { "single" } else { "batch" }})
            }
            Self::Ocsf { url, array } => {
                json!({"url": shown(url), "format": if *array { "array" } else { "ndjson" }})
            }
            Self::Syslog { address } | Self::Cef { address } => json!({"address": address}),
            Self::Objects { url, endpoint, region, access_key_id } => json!({
                "url": url, "endpoint": endpoint, "region": region, "access_key_id": access_key_id,
            }),
            Self::Otlp { url } => json!({"url": shown(url)}),
        }
    }

    /// Where it leads, for the log: a host or a bucket.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Syslog { address } | Self::Cef { address } => address.clone(),
            Self::Webhook { url, .. }
            | Self::Ocsf { url, .. }
            | Self::Objects { url, .. }
            | Self::Otlp { url } => {
                let host = url.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
                host.unwrap_or_default()
            }
        }
    }

    /// Whether a secret that was given for these may be used for others: where it would be shown to the same receiver alone.
    pub(super) fn leads_where(&self, other: &Self) -> bool {
        fn target(settings: &Settings) -> (&str, Option<&str>) {
            match settings {
                Settings::Syslog { address } | Settings::Cef { address } => (address, None),
                Settings::Webhook { url, .. } | Settings::Ocsf { url, .. } | Settings::Otlp { url } => {
                    (url, None)
                }
                Settings::Objects { url, endpoint, .. } => (url, endpoint.as_deref()),
            }
        }
        target(self) == target(other)
    }
}

/// A host and a port; 6514 unless one is named.
pub(super) fn host_and_port(address: &str) -> Result<(String, u16), Invalid> {
    let wrong = || Invalid::new("address", "is not a host and a port such as logs.example.com:6514");
    let url: Url = format!("syslog://{address}").parse().map_err(|_| wrong())?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    let host = url.host_str().filter(|host| is_plain && !host.is_empty()).ok_or_else(wrong)?;
    Ok((host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(SYSLOG_PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_or_without() {
        let read = |text| host_and_port(text).ok();
        assert_eq!(read("logs.example.com"), Some(("logs.example.com".to_owned(), 6514)));
        assert_eq!(read("logs.example.com:601"), Some(("logs.example.com".to_owned(), 601)));
        assert_eq!(read("[2001:db8::1]:6514"), Some(("2001:db8::1".to_owned(), 6514)));
        for text in ["", ":6514", "a b", "a@b", "a/b", "a?b", "a#b", "a:99999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_may_be_a_secret_of_the_receiver_is_not_shown() {
        let settings = Settings::Otlp { url: "https://otlp.example.com/v1/logs?key=hidden".to_owned() };
        assert_eq!(settings.view(), json!({"url": "https://otlp.example.com/v1/logs?…"}));
        assert_eq!(settings.place(), "otlp.example.com");
    }
}
