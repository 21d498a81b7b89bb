//! Whom an event is about: what of it is a person's, by names that are known or by their hashes alone.
//!
//! A person is known by ids, e-mail addresses, sessions and the names they were shown under. Fields that hold one of them
//! are theirs, and so is where an act of theirs came from. Of free text (details, changes) the whole field goes if any part
//! of it names the person, and always where the act was on the person's own account: what else it says is about them too.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;
use shared::event::{Event, JsonText, TenantId, Trust};
use shared::leaf::{Hash, Tag};

use super::key::SubjectKey;

/// Entity types whose ids are people.
pub const PEOPLE: [&str; 2] = ["user", "profile"];
/// From this length on a name counts also within a word.
const DISTINCT: usize = 16;
/// Digits that make a number as telling as a text.
const TELLING_DIGITS: usize = 5;
/// Shorter display names are words of any text.
const SHORTEST_CALLED: usize = 5;

/// Text as it is compared.
pub fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

/// What a person is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// Of these texts.
    pub fn of(texts: &[String]) -> Self {
        let mut names = Self::default();
        texts.iter().for_each(|text| names.add(text));
        names
    }

    /// Adds a text; the empty one names nobody.
    pub fn add(&mut self, text: &str) {
        let folded = fold(text);
        if !folded.is_empty() {
            self.0.insert(folded);
        }
    }

    /// Adds a display name, unless it is too short to tell anybody by.
    pub fn add_called(&mut self, text: &str) {
        if fold(text).chars().count() >= SHORTEST_CALLED {
            self.add(text);
        }
    }

    /// The folded texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Who is looked for.
#[derive(Debug, Clone)]
pub enum Who {
    /// By names.
    Named(Names),
    /// By the hashes of names.
    Hashed {
        /// The key of the hashes.
        key: SubjectKey,
        /// Whose names they are.
        tenant: TenantId,
        /// The hashes.
        hashes: HashSet<Hash>,
    },
}

impl Who {
    /// Whether a text is one of the names.
    pub fn is(&self, text: &str) -> bool {
        let folded = fold(text);
        match self {
            Self::Named(names) => names.0.contains(&folded),
            Self::Hashed { key, tenant, hashes } => {
                !folded.is_empty() && hashes.contains(&key.hash(tenant, &folded))
            }
        }
    }

    /// Whether a text is or holds one of the names. By hashes only whole words can be told.
    pub fn within(&self, text: &str) -> bool {
        match self {
            Self::Named(names) => {
                let folded = fold(text);
                names.0.iter().any(|name| holds(&folded, name))
            }
            Self::Hashed { .. } => self.is(text) || words(text).any(|word| self.is(word)),
        }
    }

    /// Whether text that cannot be erased by itself holds a name. Only one that is nobody else's word counts: `admin` may
    /// be an id and is in many routes.
    pub(super) fn within_structure(&self, text: &str) -> bool {
        let telling = |name: &str| name.len() >= DISTINCT || name.contains('@');
        match self {
            Self::Named(names) => {
                let folded = fold(text);
                names.0.iter().any(|name| telling(name) && holds(&folded, name))
            }
            Self::Hashed { .. } => words(text).any(|word| telling(word) && self.is(word)),
        }
    }

    /// Whether a JSON value, or the name of a member, is or holds one of the names.
    pub fn within_json(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.within(text),
            Value::Number(number) => {
                let digits = number.to_string();
                digits.len() >= TELLING_DIGITS && self.is(&digits)
            }
            Value::Array(items) => items.iter().any(|item| self.within_json(item)),
            Value::Object(members) => {
                members.iter().any(|(name, value)| self.within(name) || self.within_json(value))
            }
            Value::Null | Value::Bool(_) => false,
        }
    }

    /// Whether bytes that may be anything hold one of the names, plain or escaped as JSON.
    pub fn within_bytes(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        self.within(&text) || text.contains('\\') && self.within(&unescape(&text))
    }
}

/// Whether a folded text holds a folded name: anywhere if the name is long, else as a word of its own.
fn holds(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let free = |char: Option<char>| char.is_none_or(|char| !char.is_alphanumeric());
        name.len() >= DISTINCT
            || free(text[..at].chars().next_back()) && free(text[at + name.len()..].chars().next())
    })
}

/// The words of a text, cut in the ways that ids and addresses are written.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let cut = |extra: &'static str| {
        text.split(move |char: char| !char.is_alphanumeric() && !extra.contains(char))
            .map(move |word| word.trim_matches(|char: char| extra.contains(char)))
            .filter(|word| !word.is_empty())
    };
    cut("@._+-").chain(cut("-")).chain(cut("_-"))
}

/// The text with the escapes of JSON taken out.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let code = after
            .strip_prefix('u')
            .and_then(|hex| hex.get(..4))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        if let Some(char) = code.and_then(char::from_u32) {
            out.push(char);
            rest = &after[5..];
        } else {
            let mut chars = after.chars();
            out.extend(chars.next());
            rest = chars.as_str();
        }
    }
    out.push_str(rest);
    out
}

/// What an event has to do with a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// They did it.
    Actor,
    /// It was done to them.
    Subject,
    /// It names them.
    Mentioned,
}

impl Relation {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Subject => "subject",
            Self::Mentioned => "mentioned",
        }
    }
}

/// What of an event is a person's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What they have to do with it.
    pub relation: Relation,
    /// The fields that are theirs, as far as the event has them.
    pub tags: Vec<Tag>,
    /// Whether the structure itself names them, so that the event goes as a whole.
    pub whole: bool,
    /// Whether what is said of it later is theirs as well.
    pub spreads: bool,
}

/// What of an event is the person's; none if it has nothing to do with them.
pub fn judge(event: &Event, who: &Who) -> Option<Finding> {
    let actor = event.actor.as_ref();
    let id_is = actor.is_some_and(|actor| who.is(&actor.id));
    let email_is = actor.and_then(|actor| actor.email.as_deref()).is_some_and(|email| who.is(email));
    let claimed_is = event.claimed_user.as_ref().is_some_and(|claimed| who.is(&claimed.id));
    let context = &event.context;
    let session_is = context.session.as_deref().is_some_and(|session| who.is(session));
    // An address under another's id is theirs if that was proven; else somebody only named it.
    let email_by = email_is && event.trust == Trust::Verified;
    let by = id_is || email_by || session_is || claimed_is && actor.is_none();

    let entity = event.entity.as_ref();
    let target_is = entity.is_some_and(|entity| {
        entity.id.as_deref().is_some_and(|id| who.within(id))
            || entity.name.as_deref().is_some_and(|name| who.within(name))
    });
    let about = target_is && entity.is_some_and(|entity| PEOPLE.contains(&entity.kind.as_str()));

    let details = event.details.as_ref().map(JsonText::value);
    let changes = event.changes.as_ref().map(|changes| changes.fields.value());
    let names = |value: &Value| who.within_json(value) || by && shows_origin(value, context);
    let details_name = about || details.as_ref().is_some_and(names);
    let changes_name = about || changes.as_ref().is_some_and(names);

    let request = &event.request;
    let whole = [Some(&request.route), Some(&request.rule), event.reason.as_ref()]
        .into_iter()
        .flatten()
        .any(|text| who.within_structure(text));

    let wanted = [
        (Tag::ACTOR, id_is || email_is),
        (Tag::CLAIMED_USER, claimed_is),
        (Tag::TARGET, target_is),
        (Tag::IP, by && context.ip.is_some()),
        (Tag::USER_AGENT, by && context.user_agent.is_some()),
        (Tag::SESSION, by && context.session.is_some()),
        (Tag::PLACE, by && context.place.is_some()),
        (Tag::DETAILS, details.is_some() && details_name),
        (Tag::CHANGES, changes.is_some() && changes_name),
    ];
    let tags: Vec<Tag> = wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(tag, _)| tag).collect();
    if tags.is_empty() && !whole {
        return None;
    }
    let relation = match () {
        () if by => Relation::Actor,
        () if about || claimed_is || email_is => Relation::Subject,
        () => Relation::Mentioned,
    };
    Some(Finding { relation, whole, spreads: about || tags.contains(&Tag::CHANGES), tags })
}

/// The fields of an event that belong to somebody else who did it.
pub fn of_the_other(finding: &Finding) -> Vec<Tag> {
    if finding.relation == Relation::Actor {
        return Vec::new();
    }
    [Tag::ACTOR, Tag::CLAIMED_USER, Tag::IP, Tag::USER_AGENT, Tag::SESSION, Tag::PLACE]
        .into_iter()
        .filter(|tag| !finding.tags.contains(tag))
        .collect()
}

/// Whether free text repeats where the act came from.
fn shows_origin(value: &Value, context: &shared::event::Context) -> bool {
    let mut origin = Names::default();
    if let Some(ip) = context.ip {
        origin.add(&ip.to_string());
    }
    for text in [&context.user_agent, &context.session].into_iter().flatten() {
        origin.add_called(text);
    }
    Who::Named(origin).within_json(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(texts: &[&str]) -> Who {
        let mut names = Names::default();
        texts.iter().for_each(|text| names.add(text));
        Who::Named(names)
    }

    fn hashed(texts: &[&str]) -> Who {
        let (key, tenant) = (SubjectKey::new(&[7; 32]), "demo".parse::<TenantId>().expect("a slug"));
        let hashes = texts.iter().map(|text| key.hash(&tenant, &fold(text))).collect();
        Who::Hashed { key, tenant, hashes }
    }

    #[test]
    fn a_short_name_counts_as_a_word_and_a_long_one_anywhere() {
        let who = named(&["user-1", "0197a8f0-1111-7222-8333-944455556666"]);
        for text in ["user-1", "USER-1 ", "by user-1, twice", "a/user-1/b"] {
            assert!(who.within(text), "{text}");
        }
        for text in ["user-10", "superuser-1", "user", ""] {
            assert!(!who.within(text), "{text}");
        }
        assert!(who.within("x0197A8F0-1111-7222-8333-944455556666.png"));
    }

    #[test]
    fn hashes_find_what_names_find_where_words_are_whole() {
        let texts = ["user-1", "alice@example.com", "0197a8f0-1111-7222-8333-944455556666"];
        let (who, none) = (hashed(&texts), hashed(&[]));
        for text in [
            "user-1",
            "mail to <Alice@Example.com>, now",
            "avatars/0197a8f0-1111-7222-8333-944455556666.png",
            "id:0197a8f0-1111-7222-8333-944455556666",
        ] {
            assert!(who.within(text) && named(&texts).within(text) && !none.within(text), "{text}");
        }
        assert!(!who.within("user-10") && !who.within(""));
    }

    #[test]
    fn free_text_is_searched_at_any_depth_and_also_in_the_names_of_members() {
        let who = named(&["user-1", "12345"]);
        for value in [json!([{"a": ["user-1"]}]), json!({"user-1": true}), json!({"n": 12345})] {
            assert!(who.within_json(&value), "{value}");
        }
        assert!(!who.within_json(&json!({"n": 1, "b": null, "c": "user"})));
        assert!(!named(&["8"]).within_json(&json!({"n": 8})), "a small number is nobody's name");
    }

    #[test]
    fn bytes_are_searched_plain_and_with_escapes() {
        let who = named(&["alice@example.com", "jürgen example"]);
        for bytes in [
            &b"\xff\x00..alice@example.com\x00"[..],
            br#"{"a":"\u0061lice@example.com"}"#,
            br#"{"a":"J\u00fcrgen Example"}"#,
        ] {
            assert!(who.within_bytes(bytes));
        }
        assert!(!who.within_bytes(br#"{"a":"\u006"}"#) && !who.within_bytes(b"bob@example.com"));
    }
}
