//! Runs of agents, and the agents with what their runs add up to. Every figure leads to the runs that it counts, and every run
//! to its events.

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::event::Row;
use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::time::{short, span};
use super::{term, url};
use crate::execution::Status;

/// Runs of one page.
const SHOWN: &str = "50";
/// Events of a run that are shown; a search finds all.
const EVENTS: &str = "100";
/// Ids in a search for a run's events.
const SEARCHED: usize = 100;
/// Height of a chart, in its own units.
const HEIGHT: f64 = 100.0;
/// Of a bar that is there at all.
const LEAST: f64 = 2.0;

/// A run as the API tells it.
#[derive(Debug, Deserialize)]
struct Run {
    id: String,
    agent: Agent,
    user: Option<String>,
    status: String,
    trigger: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    started_at: String,
    ended_at: Option<String>,
    duration_ms: Option<i64>,
    duration_from: Option<String>,
    tokens: Tokens,
    steps: Steps,
    iterations: Option<i64>,
    tool_calls: Option<i64>,
    error: Error,
    events: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Agent {
    id: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    input: Option<i64>,
    output: Option<i64>,
    total: Option<i64>,
    total_from: Option<String>,
    adjusted: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Steps {
    completed: Option<i64>,
    failed: Option<i64>,
    total: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Error {
    kind: Option<String>,
    text: Option<String>,
}

impl Run {
    fn url(&self) -> String {
        url::under(&["runs", &self.id])
    }

    fn name(&self) -> &str {
        self.agent.name.as_deref().or(self.agent.id.as_deref()).unwrap_or("no agent")
    }

    fn agent_url(&self) -> Option<String> {
        self.agent.id.as_deref().map(|id| url::under(&["agents", id]))
    }

    /// The class of its outcome in the style sheet.
    fn outcome(&self) -> &'static str {
        match self.status.as_str() {
            "completed" => "success",
            "failed" => "failure",
            _ => "unknown",
        }
    }

    fn took(&self) -> String {
        self.duration_ms.map_or_else(|| "not known".to_owned(), span)
    }

    /// Everything that is known of it, by name.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let figure = |count: Option<i64>| count.map_or_else(|| "not known".to_owned(), |it| it.to_string());
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
        let by = |text: String, by: &Option<String>| match by {
            Some(by) => format!("{text} (by the {by})"),
            None => text,
        };
        vec![
            ("Status", self.status.clone()),
            ("User", said(&self.user)),
            ("Set off by", said(&self.trigger)),
            ("Type", said(&self.kind)),
            ("Began", short(&self.started_at)),
            ("Ended", self.ended_at.as_deref().map_or_else(|| "not known".to_owned(), short)),
            ("Took", by(self.took(), &self.duration_from)),
            ("Tokens", by(figure(self.tokens.total), &self.tokens.total_from)),
            ("Tokens in, out", format!("{}, {}", figure(self.tokens.input), figure(self.tokens.output))),
            ("Tokens charged", figure(self.tokens.adjusted)),
            (
                "Steps",
                format!(
                    "{} done, {} failed, {} in all",
                    figure(self.steps.completed),
                    figure(self.steps.failed),
                    figure(self.steps.total)
                ),
            ),
            ("Turns", figure(self.iterations)),
            ("Calls of tools", figure(self.tool_calls)),
        ]
    }

    fn search(&self) -> String {
        let ids: Vec<&str> = self.events.iter().take(SEARCHED).map(String::as_str).collect();
        format!("id:{}", ids.join(","))
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    agent: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    trigger: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    cursor: String,
}

impl Asked {
    fn given(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("agent", self.agent.trim()),
            ("user", self.user.trim()),
            ("status", self.status.trim()),
            ("trigger", self.trigger.trim()),
            ("from", &*self.from),
            ("to", &*self.to),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

#[derive(Debug, Template)]
#[template(path = "runs.html")]
struct RunsPage {
    frame: Frame,
    asked: Asked,
    /// Each with whether it is chosen.
    statuses: [(&'static str, bool); 4],
    runs: Vec<Run>,
    next: Option<String>,
}

pub(super) async fn list(visitor: Visitor, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let mut given = asked.given();
    let filters = given.clone();
    given.push(("limit", SHOWN));
    if !asked.cursor.is_empty() {
        given.push(("cursor", &*asked.cursor));
    }
    let told = visitor.or_failure(visitor.answers().executions(&given).await)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let next = told["next_cursor"].as_str().map(|cursor| {
        let mut wanted = filters;
        wanted.push(("cursor", cursor));
        url::with("/runs", &wanted)
    });
    let found = RunsPage {
        frame: Frame::new("Runs", Some(Section::Runs), &visitor.shown),
        runs: Vec::deserialize(&told["executions"]).map_err(unreadable)?,
        next,
        statuses: Status::ALL.map(|status| (status.word(), status.word() == asked.status)),
        asked,
    };
    Ok(page(StatusCode::OK, &found))
}

#[derive(Debug, Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    run: Run,
    rows: Vec<Row>,
    search: String,
}

pub(super) async fn show(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().execution(&id).await)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let run = Run::deserialize(&told).map_err(unreadable)?;
    let q = run.search();
    let events = visitor.answers().events(&[("q", &*q), ("limit", EVENTS)]).await;
    let events = visitor.or_failure(events)?;
    let found = RunPage {
        frame: Frame::new(format!("Run of {}", run.name()), Some(Section::Runs), &visitor.shown),
        rows: Row::list(&events["events"]).map_err(unreadable)?,
        search: url::search(&q),
        run,
    };
    Ok(page(StatusCode::OK, &found))
}

/// What runs add up to, as the API tells it.
#[derive(Debug, Deserialize)]
struct Figures {
    runs: i64,
    completed: i64,
    failed: i64,
    running: i64,
    unknown: i64,
    success_rate: Option<f64>,
    tokens: SumOfTokens,
    iterations: Iterations,
    duration_ms: Durations,
    last_run: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SumOfTokens {
    total: Option<i64>,
    input: Option<i64>,
    output: Option<i64>,
    peak: Option<i64>,
    average: Option<f64>,
    output_input_ratio: Option<f64>,
    runs_without: i64,
}

#[derive(Debug, Deserialize)]
struct Iterations {
    total: Option<i64>,
    average: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Durations {
    average: Option<f64>,
    peak: Option<i64>,
}

/// A figure as it is shown: what nobody told is not nothing.
fn shown(figure: Option<impl ToString>) -> String {
    figure.map_or_else(|| "not known".to_owned(), |figure| figure.to_string())
}

impl Figures {
    fn rate(&self) -> String {
        self.success_rate.map_or_else(|| "not known".to_owned(), |rate| format!("{rate:.1} %"))
    }

    fn average_time(&self) -> String {
        self.duration_ms.average.map_or_else(|| "not known".to_owned(), |millis| span(millis.round() as i64))
    }

    fn peak_time(&self) -> String {
        self.duration_ms.peak.map_or_else(|| "not known".to_owned(), span)
    }

    fn tokens(&self) -> String {
        shown(self.tokens.total)
    }

    fn peak(&self) -> String {
        shown(self.tokens.peak)
    }

    /// What else is known, by name.
    fn others(&self) -> [(&'static str, String); 12] {
        [
            ("Success, of the runs whose end is known", self.rate()),
            ("Tokens", self.tokens()),
            ("Tokens in", shown(self.tokens.input)),
            ("Tokens out", shown(self.tokens.output)),
            ("Tokens of a run, at most", self.peak()),
            ("Tokens of a run, in the mean", shown(self.tokens.average)),
            ("Tokens out for each in", shown(self.tokens.output_input_ratio)),
            ("Runs that do not tell their tokens", self.tokens.runs_without.to_string()),
            ("Turns", shown(self.iterations.total)),
            ("Turns of a run, in the mean", shown(self.iterations.average)),
            ("Took, in the mean", self.average_time()),
            ("Took, at most", self.peak_time()),
        ]
    }
}

/// An agent in the list.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    #[serde(flatten)]
    figures: Figures,
    /// Of the busiest one's runs, in hundredths.
    #[serde(skip)]
    share: i64,
}

impl Listed {
    fn url(&self) -> String {
        url::under(&["agents", &self.id])
    }

    fn runs(&self, status: &str) -> String {
        url::with("/runs", &[("agent", &self.id), ("status", status)])
    }
}

#[derive(Debug, Template)]
#[template(path = "agents.html")]
struct AgentsPage {
    frame: Frame,
    agents: Vec<Listed>,
    is_whole: bool,
}

pub(super) async fn agents(visitor: Visitor) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().agents(&[]).await)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let mut agents: Vec<Listed> = Vec::deserialize(&told["agents"]).map_err(unreadable)?;
    let most = agents.iter().map(|agent| agent.figures.runs).max().unwrap_or_default().max(1);
    for agent in &mut agents {
        agent.share = (agent.figures.runs * 100 / most).max(1);
    }
    let found = AgentsPage {
        frame: Frame::new("Agents", Some(Section::Agents), &visitor.shown),
        is_whole: told["complete"].as_bool() == Some(true),
        agents,
    };
    Ok(page(StatusCode::OK, &found))
}

/// What runs add up to since a time.
#[derive(Debug, Deserialize)]
struct Since {
    from: String,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Deserialize)]
struct Intensity {
    version: String,
    complete: bool,
    score: Bounds,
    multiplier: Bounds,
    creation: Bounds,
    runs: i64,
    runs_needed: i64,
    components: Vec<Component>,
}

#[derive(Debug, Deserialize)]
struct Component {
    name: String,
    weight: f64,
    score: Bounds,
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    name: String,
    input: Option<f64>,
    weight: f64,
    adds: Bounds,
}

impl Part {
    fn input(&self) -> String {
        self.input.map_or_else(|| "not captured".to_owned(), |input| input.to_string())
    }
}

#[derive(Debug, Deserialize)]
struct Bounds {
    value: Option<f64>,
    least: f64,
    most: f64,
}

impl Bounds {
    fn told(&self) -> String {
        match self.value {
            Some(value) => format!("{value:.2}"),
            None => format!("{:.2} to {:.2}", self.least, self.most),
        }
    }
}

/// Runs over time as bars, each of which leads to its time, with their numbers as a table.
#[derive(Debug, Template)]
#[template(path = "run_chart.html")]
struct RunChart {
    bars: Vec<Bar>,
    total: i64,
    most: i64,
    all: String,
    by: String,
}

impl HtmlSafe for RunChart {}

#[derive(Debug)]
struct Bar {
    at: usize,
    since: Since,
    url: String,
    parts: [(&'static str, i64, f64, f64); 3],
}

impl RunChart {
    fn of(id: &str, by: &str, series: Vec<Since>) -> Self {
        let most = series.iter().map(|since| since.figures.runs).max().unwrap_or_default();
        let total = series.iter().map(|since| since.figures.runs).sum();
        let length = if by == "day" { chrono::TimeDelta::days(1) } else { chrono::TimeDelta::hours(1) };
        let bar = |(at, since): (usize, Since)| {
            let begun = chrono::DateTime::parse_from_rfc3339(&since.from).ok();
            let end = begun.map(|begun| crate::view::time((begun + length).to_utc())).unwrap_or_default();
            let url = url::with("/runs", &[("agent", id), ("from", &since.from), ("to", &end)]);
            let told = &since.figures;
            let open = told.running + told.unknown;
            let mut y = HEIGHT;
            let parts = [("success", told.completed), ("failure", told.failed), ("unknown", open)];
            let parts = parts.map(|(word, count)| {
                let share = count as f64 / most.max(1) as f64 * HEIGHT;
                let height = if count == 0 { 0.0 } else { share.max(LEAST) };
                y -= height;
                (word, count, y, height)
            });
            Bar { at, url, parts, since }
        };
        Self {
            bars: series.into_iter().enumerate().map(bar).collect(),
            total,
            most,
            all: url::with("/runs", &[("agent", id)]),
            by: by.to_owned(),
        }
    }
}

impl Bar {
    fn told(&self) -> String {
        let told = &self.since.figures;
        format!("{} completed, {} failed, {} open", told.completed, told.failed, told.running + told.unknown)
    }
}

#[derive(Debug, Template)]
#[template(path = "agent.html")]
struct AgentPage {
    frame: Frame,
    id: String,
    figures: Figures,
    chart: RunChart,
    intensity: Intensity,
    search: String,
}

impl AgentPage {
    fn runs(&self, status: &str) -> String {
        url::with("/runs", &[("agent", &self.id), ("status", status)])
    }
}

pub(super) async fn agent(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().agent(&id, &[]).await)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let series: Vec<Since> = Vec::deserialize(&told["series"]).map_err(unreadable)?;
    let found = AgentPage {
        frame: Frame::new(format!("Agent {id}"), Some(Section::Agents), &visitor.shown),
        figures: Figures::deserialize(&told["metrics"]).map_err(unreadable)?,
        intensity: Intensity::deserialize(&told["intensity"]).map_err(unreadable)?,
        chart: RunChart::of(&id, told["by"].as_str().unwrap_or("day"), series),
        search: url::search(&term::entity("agent", Some(&id)).unwrap_or_default()),
        id,
    };
    Ok(page(StatusCode::OK, &found))
}
