//! What people see of themselves: their own acts, and what others did to their account, in plain words.
//!
//! Somebody is who the application's token proves, by its `sub` alone: addresses and names can be changed by their holder, and
//! must not open anybody else's events. [`tie`] is the one place that decides what is theirs; lists, downloads and *this wasn't me*
//! all ask it.

pub(crate) mod device;
pub(crate) mod disown;
pub(crate) mod entry;
pub(crate) mod kind;
pub(crate) mod place;
pub(crate) mod quota;
pub(crate) mod seen;
pub(crate) mod session;
pub(crate) mod voice;

use shared::event::{Event, TenantId, Trust};
use shared::leaf::Tag;

use crate::config;
use crate::privacy::person::PEOPLE;
use quota::Quota;
use session::Sessions;

pub use disown::{Disowned, Webhook};

/// Entity types whose ids are those of people's accounts.
pub(crate) const ACCOUNTS: [&str; 3] = ["profile", "settings", "user"];

/// What others may do to an account that its holder is told of. Reading, holds, erasures and searches of whoever runs the
/// application are not among them.
pub(crate) const TOLD: [&str; 17] = [
    "ADMIN_ROLE_GRANTED",
    "ADMIN_ROLE_REVOKED",
    "IDENTITY_LINKED",
    "IDENTITY_UNLINKED",
    "MFA_FACTOR_ENROLLED",
    "PASSKEY_CREATED",
    "SETTINGS_2FA_DISABLED",
    "SETTINGS_2FA_ENABLED",
    "SETTINGS_SECURITY_UPDATED",
    "USER_EMAIL_CHANGED",
    "USER_LOGIN_FAILED",
    "USER_PASSWORD_CHANGED",
    "USER_PASSWORD_RESET_REQUESTED",
    "USER_PHONE_CHANGED",
    "USER_ROLE_CHANGED",
    "USER_TERMINATED",
    "USER_UPDATED",
];

/// What an event has to do with somebody who sees only themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// They did it: a signature proves it.
    Actor,
    /// Somebody else did it to their account, and it is safe to tell.
    Account,
}

impl Tie {
    /// The word that stands for it in the store.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Account => "account",
        }
    }

    /// The tie of a word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        [Self::Actor, Self::Account].into_iter().find(|tie| tie.word() == word)
    }

    /// Whom it ties to an event; none if that was erased.
    pub(crate) fn subject(self, event: &Event) -> Option<String> {
        match self {
            Self::Actor => event.actor.as_ref().map(|actor| actor.id.clone()),
            Self::Account => event.entity.as_ref()?.id.clone(),
        }
    }

    /// The fields of an event that are not theirs to see.
    pub(crate) fn withheld(self, event: &Event, subject: &str) -> Vec<Tag> {
        match self {
            // Whom they did it to is somebody else.
            Self::Actor if is_another_person(event, subject) => vec![Tag::TARGET, Tag::DETAILS, Tag::CHANGES],
            Self::Actor => Vec::new(),
            // Whoever did it, from where, and what they wrote to it.
            Self::Account => {
                vec![
                    Tag::ACTOR,
                    Tag::CLAIMED_USER,
                    Tag::IP,
                    Tag::USER_AGENT,
                    Tag::SESSION,
                    Tag::PLACE,
                    Tag::DETAILS,
                ]
            }
        }
    }
}

/// What an event has to do with a subject; none if it is not theirs to see.
pub fn tie(event: &Event, subject: &str) -> Option<Tie> {
    let is_actor = event.actor.as_ref().is_some_and(|actor| actor.id == subject);
    if is_actor && event.trust == Trust::Verified {
        return Some(Tie::Actor);
    }
    let entity = event.entity.as_ref()?;
    let is_account = ACCOUNTS.contains(&entity.kind.as_str()) && entity.id.as_deref() == Some(subject);
    (is_account && TOLD.contains(&event.action.as_str())).then_some(Tie::Account)
}

/// Whether an event's entity is a person other than the subject.
pub(crate) fn is_another_person(event: &Event, subject: &str) -> bool {
    event.entity.as_ref().is_some_and(|entity| {
        PEOPLE.contains(&entity.kind.as_str()) && entity.id.as_deref().is_some_and(|id| id != subject)
    })
}

/// What own activity works with.
#[derive(Debug)]
pub struct OwnActivity {
    /// Whose events the application's tokens read; none if people see nothing of themselves here.
    pub(crate) tenant: Option<TenantId>,
    /// Sites whose pages may ask.
    pub(crate) origins: Vec<String>,
    /// Sessions of browsers.
    pub(crate) sessions: Sessions,
    /// Pages that may be read.
    pub(crate) reads: Quota,
    /// Events that may be disowned.
    pub(crate) disowns: Quota,
    /// Downloads.
    pub(crate) downloads: Quota,
    /// What was disowned, on its way to the application.
    pub(crate) disowned: std::sync::Arc<Disowned>,
}

impl OwnActivity {
    /// Own activity of the tenant that the configuration names; `key` signs sessions.
    pub fn new(
        tenant: Option<TenantId>,
        settings: &config::OwnActivity,
        key: [u8; 32],
        disowned: std::sync::Arc<Disowned>,
    ) -> Self {
        let hour = std::time::Duration::from_hours(1);
        Self {
            tenant,
            origins: settings.origins.clone(),
            sessions: Sessions::new(&key),
            reads: Quota::new(120, std::time::Duration::from_mins(1)),
            disowns: Quota::new(20, hour),
            downloads: Quota::new(1, hour),
            disowned,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use shared::event::{
        Action, Actor, BodyState, Context, Entity, EntityType, EventId, JsonText, Outcome, RequestFacts,
        RetentionClass, Severity, Timestamp,
    };

    use super::*;

    /// An event of somebody on something.
    pub(crate) fn event(
        action: &str,
        trust: Trust,
        actor: Option<&str>,
        entity: Option<(&str, &str)>,
    ) -> Event {
        let at = Timestamp::try_from(1_795_400_000_000).expect("a time");
        Event {
            tenant: "demo".parse().expect("a slug"),
            id: EventId::mint(at, &[7; 10]),
            occurred_at: at,
            class: RetentionClass::Standard,
            action: Action::try_from(action.to_owned()).expect("an action"),
            severity: Severity::Info,
            outcome: Outcome::Success,
            reason: None,
            trust,
            actor: actor.map(|id| Actor { id: id.to_owned(), ..Actor::default() }),
            claimed_user: None,
            entity: entity.map(|(kind, id)| Entity {
                kind: EntityType::try_from(kind.to_owned()).expect("a type"),
                id: Some(id.to_owned()),
                name: Some(format!("{id}@example.com")),
            }),
            request: RequestFacts {
                host: "app.example.com".to_owned(),
                method: "POST".to_owned(),
                route: "/".to_owned(),
                rule: "app/rule".to_owned(),
                status: Some(200),
                request_body: BodyState::Absent,
                response_body: BodyState::Absent,
            },
            context: Context::default(),
            details: Some(JsonText::from(&json!({"note": "by bob"}))),
            changes: None,
            compliance: Vec::new(),
            duration_ms: None,
            echo: false,
        }
    }

    #[test]
    fn an_act_is_theirs_only_if_a_signature_proves_it() {
        let acted = |trust, who| tie(&event("AGENT_CREATED", trust, Some(who), Some(("agent", "a"))), "u-1");
        assert_eq!(acted(Trust::Verified, "u-1"), Some(Tie::Actor));
        assert_eq!(acted(Trust::Asserted, "u-1"), None);
        assert_eq!(acted(Trust::Service, "u-1"), None);
        assert_eq!(acted(Trust::Verified, "u-10"), None);
        assert_eq!(acted(Trust::Verified, "U-1"), None);
    }

    #[test]
    fn of_what_others_do_to_an_account_its_holder_is_told_what_is_safe_to_tell() {
        let done = |action, entity| tie(&event(action, Trust::Verified, Some("u-2"), Some(entity)), "u-1");
        assert_eq!(done("USER_PASSWORD_CHANGED", ("user", "u-1")), Some(Tie::Account));
        assert_eq!(done("SETTINGS_SECURITY_UPDATED", ("settings", "u-1")), Some(Tie::Account));
        assert_eq!(done("USER_PASSWORD_CHANGED", ("user", "u-2")), None);
        assert_eq!(done("USER_PASSWORD_CHANGED", ("agent", "u-1")), None);
        assert_eq!(done("DATA_ACCESSED", ("user", "u-1")), None, "who looks into something may not be told");
    }

    #[test]
    fn what_belongs_to_another_person_is_withheld() {
        let on = |entity| event("ADMIN_ROLE_GRANTED", Trust::Verified, Some("u-1"), Some(entity));
        assert_eq!(Tie::Actor.withheld(&on(("user", "u-1")), "u-1"), []);
        assert!(Tie::Actor.withheld(&on(("user", "u-2")), "u-1").contains(&Tag::TARGET));
        let withheld = Tie::Account.withheld(&on(("user", "u-2")), "u-2");
        assert!([Tag::ACTOR, Tag::IP, Tag::DETAILS].iter().all(|tag| withheld.contains(tag)));
        assert_eq!(Tie::Account.subject(&on(("user", "u-2"))).as_deref(), Some("u-2"));
    }
}
