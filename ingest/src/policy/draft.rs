//! A first guess at the rule for a route, in the application's own naming: `PUT /api/foo-bars/{id}` is `FOO_BAR_UPDATED`
//! on a `foo_bar`. Whoever accepts it has read it; it only has to be a good start and a valid rule.

use serde_json::{Value, json};
use shared::event::{Action, EntityType};
use shared::policy::is_mutating;

/// Segments that say where an interface is, not what it is about.
const PREFIXES: &[&str] =
    &["api", "rest", "rpc", "auth", "functions", "storage", "admin", "internal", "trpc"];

/// What is done, as it stands in a path, and as an action says it.
const VERBS: &[(&str, &str)] = &[
    ("create", "CREATED"),
    ("add", "ADDED"),
    ("new", "CREATED"),
    ("update", "UPDATED"),
    ("edit", "UPDATED"),
    ("save", "SAVED"),
    ("delete", "DELETED"),
    ("remove", "REMOVED"),
    ("run", "RUN"),
    ("execute", "EXECUTED"),
    ("send", "SENT"),
    ("reset", "RESET"),
    ("set", "SET"),
    ("submit", "SUBMITTED"),
    ("cancel", "CANCELLED"),
    ("stop", "STOPPED"),
    ("generate", "GENERATED"),
    ("upload", "UPLOADED"),
    ("import", "IMPORTED"),
    ("export", "EXPORTED"),
    ("publish", "PUBLISHED"),
    ("archive", "ARCHIVED"),
    ("restore", "RESTORED"),
    ("approve", "APPROVED"),
    ("reject", "REJECTED"),
    ("enable", "ENABLED"),
    ("disable", "DISABLED"),
    ("activate", "ACTIVATED"),
    ("deactivate", "DEACTIVATED"),
    ("connect", "CONNECTED"),
    ("disconnect", "DISCONNECTED"),
    ("invite", "INVITED"),
    ("share", "SHARED"),
    ("revoke", "REVOKED"),
    ("pause", "PAUSED"),
    ("resume", "RESUMED"),
    ("start", "STARTED"),
    ("complete", "COMPLETED"),
    ("duplicate", "DUPLICATED"),
    ("sync", "SYNCED"),
    ("refresh", "REFRESHED"),
    ("test", "TESTED"),
];

/// The rule for a mutating route; the error says why there is none.
///
/// # Errors
/// If the method changes nothing, or the route is no path.
pub fn draft(method: &str, route: &str) -> Result<Value, &'static str> {
    if !is_mutating(method) {
        return Err("is not POST, PUT, PATCH or DELETE");
    }
    if !route.starts_with('/') || route.len() > 300 || route.contains(['\0', '*', '?', '#']) {
        return Err("is not a folded path");
    }
    let segments: Vec<&str> = route.split('/').filter(|segment| !segment.is_empty()).collect();
    let words: Vec<Vec<String>> =
        segments.iter().filter(|segment| !segment.contains('{')).map(|segment| words(segment)).collect();
    let telling: Vec<&Vec<String>> = words
        .iter()
        .filter(|words| match words.as_slice() {
            [] => false,
            [word] => !PREFIXES.contains(&word.as_str()) && !is_version(word),
            _ => true,
        })
        .collect();
    let rest = segments.first() == Some(&"rest");
    let remote_call = rest && segments.contains(&"rpc");
    let after_id = segments.last().is_some_and(|last| !last.contains('{'))
        && segments.iter().rev().nth(1).is_some_and(|before| before.contains('{'));
    let (noun, done) = match telling.as_slice() {
        [] => (vec!["route".to_owned()], by_method(method)),
        [.., last] if remote_call => (last.to_vec(), "CALLED".to_owned()),
        [before @ .., last] => match verb(last) {
            // `/api/create-agent`
            Some((done, noun)) if !noun.is_empty() => (singular(noun), done),
            // `/api/agents/{id}/run`, `/api/agents/run`
            Some((done, _)) => match before.last() {
                Some(noun) => (singular(noun), done),
                None => (last.to_vec(), done),
            },
            // `/api/agents/{id}/status`: a part of the agent, unless it is a list of its own.
            None if after_id && !is_plural(last) && !before.is_empty() => {
                let noun = before.last().map(|noun| singular(noun)).unwrap_or_default();
                ([noun, last.to_vec()].concat(), by_method(method).replace("CREATED", "UPDATED"))
            }
            None => (singular(last), by_method(method)),
        },
    };
    let entity = fitting(&noun.join("_"), 64);
    let action = fitting(&format!("{}_{done}", fitting(&noun.join("_"), 48)).to_uppercase(), 64);
    let (path, own_id) = template(&segments);
    let id = match own_id {
        Some(name) => format!("first(path:{name}, response:/id)"),
        None if rest => "first(filter:id, response:/0/id, response:/id, request:/id)".to_owned(),
        None => {
            let member = noun.last().map_or("", String::as_str);
            format!("first(response:/id, response:/data/id, response:/{member}/id, request:/id)")
        }
    };
    // Checked here, so that what is drafted can be accepted as it is.
    let entity = EntityType::try_from(entity).map_err(|_| "has no word to name it by")?;
    let action = Action::try_from(action).map_err(|_| "has no word to name it by")?;
    let severity = if method == "DELETE" { "warning" } else { "info" };
    Ok(json!({
        "id": fitting(&format!("{}.{}", method.to_lowercase(), path_words(&segments)), 80),
        "match": {"method": method, "path": path},
        "level": "full",
        "action": action,
        "severity": severity,
        "on_failure": {"severity": "warning"},
        "entity": {"type": entity, "id": id},
        "outcome": {"failure": "equals(response:/success, false)"},
    }))
}

fn by_method(method: &str) -> String {
    match method {
        "POST" => "CREATED",
        "DELETE" => "DELETED",
        _ => "UPDATED",
    }
    .to_owned()
}

/// The words of a segment: `createAgent` and `create-agent` have two.
fn words(segment: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for char in segment.chars() {
        if !char.is_ascii_alphanumeric() {
            words.push(String::new());
        } else {
            if small && char.is_ascii_uppercase() {
                words.push(String::new());
            }
            words.last_mut().expect("never empty").push(char.to_ascii_lowercase());
        }
        small = char.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_version(word: &str) -> bool {
    word.strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()))
}

/// What is done, and to what, if a segment begins or ends with a verb.
fn verb(words: &[String]) -> Option<(String, &[String])> {
    let known =
        |word: &String| VERBS.iter().find(|(verb, _)| verb == word).map(|(_, done)| (*done).to_owned());
    let first = words.first().and_then(known).map(|done| (done, &words[1..]));
    first.or_else(|| words.last().and_then(known).map(|done| (done, &words[..words.len() - 1])))
}

fn is_plural(words: &[String]) -> bool {
    words.last().is_some_and(|word| word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us"))
}

fn singular(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    if is_plural(&words)
        && let Some(last) = words.last_mut()
    {
        let stem = [("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", "")]
            .iter()
            .find_map(|(end, one)| Some(format!("{}{one}", last.strip_suffix(end)?)));
        *last = stem.filter(|stem| stem.len() > 1).unwrap_or_else(|| last.clone());
    }
    words
}

/// The route as a template whose parameters have names of their own, and the name of the last segment's.
fn template(segments: &[&str]) -> (String, Option<String>) {
    let last = segments.iter().rposition(|segment| segment.contains('{'));
    let mut taken: Vec<String> = Vec::new();
    let mut path = String::new();
    for (at, segment) in segments.iter().enumerate() {
        path.push('/');
        if *segment == "{rest}" {
            path.push_str("{*rest}");
            break;
        }
        if !segment.contains('{') {
            path.push_str(segment);
            continue;
        }
        let before = at.checked_sub(1).map(|at| singular(&words(segments[at]))).unwrap_or_default();
        let mut name = if Some(at) == last { "id".to_owned() } else { format!("{}_id", before.join("_")) };
        while taken.contains(&name) {
            name.push('_');
        }
        path.push_str(&format!("{{{name}}}"));
        taken.push(name);
    }
    let own = taken.iter().find(|name| *name == "id").cloned();
    (if path.is_empty() { "/".to_owned() } else { path }, own)
}

fn path_words(segments: &[&str]) -> String {
    let words = segments.iter().map(|segment| words(segment).join("-")).filter(|words| words != "api");
    words.collect::<Vec<_>>().join(".")
}

fn fitting(text: &str, max: usize) -> String {
    text.chars().take(max).collect::<String>().trim_end_matches(['_', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::policy::served::{Bounds, Document, check};

    use super::*;

    fn packed(rule: &Value) -> String {
        json!({"packs": [{"name": "inbox-app", "version": 1, "extends": "app", "rules": [rule]}]}).to_string()
    }

    #[test]
    fn a_route_is_named_as_the_application_would() {
        for (method, route, action, entity, path) in [
            ("PUT", "/api/foo-bars/{id}", "FOO_BAR_UPDATED", "foo_bar", "/api/foo-bars/{id}"),
            ("POST", "/api/agents", "AGENT_CREATED", "agent", "/api/agents"),
            ("DELETE", "/api/v2/categories/{id}", "CATEGORY_DELETED", "category", "/api/v2/categories/{id}"),
            ("POST", "/api/create-agent", "AGENT_CREATED", "agent", "/api/create-agent"),
            ("POST", "/api/agents/{id}/archive", "AGENT_ARCHIVED", "agent", "/api/agents/{id}/archive"),
            (
                "PATCH",
                "/api/agents/{id}/status",
                "AGENT_STATUS_UPDATED",
                "agent_status",
                "/api/agents/{id}/status",
            ),
            (
                "POST",
                "/api/agents/{id}/notes/{id}/replies",
                "REPLY_CREATED",
                "reply",
                "/api/agents/{agent_id}/notes/{id}/replies",
            ),
            (
                "PATCH",
                "/rest/v1/user_profiles",
                "USER_PROFILE_UPDATED",
                "user_profile",
                "/rest/v1/user_profiles",
            ),
            ("POST", "/rest/v1/rpc/do_thing", "DO_THING_CALLED", "do_thing", "/rest/v1/rpc/do_thing"),
            ("POST", "/", "ROUTE_CREATED", "route", "/"),
        ] {
            let rule = draft(method, route).expect(route);
            assert_eq!(
                (&rule["action"], &rule["entity"]["type"]),
                (&json!(action), &json!(entity)),
                "{route}"
            );
            assert_eq!(rule["match"]["path"], path);
        }
        assert!(draft("GET", "/api/agents").is_err());
        assert!(draft("POST", "*").is_err());
    }

    proptest! {
        #[test]
        fn what_is_drafted_is_a_valid_rule(
            method in prop::sample::select(vec!["POST", "PUT", "PATCH", "DELETE"]),
            segments in prop::collection::vec("[a-zA-Z0-9_.-]{1,12}|\\{id\\}", 0..7),
        ) {
            let route = format!("/{}", segments.join("/"));
            if let Ok(rule) = draft(method, &route) {
                let text = packed(&rule);
                let document = Document::parse(&text).expect(&text);
                prop_assert_eq!(check(&document, Bounds::default()), Ok(()), "{}", text);
            }
        }

        #[test]
        fn no_route_panics(route in ".{0,80}") {
            let _ = draft("POST", &route);
        }
    }
}
