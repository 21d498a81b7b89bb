//! Runs of agents: one row each, joined from everything that the edge saw of it on both mounts.
//!
//! An event that speaks of a run is a report ([`report`]). Which reports are of one run is told by the execution that they
//! name, or by their agent and their time ([`join`]); what the run was is what its reports say together ([`fold`]). Both are
//! functions of the reports alone, whatever order they come in, so [`follow`], which takes stored events as they arrive, gives
//! the rows that a fresh start would give. What runs add up to is in [`metrics`], how heavy an agent is in [`intensity`].

pub mod credits;
pub mod fold;
pub mod follow;
pub mod intensity;
pub mod join;
pub mod metrics;
pub mod report;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use fold::fold;
pub use join::join;
pub use report::{Kind, Report, Said};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It began, and nobody said that it ended.
    Running,
    /// It ended well.
    Completed,
    /// It ended otherwise.
    Failed,
    /// It was seen, and nobody said how it went.
    Unknown,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Running, Self::Completed, Self::Failed, Self::Unknown];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// What a word says.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// A run. What nobody told is none, never 0.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Execution {
    /// What it is called here: the application's id of the execution, or `~` and the event of a run that has none.
    pub execution_key: String,
    /// The first of its events, which is in no other run.
    pub first_event: Uuid,
    /// The events that it is joined from, oldest first.
    pub events: Vec<Uuid>,
    /// The application's id of the execution.
    pub execution_id: Option<String>,
    /// Which agent.
    pub agent_id: Option<String>,
    /// What the agent was called.
    pub agent_name: Option<String>,
    /// For whom: who is proven to have asked, else whom the application names.
    pub user_id: Option<String>,
    /// How it stands: the word of a [`Status`].
    pub status: String,
    /// What set it off, in the application's word.
    pub trigger: Option<String>,
    /// How it was run, in the application's word.
    pub execution_type: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Who says how long: `record`, `answer` or `edge`.
    pub duration_from: Option<String>,
    /// Tokens that went into models.
    pub tokens_in: Option<i64>,
    /// Tokens that came out.
    pub tokens_out: Option<i64>,
    /// Tokens as models count them.
    pub tokens_total: Option<i64>,
    /// Who says how many: `record`, `answer` or `calls`.
    pub tokens_from: Option<String>,
    /// Tokens as the application charges them: times the agent's multiplier.
    pub tokens_adjusted: Option<i64>,
    /// Steps that were done.
    pub steps_completed: Option<i64>,
    /// Steps that failed.
    pub steps_failed: Option<i64>,
    /// Steps there are.
    pub steps_total: Option<i64>,
    /// Turns that the agent took.
    pub iterations: Option<i64>,
    /// Tools that it called.
    pub tool_calls: Option<i64>,
    /// Why it failed, as a code.
    pub error_kind: Option<String>,
    /// Why it failed, in the application's words.
    pub error: Option<String>,
}
