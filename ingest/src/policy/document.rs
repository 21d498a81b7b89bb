//! Documents as they are composed and compared.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::policy::served::{Document, ServedError};
use shared::policy::{Level, Pack, Rule};

use crate::store::accepted_rules::AcceptedRule;
use crate::store::policies::Policy;

/// Rules that a summary names; the rest is counted.
const NAMED: usize = 40;

/// The name of the pack that holds rules made from unmapped routes.
fn inbox_name(pack: &str) -> String {
    format!("inbox-{pack}")
}

/// The base's document with one more rule in the inbox pack.
pub(super) fn with_rule(base: Option<&Policy>, pack: &str, rule: &Value) -> Result<String, ServedError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if !(1..=60).contains(&pack.len()) || !pack.bytes().all(plain) || pack.starts_with("inbox-") {
        let reason = format!("{pack:?} is not the name of a pack to extend");
        return Err(ServedError { rule: None, line: 1, column: 1, reason });
    }
    let mut document: Value = base
        .and_then(|base| serde_json::from_str(&base.document).ok())
        .unwrap_or_else(|| json!({"packs": []}));
    let name = inbox_name(pack);
    if let Some(packs) = document["packs"].as_array_mut() {
        match packs.iter_mut().find(|pack| pack["name"] == name.as_str()) {
            Some(inbox) => {
                inbox["version"] = Value::from(inbox["version"].as_u64().unwrap_or(0).saturating_add(1));
                if let Some(rules) = inbox["rules"].as_array_mut() {
                    rules.push(rule.clone());
                }
            }
            None => packs.push(json!({"name": name, "version": 1, "extends": pack, "rules": [rule]})),
        }
    }
    Ok(document.to_string())
}

/// A rule that was just put into its inbox pack.
pub(super) struct InboxRule<'a> {
    pack: &'a Pack,
    rule: &'a Rule,
}

impl<'a> InboxRule<'a> {
    pub(super) fn find(document: &'a Document, pack: &str, rule: &Value) -> Option<Self> {
        let name = inbox_name(pack);
        let pack = document.packs().iter().find(|pack| pack.name == name)?;
        let rule = pack.rules.iter().find(|known| rule["id"] == known.id.as_str())?;
        Some(Self { pack, rule })
    }

    /// The routes it is about, on this host.
    pub(super) fn routes(&self, host: &str) -> Vec<AcceptedRule> {
        let Self { pack, rule } = self;
        // What else a rule asks for, past events of unmapped routes do not hold.
        let relabels = rule.when.is_none()
            && rule.matches.query.is_empty()
            && rule.actions.is_empty()
            && rule.level > Level::None;
        rule.matches
            .methods
            .iter()
            .map(|method| AcceptedRule {
                rule: format!("{}/{}", pack.name, rule.id),
                action: rule.action.to_string(),
                host: host.to_owned(),
                method: method.clone(),
                route: folded(&rule.matches.path),
                relabels,
            })
            .collect()
    }
}

/// The rules of all inbox packs, as `pack/rule` with their actions.
pub(super) fn inbox_rules(document: &Document) -> Vec<(String, String)> {
    let inboxes = document.packs().iter().filter(|pack| pack.name.starts_with("inbox-"));
    inboxes
        .flat_map(|pack| {
            pack.rules.iter().map(|rule| (format!("{}/{}", pack.name, rule.id), rule.action.to_string()))
        })
        .collect()
}

/// A template as the folded path of its requests.
fn folded(template: &str) -> String {
    let fold = |segment: &str| if segment.contains('{') { "{id}".to_owned() } else { segment.to_owned() };
    template.split('/').map(fold).collect::<Vec<_>>().join("/")
}

/// What a document changes, by pack: rules added, removed and changed.
pub(super) fn difference(active: Option<&Policy>, document: &Document) -> Value {
    let old = active.map(|active| rules_of(&active.document)).unwrap_or_default();
    let new = rules_of(&document.to_line());
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let nothing = BTreeMap::new();
    let mut packs = Map::new();
    for name in names {
        let (before, after) = (old.get(name).unwrap_or(&nothing), new.get(name).unwrap_or(&nothing));
        let named = |ids: Vec<&String>| {
            let more = ids.len().saturating_sub(NAMED);
            let mut ids: Vec<Value> =
                ids.into_iter().take(NAMED).map(|id| Value::from(id.as_str())).collect();
            if more > 0 {
                ids.push(Value::from(format!("{more} more")));
            }
            Value::Array(ids)
        };
        let added = after.keys().filter(|id| !before.contains_key(*id)).collect();
        let removed = before.keys().filter(|id| !after.contains_key(*id)).collect();
        let changed = after.iter().filter(|(id, rule)| before.get(*id).is_some_and(|old| old != *rule));
        let changed = changed.map(|(id, _)| id).collect();
        packs.insert(
            name.clone(),
            json!({
                "pack": match (old.contains_key(name), new.contains_key(name)) {
                    (false, _) => "added",
                    (_, false) => "removed",
                    _ => "kept",
                },
                "added": named(added), "removed": named(removed), "changed": named(changed),
            }),
        );
    }
    Value::Object(packs)
}

/// Pack to rule to its text, with what the pack says beside its rules under an id no rule can have.
fn rules_of(document: &str) -> BTreeMap<String, BTreeMap<String, Value>> {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packs = document["packs"].as_array().into_iter().flatten();
    packs
        .map(|pack| {
            let rules = pack["rules"].as_array().into_iter().flatten();
            let mut all: BTreeMap<String, Value> =
                rules.map(|rule| (text(&rule["id"]), rule.clone())).collect();
            let mut beside = pack.clone();
            if let Some(members) = beside.as_object_mut() {
                for member in ["rules", "name", "version"] {
                    members.remove(member);
                }
            }
            all.insert("(defaults)".to_owned(), beside);
            (text(&pack["name"]), all)
        })
        .collect()
}
