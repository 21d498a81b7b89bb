//! Who acted and upon what.

use super::outcome::closed_set;
use super::words::EntityType;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

closed_set! {
    /// How sure we are of the actor.
    Trust {
        /// A signature proves it, valid when the request arrived.
        Verified = 1 => "verified",
        /// Somebody said so: a token that does not verify, or a name in a header or body.
        Asserted = 2 => "asserted",
        /// Nobody was named.
        Anonymous = 3 => "anonymous",
        /// The application's own server, by a verified service credential.
        Service = 4 => "service",
        /// A schedule, a queue or a webhook.
        System = 5 => "system",
    }
}

/// The acting person or service, from the claims of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The subject's id (`sub`), or the service's name.
    pub id: String,
    /// The address the token carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The token's role, such as `authenticated` or `service_role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Authenticator assurance level, `aal1` or `aal2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aal: Option<String>,
    /// How the session was opened, the first `amr` method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// The person a header or a body named. Nothing proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedUser {
    /// The id or address as given.
    pub id: String,
    /// Where it was given: `header:x-user-id`, `body:/email`.
    pub source: String,
}

/// What was acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Its kind, such as `agent`.
    #[serde(rename = "type")]
    pub kind: EntityType,
    /// Its id, where the exchange tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
