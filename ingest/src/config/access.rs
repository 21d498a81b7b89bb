//! Who signs in how: section `access`.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use shared::event::TenantId;

use super::ConfigError;
use super::reader::Reader;

/// Section `access`.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where people reach this server, such as `https://audit.example.com`, without a path.
    pub public_url: Option<Url>,
    /// The header in which a proxy that cannot be gone around tells the client's address.
    pub address_header: Option<String>,
    /// Reads within this time are one event; none if reads are not recorded.
    pub reads_window: Option<Duration>,
    /// Tokens of the application's own sign-in.
    pub app_tokens: Option<AppTokens>,
    /// The organisation's identity provider.
    pub oidc: Option<Oidc>,
}

/// Section `access.app`: tokens that the application's users have already.
#[derive(Clone)]
pub struct AppTokens {
    /// Their `iss`. Supabase: `https://<ref>.supabase.co/auth/v1`.
    pub issuer: String,
    /// Their `aud`.
    pub audience: String,
    /// What they are checked with.
    pub key: TokenKey,
    /// Whose events the application's users see their own of; none if they see none. A token does not tell.
    pub tenant: Option<TenantId>,
}

/// What a token's signature is checked with.
#[derive(Clone)]
pub enum TokenKey {
    /// HS256 under the project's secret.
    Secret(String),
    /// ES256 or RS256 under a key of this set.
    Set(Url),
}

/// Section `access.oidc`.
#[derive(Clone)]
pub struct Oidc {
    /// Its issuer; discovery is at `/.well-known/openid-configuration` below it.
    pub issuer: Url,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; none for a public client.
    pub client_secret: Option<String>,
}

impl fmt::Debug for AppTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppTokens").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.issuer.as_str()).finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn read(keys: &mut Reader) -> Result<Self, ConfigError> {
        let public_url = url(keys, "access.public_url")?;
        if public_url.as_ref().is_some_and(|url| url.path() != "/" || url.query().is_some()) {
            return Err(ConfigError::key("access.public_url", "has a path"));
        }
        let address_header = keys.optional::<String>("access.address_header")?;
        if address_header.as_ref().is_some_and(|name| reqwest::header::HeaderName::try_from(name).is_err()) {
            return Err(ConfigError::key("access.address_header", "is not a header's name"));
        }
        let recorded: bool = keys.or("access.record_reads", true)?;
        let window: u64 = keys.or("access.reads_window_ms", 300_000)?;
        if !(10..=3_600_000).contains(&window) {
            return Err(ConfigError::key("access.reads_window_ms", "must be 10 to 3600000"));
        }
        let app_tokens = app_tokens(keys)?;
        let oidc = oidc(keys)?;
        if oidc.is_some() && public_url.is_none() {
            return Err(ConfigError::key(
                "access.public_url",
                "is missing, and access.oidc sends people back to it",
            ));
        }
        let reads_window = recorded.then(|| Duration::from_millis(window));
        Ok(Self { public_url, address_header, reads_window, app_tokens, oidc })
    }
}

fn app_tokens(keys: &mut Reader) -> Result<Option<AppTokens>, ConfigError> {
    let issuer = keys.optional::<String>("access.app.issuer")?;
    let audience = keys.or("access.app.audience", "authenticated".to_owned())?;
    let secret = keys.optional::<String>("access.app.hs256_key")?;
    let set = url(keys, "access.app.jwks_url")?;
    let tenant = keys.optional::<String>("access.app.tenant")?;
    let tenant = tenant.map(|slug| slug.parse::<TenantId>());
    let tenant = tenant.transpose().map_err(|error| ConfigError::key("access.app.tenant", error))?;
    let key = match (secret, set) {
        (None, None) if issuer.is_none() => return Ok(None),
        (Some(_), Some(_)) | (None, None) => {
            let reason = "needs exactly one of hs256_key and jwks_url";
            return Err(ConfigError::key("access.app", reason));
        }
        (Some(secret), None) if secret.len() < 32 => {
            return Err(ConfigError::key("access.app.hs256_key", "is shorter than 32 bytes"));
        }
        (Some(secret), None) => TokenKey::Secret(secret),
        (None, Some(set)) => TokenKey::Set(set),
    };
    let issuer = issuer.ok_or_else(|| ConfigError::key("access.app.issuer", "is missing"))?;
    Ok(Some(AppTokens { issuer, audience, key, tenant }))
}

fn oidc(keys: &mut Reader) -> Result<Option<Oidc>, ConfigError> {
    let issuer = url(keys, "access.oidc.issuer")?;
    let client_id = keys.optional::<String>("access.oidc.client_id")?;
    let client_secret = keys.optional::<String>("access.oidc.client_secret")?;
    match (issuer, client_id) {
        (None, None) if client_secret.is_none() => Ok(None),
        (Some(issuer), Some(client_id)) => Ok(Some(Oidc { issuer, client_id, client_secret })),
        (None, _) => Err(ConfigError::key("access.oidc.issuer", "is missing")),
        (_, None) => Err(ConfigError::key("access.oidc.client_id", "is missing")),
    }
}

/// An address over TLS, or of this very machine.
fn url(keys: &mut Reader, key: &'static str) -> Result<Option<Url>, ConfigError> {
    let Some(text) = keys.optional::<String>(key)? else { return Ok(None) };
    let url: Url = text.parse().map_err(|_| ConfigError::key(key, "is not a URL"))?;
    let is_local = url.host_str().is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    });
    if !url.username().is_empty() || url.password().is_some() {
        Err(ConfigError::key(key, "has a user or a password"))
    } else if url.scheme() == "https" || url.scheme() == "http" && is_local {
        Ok(Some(url))
    } else {
        Err(ConfigError::key(key, "is not an https:// URL"))
    }
}
