//! Packs of rules as documents.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::document::PackDocument;
use super::{Expr, Source};
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
    /// It has no rule: nothing would be audited, and nothing would say so.
    #[error("the pack has no rule")]
    Empty,
    /// A rule contradicts itself or another.
    #[error("rule {rule:?}: {reason}")]
    Rule {
        /// The rule's id.
        rule: String,
        /// The rule's member that it is about, as a JSON pointer.
        member: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl PackError {
    /// The line and column, both from 1, of what is wrong in the pack's text.
    pub fn place(&self, text: &str) -> (usize, usize) {
        super::place::of(text, self)
    }

    /// What is wrong, without its place.
    pub fn reason(&self) -> String {
        match self {
            Self::Document { line, column, reason } => {
                let place = format!(" at line {line} column {column}");
                reason.strip_suffix(&place).unwrap_or(reason).to_owned()
            }
            Self::Rule { .. } | Self::Empty => self.to_string(),
        }
    }
}

/// The rule's member that is wrong, and why.
pub(super) type Flaw = (&'static str, String);

fn flaw(member: &'static str, reason: impl Into<String>) -> Result<(), Flaw> {
    Err((member, reason.into()))
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
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    /// The pack's name; rules are named `pack/rule`.
    pub name: String,
    /// Rises with every change.
    pub version: u32,
    /// The pack before whose rules these come; none for a pack of its own.
    pub extends: Option<String>,
    /// Where requests name a user, for rules that do not say otherwise.
    pub claimed_user: Vec<Expr>,
    /// The rules, first match wins.
    pub rules: Vec<Rule>,
}

/// What one kind of exchange means.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique within the pack.
    pub id: String,
    /// What is known before the request is forwarded.
    pub matches: MatchRule,
    /// What else must hold of the captured exchange.
    pub when: Option<Expr>,
    /// How much of the exchange is looked at.
    pub level: Level,
    /// Bytes of each body that are captured, up to 1 MiB; 128 KiB unless said.
    pub capture_bytes: usize,
    /// The act's name.
    pub action: Action,
    /// Names by condition; the first that holds wins over `action`.
    pub actions: Vec<ActionRule>,
    /// How much it matters.
    pub severity: Severity,
    /// Severities by condition; the first that holds wins over `severity`.
    pub severities: Vec<SeverityRule>,
    /// Name and severity when the outcome is a failure.
    pub on_failure: Option<FailureRule>,
    /// Regimes that ask for it.
    pub compliance: Vec<ComplianceFlag>,
    /// What it was done to.
    pub entity: EntityRule,
    /// How to tell whether it succeeded.
    pub outcome: OutcomeRule,
    /// A pointer into the response to a token that names the actor, where the request has none yet.
    pub actor_token: Option<Expr>,
    /// Where the request names a user; instead of the pack's.
    pub claimed_user: Option<Vec<Expr>>,
    /// What else to record, by name.
    pub details: BTreeMap<String, Expr>,
    /// Where the old side is read.
    pub before: Option<BeforeRule>,
    /// What changed.
    pub changes: Option<ChangeRule>,
    /// What happens if the audit trail is not there.
    pub fail: FailMode,
    /// Who acts where nobody is named and the origin took the request.
    pub system: Option<SystemActor>,
    /// What it is called to act for another user.
    pub acts_for: Option<ActsForRule>,
    /// A write by the application's own server, of which another event tells the act.
    pub echo: bool,
    /// The answer is a stream of events (SSE) whose last ones tell the outcome.
    pub stream: bool,
}

/// The largest capture a rule may ask for, in bytes.
const MAX_CAPTURE: usize = 1024 * 1024;

/// What is known before the request is forwarded.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchRule {
    /// The methods; one may be written without a list.
    #[serde(rename = "method", deserialize_with = "one_or_more")]
    pub methods: Vec<String>,
    /// The path template: `/api/agents/{id}`.
    pub path: String,
    /// Query parameters that must have these values.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a method or a list of methods")]
    enum Methods {
        One(String),
        More(Vec<String>),
    }
    Ok(match Methods::deserialize(deserializer)? {
        Methods::One(method) => vec![method],
        Methods::More(methods) => methods,
    })
}

/// A name under a condition.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionRule {
    /// When it applies.
    pub when: Expr,
    /// The act's name.
    pub is: Action,
    /// Its severity, where it differs from the rule's.
    #[serde(default)]
    pub severity: Option<Severity>,
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

/// Where the old side of a change is read: by one GET without side effects, before the request is forwarded, with the
/// caller's own credentials. No host is named here: it is the mount's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BeforeDocument")]
pub enum BeforeRule {
    /// PostgREST: the same path and filters as the request.
    Rows {
        /// Columns; all if empty.
        select: Vec<String>,
    },
    /// A table of the mount's Supabase project.
    Table {
        /// The table.
        table: String,
        /// Column to the value it must equal.
        filters: BTreeMap<String, ReadExpr>,
        /// Columns.
        select: Vec<String>,
    },
    /// A path of the same upstream.
    Get {
        /// The path; `{name}` stands for a parameter of the matched template.
        get: String,
        /// Where the representation stands in the answer.
        at: String,
    },
}

/// [`BeforeRule`] as it is written: `{rows, select}`, `{table, filters, select}` or `{get, at}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeforeDocument {
    rows: Option<bool>,
    table: Option<String>,
    filters: Option<BTreeMap<String, ReadExpr>>,
    select: Option<Vec<String>>,
    get: Option<String>,
    at: Option<String>,
}

impl TryFrom<BeforeDocument> for BeforeRule {
    type Error = &'static str;

    fn try_from(document: BeforeDocument) -> Result<Self, Self::Error> {
        let BeforeDocument { rows, table, filters, select, get, at } = document;
        match (rows, table, filters, get, at) {
            (Some(true), None, None, None, None) => Ok(Self::Rows { select: select.unwrap_or_default() }),
            (None, Some(table), Some(filters), None, None) => {
                Ok(Self::Table { table, filters, select: select.unwrap_or_default() })
            }
            (None, None, None, Some(get), at) if select.is_none() => {
                Ok(Self::Get { get, at: at.unwrap_or_default() })
            }
            _ => Err("before is one of {rows: true, select}, {table, filters, select}, {get, at}"),
        }
    }
}

/// An expression that is evaluated before the request is forwarded: on its path, query, headers and token only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadExpr(pub Expr);

impl<'de> Deserialize<'de> for ReadExpr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expression = Expr::deserialize(deserializer)?;
        let early = |source: &&Source| {
            matches!(
                source,
                Source::Path(_)
                    | Source::Query(_)
                    | Source::Filter(_)
                    | Source::Claim(_)
                    | Source::RequestHeader(_)
            )
        };
        match expression.sources().iter().find(|source| !early(source)) {
            None => Ok(Self(expression)),
            Some(source) => Err(serde::de::Error::custom(format_args!(
                "{source:?} is not known before the request is forwarded"
            ))),
        }
    }
}

/// Where changes are seen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRule {
    /// The object in the request that holds the wanted fields; none for a deletion.
    #[serde(default)]
    pub request: Option<Expr>,
    /// The representation after the change, in the response.
    #[serde(default)]
    pub after: Option<Expr>,
    /// Fields that are recorded; all others are dropped.
    pub fields: Vec<String>,
    /// Fields that change without meaning.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// What kind of change it is.
    #[serde(default)]
    pub of: ChangeKind,
}

/// What a change did to its entity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was there before and is there after.
    #[default]
    Update,
    /// It was not there before: the new side is all there is.
    Create,
    /// It is not there after: the old side is what is preserved.
    Delete,
}

/// What happens to a request if the audit trail is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailMode {
    /// Nothing: the request goes its way and may leave no event.
    #[default]
    Open,
    /// A durable record of the intent precedes it, if that takes no longer than the budget.
    Intent,
    /// Without a durable record of the intent it is refused.
    Closed,
}

/// A machine that acts for nobody in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemActor {
    /// A schedule.
    Cron,
    /// Another service that calls in.
    Webhook,
    /// A queue of the application's own.
    Queue,
}

impl SystemActor {
    /// The word that stands for it as an actor.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Webhook => "webhook",
            Self::Queue => "queue",
        }
    }
}

/// The event beside the act's own when one user acts for another where that is provided for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActsForRule {
    /// Its name.
    pub action: Action,
    /// Its severity.
    pub severity: Severity,
    /// The kind of entity that it is about: the user that was acted for.
    pub entity: EntityType,
}

impl Rule {
    /// Every expression in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let entity = [&self.entity.id, &self.entity.name];
        let outcome = [&self.outcome.failure, &self.outcome.success];
        let single = [&self.when, &self.actor_token];
        let changes = self.changes.iter().flat_map(|changes| [&changes.request, &changes.after]);
        let filters = self.before.iter().flat_map(|before| match before {
            BeforeRule::Table { filters, .. } => filters.values().map(|read| &read.0).collect(),
            BeforeRule::Rows { .. } | BeforeRule::Get { .. } => Vec::new(),
        });
        single
            .into_iter()
            .chain(entity)
            .chain(outcome)
            .chain(changes)
            .flatten()
            .chain(self.actions.iter().map(|action| &action.when))
            .chain(self.severities.iter().map(|severity| &severity.when))
            .chain(self.claimed_user.iter().flatten())
            .chain(self.details.values())
            .chain(filters)
    }

    /// What is read before the request must be one harmless GET.
    #[inline]
    fn check_before(&self) -> Result<(), Flaw> {
        match &self.before {
            Some(BeforeRule::Table { table, filters, select }) => {
                let named = [table].into_iter().chain(filters.keys()).chain(select);
                if let Some(name) = named.into_iter().find(|name| !is_column(name)) {
                    return flaw("/before", format!("before: {name:?} is not a table or column"));
                }
                if filters.is_empty() || select.is_empty() {
                    return flaw("/before", "before: filters and select name at least one column each");
                }
                Ok(())
            }
            Some(BeforeRule::Get { get, .. }) if !is_plain_path(get) => {
                flaw("/before/get", format!("before.get {get:?} is not a plain path"))
            }
            _ => Ok(()),
        }
    }
}

fn is_column(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A path and nothing else: no host, no query, no steps upwards.
fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 300
        && !path.contains("//")
        && path.split('/').all(|segment| segment != "..")
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.{}".contains(&byte))
}

impl Pack {
    /// Reads and checks a pack.
    ///
    /// # Errors
    /// [`PackError`] with line and column, or the rule that is wrong.
    #[inline]
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let document: PackDocument = serde_json::from_str(text).map_err(|error| PackError::Document {
            line: error.line(),
            column: error.column(),
            reason: error.to_string(),
        })?;
        let pack = document.resolve().map_err(|(rule, (member, reason))| PackError::Rule {
            rule,
            member,
            reason,
        })?;
        if pack.rules.is_empty() {
            return Err(PackError::Empty);
        }
        for (at, rule) in pack.rules.iter().enumerate() {
            pack.check(rule, at).map_err(|(member, reason)| PackError::Rule {
                rule: rule.id.clone(),
                member,
                reason,
            })?;
        }
        Ok(pack)
    }

    #[inline]
    fn check(&self, rule: &Rule, at: usize) -> Result<(), Flaw> {
        if self.rules[..at].iter().any(|other| other.id == rule.id) {
            return flaw("/id", "another rule has the same id");
        }
        if rule.id.len() + self.name.len() > 120 {
            return flaw("/id", "its id is over 120 bytes with the pack's name");
        }
        let methods = &rule.matches.methods;
        if methods.is_empty() {
            return flaw("/match/method", "it names no method");
        }
        let capitals =
            |method: &&String| method.is_empty() || method.bytes().any(|byte| !byte.is_ascii_uppercase());
        if let Some(method) = methods.iter().find(capitals) {
            return flaw("/match/method", format!("method {method:?} is not in capitals"));
        }
        rule.check_before()?;
        if !rule.matches.path.starts_with('/') || rule.matches.path.len() > 300 {
            return flaw(
                "/match/path",
                format!("path {:?} does not begin with '/' or is over 300 bytes", rule.matches.path),
            );
        }
        if rule.capture_bytes > MAX_CAPTURE {
            return flaw(
                "/capture_bytes",
                format!("it captures {} bytes, over the limit of {MAX_CAPTURE}", rule.capture_bytes),
            );
        }
        if rule.compliance.windows(2).any(|pair| pair[0] >= pair[1]) {
            return flaw("/compliance", "its compliance flags are not sorted or repeat");
        }
        Ok(())
    }
}
