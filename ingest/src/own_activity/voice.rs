//! An event as somebody is told of their own: *You signed in*, *Somebody else changed your password*.

use shared::event::{Event, Trust};

use super::{ACCOUNTS, Tie, is_another_person};
use crate::web::{deed, deed_on};

/// The longest name of an entity that is quoted, in characters.
const QUOTED: usize = 80;

/// The sentence of an event for the subject that it is tied to.
pub(crate) fn sentence(event: &Event, tie: Tie, subject: &str) -> String {
    format!("{} {}", who(event, tie), what(event, tie, subject))
}

fn who(event: &Event, tie: Tie) -> &'static str {
    match (tie, event.trust) {
        (Tie::Actor, _) => "You",
        (Tie::Account, Trust::Verified) => "Somebody else who is signed in",
        (Tie::Account, Trust::Service | Trust::System) => "The application",
        (Tie::Account, Trust::Asserted | Trust::Anonymous) => "Somebody",
    }
}

fn what(event: &Event, tie: Tie, subject: &str) -> String {
    let action = event.action.as_str();
    let is_another = is_another_person(event, subject);
    if !is_another && let Some(object) = of_ones_own(action) {
        return deed_on(action, event.outcome, object);
    }
    match action {
        "ACTIVITY_DISOWNED" => return "said that something was not you".to_owned(),
        "USER_LOGIN_FAILED" if tie == Tie::Account => {
            return "tried to sign in to your account, and failed".to_owned();
        }
        "SUBJECT_EXPORTED" if !is_another => return "downloaded your data".to_owned(),
        _ => {}
    }
    let entity = event.entity.as_ref();
    let is_account = entity.is_some_and(|entity| {
        ACCOUNTS.contains(&entity.kind.as_str()) && entity.id.as_deref().is_none_or(|id| id == subject)
    });
    let entity = entity.filter(|_| !is_account);
    let deed = deed(action, event.outcome, entity.map(|entity| entity.kind.as_str()));
    let name = entity.filter(|_| !is_another).and_then(|entity| entity.name.as_ref().or(entity.id.as_ref()));
    let mut words = deed.words;
    for more in [Some(deed.to_entity), name.map(|name| quoted(name))].into_iter().flatten() {
        if !more.is_empty() {
            words.push(' ');
            words.push_str(&more);
        }
    }
    words
}

/// What actions on one's own account are about.
fn of_ones_own(action: &str) -> Option<&'static str> {
    Some(match action {
        "ADMIN_ROLE_GRANTED" | "ADMIN_ROLE_REVOKED" => "your role as an administrator",
        "IDENTITY_LINKED" | "IDENTITY_UNLINKED" => "another way for you to sign in",
        "MFA_FACTOR_ENROLLED" => "a second factor for you",
        "PASSKEY_CREATED" | "PASSKEY_DELETED" | "PASSKEY_UPDATED" => "a passkey of yours",
        "PROFILE_UPDATED" | "SETTINGS_PROFILE_UPDATED" => "your profile",
        "SETTINGS_2FA_DISABLED" | "SETTINGS_2FA_ENABLED" => "your two-factor sign-in",
        "SETTINGS_NOTIFICATIONS_UPDATED" => "your notifications",
        "SETTINGS_PREFERENCES_UPDATED" => "your preferences",
        "SETTINGS_SECURITY_UPDATED" => "your security settings",
        "USER_CREATED" | "USER_TERMINATED" | "USER_UPDATED" => "your account",
        "USER_EMAIL_CHANGED" => "your e-mail address",
        "USER_PASSWORD_CHANGED" | "USER_PASSWORD_CHANGE_FAILED" => "your password",
        "USER_PASSWORD_RESET_REQUESTED" => "a new password for you",
        "USER_PHONE_CHANGED" => "your phone number",
        "USER_ROLE_CHANGED" => "your role",
        _ => return None,
    })
}

fn quoted(name: &str) -> String {
    match name.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use shared::event::Outcome;

    use super::*;
    use crate::own_activity::tests::event;

    fn told(action: &str, trust: Trust, actor: &str, entity: Option<(&str, &str)>) -> String {
        let event = event(action, trust, Some(actor), entity);
        let tie = if actor == "u-1" { Tie::Actor } else { Tie::Account };
        sentence(&event, tie, "u-1")
    }

    #[test]
    fn ones_own_acts_are_told_in_the_second_person() {
        let own = |action, entity| told(action, Trust::Verified, "u-1", entity);
        assert_eq!(own("USER_LOGIN", Some(("user", "u-1"))), "You signed in");
        assert_eq!(own("USER_PASSWORD_CHANGED", Some(("user", "u-1"))), "You changed your password");
        assert_eq!(own("AGENT_CREATED", Some(("agent", "a"))), "You created agent a@example.com");
        assert_eq!(own("AGENT_CREATED", None), "You created agent");
        assert_eq!(own("SUBJECT_EXPORTED", Some(("user", "u-1"))), "You downloaded your data");
        let mut failed = event("USER_PASSWORD_CHANGED", Trust::Verified, Some("u-1"), None);
        failed.outcome = Outcome::Failure;
        assert_eq!(sentence(&failed, Tie::Actor, "u-1"), "You failed to change your password");
    }

    #[test]
    fn other_people_are_never_named() {
        for (action, trust, actor, entity, expected) in [
            ("ADMIN_ROLE_GRANTED", Trust::Verified, "u-1", ("user", "u-2"), "You granted admin role on user"),
            (
                "USER_PASSWORD_CHANGED",
                Trust::Verified,
                "u-2",
                ("user", "u-1"),
                "Somebody else who is signed in changed your password",
            ),
            (
                "USER_UPDATED",
                Trust::Service,
                "service_role",
                ("user", "u-1"),
                "The application updated your account",
            ),
        ] {
            assert_eq!(told(action, trust, actor, Some(entity)), expected);
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let mut long = event("AGENT_CREATED", Trust::Verified, Some("u-1"), Some(("agent", "a")));
        long.entity.as_mut().expect("one").name = Some("ü".repeat(200));
        assert!(sentence(&long, Tie::Actor, "u-1").chars().count() < 110);
    }
}
