//! Drafts of rules for routes that no rule names: a start for whoever knows what the route does.

use serde_json::{Value, json};

use super::trial::Trial;

/// A pack for each side that has such routes. Each is a pack that can be used as it is.
pub(super) fn packs(trial: &Trial) -> Vec<Value> {
    ["app", "supabase"]
        .into_iter()
        .filter_map(|side| {
            let mut rules: Vec<Value> = Vec::new();
            let unknown = trial.unmapped.iter().filter(|(_, route)| route.side == side && !route.known);
            for ((method, route), _) in unknown {
                rules.push(rule(method, route, rules.len()));
            }
            (!rules.is_empty()).then(
                || json!({"name": format!("{side}-own"), "version": 1, "extends": side, "rules": rules}),
            )
        })
        .collect()
}

fn rule(method: &str, route: &str, number: usize) -> Value {
    let words: Vec<&str> =
        route.split('/').filter(|word| !word.is_empty() && !word.starts_with('{')).collect();
    let subject = words.last().copied().unwrap_or("root");
    let kind = singular(&word(subject));
    let verb = match method {
        "POST" => "CREATED",
        "DELETE" => "DELETED",
        _ => "UPDATED",
    };
    let mut ids = 0;
    let path: Vec<String> = route
        .split('/')
        .map(|segment| {
            if segment == "{rest}" {
                return "{*rest}".to_owned();
            }
            if segment != "{id}" {
                return segment.to_owned();
            }
            ids += 1;
            if ids == 1 { "{id}".to_owned() } else { format!("{{id{ids}}}") }
        })
        .collect();
    let mut entity = json!({"type": kind});
    if ids > 0 {
        entity["id"] = json!(if ids == 1 { "path:id".to_owned() } else { format!("path:id{ids}") });
    }
    json!({
        "id": format!("{kind}.{}.{}", method.to_ascii_lowercase(), number + 1),
        "match": {"method": method, "path": path.join("/")},
        "level": "metadata",
        "action": format!("{}_{verb}", kind.to_ascii_uppercase()),
        "severity": "info",
        "on_failure": {"severity": "warning"},
        "entity": entity,
    })
}

/// Letters, digits and underscores only, at most 40 of them.
fn word(text: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '_' };
    let word: String = text.chars().map(plain).take(40).collect();
    if word.is_empty() { "root".to_owned() } else { word }
}

fn singular(word: &str) -> String {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use shared::policy::Pack;

    use super::*;

    #[test]
    fn a_draft_is_named_after_its_last_word_and_can_be_used() {
        let rules: Vec<Value> = [
            ("POST", "/api/agents/{id}/shares"),
            ("DELETE", "/api/teams/{id}/members/{id}"),
            ("PATCH", "/rest/v1/agent_status"),
            ("PUT", "/"),
            ("POST", "/a/b/c/d/e/f/g/h/{rest}"),
        ]
        .into_iter()
        .enumerate()
        .map(|(number, (method, route))| rule(method, route, number))
        .collect();
        assert_eq!(rules[0]["action"], "SHARE_CREATED");
        assert_eq!(rules[0]["entity"], json!({"type": "share", "id": "path:id"}));
        assert_eq!(rules[1]["match"]["path"], "/api/teams/{id}/members/{id2}");
        assert_eq!(rules[1]["entity"]["id"], "path:id2");
        assert_eq!(rules[2]["action"], "AGENT_STATUS_UPDATED");
        let pack = json!({"name": "own", "version": 1, "rules": rules}).to_string();
        assert_eq!(Pack::parse(&pack).expect("a pack").rules.len(), 5);
        super::super::packs::PackFile::parse(&pack).expect("routable");
    }
}
