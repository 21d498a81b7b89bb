//! What readers may do: roles, and the capabilities that they consist of.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

/// What somebody is in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Role {
    /// Reads events with personal data masked.
    Viewer,
    /// The same, sees personal data for a reason, and exports.
    Investigator,
    /// For a time: reads everything as it is, with openings and proofs, and changes nothing.
    Auditor,
    /// Everything.
    Admin,
}

/// One thing that a handler asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Reads events and figures, personal data masked.
    Read,
    /// Sees personal data once a reason is given.
    Unmask,
    /// Sees personal data without being asked why.
    SeePersonal,
    /// Takes events away in files.
    Export,
    /// Reads openings, which proofs are made of.
    Openings,
    /// Reads what could not be stored as events.
    Quarantine,
    /// Reads who may do what, and what admins asked for: grants, sessions, holds, erasures, what retention would drop.
    Oversee,
    /// Changes rule packs.
    Policy,
    /// Places and releases holds, proposes and approves periods.
    Retention,
    /// Exports and erases a person's data.
    Erasure,
    /// Grants and revokes access, ends sessions.
    Access,
    /// Tries rules of detection, and closes what they found.
    Alerts,
    /// Forwards events to other systems, with personal data in them as it is.
    Sinks,
}

impl Role {
    /// All of them, the least powerful first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Investigator, Self::Auditor, Self::Admin];

    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Investigator => "investigator",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// Whether it includes a capability.
    pub fn can(self, capability: Capability) -> bool {
        match capability {
            Capability::Read => true,
            Capability::Unmask | Capability::Export => self != Self::Viewer,
            Capability::SeePersonal | Capability::Openings | Capability::Quarantine | Capability::Oversee => {
                matches!(self, Self::Auditor | Self::Admin)
            }
            Capability::Alerts => matches!(self, Self::Investigator | Self::Admin),
            Capability::Policy
            | Capability::Retention
            | Capability::Erasure
            | Capability::Access
            | Capability::Sinks => self == Self::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.word() == word);
        role.ok_or_else(|| format!("{word:?} is not one of {}", Self::ALL.map(Self::word).join(", ")))
    }
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Unmask,
        Self::SeePersonal,
        Self::Export,
        Self::Openings,
        Self::Quarantine,
        Self::Oversee,
        Self::Policy,
        Self::Retention,
        Self::Erasure,
        Self::Access,
        Self::Alerts,
        Self::Sinks,
    ];

    /// What it allows, in words that go on from "may not".
    pub fn words(self) -> &'static str {
        match self {
            Self::Read => "read events",
            Self::Unmask => "unmask personal data",
            Self::SeePersonal => "see personal data",
            Self::Export => "export events",
            Self::Openings => "read openings",
            Self::Quarantine => "read the quarantine",
            Self::Oversee => "read what admins decide on",
            Self::Policy => "change policies",
            Self::Retention => "change holds and retention",
            Self::Erasure => "export or erase a person's data",
            Self::Access => "change access",
            Self::Alerts => "try rules or close alerts",
            Self::Sinks => "forward events",
        }
    }
}

/// A person as grants name them: an e-mail address in small letters, or a token's subject as it is.
///
/// # Errors
/// If the text is empty, longer than 254 bytes, or holds blanks or control characters.
pub fn person(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() || text.len() > 254 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("is not an e-mail address or a subject of at most 254 bytes");
    }
    Ok(if text.contains('@') { text.to_lowercase() } else { text.to_owned() })
}

/// A role and how long it lasts; an auditor's has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    role: Role,
    until: Option<DateTime<Utc>>,
}

/// Why a role is not given so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an auditor's access needs an end")]
pub struct EndlessAuditor;

impl Tenure {
    /// A role until a time, or until it is revoked.
    ///
    /// # Errors
    /// If an auditor's would have no end.
    pub fn new(role: Role, until: Option<DateTime<Utc>>) -> Result<Self, EndlessAuditor> {
        if role == Role::Auditor && until.is_none() { Err(EndlessAuditor) } else { Ok(Self { role, until }) }
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its end; none if only a revocation ends it.
    pub fn until(&self) -> Option<DateTime<Utc>> {
        self.until
    }

    /// Whether it is over at a time.
    pub fn is_over(&self, at: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| until <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_reads_back_from_its_word() {
        for role in Role::ALL {
            assert_eq!(role.word().parse(), Ok(role));
        }
        let error = "root".parse::<Role>().expect_err("no role");
        assert_eq!(error, "\"root\" is not one of viewer, investigator, auditor, admin");
    }

    #[test]
    fn an_auditor_ends() {
        assert_eq!(Tenure::new(Role::Auditor, None), Err(EndlessAuditor));
        let end = DateTime::from_timestamp(1_000, 0).expect("a time");
        let tenure = Tenure::new(Role::Auditor, Some(end)).expect("it ends");
        assert!(tenure.is_over(end));
        assert!(!tenure.is_over(end - chrono::TimeDelta::milliseconds(1)));
        let forever = Tenure::new(Role::Admin, None).expect("until it is revoked");
        assert!(!forever.is_over(DateTime::<Utc>::MAX_UTC));
    }
}
