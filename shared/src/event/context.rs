//! Where an act came from and the exchange it was seen in.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use super::outcome::closed_set;
use serde::{Deserialize, Serialize};

closed_set! {
    /// What was seen of a body.
    BodyState {
        /// There was none, or the rule did not ask for it.
        Absent = 0 => "absent",
        /// All of it.
        Complete = 1 => "complete",
        /// Only what came before the cap or the time limit.
        Truncated = 2 => "truncated",
        /// It is not JSON, though a rule hoped so.
        Unparsable = 3 => "unparsable",
    }
}

/// The exchange: never personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFacts {
    /// The mount's host.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path template that matched, never the path.
    pub route: String,
    /// `pack/rule`.
    pub rule: String,
    /// The origin's status; none if the origin did not answer.
    pub status: Option<u16>,
    /// What was seen of the request's body.
    pub request_body: BodyState,
    /// What was seen of the response's body.
    pub response_body: BodyState,
}

/// From where, as the platform says. Each part can be erased by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The raw user agent.
    pub user_agent: Option<String>,
    /// The session: the token's `session_id`, never a piece of a token.
    pub session: Option<String>,
    /// What the platform knows of the connection.
    pub place: Option<Place>,
}

/// What the platform knows of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The data centre that served it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colo: Option<String>,
    /// The platform's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ray: Option<String>,
    /// TLS version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The number of the client's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<String>,
}
