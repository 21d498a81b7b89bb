//! What one event says of a run.
//!
//! A request that was refused (4xx) is no report: nothing ran. A write that failed is none either: nothing was written down.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::event::{Event, JsonText, Outcome, Trust};
use shared::redact::shorten_bytes;
use uuid::Uuid;

use super::Status;

/// The actions that speak of runs.
pub const ACTIONS: [&str; 9] = [
    "AGENT_EXECUTED",
    "AGENT_CHAIN_EXECUTED",
    "AGENT_RUN_STARTED",
    "AGENT_RUN_WATCHED",
    "PILOT_EXECUTION_RESUMED",
    "EXECUTION_RECORDED",
    "WORKFLOW_EXECUTION_RECORDED",
    "TOKEN_USAGE_RECORDED",
    "AGENT_LOG_RECORDED",
];

/// More than this no figure can be: a sum of many still fits.
const MOST: u64 = 1_000_000_000_000;
/// Bytes of an id of an execution, or of a word of the application.
const MAX_ID_LEN: usize = 64;
/// Bytes of an agent's id, a name or a user.
const MAX_NAME_LEN: usize = 200;
/// Bytes of an error's text.
const MAX_ERROR_LEN: usize = 500;

/// What kind of event it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Somebody asked for a run and was answered.
    Answer,
    /// A run was set off; its end is not in the answer.
    Start,
    /// A run was resumed and its end answered.
    Resume,
    /// The application wrote the execution down.
    Record,
    /// It wrote the workflow's execution down.
    Workflow,
    /// Somebody watched a run.
    Watch,
    /// The application wrote a log line of a run.
    Log,
    /// A call of a model.
    Call,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Answer,
        Self::Start,
        Self::Resume,
        Self::Record,
        Self::Workflow,
        Self::Watch,
        Self::Log,
        Self::Call,
    ];

    /// What stands for it in the database.
    pub fn code(self) -> i16 {
        match self {
            Self::Answer => 0,
            Self::Start => 1,
            Self::Resume => 2,
            Self::Record => 3,
            Self::Workflow => 4,
            Self::Watch => 5,
            Self::Log => 6,
            Self::Call => 7,
        }
    }

    /// What a code stands for.
    pub fn of(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether a run began with it.
    pub fn is_start(self) -> bool {
        matches!(self, Self::Answer | Self::Start)
    }

    /// Whether somebody asked the application for something: a start, or that a run goes on.
    pub fn is_asked(self) -> bool {
        self.is_start() || self == Self::Resume
    }

    /// Whether it tells by itself that something ran.
    pub fn is_evidence(self) -> bool {
        !matches!(self, Self::Watch | Self::Log)
    }
}

/// What one event says of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The event.
    pub event_id: Uuid,
    /// What kind of event.
    pub kind: Kind,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The application's id of the execution.
    pub execution_id: Option<String>,
    /// Which agent.
    pub agent_id: Option<String>,
    /// What the agent is called.
    pub agent_name: Option<String>,
    /// For whom.
    pub user_id: Option<String>,
    /// Why it failed, in the application's words.
    pub error: Option<String>,
    /// The rest, which names nobody.
    pub said: Said,
}

/// What a report says that names nobody. What is missing was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Whether a signature proves the user.
    pub is_proven: bool,
    /// How the run stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What set it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// How it is run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_type: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// How long the edge waited for an answer that tells the end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// Tokens that went in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u64>,
    /// Tokens that came out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u64>,
    /// Tokens as models count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Tokens as the application charges them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_adjusted: Option<u64>,
    /// Steps that were done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_completed: Option<u64>,
    /// Steps that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_failed: Option<u64>,
    /// Steps there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_total: Option<u64>,
    /// Turns that the agent took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
    /// Tools that it called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Why it failed, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<String>,
}

impl Report {
    /// What an event that is filed at a time says of a run; none if nothing.
    pub fn read(event: &Event, at: DateTime<Utc>) -> Option<Self> {
        let details = event.details.as_ref().map(JsonText::value).unwrap_or_default();
        let details = Details(&details);
        match event.action.as_str() {
            "AGENT_EXECUTED" => Some(Self::answer(event, at, &details)?.with_end(event, &details)),
            "AGENT_CHAIN_EXECUTED" => {
                let mut report = Self::answer(event, at, &details)?.with_end(event, &details);
                report.said.execution_type = Some("agent_chain".to_owned());
                Some(report)
            }
            "AGENT_RUN_STARTED" => Self::started(event, at, &details),
            "PILOT_EXECUTION_RESUMED" => Self::resumed(event, at, &details),
            "AGENT_RUN_WATCHED" => Self::watched(event, at, &details),
            _ if event.outcome == Outcome::Failure => None,
            "EXECUTION_RECORDED" => Self::recorded(event, at, &details),
            "WORKFLOW_EXECUTION_RECORDED" => Self::of_workflow(event, at, &details),
            "TOKEN_USAGE_RECORDED" => Self::call(event, at, &details),
            "AGENT_LOG_RECORDED" => {
                let status = details.status();
                let mut report = Self::of(Kind::Log, event, at, &details);
                report.said.status = status;
                Some(report).filter(|report| report.agent_id.is_some())
            }
            _ => None,
        }
    }

    /// When what it tells of began, by which it is told to which run it belongs.
    pub fn begun_at(&self) -> DateTime<Utc> {
        let is_written = matches!(self.kind, Kind::Record | Kind::Workflow);
        let took = self.said.duration_ms.filter(|_| is_written && self.ends());
        took.and_then(|took| self.at.checked_sub_signed(length(took)?)).unwrap_or(self.at)
    }

    /// When the run ended, if it says that it did and when.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        let took = match self.kind {
            // These are filed when they were asked for.
            Kind::Answer | Kind::Start | Kind::Resume => self.said.waited_ms.or(self.said.duration_ms)?,
            Kind::Watch => return None,
            Kind::Record | Kind::Workflow | Kind::Log | Kind::Call => 0,
        };
        self.at.checked_add_signed(length(took)?).filter(|_| self.ends())
    }

    /// Whether it says that the run ended.
    pub fn ends(&self) -> bool {
        matches!(self.said.status, Some(Status::Completed | Status::Failed))
    }

    fn of(kind: Kind, event: &Event, at: DateTime<Utc>, details: &Details<'_>) -> Self {
        let entity = event.entity.as_ref();
        let agent = entity.filter(|entity| entity.kind.as_str() == "agent");
        let proven = event.actor.as_ref().filter(|_| event.trust == Trust::Verified);
        let claimed = event.claimed_user.as_ref();
        let user = proven
            .map(|actor| actor.id.as_str())
            .or(details.get("user_id").as_str())
            .or(claimed.map(|claimed| claimed.id.as_str()));
        let agent_id = agent.and_then(|agent| agent.id.as_deref());
        let agent_id = agent_id.or(details.get("agent_id").as_str()).or(details.get("agent").as_str());
        let name = agent.and_then(|agent| agent.name.as_deref());
        Self {
            event_id: event.id.uuid(),
            kind,
            at,
            execution_id: None,
            agent_id: agent_id.and_then(name_of),
            agent_name: name.and_then(name_of),
            user_id: user.and_then(name_of),
            error: details.get("error").as_str().and_then(error_of),
            said: Said { is_proven: proven.is_some(), ..Said::default() },
        }
    }

    /// What was answered to who asked for a run; none if they were refused.
    fn answer(event: &Event, at: DateTime<Utc>, details: &Details<'_>) -> Option<Self> {
        if event.request.status.is_some_and(|status| (400..500).contains(&status)) {
            return None;
        }
        let mut report = Self::of(Kind::Answer, event, at, details);
        report.execution_id = details.id("execution_id");
        report.said.trigger = details.word("trigger");
        report.said.execution_type = details.word("execution_type");
        Some(report)
    }

    fn with_end(mut self, event: &Event, details: &Details<'_>) -> Self {
        let by_queue = self.said.trigger.as_deref() == Some("queue");
        let is_queued = details.get("queued").as_bool() == Some(true) && !by_queue;
        if is_queued {
            self.kind = Kind::Start;
            self.said.status = Some(Status::Running);
            return self;
        }
        self.said.status = match (event.outcome, details.get("success").as_bool()) {
            (Outcome::Failure, _) | (_, Some(false)) => Some(Status::Failed),
            (Outcome::Success, _) => Some(Status::Completed),
            (Outcome::Unknown, _) => None,
        };
        // A stream's head comes before its end.
        let is_stream = self.said.execution_type.as_deref() == Some("stream");
        self.said.waited_ms = event.duration_ms.map(u64::from).filter(|_| !is_stream);
        self.said.duration_ms = details.figure("duration_ms");
        self.said.tokens = details.figure("raw_tokens");
        let told = details.figure("tokens_used");
        if by_queue {
            self.said.tokens = self.said.tokens.or(told);
        } else {
            self.said.tokens_adjusted = told;
        }
        let (completed, failed) = (details.figure("steps_completed"), details.figure("steps_failed"));
        self.said.steps_completed = completed;
        self.said.steps_failed = failed;
        self.said.steps_total = completed
            .zip(failed)
            .map(|(completed, failed)| completed + failed + details.figure("steps_skipped").unwrap_or(0));
        self.said.iterations = details.figure("iterations");
        self.said.tool_calls = details.figure("tool_calls");
        self.said.error_kind = event.reason.as_deref().and_then(id_of);
        self
    }

    /// That a run was set off. Runs of many agents at once are told of none of them.
    fn started(event: &Event, at: DateTime<Utc>, details: &Details<'_>) -> Option<Self> {
        let mut report = Self::answer(event, at, details)?;
        report.agent_id.as_ref()?;
        report.kind = Kind::Start;
        let failed = event.outcome == Outcome::Failure;
        report.said.status = Some(if failed { Status::Failed } else { Status::Running });
        report.said.error_kind = event.reason.as_deref().and_then(id_of);
        Some(report)
    }

    /// The end of a run that was resumed. Who only turns a run on and off is told by another rule, without its end.
    fn resumed(event: &Event, at: DateTime<Utc>, details: &Details<'_>) -> Option<Self> {
        if details.get("operation").is_string() {
            return None;
        }
        let mut report = Self::answer(event, at, details)?.with_end(event, details);
        report.kind = Kind::Resume;
        report.execution_id = report.execution_id.take().or_else(|| of_entity(event));
        report.said.tokens = report.said.tokens.or(report.said.tokens_adjusted.take());
        report.execution_id.is_some().then_some(report)
    }

    fn watched(event: &Event, at: DateTime<Utc>, details: &Details<'_>) -> Option<Self> {
        let mut report = Self::of(Kind::Watch, event, at, details);
        report.execution_id = of_entity(event);
        report.said.status = details
            .get("run_success")
            .as_bool()
            .map(|is_success| if is_success { Status::Completed } else { Status::Failed });
        (report.execution_id.is_some() || report.agent_id.is_some()).then_some(report)
    }

    fn recorded(event: &Event, at: DateTime<Utc>, details: &Details<'_>) -> Option<Self> {
        let mut report = Self::of(Kind::Record, event, at, details);
        report.execution_id = Some(details.id("execution_id").or_else(|| of_entity(event))?);
        report.said.trigger = details.word("execution_type");
        report.said.tokens = details.figure("raw_tokens");
        report.said.tokens_adjusted = details.figure("tokens_used");
        Some(report.with_state(details))
    }

    fn of_workflow(event: &Event, at: DateTime<Utc>, details: &Details<'_>) -> Option<Self> {
        let mut report = Self::of(Kind::Workflow, event, at, details);
        report.execution_id = Some(of_entity(event)?);
        report.said.execution_type = Some("workflow_pilot".to_owned());
        report.said.tokens = details.figure("tokens_used");
        report.said.steps_completed = details.figure("steps_completed");
        report.said.steps_failed = details.figure("steps_failed");
        report.said.steps_total = details.figure("steps_total");
        Some(report.with_state(details))
    }

    fn with_state(mut self, details: &Details<'_>) -> Self {
        self.said.status = details.status();
        self.said.duration_ms = details.figure("duration_ms");
        self.said.tokens_in = details.figure("input_tokens");
        self.said.tokens_out = details.figure("output_tokens");
        self.said.iterations = details.figure("iterations");
        self.said.error_kind = details.word("status").filter(|word| ABORTED.contains(&word.as_str()));
        self
    }

    /// A call of a model. One that names no execution is a run's only if running an agent is what it was for.
    fn call(event: &Event, at: DateTime<Utc>, details: &Details<'_>) -> Option<Self> {
        let mut report = Self::of(Kind::Call, event, at, details);
        report.execution_id = details.id("execution_id");
        report.said.tokens_in = details.figure("input_tokens");
        report.said.tokens_out = details.figure("output_tokens");
        let sides = report.said.tokens_in.zip(report.said.tokens_out);
        report.said.tokens = sides.map(|(input, output)| input + output);
        let is_of_run = matches!(details.get("activity_type").as_str(), None | Some("agent_execution"));
        (report.execution_id.is_some() || is_of_run && report.agent_id.is_some()).then_some(report)
    }
}

fn length(millis: u64) -> Option<TimeDelta> {
    TimeDelta::try_milliseconds(i64::try_from(millis).ok()?)
}

/// Ends that are neither good nor a failure of the run itself.
const ABORTED: [&str; 4] = ["cancelled", "canceled", "timeout", "timed_out"];

/// What a rule told.
struct Details<'a>(&'a Value);

impl Details<'_> {
    fn get(&self, name: &str) -> &Value {
        &self.0[name]
    }

    fn id(&self, name: &str) -> Option<String> {
        self.get(name).as_str().and_then(id_of)
    }

    fn word(&self, name: &str) -> Option<String> {
        self.get(name).as_str().and_then(id_of)
    }

    /// A whole number that can be; a fraction of a millisecond is dropped.
    fn figure(&self, name: &str) -> Option<u64> {
        let value = self.get(name);
        let whole = |number: f64| (number >= 0.0 && number <= MOST as f64).then_some(number as u64);
        value.as_u64().or_else(|| value.as_f64().and_then(whole)).filter(|number| *number <= MOST)
    }

    fn status(&self) -> Option<Status> {
        match self.get("status").as_str()? {
            "pending" | "queued" | "running" | "paused" => Some(Status::Running),
            "completed" | "success" | "succeeded" => Some(Status::Completed),
            "failed" | "failure" | "error" => Some(Status::Failed),
            word if ABORTED.contains(&word) => Some(Status::Failed),
            _ => None,
        }
    }
}

fn of_entity(event: &Event) -> Option<String> {
    let entity = event.entity.as_ref().filter(|entity| entity.kind.as_str() == "execution")?;
    entity.id.as_deref().and_then(id_of)
}

/// An id or a word as an application makes them; what was masked is none, and so is what could be an address.
fn id_of(text: &str) -> Option<String> {
    let is_id = (1..=MAX_ID_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    is_id.then(|| text.to_owned())
}

fn name_of(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= MAX_NAME_LEN && !text.contains('\0')).then(|| text.to_owned())
}

fn error_of(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| shorten_bytes(text.replace('\0', ""), MAX_ERROR_LEN))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report of a kind, so many seconds after a time, about agent `a`.
    pub(in crate::execution) fn report(n: u128, kind: Kind, second: i64) -> Report {
        Report {
            event_id: Uuid::from_u128(n),
            kind,
            at: DateTime::from_timestamp(1_795_400_000 + second, 0).expect("a time"),
            execution_id: None,
            agent_id: Some("a".to_owned()),
            agent_name: None,
            user_id: None,
            error: None,
            said: Said::default(),
        }
    }

    #[test]
    fn ids_and_words_are_those_that_applications_make() {
        for id in ["0808819f-9fc8-48fd-b30c-0f798fda0d3f", "exec_12.3:4"] {
            assert_eq!(id_of(id).as_deref(), Some(id));
        }
        // What is masked, what could be an address, and what is a run of an event.
        for text in ["", "[masked:random]", "alice@example.com", "~0190", "a b", &"x".repeat(65)] {
            assert_eq!(id_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_figure_that_cannot_be_is_unknown() {
        let figure = |value: Value| Details(&serde_json::json!({"n": value})).figure("n");
        assert_eq!(figure(serde_json::json!(7)), Some(7));
        assert_eq!(figure(serde_json::json!(7.9)), Some(7));
        for value in ["-1", "1e300", "\"7\"", "null", "18446744073709551615"] {
            assert_eq!(figure(serde_json::from_str(value).expect("JSON")), None, "{value}");
        }
    }

    #[test]
    fn every_kind_is_read_back_from_its_code() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.code()), Some(kind));
        }
        assert_eq!(Kind::of(8), None);
    }
}
