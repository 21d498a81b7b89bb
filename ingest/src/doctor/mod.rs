//! `edgetrail doctor`: whether a deployment works from end to end, and what to do where it does not.
//!
//! [`examination`] and [`probe`] look, [`judge`] decides; so everything that is said is a function of what was seen. Nothing is changed: the
//! database is not migrated, no key is made.

pub mod edge;
pub mod examination;
pub mod judge;
pub mod probe;

use serde_json::{Value, json};

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warning {
        /// What to do.
        advice: String,
    },
    /// It does not work.
    Failed {
        /// What to do.
        advice: String,
    },
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: one word, and of what, such as `route app.example.com`.
    pub check: String,
    /// What was seen.
    pub seen: String,
    /// What it means.
    pub verdict: Verdict,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { check: check.into(), seen: seen.into(), verdict: Verdict::Ok }
    }

    /// Somebody should look.
    pub fn warning(check: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check: check.into(), seen: seen.into(), verdict: Verdict::Warning { advice: advice.into() } }
    }

    /// It does not work.
    pub fn failed(check: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check: check.into(), seen: seen.into(), verdict: Verdict::Failed { advice: advice.into() } }
    }

    /// Whether it does not work.
    pub fn is_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed { .. })
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning { .. } => "warning",
            Verdict::Failed { .. } => "failed",
        }
    }

    fn advice(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Ok => None,
            Verdict::Warning { advice } | Verdict::Failed { advice } => Some(advice),
        }
    }

    /// One line for a terminal.
    pub fn line(&self) -> String {
        let advice = self.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
        format!("{:<8} {}: {}{advice}", self.word(), self.check, self.seen)
    }

    /// The same for a program.
    pub fn to_json(&self) -> Value {
        json!({"check": self.check, "verdict": self.word(), "seen": self.seen, "advice": self.advice()})
    }
}
