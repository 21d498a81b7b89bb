//! Which reports are of one run: a function of the reports, whatever order they come in.
//!
//! Reports that name an execution are of that run. One that names none and with which a run begins is a run of its own. Whatever
//! else names none belongs to the run of its agent that began last before it, if that run can still have been going on.
//!
//! An answer that names no execution and the record of an execution without an answer are one run if the answer's run is the
//! last that the agent began before the record, and was not over: the application does not tell everybody the id.
//!
//! A report changes nothing further than [`REACH`] from it, so that late ones are joined by looking near them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::report::Report;

/// How long after its beginning a run without an end takes reports in that only name its agent.
pub const WITHIN: TimeDelta = TimeDelta::minutes(30);
/// How far from a report runs may change because of it: it can move the beginning of a run, which can absorb another, which
/// takes in what follows.
pub const REACH: TimeDelta = TimeDelta::minutes(90);
/// How long after a run's end its calls and records may still be written down.
const LATE: TimeDelta = TimeDelta::seconds(10);

/// The reports of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run<'a> {
    /// What the run is called: its execution's id, or the event it began with.
    pub key: String,
    /// Its agent, by the reports that it is told from.
    pub agent: Option<&'a str>,
    /// When it began, by its agent's reports.
    pub begun_at: DateTime<Utc>,
    /// Its reports, oldest first.
    pub reports: Vec<&'a Report>,
}

/// A run as it is put together.
struct Part<'a> {
    run: Run<'a>,
    has_start: bool,
    /// Until when it takes in what only names its agent.
    until: DateTime<Utc>,
}

/// The runs of some reports. Those that belong to none are in none.
pub fn join(reports: &[Report]) -> Vec<Run<'_>> {
    let mut named: BTreeMap<&str, Vec<&Report>> = BTreeMap::new();
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut loose = Vec::new();
    for report in reports {
        match &report.execution_id {
            Some(id) => named.entry(id).or_default().push(report),
            None if report.kind.is_start() => {
                // No application's id begins so.
                parts.push(Part::of(format!("~{}", report.event_id), vec![report]));
            }
            None => loose.push(report),
        }
    }
    parts.extend(named.into_iter().map(|(id, reports)| Part::of(id.to_owned(), reports)));
    let by_agent = by_agent(&parts);
    let into = absorbed(&parts, &by_agent);
    let mut taken: Vec<Vec<&Report>> = vec![Vec::new(); parts.len()];
    for report in loose {
        if let Some(at) = home(report, &parts, &by_agent) {
            taken[into.get(&at).copied().unwrap_or(at)].push(report);
        }
    }
    for (from, to) in &into {
        let moved = std::mem::take(&mut parts[*from].run.reports);
        // Who knows the execution's id can ask for the run by it.
        parts[*to].run.key = parts[*from].run.key.clone();
        parts[*to].run.reports.extend(moved);
    }
    let runs = parts.into_iter().zip(taken).map(|(part, more)| {
        let mut run = part.run;
        run.reports.extend(more);
        run.reports.sort_by_key(|report| (report.at, report.event_id));
        run
    });
    runs.filter(|run| run.reports.iter().any(|report| report.kind.is_evidence())).collect()
}

impl<'a> Part<'a> {
    fn of(key: String, mut reports: Vec<&'a Report>) -> Self {
        reports.sort_by_key(|report| (report.at, report.event_id));
        let has_start = reports.iter().any(|report| report.kind.is_start());
        let agent = super::fold::agent(&reports);
        let of_agent = || reports.iter().filter(|report| report.agent_id.as_deref() == agent);
        let starts = of_agent().filter(|report| report.kind.is_start()).map(|report| report.at).min();
        let begun_at =
            starts.or_else(|| of_agent().map(|report| report.begun_at()).min()).unwrap_or_default();
        let ends = reports.iter().filter_map(|report| report.ended_at()).max();
        let until = ends.map_or(begun_at + WITHIN, |end| (end + LATE).min(begun_at + WITHIN));
        Self { run: Run { key, agent, begun_at, reports }, has_start, until }
    }
}

/// The parts of each agent, in the order in which they began.
fn by_agent<'a>(parts: &[Part<'a>]) -> HashMap<&'a str, Vec<usize>> {
    let mut by_agent: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, part) in parts.iter().enumerate() {
        if let Some(agent) = part.run.agent {
            by_agent.entry(agent).or_default().push(at);
        }
    }
    for own in by_agent.values_mut() {
        own.sort_by(|a, b| {
            let (a, b) = (&parts[*a].run, &parts[*b].run);
            (a.begun_at, &a.key).cmp(&(b.begun_at, &b.key))
        });
    }
    by_agent
}

/// The parts that are one run with the part before them, and which that is.
fn absorbed(parts: &[Part<'_>], by_agent: &HashMap<&str, Vec<usize>>) -> HashMap<usize, usize> {
    let mut into = HashMap::new();
    for own in by_agent.values() {
        for pair in own.windows(2) {
            let [before, at] = [pair[0], pair[1]];
            let (earlier, part) = (&parts[before], &parts[at]);
            let is_open = earlier.has_start && !is_named(earlier) && part.run.begun_at <= earlier.until;
            if is_open && is_named(part) && !part.has_start {
                into.insert(at, before);
            }
        }
    }
    into
}

fn is_named(part: &Part<'_>) -> bool {
    part.run.reports.iter().any(|report| report.execution_id.is_some())
}

/// The part to which a report belongs that only names its agent.
fn home(report: &Report, parts: &[Part<'_>], by_agent: &HashMap<&str, Vec<usize>>) -> Option<usize> {
    let own = by_agent.get(report.agent_id.as_deref()?)?;
    let begun = report.begun_at();
    let after = own.partition_point(|at| parts[*at].run.begun_at <= begun);
    let at = own[after.checked_sub(1)?];
    (begun <= parts[at].until).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::report::tests::report;
    use crate::execution::{Kind, Status};

    fn named(n: u128, kind: Kind, second: i64, id: &str) -> Report {
        Report { execution_id: Some(id.to_owned()), ..report(n, kind, second) }
    }

    fn answered(mut report: Report, after_ms: u64) -> Report {
        report.said.status = Some(Status::Completed);
        report.said.waited_ms = Some(after_ms);
        report
    }

    /// Each run's key with the numbers of its events.
    fn joined(reports: &[Report]) -> Vec<(String, Vec<u128>)> {
        let mut runs: Vec<_> = join(reports)
            .into_iter()
            .map(|run| (run.key, run.reports.iter().map(|report| report.event_id.as_u128()).collect()))
            .collect();
        runs.sort();
        runs
    }

    fn solo(n: u128) -> String {
        format!("~{}", uuid::Uuid::from_u128(n))
    }

    #[test]
    fn reports_that_name_an_execution_are_of_it_whatever_lies_between() {
        let reports = [
            named(1, Kind::Answer, 0, "x"),
            named(2, Kind::Answer, 5, "y"),
            named(3, Kind::Record, 90_000, "x"),
            Report { agent_id: None, ..named(4, Kind::Workflow, 6, "y") },
        ];
        assert_eq!(joined(&reports), [("x".to_owned(), vec![1, 3]), ("y".to_owned(), vec![2, 4])]);
    }

    #[test]
    fn a_call_that_names_no_execution_is_of_the_agents_last_run_that_was_not_over() {
        let reports = [
            answered(report(1, Kind::Answer, 0), 20_000),
            report(2, Kind::Call, 10),
            // Ten seconds after the end it may still be written down, and later not.
            report(3, Kind::Call, 29),
            report(4, Kind::Call, 31),
            report(5, Kind::Answer, 100),
            report(6, Kind::Call, 101),
            Report { agent_id: Some("b".to_owned()), ..report(7, Kind::Call, 11) },
        ];
        assert_eq!(joined(&reports), [(solo(1), vec![1, 2, 3]), (solo(5), vec![5, 6])]);
    }

    #[test]
    fn a_record_without_an_answer_is_of_the_answer_before_it_that_names_none() {
        let asked = report(1, Kind::Answer, 0);
        let recorded = named(2, Kind::Record, 60, "x");
        let call = report(3, Kind::Call, 70);
        let both = [asked.clone(), recorded.clone(), call.clone()];
        assert_eq!(joined(&both), [("x".to_owned(), vec![1, 2, 3])]);
        // Its own answer is there, another run lies between, or the first was over by then.
        let own = [asked.clone(), recorded.clone(), named(4, Kind::Answer, 59, "x")];
        assert_eq!(joined(&own), [("x".to_owned(), vec![4, 2]), (solo(1), vec![1])]);
        let between = [asked.clone(), report(5, Kind::Start, 30), recorded.clone()];
        assert_eq!(joined(&between), [("x".to_owned(), vec![5, 2]), (solo(1), vec![1])]);
        let over = [answered(asked, 1_000), recorded];
        assert_eq!(joined(&over), [("x".to_owned(), vec![2]), (solo(1), vec![1])]);
    }

    #[test]
    fn who_only_watches_or_logs_makes_no_run() {
        assert!(join(&[named(1, Kind::Watch, 0, "x"), report(2, Kind::Log, 1)]).is_empty());
        assert!(join(&[report(3, Kind::Call, 2)]).is_empty(), "a call of no run");
    }
}
