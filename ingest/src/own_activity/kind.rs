//! What kind of act an action is, by its name: applications bring their own.

use std::str::FromStr;

/// A kind of act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Signing in and out, and trying to.
    SignIn,
    /// Something was made, changed or removed.
    Change,
    /// Something was made to run.
    Run,
    /// Looks, refreshes and what programs note down: listed only when asked for.
    Other,
}

/// Of which actions a kind is; the first kind of this list counts. A `*` stands at the beginning or the end.
const NAMES: [(Kind, &[&str]); 3] = [
    (
        Kind::Other,
        &[
            "*_VIEWED",
            "*_READ",
            "*_ACCESSED",
            "*_LISTED",
            "*_FETCHED",
            "*_OPTIONS",
            "*_RECORDED",
            "APP_AUDIT_*",
            "DATABASE_*",
            "IDENTITY_MISMATCH",
            "MFA_CHALLENGE_CREATED",
            "SESSION_REFRESHED",
            "UNMAPPED_MUTATION",
            "USER_PASSWORD_CHECKED",
        ],
    ),
    (
        Kind::SignIn,
        &[
            "USER_LOGIN*",
            "USER_LOGOUT*",
            "USER_OTP_*",
            "SESSION_*",
            "MFA_VERIFIED",
            "TOKEN_REUSE_*",
            "ADMIN_SIGNED_*",
        ],
    ),
    (Kind::Run, &["*_RUN", "*_EXECUTED", "*_EXECUTE", "*_STARTED"]),
];

/// Names as the store compares them: one of the first, if there are any, and none of the second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Any of these, as patterns of LIKE; any name if there are none.
    pub(crate) among: Option<Vec<String>>,
    /// None of these.
    pub(crate) without: Vec<String>,
}

impl Kind {
    const ALL: [Self; 4] = [Self::SignIn, Self::Change, Self::Run, Self::Other];

    /// The word that stands for it in requests and answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::SignIn => "sign-ins",
            Self::Change => "changes",
            Self::Run => "runs",
            Self::Other => "other",
        }
    }

    /// The kind of an action.
    pub(crate) fn of(action: &str) -> Self {
        let fits = |name: &&str| match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(end), _) => action.ends_with(end),
            (_, Some(start)) => action.starts_with(start),
            _ => action == *name,
        };
        let found = NAMES.iter().find(|(_, names)| names.iter().any(&fits));
        found.map_or(Self::Change, |(kind, _)| *kind)
    }

    /// The names of a kind, or of all that are listed without being asked for.
    pub(crate) fn names(wanted: Option<Self>) -> Names {
        let of = |kind| NAMES.iter().find(|(of, _)| *of == kind).map(|(_, names)| names);
        let earlier = NAMES.iter().take_while(|(kind, _)| Some(*kind) != wanted);
        let earlier = earlier.take(if wanted.is_some() { NAMES.len() } else { 1 });
        Names {
            among: wanted.and_then(of).map(|names| names.iter().map(|name| like(name)).collect()),
            without: earlier.flat_map(|(_, names)| names.iter().map(|name| like(name))).collect(),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.word() == word);
        found.ok_or_else(|| format!("is not one of {}", Self::ALL.map(Self::word).join(", ")))
    }
}

fn like(name: &str) -> String {
    name.replace('_', r"\_").replace('*', "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_of_one_kind() {
        for (action, kind) in [
            ("USER_LOGIN", Kind::SignIn),
            ("USER_LOGIN_FAILED", Kind::SignIn),
            ("SESSION_TERMINATED", Kind::SignIn),
            ("SESSION_REFRESHED", Kind::Other),
            ("DATA_ACCESSED", Kind::Other),
            ("AUDIT_READ", Kind::Other),
            ("AGENT_RUN", Kind::Run),
            ("PLUGIN_EXECUTED", Kind::Run),
            ("AGENT_UPDATED", Kind::Change),
            ("X", Kind::Change),
        ] {
            assert_eq!(Kind::of(action), kind, "{action}");
        }
    }

    #[test]
    fn the_store_is_asked_for_the_same_names() {
        let all = Kind::names(None);
        assert_eq!(all.among, None);
        assert!(
            all.without.contains(&r"%\_VIEWED".to_owned()) && !all.without.contains(&r"%\_RUN".to_owned())
        );
        let runs = Kind::names(Some(Kind::Run));
        assert!(runs.among.expect("some").contains(&r"%\_RUN".to_owned()));
        assert!(runs.without.contains(&r"USER\_LOGIN%".to_owned()));
        let changes = Kind::names(Some(Kind::Change));
        assert_eq!(changes.among, None);
        assert!(changes.without.contains(&r"%\_RUN".to_owned()));
        assert_eq!(Kind::names(Some(Kind::Other)).without, Vec::<String>::new());
    }
}
