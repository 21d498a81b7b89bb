//! The fields that a term can name, and the words that some of them take.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::event::{Outcome, Quality, RetentionClass, Severity, Trust, closed_set};

/// A field of text, matched as a whole by a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextField {
    /// The action.
    Action,
    /// The proven actor, by id or address.
    Actor,
    /// The claimed user, by id or address.
    User,
    /// The entity's name at the time.
    Name,
    /// The session.
    Session,
    /// The mount's host.
    Host,
    /// The method.
    Method,
    /// The route's template.
    Route,
    /// `pack/rule`.
    Rule,
    /// Why it did not succeed.
    Reason,
    /// The country.
    Country,
    /// A compliance regime.
    Compliance,
}

/// A field of whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NumberField {
    /// The origin's status.
    Status,
    /// Milliseconds until the origin answered.
    Duration,
}

closed_set! {
    /// A kind of event that `is:` names.
    Facet {
        /// The act failed.
        Failed = 1 => "failed",
        /// The act was done.
        Succeeded = 2 => "succeeded",
        /// What became of it is not known.
        Unknown = 3 => "unknown",
        /// Recorded by the backend itself.
        Own = 4 => "own",
        /// Recorded by the backend about another event.
        Annotation = 5 => "annotation",
        /// A mutating request that no rule names.
        Unmapped = 6 => "unmapped",
        /// A write in a watched database that no event tells of.
        Unexplained = 7 => "unexplained",
        /// The named user is not the proven one.
        Mismatch = 8 => "mismatch",
        /// A write by the application's own server, of which another event tells the act.
        Echo = 9 => "echo",
        /// Some of its values were erased.
        Erased = 10 => "erased",
    }
}

closed_set! {
    /// A part of an event that `has:` names.
    Part {
        /// Changed fields.
        Changes = 1 => "changes",
        /// What the rule named.
        Details = 2 => "details",
        /// An actor.
        Actor = 3 => "actor",
        /// A claimed user.
        User = 4 => "user",
        /// An entity.
        Entity = 5 => "entity",
        /// The entity's name.
        Name = 6 => "name",
        /// An address.
        Ip = 7 => "ip",
        /// A session.
        Session = 8 => "session",
        /// A country.
        Country = 9 => "country",
        /// A reason.
        Reason = 10 => "reason",
        /// A status.
        Status = 11 => "status",
        /// A duration.
        Duration = 12 => "duration",
        /// Compliance regimes.
        Compliance = 13 => "compliance",
    }
}

/// What a word before a colon means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Text(TextField),
    Number(NumberField),
    Entity,
    Severity,
    Outcome,
    Trust,
    Class,
    Quality,
    Ip,
    Id,
    Batch,
    Is,
    Has,
    After,
    Before,
    At,
    Last,
}

/// Every name, the canonical one of each field first.
const NAMES: &[(&str, Field)] = &[
    ("action", Field::Text(TextField::Action)),
    ("actor", Field::Text(TextField::Actor)),
    ("user", Field::Text(TextField::User)),
    ("entity", Field::Entity),
    ("name", Field::Text(TextField::Name)),
    ("severity", Field::Severity),
    ("outcome", Field::Outcome),
    ("trust", Field::Trust),
    ("ip", Field::Ip),
    ("country", Field::Text(TextField::Country)),
    ("session", Field::Text(TextField::Session)),
    ("host", Field::Text(TextField::Host)),
    ("method", Field::Text(TextField::Method)),
    ("route", Field::Text(TextField::Route)),
    ("rule", Field::Text(TextField::Rule)),
    ("status", Field::Number(NumberField::Status)),
    ("reason", Field::Text(TextField::Reason)),
    ("duration", Field::Number(NumberField::Duration)),
    ("compliance", Field::Text(TextField::Compliance)),
    ("class", Field::Class),
    ("quality", Field::Quality),
    ("id", Field::Id),
    ("batch", Field::Batch),
    ("is", Field::Is),
    ("has", Field::Has),
    ("after", Field::After),
    ("before", Field::Before),
    ("at", Field::At),
    ("last", Field::Last),
    ("on", Field::At),
    ("since", Field::After),
    ("until", Field::Before),
    ("entity.name", Field::Text(TextField::Name)),
    ("path", Field::Text(TextField::Route)),
    ("changes", Field::Quality),
    ("claimed", Field::Text(TextField::User)),
];

impl Field {
    /// The field of this name, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, field)| *field)
    }

    /// Every name.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// The canonical name.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| *name)
    }

    /// The words that it takes; none if it takes any value.
    pub(super) fn words(self) -> Vec<&'static str> {
        fn all<T: Copy>(members: &[T], word: impl Fn(T) -> &'static str) -> Vec<&'static str> {
            members.iter().map(|member| word(*member)).collect()
        }
        match self {
            Self::Severity => all(Severity::ALL, Severity::word),
            Self::Outcome => all(Outcome::ALL, Outcome::word),
            Self::Trust => all(Trust::ALL, Trust::word),
            Self::Class => all(RetentionClass::ALL, RetentionClass::word),
            Self::Quality => all(Quality::ALL, Quality::word),
            Self::Is => all(Facet::ALL, Facet::word),
            Self::Has => all(Part::ALL, Part::word),
            _ => Vec::new(),
        }
    }
}

impl TextField {
    /// A literal piece of a pattern in the spelling in which the field's values stand.
    pub(super) fn fold(self, text: &str) -> String {
        match self {
            Self::Action | Self::Method | Self::Country | Self::Compliance => text.to_ascii_uppercase(),
            Self::Host => text.to_ascii_lowercase(),
            _ => text.to_owned(),
        }
    }

    /// What is wrong with a piece of a pattern, if the field's values are not made of such characters.
    pub(super) fn refusal(self, piece: &str) -> Option<&'static str> {
        let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        match self {
            Self::Action if !piece.bytes().all(|byte| is_letter(byte) || byte == b'_') => {
                Some("an action is made of A-Z, 0-9 and '_'")
            }
            Self::Compliance if !piece.bytes().all(is_letter) => {
                Some("a compliance regime is made of A-Z and 0-9")
            }
            _ => None,
        }
    }
}
