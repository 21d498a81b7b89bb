//! What lists and counts of events are asked for: `q` in the search grammar, and the older parameters as further terms.

use std::collections::BTreeSet;
use std::str::FromStr;

use axum::extract;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::event::{Action, EntityType, Severity, Timestamp};
use shared::problem::Problem;
use shared::search::{
    self, Diagnostic, EntityPattern, Expr, Moment, OneOf, Pattern, Query, Range, Term, TextField, When,
};

use super::reader::Reader;
use super::writes::Parameters;
use super::{Answer, State};
use crate::store::search::Scope;
use crate::view::time;

/// Every search has a window, so that every statement prunes.
const DEFAULT_WINDOW: TimeDelta = TimeDelta::days(30);
/// An event is filed within a day of its own time; ids are minted at that time.
const ID_SLACK: TimeDelta = TimeDelta::hours(48);

/// A request's search, before its time is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    /// All of it that was understood.
    pub(super) query: Query,
    /// What of `q` was not.
    diagnostics: Vec<Diagnostic>,
}

/// Reads parameters: those of a search, and those that the endpoint knows itself.
pub(super) fn read(
    asked: Parameters,
    mut own: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<Search, Answer> {
    let extract::Query(parameters) = asked.map_err(|error| Answer::parameter("query", error.body_text()))?;
    let mut search = Search::default();
    let mut terms = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, value) in &parameters {
        let bad = |reason: String| Answer::parameter(name, reason);
        if !seen.insert(name.as_str()) {
            return Err(bad("is given twice".to_owned()));
        }
        if name == "q" {
            let parsed = search::parse(value);
            search.diagnostics = parsed.diagnostics;
            search.query = parsed.query;
        } else if let Some(term) = term(name, value).map_err(bad)? {
            terms.push(Expr::Term(term));
        } else if !own(name, value).map_err(bad)? {
            return Err(bad("is unknown".to_owned()));
        }
    }
    search.query = search.query.and(terms);
    Ok(search)
}

impl Search {
    /// What to look through at a time.
    pub(super) fn scope(&self, state: &State, reader: &Reader, now: Timestamp) -> Looked {
        let window = self.query.window(now);
        let to = window.to.map(Timestamp::to_utc);
        let from = window.from.map(Timestamp::to_utc).or_else(|| self.of_ids(state.receiver.oldest(), now));
        let latest = to.map_or(now.to_utc(), |to| to.min(now.to_utc()));
        Looked {
            scope: Scope {
                tenant: reader.tenant.as_str().to_owned(),
                from: from.unwrap_or(latest - DEFAULT_WINDOW),
                to,
                query: self.query.clone(),
                now,
            },
            is_default: from.is_none(),
        }
    }

    /// The beginning of a search for ids, which tell their time. Late and early arrivals are filed at the edges.
    fn of_ids(&self, oldest: DateTime<Utc>, now: Timestamp) -> Option<DateTime<Utc>> {
        let ids = self.query.conjuncts().iter().find_map(|expr| match expr {
            Expr::Term(Term::Id(ids)) => Some(ids.values()),
            _ => None,
        })?;
        let minted = ids.iter().filter_map(|id| {
            let (seconds, nanos) = id.get_timestamp()?.to_unix();
            DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
        });
        Some(minted.min()?.clamp(oldest, now.to_utc().max(oldest)) - ID_SLACK)
    }

    /// Refuses a masked reader what would tell them a value that is masked for them: that there are events of it is an answer too.
    pub(super) fn check(&self, reader: &Reader) -> Result<(), Answer> {
        if !reader.is_masked || !self.query.mentions(looks_behind_masks) {
            return Ok(());
        }
        let problem = Problem::new(403, "unmask-to-search", "This search looks into what is masked for you");
        Err(Answer(problem.detail(
            "words without a field, name:, session:, a single address in ip:, and wildcards in actor: and user: need an unmasked session or a reason in x-unmask-reason",
        )))
    }

    /// What of `q` was not understood.
    pub(super) fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The search as it was understood.
    pub(super) fn view(&self) -> Value {
        json!({"text": self.query.to_string(), "diagnostics": self.diagnostics})
    }
}

/// A scope, and whether anybody asked for its beginning.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) scope: Scope,
    pub(super) is_default: bool,
}

impl Looked {
    /// The window that was looked through.
    pub(super) fn window(&self) -> Value {
        json!({"from": time(self.scope.from), "to": self.scope.to.map(time), "default": self.is_default})
    }

    /// What a reader must know who looks back past what is kept.
    pub(super) async fn notice(&self, state: &State, reader: &Reader) -> Result<Option<String>, Answer> {
        let now = self.scope.now.to_utc();
        // No period is shorter.
        if self.scope.from >= now - DEFAULT_WINDOW {
            return Ok(None);
        }
        let (periods, _) = state.retention.periods(&reader.tenant).await?;
        let kept_since = now - TimeDelta::days(i64::from(periods.standard_days));
        Ok((self.scope.from < kept_since).then(|| {
            format!(
                "standard events are kept {} days, critical ones {}: before {} this search cannot be complete",
                periods.standard_days,
                periods.critical_days,
                kept_since.format("%Y-%m-%d")
            )
        }))
    }
}

/// Bits of an address that masking leaves.
const SHOWN_OF_V4: u8 = 24;
const SHOWN_OF_V6: u8 = 48;

/// Whether a term is compared with more than a masked reader is shown. An address that is known whole can be looked for, since
/// whoever has it knows it; looking for parts would find out the rest.
fn looks_behind_masks(term: &Term) -> bool {
    match term {
        Term::Words(_) | Term::Text(TextField::Name | TextField::Session, _) => true,
        Term::Text(TextField::Actor | TextField::User, patterns) => {
            patterns.values().iter().any(|pattern| pattern.exact().is_none() && !pattern.is_any())
        }
        Term::Ip(networks) => networks.values().iter().any(|network| {
            let shown = if network.address().is_ipv4() { SHOWN_OF_V4 } else { SHOWN_OF_V6 };
            network.prefix() > shown
        }),
        _ => false,
    }
}

/// A parameter as a term; none if it is no parameter of a search.
fn term(name: &str, value: &str) -> Result<Option<Term>, String> {
    Ok(Some(match name {
        "from" => Term::When(When::After(moment(value)?)),
        "to" => Term::When(When::Before(moment(value)?)),
        "actor" => Term::Text(TextField::Actor, OneOf::one(exactly(value)?)),
        "action" => Term::Text(TextField::Action, actions(value)?),
        "entity" => Term::Entity(OneOf::one(match value.split_once('/') {
            Some((kind, id)) => EntityPattern { kind: entity_type(kind)?, id: Some(exactly(id)?) },
            None => EntityPattern { kind: anything(), id: Some(exactly(value)?) },
        })),
        "entity_type" => Term::Entity(OneOf::one(EntityPattern { kind: entity_type(value)?, id: None })),
        "severity" => Term::Severity(OneOf::one(match value.strip_prefix(">=") {
            Some(word) => Range::AtLeast(Severity::from_str(word)?),
            None => Range::Exactly(Severity::from_str(value)?),
        })),
        "outcome" => Term::Outcome(OneOf::one(FromStr::from_str(value)?)),
        _ => return Ok(None),
    }))
}

fn moment(text: &str) -> Result<Moment, String> {
    super::events::parse_time(text).map(|at| Moment::At(at.into()))
}

/// A text that is matched as it stands, whatever signs it holds.
pub(super) fn exactly(value: &str) -> Result<Pattern, String> {
    Pattern::exactly(value).ok_or_else(|| "is empty or holds a NUL".to_owned())
}

fn anything() -> Pattern {
    Pattern::of(vec![String::new(), String::new()]).expect("a wildcard by itself is a pattern")
}

/// An entity's type.
pub(super) fn entity_type(value: &str) -> Result<Pattern, String> {
    let kind = EntityType::try_from(value.to_owned()).map_err(|error| error.to_string())?;
    exactly(kind.as_str())
}

fn actions(list: &str) -> Result<OneOf<Pattern>, String> {
    let each = list.split(',').map(|word| {
        let word = word.trim().to_ascii_uppercase();
        let (stem, rest) = match word.strip_suffix('*') {
            Some(stem) => (stem.to_owned(), Some(String::new())),
            None => (word, None),
        };
        let stem = Action::try_from(stem).map(String::from).map_err(|error| error.to_string())?;
        let parts = std::iter::once(stem).chain(rest).collect();
        Pattern::of(parts).ok_or_else(|| "is empty".to_owned())
    });
    OneOf::of(each.collect::<Result<_, _>>()?).ok_or_else(|| "is empty".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(parameters: &[(&str, &str)]) -> Result<Search, String> {
        let owned = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read(Ok(extract::Query(owned.collect())), |_, _| Ok(false)).map_err(|answer| {
            assert_eq!(answer.0.status, 400);
            answer.0.detail.unwrap_or_default()
        })
    }

    #[test]
    fn every_bad_parameter_is_named() {
        for (name, value) in [
            ("from", "yesterday"),
            ("to", ""),
            ("action", "a b"),
            ("severity", ">warning"),
            ("outcome", "ok"),
            ("entity", "Agent/1"),
            ("actor", ""),
            ("colour", "red"),
        ] {
            let error = asked(&[(name, value)]).expect_err(value);
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        }
        let twice = asked(&[("q", "a"), ("q", "b")]).expect_err("given twice");
        assert_eq!(twice, "q: is given twice");
    }

    #[test]
    fn parameters_are_terms_of_the_same_search() {
        let search = asked(&[
            ("q", "last:2d severty:x invoice"),
            ("action", "agent_*,USER_LOGIN"),
            ("entity", "7*"),
            ("severity", ">=warning"),
            ("from", "2026-01-01T00:00:00Z"),
        ])
        .expect("valid");
        assert_eq!(
            search.query.to_string(),
            "last:2d invoice action:AGENT_*,USER_LOGIN entity:*/\"7*\" severity:>=warning after:2026-01-01"
        );
        assert_eq!(search.view()["diagnostics"][0]["suggestion"], "severity");
    }
}
