//! An event as a sentence: *alice@example.com created agent Support bot*.
//!
//! Actions are the application's own names and any pack may bring new ones, so the words are made by rule: an action ends in a
//! verb in the past, and what stands before it is its object.

use shared::event::Outcome;

/// What was done, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    /// The verb with what it needs: `created agent`, `failed to sign in`.
    pub(crate) words: String,
    /// What leads to the entity: nothing if the words end in its type.
    pub(crate) to_entity: String,
}

/// The words for an action on an entity of a type.
pub(crate) fn deed(action: &str, outcome: Outcome, entity_type: Option<&str>) -> Deed {
    let kind = entity_type.map(|kind| kind.replace(['_', '-'], " "));
    let (past, infinitive, object) = parts(action);
    let (object, to_entity) = match kind {
        Some(kind) if object == kind || object.ends_with(&format!(" {kind}")) => (object, String::new()),
        Some(kind) => match object.strip_prefix(&format!("{kind} ")) {
            Some(rest) => (rest.to_owned(), format!("of {kind}")),
            None => (object, format!("on {kind}")),
        },
        None => (object, String::new()),
    };
    let said = by_outcome(past, &infinitive, outcome);
    let words = if object.is_empty() { said } else { format!("{said} {object}") };
    Deed { words, to_entity }
}

/// The words for an action on an object that somebody else names.
pub(crate) fn deed_on(action: &str, outcome: Outcome, object: &str) -> String {
    let (past, infinitive, _) = parts(action);
    format!("{} {object}", by_outcome(past, &infinitive, outcome))
}

fn by_outcome(past: String, infinitive: &str, outcome: Outcome) -> String {
    match outcome {
        Outcome::Success => past,
        Outcome::Failure => format!("failed to {infinitive}"),
        Outcome::Unknown => format!("may have {}", participle(&past)),
    }
}

/// Past, infinitive and object of an action.
fn parts(action: &str) -> (String, String, String) {
    let lower = action.to_ascii_lowercase();
    let said = |past: &str, infinitive: &str, object: &str| {
        (past.to_owned(), infinitive.to_owned(), object.to_owned())
    };
    match lower.as_str() {
        "user_login" | "user_login_failed" => return said("signed in", "sign in", ""),
        "user_logout" => return said("signed out", "sign out", ""),
        "unmapped_mutation" => {
            return said("sent a request that no rule names", "send a request that no rule names", "");
        }
        "user_password_change_failed" => return said("changed", "change", "user password"),
        _ => {}
    }
    let words: Vec<&str> = lower.split('_').filter(|word| !word.is_empty()).collect();
    let Some((last, before)) = words.split_last() else { return said("did", "do", action) };
    let object = before.join(" ");
    match *last {
        "run" if !before.is_empty() => (said("ran", "run", &object).0, "run".to_owned(), object),
        "read" if !before.is_empty() => ("read".to_owned(), "read".to_owned(), object),
        "failed" if !before.is_empty() => ("saw a failure of".to_owned(), "carry out".to_owned(), object),
        past if past.len() > 3 && past.ends_with("ed") && !before.is_empty() => {
            (past.to_owned(), infinitive(past), object)
        }
        _ => ("did".to_owned(), "do".to_owned(), words.join(" ")),
    }
}

fn participle(past: &str) -> &str {
    match past {
        "ran" => "run",
        "did" => "done",
        other => other,
    }
}

/// The infinitive of a regular past.
fn infinitive(past: &str) -> String {
    /// Stems that lost an `e`.
    const WITH_E: [&str; 26] = [
        "at", "delet", "iv", "ng", "ecut", "ok", "bl", "ar", "uc", "ag", "iz", "ov", "os", "us", "um", "ir",
        "rg", "dg", "rv", "in", "lac", "edul", "invit", "as", "rc", "id",
    ];
    if let Some(stem) = past.strip_suffix("ied") {
        return format!("{stem}y");
    }
    let stem = past.strip_suffix("ed").unwrap_or(past);
    let mut last = stem.bytes().rev();
    let (end, before) = (last.next(), last.next());
    if end == before && matches!(end, Some(b'p' | b't' | b'g' | b'n' | b'd' | b'b' | b'm' | b'r')) {
        return stem[..stem.len() - 1].to_owned();
    }
    let lost = WITH_E.iter().any(|end| stem.ends_with(end)) && !["join", "explain", "train"].contains(&stem);
    if lost { format!("{stem}e") } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(action: &str, outcome: Outcome, kind: Option<&str>) -> String {
        let deed = deed(action, outcome, kind);
        format!("{} {}", deed.words, deed.to_entity).trim_end().to_owned()
    }

    #[test]
    fn an_action_is_said_in_words() {
        for (action, kind, expected) in [
            ("AGENT_CREATED", Some("agent"), "created agent"),
            ("AGENT_STATUS_CHANGED", Some("agent"), "changed status of agent"),
            ("USER_LOGIN", Some("user"), "signed in on user"),
            ("CRM_CONTACT_DELETED", Some("contact"), "deleted crm contact"),
            ("SYSTEM_JOB_RUN", None, "ran system job"),
            ("ADMIN_ACTION", None, "did admin action"),
            ("X", None, "did x"),
            ("_", None, "did _"),
        ] {
            assert_eq!(said(action, Outcome::Success, kind), expected, "{action}");
        }
    }

    #[test]
    fn what_failed_or_is_not_known_is_never_told_as_done() {
        for (action, expected) in [
            ("AGENT_CREATED", "failed to create agent"),
            ("AGENT_UPDATED", "failed to update agent"),
            ("SETTINGS_API_KEY_REVOKED", "failed to revoke settings api key"),
            ("EVENTS_DROPPED", "failed to drop events"),
            ("AGENT_SHARED", "failed to share agent"),
            ("CATEGORY_EMPTIED", "failed to empty category"),
            ("PLUGIN_CONNECTED", "failed to connect plugin"),
            ("USER_LOGIN_FAILED", "failed to sign in"),
        ] {
            assert_eq!(said(action, Outcome::Failure, None), expected, "{action}");
        }
        assert_eq!(said("AGENT_DELETED", Outcome::Unknown, Some("agent")), "may have deleted agent");
        assert_eq!(said("SYSTEM_JOB_RUN", Outcome::Unknown, None), "may have run system job");
    }
}
