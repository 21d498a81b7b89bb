//! A pack as it is written: members left out stand in the pack's `defaults`, lists are named once.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Expr;
use super::pack::{
    ActionRule, ActsForRule, BeforeRule, ChangeRule, EntityRule, FailMode, FailureRule, Flaw, Level,
    MatchRule, OutcomeRule, Pack, Rule, SeverityRule, SystemActor,
};
use crate::event::{Action, ComplianceFlag, Severity};

/// A pack's document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PackDocument {
    name: String,
    version: u32,
    #[serde(default)]
    extends: Option<String>,
    #[serde(default)]
    claimed_user: Vec<Expr>,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    lists: BTreeMap<String, Vec<String>>,
    rules: Vec<RuleDocument>,
}

/// What a pack says once for all of its rules.
#[derive(Debug, Default)]
pub(super) struct Context {
    defaults: Defaults,
    lists: BTreeMap<String, Vec<String>>,
}

/// What rules mean that do not say it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    level: Option<Level>,
    severity: Option<Severity>,
    on_failure: Option<FailureRule>,
    compliance: Option<Vec<ComplianceFlag>>,
    outcome: Option<OutcomeRule>,
    claimed_user: Option<Vec<Expr>>,
    #[serde(default)]
    details: BTreeMap<String, Expr>,
}

/// A rule's document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDocument {
    id: String,
    #[serde(rename = "match")]
    matches: MatchRule,
    when: Option<Expr>,
    level: Option<Level>,
    capture_bytes: Option<usize>,
    action: Action,
    #[serde(default)]
    actions: Vec<ActionRule>,
    severity: Option<Severity>,
    #[serde(default)]
    severities: Vec<SeverityRule>,
    on_failure: Option<FailureRule>,
    compliance: Option<Vec<ComplianceFlag>>,
    entity: EntityRule,
    outcome: Option<OutcomeRule>,
    actor_token: Option<Expr>,
    claimed_user: Option<Vec<Expr>>,
    #[serde(default)]
    details: BTreeMap<String, Expr>,
    before: Option<BeforeRule>,
    changes: Option<ChangeRule>,
    #[serde(default)]
    fail: FailMode,
    system: Option<SystemActor>,
    acts_for: Option<ActsForRule>,
    #[serde(default)]
    echo: bool,
    #[serde(default)]
    stream: bool,
}

/// Bytes of each body that are captured unless a rule says otherwise.
const CAPTURE: usize = 128 * 1024;

impl PackDocument {
    /// The pack with every member in its place; the error names the rule.
    #[inline]
    pub(super) fn resolve(self) -> Result<Pack, (String, Flaw)> {
        let Self { name, version, extends, claimed_user, defaults, lists, rules } = self;
        let context = Context { defaults, lists };
        let rules = rules
            .into_iter()
            .map(|rule| {
                let id = rule.id.clone();
                rule.resolve(&context).map_err(|flaw| (id, flaw))
            })
            .collect::<Result<_, _>>()?;
        Ok(Pack { name, version, extends, claimed_user, rules })
    }

    /// Its name, where requests name a user, and what it says for rules that come by themselves.
    pub(super) fn into_context(self) -> (String, Vec<Expr>, Context) {
        (self.name, self.claimed_user, Context { defaults: self.defaults, lists: self.lists })
    }
}

impl RuleDocument {
    /// The rule with every member in its place.
    #[inline]
    pub(super) fn resolve(self, Context { defaults, lists }: &Context) -> Result<Rule, Flaw> {
        let changes = match self.changes {
            Some(changes) => Some(ChangeRule {
                fields: expanded(changes.fields, lists).map_err(|reason| ("/changes/fields", reason))?,
                ignore: expanded(changes.ignore, lists).map_err(|reason| ("/changes/ignore", reason))?,
                ..changes
            }),
            None => None,
        };
        let level = self.level.or(defaults.level).ok_or_else(|| ("", "it has no level".to_owned()))?;
        // What is not audited needs no details, and none of its sources.
        let mut details = if level == Level::None { BTreeMap::new() } else { defaults.details.clone() };
        details.extend(self.details);
        Ok(Rule {
            id: self.id,
            matches: self.matches,
            when: self.when,
            level,
            capture_bytes: self.capture_bytes.unwrap_or(CAPTURE),
            action: self.action,
            actions: self.actions,
            severity: self
                .severity
                .or(defaults.severity)
                .ok_or_else(|| ("", "it has no severity".to_owned()))?,
            severities: self.severities,
            on_failure: self.on_failure.or_else(|| defaults.on_failure.clone()),
            compliance: self.compliance.or_else(|| defaults.compliance.clone()).unwrap_or_default(),
            entity: self.entity,
            outcome: self.outcome.or_else(|| defaults.outcome.clone()).unwrap_or_default(),
            actor_token: self.actor_token,
            claimed_user: self.claimed_user.or_else(|| defaults.claimed_user.clone()),
            details,
            before: self.before,
            changes,
            fail: self.fail,
            system: self.system,
            acts_for: self.acts_for,
            echo: self.echo,
            stream: self.stream,
        })
    }
}

/// The list with every `@name` replaced by the list of that name.
fn expanded(list: Vec<String>, lists: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>, String> {
    let mut all = Vec::with_capacity(list.len());
    for item in list {
        match item.strip_prefix('@') {
            Some(name) => {
                all.extend(
                    lists.get(name).ok_or_else(|| format!("there is no list {name:?}"))?.iter().cloned(),
                );
            }
            None => all.push(item),
        }
    }
    Ok(all)
}
