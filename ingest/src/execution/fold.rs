//! What a run was, by everything that was reported of it.
//!
//! Who is asked first, for each figure: what the record of the execution says (the newest that says it; then that of the
//! workflow), what the answer to who asked for the run says, and last the sum of the calls of models. Tokens are as models count
//! them; what the application charges for them is a figure of its own. A sum of which one part is unknown is unknown, and so is
//! what nobody says: none, never 0.

use std::cmp::Reverse;

use super::report::{Kind, Report, Said};
use super::{Execution, Status};

/// The order in which reports are asked: records, workflows, resumed ends, answers, starts, watchers, logs.
const ORDER: [Kind; 7] =
    [Kind::Record, Kind::Workflow, Kind::Resume, Kind::Answer, Kind::Start, Kind::Watch, Kind::Log];

/// The run that these reports tell of. None of no reports.
pub fn fold(key: &str, reports: &[&Report]) -> Option<Execution> {
    let mut oldest_first = reports.to_vec();
    oldest_first.sort_by_key(|report| (report.at, report.event_id));
    let told = Told::of(&oldest_first);
    let first = oldest_first.first()?;
    let starts = oldest_first.iter().filter(|report| report.kind.is_start());
    let started_at = starts
        .map(|report| report.at)
        .min()
        .or_else(|| oldest_first.iter().map(|report| report.begun_at()).min())
        .unwrap_or(first.at);
    let (status, decided_by) = told.status();
    let ended_at = decided_by.and_then(Report::ended_at);
    let (duration, duration_from) = told.duration();
    let (tokens, tokens_from) = told.tokens();
    let has_failed = status == Status::Failed;
    Some(Execution {
        execution_key: key.to_owned(),
        first_event: first.event_id,
        events: oldest_first.iter().map(|report| report.event_id).collect(),
        execution_id: oldest_first.iter().find_map(|report| report.execution_id.clone()),
        agent_id: agent(&oldest_first).map(str::to_owned),
        agent_name: told.newest(|report| report.agent_name.clone()),
        user_id: user(&oldest_first),
        status: status.word().to_owned(),
        trigger: told.newest(|report| report.said.trigger.clone()),
        execution_type: told
            .of_kinds(&[Kind::Answer], |said| said.execution_type.clone())
            .or_else(|| told.newest(|report| report.said.execution_type.clone())),
        started_at,
        ended_at: ended_at.map(|at| at.max(started_at)),
        duration_ms: duration.map(whole),
        duration_from: duration_from.map(str::to_owned),
        tokens_in: told.side(|said| said.tokens_in).map(whole),
        tokens_out: told.side(|said| said.tokens_out).map(whole),
        tokens_total: tokens.map(whole),
        tokens_from: tokens_from.map(str::to_owned),
        tokens_adjusted: told.said(|said| said.tokens_adjusted).map(whole),
        steps_completed: told.steps(|said| said.steps_completed).map(whole),
        steps_failed: told.steps(|said| said.steps_failed).map(whole),
        steps_total: told.steps(|said| said.steps_total).map(whole),
        iterations: told.said(|said| said.iterations).map(whole),
        tool_calls: told.said(|said| said.tool_calls).map(whole),
        error_kind: told.newest(|report| report.said.error_kind.clone()).filter(|_| has_failed),
        error: told.newest(|report| report.error.clone()).filter(|_| has_failed),
    })
}

/// The agent of a run: whose run was asked for, else what records and calls name. Oldest first.
pub(super) fn agent<'a>(oldest_first: &[&'a Report]) -> Option<&'a str> {
    let named = |is_start: bool| {
        let reports = oldest_first.iter().filter(move |report| report.kind.is_start() == is_start);
        reports.filter_map(|report| report.agent_id.as_deref()).next()
    };
    named(true).or_else(|| named(false))
}

/// For whom it ran: who is proven to have asked for it, else whom records and calls name, else whom the request names.
fn user(oldest_first: &[&Report]) -> Option<String> {
    let users = |wanted: &dyn Fn(&Report) -> bool| {
        let mut users = oldest_first.iter().filter(|report| wanted(report));
        users.find_map(|report| report.user_id.clone())
    };
    users(&|report| report.kind.is_asked() && report.said.is_proven)
        .or_else(|| users(&|report| !report.kind.is_asked() && report.kind != Kind::Watch))
        .or_else(|| users(&|report| report.kind.is_asked()))
}

/// What is said of a run, those who are asked first in front, of each kind the newest first.
struct Told<'a> {
    asked: Vec<&'a Report>,
    calls: Vec<&'a Report>,
}

impl<'a> Told<'a> {
    fn of(oldest_first: &[&'a Report]) -> Self {
        let rank = |kind| ORDER.iter().position(|known| *known == kind);
        let (calls, mut asked): (Vec<&Report>, Vec<&Report>) =
            oldest_first.iter().partition(|report| report.kind == Kind::Call);
        asked.sort_by_key(|report| (rank(report.kind), Reverse((report.at, report.event_id))));
        Self { asked, calls }
    }

    fn newest<T>(&self, read: impl Fn(&Report) -> Option<T>) -> Option<T> {
        self.asked.iter().find_map(|report| read(report))
    }

    fn said<T>(&self, read: impl Fn(&Said) -> Option<T>) -> Option<T> {
        self.newest(|report| read(&report.said))
    }

    fn of_kinds<T>(&self, kinds: &[Kind], read: impl Fn(&Said) -> Option<T>) -> Option<T> {
        self.newest(|report| read(&report.said).filter(|_| kinds.contains(&report.kind)))
    }

    /// How it stands, and who says so. An end goes before whatever says that it runs: reports come late.
    fn status(&self) -> (Status, Option<&'a Report>) {
        // A run that is resumed ends twice; the later end counts, whoever of the two tables tells it.
        let written = [Kind::Record, Kind::Workflow, Kind::Resume];
        let ends = || self.asked.iter().copied().filter(|report| report.ends());
        let newest_written = ends()
            .filter(|report| written.contains(&report.kind))
            .max_by_key(|report| (report.at, Reverse(report.kind), report.event_id));
        let end = newest_written.or_else(|| ends().next());
        match end.and_then(|report| Some((report.said.status?, report))) {
            Some((status, report)) => (status, Some(report)),
            None if self.asked.iter().any(|report| report.said.status == Some(Status::Running)) => {
                (Status::Running, None)
            }
            None => (Status::Unknown, None),
        }
    }

    /// How long, in milliseconds, and who says so; last the edge's own clock.
    fn duration(&self) -> (Option<u64>, Option<&'static str>) {
        let records = self.of_kinds(&[Kind::Record, Kind::Workflow], |said| said.duration_ms);
        let answers = self.of_kinds(&[Kind::Resume, Kind::Answer], |said| said.duration_ms);
        let waited = self.of_kinds(&[Kind::Answer], |said| said.waited_ms.filter(|_| said.status.is_some()));
        first([(records, "record"), (answers, "answer"), (waited, "edge")])
    }

    /// How many tokens, and who says so.
    fn tokens(&self) -> (Option<u64>, Option<&'static str>) {
        first([
            (self.of_kinds(&[Kind::Record, Kind::Workflow], |said| said.tokens), "record"),
            (self.of_kinds(&[Kind::Resume, Kind::Answer], |said| said.tokens), "answer"),
            (self.sum(|said| said.tokens), "calls"),
        ])
    }

    /// Tokens that went in or came out.
    fn side(&self, read: fn(&Said) -> Option<u64>) -> Option<u64> {
        self.said(read).or_else(|| self.sum(read))
    }

    /// Steps are what workflows count; a record of the execution says nothing of them.
    fn steps(&self, read: fn(&Said) -> Option<u64>) -> Option<u64> {
        self.of_kinds(&[Kind::Workflow], read).or_else(|| self.said(read))
    }

    /// Of all calls; none if there is none, or one of them does not say.
    fn sum(&self, read: impl Fn(&Said) -> Option<u64>) -> Option<u64> {
        let mut figures = self.calls.iter().map(|call| read(&call.said));
        let one = figures.next()??;
        figures.try_fold(one, |sum, figure| sum.checked_add(figure?))
    }
}

fn first<const N: usize>(told: [(Option<u64>, &'static str); N]) -> (Option<u64>, Option<&'static str>) {
    let found = told.into_iter().find_map(|(figure, by)| Some((figure?, by)));
    (found.map(|(figure, _)| figure), found.map(|(_, by)| by))
}

fn whole(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::report::tests::report;

    fn folded(reports: &[Report]) -> Execution {
        fold("x", &reports.iter().collect::<Vec<_>>()).expect("a run")
    }

    fn told(n: u128, kind: Kind, second: i64, said: Said) -> Report {
        Report { said, ..report(n, kind, second) }
    }

    fn call(n: u128, input: Option<u64>, output: Option<u64>) -> Report {
        let tokens = input.zip(output).map(|(input, output)| input + output);
        told(n, Kind::Call, 1, Said { tokens_in: input, tokens_out: output, tokens, ..Said::default() })
    }

    fn said(status: Status) -> Said {
        Said { status: Some(status), ..Said::default() }
    }

    #[test]
    fn the_record_goes_before_the_answer_and_the_answer_before_the_calls() {
        let calls = [call(8, Some(300), Some(40)), call(9, Some(21), Some(5))];
        let alone = folded(&calls);
        let tokens = |run: &Execution| (run.tokens_in, run.tokens_out, run.tokens_total);
        assert_eq!(tokens(&alone), (Some(321), Some(45), Some(366)));
        assert_eq!((alone.tokens_from.as_deref(), alone.status.as_str()), (Some("calls"), "unknown"));

        let answer = Said {
            tokens: Some(400),
            tokens_adjusted: Some(600),
            duration_ms: Some(70),
            ..said(Status::Completed)
        };
        let answer = told(1, Kind::Answer, 0, answer);
        let answered = folded(&[calls.to_vec(), vec![answer.clone()]].concat());
        assert_eq!(
            (answered.tokens_total, answered.tokens_from.as_deref(), answered.tokens_adjusted),
            (Some(400), Some("answer"), Some(600))
        );
        let record = Said { tokens: Some(500), duration_ms: Some(61), ..said(Status::Failed) };
        let record = told(2, Kind::Record, 3, record);
        let run = folded(&[calls.to_vec(), vec![answer, record]].concat());
        assert_eq!((run.tokens_total, run.tokens_from.as_deref()), (Some(500), Some("record")));
        assert_eq!((run.duration_ms, run.duration_from.as_deref()), (Some(61), Some("record")));
        assert_eq!((run.status.as_str(), run.tokens_adjusted), ("failed", Some(600)));
    }

    #[test]
    fn a_sum_of_which_one_call_does_not_tell_is_unknown_and_never_zero() {
        let run = folded(&[call(1, Some(3), Some(4)), call(2, None, Some(5))]);
        assert_eq!((run.tokens_in, run.tokens_out, run.tokens_total), (None, Some(9), None));
        let silent = folded(&[report(1, Kind::Answer, 0)]);
        let figures = [silent.tokens_in, silent.tokens_total, silent.duration_ms, silent.steps_total];
        assert_eq!((figures, silent.status.as_str()), ([None; 4], "unknown"));
        // A zero that somebody says is one.
        let zero = told(1, Kind::Record, 0, Said { tokens: Some(0), ..Said::default() });
        assert_eq!(folded(&[zero]).tokens_total, Some(0));
    }

    #[test]
    fn an_end_stands_whatever_comes_later_and_the_later_end_counts() {
        let running = told(1, Kind::Workflow, 0, said(Status::Running));
        let failed = told(2, Kind::Record, 10, said(Status::Failed));
        let resumed = told(3, Kind::Resume, 20, Said { waited_ms: Some(5_000), ..said(Status::Completed) });
        let late = told(4, Kind::Workflow, 30, said(Status::Running));
        let at = |second| report(9, Kind::Call, second).at;
        assert_eq!(folded(std::slice::from_ref(&running)).status, "running");
        let ended = folded(&[late.clone(), failed.clone(), running.clone()]);
        assert_eq!((ended.status.as_str(), ended.ended_at), ("failed", Some(at(10))));
        let run = folded(&[resumed, late, failed, running]);
        assert_eq!((run.status.as_str(), run.ended_at), ("completed", Some(at(25))));
        assert_eq!((run.started_at, run.error_kind), (at(0), None));
    }

    #[test]
    fn an_answers_end_is_when_it_came_and_its_duration_the_edges_if_nobody_else_says() {
        let answer = Said { waited_ms: Some(1_500), ..said(Status::Completed) };
        let run = folded(&[told(1, Kind::Answer, 0, answer)]);
        assert_eq!((run.duration_ms, run.duration_from.as_deref()), (Some(1_500), Some("edge")));
        assert_eq!(run.ended_at.map(|end| (end - run.started_at).num_milliseconds()), Some(1_500));
    }

    #[test]
    fn a_proven_user_goes_before_one_that_is_only_named() {
        let by = |kind, n, user: &str, is_proven| Report {
            user_id: Some(user.to_owned()),
            said: Said { is_proven, ..Said::default() },
            ..report(n, kind, n as i64)
        };
        let claimed = by(Kind::Answer, 1, "mallory", false);
        let recorded = by(Kind::Record, 2, "owner", false);
        let proven = by(Kind::Answer, 3, "alice", true);
        assert_eq!(folded(std::slice::from_ref(&claimed)).user_id.as_deref(), Some("mallory"));
        assert_eq!(folded(&[claimed.clone(), recorded.clone()]).user_id.as_deref(), Some("owner"));
        assert_eq!(folded(&[claimed, recorded, proven]).user_id.as_deref(), Some("alice"));
    }

    #[test]
    fn the_order_in_which_reports_come_says_nothing() {
        let reports = [
            told(1, Kind::Answer, 0, said(Status::Completed)),
            told(2, Kind::Record, 3, said(Status::Failed)),
            call(3, Some(1), Some(2)),
            told(4, Kind::Workflow, 3, said(Status::Completed)),
        ];
        let run = folded(&reports);
        for turn in 0..reports.len() {
            let mut turned = reports.to_vec();
            turned.rotate_left(turn);
            assert_eq!(folded(&turned), run);
            turned.reverse();
            assert_eq!(folded(&turned), run);
        }
    }
}
