//! `GET /v1/metrics/…`: what runs add up to, for each agent and each user, and how heavy an agent is.

use axum::Json;
use axum::extract::Query;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::problem::Problem;

use super::events::parse_time;
use super::executions::window_view;
use super::path::Path;
use super::reader::Reader;
use super::writes::{Parameters, once};
use super::{Answer, Shared, State};
use crate::execution::intensity::{self, Inputs, Intensity, Score};
use crate::execution::metrics::{Of, Sums};
use crate::store::{StoreError, events, run_metrics};
use crate::tally::follow::{floored, hour_from};
use crate::tally::{DAY_MS, HOUR_MS};
use crate::view::time;

const DEFAULT_WINDOW: TimeDelta = TimeDelta::days(30);
/// Agents or users that are listed.
const LISTED: i64 = 200;
/// What is told hour by hour, unless said otherwise, and at most.
const BY_HOUR: (TimeDelta, TimeDelta) = (TimeDelta::days(3), TimeDelta::days(31));

/// What is asked for: whole hours, or with days whole days.
struct Asked {
    window: (DateTime<Utc>, DateTime<Utc>),
    by_day: bool,
}

pub(super) async fn agents(state: Shared, reader: Reader, asked: Parameters) -> Result<Json<Value>, Answer> {
    list(&state, &reader, Of::Agent, asked).await
}

pub(super) async fn users(state: Shared, reader: Reader, asked: Parameters) -> Result<Json<Value>, Answer> {
    list(&state, &reader, Of::User, asked).await
}

pub(super) async fn agent(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
    asked: Parameters,
) -> Result<Json<Value>, Answer> {
    let mut told = one(&state, &reader, Of::Agent, &id, asked).await?;
    let inputs = inputs(&state, reader.tenant.as_str(), &id).await?;
    told["intensity"] = described(&intensity::score(&inputs), inputs.runs);
    Ok(Json(told))
}

pub(super) async fn user(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
    asked: Parameters,
) -> Result<Json<Value>, Answer> {
    Ok(Json(one(&state, &reader, Of::User, &id, asked).await?))
}

/// How things stand in the last day: what the dashboard shows.
pub(super) async fn standing(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let to = state.clock.now().to_utc() + TimeDelta::milliseconds(1);
    let window = (to - TimeDelta::days(1), to);
    let told = run_metrics::standing(&state.store, reader.tenant.as_str(), window).await?;
    Ok(Json(json!({
        "window": window_view(window),
        "active_agents": told.agents,
        "runs": told.runs,
        "failed": told.failed,
        "running": told.running,
        "memory_active_agents": told.memory_agents,
        "credits_used": told.credits_used,
        "credit_balance": told.balance,
    })))
}

async fn list(state: &State, reader: &Reader, of: Of, asked: Parameters) -> Result<Json<Value>, Answer> {
    let asked = read(state, asked, false)?;
    let sums =
        run_metrics::sums(&state.store, reader.tenant.as_str(), of, None, asked.window, LISTED + 1).await?;
    let is_cut = sums.len() > usize::try_from(LISTED).unwrap_or(usize::MAX);
    let told = sums.iter().take(usize::try_from(LISTED).unwrap_or(usize::MAX)).map(|sums| {
        let mut told = figures(sums);
        told["id"] = reader.text(&sums.id).into();
        told
    });
    let told: Vec<Value> = told.collect();
    let name = match of {
        Of::Agent => "agents",
        Of::User => "users",
    };
    Ok(Json(json!({name: told, "complete": !is_cut, "window": window_view(asked.window)})))
}

async fn one(state: &State, reader: &Reader, of: Of, id: &str, asked: Parameters) -> Result<Value, Answer> {
    let tenant = reader.tenant.as_str();
    let asked = read(state, asked, true)?;
    let sums = run_metrics::sums(&state.store, tenant, of, Some(id), asked.window, 1).await?;
    let series = run_metrics::series(&state.store, tenant, (of, id), asked.window, asked.by_day).await?;
    let missing = || Answer::not_found("no run of this id began in this time");
    let sums = sums.first().ok_or_else(missing)?;
    let series: Vec<Value> = series
        .iter()
        .map(|(start, sums)| {
            let mut told = figures(sums);
            told["from"] = time(*start).into();
            told
        })
        .collect();
    Ok(json!({
        "id": reader.text(id),
        "window": window_view(asked.window),
        "metrics": figures(sums),
        "by": if asked.by_day { "day" } else { "hour" },
        "series": series,
    }))
}

/// The window, in whole hours or, for a series of days, in whole days.
fn read(state: &State, asked: Parameters, has_series: bool) -> Result<Asked, Answer> {
    let Query(parameters) = asked.map_err(|error| Answer::parameter("query", error.body_text()))?;
    once(&parameters)?;
    let (mut from, mut to, mut by) = (None, None, None);
    for (name, value) in &parameters {
        let at = || parse_time(value).map_err(|why| Answer::parameter(name, why));
        match name.as_str() {
            "from" => from = Some(at()?),
            "to" => to = Some(at()?),
            "by" if has_series && ["hour", "day"].contains(&value.as_str()) => by = Some(value.as_str()),
            "by" if has_series => return Err(Answer::parameter(name, "is not hour or day")),
            _ => return Err(Answer::parameter(name, "is unknown")),
        }
    }
    let now = state.clock.now().to_utc();
    let to = to.unwrap_or(now).min(now + TimeDelta::days(2));
    let from = from.unwrap_or(to - DEFAULT_WINDOW).min(to);
    let length = to - from;
    if by == Some("hour") && length > BY_HOUR.1 {
        let problem = Problem::new(422, "window-too-long", "The window is too long for hours");
        return Err(Answer(problem.detail("by: is hour for 31 days at most")));
    }
    let by_day = by.map_or(length > BY_HOUR.0, |by| by == "day");
    let unit = if has_series && by_day { DAY_MS } else { HOUR_MS };
    let begins = floored(to, unit);
    let end = if begins == to && to > from {
        to
    } else if unit == DAY_MS {
        begins + TimeDelta::days(1)
    } else {
        hour_from(to + TimeDelta::milliseconds(1))
    };
    Ok(Asked { window: (floored(from, unit), end), by_day })
}

/// What runs add up to. A figure of which no run tells is null.
fn figures(sums: &Sums) -> Value {
    json!({
        "runs": sums.runs,
        "completed": sums.completed,
        "failed": sums.failed,
        "running": sums.running,
        "unknown": sums.unknown(),
        "success_rate": rounded(sums.success_rate()),
        "tokens": {
            "total": sums.tokens(),
            "input": sums.tokens_in(),
            "output": sums.tokens_out(),
            "peak": sums.tokens_peak,
            "average": rounded(sums.tokens_average()),
            "output_input_ratio": rounded(sums.output_input_ratio()),
            "runs_without": sums.runs - sums.tokens_runs,
        },
        "iterations": {"total": sums.iterations(), "average": rounded(sums.iterations_average())},
        "duration_ms": {"average": rounded(sums.duration_average_ms()), "peak": sums.duration_peak_ms},
        "last_run": sums.last_run.map(time),
    })
}

/// To three decimals.
fn rounded(figure: Option<f64>) -> Option<f64> {
    figure.map(|figure| (figure * 1000.0).round() / 1000.0)
}

/// What is known of an agent for its score.
async fn inputs(state: &State, tenant: &str, agent: &str) -> Result<Inputs, StoreError> {
    let facts = run_metrics::facts(&state.store, tenant, agent).await?;
    let made = run_metrics::creation(&state.store, tenant, agent).await?;
    let made = made.as_deref().and_then(events::read).and_then(|event| event.details);
    let made = made.as_ref().map(shared::event::JsonText::value).unwrap_or_default();
    let ended = facts.ended.unwrap_or(0);
    let figure = |count: Option<i64>| count.map(|count| count as f64);
    let last = facts.last_in.zip(facts.last_out);
    let growth = facts.last_out.zip(facts.output.filter(|mean| *mean > 0.0));
    let plugins = made["plugins_count"].as_f64();
    Ok(Inputs {
        runs: ended,
        creation: made["intensity_estimate"].as_f64(),
        output_input_ratio: last.map(|(input, output)| output as f64 / input as f64),
        output_growth: growth.map(|(last, mean)| (last as f64 - mean) / mean * 100.0),
        iterations: facts.iterations,
        duration_ms: facts.duration_ms,
        failure_rate: figure(facts.failed).filter(|_| ended > 0).map(|failed| failed / ended as f64 * 100.0),
        plugins,
        plugins_per_run: plugins,
        steps: figure(facts.steps),
        ..Inputs::default()
    })
}

fn described(intensity: &Intensity, runs: i64) -> Value {
    let components: Vec<Value> = intensity
        .components
        .iter()
        .map(|component| {
            let parts: Vec<Value> = component
                .parts
                .iter()
                .map(|part| {
                    json!({
                        "name": part.name,
                        "input": rounded(part.input),
                        "weight": part.weight,
                        "adds": bounds(part.adds),
                    })
                })
                .collect();
            json!({
                "name": component.name,
                "weight": component.weight,
                "score": bounds(component.score),
                "parts": parts,
            })
        })
        .collect();
    json!({
        "version": intensity::VERSION,
        "complete": intensity.is_complete,
        "score": bounds(intensity.score),
        "multiplier": bounds(intensity.multiplier),
        "creation": bounds(intensity.creation),
        "execution": bounds(intensity.execution),
        "runs": runs,
        "runs_needed": intensity::MIN_RUNS,
        "components": components,
    })
}

/// A figure, or between what it lies.
fn bounds(score: Score) -> Value {
    json!({
        "value": rounded(score.value()),
        "least": rounded(Some(score.least)),
        "most": rounded(Some(score.most)),
    })
}
