//! Personal data in views of events, for readers who have given no reason to see it.
//!
//! Covered: e-mail addresses and IP addresses wherever they stand in a text, the user agent, the session, names of people (of
//! entities that are people, and under the usual member names) in the entity, the details and the changes. Ids stay: an
//! investigation has to tell people apart, and an id names nobody to whoever cannot look it up. Free text that names
//! somebody in other words is not recognised.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// What stands in place of a masked value.
pub const MASKED: &str = "[masked]";

/// Entities that are people.
const PEOPLE: [&str; 9] =
    ["user", "profile", "member", "person", "customer", "contact", "account", "subject", "employee"];

/// Members that hold personal data of whomever, without case and separators.
const MEMBERS: [&str; 26] = [
    "address",
    "avatar",
    "avatarurl",
    "birthdate",
    "birthday",
    "city",
    "dateofbirth",
    "displayname",
    "familyname",
    "firstname",
    "fullname",
    "givenname",
    "ip",
    "ipaddress",
    "lastname",
    "middlename",
    "mobile",
    "nickname",
    "phone",
    "phonenumber",
    "postalcode",
    "sessionid",
    "street",
    "useragent",
    "username",
    "zip",
];

/// Nesting that is looked into; what is deeper is masked whole.
const MAX_DEPTH: usize = 32;

/// Masks a view of an event, its annotations among it.
pub fn mask(view: &mut Value) {
    let Some(event) = view.as_object_mut() else { return };
    let is_person = event
        .get("entity")
        .and_then(|entity| entity.get("type"))
        .and_then(Value::as_str)
        .is_some_and(|kind| PEOPLE.contains(&kind));
    if let Some(context) = event.get_mut("context").and_then(Value::as_object_mut) {
        for name in ["user_agent", "session"] {
            whole(context.get_mut(name));
        }
    }
    if is_person {
        whole(event.get_mut("entity").and_then(|entity| entity.get_mut("name")));
    }
    for name in ["details", "changes"] {
        if let Some(value) = event.get_mut(name) {
            inside(value, is_person, 0);
        }
    }
    // A summary quotes values, so it is told anew from what is left of them.
    if let Some(changes) = event.get_mut("changes").and_then(Value::as_object_mut)
        && changes.get("summary").is_some_and(|summary| !summary.is_null())
    {
        let told = changes.get("fields").and_then(Value::as_object).and_then(shared::diff::words);
        changes.insert("summary".to_owned(), told.into());
    }
    if let Some(annotations) = event.get_mut("annotations").and_then(Value::as_array_mut) {
        annotations.iter_mut().for_each(mask);
    }
    for (name, value) in event.iter_mut() {
        // Of the request everything is the deployment's own.
        if !["details", "changes", "annotations", "request", "id", "tenant"].contains(&name.as_str()) {
            inside(value, false, 0);
        }
    }
    event.insert("masked".to_owned(), true.into());
}

/// Masks the value of a field of an entity, by the entity's type and the field's path.
pub fn mask_field(kind: &str, path: &str, value: &mut Value) {
    let is_person = PEOPLE.contains(&kind);
    if is_personal(path, is_person) && !is_address(value) {
        texts(value, 0);
    } else {
        inside(value, is_person, 0);
    }
}

/// A text without e-mail addresses and IP addresses.
pub fn mask_text(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut word = String::new();
    for char in text.chars() {
        if char.is_alphanumeric() || "@.:_+-%".contains(char) {
            word.push(char);
        } else {
            masked.push_str(&mask_word(&word));
            word.clear();
            masked.push(char);
        }
    }
    masked.push_str(&mask_word(&word));
    masked
}

fn mask_word(word: &str) -> String {
    // A full stop or a colon at the end belongs to the sentence.
    let core = word.trim_end_matches(['.', ':', '-']);
    let rest = &word[core.len()..];
    let masked = match core.rsplit_once('@') {
        // The host tells colleagues from strangers, and the first letter one colleague from another.
        Some((name, host)) if !name.is_empty() && !host.is_empty() => {
            let first: String = name.chars().take(1).collect();
            Some(format!("{first}***@{host}"))
        }
        _ => core.parse().ok().or_else(|| address_with_port(core)).map(mask_address),
    };
    masked.map_or_else(|| word.to_owned(), |masked| masked + rest)
}

fn address_with_port(word: &str) -> Option<IpAddr> {
    word.parse::<std::net::SocketAddrV4>().ok().map(|address| (*address.ip()).into())
}

/// The network of an address: 24 bits of IPv4, 48 of IPv6.
fn mask_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.*")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::*")
        }
    }
}

fn inside(value: &mut Value, is_person: bool, depth: usize) {
    if depth > MAX_DEPTH {
        *value = MASKED.into();
        return;
    }
    match value {
        Value::String(text) => *text = mask_text(text),
        Value::Array(items) => items.iter_mut().for_each(|item| inside(item, is_person, depth + 1)),
        Value::Object(members) => members_inside(members, is_person, depth),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn members_inside(members: &mut Map<String, Value>, is_person: bool, depth: usize) {
    for (path, value) in members.iter_mut() {
        if is_personal(path, is_person) && !is_address(value) {
            texts(value, depth + 1);
        } else {
            inside(value, is_person, depth + 1);
        }
    }
}

/// Whether it is one address, which is masked to its network instead of whole.
fn is_address(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok())
}

/// Whether the last part of a member's path is a name of personal data.
fn is_personal(path: &str, is_person: bool) -> bool {
    let last = path.rsplit(['.', '/', ']']).find(|part| !part.is_empty()).unwrap_or(path);
    let plain: String = last.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    MEMBERS.contains(&plain.as_str()) || is_person && plain == "name"
}

/// Masks every text and number in a value, whole; its shape stays.
fn texts(value: &mut Value, depth: usize) {
    match value {
        Value::Array(items) if depth <= MAX_DEPTH => items.iter_mut().for_each(|item| texts(item, depth + 1)),
        Value::Object(members) if depth <= MAX_DEPTH => {
            members.values_mut().for_each(|member| texts(member, depth + 1));
        }
        Value::Null | Value::Bool(_) => {}
        value => *value = MASKED.into(),
    }
}

fn whole(value: Option<&mut Value>) {
    if let Some(value) = value.filter(|value| !value.is_null()) {
        *value = MASKED.into();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_inside_texts_are_masked_and_the_text_stays() {
        for (text, masked) in [
            ("alice@example.com", "a***@example.com"),
            ("wrote to <bob.b+x@mail.example.com>.", "wrote to <b***@mail.example.com>."),
            ("from 203.0.113.7, twice", "from 203.0.113.*, twice"),
            ("203.0.113.7:443", "203.0.113.*"),
            ("2001:db8:1:2::7", "2001:db8:1::*"),
            ("::ffff:203.0.113.7", "203.0.113.*"),
            ("version 1.2.3 at 12:30", "version 1.2.3 at 12:30"),
            ("@alice", "@alice"),
            ("élise@example.com", "é***@example.com"),
            ("", ""),
        ] {
            assert_eq!(mask_text(text), masked);
        }
    }

    fn event() -> Value {
        json!({
            "id": "0190", "tenant": "demo", "action": "USER_UPDATED",
            "actor": {"id": "u-1", "email": "alice@example.com"},
            "claimed_user": {"id": "bob@example.com"},
            "entity": {"type": "user", "id": "u-2", "name": "Bob Builder"},
            "context": {"ip": "203.0.113.7", "user_agent": "Firefox", "session": "s-1", "place": {"country": "DE"}},
            "request": {"route": "/api/users/{id}"},
            "details": {"n": 4, "ip": "203.0.113.7", "note": "asked by carol@example.com",
                        "who": {"fullName": "Bob Builder", "phone": 49151}},
            "changes": {
                "quality": "exact",
                "fields": {"name": {"from": "Bob Builder", "to": "Robert"}, "plan": {"from": "free", "to": "pro"}},
                "summary": "changed name from Bob Builder to Robert, changed plan from free to pro",
            },
            "annotations": [{"actor": {"id": "edgetrail"}, "details": {"email": "alice@example.com"}}],
        })
    }

    #[test]
    fn nothing_personal_is_left_and_the_rest_is_untouched() {
        let mut view = event();
        mask(&mut view);
        let text = view.to_string();
        for gone in ["alice", "bob@", "carol", "Builder", "Robert", "203.0.113.7", "Firefox", "s-1", "49151"]
        {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
        assert_eq!(view["actor"], json!({"id": "u-1", "email": "a***@example.com"}));
        assert_eq!(view["context"]["ip"], "203.0.113.*");
        assert_eq!(view["context"]["place"], json!({"country": "DE"}));
        assert_eq!(view["changes"]["fields"]["plan"], json!({"from": "free", "to": "pro"}));
        assert_eq!(view["request"], event()["request"]);
        assert_eq!(view["details"]["n"], 4);
        assert_eq!(view["masked"], true);
    }

    #[test]
    fn the_name_of_a_thing_is_no_persons() {
        let mut view = json!({"entity": {"type": "agent", "id": "7", "name": "Invoice bot"},
            "details": {"name": "Invoice bot"}});
        mask(&mut view);
        assert_eq!(view["entity"]["name"], "Invoice bot");
        assert_eq!(view["details"]["name"], "Invoice bot");
    }

    proptest! {
        #[test]
        fn no_text_breaks_masking(text in "\\PC{0,80}") {
            let _ = mask_text(&text);
        }

        #[test]
        fn an_address_is_found_among_any_words(before in "[a-z ,;(<]{0,20}", after in "[ ,;)>][a-z ]{0,20}") {
            let masked = mask_text(&format!("{before} zoe.quill@example.com{after}"));
            prop_assert!(!masked.contains("oe.quill"), "{masked}");
        }
    }
}
