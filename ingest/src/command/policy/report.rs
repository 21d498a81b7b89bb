//! What a trial is told as: a table for people, JSON for machines.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use shared::event::Event;

use super::draft;
use super::trial::Trial;

const HEAD: [&str; 8] = ["TIME", "ACTION", "ACTOR", "TRUST", "ENTITY", "OUTCOME", "CHANGES", "RULE"];

/// Characters of one cell.
const MAX_CELL: usize = 44;

pub(super) fn text(trial: &Trial) -> String {
    let rows: Vec<[String; 8]> = trial.events.iter().map(row).collect();
    let mut out = table(&HEAD.map(str::to_owned), &rows);
    if !trial.unmapped.is_empty() {
        let rows: Vec<[String; 3]> = trial
            .unmapped
            .iter()
            .map(|((method, route), unmapped)| [unmapped.count.to_string(), method.clone(), route.clone()])
            .collect();
        out.push_str("\nMutating requests that no rule names:\n");
        out.push_str(&table(&["COUNT", "METHOD", "ROUTE"].map(str::to_owned), &rows));
    }
    let (events, exchanges) = (trial.events.len(), trial.exchanges);
    let _ = write!(
        out,
        "\n{exchanges} exchanges gave {events} events. {} bytes would leave the edge, of {} bytes of traffic ({:.1} %).\n\
         Signatures are not checked here: whoever a token names stands as asserted.",
        trial.event_bytes,
        trial.traffic_bytes,
        share(trial) * 100.0,
    );
    if trial.pre_reads > 0 {
        let _ = write!(
            out,
            "\nRules ask for {} reads of the old side, which a recording does not hold: at the edge those changes have both sides.",
            trial.pre_reads
        );
    }
    if trial.shadow {
        shadow(&mut out, trial);
    }
    out
}

fn shadow(out: &mut String, trial: &Trial) {
    out.push_str("\n\nShadow: metadata only, no body was looked at.");
    match per_day(trial) {
        Some(events) => {
            let _ = write!(
                out,
                "\nAt this pace {events:.0} events a day ({:.1} MB), from a recording of {:.0} s.",
                events * mean_bytes(trial) / 1e6,
                trial.span.as_secs_f64()
            );
        }
        None => out.push_str("\nThe recording has no duration, so a day's volume cannot be told."),
    }
    if let Some(Latency { mean, p99, max }) = Latency::of(&trial.capture) {
        let _ = write!(
            out,
            "\nCapturing took {} µs of CPU for each audited exchange ({} µs at p99, {} µs at most), on this machine and after the response.",
            mean.as_micros(),
            p99.as_micros(),
            max.as_micros()
        );
    }
    for pack in draft::packs(trial) {
        let _ = write!(out, "\n\nA draft to begin with:\n{pack:#}");
    }
}

pub(super) fn json(trial: &Trial) -> String {
    let events: Vec<Value> = trial.events.iter().map(event).collect();
    let unmapped: Vec<Value> = trial
        .unmapped
        .iter()
        .map(|((method, route), unmapped)| {
            json!({"method": method, "route": route, "mount": unmapped.side, "count": unmapped.count})
        })
        .collect();
    let mut report = json!({
        "exchanges": trial.exchanges,
        "events": events,
        "unmapped": unmapped,
        "pre_reads": trial.pre_reads,
        "bytes": {"leaving": trial.event_bytes, "traffic": trial.traffic_bytes},
    });
    if trial.shadow {
        let latency = Latency::of(&trial.capture).map(|latency| {
            json!({"mean_us": micros(latency.mean), "p99_us": micros(latency.p99), "max_us": micros(latency.max)})
        });
        report["shadow"] = json!({
            "span_ms": millis(trial.span),
            "events_per_day": per_day(trial).map(f64::round),
            "capture": latency,
            "drafts": draft::packs(trial),
        });
    }
    report.to_string()
}

fn event(event: &Event) -> Value {
    json!({
        "occurred_at_ms": event.occurred_at.millis(),
        "action": event.action,
        "severity": event.severity,
        "outcome": event.outcome,
        "reason": event.reason,
        "trust": event.trust,
        "actor": event.actor.as_ref().map(|actor| json!({"id": actor.id, "email": actor.email, "role": actor.role})),
        "claimed_user": event.claimed_user.as_ref().map(|claimed| json!({"id": claimed.id, "source": claimed.source})),
        "entity": event.entity.as_ref().map(|entity| json!({"type": entity.kind, "id": entity.id, "name": entity.name})),
        "method": event.request.method,
        "route": event.request.route,
        "rule": event.request.rule,
        "status": event.request.status,
        "details": event.details.as_ref().map(shared::event::JsonText::value),
        "changes": event.changes.as_ref().map(|changes| json!({"quality": changes.quality, "fields": changes.fields.value()})),
        "compliance": event.compliance,
        "echo": event.echo,
    })
}

fn row(event: &Event) -> [String; 8] {
    let actor = event.actor.as_ref().map(|actor| actor.email.clone().unwrap_or_else(|| actor.id.clone()));
    let entity = event.entity.as_ref().map(|entity| match &entity.id {
        Some(id) if id.starts_with('/') => format!("{} {id}", entity.kind),
        Some(id) => format!("{}/{id}", entity.kind),
        None => entity.kind.to_string(),
    });
    let outcome = match &event.reason {
        Some(reason) => format!("{} ({reason})", event.outcome),
        None => event.outcome.to_string(),
    };
    [
        time(event.occurred_at.millis()),
        event.action.to_string(),
        actor.unwrap_or_else(|| "-".to_owned()),
        event.trust.to_string(),
        entity.unwrap_or_else(|| "-".to_owned()),
        outcome,
        event.changes.as_ref().map_or_else(|| "-".to_owned(), |changes| changes.quality.to_string()),
        event.request.rule.clone(),
    ]
}

fn time(millis: u64) -> String {
    i64::try_from(millis)
        .ok()
        .and_then(chrono::DateTime::from_timestamp_millis)
        .map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// Columns as wide as their widest cell; the last is not filled up.
fn table<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> String {
    let shown = |cell: &String| -> String {
        let clean: String = cell.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        match clean.char_indices().nth(MAX_CELL) {
            Some((end, _)) => format!("{}…", &clean[..end]),
            None => clean,
        }
    };
    let lines: Vec<Vec<String>> =
        core::iter::once(head).chain(rows).map(|row| row.iter().map(shown).collect()).collect();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// How long capturing took.
struct Latency {
    mean: Duration,
    p99: Duration,
    max: Duration,
}

impl Latency {
    /// Of sorted samples; none of none.
    fn of(sorted: &[Duration]) -> Option<Self> {
        let max = *sorted.last()?;
        let p99 = sorted[(sorted.len() * 99).div_ceil(100) - 1];
        let mean = sorted.iter().sum::<Duration>() / u32::try_from(sorted.len()).unwrap_or(u32::MAX);
        Some(Self { mean, p99, max })
    }
}

/// Events in a day of traffic like the recording's.
fn per_day(trial: &Trial) -> Option<f64> {
    let seconds = trial.span.as_secs_f64();
    (seconds > 0.0).then(|| count(trial.events.len()) / seconds * 86_400.0)
}

fn mean_bytes(trial: &Trial) -> f64 {
    count(trial.event_bytes) / count(trial.events.len().max(1))
}

fn share(trial: &Trial) -> f64 {
    count(trial.event_bytes) / count(trial.traffic_bytes.max(1))
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
