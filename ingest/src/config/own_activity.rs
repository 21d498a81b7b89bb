//! What people see of themselves: section `own_activity`.

use reqwest::Url;

use super::ConfigError;
use super::reader::Reader;
use crate::own_activity::Webhook;
use crate::webhook::Target;

/// Section `own_activity`.
#[derive(Debug, Clone, Default)]
pub struct OwnActivity {
    /// Sites of the application whose pages may ask, such as `https://app.example.com`.
    pub origins: Vec<String>,
    /// Where the application is told that somebody disowned an event.
    pub webhook: Option<Webhook>,
}

impl OwnActivity {
    pub(super) fn read(keys: &mut Reader) -> Result<Self, ConfigError> {
        let origins: Vec<String> = keys.or("own_activity.origins", Vec::new())?;
        for origin in &origins {
            let is_one = origin
                .parse::<Url>()
                .is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == *origin);
            if !is_one {
                return Err(ConfigError::key(
                    "own_activity.origins",
                    format!("{origin:?} is not an origin such as https://app.example.com"),
                ));
            }
        }
        let url = keys.optional::<String>("own_activity.webhook.url")?;
        let secret = keys.optional::<String>("own_activity.webhook.secret")?;
        let allow_private = keys.or("own_activity.webhook.allow_private", false)?;
        let webhook = match (url, secret) {
            (None, None) => None,
            (None, Some(_)) => return Err(ConfigError::key("own_activity.webhook.url", "is missing")),
            (Some(_), None) => return Err(ConfigError::key("own_activity.webhook.secret", "is missing")),
            (Some(url), Some(secret)) => Some(Webhook {
                target: Target::parse(&url, allow_private)
                    .map_err(|error| ConfigError::key("own_activity.webhook.url", error))?,
                secret: secret
                    .parse()
                    .map_err(|error| ConfigError::key("own_activity.webhook.secret", error))?,
            }),
        };
        Ok(Self { origins, webhook })
    }
}
