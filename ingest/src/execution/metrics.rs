//! What runs add up to, for an agent or a user over some time.
//!
//! Sums are kept by hour and by day of the runs' beginning, each beside the number of runs of which the figure is known; what
//! is derived from them is derived here, and nowhere else.

use chrono::{DateTime, Utc};

/// Whose runs are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Of {
    /// An agent's.
    Agent,
    /// A user's.
    User,
}

impl Of {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

/// Sums over some runs.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Sums {
    /// Whose they are, or when they begin.
    pub id: String,
    /// How many.
    pub runs: i64,
    /// Of them, those that ended well.
    pub completed: i64,
    /// Those that ended otherwise.
    pub failed: i64,
    /// Those of which no end is known and which were said to run.
    pub running: i64,
    /// Tokens of the runs that tell.
    pub tokens: i64,
    /// How many tell.
    pub tokens_runs: i64,
    /// Of one run, at most.
    pub tokens_peak: Option<i64>,
    /// Tokens that went in.
    pub tokens_in: i64,
    /// Of how many runs.
    pub tokens_in_runs: i64,
    /// Tokens that came out.
    pub tokens_out: i64,
    /// Of how many runs.
    pub tokens_out_runs: i64,
    /// Tokens that went into runs that tell both.
    pub both_in: i64,
    /// Tokens that came out of them.
    pub both_out: i64,
    /// Turns.
    pub iterations: i64,
    /// Of how many runs.
    pub iterations_runs: i64,
    /// Milliseconds.
    pub duration_ms: i64,
    /// Of how many runs.
    pub duration_runs: i64,
    /// Of one run, at most.
    pub duration_peak_ms: Option<i64>,
    /// When the newest of them began.
    pub last_run: Option<DateTime<Utc>>,
}

impl Sums {
    /// Percent of the runs whose end is known that ended well.
    pub fn success_rate(&self) -> Option<f64> {
        ratio(self.completed, self.completed + self.failed).map(|share| share * 100.0)
    }

    /// Tokens of all runs that tell; none if none does.
    pub fn tokens(&self) -> Option<i64> {
        (self.tokens_runs > 0).then_some(self.tokens)
    }

    /// Tokens that went in; none if no run tells.
    pub fn tokens_in(&self) -> Option<i64> {
        (self.tokens_in_runs > 0).then_some(self.tokens_in)
    }

    /// Tokens that came out; none if no run tells.
    pub fn tokens_out(&self) -> Option<i64> {
        (self.tokens_out_runs > 0).then_some(self.tokens_out)
    }

    /// Tokens of a run that tells, in the mean.
    pub fn tokens_average(&self) -> Option<f64> {
        ratio(self.tokens, self.tokens_runs)
    }

    /// Tokens that came out for each that went in, of the runs that tell both.
    pub fn output_input_ratio(&self) -> Option<f64> {
        ratio(self.both_out, self.both_in)
    }

    /// Turns of all runs that tell.
    pub fn iterations(&self) -> Option<i64> {
        (self.iterations_runs > 0).then_some(self.iterations)
    }

    /// Turns of a run that tells, in the mean.
    pub fn iterations_average(&self) -> Option<f64> {
        ratio(self.iterations, self.iterations_runs)
    }

    /// Milliseconds of a run that tells, in the mean.
    pub fn duration_average_ms(&self) -> Option<f64> {
        ratio(self.duration_ms, self.duration_runs)
    }

    /// Runs that were seen and of which nobody said how they went.
    pub fn unknown(&self) -> i64 {
        self.runs - self.completed - self.failed - self.running
    }
}

/// None where there is nothing to divide by.
fn ratio(of: i64, by: i64) -> Option<f64> {
    (by > 0).then(|| of as f64 / by as f64)
}
