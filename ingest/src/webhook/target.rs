//! Where a message may go: over TLS, to a public address.
//!
//! Somebody who names a webhook names a host that this server will ask, from inside its network. So a name is looked up by us,
//! every address it has must be public, and the connection goes to one of those that were looked at: a name that turns to
//! another address in between gets nothing. Redirects are not followed, and no proxy is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::ClientConfig;

/// Why nothing may go there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No address of the web.
    #[error("is not an https:// URL with a host")]
    Url,
    /// It names a user or has a fragment.
    #[error("has a user, a password or a fragment")]
    Extras,
    /// Nothing is known of the name now.
    #[error("its name is not known")]
    Unknown,
    /// One of its addresses is not public.
    #[error("leads to an address that is not public")]
    Private,
    /// There is no client for it.
    #[error("no client: {0}")]
    Client(String),
}

/// An address that messages are sent to.
#[derive(Clone)]
pub struct Target {
    url: Url,
    allow_private: bool,
    trust: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Path and query may be a secret of the receiver.
        f.debug_tuple("Target").field(&self.url.host_str()).finish()
    }
}

impl Target {
    /// A target; with `allow_private` also one of this network or machine, and without TLS.
    ///
    /// # Errors
    /// [`TargetError`], also for a literal address that is not public.
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, TargetError> {
        let url: Url = text.parse().map_err(|_| TargetError::Url)?;
        let is_allowed = url.scheme() == "https" || allow_private && url.scheme() == "http";
        if !is_allowed || url.host_str().is_none_or(str::is_empty) {
            return Err(TargetError::Url);
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(TargetError::Extras);
        }
        let target = Self { url, allow_private, trust: None };
        match target.literal() {
            Some(address) if !target.takes(address) => Err(TargetError::Private),
            _ => Ok(target),
        }
    }

    /// The same, by certificates that others trust than the system does. To read those of the system anew for each client takes long.
    #[must_use]
    pub fn trusting(self, trust: Arc<ClientConfig>) -> Self {
        Self { trust: Some(trust), ..self }
    }

    /// Its URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// A client that connects to the addresses which the name has now, if all of them are public, and to no other.
    ///
    /// # Errors
    /// [`TargetError`]
    pub async fn client(&self) -> Result<Client, TargetError> {
        crate::tls::use_ring();
        let mut builder = Client::builder().redirect(Policy::none()).no_proxy().referer(false);
        if let Some(trust) = &self.trust {
            builder = builder.tls_backend_preconfigured(ClientConfig::clone(trust));
        }
        if self.literal().is_none() {
            let host = self.url.host_str().ok_or(TargetError::Url)?;
            let port = self.url.port_or_known_default().ok_or(TargetError::Url)?;
            builder = builder.resolve_to_addrs(host, &addresses(host, port, self.allow_private).await?);
        }
        builder.build().map_err(|error| TargetError::Client(error.without_url().to_string()))
    }

    /// The host, if it is an address itself.
    fn literal(&self) -> Option<IpAddr> {
        self.url.host_str()?.trim_matches(['[', ']']).parse().ok()
    }

    fn takes(&self, address: IpAddr) -> bool {
        self.allow_private || is_public(address)
    }
}

/// The addresses of a host, if all of them are public or others are allowed as well.
///
/// # Errors
/// [`TargetError`]
pub async fn addresses(host: &str, port: u16, allow_private: bool) -> Result<Vec<SocketAddr>, TargetError> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|_| TargetError::Unknown)?;
    checked(found.collect(), allow_private)
}

fn checked(found: Vec<SocketAddr>, allow_private: bool) -> Result<Vec<SocketAddr>, TargetError> {
    if found.is_empty() {
        return Err(TargetError::Unknown);
    }
    if allow_private || found.iter().all(|address| is_public(address.ip())) {
        Ok(found)
    } else {
        Err(TargetError::Private)
    }
}

/// Whether an address is one of the internet's, by the registries of special purposes (RFC 6890 and later).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, ..] = address.segments();
    match (a, b) {
        // Within these an address of IPv4 is hidden, or documentation and benchmarks have them.
        (0x2001, 0..=0x01ff | 0x0db8) | (0x3fff, 0..=0x0fff) => false,
        (0x2002, _) => {
            let [high, low] = b.to_be_bytes();
            let [third, fourth] = c.to_be_bytes();
            is_public_v4(Ipv4Addr::new(high, low, third, fourth))
        }
        // Global unicast; everything else is local, multicast, translated or not given out.
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for text in
            ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2002:101:101::1", "::ffff:1.1.1.1"]
        {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn a_target_is_https_and_public_unless_private_ones_are_allowed() {
        assert!(Target::parse("https://hooks.example.com/a?b=c", false).is_ok());
        assert!(Target::parse("http://127.0.0.1:9000/hook", true).is_ok());
        for (text, error) in [
            ("http://hooks.example.com/", TargetError::Url),
            ("ftp://hooks.example.com/", TargetError::Url),
            ("hooks.example.com", TargetError::Url),
            ("https://user:secret@hooks.example.com/", TargetError::Extras),
            ("https://hooks.example.com/#a", TargetError::Extras),
            ("https://127.0.0.1/", TargetError::Private),
            ("https://[::1]/", TargetError::Private),
            ("https://0x7f000001/", TargetError::Private),
            ("https://2130706433/", TargetError::Private),
            ("https://169.254.169.254/latest/meta-data", TargetError::Private),
        ] {
            assert_eq!(Target::parse(text, false).err(), Some(error), "{text}");
        }
        let shown = format!("{:?}", Target::parse("https://hooks.example.com/s3cret", false));
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[tokio::test]
    async fn a_name_is_looked_up_before_anything_goes_there() {
        let local = Target::parse("https://localhost/hook", false).expect("a name");
        assert_eq!(local.client().await.map(|_| ()), Err(TargetError::Private));
        let one_of_two = ["1.1.1.1:443", "10.0.0.1:443"].map(|text| text.parse().expect("an address"));
        assert_eq!(checked(one_of_two.to_vec(), false), Err(TargetError::Private));
        assert_eq!(checked(Vec::new(), false), Err(TargetError::Unknown));
    }
}
