//! Marked secrets in every place that any rule of any pack reads: none may leave, not even a piece.
//!
//! The places are taken from the rules themselves, so a new rule is covered as soon as it is written. Its condition is
//! set aside: what a rule extracts does not depend on it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::policy::{BeforeRule, Expr, Level, Pack, Router, Rule, Source};

use crate::edge::Seen;
use crate::packs::{APP, SUPABASE};

/// A piece of a secret of this many bytes counts as the secret.
const PIECE: usize = 12;

const JWT: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImNhbmFyeSJ9.eyJzdWIiOiJjYW5hcnktc3ViamVjdC0wMSJ9.Q2FuYXJ5U2lnbmF0dXJlT2ZOb2JvZHlBdEFsbA";
const SUPABASE_KEY: &str = "sb_secret_Cn4ryK3yOfTheWholeProject0";
const APP_KEY: &str = "nf_live_ca9a7e0123456789abcdef0123456789";
const PASSWORD: &str = "correct-horse-canary-staple-91!";
const BASIC: &str = "canary-user:canary-basic-auth-pw";
const CARD: &str = "4111111111111111";
const SPACED_CARD: &str = "4111 1111 1111 1111";
const COOKIE: &str = "base64-eyJhY2Nlc3NfdG9rZW4iOiJjYW5hcnktY29va2llLTAwMSJ9";
const SECRETS: &[&str] = &[JWT, SUPABASE_KEY, APP_KEY, PASSWORD, BASIC, CARD, SPACED_CARD, COOKIE];

/// What stands in every place that is read, one kind after the other.
fn plants() -> Vec<Value> {
    let url = format!("see https://{BASIC}@db.example.com/x?token={PASSWORD}&a=1&access_token={JWT}#f");
    let named = json!({
        "password": PASSWORD, "apiKey": APP_KEY, "refresh_token": PASSWORD, "Client-Secret": PASSWORD,
        "note": format!("use {SUPABASE_KEY} please"), "list": [JWT, {"cookie": COOKIE}, url],
    });
    let names = format!(r#"{{"{JWT}":{{"{APP_KEY}":1}}}}"#);
    let sentence = format!(
        "Authorization: Bearer {JWT}\nkey {SUPABASE_KEY}, \"{APP_KEY}\"; card {SPACED_CARD} until 12/29; sb-r-auth-token={COOKIE}"
    );
    vec![
        json!(JWT),
        json!(APP_KEY),
        json!(CARD),
        json!(4_111_111_111_111_111_u64),
        json!(url),
        json!(sentence),
        json!([JWT, SUPABASE_KEY, [APP_KEY, {"value": CARD}], names]),
        json!({JWT: 1, SUPABASE_KEY: {APP_KEY: true}}),
        json!(format!("{} {JWT}", "word ".repeat(199))),
        json!(json!({"raw": named.to_string(), "mode": "on"}).to_string()),
        named,
    ]
}

/// The first piece of a secret in what is kept. Every piece holds one of the blocks into which a secret can be cut at
/// half a piece, and those are found fast.
fn leaked(kept: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(kept);
    let mut found = SECRETS.iter().filter(|secret| {
        let mut blocks = secret.as_bytes().chunks_exact(PIECE / 2);
        blocks.any(|block| text.contains(core::str::from_utf8(block).expect("ASCII")))
    });
    found.find_map(|secret| {
        let mut pieces = (0..=secret.len() - PIECE).map(|at| &secret[at..at + PIECE]);
        pieces.find(|piece| text.contains(piece)).map(str::to_owned)
    })
}

/// The sources of a rule, and of its pack where the rule has none of its own.
fn sources(pack: &Pack, rule: &Rule) -> Vec<Source> {
    let expressions = rule.expressions().chain(&pack.claimed_user);
    expressions.flat_map(Expr::sources).cloned().collect()
}

/// Puts a value at a pointer and makes what is missing on the way.
fn put(into: &mut Value, pointer: &str, value: &Value) {
    let mut at = into;
    for step in pointer.split('/').skip(1) {
        let number = step.parse::<usize>().ok().filter(|number| *number < 10);
        at = match number {
            Some(number) => {
                if !at.is_array() {
                    *at = json!([]);
                }
                let items = at.as_array_mut().expect("an array");
                while items.len() <= number {
                    items.push(json!({}));
                }
                &mut items[number]
            }
            None => {
                if !at.is_object() {
                    *at = json!({});
                }
                at.as_object_mut().expect("an object").entry(step.to_owned()).or_insert(Value::Null)
            }
        };
    }
    match (at, value) {
        // A place that is read whole and in parts keeps its parts.
        (Value::Object(own), Value::Object(more)) => own.extend(more.clone()),
        (Value::Array(own), Value::Array(more)) => own.extend(more.clone()),
        (place, value) if !place.is_object() && !place.is_array() => *place = value.clone(),
        (Value::Object(own), value) => {
            own.insert("note".to_owned(), value.clone());
        }
        (place, value) => place.as_array_mut().expect("an array").push(value.clone()),
    }
}

/// The plant as what can stand in a header, a path or a query.
fn as_text(plant: &Value) -> String {
    plant.as_str().map_or_else(|| plant.to_string(), str::to_owned)
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

/// An exchange of this rule with the plant wherever it reads.
fn planted(pack: &Pack, rule: &Rule, method: &str, plant: &Value, status: Option<u16>) -> Seen {
    let text = as_text(plant);
    let (mut request, mut response, mut before) = (json!({}), json!({}), json!({}));
    let mut query: Vec<String> = rule
        .matches
        .query
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    let mut request_headers = vec![("user-agent".to_owned(), format!("Mozilla/5.0 {text}"))];
    let mut response_headers: Vec<(String, String)> = Vec::new();
    // What a failure is called is read of every answer.
    response_headers.push(("x-sb-error-code".to_owned(), text.clone()));
    let mut pointers: Vec<(u8, String)> = vec![(1, "/code".to_owned()), (1, "/error_code".to_owned())];
    for source in sources(pack, rule) {
        match source {
            Source::Request(pointer) => pointers.push((0, pointer)),
            Source::Response(pointer) => pointers.push((1, pointer)),
            Source::Before(pointer) => pointers.push((2, pointer)),
            Source::RequestHeader(name) => request_headers.push((name, text.clone())),
            Source::ResponseHeader(name) => response_headers.push((name, text.clone())),
            Source::Query(name) if !rule.matches.query.contains_key(&name) => {
                query.push(format!("{}={}", escaped(&name), escaped(&text)));
            }
            Source::Filter(column) => query.push(format!("{}=eq.{}", escaped(&column), escaped(&text))),
            _ => {}
        }
    }
    if let Some(changes) = &rule.changes {
        let sides = [(0, &changes.request), (1, &changes.after)];
        for (side, expression) in sides {
            for source in expression.iter().flat_map(Expr::sources) {
                if let Source::Request(pointer) | Source::Response(pointer) = source {
                    pointers.extend(changes.fields.iter().map(|field| (side, format!("{pointer}/{field}"))));
                }
            }
        }
        pointers.extend(changes.fields.iter().map(|field| (2, format!("/{field}"))));
    }
    // Deep places first: a place that is read whole is then filled up around them.
    pointers.sort_by_key(|(_, pointer)| core::cmp::Reverse(pointer.matches('/').count()));
    for (side, pointer) in pointers {
        let body = match side {
            0 => &mut request,
            1 => &mut response,
            _ => &mut before,
        };
        put(body, &pointer, plant);
    }
    // The old side differs from the new one, or nothing would have changed.
    let before = match &rule.before {
        Some(BeforeRule::Get { at, .. }) => {
            let mut answer = json!({});
            put(&mut answer, at, &before);
            answer
        }
        _ => json!([before]),
    };
    let path: Vec<String> = rule
        .matches
        .path
        .split('/')
        .map(|segment| if segment.starts_with('{') { escaped(&text) } else { segment.to_owned() })
        .collect();
    Seen {
        query: query.join("&"),
        request_headers,
        status,
        response_headers,
        before: Some(before.to_string().into_bytes()),
        ..Seen::of(method, &path.join("/"), &request, 200, &response)
    }
}

/// Pushes every plant through every rule; gives the rules that let something out.
fn leaks(text: &str) -> BTreeSet<String> {
    let pack = Pack::parse(text).expect("a pack");
    let mut leaks = BTreeSet::new();
    for rule in pack.rules.iter().filter(|rule| rule.level > Level::None) {
        let alone = Rule { when: None, ..rule.clone() };
        let method = rule.matches.methods[0].clone();
        let router = Router::compile(vec![Pack { rules: vec![alone], ..pack.clone() }]).expect("routable");
        for (number, plant) in plants().iter().enumerate() {
            for status in [Some(200), Some(400)] {
                let seen = planted(&pack, rule, &method, plant, status);
                let kept = seen.all_that_is_kept(&router);
                assert!(!kept.is_empty(), "{}/{} was not matched", pack.name, rule.id);
                if let Some(piece) = leaked(&kept) {
                    leaks.insert(format!(
                        "{}/{}: plant {number}, status {status:?}: {piece}",
                        pack.name, rule.id
                    ));
                }
            }
        }
    }
    leaks
}

#[test]
fn no_rule_of_the_applications_pack_lets_a_secret_out() {
    assert_eq!(leaks(APP), BTreeSet::new());
}

#[test]
fn no_rule_of_the_supabase_pack_lets_a_secret_out() {
    assert_eq!(leaks(SUPABASE), BTreeSet::new());
}

#[test]
fn a_leak_would_be_seen() {
    let kept = Seen::of("POST", "/r", &json!({"note": "x"}), 200, &json!({}))
        .all_that_is_kept(&crate::edge::rule(&json!({"details": {"note": "'canary-basic-auth-pw'"}})));
    assert_eq!(leaked(&kept).as_deref(), Some("canary-basic"));
}
