//! A mount: a host that the Worker stands in front of, and where its clients' addresses come from.

use core::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::Headers;
use crate::event::{Place, TenantId};
use crate::identity::Issuer;
use crate::policy::FailMode;
use crate::redact::{clean, shorten_bytes};

/// What the Worker runs on: decides which header or field names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Cloudflare sets `cf-connecting-ip` and `cf-ray` itself and overwrites what a client sent.
    Cloudflare,
    /// Bare workerd knows the peer; headers count only from a named trusted proxy.
    Workerd,
}

/// One host and everything that holds for its exchanges.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The host that clients ask for, with its port if it is not the scheme's.
    pub host: String,
    /// The origin's scheme, host and port.
    pub upstream: String,
    /// Whose events these are.
    pub tenant: TenantId,
    /// What the Worker runs on.
    pub platform: Platform,
    /// Names of the rule packs, first match wins.
    pub packs: Vec<String>,
    /// Addresses of proxies whose `x-forwarded-for` is believed; bare workerd only.
    #[serde(default)]
    pub trusted_proxies: Vec<IpAddr>,
    /// The header that tells the origin the client's address; copies that a client sent are removed.
    #[serde(default)]
    pub forward_client_ip: Option<String>,
    /// The cookie with the session, where it is not the first `sb-…-auth-token`.
    #[serde(default)]
    pub session_cookie: Option<String>,
    /// The Supabase project behind the application, for reading the old side of changes.
    #[serde(default)]
    pub supabase: Option<Supabase>,
    /// What happens to requests of a rule (`pack/rule`) if the audit trail is not there: wins over the rule.
    #[serde(default)]
    pub fail: std::collections::BTreeMap<String, FailMode>,
    /// Whether a served policy may refuse requests of which no intent can be recorded.
    #[serde(default)]
    pub allow_closed: bool,
    /// How tokens are judged.
    #[serde(default)]
    pub auth: Issuer,
}

/// A Supabase project as its clients know it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supabase {
    /// Scheme and host, straight to the project and not through a mount.
    pub url: String,
    /// The key that every browser has; it opens nothing by itself.
    pub publishable_key: String,
}

/// Headers by which clients and proxies name addresses: none passes a mount that forwards the client's own.
pub(crate) const ADDRESS_HEADERS: &[&str] =
    &["x-forwarded-for", "x-real-ip", "forwarded", "true-client-ip", "x-client-ip", "sb-forwarded-for"];

impl Mount {
    /// The headers that [`Mount::client_ip`] looks at.
    pub const ADDRESS_SOURCES: &[&str] = &["cf-connecting-ip", "x-forwarded-for"];

    /// The client's address as the platform says; none where it does not.
    ///
    /// `platform` is what the runtime says of the request (`request.cf`).
    pub fn client_ip(&self, headers: &Headers, platform: &Value) -> Option<IpAddr> {
        match self.platform {
            Platform::Cloudflare => headers.get("cf-connecting-ip")?.parse().ok(),
            Platform::Workerd => {
                let peer = peer_address(platform)?;
                if !self.trusted_proxies.contains(&peer) {
                    return Some(peer);
                }
                let forwarded = headers.get("x-forwarded-for").unwrap_or_default();
                let client = forwarded
                    .rsplit(',')
                    .map_while(|entry| entry.trim().parse::<IpAddr>().ok())
                    .find(|address| !self.trusted_proxies.contains(address));
                Some(client.unwrap_or(peer))
            }
        }
    }

    /// What the platform knows of the connection; none where nothing can be believed.
    pub fn place(&self, headers: &Headers, platform: &Value) -> Option<Place> {
        if self.platform != Platform::Cloudflare {
            return None;
        }
        let text = |name: &str| match platform.get(name) {
            Some(Value::String(text)) => Some(shorten_bytes(clean(text), 64)),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let place = Place {
            country: text("country"),
            colo: text("colo"),
            ray: headers.get("cf-ray").map(|ray| shorten_bytes(clean(ray), 64)),
            tls: text("tlsVersion"),
            asn: text("asn"),
        };
        (place != Place::default()).then_some(place)
    }

    /// The headers to remove before forwarding; empty where the client's address is not forwarded.
    pub fn stripped_headers(&self) -> Vec<String> {
        match &self.forward_client_ip {
            Some(own) => ADDRESS_HEADERS
                .iter()
                .map(|name| (*name).to_owned())
                .chain([own.to_ascii_lowercase()])
                .collect(),
            None => Vec::new(),
        }
    }
}

/// Bare workerd gives the peer as `clientIp`, for TCP with its port.
fn peer_address(platform: &Value) -> Option<IpAddr> {
    let peer = platform.get("clientIp")?.as_str()?;
    peer.parse().ok().or_else(|| peer.parse::<core::net::SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mount(platform: &str, trusted: &[&str]) -> Mount {
        serde_json::from_value(json!({
            "host": "app.example.com", "upstream": "https://origin.example", "tenant": "acme",
            "platform": platform, "packs": ["app"], "trusted_proxies": trusted,
        }))
        .expect("a mount")
    }

    fn ip(mount: &Mount, headers: &str, platform: Value) -> Option<String> {
        mount.client_ip(&Headers::from_lines(headers), &platform).map(|ip| ip.to_string())
    }

    #[test]
    fn cloudflare_names_the_client_and_forwarded_headers_do_not() {
        let mount = mount("cloudflare", &[]);
        let headers = "CF-Connecting-IP: 2001:db8::7\nX-Forwarded-For: 6.6.6.6";
        assert_eq!(ip(&mount, headers, json!({"country": "CH"})).as_deref(), Some("2001:db8::7"));
        assert_eq!(ip(&mount, "x-forwarded-for: 6.6.6.6", json!({})), None);
        let place =
            mount.place(&Headers::from_lines("cf-ray: abc-ZRH"), &json!({"country": "CH", "asn": 13335}));
        assert_eq!(
            place,
            Some(Place {
                country: Some("CH".to_owned()),
                ray: Some("abc-ZRH".to_owned()),
                asn: Some("13335".to_owned()),
                ..Place::default()
            })
        );
    }

    #[test]
    fn in_bare_workerd_the_peer_counts_and_headers_only_from_trusted_proxies() {
        let bare = mount("workerd", &[]);
        let forged = "x-forwarded-for: 6.6.6.6\ncf-connecting-ip: 6.6.6.7";
        assert_eq!(ip(&bare, forged, json!({"clientIp": "198.51.100.4"})).as_deref(), Some("198.51.100.4"));
        assert_eq!(bare.place(&Headers::from_lines("cf-ray: forged"), &json!({"country": "CH"})), None);
        let behind = mount("workerd", &["10.0.0.1", "10.0.0.2"]);
        let chain = "x-forwarded-for: 6.6.6.6, 203.0.113.7, 10.0.0.2";
        assert_eq!(ip(&behind, chain, json!({"clientIp": "10.0.0.1"})).as_deref(), Some("203.0.113.7"));
        assert_eq!(ip(&behind, chain, json!({"clientIp": "192.0.2.1"})).as_deref(), Some("192.0.2.1"));
        let broken = "x-forwarded-for: 6.6.6.6, what";
        assert_eq!(ip(&behind, broken, json!({"clientIp": "10.0.0.1"})).as_deref(), Some("10.0.0.1"));
        assert_eq!(ip(&behind, "", json!({})), None);
    }
}
