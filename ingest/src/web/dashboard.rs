//! The state of things at a glance: what happened in a window, and whether capturing and proving it goes well. Every figure
//! leads to what it counts.

use askama::Template;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::chart::{Chart, Split};
use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::ranking::Ranking;
use super::reader::Visitor;
use super::time::span;
use super::url;

/// Events whose way here is timed.
const TIMED: &str = "50";
/// Agents that ran last.
const LATEST: usize = 3;
/// Values of each ranking.
const TOP: &str = "8";

/// What the dashboard looks back over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    word: &'static str,
    name: &'static str,
    /// Bars of a chart: an hour, six hours, a day.
    bars: &'static str,
}

const WINDOWS: [Window; 3] = [
    Window { word: "24h", name: "24 hours", bars: "24" },
    Window { word: "7d", name: "7 days", bars: "28" },
    Window { word: "30d", name: "30 days", bars: "30" },
];

impl Window {
    fn url(self) -> String {
        url::with("/dashboard", &[("window", self.word)])
    }

    /// A search within it.
    fn of(self, q: &str) -> String {
        if q.is_empty() { format!("last:{}", self.word) } else { format!("{q} last:{}", self.word) }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    window: String,
}

/// A count and where it leads.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    count: i64,
    url: String,
}

/// A count of the last day that may never have been seen, and where it leads.
#[derive(Debug)]
struct Known {
    name: &'static str,
    count: Option<i64>,
    url: String,
}

impl Known {
    fn text(&self) -> String {
        self.count.map_or_else(|| "not seen".to_owned(), |count| count.to_string())
    }
}

/// An agent and how often it ran.
#[derive(Debug)]
struct Busy {
    id: String,
    runs: i64,
    url: String,
    last: String,
}

/// How well something goes.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Good,
    Warn,
    Bad,
}

impl Mood {
    /// Its class in the style sheet.
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// Whether something goes well.
#[derive(Debug)]
struct Health {
    name: &'static str,
    mood: Mood,
    value: String,
    words: String,
    url: &'static str,
}

#[derive(Debug, Template)]
#[template(path = "dashboard.html")]
struct DashboardPage {
    frame: Frame,
    window: Window,
    figures: Vec<Figure>,
    standing: Vec<Known>,
    busiest: Vec<Busy>,
    health: Vec<Health>,
    charts: Vec<Chart>,
    rankings: Vec<Ranking>,
}

pub(super) async fn show(visitor: Visitor, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let window = WINDOWS.into_iter().find(|window| window.word == asked.window).unwrap_or(WINDOWS[1]);
    let answers = visitor.answers();
    let [all, logins, changes, failed, alerts, timed] =
        ["", "action:USER_LOGIN*", "has:changes", "is:failed", "is:own severity:>=warning", "-is:own"]
            .map(|q| window.of(q));
    let (of_all, of_logins, of_changes) = (bars(&all, window), bars(&logins, window), bars(&changes, window));
    let (top_all, top_failed, top_alerts) = (
        top(&all, "action,actor,entity,country,severity"),
        top(&failed, "action,actor"),
        top(&alerts, "action"),
    );
    let newest = [("q", &*timed), ("limit", TIMED)];
    let told = tokio::try_join!(
        answers.histogram(&of_all),
        answers.histogram(&of_logins),
        answers.histogram(&of_changes),
        answers.facets(&top_all),
        answers.facets(&top_failed),
        answers.facets(&top_alerts),
        answers.events(&newest),
    );
    let (all_bars, login_bars, change_bars, facets, failures, alerted, newest) = visitor.or_failure(told)?;
    let state = tokio::try_join!(
        answers.coverage(),
        answers.integrity(),
        answers.streams(),
        answers.standing(),
        answers.agents(&[])
    );
    let (coverage, integrity, streams, standing, agents) = visitor.or_failure(state)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let chart = |q: &str, told: &Value, split| Chart::read(q, told, split).map_err(unreadable);
    let charts = [
        chart(&all, &all_bars, Split::Outcome)?.titled("Events"),
        chart(&logins, &login_bars, Split::Outcome)?.titled("Sign-ins"),
        chart(&changes, &change_bars, Split::Severity)?.titled("Changes"),
    ];
    let now = answers.state.clock.now().to_utc();
    let found = DashboardPage {
        frame: Frame::new("Dashboard", Some(Section::Dashboard), &visitor.shown),
        window,
        figures: figures(window, &charts, &facets),
        standing: known(&standing),
        busiest: busiest(&agents),
        health: vec![
            integrity_of(&integrity, now),
            coverage_of(&coverage),
            lag_of(&newest, now),
            losses_of(&streams),
            alerts_of(&alerted),
        ],
        charts: charts.into(),
        rankings: vec![
            Ranking::read("Actions", &all, &facets["facets"]["action"]),
            Ranking::read("Actors", &all, &facets["facets"]["actor"]),
            Ranking::read("Entities", &all, &facets["facets"]["entity"]),
            Ranking::read("Countries", &all, &facets["facets"]["country"]),
            Ranking::read("What failed", &failed, &failures["facets"]["action"]),
            Ranking::read("For whom it failed", &failed, &failures["facets"]["actor"]),
        ],
    };
    Ok(page(StatusCode::OK, &found))
}

fn bars(q: &str, window: Window) -> [(&str, &str); 2] {
    [("q", q), ("buckets", window.bars)]
}

fn top<'a>(q: &'a str, fields: &'a str) -> [(&'a str, &'a str); 3] {
    [("q", q), ("fields", fields), ("top", TOP)]
}

fn figures(window: Window, [all, logins, changes]: &[Chart; 3], facets: &Value) -> Vec<Figure> {
    let figure = |name, count, q: &str| Figure { name, count, url: url::search(&window.of(q)) };
    let severities = facets["facets"]["severity"]["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let critical = severities.iter().find(|value| value["value"] == "critical");
    let critical = critical.and_then(|value| value["count"].as_i64()).unwrap_or_default();
    vec![
        figure("Events", all.total(), ""),
        figure("Failures", all.of("failure"), "is:failed"),
        figure("Sign-ins", logins.of("success"), "action:USER_LOGIN* outcome:success"),
        figure("Failed sign-ins", logins.of("failure"), "action:USER_LOGIN* is:failed"),
        figure("Changes", changes.total(), "has:changes"),
        figure("Critical", critical, "severity:critical"),
    ]
}

fn known(told: &Value) -> Vec<Known> {
    let from = told["window"]["from"].as_str().unwrap_or_default();
    let known = |name, member: &str, url| Known { name, count: told[member].as_i64(), url };
    let runs = |status| url::with("/runs", &[("status", status), ("from", from)]);
    let day = |q: &str| url::search(&format!("{q} last:24h"));
    vec![
        known("Active agents", "active_agents", "/agents".to_owned()),
        known("Runs", "runs", runs("")),
        known("Failed runs", "failed", runs("failed")),
        known("Running", "running", runs("running")),
        known("Agents with memory", "memory_active_agents", day("action:MEMORY_CREATED")),
        known("Credits used", "credits_used", day("action:CREDITS_*")),
        known("Credit balance", "credit_balance", day("action:CREDITS_*,SUBSCRIPTION_*")),
    ]
}

/// The agents that ran last.
fn busiest(told: &Value) -> Vec<Busy> {
    let agents = told["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let busy = |agent: &Value| {
        let id = agent["id"].as_str()?.to_owned();
        let last = agent["last_run"].as_str().unwrap_or_default().to_owned();
        Some(Busy { runs: agent["runs"].as_i64()?, url: url::under(&["agents", &id]), last, id })
    };
    agents.iter().filter_map(busy).take(LATEST).collect()
}

/// How long ago a time was, in words.
fn ago(now: DateTime<Utc>, at: &str) -> Option<String> {
    let at = DateTime::parse_from_rfc3339(at).ok()?;
    Some(format!("{} ago", span((now - at.to_utc()).num_milliseconds())))
}

fn integrity_of(told: &Value, now: DateTime<Utc>) -> Health {
    let logs = told["logs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_sound = told["sound"].as_bool() == Some(true);
    let checks = logs.iter().filter_map(|log| log["checks"].as_object()).flat_map(|checks| checks.values());
    let verified = checks.filter_map(|check| check["finished_at"].as_str()).max();
    let head = logs.iter().filter_map(|log| log["head_signed_at"].as_str()).max();
    let leaves: i64 = logs.iter().filter_map(|log| log["size"].as_i64()).sum();
    let part = |what: &str, at: Option<&str>| {
        let at = at.and_then(|at| ago(now, at));
        at.map_or_else(|| format!("not {what} yet"), |ago| format!("{what} {ago}"))
    };
    let (mood, value) = match (logs.is_empty(), is_sound) {
        (true, _) => (Mood::Warn, "no log yet"),
        (_, true) => (Mood::Good, "no finding"),
        (_, false) => (Mood::Bad, "a finding stands"),
    };
    Health {
        name: "Integrity",
        mood,
        value: value.to_owned(),
        words: format!("{leaves} leaves; head {}; {}", part("signed", head), part("verified", verified)),
        url: "/integrity",
    }
}

fn coverage_of(told: &Value) -> Health {
    let totals = &told["totals"];
    let count = |name: &str| totals[name].as_i64().unwrap_or_default();
    let unmapped = count("routes_unmapped");
    let value = totals["percent_mapped"].as_f64();
    Health {
        name: "Coverage",
        mood: if value.is_none() || unmapped > 0 { Mood::Warn } else { Mood::Good },
        value: value.map_or_else(|| "not known".to_owned(), |percent| format!("{percent} %")),
        words: format!("{} requests counted; {unmapped} routes without a rule", count("requests")),
        url: if unmapped > 0 { "/inbox" } else { "/coverage" },
    }
}

/// Twice as long as the edge gathers, at its slowest.
const SLOW_MS: i64 = 60_000;

fn lag_of(told: &Value, now: DateTime<Utc>) -> Health {
    let time = |event: &Value, name: &str| {
        let at = DateTime::parse_from_rfc3339(event[name].as_str()?).ok()?;
        Some(at.timestamp_millis())
    };
    let events = told["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let taken = |event: &Value| Some((time(event, "received_at")? - time(event, "occurred_at")?).max(0));
    let mut lags: Vec<i64> = events.iter().filter_map(taken).collect();
    lags.sort_unstable();
    let middle = lags.get(lags.len() / 2).copied();
    let last = events.iter().filter_map(|event| event["received_at"].as_str()).max();
    let words = last.and_then(|at| ago(now, at)).map(|last| {
        format!("from act to store, in the middle of the last {}; the last one {last}", lags.len())
    });
    Health {
        name: "Ingest lag",
        mood: if middle.is_some_and(|lag| lag > SLOW_MS) { Mood::Warn } else { Mood::Good },
        value: middle.map_or_else(|| "not known".to_owned(), span),
        words: words.unwrap_or_else(|| "nothing arrived of this time".to_owned()),
        url: "/streams",
    }
}

fn losses_of(told: &Value) -> Health {
    let streams = told["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let gaps = streams.iter().filter_map(|stream| stream["gaps"].as_array()).flatten();
    let open = gaps.filter(|gap| gap["state"] == "open").count();
    let dropped: i64 = streams.iter().filter_map(|stream| stream["dropped"].as_i64()).sum();
    let is_whole = open == 0 && dropped == 0;
    Health {
        name: "Losses",
        mood: if is_whole { Mood::Good } else { Mood::Bad },
        value: if is_whole { "none known".to_owned() } else { format!("{open} gaps, {dropped} events") },
        words: format!("open gaps and events given up, of the newest {} streams", streams.len()),
        url: "/streams",
    }
}

fn alerts_of(told: &Value) -> Health {
    let count = told["total"].as_i64().unwrap_or_default();
    Health {
        name: "Alerts",
        mood: if count > 0 { Mood::Warn } else { Mood::Good },
        value: count.to_string(),
        words: "warnings and critical events of the server itself in this time".to_owned(),
        url: "/alerts",
    }
}
