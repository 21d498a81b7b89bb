//! Field tags. A number is given once and never used for anything else.

/// The tag of a committed field.
///
/// Tags below 0x8000 are structural and stay as long as the event; those from 0x8000 on can be erased one by one.
///
/// | tag | field | type | value |
/// |---|---|---|---|
/// | 0x0001 | structure | record | tenant, id, time, action, … (the table in [`crate::event`]'s records) |
/// | 0x8001 | actor | record | id, email, role, aal, method |
/// | 0x8002 | claimed user | record | id, source |
/// | 0x8003 | target | record | id, name |
/// | 0x8004 | ip | text | the canonical form of the address |
/// | 0x8005 | user agent | text | as sent |
/// | 0x8006 | session | text | |
/// | 0x8007 | place | record | country, colo, ray, tls, asn |
/// | 0x8008 | details | json | |
/// | 0x8009 | changes | json | |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u16);

impl Tag {
    /// The structural record.
    pub const STRUCTURE: Self = Self(0x0001);
    /// The actor.
    pub const ACTOR: Self = Self(0x8001);
    /// The claimed user.
    pub const CLAIMED_USER: Self = Self(0x8002);
    /// The entity's id and name.
    pub const TARGET: Self = Self(0x8003);
    /// The client's address.
    pub const IP: Self = Self(0x8004);
    /// The user agent.
    pub const USER_AGENT: Self = Self(0x8005);
    /// The session.
    pub const SESSION: Self = Self(0x8006);
    /// Country, colo, ray id, TLS, network.
    pub const PLACE: Self = Self(0x8007);
    /// What the rule named.
    pub const DETAILS: Self = Self(0x8008);
    /// What changed.
    pub const CHANGES: Self = Self(0x8009);

    /// A tag by number; numbers this version does not know are kept as they are.
    pub const fn from_number(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether the field can be erased while the event stays.
    pub const fn is_erasable(self) -> bool {
        self.0 >= 0x8000
    }
}
