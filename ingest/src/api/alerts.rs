//! `/v1/alerts…` and `/v1/detection…`: what rules of detection found, the rules, and what a rule would have found.

use axum::Json;
use axum::extract::{Query, Request};
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::Severity;
use shared::problem::Problem;
use shared::search::Span;
use uuid::Uuid;

use super::path::Path;
use super::reader::Reader;
use super::writes::{Parameters, once};
use super::{Answer, Shared, body};
use crate::auth::Notice;
use crate::detect::rule::{self, Fires, Rule, RuleError};
use crate::detect::trial;
use crate::store::alerts::{self, Alert};
use crate::store::{self};
use crate::view::time;

const LISTED: i64 = 200;
/// Of a note, in characters.
const MAX_NOTE: usize = 500;
/// How far back a rule is tried, unless said otherwise, and at most.
const TRIED: (TimeDelta, TimeDelta) = (TimeDelta::days(30), TimeDelta::days(366));
/// What a trial tells one by one.
const TOLD: usize = 100;

/// How an alert is closed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    note: Option<String>,
}

/// A rule that is tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tried {
    rule: String,
    last: Option<String>,
}

pub(super) async fn list(state: Shared, reader: Reader, asked: Parameters) -> Result<Json<Value>, Answer> {
    let Query(parameters) = asked.map_err(|error| Answer::parameter("query", error.body_text()))?;
    once(&parameters)?;
    let mut wanted = None;
    for (name, value) in &parameters {
        match (name.as_str(), value.as_str()) {
            ("state", "open" | "closed") => wanted = Some(value.as_str()),
            ("state", _) => return Err(Answer::parameter("state", "is not open or closed")),
            _ => return Err(Answer::parameter(name, "is unknown")),
        }
    }
    let all = alerts::list(&state.store, reader.tenant.as_str(), None, wanted, LISTED).await?;
    let items: Vec<Value> = all.iter().map(|alert| view(alert, &reader)).collect();
    Ok(Json(json!({"alerts": items})))
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    Ok(Json(view(&find(&state, &reader, &id).await?, &reader)))
}

pub(super) async fn close(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Answer> {
    let text = body::text(&state, request).await?;
    let closing: Closing =
        if text.trim().is_empty() { Closing::default() } else { body::read(&text, body::unreadable())? };
    let note = closing.note.map(|note| shared::redact::text(note.trim(), MAX_NOTE));
    let alert = find(&state, &reader, &id).await?;
    let now = state.clock.now();
    let mut transaction = state.store.begin().await?;
    let how = (reader.key.as_str(), now.to_utc(), note.as_deref());
    if !alerts::close(&mut transaction, reader.tenant.as_str(), alert.alert_id, how).await? {
        return Err(Answer(Problem::new(409, "alert-closed", "The alert was closed before")));
    }
    Notice::new(
        &reader.tenant,
        "SECURITY_ALERT_CLOSED",
        &reader.key,
        ("alert", alert.alert_id.to_string()),
        now,
    )
    .with(Severity::Info, json!({"rule": alert.rule, "title": alert.title, "note": note}))
    .keep(&mut transaction)
    .await?;
    store::commit(transaction).await?;
    Ok(Json(view(&find(&state, &reader, &id).await?, &reader)))
}

pub(super) async fn rules(state: Shared, _reader: Reader) -> Json<Value> {
    Json(json!({"rules": state.rules.iter().map(described).collect::<Vec<_>>()}))
}

/// What a rule would have said: nothing is raised.
pub(super) async fn try_rule(state: Shared, reader: Reader, request: Request) -> Result<Json<Value>, Answer> {
    let tried: Tried = body::object(&state, request).await?;
    let read = rule::read(&tried.rule)?;
    let [rule] = read.as_slice() else {
        return Err(Answer::parameter(
            "rule",
            format!("holds {} rules, and one is tried at a time", read.len()),
        ));
    };
    let last = match &tried.last {
        None => TRIED.0,
        Some(text) => Span::read(text)
            .and_then(|span| i64::try_from(span.millis()).ok())
            .and_then(TimeDelta::try_milliseconds)
            .filter(|last| *last > TimeDelta::zero() && *last <= TRIED.1)
            .ok_or_else(|| Answer::parameter("last", "is not a time such as 30d, a year at most"))?,
    };
    let now = state.clock.now();
    let span = (now.to_utc() - last, now.to_utc());
    let trial = trial::run(&state.store, &reader.tenant, rule, span).await?;
    let what = ("detection_rule", rule.id.clone());
    let mut transaction = state.store.begin().await?;
    Notice::new(&reader.tenant, "DETECTION_RULE_TRIED", &reader.key, what, now)
        .with(Severity::Info, json!({"find": rule.find.to_string(), "fired": trial.said.len()}))
        .keep(&mut transaction)
        .await?;
    store::commit(transaction).await?;
    let said: Vec<Value> = trial
        .said
        .iter()
        .take(TOLD)
        .map(|said| {
            let alike = said.alike.iter().map(|(likeness, value)| (likeness.name(), value.as_str()));
            json!({
                "alike": alike_view(alike, &reader),
                "events": said.fired.events,
                "first_at": time(said.fired.first_at),
                "last_at": time(said.fired.last_at),
                "evidence": said.fired.evidence,
            })
        })
        .collect();
    Ok(Json(json!({
        "rule": described(rule),
        "window": {"from": time(span.0), "to": time(span.1)},
        "found": trial.found,
        "complete": !trial.is_cut,
        "fired": trial.said.len(),
        "alerts": said,
    })))
}

async fn find(state: &Shared, reader: &Reader, id: &str) -> Result<Alert, Answer> {
    let missing = || Answer::not_found("no alert of this id");
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let found = alerts::list(&state.store, reader.tenant.as_str(), Some(id), None, 1).await?;
    found.into_iter().next().ok_or_else(missing)
}

fn view(alert: &Alert, reader: &Reader) -> Value {
    let alike = alert.alike.as_ref().map(|values| {
        let pairs = alert.alike_in.iter().map(String::as_str).zip(values.iter().map(String::as_str));
        alike_view(pairs, reader)
    });
    json!({
        "id": alert.alert_id,
        "rule": alert.rule,
        "title": alert.title,
        "severity": u8::try_from(alert.severity).ok().and_then(Severity::from_byte).map(Severity::word),
        "alike": alike,
        "events": alert.events,
        "first_at": time(alert.first_at),
        "last_at": time(alert.last_at),
        "evidence": alert.evidence,
        "raised_at": time(alert.raised_at),
        "state": alert.state,
        "closed_by": alert.closed_by,
        "closed_at": alert.closed_at.map(time),
        "note": alert.note.as_deref().map(|note| reader.text(note)),
    })
}

fn alike_view<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, reader: &Reader) -> Value {
    Value::Object(pairs.map(|(name, value)| (name.to_owned(), Value::from(reader.text(value)))).collect())
}

fn described(rule: &Rule) -> Value {
    let seconds = |length: TimeDelta| length.num_seconds();
    let fires = match &rule.fires {
        Fires::Each => json!({"kind": "each"}),
        Fires::Count { at_least, within } => {
            json!({"kind": "count", "at_least": at_least, "within_s": seconds(*within)})
        }
        Fires::Distinct { of, at_least, within } => {
            json!({"kind": "distinct", "of": of.name(), "at_least": at_least, "within_s": seconds(*within)})
        }
        Fires::After { first, at_least, within } => {
            let first = first.to_string();
            json!({"kind": "after", "first": first, "at_least": at_least, "within_s": seconds(*within)})
        }
        Fires::New { of, history } => json!({"kind": "new", "of": of.name(), "history_s": seconds(*history)}),
        Fires::Outside { from, to, offset } => {
            let (from, to) = (from.format("%H:%M").to_string(), to.format("%H:%M").to_string());
            json!({"kind": "outside", "from": from, "to": to, "offset": offset.to_string()})
        }
        Fires::Travel { faster_than, farther_than } => {
            json!({"kind": "travel", "faster_than_kmh": faster_than, "farther_than_km": farther_than})
        }
        Fires::AboveBaseline { of, at_least, spreads, runs } => {
            json!({"kind": "above_baseline", "of": of, "at_least": at_least, "spreads": spreads, "runs": runs})
        }
        Fires::Fewer { below_percent: 0, usually, weeks } => {
            json!({"kind": "silence", "usually": usually, "weeks": weeks})
        }
        Fires::Fewer { below_percent, usually, weeks } => {
            json!({"kind": "drop", "below_percent": below_percent, "usually": usually, "weeks": weeks})
        }
    };
    json!({
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity.word(),
        "find": rule.find.to_string(),
        "by": rule.by.iter().map(|likeness| likeness.name()).collect::<Vec<_>>(),
        "fires": fires,
        "cool_down_s": seconds(rule.cool_down),
    })
}

impl From<RuleError> for Answer {
    fn from(error: RuleError) -> Self {
        let problem = Problem::new(400, "unreadable-rule", "The rule cannot be used");
        Self(problem.detail(&error.reason).at(error.line, error.column))
    }
}
