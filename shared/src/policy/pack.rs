//! Packs of rules as documents.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Expr;
use crate::event::{Action, ComplianceFlag, EntityType, Outcome, Severity};

/// Why a pack was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Not a pack: broken JSON, an unknown member, a malformed value.
    #[error("line {line}, column {column}: {reason}")]
    Document {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A rule contradicts itself or another.
    #[error("rule {rule:?}: {reason}")]
    Rule {
        /// The rule's id.
        rule: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// How much of an exchange a rule may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing; the exchange is known and not audited.
    None,
    /// Method, path, headers, status.
    Metadata,
    /// And the request's body.
    Request,
    /// And the response's body.
    Full,
}

/// A named set of rules.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// The pack's name; rules are named `pack/rule`.
    pub name: String,
    /// Rises with every change.
    pub version: u32,
    /// Where requests name a user, for rules that do not say otherwise.
    #[serde(default)]
    pub claimed_user: Vec<Expr>,
    /// The rules, first match wins.
    pub rules: Vec<Rule>,
}

/// What one kind of exchange means.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique within the pack.
    pub id: String,
    /// What is known before the request is forwarded.
    #[serde(rename = "match")]
    pub matches: MatchRule,
    /// What else must hold of the captured exchange.
    #[serde(default)]
    pub when: Option<Expr>,
    /// How much of the exchange is looked at.
    pub level: Level,
    /// Bytes of each body that are captured, up to 1 MiB; 128 KiB unless said.
    #[serde(default = "default_cap")]
    pub capture_bytes: usize,
    /// The act's name.
    pub action: Action,
    /// How much it matters.
    pub severity: Severity,
    /// Severities by condition; the first that holds wins over `severity`.
    #[serde(default)]
    pub severities: Vec<SeverityRule>,
    /// Name and severity when the outcome is a failure.
    #[serde(default)]
    pub on_failure: Option<FailureRule>,
    /// Regimes that ask for it.
    #[serde(default)]
    pub compliance: Vec<ComplianceFlag>,
    /// What it was done to.
    pub entity: EntityRule,
    /// How to tell whether it succeeded.
    #[serde(default)]
    pub outcome: OutcomeRule,
    /// A pointer into the response to a token that names the actor, where the request has none yet.
    #[serde(default)]
    pub actor_token: Option<Expr>,
    /// Where the request names a user; instead of the pack's.
    #[serde(default)]
    pub claimed_user: Option<Vec<Expr>>,
    /// What else to record, by name.
    #[serde(default)]
    pub details: BTreeMap<String, Expr>,
    /// What changed.
    #[serde(default)]
    pub changes: Option<ChangeRule>,
}

fn default_cap() -> usize {
    128 * 1024
}

/// The largest capture a rule may ask for, in bytes.
const MAX_CAPTURE: usize = 1024 * 1024;

/// What is known before the request is forwarded.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchRule {
    /// The method.
    pub method: String,
    /// The path template: `/api/agents/{id}`.
    pub path: String,
    /// Query parameters that must have these values.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
}

/// A severity under a condition.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeverityRule {
    /// When it applies.
    pub when: Expr,
    /// The severity.
    pub is: Severity,
}

/// What a failure is called.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureRule {
    /// The act's name, if another.
    #[serde(default)]
    pub action: Option<Action>,
    /// The severity.
    pub severity: Severity,
}

/// What it was done to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityRule {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: EntityType,
    /// Its id.
    #[serde(default)]
    pub id: Option<Expr>,
    /// Its name.
    #[serde(default)]
    pub name: Option<Expr>,
}

/// How to tell an outcome. A status outside 200 to 399, or none, is a failure in any case.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRule {
    /// When it failed in spite of its status.
    #[serde(default)]
    pub failure: Option<Expr>,
    /// When it succeeded; without it, whatever did not fail did.
    #[serde(default)]
    pub success: Option<Expr>,
    /// The reason of a failure that no code names.
    #[serde(default)]
    pub reason: Option<String>,
}

impl OutcomeRule {
    /// The outcome a status alone gives.
    pub fn by_status(status: Option<u16>) -> Outcome {
        match status {
            Some(200..=399) => Outcome::Success,
            Some(_) => Outcome::Failure,
            None => Outcome::Unknown,
        }
    }
}

/// Where changes are seen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRule {
    /// The object in the request that holds the wanted fields.
    pub request: Expr,
    /// The representation after the change, in the response.
    #[serde(default)]
    pub after: Option<Expr>,
    /// Fields that are recorded; all others are dropped.
    pub fields: Vec<String>,
    /// Fields that change without meaning.
    #[serde(default)]
    pub ignore: Vec<String>,
}

impl Rule {
    /// Every expression in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let entity = [&self.entity.id, &self.entity.name];
        let outcome = [&self.outcome.failure, &self.outcome.success];
        let single = [&self.when, &self.actor_token];
        let changes =
            self.changes.iter().flat_map(|changes| Some(&changes.request).into_iter().chain(&changes.after));
        single
            .into_iter()
            .chain(entity)
            .chain(outcome)
            .flatten()
            .chain(self.severities.iter().map(|severity| &severity.when))
            .chain(self.claimed_user.iter().flatten())
            .chain(self.details.values())
            .chain(changes)
    }
}

impl Pack {
    /// Reads and checks a pack.
    ///
    /// # Errors
    /// [`PackError`] with line and column, or the rule that is wrong.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let pack: Self = serde_json::from_str(text).map_err(|error| PackError::Document {
            line: error.line(),
            column: error.column(),
            reason: error.to_string(),
        })?;
        for (at, rule) in pack.rules.iter().enumerate() {
            pack.check(rule, at).map_err(|reason| PackError::Rule { rule: rule.id.clone(), reason })?;
        }
        Ok(pack)
    }

    fn check(&self, rule: &Rule, at: usize) -> Result<(), String> {
        if self.rules[..at].iter().any(|other| other.id == rule.id) {
            return Err("another rule has the same id".to_owned());
        }
        if rule.id.len() + self.name.len() > 120 {
            return Err("its id is over 120 bytes with the pack's name".to_owned());
        }
        if rule.matches.method.is_empty()
            || rule.matches.method.bytes().any(|byte| !byte.is_ascii_uppercase())
        {
            return Err(format!("method {:?} is not in capitals", rule.matches.method));
        }
        if !rule.matches.path.starts_with('/') || rule.matches.path.len() > 300 {
            return Err(format!("path {:?} does not begin with '/' or is over 300 bytes", rule.matches.path));
        }
        if rule.capture_bytes > MAX_CAPTURE {
            return Err(format!("it captures {} bytes, over the limit of {MAX_CAPTURE}", rule.capture_bytes));
        }
        if rule.compliance.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err("its compliance flags are not sorted or repeat".to_owned());
        }
        Ok(())
    }
}
